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

#ifndef VHOST_ASYNC_COST_H
#define VHOST_ASYNC_COST_H 1

/* Whether packets go by DMA: what is cheaper for the thread that sends them.
 *
 * What the CPU costs depends on where the bytes are, in the cache of the core
 * or in memory, and is learned: now and then a packet is copied by CPU
 * whatever is cheaper, and the time is taken.  It depends on the way of the
 * packets before, too, since buffers that the CPU never touches are in no
 * cache of its: while packets go by DMA, one that goes by CPU shows at most
 * what that costs.  What an engine costs was measured when it was started
 * (dpdk-dma-cost.h), in a loop that has the core for itself.  So there are
 * trials, too (vhost-async-trial.h), in which all go by CPU for a while, and
 * then by DMA.
 *
 * Handing copies over and looking for them costs the same for one packet as
 * for many, of whatever txqs.  So it is what an iteration has for all of them
 * together that decides: this one up to now, or those before it.
 *
 * Called by vhost-async-copy.c and vhost-async-receive.c for each burst, which
 * have one each, and by dpif-netdev-dma.h at the end of each iteration.  A
 * 'struct vhost_async_cost' belongs to the thread, which alone calls the
 * functions that take one, but for vhost_async_cost_get_limits(); others read
 * the members that are atomic. */

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "dpdk-dma-cost.h"
#include "openvswitch/compiler.h"
#include "ovs-atomic.h"
#include "util.h"
#include "vhost-async-trial.h"

/* Packets that are timed, of those that are received the bytes behind the
 * first ones: less tells little of what a byte costs, and goes by CPU.  From
 * 'make bench', 256 bytes in memory, which cost up to 1.28 of stock by DMA. */
#define VHOST_ASYNC_COST_SAMPLE_LEN 512

/* A threshold: what copies by CPU and by the channel cost decides. */
#define VHOST_ASYNC_AUTO UINT64_MAX

/* How packets are copied, for all txqs; written by the main thread. */
struct vhost_async_policy {
    atomic_uint64_t threshold;  /* Packets of fewer bytes are copied by CPU,
                                 * or VHOST_ASYNC_AUTO. */
};

extern struct vhost_async_policy vhost_async_policy;

struct vhost_async_cost {
    const struct dpdk_dma_cost *dma;    /* Of the channel, NULL without. */
    uint32_t head;              /* Bytes of a packet that the CPU copies in
                                 * any case; not 0 of those received, */
    atomic_uint32_t head_16ths; /* ...and what that takes, on average, in
                                 * 16ths of a cycle. */
    uint32_t n_heads;           /* How often that was timed, */
    uint32_t n_looks;           /* ...and it or all of a packet. */
    uint64_t threshold;         /* That 'limits' are for, */
    uint32_t limits_cpu;        /* ...and 'cpu', */
    uint32_t limits_head;       /* ...and 'head_16ths'. */
    struct dpdk_dma_limits limits;
    atomic_uint32_t cpu;        /* Cycles for 64 KiB by CPU, on average. */
    atomic_uint32_t in_use;     /* What 'dma' costs in use, in 256ths, on
                                 * average of trials. */
    uint32_t n_bursts;          /* Until a packet is timed. */
    uint32_t n_timed;           /* How many were. */

    /* Bytes beyond 'limits.even_len': of this iteration, and of those before
     * it on average; and whether that is enough. */
    uint32_t excess, average_excess;
    bool worth_it;

    /* Packets that are timed. */
    bool at_most;               /* Those before the last one went by DMA. */
    uint32_t cpu_at_most;       /* What such ones say of 'cpu', on average. */

    /* Trials. */
    struct vhost_async_cost *other;     /* Of the other direction, or NULL:
                                         * there is one trial at a time. */
    uint32_t n_trials;          /* That had a result. */
    uint32_t trial_times;       /* Packets timed from the last one to the */
    uint32_t until_trial;       /* ...next, and as many are left. */
    uint32_t n_cannot_pay;      /* Packets timed since one for which DMA may
                                 * pay. */
    bool trial_worth_it;        /* As 'worth_it' */
    uint32_t trial_average;     /* ...and 'average_excess', when bursts of a
                                 * trial began to go by DMA. */
    struct vhost_async_trial trial;
};

void vhost_async_cost_set_dma(struct vhost_async_cost *,
                              const struct dpdk_dma_cost *);
void vhost_async_cost_set_threshold(struct vhost_async_cost *,
                                    uint64_t threshold);
bool vhost_async_cost_next_timed(struct vhost_async_cost *,
                                 struct rte_mbuf *const *, uint16_t cnt,
                                 bool dma, uint16_t *timed);
void vhost_async_cost_add_time(struct vhost_async_cost *, uint64_t cycles,
                               uint32_t len);
bool vhost_async_cost_times_head(struct vhost_async_cost *);
void vhost_async_cost_add_head_time(struct vhost_async_cost *,
                                    uint64_t cycles);
void vhost_async_cost_end_iteration(struct vhost_async_cost *);
void vhost_async_cost_add_reap(struct vhost_async_cost *, uint64_t cycles,
                               uint32_t n);
void vhost_async_cost_get_limits(const struct vhost_async_cost *,
                                 const struct dpdk_dma_cost *,
                                 struct dpdk_dma_limits *);

/* Returns what 'pkts' count for 'cost->excess'. */
static inline uint32_t
vhost_async_cost_excess(const struct vhost_async_cost *cost,
                        struct rte_mbuf *const *pkts, uint16_t cnt)
{
    int64_t excess = -(int64_t) cost->limits.burst_loss;

    for (uint16_t i = 0; i < cnt; i++) {
        excess += dpdk_dma_limits_excess(&cost->limits, pkts[i]->pkt_len);
    }
    return MIN(MAX(excess, 0), UINT32_MAX / 2);
}

/* Packets were not sent after all, and may be tried again. */
static inline void
vhost_async_cost_take_back(struct vhost_async_cost *cost,
                           struct rte_mbuf *const *pkts, uint16_t cnt)
{
    uint32_t excess = vhost_async_cost_excess(cost, pkts, cnt);

    cost->excess -= MIN(excess, cost->excess);
}

/* Returns whether packets of at least 'cost->limits.min_len' bytes, of the
 * 'cnt' ones 'pkts', go by DMA.  If one of them is to be copied by CPU in any
 * case, and timed, sets '*timed' to which.  If it is the burst that is timed,
 * as vhost_async_trial_times_burst() tells, vhost_async_trial_end_burst() is
 * to be called when it is copied. */
static inline bool
vhost_async_cost_choose(struct vhost_async_cost *cost,
                        struct rte_mbuf *const *pkts, uint16_t cnt,
                        uint16_t *timed)
{
    uint64_t threshold;
    uint32_t excess;
    bool dma;

    atomic_read_relaxed(&vhost_async_policy.threshold, &threshold);
    if (OVS_UNLIKELY(threshold != cost->threshold)) {
        vhost_async_cost_set_threshold(cost, threshold);
    }
    excess = vhost_async_cost_excess(cost, pkts, cnt);
    cost->excess += excess;
    dma = excess && (cost->worth_it
                     || cost->excess >= cost->limits.min_excess);
    if (OVS_UNLIKELY(!--cost->n_bursts)) {
        dma = vhost_async_cost_next_timed(cost, pkts, cnt, dma, timed);
    }
    return dma;
}

#endif /* vhost-async-cost.h */
