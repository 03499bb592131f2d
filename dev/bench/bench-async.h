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

/* What differs between builds: stock Open vSwitch has nothing to reap.  What
 * is on the clock is inline. */

#ifndef BENCH_ASYNC_H
#define BENCH_ASYNC_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "smap.h"

#ifdef VHOST_ASYNC
#include "dpif-netdev-dma.h"
#include "dpif-netdev-perf.h"
#include "vhost-async-engine.h"
#include "vhost-async-txq.h"
#endif

struct async_counters {
    uint64_t dma_packets, cpu_packets, polls, empty_polls, bursts;
    uint64_t cpu;               /* Learned, cycles for 64 KiB, */
    uint64_t in_use;            /* ...and what DMA costs, in 256ths. */
};

const char *async_build(void);
size_t async_thread_size(void);
void async_configure(const struct smap *other_config);
void async_attach(unsigned int core);
bool async_has_channel(void);
void async_apply_threshold(int threshold);
bool async_came_back(void);
void async_time_next(void);
bool async_in_trial(void);
void async_get_counters(struct async_counters *);

#ifdef VHOST_ASYNC
extern struct pmd_perf_stats async_perf;
extern uint64_t async_sleep_time;

/* The hooks in the main loop of a PMD thread. */
static inline void
async_after_send(void)
{
    dpif_netdev_dma_take_cycles();
}

static inline unsigned int
async_reap(uint64_t now)
{
    /* About what the main loop has: when the last rxq was done with. */
    async_perf.last_tsc = now;
    return dpif_netdev_dma_run(&async_perf, &async_sleep_time);
}

static inline bool
async_is_busy(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();

    return self && vhost_async_thread_is_busy(self);
}
#else /* !VHOST_ASYNC */
static inline void
async_after_send(void)
{
}

static inline unsigned int
async_reap(uint64_t now OVS_UNUSED)
{
    return 0;
}

static inline bool
async_is_busy(void)
{
    return false;
}
#endif /* !VHOST_ASYNC */

#endif /* bench-async.h */
