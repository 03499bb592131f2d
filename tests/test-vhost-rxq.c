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

/* Tests of an rxq whose ring is ours (lib/vhost-async-rxq.c, -receive.c): what
 * a guest sends comes up once, in order, byte by byte, whoever copies it, and
 * its buffers go back to it.
 *
 * Ring, channel and device are the real ones; the engine of fake-dmadev.h does
 * what a case says. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_rxq_##NAME
#include "vhost-data-path.h"
#include "vhost-thread-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

#define SMALL 100
#define LARGE 1500
#define BURST 32
#define N_PKTS 1024

/* A packet that is to come up. */
struct sent {
    uint32_t len;
    uint8_t *data;
};

struct port {
    struct guest_ring guest;
    struct vhost_async_rxq *rxq;
    struct vhost_async_rx_mode mode;
    int fd;                     /* By which the guest is notified. */

    struct sent sent[N_PKTS];   /* [got, sent) are to come. */
    uint32_t n_sent, n_got;
    uint64_t bytes;             /* That came. */
};

static const uint64_t layouts[] = { GUEST_SPLIT, GUEST_PACKED };

#define FOR_EACH_LAYOUT(L)                                      \
    for (size_t l_ = 0; l_ < ARRAY_SIZE(layouts) && (L = layouts[l_], true); \
         l_++)

void
rte_vhost_log_write(int vid OVS_UNUSED, uint64_t gpa OVS_UNUSED,
                    uint64_t len OVS_UNUSED)
{
}


/* A port whose guest has a ring of 'size' descriptors, and buffers of
 * 'n_pieces' of them with up to 'piece_len' bytes each. */
static struct port *
port_create_pieces(uint64_t features, uint32_t size, uint32_t n_pieces,
                   uint32_t piece_len)
{
    struct port *p = xzalloc(sizeof *p);
    struct vhost_async_vq *vq;

    guest_ring_init(&p->guest, features, size, n_pieces, piece_len);
    p->guest.setup.from_guest = true;
    p->fd = eventfd(0, EFD_NONBLOCK);
    p->rxq = vhost_async_rxq_create("port", 0, VHOST_ASYNC_VQ_STOPPED);
    vq = &p->rxq->vq;
    ovs_assert(!vhost_async_vq_start(vq, &p->guest.setup));
    vhost_vring_set_base(&vq->vring, guest_ring_base(&p->guest),
                         guest_ring_base(&p->guest));
    vhost_async_vq_set_callfd(vq, dup(p->fd));
    vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_RUNNING);
    return p;
}

static struct port *
port_create(uint64_t features, uint32_t size, uint32_t piece_len)
{
    return port_create_pieces(features, size, 1, piece_len);
}

static unsigned int
port_notified(struct port *p)
{
    eventfd_t n;

    return eventfd_read(p->fd, &n) ? 0 : n;
}

/* The guest sends a packet of 'len' bytes, with that header. */
static struct sent *
guest_send_hdr(struct port *p, uint32_t len,
               const struct virtio_net_hdr_mrg_rxbuf *hdr,
               const uint8_t *data)
{
    struct sent *s = &p->sent[p->n_sent++ % N_PKTS];

    free(s->data);
    s->len = len;
    s->data = xmalloc(MAX(len, 1));
    if (data) {
        memcpy(s->data, data, len);
    } else {
        random_bytes(s->data, len);
        s->data[0] &= ~1;           /* Unicast. */
    }
    ovs_assert(guest_ring_send(&p->guest, hdr, s->data, len));
    return s;
}

static void
guest_send(struct port *p, unsigned int n, uint32_t len)
{
    static const struct virtio_net_hdr_mrg_rxbuf none;

    while (n--) {
        guest_send_hdr(p, len, &none, NULL);
    }
}

/* Has thread 'self' poll once, and checks what comes.  Returns how many
 * packets that were. */
static unsigned int
port_poll(struct port *p, struct vhost_async_thread *self)
{
    struct rte_mbuf *mbufs[BURST];
    uint16_t n;

    n = vhost_async_rxq_recv(p->rxq, self ? &self->sender : NULL, &p->mode,
                             mbufs, BURST);
    for (uint16_t i = 0; i < n; i++) {
        const struct sent *s = &p->sent[p->n_got++ % N_PKTS];

        ovs_assert(p->n_got <= p->n_sent);
        ovs_assert(mbufs[i]->nb_segs == 1 && mbufs[i]->data_len == s->len
                   && mbufs[i]->pkt_len == s->len);
        ovs_assert(!memcmp(rte_pktmbuf_mtod(mbufs[i], void *), s->data,
                           s->len));
        p->bytes += s->len;
        dp_rx_free(mbufs[i]);
    }
    if (self) {
        vhost_async_thread_sent(self);
        end_iteration(self);
    }
    return n;
}

static uint64_t
rxq_counter(const struct port *p, size_t ofs)
{
    return vhost_async_counter(ALIGNED_CAST(const atomic_uint64_t *,
                               (const uint8_t *) &p->rxq->stats + ofs));
}

#define COUNTER(PORT, NAME) \
    rxq_counter(PORT, offsetof(struct vhost_async_rxq_stats, NAME))

/* The end of a port: what its guest sent came up, but for 'n_lost' packets;
 * all buffers are back, all mbufs free.  What came up was counted once. */
static void
port_finish_lost(struct port *p, unsigned int n_lost)
{
    settle();
    while (port_poll(p, NULL)) {
        continue;
    }
    guest_ring_reclaim(&p->guest);
    ovs_assert(p->n_got + n_lost == p->n_sent);
    ovs_assert(p->guest.n_used == p->guest.n_offered);
    ovs_assert(!vhost_async_vq_in_flight(&p->rxq->vq));
    ovs_assert(COUNTER(p, good_packets) == p->n_got);
    ovs_assert(COUNTER(p, good_bytes) == p->bytes);
    ovs_assert(COUNTER(p, dma_packets) + COUNTER(p, cpu_packets) == p->n_got);
    ovs_assert(COUNTER(p, dma_bytes) + COUNTER(p, cpu_bytes) == p->bytes);
    vhost_async_rxq_destroy(p->rxq);
    ovs_assert(!dp_rx_n);
    close(p->fd);
    guest_ring_destroy(&p->guest);
    for (size_t i = 0; i < N_PKTS; i++) {
        free(p->sent[i].data);
    }
    free(p);
}

static void
port_finish(struct port *p)
{
    port_finish_lost(p, 0);
}

/* By CPU, each packet comes with the poll that finds it. */
static void
test_by_cpu(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        ovs_assert(!port_poll(p, NULL));
        for (uint32_t len = 1; len <= 2000; len += 33) {
            guest_send(p, 3, len);
            ovs_assert(port_poll(p, NULL) == 3);
            ovs_assert(guest_ring_reclaim(&p->guest) == 3);
        }
        /* More than a burst. */
        guest_send(p, 40, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 32);
        ovs_assert(port_poll(p, &pmds[0]) == 8);
        ovs_assert(COUNTER(p, cpu_packets) == p->n_got);
        ovs_assert(!COUNTER(p, dma_packets));
        port_finish(p);
    }
}

/* By DMA, a packet comes, and its buffer goes back, when its copies are
 * done. */
static void
test_by_dma(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        guest_send(p, 4, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
        ovs_assert(!guest_ring_reclaim(&p->guest));
        ovs_assert(work_and_reap(0, 3) == 3);
        ovs_assert(port_poll(p, &pmds[0]) == 3);
        ovs_assert(guest_ring_reclaim(&p->guest) == 3);
        ovs_assert(work_and_reap(0, 1) == 1);
        ovs_assert(port_poll(p, &pmds[0]) == 1);
        ovs_assert(guest_ring_reclaim(&p->guest) == 1);
        ovs_assert(COUNTER(p, dma_packets) == 4);
        ovs_assert(COUNTER(p, dma_bytes) == 4 * LARGE);
        port_finish(p);
    }
}

/* A small packet behind a large one in flight is copied at once, and comes in
 * its turn. */
static void
test_order(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 2, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 2048);

        guest_send(p, 1, SMALL);
        guest_send(p, 1, LARGE);
        guest_send(p, 2, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 1);
        guest_send(p, 1, LARGE);
        /* Another thread polls the rxq from now on. */
        ovs_assert(!port_poll(p, &pmds[1]));
        ovs_assert(work_and_reap(1, 1) == 1);
        ovs_assert(!port_poll(p, &pmds[1]));
        ovs_assert(guest_ring_reclaim(&p->guest) == 1);
        ovs_assert(work_and_reap(0, 1) == 1);
        ovs_assert(port_poll(p, &pmds[1]) == 4);
        ovs_assert(guest_ring_reclaim(&p->guest) == 4);
        port_finish(p);
    }
}

/* Chains and indirect tables, with headers that are in several pieces. */
static void
test_pieces(void)
{
    static const struct {
        uint32_t n, len;
    } shapes[] = { { 2, 1024 }, { 3, 700 }, { 16, 100 }, { 64, 30 } };
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 1024);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
            for (int indirect = 0; indirect < 2; indirect++) {
                struct port *p = port_create_pieces(layout, 512, shapes[i].n,
                                                    shapes[i].len);

                p->guest.indirect = indirect;
                for (int j = 0; j < 20; j++) {
                    guest_send(p, 1, 64 + random_range(64));
                    guest_send(p, 1, 1024 + random_range(512));
                    guest_send(p, 1, 1 + random_range(64) + shapes[i].n);
                    port_poll(p, &pmds[0]);
                    settle();
                    port_poll(p, &pmds[0]);
                    ovs_assert(p->n_got == p->n_sent);
                    ovs_assert(guest_ring_reclaim(&p->guest) == 3);
                }
                port_finish(p);
            }
        }
    }
}

static void
test_failed_copies(void)
{
    static const enum fake_driver drivers[] = { FAKE_IDXD, FAKE_IOAT };
    uint64_t layout;

    start_engines(FAKE_IDXD, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
            struct port *p = port_create(layout, 32, 2048);

            fake.devs[0].driver = drivers[i];
            guest_send(p, 8, LARGE);
            ovs_assert(!port_poll(p, &pmds[0]));
            fake_fail(0, 0, 5);
            fake_fail(0, 0, 1);
            settle();
            ovs_assert(port_poll(p, &pmds[0]) == 8);
            ovs_assert(pmds[0].sender.chan);
            port_finish(p);
        }
    }
}

/* An engine that hangs costs no packet; others are fetched meanwhile, and wait
 * for it. */
static void
test_hung_engine(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_PACKED, 64, 2048);
    guest_send(p, 3, LARGE);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(work_and_reap(0, 1) == 1);
    hang(0);
    ovs_assert(port_poll(p, &pmds[0]) == 1);
    guest_send(p, 2, LARGE);
    ovs_assert(!port_poll(p, &pmds[0]));
    ovs_assert(vhost_async_vq_in_flight(&p->rxq->vq) == 4);
    fake.devs[0].stop_fails = 2;
    while (!port_poll(p, &pmds[0])) {
        ovs_assert(fake.slept_us < 1000000);
        rescue();
        fake_delay_us(1000);
    }
    ovs_assert(p->n_got == 5);
    port_finish(p);
}

/* The ring stops: what did not come up is not published either, but fetched
 * again, once, when the ring is started where it was.  If copies are at work,
 * not before they are done. */
static void
test_stop_with_copies_in_flight(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);
        struct vhost_async_vq *vq = &p->rxq->vq;
        uint16_t base;

        guest_send(p, 3, LARGE);
        guest_send(p, 1, SMALL);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(work_and_reap(0, 1) == 1);

        vhost_async_vq_close(vq);
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(!vhost_async_rxq_drain(p->rxq, rte_get_tsc_cycles()));
        base = vhost_vring_get_base(&vq->vring);
        ovs_assert(base == guest_ring_base(&p->guest));
        vhost_async_vq_stop(vq);
        vhost_async_rxq_free_done(p->rxq);
        ovs_assert(vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK);
        ovs_assert(dp_rx_n == 3);
        vhost_async_vq_open(vq);
        vhost_async_rxq_unlock(p->rxq);

        ovs_assert(!port_poll(p, &pmds[0]));
        settle();
        ovs_assert(vhost_async_vq_trylock(vq));
        vhost_async_rxq_free_done(p->rxq);
        vhost_async_rxq_unlock(p->rxq);
        ovs_assert(!dp_rx_n && !guest_ring_reclaim(&p->guest));
        ovs_assert(vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STOPPED);

        ovs_assert(!vhost_async_vq_start(vq, &p->guest.setup));
        vhost_vring_set_base(&vq->vring, base, base);
        ovs_assert(!port_poll(p, &pmds[0]));
        vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_RUNNING);
        ovs_assert(!port_poll(p, &pmds[0]));
        settle();
        ovs_assert(port_poll(p, &pmds[0]) == 4);
        port_finish(p);
    }
}

/* What was drained comes up, also if the ring was disabled since. */
static void
test_drained(void)
{
    struct vhost_async_vq *vq;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT, 64, 2048);
    vq = &p->rxq->vq;
    for (int i = 0; i < 2; i++) {
        guest_send(p, 20, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]));
    }
    vhost_async_vq_close(vq);
    ovs_assert(fake_work(0, 0, UINT_MAX) == 40);
    vhost_async_thread_reap(&pmds[0]);
    ovs_assert(vhost_async_rxq_drain(p->rxq, rte_get_tsc_cycles()));
    vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_DISABLED);
    vhost_async_vq_open(vq);
    vhost_async_rxq_unlock(p->rxq);
    ovs_assert(!guest_ring_reclaim(&p->guest));
    guest_send(p, 1, SMALL);
    ovs_assert(port_poll(p, &pmds[0]) == 32);
    ovs_assert(port_poll(p, &pmds[0]) == 8);
    ovs_assert(!port_poll(p, &pmds[0]));
    vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_RUNNING);
    port_finish(p);
}

/* No more is fetched than there is room for when all of it is done. */
static void
test_bounded(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 1024);
    p = port_create(GUEST_PACKED, 512, 2048);
    guest_send(p, 512, LARGE);
    for (int i = 0; i < 20; i++) {
        ovs_assert(!port_poll(p, &pmds[0]));
    }
    ovs_assert(vhost_async_vq_in_flight(&p->rxq->vq)
               == VHOST_ASYNC_RXQ_MAX_PKTS);
    while (p->n_got != 512) {
        settle();
        port_poll(p, &pmds[0]);
    }
    port_finish(p);
}

/* Without mbufs packets stay where they are. */
static void
test_no_mbufs(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create_pieces(layout, 32, 3, 700);

        guest_send(p, 5, SMALL);
        dp_rx_left = 4;
        ovs_assert(!port_poll(p, NULL) && !port_poll(p, &pmds[0]));
        ovs_assert(!guest_ring_reclaim(&p->guest));
        dp_rx_left = UINT_MAX;
        ovs_assert(port_poll(p, NULL) == 5);
        port_finish(p);
    }
}

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

/* More pieces than anybody looks at, or of no bytes. */
static void
test_shredded(void)
{
    static uint32_t piece_len = 1;
    uint64_t layout;

again:

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
        ovs_assert(!vhost_async_vq_start(&p->rxq->vq, &g->setup));
        vhost_vring_set_base(&p->rxq->vq.vring, guest_ring_base(g),
                             guest_ring_base(g));
        vhost_async_vq_set_state(&p->rxq->vq, VHOST_ASYNC_VQ_RUNNING);
        for (uint32_t i = 0; i < n; i++) {
            uint16_t flags = i + 1 < n ? VRING_DESC_F_NEXT : 0;

            if (g->packed) {
                g->pdesc[i] = (struct vring_packed_desc) {
                    .addr = GUEST_GPA, .len = piece_len,
                    .flags = flags | 1 << VRING_PACKED_DESC_F_AVAIL,
                };
            } else {
                g->sdesc[i] = (struct vring_desc) {
                    .addr = GUEST_GPA, .len = piece_len, .flags = flags,
                    .next = i + 1,
                };
            }
        }
        if (!g->packed) {
            g->avail->idx = 1;
        }
        ovs_assert(!port_poll(p, &pmds[0]));
        ovs_assert(!strcmp(p->rxq->vq.vring.broken, VHOST_VRING_SHREDDED));
        port_finish(p);
    }
    if (piece_len--) {
        goto again;
    }
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
                uint16_t flags = left > piece ? VRING_DESC_F_NEXT : 0;

                if (g->packed) {
                    g->pdesc[n] = (struct vring_packed_desc) {
                        .addr = GUEST_GPA, .len = len,
                        .flags = flags | 1 << VRING_PACKED_DESC_F_AVAIL,
                    };
                } else {
                    g->sdesc[n] = (struct vring_desc) {
                        .addr = GUEST_GPA, .len = len, .flags = flags,
                        .next = n + 1,
                    };
                }
                left -= len;
            }
            if (!g->packed) {
                g->avail->idx = 1;
            }
            ovs_assert(n <= VHOST_VRING_MAX_SEGS);
            ovs_assert(!port_poll(p, i % 2 ? &pmds[0] : NULL));
            ovs_assert(!dp_rx_n);
            ovs_assert(COUNTER(p, bad_drops) == 1);
            port_finish(p);
        }
    }
}

/* Offloads. */

/* TCP in IPv4, or IPv6 if 'v6', with 'ext' bytes of extension headers. */
static uint32_t
make_tcp(uint8_t *data, uint32_t len, bool v6, uint32_t ext)
{
    uint32_t l3 = 14, l4 = l3 + (v6 ? 40 : 20) + ext;

    memset(data, 0, len);
    data[12] = v6 ? 0x86 : 0x08;
    data[13] = v6 ? 0xdd : 0x00;
    data[l3] = v6 ? 0x60 : 0x45;
    if (v6) {
        data[l3 + 6] = ext ? 60 : IPPROTO_TCP;
        if (ext) {
            /* Destination options. */
            data[l3 + 40] = IPPROTO_TCP;
            data[l3 + 41] = ext / 8 - 1;
        }
    } else {
        data[l3 + 9] = IPPROTO_TCP;
    }
    data[l4 + 12] = 5 << 4;
    return l4;
}

/* Sends a packet of 'len' bytes with that header, by CPU or by DMA, and
 * returns the mbuf. */
static struct rte_mbuf *
recv_one(struct port *p, uint32_t len,
         const struct virtio_net_hdr_mrg_rxbuf *hdr, const uint8_t *data)
{
    struct rte_mbuf *mbufs[BURST];
    uint16_t n = 0;

    guest_send_hdr(p, len, hdr, data);
    for (int i = 0; !n; i++) {
        ovs_assert(i < 3);
        n = vhost_async_rxq_recv(p->rxq, &pmds[0].sender, &p->mode, mbufs,
                                 BURST);
        settle();
    }
    ovs_assert(n == 1 && mbufs[0]->pkt_len == len
               && mbufs[0]->data_len == len);
    p->n_got++;
    p->bytes += len;
    guest_ring_reclaim(&p->guest);
    return mbufs[0];
}

static void
test_offloads_legacy(void)
{
    const uint64_t features = (GUEST_SPLIT | GUEST_F(VIRTIO_NET_F_CSUM)
                               | GUEST_F(VIRTIO_NET_F_HOST_TSO4));
    uint8_t data[LARGE];
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(features, 16, 2048);
    for (uint32_t len = SMALL; len <= LARGE; len += LARGE - SMALL) {
        for (int v6 = 0; v6 < 2; v6++) {
            uint64_t l3_flag = v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
            uint32_t l4 = make_tcp(data, len, v6, 0);
            struct virtio_net_hdr_mrg_rxbuf hdr = {
                .hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                .hdr.csum_start = l4,
                .hdr.csum_offset = 16,
            };
            struct rte_mbuf *m = recv_one(p, len, &hdr, data);

            ovs_assert(m->ol_flags == (l3_flag | RTE_MBUF_F_TX_TCP_CKSUM));
            ovs_assert(m->l2_len == 14 && m->l3_len == l4 - 14);
            ovs_assert(!memcmp(rte_pktmbuf_mtod(m, void *), data, len));
            dp_rx_free(m);

            hdr.hdr.gso_type = (v6 ? VIRTIO_NET_HDR_GSO_TCPV6
                                : VIRTIO_NET_HDR_GSO_TCPV4);
            hdr.hdr.gso_size = 700;
            m = recv_one(p, len, &hdr, data);
            ovs_assert(m->ol_flags == (l3_flag | RTE_MBUF_F_TX_TCP_CKSUM
                                       | RTE_MBUF_F_TX_TCP_SEG));
            ovs_assert(m->l4_len == 20 && m->tso_segsz == 700);
            dp_rx_free(m);

            /* What makes no sense is not asked for. */
            hdr.hdr.csum_start++;
            m = recv_one(p, len, &hdr, data);
            ovs_assert(!m->ol_flags && !m->tx_offload);
            dp_rx_free(m);
        }
    }
    ovs_assert(COUNTER(p, dma_packets) >= 4);
    port_finish(p);
}

static void
test_offloads_compliant(void)
{
    const uint64_t features = (GUEST_PACKED | GUEST_F(VIRTIO_NET_F_CSUM)
                               | GUEST_F(VIRTIO_NET_F_HOST_TSO6));
    const uint64_t unknown = RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN;
    uint8_t data[LARGE];
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(features, 16, 2048);
    p->mode.compliant = true;
    for (uint32_t len = 400; len <= LARGE; len += LARGE - 400) {
        /* The headers may be longer than what the CPU copies first. */
        for (uint32_t ext = 0; ext <= 160; ext += 160) {
            uint32_t l4 = make_tcp(data, len, true, ext);
            struct virtio_net_hdr_mrg_rxbuf hdr = {
                .hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                .hdr.csum_start = l4,
                .hdr.csum_offset = 16,
                .hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
                .hdr.gso_size = 900,
            };
            struct rte_mbuf *m = recv_one(p, len, &hdr, data);

            ovs_assert(m->ol_flags == (unknown | RTE_MBUF_F_RX_LRO
                                       | RTE_MBUF_F_RX_L4_CKSUM_NONE));
            ovs_assert(m->tso_segsz == 900);
            ovs_assert((m->packet_type & RTE_PTYPE_L4_MASK)
                       == RTE_PTYPE_L4_TCP);
            ovs_assert(!memcmp(rte_pktmbuf_mtod(m, void *), data, len));
            dp_rx_free(m);
        }
    }

    /* A checksum that nobody else would find is computed. */
    for (uint32_t len = 400; len <= LARGE; len += LARGE - 400) {
        const struct virtio_net_hdr_mrg_rxbuf hdr = {
            .hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .hdr.csum_start = 20,
            .hdr.csum_offset = 6,
        };
        struct rte_mbuf *m;
        uint16_t sum;

        random_bytes(data, len);
        data[12] = data[13] = 0xfe;
        data[0] = 0;
        m = recv_one(p, len, &hdr, data);
        ovs_assert(m->ol_flags == unknown);
        ovs_assert(!rte_raw_cksum_mbuf(m, 20, len - 20, &sum));
        /* With what was there before in it, the sum is that. */
        memcpy(data + 26, rte_pktmbuf_mtod_offset(m, void *, 26), 2);
        ovs_assert(!memcmp(rte_pktmbuf_mtod(m, void *), data, len));
        dp_rx_free(m);
    }
    port_finish(p);
}

/* Headers of guests that may ask for nothing are not looked at. */
static void
test_offloads_not_negotiated(void)
{
    struct virtio_net_hdr_mrg_rxbuf hdr;
    struct rte_mbuf *m;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT, 16, 2048);
    memset(&hdr, 0xff, sizeof hdr);
    m = recv_one(p, LARGE, &hdr, NULL);
    ovs_assert(!m->ol_flags);
    dp_rx_free(m);
    port_finish(p);
}

/* The rest. */

static void
test_announce(void)
{
    struct rte_mbuf *mbufs[BURST];
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT, 16, 2048);
    guest_send(p, 1, SMALL);
    ovs_assert(vhost_async_vq_trylock(&p->rxq->vq));
    vhost_async_rxq_announce(p->rxq, UINT64_C(0x665544332211));
    vhost_async_rxq_unlock(p->rxq);
    dp_rx_left = 0;
    ovs_assert(!port_poll(p, NULL));
    dp_rx_left = UINT_MAX;
    ovs_assert(vhost_async_rxq_recv(p->rxq, NULL, &p->mode, mbufs, BURST)
               == 2);
    ovs_assert(!memcmp(rte_pktmbuf_mtod_offset(mbufs[0], void *, 6),
                       "\x11\x22\x33\x44\x55\x66", 6));
    p->n_got++;
    p->bytes += SMALL;
    ovs_assert(COUNTER(p, broadcast) == 1);
    /* It is a packet, and was copied from nowhere. */
    ovs_assert(COUNTER(p, good_packets) == 2);
    ovs_assert(COUNTER(p, cpu_packets) == 1);
    atomic_store_relaxed(&p->rxq->stats.good_packets, 1);
    atomic_store_relaxed(&p->rxq->stats.good_bytes, SMALL);
    dp_rx_free(mbufs[0]);
    dp_rx_free(mbufs[1]);
    ovs_assert(!port_poll(p, NULL));
    port_finish(p);
}

/* A guest that waits for its buffers is notified, once. */
static void
test_notified(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 16, 2048);

        guest_send(p, 3, LARGE);
        ovs_assert(!port_poll(p, &pmds[0]) && !port_notified(p));
        settle();
        ovs_assert(port_poll(p, &pmds[0]) == 3 && port_notified(p) == 1);
        guest_send(p, 3, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 3 && port_notified(p) == 1);
        ovs_assert(!port_poll(p, &pmds[0]) && !port_notified(p));
        if (p->guest.packed) {
            p->guest.event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
        } else {
            p->guest.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
        }
        guest_send(p, 3, SMALL);
        ovs_assert(port_poll(p, &pmds[0]) == 3 && !port_notified(p));
        port_finish(p);
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(by_cpu),
    DMA_TEST_CASE(by_dma),
    DMA_TEST_CASE(order),
    DMA_TEST_CASE(pieces),
    DMA_TEST_CASE(failed_copies),
    DMA_TEST_CASE(hung_engine),
    DMA_TEST_CASE(stop_with_copies_in_flight),
    DMA_TEST_CASE(drained),
    DMA_TEST_CASE(bounded),
    DMA_TEST_CASE(no_mbufs),
    DMA_TEST_CASE(bad_packets),
    DMA_TEST_CASE(extbuf),
    DMA_TEST_CASE(nonsense),
    DMA_TEST_CASE(empty_pieces),
    DMA_TEST_CASE(shredded),
    DMA_TEST_CASE(huge),
    DMA_TEST_CASE(offloads_legacy),
    DMA_TEST_CASE(offloads_compliant),
    DMA_TEST_CASE(offloads_not_negotiated),
    DMA_TEST_CASE(announce),
    DMA_TEST_CASE(notified),
};

static void
test_vhost_rxq_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-rxq", test_vhost_rxq_main);
