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

#ifndef FAKE_GUEST_RING_H
#define FAKE_GUEST_RING_H 1

/* A guest with one ring, split or packed.  Of a receive ring its driver offers
 * buffers and gets packets; of a transmit ring it sends packets and gets the
 * buffers back.  It tells the truth; for lies see test-vhost-vring-invalid.c.
 *
 * A ring has buffers of 'n_pieces' descriptors of 'piece_len' bytes each,
 * offered and used in turn, so that number i is in slot i % n_bufs.  The
 * driver may run in a thread of its own.
 *
 * To be included behind vhost-vring.h. */

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "ovs-atomic.h"
#include "util.h"
#include "vhost-guest-mem.h"
#include "vhost-vring.h"

#define GUEST_F(BIT) (UINT64_C(1) << (BIT))
#define GUEST_SPLIT GUEST_F(VIRTIO_F_VERSION_1)
#define GUEST_PACKED (GUEST_F(VIRTIO_F_VERSION_1) \
                      | GUEST_F(VIRTIO_F_RING_PACKED))
#define GUEST_MRG GUEST_F(VIRTIO_NET_F_MRG_RXBUF)
#define GUEST_EVENT_IDX GUEST_F(VIRTIO_RING_F_EVENT_IDX)

/* Guest address of its memory, and what the vhost library adds to it. */
#define GUEST_GPA (UINT64_C(1) << 32)
#define GUEST_LIBRARY_VA (UINT64_C(0x70) << 40)

/* Bytes of an area of the ring: 1024 descriptors.  Buffers follow. */
#define GUEST_AREA 16384

struct guest_ring {
    uint64_t features;
    bool packed;
    uint32_t size;              /* Descriptors. */
    uint32_t n_pieces, piece_len;
    uint32_t n_bufs;

    uint8_t *mem;
    size_t mem_size;
    struct vhost_guest_mem table;
    struct vhost_vring_setup setup;

    struct vring_desc *sdesc;
    struct vring_avail *avail;
    struct vring_used *used;
    struct vring_packed_desc *pdesc;
    struct vring_packed_desc_event *event;

    bool indirect;              /* Buffers are tables of descriptors. */

    uint32_t n_offered, n_used; /* Buffers. */
    uint32_t avail_pos, used_pos;
    bool avail_wrap, used_wrap;
};

/* A packet as the guest got it. */
struct guest_pkt {
    struct virtio_net_hdr_mrg_rxbuf hdr;
    uint32_t n_bufs;
    uint32_t len;               /* Without the header. */
    uint8_t data[65536];
};

#define guest_load(PTR) __atomic_load_n(PTR, __ATOMIC_ACQUIRE)
#define guest_store(PTR, VALUE) __atomic_store_n(PTR, VALUE, __ATOMIC_RELEASE)

static inline uint32_t
guest_ring_hdr_len(const struct guest_ring *g)
{
    return (g->features & (GUEST_PACKED | GUEST_MRG)
            ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
            : sizeof(struct virtio_net_hdr));
}

static uint64_t
guest_ring_gpa(const struct guest_ring *g, uint32_t buf, uint32_t piece)
{
    return (GUEST_GPA + 3 * GUEST_AREA
            + (buf % g->n_bufs * g->n_pieces + piece)
              * (uint64_t) g->piece_len);
}

static uint8_t *
guest_ring_piece(const struct guest_ring *g, uint32_t buf, uint32_t piece)
{
    return g->mem + (guest_ring_gpa(g, buf, piece) - GUEST_GPA);
}

static uint16_t
guest_ring_avail_flags(const struct guest_ring *g)
{
    return 1 << (g->avail_wrap ? VRING_PACKED_DESC_F_AVAIL
                               : VRING_PACKED_DESC_F_USED);
}

/* Writes a descriptor of the next buffer.  The flags of the first one, for
 * which 'head_flags' is not NULL, are stored there, to be written last. */
static void
guest_ring_add_packed(struct guest_ring *g, uint64_t gpa, uint32_t len,
                      uint16_t flags, uint16_t *head_flags)
{
    struct vring_packed_desc *d = &g->pdesc[g->avail_pos];

    d->addr = gpa;
    d->len = len;
    d->id = g->n_offered % g->n_bufs;
    *(head_flags ? head_flags : &d->flags)
        = flags | guest_ring_avail_flags(g);
    if (++g->avail_pos == g->size) {
        g->avail_pos = 0;
        g->avail_wrap = !g->avail_wrap;
    }
}

static void
guest_ring_offer_packed(struct guest_ring *g)
{
    struct vring_packed_desc *head = &g->pdesc[g->avail_pos];
    uint16_t head_flags = 0;

    for (uint32_t i = 0; i < g->n_pieces; i++) {
        guest_ring_add_packed(
            g, guest_ring_gpa(g, g->n_offered, i), g->piece_len,
            (VRING_DESC_F_WRITE
             | (i + 1 < g->n_pieces ? VRING_DESC_F_NEXT : 0)),
            i ? NULL : &head_flags);
    }
    guest_store(&head->flags, head_flags);
}

static void
guest_ring_offer_split(struct guest_ring *g)
{
    uint32_t head = g->n_offered % g->n_bufs * g->n_pieces;

    for (uint32_t i = 0; i < g->n_pieces; i++) {
        bool last = i + 1 == g->n_pieces;

        g->sdesc[head + i] = (struct vring_desc) {
            .addr = guest_ring_gpa(g, g->n_offered, i),
            .len = g->piece_len,
            .flags = VRING_DESC_F_WRITE | (last ? 0 : VRING_DESC_F_NEXT),
            .next = last ? 0 : head + i + 1,
        };
    }
    g->avail->ring[g->avail_pos % g->size] = head;
    g->avail_pos++;
    guest_store(&g->avail->idx, g->avail_pos);
}

/* Offers up to 'n' buffers more, as far as there are any. */
static OVS_UNUSED void
guest_ring_offer(struct guest_ring *g, uint32_t n)
{
    for (; n && g->n_offered - g->n_used < g->n_bufs; n--) {
        if (g->packed) {
            guest_ring_offer_packed(g);
        } else {
            guest_ring_offer_split(g);
        }
        g->n_offered++;
    }
}

/* Returns the number of bytes written to the buffer that is to be used next
 * but 'ahead', 0 if it is not used. */
static uint32_t
guest_ring_peek(const struct guest_ring *g, uint32_t ahead)
{
    uint32_t buf = g->n_used + ahead;

    if (buf == g->n_offered) {
        return 0;
    }
    if (g->packed) {
        uint32_t pos = g->used_pos + ahead * g->n_pieces;
        bool wrap = g->used_wrap ^ (pos >= g->size);
        uint16_t flags = guest_load(&g->pdesc[pos % g->size].flags);

        if (!(flags & 1 << VRING_PACKED_DESC_F_USED) == wrap
            || !(flags & 1 << VRING_PACKED_DESC_F_AVAIL) == wrap) {
            return 0;
        }
        ovs_assert(g->pdesc[pos % g->size].id == buf % g->n_bufs);
        ovs_assert(g->pdesc[pos % g->size].len);
        return g->pdesc[pos % g->size].len;
    } else {
        uint16_t pos = g->used_pos + ahead;
        const struct vring_used_elem *e = &g->used->ring[pos % g->size];

        if ((uint16_t) (guest_load(&g->used->idx) - g->used_pos) <= ahead) {
            return 0;
        }
        ovs_assert(e->id == buf % g->n_bufs * g->n_pieces && e->len);
        return e->len;
    }
}

static void
guest_ring_advance(struct guest_ring *g)
{
    g->n_used++;
    if (!g->packed) {
        g->used_pos = (uint16_t) (g->used_pos + 1);
    } else {
        g->used_pos += g->n_pieces;
        if (g->used_pos >= g->size) {
            g->used_pos -= g->size;
            g->used_wrap = !g->used_wrap;
        }
    }
}

/* Gets the next packet, if there is one.  All of its buffers become visible at
 * once. */
static OVS_UNUSED bool
guest_ring_get(struct guest_ring *g, struct guest_pkt *pkt)
{
    uint32_t len = guest_ring_peek(g, 0), size = guest_ring_hdr_len(g);
    uint32_t total = 0;

    if (!len) {
        return false;
    }
    memset(&pkt->hdr, 0, sizeof pkt->hdr);
    /* Until the header tells, which may be in several buffers itself. */
    pkt->n_bufs = g->features & GUEST_MRG ? UINT32_MAX : 1;
    for (uint32_t i = 0; i < pkt->n_bufs; i++) {
        len = guest_ring_peek(g, 0);
        ovs_assert(len);
        for (uint32_t ofs = 0, n; ofs < len; ofs += n) {
            const uint8_t *src = guest_ring_piece(g, g->n_used,
                                                  ofs / g->piece_len);
            uint32_t in_piece = ofs % g->piece_len;

            n = MIN(g->piece_len - in_piece, len - ofs);
            if (total < size) {
                n = MIN(n, size - total);
                memcpy((uint8_t *) &pkt->hdr + total, src + in_piece, n);
            } else {
                ovs_assert(total - size + n <= sizeof pkt->data);
                memcpy(&pkt->data[total - size], src + in_piece, n);
            }
            total += n;
            if (total == size && g->features & GUEST_MRG) {
                pkt->n_bufs = pkt->hdr.num_buffers;
            }
        }
        /* But the last one, they are full. */
        ovs_assert(i + 1 == pkt->n_bufs || len == g->n_pieces * g->piece_len);
        guest_ring_advance(g);
    }
    ovs_assert(total >= size);
    pkt->len = total - size;
    return true;
}

/* Whether the packet that was sent first of those that are out was taken. */
static bool
guest_ring_is_returned(const struct guest_ring *g)
{
    uint32_t buf = g->n_used;

    if (buf == g->n_offered) {
        return false;
    } else if (g->packed) {
        const struct vring_packed_desc *d = &g->pdesc[g->used_pos];
        uint16_t flags = guest_load(&d->flags);

        if (!(flags & 1 << VRING_PACKED_DESC_F_USED) == g->used_wrap
            || !(flags & 1 << VRING_PACKED_DESC_F_AVAIL) == g->used_wrap) {
            return false;
        }
        /* Nothing was written to it. */
        ovs_assert(!(flags & VRING_DESC_F_WRITE) && !d->len);
        ovs_assert(d->id == buf % g->n_bufs);
        return true;
    } else {
        const struct vring_used_elem *e = &g->used->ring[g->used_pos
                                                         % g->size];

        if (guest_load(&g->used->idx) == (uint16_t) g->used_pos) {
            return false;
        }
        ovs_assert(e->id == buf % g->n_bufs * g->n_pieces && !e->len);
        return true;
    }
}

/* Returns how many packets were taken since this was asked last.  Of a packed
 * ring, with 'indirect', each takes one descriptor. */
static OVS_UNUSED uint32_t
guest_ring_reclaim(struct guest_ring *g)
{
    uint32_t n;

    for (n = 0; guest_ring_is_returned(g); n++) {
        if (g->indirect && g->packed) {
            g->n_used++;
            if (++g->used_pos == g->size) {
                g->used_pos = 0;
                g->used_wrap = !g->used_wrap;
            }
        } else {
            guest_ring_advance(g);
        }
    }
    return n;
}

/* Where the table of buffer 'buf' is. */
static uint64_t
guest_ring_table_gpa(const struct guest_ring *g, uint32_t buf)
{
    return (GUEST_GPA + 3 * GUEST_AREA + g->size * (uint64_t) g->piece_len
            + buf % g->n_bufs * g->n_pieces * 16);
}

/* Offers the next buffer, of which piece 'i' has 'lens[i]' bytes. */
static void
guest_ring_send_packed(struct guest_ring *g, const uint32_t lens[])
{
    struct vring_packed_desc *head = &g->pdesc[g->avail_pos];
    uint32_t buf = g->n_offered;
    uint16_t head_flags = 0;

    if (g->indirect) {
        uint64_t gpa = guest_ring_table_gpa(g, buf);
        struct vring_packed_desc *table = ALIGNED_CAST(
            struct vring_packed_desc *, g->mem + (gpa - GUEST_GPA));

        for (uint32_t i = 0; i < g->n_pieces; i++) {
            table[i] = (struct vring_packed_desc) {
                .addr = guest_ring_gpa(g, buf, i), .len = lens[i],
            };
        }
        guest_ring_add_packed(g, gpa, g->n_pieces * 16,
                              VRING_DESC_F_INDIRECT, &head_flags);
    } else {
        for (uint32_t i = 0; i < g->n_pieces; i++) {
            guest_ring_add_packed(
                g, guest_ring_gpa(g, buf, i), lens[i],
                i + 1 < g->n_pieces ? VRING_DESC_F_NEXT : 0,
                i ? NULL : &head_flags);
        }
    }
    guest_store(&head->flags, head_flags);
}

static void
guest_ring_send_split(struct guest_ring *g, const uint32_t lens[])
{
    uint32_t head = g->n_offered % g->n_bufs * g->n_pieces;
    struct vring_desc *descs = &g->sdesc[head];
    uint64_t gpa = guest_ring_table_gpa(g, g->n_offered);

    if (g->indirect) {
        *descs = (struct vring_desc) {
            .addr = gpa, .len = g->n_pieces * 16,
            .flags = VRING_DESC_F_INDIRECT,
        };
        descs = ALIGNED_CAST(struct vring_desc *, g->mem + (gpa - GUEST_GPA));
    }
    for (uint32_t i = 0; i < g->n_pieces; i++) {
        bool last = i + 1 == g->n_pieces;

        descs[i] = (struct vring_desc) {
            .addr = guest_ring_gpa(g, g->n_offered, i), .len = lens[i],
            .flags = last ? 0 : VRING_DESC_F_NEXT,
            .next = last ? 0 : (g->indirect ? 0 : head) + i + 1,
        };
    }
    g->avail->ring[g->avail_pos % g->size] = head;
    g->avail_pos++;
    guest_store(&g->avail->idx, g->avail_pos);
}

/* Sends 'len' bytes of 'data' behind 'hdr', in all pieces of the next buffer.
 * Returns false if all buffers are out. */
static OVS_UNUSED bool
guest_ring_send(struct guest_ring *g,
                const struct virtio_net_hdr_mrg_rxbuf *hdr,
                const uint8_t *data, uint32_t len)
{
    uint32_t size = guest_ring_hdr_len(g), total = size + len, ofs = 0;
    uint32_t lens[64];

    if (g->n_offered - g->n_used == g->n_bufs) {
        return false;
    }
    ovs_assert(g->n_pieces <= ARRAY_SIZE(lens) && total >= g->n_pieces);
    for (uint32_t i = 0; i < g->n_pieces; i++) {
        uint8_t *dst = guest_ring_piece(g, g->n_offered, i);

        lens[i] = (total - ofs) / (g->n_pieces - i);
        ovs_assert(lens[i] <= g->piece_len);
        for (uint32_t j = 0; j < lens[i]; j++, ofs++) {
            dst[j] = (ofs < size ? ((const uint8_t *) hdr)[ofs]
                      : data[ofs - size]);
        }
    }
    if (g->packed) {
        guest_ring_send_packed(g, lens);
    } else {
        guest_ring_send_split(g, lens);
    }
    g->n_offered++;
    return true;
}

/* The driver begins anew, with a ring of 'size', which must not be more than
 * at first.  Nobody is at the ring. */
static void
guest_ring_reset(struct guest_ring *g, uint32_t size)
{
    memset(g->mem, 0, 3 * GUEST_AREA);
    g->size = g->setup.size = size;
    g->n_bufs = size / g->n_pieces;
    g->n_offered = g->n_used = 0;
    g->avail_pos = g->used_pos = 0;
    g->avail_wrap = g->used_wrap = true;
}

static void
guest_ring_init(struct guest_ring *g, uint64_t features, uint32_t size,
                uint32_t n_pieces, uint32_t piece_len)
{
    uintptr_t va = GUEST_LIBRARY_VA;

    memset(g, 0, sizeof *g);
    g->features = features;
    g->packed = features & GUEST_F(VIRTIO_F_RING_PACKED);
    g->n_pieces = n_pieces;
    g->piece_len = piece_len;

    g->mem_size = ROUND_UP(3 * GUEST_AREA + size * (piece_len + 16), 4096);
    g->mem = mmap(NULL, g->mem_size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ovs_assert(size * 16 <= GUEST_AREA && g->mem != MAP_FAILED);
    g->table.n_regions = 1;
    g->table.regions[0] = (struct vhost_guest_region) {
        .gpa = GUEST_GPA, .size = g->mem_size, .va = g->mem,
        .vhost_va = GUEST_LIBRARY_VA, .map = g->mem,
        .map_size = g->mem_size,
    };
    g->sdesc = (void *) g->mem;
    g->pdesc = (void *) g->mem;
    g->avail = (void *) (g->mem + GUEST_AREA);
    g->event = (void *) g->avail;
    g->used = (void *) (g->mem + 2 * GUEST_AREA);
    g->setup = (struct vhost_vring_setup) {
        .mem = &g->table,
        .desc = (const void *) va,
        .avail = (const void *) (va + GUEST_AREA),
        .used = (const void *) (va + 2 * GUEST_AREA),
        .features = features,
        .log_vid = -1,
    };
    guest_ring_reset(g, size);
}

/* Where the ring starts, as rte_vhost_get_vring_base() has it. */
static uint16_t
guest_ring_base(const struct guest_ring *g)
{
    return g->packed ? 1 << 15 : 0;
}

/* What vhost-guest-mem.c does with the areas. */
static void *
guest_ring_from_library(const struct vhost_guest_mem *mem, const void *va,
                        uint64_t size, uint64_t *gpa)
{
    const struct vhost_guest_region *r = &mem->regions[0];
    uint64_t ofs = (uintptr_t) va - r->vhost_va;

    if (ofs >= r->size || size > r->size - ofs) {
        return NULL;
    }
    *gpa = r->gpa + ofs;
    return r->va + ofs;
}

/* Has the guest's memory be told of anew.  Nobody uses what was told before:
 * where that is. */
static OVS_UNUSED void
guest_ring_move(struct guest_ring *g)
{
    struct vhost_guest_mem *old = CONST_CAST(struct vhost_guest_mem *,
                                             g->setup.mem);

    g->setup.mem = xmemdup(old, sizeof *old);
    if (old != &g->table) {
        free(old);
    }
}

static void
guest_ring_destroy(struct guest_ring *g)
{
    if (g->setup.mem != &g->table) {
        free(CONST_CAST(struct vhost_guest_mem *, g->setup.mem));
    }
    munmap(g->mem, g->mem_size);
}

#endif /* fake-guest-ring.h */
