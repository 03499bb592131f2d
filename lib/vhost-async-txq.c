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

/* Implementation of vhost-async-txq.h.
 *
 * Sending is any thread's, publishing whichever thread's holds the lock then;
 * starting and stopping is that of the thread which handles the messages of
 * the guest (vhost-async-guest.c). */

#include <config.h>

#include "vhost-async-txq.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <rte_pause.h>

#include "coverage.h"
#include "dpdk-dma-chan.h"
#include "openvswitch/vlog.h"
#include "vhost-guest-mem.h"
#include "vhost-net-hdr.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_txq);

COVERAGE_DEFINE(vhost_async_contended);
COVERAGE_DEFINE(vhost_async_no_room);
COVERAGE_DEFINE(vhost_async_notify);

/* Packets whose mbufs are freed at once. */
#define TXQ_FREE_BURST 32

/* Attempts at a lock before the core is given to others: its holder is done
 * within a burst, unless it is not running. */
#define TXQ_SPINS 1000

struct vhost_async_policy vhost_async_policy = {
    .threshold = VHOST_ASYNC_THRESHOLD,
};

/* The lock.  Acquire and release order what one holder did before what the
 * next one does, and what was left for it, see the header. */

static bool
lock_cas(struct vhost_async_txq *txq, uint32_t *old, uint32_t new)
{
    return atomic_compare_exchange_weak_explicit(&txq->lock, old, new,
                                                 memory_order_acq_rel,
                                                 memory_order_relaxed);
}

/* Takes the lock, or leaves work for its holder: returns false if that is what
 * happened.  Any thread; what is left must be visible before. */
bool
vhost_async_txq_trylock_or_leave(struct vhost_async_txq *txq)
{
    uint32_t word;

    atomic_read_relaxed(&txq->lock, &word);
    for (;;) {
        if (OVS_UNLIKELY(word & (VHOST_ASYNC_LOCKED | VHOST_ASYNC_CLOSED))) {
            /* Also if it is pending already: the holder that clears that must
             * see what was left before this. */
            if (lock_cas(txq, &word, word | VHOST_ASYNC_PENDING)) {
                return false;
            }
        } else if (lock_cas(txq, &word, VHOST_ASYNC_LOCKED)) {
            return true;
        }
    }
}

/* Takes the lock, waiting for its holder, but not for one that handles a
 * message: returns false then.  Any thread that sends. */
bool
vhost_async_txq_lock_unless_closed(struct vhost_async_txq *txq)
{
    uint32_t word = 0;

    if (OVS_LIKELY(lock_cas(txq, &word, VHOST_ASYNC_LOCKED))) {
        return true;
    }
    COVERAGE_INC(vhost_async_contended);
    for (int i = 1; ; i++) {
        if (word & VHOST_ASYNC_CLOSED) {
            return false;
        } else if (!(word & VHOST_ASYNC_LOCKED)) {
            if (lock_cas(txq, &word, VHOST_ASYNC_LOCKED)) {
                return true;
            }
        } else {
            rte_pause();
            if (i % TXQ_SPINS == 0) {
                sched_yield();
            }
            atomic_read_relaxed(&txq->lock, &word);
        }
    }
}

/* Takes the lock for something short, which senders wait for.  By one thread
 * at a time, see vhost_async_txq_close(). */
void
vhost_async_txq_lock(struct vhost_async_txq *txq)
{
    bool locked = vhost_async_txq_lock_unless_closed(txq);

    ovs_assert(locked);
}

/* Gives up the lock, unless work was left: then the caller still has it, sees
 * to the work, and calls this again.  Returns true if it was given up. */
bool
vhost_async_txq_try_unlock(struct vhost_async_txq *txq)
{
    uint32_t word = VHOST_ASYNC_LOCKED;

    for (;;) {
        if (OVS_UNLIKELY(word & VHOST_ASYNC_PENDING)) {
            if (lock_cas(txq, &word, word & ~VHOST_ASYNC_PENDING)) {
                return false;
            }
        } else if (OVS_LIKELY(lock_cas(txq, &word,
                                       word & ~VHOST_ASYNC_LOCKED))) {
            return true;
        }
    }
}

/* Takes the lock and has senders not wait for it until vhost_async_txq_open().
 * A holder has it for a burst, so this waits no longer than the vhost library
 * does for its own locks.  One thread at a time does this: the one that is in
 * control of the guest (vhost-async-guest.h). */
void
vhost_async_txq_close(struct vhost_async_txq *txq)
{
    uint32_t word;

    atomic_read_relaxed(&txq->lock, &word);
    for (int i = 1; ; i++) {
        if (!(word & VHOST_ASYNC_LOCKED)) {
            if (lock_cas(txq, &word, (word | VHOST_ASYNC_LOCKED
                                      | VHOST_ASYNC_CLOSED))) {
                break;
            }
        } else if (!(word & VHOST_ASYNC_CLOSED)) {
            lock_cas(txq, &word, word | VHOST_ASYNC_CLOSED);
        } else {
            rte_pause();
            if (i % TXQ_SPINS == 0) {
                sched_yield();
            }
            atomic_read_relaxed(&txq->lock, &word);
        }
    }
}

/* Has senders wait for the lock again, which the caller still holds. */
void
vhost_async_txq_open(struct vhost_async_txq *txq)
{
    uint32_t orig;

    atomic_and_explicit(&txq->lock, ~VHOST_ASYNC_CLOSED, &orig,
                        memory_order_acq_rel);
}

/* Life. */

static uint32_t
txq_get(const atomic_uint32_t *counter)
{
    uint32_t n;

    atomic_read_relaxed(CONST_CAST(atomic_uint32_t *, counter), &n);
    return n;
}

/* Creates txq 'qid' of the port called 'port', whose netdev keeps
 * tx-retries-max in '*tx_retries'.  Its ring is the library's or stopped, as
 * 'state' says. */
struct vhost_async_txq *
vhost_async_txq_create(const char *port, uint16_t qid,
                       atomic_uint8_t *tx_retries,
                       enum vhost_async_txq_state state)
{
    struct vhost_async_txq *txq = xzalloc_cacheline(sizeof *txq);

    ovs_assert(state == VHOST_ASYNC_TXQ_LIBRARY
               || state == VHOST_ASYNC_TXQ_STOPPED);
    txq->port = xstrdup(port);
    txq->qid = qid;
    txq->tx_retries = tx_retries;
    atomic_init(&txq->dma, true);
    atomic_init(&txq->lock, 0);
    atomic_init(&txq->state, state);
    atomic_init(&txq->sent, 0);
    atomic_init(&txq->published, 0);
    txq->callfd = -1;
    vhost_vring_init(&txq->vring);
    return txq;
}

/* Destroys 'txq', of which no thread may know and with which nothing may be in
 * flight. */
void
vhost_async_txq_destroy(struct vhost_async_txq *txq)
{
    if (txq) {
        ovs_assert(!vhost_async_txq_in_flight(txq));
        vhost_async_txq_set_callfd(txq, -1);
        vhost_vring_destroy(&txq->vring);
        free_cacheline(txq->pkts);
        free(txq->port);
        free_cacheline(txq);
    }
}

/* Changes the state of the ring.  The holder of the lock. */
void
vhost_async_txq_set_state(struct vhost_async_txq *txq,
                          enum vhost_async_txq_state state)
{
    /* By old state, the new ones as bits. */
    static const uint32_t allowed[] = {
        [VHOST_ASYNC_TXQ_LIBRARY] = 1 << VHOST_ASYNC_TXQ_STOPPED,
        [VHOST_ASYNC_TXQ_STOPPED] = 1 << VHOST_ASYNC_TXQ_DISABLED,
        [VHOST_ASYNC_TXQ_DISABLED] = (1 << VHOST_ASYNC_TXQ_STOPPED
                                      | 1 << VHOST_ASYNC_TXQ_RUNNING
                                      | 1 << VHOST_ASYNC_TXQ_STUCK),
        [VHOST_ASYNC_TXQ_RUNNING] = (1 << VHOST_ASYNC_TXQ_STOPPED
                                     | 1 << VHOST_ASYNC_TXQ_DISABLED
                                     | 1 << VHOST_ASYNC_TXQ_STUCK),
        [VHOST_ASYNC_TXQ_STUCK] = 1 << VHOST_ASYNC_TXQ_STOPPED,
    };
    enum vhost_async_txq_state old = vhost_async_txq_state(txq);

    if (state != old) {
        ovs_assert(allowed[old] & (1 << state));
        atomic_store_explicit(&txq->state, state, memory_order_release);
    }
}

/* Has the ring mapped as 'setup' says, for packets that are in flight, or
 * disabled if it was stopped.  Returns NULL, or why that is impossible, in
 * which case it stays as it was but unmapped.
 *
 * The holder of the lock, on behalf of a message of the guest. */
const char *
vhost_async_txq_start(struct vhost_async_txq *txq,
                      const struct vhost_vring_setup *setup)
{
    const char *error = vhost_vring_map(&txq->vring, setup);
    uint32_t n_pkts;

    if (error) {
        return error;
    }
    n_pkts = txq->vring.chains_mask + 1;
    if (!txq->pkts || txq->pkts_mask + 1 != n_pkts) {
        /* No thread looks at packets when none is in flight. */
        ovs_assert(!vhost_async_txq_in_flight(txq));
        free_cacheline(txq->pkts);
        txq->pkts = xzalloc_cacheline(n_pkts * sizeof *txq->pkts);
        txq->pkts_mask = n_pkts - 1;
    }
    if (vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_STOPPED) {
        vhost_async_txq_set_state(txq, VHOST_ASYNC_TXQ_DISABLED);
    }
    return NULL;
}

/* Stops the ring.  What is in flight to it is given up: it will be freed once
 * its copies are done, and nothing is published any more.
 *
 * The holder of the lock, once vhost_async_txq_drain() was tried. */
void
vhost_async_txq_stop(struct vhost_async_txq *txq)
{
    vhost_vring_unmap(&txq->vring);
    vhost_vring_forget(&txq->vring);
    vhost_async_txq_set_state(txq, (vhost_async_txq_in_flight(txq)
                                    ? VHOST_ASYNC_TXQ_STUCK
                                    : VHOST_ASYNC_TXQ_STOPPED));
    txq->log_all = false;
}

/* Makes 'fd', which then belongs to 'txq', what notifies the guest; -1 if it
 * polls.  The holder of the lock. */
void
vhost_async_txq_set_callfd(struct vhost_async_txq *txq, int fd)
{
    if (txq->callfd >= 0) {
        close(txq->callfd);
    }
    txq->callfd = fd;
}

/* Notifies the guest.  The holder of the lock. */
void
vhost_async_txq_notify(struct vhost_async_txq *txq)
{
    if (txq->callfd >= 0) {
        COVERAGE_INC(vhost_async_notify);
        /* That a counter is full is as good: the guest was told. */
        if (!eventfd_write(txq->callfd, 1)) {
            vhost_async_count(&txq->stats.notifications, 1);
        }
    }
}

/* Sending. */

/* Where the next byte of a packet comes from and goes to. */
struct txq_cursor {
    const struct rte_mbuf *mbuf;
    uint32_t src_ofs;
    const struct vhost_vring_seg *seg;
    uint32_t dst_ofs;
};

/* Moves past what is used up.  Segments of mbufs may be empty, pieces of the
 * guest's buffers are not. */
static inline void
cursor_settle(struct txq_cursor *c)
{
    while (c->mbuf && c->src_ofs == c->mbuf->data_len) {
        c->mbuf = c->mbuf->next;
        c->src_ofs = 0;
    }
    if (c->dst_ofs == c->seg->len) {
        c->seg++;
        c->dst_ofs = 0;
    }
}

static inline uint32_t
cursor_len(const struct txq_cursor *c)
{
    return MIN(c->mbuf->data_len - c->src_ofs, c->seg->len - c->dst_ofs);
}

static inline const void *
cursor_src(const struct txq_cursor *c)
{
    return rte_pktmbuf_mtod_offset(c->mbuf, const void *, c->src_ofs);
}

static inline uint8_t *
cursor_dst(const struct txq_cursor *c)
{
    return c->seg->va + c->dst_ofs;
}

static inline void
cursor_advance(struct txq_cursor *c, uint32_t n)
{
    c->src_ofs += n;
    c->dst_ofs += n;
}

static void
txq_log(const struct vhost_async_txq *txq, const struct txq_cursor *c,
        uint32_t len)
{
    if (OVS_UNLIKELY(txq->vring.log_vid >= 0)) {
        vhost_vring_log(&txq->vring, cursor_dst(c), c->seg->region, len);
    }
}

/* Writes the header of 'pkt' and has '*c' point to what follows. */
static inline void
txq_write_header(struct vhost_async_txq *txq, struct rte_mbuf *pkt,
                 struct txq_cursor *c)
{
    struct virtio_net_hdr_mrg_rxbuf hdr;
    uint32_t n, size = txq->vring.hdr_len;

    vhost_net_hdr_make(&hdr, pkt, txq->buf.n_chains);
    c->mbuf = pkt;
    c->src_ofs = 0;
    c->seg = txq->buf.segs;
    c->dst_ofs = 0;
    if (OVS_LIKELY(c->seg->len >= sizeof hdr && size == sizeof hdr)) {
        memcpy(c->seg->va, &hdr, sizeof hdr);
        txq_log(txq, c, sizeof hdr);
        c->dst_ofs = sizeof hdr;
        return;
    }
    for (uint32_t ofs = 0; ofs < size; ofs += n) {
        if (c->dst_ofs == c->seg->len) {
            c->seg++;
            c->dst_ofs = 0;
        }
        n = MIN(size - ofs, c->seg->len - c->dst_ofs);
        memcpy(cursor_dst(c), (const char *) &hdr + ofs, n);
        txq_log(txq, c, n);
        c->dst_ofs += n;
    }
}

/* Copies the rest of a packet. */
static inline void
txq_copy_by_cpu(struct vhost_async_txq *txq, struct txq_cursor *c,
                uint32_t len)
{
    while (len) {
        uint32_t n;

        cursor_settle(c);
        n = cursor_len(c);
        rte_memcpy(cursor_dst(c), cursor_src(c), n);
        txq_log(txq, c, n);
        cursor_advance(c, n);
        len -= n;
    }
}

/* Hands pieces of a packet to 'chan' as long as it takes them.  Returns how
 * many bytes that were. */
static inline uint32_t
txq_copy_by_dma(struct vhost_async_txq *txq, struct dpdk_dma_chan *chan,
                struct txq_cursor *c, uint32_t len)
{
    const struct vhost_guest_mem *mem = txq->vring.mem;
    uint32_t done = 0;

    while (done < len) {
        rte_iova_t src, dst;
        uint32_t n;

        cursor_settle(c);
        n = cursor_len(c);
        src = rte_pktmbuf_iova_offset(c->mbuf, c->src_ofs);
        dst = vhost_guest_mem_iova(mem, c->seg->region, cursor_dst(c), &n);
        if (OVS_UNLIKELY(dst == RTE_BAD_IOVA
                         || !dpdk_dma_chan_add(chan, dst, src, cursor_dst(c),
                                               cursor_src(c), n))) {
            break;
        }
        cursor_advance(c, n);
        done += n;
    }
    return done;
}

/* Whether 'chan' has room for a packet.  A packet can have more pieces than a
 * channel takes at all. */
static inline bool
txq_has_room(const struct vhost_async_txq *txq,
             const struct dpdk_dma_chan *chan, const struct rte_mbuf *pkt)
{
    unsigned int n = txq->buf.n_segs + pkt->nb_segs - 1;

    if (OVS_UNLIKELY(txq->vring.mem->regions[0].pages)) {
        /* By physical addresses.  What lies behind a page can be anywhere,
         * also of a buffer that did not come from a mempool. */
        if (RTE_MBUF_HAS_EXTBUF(pkt)) {
            return false;
        }
        n += (pkt->pkt_len >> 12) + 1;
    }
    return n <= dpdk_dma_chan_room(chan);
}

static inline void
txq_count_packet(struct vhost_async_txq *txq, const struct rte_mbuf *pkt)
{
    const struct rte_ether_addr *ea
        = rte_pktmbuf_mtod(pkt, const struct rte_ether_addr *);
    uint32_t len = pkt->pkt_len;
    int bin;

    /* From 65 to 1023 bytes a bin ends with a power of two. */
    if (len > 64 && len < 1024) {
        bin = 32 - __builtin_clz(len) - 5;
    } else {
        bin = len < 64 ? 0 : len == 64 ? 1 : len < 1519 ? 6 : 7;
    }
    vhost_async_count(&txq->stats.size_bins[bin], 1);
    if (OVS_UNLIKELY(rte_is_multicast_ether_addr(ea))) {
        vhost_async_count(rte_is_broadcast_ether_addr(ea)
                          ? &txq->stats.broadcast : &txq->stats.multicast, 1);
    }
}

static inline void
txq_add_in_flight(struct vhost_async_txq *txq, uint32_t seq,
                  struct rte_mbuf *mbuf, const struct dpdk_dma_chan *chan)
{
    struct vhost_async_pkt *pkt = &txq->pkts[seq & txq->pkts_mask];

    pkt->mbuf = mbuf;
    pkt->n_chains = txq->buf.n_chains;
    pkt->chan = chan ? chan->index : 0;
    /* Relaxed: who may set it reaps the channel of this thread, which is this
     * thread, and who looks at it holds the lock. */
    atomic_store_relaxed(&pkt->done, !chan);
}

/* Whether packets may go by DMA now.  The pages that an engine writes are not
 * logged: while a guest is migrated the CPU copies. */
static inline bool
txq_may_use(const struct vhost_async_txq *txq,
            const struct dpdk_dma_chan *chan)
{
    bool dma;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_txq *, txq)->dma, &dma);
    return dma && chan && !dpdk_dma_chan_failed(chan)
           && txq->vring.log_vid < 0 && !txq->vring.mem->no_dma;
}

static void
sender_count(struct vhost_async_sender *self, uint32_t n_dma,
             uint64_t dma_bytes, uint32_t n_cpu, uint64_t cpu_bytes)
{
    if (n_dma) {
        vhost_async_count(&self->dma_packets, n_dma);
        vhost_async_count(&self->dma_bytes, dma_bytes);
        vhost_async_count(&self->bursts, 1);
    }
    if (n_cpu) {
        vhost_async_count(&self->cpu_packets, n_cpu);
        vhost_async_count(&self->cpu_bytes, cpu_bytes);
    }
}

/* Copies 'cnt' packets to the ring, by DMA through the channel of 'self', NULL
 * for a thread that has none, or by CPU.  Returns how many, from the first on,
 * were taken; if not all were, sets '*obstacle'.  Those in whose place is NULL
 * then belong to the txq; all others still to the caller.
 *
 * The holder of the lock. */
uint16_t
vhost_async_txq_send(struct vhost_async_txq *txq,
                     struct vhost_async_sender *self, struct rte_mbuf **pkts,
                     uint16_t cnt, enum vhost_async_obstacle *obstacle)
{
    struct dpdk_dma_chan *chan = self ? self->chan : NULL;
    uint32_t sent = txq_get(&txq->sent);
    bool in_flight = sent != txq_get(&txq->published);
    uint64_t dma_bytes = 0, cpu_bytes = 0;
    struct vhost_vring *vr = &txq->vring;
    uint32_t n_dma = 0, n_direct = 0, n_chains = 0;
    uint32_t threshold;
    bool use_dma;
    uint16_t i;

    *obstacle = VHOST_ASYNC_NONE;
    if (OVS_UNLIKELY(vhost_async_txq_state(txq) != VHOST_ASYNC_TXQ_RUNNING)) {
        *obstacle = VHOST_ASYNC_DOWN;
        return 0;
    }
    use_dma = txq_may_use(txq, chan);
    threshold = txq_get(&vhost_async_policy.threshold);

    for (i = 0; i < cnt; i++) {
        struct rte_mbuf *pkt = pkts[i];
        uint32_t len = pkt->pkt_len;
        struct txq_cursor c;
        uint32_t done = 0;

        if (OVS_UNLIKELY(vhost_vring_take(vr, vr->hdr_len + len, &txq->buf)
                         != VHOST_VRING_TAKEN)) {
            *obstacle = VHOST_ASYNC_FULL;
            break;
        }
        txq_count_packet(txq, pkt);
        txq_write_header(txq, pkt, &c);
        if (use_dma && len >= threshold) {
            if (OVS_LIKELY(txq_has_room(txq, chan, pkt))) {
                done = txq_copy_by_dma(txq, chan, &c, len);
            } else {
                COVERAGE_INC(vhost_async_no_room);
            }
        }
        if (OVS_UNLIKELY(done < len)) {
            txq_copy_by_cpu(txq, &c, len - done);
        }
        if (done) {
            txq_add_in_flight(txq, sent, pkt, chan);
            dpdk_dma_chan_end_packet(chan, txq, sent++);
            pkts[i] = NULL;
            in_flight = true;
            n_dma++;
            dma_bytes += len;
        } else {
            cpu_bytes += len;
            if (in_flight) {
                txq_add_in_flight(txq, sent++, NULL, NULL);
            } else {
                n_direct++;
                n_chains += txq->buf.n_chains;
            }
        }
    }

    atomic_store_relaxed(&txq->sent, sent);
    if (n_dma) {
        dpdk_dma_chan_doorbell(chan);
        vhost_async_count(&txq->stats.dma_packets, n_dma);
        vhost_async_count(&txq->stats.dma_bytes, dma_bytes);
    }
    if (i != n_dma) {
        vhost_async_count(&txq->stats.cpu_packets, i - n_dma);
        vhost_async_count(&txq->stats.cpu_bytes, cpu_bytes);
    }
    if (self) {
        sender_count(self, n_dma, dma_bytes, i - n_dma, cpu_bytes);
    }
    if (n_direct) {
        /* Nothing was in flight ahead of them. */
        vhost_vring_publish(vr, n_chains);
        vhost_async_count(&txq->stats.published, n_direct);
        if (vhost_vring_must_notify(vr)) {
            vhost_async_txq_notify(txq);
        }
    }
    return i;
}

/* Counts 'n' packets that are dropped because of 'obstacle'.  Any thread. */
void
vhost_async_txq_count_drops(struct vhost_async_txq *txq,
                            enum vhost_async_obstacle obstacle, uint32_t n)
{
    vhost_async_count_shared((obstacle == VHOST_ASYNC_FULL
                              ? &txq->stats.full_drops
                              : obstacle == VHOST_ASYNC_DOWN
                              ? &txq->stats.down_drops
                              : &txq->stats.busy_drops), n);
}

/* Publishing. */

/* Logs all of the guest's memory, since it is not known any more what copies
 * that were in flight when logging began wrote to. */
static void
txq_log_all(struct vhost_async_txq *txq)
{
    const struct vhost_guest_mem *mem = txq->vring.mem;

    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vhost_guest_region *r = &mem->regions[i];

        for (uint64_t ofs = 0; ofs < r->size; ofs += UINT32_MAX) {
            vhost_vring_log(&txq->vring, r->va + ofs, i,
                            MIN(r->size - ofs, UINT32_MAX));
        }
    }
}

static void
txq_give_to_guest(struct vhost_async_txq *txq, uint32_t n_pkts,
                  uint32_t n_chains)
{
    if (OVS_UNLIKELY(!vhost_vring_is_mapped(&txq->vring))) {
        vhost_async_count_shared(&txq->stats.lost_drops, n_pkts);
        return;
    }
    if (OVS_UNLIKELY(txq->log_all && txq->vring.log_vid >= 0)) {
        txq_log_all(txq);
    }
    vhost_vring_publish(&txq->vring, n_chains);
    vhost_async_count(&txq->stats.published, n_pkts);
    if (vhost_vring_must_notify(&txq->vring)) {
        vhost_async_txq_notify(txq);
    }
}

/* Publishes what is done, in the order of the ring, and frees its mbufs.  The
 * holder of the lock. */
void
vhost_async_txq_publish(struct vhost_async_txq *txq)
{
    struct rte_mbuf *mbufs[TXQ_FREE_BURST];
    uint32_t sent = txq_get(&txq->sent);
    uint32_t seq = txq_get(&txq->published);
    bool again;

    do {
        uint32_t first = seq, n_chains = 0, n_mbufs = 0;

        for (; seq != sent && n_mbufs < TXQ_FREE_BURST; seq++) {
            const struct vhost_async_pkt *pkt
                = &txq->pkts[seq & txq->pkts_mask];
            bool done;

            /* Acquire, paired with vhost_async_txq_done(). */
            atomic_read_explicit(&CONST_CAST(struct vhost_async_pkt *,
                                             pkt)->done, &done,
                                 memory_order_acquire);
            if (!done) {
                break;
            }
            n_chains += pkt->n_chains;
            if (pkt->mbuf) {
                mbufs[n_mbufs++] = pkt->mbuf;
            }
        }
        if (seq == first) {
            break;
        }
        txq_give_to_guest(txq, seq - first, n_chains);
        atomic_store_relaxed(&txq->published, seq);
        rte_pktmbuf_free_bulk(mbufs, n_mbufs);
        again = n_mbufs == TXQ_FREE_BURST;
    } while (again);

    if (seq == sent) {
        /* Not before the last of them is published: what it was written to
         * may have been sent off since it was logged. */
        txq->log_all = false;
        if (OVS_UNLIKELY(vhost_async_txq_state(txq)
                         == VHOST_ASYNC_TXQ_STUCK)) {
            vhost_async_txq_set_state(txq, VHOST_ASYNC_TXQ_STOPPED);
        }
    }
}

/* Publishes until nothing is in flight, or until 'deadline_tsc', and returns
 * whether nothing is.  Those who own the channels reap them meanwhile.  The
 * holder of the lock; it sleeps, so others must not wait for it. */
bool
vhost_async_txq_drain(struct vhost_async_txq *txq, uint64_t deadline_tsc)
{
    vhost_async_txq_publish(txq);
    for (int i = 0; vhost_async_txq_in_flight(txq); i++) {
        if (rte_get_tsc_cycles() > deadline_tsc) {
            return false;
        }
        /* An engine answers within microseconds, or takes its time. */
        if (i < TXQ_SPINS) {
            sched_yield();
        } else {
            rte_delay_us_sleep(100);
        }
        vhost_async_txq_publish(txq);
    }
    return true;
}

/* Returns the index of the channel that the oldest packet in flight waits for,
 * -1 if nothing is in flight.  The holder of the lock. */
int
vhost_async_txq_waits_for(const struct vhost_async_txq *txq)
{
    return (vhost_async_txq_in_flight(txq)
            ? txq->pkts[txq_get(&txq->published) & txq->pkts_mask].chan : -1);
}

/* Returns the number of bytes that 'txq' takes, with all that it points to,
 * but for what the engine has.  Any thread, while the ring does not change. */
size_t
vhost_async_txq_memory(const struct vhost_async_txq *txq)
{
    size_t n = sizeof *txq;

    if (txq->pkts) {
        n += (txq->pkts_mask + 1) * sizeof *txq->pkts;
    }
    if (txq->vring.chains) {
        n += (txq->vring.chains_mask + 1) * sizeof *txq->vring.chains;
    }
    return n;
}
