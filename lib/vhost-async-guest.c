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

#include <sched.h>

#include <rte_vhost.h>

#include "bitmap.h"
#include "dpdk-dma-dev.h"
#include "openvswitch/vlog.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "timeval.h"
#include "util.h"
#include "vhost-async-message.h"
#include "vhost-async-old-mem.h"
#include "vhost-async-port.h"
#include "vhost-async-rings.h"
#include "vhost-async-vq-kinds.h"
#include "vhost-guest-mem.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_guest);

/* Bits of features that older headers lack. */
#define F_LOG_ALL (UINT64_C(1) << 26)
#define PROTOCOL_F_CONFIGURE_MEM_SLOTS (UINT64_C(1) << 15)

/* A message that failed is not seen after it was handled.  If the guest sends
 * no other one for this long, in milliseconds, it is over: none of those that
 * close the gate takes as long. */
#define MESSAGE_MS 1000

/* Who is in control of a guest. */
enum guest_control {
    CONTROL_FREE,
    CONTROL_MESSAGE,            /* Nobody of us: the library handles a message,
                                 * or one failed. */
    CONTROL_TAKEN,
};

struct guest {
    atomic_uint32_t control;    /* enum guest_control. */

    /* As in 'rings', for those who are not in control. */
    ATOMIC(struct vhost_async_port *) port;

    /* Of who is in control. */
    struct vhost_async_rings rings;
    bool mem_slots;             /* The library handles ADD_MEM_REG. */
    long long int since;        /* When the library got the message. */
};

static struct guest guests[VHOST_ASYNC_MAX_GUESTS];

/* What is wrong is said again for each message. */
static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 5);

/* Control. */

static bool
control_swap(struct guest *g, enum guest_control old, enum guest_control new)
{
    uint32_t control = old;

    return atomic_compare_exchange_strong_explicit(&g->control, &control, new,
                                                   memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* For those who have no message to wait for the end of: callbacks of the
 * library come while a message is handled, by the thread that handles it, or
 * after one that failed.  Returns what is to be given back. */
static enum guest_control
control_take(struct guest *g)
{
    for (;;) {
        if (control_swap(g, CONTROL_FREE, CONTROL_TAKEN)) {
            return CONTROL_FREE;
        } else if (control_swap(g, CONTROL_MESSAGE, CONTROL_TAKEN)) {
            return CONTROL_MESSAGE;
        }
        sched_yield();
    }
}

/* For those who have nothing to do with messages, and do not wait. */
static bool
control_try(struct guest *g)
{
    return control_swap(g, CONTROL_FREE, CONTROL_TAKEN);
}

static void
control_give(struct guest *g, enum guest_control control)
{
    atomic_store_explicit(&g->control, control, memory_order_release);
}

static struct guest *
guest_by_vid(int vid)
{
    return vid >= 0 && vid < VHOST_ASYNC_MAX_GUESTS ? &guests[vid] : NULL;
}

static struct vhost_async_port *
guest_port(struct guest *g)
{
    struct vhost_async_port *port;

    atomic_read_relaxed(&g->port, &port);
    return port;
}

/* Whether device 'vid' is the one that its port sends to: if not, the library
 * may be about to free what it has of it. */
static bool
guest_is_owner(const struct guest *g, int vid)
{
    return g->rings.port && vhost_async_port_owner(g->rings.port) == vid;
}

static bool
guest_is_ours(const struct guest *g)
{
    return vhost_async_rings_are_ours(&g->rings);
}

/* Memory. */

static void
guest_set_mem(struct guest *g, struct vhost_guest_mem *mem)
{
    struct vhost_async_rings *rings = &g->rings;

    /* Not destroyed here: that waits for whoever maps memory. */
    vhost_async_old_mem_add(
        rings->mem, (rings->port && vhost_async_rings_have_copies(rings)
                     ? &rings->mem_since : NULL));
    rings->mem = mem;
    if (mem) {
        vhost_async_old_mem_mark(&rings->mem_since);
        vhost_async_port_set_no_dma(rings->port,
                                    vhost_guest_mem_no_dma(mem));
    }
}

static void
warn_of_no_dma(const char *no_dma, const char *port_name)
{
    if (no_dma) {
        VLOG_WARN_RL(&rl, "%s: packets are copied by CPU: %s.", port_name,
                     no_dma);
    }
}

/* Has the memory of 'g', whose rings are ours, be what the library knows of,
 * if it has a table.  No ring is mapped in another one, or the gate is closed
 * and they will be mapped anew. */
static void
guest_update_mem(struct guest *g)
{
    struct vhost_async_rings *rings = &g->rings;
    struct vhost_guest_mem *mem = NULL;
    const char *error = NULL;

    if (rings->has_table) {
        if (rings->mem && vhost_guest_mem_equals(rings->mem, rings->vid)) {
            return;
        }
        mem = vhost_guest_mem_create(rings->vid, &error);
    }
    if (mem) {
        warn_of_no_dma(vhost_guest_mem_map_for_dma(mem), rings->port->name);
    }
    guest_set_mem(g, mem);
    if (error) {
        VLOG_ERR_RL(&rl, "%s: nothing can be sent to its guest (device %d): "
                    "%s.", rings->port->name, rings->vid, error);
    }
}

/* Messages. */

/* What there is to do after a message, handled or not.  Returns whether the
 * helper has to look after the guest. */
static bool
guest_end_message(struct guest *g)
{
    return guest_is_ours(g) && vhost_async_rings_update(&g->rings);
}

/* What there is to do before the library handles 'msg', for rings that are
 * ours. */
static void
guest_before_message(struct guest *g, const void *msg)
{
    enum vhost_async_request request = vhost_async_message_request(msg);
    uint64_t features = vhost_async_rings_features(&g->rings);

    if (vhost_async_request_closes_gate(request)) {
        vhost_async_rings_close_gate(&g->rings);
        if (vhost_async_request_is_memory(request)
            || (request == VHOST_ASYNC_SET_FEATURES
                && vhost_async_message_value(msg) & ~features & F_LOG_ALL)) {
            vhost_async_rings_drain(&g->rings);
        }
        if (vhost_async_request_translates(request)) {
            vhost_async_rings_tell_library(&g->rings);
        }
        /* Should the message fail, the helper is to see that it is over. */
        dpdk_dma_dev_wake();
    } else if (request == VHOST_ASYNC_GET_VRING_BASE
               || request == VHOST_ASYNC_RESET_OWNER) {
        /* The answer is sent before the message is seen again.  The library
         * stops all rings for one (vhost_user_get_vring_base()), and their
         * copies are waited for once. */
        vhost_async_rings_stop(&g->rings);
    }
}

/* Notes what the message tells of rings and memory, which the library does not
 * tell. */
static void
guest_note_message(struct guest *g, const void *msg)
{
    struct vhost_async_rings *rings = &g->rings;
    uint32_t index;

    if (vhost_async_message_vring(msg, &index)
        && index >= VHOST_ASYNC_MAX_VRINGS) {
        return;
    }
    switch (vhost_async_message_request(msg)) {
    case VHOST_ASYNC_SET_VRING_KICK:
        bitmap_set1(rings->started, index);
        break;
    case VHOST_ASYNC_GET_VRING_BASE:
        bitmap_set0(rings->started, index);
        break;
    case VHOST_ASYNC_SET_VRING_ENABLE:
        bitmap_set(rings->enabled, index, vhost_async_message_num(msg) != 0);
        break;
    case VHOST_ASYNC_RESET_OWNER:
        bitmap_set_multiple(rings->started, 0, VHOST_ASYNC_MAX_VRINGS, false);
        bitmap_set_multiple(rings->enabled, 0, VHOST_ASYNC_MAX_VRINGS, false);
        rings->has_table = false;
        break;
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
        g->mem_slots = (vhost_async_message_value(msg)
                        & PROTOCOL_F_CONFIGURE_MEM_SLOTS);
        break;
    case VHOST_ASYNC_SET_MEM_TABLE:
        rings->has_table = true;
        break;
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
        /* Messages that the library does not know come here, too (to 25.11);
         * it may have no memory then. */
        rings->has_table = g->mem_slots;
        break;
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_CALL:
    case VHOST_ASYNC_SEND_RARP:
    default:
        break;
    }
}

/* What there is to do after the library handled 'msg', for rings that are
 * ours.  Returns whether the helper has to look after the guest. */
static bool
guest_after_message(struct guest *g, const void *msg)
{
    enum vhost_async_request request = vhost_async_message_request(msg);
    uint32_t index;

    if (vhost_async_request_closes_gate(request) && !g->rings.gate) {
        /* It took so long that it was taken for one that failed. */
        vhost_async_rings_close_gate(&g->rings);
    }
    switch (request) {
    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
        if (g->rings.has_table) {
            guest_update_mem(g);
        }
        break;
    case VHOST_ASYNC_RESET_OWNER:
        guest_update_mem(g);
        break;
    case VHOST_ASYNC_SET_VRING_BASE:
        vhost_async_message_vring(msg, &index);
        vhost_async_rings_move_base(&g->rings, index);
        break;
    case VHOST_ASYNC_SET_VRING_CALL:
        vhost_async_message_vring(msg, &index);
        vhost_async_rings_move_call(&g->rings, index);
        return false;
    case VHOST_ASYNC_SEND_RARP:
        vhost_async_rings_announce(&g->rings, vhost_async_message_value(msg));
        return false;
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_GET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_KICK:
    case VHOST_ASYNC_SET_VRING_ENABLE:
        break;
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
    default:
        return false;
    }
    return guest_end_message(g);
}

/* Called by the vhost library for each message before it looks at it, with the
 * locks of all its rings held for most (vhost_user_msg_handler()). */
static enum rte_vhost_msg_result
guest_pre_message(int vid, void *msg)
{
    enum vhost_async_request request = vhost_async_message_request(msg);
    struct guest *g = guest_by_vid(vid);

    if (control_take(g) == CONTROL_MESSAGE) {
        /* The one before failed. */
        guest_end_message(g);
    }
    if (vhost_async_request_is_memory(request)
        || request == VHOST_ASYNC_RESET_OWNER) {
        /* If it fails, the library may be without: rte_vhost_get_mem_table()
         * does not look. */
        g->rings.has_table = false;
    }
    if (guest_is_ours(g)) {
        guest_before_message(g, msg);
    }
    g->since = time_msec();
    control_give(g, CONTROL_MESSAGE);
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* Called by the vhost library for each message that did not fail, and for each
 * that it does not know. */
static enum rte_vhost_msg_result
guest_post_message(int vid, void *msg)
{
    enum vhost_async_request request = vhost_async_message_request(msg);
    struct guest *g = guest_by_vid(vid);

    control_take(g);
    guest_note_message(g, msg);
    if (guest_is_ours(g)) {
        if (guest_after_message(g, msg)) {
            dpdk_dma_dev_wake();
        }
    } else if (vhost_async_request_is_memory(request)) {
        guest_set_mem(g, NULL);
    }
    control_give(g, CONTROL_FREE);
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops guest_extern_ops = {
    .pre_msg_handle = guest_pre_message,
    .post_msg_handle = guest_post_message,
};

/* Devices. */

static void
guest_leave_port(struct guest *g)
{
    struct vhost_async_rings *rings = &g->rings;
    struct vhost_async_port *port = rings->port;

    if (!port) {
        return;
    }
    if (guest_is_ours(g)) {
        vhost_async_rings_stop(rings);
    }
    guest_set_mem(g, NULL);
    rings->port = NULL;
    atomic_store_relaxed(&g->port, NULL);
    vhost_async_port_remove_guest(port, rings->vid);
    dpdk_dma_dev_wake();
}

/* A guest connected to 'port' as 'vid'.  Its messages are watched from the
 * first one on.  The thread of the vhost library. */
void
vhost_async_guest_connect(int vid, struct vhost_async_port *port)
{
    struct guest *g = guest_by_vid(vid);
    struct vhost_async_rings *rings;

    if (!g || rte_vhost_extern_callback_register(vid, &guest_extern_ops,
                                                 NULL)) {
        VLOG_WARN("%s: its messages cannot be watched: nothing can be sent to "
                  "device %d by DMA.", port->name, vid);
        return;
    }
    control_take(g);
    /* Of a port that is being removed, if its number is used again before
     * that is through. */
    guest_leave_port(g);
    rings = &g->rings;
    rings->vid = vid;
    rings->port = port;
    rings->has_table = false;
    rings->gate = false;
    bitmap_set_multiple(rings->started, 0, VHOST_ASYNC_MAX_VRINGS, false);
    bitmap_set_multiple(rings->enabled, 0, VHOST_ASYNC_MAX_VRINGS, false);
    g->mem_slots = false;
    atomic_store_relaxed(&g->port, port);
    vhost_async_port_add_guest(port);
    control_give(g, CONTROL_FREE);
}

/* The guest that was connected as 'vid' is gone.  The thread of the vhost
 * library. */
void
vhost_async_guest_disconnect(int vid)
{
    struct guest *g = guest_by_vid(vid);

    if (g) {
        control_take(g);
        guest_leave_port(g);
        control_give(g, CONTROL_FREE);
    }
}

/* 'port' is about to be destroyed; the vhost library has forgotten it.  It may
 * have given numbers of its guests to others since. */
void
vhost_async_guest_forget_port(const struct vhost_async_port *port)
{
    for (int vid = 0; vid < VHOST_ASYNC_MAX_GUESTS; vid++) {
        struct guest *g = &guests[vid];

        if (guest_port(g) == port) {
            enum guest_control control = control_take(g);

            if (g->rings.port == port) {
                guest_leave_port(g);
                control = CONTROL_FREE;
            }
            control_give(g, control);
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
    struct vhost_async_port *port = g ? guest_port(g) : NULL;
    enum guest_control control;
    int owner;

    if (!port) {
        return;
    }
    owner = vhost_async_port_owner(port);
    if (owner >= 0) {
        /* Also if it is the same: one that OVS does not take is told to be
         * ready after each message. */
        vhost_async_guest_destroy_device(owner);
    }
    /* The message that made the device ready may have failed. */
    control = control_take(g);
    vhost_async_port_set_owner(port, vid);
    if (guest_is_ours(g)) {
        guest_update_mem(g);
        if (vhost_async_rings_update(&g->rings)) {
            dpdk_dma_dev_wake();
        }
    }
    control_give(g, control);
}

/* Device 'vid' is about to go, or to be set up anew: waits until nothing is in
 * flight to it.  Whichever thread has the library end it, without a lock that
 * PMD threads wait for. */
void
vhost_async_guest_destroy_device(int vid)
{
    struct guest *g = guest_by_vid(vid);
    enum guest_control control;

    if (!g) {
        return;
    }
    control = control_take(g);
    if (guest_is_ours(g)) {
        vhost_async_rings_stop(&g->rings);
    }
    if (g->rings.port) {
        vhost_async_port_unset_owner(g->rings.port, vid);
    }
    control_give(g, control);
}

/* Ports that change sides. */

/* Maps the memory of the guest that is connected as 'vid', for
 * vhost_async_guest_enable().  That can take seconds, if the memory is
 * allocated or pinned for it.  Meanwhile nobody is in control, and no grace
 * period waits; guests wait whose own memory is to be mapped.  Stores NULL in
 * '*memp' if the guest has told none, and why it cannot be mapped, a constant,
 * in '*error', or NULL.  Returns false if this is to be tried again soon.  The
 * helper's thread, without a lock. */
bool
vhost_async_guest_map(int vid, const char *port_name,
                      struct vhost_guest_mem **memp, const char **error)
{
    struct guest *g = guest_by_vid(vid);
    const char *no_dma;

    *memp = NULL;
    *error = NULL;
    if (!g || !control_try(g)) {
        return false;
    }
    if (!guest_is_owner(g, vid)) {
        control_give(g, CONTROL_FREE);
        return false;
    }
    if (g->rings.has_table) {
        *memp = vhost_guest_mem_create(vid, error);
    }
    control_give(g, CONTROL_FREE);
    if (*memp) {
        ovsrcu_quiesce_start();
        no_dma = vhost_guest_mem_map_for_dma(*memp);
        ovsrcu_quiesce_end();
        warn_of_no_dma(no_dma, port_name);
    }
    return true;
}

/* Gives 'port' txqs and, if a guest is connected, has its rings wait for
 * vhost_async_guest_take_over(), which may be called by those who know that no
 * thread can be sending by the library unless it has the lock of the txq.
 * Takes 'mem', which vhost_async_guest_map() mapped.  Returns false if that
 * was for another guest or other memory: to be tried again soon.  The helper's
 * thread, which lets a grace period pass, with the list of ports locked for
 * 'port' not to go. */
bool
vhost_async_guest_enable(struct vhost_async_port *port,
                         struct vhost_guest_mem *mem)
{
    int vid = vhost_async_port_owner(port);
    struct guest *g = guest_by_vid(vid);
    bool done = false;

    if (!g) {
        done = vhost_async_port_add_vqs(port, vid, 0);
    } else if (control_try(g)) {
        if (g->rings.port == port && guest_is_owner(g, vid)
            && (g->rings.has_table ? mem && vhost_guest_mem_equals(mem, vid)
                                   : !mem)) {
            unsigned int n = DIV_ROUND_UP(rte_vhost_get_vring_num(vid), 2);

            done = vhost_async_port_add_vqs(port, vid, n);
        }
        if (done && mem) {
            guest_set_mem(g, mem);
            mem = NULL;
        }
        control_give(g, CONTROL_FREE);
    }
    vhost_async_old_mem_add(mem, NULL);
    return done;
}

/* Takes the ring of 'vq' over from the library, unless somebody else is in
 * control of the guest.  Returns whether it is ours.
 *
 * A sender that holds the tx lock of the netdev, or the helper's thread, when
 * all senders know of the txqs: who sends by the library then holds the lock
 * of 'vq'.  An rxq: who polls it, who alone receives by the library. */
bool
vhost_async_guest_take_over(struct vhost_async_port *port,
                            struct vhost_async_vq *vq)
{
    int vid = vhost_async_port_owner(port);
    struct guest *g = guest_by_vid(vid);

    if (g && !control_try(g)) {
        return vhost_async_vq_state(vq) != VHOST_ASYNC_VQ_LIBRARY;
    }
    /* Without control, or with that of a guest that the port has not any more,
     * somebody else may be at the rings. */
    if ((!g || vhost_async_port_owner(port) == vid)
        && vhost_async_vq_trylock(vq)) {
        if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_LIBRARY) {
            vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_STOPPED);
            if (g && guest_is_ours(g)) {
                vhost_async_rings_update_one(&g->rings, vq);
            } else {
                /* There may be a guest by now that did not find it so. */
                dpdk_dma_dev_wake();
            }
        }
        vhost_async_vq_unlock(vq);
    }
    if (g) {
        control_give(g, CONTROL_FREE);
    }
    return vhost_async_vq_state(vq) != VHOST_ASYNC_VQ_LIBRARY;
}

/* Looks after the guest 'vid': ends a message that failed, which opens the
 * gate, and starts rings that could not be as long as copies were in flight.
 * Returns whether there is something to look after.  The helper's thread. */
bool
vhost_async_guest_look_after(int vid)
{
    struct guest *g = guest_by_vid(vid);
    bool wait = false;

    if (!g) {
        return false;
    }
    if (control_swap(g, CONTROL_MESSAGE, CONTROL_TAKEN)) {
        if (time_msec() - g->since < MESSAGE_MS) {
            control_give(g, CONTROL_MESSAGE);
            return true;
        }
    } else if (!control_try(g)) {
        return true;
    }
    wait = guest_end_message(g);
    if (guest_is_ours(g) && g->rings.mem) {
        /* A device that came may not get to it. */
        vhost_async_port_set_no_dma(g->rings.port,
                                    vhost_guest_mem_no_dma(g->rings.mem));
    }
    control_give(g, CONTROL_FREE);
    return wait;
}
