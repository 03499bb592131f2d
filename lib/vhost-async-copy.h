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
 * written, and each packet is copied by DMA or by CPU.  Which of them it may
 * be is found alike for packets of rxqs (vhost-async-receive.c).
 *
 * Called by completion engines (vhost-async-engine.h), by the holder of the
 * lock of the txq. */

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "dpdk-dma-chan.h"
#include "dpdk-dma-cost.h"
#include "vhost-async-txq.h"
#include "vhost-guest-mem.h"

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

/* Whether a packet of 'n' pieces, to or from the guest that has 'mem', goes by
 * DMA: if they are worth it, and 'chan' has room for them.  '*room' is as for
 * vhost_async_chan_make_room(), and is updated. */
static inline bool
vhost_async_chan_fits(struct dpdk_dma_chan *chan,
                      const struct vhost_guest_mem *mem,
                      const struct dpdk_dma_limits *limits,
                      const struct rte_mbuf *mbuf, unsigned int n,
                      unsigned int *room)
{
    if (OVS_UNLIKELY(mbuf->pkt_len < (uint64_t) n * limits->min_piece)) {
        return false;
    }
    if (OVS_UNLIKELY(mem->regions[0].pages)) {
        /* By physical addresses.  What lies behind a page can be anywhere,
         * also of a buffer that did not come from a mempool. */
        if (RTE_MBUF_HAS_EXTBUF(mbuf)) {
            return false;
        }
        n += (mbuf->pkt_len >> 12) + 1;
    }
    return vhost_async_chan_make_room(chan, n, room);
}

/* Whether copies for 'vq', whose ring is mapped, may be by 'chan', NULL for a
 * thread that has none. */
static inline bool
vhost_async_vq_may_use(const struct vhost_async_vq *vq,
                       const struct dpdk_dma_chan *chan)
{
    bool dma;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_vq *, vq)->dma, &dma);
    return dma && chan && !dpdk_dma_chan_failed(chan)
           && !vhost_guest_mem_no_dma(vq->vring.mem);
}

#endif /* vhost-async-copy.h */
