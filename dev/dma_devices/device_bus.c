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

/* The bus: how what a driver does to registers and portals gets to a device.
 *
 * The driver's view of both is memory that it may not access, so that each
 * access raises a signal in its thread:
 *
 * - A register: the handler of SIGSEGV has the device look, opens the page and
 *   has the CPU trap after the one instruction; the handler of SIGTRAP closes
 *   it again and tells the device what was written.  No instruction has to be
 *   understood.
 *
 * - A portal: 64 bytes are written to it by one instruction, movdir64b, whose
 *   bytes and registers are fixed in the driver (idxd_common.c,
 *   __idxd_movdir64b()).  The handler takes the descriptor from where the
 *   instruction would, and goes on behind it.  A CPU that lacks it raises
 *   SIGILL instead of SIGSEGV, which makes no difference then.
 *
 * The portal of a work queue of the kernel's idxd driver is a file that DPDK
 * maps.  Here it is a file without contents, and what is written behind its
 * end raises SIGBUS.
 *
 * All other signals of these kinds go to whom they would have gone to before.
 * What the handlers call is safe in them: system calls, and functions of the
 * C library that only compute.
 *
 * While a page is open an access by another thread goes unnoticed.  Drivers
 * have one thread at a time for each device. */

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_errno.h>

#include "dma_devices.h"

#define EFLAGS_TRAP 0x100
/* Of the error code of a page fault. */
#define FAULT_WRITES 2

/* movdir64b (%rdx), %rax: 64 bytes from where rdx says to where rax does. */
static const uint8_t movdir64b[] = { 0x66, 0x0f, 0x38, 0xf8, 0x02 };
#define DESC_SIZE 64

static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGTRAP };
static struct sigaction old_actions[RTE_DIM(signals)];

/* A device is here from before the driver knows of it until after.  Written
 * by whoever probes and removes, one at a time. */
static struct device *devices[MAX_DEVICES];

void
device_lock(struct device *d)
{
    while (__atomic_exchange_n(&d->locked, 1, __ATOMIC_ACQUIRE)) {
        /* Who holds it may need this very core. */
        sched_yield();
    }
}

void
device_unlock(struct device *d)
{
    __atomic_store_n(&d->locked, 0, __ATOMIC_RELEASE);
}

static pid_t
thread_id(void)
{
    return syscall(SYS_gettid);
}

/* Returns the device one of whose views has 'address'.  Sets '*offset' to
 * where, and '*is_portal' to whether that is a portal. */
static struct device *
find_device(uintptr_t address, size_t *offset, bool *is_portal)
{
    for (size_t i = 0; i < MAX_DEVICES; i++) {
        struct device *d = __atomic_load_n(&devices[i], __ATOMIC_ACQUIRE);

        if (!d) {
            continue;
        }
        *offset = address - (uintptr_t) d->bar;
        *is_portal = false;
        if (d->bar && *offset < d->model->regs_size) {
            return d;
        }
        *offset = address - (uintptr_t) d->portals;
        *is_portal = true;
        if (*offset < d->portals_size) {
            return d;
        }
    }
    return NULL;
}

static void
protect(struct device *d, int prot)
{
    if (mprotect(d->bar, d->model->regs_size, prot)) {
        /* The access cannot be made, nor be undone. */
        __builtin_trap();
    }
}

/* Begins an access to registers. */
static void
step_begin(struct device *d, size_t offset, mcontext_t *mc)
{
    device_lock(d);
    d->stepper = thread_id();
    d->step_offset = offset;
    d->step_writes = mc->gregs[REG_ERR] & FAULT_WRITES;
    d->model->access(d, offset);
    protect(d, PROT_READ | PROT_WRITE);
    mc->gregs[REG_EFL] |= EFLAGS_TRAP;
}

/* Ends the access of this thread.  Returns whether there is one. */
static bool
step_end(mcontext_t *mc)
{
    pid_t tid = thread_id();

    for (size_t i = 0; i < MAX_DEVICES; i++) {
        struct device *d = __atomic_load_n(&devices[i], __ATOMIC_ACQUIRE);

        if (d && __atomic_load_n(&d->stepper, __ATOMIC_RELAXED) == tid) {
            mc->gregs[REG_EFL] &= ~(greg_t) EFLAGS_TRAP;
            protect(d, PROT_NONE);
            if (d->step_writes) {
                d->model->written(d, d->step_offset);
            }
            __atomic_store_n(&d->stepper, 0, __ATOMIC_RELAXED);
            device_unlock(d);
            return true;
        }
    }
    return false;
}

/* Takes a descriptor, if that is what the thread was about to write.  'rip'
 * can be read. */
static bool
take_descriptor(struct device *d, size_t offset, mcontext_t *mc)
{
    const void *insn = (const void *) (uintptr_t) mc->gregs[REG_RIP];
    const void *desc = (const void *) (uintptr_t) mc->gregs[REG_RDX];
    uint64_t copy[DESC_SIZE / 8];

    if (memcmp(insn, movdir64b, sizeof movdir64b)) {
        return false;
    }
    memcpy(copy, desc, sizeof copy);
    device_lock(d);
    d->model->portal(d, offset, copy);
    device_unlock(d);
    mc->gregs[REG_RIP] += sizeof movdir64b;
    return true;
}

static bool
handle(int sig, const siginfo_t *info, void *ucontext)
{
    mcontext_t *mc = &((ucontext_t *) ucontext)->uc_mcontext;
    struct device *d;
    bool is_portal;
    size_t offset;

    if (sig == SIGTRAP) {
        return step_end(mc);
    }
    if (sig != SIGILL && memory_fix_up(ucontext)) {
        return true;
    }
    d = find_device(sig == SIGILL ? (uintptr_t) mc->gregs[REG_RAX]
                    : (uintptr_t) info->si_addr, &offset, &is_portal);
    if (!d) {
        return false;
    }
    if (is_portal) {
        return take_descriptor(d, offset, mc);
    }
    if (sig != SIGSEGV) {
        return false;
    }
    step_begin(d, offset, mc);
    return true;
}

static void
on_signal(int sig, siginfo_t *info, void *ucontext)
{
    const struct sigaction *old = NULL;
    int error = errno;

    if (!handle(sig, info, ucontext)) {
        for (size_t i = 0; i < RTE_DIM(signals); i++) {
            if (signals[i] == sig) {
                old = &old_actions[i];
            }
        }
        if (old->sa_flags & SA_SIGINFO) {
            old->sa_sigaction(sig, info, ucontext);
        } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
            old->sa_handler(sig);
        } else {
            /* What raised it raises it again, and then ends the process; a
             * trap comes once only. */
            signal(sig, SIG_DFL);
            if (sig == SIGTRAP) {
                raise(sig);
            }
        }
    }
    errno = error;
}

/* Once; they stay, since there is no taking out what others may have put on
 * top. */
static int
install_handlers(void)
{
    static bool installed;
    struct sigaction action = {
        .sa_sigaction = on_signal,
        /* The handlers access memory that may not be there. */
        .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER,
    };

    if (installed) {
        return 0;
    }
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < RTE_DIM(signals); i++) {
        /* Before it can be called. */
        if (sigaction(signals[i], NULL, &old_actions[i])
            || sigaction(signals[i], &action, NULL)) {
            return -errno;
        }
    }
    installed = true;
    return 0;
}

/* Returns where this process maps the file 'path', or NULL. */
static uint8_t *
find_mapping(const char *path)
{
    static const char self[] = "/proc/self/maps";
    FILE *maps = fopen(self, "r");
    uint8_t *found = NULL;
    char line[PATH_MAX + 128];

    while (maps && !found && fgets(line, sizeof line, maps)) {
        char *name = strchr(line, '/');

        line[strcspn(line, "\n")] = '\0';
        if (name && !strcmp(name, path)) {
            found = (uint8_t *) (uintptr_t) strtoull(line, NULL, 16);
        }
    }
    if (maps) {
        fclose(maps);
    }
    return found;
}

/* Makes registers that nobody but the model sees, and takes the portal that
 * DPDK has mapped. */
static int
attach_kernel_queue(struct device *d)
{
    const char *path = d->params.kernel;
    void *p;

    d->portals = find_mapping(path);
    d->portals_size = getpagesize();
    if (!d->portals) {
        MODEL_LOG(ERR, d->name, "kernel=%s: DPDK does not map this file; make "
                  "DSA_DEV_PATH and DSA_SYSFS_PATH have a queue of that name",
                  path);
        return -ENOENT;
    }
    p = mmap(NULL, d->model->regs_size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    d->regs = p;
    return 0;
}

/* Makes views of the registers and portals of 'd'. */
static int
attach_pci_device(struct device *d)
{
    size_t size = d->model->regs_size;
    void *p;
    int fd;

    fd = memfd_create(d->name, MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, size)) {
        goto error;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        goto error;
    }
    d->regs = p;
    p = mmap(NULL, size, PROT_NONE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        goto error;
    }
    d->bar = p;
    if (d->portals_size) {
        p = mmap(NULL, d->portals_size, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            goto error;
        }
        d->portals = p;
    }
    close(fd);
    return 0;

error:
    MODEL_LOG(ERR, d->name, "cannot make its registers: %s",
              rte_strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    return -ENOMEM;
}

/* Has what the driver does to the registers and portals of 'd' get to the
 * device.  Returns 0 or a negative errno. */
int
bus_attach(struct device *d)
{
    size_t slot = 0;
    int error;

    while (slot < MAX_DEVICES && devices[slot]) {
        slot++;
    }
    if (slot == MAX_DEVICES) {
        MODEL_LOG(ERR, d->name, "there are %d devices already", MAX_DEVICES);
        return -ENOSPC;
    }
    error = install_handlers();
    if (!error) {
        error = (d->params.kernel ? attach_kernel_queue(d)
                 : attach_pci_device(d));
    }
    if (error) {
        bus_detach(d);
        return error;
    }
    __atomic_store_n(&devices[slot], d, __ATOMIC_RELEASE);
    return 0;
}

/* Returns the device 'name' that is attached, or NULL. */
struct device *
bus_find(const char *name)
{
    for (size_t i = 0; i < MAX_DEVICES; i++) {
        if (devices[i] && !strcmp(devices[i]->name, name)) {
            return devices[i];
        }
    }
    return NULL;
}

/* The driver must have let go of 'd'. */
void
bus_detach(struct device *d)
{
    for (size_t i = 0; i < MAX_DEVICES; i++) {
        if (devices[i] == d) {
            __atomic_store_n(&devices[i], NULL, __ATOMIC_RELEASE);
        }
    }
    if (d->regs) {
        munmap(d->regs, d->model->regs_size);
    }
    if (d->bar) {
        munmap(d->bar, d->model->regs_size);
    }
    if (d->portals && !d->params.kernel) {
        munmap(d->portals, d->portals_size);
    }
    d->regs = d->bar = d->portals = NULL;
}
