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

#ifndef DPIF_NETDEV_DMA_H
#define DPIF_NETDEV_DMA_H 1

/* The PMD thread's side of copying by DMA: claims a channel, reaps once per
 * iteration, lets go in a reload; and what an operator sees of it.
 *
 * dpif-netdev.c calls these functions: from the PMD thread itself, except for
 * dpif_netdev_dma_init(), and those that concern the configuration, which are
 * the main thread's. */

#include <stdbool.h>
#include <stdint.h>

#include "openvswitch/compiler.h"

struct smap;

#ifdef VHOST_ASYNC

#include <rte_cycles.h>

#include "dpif-netdev-perf.h"
#include "vhost-async-thread.h"

void dpif_netdev_dma_init(void);
void dpif_netdev_dma_set_config(const struct smap *other_config);
bool dpif_netdev_dma_wants_reload(void);

void dpif_netdev_dma_attach(const char *dp_name, unsigned int core_id,
                            int numa_id, int n_rxqs);
void dpif_netdev_dma_drain(int n_rxqs);
void dpif_netdev_dma_detach(void);

void dpif_netdev_dma_look_out(struct vhost_async_thread *);
unsigned int dpif_netdev_dma_reap(struct vhost_async_thread *,
                                  struct pmd_perf_stats *);

/* To be called once per iteration, after what it sends: has the engine start
 * with that and reaps, or looks for a channel if the thread lacks one.  Sets
 * '*sleep_time' to 0 if the thread must not sleep now, since it has to come
 * back for copies in flight, or the like.  Returns the number of packets that
 * came back, or were fetched from guests, which makes the iteration a busy
 * one. */
static inline unsigned int
dpif_netdev_dma_run(struct pmd_perf_stats *s, uint64_t *sleep_time)
{
    struct vhost_async_thread *self = *vhost_async_self_get();
    unsigned int n = 0;

    if (OVS_UNLIKELY(!self)) {
        return 0;
    }
    if (vhost_async_thread_is_busy(self)) {
        n = dpif_netdev_dma_reap(self, s);
    } else if (OVS_UNLIKELY(self->lacks_chan)) {
        dpif_netdev_dma_look_out(self);
    }
    if (self->sender.chan && self->sender.cost.excess) {
        vhost_async_cost_end_iteration(&self->sender.cost);
    }
    if (self->sender.chan && self->sender.rx_cost.excess) {
        vhost_async_cost_end_iteration(&self->sender.rx_cost);
    }
    n += self->n_fetched;
    self->n_fetched = 0;
    /* What was reaped may be for an rxq, which is to be polled then. */
    if (n || vhost_async_thread_is_busy(self)) {
        *sleep_time = 0;
    }
    return n;
}

/* Returns the cycles spent reaping, for the rxqs whose packets were just sent
 * to account for, if some of these packets went by DMA. */
static inline uint64_t
dpif_netdev_dma_take_cycles(void)
{
    struct vhost_async_thread *self = *vhost_async_self_get();
    uint64_t cycles = 0;

    if (OVS_UNLIKELY(self && self->charge)) {
        cycles = self->reap_cycles;
        self->reap_cycles = 0;
        self->charge = false;
    }
    return cycles;
}

#else /* !VHOST_ASYNC */

struct pmd_perf_stats;

static inline void
dpif_netdev_dma_init(void)
{
}

static inline void
dpif_netdev_dma_set_config(const struct smap *other_config OVS_UNUSED)
{
}

static inline bool
dpif_netdev_dma_wants_reload(void)
{
    return false;
}

static inline void
dpif_netdev_dma_attach(const char *dp_name OVS_UNUSED,
                       unsigned int core_id OVS_UNUSED,
                       int numa_id OVS_UNUSED, int n_rxqs OVS_UNUSED)
{
}

static inline void
dpif_netdev_dma_drain(int n_rxqs OVS_UNUSED)
{
}

static inline void
dpif_netdev_dma_detach(void)
{
}

static inline unsigned int
dpif_netdev_dma_run(struct pmd_perf_stats *s OVS_UNUSED,
                    uint64_t *sleep_time OVS_UNUSED)
{
    return 0;
}

static inline uint64_t
dpif_netdev_dma_take_cycles(void)
{
    return 0;
}

#endif /* !VHOST_ASYNC */

#endif /* dpif-netdev-dma.h */
