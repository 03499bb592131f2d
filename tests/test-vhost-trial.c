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

/* Tests what comes of trials: what DMA costs in use. */

#undef NDEBUG
#include <config.h>

#include "vhost-async-dpdk-compat.h"

#define DP(NAME) test_vhost_trial_##NAME
#include "vhost-cost-fixture.h"

/* Cases. */

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

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(dearer_in_use),
    DMA_TEST_CASE(trial_of_iterations),
    DMA_TEST_CASE(disturbed_trial),
    DMA_TEST_CASE(mixed_trial),
    DMA_TEST_CASE(other_direction),
    DMA_TEST_CASE(trial_ends),
};

static void
test_vhost_trial_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-trial", test_vhost_trial_main);
