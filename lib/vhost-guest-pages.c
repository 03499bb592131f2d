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

/* Implementation of vhost-guest-pages.h. */

#include <config.h>

#include "vhost-guest-pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_common.h>

#include "ovs-atomic.h"
#include "util.h"
#include "vhost-guest-mem.h"

#ifndef MADV_POPULATE_WRITE     /* Linux before 5.14. */
#define MADV_POPULATE_WRITE 23
#endif

/* See Documentation/admin-guide/mm/pagemap.rst of Linux. */
#define PAGEMAP "/proc/self/pagemap"
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_PFN ((UINT64_C(1) << 55) - 1)

/* Returns the physical address of the page at 'va', of 'size' bytes, or
 * RTE_BAD_IOVA, by 'pagemap', a file descriptor.  In case the guest never used
 * it, sees to it that there is a page, and that we have it mapped.
 *
 * rte_mem_virt2phy() (22.11 to 26.07) would take what the kernel notes of a
 * page that is swapped out for an address. */
static rte_iova_t
find_page(uint8_t *va, size_t size, int pagemap)
{
    uint64_t small_page = getpagesize();
    uint64_t entry;
    rte_iova_t iova;

    /* Unlike an access, this fails without a signal, and the page is then not
     * present. */
    if (madvise(va, size, MADV_POPULATE_WRITE) && errno == EINVAL) {
        atomic_uint8_t *p = ALIGNED_CAST(atomic_uint8_t *, va);
        uint8_t orig;

        /* The kernel is too old.  There is a page to be had: mmap() of
         * hugetlbfs has reserved it.  The guest may be writing there, hence
         * atomic; it orders nothing. */
        atomic_add_explicit(p, 0, &orig, memory_order_relaxed);
    }
    if (pread(pagemap, &entry, sizeof entry,
              (uintptr_t) va / small_page * sizeof entry) != sizeof entry
        || !(entry & PAGEMAP_PRESENT)) {
        return RTE_BAD_IOVA;
    }
    /* Without CAP_SYS_ADMIN it is 0. */
    iova = (entry & PAGEMAP_PFN) * small_page;
    return iova && !(iova & (size - 1)) ? iova : RTE_BAD_IOVA;
}

/* Numbers of the pages of 'r' in its mapping, [*first, *end). */
void
vhost_guest_pages_range(const struct vhost_guest_region *r, size_t *first,
                        size_t *end)
{
    uint64_t ofs = r->va - (uint8_t *) r->map;

    *first = ofs >> r->page_shift;
    *end = ((ofs + r->size - 1) >> r->page_shift) + 1;
}

/* Fills in 'pages' of 'r', by 'pagemap', unless that was done before.  Returns
 * true if any is known. */
static bool
find_pages(struct vhost_guest_region *r, int pagemap)
{
    bool known = false, done = r->pages != NULL;
    size_t first, end;

    if (!done && !r->hugetlbfs) {
        /* Small pages move.  None is known, and they need not be counted. */
        r->page_shift = log_2_ceil(r->map_size);
    }
    vhost_guest_pages_range(r, &first, &end);
    if (!done) {
        r->pages = xmalloc(end * sizeof *r->pages);
    }
    for (size_t i = 0; i < end; i++) {
        if (!done) {
            r->pages[i] = (i < first || !r->hugetlbfs ? RTE_BAD_IOVA
                           : find_page((uint8_t *) r->map
                                       + (i << r->page_shift),
                                       (size_t) 1 << r->page_shift, pagemap));
        }
        known |= r->pages[i] != RTE_BAD_IOVA;
    }
    return known;
}

/* Finds the physical addresses of 'mem', once: others may be looking at them.
 * Returns NULL or why engines get nowhere. */
const char *
vhost_guest_pages_find(struct vhost_guest_mem *mem)
{
    bool huge = false, known = false;
    int pagemap = -1;

    for (unsigned int i = 0; i < mem->n_regions; i++) {
        struct vhost_guest_region *r = &mem->regions[i];

        if (!r->pages && pagemap < 0) {
            pagemap = open(PAGEMAP, O_RDONLY | O_CLOEXEC);
        }
        huge |= r->hugetlbfs;
        known |= find_pages(r, pagemap);
    }
    if (pagemap >= 0) {
        close(pagemap);
    }
    return (known || !mem->n_regions ? NULL
            : huge ? "physical addresses cannot be read (CAP_SYS_ADMIN)"
            : "physical addresses are in use, and guest memory is not on "
              "hugetlbfs");
}
