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

#ifndef VHOST_ASYNC_COPY_H
#define VHOST_ASYNC_COPY_H 1

/* The way of each burst to a txq, by DMA or by CPU, such that packets stay in
 * order.
 *
 * Called by completion engines, by one thread at a time per txq: the one that
 * holds the tx lock, or that is the drainer. */

#include <stdint.h>

#include "ovs-atomic.h"

struct rte_mbuf;
struct vhost_async_thread;
struct vhost_async_txq;

/* Why packets were not taken. */
enum vhost_async_obstacle {
    VHOST_ASYNC_FULL,           /* The virtqueue, or the channel's ring. */
    VHOST_ASYNC_BUSY,           /* No channel, and copies in flight. */
    VHOST_ASYNC_STUCK,          /* The txq waits for a failed channel. */
};

uint16_t vhost_async_copy(struct vhost_async_thread *,
                          struct vhost_async_txq *, int vid,
                          struct rte_mbuf **, uint16_t cnt,
                          enum vhost_async_obstacle *);
uint16_t vhost_async_copy_or_count(struct vhost_async_thread *,
                                   struct vhost_async_txq *, int vid,
                                   struct rte_mbuf **, uint16_t cnt);

#endif /* vhost-async-copy.h */
