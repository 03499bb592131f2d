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

#ifndef VHOST_DATA_PATH_H
#define VHOST_DATA_PATH_H 1

/* The sources of the data path, from the engine and the PMD thread over the
 * txq and the guest's ring down to the DMA channel and its device, and what
 * they stand on in a test: fake-dmadev.h, fake-guest-ring.h, and mbufs.
 *
 * Names that the library has, too, begin with those of the test program: it
 * defines DP() before it includes this. */

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake-dmadev.h"

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <rte_net.h>
#include <rte_pause.h>
#include <rte_ring.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dma-chan-sources.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "random.h"
#include "seq.h"
#include "util.h"
#include "vhost-vring-sources.h"

#define vhost_async_engine_leave DP(vhost_async_engine_leave)
#define vhost_async_engine_publish DP(vhost_async_engine_publish)
#define vhost_async_engine_run DP(vhost_async_engine_run)
#define vhost_async_engine_send DP(vhost_async_engine_send)
#define vhost_async_engine_txq_destroy DP(vhost_async_engine_txq_destroy)
#define vhost_async_engine_txq_init DP(vhost_async_engine_txq_init)
#define vhost_async_engine_txq_is_idle DP(vhost_async_engine_txq_is_idle)
#define vhost_async_engine_txq_memory DP(vhost_async_engine_txq_memory)
#define vhost_async_engine_txq_waiting DP(vhost_async_engine_txq_waiting)
#define vhost_async_engine_unlock DP(vhost_async_engine_unlock)
#define vhost_async_policy DP(vhost_async_policy)
#define vhost_async_self_get DP(vhost_async_self_get)
#define vhost_async_self_get_unsafe DP(vhost_async_self_get_unsafe)
#define vhost_async_self_var DP(vhost_async_self_var)
#define vhost_async_thread_add_reap DP(vhost_async_thread_add_reap)
#define vhost_async_thread_drain DP(vhost_async_thread_drain)
#define vhost_async_cost_add_head_time DP(vhost_async_cost_add_head_time)
#define vhost_async_cost_add_time DP(vhost_async_cost_add_time)
#define vhost_async_cost_times_head DP(vhost_async_cost_times_head)
#define vhost_async_cost_end_iteration DP(vhost_async_cost_end_iteration)
#define vhost_async_cost_get_limits DP(vhost_async_cost_get_limits)
#define vhost_async_cost_next_timed DP(vhost_async_cost_next_timed)
#define vhost_async_cost_set_dma DP(vhost_async_cost_set_dma)
#define vhost_async_cost_set_threshold DP(vhost_async_cost_set_threshold)
#define vhost_async_cost_add_reap DP(vhost_async_cost_add_reap)
#define vhost_async_trial_add_publish DP(vhost_async_trial_add_publish)
#define vhost_async_trial_add_reap DP(vhost_async_trial_add_reap)
#define vhost_async_trial_stalls DP(vhost_async_trial_stalls)
#define vhost_async_trial_end_burst DP(vhost_async_trial_end_burst)
#define vhost_async_trial_end_iteration DP(vhost_async_trial_end_iteration)
#define vhost_async_trial_next_burst DP(vhost_async_trial_next_burst)
#define vhost_async_trial_result DP(vhost_async_trial_result)
#define vhost_async_trial_start DP(vhost_async_trial_start)
#define vhost_async_thread_only_submits DP(vhost_async_thread_only_submits)
#define vhost_async_thread_latency DP(vhost_async_thread_latency)
#define vhost_async_thread_init DP(vhost_async_thread_init)
#define vhost_async_thread_set_chan DP(vhost_async_thread_set_chan)
#define vhost_async_thread_reap DP(vhost_async_thread_reap)
#define vhost_async_chan_look_for_room DP(vhost_async_chan_look_for_room)
#define vhost_async_rxq_announce DP(vhost_async_rxq_announce)
#define vhost_async_rxq_create DP(vhost_async_rxq_create)
#define vhost_async_rxq_destroy DP(vhost_async_rxq_destroy)
#define vhost_async_rxq_drain DP(vhost_async_rxq_drain)
#define vhost_async_rxq_free_done DP(vhost_async_rxq_free_done)
#define vhost_async_rxq_get_totals DP(vhost_async_rxq_get_totals)
#define vhost_async_rxq_publish DP(vhost_async_rxq_publish)
#define vhost_async_rxq_recv DP(vhost_async_rxq_recv)
#define vhost_async_rxq_returned DP(vhost_async_rxq_returned)
#define vhost_async_txq_count_drops DP(vhost_async_txq_count_drops)
#define vhost_async_txq_drops_rest DP(vhost_async_txq_drops_rest)
#define vhost_async_txq_create DP(vhost_async_txq_create)
#define vhost_async_txq_destroy DP(vhost_async_txq_destroy)
#define vhost_async_txq_drain DP(vhost_async_txq_drain)
#define vhost_async_txq_memory DP(vhost_async_txq_memory)
#define vhost_async_txq_publish DP(vhost_async_txq_publish)
#define vhost_async_txq_published DP(vhost_async_txq_published)
#define vhost_async_txq_send DP(vhost_async_txq_send)
#define vhost_async_vq_close DP(vhost_async_vq_close)
#define vhost_async_vq_end_stuck DP(vhost_async_vq_end_stuck)
#define vhost_async_vq_init DP(vhost_async_vq_init)
#define vhost_async_vq_lock DP(vhost_async_vq_lock)
#define vhost_async_vq_lock_unless_closed DP(vhost_async_vq_lock_unless_closed)
#define vhost_async_vq_notify DP(vhost_async_vq_notify)
#define vhost_async_vq_open DP(vhost_async_vq_open)
#define vhost_async_vq_pause DP(vhost_async_vq_pause)
#define vhost_async_vq_set_callfd DP(vhost_async_vq_set_callfd)
#define vhost_async_vq_set_state DP(vhost_async_vq_set_state)
#define vhost_async_vq_start DP(vhost_async_vq_start)
#define vhost_async_vq_stop DP(vhost_async_vq_stop)
#define vhost_async_vq_tell_broken DP(vhost_async_vq_tell_broken)
#define vhost_async_vq_try_unlock DP(vhost_async_vq_try_unlock)
#define vhost_async_vq_trylock_or_leave DP(vhost_async_vq_trylock_or_leave)
#define vhost_async_vq_uninit DP(vhost_async_vq_uninit)
#define vhost_async_vq_waits_for DP(vhost_async_vq_waits_for)
#define rte_pktmbuf_free_bulk dp_free_bulk
#define rte_pktmbuf_alloc dp_rx_alloc
#define rte_pktmbuf_alloc_bulk dp_rx_alloc_bulk
#define rte_pktmbuf_free dp_rx_free
#define rte_net_make_rarp_packet dp_rx_rarp
#define rte_malloc(TYPE, SIZE, ALIGN) dp_malloc(SIZE)
#define rte_malloc_virt2iova(PTR) ((rte_iova_t) (uintptr_t) (PTR))
#define rte_free free

#ifdef __SANITIZE_THREAD__
/* Producers of a ring in mode RTS publish by an atomic write of 64 bits what
 * its consumer reads as 32 (__rte_ring_rts_update_tail(), 22.11), which for
 * ThreadSanitizer are two variables.  It is told that they are ordered. */
void __tsan_acquire(void *);
void __tsan_release(void *);

static inline OVS_UNUSED unsigned int
dp_ring_enqueue_bulk(struct rte_ring *r, void *const *objs, unsigned int n,
                     unsigned int *left)
{
    __tsan_release(r);
    return rte_ring_enqueue_bulk(r, objs, n, left);
}

static inline OVS_UNUSED unsigned int
dp_ring_sc_dequeue_burst(struct rte_ring *r, void **objs, unsigned int n,
                         unsigned int *left)
{
    unsigned int n_objs = rte_ring_sc_dequeue_burst(r, objs, n, left);

    __tsan_acquire(r);
    return n_objs;
}

#define rte_ring_enqueue_bulk dp_ring_enqueue_bulk
#define rte_ring_sc_dequeue_burst dp_ring_sc_dequeue_burst
#endif

/* The headers first, so that a directory of changed ones comes before that of
 * the sources. */
#include "vhost-async-vq.h"
#include "vhost-async-copy.h"
#include "vhost-async-receive.h"
#include "vhost-async-rxq.h"
#include "vhost-async-txq.h"
#include "vhost-async-engine.h"
#include "vhost-async-thread.h"

/* Below. */
static void dp_free_bulk(struct rte_mbuf **, unsigned int);
static OVS_UNUSED struct rte_mbuf *dp_rx_alloc(struct rte_mempool *);
static int dp_rx_alloc_bulk(struct rte_mempool *, struct rte_mbuf **,
                            unsigned int);
static void dp_rx_free(struct rte_mbuf *);
static struct rte_mbuf *dp_rx_rarp(struct rte_mempool *,
                                   const struct rte_ether_addr *);
static void *dp_malloc(size_t);

#define this_module vhost_async_vq_module
#include "vhost-async-vq.c"
#undef this_module
#ifdef DP_BEFORE_UNLOCK
/* Something happens right before a lock is given up. */
#undef vhost_async_vq_try_unlock
#define vhost_async_vq_try_unlock(VQ) \
    (DP_BEFORE_UNLOCK(VQ), DP(vhost_async_vq_try_unlock)(VQ))
#endif
#include "vhost-async-txq.c"
#include "vhost-async-rxq.c"
#include "vhost-async-trial.c"
#include "vhost-async-cost.c"
#include "vhost-async-copy.c"
#include "vhost-async-receive.c"
#include VHOST_ASYNC_ENGINE_SOURCE
#ifdef DP_PUBLISH
/* Something else happens with what a thread reaped. */
#undef vhost_async_engine_publish
#define vhost_async_engine_publish(SELF, TXQ) DP_PUBLISH(SELF, TXQ)
#endif
#ifdef DP_DONE
/* Something else happens between packets that a thread reaped. */
#define vhost_async_vq_done(VQ, SEQ) DP_DONE(VQ, SEQ)
#endif
#include "vhost-async-thread.c"
#undef vhost_async_vq_done

#include "fake-guest-ring.h"

void *
vhost_guest_mem_from_library(const struct vhost_guest_mem *mem, const void *va,
                             uint64_t size, uint64_t *gpa)
{
    return guest_ring_from_library(mem, va, size, gpa);
}

/* Mbufs.  A packet has up to DP_MAX_SEGS of them, and bytes of its own. */

#define DP_MAX_SEGS 8

struct dp_pkt {
    struct rte_mbuf segs[DP_MAX_SEGS];  /* The first one is its head. */
    atomic_bool used;
    uint32_t size;
    uint8_t *data;
};

/* Called when mbufs are to be freed, if not NULL; for tests of one thread. */
static OVS_UNUSED void (*dp_on_free)(struct rte_mbuf **, unsigned int);

/* Frees heads of packets.  Any thread; a packet is freed once. */
static void
dp_free_bulk(struct rte_mbuf **mbufs, unsigned int cnt)
{
    if (dp_on_free) {
        dp_on_free(mbufs, cnt);
    }
    for (unsigned int i = 0; i < cnt; i++) {
        if (mbufs[i]) {
            struct dp_pkt *pkt = CONTAINER_OF(mbufs[i], struct dp_pkt,
                                              segs[0]);
            bool used = true;

            /* Release: who takes it again writes behind who read it. */
            ovs_assert(atomic_compare_exchange_strong_explicit(
                           &pkt->used, &used, false, memory_order_acq_rel,
                           memory_order_relaxed));
        }
    }
}

/* Takes 'pkt' if it is free. */
static OVS_UNUSED bool
dp_pkt_take(struct dp_pkt *pkt)
{
    bool used;

    atomic_read_explicit(&pkt->used, &used, memory_order_acquire);
    if (!used) {
        atomic_store_relaxed(&pkt->used, true);
    }
    return !used;
}

/* Makes 'pkt', which was taken, one of 'len' bytes in 'n_segs' mbufs. */
static OVS_UNUSED struct rte_mbuf *
dp_pkt_make(struct dp_pkt *pkt, uint32_t len, unsigned int n_segs)
{
    uint32_t ofs = 0;

    ovs_assert(len <= pkt->size && n_segs && n_segs <= DP_MAX_SEGS);
    memset(pkt->segs, 0, n_segs * sizeof *pkt->segs);
    for (unsigned int i = 0; i < n_segs; i++) {
        struct rte_mbuf *m = &pkt->segs[i];
        bool last = i + 1 == n_segs;

        m->buf_addr = pkt->data;
        rte_mbuf_iova_set(m, (uintptr_t) pkt->data);
        m->data_off = ofs;
        m->data_len = last ? len - ofs : len / n_segs;
        m->next = last ? NULL : &pkt->segs[i + 1];
        m->pkt_len = i ? m->data_len : len;
        m->nb_segs = i ? 1 : n_segs;
        m->refcnt = 1;
        ofs += m->data_len;
    }
    return &pkt->segs[0];
}

static OVS_UNUSED void
dp_pkt_init(struct dp_pkt *pkt, uint32_t size)
{
    memset(pkt, 0, sizeof *pkt);
    pkt->size = size;
    pkt->data = xmalloc(size);
}

/* Mbufs of what a guest sends: as those of a mempool, one by one. */

#define DP_RX_ROOM 2048

struct dp_rx_mbuf {
    struct rte_mbuf mbuf;
    uint8_t buf[RTE_PKTMBUF_HEADROOM + DP_RX_ROOM];
};

/* How many are out. */
static atomic_count dp_rx_count;

/* How many may be yet, of one rxq: the holder of its lock takes them. */
static OVS_UNUSED unsigned int dp_rx_left = UINT_MAX;

static inline unsigned int
dp_rx_n(void)
{
    return atomic_count_get(&dp_rx_count);
}

static struct rte_mbuf *
dp_rx_alloc(struct rte_mempool *mp OVS_UNUSED)
{
    struct dp_rx_mbuf *m;

    if (!dp_rx_left) {
        return NULL;
    }
    dp_rx_left--;
    atomic_count_inc(&dp_rx_count);
    m = xmalloc(sizeof *m);
    memset(m, 0xbb, sizeof *m);
    memset(&m->mbuf, 0, sizeof m->mbuf);
    m->mbuf.buf_addr = m->buf;
    m->mbuf.buf_len = sizeof m->buf;
    m->mbuf.refcnt = 1;
    rte_mbuf_iova_set(&m->mbuf, (uintptr_t) m->buf);
    rte_pktmbuf_reset(&m->mbuf);
    return &m->mbuf;
}

static int
dp_rx_alloc_bulk(struct rte_mempool *mp, struct rte_mbuf **mbufs,
                 unsigned int n)
{
    if (n > dp_rx_left) {
        return -ENOENT;
    }
    for (unsigned int i = 0; i < n; i++) {
        mbufs[i] = dp_rx_alloc(mp);
    }
    return 0;
}

static void
dp_rx_free(struct rte_mbuf *mbuf)
{
    ovs_assert(atomic_count_dec(&dp_rx_count));
    if (RTE_MBUF_HAS_EXTBUF(mbuf)) {
        mbuf->shinfo->free_cb(mbuf->buf_addr, mbuf->shinfo->fcb_opaque);
    }
    free(CONTAINER_OF(mbuf, struct dp_rx_mbuf, mbuf));
}

static struct rte_mbuf *
dp_rx_rarp(struct rte_mempool *mp, const struct rte_ether_addr *mac)
{
    struct rte_mbuf *mbuf = dp_rx_alloc(mp);

    if (mbuf) {
        uint8_t *data = rte_pktmbuf_mtod(mbuf, uint8_t *);

        memset(data, 0xff, 6);
        memcpy(data + 6, mac, 6);
        mbuf->pkt_len = mbuf->data_len = 64;
    }
    return mbuf;
}

static void *
dp_malloc(size_t size)
{
    return dp_rx_left ? xmalloc(size) : NULL;
}

#endif /* vhost-data-path.h */
