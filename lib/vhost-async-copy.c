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

/* Implementation of vhost-async-copy.h. */

#include <config.h>

#include "vhost-async-copy.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>

#include "coverage.h"
#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "netdev-dpdk-async.h"
#include "openvswitch/vlog.h"
#include "util.h"
#include "vhost-async-txq.h"
#include "vhost-async-work.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_copy);

COVERAGE_DEFINE(vhost_async_busy_drop);
COVERAGE_DEFINE(vhost_async_refused);

/* Bursts in a row that a channel does not take and the CPU does, until that
 * is worth a word. */
#define MAX_REFUSED 32

static uint32_t
count_bytes(struct rte_mbuf **pkts, uint16_t cnt)
{
    uint32_t n = 0;

    for (uint16_t i = 0; i < cnt; i++) {
        n += rte_pktmbuf_pkt_len(pkts[i]);
    }
    return n;
}

/* Copies 'cnt' packets of 'bytes' in all by CPU.  Nothing may be in flight:
 * rte_vhost_enqueue_burst() takes the used ring for its own (22.11). */
static uint16_t
copy_by_cpu(struct vhost_async_thread *self, struct vhost_async_txq *txq,
            int vid, struct rte_mbuf **pkts, uint16_t cnt, uint32_t bytes)
{
    uint16_t n = rte_vhost_enqueue_burst(vid, txq->vring, pkts, cnt);

    if (OVS_UNLIKELY(n < cnt)) {
        bytes -= count_bytes(&pkts[n], cnt - n);
    }
    vhost_async_count(&txq->stats.cpu_packets, n);
    vhost_async_count(&txq->stats.cpu_bytes, bytes);
    if (self) {
        vhost_async_count(&self->stats.cpu_packets, n);
        vhost_async_count(&self->stats.cpu_bytes, bytes);
    }
    return n;
}

static uint16_t
copy_by_dma(struct vhost_async_thread *self, struct vhost_async_txq *txq,
            int vid, struct rte_mbuf **pkts, uint16_t cnt)
{
    /* Counted before: another thread may free them as soon as they are
     * submitted. */
    uint32_t bytes = count_bytes(pkts, cnt);
    uint16_t n = vhost_async_work_submit(self, txq, vid, pkts, cnt);

    if (OVS_UNLIKELY(n < cnt)) {
        bytes -= count_bytes(&pkts[n], cnt - n);
    }
    memset(pkts, 0, n * sizeof *pkts);

    vhost_async_count(&txq->stats.dma_packets, n);
    vhost_async_count(&txq->stats.dma_bytes, bytes);
    vhost_async_count(&self->stats.dma_packets, n);
    vhost_async_count(&self->stats.dma_bytes, bytes);
    return n;
}

/* A thread without a channel: the main thread, or one of more PMD threads
 * than there are channels.  Others' copies in flight must land first. */
static uint16_t
copy_without_channel(struct vhost_async_thread *self,
                     struct vhost_async_txq *txq, int vid,
                     struct rte_mbuf **pkts, uint16_t cnt,
                     enum vhost_async_obstacle *obstacle)
{
    if (!vhost_async_txq_is_idle(txq)
        && !vhost_async_txq_drain(txq, vid, VHOST_ASYNC_WAIT_US)) {
        COVERAGE_INC(vhost_async_busy_drop);
        *obstacle = VHOST_ASYNC_BUSY;
        return 0;
    }
    return copy_by_cpu(self, txq, vid, pkts, cnt, count_bytes(pkts, cnt));
}

/* The channel took nothing.  Mostly the guest has no buffers; but an engine
 * that refuses copies must not block its txqs for ever.  With nothing at work
 * for the txq the CPU may copy.
 *
 * That this goes well where the channel took nothing is no reason to
 * quarantine it: a guest can arrange for that, by the buffers that it gives,
 * and other guests need the channel. */
static uint16_t
copy_refused(struct vhost_async_thread *self, struct vhost_async_txq *txq,
             int vid, struct rte_mbuf **pkts, uint16_t cnt)
{
    uint64_t now;
    uint16_t n;

    if (vhost_async_txq_in_flight(txq)) {
        return 0;
    }
    if (vhost_async_txq_has_left(txq)) {
        /* Copies that the engine was never told to start do not end. */
        now = rte_get_tsc_cycles();
        if (!self->refused_tsc) {
            self->refused_tsc = now;
        } else if (now - self->refused_tsc
                   > rte_get_tsc_hz() / 1000 * dpdk_dma_dev_timeout_ms()) {
            dpdk_dma_dev_quarantine(self->chan, "it refuses copies");
        }
        return 0;
    }
    self->refused_tsc = 0;

    n = copy_by_cpu(self, txq, vid, pkts, cnt, count_bytes(pkts, cnt));
    if (n) {
        COVERAGE_INC(vhost_async_refused);
        if (++self->n_refused >= MAX_REFUSED) {
            static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(1, 1);

            VLOG_WARN_RL(&rl, "DMA device %s takes no copies; the CPU does "
                         "them.", self->chan->dev_name);
        }
    }
    return n;
}

/* Returns how many packets, from the first on, are below 'threshold', and adds
 * their lengths to '*bytes'. */
static uint16_t
leading_below(struct rte_mbuf **pkts, uint16_t cnt, uint32_t threshold,
              uint32_t *bytes)
{
    uint16_t n;

    for (n = 0; n < cnt; n++) {
        uint32_t len = rte_pktmbuf_pkt_len(pkts[n]);

        if (len >= threshold) {
            break;
        }
        *bytes += len;
    }
    return n;
}

/* Copies 'cnt' packets, 32 at most, to 'txq' of device 'vid', on behalf of
 * 'self', NULL if that is no PMD thread.  Returns how many, from the first on,
 * were taken; if not all were, sets '*obstacle'.  Those in whose place is NULL
 * then belong to the txq; all others still to the caller.
 *
 * One thread at a time per txq; 'vid' read in this RCU critical section. */
uint16_t
vhost_async_copy(struct vhost_async_thread *self, struct vhost_async_txq *txq,
                 int vid, struct rte_mbuf **pkts, uint16_t cnt,
                 enum vhost_async_obstacle *obstacle)
{
    uint32_t bytes = 0;
    uint16_t small = 0;
    uint16_t n = 0;

    *obstacle = VHOST_ASYNC_FULL;
    if (OVS_UNLIKELY(vhost_async_txq_is_stuck(txq))) {
        *obstacle = VHOST_ASYNC_STUCK;
        return 0;
    }
    if (OVS_UNLIKELY(!vhost_async_txq_is_registered(txq))) {
        return copy_by_cpu(self, txq, vid, pkts, cnt, count_bytes(pkts, cnt));
    }
    if (OVS_UNLIKELY(!self || !self->chan
                     || dpdk_dma_chan_failed(self->chan))) {
        return copy_without_channel(self, txq, vid, pkts, cnt, obstacle);
    }

    /* Small packets first in line go by CPU, which is cheaper for them.
     * Behind a copy in flight that would be out of order. */
    if (vhost_async_txq_is_idle(txq)) {
        small = leading_below(pkts, cnt, netdev_dpdk_async_threshold(),
                              &bytes);
        if (small) {
            n = copy_by_cpu(self, txq, vid, pkts, small, bytes);
        }
    }
    if (n == small && n < cnt) {
        uint16_t taken = copy_by_dma(self, txq, vid, &pkts[n], cnt - n);

        if (OVS_UNLIKELY(!taken)) {
            taken = copy_refused(self, txq, vid, &pkts[n], cnt - n);
        } else {
            self->refused_tsc = 0;
            self->n_refused = 0;
        }
        n += taken;
    }
    return n;
}

/* As vhost_async_copy(), for a sender that drops what is not taken when none
 * is: counts that by its reason. */
uint16_t
vhost_async_copy_or_count(struct vhost_async_thread *self,
                          struct vhost_async_txq *txq, int vid,
                          struct rte_mbuf **pkts, uint16_t cnt)
{
    enum vhost_async_obstacle obstacle;
    uint16_t n = vhost_async_copy(self, txq, vid, pkts, cnt, &obstacle);

    if (OVS_UNLIKELY(!n)) {
        if (obstacle == VHOST_ASYNC_BUSY) {
            vhost_async_count_shared(&txq->stats.busy_drops, cnt);
        } else if (obstacle == VHOST_ASYNC_STUCK) {
            vhost_async_count_shared(&txq->stats.stuck_drops, cnt);
        }
    }
    return n;
}
