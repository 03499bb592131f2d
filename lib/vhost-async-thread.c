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

/* Implementation of vhost-async-thread.h. */

#include <config.h>

#include <rte_cycles.h>

#include "vhost-async-thread.h"

#include <sched.h>

#include "coverage.h"
#include "dpdk-dma-dev.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-receive.h"

COVERAGE_DEFINE(vhost_async_reap);

/* Packets that one look at a channel tells of: what a few bursts are, so that
 * a thread which looks once per iteration catches up. */
#define THREAD_REAP_BURST 128

/* For how many microseconds a thread that goes on sending does not look at its
 * channel again: an engine hands packets back one by one, and a look costs as
 * much for one as for many. */
#define THREAD_POLL_US 1

DEFINE_EXTERN_PER_THREAD_DATA(vhost_async_self, NULL);

/* Prepares 'self', all zeros, which has no channel. */
void
vhost_async_thread_init(struct vhost_async_thread *self)
{
    dma_defer_init(&self->sender.kept);
    self->sender.rx_cost.head = VHOST_ASYNC_RX_HEAD;
    self->sender.rx_cost.other = &self->sender.cost;
    self->sender.cost.other = &self->sender.rx_cost;
    self->poll_cycles = rte_get_tsc_hz() / 1000000 * THREAD_POLL_US;
}

/* Has 'self' use 'chan', which it claimed, or none if that is NULL.  Nothing
 * of it is in flight. */
void
vhost_async_thread_set_chan(struct vhost_async_thread *self,
                            struct dpdk_dma_chan *chan)
{
    self->sender.chan = chan;
    self->claimed = chan;
    self->sample_tsc = 0;
    self->reap_cycles = 0;
    self->charge = self->sent = false;
    self->n_fetched = 0;
    vhost_async_cost_set_dma(&self->sender.cost, chan ? &chan->cost : NULL);
    vhost_async_cost_set_dma(&self->sender.rx_cost,
                             chan ? &chan->cost : NULL);
}

/* Returns the bin that counts a latency of 'cycles'. */
static unsigned int
latency_bin(uint64_t cycles)
{
    unsigned int shift;

    if (cycles < 8) {
        return 0;
    }
    shift = 60 - __builtin_clzll(cycles);
    return MIN(shift * 8 + (cycles >> shift) - 8,
               VHOST_ASYNC_LATENCY_BINS - 1);
}

/* Returns a number of TSC cycles within which 'percentile' percent of the
 * bursts that were timed since the counters were cleared had been reaped, 0 if
 * there are none.  Any thread. */
uint64_t
vhost_async_thread_latency(const struct vhost_async_thread *self,
                           unsigned int percentile)
{
    uint64_t bins[VHOST_ASYNC_LATENCY_BINS];
    uint64_t n = 0, sum = 0;

    for (unsigned int i = 0; i < VHOST_ASYNC_LATENCY_BINS; i++) {
        bins[i] = vhost_async_counter(&self->stats.latency_bins[i])
                  - vhost_async_counter(&self->zero.latency_bins[i]);
        n += bins[i];
    }
    for (unsigned int i = 0; i < VHOST_ASYNC_LATENCY_BINS; i++) {
        sum += bins[i];
        if (n && sum * 100 >= n * percentile) {
            uint64_t end = (UINT64_C(9) + i % 8) << i / 8;

            return MIN(end, vhost_async_counter(&self->stats.latency_max));
        }
    }
    return 0;
}

static void
thread_sample_latency(struct vhost_async_thread *self)
{
    struct vhost_async_thread_stats *stats = &self->stats;
    uint64_t latency;

    if (!self->sample_tsc
        || dpdk_dma_chan_completed(self->sender.chan) < self->sample) {
        return;
    }
    latency = rte_get_tsc_cycles() - self->sample_tsc;
    self->sample_tsc = 0;
    vhost_async_count(&stats->latency_n, 1);
    vhost_async_count(&stats->latency_sum, latency);
    vhost_async_count(&stats->latency_bins[latency_bin(latency)], 1);
    if (OVS_UNLIKELY(latency > vhost_async_counter(&stats->latency_max))) {
        atomic_store_relaxed(&stats->latency_max, latency);
    }
}

/* Lets go of a channel that failed: from now on it belongs to the thread that
 * stops its device, which sees to what is in flight. */
static void
thread_abandon(struct vhost_async_thread *self)
{
    /* If it cannot be stopped, it is to complete these, too. */
    dpdk_dma_chan_doorbell(self->sender.chan);
    dpdk_dma_chan_abandon(self->sender.chan);
    self->sender.chan = NULL;
    self->sample_tsc = 0;
    vhost_async_trial_stop(&self->sender.cost.trial);
    vhost_async_trial_stop(&self->sender.rx_cost.trial);
}

/* Returns true, and has the engine start with what the iteration sent, if the
 * thread need not reap now, at 'now' TSC cycles: it has just looked, and goes
 * on sending. */
bool
vhost_async_thread_only_submits(struct vhost_async_thread *self, uint64_t now)
{
    struct dpdk_dma_chan *chan = self->sender.chan;
    bool sent = self->sent;

    self->sent = false;
    if (OVS_LIKELY(chan) && !dpdk_dma_chan_failed(chan)
        && dma_defer_is_empty(&self->sender.kept) && sent
        && now - self->poll_tsc < self->poll_cycles) {
        dpdk_dma_chan_doorbell(chan);
        return true;
    }
    self->poll_tsc = now;
    return false;
}

/* Has txqs publish the 'n' packets 'done', as far as their turn came. */
static void
thread_publish(struct vhost_async_sender *sender,
               const struct dpdk_dma_done *done, unsigned int n)
{
    /* Packets of one burst follow each other.  If the last of them is
     * published, by this thread or another one, those before it are, too, and
     * the txq is not looked at once more.  Rxqs are polled. */
    for (unsigned int i = 0; i < n; i++) {
        struct vhost_async_vq *vq = vhost_async_vq_of_owner(done[i].owner);

        if ((i + 1 < n && done[i].owner == done[i + 1].owner) || vq->rx) {
            continue;
        }
        if ((int32_t) (vhost_async_vq_get(&vq->published) - done[i].seq)
            <= 0) {
            vhost_async_engine_publish(sender, vhost_async_txq_of_vq(vq));
        }
    }
}

/* The same, and has 'self' learn how long that takes. */
static void
thread_publish_timed(struct vhost_async_thread *self,
                     struct vhost_async_sender *sender,
                     const struct dpdk_dma_done *done, unsigned int n)
{
    uint64_t begin = dpdk_dma_cost_clock();
    unsigned int n_sent = 0;
    uint64_t cycles;

    thread_publish(sender, done, n);
    cycles = dpdk_dma_cost_clock() - begin;
    self->publish_cycles += cycles;
    for (unsigned int i = 0; i < n; i++) {
        n_sent += !vhost_async_vq_of_owner(done[i].owner)->rx;
    }
    if (n_sent) {
        cycles -= MIN(cycles, self->claimed->cost.clock);
        vhost_async_trial_add_publish(&self->sender.cost.trial, cycles,
                                      n_sent);
    }
}

/* Reaps the channel of 'self'.  What others left at the txqs is seen to by
 * 'sender', that of the thread, or NULL if it is to get nothing more to come
 * back for. */
static unsigned int
thread_reap_channel(struct vhost_async_thread *self,
                    struct vhost_async_sender *sender)
{
    struct dpdk_dma_chan *chan = self->sender.chan;
    struct dpdk_dma_done done[THREAD_REAP_BURST];
    unsigned int n;

    if (OVS_UNLIKELY(dpdk_dma_chan_failed(chan))) {
        thread_abandon(self);
        return 0;
    } else if (!vhost_async_thread_has_copies(self)) {
        return 0;
    }

    dpdk_dma_chan_doorbell(chan);
    n = dpdk_dma_chan_reap(chan, done, ARRAY_SIZE(done));
    vhost_async_count(&self->stats.polls, 1);
    if (!n) {
        const char *fault = dpdk_dma_chan_fault(chan,
                                                dpdk_dma_dev_timeout_ms());

        vhost_async_count(&self->stats.empty_polls, 1);
        if (OVS_UNLIKELY(fault)) {
            dpdk_dma_dev_quarantine(chan, fault);
            thread_abandon(self);
        }
        return 0;
    }

    for (unsigned int i = 0; i < n; i++) {
        vhost_async_vq_done(vhost_async_vq_of_owner(done[i].owner),
                            done[i].seq);
    }
    if (vhost_async_thread_times_reap(self)) {
        thread_publish_timed(self, sender, done, n);
    } else {
        thread_publish(sender, done, n);
    }

    COVERAGE_INC(vhost_async_reap);
    vhost_async_count(&self->stats.reaped, n);
    thread_sample_latency(self);
    return n;
}

/* Reaps the channel of 'self' and sees to what it has to come back for.
 * Returns the number of packets.  To be called once per PMD iteration if
 * vhost_async_thread_is_busy(). */
unsigned int
vhost_async_thread_reap(struct vhost_async_thread *self)
{
    unsigned int n = 0;

    if (OVS_LIKELY(self->sender.chan)) {
        n = thread_reap_channel(self, &self->sender);
    }
    if (OVS_UNLIKELY(!dma_defer_is_empty(&self->sender.kept))) {
        vhost_async_engine_run(&self->sender);
    }
    return n;
}

/* Has 'self' learn from the 'cycles' that it took, as told by
 * dpdk_dma_cost_clock(), to have the engine start and to reap 'n' packets. */
void
vhost_async_thread_add_reap(struct vhost_async_thread *self, uint64_t cycles,
                            uint32_t n)
{
    /* That is what a txq costs, and no rxq. */
    cycles -= MIN(cycles, self->publish_cycles + self->claimed->cost.clock);
    vhost_async_cost_add_reap(&self->sender.cost, cycles, n);
    vhost_async_cost_add_reap(&self->sender.rx_cost, cycles, n);
}

/* Waits until the thread has nothing in flight, or its channel failed, and
 * lets go of all txqs.  The engine has its timeout for each copy. */
void
vhost_async_thread_drain(struct vhost_async_thread *self)
{
    /* Both together: who handles a message of a guest, and is to open a txq
     * again, may wait for these copies. */
    while (!vhost_async_engine_leave(&self->sender)
           || vhost_async_thread_has_copies(self)) {
        if (!self->sender.chan || !thread_reap_channel(self, NULL)) {
            /* A software engine may need this very core. */
            sched_yield();
        }
    }
    if (self->sender.chan && dpdk_dma_chan_failed(self->sender.chan)) {
        thread_abandon(self);
    }
}
