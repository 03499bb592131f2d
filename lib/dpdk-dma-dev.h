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
 * The only file that calls the dmadev library's control functions: it finds
 * the devices that can copy for vhost, starts them when the feature is turned
 * on, stops them when it is turned off and when they fail.
 *
 * All functions are for the main thread, except where a comment says
 * otherwise. */

#include <stdbool.h>
#include <stdint.h>

struct dpdk_dma_chan;
struct dpdk_dma_map;

/* Time after which an engine that has copies and completes none is taken for
 * dead, in milliseconds, unless configured otherwise: no engine that works
 * needs a thousandth of it. */
#define DPDK_DMA_DEV_TIMEOUT_MS 1000

struct dpdk_dma_map *dpdk_dma_dev_map(void);

unsigned int dpdk_dma_dev_start_all(void);
void dpdk_dma_dev_stop_all(void);
unsigned int dpdk_dma_dev_n_channels(void);

void dpdk_dma_dev_set_timeout_ms(uint32_t);
uint32_t dpdk_dma_dev_timeout_ms(void);

void dpdk_dma_dev_poll_begin(void);
void dpdk_dma_dev_poll_end(void);

void dpdk_dma_dev_quarantine(struct dpdk_dma_chan *, const char *why);
void dpdk_dma_dev_quarantine_wait(void);
bool dpdk_dma_dev_failed_stopped(void);

uint16_t dpdk_dma_chan_in_flight(const struct dpdk_dma_chan *);
uint64_t dpdk_dma_chan_completed(const struct dpdk_dma_chan *);
uint64_t dpdk_dma_chan_submitted(const struct dpdk_dma_chan *);
uint64_t dpdk_dma_chan_reaped(const struct dpdk_dma_chan *);
uint64_t dpdk_dma_chan_errors(const struct dpdk_dma_chan *);

#endif /* dpdk-dma-dev.h */
