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

#ifndef DPDK_DMA_DEV_H
#define DPDK_DMA_DEV_H 1

/* The dmadevs of DPDK, as channels of a 'struct dpdk_dma_map'.
 *
 * With dpdk-dma-probe.h, the only file that calls the dmadev library's control
 * functions: it finds the devices that can copy for vhost, starts them when
 * the feature is turned on, stops them when it is turned off and when they
 * fail.
 *
 * A device that failed has copies in flight, to memory of guests.  Before the
 * CPU may do them again, the device must be stopped for certain: it takes
 * four threads to get there, none of which waits for another.
 *
 *   - Who finds that an engine failed calls dpdk_dma_dev_quarantine().
 *
 *   - Each thread that claimed a channel of the device gives it up with
 *     dpdk_dma_chan_abandon(), when it sees that it failed.
 *
 *   - A thread of its own, which dpdk_dma_dev_stop_failed() starts, stops the
 *     device.
 *
 *   - One helper thread calls dpdk_dma_dev_stop_failed(), then
 *     dpdk_dma_chan_redo() for each dpdk_dma_dev_next_dead(), and
 *     dpdk_dma_chan_reap() for each dpdk_dma_dev_next_stuck().  It sleeps for
 *     dpdk_dma_dev_wait_ms(), or until dpdk_dma_dev_seq() changes.
 *
 * All other functions are for the main thread, except where a comment says
 * otherwise. */

#include <stdbool.h>
#include <stdint.h>

#include "dpdk-dma-map.h"
#include "seq.h"

/* Time after which an engine that has copies and completes none is taken for
 * dead, in milliseconds, unless configured otherwise: no engine that works
 * needs a thousandth of it. */
#define DPDK_DMA_DEV_TIMEOUT_MS 1000

/* The life of a device.  What follows what is in dpdk-dma-dev.c. */
enum dpdk_dma_dev_state {
    DPDK_DMA_DEV_STOPPED,       /* The feature is off. */
    DPDK_DMA_DEV_RUNNING,
    DPDK_DMA_DEV_STOPPING,      /* Being stopped, for the feature is off. */
    DPDK_DMA_DEV_FAILED,        /* Threads may still use its channels. */
    DPDK_DMA_DEV_DYING,         /* Nobody does; being stopped. */
    DPDK_DMA_DEV_DEAD,          /* Writes nothing, for certain: what is in
                                 * flight may be done again. */
    DPDK_DMA_DEV_UNSTOPPABLE,   /* May write what is in flight, any time. */
};

struct dpdk_dma_map *dpdk_dma_dev_map(void);

unsigned int dpdk_dma_dev_start_all(void);
void dpdk_dma_dev_stop_all(void);

void dpdk_dma_dev_set_timeout_ms(uint32_t);
uint32_t dpdk_dma_dev_timeout_ms(void);

enum dpdk_dma_dev_state dpdk_dma_dev_state(const struct dpdk_dma_chan *);
const char *dpdk_dma_dev_why(const struct dpdk_dma_chan *);

void dpdk_dma_dev_quarantine(struct dpdk_dma_chan *, const char *why);

/* For the helper thread. */
struct seq *dpdk_dma_dev_seq(void);
int dpdk_dma_dev_wait_ms(void);
void dpdk_dma_dev_stop_failed(void);
struct dpdk_dma_chan *dpdk_dma_dev_next_dead(void);
struct dpdk_dma_chan *dpdk_dma_dev_next_stuck(const struct dpdk_dma_chan *);

/* Has the helper thread look whether there is something to do.  Any thread. */
static inline void
dpdk_dma_dev_wake(void)
{
    seq_change(dpdk_dma_dev_seq());
}

/* Returns the number of channels that have not failed.  Any thread. */
static inline unsigned int
dpdk_dma_dev_n_channels(void)
{
    const struct dpdk_dma_chan *chan;
    unsigned int n = 0;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        n += !dpdk_dma_chan_failed(chan);
    }
    return n;
}

#endif /* dpdk-dma-dev.h */
