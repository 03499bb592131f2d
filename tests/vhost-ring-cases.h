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

#ifndef VHOST_RING_CASES_H
#define VHOST_RING_CASES_H 1

/* The cases of test-vhost-thread.c, which includes this, about the completion
 * engine "ring". */

/* A sender that finds somebody at the txq goes on; its packets follow those
 * that are there, by the channel of whoever drains. */
static void
test_contended(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = port_create(LAYOUT, 64, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(port_send_locked(p, &pmds[0], (struct rte_mbuf *[]) {
                                    make_pkt(LARGE, 1) }, 1) == 1);
    ovs_assert(port_engine_send(p, &pmds[1], 3, LARGE) == 3);
    ovs_assert(port_engine_send(p, NULL, 2, SMALL) == 2);
    ovs_assert(vhost_async_engine_txq_waiting(p->txq) == 5);
    ovs_assert(!vhost_async_engine_txq_is_idle(p->txq));
    ovs_assert(!vhost_async_thread_is_busy(&pmds[1]));
    vhost_async_engine_unlock(&pmds[0].sender, p->txq);
    ovs_assert(!vhost_async_engine_txq_waiting(p->txq));
    ovs_assert(vhost_async_engine_txq_is_idle(p->txq));
    ovs_assert(dpdk_dma_chan_in_flight(pmds[0].sender.chan) == 4);
    port_get(p, 0);
    ovs_assert(work_and_reap(0, 4) == 4);
    port_get(p, 6);
    port_finish(p);
}

/* As long as packets wait, whoever sends goes behind them, even who finds
 * nobody at the txq. */
static void
test_nobody_overtakes_what_waits(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 64, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(port_engine_send(p, &pmds[3], 2, SMALL) == 2);
    /* Those who do not look after it are gone. */
    atomic_store_relaxed(&p->txq->vq.lock, 0);
    ovs_assert(port_engine_send(p, &pmds[3], 2, SMALL) == 2);
    port_get(p, 4);
    port_finish(p);
}

static void
test_full_ring(void)
{
    struct port *p;
    unsigned int n = 0;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 1024, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    while (port_engine_send(p, &pmds[0], 30, SMALL)) {
        n += 30;
    }
    ovs_assert(n == RING_SIZE / 30 * 30);
    ovs_assert(COUNTER(p, ring_full_drops) == 30);
    /* All of a burst or nothing. */
    ovs_assert(port_engine_send(p, &pmds[0], RING_SIZE - n, SMALL)
               == RING_SIZE - n);
    ovs_assert(vhost_async_engine_txq_waiting(p->txq) == RING_SIZE);
    vhost_async_engine_unlock(NULL, p->txq);
    port_get(p, RING_SIZE);
    port_finish(p);
}

/* From OVS 4.0 on a burst can be of any size; as much goes into the ring as
 * there is room for. */
static void
test_large_bursts(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 1024, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    for (int i = 0; i < 16; i++) {
        ovs_assert(port_engine_send(p, &pmds[0], 60, SMALL) == 60);
    }
    ovs_assert(port_engine_send(p, &pmds[0], 24, SMALL) == 24);
    ovs_assert(vhost_async_engine_txq_waiting(p->txq) == RING_SIZE - 40);
    ovs_assert(port_engine_send(p, &pmds[0], 60, SMALL) == RING_BURST);
    ovs_assert(!COUNTER(p, ring_full_drops));
    /* Its sender tries again. */
    ovs_assert(!port_engine_send(p, &pmds[0], 60 - RING_BURST, SMALL));
    ovs_assert(COUNTER(p, ring_full_drops) == 60 - RING_BURST);
    ovs_assert(vhost_async_engine_txq_waiting(p->txq) == RING_SIZE - 8);
    vhost_async_engine_unlock(NULL, p->txq);
    port_get(p, RING_SIZE - 8);
    port_finish(p);
}

/* A PMD thread does not go on for ever for others, it comes back.  What waits
 * has one keeper. */
static void
test_kept(void)
{
    const unsigned int round = RING_ROUNDS * RING_BURST;
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = port_create(LAYOUT, 1024, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    for (unsigned int i = 0; i < 3 * round / 32; i++) {
        ovs_assert(port_engine_send(p, &pmds[1], 32, SMALL) == 32);
    }
    vhost_async_engine_unlock(&pmds[0].sender, p->txq);
    port_get(p, round);
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    ovs_assert(!vhost_async_engine_txq_is_idle(p->txq));

    /* Another one does its part, and leaves the rest to the keeper. */
    ovs_assert(port_engine_send(p, &pmds[1], 1, SMALL) == 1);
    port_get(p, round);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[1]));

    /* Not while a message is handled; then once per iteration. */
    vhost_async_vq_close(&p->txq->vq);
    vhost_async_thread_reap(&pmds[0]);
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    /* Nor does a thread that is to let go of it wait for that: the message
     * may wait for copies of this thread. */
    ovs_assert(!vhost_async_engine_leave(&pmds[0].sender));
    atomic_store_relaxed(&p->txq->vq.lock, 0);
    vhost_async_thread_reap(&pmds[0]);
    port_get(p, round);
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    vhost_async_thread_reap(&pmds[0]);
    port_get(p, 1);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    port_finish(p);
}

static struct port *endless;
static unsigned int n_unlocks;

/* Another thread sends whenever this one is about to go. */
static void
send_again(struct vhost_async_txq *txq OVS_UNUSED)
{
    if (n_unlocks++ < 100) {
        before_unlock = NULL;
        ovs_assert(port_engine_send(endless, &pmds[1], 2, SMALL) == 2);
        before_unlock = send_again;
    }
}

/* Those who send without a pause do not hold a PMD thread at the txq. */
static void
test_gets_away(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = endless = port_create(LAYOUT, 512, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(port_send_locked(p, &pmds[0], (struct rte_mbuf *[]) {
                                    make_pkt(SMALL, 1) }, 1) == 1);
    before_unlock = send_again;
    vhost_async_engine_unlock(&pmds[0].sender, p->txq);
    before_unlock = NULL;
    ovs_assert(n_unlocks == 101 && COUNTER(p, published) == 3);
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    settle();
    port_finish(p);
}

/* A thread that goes leaves nothing behind. */
static void
test_keeper_leaves(void)
{
    const unsigned int round = RING_ROUNDS * RING_BURST;
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = port_create(LAYOUT, 1024, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    for (unsigned int i = 0; i < 3 * round / 32; i++) {
        ovs_assert(port_engine_send(p, &pmds[1], 32, SMALL) == 32);
    }
    vhost_async_engine_unlock(&pmds[0].sender, p->txq);
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    vhost_async_thread_drain(&pmds[0]);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    ovs_assert(vhost_async_engine_txq_is_idle(p->txq));
    port_get(p, 3 * round);
    port_finish(p);
}

/* Neither do those who send while it waits for its engine: it takes nothing
 * more for them than it must. */
static void
test_leaver_keeps_nothing(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = endless = port_create(LAYOUT, 512, 2048);
    ovs_assert(port_engine_send(p, &pmds[0], 2, LARGE) == 2);
    fake_work(0, 0, 2);
    before_unlock = send_again;
    vhost_async_thread_drain(&pmds[0]);
    before_unlock = NULL;
    ovs_assert(n_unlocks == 101);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    ovs_assert(vhost_async_engine_txq_is_idle(p->txq));
    port_get(p, 202);
    port_finish(p);
}

/* Puts as many packets into the ring as were taken out of it, and gives the
 * guest room, until packets are dropped. */
static void
fill_again(struct rte_mbuf **mbufs OVS_UNUSED, unsigned int cnt OVS_UNUSED)
{
    struct port *p = endless;

    ovs_assert(p->n_got <= RING_ALONE + 2 * RING_SIZE);
    if (COUNTER(p, ring_drops)) {
        return;
    }
    while (guest_ring_get(&p->guest, &p->last)) {
        check_pkt(p, &p->sent[p->n_got++ % N_PKTS]);
    }
    guest_ring_offer(&p->guest, UINT32_MAX);
    dp_on_free = NULL;
    while (vhost_async_engine_txq_waiting(p->txq) + 32 <= RING_SIZE) {
        ovs_assert(port_engine_send(p, &pmds[1], 32, SMALL) == 32);
    }
    dp_on_free = fill_again;
    fake_delay_us(2);
}

/* A thread that cannot come back goes on until the ring is empty, but not for
 * ever. */
static void
test_no_pmd_is_bounded(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = endless = port_create(LAYOUT, 64, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    fill_again(NULL, 0);
    vhost_async_engine_unlock(NULL, p->txq);
    dp_on_free = NULL;
    ovs_assert(p->n_got >= RING_ALONE);
    ovs_assert(vhost_async_engine_txq_is_idle(p->txq));
    ovs_assert(p->n_got > 1000);
    p->n_lost = COUNTER(p, ring_drops);
    ovs_assert(p->n_lost && p->n_lost <= RING_SIZE);
    ovs_assert(p->n_lost == COUNTER(p, busy_drops) + COUNTER(p, full_drops));
    /* They were the last ones. */
    p->n_taken -= p->n_lost;
    while (p->n_got < p->n_taken) {
        ovs_assert(guest_ring_get(&p->guest, &p->last));
        check_pkt(p, &p->sent[p->n_got++ % N_PKTS]);
    }
    p->n_taken += p->n_lost;
    port_finish(p);
}

/* What the guest has no buffers for is dropped, after as many attempts as a
 * sender makes; the rest arrives. */
static void
test_drops_out_of_the_ring(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 4, 2048);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(port_engine_send(p, &pmds[3], 6, SMALL) == 6);
    vhost_async_engine_unlock(&pmds[0].sender, p->txq);
    port_get(p, 4);
    ovs_assert(COUNTER(p, ring_drops) == 2 && COUNTER(p, full_drops) == 2);
    p->n_lost = 2;
    check_no_leak();

    /* Those left in it when the txq goes. */
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(port_engine_send(p, &pmds[3], 6, SMALL) == 6);
    ring_drop(p->txq, VHOST_ASYNC_DOWN);
    ovs_assert(COUNTER(p, ring_drops) == 8 && COUNTER(p, down_drops) == 6);
    p->n_lost += 6;
    vhost_async_engine_unlock(NULL, p->txq);
    ovs_assert(vhost_async_engine_txq_memory(p->txq)
               > RING_SIZE * sizeof(void *));
    port_finish(p);
}

#define RING_CASES \
    DMA_TEST_CASE(contended), \
    DMA_TEST_CASE(nobody_overtakes_what_waits), \
    DMA_TEST_CASE(full_ring), \
    DMA_TEST_CASE(large_bursts), \
    DMA_TEST_CASE(kept), \
    DMA_TEST_CASE(gets_away), \
    DMA_TEST_CASE(keeper_leaves), \
    DMA_TEST_CASE(leaver_keeps_nothing), \
    DMA_TEST_CASE(no_pmd_is_bounded), \
    DMA_TEST_CASE(drops_out_of_the_ring)

#endif /* vhost-ring-cases.h */
