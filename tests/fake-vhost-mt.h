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

#ifndef FAKE_VHOST_MT_H
#define FAKE_VHOST_MT_H 1

/* Stands in for the vhost library, DMA channels, mbufs and grace periods when
 * the sources of the data path run in several threads.  fake-vhost.h is for
 * one thread, and does what a test says; this one is for many, and real time
 * passes.  It keeps to the locks of the library:
 *
 *   - A submission, and a copy by CPU, waits for the lock of the virtqueue; a
 *     poll only tries it.
 *   - Each channel has a lock of its own, taken inside.
 *   - Copies of a channel complete in order, some time after they were
 *     submitted; packets of a virtqueue are released in its order.
 *
 * An assertion refuses what the real library leaves undefined: a copy by CPU
 * to a virtqueue with copies in flight, a call for one that is gone, and an
 * mbuf that is freed twice, or under an engine.
 *
 * To be included before the sources.  After DPDK 22.11: lib/vhost. */

/* ovstest has these functions already, in test-vhost-async.c. */
#define dpdk_dma_chan_completed mt_dpdk_dma_chan_completed
#define dpdk_dma_chan_in_flight mt_dpdk_dma_chan_in_flight
#define dpdk_dma_chan_reaped mt_dpdk_dma_chan_reaped
#define dpdk_dma_chan_submitted mt_dpdk_dma_chan_submitted
#define dpdk_dma_dev_map mt_dpdk_dma_dev_map
#define dpdk_dma_dev_poll_begin mt_dpdk_dma_dev_poll_begin
#define dpdk_dma_dev_poll_end mt_dpdk_dma_dev_poll_end
#define dpdk_dma_dev_failed_stopped mt_dpdk_dma_dev_failed_stopped
#define dpdk_dma_dev_quarantine mt_dpdk_dma_dev_quarantine
#define netdev_dpdk_async_threshold mt_netdev_dpdk_async_threshold
#define netdev_dpdk_async_tx_retries mt_netdev_dpdk_async_tx_retries
#define netdev_dpdk_async_txq_stuck mt_netdev_dpdk_async_txq_stuck
#define vhost_async_copy mt_vhost_async_copy
#define vhost_async_copy_or_count mt_vhost_async_copy_or_count
#define vhost_async_engine_drain mt_vhost_async_engine_drain
#define vhost_async_engine_reap mt_vhost_async_engine_reap
#define vhost_async_engine_rx mt_vhost_async_engine_rx
#define vhost_async_engine_send mt_vhost_async_engine_send
#define vhost_async_engine_txq_init mt_vhost_async_engine_txq_init
#define vhost_async_engine_txq_memory mt_vhost_async_engine_txq_memory
#define vhost_async_engine_txq_start mt_vhost_async_engine_txq_start
#define vhost_async_engine_txq_stop mt_vhost_async_engine_txq_stop
#define vhost_async_engine_txq_waiting mt_vhost_async_engine_txq_waiting
#define vhost_async_self_get mt_vhost_async_self_get
#define vhost_async_self_get_unsafe mt_vhost_async_self_get_unsafe
#define vhost_async_self_var mt_vhost_async_self_var
#define vhost_async_txq_abandon mt_vhost_async_txq_abandon
#define vhost_async_txq_create mt_vhost_async_txq_create
#define vhost_async_txq_destroy mt_vhost_async_txq_destroy
#define vhost_async_txq_drain mt_vhost_async_txq_drain
#define vhost_async_txq_drain_locked mt_vhost_async_txq_drain_locked
#define vhost_async_txq_drain_until mt_vhost_async_txq_drain_until
#define vhost_async_txq_has_left mt_vhost_async_txq_has_left
#define vhost_async_txq_memory mt_vhost_async_txq_memory
#define vhost_async_txq_poll mt_vhost_async_txq_poll
#define vhost_async_txq_quarantine mt_vhost_async_txq_quarantine
#define vhost_async_txq_register mt_vhost_async_txq_register
#define vhost_async_txq_submit mt_vhost_async_txq_submit
#define vhost_async_txq_unregister mt_vhost_async_txq_unregister
#define vhost_async_txq_unregister_locked mt_vhost_async_txq_unregister_locked
#define vhost_async_txq_waits_for mt_vhost_async_txq_waits_for
#define vhost_async_work_drain mt_vhost_async_work_drain
#define vhost_async_work_init mt_vhost_async_work_init
#define vhost_async_work_look mt_vhost_async_work_look
#define vhost_async_work_poll mt_vhost_async_work_poll
#define vhost_async_work_reap mt_vhost_async_work_reap
#define vhost_async_work_submit mt_vhost_async_work_submit
#define vhost_async_work_thread_init mt_vhost_async_work_thread_init

#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_ring.h>
#include <rte_vhost.h>
#include <rte_vhost_async.h>

#include "coverage.h"
#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "openvswitch/vlog.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "util.h"

#define FAKE_MAX_THREADS 32
#define FAKE_MAX_CHANS 8
#define FAKE_MAX_COUNTERS 16
#define FAKE_MAX_GUESTS 4       /* Ids of devices, used in turn. */
#define FAKE_MAX_VRINGS 16      /* Of a guest, all to receive from. */
#define FAKE_MAX_SIZE 1024      /* Of a virtqueue. */
#define FAKE_CHAN_SIZE 4096
#define FAKE_MAX_REAP 128       /* Copies per poll. */

enum fake_pkt_state {
    FAKE_PKT_FREE,
    FAKE_PKT_USED,              /* Somebody owns it. */
    FAKE_PKT_FLYING,            /* An engine reads it. */
};

struct fake_pkt {
    struct rte_mbuf mbuf;       /* First, so that one is the other. */
    uint64_t data;              /* What the guest gets to see. */
    atomic_int state;           /* enum fake_pkt_state. */
};

struct fake_lock {
    atomic_bool taken;
};

/* A packet on its way to the guest. */
struct fake_flight {
    struct fake_pkt *pkt;
    atomic_bool done;           /* The library knows that it is done. */
};

struct fake_vring {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct fake_lock lock;  /* The library's "access_lock". */
        bool live;              /* This, and the following, under 'lock'. */
        bool async;
        uint16_t size;
        uint32_t head;          /* Descriptors taken: [used, head) are. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        atomic_uint32_t used;   /* Handed to the guest. */
    );
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        atomic_uint32_t returned;   /* By the guest, for use again. */
    );
    struct fake_flight flights[FAKE_MAX_SIZE];
    uint64_t data[FAKE_MAX_SIZE];   /* Memory of the guest. */
};

struct fake_copy {
    struct fake_flight *flight;
    uint64_t *dst;
    uint64_t ready;             /* When it is finished. */
};

struct fake_chan {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        struct fake_lock lock;
        atomic_uint32_t head;   /* Copies: [tail, head) are not reaped. */
        atomic_uint32_t tail;
        uint64_t last_ready;
    );
    struct fake_copy copies[FAKE_CHAN_SIZE];
};

/* A thread that takes part. */
struct fake_thread {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
        atomic_uint64_t seen;   /* Grace period. */
        uint64_t random;        /* State of the generator. */
        uint64_t counts[FAKE_MAX_COUNTERS]; /* Of COVERAGE_INC(). */
        atomic_bool online;
    );
};

static struct {
    bool disturb;               /* Threads let others run now and then. */
    bool guest_is_instant;      /* Returns descriptors at once. */
    uint64_t min_delay, max_delay;  /* TSC cycles that a copy takes. */
    uint64_t burst_cost, pkt_cost;  /* TSC cycles in the library. */
    unsigned int n_allocated;   /* Pieces of DPDK's memory. */

    uint64_t hz;
    atomic_uint64_t generation; /* Of grace periods. */
    struct fake_thread threads[FAKE_MAX_THREADS];
    struct fake_chan chans[FAKE_MAX_CHANS];
    struct fake_vring vrings[FAKE_MAX_GUESTS][FAKE_MAX_VRINGS];
    const char *counters[FAKE_MAX_COUNTERS];
    unsigned int n_counters;
    struct dpdk_dma_map *map;
} fake;

/* NULL for a thread that takes no part, such as the one that runs the test. */
DEFINE_STATIC_PER_THREAD_DATA(struct fake_thread *, fake_self, NULL);

/* Threads. */

static uint32_t
fake_random_from(uint64_t *state)
{
    /* xorshift64*. */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * UINT64_C(2685821657736338717)) >> 32;
}

static uint32_t
fake_random(uint32_t n)
{
    static uint64_t others = 88172645463325252;
    struct fake_thread *self = *fake_self_get();

    return fake_random_from(self ? &self->random : &others) % n;
}

/* Has the others run at some point of the code, now and then.  The threads
 * are more than the cores, so one that sleeps gives its core away. */
static void
fake_disturb(unsigned int one_in)
{
    if (fake.disturb && *fake_self_get() && !fake_random(one_in)) {
        if (fake_random(16)) {
            sched_yield();
        } else {
            usleep(fake_random(100));
        }
    }
}

static void
fake_thread_begin(struct fake_thread *self, uint64_t seed)
{
    uint64_t generation;

    self->random = seed | 1;
    atomic_read_explicit(&fake.generation, &generation, memory_order_acquire);
    atomic_store_explicit(&self->seen, generation, memory_order_release);
    atomic_store_explicit(&self->online, true, memory_order_seq_cst);
    *fake_self_get() = self;
}

/* The calling thread refers to nothing that is protected by RCU. */
static void
fake_quiesce(void)
{
    uint64_t generation;

    atomic_read_explicit(&fake.generation, &generation, memory_order_acquire);
    atomic_store_explicit(&(*fake_self_get())->seen, generation,
                          memory_order_release);
}

static void
fake_thread_end(void)
{
    atomic_store_explicit(&(*fake_self_get())->online, false,
                          memory_order_release);
}

/* Waits until all threads were quiescent once. */
static void
fake_synchronize(void)
{
    uint64_t generation;

    atomic_add_explicit(&fake.generation, 1, &generation,
                        memory_order_acq_rel);
    for (size_t i = 0; i < FAKE_MAX_THREADS; i++) {
        struct fake_thread *t = &fake.threads[i];

        for (;;) {
            uint64_t seen;
            bool online;

            atomic_read_explicit(&t->online, &online, memory_order_acquire);
            atomic_read_explicit(&t->seen, &seen, memory_order_acquire);
            if (!online || seen > generation) {
                break;
            }
            usleep(10);
        }
    }
}

static bool
fake_trylock(struct fake_lock *lock)
{
    bool taken;

    atomic_read_relaxed(&lock->taken, &taken);
    return !taken && atomic_compare_exchange_strong_explicit(
        &lock->taken, &taken, true, memory_order_acquire,
        memory_order_relaxed);
}

/* Spins like the locks of DPDK, but not for as long as it takes until who has
 * the lock gets its core back. */
static void
fake_lock(struct fake_lock *lock)
{
    for (unsigned int i = 1; !fake_trylock(lock); i++) {
        if (i % 100) {
            rte_pause();
        } else {
            sched_yield();
        }
    }
}

static void
fake_unlock(struct fake_lock *lock)
{
    atomic_store_explicit(&lock->taken, false, memory_order_release);
}

/* Time. */

static uint64_t
fake_hz(void)
{
    if (!fake.hz) {
        struct timespec start, now;
        uint64_t tsc = rte_rdtsc();
        uint64_t ns;

        clock_gettime(CLOCK_MONOTONIC, &start);
        do {
            clock_gettime(CLOCK_MONOTONIC, &now);
            ns = (now.tv_sec - start.tv_sec) * UINT64_C(1000000000)
                 + now.tv_nsec - start.tv_nsec;
        } while (ns < 20000000);
        fake.hz = (rte_rdtsc() - tsc) * 1e9 / ns;
    }
    return fake.hz;
}

/* Computes for that many cycles. */
static void
fake_spend(uint64_t cycles)
{
    uint64_t end = rte_rdtsc() + cycles;

    while (cycles && rte_rdtsc() < end) {
        continue;
    }
}

/* Packets. */

static struct fake_pkt *
fake_pkt_cast(struct rte_mbuf *mbuf)
{
    return CONTAINER_OF(mbuf, struct fake_pkt, mbuf);
}

/* Has 'pkt' go from one state to another, of which it is not in another. */
static void
fake_pkt_change(struct fake_pkt *pkt, int from, int to)
{
    int state = from;

    if (fake.disturb) {
        /* Two that do so at once are found out. */
        ovs_assert(atomic_compare_exchange_strong_explicit(
            &pkt->state, &state, to, memory_order_acq_rel,
            memory_order_acquire));
    } else {
        atomic_read_relaxed(&pkt->state, &state);
        ovs_assert(state == from);
        atomic_store_explicit(&pkt->state, to, memory_order_release);
    }
}

static bool
fake_pkt_is_free(struct fake_pkt *pkt)
{
    int state;

    atomic_read_explicit(&pkt->state, &state, memory_order_acquire);
    return state == FAKE_PKT_FREE;
}

static void
fake_pktmbuf_free(struct rte_mbuf *mbuf)
{
    if (mbuf) {
        /* Who owns an mbuf may write to it. */
        fake_pkt_cast(mbuf)->data = UINT64_MAX;
        fake_pkt_change(fake_pkt_cast(mbuf), FAKE_PKT_USED, FAKE_PKT_FREE);
    }
}

static void
fake_pktmbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        fake_pktmbuf_free(mbufs[i]);
    }
}

/* Channels. */

static struct dpdk_dma_chan *
fake_chan_create(void)
{
    struct dpdk_dma_chan *chan;
    size_t i;

    if (!fake.map) {
        fake.map = dpdk_dma_map_create();
    }
    i = dpdk_dma_map_count(fake.map);
    ovs_assert(i < FAKE_MAX_CHANS);
    chan = dpdk_dma_map_add(fake.map, "fake", i, 0, 0);
    atomic_store_relaxed(&chan->running, true);
    return chan;
}

/* Notes for up to 'n' copies of 'c' that they are finished.  The engine reads
 * and writes memory at the latest possible moment, for tools that know who
 * else does. */
static void
fake_chan_complete(struct fake_chan *c, unsigned int n)
{
    uint64_t now = rte_rdtsc();
    uint32_t head, tail;

    atomic_read_relaxed(&c->head, &head);
    atomic_read_relaxed(&c->tail, &tail);
    while (n-- && tail != head) {
        struct fake_copy *copy = &c->copies[tail % FAKE_CHAN_SIZE];

        if (copy->ready > now) {
            break;
        }
        *copy->dst = copy->flight->pkt->data;
        fake_pkt_change(copy->flight->pkt, FAKE_PKT_FLYING, FAKE_PKT_USED);
        atomic_store_explicit(&copy->flight->done, true, memory_order_release);
        tail++;
    }
    atomic_store_relaxed(&c->tail, tail);
}

static uint32_t
fake_chan_in_flight(struct fake_chan *c)
{
    uint32_t head, tail;

    atomic_read_relaxed(&c->tail, &tail);
    atomic_read_relaxed(&c->head, &head);
    return head - tail;
}

/* Guests. */

static struct fake_vring *
fake_vring(int vid, uint16_t vring)
{
    ovs_assert(vid >= 0 && vid < FAKE_MAX_GUESTS);
    ovs_assert(!(vring % 2) && vring / 2 < FAKE_MAX_VRINGS);
    return &fake.vrings[vid][vring / 2];
}

static uint32_t
fake_vring_used(struct fake_vring *v)
{
    uint32_t used;

    atomic_read_relaxed(&v->used, &used);
    return used;
}

/* Returns how many of 'cnt' packets there is room for. */
static unsigned int
fake_vring_fit(struct fake_vring *v, unsigned int cnt)
{
    unsigned int room;
    uint32_t returned;

    atomic_read_explicit(&v->returned, &returned, memory_order_acquire);
    room = v->size - (v->head - returned);
    return MIN(cnt, room);
}

static void
fake_vring_publish(struct fake_vring *v, uint32_t used)
{
    atomic_store_explicit(&v->used, used, memory_order_release);
    if (fake.guest_is_instant) {
        atomic_store_relaxed(&v->returned, used);
    }
}

/* A guest has set up 'v', a power of two in size. */
static void
fake_vring_begin(struct fake_vring *v, uint16_t size)
{
    ovs_assert(size <= FAKE_MAX_SIZE && !(size & (size - 1)));
    fake_lock(&v->lock);
    ovs_assert(!v->live);
    v->live = true;
    v->async = false;
    v->size = size;
    v->head = 0;
    atomic_store_relaxed(&v->used, 0);
    atomic_store_relaxed(&v->returned, 0);
    fake_unlock(&v->lock);
}

/* 'v' goes, and with it its memory and the library's flags. */
static void
fake_vring_end(struct fake_vring *v)
{
    fake_lock(&v->lock);
    ovs_assert(v->live && v->head == fake_vring_used(v));
    v->live = v->async = false;
    fake_unlock(&v->lock);
}

/* The vhost library. */

static uint16_t
fake_enqueue_burst(int vid, uint16_t vring, struct rte_mbuf **mbufs,
                   uint16_t cnt)
{
    struct fake_vring *v = fake_vring(vid, vring);
    uint16_t n;

    fake_lock(&v->lock);
    ovs_assert(v->live);
    /* It would write to the used ring out of turn. */
    ovs_assert(v->head == fake_vring_used(v));
    n = fake_vring_fit(v, cnt);
    for (uint16_t i = 0; i < n; i++) {
        struct fake_pkt *pkt = fake_pkt_cast(mbufs[i]);

        ovs_assert(!fake_pkt_is_free(pkt));
        v->data[v->head++ % v->size] = pkt->data;
    }
    fake_vring_publish(v, v->head);
    fake_spend(fake.burst_cost + n * fake.pkt_cost);
    fake_disturb(64);
    fake_unlock(&v->lock);
    fake_disturb(64);
    return n;
}

static uint16_t
fake_submit(int vid, uint16_t vring, struct rte_mbuf **mbufs, uint16_t cnt,
            int16_t dev_id, uint16_t vchan OVS_UNUSED)
{
    struct fake_vring *v = fake_vring(vid, vring);
    struct fake_chan *c = &fake.chans[dev_id];
    uint32_t head, room;
    uint64_t ready;
    uint16_t n;

    fake_disturb(64);
    fake_lock(&v->lock);
    ovs_assert(v->live && v->async);
    n = fake_vring_fit(v, cnt);

    fake_lock(&c->lock);
    room = FAKE_CHAN_SIZE - fake_chan_in_flight(c);
    n = MIN(n, room);
    atomic_read_relaxed(&c->head, &head);
    ready = rte_rdtsc() + fake.min_delay;
    if (fake.max_delay > fake.min_delay) {
        ready += fake_random(fake.max_delay - fake.min_delay);
    }
    c->last_ready = MAX(c->last_ready, ready);
    for (uint16_t i = 0; i < n; i++) {
        struct fake_flight *flight = &v->flights[v->head % v->size];
        struct fake_copy *copy = &c->copies[head++ % FAKE_CHAN_SIZE];

        flight->pkt = fake_pkt_cast(mbufs[i]);
        atomic_store_relaxed(&flight->done, false);
        fake_pkt_change(flight->pkt, FAKE_PKT_USED, FAKE_PKT_FLYING);
        copy->flight = flight;
        copy->dst = &v->data[v->head++ % v->size];
        copy->ready = c->last_ready;
    }
    atomic_store_relaxed(&c->head, head);
    fake_unlock(&c->lock);

    fake_spend(fake.burst_cost + n * fake.pkt_cost);
    fake_disturb(64);
    fake_unlock(&v->lock);
    fake_disturb(64);
    return n;
}

/* Takes what is finished from the head of 'v', whose lock is held. */
static uint16_t
fake_reap(struct fake_vring *v, struct fake_chan *c, struct rte_mbuf **mbufs,
          uint16_t cnt)
{
    uint32_t used = fake_vring_used(v);
    uint16_t n = 0;

    fake_lock(&c->lock);
    fake_chan_complete(c, FAKE_MAX_REAP);
    fake_unlock(&c->lock);
    while (n < cnt && used != v->head) {
        struct fake_flight *flight = &v->flights[used % v->size];
        bool done;

        atomic_read_explicit(&flight->done, &done, memory_order_acquire);
        if (!done) {
            break;
        }
        mbufs[n++] = &flight->pkt->mbuf;
        flight->pkt = NULL;
        used++;
    }
    fake_vring_publish(v, used);
    fake_spend((fake.burst_cost + n * fake.pkt_cost) / 2);
    return n;
}

static uint16_t
fake_poll(int vid, uint16_t vring, struct rte_mbuf **mbufs, uint16_t cnt,
          int16_t dev_id, uint16_t vchan OVS_UNUSED)
{
    struct fake_vring *v = fake_vring(vid, vring);
    uint16_t n = 0;

    if (!fake_trylock(&v->lock)) {
        return 0;
    }
    ovs_assert(v->live);
    if (v->async) {
        n = fake_reap(v, &fake.chans[dev_id], mbufs, cnt);
    }
    fake_disturb(256);
    fake_unlock(&v->lock);
    fake_disturb(256);
    return n;
}

static uint16_t
fake_clear_unsafe(int vid, uint16_t vring, struct rte_mbuf **mbufs,
                  uint16_t cnt, int16_t dev_id, uint16_t vchan OVS_UNUSED)
{
    return fake_reap(fake_vring(vid, vring), &fake.chans[dev_id], mbufs, cnt);
}

static int
fake_get_inflight_unsafe(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);

    return v->async ? v->head - fake_vring_used(v) : -1;
}

static int
fake_channel_register(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);

    fake_lock(&v->lock);
    ovs_assert(v->live && !v->async);
    v->async = true;
    fake_unlock(&v->lock);
    return 0;
}

static int
fake_channel_unregister_unsafe(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);

    if (v->head != fake_vring_used(v)) {
        return -1;
    }
    v->async = false;
    return 0;
}

static int
fake_channel_unregister(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);
    int err;

    if (!fake_trylock(&v->lock)) {
        return -1;
    }
    err = fake_channel_unregister_unsafe(vid, vring);
    fake_unlock(&v->lock);
    return err;
}

static int
fake_get_vring(int vid, uint16_t vring, struct rte_vhost_vring *info)
{
    static struct vring_desc desc;
    static struct vring_avail avail;
    static struct vring_used used;

    *info = (struct rte_vhost_vring) {
        .desc = &desc,
        .avail = &avail,
        .used = &used,
        .size = fake_vring(vid, vring)->size,
    };
    return 0;
}

/* Memory and rings of DPDK.  Not every engine wants some. */

static OVS_UNUSED void *
fake_zmalloc(const char *type OVS_UNUSED, size_t size, unsigned int align,
             int numa_id OVS_UNUSED)
{
    void *p = aligned_alloc(align, ROUND_UP(size, align));

    ovs_assert(p);
    memset(p, 0, size);
    fake.n_allocated++;
    return p;
}

static OVS_UNUSED void
fake_free(void *p)
{
    if (p) {
        ovs_assert(fake.n_allocated--);
    }
    free(p);
}

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#else
#define __tsan_acquire(P) ((void) (P))
#define __tsan_release(P) ((void) (P))
#endif

/* ThreadSanitizer is told that packets pass through a ring, because it cannot
 * see it: producers write 64 bits (RTS mode), of which the consumer reads 32,
 * and ThreadSanitizer takes these for two variables. */

static OVS_UNUSED unsigned int
fake_ring_enqueue_bulk(struct rte_ring *ring, void * const *p, unsigned int n,
                       unsigned int *room)
{
    unsigned int ret;

    fake_disturb(64);
    __tsan_release(ring);
    ret = rte_ring_enqueue_bulk(ring, p, n, room);
    fake_disturb(64);
    return ret;
}

static OVS_UNUSED unsigned int
fake_ring_dequeue_burst_start(struct rte_ring *ring, void **p, unsigned int n,
                              unsigned int *left)
{
    unsigned int ret = rte_ring_dequeue_burst_start(ring, p, n, left);

    __tsan_acquire(ring);
    fake_disturb(64);
    return ret;
}

/* Counters, each by thread, as those of coverage.h. */

static unsigned int
fake_counter_add(const char *name)
{
    ovs_assert(fake.n_counters < FAKE_MAX_COUNTERS);
    fake.counters[fake.n_counters] = name;
    return fake.n_counters++;
}

static void
fake_count(unsigned int counter)
{
    struct fake_thread *self = *fake_self_get();

    if (self) {
        self->counts[counter]++;
    }
}

/* dpdk-dma-dev.c. */

struct dpdk_dma_map *
dpdk_dma_dev_map(void)
{
    return fake.map;
}

void
dpdk_dma_dev_poll_begin(void)
{
}

void
dpdk_dma_dev_poll_end(void)
{
}

void
dpdk_dma_dev_quarantine(struct dpdk_dma_chan *chan, const char *why)
{
    ovs_fatal(0, "channel %u is quarantined: %s", chan->index, why);
}

uint16_t
dpdk_dma_chan_in_flight(const struct dpdk_dma_chan *chan)
{
    return fake_chan_in_flight(&fake.chans[chan->dev_id]);
}

/* No engine of this library fails. */
bool
dpdk_dma_dev_failed_stopped(void)
{
    return true;
}

uint64_t
dpdk_dma_chan_submitted(const struct dpdk_dma_chan *chan)
{
    uint32_t n;

    atomic_read_relaxed(&fake.chans[chan->dev_id].head, &n);
    return n;
}

uint64_t
dpdk_dma_chan_reaped(const struct dpdk_dma_chan *chan)
{
    uint32_t n;

    atomic_read_relaxed(&fake.chans[chan->dev_id].tail, &n);
    return n;
}

uint64_t
dpdk_dma_chan_completed(const struct dpdk_dma_chan *chan)
{
    return dpdk_dma_chan_reaped(chan);
}

/* Names that the sources use. */
#undef COVERAGE_DEFINE
#undef COVERAGE_INC
#undef VLOG_DEFINE_THIS_MODULE
#undef ovsrcu_postpone
#define COVERAGE_DEFINE(COUNTER)                                \
    static unsigned int fake_counter_##COUNTER;                 \
    OVS_CONSTRUCTOR(fake_counter_##COUNTER##_init) {            \
        fake_counter_##COUNTER = fake_counter_add(#COUNTER);    \
    }
#define COVERAGE_INC(COUNTER) fake_count(fake_counter_##COUNTER)
/* Mute, and not known by its name, which is taken. */
#define VLOG_DEFINE_THIS_MODULE(MODULE)                         \
    static struct vlog_module this_module = {                   \
        OVS_LIST_INITIALIZER(&this_module.list), #MODULE,       \
        { VLL_OFF, VLL_OFF, VLL_OFF }, VLL_OFF, true            \
    }
/* Nothing that this could be for is freed before the test ends. */
#define ovsrcu_postpone(FUNCTION, ARG) ((void) (FUNCTION), (void) (ARG))
#define ovsrcu_is_quiescent() false
#define ovsrcu_quiesce_start() ((void) 0)
#define rte_delay_us_sleep usleep
#define rte_free fake_free
#define rte_get_tsc_hz fake_hz
#define rte_pktmbuf_free fake_pktmbuf_free
#define rte_pktmbuf_free_bulk fake_pktmbuf_free_bulk
#define rte_ring_dequeue_burst_start fake_ring_dequeue_burst_start
#define rte_ring_enqueue_bulk fake_ring_enqueue_bulk
#define rte_vhost_async_channel_register fake_channel_register
#define rte_vhost_async_channel_unregister fake_channel_unregister
#define rte_vhost_async_channel_unregister_thread_unsafe \
    fake_channel_unregister_unsafe
#define rte_vhost_async_get_inflight_thread_unsafe fake_get_inflight_unsafe
#define rte_vhost_clear_queue_thread_unsafe fake_clear_unsafe
#define rte_vhost_enqueue_burst fake_enqueue_burst
#define rte_vhost_get_numa_node(VID) ((void) (VID), 0)
#define rte_vhost_get_vhost_vring fake_get_vring
#define rte_vhost_poll_enqueue_completed fake_poll
#define rte_vhost_submit_enqueue_burst fake_submit
#define rte_zmalloc_socket fake_zmalloc

#endif /* fake-vhost-mt.h */
