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

#ifndef VHOST_ASYNC_PORT_H
#define VHOST_ASYNC_PORT_H 1

/* A vhost port, as far as copies by DMA go: its virtqueues, and whether they
 * are ours or the vhost library's.
 *
 * The rings of a port are the library's until it is to be on DMA.  Then its
 * txqs appear, and the port is sent to through them from that moment on; its
 * rxqs appear when it is to receive by DMA.  They stay until the port is to be
 * off DMA and no guest is connected, since a ring that is in use cannot be
 * handed back (rte_vhost_set_vring_base() does not tell the library what the
 * guest was notified of, 22.11 to 26.07): rings may be in use again in the
 * very message that ended the device.
 *
 * netdev-dpdk-async.c has one of these for each netdev; vhost-async-guest.c
 * takes rings over, vhost-async-rings.c starts and stops them.
 *
 * Thread-safety
 * =============
 *
 * 'vqs' is read by senders and pollers in an RCU critical section, and changed
 * by the thread that looks after ports (vhost-async-helper.h), under 'mutex'.
 * It does not go while a guest is connected, so that a sender which has its
 * device sees it set all the time or not at all, but for its appearance.
 * Virtqueues appear in it one by one, under 'mutex', and stay as long as it
 * does, or until no guest is connected.  The list of ports has a mutex of its
 * own, which comes before those of ports.  Nothing is waited for under
 * either. */

#include <stdbool.h>
#include <stdint.h>

#include "openvswitch/list.h"
#include "openvswitch/thread.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "util.h"
#include "vhost-async-rxq.h"
#include "vhost-async-txq.h"

/* Queue pairs of a guest, at most: VHOST_MAX_QUEUE_PAIRS (22.11 to 26.07), and
 * their rings: those of number 2 * 'qid' are for txq 'qid', those that follow
 * for rxq 'qid'. */
#define VHOST_ASYNC_MAX_QUEUES 128
#define VHOST_ASYNC_MAX_VRINGS (2 * VHOST_ASYNC_MAX_QUEUES)

struct vhost_async_vqs {
    OVSRCU_TYPE(struct vhost_async_vq *) vq[VHOST_ASYNC_MAX_VRINGS];
};

/* Where the packets to a port, or to a txq, went. */
struct vhost_async_totals {
    uint64_t dma_packets, dma_bytes, cpu_packets, cpu_bytes;
    uint64_t full_drops, down_drops, busy_drops, lost_drops;
    uint64_t ring_full_drops, ring_drops;
    uint64_t in_flight, waiting;
};

struct vhost_async_port {
    OVSRCU_TYPE(struct vhost_async_vqs *) vqs;

    struct ovs_mutex mutex;
    struct ovs_list list_node;          /* In the list of ports. */
    char *name;                         /* Constant. */
    atomic_uint8_t *tx_retries;         /* Constant, of the netdev. */
    char *path OVS_GUARDED;             /* Of the socket, or NULL. */
    const char *no_dma OVS_GUARDED;     /* Why its guest's memory is out of
                                         * reach for engines, or NULL. */
    struct vhost_async_totals gone OVS_GUARDED; /* Of txqs that are gone. */
    struct vhost_async_rx_totals rx_gone OVS_GUARDED;   /* Of rxqs. */
    unsigned int n_guests OVS_GUARDED;  /* That are connected. */

    atomic_bool want_dma;               /* It is to be on DMA, */
    atomic_bool want_rx;                /* ...for what it receives, too. */
    atomic_bool handover;               /* Some rings to send to are the
                                         * library's. */
    atomic_int owner;                   /* Device whose rings it sends to; -1
                                         * if there is none. */
};

void vhost_async_port_init(struct vhost_async_port *, const char *name,
                           atomic_uint8_t *tx_retries);
void vhost_async_port_destroy(struct vhost_async_port *);
void vhost_async_port_set_path(struct vhost_async_port *, const char *path);
bool vhost_async_port_has_path(struct vhost_async_port *, const char *path);

void vhost_async_port_set_dma(struct vhost_async_port *, bool dma, bool rx);
void vhost_async_port_set_no_dma(struct vhost_async_port *, const char *why);
bool vhost_async_port_add_vqs(struct vhost_async_port *, int owner,
                               unsigned int n);
bool vhost_async_port_remove_vqs(struct vhost_async_port *);
bool vhost_async_port_end_handover(struct vhost_async_port *);
void vhost_async_port_add_guest(struct vhost_async_port *);
void vhost_async_port_remove_guest(struct vhost_async_port *, int vid);
void vhost_async_port_set_owner(struct vhost_async_port *, int vid);
void vhost_async_port_unset_owner(struct vhost_async_port *, int vid);
struct vhost_async_vq *vhost_async_port_create_vq(struct vhost_async_port *,
                                                  unsigned int index);
void vhost_async_port_get_totals(struct vhost_async_port *,
                                 struct vhost_async_totals *);
void vhost_async_port_get_rx_totals(struct vhost_async_port *,
                                    struct vhost_async_rx_totals *);
void vhost_async_port_clear(struct vhost_async_port *);
void vhost_async_txq_get_totals(const struct vhost_async_txq *,
                                bool since_clear,
                                struct vhost_async_totals *);

bool vhost_async_port_end_stuck(struct vhost_async_port *);
unsigned int vhost_async_port_free_vqs(void);

/* All ports. */
extern struct ovs_mutex vhost_async_ports_mutex;
extern struct ovs_list vhost_async_ports
    OVS_GUARDED_BY(vhost_async_ports_mutex);

/* Whether the port is sent to through its own txqs.  This is all that the send
 * and receive path of a port that is not on DMA ever looks at. */
static inline struct vhost_async_vqs *
vhost_async_port_vqs(const struct vhost_async_port *port)
{
    return ovsrcu_get(struct vhost_async_vqs *,
                      &CONST_CAST(struct vhost_async_port *, port)->vqs);
}

/* Returns the virtqueue of 'port' with number 'index', or NULL. */
static inline struct vhost_async_vq *
vhost_async_port_vq(const struct vhost_async_port *port, unsigned int index)
{
    struct vhost_async_vqs *vqs = vhost_async_port_vqs(port);

    return (vqs && index < VHOST_ASYNC_MAX_VRINGS
            ? ovsrcu_get(struct vhost_async_vq *, &vqs->vq[index]) : NULL);
}

/* Returns txq 'qid' of 'port', or NULL. */
static inline struct vhost_async_txq *
vhost_async_port_txq(const struct vhost_async_port *port, unsigned int qid)
{
    struct vhost_async_vq *vq = vhost_async_port_vq(port, qid * 2);

    return OVS_LIKELY(vq) ? vhost_async_txq_of_vq(vq) : NULL;
}

/* Returns rxq 'qid' of 'port', or NULL. */
static inline struct vhost_async_rxq *
vhost_async_port_rxq(const struct vhost_async_port *port, unsigned int qid)
{
    struct vhost_async_vq *vq = vhost_async_port_vq(port, qid * 2 + 1);

    return vq ? vhost_async_rxq_of_vq(vq) : NULL;
}

/* Returns the first virtqueue that exists from number 'index' on, or NULL. */
static inline struct vhost_async_vq *
vhost_async_port_next_vq(const struct vhost_async_port *port,
                         unsigned int index)
{
    struct vhost_async_vq *vq = NULL;

    for (; !vq && index < VHOST_ASYNC_MAX_VRINGS; index++) {
        vq = vhost_async_port_vq(port, index);
    }
    return vq;
}

#define VHOST_ASYNC_PORT_FOR_EACH_VQ(VQ, PORT)                          \
    for (VQ = vhost_async_port_next_vq(PORT, 0); VQ;                    \
         VQ = vhost_async_port_next_vq(PORT, vhost_async_vq_index(VQ) + 1))

static inline int
vhost_async_port_owner(const struct vhost_async_port *port)
{
    int owner;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_port *, port)->owner,
                        &owner);
    return owner;
}

/* Whether a sender to the port holds the tx lock of the netdev, for there to
 * be one thread at a time that sends by the vhost library. */
static inline bool
vhost_async_port_needs_lock(const struct vhost_async_port *port)
{
    bool handover;

    if (OVS_LIKELY(!vhost_async_port_vqs(port))) {
        return true;
    }
    /* Acquire: the rings are seen as ours then. */
    atomic_read_explicit(&CONST_CAST(struct vhost_async_port *,
                                     port)->handover, &handover,
                         memory_order_acquire);
    return handover;
}

static inline bool
vhost_async_port_wants_dma(const struct vhost_async_port *port)
{
    bool want;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_port *,
                                    port)->want_dma, &want);
    return want;
}

static inline bool
vhost_async_port_wants_rx(const struct vhost_async_port *port)
{
    bool want;

    atomic_read_relaxed(&CONST_CAST(struct vhost_async_port *,
                                    port)->want_rx, &want);
    return want;
}

#endif /* vhost-async-port.h */
