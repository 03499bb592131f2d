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

#ifndef DMA_MAP_FIXTURE_H
#define DMA_MAP_FIXTURE_H 1

/* Maps of DMA channels, lib/dpdk-dma-map.c, which decides without DPDK: any
 * channels that a test asks for exist. */

#include "dpdk-dma-map.h"
#include "openvswitch/dynamic-string.h"
#include "util.h"

struct dev {
    const char *name;
    uint16_t n_vchans;
    int numa_id;
};

/* Returns a map, open, of the 'n' devices in 'devs'. */
static struct dpdk_dma_map *
make_map(const struct dev *devs, size_t n)
{
    struct dpdk_dma_map *map = dpdk_dma_map_create();

    for (size_t i = 0; i < n; i++) {
        for (uint16_t vchan = 0; vchan < devs[i].n_vchans; vchan++) {
            ovs_assert(dpdk_dma_map_add(map, devs[i].name, i, vchan,
                                        devs[i].numa_id));
        }
    }
    dpdk_dma_map_open(map);
    return map;
}

#define MAKE_MAP(...)                                       \
    make_map((const struct dev[]) { __VA_ARGS__ },          \
             ARRAY_SIZE(((const struct dev[]) { __VA_ARGS__ })))

/* Threads are numbers; most are on the core of that number, all alone. */
static char threads[2048];

static struct dpdk_dma_chan *
claim_for(struct dpdk_dma_map *map, unsigned int thread, uint32_t core,
          int numa_id)
{
    ovs_assert(thread < ARRAY_SIZE(threads));
    return dpdk_dma_map_claim(map, &threads[thread], core, numa_id);
}

static OVS_UNUSED struct dpdk_dma_chan *
claim(struct dpdk_dma_map *map, uint32_t core, int numa_id)
{
    return claim_for(map, core, core, numa_id);
}

static void
release(struct dpdk_dma_map *map, unsigned int thread)
{
    dpdk_dma_map_release(map, &threads[thread]);
}

/* Claims for 'thread' on 'core' and checks that it gets channel 'index', or
 * nothing if that is -1. */
static void
check_claim_for(struct dpdk_dma_map *map, unsigned int thread, uint32_t core,
                int numa_id, int index)
{
    const struct dpdk_dma_chan *chan = claim_for(map, thread, core, numa_id);

    ovs_assert((chan ? (int) chan->index : -1) == index);
    ovs_assert(!chan || dpdk_dma_chan_in_use(chan));
}

static OVS_UNUSED void
check_claim(struct dpdk_dma_map *map, uint32_t core, int numa_id, int index)
{
    check_claim_for(map, core, core, numa_id, index);
}

static void
check_state(const struct dpdk_dma_map *map, size_t index,
            enum dpdk_dma_chan_state expected, uint32_t expected_core)
{
    uint32_t core;

    ovs_assert(dpdk_dma_map_state(map, dpdk_dma_map_get(map, index), &core)
               == expected);
    ovs_assert(core == expected_core);
}

static OVS_UNUSED void
check_free(const struct dpdk_dma_map *map, size_t index)
{
    check_state(map, index, DPDK_DMA_CHAN_FREE, DPDK_DMA_NO_CORE);
    ovs_assert(!dpdk_dma_chan_in_use(dpdk_dma_map_get(map, index)));
}

/* Sets the explicit map to 'pins', which must be new and give exactly
 * 'warnings'. */
static OVS_UNUSED void
check_pins(struct dpdk_dma_map *map, const char *pins, const char *warnings)
{
    struct ds ds = DS_EMPTY_INITIALIZER;

    ovs_assert(dpdk_dma_map_set_pins(map, pins, &ds));
    if (strcmp(ds_cstr(&ds), warnings)) {
        ovs_fatal(0, "vhost-async-dma-map \"%s\": got:\n%sexpected:\n%s",
                  pins, ds_cstr(&ds), warnings);
    }
    ds_destroy(&ds);
}

#endif /* dma-map-fixture.h */
