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

#ifndef DPDK_DMA_CHAN_H
#define DPDK_DMA_CHAN_H 1

/* A DMA channel: one vchan of one dmadev, and the copies in flight on it.
 *
 * The account of what was handed to the engine is ours, since what drivers
 * tell differs: ioat and idxd count a copy as submitted at the doorbell, the
 * skeleton when it gets it, and rte_dma_vchan_status() looks at the last batch
 * only (idxd, 22.11).  A copy is in flight from dpdk_dma_chan_add() on until
 * rte_dma_completed() or rte_dma_completed_status() reported it, or until its
 * device was stopped for certain and the CPU did it again.
 *
 * Copies of one channel complete in order.  The last one of a packet carries
 * whose it is, so that one look at the channel tells which packets are there.
 *
 * Thread-safety
 * =============
 *
 * A channel has one owner, the thread that claimed it (dpdk-dma-map.h), which
 * alone calls the functions that take one, except where a comment says
 * otherwise.  Once it found the channel failed, it calls
 * dpdk_dma_chan_abandon() and does not touch it again; the thread that stops
 * devices is its owner from then on (dpdk-dma-dev.h).  The inline functions
 * below are for any thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>

#include "dpdk-dma-cost.h"
#include "ovs-atomic.h"
#include "util.h"

/* What packets belong to that have copies in flight.  It may give them up:
 * then their targets are somebody else's, and the CPU must not do copies to
 * them again. */
struct dpdk_dma_owner {
    atomic_uint32_t n_writers;  /* Threads whose CPU copies for it now. */
    atomic_bool gave_up;
};

/* A copy in flight. */
struct dpdk_dma_copy {
    void *dst;
    const void *src;
    struct dpdk_dma_owner *owner;   /* Of the packet that ends with it, or
                                     * NULL. */
    uint32_t len;               /* Bytes. */
    uint32_t seq;               /* Which packet of 'owner'. */
};

/* A packet all of whose copies are done. */
struct dpdk_dma_done {
    struct dpdk_dma_owner *owner;
    uint32_t seq;
};

struct dpdk_dma_chan {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        /* Constant from creation. */
        const char *dev_name;   /* Name of the dmadev. */
        unsigned int index;     /* Position in the map, from 0. */
        int16_t dev_id;         /* dmadev id. */
        uint16_t vchan;         /* Vchan of the dmadev. */
        int numa_id;            /* NUMA node, -1 if unknown. */

        /* Set by dpdk-dma-dev when it starts the device, before any claim. */
        uint16_t ring_size;     /* Descriptors in the ring of the vchan. */
        int core;               /* Of the engine's thread, -1 if none. */
        struct dpdk_dma_cost cost;
        uint32_t copies_mask;
        struct dpdk_dma_copy *copies;   /* 'ring_size', rounded up. */
        void *statuses;         /* As many enum rte_dma_status_code. */
        atomic_bool running;    /* Between start and stop. */

        /* Set once by anyone, read by the owner before each burst. */
        atomic_bool failed;
        atomic_bool in_use;     /* By the thread that claimed it. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        /* The owner's, who alone writes to them.  Positions in 'copies', ever
         * growing: [completed, reported) are done, but their packets were not
         * handed out yet; [reported, submitted) are with the engine. */
        atomic_uint64_t submitted;
        atomic_uint64_t completed;
        uint64_t reported;
        atomic_uint64_t errors;         /* Copies that the engine failed. */
        uint64_t progress_tsc;  /* When its silence was first noticed, if
                                 * 'silent', or half of the timeout later, if
                                 * 'suspect'. */
        bool silent;            /* It reported nothing since. */
        bool suspect;           /* It is late, and was given another look. */
        bool halted;            /* It did not go on after a copy failed. */
        bool doorbell;          /* Copies were added since the last one. */
    );
};

void dpdk_dma_chan_start(struct dpdk_dma_chan *, uint16_t ring_size);
void dpdk_dma_chan_stop(struct dpdk_dma_chan *);
void dpdk_dma_chan_uninit(struct dpdk_dma_chan *);

unsigned int dpdk_dma_chan_room(const struct dpdk_dma_chan *);
bool dpdk_dma_chan_add(struct dpdk_dma_chan *, rte_iova_t dst_iova,
                       rte_iova_t src_iova, void *dst, const void *src,
                       uint32_t len);
void dpdk_dma_chan_end_packet(struct dpdk_dma_chan *,
                              struct dpdk_dma_owner *, uint32_t seq);
void dpdk_dma_chan_doorbell(struct dpdk_dma_chan *);
unsigned int dpdk_dma_chan_reap(struct dpdk_dma_chan *,
                                struct dpdk_dma_done *, unsigned int max);
const char *dpdk_dma_chan_fault(struct dpdk_dma_chan *, uint32_t timeout_ms);
void dpdk_dma_chan_abandon(struct dpdk_dma_chan *);
unsigned int dpdk_dma_chan_redo(struct dpdk_dma_chan *,
                                struct dpdk_dma_done *, unsigned int max);

void dpdk_dma_owner_init(struct dpdk_dma_owner *);
void dpdk_dma_owner_give_up(struct dpdk_dma_owner *);
void dpdk_dma_owner_take_up(struct dpdk_dma_owner *);

static inline uint64_t
dpdk_dma_chan_submitted(const struct dpdk_dma_chan *chan)
{
    uint64_t n;

    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_chan *, chan)->submitted,
                        &n);
    return n;
}

/* Acquire, paired with the release by who reaps: whoever sees a copy counted
 * may rely on nobody, engine or CPU, writing to its target any more. */
static inline uint64_t
dpdk_dma_chan_completed(const struct dpdk_dma_chan *chan)
{
    uint64_t n;

    atomic_read_explicit(
        &CONST_CAST(struct dpdk_dma_chan *, chan)->completed, &n,
        memory_order_acquire);
    return n;
}

/* Number of copies in flight.  Exact for the owner, for others an upper
 * bound. */
static inline uint64_t
dpdk_dma_chan_in_flight(const struct dpdk_dma_chan *chan)
{
    uint64_t completed = dpdk_dma_chan_completed(chan);

    return dpdk_dma_chan_submitted(chan) - completed;
}

static inline bool
dpdk_dma_chan_failed(const struct dpdk_dma_chan *chan)
{
    bool failed;

    /* Relaxed: the owner acts on it when it sees it, and says so in
     * dpdk_dma_chan_abandon(). */
    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_chan *, chan)->failed,
                        &failed);
    return failed;
}

/* Whether 'chan' can take copies: its device is started and has not failed. */
static inline bool
dpdk_dma_chan_usable(const struct dpdk_dma_chan *chan)
{
    bool running;

    /* Relaxed: whoever may use the channel claimed it after its device was
     * started, and the map's mutex ordered the two. */
    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_chan *, chan)->running,
                        &running);
    return running && !dpdk_dma_chan_failed(chan);
}

/* Whether the thread that claimed 'chan' may be using it.  Acquire, paired
 * with the release by that thread: whoever sees that it is not in use, and
 * that it cannot be claimed again, has what its owner left. */
static inline bool
dpdk_dma_chan_in_use(const struct dpdk_dma_chan *chan)
{
    bool in_use;

    atomic_read_explicit(&CONST_CAST(struct dpdk_dma_chan *, chan)->in_use,
                         &in_use, memory_order_acquire);
    return in_use;
}

/* Number of copies that the engine failed and the CPU did. */
static inline uint64_t
dpdk_dma_chan_errors(const struct dpdk_dma_chan *chan)
{
    uint64_t n;

    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_chan *, chan)->errors, &n);
    return n;
}

#endif /* dpdk-dma-chan.h */
