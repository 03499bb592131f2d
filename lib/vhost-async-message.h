/*
 * Copyright (c) 2026 The vhost async for Open vSwitch authors.
 *
 * Licensed under the Apache License, Version 2.0 (the "License");
 * you may not use this file except in compliance with the License.
 * You may obtain a copy of the License at:
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS,
 * WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
 * See the License for the specific language governing permissions and
 * limitations under the License.
 */

#ifndef VHOST_ASYNC_MESSAGE_H
#define VHOST_ASYNC_MESSAGE_H 1

/* Which messages of a guest are refused before the vhost library acts on
 * them, and why.
 *
 * What comes from a guest is not to be trusted, and some messages that break
 * the vhost-user protocol have the library of 22.11 go on with rings that
 * point nowhere, or with arrays of the wrong size.  A port that is on DMA sees
 * each message first, so these are kept from the library here.  A front end
 * that follows the protocol sends none of them.
 *
 * Called by netdev-dpdk-async.c, from the thread of the vhost library alone,
 * so that nothing needs a lock. */

#include <stdbool.h>
#include <stdint.h>

#include "bitmap.h"

/* Virtqueues per device, the library's limit (VHOST_MAX_VRING, 22.11). */
#define VHOST_ASYNC_MAX_VRINGS 256

/* Requests of the vhost-user protocol. */
enum {
    VHOST_ASYNC_SET_FEATURES = 2,
    VHOST_ASYNC_SET_OWNER = 3,
    VHOST_ASYNC_RESET_OWNER = 4,
    VHOST_ASYNC_SET_MEM_TABLE = 5,
    VHOST_ASYNC_SET_LOG_BASE = 6,
    VHOST_ASYNC_SET_LOG_FD = 7,
    VHOST_ASYNC_SET_VRING_NUM = 8,
    VHOST_ASYNC_SET_VRING_ADDR = 9,
    VHOST_ASYNC_SET_VRING_BASE = 10,
    VHOST_ASYNC_GET_VRING_BASE = 11,
    VHOST_ASYNC_SET_VRING_KICK = 12,
    VHOST_ASYNC_SET_VRING_CALL = 13,
    VHOST_ASYNC_SET_VRING_ERR = 14,
    VHOST_ASYNC_SET_PROTOCOL_FEATURES = 16,
    VHOST_ASYNC_SET_VRING_ENABLE = 18,
    VHOST_ASYNC_SEND_RARP = 19,
    VHOST_ASYNC_NET_SET_MTU = 20,
    VHOST_ASYNC_IOTLB_MSG = 22,
    VHOST_ASYNC_POSTCOPY_ADVISE = 28,
    VHOST_ASYNC_POSTCOPY_LISTEN = 29,
    VHOST_ASYNC_POSTCOPY_END = 30,
    VHOST_ASYNC_GET_INFLIGHT_FD = 31,
    VHOST_ASYNC_SET_INFLIGHT_FD = 32,
    VHOST_ASYNC_SET_STATUS = 39,
};

/* What the library does not tell of the virtqueues of a connection; zero when
 * it begins. */
struct vhost_async_rings {
    /* Those whose size was told since they were stopped last. */
    unsigned long sized[BITMAP_N_LONGS(VHOST_ASYNC_MAX_VRINGS)];
    uint64_t features;          /* Negotiated before the message. */
};

uint32_t vhost_async_message_request(const void *msg);
const char *vhost_async_message_check(int vid, const void *msg,
                                      struct vhost_async_rings *);
void vhost_async_message_accepted(const void *msg, struct vhost_async_rings *);
bool vhost_async_message_resets(int vid, const void *msg, uint32_t index);
void vhost_async_message_close_fds(void *msg);

#endif /* vhost-async-message.h */
