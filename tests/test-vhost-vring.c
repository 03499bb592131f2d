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

/* Tests of the receive rings, lib/vhost-vring*.c.  A guest with memory of its
 * own drives them, as the drivers of both layouts do, and lies where a case
 * has it lie.  Every byte that it gets is checked, and so is every byte that
 * the log of dirty pages should have. */

#undef NDEBUG
#include <config.h>

/* For memfd_create(). */
#include <sys/mman.h>

#include <pthread.h>
#include <sched.h>

#define rte_vhost_log_write fake_log_write
#define vhost_guest_mem_from_library fake_from_library
#include "vhost-vring.c"
#include "vhost-vring-packed.c"
#define read_desc split_read_desc
#define add_table split_add_table
#define add_descs split_add_descs
#define take_any split_take_any
#include "vhost-vring-split.c"
#undef read_desc
#undef add_table
#undef add_descs
#undef take_any

#include "dma-test.h"
#include "ovstest.h"
#include "random.h"

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
fake_log_write(int vid, uint64_t gpa, uint64_t len)
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
fake_from_library(const struct vhost_guest_mem *mem, const void *va,
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

static void
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

static void
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

/* Indices of 16 bits and those of the ring go around, at all sizes. */
static void
test_indices_wrap(void)
{
    static const struct {
        uint64_t layout;
        uint32_t size;
        uint16_t base;
    } rings[] = {
        { 0, 1, 65535 }, { 0, 64, 65500 }, { 0, 256, 0 }, { 0, 1024, 40000 },
        { 0, 32768, 65000 },
        { PACKED, 1, 0x8000 }, { PACKED, 1, 0 }, { PACKED, 64, 0x8000 | 63 },
        { PACKED, 256, 7 }, { PACKED, 1000, 0x8000 | 999 }, { PACKED, 3, 2 },
        { PACKED, 1024, 0 }, { PACKED, 32768, 32767 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rings); i++) {
        struct guest *g = guest_create(rings[i].layout | MRG, rings[i].size);

        guest_set_base(g, rings[i].base);
        while (g->n_collected < 65536 + 2 * g->size) {
            uint32_t n = 1 + random_range(g->size);
            uint32_t n_out;

            while (n-- && g->n_room) {
                guest_offer1(g, ELSEWHERE + g->n_offered % g->size * 64, 64);
            }
            while (g->n_taken != g->n_offered) {
                must_send(g, 64);
            }
            n_out = vhost_vring_n_out(&g->vr);
            n = random_range(n_out + 1);
            vhost_vring_publish(&g->vr, n);
            ovs_assert(vhost_vring_n_out(&g->vr) == n_out - n);
            while (guest_collect(g)) {
                ovs_assert(n--);
            }
            ovs_assert(!n);
        }
        check_logged(g);
        guest_destroy(g);
    }
}

/* What vhost_vring_take() should answer, and the number of buffers. */
static enum vhost_vring_result
expected(const struct guest *g, uint32_t len, unsigned int *n_chains)
{
    unsigned int n = 0, n_descs = 0;

    do {
        const struct offer *o = &g->offers[(g->n_taken + n) & g->mask];
        uint32_t room = 0;

        if (g->n_taken + n == g->n_offered) {
            return n_descs == g->size ? VHOST_VRING_TOO_BIG
                                      : VHOST_VRING_EMPTY;
        }
        for (unsigned int i = 0; i < o->n; i++) {
            room += o->pieces[i].len;
        }
        n_descs += g->features & PACKED ? o->n_descs : 1;
        len -= MIN(len, room);
        n++;
    } while (len && g->features & MRG);
    *n_chains = n;
    return len ? VHOST_VRING_TOO_BIG : VHOST_VRING_TAKEN;
}

/* Offers a buffer of random pieces, with some between regions, and so some
 * tables. */
static void
offer_at_random(struct guest *g)
{
    unsigned int n = 1 + random_range(MAX_PIECES);
    bool indirect = random_range(3) == 0;
    unsigned int slot = g->n_offered & g->mask;
    struct piece pieces[MAX_PIECES];
    uint64_t table, gpa;

    if (!g->n_room || (!indirect && n > g->n_room)) {
        return;
    }
    gpa = (slot ? ELSEWHERE + slot * UINT64_C(4096)
           : gpas[2] - random_range(1000));
    table = (slot ? TABLE_GPA(slot)
             : gpas[1] - 8 * (1 + random_range(2 * n - 1)));
    for (unsigned int i = 0; i < n; i++) {
        pieces[i].gpa = gpa;
        pieces[i].len = 1 + random_range(random_range(2) ? 1000 : 10);
        gpa += pieces[i].len + random_range(20);
    }
    guest_offer(g, pieces, n, indirect ? table : 0);
}

/* The guest goes to sleep, unless there is something: it wants to hear of the
 * buffer after 'skip' others, or of any. */
static bool
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

static void
guest_wake(struct guest *g)
{
    if (g->features & PACKED) {
        g->event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
    } else {
        g->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    }
}

#define MAX_PACKETS 8192

static void
run_at_random(uint64_t features, uint32_t size)
{
    struct guest *g = guest_create(features, size);
    unsigned int packets[MAX_PACKETS], head = 0, tail = 0;
    uint32_t n_published = 0;
    uint32_t n_looked = 0;      /* Published at the last look. */
    uint32_t wants = 0;         /* Published, when the sleeper wakes. */
    bool sleeps = false;

    guest_set_base(g, (features & PACKED
                       ? random_range(size) : random_uint16()));
    ovs_assert(vhost_vring_must_notify(&g->vr));
    guest_wake(g);
    for (int step = 0; step < 20000; step++) {
        enum vhost_vring_result r;
        unsigned int n, n_chains;
        uint32_t len;
        bool notify, exact;

        switch (random_range(10)) {
        case 0: case 1: case 2: case 3:
            offer_at_random(g);
            break;
        case 4: case 5: case 6:
            if (head - tail == MAX_PACKETS) {
                break;
            }
            len = 1 + random_range(random_range(2) ? 3000 : 300);
            r = expected(g, len, &n);
            ovs_assert(send_packet(g, len, &n_chains) == r);
            if (r == VHOST_VRING_TAKEN) {
                ovs_assert(n == n_chains);
                packets[head++ % MAX_PACKETS] = n;
            } else if (r == VHOST_VRING_TOO_BIG) {
                /* Nobody gets the small buffers out of the way but one who
                 * has something small. */
                must_send(g, 1);
                packets[head++ % MAX_PACKETS] = 1;
            }
            break;
        case 7:
            for (n = random_range(head - tail + 1), n_chains = 0; n; n--) {
                n_chains += packets[tail++ % MAX_PACKETS];
            }
            vhost_vring_publish(&g->vr, n_chains);
            n_published += n_chains;
            if (!random_range(3)) {
                break;
            }
            /* Without event index it may be woken in vain, and if a ring full
             * came since the last look. */
            exact = features & EVENT_IDX && g->vr.n_unsignalled < size;
            notify = vhost_vring_must_notify(&g->vr);
            if (sleeps) {
                ovs_assert(notify || n_published < wants);
                ovs_assert(!notify || !exact || n_published >= wants);
            }
            ovs_assert(!notify || n_looked != n_published);
            if (!sleeps && (features & (PACKED | EVENT_IDX)) != EVENT_IDX) {
                ovs_assert(!notify);
            }
            n_looked = n_published;
            if (notify) {
                guest_wake(g);
                sleeps = false;
            }
            break;
        case 8:
            while (!sleeps && random_range(size + 1) && guest_collect(g)) {
                continue;
            }
            if (!sleeps && random_range(2)) {
                n = random_range(g->n_offered - g->n_collected + 1);
                n = features & EVENT_IDX ? n : 0;
                wants = g->n_collected + n + 1;
                sleeps = guest_sleep(g, n);
                if (!sleeps) {
                    guest_wake(g);
                }
            } else if (sleeps && !random_range(4)) {
                guest_wake(g);
                sleeps = false;
            }
            break;
        case 9:
            if (!random_range(50)) {
                guest_remap(g);
                check_logged(g);
            }
            break;
        }
    }
    vhost_vring_publish(&g->vr, vhost_vring_n_out(&g->vr));
    while (guest_collect(g)) {
        continue;
    }
    ovs_assert(g->got == g->sent && g->got > 10000);
    check_logged(g);
    guest_destroy(g);
}

static void
test_random(void)
{
    static const uint32_t sizes[] = { 4, 16, 64, 256 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t layout;

        FOR_EACH_LAYOUT (layout) {
            run_at_random(layout, sizes[i]);
            run_at_random(layout | MRG, sizes[i]);
            run_at_random(layout | EVENT_IDX, sizes[i]);
            run_at_random(layout | MRG | EVENT_IDX, sizes[i]);
        }
    }
    run_at_random(PACKED | MRG, 1);
    run_at_random(PACKED | MRG | EVENT_IDX, 5);
    run_at_random(PACKED | MRG | EVENT_IDX, 100);
}

/* One thread publishes, the other sleeps when it finds nothing: it must always
 * be woken. */
static atomic_uint n_kicks, n_seen;

/* The other thread may have no CPU. */
static void
yield_at_times(int i)
{
    if (i % 1000 == 999) {
        sched_yield();
    }
}

static void *
sleeper(void *g_)
{
    struct guest *g = g_;
    unsigned int n = 0;

    while (n < g->size) {
        unsigned int before, now;

        atomic_read(&n_kicks, &before);
        guest_wake(g);
        while (guest_collect(g)) {
            atomic_store(&n_seen, ++n);
        }
        /* It may go to sleep before, while or after the next one comes. */
        for (volatile unsigned int i = n * 2654435761u >> 25; i; i--) {
            continue;
        }
        if (guest_sleep(g, 0)) {
            for (int i = 0; n < g->size; i++) {
                atomic_read(&n_kicks, &now);
                if (now != before) {
                    break;
                }
                yield_at_times(i);
            }
        }
    }
    return NULL;
}

static void
run_with_sleeper(uint64_t features)
{
    struct guest *g = guest_create(features, 4096);
    long long int end = time_usec() + 1500000;

    vhost_vring_must_notify(&g->vr);
    while (time_usec() < end) {
        unsigned int published = 0;
        pthread_t thread;

        atomic_store(&n_seen, 0);
        while (g->n_room) {
            guest_offer1(g, ELSEWHERE + g->n_offered % g->size, 1);
        }
        while (g->n_taken != g->n_offered) {
            must_send(g, 1);
        }
        ovs_assert(!pthread_create(&thread, NULL, sleeper, g));
        for (unsigned int n = 1, seen; n <= g->size; n++) {
            uint64_t start = rte_get_tsc_cycles();

            if (time_usec() > end) {
                /* Enough, where threads have to share a CPU. */
                n = g->size;
            }
            vhost_vring_publish(&g->vr, n - published);
            published = n;
            if (vhost_vring_must_notify(&g->vr)) {
                atomic_add(&n_kicks, 1, &seen);
            }
            for (int i = 0; ; i++) {
                atomic_read(&n_seen, &seen);
                if (seen >= n) {
                    break;
                }
                if (rte_get_tsc_cycles() - start > UINT64_C(20000000000)) {
                    ovs_fatal(0, "the guest was not woken");
                }
                yield_at_times(i);
            }
            for (volatile unsigned int i = random_range(128); i; i--) {
                continue;
            }
        }
        ovs_assert(!pthread_join(thread, NULL));
    }
    guest_destroy(g);
}

static void
test_sleeping_guest_is_woken(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        run_with_sleeper(layout);
        run_with_sleeper(layout | EVENT_IDX);
    }
}

/* All distances between what was published, how much of that is new, and the
 * descriptor that the guest waits for. */
static void
test_event_of_packed_ring(void)
{
    const unsigned int size = 5;

    for (unsigned int start = 0; start < 2 * size; start++) {
        for (unsigned int n = 0; n <= 2 * size; n++) {
            unsigned int max = n < size ? size : n - 1;

            for (unsigned int event = 0; event <= max; event++) {
                struct vhost_vring vr = { .size = size, .event_idx = true };
                unsigned int used = start + n;
                unsigned int at = start + event;
                struct vring_packed_desc_event ev = {
                    .off_wrap = at % size | (at / size % 2 ? 0 : 0x8000),
                    .flags = VRING_PACKED_EVENT_FLAG_DESC,
                };

                vr.avail = (uint8_t *) &ev;
                vr.used_idx = used % size;
                vr.used_wrap = !(used / size % 2);
                vr.n_unsignalled = n;
                vr.looked = true;
                ovs_assert(packed_must_notify(&vr) == (event < n));
                ovs_assert(!packed_must_notify(&vr));
            }
        }
    }
}

static void
test_event_of_split_ring(void)
{
    for (uint16_t start = 65500; start != 30; start++) {
        for (unsigned int n = 0; n < 9; n++) {
            for (int event = -9; event < 9; event++) {
                uint16_t ring[3 + 8];   /* Flags, idx, ring, used_event. */
                struct vhost_vring vr = { .size = 8, .event_idx = true };

                memset(ring, 0xff, sizeof ring);
                ring[2 + 8] = start + event;
                vr.avail = (uint8_t *) ring;
                vr.used_idx = start + n;
                vr.n_unsignalled = n;
                vr.looked = true;
                ovs_assert(split_must_notify(&vr)
                           == (event >= 0 && event < (int) n));
                ovs_assert(!split_must_notify(&vr));
            }
        }
    }
}

/* Nothing of what was written is left out of the log or goes there before it
 * was written; the ring does not show a packet earlier than the log. */
static void
test_log_follows_writes(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        struct guest *g = guest_create(layout | MRG, 8);
        uint16_t before;

        for (int i = 0; i < 100; i++) {
            unsigned int n = 1 + random_range(7), n_chains = 0;

            for (unsigned int j = 0; j < n; j++) {
                guest_offer1(g, ELSEWHERE + j * 64, 64);
            }
            while (g->n_taken != g->n_offered) {
                n_chains += must_send(g, 64);
            }
            before = (layout ? g->pdesc[g->used_pos].flags : g->used->idx);
            g->n_logged = 0;
            vhost_vring_publish(&g->vr, n_chains);
            ovs_assert(g->n_logged);
            ovs_assert(g->used_when_logged == before || (layout && n == 1));
            check_logged(g);
            while (guest_collect(g)) {
                continue;
            }
        }

        /* Only where it is asked for. */
        g->setup.log_vid = -1;
        guest_remap(g);
        g->n_logged = 0;
        guest_offer1(g, ELSEWHERE, 64);
        vhost_vring_publish(&g->vr, must_send(g, 64));
        ovs_assert(!g->n_logged && guest_collect(g));
        guest_destroy(g);
    }
}

/* A packet for which there is no buffer takes nothing. */
static void
test_too_big(void)
{
    uint64_t layout;
    unsigned int n;

    FOR_EACH_LAYOUT (layout) {
        struct guest *g = guest_create(layout, 512);

        guest_offer1(g, ELSEWHERE, 100);
        guest_offer1(g, ELSEWHERE + 100, 100);
        ovs_assert(send_packet(g, 101, &n) == VHOST_VRING_TOO_BIG);
        ovs_assert(must_send(g, 100) == 1 && must_send(g, 100) == 1);
        ovs_assert(send_packet(g, 101, &n) == VHOST_VRING_EMPTY);
        guest_destroy(g);

        g = guest_create(layout | MRG, 512);
        while (g->n_room) {
            guest_offer1(g, ELSEWHERE + g->n_offered, 1);
        }
        ovs_assert(send_packet(g, 257, &n) == VHOST_VRING_TOO_BIG);
        ovs_assert(must_send(g, 256) == 256);
        ovs_assert(must_send(g, 255) == 255);
        ovs_assert(send_packet(g, 2, &n) == VHOST_VRING_EMPTY);
        guest_destroy(g);

        g = guest_create(layout | MRG, 4);
        for (int i = 0; i < 3; i++) {
            guest_offer1(g, ELSEWHERE + i, 1);
        }
        ovs_assert(send_packet(g, 5, &n) == VHOST_VRING_EMPTY);
        guest_offer1(g, ELSEWHERE + 3, 1);
        ovs_assert(send_packet(g, 5, &n) == VHOST_VRING_TOO_BIG);
        ovs_assert(must_send(g, 4) == 4);
        guest_destroy(g);
    }
}

/* A guest with a ring of 8 offers a buffer of 100 bytes, or an indirect one of
 * two times 50, and then changes what is in memory. */
enum where { HEAD, ENTRY };

struct lie {
    const char *reason;
    uint64_t layouts;           /* 1: split, 2: packed. */
    bool indirect;
    enum where where;           /* Descriptor, or first entry of the table. */
    uint64_t addr;              /* 0: as it is. */
    uint32_t len;               /* UINT32_MAX: as it is. */
    int set_flags, clear_flags;
    int next;                   /* Or id; -1: as it is. */
};

#define SAME_LEN UINT32_MAX
#define BOTH 3

static const struct lie lies[] = {
    /* Addresses. */
    { VHOST_VRING_BAD_ADDRESS, BOTH, false, HEAD, 4096, SAME_LEN, 0, 0, -1 },
    { VHOST_VRING_BAD_ADDRESS, BOTH, false, HEAD,
      (UINT64_C(1) << 40) + REGION_SIZE - 99, SAME_LEN, 0, 0, -1 },
    { VHOST_VRING_BAD_ADDRESS, BOTH, false, HEAD, UINT64_MAX, SAME_LEN, 0, 0,
      -1 },
    { VHOST_VRING_BAD_ADDRESS, BOTH, true, ENTRY, 4096, SAME_LEN, 0, 0, -1 },
    /* Lengths. */
    { VHOST_VRING_EMPTY_DESC, BOTH, false, HEAD, 0, 0, 0, 0, -1 },
    { VHOST_VRING_EMPTY_DESC, BOTH, true, ENTRY, 0, 0, 0, 0, -1 },
    /* Not for writing. */
    { VHOST_VRING_READ_ONLY, BOTH, false, HEAD, 0, SAME_LEN, 0,
      VRING_DESC_F_WRITE, -1 },
    { VHOST_VRING_READ_ONLY, BOTH, true, ENTRY, 0, SAME_LEN, 0,
      VRING_DESC_F_WRITE, -1 },
    /* Chains. */
    { VHOST_VRING_BAD_ID, 1, false, HEAD, 0, 1, VRING_DESC_F_NEXT, 0, 8 },
    { VHOST_VRING_BAD_ID, 1, false, HEAD, 0, 1, VRING_DESC_F_NEXT, 0, 65535 },
    { VHOST_VRING_BAD_ID, 1, true, ENTRY, 0, 1, 0, 0, 2 },
    { VHOST_VRING_LOOP, 1, true, ENTRY, 0, 1, 0, 0, 0 },
    { VHOST_VRING_BAD_ID, 2, false, HEAD, 0, SAME_LEN, 0, 0, 8 },
    { VHOST_VRING_BAD_ID, 2, false, HEAD, 0, SAME_LEN, 0, 0, 65535 },
    /* Tables. */
    { VHOST_VRING_BAD_TABLE, BOTH, true, HEAD, 0, 0, 0, 0, -1 },
    { VHOST_VRING_BAD_TABLE, BOTH, true, HEAD, 0, 31, 0, 0, -1 },
    { VHOST_VRING_BAD_TABLE, BOTH, true, HEAD, 4096, SAME_LEN, 0, 0, -1 },
    { VHOST_VRING_BAD_TABLE, BOTH, true, HEAD,
      (UINT64_C(1) << 40) + REGION_SIZE - 31, SAME_LEN, 0, 0, -1 },
    { VHOST_VRING_BAD_TABLE, BOTH, true, HEAD, 0, 4294967280, 0, 0, -1 },
    { VHOST_VRING_BAD_TABLE, BOTH, true, HEAD, 0, SAME_LEN, VRING_DESC_F_NEXT,
      0, -1 },
    { VHOST_VRING_NESTED, BOTH, true, ENTRY, 0, SAME_LEN,
      VRING_DESC_F_INDIRECT, 0, -1 },
};

static void
tell_lie(struct guest *g, const struct lie *l, const struct offer *o,
         uint32_t pos)
{
    bool packed = g->features & PACKED;
    uint8_t *p = (l->where == ENTRY ? guest_mem(g, g->own, TABLE_GPA(0))
                  : packed ? (uint8_t *) &g->pdesc[pos]
                  : (uint8_t *) &g->sdesc[o->id]);
    struct vring_desc *split = (void *) p;
    struct vring_packed_desc *pd = (void *) p;
    uint16_t *flags = packed ? &pd->flags : &split->flags;

    split->addr = l->addr ? l->addr : split->addr;
    split->len = l->len != SAME_LEN ? l->len : split->len;
    *flags = (*flags | l->set_flags) & ~l->clear_flags;
    if (l->next >= 0) {
        *(packed ? &pd->id : &split->next) = l->next;
    }
}

static void
check_broken(struct guest *g, const char *reason)
{
    uint32_t n_out = vhost_vring_n_out(&g->vr);
    unsigned int n;

    for (int i = 0; i < 2; i++) {
        ovs_assert(send_packet(g, 100, &n) == VHOST_VRING_BROKEN);
        ovs_assert(!strcmp(g->vr.broken, reason));
    }
    /* What is out can still be published, and addresses change. */
    guest_remap(g);
    ovs_assert(!strcmp(g->vr.broken, reason));
    vhost_vring_publish(&g->vr, n_out);
    ovs_assert(!n_out == !guest_collect(g));
    vhost_vring_set_base(&g->vr, 0, 0);
    ovs_assert(!g->vr.broken);
}

static void
test_lies(void)
{
    uint64_t layout;

    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        const struct lie *l = &lies[i];

        FOR_EACH_LAYOUT (layout) {
            struct piece pieces[2] = { { ELSEWHERE, l->indirect ? 50 : 100 },
                                       { ELSEWHERE + 50, 50 } };
            struct guest *g;
            uint32_t pos;
            struct offer *o;

            if (!(l->layouts & (layout ? 2 : 1))) {
                continue;
            }
            g = guest_create(layout | MRG, 8);
            guest_offer1(g, ELSEWHERE + 200, 100);
            must_send(g, 100);
            pos = g->avail_pos;
            o = guest_offer(g, pieces, 1 + l->indirect,
                            l->indirect ? TABLE_GPA(0) : 0);
            tell_lie(g, l, o, pos);
            check_broken(g, l->reason);
            guest_destroy(g);
        }
    }
}

static void
test_lies_about_split_ring(void)
{
    struct guest *g;

    /* More than there is room for, with and without buffers out. */
    for (unsigned int n_out = 0; n_out <= 8; n_out++) {
        g = guest_create(MRG, 8);
        for (unsigned int i = 0; i < n_out; i++) {
            guest_offer1(g, ELSEWHERE + i * 100, 100);
            must_send(g, 100);
        }
        g->avail->idx += 9 - n_out;
        check_broken(g, VHOST_VRING_OVERFULL);
        guest_destroy(g);
    }

    /* An index that goes back. */
    g = guest_create(MRG, 8);
    guest_offer1(g, ELSEWHERE, 100);
    must_send(g, 100);
    g->avail->idx--;
    check_broken(g, VHOST_VRING_OVERFULL);
    guest_destroy(g);

    /* It goes back to what a packet has taken already. */
    g = guest_create(MRG, 8);
    for (int i = 0; i < 3; i++) {
        guest_offer1(g, ELSEWHERE + i * 10, 10);
    }
    must_send(g, 10);
    g->avail->idx--;
    check_broken(g, VHOST_VRING_TAKEN_BACK);
    guest_destroy(g);

    /* A head that the ring does not have. */
    g = guest_create(MRG, 8);
    guest_offer1(g, ELSEWHERE, 100);
    g->avail->ring[0] = 8;
    g->setup.desc = vhost_va(ELSEWHERE + REGION_SIZE - 8 * 16);
    guest_remap(g);
    check_broken(g, VHOST_VRING_BAD_ID);
    guest_destroy(g);

    /* A loop, and what ends before it closes. */
    g = guest_create(MRG, 8);
    guest_offer1(g, ELSEWHERE, 10);
    g->sdesc[g->avail->ring[0]].flags |= VRING_DESC_F_NEXT;
    g->sdesc[g->avail->ring[0]].next = g->avail->ring[0];
    check_broken(g, VHOST_VRING_LOOP);
    guest_destroy(g);

    /* Direct descriptors before an indirect one are allowed. */
    g = guest_create(MRG, 8);
    guest_offer(g, (struct piece[]) { { ELSEWHERE, 50 },
                                      { ELSEWHERE + 50, 100 } },
                2, TABLE_GPA(0));
    g->sdesc[6] = (struct vring_desc) { TABLE_GPA(0) + 16, 16,
                                        VRING_DESC_F_INDIRECT, 0 };
    g->sdesc[5] = (struct vring_desc) { ELSEWHERE, 50, VRING_DESC_F_WRITE
                                        | VRING_DESC_F_NEXT, 6 };
    g->avail->ring[0] = g->offers[0].id = 5;
    vhost_vring_publish(&g->vr, must_send(g, 150));
    ovs_assert(guest_collect(g));
    guest_destroy(g);
}

static void
test_lies_about_packed_ring(void)
{
    struct piece pieces[2] = { { ELSEWHERE, 50 }, { ELSEWHERE + 50, 50 } };
    unsigned int n;
    struct guest *g;

    /* A chain without end, from each position. */
    for (int i = 0; i < 8; i++) {
        g = guest_create(PACKED | MRG, 8);
        guest_set_base(g, 0x8000 | i);
        guest_offer1(g, ELSEWHERE, 100);
        must_send(g, 100);
        for (int j = 0; j < 8; j++) {
            g->pdesc[j] = (struct vring_packed_desc) {
                ELSEWHERE, 200, 0, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT
                | avail_flags(g->avail_wrap)
            };
        }
        check_broken(g, VHOST_VRING_LOOP);
        guest_destroy(g);
    }

    /* A chain that ends, but with a descriptor that is out. */
    g = guest_create(PACKED | MRG, 8);
    guest_offer1(g, ELSEWHERE, 100);
    must_send(g, 100);
    for (int j = 0; j < 8; j++) {
        g->pdesc[j] = (struct vring_packed_desc) {
            ELSEWHERE, 10, 0, VRING_DESC_F_WRITE
            | (j ? VRING_DESC_F_NEXT | AVAIL_FLAG : USED_FLAG)
        };
    }
    check_broken(g, VHOST_VRING_LOOP);
    guest_destroy(g);

    /* Flags that make more of a ring available than there is. */
    g = guest_create(PACKED | MRG, 8);
    while (g->n_room) {
        guest_offer1(g, ELSEWHERE + g->n_offered * 100, 100);
        must_send(g, 100);
    }
    for (int j = 0; j < 8; j++) {
        g->pdesc[j].flags = VRING_DESC_F_WRITE | avail_flags(g->avail_wrap);
    }
    ovs_assert(send_packet(g, 100, &n) == VHOST_VRING_EMPTY);
    vhost_vring_publish(&g->vr, 8);
    while (guest_collect(g)) {
        continue;
    }
    ovs_assert(g->n_collected == 8);
    guest_destroy(g);

    /* Neither available nor used. */
    for (int i = 0; i < 2; i++) {
        g = guest_create(PACKED | MRG, 8);
        guest_set_base(g, i ? 0x8000 : 0);
        guest_offer1(g, ELSEWHERE, 100);
        for (int j = 0; j < 4; j++) {
            uint16_t flags = ((j & 1 ? AVAIL_FLAG : 0)
                              | (j & 2 ? USED_FLAG : 0));

            if (flags != avail_flags(g->avail_wrap)) {
                g->pdesc[0].flags = VRING_DESC_F_WRITE | flags;
                ovs_assert(send_packet(g, 100, &n) == VHOST_VRING_EMPTY);
            }
        }
        guest_destroy(g);
    }

    /* Indirect ones are alone. */
    g = guest_create(PACKED | MRG, 8);
    guest_offer(g, pieces, 2, 0);
    g->pdesc[1].flags |= VRING_DESC_F_INDIRECT;
    check_broken(g, VHOST_VRING_BAD_TABLE);
    guest_destroy(g);

    /* Read-only, behind the end of the packet. */
    g = guest_create(PACKED | MRG, 8);
    guest_offer(g, pieces, 2, 0);
    g->pdesc[1].flags &= ~VRING_DESC_F_WRITE;
    ovs_assert(send_packet(g, 10, &n) == VHOST_VRING_BROKEN);
    guest_destroy(g);
}

/* A descriptor that changes while it is read is used as it was read. */
static atomic_bool stop_changing;

static void *
change_descriptor(void *g_)
{
    struct guest *g = g_;
    volatile struct vring_desc *d = g->sdesc;
    bool stop;

    do {
        for (int i = 0; i < 100; i++) {
            d->addr = ELSEWHERE + REGION_SIZE - 8;
            d->len = 8;
            d->addr = ELSEWHERE;
            d->len = 8192;
        }
        atomic_read(&stop_changing, &stop);
    } while (!stop);
    return NULL;
}

static void
test_read_once(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        struct guest *g = guest_create(layout | MRG, 1);
        static struct vhost_vring_buf buf;
        pthread_t thread;

        guest_offer1(g, ELSEWHERE, 8192);
        atomic_store(&stop_changing, false);
        ovs_assert(!pthread_create(&thread, NULL, change_descriptor, g));
        for (int i = 0; i < 200000; i++) {
            enum vhost_vring_result r = vhost_vring_take(&g->vr, 8192, &buf);

            if (r == VHOST_VRING_TAKEN) {
                ovs_assert(buf.n_segs == 1 && buf.segs[0].len == 8192
                           && buf.segs[0].va == g->mem.regions[3].va);
            } else {
                ovs_assert(r == VHOST_VRING_BROKEN
                           || r == VHOST_VRING_TOO_BIG);
            }
            vhost_vring_forget(&g->vr);
            vhost_vring_set_base(&g->vr, layout ? 0x8000 : 0,
                                 layout ? 0x8000 : 0);
        }
        atomic_store(&stop_changing, true);
        ovs_assert(!pthread_join(thread, NULL));
        guest_destroy(g);
    }
}

/* Where the areas of a ring are and are not allowed. */
static void
test_map(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        for (int event_idx = 0; event_idx < 2; event_idx++) {
            const uint64_t features = layout | (event_idx ? EVENT_IDX : 0);
            struct guest *g = guest_create(features, 256);
            const void **areas[3] = { &g->setup.desc, &g->setup.avail,
                                      &g->setup.used };
            const uint64_t bytes[3] = { 4096, layout ? 4 : 516 + 2 * event_idx,
                                        layout ? 4 : 2052 + 2 * event_idx };
            const uint64_t align[3] = { 16, layout ? 4 : 2, 4 };
            const char *const names[3] = { "its descriptors are not ",
                                           "its driver area is not ",
                                           "its device area is not " };

            for (int i = 0; i < 3; i++) {
                const void *old = *areas[i];
                uint64_t fits = ROUND_DOWN(ELSEWHERE + REGION_SIZE - bytes[i],
                                           align[i]);
                const struct {
                    uint64_t gpa;
                    const char *what;
                } tries[] = {
                    { fits, NULL },
                    { fits + align[i], "within one region" },
                    { gpas[1] - 1, "within one region" },
                    { gpas[3] - 1, "within one region" },
                    { gpas[1] + align[i] / 2, "aligned" },
                    { gpas[1] + 1, "aligned" },
                };

                for (size_t j = 0; j < ARRAY_SIZE(tries); j++) {
                    const char *error;

                    *areas[i] = vhost_va(tries[j].gpa);
                    error = vhost_vring_map(&g->vr, &g->setup);
                    ovs_assert(vhost_vring_is_mapped(&g->vr) == !error);
                    ovs_assert(!error == !tries[j].what);
                    if (error) {
                        ovs_assert(!strncmp(error, names[i],
                                            strlen(names[i])));
                        ovs_assert(!strcmp(error + strlen(names[i]),
                                           tries[j].what));
                    }
                }
                *areas[i] = NULL;
                ovs_assert(vhost_vring_map(&g->vr, &g->setup));
                *areas[i] = old;
            }
            ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
            guest_destroy(g);
        }
    }
}

static void
test_sizes_and_features(void)
{
    static const struct {
        uint32_t size;
        bool split, packed;
    } sizes[] = {
        { 0, false, false }, { 1, true, true }, { 2, true, true },
        { 3, false, true }, { 255, false, true }, { 256, true, true },
        { 32767, false, true }, { 32768, true, true },
        { 32769, false, false }, { 65536, false, false },
        { 65537, false, false }, { UINT32_MAX, false, false },
    };
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        struct guest *g = guest_create(layout, 256);

        ovs_assert(g->vr.hdr_len == (layout ? 12 : 10) && !g->vr.mergeable);
        g->setup.features |= MRG;
        ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
        ovs_assert(g->vr.hdr_len == 12 && g->vr.mergeable);
        g->setup.features = layout | F(VIRTIO_F_VERSION_1);
        ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
        ovs_assert(g->vr.hdr_len == 12 && !g->vr.mergeable);
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            g->setup.size = sizes[i].size;
            ovs_assert((vhost_vring_map(&g->vr, &g->setup) == NULL)
                       == (layout ? sizes[i].packed : sizes[i].split));
        }
        guest_destroy(g);
    }
}

/* Size and layout are only to be changed while nothing is out. */
static void
test_another_ring(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        struct guest *g = guest_create(layout | MRG, 8);

        guest_offer1(g, ELSEWHERE, 100);
        must_send(g, 100);

        g->setup.size = 16;
        ovs_assert(vhost_vring_map(&g->vr, &g->setup));
        ovs_assert(!vhost_vring_is_mapped(&g->vr));
        g->setup.size = 8;
        g->setup.features ^= PACKED;
        ovs_assert(vhost_vring_map(&g->vr, &g->setup));
        g->setup.features ^= PACKED;
        g->setup.desc = NULL;
        ovs_assert(vhost_vring_map(&g->vr, &g->setup));
        g->setup.desc = vhost_va(DESC_GPA);

        /* It goes on where it was. */
        ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
        ovs_assert(vhost_vring_n_out(&g->vr) == 1);
        vhost_vring_publish(&g->vr, 1);
        ovs_assert(guest_collect(g));

        g->setup.size = 16;
        ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
        ovs_assert(vhost_vring_get_base(&g->vr) == (layout ? 0x8001 : 1));
        g->setup.features ^= PACKED;
        ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
        ovs_assert(vhost_vring_get_base(&g->vr) == (layout ? 0 : 0x8000));
        guest_destroy(g);
    }

    /* An index that a smaller ring does not have. */
    struct guest *g = guest_create(PACKED, 8);

    guest_set_base(g, 0x8007);
    g->setup.size = 7;
    ovs_assert(!vhost_vring_map(&g->vr, &g->setup));
    ovs_assert(g->vr.broken);
    vhost_vring_set_base(&g->vr, 6, 6);
    ovs_assert(!g->vr.broken && vhost_vring_get_base(&g->vr) == 6);
    guest_destroy(g);
}

/* Indices as the library has them: rte_vhost_get_vring_base(). */
static void
test_base(void)
{
    static const uint16_t split[] = { 0, 1, 255, 256, 32768, 65535 };
    static const uint16_t packed[] = { 0, 0x8000, 7, 0x8007 };
    struct guest *g = guest_create(MRG, 8);

    for (size_t i = 0; i < ARRAY_SIZE(split); i++) {
        guest_set_base(g, split[i]);
        ovs_assert(vhost_vring_get_base(&g->vr) == split[i]);
        guest_offer1(g, ELSEWHERE, 100);
        must_send(g, 100);
        ovs_assert(vhost_vring_get_base(&g->vr) == split[i]);
        vhost_vring_unmap(&g->vr);
        ovs_assert(vhost_vring_get_base(&g->vr) == split[i]);
        guest_remap(g);
        vhost_vring_publish(&g->vr, 1);
        ovs_assert(vhost_vring_get_base(&g->vr) == (uint16_t) (split[i] + 1));
        ovs_assert(guest_collect(g));
    }
    guest_destroy(g);

    g = guest_create(PACKED | MRG, 8);
    for (size_t i = 0; i < ARRAY_SIZE(packed); i++) {
        struct piece pieces[2] = { { ELSEWHERE, 50 }, { ELSEWHERE + 50, 50 } };
        uint16_t next = (packed[i] + 2) & 7;

        guest_set_base(g, packed[i]);
        ovs_assert(vhost_vring_get_base(&g->vr) == packed[i]);
        guest_offer(g, pieces, 2, 0);
        must_send(g, 100);
        ovs_assert(vhost_vring_get_base(&g->vr) == packed[i]);
        vhost_vring_publish(&g->vr, 1);
        next |= (packed[i] & 0x8000) ^ (next < 2 ? 0x8000 : 0);
        ovs_assert(vhost_vring_get_base(&g->vr) == next);
        ovs_assert(guest_collect(g));
    }

    /* Such as no ring has. */
    static const uint16_t bad[][2] = {
        { 8, 0 }, { 0, 8 }, { 0x8008, 0x8008 }, { 0x7fff, 0x7fff },
        { 0x8001, 0x8002 }, { 0x0003, 0x8002 }, { 0x8000, 0x0008 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        unsigned int n;

        vhost_vring_set_base(&g->vr, bad[i][0], bad[i][1]);
        ovs_assert(send_packet(g, 100, &n) == VHOST_VRING_BROKEN);
    }
    vhost_vring_set_base(&g->vr, 0x0001, 0x8002);
    ovs_assert(!g->vr.broken);
    guest_destroy(g);
}

/* What is given up can be had again by who starts the ring at its base. */
static void
test_forget(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        struct guest *g = guest_create(layout | MRG, 8);
        uint16_t base;

        ovs_assert(vhost_vring_must_notify(&g->vr));
        ovs_assert(!vhost_vring_must_notify(&g->vr));
        for (int i = 0; i < 3; i++) {
            guest_offer1(g, ELSEWHERE + i * 100, 100);
            must_send(g, 100);
        }
        vhost_vring_publish(&g->vr, 1);
        base = vhost_vring_get_base(&g->vr);
        vhost_vring_forget(&g->vr);
        ovs_assert(!vhost_vring_n_out(&g->vr));
        ovs_assert(vhost_vring_get_base(&g->vr) == base);
        vhost_vring_set_base(&g->vr, base, base);
        ovs_assert(vhost_vring_must_notify(&g->vr));
        g->n_taken -= 2;
        g->sent -= 200;
        must_send(g, 200);
        vhost_vring_publish(&g->vr, 2);
        while (guest_collect(g)) {
            continue;
        }
        ovs_assert(g->n_collected == 3);
        guest_destroy(g);
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(map),
    DMA_TEST_CASE(sizes_and_features),
    DMA_TEST_CASE(another_ring),
    DMA_TEST_CASE(base),
    DMA_TEST_CASE(forget),
    DMA_TEST_CASE(too_big),
    DMA_TEST_CASE(lies),
    DMA_TEST_CASE(lies_about_split_ring),
    DMA_TEST_CASE(lies_about_packed_ring),
    DMA_TEST_CASE(read_once),
    DMA_TEST_CASE(log_follows_writes),
    DMA_TEST_CASE(event_of_packed_ring),
    DMA_TEST_CASE(event_of_split_ring),
    DMA_TEST_CASE(sleeping_guest_is_woken),
    DMA_TEST_CASE(indices_wrap),
    DMA_TEST_CASE(random),
};

static void
test_vhost_vring_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-vring", test_vhost_vring_main);
