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

/* What an operator sees of a vhost port that copies by DMA: its part of the
 * status and the statistics of the interface and of dpif-netdev/dma-show.
 *
 * The main thread's, see netdev-dpdk-async.h. */

#include <config.h>

#include "netdev-dpdk-async.h"

#include <rte_vhost.h>

#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "netdev-provider.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "smap.h"
#include "util.h"
#include "vhost-async-vq-kinds.h"

static struct vhost_async_port *
async_port(const struct netdev_dpdk_async *async)
{
    return CONST_CAST(struct vhost_async_port *, &async->port);
}

/* Why 'async' is not on DMA, or NULL if it is. */
static const char *
async_why_cpu(const struct netdev_dpdk_async *async)
{
    const char *why = netdev_dpdk_async_refusal(async);

    if (!why) {
        struct vhost_async_port *port = async_port(async);

        ovs_mutex_lock(&port->mutex);
        why = port->no_dma;
        ovs_mutex_unlock(&port->mutex);
    }
    if (!why && !dpdk_dma_map_has_claims(dpdk_dma_dev_map())) {
        why = "no PMD thread has a DMA channel";
    }
    return why;
}

/* Whether the feature is none of this port's. */
static bool
async_is_hidden(const struct netdev_dpdk_async *async)
{
    return !netdev_dpdk_async_is_enabled()
           && !vhost_async_port_vqs(&async->port);
}

/* Adds to the status of the interface how packets reach the guest. */
void
netdev_dpdk_async_get_status(struct netdev_dpdk_async *async,
                             struct smap *args)
{
    const char *why = async_why_cpu(async);

    async->shown = why;
    if (async_is_hidden(async)) {
        return;
    } else if (why) {
        smap_add_format(args, "vhost_async", "CPU: %s", why);
    } else {
        smap_add(args, "vhost_async", "DMA");
    }
}

struct async_counter {
    const char *name;
    uint64_t value;
};

static void
add_counters(struct netdev_custom_stats *custom,
             const struct async_counter *counters, size_t n)
{
    custom->counters = xrealloc(custom->counters,
                                (custom->size + n) * sizeof *custom->counters);
    for (size_t i = 0; i < n; i++) {
        struct netdev_custom_counter *c = &custom->counters[custom->size++];

        ovs_strlcpy(c->name, counters[i].name, sizeof c->name);
        c->value = counters[i].value;
    }
}

/* Appends the counters of the port, which dpif-netdev/dma-stats-clear leaves
 * alone, to the statistics of the interface.  Main thread, every few seconds:
 * has the status follow what threads and guests changed. */
void
netdev_dpdk_async_get_custom_stats(struct netdev_dpdk_async *async,
                                   struct netdev_custom_stats *custom)
{
    struct vhost_async_rx_totals rx;
    struct vhost_async_totals t;

    vhost_async_port_get_totals(async_port(async), &t);
    vhost_async_port_get_rx_totals(async_port(async), &rx);
    if (!async_is_hidden(async) || t.dma_packets || t.cpu_packets) {
        const struct async_counter counters[] = {
            { "tx_async_dma_packets", t.dma_packets },
            { "tx_async_dma_bytes", t.dma_bytes },
            { "tx_async_cpu_packets", t.cpu_packets },
            { "tx_async_cpu_bytes", t.cpu_bytes },
            { "tx_async_in_flight", t.in_flight },
            { "tx_async_full_drops", t.full_drops },
            { "tx_async_down_drops", t.down_drops },
            { "tx_async_busy_drops", t.busy_drops },
            { "tx_async_lost_drops", t.lost_drops },
            { "tx_async_waiting", t.waiting },
            { "tx_async_ring_full_drops", t.ring_full_drops },
            { "tx_async_ring_drops", t.ring_drops },
        };

        add_counters(custom, counters, ARRAY_SIZE(counters));
        if (async_why_cpu(async) != async->shown) {
            netdev_change_seq_changed(async->netdev);
        }
    }
    if (vhost_async_port_wants_rx(&async->port)
        || rx.dma_packets || rx.cpu_packets) {
        const struct async_counter counters[] = {
            { "rx_async_dma_packets", rx.dma_packets },
            { "rx_async_dma_bytes", rx.dma_bytes },
            { "rx_async_cpu_packets", rx.cpu_packets },
            { "rx_async_cpu_bytes", rx.cpu_bytes },
            { "rx_async_in_flight", rx.in_flight },
            { "rx_async_bad_drops", rx.bad_drops },
        };

        add_counters(custom, counters, ARRAY_SIZE(counters));
    }
}

/* What the vhost library counts of a virtqueue. */
struct vring_counters {
    const atomic_uint64_t *good_packets, *multicast, *broadcast;
    const atomic_uint64_t *notifications, *size_bins;
    uint64_t good_bytes;
};

static struct vring_counters
vring_counters(struct vhost_async_vq *vq)
{
    if (vq->rx) {
        const struct vhost_async_rxq_stats *stats
            = &vhost_async_rxq_of_vq(vq)->stats;

        return (struct vring_counters) {
            .good_packets = &stats->good_packets,
            .good_bytes = vhost_async_counter(&stats->good_bytes),
            .multicast = &stats->multicast,
            .broadcast = &stats->broadcast,
            .notifications = &vq->notifications,
            .size_bins = stats->size_bins,
        };
    } else {
        const struct vhost_async_txq_stats *stats
            = &vhost_async_txq_of_vq(vq)->stats;

        return (struct vring_counters) {
            /* Those that the guest got: what is lost is among the drops.
             * Bytes and sizes are counted when a packet is copied, so of
             * those in flight and lost, too. */
            .good_packets = &stats->published,
            .good_bytes = (vhost_async_counter(&stats->dma_bytes)
                           + vhost_async_counter(&stats->cpu_bytes)),
            .multicast = &stats->multicast,
            .broadcast = &stats->broadcast,
            .notifications = &vq->notifications,
            .size_bins = stats->size_bins,
        };
    }
}

/* Returns the counter that the vhost library calls 'name', 0 if it is none of
 * these. */
static uint64_t
vring_counter(const struct vring_counters *c, const char *name)
{
    static const char *bins[] = {
        "undersize_packets", "size_64_packets", "size_65_127_packets",
        "size_128_255_packets", "size_256_511_packets",
        "size_512_1023_packets", "size_1024_1518_packets",
        "size_1519_max_packets",
    };

    if (!strcmp(name, "good_packets")) {
        return vhost_async_counter(c->good_packets);
    } else if (!strcmp(name, "good_bytes")) {
        return c->good_bytes;
    } else if (!strcmp(name, "multicast_packets")) {
        return vhost_async_counter(c->multicast);
    } else if (!strcmp(name, "broadcast_packets")) {
        return vhost_async_counter(c->broadcast);
    } else if (!strcmp(name, "guest_notifications")) {
        return vhost_async_counter(c->notifications);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bins); i++) {
        if (!strcmp(name, bins[i])) {
            return vhost_async_counter(&c->size_bins[i]);
        }
    }
    return 0;
}

/* Adds what went through virtqueue 'vring' by ourselves to the 'n' counters
 * that the vhost library has of it (rte_vhost_vring_stats_get()), whose names
 * are like "tx_q0_good_packets". */
void
netdev_dpdk_async_add_vring_stats(const struct netdev_dpdk_async *async,
                                  int vring,
                                  const struct rte_vhost_stat_name *names,
                                  struct rte_vhost_stat *stats, int n)
{
    struct vhost_async_vq *vq = vhost_async_port_vq(&async->port, vring);
    struct vring_counters counters;

    if (!vq) {
        return;
    }
    counters = vring_counters(vq);
    for (int i = 0; i < n; i++) {
        const char *name = strchr(names[i].name, '_');

        name = name ? strchr(name + 1, '_') : NULL;
        if (name && stats[i].id < n) {
            stats[i].value += vring_counter(&counters, name + 1);
        }
    }
}

/* Returns how many packets of the port were in flight when its ring went, or
 * taken into the ring of a txq and not placed.  The sender did not drop them,
 * so that netdev-dpdk.c adds them to its drops. */
uint64_t
netdev_dpdk_async_lost(const struct netdev_dpdk_async *async)
{
    struct vhost_async_totals t;

    vhost_async_port_get_totals(async_port(async), &t);
    return t.lost_drops + t.ring_drops;
}

/* Why 'vq' stands still, or NULL if it does not.  The holder of its lock. */
static const char *
vq_why_stuck(const struct vhost_async_vq *vq)
{
    int index = vhost_async_vq_waits_for(vq);
    const struct dpdk_dma_chan *chan
        = index >= 0 ? dpdk_dma_map_get(dpdk_dma_dev_map(), index) : NULL;

    if (chan && dpdk_dma_dev_state(chan) == DPDK_DMA_DEV_UNSTOPPABLE) {
        return "none: stands still behind a copy of a DMA device that failed "
               "and cannot be stopped, until the device reports it; restart "
               "ovs-vswitchd";
    } else if (chan && dpdk_dma_dev_state(chan) == DPDK_DMA_DEV_DYING) {
        return "none: stands still behind a copy of a DMA device that failed "
               "and is being stopped";
    } else if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK) {
        return "none: waits for copies that were in flight when it stopped";
    }
    return NULL;
}

/* What becomes of packets of 'vq' of a port that are copied by CPU because of
 * 'why', or else by DMA. */
static const char *
vq_describe(struct vhost_async_vq *vq, const char *why)
{
    const char *how = why ? "CPU" : "DMA";
    const char *stuck;

    if (!vhost_async_vq_lock_unless_closed(vq)) {
        return "a message of the guest is handled";
    }
    stuck = vq_why_stuck(vq);
    switch (vhost_async_vq_state(vq)) {
    case VHOST_ASYNC_VQ_LIBRARY:
        how = "CPU: about to be taken over from the vhost library";
        break;
    case VHOST_ASYNC_VQ_STOPPED:
        how = "none: no guest has set it up";
        break;
    case VHOST_ASYNC_VQ_DISABLED:
        how = "none: disabled by the guest";
        break;
    case VHOST_ASYNC_VQ_STUCK:
        break;
    case VHOST_ASYNC_VQ_RUNNING:
        if (vq->vring.broken) {
            how = vq->vring.broken;
        } else if (vq->vring.log_vid >= 0 && !why && !vq->rx) {
            how = "CPU: its guest is being migrated";
        }
        break;
    }
    vhost_async_vq_unlock(vq);
    return stuck ? stuck : how;
}

/* What becomes of packets of 'rxq' of a port that is on CPU because of 'why',
 * or else received from by CPU because of 'why_rx', or by DMA.  The caller
 * frees it. */
static char *
rxq_describe(struct vhost_async_rxq *rxq, const char *why, const char *why_rx)
{
    const char *how = vq_describe(&rxq->vq, why ? why : why_rx);

    /* What the port says of itself is not said again. */
    return (!why && why_rx && !strcmp(how, "CPU")
            ? xasprintf("CPU: %s", why_rx) : xstrdup(how));
}

/* Appends what txqs and rxqs have totals of alike. */
#define FORMAT_COPIES(DS, T)                                                \
    ds_put_format(DS, "    by DMA: %"PRIu64" packets, %"PRIu64" bytes; "    \
                  "in flight: %"PRIu64" packets\n"                          \
                  "    by CPU: %"PRIu64" packets, %"PRIu64" bytes\n",       \
                  (T).dma_packets, (T).dma_bytes, (T).in_flight,            \
                  (T).cpu_packets, (T).cpu_bytes)

static void
format_txq(struct ds *ds, struct vhost_async_txq *txq, const char *why)
{
    struct vhost_async_totals t = { .in_flight = 0 };
    size_t ring = vhost_async_engine_txq_memory(txq);

    vhost_async_txq_get_totals(txq, true, &t);
    ds_put_format(ds, "  txq %"PRIu16": %s\n", txq->vq.qid,
                  vq_describe(&txq->vq, why));
    FORMAT_COPIES(ds, t);
    ds_put_format(ds, "    memory: %"PRIuSIZE" bytes",
                  vhost_async_txq_memory(txq) + ring);
    if (ring) {
        ds_put_format(ds, ", %"PRIuSIZE" of them for the ring; waiting in it: "
                      "%"PRIu64" packets", ring, t.waiting);
    }
    ds_put_char(ds, '\n');
    if (t.full_drops || t.down_drops || t.busy_drops || t.lost_drops
        || t.ring_full_drops) {
        ds_put_format(ds, "    dropped: %"PRIu64" virtqueue full, %"PRIu64" "
                      "not running, %"PRIu64" busy, %"PRIu64" lost, %"PRIu64
                      " ring full; %"PRIu64" of all these out of the ring\n",
                      t.full_drops, t.down_drops, t.busy_drops, t.lost_drops,
                      t.ring_full_drops, t.ring_drops);
    }
}

static void
format_rxq(struct ds *ds, struct vhost_async_rxq *rxq, const char *why,
           const char *why_rx)
{
    struct vhost_async_rx_totals t = { .in_flight = 0 };
    char *how = rxq_describe(rxq, why, why_rx);

    vhost_async_rxq_get_totals(rxq, true, &t);
    ds_put_format(ds, "  rxq %"PRIu16": %s\n", rxq->vq.qid, how);
    free(how);
    FORMAT_COPIES(ds, t);
    ds_put_format(ds, "    memory: %"PRIuSIZE" bytes\n",
                  vhost_async_rxq_memory(rxq));
    if (t.bad_drops) {
        ds_put_format(ds, "    dropped: %"PRIu64" too short or too long\n",
                      t.bad_drops);
    }
}

/* Appends a section per vhost port to 'ds', for dpif-netdev/dma-show.  Main
 * thread. */
void
netdev_dpdk_async_format(struct ds *ds)
{
    struct vhost_async_port *port;
    struct vhost_async_vq *vq;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        struct netdev_dpdk_async *async = netdev_dpdk_async_of_port(port);
        const char *why = async_why_cpu(async);
        const char *why_rx = netdev_dpdk_async_rx_refusal(async);

        ds_put_format(ds, "port %s: %s%s%s\n", port->name,
                      why ? "CPU: " : "DMA", why ? why : "",
                      !why && vhost_async_port_owner(port) < 0
                      ? ", no guest" : "");
        ovs_mutex_lock(&port->mutex);
        VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
            if (vq->rx) {
                format_rxq(ds, vhost_async_rxq_of_vq(vq), why, why_rx);
            } else {
                format_txq(ds, vhost_async_txq_of_vq(vq), why);
            }
        }
        ovs_mutex_unlock(&port->mutex);
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
}

static struct json *
txq_to_json(struct vhost_async_txq *txq, const char *why)
{
    struct vhost_async_totals t = { .in_flight = 0 };
    struct json *json = json_object_create();

    vhost_async_txq_get_totals(txq, true, &t);
    json_object_put(json, "txq", json_integer_create(txq->vq.qid));
    json_object_put_string(json, "copies", vq_describe(&txq->vq, why));
#define PUT(NAME, MEMBER)                                           \
    json_object_put(json, NAME, json_integer_create(t.MEMBER))
    PUT("dma-packets", dma_packets);
    PUT("dma-bytes", dma_bytes);
    PUT("cpu-packets", cpu_packets);
    PUT("cpu-bytes", cpu_bytes);
    PUT("in-flight", in_flight);
    PUT("waiting", waiting);
    PUT("full-drops", full_drops);
    PUT("down-drops", down_drops);
    PUT("busy-drops", busy_drops);
    PUT("lost-drops", lost_drops);
    PUT("ring-full-drops", ring_full_drops);
    PUT("ring-drops", ring_drops);
#undef PUT
    json_object_put(json, "memory",
                    json_integer_create(vhost_async_txq_memory(txq)
                                        + vhost_async_engine_txq_memory(txq)));
    return json;
}

static struct json *
rxq_to_json(struct vhost_async_rxq *rxq, const char *why, const char *why_rx)
{
    struct vhost_async_rx_totals t = { .in_flight = 0 };
    char *how = rxq_describe(rxq, why, why_rx);
    struct json *json = json_object_create();

    vhost_async_rxq_get_totals(rxq, true, &t);
    json_object_put(json, "rxq", json_integer_create(rxq->vq.qid));
    json_object_put_string(json, "copies", how);
    free(how);
#define PUT(NAME, MEMBER)                                           \
    json_object_put(json, NAME, json_integer_create(t.MEMBER))
    PUT("dma-packets", dma_packets);
    PUT("dma-bytes", dma_bytes);
    PUT("cpu-packets", cpu_packets);
    PUT("cpu-bytes", cpu_bytes);
    PUT("in-flight", in_flight);
    PUT("bad-drops", bad_drops);
#undef PUT
    json_object_put(json, "memory",
                    json_integer_create(vhost_async_rxq_memory(rxq)));
    return json;
}

/* Returns an array of what netdev_dpdk_async_format() tells.  Main thread. */
struct json *
netdev_dpdk_async_to_json(void)
{
    struct json *ports = json_array_create_empty();
    struct vhost_async_port *port;
    struct vhost_async_vq *vq;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        struct netdev_dpdk_async *async = netdev_dpdk_async_of_port(port);
        struct json *txqs = json_array_create_empty();
        struct json *rxqs = json_array_create_empty();
        struct json *json = json_object_create();
        const char *why = async_why_cpu(async);
        const char *why_rx = netdev_dpdk_async_rx_refusal(async);

        json_object_put_string(json, "name", port->name);
        json_object_put_string(json, "copies", why ? "CPU" : "DMA");
        if (why) {
            json_object_put_string(json, "reason", why);
        }
        json_object_put(json, "guest", json_boolean_create(
                            vhost_async_port_owner(port) >= 0));
        ovs_mutex_lock(&port->mutex);
        VHOST_ASYNC_PORT_FOR_EACH_VQ (vq, port) {
            if (vq->rx) {
                json_array_add(rxqs, rxq_to_json(vhost_async_rxq_of_vq(vq),
                                                 why, why_rx));
            } else {
                json_array_add(txqs, txq_to_json(vhost_async_txq_of_vq(vq),
                                                 why));
            }
        }
        ovs_mutex_unlock(&port->mutex);
        json_object_put(json, "txqs", txqs);
        json_object_put(json, "rxqs", rxqs);
        json_array_add(ports, json);
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
    return ports;
}

/* Has dpif-netdev/dma-show count from 0.  Main thread. */
void
netdev_dpdk_async_stats_clear(void)
{
    struct vhost_async_port *port;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        vhost_async_port_clear(port);
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
}
