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

/* The addresses that drivers hand to devices, and where the process has what
 * is there.
 *
 * Where EAL uses virtual addresses they are the same, and so they are for a
 * work queue of the kernel's driver, which has SVA.  Where it uses physical
 * ones, as for a device without an IOMMU, they are looked up: in what the
 * kernel says of the hugepages that this process maps, since no other memory
 * is handed to engines then.  A page that is found is looked at again each
 * time, since it may have been unmapped.
 *
 * Called by engines and in handlers of signals: so the lock, which protects
 * all of this, is none that sleeps, and files are read by system calls. */

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

#include "dma_devices.h"

/* The smallest hugepages; larger ones are several of them. */
#define HUGE_SHIFT 21
#define HUGE_SIZE (UINT64_C(1) << HUGE_SHIFT)
#define PAGE_SHIFT 12

/* Of an entry of /proc/self/pagemap. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME ((UINT64_C(1) << 55) - 1)

/* Hugepages of a process: a hash table by physical address, in which entries
 * are searched from where they belong onwards. */
#define N_PLACES 65536

struct place {
    uint64_t pa;
    uint64_t va;                /* 0: free. */
};

static struct place places[N_PLACES];
static int pagemap = -1;        /* /proc/self/pagemap, once it is needed. */
static int lock;

static struct place *
find_place(uint64_t pa)
{
    size_t i = (pa >> HUGE_SHIFT) % N_PLACES;

    for (size_t n = 0; n < N_PLACES; n++, i = (i + 1) % N_PLACES) {
        if (!places[i].va || places[i].pa == pa) {
            return &places[i];
        }
    }
    return NULL;
}

/* Returns the physical address of the page at 'va', 0 if there is none. */
static uint64_t
look_up(uint64_t va)
{
    uint64_t entry;

    if (pread(pagemap, &entry, sizeof entry,
              (va >> PAGE_SHIFT) * sizeof entry) != sizeof entry
        || !(entry & PAGEMAP_PRESENT)) {
        return 0;
    }
    return (entry & PAGEMAP_FRAME) << PAGE_SHIFT;
}

/* Takes the hugepages of the mapping that 'line' of /proc/self/maps is about
 * into the table. */
static void
add_mapping(const char *line)
{
    char *end;
    uint64_t begin = strtoull(line, &end, 16);
    uint64_t limit = strtoull(end + 1, NULL, 16);

    if (begin % HUGE_SIZE || limit % HUGE_SIZE) {
        return;
    }
    for (uint64_t va = begin; va < limit; va += HUGE_SIZE) {
        uint64_t pa = look_up(va);

        /* Of pages that are not huge, some are aligned by chance, but not
         * what follows them. */
        if (pa && !(pa % HUGE_SIZE)
            && look_up(va + HUGE_SIZE - (1 << PAGE_SHIFT))
               == pa + HUGE_SIZE - (1 << PAGE_SHIFT)) {
            struct place *place = find_place(pa);

            if (place) {
                place->pa = pa;
                place->va = va;
            }
        }
    }
}

static void
look_for_places(void)
{
    static const char path[] = "/proc/self/maps";
    char buf[8192];
    size_t used = 0;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    memset(places, 0, sizeof places);
    while (fd >= 0
           && (n = read(fd, buf + used, sizeof buf - 1 - used)) > 0) {
        char *line = buf;
        char *end;

        used += n;
        buf[used] = '\0';
        while ((end = strchr(line, '\n'))) {
            add_mapping(line);
            line = end + 1;
        }
        used -= line - buf;
        memmove(buf, line, used);
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* Returns where the process has what is at 'iova', or NULL.  Lowers '*n' to
 * the bytes that it has there in one piece. */
void *
iova_to_va(const struct device *d, uint64_t iova, size_t *n)
{
    uint64_t pa = iova & ~(HUGE_SIZE - 1);
    uint64_t offset = iova - pa;
    static const char path[] = "/proc/self/pagemap";
    uint64_t va = 0;

    if (rte_eal_iova_mode() != RTE_IOVA_PA || d->params.kernel) {
        return (void *) (uintptr_t) iova;
    }
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
    if (pagemap < 0) {
        pagemap = open(path, O_RDONLY | O_CLOEXEC);
    }
    for (int try = 0; try < 2 && !va; try++) {
        const struct place *place = find_place(pa);

        if (place && place->va && look_up(place->va) == pa) {
            va = place->va + offset;
        } else if (!try) {
            look_for_places();
        }
    }
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    *n = RTE_MIN(*n, HUGE_SIZE - offset);
    return (void *) (uintptr_t) va;
}

/* Copies 'n' bytes from 'iova' to 'dst', or returns false. */
bool
iova_read(const struct device *d, void *dst, uint64_t iova, size_t n)
{
    while (n) {
        size_t part = n;
        const void *src = iova_to_va(d, iova, &part);

        if (!src || memory_copy(dst, src, part) != part) {
            return false;
        }
        dst = (char *) dst + part;
        iova += part;
        n -= part;
    }
    return true;
}

/* Copies 'n' bytes from 'src' to 'iova', or returns false. */
bool
iova_write(const struct device *d, uint64_t iova, const void *src, size_t n)
{
    while (n) {
        size_t part = n;
        void *dst = iova_to_va(d, iova, &part);

        if (!dst || memory_copy(dst, src, part) != part) {
            return false;
        }
        src = (const char *) src + part;
        iova += part;
        n -= part;
    }
    return true;
}

/* Stores 'value' at 'iova', which is aligned, at once, or returns false. */
bool
iova_store64(const struct device *d, uint64_t iova, uint64_t value)
{
    size_t n = sizeof value;
    uint64_t *dst = iova_to_va(d, iova, &n);

    return dst && memory_store64(dst, value);
}
