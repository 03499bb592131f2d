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

/* Tests of the completion engine that was built, in several threads.
 *
 *     ovstest test-vhost-engine [--ms=N] [--seed=N] [CASE...]
 *
 * has threads of all kinds send to a few txqs while guests and engines take
 * their time, messages of guests come, and engines fail, each case for N
 * milliseconds.  Then all packets must be accounted for: each arrived once, in
 * the order of its sender, or was dropped for a reason that was counted.
 *
 * test-vhost-thread.c has the same code do exactly what a case says, in one
 * thread; here chance has its way. */

#undef NDEBUG
#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

static void disturb(void);

#define FAKE_REAL_TIME
#define DP(NAME) te_##NAME
/* Others get a chance right before a lock is given up, and when packets are
 * marked as done. */
#define DP_BEFORE_UNLOCK(VQ) disturb()
#define DP_PUBLISH(SELF, TXQ) \
    (disturb(), DP(vhost_async_engine_publish)(SELF, TXQ))
#include "vhost-data-path.h"
#include "vhost-engine-fixture.h"

#include "dma-test.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "timeval.h"
#include "util.h"

/* A case. */
struct plan {
    size_t n_ports, n_chans, n_without, n_others;
    uint32_t size;              /* Of the rings. */
    unsigned int large_percent; /* Packets that go by DMA. */
    bool lone;                  /* Each sends a burst and is silent. */
    bool slow_guest;
    bool messages;              /* The guests send some. */
    bool copies_fail;
    bool engine_fails;
    bool reloads;               /* PMD threads let go of all, at times. */
};

static struct plan plan;

/* Of lone packets. */
static atomic_uint32_t lone_round, lone_sent;

static void
disturb(void)
{
    if (!random_range(plan.lone ? 3 : 16)) {
        sched_yield();
    }
}

/* Guests. */

static void
guest_check(struct port *p, const struct guest_pkt *pkt)
{
    struct stamp stamp = stamp_get(pkt->data, pkt->len);

    ovs_assert(stamp.port == p - ports && stamp.sender < n_senders);
    if (stamp.seq < p->seqs[stamp.sender]) {
        ovs_fatal(0, "packet %"PRIu32" of sender %"PRIu32" came late",
                  stamp.seq, stamp.sender);
    }
    p->seqs[stamp.sender] = stamp.seq + 1;
}

static void *
guest_main(void *pkt_)
{
    struct guest_pkt *pkt = pkt_;

    while (dma_test_phase_get() != DMA_TEST_END) {
        for (size_t i = 0; i < n_ports; i++) {
            struct port *p = &ports[i];
            int n;

            for (n = 0; n < 64 && guest_ring_get(&p->guest, pkt); n++) {
                guest_check(p, pkt);
                vhost_async_count(&p->n_got, 1);
            }
            guest_ring_offer(&p->guest, UINT32_MAX);
        }
        if (plan.slow_guest && dma_test_phase_get() == DMA_TEST_SEND) {
            usleep(random_range(200));
        }
        sched_yield();
    }
    return NULL;
}

static void *
message_main(void *aux OVS_UNUSED)
{
    while (dma_test_phase_get() == DMA_TEST_SEND) {
        struct port *p = &ports[random_range(n_ports)];

        vq_ring_message(&p->txq->vq, &p->guest);
        usleep(random_range(500));
    }
    return NULL;
}

/* Engines, and who looks after them when they fail. */

static void *
engine_main(void *aux OVS_UNUSED)
{
    while (dma_test_phase_get() != DMA_TEST_END) {
        for (size_t i = 0; i < plan.n_chans; i++) {
            if (plan.copies_fail && !random_range(20)) {
                fake_fail(i, 0, random_range(4));
            }
            fake_work(i, 0, random_range(8));
        }
        sched_yield();
    }
    return NULL;
}

static void *
helper_main(void *aux OVS_UNUSED)
{
    long long int fail = time_msec() + dma_test_ms / 2;
    struct dpdk_dma_chan *chan;
    struct dpdk_dma_done done[8];
    unsigned int n;

    while (dma_test_phase_get() != DMA_TEST_END) {
        if (fail && time_msec() > fail) {
            dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0),
                                    "for a test");
            fail = 0;
        }
        stop_failed();
        while ((chan = dpdk_dma_dev_next_dead())) {
            while ((n = dpdk_dma_chan_redo(chan, done, ARRAY_SIZE(done)))) {
                for (unsigned int i = 0; i < n; i++) {
                    struct vhost_async_txq *txq
                        = vhost_async_txq_of_vq(
                            vhost_async_vq_of_owner(done[i].owner));

                    vhost_async_vq_done(&txq->vq, done[i].seq);
                    vhost_async_engine_publish(NULL, txq);
                }
            }
        }
        usleep(100);
    }
    return NULL;
}

/* Senders. */

/* Makes up to 'max' packets for 'port', as many as are free. */
static unsigned int
sender_make(struct sender *s, size_t port, struct rte_mbuf **pkts,
            unsigned int max)
{
    unsigned int n;

    for (n = 0; n < max; n++) {
        struct dp_pkt *pkt = &s->pool[s->next % s->pool_size];
        struct stamp stamp = {
            .sender = s - senders, .port = port, .seq = s->seqs[port],
            .len = stamp_len(plan.large_percent),
        };

        if (!dp_pkt_take(pkt)) {
            break;
        }
        s->next++;
        s->seqs[port]++;
        stamp_put(pkt->data, &stamp);
        pkts[n] = dp_pkt_make(pkt, stamp.len, 1 + random_range(2));
    }
    s->n_made += n;
    return n;
}

/* As netdev-dpdk.c and netdev-dpdk-async.c send a burst. */
static void
sender_send(struct sender *s, unsigned int max)
{
    size_t port = random_range(n_ports);
    struct rte_mbuf *pkts[MAX_BURST];
    unsigned int cnt = sender_make(s, port, pkts, 1 + random_range(max));
    unsigned int n = 0;

    for (int i = 0; n < cnt && i <= 8; i++) {
        unsigned int taken;

        taken = vhost_async_engine_send(s->is_pmd ? &s->thread.sender : NULL,
                                        ports[port].txq, &pkts[n], cnt - n,
                                        i);
        if (s->is_pmd) {
            vhost_async_thread_sent(&s->thread);
        }
        n += taken;
        if (!taken) {
            break;
        }
    }
    s->n_refused += cnt - n;
    rte_pktmbuf_free_bulk(pkts, cnt);
}

static void *
sender_main(void *s_)
{
    struct sender *s = s_;
    uint32_t round = 0;

    while (dma_test_phase_get() != DMA_TEST_END) {
        uint32_t now, orig;

        if (dma_test_phase_get() == DMA_TEST_SEND) {
            if (!plan.lone) {
                sender_send(s, 8);
            } else {
                atomic_read_explicit(&lone_round, &now, memory_order_acquire);
                if (now != round) {
                    round = now;
                    sender_send(s, 2);
                    atomic_add_explicit(&lone_sent, 1, &orig,
                                        memory_order_acq_rel);
                }
            }
        }
        sender_iterate(s);
        if (plan.reloads && s->is_pmd && !random_range(200)) {
            vhost_async_thread_drain(&s->thread);
            ovs_assert(!vhost_async_thread_is_busy(&s->thread));
        }
        if (plan.lone || !random_range(8)) {
            sched_yield();
        }
    }
    if (s->is_pmd) {
        vhost_async_thread_drain(&s->thread);
    }
    return NULL;
}

/* Cases. */

static bool
all_is_done(void)
{
    for (size_t i = 0; i < n_ports; i++) {
        if (vhost_async_vq_in_flight(&ports[i].txq->vq)
            || vhost_async_engine_txq_waiting(ports[i].txq)) {
            return false;
        }
    }
    return true;
}

/* Nobody sends any more: what is on its way must get there. */
static void
settle(void)
{
    long long int end = time_msec() + 5000;

    while (!all_is_done()) {
        if (time_msec() > end) {
            for (size_t i = 0; i < n_ports; i++) {
                fprintf(stderr, "txq %"PRIuSIZE": %"PRIu32" packets in "
                        "flight, %u in the ring\n", i,
                        vhost_async_vq_in_flight(&ports[i].txq->vq),
                        vhost_async_engine_txq_waiting(ports[i].txq));
            }
            ovs_fatal(0, "nobody sees to the others");
        }
        usleep(plan.lone ? 1 : 1000);
    }
}

/* Each packet is somewhere, and its mbuf is free. */
static void
check_conservation(void)
{
    uint64_t made = 0, there = 0;

    for (size_t i = 0; i < n_senders; i++) {
        const struct sender *s = &senders[i];

        made += s->n_made;
        there += s->n_refused;
        for (size_t j = 0; j < s->pool_size; j++) {
            bool used;

            atomic_read_relaxed(&s->pool[j].used, &used);
            ovs_assert(!used);
        }
    }
    for (size_t i = 0; i < n_ports; i++) {
        const struct vhost_async_txq_stats *stats = &ports[i].txq->stats;
        uint64_t got = vhost_async_counter(&ports[i].n_got);

        ovs_assert(got == vhost_async_counter(&stats->published));
        there += got + vhost_async_counter(&stats->lost_drops)
                 + vhost_async_counter(&stats->ring_drops);
        ovs_assert(got);
    }
    ovs_assert(made == there);
    ovs_assert(!plan.n_chans || !plan.large_percent
               || vhost_async_counter(&ports[0].txq->stats.dma_packets));
}

static void
run_plan(const struct plan *plan_)
{
    static struct guest_pkt pkt;
    long long int end;
    pthread_t others[4];
    size_t n_threads = 0;

    plan = *plan_;
    n_ports = plan.n_ports;
    fake_hz();
    start_engines(plan.n_chans);
    for (size_t i = 0; i < n_ports; i++) {
        port_create(&ports[i], i & 1 ? GUEST_PACKED : GUEST_SPLIT, plan.size);
    }
    n_senders = plan.n_chans + plan.n_without + plan.n_others;
    for (size_t i = 0; i < n_senders; i++) {
        struct sender *s = &senders[i];

        sender_init(s, i < plan.n_chans + plan.n_without, i < plan.n_chans,
                    512);
        for (size_t j = 0; j < s->pool_size; j++) {
            dp_pkt_init(&s->pool[j], MAX_LEN);
        }
    }

    others[n_threads++] = ovs_thread_create("guest", guest_main, &pkt);
    others[n_threads++] = ovs_thread_create("engine", engine_main, NULL);
    if (plan.engine_fails) {
        others[n_threads++] = ovs_thread_create("helper", helper_main, NULL);
    }
    if (plan.messages) {
        others[n_threads++] = ovs_thread_create("message", message_main, NULL);
    }
    for (size_t i = 0; i < n_senders; i++) {
        senders[i].pthread = ovs_thread_create("sender", sender_main,
                                               &senders[i]);
    }
    end = time_msec() + dma_test_ms;
    while (time_msec() < end) {
        if (plan.lone) {
            uint32_t n = 0, orig;

            atomic_store_relaxed(&lone_sent, 0);
            atomic_add_explicit(&lone_round, 1, &orig, memory_order_acq_rel);
            while (n < n_senders) {
                sched_yield();
                atomic_read_explicit(&lone_sent, &n, memory_order_acquire);
            }
            settle();
        } else {
            usleep(1000);
        }
    }
    dma_test_phase_set(DMA_TEST_SETTLE);
    if (plan.messages) {
        xpthread_join(others[--n_threads], NULL);
    }
    settle();
    /* The guest gets the last ones. */
    usleep(20000);
    dma_test_phase_set(DMA_TEST_END);
    for (size_t i = 0; i < n_senders; i++) {
        xpthread_join(senders[i].pthread, NULL);
    }
    while (n_threads) {
        xpthread_join(others[--n_threads], NULL);
    }
    for (size_t i = 0; i < n_ports; i++) {
        while (guest_ring_get(&ports[i].guest, &pkt)) {
            guest_check(&ports[i], &pkt);
            vhost_async_count(&ports[i].n_got, 1);
        }
    }
    check_conservation();
    for (size_t i = 0; i < n_ports; i++) {
        port_destroy(&ports[i]);
    }
}

DMA_TEST_PLAN(one_txq, .n_ports = 1, .n_chans = 2, .n_without = 1,
              .n_others = 1, .size = 256, .large_percent = 50)
DMA_TEST_PLAN(several_txqs, .n_ports = 3, .n_chans = 3, .n_others = 1,
              .size = 128, .large_percent = 70)
DMA_TEST_PLAN(without_channels, .n_ports = 2, .n_without = 3, .n_others = 1,
              .size = 256)
DMA_TEST_PLAN(vring_full, .n_ports = 2, .n_chans = 2, .n_without = 1,
              .n_others = 1, .size = 16, .large_percent = 50,
              .slow_guest = true)
DMA_TEST_PLAN(messages, .n_ports = 2, .n_chans = 2, .n_without = 1,
              .n_others = 1, .size = 64, .large_percent = 50, .messages = true)
DMA_TEST_PLAN(reloads, .n_ports = 2, .n_chans = 2, .n_without = 2, .size = 256,
              .large_percent = 50, .reloads = true)
DMA_TEST_PLAN(failures, .n_ports = 2, .n_chans = 3, .n_others = 1, .size = 128,
              .large_percent = 70, .messages = true, .copies_fail = true,
              .engine_fails = true)
DMA_TEST_PLAN(lone_packets, .n_ports = 1, .n_chans = 2, .n_without = 1,
              .n_others = 1, .size = 256, .large_percent = 60, .lone = true)

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(one_txq),
    DMA_TEST_CASE(several_txqs),
    DMA_TEST_CASE(without_channels),
    DMA_TEST_CASE(vring_full),
    DMA_TEST_CASE(messages),
    DMA_TEST_CASE(reloads),
    DMA_TEST_CASE(failures),
    DMA_TEST_CASE(lone_packets),
};

static void
test_vhost_engine_main(int argc, char *argv[])
{
    printf("engine %s\n", VHOST_ASYNC_ENGINE);
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-engine", test_vhost_engine_main);
