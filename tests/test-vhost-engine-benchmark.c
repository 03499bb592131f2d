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

/* A benchmark of the completion engine that was built: threads that send to
 * one txq, and to one each, with an ideal engine, which copies nothing, and a
 * guest that gives buffers back at once and costs nothing but its cache lines.
 *
 *     ovstest test-vhost-engine-benchmark PACKETS THREADS [OTHER_WORK [rx]]
 *
 * measures what a packet costs when threads share a txq, and when not;
 * OTHER_WORK is what a thread does besides, in cycles per packet.
 *
 * Besides the engine that was built it knows "rx", which is not for users: who
 * reaps leaves publishing to the thread that polls the rxq of the same
 * port. */

#undef NDEBUG
#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <time.h>

static bool bench_rx;

#define FAKE_REAL_TIME
#define DP(NAME) test_vhost_engine_benchmark_##NAME
/* With "rx" a thread that reaps does not publish, see bench_iterate(). */
#define DP_PUBLISH(SELF, TXQ)                                   \
    (bench_rx ? (void) 0 : DP(vhost_async_engine_publish)(SELF, TXQ))
#include "vhost-data-path.h"
#include "vhost-engine-fixture.h"

#include "openvswitch/vlog.h"
#include "ovs-thread.h"
#include "ovstest.h"
#include "random.h"
#include "util.h"

static struct ovs_barrier barrier;
static uint64_t bench_n_pkts;

/* The buffers of a guest whose avail ring never changes.  One at a time, for
 * its index must not go back. */
static void
bench_offer(struct port *p)
{
    bool busy = false;

    if (atomic_compare_exchange_strong_explicit(&p->offering, &busy, true,
                                                memory_order_acquire,
                                                memory_order_relaxed)) {
        uint16_t idx = guest_load(&p->guest.used->idx) + p->guest.size;

        guest_store(&p->guest.avail->idx, idx);
        atomic_store_explicit(&p->offering, false, memory_order_release);
    }
}

static void
bench_iterate(struct sender *s)
{
    size_t me = s - senders;
    struct fake_vchan *vc = &fake.devs[me].vchans[0];

    vc->done = vc->rung;
    sender_iterate(s);
    for (size_t i = me; bench_rx && i < n_ports; i += n_senders) {
        struct vhost_async_txq *txq = ports[i].txq;

        /* Of the port whose rxq it polls. */
        if (vhost_async_vq_in_flight(&txq->vq)
            && vhost_async_vq_trylock(&txq->vq)) {
            vhost_async_txq_publish(txq);
            DP(vhost_async_engine_unlock)(&s->thread.sender, txq);
        }
    }
}

static void
bench_spend(uint64_t cycles)
{
    uint64_t start = rte_rdtsc();

    while (rte_rdtsc() - start < cycles) {
        continue;
    }
}

/* Sends all that it has; what is refused is sent again, so that nothing is
 * lost, which would be cheap. */
static void
bench_send(struct sender *s, struct port *p)
{
    unsigned int cnt = MIN(s->n_left, MAX_BURST);
    struct rte_mbuf *pkts[MAX_BURST];
    unsigned int n = 0;

    for (unsigned int i = 0; i < cnt; i++) {
        struct dp_pkt *pkt = &s->pool[s->next++ % s->pool_size];

        while (!dp_pkt_take(pkt)) {
            bench_offer(p);
            bench_iterate(s);
        }
        pkts[i] = dp_pkt_make(pkt, MAX_LEN, 1);
    }
    bench_spend(cnt * s->work);
    for (;;) {
        n += vhost_async_engine_send(&s->thread.sender, p->txq, &pkts[n],
                                     cnt - n, 0);
        vhost_async_thread_sent(&s->thread);
        bench_iterate(s);
        bench_offer(p);
        if (OVS_LIKELY(n == cnt)) {
            break;
        }
        s->n_refused += cnt - n;
    }
    rte_pktmbuf_free_bulk(pkts, cnt);
    s->n_left -= n;
}

/* Pins thread 'i' to a core, as PMD threads are, if each can have one. */
static void
bench_pin(size_t i)
{
    cpu_set_t all, one;

    if (pthread_getaffinity_np(pthread_self(), sizeof all, &all)
        || CPU_COUNT(&all) < n_senders) {
        return;
    }
    CPU_ZERO(&one);
    for (size_t cpu = 0, n = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n++ == i) {
            CPU_SET(cpu, &one);
        }
    }
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

static uint64_t
bench_n_there(void)
{
    uint64_t n = 0;

    for (size_t i = 0; i < n_ports; i++) {
        n += vhost_async_counter(&ports[i].txq->stats.published)
             + vhost_async_counter(&ports[i].txq->stats.ring_drops);
    }
    return n;
}

static uint64_t
thread_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void *
bench_main(void *s_)
{
    struct sender *s = s_;
    struct port *p = &ports[(s - senders) % n_ports];
    uint64_t start;

    bench_pin(s - senders);
    ovs_barrier_block(&barrier);
    start = rte_rdtsc();
    s->cpu_ns = thread_cpu_ns();
    while (s->n_left) {
        bench_send(s, p);
    }
    s->cpu_ns = thread_cpu_ns() - s->cpu_ns;
    s->cycles = rte_rdtsc() - start;
    while (bench_n_there() < bench_n_pkts) {
        bench_iterate(s);
        bench_offer(p);
    }
    ovs_barrier_block(&barrier);
    return NULL;
}

/* Cycles per packet of each thread, packets per microsecond of all, how often
 * a packet was refused, and how much of a core the worst off thread had: what
 * others took of it is in the cycles, so that less than 98 % tells little. */
static void
bench_print(const char *what, uint64_t n_per_thread, uint64_t cycles)
{
    uint64_t n_refused = 0;
    double min_share = 1;
    double sum = 0;

    printf("%s:", what);
    for (size_t i = 0; i < n_senders; i++) {
        double per_pkt = (double) senders[i].cycles / n_per_thread;
        double share = senders[i].cpu_ns * (fake_hz() / 1e9)
                       / senders[i].cycles;

        sum += per_pkt;
        min_share = MIN(min_share, share);
        n_refused += senders[i].n_refused;
        printf(" %7.1f", per_pkt);
    }
    for (size_t i = 0; i < n_ports; i++) {
        n_refused += vhost_async_counter(&ports[i].txq->stats.ring_drops);
    }
    printf(" %7.1f %7.2f %7.2f %5.0f%%\n", sum / n_senders,
           bench_n_pkts * (fake_hz() / 1e6) / cycles,
           (double) n_refused / bench_n_pkts, min_share * 100);
}

static void
benchmark(const char *what, size_t n, uint64_t work)
{
    uint64_t n_per_thread = bench_n_pkts / n_senders;
    uint64_t start;

    n_ports = n;
    for (size_t i = 0; i < n_ports; i++) {
        port_create(&ports[i], GUEST_SPLIT, 1024);
    }
    ovs_barrier_init(&barrier, n_senders + 1);
    bench_n_pkts = n_per_thread * n_senders;
    for (size_t i = 0; i < n_senders; i++) {
        senders[i].work = work;
        senders[i].n_left = n_per_thread;
        senders[i].n_refused = 0;
        senders[i].pthread = ovs_thread_create("sender", bench_main,
                                               &senders[i]);
    }
    ovs_barrier_block(&barrier);
    start = rte_rdtsc();
    ovs_barrier_block(&barrier);
    start = rte_rdtsc() - start;
    for (size_t i = 0; i < n_senders; i++) {
        xpthread_join(senders[i].pthread, NULL);
    }
    bench_print(what, n_per_thread, start);
    ovs_barrier_destroy(&barrier);
    for (size_t i = 0; i < n_ports; i++) {
        port_destroy(&ports[i]);
    }
}

static uint64_t
bench_arg(const char *arg)
{
    unsigned int n;

    if (!str_to_uint(arg, 10, &n)) {
        ovs_fatal(0, "\"%s\" is not a number", arg);
    }
    return n;
}

static void
test_vhost_engine_benchmark_main(int argc, char *argv[])
{
    uint64_t n_threads, work;

    set_program_name(argv[0]);
    if (argc < 3 || argc > 5) {
        ovs_fatal(0, "usage: %s PACKETS THREADS [OTHER_WORK [rx]]",
                  program_name);
    }
    bench_n_pkts = bench_arg(argv[1]);
    n_threads = bench_arg(argv[2]);
    work = argc > 3 ? bench_arg(argv[3]) : 150;
    bench_rx = argc > 4 && !strcmp(argv[4], "rx");
    if (!n_threads || n_threads > MAX_CHANS || bench_n_pkts < n_threads) {
        ovs_fatal(0, "at least one packet for each of 1 to %d threads",
                  MAX_CHANS);
    }
    vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_OFF);
    random_set_seed(1);
    fake_hz();
    start_engines(n_threads);
    n_senders = n_threads;
    for (size_t i = 0; i < n_senders; i++) {
        static uint8_t data[MAX_LEN];

        sender_init(&senders[i], true, true, 2048);
        for (size_t j = 0; j < senders[i].pool_size; j++) {
            senders[i].pool[j].size = sizeof data;
            senders[i].pool[j].data = data;
        }
    }

    printf("Engine %s: %"PRIu64" packets by %"PRIu64" threads, TSC at %.0f "
           "MHz.\n", bench_rx ? "rx" : VHOST_ASYNC_ENGINE, bench_n_pkts,
           n_threads, fake_hz() / 1e6);
    printf("Packets of %d bytes in bursts of %d, copied at once by an ideal "
           "engine; other work: %"PRIu64" cycles.\n", MAX_LEN, MAX_BURST,
           work);
    printf(" cycles per packet\\thread:");
    for (size_t i = 0; i < n_senders; i++) {
        printf(" %7"PRIuSIZE, i + 1);
    }
    printf("     Avg    Mpps refused   CPU\n");

    benchmark("   all threads to one txq", 1, work);
    benchmark("each thread to its own txq", n_senders, work);
}

OVSTEST_REGISTER("test-vhost-engine-benchmark",
                 test_vhost_engine_benchmark_main);
