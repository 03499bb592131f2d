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
#include "vhost-async-txq.h"

struct ovs_mutex vhost_async_ports_mutex = OVS_MUTEX_INITIALIZER;
struct ovs_list vhost_async_ports OVS_GUARDED_BY(vhost_async_ports_mutex)
    = OVS_LIST_INITIALIZER(&vhost_async_ports);

/* Txqs that no port has any more, for as long as copies for them are in
 * flight or a thread is to come back to them. */
struct old_txq {
    struct ovs_list list_node;
    struct vhost_async_txq *txq;
};

static struct ovs_mutex old_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list old_txqs OVS_GUARDED_BY(old_mutex)
    = OVS_LIST_INITIALIZER(&old_txqs);

/* For txqs whose netdev is gone. */
static atomic_uint8_t no_retries;

/* Prepares 'port', of the netdev called 'name', which keeps tx-retries-max in
 * '*tx_retries'. */
void
vhost_async_port_init(struct vhost_async_port *port, const char *name,
                      atomic_uint8_t *tx_retries)
{
    memset(port, 0, sizeof *port);
    ovsrcu_init(&port->txqs, NULL);
    ovs_mutex_init(&port->mutex);
    port->name = xstrdup(name);
    port->tx_retries = tx_retries;
    atomic_init(&port->want_dma, false);
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

    vhost_async_port_remove_txqs(port);
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

/* Notes whether 'port' is to be on DMA.  Txqs that it has follow at once. */
void
vhost_async_port_set_dma(struct vhost_async_port *port, bool want)
{
    struct vhost_async_txq *txq;

    ovs_mutex_lock(&port->mutex);
    atomic_store_relaxed(&port->want_dma, want);
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, port) {
        atomic_store_relaxed(&txq->dma, want);
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

static struct vhost_async_txq *
port_new_txq(struct vhost_async_port *port, struct vhost_async_txqs *txqs,
             unsigned int qid, enum vhost_async_txq_state state)
    OVS_REQUIRES(port->mutex)
{
    struct vhost_async_txq *txq;

    txq = vhost_async_txq_create(port->name, qid, port->tx_retries, state);
    if (!vhost_async_engine_txq_init(txq)) {
        vhost_async_txq_destroy(txq);
        return NULL;
    }
    atomic_store_relaxed(&txq->dma, vhost_async_port_wants_dma(port));
    ovsrcu_set(&txqs->txq[qid], txq);
    return txq;
}

/* Gives 'port', which has none, txqs, of which the first 'n' stand for rings
 * that are the library's.  They are to be taken over, see vhost-async-guest.h.
 * Returns false if 'owner' is not the device that it sends to any more. */
bool
vhost_async_port_add_txqs(struct vhost_async_port *port, int owner,
                          unsigned int n)
{
    bool add;

    ovs_mutex_lock(&port->mutex);
    add = vhost_async_port_owner(port) == owner;
    if (add) {
        struct vhost_async_txqs *txqs = xzalloc(sizeof *txqs);

        for (unsigned int i = 0; i < MIN(n, VHOST_ASYNC_MAX_TXQS); i++) {
            port_new_txq(port, txqs, i, VHOST_ASYNC_TXQ_LIBRARY);
        }
        atomic_store_explicit(&port->handover, n > 0, memory_order_release);
        ovsrcu_set(&port->txqs, txqs);
    }
    ovs_mutex_unlock(&port->mutex);
    return add;
}

/* Has senders to 'port' take no lock any more, unless a ring is still the
 * library's: returns false then. */
bool
vhost_async_port_end_handover(struct vhost_async_port *port)
{
    struct vhost_async_txq *txq;
    bool end = true;

    ovs_mutex_lock(&port->mutex);
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, port) {
        end &= vhost_async_txq_state(txq) != VHOST_ASYNC_TXQ_LIBRARY;
    }
    if (end) {
        atomic_store_explicit(&port->handover, false, memory_order_release);
    }
    ovs_mutex_unlock(&port->mutex);
    return end;
}

/* Returns txq 'qid' of 'port', which has txqs, and creates it if needed. */
struct vhost_async_txq *
vhost_async_port_create_txq(struct vhost_async_port *port, unsigned int qid)
{
    struct vhost_async_txqs *txqs;
    struct vhost_async_txq *txq = NULL;

    ovs_mutex_lock(&port->mutex);
    txqs = ovsrcu_get_protected(struct vhost_async_txqs *, &port->txqs);
    if (txqs && qid < VHOST_ASYNC_MAX_TXQS) {
        txq = ovsrcu_get_protected(struct vhost_async_txq *,
                                   &txqs->txq[qid]);
        if (!txq) {
            bool handover;

            /* A thread that did not see the txqs may send by the library. */
            atomic_read_relaxed(&port->handover, &handover);
            txq = port_new_txq(port, txqs, qid,
                               handover ? VHOST_ASYNC_TXQ_LIBRARY
                                        : VHOST_ASYNC_TXQ_STOPPED);
        }
    }
    ovs_mutex_unlock(&port->mutex);
    return txq;
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

/* Has 'port' be the library's again, for the next guest, unless there is one:
 * returns false then.  What is left of its txqs, whose rings are stopped, is
 * for vhost_async_port_free_txqs().  Packets that they have are lost. */
bool
vhost_async_port_remove_txqs(struct vhost_async_port *port)
{
    struct vhost_async_txqs *txqs;
    struct vhost_async_txq *txq;

    ovs_mutex_lock(&port->mutex);
    if (port->n_guests) {
        ovs_mutex_unlock(&port->mutex);
        return false;
    }
    txqs = ovsrcu_get_protected(struct vhost_async_txqs *, &port->txqs);
    if (txqs) {
        VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, port) {
            struct old_txq *old = xmalloc(sizeof *old);

            /* Who has the lock reads it. */
            vhost_async_txq_lock(txq);
            txq->tx_retries = &no_retries;
            vhost_async_engine_unlock(NULL, txq);
            vhost_async_txq_get_totals(txq, false, &port->gone);
            port->gone.lost_drops += port->gone.in_flight;
            port->gone.in_flight = 0;
            port->gone.ring_drops += port->gone.waiting;
            port->gone.down_drops += port->gone.waiting;
            port->gone.waiting = 0;
            old->txq = txq;
            ovs_mutex_lock(&old_mutex);
            ovs_list_push_back(&old_txqs, &old->list_node);
            ovs_mutex_unlock(&old_mutex);
        }
        ovsrcu_set(&port->txqs, NULL);
        ovsrcu_postpone(free, txqs);
    }
    ovs_mutex_unlock(&port->mutex);
    return true;
}

static bool
txq_is_idle(struct vhost_async_txq *txq)
{
    bool idle;

    if (!vhost_async_txq_lock_unless_closed(txq)) {
        return false;
    }
    vhost_async_txq_publish(txq);
    idle = !vhost_async_txq_in_flight(txq)
           && vhost_async_engine_txq_is_idle(txq);
    vhost_async_engine_unlock(NULL, txq);
    return idle;
}

/* Frees txqs that no port has any more, as far as that is possible, and
 * returns how many are left.  The thread that looks after ports, without a
 * lock: it lets a grace period pass, for senders that know of them. */
unsigned int
vhost_async_port_free_txqs(void)
{
    struct ovs_list idle = OVS_LIST_INITIALIZER(&idle);
    struct old_txq *old;
    unsigned int n;

    ovs_mutex_lock(&old_mutex);
    LIST_FOR_EACH_SAFE (old, list_node, &old_txqs) {
        if (txq_is_idle(old->txq)) {
            ovs_list_remove(&old->list_node);
            ovs_list_push_back(&idle, &old->list_node);
        }
    }
    n = ovs_list_size(&old_txqs);
    ovs_mutex_unlock(&old_mutex);

    if (!ovs_list_is_empty(&idle)) {
        ovsrcu_synchronize();
    }
    LIST_FOR_EACH_SAFE (old, list_node, &idle) {
        /* A sender may have been at it until then. */
        if (txq_is_idle(old->txq)) {
            vhost_async_engine_txq_destroy(old->txq);
            vhost_async_txq_destroy(old->txq);
            ovs_list_remove(&old->list_node);
            free(old);
        }
    }
    if (!ovs_list_is_empty(&idle)) {
        ovs_mutex_lock(&old_mutex);
        n += ovs_list_size(&idle);
        ovs_list_push_back_all(&old_txqs, &idle);
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
    t->in_flight += vhost_async_txq_in_flight(txq);
    t->waiting += vhost_async_engine_txq_waiting(txq);
}

/* Stores the counters of 'port' in '*t', which dpif-netdev/dma-stats-clear
 * leaves alone.  Any thread. */
void
vhost_async_port_get_totals(struct vhost_async_port *port,
                            struct vhost_async_totals *t)
{
    const struct vhost_async_txq *txq;

    ovs_mutex_lock(&port->mutex);
    *t = port->gone;
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, port) {
        vhost_async_txq_get_totals(txq, false, t);
    }
    ovs_mutex_unlock(&port->mutex);
}

/* Has dpif-netdev/dma-show count from 0. */
void
vhost_async_port_clear(struct vhost_async_port *port)
{
    struct vhost_async_txq *txq;

    ovs_mutex_lock(&port->mutex);
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, port) {
        /* The copied counters are atomics only for the senders' sake. */
        memcpy(&txq->zero, &txq->stats, sizeof txq->zero);
    }
    ovs_mutex_unlock(&port->mutex);
}
