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

#ifndef NETDEV_DPDK_ASYNC_MIGRATE_H
#define NETDEV_DPDK_ASYNC_MIGRATE_H 1

/* The command netdev-dpdk/vhost-async-migrate, which takes a vhost port off
 * DMA for the time that its guest is migrated.
 *
 * It is answered when the guest has connected again, for which
 * netdev_dpdk_async_migrate_run() looks.  That is part of a netdev class of
 * netdev-dpdk.c, so the main thread calls it, which also gets the command. */

struct netdev_class;
struct netdev_dpdk_async;

#ifdef VHOST_ASYNC

void netdev_dpdk_async_migrate_init(void);
void netdev_dpdk_async_migrate_run(const struct netdev_class *);
void netdev_dpdk_async_migrate_wait(const struct netdev_class *);
void netdev_dpdk_async_migrate_forget(const struct netdev_dpdk_async *);

#else /* !VHOST_ASYNC */

#define netdev_dpdk_async_migrate_run NULL
#define netdev_dpdk_async_migrate_wait NULL

#endif /* !VHOST_ASYNC */

#endif /* netdev-dpdk-async-migrate.h */
