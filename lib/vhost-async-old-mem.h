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

#ifndef VHOST_ASYNC_OLD_MEM_H
#define VHOST_ASYNC_OLD_MEM_H 1

/* Memory of guests that they do not have any more, kept mapped for as long as
 * engines may use it: until each channel has reaped what it had been
 * handed by then.
 *
 * What a channel was handed before there was the memory, or for others, is no
 * reason to keep it: an engine that cannot be stopped keeps what it may write
 * to, and a guest that changes its memory all the time adds nothing to that.
 *
 * Thread-safety: any thread, but for vhost_async_old_mem_free(), which is the
 * helper's. */

#include <stdint.h>

#include "dpdk-dma-map.h"

struct vhost_guest_mem;

/* By channel, the copies that it had been handed at some moment. */
struct vhost_async_mem_marks {
    uint64_t submitted[DPDK_DMA_MAX_CHANS];
};

void vhost_async_old_mem_mark(struct vhost_async_mem_marks *);
void vhost_async_old_mem_add(struct vhost_guest_mem *,
                             const struct vhost_async_mem_marks *since);
unsigned int vhost_async_old_mem_free(void);

#endif /* vhost-async-old-mem.h */
