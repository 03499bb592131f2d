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
 * Senders take turns at the tx lock, and each reaps, once per iteration, what
 * it submitted itself: the pair (channel, txq) waits in its deferred-work
 * queue.  There is nothing more to it than vhost-async-work.c.
 *
 * See vhost-async-engine.h for threads and locks. */

#include <config.h>

#include "vhost-async-engine.h"

#include "vhost-async-copy.h"
#include "vhost-async-txq.h"
#include "vhost-async-work.h"

/* Copies 'cnt' packets to 'txq'.  Returns how many were taken; see
 * vhost_async_copy(). */
uint16_t
vhost_async_engine_send(struct vhost_async_thread *self,
                        struct vhost_async_txq *txq, int vid,
                        struct rte_mbuf **pkts, uint16_t cnt)
{
    return vhost_async_copy_or_count(self, txq, vid, pkts, cnt);
}

/* Reaps.  Returns the number of packets.  To be called once per PMD iteration
 * if vhost_async_engine_is_busy(). */
unsigned int
vhost_async_engine_reap(struct vhost_async_thread *self)
{
    return vhost_async_work_reap(self);
}

/* Empties the queue of 'self', so that no reference to a port is left. */
void
vhost_async_engine_drain(struct vhost_async_thread *self)
{
    vhost_async_work_drain(self);
}
