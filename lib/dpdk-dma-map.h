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
 * A channel is one vchan of one dmadev (dpdk-dma-chan.h).  Each PMD thread
 * claims at most one channel, and a channel has at most one owner, so that the
 * owner may use it without a lock.  Claims last: they are made when a PMD
 * thread attaches or reloads, or when a channel becomes free and the thread
 * lacks one, and given up when it detaches, has nothing to poll or the map
 * changes, never per packet.
 *
 * The owner is a thread, known by an address of its own, and not a core: PMD
 * threads of two datapaths can run on the same one.  Cores are what the
 * explicit map is about.
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

#include "dpdk-dma-chan.h"

struct ds;

#define DPDK_DMA_NO_CORE UINT32_MAX

/* More channels than PMD threads on one host are of no use. */
#define DPDK_DMA_MAX_CHANS 64

/* What the map says of a channel. */
enum dpdk_dma_chan_state {
    DPDK_DMA_CHAN_FREE,         /* Nobody's. */
    DPDK_DMA_CHAN_CLAIMED,      /* Owned by a thread on 'core'. */
    DPDK_DMA_CHAN_FAILED,       /* Quarantined; never claimed again. */
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
void dpdk_dma_map_format_idle_pins(const struct dpdk_dma_map *, struct ds *);
bool dpdk_dma_map_has_claims(const struct dpdk_dma_map *);

void dpdk_dma_map_open(struct dpdk_dma_map *);
void dpdk_dma_map_close(struct dpdk_dma_map *);

struct dpdk_dma_chan *dpdk_dma_map_claim(struct dpdk_dma_map *,
                                         const void *owner, uint32_t core,
                                         int numa_id);
void dpdk_dma_map_release(struct dpdk_dma_map *, const void *owner);
void dpdk_dma_map_keep(struct dpdk_dma_map *, const void *owner,
                       long long int until);
uint32_t dpdk_dma_map_n_free(const struct dpdk_dma_map *);

bool dpdk_dma_map_fail_dev(struct dpdk_dma_map *, int16_t dev_id);

enum dpdk_dma_chan_state
dpdk_dma_map_state(const struct dpdk_dma_map *, const struct dpdk_dma_chan *,
                   uint32_t *core);

#endif /* dpdk-dma-map.h */
