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

/* Implementation of dpif-netdev-dma.h.
 *
 * A PMD thread has its 'struct vhost_async_thread' from its first attachment
 * to its detachment, whether it has a channel or not, so that dma-show can
 * say so; 'threads_mutex' protects the list of them and their 'claimed'
 * against those who print them.  The thread itself reads its own without it,
 * since nobody else writes it. */

#include <config.h>

#include "dpif-netdev-dma.h"

#include "dpdk.h"
#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "dpif-netdev-dma-show.h"
#include "netdev-dpdk-async.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-numa.h"
#include "smap.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"
#include "vhost-async-engine.h"
#include "vhost-async-thread.h"
#include "vhost-async-txq.h"

VLOG_DEFINE_THIS_MODULE(dpif_netdev_dma);

/* How long the channel of a thread that has nothing to poll is kept for it, in
 * milliseconds. */
#define KEEP_CLAIM_MS 1000

/* How often a thread that lacks a channel looks for one: some milliseconds,
 * and nothing that iterations would notice. */
#define LOOK_OUT_ITERATIONS 4096

static struct ovs_mutex threads_mutex = OVS_MUTEX_INITIALIZER;
/* All PMD threads. */
static struct ovs_list threads OVS_GUARDED_BY(threads_mutex)
    = OVS_LIST_INITIALIZER(&threads);

/* Configuration.  Main thread. */

static bool was_enabled;
static char *last_pins;

/* What the PMD threads are to reload for. */
static enum {
    RELOAD_NOTHING,
    RELOAD_TO_RELEASE,          /* Their claims may be against the
                                 * configuration. */
    RELOAD_TO_CLAIM,            /* They gave them up. */
} reload_for;

/* Takes the keys of 'other_config' that concern DMA.  Claims may be against
 * them then, see dpif_netdev_dma_wants_reload(). */
void
dpif_netdev_dma_set_config(const struct smap *other_config)
{
    const char *pins = smap_get(other_config, "vhost-async-dma-map");
    bool enabled;

    if (!dpdk_available()) {
        return;
    }

    if (!nullable_string_is_equal(pins, last_pins)) {
        /* Devices that are named may be found now.  No channel is claimed
         * before its device is started. */
        dpdk_dma_map_close(dpdk_dma_dev_map());
    }
    netdev_dpdk_async_configure(other_config);
    enabled = netdev_dpdk_async_is_enabled();
    if (enabled != was_enabled
        || (enabled && !nullable_string_is_equal(pins, last_pins))) {
        dpdk_dma_map_close(dpdk_dma_dev_map());
        was_enabled = enabled;
        free(last_pins);
        last_pins = nullable_xstrdup(pins);
        reload_for = RELOAD_TO_RELEASE;
        poll_immediate_wake();
    }
}

/* All threads gave up their claims.  Returns true if they are to reload
 * again. */
static bool
dma_config_done(void)
{
    if (netdev_dpdk_async_is_enabled()) {
        dpdk_dma_map_open(dpdk_dma_dev_map());
        return true;
    }
    dpdk_dma_dev_stop_all();
    return false;
}

/* Returns true if all PMD threads are to reload now.  To be called until it
 * returns false, with a reload each time, whenever the main thread runs the
 * datapath: threads give up their claims first, and then claim anew. */
bool
dpif_netdev_dma_wants_reload(void)
{
    switch (reload_for) {
    case RELOAD_TO_RELEASE:
        reload_for = RELOAD_TO_CLAIM;
        return true;
    case RELOAD_TO_CLAIM:
        reload_for = RELOAD_NOTHING;
        return dma_config_done();
    case RELOAD_NOTHING:
    default:
        return false;
    }
}

/* PMD threads. */

static void
dma_thread_set_chan(struct vhost_async_thread *self,
                    struct dpdk_dma_chan *chan)
{
    ovs_mutex_lock(&threads_mutex);
    vhost_async_thread_set_chan(self, chan);
    ovs_mutex_unlock(&threads_mutex);
}

/* Lets go of the channel; it is kept for this thread until time_msec() is
 * 'kept_until'. */
static void
dma_thread_release(struct vhost_async_thread *self, long long int kept_until)
{
    vhost_async_thread_drain(self);
    if (!self->claimed) {
        return;
    }
    VLOG_INFO("PMD thread on core %"PRIu32" released DMA channel %s:%"PRIu16
              ".", self->core_id, self->claimed->dev_name,
              self->claimed->vchan);
    dma_thread_set_chan(self, NULL);
    dpdk_dma_map_keep(dpdk_dma_dev_map(), self, kept_until);
}

/* Warns of PMD threads and engines that compete for a core: of 'self', which
 * just started, and those that have channels, or of the engine that it just
 * claimed and all. */
static void
dma_thread_check_cores(const struct vhost_async_thread *self)
{
    static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 5);
    const struct vhost_async_thread *t, *owner;

    ovs_mutex_lock(&threads_mutex);
    LIST_FOR_EACH (t, list_node, &threads) {
        LIST_FOR_EACH (owner, list_node, &threads) {
            if (owner->claimed && owner->claimed->core == (int) t->core_id
                && self == (self->claimed ? owner : t)) {
                VLOG_WARN_RL(&rl, "DMA device %s copies in a thread on core "
                             "%"PRIu32", which a PMD thread uses: they wait "
                             "for each other.  Name another core by "
                             "\"lcore=\" in other_config:dpdk-extra.",
                             owner->claimed->dev_name, t->core_id);
            }
        }
    }
    ovs_mutex_unlock(&threads_mutex);
}

static void
dma_thread_claim(struct vhost_async_thread *self)
{
    struct dpdk_dma_chan *chan;

    chan = dpdk_dma_map_claim(dpdk_dma_dev_map(), self, self->core_id,
                              self->numa_id);
    self->lacks_chan = !chan;
    if (!chan) {
        return;
    }
    dma_thread_set_chan(self, chan);
    VLOG_INFO("PMD thread on core %"PRIu32" claimed DMA channel %s:%"PRIu16
              " on NUMA node %d.", self->core_id, chan->dev_name, chan->vchan,
              chan->numa_id);
    dma_thread_check_cores(self);
}

static struct vhost_async_thread *
dma_thread_create(const char *dp_name, unsigned int core_id, int numa_id)
{
    struct vhost_async_thread *self = xzalloc_cacheline(sizeof *self);

    self->core_id = core_id;
    self->numa_id = numa_id == OVS_NUMA_UNSPEC ? -1 : numa_id;
    self->dp_name = xstrdup(dp_name);
    vhost_async_thread_init(self);
    *vhost_async_self_get() = self;

    ovs_mutex_lock(&threads_mutex);
    ovs_list_push_back(&threads, &self->list_node);
    ovs_mutex_unlock(&threads_mutex);
    dma_thread_check_cores(self);
    return self;
}

/* To be called when the PMD thread starts and at the end of each reload:
 * tries to claim a channel if the thread has none and polls 'n_rxqs' > 0
 * queues.  Without success it tries again when one is free. */
void
dpif_netdev_dma_attach(const char *dp_name, unsigned int core_id, int numa_id,
                       int n_rxqs)
{
    struct vhost_async_thread *self = *vhost_async_self_get();

    if (!dpdk_available()) {
        return;
    }
    if (!self) {
        self = dma_thread_create(dp_name, core_id, numa_id);
    }
    self->lacks_chan = false;
    if (!self->claimed && n_rxqs && netdev_dpdk_async_is_enabled()) {
        dma_thread_claim(self);
    }
}

/* The part of dpif_netdev_dma_run() for a thread that lacks a channel: claims
 * one that became free since, or was kept for another thread. */
void
dpif_netdev_dma_look_out(struct vhost_async_thread *self)
{
    if (++self->n_looks >= LOOK_OUT_ITERATIONS) {
        self->n_looks = 0;
        if (dpdk_dma_map_n_free(dpdk_dma_dev_map())) {
            dma_thread_claim(self);
        }
    }
}

/* To be called in a reload, before the main thread is told that it is done
 * and may take ports away: afterwards the thread has no reference to a port.
 * A claim that is no longer confirmed is given up; one that is of no use since
 * 'n_rxqs' is 0, too, but kept for a while: a guest that connects again has
 * the datapath take its rxqs away and give them back. */
void
dpif_netdev_dma_drain(int n_rxqs)
{
    struct vhost_async_thread *self = *vhost_async_self_get();
    bool confirmed;

    if (!self) {
        return;
    }
    vhost_async_thread_drain(self);
    confirmed = self->sender.chan
                && dpdk_dma_map_claim(dpdk_dma_dev_map(), self, self->core_id,
                                      self->numa_id) == self->sender.chan;
    if (!confirmed || !n_rxqs) {
        dma_thread_release(self, confirmed ? time_msec() + KEEP_CLAIM_MS : 0);
    }
}

/* To be called before the PMD thread ends. */
void
dpif_netdev_dma_detach(void)
{
    struct vhost_async_thread *self = *vhost_async_self_get();

    if (!self) {
        return;
    }
    dma_thread_release(self, 0);
    dpdk_dma_map_release(dpdk_dma_dev_map(), self);
    ovs_mutex_lock(&threads_mutex);
    ovs_list_remove(&self->list_node);
    ovs_mutex_unlock(&threads_mutex);
    *vhost_async_self_get() = NULL;
    free(self->dp_name);
    free_cacheline(self);
}

static unsigned int
dma_reap(struct vhost_async_thread *self, struct pmd_perf_stats *s)
{
    bool in_flight = vhost_async_thread_has_copies(self);
    struct cycle_timer timer;
    uint64_t cycles;
    unsigned int n;

    /* What this takes is not worth the time that it takes to time it. */
    if (vhost_async_thread_only_submits(self, s->last_tsc)) {
        return 0;
    }
    cycle_timer_start(s, &timer);
    n = vhost_async_thread_reap(self);
    cycles = cycle_timer_stop(s, &timer);
    /* Looking in vain for room at a guest is nobody's work. */
    if (n || in_flight) {
        self->reap_cycles += cycles;
    }
    return n;
}

/* The part of dpif_netdev_dma_run() for a thread with copies in flight. */
unsigned int
dpif_netdev_dma_reap(struct vhost_async_thread *self, struct pmd_perf_stats *s)
{
    uint64_t begin, cycles, n_pkts;
    unsigned int n;
    bool sent;

    if (!vhost_async_thread_times_reap(self)) {
        return dma_reap(self, s);
    }
    sent = self->sent;
    n_pkts = vhost_async_sender_packets(&self->sender);
    begin = dpdk_dma_cost_clock();
    n = dma_reap(self, s);
    cycles = dpdk_dma_cost_clock() - begin;
    /* Looks of a thread that has nothing else to do cost nothing, and what it
     * sends for others is timed by itself. */
    if ((n || sent) && n_pkts == vhost_async_sender_packets(&self->sender)) {
        vhost_async_thread_add_reap(self, cycles, n);
    }
    self->publish_cycles = 0;
    return n;
}

/* Commands. */

/* Parses "[-pmd core] [dp]".  Returns NULL, or an error to be freed. */
static char *
parse_show_args(int argc, const char *argv[], unsigned int *core,
                const char **dp_name)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-pmd")) {
            const char *arg = ++i < argc ? argv[i] : "";

            if (!*arg || arg[strspn(arg, "0123456789")]
                || !str_to_uint(arg, 10, core) || *core == UINT_MAX) {
                return xasprintf("-pmd: \"%s\" is not the number of a core",
                                 arg);
            }
        } else if (*dp_name) {
            return xasprintf("\"%s\": a datapath was named already, \"%s\"",
                             argv[i], *dp_name);
        } else {
            *dp_name = argv[i];
        }
    }
    return NULL;
}

/* Whether dma-show was asked for 't'. */
static bool
thread_is_asked_for(const struct vhost_async_thread *t, unsigned int core,
                    const char *dp_name)
{
    return (core == UINT_MAX || core == t->core_id)
           && (!dp_name || !strcmp(dp_name, t->dp_name));
}

static char *
dma_show_text(unsigned int core, const char *dp_name)
{
    struct ds ds = DS_EMPTY_INITIALIZER;
    const struct vhost_async_thread *t;

    dpif_netdev_dma_format_config(&ds);
    ovs_mutex_lock(&threads_mutex);
    LIST_FOR_EACH (t, list_node, &threads) {
        if (thread_is_asked_for(t, core, dp_name)) {
            dpif_netdev_dma_format_thread(&ds, t);
        }
    }
    ovs_mutex_unlock(&threads_mutex);
    if (core == UINT_MAX) {
        netdev_dpdk_async_format(&ds);
    }
    return ds_steal_cstr(&ds);
}

#ifdef HAVE_UNIXCTL_JSON
static struct json *
dma_show_json(unsigned int core, const char *dp_name)
{
    struct json *json = dpif_netdev_dma_config_to_json();
    struct json *list = json_array_create_empty();
    const struct vhost_async_thread *t;

    ovs_mutex_lock(&threads_mutex);
    LIST_FOR_EACH (t, list_node, &threads) {
        if (thread_is_asked_for(t, core, dp_name)) {
            json_array_add(list, dpif_netdev_dma_thread_to_json(t));
        }
    }
    ovs_mutex_unlock(&threads_mutex);
    json_object_put(json, "pmd-threads", list);
    if (core == UINT_MAX) {
        json_object_put(json, "ports", netdev_dpdk_async_to_json());
    }
    return json;
}
#endif

static void
dma_show_reply(struct unixctl_conn *conn, unsigned int core,
               const char *dp_name)
{
    char *text;

#ifdef HAVE_UNIXCTL_JSON
    if (unixctl_command_get_output_format(conn) == UNIXCTL_OUTPUT_FMT_JSON) {
        unixctl_command_reply_json(conn, dma_show_json(core, dp_name));
        return;
    }
#endif
    text = dma_show_text(core, dp_name);
    unixctl_command_reply(conn, text);
    free(text);
}

/* Whether there is a PMD thread that dma-show was asked for. */
static bool
dma_show_knows(unsigned int core, const char *dp_name)
{
    const struct vhost_async_thread *t;
    bool found = core == UINT_MAX && !dp_name;

    ovs_mutex_lock(&threads_mutex);
    LIST_FOR_EACH (t, list_node, &threads) {
        found = found || thread_is_asked_for(t, core, dp_name);
    }
    ovs_mutex_unlock(&threads_mutex);
    return found;
}

static void
dma_show(struct unixctl_conn *conn, int argc, const char *argv[],
         void *aux OVS_UNUSED)
{
    const char *dp_name = NULL;
    unsigned int core = UINT_MAX;
    char *error;

    error = parse_show_args(argc, argv, &core, &dp_name);
    if (!error && !dpdk_available()) {
        error = xstrdup("DPDK is not initialized; set "
                        "other_config:dpdk-init=true");
    } else if (!error && !dma_show_knows(core, dp_name)) {
        struct ds ds = DS_EMPTY_INITIALIZER;

        ds_put_cstr(&ds, "no PMD thread");
        if (core != UINT_MAX) {
            ds_put_format(&ds, " on core %u", core);
        }
        if (dp_name) {
            ds_put_format(&ds, " of a datapath \"%s\"", dp_name);
        }
        ds_put_cstr(&ds, "; dpif-netdev/pmd-perf-show lists them");
        error = ds_steal_cstr(&ds);
    }
    if (error) {
        unixctl_command_reply_error(conn, error);
        free(error);
        return;
    }
    dma_show_reply(conn, core, dp_name);
}

static void
dma_stats_clear(struct unixctl_conn *conn, int argc, const char *argv[],
                void *aux OVS_UNUSED)
{
    struct vhost_async_thread *t;
    bool found = false;

    ovs_mutex_lock(&threads_mutex);
    LIST_FOR_EACH (t, list_node, &threads) {
        if (argc < 2 || !strcmp(argv[1], t->dp_name)) {
            vhost_async_copy_counters(&t->zero, &t->stats, sizeof t->zero);
            vhost_async_copy_counters(&t->sender_zero, &t->sender.stats,
                                      sizeof t->sender_zero);
            atomic_store_relaxed(&t->stats.latency_max, 0);
            found = true;
        }
    }
    ovs_mutex_unlock(&threads_mutex);

    if (!found && argc > 1) {
        char *error = xasprintf("no PMD thread of a datapath \"%s\"", argv[1]);

        unixctl_command_reply_error(conn, error);
        free(error);
        return;
    }
    netdev_dpdk_async_stats_clear();
    unixctl_command_reply(conn, NULL);
}

/* Registers the commands. */
void
dpif_netdev_dma_init(void)
{
    unixctl_command_register("dpif-netdev/dma-show", "[-pmd core] [dp]", 0, 3,
                             dma_show, NULL);
    unixctl_command_register("dpif-netdev/dma-stats-clear", "[dp]", 0, 1,
                             dma_stats_clear, NULL);
}
