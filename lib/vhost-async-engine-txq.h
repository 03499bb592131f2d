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

#ifndef VHOST_ASYNC_ENGINE_TXQ_H
#define VHOST_ASYNC_ENGINE_TXQ_H 1

/* What the completion engine of this build keeps in a txq; see
 * vhost-async-engine.h.  The txq only has room for it. */

#include "dma-defer-queue.h"
#include "ovs-atomic.h"
#include "util.h"
#include "vhost-async-choice.h"

struct rte_ring;

struct vhost_async_engine_txq {
    PADDED_MEMBERS(CACHE_LINE_SIZE,
#ifdef VHOST_ASYNC_RING
        struct rte_ring *ring;          /* Of mbufs; constant. */
        size_t memory;                  /* Bytes that it takes. */
        atomic_uint32_t waiting;        /* Packets for it, not copied yet. */
        struct dma_defer_node node;     /* In 'kept' of a thread. */
        bool is_kept;                   /* The lock's holder's. */
#else
        char dummy;
#endif
    );
};

#endif /* vhost-async-engine-txq.h */
