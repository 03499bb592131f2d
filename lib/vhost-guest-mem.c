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

/* Implementation of vhost-guest-mem.h.
 *
 * Tables come with messages of the guest, in the thread of the vhost library,
 * and with ports that change sides, in the helper's, which destroys them.
 * What they share, the ranges of the IOMMU's addresses that are mapped, is
 * protected by a mutex that is held while memory is mapped and pinned, which
 * takes seconds for a large guest: no PMD thread comes here. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "vhost-guest-mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_vhost.h>

#include "openvswitch/thread.h"
#include "openvswitch/vlog.h"
#include "ovs-atomic.h"
#include "util.h"
#include "vhost-guest-pages.h"

#ifdef VHOST_ASYNC_HAVE_VFIO
#include <linux/vfio.h>
#include <rte_vfio.h>
#endif

VLOG_DEFINE_THIS_MODULE(vhost_guest_mem);

#define VFIO_MODULE "/sys/module/vfio"

/* Addresses of the IOMMU that are mapped for the engines.  In PA mode, two
 * ports of one guest have the same pages at the same ones. */
struct vhost_guest_range {
    struct ovs_list node;           /* In 'vfio_ranges'. */
    uint64_t iova, len;             /* Bytes. */
    uint8_t *va;                    /* It was mapped with... */
    struct vhost_guest_mem *owner;  /* ...in this table. */
    unsigned int n_users;           /* Tables. */
};

static struct ovs_mutex vfio_mutex = OVS_MUTEX_INITIALIZER;

/* All ranges, the last one that was mapped first. */
static struct ovs_list vfio_ranges OVS_GUARDED_BY(vfio_mutex)
    = OVS_LIST_INITIALIZER(&vfio_ranges);

/* Tables that were destroyed.  A region stays while its table owns a range in
 * it: another table uses it, too, or it cannot be unmapped.  DPDK maps
 * ranges again by their virtual addresses when a device comes after the last
 * one went (rte_vfio_setup_device(), 22.11), and where these are IOVAs too,
 * other memory that came to lie there could not be mapped: the kernel would
 * say EEXIST, DPDK takes that for success, and engines would write to the old
 * memory. */
static struct ovs_list leaving OVS_GUARDED_BY(vfio_mutex)
    = OVS_LIST_INITIALIZER(&leaving);

/* Tables that were to be mapped when there was no vfio device with an IOMMU:
 * DPDK maps the memory that it knows of for one that comes, and did not take
 * theirs. */
static struct ovs_list lacking OVS_GUARDED_BY(vfio_mutex)
    = OVS_LIST_INITIALIZER(&lacking);

/* Creating. */

static int
compare_regions(const void *a_, const void *b_)
{
    const struct rte_vhost_mem_region *a = a_;
    const struct rte_vhost_mem_region *b = b_;

    return (a->guest_phys_addr < b->guest_phys_addr ? -1
            : a->guest_phys_addr > b->guest_phys_addr);
}

/* Returns the library's table, by guest address, for the caller to free(), or
 * NULL. */
static struct rte_vhost_memory *
get_library_table(int vid)
{
    struct rte_vhost_memory *table = NULL;

    if (rte_vhost_get_mem_table(vid, &table) || !table) {
        return NULL;
    }
    qsort(table->regions, table->nregions, sizeof *table->regions,
          compare_regions);
    return table;
}

/* Where 'from' begins in its mapping, which is that of the whole file from
 * its beginning (vhost_user_mmap_region(), 22.11 to 26.07). */
static uint64_t
library_offset(const struct rte_vhost_mem_region *from)
{
    return from->host_user_addr - (uintptr_t) from->mmap_addr;
}

/* Returns NULL if 'from' makes sense behind other regions that end at guest
 * address 'end', or what is wrong. */
static const char *
check_region(const struct rte_vhost_mem_region *from, uint64_t end)
{
    uint64_t ofs = library_offset(from);

    if (from->guest_phys_addr < end) {
        return "two regions overlap";
    }
    if (!from->size || !from->mmap_size) {
        return "a region is empty";
    }
    if (from->size > UINT64_MAX - from->guest_phys_addr) {
        return "a region is beyond the end of guest addresses";
    }
    if (!from->mmap_addr || ofs > from->mmap_size
        || from->size > from->mmap_size - ofs) {
        return "a region is not within its mapping";
    }
    return NULL;
}

/* Maps the file of 'from', which was checked, anew as 'r'.  Returns NULL or
 * what is wrong.
 *
 * Nothing is populated: guests may have much more memory than they use.  A
 * file that is made shorter later is a SIGBUS for who accesses what it lost,
 * as it is for the vhost library. */
static const char *
map_region(struct vhost_guest_region *r,
           const struct rte_vhost_mem_region *from)
{
    uint64_t ofs = library_offset(from);
    struct statfs fs;
    struct stat s;
    void *map;

    if (fstat(from->fd, &s)) {
        return "the file of a region cannot be examined";
    }
    if (!S_ISREG(s.st_mode)) {
        return "a region is not in a regular file";
    }
    if (s.st_size < 0 || (uint64_t) s.st_size < ofs + from->size) {
        return "a region is larger than its file";
    }
    map = mmap(NULL, from->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
               from->fd, 0);
    if (map == MAP_FAILED) {
        return "a region cannot be mapped";
    }
    /* A guest's memory is of no use in a child, nor in a core dump, from which
     * the library leaves it out too (mem_set_dump(), 23.03 and later). */
    madvise(map, from->mmap_size, MADV_DONTFORK);
    madvise(map, from->mmap_size, MADV_DONTDUMP);

    r->gpa = from->guest_phys_addr;
    r->size = from->size;
    r->va = (uint8_t *) map + ofs;
    r->vhost_va = from->host_user_addr;
    r->map = map;
    r->map_size = from->mmap_size;
    r->dev = s.st_dev;
    r->ino = s.st_ino;
    if (!fstatfs(from->fd, &fs) && fs.f_type == HUGETLBFS_MAGIC) {
        /* The size of its pages (hugetlbfs_statfs(), Linux). */
        r->page_shift = log_2_floor(fs.f_bsize);
        r->hugetlbfs = true;
    }
    return NULL;
}

/* Frees 'mem', of which nothing is mapped for vfio. */
static void
free_region(struct vhost_guest_region *r)
{
    free(r->pages);
    munmap(r->map, r->map_size);
}

static void
free_table(struct vhost_guest_mem *mem)
{
    while (mem->n_regions) {
        free_region(&mem->regions[--mem->n_regions]);
    }
    free(mem->ranges);
    free(mem);
}

/* Returns a table of what the vhost library knows of the memory of device
 * 'vid' now, with mappings of our own; or NULL, with '*error' why not, a
 * constant.  The caller destroys it.
 *
 * Called where no message of the device changes its memory meanwhile: in
 * 'post_msg_handle' of one that succeeded, in new_device(), or in any thread
 * that keeps messages out.  The device must have memory:
 * rte_vhost_get_mem_table() crashes if it does not (22.11 to 26.07). */
struct vhost_guest_mem *
vhost_guest_mem_create(int vid, const char **error)
{
    struct rte_vhost_memory *table = get_library_table(vid);
    struct vhost_guest_mem *mem;
    uint64_t end = 0;           /* Of the regions so far. */

    if (!table) {
        *error = "the vhost library does not tell the guest's memory";
        return NULL;
    }

    mem = xzalloc(sizeof *mem);
    *error = (table->nregions > VHOST_GUEST_MEM_MAX_REGIONS
              ? "there are too many regions" : NULL);
    for (uint32_t i = 0; i < table->nregions && !*error; i++) {
        const struct rte_vhost_mem_region *from = &table->regions[i];

        *error = check_region(from, end);
        if (!*error) {
            *error = map_region(&mem->regions[i], from);
        }
        if (!*error) {
            end = from->guest_phys_addr + from->size;
            mem->n_regions++;
        }
    }
    free(table);
    if (*error) {
        free_table(mem);
        return NULL;
    }
    return mem;
}

/* Whether 'mem' is still what the vhost library has for device 'vid'.  Called
 * where vhost_guest_mem_create() may be.
 *
 * Addresses alone do not tell: when the library maps other files, they can
 * come to lie where the old ones were. */
bool
vhost_guest_mem_equals(const struct vhost_guest_mem *mem, int vid)
{
    struct rte_vhost_memory *table = get_library_table(vid);
    bool equal = table && table->nregions == mem->n_regions;

    for (unsigned int i = 0; equal && i < mem->n_regions; i++) {
        const struct rte_vhost_mem_region *from = &table->regions[i];
        const struct vhost_guest_region *r = &mem->regions[i];
        struct stat s;

        equal = (from->guest_phys_addr == r->gpa
                 && from->size == r->size
                 && from->host_user_addr == r->vhost_va
                 && from->mmap_size == r->map_size
                 && library_offset(from)
                    == (uint64_t) (r->va - (uint8_t *) r->map)
                 && !fstat(from->fd, &s)
                 && s.st_dev == r->dev && s.st_ino == r->ino);
    }
    free(table);
    return equal;
}

/* Returns where we have the 'size' bytes that the vhost library has at
 * 'vhost_va', and their guest address in '*gpa' unless that is NULL; or NULL
 * if they are not all in one region.  For any thread. */
void *
vhost_guest_mem_from_library(const struct vhost_guest_mem *mem,
                             const void *vhost_va, uint64_t size,
                             uint64_t *gpa)
{
    for (unsigned int i = 0; i < mem->n_regions; i++) {
        const struct vhost_guest_region *r = &mem->regions[i];
        uint64_t ofs = (uintptr_t) vhost_va - r->vhost_va;

        if (ofs < r->size) {
            if (size > r->size - ofs) {
                return NULL;
            }
            if (gpa) {
                *gpa = r->gpa + ofs;
            }
            return r->va + ofs;
        }
    }
    return NULL;
}

/* vfio.
 *
 * DPDK has all devices of a process in its default container, which is asked
 * for by RTE_VFIO_DEFAULT_CONTAINER_FD.  (Engines of NXP's fslmc bus are in
 * one of their own, and what they copy to a guest fails.) */

#ifdef VHOST_ASYNC_HAVE_VFIO
/* Returns NULL, or a constant that says why memory cannot be mapped;
 * '*no_device' if that is for lack of a device. */
static const char *
vfio_map(uint8_t *va, uint64_t iova, uint64_t len, bool *no_device)
{
    /* The library sets rte_errno for its own errors only, errno is that of the
     * kernel. */
    rte_errno = 0;
    if (!rte_vfio_container_dma_map(RTE_VFIO_DEFAULT_CONTAINER_FD,
                                    (uintptr_t) va, iova, len)) {
        return NULL;
    }

    /* ENODEV is for one reason only: the container has no type, as it never
     * had a device (vfio_dma_mem_map() in lib/eal/linux/eal_vfio.c, 22.11 to
     * 26.07).  Hence no engine of this process is behind vfio.  (A container
     * that lost its last device keeps its type.) */
    *no_device = rte_errno == ENODEV;
    return (rte_errno == ENOMEM
            ? "DPDK maps at most 256 ranges of memory for vfio: use larger "
              "pages, or fewer ports"
            : !rte_errno && errno == ENOMEM
            ? "memory that is locked for vfio is limited: raise LimitMEMLOCK, "
              "see ulimit -l"
            : "the IOMMU does not take the guest's memory: see the log of "
              "EAL");
}

static bool
vfio_unmap(const struct vhost_guest_range *range)
{
    return !rte_vfio_container_dma_unmap(RTE_VFIO_DEFAULT_CONTAINER_FD,
                                         (uintptr_t) range->va, range->iova,
                                         range->len);
}

/* Whether an engine may be behind an IOMMU. */
static bool
vfio_in_use(void)
{
    /* Without vfio when EAL starts there is none later. */
    if (!rte_vfio_is_enabled("vfio")) {
        return false;
    }
    /* Without IOMMU, mapping does nothing, but takes one of the few mappings
     * that DPDK remembers.  The parameter of the kernel's module only allows
     * that, a group of a real IOMMU is none the less.  A container knows the
     * type that it is of, and while it has none, all that there are. */
    return rte_vfio_noiommu_is_enabled() <= 0
           || ioctl(rte_vfio_get_container_fd(), VFIO_CHECK_EXTENSION,
                    VFIO_NOIOMMU_IOMMU) <= 0;
}
#else
static const char *
vfio_map(uint8_t *va OVS_UNUSED, uint64_t iova OVS_UNUSED,
         uint64_t len OVS_UNUSED, bool *no_device OVS_UNUSED)
{
    return "this release of DPDK does not tell how to map memory for vfio";
}

static bool
vfio_unmap(const struct vhost_guest_range *range OVS_UNUSED)
{
    return true;
}

static bool
vfio_in_use(void)
{
    return !access(VFIO_MODULE, F_OK);
}
#endif

/* Returns the range that 'iova' is in, or NULL.  There are not many: DPDK
 * remembers 256. */
static struct vhost_guest_range *
find_range(uint64_t iova)
    OVS_REQUIRES(vfio_mutex)
{
    struct vhost_guest_range *range;

    LIST_FOR_EACH (range, node, &vfio_ranges) {
        if (iova - range->iova < range->len) {
            return range;
        }
    }
    return NULL;
}

/* Makes 'mem' a user of 'range', once. */
static void
use_range(struct vhost_guest_mem *mem, struct vhost_guest_range *range)
    OVS_REQUIRES(vfio_mutex)
{
    /* It may be the one of the page before. */
    for (size_t i = mem->n_ranges; i > 0; i--) {
        if (mem->ranges[i - 1] == range) {
            return;
        }
    }
    if (mem->n_ranges == mem->allocated_ranges) {
        mem->ranges = x2nrealloc(mem->ranges, &mem->allocated_ranges,
                                 sizeof *mem->ranges);
    }
    mem->ranges[mem->n_ranges++] = range;
    range->n_users++;
}

/* Maps 'len' bytes of 'mem' at 'va' for vfio, if 'len' is not 0. */
static const char *
map_range(struct vhost_guest_mem *mem, uint8_t *va, uint64_t iova,
          uint64_t len, bool *no_device)
    OVS_REQUIRES(vfio_mutex)
{
    struct vhost_guest_range *range;

    if (!len) {
        return NULL;
    }
    /* One that could not be unmapped may be there from an earlier attempt. */
    range = find_range(iova);
    if (!range) {
        const char *error = vfio_map(va, iova, len, no_device);

        if (error) {
            return error;
        }
        range = xmalloc(sizeof *range);
        *range = (struct vhost_guest_range) {
            .iova = iova, .len = len, .va = va, .owner = mem
        };
        ovs_list_push_front(&vfio_ranges, &range->node);
    }
    use_range(mem, range);
    return NULL;
}

/* Maps the pages of 'r' that are known and not mapped by any table, those that
 * follow each other together.  A range is mapped and unmapped as a whole: the
 * kernel knows no parts of one, and takes a page that is mapped already for
 * all that was to be mapped with it (EEXIST, which DPDK says is fine). */
static const char *
map_physical(struct vhost_guest_mem *mem, const struct vhost_guest_region *r,
             bool *no_device)
    OVS_REQUIRES(vfio_mutex)
{
    uint64_t page_size = UINT64_C(1) << r->page_shift;
    uint64_t iova = 0, len = 0;
    uint8_t *va = NULL;
    const char *error;
    size_t first, end;

    vhost_guest_pages_range(r, &first, &end);
    for (size_t i = first; i < end; i++) {
        struct vhost_guest_range *range = NULL;

        if (r->pages[i] != RTE_BAD_IOVA) {
            range = find_range(r->pages[i]);
            if (range) {
                use_range(mem, range);
            } else if (len && r->pages[i] == iova + len) {
                len += page_size;
                continue;
            }
        }
        error = map_range(mem, va, iova, len, no_device);
        if (error) {
            return error;
        }
        va = (uint8_t *) r->map + (i << r->page_shift);
        iova = r->pages[i];
        len = r->pages[i] == RTE_BAD_IOVA || range ? 0 : page_size;
    }
    return map_range(mem, va, iova, len, no_device);
}

static bool
owns_range_in(const struct vhost_guest_mem *mem,
              const struct vhost_guest_region *r)
    OVS_REQUIRES(vfio_mutex)
{
    const struct vhost_guest_range *range;

    LIST_FOR_EACH (range, node, &vfio_ranges) {
        if (range->owner == mem
            && (size_t) (range->va - (uint8_t *) r->map) < r->map_size) {
            return true;
        }
    }
    return false;
}

/* Makes 'mem' no user of any range, unmaps what nobody uses, and frees the
 * tables that have to stay no more. */
static void
unuse_ranges(struct vhost_guest_mem *mem)
    OVS_REQUIRES(vfio_mutex)
{
    static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(1, 5);
    struct vhost_guest_mem *gone;
    struct vhost_guest_range *range;

    while (mem->n_ranges) {
        mem->ranges[--mem->n_ranges]->n_users--;
    }
    LIST_FOR_EACH_SAFE (range, node, &vfio_ranges) {
        if (!range->n_users && vfio_unmap(range)) {
            ovs_list_remove(&range->node);
            free(range);
        } else if (!range->n_users) {
            VLOG_WARN_RL(&rl, "%"PRIu64" bytes of a guest that is gone cannot "
                         "be unmapped for vfio", range->len);
        }
    }
    LIST_FOR_EACH_SAFE (gone, node, &leaving) {
        for (unsigned int i = gone->n_regions; i-- > 0;) {
            if (!owns_range_in(gone, &gone->regions[i])) {
                free_region(&gone->regions[i]);
                gone->regions[i] = gone->regions[--gone->n_regions];
            }
        }
        if (!gone->n_regions) {
            ovs_list_remove(&gone->node);
            free_table(gone);
        }
    }
}

static void
set_lacks_device(struct vhost_guest_mem *mem, bool lacks)
    OVS_REQUIRES(vfio_mutex)
{
    if (lacks && !mem->lacks_device) {
        ovs_list_push_back(&lacking, &mem->node);
    } else if (!lacks && mem->lacks_device) {
        ovs_list_remove(&mem->node);
    }
    mem->lacks_device = lacks;
}

/* Maps all of 'mem' for vfio, or nothing.  Returns NULL, also if there is no
 * device yet, or why not. */
static const char *
map_ranges(struct vhost_guest_mem *mem)
    OVS_REQUIRES(vfio_mutex)
{
    const char *error = NULL;
    bool no_device = !vfio_in_use();
    size_t page = getpagesize();

    /* What could not be unmapped takes room that is scarce. */
    unuse_ranges(mem);
    for (unsigned int i = 0; i < mem->n_regions && !error && !no_device; i++) {
        const struct vhost_guest_region *r = &mem->regions[i];

        if (r->pages) {
            error = map_physical(mem, r, &no_device);
        } else {
            /* A region need not begin and end with a page. */
            size_t ofs = ROUND_DOWN(r->va - (uint8_t *) r->map, page);
            size_t end = ROUND_UP(r->va - (uint8_t *) r->map + r->size, page);
            uint8_t *va = (uint8_t *) r->map + ofs;

            error = map_range(mem, va, (uintptr_t) va, end - ofs, &no_device);
        }
    }
    if (error) {
        unuse_ranges(mem);
    }
    set_lacks_device(mem, no_device);
    return no_device ? NULL : error;
}

/* Sees to it that engines get to the memory of 'mem', as far as possible:
 * finds out its physical addresses if EAL uses them, which populates it, and
 * maps it for vfio if that is in use, which pins it.  Returns NULL, or why no
 * engine gets anywhere in it, a constant, as in 'no_dma'.
 *
 * It can take seconds.  To be called before the table is used, and again if
 * what failed may not fail any more.  What is mapped stays so: a call after
 * one that mapped it does nothing.
 *
 * For any thread, one at a time for a table. */
const char *
vhost_guest_mem_map_for_dma(struct vhost_guest_mem *mem)
{
    const char *error = NULL;

    if (rte_eal_iova_mode() == RTE_IOVA_PA) {
        error = vhost_guest_pages_find(mem);
    }
    ovs_mutex_lock(&vfio_mutex);
    if (!error && !mem->n_ranges) {
        error = map_ranges(mem);
    }
    atomic_store_relaxed(&mem->no_dma, error);
    ovs_mutex_unlock(&vfio_mutex);
    return error;
}

/* Maps the memory of guests that was to be mapped for vfio when there was no
 * device.  To be called after devices were probed and before an engine is
 * used: it is the first one behind vfio, which without this would get nowhere.
 * It can take seconds.  The main thread. */
void
vhost_guest_mem_device_came(void)
{
    struct vhost_guest_mem *mem;

    ovs_mutex_lock(&vfio_mutex);
    LIST_FOR_EACH_SAFE (mem, node, &lacking) {
        const char *error = map_ranges(mem);

        if (error) {
            VLOG_WARN("packets to a guest are copied by CPU: %s.", error);
            atomic_store_relaxed(&mem->no_dma, error);
        }
    }
    ovs_mutex_unlock(&vfio_mutex);
}

/* Destroys 'mem', unless it is NULL.  Nobody may use it any more, engines
 * least of all.  For any thread. */
void
vhost_guest_mem_destroy(struct vhost_guest_mem *mem)
{
    if (mem) {
        ovs_mutex_lock(&vfio_mutex);
        set_lacks_device(mem, false);
        ovs_list_push_back(&leaving, &mem->node);
        unuse_ranges(mem);
        ovs_mutex_unlock(&vfio_mutex);
    }
}
