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

/* Implementation of vhost-async-helper.h.
 *
 * Locks: the list of ports, for ports not to go, and in turn control of a
 * guest, which the thread does not wait for, or not for long, while it has
 * that.  Grace periods are waited for without a lock, drivers are not. */

#include <config.h>

#include "vhost-async-helper.h"

#include <rte_common.h>

#include "dpdk-dma-chan.h"
#include "dpdk-dma-dev.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-guest.h"
#include "vhost-async-old-mem.h"
#include "vhost-async-port.h"
#include "vhost-async-txq.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_helper);

/* How soon the thread looks again at what it waits for, in milliseconds. */
#define HELPER_POLL_MS 10

#define HELPER_BURST 64

static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 5);

typedef unsigned int helper_get_func(struct dpdk_dma_chan *,
                                     struct dpdk_dma_done *,
                                     unsigned int max);

/* Has the packets published that 'get' tells to be done, and returns their
 * number. */
static unsigned int
helper_publish(struct dpdk_dma_chan *chan, helper_get_func *get)
{
    struct dpdk_dma_done done[HELPER_BURST];
    unsigned int n, total = 0;

    do {
        n = get(chan, done, ARRAY_SIZE(done));
        for (unsigned int i = 0; i < n; i++) {
            struct vhost_async_vq *vq = vhost_async_vq_of_owner(done[i].owner);

            vhost_async_vq_done(vq, done[i].seq);
            if (!vq->rx) {
                vhost_async_engine_publish(NULL, vhost_async_txq_of_vq(vq));
            }
        }
        total += n;
    } while (n == ARRAY_SIZE(done));
    return total;
}

/* Does again what devices that were stopped had in flight; of those which
 * cannot be stopped, looks whether they finish it after all. */
static void
helper_rescue(void)
{
    struct dpdk_dma_chan *chan;

    while ((chan = dpdk_dma_dev_next_dead())) {
        uint64_t n_copies = dpdk_dma_chan_in_flight(chan);
        unsigned int n_pkts = helper_publish(chan, dpdk_dma_chan_redo);

        VLOG_INFO("DMA device %s was stopped; the CPU did its copies in "
                  "flight again (%"PRIu64", of %u packets).", chan->dev_name,
                  n_copies, n_pkts);
    }
    for (chan = dpdk_dma_dev_next_stuck(NULL); chan;
         chan = dpdk_dma_dev_next_stuck(chan)) {
        helper_publish(chan, dpdk_dma_chan_reap);
    }
}

static bool
port_is_to_change(const struct vhost_async_port *port)
{
    return vhost_async_port_wants_dma(port) && !vhost_async_port_vqs(port);
}

/* Whether 'port', which may be gone, is there. */
static bool
port_is_listed(const struct vhost_async_port *port)
    OVS_REQUIRES(vhost_async_ports_mutex)
{
    const struct vhost_async_port *p;

    LIST_FOR_EACH (p, list_node, &vhost_async_ports) {
        if (p == port) {
            return true;
        }
    }
    return false;
}

/* Has 'port' change sides.  Returns false if that is to be tried again.  Lets
 * go of the list of ports to map the guest's memory: 'port' may be gone
 * then. */
static bool
helper_enable(struct vhost_async_port *port)
    OVS_REQUIRES(vhost_async_ports_mutex)
{
    int vid = vhost_async_port_owner(port);
    struct vhost_guest_mem *mem = NULL;
    const char *error = NULL;

    if (vid >= 0) {
        char *name = xstrdup(port->name);
        bool mapped;

        ovs_mutex_unlock(&vhost_async_ports_mutex);
        mapped = vhost_async_guest_map(vid, name, &mem, &error);
        free(name);
        ovs_mutex_lock(&vhost_async_ports_mutex);
        if (!mapped) {
            return false;
        }
    }
    if (!port_is_listed(port) || !port_is_to_change(port)
        || vhost_async_port_owner(port) != vid) {
        vhost_async_old_mem_add(mem, NULL);
        return false;
    }
    if (error) {
        VLOG_WARN_RL(&rl, "%s: the guest (device %d) stays with the vhost "
                     "library: %s.", port->name, vid, error);
        vhost_async_port_set_no_dma(port, error);
        /* Again when there is something else to do. */
        return true;
    }
    return vhost_async_guest_enable(port, mem);
}

/* Returns the next port that is to change sides behind number '*n' of the
 * list, and stores its number there; NULL if there is none. */
static struct vhost_async_port *
helper_next_to_change(size_t *n)
    OVS_REQUIRES(vhost_async_ports_mutex)
{
    struct vhost_async_port *port;
    size_t i = 0;

    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        if (i++ >= *n && port_is_to_change(port)) {
            *n = i;
            return port;
        }
    }
    return NULL;
}

/* Has ports whose rings are to be ours, or need not be any more, change sides.
 * Returns whether that is to be tried again. */
static bool
helper_change_sides(void)
{
    struct vhost_async_port *port;
    bool enabled = false, wait = false;
    size_t n = 0;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    /* By number, since the list can change meanwhile: then a port that is
     * missed has its turn soon, for who adds or removes one wakes us. */
    while ((port = helper_next_to_change(&n))) {
        if (helper_enable(port)) {
            enabled = true;
        } else {
            wait = true;
        }
    }
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        if (vhost_async_port_vqs(port)
            && !(vhost_async_port_wants_dma(port)
                 && vhost_async_port_wants_rx(port))) {
            /* If there is a guest, when it goes. */
            vhost_async_port_remove_vqs(port);
        }
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);

    if (enabled) {
        /* Who did not see the txqs sends by the library until then. */
        ovsrcu_synchronize();
    }
    return wait;
}

/* Takes the rings over that no sender came for.  A grace period has passed
 * since their txqs appeared.  Those to receive from are for who polls them.
 * Returns whether that is to be tried again. */
static bool
helper_take_over(void)
{
    struct vhost_async_port *port;
    struct vhost_async_vq *vq;
    bool wait = false;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
            if (!vq->rx
                && vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_LIBRARY) {
                vhost_async_guest_take_over(port, vq);
            }
        }
        wait |= !vhost_async_port_end_handover(port);
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
    return wait;
}

/* Returns whether there is something to look after. */
static bool
helper_look_after_guests(void)
{
    struct vhost_async_port *port;
    bool wait = false;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        int vid = vhost_async_port_owner(port);

        wait |= (vid >= 0 ? vhost_async_guest_look_after(vid)
                 : vhost_async_port_end_stuck(port));
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
    return wait;
}

/* Sees to all that there is to do.  Returns whether there is something to look
 * at again soon. */
static bool
helper_run(void)
{
    bool wait = false;

    dpdk_dma_dev_stop_failed();
    helper_rescue();
    wait |= helper_change_sides();
    wait |= helper_take_over();
    wait |= helper_look_after_guests();
    wait |= vhost_async_old_mem_free() > 0;
    wait |= vhost_async_port_free_vqs() > 0;
    return wait;
}

static void *
helper_main(void *aux OVS_UNUSED)
{
    for (;;) {
        uint64_t seq = seq_read(dpdk_dma_dev_seq());
        bool wait = helper_run();
        int wait_ms = dpdk_dma_dev_wait_ms();

        if (wait_ms >= 0) {
            poll_timer_wait(wait_ms);
        }
        if (wait) {
            poll_timer_wait(HELPER_POLL_MS);
        }
        seq_wait(dpdk_dma_dev_seq(), seq);
        poll_block();
    }
    return NULL;
}

/* Starts the thread, unless it was started.  Main thread. */
void
vhost_async_helper_start(void)
{
    static struct ovsthread_once once = OVSTHREAD_ONCE_INITIALIZER;

    if (ovsthread_once_start(&once)) {
        ovs_thread_create("vhost_async", helper_main, NULL);
        ovsthread_once_done(&once);
    }
}
