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

/* Implementation of netdev-dpdk-async.h. */

#include <config.h>

#include "netdev-dpdk-async.h"

#include <errno.h>

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>

#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "dpdk-dma-probe.h"
#include "netdev-provider.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "smap.h"
#include "util.h"
#include "vhost-async-cost.h"
#include "vhost-async-engine.h"
#include "vhost-async-guest.h"
#include "vhost-async-helper.h"
#include "vhost-async-receive.h"
#include "vhost-async-thread.h"
#include "vhost-async-txq.h"
#include "vhost-guest-mem.h"

VLOG_DEFINE_THIS_MODULE(netdev_dpdk_async);

/* Bounds of vhost-async-timeout, in milliseconds.  A software engine can wait
 * for its core for some milliseconds, and a guest that resets its device waits
 * for an engine that hangs. */
#define MIN_TIMEOUT_MS 10
#define MAX_TIMEOUT_MS 10000

/* What the operator wants; the main thread's. */
static struct {
    bool enabled;               /* vhost-async-support. */
    bool rx;                    /* vhost-async-rx. */
    char *support_string;       /* As in the database, for warnings. */
    char *rx_string;
    char *threshold_string;
    char *timeout_string;
    char *pins_string;
} config;

/* Configuration. */

/* Returns true if 'value' is "true" or "false", in letters of any case as
 * everywhere in the database, and stores which in '*result'. */
static bool
parse_bool(const char *value, bool *result)
{
    *result = !strcasecmp(value, "true");
    return *result || !strcasecmp(value, "false");
}

/* Takes 'value', of key 'key', into '*stored'.  Returns true if it differs
 * from what was there, so that a warning about it is due once only. */
static bool
config_changed(char **stored, const char *value)
{
    if (nullable_string_is_equal(*stored, value)) {
        return false;
    }
    free(*stored);
    *stored = nullable_xstrdup(value);
    return true;
}

/* Takes key 'key' of 'other_config', false by default, into '*on', unless it
 * is '*stored', as it was.  Returns whether it changed. */
static bool
configure_bool(const struct smap *other_config, const char *key, char **stored,
               bool *on)
{
    const char *value = smap_get(other_config, key);

    if (!config_changed(stored, value)) {
        return false;
    }
    *on = false;
    if (value && !parse_bool(value, on)) {
        VLOG_WARN("other_config:%s: \"%s\" is neither \"true\" nor "
                  "\"false\"; \"false\" is used.", key, value);
    }
    return true;
}

static void
configure_rx(const struct smap *other_config)
{
    if (configure_bool(other_config, "vhost-async-rx", &config.rx_string,
                       &config.rx)) {
        VLOG_INFO("Copying from vhost ports by DMA is %s.",
                  config.rx ? "enabled" : "disabled");
    }
}

static void
configure_support(const struct smap *other_config)
{
    if (!configure_bool(other_config, "vhost-async-support",
                        &config.support_string, &config.enabled)) {
        return;
    }
    VLOG_INFO("Copying to vhost ports by DMA is %s (completion engine: %s).",
              config.enabled ? "enabled" : "disabled", VHOST_ASYNC_ENGINE);
}

/* Returns true if 'value' is a decimal number of 32 bits, which it stores in
 * '*result'. */
static bool
parse_number(const char *value, unsigned int *result)
{
    return *value && !value[strspn(value, "0123456789")]
           && str_to_uint(value, 10, result);
}

static void
configure_threshold(const struct smap *other_config)
{
    const char *value = smap_get(other_config, "vhost-async-threshold");
    uint64_t threshold = VHOST_ASYNC_AUTO;
    unsigned int bytes;

    if (!config_changed(&config.threshold_string, value)) {
        return;
    }
    if (value && parse_number(value, &bytes)) {
        threshold = bytes;
        VLOG_INFO("Packets below %u bytes are copied to vhost ports by CPU.",
                  bytes);
    } else {
        if (value && strcmp(value, "auto")) {
            VLOG_WARN("other_config:vhost-async-threshold: \"%s\" is neither "
                      "\"auto\" nor a number of bytes from 0 to %"PRIu32"; "
                      "\"auto\" is used.", value, UINT32_MAX);
        }
        VLOG_INFO("Packets are copied to vhost ports by CPU where DMA costs "
                  "more.");
    }
    atomic_store_relaxed(&vhost_async_policy.threshold, threshold);
}

static void
configure_timeout(const struct smap *other_config)
{
    const char *value = smap_get(other_config, "vhost-async-timeout");
    unsigned int ms = DPDK_DMA_DEV_TIMEOUT_MS;

    if (!config_changed(&config.timeout_string, value)) {
        return;
    }
    if (value && (!parse_number(value, &ms)
                  || ms < MIN_TIMEOUT_MS || ms > MAX_TIMEOUT_MS)) {
        ms = DPDK_DMA_DEV_TIMEOUT_MS;
        VLOG_WARN("other_config:vhost-async-timeout: \"%s\" is not a number "
                  "of milliseconds from %d to %d; %u is used.", value,
                  MIN_TIMEOUT_MS, MAX_TIMEOUT_MS, ms);
    }
    dpdk_dma_dev_set_timeout_ms(ms);
    VLOG_INFO("DMA devices may take %u ms to complete a copy.", ms);
}

static void
configure_pins(const struct smap *other_config)
{
    struct ds warnings = DS_EMPTY_INITIALIZER;
    char *line, *save = NULL;

    dpdk_dma_map_set_pins(dpdk_dma_dev_map(),
                          smap_get(other_config, "vhost-async-dma-map"),
                          &warnings);
    for (line = strtok_r(ds_cstr(&warnings), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        VLOG_WARN("other_config:vhost-async-dma-map: %s.", line);
    }
    ds_destroy(&warnings);
}

/* Returns which setting keeps 'async' from DMA, a constant, or NULL if none
 * does.  Main thread. */
const char *
netdev_dpdk_async_refusal(const struct netdev_dpdk_async *async)
{
    if (!config.enabled) {
        return "other_config:vhost-async-support is false";
    } else if (async->override == NETDEV_DPDK_ASYNC_OFF) {
        return "options:vhost-async is false";
    } else if (async->unfit) {
        return async->unfit;
    } else if (!dpdk_dma_dev_n_channels()) {
        return "there is no DMA channel";
    }
    return NULL;
}

/* Returns which setting keeps 'async' from DMA for what it receives, although
 * it is on DMA otherwise, a constant, or NULL if none does.  Main thread. */
const char *
netdev_dpdk_async_rx_refusal(const struct netdev_dpdk_async *async)
{
    if (async->rx_override == NETDEV_DPDK_ASYNC_DEFAULT) {
        return config.rx ? NULL : "other_config:vhost-async-rx is false";
    }
    return (async->rx_override == NETDEV_DPDK_ASYNC_OFF
            ? "options:vhost-async-rx is false" : NULL);
}

/* Has the port change sides, if what is wanted of it changed. */
static void
async_update_wanted(struct netdev_dpdk_async *async)
{
    bool want = !netdev_dpdk_async_refusal(async);
    bool want_rx = want && !netdev_dpdk_async_rx_refusal(async);
    bool changed = want != vhost_async_port_wants_dma(&async->port);
    bool rx_changed = want_rx != vhost_async_port_wants_rx(&async->port);

    if (changed) {
        VLOG_INFO("%s: copying to the guest by %s from now on.",
                  netdev_get_name(async->netdev), want ? "DMA" : "CPU");
    }
    if (rx_changed) {
        VLOG_INFO("%s: copying from the guest by %s from now on.",
                  netdev_get_name(async->netdev), want_rx ? "DMA" : "CPU");
    }
    if (changed || rx_changed) {
        vhost_async_port_set_dma(&async->port, want, want_rx);
        dpdk_dma_dev_wake();
        /* For the status of the interface. */
        netdev_change_seq_changed(async->netdev);
    }
}

static void
ports_update_wanted(void)
{
    struct vhost_async_port *port;

    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        async_update_wanted(netdev_dpdk_async_of_port(port));
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
}

/* Takes the keys of other_config that concern DMA.  Wrong values are warned
 * of and replaced by the defaults.
 *
 * Main thread, once DPDK is initialized.  When 'enabled' or the explicit map
 * change, PMD threads must reload: see dpif_netdev_dma_set_config(). */
void
netdev_dpdk_async_configure(const struct smap *other_config)
{
    const char *pins = smap_get(other_config, "vhost-async-dma-map");
    bool pins_changed = config_changed(&config.pins_string, pins);
    bool was_enabled = config.enabled;

    configure_threshold(other_config);
    configure_timeout(other_config);
    configure_rx(other_config);
    configure_support(other_config);
    if (config.enabled) {
        vhost_async_helper_start();
        if (!was_enabled || pins_changed) {
            dpdk_dma_probe(pins);
            vhost_guest_mem_device_came();
            if (!dpdk_dma_dev_start_all()) {
                VLOG_WARN("other_config:vhost-async-support is true, but "
                          "there is no DMA channel; %s.",
                          dpdk_dma_map_count(dpdk_dma_dev_map())
                          ? "all devices failed" : DPDK_DMA_PROBE_REMEDY);
            }
        }
        configure_pins(other_config);
    }
    ports_update_wanted();
}

bool
netdev_dpdk_async_is_enabled(void)
{
    return config.enabled;
}

uint64_t
netdev_dpdk_async_threshold(void)
{
    uint64_t threshold;

    atomic_read_relaxed(&vhost_async_policy.threshold, &threshold);
    return threshold;
}

/* Ports. */

/* Prepares 'async' of 'netdev', which keeps tx-retries-max in
 * '*tx_retries'. */
void
netdev_dpdk_async_init(struct netdev_dpdk_async *async, struct netdev *netdev,
                       atomic_uint8_t *tx_retries)
{
    async->netdev = netdev;
    async->override = NETDEV_DPDK_ASYNC_DEFAULT;
    async->override_string = NULL;
    async->unknown_string = NULL;
    async->shown = NULL;
    async->unfit = NULL;
    async->rx_override = NETDEV_DPDK_ASYNC_DEFAULT;
    async->rx_override_string = NULL;
    async->extbuf = async->compliant = false;
    vhost_async_port_init(&async->port, netdev_get_name(netdev), tx_retries);
}

/* The netdev is about to be registered with the vhost library, by 'path' and
 * with 'flags' (rte_vhost_driver_register()).  A guest whose memory the
 * library itself sees in pieces stays with it. */
void
netdev_dpdk_async_register(struct netdev_dpdk_async *async, const char *path,
                           uint64_t flags)
{
    async->unfit = (flags & RTE_VHOST_USER_IOMMU_SUPPORT
                    ? "other_config:vhost-iommu-support is true"
                    : flags & RTE_VHOST_USER_POSTCOPY_SUPPORT
                    ? "other_config:vhost-postcopy-support is true"
                    : !strncmp(path, "/dev/vduse/", 11)
                    ? "it is a VDUSE device" : NULL);
    /* It may be registered anew (OVS 3.5 and later): the library does not tell
     * then that guests are gone. */
    vhost_async_guest_forget_port(&async->port);
    async->extbuf = flags & RTE_VHOST_USER_EXTBUF_SUPPORT;
    async->compliant = flags & RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
    vhost_async_port_set_path(&async->port, path);
    async_update_wanted(async);
}

/* Frees what 'async' holds.  The vhost library must have forgotten the
 * port. */
void
netdev_dpdk_async_free(struct netdev_dpdk_async *async)
{
    vhost_async_guest_forget_port(&async->port);
    vhost_async_port_destroy(&async->port);
    free(async->override_string);
    free(async->rx_override_string);
    free(async->unknown_string);
    dpdk_dma_dev_wake();
}

/* A dpdkvhostuser port takes no option but ours: warns of another one, as it
 * is warned of on a port that takes none (netdev_set_config()). */
static void
async_check_options(struct netdev_dpdk_async *async, const struct smap *args)
{
    const char *unknown = NULL;
    struct smap_node *node;

    if (strcmp(netdev_get_type(async->netdev), "dpdkvhostuser")) {
        return;
    }
    SMAP_FOR_EACH (node, args) {
        /* Of several always the same one, whatever their order. */
        if (strcmp(node->key, "vhost-async")
            && strcmp(node->key, "vhost-async-rx")
            && (!unknown || strcmp(node->key, unknown) < 0)) {
            unknown = node->key;
        }
    }
    if (config_changed(&async->unknown_string, unknown) && unknown) {
        VLOG_WARN("%s: options:%s is not an option of a dpdkvhostuser port; "
                  "it is ignored.", netdev_get_name(async->netdev), unknown);
    }
}

/* Takes 'args' option 'key' of the interface into '*override', unless it is
 * '*stored', as it was: the bridge asks for this whenever anything in the
 * database changes. */
static void
async_set_override(const struct netdev_dpdk_async *async,
                   const struct smap *args, const char *key, char **stored,
                   enum netdev_dpdk_async_override *override)
{
    const char *value = smap_get(args, key);
    bool on;

    if (!config_changed(stored, value)) {
        return;
    }
    *override = NETDEV_DPDK_ASYNC_DEFAULT;
    if (value) {
        if (parse_bool(value, &on)) {
            *override = on ? NETDEV_DPDK_ASYNC_ON : NETDEV_DPDK_ASYNC_OFF;
        } else {
            VLOG_WARN("%s: options:%s: \"%s\" is neither \"true\" nor "
                      "\"false\"; it is ignored.",
                      netdev_get_name(async->netdev), key, value);
        }
    }
}

/* Takes options:vhost-async and options:vhost-async-rx of the interface.  Main
 * thread. */
void
netdev_dpdk_async_set_config(struct netdev_dpdk_async *async,
                             const struct smap *args)
{
    async_check_options(async, args);
    async_set_override(async, args, "vhost-async", &async->override_string,
                       &async->override);
    async_set_override(async, args, "vhost-async-rx",
                       &async->rx_override_string, &async->rx_override);
    async_update_wanted(async);
}

/* A guest connected as 'vid'.  A callback of the library; returns 0. */
int
netdev_dpdk_async_new_connection(int vid)
{
    struct vhost_async_port *port;
    char path[PATH_MAX];

    if (rte_vhost_get_ifname(vid, path, sizeof path)) {
        return 0;
    }
    ovs_mutex_lock(&vhost_async_ports_mutex);
    LIST_FOR_EACH (port, list_node, &vhost_async_ports) {
        if (vhost_async_port_has_path(port, path)) {
            vhost_async_guest_connect(vid, port);
        }
    }
    ovs_mutex_unlock(&vhost_async_ports_mutex);
    return 0;
}

/* Device 'vid' is ready.  To be called before anybody sends to it. */
void
netdev_dpdk_async_new_device(int vid)
{
    vhost_async_guest_new_device(vid);
}

/* Device 'vid' is about to go, or to be set up anew: waits until nothing is in
 * flight to it, as long as an engine may take.  Without a lock. */
void
netdev_dpdk_async_destroy_device(int vid)
{
    vhost_async_guest_destroy_device(vid);
}

/* The guest that was connected as 'vid' is gone. */
void
netdev_dpdk_async_destroy_connection(int vid)
{
    vhost_async_guest_disconnect(vid);
}

/* Sending. */

/* Has the library send, if the ring of 'txq' is still its.  Who takes it over
 * has the lock of 'txq' for that, and does not wait for it: the library's own
 * locks, which this waits for with that lock held, are those of whoever
 * handles a message, who waits for the one that takes over. */
static bool
async_send_by_library(struct vhost_async_txq *txq, int vid, uint16_t vring,
                      struct rte_mbuf **pkts, uint16_t cnt, uint16_t *n)
{
    bool is_library;

    if (!vhost_async_vq_lock_unless_closed(&txq->vq)) {
        return false;
    }
    is_library = vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_LIBRARY;
    if (is_library) {
        *n = rte_vhost_enqueue_burst(vid, vring, pkts, cnt);
    }
    vhost_async_engine_unlock(NULL, txq);
    return is_library;
}

/* The part of netdev_dpdk_async_enqueue() for a port that is on DMA, or was
 * when its guest connected. */
uint16_t
netdev_dpdk_async_send(struct netdev_dpdk_async *async, int vid,
                       uint16_t vring, struct rte_mbuf **pkts, uint16_t cnt,
                       unsigned int retries)
{
    struct vhost_async_txq *txq = vhost_async_port_txq(&async->port,
                                                       vring / 2);
    struct vhost_async_thread *self = *vhost_async_self_get();
    uint16_t n = 0;

    if (OVS_UNLIKELY(!txq)) {
        /* The guest has not set it up. */
        return 0;
    }
    if (OVS_UNLIKELY(vhost_async_vq_state(&txq->vq) == VHOST_ASYNC_VQ_LIBRARY)
        && !vhost_async_guest_take_over(&async->port, &txq->vq)
        && async_send_by_library(txq, vid, vring, pkts, cnt, &n)) {
        return n;
    }
    if (OVS_UNLIKELY(!self)) {
        return vhost_async_engine_send(NULL, txq, pkts, cnt, retries);
    }
    n = vhost_async_engine_send(&self->sender, txq, pkts, cnt, retries);
    vhost_async_thread_sent(self);
    return n;
}

/* Receiving. */

/* Has the library receive, whose ring it still is, and takes that over: then
 * its index is what follows what it received. */
static uint16_t
async_receive_by_library(struct netdev_dpdk_async *async,
                         struct vhost_async_rxq *rxq, int vid, uint16_t vring,
                         struct rte_mempool *mp, struct rte_mbuf **pkts,
                         uint16_t cnt)
{
    uint16_t n = rte_vhost_dequeue_burst(vid, vring, mp, pkts, cnt);

    vhost_async_guest_take_over(&async->port, &rxq->vq);
    return n;
}

/* The part of netdev_dpdk_async_dequeue() for a port that is on DMA, or was
 * when its guest connected. */
uint16_t
netdev_dpdk_async_receive(struct netdev_dpdk_async *async, int vid,
                          uint16_t vring, struct rte_mempool *mp,
                          struct rte_mbuf **pkts, uint16_t cnt)
{
    struct vhost_async_rxq *rxq = vhost_async_port_rxq(&async->port,
                                                       vring / 2);
    const struct vhost_async_rx_mode mode = {
        .mp = mp,
        .extbuf = async->extbuf,
        .compliant = async->compliant,
    };
    struct vhost_async_thread *self;
    struct dpdk_dma_chan *chan;
    uint64_t submitted, fetched;
    uint16_t n;

    if (!rxq) {
        return rte_vhost_dequeue_burst(vid, vring, mp, pkts, cnt);
    }
    if (OVS_UNLIKELY(vhost_async_vq_state(&rxq->vq)
                     == VHOST_ASYNC_VQ_LIBRARY)) {
        return async_receive_by_library(async, rxq, vid, vring, mp, pkts, cnt);
    }
    self = *vhost_async_self_get();
    chan = self ? self->sender.chan : NULL;
    if (!chan) {
        return vhost_async_rxq_recv(rxq, self ? &self->sender : NULL, &mode,
                                    pkts, cnt);
    }
    submitted = dpdk_dma_chan_submitted(chan);
    fetched = vhost_async_counter(&self->sender.stats.rx_dma_packets);
    n = vhost_async_rxq_recv(rxq, &self->sender, &mode, pkts, cnt);
    if (dpdk_dma_chan_submitted(chan) != submitted) {
        vhost_async_thread_sent(self);
        self->n_fetched += vhost_async_counter(
            &self->sender.stats.rx_dma_packets) - fetched;
        if (!n) {
            /* To who polls, nothing happened. */
            self->reap_cycles += (rte_get_tsc_cycles()
                                  - self->sender.rx_began);
        }
    }
    return n;
}

/* Returns the fill level of virtqueue 'vring' of device 'vid', as
 * rte_vhost_rx_queue_count() does, after a burst that was full.  Who has rings
 * of ours does not ask the library, which waits for the locks of rings (22.11
 * to 25.11): who handles a message has them, and may itself wait for copies of
 * this thread.
 *
 * The thread that polls the rxq. */
uint32_t
netdev_dpdk_async_rx_count(const struct netdev_dpdk_async *async, int vid,
                           uint16_t vring)
{
    const struct vhost_async_rxq *rxq;

    if (!netdev_dpdk_async_has_rings(async)) {
        return rte_vhost_rx_queue_count(vid, vring);
    }
    rxq = vhost_async_port_rxq(&async->port, vring / 2);
    return rxq ? rxq->n_offered : 0;
}
