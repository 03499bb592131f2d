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

/* Implementation of dpdk-dma-cost.h.
 *
 * Called by the thread that starts a device.  Nothing is protected: nobody
 * else knows of the device yet.  Facts about DPDK were read from the source of
 * release 22.11.11. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "dpdk-dma-cost.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_malloc.h>
#include <rte_memcpy.h>

#include "util.h"

/* Buffers as of packets, as many for copies from as for copies to. */
#define COST_N_BUFS 64
#define COST_BUF_LEN 2048

/* How often each figure is taken.  The least counts for the CPU, whose copies
 * shall look cheap, and for an engine what three of four took at least: others
 * may be at work on the machine when it is started.  One that is slow, in
 * microseconds, is not waited for so often. */
#define COST_ROUNDS 31
#define COST_SLOW_US 200

/* Copies of a long burst, if the ring of the vchan takes them. */
#define COST_BURST 16

/* Microseconds that a burst is waited for at least, whatever the deadline, and
 * how often an engine must be found late: this thread may not have run, or
 * that of a software engine. */
#define COST_PATIENCE_US 10000
#define COST_LATE_LOOKS 3

/* What is taken for the cost if there is no memory to measure it with: about
 * what it is on a machine of 2020. */
static const struct dpdk_dma_cost cost_default = {
    .packet = 40, .copy = 32, .iteration = 200, .cpu = 3000, .cpu_short = 40,
    .clock = 20,
};

/* Cycles that this code spends on a packet more if it goes by DMA: on noting
 * what is in flight, on telling whose it was, and on what of the engine's
 * rings is not in the cache then.  From 'make bench', as the difference
 * between what DMA and CPU cost there and what is measured here. */
#define COST_OWN_PACKET 44

/* DMA has to be cheaper by one part in so many. */
#define COST_MARGIN 8

struct cost_engine {
    int16_t dev_id;
    uint16_t vchan;
    uint16_t n_burst;           /* Copies of a long burst. */
    uint64_t deadline_tsc;
    uint8_t *src, *dst;         /* COST_N_BUFS of COST_BUF_LEN each. */
    rte_iova_t src_iovas[COST_BURST], dst_iovas[COST_BURST];
    bool in_flight;             /* It may write to 'dst'. */
};

static int
compare_cycles(const void *a_, const void *b_)
{
    const uint64_t *a = a_, *b = b_;

    return *a < *b ? -1 : *a > *b;
}

static uint64_t
quartile(uint64_t *cycles, unsigned int n)
{
    qsort(cycles, n, sizeof *cycles, compare_cycles);
    return cycles[n / 4];
}

/* Returns the cycles that the CPU takes for COST_N_BUFS copies of 'len' bytes,
 * one to each buffer. */
static uint64_t
cost_of_cpu(uint8_t *dst, const uint8_t *src, size_t len)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < COST_ROUNDS; i++) {
        uint64_t begin = dpdk_dma_cost_clock();
        uint64_t cycles;

        for (size_t ofs = 0; ofs < COST_N_BUFS * COST_BUF_LEN;
             ofs += COST_BUF_LEN) {
            rte_memcpy(dst + ofs, src + ofs, len);
            dpdk_dma_cost_clock();
        }
        cycles = dpdk_dma_cost_clock() - begin;
        least = MIN(least, cycles);
    }
    return least;
}

/* Sets what copies by CPU cost. */
static void
cost_set_cpu(struct dpdk_dma_cost *cost, uint8_t *dst, const uint8_t *src)
{
    uint64_t longs = cost_of_cpu(dst, src, COST_BUF_LEN);
    uint64_t shorts = cost_of_cpu(dst, src, DPDK_DMA_COST_SHORT);
    uint64_t cpu;

    cpu = dpdk_dma_cost_per_64k(longs - MIN(longs, shorts),
                                COST_N_BUFS * (COST_BUF_LEN
                                               - DPDK_DMA_COST_SHORT), false);
    cost->cpu = MIN(MAX(cpu, DPDK_DMA_COST_MIN_CPU), DPDK_DMA_COST_MAX_CPU);
    cost->cpu_short = shorts / COST_N_BUFS;
}

/* Returns the cycles from one call of dpdk_dma_cost_clock() to the next. */
static uint64_t
cost_of_clock(void)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < COST_ROUNDS; i++) {
        uint64_t begin = dpdk_dma_cost_clock();
        uint64_t cycles = dpdk_dma_cost_clock() - begin;

        least = MIN(least, cycles);
    }
    return least;
}

/* Waits until the engine of 'e' has completed 'n' copies and adds to '*cycles'
 * what the polls that found some of them took.  Returns 0 or an errno. */
static int
cost_reap(const struct cost_engine *e, uint16_t n, uint64_t *cycles)
{
    uint64_t end = rte_get_tsc_cycles() + (rte_get_tsc_hz() / 1000000
                                           * COST_PATIENCE_US);
    unsigned int us = 2, n_late = 0;

    end = MAX(end, e->deadline_tsc);
    for (;;) {
        bool has_error = false;
        uint64_t begin;
        uint16_t done;

        rte_delay_us_block(us);
        begin = dpdk_dma_cost_clock();
        done = rte_dma_completed(e->dev_id, e->vchan, n, NULL, &has_error);
        if (done) {
            *cycles += dpdk_dma_cost_clock() - begin;
        }
        if (has_error || done > n) {
            return EIO;
        }
        n -= done;
        if (!n) {
            return 0;
        }
        n_late = !done && begin > end ? n_late + 1 : 0;
        if (n_late >= COST_LATE_LOOKS) {
            return ETIMEDOUT;
        }
        us = MIN(us * 2, 128);
        /* A software engine may need this very core. */
        sched_yield();
    }
}

/* Sets '*cycles' to what 'n' copies that are handed over together, and looked
 * for together, take.  Returns 0 or an errno. */
static int
cost_of_burst(struct cost_engine *e, uint16_t n, uint64_t *cycles)
{
    uint64_t begin;
    int err;

    e->in_flight = true;
    begin = dpdk_dma_cost_clock();
    for (uint16_t i = 0; i < n; i++) {
        if (rte_dma_copy(e->dev_id, e->vchan, e->src_iovas[i], e->dst_iovas[i],
                         DPDK_DMA_COST_SHORT, 0) < 0) {
            return ENOSPC;
        }
    }
    err = -rte_dma_submit(e->dev_id, e->vchan);
    *cycles = dpdk_dma_cost_clock() - begin;
    if (!err) {
        err = cost_reap(e, n, cycles);
    }
    e->in_flight = err;
    return err;
}

/* Sets '*one' and '*burst' to the cycles that a single copy and a long burst
 * take.  Returns 0 or an errno. */
static int
cost_of_engine(struct cost_engine *e, uint64_t *one, uint64_t *burst)
{
    uint64_t ones[COST_ROUNDS], bursts[COST_ROUNDS];
    uint64_t begin = rte_get_tsc_cycles();
    unsigned int n = 0;

    do {
        int err = cost_of_burst(e, 1, &ones[n]);

        if (!err) {
            err = cost_of_burst(e, e->n_burst, &bursts[n]);
        }
        if (err) {
            return err;
        }
    } while (++n < COST_ROUNDS && rte_get_tsc_cycles() - begin
                                  < n * rte_get_tsc_hz() / 1000000
                                    * COST_SLOW_US);
    *one = quartile(ones, n);
    *burst = quartile(bursts, n);
    return 0;
}

/* Returns the bytes that the CPU copies in 'in_use' 256ths of 'cycles', and
 * some more. */
static uint32_t
cost_in_bytes(uint32_t cycles, uint32_t in_use, uint32_t cpu)
{
    uint64_t bytes = (uint64_t) cycles * in_use * 256 / MAX(cpu, 1);

    return MIN(bytes + bytes / COST_MARGIN, UINT32_MAX / 2);
}

/* Returns what an iteration costs in which something goes by DMA; 'head' is as
 * in dpdk_dma_cost_get_limits(). */
uint32_t
dpdk_dma_cost_of_iteration(const struct dpdk_dma_cost *cost, uint32_t head)
{
    return MIN((uint64_t) cost->iteration + (head ? DPDK_DMA_COST_RX_POLL : 0),
               UINT32_MAX);
}

/* Sets '*limits' to when DMA is cheaper if it costs 'in_use' 256ths of 'cost',
 * and the CPU takes 'cpu' cycles for 64 KiB.  Of packets that are received,
 * the CPU copies the first 'head' bytes in any case, and takes 'head_cycles'
 * for these; both are 0 for packets that are sent. */
void
dpdk_dma_cost_get_limits(const struct dpdk_dma_cost *cost, uint32_t in_use,
                         uint32_t cpu, uint32_t head, uint32_t head_cycles,
                         struct dpdk_dma_limits *limits)
{
    limits->even_len = head + cost_in_bytes(cost->packet, in_use, cpu);
    limits->min_len = limits->even_len;
    limits->min_piece = cost_in_bytes(cost->copy, in_use, cpu);
    limits->min_excess = cost_in_bytes(dpdk_dma_cost_of_iteration(cost, head),
                                       in_use, cpu);
    /* A CPU that copies on fetches the first bytes of the next packet
     * meanwhile if they lie behind one another, and is timed as if it did not.
     * From 'make bench', single packets of 512 and 1518 bytes in memory; those
     * of a burst are fetched together. */
    limits->burst_loss = cost_in_bytes(head_cycles, DPDK_DMA_COST_AS_MEASURED,
                                       cpu);
    limits->loss = cost_in_bytes(DPDK_DMA_COST_NOT_DIRECT,
                                 DPDK_DMA_COST_AS_MEASURED, cpu);
}

/* Gives 'e' buffers.  None lies in two pages, hence each is contiguous for any
 * engine.  Returns false if there is no memory. */
static bool
cost_alloc(struct cost_engine *e)
{
    size_t size = COST_N_BUFS * COST_BUF_LEN;

    e->src = rte_zmalloc("dma_cost", 2 * size, COST_BUF_LEN);
    if (!e->src) {
        return false;
    }
    e->dst = e->src + size;
    for (int i = 0; i < COST_BURST; i++) {
        e->src_iovas[i] = rte_mem_virt2iova(e->src + i * COST_BUF_LEN);
        e->dst_iovas[i] = rte_mem_virt2iova(e->dst + i * COST_BUF_LEN);
        if (e->src_iovas[i] == RTE_BAD_IOVA
            || e->dst_iovas[i] == RTE_BAD_IOVA) {
            rte_free(e->src);
            return false;
        }
    }
    return true;
}

/* Measures what copies by vchan 'vchan' of dmadev 'dev_id' cost, which was
 * just started with 'ring_size' descriptors, and stores it in '*cost'.  Takes
 * a millisecond with an engine that needs microseconds for a copy.  One that
 * does nothing is not waited for when the TSC has reached 'deadline_tsc', or
 * has come on by COST_PATIENCE_US, whatever is later.
 *
 * Returns 0 or an errno; then the engine does not work, and must not be used:
 * ENOSPC if it refused a copy, EIO if it failed one, ETIMEDOUT if it did not
 * complete one. */
int
dpdk_dma_cost_measure(int16_t dev_id, uint16_t vchan, uint16_t ring_size,
                      uint64_t deadline_tsc, struct dpdk_dma_cost *cost)
{
    /* What an engine has room for is the most that idxd takes at once. */
    unsigned int room = MIN(ring_size / 2,
                            rte_dma_burst_capacity(dev_id, vchan));
    struct cost_engine e = {
        .dev_id = dev_id,
        .vchan = vchan,
        .n_burst = MIN(COST_BURST, MAX(room, 1)),
        .deadline_tsc = deadline_tsc,
    };
    uint64_t one, burst, clock;
    int err;

    if (!cost_alloc(&e)) {
        *cost = cost_default;
        return 0;
    }

    err = cost_of_engine(&e, &one, &burst);
    if (!err) {
        cost_set_cpu(cost, e.dst, e.src);

        cost->clock = MIN(cost_of_clock(), UINT32_MAX / 4);
        clock = 2 * cost->clock;
        one = MIN(one - MIN(one, clock), UINT32_MAX / 4);
        burst = MIN(burst - MIN(burst, clock), UINT32_MAX / 4);
        cost->copy = (e.n_burst > 1
                      ? (MAX(burst, one) - one) / (e.n_burst - 1) : one);
        cost->packet = cost->copy + COST_OWN_PACKET;
        cost->iteration = one - MIN(one, cost->copy);
    }
    /* What may still be written to is not given back. */
    if (!e.in_flight) {
        rte_free(e.src);
    }
    return err;
}
