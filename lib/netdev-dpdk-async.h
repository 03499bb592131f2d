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

#ifndef NETDEV_DPDK_ASYNC_H
#define NETDEV_DPDK_ASYNC_H 1

/* The vhost port's side of copying by DMA: whether a port uses it and why
 * not, its txqs' lives between the guest's connection and disconnection, and
 * the way of each burst, by DMA or by CPU.
 *
 * netdev-dpdk.c embeds a 'struct netdev_dpdk_async' in each vhost netdev and
 * calls these functions from its own; other callers say so.
 *
 * Thread-safety
 * =============
 *
 * 'txqs' changes only while no thread uses the port: at construction,
 * reconfiguration and destruction.  Its elements appear one by one, under
 * 'mutex', and stay.  The rest is the main thread's or protected by 'mutex',
 * as marked.
 *
 * Lock order: dpdk_mutex, the mutex of the netdev, the mutex of the requests
 * to migrate (in netdev-dpdk-async-migrate.c), that of the list of ports (in
 * netdev-dpdk-async.c), 'mutex', locks of the vhost library, and last
 * 'state_mutex', under which nothing is waited for. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openvswitch/compiler.h"

struct ds;
struct netdev;
struct netdev_custom_stats;
struct smap;

#ifdef VHOST_ASYNC

#include <rte_spinlock.h>
#include <rte_vhost.h>

#include "bitmap.h"
#include "openvswitch/list.h"
#include "openvswitch/thread.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "vhost-async-engine.h"

enum netdev_dpdk_async_override {
    NETDEV_DPDK_ASYNC_DEFAULT,      /* As vhost-async-support says. */
    NETDEV_DPDK_ASYNC_ON,
    NETDEV_DPDK_ASYNC_OFF,
};

/* More than any guest has; netdev-dpdk.c allocates as many txqs. */
#define NETDEV_DPDK_ASYNC_MAX_TXQS 1024

/* What there is of a guest. */
struct netdev_dpdk_async_guest {
    bool connected;             /* It knows what the port can do. */
    bool link;                  /* Its driver is at work. */
    unsigned int n_txqs;        /* That it has enabled. */
};

/* Where the packets of a port, or of a txq, went. */
struct netdev_dpdk_async_totals {
    uint64_t dma_packets, dma_bytes, cpu_packets, cpu_bytes;
    uint64_t busy_drops, stuck_drops, lost_drops;
    uint64_t ring_full_drops, ring_lost_drops;
    uint64_t in_flight, waiting;
};

struct netdev_dpdk_async {
    /* By txq number; NULL while the port is not registered for DMA, which is
     * all that the send path of such a port ever looks at. */
    OVSRCU_TYPE(struct vhost_async_txq *) *txqs;

    struct ovs_mutex mutex;
    struct ovs_list list_node;      /* In the list of all vhost ports. */
    struct netdev *netdev;          /* Constant. */
    const ovsrcu_index *vid;        /* Constant, of the netdev. */
    atomic_uint8_t *tx_retries;     /* Constant, of the netdev. */
    bool client;                    /* Main thread: "dpdkvhostuserclient". */
    enum netdev_dpdk_async_override override;   /* Main thread. */
    char *override_string;          /* Main thread: as in the database. */
    bool migrating;                 /* Main thread: off DMA for that. */
    bool wanted;                    /* Main thread: DMA, at the last look. */
    char *path;                     /* Of the socket; 'ports_mutex'. */
    atomic_bool stuck;              /* Some txq is. */
    /* Of txqs that are gone. */
    struct netdev_dpdk_async_totals gone OVS_GUARDED;
    /* Txqs that the guest has enabled. */
    unsigned long enabled[BITMAP_N_LONGS(NETDEV_DPDK_ASYNC_MAX_TXQS)]
        OVS_GUARDED;

    /* Protected by 'state_mutex' of netdev-dpdk-async.c. */
    int connection;                 /* Of a guest; -1 if none is there. */
    bool destroying;                /* Its device is being destroyed. */
    bool reconnecting;              /* By ourselves: no thread uses it. */
    bool again;                     /* Reconfigure when that is over. */
    int owner;                      /* The guest's device; -1 for none. */
};

void netdev_dpdk_async_configure(const struct smap *other_config);
void netdev_dpdk_async_set_protection(bool iommu, bool postcopy);

void netdev_dpdk_async_init(struct netdev_dpdk_async *, struct netdev *,
                            const ovsrcu_index *vid,
                            atomic_uint8_t *tx_retries);
bool netdev_dpdk_async_uninit(struct netdev_dpdk_async *, const char *path);
void netdev_dpdk_async_free(struct netdev_dpdk_async *);

void netdev_dpdk_async_set_config(struct netdev_dpdk_async *,
                                  const struct smap *args);
uint64_t netdev_dpdk_async_driver_flags(struct netdev_dpdk_async *,
                                        bool client, const char *path);
bool netdev_dpdk_async_reconnect(struct netdev_dpdk_async *);

int netdev_dpdk_async_new_connection(int vid);
void netdev_dpdk_async_new_device(struct netdev_dpdk_async *, int vid);
void netdev_dpdk_async_vring_changed(struct netdev_dpdk_async *, int vid,
                                     int qid, bool enabled);
bool netdev_dpdk_async_destroy_begin(struct netdev_dpdk_async *);
void netdev_dpdk_async_destroy_device(struct netdev_dpdk_async *, int vid);
void netdev_dpdk_async_disconnected(struct netdev_dpdk_async *, int vid);

void netdev_dpdk_async_get_status(const struct netdev_dpdk_async *,
                                  struct smap *);
void netdev_dpdk_async_get_custom_stats(const struct netdev_dpdk_async *,
                                        struct netdev_custom_stats *);
uint64_t netdev_dpdk_async_lost(const struct netdev_dpdk_async *);

/* For dpif-netdev-dma. */
void netdev_dpdk_async_format(struct ds *);
void netdev_dpdk_async_stats_clear(void);
bool netdev_dpdk_async_is_enabled(void);
uint32_t netdev_dpdk_async_threshold(void);

/* For netdev-dpdk-async-migrate. */
struct netdev_dpdk_async *netdev_dpdk_async_find(const char *name);
void netdev_dpdk_async_set_migrating(struct netdev_dpdk_async *, bool);
void netdev_dpdk_async_get_guest(struct netdev_dpdk_async *,
                                 struct netdev_dpdk_async_guest *);
bool netdev_dpdk_async_is_settled(const struct netdev_dpdk_async *);
const char *netdev_dpdk_async_refusal(const struct netdev_dpdk_async *);
const char *netdev_dpdk_async_why_cpu(const struct netdev_dpdk_async *);

void netdev_dpdk_async_print_version(void);

/* For completion engines. */
unsigned int netdev_dpdk_async_tx_retries(const struct netdev_dpdk_async *);
void netdev_dpdk_async_txq_stuck(struct vhost_async_txq *);

uint16_t netdev_dpdk_async_send(const struct netdev_dpdk_async *, int vid,
                                uint16_t vring, struct rte_mbuf **,
                                uint16_t cnt);
void netdev_dpdk_async_rx_poll(const struct netdev_dpdk_async *, int vid,
                               int qid, rte_spinlock_t *tx_lock);

/* Whether who sends to the port must hold the tx lock.  Not so if the engine
 * sees to it that the vhost library has one sender at a time. */
static inline bool
netdev_dpdk_async_needs_lock(const struct netdev_dpdk_async *async)
{
    return VHOST_ASYNC_TX_LOCK || OVS_LIKELY(!async->txqs);
}

/* To be called when rxq 'qid' of device 'vid' is polled; 'tx_lock' is that of
 * the txq of the same number. */
static inline void
netdev_dpdk_async_rx(const struct netdev_dpdk_async *async, int vid, int qid,
                     rte_spinlock_t *tx_lock)
{
    if (VHOST_ASYNC_RX_POLL && async->txqs) {
        netdev_dpdk_async_rx_poll(async, vid, qid, tx_lock);
    }
}

/* Sends 'cnt' packets, 32 at most, to virtqueue 'vring' of device 'vid', as
 * rte_vhost_enqueue_burst() does, which it is when the port is not on DMA.
 * Returns how many packets, from the first on, were taken.  Those in whose
 * place is NULL then belong to the txq; all others still to the caller.
 *
 * Any thread that may send, under the tx lock of the txq if
 * netdev_dpdk_async_needs_lock(); 'vid' read in this RCU critical section. */
static inline uint16_t
netdev_dpdk_async_enqueue(const struct netdev_dpdk_async *async, int vid,
                          uint16_t vring, struct rte_mbuf **pkts,
                          uint16_t cnt)
{
    if (OVS_LIKELY(!async->txqs)) {
        return rte_vhost_enqueue_burst(vid, vring, pkts, cnt);
    }
    return netdev_dpdk_async_send(async, vid, vring, pkts, cnt);
}

#else /* !VHOST_ASYNC */

struct netdev_dpdk_async {
    char dummy;
};

#define netdev_dpdk_async_enqueue(ASYNC, VID, VRING, PKTS, CNT) \
    rte_vhost_enqueue_burst(VID, VRING, PKTS, CNT)

static inline void
netdev_dpdk_async_set_protection(bool iommu OVS_UNUSED,
                                 bool postcopy OVS_UNUSED)
{
}

static inline void
netdev_dpdk_async_configure(const struct smap *other_config OVS_UNUSED)
{
}

static inline void
netdev_dpdk_async_print_version(void)
{
}

#define netdev_dpdk_async_needs_lock(ASYNC) true
#define netdev_dpdk_async_rx(ASYNC, VID, QID, TX_LOCK) ((void) 0)
#define netdev_dpdk_async_init(ASYNC, NETDEV, VID, TX_RETRIES) ((void) 0)
#define netdev_dpdk_async_uninit(ASYNC, PATH) false
#define netdev_dpdk_async_free(ASYNC) ((void) 0)
#define netdev_dpdk_async_set_config(ASYNC, ARGS) \
    ((void) (ASYNC), (void) (ARGS))
#define netdev_dpdk_async_driver_flags(ASYNC, CLIENT, PATH) UINT64_C(0)
#define netdev_dpdk_async_reconnect(ASYNC) false
#define netdev_dpdk_async_new_connection NULL
#define netdev_dpdk_async_new_device(ASYNC, VID) ((void) 0)
#define netdev_dpdk_async_vring_changed(ASYNC, VID, QID, ENABLED) ((void) 0)
#define netdev_dpdk_async_destroy_begin(ASYNC) true
#define netdev_dpdk_async_destroy_device(ASYNC, VID) ((void) 0)
#define netdev_dpdk_async_disconnected(ASYNC, VID) ((void) 0)
#define netdev_dpdk_async_get_status(ASYNC, ARGS) ((void) 0)
#define netdev_dpdk_async_get_custom_stats(ASYNC, STATS) ((void) 0)
#define netdev_dpdk_async_lost(ASYNC) 0

#endif /* !VHOST_ASYNC */

#endif /* netdev-dpdk-async.h */
