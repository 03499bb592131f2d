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

#ifndef FAKE_VHOST_H
#define FAKE_VHOST_H 1

/* Stands in for the vhost library, the guests behind it, the dmadevs, the
 * clock and the grace periods of RCU, as far as vhost async uses them.  A test
 * includes this file, then the sources that it tests, whose calls of DPDK end
 * up here: a copy is finished, time passes, a lock is taken and a guest leaves
 * when the test says so, and no sooner.
 *
 * What the real library leaves undefined, an assertion refuses: a CPU copy to
 * a ring with copies in flight, a call for a device that is gone, a copy or a
 * completion flag that outlives its ring, an mbuf that is freed twice or under
 * an engine, a lock that the caller holds already.
 *
 * After DPDK 22.11: lib/vhost/virtio_net.c, vhost.c and lib/dmadev. */

#include <errno.h>
#include <sched.h>

#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_vhost.h>
#include <rte_vhost_async.h>

#include "dpdk.h"
#include "netdev-provider.h"
#include "openvswitch/list.h"
#include "ovs-rcu.h"
#include "unixctl.h"
#include "util.h"
#include "vhost-async-message.h"

#define FAKE_MAX_DEVS 6
#define FAKE_MAX_VCHANS 40
#define FAKE_MAX_GUESTS 4
#define FAKE_MAX_VRINGS 8
#define FAKE_MAX_RING 1024
#define FAKE_MAX_PKTS 100000
#define FAKE_MAX_REAP 128       /* Copies per poll. */
#define FAKE_HZ UINT64_C(1000000000)

/* A packet, from its creation to the end of the test. */
struct fake_pkt {
    struct rte_mbuf mbuf;       /* First, so that one is the other. */
    unsigned int id;
    unsigned int sender;        /* For the test. */
    bool freed;
    struct fake_flight *flight; /* In flight, or NULL. */
};

/* A copy of a packet, as the library keeps track of it. */
struct fake_flight {
    struct fake_pkt *pkt;
    bool flag;                  /* The library knows that it is done. */
    const struct fake_vring *left;  /* Of a packet for it, not taken: 'pkt' is
                                     * NULL, the library knows nothing. */
};

/* Calls that a device does not carry out. */
enum fake_dma_call {
    FAKE_INFO = 1 << 0,
    FAKE_CONFIGURE = 1 << 1,
    FAKE_VCHAN_SETUP = 1 << 2,
    FAKE_START = 1 << 3,
    FAKE_STOP = 1 << 4,
    FAKE_TRACK = 1 << 5,        /* rte_vhost_async_dma_configure(). */
};

/* Copies by their order: [tail, done) are done and nobody knows yet,
 * [done, head) are in the works. */
struct fake_vchan {
    bool tracked;               /* rte_vhost_async_dma_configure(). */
    struct fake_flight *ring[FAKE_MAX_RING];
    unsigned int head, done, tail;
};

struct fake_dev {
    const char *name;           /* NULL for a gap in the ids. */
    int numa_id;
    uint64_t capa;
    uint16_t max_vchans, min_desc, max_desc;

    bool hung;                  /* Finishes nothing. */
    unsigned int us_per_copy;   /* Else as 'fake.rate' says. */
    bool counts_late;           /* As ioat: 'completed' when reaped. */
    bool counts_nothing;        /* Has no statistics. */
    uint16_t max_batch;         /* As idxd: more room is not shown. */
    unsigned int fails;         /* FAKE_*. */
    uint64_t errors;            /* Reported. */
    unsigned int refuses;       /* So many more times takes no packet. */
    unsigned int leaves;        /* Copies that the next time leaves. */
    bool started;
    uint16_t nb_vchans;
    uint16_t nb_desc;
    struct fake_vchan vchans[FAKE_MAX_VCHANS];
};

struct fake_vring {
    bool set_up;                /* By the guest. */
    unsigned int lacks;         /* Parts that are not mapped: 1, 2, 4. */
    bool async;                 /* rte_vhost_async_channel_register(). */
    unsigned int busy;          /* Times that its lock is not to be had. */
    uint16_t size;
    uint16_t room;              /* Descriptors that the guest offers. */
    uint16_t more_room;         /* Offered after the next copies by CPU. */

    /* In flight: [tail, head). */
    struct fake_flight *flights[FAKE_MAX_RING];
    unsigned int head, tail;

    /* What the guest got, in order. */
    struct fake_pkt **got;
    size_t n_got, allocated_got;
};

struct fake_guest {
    bool live;
    bool locked;                /* All vrings, by the library itself. */
    bool lazy;                  /* Returns no descriptor by itself. */
    bool negotiated;            /* It knows the library's features. */
    int n_vrings;
    struct fake_vring vrings[FAKE_MAX_VRINGS];
    const struct rte_vhost_user_extern_ops *ops;
};

struct fake_callback {
    void (*function)(void *);
    void *arg;
};

static struct {
    struct fake_dev devs[FAKE_MAX_DEVS];
    struct fake_guest guests[FAKE_MAX_GUESTS];  /* By vid. */
    int numa_id;                /* Of the guests. */
    enum rte_iova_mode iova_mode;

    uint64_t tsc;
    unsigned int preempted_us;  /* At each look at another clock. */
    unsigned int rate;          /* Copies per us that each vchan finishes. */

    void (*meanwhile)(void);    /* Called in the next copy, and forgotten. */
    unsigned int n_allocated;   /* Pieces of DPDK's memory. */
    bool no_memory;             /* There is none left. */
    bool no_dpdk;               /* It is not initialized. */
    bool no_callbacks;          /* Messages cannot be watched. */
    unsigned int n_no_clear;    /* Calls to clear a queue that fail. */

    bool quiescent;             /* The running thread is. */
    bool others_busy;           /* Some other thread never is. */
    struct fake_callback postponed[64];
    size_t n_postponed;

    struct fake_pkt **pkts;
    size_t n_pkts, n_freed;
    unsigned int n_polls;
    unsigned int max_reap;      /* Packets that a poll notes, if not 0. */
} fake;

/* Packets. */

static struct fake_pkt *
fake_pkt_create(uint32_t size)
{
    struct fake_pkt *pkt = xzalloc_cacheline(sizeof *pkt);

    ovs_assert(fake.n_pkts < FAKE_MAX_PKTS);
    if (!fake.pkts) {
        fake.pkts = xcalloc(FAKE_MAX_PKTS, sizeof *fake.pkts);
    }
    pkt->id = fake.n_pkts;
    pkt->mbuf.pkt_len = size;
    fake.pkts[fake.n_pkts++] = pkt;
    return pkt;
}

static struct fake_pkt *
fake_pkt_cast(struct rte_mbuf *mbuf)
{
    return CONTAINER_OF(mbuf, struct fake_pkt, mbuf);
}

static void
fake_pktmbuf_free(struct rte_mbuf *mbuf)
{
    if (mbuf) {
        struct fake_pkt *pkt = fake_pkt_cast(mbuf);

        ovs_assert(!pkt->freed);
        /* No engine still reads it. */
        for (size_t i = 0; i < FAKE_MAX_DEVS && pkt->flight; i++) {
            const struct fake_dev *dev = &fake.devs[i];

            for (size_t j = 0; dev->started && j < dev->max_vchans; j++) {
                const struct fake_vchan *v = &dev->vchans[j];

                for (unsigned int k = v->done; k != v->head; k++) {
                    ovs_assert(v->ring[k % FAKE_MAX_RING] != pkt->flight);
                }
            }
        }
        pkt->freed = true;
        fake.n_freed++;
    }
}

static void
fake_pktmbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        fake_pktmbuf_free(mbufs[i]);
    }
}

/* Engines. */

static struct fake_dev *
fake_dev(int16_t id)
{
    ovs_assert(id >= 0 && id < FAKE_MAX_DEVS && fake.devs[id].name);
    return &fake.devs[id];
}

static struct fake_vchan *
fake_vchan(int16_t id, uint16_t vchan)
{
    ovs_assert(vchan < fake_dev(id)->max_vchans);
    return &fake_dev(id)->vchans[vchan];
}

/* Has the engine finish 'n' copies at most, of those that it began first. */
static void
fake_finish(int16_t id, uint16_t vchan, uint64_t n)
{
    struct fake_vchan *v = fake_vchan(id, vchan);

    if (fake_dev(id)->started && !fake_dev(id)->hung) {
        v->done += MIN(n, v->head - v->done);
    }
}

static uint16_t
fake_dma_room(int16_t id, uint16_t vchan)
{
    struct fake_vchan *v = fake_vchan(id, vchan);
    uint16_t room = fake_dev(id)->nb_desc - (v->head - v->tail);

    return MIN(room, fake_dev(id)->max_batch);
}

static int16_t
fake_dma_next_dev(int16_t id)
{
    for (; id < FAKE_MAX_DEVS; id++) {
        if (fake.devs[id].name) {
            return id;
        }
    }
    return -1;
}

static int
fake_dma_info_get(int16_t id, struct rte_dma_info *info)
{
    const struct fake_dev *dev = fake_dev(id);

    if (dev->fails & FAKE_INFO) {
        return -EINVAL;
    }
    *info = (struct rte_dma_info) {
        .dev_name = dev->name,
        .dev_capa = dev->capa,
        .max_vchans = dev->max_vchans,
        .min_desc = dev->min_desc,
        .max_desc = dev->max_desc,
        .numa_node = dev->numa_id,
    };
    return 0;
}

static int
fake_dma_configure(int16_t id, const struct rte_dma_conf *conf)
{
    struct fake_dev *dev = fake_dev(id);

    ovs_assert(!dev->started);
    ovs_assert(conf->nb_vchans && conf->nb_vchans <= dev->max_vchans);
    dev->nb_vchans = conf->nb_vchans;
    return dev->fails & FAKE_CONFIGURE ? -EBUSY : 0;
}

static int
fake_dma_vchan_setup(int16_t id, uint16_t vchan,
                     const struct rte_dma_vchan_conf *conf)
{
    struct fake_dev *dev = fake_dev(id);

    ovs_assert(!dev->started && vchan < dev->nb_vchans);
    ovs_assert(conf->nb_desc >= dev->min_desc
               && conf->nb_desc <= dev->max_desc);
    dev->nb_desc = conf->nb_desc;
    return dev->fails & FAKE_VCHAN_SETUP ? -ENOMEM : 0;
}

static int
fake_dma_start(int16_t id)
{
    ovs_assert(!fake_dev(id)->started);
    if (fake_dev(id)->fails & FAKE_START) {
        return -EIO;
    }
    fake_dev(id)->started = true;
    return 0;
}

static int
fake_dma_stop(int16_t id)
{
    if (fake_dev(id)->fails & FAKE_STOP) {
        return -EIO;
    }
    fake_dev(id)->started = false;
    return 0;
}

static int
fake_dma_stats_get(int16_t id, uint16_t vchan, struct rte_dma_stats *stats)
{
    const struct fake_vchan *v = fake_vchan(id, vchan);

    if (fake_dev(id)->counts_nothing) {
        return -ENOTSUP;
    }
    *stats = (struct rte_dma_stats) {
        .submitted = v->head,
        .completed = fake_dev(id)->counts_late ? v->tail : v->done,
        .errors = fake_dev(id)->errors,
    };
    return 0;
}

static int
fake_vhost_dma_configure(int16_t id, uint16_t vchan)
{
    if (fake_dev(id)->fails & FAKE_TRACK) {
        return -1;
    }
    fake_vchan(id, vchan)->tracked = true;
    return 0;
}

static int OVS_UNUSED
fake_vhost_dma_unconfigure(int16_t id, uint16_t vchan)
{
    struct fake_vchan *v = fake_vchan(id, vchan);

    if (v->head != v->tail) {
        return -1;
    }
    v->tracked = false;
    return 0;
}

/* Lets 'ns' pass, in which the engines work. */
static void
fake_pass_time(uint64_t ns)
{
    uint64_t us = (fake.tsc + ns) / 1000 - fake.tsc / 1000;

    fake.tsc += ns;
    for (int16_t i = 0; us && i < FAKE_MAX_DEVS; i++) {
        const struct fake_dev *dev = &fake.devs[i];
        unsigned int period = dev->us_per_copy;
        uint64_t n = (period ? fake.tsc / 1000 / period
                               - (fake.tsc - ns) / 1000 / period
                      : us * fake.rate);

        for (uint16_t j = 0; n && j < dev->max_vchans; j++) {
            fake_finish(i, j, n);
        }
    }
}

/* RCU: the other threads pass a grace period whenever this one sleeps, unless
 * one of them is busy. */

static void
fake_postpone(void (*function)(void *), void *arg)
{
    ovs_assert(fake.n_postponed < ARRAY_SIZE(fake.postponed));
    fake.postponed[fake.n_postponed++]
        = (struct fake_callback) { function, arg };
    /* Like the real one. */
    fake.quiescent = false;
}

static void
fake_grace_period(void)
{
    if (!fake.others_busy && fake.quiescent) {
        for (size_t i = 0; i < fake.n_postponed; i++) {
            fake.postponed[i].function(fake.postponed[i].arg);
        }
        fake.n_postponed = 0;
    }
}

/* Time. */

static uint64_t
fake_tsc(void)
{
    fake_pass_time(20);
    return fake.tsc;
}

static long long int
fake_usec(void)
{
    fake_pass_time(fake.preempted_us * UINT64_C(1000));
    return fake.tsc / 1000;
}

static int
fake_sched_yield(void)
{
    fake_pass_time(1000);
    return 0;
}

static void
fake_delay_us(unsigned int us)
{
    fake_pass_time(us * UINT64_C(1000));
    fake_grace_period();
}

/* Guests. */

static struct fake_guest *
fake_guest(int vid)
{
    ovs_assert(vid >= 0 && vid < FAKE_MAX_GUESTS && fake.guests[vid].live);
    return &fake.guests[vid];
}

/* Whether another thread holds the lock that one tries to take. */
static bool
fake_vring_is_busy(struct fake_vring *v)
{
    if (v->busy) {
        v->busy--;
        return true;
    }
    return false;
}

static struct fake_vring *
fake_vring(int vid, uint16_t vring)
{
    /* Only rings that the guest receives from. */
    ovs_assert(vring < fake_guest(vid)->n_vrings && !(vring % 2));
    return &fake_guest(vid)->vrings[vring];
}

static unsigned int
fake_in_flight(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);

    return v->head - v->tail;
}

static void
fake_deliver(int vid, struct fake_vring *v, struct fake_pkt *pkt)
{
    if (v->n_got == v->allocated_got) {
        v->got = x2nrealloc(v->got, &v->allocated_got, sizeof *v->got);
    }
    v->got[v->n_got++] = pkt;
    if (!fake_guest(vid)->lazy) {
        v->room++;
    }
}

static void
fake_vring_set_up(int vid, uint16_t vring, uint16_t size)
{
    struct fake_vring *v = fake_vring(vid, vring);

    ovs_assert(size <= FAKE_MAX_RING);
    v->set_up = true;
    v->size = v->room = size;
}

/* No engine works on what was left of a packet for 'v'. */
static void
fake_check_left(const struct fake_vring *v)
{
    for (size_t i = 0; i < FAKE_MAX_DEVS; i++) {
        const struct fake_dev *dev = &fake.devs[i];

        for (size_t j = 0; dev->started && j < dev->max_vchans; j++) {
            const struct fake_vchan *chan = &dev->vchans[j];

            for (unsigned int k = chan->done; k != chan->head; k++) {
                ovs_assert(chan->ring[k % FAKE_MAX_RING]->left != v);
            }
        }
    }
}

/* No engine writes to memory of 'v' any more, and no running channel knows
 * completion flags of it. */
static void
fake_check_vring_unused(const struct fake_vring *v)
{
    fake_check_left(v);
    for (unsigned int i = v->tail; i != v->head; i++) {
        const struct fake_flight *flight = v->flights[i % FAKE_MAX_RING];

        for (size_t j = 0; j < FAKE_MAX_DEVS; j++) {
            const struct fake_dev *dev = &fake.devs[j];

            for (size_t k = 0; dev->started && k < dev->max_vchans; k++) {
                const struct fake_vchan *chan = &dev->vchans[k];

                for (unsigned int l = chan->tail; l != chan->head; l++) {
                    ovs_assert(chan->ring[l % FAKE_MAX_RING] != flight);
                }
            }
        }
    }
}

/* The library forgets 'vid' and unmaps its memory. */
static void
fake_guest_gone(int vid)
{
    struct fake_guest *guest = fake_guest(vid);

    for (int i = 0; i < guest->n_vrings; i++) {
        fake_check_vring_unused(&guest->vrings[i]);
        guest->vrings[i].set_up = guest->vrings[i].async = false;
    }
    guest->live = false;
}

/* The guest sends 'request', about ring 'index' and 'num' of it, which the
 * library handles with all rings locked if 'locked', and then may unmap memory
 * and change rings. */
static enum rte_vhost_msg_result
fake_ring_message(int vid, uint32_t request, uint32_t index, uint32_t num,
                  bool locked)
{
    struct fake_guest *guest = fake_guest(vid);
    /* Without file descriptors, behind the longest payload. */
    uint32_t msg[170] = { request, 1, 40, index, num };
    enum rte_vhost_msg_result result;

    guest->locked = locked;
    result = guest->ops ? guest->ops->pre_msg_handle(vid, msg)
                        : RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    if (result != RTE_VHOST_MSG_RESULT_ERR && guest->ops) {
        guest->ops->post_msg_handle(vid, msg);
    }
    if (result == RTE_VHOST_MSG_RESULT_NOT_HANDLED && locked) {
        for (int i = 0; i < guest->n_vrings; i++) {
            fake_check_vring_unused(&guest->vrings[i]);
        }
    }
    guest->locked = false;
    return result;
}

static enum rte_vhost_msg_result
fake_message(int vid, uint32_t request, bool locked)
{
    return fake_ring_message(
        vid, request, 0, request == VHOST_ASYNC_SET_VRING_NUM
                         ? MAX(fake_guest(vid)->vrings[0].size, 2) : 0,
        locked);
}

/* The guest sets up ring 'index' anew, for a time with another size. */
static void
fake_resize(int vid, int index)
{
    uint32_t size = MAX(fake_guest(vid)->vrings[index].size, 2);

    for (int i = 2; i; i--) {
        ovs_assert(fake_ring_message(vid, VHOST_ASYNC_SET_VRING_NUM, index,
                                     i * size, true)
                   == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    }
    ovs_assert(fake_ring_message(vid, VHOST_ASYNC_GET_VRING_BASE, index, 0,
                                 false)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
}

/* The vhost library. */

/* The guest takes what it got, and is not lazy any more. */
static void
fake_make_room(int vid)
{
    struct fake_guest *guest = &fake.guests[vid];

    guest->lazy = false;
    for (int i = 0; i < guest->n_vrings; i++) {
        struct fake_vring *v = &guest->vrings[i];

        v->room = v->size - (v->head - v->tail);
    }
}

/* Another thread is at work while this one is in the library. */
static void
fake_meanwhile(void)
{
    void (*meanwhile)(void) = fake.meanwhile;

    fake.meanwhile = NULL;
    if (meanwhile) {
        meanwhile();
    }
}

static uint16_t
fake_enqueue_burst(int vid, uint16_t vring, struct rte_mbuf **mbufs,
                   uint16_t cnt)
{
    struct fake_vring *v = fake_vring(vid, vring);
    uint16_t n = v->set_up ? MIN(cnt, v->room) : 0;

    ovs_assert(!fake_guest(vid)->locked);
    /* It would write to the used ring out of turn. */
    ovs_assert(!fake_in_flight(vid, vring));
    /* It would be written over. */
    if (n) {
        fake_check_left(v);
    }
    v->room -= n;
    for (uint16_t i = 0; i < n; i++) {
        ovs_assert(!fake_pkt_cast(mbufs[i])->freed);
        fake_deliver(vid, v, fake_pkt_cast(mbufs[i]));
    }
    v->room += v->more_room;
    v->more_room = 0;
    fake_meanwhile();
    return n;
}

static uint16_t
fake_submit(int vid, uint16_t vring, struct rte_mbuf **mbufs, uint16_t cnt,
            int16_t dev_id, uint16_t vchan)
{
    struct fake_vchan *chan = fake_vchan(dev_id, vchan);
    struct fake_vring *v = fake_vring(vid, vring);
    uint16_t n = MIN(cnt, v->room);

    ovs_assert(!fake_guest(vid)->locked);
    ovs_assert(chan->tracked && fake_dev(dev_id)->started);
    /* The queue can be unregistered while a sender is under way. */
    n = v->async ? MIN(n, fake_dma_room(dev_id, vchan)) : 0;
    if (n && fake_dev(dev_id)->refuses) {
        fake_dev(dev_id)->refuses--;
        for (; fake_dev(dev_id)->leaves; fake_dev(dev_id)->leaves--) {
            struct fake_flight *flight = xzalloc(sizeof *flight);

            flight->left = v;
            chan->ring[chan->head++ % FAKE_MAX_RING] = flight;
        }
        n = 0;
    }
    v->room -= n;
    /* Its arrays have one element per descriptor. */
    ovs_assert(v->head - v->tail + n <= v->size);
    for (uint16_t i = 0; i < n; i++) {
        struct fake_flight *flight = xzalloc(sizeof *flight);

        flight->pkt = fake_pkt_cast(mbufs[i]);
        ovs_assert(!flight->pkt->freed && !flight->pkt->flight);
        flight->pkt->flight = flight;
        v->flights[v->head++ % FAKE_MAX_RING] = flight;
        chan->ring[chan->head++ % FAKE_MAX_RING] = flight;
    }
    fake_meanwhile();
    return n;
}

/* Notes some of what 'chan' finished, for any ring, then takes what is known
 * to be finished from the head of 'v'. */
static uint16_t
fake_reap(int vid, struct fake_vring *v, struct rte_mbuf **mbufs, uint16_t cnt,
          int16_t dev_id, uint16_t vchan)
{
    struct fake_vchan *chan = fake_vchan(dev_id, vchan);
    uint16_t n = 0;

    ovs_assert(chan->tracked && fake_dev(dev_id)->started);
    for (int i = 0; i < (fake.max_reap ? fake.max_reap : FAKE_MAX_REAP)
                    && chan->tail != chan->done; i++) {
        struct fake_flight *flight = chan->ring[chan->tail++ % FAKE_MAX_RING];

        if (flight->left) {
            free(flight);
        } else {
            flight->flag = true;
        }
    }
    while (n < cnt && v->tail != v->head
           && v->flights[v->tail % FAKE_MAX_RING]->flag) {
        struct fake_flight *flight = v->flights[v->tail++ % FAKE_MAX_RING];

        flight->pkt->flight = NULL;
        fake_deliver(vid, v, flight->pkt);
        mbufs[n++] = &flight->pkt->mbuf;
        free(flight);
    }
    return n;
}

static uint16_t
fake_poll(int vid, uint16_t vring, struct rte_mbuf **mbufs, uint16_t cnt,
          int16_t dev_id, uint16_t vchan)
{
    struct fake_vring *v = fake_vring(vid, vring);

    fake.n_polls++;
    if (fake_guest(vid)->locked || fake_vring_is_busy(v) || !v->async) {
        return 0;
    }
    return fake_reap(vid, v, mbufs, cnt, dev_id, vchan);
}

static uint16_t
fake_clear_unsafe(int vid, uint16_t vring, struct rte_mbuf **mbufs,
                  uint16_t cnt, int16_t dev_id, uint16_t vchan)
{
    struct fake_vring *v = fake_vring(vid, vring);

    ovs_assert(fake_guest(vid)->locked);
    if (fake.n_no_clear) {
        fake.n_no_clear--;
        return -1;
    }
    return v->async ? fake_reap(vid, v, mbufs, cnt, dev_id, vchan) : 0;
}

static int
fake_get_inflight_unsafe(int vid, uint16_t vring)
{
    ovs_assert(fake_guest(vid)->locked);
    return fake_vring(vid, vring)->async ? fake_in_flight(vid, vring) : -1;
}

static int
fake_channel_register(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);

    ovs_assert(!fake_guest(vid)->locked);
    if (!v->set_up || v->async) {
        return -1;
    }
    v->async = true;
    return 0;
}

static int
fake_channel_unregister(int vid, uint16_t vring)
{
    struct fake_vring *v = fake_vring(vid, vring);

    ovs_assert(!fake_guest(vid)->locked);
    if (fake_vring_is_busy(v) || fake_in_flight(vid, vring)) {
        return -1;
    }
    v->async = false;
    return 0;
}

static int
fake_channel_unregister_unsafe(int vid, uint16_t vring)
{
    ovs_assert(fake_guest(vid)->locked);
    if (fake_in_flight(vid, vring)) {
        return -1;
    }
    fake_vring(vid, vring)->async = false;
    return 0;
}

static int
fake_get_vring(int vid, uint16_t vring, struct rte_vhost_vring *info)
{
    static struct vring_desc desc;
    static struct vring_avail avail;
    static struct vring_used used;
    const struct fake_vring *v;

    /* Nothing is known of rings that the guest sends from. */
    if (vring % 2 || vring >= fake_guest(vid)->n_vrings) {
        return -1;
    }
    v = fake_vring(vid, vring);
    *info = (struct rte_vhost_vring) { .size = v->size };
    if (v->set_up) {
        info->desc = v->lacks & 1 ? NULL : &desc;
        info->avail = v->lacks & 2 ? NULL : &avail;
        info->used = v->lacks & 4 ? NULL : &used;
    }
    return 0;
}

static int
fake_get_vring_base(int vid OVS_UNUSED, uint16_t vring OVS_UNUSED,
                    uint16_t *avail, uint16_t *used)
{
    *avail = *used = 0;
    return 0;
}

static int
fake_get_features(int vid, uint64_t *features)
{
    ovs_assert(fake_guest(vid)->live);
    *features = 0;
    return 0;
}

static uint16_t
fake_get_vring_num(int vid)
{
    return fake_guest(vid)->n_vrings;
}

static int
fake_get_numa_node(int vid)
{
    ovs_assert(fake_guest(vid)->live);
    return fake.numa_id;
}

/* Memory of DPDK, all of which must be given back.  Not every engine wants
 * some. */
static OVS_UNUSED void *
fake_zmalloc(const char *type OVS_UNUSED, size_t size, unsigned int align,
             int numa_id OVS_UNUSED)
{
    void *p = fake.no_memory ? NULL : aligned_alloc(align, size);

    if (p) {
        memset(p, 0, size);
        fake.n_allocated++;
    }
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

static int
fake_extern_callback_register(int vid,
                              const struct rte_vhost_user_extern_ops *ops,
                              void *ctx OVS_UNUSED)
{
    if (fake.no_callbacks) {
        return -1;
    }
    fake_guest(vid)->ops = ops;
    return 0;
}

static int
fake_get_protocol_features(int vid, uint64_t *features)
{
    *features = fake_guest(vid)->negotiated ? 1 : 0;
    return 0;
}

/* For the test to define: what OVS and the library do with a port, and what
 * OVS does with the answer to a command. */
static void fake_command_reply(struct unixctl_conn *, const char *, bool ok);
static bool fake_get_carrier(const struct netdev *);
static void fake_request_reconfigure(struct netdev *);
static int fake_driver_unregister(const char *path);
static int fake_get_ifname(int vid, char *path, size_t size);

#define dpdk_available() (!fake.no_dpdk)
#define netdev_get_carrier fake_get_carrier
#define netdev_request_reconfigure fake_request_reconfigure
#undef ovsrcu_postpone
#define ovsrcu_postpone(FUNCTION, ARG) \
    fake_postpone((void (*)(void *)) (FUNCTION), ARG)
#define ovsrcu_is_quiescent() fake.quiescent
#define ovsrcu_quiesce_start() ((void) (fake.quiescent = true))
#define ovsrcu_quiesce_end() ((void) (fake.quiescent = false))
#define rte_delay_us_sleep fake_delay_us
#define rte_dma_burst_capacity fake_dma_room
#define rte_dma_configure fake_dma_configure
#define rte_dma_info_get fake_dma_info_get
#define rte_dma_next_dev fake_dma_next_dev
#define rte_dma_start fake_dma_start
#define rte_dma_stats_get fake_dma_stats_get
#define rte_dma_stop fake_dma_stop
#define rte_dma_vchan_setup fake_dma_vchan_setup
#define rte_eal_iova_mode() fake.iova_mode
#define rte_free fake_free
#define rte_get_tsc_cycles fake_tsc
#define rte_get_tsc_hz() FAKE_HZ
#define rte_pktmbuf_free fake_pktmbuf_free
#define rte_pktmbuf_free_bulk fake_pktmbuf_free_bulk
#define rte_vhost_async_channel_register fake_channel_register
#define rte_vhost_async_channel_unregister fake_channel_unregister
#define rte_vhost_async_channel_unregister_thread_unsafe \
    fake_channel_unregister_unsafe
#define rte_vhost_async_dma_configure fake_vhost_dma_configure
#define rte_vhost_async_dma_unconfigure fake_vhost_dma_unconfigure
#define rte_vhost_async_get_inflight_thread_unsafe fake_get_inflight_unsafe
#define rte_vhost_clear_queue_thread_unsafe fake_clear_unsafe
#define rte_vhost_driver_unregister fake_driver_unregister
#define rte_vhost_enqueue_burst fake_enqueue_burst
#define rte_vhost_extern_callback_register fake_extern_callback_register
#define rte_vhost_get_ifname fake_get_ifname
#define rte_vhost_get_negotiated_protocol_features fake_get_protocol_features
#define rte_vhost_get_negotiated_features fake_get_features
#define rte_vhost_get_numa_node fake_get_numa_node
#define rte_vhost_get_vhost_vring fake_get_vring
#define rte_vhost_get_vring_base fake_get_vring_base
#define rte_vhost_get_vring_num fake_get_vring_num
#define rte_vhost_poll_enqueue_completed fake_poll
#define rte_vhost_submit_enqueue_burst fake_submit
#define rte_zmalloc_socket fake_zmalloc
#define sched_yield fake_sched_yield
#define time_msec() ((long long int) (fake.tsc / 1000000))
#define time_usec fake_usec
#define unixctl_command_reply(CONN, TEXT) fake_command_reply(CONN, TEXT, true)
#define unixctl_command_reply_error(CONN, TEXT) \
    fake_command_reply(CONN, TEXT, false)

#endif /* fake-vhost.h */
