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

/* A vhost txq whose ring is ours: how packets are counted on their way to it,
 * and their publication in ring order.
 *
 * Completion engines (vhost-async-engine.h) send.
 *
 * All members are for the holder of the lock (vhost-async-vq.h), but for
 * counters, which others read, those of drops, which are shared, and what is
 * constant. */

#include <stdbool.h>
#include <stdint.h>

#include "dma-defer-queue.h"
#include "ovs-atomic.h"
#include "util.h"
#include "vhost-async-cost.h"
#include "vhost-async-engine-txq.h"
#include "vhost-async-vq.h"
#include "vhost-vring.h"

struct rte_mbuf;

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
    atomic_uint64_t multicast, broadcast, size_bins[8];

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

/* Counters of a PMD thread, all written by it alone. */
struct vhost_async_sender_stats {
    atomic_uint64_t dma_packets;
    atomic_uint64_t dma_bytes;
    atomic_uint64_t cpu_packets;    /* To rings that are ours. */
    atomic_uint64_t cpu_bytes;
    atomic_uint64_t rx_dma_packets; /* From rings that are ours. */
    atomic_uint64_t rx_dma_bytes;
    atomic_uint64_t rx_cpu_packets;
    atomic_uint64_t rx_cpu_bytes;
    atomic_uint64_t bursts;         /* With copies by DMA. */
};

/* What a PMD thread sends and receives with.  The thread's alone, but for the
 * counters. */
struct vhost_async_sender {
    struct dpdk_dma_chan *chan;     /* Its channel, or NULL. */
    struct dma_defer_queue kept;    /* Txqs to come back to; the engine's. */

    struct vhost_async_cost cost;       /* Of what is sent, */
    struct vhost_async_cost rx_cost;    /* ...and of what is received. */
    uint64_t rx_began;      /* TSC when it began to receive by DMA, last. */
    struct vhost_async_sender_stats stats;
};

/* Returns how many packets 'self' sent to rings that are ours. */
static inline uint64_t
vhost_async_sender_packets(const struct vhost_async_sender *self)
{
    return (vhost_async_counter(&self->stats.dma_packets)
            + vhost_async_counter(&self->stats.cpu_packets));
}

struct vhost_async_txq {
    struct vhost_async_vq vq;
    atomic_uint8_t *tx_retries;         /* Of the netdev. */
    struct vhost_async_engine_txq engine;

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
                                               enum vhost_async_vq_state);
void vhost_async_txq_destroy(struct vhost_async_txq *);

void vhost_async_txq_published(struct vhost_async_txq *, uint32_t n_pkts);

bool vhost_async_txq_drops_rest(const struct vhost_async_txq *,
                                uint32_t n_taken, unsigned int retries);
void vhost_async_txq_count_drops(struct vhost_async_txq *,
                                 enum vhost_async_obstacle, uint32_t n);
void vhost_async_txq_publish(struct vhost_async_txq *);
bool vhost_async_txq_drain(struct vhost_async_txq *, uint64_t deadline_tsc);
size_t vhost_async_txq_memory(const struct vhost_async_txq *);

static inline struct vhost_async_txq *
vhost_async_txq_of_vq(struct vhost_async_vq *vq)
{
    ovs_assert(!vq->rx);
    return CONTAINER_OF(vq, struct vhost_async_txq, vq);
}

#endif /* vhost-async-txq.h */
