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

#ifndef VHOST_COST_FIXTURE_H
#define VHOST_COST_FIXTURE_H 1

/* A thread that sends bursts, and what copies cost it, for tests of which way
 * packets go.  Includes the sources under test, whose names are as those of
 * vhost-data-path.h. */

#include <rte_mbuf.h>

#include "dma-test.h"
#include "ovstest.h"
#include "random.h"
#include "util.h"

/* Time passes when a burst is copied. */
#include "dpdk-dma-cost.h"
static uint64_t fake_tsc = 1;
#define dpdk_dma_cost_clock() fake_tsc

/* The library has them, too. */
#define vhost_async_cost_add_head_time DP(vhost_async_cost_add_head_time)
#define vhost_async_cost_add_time DP(vhost_async_cost_add_time)
#define vhost_async_cost_end_iteration DP(vhost_async_cost_end_iteration)
#define vhost_async_cost_get_limits DP(vhost_async_cost_get_limits)
#define vhost_async_cost_next_timed DP(vhost_async_cost_next_timed)
#define vhost_async_cost_set_dma DP(vhost_async_cost_set_dma)
#define vhost_async_cost_set_threshold DP(vhost_async_cost_set_threshold)
#define vhost_async_cost_times_head DP(vhost_async_cost_times_head)
#define vhost_async_policy DP(vhost_async_policy)
#define vhost_async_cost_add_reap DP(vhost_async_cost_add_reap)
#define vhost_async_trial_add_publish DP(vhost_async_trial_add_publish)
#define vhost_async_trial_add_reap DP(vhost_async_trial_add_reap)
#define vhost_async_trial_end_burst DP(vhost_async_trial_end_burst)
#define vhost_async_trial_end_iteration DP(vhost_async_trial_end_iteration)
#define vhost_async_trial_next_burst DP(vhost_async_trial_next_burst)
#define vhost_async_trial_result DP(vhost_async_trial_result)
#define vhost_async_trial_stalls DP(vhost_async_trial_stalls)
#define vhost_async_trial_start DP(vhost_async_trial_start)
#include "vhost-async-trial.c"
#include "vhost-async-cost.c"

/* The CPU takes a cycle for 16 bytes. */
#define CPU 4096

/* With an eighth to be certain: packets from 720 bytes on, if there are 7200
 * bytes beyond that. */
static const struct dpdk_dma_cost dma = {
    .packet = 40, .copy = 30, .iteration = 400, .cpu = CPU, .cpu_short = 50,
};

/* Of a packet, whichever way it goes. */
#define BASE 50

static struct vhost_async_cost cost;
static uint16_t timed;
static uint32_t in_use;         /* What DMA costs, in 256ths of 'dma'. */
/* In which phase of a trial the thread is interrupted. */
static enum vhost_async_trial_phase disturbed = VHOST_ASYNC_TRIAL_NONE;
static uint64_t n_disturbed, disturbed_reap;    /* For how many cycles. */

static OVS_UNUSED void
start(void)
{
    in_use = DPDK_DMA_COST_AS_MEASURED;
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    vhost_async_cost_set_dma(&cost, &dma);
}

/* Sends 'n' packets of 'len' bytes.  Returns whether they are to go by DMA. */
static OVS_UNUSED bool
send_burst(unsigned int n, uint32_t len)
{
    struct rte_mbuf mbufs[64], *pkts[64];

    for (unsigned int i = 0; i < n; i++) {
        mbufs[i].pkt_len = len;
        pkts[i] = &mbufs[i];
    }
    timed = UINT16_MAX;
    return vhost_async_cost_choose(&cost, pkts, n, &timed)
           && len >= cost.limits.min_len;
}

static OVS_UNUSED void
end_iteration(void)
{
    if (cost.excess) {
        vhost_async_cost_end_iteration(&cost);
    }
}

/* Copies 'n' packets of 'len' bytes, if that is timed, by DMA or by a CPU that
 * takes 'cpu' cycles for 64 KiB. */
static OVS_UNUSED void
copy_burst(unsigned int n, uint32_t len, uint32_t cpu, bool by_dma)
{
    if (vhost_async_trial_times_burst(&cost.trial)) {
        struct vhost_async_trial_burst b = {
            .bytes = (uint64_t) n * len, .n_pkts = n,
        };

        fake_tsc += cost.trial.phase == disturbed ? n_disturbed : 0;
        fake_tsc += n * BASE;
        if (by_dma) {
            fake_tsc += (uint64_t) n * dma.packet * in_use / 256;
            b.n_dma = b.n_copies = n;
        } else {
            fake_tsc += (uint64_t) n * cpu * len / 65536;
            b.cpu_bytes = b.bytes;
        }
        vhost_async_trial_end_burst(&cost.trial, &b, true);
    }
    if (by_dma) {
        vhost_async_trial_add_publish(&cost.trial, 0, n);
        vhost_async_cost_add_reap(&cost, (uint64_t) dma.iteration * in_use
                                         / 256 + disturbed_reap, n);
    }
}

/* Sends 'n_bursts' bursts, each in an iteration of its own, and takes the time
 * of those packets, and bursts, that are to be timed: 'cpu' cycles for 64 KiB.
 * Returns how many bursts were to go by DMA. */
static OVS_UNUSED unsigned int
send_bursts(unsigned int n_bursts, unsigned int n, uint32_t len, uint32_t cpu)
{
    unsigned int n_dma = 0;

    for (unsigned int i = 0; i < n_bursts; i++) {
        bool by_dma = send_burst(n, len);

        n_dma += by_dma;
        copy_burst(n, len, cpu, by_dma);
        if (timed != UINT16_MAX) {
            ovs_assert(timed < n && len >= VHOST_ASYNC_COST_SAMPLE_LEN);
            vhost_async_cost_add_time(&cost, dma.cpu_short
                                      + (uint64_t) cpu * len / (65536 * 3 / 2),
                                      len);
        }
        end_iteration();
    }
    return n_dma;
}

/* Sends bursts of 'n' packets of 'len' bytes until no trial is going on, and
 * has none begin soon. */
static OVS_UNUSED void
end_trial(unsigned int n, uint32_t len)
{
    for (int i = 0; cost.trial.phase; i++) {
        ovs_assert(i < 1000);
        send_bursts(1, n, len, CPU);
    }
    cost.n_bursts = 100;
}

#endif /* vhost-cost-fixture.h */
