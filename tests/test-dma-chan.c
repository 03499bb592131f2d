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

/* Tests of DMA channels, lib/dpdk-dma-chan.c, and of the devices that they are
 * of, lib/dpdk-dma-dev.c: what is handed to an engine, what comes back, and
 * what becomes of the rest when it fails.
 *
 * Engines and clock are those of fake-dmadev.h.  Each copy has bytes of its
 * own; when a packet is handed out, all of it must be where it was to go. */

#undef NDEBUG
#include <config.h>

#include "fake-dmadev.h"

#include "coverage.h"
#include "dma-test.h"
#include "openvswitch/vlog.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "seq.h"
#include "timeval.h"
#include "util.h"

/* Names that the library has, too. */
#define dpdk_dma_chan_abandon dc_chan_abandon
#define dpdk_dma_chan_add dc_chan_add
#define dpdk_dma_chan_doorbell dc_chan_doorbell
#define dpdk_dma_chan_end_packet dc_chan_end_packet
#define dpdk_dma_owner_give_up dc_owner_give_up
#define dpdk_dma_owner_init dc_owner_init
#define dpdk_dma_owner_take_up dc_owner_take_up
#define dpdk_dma_chan_is_overdue dc_chan_is_overdue
#define dpdk_dma_chan_reap dc_chan_reap
#define dpdk_dma_chan_redo dc_chan_redo
#define dpdk_dma_chan_room dc_chan_room
#define dpdk_dma_chan_start dc_chan_start
#define dpdk_dma_chan_stop dc_chan_stop
#define dpdk_dma_chan_uninit dc_chan_uninit
#define dpdk_dma_dev_map dc_dev_map
#define dpdk_dma_dev_next_dead dc_dev_next_dead
#define dpdk_dma_dev_next_stuck dc_dev_next_stuck
#define dpdk_dma_dev_quarantine dc_dev_quarantine
#define dpdk_dma_dev_seq dc_dev_seq
#define dpdk_dma_dev_set_timeout_ms dc_dev_set_timeout_ms
#define dpdk_dma_dev_start_all dc_dev_start_all
#define dpdk_dma_dev_state dc_dev_state
#define dpdk_dma_dev_stop_all dc_dev_stop_all
#define dpdk_dma_dev_stop_failed dc_dev_stop_failed
#define dpdk_dma_dev_timeout_ms dc_dev_timeout_ms
#define dpdk_dma_dev_wait_ms dc_dev_wait_ms
#define dpdk_dma_dev_why dc_dev_why

#undef COVERAGE_DEFINE
#undef COVERAGE_INC
#undef VLOG_DEFINE_THIS_MODULE
#define COVERAGE_DEFINE(COUNTER) static unsigned int n_##COUNTER
#define COVERAGE_INC(COUNTER) n_##COUNTER++
/* Mute, and not known by its name, which is taken. */
#define VLOG_DEFINE_THIS_MODULE(MODULE)                         \
    static struct vlog_module this_module = {                   \
        OVS_LIST_INITIALIZER(&this_module.list), #MODULE,       \
        { VLL_OFF, VLL_OFF, VLL_OFF }, VLL_OFF, true            \
    }

#define this_module dpdk_dma_chan_module
#include "dpdk-dma-chan.c"
#undef this_module
#define this_module dpdk_dma_dev_module
#include "dpdk-dma-dev.c"
#undef this_module

/* Helpers. */

#define MAX_PIECES 8
#define N_SLOTS 32768           /* Copies whose bytes are remembered. */
#define PIECE_SIZE 24

/* What a thread sends on one channel.  Packets are numbered in the order in
 * which they were sent and must come back in. */
struct flow {
    struct dpdk_dma_chan *chan;
    struct dpdk_dma_owner owner;
    uint8_t src[N_SLOTS][PIECE_SIZE];
    uint8_t dst[N_SLOTS][PIECE_SIZE];
    uint64_t end[N_SLOTS];      /* Copy behind the last one, by packet. */
    uint64_t n_copies, n_checked;
    uint32_t n_sent, n_back;
};

static struct flow flows[8];

/* Adds a piece to 'f', returns false if it was refused. */
static bool
add_piece(struct flow *f)
{
    unsigned int i = f->n_copies % N_SLOTS;

    random_bytes(f->src[i], PIECE_SIZE);
    memset(f->dst[i], 0, PIECE_SIZE);
    if (!dpdk_dma_chan_add(f->chan, (uintptr_t) f->dst[i],
                           (uintptr_t) f->src[i], f->dst[i], f->src[i],
                           PIECE_SIZE)) {
        return false;
    }
    f->n_copies++;
    return true;
}

static void
end_packet(struct flow *f)
{
    f->end[f->n_sent % N_SLOTS] = f->n_copies;
    dpdk_dma_chan_end_packet(f->chan, &f->owner, f->n_sent++);
}

/* Sends packets of 'n_pieces', without a doorbell. */
static void
send_packets(struct flow *f, unsigned int n, unsigned int n_pieces)
{
    while (n--) {
        for (unsigned int i = 0; i < n_pieces; i++) {
            ovs_assert(add_piece(f));
        }
        end_packet(f);
    }
}

/* Checks that the packets in 'done' are the next ones of the flows that they
 * belong to, that they arrived, and that all of their copies are counted. */
static void
check_done(const struct dpdk_dma_done *done, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        struct flow *f = CONTAINER_OF(done[i].owner, struct flow, owner);

        ovs_assert(done[i].seq == f->n_back);
        ovs_assert(f->n_back < f->n_sent);
        for (; f->n_checked < f->end[f->n_back % N_SLOTS]; f->n_checked++) {
            ovs_assert(!memcmp(f->src[f->n_checked % N_SLOTS],
                               f->dst[f->n_checked % N_SLOTS], PIECE_SIZE));
        }
        f->n_back++;
        ovs_assert(dpdk_dma_chan_completed(f->chan) >= f->n_checked);
    }
}

/* Reaps 'f' once, returns how many packets came back. */
static unsigned int
reap(struct flow *f, unsigned int max)
{
    struct dpdk_dma_done done[256];
    unsigned int n = dpdk_dma_chan_reap(f->chan, done, MIN(max, 256));

    ovs_assert(n <= max);
    check_done(done, n);
    return n;
}

static unsigned int
redo(struct flow *f, unsigned int max)
{
    struct dpdk_dma_done done[256];
    unsigned int n = dpdk_dma_chan_redo(f->chan, done, MIN(max, 256));

    ovs_assert(n <= max);
    check_done(done, n);
    return n;
}

static void
check_in_flight(const struct flow *f, uint64_t n)
{
    ovs_assert(dpdk_dma_chan_in_flight(f->chan) == n);
}

/* Starts all devices and claims channel i for flow i. */
static void
start(void)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();
    struct dpdk_dma_chan *chan;

    dpdk_dma_dev_start_all();
    dpdk_dma_map_open(map);
    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        if (!dpdk_dma_chan_failed(chan)) {
            ovs_assert(dpdk_dma_map_claim(map, &flows[i], i, 0) == chan);
            flows[i].chan = chan;
        }
    }
}

/* One device with one channel, claimed. */
static struct flow *
start_one(enum fake_driver driver, uint16_t max_desc)
{
    fake_dev_add(0, "dma0", driver, 1, max_desc);
    start();
    return &flows[0];
}

/* Devices and channels as many tests want them: channels 0 and 1 are those of
 * "dma0", 2 is that of "dma1". */
static void
start_two(enum fake_driver driver)
{
    fake_dev_add(0, "dma0", driver, 2, 256);
    fake_dev_add(1, "dma1", driver, 1, 256);
    start();
}

/* Channels. */

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
    ovs_assert(n_dpdk_dma_chan_overreport == 1);

    /* Nothing is asked for when nothing is there. */
    fake.devs[0].overreport = 60;
    ovs_assert(!dpdk_dma_chan_reap(f->chan, done, 64));
    check_in_flight(f, 0);
    ovs_assert(dpdk_dma_chan_room(f->chan) <= 63);
}

/* Errors. */

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

/* The driver reports as done what the engine never began. */
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

/* Engines that are late. */

/* Looks after 'ms'; nothing comes back. */
static bool
is_overdue_after(struct flow *f, unsigned int ms)
{
    fake_ms(ms);
    ovs_assert(!reap(f, 64));
    return dpdk_dma_chan_is_overdue(f->chan, 1000);
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
        ovs_assert(!dpdk_dma_chan_is_overdue(f->chan, 1000));
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

/* Devices. */

static void
test_discovery(void)
{
    struct dpdk_dma_map *map;

    fake_dev_add(1, "only_copy", FAKE_IDXD, 1, 64)->capa
        = RTE_DMA_CAPA_OPS_COPY;
    fake_dev_add(2, "only_mem", FAKE_IDXD, 1, 64)->capa
        = RTE_DMA_CAPA_MEM_TO_MEM;
    fake_dev_add(3, "no_info", FAKE_IDXD, 1, 64)->fails = FAKE_INFO;
    fake_dev_add(4, "none", FAKE_IDXD, 0, 64);
    fake_dev_add(5, "good", FAKE_IDXD, 3, 64)->numa_id = 1;
    map = dpdk_dma_dev_map();
    ovs_assert(dpdk_dma_map_count(map) == 3);
    ovs_assert(!strcmp(dpdk_dma_map_get(map, 0)->dev_name, "good"));
    ovs_assert(dpdk_dma_map_get(map, 2)->vchan == 2);
    ovs_assert(dpdk_dma_map_get(map, 2)->dev_id == 5);
    ovs_assert(dpdk_dma_map_get(map, 2)->numa_id == 1);
    ovs_assert(dpdk_dma_dev_map() == map);
}

/* Devices that appear later are found by the next start. */
static void
test_discovery_later(void)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();

    fake_dev_add(1, "dma0", FAKE_IDXD, 1, 64);
    fake_dev_add(2, "only_copy", FAKE_IDXD, 1, 64)->capa
        = RTE_DMA_CAPA_OPS_COPY;
    ovs_assert(!dpdk_dma_map_count(map));
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    fake_dev_add(0, "dma1", FAKE_IDXD, 2, 64);
    ovs_assert(dpdk_dma_map_count(map) == 1);
    for (int i = 0; i < 2; i++) {
        ovs_assert(dpdk_dma_dev_start_all() == 3);
        ovs_assert(dpdk_dma_map_count(map) == 3);
    }
    ovs_assert(!strcmp(dpdk_dma_map_get(map, 0)->dev_name, "dma0"));
    ovs_assert(!strcmp(dpdk_dma_map_get(map, 2)->dev_name, "dma1"));
    ovs_assert(dpdk_dma_map_get(map, 2)->vchan == 1);
    ovs_assert(fake.devs[0].started && fake.devs[1].started);
    ovs_assert(dpdk_dma_dev_state(dpdk_dma_map_get(map, 2))
               == DPDK_DMA_DEV_RUNNING);
    dpdk_dma_dev_stop_all();
    ovs_assert(!fake.devs[0].started && !fake.devs[1].started);
}

static void
check_discovery(enum rte_iova_mode mode, uint64_t capa, size_t n)
{
    fake.iova_mode = mode;
    fake_dev_add(0, "dma0", FAKE_IDXD, 1, 64)->capa |= capa;
    ovs_assert(dpdk_dma_map_count(dpdk_dma_dev_map()) == n);
}

static void
test_virtual_addresses_in_pa_mode(void)
{
    check_discovery(RTE_IOVA_PA, RTE_DMA_CAPA_SVA, 0);
}

static void
test_virtual_addresses_in_va_mode(void)
{
    check_discovery(RTE_IOVA_VA, RTE_DMA_CAPA_SVA, 1);
}

static void
test_physical_addresses_in_pa_mode(void)
{
    check_discovery(RTE_IOVA_PA, 0, 1);
}

static void
test_more_channels_than_fit(void)
{
    fake_dev_add(0, "dma0", FAKE_IDXD, 60, 64);
    fake_dev_add(1, "dma1", FAKE_IDXD, 60, 64);
    fake_dev_add(2, "dma2", FAKE_IDXD, 60, 64);
    ovs_assert(dpdk_dma_dev_start_all() == DPDK_DMA_MAX_CHANS);
    ovs_assert(fake.devs[1].nb_vchans == DPDK_DMA_MAX_CHANS - 60);
    ovs_assert(!fake.devs[2].started);
}

static void
check_state(unsigned int index, enum dpdk_dma_dev_state state)
{
    ovs_assert(dpdk_dma_dev_state(dpdk_dma_map_get(dpdk_dma_dev_map(), index))
               == state);
}

static void
run_start_fails(enum fake_call call)
{
    fake_dev_add(0, "dma0", FAKE_IDXD, 2, 64);
    fake_dev_add(1, "dma1", FAKE_IDXD, 1, 64);
    dpdk_dma_dev_map();
    fake.devs[0].fails = call;
    start();
    ovs_assert(dpdk_dma_dev_n_channels() == 1);
    ovs_assert(!flows[0].chan && flows[2].chan);
    check_state(0, DPDK_DMA_DEV_DEAD);
    check_state(2, DPDK_DMA_DEV_RUNNING);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);

    /* Not tried again. */
    fake.devs[0].fails = 0;
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    ovs_assert(!fake.devs[0].started);
}

static void
test_start_fails(void)
{
    run_start_fails(FAKE_START);
}

static void
test_configuration_fails(void)
{
    run_start_fails(FAKE_CONFIGURE);
}

static void
test_setup_of_vchans_fails(void)
{
    run_start_fails(FAKE_VCHAN_SETUP);
}

static void
release_all(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(flows); i++) {
        dpdk_dma_map_release(dpdk_dma_dev_map(), &flows[i]);
    }
}

static void
test_start_and_stop(void)
{
    struct flow *f = &flows[0];

    start_two(FAKE_IDXD);
    check_state(0, DPDK_DMA_DEV_RUNNING);
    send_packets(f, 1, 1);
    dpdk_dma_chan_doorbell(f->chan);

    /* What is claimed or has copies in flight is left as it is. */
    dpdk_dma_dev_stop_all();
    ovs_assert(fake.devs[0].started && fake.devs[1].started);
    release_all();
    dpdk_dma_dev_stop_all();
    ovs_assert(fake.devs[0].started && !fake.devs[1].started);
    check_state(0, DPDK_DMA_DEV_RUNNING);
    check_state(2, DPDK_DMA_DEV_STOPPED);
    ovs_assert(dpdk_dma_dev_n_channels() == 3);
    ovs_assert(dpdk_dma_dev_start_all() == 3);
    check_state(2, DPDK_DMA_DEV_RUNNING);

    /* Whoever claims it has them. */
    start();
    fake_work(0, 0, 1);
    ovs_assert(reap(f, 64) == 1);
    release_all();
    dpdk_dma_dev_stop_all();
    ovs_assert(!fake.devs[0].started);

    /* With another size of rings, counters go on. */
    fake.devs[0].max_desc = 32;
    start();
    ovs_assert(f->chan->ring_size == 32);
    ovs_assert(dpdk_dma_chan_submitted(f->chan) == 1);
    send_packets(f, 31, 1);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 31);
    ovs_assert(reap(f, 64) == 31);
}

static void
test_idle_device_that_does_not_stop(void)
{
    start_two(FAKE_IDXD);
    release_all();
    fake.devs[0].stop_fails = 1;
    dpdk_dma_dev_stop_all();
    check_state(0, DPDK_DMA_DEV_RUNNING);
    check_state(2, DPDK_DMA_DEV_STOPPED);
    start();
    ovs_assert(dpdk_dma_chan_room(flows[0].chan));
    release_all();
    dpdk_dma_dev_stop_all();
    check_state(0, DPDK_DMA_DEV_STOPPED);
}

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
    dpdk_dma_dev_stop_failed();
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
        dpdk_dma_dev_stop_failed();
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
    dpdk_dma_dev_stop_failed();
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
    dpdk_dma_dev_stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 3);
    ovs_assert(fake.slept_us == 2000);
    redo_dead();
    check_two_are_back();
    dpdk_dma_dev_stop_failed();
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
    dpdk_dma_dev_stop_failed();
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
    dpdk_dma_dev_stop_failed();
    check_state(0, DPDK_DMA_DEV_UNSTOPPABLE);
    fake_work(0, 0, 100);
    ovs_assert(reap(&flows[0], 64) == 5);
    ovs_assert(!dpdk_dma_dev_next_stuck(NULL));
    ovs_assert(dpdk_dma_dev_wait_ms() == 0);
    dpdk_dma_dev_stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
    check_two_are_back();
    ovs_assert(dpdk_dma_dev_start_all() == 1);
}

static void
test_stop_never(void)
{
    start_two(FAKE_IOAT);
    fake.devs[0].stop_fails = 1000;
    fail_two();
    dpdk_dma_dev_stop_failed();
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
    dpdk_dma_dev_stop_failed();
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
        struct dma_dev dev = { .name = names[i].name };

        ovs_assert(dma_dev_is_kernel_queue(&dev) == names[i].is);
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
    dpdk_dma_dev_stop_failed();
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
    dpdk_dma_dev_stop_failed();
    redo_dead();
    check_two_are_back();
    /* Others have nothing to do with it. */
    ovs_assert(!flows[2].n_back);
    check_in_flight(&flows[2], 3);
}

/* A stop that does not return. */

static void *
helper_main(void *unused OVS_UNUSED)
{
    dpdk_dma_dev_stop_failed();
    return NULL;
}

static void *
stop_all_main(void *unused OVS_UNUSED)
{
    dpdk_dma_dev_stop_all();
    return NULL;
}

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
    pthread_t helper;

    start_two(FAKE_SKELETON);
    atomic_store(&fake.devs[0].stop_blocks, true);
    fail_two();
    helper = ovs_thread_create("helper", helper_main, NULL);
    wait_for_stop(0);

    /* Nobody waits for it. */
    before = time_msec();
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
    dpdk_dma_dev_quarantine(flows[2].chan, "test");
    check_state(2, DPDK_DMA_DEV_FAILED);
    ovs_assert(time_msec() - before < 100);
    ovsrcu_synchronize();

    atomic_store(&fake.devs[0].stop_blocks, false);
    xpthread_join(helper, NULL);
    redo_dead();
    check_two_are_back();
}

static void
test_stop_of_an_idle_device_hangs(void)
{
    long long int before;
    pthread_t main_thread;

    start_two(FAKE_SKELETON);
    release_all();
    atomic_store(&fake.devs[0].stop_blocks, true);
    main_thread = ovs_thread_create("stop", stop_all_main, NULL);
    wait_for_stop(0);

    before = time_msec();
    check_state(0, DPDK_DMA_DEV_STOPPING);
    ovs_assert(!strcmp(dpdk_dma_dev_why(flows[0].chan), "being stopped"));
    ovs_assert(dpdk_dma_dev_n_channels() == 3);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);
    /* Meanwhile, it fails: nobody but who stops it touches it. */
    dpdk_dma_dev_quarantine(flows[0].chan, "test");
    dpdk_dma_dev_stop_failed();
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 1);
    ovs_assert(time_msec() - before < 100);

    fake.devs[0].stop_fails = 1;
    atomic_store(&fake.devs[0].stop_blocks, false);
    xpthread_join(main_thread, NULL);
    check_state(0, DPDK_DMA_DEV_FAILED);
    check_state(2, DPDK_DMA_DEV_STOPPED);
    dpdk_dma_dev_stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
}

static void
test_timeout(void)
{
    ovs_assert(dpdk_dma_dev_timeout_ms() == DPDK_DMA_DEV_TIMEOUT_MS);
    dpdk_dma_dev_set_timeout_ms(7);
    ovs_assert(dpdk_dma_dev_timeout_ms() == 7);
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
        dpdk_dma_dev_stop_failed();
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
    DMA_TEST_CASE(completed_by_other_threads),
    DMA_TEST_CASE(discovery),
    DMA_TEST_CASE(discovery_later),
    DMA_TEST_CASE(virtual_addresses_in_pa_mode),
    DMA_TEST_CASE(virtual_addresses_in_va_mode),
    DMA_TEST_CASE(physical_addresses_in_pa_mode),
    DMA_TEST_CASE(more_channels_than_fit),
    DMA_TEST_CASE(start_fails),
    DMA_TEST_CASE(configuration_fails),
    DMA_TEST_CASE(setup_of_vchans_fails),
    DMA_TEST_CASE(start_and_stop),
    DMA_TEST_CASE(idle_device_that_does_not_stop),
    DMA_TEST_CASE(quarantine),
    DMA_TEST_CASE(stop_waits_for_all_owners),
    DMA_TEST_CASE(stop_at_the_third_try),
    DMA_TEST_CASE(stop_never),
    DMA_TEST_CASE(queue_of_the_kernel),
    DMA_TEST_CASE(names_of_queues_of_the_kernel),
    DMA_TEST_CASE(unstoppable_with_nothing_in_flight),
    DMA_TEST_CASE(redo_of_all_channels),
    DMA_TEST_CASE(stop_of_a_failed_device_hangs),
    DMA_TEST_CASE(stop_of_an_idle_device_hangs),
    DMA_TEST_CASE(timeout),
    DMA_TEST_CASE(threads_and_failure),
};

static void
test_dma_chan_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-chan", test_dma_chan_main);
