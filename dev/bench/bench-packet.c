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

/* Makes packets as a PMD thread has them when it sends: received, classified,
 * and in the cache or not. */

#include <config.h>

#include "bench-packet.h"

#include <string.h>

#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mempool.h>

#include "bench-vhost.h"
#include "dp-packet.h"
#include "packets.h"
#include "util.h"

/* Mbufs that wait their turn when packets are to be out of the cache, at
 * most, and bytes of packets among which they are. */
#define COLD_MAX 8192
#define COLD_BYTES (48u << 20)

struct pool {
    struct rte_mempool *mp;
    unsigned int room;
};

static struct pool pools[3];

/* Packets that wait to get cold, first in, first out. */
static struct rte_mbuf *cold[COLD_MAX];
static unsigned int cold_size, cold_n, cold_head;
static uint32_t cold_len;

static void
init_mbuf(struct rte_mempool *mp OVS_UNUSED, void *arg OVS_UNUSED, void *mbuf,
          unsigned int i OVS_UNUSED)
{
    dp_packet_init_dpdk((struct dp_packet *) mbuf);
}

static void
pool_create(struct pool *pool, const char *name, unsigned int n,
            unsigned int room)
{
    pool->room = room;
    /* As dpdk_mp_create() does. */
    pool->mp = rte_pktmbuf_pool_create(
        name, n, RTE_MEMPOOL_CACHE_MAX_SIZE,
        sizeof(struct dp_packet) - sizeof(struct rte_mbuf),
        room ? room + RTE_PKTMBUF_HEADROOM : 0, 0);
    if (!pool->mp) {
        fail("no memory for packets: %s", rte_strerror(rte_errno));
    }
    rte_mempool_obj_iter(pool->mp, init_mbuf, NULL);
}

void
packets_init(void)
{
    pool_create(&pools[0], "bench-small", COLD_MAX + 4 * 1024, 2048);
    pool_create(&pools[1], "bench-large", COLD_MAX / 2 + 2 * 1024, 9216);
    pool_create(&pools[2], "bench-extbuf", COLD_MAX, 0);
}

static void
free_extbuf(void *addr OVS_UNUSED, void *buf)
{
    rte_free(buf);
}

/* A packet that does not fit into mbufs has its bytes elsewhere, as the vhost
 * library does it for OVS when a guest sends 64 KiB. */
static void
attach_extbuf(struct rte_mbuf *mbuf, uint32_t size)
{
    uint32_t total = size + RTE_PKTMBUF_HEADROOM
                     + sizeof(struct rte_mbuf_ext_shared_info)
                     + sizeof(uintptr_t);
    uint16_t len = MIN(total, UINT16_MAX);
    struct rte_mbuf_ext_shared_info *shinfo;
    void *buf;

    if (total > UINT16_MAX) {
        fail("a packet of %u bytes is too long", size);
    }
    buf = rte_malloc(NULL, len, RTE_CACHE_LINE_SIZE);
    if (!buf) {
        fail("no memory for packets");
    }
    shinfo = rte_pktmbuf_ext_shinfo_init_helper(buf, &len, free_extbuf, buf);
    rte_pktmbuf_attach_extbuf(mbuf, buf, rte_malloc_virt2iova(buf), len,
                              shinfo);
    rte_pktmbuf_reset_headroom(mbuf);
}

static struct rte_mbuf *
alloc_mbuf(uint32_t size)
{
    struct pool *pool = &pools[0];
    struct rte_mbuf *mbuf;

    while (pool->room && size > pool->room) {
        pool++;
    }
    mbuf = rte_pktmbuf_alloc(pool->mp);
    if (!mbuf) {
        fail("no packets left");
    }
    if (!pool->room) {
        attach_extbuf(mbuf, size);
    }
    return mbuf;
}

/* Asks for segmentation and the checksum of TCP: by DPDK's flags with Open
 * vSwitch 3.1 and 3.5, by its own with 4.0. */
static void
ask_offloads(struct dp_packet *packet)
{
#ifdef DEF_OL_FLAG
    packet->mbuf.ol_flags |= (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4
                              | RTE_MBUF_F_TX_TCP_CKSUM);
#else
    dp_packet_l4_proto_set_tcp(packet);
    dp_packet_l4_checksum_set_partial(packet);
#endif
}

/* What receiving and classifying a packet leaves: the first bytes were looked
 * at, and metadata were written. */
static void
fill_headers(struct rte_mbuf *mbuf, uint32_t size)
{
    struct dp_packet *packet = CONTAINER_OF(mbuf, struct dp_packet, mbuf);
    uint8_t *p = rte_pktmbuf_mtod(mbuf, uint8_t *);

    mbuf->data_len = mbuf->pkt_len = size;
    mbuf->ol_flags &= RTE_MBUF_F_EXTERNAL;
    memset(p, 0, HEADERS_LEN);
    dp_packet_reset_offsets(packet);
    dp_packet_set_l3(packet, p + ETH_HEADER_LEN);
    dp_packet_set_l4(packet, p + ETH_HEADER_LEN + IP_HEADER_LEN);
    ((struct eth_header *) dp_packet_eth(packet))->eth_type
        = htons(ETH_TYPE_IP);
    ((struct ip_header *) dp_packet_l3(packet))->ip_ihl_ver = 0x45;
    if (settings.tso) {
        struct tcp_header *tcp = dp_packet_l4(packet);

        tcp->tcp_ctl = TCP_CTL(0, TCP_HEADER_LEN / 4);
        mbuf->tso_segsz = ETH_PAYLOAD_MAX - IP_HEADER_LEN - TCP_HEADER_LEN;
        ask_offloads(packet);
    }
}

static void
cold_flush(void)
{
    while (cold_n) {
        rte_pktmbuf_free(cold[cold_head++ % cold_size]);
        cold_n--;
    }
}

/* Returns a packet of 'size' bytes, whose bytes but for the headers are in no
 * cache of the core if 'is_cold'. */
struct rte_mbuf *
make_packet(uint32_t size, bool is_cold)
{
    struct rte_mbuf *mbuf = alloc_mbuf(size);

    if (is_cold) {
        if (cold_len != size) {
            cold_flush();
            cold_len = size;
            cold_head = 0;
            cold_size = MIN(MAX(COLD_BYTES / size, 512),
                            size > 2048 ? COLD_MAX / 2 : COLD_MAX);
        }
        while (cold_n < cold_size) {
            cold[(cold_head + cold_n++) % cold_size] = mbuf;
            mbuf = alloc_mbuf(size);
        }
        struct rte_mbuf *next = cold[cold_head % cold_size];

        cold[cold_head++ % cold_size] = mbuf;
        mbuf = next;
    }
    fill_headers(mbuf, size);
    return mbuf;
}
