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

#ifndef VHOST_ASYNC_WORK_H
#define VHOST_ASYNC_WORK_H 1

/* What a PMD thread has in flight: through its channel, to which txqs, since
 * when.
 *
 * A thread that submits copies to a txq queues the pair (channel, txq) in its
 * own deferred-work queue and comes back to it until all that it submitted has
 * returned, whoever reaped it.  The queue holds a pair once, however many
 * bursts are outstanding.  Completion engines (vhost-async-engine.h) say when
 * a thread submits and who polls.
 *
 * Thread-safety
 * =============
 *
 * A 'struct vhost_async_thread' belongs to one PMD thread, which alone calls
 * the functions that take one.  Others read its 'stats'. */

#include <stdbool.h>
#include <stdint.h>

#include "dma-defer-queue.h"
#include "openvswitch/list.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "util.h"

struct dpdk_dma_chan;
struct rte_mbuf;
struct vhost_async_txq;

/* Counters of a PMD thread, all written by it alone. */
struct vhost_async_thread_stats {
    atomic_uint64_t dma_packets;
    atomic_uint64_t dma_bytes;
    atomic_uint64_t cpu_packets;    /* To ports that are on DMA. */
    atomic_uint64_t cpu_bytes;
    atomic_uint64_t bursts;         /* Submitted to the channel. */
    atomic_uint64_t full;           /* Bursts that did not fit at once. */
    atomic_uint64_t polls;          /* Of a txq for completions. */
    atomic_uint64_t empty_polls;    /* Those which found nothing. */
    atomic_uint64_t reaped;         /* Packets that came back. */
    atomic_uint64_t latency_n;      /* Samples of the following. */
    atomic_uint64_t latency_sum;    /* TSC cycles, submit to reap. */
    atomic_uint64_t latency_max;
};

/* The copies that one channel has in flight to one txq. */
struct vhost_async_work {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct dma_defer_node node;
        struct vhost_async_txq *txq;
        atomic_uint32_t last;       /* 'submitted' after the last burst. */
        uint32_t polled;            /* 'last' at the last poll. */
        uint32_t looked;            /* 'completed' at the last look. */
        uint32_t sample;            /* 'submitted' after a burst, and */
        uint64_t tsc;               /* ...when that was, 0 for none. */
        atomic_uint64_t left;       /* See vhost_async_txq_has_left(). */
    );
};

/* What a PMD thread knows of DMA. */
struct vhost_async_thread {
    struct dpdk_dma_chan *chan;     /* Claimed channel, or NULL. */
    struct dma_defer_queue queue;   /* Of 'struct vhost_async_work'. */
    struct dma_defer_queue kept;    /* Of txqs; the engine's. */
    bool kept_idle;                 /* Nothing came of them at last. */
    uint64_t progress_tsc;          /* When the engine was seen alive. */
    bool suspect;                   /* It has copies and is late. */
    uint64_t suspect_completed;     /* What it had completed by then. */
    uint64_t refused_tsc;           /* Since when nothing is taken. */
    unsigned int n_refused;         /* Bursts that only the CPU took. */
    uint64_t reap_cycles;           /* Spent reaping, not yet charged. */
    bool charge;                    /* Submitted since the last charge. */

    /* For those who print it. */
    uint32_t core_id;
    int numa_id;
    char *dp_name;
    struct ovs_list list_node;      /* In the list of dpif-netdev-dma.c. */
    struct vhost_async_thread_stats stats;
    struct vhost_async_thread_stats zero;   /* 'stats' when cleared last. */
};

/* The calling thread's, NULL if it is no PMD thread. */
DECLARE_EXTERN_PER_THREAD_DATA(struct vhost_async_thread *, vhost_async_self);

void vhost_async_work_thread_init(struct vhost_async_thread *);
void vhost_async_work_init(struct vhost_async_work *,
                           struct vhost_async_txq *);

uint16_t vhost_async_work_submit(struct vhost_async_thread *,
                                 struct vhost_async_txq *, int vid,
                                 struct rte_mbuf **, uint16_t cnt);
uint16_t vhost_async_work_poll(struct vhost_async_thread *,
                               struct vhost_async_txq *, int vid,
                               const struct dpdk_dma_chan *);
unsigned int vhost_async_work_reap(struct vhost_async_thread *);
unsigned int vhost_async_work_look(struct vhost_async_thread *);
void vhost_async_work_drain(struct vhost_async_thread *);

/* Whether copies of the thread are in flight. */
static inline bool
vhost_async_work_is_busy(const struct vhost_async_thread *self)
{
    return !dma_defer_is_empty(&self->queue);
}

#endif /* vhost-async-work.h */
