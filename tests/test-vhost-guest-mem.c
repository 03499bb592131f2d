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

/* Tests of the memory of a guest, lib/vhost-guest-mem.c.
 *
 * Files and mappings are real.  The vhost library, the container of vfio, and
 * the kernel's answers about pages are not. */

#undef NDEBUG
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_vfio.h>
#include <rte_vhost.h>

#include "dma-test.h"
#include "openvswitch/thread.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "util.h"

#define PROC_MAPS "/proc/self/maps"
#define PROC_SMAPS "/proc/self/smaps"
#define PAGE 4096
#define HUGE_PAGE (2 * 1024 * 1024)
#define MAX_REGIONS 70
#define CONTAINER_FD 1234

/* What the fake page map has for a page. */
#define PRESENT (UINT64_C(1) << 63)
#define SWAPPED (UINT64_C(1) << 62)

/* A guest, as the vhost library has it: the index is the vid. */
struct guest {
    bool no_table;
    unsigned int n;
    struct rte_vhost_mem_region regions[MAX_REGIONS];
};

struct mapping {
    uint64_t va, iova, len;
};

static struct {
    struct guest guests[4];

    enum rte_iova_mode iova_mode;

    /* Of vfio. */
    bool vfio, noiommu;         /* Module, and its parameter. */
    bool device, noiommu_group; /* In the container. */
    int max_mappings;           /* Takes no more, with these errors. */
    int map_rte_errno, map_errno;
    bool no_unmap;              /* Unmapping fails. */
    struct mapping mappings[300];
    int n_mappings;
    int n_map_calls, n_unmap_calls;

    /* Of pages. */
    long int page_size;         /* Of hugetlbfs, that all files are on. */
    bool old_kernel;            /* Does not know MADV_POPULATE_WRITE. */
    int n_populated;
    atomic_count n_pagemap_reads;
    bool two_pages;             /* Are all that there are. */
    struct {
        const uint8_t *map;     /* A mapping of a file, from its beginning, */
        size_t size;
        const uint64_t *entries;    /* ...and its pages. */
    } pagemap[8];
    int n_pagemap;
} fake = { .iova_mode = RTE_IOVA_VA, .max_mappings = 256 };

static struct ovs_mutex fake_mutex = OVS_MUTEX_INITIALIZER;

static int
fake_get_mem_table(int vid, struct rte_vhost_memory **table)
{
    const struct guest *g = &fake.guests[vid];

    if (g->no_table) {
        return -1;
    }
    *table = xmalloc(sizeof **table + g->n * sizeof *g->regions);
    (*table)->nregions = g->n;
    memcpy((*table)->regions, g->regions, g->n * sizeof *g->regions);
    return 0;
}

static int
fake_vfio_is_enabled(const char *module)
{
    ovs_assert(!strcmp(module, "vfio"));
    return fake.vfio;
}

static int
fake_ioctl(int fd, unsigned long int request, unsigned long int arg)
{
    ovs_assert(fd == CONTAINER_FD && request == VFIO_CHECK_EXTENSION
               && arg == VFIO_NOIOMMU_IOMMU);
    /* Without type, the container tells what it can be. */
    return fake.device ? fake.noiommu_group : fake.noiommu;
}

/* Whether there is memory of ours at all of 'va'. */
static bool
is_mapped(uint64_t va, uint64_t len)
{
    unsigned char *vec = xmalloc(len / PAGE);
    bool mapped = !mincore((void *) (uintptr_t) va, len, vec);

    free(vec);
    return mapped;
}

static int
fake_dma_map(int container, uint64_t va, uint64_t iova, uint64_t len)
{
    int retval = -1;

    ovs_assert(fake.vfio && container == RTE_VFIO_DEFAULT_CONTAINER_FD);
    ovs_assert(len && !((va | iova | len) % PAGE) && is_mapped(va, len));
    ovs_mutex_lock(&fake_mutex);
    fake.n_map_calls++;
    if (!fake.device) {
        rte_errno = ENODEV;
    } else if (fake.n_mappings >= fake.max_mappings) {
        /* The library leaves it alone if the kernel has refused. */
        if (fake.map_rte_errno) {
            rte_errno = fake.map_rte_errno;
        }
        errno = fake.map_errno;
    } else {
        /* The library would say that all is well, and nothing be mapped. */
        for (int i = 0; i < fake.n_mappings; i++) {
            const struct mapping *m = &fake.mappings[i];

            ovs_assert(iova + len <= m->iova || iova >= m->iova + m->len);
        }
        fake.mappings[fake.n_mappings++] = (struct mapping) { va, iova, len };
        retval = 0;
    }
    ovs_mutex_unlock(&fake_mutex);
    return retval;
}

static int
fake_dma_unmap(int container, uint64_t va, uint64_t iova, uint64_t len)
{
    int retval = -1;

    ovs_assert(container == RTE_VFIO_DEFAULT_CONTAINER_FD);
    /* Before that it must not go. */
    ovs_assert(is_mapped(va, len));
    ovs_mutex_lock(&fake_mutex);
    fake.n_unmap_calls++;
    for (int i = 0; i < fake.n_mappings && !fake.no_unmap; i++) {
        const struct mapping *m = &fake.mappings[i];

        if (m->va == va && m->iova == iova && m->len == len) {
            fake.mappings[i] = fake.mappings[--fake.n_mappings];
            retval = 0;
            break;
        }
    }
    ovs_assert(!retval || fake.no_unmap);
    ovs_mutex_unlock(&fake_mutex);
    return retval;
}

static int
fake_fstatfs(int fd, struct statfs *fs)
{
    if (!fake.page_size) {
        return fstatfs(fd, fs);
    }
    memset(fs, 0, sizeof *fs);
    fs->f_type = HUGETLBFS_MAGIC;
    fs->f_bsize = fake.page_size;
    return 0;
}

static int
fake_madvise(void *p, size_t size, int advice)
{
    if (advice == 23 /* MADV_POPULATE_WRITE */) {
        ovs_mutex_lock(&fake_mutex);
        fake.n_populated++;
        ovs_mutex_unlock(&fake_mutex);
        if (fake.old_kernel) {
            errno = EINVAL;
            return -1;
        }
    }
    return madvise(p, size, advice);
}

static ssize_t
fake_pread(int fd, void *entry, size_t size, off_t ofs)
{
    uintptr_t va = ofs / sizeof(uint64_t) * PAGE;

    ovs_assert(size == sizeof(uint64_t));
    atomic_count_inc(&fake.n_pagemap_reads);
    if (fake.two_pages) {
        *(uint64_t *) entry = PRESENT | (0x100 + va / PAGE % 2);
        return size;
    }
    for (int i = 0; i < fake.n_pagemap; i++) {
        size_t at = va - (uintptr_t) fake.pagemap[i].map;

        if (at < fake.pagemap[i].size) {
            memcpy(entry, &fake.pagemap[i].entries[at / fake.page_size], size);
            return size;
        }
    }
    return pread(fd, entry, size, ofs);
}

#define fstatfs fake_fstatfs
#define ioctl fake_ioctl
#define madvise fake_madvise
#define pread fake_pread
#define rte_eal_iova_mode() fake.iova_mode
#define rte_vfio_container_dma_map fake_dma_map
#define rte_vfio_container_dma_unmap fake_dma_unmap
#define rte_vfio_get_container_fd() CONTAINER_FD
#define rte_vfio_is_enabled fake_vfio_is_enabled
#define rte_vfio_noiommu_is_enabled() fake.noiommu
#define rte_vhost_get_mem_table fake_get_mem_table
#include "vhost-guest-mem.c"
#undef fstatfs
#undef madvise
#undef pread

/* What the tests are made of. */

static int
new_file(size_t size)
{
    int fd = syscall(SYS_memfd_create, "guest", MFD_CLOEXEC);

    ovs_assert(fd >= 0 && !ftruncate(fd, size));
    return fd;
}

/* The vhost library maps a region for 'vid'. */
static struct rte_vhost_mem_region *
add_region(int vid, uint64_t gpa, uint64_t size, uint64_t offset, int fd,
           size_t page_size)
{
    struct guest *g = &fake.guests[vid];
    struct rte_vhost_mem_region *r = &g->regions[g->n++];

    ovs_assert(g->n <= MAX_REGIONS);
    r->guest_phys_addr = gpa;
    r->size = size;
    r->mmap_size = ROUND_UP(offset + size, page_size);
    r->mmap_addr = mmap(NULL, r->mmap_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);
    ovs_assert(r->mmap_addr != MAP_FAILED);
    r->host_user_addr = (uintptr_t) r->mmap_addr + offset;
    r->fd = fd;
    return r;
}

/* The vhost library unmaps all that it has for 'vid'. */
static void
remove_regions(int vid)
{
    struct guest *g = &fake.guests[vid];

    while (g->n) {
        g->n--;
        ovs_assert(!munmap(g->regions[g->n].mmap_addr,
                           g->regions[g->n].mmap_size));
    }
}

/* A guest as QEMU makes it: low memory with a hole in it and high memory of
 * one file, and something small of another. */
static void
add_guest(int vid)
{
    int ram = new_file(64 * PAGE), small = new_file(PAGE);

    add_region(vid, 0x100000000, 32 * PAGE, 32 * PAGE, ram, PAGE);
    add_region(vid, 0, 10 * PAGE, 0, ram, PAGE);
    add_region(vid, 12 * PAGE, 20 * PAGE, 12 * PAGE, ram, PAGE);
    add_region(vid, 32 * PAGE, 100, 28, small, PAGE);
}

/* Mappings of the files of guests, ours and the library's. */
static int
count_mappings(void)
{
    FILE *f = fopen(PROC_MAPS, "r");
    char line[512];
    int n = 0;

    ovs_assert(f);
    while (fgets(line, sizeof line, f)) {
        n += strstr(line, "memfd:guest") != NULL;
    }
    fclose(f);
    return n;
}

/* Whether 'fd' has no page: an access to it would have made one. */
static bool
is_empty(int fd)
{
    struct stat s;

    ovs_assert(!fstat(fd, &s));
    return !s.st_blocks;
}

static struct vhost_guest_mem *
create(int vid)
{
    const char *error = "";
    struct vhost_guest_mem *mem = vhost_guest_mem_create(vid, &error);

    ovs_assert(mem && !error && !mem->no_dma);
    return mem;
}

/* As create(), for a guest whose regions are of one file with pages as in
 * 'entries'. */
static struct vhost_guest_mem *
create_with_pages(int vid, const uint64_t *entries)
{
    struct vhost_guest_mem *mem = create(vid);

    for (unsigned int i = 0; i < mem->n_regions; i++) {
        int n = fake.n_pagemap++;

        ovs_assert(n < ARRAY_SIZE(fake.pagemap));
        fake.pagemap[n].map = mem->regions[i].map;
        fake.pagemap[n].size = mem->regions[i].map_size;
        fake.pagemap[n].entries = entries;
    }
    return mem;
}

static void
check_error(const char *error, const char *expected)
{
    if (!error || !expected ? error != expected
        : !strstr(error, expected)) {
        ovs_fatal(0, "\"%s\" instead of \"%s\"", error ? error : "success",
                  expected ? expected : "success");
    }
}

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

/* Nothing is left of all tables. */
static void
check_gone(void)
{
    for (int vid = 0; vid < ARRAY_SIZE(fake.guests); vid++) {
        remove_regions(vid);
    }
    ovs_assert(!count_mappings());
    ovs_assert(!fake.n_mappings);
}

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

    fake.noiommu_group = false;
    check_error(vhost_guest_mem_map_for_dma(mem), NULL);
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

/* Physical addresses. */

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
    DMA_TEST_CASE(regions_are_sorted),
    DMA_TEST_CASE(mapping_of_our_own),
    DMA_TEST_CASE(nothing_is_populated),
    DMA_TEST_CASE(bad_tables),
    DMA_TEST_CASE(no_regions),
    DMA_TEST_CASE(equal_tables),
    DMA_TEST_CASE(lookup),
    DMA_TEST_CASE(from_library),
    DMA_TEST_CASE(vfio_maps_regions),
    DMA_TEST_CASE(vfio_without_device),
    DMA_TEST_CASE(vfio_without_iommu),
    DMA_TEST_CASE(vfio_errors),
    DMA_TEST_CASE(vfio_does_not_unmap),
    DMA_TEST_CASE(physical_without_hugetlbfs),
    DMA_TEST_CASE(physical_pages),
    DMA_TEST_CASE(physical_without_privilege),
    DMA_TEST_CASE(old_kernel),
    DMA_TEST_CASE(real_hugetlbfs),
    DMA_TEST_CASE(vfio_joins_pages),
    DMA_TEST_CASE(vfio_regions_share_a_page),
    DMA_TEST_CASE(vfio_ports_share_pages),
    DMA_TEST_CASE(vfio_tables_overlap),
    DMA_TEST_CASE(vfio_threads),
};

static void
test_vhost_guest_mem_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-mem", test_vhost_guest_mem_main);
