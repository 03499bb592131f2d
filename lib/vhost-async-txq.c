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
 * Publishing is whichever thread's holds the lock then; starting and stopping
 * is that of the thread which handles the messages of the guest
 * (vhost-async-guest.c). */

#include <config.h>

#include "vhost-async-txq.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_pause.h>

#include "coverage.h"
#include "dpdk-dma-chan.h"
#include "openvswitch/vlog.h"
#include "vhost-guest-mem.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_txq);

COVERAGE_DEFINE(vhost_async_contended);
COVERAGE_DEFINE(vhost_async_notify);

/* Packets whose mbufs are freed at once. */
#define TXQ_FREE_BURST 32

/* Attempts at a lock before the core is given to others: its holder is done
 * within a burst, unless it is not running. */
#define TXQ_SPINS 1000

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
    dpdk_dma_owner_init(&txq->owner);
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
 * its copies are done, and nothing is published any more.  The CPU does not do
 * them again: the memory that they are to is the guest's from now on.
 *
 * The holder of the lock, once vhost_async_txq_drain() was tried. */
void
vhost_async_txq_stop(struct vhost_async_txq *txq)
{
    if (vhost_async_txq_in_flight(txq)) {
        dpdk_dma_owner_give_up(&txq->owner);
    }
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

/* Counts 'n_pkts' packets whose buffers were just given to the guest, and
 * notifies it if it wants to be.  The holder of the lock. */
void
vhost_async_txq_published(struct vhost_async_txq *txq, uint32_t n_pkts)
{
    vhost_async_count(&txq->stats.published, n_pkts);
    if (vhost_vring_must_notify(&txq->vring)) {
        vhost_async_txq_notify(txq);
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
    vhost_async_txq_published(txq, n_pkts);
}

/* Publishes what is done, in the order of the ring, and frees its mbufs.  The
 * holder of the lock. */
void
vhost_async_txq_publish(struct vhost_async_txq *txq)
{
    struct rte_mbuf *mbufs[TXQ_FREE_BURST];
    uint32_t sent = vhost_async_txq_get(&txq->sent);
    uint32_t seq = vhost_async_txq_get(&txq->published);
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
            dpdk_dma_owner_take_up(&txq->owner);
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
    uint32_t seq = vhost_async_txq_get(&txq->published);

    return (vhost_async_txq_in_flight(txq)
            ? txq->pkts[seq & txq->pkts_mask].chan : -1);
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
