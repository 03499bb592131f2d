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

/* A vhost txq whose ring is ours: packets in flight to it, by DMA or copied by
 * CPU behind others that are, and their publication in ring order.
 *
 * Completion engines (vhost-async-engine.h) send; threads reap their channels
 * (vhost-async-thread.h) and tell which packets are there; the side of the
 * guest (vhost-async-guest.h) starts and stops the ring.
 *
 * Thread-safety: the lock
 * =======================
 *
 * One thread at a time is at a txq: the one that sent the last burst, the one
 * that publishes, the drainer of the engine's ring and the thread that handles
 * a message of the guest are the same role, that of the holder of 'lock'.  It
 * is one word of three bits:
 *
 *   LOCKED   somebody holds it.
 *   PENDING  somebody who found it LOCKED left work for the holder: a packet
 *            that is done, or packets in the engine's ring.  The holder cannot
 *            let go of the lock with this set (vhost_async_engine_unlock()).
 *   CLOSED   the holder, or who is about to be it, handles a message of the
 *            guest that changes the ring: senders do not wait.
 *
 * Whoever leaves work makes it visible first and then sets PENDING by a
 * compare-and-swap, which succeeds only while there is a holder; that one
 * lets go by a compare-and-swap, which succeeds only while PENDING is not
 * set.  So no work is left without somebody who sees to it, and nobody who
 * leaves work waits.  tests/vhost-async-lock.pml is a model of this, which
 * spin(1) checks.
 *
 * All members are the holder's, but for:
 *
 *   - 'done' of a packet in flight, set by whoever reaped its last copy, and
 *     'mbuf' of it from then on;
 *   - counters, which others read, and those of drops, which are shared;
 *   - 'state', which others read to show it;
 *   - what is constant. */

#include <stdbool.h>
#include <stdint.h>

#include "dma-defer-queue.h"
#include "dpdk-dma-chan.h"
#include "ovs-atomic.h"
#include "util.h"
#include "vhost-async-cost.h"
#include "vhost-async-engine-txq.h"
#include "vhost-vring.h"

struct rte_mbuf;

/* Bits of the lock. */
#define VHOST_ASYNC_LOCKED  UINT32_C(1)
#define VHOST_ASYNC_PENDING UINT32_C(2)
#define VHOST_ASYNC_CLOSED  UINT32_C(4)

/* A ring, from the port's point of view:
 *
 *      LIBRARY --> STOPPED <--> DISABLED <--> RUNNING
 *                   ^  |            |            |
 *                   |  +----<-------+-----<------+
 *                   |               v            v
 *                   +------------ STUCK ---------+
 *
 * Only vhost_async_txq_set_state() changes it, and aborts if it is not told
 * an arrow. */
enum vhost_async_txq_state {
    VHOST_ASYNC_TXQ_LIBRARY,    /* The vhost library's, to be taken over. */
    VHOST_ASYNC_TXQ_STOPPED,    /* Ours; the guest has not set it up. */
    VHOST_ASYNC_TXQ_DISABLED,   /* Set up, and disabled by the guest. */
    VHOST_ASYNC_TXQ_RUNNING,
    VHOST_ASYNC_TXQ_STUCK,      /* Stopped with copies that may be at work. */
};

/* Why packets were not taken. */
enum vhost_async_obstacle {
    VHOST_ASYNC_NONE,
    VHOST_ASYNC_FULL,           /* The guest has no buffers for them. */
    VHOST_ASYNC_DOWN,           /* The ring is not running. */
    VHOST_ASYNC_BUSY,           /* A message of the guest is handled. */
};

/* Counters of a txq.  Written by the holder of the lock without locked
 * instructions, read by others, hence atomics. */
struct vhost_async_txq_stats {
    atomic_uint64_t dma_packets;    /* With copies by DMA. */
    atomic_uint64_t dma_bytes;      /* Of these packets. */
    atomic_uint64_t cpu_packets;    /* Copied by CPU. */
    atomic_uint64_t cpu_bytes;
    atomic_uint64_t published;      /* Given to the guest. */

    /* As the vhost library counts a virtqueue's, by the same names
     * (vhost_vq_stat_strings[], 22.11). */
    atomic_uint64_t multicast, broadcast, size_bins[8], notifications;

    /* Shared.  Drops, by their reason. */
    atomic_uint64_t full_drops;     /* No buffers. */
    atomic_uint64_t down_drops;     /* The ring was not running. */
    atomic_uint64_t busy_drops;     /* The guest's message was handled, or who
                                     * was to send them could not go on. */
    atomic_uint64_t lost_drops;     /* In flight when the ring went. */
    atomic_uint64_t ring_full_drops;    /* No room in the engine's ring. */

    /* Of those, after the engine's ring had taken them. */
    atomic_uint64_t ring_drops;
};

/* A packet in flight. */
struct vhost_async_pkt {
    struct rte_mbuf *mbuf;      /* NULL if the CPU copied it. */
    uint16_t n_chains;          /* Buffers of the guest that it fills. */
    uint8_t chan;               /* Index of the channel of its copies. */
    atomic_bool done;           /* All of it was copied. */
};

/* Counters of a PMD thread, all written by it alone. */
struct vhost_async_sender_stats {
    atomic_uint64_t dma_packets;
    atomic_uint64_t dma_bytes;
    atomic_uint64_t cpu_packets;    /* To rings that are ours. */
    atomic_uint64_t cpu_bytes;
    atomic_uint64_t bursts;         /* With copies by DMA. */
};

/* What a PMD thread sends with.  The thread's alone, but for the counters. */
struct vhost_async_sender {
    struct dpdk_dma_chan *chan;     /* Its channel, or NULL. */
    struct dma_defer_queue kept;    /* Txqs to come back to; the engine's. */

    struct vhost_async_cost cost;
    struct vhost_async_sender_stats stats;
};

struct vhost_async_txq {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        /* Constant. */
        char *port;             /* Name of the port, for the log. */
        uint16_t qid;           /* Number of the txq. */
        atomic_uint8_t *tx_retries;     /* Of the netdev. */

        atomic_bool dma;        /* Whether channels may be used. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        atomic_uint32_t lock;
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct dpdk_dma_owner owner;    /* Of copies; for any thread. */
    );

    struct vhost_async_engine_txq engine;

    PADDED_MEMBERS_CACHELINE_MARKER(CACHE_LINE_SIZE, holder,
        atomic_uint32_t state;          /* enum vhost_async_txq_state. */
        /* Packets, counted from creation; [published, sent) are in flight. */
        atomic_uint32_t sent;
        atomic_uint32_t published;
        uint32_t pkts_mask;
        struct vhost_async_pkt *pkts;   /* As many as the ring may have. */
        bool log_all;           /* What is in flight was not logged. */
        bool is_closed;         /* By who is in control of the guest. */
        int callfd;             /* Ours; -1 if the guest polls. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_vring vring;
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_async_txq_stats stats;
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_async_txq_stats zero;  /* 'stats' when cleared last. */
    );
    struct vhost_vring_buf buf;
};

struct vhost_async_txq *vhost_async_txq_create(const char *port, uint16_t qid,
                                               atomic_uint8_t *tx_retries,
                                               enum vhost_async_txq_state);
void vhost_async_txq_destroy(struct vhost_async_txq *);

bool vhost_async_txq_trylock_or_leave(struct vhost_async_txq *);
bool vhost_async_txq_lock_unless_closed(struct vhost_async_txq *);
void vhost_async_txq_lock(struct vhost_async_txq *);
bool vhost_async_txq_try_unlock(struct vhost_async_txq *);
void vhost_async_txq_close(struct vhost_async_txq *);
void vhost_async_txq_open(struct vhost_async_txq *);

void vhost_async_txq_set_state(struct vhost_async_txq *,
                               enum vhost_async_txq_state);
const char *vhost_async_txq_start(struct vhost_async_txq *,
                                  const struct vhost_vring_setup *);
void vhost_async_txq_stop(struct vhost_async_txq *);
void vhost_async_txq_set_callfd(struct vhost_async_txq *, int fd);
void vhost_async_txq_notify(struct vhost_async_txq *);
void vhost_async_txq_published(struct vhost_async_txq *, uint32_t n_pkts);

void vhost_async_txq_count_drops(struct vhost_async_txq *,
                                 enum vhost_async_obstacle, uint32_t n);
void vhost_async_txq_publish(struct vhost_async_txq *);
bool vhost_async_txq_drain(struct vhost_async_txq *, uint64_t deadline_tsc);
int vhost_async_txq_waits_for(const struct vhost_async_txq *);
size_t vhost_async_txq_memory(const struct vhost_async_txq *);

static inline struct vhost_async_txq *
vhost_async_txq_of_owner(struct dpdk_dma_owner *owner)
{
    return CONTAINER_OF(owner, struct vhost_async_txq, owner);
}

/* Takes the lock if nobody holds it. */
static inline bool
vhost_async_txq_trylock(struct vhost_async_txq *txq)
{
    uint32_t word = 0;

    return atomic_compare_exchange_strong_explicit(&txq->lock, &word,
                                                   VHOST_ASYNC_LOCKED,
                                                   memory_order_acquire,
                                                   memory_order_relaxed);
}

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

static inline enum vhost_async_txq_state
vhost_async_txq_state(const struct vhost_async_txq *txq)
{
    uint32_t state;

    /* Acquire: who sees a ring out of the library's hands, and sends by
     * ours, sees what was taken over. */
    atomic_read_explicit(&CONST_CAST(struct vhost_async_txq *, txq)->state,
                         &state, memory_order_acquire);
    return state;
}

/* Returns a counter that the holder of the lock writes; to others, what it was
 * at some time. */
static inline uint32_t
vhost_async_txq_get(const atomic_uint32_t *counter)
{
    uint32_t n;

    atomic_read_relaxed(CONST_CAST(atomic_uint32_t *, counter), &n);
    return n;
}

/* Number of packets in flight.  Exact for the holder of the lock, a hint for
 * others. */
static inline uint32_t
vhost_async_txq_in_flight(const struct vhost_async_txq *txq_)
{
    struct vhost_async_txq *txq = CONST_CAST(struct vhost_async_txq *, txq_);
    uint32_t sent, published;

    atomic_read_relaxed(&txq->published, &published);
    atomic_read_relaxed(&txq->sent, &sent);
    return sent - published;
}

/* Notes that all copies of packet 'seq' are done.  Any thread that reaped the
 * last of them; the txq is to be published afterwards. */
static inline void
vhost_async_txq_done(struct vhost_async_txq *txq, uint32_t seq)
{
    struct vhost_async_pkt *pkt = &txq->pkts[seq & txq->pkts_mask];

    /* Release: what the engine wrote, and the CPU instead of it, is there
     * before the packet is published by whichever thread. */
    atomic_store_explicit(&pkt->done, true, memory_order_release);
}

#endif /* vhost-async-txq.h */
