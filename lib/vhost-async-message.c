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

/* Implementation of vhost-async-message.h.  What the library does was read
 * from the source of DPDK 22.11.11, lib/vhost/vhost_user.c. */

#include <config.h>

#include "vhost-async-message.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_version.h>
#include <rte_vhost.h>

#include "util.h"

/* A message, by the vhost-user protocol: the request, flags and the size of
 * the payload, 32 bits each, and the payload. */
#define SIZE_AT 8
#define PAYLOAD_AT 12

/* Behind the longest message, the library has the file descriptors that came
 * with it, and then their number (struct vhu_msg_context, 22.11). */
#define FDS_AT 644
#define MAX_FDS 8

/* SET_MEM_TABLE: the number of regions, 4 bytes of nothing, and per region
 * its guest address, size, user address, and offset in its file. */
#define TABLE_HEADER 8
#define TABLE_REGION 32
#define MAX_REGIONS MAX_FDS

#define F_RING_PACKED (UINT64_C(1) << 34)
#define F_MQ (UINT64_C(1) << 22)

/* Of virtio. */
#define MAX_RING_SIZE 32768

/* A virtqueue, as the library has it. */
struct ring {
    uint32_t size;
    uint16_t base;              /* The next descriptor, if it is packed. */
    bool mapped;                /* Some part of it. */
};

static uint32_t
get_u32(const void *msg, size_t at)
{
    uint32_t value;

    memcpy(&value, (const char *) msg + at, sizeof value);
    return value;
}

static uint64_t
get_u64(const void *msg, size_t at)
{
    uint64_t value;

    memcpy(&value, (const char *) msg + at, sizeof value);
    return value;
}

uint32_t
vhost_async_message_request(const void *msg)
{
    return get_u32(msg, 0);
}

/* Whether file descriptors are where FDS_AT says: another release that is
 * compatible otherwise may have longer messages, and some have pointers. */
static bool
fds_are_known(void)
{
    return rte_version_year() == 22 && rte_version_month() == 11
           && sizeof(void *) == 8;
}

/* Returns how many file descriptors came with 'msg', and them in 'fds'; -1 if
 * that is not known. */
static int
get_fds(const void *msg, int fds[MAX_FDS])
{
    int n;

    if (!fds_are_known()) {
        return -1;
    }
    memcpy(fds, (const char *) msg + FDS_AT, MAX_FDS * sizeof *fds);
    memcpy(&n, (const char *) msg + FDS_AT + MAX_FDS * sizeof *fds, sizeof n);
    return n >= 0 && n <= MAX_FDS ? n : -1;
}

/* Closes the file descriptors that came with 'msg': the library does not when
 * a message is refused for it. */
void
vhost_async_message_close_fds(void *msg)
{
    int fds[MAX_FDS];
    int n = get_fds(msg, fds);

    for (int i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
    if (n > 0) {
        memcpy((char *) msg + FDS_AT, fds, sizeof fds);
    }
}

static uint64_t
device_features(int vid)
{
    uint64_t features = 0;

    rte_vhost_get_negotiated_features(vid, &features);
    return features;
}

static struct ring
get_ring(int vid, uint32_t index)
{
    struct rte_vhost_vring vring;
    struct ring ring = { .size = 0 };
    uint16_t base, used;

    if (!rte_vhost_get_vhost_vring(vid, index, &vring)) {
        ring.size = vring.size;
        /* For a packed ring these are the same members of unions. */
        ring.mapped = vring.desc || vring.avail || vring.used;
        if (!rte_vhost_get_vring_base(vid, index, &base, &used)) {
            ring.base = base & 0x7fff;
        }
    }
    return ring;
}

/* The library takes a size over before it looks whether that is one, and of
 * a ring that it has mapped it never looks again whether memory is as large.
 * Nor may the size change between new_device() and destroy_device(), where
 * another thread sizes what it allocates by it.  So whoever wants another one
 * stops the ring first. */
static const char *
check_num(int vid, uint32_t index, uint32_t num, uint64_t features,
          const struct vhost_async_rings *rings)
{
    struct ring ring = get_ring(vid, index);
    bool packed = features & F_RING_PACKED;

    if (!num || num > MAX_RING_SIZE || (!packed && !is_pow2(num))) {
        return "it is no size of a virtqueue";
    } else if (bitmap_is_set(rings->sized, index) && num != ring.size) {
        return "the virtqueue is in use";
    }
    return NULL;
}

/* Of a packed ring, the library takes any index for one of its
 * descriptors. */
static const char *
check_base(int vid, uint32_t index, uint32_t base, uint64_t features,
           const struct vhost_async_rings *rings)
{
    if (features & F_RING_PACKED && bitmap_is_set(rings->sized, index)
        && (base & 0x7fff) >= get_ring(vid, index).size) {
        return "the virtqueue begins behind its end";
    }
    return NULL;
}

/* GET_VRING_BASE frees arrays that only SET_VRING_NUM allocates again, and
 * the library uses a ring without. */
static const char *
check_started(int vid, uint32_t index, const struct vhost_async_rings *rings)
{
    if (!bitmap_is_set(rings->sized, index) || !get_ring(vid, index).size) {
        return "the virtqueue has no size yet";
    }
    return NULL;
}

/* With this message a ring is complete.  Where a packed one begins is told
 * before or after its size, and stays from the ring that there was before. */
static const char *
check_kick(int vid, uint32_t index, uint64_t features,
           const struct vhost_async_rings *rings)
{
    const char *why = check_started(vid, index, rings);

    return why ? why : check_base(vid, index, get_ring(vid, index).base,
                                  features, rings);
}

/* The library refuses other features while the device is in use, but not yet
 * while rings are mapped; their layout depends on them. */
static const char *
check_features(int vid, uint64_t old, uint64_t new)
{
    if (old != new) {
        for (int i = 0; i < rte_vhost_get_vring_num(vid); i++) {
            if (get_ring(vid, i).mapped) {
                return "a virtqueue is in use";
            }
        }
    }
    return NULL;
}

/* Whether 'fd' can be mapped as the library does. */
static const char *
check_region_fd(int fd, uint64_t size)
{
    struct stat s;
    uint64_t align;
    void *p;

    if (fstat(fd, &s)) {
        return "a region has no file";
    } else if (S_ISREG(s.st_mode) && s.st_size < size) {
        /* To access what is behind the end of a file is a SIGBUS. */
        return "a region is larger than its file";
    } else if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR) {
        return "a region cannot be written to";
    }
    /* Without access nothing is populated if memory is locked. */
    align = s.st_blksize;
    p = mmap(NULL, ROUND_UP(size, align), PROT_NONE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return "a region cannot be mapped";
    }
    munmap(p, ROUND_UP(size, align));
    return NULL;
}

/* When the library finds a region that it cannot map, the old memory is gone
 * and rings still point to it.  It checks by itself whether there is one file
 * descriptor per region, and whether there are too many, before that. */
static const char *
check_table(const void *msg, uint32_t size)
{
    uint32_t n = get_u32(msg, PAYLOAD_AT);
    int fds[MAX_FDS];
    int n_fds = get_fds(msg, fds);

    if (n > MAX_REGIONS) {
        return "there are too many regions";
    } else if (size < TABLE_HEADER + n * TABLE_REGION) {
        return "it is too short";
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t at = PAYLOAD_AT + TABLE_HEADER + i * TABLE_REGION;
        uint64_t region_size = get_u64(msg, at + 8);
        uint64_t offset = get_u64(msg, at + 24);

        if (!region_size || region_size > INT64_MAX
            || offset > INT64_MAX - region_size) {
            return "a region has a wrong size";
        } else if (n_fds == n) {
            const char *why = check_region_fd(fds[i], region_size + offset);

            if (why) {
                return why;
            }
        }
    }
    return NULL;
}

/* The size of the payload of 'request', at least, as far as the library would
 * read what was not sent. */
static uint32_t
payload_size(uint32_t request)
{
    switch (request) {
    case VHOST_ASYNC_SET_FEATURES:
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
    case VHOST_ASYNC_SET_MEM_TABLE:
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_GET_VRING_BASE:
    case VHOST_ASYNC_SET_VRING_KICK:
    case VHOST_ASYNC_SET_VRING_CALL:
    case VHOST_ASYNC_SET_VRING_ERR:
    case VHOST_ASYNC_SET_VRING_ENABLE:
    case VHOST_ASYNC_SEND_RARP:
    case VHOST_ASYNC_NET_SET_MTU:
    case VHOST_ASYNC_SET_STATUS:
        return 8;
    case VHOST_ASYNC_SET_VRING_ADDR:
        return 40;
    default:
        return 0;
    }
}

/* If 'msg' is about a virtqueue, returns true and stores which in '*index'. */
static bool
message_ring(const void *msg, uint32_t *index)
{
    *index = get_u32(msg, PAYLOAD_AT);
    switch (vhost_async_message_request(msg)) {
    case VHOST_ASYNC_SET_VRING_NUM:
    case VHOST_ASYNC_SET_VRING_ADDR:
    case VHOST_ASYNC_SET_VRING_BASE:
    case VHOST_ASYNC_GET_VRING_BASE:
        return true;
    case VHOST_ASYNC_SET_VRING_KICK:
        *index &= 0xff;         /* Above are flags. */
        return true;
    default:
        return false;
    }
}

static const char *
check_message(int vid, const void *msg, uint64_t features,
              const struct vhost_async_rings *rings)
{
    uint32_t request = vhost_async_message_request(msg);
    uint32_t size = get_u32(msg, SIZE_AT);
    uint32_t num = get_u32(msg, PAYLOAD_AT + 4);
    uint32_t index;

    if (size < payload_size(request)) {
        return "it is too short";
    } else if (message_ring(msg, &index) && index >= VHOST_ASYNC_MAX_VRINGS) {
        return "there is no such virtqueue";
    }
    switch (request) {
    case VHOST_ASYNC_SET_FEATURES:
        return check_features(vid, features, get_u64(msg, PAYLOAD_AT));
    case VHOST_ASYNC_SET_MEM_TABLE:
        return check_table(msg, size);
    case VHOST_ASYNC_SET_VRING_NUM:
        return check_num(vid, index, num, features, rings);
    case VHOST_ASYNC_SET_VRING_BASE:
        return check_base(vid, index, num, features, rings);
    case VHOST_ASYNC_SET_VRING_ADDR:
        return check_started(vid, index, rings);
    case VHOST_ASYNC_SET_VRING_KICK:
        return check_kick(vid, index, features, rings);

    /* The library handles these though the features that they belong to were
     * not offered.  Among others it unmaps rings in use (IOTLB_MSG), waits for
     * ever for an answer (SET_MEM_TABLE after POSTCOPY_LISTEN), takes as much
     * memory as the guest likes (GET_INFLIGHT_FD) and writes behind the end
     * of what it mapped (SET_INFLIGHT_FD). */
    case VHOST_ASYNC_IOTLB_MSG:
    case VHOST_ASYNC_POSTCOPY_ADVISE:
    case VHOST_ASYNC_POSTCOPY_LISTEN:
    case VHOST_ASYNC_POSTCOPY_END:
    case VHOST_ASYNC_GET_INFLIGHT_FD:
    case VHOST_ASYNC_SET_INFLIGHT_FD:
        return "it belongs to a feature that the port does not have";

    default:
        return NULL;
    }
}

/* Returns why 'msg' of device 'vid', as the library passes it to
 * pre_msg_handle (rte_vhost_extern_callback_register()), is to be refused, or
 * NULL.  'rings' belongs to the connection. */
const char *
vhost_async_message_check(int vid, const void *msg,
                          struct vhost_async_rings *rings)
{
    rings->features = device_features(vid);
    return check_message(vid, msg, rings->features, rings);
}

static void
note_features(uint64_t old, uint64_t new, struct vhost_async_rings *rings)
{
    if ((old ^ new) & F_RING_PACKED) {
        /* The arrays are not the same for both layouts. */
        memset(rings->sized, 0, sizeof rings->sized);
    } else if (!(new & F_MQ)) {
        /* The library frees all virtqueues but the first two. */
        bitmap_set_multiple(rings->sized, 2, VHOST_ASYNC_MAX_VRINGS - 2,
                            false);
    }
}

/* Notes in 'rings' what becomes of them by 'msg', which
 * vhost_async_message_check() let pass.  To be called from post_msg_handle:
 * the library refuses messages, too, and does not get there with those. */
void
vhost_async_message_accepted(const void *msg, struct vhost_async_rings *rings)
{
    uint32_t index = get_u32(msg, PAYLOAD_AT);

    switch (vhost_async_message_request(msg)) {
    case VHOST_ASYNC_SET_VRING_NUM:
        bitmap_set1(rings->sized, index);
        break;
    case VHOST_ASYNC_GET_VRING_BASE:
        bitmap_set0(rings->sized, index);
        break;
    case VHOST_ASYNC_SET_FEATURES:
        note_features(rings->features, get_u64(msg, PAYLOAD_AT), rings);
        break;
    case VHOST_ASYNC_RESET_OWNER:
        memset(rings->sized, 0, sizeof rings->sized);
        break;
    default:
        break;
    }
}

/* Whether 'msg' gives virtqueue 'index' another size or layout, for which what
 * the library allocated for copies in flight does not fit.  QEMU says the same
 * again while other queues are in use, which does not count. */
bool
vhost_async_message_resets(int vid, const void *msg, uint32_t index)
{
    switch (vhost_async_message_request(msg)) {
    case VHOST_ASYNC_SET_FEATURES:
        return get_u64(msg, PAYLOAD_AT) != device_features(vid);
    case VHOST_ASYNC_SET_VRING_NUM:
        return get_u32(msg, PAYLOAD_AT) == index
               && get_u32(msg, PAYLOAD_AT + 4) != get_ring(vid, index).size;
    default:
        return false;
    }
}
