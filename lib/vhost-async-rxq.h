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

#ifndef VHOST_ASYNC_RXQ_H
#define VHOST_ASYNC_RXQ_H 1

/* A vhost rxq whose ring is ours: packets of the guest on their way into
 * mbufs.
 *
 * Packets are fetched from the guest's transmit ring by who polls the rxq
 * (vhost-async-receive.h), and copied by CPU or by DMA.  When all of a packet
 * is there, and of those before it, the next poll publishes its buffer, which
 * here means that the guest has it back, and hands it up.  The two are one: a
 * guest has back what the switch has, and nothing else.
 *
 * When the ring stops, what was not handed up is freed and not published: who
 * serves the ring next, from our index on, fetches it again, be it after a
 * live migration.  If copies are at work that cannot be shown to have ended,
 * their mbufs are freed when they are done.
 *
 * Thread-safety
 * =============
 *
 * All of this is for the holder of the lock (vhost-async-vq.h), but for
 * counters, which others read.  Nobody leaves work behind for another holder:
 * who polls an rxq looks for itself.  If nobody polls, what is in flight waits
 * for who stops the ring. */

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "ovs-atomic.h"
#include "util.h"
#include "vhost-async-vq.h"

/* Packets that were fetched and not handed up, at most: eight bursts. */
#define VHOST_ASYNC_RXQ_MAX_PKTS 256

/* Counters of an rxq.  Written by the holder of the lock without locked
 * instructions, read by others, hence atomics. */
struct vhost_async_rxq_stats {
    atomic_uint64_t dma_packets;    /* Handed up, with copies by DMA. */
    atomic_uint64_t dma_bytes;      /* Of these packets. */
    atomic_uint64_t cpu_packets;    /* Handed up, copied by CPU. */
    atomic_uint64_t cpu_bytes;
    atomic_uint64_t bad_drops;      /* Too short, too long for an mbuf, or no
                                     * memory for a buffer. */

    /* As the vhost library counts a virtqueue's, by the same names
     * (vhost_vq_stat_strings[], 22.11). */
    atomic_uint64_t good_packets, good_bytes;   /* Announcements included. */
    atomic_uint64_t multicast, broadcast, size_bins[8];
};

/* Where the packets of a port, or of an rxq, came. */
struct vhost_async_rx_totals {
    uint64_t dma_packets, dma_bytes, cpu_packets, cpu_bytes;
    uint64_t bad_drops, in_flight;
};

struct vhost_async_rxq {
    struct vhost_async_vq vq;

    PADDED_MEMBERS(CACHE_LINE_SIZE,
        uint32_t n_offered;     /* Fill level when a burst was full, else 0. */
        bool announce;          /* The guest's place is to be made known, */
        uint8_t mac[6];         /* ...by this address. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_async_rxq_stats stats;
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct vhost_async_rxq_stats zero;  /* 'stats' when cleared last. */
    );
};

struct vhost_async_rxq *vhost_async_rxq_create(const char *port, uint16_t qid,
                                               enum vhost_async_vq_state);
void vhost_async_rxq_destroy(struct vhost_async_rxq *);

uint16_t vhost_async_rxq_publish(struct vhost_async_rxq *, struct rte_mbuf **,
                                 uint16_t cnt);
bool vhost_async_rxq_drain(struct vhost_async_rxq *, uint64_t deadline_tsc);
void vhost_async_rxq_free_done(struct vhost_async_rxq *);
void vhost_async_rxq_returned(struct vhost_async_rxq *, uint32_t n_chains);
void vhost_async_rxq_announce(struct vhost_async_rxq *, uint64_t mac);
void vhost_async_rxq_get_totals(const struct vhost_async_rxq *,
                                bool since_clear,
                                struct vhost_async_rx_totals *);

static inline struct vhost_async_rxq *
vhost_async_rxq_of_vq(struct vhost_async_vq *vq)
{
    ovs_assert(vq->rx);
    return CONTAINER_OF(vq, struct vhost_async_rxq, vq);
}

/* Gives up the lock.
 *
 * Nobody leaves work for the holder, so a store will do: a compare-and-swap
 * takes 20 cycles more, which shows in polls that find little.  If the ring is
 * being closed, the bit that says so stays, unless it was set since the lock
 * was looked at; then vhost_async_vq_close(), which goes on until it has the
 * lock, sets it once more. */
static inline void
vhost_async_rxq_unlock(struct vhost_async_rxq *rxq)
{
    if (OVS_LIKELY(vhost_async_vq_get(&rxq->vq.lock) == VHOST_ASYNC_LOCKED)) {
        /* Release: what this holder did is there for the next one. */
        atomic_store_explicit(&rxq->vq.lock, 0, memory_order_release);
    } else {
        bool unlocked = vhost_async_vq_try_unlock(&rxq->vq);

        ovs_assert(unlocked);
    }
}

/* Counts of a packet that is handed up all that vhost_async_rxq_count() does
 * not. */
static inline void
vhost_async_rxq_count_packet(struct vhost_async_rxq *rxq,
                             const struct rte_mbuf *pkt)
{
    vhost_async_count_kind(pkt, &rxq->stats.multicast, &rxq->stats.broadcast,
                           rxq->stats.size_bins);
}

/* Counts 'n' packets of 'bytes' in all that are handed up. */
static inline void
vhost_async_rxq_count(struct vhost_async_rxq *rxq, uint32_t n, uint64_t bytes)
{
    vhost_async_count(&rxq->stats.good_packets, n);
    vhost_async_count(&rxq->stats.good_bytes, bytes);
}

/* Whether 'n' packets can be fetched.  A ring that is smaller has no more. */
static inline bool
vhost_async_rxq_has_room(const struct vhost_async_rxq *rxq, uint32_t n)
{
    return vhost_async_vq_in_flight(&rxq->vq) + n <= VHOST_ASYNC_RXQ_MAX_PKTS;
}

/* Returns the number of bytes that 'rxq' takes, with all that it points to.
 * Any thread. */
static inline size_t
vhost_async_rxq_memory(const struct vhost_async_rxq *rxq)
{
    return sizeof *rxq + vhost_async_counter(&rxq->vq.memory);
}

#endif /* vhost-async-rxq.h */
