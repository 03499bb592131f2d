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

#ifndef VHOST_GUEST_MEM_H
#define VHOST_GUEST_MEM_H 1

/* The memory of a vhost-user guest, as we see it.
 *
 * A table is a snapshot of what the vhost library knows of the guest's memory
 * at one moment, with mappings of our own of the same files.  They last as
 * long as the table, whatever the library unmaps meanwhile: an engine that
 * still uses the old memory of a guest hurts nobody.
 *
 * Engines see memory by IOVA: by our virtual addresses if EAL's mode is VA,
 * page by page by physical ones if it is PA.  Where a vfio container is in
 * use, what the engines need is mapped in it, once per address however many
 * tables have it.
 *
 * Thread-safety
 * =============
 *
 * A table does not change, but in vhost_guest_mem_map_for_dma() and, of what
 * other threads look at 'no_dma' only, in vhost_guest_mem_device_came().  Who
 * creates and destroys it sees to it that nobody uses it any more
 * (vhost-async-guest.c). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <rte_common.h>

#include "openvswitch/compiler.h"
#include "openvswitch/list.h"
#include "ovs-atomic.h"
#include "util.h"

/* Regions of a guest, at most: more than the vhost library takes
 * (VHOST_MEMORY_MAX_NREGIONS is 8 in 22.11 to 25.11, the memory slots of 26.07
 * are 32). */
#define VHOST_GUEST_MEM_MAX_REGIONS 64

struct vhost_guest_range;

struct vhost_guest_region {
    uint64_t gpa;               /* Guest physical address. */
    uint64_t size;              /* Bytes. */
    uint8_t *va;                /* Where we have it. */
    uint64_t vhost_va;          /* Where the vhost library has it. */
    rte_iova_t *pages;          /* In PA mode, IOVA by page, else NULL;
                                 * RTE_BAD_IOVA where engines do not get. */
    unsigned int page_shift;    /* Of 'pages'. */
    void *map;                  /* Our mapping, */
    size_t map_size;            /* ...and its bytes. */
    dev_t dev;                  /* Which file it is of. */
    ino_t ino;
    bool hugetlbfs;             /* Its pages stay where they are. */
};

struct vhost_guest_mem {
    ATOMIC(const char *) no_dma;    /* Why engines do not get there, or
                                     * NULL. */
    unsigned int n_regions;
    struct vhost_guest_region regions[VHOST_GUEST_MEM_MAX_REGIONS];

    /* For vfio, protected by a mutex of vhost-guest-mem.c. */
    struct vhost_guest_range **ranges;  /* That it uses, each once. */
    size_t n_ranges, allocated_ranges;
    bool lacks_device;          /* It was to be mapped, and there was none. */
    struct ovs_list node;       /* Of those, or that are to be freed. */
};

struct vhost_guest_mem *vhost_guest_mem_create(int vid, const char **error);
void vhost_guest_mem_destroy(struct vhost_guest_mem *);
bool vhost_guest_mem_equals(const struct vhost_guest_mem *, int vid);

const char *vhost_guest_mem_map_for_dma(struct vhost_guest_mem *);
void vhost_guest_mem_device_came(void);

static inline const char *
vhost_guest_mem_no_dma(const struct vhost_guest_mem *mem)
{
    const char *no_dma;

    atomic_read_relaxed(&CONST_CAST(struct vhost_guest_mem *, mem)->no_dma,
                        &no_dma);
    return no_dma;
}

void *vhost_guest_mem_from_library(const struct vhost_guest_mem *,
                                   const void *vhost_va, uint64_t size,
                                   uint64_t *gpa);

/* Returns where we have guest address 'gpa', NULL if nowhere, and lowers
 * '*len', which must not be 0, to what follows it in the same region.  '*hint'
 * is the region that was found last and that is looked at first; any value
 * below VHOST_GUEST_MEM_MAX_REGIONS will do. */
static inline uint8_t *
vhost_guest_mem_lookup(const struct vhost_guest_mem *mem, uint64_t gpa,
                       uint32_t *len, uint32_t *hint)
{
    const struct vhost_guest_region *r = mem->regions + *hint;
    uint64_t ofs = gpa - r->gpa;

    /* Regions behind the last one have a size of 0. */
    if (OVS_UNLIKELY(ofs >= r->size)) {
        uint32_t i;

        for (i = 0; i < mem->n_regions; i++) {
            r = &mem->regions[i];
            ofs = gpa - r->gpa;
            if (ofs < r->size) {
                break;
            }
        }
        if (i >= mem->n_regions) {
            return NULL;
        }
        *hint = i;
    }
    if (OVS_UNLIKELY(*len > r->size - ofs)) {
        *len = r->size - ofs;
    }
    return r->va + ofs;
}

/* Returns the IOVA of 'va', which lies in region number 'region', or
 * RTE_BAD_IOVA if engines do not get there, and lowers '*len' to what follows
 * it without a break. */
static inline rte_iova_t
vhost_guest_mem_iova(const struct vhost_guest_mem *mem, uint32_t region,
                     const uint8_t *va, uint32_t *len)
{
    const struct vhost_guest_region *r = &mem->regions[region];
    uint64_t in_map, in_page, page_size;

    if (OVS_LIKELY(!r->pages)) {
        return (rte_iova_t) (uintptr_t) va;
    }
    /* Pages are counted from the beginning of the mapping. */
    in_map = va - (const uint8_t *) r->map;
    page_size = UINT64_C(1) << r->page_shift;
    in_page = in_map & (page_size - 1);
    if (*len > page_size - in_page) {
        *len = page_size - in_page;
    }
    return (r->pages[in_map >> r->page_shift] == RTE_BAD_IOVA
            ? RTE_BAD_IOVA : r->pages[in_map >> r->page_shift] + in_page);
}

/* Returns the guest address of 'va', which lies in region number 'region'. */
static inline uint64_t
vhost_guest_mem_gpa(const struct vhost_guest_mem *mem, uint32_t region,
                    const uint8_t *va)
{
    const struct vhost_guest_region *r = &mem->regions[region];

    return r->gpa + (va - r->va);
}

#endif /* vhost-guest-mem.h */
