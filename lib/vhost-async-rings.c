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

/* Implementation of vhost-async-rings.h.  Facts about the vhost library were
 * read from the sources of DPDK 22.11.11 to 26.07, lib/vhost/vhost_user.c. */

#include <config.h>

#include "vhost-async-rings.h"

#include <errno.h>
#include <fcntl.h>

#include <rte_cycles.h>
#include <rte_vhost.h>

#include "dpdk-dma-dev.h"
#include "openvswitch/vlog.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-txq.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_rings);

/* Feature bits that virtio_config.h and vhost_user.h of older kernels lack. */
#define F_LOG_ALL (UINT64_C(1) << 26)
#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define F_IOMMU_PLATFORM (UINT64_C(1) << 33)

/* How long a message waits for copies in flight that does without if needed,
 * in milliseconds.  The library holds the locks of the rings meanwhile. */
#define DRAIN_MS 100

/* What it takes to stop an engine that was found out, and to do its copies
 * again, in milliseconds (dpdk_dma_dev_stop_failed()). */
#define RESCUE_MS 300

/* What is wrong with a ring is said again whenever it is looked at. */
static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 5);

/* Whether the rings are ours, or are to be. */
bool
vhost_async_rings_are_ours(const struct vhost_async_rings *rings)
{
    return rings->port && vhost_async_port_txqs(rings->port)
           && vhost_async_port_owner(rings->port) == rings->vid;
}

/* The features that were negotiated. */
uint64_t
vhost_async_rings_features(const struct vhost_async_rings *rings)
{
    uint64_t features = 0;

    rte_vhost_get_negotiated_features(rings->vid, &features);
    return features;
}

static bool
ring_is_enabled(const struct vhost_async_rings *rings,
                const struct vhost_async_txq *txq)
{
    /* Without the feature a ring is enabled when it starts. */
    return !(vhost_async_rings_features(rings) & F_PROTOCOL_FEATURES)
           || bitmap_is_set(rings->enabled, txq->qid * 2);
}

static bool
ring_is_set_up(const struct vhost_async_txq *txq)
{
    enum vhost_async_txq_state state = vhost_async_txq_state(txq);

    return state == VHOST_ASYNC_TXQ_DISABLED
           || state == VHOST_ASYNC_TXQ_RUNNING;
}

/* Writes the indices of 'txq' to the library: what was not published was not
 * fetched, as far as it is told. */
static void
ring_tell_library(const struct vhost_async_rings *rings,
                  const struct vhost_async_txq *txq)
{
    uint16_t base = vhost_vring_get_base(&txq->vring);

    rte_vhost_set_vring_base(rings->vid, txq->qid * 2, base, base);
}

/* Stops the ring, which is set up.  The holder of its lock. */
static void
ring_stop(struct vhost_async_txq *txq)
{
    vhost_async_txq_stop(txq);
    vhost_async_txq_set_callfd(txq, -1);
    if (vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_STUCK) {
        /* The helper looks after it until it can start again. */
        dpdk_dma_dev_wake();
    }
}

/* Stops the ring, if it is set up, for it cannot be used as it is now.  It may
 * start again where it was. */
static void
ring_give_up(struct vhost_async_rings *rings, struct vhost_async_txq *txq)
{
    if (ring_is_set_up(txq)) {
        ring_tell_library(rings, txq);
        ring_stop(txq);
    }
}

/* Makes a duplicate of 'fd' what notifies the guest: the library closes its
 * own when it likes.  Negative numbers tell that the guest polls, or that
 * there is none yet. */
static void
ring_dup_callfd(struct vhost_async_txq *txq, int fd)
{
    int ours = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

    if (fd >= 0 && ours < 0) {
        VLOG_ERR_RL(&rl, "%s: txq %"PRIu16": the guest cannot be notified "
                    "(%s).", txq->port, txq->qid, ovs_strerror(errno));
    }
    vhost_async_txq_set_callfd(txq, ours);
}

/* Starts the ring of 'txq', or has it mapped anew if it was started, as the
 * library knows it, if it is complete.  The holder of its lock. */
static void
ring_start(struct vhost_async_rings *rings, struct vhost_async_txq *txq)
{
    bool fresh = vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_STOPPED;
    uint64_t features = vhost_async_rings_features(rings);
    struct vhost_vring_setup setup;
    struct rte_vhost_vring vring;
    uint16_t avail, used;
    const char *error;

    if (!rings->mem || features & F_IOMMU_PLATFORM
        || rte_vhost_get_vhost_vring(rings->vid, txq->qid * 2, &vring)
        || !vring.desc || !vring.avail || !vring.used) {
        /* To be set up. */
        ring_give_up(rings, txq);
        return;
    }

    setup = (struct vhost_vring_setup) {
        .mem = rings->mem,
        .desc = vring.desc,
        .avail = vring.avail,
        .used = vring.used,
        .size = vring.size,
        .features = features,
        .log_vid = features & F_LOG_ALL ? rings->vid : -1,
    };
    error = vhost_async_txq_start(txq, &setup);
    if (error) {
        VLOG_ERR_RL(&rl, "%s: txq %"PRIu16": nothing can be sent to the guest "
                    "(device %d): %s.", txq->port, txq->qid, rings->vid,
                    error);
        ring_give_up(rings, txq);
        return;
    }
    if (fresh) {
        if (!rte_vhost_get_vring_base(rings->vid, txq->qid * 2, &avail,
                                      &used)) {
            vhost_vring_set_base(&txq->vring, avail, used);
        }
        ring_dup_callfd(txq, vring.callfd);
        /* What it was told before is not known. */
        vhost_async_txq_notify(txq);
    }
}

/* Has the ring of 'txq' be as the guest wants it, and mapped anew if 'again'.
 * The holder of its lock. */
static void
ring_update(struct vhost_async_rings *rings, struct vhost_async_txq *txq,
            bool again)
{
    enum vhost_async_txq_state state = vhost_async_txq_state(txq);

    if (state == VHOST_ASYNC_TXQ_LIBRARY || state == VHOST_ASYNC_TXQ_STUCK
        || !bitmap_is_set(rings->started, txq->qid * 2)) {
        return;
    }
    /* A message that was to change the memory failed: what the library has
     * is not known, and what it has of rings is of no use.  Those that are
     * mapped stay so, in the memory that we have, for copies in flight, and
     * get nothing new. */
    if (rings->has_table && (state == VHOST_ASYNC_TXQ_STOPPED || again)) {
        ring_start(rings, txq);
    }
    if (ring_is_set_up(txq)) {
        vhost_async_txq_set_state(
            txq, (rings->has_table && ring_is_enabled(rings, txq)
                  ? VHOST_ASYNC_TXQ_RUNNING : VHOST_ASYNC_TXQ_DISABLED));
    }
}

/* Has all rings be as the guest wants them.  Those whose locks are held, since
 * the gate is closed, are mapped anew and opened.  Returns whether there are
 * rings that can start only when copies in flight are done: then this is to be
 * called again.
 *
 * The rings are ours. */
bool
vhost_async_rings_update(struct vhost_async_rings *rings)
{
    bool gate = rings->gate;
    bool wait = false;

    rings->gate = false;
    for (unsigned int qid = 0; qid < VHOST_ASYNC_MAX_TXQS; qid++) {
        struct vhost_async_txq *txq = vhost_async_port_txq(rings->port, qid);

        if (!txq) {
            if (!bitmap_is_set(rings->started, qid * 2)) {
                continue;
            }
            txq = vhost_async_port_create_txq(rings->port, qid);
            if (!txq) {
                continue;
            }
        }
        if (vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_LIBRARY) {
            /* Its lock is not waited for, see netdev-dpdk-async.c. */
            continue;
        } else if (gate && txq->is_closed) {
            ring_update(rings, txq, true);
            txq->is_closed = false;
            vhost_async_txq_open(txq);
        } else {
            vhost_async_txq_lock(txq);
            ring_update(rings, txq, false);
        }
        wait |= vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_STUCK;
        vhost_async_engine_unlock(NULL, txq);
    }
    return wait;
}

/* Has the ring of 'txq', which was the library's or is new, be as the guest
 * wants it.  The holder of its lock. */
void
vhost_async_rings_update_one(struct vhost_async_rings *rings,
                             struct vhost_async_txq *txq)
{
    ring_update(rings, txq, false);
}

static uint64_t
deadline_after_ms(unsigned int ms)
{
    return rte_get_tsc_cycles() + rte_get_tsc_hz() / 1000 * ms;
}

/* Stops the ring of 'txq', which is closed, and opens it. */
static void
ring_drain_and_stop(struct vhost_async_rings *rings,
                    struct vhost_async_txq *txq, uint64_t deadline)
{
    if (ring_is_set_up(txq)) {
        if (!vhost_async_txq_drain(txq, deadline)) {
            VLOG_ERR("%s: txq %"PRIu16" stops with %"PRIu32" packet(s) in "
                     "flight: a DMA device completes no copy, and could not "
                     "be shown to have stopped.  It may still write to memory "
                     "of the guest.  The txq stands still until it does not "
                     "any more.", txq->port, txq->qid,
                     vhost_async_txq_in_flight(txq));
        }
        ring_tell_library(rings, txq);
        ring_stop(txq);
    }
    txq->is_closed = false;
    vhost_async_txq_open(txq);
    vhost_async_engine_unlock(NULL, txq);
}

static bool
ring_is_to_stop(const struct vhost_async_txq *txq, int only)
{
    return (only < 0 || txq->qid == only)
           && vhost_async_txq_state(txq) != VHOST_ASYNC_TXQ_LIBRARY;
}

/* Stops ring 'only', or all if that is negative, and tells the library their
 * indices.  Waits for copies in flight, with one deadline for all: time enough
 * for an engine that hangs to be found out and stopped, and for the CPU to do
 * its copies again.  The rings are ours. */
void
vhost_async_rings_stop(struct vhost_async_rings *rings, int only)
{
    uint64_t deadline = deadline_after_ms(2 * dpdk_dma_dev_timeout_ms()
                                          + RESCUE_MS);
    struct vhost_async_txq *txq;

    /* All together, so that they are drained at the same time. */
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, rings->port) {
        if (ring_is_to_stop(txq, only) && !txq->is_closed) {
            vhost_async_txq_close(txq);
            txq->is_closed = true;
        }
    }
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, rings->port) {
        if (ring_is_to_stop(txq, only)) {
            ring_drain_and_stop(rings, txq, deadline);
        }
    }
    if (only < 0) {
        rings->gate = false;
    }
}

/* Closes the gate, until vhost_async_rings_update().  The rings are ours. */
void
vhost_async_rings_close_gate(struct vhost_async_rings *rings)
{
    struct vhost_async_txq *txq;

    rings->gate = true;
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, rings->port) {
        if (ring_is_set_up(txq)) {
            vhost_async_txq_close(txq);
            txq->is_closed = true;
        }
    }
}

/* Tells the library the indices of rings, which it is about to translate: it
 * takes the used ring's otherwise, and says so.  The gate is closed. */
void
vhost_async_rings_tell_library(struct vhost_async_rings *rings)
{
    struct vhost_async_txq *txq;

    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, rings->port) {
        if (txq->is_closed) {
            ring_tell_library(rings, txq);
        }
    }
}

/* Waits, as long as an engine that works may take, until nothing is in flight
 * to rings that are closed.  The pages that an engine writes are not logged:
 * if logging begins now, all of the memory is when what is in flight still is
 * there.  The gate is closed. */
void
vhost_async_rings_drain(struct vhost_async_rings *rings)
{
    uint64_t deadline = deadline_after_ms(DRAIN_MS);
    struct vhost_async_txq *txq;

    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, rings->port) {
        if (txq->is_closed) {
            txq->log_all = !vhost_async_txq_drain(txq, deadline);
        }
    }
}

/* Whether something is in flight to the guest, be it to rings that stopped.
 * The gate is closed, or the rings are stopped. */
bool
vhost_async_rings_have_copies(const struct vhost_async_rings *rings)
{
    const struct vhost_async_txq *txq;

    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, rings->port) {
        if (vhost_async_txq_in_flight(txq)) {
            return true;
        }
    }
    return false;
}

/* Returns the txq of virtqueue 'index' if that is a receive ring. */
static struct vhost_async_txq *
txq_by_vring(const struct vhost_async_rings *rings, uint32_t index)
{
    return index % 2 ? NULL : vhost_async_port_txq(rings->port, index / 2);
}

/* An interrupt of the guest moved: that of a ring that is in use is told once,
 * unasked, since the guest may sleep and wait for the old one.  The rings are
 * ours, and the gate is not closed. */
void
vhost_async_rings_move_call(struct vhost_async_rings *rings, uint32_t index)
{
    struct vhost_async_txq *txq = txq_by_vring(rings, index);
    struct rte_vhost_vring vring;

    if (txq && vhost_async_txq_state(txq) != VHOST_ASYNC_TXQ_LIBRARY
        && !rte_vhost_get_vhost_vring(rings->vid, index, &vring)) {
        vhost_async_txq_lock(txq);
        if (ring_is_set_up(txq)) {
            ring_dup_callfd(txq, vring.callfd);
            vhost_async_txq_notify(txq);
        }
        vhost_async_engine_unlock(NULL, txq);
    }
}

/* The guest gave a ring another base than ours: it starts anew.  The rings are
 * ours, and the gate is closed. */
void
vhost_async_rings_move_base(struct vhost_async_rings *rings, uint32_t index)
{
    struct vhost_async_txq *txq = txq_by_vring(rings, index);

    if (txq && txq->is_closed && ring_is_set_up(txq)) {
        ring_stop(txq);
    }
}
