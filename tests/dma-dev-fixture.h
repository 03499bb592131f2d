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

#ifndef DMA_DEV_FIXTURE_H
#define DMA_DEV_FIXTURE_H 1

/* Devices for tests of these: what is there for each besides that of
 * dma-chan-fixture.h.
 *
 * To be included behind dma-chan-sources.h. */

#include "dma-chan-fixture.h"

/* Devices and channels as many tests want them: channels 0 and 1 are those of
 * "dma0", 2 is that of "dma1". */
static void
start_two(enum fake_driver driver)
{
    fake_dev_add(0, "dma0", driver, 2, 256);
    fake_dev_add(1, "dma1", driver, 1, 256);
    start();
}

static void
check_state(unsigned int index, enum dpdk_dma_dev_state state)
{
    ovs_assert(dpdk_dma_dev_state(dpdk_dma_map_get(dpdk_dma_dev_map(), index))
               == state);
}

static void
release_all(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(flows); i++) {
        dpdk_dma_map_release(dpdk_dma_dev_map(), &flows[i]);
    }
}

#endif /* dma-dev-fixture.h */
