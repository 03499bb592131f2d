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

/* Tests of rings that are taken over from the vhost library, and of guests
 * that stay with it: vhost-async-port.c, vhost-async-helper.c,
 * netdev-dpdk-async.c and vhost-async-guest.c, with all that is below them but
 * the vhost library and the engines. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_take_over_##NAME
#include "vhost-guest-fixture.h"

/* A guest on a port that is the library's. */
static struct port *
set_up_library(struct vm **vm, uint64_t features, unsigned int n_rings)
{
    struct port *p;

    start_engines();
    p = port_add();
    *vm = vm_create(features, n_rings);
    vm_boot(*vm, p->path);
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    return p;
}

static bool
needs_lock(const struct port *p)
{
    return netdev_dpdk_async_needs_lock(&p->async);
}

/* By who sends first.  The index is the library's, packets go on in order, and
 * the library sends none from then on. */
static void
take_over_by_sender(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up_library(&vm, layout, 2);
    struct ring *r = &vm->rings[0], *other = &vm->rings[1];

    check_traffic(p, r, 50, SMALL);
    check_traffic(p, r, 33, LARGE);
    set_support(true);
    others.helper = false;
    check_traffic(p, r, 3, LARGE);
    ovs_assert(lib.n_enqueued == 86);
    ovs_assert(helper_change_sides() == false);
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_LIBRARY && needs_lock(p));
    check_traffic(p, r, 7, LARGE);
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_RUNNING);
    ovs_assert(port_state(p, other) == VHOST_ASYNC_VQ_LIBRARY);
    ovs_assert(needs_lock(p));
    ovs_assert(lib.n_enqueued == 86);
    ovs_assert(port_totals(p).dma_packets == 7);

    others.helper = true;
    settle();
    ovs_assert(!needs_lock(p));
    check_traffic(p, r, 60, LARGE);
    check_traffic(p, other, 60, LARGE);
    ovs_assert(lib.n_enqueued == 86);
    finish(p, vm);
}
FOR_LAYOUTS(take_over_by_sender)

/* By the helper, if nobody sends.  The guest is notified once, unasked: the
 * library may owe it that. */
static void
take_over_by_helper(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up_library(&vm, layout, 1);
    struct ring *r = &vm->rings[0];

    check_traffic(p, r, 50, SMALL);
    ovs_assert(ring_notified(r));
    set_support(true);
    ovs_assert(!helper_run());
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_RUNNING && !needs_lock(p));
    ovs_assert(ring_notified(r) == 1);
    helper_run();
    ovs_assert(!ring_notified(r));
    check_traffic(p, r, 60, LARGE);
    ovs_assert(lib.n_enqueued == 50);
    finish(p, vm);
}
FOR_LAYOUTS(take_over_by_helper)

/* Not while somebody is in control of the guest. */
static void
test_take_over_later(void)
{
    struct vm *vm;
    struct port *p = set_up_library(&vm, 0, 1);
    struct ring *r = &vm->rings[0];
    struct guest *g = &guests[vm->vid];

    others.helper = false;
    ovs_assert(control_try(g));
    set_support(true);
    ovs_assert(helper_run());
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    control_give(g, CONTROL_FREE);
    ovs_assert(!helper_change_sides());
    ovs_assert(control_try(g));
    check_traffic(p, r, 5, LARGE);
    ovs_assert(helper_run());
    ovs_assert(lib.n_enqueued == 5 && needs_lock(p));
    control_give(g, CONTROL_FREE);
    ovs_assert(!helper_run());
    check_traffic(p, r, 5, LARGE);
    ovs_assert(lib.n_enqueued == 5);

    /* A message that failed is none for long. */
    set_support(false);
    vm_leave(vm);
    helper_run();
    vm_boot(vm, p->path);
    lib.failure = LIB_REFUSES;
    ovs_assert(!ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
    set_support(true);
    ovs_assert(helper_run());
    fake_ms(MESSAGE_MS);
    helper_run();
    ovs_assert(!helper_run());
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_RUNNING);
    check_traffic(p, r, 5, LARGE);
    finish(p, vm);
}

/* A ring that starts while others are being taken over, when a thread may not
 * know of txqs yet. */
static void
test_take_over_new_ring(void)
{
    struct vm *vm;
    struct port *p;
    struct ring *r, *late;

    start_engines();
    p = port_add();
    vm = vm_create(0, 2);
    vm->n_rings = 1;
    vm_boot(vm, p->path);
    r = &vm->rings[0];
    late = &vm->rings[1];
    set_support(true);
    others.helper = false;
    ovs_assert(!helper_change_sides());
    ovs_assert(!port_txq(p, late));
    vm->n_rings = 2;
    vm_start_ring(late);
    ovs_assert(port_state(p, late) == VHOST_ASYNC_VQ_LIBRARY);
    check_traffic(p, r, 5, LARGE);
    ovs_assert(needs_lock(p));
    ovs_assert(!helper_take_over());
    ovs_assert(!needs_lock(p));
    check_traffic(p, late, 5, LARGE);
    ovs_assert(!lib.n_enqueued);
    finish(p, vm);
}

/* The guest leaves before its rings were taken over, and another one comes. */
static void
test_take_over_gone(void)
{
    struct vm *vm;
    struct port *p = set_up_library(&vm, 0, 1);
    struct ring *r = &vm->rings[0];

    others.helper = false;
    set_support(true);
    ovs_assert(!helper_change_sides());
    vm_leave(vm);
    vm_boot(vm, p->path);
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_LIBRARY);
    check_traffic(p, r, 5, LARGE);
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_RUNNING);
    ovs_assert(!lib.n_enqueued);
    vm_leave(vm);
    set_support(false);
    helper_run();
    ovs_assert(!vhost_async_port_vqs(&p->async.port));

    vm_boot(vm, p->path);
    set_support(true);
    ovs_assert(!helper_change_sides());
    vm_leave(vm);
    ovs_assert(!helper_take_over() && !needs_lock(p));
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_STOPPED);
    vm_boot(vm, p->path);
    check_traffic(p, r, 5, LARGE);
    finish(p, vm);
}

/* The device that a port is enabled for may not be its any more. */
static void
test_enable_race(void)
{
    struct vm *vm;
    struct port *p = set_up_library(&vm, 0, 1);

    ovs_assert(!vhost_async_port_add_vqs(&p->async.port, -1, 0));
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    vm_leave(vm);
    ovs_assert(!vhost_async_port_add_vqs(&p->async.port, 0, 1));
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    finish(p, vm);
}

/* A ring is not taken over while a sender, who could not do that, is in the
 * library. */

static struct guest *enqueuing_guest;

static void
take_over_meanwhile(void)
{
    control_give(enqueuing_guest, CONTROL_FREE);
    ovs_assert(helper_take_over());
    ovs_assert(port_state(the_port, &the_vm->rings[1])
               == VHOST_ASYNC_VQ_LIBRARY);
    ovs_assert(control_try(enqueuing_guest));
}

static void
take_over_enqueuing(uint64_t layout)
{
    struct ring *r;

    the_port = set_up_library(&the_vm, layout, 2);
    r = &the_vm->rings[1];
    check_traffic(the_port, r, 5, LARGE);
    others.helper = false;
    set_support(true);
    ovs_assert(!helper_change_sides());
    enqueuing_guest = &guests[the_vm->vid];
    ovs_assert(control_try(enqueuing_guest));
    lib.while_enqueuing = take_over_meanwhile;
    check_traffic(the_port, r, 5, LARGE);
    ovs_assert(!lib.while_enqueuing && lib.n_enqueued == 10);
    control_give(enqueuing_guest, CONTROL_FREE);
    ovs_assert(!helper_take_over());
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_RUNNING);
    check_traffic(the_port, r, 60, LARGE);
    ovs_assert(lib.n_enqueued == 10);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(take_over_enqueuing)

/* While memory is mapped for engines, which takes as long as it takes, guests
 * send messages and ports come and go, and no grace period waits; for nothing
 * if the memory changed. */

static void
live_on(void)
    OVS_NO_THREAD_SAFETY_ANALYSIS   /* Clang does not follow ovs_assert(). */
{
    struct ring *r = &the_vm->rings[0];

    ovs_assert(!ovs_mutex_trylock(&vhost_async_ports_mutex));
    ovs_mutex_unlock(&vhost_async_ports_mutex);
    ovs_assert(ovsrcu_is_quiescent());
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
}

static void
change_memory(void)
{
    live_on();
    ovs_assert(vm_mem_table(the_vm, 1));
}

static void
test_enable_slow(void)
{
    struct ring *r;

    the_port = set_up_library(&the_vm, 0, 1);
    r = &the_vm->rings[0];
    others.helper = false;
    set_support(true);
    while_mapping = change_memory;
    ovs_assert(helper_change_sides());
    ovs_assert(!while_mapping);
    ovs_assert(!vhost_async_port_vqs(&the_port->async.port));
    ovs_assert(!vhost_async_old_mem_free() && !n_maps);
    while_mapping = live_on;
    ovs_assert(!helper_change_sides());
    ovs_assert(!while_mapping);
    others.helper = true;
    settle();
    ovs_assert(goes_by_dma(the_port, r));
    finish(the_port, the_vm);
}

/* A device that goes is not asked for its memory, which the library is about
 * to free: the helper may have learned its number just before. */
static void
test_enable_gone(void)
{
    struct vhost_guest_mem *mem;
    const char *error;
    int vid;

    the_port = set_up_library(&the_vm, 0, 1);
    others.helper = false;
    set_support(true);
    vid = vhost_async_port_owner(&the_port->async.port);
    netdev_dpdk_async_destroy_device(vid);
    ovs_assert(!vhost_async_guest_map(vid, "port0", &mem, &error));
    ovs_assert(!mem && !error && !n_maps);
    netdev_dpdk_async_new_device(vid);
    ovs_assert(vhost_async_guest_map(vid, "port0", &mem, &error));
    ovs_assert(mem && !error);
    vhost_async_old_mem_add(mem, NULL);
    others.helper = true;
    settle();
    ovs_assert(goes_by_dma(the_port, &the_vm->rings[0]));
    finish(the_port, the_vm);
}

static const char *
port_no_dma(struct port *p)
{
    const char *why;

    ovs_mutex_lock(&p->async.port.mutex);
    why = p->async.port.no_dma;
    ovs_mutex_unlock(&p->async.port.mutex);
    return why;
}

/* A guest whose memory cannot be mapped stays with the library until it can
 * be. */
static void
test_enable_unmapped(void)
{
    struct vm *vm;
    struct port *p = set_up_library(&vm, 0, 1);
    struct ring *r = &vm->rings[0];

    maps_fail = true;
    set_support(true);
    settle();
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    ovs_assert(port_no_dma(p));
    check_traffic(p, r, 5, LARGE);
    ovs_assert(lib.n_enqueued == 5);

    maps_fail = false;
    settle();
    ovs_assert(!port_no_dma(p));
    check_traffic(p, r, 5, LARGE);
    ovs_assert(lib.n_enqueued == 5);
    ovs_assert(goes_by_dma(p, r));
    finish(p, vm);
}

/* Guests whose memory the library sees in pieces stay with it. */
static void
test_unfit(void)
{
    struct vm *vm;
    struct port *p;

    start_engines();
    set_support(true);
    p = port_add();
    netdev_dpdk_async_register(&p->async, p->path,
                               RTE_VHOST_USER_IOMMU_SUPPORT);
    settle();
    vm = vm_create(0, 1);
    vm_boot(vm, p->path);
    settle();
    check_traffic(p, &vm->rings[0], 5, LARGE);
    ovs_assert(lib.n_enqueued == 5);
    finish(p, vm);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(take_over_by_sender_split),
    DMA_TEST_CASE(take_over_by_sender_packed),
    DMA_TEST_CASE(take_over_by_helper_split),
    DMA_TEST_CASE(take_over_by_helper_packed),
    DMA_TEST_CASE(take_over_later),
    DMA_TEST_CASE(take_over_new_ring),
    DMA_TEST_CASE(take_over_gone),
    DMA_TEST_CASE(enable_race),
    DMA_TEST_CASE(take_over_enqueuing_split),
    DMA_TEST_CASE(take_over_enqueuing_packed),
    DMA_TEST_CASE(enable_slow),
    DMA_TEST_CASE(enable_gone),
    DMA_TEST_CASE(enable_unmapped),
    DMA_TEST_CASE(unfit),
};

static void
test_vhost_guest_take_over_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-take-over",
                 test_vhost_guest_take_over_main);
