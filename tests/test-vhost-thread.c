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

/* Tests of how threads get at a txq, step by step: the lock and the states of
 * the ring (lib/vhost-async-vq.c), the completion engine that was built
 * (lib/vhost-async-defer.c or -ring.c), and what a PMD thread does about its
 * channel (lib/vhost-async-thread.c).
 *
 * There is one thread, which plays all of them: that somebody is at the txq
 * means that the case holds its lock.  test-vhost-engine.c has threads. */

#undef NDEBUG
#include <config.h>

#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Called before a lock is given up, if not NULL. */
struct vhost_async_txq;
static void (*before_unlock)(struct vhost_async_txq *);

/* Called after packet 'seq' was noted to be done, if not NULL. */
static void (*after_done)(struct vhost_async_txq *, uint32_t seq);

#define DP(NAME) tt_##NAME
#define DP_DONE(VQ, SEQ) note_done(vhost_async_txq_of_vq(VQ), SEQ)
static void note_done(struct vhost_async_txq *, uint32_t seq);
#define DP_BEFORE_UNLOCK(VQ) \
    (before_unlock ? before_unlock(vhost_async_txq_of_vq(VQ)) : (void) 0)
#include "vhost-data-path.h"
#include "vhost-txq-fixture.h"

#include "dma-test.h"
#include "ovstest.h"

#define LAYOUT (GUEST_SPLIT | GUEST_MRG)
#define SMALL 100
#define LARGE 1500

static void
note_done(struct vhost_async_txq *txq, uint32_t seq)
{
    vhost_async_vq_done(&txq->vq, seq);
    if (after_done) {
        after_done(txq, seq);
    }
}

/* The lock. */

static uint32_t
lock_word(const struct port *p)
{
    return vhost_async_vq_get(&p->txq->vq.lock);
}

static void
test_lock(void)
{
    struct vhost_async_txq *txq;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 16, 2048);
    txq = p->txq;
    ovs_assert(!lock_word(p));
    ovs_assert(vhost_async_vq_trylock(&txq->vq));
    ovs_assert(!vhost_async_vq_trylock(&txq->vq));
    ovs_assert(lock_word(p) == VHOST_ASYNC_LOCKED);
    ovs_assert(vhost_async_vq_try_unlock(&txq->vq));
    ovs_assert(!lock_word(p));

    /* What is left must be seen to, each time. */
    ovs_assert(vhost_async_vq_trylock_or_leave(&txq->vq));
    for (int i = 0; i < 2; i++) {
        ovs_assert(!vhost_async_vq_trylock_or_leave(&txq->vq));
        ovs_assert(!vhost_async_vq_trylock_or_leave(&txq->vq));
        ovs_assert(lock_word(p) == (VHOST_ASYNC_LOCKED
                                    | VHOST_ASYNC_PENDING));
        ovs_assert(!vhost_async_vq_try_unlock(&txq->vq));
        ovs_assert(lock_word(p) == VHOST_ASYNC_LOCKED);
    }
    ovs_assert(vhost_async_vq_try_unlock(&txq->vq));

    /* Closed: who sends goes away, who leaves work leaves it. */
    vhost_async_vq_close(&txq->vq);
    ovs_assert(lock_word(p) == (VHOST_ASYNC_LOCKED | VHOST_ASYNC_CLOSED));
    ovs_assert(!vhost_async_vq_lock_unless_closed(&txq->vq));
    ovs_assert(!vhost_async_vq_trylock(&txq->vq));
    ovs_assert(!vhost_async_vq_trylock_or_leave(&txq->vq));
    vhost_async_vq_open(&txq->vq);
    ovs_assert(lock_word(p) == (VHOST_ASYNC_LOCKED | VHOST_ASYNC_PENDING));
    ovs_assert(!vhost_async_vq_try_unlock(&txq->vq));
    ovs_assert(vhost_async_vq_try_unlock(&txq->vq));

    /* Closed by who waits for a holder, which then lets go: nobody comes in
     * between, and what is left then is for who waits. */
    ovs_assert(vhost_async_vq_trylock(&txq->vq));
    atomic_store_relaxed(&txq->vq.lock,
                         VHOST_ASYNC_LOCKED | VHOST_ASYNC_CLOSED);
    ovs_assert(vhost_async_vq_try_unlock(&txq->vq));
    ovs_assert(lock_word(p) == VHOST_ASYNC_CLOSED);
    ovs_assert(!vhost_async_vq_trylock(&txq->vq));
    ovs_assert(!vhost_async_vq_lock_unless_closed(&txq->vq));
    ovs_assert(!vhost_async_vq_trylock_or_leave(&txq->vq));
    vhost_async_vq_close(&txq->vq);
    vhost_async_vq_open(&txq->vq);
    ovs_assert(!vhost_async_vq_try_unlock(&txq->vq));
    ovs_assert(vhost_async_vq_try_unlock(&txq->vq));
    vhost_async_vq_lock(&txq->vq);
    vhost_async_engine_unlock(NULL, txq);
    port_finish(p);
}

/* Whether the ring may go from state 'from', which it is in, to 'to'. */
static bool
may_become(struct vhost_async_txq *txq, enum vhost_async_vq_state to)
{
    int status;
    pid_t pid = fork();

    if (!pid) {
        const struct rlimit no_core = { 0, 0 };

        setrlimit(RLIMIT_CORE, &no_core);
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        vhost_async_vq_set_state(&txq->vq, to);
        _exit(vhost_async_vq_state(&txq->vq) == to ? 0 : 2);
    }
    ovs_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
    ovs_assert(!status || (WIFSIGNALED(status)
                           && WTERMSIG(status) == SIGABRT));
    return !status;
}

/* The arrows of vhost-async-vq.h. */
static void
test_states(void)
{
    static const char *const arrows[] = {
        /* To        L    S    D    R    stucK, from */
        [VHOST_ASYNC_VQ_LIBRARY] = "LS---",
        [VHOST_ASYNC_VQ_STOPPED] = "-SD--",
        [VHOST_ASYNC_VQ_DISABLED] = "-SDRK",
        [VHOST_ASYNC_VQ_RUNNING] = "-SDRK",
        [VHOST_ASYNC_VQ_STUCK] = "-S--K",
    };
    atomic_uint8_t retries = 0;
    struct vhost_async_txq *txq;

    for (size_t from = 0; from < ARRAY_SIZE(arrows); from++) {
        for (size_t to = 0; to < ARRAY_SIZE(arrows); to++) {
            txq = vhost_async_txq_create("port", 0, &retries,
                                         VHOST_ASYNC_VQ_LIBRARY);
            atomic_store_relaxed(&txq->vq.state, from);
            ovs_assert(may_become(txq, to) == (arrows[from][to] != '-'));
            vhost_async_txq_destroy(txq);
        }
    }
}

/* Completion engines. */

/* Copies that come back while somebody is at the txq are that one's to
 * publish. */
static void
test_left_to_the_holder(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = port_create(LAYOUT, 64, 2048);
    ovs_assert(port_engine_send(p, &pmds[0], 2, LARGE) == 2);
    ovs_assert(port_engine_send(p, &pmds[1], 2, LARGE) == 2);
    ovs_assert(vhost_async_vq_trylock(&p->txq->vq));
    ovs_assert(work_and_reap(0, 2) == 2);
    port_get(p, 0);
    ovs_assert(work_and_reap(1, 1) == 1);
    port_get(p, 0);
    vhost_async_engine_unlock(NULL, p->txq);
    port_get(p, 3);
    ovs_assert(!lock_word(p));
    ovs_assert(work_and_reap(1, 1) == 1);
    port_get(p, 1);
    port_finish(p);
}

/* While a message is handled nobody waits, and it is over in the end. */
static void
test_closed(void)
{
    bool ring = !strcmp(VHOST_ASYNC_ENGINE, "ring");
    struct port *p;
    unsigned int n;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 64, 2048);
    ovs_assert(port_engine_send(p, &pmds[0], 1, LARGE) == 1);
    vhost_async_vq_close(&p->txq->vq);
    n = port_engine_send(p, &pmds[0], 3, SMALL);
    ovs_assert(n == (ring ? 3 : 0));
    ovs_assert(COUNTER(p, busy_drops) == 3 - n);
    ovs_assert(work_and_reap(0, 1) == 1);
    port_get(p, 0);
    vhost_async_vq_open(&p->txq->vq);
    vhost_async_engine_unlock(NULL, p->txq);
    port_get(p, 1 + n);
    ovs_assert(port_engine_send(p, NULL, 1, SMALL) == 1);
    port_get(p, 1);
    port_finish(p);
}

/* What is not taken is counted by its reason, once, if the sender drops it;
 * else it comes again. */
static void
test_drops(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 4, 2048);
    ovs_assert(port_engine_send(p, &pmds[0], 6, SMALL) == 4);
    ovs_assert(!COUNTER(p, full_drops));
    ovs_assert(!port_engine_send(p, &pmds[0], 2, SMALL));
    ovs_assert(COUNTER(p, full_drops) == 2);
    vhost_async_vq_set_state(&p->txq->vq, VHOST_ASYNC_VQ_DISABLED);
    ovs_assert(!port_engine_send(p, NULL, 3, SMALL));
    ovs_assert(COUNTER(p, down_drops) == 3);
    ovs_assert(!COUNTER(p, busy_drops));
    ovs_assert(!port_engine_send(p, NULL, 0, SMALL));
    port_finish(p);

    /* Without a retry none is left. */
    p = port_create(LAYOUT, 4, 2048);
    atomic_store_relaxed(&p->tx_retries, 0);
    ovs_assert(port_engine_send(p, &pmds[0], 6, SMALL) == 4);
    ovs_assert(COUNTER(p, full_drops) == 2);
    port_finish(p);
}

#ifdef VHOST_ASYNC_RING
#include "vhost-ring-cases.h"
#else
/* A sender waits for who is at the txq, so the lock is free or closed. */
static void
test_no_ring(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 16, 2048);
    ovs_assert(!vhost_async_engine_txq_waiting(p->txq));
    ovs_assert(!vhost_async_engine_txq_memory(p->txq));
    ovs_assert(vhost_async_engine_txq_is_idle(p->txq));
    vhost_async_engine_run(&pmds[0].sender);
    vhost_async_engine_leave(&pmds[0].sender);
    port_finish(p);
}
#endif

/* PMD threads. */

/* One look at the channel, whatever the number of txqs, and each of them has
 * its packets. */
static void
test_one_look_for_all_txqs(void)
{
    struct port *ports[5];

    start_engines(FAKE_SKELETON, 1, 256);
    for (int i = 0; i < 5; i++) {
        ports[i] = port_create(LAYOUT, 64, 2048);
    }
    for (int i = 0; i < 20; i++) {
        ovs_assert(port_engine_send(ports[i % 5], &pmds[0], 1 + i % 3, LARGE)
                   == 1 + i % 3);
    }
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    ovs_assert(!vhost_async_thread_reap(&pmds[0]));
    ovs_assert(work_and_reap(0, 39) == 39);
    ovs_assert(vhost_async_counter(&pmds[0].stats.polls) == 2);
    ovs_assert(vhost_async_counter(&pmds[0].stats.empty_polls) == 1);
    ovs_assert(vhost_async_counter(&pmds[0].stats.reaped) == 39);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    /* An idle channel is not asked. */
    ovs_assert(!vhost_async_thread_reap(&pmds[0]));
    ovs_assert(vhost_async_counter(&pmds[0].stats.polls) == 2);
    for (int i = 0; i < 5; i++) {
        unsigned int n = 0;

        for (int j = i; j < 20; j += 5) {
            n += 1 + j % 3;
        }
        port_get(ports[i], n);
    }
    for (int i = 0; i < 5; i++) {
        port_finish(ports[i]);
    }
}

/* PMD thread 0 sends, and its iteration does not end by that. */
static void
send_in_iteration(struct port *p, unsigned int cnt, uint32_t len)
{
    ovs_assert(port_engine_send_only(p, &pmds[0], cnt, len) == cnt);
}

/* One doorbell for all that an iteration sends, whatever the txqs; and one
 * notification for all that comes back to a txq. */
static void
test_once_per_iteration(void)
{
    struct port *ports[3];

    start_engines(FAKE_IDXD, 1, 256);
    for (int i = 0; i < 3; i++) {
        ports[i] = port_create(LAYOUT, 64, 2048);
        port_notified(ports[i]);
    }
    for (int i = 0; i < 12; i++) {
        send_in_iteration(ports[i % 3], 1 + i % 2, LARGE);
    }
    ovs_assert(!fake.devs[0].n_submits);
    ovs_assert(vhost_async_thread_is_busy(&pmds[0]));
    end_iteration(&pmds[0]);
    ovs_assert(fake.devs[0].n_submits == 1);
    ovs_assert(work_and_reap(0, 18) == 18);
    ovs_assert(fake.devs[0].n_submits == 1);
    for (int i = 0; i < 3; i++) {
        ovs_assert(port_notified(ports[i]) == 1);
        port_get(ports[i], 6);
    }

    /* A thread that ends its work in the middle of it does so, too. */
    send_in_iteration(ports[0], 2, LARGE);
    ovs_assert(!vhost_async_thread_reap(&pmds[0]));
    ovs_assert(fake.devs[0].n_submits == 2);
    settle();
    port_get(ports[0], 2);
    for (int i = 0; i < 3; i++) {
        port_finish(ports[i]);
    }
}

/* Somebody else publishes in the middle of what a thread reaped: it publishes
 * the rest. */
static void
publish_first(struct vhost_async_txq *txq, uint32_t seq)
{
    if (!seq) {
        ovs_assert(vhost_async_vq_trylock_or_leave(&txq->vq));
        vhost_async_txq_publish(txq);
        vhost_async_engine_unlock(NULL, txq);
        ovs_assert(vhost_async_vq_get(&txq->vq.published) == 1);
    }
}

static void
test_published_by_two(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 64, 2048);
    ovs_assert(port_engine_send(p, &pmds[0], 3, LARGE) == 3);
    after_done = publish_first;
    ovs_assert(work_and_reap(0, 3) == 3);
    after_done = NULL;
    ovs_assert(!vhost_async_vq_in_flight(&p->txq->vq));
    port_get(p, 3);
    port_finish(p);
}

/* A thread that goes on sending looks once per microsecond, any other one each
 * time; and so does one whose channel failed. */
static void
test_paced(void)
{
    uint64_t us = FAKE_HZ / 1000000, now = 1000 * us;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    p = port_create(LAYOUT, 64, 2048);
    send_in_iteration(p, 1, LARGE);
    ovs_assert(!vhost_async_thread_only_submits(&pmds[0], now));
    ovs_assert(!fake.devs[0].n_submits);
    send_in_iteration(p, 1, LARGE);
    ovs_assert(vhost_async_thread_only_submits(&pmds[0], now + us / 2));
    /* The engine has it all the same. */
    ovs_assert(fake.devs[0].n_submits == 1);
    ovs_assert(!vhost_async_thread_only_submits(&pmds[0], now + us / 2));
    send_in_iteration(p, 1, LARGE);
    ovs_assert(vhost_async_thread_only_submits(&pmds[0], now + us));
    send_in_iteration(p, 1, LARGE);
    ovs_assert(!vhost_async_thread_only_submits(&pmds[0], now + 2 * us));
    send_in_iteration(p, 1, LARGE);
    ovs_assert(vhost_async_thread_only_submits(&pmds[0], now + 2 * us));
    settle();
    port_get(p, 5);

    /* If its device cannot be stopped it is to complete what it has, all of
     * which it was told of. */
    send_in_iteration(p, 1, LARGE);
    fake.devs[0].stop_fails = UINT_MAX;
    dpdk_dma_dev_quarantine(pmds[0].sender.chan, "for a test");
    ovs_assert(!vhost_async_thread_only_submits(&pmds[0], now + 2 * us));
    ovs_assert(!vhost_async_thread_reap(&pmds[0]));
    ovs_assert(!pmds[0].sender.chan);
    ovs_assert(fake_work(0, 0, 1) == 1);
}

/* Bursts are timed, one at a time. */
static void
test_latency(void)
{
    struct vhost_async_thread_stats *stats = &pmds[0].stats;
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    fake.tsc = 1000;
    p = port_create(LAYOUT, 64, 2048);
    port_engine_send(p, &pmds[0], 1, SMALL);
    ovs_assert(!pmds[0].charge);
    port_engine_send(p, &pmds[0], 2, LARGE);
    ovs_assert(pmds[0].charge);
    fake.tsc += 100;
    port_engine_send(p, &pmds[0], 2, LARGE);
    fake.tsc += 50;
    ovs_assert(work_and_reap(0, 1) == 1);
    ovs_assert(!vhost_async_counter(&stats->latency_n));
    ovs_assert(work_and_reap(0, 2) == 2);
    ovs_assert(vhost_async_counter(&stats->latency_n) == 1);
    ovs_assert(vhost_async_counter(&stats->latency_sum) == 150);
    ovs_assert(work_and_reap(0, 1) == 1);
    ovs_assert(vhost_async_counter(&stats->latency_n) == 1);
    port_engine_send(p, &pmds[0], 1, LARGE);
    fake.tsc += 70;
    ovs_assert(work_and_reap(0, 1) == 1);
    ovs_assert(vhost_async_counter(&stats->latency_sum) == 220);
    ovs_assert(vhost_async_counter(&stats->latency_max) == 150);
    port_finish(p);
}

static void
sample_latency(struct port *p, uint64_t cycles)
{
    port_engine_send(p, &pmds[0], 1, LARGE);
    fake.tsc += cycles;
    ovs_assert(work_and_reap(0, 1) == 1);
    port_get(p, 1);
    guest_ring_offer(&p->guest, UINT32_MAX);
}

/* Percentiles are those of all samples since they were cleared, and told
 * within an eighth, from one cycle to more than any can be. */
static void
test_latency_percentiles(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    fake.tsc = 1000;
    p = port_create(LAYOUT, 64, 2048);
    ovs_assert(!vhost_async_thread_latency(&pmds[0], 50));
    for (int i = 1; i <= 100; i++) {
        uint64_t p50, p99;

        sample_latency(p, i * 1000);
        p50 = vhost_async_thread_latency(&pmds[0], 50);
        p99 = vhost_async_thread_latency(&pmds[0], 99);
        ovs_assert(p50 >= (i + 1) / 2 * 1000);
        ovs_assert(p50 <= (i + 1) / 2 * 1000 * 9 / 8);
        ovs_assert(p99 >= DIV_ROUND_UP(i * 99, 100) * 1000);
        ovs_assert(p99 <= i * 1000);
    }
    pmds[0].zero = pmds[0].stats;
    ovs_assert(!vhost_async_thread_latency(&pmds[0], 99));
    for (uint64_t cycles = 1; cycles < UINT64_C(1) << 45; cycles *= 3) {
        uint64_t p50;

        pmds[0].zero = pmds[0].stats;
        sample_latency(p, cycles);
        p50 = vhost_async_thread_latency(&pmds[0], 50);
        if (cycles < UINT64_C(1) << 39) {
            ovs_assert(p50 >= cycles && p50 <= MAX(cycles * 9 / 8, 9));
        } else {
            ovs_assert(p50 >= UINT64_C(1) << 39);
        }
    }
    port_finish(p);
}

/* The timeout is that of the engine, not of a thread that came late, nor of
 * packets that are sparse. */
static void
test_timeout(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 1, 256);
    dpdk_dma_dev_set_timeout_ms(100);
    p = port_create(LAYOUT, 64, 2048);
    for (int i = 0; i < 10; i++) {
        port_engine_send(p, &pmds[0], 2, LARGE);
        ovs_assert(!vhost_async_thread_reap(&pmds[0]));
        fake_ms(5000);
        ovs_assert(work_and_reap(0, 1) == 1);
        fake_ms(5000);
        ovs_assert(!vhost_async_thread_reap(&pmds[0]));
        ovs_assert(work_and_reap(0, 1) == 1);
    }
    port_get(p, 20);

    port_engine_send(p, &pmds[0], 1, LARGE);
    ovs_assert(!vhost_async_thread_reap(&pmds[0]));
    fake_ms(49);
    ovs_assert(!vhost_async_thread_reap(&pmds[0]));
    ovs_assert(!pmds[0].claimed || pmds[0].sender.chan);
    for (int i = 0; i < 3; i++) {
        ovs_assert(pmds[0].sender.chan);
        fake_ms(51);
        ovs_assert(!vhost_async_thread_reap(&pmds[0]));
        if (!pmds[0].sender.chan) {
            ovs_assert(i == 1);
            break;
        }
    }
    ovs_assert(!pmds[0].sender.chan && pmds[0].claimed);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    ovs_assert(rescue() == 1);
    port_get(p, 1);
    port_finish(p);
}

/* Whoever found that the engine failed, and whether or not the thread has
 * something in flight: it lets go. */
static void
test_failure_that_another_noticed(void)
{
    for (int in_flight = 0; in_flight < 2; in_flight++) {
        unsigned int id = in_flight;
        struct port *p;

        if (!id) {
            start_engines(FAKE_SKELETON, 2, 256);
        }
        p = port_create(LAYOUT, 64, 2048);
        port_engine_send(p, &pmds[id], 2 * in_flight, LARGE);
        dpdk_dma_dev_quarantine(pmds[id].sender.chan, "for a test");
        ovs_assert(vhost_async_thread_is_busy(&pmds[id]));
        /* Sending goes on, by CPU. */
        ovs_assert(port_engine_send(p, &pmds[id], 1, LARGE) == 1);
        ovs_assert(COUNTER(p, cpu_packets) == 1);
        port_get(p, !in_flight);
        rescue();
        port_get(p, 0);
        ovs_assert(!vhost_async_thread_reap(&pmds[id]));
        ovs_assert(!vhost_async_thread_is_busy(&pmds[id]));
        ovs_assert(!dpdk_dma_chan_in_use(pmds[id].claimed));
        ovs_assert(rescue() == 2 * in_flight);
        port_get(p, 3 * in_flight);
        port_finish(p);
    }
}

/* A thread that ends or reloads waits for its engine, and no longer than that
 * may take. */
static void
test_thread_drain(void)
{
    struct port *p;

    start_engines(FAKE_SKELETON, 2, 256);
    p = port_create(LAYOUT, 64, 2048);
    vhost_async_thread_drain(&pmds[3]);
    port_engine_send(p, &pmds[0], 5, LARGE);
    fake_work(0, 0, 5);
    vhost_async_thread_drain(&pmds[0]);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[0]));
    port_get(p, 5);

    /* With nothing in flight. */
    dpdk_dma_dev_quarantine(pmds[0].sender.chan, "for a test");
    vhost_async_thread_drain(&pmds[0]);
    ovs_assert(!pmds[0].sender.chan);

    /* The clock goes on when it is asked. */
    port_engine_send(p, &pmds[1], 5, LARGE);
    fake.tsc_step = FAKE_HZ / 1000;
    vhost_async_thread_drain(&pmds[1]);
    fake.tsc_step = 0;
    ovs_assert(!pmds[1].sender.chan);
    ovs_assert(!vhost_async_thread_is_busy(&pmds[1]));
    ovs_assert(rescue() == 5);
    port_get(p, 5);
    port_finish(p);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(lock),
    DMA_TEST_CASE(states),
    DMA_TEST_CASE(left_to_the_holder),
    DMA_TEST_CASE(closed),
    DMA_TEST_CASE(drops),
#ifdef VHOST_ASYNC_RING
    RING_CASES,
#else
    DMA_TEST_CASE(no_ring),
#endif
    DMA_TEST_CASE(one_look_for_all_txqs),
    DMA_TEST_CASE(once_per_iteration),
    DMA_TEST_CASE(published_by_two),
    DMA_TEST_CASE(paced),
    DMA_TEST_CASE(latency),
    DMA_TEST_CASE(latency_percentiles),
    DMA_TEST_CASE(timeout),
    DMA_TEST_CASE(failure_that_another_noticed),
    DMA_TEST_CASE(thread_drain),
};

static void
test_vhost_thread_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-thread", test_vhost_thread_main);
