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

/* Implementation of vhost-async-old-mem.h. */

#include <config.h>

#include "vhost-async-old-mem.h"

#include "dpdk-dma-chan.h"
#include "dpdk-dma-dev.h"
#include "openvswitch/list.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "util.h"
#include "vhost-guest-mem.h"

struct old_mem {
    struct ovs_list list_node;
    struct vhost_guest_mem *mem;
    struct vhost_async_mem_marks until;     /* 0 if it does not matter. */
};

static struct ovs_mutex old_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list old_mems OVS_GUARDED_BY(old_mutex)
    = OVS_LIST_INITIALIZER(&old_mems);

/* Notes in '*marks' what channels have been handed by now.
 *
 * For memory that is there from now on, this may be called at any time before
 * a thread uses it.  That a count is late by what other threads do meanwhile
 * has it kept longer than needed, no more. */
void
vhost_async_old_mem_mark(struct vhost_async_mem_marks *marks)
{
    const struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        marks->submitted[i] = dpdk_dma_chan_submitted(chan);
    }
}

/* Takes 'mem', which may be NULL, to have it destroyed by and by, which can
 * take long.  It was first used when 'since' was noted; nothing in flight uses
 * it if that is NULL.  No thread is at rings that use it: who had their locks
 * counted what it had handed to its channel.  Any thread. */
void
vhost_async_old_mem_add(struct vhost_guest_mem *mem,
                        const struct vhost_async_mem_marks *since)
{
    struct old_mem *old;

    if (!mem) {
        return;
    }
    old = xzalloc(sizeof *old);
    old->mem = mem;
    if (since) {
        vhost_async_old_mem_mark(&old->until);
    }
    for (size_t i = 0; since && i < DPDK_DMA_MAX_CHANS; i++) {
        if (old->until.submitted[i] == since->submitted[i]) {
            old->until.submitted[i] = 0;
        }
    }
    ovs_mutex_lock(&old_mutex);
    ovs_list_push_back(&old_mems, &old->list_node);
    ovs_mutex_unlock(&old_mutex);
    dpdk_dma_dev_wake();
}

static bool
old_mem_is_in_use(const struct old_mem *old)
{
    const struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (dpdk_dma_chan_completed(chan) < old->until.submitted[i]) {
            return true;
        }
    }
    return false;
}

/* Destroys what no engine uses any more.  Returns how many tables are left.
 * The helper's thread, without a lock; no grace period waits for it. */
unsigned int
vhost_async_old_mem_free(void)
{
    struct ovs_list idle = OVS_LIST_INITIALIZER(&idle);
    struct old_mem *old;
    unsigned int n;

    ovs_mutex_lock(&old_mutex);
    LIST_FOR_EACH_SAFE (old, list_node, &old_mems) {
        if (!old_mem_is_in_use(old)) {
            ovs_list_remove(&old->list_node);
            ovs_list_push_back(&idle, &old->list_node);
        }
    }
    n = ovs_list_size(&old_mems);
    ovs_mutex_unlock(&old_mutex);

    if (!ovs_list_is_empty(&idle)) {
        ovsrcu_quiesce_start();
        LIST_FOR_EACH_POP (old, list_node, &idle) {
            vhost_guest_mem_destroy(old->mem);
            free(old);
        }
        ovsrcu_quiesce_end();
    }
    return n;
}
