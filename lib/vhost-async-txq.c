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
 * Publishing is whichever thread's holds the lock then. */

#include <config.h>

#include "vhost-async-txq.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "vhost-guest-mem.h"

/* Packets whose mbufs are freed at once. */
#define TXQ_FREE_BURST 32

/* Creates txq 'qid' of the port called 'port', whose netdev keeps
 * tx-retries-max in '*tx_retries'.  Its ring is the library's or stopped, as
 * 'state' says. */
struct vhost_async_txq *
vhost_async_txq_create(const char *port, uint16_t qid,
                       atomic_uint8_t *tx_retries,
                       enum vhost_async_vq_state state)
{
    struct vhost_async_txq *txq = xzalloc_cacheline(sizeof *txq);

    vhost_async_vq_init(&txq->vq, port, qid, false, state);
    txq->tx_retries = tx_retries;
    return txq;
}

/* Destroys 'txq', of which no thread may know and with which nothing may be in
 * flight. */
void
vhost_async_txq_destroy(struct vhost_async_txq *txq)
{
    if (txq) {
        vhost_async_vq_uninit(&txq->vq);
        free_cacheline(txq);
    }
}

/* Whether a sender drops what was not taken when 'n_taken' packets were, after
 * 'retries': it comes back while some are, as often as tx-retries-max says
 * (netdev_dpdk_vhost_send()).  Any thread. */
bool
vhost_async_txq_drops_rest(const struct vhost_async_txq *txq,
                           uint32_t n_taken, unsigned int retries)
{
    uint8_t max;

    atomic_read_relaxed(txq->tx_retries, &max);
    return !n_taken || retries >= max;
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
    const struct vhost_guest_mem *mem = txq->vq.vring.mem;

    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vhost_guest_region *r = &mem->regions[i];

        for (uint64_t ofs = 0; ofs < r->size; ofs += UINT32_MAX) {
            vhost_vring_log(&txq->vq.vring, r->va + ofs, i,
                            MIN(r->size - ofs, UINT32_MAX));
        }
    }
}

/* Counts 'n_pkts' packets whose buffers were just given to the guest, and
 * notifies it if it wants to be.  The holder of the lock. */
void
vhost_async_txq_published(struct vhost_async_txq *txq, uint32_t n_pkts)
{
    vhost_async_count(&txq->stats.published, n_pkts);
    if (vhost_vring_must_notify(&txq->vq.vring)) {
        vhost_async_vq_notify(&txq->vq);
    }
}

static void
txq_give_to_guest(struct vhost_async_txq *txq, uint32_t n_pkts,
                  uint32_t n_chains)
{
    if (OVS_UNLIKELY(!vhost_vring_is_mapped(&txq->vq.vring))) {
        vhost_async_count_shared(&txq->stats.lost_drops, n_pkts);
        return;
    }
    if (OVS_UNLIKELY(txq->vq.log_all && txq->vq.vring.log_vid >= 0)) {
        txq_log_all(txq);
    }
    vhost_vring_publish(&txq->vq.vring, n_chains);
    vhost_async_txq_published(txq, n_pkts);
}

/* Publishes what is done, in the order of the ring, and frees its mbufs.  The
 * holder of the lock. */
void
vhost_async_txq_publish(struct vhost_async_txq *txq)
{
    struct rte_mbuf *mbufs[TXQ_FREE_BURST];
    uint32_t taken = vhost_async_vq_get(&txq->vq.taken);
    uint32_t seq = vhost_async_vq_get(&txq->vq.published);
    bool again;

    do {
        uint32_t first = seq, n_chains = 0, n_mbufs = 0;

        for (; seq != taken && n_mbufs < TXQ_FREE_BURST; seq++) {
            const struct vhost_async_pkt *pkt
                = &txq->vq.pkts[seq & txq->vq.pkts_mask];
            bool done;

            /* Acquire, paired with vhost_async_vq_done(). */
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
        atomic_store_relaxed(&txq->vq.published, seq);
        rte_pktmbuf_free_bulk(mbufs, n_mbufs);
        again = n_mbufs == TXQ_FREE_BURST;
    } while (again);

    if (seq == taken) {
        /* Not before the last of them is published: what it was written to
         * may have been sent off since it was logged. */
        txq->vq.log_all = false;
        vhost_async_vq_end_stuck(&txq->vq);
    }
}

/* Publishes until nothing is in flight, or until 'deadline_tsc', and returns
 * whether nothing is.  Those who own the channels reap them meanwhile.  The
 * holder of the lock; it sleeps, so others must not wait for it. */
bool
vhost_async_txq_drain(struct vhost_async_txq *txq, uint64_t deadline_tsc)
{
    vhost_async_txq_publish(txq);
    for (int i = 0; vhost_async_vq_in_flight(&txq->vq); i++) {
        if (rte_get_tsc_cycles() > deadline_tsc) {
            return false;
        }
        vhost_async_vq_pause(i);
        vhost_async_txq_publish(txq);
    }
    return true;
}

/* Returns the number of bytes that 'txq' takes, with all that it points to,
 * but for what the engine has.  Any thread. */
size_t
vhost_async_txq_memory(const struct vhost_async_txq *txq)
{
    return sizeof *txq + vhost_async_counter(&txq->vq.memory);
}
