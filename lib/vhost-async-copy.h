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

/* The way of each burst to a txq: buffers are taken off the ring, headers are
 * written, and each packet is copied by DMA or by CPU.
 *
 * Called by completion engines (vhost-async-engine.h), by the holder of the
 * lock of the txq. */

#include <stdint.h>

#include "vhost-async-txq.h"

struct rte_mbuf;

uint16_t vhost_async_txq_send(struct vhost_async_txq *,
                              struct vhost_async_sender *,
                              struct rte_mbuf **, uint16_t cnt,
                              enum vhost_async_obstacle *);

bool vhost_async_chan_look_for_room(struct dpdk_dma_chan *, unsigned int n,
                                    unsigned int *room);

/* Takes 'n' copies off '*room', which is how many 'chan' takes at least.
 * Returns false if it does not take so many: a packet can have more pieces
 * than a channel takes at all. */
static inline bool
vhost_async_chan_make_room(struct dpdk_dma_chan *chan, unsigned int n,
                           unsigned int *room)
{
    if (OVS_UNLIKELY(n > *room)
        && !vhost_async_chan_look_for_room(chan, n, room)) {
        return false;
    }
    *room -= n;
    return true;
}

#endif /* vhost-async-copy.h */
