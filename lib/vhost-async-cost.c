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

/* Implementation of vhost-async-cost.h. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "vhost-async-cost.h"

#include <string.h>

#include "util.h"

struct vhost_async_policy vhost_async_policy = {
    .threshold = VHOST_ASYNC_AUTO,
};

/* Bursts from one timed packet to the next, the first ones excepted.  A burst
 * that goes by DMA costs little, and a packet of it that does not costs much
 * in comparison. */
#define COST_FIRST_BURSTS 8
#define COST_CPU_BURSTS 128
#define COST_DMA_BURSTS 256

/* Bursts until the next look for a packet to time, if all are short. */
#define COST_SHORT_BURSTS 8

/* Packets timed, if they may go by DMA, until there is a trial, and from one
 * to the next, twice as many each time, at most.  A trial may cost ten times
 * of what DMA does, where the bytes are in memory, and is to be less than a
 * hundredth of all.  The first one is when 'cpu' is known. */
#define COST_FIRST_TRIAL 16
#define COST_MAX_TRIAL 256

/* Packets timed, one after the other, for which DMA cannot pay, until trials
 * are as many again as at first, should it pay one day. */
#define COST_CANNOT_PAY 16

/* What DMA costs is taken for this part of what was measured for those bursts
 * of a trial that are to go by DMA: if it is as cheap as that, it may pay. */
#define COST_MAY_PAY (DPDK_DMA_COST_AS_MEASURED / 2)

/* What it costs in use at most: what thread and engine do to each other's
 * caches can be several times of what they do, and what the CPU is thought to
 * cost too much is part of it. */
#define COST_MAX_IN_USE (DPDK_DMA_COST_AS_MEASURED * 16)

/* Trials that averages go back, about, and by what factor one differs from the
 * average at most. */
#define COST_AVERAGE_TRIALS 2
#define COST_TRIAL_JUMP 4

/* Samples and iterations that averages go back, about. */
#define COST_AVERAGE 8

/* By what factor a sample differs from the average at most: it may have been
 * interrupted. */
#define COST_JUMP 2

/* Limits stay until the CPU takes this part more or less, for all of a packet
 * or for its first bytes. */
#define COST_CHANGE 8

/* What the CPU costs at most counts if it is less than the average by this
 * part: the least of what differs from one time to the next is not what it
 * costs. */
#define COST_AT_MOST_CHANGE 4

static uint32_t
cost_read(const atomic_uint32_t *src)
{
    uint32_t value;

    atomic_read_relaxed(CONST_CAST(atomic_uint32_t *, src), &value);
    return value;
}

/* Returns the length of the shortest packets that are timed. */
static uint32_t
cost_sample_len(const struct vhost_async_cost *cost)
{
    return cost->head + VHOST_ASYNC_COST_SAMPLE_LEN;
}

/* Sets '*limits' to when DMA is cheaper, by what 'cost' has learned of the
 * CPU, if copies cost 'in_use' 256ths of 'dma'. */
static void
cost_limits_for(const struct vhost_async_cost *cost,
                const struct dpdk_dma_cost *dma, uint32_t in_use,
                struct dpdk_dma_limits *limits)
{
    dpdk_dma_cost_get_limits(dma, in_use, cost_read(&cost->cpu), cost->head,
                             cost_read(&cost->head_16ths) / 16, limits);
    /* If there are only packets that are not timed, what longer ones told may
     * be long ago. */
    limits->min_len = MAX(limits->min_len, cost_sample_len(cost));
}

/* Sets '*limits' to when DMA is cheaper, by what 'cost' has learned, if copies
 * by the channel were measured to cost 'dma'.  Any thread. */
void
vhost_async_cost_get_limits(const struct vhost_async_cost *cost,
                            const struct dpdk_dma_cost *dma,
                            struct dpdk_dma_limits *limits)
{
    cost_limits_for(cost, dma, cost_read(&cost->in_use), limits);
}

static void
cost_set_limits(struct vhost_async_cost *cost)
{
    cost->limits_cpu = cost_read(&cost->cpu);
    cost->limits_head = cost_read(&cost->head_16ths);
    if (cost->threshold == VHOST_ASYNC_AUTO) {
        cost_limits_for(cost, cost->dma,
                        cost->trial.phase >= VHOST_ASYNC_TRIAL_DMA_SETTLE
                        ? COST_MAY_PAY : cost_read(&cost->in_use),
                        &cost->limits);
    } else {
        cost->limits = (struct dpdk_dma_limits) {
            .min_len = cost->threshold, .even_len = cost->threshold,
        };
    }
}

static bool
cost_has_changed(uint32_t now, uint32_t then)
{
    return (now > then ? now - then : then - now) > then / COST_CHANGE;
}

/* Limits are for what was learned, or nearly. */
static void
cost_update_limits(struct vhost_async_cost *cost)
{
    if (cost_has_changed(cost_read(&cost->cpu), cost->limits_cpu)
        || cost_has_changed(cost_read(&cost->head_16ths),
                            cost->limits_head)) {
        cost_set_limits(cost);
    }
}

/* Has 'cost' begin anew for a channel whose copies cost 'dma', which must stay
 * as long as it is set, or for none if that is NULL. */
void
vhost_async_cost_set_dma(struct vhost_async_cost *cost,
                         const struct dpdk_dma_cost *dma)
{
    cost->dma = dma;
    cost->n_bursts = COST_FIRST_BURSTS;
    cost->n_timed = cost->n_trials = cost->n_cannot_pay = 0;
    vhost_async_trial_stop(&cost->trial);
    cost->until_trial = cost->trial_times = COST_FIRST_TRIAL;
    cost->excess = cost->average_excess = 0;
    cost->worth_it = false;
    if (dma) {
        atomic_read_relaxed(&vhost_async_policy.threshold, &cost->threshold);
        /* Which is for buffers that are not cached. */
        cost->cpu_at_most = cost->head ? dma->cpu / 6 * 5 : dma->cpu;
        atomic_store_relaxed(&cost->cpu, cost->cpu_at_most);
        atomic_store_relaxed(&cost->head_16ths, 0);
        atomic_store_relaxed(&cost->in_use, DPDK_DMA_COST_AS_MEASURED);
        cost->n_heads = cost->n_looks = 0;
        cost_set_limits(cost);
    }
}

/* Has 'cost', which has a channel, go by 'threshold'. */
void
vhost_async_cost_set_threshold(struct vhost_async_cost *cost,
                               uint64_t threshold)
{
    cost->threshold = threshold;
    vhost_async_trial_stop(&cost->trial);
    cost->average_excess = 0;
    cost->worth_it = false;
    cost_set_limits(cost);
}

/* Returns the longest of the 'cnt' packets 'pkts', which tells most of what a
 * byte costs, or UINT16_MAX if it is too short. */
static uint16_t
cost_longest(const struct vhost_async_cost *cost,
             struct rte_mbuf *const *pkts, uint16_t cnt)
{
    uint32_t len = cost_sample_len(cost) - 1;
    uint16_t longest = UINT16_MAX;

    for (uint16_t i = 0; i < cnt; i++) {
        if (pkts[i]->pkt_len > len) {
            len = pkts[i]->pkt_len;
            longest = i;
        }
    }
    return longest;
}

/* Whether some of the 'cnt' packets 'pkts' would go by DMA if that cost as
 * little as it may. */
static bool
cost_may_pay(const struct vhost_async_cost *cost,
             struct rte_mbuf *const *pkts, uint16_t cnt)
{
    struct dpdk_dma_limits limits;

    cost_limits_for(cost, cost->dma, COST_MAY_PAY, &limits);
    for (uint16_t i = 0; i < cnt; i++) {
        if (pkts[i]->pkt_len >= limits.min_len) {
            return true;
        }
    }
    return false;
}

/* Ends a trial: limits are for what was learned. */
static void
cost_end_trial(struct vhost_async_cost *cost)
{
    vhost_async_trial_stop(&cost->trial);
    cost_set_limits(cost);
    cost->average_excess = cost->trial_average;
    cost->worth_it = cost->trial_worth_it;
    cost->n_bursts = COST_CPU_BURSTS;
}

/* A burst, or a look at the engine, that a trial does not go on by. */
static void
cost_stall_trial(struct vhost_async_cost *cost)
{
    if (vhost_async_trial_stalls(&cost->trial)) {
        cost_end_trial(cost);
    }
}

/* The part of vhost_async_cost_next_timed() for a burst of a trial, of 'cnt'
 * packets, of which 'longest' may be timed if it is not UINT16_MAX. */
static bool
cost_go_on_with_trial(struct vhost_async_cost *cost, uint16_t cnt, bool dma,
                      uint16_t longest, uint16_t *timed)
{
    enum vhost_async_trial_phase last = cost->trial.phase;

    cost->n_bursts = 1;
    if (longest == UINT16_MAX
        || (last >= VHOST_ASYNC_TRIAL_DMA_SETTLE && !cost->excess)) {
        /* It has nothing for DMA, nor have those before it in this
         * iteration. */
        cost_stall_trial(cost);
        return false;
    }
    switch (vhost_async_trial_next_burst(&cost->trial, cnt, cost->head)) {
    case VHOST_ASYNC_TRIAL_CPU_PACKETS:
        *timed = longest;
        cost->at_most = false;
        return false;
    case VHOST_ASYNC_TRIAL_CPU_BURSTS:
        cost->trial.begin = dpdk_dma_cost_clock();
        return false;
    case VHOST_ASYNC_TRIAL_DMA_SETTLE:
        if (last != VHOST_ASYNC_TRIAL_DMA_SETTLE) {
            cost->trial_average = cost->average_excess;
            cost->trial_worth_it = cost->worth_it;
            cost_set_limits(cost);
        }
        return dma;
    case VHOST_ASYNC_TRIAL_DMA_BURSTS:
        cost->trial.begin = dpdk_dma_cost_clock();
        return dma;
    case VHOST_ASYNC_TRIAL_CPU_SETTLE:
    case VHOST_ASYNC_TRIAL_NONE:
    default:
        return false;
    }
}

/* Returns whether a trial is to begin now, a packet having been chosen to be
 * timed from the 'cnt' ones 'pkts', which are to go by DMA if 'dma' says
 * so. */
static bool
cost_begin_trial(struct vhost_async_cost *cost, struct rte_mbuf *const *pkts,
                 uint16_t cnt, bool dma)
{
    if (!dma && !cost_may_pay(cost, pkts, cnt)) {
        if (++cost->n_cannot_pay >= COST_CANNOT_PAY) {
            cost->until_trial = cost->trial_times = COST_FIRST_TRIAL;
        }
        return false;
    }
    cost->n_cannot_pay = 0;
    if (--cost->until_trial) {
        return false;
    }
    if (cost->other && cost->other->trial.phase) {
        cost->until_trial = 1;
        return false;
    }
    cost->trial_times = MIN(2 * cost->trial_times, COST_MAX_TRIAL);
    cost->until_trial = cost->trial_times;
    vhost_async_trial_start(&cost->trial, cost->head);
    return true;
}

/* Sets '*timed' to which of the 'cnt' packets 'pkts' is to be timed, if any,
 * and 'cost->n_bursts' to when this is to be called again.  'dma' is whether
 * they are to go by DMA.  Returns whether the others do. */
bool
vhost_async_cost_next_timed(struct vhost_async_cost *cost,
                            struct rte_mbuf *const *pkts, uint16_t cnt,
                            bool dma, uint16_t *timed)
{
    uint16_t longest;

    if (cost->threshold != VHOST_ASYNC_AUTO) {
        cost->n_bursts = COST_CPU_BURSTS;
        return dma;
    }
    longest = cost_longest(cost, pkts, cnt);
    if (cost->trial.phase) {
        return cost_go_on_with_trial(cost, cnt, dma, longest, timed);
    }
    if (longest == UINT16_MAX) {
        cost->n_bursts = COST_SHORT_BURSTS;
        return dma;
    }
    if (cost_begin_trial(cost, pkts, cnt, dma)) {
        cost->n_bursts = 1;
        return false;
    }
    cost->n_bursts = (cost->n_timed < COST_AVERAGE ? COST_FIRST_BURSTS
                      : dma ? COST_DMA_BURSTS : COST_CPU_BURSTS);
    cost->at_most = dma;
    *timed = longest;
    return dma;
}

/* Returns the average of 'last' and 'sample', which counts less, and less than
 * 'last' is from what 'last' is at most. */
static uint64_t
cost_average(uint32_t last, uint64_t sample)
{
    sample = MIN(sample, (uint64_t) last * COST_JUMP);
    return ((last * (COST_AVERAGE - UINT64_C(1)) + sample + COST_AVERAGE / 2)
            / COST_AVERAGE);
}

/* Returns whether it is the first bytes of a packet whose time is to be taken,
 * else all of it.  Those come first, and later neither only from one rxq if a
 * thread polls two in turn. */
bool
vhost_async_cost_times_head(struct vhost_async_cost *cost)
{
    static const bool turns[4] = { true, false, false, true };

    return cost->n_heads < COST_AVERAGE || turns[cost->n_looks++ % 4];
}

/* Learns from the first bytes of a packet, those that the CPU copies in any
 * case, which it copied in 'cycles'.  If they are in no cache, most of that is
 * the time until the first one is there, which the others do not take once
 * more: hence what all bytes of a packet take, less this, is what DMA
 * saves. */
void
vhost_async_cost_add_head_time(struct vhost_async_cost *cost, uint64_t cycles)
{
    uint64_t sample = MIN(cycles, UINT32_MAX / 64) * 16;

    /* Of the first ones the least counts: the others may have been
     * interrupted. */
    if (cost->n_heads) {
        uint32_t last = cost_read(&cost->head_16ths);

        sample = (cost->n_heads < COST_AVERAGE ? MIN(last, sample)
                  : cost_average(last, sample));
    }
    cost->n_heads++;
    atomic_store_relaxed(&cost->head_16ths, MAX(sample, 16));
    cost_update_limits(cost);
}

/* Learns from a packet of 'len' bytes, which the CPU copied in 'cycles', the
 * difference between two calls of dpdk_dma_cost_clock(). */
void
vhost_async_cost_add_time(struct vhost_async_cost *cost, uint64_t cycles,
                          uint32_t len)
{
    uint32_t cpu = cost_read(&cost->cpu);
    uint32_t last = cost->at_most ? cost->cpu_at_most : cpu;
    uint64_t sample;

    cycles = MIN(cycles, UINT32_MAX) * 16;
    cycles -= MIN(cycles, cost->head ? cost_read(&cost->head_16ths)
                                     : cost->dma->cpu_short * UINT64_C(16));
    /* What is received goes to mbufs, of which those that were freed last are
     * taken first, mostly by this very thread. */
    sample = dpdk_dma_cost_per_64k(cycles, len - cost->head, cost->head) / 16;
    cost->n_timed++;
    cost->cpu_at_most = MIN(MAX(cost_average(last, sample),
                                DPDK_DMA_COST_MIN_CPU),
                            DPDK_DMA_COST_MAX_CPU);
    if (cost->at_most
        && cost->cpu_at_most > cpu - cpu / COST_AT_MOST_CHANGE) {
        return;
    }
    atomic_store_relaxed(&cost->cpu, cost->cpu_at_most);
    cost_update_limits(cost);
}

/* Learns from a trial that is over what DMA costs in use. */
static void
cost_learn_from_trial(struct vhost_async_cost *cost)
{
    uint32_t sample = vhost_async_trial_result(
        &cost->trial, cost->dma, cost_read(&cost->cpu), cost->head,
        cost_read(&cost->head_16ths) / 16);

    if (sample) {
        uint32_t last = cost_read(&cost->in_use);
        uint32_t n;

        cost->n_trials++;
        n = MIN(cost->n_trials, COST_AVERAGE_TRIALS);
        /* What was measured for an idle engine is no more than a start. */
        sample = MIN(MAX(sample, last / COST_TRIAL_JUMP),
                     last * COST_TRIAL_JUMP);
        sample = (last * (n - 1) + sample + n / 2) / n;
        atomic_store_relaxed(&cost->in_use,
                             MIN(MAX(sample, COST_MAY_PAY), COST_MAX_IN_USE));
    }
    cost_end_trial(cost);
}

/* Ends an iteration in which 'cost->excess' is not 0: sets whether such ones
 * are worth it.  Once they are, they are until there is a quarter less, lest
 * packets of one flow take turns between the two ways. */
void
vhost_async_cost_end_iteration(struct vhost_async_cost *cost)
{
    uint32_t limit = cost->limits.min_excess;

    cost->average_excess = (cost->average_excess * (COST_AVERAGE - UINT64_C(1))
                            + cost->excess) / COST_AVERAGE;
    cost->excess = 0;
    cost->worth_it = (cost->average_excess
                      >= limit - (cost->worth_it ? limit / 4 : 0));
    if (OVS_UNLIKELY(cost->trial.phase)
        && vhost_async_trial_end_iteration(&cost->trial)) {
        cost_learn_from_trial(cost);
    }
}

/* Has the trial that is going on, if any, know that having the engine start,
 * and reaping 'n' packets, took 'cycles'. */
void
vhost_async_cost_add_reap(struct vhost_async_cost *cost, uint64_t cycles,
                          uint32_t n)
{
    if (vhost_async_trial_times_reap(&cost->trial)) {
        vhost_async_trial_add_reap(&cost->trial, cycles, n);
        cost_stall_trial(cost);
    }
}
