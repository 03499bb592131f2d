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

#ifndef DMA_DEFER_QUEUE_H
#define DMA_DEFER_QUEUE_H 1

/* Deferred-work queue of one thread.
 *
 * A node stands for work that somebody has yet to finish: here, the copies
 * that one PMD thread has in flight to one txq.  It is in the queue at most
 * once, however often it is pushed, so that the queue needs no memory of its
 * own and cannot fill up.  dma_defer_run() visits each node that was queued
 * when it began exactly once and in the order in which they were pushed, so
 * that one node which is never done delays none of the others.
 *
 * Thread-safety
 * =============
 *
 * None: a queue and the nodes in it belong to one thread.  No function
 * allocates, locks or waits. */

#include <stdbool.h>

#include "openvswitch/list.h"
#include "util.h"

struct dma_defer_node {
    struct ovs_list list;       /* Empty while the node is not queued. */
};

struct dma_defer_queue {
    struct ovs_list list;
    unsigned int n;             /* Nodes queued. */
};

/* Does the work that 'node' stands for as far as possible now.  Returns true
 * if nothing of it is left. */
typedef bool dma_defer_func(struct dma_defer_node *node, void *aux);

static inline void
dma_defer_init(struct dma_defer_queue *q)
{
    ovs_list_init(&q->list);
    q->n = 0;
}

static inline void
dma_defer_node_init(struct dma_defer_node *node)
{
    ovs_list_init(&node->list);
}

static inline bool
dma_defer_is_queued(const struct dma_defer_node *node)
{
    return !ovs_list_is_empty(&node->list);
}

static inline bool
dma_defer_is_empty(const struct dma_defer_queue *q)
{
    return !q->n;
}

/* Queues 'node' at the end of 'q' unless it is in there.  Returns true if it
 * was not. */
static inline bool
dma_defer_push(struct dma_defer_queue *q, struct dma_defer_node *node)
{
    if (dma_defer_is_queued(node)) {
        return false;
    }
    ovs_list_push_back(&q->list, &node->list);
    q->n++;
    return true;
}

static inline void
dma_defer_remove(struct dma_defer_queue *q, struct dma_defer_node *node)
{
    ovs_list_remove(&node->list);
    ovs_list_init(&node->list);
    q->n--;
}

/* Calls 'func' for each node that is queued now, oldest first, and removes
 * those for which it returns true.  The others keep their places.  'func' may
 * push nodes, which the next run visits.  It may also remove the visited node
 * itself, no other, and must return false then. */
static inline void
dma_defer_run(struct dma_defer_queue *q, dma_defer_func *func, void *aux)
{
    struct ovs_list *pos = q->list.next;

    for (unsigned int left = q->n; left; left--) {
        struct dma_defer_node *node = CONTAINER_OF(pos, struct dma_defer_node,
                                                   list);

        /* The next position is taken before the visited node goes. */
        pos = pos->next;
        if (func(node, aux)) {
            dma_defer_remove(q, node);
        }
    }
}

/* Empties 'q' without doing any work. */
static inline void
dma_defer_clear(struct dma_defer_queue *q)
{
    while (!dma_defer_is_empty(q)) {
        dma_defer_remove(q, CONTAINER_OF(ovs_list_front(&q->list),
                                         struct dma_defer_node, list));
    }
}

#endif /* dma-defer-queue.h */
