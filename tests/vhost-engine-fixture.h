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

#ifndef VHOST_ENGINE_FIXTURE_H
#define VHOST_ENGINE_FIXTURE_H 1

/* Txqs with guests behind them, engines, and senders, which are threads, for
 * tests of the completion engine that was built.
 *
 * To be included behind vhost-data-path.h. */

#include "ovs-thread.h"
#include "util.h"
#include "vhost-ring-fixture.h"

#define MAX_PORTS 4
#define MAX_CHANS 4
#define MAX_SENDERS 8
#define MAX_BURST 32
#define BUF_LEN 2048

struct port {
    struct guest_ring guest;
    struct vhost_async_txq *txq;
    atomic_uint8_t tx_retries;

    /* The guest's. */
    uint32_t seqs[MAX_SENDERS]; /* The least that may come. */
    atomic_uint64_t n_got;

    atomic_bool offering;       /* Of the benchmark. */
};

static struct port ports[MAX_PORTS];
static size_t n_ports;

/* A thread that sends. */
struct sender {
    struct vhost_async_thread thread;
    bool is_pmd;                /* And not, say, the main thread. */
    pthread_t pthread;
    struct dp_pkt *pool;
    size_t pool_size, next;

    uint32_t seqs[MAX_PORTS];   /* As many packets were made. */
    uint64_t n_made, n_refused;

    /* Of the benchmark. */
    uint64_t n_left, n_attempts, cycles, cpu_ns, work;
};

static struct sender senders[MAX_SENDERS];
static size_t n_senders;

void
rte_vhost_log_write(int vid OVS_UNUSED, uint64_t gpa OVS_UNUSED,
                    uint64_t len OVS_UNUSED)
{
    OVS_NOT_REACHED();
}

static void
port_create(struct port *p, uint64_t features, uint32_t size)
{
    guest_ring_init(&p->guest, features | GUEST_MRG, size, 1, BUF_LEN);
    atomic_init(&p->tx_retries, 8);
    p->txq = vhost_async_txq_create("port", 0, &p->tx_retries,
                                    VHOST_ASYNC_VQ_STOPPED);
    ovs_assert(vhost_async_engine_txq_init(p->txq));
    vq_ring_start(&p->txq->vq, &p->guest, guest_ring_base(&p->guest));
    guest_ring_offer(&p->guest, UINT32_MAX);
}

static void
port_destroy(struct port *p)
{
    vhost_async_engine_txq_destroy(p->txq);
    vhost_async_txq_destroy(p->txq);
    guest_ring_destroy(&p->guest);
}

static void
start_engines(size_t n)
{
    static const char *const names[] = { "dma0", "dma1", "dma2", "dma3" };

    BUILD_ASSERT(ARRAY_SIZE(names) == MAX_CHANS);
    ovs_assert(n <= MAX_CHANS);
    for (size_t i = 0; i < n; i++) {
        fake_dev_add(i, names[i], FAKE_IDXD, 1, FAKE_MAX_RING);
    }
    dpdk_dma_dev_map();
    dpdk_dma_dev_start_all();
    dpdk_dma_map_open(dpdk_dma_dev_map());
}

static void
sender_init(struct sender *s, bool is_pmd, bool has_chan, size_t pool_size)
{
    struct dpdk_dma_chan *chan = NULL;

    if (has_chan) {
        chan = dpdk_dma_map_claim(dpdk_dma_dev_map(), &s->thread, s - senders,
                                  0);
        ovs_assert(chan);
    }
    vhost_async_thread_init(&s->thread);
    vhost_async_thread_set_chan(&s->thread, chan);
    s->is_pmd = is_pmd;
    s->pool_size = pool_size;
    s->pool = xcalloc(pool_size, sizeof *s->pool);
}

static void
sender_iterate(struct sender *s)
{
    if (s->is_pmd && vhost_async_thread_is_busy(&s->thread)) {
        vhost_async_thread_reap(&s->thread);
    }
}

#endif /* vhost-engine-fixture.h */
