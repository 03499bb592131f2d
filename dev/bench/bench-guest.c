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

/* The guest: its memory, its rings and its messages. */

#include <config.h>

#include "bench-guest.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ovs-atomic.h"
#include "util.h"

/* So that no page is at the address 0. */
#define GUEST_BASE (UINT64_C(1) << 30)

static void *
guest_alloc(struct guest *g, size_t size, size_t align)
{
    void *p;

    g->n_used = ROUND_UP(g->n_used, align);
    p = g->mem + g->n_used;
    g->n_used += size;
    if (g->n_used > g->size) {
        fail("the guest has too little memory");
    }
    return p;
}

static uint64_t
guest_address(const struct guest *g, const void *p)
{
    return GUEST_BASE + ((const uint8_t *) p - g->mem);
}

void
guest_init_memory(struct guest *g, size_t size, bool huge)
{
    g->size = ROUND_UP(size, 2u << 20);
    g->mem_fd = memfd_create("guest", huge ? MFD_HUGETLB : 0);
    if (g->mem_fd < 0 || ftruncate(g->mem_fd, g->size)) {
        fail("memory for a guest: %s", ovs_strerror(errno));
    }
    g->mem = mmap(NULL, g->size, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_POPULATE, g->mem_fd, 0);
    if (g->mem == MAP_FAILED) {
        fail("memory for a guest: %s", ovs_strerror(errno));
    }
}

#define PACKED_AVAIL (1 << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED (1 << VRING_PACKED_DESC_F_USED)

static void
guest_init_vring(struct guest *g, struct vring *vring, unsigned int n)
{
    vring_init(vring, n, guest_alloc(g, vring_size(n, 4096), 4096), 4096);
    if (settings.packed) {
        struct vring_packed_desc_event *event = (void *) vring->avail;

        event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
    } else {
        vring->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    }
}

static struct vring_packed_desc *
guest_packed_desc(const struct guest_vq *q, unsigned int idx)
{
    return (struct vring_packed_desc *) q->vring.desc + idx;
}

static bool
guest_packed_is_used(const struct guest_vq *q, unsigned int ahead)
{
    unsigned int pos = q->used + ahead;
    bool wrap = q->wrap ^ (pos >= q->vring.num);
    const struct vring_packed_desc *d
        = guest_packed_desc(q, pos % q->vring.num);
    uint16_t flags = *(volatile uint16_t *) &d->flags;

    return (!(flags & PACKED_AVAIL) != wrap
            && !(flags & PACKED_USED) != wrap);
}

/* Returns how many buffers were used that guest_receive() did not take yet. */
uint16_t
guest_n_used(const struct guest_vq *q)
{
    uint16_t n = 0;

    if (!q->packed) {
        return *(volatile uint16_t *) &q->vring.used->idx - q->used;
    }
    while (n < q->vring.num && guest_packed_is_used(q, n)) {
        n++;
    }
    return n;
}

static bool
guest_is_used(const struct guest_vq *q)
{
    return q->packed ? guest_packed_is_used(q, 0) : guest_n_used(q);
}

/* Returns which buffer is the next used one, and in '*len' how many bytes were
 * written to it. */
static unsigned int
guest_next_used(const struct guest_vq *q, uint32_t *len)
{
    if (q->packed) {
        const struct vring_packed_desc *d = guest_packed_desc(q, q->used);

        *len = d->len;
        return d->id;
    } else {
        const struct vring_used_elem *e
            = &q->vring.used->ring[q->used & (q->vring.num - 1)];

        *len = e->len;
        return e->id;
    }
}

/* Offers buffer 'id' where the next used one is, and goes on to the one behind
 * that.  The switch may use it at once if the ring is packed, from
 * guest_publish() on if it is split. */
static void
guest_offer_again(struct guest_vq *q, uint16_t id)
{
    if (q->packed) {
        struct vring_packed_desc *d = guest_packed_desc(q, q->used);

        d->len = q->buf_len;
        atomic_thread_fence(memory_order_release);
        *(volatile uint16_t *) &d->flags
            = VRING_DESC_F_WRITE | (q->wrap ? PACKED_USED : PACKED_AVAIL);
        if (++q->used == q->vring.num) {
            q->used = 0;
            q->wrap = !q->wrap;
        }
    } else {
        q->vring.avail->ring[q->used & (q->vring.num - 1)] = id;
        q->used++;
    }
}

/* Makes what was offered visible up to 'idx', if the ring is split. */
static void
guest_publish(struct guest_vq *q, uint16_t idx)
{
    if (!q->packed) {
        atomic_thread_fence(memory_order_release);
        *(volatile uint16_t *) &q->vring.avail->idx = idx;
    }
}

/* Offers buffer 'i' for the first time, at place 'i'. */
static void
guest_offer_first(struct guest *g, struct guest_vq *q, unsigned int i)
{
    uint64_t addr = guest_address(g, q->bufs + i * q->stride + q->offset);

    if (q->packed) {
        *guest_packed_desc(q, i) = (struct vring_packed_desc) {
            .addr = addr, .len = q->buf_len, .id = i,
            .flags = VRING_DESC_F_WRITE | PACKED_AVAIL,
        };
    } else {
        q->vring.desc[i] = (struct vring_desc) {
            .addr = addr, .len = q->buf_len, .flags = VRING_DESC_F_WRITE,
        };
        q->vring.avail->ring[i] = i;
    }
}

void
guest_init_rxq(struct guest *g, struct guest_vq *q, unsigned int n,
               unsigned int buf_len, unsigned int stride)
{
    guest_init_vring(g, &q->vring, n);
    q->stride = stride;
    q->offset = stride > buf_len ? GUEST_HEADROOM - HDR_LEN : 0;
    q->buf_len = buf_len;
    q->bufs = guest_alloc(g, (size_t) n * q->stride, 4096);
    q->packed = settings.packed;
    q->wrap = true;
    for (int i = 0; i < n; i++) {
        guest_offer_first(g, q, i);
    }
    guest_publish(q, n);
}

/* Takes one packet out of the used ring and offers its buffers anew.  Checks
 * that it is 'size' long and, if 'seq', that it is packet '*seq'.  Returns
 * false if there is none. */
bool
guest_receive(struct guest_vq *q, uint32_t size, const uint32_t *seq)
{
    uint32_t ofs = 0;
    uint16_t n = 1;

    if (!guest_is_used(q)) {
        return false;
    }
    atomic_thread_fence(memory_order_acquire);
    for (uint16_t i = 0; i < n; i++) {
        unsigned int id;
        const uint8_t *p;
        uint32_t len;

        if (!guest_is_used(q)) {
            fail("not all buffers of a packet are used");
        }
        id = guest_next_used(q, &len);
        if (len > q->buf_len || id >= q->vring.num) {
            fail("the ring is wrong");
        }
        p = q->bufs + id * q->stride + q->offset;
        if (!i) {
            n = ALIGNED_CAST(const struct virtio_net_hdr_mrg_rxbuf *,
                             p)->num_buffers;
            p += HDR_LEN;
            len -= HDR_LEN;
        }
        for (uint32_t j = 0; seq && j < len; j++) {
            if (ofs + j >= HEADERS_LEN && p[j] != pattern(*seq, ofs + j)) {
                fail("packet %u of %u bytes is wrong at byte %u", *seq, size,
                     ofs + j);
            }
        }
        ofs += len;
        guest_offer_again(q, id);
    }
    if (ofs != size) {
        fail("a packet of %u bytes arrived with %u", size, ofs);
    }
    guest_publish(q, q->used + q->vring.num);
    return true;
}

/* Gives 'g' a virtqueue of 'n' entries to send by, and as many packets as it
 * may have on their way, of up to 'stride' bytes with their headers. */
void
guest_init_txq(struct guest *g, unsigned int n, unsigned int stride)
{
    struct guest_vq *q = &g->txq;

    guest_init_vring(g, &q->vring, n);
    q->stride = stride;
    q->bufs = guest_alloc(g, (size_t) GUEST_MAX_SENT * stride, 4096);
    q->packed = settings.packed;
    q->wrap = true;
}

/* Returns the bytes of packet 'i' of the guest, which follow its header. */
uint8_t *
guest_packet(const struct guest *g, unsigned int i)
{
    return g->txq.bufs + (size_t) i * g->txq.stride + HDR_LEN;
}

/* Sends packets 'i' to 'i' + 'n' - 1, which have 'size' bytes. */
void
guest_send(struct guest *g, unsigned int i, unsigned int n, uint32_t size)
{
    struct guest_vq *q = &g->txq;

    for (; n; n--, i++) {
        uint64_t addr = guest_address(g, guest_packet(g, i) - HDR_LEN);

        if (q->packed) {
            struct vring_packed_desc *d = guest_packed_desc(q, q->used);

            d->addr = addr;
            d->len = HDR_LEN + size;
            d->id = q->used;
            atomic_thread_fence(memory_order_release);
            *(volatile uint16_t *) &d->flags = (q->wrap ? PACKED_AVAIL
                                                : PACKED_USED);
            if (++q->used == q->vring.num) {
                q->used = 0;
                q->wrap = !q->wrap;
            }
        } else {
            unsigned int slot = q->used++ & (q->vring.num - 1);

            q->vring.desc[slot] = (struct vring_desc) {
                .addr = addr, .len = HDR_LEN + size,
            };
            q->vring.avail->ring[slot] = slot;
        }
    }
    guest_publish(q, q->used);
}

/* Returns whether all buffers that the guest sent have come back. */
bool
guest_has_all_back(const struct guest *g)
{
    const struct guest_vq *q = &g->txq;

    if (q->packed) {
        unsigned int last = (q->used ? q->used : q->vring.num) - 1;
        uint16_t flags
            = *(volatile uint16_t *) &guest_packed_desc(q, last)->flags;

        return !(flags & PACKED_AVAIL) == !(flags & PACKED_USED);
    }
    return *(volatile uint16_t *) &q->vring.used->idx == q->used;
}

/* The guest's side of the vhost-user protocol. */

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
};

#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define F_RING_PACKED (UINT64_C(1) << 34)
#define PROTOCOL_F_MQ (UINT64_C(1) << 0)
#define PROTOCOL_F_REPLY_ACK (UINT64_C(1) << 3)
#define MSG_VERSION 1
#define MSG_NEED_REPLY (1 << 3)

struct msg {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t n, padding;
            uint64_t gpa, size, va, offset;
        } mem;
    };
} __attribute__((packed));

#define MSG_HDR_SIZE offsetof(struct msg, u64)

/* Sends '*msg', with the file 'fd' if it is not negative, and waits for the
 * reply.  Returns what it says. */
static uint64_t
guest_say(struct guest *g, struct msg *msg, int fd, bool is_question)
{
    char control[CMSG_SPACE(sizeof fd)] = { 0 };
    struct iovec iov = { msg, MSG_HDR_SIZE + msg->size };
    struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

    msg->flags = MSG_VERSION | (is_question ? 0 : MSG_NEED_REPLY);
    if (fd >= 0) {
        struct cmsghdr *cmsg;

        hdr.msg_control = control;
        hdr.msg_controllen = sizeof control;
        cmsg = CMSG_FIRSTHDR(&hdr);
        cmsg->cmsg_len = CMSG_LEN(sizeof fd);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    }
    if (sendmsg(g->fd, &hdr, 0) != iov.iov_len
        || recv(g->fd, msg, MSG_HDR_SIZE + 8, MSG_WAITALL)
           != MSG_HDR_SIZE + 8) {
        fail("vhost-user message %u: %s", msg->request, ovs_strerror(errno));
    }
    if (!is_question && msg->u64) {
        fail("vhost-user message %u was refused", msg->request);
    }
    return msg->u64;
}

static uint64_t
guest_ask(struct guest *g, uint32_t request)
{
    struct msg msg = { .request = request };

    return guest_say(g, &msg, -1, true);
}

static void
guest_set(struct guest *g, uint32_t request, uint64_t value)
{
    struct msg msg = { .request = request, .size = 8, .u64 = value };

    guest_say(g, &msg, -1, false);
}

static void
guest_set_state(struct guest *g, uint32_t request, uint32_t index,
                uint32_t num)
{
    struct msg msg = { .request = request, .size = 8,
                       .state = { .index = index, .num = num } };

    guest_say(g, &msg, -1, false);
}

static void
guest_set_event(struct guest *g, uint32_t request, uint32_t index)
{
    struct msg msg = { .request = request, .size = 8, .u64 = index };
    int fd = eventfd(0, EFD_NONBLOCK);

    guest_say(g, &msg, fd, false);
    close(fd);
}

static void
guest_set_vring(struct guest *g, uint32_t index, const struct vring *vring)
{
    uint64_t va = (uintptr_t) g->mem;
    struct msg msg = {
        .request = SET_VRING_ADDR,
        .size = sizeof msg.addr,
        .addr = {
            .index = index,
            .desc = va + ((uint8_t *) vring->desc - g->mem),
            .used = va + ((uint8_t *) vring->used - g->mem),
            .avail = va + ((uint8_t *) vring->avail - g->mem),
        },
    };

    guest_set_state(g, SET_VRING_NUM, index, vring->num);
    /* The wrap counters of a packed ring begin with 1. */
    guest_set_state(g, SET_VRING_BASE, index,
                    settings.packed ? 0x8000 | 0x8000u << 16 : 0);
    guest_say(g, &msg, -1, false);
    guest_set_event(g, SET_VRING_CALL, index);
    guest_set_event(g, SET_VRING_KICK, index);
}

/* Offers all that the guest wants of what the switch offers, and sets up
 * 'n_pairs' pairs of virtqueues. */
void
guest_connect(struct guest *g, unsigned int n_pairs, bool tso)
{
    uint64_t wanted = (F_VERSION_1 | F_PROTOCOL_FEATURES
                       | 1u << VIRTIO_NET_F_MRG_RXBUF | 1u << VIRTIO_NET_F_MQ);
    /* From 3.5 on Open vSwitch cuts packets up for guests that do not take
     * those of IPv6, too. */
    const uint64_t offloads = (1u << VIRTIO_NET_F_GUEST_CSUM
                               | 1u << VIRTIO_NET_F_GUEST_TSO4
                               | 1u << VIRTIO_NET_F_GUEST_TSO6
                               | 1u << VIRTIO_NET_F_CSUM
                               | 1u << VIRTIO_NET_F_HOST_TSO4
                               | 1u << VIRTIO_NET_F_HOST_TSO6);
    struct msg mem = {
        .request = SET_MEM_TABLE,
        .size = sizeof mem.mem,
        .mem = {
            .n = 1, .gpa = GUEST_BASE, .size = g->size,
            .va = (uintptr_t) g->mem,
        },
    };
    uint64_t features, protocol;

    if (tso) {
        wanted |= offloads;
    }
    if (settings.packed) {
        wanted |= F_RING_PACKED;
    }
    features = guest_ask(g, GET_FEATURES) & wanted;
    if (!(features & 1u << VIRTIO_NET_F_MRG_RXBUF)
        || (settings.packed && !(features & F_RING_PACKED))
        || (tso && (features & offloads) != offloads)) {
        fail("the switch does not offer what is to be measured, but %"PRIx64,
             features);
    }
    protocol = PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK;
    if ((guest_ask(g, GET_PROTOCOL_FEATURES) & protocol) != protocol) {
        fail("the switch does not reply to messages");
    }
    /* Until REPLY_ACK is set there are no replies to wait for. */
    struct msg msg = { .request = SET_PROTOCOL_FEATURES, .flags = MSG_VERSION,
                       .size = 8, .u64 = protocol };
    if (send(g->fd, &msg, MSG_HDR_SIZE + 8, 0) != MSG_HDR_SIZE + 8) {
        fail("cannot send to the switch");
    }
    guest_ask(g, GET_PROTOCOL_FEATURES);
    msg = (struct msg) { .request = SET_OWNER };
    guest_say(g, &msg, -1, false);
    guest_set(g, SET_FEATURES, features);
    guest_say(g, &mem, g->mem_fd, false);
    for (int i = 0; i < n_pairs; i++) {
        struct vring tx;

        guest_set_vring(g, 2 * i, &g->rxqs[i].vring);
        if (!i && g->txq.bufs) {
            guest_set_vring(g, 1, &g->txq.vring);
        } else {
            guest_init_vring(g, &tx, 16);
            guest_set_vring(g, 2 * i + 1, &tx);
        }
    }
    for (int i = 0; i < 2 * n_pairs; i++) {
        guest_set_state(g, SET_VRING_ENABLE, i, 1);
    }
}
