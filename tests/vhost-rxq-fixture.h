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

#ifndef VHOST_RXQ_FIXTURE_H
#define VHOST_RXQ_FIXTURE_H 1

/* An rxq whose ring is ours (lib/vhost-async-rxq.c, -receive.c), for tests
 * that include this: the guest that sends, and the thread that polls, which
 * checks that what was sent comes up once, in order, byte by byte.
 *
 * Ring, channel and device are the real ones; the engine of fake-dmadev.h does
 * what a case says.  The test defines DP() before it includes this. */

#include "vhost-data-path.h"
#include "vhost-ring-fixture.h"
#include "vhost-thread-fixture.h"

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
    vq_ring_start(vq, &p->guest, guest_ring_base(&p->guest));
    vhost_async_vq_set_callfd(vq, dup(p->fd));
    return p;
}

static OVS_UNUSED struct port *
port_create(uint64_t features, uint32_t size, uint32_t piece_len)
{
    return port_create_pieces(features, size, 1, piece_len);
}

static OVS_UNUSED unsigned int
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

static OVS_UNUSED void
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
    uint64_t n_binned = 0;

    settle();
    while (port_poll(p, NULL)) {
        continue;
    }
    guest_ring_reclaim(&p->guest);
    ovs_assert(p->n_got + n_lost == p->n_sent);
    ovs_assert(p->guest.n_used == p->guest.n_offered);
    ovs_assert(!vhost_async_vq_in_flight(&p->rxq->vq));
    ovs_assert(COUNTER(p, good_packets) == p->n_got);
    for (size_t i = 0; i < ARRAY_SIZE(p->rxq->stats.size_bins); i++) {
        n_binned += COUNTER(p, size_bins[i]);
    }
    ovs_assert(n_binned == p->n_got);
    ovs_assert(COUNTER(p, good_bytes) == p->bytes);
    ovs_assert(COUNTER(p, dma_packets) + COUNTER(p, cpu_packets) == p->n_got);
    ovs_assert(COUNTER(p, dma_bytes) + COUNTER(p, cpu_bytes) == p->bytes);
    vhost_async_rxq_destroy(p->rxq);
    ovs_assert(!dp_rx_n());
    close(p->fd);
    guest_ring_destroy(&p->guest);
    for (size_t i = 0; i < N_PKTS; i++) {
        free(p->sent[i].data);
    }
    free(p);
}

static OVS_UNUSED void
port_finish(struct port *p)
{
    port_finish_lost(p, 0);
}

#endif /* vhost-rxq-fixture.h */
