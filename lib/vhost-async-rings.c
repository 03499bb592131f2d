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
#include "vhost-async-vq-kinds.h"

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
    return rings->port && vhost_async_port_vqs(rings->port)
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
                const struct vhost_async_vq *vq)
{
    /* Without the feature a ring is enabled when it starts. */
    return !(vhost_async_rings_features(rings) & F_PROTOCOL_FEATURES)
           || bitmap_is_set(rings->enabled, vhost_async_vq_index(vq));
}

static bool
ring_is_set_up(const struct vhost_async_vq *vq)
{
    enum vhost_async_vq_state state = vhost_async_vq_state(vq);

    return state == VHOST_ASYNC_VQ_DISABLED
           || state == VHOST_ASYNC_VQ_RUNNING;
}

/* Writes the indices of 'vq' to the library: what was not published was not
 * fetched, as far as it is told. */
static void
ring_tell_library(const struct vhost_async_rings *rings,
                  const struct vhost_async_vq *vq)
{
    uint16_t base = vhost_vring_get_base(&vq->vring);

    rte_vhost_set_vring_base(rings->vid, vhost_async_vq_index(vq), base, base);
}

/* Stops the ring, which is set up.  The holder of its lock. */
static void
ring_stop(struct vhost_async_vq *vq)
{
    vhost_async_vq_stop(vq);
    vhost_async_vq_end_done(vq);
    vhost_async_vq_set_callfd(vq, -1);
    if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK) {
        /* The helper looks after it until it can start again. */
        dpdk_dma_dev_wake();
    }
}

/* Stops the ring, if it is set up, for it cannot be used as it is now.  It may
 * start again where it was. */
static void
ring_give_up(struct vhost_async_rings *rings, struct vhost_async_vq *vq)
{
    if (ring_is_set_up(vq)) {
        ring_tell_library(rings, vq);
        ring_stop(vq);
    }
}

/* Makes a duplicate of 'fd' what notifies the guest: the library closes its
 * own when it likes.  Negative numbers tell that the guest polls, or that
 * there is none yet. */
static void
ring_dup_callfd(struct vhost_async_vq *vq, int fd)
{
    int ours = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

    if (fd >= 0 && ours < 0) {
        VLOG_ERR_RL(&rl, "%s: %s %"PRIu16": the guest cannot be notified "
                    "(%s).", vq->port, vhost_async_vq_kind(vq), vq->qid,
                    ovs_strerror(errno));
    }
    vhost_async_vq_set_callfd(vq, ours);
}

/* Starts the ring of 'vq', or has it mapped anew if it was started, as the
 * library knows it, if it is complete.  The holder of its lock. */
static void
ring_start(struct vhost_async_rings *rings, struct vhost_async_vq *vq)
{
    bool fresh = vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STOPPED;
    uint64_t features = vhost_async_rings_features(rings);
    uint16_t index = vhost_async_vq_index(vq);
    struct vhost_vring_setup setup;
    struct rte_vhost_vring vring;
    uint16_t avail, used;
    const char *error;

    if (!rings->mem || features & F_IOMMU_PLATFORM
        || rte_vhost_get_vhost_vring(rings->vid, index, &vring)
        || !vring.desc || !vring.avail || !vring.used) {
        /* To be set up. */
        ring_give_up(rings, vq);
        return;
    }

    setup = (struct vhost_vring_setup) {
        .mem = rings->mem,
        .desc = vring.desc,
        .avail = vring.avail,
        .used = vring.used,
        .size = vring.size,
        .features = features,
        .from_guest = vq->rx,
        .log_vid = features & F_LOG_ALL ? rings->vid : -1,
    };
    error = vhost_async_vq_start(vq, &setup);
    if (error) {
        VLOG_ERR_RL(&rl, "%s: %s %"PRIu16": nothing can be %s the guest "
                    "(device %d): %s.", vq->port, vhost_async_vq_kind(vq),
                    vq->qid, vq->rx ? "received from" : "sent to", rings->vid,
                    error);
        ring_give_up(rings, vq);
        return;
    }
    if (fresh) {
        if (!rte_vhost_get_vring_base(rings->vid, index, &avail, &used)) {
            vhost_vring_set_base(&vq->vring, avail, used);
        }
        ring_dup_callfd(vq, vring.callfd);
        /* What it was told before is not known. */
        vhost_async_vq_notify(vq);
    }
}

/* Has the ring of 'vq' be as the guest wants it, and mapped anew if 'again'.
 * The holder of its lock. */
static void
ring_update(struct vhost_async_rings *rings, struct vhost_async_vq *vq,
            bool again)
{
    enum vhost_async_vq_state state = vhost_async_vq_state(vq);

    if (state == VHOST_ASYNC_VQ_LIBRARY || state == VHOST_ASYNC_VQ_STUCK
        || !bitmap_is_set(rings->started, vhost_async_vq_index(vq))) {
        return;
    }
    /* A message that was to change the memory failed: what the library has
     * is not known, and what it has of rings is of no use.  Those that are
     * mapped stay so, in the memory that we have, for copies in flight, and
     * get nothing new. */
    if (rings->has_table && (state == VHOST_ASYNC_VQ_STOPPED || again)) {
        ring_start(rings, vq);
    }
    if (ring_is_set_up(vq)) {
        vhost_async_vq_set_state(
            vq, (rings->has_table && ring_is_enabled(rings, vq)
                 ? VHOST_ASYNC_VQ_RUNNING : VHOST_ASYNC_VQ_DISABLED));
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
    for (unsigned int index = 0; index < VHOST_ASYNC_MAX_VRINGS; index++) {
        struct vhost_async_vq *vq = vhost_async_port_vq(rings->port, index);

        if (!vq) {
            if (!bitmap_is_set(rings->started, index)) {
                continue;
            }
            vq = vhost_async_port_create_vq(rings->port, index);
            if (!vq) {
                continue;
            }
        }
        if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_LIBRARY) {
            /* Its lock is not waited for, see netdev-dpdk-async.c. */
            continue;
        } else if (gate && vq->is_closed) {
            ring_update(rings, vq, true);
            vq->is_closed = false;
            vhost_async_vq_open(vq);
        } else {
            vhost_async_vq_lock(vq);
            if (OVS_UNLIKELY(vhost_async_vq_state(vq)
                             == VHOST_ASYNC_VQ_STUCK)) {
                /* Nobody else may look. */
                vhost_async_vq_end_done(vq);
            }
            ring_update(rings, vq, false);
        }
        wait |= vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK;
        vhost_async_vq_unlock(vq);
    }
    return wait;
}

/* Has the ring of 'vq', which was the library's or is new, be as the guest
 * wants it.  The holder of its lock. */
void
vhost_async_rings_update_one(struct vhost_async_rings *rings,
                             struct vhost_async_vq *vq)
{
    ring_update(rings, vq, false);
}

static uint64_t
deadline_after_ms(unsigned int ms)
{
    return rte_get_tsc_cycles() + rte_get_tsc_hz() / 1000 * ms;
}

/* Stops the ring of 'vq', which is closed, and opens it. */
static void
ring_drain_and_stop(struct vhost_async_rings *rings,
                    struct vhost_async_vq *vq, uint64_t deadline)
{
    if (ring_is_set_up(vq)) {
        if (!vhost_async_vq_drain(vq, deadline)) {
            VLOG_ERR("%s: %s %"PRIu16" stops with %"PRIu32" packet(s) in "
                     "flight: a DMA device completes no copy, and could not "
                     "be shown to have stopped.  It may still %s memory of "
                     "the guest.  The %s stands still until it does not any "
                     "more.", vq->port, vhost_async_vq_kind(vq), vq->qid,
                     vhost_async_vq_in_flight(vq),
                     vq->rx ? "read" : "write to", vhost_async_vq_kind(vq));
        }
        ring_tell_library(rings, vq);
        ring_stop(vq);
    }
    vq->is_closed = false;
    vhost_async_vq_open(vq);
    vhost_async_vq_unlock(vq);
}

/* Stops all rings, and tells the library their indices.  Waits for copies in
 * flight, with one deadline for all: time enough for an engine that hangs to
 * be found out and stopped, and for the CPU to do its copies again.  The rings
 * are ours. */
void
vhost_async_rings_stop(struct vhost_async_rings *rings)
{
    uint64_t deadline = deadline_after_ms(2 * dpdk_dma_dev_timeout_ms()
                                          + RESCUE_MS);
    struct vhost_async_vq *vq;

    /* All together, so that they are drained at the same time. */
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, rings->port) {
        if (vhost_async_vq_state(vq) != VHOST_ASYNC_VQ_LIBRARY
            && !vq->is_closed) {
            vhost_async_vq_close(vq);
            vq->is_closed = true;
        }
    }
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, rings->port) {
        if (vhost_async_vq_state(vq) != VHOST_ASYNC_VQ_LIBRARY) {
            ring_drain_and_stop(rings, vq, deadline);
        }
    }
    rings->gate = false;
}

/* Closes the gate, until vhost_async_rings_update().  The rings are ours. */
void
vhost_async_rings_close_gate(struct vhost_async_rings *rings)
{
    struct vhost_async_vq *vq;

    rings->gate = true;
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, rings->port) {
        if (ring_is_set_up(vq)) {
            vhost_async_vq_close(vq);
            vq->is_closed = true;
        }
    }
}

/* Tells the library the indices of rings, which it is about to translate: it
 * takes the used ring's otherwise, and says so.  The gate is closed. */
void
vhost_async_rings_tell_library(struct vhost_async_rings *rings)
{
    struct vhost_async_vq *vq;

    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, rings->port) {
        if (vq->is_closed) {
            ring_tell_library(rings, vq);
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
    struct vhost_async_vq *vq;

    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, rings->port) {
        /* From where engines only read, they may read on: that stays mapped
         * for them. */
        if (vq->is_closed && !vq->rx) {
            vq->log_all = !vhost_async_vq_drain(vq, deadline);
        }
    }
}

/* Whether something is in flight to the guest, be it to rings that stopped.
 * The gate is closed, or the rings are stopped. */
bool
vhost_async_rings_have_copies(const struct vhost_async_rings *rings)
{
    const struct vhost_async_vq *vq;

    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, rings->port) {
        if (vhost_async_vq_in_flight(vq)) {
            return true;
        }
    }
    return false;
}

/* An interrupt of the guest moved: that of a ring that is in use is told once,
 * unasked, since the guest may sleep and wait for the old one.  The rings are
 * ours, and the gate is not closed. */
void
vhost_async_rings_move_call(struct vhost_async_rings *rings, uint32_t index)
{
    struct vhost_async_vq *vq = vhost_async_port_vq(rings->port, index);
    struct rte_vhost_vring vring;

    if (vq && vhost_async_vq_state(vq) != VHOST_ASYNC_VQ_LIBRARY
        && !rte_vhost_get_vhost_vring(rings->vid, index, &vring)) {
        vhost_async_vq_lock(vq);
        if (ring_is_set_up(vq)) {
            ring_dup_callfd(vq, vring.callfd);
            vhost_async_vq_notify(vq);
        }
        vhost_async_vq_unlock(vq);
    }
}

/* The guest gave a ring another base than ours: it starts anew.  The rings are
 * ours, and the gate is closed. */
void
vhost_async_rings_move_base(struct vhost_async_rings *rings, uint32_t index)
{
    struct vhost_async_vq *vq = vhost_async_port_vq(rings->port, index);

    if (vq && vq->is_closed && ring_is_set_up(vq)) {
        ring_stop(vq);
    }
}

/* The guest is to be announced where it is now, by the MAC address that is the
 * first six bytes of 'mac': what it sends begins with that.  The rings are
 * ours, and the gate is not closed. */
void
vhost_async_rings_announce(struct vhost_async_rings *rings, uint64_t mac)
{
    struct vhost_async_vq *vq = vhost_async_port_vq(rings->port, 1);

    if (vq) {
        vhost_async_vq_lock(vq);
        vhost_async_rxq_announce(vhost_async_rxq_of_vq(vq), mac);
        vhost_async_vq_unlock(vq);
    }
}
