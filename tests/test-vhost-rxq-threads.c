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

/* Tests of an rxq whose ring is ours, in several threads.
 *
 *     ovstest test-vhost-rxq-threads [--ms=N] [--seed=N] [CASE...]
 *
 * has PMD threads poll an rxq in turns, each with a channel of its own, so
 * that one hands up what another had copied, while the guest sends, its
 * messages stop the ring and move its memory, engines take their time and
 * fail, and somebody looks at the counters, each case for N milliseconds.
 * Each packet must be handed up once, in order, byte by byte, however often
 * the ring stopped; all buffers must be the guest's and all mbufs free at the
 * end.
 *
 * test-vhost-rxq.c has the same code do exactly what a case says, in one
 * thread; here chance has its way. */

#undef NDEBUG
#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

static void disturb(void);

#define FAKE_REAL_TIME
#define DP(NAME) trx_##NAME
/* Others get a chance right before a lock is given up, and before a packet is
 * marked as done. */
#define DP_BEFORE_UNLOCK(VQ) disturb()
#define DP_DONE(VQ, SEQ) (disturb(), (vhost_async_vq_done)(VQ, SEQ))
#include "vhost-rxq-fixture.h"

#include "dma-test.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "timeval.h"
#include "util.h"

/* A case. */
struct plan {
    uint64_t layout;
    uint32_t size;              /* Of the ring. */
    uint32_t n_pieces;          /* Of a buffer. */
    size_t n_chans, n_without;  /* Pollers. */
    unsigned int large_percent; /* Packets that go by DMA. */
    bool costs;                 /* What copies cost decides who does them. */
    bool compete;               /* Pollers take no turns. */
    bool messages;              /* The guest sends some. */
    bool reboots;               /* It begins anew, with another size. */
    bool copies_fail;
    bool engine_fails;
    bool reloads;               /* Pollers wait for their copies before it is
                                 * another one's turn. */
};

static struct plan plan;

static struct port *port;

/* Of who handles a message of the guest: one thread at a time. */
static struct ovs_mutex control = OVS_MUTEX_INITIALIZER;

/* The packet of each slot that came last.  More slots than buffers: the guest
 * sends nothing more by way of a slot whose packet did not come, so that none
 * comes twice, nor is lost. */
#define N_SLOTS 512
static atomic_uint32_t slots[N_SLOTS];

static atomic_uint32_t n_sent;

static void
disturb(void)
{
    if (!random_range(16)) {
        sched_yield();
    }
}

/* The guest. */

static bool
guest_may_send(uint32_t seq)
{
    uint32_t last;

    atomic_read_relaxed(&slots[seq % N_SLOTS], &last);
    return last == seq - N_SLOTS
           && port->guest.n_offered - port->guest.n_used < port->guest.n_bufs;
}

static void
guest_send_stamped(uint32_t seq)
{
    static const struct virtio_net_hdr_mrg_rxbuf none;
    const struct stamp stamp = {
        .seq = seq, .len = stamp_len(plan.large_percent),
    };
    uint8_t data[MAX_LEN];

    stamp_put(data, &stamp);
    ovs_assert(guest_ring_send(&port->guest, &none, data, stamp.len));
}

/* The driver begins anew: all that it sent was taken. */
static void
guest_reboot(void)
{
    struct vhost_async_vq *vq = &port->rxq->vq;
    struct guest_ring *g = &port->guest;
    uint32_t size = g->size == plan.size ? plan.size / 2 : plan.size;

    ovs_mutex_lock(&control);
    vq_ring_stop(vq, 0);
    guest_ring_reset(g, size);
    vq_ring_restart(vq, g, guest_ring_base(g));
    ovs_mutex_unlock(&control);
}

static void *
guest_main(void *aux OVS_UNUSED)
{
    struct guest_ring *g = &port->guest;
    bool shuts_down = false;
    uint32_t seq = 0;

    while (dma_test_phase_get() == DMA_TEST_SEND) {
        guest_ring_reclaim(g);
        shuts_down |= plan.reboots && !random_range(64);
        if (shuts_down && g->n_used == g->n_offered) {
            guest_reboot();
            shuts_down = false;
        }
        for (int n = shuts_down ? 0 : random_range(48);
             n && guest_may_send(seq); n--) {
            guest_send_stamped(seq++);
        }
        sched_yield();
    }
    atomic_store_relaxed(&n_sent, seq);
    return NULL;
}

static void *
message_main(void *aux OVS_UNUSED)
{
    struct vhost_async_vq *vq = &port->rxq->vq;

    while (dma_test_phase_get() == DMA_TEST_SEND) {
        ovs_mutex_lock(&control);
        if (random_range(4)) {
            vq_ring_message(vq, &port->guest);
        } else {
            /* Its interrupt is another one. */
            vhost_async_vq_lock(vq);
            vhost_async_vq_set_callfd(vq, dup(port->fd));
            vhost_async_vq_notify(vq);
            vhost_async_vq_unlock(vq);
        }
        ovs_mutex_unlock(&control);
        usleep(random_range(500));
    }
    return NULL;
}

/* Engines, one in a thread, so that nothing but the rxq orders what they do
 * and what others see. */

static void *
engine_main(void *aux)
{
    int16_t id = (struct vhost_async_thread *) aux - pmds;

    while (dma_test_phase_get() != DMA_TEST_END) {
        if (plan.copies_fail && !random_range(20)) {
            fake_fail(id, 0, random_range(4));
        }
        fake_work(id, 0, random_range(8));
        sched_yield();
    }
    return NULL;
}

/* Who looks after engines that fail, be it that the machine is so busy that
 * they are found silent. */
static void *
helper_main(void *aux OVS_UNUSED)
{
    long long int fail = time_msec() + dma_test_ms / 2;

    while (dma_test_phase_get() != DMA_TEST_END) {
        if (plan.engine_fails && fail && time_msec() > fail) {
            dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0),
                                    "for a test");
            fail = 0;
        }
        rescue();
        usleep(100);
    }
    return NULL;
}

/* What others show of the rxq and the threads. */
static void *
reader_main(void *aux OVS_UNUSED)
{
    struct vhost_async_rxq *rxq = port->rxq;
    uint64_t n = 0;

    while (dma_test_phase_get() != DMA_TEST_END) {
        struct vhost_async_rx_totals t = { .in_flight = 0 };

        vhost_async_rxq_get_totals(rxq, random_range(2), &t);
        ovs_assert(!t.bad_drops && t.dma_packets + t.cpu_packets >= n);
        n = t.dma_packets + t.cpu_packets;
        ovs_assert(vhost_async_rxq_memory(rxq) > sizeof *rxq);
        if (vhost_async_vq_lock_unless_closed(&rxq->vq)) {
            int chan = vhost_async_vq_waits_for(&rxq->vq);

            ovs_assert(chan < (int) MAX(plan.n_chans, 1));
            ovs_assert(!rxq->vq.vring.broken);
            ovs_assert(vhost_async_vq_state(&rxq->vq)
                       != VHOST_ASYNC_VQ_LIBRARY);
            vhost_async_rxq_unlock(rxq);
        }
        for (size_t i = 0; i < plan.n_chans; i++) {
            struct dpdk_dma_limits limits;

            vhost_async_cost_get_limits(&pmds[i].sender.rx_cost,
                                        &pmds[i].claimed->cost, &limits);
            vhost_async_thread_latency(&pmds[i], 99);
            dpdk_dma_chan_in_flight(pmds[i].claimed);
            dpdk_dma_chan_errors(pmds[i].claimed);
        }
        usleep(random_range(100));
    }
    return NULL;
}

/* Pollers. */

struct poller {
    struct vhost_async_thread *self;
    pthread_t pthread;
    uint32_t next;              /* The least that may come. */
    uint64_t bytes;
    atomic_uint64_t n_got;
};

static struct poller pollers[MAX_PMDS];
static size_t n_pollers;

/* Whose turn it is, who alone has the next one. */
static atomic_uint32_t turn;
static uint32_t next_seq;

static bool
poller_has_turn(const struct poller *me)
{
    uint32_t i;

    atomic_read_explicit(&turn, &i, memory_order_acquire);
    return &pollers[i] == me;
}

static void
poller_check(struct poller *me, const struct rte_mbuf *mbuf)
{
    const struct stamp stamp
        = stamp_get(rte_pktmbuf_mtod(mbuf, const uint8_t *),
                       mbuf->pkt_len);
    uint32_t last = stamp.seq - N_SLOTS;

    ovs_assert(mbuf->nb_segs == 1 && mbuf->data_len == mbuf->pkt_len);
    if (plan.compete) {
        if (stamp.seq < me->next) {
            ovs_fatal(0, "packet %"PRIu32" came late", stamp.seq);
        }
        me->next = stamp.seq + 1;
    } else if (stamp.seq != next_seq++) {
        ovs_fatal(0, "packet %"PRIu32" came instead of %"PRIu32,
                  stamp.seq, next_seq - 1);
    }
    if (!atomic_compare_exchange_strong_explicit(
            &slots[stamp.seq % N_SLOTS], &last, stamp.seq,
            memory_order_relaxed, memory_order_relaxed)) {
        ovs_fatal(0, "packet %"PRIu32" came behind %"PRIu32, stamp.seq, last);
    }
    me->bytes += mbuf->pkt_len;
}

static void
poller_poll(struct poller *me)
{
    struct vhost_async_thread *self = me->self;
    struct rte_mbuf *mbufs[BURST];
    uint16_t n;

    n = vhost_async_rxq_recv(port->rxq, &self->sender, &port->mode, mbufs,
                             1 + random_range(BURST));
    vhost_async_thread_sent(self);
    for (uint16_t i = 0; i < n; i++) {
        poller_check(me, mbufs[i]);
        dp_rx_free(mbufs[i]);
    }
    vhost_async_count(&me->n_got, n);
}

static void
poller_hand_over(struct poller *me)
{
    if (plan.reloads) {
        vhost_async_thread_drain(me->self);
        ovs_assert(!vhost_async_thread_is_busy(me->self));
    }
    atomic_store_explicit(&turn, random_range(n_pollers),
                          memory_order_release);
}

static void *
poller_main(void *me_)
{
    struct poller *me = me_;

    while (dma_test_phase_get() != DMA_TEST_END) {
        if (plan.compete) {
            poller_poll(me);
        } else if (poller_has_turn(me)) {
            poller_poll(me);
            if (!random_range(8)) {
                poller_hand_over(me);
            }
        }
        end_iteration(me->self);
        if (vhost_async_thread_is_busy(me->self)) {
            vhost_async_thread_reap(me->self);
        }
        if (!random_range(8)) {
            sched_yield();
        }
    }
    return NULL;
}

/* Cases. */

static uint64_t
total_got(void)
{
    uint64_t n = 0;

    for (size_t i = 0; i < n_pollers; i++) {
        n += vhost_async_counter(&pollers[i].n_got);
    }
    return n;
}

/* Nobody sends any more: what is on its way must be handed up. */
static void
wait_for_all(void)
{
    long long int end = time_msec() + 5000;
    uint32_t n;

    atomic_read_relaxed(&n_sent, &n);
    while (total_got() != n) {
        if (time_msec() > end) {
            ovs_fatal(0, "%"PRIu64" of %"PRIu32" packets came, %"PRIu32
                      " are in flight", total_got(), n,
                      vhost_async_vq_in_flight(&port->rxq->vq));
        }
        usleep(1000);
    }
}

static void
run_plan(const struct plan *plan_)
{
    pthread_t others[8], guests[2];
    size_t n_others = 0, n_guests = 0;

    plan = *plan_;
    fake_hz();
    start_engines(FAKE_IDXD, plan.n_chans, FAKE_MAX_RING);
    if (plan.costs) {
        atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    }
    port = port_create_pieces(plan.layout, plan.size, plan.n_pieces, 2048);
    for (uint32_t i = 0; i < N_SLOTS; i++) {
        atomic_init(&slots[i], i - N_SLOTS);
    }
    n_pollers = plan.n_chans + plan.n_without;
    ovs_assert(n_pollers <= MAX_PMDS);
    for (size_t i = 0; i < n_pollers; i++) {
        pollers[i].self = &pmds[i];
        pollers[i].pthread = ovs_thread_create("poller", poller_main,
                                               &pollers[i]);
    }
    for (size_t i = 0; i < plan.n_chans; i++) {
        others[n_others++] = ovs_thread_create("engine", engine_main,
                                               &pmds[i]);
    }
    others[n_others++] = ovs_thread_create("helper", helper_main, NULL);
    others[n_others++] = ovs_thread_create("reader", reader_main, NULL);
    guests[n_guests++] = ovs_thread_create("guest", guest_main, NULL);
    if (plan.messages) {
        guests[n_guests++] = ovs_thread_create("message", message_main, NULL);
    }

    xnanosleep(dma_test_ms * 1000 * 1000);
    dma_test_phase_set(DMA_TEST_SETTLE);
    while (n_guests) {
        xpthread_join(guests[--n_guests], NULL);
    }
    wait_for_all();
    dma_test_phase_set(DMA_TEST_END);
    for (size_t i = 0; i < n_pollers; i++) {
        xpthread_join(pollers[i].pthread, NULL);
        port->bytes += pollers[i].bytes;
    }
    while (n_others) {
        xpthread_join(others[--n_others], NULL);
    }

    port->n_got = total_got();
    atomic_read_relaxed(&n_sent, &port->n_sent);
    ovs_assert(port->n_sent);
    ovs_assert(!plan.n_chans || !plan.large_percent || plan.costs
               || COUNTER(port, dma_packets));
    port_finish(port);
}

DMA_TEST_PLAN(turns, .layout = GUEST_SPLIT, .size = 256, .n_pieces = 1,
              .n_chans = 2, .large_percent = 60)
DMA_TEST_PLAN(turns_packed, .layout = GUEST_PACKED, .size = 64, .n_pieces = 2,
              .n_chans = 2, .n_without = 1, .large_percent = 60)
DMA_TEST_PLAN(costs, .layout = GUEST_SPLIT, .size = 256, .n_pieces = 1,
              .n_chans = 2, .large_percent = 60, .costs = true)
DMA_TEST_PLAN(compete, .layout = GUEST_PACKED, .size = 256, .n_pieces = 1,
              .n_chans = 2, .n_without = 1, .large_percent = 60,
              .compete = true)
DMA_TEST_PLAN(messages, .layout = GUEST_SPLIT, .size = 64, .n_pieces = 1,
              .n_chans = 2, .large_percent = 80, .messages = true)
DMA_TEST_PLAN(messages_packed, .layout = GUEST_PACKED, .size = 128,
              .n_pieces = 2, .n_chans = 2, .large_percent = 80,
              .messages = true, .compete = true)
DMA_TEST_PLAN(reboots, .layout = GUEST_SPLIT, .size = 128, .n_pieces = 1,
              .n_chans = 2, .large_percent = 60, .messages = true,
              .reboots = true)
DMA_TEST_PLAN(reloads, .layout = GUEST_PACKED, .size = 256, .n_pieces = 1,
              .n_chans = 2, .large_percent = 60, .messages = true,
              .reloads = true)
DMA_TEST_PLAN(failures, .layout = GUEST_SPLIT, .size = 256, .n_pieces = 1,
              .n_chans = 2, .large_percent = 80, .messages = true,
              .copies_fail = true, .engine_fails = true)

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(turns),
    DMA_TEST_CASE(turns_packed),
    DMA_TEST_CASE(costs),
    DMA_TEST_CASE(compete),
    DMA_TEST_CASE(messages),
    DMA_TEST_CASE(messages_packed),
    DMA_TEST_CASE(reboots),
    DMA_TEST_CASE(reloads),
    DMA_TEST_CASE(failures),
};

static void
test_vhost_rxq_threads_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-rxq-threads", test_vhost_rxq_threads_main);
