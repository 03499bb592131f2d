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

#ifndef FAKE_VHOST_LIB_H
#define FAKE_VHOST_LIB_H 1

/* Stands in for the control plane of the vhost library: connections, messages,
 * guest memory, rings and their indices.  What is called of it is in
 * fake-vhost-lib-calls.h.
 *
 * A message is handled as in vhost_user_msg_handler() of DPDK 22.11.11, with
 * its peculiarities: locks are held for some messages and not for others, post
 * comes for messages that are not known and not for those that fail, rings
 * that cannot be translated keep what was found of them, used indices that do
 * not agree with the library's are taken over.  With 'mem_slots' it is 26.07
 * as far as ADD_MEM_REG and REM_MEM_REG go.
 *
 * The addresses that it tells are mapped by nobody: who dereferences one gets
 * a signal.  A call that would take a lock which is held, that would crash for
 * want of memory, or that would race with a message, ends the test. */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>

#include "util.h"
#include "vhost-async-message.h"

#define LIB_MAX_DEVS 4
#define LIB_MAX_VRINGS 8
#define LIB_MAX_REGIONS 8
#define LIB_NO_FD -2            /* VIRTIO_UNINITIALIZED_EVENTFD. */

#define LIB_F_LOG_ALL (UINT64_C(1) << 26)
#define LIB_F_PROTOCOL (UINT64_C(1) << 30)
#define LIB_F_PACKED (UINT64_C(1) << 34)
#define LIB_PROTOCOL_F_MEM_SLOTS (UINT64_C(1) << 15)

/* Messages that are only known to the library. */
enum {
    LIB_SET_OWNER = 3,
    LIB_SET_VRING_ERR = 14,
    LIB_SEND_RARP = 19,
};

struct lib_region {
    uint64_t gpa, size, user, ofs;
};

/* As in vhost-async-message.h. */
OVS_PACKED(
struct lib_msg {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
    union {
        uint64_t u64;
        struct {
            uint32_t index;
            uint32_t num;
        } state;
        struct {
            uint32_t index;
            uint32_t flags;
            uint64_t desc;
            uint64_t used;
            uint64_t avail;
            uint64_t log;
        } addr;
        struct {
            uint32_t n;
            uint32_t padding;
            struct lib_region regions[LIB_MAX_REGIONS];
        } memory;
        struct {
            uint64_t padding;
            struct lib_region region;
        } memreg;
    } payload;
});

/* How the next message fails. */
enum lib_failure {
    LIB_SUCCEEDS,
    LIB_REFUSES,                /* Before anything is done. */
    LIB_CANNOT_MAP,             /* SET_MEM_TABLE: the old memory is gone. */
};

struct lib_mem {
    struct lib_region region;   /* As the guest told. */
    int fd;
    uint8_t *map;               /* Ours, of the whole file. */
    uint64_t va;                /* As we tell. */
};

struct lib_vq {
    uint64_t desc, avail, used; /* As the guest told. */
    struct rte_vhost_vring vring;
    uint16_t avail_idx, used_idx;       /* Of a packed one with bit 15. */
    bool enabled;
};

struct lib_dev {
    const char *path;           /* NULL if it is free. */
    const struct rte_vhost_user_extern_ops *ops;
    uint64_t features;
    bool running;
    bool locked;                /* Its rings are. */
    bool handling;              /* Between pre and post. */
    bool has_mem;
    unsigned int n_mems;
    struct lib_mem mems[LIB_MAX_REGIONS];
    unsigned int n_vrings;
    struct lib_vq vqs[LIB_MAX_VRINGS];
};

static struct {
    struct lib_dev devs[LIB_MAX_DEVS];
    bool mem_slots;             /* As 26.07. */
    enum lib_failure failure;
    void (*during)(void);       /* While the next message is handled. */
    unsigned int n_mismatches;  /* Warnings that indices do not agree. */
    unsigned int n_new, n_destroyed;    /* Devices. */
    unsigned int n_enqueued;    /* Packets. */
    unsigned int n_dequeued;
    void (*while_enqueuing)(void);      /* Once. */
    void (*after_destroy)(void);        /* Once. */
    uint64_t next_va;
    struct lib_region logged[1024];     /* 'gpa' and 'size'. */
    size_t n_logged;
} lib = { .next_va = UINT64_C(0x7f) << 40 };

/* Of the test: what netdev-dpdk.c does, when it is called back. */
static void lib_new_connection(int vid);
static void lib_destroy_connection(int vid);
static void lib_new_device(int vid);
static void lib_destroy_device(int vid);

static struct lib_dev *
lib_dev(int vid)
{
    struct lib_dev *dev = &lib.devs[vid];

    ovs_assert(vid >= 0 && vid < LIB_MAX_DEVS);
    return dev->path ? dev : NULL;
}

/* For functions that read what messages change. */
static struct lib_dev *
lib_dev_to_read(int vid)
{
    struct lib_dev *dev = lib_dev(vid);

    ovs_assert(!dev || !dev->handling);
    return dev;
}

/* For functions that take the lock of a ring. */
static struct lib_dev *
lib_dev_to_lock(int vid)
{
    struct lib_dev *dev = lib_dev(vid);

    ovs_assert(!dev || !dev->locked);
    return dev;
}

/* Memory. */

static uint8_t *
lib_find(const struct lib_dev *dev, size_t member, uint64_t addr,
         uint64_t *len, uint64_t *va)
{
    for (unsigned int i = 0; dev->has_mem && i < dev->n_mems; i++) {
        const struct lib_mem *m = &dev->mems[i];
        uint64_t base, ofs;

        memcpy(&base, (const char *) m + member, sizeof base);
        ofs = addr - base;

        if (ofs < m->region.size) {
            *len = MIN(*len, m->region.size - ofs);
            if (va) {
                *va = m->va + m->region.ofs + ofs;
            }
            return m->map + m->region.ofs + ofs;
        }
    }
    return NULL;
}

#define LIB_BY_GPA offsetof(struct lib_mem, region.gpa)
#define LIB_BY_USER offsetof(struct lib_mem, region.user)

/* Translates 'user'; returns 0 if it is nowhere, and the address also if less
 * than 'len' follow, in which case '*ok' is set to false. */
static uint64_t
lib_translate_area(const struct lib_dev *dev, uint64_t user, uint64_t len,
                   bool *ok)
{
    uint64_t part = len, va = 0;

    *ok = *ok && lib_find(dev, LIB_BY_USER, user, &part, &va) && part == len;
    return va;
}

/* translate_ring_addresses(). */
static void
lib_translate(struct lib_dev *dev, struct lib_vq *vq)
{
    bool packed = dev->features & LIB_F_PACKED;
    uint64_t size = vq->vring.size, len = 4;
    bool ok = true;

    vq->vring.desc = (void *) (uintptr_t) lib_translate_area(
        dev, vq->desc, 16 * size, &ok);
    if (ok) {
        vq->vring.avail = (void *) (uintptr_t) lib_translate_area(
            dev, vq->avail, packed ? 4 : 4 + 2 * size, &ok);
    }
    if (ok) {
        vq->vring.used = (void *) (uintptr_t) lib_translate_area(
            dev, vq->used, packed ? 4 : 4 + 8 * size, &ok);
    }
    if (ok && !packed) {
        /* Where the guest says, aligned or not. */
        const uint8_t *used = lib_find(dev, LIB_BY_USER, vq->used, &len,
                                       NULL);
        uint16_t idx;

        memcpy(&idx, used + offsetof(struct vring_used, idx), sizeof idx);
        if (idx != vq->used_idx) {
            lib.n_mismatches++;
            vq->avail_idx = vq->used_idx = idx;
        }
    }
}

static void
lib_invalidate(struct lib_vq *vq)
{
    vq->vring.desc = NULL;
    vq->vring.avail = NULL;
    vq->vring.used = NULL;
}

static void
lib_translate_all(struct lib_dev *dev)
{
    for (unsigned int i = 0; i < dev->n_vrings; i++) {
        struct lib_vq *vq = &dev->vqs[i];

        if (vq->vring.desc || vq->vring.avail || vq->vring.used) {
            lib_invalidate(vq);
            lib_translate(dev, vq);
        }
    }
}

static void
lib_unmap(struct lib_mem *m)
{
    munmap(m->map, m->region.ofs + m->region.size);
    close(m->fd);
}

static void
lib_free_mem(struct lib_dev *dev)
{
    while (dev->n_mems) {
        lib_unmap(&dev->mems[--dev->n_mems]);
    }
    dev->has_mem = false;
}

static void
lib_add_mem(struct lib_dev *dev, const struct lib_region *r, int fd)
{
    struct lib_mem *m = &dev->mems[dev->n_mems++];

    m->region = *r;
    m->fd = dup(fd);
    m->map = mmap(NULL, r->ofs + r->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                  fd, 0);
    m->va = lib.next_va;
    lib.next_va += ROUND_UP(r->ofs + r->size, UINT64_C(1) << 30);
    ovs_assert(m->map != MAP_FAILED);
    dev->has_mem = true;
}

static bool
lib_mem_equals(const struct lib_dev *dev, const struct lib_msg *msg)
{
    bool equal = dev->has_mem && dev->n_mems == msg->payload.memory.n;

    for (unsigned int i = 0; equal && i < dev->n_mems; i++) {
        struct lib_region r = msg->payload.memory.regions[i];

        equal = dev->mems[i].region.gpa == r.gpa
                && dev->mems[i].region.size == r.size
                && dev->mems[i].region.user == r.user;
    }
    return equal;
}

static enum rte_vhost_msg_result
lib_set_mem_table(struct lib_dev *dev, const struct lib_msg *msg,
                  const int *fds)
{
    if (lib_mem_equals(dev, msg)) {
        return RTE_VHOST_MSG_RESULT_OK;
    }
    lib_free_mem(dev);
    if (lib.failure == LIB_CANNOT_MAP) {
        return RTE_VHOST_MSG_RESULT_ERR;
    }
    dev->has_mem = true;
    for (unsigned int i = 0; i < msg->payload.memory.n; i++) {
        struct lib_region r = msg->payload.memory.regions[i];

        lib_add_mem(dev, &r, fds[i]);
    }
    lib_translate_all(dev);
    return RTE_VHOST_MSG_RESULT_OK;
}

static enum rte_vhost_msg_result
lib_change_mem(struct lib_dev *dev, const struct lib_msg *msg, int fd)
{
    struct lib_region r = msg->payload.memreg.region;

    if (!lib.mem_slots) {
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    }
    if (msg->request == VHOST_ASYNC_ADD_MEM_REG) {
        lib_add_mem(dev, &r, fd);
    } else {
        unsigned int i;

        for (i = 0; i < dev->n_mems && dev->mems[i].region.gpa != r.gpa; i++) {
            continue;
        }
        if (i == dev->n_mems) {
            return RTE_VHOST_MSG_RESULT_ERR;
        }
        lib_unmap(&dev->mems[i]);
        dev->mems[i] = dev->mems[--dev->n_mems];
    }
    lib_translate_all(dev);
    return RTE_VHOST_MSG_RESULT_OK;
}

/* Devices. */

static void
lib_stop_device(int vid)
{
    struct lib_dev *dev = lib_dev(vid);

    if (dev->running) {
        bool handling = dev->handling;

        ovs_assert(!dev->locked);
        dev->running = false;
        lib.n_destroyed++;
        /* Callbacks may read what the message has not changed yet. */
        dev->handling = false;
        lib_destroy_device(vid);
        if (lib.after_destroy) {
            lib.after_destroy();
            lib.after_destroy = NULL;
        }
        dev->handling = handling;
    }
}

static bool
lib_is_ready(const struct lib_dev *dev)
{
    const struct rte_vhost_vring *vring = &dev->vqs[0].vring;

    return dev->n_vrings && dev->vqs[0].enabled
           && vring->desc && vring->avail && vring->used
           && vring->kickfd != LIB_NO_FD && vring->callfd != LIB_NO_FD;
}

/* Messages. */

static struct lib_vq *
lib_vq(struct lib_dev *dev, uint32_t index)
{
    ovs_assert(index < LIB_MAX_VRINGS);
    for (; dev->n_vrings <= index; dev->n_vrings++) {
        dev->vqs[dev->n_vrings] = (struct lib_vq) {
            .vring = { .kickfd = LIB_NO_FD, .callfd = LIB_NO_FD }
        };
    }
    return &dev->vqs[index];
}

static void
lib_set_fd(int *old, int fd)
{
    if (*old >= 0) {
        close(*old);
    }
    *old = fd >= 0 ? dup(fd) : fd;
}

static enum rte_vhost_msg_result
lib_set_features(struct lib_dev *dev, uint64_t features)
{
    if (dev->running && (features ^ dev->features) & ~LIB_F_LOG_ALL) {
        return RTE_VHOST_MSG_RESULT_ERR;
    }
    dev->features = features;
    return RTE_VHOST_MSG_RESULT_OK;
}

static void
lib_get_vring_base(int vid, struct lib_vq *vq, struct lib_msg *msg)
{
    lib_stop_device(vid);
    msg->payload.state.num = vq->avail_idx;
    lib_set_fd(&vq->vring.kickfd, LIB_NO_FD);
    lib_set_fd(&vq->vring.callfd, LIB_NO_FD);
    lib_invalidate(vq);
    vq->desc = vq->avail = vq->used = 0;
}

static enum rte_vhost_msg_result
lib_handle(int vid, struct lib_msg *msg, const int *fds)
{
    struct lib_dev *dev = lib_dev(vid);
    struct lib_vq *vq = NULL;
    bool access_ok;
    uint32_t index;

    if (vhost_async_message_vring(msg, &index)) {
        vq = lib_vq(dev, index);
    }
    if (lib.failure == LIB_REFUSES) {
        return RTE_VHOST_MSG_RESULT_ERR;
    }
    switch (msg->request) {
    case VHOST_ASYNC_SET_FEATURES:
        return lib_set_features(dev, msg->payload.u64);
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
        return (msg->payload.u64 & LIB_PROTOCOL_F_MEM_SLOTS && !lib.mem_slots
                ? RTE_VHOST_MSG_RESULT_ERR : RTE_VHOST_MSG_RESULT_OK);
    case VHOST_ASYNC_RESET_OWNER:
        lib_stop_device(vid);
        lib_free_mem(dev);
        dev->features = 0;
        dev->n_vrings = 0;
        break;
    case VHOST_ASYNC_SET_MEM_TABLE:
        return lib_set_mem_table(dev, msg, fds);
    case VHOST_ASYNC_ADD_MEM_REG:
    case VHOST_ASYNC_REM_MEM_REG:
        return lib_change_mem(dev, msg, fds ? fds[0] : -1);
    case VHOST_ASYNC_SET_VRING_NUM:
        vq->vring.size = msg->payload.state.num;
        break;
    case VHOST_ASYNC_SET_VRING_ADDR:
        if (!dev->has_mem) {
            return RTE_VHOST_MSG_RESULT_ERR;
        }
        access_ok = vq->vring.desc && vq->vring.avail && vq->vring.used;
        vq->desc = msg->payload.addr.desc;
        vq->avail = msg->payload.addr.avail;
        vq->used = msg->payload.addr.used;
        lib_invalidate(vq);
        if (access_ok || (vq->enabled && dev->features & LIB_F_PROTOCOL)) {
            lib_translate(dev, vq);
        }
        break;
    case VHOST_ASYNC_SET_VRING_BASE:
        vq->avail_idx = vq->used_idx = msg->payload.state.num;
        break;
    case VHOST_ASYNC_GET_VRING_BASE:
        lib_get_vring_base(vid, vq, msg);
        break;
    case VHOST_ASYNC_SET_VRING_KICK:
        lib_translate(dev, vq);
        if (!(dev->features & LIB_F_PROTOCOL)) {
            vq->enabled = true;
        }
        lib_set_fd(&vq->vring.kickfd, fds ? fds[0] : -1);
        break;
    case VHOST_ASYNC_SET_VRING_CALL:
        lib_set_fd(&vq->vring.callfd, fds ? fds[0] : -1);
        break;
    case VHOST_ASYNC_SET_VRING_ENABLE:
        vq->enabled = msg->payload.state.num != 0;
        break;
    case VHOST_ASYNC_SET_LOG_BASE:
    case LIB_SET_OWNER:
    case LIB_SET_VRING_ERR:
    case LIB_SEND_RARP:
        break;
    default:
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    }
    return RTE_VHOST_MSG_RESULT_OK;
}

static bool
lib_locks_rings(uint32_t request)
{
    return request != VHOST_ASYNC_GET_VRING_BASE
           && request != VHOST_ASYNC_RESET_OWNER
           && (request < VHOST_ASYNC_ADD_MEM_REG || lib.mem_slots);
}

/* Device 'vid' gets '*msg', to which the answer is in there afterwards, if
 * any.  Returns whether it was handled.  The connection goes on if not, as it
 * does when the guest asked for a reply. */
static bool
lib_message(int vid, struct lib_msg *msg, const int *fds)
{
    struct lib_dev *dev = lib_dev(vid);
    void (*during)(void) = lib.during;
    enum rte_vhost_msg_result result;

    dev->locked = lib_locks_rings(msg->request);
    ovs_assert(dev->ops->pre_msg_handle(vid, msg)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    dev->handling = true;
    lib.during = NULL;
    if (during) {
        during();
    }
    result = lib_handle(vid, msg, fds);
    lib.failure = LIB_SUCCEEDS;
    dev->handling = false;
    if (result != RTE_VHOST_MSG_RESULT_ERR) {
        ovs_assert(dev->ops->post_msg_handle(vid, msg)
                   == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    }
    dev->locked = false;
    if (!dev->running && lib_is_ready(dev)) {
        dev->running = true;
        lib.n_new++;
        lib_new_device(vid);
    }
    return result == RTE_VHOST_MSG_RESULT_OK;
}

/* Connections. */

static int
lib_connect(const char *path)
{
    int vid = 0;

    while (lib_dev(vid)) {
        vid++;
    }
    memset(&lib.devs[vid], 0, sizeof lib.devs[vid]);
    lib.devs[vid].path = path;
    lib_new_connection(vid);
    return vid;
}

/* The guest is gone, or its driver is unregistered. */
static void
lib_disconnect(int vid, bool unregistered)
{
    struct lib_dev *dev = lib_dev(vid);

    lib_stop_device(vid);
    if (!unregistered) {
        lib_destroy_connection(vid);
    }
    lib_free_mem(dev);
    for (unsigned int i = 0; i < dev->n_vrings; i++) {
        lib_set_fd(&dev->vqs[i].vring.kickfd, LIB_NO_FD);
        lib_set_fd(&dev->vqs[i].vring.callfd, LIB_NO_FD);
    }
    dev->path = NULL;
}

#endif /* fake-vhost-lib.h */
