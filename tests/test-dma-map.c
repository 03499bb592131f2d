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

/* Tests of the map of DMA channels, lib/dpdk-dma-map.c: who gets which, and
 * who gets none.  The explicit map is in test-dma-map-pins.c, claims at random
 * in test-dma-map-random.c, claims of several threads in
 * test-dma-map-threads.c. */

#undef NDEBUG
#include <config.h>

#include "dma-map-fixture.h"
#include "dma-test.h"
#include "ovs-atomic.h"
#include "ovstest.h"
#include "timeval.h"

/* Claims and releases. */

static void
test_empty_map(void)
{
    struct dpdk_dma_map *map = dpdk_dma_map_create();

    dpdk_dma_map_open(map);
    ovs_assert(dpdk_dma_map_count(map) == 0);
    ovs_assert(!dpdk_dma_map_get(map, 0));
    check_claim(map, 1, 0, -1);
    release(map, 1);
    ovs_assert(!dpdk_dma_map_fail_dev(map, 0));
    dpdk_dma_map_destroy(map);
    dpdk_dma_map_destroy(NULL);
}

static void
test_channels_as_added(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 1 }, { "dma1", 1, -1 });
    char name[] = "dma2";
    const struct dpdk_dma_chan *chan;

    /* The name is copied. */
    ovs_assert(dpdk_dma_map_add(map, name, 9, 5, 0));
    name[0] = 'x';

    ovs_assert(dpdk_dma_map_count(map) == 4);
    ovs_assert(!dpdk_dma_map_get(map, 4));
    chan = dpdk_dma_map_get(map, 1);
    ovs_assert(!strcmp(chan->dev_name, "dma0") && chan->index == 1);
    ovs_assert(chan->dev_id == 0 && chan->vchan == 1 && chan->numa_id == 1);
    chan = dpdk_dma_map_get(map, 3);
    ovs_assert(!strcmp(chan->dev_name, "dma2") && chan->index == 3);
    ovs_assert(chan->dev_id == 9 && chan->vchan == 5 && chan->numa_id == 0);
    for (size_t i = 0; i < 4; i++) {
        check_free(map, i);
        /* Nobody started the devices. */
        ovs_assert(!dpdk_dma_chan_failed(dpdk_dma_map_get(map, i)));
        ovs_assert(!dpdk_dma_chan_usable(dpdk_dma_map_get(map, i)));
    }
    dpdk_dma_map_destroy(map);
}

static void
test_no_more_than_max_channels(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "big", DPDK_DMA_MAX_CHANS, 0 });

    ovs_assert(!dpdk_dma_map_add(map, "more", 1, 0, 0));
    ovs_assert(dpdk_dma_map_count(map) == DPDK_DMA_MAX_CHANS);
    ovs_assert(!dpdk_dma_map_get(map, DPDK_DMA_MAX_CHANS));
    for (uint32_t core = 0; core < DPDK_DMA_MAX_CHANS; core++) {
        ovs_assert(claim(map, core, 0));
    }
    check_claim(map, DPDK_DMA_MAX_CHANS, 0, -1);
    dpdk_dma_map_destroy(map);
}

static void
test_claim_and_release(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 7, 0, 0);
    check_state(map, 0, DPDK_DMA_CHAN_CLAIMED, 7);
    check_free(map, 1);
    check_claim(map, 8, 0, 1);
    check_state(map, 1, DPDK_DMA_CHAN_CLAIMED, 8);

    /* Only what the core itself holds is released. */
    release(map, 9);
    check_state(map, 0, DPDK_DMA_CHAN_CLAIMED, 7);
    release(map, 7);
    check_free(map, 0);
    check_state(map, 1, DPDK_DMA_CHAN_CLAIMED, 8);
    release(map, 7);
    check_free(map, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_core_0_is_a_core(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });

    check_claim(map, 0, 0, 0);
    check_state(map, 0, DPDK_DMA_CHAN_CLAIMED, 0);
    check_claim(map, 1, 0, -1);
    release(map, 0);
    check_claim(map, 1, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_claim_again_gives_the_same(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "near", 1, 0 }, { "far", 1, 1 });

    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    release(map, 1);

    /* Though a nearer one is free by now: copies can be in flight. */
    check_claim(map, 2, 0, 1);
    check_claim(map, 2, 0, 1);
    check_free(map, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_exhaustion(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    check_claim(map, 3, 0, -1);
    check_claim(map, 4, 0, -1);
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);

    /* Who found none may try again, and finds what became free. */
    release(map, 3);
    release(map, 1);
    check_claim(map, 4, 0, 0);
    check_claim(map, 3, 0, -1);
    dpdk_dma_map_destroy(map);
}

static void
test_vchans_are_channels(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 3, 0 });

    for (uint32_t core = 0; core < 3; core++) {
        check_claim(map, core, 0, core);
        ovs_assert(dpdk_dma_map_get(map, core)->vchan == core);
    }
    check_claim(map, 3, 0, -1);
    dpdk_dma_map_destroy(map);
}

/* PMD threads of two datapaths. */
static void
test_threads_of_one_core(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim_for(map, 100, 3, 0, 0);
    check_claim_for(map, 101, 3, 0, 1);
    check_claim_for(map, 102, 3, 0, -1);
    check_state(map, 0, DPDK_DMA_CHAN_CLAIMED, 3);
    check_state(map, 1, DPDK_DMA_CHAN_CLAIMED, 3);
    check_claim_for(map, 101, 3, 0, 1);

    /* One lets go, the other one keeps its own. */
    release(map, 100);
    check_free(map, 0);
    check_state(map, 1, DPDK_DMA_CHAN_CLAIMED, 3);
    check_claim_for(map, 101, 3, 0, 1);
    check_claim_for(map, 102, 3, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_in_use_until_release(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 });
    const struct dpdk_dma_chan *chan = claim(map, 1, 0);

    ovs_assert(dpdk_dma_chan_in_use(chan));
    ovs_assert(!dpdk_dma_chan_in_use(dpdk_dma_map_get(map, 1)));
    dpdk_dma_map_close(map);
    check_claim(map, 1, 0, -1);
    ovs_assert(dpdk_dma_chan_in_use(chan));
    /* It failed, which its owner may not know. */
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    ovs_assert(dpdk_dma_chan_in_use(chan));
    release(map, 1);
    ovs_assert(!dpdk_dma_chan_in_use(chan));
    dpdk_dma_map_destroy(map);
}

/* NUMA. */

/* What a thread keeps is for nobody else until its time is over, or the map
 * is opened anew, and first of all for itself. */
static void
test_kept_claim(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 1 });
    long long int future = time_msec() + 1000000;

    check_claim(map, 1, 1, 1);
    check_claim(map, 2, 0, 0);
    ovs_assert(!dpdk_dma_map_n_free(map));
    dpdk_dma_map_keep(map, &threads[1], future);
    check_free(map, 1);
    ovs_assert(dpdk_dma_map_n_free(map) == 1);
    check_claim(map, 3, 1, -1);

    /* Although the other one is nearer. */
    release(map, 2);
    ovs_assert(dpdk_dma_map_n_free(map) == 2);
    check_claim(map, 1, 0, 1);
    check_claim(map, 2, 0, 0);
    ovs_assert(!dpdk_dma_map_n_free(map));

    /* Its time is over. */
    dpdk_dma_map_keep(map, &threads[1], time_msec());
    check_claim(map, 3, 1, 1);
    check_claim(map, 1, 1, -1);

    /* The thread is gone. */
    dpdk_dma_map_keep(map, &threads[3], future);
    check_claim(map, 1, 1, -1);
    release(map, 3);
    check_claim(map, 1, 1, 1);

    /* All let go, and claim anew. */
    dpdk_dma_map_keep(map, &threads[1], future);
    dpdk_dma_map_close(map);
    dpdk_dma_map_open(map);
    check_claim(map, 3, 1, 1);

    /* What failed is not free. */
    release(map, 3);
    ovs_assert(dpdk_dma_map_n_free(map) == 1);
    ovs_assert(dpdk_dma_map_fail_dev(map, 1));
    ovs_assert(!dpdk_dma_map_n_free(map));
    dpdk_dma_map_destroy(map);
}

static void
test_nearest_node_first(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "node0", 1, 0 }, { "node1", 1, 1 },
                                        { "node0b", 1, 0 }, { "node2", 1, 2 });

    check_claim(map, 1, 1, 1);
    check_claim(map, 2, 2, 3);
    check_claim(map, 3, 0, 0);
    check_claim(map, 4, 0, 2);
    dpdk_dma_map_destroy(map);
}

static void
test_other_node_rather_than_none(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "node0", 1, 0 }, { "node1", 1, 1 });

    check_claim(map, 1, 1, 1);
    check_claim(map, 2, 1, 0);
    check_claim(map, 3, 1, -1);
    dpdk_dma_map_destroy(map);
}

static void
test_unknown_node_of_channel(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "node0", 1, 0 }, { "any", 1, -1 },
                                        { "node1", 1, 1 });

    /* Its own node, then one that may be its own, then another. */
    check_claim(map, 1, 1, 2);
    check_claim(map, 2, 1, 1);
    check_claim(map, 3, 1, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_unknown_node_of_thread(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "node1", 1, 1 }, { "any", 1, -1 });

    check_claim(map, 1, -1, 1);
    check_claim(map, 2, -1, 0);
    check_claim(map, 3, -1, -1);
    dpdk_dma_map_destroy(map);
}

/* Closed maps, failed devices. */

static void
test_closed_map_grants_nothing(void)
{
    struct dpdk_dma_map *map = dpdk_dma_map_create();

    ovs_assert(dpdk_dma_map_add(map, "dma0", 0, 0, 0));
    check_claim(map, 1, 0, -1);
    check_free(map, 0);
    dpdk_dma_map_open(map);
    check_claim(map, 1, 0, 0);

    /* An owner learns that it is to let go, and owns until it did. */
    dpdk_dma_map_close(map);
    check_claim(map, 1, 0, -1);
    check_state(map, 0, DPDK_DMA_CHAN_CLAIMED, 1);
    release(map, 1);
    check_free(map, 0);
    check_claim(map, 1, 0, -1);
    dpdk_dma_map_destroy(map);
}

static void
test_reopened_map_confirms(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });

    check_claim(map, 1, 0, 0);
    dpdk_dma_map_close(map);
    dpdk_dma_map_open(map);
    check_claim(map, 2, 0, -1);
    check_claim(map, 1, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_failed_device_is_never_claimed(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 1 });

    /* All vchans of the device, no other device's. */
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    ovs_assert(dpdk_dma_chan_failed(dpdk_dma_map_get(map, 0)));
    ovs_assert(dpdk_dma_chan_failed(dpdk_dma_map_get(map, 1)));
    ovs_assert(!dpdk_dma_chan_failed(dpdk_dma_map_get(map, 2)));
    check_state(map, 0, DPDK_DMA_CHAN_FAILED, DPDK_DMA_NO_CORE);
    check_claim(map, 1, 0, 2);
    check_claim(map, 2, 0, -1);

    /* Said once, so that one message about it is logged. */
    ovs_assert(!dpdk_dma_map_fail_dev(map, 0));
    ovs_assert(!dpdk_dma_map_fail_dev(map, 5));
    dpdk_dma_map_destroy(map);
}

static void
test_failed_channel_of_owner(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 1, 0, 0);
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    check_claim(map, 1, 0, -1);
    check_state(map, 0, DPDK_DMA_CHAN_FAILED, 1);

    /* Once it let go, it claims another; nobody gets the failed one. */
    release(map, 1);
    check_state(map, 0, DPDK_DMA_CHAN_FAILED, DPDK_DMA_NO_CORE);
    check_claim(map, 1, 0, 1);
    check_claim(map, 2, 0, -1);
    dpdk_dma_map_destroy(map);
}

/* Its owner gave it up, as it has to, and then lets go. */
static void
test_abandoned_channel(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });
    struct dpdk_dma_chan *chan = claim(map, 1, 0);

    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    dpdk_dma_chan_abandon(chan);
    check_state(map, 0, DPDK_DMA_CHAN_FAILED, 1);
    check_claim(map, 1, 0, -1);
    check_claim(map, 2, 0, 1);
    ovs_assert(!dpdk_dma_chan_in_use(chan));
    release(map, 1);
    check_state(map, 0, DPDK_DMA_CHAN_FAILED, DPDK_DMA_NO_CORE);
    ovs_assert(!dpdk_dma_chan_in_use(chan));
    dpdk_dma_map_destroy(map);
}

static void
test_usable_channel(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });
    struct dpdk_dma_chan *chan = dpdk_dma_map_get(map, 0);

    atomic_store_relaxed(&chan->running, true);
    ovs_assert(dpdk_dma_chan_usable(chan));
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    ovs_assert(!dpdk_dma_chan_usable(chan));
    dpdk_dma_map_destroy(map);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(empty_map),
    DMA_TEST_CASE(channels_as_added),
    DMA_TEST_CASE(no_more_than_max_channels),
    DMA_TEST_CASE(claim_and_release),
    DMA_TEST_CASE(core_0_is_a_core),
    DMA_TEST_CASE(claim_again_gives_the_same),
    DMA_TEST_CASE(exhaustion),
    DMA_TEST_CASE(vchans_are_channels),
    DMA_TEST_CASE(threads_of_one_core),
    DMA_TEST_CASE(in_use_until_release),
    DMA_TEST_CASE(kept_claim),
    DMA_TEST_CASE(nearest_node_first),
    DMA_TEST_CASE(other_node_rather_than_none),
    DMA_TEST_CASE(unknown_node_of_channel),
    DMA_TEST_CASE(unknown_node_of_thread),
    DMA_TEST_CASE(closed_map_grants_nothing),
    DMA_TEST_CASE(reopened_map_confirms),
    DMA_TEST_CASE(failed_device_is_never_claimed),
    DMA_TEST_CASE(failed_channel_of_owner),
    DMA_TEST_CASE(abandoned_channel),
    DMA_TEST_CASE(usable_channel),
};

static void
test_dma_map_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-map", test_dma_map_main);
