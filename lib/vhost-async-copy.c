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

/* Implementation of vhost-async-copy.h. */

#include <config.h>

#include "vhost-async-copy.h"

#include <rte_mbuf.h>
#include <rte_memcpy.h>

#include "coverage.h"
#include "dpdk-dma-chan.h"
#include "vhost-guest-mem.h"
#include "vhost-net-hdr.h"
#include "vhost-vring.h"

COVERAGE_DEFINE(vhost_async_no_room);

/* Packets that are looked at together: a burst of OVS up to 3.7. */
#define TXQ_DIRECT_BURST 32

/* Where the next byte of a packet comes from and goes to. */
struct txq_cursor {
    const struct rte_mbuf *mbuf;
    uint32_t src_ofs;
    const struct vhost_vring_seg *seg;
    uint32_t dst_ofs;
};

/* Moves past what is used up.  Segments of mbufs may be empty, pieces of the
 * guest's buffers are not. */
static inline ALWAYS_INLINE void
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

static inline ALWAYS_INLINE uint32_t
cursor_len(const struct txq_cursor *c)
{
    return MIN(c->mbuf->data_len - c->src_ofs, c->seg->len - c->dst_ofs);
}

static inline ALWAYS_INLINE const void *
cursor_src(const struct txq_cursor *c)
{
    return rte_pktmbuf_mtod_offset(c->mbuf, const void *, c->src_ofs);
}

static inline ALWAYS_INLINE uint8_t *
cursor_dst(const struct txq_cursor *c)
{
    return c->seg->va + c->dst_ofs;
}

static inline ALWAYS_INLINE void
cursor_advance(struct txq_cursor *c, uint32_t n)
{
    c->src_ofs += n;
    c->dst_ofs += n;
}

static void
txq_log(const struct vhost_async_txq *txq, const struct txq_cursor *c,
        uint32_t len)
{
    if (OVS_UNLIKELY(txq->vq.vring.log_vid >= 0)) {
        vhost_vring_log(&txq->vq.vring, cursor_dst(c), c->seg->region, len);
    }
}

/* Writes the header of 'pkt' and has '*c' point to what follows. */
static inline ALWAYS_INLINE void
txq_write_header(struct vhost_async_txq *txq, struct rte_mbuf *pkt,
                 struct txq_cursor *c)
{
    struct virtio_net_hdr_mrg_rxbuf hdr;
    uint32_t n, size = txq->vq.vring.hdr_len;

    c->mbuf = pkt;
    c->src_ofs = 0;
    c->seg = txq->buf.segs;
    c->dst_ofs = 0;
    if (OVS_LIKELY(c->seg->len >= sizeof hdr && size == sizeof hdr)) {
        vhost_net_hdr_write(c->seg->va, pkt, txq->buf.n_chains);
        txq_log(txq, c, sizeof hdr);
        c->dst_ofs = sizeof hdr;
        return;
    }
    vhost_net_hdr_make(&hdr, pkt, txq->buf.n_chains);
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
static inline ALWAYS_INLINE void
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
static inline ALWAYS_INLINE uint32_t
txq_copy_by_dma(struct vhost_async_txq *txq, struct dpdk_dma_chan *chan,
                struct txq_cursor *c, uint32_t len)
{
    const struct vhost_guest_mem *mem = txq->vq.vring.mem;
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

/* Whether 'chan' takes 'n' copies.  Sets '*room' to how many it takes. */
bool
vhost_async_chan_look_for_room(struct dpdk_dma_chan *chan, unsigned int n,
                               unsigned int *room)
{
    *room = dpdk_dma_chan_room(chan);
    if (OVS_UNLIKELY(n > *room)) {
        /* idxd takes no more than its largest batch without a doorbell. */
        dpdk_dma_chan_doorbell(chan);
        *room = dpdk_dma_chan_room(chan);
        if (n > *room) {
            COVERAGE_INC(vhost_async_no_room);
        }
    }
    return n <= *room;
}

static inline ALWAYS_INLINE void
txq_count_packet(struct vhost_async_txq *txq, const struct rte_mbuf *pkt)
{
    vhost_async_count_kind(pkt, &txq->stats.multicast, &txq->stats.broadcast,
                           txq->stats.size_bins);
}

/* Copies the rest of a packet, which is 'len' bytes, and has 'self' learn how
 * long that takes. */
static void
txq_copy_timed(struct vhost_async_txq *txq, struct vhost_async_sender *self,
               struct txq_cursor *c, uint32_t len)
{
    uint64_t begin = dpdk_dma_cost_clock();

    txq_copy_by_cpu(txq, c, len);
    vhost_async_cost_add_time(&self->cost, dpdk_dma_cost_clock() - begin, len);
}

/* Whether a packet is in one piece, its virtio header says nothing, and there
 * is no less of it than that header may have beyond 10 bytes. */
static inline ALWAYS_INLINE bool
is_plain(const struct rte_mbuf *pkt)
{
    return OVS_LIKELY(pkt->nb_segs == 1 && pkt->pkt_len >= 2
                      && !vhost_net_hdr_has_offloads(pkt));
}

/* Has the CPU copy packets, and publishes them, nothing being in flight ahead
 * of them and no dirty pages being logged, as far as that is simple.  Returns
 * how many, from the first on, and adds their bytes to '*bytes'. */
static uint16_t
txq_send_direct(struct vhost_async_txq *txq, struct rte_mbuf *const *pkts,
                uint16_t cnt, uint64_t *bytes)
{
    struct vhost_vring *vr = &txq->vq.vring;
    uint32_t lens[TXQ_DIRECT_BURST];
    uint8_t *vas[TXQ_DIRECT_BURST];
    uint16_t n = 0;

    cnt = MIN(cnt, TXQ_DIRECT_BURST);
    while (n < cnt && is_plain(pkts[n])) {
        lens[n] = vr->hdr_len + pkts[n]->pkt_len;
        n++;
    }
    n = vhost_vring_take_direct(vr, lens, vas, n);
    for (uint16_t i = 0; i < n; i++) {
        struct rte_mbuf *pkt = pkts[i];

        txq_count_packet(txq, pkt);
        /* If the header has 10 bytes, the packet goes over the last two of
         * these. */
        vhost_net_hdr_write(vas[i], pkt, 1);
        rte_memcpy(vas[i] + vr->hdr_len, rte_pktmbuf_mtod(pkt, const void *),
                   pkt->pkt_len);
        *bytes += pkt->pkt_len;
    }
    if (n) {
        vhost_vring_publish_direct(vr, n);
        vhost_async_txq_published(txq, n);
    }
    return n;
}

static void
sender_count(struct vhost_async_sender *self, uint32_t n_dma,
             uint64_t dma_bytes, uint32_t n_cpu, uint64_t cpu_bytes)
{
    if (n_dma) {
        vhost_async_count(&self->stats.dma_packets, n_dma);
        vhost_async_count(&self->stats.dma_bytes, dma_bytes);
        vhost_async_count(&self->stats.bursts, 1);
    }
    if (n_cpu) {
        vhost_async_count(&self->stats.cpu_packets, n_cpu);
        vhost_async_count(&self->stats.cpu_bytes, cpu_bytes);
    }
}

/* Copies 'cnt' packets to the ring, by DMA through the channel of 'self', NULL
 * for a thread that has none, or by CPU.  Returns how many, from the first on,
 * were taken; if not all were, sets '*obstacle'.  Those in whose place is NULL
 * then belong to the txq, or are freed; all others still to the caller.  The
 * engine need not start before the thread reaps its channel the next time.
 *
 * The holder of the lock. */
uint16_t
vhost_async_txq_send(struct vhost_async_txq *txq,
                     struct vhost_async_sender *self, struct rte_mbuf **pkts,
                     uint16_t cnt, enum vhost_async_obstacle *obstacle)
{
    struct dpdk_dma_chan *chan = self ? self->chan : NULL;
    uint32_t sent = vhost_async_vq_get(&txq->vq.taken);
    bool in_flight = sent != vhost_async_vq_get(&txq->vq.published);
    uint64_t dma_bytes = 0, cpu_bytes = 0;
    struct vhost_vring *vr = &txq->vq.vring;
    uint32_t n_dma = 0, n_direct = 0, n_chains = 0;
    uint16_t i = 0, timed = UINT16_MAX;
    unsigned int room = 0;
    uint64_t submitted = 0;
    bool may_use, use_dma;

    *obstacle = VHOST_ASYNC_NONE;
    if (OVS_UNLIKELY(vhost_async_vq_state(&txq->vq)
                     != VHOST_ASYNC_VQ_RUNNING)) {
        *obstacle = VHOST_ASYNC_DOWN;
        return 0;
    }
    /* The pages that an engine writes are not logged: while a guest is
     * migrated the CPU copies. */
    may_use = vhost_async_vq_may_use(&txq->vq, chan) && vr->log_vid < 0;
    use_dma = may_use && vhost_async_cost_choose(&self->cost, pkts, cnt,
                                                 &timed);
    if (may_use && vhost_async_trial_times_burst(&self->cost.trial)) {
        submitted = dpdk_dma_chan_submitted(chan);
    }

    if (!use_dma && !in_flight && timed == UINT16_MAX
        && OVS_LIKELY(vr->log_vid < 0)) {
        i = txq_send_direct(txq, pkts, cnt, &cpu_bytes);
    }
    for (; i < cnt; i++) {
        struct rte_mbuf *pkt = pkts[i];
        uint32_t len = pkt->pkt_len;
        struct txq_cursor c;
        uint32_t done = 0;

        if (OVS_UNLIKELY(vhost_vring_take(vr, vr->hdr_len + len, &txq->buf)
                         != VHOST_VRING_TAKEN)) {
            vhost_async_vq_none_taken(&txq->vq);
            *obstacle = VHOST_ASYNC_FULL;
            break;
        }
        txq_count_packet(txq, pkt);
        txq_write_header(txq, pkt, &c);
        if (use_dma && len >= self->cost.limits.min_len && i != timed
            && vhost_async_chan_fits(chan, vr->mem, &self->cost.limits, pkt,
                                     txq->buf.n_segs + pkt->nb_segs - 1,
                                     &room)) {
            done = txq_copy_by_dma(txq, chan, &c, len);
        }
        if (OVS_UNLIKELY(i == timed)) {
            txq_copy_timed(txq, self, &c, len);
        } else if (done < len) {
            txq_copy_by_cpu(txq, &c, len - done);
        }
        if (done) {
            vhost_async_vq_add_in_flight(&txq->vq, sent, pkt,
                                         txq->buf.n_chains, chan);
            dpdk_dma_chan_end_packet(chan, &txq->vq.owner, sent++);
            pkts[i] = NULL;
            in_flight = true;
            n_dma++;
            dma_bytes += len;
        } else {
            cpu_bytes += len;
            if (in_flight) {
                vhost_async_vq_add_in_flight(&txq->vq, sent++, NULL,
                                             txq->buf.n_chains, NULL);
            } else {
                n_direct++;
                n_chains += txq->buf.n_chains;
            }
        }
    }

    atomic_store_relaxed(&txq->vq.taken, sent);
    if (OVS_UNLIKELY(i != cnt) && may_use) {
        vhost_async_cost_take_back(&self->cost, &pkts[i], cnt - i);
    }
    if (n_dma) {
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
        vhost_async_txq_published(txq, n_direct);
    }
    if (may_use && vhost_async_trial_times_burst(&self->cost.trial)) {
        struct vhost_async_trial_burst b = {
            .bytes = dma_bytes + cpu_bytes, .cpu_bytes = cpu_bytes,
            .n_pkts = i, .n_dma = n_dma,
            .n_copies = dpdk_dma_chan_submitted(chan) - submitted,
        };

        /* Those that go by DMA are freed when they are reaped, which is timed,
         * too. */
        rte_pktmbuf_free_bulk(pkts, i);
        memset(pkts, 0, i * sizeof *pkts);
        vhost_async_trial_end_burst(&self->cost.trial, &b, i == cnt);
    }
    return i;
}
