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

/* What differs between builds, off the clock. */

#include <config.h>

#include "bench-async.h"

#include <string.h>

#include "bench-vhost.h"
#include "util.h"

#ifdef VHOST_ASYNC
#include "netdev-dpdk-async.h"

struct pmd_perf_stats async_perf;
uint64_t async_sleep_time;

const char *
async_build(void)
{
    return VHOST_ASYNC_ENGINE;
}

size_t
async_thread_size(void)
{
    return sizeof(struct vhost_async_thread);
}

static struct smap configured = SMAP_INITIALIZER(&configured);

void
async_configure(const struct smap *other_config)
{
    smap_clone(&configured, other_config);
    dpif_netdev_dma_set_config(other_config);
    while (dpif_netdev_dma_wants_reload()) {
        /* There are no PMD threads yet. */
    }
}

void
async_attach(unsigned int core)
{
    pmd_perf_stats_init(&async_perf);
    dpif_netdev_dma_attach("bench", core, 0, 1);
}

bool
async_has_channel(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();

    return self && self->sender.chan;
}

/* Whether something came back since this was asked last. */
bool
async_came_back(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();
    static uint64_t last;
    uint64_t now = self ? vhost_async_counter(&self->stats.reaped) : 0;
    bool changed = now != last;

    last = now;
    return changed;
}

/* Has the thread time the next packet that is long enough, in a trial if it
 * goes by DMA. */
void
async_time_next(void)
{
    struct vhost_async_thread *self = *vhost_async_self_get();

    if (self) {
        self->sender.cost.n_bursts = 1;
        self->sender.cost.until_trial = 1;
        self->sender.rx_cost.n_bursts = 1;
        self->sender.rx_cost.until_trial = 1;
    }
}

bool
async_in_trial(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();

    return self && (self->sender.cost.trial.phase
                    || self->sender.rx_cost.trial.phase);
}

void
async_get_counters(struct async_counters *c)
{
    struct vhost_async_thread *self = *vhost_async_self_get();

    memset(c, 0, sizeof *c);
    if (self) {
        const struct vhost_async_sender_stats *stats = &self->sender.stats;
        struct vhost_async_cost *cost = (settings.receive
                                         ? &self->sender.rx_cost
                                         : &self->sender.cost);
        uint32_t in_use;

        c->dma_packets = (vhost_async_counter(&stats->dma_packets)
                          + vhost_async_counter(&stats->rx_dma_packets));
        c->cpu_packets = (vhost_async_counter(&stats->cpu_packets)
                          + vhost_async_counter(&stats->rx_cpu_packets));
        c->polls = vhost_async_counter(&self->stats.polls);
        c->empty_polls = vhost_async_counter(&self->stats.empty_polls);
        c->bursts = vhost_async_counter(&self->sender.stats.bursts);
        c->cpu = cost->limits_cpu;
        atomic_read_relaxed(&cost->in_use, &in_use);
        c->in_use = in_use;
    }
}

void
async_apply_threshold(int threshold)
{
    static int current = -1;

    if (threshold != current && async_has_channel()) {
        struct smap config = SMAP_INITIALIZER(&config);

        smap_clone(&config, &configured);
        if (threshold >= 0) {
            smap_add_format(&config, "vhost-async-threshold", "%d",
                            threshold);
        }
        netdev_dpdk_async_configure(&config);
        smap_destroy(&config);
        current = threshold;
    }
}
#else /* !VHOST_ASYNC */
const char *
async_build(void)
{
    return "none";
}

size_t
async_thread_size(void)
{
    return 0;
}

void
async_configure(const struct smap *other_config OVS_UNUSED)
{
}

void
async_attach(unsigned int core OVS_UNUSED)
{
}

bool
async_has_channel(void)
{
    return false;
}

bool
async_came_back(void)
{
    return false;
}

void
async_time_next(void)
{
}

bool
async_in_trial(void)
{
    return false;
}

void
async_get_counters(struct async_counters *c)
{
    memset(c, 0, sizeof *c);
}

void
async_apply_threshold(int threshold OVS_UNUSED)
{
}
#endif /* !VHOST_ASYNC */
