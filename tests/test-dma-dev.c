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

/* Tests of DMA devices, lib/dpdk-dma-dev.c: which are found, and how they are
 * started and stopped.  Those that fail are in test-dma-dev-failure.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_dma_dev_##NAME
#include "dma-chan-sources.h"
#include "dma-dev-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

static void
test_discovery(void)
{
    struct dpdk_dma_map *map;

    fake_dev_add(1, "only_copy", FAKE_IDXD, 1, 64)->capa
        = RTE_DMA_CAPA_OPS_COPY;
    fake_dev_add(2, "only_mem", FAKE_IDXD, 1, 64)->capa
        = RTE_DMA_CAPA_MEM_TO_MEM;
    fake_dev_add(3, "no_info", FAKE_IDXD, 1, 64)->fails = FAKE_INFO;
    fake_dev_add(4, "none", FAKE_IDXD, 0, 64);
    fake_dev_add(5, "good", FAKE_IDXD, 3, 64)->numa_id = 1;
    map = dpdk_dma_dev_map();
    ovs_assert(dpdk_dma_map_count(map) == 3);
    ovs_assert(!strcmp(dpdk_dma_map_get(map, 0)->dev_name, "good"));
    ovs_assert(dpdk_dma_map_get(map, 2)->vchan == 2);
    ovs_assert(dpdk_dma_map_get(map, 2)->dev_id == 5);
    ovs_assert(dpdk_dma_map_get(map, 2)->numa_id == 1);
    ovs_assert(dpdk_dma_dev_map() == map);
}

/* Devices that appear later are found by the next start. */
static void
test_discovery_later(void)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();

    fake_dev_add(1, "dma0", FAKE_IDXD, 1, 64);
    fake_dev_add(2, "only_copy", FAKE_IDXD, 1, 64)->capa
        = RTE_DMA_CAPA_OPS_COPY;
    ovs_assert(!dpdk_dma_map_count(map));
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    fake_dev_add(0, "dma1", FAKE_IDXD, 2, 64);
    ovs_assert(dpdk_dma_map_count(map) == 1);
    for (int i = 0; i < 2; i++) {
        ovs_assert(dpdk_dma_dev_start_all() == 3);
        ovs_assert(dpdk_dma_map_count(map) == 3);
    }
    ovs_assert(!strcmp(dpdk_dma_map_get(map, 0)->dev_name, "dma0"));
    ovs_assert(!strcmp(dpdk_dma_map_get(map, 2)->dev_name, "dma1"));
    ovs_assert(dpdk_dma_map_get(map, 2)->vchan == 1);
    ovs_assert(fake.devs[0].started && fake.devs[1].started);
    ovs_assert(dpdk_dma_dev_state(dpdk_dma_map_get(map, 2))
               == DPDK_DMA_DEV_RUNNING);
    dpdk_dma_dev_stop_all();
    ovs_assert(!fake.devs[0].started && !fake.devs[1].started);
}

static void
check_discovery(enum rte_iova_mode mode, uint64_t capa, size_t n)
{
    fake.iova_mode = mode;
    fake_dev_add(0, "dma0", FAKE_IDXD, 1, 64)->capa |= capa;
    ovs_assert(dpdk_dma_map_count(dpdk_dma_dev_map()) == n);
}

static void
test_virtual_addresses_in_pa_mode(void)
{
    check_discovery(RTE_IOVA_PA, RTE_DMA_CAPA_SVA, 0);
}

static void
test_virtual_addresses_in_va_mode(void)
{
    check_discovery(RTE_IOVA_VA, RTE_DMA_CAPA_SVA, 1);
}

static void
test_physical_addresses_in_pa_mode(void)
{
    check_discovery(RTE_IOVA_PA, 0, 1);
}

static void
test_more_channels_than_fit(void)
{
    fake_dev_add(0, "dma0", FAKE_IDXD, 60, 64);
    fake_dev_add(1, "dma1", FAKE_IDXD, 60, 64);
    fake_dev_add(2, "dma2", FAKE_IDXD, 60, 64);
    ovs_assert(dpdk_dma_dev_start_all() == DPDK_DMA_MAX_CHANS);
    ovs_assert(fake.devs[1].nb_vchans == DPDK_DMA_MAX_CHANS - 60);
    ovs_assert(!fake.devs[2].started);
}

static void
run_start_fails(enum fake_call call)
{
    fake_dev_add(0, "dma0", FAKE_IDXD, 2, 64);
    fake_dev_add(1, "dma1", FAKE_IDXD, 1, 64);
    dpdk_dma_dev_map();
    fake.devs[0].fails = call;
    start();
    ovs_assert(dpdk_dma_dev_n_channels() == 1);
    ovs_assert(!flows[0].chan && flows[2].chan);
    check_state(0, DPDK_DMA_DEV_DEAD);
    check_state(2, DPDK_DMA_DEV_RUNNING);
    ovs_assert(dpdk_dma_dev_wait_ms() == -1);

    /* Not tried again. */
    fake.devs[0].fails = 0;
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    ovs_assert(!fake.devs[0].started);
}

static void
test_start_fails(void)
{
    run_start_fails(FAKE_START);
}

static void
test_configuration_fails(void)
{
    run_start_fails(FAKE_CONFIGURE);
}

static void
test_setup_of_vchans_fails(void)
{
    run_start_fails(FAKE_VCHAN_SETUP);
}

/* An engine that does not do the copies that it is tried with is stopped, and
 * not used any more. */
static void
test_first_copies_fail(void)
{
    fake_dev_add(0, "dma0", FAKE_IDXD, 2, 64);
    fake_dev_add(1, "dma1", FAKE_IDXD, 1, 64);
    fake_cost_errors[0] = EIO;
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    dpdk_dma_map_open(dpdk_dma_dev_map());
    for (int i = 0; i < 2; i++) {
        ovs_assert(dpdk_dma_map_claim(dpdk_dma_dev_map(), &flows[i], i, 0)
                   == (i ? NULL : dpdk_dma_map_get(dpdk_dma_dev_map(), 2)));
    }
    check_state(0, DPDK_DMA_DEV_FAILED);
    check_state(1, DPDK_DMA_DEV_FAILED);
    stop_failed();
    check_state(0, DPDK_DMA_DEV_DEAD);
    ovs_assert(!fake.devs[0].started && fake.devs[1].started);
    fake_cost_errors[0] = 0;
    ovs_assert(dpdk_dma_dev_start_all() == 1);
    ovs_assert(!fake.devs[0].started);
}

static void
test_start_and_stop(void)
{
    struct flow *f = &flows[0];

    start_two(FAKE_IDXD);
    check_state(0, DPDK_DMA_DEV_RUNNING);
    send_packets(f, 1, 1);
    dpdk_dma_chan_doorbell(f->chan);

    /* What is claimed or has copies in flight is left as it is. */
    dpdk_dma_dev_stop_all();
    ovs_assert(fake.devs[0].started && fake.devs[1].started);
    release_all();
    dpdk_dma_dev_stop_all();
    ovs_assert(fake.devs[0].started && !fake.devs[1].started);
    check_state(0, DPDK_DMA_DEV_RUNNING);
    check_state(2, DPDK_DMA_DEV_STOPPED);
    ovs_assert(dpdk_dma_dev_n_channels() == 3);
    ovs_assert(dpdk_dma_dev_start_all() == 3);
    check_state(2, DPDK_DMA_DEV_RUNNING);

    /* Whoever claims it has them. */
    start();
    fake_work(0, 0, 1);
    ovs_assert(reap(f, 64) == 1);
    release_all();
    dpdk_dma_dev_stop_all();
    ovs_assert(!fake.devs[0].started);

    /* With another size of rings, counters go on. */
    fake.devs[0].max_desc = 32;
    start();
    ovs_assert(f->chan->ring_size == 32);
    ovs_assert(dpdk_dma_chan_submitted(f->chan) == 1);
    send_packets(f, 31, 1);
    dpdk_dma_chan_doorbell(f->chan);
    fake_work(0, 0, 31);
    ovs_assert(reap(f, 64) == 31);
}

static void
test_idle_device_that_does_not_stop(void)
{
    start_two(FAKE_IDXD);
    release_all();
    fake.devs[0].stop_fails = 1;
    dpdk_dma_dev_stop_all();
    check_state(0, DPDK_DMA_DEV_RUNNING);
    check_state(2, DPDK_DMA_DEV_STOPPED);
    start();
    ovs_assert(dpdk_dma_chan_room(flows[0].chan));
    release_all();
    dpdk_dma_dev_stop_all();
    check_state(0, DPDK_DMA_DEV_STOPPED);
}

static void
test_timeout(void)
{
    ovs_assert(dpdk_dma_dev_timeout_ms() == DPDK_DMA_DEV_TIMEOUT_MS);
    dpdk_dma_dev_set_timeout_ms(7);
    ovs_assert(dpdk_dma_dev_timeout_ms() == 7);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(discovery),
    DMA_TEST_CASE(discovery_later),
    DMA_TEST_CASE(virtual_addresses_in_pa_mode),
    DMA_TEST_CASE(virtual_addresses_in_va_mode),
    DMA_TEST_CASE(physical_addresses_in_pa_mode),
    DMA_TEST_CASE(more_channels_than_fit),
    DMA_TEST_CASE(start_fails),
    DMA_TEST_CASE(configuration_fails),
    DMA_TEST_CASE(setup_of_vchans_fails),
    DMA_TEST_CASE(first_copies_fail),
    DMA_TEST_CASE(start_and_stop),
    DMA_TEST_CASE(idle_device_that_does_not_stop),
    DMA_TEST_CASE(timeout),
};

static void
test_dma_dev_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-dev", test_dma_dev_main);
