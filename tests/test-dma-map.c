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

/* Tests of the map of DMA channels, lib/dpdk-dma-map.c, which decides without
 * DPDK: any channels that a test asks for exist. */

#undef NDEBUG
#include <config.h>

#include <sched.h>

#include "dma-test.h"
#include "dpdk-dma-map.h"
#include "openvswitch/dynamic-string.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "timeval.h"
#include "util.h"

/* Helpers. */

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

static struct dpdk_dma_chan *
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

static void
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

static void
check_free(const struct dpdk_dma_map *map, size_t index)
{
    check_state(map, index, DPDK_DMA_CHAN_FREE, DPDK_DMA_NO_CORE);
    ovs_assert(!dpdk_dma_chan_in_use(dpdk_dma_map_get(map, index)));
}

/* Sets the explicit map to 'pins', which must be new and give exactly
 * 'warnings'. */
static void
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

/* The explicit map. */

static void
test_pin_before_numa(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "node0", 1, 0 }, { "node1", 1, 1 });

    check_pins(map, "3@node1", "");
    check_claim(map, 3, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pinned_device_is_not_for_others(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 1 });

    check_pins(map, "3@dma0", "");
    /* Neither the vchan that the core will claim nor the other one. */
    check_claim(map, 1, 0, 2);
    check_claim(map, 2, 0, -1);
    check_claim(map, 3, 0, 0);
    check_claim(map, 2, 0, -1);
    check_free(map, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pinned_core_takes_nothing_else(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 9, 0, 0);
    check_pins(map, "3@dma0", "");
    check_claim(map, 3, 0, -1);
    check_free(map, 1);
    release(map, 9);
    check_claim(map, 3, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_by_vchan(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0,2@dma0,3@dma1", "");
    check_claim(map, 2, 0, 0);
    check_claim(map, 1, 0, 1);
    check_claim(map, 3, 0, 2);
    check_claim(map, 4, 0, -1);
    dpdk_dma_map_destroy(map);
}

/* A pin is for whichever threads are on the core. */
static void
test_pins_and_threads_of_one_core(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 2, 0 });

    check_pins(map, "3@dma0", "");
    check_claim_for(map, 100, 3, 0, 0);
    check_claim_for(map, 101, 3, 0, -1);
    release(map, 100);
    check_claim_for(map, 101, 3, 0, 0);
    release(map, 101);

    check_pins(map, "3@dma1", "");
    check_claim_for(map, 100, 3, 0, 1);
    check_claim_for(map, 101, 3, 0, 2);
    check_claim_for(map, 102, 3, 0, -1);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_separators(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "a@b", 1, 0 });
#define EMPTY "entry \"\" is not of the form CORE@DEV; it is ignored\n"

    check_pins(map, " 1@dma0 ,\t2@a@b\n", "");
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    check_pins(map, " , 1@dma0 ,\t2@a@b,\n", EMPTY EMPTY);
    check_pins(map, ",, ,", EMPTY EMPTY EMPTY EMPTY);
#undef EMPTY
    dpdk_dma_map_destroy(map);
}

static void
test_pins_replace_pins(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0,2@dma1", "");
    check_claim(map, 3, 0, -1);
    check_pins(map, "3@dma1", "");
    check_claim(map, 3, 0, 1);
    check_claim(map, 1, 0, 0);
    release(map, 1);
    release(map, 3);
    check_pins(map, NULL, "");
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_unchanged(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });
    struct ds ds = DS_EMPTY_INITIALIZER;

    ovs_assert(!dpdk_dma_map_set_pins(map, NULL, &ds));
    ovs_assert(!dpdk_dma_map_set_pins(map, "", &ds));
    ovs_assert(dpdk_dma_map_set_pins(map, "1@dma0,junk", &ds));
    ovs_assert(ds.length);
    ds_clear(&ds);

    /* One warning about an unchanged value is enough. */
    ovs_assert(!dpdk_dma_map_set_pins(map, "1@dma0,junk", &ds));
    ovs_assert(!ds.length);
    check_claim(map, 2, 0, -1);
    ovs_assert(dpdk_dma_map_set_pins(map, "", &ds));
    check_claim(map, 2, 0, 0);
    ds_destroy(&ds);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_leave_claims_alone(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 1, 0, 0);
    check_pins(map, "2@dma0", "");
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, -1);

    /* What is done then: all let go, all claim anew. */
    dpdk_dma_map_close(map);
    check_claim(map, 1, 0, -1);
    check_claim(map, 2, 0, -1);
    release(map, 1);
    release(map, 2);
    dpdk_dma_map_open(map);
    check_claim(map, 1, 0, 1);
    check_claim(map, 2, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_of_bad_form(void)
{
#define BAD_FORM(ENTRY) \
    "entry \"" ENTRY "\" is not of the form CORE@DEV; it is ignored\n"
#define BAD_CORE(ENTRY) \
    "entry \"" ENTRY "\" does not start with a core number; it is ignored\n"
    static const struct {
        const char *pins;
        const char *warning;
    } bad[] = {
        { "1", BAD_FORM("1") },
        { "dma0", BAD_FORM("dma0") },
        { "@dma0", BAD_FORM("@dma0") },
        { "1@", BAD_FORM("1@") },
        { "@", BAD_FORM("@") },
        { ",", BAD_FORM("") BAD_FORM("") },
        { " ", BAD_FORM("") },
        { "x,", BAD_FORM("x") BAD_FORM("") },
        { "1 @dma0", BAD_FORM("1") BAD_FORM("@dma0") },
        { "x@dma0", BAD_CORE("x@dma0") },
        { "1x@dma0", BAD_CORE("1x@dma0") },
        { "0x1@dma0", BAD_CORE("0x1@dma0") },
        { "-1@dma0", BAD_CORE("-1@dma0") },
        { "+1@dma0", BAD_CORE("+1@dma0") },
        { "1.0@dma0", BAD_CORE("1.0@dma0") },
        { "4294967295@dma0", BAD_CORE("4294967295@dma0") },
        { "4294967297@dma0", BAD_CORE("4294967297@dma0") },
        { "99999999999999999999@dma0", BAD_CORE("99999999999999999999@dma0") },
    };
#undef BAD_FORM
#undef BAD_CORE
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        check_pins(map, bad[i].pins, bad[i].warning);
        /* It pins nothing. */
        check_claim(map, 1, 0, 0);
        release(map, 1);
        check_claim(map, 2, 0, 0);
        release(map, 2);
    }
    dpdk_dma_map_destroy(map);
}

static void
test_pins_unknown_device(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });

    check_pins(map, "1@dma1",
               "entry \"1@dma1\" names no DMA device that can be used; the "
               "core claims any free channel\n");
    check_claim(map, 1, 0, 0);
    check_pins(map, "1@dma",
               "entry \"1@dma\" names no DMA device that can be used; the "
               "core claims any free channel\n");
    check_pins(map, "1@dma00",
               "entry \"1@dma00\" names no DMA device that can be used; the "
               "core claims any free channel\n");
    dpdk_dma_map_destroy(map);
}

/* A pin that nobody claims by is told, since it withholds a channel. */
static void
test_pins_idle(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });
    struct ds ds = DS_EMPTY_INITIALIZER;

    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!ds.length && !dpdk_dma_map_has_claims(map));

    check_pins(map, "7@dma0", "");
    check_claim(map, 1, 0, 1);
    ovs_assert(dpdk_dma_map_has_claims(map));
    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!strncmp(ds_cstr(&ds), "  dma0: pinned to core 7, ", 26));
    ovs_assert(strchr(ds_cstr(&ds), '\n') == ds_cstr(&ds) + ds.length - 1);

    ds_clear(&ds);
    check_claim(map, 7, 0, 0);
    release(map, 1);
    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!ds.length && dpdk_dma_map_has_claims(map));

    /* What failed is said elsewhere. */
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    ovs_assert(!dpdk_dma_map_has_claims(map));
    release(map, 7);
    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!ds.length);
    ds_destroy(&ds);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_core_twice(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma1,01@dma0",
               "entry \"01@dma0\" names core 1 a second time; the first one "
               "is used\n");
    check_claim(map, 1, 0, 1);
    /* The second one pins nothing. */
    check_claim(map, 2, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_too_many(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0,2@dma0,3@dma0",
               "entry \"3@dma0\" asks for more channels than the device has "
               "(2); the core claims any free channel\n");
    check_claim(map, 3, 0, 2);
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_good_among_bad(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "bad,1@dma9,2@dma1,1@dma0,x@dma0",
               "entry \"bad\" is not of the form CORE@DEV; it is ignored\n"
               "entry \"1@dma9\" names no DMA device that can be used; the "
               "core claims any free channel\n"
               "entry \"x@dma0\" does not start with a core number; it is "
               "ignored\n");
    check_claim(map, 3, 0, -1);
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
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
test_pinned_device_failed(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0", "");
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    check_claim(map, 1, 0, -1);
    check_free(map, 1);
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

/* Against a model: what the map grants to random claims is what the rules say,
 * restated here as simply as they can be. */

#define MODEL_CORES 6
#define MODEL_THREADS (2 * MODEL_CORES)
#define MODEL_CORE(THREAD) ((THREAD) / 2)
#define MODEL_NOBODY UINT32_MAX
#define MODEL_CHANS 8

struct model {
    struct dpdk_dma_map *map;
    uint32_t owner[MODEL_CHANS];        /* Thread, or MODEL_NOBODY. */
    bool failed[MODEL_CHANS];
    int pin[MODEL_CORES];       /* Device, -1 if none. */
    bool open;
};

static const struct dev model_devs[] = {
    { "dma0", 2, 0 }, { "dma1", 1, 1 }, { "dma2", 3, -1 }, { "dma3", 2, 1 },
};

static int
model_distance(int a, int b)
{
    return a == b ? 0 : a < 0 || b < 0 ? 1 : 2;
}

static bool
model_may_claim(const struct model *m, uint32_t core,
                const struct dpdk_dma_chan *chan)
{
    if (m->owner[chan->index] != MODEL_NOBODY || m->failed[chan->index]) {
        return false;
    }
    if (m->pin[core] >= 0) {
        return m->pin[core] == chan->dev_id;
    }
    for (int i = 0; i < MODEL_CORES; i++) {
        if (m->pin[i] == chan->dev_id) {
            return false;
        }
    }
    return true;
}

static void
model_claim(struct model *m, uint32_t thread, int numa_id)
{
    uint32_t core = MODEL_CORE(thread);
    const struct dpdk_dma_chan *got = claim_for(m->map, thread, core, numa_id);
    const struct dpdk_dma_chan *chan;
    int held = -1, best = 3;

    for (size_t i = 0; (chan = dpdk_dma_map_get(m->map, i)); i++) {
        if (m->owner[i] == thread) {
            held = i;
        }
        if (model_may_claim(m, core, chan)) {
            best = MIN(best, model_distance(chan->numa_id, numa_id));
        }
    }

    if (!m->open) {
        ovs_assert(!got);
    } else if (held >= 0) {
        ovs_assert(m->failed[held] ? !got
                   : got == dpdk_dma_map_get(m->map, held));
    } else if (best == 3) {
        ovs_assert(!got);
    } else {
        ovs_assert(got && model_may_claim(m, core, got));
        ovs_assert(model_distance(got->numa_id, numa_id) == best);
        m->owner[got->index] = thread;
    }
}

static void
model_release(struct model *m, uint32_t thread)
{
    release(m->map, thread);
    for (size_t i = 0; i < MODEL_CHANS; i++) {
        if (m->owner[i] == thread) {
            m->owner[i] = MODEL_NOBODY;
        }
    }
}

static void
model_fail(struct model *m, int16_t dev_id)
{
    dpdk_dma_map_fail_dev(m->map, dev_id);
    for (size_t i = 0; i < MODEL_CHANS; i++) {
        m->failed[i] |= dpdk_dma_map_get(m->map, i)->dev_id == dev_id;
    }
}

/* Pins some cores at random, each device within the number of its vchans. */
static void
model_pin(struct model *m)
{
    unsigned int left[ARRAY_SIZE(model_devs)];
    struct ds pins = DS_EMPTY_INITIALIZER;
    struct ds warnings = DS_EMPTY_INITIALIZER;

    for (size_t i = 0; i < ARRAY_SIZE(model_devs); i++) {
        left[i] = model_devs[i].n_vchans;
    }
    for (int core = 0; core < MODEL_CORES; core++) {
        int dev = random_range(3 * ARRAY_SIZE(model_devs));

        m->pin[core] = -1;
        if (dev < ARRAY_SIZE(model_devs) && left[dev]) {
            left[dev]--;
            m->pin[core] = dev;
            ds_put_format(&pins, "%d@%s,", core, model_devs[dev].name);
        }
    }
    ds_chomp(&pins, ',');
    dpdk_dma_map_set_pins(m->map, ds_cstr(&pins), &warnings);
    ovs_assert(!warnings.length);
    ds_destroy(&pins);
    ds_destroy(&warnings);
}

static void
model_check(const struct model *m)
{
    for (size_t i = 0; i < MODEL_CHANS; i++) {
        bool owned = m->owner[i] != MODEL_NOBODY;

        check_state(m->map, i,
                    m->failed[i] ? DPDK_DMA_CHAN_FAILED
                    : owned ? DPDK_DMA_CHAN_CLAIMED : DPDK_DMA_CHAN_FREE,
                    owned ? MODEL_CORE(m->owner[i]) : DPDK_DMA_NO_CORE);
        ovs_assert(dpdk_dma_chan_in_use(dpdk_dma_map_get(m->map, i))
                   == owned);
    }
}

static void
model_step(struct model *m)
{
    uint32_t thread = random_range(MODEL_THREADS);
    int dice = random_range(1000);

    if (dice < 2) {
        model_fail(m, random_range(ARRAY_SIZE(model_devs)));
    } else if (dice < 30) {
        model_pin(m);
    } else if (dice < 60) {
        m->open = !m->open;
        if (m->open) {
            dpdk_dma_map_open(m->map);
        } else {
            dpdk_dma_map_close(m->map);
        }
    } else if (dice < 450) {
        model_release(m, thread);
    } else {
        model_claim(m, thread, random_range(4) - 1);
    }
}

static void
test_random_against_model(void)
{
    for (int round = 0; round < 30; round++) {
        struct model m = {
            .map = make_map(model_devs, ARRAY_SIZE(model_devs)),
            .open = true,
        };

        ovs_assert(dpdk_dma_map_count(m.map) == MODEL_CHANS);
        for (size_t i = 0; i < MODEL_CHANS; i++) {
            m.owner[i] = MODEL_NOBODY;
        }
        for (size_t i = 0; i < MODEL_CORES; i++) {
            m.pin[i] = -1;
        }
        for (int step = 0; step < 1000; step++) {
            model_step(&m);
            model_check(&m);
        }
        dpdk_dma_map_destroy(m.map);
    }
}

/* Claims of many threads. */

/* What the threads know of a channel, from outside of the map.  'owner' is
 * relaxed and 'uses' no atomic at all: it is the map that orders one owner
 * after the other, which ThreadSanitizer checks. */
struct seat {
    atomic_uint32_t owner;
    unsigned int uses;
};

struct crowd {
    struct dpdk_dma_map *map;
    struct seat seats[DPDK_DMA_MAX_CHANS];
    struct ovs_barrier start;
    unsigned int n_threads;
    unsigned int n_grants;      /* That each thread waits for. */
    bool always;                /* A claim must never fail. */
    atomic_count n_left;        /* Threads that still want some. */
};

struct crowd_member {
    struct crowd *crowd;
    pthread_t thread;
    uint32_t core;
    uint32_t seed;
    unsigned int n_refused;
};

static void
seat_take(struct seat *seat, uint32_t core)
{
    uint32_t nobody = DPDK_DMA_NO_CORE;

    ovs_assert(atomic_compare_exchange_strong_relaxed(&seat->owner, &nobody,
                                                      core));
    seat->uses++;
}

static void
seat_leave(struct seat *seat, uint32_t core)
{
    ovs_assert(atomic_compare_exchange_strong_relaxed(&seat->owner, &core,
                                                      DPDK_DMA_NO_CORE));
}

static void *
crowd_member_main(void *member_)
{
    struct crowd_member *member = member_;
    struct crowd *crowd = member->crowd;
    unsigned int grants = 0;

    random_set_seed(member->seed);
    ovs_barrier_block(&crowd->start);
    while (grants < crowd->n_grants) {
        struct dpdk_dma_chan *chan;

        chan = claim(crowd->map, member->core, random_range(3) - 1);
        if (!chan) {
            ovs_assert(!crowd->always);
            /* The map may be closed with this thread's claim in it. */
            release(crowd->map, member->core);
            member->n_refused++;
            sched_yield();
            continue;
        }

        grants++;
        seat_take(&crowd->seats[chan->index], member->core);
        for (int i = random_range(4); i > 0; i--) {
            sched_yield();
        }
        if (!random_range(4)) {
            /* Only a closed map does not confirm it. */
            struct dpdk_dma_chan *again = claim(crowd->map, member->core, 0);

            ovs_assert(again == chan || (!again && !crowd->always));
        }
        seat_leave(&crowd->seats[chan->index], member->core);
        release(crowd->map, member->core);
    }
    atomic_count_dec(&crowd->n_left);
    return NULL;
}

static struct crowd_member *
crowd_start(struct crowd *crowd)
{
    struct crowd_member *members = xcalloc(crowd->n_threads, sizeof *members);

    for (size_t i = 0; i < DPDK_DMA_MAX_CHANS; i++) {
        atomic_init(&crowd->seats[i].owner, DPDK_DMA_NO_CORE);
    }
    atomic_count_init(&crowd->n_left, crowd->n_threads);
    ovs_barrier_init(&crowd->start, crowd->n_threads);
    for (size_t i = 0; i < crowd->n_threads; i++) {
        members[i].crowd = crowd;
        members[i].core = i;
        members[i].seed = random_uint32() | 1;
        members[i].thread = ovs_thread_create("claim", crowd_member_main,
                                              &members[i]);
    }
    return members;
}

/* Waits for all threads to have got what they wanted, so that nobody starved,
 * and frees them.  Returns how often one was refused. */
static unsigned int
crowd_finish(struct crowd *crowd, struct crowd_member *members)
{
    unsigned int n_uses = 0, n_refused = 0;

    for (size_t i = 0; i < crowd->n_threads; i++) {
        xpthread_join(members[i].thread, NULL);
        n_refused += members[i].n_refused;
    }
    for (size_t i = 0; i < DPDK_DMA_MAX_CHANS; i++) {
        n_uses += crowd->seats[i].uses;
    }
    ovs_assert(n_uses == crowd->n_threads * crowd->n_grants);
    for (size_t i = 0; i < dpdk_dma_map_count(crowd->map); i++) {
        uint32_t core;

        dpdk_dma_map_state(crowd->map, dpdk_dma_map_get(crowd->map, i), &core);
        ovs_assert(core >= crowd->n_threads);
    }
    ovs_barrier_destroy(&crowd->start);
    dpdk_dma_map_destroy(crowd->map);
    free(members);
    return n_refused;
}

static void
test_threads_with_too_few_channels(void)
{
    struct crowd crowd = {
        .map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 1 }),
        .n_threads = 8,
        .n_grants = 2000,
    };

    ovs_assert(crowd_finish(&crowd, crowd_start(&crowd)));
}

static void
test_threads_with_enough_channels(void)
{
    struct crowd crowd = {
        .map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 4, 1 }),
        .n_threads = 6,
        .n_grants = 2000,
        .always = true,
    };

    ovs_assert(!crowd_finish(&crowd, crowd_start(&crowd)));
}

/* All fight for the channel that a claim looks at first, and then looks at
 * many others: the longer it takes, the more threads are at it at once. */
static void
test_threads_with_one_channel(void)
{
    struct crowd crowd = {
        .map = MAKE_MAP({ "dma", DPDK_DMA_MAX_CHANS, 0 }),
        .n_threads = 4,
        .n_grants = 30000,
    };

    for (uint32_t i = 0; i < DPDK_DMA_MAX_CHANS; i++) {
        check_claim(crowd.map, 1000 + i, 0, i);
    }
    release(crowd.map, 1000);
    ovs_assert(crowd_finish(&crowd, crowd_start(&crowd)));
}

static void
test_threads_with_pins(void)
{
    struct crowd crowd = {
        .map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 2, 1 }),
        .n_threads = 4,
        .n_grants = 2000,
        .always = true,
    };

    check_pins(crowd.map, "0@dma1,1@dma1,2@dma0,3@dma0", "");
    ovs_assert(!crowd_finish(&crowd, crowd_start(&crowd)));
}

static void
test_threads_and_reconfiguration(void)
{
    static const char *pins[] = { NULL, "0@dma0", "1@dma1,2@dma0", "9@dma1" };
    struct crowd crowd = {
        .map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 2, 1 }, { "bad", 2, 0 }),
        .n_threads = 5,
        .n_grants = 2000,
    };
    struct crowd_member *members = crowd_start(&crowd);

    for (unsigned int i = 0; atomic_count_get(&crowd.n_left); i++) {
        struct ds warnings = DS_EMPTY_INITIALIZER;

        dpdk_dma_map_close(crowd.map);
        dpdk_dma_map_set_pins(crowd.map, pins[i % ARRAY_SIZE(pins)],
                              &warnings);
        ovs_assert(!warnings.length);
        dpdk_dma_map_open(crowd.map);
        if (i == 10) {
            ovs_assert(dpdk_dma_map_fail_dev(crowd.map, 2));
        }
        for (size_t j = 0; j < dpdk_dma_map_count(crowd.map); j++) {
            uint32_t core;

            dpdk_dma_map_state(crowd.map, dpdk_dma_map_get(crowd.map, j),
                               &core);
            ovs_assert(core == DPDK_DMA_NO_CORE || core < crowd.n_threads);
        }
        sched_yield();
        ds_destroy(&warnings);
    }
    crowd_finish(&crowd, members);
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
    DMA_TEST_CASE(pin_before_numa),
    DMA_TEST_CASE(pinned_device_is_not_for_others),
    DMA_TEST_CASE(pinned_core_takes_nothing_else),
    DMA_TEST_CASE(pins_by_vchan),
    DMA_TEST_CASE(pins_and_threads_of_one_core),
    DMA_TEST_CASE(pins_separators),
    DMA_TEST_CASE(pins_replace_pins),
    DMA_TEST_CASE(pins_unchanged),
    DMA_TEST_CASE(pins_leave_claims_alone),
    DMA_TEST_CASE(pins_of_bad_form),
    DMA_TEST_CASE(pins_unknown_device),
    DMA_TEST_CASE(pins_idle),
    DMA_TEST_CASE(pins_core_twice),
    DMA_TEST_CASE(pins_too_many),
    DMA_TEST_CASE(pins_good_among_bad),
    DMA_TEST_CASE(closed_map_grants_nothing),
    DMA_TEST_CASE(reopened_map_confirms),
    DMA_TEST_CASE(failed_device_is_never_claimed),
    DMA_TEST_CASE(failed_channel_of_owner),
    DMA_TEST_CASE(abandoned_channel),
    DMA_TEST_CASE(pinned_device_failed),
    DMA_TEST_CASE(usable_channel),
    DMA_TEST_CASE(random_against_model),
    DMA_TEST_CASE(threads_with_too_few_channels),
    DMA_TEST_CASE(threads_with_enough_channels),
    DMA_TEST_CASE(threads_with_one_channel),
    DMA_TEST_CASE(threads_with_pins),
    DMA_TEST_CASE(threads_and_reconfiguration),
};

static void
test_dma_map_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-map", test_dma_map_main);
