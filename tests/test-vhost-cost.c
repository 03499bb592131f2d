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

#include <rte_mbuf.h>

#include "dma-test.h"
#include "ovstest.h"
#include "random.h"
#include "util.h"

/* Time passes when a burst is copied. */
#include "dpdk-dma-cost.h"
static uint64_t fake_tsc = 1;
#define dpdk_dma_cost_clock() fake_tsc

/* The library has them, too. */
#define vhost_async_cost_add_head_time dp_cost_add_head_time
#define vhost_async_cost_add_time dp_cost_add_time
#define vhost_async_cost_end_iteration dp_cost_end_iteration
#define vhost_async_cost_get_limits dp_cost_get_limits
#define vhost_async_cost_next_timed dp_cost_next_timed
#define vhost_async_cost_set_dma dp_cost_set_dma
#define vhost_async_cost_set_threshold dp_cost_set_threshold
#define vhost_async_cost_times_head dp_cost_times_head
#define vhost_async_policy dp_policy
#define vhost_async_cost_add_reap dp_cost_add_reap
#define vhost_async_trial_add_publish dp_trial_add_publish
#define vhost_async_trial_add_reap dp_trial_add_reap
#define vhost_async_trial_end_burst dp_trial_end_burst
#define vhost_async_trial_end_iteration dp_trial_end_iteration
#define vhost_async_trial_next_burst dp_trial_next_burst
#define vhost_async_trial_result dp_trial_result
#define vhost_async_trial_stalls dp_trial_stalls
#define vhost_async_trial_start dp_trial_start
#include "vhost-async-trial.c"
#include "vhost-async-cost.c"

/* The CPU takes a cycle for 16 bytes. */
#define CPU 4096

/* With an eighth to be certain: packets from 720 bytes on, if there are 7200
 * bytes beyond that. */
static const struct dpdk_dma_cost dma = {
    .packet = 40, .copy = 30, .iteration = 400, .cpu = CPU, .cpu_short = 50,
};

/* Of a packet, whichever way it goes. */
#define BASE 50

static struct vhost_async_cost cost;
static uint16_t timed;
static uint32_t in_use;         /* What DMA costs, in 256ths of 'dma'. */
/* In which phase of a trial the thread is interrupted. */
static enum vhost_async_trial_phase disturbed = VHOST_ASYNC_TRIAL_NONE;
static uint64_t n_disturbed, disturbed_reap;    /* For how many cycles. */

static void
start(void)
{
    in_use = DPDK_DMA_COST_AS_MEASURED;
    atomic_store_relaxed(&vhost_async_policy.threshold, VHOST_ASYNC_AUTO);
    vhost_async_cost_set_dma(&cost, &dma);
}

/* Sends 'n' packets of 'len' bytes.  Returns whether they are to go by DMA. */
static bool
send_burst(unsigned int n, uint32_t len)
{
    struct rte_mbuf mbufs[64], *pkts[64];

    for (unsigned int i = 0; i < n; i++) {
        mbufs[i].pkt_len = len;
        pkts[i] = &mbufs[i];
    }
    timed = UINT16_MAX;
    return vhost_async_cost_choose(&cost, pkts, n, &timed)
           && len >= cost.limits.min_len;
}

static void
end_iteration(void)
{
    if (cost.excess) {
        vhost_async_cost_end_iteration(&cost);
    }
}

/* Copies 'n' packets of 'len' bytes, if that is timed, by DMA or by a CPU that
 * takes 'cpu' cycles for 64 KiB. */
static void
copy_burst(unsigned int n, uint32_t len, uint32_t cpu, bool by_dma)
{
    if (vhost_async_trial_times_burst(&cost.trial)) {
        struct vhost_async_trial_burst b = {
            .bytes = (uint64_t) n * len, .n_pkts = n,
        };

        fake_tsc += cost.trial.phase == disturbed ? n_disturbed : 0;
        fake_tsc += n * BASE;
        if (by_dma) {
            fake_tsc += (uint64_t) n * dma.packet * in_use / 256;
            b.n_dma = b.n_copies = n;
        } else {
            fake_tsc += (uint64_t) n * cpu * len / 65536;
            b.cpu_bytes = b.bytes;
        }
        vhost_async_trial_end_burst(&cost.trial, &b, true);
    }
    if (by_dma) {
        vhost_async_trial_add_publish(&cost.trial, 0, n);
        vhost_async_cost_add_reap(&cost, (uint64_t) dma.iteration * in_use
                                         / 256 + disturbed_reap, n);
    }
}

/* Sends 'n_bursts' bursts, each in an iteration of its own, and takes the time
 * of those packets, and bursts, that are to be timed: 'cpu' cycles for 64 KiB.
 * Returns how many bursts were to go by DMA. */
static unsigned int
send_bursts(unsigned int n_bursts, unsigned int n, uint32_t len, uint32_t cpu)
{
    unsigned int n_dma = 0;

    for (unsigned int i = 0; i < n_bursts; i++) {
        bool by_dma = send_burst(n, len);

        n_dma += by_dma;
        copy_burst(n, len, cpu, by_dma);
        if (timed != UINT16_MAX) {
            ovs_assert(timed < n && len >= VHOST_ASYNC_COST_SAMPLE_LEN);
            vhost_async_cost_add_time(&cost, dma.cpu_short
                                      + (uint64_t) cpu * len / (65536 * 3 / 2),
                                      len);
        }
        end_iteration();
    }
    return n_dma;
}

/* Sends bursts of 'n' packets of 'len' bytes until no trial is going on, and
 * has none begin soon. */
static void
end_trial(unsigned int n, uint32_t len)
{
    for (int i = 0; cost.trial.phase; i++) {
        ovs_assert(i < 1000);
        send_bursts(1, n, len, CPU);
    }
    cost.n_bursts = 100;
}

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

/* DMA may cost more in use than was measured, and be worth it later. */
static void
test_dearer_in_use(void)
{
    unsigned int n_dma;

    /* By what was measured it takes 440 cycles instead of 1518 * 16 / 16. */
    start();
    ovs_assert(send_bursts(50, 16, 1518, CPU) >= 48);
    in_use *= 3;
    send_bursts(1000000, 16, 1518, CPU);
    ovs_assert(cost_read(&cost.in_use) > 3 * 256 * 15 / 16
               && cost_read(&cost.in_use) < 3 * 256 * 17 / 16);
    n_dma = send_bursts(200000, 16, 1518, CPU);
    ovs_assert(n_dma < 2000);
    /* Longer ones are worth it still. */
    ovs_assert(send_bursts(1000, 16, 9000, CPU) > 900);
    ovs_assert(cost_read(&cost.in_use) > 3 * 256 * 7 / 8);

    in_use /= 3;
    send_bursts(1000000, 16, 1518, CPU);
    ovs_assert(cost_read(&cost.in_use) > 256 * 15 / 16
               && cost_read(&cost.in_use) < 256 * 17 / 16);
    n_dma = send_bursts(200000, 16, 1518, CPU);
    ovs_assert(n_dma > 198000);

    /* Or cheaper than was measured. */
    start();
    in_use = 256 * 5 / 8;
    ovs_assert(!send_bursts(1, 5, 1518, CPU));
    send_bursts(1000000, 5, 1518, CPU);
    ovs_assert(send_bursts(200000, 5, 1518, CPU) > 198000);
}

/* Bursts of an iteration belong together, in a trial, too, however many there
 * are. */
static void
test_trial_of_iterations(void)
{
    start();
    in_use *= 2;
    for (int i = 0; i < 4000; i++) {
        unsigned int n_dma = 0;

        for (int j = 0; j < 100; j++) {
            bool by_dma = send_burst(1, 1518);

            copy_burst(1, 1518, CPU, by_dma);
            if (by_dma) {
                /* What was reaped is not an iteration each time. */
                if (vhost_async_trial_times_reap(&cost.trial)) {
                    cost.trial.reap_cycles -= dma.iteration * in_use / 256;
                }
                n_dma++;
            }
        }
        if (n_dma) {
            vhost_async_cost_add_reap(&cost, dma.iteration * in_use / 256, 0);
        }
        end_iteration();
    }
    ovs_assert(cost.n_trials > 3);
    ovs_assert(cost_read(&cost.in_use) > 2 * 256 * 15 / 16
               && cost_read(&cost.in_use) < 2 * 256 * 17 / 16);
}

/* Sends bursts until there was a trial. */
static void
next_trial(void)
{
    uint32_t n = cost.n_trials;

    while (cost.n_trials == n) {
        send_bursts(1, 16, 1518, CPU);
    }
}

/* That the thread was interrupted does not count if it is for long, and
 * decides nothing for long if it is less. */
static void
test_disturbed_trial(void)
{
    start();
    send_bursts(200000, 16, 1518, CPU);
    for (int i = 0; i < 6; i++) {
        n_disturbed = i % 2 ? 50000 : UINT64_C(1) << 40;
        disturbed = (i < 2 ? VHOST_ASYNC_TRIAL_CPU_BURSTS
                     : i < 4 ? VHOST_ASYNC_TRIAL_DMA_BURSTS
                     : VHOST_ASYNC_TRIAL_NONE);
        disturbed_reap = i < 4 ? 0 : n_disturbed;
        if (i % 2) {
            next_trial();
            ovs_assert(cost_read(&cost.in_use) >= COST_MAY_PAY
                       && cost_read(&cost.in_use) <= 256 * 3);
        } else {
            send_bursts(400000, 16, 1518, CPU);
            ovs_assert(cost_read(&cost.in_use) > 256 * 15 / 16
                       && cost_read(&cost.in_use) < 256 * 17 / 16);
        }
        disturbed = VHOST_ASYNC_TRIAL_NONE;
        disturbed_reap = 0;
        send_bursts(400000, 16, 1518, CPU);
        ovs_assert(send_bursts(1000, 16, 1518, CPU) > 800);
        ovs_assert(cost_read(&cost.in_use) > 256 * 7 / 8
                   && cost_read(&cost.in_use) < 256 * 9 / 8);
    }
}

/* Bursts in which nothing may go by DMA are no part of a trial, and do not end
 * it. */
static void
test_mixed_trial(void)
{
    uint32_t n;

    start();
    in_use *= 3;
    for (int i = 0; i < 400000; i++) {
        send_bursts(1, 16, i % 3 ? 1518 : i % 2 ? 600 : 64, CPU);
    }
    ovs_assert(cost.n_trials > 3);
    ovs_assert(cost_read(&cost.in_use) > 3 * 256 * 15 / 16
               && cost_read(&cost.in_use) < 3 * 256 * 17 / 16);

    /* Nor do they make trials more. */
    n = cost.n_trials;
    for (int i = 0; i < 400000; i++) {
        send_bursts(1, 16, i % 3 ? 1518 : 512, CPU);
    }
    ovs_assert(cost.n_trials - n < 30);
}

/* There is one trial at a time. */
static void
test_other_direction(void)
{
    static struct vhost_async_cost other;

    start();
    cost.other = &other;
    other.trial.phase = VHOST_ASYNC_TRIAL_CPU_SETTLE;
    send_bursts(100000, 16, 1518, CPU);
    ovs_assert(!cost.n_trials && !cost.trial.phase);
    other.trial.phase = VHOST_ASYNC_TRIAL_NONE;
    send_bursts(1000, 16, 1518, CPU);
    ovs_assert(cost.n_trials == 1);
    cost.other = NULL;
}

/* Sends bursts of packets for DMA until 'phase' of a trial. */
static void
await_phase(enum vhost_async_trial_phase phase)
{
    for (int i = 0; cost.trial.phase != phase; i++) {
        ovs_assert(i < 1000000);
        send_bursts(1, 16, 1518, CPU);
    }
}

/* A trial ends, also if there is nothing more for it, and then costs
 * nothing. */
static void
test_trial_ends(void)
{
    static const enum vhost_async_trial_phase phases[] = {
        VHOST_ASYNC_TRIAL_CPU_SETTLE, VHOST_ASYNC_TRIAL_CPU_PACKETS,
        VHOST_ASYNC_TRIAL_CPU_BURSTS, VHOST_ASYNC_TRIAL_DMA_SETTLE,
        VHOST_ASYNC_TRIAL_DMA_BURSTS,
    };

    start();
    for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
        /* The CPU takes so little that nothing is to go by DMA. */
        await_phase(phases[i]);
        for (int j = 0; cost.trial.phase; j++) {
            ovs_assert(j < 3000);
            send_bursts(1, 1, VHOST_ASYNC_COST_SAMPLE_LEN, CPU / 16);
        }
        ovs_assert(cost.n_bursts > 100);
        send_bursts(100000, 16, 1518, CPU);

        /* Nor do short ones. */
        await_phase(phases[i]);
        send_bursts(500, 32, 64, CPU);
        ovs_assert(cost.trial.phase == phases[i]);
        ovs_assert(!vhost_async_trial_times_burst(&cost.trial));
        ovs_assert(!send_bursts(1000, 32, 64, CPU));
        ovs_assert(!cost.trial.phase);
        send_bursts(100000, 16, 1518, CPU);
    }

    /* Nothing is sent at all, and others are reaped. */
    await_phase(VHOST_ASYNC_TRIAL_DMA_BURSTS);
    for (int i = 0; cost.trial.phase; i++) {
        ovs_assert(i < 3000);
        vhost_async_cost_add_reap(&cost, 100, 32);
    }
    ovs_assert(cost.limits.min_len > 600);

    /* Nor does it go on with a number of bytes. */
    await_phase(VHOST_ASYNC_TRIAL_DMA_BURSTS);
    atomic_store_relaxed(&vhost_async_policy.threshold, 100);
    ovs_assert(send_burst(1, 100));
    ovs_assert(!cost.trial.phase && cost.limits.min_len == 100);
    end_iteration();
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
    DMA_TEST_CASE(dearer_in_use),
    DMA_TEST_CASE(trial_of_iterations),
    DMA_TEST_CASE(disturbed_trial),
    DMA_TEST_CASE(mixed_trial),
    DMA_TEST_CASE(other_direction),
    DMA_TEST_CASE(trial_ends),
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
