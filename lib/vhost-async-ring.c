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

/* The completion engine "ring".
 *
 * Each txq has a lockless ring.  A sender that finds the txq free takes its
 * lock and copies its burst, which never sees the ring if that is empty.  A
 * sender that finds the lock taken puts its burst into the ring, leaves it to
 * the holder of the lock (vhost-async-txq.h), which thereby is the ring's
 * drainer, and goes on.  No sender waits for another.
 *
 * A holder would never get away while others keep the ring filled, or put
 * something into it whenever it is about to go.  After RING_ROUNDS, or when it
 * is kept from going for the second time, it lets go of the lock with packets
 * in the ring: a PMD thread then keeps the txq in its queue 'kept' and comes
 * back in its next iteration, unless another thread keeps it already; any
 * other thread goes on until the ring is empty or kept, for RING_ALONE packets
 * at most, and drops what is left.  Whoever takes the lock next drains the
 * ring first, so that packets stay in order.
 *
 * What the guest has no buffers for is dropped, as a burst that never saw the
 * ring is when its sender has tried as often as tx-retries-max says.
 *
 * An enqueue in mode RTS does not wait for others to finish theirs; packets
 * become visible with the end of the last one, whose sender then leaves word
 * at the lock, hence somebody looks at the ring after that.  Until they are
 * copied they are counted in 'waiting', so that no sender overtakes its own.
 *
 * tests/vhost-async-lock.pml is a model of this, which spin(1) checks.  See
 * vhost-async-engine.h for threads and locks. */

#include <config.h>

#include "vhost-async-engine.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "coverage.h"
#include "vhost-async-copy.h"
#include "vhost-async-txq.h"

COVERAGE_DEFINE(vhost_async_ring_contended);
COVERAGE_DEFINE(vhost_async_ring_full);
COVERAGE_DEFINE(vhost_async_ring_kept);

/* Packets that a ring holds: what four PMD threads send in a few bursts each.
 * With more senders than that the ring is full when the guest is, too. */
#define RING_SIZE 1024

#define RING_BURST 32

/* Bursts out of the ring that one holder of the lock sees to. */
#define RING_ROUNDS 8

/* Packets out of the ring that a thread sends which cannot come back.  Counted
 * and not timed, since it may have been waiting for a core. */
#define RING_ALONE (4 * RING_SIZE)

/* Packets that were put into the ring, or are about to be, and are not copied
 * yet.  A thread knows of its own. */
static uint32_t
ring_waiting(const struct vhost_async_txq *txq)
{
    uint32_t n;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_txq *,
                                    txq)->engine.waiting, &n);
    return n;
}

static void
ring_left(struct vhost_async_txq *txq, uint32_t n)
{
    uint32_t orig;

    atomic_sub_relaxed(&txq->engine.waiting, n, &orig);
}

/* Counts 'n' packets that came out of the ring and are dropped because of
 * 'obstacle'. */
static void
ring_count_drops(struct vhost_async_txq *txq,
                 enum vhost_async_obstacle obstacle, uint32_t n)
{
    vhost_async_txq_count_drops(txq, obstacle, n);
    vhost_async_count_shared(&txq->stats.ring_drops, n);
}

/* Copies a burst out of the ring, and again what was not taken as often as
 * tx-retries-max says.  Returns the number of packets, 0 if it was empty. */
static unsigned int
ring_drain_burst(struct vhost_async_sender *self, struct vhost_async_txq *txq)
{
    struct rte_mbuf *pkts[RING_BURST];
    enum vhost_async_obstacle obstacle;
    uint8_t retries = 0;
    unsigned int cnt, n = 0;

    cnt = rte_ring_sc_dequeue_burst(txq->engine.ring, (void **) pkts,
                                    RING_BURST, NULL);
    if (!cnt) {
        return 0;
    }
    atomic_read_relaxed(txq->tx_retries, &retries);
    for (int i = 0; i <= retries; i++) {
        uint16_t taken;

        taken = vhost_async_txq_send(txq, self, &pkts[n], cnt - n,
                                     &obstacle);
        n += taken;
        if (OVS_LIKELY(n == cnt) || !taken) {
            break;
        }
    }
    if (OVS_UNLIKELY(n < cnt)) {
        ring_count_drops(txq, obstacle, cnt - n);
    }
    /* Others are NULL, which is skipped. */
    rte_pktmbuf_free_bulk(pkts, cnt);
    ring_left(txq, cnt);
    return cnt;
}

/* Drains the ring for at most RING_ROUNDS, and adds the packets to '*n_pkts'.
 * Returns whether it is empty. */
static bool
ring_drain(struct vhost_async_sender *self, struct vhost_async_txq *txq,
           unsigned int *n_pkts)
{
    for (int i = 0; i < RING_ROUNDS; i++) {
        unsigned int n = ring_drain_burst(self, txq);

        if (!n) {
            return true;
        }
        *n_pkts += n;
        vhost_async_txq_publish(txq);
    }
    return rte_ring_empty(txq->engine.ring);
}

/* Drops what is in the ring, because of 'obstacle'. */
static void
ring_drop(struct vhost_async_txq *txq, enum vhost_async_obstacle obstacle)
{
    struct rte_mbuf *pkts[RING_BURST];
    unsigned int cnt;

    while ((cnt = rte_ring_sc_dequeue_burst(txq->engine.ring, (void **) pkts,
                                            RING_BURST, NULL))) {
        ring_left(txq, cnt);
        ring_count_drops(txq, obstacle, cnt);
        rte_pktmbuf_free_bulk(pkts, cnt);
    }
}

/* Has 'self' come back, unless somebody does.  The holder of the lock. */
static void
ring_keep(struct vhost_async_sender *self, struct vhost_async_txq *txq)
{
    if (!txq->engine.is_kept) {
        COVERAGE_INC(vhost_async_ring_kept);
        txq->engine.is_kept = true;
        dma_defer_push(&self->kept, &txq->engine.node);
    }
}

/* Sees to what is in the ring: when this returns, nothing is, or somebody
 * comes back for it.  '*n_pkts' is 0 in the first of several calls.  The
 * holder of the lock. */
static void
ring_see_to(struct vhost_async_sender *self, struct vhost_async_txq *txq,
            unsigned int *n_pkts)
{
    if (self) {
        if (!ring_drain(self, txq, n_pkts)) {
            ring_keep(self, txq);
        }
        return;
    }
    do {
        if (!txq->engine.is_kept && *n_pkts >= RING_ALONE) {
            ring_drop(txq, VHOST_ASYNC_BUSY);
        }
    } while (!ring_drain(NULL, txq, n_pkts) && !txq->engine.is_kept);
}

/* Gives up the lock of 'txq'.  What others leave meanwhile is seen to, or
 * somebody comes back for it. */
void
vhost_async_engine_unlock(struct vhost_async_sender *self,
                          struct vhost_async_txq *txq)
{
    unsigned int n_pkts = 0;

    for (int i = 0; OVS_UNLIKELY(!vhost_async_vq_try_unlock(&txq->vq)); i++) {
        vhost_async_txq_publish(txq);
        if (self && i) {
            /* Those who send without a pause, however little, must not hold
             * this thread here. */
            ring_keep(self, txq);
        } else {
            ring_see_to(self, txq, &n_pkts);
        }
    }
}

/* Publishes what is done, or leaves that to who is at 'txq'. */
void
vhost_async_engine_publish(struct vhost_async_sender *self,
                           struct vhost_async_txq *txq)
{
    if (vhost_async_vq_trylock_or_leave(&txq->vq)) {
        vhost_async_txq_publish(txq);
        vhost_async_engine_unlock(self, txq);
    }
}

/* Puts 'cnt' packets into the ring, RING_BURST at most: all of them, or none
 * if it is full.  Returns whether it did. */
static bool
ring_put(struct vhost_async_sender *self, struct vhost_async_txq *txq,
         struct rte_mbuf **pkts, uint16_t cnt)
{
    unsigned int n_pkts = 0;
    uint32_t orig;

    atomic_add_relaxed(&txq->engine.waiting, cnt, &orig);
    if (OVS_UNLIKELY(!rte_ring_enqueue_bulk(txq->engine.ring, (void **) pkts,
                                            cnt, NULL))) {
        ring_left(txq, cnt);
        return false;
    }
    memset(pkts, 0, cnt * sizeof *pkts);
    if (vhost_async_vq_trylock_or_leave(&txq->vq)) {
        ring_see_to(self, txq, &n_pkts);
        vhost_async_engine_unlock(self, txq);
    }
    return true;
}

/* Sends 'cnt' packets through the ring, from OVS 4.0 on more than RING_BURST,
 * and maybe more than it holds.  Returns how many it took. */
static uint16_t
ring_send_through(struct vhost_async_sender *self,
                  struct vhost_async_txq *txq, struct rte_mbuf **pkts,
                  uint16_t cnt, unsigned int retries)
{
    uint16_t n = 0;

    COVERAGE_INC(vhost_async_ring_contended);
    while (n < cnt) {
        uint16_t burst = MIN(cnt - n, RING_BURST);

        if (OVS_UNLIKELY(!ring_put(self, txq, &pkts[n], burst))) {
            COVERAGE_INC(vhost_async_ring_full);
            break;
        }
        n += burst;
    }
    if (OVS_UNLIKELY(n < cnt) && vhost_async_txq_drops_rest(txq, n, retries)) {
        vhost_async_count_shared(&txq->stats.ring_full_drops, cnt - n);
    }
    return n;
}

/* Copies 'cnt' packets to 'txq', or puts them into its ring.  Returns how many
 * were taken; of RING_BURST that go through the ring, all are or none.  Those
 * in whose place is NULL then belong to the txq; all others still to the
 * caller, who comes back with those unless none was taken or there were
 * 'retries' enough, and then drops them. */
uint16_t
vhost_async_engine_send(struct vhost_async_sender *self,
                        struct vhost_async_txq *txq, struct rte_mbuf **pkts,
                        uint16_t cnt, unsigned int retries)
{
    enum vhost_async_obstacle obstacle;
    uint16_t n;

    if (OVS_UNLIKELY(!cnt)) {
        return 0;
    }
    if (OVS_UNLIKELY(ring_waiting(txq)
                     || !vhost_async_vq_trylock(&txq->vq))) {
        return ring_send_through(self, txq, pkts, cnt, retries);
    }
    n = vhost_async_txq_send(txq, self, pkts, cnt, &obstacle);
    vhost_async_engine_unlock(self, txq);
    if (OVS_UNLIKELY(n < cnt) && vhost_async_txq_drops_rest(txq, n, retries)) {
        vhost_async_txq_count_drops(txq, obstacle, cnt - n);
    }
    return n;
}

/* Returns the txq that 'self' keeps for longest; there must be one. */
static struct vhost_async_txq *
ring_first_kept(const struct vhost_async_sender *self)
{
    return CONTAINER_OF(ovs_list_front(&self->kept.list),
                        struct vhost_async_txq, engine.node.list);
}

/* Comes back once to each txq that 'self' keeps.  Once per iteration, if there
 * is one. */
void
vhost_async_engine_run(struct vhost_async_sender *self)
{
    for (unsigned int n = self->kept.n; n; n--) {
        struct vhost_async_txq *txq = ring_first_kept(self);
        struct dma_defer_node *node = &txq->engine.node;
        unsigned int n_pkts = 0;

        if (!vhost_async_vq_lock_unless_closed(&txq->vq)) {
            /* Who handles the message drains the ring afterwards. */
            dma_defer_remove(&self->kept, node);
            dma_defer_push(&self->kept, node);
            continue;
        }
        dma_defer_remove(&self->kept, node);
        txq->engine.is_kept = false;
        ring_see_to(self, txq, &n_pkts);
        vhost_async_engine_unlock(self, txq);
    }
}

/* Lets go of the txqs that 'self' keeps, so that no reference is left.  Does
 * not wait for messages of guests, which may themselves wait for copies of
 * this thread: returns false if that is to be tried again. */
bool
vhost_async_engine_leave(struct vhost_async_sender *self)
{
    for (unsigned int n = self->kept.n; n; n--) {
        struct vhost_async_txq *txq = ring_first_kept(self);
        struct dma_defer_node *node = &txq->engine.node;
        unsigned int n_pkts = 0;

        if (!vhost_async_vq_lock_unless_closed(&txq->vq)) {
            dma_defer_remove(&self->kept, node);
            dma_defer_push(&self->kept, node);
            continue;
        }
        dma_defer_remove(&self->kept, node);
        txq->engine.is_kept = false;
        ring_see_to(NULL, txq, &n_pkts);
        vhost_async_engine_unlock(NULL, txq);
    }
    return dma_defer_is_empty(&self->kept);
}

/* The life of a ring. */

/* Gives 'txq', which was just created, a ring.  Returns false if that failed,
 * which needs a wrong size. */
bool
vhost_async_engine_txq_init(struct vhost_async_txq *txq)
{
    struct vhost_async_engine_txq *e = &txq->engine;
    ssize_t size = rte_ring_get_memsize(2 * RING_SIZE);

    dma_defer_node_init(&e->node);
    atomic_init(&e->waiting, 0);
    e->memory = size;
    e->ring = xzalloc_cacheline(size);
    if (rte_ring_init(e->ring, "vhost-async", RING_SIZE,
                      RING_F_MP_RTS_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ)) {
        free_cacheline(e->ring);
        e->ring = NULL;
        return false;
    }
    /* Senders do not wait for those who are at it since long, either. */
    rte_ring_set_prod_htd_max(e->ring, rte_ring_get_capacity(e->ring));
    return true;
}

/* Frees the ring and the packets in it, which are counted as dropped.  No
 * thread may know of 'txq' any more. */
void
vhost_async_engine_txq_destroy(struct vhost_async_txq *txq)
{
    if (txq->engine.ring) {
        ring_drop(txq, VHOST_ASYNC_DOWN);
        free_cacheline(txq->engine.ring);
        txq->engine.ring = NULL;
    }
}

/* Whether the ring is empty and no thread is to come back to it.  The holder
 * of the lock. */
bool
vhost_async_engine_txq_is_idle(struct vhost_async_txq *txq)
{
    return !ring_waiting(txq) && !txq->engine.is_kept;
}

/* Returns the number of bytes that the ring takes. */
size_t
vhost_async_engine_txq_memory(const struct vhost_async_txq *txq)
{
    return txq->engine.memory;
}

/* Returns the number of packets in the ring.  Any thread. */
unsigned int
vhost_async_engine_txq_waiting(const struct vhost_async_txq *txq)
{
    return ring_waiting(txq);
}
