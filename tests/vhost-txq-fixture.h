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

#ifndef VHOST_TXQ_FIXTURE_H
#define VHOST_TXQ_FIXTURE_H 1

/* Txqs with guests behind them, PMD threads with channels, and packets, for
 * tests that say which thread is at work and what an engine does: there is but
 * one thread.
 *
 * Each packet has bytes of its own.  The guest must get all of those that were
 * taken, in order, or the test must say why not; each mbuf must be freed once.
 *
 * To be included behind vhost-data-path.h. */

#include "vhost-thread-fixture.h"

#define SMALL 100
#define LARGE 1500
#define N_PKTS 4096
#define MAX_BURST 64

static const uint64_t layouts[] = {
    GUEST_SPLIT | GUEST_MRG, GUEST_PACKED | GUEST_MRG,
    GUEST_SPLIT, GUEST_PACKED
};

#define FOR_EACH_LAYOUT(L)                                      \
    for (size_t l_ = 0; l_ < ARRAY_SIZE(layouts) && (L = layouts[l_], true); \
         l_++)

static struct dp_pkt pool[N_PKTS];
static size_t next_pkt;

/* What the guest is to get. */
struct sent {
    uint32_t len;
    struct virtio_net_hdr_mrg_rxbuf hdr;    /* But 'num_buffers'. */
    uint8_t *data;
};

struct port {
    struct guest_ring guest;
    struct vhost_async_txq *txq;
    atomic_uint8_t tx_retries;
    int fd;                     /* By which it is notified. */
    enum vhost_async_obstacle obstacle;     /* Of the last burst. */

    struct sent sent[N_PKTS];   /* [got, taken) are to come. */
    uint32_t n_taken, n_got;
    uint32_t n_lost;            /* Taken, and will not come. */
    struct guest_pkt last;      /* That the guest got. */
};

/* What was logged, as an array of regions of guest memory. */
static struct {
    uint64_t gpa, len;
} logged[4096];
static size_t n_logged;
static struct vhost_async_txq *logging_txq;
static uint64_t published_when_logged;

/* A migration that sends what is logged at once, and nothing else.  There is
 * none while 'migrated' is NULL. */
static const struct guest_ring *migrating;
static uint8_t *migrated;

void
rte_vhost_log_write(int vid, uint64_t gpa, uint64_t len)
{
    if (migrated) {
        uint64_t ofs = gpa - GUEST_GPA;

        ovs_assert(ofs < migrating->mem_size
                   && len <= migrating->mem_size - ofs);
        /* Buffers that the guest can use are sent already. */
        ovs_assert(ofs < 3 * GUEST_AREA || !guest_ring_peek(migrating, 0));
        memcpy(migrated + ofs, migrating->mem + ofs, len);
    }
    ovs_assert(vid == 7 && n_logged < ARRAY_SIZE(logged));
    logged[n_logged].gpa = gpa;
    logged[n_logged++].len = len;
    if (logging_txq) {
        published_when_logged = vhost_async_counter(
            &logging_txq->stats.published);
    }
}

/* Whether a write of 'len' bytes at 'gpa' was logged. */
static OVS_UNUSED bool
is_logged(uint64_t gpa, uint64_t len)
{
    for (size_t i = 0; i < n_logged; i++) {
        if (gpa >= logged[i].gpa
            && gpa + len <= logged[i].gpa + logged[i].len) {
            return true;
        }
    }
    return false;
}

static void
port_enable(struct port *p)
{
    vhost_async_vq_set_state(&p->txq->vq, VHOST_ASYNC_VQ_RUNNING);
}

/* A port whose guest has a ring of 'size' buffers of 'buf_len' bytes, each of
 * 'n_pieces' descriptors, and offered all of them. */
static struct port *
port_create_pieces(uint64_t features, uint32_t size, uint32_t n_pieces,
                   uint32_t buf_len)
{
    struct port *p = xzalloc(sizeof *p);

    ovs_assert(buf_len % n_pieces == 0);
    guest_ring_init(&p->guest, features, size * n_pieces, n_pieces,
                    buf_len / n_pieces);
    atomic_init(&p->tx_retries, 8);
    p->fd = eventfd(0, EFD_NONBLOCK);
    p->txq = vhost_async_txq_create("port", 0, &p->tx_retries,
                                    VHOST_ASYNC_VQ_STOPPED);
    ovs_assert(vhost_async_engine_txq_init(p->txq));
    ovs_assert(!vhost_async_vq_start(&p->txq->vq, &p->guest.setup));
    vhost_vring_set_base(&p->txq->vq.vring, guest_ring_base(&p->guest),
                         guest_ring_base(&p->guest));
    vhost_async_vq_set_callfd(&p->txq->vq, dup(p->fd));
    port_enable(p);
    guest_ring_offer(&p->guest, size);
    return p;
}

static struct port *
port_create(uint64_t features, uint32_t size, uint32_t buf_len)
{
    return port_create_pieces(features, size, 1, buf_len);
}

/* How often the guest was notified since this was asked last. */
static OVS_UNUSED unsigned int
port_notified(struct port *p)
{
    eventfd_t n;

    return eventfd_read(p->fd, &n) ? 0 : n;
}

static struct rte_mbuf *
make_pkt(uint32_t len, unsigned int n_segs)
{
    struct dp_pkt *pkt;

    do {
        pkt = &pool[next_pkt++ % N_PKTS];
    } while (!dp_pkt_take(pkt));
    free(pkt->data);
    dp_pkt_init(pkt, MAX(len, 1));
    atomic_store_relaxed(&pkt->used, true);
    random_bytes(pkt->data, len);
    pkt->data[0] &= ~1;         /* Unicast. */
    return dp_pkt_make(pkt, len, n_segs);
}

static void
make_burst(struct rte_mbuf **pkts, unsigned int n, uint32_t len)
{
    for (unsigned int i = 0; i < n; i++) {
        pkts[i] = make_pkt(len, 1);
    }
}

/* Notes that 'pkt', as it is now, is the next one for the guest. */
static void
port_took(struct port *p, const struct rte_mbuf *pkt)
{
    const struct dp_pkt *dp = CONTAINER_OF(pkt, struct dp_pkt, segs[0]);
    struct sent *s = &p->sent[p->n_taken++ % N_PKTS];

    s->len = pkt->pkt_len;
    memset(&s->hdr, 0, sizeof s->hdr);
    free(s->data);
    s->data = xmemdup(dp->data, MAX(s->len, 1));
}

/* Notes which of 'all' were taken, frees the rest as netdev-dpdk does. */
static void
port_sent(struct port *p, struct rte_mbuf *const *all, struct rte_mbuf **pkts,
          unsigned int cnt, unsigned int n)
{
    ovs_assert(n <= cnt);
    for (unsigned int i = 0; i < cnt; i++) {
        if (i < n) {
            port_took(p, all[i]);
        } else {
            ovs_assert(pkts[i]);
        }
    }
    rte_pktmbuf_free_bulk(pkts, cnt);
}

/* Sends a burst by the txq, with its lock, which the caller gives up. */
static OVS_UNUSED unsigned int
port_send_locked(struct port *p, struct vhost_async_thread *self,
                 struct rte_mbuf **pkts, unsigned int cnt)
{
    struct rte_mbuf *all[MAX_BURST];
    unsigned int n;

    memcpy(all, pkts, cnt * sizeof *pkts);
    n = vhost_async_txq_send(p->txq, self ? &self->sender : NULL, pkts, cnt,
                             &p->obstacle);
    port_sent(p, all, pkts, cnt, n);
    if (self) {
        vhost_async_thread_sent(self);
        end_iteration(self);
    }
    return n;
}

static unsigned int
port_send(struct port *p, struct vhost_async_thread *self,
          struct rte_mbuf **pkts, unsigned int cnt)
{
    unsigned int n;

    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    n = port_send_locked(p, self, pkts, cnt);
    vhost_async_engine_unlock(self ? &self->sender : NULL, p->txq);
    return n;
}

/* Sends 'n' packets of 'len' bytes. */
static OVS_UNUSED unsigned int
port_send_n(struct port *p, struct vhost_async_thread *self, unsigned int n,
            uint32_t len)
{
    struct rte_mbuf *pkts[MAX_BURST];

    make_burst(pkts, n, len);
    return port_send(p, self, pkts, n);
}

/* As netdev-dpdk-async.c does it; the iteration of 'self' goes on. */
static OVS_UNUSED unsigned int
port_engine_send_only(struct port *p, struct vhost_async_thread *self,
                      unsigned int cnt, uint32_t len)
{
    struct rte_mbuf *all[MAX_BURST], *pkts[MAX_BURST];
    unsigned int n;

    make_burst(all, cnt, len);
    memcpy(pkts, all, cnt * sizeof *pkts);
    n = vhost_async_engine_send(self ? &self->sender : NULL, p->txq, pkts,
                                cnt, 0);
    port_sent(p, all, pkts, cnt, n);
    if (self) {
        vhost_async_thread_sent(self);
    }
    return n;
}

/* Likewise, and ends the iteration. */
static OVS_UNUSED unsigned int
port_engine_send(struct port *p, struct vhost_async_thread *self,
                 unsigned int cnt, uint32_t len)
{
    unsigned int n = port_engine_send_only(p, self, cnt, len);

    if (self) {
        end_iteration(self);
    }
    return n;
}

static void
check_pkt(struct port *p, const struct sent *s)
{
    const struct guest_pkt *pkt = &p->last;
    struct virtio_net_hdr_mrg_rxbuf hdr = s->hdr;

    ovs_assert(pkt->len == s->len);
    ovs_assert(!memcmp(pkt->data, s->data, s->len));
    if (guest_ring_hdr_len(&p->guest) == sizeof hdr) {
        hdr.num_buffers = pkt->n_bufs;
    }
    ovs_assert(!memcmp(&pkt->hdr, &hdr, sizeof hdr));
}

/* The guest gets 'n' packets, and no more. */
static void
port_get(struct port *p, unsigned int n)
{
    for (; n; n--) {
        ovs_assert(guest_ring_get(&p->guest, &p->last));
        ovs_assert(p->n_got + p->n_lost < p->n_taken);
        check_pkt(p, &p->sent[(p->n_lost + p->n_got++) % N_PKTS]);
    }
    ovs_assert(!guest_ring_get(&p->guest, &p->last));
}

static void
check_no_leak(void)
{
    for (size_t i = 0; i < N_PKTS; i++) {
        bool used;

        atomic_read_relaxed(&pool[i].used, &used);
        ovs_assert(!used);
    }
}

static uint64_t
txq_counter(const struct port *p, size_t ofs)
{
    return vhost_async_counter(ALIGNED_CAST(const atomic_uint64_t *,
                               (const uint8_t *) &p->txq->stats + ofs));
}

#define COUNTER(PORT, NAME) \
    txq_counter(PORT, offsetof(struct vhost_async_txq_stats, NAME))

/* The end of a port: what it took was counted once, and is with the guest or
 * was lost.  If several ports share a thread, all must be idle. */
static void
port_finish(struct port *p)
{
    struct vhost_async_txq *txq = p->txq;

    settle();
    port_get(p, p->n_taken - p->n_got - p->n_lost);
    ovs_assert(!vhost_async_vq_in_flight(&txq->vq));
    ovs_assert(vhost_async_engine_txq_is_idle(txq));
    ovs_assert(COUNTER(p, published) == p->n_got);
    ovs_assert(COUNTER(p, lost_drops) + COUNTER(p, ring_drops) == p->n_lost);
    ovs_assert(COUNTER(p, dma_packets) + COUNTER(p, cpu_packets)
               + COUNTER(p, ring_drops) == p->n_taken);
    vhost_async_engine_txq_destroy(txq);
    vhost_async_txq_destroy(txq);
    close(p->fd);
    guest_ring_destroy(&p->guest);
    for (size_t i = 0; i < N_PKTS; i++) {
        free(p->sent[i].data);
    }
    free(p);
    check_no_leak();
}

#endif /* vhost-txq-fixture.h */
