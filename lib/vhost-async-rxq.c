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

/* Implementation of vhost-async-rxq.h.
 *
 * Called by who polls the rxq, and by who starts and stops its ring
 * (vhost-async-rings.c). */

#include <config.h>

#include "vhost-async-rxq.h"

#include <rte_cycles.h>

/* Creates rxq 'qid' of the port called 'port'.  Its ring is the library's or
 * stopped, as 'state' says. */
struct vhost_async_rxq *
vhost_async_rxq_create(const char *port, uint16_t qid,
                       enum vhost_async_vq_state state)
{
    struct vhost_async_rxq *rxq = xzalloc_cacheline(sizeof *rxq);

    vhost_async_vq_init(&rxq->vq, port, qid, true, state);
    return rxq;
}

/* Destroys 'rxq', of which no thread may know and with which nothing may be in
 * flight. */
void
vhost_async_rxq_destroy(struct vhost_async_rxq *rxq)
{
    if (rxq) {
        vhost_async_vq_uninit(&rxq->vq);
        free_cacheline(rxq);
    }
}

/* Gives the oldest 'n_chains' buffers that are out back to the guest, and
 * notifies it if it wants to be. */
void
vhost_async_rxq_returned(struct vhost_async_rxq *rxq, uint32_t n_chains)
{
    vhost_vring_publish(&rxq->vq.vring, n_chains);
    if (vhost_vring_must_notify(&rxq->vq.vring)) {
        vhost_async_vq_notify(&rxq->vq);
    }
}

static bool
pkt_is_done(const struct vhost_async_pkt *pkt)
{
    bool done;

    /* Acquire, paired with vhost_async_vq_done(). */
    atomic_read_explicit(&CONST_CAST(struct vhost_async_pkt *, pkt)->done,
                         &done, memory_order_acquire);
    return done;
}

/* Publishes what is done, in the order of the ring: the guest gets its buffers
 * back.  Stores the packets in 'pkts', at most 'cnt', and returns their
 * number; they are the caller's then.  The ring is mapped. */
uint16_t
vhost_async_rxq_publish(struct vhost_async_rxq *rxq, struct rte_mbuf **pkts,
                        uint16_t cnt)
{
    uint32_t taken = vhost_async_vq_get(&rxq->vq.taken);
    uint32_t seq = vhost_async_vq_get(&rxq->vq.published);
    uint32_t n_dma = 0, n_chains = 0;
    uint64_t dma_bytes = 0, cpu_bytes = 0;
    uint16_t n = 0;

    for (; seq != taken && n < cnt; seq++) {
        const struct vhost_async_pkt *pkt
            = &rxq->vq.pkts[seq & rxq->vq.pkts_mask];

        if (!pkt_is_done(pkt)) {
            break;
        }
        n_chains += pkt->n_chains;
        if (OVS_UNLIKELY(!pkt->mbuf)) {
            continue;
        }
        pkts[n++] = pkt->mbuf;
        vhost_async_rxq_count_packet(rxq, pkt->mbuf);
        if (pkt->by_dma) {
            n_dma++;
            dma_bytes += pkt->mbuf->pkt_len;
        } else {
            cpu_bytes += pkt->mbuf->pkt_len;
        }
    }
    if (n_chains) {
        atomic_store_relaxed(&rxq->vq.published, seq);
        vhost_async_rxq_returned(rxq, n_chains);
        vhost_async_rxq_count(rxq, n, dma_bytes + cpu_bytes);
        vhost_async_count(&rxq->stats.dma_packets, n_dma);
        vhost_async_count(&rxq->stats.dma_bytes, dma_bytes);
        vhost_async_count(&rxq->stats.cpu_packets, n - n_dma);
        vhost_async_count(&rxq->stats.cpu_bytes, cpu_bytes);
    }
    return n;
}

/* Frees what is in flight and done, of a ring that stopped; when all of it is,
 * the ring may start again. */
void
vhost_async_rxq_free_done(struct vhost_async_rxq *rxq)
{
    uint32_t taken = vhost_async_vq_get(&rxq->vq.taken);
    uint32_t seq = vhost_async_vq_get(&rxq->vq.published);

    ovs_assert(!vhost_vring_is_mapped(&rxq->vq.vring));
    for (; seq != taken; seq++) {
        struct vhost_async_pkt *pkt = &rxq->vq.pkts[seq & rxq->vq.pkts_mask];

        if (!pkt_is_done(pkt)) {
            break;
        }
        rte_pktmbuf_free(pkt->mbuf);
    }
    atomic_store_relaxed(&rxq->vq.published, seq);
    if (seq == taken) {
        vhost_async_vq_end_stuck(&rxq->vq);
    }
}

/* Waits until all copies in flight are done, or until 'deadline_tsc', and
 * returns whether they are.  Those who own the channels reap them meanwhile.
 * It sleeps, so others must not wait for the lock. */
bool
vhost_async_rxq_drain(struct vhost_async_rxq *rxq, uint64_t deadline_tsc)
{
    uint32_t taken = vhost_async_vq_get(&rxq->vq.taken);
    uint32_t seq = vhost_async_vq_get(&rxq->vq.published);

    for (int i = 0; ; i++) {
        while (seq != taken
               && pkt_is_done(&rxq->vq.pkts[seq & rxq->vq.pkts_mask])) {
            seq++;
        }
        if (seq == taken) {
            return true;
        } else if (rte_get_tsc_cycles() > deadline_tsc) {
            return false;
        }
        vhost_async_vq_pause(i);
    }
}

/* Has the next poll hand up a packet that makes the place of the guest known,
 * by the MAC address that is the first six bytes of 'mac'. */
void
vhost_async_rxq_announce(struct vhost_async_rxq *rxq, uint64_t mac)
{
    memcpy(rxq->mac, &mac, sizeof rxq->mac);
    rxq->announce = true;
}

/* Adds the counters of 'rxq' to '*t', since they were cleared or ever.  Any
 * thread. */
void
vhost_async_rxq_get_totals(const struct vhost_async_rxq *rxq,
                           bool since_clear, struct vhost_async_rx_totals *t)
{
    static const struct vhost_async_rxq_stats none;
    const struct vhost_async_rxq_stats *stats = &rxq->stats;
    const struct vhost_async_rxq_stats *zero = since_clear ? &rxq->zero
                                                           : &none;

#define ADD(MEMBER) t->MEMBER += vhost_async_counter(&stats->MEMBER)    \
                                 - vhost_async_counter(&zero->MEMBER)
    ADD(dma_packets);
    ADD(dma_bytes);
    ADD(cpu_packets);
    ADD(cpu_bytes);
    ADD(bad_drops);
#undef ADD
    t->in_flight += vhost_async_vq_in_flight(&rxq->vq);
}
