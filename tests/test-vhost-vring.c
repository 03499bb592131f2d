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

/* Tests of the receive rings, lib/vhost-vring*.c: packets that go through
 * them, and the log of what is written.  Where rings are is in
 * test-vhost-vring-map.c, when guests are notified in
 * test-vhost-vring-notify.c, what no guest may do in
 * test-vhost-vring-invalid.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_vring_##NAME
#include "vhost-vring-fixture.h"

#include "dma-test.h"
#include "ovstest.h"
#include "random.h"

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

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(too_big),
    DMA_TEST_CASE(log_follows_writes),
    DMA_TEST_CASE(indices_wrap),
    DMA_TEST_CASE(random),
};

static void
test_vhost_vring_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-vring", test_vhost_vring_main);
