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

#ifndef VHOST_VRING_FIXTURE_H
#define VHOST_VRING_FIXTURE_H 1

/* A guest with memory of its own, which drives a receive ring as the drivers
 * of both layouts do.  Every byte that it gets is checked, and so can be every
 * byte that the log of dirty pages should have.
 *
 * To be included behind '#define DP(NAME)', see vhost-vring-sources.h. */

#include <sys/mman.h>
#include <unistd.h>

#include "random.h"
#include "util.h"
#include "vhost-vring-sources.h"

#define F(BIT) (UINT64_C(1) << (BIT))
#define PACKED F(VIRTIO_F_RING_PACKED)
#define EVENT_IDX F(VIRTIO_RING_F_EVENT_IDX)
#define MRG F(VIRTIO_NET_F_MRG_RXBUF)

/* Regions next to each other for the guest, not for us, and one elsewhere.
 * The rings are in the first.  Tables may be across the first border, buffers
 * across the second. */
#define N_REGIONS 4
#define REGION_SIZE (UINT64_C(4) << 20)
#define ELSEWHERE (gpas[3])
#define LIBRARY_VA (UINT64_C(0x70) << 40)
#define LOG_VID 7

static const uint64_t gpas[N_REGIONS] = {
    UINT64_C(1) << 32, (UINT64_C(1) << 32) + REGION_SIZE,
    (UINT64_C(1) << 32) + 2 * REGION_SIZE, UINT64_C(1) << 40
};

/* The areas of a ring, and tables. */
#define DESC_GPA gpas[0]
#define AVAIL_GPA (gpas[0] + (UINT64_C(1) << 20))
#define USED_GPA (gpas[0] + (UINT64_C(2) << 20))
#define TABLE_GPA(ID) (gpas[0] + (UINT64_C(3) << 20) + (ID) * UINT64_C(64))

/* Descriptors of a buffer. */
#define MAX_PIECES 4

struct piece {
    uint64_t gpa;
    uint32_t len;
};

struct offer {
    struct piece pieces[MAX_PIECES];
    unsigned int n;
    uint16_t id;
    uint16_t n_descs;
    uint16_t descs[MAX_PIECES];     /* Of a split ring. */
};

struct guest {
    uint64_t features;
    uint32_t size;
    int fd;
    uint8_t *own[N_REGIONS];        /* Memory as the guest sees it, */
    uint8_t *logged[N_REGIONS];     /* ...as it is on the other side, */
    uint8_t *mapped;                /* ...and as we see it. */
    struct vhost_guest_mem mem;
    struct vhost_vring_setup setup;
    struct vhost_vring vr;
    unsigned int n_logged;          /* Calls. */
    uint16_t used_when_logged;      /* At the first of them. */

    struct vring_desc *sdesc;
    struct vring_avail *avail;
    struct vring_used *used;
    struct vring_packed_desc *pdesc;
    struct vring_packed_desc_event *event;

    /* The driver.  Offers are in order: [collected, offered) are on the
     * ring, of which [collected, taken) the device has. */
    struct offer *offers;
    uint32_t mask, n_offered, n_collected, n_taken;
    uint16_t free[VHOST_VRING_MAX_SIZE];    /* Descriptors, of packed ids. */
    uint32_t n_free;
    uint32_t n_room;                /* Free descriptors. */
    uint32_t avail_pos, used_pos;
    bool avail_wrap, used_wrap;

    uint64_t sent, got;             /* Bytes. */
};

static struct guest *the_guest;

static uint8_t *
guest_mem(struct guest *g, uint8_t *const views[], uint64_t gpa)
{
    for (int i = 0; i < N_REGIONS; i++) {
        if (gpa - gpas[i] < REGION_SIZE) {
            return views[i] + (gpa - gpas[i]);
        }
    }
    ovs_fatal(0, "guest %p has no address %#"PRIx64, g, gpa);
}

/* A page that is dirty goes to the other side at once. */
static void
guest_wrote(struct guest *g, uint64_t gpa, uint64_t len)
{
    while (len) {
        uint64_t n = MIN(len, REGION_SIZE - gpa % REGION_SIZE);

        memcpy(guest_mem(g, g->logged, gpa), guest_mem(g, g->own, gpa), n);
        gpa += n;
        len -= n;
    }
}

void
rte_vhost_log_write(int vid, uint64_t gpa, uint64_t len)
{
    struct guest *g = the_guest;

    ovs_assert(vid == LOG_VID && len);
    if (!g->n_logged++) {
        g->used_when_logged = (g->features & PACKED
                               ? g->pdesc[g->used_pos].flags : g->used->idx);
    }
    guest_wrote(g, gpa, len);
}

void *
vhost_guest_mem_from_library(const struct vhost_guest_mem *mem, const void *va,
                  uint64_t size, uint64_t *gpa)
{
    for (unsigned int i = 0; i < mem->n_regions; i++) {
        const struct vhost_guest_region *r = &mem->regions[i];
        uint64_t ofs = (uintptr_t) va - r->vhost_va;

        if (ofs < r->size && size <= r->size - ofs) {
            *gpa = r->gpa + ofs;
            return r->va + ofs;
        }
    }
    return NULL;
}

/* Puts the guest's memory somewhere else, with nothing around the regions. */
static void
guest_move(struct guest *g)
{
    size_t step = REGION_SIZE + 4096;
    uint8_t *old = g->mapped;

    g->mapped = mmap(NULL, N_REGIONS * step + 4096, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ovs_assert(g->mapped != MAP_FAILED);
    if (old) {
        munmap(old, N_REGIONS * step + 4096);
    }
    memset(&g->mem, 0, sizeof g->mem);
    g->mem.n_regions = N_REGIONS;
    for (int i = 0; i < N_REGIONS; i++) {
        struct vhost_guest_region *r = &g->mem.regions[i];

        r->gpa = gpas[i];
        r->size = REGION_SIZE;
        r->vhost_va = LIBRARY_VA + gpas[i];
        r->va = mmap(g->mapped + 4096 + i * step, REGION_SIZE,
                     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, g->fd,
                     i * REGION_SIZE);
        ovs_assert(r->va != MAP_FAILED);
    }
}

static const void *
vhost_va(uint64_t gpa)
{
    return (const void *) (uintptr_t) (LIBRARY_VA + gpa);
}

/* Starts a ring at index 'base', in the library's format. */
static void
guest_set_base(struct guest *g, uint16_t base)
{
    if (g->features & PACKED) {
        g->avail_pos = g->used_pos = base & 0x7fff;
        g->avail_wrap = g->used_wrap = base >> 15;
        for (uint32_t i = 0; i < g->size; i++) {
            bool wrap = i < g->avail_pos ? g->avail_wrap : !g->avail_wrap;

            g->pdesc[i].flags = wrap ? AVAIL_FLAG | USED_FLAG : 0;
        }
    } else {
        g->avail_pos = g->used_pos = base;
        g->avail->idx = g->used->idx = base;
    }
    for (int i = 0; i < N_REGIONS; i++) {
        memcpy(g->logged[i], g->own[i], REGION_SIZE);
    }
    vhost_vring_set_base(&g->vr, base, base);
}

static struct guest *
guest_create(uint64_t features, uint32_t size)
{
    struct guest *g = the_guest = xzalloc(sizeof *g);

    g->features = features;
    g->size = size;
    g->fd = memfd_create("guest", 0);
    ovs_assert(!ftruncate(g->fd, N_REGIONS * REGION_SIZE));
    for (int i = 0; i < N_REGIONS; i++) {
        g->own[i] = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                         g->fd, i * REGION_SIZE);
        ovs_assert(g->own[i] != MAP_FAILED);
        g->logged[i] = xmalloc(REGION_SIZE);
    }
    guest_move(g);
    g->sdesc = (void *) guest_mem(g, g->own, DESC_GPA);
    g->pdesc = (void *) g->sdesc;
    g->avail = (void *) guest_mem(g, g->own, AVAIL_GPA);
    g->event = (void *) g->avail;
    g->used = (void *) guest_mem(g, g->own, USED_GPA);

    g->mask = ROUND_UP_POW2(size) - 1;
    g->offers = xzalloc((g->mask + 1) * sizeof *g->offers);
    g->n_free = g->n_room = size;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t j = random_range(i + 1);

        g->free[i] = g->free[j];
        g->free[j] = i;
    }

    g->setup = (struct vhost_vring_setup) {
        .mem = &g->mem,
        .desc = vhost_va(DESC_GPA),
        .avail = vhost_va(AVAIL_GPA),
        .used = vhost_va(USED_GPA),
        .size = size,
        .features = features,
        .log_vid = LOG_VID,
    };
    vhost_vring_init(&g->vr);
    ovs_assert(!vhost_vring_is_mapped(&g->vr));
    ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
    ovs_assert(vhost_vring_is_mapped(&g->vr));
    guest_set_base(g, features & PACKED ? 0x8000 : 0);
    return g;
}

static void
guest_destroy(struct guest *g)
{
    vhost_vring_destroy(&g->vr);
    munmap(g->mapped, N_REGIONS * (REGION_SIZE + 4096) + 4096);
    for (int i = 0; i < N_REGIONS; i++) {
        munmap(g->own[i], REGION_SIZE);
        free(g->logged[i]);
    }
    close(g->fd);
    free(g->offers);
    free(g);
}

static OVS_UNUSED void
guest_remap(struct guest *g)
{
    vhost_vring_unmap(&g->vr);
    ovs_assert(!vhost_vring_is_mapped(&g->vr));
    guest_move(g);
    ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
}

/* The flags of an available descriptor of a packed ring. */
static uint16_t
avail_flags(bool wrap)
{
    return wrap ? AVAIL_FLAG : USED_FLAG;
}

static void
guest_write_table(struct guest *g, const struct offer *o, uint64_t gpa)
{
    for (unsigned int i = 0; i < o->n; i++) {
        union {
            struct vring_desc split;
            struct vring_packed_desc packed;
            uint8_t bytes[16];
        } d;

        if (g->features & PACKED) {
            d.packed = (struct vring_packed_desc) {
                o->pieces[i].gpa, o->pieces[i].len, 0xffff, VRING_DESC_F_WRITE
            };
        } else {
            d.split = (struct vring_desc) {
                o->pieces[i].gpa, o->pieces[i].len,
                VRING_DESC_F_WRITE | (i + 1 < o->n ? VRING_DESC_F_NEXT : 0),
                i + 1 < o->n ? i + 1 : 0xffff
            };
        }
        for (int j = 0; j < 16; j++) {
            *guest_mem(g, g->own, gpa++) = d.bytes[j];
        }
    }
    guest_wrote(g, gpa - o->n * 16, o->n * 16);
}

static void
guest_put_packed(struct guest *g, struct offer *o,
                 const struct piece *pieces, unsigned int n, uint16_t flags)
{
    uint32_t first = g->avail_pos;
    uint16_t first_flags = 0;

    for (unsigned int i = 0; i < n; i++) {
        struct vring_packed_desc *d = &g->pdesc[g->avail_pos];
        uint16_t f = (flags | avail_flags(g->avail_wrap)
                      | (i + 1 < n ? VRING_DESC_F_NEXT : 0));

        d->addr = pieces[i].gpa;
        d->len = pieces[i].len;
        d->id = i + 1 < n ? 0xffff : o->id;
        if (i) {
            d->flags = f;
        } else {
            first_flags = f;
        }
        if (++g->avail_pos == g->size) {
            g->avail_pos = 0;
            g->avail_wrap = !g->avail_wrap;
        }
    }
    vhost_vring_store16_release(&g->pdesc[first].flags, first_flags);
    for (unsigned int i = 0; i < n; i++) {
        guest_wrote(g, DESC_GPA + (first + i) % g->size * 16, 16);
    }
}

static void
guest_put_split(struct guest *g, struct offer *o,
                const struct piece *pieces, unsigned int n, uint16_t flags)
{
    for (unsigned int i = 0; i < n; i++) {
        struct vring_desc *d = &g->sdesc[o->descs[i]];

        d->addr = pieces[i].gpa;
        d->len = pieces[i].len;
        d->flags = flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0);
        d->next = i + 1 < n ? o->descs[i + 1] : 0xffff;
    }
    g->avail->ring[g->avail_pos & (g->size - 1)] = o->id;
    vhost_vring_store16_release(&g->avail->idx, ++g->avail_pos);
}

/* Offers a buffer of 'n' pieces, which must have room.  With a 'table', at
 * that guest address, it is an indirect one. */
static struct offer *
guest_offer(struct guest *g, const struct piece *pieces, unsigned int n,
            uint64_t table)
{
    struct offer *o = &g->offers[g->n_offered & g->mask];
    struct piece indirect = { table, n * 16 };
    uint16_t flags = VRING_DESC_F_WRITE;

    memcpy(o->pieces, pieces, n * sizeof *pieces);
    o->n = n;
    o->n_descs = table ? 1 : n;
    ovs_assert(o->n_descs <= g->n_room);
    g->n_room -= o->n_descs;
    for (unsigned int i = 0; i < (g->features & PACKED ? 1 : o->n_descs);
         i++) {
        o->descs[i] = g->free[--g->n_free];
    }
    o->id = o->descs[0];
    if (table) {
        guest_write_table(g, o, table);
        pieces = &indirect;
        n = 1;
        flags = VRING_DESC_F_INDIRECT;
    }
    if (g->features & PACKED) {
        guest_put_packed(g, o, pieces, n, flags);
    } else {
        guest_put_split(g, o, pieces, n, flags);
    }
    g->n_offered++;
    return o;
}

static struct offer *
guest_offer1(struct guest *g, uint64_t gpa, uint32_t len)
{
    struct piece piece = { gpa, len };

    return guest_offer(g, &piece, 1, 0);
}

/* What is in byte number 'i' of all that was sent. */
static uint8_t
pattern(uint64_t i)
{
    return (i * UINT64_C(0x9e3779b97f4a7c15)) >> 56;
}

static bool
guest_peek(const struct guest *g)
{
    if (g->features & PACKED) {
        uint16_t flags = vhost_vring_load16(&g->pdesc[g->used_pos].flags,
                                            memory_order_acquire);

        return (!(flags & USED_FLAG) != g->used_wrap
                && !(flags & AVAIL_FLAG) != g->used_wrap);
    }
    return ((uint16_t) g->used_pos
            != vhost_vring_load16(&g->used->idx, memory_order_acquire));
}

/* Gets a buffer from the ring, if there is one, and checks that it is the
 * right one and has in it what was sent. */
static bool
guest_collect(struct guest *g)
{
    struct offer *o = &g->offers[g->n_collected & g->mask];
    uint32_t id, len;

    if (!guest_peek(g)) {
        return false;
    }
    ovs_assert(g->n_collected != g->n_taken);
    if (g->features & PACKED) {
        id = g->pdesc[g->used_pos].id;
        len = g->pdesc[g->used_pos].len;
        ovs_assert(g->pdesc[g->used_pos].flags & VRING_DESC_F_WRITE);
        g->used_pos += o->n_descs;
        if (g->used_pos >= g->size) {
            g->used_pos -= g->size;
            g->used_wrap = !g->used_wrap;
        }
    } else {
        id = g->used->ring[g->used_pos & (g->size - 1)].id;
        len = g->used->ring[g->used_pos & (g->size - 1)].len;
        g->used_pos++;
    }
    ovs_assert(id == o->id);
    ovs_assert(len);
    for (unsigned int i = 0; len; i++) {
        ovs_assert(i < o->n);
        for (uint32_t ofs = 0; ofs < o->pieces[i].len && len; ofs++, len--) {
            uint64_t gpa = o->pieces[i].gpa + ofs;

            ovs_assert(*guest_mem(g, g->own, gpa) == pattern(g->got++));
        }
    }
    for (unsigned int i = 0; i < (g->features & PACKED ? 1 : o->n_descs);
         i++) {
        g->free[g->n_free++] = o->descs[i];
    }
    g->n_room += o->n_descs;
    g->n_collected++;
    return true;
}

/* Takes buffers for 'len' bytes and, if it gets them, fills them. */
static enum vhost_vring_result
send_packet(struct guest *g, uint32_t len, unsigned int *n_chains)
{
    uint32_t n_out = vhost_vring_n_out(&g->vr);
    uint16_t base = vhost_vring_get_base(&g->vr);
    struct vhost_vring_buf buf;
    enum vhost_vring_result r;
    uint32_t in_chains = 0;

    r = vhost_vring_take(&g->vr, len, &buf);
    ovs_assert(vhost_vring_get_base(&g->vr) == base);
    ovs_assert((r == VHOST_VRING_BROKEN) == (g->vr.broken != NULL));
    if (r != VHOST_VRING_TAKEN) {
        ovs_assert(vhost_vring_n_out(&g->vr) == n_out);
        return r;
    }
    ovs_assert(buf.n_chains && vhost_vring_n_out(&g->vr)
               == n_out + buf.n_chains && n_out + buf.n_chains <= g->size);
    for (unsigned int i = 0; i < buf.n_chains; i++) {
        in_chains += g->vr.chains[(g->vr.n_taken - 1 - i)
                                  & g->vr.chains_mask].len;
    }
    ovs_assert(in_chains == len);
    for (unsigned int i = 0; i < buf.n_segs; i++) {
        const struct vhost_vring_seg *seg = &buf.segs[i];

        ovs_assert(seg->len && seg->len <= len);
        len -= seg->len;
        for (uint32_t j = 0; j < seg->len; j++) {
            seg->va[j] = pattern(g->sent++);
        }
        vhost_vring_log(&g->vr, seg->va, seg->region, seg->len);
    }
    ovs_assert(!len);
    g->n_taken += buf.n_chains;
    *n_chains = buf.n_chains;
    return r;
}

static unsigned int
must_send(struct guest *g, uint32_t len)
{
    unsigned int n;

    ovs_assert(send_packet(g, len, &n) == VHOST_VRING_TAKEN);
    return n;
}

static OVS_UNUSED void
check_logged(struct guest *g)
{
    for (int i = 0; i < N_REGIONS; i++) {
        uint64_t skip = i ? 0 : g->features & PACKED ? 0 : USED_GPA - gpas[0];
        uint64_t end = i || !(g->features & PACKED)
                       ? REGION_SIZE : AVAIL_GPA - gpas[0];

        ovs_assert(!memcmp(g->own[i] + skip, g->logged[i] + skip,
                           end - skip));
    }
}

static const uint64_t all_layouts[] = { 0, PACKED };

#define FOR_EACH_LAYOUT(LAYOUT)                                         \
    for (size_t i_ = 0; i_ < ARRAY_SIZE(all_layouts)                    \
                        && ((LAYOUT) = all_layouts[i_], true); i_++)

/* The guest goes to sleep, unless there is something: it wants to hear of the
 * buffer after 'skip' others, or of any. */
static OVS_UNUSED bool
guest_sleep(struct guest *g, unsigned int skip)
{
    uint32_t at = g->used_pos;
    bool wrap = g->used_wrap;

    if (!(g->features & EVENT_IDX)) {
        *(g->features & PACKED ? &g->event->flags : &g->avail->flags) = 0;
    } else if (!(g->features & PACKED)) {
        g->avail->ring[g->size] = at + skip;
    } else {
        for (unsigned int i = 0; i < skip; i++) {
            advance(&g->vr, &at, &wrap,
                    g->offers[(g->n_collected + i) & g->mask].n_descs);
        }
        g->event->off_wrap = at | (wrap ? 0x8000 : 0);
        atomic_thread_fence(memory_order_release);
        g->event->flags = VRING_PACKED_EVENT_FLAG_DESC;
    }
    atomic_thread_fence(memory_order_seq_cst);
    return !guest_peek(g);
}

static OVS_UNUSED void
guest_wake(struct guest *g)
{
    if (g->features & PACKED) {
        g->event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
    } else {
        g->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    }
}

#endif /* vhost-vring-fixture.h */
