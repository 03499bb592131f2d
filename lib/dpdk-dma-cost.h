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

#ifndef DPDK_DMA_COST_H
#define DPDK_DMA_COST_H 1

/* What copies by an engine, and by the CPU, cost a core.
 *
 * Measured by the thread that starts the device (dpdk-dma-dev.h), when it was
 * started and before anyone else uses it; constant from then on. */

#include <stdbool.h>
#include <stdint.h>

#include <rte_atomic.h>
#include <rte_cycles.h>

#include "util.h"

/* Cycles of the TSC. */
struct dpdk_dma_cost {
    uint32_t packet;            /* For a packet that goes by DMA, with one
                                 * copy, more than for one that does not. */
    uint32_t copy;              /* For each copy. */
    uint32_t iteration;         /* For handing over whatever there is, and for
                                 * looking what became of it. */
    uint32_t cpu;               /* For 64 KiB by CPU, from and to its cache. */
    uint32_t cpu_short;         /* For DPDK_DMA_COST_SHORT bytes, between two
                                 * dpdk_dma_cost_clock(), */
    uint32_t clock;             /* ...and for nothing. */
};

/* Cycles that a packet which the CPU copies takes more if others of its burst
 * go by DMA: the loops for plain packets are not for it then, and it is
 * published behind them.  From 'make bench', 31 packets of 64 bytes sent
 * behind one of 9000 bytes. */
#define DPDK_DMA_COST_NOT_DIRECT 24

/* Cycles of an iteration more if packets are received by DMA: they come with
 * another poll than the one that found them, which gives their buffers back
 * and looks whether the guest is to be notified.  From 'make bench', single
 * packets and bursts of 4. */
#define DPDK_DMA_COST_RX_POLL 100

/* That costs in use are those that were measured. */
#define DPDK_DMA_COST_AS_MEASURED 256

/* Bytes of a copy that costs as good as nothing for its bytes. */
#define DPDK_DMA_COST_SHORT 64

/* What the CPU takes for 64 KiB at least, and at most: a 64th of a cycle for a
 * byte, and 1024 cycles. */
#define DPDK_DMA_COST_MIN_CPU 1024
#define DPDK_DMA_COST_MAX_CPU (UINT32_C(1024) * 65536)

/* When copies by DMA are cheaper: for packets of 'min_len' bytes and more,
 * whose pieces have 'min_piece' bytes on average, if what these packets of one
 * iteration have beyond 'even_len', the length at which both ways cost the
 * same, is 'min_excess' bytes together; less 'burst_loss' for each burst, and
 * 'loss' for each packet that is shorter than 'min_len': the CPU copies that
 * in less time if all others of its burst go by CPU, too. */
struct dpdk_dma_limits {
    uint32_t min_len;           /* At least 'even_len'. */
    uint32_t even_len;
    uint32_t min_piece;
    uint32_t min_excess;
    uint32_t burst_loss;
    uint32_t loss;
};

int dpdk_dma_cost_measure(int16_t dev_id, uint16_t vchan, uint16_t ring_size,
                          uint64_t deadline_tsc, struct dpdk_dma_cost *);
uint32_t dpdk_dma_cost_of_iteration(const struct dpdk_dma_cost *,
                                    uint32_t head);
void dpdk_dma_cost_get_limits(const struct dpdk_dma_cost *, uint32_t in_use,
                              uint32_t cpu, uint32_t head,
                              uint32_t head_cycles, struct dpdk_dma_limits *);

/* Returns what a packet of 'len' bytes counts for 'min_excess'. */
static inline int64_t
dpdk_dma_limits_excess(const struct dpdk_dma_limits *limits, uint32_t len)
{
    return (len >= limits->min_len
            ? (int64_t) len - limits->even_len + 1 : -(int64_t) limits->loss);
}

/* Returns the length from which on DMA is cheaper if there is one burst of 'n'
 * packets of that length. */
static inline uint64_t
dpdk_dma_limits_from(const struct dpdk_dma_limits *limits, unsigned int n)
{
    uint64_t beyond = ((uint64_t) limits->min_excess + limits->burst_loss) / n;

    return MAX(limits->even_len + beyond, limits->min_len);
}

/* Returns the time in TSC cycles once what was loaded before is there.  What
 * was stored may be on its way: the core does not wait for it, either. */
static inline uint64_t
dpdk_dma_cost_clock(void)
{
    /* On x86 an lfence, which the TSC is not read ahead of. */
    rte_rmb();
    return rte_get_tsc_cycles();
}

/* Returns the cycles that the CPU takes for 64 KiB if it copies 'len' bytes, 1
 * or more, in 'cycles', as told by that clock.  The lines which it stores to
 * have to be brought in, too, which costs half as much once more from memory,
 * and a quarter if they are 'cached', mostly in the second level. */
static inline uint64_t
dpdk_dma_cost_per_64k(uint64_t cycles, uint64_t len, bool cached)
{
    return cycles * (65536 + 65536 / (cached ? 4 : 2)) / len;
}

#endif /* dpdk-dma-cost.h */
