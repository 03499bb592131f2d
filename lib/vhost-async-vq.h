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

#ifndef VHOST_ASYNC_VQ_H
#define VHOST_ASYNC_VQ_H 1

/* A virtqueue whose ring is ours: its lock, its state, and the packets in
 * flight on it, with copies by DMA or copied by CPU behind others that have
 * them.
 *
 * What both directions have in common: a txq (vhost-async-txq.h) sends to a
 * receive ring of the guest, an rxq (vhost-async-rxq.h) receives from a
 * transmit ring.  Threads reap their channels (vhost-async-thread.h) and tell
 * which packets are there; the side of the guest (vhost-async-guest.h) starts
 * and stops the ring.
 *
 * Thread-safety: the lock
 * =======================
 *
 * One thread at a time is at a virtqueue: the one that sent the last burst or
 * received it, the one that publishes, the drainer of the engine's ring and
 * the thread that handles a message of the guest are the same role, that of
 * the holder of 'lock'.  It is one word of three bits:
 *
 *   LOCKED   somebody holds it.
 *   PENDING  somebody who found it LOCKED left work for the holder: a packet
 *            that is done, or packets in the engine's ring.  The holder cannot
 *            let go of the lock with this set (vhost_async_engine_unlock()).
 *            Of txqs only: an rxq is polled, and its lock is given up by a
 *            store (vhost_async_rxq_unlock(); tests/vhost-async-rxq-lock.pml).
 *   CLOSED   the holder, or who is about to be it, handles a message of the
 *            guest that changes the ring: senders and pollers do not wait.
 *
 * Whoever leaves work at a txq makes it visible first and then sets PENDING by
 * a compare-and-swap, which succeeds only while there is a holder; that one
 * lets go by a compare-and-swap, which succeeds only while PENDING is not
 * set.  So no work is left without somebody who sees to it, and nobody who
 * leaves work waits.  tests/vhost-async-lock.pml is a model of this, which
 * spin(1) checks.
 *
 * All members are the holder's, but for:
 *
 *   - 'done' of a packet in flight, set by whoever reaped its last copy, and
 *     'mbuf' of it from then on;
 *   - counters, which others read;
 *   - 'state', which others read to show it;
 *   - what is constant. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "dpdk-dma-chan.h"
#include "ovs-atomic.h"
#include "util.h"
#include "vhost-net-hdr.h"
#include "vhost-vring.h"

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
 * Only vhost_async_vq_set_state() changes it, and aborts if it is not told
 * an arrow. */
enum vhost_async_vq_state {
    VHOST_ASYNC_VQ_LIBRARY,     /* The vhost library's, to be taken over. */
    VHOST_ASYNC_VQ_STOPPED,     /* Ours; the guest has not set it up. */
    VHOST_ASYNC_VQ_DISABLED,    /* Set up, and disabled by the guest. */
    VHOST_ASYNC_VQ_RUNNING,
    VHOST_ASYNC_VQ_STUCK,       /* Stopped with copies that may be at work. */
};

/* A packet in flight. */
struct vhost_async_pkt {
    struct rte_mbuf *mbuf;      /* Of a txq, NULL if the CPU copied it; of an
                                 * rxq, NULL if it is dropped. */
    uint16_t n_chains;          /* Buffers of the guest that it takes. */
    uint8_t chan;               /* Index of the channel of its copies. */
    bool by_dma;                /* It has one. */
    atomic_bool done;           /* All of it was copied. */
};

struct vhost_async_vq {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        /* Constant. */
        char *port;             /* Name of the port, for the log. */
        uint16_t qid;           /* Number of the txq or rxq. */
        bool rx;                /* It is an rxq's. */

        atomic_bool dma;        /* Whether channels may be used. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        atomic_uint32_t lock;
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct dpdk_dma_owner owner;    /* Of copies; for any thread. */
    );
    PADDED_MEMBERS_CACHELINE_MARKER(CACHE_LINE_SIZE, holder,
        atomic_uint32_t state;          /* enum vhost_async_vq_state. */
        /* Packets, counted from creation; [published, taken) are in flight,
         * of an rxq until they are handed up. */
        atomic_uint32_t taken;
        atomic_uint32_t published;
        uint32_t pkts_mask;
        struct vhost_async_pkt *pkts;   /* As many as the ring may have. */
        atomic_uint64_t notifications;  /* Of the guest. */
        atomic_uint64_t memory;         /* Bytes that it points to. */
        bool log_all;           /* What is in flight was not logged. */
        bool told_broken;       /* The log was told of it. */
        bool is_closed;         /* By who is in control of the guest. */
        int callfd;             /* Ours; -1 if the guest polls. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_vring vring;
    );
};

void vhost_async_vq_init(struct vhost_async_vq *, const char *port,
                         uint16_t qid, bool rx, enum vhost_async_vq_state);
void vhost_async_vq_uninit(struct vhost_async_vq *);

bool vhost_async_vq_trylock_or_leave(struct vhost_async_vq *);
bool vhost_async_vq_lock_unless_closed(struct vhost_async_vq *);
void vhost_async_vq_lock(struct vhost_async_vq *);
bool vhost_async_vq_try_unlock(struct vhost_async_vq *);
void vhost_async_vq_close(struct vhost_async_vq *);
void vhost_async_vq_open(struct vhost_async_vq *);

void vhost_async_vq_set_state(struct vhost_async_vq *,
                              enum vhost_async_vq_state);
const char *vhost_async_vq_start(struct vhost_async_vq *,
                                 const struct vhost_vring_setup *);
void vhost_async_vq_stop(struct vhost_async_vq *);
void vhost_async_vq_end_stuck(struct vhost_async_vq *);
void vhost_async_vq_set_callfd(struct vhost_async_vq *, int fd);
void vhost_async_vq_notify(struct vhost_async_vq *);
void vhost_async_vq_tell_broken(struct vhost_async_vq *);

void vhost_async_vq_pause(int attempt);
int vhost_async_vq_waits_for(const struct vhost_async_vq *);

static inline struct vhost_async_vq *
vhost_async_vq_of_owner(struct dpdk_dma_owner *owner)
{
    return CONTAINER_OF(owner, struct vhost_async_vq, owner);
}

/* Returns what the guest and the vhost library call the virtqueue by: receive
 * rings of the guest have even numbers. */
static inline uint16_t
vhost_async_vq_index(const struct vhost_async_vq *vq)
{
    return vq->qid * 2 + vq->rx;
}

/* Returns what the log and people call the kind of the virtqueue. */
static inline const char *
vhost_async_vq_kind(const struct vhost_async_vq *vq)
{
    return vq->rx ? "rxq" : "txq";
}

/* Takes the lock if nobody holds it. */
static inline bool
vhost_async_vq_trylock(struct vhost_async_vq *vq)
{
    uint32_t word = 0;

    return atomic_compare_exchange_strong_explicit(&vq->lock, &word,
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

/* Counts 'pkt' as the vhost library does, by its size and whom it is for. */
static inline void
vhost_async_count_kind(const struct rte_mbuf *pkt, atomic_uint64_t *multicast,
                       atomic_uint64_t *broadcast, atomic_uint64_t size_bins[])
{
    const struct rte_ether_addr *ea
        = rte_pktmbuf_mtod(pkt, const struct rte_ether_addr *);

    vhost_async_count(&size_bins[vhost_net_size_bin(pkt->pkt_len)], 1);
    if (OVS_UNLIKELY(rte_is_multicast_ether_addr(ea))) {
        vhost_async_count(rte_is_broadcast_ether_addr(ea)
                          ? broadcast : multicast, 1);
    }
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

/* Copies the 'size' bytes of counters at 'src', which their threads go on
 * counting with, to 'dst'. */
static inline void
vhost_async_copy_counters(void *dst_, const void *src_, size_t size)
{
    const atomic_uint64_t *src = src_;
    atomic_uint64_t *dst = dst_;

    for (size_t i = 0; i < size / sizeof *src; i++) {
        atomic_store_relaxed(&dst[i], vhost_async_counter(&src[i]));
    }
}

static inline enum vhost_async_vq_state
vhost_async_vq_state(const struct vhost_async_vq *vq)
{
    uint32_t state;

    /* Acquire: who sees a ring out of the library's hands, and sends by
     * ours, sees what was taken over. */
    atomic_read_explicit(&CONST_CAST(struct vhost_async_vq *, vq)->state,
                         &state, memory_order_acquire);
    return state;
}

/* Returns a counter that the holder of the lock writes; to others, what it was
 * at some time. */
static inline uint32_t
vhost_async_vq_get(const atomic_uint32_t *counter)
{
    uint32_t n;

    atomic_read_relaxed(CONST_CAST(atomic_uint32_t *, counter), &n);
    return n;
}

/* Number of packets in flight.  Exact for the holder of the lock, a hint for
 * others. */
static inline uint32_t
vhost_async_vq_in_flight(const struct vhost_async_vq *vq_)
{
    struct vhost_async_vq *vq = CONST_CAST(struct vhost_async_vq *, vq_);
    uint32_t sent, published;

    atomic_read_relaxed(&vq->published, &published);
    atomic_read_relaxed(&vq->taken, &sent);
    return sent - published;
}

/* To be called when nothing could be taken off the ring: if that is because
 * the guest broke it, the log is told, once.  The holder of the lock. */
static inline void
vhost_async_vq_none_taken(struct vhost_async_vq *vq)
{
    if (OVS_UNLIKELY(vq->vring.broken && !vq->told_broken)) {
        vhost_async_vq_tell_broken(vq);
    }
}

/* Notes that all copies of packet 'seq' are done.  Any thread that reaped the
 * last of them; the virtqueue is to be published afterwards. */
static inline void
vhost_async_vq_done(struct vhost_async_vq *vq, uint32_t seq)
{
    struct vhost_async_pkt *pkt = &vq->pkts[seq & vq->pkts_mask];

    /* Release: what the engine wrote, and the CPU instead of it, is there
     * before the packet is published by whichever thread. */
    atomic_store_explicit(&pkt->done, true, memory_order_release);
}

/* Notes that packet 'seq', which took 'n_chains' buffers, is in flight by way
 * of 'chan', or copied by CPU behind others that are, if that is NULL. */
static inline void
vhost_async_vq_add_in_flight(struct vhost_async_vq *vq, uint32_t seq,
                             struct rte_mbuf *mbuf, uint16_t n_chains,
                             const struct dpdk_dma_chan *chan)
{
    struct vhost_async_pkt *pkt = &vq->pkts[seq & vq->pkts_mask];

    pkt->mbuf = mbuf;
    pkt->n_chains = n_chains;
    pkt->chan = chan ? chan->index : 0;
    pkt->by_dma = chan != NULL;
    /* Relaxed: who may set it reaps the channel of this thread, which is this
     * thread, and who looks at it holds the lock. */
    atomic_store_relaxed(&pkt->done, !chan);
}

#endif /* vhost-async-vq.h */
