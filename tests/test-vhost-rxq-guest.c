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

/* Tests of what a guest may send to an rxq whose ring is ours, and of what it
 * may not: it hurts itself alone. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_rxq_guest_##NAME
#include "vhost-rxq-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

/* Packets of no bytes, or of too many, are dropped, and their buffers go back
 * in their turn. */
static void
test_bad_packets(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 8192);

        for (int behind = 0; behind < 2; behind++) {
            guest_send(p, behind, LARGE);
            guest_send(p, 1, 0);
            guest_send(p, 1, DP_RX_ROOM + 1);
            p->n_sent -= 2;
            guest_send(p, 1, DP_RX_ROOM);
            port_poll(p, &pmds[0]);
            settle();
            port_poll(p, &pmds[0]);
            ovs_assert(guest_ring_reclaim(&p->guest) == 3u + behind);
        }
        ovs_assert(COUNTER(p, bad_drops) == 4);

        /* Among those that the CPU copies a burst at a time. */
        for (int i = 0; i < 8; i++) {
            if (i == 3) {
                guest_send(p, 1, 0);
                p->n_sent--;
            } else {
                guest_send(p, 1, SMALL + i);
            }
        }
        ovs_assert(port_poll(p, NULL) == 7);
        ovs_assert(guest_ring_reclaim(&p->guest) == 8);
        ovs_assert(COUNTER(p, bad_drops) == 5);
        port_finish(p);
    }
}

/* With buffers of their own there is room for large ones. */
static void
test_extbuf(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 65536);

        p->mode.extbuf = true;
        guest_send(p, 1, 65000);
        guest_send(p, 1, SMALL);
        guest_send(p, 1, DP_RX_ROOM + 1);
        ovs_assert(!port_poll(p, &pmds[0]));
        settle();
        ovs_assert(port_poll(p, &pmds[0]) == 3);
        ovs_assert(port_poll(p, NULL) == 0);
        guest_send(p, 1, 65000);
        ovs_assert(port_poll(p, NULL) == 1);
        /* No buffer has so many bytes. */
        guest_send(p, 1, 65524);
        p->n_sent--;
        ovs_assert(!port_poll(p, NULL));
        ovs_assert(COUNTER(p, bad_drops) == 1);
        port_finish(p);
    }
}

/* Whatever a guest writes to its ring, it hurts itself alone: nothing more is
 * taken. */
static void
test_nonsense(void)
{
    static const char *const reasons[] = {
        VHOST_VRING_WRITE_ONLY, VHOST_VRING_BAD_ADDRESS,
    };
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
            struct port *p = port_create(layout, 16, 2048);
            unsigned int n_broken = atomic_count_get(&n_vhost_async_broken);
            struct guest_ring *g = &p->guest;

            guest_send(p, 3, LARGE);
            if (g->packed) {
                g->pdesc[2].flags |= i == 0 ? VRING_DESC_F_WRITE : 0;
                g->pdesc[2].addr += i == 1 ? UINT64_C(1) << 40 : 0;
            } else {
                g->sdesc[2].flags |= i == 0 ? VRING_DESC_F_WRITE : 0;
                g->sdesc[2].addr += i == 1 ? UINT64_C(1) << 40 : 0;
            }
            ovs_assert(!port_poll(p, &pmds[0]));
            settle();
            ovs_assert(port_poll(p, &pmds[0]) == 2);
            ovs_assert(guest_ring_reclaim(g) == 2);
            ovs_assert(!strcmp(p->rxq->vq.vring.broken, reasons[i]));
            guest_send(p, 3, SMALL);
            ovs_assert(!port_poll(p, &pmds[0]));
            ovs_assert(!port_poll(p, &pmds[0]));
            ovs_assert(atomic_count_get(&n_vhost_async_broken)
                       == n_broken + 1);
            g->n_used = g->n_offered;
            port_finish_lost(p, 4);
        }
    }
}

/* Descriptors of no bytes are nothing: drivers send them. */
static void
test_empty_pieces(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create_pieces(layout, 64, 4, 512);
        struct guest_ring *g = &p->guest;

        guest_send(p, 1, 800);
        /* The third piece has all that the second had. */
        if (g->packed) {
            g->pdesc[2].addr = g->pdesc[1].addr;
            g->pdesc[1].len = 0;
        } else {
            g->sdesc[2].addr = g->sdesc[1].addr;
            g->sdesc[1].len = 0;
        }
        memmove(p->sent[0].data + 191 + 203, p->sent[0].data + 191 + 2 * 203,
                800 - 191 - 2 * 203);
        p->sent[0].len -= 203;
        ovs_assert(port_poll(p, NULL) == 1);

        /* A packet of nothing else. */
        guest_send(p, 1, SMALL);
        p->n_sent--;
        for (int i = 4; i < 8; i++) {
            if (g->packed) {
                g->pdesc[i].len = 0;
            } else {
                g->sdesc[i].len = 0;
            }
        }
        guest_send(p, 1, SMALL);
        ovs_assert(port_poll(p, NULL) == 1);
        ovs_assert(COUNTER(p, bad_drops) == 1);
        port_finish(p);
    }
}

/* Writes descriptor 'i' of a chain, of 'len' bytes, behind which there are
 * 'more'. */
static void
guest_put_desc(struct guest_ring *g, uint32_t i, uint32_t len, bool more)
{
    uint16_t flags = more ? VRING_DESC_F_NEXT : 0;

    if (g->packed) {
        g->pdesc[i] = (struct vring_packed_desc) {
            .addr = GUEST_GPA, .len = len,
            .flags = flags | 1 << VRING_PACKED_DESC_F_AVAIL,
        };
    } else {
        g->sdesc[i] = (struct vring_desc) {
            .addr = GUEST_GPA, .len = len, .flags = flags, .next = i + 1,
        };
    }
}

/* Offers the chain that begins with the first descriptor. */
static void
guest_offer_chain(struct guest_ring *g)
{
    if (!g->packed) {
        g->avail->idx = 1;
    }
}

static void
check_shredded(uint32_t piece_len)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create_pieces(layout, 2, 1, 2048);
        struct guest_ring *g = &p->guest;
        uint32_t n = VHOST_VRING_MAX_SEGS + 1;

        vhost_async_rxq_destroy(p->rxq);
        guest_ring_destroy(g);
        guest_ring_init(g, layout, n, 1, 64);
        g->setup.from_guest = true;
        g->setup.size = g->size = 512;
        g->n_bufs = 512;
        p->rxq = vhost_async_rxq_create("port", 0, VHOST_ASYNC_VQ_STOPPED);
        vq_ring_start(&p->rxq->vq, g, guest_ring_base(g));
        for (uint32_t i = 0; i < n; i++) {
            guest_put_desc(g, i, piece_len, i + 1 < n);
        }
        guest_offer_chain(g);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(!strcmp(p->rxq->vq.vring.broken, VHOST_VRING_SHREDDED));
        port_finish(p);
    }
}

/* More pieces than anybody looks at, or of no bytes. */
static void
test_shredded(void)
{
    check_shredded(1);
    check_shredded(0);
}

/* Packets whose lengths, or what is added to them, are more than a number has
 * room for: descriptors can name the same memory again and again. */
static void
test_huge(void)
{
    static const uint64_t lens[] = {
        UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, (UINT64_C(1) << 32) - 116,
        (UINT64_C(1) << 32) - 128 + 12, UINT64_C(1) << 31, 65536 + 12,
        65535 + 12, 65535,
    };
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
            struct port *p = port_create_pieces(layout, 512, 256, 65536);
            uint32_t piece = 16u << 20;
            struct guest_ring *g = &p->guest;
            uint64_t left = lens[i];
            uint32_t n = 0;

            /* All of it is there, so to speak. */
            g->table.regions[0].size = UINT64_C(1) << 33;
            p->mode.extbuf = true;
            for (; left; n++) {
                uint32_t len = MIN(left, piece);

                guest_put_desc(g, n, len, left > piece);
                left -= len;
            }
            guest_offer_chain(g);
            ovs_assert(n <= VHOST_VRING_MAX_SEGS);
            ovs_assert(!port_poll(p, i % 2 ? &pmds[0] : NULL));
            ovs_assert(!dp_rx_n());
            ovs_assert(COUNTER(p, bad_drops) == 1);
            port_finish(p);
        }
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(bad_packets),
    DMA_TEST_CASE(extbuf),
    DMA_TEST_CASE(nonsense),
    DMA_TEST_CASE(empty_pieces),
    DMA_TEST_CASE(shredded),
    DMA_TEST_CASE(huge),
};

static void
test_vhost_rxq_guest_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-rxq-guest", test_vhost_rxq_guest_main);
