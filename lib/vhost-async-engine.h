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

#ifndef VHOST_ASYNC_ENGINE_H
#define VHOST_ASYNC_ENGINE_H 1

/* What a completion engine is: the rule by which threads get at a txq, to send
 * to it and to publish what is done.  Each build contains one, chosen by
 * configure (--with-vhost-async); this header is all that others know of it.
 *
 *   defer    vhost-async-defer.c: senders take turns at the lock of the txq.
 *   ring     vhost-async-ring.c: a sender that finds the lock taken puts its
 *            packets into a lockless ring, which the holder of the lock
 *            drains.
 *
 * With both, a thread that reaped copies publishes them, or leaves that to
 * whoever holds the lock (vhost-async-txq.h).
 *
 * Thread-safety
 * =============
 *
 * Functions take a 'struct vhost_async_sender' of the calling PMD thread, NULL
 * if that is none.  Any thread calls them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openvswitch/compiler.h"
#include "vhost-async-choice.h"

struct rte_mbuf;
struct vhost_async_sender;
struct vhost_async_txq;

/* Of the engine: its name, and its source for tests that include it. */
#if defined(VHOST_ASYNC_DEFER)
#define VHOST_ASYNC_ENGINE "defer"
#define VHOST_ASYNC_ENGINE_SOURCE "vhost-async-defer.c"
#elif defined(VHOST_ASYNC_RING)
#define VHOST_ASYNC_ENGINE "ring"
#define VHOST_ASYNC_ENGINE_SOURCE "vhost-async-ring.c"
#else
#error "configure chose no completion engine"
#endif

uint16_t vhost_async_engine_send(struct vhost_async_sender *,
                                 struct vhost_async_txq *, struct rte_mbuf **,
                                 uint16_t cnt, unsigned int retries);
void vhost_async_engine_publish(struct vhost_async_sender *,
                                struct vhost_async_txq *);
void vhost_async_engine_unlock(struct vhost_async_sender *,
                               struct vhost_async_txq *);

#ifdef VHOST_ASYNC_RING
bool vhost_async_engine_txq_init(struct vhost_async_txq *);
void vhost_async_engine_txq_destroy(struct vhost_async_txq *);
bool vhost_async_engine_txq_is_idle(struct vhost_async_txq *);
size_t vhost_async_engine_txq_memory(const struct vhost_async_txq *);
unsigned int vhost_async_engine_txq_waiting(const struct vhost_async_txq *);
void vhost_async_engine_run(struct vhost_async_sender *);
bool vhost_async_engine_leave(struct vhost_async_sender *);
#else
static inline bool
vhost_async_engine_txq_init(struct vhost_async_txq *txq OVS_UNUSED)
{
    return true;
}

static inline void
vhost_async_engine_txq_destroy(struct vhost_async_txq *txq OVS_UNUSED)
{
}

static inline bool
vhost_async_engine_txq_is_idle(struct vhost_async_txq *txq OVS_UNUSED)
{
    return true;
}

static inline size_t
vhost_async_engine_txq_memory(const struct vhost_async_txq *txq OVS_UNUSED)
{
    return 0;
}

static inline unsigned int
vhost_async_engine_txq_waiting(const struct vhost_async_txq *txq OVS_UNUSED)
{
    return 0;
}

static inline void
vhost_async_engine_run(struct vhost_async_sender *self OVS_UNUSED)
{
}

static inline bool
vhost_async_engine_leave(struct vhost_async_sender *self OVS_UNUSED)
{
    return true;
}
#endif

#endif /* vhost-async-engine.h */
