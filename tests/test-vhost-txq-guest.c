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

/* Tests of what a guest gets besides the bytes of a packet, and of what is
 * counted of it: the header (lib/vhost-net-hdr.h), notifications, the log of
 * dirty pages, counters of the txq (lib/vhost-async-txq.c). */

#undef NDEBUG
#include <config.h>

#define DP(NAME) tg_##NAME
#include "vhost-data-path.h"
#include "vhost-txq-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

/* Headers. */

#define L2_LEN 14
#define L4_OFS(IP_LEN) (L2_LEN + (IP_LEN))

/* The sum of a checksum over 'len' bytes at 'p' and 'sum'. */
static uint32_t
add_words(uint32_t sum, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : p[i] << 8;
    }
    return sum;
}

static uint16_t
fold(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static uint16_t
get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

/* A packet of IPv4 or IPv6 with 'l4_len' bytes behind it. */
static struct rte_mbuf *
make_ip(bool v6, uint8_t proto, uint32_t l4_len, unsigned int n_segs)
{
    uint32_t ip_len = v6 ? 40 : 20;
    struct rte_mbuf *pkt = make_pkt(L2_LEN + ip_len + l4_len, n_segs);
    uint8_t *eth = rte_pktmbuf_mtod(pkt, uint8_t *);
    uint8_t *ip = eth + L2_LEN;

    eth[12] = v6 ? 0x86 : 0x08;
    eth[13] = v6 ? 0xdd : 0x00;
    if (v6) {
        ip[0] = 0x60;
        ip[4] = l4_len >> 8;
        ip[5] = l4_len;
        ip[6] = proto;
    } else {
        ip[0] = 0x45;
        ip[2] = (ip_len + l4_len) >> 8;
        ip[3] = ip_len + l4_len;
        ip[9] = proto;
    }
    pkt->l2_len = L2_LEN;
    pkt->l3_len = ip_len;
    pkt->ol_flags = v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    return pkt;
}

/* Sends 'pkt' and has 'p->last' be what the guest gets, with 'hdr'. */
static void
send_with_header(struct port *p, struct rte_mbuf *pkt,
                 const struct virtio_net_hdr *hdr)
{
    ovs_assert(port_send(p, &pmds[0], &pkt, 1) == 1);
    p->sent[(p->n_taken - 1) % N_PKTS].hdr.hdr = *hdr;
    settle();
    port_get(p, 1);
    guest_ring_offer(&p->guest, UINT32_MAX);
}

/* The checksum of the pseudo header is in the packet; the guest is told where
 * to complete it. */
static void
test_checksum_offload(void)
{
    static const struct {
        uint64_t flag;
        uint8_t proto, ofs;
        bool pseudo;
    } l4s[] = {
        { RTE_MBUF_F_TX_TCP_CKSUM, IPPROTO_TCP, 16, true },
        { RTE_MBUF_F_TX_UDP_CKSUM, IPPROTO_UDP, 6, true },
        { RTE_MBUF_F_TX_SCTP_CKSUM, IPPROTO_SCTP, 8, false },
    };
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 64, 2048);
    for (int i = 0; i < 2 * ARRAY_SIZE(l4s) * 2; i++) {
        bool v6 = i & 1, large = i & 2;
        size_t l4 = i / 4;
        uint32_t len = large ? 1400 : 60;
        struct rte_mbuf *pkt = make_ip(v6, l4s[l4].proto, len, 1);
        struct virtio_net_hdr hdr = {
            .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .csum_start = L2_LEN + pkt->l3_len,
            .csum_offset = l4s[l4].ofs,
        };
        const uint8_t *ip = p->last.data + L2_LEN;
        uint32_t sum;

        pkt->ol_flags |= l4s[l4].flag;
        send_with_header(p, pkt, &hdr);
        if (l4s[l4].pseudo) {
            sum = add_words(l4s[l4].proto + len, ip + (v6 ? 8 : 12),
                            v6 ? 32 : 8);
            ovs_assert(get16(ip + pkt->l3_len + l4s[l4].ofs) == fold(sum));
        }
    }
    port_finish(p);
}

/* That of IPv4 is computed here: the guest is not asked to. */
static void
test_ip_checksum(void)
{
    const struct virtio_net_hdr hdr = { .flags = 0 };
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_PACKED | GUEST_MRG, 64, 2048);
    for (int i = 0; i < 2; i++) {
        struct rte_mbuf *pkt = make_ip(false, IPPROTO_UDP, i ? 1400 : 60, 1);

        pkt->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
        send_with_header(p, pkt, &hdr);
        ovs_assert(fold(add_words(0, p->last.data + L2_LEN, 20)) == 0xffff);
    }
    port_finish(p);
}

static void
test_segmentation_offload(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 512);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 64, 2048);
    for (int i = 0; i < 8; i++) {
        bool v6 = i & 1, udp = i & 2, large = i & 4;
        struct rte_mbuf *pkt = make_ip(v6, udp ? IPPROTO_UDP : IPPROTO_TCP,
                                       large ? 60000 : 800, 3);
        struct virtio_net_hdr hdr = {
            .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .gso_type = (udp ? VIRTIO_NET_HDR_GSO_UDP
                         : v6 ? VIRTIO_NET_HDR_GSO_TCPV6
                         : VIRTIO_NET_HDR_GSO_TCPV4),
            .hdr_len = L4_OFS(pkt->l3_len) + (udp ? 8 : 20),
            .gso_size = 1000 + i,
            .csum_start = L4_OFS(pkt->l3_len),
            .csum_offset = udp ? 6 : 16,
        };
        const uint8_t *ip = p->last.data + L2_LEN;
        uint32_t sum;

        pkt->l4_len = udp ? 8 : 20;
        pkt->tso_segsz = 1000 + i;
        pkt->ol_flags |= (udp ? RTE_MBUF_F_TX_UDP_SEG | RTE_MBUF_F_TX_UDP_CKSUM
                          : RTE_MBUF_F_TX_TCP_SEG);
        if (!v6) {
            pkt->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
        }
        send_with_header(p, pkt, &hdr);

        if (!v6) {
            ovs_assert(fold(add_words(0, ip, 20)) == 0xffff);
        }
        if (!udp) {
            /* Without a length, which each segment has of its own. */
            sum = add_words(IPPROTO_TCP, ip + (v6 ? 8 : 12), v6 ? 32 : 8);
            ovs_assert(get16(ip + pkt->l3_len + 16) == fold(sum));
        }
    }
    ovs_assert(COUNTER(p, dma_packets) == 4);
    port_finish(p);
}

/* It can be longer than the first piece, and be the only one in it. */
static void
test_header_in_pieces(void)
{
    static const uint64_t features[] = {
        GUEST_SPLIT, GUEST_PACKED, GUEST_SPLIT | GUEST_MRG,
        GUEST_PACKED | GUEST_MRG, 0
    };

    start_engines(FAKE_SKELETON, 1, 512);
    atomic_store_relaxed(&vhost_async_policy.threshold, 100);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        for (uint32_t len = 1; len <= 13; len++) {
            bool mrg = features[i] & GUEST_MRG;
            /* Bytes of 12 are those of buffers, or of their pieces. */
            struct port *p = (mrg ? port_create(features[i], 256, len)
                              : port_create_pieces(features[i], 2, 256 / 2,
                                                   len * (256 / 2)));
            uint32_t max = MIN((mrg ? 256 : 128) * len - 12, 200);

            for (uint32_t l = 1; l <= max; l += 33) {
                ovs_assert(port_send_n(p, &pmds[0], 1, l) == 1);
                settle();
                port_get(p, 1);
                guest_ring_offer(&p->guest, UINT32_MAX);
            }
            port_finish(p);
        }
    }
}

/* Without any feature that makes it longer it has 10 bytes, and no number. */
static void
test_short_header(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 512);
    p = port_create(0, 8, 2048);
    ovs_assert(guest_ring_hdr_len(&p->guest) == 10);
    ovs_assert(port_send_n(p, &pmds[0], 1, 100) == 1);
    ovs_assert(port_send_n(p, &pmds[0], 1, 1500) == 1);
    settle();
    port_get(p, 2);
    port_finish(p);
}

static void
test_number_of_buffers(void)
{
    static const uint32_t lens[] = { 60, 500, 501, 1000, 1012, 1013, 9000 };
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 512);
    p = port_create(GUEST_PACKED | GUEST_MRG, 64, 512);
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        ovs_assert(port_send_n(p, &pmds[0], 1, lens[i]) == 1);
        settle();
        port_get(p, 1);
        ovs_assert(p->last.hdr.num_buffers
                   == DIV_ROUND_UP(lens[i] + 12, 512));
        guest_ring_offer(&p->guest, 64);
    }
    port_finish(p);

    p = port_create(GUEST_PACKED, 64, 9100);
    ovs_assert(port_send_n(p, &pmds[0], 1, 9000) == 1);
    settle();
    port_get(p, 1);
    ovs_assert(p->last.hdr.num_buffers == 1);
    port_finish(p);
}

/* Notifications. */

static uint64_t
n_notified(const struct port *p)
{
    return vhost_async_counter(&p->txq->vq.notifications);
}

static void
test_notifications(void)
{
    static const uint64_t features[] = { GUEST_SPLIT | GUEST_MRG,
                                         GUEST_PACKED | GUEST_MRG };

    start_engines(FAKE_SKELETON, 1, 256);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        struct port *p = port_create(features[i], 64, 2048);

        /* Once for what was published at once, by whom it was. */
        ovs_assert(!port_notified(p));
        port_send_n(p, &pmds[0], 3, 100);
        ovs_assert(port_notified(p) == 1);
        port_send_n(p, &pmds[0], 3, 1500);
        ovs_assert(!port_notified(p));
        ovs_assert(work_and_reap(0, 3) == 3);
        ovs_assert(port_notified(p) == 1);
        ovs_assert(n_notified(p) == 2);

        /* Not if the guest does not want to know. */
        if (p->guest.packed) {
            p->guest.event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
        } else {
            p->guest.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
        }
        port_send_n(p, &pmds[0], 1, 100);
        ovs_assert(!port_notified(p));
        p->guest.event->flags = 0;
        p->guest.avail->flags = 0;

        /* Nor if it polls; a new descriptor is used at once. */
        vhost_async_vq_set_callfd(&p->txq->vq, -1);
        port_send_n(p, &pmds[0], 1, 100);
        vhost_async_vq_notify(&p->txq->vq);
        ovs_assert(n_notified(p) == 2);
        vhost_async_vq_set_callfd(&p->txq->vq, dup(p->fd));
        ovs_assert(!port_notified(p));
        vhost_async_vq_notify(&p->txq->vq);
        ovs_assert(port_notified(p) == 1);
        port_send_n(p, &pmds[0], 1, 100);
        ovs_assert(port_notified(p) == 1);
        ovs_assert(n_notified(p) == 4);
        port_finish(p);
    }
}

/* The guest names the buffer at which it wants to be woken. */
static void
test_event_index(void)
{
    static const uint64_t features[] = {
        GUEST_SPLIT | GUEST_MRG | GUEST_EVENT_IDX,
        GUEST_PACKED | GUEST_MRG | GUEST_EVENT_IDX
    };

    start_engines(FAKE_SKELETON, 1, 256);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        struct port *p = port_create(features[i], 64, 2048);

        /* The first look is always answered by one. */
        port_send_n(p, &pmds[0], 1, 100);
        port_notified(p);
        if (p->guest.packed) {
            p->guest.event->flags = VRING_PACKED_EVENT_FLAG_DESC;
            p->guest.event->off_wrap = 1 << VRING_PACKED_EVENT_F_WRAP_CTR | 5;
        } else {
            p->guest.avail->ring[p->guest.size] = 5;
        }
        port_send_n(p, &pmds[0], 2, 100);
        port_send_n(p, &pmds[0], 3, 1500);
        ovs_assert(!port_notified(p));
        ovs_assert(work_and_reap(0, 2) == 2);
        ovs_assert(!port_notified(p));
        ovs_assert(work_and_reap(0, 1) == 1);
        ovs_assert(port_notified(p) == 1);
        port_send_n(p, &pmds[0], 2, 100);
        ovs_assert(!port_notified(p));
        ovs_assert(n_notified(p) == 2);
        port_finish(p);
    }
}

/* Packets that the CPU copies, some of which are as simple as most, in bursts
 * that end anywhere in the ring. */
static void
test_simple_and_others(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    atomic_store_relaxed(&vhost_async_policy.threshold, UINT32_MAX);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 64, 500);

        for (int i = 0; i < 100; i++) {
            struct rte_mbuf *pkts[MAX_BURST];
            uint16_t n = 1 + random_range(40), sent;

            for (uint16_t j = 0; j < n; j++) {
                uint32_t kind = random_range(10);

                pkts[j] = (kind == 0 ? make_pkt(300, 3)
                           : kind == 1 && layout & GUEST_MRG ? make_pkt(900, 1)
                           : make_pkt(2 + random_range(450), 1));
                if (kind == 2 && pkts[j]->pkt_len >= 14) {
                    memset(rte_pktmbuf_mtod(pkts[j], void *), 0xff, 6);
                }
            }
            sent = port_send(p, &pmds[0], pkts, n);
            ovs_assert(sent == n || p->obstacle == VHOST_ASYNC_FULL);
            port_get(p, sent);
            for (uint16_t j = sent; j < n; j++) {
                rte_pktmbuf_free(pkts[j]);
            }
            guest_ring_offer(&p->guest, UINT32_MAX);
        }
        ovs_assert(!COUNTER(p, dma_packets) && COUNTER(p, cpu_packets) > 1000);
        port_finish(p);
    }
}

/* Dirty pages. */

static void
start_logging(struct port *p)
{
    struct vhost_async_txq *txq = p->txq;

    vhost_async_vq_close(&txq->vq);
    if (!vhost_async_txq_drain(txq, rte_get_tsc_cycles())) {
        txq->vq.log_all = true;
    }
    p->guest.setup.log_vid = 7;
    ovs_assert(!vhost_async_vq_start(&txq->vq, &p->guest.setup));
    vhost_async_vq_open(&txq->vq);
    vhost_async_engine_unlock(NULL, txq);
    logging_txq = txq;
    n_logged = 0;
}

static void
check_packet_logged(const struct port *p, uint32_t buf, uint32_t len)
{
    for (uint32_t ofs = 0; ofs < len; ofs += p->guest.piece_len) {
        ovs_assert(is_logged(guest_ring_gpa(&p->guest, buf,
                                            ofs / p->guest.piece_len),
                             1));
    }
}

/* All is copied by CPU, and logged before it is published. */
static void
test_log(void)
{
    static const uint64_t features[] = { GUEST_SPLIT, GUEST_PACKED };

    start_engines(FAKE_SKELETON, 1, 256);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        struct port *p = port_create_pieces(features[i], 8, 4, 2000);
        struct rte_mbuf *pkts[2] = { make_pkt(1500, 3), make_pkt(60, 1) };

        start_logging(p);
        ovs_assert(port_send(p, &pmds[0], pkts, 2) == 2);
        ovs_assert(!COUNTER(p, dma_packets));
        port_get(p, 2);
        check_packet_logged(p, 0, 1512);
        check_packet_logged(p, 1, 72);
        ovs_assert(is_logged(guest_ring_gpa(&p->guest, 0, 0), 12));
        for (uint32_t ofs = 12, n; ofs < 1512; ofs += n) {
            n = MIN(500 - ofs % 500, 1512 - ofs);
            /* As the source and the target are cut. */
            for (uint32_t j = 0; j < n; j++) {
                ovs_assert(is_logged(guest_ring_gpa(&p->guest, 0, 0)
                                     + ofs + j, 1));
            }
        }
        ovs_assert(!is_logged(guest_ring_gpa(&p->guest, 0, 0) + 1512, 1));
        /* And what was written to the ring. */
        if (p->guest.packed) {
            ovs_assert(is_logged(GUEST_GPA, 16));
        } else {
            ovs_assert(is_logged(GUEST_GPA + 2 * GUEST_AREA + 2, 2));
            ovs_assert(is_logged(GUEST_GPA + 2 * GUEST_AREA + 4, 16));
        }
        port_finish(p);
    }
}

/* What a migration has that sends a page as soon as it is logged is what the
 * guest has: each write is logged, after it is done, and that to a buffer
 * before the guest can use it.  Of what the CPU copies, in bursts of one. */
static void
test_log_order(void)
{
    uint64_t layout;

    start_engines(FAKE_SKELETON, 1, 256);
    FOR_EACH_LAYOUT (layout) {
        struct port *p = port_create(layout, 8, 500);

        start_logging(p);
        migrating = &p->guest;
        migrated = xmemdup(p->guest.mem, p->guest.mem_size);
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t len = 60 + i * (layout & GUEST_MRG ? 70 : 10);
            struct rte_mbuf *pkt = make_pkt(len, 1 + i % 3);

            ovs_assert(port_send(p, &pmds[0], &pkt, 1) == 1);
            ovs_assert(!memcmp(migrated, p->guest.mem, p->guest.mem_size));
            port_get(p, 1);
            guest_ring_offer(&p->guest, UINT32_MAX);
            /* What the guest writes itself, its host knows of. */
            memcpy(migrated, p->guest.mem, p->guest.mem_size);
            n_logged = 0;
        }
        free(migrated);
        migrated = NULL;
        port_finish(p);
    }
}

/* What was in flight when logging began may be anywhere: each time that some
 * of it is published all of memory is logged, before that. */
static void
test_log_of_copies_in_flight(void)
{
    static const uint64_t features[] = { GUEST_SPLIT | GUEST_MRG,
                                         GUEST_PACKED | GUEST_MRG };

    start_engines(FAKE_SKELETON, 1, 256);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        struct port *p = port_create(features[i], 16, 2048);
        uint64_t size = p->guest.mem_size;

        ovs_assert(port_send_n(p, &pmds[0], 4, 1500) == 4);
        ovs_assert(work_and_reap(0, 1) == 1);
        start_logging(p);
        ovs_assert(!is_logged(GUEST_GPA, size));
        for (int j = 0; j < 3; j++) {
            port_send_n(p, &pmds[0], 1, 1500);
            ovs_assert(COUNTER(p, cpu_packets) == j + 1);
            n_logged = 0;
            ovs_assert(work_and_reap(0, 1) == 1);
            ovs_assert(is_logged(GUEST_GPA, size));
            if (!j) {
                ovs_assert(published_when_logged == 1);
            }
        }
        port_get(p, 7);
        n_logged = 0;
        port_send_n(p, &pmds[0], 1, 1500);
        port_get(p, 1);
        ovs_assert(n_logged && !is_logged(GUEST_GPA, size));
        port_finish(p);
    }
}

/* Counters. */

/* As vhost_queue_stats_update() has them (DPDK 22.11, lib/vhost). */
static void
test_counters_of_the_library(void)
{
    static const struct {
        uint32_t len;
        int bin;
    } tests[] = {
        { 20, 0 }, { 63, 0 }, { 64, 1 }, { 65, 2 }, { 127, 2 }, { 128, 3 },
        { 255, 3 }, { 256, 4 }, { 511, 4 }, { 512, 5 }, { 1023, 5 },
        { 1024, 6 }, { 1518, 6 }, { 1519, 7 }, { 9000, 7 },
    };
    uint64_t bins[8] = { 0 };
    struct rte_mbuf *pkt;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(GUEST_SPLIT | GUEST_MRG, 64, 2048);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
        port_send_n(p, &pmds[0], 1, tests[i].len);
        bins[tests[i].bin]++;
        for (int j = 0; j < 8; j++) {
            ovs_assert(COUNTER(p, size_bins[j]) == bins[j]);
        }
    }
    ovs_assert(!COUNTER(p, multicast) && !COUNTER(p, broadcast));
    for (int i = 0; i < 3; i++) {
        pkt = make_pkt(i ? 1500 : 100, 1);
        memset(rte_pktmbuf_mtod(pkt, void *), 0xff, 6);
        if (i == 2) {
            *rte_pktmbuf_mtod(pkt, uint8_t *) = 1;
        }
        port_send(p, &pmds[0], &pkt, 1);
        ovs_assert(COUNTER(p, broadcast) == MIN(i + 1, 2));
        ovs_assert(COUNTER(p, multicast) == (i == 2));
    }
    /* What is not taken is not counted. */
    pkt = make_pkt(65536 - 1, 1);
    memset(rte_pktmbuf_mtod(pkt, void *), 0xff, 6);
    while (port_send(p, &pmds[0], (struct rte_mbuf *[]) {
                         make_pkt(9000, 1) }, 1)) {
        bins[7]++;
    }
    ovs_assert(!port_send(p, &pmds[0], &pkt, 1));
    ovs_assert(COUNTER(p, broadcast) == 2);
    ovs_assert(COUNTER(p, size_bins[7]) == bins[7]);
    port_finish(p);
}

static void
test_memory(void)
{
    struct port *small, *large;
    size_t n;

    start_engines(FAKE_SKELETON, 1, 256);
    small = port_create(GUEST_SPLIT, 16, 100);
    large = port_create(GUEST_SPLIT, 1024, 100);
    n = vhost_async_txq_memory(small->txq);
    ovs_assert(n > sizeof *small->txq + 16 * sizeof(struct rte_mbuf *));
    ovs_assert(vhost_async_txq_memory(large->txq)
               == n + 1008 * (sizeof(struct vhost_async_pkt)
                              + sizeof(struct vhost_vring_chain)));
    port_finish(small);
    port_finish(large);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(checksum_offload),
    DMA_TEST_CASE(ip_checksum),
    DMA_TEST_CASE(segmentation_offload),
    DMA_TEST_CASE(header_in_pieces),
    DMA_TEST_CASE(short_header),
    DMA_TEST_CASE(number_of_buffers),
    DMA_TEST_CASE(notifications),
    DMA_TEST_CASE(event_index),
    DMA_TEST_CASE(simple_and_others),
    DMA_TEST_CASE(log),
    DMA_TEST_CASE(log_of_copies_in_flight),
    DMA_TEST_CASE(log_order),
    DMA_TEST_CASE(counters_of_the_library),
    DMA_TEST_CASE(memory),
};

static void
test_vhost_txq_guest_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-txq-guest", test_vhost_txq_guest_main);
