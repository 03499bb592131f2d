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

/* Implementation of vhost-async-trial.h. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "vhost-async-trial.h"

#include <string.h>

#include "util.h"

/* Bursts of each phase.  Twice as many packets are timed if they are received:
 * of half of them, only the first bytes.  Until caches are as they are if all
 * goes one way, it is packets that count, TRIAL_SETTLE_PKTS of a burst at
 * most. */
static const uint32_t phase_bursts[] = {
    [VHOST_ASYNC_TRIAL_CPU_SETTLE] = 128,
    [VHOST_ASYNC_TRIAL_CPU_PACKETS] = 8,
    [VHOST_ASYNC_TRIAL_CPU_BURSTS] = 16,
    [VHOST_ASYNC_TRIAL_DMA_SETTLE] = 128,
    [VHOST_ASYNC_TRIAL_DMA_BURSTS] = 16,
};

#define TRIAL_SETTLE_PKTS 5

/* Iterations in which bursts by DMA are timed, at least: what was handed over
 * in one is reaped in the next. */
#define TRIAL_ITERATIONS 2

/* Bursts by CPU, and packets by DMA, that tell enough at least. */
#define TRIAL_MIN_BURSTS 8

/* Bursts in which nothing may go by DMA, or looks at the engine, until a trial
 * is given up: the packets that it was for come no more. */
#define TRIAL_PATIENCE 1024

/* Cycles that a packet takes at most, and a byte, or the packet if it is
 * reaped, and the look that does so: ten times of what they take.  What takes
 * longer was interrupted, and does not count. */
#define TRIAL_MAX_PKT 2048
#define TRIAL_MAX_BYTE 4
#define TRIAL_MAX_REAPED 16384
#define TRIAL_MAX_REAP 32768

static void
trial_set_phase(struct vhost_async_trial *trial,
                enum vhost_async_trial_phase phase, bool rx)
{
    trial->phase = phase;
    trial->n_left = phase_bursts[phase];
    if (phase == VHOST_ASYNC_TRIAL_CPU_PACKETS && rx) {
        trial->n_left *= 2;
    }
}

/* Starts a trial with the next burst; 'rx' is whether packets are
 * received. */
void
vhost_async_trial_start(struct vhost_async_trial *trial, bool rx)
{
    memset(trial, 0, sizeof *trial);
    trial_set_phase(trial, VHOST_ASYNC_TRIAL_CPU_SETTLE, rx);
}

/* Returns the phase that the next burst belongs to, which has packets that are
 * long enough to be timed.  Bursts by DMA begin and end to be timed between
 * iterations, see vhost_async_trial_end_iteration(): what an iteration costs
 * besides is one part of what is to be found out. */
enum vhost_async_trial_phase
vhost_async_trial_next_burst(struct vhost_async_trial *trial, uint32_t n_pkts,
                             bool rx)
{
    uint32_t n = 1;

    if (!trial->n_left && trial->phase < VHOST_ASYNC_TRIAL_DMA_SETTLE) {
        trial_set_phase(trial, trial->phase + 1, rx);
    }
    if (trial->phase == VHOST_ASYNC_TRIAL_CPU_SETTLE
        || trial->phase == VHOST_ASYNC_TRIAL_DMA_SETTLE) {
        n = MIN(n_pkts, TRIAL_SETTLE_PKTS);
    }
    trial->n_left -= MIN(n, trial->n_left);
    trial->n_stalled = 0;
    return trial->phase;
}

/* The trial does not go on by a burst, or a look at the engine.  Returns true
 * if it is not to go on at all. */
bool
vhost_async_trial_stalls(struct vhost_async_trial *trial)
{
    return ++trial->n_stalled >= TRIAL_PATIENCE;
}

/* Ends an iteration of a trial.  Returns true if the trial is over, and
 * vhost_async_trial_result() may be asked. */
bool
vhost_async_trial_end_iteration(struct vhost_async_trial *trial)
{
    if (trial->phase == VHOST_ASYNC_TRIAL_DMA_BURSTS) {
        trial->n_iterations += trial->n_dma != trial->dma.n_dma;
        trial->n_dma = trial->dma.n_dma;
        trial->n_ends++;
        if (!trial->n_left && trial->n_ends >= TRIAL_ITERATIONS) {
            vhost_async_trial_stop(trial);
            return true;
        }
    } else if (trial->phase == VHOST_ASYNC_TRIAL_DMA_SETTLE
               && !trial->n_left) {
        trial_set_phase(trial, VHOST_ASYNC_TRIAL_DMA_BURSTS, false);
    }
    return false;
}

/* Ends burst 'b', which is timed, 'trial->begin' being set.  It does not count
 * if not all of it was taken: who tries again has the rest timed alone. */
void
vhost_async_trial_end_burst(struct vhost_async_trial *trial,
                            const struct vhost_async_trial_burst *b,
                            bool all_taken)
{
    uint64_t cycles = dpdk_dma_cost_clock() - trial->begin;
    struct vhost_async_trial_sum *sum
        = trial->phase == VHOST_ASYNC_TRIAL_CPU_BURSTS ? &trial->cpu
                                                       : &trial->dma;

    trial->begin = 0;
    if (!all_taken || cycles > ((uint64_t) b->n_pkts * TRIAL_MAX_PKT
                                + b->bytes * TRIAL_MAX_BYTE)) {
        return;
    }
    sum->cycles += cycles;
    sum->n_copies += b->n_copies;
    sum->cpu_bytes += b->cpu_bytes;
    sum->n_pkts += b->n_pkts;
    sum->n_dma += b->n_dma;
    sum->n_beside += b->n_dma ? b->n_pkts - b->n_dma : 0;
    sum->n_bursts++;
}

/* Whether 'cycles' for 'n' packets that were reaped, or published, count. */
static bool
trial_takes_reaped(const struct vhost_async_trial *trial, uint64_t cycles,
                   uint32_t n)
{
    return (vhost_async_trial_times_reap(trial)
            && cycles <= TRIAL_MAX_REAP + (uint64_t) n * TRIAL_MAX_REAPED);
}

/* Having the engine start, and reaping 'n' packets, took 'cycles', as told by
 * dpdk_dma_cost_clock(). */
void
vhost_async_trial_add_reap(struct vhost_async_trial *trial, uint64_t cycles,
                           uint32_t n)
{
    if (trial_takes_reaped(trial, cycles, n)) {
        trial->reap_cycles += cycles;
        trial->n_reaped += n;
    }
}

/* Publishing 'n' packets that were reaped took 'cycles', likewise. */
void
vhost_async_trial_add_publish(struct vhost_async_trial *trial, uint64_t cycles,
                              uint32_t n)
{
    if (trial_takes_reaped(trial, cycles, n)) {
        trial->publish_cycles += cycles;
        trial->n_published += n;
    }
}

/* Returns what copies by DMA cost in use, in 256ths of 'dma', if the CPU takes
 * 'cpu' cycles for 64 KiB and packets have first bytes as in
 * dpdk_dma_cost_get_limits(); or 0 if too few went by DMA to tell.
 *
 * What is saved by a copy less is subtracted on both sides, so that what is
 * wrong with 'cpu' does not matter: with the result DMA costs less than the
 * CPU exactly if it did in the trial. */
uint32_t
vhost_async_trial_result(const struct vhost_async_trial *trial,
                         const struct dpdk_dma_cost *dma, uint32_t cpu,
                         uint32_t head, uint32_t head_cycles)
{
    const struct vhost_async_trial_sum *by_cpu = &trial->cpu;
    const struct vhost_async_trial_sum *by_dma = &trial->dma;
    int64_t base, extra, expected;

    if (by_cpu->n_bursts < TRIAL_MIN_BURSTS
        || by_dma->n_dma < MAX(TRIAL_MIN_BURSTS, by_dma->n_bursts / 2)
        || !trial->n_reaped || !trial->n_published) {
        return 0;
    }

    /* Of packets, without a copy. */
    base = (int64_t) (by_cpu->cycles
                      + (uint64_t) by_cpu->n_bursts * head_cycles)
           - by_cpu->cpu_bytes * cpu / 65536;
    base = base * by_dma->n_pkts / by_cpu->n_pkts;

    extra = (by_dma->cycles
             + trial->reap_cycles * by_dma->n_dma / trial->n_reaped
             + trial->publish_cycles * by_dma->n_dma / trial->n_published);
    extra -= base + by_dma->cpu_bytes * cpu / 65536;
    /* Which are the same in use. */
    extra -= by_dma->n_beside * (int64_t) DPDK_DMA_COST_NOT_DIRECT;
    expected = ((int64_t) by_dma->n_dma * dma->packet
                + (int64_t) (by_dma->n_copies - by_dma->n_dma) * dma->copy
                + (int64_t) trial->n_iterations
                  * dpdk_dma_cost_of_iteration(dma, head));
    return MIN(MAX(extra * 256 / MAX(expected, 1), 1), UINT32_MAX);
}
