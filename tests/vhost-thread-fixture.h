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

#ifndef VHOST_THREAD_FIXTURE_H
#define VHOST_THREAD_FIXTURE_H 1

/* PMD threads, of which all but the last have a channel of their own, and what
 * becomes of their engines.
 *
 * To be included behind vhost-data-path.h. */

#define MAX_PMDS 4

static struct vhost_async_thread pmds[MAX_PMDS];

/* Devices with one channel each, of as many PMD threads, and a thread more
 * that has none. */
static OVS_UNUSED void
start_engines(enum fake_driver driver, unsigned int n, uint16_t max_desc)
{
    static const char *const names[] = { "dma0", "dma1", "dma2" };
    struct dpdk_dma_map *map;

    ovs_assert(n < MAX_PMDS);
    atomic_store_relaxed(&vhost_async_policy.threshold, 1024);
    for (unsigned int i = 0; i < n; i++) {
        fake_dev_add(i, names[i], driver, 1, max_desc);
    }
    map = dpdk_dma_dev_map();
    dpdk_dma_dev_start_all();
    dpdk_dma_map_open(map);
    for (unsigned int i = 0; i < MAX_PMDS; i++) {
        struct dpdk_dma_chan *chan = NULL;

        if (i < n) {
            chan = dpdk_dma_map_claim(map, &pmds[i], i, 0);
            ovs_assert(chan == dpdk_dma_map_get(map, i));
        }
        vhost_async_thread_init(&pmds[i]);
        vhost_async_thread_set_chan(&pmds[i], chan);
    }
}

/* What a PMD thread does at the end of an iteration, but for reaping. */
static OVS_UNUSED void
end_iteration(struct vhost_async_thread *self)
{
    if (self->sender.cost.excess) {
        vhost_async_cost_end_iteration(&self->sender.cost);
    }
    if (self->sender.rx_cost.excess) {
        vhost_async_cost_end_iteration(&self->sender.rx_cost);
    }
    if (self->sender.chan) {
        dpdk_dma_chan_doorbell(self->sender.chan);
    }
}

/* Has 'self' reap, and time that as dpif-netdev-dma.c does. */
static OVS_UNUSED unsigned int
reap_timed(struct vhost_async_thread *self)
{
    bool timed = vhost_async_thread_times_reap(self);
    uint64_t begin = dpdk_dma_cost_clock();
    unsigned int n = vhost_async_thread_reap(self);

    if (timed && n) {
        vhost_async_thread_add_reap(self, dpdk_dma_cost_clock() - begin, n);
    }
    self->publish_cycles = 0;
    return n;
}

/* The engine of PMD thread 'i' carries out 'n' copies, and the thread looks.
 * Returns how many packets came back. */
static OVS_UNUSED unsigned int
work_and_reap(unsigned int i, unsigned int n)
{
    end_iteration(&pmds[i]);
    ovs_assert(fake_work(i, 0, n) == n);
    return reap_timed(&pmds[i]);
}

/* All that the engines have is done. */
static OVS_UNUSED void
settle(void)
{
    for (unsigned int i = 0; i < MAX_PMDS; i++) {
        while (vhost_async_thread_is_busy(&pmds[i])) {
            if (pmds[i].sender.chan) {
                end_iteration(&pmds[i]);
                fake_work(i, 0, UINT_MAX);
            }
            reap_timed(&pmds[i]);
        }
    }
}

/* What the helper's thread does. */
static OVS_UNUSED unsigned int
rescue(void)
{
    struct dpdk_dma_chan *chan;
    struct dpdk_dma_done done[3];
    unsigned int n, total = 0;

    stop_failed();
    while ((chan = dpdk_dma_dev_next_dead())) {
        while ((n = dpdk_dma_chan_redo(chan, done, ARRAY_SIZE(done)))) {
            for (unsigned int i = 0; i < n; i++) {
                struct vhost_async_vq *vq
                    = vhost_async_vq_of_owner(done[i].owner);

                vhost_async_vq_done(vq, done[i].seq);
                if (!vq->rx) {
                    vhost_async_engine_publish(NULL,
                                               vhost_async_txq_of_vq(vq));
                }
            }
            total += n;
        }
    }
    return total;
}

#ifndef FAKE_REAL_TIME
/* Has PMD thread 'i' find its engine silent until it gives it up. */
static OVS_UNUSED void
hang(unsigned int i)
{
    for (int j = 0; pmds[i].sender.chan; j++) {
        ovs_assert(j < 100);
        ovs_assert(!vhost_async_thread_reap(&pmds[i]));
        fake_ms(100);
    }
    ovs_assert(dpdk_dma_chan_failed(pmds[i].claimed));
    ovs_assert(!dpdk_dma_chan_in_use(pmds[i].claimed));
}
#endif

#endif /* vhost-thread-fixture.h */
