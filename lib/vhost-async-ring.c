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
 * Each txq has a lockless ring.  A sender that finds the txq free becomes its
 * drainer, which is a role that at most one thread has: it submits, through
 * its own channel or by CPU, what is in the ring and then its own burst, which
 * never sees the ring if that was empty.  A sender that finds the role taken
 * puts its burst into the ring and goes on.  No sender waits for another.
 * Copies in flight are reaped by who submitted them, see vhost-async-work.h.
 *
 * Who drains the ring
 * ===================
 *
 * 'waiting' is raised before packets are put into the ring and lowered after
 * they are taken out.  Once they are in there, their sender tries to become
 * the drainer, and whoever gives up the role looks at 'waiting' afterwards.
 * All four accesses are sequentially consistent, so one of the two sees the
 * other: either the sender gets the role, or the drainer finds packets and
 * tries again.
 *
 * What a PMD thread leaves in the ring, because the virtqueue is full or
 * enough of others' work was done, it is the 'keeper' of: the txq is in the
 * thread's queue 'kept', and it tries again in each iteration.  Only the
 * drainer becomes the keeper, and only the keeper, being the drainer, ceases
 * to be it, when nothing waits.  Since it gives up the role after that, the
 * argument above goes for it, too.
 *
 * A thread that cannot come back, because it is no PMD thread or is about to
 * reload, goes on until the ring is empty, somebody else has the role, or
 * there is a keeper.  After VHOST_ASYNC_WAIT_US it drops what it cannot place.
 * It looks at the ring itself instead of 'waiting', since packets that are
 * not in there yet have a sender who will try; the fence between the ring and
 * the role is in ring_put() for one side, and in ring_run_to_the_end(), before
 * its last look, for the other.
 *
 * tests/vhost-async-ring.pml is a model of this, which spin(1) checks.
 *
 * An enqueue in mode RTS does not wait for others to finish theirs.  Packets
 * become visible in order, with the last one's end, hence 'waiting' and not
 * the ring decides whether somebody was there first.
 *
 * The ring goes with the device of the guest, when no thread has its vid; see
 * vhost-async-engine.h for threads and locks. */

#include <config.h>

#include "vhost-async-engine.h"

#include <sched.h>

#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "coverage.h"
#include "netdev-dpdk-async.h"
#include "openvswitch/vlog.h"
#include "vhost-async-copy.h"
#include "vhost-async-txq.h"
#include "vhost-async-work.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_ring);

COVERAGE_DEFINE(vhost_async_ring_contended);
COVERAGE_DEFINE(vhost_async_ring_full);
COVERAGE_DEFINE(vhost_async_ring_kept);

/* Packets that a ring holds: as many as the virtqueue, within these. */
#define RING_MIN 64
#define RING_MAX 4096

/* Most packets per call of the vhost library (MAX_PKT_BURST, 22.11). */
#define RING_BURST 32

/* Bursts that a drainer submits before it gives up the role. */
#define RING_ROUND 4

static struct rte_ring *
ring_get(const struct vhost_async_txq *txq)
{
    return ovsrcu_get(struct rte_ring *,
                      &CONST_CAST(struct vhost_async_txq *, txq)->engine.ring);
}

/* Returns the ring of 'txq' if its device, which is stored in '*vid', is
 * there, else NULL: a ring whose device goes is not to be touched. */
static struct rte_ring *
ring_get_live(const struct vhost_async_txq *txq, int *vid)
{
    *vid = ovsrcu_index_get(txq->vid);
    return *vid >= 0 ? ring_get(txq) : NULL;
}

static struct vhost_async_txq *
ring_txq(struct vhost_async_engine_txq *e)
{
    return CONTAINER_OF(e, struct vhost_async_txq, engine);
}

/* The role of the drainer. */

/* Sequentially consistent, as said at the top; the acquire in that makes the
 * work of the previous drainer visible to this one. */
static bool
ring_take(struct vhost_async_engine_txq *e)
{
    bool draining;

    /* A look first leaves the cache line to the drainer. */
    atomic_read_explicit(&e->draining, &draining, memory_order_seq_cst);
    return !draining
           && atomic_compare_exchange_strong_explicit(&e->draining, &draining,
                                                      true,
                                                      memory_order_seq_cst,
                                                      memory_order_relaxed);
}

static void
ring_give(struct vhost_async_engine_txq *e)
{
    atomic_store_explicit(&e->draining, false, memory_order_seq_cst);
}

static uint32_t
ring_waiting(const struct vhost_async_engine_txq *e)
{
    uint32_t n;

    atomic_read_explicit(
        &CONST_CAST(struct vhost_async_engine_txq *, e)->waiting, &n,
        memory_order_seq_cst);
    return n;
}

static struct vhost_async_thread *
ring_keeper(struct vhost_async_engine_txq *e)
{
    struct vhost_async_thread *keeper;

    atomic_read_explicit(&e->keeper, &keeper, memory_order_seq_cst);
    return keeper;
}

static void
ring_set_keeper(struct vhost_async_engine_txq *e,
                struct vhost_async_thread *keeper)
{
    atomic_store_explicit(&e->keeper, keeper, memory_order_seq_cst);
}

/* Has 'self', the drainer, come back, unless somebody does. */
static void
ring_keep(struct vhost_async_engine_txq *e, struct vhost_async_thread *self)
{
    if (!ring_keeper(e)) {
        ring_set_keeper(e, self);
        dma_defer_push(&self->kept, &e->node);
        self->kept_idle = false;
        COVERAGE_INC(vhost_async_ring_kept);
    }
}

/* Reverses ring_keep() for 'self', which is the drainer.  The node leaves the
 * queue first: who is the keeper next has it in his own. */
static void
ring_unkeep(struct vhost_async_engine_txq *e, struct vhost_async_thread *self)
{
    dma_defer_remove(&self->kept, &e->node);
    ring_set_keeper(e, NULL);
}

/* The ring. */

/* Puts all of 'cnt' packets into the ring, or none. */
static bool
ring_put(struct vhost_async_engine_txq *e, struct rte_ring *ring,
         struct rte_mbuf **pkts, uint16_t cnt)
{
    uint32_t orig;

    atomic_add_explicit(&e->waiting, cnt, &orig, memory_order_seq_cst);
    if (!rte_ring_enqueue_bulk(ring, (void **) pkts, cnt, NULL)) {
        atomic_sub_explicit(&e->waiting, cnt, &orig, memory_order_seq_cst);
        return false;
    }
    /* Between the ring and the role, for threads that look at the former. */
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

/* Whether packets that were not taken because of 'obstacle' may stay in the
 * ring: if there will be room, or somebody else, who may have a channel, comes
 * for them. */
static bool
ring_can_wait(struct vhost_async_thread *self,
              struct vhost_async_engine_txq *e,
              enum vhost_async_obstacle obstacle)
{
    struct vhost_async_thread *keeper = ring_keeper(e);

    return obstacle == VHOST_ASYNC_FULL
           || (obstacle == VHOST_ASYNC_BUSY && keeper && keeper != self);
}

/* Takes up to RING_ROUND bursts out of the ring and copies them.  What is not
 * taken stays there or, unless 'keep', is dropped; the latter also goes for
 * what cannot wait.  Returns the number of packets that left.
 *
 * The drainer only. */
static unsigned int
ring_drain(struct vhost_async_thread *self, struct vhost_async_txq *txq,
           int vid, struct rte_ring *ring, bool keep)
{
    enum vhost_async_obstacle obstacle = VHOST_ASYNC_FULL;
    struct rte_mbuf *pkts[RING_BURST];
    unsigned int total = 0;

    for (int i = 0; i < RING_ROUND; i++) {
        uint16_t cnt, n, n_left;
        uint32_t orig;

        cnt = rte_ring_dequeue_burst_start(ring, (void **) pkts, RING_BURST,
                                           NULL);
        if (!cnt) {
            break;
        }
        n = n_left = vhost_async_copy(self, txq, vid, pkts, cnt, &obstacle);
        if (OVS_UNLIKELY(n < cnt
                         && (!keep || !ring_can_wait(self, &txq->engine,
                                                     obstacle)))) {
            vhost_async_count_shared(&txq->stats.ring_lost_drops, cnt - n);
            n_left = cnt;
        }
        rte_ring_dequeue_finish(ring, n_left);
        rte_pktmbuf_free_bulk(pkts, n_left);
        atomic_sub_explicit(&txq->engine.waiting, n_left, &orig,
                            memory_order_seq_cst);
        total += n_left;
        if (OVS_UNLIKELY(n < cnt)) {
            break;
        }
    }
    return total;
}

/* Sees to what is in the ring, for a PMD thread: when it returns, nothing is,
 * another thread is the drainer, or there is a keeper.  The second round ends
 * it in any case, or else others' packets could keep the thread for ever.
 * Adds the number of packets that left the ring to '*n'.  Returns false if the
 * thread did not get to be the drainer. */
static bool
ring_run(struct vhost_async_thread *self, struct vhost_async_txq *txq,
         int vid, struct rte_ring *ring, unsigned int *n)
{
    struct vhost_async_engine_txq *e = &txq->engine;
    int round;

    for (round = 0; ring_take(e); round++) {
        *n += ring_drain(self, txq, vid, ring, true);
        if (round || ring_waiting(e)) {
            ring_keep(e, self);
        }
        ring_give(e);
        if (!ring_waiting(e) || ring_keeper(e)) {
            return true;
        }
    }
    return round > 0;
}

/* As ring_run(), for a thread that cannot be the keeper. */
static void
ring_run_to_the_end(struct vhost_async_thread *self,
                    struct vhost_async_txq *txq, int vid,
                    struct rte_ring *ring)
{
    uint64_t deadline = rte_get_tsc_cycles()
                        + rte_get_tsc_hz() / 1000000 * VHOST_ASYNC_WAIT_US;
    struct vhost_async_engine_txq *e = &txq->engine;

    while (ring_take(e)) {
        ring_drain(self, txq, vid, ring, rte_get_tsc_cycles() < deadline);
        ring_give(e);
        atomic_thread_fence(memory_order_seq_cst);
        if (rte_ring_empty(ring) || ring_keeper(e)) {
            break;
        }
        /* Others may want to be the drainer, and an engine this very core. */
        sched_yield();
    }
}

/* What came of an attempt to empty the ring. */
enum ring_outcome {
    RING_TAKEN,                 /* Another thread is the drainer. */
    RING_NO_ROOM,               /* The virtqueue takes nothing. */
    RING_LESS,                  /* Packets left it, or there were none. */
};

static enum ring_outcome
ring_see_to(struct vhost_async_thread *self, struct vhost_async_txq *txq,
            int vid, struct rte_ring *ring)
{
    unsigned int n = 0;

    if (OVS_LIKELY(self)) {
        if (!ring_run(self, txq, vid, ring, &n)) {
            return RING_TAKEN;
        }
        return n || !ring_waiting(&txq->engine) ? RING_LESS : RING_NO_ROOM;
    }
    ring_run_to_the_end(self, txq, vid, ring);
    return RING_LESS;
}

/* Sending. */

/* Before the guest has set up the txq there is no ring, and next to nothing to
 * send: senders take turns.  The ring can appear meanwhile, so that others
 * find the role taken and use it. */
static uint16_t
ring_send_without(struct vhost_async_thread *self,
                  struct vhost_async_txq *txq, int vid,
                  struct rte_mbuf **pkts, uint16_t cnt)
{
    uint16_t n;

    while (!ring_take(&txq->engine)) {
        rte_pause();
    }
    n = vhost_async_copy_or_count(self, txq, vid, pkts, cnt);
    ring_give(&txq->engine);
    if (OVS_UNLIKELY(ring_waiting(&txq->engine))) {
        /* Who made it wait saw the ring, so this thread does. */
        ring_see_to(self, txq, vid, ring_get(txq));
    }
    return n;
}

/* A full ring is tried again as often as the port's tx-retries-max says, as
 * long as there is hope: not if the virtqueue is full, too. */
static uint16_t
ring_send_through(struct vhost_async_thread *self,
                  struct vhost_async_txq *txq, int vid, struct rte_ring *ring,
                  struct rte_mbuf **pkts, uint16_t cnt)
{
    unsigned int retries;

    COVERAGE_INC(vhost_async_ring_contended);
    retries = netdev_dpdk_async_tx_retries(txq->port);
    for (unsigned int i = 0; i <= retries; i++) {
        bool is_in = ring_put(&txq->engine, ring, pkts, cnt);
        enum ring_outcome outcome = ring_see_to(self, txq, vid, ring);

        if (OVS_LIKELY(is_in)) {
            memset(pkts, 0, cnt * sizeof *pkts);
            return cnt;
        }
        if (outcome == RING_NO_ROOM) {
            break;
        }
        rte_pause();
    }
    COVERAGE_INC(vhost_async_ring_full);
    vhost_async_count_shared(&txq->stats.ring_full_drops, cnt);
    return 0;
}

/* Copies 'cnt' packets to 'txq', or puts them into its ring.  Returns how many
 * were taken; as for vhost_async_copy().  Of those that go through the ring,
 * all are or none. */
uint16_t
vhost_async_engine_send(struct vhost_async_thread *self,
                        struct vhost_async_txq *txq, int vid,
                        struct rte_mbuf **pkts, uint16_t cnt)
{
    struct vhost_async_engine_txq *e = &txq->engine;
    struct rte_ring *ring = ring_get(txq);
    uint16_t n;

    if (OVS_UNLIKELY(!cnt)) {
        return 0;
    }
    if (OVS_UNLIKELY(!ring)) {
        return ring_send_without(self, txq, vid, pkts, cnt);
    }
    if (OVS_UNLIKELY(!ring_take(e))) {
        return ring_send_through(self, txq, vid, ring, pkts, cnt);
    }
    if (OVS_UNLIKELY(ring_waiting(e))) {
        ring_drain(self, txq, vid, ring, true);
        if (ring_waiting(e)) {
            ring_give(e);
            return ring_send_through(self, txq, vid, ring, pkts, cnt);
        }
    }

    n = vhost_async_copy_or_count(self, txq, vid, pkts, cnt);
    ring_give(e);
    if (OVS_UNLIKELY(ring_waiting(e))) {
        ring_see_to(self, txq, vid, ring);
    }
    return n;
}

/* Once per iteration. */

struct ring_visit_aux {
    struct vhost_async_thread *self;
    unsigned int n;             /* Packets that left rings. */
    bool idle;                  /* No ring had another drainer. */
};

/* When the device of the guest is gone, or going, its ring is not touched:
 * who ends the device empties it. */
static bool
ring_visit(struct dma_defer_node *node, void *aux_)
{
    struct vhost_async_engine_txq *e
        = CONTAINER_OF(node, struct vhost_async_engine_txq, node);
    struct vhost_async_txq *txq = ring_txq(e);
    struct ring_visit_aux *aux = aux_;
    struct rte_ring *ring;
    int vid;

    ring = ring_get_live(txq, &vid);
    if (!ring_take(e)) {
        aux->idle = false;
        return false;
    }
    if (OVS_LIKELY(ring)) {
        aux->n += ring_drain(aux->self, txq, vid, ring, true);
    }
    if (!ring || !ring_waiting(e)) {
        ring_unkeep(e, aux->self);
    }
    ring_give(e);

    if (OVS_UNLIKELY(ring_waiting(e) && !ring_keeper(e))) {
        /* There can be a new device since. */
        ring = ring_get_live(txq, &vid);
        if (ring) {
            ring_run(aux->self, txq, vid, ring, &aux->n);
        }
    }
    return false;
}

/* Reaps, and submits what waits in the rings that 'self' keeps.  Returns the
 * number of packets.  To be called once per PMD iteration if
 * vhost_async_engine_is_busy(). */
unsigned int
vhost_async_engine_reap(struct vhost_async_thread *self)
{
    struct ring_visit_aux aux = { .self = self, .idle = true };
    unsigned int n = 0;

    if (vhost_async_work_is_busy(self)) {
        n = vhost_async_work_reap(self);
    }
    if (OVS_UNLIKELY(!dma_defer_is_empty(&self->kept))) {
        dma_defer_run(&self->kept, ring_visit, &aux);
        self->kept_idle = !aux.n && aux.idle;
    }
    return n + aux.n;
}

static bool
ring_abdicate(struct dma_defer_node *node, void *self)
{
    struct vhost_async_engine_txq *e
        = CONTAINER_OF(node, struct vhost_async_engine_txq, node);
    struct vhost_async_txq *txq = ring_txq(e);
    struct rte_ring *ring;
    int vid;

    /* As a lock: a drainer has a round to go, in which it may have to wait for
     * VHOST_ASYNC_WAIT_US. */
    while (!ring_take(e)) {
        rte_pause();
    }
    ring_unkeep(e, self);
    ring_give(e);

    /* Looked at after that, since there can be a new device. */
    ring = ring_get_live(txq, &vid);
    if (ring) {
        ring_run_to_the_end(self, txq, vid, ring);
    }
    return false;
}

/* Empties the queues of 'self', so that no reference to a port is left.  The
 * rings first, since that can put copies in flight. */
void
vhost_async_engine_drain(struct vhost_async_thread *self)
{
    dma_defer_run(&self->kept, ring_abdicate, self);
    vhost_async_work_drain(self);
}

/* The life of a ring. */

void
vhost_async_engine_txq_init(struct vhost_async_txq *txq)
{
    struct vhost_async_engine_txq *e = &txq->engine;

    atomic_init(&e->draining, false);
    atomic_init(&e->waiting, 0);
    atomic_init(&e->keeper, NULL);
    dma_defer_node_init(&e->node);
    ovsrcu_init(&e->ring, NULL);
}

/* Returns a ring for 'n' packets and in '*memory' how much it takes, from node
 * 'numa_id' if that has some, or NULL. */
static struct rte_ring *
ring_create(unsigned int n, int numa_id, size_t *memory)
{
    unsigned int flags = RING_F_MP_RTS_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ;
    /* Slots are a power of two, one of which stays empty. */
    ssize_t size = rte_ring_get_memsize(rte_align32pow2(n + 1));
    struct rte_ring *ring;

    ring = rte_zmalloc_socket("vhost-async-ring", size, RTE_CACHE_LINE_SIZE,
                              numa_id);
    if (!ring && numa_id != SOCKET_ID_ANY) {
        ring = rte_zmalloc_socket("vhost-async-ring", size,
                                  RTE_CACHE_LINE_SIZE, SOCKET_ID_ANY);
    }
    if (!ring) {
        return NULL;
    }
    if (rte_ring_init(ring, "vhost-async", n, flags)) {
        rte_free(ring);
        return NULL;
    }
    /* Senders do not wait for those who are at it since long, either. */
    rte_ring_set_prod_htd_max(ring, rte_ring_get_capacity(ring));
    *memory = size;
    return ring;
}

/* Allocates the ring of 'txq', whose virtqueue has 'vring_size' descriptors,
 * unless it has one.  Returns false if there is no memory. */
bool
vhost_async_engine_txq_start(struct vhost_async_txq *txq, uint16_t vring_size,
                             int numa_id)
{
    unsigned int n = MIN(MAX(vring_size, RING_MIN), RING_MAX);
    struct vhost_async_engine_txq *e = &txq->engine;
    struct rte_ring *ring;

    if (ring_get(txq)) {
        return true;
    }
    ring = ring_create(n, numa_id, &e->memory);
    if (!ring) {
        VLOG_WARN("no memory for the ring of txq %"PRIu16", of %u packets; "
                  "it stays on CPU copy.  Raise "
                  "other_config:dpdk-socket-mem.", txq->qid, n);
        return false;
    }
    ovsrcu_set(&e->ring, ring);
    return true;
}

/* Frees the ring and the packets in it, which are counted as lost.  No thread
 * may be able to send to the device of 'txq' any more. */
void
vhost_async_engine_txq_stop(struct vhost_async_txq *txq)
{
    struct vhost_async_engine_txq *e = &txq->engine;
    struct rte_ring *ring = ring_get(txq);
    unsigned int n = 0;
    void *pkt;

    if (!ring) {
        return;
    }
    for (; !rte_ring_dequeue(ring, &pkt); n++) {
        rte_pktmbuf_free(pkt);
    }
    vhost_async_count_shared(&txq->stats.ring_lost_drops, n);
    atomic_store_explicit(&e->waiting, 0, memory_order_seq_cst);
    ovsrcu_set(&e->ring, NULL);
    rte_free(ring);
    e->memory = 0;
}

/* Returns the number of bytes that the ring takes. */
size_t
vhost_async_engine_txq_memory(const struct vhost_async_txq *txq)
{
    return txq->engine.memory;
}

/* Returns the number of packets in the ring.  Any thread. */
uint32_t
vhost_async_engine_txq_waiting(const struct vhost_async_txq *txq)
{
    return ring_waiting(&txq->engine);
}
