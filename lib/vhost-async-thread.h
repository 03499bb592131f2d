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

#ifndef VHOST_ASYNC_THREAD_H
#define VHOST_ASYNC_THREAD_H 1

/* What a PMD thread does about copies by DMA, once per iteration and whatever
 * the number of virtqueues: it has the engine start with those of the
 * iteration, reaps its channel, tells each virtqueue which of its packets are
 * there, and has txqs publish them.
 *
 * dpif-netdev-dma.c claims the channel and calls these functions.
 *
 * Thread-safety
 * =============
 *
 * A 'struct vhost_async_thread' belongs to one PMD thread, which alone calls
 * the functions that take one.  Others read its counters. */

#include <stdbool.h>
#include <stdint.h>

#include "dpdk-dma-chan.h"
#include "openvswitch/list.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "vhost-async-txq.h"

/* Latencies of 2^n TSC cycles and more, up to twice that, are counted in eight
 * bins of equal width: a percentile is told within an eighth.  The last one
 * has all that take longer, too, which is minutes. */
#define VHOST_ASYNC_LATENCY_BINS (8 * 37)

/* Counters of a PMD thread, all written by it alone, but for 'latency_max',
 * which dpif-netdev/dma-stats-clear sets to 0: the thread may write the old
 * one once more. */
struct vhost_async_thread_stats {
    atomic_uint64_t polls;          /* Of the channel. */
    atomic_uint64_t empty_polls;    /* Those which found nothing. */
    atomic_uint64_t reaped;         /* Packets that came back. */
    atomic_uint64_t latency_n;      /* Samples of the following. */
    atomic_uint64_t latency_sum;    /* TSC cycles, submit to reap. */
    atomic_uint64_t latency_max;
    atomic_uint64_t latency_bins[VHOST_ASYNC_LATENCY_BINS];
};

/* What a PMD thread knows of DMA. */
struct vhost_async_thread {
    /* Looked at in each iteration, as is the first part of 'sender'. */
    bool lacks_chan;                /* Polls rxqs, and has no claim. */
    bool charge;                    /* Submitted since the last charge. */
    bool sent;                      /* Submitted in this iteration. */
    uint32_t n_fetched;             /* Packets of guests, whose copies began in
                                     * this iteration. */
    uint32_t n_looks;               /* Iterations without a channel. */

    struct vhost_async_sender sender;
    struct dpdk_dma_chan *claimed;  /* As 'sender.chan', also if it failed. */
    uint64_t sample;                /* Copies submitted after a burst, and */
    uint64_t sample_tsc;            /* ...when that was, 0 for none. */
    uint64_t poll_tsc;              /* Of the last look at the channel. */
    uint64_t poll_cycles;           /* TSC cycles until the next, at least. */
    uint64_t publish_cycles;        /* What publishing to txqs took, of a look
                                     * that is timed. */
    uint64_t reap_cycles;           /* Spent reaping, or on polls of which
                                     * nothing came up, from when they began
                                     * to copy; not yet charged. */

    /* For those who print it. */
    uint32_t core_id;
    int numa_id;
    char *dp_name;
    struct ovs_list list_node;      /* In the list of dpif-netdev-dma.c. */
    struct vhost_async_thread_stats stats;
    struct vhost_async_thread_stats zero;   /* 'stats' when cleared last. */
    struct vhost_async_sender_stats sender_zero;    /* Likewise. */
};

/* The calling thread's, NULL if it is no PMD thread. */
DECLARE_EXTERN_PER_THREAD_DATA(struct vhost_async_thread *, vhost_async_self);

void vhost_async_thread_init(struct vhost_async_thread *);
void vhost_async_thread_set_chan(struct vhost_async_thread *,
                                 struct dpdk_dma_chan *);
bool vhost_async_thread_only_submits(struct vhost_async_thread *,
                                     uint64_t now);
unsigned int vhost_async_thread_reap(struct vhost_async_thread *);
void vhost_async_thread_add_reap(struct vhost_async_thread *, uint64_t cycles,
                                 uint32_t n);
void vhost_async_thread_drain(struct vhost_async_thread *);
uint64_t vhost_async_thread_latency(const struct vhost_async_thread *,
                                    unsigned int percentile);

/* Whether reaping is to be timed, and vhost_async_thread_add_reap() to be
 * called. */
static inline bool
vhost_async_thread_times_reap(const struct vhost_async_thread *self)
{
    return vhost_async_trial_times_reap(&self->sender.cost.trial)
           || vhost_async_trial_times_reap(&self->sender.rx_cost.trial);
}

/* Whether copies of the thread are in flight. */
static inline bool
vhost_async_thread_has_copies(const struct vhost_async_thread *self)
{
    return self->sender.chan && dpdk_dma_chan_in_flight(self->sender.chan);
}

/* Whether the thread has to come back for something, and must not sleep: also
 * to let go of a channel that failed. */
static inline bool
vhost_async_thread_is_busy(const struct vhost_async_thread *self)
{
    return vhost_async_thread_has_copies(self)
           || (self->sender.chan
               && OVS_UNLIKELY(dpdk_dma_chan_failed(self->sender.chan)))
           || OVS_UNLIKELY(!dma_defer_is_empty(&self->sender.kept));
}

/* To be called after each burst that the thread sent to a ring of ours, or
 * fetched from one with copies by DMA. */
static inline void
vhost_async_thread_sent(struct vhost_async_thread *self)
{
    if (vhost_async_thread_has_copies(self)) {
        self->charge = self->sent = true;
        /* One burst at a time is timed. */
        if (!self->sample_tsc) {
            self->sample = dpdk_dma_chan_submitted(self->sender.chan);
            self->sample_tsc = rte_get_tsc_cycles();
        }
    }
}

#endif /* vhost-async-thread.h */
