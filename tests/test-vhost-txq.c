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

/* Tests of a txq whose ring is ours (lib/vhost-async-txq.c, -copy.c): which
 * packet is copied how, and what is published when.
 *
 * Ring, channel and device are the real ones; the engine of fake-dmadev.h does
 * what a case says.  For copies that end otherwise than they should see
 * test-vhost-txq-in-flight.c, for headers, notifications, and counters
 * test-vhost-txq-guest.c, for the lock, completion engines and PMD threads
 * test-vhost-thread.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_txq_##NAME
#include "vhost-data-path.h"
#include "vhost-txq-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

#define SENT(COUNTER) vhost_async_counter(&pmds[0].sender.stats.COUNTER)

static void
test_small_by_cpu(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);
        uint64_t n_cpu = SENT(cpu_packets);
        uint64_t bytes = SENT(cpu_bytes);

        ovs_assert(port_send_n(p, &pmds[0], 3, SMALL) == 3);
        ovs_assert(p->obstacle == VHOST_ASYNC_NONE);
        port_get(p, 3);
        check_no_leak();
        ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
        ovs_assert(COUNTER(p, cpu_packets) == 3);
        ovs_assert(COUNTER(p, cpu_bytes) == 3 * SMALL);
        ovs_assert(SENT(cpu_packets) == n_cpu + 3);
        ovs_assert(SENT(cpu_bytes)
                   == bytes + 3 * SMALL);
        ovs_assert(!port_send_n(p, &pmds[0], 0, SMALL));
        port_finish(p);
    }
    ovs_assert(!fake.devs[0].n_submits);
    ovs_assert(!SENT(bursts));
}

static void
test_large_by_dma(void)
{
    unsigned int n_bursts = 0;
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);

        ovs_assert(port_send_n(p, &pmds[0], 4, LARGE) == 4);
        ovs_assert(fake.devs[0].n_submits == ++n_bursts);
        ovs_assert(vhost_async_vq_in_flight(&p->txq->vq) == 4);
        ovs_assert(COUNTER(p, dma_packets) == 4);
        ovs_assert(COUNTER(p, dma_bytes) == 4 * LARGE);
        ovs_assert(!COUNTER(p, published));
        port_get(p, 0);

        /* Two at a time, and what is not reported is not there. */
        ovs_assert(fake_work(0, 0, 2) == 2);
        port_get(p, 0);
        ovs_assert(vhost_async_thread_reap(&pmds[0]) == 2);
        port_get(p, 2);
        ovs_assert(vhost_async_vq_in_flight(&p->txq->vq) == 2);
        ovs_assert(work_and_reap(0, 2) == 2);
        port_get(p, 2);
        check_no_leak();

        ovs_assert(SENT(dma_packets) == 4 * n_bursts);
        ovs_assert(SENT(dma_bytes)
                   == 4 * LARGE * n_bursts);
        ovs_assert(SENT(bursts) == n_bursts);
        port_finish(p);
    }
}

static void
test_threshold(void)
{
    static const struct {
        uint32_t threshold, len;
        bool dma;
    } tests[] = {
        { 1024, 1023, false }, { 1024, 1024, true }, { 0, 1, true },
        { UINT32_MAX, 9000, false }, { 64, 60, false }, { 64, 64, true },
    };
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 64, 1024);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        uint64_t n = COUNTER(p, dma_packets);

        atomic_store_relaxed(&vhost_async_policy.threshold,
                             tests[i].threshold);
        ovs_assert(port_send_n(p, &pmds[0], 1, tests[i].len) == 1);
        ovs_assert(COUNTER(p, dma_packets) == n + tests[i].dma);
        settle();
        port_get(p, 1);
        guest_ring_offer(&p->guest, 64);
    }

    /* Off for this port. */
    atomic_store_relaxed(&vhost_async_policy.threshold, 0);
    atomic_store_relaxed(&p->txq->vq.dma, false);
    ovs_assert(port_send_n(p, &pmds[0], 1, LARGE) == 1);
    port_get(p, 1);
    atomic_store_relaxed(&p->txq->vq.dma, true);

    /* A guest that engines do not get to. */
    p->guest.table.no_dma = "for a test";
    ovs_assert(port_send_n(p, &pmds[0], 1, LARGE) == 1);
    port_get(p, 1);
    port_finish(p);
}

/* A small packet behind a large one costs no copy by DMA, and waits. */
static void
test_small_behind_large(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);
        struct rte_mbuf *pkts[5];

        for (int i = 0; i < 5; i++) {
            pkts[i] = make_pkt(i == 1 || i == 3 ? LARGE : SMALL, 1);
        }
        ovs_assert(port_send(p, &pmds[0], pkts, 5) == 5);
        ovs_assert(COUNTER(p, dma_packets) == 2);
        ovs_assert(COUNTER(p, cpu_packets) == 3);
        /* The first has nothing to wait for. */
        port_get(p, 1);
        ovs_assert(port_send_n(p, &pmds[0], 2, SMALL) == 2);
        port_get(p, 0);

        ovs_assert(work_and_reap(0, 1) == 1);
        port_get(p, 2);
        ovs_assert(work_and_reap(0, 1) == 1);
        port_get(p, 4);
        port_finish(p);
    }
}

/* Whichever channel is the first, and threads without one. */
static void
test_order_across_channels(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 2, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);

        ovs_assert(port_send_n(p, &pmds[0], 1, LARGE) == 1);
        ovs_assert(port_send_n(p, &pmds[1], 2, LARGE) == 2);
        ovs_assert(port_send_n(p, &pmds[0], 1, LARGE) == 1);
        ovs_assert(port_send_n(p, &pmds[3], 1, LARGE) == 1);
        ovs_assert(port_send_n(p, NULL, 1, LARGE) == 1);
        ovs_assert(COUNTER(p, cpu_packets) == 2);
        ovs_assert(port_send_n(p, &pmds[1], 1, LARGE) == 1);

        ovs_assert(work_and_reap(1, 2) == 2);
        port_get(p, 0);
        ovs_assert(vhost_async_vq_waits_for(&p->txq->vq) == 0);
        ovs_assert(work_and_reap(0, 2) == 2);
        port_get(p, 6);
        ovs_assert(vhost_async_vq_waits_for(&p->txq->vq) == 1);
        ovs_assert(work_and_reap(1, 1) == 1);
        port_get(p, 1);
        ovs_assert(vhost_async_vq_waits_for(&p->txq->vq) == -1);
        port_finish(p);
    }
}

static void
test_obstacles(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 4, 2048);

        ovs_assert(port_send_n(p, &pmds[0], 6, LARGE) == 4);
        ovs_assert(p->obstacle == VHOST_ASYNC_FULL);
        ovs_assert(!port_send_n(p, &pmds[0], 1, SMALL));
        ovs_assert(p->obstacle == VHOST_ASYNC_FULL);
        vhost_async_txq_count_drops(p->txq, p->obstacle, 2);
        settle();
        port_get(p, 4);
        ovs_assert(!port_send_n(p, &pmds[0], 1, SMALL));
        guest_ring_offer(&p->guest, 1);
        ovs_assert(port_send_n(p, &pmds[0], 2, SMALL) == 1);
        port_get(p, 1);

        guest_ring_offer(&p->guest, 4);
        vhost_async_vq_set_state(&p->txq->vq, VHOST_ASYNC_VQ_DISABLED);
        ovs_assert(!port_send_n(p, &pmds[0], 3, SMALL));
        ovs_assert(p->obstacle == VHOST_ASYNC_DOWN);
        vhost_async_txq_count_drops(p->txq, p->obstacle, 3);
        vhost_async_txq_count_drops(p->txq, VHOST_ASYNC_BUSY, 4);
        port_enable(p);
        ovs_assert(port_send_n(p, &pmds[0], 3, SMALL) == 3);
        ovs_assert(p->obstacle == VHOST_ASYNC_NONE);

        /* One that is broken takes nothing, and what is in flight arrives. */
        ovs_assert(port_send_n(p, &pmds[0], 1, LARGE) == 1);
        p->txq->vq.vring.broken = "for a test";
        ovs_assert(!port_send_n(p, &pmds[0], 1, SMALL));
        ovs_assert(p->obstacle == VHOST_ASYNC_FULL);

        ovs_assert(COUNTER(p, full_drops) == 2);
        ovs_assert(COUNTER(p, down_drops) == 3);
        ovs_assert(COUNTER(p, busy_drops) == 4);
        port_finish(p);
    }
}

/* Sources and targets in pieces that do not match, some of them empty. */
static void
test_pieces(void)
{
    static const uint32_t piece_lens[] = { 16, 60, 200, 1518 };
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 1024);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(piece_lens); i++) {
            bool mrg = layout & GUEST_MRG;
            struct port *p = port_create_pieces(layout, mrg ? 128 : 16,
                                                mrg ? 1 : 8,
                                                piece_lens[i] * (mrg ? 1 : 8));
            uint32_t max = MIN(8 * piece_lens[i] - 12, 9000);

            for (unsigned int n_segs = 1; n_segs <= DP_MAX_SEGS; n_segs++) {
                struct rte_mbuf *pkts[2];

                for (int j = 0; j < 2; j++) {
                    pkts[j] = make_pkt(max - j, n_segs);
                    if (n_segs > 2 && j) {
                        /* All but the last, or but one, are empty. */
                        struct rte_mbuf *m = pkts[j];

                        for (; m->next && m->next->next; m = m->next) {
                            m->data_len = 0;
                        }
                        m->data_off = 0;
                        m->data_len = n_segs & 1 ? max - j : 0;
                        m->next->data_off = 0;
                        m->next->data_len = n_segs & 1 ? 0 : max - j;
                    }
                }
                atomic_store_relaxed(&vhost_async_policy.threshold,
                                     n_segs % 3 ? 0 : max);
                ovs_assert(port_send(p, &pmds[0], pkts, 2) == 2);
                settle();
                port_get(p, 2);
                guest_ring_offer(&p->guest, UINT32_MAX);
            }
            ovs_assert(COUNTER(p, dma_packets));
            port_finish(p);
        }
    }
}

/* A packet of more pieces than the channel has room for, whether now or at
 * all, is the CPU's, in order. */
static void
test_more_pieces_than_room(void)
{
    struct port *p;

    start_engines(FAKE_IDXD, 1, 32);
    p = port_create(GUEST_PACKED | GUEST_MRG, 128, 100);
    ovs_assert(port_send_n(p, &pmds[0], 1, 1100) == 1);
    ovs_assert(vhost_async_vq_in_flight(&p->txq->vq) == 1);
    ovs_assert(port_send_n(p, &pmds[0], 1, 4000) == 1);
    ovs_assert(COUNTER(p, cpu_packets) == 1);
    ovs_assert(port_send_n(p, &pmds[0], 2, 1100) == 2);
    ovs_assert(COUNTER(p, cpu_packets) == 2);
    ovs_assert(COUNTER(p, dma_packets) == 2);
    port_get(p, 0);
    settle();
    port_get(p, 4);
    guest_ring_offer(&p->guest, 128);

    /* A batch at a time, of which the engine is told when it is full. */
    fake.devs[0].max_batch = 16;
    ovs_assert(port_send_n(p, &pmds[0], 2, 1100) == 2);
    ovs_assert(COUNTER(p, cpu_packets) == 2);
    ovs_assert(COUNTER(p, dma_packets) == 4);
    ovs_assert(port_send_n(p, &pmds[0], 1, 1100) == 1);
    ovs_assert(COUNTER(p, cpu_packets) == 3);
    ovs_assert(COUNTER(p, dma_packets) == 4);
    port_finish(p);
}

/* As port_send_n() by PMD thread 0, but its iteration does not end. */
static unsigned int
send_only(struct port *p, unsigned int cnt, uint32_t len)
{
    struct rte_mbuf *all[MAX_BURST], *pkts[MAX_BURST];
    unsigned int n;

    make_burst(all, cnt, len);
    memcpy(pkts, all, cnt * sizeof *pkts);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    n = vhost_async_txq_send(p->txq, &pmds[0].sender, pkts, cnt,
                             &p->obstacle);
    vhost_async_engine_unlock(&pmds[0].sender, p->txq);
    port_sent(p, all, pkts, cnt, n);
    return n;
}

/* By what copies cost: a packet that is timed is the CPU's, in order, and one
 * in small pieces is. */
static void
test_auto(void)
{
    struct vhost_async_cost *cost = &pmds[0].sender.cost;
    struct port *p, *q;

    start_engines(FAKE_SKELETON, 1, 256);
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    p = port_create(GUEST_PACKED | GUEST_MRG, 64, 1024);
    ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
    ovs_assert(COUNTER(p, dma_packets) == 3);
    cost->n_bursts = 1;
    ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
    ovs_assert(cost->n_timed == 1 && cost->n_bursts > 1);
    ovs_assert(COUNTER(p, dma_packets) == 5 && COUNTER(p, cpu_packets) == 1);
    port_get(p, 0);
    settle();
    port_get(p, 6);

    /* LARGE is two pieces here. */
    cost->limits.min_piece = LARGE / 2 + 1;
    ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
    ovs_assert(COUNTER(p, dma_packets) == 5 && COUNTER(p, cpu_packets) == 4);
    port_get(p, 3);
    cost->limits.min_piece = LARGE / 2;
    ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
    ovs_assert(COUNTER(p, dma_packets) == 8);
    settle();
    port_get(p, 3);

    /* What a guest has no room for does not count, and what was never counted
     * is not taken back. */
    q = port_create(GUEST_SPLIT | GUEST_MRG, 4, 2048);
    cost->excess = 0;
    ovs_assert(send_only(q, 6, LARGE) == 4);
    ovs_assert(cost->excess == 4 * dpdk_dma_limits_excess(&cost->limits,
                                                          LARGE));
    atomic_store_relaxed(&q->txq->vq.dma, false);
    ovs_assert(!send_only(q, 6, LARGE));
    ovs_assert(cost->excess == 4 * dpdk_dma_limits_excess(&cost->limits,
                                                          LARGE));
    settle();
    port_get(q, 4);
    port_finish(q);

    /* A thread that never had a channel, and one that lost it. */
    ovs_assert(port_send_n(p, NULL, 3, LARGE) == 3);
    vhost_async_thread_set_chan(&pmds[0], NULL);
    ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
    ovs_assert(COUNTER(p, cpu_packets) == 10);
    port_get(p, 6);
    port_finish(p);
}

/* In a trial all packets go by CPU, then by DMA, in order, and each mbuf is
 * freed once, also by who times what that takes. */
static void
test_trial(void)
{
    struct vhost_async_cost *cost = &pmds[0].sender.cost;
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);
        uint32_t n = cost->n_trials, n_bursts = 0;

        cost_set_limits(cost);
        cost->n_bursts = cost->until_trial = 1;
        do {
            ovs_assert(n_bursts < 200);
            /* The time that copies take does not pass here. */
            fake.tsc++;
            cost->cpu_at_most = cost->dma->cpu;
            atomic_store_relaxed(&cost->cpu, cost->dma->cpu);
            ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
            n_bursts++;
            if (n_bursts % 3) {
                settle();
            }
            /* One of another thread's, behind or before them. */
            ovs_assert(port_send_n(p, NULL, 1, LARGE) == 1);
            settle();
            port_get(p, 4);
            guest_ring_offer(&p->guest, 4);
        } while (cost->trial.phase);
        ovs_assert(cost->n_trials == n + 1);
        ovs_assert(COUNTER(p, dma_packets) >= 3 * (42 + 16));
        ovs_assert(COUNTER(p, cpu_packets) >= 3 * (42 + 8 + 16) + n_bursts);
        ovs_assert(cost->trial.cpu.n_bursts == 16
                   && cost->trial.cpu.n_pkts == 3 * 16
                   && cost->trial.cpu.cpu_bytes == 3 * 16 * LARGE
                   && !cost->trial.cpu.n_dma);
        ovs_assert(cost->trial.dma.n_bursts >= 16
                   && cost->trial.dma.n_dma == cost->trial.dma.n_pkts
                   && cost->trial.dma.n_copies >= cost->trial.dma.n_dma
                   && !cost->trial.dma.cpu_bytes);
        ovs_assert(cost->trial.n_reaped == cost->trial.dma.n_dma
                   && cost->trial.n_published == cost->trial.n_reaped);
        port_finish(p);
    }

    /* With the channel it ends. */
    cost->n_bursts = cost->until_trial = 1;
    vhost_async_cost_set_threshold(cost, VHOST_ASYNC_AUTO);
    {
        struct port *p = port_create(GUEST_SPLIT | GUEST_MRG, 64, 2048);

        ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
        ovs_assert(cost->trial.phase);
        vhost_async_thread_set_chan(&pmds[0], NULL);
        ovs_assert(!cost->trial.phase);
        port_finish(p);
    }
}

/* What was added before cannot be taken back. */
static void
test_refused_in_mid_packet(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        if (!(layout & GUEST_MRG)) {
            continue;
        }
        for (unsigned int at = 1; at <= 7; at++) {
            struct port *p = port_create(layout, 16, 512);
            unsigned int n_dma = at % 3 == 1 ? 2 : 3;
            unsigned int n_copies = 9 - (3 - (at - 1) % 3);

            fake.devs[0].refuse_at = at;
            ovs_assert(port_send_n(p, &pmds[0], 3, LARGE) == 3);
            ovs_assert(COUNTER(p, dma_packets) == n_dma);
            ovs_assert(COUNTER(p, cpu_packets) == 3 - n_dma);
            ovs_assert(dpdk_dma_chan_in_flight(pmds[0].sender.chan)
                       == n_copies);
            /* The first went by CPU if its first copy was refused. */
            port_get(p, at == 1);
            ovs_assert(port_send_n(p, &pmds[0], 1, SMALL) == 1);
            port_get(p, 0);
            ovs_assert(work_and_reap(0, n_copies) == n_dma);
            port_get(p, 4 - (at == 1));
            port_finish(p);
        }
    }
}

/* In PA mode copies end with the page, and pages can be missing. */
static void
test_pages(void)
{
    struct port *p;
    struct vhost_guest_region *r;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 16, 4000);
    r = &p->guest.table.regions[0];
    r->page_shift = 12;
    r->pages = xmalloc((r->size >> 12) * sizeof *r->pages);
    for (size_t i = 0; i < r->size >> 12; i++) {
        r->pages[i] = (uintptr_t) r->va + i * 4096;
    }
    /* It begins with a page. */
    ovs_assert(port_send_n(p, &pmds[0], 1, 3900) == 1);
    ovs_assert(dpdk_dma_chan_in_flight(pmds[0].sender.chan) == 1);
    ovs_assert(port_send_n(p, &pmds[0], 1, 3900) == 1);
    ovs_assert(dpdk_dma_chan_in_flight(pmds[0].sender.chan) == 3);
    settle();
    port_get(p, 2);

    /* Which of them are missing decides how much is by DMA. */
    r->pages[(3 * GUEST_AREA + 3 * 4000) >> 12] = RTE_BAD_IOVA;
    ovs_assert(port_send_n(p, &pmds[0], 1, 3900) == 1);
    ovs_assert(dpdk_dma_chan_in_flight(pmds[0].sender.chan) == 1);
    ovs_assert(port_send_n(p, &pmds[0], 1, 3900) == 1);
    ovs_assert(COUNTER(p, cpu_packets) == 1);
    settle();
    port_get(p, 2);

    /* Of a buffer from elsewhere nobody knows the pages. */
    struct rte_mbuf *pkt = make_pkt(LARGE, 1);
    pkt->ol_flags |= RTE_MBUF_F_EXTERNAL;
    ovs_assert(port_send(p, &pmds[0], &pkt, 1) == 1);
    ovs_assert(COUNTER(p, cpu_packets) == 2);
    port_get(p, 1);
    free(r->pages);
    r->pages = NULL;
    port_finish(p);
}

/* More than are freed at once, with the account about to wrap. */
static void
test_counters_wrap(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 1024);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 256, 2048);
    atomic_store_relaxed(&p->txq->vq.taken, UINT32_MAX - 100);
    atomic_store_relaxed(&p->txq->vq.published, UINT32_MAX - 100);
    for (int i = 0; i < 8; i++) {
        ovs_assert(port_send_n(p, &pmds[0], 31, LARGE) == 31);
        ovs_assert(port_send_n(p, NULL, 1, SMALL) == 1);
    }
    ovs_assert(vhost_async_vq_in_flight(&p->txq->vq) == 256);
    fake_work(0, 0, UINT_MAX);
    ovs_assert(vhost_async_thread_reap(&pmds[0]) == 128);
    ovs_assert(vhost_async_thread_reap(&pmds[0]) == 120);
    port_get(p, 256);
    port_finish(p);
}

/* Anything, in any order. */
static void
test_random(void)
{
    uint64_t layout;

    start_engines(FAKE_IDXD, 3, 64);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 32, layout & GUEST_MRG ? 600
                                                                    : 9100);

        for (int i = 0; i < 3000; i++) {
            unsigned int t = random_range(MAX_PMDS);

            switch (random_range(6)) {
            case 0:
            case 1: {
                struct rte_mbuf *pkts[8];
                unsigned int n = random_range(8) + 1;

                for (unsigned int j = 0; j < n; j++) {
                    uint32_t len = random_range(4) ? 2000 : 9000;

                    pkts[j] = make_pkt(20 + random_range(len),
                                       1 + random_range(DP_MAX_SEGS));
                }
                if (!random_range(10)) {
                    fake.devs[t % 3].refuse_at = random_range(5);
                }
                port_send(p, random_range(10) ? &pmds[t] : NULL, pkts, n);
                break;
            }
            case 2:
                if (t < 3) {
                    fake_work(t, 0, random_range(5));
                }
                break;
            case 3:
                if (vhost_async_thread_is_busy(&pmds[t])) {
                    vhost_async_thread_reap(&pmds[t]);
                }
                break;
            case 4:
                guest_ring_offer(&p->guest, random_range(20));
                break;
            default:
                if (t < 3 && pmds[t].sender.chan
                    && dpdk_dma_chan_in_flight(pmds[t].sender.chan)
                    && !random_range(5)) {
                    fake_fail(t, 0, 0);
                }
                while (guest_ring_get(&p->guest, &p->last)) {
                    check_pkt(p, &p->sent[p->n_got++ % N_PKTS]);
                }
                break;
            }
        }
        ovs_assert(COUNTER(p, dma_packets) && COUNTER(p, cpu_packets));
        port_finish(p);
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(small_by_cpu),
    DMA_TEST_CASE(large_by_dma),
    DMA_TEST_CASE(threshold),
    DMA_TEST_CASE(small_behind_large),
    DMA_TEST_CASE(order_across_channels),
    DMA_TEST_CASE(obstacles),
    DMA_TEST_CASE(pieces),
    DMA_TEST_CASE(more_pieces_than_room),
    DMA_TEST_CASE(auto),
    DMA_TEST_CASE(trial),
    DMA_TEST_CASE(refused_in_mid_packet),
    DMA_TEST_CASE(pages),
    DMA_TEST_CASE(counters_wrap),
    DMA_TEST_CASE(random),
};

static void
test_vhost_txq_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-txq", test_vhost_txq_main);
