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

#ifndef DMA_CHAN_SOURCES_H
#define DMA_CHAN_SOURCES_H 1

/* The sources of DMA channels and of the devices that they are of, on top of
 * fake-dmadev.h.
 *
 * Names that the library has, too, begin with those of the test program: it
 * defines DP() before it includes this. */

#include "fake-dmadev.h"

#include "lib-sources.h"
#include "ovs-thread.h"
#include "seq.h"
#include "util.h"

#define dpdk_dma_chan_abandon DP(dpdk_dma_chan_abandon)
#define dpdk_dma_chan_add DP(dpdk_dma_chan_add)
#define dpdk_dma_chan_doorbell DP(dpdk_dma_chan_doorbell)
#define dpdk_dma_chan_end_packet DP(dpdk_dma_chan_end_packet)
#define dpdk_dma_owner_give_up DP(dpdk_dma_owner_give_up)
#define dpdk_dma_owner_init DP(dpdk_dma_owner_init)
#define dpdk_dma_owner_take_up DP(dpdk_dma_owner_take_up)
#define dpdk_dma_chan_fault DP(dpdk_dma_chan_fault)
#define dpdk_dma_chan_reap DP(dpdk_dma_chan_reap)
#define dpdk_dma_chan_redo DP(dpdk_dma_chan_redo)
#define dpdk_dma_chan_room DP(dpdk_dma_chan_room)
#define dpdk_dma_chan_start DP(dpdk_dma_chan_start)
#define dpdk_dma_chan_stop DP(dpdk_dma_chan_stop)
#define dpdk_dma_chan_uninit DP(dpdk_dma_chan_uninit)
#define dpdk_dma_dev_map DP(dpdk_dma_dev_map)
#define dpdk_dma_dev_next_dead DP(dpdk_dma_dev_next_dead)
#define dpdk_dma_dev_next_stuck DP(dpdk_dma_dev_next_stuck)
#define dpdk_dma_dev_quarantine DP(dpdk_dma_dev_quarantine)
#define dpdk_dma_dev_seq DP(dpdk_dma_dev_seq)
#define dpdk_dma_dev_set_timeout_ms DP(dpdk_dma_dev_set_timeout_ms)
#define dpdk_dma_dev_start_all DP(dpdk_dma_dev_start_all)
#define dpdk_dma_dev_state DP(dpdk_dma_dev_state)
#define dpdk_dma_dev_stop_all DP(dpdk_dma_dev_stop_all)
#define dpdk_dma_dev_stop_failed DP(dpdk_dma_dev_stop_failed)
#define dpdk_dma_dev_timeout_ms DP(dpdk_dma_dev_timeout_ms)
#define dpdk_dma_dev_wait_ms DP(dpdk_dma_dev_wait_ms)
#define dpdk_dma_dev_why DP(dpdk_dma_dev_why)
#define dpdk_dma_probe DP(dpdk_dma_probe)
#define dpdk_dma_probe_is_kernel_queue DP(dpdk_dma_probe_is_kernel_queue)
#define dpdk_dma_probe_start DP(dpdk_dma_probe_start)
#define dpdk_dma_probe_lcore DP(dpdk_dma_probe_lcore)
#define dpdk_dma_probe_add_channels DP(dpdk_dma_probe_add_channels)

/* The headers first, so that a directory of changed ones comes before that of
 * the sources. */
#include "dpdk-dma-chan.h"
#include "dpdk-dma-dev.h"
#include "timeval.h"

/* Engines work when they are told to: what copies cost is not measured.
 * DMA is as cheap for a packet as the CPU is for 1024 bytes. */
static int fake_cost_errors[FAKE_MAX_DEVS];

static inline int
fake_cost_measure(int16_t dev_id, uint16_t vchan, uint16_t ring_size,
                  uint64_t deadline_tsc, struct dpdk_dma_cost *cost)
{
    /* An engine of software may not get to run for a while. */
    ovs_assert(deadline_tsc >= rte_get_tsc_cycles() + rte_get_tsc_hz() / 2);
    ovs_assert(fake.devs[dev_id].started
               && vchan < fake.devs[dev_id].nb_vchans
               && ring_size == fake.devs[dev_id].nb_desc);
    *cost = (struct dpdk_dma_cost) {
        .packet = 64, .cpu = 4096,
    };
    return fake_cost_errors[dev_id];
}

#define dpdk_dma_cost_measure fake_cost_measure

#define this_module dpdk_dma_chan_module
#include "dpdk-dma-chan.c"
#undef this_module
#define this_module dpdk_dma_probe_module
#include "dpdk-dma-probe.c"
#undef this_module
#define this_module dpdk_dma_dev_module
#define time_msec() ((long long int) (fake.tsc / (FAKE_HZ / 1000)))
#include "dpdk-dma-dev.c"
#undef time_msec
#undef this_module

/* What the helper thread does about devices that failed, and the threads that
 * it has stop them.  Those whose drivers block are not waited for. */
static inline void
stop_failed(void)
{
    dpdk_dma_dev_stop_failed();
    for (size_t i = 0; i < dma_dev_count(); i++) {
        struct dma_dev *dev = dma_dev_get(i);
        bool blocks;

        do {
            atomic_read(&fake.devs[dev->id].stop_blocks, &blocks);
            usleep(10);
        } while (!blocks && dma_dev_is(dev, DPDK_DMA_DEV_DYING));
    }
}

#endif /* dma-chan-sources.h */
