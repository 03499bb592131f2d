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

#ifndef VHOST_NET_OFFLOAD_H
#define VHOST_NET_OFFLOAD_H 1

/* What a guest asks for in the header of a packet that it sends: checksums and
 * segmentation (Virtual I/O Device 1.2, section 5.1.6.2), as flags of an mbuf.
 *
 * There are two ways to say it, of which the vhost library has one by
 * RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS (rte_vhost_driver_register(), 22.11 to
 * 26.07): the legacy one, by flags of packets that are to be sent, and the
 * compliant one, by flags of packets that were received.  Here is what the
 * library does, as users of the port expect it.
 *
 * Called by vhost-async-receive.c, for one packet after the other. */

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "util.h"

/* Whether 'hdr' asks for something. */
static inline bool
vhost_net_offload_asked(const struct virtio_net_hdr *hdr)
{
    return hdr->flags || hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE;
}

/* The same of a header at 'p', which the guest can change: what is done about
 * it is up to a copy. */
static inline bool
vhost_net_offload_peek(const uint8_t *p)
{
    return (p[offsetof(struct virtio_net_hdr, flags)]
            | p[offsetof(struct virtio_net_hdr, gso_type)]);
}

/* Finds the headers of 'm' within its first 'avail' bytes, and sets the
 * lengths and the flag of the one of layer 3.  Returns the protocol of layer
 * 4, whose header is there, too, or -1. */
static inline int
vhost_net_offload_parse(struct rte_mbuf *m, uint32_t avail)
{
    const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);
    uint32_t l2_len = sizeof(struct rte_ether_hdr), l3_len, l4_len;
    rte_be16_t type;
    uint64_t flag;
    int proto;

    if (avail < l2_len) {
        return -1;
    }
    memcpy(&type, data + l2_len - sizeof type, sizeof type);
    if (type == htons(RTE_ETHER_TYPE_VLAN)) {
        l2_len += sizeof(struct rte_vlan_hdr);
        if (avail < l2_len) {
            return -1;
        }
        memcpy(&type, data + l2_len - sizeof type, sizeof type);
    }
    if (type == htons(RTE_ETHER_TYPE_IPV4)
        && avail >= l2_len + sizeof(struct rte_ipv4_hdr)) {
        l3_len = (data[l2_len] & 0xf) * 4;
        proto = data[l2_len + offsetof(struct rte_ipv4_hdr, next_proto_id)];
        flag = RTE_MBUF_F_TX_IPV4;
    } else if (type == htons(RTE_ETHER_TYPE_IPV6)
               && avail >= l2_len + sizeof(struct rte_ipv6_hdr)) {
        l3_len = sizeof(struct rte_ipv6_hdr);
        proto = data[l2_len + offsetof(struct rte_ipv6_hdr, proto)];
        flag = RTE_MBUF_F_TX_IPV6;
    } else {
        return -1;
    }
    l4_len = (proto == IPPROTO_TCP ? sizeof(struct rte_tcp_hdr)
              : proto == IPPROTO_UDP ? sizeof(struct rte_udp_hdr)
              : proto == IPPROTO_SCTP ? sizeof(struct rte_sctp_hdr)
              : UINT16_MAX);
    if (avail < l2_len + l3_len + l4_len) {
        return -1;
    }
    m->l2_len = l2_len;
    m->l3_len = l3_len;
    m->ol_flags |= flag;
    return proto;
}

/* Returns the flag for a checksum of 'proto' at 'offset' in its header, 0 if
 * there is none. */
static inline uint64_t
vhost_net_offload_cksum(int proto, uint16_t offset)
{
    if (proto == IPPROTO_TCP && offset == offsetof(struct rte_tcp_hdr,
                                                   cksum)) {
        return RTE_MBUF_F_TX_TCP_CKSUM;
    } else if (proto == IPPROTO_UDP
               && offset == offsetof(struct rte_udp_hdr, dgram_cksum)) {
        return RTE_MBUF_F_TX_UDP_CKSUM;
    } else if (proto == IPPROTO_SCTP
               && offset == offsetof(struct rte_sctp_hdr, cksum)) {
        return RTE_MBUF_F_TX_SCTP_CKSUM;
    }
    return 0;
}

static inline bool
vhost_net_offload_legacy_flags(const struct virtio_net_hdr *hdr,
                               struct rte_mbuf *m, uint32_t avail)
{
    int proto = vhost_net_offload_parse(m, avail);
    uint32_t l4 = m->l2_len + m->l3_len;

    if (proto < 0) {
        return false;
    }
    if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        uint64_t flag = vhost_net_offload_cksum(proto, hdr->csum_offset);

        if (!flag || hdr->csum_start != l4) {
            return false;
        }
        m->ol_flags |= flag;
    }
    switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
    case VIRTIO_NET_HDR_GSO_TCPV6:
        if (proto != IPPROTO_TCP) {
            return false;
        }
        /* The upper half of a byte is the length in words. */
        m->l4_len = (*rte_pktmbuf_mtod_offset(
                         m, const uint8_t *,
                         l4 + offsetof(struct rte_tcp_hdr, data_off))
                     & 0xf0) >> 2;
        m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
        break;
    case VIRTIO_NET_HDR_GSO_UDP:
        if (proto != IPPROTO_UDP) {
            return false;
        }
        m->l4_len = sizeof(struct rte_udp_hdr);
        m->ol_flags |= RTE_MBUF_F_TX_UDP_SEG;
        break;
    default:
        return false;
    }
    m->tso_segsz = hdr->gso_size;
    return hdr->gso_size && avail >= l4 + m->l4_len;
}

/* Has the flags of 'm' ask for what 'hdr' does, in the legacy way.  The first
 * 'avail' bytes of 'm' are there.  Returns false, and asks for nothing, if
 * that does not fit what they are; more may tell. */
static inline bool
vhost_net_offload_legacy(const struct virtio_net_hdr *hdr, struct rte_mbuf *m,
                         uint32_t avail)
{
    bool ok = vhost_net_offload_legacy_flags(hdr, m, avail);

    if (!ok) {
        m->ol_flags &= RTE_MBUF_F_EXTERNAL;
        m->tx_offload = 0;
        m->tso_segsz = 0;
    }
    return ok;
}

/* Computes the checksum that 'hdr' asks for in software, since nobody further
 * on would know where it is.  All of 'm' is there. */
static inline void
vhost_net_offload_sw_cksum(const struct virtio_net_hdr *hdr,
                           struct rte_mbuf *m)
{
    uint32_t at = hdr->csum_start + hdr->csum_offset;
    uint16_t sum = 0;

    if (hdr->csum_start < m->pkt_len && at + sizeof sum <= m->data_len
        && !rte_raw_cksum_mbuf(m, hdr->csum_start,
                               m->pkt_len - hdr->csum_start, &sum)) {
        if (sum != UINT16_MAX) {
            sum = ~sum;
        }
        memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, at), &sum, sizeof sum);
    }
}

/* Has the flags of 'm' ask for what 'hdr' does, in the compliant way.  All of
 * 'm' is there if 'whole', else its first 'm->data_len' bytes.  Returns false,
 * and asks for nothing, if more of it is needed. */
static inline bool
vhost_net_offload_compliant(const struct virtio_net_hdr *hdr,
                            struct rte_mbuf *m, bool whole)
{
    struct rte_net_hdr_lens lens;
    uint32_t type = rte_net_get_ptype(m, &lens, RTE_PTYPE_ALL_MASK);
    uint32_t l4 = type & RTE_PTYPE_L4_MASK;
    bool known = (l4 == RTE_PTYPE_L4_TCP || l4 == RTE_PTYPE_L4_UDP
                  || l4 == RTE_PTYPE_L4_SCTP);
    uint8_t gso = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
    uint64_t flags = RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN;

    if (!known && !whole) {
        return false;
    }
    if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if (known
            && hdr->csum_start <= lens.l2_len + lens.l3_len + lens.l4_len) {
            flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
        } else if (!whole) {
            return false;
        } else {
            vhost_net_offload_sw_cksum(hdr, m);
        }
    }
    if (hdr->gso_size
        && (((gso == VIRTIO_NET_HDR_GSO_TCPV4
              || gso == VIRTIO_NET_HDR_GSO_TCPV6) && l4 == RTE_PTYPE_L4_TCP)
            || (gso == VIRTIO_NET_HDR_GSO_UDP && l4 == RTE_PTYPE_L4_UDP))) {
        flags |= RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE;
        m->tso_segsz = hdr->gso_size;
    }
    m->packet_type = type;
    m->ol_flags |= flags;
    return true;
}

#endif /* vhost-net-offload.h */
