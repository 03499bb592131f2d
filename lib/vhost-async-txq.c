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

/* Implementation of vhost-async-txq.h: the only file that calls the
 * asynchronous data path of the vhost library.  Facts about the library were
 * read from the source of DPDK 22.11.11, lib/vhost/virtio_net.c and
 * vhost.c. */

#include <config.h>

#include "vhost-async-txq.h"

#include <sched.h>

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>
#include <rte_vhost_async.h>

#include "coverage.h"
#include "dpdk-dma-dev.h"
#include "netdev-dpdk-async.h"
#include "openvswitch/vlog.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_txq);

COVERAGE_DEFINE(vhost_async_submit);
COVERAGE_DEFINE(vhost_async_poll);
COVERAGE_DEFINE(vhost_async_poll_empty);
COVERAGE_DEFINE(vhost_async_drain);
COVERAGE_DEFINE(vhost_async_drain_timeout);

/* Attempts to get at a virtqueue that other threads keep busy, one
 * microsecond each, in rte_vhost_async_channel_unregister(), which only tries
 * the lock. */
#define UNREGISTER_TRIES 1000

/* An engine that has copies and completes none for this long, at the end of a
 * wait in vain, is hung.  Thousands of times what a copy takes. */
#define HUNG_US 20000

/* Creates the txq numbered 'qid' of 'port'.  It is not registered yet. */
struct vhost_async_txq *
vhost_async_txq_create(uint16_t qid, struct netdev_dpdk_async *port)
{
    size_t n_work = dpdk_dma_map_count(dpdk_dma_dev_map());
    struct vhost_async_txq *txq;

    txq = xzalloc_cacheline(sizeof *txq + n_work * sizeof txq->work[0]);
    txq->port = port;
    txq->vid = port->vid;
    txq->qid = qid;
    txq->vring = qid * 2;       /* The guest's receive queue of pair 'qid'. */
    txq->n_work = n_work;
    vhost_async_engine_txq_init(txq);
    for (size_t i = 0; i < n_work; i++) {
        vhost_async_work_init(&txq->work[i], txq);
    }
    return txq;
}

/* Destroys 'txq'.  No thread may know of it any more; nothing may be in
 * flight. */
void
vhost_async_txq_destroy(struct vhost_async_txq *txq)
{
    ovs_assert(!vhost_async_txq_in_flight(txq));
    vhost_async_engine_txq_stop(txq);
    free(ovsrcu_get_protected(struct vhost_async_shadow *, &txq->shadow));
    free_cacheline(txq);
}

/* Has 'shadow' hold 'size' mbufs.  The old one may still be written to by a
 * sender, hence the grace period. */
static void
txq_resize_shadow(struct vhost_async_txq *txq, uint32_t size)
{
    struct vhost_async_shadow *old, *new;
    bool was_quiescent = ovsrcu_is_quiescent();
    uint32_t n = 1u << log_2_ceil(size);

    old = ovsrcu_get_protected(struct vhost_async_shadow *, &txq->shadow);
    if (old && old->size == size) {
        return;
    }

    new = xzalloc(sizeof *new + n * sizeof new->mbufs[0]);
    new->size = size;
    new->mask = n - 1;
    ovsrcu_set(&txq->shadow, new);
    if (old) {
        ovsrcu_postpone(free, old);
        if (was_quiescent) {
            ovsrcu_quiesce_start();
        }
    }
}

/* Registers 'txq' with the vhost library, device 'vid', if its virtqueue is
 * there and it was not yet.  Senders may use it meanwhile, by CPU.
 *
 * Called by the threads of the vhost library and of OVS's vhost events, under
 * the mutex of the port and without any lock of the library. */
bool
vhost_async_txq_register(struct vhost_async_txq *txq, int vid)
{
    struct rte_vhost_vring vring;

    if (vhost_async_txq_is_registered(txq)) {
        return true;
    }
    if (vhost_async_txq_in_flight(txq)
        || rte_vhost_get_vhost_vring(vid, txq->vring, &vring)) {
        return false;
    }

    /* 0 while the guest has not told (22.11: the virtqueue exists as soon as
     * any message mentions it). */
    if (!vring.size) {
        return false;
    }
    if (!vhost_async_engine_txq_start(txq, vring.size,
                                      rte_vhost_get_numa_node(vid))) {
        return false;
    }
    txq_resize_shadow(txq, vring.size);
    /* Fails without a message while the guest has not set the ring up. */
    if (rte_vhost_async_channel_register(vid, txq->vring)) {
        return false;
    }
    atomic_store_relaxed(&txq->stuck, false);
    atomic_store_explicit(&txq->registered, true, memory_order_release);
    return true;
}

/* Whether the library has the virtqueue mapped, as far as it tells. */
static bool
txq_is_mapped(const struct vhost_async_txq *txq, int vid)
{
    struct rte_vhost_vring vring;

    return (!rte_vhost_get_vhost_vring(vid, txq->vring, &vring)
            && vring.desc && vring.avail && vring.used);
}

/* Reverses vhost_async_txq_register().  Nothing may be in flight, nobody may
 * send.  The library only tries the lock of the virtqueue, which a poller or
 * a receiver of the same device can hold for a moment.  Of a virtqueue that
 * the guest had it unmap before, it does not let go, until the guest is gone:
 * meanwhile the CPU copies. */
void
vhost_async_txq_unregister(struct vhost_async_txq *txq, int vid)
{
    if (!vhost_async_txq_is_registered(txq)) {
        return;
    }
    atomic_store_relaxed(&txq->registered, false);
    for (int i = 0; i < UNREGISTER_TRIES; i++) {
        if (!rte_vhost_async_channel_unregister(vid, txq->vring)
            || !txq_is_mapped(txq, vid)) {
            return;
        }
        rte_delay_us_sleep(1);
    }
    VLOG_WARN("vhost device %d: cannot unregister virtqueue %"PRIu16" from "
              "asynchronous copies.", vid, txq->vring);
}

/* As vhost_async_txq_unregister(), for callbacks of the library that run with
 * all virtqueues of the device locked.  Senders find the queue unregistered
 * once they get its lock. */
void
vhost_async_txq_unregister_locked(struct vhost_async_txq *txq, int vid)
{
    if (vhost_async_txq_is_registered(txq)
        && !rte_vhost_async_channel_unregister_thread_unsafe(vid,
                                                             txq->vring)) {
        atomic_store_relaxed(&txq->registered, false);
    }
}

/* The vhost library hands the segments of a packet to the engine one by one.
 * When rte_dma_copy() fails for one, the packet is not taken, but the engine
 * has what came before it, and carries that out whatever becomes of the mbuf
 * and of the guest's buffer (vhost_async_dma_transfer_one(), 22.11).  The
 * library does not tell, nor count these copies as in flight.
 *
 * So 'chan' is suspected of that whenever it took fewer packets than it was
 * handed, until it reaped all that it had been handed by then.  A packet that
 * goes the same way later completes after them: nothing is left any more when
 * that is back. */
static void
txq_note_left(struct vhost_async_txq *txq, const struct dpdk_dma_chan *chan)
{
    uint64_t n = dpdk_dma_chan_submitted(chan);

    atomic_store_relaxed(&txq->work[chan->index].left, n + 1);
    atomic_store_relaxed(&txq->left, true);
}

static void
txq_clear_left(struct vhost_async_txq *txq, const struct dpdk_dma_chan *chan)
{
    bool left;

    atomic_read_relaxed(&txq->left, &left);
    if (OVS_UNLIKELY(left)) {
        atomic_store_relaxed(&txq->work[chan->index].left, 0);
        atomic_store_relaxed(&txq->left, false);
        for (size_t i = 0; i < txq->n_work; i++) {
            if (vhost_async_counter(&txq->work[i].left)) {
                atomic_store_relaxed(&txq->left, true);
            }
        }
    }
}

/* Hands 'cnt' packets, 32 at most, to 'chan'.  Returns how many of them, from
 * the first on, were taken: those belong to the txq from now on.  Fewer than
 * 'cnt' if the virtqueue or the ring of the channel lacks room, or if the
 * queue is disabled.
 *
 * The caller is the one sender, owns 'chan' and read 'vid' in this RCU
 * critical section. */
uint16_t
vhost_async_txq_submit(struct vhost_async_txq *txq, int vid,
                       const struct dpdk_dma_chan *chan,
                       struct rte_mbuf **pkts, uint16_t cnt)
{
    struct vhost_async_shadow *shadow
        = ovsrcu_get(struct vhost_async_shadow *, &txq->shadow);
    uint32_t seq = vhost_async_txq_submitted(txq);
    uint32_t room = shadow->size - vhost_async_txq_in_flight(txq);
    uint16_t n;

    /* The library has room for as many packets as the virtqueue has
     * descriptors, and relies on the guest for not offering more. */
    cnt = MIN(cnt, room);
    if (OVS_UNLIKELY(!cnt)) {
        return 0;
    }

    /* Counted first: another thread can poll these packets back before the
     * call returns, and the number in flight must not pass zero.  Relaxed,
     * because who concludes something from it is the one sender. */
    atomic_store_relaxed(&txq->submitted, seq + cnt);
    n = rte_vhost_submit_enqueue_burst(vid, txq->vring, pkts, cnt,
                                       chan->dev_id, chan->vchan);
    if (OVS_UNLIKELY(n < cnt)) {
        atomic_store_relaxed(&txq->submitted, seq + n);
        txq_note_left(txq, chan);
    } else {
        txq_clear_left(txq, chan);
    }

    /* Not before: what is not taken may stand in the place of what is still
     * in flight.  Some may be back already, which does not matter. */
    for (uint16_t i = 0; i < n; i++) {
        shadow->mbufs[(seq + i) & shadow->mask] = pkts[i];
    }
    COVERAGE_INC(vhost_async_submit);
    return n;
}

static void
txq_complete(struct vhost_async_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
    uint32_t orig;

    /* Release, see vhost_async_txq_completed(). */
    atomic_add_explicit(&txq->completed, n, &orig, memory_order_release);
    rte_pktmbuf_free_bulk(pkts, n);
}

/* Gives the guest what the engine behind 'chan' finished and frees the mbufs.
 * Returns the number of packets, 0 also if another thread is at the
 * virtqueue.
 *
 * Any thread may call this, see at the top of vhost-async-txq.h.  'chan' must
 * be usable, 'vid' read in this RCU critical section. */
uint16_t
vhost_async_txq_poll(struct vhost_async_txq *txq, int vid,
                     const struct dpdk_dma_chan *chan)
{
    struct rte_mbuf *pkts[VHOST_ASYNC_POLL_BURST];
    uint16_t n;

    n = rte_vhost_poll_enqueue_completed(vid, txq->vring, pkts,
                                         ARRAY_SIZE(pkts), chan->dev_id,
                                         chan->vchan);
    COVERAGE_INC(vhost_async_poll);
    if (!n) {
        COVERAGE_INC(vhost_async_poll_empty);
        return 0;
    }
    txq_complete(txq, pkts, n);
    return n;
}

static uint64_t
deadline_after(unsigned int timeout_us)
{
    return rte_get_tsc_cycles() + rte_get_tsc_hz() / 1000000 * timeout_us;
}

/* Whether one of the first 'n' copies that 'chan' was handed, as counted by
 * the driver, is not reaped yet; 'n' is 0 if it does not count.  Copies of a
 * vchan complete in order.
 *
 * Until a copy is reaped the vhost library keeps a pointer to the flag that it
 * sets then, which goes with the virtqueue (22.11). */
static bool
chan_is_behind(const struct dpdk_dma_chan *chan, uint64_t n)
{
    return dpdk_dma_chan_usable(chan) && dpdk_dma_chan_in_flight(chan)
           && (!n || dpdk_dma_chan_reaped(chan) < n);
}

static bool
chan_has_left(const struct vhost_async_txq *txq,
              const struct dpdk_dma_chan *chan)
{
    uint64_t left = vhost_async_counter(&txq->work[chan->index].left);

    if (OVS_LIKELY(!left)) {
        return false;
    }
    return (dpdk_dma_chan_failed(chan) ? !dpdk_dma_dev_failed_stopped()
                                       : chan_is_behind(chan, left - 1));
}

/* Whether a channel may still work on copies that were left of a packet which
 * 'txq' did not take, or which it took in the end.  Any thread. */
bool
vhost_async_txq_has_left(const struct vhost_async_txq *txq)
{
    const struct dpdk_dma_chan *chan;
    bool left;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_txq *, txq)->left,
                        &left);
    if (OVS_LIKELY(!left)) {
        return false;
    }
    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (chan_has_left(txq, chan)) {
            return true;
        }
    }
    return false;
}

/* Whether packets that 'txq' waits for went to 'chan'.  Any thread. */
bool
vhost_async_txq_waits_for(const struct vhost_async_txq *txq,
                          const struct dpdk_dma_chan *chan)
{
    const struct vhost_async_work *work = &txq->work[chan->index];
    uint32_t ahead = vhost_async_work_last(work)
                     - vhost_async_txq_completed(txq);

    return ahead && ahead <= vhost_async_txq_in_flight(txq);
}

/* Whether there is any use in polling: not without a channel, nor if the txq
 * waits for one that failed. */
static bool
txq_has_hope(const struct vhost_async_txq *txq)
{
    const struct dpdk_dma_chan *chan;
    bool hope = false;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (dpdk_dma_chan_usable(chan)) {
            hope = true;
        } else if (dpdk_dma_chan_failed(chan)
                   && (vhost_async_txq_waits_for(txq, chan)
                       || chan_has_left(txq, chan))) {
            return false;
        }
    }
    return hope;
}

static void
txq_poll_all(struct vhost_async_txq *txq, int vid)
{
    const struct dpdk_dma_chan *chan;

    dpdk_dma_dev_poll_begin();
    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (dpdk_dma_chan_usable(chan)) {
            vhost_async_txq_poll(txq, vid, chan);
        }
    }
    dpdk_dma_dev_poll_end();
}

static bool
txq_is_past(const struct vhost_async_txq *txq, uint32_t seq)
{
    return (int32_t) (vhost_async_txq_completed(txq) - seq) >= 0
           && !vhost_async_txq_has_left(txq);
}

/* Waits until the packets up to number 'seq', as counted by 'submitted', came
 * back to 'txq', polling all channels.  Returns false if that takes longer
 * than 'timeout_us' or has no prospect.
 *
 * Any thread.  The caller may hold the tx lock; it must hold no lock of the
 * vhost library, and read 'vid' in this RCU critical section or be the thread
 * that ends the device. */
bool
vhost_async_txq_drain_until(struct vhost_async_txq *txq, int vid,
                            uint32_t seq, unsigned int timeout_us)
{
    uint64_t deadline = deadline_after(timeout_us);

    while (!txq_is_past(txq, seq)) {
        COVERAGE_INC(vhost_async_drain);
        txq_poll_all(txq, vid);
        if (txq_is_past(txq, seq)) {
            break;
        }
        if (!txq_has_hope(txq) || rte_get_tsc_cycles() > deadline) {
            COVERAGE_INC(vhost_async_drain_timeout);
            return false;
        }
        /* A software engine may need this very core. */
        sched_yield();
    }
    return true;
}

/* Waits until nothing is in flight to 'txq', as vhost_async_txq_drain_until()
 * does.  Nobody else may be sending. */
bool
vhost_async_txq_drain(struct vhost_async_txq *txq, int vid,
                      unsigned int timeout_us)
{
    return vhost_async_txq_drain_until(txq, vid,
                                       vhost_async_txq_submitted(txq),
                                       timeout_us);
}

static void
txq_clear_all(struct vhost_async_txq *txq, int vid)
{
    const struct dpdk_dma_chan *chan;
    struct rte_mbuf *pkts[VHOST_ASYNC_POLL_BURST];

    dpdk_dma_dev_poll_begin();
    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (dpdk_dma_chan_usable(chan)) {
            uint16_t n;

            n = rte_vhost_clear_queue_thread_unsafe(vid, txq->vring, pkts,
                                                    ARRAY_SIZE(pkts),
                                                    chan->dev_id,
                                                    chan->vchan);
            /* UINT16_MAX is an error (fact of 22.11: -1, unsigned). */
            if (n && n <= ARRAY_SIZE(pkts)) {
                txq_complete(txq, pkts, n);
            }
        }
    }
    dpdk_dma_dev_poll_end();
}

/* As vhost_async_txq_drain(), for callbacks of the library that run with all
 * virtqueues of the device locked.  Senders may be waiting for the lock with
 * packets already counted, so what the library knows decides. */
bool
vhost_async_txq_drain_locked(struct vhost_async_txq *txq, int vid,
                             unsigned int timeout_us)
{
    uint64_t deadline = deadline_after(timeout_us);

    if (!vhost_async_txq_is_registered(txq)) {
        return true;
    }
    while (rte_vhost_async_get_inflight_thread_unsafe(vid, txq->vring) > 0
           || vhost_async_txq_has_left(txq)) {
        if (!txq_has_hope(txq) || rte_get_tsc_cycles() > deadline) {
            COVERAGE_INC(vhost_async_drain_timeout);
            return false;
        }
        COVERAGE_INC(vhost_async_drain);
        txq_clear_all(txq, vid);
        sched_yield();
    }
    return true;
}

/* A drain of 'txq' was in vain: sees to it that no engine works on a copy for
 * it any more.  Those which go on completing copies, be it for other txqs, may
 * get through with what they have for it, within the timeout; the others, and
 * those which need longer, are quarantined.  Engines that have nothing for it,
 * or failed before, are not looked at.
 *
 * The thread that ends the device, or that handles its message with all
 * virtqueues 'locked', so that nobody can submit more.  It polls, because
 * owners of channels may be waiting for one of these locks. */
void
vhost_async_txq_quarantine(struct vhost_async_txq *txq, int vid, bool locked)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();
    struct {
        bool involved;
        uint64_t submitted;
        uint64_t reaped;        /* At 'tsc', when it changed last. */
        uint64_t tsc;
    } seen[DPDK_DMA_MAX_CHANS];
    uint64_t deadline = deadline_after(dpdk_dma_dev_timeout_ms() * 1000);
    uint64_t patience = rte_get_tsc_hz() / 1000000 * HUNG_US;
    struct dpdk_dma_chan *chan;
    bool behind;

    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        seen[i].involved = (vhost_async_txq_waits_for(txq, chan)
                            || chan_has_left(txq, chan));
        seen[i].submitted = dpdk_dma_chan_submitted(chan);
        seen[i].reaped = dpdk_dma_chan_reaped(chan);
        seen[i].tsc = rte_get_tsc_cycles();
    }
    do {
        if (locked) {
            txq_clear_all(txq, vid);
        } else {
            txq_poll_all(txq, vid);
        }
        sched_yield();

        behind = false;
        for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
            uint64_t reaped = dpdk_dma_chan_reaped(chan);
            uint64_t now = rte_get_tsc_cycles();

            if (!seen[i].involved
                || !chan_is_behind(chan, seen[i].submitted)) {
                continue;
            }
            behind = true;
            if (reaped > seen[i].reaped) {
                seen[i].reaped = reaped;
                seen[i].tsc = now;
            }
            if (now - seen[i].tsc > patience || now > deadline) {
                dpdk_dma_dev_quarantine(chan, "a guest's queue cannot be "
                                              "drained");
            }
        }
    } while (behind);
}

/* Gives up what is still in flight to 'txq': its mbufs are freed and counted
 * as lost.  To be called once the engine that should have carried them was
 * stopped, nobody can be sending or polling, and the virtqueue will not be
 * used again.  Returns the number of packets. */
unsigned int
vhost_async_txq_abandon(struct vhost_async_txq *txq)
{
    const struct vhost_async_shadow *shadow
        = ovsrcu_get_protected(struct vhost_async_shadow *, &txq->shadow);
    uint32_t n = vhost_async_txq_in_flight(txq);
    uint32_t seq = vhost_async_txq_completed(txq);

    for (uint32_t i = 0; i < n; i++) {
        rte_pktmbuf_free(shadow->mbufs[(seq + i) & shadow->mask]);
    }
    atomic_store_relaxed(&txq->completed, seq + n);
    vhost_async_count(&txq->stats.lost_drops, n);
    return n;
}

/* Returns the number of bytes that 'txq' takes, with all that it points to. */
size_t
vhost_async_txq_memory(const struct vhost_async_txq *txq)
{
    const struct vhost_async_shadow *shadow
        = ovsrcu_get(struct vhost_async_shadow *,
                     &CONST_CAST(struct vhost_async_txq *, txq)->shadow);
    size_t n = sizeof *txq + txq->n_work * sizeof txq->work[0];

    if (shadow) {
        n += sizeof *shadow + (shadow->mask + 1) * sizeof shadow->mbufs[0];
    }
    return n + vhost_async_engine_txq_memory(txq);
}
