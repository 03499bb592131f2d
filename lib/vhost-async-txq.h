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

#ifndef VHOST_ASYNC_TXQ_H
#define VHOST_ASYNC_TXQ_H 1

/* A vhost txq whose copies may be carried by DMA.
 *
 * A thin, exact account on top of the asynchronous vhost library: what is in
 * flight to a txq, which mbufs these are, and where each packet went.  It
 * submits, polls and drains; when to do which is for the completion engine
 * (vhost-async-engine.h) and for the port (netdev-dpdk-async.h).
 *
 * Thread-safety
 * =============
 *
 *   - There is one sender at a time: the thread that holds the tx lock of the
 *     txq in netdev-dpdk, or that is the drainer, as the engine has it.
 *     'submitted' and 'stats' are his to write, but for counters of drops,
 *     which are shared.
 *   - Any thread may poll, with a channel on which the txq has copies: the
 *     vhost library locks the virtqueue and the channel.  It hands packets
 *     back in ring order, whoever asked.  'completed' is written by pollers.
 *   - 'work' has one element per channel, which belongs to the channel's
 *     owner.
 *   - The rest is written by the thread of the vhost library and by the main
 *     thread, under the mutex of the port.
 *
 * A txq lives as long as its port is registered for asynchronous copies.  No
 * thread may call into the library with a 'vid' that it did not read in the
 * same RCU critical section. */

#include <stdbool.h>
#include <stdint.h>

#include "dpdk-dma-map.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-work.h"

struct netdev_dpdk_async;
struct rte_mbuf;

/* Longest time for which a thread without a channel waits for copies that are
 * in flight, in microseconds, before its packets are dropped.  An engine
 * answers within some 10 us. */
#define VHOST_ASYNC_WAIT_US 500

/* Counters of a txq.  Written by one thread at a time and without locked
 * instructions, read by others, hence atomics. */
struct vhost_async_txq_stats {
    atomic_uint64_t dma_packets;    /* Handed to a channel. */
    atomic_uint64_t dma_bytes;
    atomic_uint64_t cpu_packets;    /* Copied by CPU. */
    atomic_uint64_t cpu_bytes;
    atomic_uint64_t busy_drops;     /* No channel, and copies in flight. */
    atomic_uint64_t stuck_drops;    /* Sent while 'stuck'. */
    atomic_uint64_t lost_drops;     /* In flight on a channel that failed. */
    atomic_uint64_t ring_full_drops;    /* No room in the engine's ring. */
    atomic_uint64_t ring_lost_drops;    /* Taken into it, then given up. */
};

/* Packets asked for in one poll: two bursts, so that a thread which polls once
 * per burst catches up. */
#define VHOST_ASYNC_POLL_BURST 64

/* The mbufs in flight, for the case that they never come back. */
struct vhost_async_shadow {
    uint32_t size;              /* Of the virtqueue. */
    uint32_t mask;
    struct rte_mbuf *mbufs[];
};

struct vhost_async_txq {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        /* Constant. */
        struct netdev_dpdk_async *port;
        const ovsrcu_index *vid;    /* Of the netdev. */
        uint16_t qid;               /* Number of the txq. */
        uint16_t vring;             /* Index of its virtqueue. */
        size_t n_work;              /* Number of elements of 'work'. */

        atomic_bool registered;     /* With the vhost library. */
        atomic_bool stuck;          /* Its head is on a failed channel. */
    );

    struct vhost_async_engine_txq engine;

    PADDED_MEMBERS_CACHELINE_MARKER(CACHE_LINE_SIZE, sender,
        /* Packets handed to channels, counted from creation, wraps. */
        atomic_uint32_t submitted;
        atomic_bool left;       /* Some of 'work' may have some left. */
        OVSRCU_TYPE(struct vhost_async_shadow *) shadow;
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_async_txq_stats stats;
    );

    PADDED_MEMBERS_CACHELINE_MARKER(CACHE_LINE_SIZE, poller,
        /* Packets that came back, likewise. */
        atomic_uint32_t completed;
    );

    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_async_txq_stats zero;  /* 'stats' when cleared last. */
    );
    struct vhost_async_work work[];
};

/* Members that different threads write are in different cache lines. */
BUILD_ASSERT_DECL(offsetof(struct vhost_async_txq, engine)
                  % CACHE_LINE_SIZE == 0);
BUILD_ASSERT_DECL(offsetof(struct vhost_async_txq, submitted)
                  % CACHE_LINE_SIZE == 0);
BUILD_ASSERT_DECL(offsetof(struct vhost_async_txq, completed)
                  % CACHE_LINE_SIZE == 0);
BUILD_ASSERT_DECL(offsetof(struct vhost_async_txq, work)
                  % CACHE_LINE_SIZE == 0);

struct vhost_async_txq *vhost_async_txq_create(uint16_t qid,
                                               struct netdev_dpdk_async *);
void vhost_async_txq_destroy(struct vhost_async_txq *);

bool vhost_async_txq_register(struct vhost_async_txq *, int vid);
void vhost_async_txq_unregister(struct vhost_async_txq *, int vid);
void vhost_async_txq_unregister_locked(struct vhost_async_txq *, int vid);

uint16_t vhost_async_txq_submit(struct vhost_async_txq *, int vid,
                                const struct dpdk_dma_chan *,
                                struct rte_mbuf **, uint16_t cnt);
uint16_t vhost_async_txq_poll(struct vhost_async_txq *, int vid,
                              const struct dpdk_dma_chan *);
bool vhost_async_txq_has_left(const struct vhost_async_txq *);
bool vhost_async_txq_waits_for(const struct vhost_async_txq *,
                               const struct dpdk_dma_chan *);
bool vhost_async_txq_drain_until(struct vhost_async_txq *, int vid,
                                 uint32_t seq, unsigned int timeout_us);
bool vhost_async_txq_drain(struct vhost_async_txq *, int vid,
                           unsigned int timeout_us);
bool vhost_async_txq_drain_locked(struct vhost_async_txq *, int vid,
                                  unsigned int timeout_us);
void vhost_async_txq_quarantine(struct vhost_async_txq *, int vid,
                                bool locked);
unsigned int vhost_async_txq_abandon(struct vhost_async_txq *);
size_t vhost_async_txq_memory(const struct vhost_async_txq *);

/* Adds 'n' to a counter that only the calling thread writes. */
static inline void
vhost_async_count(atomic_uint64_t *counter, uint64_t n)
{
    uint64_t value;

    atomic_read_relaxed(counter, &value);
    atomic_store_relaxed(counter, value + n);
}

/* Adds 'n' to a counter that any thread writes; seldom. */
static inline void
vhost_async_count_shared(atomic_uint64_t *counter, uint64_t n)
{
    uint64_t orig;

    atomic_add_relaxed(counter, n, &orig);
}

static inline uint64_t
vhost_async_counter(const atomic_uint64_t *counter)
{
    uint64_t value;

    atomic_read_relaxed(CONST_CAST(atomic_uint64_t *, counter), &value);
    return value;
}

static inline uint32_t
vhost_async_txq_submitted(const struct vhost_async_txq *txq)
{
    uint32_t n;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_txq *, txq)->submitted,
                        &n);
    return n;
}

/* Acquire, paired with the release in vhost_async_txq_poll(): a sender that
 * sees a packet counted as completed may rely on the virtqueue having no
 * trace of it. */
static inline uint32_t
vhost_async_txq_completed(const struct vhost_async_txq *txq)
{
    uint32_t n;

    atomic_read_explicit(&CONST_CAST(struct vhost_async_txq *, txq)->completed,
                         &n, memory_order_acquire);
    return n;
}

/* Number of packets in flight.  Exact for a thread that keeps others from
 * sending, an upper bound for others. */
static inline uint32_t
vhost_async_txq_in_flight(const struct vhost_async_txq *txq)
{
    uint32_t completed = vhost_async_txq_completed(txq);

    return vhost_async_txq_submitted(txq) - completed;
}

/* Relaxed: written by the owner of the channel, and others only want to know
 * for which channels a txq waits. */
static inline uint32_t
vhost_async_work_last(const struct vhost_async_work *work)
{
    uint32_t last;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_work *, work)->last,
                        &last);
    return last;
}

/* Whether copies for 'txq' may be at work: those of packets in flight, or some
 * that were left of a packet.  For the sender. */
static inline bool
vhost_async_txq_is_idle(const struct vhost_async_txq *txq)
{
    bool left;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_txq *, txq)->left,
                        &left);
    return !vhost_async_txq_in_flight(txq)
           && (OVS_LIKELY(!left) || !vhost_async_txq_has_left(txq));
}

static inline bool
vhost_async_txq_is_registered(const struct vhost_async_txq *txq)
{
    bool registered;

    /* Acquire: 'shadow' was set before. */
    atomic_read_explicit(
        &CONST_CAST(struct vhost_async_txq *, txq)->registered, &registered,
        memory_order_acquire);
    return registered;
}

static inline bool
vhost_async_txq_is_stuck(const struct vhost_async_txq *txq)
{
    bool stuck;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_txq *, txq)->stuck,
                        &stuck);
    return stuck;
}

#endif /* vhost-async-txq.h */
