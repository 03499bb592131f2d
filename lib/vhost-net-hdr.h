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

#ifndef VHOST_NET_HDR_H
#define VHOST_NET_HDR_H 1

/* The header that stands before each packet in a guest's receive buffers:
 * struct virtio_net_hdr (Virtual I/O Device 1.2, section 5.1.6), made of the
 * offloads that an mbuf asks for.
 *
 * Called by vhost-async-copy.c, for one packet after the other.  The flags of
 * an mbuf that is sent mean the same with every release of OVS: the compliant
 * and the legacy ones (RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS) differ for
 * packets that come from the guest. */

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "util.h"

/* With num_buffers, whether it is used or not; without, the first 10 bytes. */
BUILD_ASSERT_DECL(sizeof(struct virtio_net_hdr_mrg_rxbuf) == 12);

/* Fills in '*hdr' for 'pkt', which asks for offloads.  Checksums that the
 * guest is not told to compute are written to 'pkt', hence before it is
 * copied. */
static inline void
vhost_net_hdr_offload(struct virtio_net_hdr *hdr, struct rte_mbuf *pkt)
{
    uint64_t flags = pkt->ol_flags;
    uint64_t l4 = flags & RTE_MBUF_F_TX_L4_MASK;

    if (flags & RTE_MBUF_F_TX_TCP_SEG) {
        l4 = RTE_MBUF_F_TX_TCP_CKSUM;
    }
    if (l4) {
        /* The guest completes a checksum that begins with that of the pseudo
         * header (5.1.6.2).  An error leaves a wrong one, which the guest
         * finds. */
        rte_net_intel_cksum_prepare(pkt);
        hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        hdr->csum_start = pkt->l2_len + pkt->l3_len;
        hdr->csum_offset = (l4 == RTE_MBUF_F_TX_TCP_CKSUM
                            ? offsetof(struct rte_tcp_hdr, cksum)
                            : l4 == RTE_MBUF_F_TX_UDP_CKSUM
                            ? offsetof(struct rte_udp_hdr, dgram_cksum)
                            : offsetof(struct rte_sctp_hdr, cksum));
    }
    if (flags & RTE_MBUF_F_TX_IP_CKSUM) {
        struct rte_ipv4_hdr *ip;

        ip = rte_pktmbuf_mtod_offset(pkt, struct rte_ipv4_hdr *, pkt->l2_len);
        ip->hdr_checksum = 0;
        ip->hdr_checksum = rte_ipv4_cksum(ip);
    }
    if (flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) {
        hdr->gso_type = (!(flags & RTE_MBUF_F_TX_TCP_SEG)
                         ? VIRTIO_NET_HDR_GSO_UDP
                         : flags & RTE_MBUF_F_TX_IPV4
                         ? VIRTIO_NET_HDR_GSO_TCPV4
                         : VIRTIO_NET_HDR_GSO_TCPV6);
        hdr->gso_size = pkt->tso_segsz;
        hdr->hdr_len = pkt->l2_len + pkt->l3_len + pkt->l4_len;
    }
}

/* Whether the header of 'pkt' tells of offloads. */
static inline bool
vhost_net_hdr_has_offloads(const struct rte_mbuf *pkt)
{
    return pkt->ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IP_CKSUM
                            | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG);
}

/* Makes '*hdr' the header of 'pkt', which fills 'n_buffers' of the guest's. */
static inline void
vhost_net_hdr_make(struct virtio_net_hdr_mrg_rxbuf *hdr, struct rte_mbuf *pkt,
                   uint16_t n_buffers)
{
    memset(hdr, 0, sizeof *hdr);
    hdr->num_buffers = n_buffers;
    if (OVS_UNLIKELY(vhost_net_hdr_has_offloads(pkt))) {
        vhost_net_hdr_offload(&hdr->hdr, pkt);
    }
}

/* Writes the header of 'pkt', which fills 'n_buffers' of the guest's, to 'to',
 * at any address.  Where that is the guest's, nothing is read from it.
 *
 * A header that is made elsewhere is read again in other pieces than it was
 * written in, which the core waits for: most of the time it is not. */
static inline void
vhost_net_hdr_write(uint8_t *to, struct rte_mbuf *pkt, uint16_t n_buffers)
{
    struct virtio_net_hdr_mrg_rxbuf hdr;

    if (OVS_UNLIKELY(vhost_net_hdr_has_offloads(pkt))) {
        vhost_net_hdr_make(&hdr, pkt, n_buffers);
        memcpy(to, &hdr, sizeof hdr);
    } else {
        memset(to, 0, sizeof hdr);
        memcpy(to + offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers),
               &n_buffers, sizeof n_buffers);
    }
}

/* Returns which counter of sizes, as the vhost library has them
 * (vhost_vq_stat_strings[], 22.11), a packet of 'len' bytes is for: below 64
 * bytes, 64, then up to the next power of two, the last one of which is 2048
 * cut short at 1518, and above.  Without branches: sizes of packets are what
 * no core predicts. */
static inline unsigned int
vhost_net_size_bin(uint32_t len)
{
    unsigned int bin = (MIN(27 - __builtin_clz(len | 64), 6) + (len > 1518)
                        - (len == 64));

    return len < 64 ? 0 : bin;
}

#endif /* vhost-net-hdr.h */
