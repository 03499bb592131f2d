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

#include <rte_cycles.h>
#include <rte_errno.h>

#include "dma_model.h"

/* Opens the control page, makes it 'size' bytes large and sets 'm->fd'. */
static int
control_open(const char *name, struct dma_model *m, size_t size)
{
    const char *path = m->params.control;
    uint64_t magic = 0;
    bool old;
    struct stat st;
    int error;

    m->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                 0600);
    if (m->fd < 0 || fstat(m->fd, &st)) {
        error = errno;
        MODEL_LOG(ERR, name, "control=%s: cannot open it (%s); give a path in "
                  "a directory that can be written, of a file that is new or "
                  "a control page", path, rte_strerror(error));
        return -error;
    }
    if (flock(m->fd, LOCK_EX | LOCK_NB)) {
        MODEL_LOG(ERR, name, "control=%s: another device is using it; give "
                  "each its own", path);
        return -EBUSY;
    }
    /* A page that a test has mapped stays what it is: the same file, and not
     * shorter.  One with no more than the magic number was never made. */
    old = st.st_size > (off_t) sizeof magic;
    if (!S_ISREG(st.st_mode)
        || (st.st_size && (pread(m->fd, &magic, sizeof magic, 0)
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
    error = (pwrite(m->fd, &magic, sizeof magic, 0) != sizeof magic ? ENOSPC
             : posix_fallocate(m->fd, 0, size));
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

static void
page_init(struct dma_model *m, size_t vchan_size)
{
    const struct params *p = &m->params;
    struct page *page = m->page;

    __atomic_store_n(&page->version, 0, __ATOMIC_RELEASE);
    /* The magic number stays: whoever is killed here leaves a page. */
    memset((char *) page + sizeof page->magic, 0,
           m->page_size - sizeof page->magic);
    page->n_vchans = p->n_vchans;
    page->log_size = p->log_size;
    page->pid = getpid();
    page->moves = p->late;
    page->tsc_hz = rte_get_tsc_hz();
    for (size_t i = 0; i < N_OPS; i++) {
        page->ops[i].error = p->fail_ops & 1u << i ? EIO : 0;
    }
    for (size_t i = 0; i < p->n_vchans; i++) {
        struct page_vchan *pv = (void *) ((char *) (page + 1)
                                          + i * vchan_size);
        struct vchan *v = &m->vchans[i];

        pv->ctl.faults = p->faults;
        pv->ctl.generation = p->faults ? 2 : 0;
        v->ctl = &pv->ctl;
        v->state = &pv->state;
        v->log = p->log_size ? (struct page_access *) (pv + 1) : NULL;
    }
    __atomic_store_n(&page->version, PAGE_VERSION, __ATOMIC_RELEASE);
}

/* Maps the control page, or memory of our own if there is to be none. */
int
dma_model_map(const char *name, struct dma_model *m)
{
    size_t vchan_size;
    void *p;

    if (!m->params.control || !m->params.late) {
        m->params.log_size = 0;
    }
    vchan_size = (sizeof(struct page_vchan)
                  + m->params.log_size * sizeof(struct page_access));
    vchan_size = RTE_ALIGN_CEIL(vchan_size, (size_t) RTE_CACHE_LINE_SIZE);
    m->page_size = sizeof(struct page) + m->params.n_vchans * vchan_size;

    if (m->params.control) {
        int error = control_open(name, m, m->page_size);

        if (error) {
            return error;
        }
    }
    p = mmap(NULL, m->page_size, PROT_READ | PROT_WRITE,
             m->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, m->fd, 0);
    if (p == MAP_FAILED) {
        MODEL_LOG(ERR, name, "cannot map %zu bytes: %s", m->page_size,
                  rte_strerror(errno));
        return -ENOMEM;
    }
    m->page = p;
    page_init(m, vchan_size);
    return 0;
}

void
dma_model_unmap(struct dma_model *m)
{
    if (m->page) {
        munmap(m->page, m->page_size);
    }
    /* And with it the lock. */
    if (m->fd >= 0) {
        close(m->fd);
    }
}
