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

/* The completion engine that was built, in several threads.
 *
 *     ovstest test-vhost-engine check [--ms=N] [--seed=N] [CASE...]
 *
 * has threads of all kinds send to a few txqs while others come and go, the
 * guest stalls or leaves, and memory of it is about to change, each case for N
 * milliseconds.  Then all packets must be accounted for: each arrived once, in
 * the order of its sender, or was dropped for a reason that was counted.
 *
 *     ovstest test-vhost-engine benchmark N_PACKETS N_THREADS [...]
 *
 * measures what a packet costs when threads share a txq, and when not.
 *
 * test-vhost-async.c has the same code do exactly what a case says, in one
 * thread; here chance has its way. */

#undef NDEBUG
#include <config.h>

/* As for the sources that are tested. */
#ifndef ALLOW_EXPERIMENTAL_API
#define ALLOW_EXPERIMENTAL_API
#endif

#include "fake-vhost-mt.h"

#include <getopt.h>

#include "command-line.h"
#include "dma-test.h"
#include "netdev-dpdk-async.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "timeval.h"
#include "util.h"

/* The sources that are tested, with one log module each. */
#define this_module mt_vhost_async_txq_module
#include "vhost-async-txq.c"
#undef this_module
#define this_module mt_vhost_async_engine_module
#include VHOST_ASYNC_ENGINE_SOURCE
#undef this_module
#include "vhost-async-copy.c"
#include "vhost-async-work.c"

#define MAX_BURST 32
#define MAX_TXQS FAKE_MAX_VRINGS
#define MAX_SENDERS 16
#define MAX_SIZE 1500
#define THRESHOLD 1000

/* Packets of a sender: more than can be on their way at once. */
#define POOL_SIZE 8192

/* The port. */

static struct {
    struct netdev_dpdk_async async;
    ovsrcu_index vid;
    struct vhost_async_txq *txqs[MAX_TXQS];
    struct fake_lock tx_locks[MAX_TXQS];    /* Those of netdev-dpdk. */
    unsigned int tx_retries;                /* tx-retries-max. */
    size_t n_txqs;
} port;

uint32_t
netdev_dpdk_async_threshold(void)
{
    return THRESHOLD;
}

unsigned int
netdev_dpdk_async_tx_retries(const struct netdev_dpdk_async *async OVS_UNUSED)
{
    return port.tx_retries;
}

void
netdev_dpdk_async_txq_stuck(struct vhost_async_txq *txq)
{
    ovs_fatal(0, "txq %"PRIu16" is stuck", txq->qid);
}

/* What a thread does by and by. */
enum phase {
    PHASE_SEND,
    PHASE_SETTLE,               /* As before, but without any packet. */
    PHASE_END,
};

static atomic_int phase;

static enum phase
phase_get(void)
{
    int value;

    atomic_read_explicit(&phase, &value, memory_order_acquire);
    return value;
}

static void
phase_set(enum phase value)
{
    atomic_store_explicit(&phase, value, memory_order_release);
}

/* Senders. */

/* Threads of one slot come one after the other, and number their packets on,
 * so that the guest can tell that those of one do not pass the last one's. */
struct sender {
    struct fake_thread *thread;
    pthread_t pthread;
    bool runs;

    bool is_pmd;                /* And not, say, the main thread. */
    struct dpdk_dma_chan *chan; /* NULL if it has none. */
    size_t rxq, rxq_step;       /* Polls that one, and so on; none if 0. */
    unsigned int max_burst;
    unsigned int small_percent; /* Packets below the threshold. */
    bool insists;               /* Does not wait if there is no room. */
    uint64_t bursts_left;       /* Until it leaves. */
    bool drains_early;          /* Instead of settling. */
    atomic_bool gone;

    struct vhost_async_thread *self;    /* NULL if it is no PMD thread. */
    struct fake_pkt *pool;
    size_t next;                        /* In 'pool'. */

    /* By txq. */
    uint64_t n_taken[MAX_TXQS];         /* By the port, ever. */
    uint64_t n_refused;

    /* For a benchmark. */
    uint64_t work;              /* TSC cycles per packet. */
    uint64_t n_left;            /* Packets. */
    uint64_t cycles;
    uint64_t cpu_ns;            /* That it had a core in this time. */
};

static struct sender senders[MAX_SENDERS];
static size_t n_senders;

static uint64_t
pkt_data(size_t sender, uint64_t seq)
{
    return (uint64_t) sender << 48 | seq;
}

static struct fake_pkt *
pkt_alloc(struct sender *s)
{
    for (;;) {
        struct fake_pkt *pkt = &s->pool[s->next++ % POOL_SIZE];

        if (OVS_LIKELY(fake_pkt_is_free(pkt))) {
            fake_pkt_change(pkt, FAKE_PKT_FREE, FAKE_PKT_USED);
            return pkt;
        }
    }
}

/* As netdev_dpdk_vhost_send() does.  Returns the number of packets that were
 * taken; the others are at the end of 'mbufs'. */
static unsigned int
sender_enqueue(struct sender *s, int vid, size_t qid, struct rte_mbuf **mbufs,
               unsigned int cnt)
{
    unsigned int n_left = cnt;
    unsigned int retries = 0;

    if (VHOST_ASYNC_TX_LOCK) {
        fake_lock(&port.tx_locks[qid]);
    }
    do {
        uint16_t n = vhost_async_engine_send(s->self, port.txqs[qid], vid,
                                             mbufs, n_left);

        if (!n) {
            break;
        }
        mbufs += n;
        n_left -= n;
    } while (n_left && retries++ < port.tx_retries);
    if (VHOST_ASYNC_TX_LOCK) {
        fake_unlock(&port.tx_locks[qid]);
    }
    return cnt - n_left;
}

/* Returns true if all were taken. */
static bool
sender_send(struct sender *s, int vid, size_t qid, unsigned int cnt)
{
    struct rte_mbuf *mbufs[MAX_BURST];
    unsigned int n;

    for (unsigned int i = 0; i < cnt; i++) {
        struct fake_pkt *pkt = pkt_alloc(s);

        pkt->data = pkt_data(s - senders, s->n_taken[qid] + i);
        pkt->mbuf.pkt_len = (fake_random(100) < s->small_percent
                             ? THRESHOLD - 1 : MAX_SIZE);
        mbufs[i] = &pkt->mbuf;
    }
    n = sender_enqueue(s, vid, qid, mbufs, cnt);
    for (unsigned int i = 0; i < cnt; i++) {
        /* Only what was taken can be somebody else's. */
        ovs_assert(mbufs[i] || i < n);
        fake_pktmbuf_free(mbufs[i]);
    }
    s->n_taken[qid] += n;
    s->n_refused += cnt - n;
    return n == cnt;
}

/* What a PMD thread does in an iteration, apart from sending; as dpif-netdev.c
 * and netdev_dpdk_vhost_rxq_recv() have it. */
static void
sender_iterate(struct sender *s, int vid)
{
    if (VHOST_ASYNC_RX_POLL && s->rxq_step && vid >= 0) {
        for (size_t qid = s->rxq; qid < port.n_txqs; qid += s->rxq_step) {
            fake_lock(&port.tx_locks[qid]);
            if (vhost_async_txq_is_registered(port.txqs[qid])) {
                vhost_async_engine_rx(s->self, port.txqs[qid], vid);
            }
            fake_unlock(&port.tx_locks[qid]);
        }
    }
    if (s->self && vhost_async_engine_is_busy(s->self)) {
        vhost_async_engine_reap(s->self);
    }
    fake_quiesce();
}

static void
sender_begin(struct sender *s)
{
    fake_thread_begin(s->thread, s->thread->random);
    if (s->is_pmd) {
        s->self = xzalloc_cacheline(sizeof *s->self);
        vhost_async_work_thread_init(s->self);
        s->self->chan = s->chan;
    }
}

static void
sender_end(struct sender *s)
{
    if (s->self) {
        vhost_async_engine_drain(s->self);
        ovs_assert(!vhost_async_engine_is_busy(s->self));
        free_cacheline(s->self);
        s->self = NULL;
    }
    fake_thread_end();
}

static void *
sender_main(void *s_)
{
    struct sender *s = s_;

    sender_begin(s);
    for (; phase_get() == PHASE_SEND && s->bursts_left; s->bursts_left--) {
        int vid = ovsrcu_index_get(&port.vid);

        if (vid >= 0 && !sender_send(s, vid, fake_random(port.n_txqs),
                                     1 + fake_random(s->max_burst))
            && !s->insists) {
            /* So that not all find all full all the time. */
            usleep(fake_random(50));
        }
        sender_iterate(s, vid);
        fake_disturb(64);
    }
    while (s->bursts_left && !s->drains_early && phase_get() != PHASE_END) {
        sender_iterate(s, ovsrcu_index_get(&port.vid));
        /* There is nothing to do as a rule, and cores are few. */
        sched_yield();
    }
    sender_end(s);
    atomic_store_explicit(&s->gone, true, memory_order_release);
    return NULL;
}

static void
sender_start(struct sender *s, void *(*function)(void *))
{
    s->thread = &fake.threads[s - senders];
    s->thread->random = random_uint32();
    if (!s->pool) {
        s->pool = xzalloc_cacheline(POOL_SIZE * sizeof *s->pool);
    }
    atomic_store_relaxed(&s->gone, false);
    s->runs = true;
    s->pthread = ovs_thread_create("sender", function, s);
}

static void
sender_join(struct sender *s)
{
    xpthread_join(s->pthread, NULL);
    s->runs = false;
}

/* The guest. */

static struct {
    struct ovs_mutex mutex;
    uint64_t next[MAX_TXQS][MAX_SENDERS];   /* Numbers seen, plus 1. */
    uint32_t seen[MAX_TXQS];                /* Of what is used. */
    uint64_t n_arrived;
    atomic_bool stop;
    unsigned int stall_us;      /* Longest time that it does nothing. */
    pthread_t pthread;
} guest;

/* Takes what is there of txq 'qid'.  Returns the number of packets. */
static unsigned int
guest_take(int vid, size_t qid)
    OVS_REQUIRES(guest.mutex)
{
    struct fake_vring *v = &fake.vrings[vid][qid];
    unsigned int n = 0;
    uint32_t used;

    atomic_read_explicit(&v->used, &used, memory_order_acquire);
    for (; guest.seen[qid] != used; guest.seen[qid]++, n++) {
        uint64_t data = v->data[guest.seen[qid] % v->size];
        uint64_t seq = data & ((UINT64_C(1) << 48) - 1);
        size_t sender = data >> 48;

        ovs_assert(sender < n_senders);
        /* In order; those that are missed must be counted as drops. */
        ovs_assert(seq >= guest.next[qid][sender]);
        guest.next[qid][sender] = seq + 1;
    }
    atomic_store_explicit(&v->returned, used, memory_order_release);
    guest.n_arrived += n;
    return n;
}

static unsigned int
guest_take_all(int vid)
    OVS_REQUIRES(guest.mutex)
{
    unsigned int n = 0;

    for (size_t i = 0; i < port.n_txqs; i++) {
        n += guest_take(vid, i);
    }
    return n;
}

static void *
guest_main(void *thread_)
{
    struct fake_thread *thread = thread_;
    bool stop = false;

    fake_thread_begin(thread, thread->random);
    while (!stop) {
        unsigned int n = 0;
        int vid;

        ovs_mutex_lock(&guest.mutex);
        vid = ovsrcu_index_get(&port.vid);
        if (vid >= 0) {
            n = guest_take_all(vid);
        }
        ovs_mutex_unlock(&guest.mutex);

        fake_quiesce();
        if (guest.stall_us && !fake_random(32)) {
            usleep(fake_random(guest.stall_us));
        } else if (!n) {
            usleep(10);
        }
        atomic_read_relaxed(&guest.stop, &stop);
    }
    fake_thread_end();
    return NULL;
}

/* Devices, as netdev_dpdk_async_new_device() and _destroy_device(). */

static void
guest_connect(int vid, uint16_t size)
{
    ovs_mutex_lock(&guest.mutex);
    for (size_t i = 0; i < port.n_txqs; i++) {
        fake_vring_begin(&fake.vrings[vid][i], size);
        guest.seen[i] = 0;
    }
    ovsrcu_index_set(&port.vid, vid);
    ovs_mutex_unlock(&guest.mutex);

    /* Senders may be there before. */
    usleep(fake_random(1000));
    for (size_t i = 0; i < port.n_txqs; i++) {
        ovs_assert(vhost_async_txq_register(port.txqs[i], vid));
    }
}

static void
guest_leave(void)
{
    int vid = ovsrcu_index_get(&port.vid);

    ovs_mutex_lock(&guest.mutex);
    ovsrcu_index_set(&port.vid, -1);
    ovs_mutex_unlock(&guest.mutex);
    fake_synchronize();

    for (size_t i = 0; i < port.n_txqs; i++) {
        struct vhost_async_txq *txq = port.txqs[i];

        ovs_assert(vhost_async_txq_drain(txq, vid,
                                         DPDK_DMA_DEV_TIMEOUT_MS * 1000));
        vhost_async_engine_txq_stop(txq);
        ovs_assert(!vhost_async_txq_in_flight(txq));
        ovs_assert(!vhost_async_engine_txq_waiting(txq));
        ovs_assert(!vhost_async_engine_txq_memory(txq));
        vhost_async_txq_unregister(txq, vid);
        ovs_assert(!vhost_async_txq_is_registered(txq));
    }
    ovs_mutex_lock(&guest.mutex);
    guest_take_all(vid);
    for (size_t i = 0; i < port.n_txqs; i++) {
        fake_vring_end(&fake.vrings[vid][i]);
    }
    ovs_mutex_unlock(&guest.mutex);
    ovs_assert(!fake.n_allocated);
}

/* The guest's memory is about to change: as the library does for a message of
 * the guest, all virtqueues are locked and nothing may be in flight. */
static void
guest_change_memory(void)
{
    int vid = ovsrcu_index_get(&port.vid);

    for (size_t i = 0; i < port.n_txqs; i++) {
        fake_lock(&fake.vrings[vid][i].lock);
    }
    for (size_t i = 0; i < port.n_txqs; i++) {
        struct fake_vring *v = &fake.vrings[vid][i];

        ovs_assert(vhost_async_txq_drain_locked(
            port.txqs[i], vid, DPDK_DMA_DEV_TIMEOUT_MS * 1000));
        ovs_assert(v->head == fake_vring_used(v));
    }
    for (size_t i = 0; i < port.n_txqs; i++) {
        fake_unlock(&fake.vrings[vid][i].lock);
    }
}

/* Cases. */

static unsigned int case_ms = 1500;

struct plan {
    size_t n_txqs;
    uint16_t size;              /* Of virtqueues. */

    /* Senders of each kind. */
    size_t n_with_chan, n_without, n_others;
    unsigned int max_burst, small_percent, retries;
    uint64_t life;              /* In bursts, 0 for ever. */
    bool insist, drains_early;

    unsigned int copy_us;       /* Longest time that a copy takes. */
    unsigned int stall_us;      /* That the guest does nothing. */
    unsigned int leave_ms;      /* It leaves as often, if not 0. */
    unsigned int change_ms;     /* Its memory changes, likewise. */
};

static void
plan_begin(const struct plan *plan)
{
    fake.disturb = true;
    fake.min_delay = 0;
    fake.max_delay = fake_hz() / 1000000 * plan->copy_us;

    for (size_t i = 0; i < plan->n_with_chan; i++) {
        senders[n_senders++] = (struct sender) {
            .is_pmd = true, .chan = fake_chan_create(), .rxq_step = !i,
        };
    }
    for (size_t i = 0; i < plan->n_without; i++) {
        senders[n_senders++] = (struct sender) { .is_pmd = true };
    }
    n_senders += plan->n_others;

    ovsrcu_index_init(&port.vid, -1);
    port.async.vid = &port.vid;
    port.tx_retries = plan->retries;
    port.n_txqs = plan->n_txqs;
    for (size_t i = 0; i < port.n_txqs; i++) {
        port.txqs[i] = vhost_async_txq_create(i, &port.async);
    }
    ovs_mutex_init(&guest.mutex);
    guest.stall_us = plan->stall_us;
    phase_set(PHASE_SEND);
}

static void
plan_start_sender(const struct plan *plan, struct sender *s)
{
    s->max_burst = plan->max_burst;
    s->small_percent = plan->small_percent;
    s->insists = plan->insist;
    s->bursts_left = (plan->life ? 1 + random_range(2 * plan->life)
                      : UINT64_MAX);
    s->drains_early = plan->drains_early;
    sender_start(s, sender_main);
}

static void
plan_start_guest(void)
{
    struct fake_thread *thread = &fake.threads[FAKE_MAX_THREADS - 1];

    thread->random = random_uint32();
    guest.pthread = ovs_thread_create("guest", guest_main, thread);
}

/* New threads take the places of those that left, and perhaps the channels of
 * others of these. */
static void
plan_replace_senders(const struct plan *plan)
{
    for (size_t i = 0; i < n_senders; i++) {
        struct sender *s = &senders[i];
        bool gone;

        atomic_read_explicit(&s->gone, &gone, memory_order_acquire);
        if (gone) {
            sender_join(s);
        }
        for (size_t j = 0; j < i && !s->runs && s->is_pmd; j++) {
            struct sender *t = &senders[j];

            if (!t->runs && t->is_pmd && random_range(2)) {
                struct dpdk_dma_chan *chan = s->chan;

                s->chan = t->chan;
                t->chan = chan;
            }
        }
    }
    for (size_t i = 0; i < n_senders; i++) {
        if (!senders[i].runs) {
            plan_start_sender(plan, &senders[i]);
        }
    }
}

/* Packets: sent, and given up by the engine, in rings and in flight. */
static uint64_t
plan_n_taken(void)
{
    uint64_t n = 0;

    for (size_t i = 0; i < n_senders; i++) {
        for (size_t j = 0; j < port.n_txqs; j++) {
            n += senders[i].n_taken[j];
        }
    }
    return n;
}

#define PORT_COUNTER(NAME) \
    port_counter(offsetof(struct vhost_async_txq_stats, NAME))

static uint64_t
port_counter(size_t offset)
{
    uint64_t n = 0;

    for (size_t i = 0; i < port.n_txqs; i++) {
        const char *stats = (const char *) &port.txqs[i]->stats;

        n += vhost_async_counter(ALIGNED_CAST(const atomic_uint64_t *,
                                              stats + offset));
    }
    return n;
}

static uint64_t
plan_n_lost(void)
{
    return PORT_COUNTER(lost_drops) + PORT_COUNTER(ring_lost_drops);
}

static uint64_t
plan_n_arrived(void)
{
    uint64_t n;

    ovs_mutex_lock(&guest.mutex);
    n = guest.n_arrived;
    ovs_mutex_unlock(&guest.mutex);
    return n;
}

/* Waits until all packets arrived or were given up, though nobody sends any
 * more: whoever is to see to a packet must do so by itself. */
static void
plan_settle(uint64_t n_taken)
{
    long long int deadline = time_msec() + 10000;

    while (plan_n_arrived() + plan_n_lost() != n_taken) {
        if (time_msec() > deadline) {
            for (size_t i = 0; i < port.n_txqs; i++) {
                printf("txq %"PRIuSIZE": %"PRIu32" waiting, %"PRIu32" in "
                       "flight\n", i,
                       vhost_async_engine_txq_waiting(port.txqs[i]),
                       vhost_async_txq_in_flight(port.txqs[i]));
            }
            ovs_fatal(0, "%"PRIu64" packets were taken, of which %"PRIu64
                      " arrived and %"PRIu64" were given up; nobody sees to "
                      "the others", n_taken, plan_n_arrived(), plan_n_lost());
        }
        usleep(100);
    }
}

static void
plan_print(uint64_t n_refused)
{
    printf("  %"PRIu64" packets by DMA, %"PRIu64" by CPU, %"PRIu64" given up, "
           "%"PRIu64" refused\n", PORT_COUNTER(dma_packets),
           PORT_COUNTER(cpu_packets), plan_n_lost(), n_refused);
    printf(" ");
    for (unsigned int i = 0; i < fake.n_counters; i++) {
        uint64_t n = 0;

        for (size_t j = 0; j < FAKE_MAX_THREADS; j++) {
            n += fake.threads[j].counts[i];
        }
        if (n) {
            printf(" %s %"PRIu64, fake.counters[i] + strlen("vhost_async_"),
                   n);
        }
    }
    printf("\n");
}

/* All threads are gone, but for the guest. */
static void
plan_check(uint64_t n_taken)
{
    uint64_t n_refused = 0;

    for (size_t i = 0; i < port.n_txqs; i++) {
        ovs_assert(!vhost_async_engine_txq_waiting(port.txqs[i]));
        ovs_assert(!vhost_async_txq_in_flight(port.txqs[i]));
    }
    for (size_t i = 0; i < FAKE_MAX_CHANS; i++) {
        ovs_assert(!fake_chan_in_flight(&fake.chans[i]));
    }
    for (size_t i = 0; i < n_senders; i++) {
        n_refused += senders[i].n_refused;
        for (size_t j = 0; j < POOL_SIZE; j++) {
            ovs_assert(fake_pkt_is_free(&senders[i].pool[j]));
        }
    }
    ovs_assert(plan_n_arrived() + plan_n_lost() == n_taken);
    ovs_assert(PORT_COUNTER(dma_packets) + PORT_COUNTER(cpu_packets)
               == plan_n_arrived() + PORT_COUNTER(lost_drops));
    ovs_assert(PORT_COUNTER(busy_drops) + PORT_COUNTER(stuck_drops)
               + PORT_COUNTER(ring_full_drops) <= n_refused);
    ovs_assert(!PORT_COUNTER(stuck_drops) && !PORT_COUNTER(lost_drops));
    plan_print(n_refused);
}

static void
plan_end(uint64_t n_taken)
{
    phase_set(PHASE_END);
    for (size_t i = 0; i < n_senders; i++) {
        if (senders[i].runs) {
            sender_join(&senders[i]);
        }
    }
    plan_settle(n_taken);
    plan_check(n_taken);

    guest_leave();
    atomic_store_relaxed(&guest.stop, true);
    xpthread_join(guest.pthread, NULL);
    for (size_t i = 0; i < port.n_txqs; i++) {
        vhost_async_txq_destroy(port.txqs[i]);
    }
    for (size_t i = 0; i < n_senders; i++) {
        free_cacheline(senders[i].pool);
    }
    dpdk_dma_map_destroy(fake.map);
    ovs_mutex_destroy(&guest.mutex);
}

static bool
plan_is_due(unsigned int interval_ms, long long int *next)
{
    if (!interval_ms || time_msec() < *next) {
        return false;
    }
    *next = time_msec() + 1 + random_range(2 * interval_ms);
    return true;
}

static void
plan_run(const struct plan *plan)
{
    long long int end = time_msec() + case_ms;
    long long int leave = 0, change = 0;
    uint64_t n_taken;
    int vid = 0;

    plan_begin(plan);
    plan_start_guest();
    for (size_t i = 0; i < n_senders; i++) {
        plan_start_sender(plan, &senders[i]);
    }
    guest_connect(vid, plan->size);

    while (time_msec() < end) {
        usleep(200);
        plan_replace_senders(plan);
        if (plan_is_due(plan->change_ms, &change)) {
            guest_change_memory();
        }
        if (plan_is_due(plan->leave_ms, &leave)) {
            guest_leave();
            /* Senders go on with what they remember of the port. */
            usleep(random_range(2000));
            vid = (vid + 1) % FAKE_MAX_GUESTS;
            guest_connect(vid, plan->size);
        }
    }

    phase_set(PHASE_SETTLE);
    /* They do not send once they passed an iteration. */
    fake_synchronize();
    fake_synchronize();
    n_taken = plan_n_taken();
    if (!plan->drains_early) {
        plan_settle(n_taken);
    }
    plan_end(n_taken);
}

/* At least four senders to one txq, of which one at a time can be at the
 * virtqueue. */
static void
test_one_txq(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 1, .size = 256, .n_with_chan = 5, .max_burst = 32,
        .small_percent = 20, .retries = 8, .copy_us = 20,
    });
}

static void
test_several_txqs(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 3, .size = 256, .n_with_chan = 6, .max_burst = 32,
        .small_percent = 20, .retries = 8, .copy_us = 20,
    });
}

/* Threads without a channel, and some that are no PMD threads and so never
 * come back to what they left. */
static void
test_without_channels(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 2, .size = 256, .n_with_chan = 2, .n_without = 2,
        .n_others = 2, .max_burst = 8, .small_percent = 50, .retries = 8,
        .copy_us = 10,
    });
}

static void
test_join_and_leave(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 2, .size = 128, .n_with_chan = 3, .n_without = 2,
        .n_others = 1, .max_burst = 32, .small_percent = 20, .retries = 8,
        .life = 200, .copy_us = 20,
    });
}

/* All threads leave at once, with packets in rings and in flight. */
static void
test_leave_early(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 2, .size = 128, .n_with_chan = 4, .n_without = 1,
        .max_burst = 32, .retries = 8, .life = 50, .drains_early = true,
        .copy_us = 50, .stall_us = 500,
    });
}

static void
test_drain(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 2, .size = 256, .n_with_chan = 4, .n_without = 1,
        .n_others = 1, .max_burst = 32, .small_percent = 20, .retries = 8,
        .copy_us = 20, .change_ms = 2,
    });
}

/* A ring holds no more than the virtqueue, which is small and slow. */
static void
test_ring_full(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 1, .size = 64, .n_with_chan = 5, .max_burst = 32,
        .retries = 0, .insist = true, .copy_us = 50, .stall_us = 2000,
    });
}

/* The guest returns no descriptor for a while. */
static void
test_vring_full(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 2, .size = 256, .n_with_chan = 3, .n_without = 1,
        .n_others = 1, .max_burst = 16, .small_percent = 30, .retries = 4,
        .copy_us = 10, .stall_us = 20000,
    });
}

static void
test_guest_leaves(void)
{
    plan_run(&(struct plan) {
        .n_txqs = 2, .size = 128, .n_with_chan = 3, .n_without = 1,
        .n_others = 1, .max_burst = 32, .small_percent = 20, .retries = 8,
        .life = 2000, .copy_us = 30, .stall_us = 200, .leave_ms = 10,
    });
}

/* Rounds of a few packets, sent at the same time. */

static atomic_uint round_now;           /* Odd while a round goes on. */
static atomic_uint n_sent;              /* Threads that did in this one. */

static unsigned int
round_get(void)
{
    unsigned int n;

    atomic_read_explicit(&round_now, &n, memory_order_acquire);
    return n;
}

static void *
lone_main(void *s_)
{
    struct sender *s = s_;
    unsigned int last = 0, orig;

    sender_begin(s);
    while (phase_get() == PHASE_SEND) {
        unsigned int now = round_get();
        int vid = ovsrcu_index_get(&port.vid);

        if (now != last) {
            last = now;
            sender_send(s, vid, 0, 1 + fake_random(s->max_burst));
            atomic_add_explicit(&n_sent, 1, &orig, memory_order_acq_rel);
        }
        sender_iterate(s, vid);
        sched_yield();
    }
    sender_end(s);
    return NULL;
}

/* Each sender has one burst and is silent then.  All packets arrive before the
 * next ones are sent. */
static void
test_lone_packets(void)
{
    const struct plan plan = {
        .n_txqs = 1, .size = 256, .n_with_chan = 2, .n_without = 1,
        .n_others = 1, .max_burst = 2, .small_percent = 50, .retries = 8,
        .copy_us = 5,
    };
    long long int end = time_msec() + case_ms;

    plan_begin(&plan);
    plan_start_guest();
    guest_connect(0, plan.size);
    for (size_t i = 0; i < n_senders; i++) {
        senders[i].max_burst = plan.max_burst;
        senders[i].small_percent = plan.small_percent;
        sender_start(&senders[i], lone_main);
    }
    while (time_msec() < end) {
        unsigned int n = 0, orig;

        atomic_store_relaxed(&n_sent, 0);
        atomic_add_explicit(&round_now, 1, &orig, memory_order_acq_rel);
        while (n < n_senders) {
            sched_yield();
            atomic_read_explicit(&n_sent, &n, memory_order_acquire);
        }
        plan_settle(plan_n_taken());
    }
    plan_end(plan_n_taken());
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(one_txq),
    DMA_TEST_CASE(several_txqs),
    DMA_TEST_CASE(without_channels),
    DMA_TEST_CASE(join_and_leave),
    DMA_TEST_CASE(leave_early),
    DMA_TEST_CASE(drain),
    DMA_TEST_CASE(ring_full),
    DMA_TEST_CASE(vring_full),
    DMA_TEST_CASE(guest_leaves),
    DMA_TEST_CASE(lone_packets),
};

static void
run_check(struct ovs_cmdl_context *ctx)
{
    int first = 1;

    if (ctx->argc > 1 && !strncmp(ctx->argv[1], "--ms=", 5)) {
        case_ms = strtoul(ctx->argv[1] + 5, NULL, 10);
        first = 2;
    }
    ctx->argv[first - 1] = ctx->argv[0];
    printf("engine %s\n", VHOST_ASYNC_ENGINE);
    dma_test_main(cases, ARRAY_SIZE(cases), ctx->argc - first + 1,
                  ctx->argv + first - 1);
}

/* Benchmark. */

static struct ovs_barrier barrier;

/* Sends all that it has; what is refused is sent again, so that nothing is
 * lost, which would be cheap. */
static void
bench_send(struct sender *s, size_t qid)
{
    struct rte_mbuf *mbufs[MAX_BURST];
    unsigned int cnt = MIN(s->n_left, MAX_BURST);
    unsigned int n = 0;

    for (unsigned int i = 0; i < cnt; i++) {
        struct fake_pkt *pkt = pkt_alloc(s);

        pkt->mbuf.pkt_len = MAX_SIZE;
        mbufs[i] = &pkt->mbuf;
    }
    fake_spend(cnt * s->work);
    for (;;) {
        n += sender_enqueue(s, 0, qid, &mbufs[n], cnt - n);
        sender_iterate(s, 0);
        if (OVS_LIKELY(n == cnt)) {
            break;
        }
        s->n_refused += cnt - n;
    }
    s->n_taken[qid] += n;
    s->n_left -= n;
}

/* Pins thread 'i' to a core, as PMD threads are, if each can have one. */
static void
bench_pin(size_t i)
{
    cpu_set_t all, one;

    if (pthread_getaffinity_np(pthread_self(), sizeof all, &all)
        || CPU_COUNT(&all) < n_senders) {
        return;
    }
    CPU_ZERO(&one);
    for (size_t cpu = 0, n = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n++ == i) {
            CPU_SET(cpu, &one);
        }
    }
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

static uint64_t
bench_n_used(void)
{
    uint64_t n = 0;

    for (size_t i = 0; i < port.n_txqs; i++) {
        n += vhost_async_txq_completed(port.txqs[i]);
    }
    return n;
}

static uint64_t bench_n_pkts;

static uint64_t
thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void *
bench_main(void *s_)
{
    struct sender *s = s_;
    size_t i = s - senders;
    uint64_t start;

    bench_pin(i);
    sender_begin(s);
    ovs_barrier_block(&barrier);
    start = rte_rdtsc();
    s->cpu_ns = thread_cpu_ns();
    while (s->n_left) {
        bench_send(s, i % port.n_txqs);
    }
    s->cpu_ns = thread_cpu_ns() - s->cpu_ns;
    s->cycles = rte_rdtsc() - start;
    while (bench_n_used() < bench_n_pkts) {
        sender_iterate(s, 0);
    }
    ovs_barrier_block(&barrier);
    sender_end(s);
    return NULL;
}

/* Cycles per packet of each thread, packets per microsecond of all, how often
 * a packet was refused, and how much of a core the worst off thread had: what
 * others took of it is in the cycles, so that less than 98 % tells little. */
static void
bench_print(const char *what, uint64_t n_per_thread, uint64_t cycles)
{
    uint64_t n_refused = 0;
    double min_share = 1;
    double sum = 0;

    printf("%s:", what);
    for (size_t i = 0; i < n_senders; i++) {
        double per_pkt = (double) senders[i].cycles / n_per_thread;
        double share = senders[i].cpu_ns * (fake_hz() / 1e9)
                       / senders[i].cycles;

        sum += per_pkt;
        min_share = MIN(min_share, share);
        n_refused += senders[i].n_refused;
        printf(" %7.1f", per_pkt);
    }
    printf(" %7.1f %7.2f %7.2f %5.0f%%\n", sum / n_senders,
           bench_n_pkts * (fake_hz() / 1e6) / cycles,
           (double) n_refused / bench_n_pkts, min_share * 100);
}

static void
benchmark(const char *what, size_t n_txqs, uint64_t work)
{
    uint64_t n_per_thread = bench_n_pkts / n_senders;
    uint64_t start;

    ovsrcu_index_init(&port.vid, 0);
    port.async.vid = &port.vid;
    port.tx_retries = 8;
    port.n_txqs = n_txqs;
    for (size_t i = 0; i < n_txqs; i++) {
        fake_vring_begin(&fake.vrings[0][i], FAKE_MAX_SIZE);
        port.txqs[i] = vhost_async_txq_create(i, &port.async);
        ovs_assert(vhost_async_txq_register(port.txqs[i], 0));
    }
    ovs_barrier_init(&barrier, n_senders + 1);
    bench_n_pkts = n_per_thread * n_senders;
    for (size_t i = 0; i < n_senders; i++) {
        struct sender *s = &senders[i];

        s->is_pmd = true;
        s->chan = dpdk_dma_map_get(fake.map, i);
        s->rxq = i;
        s->rxq_step = n_senders;
        s->work = work;
        s->n_left = n_per_thread;
        s->n_refused = 0;
        sender_start(s, bench_main);
    }
    ovs_barrier_block(&barrier);
    start = rte_rdtsc();
    ovs_barrier_block(&barrier);
    start = rte_rdtsc() - start;
    for (size_t i = 0; i < n_senders; i++) {
        sender_join(&senders[i]);
    }
    bench_print(what, n_per_thread, start);

    ovs_barrier_destroy(&barrier);
    for (size_t i = 0; i < n_txqs; i++) {
        vhost_async_engine_txq_stop(port.txqs[i]);
        vhost_async_txq_unregister(port.txqs[i], 0);
        vhost_async_txq_destroy(port.txqs[i]);
        fake_vring_end(&fake.vrings[0][i]);
    }
}

static uint64_t
bench_arg(const struct ovs_cmdl_context *ctx, int i, uint64_t value)
{
    unsigned int n;

    if (i >= ctx->argc) {
        return value;
    }
    if (!str_to_uint(ctx->argv[i], 10, &n)) {
        ovs_fatal(0, "\"%s\" is not a number", ctx->argv[i]);
    }
    return n;
}

/* The defaults are what DPDK 22.11 and OVS 3.1 take for packets of 1518 bytes
 * by DMA, on an x86-64 CPU of 2.5 GHz: some 190 cycles in the vhost library,
 * which here are 1.5 times PACKET_CYCLES and BURST_CYCLES, two thirds of them
 * when they are submitted, and 150 for receiving and classifying them. */
static void
run_benchmark(struct ovs_cmdl_context *ctx)
{
    uint64_t n_threads = bench_arg(ctx, 2, 2);
    uint64_t work = bench_arg(ctx, 5, 150);
    uint64_t delay_ns = bench_arg(ctx, 6, 2000);

    bench_n_pkts = bench_arg(ctx, 1, 0);
    fake.burst_cost = bench_arg(ctx, 3, 200);
    fake.pkt_cost = bench_arg(ctx, 4, 120);
    if (!n_threads || n_threads > FAKE_MAX_CHANS
        || bench_n_pkts < n_threads) {
        ovs_fatal(0, "at least one packet for each of 1 to %d threads",
                  FAKE_MAX_CHANS);
    }
    vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_OFF);
    random_set_seed(1);
    fake.min_delay = fake.max_delay = fake_hz() / 1e9 * delay_ns;
    fake.guest_is_instant = true;
    n_senders = n_threads;
    for (size_t i = 0; i < n_senders; i++) {
        fake_chan_create();
    }

    printf("Engine %s: %"PRIu64" packets by %"PRIu64" threads, TSC at %.0f "
           "MHz.\n", VHOST_ASYNC_ENGINE, bench_n_pkts, n_threads,
           fake_hz() / 1e6);
    printf("Library: %"PRIu64" cycles per burst, %"PRIu64" per packet; other "
           "work: %"PRIu64"; copy: %"PRIu64" ns.\n", fake.burst_cost,
           fake.pkt_cost, work, delay_ns);
    printf(" cycles per packet\\thread:");
    for (size_t i = 0; i < n_senders; i++) {
        printf(" %7"PRIuSIZE, i + 1);
    }
    printf("     Avg    Mpps refused   CPU\n");

    benchmark("   all threads to one txq", 1, work);
    benchmark("each thread to its own txq", n_senders, work);
    for (size_t i = 0; i < n_senders; i++) {
        free_cacheline(senders[i].pool);
    }
}

static const struct ovs_cmdl_command commands[] = {
    {"check", "[--ms=N] [--seed=N] [case]...", 0, INT_MAX, run_check, OVS_RO},
    {"benchmark", "<packets> <threads> [<cycles per burst> [<per packet> "
     "[<other work> [<ns per copy>]]]]", 2, 6, run_benchmark, OVS_RO},
    {NULL, NULL, 0, 0, NULL, OVS_RO},
};

static void
test_vhost_engine_main(int argc, char *argv[])
{
    struct ovs_cmdl_context ctx = {
        .argc = argc - 1,
        .argv = argv + 1,
    };

    set_program_name(argv[0]);
    ovs_cmdl_run_command(&ctx, commands);
}

OVSTEST_REGISTER("test-vhost-engine", test_vhost_engine_main);
