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

/* Tests of the receive rings, lib/vhost-vring*.c: when guests are notified. */

#undef NDEBUG
#include <config.h>

#include <pthread.h>
#include <sched.h>

#define DP(NAME) test_vhost_vring_notify_##NAME
#include "vhost-vring-fixture.h"

#include "dma-test.h"
#include "ovstest.h"
#include "random.h"
#include "timeval.h"

/* One thread publishes, the other sleeps when it finds nothing: it must always
 * be woken. */
static atomic_uint n_kicks, n_seen;

/* The other thread may have no CPU. */
static void
yield_at_times(int i)
{
    if (i % 1000 == 999) {
        sched_yield();
    }
}

static void *
sleeper(void *g_)
{
    struct guest *g = g_;
    unsigned int n = 0;

    while (n < g->size) {
        unsigned int before, now;

        atomic_read(&n_kicks, &before);
        guest_wake(g);
        while (guest_collect(g)) {
            atomic_store(&n_seen, ++n);
        }
        /* It may go to sleep before, while or after the next one comes. */
        for (volatile unsigned int i = n * 2654435761u >> 25; i; i--) {
            continue;
        }
        if (guest_sleep(g, 0)) {
            for (int i = 0; n < g->size; i++) {
                atomic_read(&n_kicks, &now);
                if (now != before) {
                    break;
                }
                yield_at_times(i);
            }
        }
    }
    return NULL;
}

static void
run_with_sleeper(uint64_t features)
{
    struct guest *g = guest_create(features, 4096);
    long long int end = time_usec() + 1500000;

    vhost_vring_must_notify(&g->vr);
    while (time_usec() < end) {
        unsigned int published = 0;
        pthread_t thread;

        atomic_store(&n_seen, 0);
        while (g->n_room) {
            guest_offer1(g, ELSEWHERE + g->n_offered % g->size, 1);
        }
        while (g->n_taken != g->n_offered) {
            must_send(g, 1);
        }
        ovs_assert(!pthread_create(&thread, NULL, sleeper, g));
        for (unsigned int n = 1, seen; n <= g->size; n++) {
            uint64_t start = rte_get_tsc_cycles();

            if (time_usec() > end) {
                /* Enough, where threads have to share a CPU. */
                n = g->size;
            }
            vhost_vring_publish(&g->vr, n - published);
            published = n;
            if (vhost_vring_must_notify(&g->vr)) {
                atomic_add(&n_kicks, 1, &seen);
            }
            for (int i = 0; ; i++) {
                atomic_read(&n_seen, &seen);
                if (seen >= n) {
                    break;
                }
                if (rte_get_tsc_cycles() - start > UINT64_C(20000000000)) {
                    ovs_fatal(0, "the guest was not woken");
                }
                yield_at_times(i);
            }
            for (volatile unsigned int i = random_range(128); i; i--) {
                continue;
            }
        }
        ovs_assert(!pthread_join(thread, NULL));
    }
    guest_destroy(g);
}

static void
test_sleeping_guest_is_woken(void)
{
    uint64_t layout;

    FOR_EACH_LAYOUT (layout) {
        run_with_sleeper(layout);
        run_with_sleeper(layout | EVENT_IDX);
    }
}

/* All distances between what was published, how much of that is new, and the
 * descriptor that the guest waits for. */
static void
test_event_of_packed_ring(void)
{
    const unsigned int size = 5;

    for (unsigned int start = 0; start < 2 * size; start++) {
        for (unsigned int n = 0; n <= 2 * size; n++) {
            unsigned int max = n < size ? size : n - 1;

            for (unsigned int event = 0; event <= max; event++) {
                struct vhost_vring vr = { .size = size, .event_idx = true };
                unsigned int used = start + n;
                unsigned int at = start + event;
                struct vring_packed_desc_event ev = {
                    .off_wrap = at % size | (at / size % 2 ? 0 : 0x8000),
                    .flags = VRING_PACKED_EVENT_FLAG_DESC,
                };

                vr.avail = (uint8_t *) &ev;
                vr.used_idx = used % size;
                vr.used_wrap = !(used / size % 2);
                vr.n_unsignalled = n;
                vr.looked = true;
                ovs_assert(packed_must_notify(&vr) == (event < n));
                ovs_assert(!packed_must_notify(&vr));
            }
        }
    }
}

static void
test_event_of_split_ring(void)
{
    for (uint16_t start = 65500; start != 30; start++) {
        for (unsigned int n = 0; n < 9; n++) {
            for (int event = -9; event < 9; event++) {
                uint16_t ring[3 + 8];   /* Flags, idx, ring, used_event. */
                struct vhost_vring vr = { .size = 8, .event_idx = true };

                memset(ring, 0xff, sizeof ring);
                ring[2 + 8] = start + event;
                vr.avail = (uint8_t *) ring;
                vr.used_idx = start + n;
                vr.n_unsignalled = n;
                vr.looked = true;
                ovs_assert(split_must_notify(&vr)
                           == (event >= 0 && event < (int) n));
                ovs_assert(!split_must_notify(&vr));
            }
        }
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(event_of_packed_ring),
    DMA_TEST_CASE(event_of_split_ring),
    DMA_TEST_CASE(sleeping_guest_is_woken),
};

static void
test_vhost_vring_notify_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-vring-notify", test_vhost_vring_notify_main);
