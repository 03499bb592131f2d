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

/* Tests which way packets go: by what DMA costs, and what the CPU was found to
 * cost. */

#undef NDEBUG
#include <config.h>

#include "vhost-async-dpdk-compat.h"

#define DP(NAME) test_vhost_cost_##NAME
#include "vhost-cost-fixture.h"

/* Cases. */

/* What a burst has beyond what makes a packet worth it. */
static void
test_bursts(void)
{
    start();
    ovs_assert(cost.limits.min_len == 720 && cost.limits.min_excess == 7200);
    ovs_assert(!send_burst(0, 9000));
    ovs_assert(!send_burst(32, 719));
    end_iteration();
    ovs_assert(!send_burst(1, 1518));
    end_iteration();
    ovs_assert(!send_burst(9, 1518));
    end_iteration();
    ovs_assert(send_burst(10, 1518));
    end_iteration();
    ovs_assert(send_burst(1, 9000));
    end_iteration();
}

/* Short packets cost more if another one of their burst goes by DMA. */
static void
test_mixed_burst(void)
{
    struct rte_mbuf mbufs[32], *pkts[32];

    start();
    for (int i = 0; i < 32; i++) {
        mbufs[i].pkt_len = i == 15 ? 16000 : 64;
        pkts[i] = &mbufs[i];
    }
    ovs_assert(cost.limits.loss == 432);
    ovs_assert(!vhost_async_cost_choose(&cost, pkts, 32, &timed));
    end_iteration();
    ovs_assert(vhost_async_cost_choose(&cost, &pkts[14], 18, &timed));
    end_iteration();
    ovs_assert(vhost_async_cost_excess(&cost, pkts, 15) == 0);
    ovs_assert(vhost_async_cost_excess(&cost, &pkts[15], 2)
               == 16000 - 719 - 432);
}

/* Bursts of one iteration are handed over together, and count together, but
 * not those of different ones. */
static void
test_iterations(void)
{
    start();
    for (int i = 0; i < 9; i++) {
        ovs_assert(!send_burst(1, 1518));
    }
    ovs_assert(send_burst(1, 1518));
    ovs_assert(!send_burst(32, 700));
    ovs_assert(send_burst(1, 1518));
    end_iteration();
    ovs_assert(!send_burst(1, 1518));
    end_iteration();

    /* Once iterations have been worth it, all of it goes by DMA. */
    ovs_assert(send_bursts(50, 20, 1518, CPU) > 45);
    end_trial(20, 1518);
    ovs_assert(cost.worth_it);
    ovs_assert(send_burst(1, 1518));
    end_iteration();
    ovs_assert(!send_bursts(100, 32, 64, CPU));
    send_bursts(100, 1, 1518, CPU);
    ovs_assert(!cost.worth_it);
    ovs_assert(!send_burst(1, 1518));
    end_iteration();
}

/* Packets that are not sent do not count, however often they are tried. */
static void
test_not_sent(void)
{
    struct rte_mbuf mbufs[32], *pkts[32];

    start();
    for (int i = 0; i < 32; i++) {
        mbufs[i].pkt_len = 1518;
        pkts[i] = &mbufs[i];
    }
    for (int i = 0; i < 31; i++) {
        ovs_assert(vhost_async_cost_choose(&cost, &pkts[i], 32 - i, &timed)
                   == (32 - i >= 10));
        vhost_async_cost_take_back(&cost, &pkts[i + 1], 32 - i - 1);
        ovs_assert(cost.excess == 1518 - 719);
        cost.excess = 0;
    }
    for (int i = 0; i < 1000; i++) {
        vhost_async_cost_choose(&cost, pkts, 32, &timed);
        vhost_async_cost_take_back(&cost, &pkts[1], 31);
        end_iteration();
    }
    ovs_assert(!cost.worth_it);
}

/* Traffic that is just worth it does not go now one way, now the other. */
static void
test_no_flapping(void)
{
    unsigned int n_changes = 0;
    bool last = false;

    start();
    for (int i = 0; i < 10000; i++) {
        bool now;

        /* 10 packets are worth it, 9 are not. */
        send_burst(1, 1518);
        for (uint32_t n = 6 + random_range(5); n; n--) {
            now = send_burst(1, 1518);
        }
        end_iteration();
        n_changes += now != last;
        last = now;
    }
    ovs_assert(n_changes < 200);

    /* Nor does it if the CPU costs now more, now less. */
    n_changes = 0;
    for (int i = 0; i < 10000; i++) {
        uint32_t before = cost.limits.min_len;

        vhost_async_cost_add_time(&cost, dma.cpu_short + 58 + random_range(13),
                                  1536);
        n_changes += cost.limits.min_len != before;
    }
    ovs_assert(n_changes < 20);
}

/* A number of bytes is taken as it is. */
static void
test_threshold(void)
{
    start();
    atomic_store_relaxed(&vhost_async_policy.threshold, 100);
    ovs_assert(!send_burst(1, 99));
    ovs_assert(send_burst(1, 100));
    ovs_assert(send_burst(32, 100));
    end_iteration();
    atomic_store_relaxed(&vhost_async_policy.threshold, 0);
    ovs_assert(send_burst(1, 1));
    end_iteration();
    atomic_store_relaxed(&vhost_async_policy.threshold, UINT32_MAX);
    ovs_assert(!send_burst(32, 65535));
    end_iteration();
    /* Then nothing is timed. */
    for (int i = 0; i < 10000; i++) {
        send_burst(2, 1518);
        ovs_assert(timed == UINT16_MAX);
    }
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    ovs_assert(!send_burst(1, 1518));
    end_iteration();
    ovs_assert(send_burst(32, 1518));
    ovs_assert(send_bursts(1000, 1, 1518, CPU) < 10);
    ovs_assert(cost.n_timed);
}

/* Where the bytes are in memory, DMA is worth it for less; and back. */
static void
test_learning(void)
{
    uint32_t n;

    start();
    /* But for trials. */
    ovs_assert(send_bursts(1000, 4, 1518, CPU) < 100);
    end_trial(4, 1518);
    ovs_assert(cost.limits.min_len > 710 && cost.limits.min_len < 730);
    send_bursts(1000000, 4, 1518, 10 * CPU);
    ovs_assert(cost.limits.min_excess > 650 && cost.limits.min_excess < 950);
    ovs_assert(send_bursts(1000, 1, 1518, 10 * CPU) == 1000);
    /* Packets that are not timed go by CPU: it may be cheap again. */
    ovs_assert(cost.limits.min_len == VHOST_ASYNC_COST_SAMPLE_LEN);
    ovs_assert(!send_bursts(1000, 32, 64, 10 * CPU));
    ovs_assert(!send_bursts(1000, 32, VHOST_ASYNC_COST_SAMPLE_LEN - 1,
                            10 * CPU));

    /* Few packets are timed, and fewer if the others go by DMA. */
    n = cost.n_timed;
    send_bursts(2560, 1, 1518, 10 * CPU);
    ovs_assert(cost.n_timed - n == 10);
    send_bursts(20000, 1, 1518, CPU);
    /* 720, but for the eighth that limits stay for. */
    ovs_assert(cost.limits.min_len >= 720 * 7 / 8
               && cost.limits.min_len < 820);
    n = cost.n_timed;
    ovs_assert(!send_bursts(1280, 1, 1518, CPU));
    ovs_assert(cost.n_timed - n == 10);

    /* Short packets tell nothing, but do not keep others from it for long. */
    send_bursts(1000, 32, 255, CPU);
    ovs_assert(cost.n_timed - n == 10);
    send_bursts(8, 1, VHOST_ASYNC_COST_SAMPLE_LEN, CPU);
    ovs_assert(cost.n_timed - n == 11);
}

/* A core that takes CPU cycles for 64 KiB once all goes by CPU for a while,
 * and five times that before.  Sends 'n' bursts of four packets of 1518 bytes,
 * and returns how many went by DMA. */
static unsigned int
send_to_core(unsigned int n)
{
    static unsigned int by_cpu;
    unsigned int n_dma = 0;

    while (n--) {
        bool by_dma = send_bursts(1, 4, 1518, by_cpu < 20 ? 5 * CPU : CPU);

        by_cpu = by_dma ? 0 : by_cpu + 1;
        n_dma += by_dma;
    }
    return n_dma;
}

/* That a packet costs more by CPU because the others go by DMA is no reason to
 * have them go by DMA. */
static void
test_trials(void)
{
    unsigned int n, n_dma;

    /* They are not, without a reason, and trials are few. */
    start();
    send_to_core(1000);
    ovs_assert(send_to_core(100000) < 1000);

    /* If there was one, a trial shows that it is gone. */
    send_bursts(10000, 4, 1518, 10 * CPU);
    ovs_assert(cost.worth_it && send_to_core(1000) > 900);
    for (n = 0; send_to_core(1000) > 900; n += 1000) {
        ovs_assert(n < 200000);
    }
    send_to_core(100000);
    ovs_assert(send_to_core(100000) < 1000);

    /* If it is there still, trials are few. */
    send_bursts(100000, 4, 1518, 10 * CPU);
    n_dma = send_bursts(1000000, 4, 1518, 10 * CPU);
    ovs_assert(n_dma < 1000000 && n_dma > 998000);
}

/* Of what is received, the CPU waits for the first bytes in any case. */
static void
test_received(void)
{
    const uint32_t head = 128, wait = 1000, len = 1518;
    unsigned int n_heads = 0, n_all = 0, n_dma = 0;

    cost.head = head;
    start();
    /* Mbufs are cached. */
    ovs_assert(cost.limits.min_len == head + 864
               && cost.limits.min_excess > 7200);
    for (int i = 0; i < 10000; i++) {
        n_dma += send_burst(4, len);
        if (timed == UINT16_MAX) {
            /* Nothing to learn. */
        } else if (vhost_async_cost_times_head(&cost)) {
            vhost_async_cost_add_head_time(&cost, wait);
            n_heads++;
        } else {
            vhost_async_cost_add_time(&cost, wait + CPU * (len - head)
                                                    / (65536 * 5 / 4), len);
            n_all++;
        }
        end_iteration();
    }
    ovs_assert(!n_dma);
    ovs_assert(n_all > 30 && n_heads >= n_all && n_heads < n_all + 10);
    ovs_assert(cost_read(&cost.head_16ths) == wait * 16);
    ovs_assert(cost.limits.min_len >= head + 720 * 7 / 8
               && cost.limits.min_len < head + 820);
    /* The first bytes of a burst are waited for, each time. */
    ovs_assert(cost.limits.burst_loss > wait * 18 * 7 / 8
               && cost.limits.burst_loss < wait * 18 * 8 / 7);
    for (int i = 0; i < 16; i++) {
        ovs_assert(!send_burst(2, 9000));
    }
    ovs_assert(!cost.excess);
    end_iteration();
    ovs_assert(send_burst(4, 9000));
    end_iteration();

    /* What is little more than the first bytes tells nothing. */
    for (int i = 0; i < 1000; i++) {
        send_burst(4, head + VHOST_ASYNC_COST_SAMPLE_LEN - 1);
        ovs_assert(timed == UINT16_MAX);
    }

    /* An interruption while they are copied is one time of many. */
    vhost_async_cost_add_head_time(&cost, UINT64_MAX);
    ovs_assert(cost_read(&cost.head_16ths) <= wait * 16 * 9 / 8);

    /* What is not timed goes by CPU, however dear that was. */
    for (int i = 0; i < 20000; i++) {
        send_burst(4, len);
        if (timed != UINT16_MAX) {
            vhost_async_cost_add_time(&cost, 100000, len);
        }
        end_iteration();
    }
    ovs_assert(send_burst(4, head + VHOST_ASYNC_COST_SAMPLE_LEN));
    ovs_assert(!send_burst(32, head + VHOST_ASYNC_COST_SAMPLE_LEN - 1));
    /* What longer ones save is not less for that. */
    ovs_assert(cost.limits.min_len > 5 * cost.limits.even_len / 2);
    end_iteration();
    cost.head = 0;
}

/* A packet during which the thread was interrupted, or a clock that says that
 * it took no time, is one of many. */
static void
test_outliers(void)
{
    start();
    for (int i = 0; i < 1000; i++) {
        vhost_async_cost_add_time(&cost, i % 20 ? dma.cpu_short + 64
                                  : i % 40 ? 0 : UINT32_MAX, 1536);
        ovs_assert(cost.limits.min_len > 720 / 2
                   && cost.limits.min_len < 720 * 2);
    }
    for (int i = 0; i < 1000; i++) {
        vhost_async_cost_add_time(&cost, 0, 65535);
        ovs_assert(cost_read(&cost.cpu));
    }
    for (int i = 0; i < 1000; i++) {
        uint32_t before = cost_read(&cost.cpu);

        vhost_async_cost_add_time(&cost, UINT64_MAX / (1 << 20), 256);
        ovs_assert(cost_read(&cost.cpu) >= before);
    }
    ovs_assert(cost_read(&cost.cpu) == DPDK_DMA_COST_MAX_CPU);
}

/* With another channel all begins anew. */
static void
test_another_channel(void)
{
    static const struct dpdk_dma_cost cheap = { .cpu = CPU };

    start();
    send_bursts(10000, 4, 1518, 10 * CPU);
    vhost_async_cost_set_dma(&cost, NULL);
    vhost_async_cost_set_dma(&cost, &dma);
    ovs_assert(cost.limits.min_len == 720 && !cost.worth_it);
    vhost_async_cost_set_dma(&cost, &cheap);
    ovs_assert(send_burst(1, VHOST_ASYNC_COST_SAMPLE_LEN));
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(bursts),
    DMA_TEST_CASE(mixed_burst),
    DMA_TEST_CASE(iterations),
    DMA_TEST_CASE(not_sent),
    DMA_TEST_CASE(no_flapping),
    DMA_TEST_CASE(threshold),
    DMA_TEST_CASE(learning),
    DMA_TEST_CASE(trials),
    DMA_TEST_CASE(received),
    DMA_TEST_CASE(outliers),
    DMA_TEST_CASE(another_channel),
};

static void
test_vhost_cost_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-cost", test_vhost_cost_main);
