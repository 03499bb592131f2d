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

#ifndef DPDK_DMA_PROBE_H
#define DPDK_DMA_PROBE_H 1

/* DMA devices that EAL did not probe when it started, what EAL and drivers
 * tell of those that it did, and how they get into the map and are started.
 *
 * From OVS 4.0 on, EAL probes no PCI device at its start, unless
 * other_config:dpdk-extra or other_config:dpdk-probe-at-init say otherwise.
 * Those that other_config:vhost-async-dma-map names are probed when they are
 * wanted.  On other buses there is nothing to do: EAL probes work queues of
 * the kernel's idxd driver, and virtual devices, on any release. */

#include <stdbool.h>
#include <stdint.h>

struct dpdk_dma_map;

/* What to do about a DMA device that is not there. */
#define DPDK_DMA_PROBE_REMEDY                                               \
    "name a PCI device in other_config:vhost-async-dma-map, or add a device " \
    "by other_config:dpdk-extra"

void dpdk_dma_probe(const char *pins);
int dpdk_dma_probe_lcore(const char *name);
uint16_t dpdk_dma_probe_add_channels(int16_t dev_id, struct dpdk_dma_map *,
                                     const char **name);
bool dpdk_dma_probe_is_kernel_queue(const char *name);
int dpdk_dma_probe_start(int16_t id, uint16_t n_vchans, uint16_t *ring_size);

#endif /* dpdk-dma-probe.h */
