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

/* Sends, reaps and counts the cycles of both. */

#include <config.h>

#include "bench-measure.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include "bench-async.h"
#include "bench-guest.h"
#include "bench-packet.h"
#include "bench-port.h"
#include "bench-vhost.h"
#include "dp-packet.h"
#include "netdev.h"
#include "ovs-rcu.h"
#include "util.h"

uint64_t clock_cost;

void
clock_calibrate(void)
{
    clock_cost = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t start = clock_read();
        uint64_t cost = clock_read() - start;

        clock_cost = MIN(clock_cost, cost);
    }
}

/* The txqs that a measurement uses, in turn. */
static struct guest_vq *
nth_txq(unsigned int i, struct port **port, int *qid)
{
    *port = &bench_ports[i / settings.n_pairs];
    *qid = i % settings.n_pairs;
    return (*port)->guest.rxqs + *qid;
}

static struct dp_packet_batch batch;

static inline ALWAYS_INLINE void
batch_init(struct rte_mbuf **mbufs, unsigned int n)
{
    dp_packet_batch_init(&batch);
    for (int i = 0; i < n; i++) {
        batch.packets[i] = CONTAINER_OF(mbufs[i], struct dp_packet, mbuf);
    }
    batch.count = n;
}

static inline ALWAYS_INLINE void
send_batch(struct port *port, int qid)
{
    netdev_send(port->netdev, qid, &batch, false);
    async_after_send();
}

static void
drain_uncounted(void)
{
    uint64_t end = deadline();

    while (async_is_busy()) {
        async_reap(rte_get_tsc_cycles());
        if (rte_get_tsc_cycles() > end) {
            fail("copies do not complete");
        }
    }
}

/* Sends packets and looks whether they arrive, byte by byte if 'contents'. */
static void
check_arrival(const struct params *p, bool contents)
{
    struct rte_mbuf *mbufs[MAX_BURST];

    for (uint32_t k = 0; k < MAX(p->spread, 3); k++) {
        struct guest_vq *q;
        struct port *port;
        int qid;

        q = nth_txq(k % p->spread, &port, &qid);
        for (uint32_t i = 0; i < p->burst; i++) {
            uint8_t *data;

            mbufs[i] = make_packet(p->size, p->is_cold);
            data = rte_pktmbuf_mtod(mbufs[i], uint8_t *);
            for (uint32_t j = HEADERS_LEN; j < p->size; j++) {
                data[j] = pattern(k + i, j);
            }
        }
        batch_init(mbufs, p->burst);
        send_batch(port, qid);
        drain_uncounted();
        for (uint32_t i = 0; i < p->burst; i++) {
            uint32_t seq = k + i;

            if (!guest_receive(q, p->size, contents ? &seq : NULL)) {
                fail("packet %u of %u of %u bytes did not arrive", i,
                     p->burst, p->size);
            }
        }
    }
}

/* Waits until each txq is one of its own: those that OVS does not know yet to
 * be enabled, it maps to others. */
void
await_txqs(void)
{
    uint64_t end = deadline();

    for (unsigned int i = 0; i < n_txqs(); i++) {
        struct guest_vq *q;
        struct port *port;
        bool found;
        int qid;

        q = nth_txq(i, &port, &qid);
        do {
            struct rte_mbuf *mbuf = make_packet(64, false);

            batch_init(&mbuf, 1);
            send_batch(port, qid);
            drain_uncounted();
            found = guest_receive(q, 64, NULL);
            for (int j = 0; j < settings.n_pairs && !found; j++) {
                guest_receive(&port->guest.rxqs[j], 64, NULL);
            }
            ovsrcu_quiesce();
            if (rte_get_tsc_cycles() > end) {
                fail("txq %d of a port does not come up", qid);
            }
        } while (!found);
    }

    /* What waited in the ring of a completion engine while messages of the
     * guest were handled may come only now. */
    for (int round = 0; round < 5; round++) {
        rte_delay_us_sleep(10000);
        drain_uncounted();
        for (unsigned int i = 0; i < n_txqs(); i++) {
            struct guest_vq *q;
            struct port *port;
            int qid;

            q = nth_txq(i, &port, &qid);
            while (guest_receive(q, 64, NULL)) {
                continue;
            }
        }
        ovsrcu_quiesce();
    }
}

/* IMIX is 7 of 64 bytes to 4 of 594 to 1 of 1518; "ack" are segments and
 * acknowledgements in turn; "rare" has one large packet in a hundred. */
const struct mix *
mix_find(const char *name)
{
    static struct mix mixes[] = {
        { "imix", 12, { 64, 594, 64, 64, 594, 64, 64, 594, 64, 64, 594,
                        1518 } },
        { "ack", 2, { 64, 1518 } },
        { "rare", 100, { 9000 } },
    };

    for (int i = 0; i < ARRAY_SIZE(mixes); i++) {
        if (!strcmp(mixes[i].name, name)) {
            for (int j = 0; j < mixes[i].n; j++) {
                mixes[i].sizes[j] = MAX(mixes[i].sizes[j], 64);
            }
            return &mixes[i];
        }
    }
    return NULL;
}

/* Bytes of packet 'i' of a round. */
static uint32_t
packet_size(const struct params *p, unsigned int i)
{
    return p->mix ? p->mix->sizes[i % p->mix->n] : p->size;
}

static uint32_t
largest_packet(const struct params *p)
{
    uint32_t size = p->size;

    for (int i = 0; p->mix && i < p->mix->n; i++) {
        size = MAX(size, p->mix->sizes[i]);
    }
    return size;
}

/* Of packets from this length on the thread times some. */
#define MIN_TIMED 512

/* How many trials tell enough, and rounds for them at most. */
#define N_TRIALS 6
#define MAX_WARM_UP 2000

/* Number of packets to send in a round, such that there is room for all in
 * the virtqueues. */
static unsigned int
packets_per_round(const struct params *p)
{
    const struct guest_vq *q = &bench_ports[0].guest.rxqs[0];
    unsigned int size = largest_packet(p);
    unsigned int buffers = DIV_ROUND_UP(size + HDR_LEN, q->buf_len);
    unsigned int n = MIN(settings.ring_size / buffers * p->spread, MAX_ROUND);

    n = MIN(n, 256 * p->spread);
    if (!p->is_cold) {
        n = MIN(n, MAX(WARM_BYTES / size, p->burst));
    }
    n -= n % p->burst;
    if (!n) {
        fail("the virtqueues are too short for %u packets of %u bytes",
             p->burst, size);
    }
    return n;
}

static uint64_t
run_round(const struct params *p, unsigned int total, uint64_t *idle)
{
    static struct rte_mbuf *mbufs[MAX_ROUND];
    unsigned int work = p->work * p->burst;
    uint64_t cycles = 0, start, stop = 0, end;
    struct guest_vq *q;
    struct port *port;
    int qid;

    for (int i = 0; i < total; i++) {
        mbufs[i] = make_packet(packet_size(p, i), p->is_cold);
    }
    *idle = 0;
    end = deadline();
    for (unsigned int i = 0, k = 0; i < total; i += p->burst, k++) {
        stop = __rdtsc();
        nth_txq(k % p->spread, &port, &qid);
        batch_init(&mbufs[i], p->burst);
        be_busy(stop, work);

        start = clock_read();
        send_batch(port, qid);
        async_reap(start);
        stop = clock_read();
        cycles += stop - start - clock_cost;
    }
    async_came_back();
    for (unsigned int k = 0; async_is_busy(); k++) {
        nth_txq(k % p->spread, &port, &qid);
        be_busy(stop, work);

        start = clock_read();
        async_reap(start);
        stop = clock_read();
        *(async_came_back() ? &cycles : idle) += stop - start - clock_cost;
        if (stop > end) {
            fail("copies do not complete");
        }
    }

    for (unsigned int i = 0, k = 0; i < total; k++) {
        q = nth_txq(k % p->spread, &port, &qid);
        for (int j = 0; j < p->burst; j++, i++) {
            if (!guest_receive(q, packet_size(p, i), NULL)) {
                fail("packet %u of %u of %u bytes did not arrive", i, total,
                     packet_size(p, i));
            }
        }
    }
    ovsrcu_quiesce();
    return cycles;
}

/* Goes on until the thread has learned what these packets cost, of which it
 * would time fewer by itself.  None is if a threshold is set, or if all are
 * too short for it; and there are trials only if DMA may pay. */
static void
warm_up(const struct params *p, unsigned int total, round_func *round)
{
    bool learns = p->threshold < 0 && largest_packet(p) >= MIN_TIMED;
    unsigned int n = learns ? 40 : 3, n_trials = 0;
    uint64_t idle;

    for (unsigned int i = 0; i < n; i++) {
        bool in_trial = async_in_trial();

        if (learns && !in_trial) {
            async_time_next();
        }
        round(p, total, &idle);
        n_trials += in_trial && !async_in_trial();
        if (n < MAX_WARM_UP
            && (async_in_trial() || (n_trials && n_trials < N_TRIALS))) {
            n = MAX(n, i + 2);
        }
    }

    /* What was in a trial by DMA is in no cache: once or twice around the
     * rings until it is, if that is the way. */
    for (unsigned int i = 0; n_trials && i < 2 * settings.ring_size;
         i += DIV_ROUND_UP(total, p->spread)) {
        round(p, total, &idle);
    }
}

static int
compare_doubles(const void *a_, const void *b_)
{
    const double *a = a_, *b = b_;

    return *a < *b ? -1 : *a > *b;
}

static double
quantile(const double *sorted, unsigned int n, double q)
{
    return sorted[MIN((unsigned int) (n * q), n - 1)];
}

/* Measures rounds of 'total' packets. */
void
measure_rounds(const struct params *p, unsigned int total, round_func *round)
{
    double *samples = xmalloc(p->rounds * sizeof *samples);
    struct async_counters before, after;
    double packets = (double) p->rounds * total;
    double all_idle = 0;
    uint64_t idle;

    warm_up(p, total, round);
    async_get_counters(&before);
    for (int i = 0; i < p->rounds; i++) {
        samples[i] = round(p, total, &idle) / (double) total;
        all_idle += idle;
    }
    async_get_counters(&after);
    qsort(samples, p->rounds, sizeof *samples, compare_doubles);
    printf("{\"median\": %.2f, \"q1\": %.2f, \"q3\": %.2f, \"min\": %.2f, "
           "\"rounds\": %u, \"packets\": %u, \"dma\": %.4f, \"polls\": %.4f, "
           "\"empty\": %.4f, \"bursts\": %.4f, \"idle\": %.2f, "
           "\"cpu\": %"PRIu64", \"in_use\": %"PRIu64"}\n",
           quantile(samples, p->rounds, .5), quantile(samples, p->rounds, .25),
           quantile(samples, p->rounds, .75), samples[0], p->rounds, total,
           (after.dma_packets - before.dma_packets) / packets,
           (after.polls - before.polls) / packets * p->burst,
           (after.empty_polls - before.empty_polls) / packets * p->burst,
           (after.bursts - before.bursts) / packets * p->burst,
           all_idle / packets, after.cpu, after.in_use);
    free(samples);
}

void
measure_run(const struct params *p)
{
    async_apply_threshold(p->threshold);
    check_arrival(p, !settings.no_copy);
    measure_rounds(p, packets_per_round(p), run_round);
}

/* Prints those of 'n' packets, in microseconds, which it sorts. */
void
print_latencies(double *samples, unsigned int n)
{
    qsort(samples, n, sizeof *samples, compare_doubles);
    printf("{\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f, \"n\": %u}\n",
           quantile(samples, n, .5), quantile(samples, n, .99),
           samples[n - 1], n);
}

/* The time from when the PMD thread sends to when the guest can see the
 * packet, one packet at a time, in microseconds. */
void
measure_latency(const struct params *p)
{
    double *samples = xmalloc(p->n * sizeof *samples);
    double hz = rte_get_tsc_hz() / 1e6;
    struct guest_vq *q;
    struct port *port;
    int qid;

    async_apply_threshold(p->threshold);
    check_arrival(p, !settings.no_copy);
    q = nth_txq(0, &port, &qid);
    for (int i = 0; i < p->n; i++) {
        struct rte_mbuf *mbuf = make_packet(p->size, p->is_cold);
        uint64_t start, stop, end = deadline();

        batch_init(&mbuf, 1);
        start = clock_read();
        send_batch(port, qid);
        async_reap(start);
        while (!guest_n_used(q)) {
            be_busy(__rdtsc(), p->work);
            async_reap(__rdtsc());
            if (__rdtsc() > end) {
                fail("a packet does not arrive");
            }
        }
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / hz;
        drain_uncounted();
        while (guest_receive(q, p->size, NULL)) {
            continue;
        }
        ovsrcu_quiesce();
    }
    print_latencies(samples, p->n);
    free(samples);
}

/* The part of measure_load() for 'total' packets, for which there is room in
 * the virtqueue. */
static void
load_round(const struct params *p, unsigned int total, double *samples)
{
    static struct rte_mbuf *mbufs[MAX_ROUND];
    unsigned int sent = 0, seen = 0;
    uint64_t first, end;
    struct guest_vq *q;
    struct port *port;
    int buffers, qid;

    q = nth_txq(0, &port, &qid);
    buffers = DIV_ROUND_UP(p->size + HDR_LEN, q->buf_len);
    for (int i = 0; i < total; i++) {
        mbufs[i] = make_packet(p->size, p->is_cold);
    }
    end = deadline();
    first = __rdtsc() + p->gap;
    while (seen < total) {
        uint64_t now = __rdtsc();
        uint64_t arrived = now < first ? 0 : (now - first) / p->gap + 1;
        unsigned int n = MIN(MIN(arrived, total) - sent, MAX_BURST);

        if (n) {
            batch_init(&mbufs[sent], n);
            be_busy(now, p->work * n);
            send_batch(port, qid);
            sent += n;
        }
        async_reap(now);
        n = guest_n_used(q) / buffers;
        for (now = __rdtsc(); seen < n; seen++) {
            samples[seen] = now - (first + seen * p->gap);
        }
        if (now > end) {
            fail("packet %u of %u does not arrive", seen, total);
        }
    }
    drain_uncounted();
    while (guest_receive(q, p->size, NULL)) {
        continue;
    }
    ovsrcu_quiesce();
}

/* The time from when a packet comes to the PMD thread to when the guest can
 * see it, in microseconds, while one comes every 'gap' cycles.  Each iteration
 * takes those which are there, MAX_BURST at most, and classifies them in
 * 'work' cycles each. */
void
measure_load(const struct params *p)
{
    struct params one = *p;
    double hz = rte_get_tsc_hz() / 1e6;
    unsigned int total, n;
    double *samples;

    one.burst = one.spread = 1;
    async_apply_threshold(p->threshold);
    check_arrival(&one, !settings.no_copy);
    total = packets_per_round(&one);
    n = ROUND_UP(p->n, total);
    samples = xmalloc(n * sizeof *samples);
    for (int i = 0; i < n; i += total) {
        load_round(&one, total, &samples[i]);
    }
    for (int i = 0; i < n; i++) {
        samples[i] /= hz;
    }
    print_latencies(samples, n);
    free(samples);
}

/* What an iteration costs with nothing in flight, after every txq was used. */
void
measure_idle(const struct params *p)
{
    struct params all = *p;
    double samples[101];

    async_apply_threshold(p->threshold);
    all.spread = n_txqs();
    check_arrival(&all, false);
    for (int i = 0; i < ARRAY_SIZE(samples); i++) {
        uint64_t start, stop;

        start = clock_read();
        for (int j = 0; j < 1000; j++) {
            async_reap(start);
            atomic_signal_fence(memory_order_seq_cst);
        }
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / 1000.;
    }
    qsort(samples, ARRAY_SIZE(samples), sizeof *samples, compare_doubles);
    printf("{\"median\": %.3f, \"q1\": %.3f, \"q3\": %.3f}\n",
           quantile(samples, ARRAY_SIZE(samples), .5),
           quantile(samples, ARRAY_SIZE(samples), .25),
           quantile(samples, ARRAY_SIZE(samples), .75));
}

/* What an iteration costs while every txq has a packet in flight and nothing
 * comes back, for an engine that is slow enough. */
void
measure_in_flight(const struct params *p)
{
    unsigned int n = 0;
    double samples[101];
    struct port *port;
    int qid;

    async_apply_threshold(p->threshold);
    for (int i = 0; i < n_txqs(); i++) {
        struct rte_mbuf *mbuf = make_packet(p->size, p->is_cold);

        nth_txq(i, &port, &qid);
        batch_init(&mbuf, 1);
        send_batch(port, qid);
    }
    async_came_back();
    while (n < ARRAY_SIZE(samples)) {
        uint64_t start, stop;

        start = clock_read();
        async_reap(start);
        stop = clock_read();
        if (async_came_back()) {
            break;
        }
        samples[n++] = stop - start - clock_cost;
    }
    if (!n) {
        fail("the engine is too fast to see %u txqs in flight", n_txqs());
    }
    drain_uncounted();
    for (int i = 0; i < n_txqs(); i++) {
        if (!guest_receive(nth_txq(i, &port, &qid), p->size, NULL)) {
            fail("a packet of txq %d did not arrive", i);
        }
    }
    qsort(samples, n, sizeof *samples, compare_doubles);
    printf("{\"median\": %.3f, \"q1\": %.3f, \"q3\": %.3f}\n",
           quantile(samples, n, .5), quantile(samples, n, .25),
           quantile(samples, n, .75));
}

/* What it costs to free a packet, which is part of sending it, whoever
 * copies. */
void
measure_free(const struct params *p)
{
    double samples[101];

    for (int i = 0; i < ARRAY_SIZE(samples); i++) {
        struct rte_mbuf *mbufs[MAX_BURST];
        uint64_t start, stop;

        for (int j = 0; j < p->burst; j++) {
            mbufs[j] = make_packet(p->size, p->is_cold);
        }
        start = clock_read();
        rte_pktmbuf_free_bulk(mbufs, p->burst);
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / (double) p->burst;
    }
    qsort(samples, ARRAY_SIZE(samples), sizeof *samples, compare_doubles);
    printf("{\"median\": %.1f, \"q1\": %.1f, \"q3\": %.1f}\n",
           quantile(samples, ARRAY_SIZE(samples), .5),
           quantile(samples, ARRAY_SIZE(samples), .25),
           quantile(samples, ARRAY_SIZE(samples), .75));
}

/* All that the process has allocated, for differences between processes. */
void
measure_memory(void)
{
    struct mallinfo2 heap = mallinfo2();
    size_t dpdk = 0;

    for (int i = 0; i < RTE_MAX_HEAPS; i++) {
        struct rte_malloc_socket_stats stats;

        if (!rte_malloc_get_socket_stats(i, &stats)) {
            dpdk += stats.heap_allocsz_bytes;
        }
    }
    printf("{\"heap\": %zu, \"dpdk\": %zu, \"txqs\": %u",
           heap.uordblks + heap.hblkhd, dpdk, n_txqs());
    if (async_thread_size()) {
        printf(", \"thread\": %zu", async_thread_size());
    }
    printf("}\n");
}
