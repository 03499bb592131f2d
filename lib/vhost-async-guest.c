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

/* Implementation of vhost-async-guest.h.  Facts about the vhost library were
 * read from the sources of DPDK 22.11.11 to 26.07, lib/vhost/vhost_user.c. */

#include <config.h>

#include "vhost-async-guest.h"

#include <fcntl.h>
#include <sched.h>

#include <rte_cycles.h>
#include <rte_vhost.h>

#include "bitmap.h"
#include "dpdk-dma-chan.h"
#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "timeval.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-message.h"
#include "vhost-async-port.h"
#include "vhost-async-txq.h"
#include "vhost-guest-mem.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_guest);

#define MAX_VRINGS (2 * VHOST_ASYNC_MAX_TXQS)

/* Feature bits that virtio_config.h and vhost_user.h of older kernels lack. */
#define F_LOG_ALL (UINT64_C(1) << 26)
#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define F_IOMMU_PLATFORM (UINT64_C(1) << 33)

/* What an engine has to finish before pages that it writes are logged, in
 * milliseconds; what it does not finish is logged by and by. */
#define LOG_DRAIN_MS 10

/* What it takes to stop an engine that was found out, and to do its copies
 * again, in milliseconds (dpdk_dma_dev_stop_failed()). */
#define RESCUE_MS 300

/* A message that failed is not seen after it was handled.  If the guest sends
 * no other one for this long, in milliseconds, the gate opens: none of those
 * that close it takes as long. */
#define MESSAGE_MS 1000

/* Who is in control of a guest. */
enum guest_control {
    CONTROL_FREE,
    CONTROL_MESSAGE,            /* Between pre and post of a message. */
    CONTROL_TAKEN,              /* Anybody else. */
};

struct guest {
    atomic_uint32_t control;    /* enum guest_control. */

    /* Of who is in control. */
    struct vhost_async_port *port;      /* NULL if nobody is connected. */
    struct vhost_guest_mem *mem;        /* NULL before it was needed. */
    bool has_table;             /* The library has a memory table. */
    bool gate;                  /* The message closed the gate. */
    long long int since;        /* When the message came. */
    unsigned long started[BITMAP_N_LONGS(MAX_VRINGS)];
    unsigned long enabled[BITMAP_N_LONGS(MAX_VRINGS)];
};

static struct guest guests[VHOST_ASYNC_MAX_GUESTS];

/* Memory that was a guest's, for as long as engines may write to it: until
 * each channel has reaped what it had been handed by then. */
struct old_mem {
    struct ovs_list list_node;
    struct vhost_guest_mem *mem;
    uint64_t submitted[DPDK_DMA_MAX_CHANS];
};

static struct ovs_mutex old_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list old_mems OVS_GUARDED_BY(old_mutex)
    = OVS_LIST_INITIALIZER(&old_mems);

/* Control. */

static bool
control_swap(struct guest *g, uint32_t old, uint32_t new)
{
    return atomic_compare_exchange_strong_explicit(&g->control, &old, new,
                                                   memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static void
control_give(struct guest *g)
{
    atomic_store_explicit(&g->control, CONTROL_FREE, memory_order_release);
}

static void
control_take(struct guest *g, enum guest_control how)
{
    while (!control_swap(g, CONTROL_FREE, how)) {
        sched_yield();
    }
}

/* For callbacks of the library about a device.  They may come while a message
 * is handled, by the thread that handles it, or after one that failed.
 * Returns whether control is to be given back. */
static bool
control_take_for_callback(struct guest *g)
{
    for (;;) {
        uint32_t control;

        atomic_read_relaxed(&g->control, &control);
        if (control == CONTROL_MESSAGE) {
            return false;
        } else if (control_swap(g, CONTROL_FREE, CONTROL_TAKEN)) {
            return true;
        }
        sched_yield();
    }
}

static struct guest *
guest_by_vid(int vid)
{
    return vid >= 0 && vid < VHOST_ASYNC_MAX_GUESTS ? &guests[vid] : NULL;
}

static int
guest_vid(const struct guest *g)
{
    return g - guests;
}

/* Whether the rings of the guest are ours, or are to be. */
static bool
guest_is_ours(const struct guest *g)
{
    return g->port && vhost_async_port_txqs(g->port)
           && vhost_async_port_owner(g->port) == guest_vid(g);
}

/* Memory. */

static void
mem_retire(struct vhost_guest_mem *mem)
{
    const struct dpdk_dma_chan *chan;
    struct old_mem *old;

    if (!mem) {
        return;
    }
    old = xzalloc(sizeof *old);
    old->mem = mem;
    /* No thread of ours is at the rings of this memory, hence what it was
     * handed to channels for is counted. */
    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        old->submitted[i] = dpdk_dma_chan_submitted(chan);
    }
    ovs_mutex_lock(&old_mutex);
    ovs_list_push_back(&old_mems, &old->list_node);
    ovs_mutex_unlock(&old_mutex);
    seq_change(dpdk_dma_dev_seq());
}

static bool
mem_is_in_use(const struct old_mem *old)
{
    const struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (dpdk_dma_chan_completed(chan) < old->submitted[i]) {
            return true;
        }
    }
    return false;
}

/* Frees memory of guests that no engine writes to any more.  Returns how many
 * tables are left.  The helper's thread. */
unsigned int
vhost_async_guest_free_memory(void)
{
    struct ovs_list idle = OVS_LIST_INITIALIZER(&idle);
    struct old_mem *old;
    unsigned int n;

    ovs_mutex_lock(&old_mutex);
    LIST_FOR_EACH_SAFE (old, list_node, &old_mems) {
        if (!mem_is_in_use(old)) {
            ovs_list_remove(&old->list_node);
            ovs_list_push_back(&idle, &old->list_node);
        }
    }
    n = ovs_list_size(&old_mems);
    ovs_mutex_unlock(&old_mutex);

    LIST_FOR_EACH_POP (old, list_node, &idle) {
        vhost_guest_mem_destroy(old->mem);
        free(old);
    }
    return n;
}

/* Has the memory of 'g' be what the library knows of, if it has a table. */
static void
guest_update_mem(struct guest *g)
{
    struct vhost_async_port *port = g->port;
    const char *error = NULL;
    struct vhost_guest_mem *old = g->mem;

    if (!g->has_table) {
        g->mem = NULL;
    } else if (!old || !vhost_guest_mem_equals(old, guest_vid(g))) {
        g->mem = vhost_guest_mem_create(guest_vid(g), &error);
        if (error) {
            VLOG_ERR("%s: nothing can be sent to its guest (device %d): %s.",
                     port->name, guest_vid(g), error);
        }
    }
    if (g->mem != old) {
        mem_retire(old);
        if (g->mem) {
            const char *no_dma = vhost_guest_mem_map_for_dma(g->mem);

            if (no_dma) {
                VLOG_WARN("%s: packets are copied by CPU: %s.", port->name,
                          no_dma);
            }
            ovs_mutex_lock(&port->mutex);
            port->no_dma = no_dma;
            ovs_mutex_unlock(&port->mutex);
        }
    }
}

/* Rings. */

static uint64_t
guest_features(const struct guest *g)
{
    uint64_t features = 0;

    rte_vhost_get_negotiated_features(guest_vid(g), &features);
    return features;
}

static bool
vring_is_enabled(const struct guest *g, unsigned int index, uint64_t features)
{
    /* Without the feature a ring is enabled when it starts. */
    return !(features & F_PROTOCOL_FEATURES)
           || bitmap_is_set(g->enabled, index);
}

/* Writes the indices of 'txq' to the library: what was not published was not
 * fetched, as far as it is told. */
static void
txq_tell_library(const struct vhost_async_txq *txq, int vid)
{
    uint16_t base = vhost_vring_get_base(&txq->vring);

    rte_vhost_set_vring_base(vid, txq->qid * 2, base, base);
}

static bool
txq_is_set_up(const struct vhost_async_txq *txq)
{
    enum vhost_async_txq_state state = vhost_async_txq_state(txq);

    return state == VHOST_ASYNC_TXQ_DISABLED
           || state == VHOST_ASYNC_TXQ_RUNNING;
}

static void
txq_dup_callfd(struct vhost_async_txq *txq, int fd)
{
    /* The library closes its own when it likes.  Negative numbers tell that
     * the guest polls, or that there is none yet. */
    vhost_async_txq_set_callfd(txq, (fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0)
                                             : -1));
}

/* Starts the ring of 'txq', or has it mapped anew if it was started, as the
 * library knows it, if it is complete.  The holder of its lock. */
static void
guest_start_ring(struct guest *g, struct vhost_async_txq *txq)
{
    bool fresh = vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_STOPPED;
    uint64_t features = guest_features(g);
    struct vhost_vring_setup setup;
    struct rte_vhost_vring vring;
    uint16_t avail, used;
    const char *error;

    if (!g->mem || features & F_IOMMU_PLATFORM
        || rte_vhost_get_vhost_vring(guest_vid(g), txq->qid * 2, &vring)
        || !vring.desc || !vring.avail || !vring.used) {
        /* To be set up. */
        if (!fresh) {
            vhost_async_txq_stop(txq);
        }
        return;
    }

    setup = (struct vhost_vring_setup) {
        .mem = g->mem,
        .desc = vring.desc,
        .avail = vring.avail,
        .used = vring.used,
        .size = vring.size,
        .features = features,
        .log_vid = features & F_LOG_ALL ? guest_vid(g) : -1,
    };
    error = vhost_async_txq_start(txq, &setup);
    if (error) {
        VLOG_ERR("%s: txq %"PRIu16": nothing can be sent to the guest "
                 "(device %d): %s.", g->port->name, txq->qid, guest_vid(g),
                 error);
        if (!fresh) {
            vhost_async_txq_stop(txq);
        }
        return;
    }
    if (fresh) {
        if (!rte_vhost_get_vring_base(guest_vid(g), txq->qid * 2, &avail,
                                      &used)) {
            vhost_vring_set_base(&txq->vring, avail, used);
        }
        txq_dup_callfd(txq, vring.callfd);
        /* What it was told before is not known. */
        vhost_async_txq_notify(txq);
    }
}

/* Has the ring of 'txq' be as the guest wants it.  The holder of its lock. */
static void
guest_update_ring(struct guest *g, struct vhost_async_txq *txq, bool again)
{
    enum vhost_async_txq_state state = vhost_async_txq_state(txq);
    unsigned int index = txq->qid * 2;

    if (state == VHOST_ASYNC_TXQ_LIBRARY || state == VHOST_ASYNC_TXQ_STUCK
        || !bitmap_is_set(g->started, index)) {
        return;
    }
    if (state == VHOST_ASYNC_TXQ_STOPPED || again) {
        guest_start_ring(g, txq);
    }
    if (txq_is_set_up(txq)) {
        vhost_async_txq_set_state(
            txq, (vring_is_enabled(g, index, guest_features(g))
                  ? VHOST_ASYNC_TXQ_RUNNING : VHOST_ASYNC_TXQ_DISABLED));
    }
}

/* Has all rings be as the guest wants them.  Those whose locks are held, since
 * the gate is closed, are mapped anew and opened. */
static void
guest_update_rings(struct guest *g)
{
    bool gate = g->gate;

    g->gate = false;
    for (unsigned int qid = 0; qid < VHOST_ASYNC_MAX_TXQS; qid++) {
        struct vhost_async_txq *txq = vhost_async_port_txq(g->port, qid);

        if (!txq) {
            if (!bitmap_is_set(g->started, qid * 2)) {
                continue;
            }
            txq = vhost_async_port_create_txq(g->port, qid);
            if (!txq) {
                continue;
            }
        }
        if (gate && txq->is_closed) {
            guest_update_ring(g, txq, true);
            txq->is_closed = false;
            vhost_async_txq_open(txq);
        } else {
            vhost_async_txq_lock(txq);
            guest_update_ring(g, txq, false);
        }
        vhost_async_engine_unlock(NULL, txq);
    }
}

static uint64_t
deadline_after_ms(unsigned int ms)
{
    return rte_get_tsc_cycles() + rte_get_tsc_hz() / 1000 * ms;
}

/* Stops ring 'only' of 'g', or all if that is negative, and tells the library
 * their indices.  Waits for copies in flight. */
static void
guest_stop_rings(struct guest *g, int only)
{
    uint64_t deadline = deadline_after_ms(2 * dpdk_dma_dev_timeout_ms()
                                          + RESCUE_MS);
    struct vhost_async_txq *txq;

    /* All together, so that they are drained at the same time. */
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, g->port) {
        if ((only < 0 || txq->qid == only) && !txq->is_closed) {
            vhost_async_txq_close(txq);
            txq->is_closed = true;
        }
    }
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, g->port) {
        if (only >= 0 && txq->qid != only) {
            continue;
        }
        if (txq_is_set_up(txq)) {
            bool drained = vhost_async_txq_drain(txq, deadline);

            if (!drained) {
                VLOG_ERR("%s: txq %"PRIu16" stops with %"PRIu32" packet(s) in "
                         "flight: a DMA device completes no copy, and could "
                         "not be shown to have stopped.  It may still write "
                         "to memory of the guest.  The txq stands still until "
                         "it does not any more.", g->port->name, txq->qid,
                         vhost_async_txq_in_flight(txq));
            }
            txq_tell_library(txq, guest_vid(g));
            vhost_async_txq_stop(txq);
        }
        txq->is_closed = false;
        vhost_async_txq_open(txq);
        vhost_async_engine_unlock(NULL, txq);
    }
    if (only < 0) {
        g->gate = false;
    }
}

/* Closes the gate.  If the library is about to translate rings, it is told
 * their indices, since it takes the used ring's otherwise, and says so. */
static void
guest_close_gate(struct guest *g, bool translates)
{
    struct vhost_async_txq *txq;

    g->gate = true;
    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, g->port) {
        if (txq_is_set_up(txq)) {
            vhost_async_txq_close(txq);
            txq->is_closed = true;
            if (translates) {
                txq_tell_library(txq, guest_vid(g));
            }
        }
    }
}

/* Pages that copies in flight write are not logged.  So what is in flight when
 * logging begins is waited for, a little, or all of the memory is logged when
 * it is there. */
static void
guest_begin_log(struct guest *g)
{
    uint64_t deadline = deadline_after_ms(LOG_DRAIN_MS);
    struct vhost_async_txq *txq;

    VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, g->port) {
        if (txq->is_closed && !vhost_async_txq_drain(txq, deadline)) {
            txq->log_all = true;
        }
    }
}

/* Messages. */

static void
guest_end_message(struct guest *g)
{
    if (guest_is_ours(g)) {
        guest_update_rings(g);
    }
}

static bool
request_is_memory(enum vhost_async_request request)
{
    return request == VHOST_ASYNC_SET_MEM_TABLE
           || request == VHOST_ASYNC_ADD_MEM_REG
           || request == VHOST_ASYNC_REM_MEM_REG;
}

/* Whether the library translates the addresses of rings when it handles
 * 'request', of which some are in use. */
static bool
request_translates(enum vhost_async_request request)
{
    return request_is_memory(request)
           || request == VHOST_ASYNC_SET_VRING_ADDR
           || request == VHOST_ASYNC_SET_VRING_KICK;
}

static void
guest_before_message(struct guest *g, const void *msg)
{
    enum vhost_async_request request = vhost_async_message_request(msg);
    uint32_t index;

    switch (request) {
    case VHOST_ASYNC_SET_FEATURES:
        guest_close_gate(g, false);
        if (vhost_async_message_value(msg) & ~guest_features(g) & F_LOG_ALL) {
            guest_begin_log(g);
        }
        break;

    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_KICK:
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
        guest_close_gate(g, request_translates(request));
        break;

    case VHOST_ASYNC_GET_VRING_BASE:
        /* The answer is sent before the message is seen again. */
        if (vhost_async_message_vring(msg, &index) && !(index % 2)
            && index < MAX_VRINGS) {
            guest_stop_rings(g, index / 2);
        }
        break;

    case VHOST_ASYNC_RESET_OWNER:
        guest_stop_rings(g, -1);
        break;

    case VHOST_ASYNC_SET_VRING_CALL:
    case VHOST_ASYNC_SET_VRING_ENABLE:
    default:
        break;
    }
}

/* Notes what the message tells of rings, which the library does not tell. */
static void
guest_note_message(struct guest *g, const void *msg)
{
    uint32_t index;

    if (vhost_async_message_vring(msg, &index) && index >= MAX_VRINGS) {
        return;
    }
    switch (vhost_async_message_request(msg)) {
    case VHOST_ASYNC_SET_VRING_KICK:
        bitmap_set1(g->started, index);
        break;
    case VHOST_ASYNC_GET_VRING_BASE:
        bitmap_set0(g->started, index);
        break;
    case VHOST_ASYNC_SET_VRING_ENABLE:
        bitmap_set(g->enabled, index, vhost_async_message_num(msg) != 0);
        break;
    case VHOST_ASYNC_RESET_OWNER:
        bitmap_set_multiple(g->started, 0, MAX_VRINGS, false);
        bitmap_set_multiple(g->enabled, 0, MAX_VRINGS, false);
        g->has_table = false;
        break;
    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
        g->has_table = true;
        break;
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_CALL:
    default:
        break;
    }
}

/* An interrupt of the guest moved: that of a ring that is in use is told once,
 * unasked, since the guest may sleep and wait for the old one. */
static void
guest_move_call(struct guest *g, uint32_t index)
{
    struct vhost_async_txq *txq = vhost_async_port_txq(g->port, index / 2);
    struct rte_vhost_vring vring;

    if (!(index % 2) && txq
        && !rte_vhost_get_vhost_vring(guest_vid(g), index, &vring)) {
        vhost_async_txq_lock(txq);
        if (txq_is_set_up(txq)) {
            txq_dup_callfd(txq, vring.callfd);
            vhost_async_txq_notify(txq);
        }
        vhost_async_engine_unlock(NULL, txq);
    }
}

/* Another base than ours is that of a ring that starts anew. */
static void
guest_move_base(struct guest *g, uint32_t index)
{
    struct vhost_async_txq *txq = vhost_async_port_txq(g->port, index / 2);

    if (!(index % 2) && txq && txq->is_closed && txq_is_set_up(txq)) {
        vhost_async_txq_stop(txq);
    }
}

/* Called by the vhost library for each message before it looks at it, with the
 * locks of all its rings held for most (vhost_user_msg_handler()). */
static enum rte_vhost_msg_result
guest_pre_message(int vid, void *msg)
{
    struct guest *g = guest_by_vid(vid);
    uint32_t control;

    atomic_read_relaxed(&g->control, &control);
    if (control == CONTROL_MESSAGE
        && control_swap(g, CONTROL_MESSAGE, CONTROL_TAKEN)) {
        /* The one before failed. */
        guest_end_message(g);
        control_give(g);
    }
    control_take(g, CONTROL_MESSAGE);
    g->since = time_msec();
    if (request_is_memory(vhost_async_message_request(msg))) {
        /* If it fails, the library may be without: rte_vhost_get_mem_table()
         * does not look. */
        g->has_table = false;
    }
    if (guest_is_ours(g)) {
        guest_before_message(g, msg);
    }
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* Called by the vhost library for each message that did not fail. */
static enum rte_vhost_msg_result
guest_post_message(int vid, void *msg)
{
    enum vhost_async_request request = vhost_async_message_request(msg);
    struct guest *g = guest_by_vid(vid);
    bool update = true;
    uint32_t index;

    if (!control_swap(g, CONTROL_MESSAGE, CONTROL_TAKEN)) {
        /* It took so long that the gate was opened. */
        control_take(g, CONTROL_TAKEN);
    }
    guest_note_message(g, msg);
    if (guest_is_ours(g)) {
        switch (request) {
        case VHOST_ASYNC_SET_MEM_TABLE:
        case VHOST_ASYNC_ADD_MEM_REG:
        case VHOST_ASYNC_REM_MEM_REG:
        case VHOST_ASYNC_RESET_OWNER:
            guest_update_mem(g);
            break;
        case VHOST_ASYNC_SET_VRING_CALL:
            vhost_async_message_vring(msg, &index);
            guest_move_call(g, index);
            update = g->gate;
            break;
        case VHOST_ASYNC_SET_VRING_BASE:
            vhost_async_message_vring(msg, &index);
            guest_move_base(g, index);
            break;
        case VHOST_ASYNC_SET_FEATURES:
        case VHOST_ASYNC_SET_LOG_BASE:
        case VHOST_ASYNC_SET_VRING_NUM:
        case VHOST_ASYNC_SET_VRING_ADDR:
        case VHOST_ASYNC_GET_VRING_BASE:
        case VHOST_ASYNC_SET_VRING_KICK:
        case VHOST_ASYNC_SET_VRING_ENABLE:
            break;
        default:
            update = g->gate;
            break;
        }
    } else if (request_is_memory(request)) {
        mem_retire(g->mem);
        g->mem = NULL;
    }
    if (update) {
        guest_end_message(g);
    }
    control_give(g);
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops guest_extern_ops = {
    .pre_msg_handle = guest_pre_message,
    .post_msg_handle = guest_post_message,
};

/* Devices. */

/* A guest connected to 'port' as 'vid'.  Its messages are watched from the
 * first one on.  The thread of the vhost library. */
void
vhost_async_guest_connect(int vid, struct vhost_async_port *port)
{
    struct guest *g = guest_by_vid(vid);

    if (!g || rte_vhost_extern_callback_register(vid, &guest_extern_ops,
                                                 NULL)) {
        VLOG_WARN("%s: device %d stays on CPU copy: its messages cannot be "
                  "watched.", port->name, vid);
        return;
    }
    control_take(g, CONTROL_TAKEN);
    g->port = port;
    g->has_table = false;
    g->gate = false;
    bitmap_set_multiple(g->started, 0, MAX_VRINGS, false);
    bitmap_set_multiple(g->enabled, 0, MAX_VRINGS, false);
    control_give(g);
}

static void
guest_leave_port(struct guest *g)
{
    struct vhost_async_port *port = g->port;
    int vid = guest_vid(g);

    if (!port) {
        return;
    }
    if (guest_is_ours(g)) {
        guest_stop_rings(g, -1);
    }
    vhost_async_port_unset_owner(port, vid);
    mem_retire(g->mem);
    g->mem = NULL;
    g->port = NULL;
    seq_change(dpdk_dma_dev_seq());
}

/* The guest that was connected as 'vid' is gone.  The thread of the vhost
 * library. */
void
vhost_async_guest_disconnect(int vid)
{
    struct guest *g = guest_by_vid(vid);

    if (g) {
        control_take_for_callback(g);
        guest_leave_port(g);
        control_give(g);
    }
}

/* 'port' is about to be destroyed; the vhost library has forgotten it. */
void
vhost_async_guest_forget_port(const struct vhost_async_port *port)
{
    for (int vid = 0; vid < VHOST_ASYNC_MAX_GUESTS; vid++) {
        if (guests[vid].port == port) {
            vhost_async_guest_disconnect(vid);
        }
    }
}

/* Device 'vid' is ready: from now on the port sends to it.  A socket in server
 * mode takes any number of connections; the last device is the port's, as with
 * the vhost library.  The thread of that. */
void
vhost_async_guest_new_device(int vid)
{
    struct guest *g = guest_by_vid(vid);
    int owner;

    if (!g || !g->port) {
        return;
    }
    owner = vhost_async_port_owner(g->port);
    if (owner >= 0 && owner != vid) {
        vhost_async_guest_destroy_device(owner);
    }
    control_take(g, CONTROL_TAKEN);
    vhost_async_port_set_owner(g->port, vid);
    if (guest_is_ours(g)) {
        guest_update_mem(g);
        guest_update_rings(g);
    }
    control_give(g);
}

/* Device 'vid' is about to go, or to be set up anew: waits until nothing is in
 * flight to it.  Whichever thread has the library end it, without a lock that
 * PMD threads wait for. */
void
vhost_async_guest_destroy_device(int vid)
{
    struct guest *g = guest_by_vid(vid);
    bool taken;

    if (!g || !g->port) {
        return;
    }
    taken = control_take_for_callback(g);
    if (guest_is_ours(g)) {
        guest_stop_rings(g, -1);
    }
    vhost_async_port_unset_owner(g->port, vid);
    if (taken) {
        control_give(g);
    }
}

/* Ports that change sides. */

/* Gives 'port' txqs and, if a guest is connected, takes its rings over once no
 * thread can be sending by the library.  Returns false if that is to be tried
 * again.  The helper's thread, which lets a grace period pass, with the list
 * of ports locked for 'port' not to go. */
bool
vhost_async_guest_enable(struct vhost_async_port *port)
{
    int vid = vhost_async_port_owner(port);
    struct guest *g = guest_by_vid(vid);
    unsigned int n = 0;

    if (g) {
        if (!control_swap(g, CONTROL_FREE, CONTROL_TAKEN)) {
            return false;
        }
        if (g->port == port && vhost_async_port_owner(port) == vid) {
            n = rte_vhost_get_vring_num(vid) / 2;
        }
    }
    if (vhost_async_port_add_txqs(port, n) && n) {
        guest_update_mem(g);
    }
    if (g) {
        control_give(g);
    }
    return true;
}

/* Takes the ring of 'txq' over from the library, unless somebody else is in
 * control of the guest.  Returns whether it is ours.
 *
 * A sender that holds the tx lock of the netdev, hence nobody is sending by
 * the library, or the helper's thread, when nobody can be. */
bool
vhost_async_guest_take_over(struct vhost_async_port *port,
                            struct vhost_async_txq *txq)
{
    struct guest *g = guest_by_vid(vhost_async_port_owner(port));

    if (g && !control_swap(g, CONTROL_FREE, CONTROL_TAKEN)) {
        return vhost_async_txq_state(txq) != VHOST_ASYNC_TXQ_LIBRARY;
    }
    vhost_async_txq_lock(txq);
    if (vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_LIBRARY) {
        vhost_async_txq_set_state(txq, VHOST_ASYNC_TXQ_STOPPED);
        if (g && g->port == port && guest_is_ours(g)) {
            guest_update_ring(g, txq, false);
        }
    }
    vhost_async_engine_unlock(NULL, txq);
    if (g) {
        control_give(g);
    }
    return true;
}

/* Looks after the rings of 'vid': opens the gate behind a message that failed,
 * and starts rings that could not be as long as copies were in flight.
 * Returns whether there is something to look after.  The helper's thread. */
bool
vhost_async_guest_look_after(int vid)
{
    struct guest *g = guest_by_vid(vid);
    struct vhost_async_txq *txq;
    uint32_t control;
    bool wait = false;

    if (!g) {
        return false;
    }
    atomic_read_explicit(&g->control, &control, memory_order_acquire);
    if (control == CONTROL_MESSAGE) {
        if (!g->gate || time_msec() - g->since < MESSAGE_MS
            || !control_swap(g, CONTROL_MESSAGE, CONTROL_TAKEN)) {
            return true;
        }
    } else if (!control_swap(g, CONTROL_FREE, CONTROL_TAKEN)) {
        return true;
    }
    if (guest_is_ours(g)) {
        VHOST_ASYNC_PORT_FOR_EACH_TXQ (txq, g->port) {
            wait |= vhost_async_txq_state(txq) == VHOST_ASYNC_TXQ_STUCK;
        }
        guest_update_rings(g);
    }
    control_give(g);
    return wait;
}
