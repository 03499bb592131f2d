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

/* Tests of copies that fail, lib/dpdk-dma-chan.c: the CPU does them again, and
 * all that the drivers tell wrong about them does not matter. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_dma_chan_errors_##NAME
#include "dma-chan-sources.h"
#include "dma-chan-fixture.h"

#include "dma-test.h"
#include "ovstest.h"
#include "random.h"

static void
run_one_error(enum fake_driver driver, unsigned int which)
{
    struct flow *f = start_one(driver, 64);

    send_packets(f, 4, 3);
    fake_fail(0, 0, 11 - which);
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 10 && f->n_back < 4; i++) {
        fake_work(0, 0, 100);
        reap(f, 64);
    }
    ovs_assert(f->n_back == 4);
    ovs_assert(dpdk_dma_chan_errors(f->chan) >= 1);
    if (driver == FAKE_IDXD) {
        ovs_assert(dpdk_dma_chan_errors(f->chan) == 1);
    }
    check_in_flight(f, 0);

    /* It goes on. */
    send_packets(f, 4, 3);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 100);
    ovs_assert(reap(f, 64) == 4);
}

static void
test_error_of_idxd_in_the_middle(void)
{
    run_one_error(FAKE_IDXD, 4);
}

static void
test_error_of_idxd_at_first(void)
{
    run_one_error(FAKE_IDXD, 0);
}

static void
test_error_of_idxd_at_last(void)
{
    run_one_error(FAKE_IDXD, 11);
}

static void
test_error_of_ioat_in_the_middle(void)
{
    run_one_error(FAKE_IOAT, 4);
}

static void
test_error_of_ioat_at_first(void)
{
    run_one_error(FAKE_IOAT, 0);
}

static void
test_error_of_ioat_at_last(void)
{
    run_one_error(FAKE_IOAT, 11);
}

static void
work_meanwhile(void)
{
    fake_work(0, 0, 100);
}

/* What the engine does between an error and the question about it. */
static void
run_error_and_more(const unsigned int *which, size_t n, unsigned int max)
{
    struct flow *f = start_one(FAKE_IOAT, 64);

    send_packets(f, 20, 1);
    for (size_t i = 0; i < n; i++) {
        fake_fail(0, 0, 19 - which[i]);
    }
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 50 && f->n_back < 20; i++) {
        fake_work(0, 0, 100);
        fake.meanwhile = work_meanwhile;
        reap(f, max);
    }
    ovs_assert(f->n_back == 20);
    check_in_flight(f, 0);
    ovs_assert(!fake.devs[0].vchans[0].failure);
}

/* The driver reports as done what the engine never began, also of copies that
 * come later: that one is not believed any more. */
static void
test_error_and_no_recovery(void)
{
    struct flow *f = start_one(FAKE_IOAT, 64);

    fake.devs[0].recovery_fails = true;
    send_packets(f, 20, 1);
    fake_fail(0, 0, 15);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 100);
    ovs_assert(reap(f, 64) == 20);
    ovs_assert(dpdk_dma_chan_errors(f->chan));
    check_in_flight(f, 0);
    ovs_assert(!dpdk_dma_chan_fault(f->chan, 1000));
    send_packets(f, 5, 1);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(!reap(f, 64));
    ovs_assert(dpdk_dma_chan_fault(f->chan, 1000));
}

/* The driver loses one report if it is asked for less than it has. */
static void
test_error_and_much_done_meanwhile(void)
{
    run_error_and_more((const unsigned int[]) { 5 }, 1, 2);
}

/* The driver tells of the second one at the wrong place. */
static void
test_error_and_another_one_meanwhile(void)
{
    run_error_and_more((const unsigned int[]) { 5, 9 }, 2, 64);
}

static void
test_error_and_next_one_meanwhile(void)
{
    run_error_and_more((const unsigned int[]) { 5, 6, 7 }, 3, 64);
    /* The driver leaves the status of one of them out. */
    ovs_assert(dpdk_dma_chan_errors(flows[0].chan) == 3);
}

static void
run_all_fail(enum fake_driver driver)
{
    struct flow *f = start_one(driver, 64);

    send_packets(f, 7, 3);
    for (int i = 0; i < 21; i++) {
        fake_fail(0, 0, i);
    }
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 50 && f->n_back < 7; i++) {
        fake_work(0, 0, 100);
        reap(f, 2);
    }
    ovs_assert(f->n_back == 7);
    ovs_assert(dpdk_dma_chan_errors(f->chan) == 21);
    check_in_flight(f, 0);
}

static void
test_all_copies_of_idxd_fail(void)
{
    run_all_fail(FAKE_IDXD);
}

static void
test_all_copies_of_ioat_fail(void)
{
    run_all_fail(FAKE_IOAT);
}

/* Everything at random: no packet is lost, twice there, or incomplete. */
static void
run_random_errors(enum fake_driver driver)
{
    struct flow *f = start_one(driver, 64);

    while (f->n_sent < 20000) {
        while (dpdk_dma_chan_room(f->chan) >= MAX_PIECES && random_range(8)) {
            unsigned int n_pieces = 1 + random_range(MAX_PIECES);

            if (!random_range(30)) {
                fake.devs[0].refuse_at = 1 + random_range(3);
            }
            for (unsigned int i = 0; i < n_pieces; i++) {
                bool added = add_piece(f);

                if (added && !random_range(10)) {
                    fake_fail(0, 0, 0);
                } else if (!added) {
                    n_pieces = i;
                }
            }
            fake.devs[0].refuse_at = 0;
            if (n_pieces) {
                end_packet(f);
            }
        }
        dpdk_dma_chan_doorbell(f->chan);
        fake_work(0, 0, random_range(70));
        if (!random_range(3)) {
            fake.meanwhile = work_meanwhile;
        }
        reap(f, 1 + random_range(20));
    }
    for (int i = 0; i < 1000 && f->n_back < f->n_sent; i++) {
        fake_work(0, 0, 100);
        reap(f, 32);
    }
    ovs_assert(f->n_back == f->n_sent);
    ovs_assert(dpdk_dma_chan_errors(f->chan) > 1000);
    check_in_flight(f, 0);
}

static void
test_random_errors_of_idxd(void)
{
    run_random_errors(FAKE_IDXD);
}

static void
test_random_errors_of_ioat(void)
{
    run_random_errors(FAKE_IOAT);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(error_of_idxd_in_the_middle),
    DMA_TEST_CASE(error_of_idxd_at_first),
    DMA_TEST_CASE(error_of_idxd_at_last),
    DMA_TEST_CASE(error_of_ioat_in_the_middle),
    DMA_TEST_CASE(error_of_ioat_at_first),
    DMA_TEST_CASE(error_of_ioat_at_last),
    DMA_TEST_CASE(error_and_no_recovery),
    DMA_TEST_CASE(error_and_much_done_meanwhile),
    DMA_TEST_CASE(error_and_another_one_meanwhile),
    DMA_TEST_CASE(error_and_next_one_meanwhile),
    DMA_TEST_CASE(all_copies_of_idxd_fail),
    DMA_TEST_CASE(all_copies_of_ioat_fail),
    DMA_TEST_CASE(random_errors_of_idxd),
    DMA_TEST_CASE(random_errors_of_ioat),
};

static void
test_dma_chan_errors_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-chan-errors", test_dma_chan_errors_main);
