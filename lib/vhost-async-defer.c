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

/* The completion engine "defer".
 *
 * Senders take turns at the lock of the txq; what one finds done when it lets
 * go of it, it publishes.  A thread that reaped copies while a sender is at
 * the txq defers their publication to that one.
 *
 * See vhost-async-engine.h for threads and locks. */

#include <config.h>

#include "vhost-async-engine.h"

#include "vhost-async-copy.h"
#include "vhost-async-txq.h"

/* Copies 'cnt' packets to 'txq'.  Returns how many, from the first on, were
 * taken.  Those in whose place is NULL then belong to the txq; all others
 * still to the caller, who comes back with those unless none was taken or
 * there were 'retries' enough, and then drops them. */
uint16_t
vhost_async_engine_send(struct vhost_async_sender *self,
                        struct vhost_async_txq *txq, struct rte_mbuf **pkts,
                        uint16_t cnt, unsigned int retries)
{
    enum vhost_async_obstacle obstacle = VHOST_ASYNC_BUSY;
    uint16_t n = 0;

    if (OVS_LIKELY(vhost_async_vq_lock_unless_closed(&txq->vq))) {
        n = vhost_async_txq_send(txq, self, pkts, cnt, &obstacle);
        vhost_async_engine_unlock(self, txq);
    }
    if (OVS_UNLIKELY(n < cnt) && vhost_async_txq_drops_rest(txq, n, retries)) {
        vhost_async_txq_count_drops(txq, obstacle, cnt - n);
    }
    return n;
}

/* Publishes what is done, or leaves that to who is at 'txq'. */
void
vhost_async_engine_publish(struct vhost_async_sender *self,
                           struct vhost_async_txq *txq)
{
    if (vhost_async_vq_trylock_or_leave(&txq->vq)) {
        vhost_async_txq_publish(txq);
        vhost_async_engine_unlock(self, txq);
    }
}

/* Gives up the lock of 'txq', with nothing left to do. */
void
vhost_async_engine_unlock(struct vhost_async_sender *self OVS_UNUSED,
                          struct vhost_async_txq *txq)
{
    while (OVS_UNLIKELY(!vhost_async_vq_try_unlock(&txq->vq))) {
        vhost_async_txq_publish(txq);
    }
}
