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

/* The vhost netdev's side of copying by DMA: its configuration, whether it
 * uses it and why not, the way of each burst, status and statistics.
 *
 * netdev-dpdk.c embeds a 'struct netdev_dpdk_async' in each vhost netdev and
 * calls these functions from its own; other callers say so.
 *
 * Thread-safety
 * =============
 *
 * Configuration, status and statistics are the main thread's; callbacks for
 * devices are those of whichever thread the vhost library has call them;
 * sending is any thread's, receiving that of who polls the rxq.  The rest is
 * in vhost-async-port.h.
 *
 * Lock order: dpdk_mutex, the mutex of the netdev, the list of ports
 * (vhost-async-port.h), control of a guest (vhost-async-guest.h), the mutex of
 * a port, the lock of a virtqueue (vhost-async-vq.h). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openvswitch/compiler.h"

struct ds;
struct json;
struct netdev;
struct netdev_custom_stats;
struct smap;

#ifdef VHOST_ASYNC

#include <rte_vhost.h>

#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "util.h"
#include "vhost-async-port.h"

enum netdev_dpdk_async_override {
    NETDEV_DPDK_ASYNC_DEFAULT,      /* As vhost-async-support says. */
    NETDEV_DPDK_ASYNC_ON,
    NETDEV_DPDK_ASYNC_OFF,
};

struct netdev_dpdk_async {
    struct vhost_async_port port;

    /* The main thread's. */
    struct netdev *netdev;
    enum netdev_dpdk_async_override override;
    char *override_string;          /* As in the database. */
    char *unknown_string;           /* Option that was warned of. */
    const char *shown;              /* Why not on DMA, as in the status. */
    const char *unfit;              /* Why it is never on DMA, or NULL. */
    enum netdev_dpdk_async_override rx_override;
    char *rx_override_string;       /* As in the database. */

    /* Set before the vhost library knows of the port. */
    bool extbuf, compliant;         /* See vhost-async-receive.h. */
};

static inline struct netdev_dpdk_async *
netdev_dpdk_async_of_port(struct vhost_async_port *port)
{
    return CONTAINER_OF(port, struct netdev_dpdk_async, port);
}

void netdev_dpdk_async_configure(const struct smap *other_config);
const char *netdev_dpdk_async_refusal(const struct netdev_dpdk_async *);
const char *netdev_dpdk_async_rx_refusal(const struct netdev_dpdk_async *);

void netdev_dpdk_async_init(struct netdev_dpdk_async *, struct netdev *,
                            atomic_uint8_t *tx_retries);
void netdev_dpdk_async_register(struct netdev_dpdk_async *, const char *path,
                                uint64_t flags);
void netdev_dpdk_async_free(struct netdev_dpdk_async *);
void netdev_dpdk_async_set_config(struct netdev_dpdk_async *,
                                  const struct smap *args);

int netdev_dpdk_async_new_connection(int vid);
void netdev_dpdk_async_new_device(int vid);
void netdev_dpdk_async_destroy_device(int vid);
void netdev_dpdk_async_destroy_connection(int vid);

void netdev_dpdk_async_get_status(struct netdev_dpdk_async *,
                                  struct smap *);
void netdev_dpdk_async_get_custom_stats(struct netdev_dpdk_async *,
                                        struct netdev_custom_stats *);
void netdev_dpdk_async_add_vring_stats(const struct netdev_dpdk_async *,
                                       int vring,
                                       const struct rte_vhost_stat_name *,
                                       struct rte_vhost_stat *, int n);
uint64_t netdev_dpdk_async_lost(const struct netdev_dpdk_async *);

/* For dpif-netdev-dma. */
void netdev_dpdk_async_format(struct ds *);
struct json *netdev_dpdk_async_to_json(void);
void netdev_dpdk_async_stats_clear(void);
bool netdev_dpdk_async_is_enabled(void);
uint64_t netdev_dpdk_async_threshold(void);

uint16_t netdev_dpdk_async_receive(struct netdev_dpdk_async *, int vid,
                                   uint16_t vring, struct rte_mempool *,
                                   struct rte_mbuf **, uint16_t cnt);
uint32_t netdev_dpdk_async_rx_count(const struct netdev_dpdk_async *, int vid,
                                    uint16_t vring);
uint16_t netdev_dpdk_async_send(struct netdev_dpdk_async *, int vid,
                                uint16_t vring, struct rte_mbuf **,
                                uint16_t cnt, unsigned int retries);

/* Whether who sends to the port must hold the tx lock. */
static inline bool
netdev_dpdk_async_needs_lock(const struct netdev_dpdk_async *async)
{
    return vhost_async_port_needs_lock(&async->port);
}

/* Whether rings of the guest are ours, or are to be. */
static inline bool
netdev_dpdk_async_has_rings(const struct netdev_dpdk_async *async)
{
    return vhost_async_port_vqs(&async->port) != NULL;
}

/* Sends 'cnt' packets to virtqueue 'vring' of device 'vid', as
 * rte_vhost_enqueue_burst() does, which it is when the port is not on DMA.
 * Returns how many packets, from the first on, were taken.  Those in whose
 * place is NULL then belong to the port; all others still to the caller, who
 * comes back with those unless none was taken or there were 'retries' enough.
 *
 * Any thread that may send, under the tx lock of the txq if
 * netdev_dpdk_async_needs_lock(); 'vid' read in this RCU critical section. */
static inline uint16_t
netdev_dpdk_async_enqueue(struct netdev_dpdk_async *async, int vid,
                          uint16_t vring, struct rte_mbuf **pkts,
                          uint16_t cnt, unsigned int retries)
{
    if (OVS_LIKELY(!netdev_dpdk_async_has_rings(async))) {
        return rte_vhost_enqueue_burst(vid, vring, pkts, cnt);
    }
    return netdev_dpdk_async_send(async, vid, vring, pkts, cnt, retries);
}

/* Stores packets that virtqueue 'vring' of device 'vid' has in 'pkts', at most
 * 'cnt', and returns their number, as rte_vhost_dequeue_burst() does, which it
 * is when the port is not to receive by DMA.  They are the caller's, in mbufs
 * from 'mp'.
 *
 * The thread that polls the rxq; 'vid' read in this RCU critical section. */
static inline uint16_t
netdev_dpdk_async_dequeue(struct netdev_dpdk_async *async, int vid,
                          uint16_t vring, struct rte_mempool *mp,
                          struct rte_mbuf **pkts, uint16_t cnt)
{
    if (OVS_LIKELY(!netdev_dpdk_async_has_rings(async))) {
        return rte_vhost_dequeue_burst(vid, vring, mp, pkts, cnt);
    }
    return netdev_dpdk_async_receive(async, vid, vring, mp, pkts, cnt);
}

#else /* !VHOST_ASYNC */

struct netdev_dpdk_async {
    char dummy;
};

#define netdev_dpdk_async_enqueue(ASYNC, VID, VRING, PKTS, CNT, RETRIES) \
    rte_vhost_enqueue_burst(VID, VRING, PKTS, CNT)
#define netdev_dpdk_async_dequeue(ASYNC, VID, VRING, MP, PKTS, CNT) \
    rte_vhost_dequeue_burst(VID, VRING, MP, PKTS, CNT)
#define netdev_dpdk_async_rx_count(ASYNC, VID, VRING) \
    rte_vhost_rx_queue_count(VID, VRING)

static inline void
netdev_dpdk_async_configure(const struct smap *other_config OVS_UNUSED)
{
}

#define netdev_dpdk_async_needs_lock(ASYNC) true
#define netdev_dpdk_async_init(ASYNC, NETDEV, TX_RETRIES) ((void) (ASYNC))
#define netdev_dpdk_async_register(ASYNC, PATH, FLAGS) ((void) (ASYNC))
#define netdev_dpdk_async_free(ASYNC) ((void) (ASYNC))
#define netdev_dpdk_async_set_config(ASYNC, ARGS) \
    ((void) (ASYNC), (void) (ARGS))
#define netdev_dpdk_async_new_connection NULL
#define netdev_dpdk_async_new_device(VID) ((void) 0)
#define netdev_dpdk_async_destroy_device(VID) ((void) 0)
#define netdev_dpdk_async_destroy_connection(VID) ((void) 0)
#define netdev_dpdk_async_get_status(ASYNC, ARGS) ((void) 0)
#define netdev_dpdk_async_get_custom_stats(ASYNC, STATS) ((void) 0)
#define netdev_dpdk_async_add_vring_stats(ASYNC, QID, NAMES, STATS, N) \
    ((void) 0)
#define netdev_dpdk_async_lost(ASYNC) 0

#endif /* !VHOST_ASYNC */

#endif /* netdev-dpdk-async.h */
