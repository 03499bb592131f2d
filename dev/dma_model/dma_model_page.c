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

/* Makes the control page of a device. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_errno.h>

#include "dma_model_page.h"

/* Opens the file 'path', makes it 'size' bytes large and sets '*fd'. */
static int
control_open(const char *name, const char *path, size_t size, int *fd)
{
    uint64_t magic = 0;
    bool old;
    struct stat st;
    int error;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
               0600);
    if (*fd < 0 || fstat(*fd, &st)) {
        error = errno;
        MODEL_LOG(ERR, name, "control=%s: cannot open it (%s); give a path in "
                  "a directory that can be written, of a file that is new or "
                  "a control page", path, rte_strerror(error));
        return -error;
    }
    if (flock(*fd, LOCK_EX | LOCK_NB)) {
        MODEL_LOG(ERR, name, "control=%s: another device is using it; give "
                  "each its own", path);
        return -EBUSY;
    }
    /* A page that a test has mapped stays what it is: the same file, and not
     * shorter.  One with no more than the magic number was never made. */
    old = st.st_size > (off_t) sizeof magic;
    if (!S_ISREG(st.st_mode)
        || (st.st_size && (pread(*fd, &magic, sizeof magic, 0)
                           != sizeof magic || magic != PAGE_MAGIC))) {
        MODEL_LOG(ERR, name, "control=%s: it is there and no control page; "
                  "remove it or give another path", path);
        return -EEXIST;
    }
    if (old && (size_t) st.st_size != size) {
        MODEL_LOG(ERR, name, "control=%s: it is the page of a device with "
                  "another number of vchans or log entries; remove it or give "
                  "another path", path);
        return -EEXIST;
    }
    /* Not ftruncate(): where the file system is full, writing to the page
     * would end the process. */
    magic = PAGE_MAGIC;
    error = (pwrite(*fd, &magic, sizeof magic, 0) != sizeof magic ? ENOSPC
             : posix_fallocate(*fd, 0, size));
    if (error) {
        MODEL_LOG(ERR, name, "control=%s: cannot make it %zu bytes large "
                  "(%s); free some space or give another path", path, size,
                  rte_strerror(error));
        if (!old) {
            unlink(path);
        }
    }
    return -error;
}

static size_t
page_vchan_size(const struct page_map *map)
{
    size_t size = (sizeof(struct page_vchan)
                   + map->log_size * sizeof(struct page_access));

    return RTE_ALIGN_CEIL(size, (size_t) RTE_CACHE_LINE_SIZE);
}

/* Makes a control page for the device 'name' and maps it: the file 'path', or
 * memory of our own, without a log, if there is to be none.  Returns 0 or a
 * negative errno.  Nobody is to look at it before page_publish(). */
int
page_open(const char *name, const char *path, unsigned int n_vchans,
          unsigned int log_size, struct page_map *map)
{
    struct page *page;
    void *p;

    map->page = NULL;
    map->fd = -1;
    map->log_size = path ? log_size : 0;
    map->size = sizeof *page + n_vchans * page_vchan_size(map);
    if (path) {
        int error = control_open(name, path, map->size, &map->fd);

        if (error) {
            page_close(map);
            return error;
        }
    }
    p = mmap(NULL, map->size, PROT_READ | PROT_WRITE,
             map->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, map->fd,
             0);
    if (p == MAP_FAILED) {
        MODEL_LOG(ERR, name, "cannot map %zu bytes: %s", map->size,
                  rte_strerror(errno));
        page_close(map);
        return -ENOMEM;
    }
    page = map->page = p;

    __atomic_store_n(&page->version, 0, __ATOMIC_RELEASE);
    /* The magic number stays: whoever is killed here leaves a page. */
    memset((char *) page + sizeof page->magic, 0,
           map->size - sizeof page->magic);
    page->n_vchans = n_vchans;
    page->log_size = map->log_size;
    page->pid = getpid();
    page->tsc_hz = rte_get_tsc_hz();
    return 0;
}

void
page_publish(struct page_map *map)
{
    __atomic_store_n(&map->page->version, PAGE_VERSION, __ATOMIC_RELEASE);
}

void
page_close(struct page_map *map)
{
    if (map->page) {
        munmap(map->page, map->size);
        map->page = NULL;
    }
    /* And with it the lock. */
    if (map->fd >= 0) {
        close(map->fd);
        map->fd = -1;
    }
}

struct page_vchan *
page_vchan(const struct page_map *map, unsigned int vchan)
{
    return (void *) ((char *) (map->page + 1)
                     + vchan * page_vchan_size(map));
}

/* Notes an access to memory that is about to begin.  Returns what
 * page_access_end() takes. */
struct page_access *
page_access_begin(const struct page_map *map, struct page_vchan *v,
                  uint64_t dst, uint64_t src, uint64_t length)
{
    uint64_t seq = v->state.n_log + 1;
    struct page_access *access;

    if (!map->log_size) {
        return NULL;
    }
    access = (struct page_access *) (v + 1) + ((seq - 1)
                                               & (map->log_size - 1));
    /* Readers see 0, or all of the entry. */
    __atomic_store_n(&access->seq, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    access->tsc = rte_rdtsc();
    access->ns = 0;
    access->dst = dst;
    access->src = src;
    access->length = length;
    __atomic_store_n(&access->seq, seq, __ATOMIC_RELEASE);
    __atomic_store_n(&v->state.n_log, seq, __ATOMIC_RELEASE);
    return access;
}

void
page_access_end(const struct page_map *map, struct page_vchan *v,
                struct page_access *access)
{
    if (map->fd >= 0) {
        uint64_t ns = monotonic_ns();

        __atomic_store_n(&v->state.last_ns, ns, __ATOMIC_RELAXED);
        if (access) {
            __atomic_store_n(&access->ns, ns, __ATOMIC_RELEASE);
        }
    }
}
