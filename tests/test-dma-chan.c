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

/* Tests of DMA channels, lib/dpdk-dma-chan.c: what is handed to an engine, and
 * what comes back.  What becomes of copies that fail is in
 * test-dma-chan-errors.c, of those that are not done in time in
 * test-dma-chan-hang.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_dma_chan_##NAME
#include "dma-chan-sources.h"
#include "dma-chan-fixture.h"

#include "dma-test.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"

static void
test_room(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);

    ovs_assert(f->chan->ring_size == 64);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 63);
    send_packets(f, 10, 2);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 43);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 20);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 43);
    ovs_assert(reap(f, 4) == 4);

    /* All were reported; what was not handed out is still ours. */
    ovs_assert(dpdk_dma_chan_room(f->chan) == 63 - 12);
    ovs_assert(reap(f, 64) == 6);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 63);

    send_packets(f, 63, 1);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 0);
    ovs_assert(!add_piece(f));
    check_in_flight(f, 63);
}

static void
test_no_room_on_what_failed_or_stopped(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);

    dpdk_dma_map_release(dpdk_dma_dev_map(), f);
    dpdk_dma_dev_stop_all();
    ovs_assert(dpdk_dma_chan_room(f->chan) == 0);
    start();
    ovs_assert(dpdk_dma_chan_room(f->chan) == 63);
    dpdk_dma_dev_quarantine(f->chan, "test");
    ovs_assert(dpdk_dma_chan_room(f->chan) == 0);
}

static void
test_rings_of_32(void)
{
    struct flow *f = start_one(FAKE_IDXD, 32);

    for (int i = 0; i < 1000; i++) {
        unsigned int n = dpdk_dma_chan_room(f->chan);

        ovs_assert(n == 31);
        send_packets(f, n, 1);
        dpdk_dma_chan_doorbell(f->chan);
        fake_work(0, 0, 31);
        ovs_assert(reap(f, 256) == 31);
    }
}

/* The driver takes more than fits into the batch, if it is not asked. */
static void
test_batch_limit(void)
{
    struct flow *f = start_one(FAKE_IDXD, 256);

    fake.devs[0].max_batch = 32;
    ovs_assert(dpdk_dma_chan_room(f->chan) == 32);
    send_packets(f, 6, 5);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 2);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(dpdk_dma_chan_room(f->chan) == 32);
    send_packets(f, 1, 5);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 100);
    ovs_assert(reap(f, 256) == 7);
}

static void
test_doorbell(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(!fake.devs[0].n_submits);

    send_packets(f, 3, 2);
    ovs_assert(!fake.devs[0].n_submits);
    ovs_assert(!fake_work(0, 0, 100) && !reap(f, 64));
    check_in_flight(f, 6);
    dpdk_dma_chan_doorbell(f->chan);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(fake.devs[0].n_submits == 1);
    ovs_assert(fake_work(0, 0, 100) == 6 && reap(f, 64) == 3);
    check_in_flight(f, 0);

    /* One that fails is not forgotten. */
    fake.devs[0].submit_fails = 2;
    send_packets(f, 1, 1);
    for (int i = 0; i < 3; i++) {
        ovs_assert(!fake_work(0, 0, 100));
        dpdk_dma_chan_doorbell(f->chan);
    }
    ovs_assert(fake_work(0, 0, 100) && reap(f, 64) == 1);
}

static void
test_packet_is_back_with_its_last_copy(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    send_packets(f, 1, 3);
    send_packets(f, 1, 1);
    send_packets(f, 1, 2);
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 6; i++) {
        fake_work(0, 0, 1);
        ovs_assert(reap(f, 64) == (i == 2 || i == 3 || i == 5));
        check_in_flight(f, 5 - i);
        ovs_assert(dpdk_dma_chan_completed(f->chan) == i + 1);
        ovs_assert(dpdk_dma_chan_submitted(f->chan) == 6);
    }
}

static void
test_packets_per_reap(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 256);

    send_packets(f, 10, 3);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 29);
    ovs_assert(!reap(f, 0));
    check_in_flight(f, 30);
    ovs_assert(reap(f, 4) == 4);
    check_in_flight(f, 18);
    ovs_assert(reap(f, 4) == 4);
    ovs_assert(reap(f, 4) == 1);
    /* The first pieces of the last packet are done. */
    check_in_flight(f, 1);
    ovs_assert(!reap(f, 4));
    fake_work(0, 0, 1);
    ovs_assert(reap(f, 4) == 1);
    check_in_flight(f, 0);
}

static void
test_refused_in_mid_packet(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);

    send_packets(f, 2, 2);
    fake.devs[0].refuse_at = 3;
    ovs_assert(add_piece(f) && add_piece(f) && !add_piece(f));
    check_in_flight(f, 6);
    end_packet(f);

    /* Refused at its first piece, a packet leaves nothing. */
    fake.devs[0].refuse_at = 1;
    ovs_assert(!add_piece(f));
    check_in_flight(f, 6);
    send_packets(f, 1, 3);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(fake_work(0, 0, 100) == 9);
    ovs_assert(reap(f, 64) == 4);
    check_in_flight(f, 0);
}

/* More copies than a driver's counters hold, in bursts of all sizes. */
static void
run_wrap(uint16_t max_desc)
{
    struct flow *f = start_one(FAKE_IDXD, max_desc);

    while (f->n_copies < 3 * UINT16_MAX) {
        unsigned int n_pieces = 1 + random_range(MAX_PIECES);

        while (dpdk_dma_chan_room(f->chan) >= n_pieces && random_range(20)) {
            send_packets(f, 1, n_pieces);
            n_pieces = 1 + random_range(MAX_PIECES);
        }
        dpdk_dma_chan_doorbell(f->chan);
        fake_work(0, 0, random_range(2 * max_desc));
        reap(f, random_range(32));
        check_in_flight(f, f->n_copies - dpdk_dma_chan_completed(f->chan));
        ovs_assert(dpdk_dma_chan_in_flight(f->chan) < max_desc);
    }
    fake_work(0, 0, UINT_MAX);
    while (reap(f, 32) == 32) {
        continue;
    }
    ovs_assert(f->n_back == f->n_sent);
    check_in_flight(f, 0);
    ovs_assert(f->n_copies == dpdk_dma_chan_submitted(f->chan));
}

static void
test_wrap_of_rings_of_32(void)
{
    run_wrap(32);
}

static void
test_wrap_of_large_rings(void)
{
    run_wrap(4096);
}

static void
test_sizes_that_are_no_power_of_two(void)
{
    struct flow *f = start_one(FAKE_IDXD, 100);

    ovs_assert(f->chan->ring_size == 64);
    /* A driver that takes no other one. */
    dpdk_dma_chan_start(f->chan, 100);
    ovs_assert(f->chan->copies_mask == 127 && f->chan->ring_size == 100);
}

/* What was never submitted cannot be done. */
static void
test_overreport(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);
    struct dpdk_dma_done done[64];

    send_packets(f, 3, 2);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 2);
    fake.devs[0].overreport = 60;
    ovs_assert(dpdk_dma_chan_reap(f->chan, done, 64) == 3);
    check_in_flight(f, 0);
    ovs_assert(atomic_count_get(&n_dpdk_dma_chan_overreport) == 1);

    /* Nothing is asked for when nothing is there. */
    fake.devs[0].overreport = 60;
    ovs_assert(!dpdk_dma_chan_reap(f->chan, done, 64));
    check_in_flight(f, 0);
    ovs_assert(dpdk_dma_chan_room(f->chan) <= 63);
}

/* Other threads may rely on what they see counted. */

static atomic_bool watch_ends;

static void *
watch_main(void *flow_)
{
    const struct flow *f = flow_;
    uint64_t seen = 0;
    bool ends;

    do {
        uint64_t n, in_flight = dpdk_dma_chan_in_flight(f->chan);

        /* They may look at times far apart, but never below 0. */
        ovs_assert(in_flight < N_SLOTS);
        for (n = dpdk_dma_chan_completed(f->chan); seen < n; seen++) {
            ovs_assert(!memcmp(f->src[seen], f->dst[seen], PIECE_SIZE));
        }
        atomic_read(&watch_ends, &ends);
    } while (!ends);
    return NULL;
}

static void
test_completed_by_other_threads(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);
    pthread_t watch = ovs_thread_create("watch", watch_main, f);

    while (f->n_copies < N_SLOTS - 64) {
        while (dpdk_dma_chan_room(f->chan)) {
            send_packets(f, 1, 1);
            if (random_range(2)) {
                fake_fail(0, 0, 0);
            }
        }
        dpdk_dma_chan_doorbell(f->chan);
        fake_work(0, 0, random_range(64));
        reap(f, 64);
    }
    atomic_store(&watch_ends, true);
    xpthread_join(watch, NULL);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(room),
    DMA_TEST_CASE(no_room_on_what_failed_or_stopped),
    DMA_TEST_CASE(rings_of_32),
    DMA_TEST_CASE(batch_limit),
    DMA_TEST_CASE(doorbell),
    DMA_TEST_CASE(packet_is_back_with_its_last_copy),
    DMA_TEST_CASE(packets_per_reap),
    DMA_TEST_CASE(refused_in_mid_packet),
    DMA_TEST_CASE(wrap_of_rings_of_32),
    DMA_TEST_CASE(wrap_of_large_rings),
    DMA_TEST_CASE(sizes_that_are_no_power_of_two),
    DMA_TEST_CASE(overreport),
    DMA_TEST_CASE(completed_by_other_threads),
};

static void
test_dma_chan_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-chan", test_dma_chan_main);
