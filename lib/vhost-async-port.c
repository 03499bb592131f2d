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

/* Implementation of vhost-async-port.h. */

#include <config.h>

#include "vhost-async-port.h"

#include "ovs-thread.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-vq-kinds.h"

struct ovs_mutex vhost_async_ports_mutex = OVS_MUTEX_INITIALIZER;
struct ovs_list vhost_async_ports OVS_GUARDED_BY(vhost_async_ports_mutex)
    = OVS_LIST_INITIALIZER(&vhost_async_ports);

/* Virtqueues that no port has any more, for as long as copies for them are in
 * flight or a thread is to come back to them. */
struct old_vq {
    struct ovs_list list_node;
    struct vhost_async_vq *vq;
};

static struct ovs_mutex old_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list old_vqs OVS_GUARDED_BY(old_mutex)
    = OVS_LIST_INITIALIZER(&old_vqs);

/* For txqs whose netdev is gone. */
static atomic_uint8_t no_retries;

/* Prepares 'port', of the netdev called 'name', which keeps tx-retries-max in
 * '*tx_retries'. */
void
vhost_async_port_init(struct vhost_async_port *port, const char *name,
                      atomic_uint8_t *tx_retries)
{
    memset(port, 0, sizeof *port);
    ovsrcu_init(&port->vqs, NULL);
    ovs_mutex_init(&port->mutex);
    port->name = xstrdup(name);
    port->tx_retries = tx_retries;
    atomic_init(&port->want_dma, false);
    atomic_init(&port->want_rx, false);
    atomic_init(&port->handover, false);
    atomic_init(&port->owner, -1);

    ovs_mutex_lock(&vhost_async_ports_mutex);
    ovs_list_push_back(&vhost_async_ports, &port->list_node);
    ovs_mutex_unlock(&vhost_async_ports_mutex);
}

/* Frees what 'port' holds.  No thread may send to it any more, and the vhost
 * library must have forgotten it. */
void
vhost_async_port_destroy(struct vhost_async_port *port)
{
    ovs_mutex_lock(&vhost_async_ports_mutex);
    ovs_list_remove(&port->list_node);
    ovs_mutex_unlock(&vhost_async_ports_mutex);

    vhost_async_port_set_dma(port, false, false);
    vhost_async_port_remove_vqs(port);
    vhost_async_port_set_path(port, NULL);
    free(port->name);
    ovs_mutex_destroy(&port->mutex);
}

/* Notes the socket of 'port', before its driver is registered with the vhost
 * library. */
void
vhost_async_port_set_path(struct vhost_async_port *port, const char *path)
{
    ovs_mutex_lock(&port->mutex);
    free(port->path);
    port->path = nullable_xstrdup(path);
    ovs_mutex_unlock(&port->mutex);
}

bool
vhost_async_port_has_path(struct vhost_async_port *port, const char *path)
{
    bool has;

    ovs_mutex_lock(&port->mutex);
    has = nullable_string_is_equal(port->path, path);
    ovs_mutex_unlock(&port->mutex);
    return has;
}

static bool
port_wants(const struct vhost_async_port *port, bool rx)
{
    return rx ? vhost_async_port_wants_rx(port)
              : vhost_async_port_wants_dma(port);
}

/* Notes whether 'port' is to be on DMA, and if so, also for what it receives.
 * Virtqueues that it has follow at once. */
void
vhost_async_port_set_dma(struct vhost_async_port *port, bool dma, bool rx)
{
    struct vhost_async_vq *vq;

    ovs_mutex_lock(&port->mutex);
    atomic_store_relaxed(&port->want_dma, dma);
    atomic_store_relaxed(&port->want_rx, dma && rx);
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
        atomic_store_relaxed(&vq->dma, port_wants(port, vq->rx));
    }
    ovs_mutex_unlock(&port->mutex);
}

/* Notes why engines do not get to the memory of the guest, a constant, or
 * NULL. */
void
vhost_async_port_set_no_dma(struct vhost_async_port *port, const char *why)
{
    ovs_mutex_lock(&port->mutex);
    port->no_dma = why;
    ovs_mutex_unlock(&port->mutex);
}

static struct vhost_async_vq *
port_new_vq(struct vhost_async_port *port, struct vhost_async_vqs *vqs,
            unsigned int index, enum vhost_async_vq_state state)
    OVS_REQUIRES(port->mutex)
{
    struct vhost_async_vq *vq;

    if (index % 2) {
        vq = &vhost_async_rxq_create(port->name, index / 2, state)->vq;
    } else {
        struct vhost_async_txq *txq;

        txq = vhost_async_txq_create(port->name, index / 2, port->tx_retries,
                                     state);
        if (!vhost_async_engine_txq_init(txq)) {
            vhost_async_txq_destroy(txq);
            return NULL;
        }
        vq = &txq->vq;
    }
    atomic_store_relaxed(&vq->dma, port_wants(port, vq->rx));
    ovsrcu_set(&vqs->vq[index], vq);
    return vq;
}

/* Gives 'port', which has none, virtqueues, of which the first 'n' txqs stand
 * for rings that are the library's.  They are to be taken over, see
 * vhost-async-guest.h.  Returns false if 'owner' is not the device that it
 * sends to any more. */
bool
vhost_async_port_add_vqs(struct vhost_async_port *port, int owner,
                         unsigned int n)
{
    bool add;

    ovs_mutex_lock(&port->mutex);
    add = vhost_async_port_owner(port) == owner;
    if (add) {
        struct vhost_async_vqs *vqs = xzalloc(sizeof *vqs);

        for (unsigned int i = 0; i < MIN(n, VHOST_ASYNC_MAX_QUEUES); i++) {
            port_new_vq(port, vqs, i * 2, VHOST_ASYNC_VQ_LIBRARY);
        }
        atomic_store_explicit(&port->handover, n > 0, memory_order_release);
        ovsrcu_set(&port->vqs, vqs);
    }
    ovs_mutex_unlock(&port->mutex);
    return add;
}

/* Has senders to 'port' take no lock any more, unless a ring is still the
 * library's: returns false then. */
bool
vhost_async_port_end_handover(struct vhost_async_port *port)
{
    struct vhost_async_vq *vq;
    bool end = true;

    ovs_mutex_lock(&port->mutex);
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
        end &= vq->rx || vhost_async_vq_state(vq) != VHOST_ASYNC_VQ_LIBRARY;
    }
    if (end) {
        atomic_store_explicit(&port->handover, false, memory_order_release);
    }
    ovs_mutex_unlock(&port->mutex);
    return end;
}

/* Returns the virtqueue of 'port', which has some, with number 'index', and
 * creates it if needed.  NULL if there is to be none. */
struct vhost_async_vq *
vhost_async_port_create_vq(struct vhost_async_port *port, unsigned int index)
{
    struct vhost_async_vqs *vqs;
    struct vhost_async_vq *vq = NULL;

    ovs_mutex_lock(&port->mutex);
    vqs = ovsrcu_get_protected(struct vhost_async_vqs *, &port->vqs);
    if (vqs && index < VHOST_ASYNC_MAX_VRINGS) {
        vq = ovsrcu_get_protected(struct vhost_async_vq *, &vqs->vq[index]);
        if (!vq && (!(index % 2) || vhost_async_port_wants_rx(port))) {
            bool library;

            /* A thread that did not see the txqs may send by the library; who
             * polls an rxq that is not there receives by it. */
            atomic_read_relaxed(&port->handover, &library);
            vq = port_new_vq(port, vqs, index,
                             (library || index % 2 ? VHOST_ASYNC_VQ_LIBRARY
                                                   : VHOST_ASYNC_VQ_STOPPED));
        }
    }
    ovs_mutex_unlock(&port->mutex);
    return vq;
}

/* A guest connected. */
void
vhost_async_port_add_guest(struct vhost_async_port *port)
{
    ovs_mutex_lock(&port->mutex);
    port->n_guests++;
    ovs_mutex_unlock(&port->mutex);
}

static void
port_unset_owner(struct vhost_async_port *port, int vid)
    OVS_REQUIRES(port->mutex)
{
    if (vhost_async_port_owner(port) == vid) {
        atomic_store_relaxed(&port->owner, -1);
    }
}

/* The guest that was device 'vid' is gone. */
void
vhost_async_port_remove_guest(struct vhost_async_port *port, int vid)
{
    ovs_mutex_lock(&port->mutex);
    port_unset_owner(port, vid);
    port->n_guests--;
    if (!port->n_guests) {
        port->no_dma = NULL;
    }
    ovs_mutex_unlock(&port->mutex);
}

/* Makes 'vid' the device whose rings 'port' sends to. */
void
vhost_async_port_set_owner(struct vhost_async_port *port, int vid)
{
    ovs_mutex_lock(&port->mutex);
    atomic_store_relaxed(&port->owner, vid);
    ovs_mutex_unlock(&port->mutex);
}

/* Has 'port' send to no device, if that is 'vid'. */
void
vhost_async_port_unset_owner(struct vhost_async_port *port, int vid)
{
    ovs_mutex_lock(&port->mutex);
    port_unset_owner(port, vid);
    ovs_mutex_unlock(&port->mutex);
}

/* Adds what there is to tell of 'txq', which goes, to what 'port' has sent.
 * Packets that it has are lost. */
static void
port_forget_txq(struct vhost_async_port *port, struct vhost_async_txq *txq)
    OVS_REQUIRES(port->mutex)
{
    /* Senders read it, and it is the netdev's, which goes. */
    vhost_async_vq_lock(&txq->vq);
    txq->tx_retries = &no_retries;
    vhost_async_engine_unlock(NULL, txq);
    vhost_async_txq_get_totals(txq, false, &port->gone);
    port->gone.lost_drops += port->gone.in_flight;
    port->gone.in_flight = 0;
    port->gone.ring_drops += port->gone.waiting;
    port->gone.down_drops += port->gone.waiting;
    port->gone.waiting = 0;
}

static void
port_forget_vq(struct vhost_async_port *port, struct vhost_async_vq *vq)
    OVS_REQUIRES(port->mutex)
{
    struct old_vq *old = xmalloc(sizeof *old);

    if (vq->rx) {
        vhost_async_rxq_get_totals(vhost_async_rxq_of_vq(vq), false,
                                   &port->rx_gone);
        port->rx_gone.in_flight = 0;
    } else {
        port_forget_txq(port, vhost_async_txq_of_vq(vq));
    }
    old->vq = vq;
    ovs_mutex_lock(&old_mutex);
    ovs_list_push_back(&old_vqs, &old->list_node);
    ovs_mutex_unlock(&old_mutex);
}

/* Has 'port' be the library's again, for the next guest, as far as it is not
 * to be on DMA, unless there is one: returns false then.  What is left of its
 * virtqueues, whose rings are stopped, is for vhost_async_port_free_vqs(). */
bool
vhost_async_port_remove_vqs(struct vhost_async_port *port)
{
    struct vhost_async_vqs *vqs;
    struct vhost_async_vq *vq;
    bool all;

    ovs_mutex_lock(&port->mutex);
    if (port->n_guests) {
        ovs_mutex_unlock(&port->mutex);
        return false;
    }
    vqs = ovsrcu_get_protected(struct vhost_async_vqs *, &port->vqs);
    all = !vhost_async_port_wants_dma(port);
    if (vqs) {
        VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
            if (all || !port_wants(port, vq->rx)) {
                unsigned int index = vhost_async_vq_index(vq);

                port_forget_vq(port, vq);
                ovsrcu_set(&vqs->vq[index], NULL);
            }
        }
        if (all) {
            ovsrcu_set(&port->vqs, NULL);
            ovsrcu_postpone(free, vqs);
        }
    }
    ovs_mutex_unlock(&port->mutex);
    return true;
}

static bool
vq_is_idle(struct vhost_async_vq *vq)
{
    bool idle;

    if (!vhost_async_vq_lock_unless_closed(vq)) {
        return false;
    }
    vhost_async_vq_end_done(vq);
    idle = (!vhost_async_vq_in_flight(vq)
            && (vq->rx || vhost_async_engine_txq_is_idle(
                              vhost_async_txq_of_vq(vq))));
    vhost_async_vq_unlock(vq);
    return idle;
}

/* Ends what rings of 'port', which has no guest, had in flight when that went,
 * as far as it is done.  Returns whether there is more.  The helper's thread,
 * with the list of ports locked for 'port' not to go. */
bool
vhost_async_port_end_stuck(struct vhost_async_port *port)
{
    struct vhost_async_vq *vq;
    bool more = false;

    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
        if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK
            && vhost_async_vq_lock_unless_closed(vq)) {
            if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK) {
                vhost_async_vq_end_done(vq);
            }
            more |= vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK;
            vhost_async_vq_unlock(vq);
        }
    }
    return more;
}

static void
vq_destroy(struct vhost_async_vq *vq)
{
    if (vq->rx) {
        vhost_async_rxq_destroy(vhost_async_rxq_of_vq(vq));
    } else {
        struct vhost_async_txq *txq = vhost_async_txq_of_vq(vq);

        vhost_async_engine_txq_destroy(txq);
        vhost_async_txq_destroy(txq);
    }
}

/* Frees virtqueues that no port has any more, as far as that is possible, and
 * returns how many are left.  The thread that looks after ports, without a
 * lock: it lets a grace period pass, for senders and pollers that know of
 * them. */
unsigned int
vhost_async_port_free_vqs(void)
{
    struct ovs_list idle = OVS_LIST_INITIALIZER(&idle);
    struct old_vq *old;
    unsigned int n;

    ovs_mutex_lock(&old_mutex);
    LIST_FOR_EACH_SAFE (old, list_node, &old_vqs) {
        if (vq_is_idle(old->vq)) {
            ovs_list_remove(&old->list_node);
            ovs_list_push_back(&idle, &old->list_node);
        }
    }
    n = ovs_list_size(&old_vqs);
    ovs_mutex_unlock(&old_mutex);

    if (!ovs_list_is_empty(&idle)) {
        ovsrcu_synchronize();
    }
    LIST_FOR_EACH_SAFE (old, list_node, &idle) {
        /* A sender may have been at it until then. */
        if (vq_is_idle(old->vq)) {
            vq_destroy(old->vq);
            ovs_list_remove(&old->list_node);
            free(old);
        }
    }
    if (!ovs_list_is_empty(&idle)) {
        ovs_mutex_lock(&old_mutex);
        n += ovs_list_size(&idle);
        ovs_list_push_back_all(&old_vqs, &idle);
        ovs_mutex_unlock(&old_mutex);
    }
    return n;
}

/* Statistics. */

/* Adds the counters of 'txq' to '*t', since they were cleared or ever.  Any
 * thread. */
void
vhost_async_txq_get_totals(const struct vhost_async_txq *txq,
                           bool since_clear, struct vhost_async_totals *t)
{
    static const struct vhost_async_txq_stats none;
    const struct vhost_async_txq_stats *stats = &txq->stats;
    const struct vhost_async_txq_stats *zero = since_clear ? &txq->zero
                                                           : &none;

#define ADD(MEMBER) t->MEMBER += vhost_async_counter(&stats->MEMBER)    \
                                 - vhost_async_counter(&zero->MEMBER)
    ADD(dma_packets);
    ADD(dma_bytes);
    ADD(cpu_packets);
    ADD(cpu_bytes);
    ADD(full_drops);
    ADD(down_drops);
    ADD(busy_drops);
    ADD(lost_drops);
    ADD(ring_full_drops);
    ADD(ring_drops);
#undef ADD
    t->in_flight += vhost_async_vq_in_flight(&txq->vq);
    t->waiting += vhost_async_engine_txq_waiting(txq);
}

/* Stores the counters of what 'port' sent in '*t', which
 * dpif-netdev/dma-stats-clear leaves alone.  Any thread. */
void
vhost_async_port_get_totals(struct vhost_async_port *port,
                            struct vhost_async_totals *t)
{
    struct vhost_async_vq *vq;

    ovs_mutex_lock(&port->mutex);
    *t = port->gone;
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
        if (!vq->rx) {
            vhost_async_txq_get_totals(vhost_async_txq_of_vq(vq), false, t);
        }
    }
    ovs_mutex_unlock(&port->mutex);
}

/* The same of what 'port' received. */
void
vhost_async_port_get_rx_totals(struct vhost_async_port *port,
                               struct vhost_async_rx_totals *t)
{
    struct vhost_async_vq *vq;

    ovs_mutex_lock(&port->mutex);
    *t = port->rx_gone;
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
        if (vq->rx) {
            vhost_async_rxq_get_totals(vhost_async_rxq_of_vq(vq), false, t);
        }
    }
    ovs_mutex_unlock(&port->mutex);
}

/* Has dpif-netdev/dma-show count from 0. */
void
vhost_async_port_clear(struct vhost_async_port *port)
{
    struct vhost_async_vq *vq;

    ovs_mutex_lock(&port->mutex);
    VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
        if (vq->rx) {
            struct vhost_async_rxq *rxq = vhost_async_rxq_of_vq(vq);

            vhost_async_copy_counters(&rxq->zero, &rxq->stats,
                                      sizeof rxq->zero);
        } else {
            struct vhost_async_txq *txq = vhost_async_txq_of_vq(vq);

            vhost_async_copy_counters(&txq->zero, &txq->stats,
                                      sizeof txq->zero);
        }
    }
    ovs_mutex_unlock(&port->mutex);
}
