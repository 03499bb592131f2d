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

#ifndef VHOST_ASYNC_HELPER_H
#define VHOST_ASYNC_HELPER_H 1

/* A thread for what nobody else can wait for: it stops DMA devices that failed
 * and does their copies again, has ports change sides, opens the gate behind
 * messages that failed, and frees what was kept for copies in flight.
 *
 * It exists from the moment that the feature is turned on for the first time,
 * and sleeps unless there is something to do; dpdk_dma_dev_wake() wakes it. */

void vhost_async_helper_start(void);

#endif /* vhost-async-helper.h */
