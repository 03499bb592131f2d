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

#ifndef VHOST_ASYNC_TRIAL_H
#define VHOST_ASYNC_TRIAL_H 1

/* A trial: what packets cost a thread if the CPU copies all of them, and what
 * they cost if as many as may pay go by DMA, one after the other.
 *
 * What an engine costs was measured when it was started (dpdk-dma-cost.h), in
 * a loop that has the core and its caches for itself.  In use the core comes
 * from other work, the engine's rings are not in its cache any more, and an
 * engine that is a thread works against it.  What a burst takes can only be
 * compared as a whole, since both ways have a good deal in common.
 *
 * Called by vhost-async-cost.c, and while bursts are timed by those who copy
 * or reap them.  A 'struct vhost_async_trial' belongs to the thread. */

#include <stdbool.h>
#include <stdint.h>

#include "dpdk-dma-cost.h"
#include "openvswitch/compiler.h"

/* The phases of a trial, one after the other. */
enum vhost_async_trial_phase {
    VHOST_ASYNC_TRIAL_NONE,
    VHOST_ASYNC_TRIAL_CPU_SETTLE,   /* All go by CPU, until some buffers are in
                                     * the caches that they are in then, */
    VHOST_ASYNC_TRIAL_CPU_PACKETS,  /* ...one of each burst is timed, */
    VHOST_ASYNC_TRIAL_CPU_BURSTS,   /* ...and then whole bursts. */
    VHOST_ASYNC_TRIAL_DMA_SETTLE,   /* They go by DMA if that may pay, */
    VHOST_ASYNC_TRIAL_DMA_BURSTS,   /* ...and bursts are timed, and reaping. */
};

/* What bursts of one way took. */
struct vhost_async_trial_sum {
    uint64_t cycles;
    int64_t cpu_bytes;          /* Copied by CPU, which DMA would have. */
    uint32_t n_bursts;
    uint32_t n_pkts;
    uint32_t n_dma;             /* Of those, by DMA, */
    uint32_t n_copies;          /* ...in so many copies, */
    uint32_t n_beside;          /* ...and by CPU in bursts with such ones. */
};

/* A burst that was timed. */
struct vhost_async_trial_burst {
    uint64_t bytes;
    int64_t cpu_bytes;          /* As in 'struct vhost_async_trial_sum'. */
    uint32_t n_pkts;
    uint32_t n_dma;
    uint32_t n_copies;
};

struct vhost_async_trial {
    enum vhost_async_trial_phase phase;
    uint32_t n_left;            /* Bursts left of the phase, or packets, at
                                 * least. */
    uint32_t n_stalled;         /* Bursts and looks that it did not go on
                                 * by. */
    uint64_t begin;             /* TSC when a burst began that is timed, or
                                 * 0. */
    uint32_t n_ends;            /* Iterations that were timed, */
    uint32_t n_iterations;      /* ...those with bursts by DMA, */
    uint32_t n_dma;             /* ...and 'dma.n_dma' after the last one. */
    uint32_t n_reaped;          /* Packets reaped meanwhile, of whatever
                                 * virtqueues, */
    uint64_t reap_cycles;       /* ...and what that took. */
    uint32_t n_published;       /* Packets published, */
    uint64_t publish_cycles;    /* ...and what that took. */
    struct vhost_async_trial_sum cpu, dma;
};

void vhost_async_trial_start(struct vhost_async_trial *, bool rx);
enum vhost_async_trial_phase vhost_async_trial_next_burst(
    struct vhost_async_trial *, uint32_t n_pkts, bool rx);
bool vhost_async_trial_stalls(struct vhost_async_trial *);
bool vhost_async_trial_end_iteration(struct vhost_async_trial *);
void vhost_async_trial_end_burst(struct vhost_async_trial *,
                                 const struct vhost_async_trial_burst *,
                                 bool all_taken);
void vhost_async_trial_add_reap(struct vhost_async_trial *, uint64_t cycles,
                                uint32_t n);
void vhost_async_trial_add_publish(struct vhost_async_trial *,
                                   uint64_t cycles, uint32_t n);
uint32_t vhost_async_trial_result(const struct vhost_async_trial *,
                                  const struct dpdk_dma_cost *, uint32_t cpu,
                                  uint32_t head, uint32_t head_cycles);

/* Ends a trial without a result. */
static inline void
vhost_async_trial_stop(struct vhost_async_trial *trial)
{
    trial->phase = VHOST_ASYNC_TRIAL_NONE;
    trial->begin = 0;
}

/* Whether the burst that is being copied is timed. */
static inline bool
vhost_async_trial_times_burst(const struct vhost_async_trial *trial)
{
    return OVS_UNLIKELY(trial->begin);
}

/* Whether reaping is to be timed. */
static inline bool
vhost_async_trial_times_reap(const struct vhost_async_trial *trial)
{
    return OVS_UNLIKELY(trial->phase == VHOST_ASYNC_TRIAL_DMA_BURSTS);
}

#endif /* vhost-async-trial.h */
