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

/* Tests of the memory of a guest, lib/vhost-guest-mem.c: what is mapped for
 * engines by vfio, with virtual and with physical addresses. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_mem_vfio_##NAME
#include "vhost-guest-mem-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

static const struct mapping *
find_mapping(uint64_t iova)
{
    for (int i = 0; i < fake.n_mappings; i++) {
        if (fake.mappings[i].iova == iova) {
            return &fake.mappings[i];
        }
    }
    return NULL;
}

static void
check_mapping(uint64_t iova, uint64_t len)
{
    const struct mapping *m = find_mapping(iova);

    ovs_assert(m && m->len == len);
}

/* vfio, with virtual addresses. */

static void
test_vfio_maps_regions(void)
{
    struct vhost_guest_mem *mem, *second;

    fake.vfio = fake.device = true;
    add_guest(0);
    mem = create(0);
    ovs_assert(!fake.n_map_calls);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_mappings == 4);
    check_mapping((uintptr_t) mem->regions[0].va, 10 * PAGE);
    check_mapping((uintptr_t) mem->regions[1].va, 20 * PAGE);
    /* Whole pages. */
    check_mapping((uintptr_t) mem->regions[2].map, PAGE);
    check_mapping((uintptr_t) mem->regions[3].va, 32 * PAGE);
    for (int i = 0; i < 4; i++) {
        ovs_assert(fake.mappings[i].va == fake.mappings[i].iova);
    }

    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_map_calls == 4);

    /* The next table, while the old one is there. */
    second = create(0);
    check_error(vhost_guest_mem_map_for_dma(second), NULL);
    ovs_assert(fake.n_mappings == 8);
    vhost_guest_mem_destroy(mem);
    ovs_assert(fake.n_mappings == 4);
    check_mapping((uintptr_t) second->regions[0].va, 10 * PAGE);
    vhost_guest_mem_destroy(second);
    check_gone();
}

/* Without device nothing is to be mapped, until there is one. */
static void
test_vfio_without_device(void)
{
    struct vhost_guest_mem *mem;

    add_guest(0);
    mem = create(0);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(!fake.n_map_calls);

    fake.vfio = true;
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_map_calls == 1 && !mem->no_dma);

    fake.device = true;
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_mappings == 4);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* One that comes later is the first that has to get to all that is there. */
static void
test_vfio_device_comes(void)
{
    struct vhost_guest_mem *mems[3];

    fake.vfio = true;
    add_guest(0);
    for (int i = 0; i < ARRAY_SIZE(mems); i++) {
        mems[i] = create(0);
        check_error(vhost_guest_mem_map_for_dma(mems[i]), NULL);
    }
    vhost_guest_mem_destroy(mems[0]);
    vhost_guest_mem_device_came();
    ovs_assert(!fake.n_mappings);

    /* There is room for one of them. */
    fake.device = true;
    fake.map_rte_errno = ENOMEM;
    fake.max_mappings = 4;
    vhost_guest_mem_device_came();
    ovs_assert(fake.n_mappings == 4);
    check_error(mems[1]->no_dma, NULL);
    check_error(mems[2]->no_dma, "at most 256");

    /* Who is mapped is not mapped again. */
    vhost_guest_mem_device_came();
    ovs_assert(fake.n_mappings == 4);
    vhost_guest_mem_destroy(mems[1]);
    check_error(vhost_guest_mem_map_for_dma(mems[2]), NULL);
    ovs_assert(fake.n_mappings == 4);
    vhost_guest_mem_destroy(mems[2]);
    check_gone();
}

/* The parameter of the kernel module allows groups without IOMMU.  That of the
 * container tells whether it is one. */
static void
test_vfio_without_iommu(void)
{
    struct vhost_guest_mem *mem;

    fake.vfio = fake.noiommu = true;
    add_guest(0);
    mem = create(0);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    fake.device = fake.noiommu_group = true;
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(!fake.n_map_calls);

    vhost_guest_mem_device_came();
    ovs_assert(!fake.n_map_calls);

    fake.noiommu_group = false;
    vhost_guest_mem_device_came();
    ovs_assert(fake.n_mappings == 4);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static void
test_vfio_errors(void)
{
    static const struct {
        int rte_errno_, errno_;
        const char *reason;
    } errors[] = {
        { ENOMEM, 0, "at most 256" },
        { 0, ENOMEM, "LimitMEMLOCK" },
        { 0, EINVAL, "log of EAL" },
        { ENOTSUP, ENOMEM, "log of EAL" },
    };
    struct vhost_guest_mem *mem;

    fake.vfio = fake.device = true;
    add_guest(0);
    mem = create(0);
    for (int i = 0; i < ARRAY_SIZE(errors); i++) {
        fake.map_rte_errno = errors[i].rte_errno_;
        fake.map_errno = errors[i].errno_;
        for (fake.max_mappings = 0; fake.max_mappings < 4;
             fake.max_mappings++) {
            /* It is that of another function. */
            rte_errno = ENODEV;
            check_error(vhost_guest_mem_map_for_dma(mem), errors[i].reason);
            check_error(mem->no_dma, errors[i].reason);
            ovs_assert(!fake.n_mappings);
        }
    }
    /* What failed can be tried again. */
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(!mem->no_dma && fake.n_mappings == 4);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* What cannot be unmapped stays where it is, and is tried again. */
static void
test_vfio_does_not_unmap(void)
{
    struct vhost_guest_mem *mem;
    int n;

    fake.vfio = fake.device = true;
    add_guest(0);
    mem = create(0);
    n = count_mappings();
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    fake.no_unmap = true;
    vhost_guest_mem_destroy(mem);
    ovs_assert(count_mappings() == n && fake.n_mappings == 4);
    fake.no_unmap = false;
    vhost_guest_mem_destroy(create(0));
    ovs_assert(count_mappings() == n - 4 && !fake.n_mappings);

    /* It must not take the room of what is to be mapped. */
    mem = create(0);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    fake.no_unmap = true;
    vhost_guest_mem_destroy(mem);
    fake.no_unmap = false;
    fake.max_mappings = 4;
    mem = create(0);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    vhost_guest_mem_destroy(mem);
    ovs_assert(count_mappings() == n - 4);

    /* Nor is it mapped twice when it is to be mapped again. */
    mem = create(0);
    fake.max_mappings = 2;
    fake.map_rte_errno = ENOMEM;
    fake.no_unmap = true;
    check_error(vhost_guest_mem_map_for_dma(mem), "at most 256");
    ovs_assert(fake.n_mappings == 2);
    fake.max_mappings = 4;
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_mappings == 4);
    fake.no_unmap = false;
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* vfio, with physical addresses. */

/* Pages of a file, 0x100 to 0x103 in a row, then one that is not known, two
 * that are side by side the wrong way round, and two more. */
static const uint64_t scattered[] = {
    PRESENT | 0x100, PRESENT | 0x101, PRESENT | 0x102, PRESENT | 0x103,
    0, PRESENT | 0x201, PRESENT | 0x200, PRESENT | 0x300, PRESENT | 0x301,
};

static void
test_vfio_joins_pages(void)
{
    struct vhost_guest_mem *mem;

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    add_region(0, 0, 9 * PAGE, 0, new_file(9 * PAGE), PAGE);
    mem = create_with_pages(0, scattered);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_mappings == 4);
    check_mapping(0x100000, 4 * PAGE);
    check_mapping(0x201000, PAGE);
    check_mapping(0x200000, PAGE);
    check_mapping(0x300000, 2 * PAGE);
    ovs_assert(find_mapping(0x100000)->va == (uintptr_t) mem->regions[0].va);
    ovs_assert(find_mapping(0x300000)->va
               == (uintptr_t) mem->regions[0].va + 7 * PAGE);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* Regions of one page are mapped once, for all of its users. */
static void
test_vfio_regions_share_a_page(void)
{
    struct vhost_guest_mem *mem;
    int fd = new_file(9 * PAGE);

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    add_region(0, 0, PAGE + 100, 0, fd, PAGE);
    add_region(0, PAGE + 200, 2 * PAGE - 200, PAGE + 200, fd, PAGE);
    add_region(0, 9 * PAGE, PAGE / 2, PAGE / 2, fd, PAGE);
    mem = create_with_pages(0, scattered);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_mappings == 2 && mem->n_ranges == 2);
    check_mapping(0x100000, 2 * PAGE);
    check_mapping(0x102000, PAGE);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* Two ports of one guest.  Who leaves first takes nothing from the other, and
 * its addresses, by which the pages were mapped, stay. */
static void
test_vfio_ports_share_pages(void)
{
    struct vhost_guest_mem *mems[2];
    int fd = new_file(9 * PAGE), n;

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    add_region(0, 0, 9 * PAGE, 0, fd, PAGE);
    add_region(1, 0, 9 * PAGE, 0, fd, PAGE);
    for (int first = 0; first < 2; first++) {
        fake.n_pagemap = fake.n_map_calls = fake.n_unmap_calls = 0;
        mems[0] = create_with_pages(0, scattered);
        mems[1] = create_with_pages(1, scattered);
        n = count_mappings();
        check_error(vhost_guest_mem_map_for_dma(mems[0]), NULL);
        check_error(vhost_guest_mem_map_for_dma(mems[1]), NULL);
        ovs_assert(fake.n_map_calls == 4 && mems[1]->n_ranges == 4);

        vhost_guest_mem_destroy(mems[first]);
        ovs_assert(!fake.n_unmap_calls && fake.n_mappings == 4);
        ovs_assert(count_mappings() == (first ? n - 1 : n));
        vhost_guest_mem_destroy(mems[!first]);
        ovs_assert(fake.n_unmap_calls == 4 && !fake.n_mappings);
        ovs_assert(count_mappings() == n - 2);
    }
    check_gone();
}

/* Of a table that is gone, only those regions stay whose pages others use. */
static void
test_vfio_regions_go_one_by_one(void)
{
    static const uint64_t others[] = { PRESENT | 0x400, PRESENT | 0x401 };
    struct vhost_guest_mem *mems[2];
    int fd = new_file(9 * PAGE), n;

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    add_region(0, 0, 9 * PAGE, 0, fd, PAGE);
    add_region(0, 16 * PAGE, 2 * PAGE, 0, new_file(2 * PAGE), PAGE);
    add_region(1, 0, 9 * PAGE, 0, fd, PAGE);
    mems[0] = create_with_pages(0, scattered);
    fake.pagemap[1].entries = others;
    mems[1] = create_with_pages(1, scattered);
    n = count_mappings();
    check_error(vhost_guest_mem_map_for_dma(mems[0]), NULL);
    check_error(vhost_guest_mem_map_for_dma(mems[1]), NULL);
    ovs_assert(fake.n_mappings == 5);
    vhost_guest_mem_destroy(mems[0]);
    ovs_assert(fake.n_mappings == 4 && count_mappings() == n - 1);
    vhost_guest_mem_destroy(mems[1]);
    ovs_assert(!fake.n_mappings && count_mappings() == n - 3);
    check_gone();
}

/* Two tables that have some pages in common. */
static void
test_vfio_tables_overlap(void)
{
    struct vhost_guest_mem *a, *b;
    int fd = new_file(9 * PAGE);

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    add_region(0, 0, 2 * PAGE, PAGE, fd, PAGE);
    add_region(1, 0, 9 * PAGE, 0, fd, PAGE);
    a = create_with_pages(0, scattered);
    b = create_with_pages(1, scattered);
    check_error(vhost_guest_mem_map_for_dma(a), NULL);
    check_mapping(0x101000, 2 * PAGE);
    check_error(vhost_guest_mem_map_for_dma(b), NULL);
    ovs_assert(fake.n_mappings == 6);
    check_mapping(0x100000, PAGE);
    check_mapping(0x103000, PAGE);
    vhost_guest_mem_destroy(a);
    ovs_assert(fake.n_mappings == 6);

    /* A failure takes nothing from others either. */
    fake.max_mappings = 0;
    a = create_with_pages(0, scattered);
    check_error(vhost_guest_mem_map_for_dma(a), NULL);
    vhost_guest_mem_destroy(b);
    ovs_assert(fake.n_mappings == 1);
    b = create_with_pages(1, scattered);
    check_error(vhost_guest_mem_map_for_dma(b), "log of EAL");
    ovs_assert(fake.n_mappings == 1);
    vhost_guest_mem_destroy(a);
    vhost_guest_mem_destroy(b);
    check_gone();
}

static void *
come_and_go(void *vid_)
{
    int vid = *(int *) vid_;

    for (int i = 0; i < 500; i++) {
        struct vhost_guest_mem *mem = create(vid);

        check_error(vhost_guest_mem_map_for_dma(mem), NULL);
        ovs_assert(mem->n_ranges == 1 || mem->n_ranges == 2);
        vhost_guest_mem_destroy(mem);
    }
    return NULL;
}

/* Ports of one guest come and go in two threads. */
static void
test_vfio_threads(void)
{
    int fd = new_file(2 * PAGE), vids[2];
    pthread_t threads[2];

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    fake.two_pages = true;
    for (int i = 0; i < 2; i++) {
        vids[i] = i;
        add_region(i, 0, 2 * PAGE, 0, fd, PAGE);
    }
    for (int i = 0; i < 2; i++) {
        threads[i] = ovs_thread_create("port", come_and_go, &vids[i]);
    }
    for (int i = 0; i < 2; i++) {
        xpthread_join(threads[i], NULL);
    }
    check_gone();
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(vfio_maps_regions),
    DMA_TEST_CASE(vfio_without_device),
    DMA_TEST_CASE(vfio_device_comes),
    DMA_TEST_CASE(vfio_without_iommu),
    DMA_TEST_CASE(vfio_errors),
    DMA_TEST_CASE(vfio_does_not_unmap),
    DMA_TEST_CASE(vfio_joins_pages),
    DMA_TEST_CASE(vfio_regions_share_a_page),
    DMA_TEST_CASE(vfio_ports_share_pages),
    DMA_TEST_CASE(vfio_regions_go_one_by_one),
    DMA_TEST_CASE(vfio_tables_overlap),
    DMA_TEST_CASE(vfio_threads),
};

static void
test_vhost_guest_mem_vfio_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-mem-vfio", test_vhost_guest_mem_vfio_main);
