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

/* The completion engine "rx", for comparison only.
 *
 * Senders submit under the tx lock, and who polls the rxq of the same number
 * at the same port reaps, under the tx lock of the txq, too.  So threads that
 * send to a port contend with the one that receives from it, and an rxq that
 * nobody polls leaves it to the senders to reap what is late.
 *
 * See vhost-async-engine.h for threads and locks. */

#include <config.h>

#include "vhost-async-engine.h"

#include "dpdk-dma-dev.h"
#include "dpdk-dma-map.h"
#include "vhost-async-copy.h"
#include "vhost-async-txq.h"
#include "vhost-async-work.h"

uint16_t
vhost_async_engine_send(struct vhost_async_thread *self,
                        struct vhost_async_txq *txq, int vid,
                        struct rte_mbuf **pkts, uint16_t cnt)
{
    return vhost_async_copy_or_count(self, txq, vid, pkts, cnt);
}

/* Reaps what came back to 'txq', from all channels: copies of several threads
 * can be in flight to it.  The caller holds the tx lock. */
void
vhost_async_engine_rx(struct vhost_async_thread *self,
                      struct vhost_async_txq *txq, int vid)
{
    const struct dpdk_dma_chan *chan;

    if (!vhost_async_txq_in_flight(txq)) {
        return;
    }
    dpdk_dma_dev_poll_begin();
    for (size_t i = 0; i < txq->n_work; i++) {
        chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i);
        if (dpdk_dma_chan_usable(chan)
            && vhost_async_txq_waits_for(txq, chan)) {
            vhost_async_work_poll(self, txq, vid, chan);
        }
    }
    dpdk_dma_dev_poll_end();
}

unsigned int
vhost_async_engine_reap(struct vhost_async_thread *self)
{
    return vhost_async_work_look(self);
}

void
vhost_async_engine_drain(struct vhost_async_thread *self)
{
    vhost_async_work_drain(self);
}
