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

#ifndef VHOST_ASYNC_ENGINE_H
#define VHOST_ASYNC_ENGINE_H 1

/* What a completion engine is: the rule by which threads send to a txq, and
 * reap what they, or others, submitted.  Each build contains one, chosen by
 * configure (--with-vhost-async); this header is all that others know of it.
 *
 *   defer    vhost-async-defer.c: senders take turns at the tx lock; each
 *            reaps what it submitted, from its queue of deferred work.
 *   ring     vhost-async-ring.c: a lockless ring per txq; who gets to be its
 *            drainer submits for all.
 *   rx       vhost-async-rx.c: as defer, but the thread that polls the rxq of
 *            the port reaps.  For comparison only.
 *
 * Thread-safety
 * =============
 *
 * vhost_async_engine_send() is for any thread that sends; it holds the tx lock
 * of the txq if VHOST_ASYNC_TX_LOCK.  Functions that take a 'struct
 * vhost_async_thread' are for the PMD thread that it belongs to.  A txq is
 * started and stopped under the mutex of its port, see vhost-async-txq.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dma-defer-queue.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "util.h"
#include "vhost-async-choice.h"
#include "vhost-async-work.h"

struct rte_mbuf;
struct rte_ring;
struct vhost_async_txq;

/* Of the engine: its name, its source for tests that include it, and, as
 * constants for compilers to see, whether senders hold the tx lock of
 * netdev-dpdk, whether threads have txqs in 'kept', and whether it wants to
 * know of polls of the rxq. */
#if defined(VHOST_ASYNC_DEFER)
#define VHOST_ASYNC_ENGINE "defer"
#define VHOST_ASYNC_ENGINE_SOURCE "vhost-async-defer.c"
#define VHOST_ASYNC_TX_LOCK true
#define VHOST_ASYNC_KEEPS false
#define VHOST_ASYNC_RX_POLL false
#elif defined(VHOST_ASYNC_RING)
#define VHOST_ASYNC_ENGINE "ring"
#define VHOST_ASYNC_ENGINE_SOURCE "vhost-async-ring.c"
#define VHOST_ASYNC_TX_LOCK false
#define VHOST_ASYNC_KEEPS true
#define VHOST_ASYNC_RX_POLL false
#elif defined(VHOST_ASYNC_RX)
#define VHOST_ASYNC_ENGINE "rx"
#define VHOST_ASYNC_ENGINE_SOURCE "vhost-async-rx.c"
#define VHOST_ASYNC_TX_LOCK true
#define VHOST_ASYNC_KEEPS false
#define VHOST_ASYNC_RX_POLL true
#else
#error "configure chose no completion engine"
#endif

uint16_t vhost_async_engine_send(struct vhost_async_thread *,
                                 struct vhost_async_txq *, int vid,
                                 struct rte_mbuf **, uint16_t cnt);
unsigned int vhost_async_engine_reap(struct vhost_async_thread *);
void vhost_async_engine_drain(struct vhost_async_thread *);

/* The engine's part of a txq; see the engine. */
#ifdef VHOST_ASYNC_RING
struct vhost_async_engine_txq {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        atomic_bool draining;           /* A thread is the drainer. */
        atomic_uint32_t waiting;        /* Packets in 'ring', or nearly. */
        ATOMIC(struct vhost_async_thread *) keeper; /* Will come back. */
        struct dma_defer_node node;     /* In the keeper's 'kept'. */
        OVSRCU_TYPE(struct rte_ring *) ring;    /* Of mbufs. */
        size_t memory;                  /* Bytes that 'ring' takes. */
    );
};

void vhost_async_engine_txq_init(struct vhost_async_txq *);
bool vhost_async_engine_txq_start(struct vhost_async_txq *,
                                  uint16_t vring_size, int numa_id);
void vhost_async_engine_txq_stop(struct vhost_async_txq *);
size_t vhost_async_engine_txq_memory(const struct vhost_async_txq *);
uint32_t vhost_async_engine_txq_waiting(const struct vhost_async_txq *);
#else
struct vhost_async_engine_txq {
    PADDED_MEMBERS(CACHE_LINE_SIZE, char dummy;);
};

static inline void
vhost_async_engine_txq_init(struct vhost_async_txq *txq OVS_UNUSED)
{
}

static inline bool
vhost_async_engine_txq_start(struct vhost_async_txq *txq OVS_UNUSED,
                             uint16_t vring_size OVS_UNUSED,
                             int numa_id OVS_UNUSED)
{
    return true;
}

static inline void
vhost_async_engine_txq_stop(struct vhost_async_txq *txq OVS_UNUSED)
{
}

static inline size_t
vhost_async_engine_txq_memory(const struct vhost_async_txq *txq OVS_UNUSED)
{
    return 0;
}

static inline uint32_t
vhost_async_engine_txq_waiting(const struct vhost_async_txq *txq OVS_UNUSED)
{
    return 0;
}
#endif

#ifdef VHOST_ASYNC_RX
void vhost_async_engine_rx(struct vhost_async_thread *,
                           struct vhost_async_txq *, int vid);
#else
static inline void
vhost_async_engine_rx(struct vhost_async_thread *self OVS_UNUSED,
                      struct vhost_async_txq *txq OVS_UNUSED,
                      int vid OVS_UNUSED)
{
}
#endif

/* Whether the thread has something outstanding that it must come back for. */
static inline bool
vhost_async_engine_is_busy(const struct vhost_async_thread *self)
{
    return vhost_async_work_is_busy(self)
           || (VHOST_ASYNC_KEEPS && !dma_defer_is_empty(&self->kept));
}

/* Whether that cannot wait for as long as a PMD thread may sleep.  What waits
 * for the guest to make room can. */
static inline bool
vhost_async_engine_is_urgent(const struct vhost_async_thread *self)
{
    return vhost_async_work_is_busy(self)
           || (VHOST_ASYNC_KEEPS && !dma_defer_is_empty(&self->kept)
               && !self->kept_idle);
}

#endif /* vhost-async-engine.h */
