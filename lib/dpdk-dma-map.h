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

#ifndef DPDK_DMA_MAP_H
#define DPDK_DMA_MAP_H 1

/* Which DMA channels exist, and which thread has claimed which.
 *
 * A channel is one vchan of one dmadev.  Each PMD thread claims at most one
 * channel, and a channel has at most one owner, so that the owner may use it
 * without a lock.  Claims last: they are made when a PMD thread attaches or
 * reloads and given up when it detaches or when the map changes, never per
 * packet.
 *
 * This file decides; it never calls DPDK.  dpdk-dma-dev.[ch] finds the
 * channels that it decides about, starts and stops them.
 *
 * Thread-safety
 * =============
 *
 * Every function takes the map's mutex, except where a comment says
 * otherwise, so that any thread may call it.  The data path calls none of
 * them: it only reads its own 'struct dpdk_dma_chan', whose identity never
 * changes while the map exists. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openvswitch/thread.h"
#include "ovs-atomic.h"
#include "util.h"

struct ds;

#define DPDK_DMA_NO_CORE UINT32_MAX

/* More channels than PMD threads on one host are of no use, and each vhost
 * txq keeps one cache line for each channel. */
#define DPDK_DMA_MAX_CHANS 64

/* What the map says of a channel. */
enum dpdk_dma_chan_state {
    DPDK_DMA_CHAN_FREE,         /* Nobody's. */
    DPDK_DMA_CHAN_CLAIMED,      /* Owned by 'core'. */
    DPDK_DMA_CHAN_FAILED,       /* Quarantined; never claimed again. */
};

struct dpdk_dma_chan {
    /* Constant from creation. */
    const char *dev_name;       /* Name of the dmadev. */
    unsigned int index;         /* Position in the map, from 0. */
    int16_t dev_id;             /* dmadev id. */
    uint16_t vchan;             /* Vchan of the dmadev. */
    int numa_id;                /* NUMA node, -1 if unknown. */

    /* Set by dpdk-dma-dev when it starts the device, before any claim. */
    uint16_t ring_size;         /* Descriptors in the ring of the vchan. */
    uint16_t idle_capacity;     /* Free descriptors when nothing is there. */
    atomic_bool running;        /* Between start and stop. */

    /* Set once by anyone, read by the owner and by drains before each use.
     * A channel that failed is not touched again. */
    atomic_bool failed;
};

struct dpdk_dma_map;

struct dpdk_dma_map *dpdk_dma_map_create(void);
void dpdk_dma_map_destroy(struct dpdk_dma_map *);

struct dpdk_dma_chan *dpdk_dma_map_add(struct dpdk_dma_map *,
                                       const char *dev_name, int16_t dev_id,
                                       uint16_t vchan, int numa_id);
size_t dpdk_dma_map_count(const struct dpdk_dma_map *);
struct dpdk_dma_chan *dpdk_dma_map_get(const struct dpdk_dma_map *,
                                       size_t index);

bool dpdk_dma_map_set_pins(struct dpdk_dma_map *, const char *pins,
                           struct ds *warnings);

void dpdk_dma_map_open(struct dpdk_dma_map *);
void dpdk_dma_map_close(struct dpdk_dma_map *);

struct dpdk_dma_chan *dpdk_dma_map_claim(struct dpdk_dma_map *, uint32_t core,
                                         int numa_id);
void dpdk_dma_map_release(struct dpdk_dma_map *, uint32_t core);

bool dpdk_dma_map_fail_dev(struct dpdk_dma_map *, int16_t dev_id);

enum dpdk_dma_chan_state
dpdk_dma_map_state(const struct dpdk_dma_map *, const struct dpdk_dma_chan *,
                   uint32_t *core);

static inline bool
dpdk_dma_chan_failed(const struct dpdk_dma_chan *chan)
{
    bool failed;

    /* Relaxed: whoever stops a device lets a grace period pass after setting
     * the flag, and that orders the last use before the stop. */
    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_chan *, chan)->failed,
                        &failed);
    return failed;
}

/* Whether 'chan' may be polled: by its owner, or by whoever drains a txq. */
static inline bool
dpdk_dma_chan_usable(const struct dpdk_dma_chan *chan)
{
    bool running;

    atomic_read_explicit(&CONST_CAST(struct dpdk_dma_chan *, chan)->running,
                         &running, memory_order_acquire);
    return running && !dpdk_dma_chan_failed(chan);
}

#endif /* dpdk-dma-map.h */
