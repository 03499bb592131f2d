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

/* Implementation of dpif-netdev-dma-show.h. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "dpif-netdev-dma-show.h"

#include <rte_cycles.h>

#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "dpdk-dma-probe.h"
#include "netdev-dpdk-async.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "vhost-async-cost.h"
#include "vhost-async-engine.h"
#include "vhost-async-thread.h"

/* Configuration and channels. */

struct channel_counts {
    unsigned int claimed, free, failed;
};

static struct channel_counts
count_channels(const struct dpdk_dma_map *map)
{
    struct channel_counts n = { .claimed = 0 };
    const struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        uint32_t core;

        switch (dpdk_dma_map_state(map, chan, &core)) {
        case DPDK_DMA_CHAN_CLAIMED:
            n.claimed++;
            break;
        case DPDK_DMA_CHAN_FREE:
            n.free++;
            break;
        case DPDK_DMA_CHAN_FAILED:
            n.failed++;
            break;
        }
    }
    return n;
}

/* Appends to 'ds' what is configured, and what became of the channels. */
void
dpif_netdev_dma_format_config(struct ds *ds)
{
    uint64_t threshold = netdev_dpdk_async_threshold();
    bool enabled = netdev_dpdk_async_is_enabled();
    struct channel_counts n;
    struct dpdk_dma_map *map;

    ds_put_format(ds, "vhost-async-support: %s, completion engine: %s\n",
                  enabled ? "true" : "false", VHOST_ASYNC_ENGINE);
    if (threshold == VHOST_ASYNC_AUTO) {
        ds_put_cstr(ds, "threshold: auto\n");
    } else {
        ds_put_format(ds, "threshold: %"PRIu64" bytes\n", threshold);
    }
    ds_put_format(ds, "timeout: %"PRIu32" ms\n", dpdk_dma_dev_timeout_ms());
    if (!enabled) {
        return;
    }
    map = dpdk_dma_dev_map();
    n = count_channels(map);
    ds_put_format(ds, "DMA channels: %u claimed, %u free, %u failed\n",
                  n.claimed, n.free, n.failed);
    dpdk_dma_map_format_idle_pins(map, ds);
    if (!dpdk_dma_map_count(map)) {
        ds_put_cstr(ds, "  no DMA device: "DPDK_DMA_PROBE_REMEDY"\n");
    }
}

/* Returns what dpif_netdev_dma_format_config() tells, but for remedies. */
struct json *
dpif_netdev_dma_config_to_json(void)
{
    uint64_t threshold = netdev_dpdk_async_threshold();
    struct json *json = json_object_create();

    json_object_put(json, "vhost-async-support",
                    json_boolean_create(netdev_dpdk_async_is_enabled()));
    json_object_put_string(json, "completion-engine", VHOST_ASYNC_ENGINE);
    json_object_put(json, "threshold", threshold == VHOST_ASYNC_AUTO
                    ? json_string_create("auto")
                    : json_integer_create(threshold));
    json_object_put(json, "timeout-ms",
                    json_integer_create(dpdk_dma_dev_timeout_ms()));
    if (netdev_dpdk_async_is_enabled()) {
        struct channel_counts n = count_channels(dpdk_dma_dev_map());
        struct json *channels = json_object_create();

        json_object_put(channels, "claimed", json_integer_create(n.claimed));
        json_object_put(channels, "free", json_integer_create(n.free));
        json_object_put(channels, "failed", json_integer_create(n.failed));
        json_object_put(json, "dma-channels", channels);
    }
    return json;
}

/* PMD threads. */

/* Numbers of packets for which it is told from what size on they go by DMA. */
static const unsigned int burst_sizes[] = { 1, 4, 32 };

/* Whether what DMA and CPU cost 't', which claimed a channel, decides. */
static bool
shows_limits(const struct vhost_async_thread *t)
{
    return netdev_dpdk_async_threshold() == VHOST_ASYNC_AUTO
           && dpdk_dma_dev_state(t->claimed) == DPDK_DMA_DEV_RUNNING;
}

static void
format_limits(struct ds *ds, const struct vhost_async_thread *t,
              const struct vhost_async_cost *cost, const char *what)
{
    struct dpdk_dma_limits limits;

    vhost_async_cost_get_limits(cost, &t->claimed->cost, &limits);
    ds_put_format(ds, "  %s from", what);
    for (size_t i = 0; i < ARRAY_SIZE(burst_sizes); i++) {
        ds_put_format(ds, i ? ", %"PRIu64" of %u"
                      : " %"PRIu64" bytes on in bursts of %u",
                      dpdk_dma_limits_from(&limits, burst_sizes[i]),
                      burst_sizes[i]);
    }
    ds_put_char(ds, '\n');
}

/* Counters of a thread since they were cleared. */
struct thread_counts {
    uint64_t dma_packets, dma_bytes, cpu_packets, cpu_bytes, bursts;
    uint64_t rx_dma_packets, rx_dma_bytes, rx_cpu_packets, rx_cpu_bytes;
    uint64_t polls, empty_polls;
    double latency_avg, latency_p50, latency_p99, latency_max;  /* In us. */
};

static double
tsc_to_us(uint64_t cycles)
{
    return cycles * 1e6 / rte_get_tsc_hz();
}

static void
count_thread(const struct vhost_async_thread *t, struct thread_counts *n)
{
#define GET(MEMBER) (vhost_async_counter(&t->stats.MEMBER)  \
                     - vhost_async_counter(&t->zero.MEMBER))
#define GET_SENT(MEMBER) (vhost_async_counter(&t->sender.stats.MEMBER)    \
                          - vhost_async_counter(&t->sender_zero.MEMBER))
    uint64_t samples = GET(latency_n);

    n->dma_packets = GET_SENT(dma_packets);
    n->dma_bytes = GET_SENT(dma_bytes);
    n->cpu_packets = GET_SENT(cpu_packets);
    n->cpu_bytes = GET_SENT(cpu_bytes);
    n->rx_dma_packets = GET_SENT(rx_dma_packets);
    n->rx_dma_bytes = GET_SENT(rx_dma_bytes);
    n->rx_cpu_packets = GET_SENT(rx_cpu_packets);
    n->rx_cpu_bytes = GET_SENT(rx_cpu_bytes);
    n->bursts = GET_SENT(bursts);
    n->polls = GET(polls);
    n->empty_polls = GET(empty_polls);
    n->latency_avg = samples ? tsc_to_us(GET(latency_sum)) / samples : 0;
    n->latency_p50 = tsc_to_us(vhost_async_thread_latency(t, 50));
    n->latency_p99 = tsc_to_us(vhost_async_thread_latency(t, 99));
    n->latency_max = tsc_to_us(vhost_async_counter(&t->stats.latency_max));
#undef GET
#undef GET_SENT
}

/* Appends a section on 't' to 'ds'.  With the lock that protects
 * 't->claimed' against others than the thread. */
void
dpif_netdev_dma_format_thread(struct ds *ds,
                              const struct vhost_async_thread *t)
{
    const struct dpdk_dma_chan *chan = t->claimed;
    struct thread_counts n;

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
        if (shows_limits(t)) {
            format_limits(ds, t, &t->sender.cost, "DMA");
        }
    } else {
        ds_put_format(ds, "  channel: none\n");
    }

    count_thread(t, &n);
    ds_put_format(ds, "  copies by DMA: %"PRIu64" packets, %"PRIu64" bytes\n",
                  n.dma_packets, n.dma_bytes);
    ds_put_format(ds, "  copies by CPU: %"PRIu64" packets, %"PRIu64" bytes\n",
                  n.cpu_packets, n.cpu_bytes);
    if (n.rx_dma_packets || n.rx_cpu_packets) {
        if (chan && shows_limits(t)) {
            format_limits(ds, t, &t->sender.rx_cost, "received by DMA");
        }
        ds_put_format(ds, "  received by DMA: %"PRIu64" packets, %"PRIu64" "
                      "bytes\n", n.rx_dma_packets, n.rx_dma_bytes);
        ds_put_format(ds, "  received by CPU: %"PRIu64" packets, %"PRIu64" "
                      "bytes\n", n.rx_cpu_packets, n.rx_cpu_bytes);
    }
    ds_put_format(ds, "  bursts by DMA: %"PRIu64"\n", n.bursts);
    ds_put_format(ds, "  polls: %"PRIu64" (%.2f per burst), of which %"PRIu64
                  " found nothing\n", n.polls,
                  n.bursts ? (double) n.polls / n.bursts : 0, n.empty_polls);
    ds_put_format(ds, "  latency in us: average %.1f, p50 %.1f, "
                  "p99 %.1f, max %.1f\n", n.latency_avg, n.latency_p50,
                  n.latency_p99, n.latency_max);
}

static struct json *
chan_to_json(const struct dpdk_dma_chan *chan)
{
    struct json *json = json_object_create();

    json_object_put_string(json, "device", chan->dev_name);
    json_object_put(json, "vchan", json_integer_create(chan->vchan));
    json_object_put(json, "numa-id", json_integer_create(chan->numa_id));
    json_object_put(json, "ring-size", json_integer_create(chan->ring_size));
    json_object_put_string(json, "state", dpdk_dma_dev_why(chan));
    json_object_put(json, "in-flight",
                    json_integer_create(dpdk_dma_chan_in_flight(chan)));
    json_object_put(json, "errors",
                    json_integer_create(dpdk_dma_chan_errors(chan)));
    return json;
}

static struct json *
limits_to_json(const struct vhost_async_thread *t,
               const struct vhost_async_cost *cost)
{
    struct json *json = json_object_create();
    struct dpdk_dma_limits limits;

    vhost_async_cost_get_limits(cost, &t->claimed->cost, &limits);
    for (size_t i = 0; i < ARRAY_SIZE(burst_sizes); i++) {
        char *n = xasprintf("%u", burst_sizes[i]);

        json_object_put(json, n, json_integer_create(
                            dpdk_dma_limits_from(&limits, burst_sizes[i])));
        free(n);
    }
    return json;
}

/* Returns what dpif_netdev_dma_format_thread() tells, with the same lock. */
struct json *
dpif_netdev_dma_thread_to_json(const struct vhost_async_thread *t)
{
    struct json *latency = json_object_create();
    struct json *json = json_object_create();
    struct thread_counts n;

    count_thread(t, &n);
    json_object_put(json, "numa-id", json_integer_create(t->numa_id));
    json_object_put(json, "core-id", json_integer_create(t->core_id));
    json_object_put_string(json, "datapath", t->dp_name);
    json_object_put(json, "channel",
                    t->claimed ? chan_to_json(t->claimed)
                    : json_null_create());
    if (t->claimed && shows_limits(t)) {
        json_object_put(json, "dma-from-bytes",
                        limits_to_json(t, &t->sender.cost));
        json_object_put(json, "rx-dma-from-bytes",
                        limits_to_json(t, &t->sender.rx_cost));
    }
    json_object_put(json, "dma-packets", json_integer_create(n.dma_packets));
    json_object_put(json, "dma-bytes", json_integer_create(n.dma_bytes));
    json_object_put(json, "cpu-packets", json_integer_create(n.cpu_packets));
    json_object_put(json, "rx-dma-packets",
                    json_integer_create(n.rx_dma_packets));
    json_object_put(json, "rx-dma-bytes",
                    json_integer_create(n.rx_dma_bytes));
    json_object_put(json, "rx-cpu-packets",
                    json_integer_create(n.rx_cpu_packets));
    json_object_put(json, "rx-cpu-bytes",
                    json_integer_create(n.rx_cpu_bytes));
    json_object_put(json, "cpu-bytes", json_integer_create(n.cpu_bytes));
    json_object_put(json, "dma-bursts", json_integer_create(n.bursts));
    json_object_put(json, "polls", json_integer_create(n.polls));
    json_object_put(json, "empty-polls", json_integer_create(n.empty_polls));
    json_object_put(latency, "average", json_real_create(n.latency_avg));
    json_object_put(latency, "p50", json_real_create(n.latency_p50));
    json_object_put(latency, "p99", json_real_create(n.latency_p99));
    json_object_put(latency, "max", json_real_create(n.latency_max));
    json_object_put(json, "completion-latency-us", latency);
    return json;
}
