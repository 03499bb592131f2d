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

/* Tests of the map of DMA channels, lib/dpdk-dma-map.c, with many threads that
 * claim at the same time: a channel has one owner, and nobody starves. */

#undef NDEBUG
#include <config.h>

#include <sched.h>

#include "dma-map-fixture.h"
#include "dma-test.h"
#include "openvswitch/dynamic-string.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"

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
    DMA_TEST_CASE(threads_with_too_few_channels),
    DMA_TEST_CASE(threads_with_enough_channels),
    DMA_TEST_CASE(threads_with_one_channel),
    DMA_TEST_CASE(threads_with_pins),
    DMA_TEST_CASE(threads_and_reconfiguration),
};

static void
test_dma_map_threads_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-map-threads", test_dma_map_threads_main);
