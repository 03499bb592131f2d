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

/* Tests what copies are found to cost, with an engine and a CPU that take as
 * many cycles as the test says. */

#undef NDEBUG
#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include <errno.h>

#include <rte_atomic.h>
#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_malloc.h>
#include <rte_memcpy.h>

#include "dma-test.h"
#include "ovstest.h"
#include "util.h"

#define MHZ 1000

/* The world.  Cycles, unless said otherwise. */
static struct {
    uint64_t tsc;
    unsigned int copy, submit, poll, per_done, read;
    unsigned int latency_us, first_latency_us;
    unsigned int cpu_call, cpu_bytes_per_cycle;

    unsigned int refuse_at, fail_at;    /* The so manieth copy, if not 0. */
    int submit_error;
    unsigned int overreport;
    bool no_memory, no_iova;
    bool asleep;                /* It has just not run for a second. */

    unsigned int ring_size, max_batch;
    unsigned int n_copies, n_rung, n_done, n_bursts, n_buffers;
    unsigned int lookup;        /* Of an address for the engine. */
    uint64_t rung_tsc;
} world;

static uint8_t memory[1 << 20] __rte_cache_aligned;

static void
world_init(void)
{
    memset(&world, 0, sizeof world);
    world.copy = 20;
    world.submit = 100;
    world.poll = 40;
    world.per_done = 10;
    world.read = 7;
    world.latency_us = 1;
    world.ring_size = 4096;
    world.max_batch = UINT16_MAX;
    world.lookup = 10000;
    world.cpu_call = 10;
    world.cpu_bytes_per_cycle = 16;
}

static int
fake_copy(int16_t dev_id, uint16_t vchan, rte_iova_t src, rte_iova_t dst,
          uint32_t len, uint64_t flags)
{
    uintptr_t base = (uintptr_t) memory;

    ovs_assert(dev_id == 3 && vchan == 1 && !flags && len);
    ovs_assert(src >= base && src + len <= base + sizeof memory);
    ovs_assert(dst >= base && dst + len <= base + sizeof memory);
    world.tsc += world.copy;
    world.n_copies++;
    ovs_assert(world.n_copies - world.n_rung <= world.max_batch);
    return (world.n_copies == world.refuse_at
            || world.n_copies - world.n_done >= world.ring_size ? -ENOSPC : 0);
}

static uint16_t
fake_capacity(int16_t dev_id OVS_UNUSED, uint16_t vchan OVS_UNUSED)
{
    return MIN(world.max_batch - (world.n_copies - world.n_rung),
               world.ring_size - 1 - (world.n_copies - world.n_done));
}

static int
fake_submit(int16_t dev_id OVS_UNUSED, uint16_t vchan OVS_UNUSED)
{
    world.tsc += world.submit;
    world.n_rung = world.n_copies;
    world.rung_tsc = world.tsc;
    world.n_bursts++;
    return -world.submit_error;
}

static uint16_t
fake_completed(int16_t dev_id OVS_UNUSED, uint16_t vchan OVS_UNUSED,
               uint16_t max, uint16_t *last, bool *has_error)
{
    unsigned int n = 0;
    unsigned int us = (world.n_bursts == 1 && world.first_latency_us
                       ? world.first_latency_us : world.latency_us);

    ovs_assert(!last && max <= world.n_copies - world.n_done);
    world.tsc += world.poll;
    if (world.tsc >= world.rung_tsc + us * UINT64_C(1) * MHZ) {
        n = MIN(max, world.n_rung - world.n_done);
        *has_error = world.fail_at && world.n_done + n >= world.fail_at;
        world.tsc += n * world.per_done;
        world.n_done += n;
        n += world.overreport;
    }
    return n;
}

static void *
fake_zmalloc(const char *type OVS_UNUSED, size_t size, unsigned int align)
{
    if (world.no_memory) {
        return NULL;
    }
    ovs_assert(size <= sizeof memory && !((uintptr_t) memory % 64) && align);
    world.n_buffers++;
    return memory;
}

static void
fake_free(void *p)
{
    ovs_assert(p == memory);
    world.n_buffers--;
}

static void
fake_memcpy(void *dst OVS_UNUSED, const void *src OVS_UNUSED, size_t n)
{
    world.tsc += world.cpu_call + n / world.cpu_bytes_per_cycle;
}

static rte_iova_t
fake_iova(const void *p)
{
    world.tsc += world.lookup;
    return world.no_iova ? RTE_BAD_IOVA : (uintptr_t) p;
}

static void
fake_delay_us(unsigned int us)
{
    world.tsc += us * MHZ;
    if (world.asleep) {
        world.tsc += 1000000 * UINT64_C(1000);
        world.asleep = false;
    }
}

#define rte_dma_copy fake_copy
#define rte_dma_submit fake_submit
#define rte_dma_burst_capacity fake_capacity
#define rte_dma_completed fake_completed
#define rte_zmalloc fake_zmalloc
#define rte_free fake_free
#undef rte_memcpy
#define rte_memcpy fake_memcpy
#define rte_mem_virt2iova fake_iova
#define rte_delay_us_block fake_delay_us
#define rte_get_tsc_cycles() (world.tsc += world.read)
#define rte_get_tsc_hz() (MHZ * UINT64_C(1000000))
/* The library has them, too. */
#define dpdk_dma_cost_measure dp_dma_cost_measure
#define dpdk_dma_cost_get_limits dp_dma_cost_get_limits
#define dpdk_dma_cost_of_iteration dp_dma_cost_of_iteration
#include "dpdk-dma-cost.c"

static int
measure(uint16_t ring_size, struct dpdk_dma_cost *cost)
{
    memset(cost, 0xff, sizeof *cost);
    world.ring_size = ring_size;
    return dpdk_dma_cost_measure(3, 1, ring_size, world.tsc + 100000 * MHZ,
                                 cost);
}

/* Cases. */

/* What the engine takes for a copy, and what it takes besides; what the CPU
 * takes for a byte, and what it takes besides. */
static void
test_figures(void)
{
    struct dpdk_dma_cost cost;

    world_init();
    ovs_assert(!measure(4096, &cost));
    ovs_assert(cost.copy == 20 + 10);
    ovs_assert(cost.packet == cost.copy + COST_OWN_PACKET);
    ovs_assert(cost.iteration == 100 + 40);
    ovs_assert(cost.cpu == 65536 / 16 * 3 / 2);
    ovs_assert(cost.cpu_short == 10 + 64 / 16 + world.read);
    ovs_assert(cost.clock == world.read);
    ovs_assert(!world.n_buffers);
    ovs_assert(world.n_bursts == 2 * COST_ROUNDS);

    /* One that takes less time for many copies than for one. */
    world_init();
    world.copy = world.per_done = 0;
    ovs_assert(!measure(4096, &cost));
    ovs_assert(!cost.copy);

    /* A CPU that takes no time at all. */
    world_init();
    world.cpu_bytes_per_cycle = UINT_MAX;
    ovs_assert(!measure(4096, &cost));
    ovs_assert(cost.cpu == DPDK_DMA_COST_MIN_CPU);
}

/* No more copies at a time than the ring takes, or a batch. */
static void
test_few_at_a_time(void)
{
    struct dpdk_dma_cost cost;

    for (uint16_t size = 2; size <= 64; size *= 2) {
        world_init();
        ovs_assert(!measure(size, &cost));
        ovs_assert(size < 4 || cost.copy == 30);
        world_init();
        world.max_batch = size / 2;
        ovs_assert(!measure(4096, &cost));
        ovs_assert(size < 4 || cost.copy == 30);
    }
    /* Then all of it is taken for that of a copy. */
    world_init();
    world.max_batch = 1;
    ovs_assert(!measure(4096, &cost));
    ovs_assert(cost.copy == 100 + 40 + 30);
}

static void
get_limits(const struct dpdk_dma_cost *cost, uint32_t cpu, uint32_t head,
           uint32_t head_cycles, struct dpdk_dma_limits *limits)
{
    dpdk_dma_cost_get_limits(cost, DPDK_DMA_COST_AS_MEASURED, cpu, head,
                             head_cycles, limits);
}

static void
test_limits(void)
{
    struct dpdk_dma_cost cost = { .packet = 80, .copy = 40, .iteration = 800 };
    struct dpdk_dma_limits limits;

    /* 16 bytes a cycle, and an eighth to be certain. */
    get_limits(&cost, 4096, 0, 0, &limits);
    ovs_assert(limits.min_len == 80 * 16 * 9 / 8);
    ovs_assert(limits.min_piece == 40 * 16 * 9 / 8);
    ovs_assert(limits.min_excess == 800 * 16 * 9 / 8);
    ovs_assert(dpdk_dma_limits_from(&limits, 1) == 1440 + 14400);
    ovs_assert(dpdk_dma_limits_from(&limits, 32) == 1440 + 450);
    ovs_assert(limits.loss == DPDK_DMA_COST_NOT_DIRECT * 16 * 9 / 8);
    ovs_assert(limits.even_len == 1440 && !limits.burst_loss);
    ovs_assert(dpdk_dma_limits_excess(&limits, 1439) == -(int) limits.loss);
    ovs_assert(dpdk_dma_limits_excess(&limits, 1440) == 1);
    ovs_assert(dpdk_dma_limits_excess(&limits, 9000) == 9000 - 1439);

    /* Who goes by CPU in any case does not change what the others save. */
    limits.min_len = 2000;
    ovs_assert(dpdk_dma_limits_excess(&limits, 1999) == -(int) limits.loss);
    ovs_assert(dpdk_dma_limits_excess(&limits, 2000) == 2000 - 1439);
    ovs_assert(dpdk_dma_limits_from(&limits, 32) == 2000);
    ovs_assert(dpdk_dma_limits_from(&limits, 1) == 1440 + 14400);

    /* The CPU copies the first bytes of what is received. */
    get_limits(&cost, 4096, 128, 300, &limits);
    ovs_assert(limits.min_len == 128 + 80 * 16 * 9 / 8);
    ovs_assert(limits.min_piece == 40 * 16 * 9 / 8);
    ovs_assert(limits.min_excess
               == (800 + DPDK_DMA_COST_RX_POLL) * 16 * 9 / 8);
    ovs_assert(limits.burst_loss == 300 * 16 * 9 / 8);
    ovs_assert(dpdk_dma_limits_from(&limits, 1)
               == 128 + 1440 + limits.min_excess + limits.burst_loss);

    /* The dearer the CPU, the lower. */
    get_limits(&cost, 40960, 0, 0, &limits);
    ovs_assert(limits.min_len == 144 && limits.min_excess == 1440);
    get_limits(&cost, UINT32_MAX, 0, 0, &limits);
    ovs_assert(limits.min_len == 0 && limits.min_excess == 0);

    /* The dearer DMA is in use, the higher. */
    dpdk_dma_cost_get_limits(&cost, 3 * DPDK_DMA_COST_AS_MEASURED, 40960, 128,
                             300, &limits);
    ovs_assert(limits.even_len == 128 + 3 * 144);
    ovs_assert(limits.min_piece == 3 * 72);
    ovs_assert(limits.min_excess == 3 * 1620);
    ovs_assert(limits.burst_loss == 540);

    /* What costs too much is never worth it. */
    cost.packet = cost.iteration = UINT32_MAX;
    get_limits(&cost, 1, 0, 0, &limits);
    ovs_assert(limits.min_len == UINT32_MAX / 2);
    ovs_assert(dpdk_dma_limits_excess(&limits, 65535) < 0);
    get_limits(&cost, 1, 128, UINT32_MAX, &limits);
    ovs_assert(limits.min_excess == UINT32_MAX / 2);
    ovs_assert(limits.burst_loss == UINT32_MAX / 2);
}

/* An engine that is slow is not asked often. */
static void
test_slow(void)
{
    struct dpdk_dma_cost cost;

    world_init();
    world.latency_us = 20000;
    ovs_assert(!measure(4096, &cost));
    ovs_assert(world.n_bursts == 2);
    ovs_assert(cost.copy == 30);
}

/* What does not work is told, and memory that may be written to is kept. */
static void
test_engines_that_do_not_work(void)
{
    struct dpdk_dma_cost cost;

    for (int i = 1; i < 20; i += 9) {
        world_init();
        world.refuse_at = i;
        ovs_assert(measure(4096, &cost) == ENOSPC);
        ovs_assert(world.n_buffers == 1);
        world_init();
        world.fail_at = i;
        ovs_assert(measure(4096, &cost) == EIO);
        ovs_assert(world.n_buffers == 1);
    }
    world_init();
    world.overreport = 1;
    ovs_assert(measure(4096, &cost) == EIO);
    world_init();
    world.submit_error = ENXIO;
    ovs_assert(measure(4096, &cost) == ENXIO);
    ovs_assert(world.n_buffers == 1);

    /* The time that it may take, and little more. */
    world_init();
    world.latency_us = 1000000;
    ovs_assert(measure(4096, &cost) == ETIMEDOUT);
    ovs_assert(world.n_buffers == 1);
    ovs_assert(world.tsc >= 100 * 1000 * MHZ && world.tsc < 102 * 1000 * MHZ);
    ovs_assert(dpdk_dma_cost_measure(3, 1, 4096, 0, &cost) == ETIMEDOUT);
    ovs_assert(world.tsc < 113 * 1000 * MHZ);
}

/* It is no fault of the engine that there is no memory, or that this thread
 * did not run. */
static void
test_no_fault_of_the_engine(void)
{
    struct dpdk_dma_cost cost;

    for (int i = 0; i < 2; i++) {
        world_init();
        world.no_memory = i;
        world.no_iova = !i;
        ovs_assert(!measure(4096, &cost));
        ovs_assert(!world.n_copies && !world.n_buffers);
        ovs_assert(cost.packet && cost.cpu);
    }
    world_init();
    world.asleep = true;
    ovs_assert(!measure(4096, &cost));

    /* It is found late, and then done: not before the third time is it out of
     * the question. */
    world_init();
    world.asleep = true;
    world.first_latency_us = 1000010;
    ovs_assert(!measure(4096, &cost));

    /* However late it is. */
    world_init();
    world.latency_us = 5000;
    ovs_assert(!dpdk_dma_cost_measure(3, 1, 4096, 0, &cost));
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(figures),
    DMA_TEST_CASE(few_at_a_time),
    DMA_TEST_CASE(limits),
    DMA_TEST_CASE(slow),
    DMA_TEST_CASE(engines_that_do_not_work),
    DMA_TEST_CASE(no_fault_of_the_engine),
};

static void
test_dma_cost_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-cost", test_dma_cost_main);
