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

/* Tests of DMA devices that fail, lib/dpdk-dma-dev.c: they are stopped, if
 * that can be, and what was in flight is done again by the CPU. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_dma_dev_failure_##NAME
#include "dma-chan-sources.h"
#include "dma-dev-fixture.h"

#include "dma-test.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "seq.h"
#include "timeval.h"

static void
test_quarantine(void)
{
    uint64_t seqno;

    start_two(FAKE_IDXD);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
    seqno = seq_read(dpdk_dma_dev_seq());
    dpdk_dma_dev_quarantine(flows[1].chan, "test");

    /* All of the device, nothing of others. */
    ovs_assert(dpdk_dma_chan_failed(flows[0].chan));
    ovs_assert(dpdk_dma_chan_failed(flows[1].chan));
    ovs_assert(!dpdk_dma_chan_failed(flows[2].chan));
    ovs_assert(dpdk_dma_dev_n_channels() == 1);
    check_state(0, DPDK_DMA_DEV_FAILED);
    check_state(2, DPDK_DMA_DEV_RUNNING);
    ovs_assert(seq_read(dpdk_dma_dev_seq()) != seqno);
    seqno = seq_read(dpdk_dma_dev_seq());
    dpdk_dma_dev_quarantine(flows[0].chan, "test");
    ovs_assert(seq_read(dpdk_dma_dev_seq()) == seqno);
    ovs_assert(!atomic_count_get(&fake.devs[0].n_stops));

    /* Neither started nor stopped with the others. */
    release_all();
    dpdk_dma_dev_stop_all();
    ovs_assert(fake.devs[0].started);
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    ovs_assert(!fake.devs[0].started);
}

/* Has both channels of "dma0" in flight with 5 packets of 2 pieces each, then
 * quarantined and given up. */
static void
fail_two(void)
{
    for (int i = 0; i < 2; i++) {
        send_packets(&flows[i], 5, 2);
        dpdk_dma_chan_doorbell(flows[i].chan);
    }
    fake_work(0, 1, 5);
    reap(&flows[1], 1);
    dpdk_dma_dev_quarantine(flows[0].chan, "test");
    dpdk_dma_chan_abandon(flows[0].chan);
    dpdk_dma_chan_abandon(flows[1].chan);
}

/* What the helper thread does with the dead. */
static void
redo_dead(void)
{
    struct dpdk_dma_chan *chan;

    while ((chan = dpdk_dma_dev_next_dead())) {
        struct dpdk_dma_done done[3];
        unsigned int n;

        do {
            n = dpdk_dma_chan_redo(chan, done, ARRAY_SIZE(done));
            check_done(done, n);
        } while (n == ARRAY_SIZE(done));
    }
}

static void
check_two_are_back(void)
{
    for (int i = 0; i < 2; i++) {
        ovs_assert(flows[i].n_back == 5);
        check_in_flight(&flows[i], 0);
    }
}

static void
test_stop_waits_for_all_owners(void)
{
    start_two(FAKE_IDXD);
    ovsrcu_quiesce_end();
    send_packets(&flows[0], 5, 2);
    dpdk_dma_dev_quarantine(flows[0].chan, "test");
    for (int i = 0; i < 2; i++) {
        ovs_assert(dpdk_dma_dev_wait_ms() == 1);
        stop_failed();
        ovs_assert(!atomic_count_get(&fake.devs[0].n_stops));
        ovs_assert(!dpdk_dma_dev_next_dead());
        check_state(0, DPDK_DMA_DEV_FAILED);
        /* One way to let go is as good as the other. */
        if (i) {
            dpdk_dma_map_release(dpdk_dma_dev_map(), &flows[1]);
        } else {
            dpdk_dma_chan_abandon(flows[0].chan);
        }
    }
    ovs_assert(dpdk_dma_dev_wait_ms() == 0);
    stop_failed();
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 1);
    ovs_assert(fake.devs[0].stop_was_quiescent && !ovsrcu_is_quiescent());
    ovs_assert(!fake.devs[0].started && fake.devs[1].started);
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(dpdk_dma_dev_wait_ms() == 0);
    ovs_assert(dpdk_dma_dev_next_dead() == flows[0].chan);
    ovs_assert(redo(&flows[0], 64) == 5);
    ovs_assert(!dpdk_dma_dev_next_dead());
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
}

static void
test_stop_at_the_third_try(void)
{
    start_two(FAKE_IOAT);
    fake.devs[0].stop_fails = 2;
    fail_two();
    stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 3);
    ovs_assert(fake.slept_us == 2000);
    redo_dead();
    check_two_are_back();
    stop_failed();
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 3);
}

/* Nothing is done again while the engine may still do it. */
static void
check_stuck(void)
{
    check_state(0, DPDK_DMA_DEV_UNSTOPPABLE);
    ovs_assert(!dpdk_dma_dev_next_dead());
    ovs_assert(dpdk_dma_dev_next_stuck(NULL) == flows[0].chan);
    ovs_assert(dpdk_dma_dev_next_stuck(flows[0].chan) == flows[1].chan);
    ovs_assert(!dpdk_dma_dev_next_stuck(flows[1].chan));
    ovs_assert(dpdk_dma_dev_wait_ms() == 100);
    stop_failed();
    check_state(0, DPDK_DMA_DEV_UNSTOPPABLE);
    ovs_assert(!flows[0].n_back && flows[1].n_back == 1);
    ovs_assert(strstr(dpdk_dma_dev_why(flows[0].chan), "restart"));
}

/* It is not dead, after all: it completes one channel, then the other. */
static void
check_stuck_goes_on(void)
{
    fake_work(0, 1, 100);
    ovs_assert(reap(&flows[1], 64) == 4);
    ovs_assert(dpdk_dma_dev_next_stuck(NULL) == flows[0].chan);
    ovs_assert(!dpdk_dma_dev_next_stuck(flows[0].chan));
    stop_failed();
    check_state(0, DPDK_DMA_DEV_UNSTOPPABLE);
    fake_work(0, 0, 100);
    ovs_assert(reap(&flows[0], 64) == 5);
    ovs_assert(!dpdk_dma_dev_next_stuck(NULL));
    ovs_assert(dpdk_dma_dev_wait_ms() == 0);
    stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
    check_two_are_back();
    ovs_assert(dpdk_dma_dev_start_all() == 1);
}

/* It is tried again, seldom. */
static void
test_stop_late(void)
{
    start_two(FAKE_IOAT);
    fake.devs[0].stop_fails = 101;
    fail_two();
    stop_failed();
    for (int i = 0; i < 2; i++) {
        check_stuck();
        ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 100 + i);
        fake_ms(1000);
        stop_failed();
    }
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 102);
    check_state(0, DPDK_DMA_DEV_DEAD);
    redo_dead();
    check_two_are_back();
}

static void
test_stop_never(void)
{
    start_two(FAKE_IOAT);
    fake.devs[0].stop_fails = 1000;
    fail_two();
    stop_failed();
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 100);
    ovs_assert(fake.slept_us == 99000);
    check_stuck();
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 100);
    check_stuck_goes_on();
}

/* A queue of the kernel's driver says that it stopped, and did not. */
static void
test_queue_of_the_kernel(void)
{
    fake_dev_add(0, "wq0.12", FAKE_IDXD, 2, 256)->no_stop = true;
    fake_dev_add(1, "dma1", FAKE_IDXD, 1, 256);
    start();
    fail_two();
    stop_failed();
    ovs_assert(!atomic_count_get(&fake.devs[0].n_stops));
    ovs_assert(!fake.slept_us);
    check_stuck();
    check_stuck_goes_on();
}

static void
test_names_of_queues_of_the_kernel(void)
{
    static const struct {
        const char *name;
        bool is;
    } names[] = {
        { "wq0.0", true }, { "wq12.34", true },
        { "wq0.0-q0", false }, { "wq0.", false }, { "wq0", false },
        { "0000:6a:01.0-q0", false }, { "dma_skeleton0", false },
        { "dma_wq0.0", false }, { "wq.1", false },
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        ovs_assert(dpdk_dma_probe_is_kernel_queue(names[i].name)
                   == names[i].is);
    }
}

/* Who has nothing to write need not be stopped. */
static void
test_unstoppable_with_nothing_in_flight(void)
{
    fake_dev_add(0, "wq0.0", FAKE_IDXD, 2, 256)->no_stop = true;
    fake_dev_add(1, "dma1", FAKE_IDXD, 1, 256)->stop_fails = 1000;
    start();
    dpdk_dma_dev_quarantine(flows[0].chan, "test");
    dpdk_dma_dev_quarantine(flows[2].chan, "test");
    release_all();
    stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    check_state(2, DPDK_DMA_DEV_DEAD);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
}

static void
test_redo_of_all_channels(void)
{
    start_two(FAKE_IDXD);
    fail_two();
    send_packets(&flows[2], 3, 1);
    stop_failed();
    redo_dead();
    check_two_are_back();
    /* Others have nothing to do with it. */
    ovs_assert(!flows[2].n_back);
    check_in_flight(&flows[2], 3);
}

/* A stop that does not return. */

static void
wait_for_stop(int16_t id)
{
    while (!atomic_count_get(&fake.devs[id].n_stops)) {
        usleep(100);
    }
}

static void
test_stop_of_a_failed_device_hangs(void)
{
    long long int before;

    start_two(FAKE_SKELETON);
    atomic_store(&fake.devs[0].stop_blocks, true);
    fail_two();

    /* Nobody waits for it. */
    before = time_msec();
    stop_failed();
    wait_for_stop(0);
    check_state(0, DPDK_DMA_DEV_DYING);
    ovs_assert(!strcmp(dpdk_dma_dev_why(flows[0].chan),
                       "failed, being stopped"));
    ovs_assert(dpdk_dma_dev_n_channels() == 1);
    ovs_assert(!dpdk_dma_dev_next_dead() && !dpdk_dma_dev_next_stuck(NULL));
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    dpdk_dma_map_release(dpdk_dma_dev_map(), &flows[2]);
    dpdk_dma_dev_stop_all();
    check_state(2, DPDK_DMA_DEV_STOPPED);
    dpdk_dma_dev_start_all();
    ovs_assert(time_msec() - before < 100);
    ovsrcu_synchronize();

    /* Others that fail are stopped meanwhile. */
    dpdk_dma_dev_quarantine(flows[2].chan, "test");
    stop_failed();
    check_state(2, DPDK_DMA_DEV_DEAD);
    check_state(0, DPDK_DMA_DEV_DYING);

    atomic_store(&fake.devs[0].stop_blocks, false);
    stop_failed();
    redo_dead();
    check_two_are_back();
}

static void
test_stop_of_an_idle_device_hangs(void)
{
    long long int before;

    start_two(FAKE_SKELETON);
    release_all();
    atomic_store(&fake.devs[0].stop_blocks, true);

    /* It is waited for, but not long, and others are stopped. */
    before = time_msec();
    dpdk_dma_dev_stop_all();
    wait_for_stop(0);
    ovs_assert(time_msec() - before < 1000);
    check_state(2, DPDK_DMA_DEV_STOPPED);

    before = time_msec();
    check_state(0, DPDK_DMA_DEV_STOPPING);
    ovs_assert(!strcmp(dpdk_dma_dev_why(flows[0].chan), "being stopped"));
    ovs_assert(dpdk_dma_dev_n_channels() == 3);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
    /* Meanwhile, it is wanted again, and fails by that: nobody but who stops
     * it touches it. */
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    stop_failed();
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 1);
    ovs_assert(time_msec() - before < 1000);

    fake.devs[0].stop_fails = 1;
    atomic_store(&fake.devs[0].stop_blocks, false);
    while (dma_dev_is(dma_dev_get(0), DPDK_DMA_DEV_STOPPING)) {
        usleep(10);
    }
    check_state(0, DPDK_DMA_DEV_FAILED);
    check_state(2, DPDK_DMA_DEV_RUNNING);
    stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
}

/* Threads that send, an engine, the helper, and a failure at some time: each
 * packet is handed out once, by its sender or by the helper. */

#define N_SENDERS 3

static atomic_count n_sending;

static void *
sender_main(void *flow_)
{
    struct flow *f = flow_;

    random_set_seed(1 + f->chan->index);
    while (f->n_copies < N_SLOTS - 2 * MAX_PIECES
           && !dpdk_dma_chan_failed(f->chan)) {
        unsigned int n_pieces = 1 + random_range(MAX_PIECES);

        if (dpdk_dma_chan_room(f->chan) >= n_pieces) {
            send_packets(f, 1, n_pieces);
        }
        dpdk_dma_chan_doorbell(f->chan);
        reap(f, random_range(8));
    }
    while (!dpdk_dma_chan_failed(f->chan) && f->n_back < f->n_sent) {
        reap(f, 64);
    }
    if (dpdk_dma_chan_failed(f->chan)) {
        dpdk_dma_chan_abandon(f->chan);
    }
    dpdk_dma_map_release(dpdk_dma_dev_map(), f);
    atomic_count_dec(&n_sending);
    return NULL;
}

static void *
engine_main(void *unused OVS_UNUSED)
{
    while (atomic_count_get(&n_sending)) {
        fake_work(0, 0, random_range(20));
        fake_work(0, 1, random_range(20));
        fake_work(1, 0, random_range(20));
    }
    return NULL;
}

static void *
reaper_main(void *unused OVS_UNUSED)
{
    while (atomic_count_get(&n_sending) || dpdk_dma_dev_wait_ms() >= 0) {
        stop_failed();
        redo_dead();
        usleep(100);
    }
    return NULL;
}

static void
test_threads_and_failure(void)
{
    pthread_t threads[N_SENDERS + 2];
    size_t n = 0;

    fake_dev_add(0, "dma0", FAKE_IDXD, 2, 64);
    fake_dev_add(1, "dma1", FAKE_IDXD, 1, 64);
    start();
    atomic_count_set(&n_sending, N_SENDERS);
    for (; n < N_SENDERS; n++) {
        threads[n] = ovs_thread_create("sender", sender_main, &flows[n]);
    }
    threads[n++] = ovs_thread_create("engine", engine_main, NULL);
    threads[n++] = ovs_thread_create("helper", reaper_main, NULL);
    usleep(random_range(3000));
    dpdk_dma_dev_quarantine(flows[0].chan, "test");
    while (n) {
        xpthread_join(threads[--n], NULL);
    }
    for (; n < N_SENDERS; n++) {
        ovs_assert(flows[n].n_back == flows[n].n_sent);
        check_in_flight(&flows[n], 0);
    }
    check_state(0, DPDK_DMA_DEV_DEAD);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(quarantine),
    DMA_TEST_CASE(stop_waits_for_all_owners),
    DMA_TEST_CASE(stop_at_the_third_try),
    DMA_TEST_CASE(stop_late),
    DMA_TEST_CASE(stop_never),
    DMA_TEST_CASE(queue_of_the_kernel),
    DMA_TEST_CASE(names_of_queues_of_the_kernel),
    DMA_TEST_CASE(unstoppable_with_nothing_in_flight),
    DMA_TEST_CASE(redo_of_all_channels),
    DMA_TEST_CASE(stop_of_a_failed_device_hangs),
    DMA_TEST_CASE(stop_of_an_idle_device_hangs),
    DMA_TEST_CASE(threads_and_failure),
};

static void
test_dma_dev_failure_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-dev-failure", test_dma_dev_failure_main);
