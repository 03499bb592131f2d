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

/* Tests of the memory of a guest, lib/vhost-guest-mem.c: physical addresses of
 * its pages. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_mem_pages_##NAME
#include "vhost-guest-mem-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

#define HUGE_PAGE (2 * 1024 * 1024)

/* What the page map has for a page that is not there. */
#define SWAPPED (UINT64_C(1) << 62)

static void
check_iova(const struct vhost_guest_mem *mem, uint32_t region, size_t ofs,
           uint32_t len, rte_iova_t expected, uint32_t expected_len)
{
    ovs_assert(vhost_guest_mem_iova(mem, region, mem->regions[region].va + ofs,
                                    &len) == expected);
    ovs_assert(len == expected_len);
}

/* Small pages can move: the CPU copies, and none is touched. */
static void
test_physical_without_hugetlbfs(void)
{
    struct vhost_guest_mem *mem;

    fake.iova_mode = RTE_IOVA_PA;
    fake.vfio = fake.device = true;
    add_guest(0);
    mem = create(0);
    for (int i = 0; i < 2; i++) {
        check_error(vhost_guest_mem_map_for_dma(mem), "not on hugetlbfs");
        check_error(mem->no_dma, "not on hugetlbfs");
    }
    ovs_assert(is_empty(fake.guests[0].regions[0].fd));
    ovs_assert(!fake.n_map_calls && !fake.n_populated);
    for (uint32_t i = 0; i < mem->n_regions; i++) {
        uint32_t size = mem->regions[i].size;

        check_iova(mem, i, 0, size, RTE_BAD_IOVA, size);
        check_iova(mem, i, size - 1, 1, RTE_BAD_IOVA, 1);
    }
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* Pages of 8 KB, of which some are not known. */
static void
test_physical_pages(void)
{
    /* In small pages. */
    static const uint64_t entries[] = {
        PRESENT | 0x100, PRESENT | 0x102, PRESENT | 0x200,
        SWAPPED | 0x300,        /* Looks like an address. */
        PRESENT,                /* No privilege. */
        PRESENT | 0x401,        /* Cannot be. */
        PRESENT | (UINT64_C(7) << 55) | 0x500,      /* Flags. */
        0,
    };
    struct vhost_guest_mem *mem;
    const rte_iova_t *pages;
    int fd = new_file(8 * 2 * PAGE);

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = 2 * PAGE;
    /* All but the first page, and half of the second. */
    add_region(0, 0x10000, 13 * PAGE, 3 * PAGE, fd, 2 * PAGE);
    mem = create_with_pages(0, entries);
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_populated == 7);
    ovs_assert(atomic_count_get(&fake.n_pagemap_reads) == 7);
    pages = mem->regions[0].pages;
    ovs_assert(pages[0] == RTE_BAD_IOVA);
    ovs_assert(pages[1] == 0x102000);
    ovs_assert(pages[2] == 0x200000);
    ovs_assert(pages[3] == RTE_BAD_IOVA);
    ovs_assert(pages[4] == RTE_BAD_IOVA);
    ovs_assert(pages[5] == RTE_BAD_IOVA);
    ovs_assert(pages[6] == 0x500000);
    ovs_assert(pages[7] == RTE_BAD_IOVA);

    check_iova(mem, 0, 0, PAGE, 0x103000, PAGE);
    check_iova(mem, 0, 0, PAGE + 1, 0x103000, PAGE);
    check_iova(mem, 0, PAGE - 1, 100, 0x103fff, 1);
    check_iova(mem, 0, PAGE, 2 * PAGE, 0x200000, 2 * PAGE);
    check_iova(mem, 0, PAGE, 2 * PAGE + 1, 0x200000, 2 * PAGE);
    check_iova(mem, 0, 3 * PAGE - 2, 5, 0x201ffe, 2);
    check_iova(mem, 0, 3 * PAGE, 9 * PAGE, RTE_BAD_IOVA, 2 * PAGE);

    /* Pages are looked at once. */
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
    ovs_assert(fake.n_populated == 7);
    ovs_assert(atomic_count_get(&fake.n_pagemap_reads) == 7);
    ovs_assert(mem->regions[0].pages == pages);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static void
test_physical_without_privilege(void)
{
    static const uint64_t entries[] = { PRESENT, PRESENT };
    struct vhost_guest_mem *mem;

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.vfio = fake.device = true;
    add_region(0, 0, 2 * PAGE, 0, new_file(2 * PAGE), PAGE);
    mem = create_with_pages(0, entries);
    for (int i = 0; i < 2; i++) {
        check_error(vhost_guest_mem_map_for_dma(mem), "CAP_SYS_ADMIN");
    }
    ovs_assert(!fake.n_map_calls);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* A kernel that populates nothing when asked to: pages are touched, and what
 * is in them stays. */
static void
test_old_kernel(void)
{
    struct vhost_guest_mem *mem;
    struct stat s;
    int fd = new_file(4 * PAGE);
    unsigned char vec[4];

    fake.iova_mode = RTE_IOVA_PA;
    fake.page_size = PAGE;
    fake.old_kernel = true;
    add_region(0, 0, 3 * PAGE, PAGE, fd, PAGE);
    ovs_assert(pwrite(fd, "x", 1, 2 * PAGE) == 1);
    mem = create(0);
    vhost_guest_mem_map_for_dma(mem);
    ovs_assert(!fstat(fd, &s) && s.st_blocks == 3 * PAGE / 512);
    ovs_assert(!mincore(mem->regions[0].map, 4 * PAGE, vec));
    ovs_assert(!(vec[0] & 1) && vec[1] & vec[2] & vec[3] & 1);
    ovs_assert(mem->regions[0].va[PAGE] == 'x' && !mem->regions[0].va[0]);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* Returns the entry of the real page map for 'va'. */
static uint64_t
read_pagemap(const void *va)
{
    int fd = open(PAGEMAP, O_RDONLY);
    uint64_t entry;

    ovs_assert(pread(fd, &entry, sizeof entry,
                     (uintptr_t) va / PAGE * sizeof entry) == sizeof entry);
    close(fd);
    return entry;
}

/* The real thing, if the machine has huge pages to spare. */
static void
test_real_hugetlbfs(void)
{
    struct vhost_guest_mem *mem, *second;
    int fd = syscall(SYS_memfd_create, "guest", MFD_CLOEXEC | MFD_HUGETLB
                     | (21 << MFD_HUGE_SHIFT));
    void *p = fd < 0 || ftruncate(fd, 4 * HUGE_PAGE) ? MAP_FAILED
              : mmap(NULL, 4 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                     fd, 0);

    if (p == MAP_FAILED) {
        printf("real_hugetlbfs: skipped, there are no huge pages\n");
        return;
    }
    munmap(p, 4 * HUGE_PAGE);

    fake.iova_mode = RTE_IOVA_PA;
    fake.vfio = fake.device = true;
    add_region(0, 0, 2 * HUGE_PAGE - PAGE, HUGE_PAGE + PAGE, fd, HUGE_PAGE);
    mem = create(0);
    ovs_assert(mem->regions[0].page_shift == 21);
    ovs_assert(is_empty(fd));
    vhost_guest_mem_map_for_dma(mem);
    if (!(read_pagemap(&fd) & PAGEMAP_PFN)) {
        check_error(mem->no_dma, "CAP_SYS_ADMIN");
        printf("real_hugetlbfs: no addresses without CAP_SYS_ADMIN\n");
    } else {
        const uint8_t *va = mem->regions[0].va + HUGE_PAGE + 5 * PAGE;
        uint32_t len = UINT32_MAX;

        check_error(mem->no_dma, NULL);
        ovs_assert(mem->regions[0].pages[0] == RTE_BAD_IOVA);
        ovs_assert(vhost_guest_mem_iova(mem, 0, va + 7, &len)
                   == (read_pagemap(va) & PAGEMAP_PFN) * PAGE + 7);
        ovs_assert(len == HUGE_PAGE - 6 * PAGE - 7);

        /* Another port has the same pages. */
        second = create(0);
        ovs_assert(!vhost_guest_mem_map_for_dma(second));
        ovs_assert(second->regions[0].pages[1] == mem->regions[0].pages[1]);
        ovs_assert(second->regions[0].pages[2] == mem->regions[0].pages[2]);
        ovs_assert(fake.n_mappings == second->n_ranges);
        vhost_guest_mem_destroy(second);
    }
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(physical_without_hugetlbfs),
    DMA_TEST_CASE(physical_pages),
    DMA_TEST_CASE(physical_without_privilege),
    DMA_TEST_CASE(old_kernel),
    DMA_TEST_CASE(real_hugetlbfs),
};

static void
test_vhost_guest_mem_pages_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-mem-pages",
                 test_vhost_guest_mem_pages_main);
