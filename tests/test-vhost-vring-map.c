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

/* Tests of the receive rings, lib/vhost-vring*.c: where in memory they may be,
 * of which size, and at which index they start. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_vring_map_##NAME
#include "vhost-vring-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

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
};

static void
test_vhost_vring_map_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-vring-map", test_vhost_vring_map_main);
