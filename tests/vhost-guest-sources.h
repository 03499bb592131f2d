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

#ifndef VHOST_GUEST_SOURCES_H
#define VHOST_GUEST_SOURCES_H 1

/* The sources of the guest's side, from netdev-dpdk-async.c down to its
 * memory, on top of those of the data path, with the vhost library and the
 * engines faked.  Mappings of guests' memory are counted, and who would wait
 * calls world_delay() and world_yield() of the test.
 *
 * Names that the library has, too, begin with those of the test program: it
 * defines DP() before it includes this. */

#include "fake-dmadev.h"

/* Others run while one waits. */
static void world_delay(unsigned int us);
static int world_yield(void);
#undef rte_delay_us_sleep
#define rte_delay_us_sleep world_delay

/* Memory is that of vhost-guest-mem.c. */
#define FAKE_GUEST_RING_H 1
struct vhost_guest_mem;
static void *guest_ring_from_library(const struct vhost_guest_mem *,
                                     const void *va, uint64_t size,
                                     uint64_t *gpa);
#define sched_yield world_yield
#include "vhost-data-path.h"
#undef vhost_guest_mem_from_library

#include "fake-vhost-lib.h"
#include "fake-vhost-lib-calls.h"

void
rte_vhost_log_write(int vid, uint64_t gpa, uint64_t len)
{
    lib_log_write(vid, gpa, len);
}

#define netdev_dpdk_async_add_vring_stats DP(netdev_dpdk_async_add_vring_stats)
#define netdev_dpdk_async_configure DP(netdev_dpdk_async_configure)
#define netdev_dpdk_async_destroy_connection \
    DP(netdev_dpdk_async_destroy_connection)
#define netdev_dpdk_async_destroy_device DP(netdev_dpdk_async_destroy_device)
#define netdev_dpdk_async_format DP(netdev_dpdk_async_format)
#define netdev_dpdk_async_to_json DP(netdev_dpdk_async_to_json)
#define netdev_dpdk_async_free DP(netdev_dpdk_async_free)
#define netdev_dpdk_async_get_custom_stats \
    DP(netdev_dpdk_async_get_custom_stats)
#define netdev_dpdk_async_get_status DP(netdev_dpdk_async_get_status)
#define netdev_dpdk_async_init DP(netdev_dpdk_async_init)
#define netdev_dpdk_async_is_enabled DP(netdev_dpdk_async_is_enabled)
#define netdev_dpdk_async_lost DP(netdev_dpdk_async_lost)
#define netdev_dpdk_async_new_connection DP(netdev_dpdk_async_new_connection)
#define netdev_dpdk_async_new_device DP(netdev_dpdk_async_new_device)
#define netdev_dpdk_async_receive DP(netdev_dpdk_async_receive)
#define netdev_dpdk_async_refusal DP(netdev_dpdk_async_refusal)
#define netdev_dpdk_async_register DP(netdev_dpdk_async_register)
#define netdev_dpdk_async_rx_count DP(netdev_dpdk_async_rx_count)
#define netdev_dpdk_async_rx_refusal DP(netdev_dpdk_async_rx_refusal)
#define netdev_dpdk_async_send DP(netdev_dpdk_async_send)
#define netdev_dpdk_async_set_config DP(netdev_dpdk_async_set_config)
#define netdev_dpdk_async_stats_clear DP(netdev_dpdk_async_stats_clear)
#define netdev_dpdk_async_threshold DP(netdev_dpdk_async_threshold)
#define vhost_async_guest_connect DP(vhost_async_guest_connect)
#define vhost_async_guest_destroy_device DP(vhost_async_guest_destroy_device)
#define vhost_async_guest_disconnect DP(vhost_async_guest_disconnect)
#define vhost_async_guest_enable DP(vhost_async_guest_enable)
#define vhost_async_guest_map DP(vhost_async_guest_map)
#define vhost_async_guest_forget_port DP(vhost_async_guest_forget_port)
#define vhost_async_guest_look_after DP(vhost_async_guest_look_after)
#define vhost_async_guest_new_device DP(vhost_async_guest_new_device)
#define vhost_async_guest_take_over DP(vhost_async_guest_take_over)
#define vhost_async_helper_start DP(vhost_async_helper_start)
#define vhost_async_old_mem_add DP(vhost_async_old_mem_add)
#define vhost_async_old_mem_free DP(vhost_async_old_mem_free)
#define vhost_async_old_mem_mark DP(vhost_async_old_mem_mark)
#define vhost_async_port_add_guest DP(vhost_async_port_add_guest)
#define vhost_async_port_add_vqs DP(vhost_async_port_add_vqs)
#define vhost_async_port_clear DP(vhost_async_port_clear)
#define vhost_async_port_create_vq DP(vhost_async_port_create_vq)
#define vhost_async_port_destroy DP(vhost_async_port_destroy)
#define vhost_async_port_end_handover DP(vhost_async_port_end_handover)
#define vhost_async_port_end_stuck DP(vhost_async_port_end_stuck)
#define vhost_async_port_free_vqs DP(vhost_async_port_free_vqs)
#define vhost_async_port_get_rx_totals DP(vhost_async_port_get_rx_totals)
#define vhost_async_port_get_totals DP(vhost_async_port_get_totals)
#define vhost_async_port_has_path DP(vhost_async_port_has_path)
#define vhost_async_port_init DP(vhost_async_port_init)
#define vhost_async_port_remove_guest DP(vhost_async_port_remove_guest)
#define vhost_async_port_remove_vqs DP(vhost_async_port_remove_vqs)
#define vhost_async_port_set_dma DP(vhost_async_port_set_dma)
#define vhost_async_port_set_no_dma DP(vhost_async_port_set_no_dma)
#define vhost_async_port_set_owner DP(vhost_async_port_set_owner)
#define vhost_async_port_set_path DP(vhost_async_port_set_path)
#define vhost_async_port_unset_owner DP(vhost_async_port_unset_owner)
#define vhost_async_ports DP(vhost_async_ports)
#define vhost_async_ports_mutex DP(vhost_async_ports_mutex)
#define vhost_async_rings_announce DP(vhost_async_rings_announce)
#define vhost_async_rings_are_ours DP(vhost_async_rings_are_ours)
#define vhost_async_rings_close_gate DP(vhost_async_rings_close_gate)
#define vhost_async_rings_drain DP(vhost_async_rings_drain)
#define vhost_async_rings_features DP(vhost_async_rings_features)
#define vhost_async_rings_have_copies DP(vhost_async_rings_have_copies)
#define vhost_async_rings_move_base DP(vhost_async_rings_move_base)
#define vhost_async_rings_move_call DP(vhost_async_rings_move_call)
#define vhost_async_rings_stop DP(vhost_async_rings_stop)
#define vhost_async_rings_tell_library DP(vhost_async_rings_tell_library)
#define vhost_async_rings_update DP(vhost_async_rings_update)
#define vhost_async_rings_update_one DP(vhost_async_rings_update_one)
#define vhost_async_txq_get_totals DP(vhost_async_txq_get_totals)
#define vhost_guest_mem_create DP(vhost_guest_mem_create)
#define vhost_guest_mem_device_came DP(vhost_guest_mem_device_came)
#define vhost_guest_mem_destroy DP(vhost_guest_mem_destroy)
#define vhost_guest_mem_equals DP(vhost_guest_mem_equals)
#define vhost_guest_mem_from_library DP(vhost_guest_mem_from_table)
#define vhost_guest_mem_map_for_dma DP(vhost_guest_mem_map_for_dma)

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "netdev-provider.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/poll-loop.h"
#include "ovstest.h"
#include "smap.h"
#include "timeval.h"

/* Mappings of guests' memory. */
static int n_maps;
static bool maps_fail;

static void *
counted_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t ofs)
{
    if (maps_fail) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    n_maps++;
    return mmap(addr, size, prot, flags, fd, ofs);
}

static int
counted_munmap(void *addr, size_t size)
{
    n_maps--;
    return munmap(addr, size);
}

/* By their names here, as the header was included before. */
struct vhost_guest_mem *vhost_guest_mem_create(int vid, const char **error);
void vhost_guest_mem_destroy(struct vhost_guest_mem *);
bool vhost_guest_mem_equals(const struct vhost_guest_mem *, int vid);
const char *vhost_guest_mem_map_for_dma(struct vhost_guest_mem *);
void vhost_guest_mem_device_came(void);
void *vhost_guest_mem_from_library(const struct vhost_guest_mem *,
                                   const void *va, uint64_t size,
                                   uint64_t *gpa);

#include <rte_vfio.h>

#define rte_vfio_is_enabled(NAME) 0
#define mmap counted_mmap
#define munmap counted_munmap
#define this_module vhost_guest_mem_module
#define vhost_guest_pages_find DP(vhost_guest_pages_find)
#define vhost_guest_pages_range DP(vhost_guest_pages_range)
#include "vhost-guest-pages.c"
#include "vhost-guest-mem.c"
#undef this_module
#undef mmap
#undef munmap

static void *
guest_ring_from_library(const struct vhost_guest_mem *mem, const void *va,
                        uint64_t size, uint64_t *gpa)
{
    return vhost_guest_mem_from_library(mem, va, size, gpa);
}

#define time_msec() ((long long int) (fake.tsc / (FAKE_HZ / 1000)))
#define ovs_thread_create(NAME, START, AUX) ((void) (START))
#define old_mutex old_mem_mutex
#include "vhost-async-old-mem.c"
#undef old_mutex
#include "vhost-async-port.c"
#define this_module vhost_async_rings_module
#define rl rings_rl
#include "vhost-async-rings.c"
#undef this_module
#undef rl
/* Called when memory is mapped for engines, which can take long. */
static void (*while_mapping)(void);

static const char *
slow_map_for_dma(struct vhost_guest_mem *mem)
{
    if (while_mapping) {
        void (*during)(void) = while_mapping;

        while_mapping = NULL;
        during();
    }
    return vhost_guest_mem_map_for_dma(mem);
}

#undef vhost_guest_mem_map_for_dma
#define vhost_guest_mem_map_for_dma slow_map_for_dma
#define this_module vhost_async_guest_module
#include "vhost-async-guest.c"
#undef vhost_guest_mem_map_for_dma
#undef this_module
/* Who stops devices is waited for. */
#undef dpdk_dma_dev_stop_failed
#define dpdk_dma_dev_stop_failed stop_failed
#define this_module vhost_async_helper_module
#define rl helper_rl
#include "vhost-async-helper.c"
#undef this_module
#undef rl
#define this_module netdev_dpdk_async_module
#include "netdev-dpdk-async.c"
#include "netdev-dpdk-async-stats.c"
#undef this_module
#undef sched_yield

#endif /* vhost-guest-sources.h */
