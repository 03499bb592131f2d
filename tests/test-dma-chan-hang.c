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

/* Tests of engines that hang, lib/dpdk-dma-chan.c: when one is overdue, and
 * the copies that the CPU does again once it is stopped. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_dma_chan_hang_##NAME
#include "dma-chan-sources.h"
#include "dma-chan-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

/* Engines that are late. */

/* Looks after 'ms'; nothing comes back. */
static bool
is_overdue_after(struct flow *f, unsigned int ms)
{
    fake_ms(ms);
    ovs_assert(!reap(f, 64));
    return dpdk_dma_chan_fault(f->chan, 1000) != NULL;
}

static void
test_overdue(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    send_packets(f, 1, 1);
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 1000; i++) {
        ovs_assert(!is_overdue_after(f, i ? 1 : 12345));
    }
    ovs_assert(is_overdue_after(f, 1));
}

static void
test_idle_engine_is_not_overdue(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    for (int i = 0; i < 5; i++) {
        ovs_assert(!is_overdue_after(f, 600));
    }

    /* Silence that went before does not count. */
    send_packets(f, 1, 1);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(!is_overdue_after(f, 600));
    ovs_assert(!is_overdue_after(f, 600));
    fake_work(0, 0, 1);
    ovs_assert(reap(f, 64) == 1);
    for (int i = 0; i < 5; i++) {
        ovs_assert(!is_overdue_after(f, 600));
    }
    send_packets(f, 1, 1);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(!is_overdue_after(f, 0));
    ovs_assert(!is_overdue_after(f, 600));
    ovs_assert(is_overdue_after(f, 600));
}

/* A thread that did not run for long gives the engine time to run. */
static void
test_time_of_a_thread_that_did_not_run(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    send_packets(f, 2, 1);
    dpdk_dma_chan_doorbell(f->chan);
    ovs_assert(!is_overdue_after(f, 0));
    ovs_assert(!is_overdue_after(f, 1000000));
    ovs_assert(!is_overdue_after(f, 499));
    ovs_assert(is_overdue_after(f, 1));
}

static void
test_progress_is_no_silence(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    send_packets(f, 10, 2);
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 10; i++) {
        ovs_assert(!is_overdue_after(f, 600));
        ovs_assert(!is_overdue_after(f, 600));
        /* One that ends no packet counts, too. */
        fake_work(0, 0, 1);
        ovs_assert(!is_overdue_after(f, 600));
        fake_work(0, 0, 1);
        ovs_assert(reap(f, 64) == 1);
    }
}

/* Nor is a copy that fails: it is the CPU's work then. */
static void
test_errors_are_no_silence(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);

    send_packets(f, 10, 2);
    dpdk_dma_chan_doorbell(f->chan);
    for (int i = 0; i < 20; i += 2) {
        fake_fail(0, 0, 19 - i);
        ovs_assert(!is_overdue_after(f, 600));
        ovs_assert(!is_overdue_after(f, 600));
        fake_work(0, 0, 1);
        ovs_assert(!is_overdue_after(f, 600));
        fake_work(0, 0, 1);
        ovs_assert(reap(f, 64) == 1);
    }
}

/* What was reported is not the engine's fault. */
static void
test_reported_copies_are_not_overdue(void)
{
    struct flow *f = start_one(FAKE_SKELETON, 64);

    send_packets(f, 5, 1);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 5);
    ovs_assert(!reap(f, 0));
    for (int i = 0; i < 5; i++) {
        fake_ms(600);
        ovs_assert(!dpdk_dma_chan_fault(f->chan, 1000));
    }
    ovs_assert(reap(f, 64) == 5);
}

/* Copies that the CPU does again. */

static void
run_redo(unsigned int n_done, unsigned int n_reaped, unsigned int max)
{
    struct flow *f = start_one(FAKE_IDXD, 64);
    unsigned int n;

    send_packets(f, 10, 3);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, n_done);
    reap(f, n_reaped);
    ovs_assert(f->n_back == MIN(n_reaped, n_done / 3));

    dpdk_dma_dev_quarantine(f->chan, "test");
    dpdk_dma_chan_abandon(f->chan);
    do {
        n = redo(f, max);
    } while (n == max);
    ovs_assert(f->n_back == 10);
    check_in_flight(f, 0);
    ovs_assert(!dpdk_dma_chan_errors(f->chan));
    ovs_assert(!redo(f, max));
}

static void
test_redo_all(void)
{
    run_redo(0, 0, 64);
}

static void
test_redo_the_rest(void)
{
    run_redo(13, 64, 64);
}

static void
test_redo_behind_what_was_reported(void)
{
    run_redo(13, 2, 64);
}

static void
test_redo_some_at_a_time(void)
{
    run_redo(13, 2, 1);
}

/* A call is bounded in what it copies, too. */
static void
test_redo_no_more_than_asked_for(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);

    send_packets(f, 3, 2);
    dpdk_dma_dev_quarantine(f->chan, "test");
    dpdk_dma_chan_abandon(f->chan);
    ovs_assert(redo(f, 1) == 1);
    check_in_flight(f, 4);
    ovs_assert(memcmp(f->src[2], f->dst[2], PIECE_SIZE));
    ovs_assert(!redo(f, 0));
    check_in_flight(f, 4);
}

/* What was given up is the guest's again: the CPU does not write to it, be it
 * that its device is stopped late, or that it reports errors late. */

static void
run_given_up(bool late_stop)
{
    struct flow *f = start_one(FAKE_IDXD, 64);
    static const uint8_t zeros[PIECE_SIZE];
    struct dpdk_dma_done done[64];
    unsigned int n = 0;

    send_packets(f, 4, 3);
    for (int i = 0; i < 12; i++) {
        fake_fail(0, 0, i);
    }
    dpdk_dma_chan_doorbell(f->chan);
    dpdk_dma_owner_give_up(&f->owner);
    if (late_stop) {
        dpdk_dma_dev_quarantine(f->chan, "test");
        dpdk_dma_chan_abandon(f->chan);
        n = dpdk_dma_chan_redo(f->chan, done, 64);
    } else {
        for (int i = 0; i < 50 && n < 4; i++) {
            fake_work(0, 0, 100);
            n += dpdk_dma_chan_reap(f->chan, done, 64);
        }
    }
    ovs_assert(n == 4);
    check_in_flight(f, 0);
    for (int i = 0; i < 12; i++) {
        ovs_assert(!memcmp(f->dst[i], zeros, PIECE_SIZE));
    }
    f->n_back = 4;
    f->n_checked = 12;
    if (!late_stop) {
        dpdk_dma_owner_take_up(&f->owner);
        send_packets(f, 1, 1);
        fake_fail(0, 0, 0);
        dpdk_dma_chan_doorbell(f->chan);
        fake_work(0, 0, 1);
        ovs_assert(reap(f, 64) == 1);
    }
}

static void
test_given_up_and_stopped_late(void)
{
    run_given_up(true);
}

static void
test_given_up_and_errors(void)
{
    run_given_up(false);
}

static void
test_redo_exactly_max(void)
{
    run_redo(3, 0, 5);
}

/* The owner stopped in the middle of a packet. */
static void
test_redo_without_an_end(void)
{
    struct flow *f = start_one(FAKE_IDXD, 64);

    send_packets(f, 2, 2);
    ovs_assert(add_piece(f));
    dpdk_dma_dev_quarantine(f->chan, "test");
    dpdk_dma_chan_abandon(f->chan);
    ovs_assert(redo(f, 2) == 2);
    check_in_flight(f, 1);
    ovs_assert(!redo(f, 2));
    check_in_flight(f, 0);
    ovs_assert(!memcmp(f->src[4], f->dst[4], PIECE_SIZE));
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(overdue),
    DMA_TEST_CASE(idle_engine_is_not_overdue),
    DMA_TEST_CASE(time_of_a_thread_that_did_not_run),
    DMA_TEST_CASE(progress_is_no_silence),
    DMA_TEST_CASE(errors_are_no_silence),
    DMA_TEST_CASE(reported_copies_are_not_overdue),
    DMA_TEST_CASE(redo_all),
    DMA_TEST_CASE(redo_the_rest),
    DMA_TEST_CASE(redo_behind_what_was_reported),
    DMA_TEST_CASE(redo_some_at_a_time),
    DMA_TEST_CASE(redo_no_more_than_asked_for),
    DMA_TEST_CASE(given_up_and_stopped_late),
    DMA_TEST_CASE(given_up_and_errors),
    DMA_TEST_CASE(redo_exactly_max),
    DMA_TEST_CASE(redo_without_an_end),
};

static void
test_dma_chan_hang_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-chan-hang", test_dma_chan_hang_main);
