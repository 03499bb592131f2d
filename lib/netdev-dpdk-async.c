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

/* Implementation of netdev-dpdk-async.h.
 *
 * Which thread runs what: configuration, status and statistics are the main
 * thread's; new_device, destroy_device and the handlers of messages are called
 * back by the vhost library's thread, destroy_device also by the main thread
 * when that ends a connection, vring_changed by OVS's own thread for vhost
 * events; sending is any thread's.  What protects which data is said in the
 * header. */

#include <config.h>

#include "netdev-dpdk-async.h"
#include "netdev-dpdk-async-migrate.h"

#include <errno.h>

#include <rte_mbuf.h>
#include <rte_vhost.h>

#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "netdev-provider.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "smap.h"
#include "timeval.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-message.h"
#include "vhost-async-txq.h"

VLOG_DEFINE_THIS_MODULE(netdev_dpdk_async);

#define MAX_TXQS NETDEV_DPDK_ASYNC_MAX_TXQS

/* Copies below it are done by CPU.  What is in the cache of the core costs it
 * least: there DMA is cheaper from 800 bytes on in bursts of 32, from 1600 in
 * bursts of 4; elsewhere, from 300 on (dev/bench.py). */
#define DEFAULT_THRESHOLD 1024

/* Bounds of vhost-async-timeout, in milliseconds.  A software engine can wait
 * for its core for some milliseconds, and vswitchd answers nobody while it
 * waits for an engine. */
#define MIN_TIMEOUT_MS 10
#define MAX_TIMEOUT_MS 10000

/* What the operator wants; the main thread's, but for 'threshold'. */
static struct {
    bool enabled;               /* vhost-async-support. */
    bool iommu;                 /* vhost-iommu-support. */
    bool postcopy;              /* vhost-postcopy-support. */
    char *support_string;       /* As in the database, for warnings. */
    char *threshold_string;
    char *timeout_string;
    atomic_uint32_t threshold;
} config = {
    .threshold = ATOMIC_VAR_INIT(DEFAULT_THRESHOLD),
};

static struct ovs_mutex ports_mutex = OVS_MUTEX_INITIALIZER;
/* All vhost ports. */
static struct ovs_list ports OVS_GUARDED_BY(ports_mutex)
    = OVS_LIST_INITIALIZER(&ports);

/* Protects the state of all ports' connections; see the header. */
static struct ovs_mutex state_mutex = OVS_MUTEX_INITIALIZER;

/* Devices of ports on DMA, for callbacks of the library that get to know no
 * more than their number.  1024 are its limit (RTE_MAX_VHOST_DEVICE, 22.11).
 * Set when a guest connects, before its first message, by whichever thread
 * calls netdev_dpdk_async_new_connection(); from then on the thread's of the
 * library alone. */
static struct {
    ATOMIC(struct netdev_dpdk_async *) async;
    struct vhost_async_rings rings;
} devices[1024];

static struct vhost_async_txq *
async_txq(const struct netdev_dpdk_async *async, int qid)
{
    return async->txqs ? ovsrcu_get(struct vhost_async_txq *,
                                    &async->txqs[qid]) : NULL;
}

/* Returns the first txq that exists from number 'qid' on, or NULL. */
static struct vhost_async_txq *
async_next_txq(const struct netdev_dpdk_async *async, int qid)
{
    for (; async->txqs && qid < MAX_TXQS; qid++) {
        struct vhost_async_txq *txq = async_txq(async, qid);

        if (txq) {
            return txq;
        }
    }
    return NULL;
}

#define ASYNC_FOR_EACH_TXQ(TXQ, ASYNC)                                  \
    for (TXQ = async_next_txq(ASYNC, 0); TXQ;                           \
         TXQ = async_next_txq(ASYNC, TXQ->qid + 1))

/* Configuration. */

/* Returns true if 'value' is "true" or "false", the value in '*result'. */
static bool
parse_bool(const char *value, bool *result)
{
    if (!strcmp(value, "true") || !strcmp(value, "false")) {
        *result = !strcmp(value, "true");
        return true;
    }
    return false;
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

static void
configure_support(const struct smap *other_config)
{
    const char *value = smap_get(other_config, "vhost-async-support");

    if (!config_changed(&config.support_string, value)) {
        return;
    }
    if (!value || !parse_bool(value, &config.enabled)) {
        config.enabled = false;
    }
    if (value && !parse_bool(value, &config.enabled)) {
        VLOG_WARN("other_config:vhost-async-support: \"%s\" is neither "
                  "\"true\" nor \"false\"; \"false\" is used.", value);
    }
    VLOG_INFO("Copying to vhost ports by DMA is %s (completion engine: %s).",
              config.enabled ? "enabled" : "disabled", VHOST_ASYNC_ENGINE);
    if (config.enabled && (config.iommu || config.postcopy)) {
        VLOG_WARN("dpdkvhostuserclient ports are copied to by CPU: "
                  "other_config:vhost-%s-support is true.",
                  config.iommu ? "iommu" : "postcopy");
    }
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
    unsigned int threshold = DEFAULT_THRESHOLD;

    if (!config_changed(&config.threshold_string, value)) {
        return;
    }
    if (value && !parse_number(value, &threshold)) {
        threshold = DEFAULT_THRESHOLD;
        VLOG_WARN("other_config:vhost-async-threshold: \"%s\" is not a number "
                  "of bytes; %u is used.", value, threshold);
    }
    atomic_store_relaxed(&config.threshold, threshold);
    VLOG_INFO("Packets below %u bytes are copied to vhost ports by CPU.",
              threshold);
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

/* Why no port of the kind ('client' or server) can be on DMA, or NULL. */
static const char *
async_refusal(const struct netdev_dpdk_async *async, bool client)
{
    if (async->migrating) {
        return "being migrated (netdev-dpdk/vhost-async-migrate)";
    } else if (!config.enabled) {
        return "other_config:vhost-async-support is false";
    } else if (async->override == NETDEV_DPDK_ASYNC_OFF) {
        return "options:vhost-async is false";
    } else if (client && config.iommu) {
        return "other_config:vhost-iommu-support is true";
    } else if (client && config.postcopy) {
        return "other_config:vhost-postcopy-support is true";
    } else if (!dpdk_dma_dev_n_channels()) {
        return "there is no DMA channel";
    }
    return NULL;
}

/* The flags are set by several threads and tell each a fact by itself: nothing
 * is ordered by them. */
static bool
flag_get(const atomic_bool *flag)
{
    bool value;

    atomic_read_relaxed(CONST_CAST(atomic_bool *, flag), &value);
    return value;
}

static bool
async_needs_reconnect(const struct netdev_dpdk_async *async)
{
    bool wanted = !async_refusal(async, async->client);

    return wanted != (async->txqs != NULL) || flag_get(&async->stuck);
}

/* Has the port reconfigured, if what is wanted of it changed. */
static void
async_update_wanted(struct netdev_dpdk_async *async)
{
    bool wanted = !async_refusal(async, async->client);

    if (wanted != async->wanted) {
        async->wanted = wanted;
        netdev_request_reconfigure(async->netdev);
    }
}

static void
ports_update_wanted(void)
{
    struct netdev_dpdk_async *async;

    ovs_mutex_lock(&ports_mutex);
    LIST_FOR_EACH (async, list_node, &ports) {
        async_update_wanted(async);
    }
    ovs_mutex_unlock(&ports_mutex);
}

/* Takes the keys of other_config that concern DMA.  Wrong values are warned
 * of and replaced by the defaults.  Ports that change sides reconnect to
 * their guests in their next reconfiguration.
 *
 * Main thread, once DPDK is initialized.  When 'enabled' or the explicit map
 * change, PMD threads must reload: see dpif_netdev_dma_set_config(). */
void
netdev_dpdk_async_configure(const struct smap *other_config)
{
    bool was_enabled = config.enabled;

    configure_threshold(other_config);
    configure_timeout(other_config);
    configure_support(other_config);
    if (config.enabled) {
        if (!was_enabled && !dpdk_dma_dev_start_all()) {
            VLOG_WARN("other_config:vhost-async-support is true, but there is "
                      "no DMA channel; add a DMA device, for instance by "
                      "other_config:dpdk-extra.");
        }
        configure_pins(other_config);
    }
    ports_update_wanted();
}

/* Notes that 'iommu' or 'postcopy' support was asked for: the vhost library
 * refuses both on a port that is on DMA (rte_vhost_driver_register(), 22.11),
 * and protection comes before speed.  Main thread, while DPDK is
 * initialized. */
void
netdev_dpdk_async_set_protection(bool iommu, bool postcopy)
{
    config.iommu = iommu;
    config.postcopy = postcopy;
}

bool
netdev_dpdk_async_is_enabled(void)
{
    return config.enabled;
}

uint32_t
netdev_dpdk_async_threshold(void)
{
    uint32_t threshold;

    atomic_read_relaxed(&config.threshold, &threshold);
    return threshold;
}

/* Ports. */

/* Prepares 'async', zeroed but for what netdev_dpdk_async_driver_flags() set,
 * of 'netdev'.  'vid' is where the netdev keeps its device, 'tx_retries' where
 * it keeps tx-retries-max. */
void
netdev_dpdk_async_init(struct netdev_dpdk_async *async, struct netdev *netdev,
                       const ovsrcu_index *vid, atomic_uint8_t *tx_retries)
{
    ovs_mutex_init(&async->mutex);
    async->netdev = netdev;
    async->vid = vid;
    atomic_init(&async->stuck, false);
    async->tx_retries = tx_retries;
    async->connection = -1;
    async->owner = -1;

    ovs_mutex_lock(&ports_mutex);
    ovs_list_push_back(&ports, &async->list_node);
    ovs_mutex_unlock(&ports_mutex);
}

/* Unregisters the driver of a port that no thread uses, by whose callback the
 * guest's device is drained.  In that callback nobody is waited for, since the
 * main thread holds locks that others want. */
static void
async_unregister_driver(struct netdev_dpdk_async *async, const char *path)
{
    bool destroying;

    ovs_mutex_lock(&state_mutex);
    async->reconnecting = true;
    destroying = async->destroying;
    ovs_mutex_unlock(&state_mutex);

    /* If the guest is just leaving, the library's thread waits for a grace
     * period, and unregistering waits for that thread. */
    if (destroying) {
        ovsrcu_quiesce_start();
    }
    rte_vhost_driver_unregister(path);
    if (destroying) {
        ovsrcu_quiesce_end();
    }

    ovs_mutex_lock(&state_mutex);
    async->reconnecting = false;
    async->connection = -1;
    async->owner = -1;
    async->again = false;
    ovs_mutex_unlock(&state_mutex);
}

/* The netdev, whose socket is 'path', is about to be destructed.  If it is on
 * DMA, unregisters it from the vhost library, while callbacks of that still
 * find it, and returns true.  Otherwise that is left to the caller.  To be
 * followed by netdev_dpdk_async_free().  Main thread. */
bool
netdev_dpdk_async_uninit(struct netdev_dpdk_async *async, const char *path)
{
    bool unregister = async->txqs && path;

    if (unregister) {
        async_unregister_driver(async, path);
    }
    ovs_mutex_lock(&ports_mutex);
    ovs_list_remove(&async->list_node);
    ovs_mutex_unlock(&ports_mutex);
    /* Who finds ports does so under a lock that this waits for. */
    netdev_dpdk_async_migrate_forget(async);
    return unregister;
}

/* Adds the counters of 'txq' to '*t', since they were cleared or ever. */
static void
add_totals(struct netdev_dpdk_async_totals *t,
           const struct vhost_async_txq *txq, bool since_clear)
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
    ADD(busy_drops);
    ADD(stuck_drops);
    ADD(lost_drops);
    ADD(ring_full_drops);
    ADD(ring_lost_drops);
#undef ADD
    t->in_flight += vhost_async_txq_in_flight(txq);
    t->waiting += vhost_async_engine_txq_waiting(txq);
}

static void
async_free_txqs(struct netdev_dpdk_async *async)
{
    struct vhost_async_txq *txq;

    ovs_mutex_lock(&async->mutex);
    for (int qid = 0; async->txqs && qid < MAX_TXQS; qid++) {
        txq = async_txq(async, qid);
        if (txq) {
            vhost_async_engine_txq_stop(txq);
            add_totals(&async->gone, txq, false);
            vhost_async_txq_destroy(txq);
        }
    }
    ovs_mutex_unlock(&async->mutex);
    free(async->txqs);
    async->txqs = NULL;
}

/* Frees what 'async' holds.  The vhost library must have forgotten the
 * port. */
void
netdev_dpdk_async_free(struct netdev_dpdk_async *async)
{
    async_free_txqs(async);
    free(async->path);
    free(async->override_string);
    ovs_mutex_destroy(&async->mutex);
}

/* Takes options:vhost-async of the interface.  Main thread. */
void
netdev_dpdk_async_set_config(struct netdev_dpdk_async *async,
                             const struct smap *args)
{
    const char *value = smap_get(args, "vhost-async");
    enum netdev_dpdk_async_override override = NETDEV_DPDK_ASYNC_DEFAULT;
    /* The bridge calls this whenever anything in the database changes. */
    bool changed = config_changed(&async->override_string, value);
    bool on;

    if (value) {
        if (parse_bool(value, &on)) {
            override = on ? NETDEV_DPDK_ASYNC_ON : NETDEV_DPDK_ASYNC_OFF;
        } else if (changed) {
            VLOG_WARN("%s: options:vhost-async: \"%s\" is neither \"true\" "
                      "nor \"false\"; it is ignored.",
                      netdev_get_name(async->netdev), value);
        }
    }
    async->override = override;
    async_update_wanted(async);
}

/* Returns the flags to add for rte_vhost_driver_register() with 'path', and
 * puts the port on DMA accordingly.  Main thread, while no thread uses the
 * port. */
uint64_t
netdev_dpdk_async_driver_flags(struct netdev_dpdk_async *async, bool client,
                               const char *path)
{
    async->client = client;
    ovs_mutex_lock(&ports_mutex);
    free(async->path);
    async->path = xstrdup(path);
    ovs_mutex_unlock(&ports_mutex);

    async->wanted = !async_refusal(async, client);
    if (!async->wanted) {
        return 0;
    }
    if (!async->txqs) {
        async->txqs = xcalloc(MAX_TXQS, sizeof *async->txqs);
    }
    return RTE_VHOST_USER_ASYNC_COPY;
}

/* Whether the port can be taken from its guest now.  A port in server mode
 * cannot call its guest back, so it waits for it to leave; and while a guest
 * is leaving the library's thread may be waiting for this one.  In both cases
 * another reconfiguration is asked for when that is over. */
static bool
async_can_reconnect(struct netdev_dpdk_async *async)
{
    bool can;

    ovs_mutex_lock(&state_mutex);
    can = !async->destroying
          && (async->client || async->connection < 0
              || flag_get(&async->stuck));
    async->again = !can;
    ovs_mutex_unlock(&state_mutex);
    return can;
}

/* Unregisters the port from the vhost library if it must be registered anew,
 * to get on DMA, off it, or out of a txq that is stuck, and returns true if
 * so.  Main thread, while no thread uses the port and without the mutex of the
 * netdev. */
bool
netdev_dpdk_async_reconnect(struct netdev_dpdk_async *async)
{
    if (!async->path || !async_needs_reconnect(async)
        || !async_can_reconnect(async)) {
        return false;
    }
    VLOG_INFO("%s: reconnecting to the guest to copy by %s.",
              netdev_get_name(async->netdev),
              async_refusal(async, async->client) ? "CPU" : "DMA");
    async_unregister_driver(async, async->path);
    async_free_txqs(async);
    atomic_store_relaxed(&async->stuck, false);
    return true;
}

/* Devices. */

/* Whether the library holds the locks of all virtqueues of the device while it
 * handles a message (vhost_user_msg_handler(), 22.11). */
static bool
request_is_locked(uint32_t request)
{
    switch (request) {
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_SET_OWNER:
    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_SET_LOG_BASE:
    case VHOST_ASYNC_SET_LOG_FD:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_KICK:
    case VHOST_ASYNC_SET_VRING_CALL:
    case VHOST_ASYNC_SET_VRING_ERR:
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
    case VHOST_ASYNC_SET_VRING_ENABLE:
        return true;
    default:
        return false;
    }
}

static struct netdev_dpdk_async *
async_by_vid(int vid)
{
    struct netdev_dpdk_async *async = NULL;

    if (vid >= 0 && vid < ARRAY_SIZE(devices)) {
        atomic_read_relaxed(&devices[vid].async, &async);
    }
    return async;
}

static void
async_set_vid(struct netdev_dpdk_async *async, int vid)
{
    if (vid >= 0 && vid < ARRAY_SIZE(devices)) {
        atomic_store_relaxed(&devices[vid].async, async);
    }
}

/* The socket of a port in server mode takes any number of connections, and the
 * library would let each become the port's device while copies to the one
 * before are in flight.  So a port on DMA has one guest at a time: the one
 * whose device it has; without a device, the one that sent the last message.
 * Returns true if that is 'vid', which sends one. */
static bool
async_own(struct netdev_dpdk_async *async, int vid)
{
    int device = ovsrcu_index_get(async->vid);
    bool own;

    ovs_mutex_lock(&state_mutex);
    if (async->owner != vid && (device == vid || device < 0)
        && (async->owner < 0 || !async->destroying)) {
        async->owner = vid;
        async->connection = vid;
    }
    own = async->owner == vid;
    ovs_mutex_unlock(&state_mutex);
    return own;
}

static bool
async_owns(const struct netdev_dpdk_async *async, int vid)
{
    bool owns;

    ovs_mutex_lock(&state_mutex);
    owns = vid >= 0 && async->owner == vid;
    ovs_mutex_unlock(&state_mutex);
    return owns;
}

static enum rte_vhost_msg_result
async_refuse(const struct netdev_dpdk_async *async, int vid, void *msg,
             const char *why)
{
    static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 20);

    VLOG_WARN_RL(&rl, "%s: message %"PRIu32" of the guest (device %d) is "
                 "refused: %s.", netdev_get_name(async->netdev),
                 vhost_async_message_request(msg), vid, why);
    vhost_async_message_close_fds(msg);
    return RTE_VHOST_MSG_RESULT_ERR;
}

/* Called by the vhost library for each message of the guest before it looks
 * at it.  What the library does not stand is refused, see
 * vhost-async-message.h.
 *
 * Nothing is in flight to the device when the library handles a message, and
 * all virtqueues stay locked until it is done.  So memory is never unmapped
 * under a copy (SET_MEM_TABLE), no descriptor is forgotten (SET_VRING_ENABLE,
 * which with 0 would have packets in flight vanish and with 1 would fail), and
 * the arrays that the library sized when the queue was registered fit
 * (SET_VRING_NUM, SET_FEATURES; the queue is registered again when it is next
 * enabled).
 *
 * When an engine does not finish, the message is refused and memory stays.
 * That ends the connection in netdev_dpdk_async_destroy_device(), which may
 * wait for the engine to be stopped, unless the guest asked for an answer: so
 * the port connects again by itself.
 *
 * The mutex of the port is not taken, since elsewhere it is held when locks
 * of the library are taken. */
static enum rte_vhost_msg_result
async_pre_message(int vid, void *msg)
{
    uint32_t request = vhost_async_message_request(msg);
    struct netdev_dpdk_async *async = async_by_vid(vid);
    struct vhost_async_txq *txq;
    const char *why;

    if (!async) {
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    }
    why = (async_own(async, vid)
           ? vhost_async_message_check(vid, msg, &devices[vid].rings)
           : "another guest is connected");
    if (why) {
        return async_refuse(async, vid, msg, why);
    }
    if (!request_is_locked(request)) {
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    }

    ASYNC_FOR_EACH_TXQ (txq, async) {
        if (!vhost_async_txq_drain_locked(
                txq, vid, dpdk_dma_dev_timeout_ms() * 1000)) {
            vhost_async_txq_quarantine(txq, vid, true);
            netdev_dpdk_async_txq_stuck(txq);
            return async_refuse(async, vid, msg,
                                "copies in flight do not complete");
        }
        if (vhost_async_message_resets(vid, msg, txq->vring)) {
            vhost_async_txq_unregister_locked(txq, vid);
        }
    }
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* Called by the vhost library for each message that neither
 * async_pre_message() nor it refused. */
static enum rte_vhost_msg_result
async_post_message(int vid, void *msg)
{
    if (async_by_vid(vid)) {
        vhost_async_message_accepted(msg, &devices[vid].rings);
    }
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops async_extern_ops = {
    .pre_msg_handle = async_pre_message,
    .post_msg_handle = async_post_message,
};

static void
async_register_txq(struct netdev_dpdk_async *async, int vid, int qid)
    OVS_REQUIRES(async->mutex)
{
    struct vhost_async_txq *txq = async_txq(async, qid);

    if (!txq) {
        txq = vhost_async_txq_create(qid, async);
        ovsrcu_set(&async->txqs[qid], txq);
    }
    vhost_async_txq_register(txq, vid);
}

/* Has the messages of 'vid' looked at, from the first one on. */
static void
async_watch(struct netdev_dpdk_async *async, int vid)
{
    if (vid < ARRAY_SIZE(devices)
        && !rte_vhost_extern_callback_register(vid, &async_extern_ops,
                                               NULL)) {
        memset(&devices[vid].rings, 0, sizeof devices[vid].rings);
        async_set_vid(async, vid);
    }
}

/* A guest connected as 'vid'.  A callback of the library; returns 0. */
int
netdev_dpdk_async_new_connection(int vid)
{
    struct netdev_dpdk_async *async;
    char path[PATH_MAX];

    if (rte_vhost_get_ifname(vid, path, sizeof path)) {
        return 0;
    }
    ovs_mutex_lock(&ports_mutex);
    LIST_FOR_EACH (async, list_node, &ports) {
        if (nullable_string_is_equal(async->path, path)) {
            ovs_mutex_lock(&state_mutex);
            if (async->owner < 0) {
                async->connection = vid;
            }
            ovs_mutex_unlock(&state_mutex);
            if (async->txqs) {
                async_watch(async, vid);
            }
        }
    }
    ovs_mutex_unlock(&ports_mutex);
    return 0;
}

/* The guest's device 'vid' is ready: registers its txqs.  Those that the
 * guest has not set up yet follow in netdev_dpdk_async_vring_changed(). */
void
netdev_dpdk_async_new_device(struct netdev_dpdk_async *async, int vid)
{
    if (!async->txqs) {
        return;
    }
    if (async_by_vid(vid) != async || !async_own(async, vid)) {
        VLOG_WARN("%s: device %d stays on CPU copy: its messages cannot be "
                  "watched.", netdev_get_name(async->netdev), vid);
        return;
    }

    ovs_mutex_lock(&async->mutex);
    for (int qid = 0; qid < rte_vhost_get_vring_num(vid) / 2; qid++) {
        async_register_txq(async, vid, qid);
    }
    ovs_mutex_unlock(&async->mutex);
}

/* The guest enabled or disabled txq 'qid' of 'vid'.  Called from OVS's thread
 * for vhost events, under the mutex of the netdev, which holds off
 * destroy_device(). */
void
netdev_dpdk_async_vring_changed(struct netdev_dpdk_async *async, int vid,
                                int qid, bool enabled)
{
    if (qid < 0 || qid >= MAX_TXQS) {
        return;
    }
    ovs_mutex_lock(&async->mutex);
    bitmap_set(async->enabled, qid, enabled);
    if (enabled && async->txqs && async_owns(async, vid)) {
        async_register_txq(async, vid, qid);
    }
    ovs_mutex_unlock(&async->mutex);
}

/* Waits for all txqs together no longer than for one. */
static bool
async_drain(struct netdev_dpdk_async *async, int vid)
    OVS_REQUIRES(async->mutex)
{
    unsigned int left_us = dpdk_dma_dev_timeout_ms() * 1000;
    struct vhost_async_txq *txq;
    bool drained = true;

    ASYNC_FOR_EACH_TXQ (txq, async) {
        if (vhost_async_txq_is_registered(txq)) {
            long long int start = time_usec(), spent;

            if (!vhost_async_txq_drain(txq, vid, left_us)) {
                vhost_async_txq_quarantine(txq, vid, false);
                drained = false;
            }
            spent = time_usec() - start;
            left_us -= MIN(left_us, spent);
        }
    }
    return drained;
}

static void
async_abandon(struct netdev_dpdk_async *async, struct vhost_async_txq *txq)
{
    unsigned int n = vhost_async_txq_abandon(txq);

    VLOG_ERR("%s: txq %"PRIu16": %u packet(s) lost in flight on a DMA channel "
             "that failed.", netdev_get_name(async->netdev), txq->qid, n);
    /* The library still counts them, so that the virtqueue is of no more use
     * before the guest connects again. */
    atomic_store_relaxed(&txq->registered, false);
    netdev_dpdk_async_txq_stuck(txq);
}

/* The guest's device is about to be destroyed.  Returns true if the caller is
 * to let a grace period pass before netdev_dpdk_async_destroy_device().  Not
 * so if the port itself ends the connection: no thread uses it then.
 *
 * Under the mutex of the netdev, by whichever thread runs the callback. */
bool
netdev_dpdk_async_destroy_begin(struct netdev_dpdk_async *async)
{
    bool wait;

    ovs_mutex_lock(&async->mutex);
    bitmap_set_multiple(async->enabled, 0, MAX_TXQS, false);
    ovs_mutex_unlock(&async->mutex);

    ovs_mutex_lock(&state_mutex);
    async->destroying = true;
    wait = !async->reconnecting;
    ovs_mutex_unlock(&state_mutex);
    return wait;
}

/* The guest's device 'vid' is about to go, or to be set up anew: waits until
 * nothing is in flight to it.  Engines that do not finish are stopped first,
 * so that in any case memory of the guest is not written to and its
 * virtqueues are not looked at after the return.
 *
 * No thread may be able to send to 'vid' any more: a grace period has passed
 * since it was unset, or no thread uses the port. */
void
netdev_dpdk_async_destroy_device(struct netdev_dpdk_async *async, int vid)
{
    struct vhost_async_txq *txq;
    bool again;

    if (async->txqs) {
        bool drained;

        ovs_mutex_lock(&async->mutex);
        drained = async_drain(async, vid);
        ovs_mutex_unlock(&async->mutex);

        if (!drained) {
            dpdk_dma_dev_quarantine_wait();
        }

        ovs_mutex_lock(&async->mutex);
        ASYNC_FOR_EACH_TXQ (txq, async) {
            vhost_async_engine_txq_stop(txq);
            if (vhost_async_txq_in_flight(txq)) {
                async_abandon(async, txq);
            } else {
                vhost_async_txq_unregister(txq, vid);
            }
        }
        ovs_mutex_unlock(&async->mutex);
    }

    ovs_mutex_lock(&state_mutex);
    async->destroying = false;
    again = async->again && async->client;
    ovs_mutex_unlock(&state_mutex);
    if (again) {
        netdev_request_reconfigure(async->netdev);
    }
}

/* The guest that was connected as 'vid' is gone.  Called by the thread of the
 * vhost library. */
void
netdev_dpdk_async_disconnected(struct netdev_dpdk_async *async, int vid)
{
    bool again;

    async_set_vid(NULL, vid);
    ovs_mutex_lock(&state_mutex);
    if (async->connection == vid) {
        async->connection = -1;
    }
    if (async->owner == vid) {
        async->owner = -1;
    }
    again = async->again;
    ovs_mutex_unlock(&state_mutex);
    if (again) {
        netdev_request_reconfigure(async->netdev);
    }
}

/* Marks 'txq' as stuck: its packets are dropped until the guest has connected
 * again, which is asked for here.  Any thread. */
void
netdev_dpdk_async_txq_stuck(struct vhost_async_txq *txq)
{
    struct netdev_dpdk_async *async = txq->port;

    atomic_store_relaxed(&txq->stuck, true);
    atomic_store_relaxed(&async->stuck, true);
    netdev_request_reconfigure(async->netdev);
}

/* Migration of a guest. */

/* Returns the vhost port that is called 'name', or NULL.  Main thread. */
struct netdev_dpdk_async *
netdev_dpdk_async_find(const char *name)
{
    struct netdev_dpdk_async *async, *found = NULL;

    ovs_mutex_lock(&ports_mutex);
    LIST_FOR_EACH (async, list_node, &ports) {
        if (!strcmp(netdev_get_name(async->netdev), name)) {
            found = async;
        }
    }
    ovs_mutex_unlock(&ports_mutex);
    return found;
}

/* Keeps the port off DMA, or no longer.  It reconnects to its guest for that
 * in its next reconfiguration.  Main thread. */
void
netdev_dpdk_async_set_migrating(struct netdev_dpdk_async *async,
                                bool migrating)
{
    async->migrating = migrating;
    async_update_wanted(async);
    /* For the status of the interface. */
    netdev_change_seq_changed(async->netdev);
}

/* Why the port is not to be on DMA, or NULL if it is.  Main thread. */
const char *
netdev_dpdk_async_refusal(const struct netdev_dpdk_async *async)
{
    return async_refusal(async, async->client);
}

/* Whether the port is where it is to be, by DMA or by CPU.  Main thread. */
bool
netdev_dpdk_async_is_settled(const struct netdev_dpdk_async *async)
{
    return !async_needs_reconnect(async);
}

/* Looks what there is of a guest.  Main thread, with no other lock of the
 * port. */
void
netdev_dpdk_async_get_guest(struct netdev_dpdk_async *async,
                            struct netdev_dpdk_async_guest *guest)
{
    uint64_t features = 0;

    guest->link = netdev_get_carrier(async->netdev);

    ovs_mutex_lock(&async->mutex);
    guest->n_txqs = bitmap_count1(async->enabled, MAX_TXQS);
    ovs_mutex_unlock(&async->mutex);

    /* A connection may wait to be accepted.  The device does not go while the
     * lock is held: netdev_dpdk_async_disconnected() comes first, unless this
     * thread ends the connection. */
    ovs_mutex_lock(&state_mutex);
    if (async->connection >= 0) {
        rte_vhost_get_negotiated_protocol_features(async->connection,
                                                   &features);
    }
    ovs_mutex_unlock(&state_mutex);
    guest->connected = features || guest->link;
}

/* Sending. */

/* The part of netdev_dpdk_async_enqueue() for a port that is on DMA. */
uint16_t
netdev_dpdk_async_send(const struct netdev_dpdk_async *async, int vid,
                       uint16_t vring, struct rte_mbuf **pkts, uint16_t cnt)
{
    struct vhost_async_txq *txq = async_txq(async, vring / 2);

    if (OVS_UNLIKELY(!txq)) {
        return rte_vhost_enqueue_burst(vid, vring, pkts, cnt);
    }
    return vhost_async_engine_send(*vhost_async_self_get(), txq, vid, pkts,
                                   cnt);
}

/* The part of netdev_dpdk_async_rx() for a port that is on DMA. */
void
netdev_dpdk_async_rx_poll(const struct netdev_dpdk_async *async, int vid,
                          int qid, rte_spinlock_t *tx_lock)
{
    struct vhost_async_txq *txq = async_txq(async, qid);

    if (txq && vhost_async_txq_is_registered(txq)) {
        rte_spinlock_lock(tx_lock);
        vhost_async_engine_rx(*vhost_async_self_get(), txq, vid);
        rte_spinlock_unlock(tx_lock);
    }
}

/* Returns the port's tx-retries-max.  Any thread. */
unsigned int
netdev_dpdk_async_tx_retries(const struct netdev_dpdk_async *async)
{
    uint8_t n;

    atomic_read_relaxed(async->tx_retries, &n);
    return n;
}

/* Status and statistics. */

/* For ovs-vswitchd --version. */
void
netdev_dpdk_async_print_version(void)
{
    puts("vhost async, completion engine \"" VHOST_ASYNC_ENGINE "\"");
}

/* Why 'async' is not on DMA, or NULL if it is. */
const char *
netdev_dpdk_async_why_cpu(const struct netdev_dpdk_async *async)
{
    const char *refusal = async_refusal(async, async->client);

    if (async->txqs) {
        return dpdk_dma_dev_n_channels() ? NULL : refusal;
    } else if (!refusal) {
        return "DMA from the guest's next connection on";
    }
    return refusal;
}

static const char *
txq_why_cpu(const struct vhost_async_txq *txq)
{
    if (vhost_async_txq_is_stuck(txq)) {
        return "none: its DMA channel failed, waiting for the guest to "
               "reconnect";
    } else if (!vhost_async_txq_is_registered(txq)) {
        return "CPU: no guest has set it up";
    }
    return "DMA";
}

/* Adds to the status of the interface how packets reach the guest. */
void
netdev_dpdk_async_get_status(const struct netdev_dpdk_async *async,
                             struct smap *args)
{
    const char *why = netdev_dpdk_async_why_cpu(async);

    if (why) {
        smap_add_format(args, "vhost_async", "CPU: %s", why);
    } else {
        smap_add(args, "vhost_async", "DMA");
    }
}

static struct netdev_dpdk_async_totals
async_totals(const struct netdev_dpdk_async *async_)
{
    struct netdev_dpdk_async *async
        = CONST_CAST(struct netdev_dpdk_async *, async_);
    struct netdev_dpdk_async_totals t;
    const struct vhost_async_txq *txq;

    ovs_mutex_lock(&async->mutex);
    t = async->gone;
    ASYNC_FOR_EACH_TXQ (txq, async) {
        add_totals(&t, txq, false);
    }
    ovs_mutex_unlock(&async->mutex);
    return t;
}

/* Appends the counters of the port, which dpif-netdev/dma-stats-clear leaves
 * alone, to the statistics of the interface. */
void
netdev_dpdk_async_get_custom_stats(const struct netdev_dpdk_async *async,
                                   struct netdev_custom_stats *custom)
{
    struct netdev_dpdk_async_totals t = async_totals(async);

    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        { "tx_async_dma_packets", t.dma_packets },
        { "tx_async_dma_bytes", t.dma_bytes },
        { "tx_async_cpu_packets", t.cpu_packets },
        { "tx_async_cpu_bytes", t.cpu_bytes },
        { "tx_async_in_flight", t.in_flight },
        { "tx_async_busy_drops", t.busy_drops },
        { "tx_async_stuck_drops", t.stuck_drops },
        { "tx_async_lost_drops", t.lost_drops },
        { "tx_async_waiting", t.waiting },
        { "tx_async_ring_full_drops", t.ring_full_drops },
        { "tx_async_ring_lost_drops", t.ring_lost_drops },
    };

    custom->counters = xrealloc(custom->counters,
                                (custom->size + ARRAY_SIZE(counters))
                                * sizeof *custom->counters);
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        struct netdev_custom_counter *c = &custom->counters[custom->size++];

        ovs_strlcpy(c->name, counters[i].name, sizeof c->name);
        c->value = counters[i].value;
    }
}

/* Returns how many packets of the port were in flight on a channel that
 * failed, or given up in the ring of a txq.  The sender did not drop them, so
 * that netdev-dpdk.c adds them to its drops. */
uint64_t
netdev_dpdk_async_lost(const struct netdev_dpdk_async *async)
{
    struct netdev_dpdk_async_totals t = async_totals(async);

    return t.lost_drops + t.ring_lost_drops;
}

static void
format_txq_memory(struct ds *ds, const struct vhost_async_txq *txq,
                  uint64_t waiting)
{
    size_t ring = vhost_async_engine_txq_memory(txq);

    ds_put_format(ds, "    memory: %"PRIuSIZE" bytes",
                  vhost_async_txq_memory(txq));
    if (ring) {
        ds_put_format(ds, ", %"PRIuSIZE" of them for the ring; waiting in it: "
                      "%"PRIu64" packets", ring, waiting);
    }
    ds_put_char(ds, '\n');
}

static void
format_txq(struct ds *ds, const struct vhost_async_txq *txq)
{
    struct netdev_dpdk_async_totals t = { .in_flight = 0 };

    add_totals(&t, txq, true);
    ds_put_format(ds, "  txq %"PRIu16": %s\n", txq->qid, txq_why_cpu(txq));
    ds_put_format(ds, "    by DMA: %"PRIu64" packets, %"PRIu64" bytes; "
                  "in flight: %"PRIu64" packets\n",
                  t.dma_packets, t.dma_bytes, t.in_flight);
    ds_put_format(ds, "    by CPU: %"PRIu64" packets, %"PRIu64" bytes\n",
                  t.cpu_packets, t.cpu_bytes);
    format_txq_memory(ds, txq, t.waiting);
    if (t.busy_drops || t.stuck_drops || t.lost_drops || t.ring_full_drops
        || t.ring_lost_drops) {
        ds_put_format(ds, "    dropped: %"PRIu64" busy, %"PRIu64" stuck, "
                      "%"PRIu64" lost, %"PRIu64" ring full, %"PRIu64" lost "
                      "in the ring\n", t.busy_drops, t.stuck_drops,
                      t.lost_drops, t.ring_full_drops, t.ring_lost_drops);
    }
}

/* Appends a section per vhost port to 'ds', for dpif-netdev/dma-show.  Main
 * thread. */
void
netdev_dpdk_async_format(struct ds *ds)
{
    const struct netdev_dpdk_async *async;
    const struct vhost_async_txq *txq;

    ovs_mutex_lock(&ports_mutex);
    LIST_FOR_EACH (async, list_node, &ports) {
        const char *why = netdev_dpdk_async_why_cpu(async);

        /* Rings come and go with guests. */
        ovs_mutex_lock(&async->mutex);

        ds_put_format(ds, "port %s: %s%s%s\n", netdev_get_name(async->netdev),
                      why ? "CPU: " : "DMA", why ? why : "",
                      !why && ovsrcu_index_get(async->vid) < 0
                      ? ", no guest" : "");
        ASYNC_FOR_EACH_TXQ (txq, async) {
            format_txq(ds, txq);
        }
        ovs_mutex_unlock(&async->mutex);
    }
    ovs_mutex_unlock(&ports_mutex);
}

/* Has dpif-netdev/dma-show count from 0.  Main thread. */
void
netdev_dpdk_async_stats_clear(void)
{
    struct netdev_dpdk_async *async;
    struct vhost_async_txq *txq;

    ovs_mutex_lock(&ports_mutex);
    LIST_FOR_EACH (async, list_node, &ports) {
        ASYNC_FOR_EACH_TXQ (txq, async) {
            /* The copied counters are atomics only for the senders' sake. */
            memcpy(&txq->zero, &txq->stats, sizeof txq->zero);
        }
    }
    ovs_mutex_unlock(&ports_mutex);
}
