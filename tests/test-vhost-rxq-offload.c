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

/* Tests of what guests ask for in the headers of packets (lib/vhost-net-
 * offload.h), in both ways to say it, as far as they may. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_rxq_offload_##NAME
#include "vhost-rxq-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

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

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(offloads_legacy),
    DMA_TEST_CASE(offloads_compliant),
    DMA_TEST_CASE(offloads_not_negotiated),
};

static void
test_vhost_rxq_offload_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-rxq-offload", test_vhost_rxq_offload_main);
