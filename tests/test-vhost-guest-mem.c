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

/* Tests of the memory of a guest, lib/vhost-guest-mem.c: how it is mapped, and
 * what is where.  What engines need of it is in test-vhost-guest-mem-vfio.c
 * and test-vhost-guest-mem-pages.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_mem_##NAME
#include "vhost-guest-mem-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

#define PROC_SMAPS "/proc/self/smaps"

/* Creating. */

static void
test_regions_are_sorted(void)
{
    struct vhost_guest_mem *mem;

    add_guest(0);
    mem = create(0);
    ovs_assert(mem->n_regions == 4);
    ovs_assert(mem->regions[0].gpa == 0);
    ovs_assert(mem->regions[1].gpa == 12 * PAGE);
    ovs_assert(mem->regions[2].gpa == 32 * PAGE);
    ovs_assert(mem->regions[3].gpa == 0x100000000);
    ovs_assert(mem->regions[2].size == 100);
    for (int i = 4; i < VHOST_GUEST_MEM_MAX_REGIONS; i++) {
        ovs_assert(!mem->regions[i].size);
    }
    ovs_assert(count_mappings() == 8);
    vhost_guest_mem_destroy(mem);
    ovs_assert(count_mappings() == 4);
    vhost_guest_mem_destroy(NULL);
    check_gone();
}

/* What is written by our mapping is in the guest's file, also when the library
 * has unmapped and closed it. */
static void
test_mapping_of_our_own(void)
{
    struct vhost_guest_mem *mem;
    char text[8];
    int fd;

    add_guest(0);
    fd = dup(fake.guests[0].regions[0].fd);
    memcpy((void *) (uintptr_t) (fake.guests[0].regions[0].host_user_addr + 5),
           "before", 7);
    mem = create(0);
    ovs_assert(!memcmp(mem->regions[3].va + 5, "before", 7));
    close(fake.guests[0].regions[0].fd);
    remove_regions(0);
    memcpy(mem->regions[3].va + 32 * PAGE - 6, "after", 6);
    ovs_assert(pread(fd, text, 6, 64 * PAGE - 6) == 6);
    ovs_assert(!memcmp(text, "after", 6));
    close(fd);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* Nothing is populated, kept for children, or dumped. */
static void
test_nothing_is_populated(void)
{
    struct vhost_guest_mem *mem;
    unsigned long int start = 0;
    char line[512], *flags;
    int n = 0;
    FILE *f;

    add_guest(0);
    mem = create(0);
    ovs_assert(is_empty(fake.guests[0].regions[0].fd));
    ovs_assert(!vhost_guest_mem_map_for_dma(mem));
    ovs_assert(is_empty(fake.guests[0].regions[0].fd));

    f = fopen(PROC_SMAPS, "r");
    while (fgets(line, sizeof line, f)) {
        unsigned long int from, to;
        unsigned int kb;

        if (ovs_scan(line, "%lx-%lx ", &from, &to)) {
            start = from;
            continue;
        }
        for (unsigned int i = 0; i < mem->n_regions; i++) {
            if (start == (uintptr_t) mem->regions[i].map) {
                flags = strstr(line, "VmFlags:");
                ovs_assert(!ovs_scan(line, "Rss: %u kB", &kb) || !kb);
                ovs_assert(!flags || strstr(flags, " dc"));
                ovs_assert(!flags || strstr(flags, " dd"));
                n += flags != NULL;
            }
        }
    }
    fclose(f);
    ovs_assert(n == 4);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static void
check_refused(const char *expected)
{
    const char *error = NULL;
    int n_mappings = count_mappings();

    ovs_assert(!vhost_guest_mem_create(0, &error));
    check_error(error, expected);
    ovs_assert(count_mappings() == n_mappings);
}

static void
test_bad_tables(void)
{
    struct guest *g = &fake.guests[0], good;
    struct rte_vhost_mem_region *r = &g->regions[1];
    int file, fds[2];

    fake.guests[0].no_table = true;
    check_refused("does not tell");
    fake.guests[0].no_table = false;

    add_guest(0);
    good = *g;

#define BAD(CHANGE, ERROR) CHANGE; check_refused(ERROR); *g = good
    BAD(r->size = 0, "empty");
    BAD(r->mmap_size = 0, "empty");
    BAD(r->guest_phys_addr = UINT64_MAX - r->size + 1, "beyond the end");
    BAD(r->guest_phys_addr = UINT64_MAX, "beyond the end");
    BAD(r->size = UINT64_MAX, "within its mapping");
    BAD(r->size = r->mmap_size + 1, "within its mapping");
    BAD(r->host_user_addr--, "within its mapping");
    BAD(r->host_user_addr++, "within its mapping");
    BAD(r->host_user_addr += r->mmap_size + 1, "within its mapping");
    BAD(r->host_user_addr = 0, "within its mapping");
    BAD((r->mmap_addr = NULL, r->host_user_addr = 0), "within its mapping");
    BAD(r->fd = -1, "cannot be examined");
    BAD(r->mmap_size = UINT64_C(1) << 60, "cannot be mapped");

    /* Overlaps, of some bytes, of one region in another, of two alike. */
    BAD(r[1].guest_phys_addr = 10 * PAGE - 1, "overlap");
    BAD((r[1].guest_phys_addr = PAGE, r[1].size = PAGE), "overlap");
    BAD(r[1].guest_phys_addr = 0, "overlap");
    r[1].guest_phys_addr = 10 * PAGE;
    vhost_guest_mem_destroy(create(0));
    *g = good;

    ovs_assert(!pipe(fds));
    BAD(r->fd = fds[0], "regular file");

    /* A region may end with the file, even within a page, not behind it. */
    file = new_file(64 * PAGE - 1);
    BAD(g->regions[0].fd = file, "larger than its file");
    ovs_assert(!ftruncate(file, 0));
    BAD(g->regions[0].fd = file, "larger than its file");
    ovs_assert(!ftruncate(g->regions[3].fd, 127));
    check_refused("larger than its file");
    ovs_assert(!ftruncate(g->regions[3].fd, 128));
    vhost_guest_mem_destroy(create(0));

    /* More than fit. */
    remove_regions(0);
    for (int i = 0; i < VHOST_GUEST_MEM_MAX_REGIONS; i++) {
        add_region(0, i * PAGE, PAGE, 0, r->fd, PAGE);
    }
    vhost_guest_mem_destroy(create(0));
    add_region(0, 99 * PAGE, PAGE, 0, r->fd, PAGE);
    check_refused("too many");
    check_gone();
}

/* A guest can take all of its memory away, from 26.07 on. */
static void
test_no_regions(void)
{
    struct vhost_guest_mem *mem = create(0);
    uint32_t len = 1, hint = 0;

    ovs_assert(vhost_guest_mem_equals(mem, 0));
    ovs_assert(!vhost_guest_mem_lookup(mem, 0, &len, &hint));
    for (int i = 0; i < 2; i++) {
        ovs_assert(!vhost_guest_mem_map_for_dma(mem));
        fake.iova_mode = RTE_IOVA_PA;
        fake.vfio = fake.device = true;
    }
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static void
test_equal_tables(void)
{
    struct guest *g = &fake.guests[0], good;
    struct rte_vhost_mem_region *r = g->regions;
    struct vhost_guest_mem *mem;

    add_guest(0);
    mem = create(0);
    ovs_assert(vhost_guest_mem_equals(mem, 0));
    good = *g;

    /* In any order, by any file descriptor. */
    r[0] = good.regions[3];
    r[3] = good.regions[0];
    r[3].fd = dup(r[3].fd);
    ovs_assert(vhost_guest_mem_equals(mem, 0));
    *g = good;

#define OTHER(CHANGE) CHANGE; ovs_assert(!vhost_guest_mem_equals(mem, 0)); \
    *g = good
    OTHER(g->no_table = true);
    OTHER(g->n--);
    OTHER((r[4] = r[0], g->n++));
    OTHER(r[1] = r[2]);
    OTHER(r[0].guest_phys_addr += PAGE);
    OTHER(r[0].size -= PAGE);
    OTHER((r[0].host_user_addr += PAGE, r[0].mmap_addr =
           (char *) r[0].mmap_addr + PAGE));
    OTHER(r[0].mmap_addr = (char *) r[0].mmap_addr - PAGE);
    OTHER(r[0].mmap_size += PAGE);
    /* Another file that the library has mapped where the old one was. */
    OTHER(r[0].fd = new_file(64 * PAGE));

    ovs_assert(vhost_guest_mem_equals(mem, 0));
    vhost_guest_mem_destroy(mem);
    check_gone();
}

/* Looking up. */

static void
check_lookup(const struct vhost_guest_mem *mem, uint64_t gpa, uint32_t len,
             int region, uint32_t ofs, uint32_t expected_len)
{
    for (uint32_t i = 0; i < VHOST_GUEST_MEM_MAX_REGIONS; i++) {
        uint32_t hint = i, left = len;
        uint8_t *va = vhost_guest_mem_lookup(mem, gpa, &left, &hint);

        if (region < 0) {
            ovs_assert(!va);
            continue;
        }
        ovs_assert(va == mem->regions[region].va + ofs);
        ovs_assert(left == expected_len);
        ovs_assert(hint == region);
        ovs_assert(vhost_guest_mem_gpa(mem, hint, va) == gpa);
        /* By virtual address. */
        ovs_assert(vhost_guest_mem_iova(mem, hint, va, &left)
                   == (uintptr_t) va);
        ovs_assert(left == expected_len);
    }
}

static void
test_lookup(void)
{
    struct vhost_guest_mem *mem;

    add_guest(0);
    mem = create(0);
    check_lookup(mem, 0, 1, 0, 0, 1);
    check_lookup(mem, 0, 10 * PAGE, 0, 0, 10 * PAGE);
    check_lookup(mem, 0, 10 * PAGE + 1, 0, 0, 10 * PAGE);
    check_lookup(mem, 10 * PAGE - 1, UINT32_MAX, 0, 10 * PAGE - 1, 1);
    check_lookup(mem, 10 * PAGE, 1, -1, 0, 0);
    check_lookup(mem, 12 * PAGE - 1, 1, -1, 0, 0);
    check_lookup(mem, 12 * PAGE, 1, 1, 0, 1);
    /* Two regions side by side: each ends where the other begins. */
    check_lookup(mem, 32 * PAGE - 1, 2, 1, 20 * PAGE - 1, 1);
    check_lookup(mem, 32 * PAGE, 101, 2, 0, 100);
    check_lookup(mem, 32 * PAGE + 99, 1, 2, 99, 1);
    check_lookup(mem, 32 * PAGE + 100, 1, -1, 0, 0);
    check_lookup(mem, 0xffffffff, 2, -1, 0, 0);
    check_lookup(mem, 0x100000000, 2, 3, 0, 2);
    check_lookup(mem, 0x100000000 + 32 * PAGE - 2, 3, 3, 32 * PAGE - 2, 2);
    check_lookup(mem, 0x100000000 + 32 * PAGE, 1, -1, 0, 0);
    check_lookup(mem, UINT64_MAX, 1, -1, 0, 0);
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static void
check_from_library(const struct vhost_guest_mem *mem, int of_library,
                   int64_t ofs, uint64_t size, int region)
{
    const struct rte_vhost_mem_region *from
        = &fake.guests[0].regions[of_library];
    const void *at = (void *) (uintptr_t) (from->host_user_addr + ofs);
    uint64_t gpa = 1;
    uint8_t *va = vhost_guest_mem_from_library(mem, at, size, &gpa);

    ovs_assert(va == (region < 0 ? NULL : mem->regions[region].va + ofs));
    ovs_assert(gpa == (va ? from->guest_phys_addr + ofs : 1));
    ovs_assert(vhost_guest_mem_from_library(mem, at, size, NULL) == va);
}

static void
test_from_library(void)
{
    struct vhost_guest_mem *mem;

    add_guest(0);
    mem = create(0);
    check_from_library(mem, 0, 0, 1, 3);
    check_from_library(mem, 0, 0, 32 * PAGE, 3);
    check_from_library(mem, 0, 0, 32 * PAGE + 1, -1);
    check_from_library(mem, 0, 1, 32 * PAGE, -1);
    check_from_library(mem, 0, 5, UINT64_MAX, -1);
    check_from_library(mem, 0, 5, UINT64_MAX - 4, -1);
    check_from_library(mem, 0, 32 * PAGE - 1, 1, 3);
    check_from_library(mem, 3, 0, 100, 2);
    /* In the mapping, but not in the region. */
    check_from_library(mem, 3, -1, 1, -1);
    check_from_library(mem, 3, 99, 2, -1);
    check_from_library(mem, 3, 100, 1, -1);
    ovs_assert(!vhost_guest_mem_from_library(mem, NULL, 1, NULL));
    vhost_guest_mem_destroy(mem);
    check_gone();
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(regions_are_sorted),
    DMA_TEST_CASE(mapping_of_our_own),
    DMA_TEST_CASE(nothing_is_populated),
    DMA_TEST_CASE(bad_tables),
    DMA_TEST_CASE(no_regions),
    DMA_TEST_CASE(equal_tables),
    DMA_TEST_CASE(lookup),
    DMA_TEST_CASE(from_library),
};

static void
test_vhost_guest_mem_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-mem", test_vhost_guest_mem_main);
