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

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <rte_net.h>
#include <rte_pause.h>
#include <rte_ring.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "coverage.h"
#include "openvswitch/vlog.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "random.h"
#include "seq.h"
#include "util.h"

#define dpdk_dma_chan_abandon DP(dpdk_dma_chan_abandon)
#define dpdk_dma_chan_add DP(dpdk_dma_chan_add)
#define dpdk_dma_chan_doorbell DP(dpdk_dma_chan_doorbell)
#define dpdk_dma_chan_end_packet DP(dpdk_dma_chan_end_packet)
#define dpdk_dma_owner_give_up DP(dpdk_dma_owner_give_up)
#define dpdk_dma_owner_init DP(dpdk_dma_owner_init)
#define dpdk_dma_owner_take_up DP(dpdk_dma_owner_take_up)
#define dpdk_dma_chan_is_overdue DP(dpdk_dma_chan_is_overdue)
#define dpdk_dma_chan_reap DP(dpdk_dma_chan_reap)
#define dpdk_dma_chan_redo DP(dpdk_dma_chan_redo)
#define dpdk_dma_chan_room DP(dpdk_dma_chan_room)
#define dpdk_dma_chan_start DP(dpdk_dma_chan_start)
#define dpdk_dma_chan_stop DP(dpdk_dma_chan_stop)
#define dpdk_dma_chan_uninit DP(dpdk_dma_chan_uninit)
#define dpdk_dma_dev_map DP(dpdk_dma_dev_map)
#define dpdk_dma_dev_next_dead DP(dpdk_dma_dev_next_dead)
#define dpdk_dma_dev_next_stuck DP(dpdk_dma_dev_next_stuck)
#define dpdk_dma_dev_quarantine DP(dpdk_dma_dev_quarantine)
#define dpdk_dma_dev_seq DP(dpdk_dma_dev_seq)
#define dpdk_dma_dev_set_timeout_ms DP(dpdk_dma_dev_set_timeout_ms)
#define dpdk_dma_dev_start_all DP(dpdk_dma_dev_start_all)
#define dpdk_dma_dev_state DP(dpdk_dma_dev_state)
#define dpdk_dma_dev_stop_all DP(dpdk_dma_dev_stop_all)
#define dpdk_dma_dev_stop_failed DP(dpdk_dma_dev_stop_failed)
#define dpdk_dma_dev_timeout_ms DP(dpdk_dma_dev_timeout_ms)
#define dpdk_dma_dev_wait_ms DP(dpdk_dma_dev_wait_ms)
#define dpdk_dma_dev_why DP(dpdk_dma_dev_why)
#define rte_vhost_log_write DP(rte_vhost_log_write)
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
#define vhost_async_thread_drain DP(vhost_async_thread_drain)
#define vhost_async_thread_latency DP(vhost_async_thread_latency)
#define vhost_async_thread_init DP(vhost_async_thread_init)
#define vhost_async_thread_set_chan DP(vhost_async_thread_set_chan)
#define vhost_async_thread_reap DP(vhost_async_thread_reap)
#define vhost_async_txq_close DP(vhost_async_txq_close)
#define vhost_async_txq_count_drops DP(vhost_async_txq_count_drops)
#define vhost_async_txq_create DP(vhost_async_txq_create)
#define vhost_async_txq_destroy DP(vhost_async_txq_destroy)
#define vhost_async_txq_drain DP(vhost_async_txq_drain)
#define vhost_async_txq_lock DP(vhost_async_txq_lock)
#define vhost_async_txq_lock_unless_closed \
    DP(vhost_async_txq_lock_unless_closed)
#define vhost_async_txq_memory DP(vhost_async_txq_memory)
#define vhost_async_txq_notify DP(vhost_async_txq_notify)
#define vhost_async_txq_open DP(vhost_async_txq_open)
#define vhost_async_txq_publish DP(vhost_async_txq_publish)
#define vhost_async_txq_send DP(vhost_async_txq_send)
#define vhost_async_txq_set_callfd DP(vhost_async_txq_set_callfd)
#define vhost_async_txq_set_state DP(vhost_async_txq_set_state)
#define vhost_async_txq_start DP(vhost_async_txq_start)
#define vhost_async_txq_stop DP(vhost_async_txq_stop)
#define vhost_async_txq_try_unlock DP(vhost_async_txq_try_unlock)
#define vhost_async_txq_trylock_or_leave DP(vhost_async_txq_trylock_or_leave)
#define vhost_async_txq_waits_for DP(vhost_async_txq_waits_for)
#define vhost_guest_mem_from_library DP(vhost_guest_mem_from_library)
#define vhost_vring_copy_from_table DP(vhost_vring_copy_from_table)
#define vhost_vring_destroy DP(vhost_vring_destroy)
#define vhost_vring_forget DP(vhost_vring_forget)
#define vhost_vring_get_base DP(vhost_vring_get_base)
#define vhost_vring_init DP(vhost_vring_init)
#define vhost_vring_log DP(vhost_vring_log)
#define vhost_vring_map DP(vhost_vring_map)
#define vhost_vring_open_table DP(vhost_vring_open_table)
#define vhost_vring_packed DP(vhost_vring_packed)
#define vhost_vring_set_base DP(vhost_vring_set_base)
#define vhost_vring_split DP(vhost_vring_split)
#define vhost_vring_unmap DP(vhost_vring_unmap)
#define rte_pktmbuf_free_bulk dp_free_bulk

/* Coverage counters are the test's. */
#undef COVERAGE_DEFINE
#undef COVERAGE_INC
#define COVERAGE_DEFINE(COUNTER) static atomic_count n_##COUNTER
#define COVERAGE_INC(COUNTER) atomic_count_inc(&n_##COUNTER)

/* Log modules are mute, and not known by their names, which are taken. */
#undef VLOG_DEFINE_THIS_MODULE
#define VLOG_DEFINE_THIS_MODULE(MODULE)                         \
    static struct vlog_module this_module = {                   \
        OVS_LIST_INITIALIZER(&this_module.list), #MODULE,       \
        { VLL_OFF, VLL_OFF, VLL_OFF }, VLL_OFF, true            \
    }

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
#include "vhost-async-copy.h"
#include "vhost-async-txq.h"
#include "vhost-async-engine.h"
#include "vhost-async-thread.h"

/* Of the test. */
static void dp_free_bulk(struct rte_mbuf **, unsigned int);

#include "vhost-vring.c"
#include "vhost-vring-packed.c"
#define read_desc split_read_desc
#define add_table split_add_table
#define add_descs split_add_descs
#define take_any split_take_any
#include "vhost-vring-split.c"
#undef read_desc
#undef add_table
#undef add_descs
#undef take_any
#define this_module dpdk_dma_chan_module
#include "dpdk-dma-chan.c"
#undef this_module
#define this_module dpdk_dma_dev_module
#include "dpdk-dma-dev.c"
#undef this_module
#define this_module vhost_async_txq_module
#include "vhost-async-txq.c"
#undef this_module
#include "vhost-async-copy.c"
#ifdef DP_BEFORE_UNLOCK
/* Something happens right before a lock is given up. */
#undef vhost_async_txq_try_unlock
#define vhost_async_txq_try_unlock(TXQ) \
    (DP_BEFORE_UNLOCK(TXQ), DP(vhost_async_txq_try_unlock)(TXQ))
#endif
#include VHOST_ASYNC_ENGINE_SOURCE
#ifdef DP_PUBLISH
/* Something else happens with what a thread reaped. */
#undef vhost_async_engine_publish
#define vhost_async_engine_publish(SELF, TXQ) DP_PUBLISH(SELF, TXQ)
#endif
#include "vhost-async-thread.c"

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
static bool
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
static struct rte_mbuf *
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

static void
dp_pkt_init(struct dp_pkt *pkt, uint32_t size)
{
    memset(pkt, 0, sizeof *pkt);
    pkt->size = size;
    pkt->data = xmalloc(size);
}

#endif /* vhost-data-path.h */
