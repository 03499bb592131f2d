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

#include <rte_cycles.h>

#include "dpdk.h"
#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "dpdk-dma-probe.h"
#include "netdev-dpdk-async.h"
#include "openvswitch/dynamic-string.h"
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

/* The part of dpif_netdev_dma_run() for a thread with copies in flight. */
unsigned int
dpif_netdev_dma_reap(struct vhost_async_thread *self, struct pmd_perf_stats *s)
{
    bool in_flight = vhost_async_thread_has_copies(self);
    struct cycle_timer timer;
    uint64_t cycles;
    unsigned int n;

    cycle_timer_start(s, &timer);
    n = vhost_async_thread_reap(self);
    cycles = cycle_timer_stop(s, &timer);
    /* Looking in vain for room at a guest is nobody's work. */
    if (n || in_flight) {
        self->reap_cycles += cycles;
    }
    return n;
}

/* What an operator sees. */

static double
tsc_to_us(uint64_t cycles)
{
    return cycles * 1e6 / rte_get_tsc_hz();
}

static void
format_thread_stats(struct ds *ds, const struct vhost_async_thread *t)
{
#define GET(MEMBER) (vhost_async_counter(&t->stats.MEMBER)  \
                     - vhost_async_counter(&t->zero.MEMBER))
#define GET_SENT(MEMBER) (vhost_async_counter(&t->sender.MEMBER)    \
                          - vhost_async_counter(&t->sender_zero.MEMBER))
    uint64_t bursts = GET_SENT(bursts), samples = GET(latency_n);

    ds_put_format(ds, "  copies by DMA: %"PRIu64" packets, %"PRIu64" bytes\n",
                  GET_SENT(dma_packets), GET_SENT(dma_bytes));
    ds_put_format(ds, "  copies by CPU: %"PRIu64" packets, %"PRIu64" bytes\n",
                  GET_SENT(cpu_packets), GET_SENT(cpu_bytes));
    ds_put_format(ds, "  bursts by DMA: %"PRIu64"\n", bursts);
    ds_put_format(ds, "  polls: %"PRIu64" (%.2f per burst), of which %"PRIu64
                  " found nothing\n", GET(polls),
                  bursts ? (double) GET(polls) / bursts : 0, GET(empty_polls));
    ds_put_format(ds, "  completion latency: %.1f us on average, %.1f us at "
                  "most\n",
                  samples ? tsc_to_us(GET(latency_sum)) / samples : 0,
                  tsc_to_us(vhost_async_counter(&t->stats.latency_max)));
#undef GET
#undef GET_SENT
}

static void
format_thread(struct ds *ds, const struct vhost_async_thread *t)
    OVS_REQUIRES(threads_mutex)
{
    const struct dpdk_dma_chan *chan = t->claimed;

    ds_put_format(ds, "pmd thread numa_id %d core_id %"PRIu32":\n",
                  t->numa_id, t->core_id);
    if (chan) {
        ds_put_format(ds, "  channel: %s, vchan %"PRIu16", NUMA node %d, "
                      "ring of %"PRIu16" descriptors", chan->dev_name,
                      chan->vchan, chan->numa_id, chan->ring_size);
        if (dpdk_dma_dev_state(chan) != DPDK_DMA_DEV_RUNNING) {
            ds_put_format(ds, " (%s)", dpdk_dma_dev_why(chan));
        }
        ds_put_format(ds, "\n  in flight: %"PRIu64" copies, errors: %"PRIu64
                      "\n", dpdk_dma_chan_in_flight(chan),
                      dpdk_dma_chan_errors(chan));
    } else {
        ds_put_format(ds, "  channel: none\n");
    }
    format_thread_stats(ds, t);
}

static void
format_channels(struct ds *ds)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();
    const struct dpdk_dma_chan *chan;
    unsigned int n[3] = { 0 };

    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        uint32_t core;

        n[dpdk_dma_map_state(map, chan, &core)]++;
    }
    ds_put_format(ds, "DMA channels: %u claimed, %u free, %u failed\n",
                  n[DPDK_DMA_CHAN_CLAIMED], n[DPDK_DMA_CHAN_FREE],
                  n[DPDK_DMA_CHAN_FAILED]);
    dpdk_dma_map_format_idle_pins(map, ds);
    if (!dpdk_dma_map_count(map)) {
        ds_put_cstr(ds, "  no DMA device: "DPDK_DMA_PROBE_REMEDY"\n");
    }
}

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

static void
dma_show(struct unixctl_conn *conn, int argc, const char *argv[],
         void *aux OVS_UNUSED)
{
    struct ds ds = DS_EMPTY_INITIALIZER;
    const struct vhost_async_thread *t;
    const char *dp_name = NULL;
    unsigned int core = UINT_MAX;
    bool found = false;
    char *error;

    error = parse_show_args(argc, argv, &core, &dp_name);
    if (error) {
        unixctl_command_reply_error(conn, error);
        free(error);
        return;
    }
    if (!dpdk_available()) {
        unixctl_command_reply_error(conn, "DPDK is not initialized; set "
                                          "other_config:dpdk-init=true");
        return;
    }

    ds_put_format(&ds, "vhost-async-support: %s, completion engine: %s\n",
                  netdev_dpdk_async_is_enabled() ? "true" : "false",
                  VHOST_ASYNC_ENGINE);
    ds_put_format(&ds, "threshold: %"PRIu32" bytes\n",
                  netdev_dpdk_async_threshold());
    ds_put_format(&ds, "timeout: %"PRIu32" ms\n", dpdk_dma_dev_timeout_ms());
    if (netdev_dpdk_async_is_enabled()) {
        format_channels(&ds);
    }

    ovs_mutex_lock(&threads_mutex);
    LIST_FOR_EACH (t, list_node, &threads) {
        if ((core == UINT_MAX || core == t->core_id)
            && (!dp_name || !strcmp(dp_name, t->dp_name))) {
            format_thread(&ds, t);
            found = true;
        }
    }
    ovs_mutex_unlock(&threads_mutex);

    if (!found && (dp_name || core != UINT_MAX)) {
        ds_clear(&ds);
        ds_put_cstr(&ds, "no PMD thread");
        if (core != UINT_MAX) {
            ds_put_format(&ds, " on core %u", core);
        }
        if (dp_name) {
            ds_put_format(&ds, " of a datapath \"%s\"", dp_name);
        }
        ds_put_cstr(&ds, "; dpif-netdev/pmd-perf-show lists them");
        unixctl_command_reply_error(conn, ds_cstr(&ds));
    } else {
        if (core == UINT_MAX) {
            netdev_dpdk_async_format(&ds);
        }
        unixctl_command_reply(conn, ds_cstr(&ds));
    }
    ds_destroy(&ds);
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
            /* The copied counters are atomics only for the thread's sake. */
            memcpy(&t->zero, &t->stats, sizeof t->zero);
            memcpy(&t->sender_zero, &t->sender, sizeof t->sender_zero);
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
