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

/* Tests of the receive rings, lib/vhost-vring*.c, with guests that write to
 * them what no driver may: it is found, or does no harm. */

#undef NDEBUG
#include <config.h>

#include <pthread.h>

#define DP(NAME) test_vhost_vring_invalid_##NAME
#include "vhost-vring-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

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

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(lies),
    DMA_TEST_CASE(lies_about_split_ring),
    DMA_TEST_CASE(lies_about_packed_ring),
    DMA_TEST_CASE(read_once),
};

static void
test_vhost_vring_invalid_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-vring-invalid", test_vhost_vring_invalid_main);
