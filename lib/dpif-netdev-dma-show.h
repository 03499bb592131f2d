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

#ifndef DPIF_NETDEV_DMA_SHOW_H
#define DPIF_NETDEV_DMA_SHOW_H 1

/* What dpif-netdev/dma-show says of the configuration, of DMA channels and of
 * PMD threads, as text and as JSON.
 *
 * Called by dpif-netdev-dma.c in the main thread.  Counters are those of
 * running threads: figures that belong together can be apart by what happened
 * between two reads. */

struct ds;
struct json;
struct vhost_async_thread;

void dpif_netdev_dma_format_config(struct ds *);
struct json *dpif_netdev_dma_config_to_json(void);

void dpif_netdev_dma_format_thread(struct ds *,
                                   const struct vhost_async_thread *);
struct json *dpif_netdev_dma_thread_to_json(const struct vhost_async_thread *);

#endif /* dpif-netdev-dma-show.h */
