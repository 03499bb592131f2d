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

#ifndef VHOST_GUEST_MEM_FIXTURE_H
#define VHOST_GUEST_MEM_FIXTURE_H 1

/* Guests, as the vhost library has them, and their memory,
 * lib/vhost-guest-mem.c.
 *
 * Files and mappings are real.  The vhost library, the container of vfio, and
 * the kernel's answers about pages are not.
 *
 * Names that the library has, too, begin with those of the test program: it
 * defines DP() before it includes this. */

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

#include "lib-sources.h"
#include "openvswitch/thread.h"
#include "ovs-atomic.h"
#include "ovs-thread.h"
#include "util.h"

#define PROC_MAPS "/proc/self/maps"
#define PAGE 4096
#define MAX_REGIONS 70
#define CONTAINER_FD 1234

/* What the fake page map has for a page. */
#define PRESENT (UINT64_C(1) << 63)

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

#define vhost_guest_mem_create DP(vhost_guest_mem_create)
#define vhost_guest_mem_destroy DP(vhost_guest_mem_destroy)
#define vhost_guest_mem_device_came DP(vhost_guest_mem_device_came)
#define vhost_guest_mem_equals DP(vhost_guest_mem_equals)
#define vhost_guest_mem_from_library DP(vhost_guest_mem_from_library)
#define vhost_guest_mem_map_for_dma DP(vhost_guest_mem_map_for_dma)
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
#define vhost_guest_pages_find DP(vhost_guest_pages_find)
#define vhost_guest_pages_range DP(vhost_guest_pages_range)
#include "vhost-guest-pages.c"
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
static OVS_UNUSED void
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
static OVS_UNUSED bool
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
static OVS_UNUSED struct vhost_guest_mem *
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

#endif /* vhost-guest-mem-fixture.h */
