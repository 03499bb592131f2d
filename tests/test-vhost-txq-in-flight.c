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

/* Tests of a txq whose ring is ours (lib/vhost-async-txq.c, -copy.c): what
 * becomes of packets in flight when copies fail, an engine hangs, or the ring
 * stops.
 *
 * Ring, channel and device are the real ones; the engine of fake-dmadev.h does
 * what a case says. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_txq_in_flight_##NAME
#include "vhost-data-path.h"
#include "vhost-txq-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

static void
test_failed_copies_are_redone(void)
{
    static const enum fake_driver drivers[] = { FAKE_IDXD, FAKE_IOAT };
    uint64_t layout;

    start_engines(FAKE_IDXD, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
            struct port *p = port_create(layout, 32, 2048);
            uint64_t errors = dpdk_dma_chan_errors(pmds[0].claimed);

            fake.devs[0].driver = drivers[i];
            ovs_assert(port_send_n(p, &pmds[0], 8, LARGE) == 8);
            fake_fail(0, 0, 5);
            fake_fail(0, 0, 1);
            ovs_assert(port_send_n(p, &pmds[0], 1, SMALL) == 1);
            settle();
            port_get(p, 9);
            ovs_assert(dpdk_dma_chan_errors(pmds[0].claimed) >= errors + 2);
            ovs_assert(pmds[0].sender.chan);
            port_finish(p);
        }
    }
}

static void
test_hung_engine_costs_no_packet(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = port_create(GUEST_PACKED | GUEST_MRG, 64, 700);
    ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
    ovs_assert(port_send_n(p, &pmds[0], 1, SMALL) == 1);
    ovs_assert(port_send_n(p, &pmds[1], 2, LARGE) == 2);
    ovs_assert(port_send_n(p, &pmds[0], 2, LARGE) == 2);

    /* One packet and a part of the next are done. */
    ovs_assert(work_and_reap(0, 4) == 1);
    port_get(p, 1);
    ovs_assert(work_and_reap(1, 6) == 2);
    hang(0);

    /* Nothing is done again before the device is stopped for certain. */
    port_get(p, 0);
    ovs_assert(vhost_async_vq_in_flight(&p->txq->vq) == 7);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    ovs_assert(port_send_n(p, &pmds[0], 1, LARGE) == 1);
    ovs_assert(COUNTER(p, cpu_packets) == 2);
    fake.devs[0].stop_fails = 2;
    while (vhost_async_vq_in_flight(&p->txq->vq)) {
        port_get(p, 0);
        ovs_assert(fake.slept_us < 1000000);
        rescue();
        fake_delay_us(1000);
    }
    port_get(p, 8);
    ovs_assert(atomic_count_get(&fake.devs[0].n_stops) == 3);
    port_finish(p);
}

/* The ring goes, and copies to it are still at work. */
static void
test_stop_with_copies_in_flight(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 2, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);
        struct vhost_async_txq *txq = p->txq;
        uint16_t base;

        ovs_assert(port_send_n(p, &pmds[0], 2, LARGE) == 2);
        ovs_assert(port_send_n(p, &pmds[1], 2, LARGE) == 2);
        ovs_assert(port_send_n(p, &pmds[0], 1, SMALL) == 1);
        ovs_assert(work_and_reap(0, 1) == 1);
        port_get(p, 1);

        vhost_async_vq_close(&txq->vq);
        ovs_assert(!vhost_async_txq_drain(txq, rte_get_tsc_cycles()));
        base = vhost_vring_get_base(&txq->vq.vring);
        vhost_async_vq_stop(&txq->vq);
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_STUCK);
        ovs_assert(vhost_vring_get_base(&txq->vq.vring) == base);
        vhost_async_vq_open(&txq->vq);
        vhost_async_engine_unlock(NULL, txq);
        ovs_assert(!port_send_n(p, &pmds[0], 1, SMALL));
        ovs_assert(p->obstacle == VHOST_ASYNC_DOWN);

        /* Out of order, as they come. */
        ovs_assert(work_and_reap(1, 2) == 2);
        ovs_assert(!COUNTER(p, lost_drops));
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_STUCK);
        ovs_assert(work_and_reap(0, 1) == 1);
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_STOPPED);
        ovs_assert(COUNTER(p, lost_drops) == 4);
        check_no_leak();
        port_get(p, 0);
        p->n_lost += 4;

        /* Who starts it again begins with what was not published. */
        ovs_assert(!vhost_async_vq_start(&txq->vq, &p->guest.setup));
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_DISABLED);
        vhost_vring_set_base(&txq->vq.vring, base, base);
        port_enable(p);
        ovs_assert(port_send_n(p, &pmds[0], 15, LARGE) == 15);
        settle();
        port_get(p, 15);

        /* With nothing in flight it just stops. */
        ovs_assert(vhost_async_vq_trylock(&txq->vq));
        ovs_assert(vhost_async_txq_drain(txq, 0));
        vhost_async_vq_stop(&txq->vq);
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_STOPPED);
        vhost_async_engine_unlock(NULL, txq);
        port_finish(p);
    }
}

/* Memory is mapped anew under copies in flight, and the ring is disabled. */
static void
test_goes_on_over_a_message(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);
        struct vhost_async_txq *txq = p->txq;

        ovs_assert(port_send_n(p, &pmds[0], 2, LARGE) == 2);
        vhost_async_vq_close(&txq->vq);
        vhost_vring_unmap(&txq->vq.vring);
        ovs_assert(!vhost_async_vq_start(&txq->vq, &p->guest.setup));
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_RUNNING);
        vhost_async_vq_set_state(&txq->vq, VHOST_ASYNC_VQ_DISABLED);
        vhost_async_vq_open(&txq->vq);
        vhost_async_engine_unlock(NULL, txq);
        ovs_assert(work_and_reap(0, 2) == 2);
        port_get(p, 2);

        /* One that cannot be mapped says why, and stays what it was. */
        ovs_assert(vhost_async_vq_trylock(&txq->vq));
        vhost_async_vq_stop(&txq->vq);
        p->guest.setup.size = 0;
        ovs_assert(vhost_async_vq_start(&txq->vq, &p->guest.setup));
        ovs_assert(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_STOPPED);
        vhost_async_engine_unlock(NULL, txq);
        port_finish(p);
    }
}

/* Waits for what its threads reap, and no longer than it may. */
static void
test_drain(void)
{
    struct port *p;
    struct dpdk_dma_done done[8];
    uint64_t deadline;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 16, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(vhost_async_txq_drain(p->txq, 0));
    ovs_assert(port_send_locked(p, &pmds[0], (struct rte_mbuf *[]) {
                                    make_pkt(LARGE, 1), make_pkt(LARGE, 1)
                                }, 2) == 2);
    deadline = rte_get_tsc_cycles() + FAKE_HZ / 100;
    ovs_assert(!vhost_async_txq_drain(p->txq, deadline));
    ovs_assert(rte_get_tsc_cycles() > deadline);
    ovs_assert(rte_get_tsc_cycles() - deadline < FAKE_HZ / 1000);

    fake_work(0, 0, 2);
    ovs_assert(dpdk_dma_chan_reap(pmds[0].sender.chan, done, 8) == 2);
    vhost_async_vq_done(&p->txq->vq, done[1].seq);
    ovs_assert(!vhost_async_txq_drain(p->txq, rte_get_tsc_cycles()));
    port_get(p, 0);
    vhost_async_vq_done(&p->txq->vq, done[0].seq);
    ovs_assert(vhost_async_txq_drain(p->txq, rte_get_tsc_cycles()));
    vhost_async_engine_unlock(NULL, p->txq);
    port_get(p, 2);
    port_finish(p);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(failed_copies_are_redone),
    DMA_TEST_CASE(hung_engine_costs_no_packet),
    DMA_TEST_CASE(stop_with_copies_in_flight),
    DMA_TEST_CASE(goes_on_over_a_message),
    DMA_TEST_CASE(drain),
};

static void
test_vhost_txq_in_flight_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-txq-in-flight", test_vhost_txq_in_flight_main);
