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

/* Messages of the vhost-user protocol, as the vhost library hands them to
 * pre_msg_handle and post_msg_handle (rte_vhost_extern_callback_register()):
 * request, flags and size of the payload, 32 bits each, and the payload.  What
 * comes after that differs between releases, and is not looked at.
 *
 * The numbers are those of the protocol's specification (QEMU,
 * docs/interop/vhost-user.rst). */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum vhost_async_request {
    VHOST_ASYNC_SET_FEATURES = 2,
    VHOST_ASYNC_RESET_OWNER = 4,
    VHOST_ASYNC_SET_MEM_TABLE = 5,
    VHOST_ASYNC_SET_LOG_BASE = 6,
    VHOST_ASYNC_SET_VRING_NUM = 8,
    VHOST_ASYNC_SET_VRING_ADDR = 9,
    VHOST_ASYNC_SET_VRING_BASE = 10,
    VHOST_ASYNC_GET_VRING_BASE = 11,
    VHOST_ASYNC_SET_VRING_KICK = 12,
    VHOST_ASYNC_SET_VRING_CALL = 13,
    VHOST_ASYNC_SET_PROTOCOL_FEATURES = 16,
    VHOST_ASYNC_SET_VRING_ENABLE = 18,
    VHOST_ASYNC_SEND_RARP = 19,
    VHOST_ASYNC_ADD_MEM_REG = 37,
    VHOST_ASYNC_REM_MEM_REG = 38,
};

#define VHOST_ASYNC_PAYLOAD_AT 12

static inline uint32_t
vhost_async_message_u32(const void *msg, size_t at)
{
    uint32_t value;

    memcpy(&value, (const char *) msg + at, sizeof value);
    return value;
}

static inline enum vhost_async_request
vhost_async_message_request(const void *msg)
{
    return vhost_async_message_u32(msg, 0);
}

/* Returns a payload of 64 bits. */
static inline uint64_t
vhost_async_message_value(const void *msg)
{
    uint64_t value;

    memcpy(&value, (const char *) msg + VHOST_ASYNC_PAYLOAD_AT, sizeof value);
    return value;
}

/* Returns the number that follows the virtqueue in the payload. */
static inline uint32_t
vhost_async_message_num(const void *msg)
{
    return vhost_async_message_u32(msg, VHOST_ASYNC_PAYLOAD_AT + 4);
}

/* If 'msg' is about one virtqueue, returns true and stores which in
 * '*index'. */
static inline bool
vhost_async_message_vring(const void *msg, uint32_t *index)
{
    *index = vhost_async_message_u32(msg, VHOST_ASYNC_PAYLOAD_AT);
    switch (vhost_async_message_request(msg)) {
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_GET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_ENABLE:
        return true;
    case VHOST_ASYNC_SET_VRING_KICK:
    case VHOST_ASYNC_SET_VRING_CALL:
        *index &= 0xff;         /* Above are flags. */
        return true;
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_RESET_OWNER:
    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
    case VHOST_ASYNC_SEND_RARP:
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
    default:
        return false;
    }
}

/* Whether it changes the memory of the guest. */
static inline bool
vhost_async_request_is_memory(enum vhost_async_request request)
{
    return request == VHOST_ASYNC_SET_MEM_TABLE
           || request == VHOST_ASYNC_ADD_MEM_REG
           || request == VHOST_ASYNC_REM_MEM_REG;
}

/* Whether the library changes what we read of rings when it handles 'request':
 * the gate closes, see vhost-async-guest.h. */
static inline bool
vhost_async_request_closes_gate(enum vhost_async_request request)
{
    switch (request) {
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_KICK:
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
        return true;
    case VHOST_ASYNC_RESET_OWNER:
    case VHOST_ASYNC_GET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_CALL:
    case VHOST_ASYNC_SET_VRING_ENABLE:
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
    case VHOST_ASYNC_SEND_RARP:
    default:
        return false;
    }
}

/* Whether the library translates the addresses of rings when it handles
 * 'request', of which some are in use. */
static inline bool
vhost_async_request_translates(enum vhost_async_request request)
{
    return vhost_async_request_is_memory(request)
           || request == VHOST_ASYNC_SET_VRING_ADDR
           || request == VHOST_ASYNC_SET_VRING_KICK;
}

#endif /* vhost-async-message.h */
