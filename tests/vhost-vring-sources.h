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

#ifndef VHOST_VRING_SOURCES_H
#define VHOST_VRING_SOURCES_H 1

/* The sources of receive rings.
 *
 * Names that the library has, too, begin with those of the test program: it
 * defines DP() before it includes this, and the functions
 * rte_vhost_log_write() and vhost_guest_mem_from_library(). */

#define rte_vhost_log_write DP(rte_vhost_log_write)
#define vhost_guest_mem_from_library DP(vhost_guest_mem_from_library)
#define vhost_vring_copy_from_table DP(vhost_vring_copy_from_table)
#define vhost_vring_destroy DP(vhost_vring_destroy)
#define vhost_vring_forget DP(vhost_vring_forget)
#define vhost_vring_get_base DP(vhost_vring_get_base)
#define vhost_vring_init DP(vhost_vring_init)
#define vhost_vring_log DP(vhost_vring_log)
#define vhost_vring_map DP(vhost_vring_map)
#define vhost_vring_open_table DP(vhost_vring_open_table)
#define vhost_vring_packed DP(vhost_vring_packed)
#define vhost_vring_set_base DP(vhost_vring_set_base)
#define vhost_vring_split DP(vhost_vring_split)
#define vhost_vring_unmap DP(vhost_vring_unmap)

/* The header first, so that a directory of changed ones comes before that of
 * the sources. */
#include "vhost-vring.h"

#include "vhost-vring.c"
#include "vhost-vring-packed.c"
#define read_desc split_read_desc
#define add_table split_add_table
#define add_descs split_add_descs
#define take_any split_take_any
#include "vhost-vring-split.c"
#undef read_desc
#undef add_table
#undef add_descs
#undef take_any

#endif /* vhost-vring-sources.h */
