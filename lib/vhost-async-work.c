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

/* Implementation of vhost-async-work.h.  Nothing is shared between threads but
 * the txq's counters and what the vhost library locks. */

#include <config.h>

#include "vhost-async-work.h"

#include <sched.h>

#include <rte_cycles.h>

#include "coverage.h"
#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "netdev-dpdk-async.h"
#include "util.h"
#include "vhost-async-txq.h"

COVERAGE_DEFINE(vhost_async_full);
COVERAGE_DEFINE(vhost_async_reap);

/* A poll that brings back fewer packets than that did not end for having
 * looked at as many copies as the vhost library does in one go, which is 128:
 * no packet takes more than some thirty. */
#define WORK_MANY 4

/* Time that other threads have to poll, in vhost_async_work_look(). */
#define WORK_LOOK_US 10000

DEFINE_EXTERN_PER_THREAD_DATA(vhost_async_self, NULL);

/* Prepares 'self', which has just claimed a channel, or has none yet. */
void
vhost_async_work_thread_init(struct vhost_async_thread *self)
{
    dma_defer_init(&self->queue);
    dma_defer_init(&self->kept);
    self->progress_tsc = 0;
    self->suspect = false;
    self->refused_tsc = 0;
    self->n_refused = 0;
    self->reap_cycles = 0;
    self->charge = false;
}

void
vhost_async_work_init(struct vhost_async_work *work,
                             struct vhost_async_txq *txq)
{
    dma_defer_node_init(&work->node);
    work->txq = txq;
}

/* Polls 'txq' of device 'vid' for what 'chan' finished, and counts that for
 * 'self', NULL if it is no PMD thread.  Returns the number of packets.  See
 * vhost_async_txq_poll(). */
uint16_t
vhost_async_work_poll(struct vhost_async_thread *self,
                      struct vhost_async_txq *txq, int vid,
                      const struct dpdk_dma_chan *chan)
{
    uint16_t n = vhost_async_txq_poll(txq, vid, chan);

    if (OVS_UNLIKELY(!self)) {
        return n;
    }
    vhost_async_count(&self->stats.polls, 1);
    if (n) {
        vhost_async_count(&self->stats.reaped, n);
    } else {
        vhost_async_count(&self->stats.empty_polls, 1);
    }
    return n;
}

/* Submits 'cnt' packets to 'txq' through the channel of 'self'.  Returns how
 * many were taken, which belong to the txq from now on.
 *
 * When they do not all fit, what the engine finished meanwhile makes room,
 * and the rest gets one more chance; further ones are for the caller, who
 * knows of tx-retries-max.
 *
 * The caller is the one sender of 'txq' and read 'vid' in this RCU critical
 * section. */
uint16_t
vhost_async_work_submit(struct vhost_async_thread *self,
                        struct vhost_async_txq *txq, int vid,
                        struct rte_mbuf **pkts, uint16_t cnt)
{
    struct vhost_async_work *work = &txq->work[self->chan->index];
    uint16_t n;

    n = vhost_async_txq_submit(txq, vid, self->chan, pkts, cnt);
    if (OVS_UNLIKELY(n < cnt)) {
        COVERAGE_INC(vhost_async_full);
        vhost_async_count(&self->stats.full, 1);
        vhost_async_work_poll(self, txq, vid, self->chan);
        n += vhost_async_txq_submit(txq, vid, self->chan, &pkts[n], cnt - n);
        if (!n) {
            return 0;
        }
    }

    atomic_store_relaxed(&work->last, vhost_async_txq_submitted(txq));
    vhost_async_count(&self->stats.bursts, 1);
    self->charge = true;
    if (!work->tsc) {
        work->tsc = rte_get_tsc_cycles();
        work->sample = vhost_async_txq_submitted(txq);
    }
    if (dma_defer_is_empty(&self->queue)) {
        self->progress_tsc = work->tsc;
        self->suspect = false;
    }
    if (dma_defer_push(&self->queue, &work->node)) {
        work->polled = vhost_async_txq_completed(txq);
    }
    return n;
}

static bool
work_has_come_to(const struct vhost_async_work *work, uint32_t seq)
{
    return (int32_t) (vhost_async_txq_completed(work->txq) - seq) >= 0;
}

static bool
work_is_done(const struct vhost_async_work *work)
{
    return work_has_come_to(work, vhost_async_work_last(work));
}

/* One burst at a time is timed per pair, from its submission to the reap that
 * brings it back. */
static void
work_sample_latency(struct vhost_async_thread *self,
                     struct vhost_async_work *work)
{
    struct vhost_async_thread_stats *stats = &self->stats;
    uint64_t latency;

    if (!work->tsc || (int32_t) (vhost_async_txq_completed(work->txq)
                                 - work->sample) < 0) {
        return;
    }
    latency = rte_get_tsc_cycles() - work->tsc;
    work->tsc = 0;
    vhost_async_count(&stats->latency_n, 1);
    vhost_async_count(&stats->latency_sum, latency);
    if (OVS_UNLIKELY(latency > vhost_async_counter(&stats->latency_max))) {
        atomic_store_relaxed(&stats->latency_max, latency);
    }
}

struct work_reap_aux {
    struct vhost_async_thread *self;
    unsigned int n;             /* Packets reaped, or pairs done. */
};

/* The device of a pair can be gone, or be another one by now.  A pair whose
 * packets all came back is done, whoever reaped them; for a device that is
 * just going, whose 'vid' is unset, its vhost thread drains.  In both cases
 * nothing is touched but the txq itself, which outlives devices. */
static bool
work_needs_nothing(const struct vhost_async_work *work, int vid)
{
    return work_is_done(work) || OVS_UNLIKELY(vid < 0)
           || OVS_UNLIKELY(!vhost_async_txq_is_registered(work->txq));
}

static bool
work_reap_one(struct dma_defer_node *node, void *aux_)
{
    struct vhost_async_work *work
        = CONTAINER_OF(node, struct vhost_async_work, node);
    int vid = ovsrcu_index_get(work->txq->vid);
    struct work_reap_aux *aux = aux_;
    uint16_t n;

    if (work_needs_nothing(work, vid)) {
        work->tsc = 0;
        return true;
    }

    /* More may be ready than one poll hands back: so many packets at most, and
     * so many copies, of which a big packet takes several.  Not all of it need
     * be this thread's: the thread that is done last takes all.  What is
     * younger than an iteration can wait for the next one; to poll once more
     * for that would mostly be in vain. */
    do {
        n = vhost_async_work_poll(aux->self, work->txq, vid,
                                  aux->self->chan);
        aux->n += n;
    } while (n >= WORK_MANY
             && (n == VHOST_ASYNC_POLL_BURST
                 || !work_has_come_to(work, work->polled)));
    work->polled = vhost_async_work_last(work);
    work_sample_latency(aux->self, work);
    return work_is_done(work);
}

static bool
work_look_at_one(struct dma_defer_node *node, void *aux_)
{
    struct vhost_async_work *work
        = CONTAINER_OF(node, struct vhost_async_work, node);
    int vid = ovsrcu_index_get(work->txq->vid);
    struct work_reap_aux *aux = aux_;

    uint32_t completed = vhost_async_txq_completed(work->txq);

    work_sample_latency(aux->self, work);
    aux->n += completed != work->looked;
    work->looked = completed;
    if (work_needs_nothing(work, vid)) {
        work->tsc = 0;
        return true;
    }
    return false;
}

static bool
work_mark_stuck(struct dma_defer_node *node, void *aux OVS_UNUSED)
{
    struct vhost_async_work *work
        = CONTAINER_OF(node, struct vhost_async_work, node);

    work->tsc = 0;
    if (!work_is_done(work)) {
        netdev_dpdk_async_txq_stuck(work->txq);
    }
    return true;
}

/* Lets go of a channel that failed: the thread copies by CPU from now on, and
 * the txqs that wait for the channel are cleaned up by their ports. */
static void
work_give_up(struct vhost_async_thread *self)
{
    dma_defer_run(&self->queue, work_mark_stuck, NULL);
}

/* An engine is dead when it has copies and completes none for the timeout.
 * That nothing comes back to this thread is no proof: other threads may be
 * reaping for it, or the head of a txq is on another channel.  So the silence
 * only raises a suspicion, and what the engine itself says decides. */
static bool
work_is_overdue(struct vhost_async_thread *self)
{
    uint64_t timeout = rte_get_tsc_hz() / 1000 * dpdk_dma_dev_timeout_ms();
    uint64_t now = rte_get_tsc_cycles();
    uint64_t completed;

    if (OVS_LIKELY(now - self->progress_tsc < timeout / 2)) {
        return false;
    }
    self->progress_tsc = now;
    completed = dpdk_dma_chan_completed(self->chan);
    if (!dpdk_dma_chan_in_flight(self->chan)) {
        self->suspect = false;
    } else if (!self->suspect || completed != self->suspect_completed) {
        self->suspect = true;
        self->suspect_completed = completed;
    } else {
        return true;
    }
    return false;
}

static unsigned int
work_run(struct vhost_async_thread *self, dma_defer_func *func)
{
    struct work_reap_aux aux = { .self = self };

    if (OVS_UNLIKELY(dpdk_dma_chan_failed(self->chan))) {
        work_give_up(self);
        return 0;
    }

    dma_defer_run(&self->queue, func, &aux);
    if (aux.n) {
        COVERAGE_INC(vhost_async_reap);
        self->progress_tsc = rte_get_tsc_cycles();
        self->suspect = false;
    } else if (OVS_UNLIKELY(work_is_overdue(self))) {
        dpdk_dma_dev_quarantine(self->chan, "it did not complete a copy in "
                                            "time");
        work_give_up(self);
    }
    return aux.n;
}

/* Reaps what came back to the txqs that 'self' has copies in flight to, each
 * one once.  Returns the number of packets.  To be called once per PMD
 * iteration if vhost_async_work_is_busy(). */
unsigned int
vhost_async_work_reap(struct vhost_async_thread *self)
{
    return work_run(self, work_reap_one);
}

/* As vhost_async_work_reap(), but leaves it to other threads to poll, unless
 * they do not get to it for WORK_LOOK_US.  Returns how many txqs got
 * something back. */
unsigned int
vhost_async_work_look(struct vhost_async_thread *self)
{
    uint64_t patience = rte_get_tsc_hz() / 1000000 * WORK_LOOK_US;

    return work_run(self, rte_get_tsc_cycles() - self->progress_tsc > patience
                          ? work_reap_one : work_look_at_one);
}

/* Polls for a pair with all channels, as its head can be on another thread's,
 * until it is done or for VHOST_ASYNC_WAIT_US.  Another thread at the
 * virtqueue can have a poll return nothing. */
static bool
work_finish_one(struct dma_defer_node *node, void *aux OVS_UNUSED)
{
    struct vhost_async_work *work
        = CONTAINER_OF(node, struct vhost_async_work, node);
    int vid = ovsrcu_index_get(work->txq->vid);

    work->tsc = 0;
    if (vid >= 0 && vhost_async_txq_is_registered(work->txq)) {
        vhost_async_txq_drain_until(work->txq, vid,
                                    vhost_async_work_last(work),
                                    VHOST_ASYNC_WAIT_US);
    }
    return true;
}

/* Empties the queue of 'self', so that no reference to a port is left: waits
 * for the engine until its channel's copies came back or it failed, which the
 * timeout bounds.  A pair that is left after that waits for a channel that
 * does not answer, whose owner marks the txq as stuck. */
void
vhost_async_work_drain(struct vhost_async_thread *self)
{
    if (!self->chan) {
        return;
    }
    if (dpdk_dma_chan_failed(self->chan)) {
        work_give_up(self);
    }
    while (vhost_async_work_is_busy(self)
           && dpdk_dma_chan_in_flight(self->chan)) {
        vhost_async_work_reap(self);
        /* A software engine may need this very core. */
        sched_yield();
    }
    dma_defer_run(&self->queue, work_finish_one, NULL);
}
