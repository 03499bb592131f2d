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

/* Implementation of vhost-async-receive.h. */

#include <config.h>

#include "vhost-async-receive.h"

#include <rte_arp.h>
#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>

#include "coverage.h"
#include "dpdk-dma-chan.h"
#include "vhost-async-copy.h"
#include "vhost-async-rxq.h"
#include "vhost-async-txq.h"
#include "vhost-guest-mem.h"
#include "vhost-net-offload.h"
#include "vhost-vring.h"

COVERAGE_DEFINE(vhost_async_no_mbuf);

/* What the head of a packet takes, and all of it, is told apart. */
BUILD_ASSERT_DECL(VHOST_ASYNC_COST_SAMPLE_LEN > VHOST_ASYNC_RX_HEAD);

/* Packets that are fetched together: a burst of OVS up to 3.7. */
#define RX_BURST 32

/* Pieces of the guest's memory that they may have: of most packets one or two,
 * of those with TSO some 18. */
#define RX_SEGS (VHOST_VRING_MAX_SEGS + 18 * RX_BURST)

/* Packets while they are fetched. */
struct rx_burst {
    unsigned int n;
    unsigned int n_plain;               /* The first ones: each is in the one
                                         * of 'segs' with its number. */
    struct vhost_vring_mark mark;       /* Before them. */
    struct rte_mbuf *mbufs[RX_BURST];   /* One of no bytes is dropped. */
    struct vhost_vring_pkt chained[RX_BURST];   /* Those behind. */
    struct vhost_vring_seg segs[RX_SEGS];
};

static inline ALWAYS_INLINE struct vhost_vring_pkt
rx_pkt(struct rx_burst *b, unsigned int i)
{
    return OVS_LIKELY(i < b->n_plain) ? (struct vhost_vring_pkt) {
        .segs = &b->segs[i], .n_segs = 1, .len = b->segs[i].len,
    } : b->chained[i];
}

/* Where the next byte of a packet comes from and goes to. */
struct rx_cursor {
    const struct vhost_vring_seg *seg;
    uint32_t src_ofs;
    struct rte_mbuf *mbuf;
    uint32_t dst_ofs;
};

/* Pieces of a guest's buffers are not empty. */
static inline ALWAYS_INLINE void
rx_settle(struct rx_cursor *c)
{
    if (c->src_ofs == c->seg->len) {
        c->seg++;
        c->src_ofs = 0;
    }
}

static inline ALWAYS_INLINE const uint8_t *
rx_src(const struct rx_cursor *c)
{
    return c->seg->va + c->src_ofs;
}

static inline ALWAYS_INLINE uint8_t *
rx_dst(const struct rx_cursor *c)
{
    return rte_pktmbuf_mtod_offset(c->mbuf, uint8_t *, c->dst_ofs);
}

static inline ALWAYS_INLINE void
rx_advance(struct rx_cursor *c, uint32_t n)
{
    c->src_ofs += n;
    c->dst_ofs += n;
}

static inline ALWAYS_INLINE void
rx_copy_by_cpu(struct rx_cursor *c, uint32_t len)
{
    while (len) {
        uint32_t n;

        rx_settle(c);
        n = MIN(len, c->seg->len - c->src_ofs);
        rte_memcpy(rx_dst(c), rx_src(c), n);
        rx_advance(c, n);
        len -= n;
    }
}

/* The same, for the uncommon case. */
static __rte_noinline void
rx_copy_rest(struct rx_cursor *c, uint32_t len)
{
    rx_copy_by_cpu(c, len);
}

/* Hands pieces of a packet to 'chan' as long as it takes them.  Returns how
 * many bytes that were. */
static inline ALWAYS_INLINE uint32_t
rx_copy_by_dma(const struct vhost_guest_mem *mem, struct dpdk_dma_chan *chan,
               struct rx_cursor *c, uint32_t len)
{
    uint32_t done = 0;

    while (done < len) {
        rte_iova_t src;
        uint32_t n;

        rx_settle(c);
        n = MIN(len - done, c->seg->len - c->src_ofs);
        src = vhost_guest_mem_iova(mem, c->seg->region, rx_src(c), &n);
        if (OVS_UNLIKELY(src == RTE_BAD_IOVA
                         || !dpdk_dma_chan_add(
                                chan,
                                rte_pktmbuf_iova_offset(c->mbuf, c->dst_ofs),
                                src, rx_dst(c), rx_src(c), n))) {
            break;
        }
        rx_advance(c, n);
        done += n;
    }
    return done;
}

static void
rx_ext_free(void *buf, void *aux OVS_UNUSED)
{
    rte_free(buf);
}

/* Gives 'mbuf' a buffer of its own for 'len' bytes, which is no more than
 * UINT16_MAX.  Returns false if there is none. */
static bool
rx_attach_extbuf(struct rte_mbuf *mbuf, uint32_t len)
{
    struct rte_mbuf_ext_shared_info *shared;
    /* At its end are what it is shared by, and what aligns that. */
    size_t size = ROUND_UP(RTE_PKTMBUF_HEADROOM + (size_t) len + sizeof *shared
                           + sizeof(uintptr_t), sizeof(uintptr_t));
    uint16_t buf_len = size;
    void *buf;

    if (size > UINT16_MAX) {
        return false;
    }
    buf = rte_malloc(NULL, size, RTE_CACHE_LINE_SIZE);
    if (!buf) {
        return false;
    }
    shared = rte_pktmbuf_ext_shinfo_init_helper(buf, &buf_len, rx_ext_free,
                                                NULL);
    if (!shared) {
        rte_free(buf);
        return false;
    }
    rte_pktmbuf_attach_extbuf(mbuf, buf, rte_malloc_virt2iova(buf), buf_len,
                              shared);
    rte_pktmbuf_reset_headroom(mbuf);
    return true;
}

/* Sets the length of 'mbuf' to that of a packet without its header, with which
 * it is 'len', or to 0 if it is to be dropped.  The guest has the length be
 * anything. */
static inline ALWAYS_INLINE void
rx_set_len(const struct vhost_vring *vr, uint32_t len, struct rte_mbuf *mbuf,
           const struct vhost_async_rx_mode *mode)
{
    len = len > vr->hdr_len ? len - vr->hdr_len : 0;

    if (OVS_UNLIKELY(len > rte_pktmbuf_tailroom(mbuf))
        && (len > UINT16_MAX || !mode->extbuf
            || !rx_attach_extbuf(mbuf, len))) {
        len = 0;
    }
    ovs_assert(len <= rte_pktmbuf_tailroom(mbuf));
    mbuf->pkt_len = len;
    mbuf->data_len = len;
}

/* The part of rx_take() for packets that are not all plain, 'b->n' of which
 * are there. */
static __rte_noinline void
rx_take_chained(struct vhost_vring *vr, struct rx_burst *b)
{
    unsigned int n_segs = b->n;

    while (b->n < RX_BURST && n_segs + VHOST_VRING_MAX_SEGS <= RX_SEGS) {
        struct vhost_vring_pkt *pkt = &b->chained[b->n];

        pkt->segs = &b->segs[n_segs];
        if (vhost_vring_take_pkt(vr, pkt) != VHOST_VRING_TAKEN) {
            break;
        }
        if (OVS_LIKELY(pkt->n_segs)) {
            OVS_PREFETCH(pkt->segs[0].va);
        }
        n_segs += pkt->n_segs;
        b->n++;
    }
}

/* Takes packets off the ring, and mbufs for them.  Returns false if there are
 * none. */
static inline ALWAYS_INLINE bool
rx_take(struct vhost_vring *vr, struct rx_burst *b,
        const struct vhost_async_rx_mode *mode)
{
    bool more;

    b->mark = vhost_vring_mark(vr);
    b->n = vhost_vring_take_plain_pkts(vr, b->segs, RX_BURST, &more);
    b->n_plain = b->n;
    for (unsigned int i = 0; i < b->n; i++) {
        /* The header lies before the packet, so that the shortest is in two
         * lines. */
        OVS_PREFETCH(b->segs[i].va);
        OVS_PREFETCH(b->segs[i].va + 64);
    }
    if (OVS_UNLIKELY(more)) {
        rx_take_chained(vr, b);
    }
    if (!b->n) {
        return false;
    }
    if (OVS_UNLIKELY(rte_pktmbuf_alloc_bulk(mode->mp, b->mbufs, b->n))) {
        COVERAGE_INC(vhost_async_no_mbuf);
        vhost_vring_put_back(vr, &b->mark);
        return false;
    }
    for (unsigned int i = 0; i < b->n; i++) {
        rx_set_len(vr, rx_pkt(b, i).len, b->mbufs[i], mode);
    }
    return true;
}

/* Copies the header of a packet, as much of it as says something, to '*hdr',
 * and has '*c' point to what follows. */
static inline ALWAYS_INLINE void
rx_read_header(const struct vhost_vring *vr, const struct vhost_vring_pkt *pkt,
               struct virtio_net_hdr *hdr, struct rx_cursor *c)
{
    uint32_t n, size = vr->hdr_len;
    uint8_t bytes[sizeof(struct virtio_net_hdr_mrg_rxbuf)];

    c->seg = pkt->segs;
    c->src_ofs = 0;
    if (OVS_LIKELY(c->seg->len >= size)) {
        memcpy(hdr, c->seg->va, sizeof *hdr);
        c->src_ofs = size;
    } else {
        for (uint32_t ofs = 0; ofs < size; ofs += n) {
            rx_settle(c);
            n = MIN(size - ofs, c->seg->len - c->src_ofs);
            memcpy(bytes + ofs, rx_src(c), n);
            c->src_ofs += n;
        }
        memcpy(hdr, bytes, sizeof *hdr);
    }
    /* The guest may change it: it is not to be read again. */
    atomic_signal_fence(memory_order_acq_rel);
}

/* Has the flags of 'mbuf' say what 'hdr' asks for, 'avail' bytes of the packet
 * being there.  Returns false if more are needed to tell. */
static bool
rx_apply_offloads(struct rte_mbuf *mbuf, const struct virtio_net_hdr *hdr,
                  const struct vhost_async_rx_mode *mode, uint32_t avail)
{
    uint32_t len = mbuf->pkt_len;
    bool ok;

    if (!mode->compliant) {
        return vhost_net_offload_legacy(hdr, mbuf, avail);
    }
    mbuf->pkt_len = avail;
    mbuf->data_len = avail;
    ok = vhost_net_offload_compliant(hdr, mbuf, avail == len);
    mbuf->pkt_len = len;
    mbuf->data_len = len;
    return ok;
}

/* Has the CPU copy the 'len' bytes of a packet, and 'cost' learn how long that
 * takes, or the first of them. */
static void
rx_copy_timed(struct rx_cursor *c, uint32_t len, struct vhost_async_cost *cost)
{
    uint64_t begin = dpdk_dma_cost_clock();

    if (vhost_async_cost_times_head(cost)) {
        rx_copy_by_cpu(c, VHOST_ASYNC_RX_HEAD);
        vhost_async_cost_add_head_time(cost, dpdk_dma_cost_clock() - begin);
        rx_copy_by_cpu(c, len - VHOST_ASYNC_RX_HEAD);
    } else {
        rx_copy_by_cpu(c, len);
        vhost_async_cost_add_time(cost, dpdk_dma_cost_clock() - begin, len);
    }
}

/* Whether a packet of 'len' bytes, behind the header at 'hdr', asks for no
 * more than to be copied. */
static inline ALWAYS_INLINE bool
rx_needs_only_copy(const struct vhost_vring *vr, const uint8_t *hdr,
                   uint32_t len)
{
    return OVS_LIKELY(len && !(vr->has_offloads
                               && vhost_net_offload_peek(hdr)));
}

/* Copies a packet that is at '*seg' with its header and needs no more, as
 * rx_copy_packet() does, but not for an engine that has physical
 * addresses. */
static inline ALWAYS_INLINE bool
rx_copy_plain(const struct vhost_vring *vr, struct dpdk_dma_chan *chan,
              const struct vhost_async_cost *cost,
              const struct vhost_vring_seg *seg, struct rte_mbuf *mbuf,
              unsigned int *room)
{
    const uint8_t *src = seg->va + vr->hdr_len;
    uint8_t *dst = rte_pktmbuf_mtod(mbuf, uint8_t *);
    const uint32_t head = VHOST_ASYNC_RX_HEAD;
    uint32_t len = mbuf->pkt_len;

    if (chan && len >= cost->limits.min_len && len > head
        && vhost_async_chan_fits(chan, vr->mem, &cost->limits, mbuf, 1,
                                 room)) {
        rte_memcpy(dst, src, VHOST_ASYNC_RX_HEAD);
        if (OVS_LIKELY(dpdk_dma_chan_add(chan,
                                         rte_pktmbuf_iova_offset(mbuf, head),
                                         (uintptr_t) (src + head), dst + head,
                                         src + head, len - head))) {
            return true;
        }
    }
    rte_memcpy(dst, src, len);
    return false;
}

/* Copies packet 'i' of '*b', by DMA through 'chan' unless that is NULL, as far
 * as it takes it and 'cost' says so; if 'timed', 'cost' learns from it.
 * Returns whether a part of it went by DMA. */
static __rte_noinline bool
rx_copy_packet(const struct vhost_vring *vr, struct dpdk_dma_chan *chan,
               struct vhost_async_cost *cost, bool timed,
               struct rx_burst *b, unsigned int i,
               const struct vhost_async_rx_mode *mode, unsigned int *room)
{
    struct vhost_vring_pkt pkt = rx_pkt(b, i);
    struct rte_mbuf *mbuf = b->mbufs[i];
    struct rx_cursor c = { .mbuf = mbuf };
    uint32_t len = mbuf->pkt_len, by_cpu = len, done = 0;
    struct virtio_net_hdr hdr;

    rx_read_header(vr, &pkt, &hdr, &c);
    if (chan && len >= cost->limits.min_len && len > VHOST_ASYNC_RX_HEAD
        && vhost_async_chan_fits(chan, vr->mem, &cost->limits, mbuf,
                                 pkt.n_segs, room)) {
        by_cpu = VHOST_ASYNC_RX_HEAD;
    }
    if (OVS_UNLIKELY(timed)) {
        rx_copy_timed(&c, by_cpu, cost);
    } else {
        rx_copy_by_cpu(&c, by_cpu);
    }
    if (OVS_UNLIKELY(vr->has_offloads && vhost_net_offload_asked(&hdr))
        && !rx_apply_offloads(mbuf, &hdr, mode, by_cpu) && by_cpu < len) {
        rx_copy_rest(&c, len - by_cpu);
        rx_apply_offloads(mbuf, &hdr, mode, len);
        return false;
    }
    if (by_cpu < len) {
        done = rx_copy_by_dma(vr->mem, chan, &c, len - by_cpu);
        if (OVS_UNLIKELY(done < len - by_cpu)) {
            rx_copy_rest(&c, len - by_cpu - done);
        }
    }
    return done > 0;
}

/* Copies a packet that is at 'src' with its header, and has 'mbuf' say what
 * that asks for. */
static __rte_noinline void
rx_copy_asking(const struct vhost_vring *vr, const uint8_t *src,
               struct rte_mbuf *mbuf, const struct vhost_async_rx_mode *mode)
{
    uint32_t len = mbuf->pkt_len;
    struct virtio_net_hdr hdr;

    memcpy(&hdr, src, sizeof hdr);
    /* As in rx_read_header(). */
    atomic_signal_fence(memory_order_acq_rel);
    rte_memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), src + vr->hdr_len, len);
    if (OVS_LIKELY(vhost_net_offload_asked(&hdr))) {
        rx_apply_offloads(mbuf, &hdr, mode, len);
    }
}

/* Has the CPU copy the first packets of '*b', as far as they are plain.
 * Returns how many, 'cnt' at most, that are in 'pkts' then, and adds their
 * bytes to '*bytes'. */
static inline ALWAYS_INLINE uint16_t
rx_copy_direct(struct vhost_async_rxq *rxq, const struct rx_burst *b,
               const struct vhost_async_rx_mode *mode,
               struct rte_mbuf **pkts, uint16_t cnt, uint64_t *bytes)
{
    const struct vhost_vring *vr = &rxq->vq.vring;
    uint16_t n;

    cnt = MIN(cnt, b->n_plain);
    for (n = 0; n < cnt; n++) {
        struct rte_mbuf *mbuf = b->mbufs[n];
        const uint8_t *src = b->segs[n].va;
        uint32_t len = mbuf->pkt_len;

        if (OVS_LIKELY(rx_needs_only_copy(vr, src, len))) {
            rte_memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), src + vr->hdr_len,
                       len);
        } else if (len) {
            rx_copy_asking(vr, src, mbuf, mode);
        } else {
            break;
        }
        vhost_async_rxq_count_packet(rxq, mbuf);
        pkts[n] = mbuf;
        *bytes += len;
    }
    return n;
}

static void
rx_count_sender(struct vhost_async_sender *self, uint32_t n_dma,
                uint64_t dma_bytes, uint32_t n_cpu, uint64_t cpu_bytes)
{
    if (n_dma) {
        vhost_async_count(&self->stats.rx_dma_packets, n_dma);
        vhost_async_count(&self->stats.rx_dma_bytes, dma_bytes);
        vhost_async_count(&self->stats.bursts, 1);
    }
    if (n_cpu) {
        vhost_async_count(&self->stats.rx_cpu_packets, n_cpu);
        vhost_async_count(&self->stats.rx_cpu_bytes, cpu_bytes);
    }
}

/* Fetches packets.  Stores those that are there at once, with nothing before
 * them in flight, in 'pkts', at most 'cnt', and returns their number; what is
 * more than that is in flight. */
static uint16_t
rx_fetch(struct vhost_async_rxq *rxq, struct vhost_async_sender *self,
         const struct vhost_async_rx_mode *mode, struct rte_mbuf **pkts,
         uint16_t cnt)
{
    struct vhost_async_cost *cost = self ? &self->rx_cost : NULL;
    struct dpdk_dma_chan *chan = self ? self->chan : NULL;
    uint32_t taken = vhost_async_vq_get(&rxq->vq.taken);
    bool in_flight = taken != vhost_async_vq_get(&rxq->vq.published);
    uint64_t dma_bytes = 0, cpu_bytes = 0, direct_bytes = 0;
    struct vhost_vring *vr = &rxq->vq.vring;
    uint32_t n_dma = 0, n_cpu = 0, n_back = 0;
    uint16_t n = 0, timed = UINT16_MAX;
    unsigned int i = 0, room = 0;
    uint64_t submitted = 0;
    bool may_use;
    struct rx_burst b;

    if (!rx_take(vr, &b, mode)) {
        vhost_async_vq_none_taken(&rxq->vq);
        return 0;
    }
    rxq->n_offered = b.n == RX_BURST ? vhost_vring_n_offered(vr) : 0;
    /* The guest's memory is only read: that its dirty pages are logged makes
     * no difference. */
    may_use = vhost_async_vq_may_use(&rxq->vq, chan);
    if (!may_use || !vhost_async_cost_choose(cost, b.mbufs, b.n, &timed)) {
        chan = NULL;
    } else {
        self->rx_began = rte_get_tsc_cycles();
    }
    if (may_use && vhost_async_trial_times_burst(&cost->trial)) {
        submitted = dpdk_dma_chan_submitted(self->chan);
    }

    if (!chan && !in_flight && timed == UINT16_MAX) {
        i = n = n_back = n_cpu = rx_copy_direct(rxq, &b, mode, pkts, cnt,
                                                &direct_bytes);
        cpu_bytes = direct_bytes;
    }
    for (; i < b.n; i++) {
        struct rte_mbuf *mbuf = b.mbufs[i];
        uint32_t len = mbuf->pkt_len;
        bool plain = (i < b.n_plain && i != timed
                      && !vr->mem->regions[b.segs[i].region].pages
                      && rx_needs_only_copy(vr, b.segs[i].va, len));

        if (OVS_UNLIKELY(!len)) {
            rte_pktmbuf_free(mbuf);
            mbuf = NULL;
            vhost_async_count(&rxq->stats.bad_drops, 1);
        } else if (OVS_LIKELY(plain)
                   ? rx_copy_plain(vr, chan, cost, &b.segs[i], mbuf, &room)
                   : rx_copy_packet(vr, i != timed ? chan : NULL, cost,
                                    i == timed, &b, i, mode, &room)) {
            vhost_async_vq_add_in_flight(&rxq->vq, taken, mbuf, 1, chan);
            dpdk_dma_chan_end_packet(chan, &rxq->vq.owner, taken++);
            in_flight = true;
            n_dma++;
            dma_bytes += len;
            continue;
        } else {
            n_cpu++;
            cpu_bytes += len;
        }
        if (!in_flight && OVS_LIKELY(n < cnt)) {
            n_back++;
            direct_bytes += len;
            if (OVS_LIKELY(mbuf)) {
                pkts[n++] = mbuf;
                vhost_async_rxq_count_packet(rxq, mbuf);
            }
        } else {
            vhost_async_vq_add_in_flight(&rxq->vq, taken++, mbuf, 1, NULL);
            in_flight = true;
        }
    }

    atomic_store_relaxed(&rxq->vq.taken, taken);
    if (self) {
        rx_count_sender(self, n_dma, dma_bytes, n_cpu, cpu_bytes);
    }
    if (n_back) {
        vhost_async_rxq_returned(rxq, n_back);
        vhost_async_count(&rxq->stats.cpu_packets, n);
        vhost_async_count(&rxq->stats.cpu_bytes, direct_bytes);
        vhost_async_rxq_count(rxq, n, direct_bytes);
    }
    if (may_use && vhost_async_trial_times_burst(&cost->trial)) {
        struct vhost_async_trial_burst t = {
            .bytes = dma_bytes + cpu_bytes,
            .cpu_bytes = (int64_t) cpu_bytes - n_cpu * cost->head,
            .n_pkts = b.n, .n_dma = n_dma,
            .n_copies = dpdk_dma_chan_submitted(self->chan) - submitted,
        };

        vhost_async_trial_end_burst(&cost->trial, &t, true);
    }
    return n;
}

/* Has 'self' publish as vhost_async_rxq_publish() does, and learn how long
 * that takes. */
static uint16_t
rx_publish_timed(struct vhost_async_rxq *rxq, struct vhost_async_sender *self,
                 struct rte_mbuf **pkts, uint16_t cnt)
{
    uint64_t begin = dpdk_dma_cost_clock();
    uint16_t n = vhost_async_rxq_publish(rxq, pkts, cnt);
    uint64_t cycles = dpdk_dma_cost_clock() - begin;

    /* Looks of a thread that has nothing else to do cost nothing. */
    if (n) {
        cycles -= MIN(cycles, self->rx_cost.dma->clock);
        /* The CPU would not have needed this poll. */
        vhost_async_trial_add_publish(&self->rx_cost.trial,
                                      cycles + DPDK_DMA_COST_RX_POLL, n);
    }
    return n;
}

/* Stores the packet that makes the place of the guest known in '*pkt', if it
 * is due, and returns the number of packets: what a guest that arrived by
 * migration asks for (VHOST_USER_SEND_RARP), and the vhost library hands up in
 * rte_vhost_dequeue_burst() (22.11 to 26.07). */
static uint16_t
rx_announce(struct vhost_async_rxq *rxq,
            const struct vhost_async_rx_mode *mode, struct rte_mbuf **pkt)
{
    struct rte_ether_addr mac;

    memcpy(&mac, rxq->mac, sizeof mac);
    *pkt = rte_net_make_rarp_packet(mode->mp, &mac);
    rxq->announce = !*pkt;
    if (!*pkt) {
        return 0;
    }
    vhost_async_rxq_count_packet(rxq, *pkt);
    vhost_async_rxq_count(rxq, 1, (*pkt)->pkt_len);
    return 1;
}

/* Stores packets of the guest in 'pkts', at most 'cnt', and returns their
 * number; they are the caller's.  Fetches more of them, by CPU or through the
 * channel of 'self', NULL for a thread that has none.  The engine need not
 * start before the thread reaps its channel the next time.
 *
 * The thread that polls the rxq, without the lock. */
uint16_t
vhost_async_rxq_recv(struct vhost_async_rxq *rxq,
                     struct vhost_async_sender *self,
                     const struct vhost_async_rx_mode *mode,
                     struct rte_mbuf **pkts, uint16_t cnt)
{
    uint16_t n = 0;

    if (OVS_UNLIKELY(!vhost_async_vq_trylock(&rxq->vq))
        && !vhost_async_vq_lock_unless_closed(&rxq->vq)) {
        return 0;
    }
    if (OVS_UNLIKELY(rxq->announce)) {
        n = rx_announce(rxq, mode, pkts);
    }
    if (OVS_LIKELY(vhost_vring_is_mapped(&rxq->vq.vring))) {
        if (vhost_async_vq_in_flight(&rxq->vq)) {
            n += (self && vhost_async_trial_times_reap(&self->rx_cost.trial)
                  ? rx_publish_timed(rxq, self, &pkts[n], cnt - n)
                  : vhost_async_rxq_publish(rxq, &pkts[n], cnt - n));
        }
        if (OVS_LIKELY(vhost_async_vq_state(&rxq->vq)
                       == VHOST_ASYNC_VQ_RUNNING)
            && vhost_async_rxq_has_room(rxq, RX_BURST)) {
            n += rx_fetch(rxq, self, mode, &pkts[n], cnt - n);
        }
    }
    vhost_async_rxq_unlock(rxq);
    return n;
}
