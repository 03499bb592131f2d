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

#ifndef VHOST_ASYNC_VQ_KINDS_H
#define VHOST_ASYNC_VQ_KINDS_H 1

/* What is done to txqs and rxqs alike, each in its way.  For those who start,
 * stop and drain virtqueues, whichever they are: the holder of the lock. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost-async-engine.h"
#include "vhost-async-rxq.h"
#include "vhost-async-txq.h"

/* Has what is done of a ring that stopped be over; when all of it is, the ring
 * may start again. */
static inline void
vhost_async_vq_end_done(struct vhost_async_vq *vq)
{
    if (vq->rx) {
        vhost_async_rxq_free_done(vhost_async_rxq_of_vq(vq));
    } else {
        vhost_async_txq_publish(vhost_async_txq_of_vq(vq));
    }
}

/* Waits until all copies in flight are done, or until 'deadline_tsc', and
 * returns whether they are; publishes to a guest that is sent to.  Those who
 * own the channels reap them meanwhile.  It sleeps, so others must not wait
 * for the lock. */
static inline bool
vhost_async_vq_drain(struct vhost_async_vq *vq, uint64_t deadline_tsc)
{
    return (vq->rx
            ? vhost_async_rxq_drain(vhost_async_rxq_of_vq(vq), deadline_tsc)
            : vhost_async_txq_drain(vhost_async_txq_of_vq(vq), deadline_tsc));
}

/* Gives up the lock, with nothing left to do. */
static inline void
vhost_async_vq_unlock(struct vhost_async_vq *vq)
{
    if (vq->rx) {
        vhost_async_rxq_unlock(vhost_async_rxq_of_vq(vq));
    } else {
        vhost_async_engine_unlock(NULL, vhost_async_txq_of_vq(vq));
    }
}

#endif /* vhost-async-vq-kinds.h */
