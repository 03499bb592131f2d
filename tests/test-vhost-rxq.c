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

/* Tests of an rxq whose ring is ours: what a guest sends comes up once, in
 * order, byte by byte, whoever copies it, and its buffers go back to it.
 * test-vhost-rxq-threads.c has threads. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_rxq_##NAME
#include "vhost-rxq-fixture.h"

#include <pthread.h>

#include "dma-test.h"
#include "ovs-thread.h"
#include "ovstest.h"

/* By CPU, each packet comes with the poll that finds it. */
static void
test_by_cpu(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        ovs_assert(!port_poll(p, NULL));
        for (uint32_t len = 1; len <= 2000; len += 33) {
            guest_send(p, 3, len);
            ovs_assert(port_poll(p, NULL) == 3);
            ovs_assert(guest_ring_reclaim(&p->guest) == 3);
        }
        /* More than a burst. */
        guest_send(p, 40, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 32);
        ovs_assert(port_poll(p, &pmds[0]) == 8);
        ovs_assert(COUNTER(p, cpu_packets) == p->n_got);
        ovs_assert(!COUNTER(p, dma_packets));
        port_finish(p);
    }
}

/* By DMA, a packet comes, and its buffer goes back, when its copies are
 * done. */
static void
test_by_dma(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        guest_send(p, 4, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
        ovs_assert(!guest_ring_reclaim(&p->guest));
        ovs_assert(work_and_reap(0, 3) == 3);
        ovs_assert(port_poll(p, &pmds[0]) == 3);
        ovs_assert(guest_ring_reclaim(&p->guest) == 3);
        ovs_assert(work_and_reap(0, 1) == 1);
        ovs_assert(port_poll(p, &pmds[0]) == 1);
        ovs_assert(guest_ring_reclaim(&p->guest) == 1);
        ovs_assert(COUNTER(p, dma_packets) == 4);
        ovs_assert(COUNTER(p, dma_bytes) == 4 * LARGE);
        port_finish(p);
    }
}

/* A small packet behind a large one in flight is copied at once, and comes in
 * its turn. */
static void
test_order(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 2, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        guest_send(p, 1, SMALL);
        guest_send(p, 1, LARGE);
        guest_send(p, 2, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 1);
        guest_send(p, 1, LARGE);
        /* Another thread polls the rxq from now on. */
        ovs_assert(!port_poll(p, &pmds[1]));
        ovs_assert(work_and_reap(1, 1) == 1);
        ovs_assert(!port_poll(p, &pmds[1]));
        ovs_assert(guest_ring_reclaim(&p->guest) == 1);
        ovs_assert(work_and_reap(0, 1) == 1);
        ovs_assert(port_poll(p, &pmds[1]) == 4);
        ovs_assert(guest_ring_reclaim(&p->guest) == 4);
        port_finish(p);
    }
}

/* Chains and indirect tables, with headers that are in several pieces. */
static void
test_pieces(void)
{
    static const struct {
        uint32_t n, len;
    } shapes[] = { { 2, 1024 }, { 3, 700 }, { 16, 100 }, { 64, 30 } };
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 1024);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
            for (int indirect = 0; indirect < 2; indirect++) {
                struct port *p = port_create_pieces(layout, 512, shapes[i].n,
                                                    shapes[i].len);

                p->guest.indirect = indirect;
                for (int j = 0; j < 20; j++) {
                    guest_send(p, 1, 64 + random_range(64));
                    guest_send(p, 1, 1024 + random_range(512));
                    guest_send(p, 1, 1 + random_range(64) + shapes[i].n);
                    port_poll(p, &pmds[0]);
                    settle();
                    port_poll(p, &pmds[0]);
                    ovs_assert(p->n_got == p->n_sent);
                    ovs_assert(guest_ring_reclaim(&p->guest) == 3);
                }
                port_finish(p);
            }
        }
    }
}

/* Buffers of one descriptor and others follow each other in a burst, in any
 * order, by CPU and by DMA. */
static void
test_mixed_burst(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        for (int i = 0; i < 100; i++) {
            uint32_t few = 1u << random_range(6);

            for (int j = 0; j < BURST; j++) {
                p->guest.indirect = !random_range(few);
                guest_send(p, 1, random_range(4) ? SMALL : LARGE);
            }
            if (i % 2) {
                ovs_assert(port_poll(p, NULL) == BURST);
            } else {
                port_poll(p, &pmds[0]);
                settle();
                port_poll(p, &pmds[0]);
            }
            ovs_assert(p->n_got == p->n_sent);
            ovs_assert(guest_ring_reclaim(&p->guest) == BURST);
        }
        ovs_assert(COUNTER(p, dma_packets));
        port_finish(p);
    }
}

/* What an engine refuses the CPU copies, the first bytes included. */
static void
test_refused(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);

        fake.devs[0].refuse_at = 2;
        guest_send(p, 3, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(dpdk_dma_chan_in_flight(pmds[0].sender.chan) == 2);
        ovs_assert(work_and_reap(0, 2) == 2);
        ovs_assert(port_poll(p, &pmds[0]) == 3);
        ovs_assert(COUNTER(p, dma_packets) == 2);
        ovs_assert(COUNTER(p, cpu_packets) == 1);
        port_finish(p);
    }
}

static void
test_failed_copies(void)
{
    static const enum fake_driver drivers[] = { FAKE_IDXD, FAKE_IOAT };
    uint64_t layout;

    start_engines(FAKE_IDXD, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
            struct port *p = port_create(layout, 32, 2048);

            fake.devs[0].driver = drivers[i];
            guest_send(p, 8, LARGE);
            ovs_assert(!port_poll(p, &pmds[0]));
            fake_fail(0, 0, 5);
            fake_fail(0, 0, 1);
            settle();
            ovs_assert(port_poll(p, &pmds[0]) == 8);
            ovs_assert(pmds[0].sender.chan);
            port_finish(p);
        }
    }
}

/* An engine that hangs costs no packet; others are fetched meanwhile, and wait
 * for it. */
static void
test_hung_engine(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_PACKED, 64, 2048);
    guest_send(p, 3, LARGE);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(work_and_reap(0, 1) == 1);
    hang(0);
    ovs_assert(port_poll(p, &pmds[0]) == 1);
    guest_send(p, 2, LARGE);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(vhost_async_vq_in_flight(&p->rxq->vq) == 4);
    fake.devs[0].stop_fails = 2;
    while (!port_poll(p, &pmds[0])) {
        ovs_assert(fake.slept_us < 1000000);
        rescue();
        fake_delay_us(1000);
    }
    ovs_assert(p->n_got == 5);
    port_finish(p);
}

/* The ring stops: what did not come up is not published either, but fetched
 * again, once, when the ring is started where it was.  If copies are at work,
 * not before they are done. */
static void
test_stop_with_copies_in_flight(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);
        struct vhost_async_vq *vq = &p->rxq->vq;
        uint16_t base;

        guest_send(p, 3, LARGE);
        guest_send(p, 1, SMALL);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(work_and_reap(0, 1) == 1);

        vhost_async_vq_close(vq);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(!vhost_async_rxq_drain(p->rxq, rte_get_tsc_cycles()));
        base = vhost_vring_get_base(&vq->vring);
        ovs_assert(base == guest_ring_base(&p->guest));
        vhost_async_vq_stop(vq);
        vhost_async_rxq_free_done(p->rxq);
        ovs_assert(vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK);
        ovs_assert(dp_rx_n() == 3);
        vhost_async_vq_open(vq);
        vhost_async_rxq_unlock(p->rxq);

        ovs_assert(!port_poll(p, &pmds[0]));
        settle();
        ovs_assert(vhost_async_vq_trylock(vq));
        vhost_async_rxq_free_done(p->rxq);
        vhost_async_rxq_unlock(p->rxq);
        ovs_assert(!dp_rx_n() && !guest_ring_reclaim(&p->guest));
        ovs_assert(vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STOPPED);

        ovs_assert(!vhost_async_vq_start(vq, &p->guest.setup));
        vhost_vring_set_base(&vq->vring, base, base);
        ovs_assert(!port_poll(p, &pmds[0]));
        vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_RUNNING);
        ovs_assert(!port_poll(p, &pmds[0]));
        settle();
        ovs_assert(port_poll(p, &pmds[0]) == 4);
        port_finish(p);
    }
}

/* What was drained comes up, also if the ring was disabled since. */
static void
test_drained(void)
{
    struct vhost_async_vq *vq;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT, 64, 2048);
    vq = &p->rxq->vq;
    for (int i = 0; i < 2; i++) {
        guest_send(p, 20, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]));
    }
    vhost_async_vq_close(vq);
    ovs_assert(fake_work(0, 0, UINT_MAX) == 40);
    vhost_async_thread_reap(&pmds[0]);
    ovs_assert(vhost_async_rxq_drain(p->rxq, rte_get_tsc_cycles()));
    vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_DISABLED);
    vhost_async_vq_open(vq);
    vhost_async_rxq_unlock(p->rxq);
    ovs_assert(!guest_ring_reclaim(&p->guest));
    guest_send(p, 1, SMALL);
    ovs_assert(port_poll(p, &pmds[0]) == 32);
    ovs_assert(port_poll(p, &pmds[0]) == 8);
    ovs_assert(!port_poll(p, &pmds[0]));
    vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_RUNNING);
    port_finish(p);
}

/* No more is fetched than there is room for when all of it is done. */
static void
test_bounded(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 1024);
    p = port_create(GUEST_PACKED, 512, 2048);
    guest_send(p, 512, LARGE);
    for (int i = 0; i < 20; i++) {
        ovs_assert(!port_poll(p, &pmds[0]));
    }
    ovs_assert(vhost_async_vq_in_flight(&p->rxq->vq)
               == VHOST_ASYNC_RXQ_MAX_PKTS);
    while (p->n_got != 512) {
        settle();
        port_poll(p, &pmds[0]);
    }
    port_finish(p);
}

/* Without mbufs packets stay where they are. */
static void
test_no_mbufs(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create_pieces(layout, 32, 3, 700);

        guest_send(p, 5, SMALL);
        dp_rx_left = 4;
        ovs_assert(!port_poll(p, NULL) && !port_poll(p, &pmds[0]));
        ovs_assert(!guest_ring_reclaim(&p->guest));
        dp_rx_left = UINT_MAX;
        ovs_assert(port_poll(p, NULL) == 5);
        port_finish(p);
    }
}

static void
test_announce(void)
{
    struct rte_mbuf *mbufs[BURST];
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT, 16, 2048);
    guest_send(p, 1, SMALL);
    ovs_assert(vhost_async_vq_trylock(&p->rxq->vq));
    vhost_async_rxq_announce(p->rxq, UINT64_C(0x665544332211));
    vhost_async_rxq_unlock(p->rxq);
    dp_rx_left = 0;
    ovs_assert(!port_poll(p, NULL));
    dp_rx_left = UINT_MAX;
    ovs_assert(vhost_async_rxq_recv(p->rxq, NULL, &p->mode, mbufs, BURST)
               == 2);
    ovs_assert(!memcmp(rte_pktmbuf_mtod_offset(mbufs[0], void *, 6),
                       "\x11\x22\x33\x44\x55\x66", 6));
    p->n_got++;
    p->bytes += SMALL;
    ovs_assert(COUNTER(p, broadcast) == 1);
    /* It is a packet, and was copied from nowhere. */
    ovs_assert(COUNTER(p, good_packets) == 2);
    ovs_assert(COUNTER(p, cpu_packets) == 1);
    atomic_store_relaxed(&p->rxq->stats.good_packets, 1);
    atomic_store_relaxed(&p->rxq->stats.good_bytes, SMALL);
    vhost_async_count(&p->rxq->stats.size_bins[
                          vhost_net_size_bin(mbufs[0]->pkt_len)], -1);
    dp_rx_free(mbufs[0]);
    dp_rx_free(mbufs[1]);
    ovs_assert(!port_poll(p, NULL));
    port_finish(p);
}

/* A guest that waits for its buffers is notified, once. */
static void
test_notified(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);

        guest_send(p, 3, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]) && !port_notified(p));
        settle();
        ovs_assert(port_poll(p, &pmds[0]) == 3 && port_notified(p) == 1);
        guest_send(p, 3, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 3 && port_notified(p) == 1);
        ovs_assert(!port_poll(p, &pmds[0]) && !port_notified(p));
        if (p->guest.packed) {
            p->guest.event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
        } else {
            p->guest.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
        }
        guest_send(p, 3, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 3 && !port_notified(p));
        port_finish(p);
    }
}

/* In PA mode copies end with the page, and pages can be missing. */
static void
test_pages(void)
{
    struct dpdk_dma_chan *chan;
    struct vhost_guest_region *r;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    chan = pmds[0].sender.chan;
    p = port_create(GUEST_SPLIT, 16, 2500);
    r = &p->guest.table.regions[0];
    r->page_shift = 12;
    r->pages = xmalloc((r->size >> 12) * sizeof *r->pages);
    for (size_t i = 0; i < r->size >> 12; i++) {
        r->pages[i] = (uintptr_t) r->va + i * 4096;
    }
    /* The second one is in two pages. */
    guest_send(p, 2, 2000);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(dpdk_dma_chan_in_flight(chan) == 3);

    /* Of the fourth the beginning goes by DMA, of the fifth nothing. */
    r->pages[(3 * GUEST_AREA >> 12) + 2] = RTE_BAD_IOVA;
    guest_send(p, 2, 2000);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(dpdk_dma_chan_in_flight(chan) == 5);
    guest_send(p, 1, 2000);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(dpdk_dma_chan_in_flight(chan) == 5);
    settle();
    ovs_assert(port_poll(p, &pmds[0]) == 5);
    ovs_assert(COUNTER(p, cpu_packets) == 1);
    free(r->pages);
    r->pages = NULL;
    port_finish(p);
}

/* Packets go by DMA from 640 bytes on. */
static void
set_limits(struct vhost_async_cost *cost)
{
    cost->limits = (struct dpdk_dma_limits) { .min_len = 640, .even_len = 640,
                                              .min_excess = 1 };
}

/* By what copies cost: the CPU copies a packet that is timed, in its turn, and
 * learns what the first bytes take, or all of them. */
static void
test_auto(void)
{
    struct vhost_async_cost *cost = &pmds[0].sender.rx_cost;
    struct dpdk_dma_limits limits;
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    ovs_assert(cost->head == VHOST_ASYNC_RX_HEAD);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);
        uint32_t n_heads = cost->n_heads, n_timed = cost->n_timed;

        vhost_async_cost_set_threshold(cost, VHOST_ASYNC_AUTO);
        for (int i = 0; i < 40; i++) {
            set_limits(cost);
            cost->n_bursts = 2;
            cost->until_trial = COST_MAX_TRIAL;
            guest_send(p, 3, LARGE);
            guest_send(p, 1, 639);
            ovs_assert(!port_poll(p, &pmds[0]));
            ovs_assert(COUNTER(p, cpu_packets) == i * 3);
            /* The longest one, which changes the limits for those behind. */
            guest_send(p, 2, LARGE - 1);
            guest_send(p, 1, LARGE);
            ovs_assert(!port_poll(p, &pmds[0]));
            settle();
            ovs_assert(port_poll(p, &pmds[0]) == 7);
            ovs_assert(COUNTER(p, cpu_packets) == i * 3 + 2);
            guest_send(p, 1, SMALL);
            ovs_assert(port_poll(p, &pmds[0]) == 1);
            ovs_assert(guest_ring_reclaim(&p->guest) == 8);
        }
        ovs_assert(COUNTER(p, dma_packets) == 40 * 5);
        n_heads = cost->n_heads - n_heads;
        n_timed = cost->n_timed - n_timed;
        ovs_assert(n_heads + n_timed == 40 && n_timed >= 15 && n_heads >= 19);

        /* What others show is what was learned. */
        cost_set_limits(cost);
        vhost_async_cost_get_limits(cost, cost->dma, &limits);
        ovs_assert(!memcmp(&limits, &cost->limits, sizeof limits));
        ovs_assert(limits.burst_loss && limits.min_len >= 640);
        port_finish(p);
    }
}

/* In a trial all packets go by CPU, then by DMA, in order. */
static void
test_trial(void)
{
    struct vhost_async_cost *cost = &pmds[0].sender.rx_cost;
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    vhost_async_cost_set_threshold(cost, VHOST_ASYNC_AUTO);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);
        uint32_t n_trials = cost->n_trials, n_bursts = 0;

        cost->n_bursts = cost->until_trial = 1;
        do {
            unsigned int n;

            ovs_assert(n_bursts++ < 200);
            /* The time that copies take does not pass here. */
            fake.tsc++;
            cost->cpu_at_most = cost->dma->cpu;
            atomic_store_relaxed(&cost->cpu, cost->dma->cpu);
            guest_send(p, 3, LARGE);
            n = port_poll(p, &pmds[0]);
            settle();
            n += port_poll(p, &pmds[0]);
            ovs_assert(n == 3);
            ovs_assert(guest_ring_reclaim(&p->guest) == 3);
        } while (cost->trial.phase);
        ovs_assert(cost->n_trials == n_trials + 1);
        ovs_assert(COUNTER(p, dma_packets) >= 3 * (42 + 16));
        ovs_assert(COUNTER(p, cpu_packets) >= 3 * (42 + 16 + 16));
        ovs_assert(cost->trial.cpu.n_bursts == 16
                   && cost->trial.cpu.n_pkts == 3 * 16
                   && (cost->trial.cpu.cpu_bytes
                       == 3 * 16 * (LARGE - VHOST_ASYNC_RX_HEAD))
                   && !cost->trial.cpu.n_dma);
        ovs_assert(cost->trial.dma.n_bursts >= 16
                   && cost->trial.dma.n_dma == cost->trial.dma.n_pkts
                   && cost->trial.dma.n_copies >= cost->trial.dma.n_dma
                   && !cost->trial.dma.cpu_bytes);
        ovs_assert(cost->trial.n_reaped == cost->trial.dma.n_dma);
        ovs_assert(cost->trial.n_published >= cost->trial.n_reaped - 3
                   && (cost->trial.publish_cycles
                       >= (cost->trial.n_published / 3
                           * (uint64_t) DPDK_DMA_COST_RX_POLL)));
        port_finish(p);
    }
}

static uint32_t
lock_word(const struct vhost_async_vq *vq)
{
    return vhost_async_vq_get(&vq->lock);
}

static void
await_lock_word(const struct vhost_async_vq *vq, uint32_t word)
{
    while (lock_word(vq) != word) {
        sched_yield();
    }
}

static void *
closer_main(void *vq)
{
    vhost_async_vq_close(vq);
    return NULL;
}

/* Who polls gives the lock up to who closes the ring, whether or not that was
 * seen. */
static void
test_unlock(void)
{
    const uint32_t both = VHOST_ASYNC_LOCKED | VHOST_ASYNC_CLOSED;
    struct vhost_async_vq *vq;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT, 64, 2048);
    vq = &p->rxq->vq;
    ovs_assert(vhost_async_vq_trylock(vq));
    vhost_async_rxq_unlock(p->rxq);
    ovs_assert(!lock_word(vq));

    /* Seen: nobody comes in between. */
    ovs_assert(vhost_async_vq_trylock(vq));
    atomic_store_relaxed(&vq->lock, both);
    vhost_async_rxq_unlock(p->rxq);
    ovs_assert(lock_word(vq) == VHOST_ASYNC_CLOSED);
    guest_send(p, 1, SMALL);
    ovs_assert(!port_poll(p, &pmds[0]));
    vhost_async_vq_close(vq);
    vhost_async_vq_open(vq);
    vhost_async_rxq_unlock(p->rxq);
    ovs_assert(port_poll(p, &pmds[0]) == 1);

    for (int again = 0; again < 2; again++) {
        pthread_t closer;

        ovs_assert(vhost_async_vq_trylock(vq));
        closer = ovs_thread_create("closer", closer_main, vq);
        await_lock_word(vq, both);
        /* What a store does that comes after the look at the lock. */
        atomic_store_explicit(&vq->lock, again ? VHOST_ASYNC_LOCKED : 0,
                              memory_order_release);
        if (again) {
            /* Another poller has it by then. */
            await_lock_word(vq, both);
            vhost_async_rxq_unlock(p->rxq);
        }
        xpthread_join(closer, NULL);
        ovs_assert(lock_word(vq) == both);
        vhost_async_vq_open(vq);
        vhost_async_rxq_unlock(p->rxq);
    }
    port_finish(p);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(by_cpu),
    DMA_TEST_CASE(by_dma),
    DMA_TEST_CASE(order),
    DMA_TEST_CASE(pieces),
    DMA_TEST_CASE(mixed_burst),
    DMA_TEST_CASE(refused),
    DMA_TEST_CASE(pages),
    DMA_TEST_CASE(failed_copies),
    DMA_TEST_CASE(hung_engine),
    DMA_TEST_CASE(stop_with_copies_in_flight),
    DMA_TEST_CASE(drained),
    DMA_TEST_CASE(bounded),
    DMA_TEST_CASE(no_mbufs),
    DMA_TEST_CASE(announce),
    DMA_TEST_CASE(notified),
    DMA_TEST_CASE(auto),
    DMA_TEST_CASE(trial),
    DMA_TEST_CASE(unlock),
};

static void
test_vhost_rxq_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-rxq", test_vhost_rxq_main);
