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

#ifndef VHOST_ASYNC_DPDK_COMPAT_H
#define VHOST_ASYNC_DPDK_COMPAT_H 1

/* What differs between the releases of DPDK that this is built with, 22.11 and
 * later: everything that is decided by RTE_VERSION is decided here.
 *
 * To be included before any other header of DPDK. */

#include <rte_version.h>

/* 22.11, 23.03, 23.07: rte_dmadev.h is experimental, and who calls what it has
 * is told that it is deprecated.  From 23.11 on it is stable, and nothing else
 * that is experimental shall be used. */
#if RTE_VERSION < RTE_VERSION_NUM(23, 11, 0, 0)
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

/* 26.11: the functions for vfio became internal to DPDK.  Before it, memory of
 * guests is mapped by them. */
#if RTE_VERSION < RTE_VERSION_NUM(26, 11, 0, 0)
#define VHOST_ASYNC_HAVE_VFIO 1
#endif

#endif /* vhost-async-dpdk-compat.h */
