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

/* Measures what receiving from a guest costs.
 *
 * The guest sends by the first virtqueue of the first port.  Whether what it
 * sends is in the cache of the core or not is seen to before each round; what
 * was received is freed off the clock, since who sends it on pays for that. */

#include <config.h>

#include "bench-receive.h"

#include <string.h>

#include <rte_mbuf.h>

#include "bench-async.h"
#include "bench-guest.h"
#include "bench-measure.h"
#include "bench-port.h"
#include "bench-vhost.h"
#include "dp-packet.h"
#include "netdev.h"
#include "ovs-rcu.h"
#include "util.h"

/* Bytes of a packet that are there whatever the engine is: the rest is not, if
 * it moves none. */
#define CHECKED_WITHOUT_COPY 64

static struct netdev_rxq *rxq;
static struct dp_packet_batch received;

static struct guest *
sender(void)
{
    return &bench_ports[0].guest;
}

static void
open_rxq(void)
{
    if (!settings.receive) {
        fail("nothing can be received without --receive");
    }
    if (!rxq && netdev_rxq_open(bench_ports[0].netdev, &rxq, 0)) {
        fail("cannot open an rxq");
    }
}

/* Returns the number of packets in 'received'. */
static inline ALWAYS_INLINE unsigned int
receive_batch(void)
{
    dp_packet_batch_init(&received);
    return netdev_rxq_recv(rxq, &received, NULL) ? 0 : received.count;
}

/* What is on the clock of an iteration. */
static inline ALWAYS_INLINE unsigned int
iterate(uint64_t start)
{
    unsigned int n = receive_batch();

    async_reap(start);
    return n;
}

static void
free_batch(void)
{
    for (unsigned int i = 0; i < received.count; i++) {
        rte_pktmbuf_free(&received.packets[i]->mbuf);
    }
}

/* Has packets 'i' to 'i' + 'n' - 1 be in the cache, or out of it. */
static void
prepare_packets(unsigned int n, uint32_t size, bool is_cold)
{
    for (unsigned int i = 0; i < n; i++) {
        const uint8_t *p = guest_packet(sender(), i) - HDR_LEN;

        for (uint32_t ofs = 0; ofs < HDR_LEN + size; ofs += 64) {
            if (is_cold) {
                _mm_clflush(p + ofs);
            } else {
                (void) *(const volatile uint8_t *) (p + ofs);
            }
        }
    }
    _mm_mfence();
}

static void
await_buffers(void)
{
    uint64_t end = deadline();

    while (!guest_has_all_back(sender())) {
        if (iterate(rte_get_tsc_cycles())) {
            fail("more packets came than the guest sent");
        }
        if (rte_get_tsc_cycles() > end) {
            fail("buffers of the guest do not come back");
        }
    }
}

/* Makes the packet at 'data', all zeros, TCP, with a checksum that the guest
 * leaves to others, as Linux does. */
static void
ask_checksum(uint8_t *data)
{
    struct virtio_net_hdr_mrg_rxbuf *hdr = (void *) (data - HDR_LEN);
    uint8_t *ip = data + ETH_HEADER_LEN;

    hdr->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    hdr->hdr.csum_start = ETH_HEADER_LEN + IP_HEADER_LEN;
    hdr->hdr.csum_offset = offsetof(struct tcp_header, tcp_csum);
    data[offsetof(struct eth_header, eth_type)] = ETH_TYPE_IP >> 8;
    ip[offsetof(struct ip_header, ip_ihl_ver)] = 0x45;
    ip[offsetof(struct ip_header, ip_proto)] = IPPROTO_TCP;
    ip[IP_HEADER_LEN + offsetof(struct tcp_header, tcp_ctl)]
        = TCP_HEADER_LEN / 4 << 4;
}

/* Sends packets and looks whether they arrive as they are. */
static void
check_received(const struct params *p)
{
    uint32_t len = settings.no_copy ? CHECKED_WITHOUT_COPY : p->size;
    uint64_t end = deadline();
    uint32_t i = 0, n = 0;

    for (uint32_t k = 0; k < GUEST_MAX_SENT; k++) {
        uint8_t *data = guest_packet(sender(), k);

        memset(data - HDR_LEN, 0, HDR_LEN + HEADERS_LEN);
        if (settings.tso) {
            ask_checksum(data);
        }
        for (uint32_t j = HEADERS_LEN; j < p->size; j++) {
            data[j] = pattern(k, j);
        }
    }
    while (i < GUEST_MAX_SENT) {
        if (i == n) {
            n += MIN(p->burst, GUEST_MAX_SENT - n);
            guest_send(sender(), i, n - i, p->size);
        }
        iterate(rte_get_tsc_cycles());
        for (unsigned int j = 0; j < received.count; j++, i++) {
            struct rte_mbuf *mbuf = &received.packets[j]->mbuf;

            if (mbuf->pkt_len != p->size
                || memcmp(rte_pktmbuf_mtod(mbuf, uint8_t *),
                          guest_packet(sender(), i),
                          MIN(len, mbuf->data_len))) {
                fail("packet %u of %u bytes was received with %u, or wrong",
                     i, p->size, mbuf->pkt_len);
            }
        }
        free_batch();
        ovsrcu_quiesce();
        if (rte_get_tsc_cycles() > end) {
            fail("packet %u of %u bytes is not received", i, p->size);
        }
    }
    await_buffers();
}

static uint64_t
receive_round(const struct params *p, unsigned int total, uint64_t *idle)
{
    uint64_t cycles = 0, end = deadline();
    unsigned int n_sent = 0, n = 0;

    prepare_packets(total, p->size, p->is_cold);
    *idle = 0;
    async_came_back();
    while (n < total) {
        unsigned int n_offered = MIN(p->burst, total - n_sent), n_new;
        uint64_t start, stop;

        guest_send(sender(), n_sent, n_offered, p->size);
        n_sent += n_offered;

        start = clock_read();
        n_new = iterate(start);
        stop = clock_read();
        *(n_offered || n_new || async_came_back() ? &cycles : idle)
            += stop - start - clock_cost;

        free_batch();
        n += n_new;
        be_busy(stop, p->work * n_new);
        if (stop > end) {
            fail("packet %u of %u is not received", n, total);
        }
    }
    await_buffers();
    ovsrcu_quiesce();
    return cycles;
}

/* As measure_run() for sending. */
void
measure_receive(const struct params *p)
{
    unsigned int total = GUEST_MAX_SENT;

    open_rxq();
    async_apply_threshold(p->threshold);
    check_received(p);
    if (!p->is_cold) {
        total = MIN(total, MAX(WARM_BYTES / p->size, p->burst));
    }
    measure_rounds(p, total - total % p->burst, receive_round);
}

/* The time from when the guest sends a packet to when the PMD thread has it,
 * one packet at a time, in microseconds. */
void
measure_receive_latency(const struct params *p)
{
    double *samples = xmalloc(p->n * sizeof *samples);
    double hz = rte_get_tsc_hz() / 1e6;

    open_rxq();
    async_apply_threshold(p->threshold);
    check_received(p);
    for (int i = 0; i < p->n; i++) {
        uint64_t start, stop, end = deadline();

        prepare_packets(1, p->size, p->is_cold);
        start = clock_read();
        guest_send(sender(), 0, 1, p->size);
        while (!iterate(__rdtsc())) {
            be_busy(__rdtsc(), p->work);
            if (__rdtsc() > end) {
                fail("a packet is not received");
            }
        }
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / hz;
        free_batch();
        await_buffers();
        ovsrcu_quiesce();
    }
    print_latencies(samples, p->n);
    free(samples);
}
