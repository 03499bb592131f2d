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
 * of half of them, only the first bytes. */
static const uint32_t phase_bursts[] = {
    [VHOST_ASYNC_TRIAL_CPU_SETTLE] = 24,
    [VHOST_ASYNC_TRIAL_CPU_PACKETS] = 8,
    [VHOST_ASYNC_TRIAL_CPU_BURSTS] = 16,
    [VHOST_ASYNC_TRIAL_DMA_SETTLE] = 24,
    [VHOST_ASYNC_TRIAL_DMA_BURSTS] = 16,
};

/* Iterations in which bursts by DMA are timed, at least: what was handed over
 * in one is reaped in the next. */
#define TRIAL_ITERATIONS 2

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
vhost_async_trial_next_burst(struct vhost_async_trial *trial, bool rx)
{
    if (!trial->n_left && trial->phase < VHOST_ASYNC_TRIAL_DMA_SETTLE) {
        trial_set_phase(trial, trial->phase + 1, rx);
    }
    if (trial->n_left) {
        trial->n_left--;
    }
    return trial->phase;
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

/* Ends a burst that is timed, 'trial->begin' being set: 'n_pkts' packets, of
 * which 'n_dma' went by DMA, in 'n_copies' copies; of the others, the CPU
 * copied 'cpu_bytes' that DMA would have copied. */
void
vhost_async_trial_end_burst(struct vhost_async_trial *trial, uint32_t n_pkts,
                            uint32_t n_dma, uint32_t n_copies,
                            uint64_t cpu_bytes)
{
    struct vhost_async_trial_sum *sum
        = trial->phase == VHOST_ASYNC_TRIAL_CPU_BURSTS ? &trial->cpu
                                                       : &trial->dma;

    /* Who was away for longer may find anything. */
    sum->cycles += MIN(dpdk_dma_cost_clock() - trial->begin, UINT32_MAX);
    sum->n_copies += n_copies;
    sum->cpu_bytes += cpu_bytes;
    sum->n_pkts += n_pkts;
    sum->n_dma += n_dma;
    sum->n_bursts++;
    trial->begin = 0;
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

    if (!by_cpu->n_pkts || by_dma->n_dma < by_dma->n_bursts / 2
        || !by_dma->n_dma || !trial->n_reaped) {
        return 0;
    }

    /* Of a packet, without a copy. */
    base = (int64_t) (by_cpu->cycles
                      + (uint64_t) by_cpu->n_bursts * head_cycles)
           - (int64_t) (by_cpu->cpu_bytes * cpu / 65536);
    base = base * by_dma->n_pkts / by_cpu->n_pkts;

    extra = (by_dma->cycles
             + trial->reap_cycles * by_dma->n_dma / trial->n_reaped
             + (trial->publish_cycles * by_dma->n_dma
                / MAX(trial->n_published, 1)));
    extra -= (int64_t) (by_dma->cpu_bytes * cpu / 65536) + base;
    expected = ((int64_t) by_dma->n_dma * dma->packet
                + (int64_t) (by_dma->n_copies - by_dma->n_dma) * dma->copy
                + (int64_t) trial->n_iterations
                  * dpdk_dma_cost_of_iteration(dma, head));
    return MIN(MAX(extra * 256 / MAX(expected, 1), 1), UINT32_MAX);
}
