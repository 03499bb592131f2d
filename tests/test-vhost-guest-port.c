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

/* Tests of ports that are turned off and on again, whose guests come and go,
 * and that go themselves: vhost-async-port.c, vhost-async-helper.c,
 * netdev-dpdk-async.c and vhost-async-guest.c, with all that is below them but
 * the vhost library and the engines.  What messages do is in
 * test-vhost-guest.c, how rings come to be ours in
 * test-vhost-guest-take-over.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_port_##NAME
#include "vhost-guest-fixture.h"

/* Off, and on again. */

static void
off(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up(&vm, layout, 1);
    struct ring *r = &vm->rings[0];

    ovs_assert(goes_by_dma(p, r));
    port_set_dma(p, false);
    settle();
    ovs_assert(!goes_by_dma(p, r));
    ovs_assert(port_state(p, r) == VHOST_ASYNC_VQ_RUNNING);

    /* On. */
    port_set_dma(p, true);
    settle();
    ovs_assert(goes_by_dma(p, r));

    /* A guest that starts its rings again did not leave. */
    port_set_dma(p, false);
    vm_stop_ring(r);
    settle();
    vm_start_ring(r);
    settle();
    ovs_assert(!goes_by_dma(p, r) && !lib.n_enqueued);

    vm_leave(vm);
    settle();
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    ovs_assert(ovs_list_is_empty(&old_vqs));
    vm_boot(vm, p->path);
    ovs_assert(!goes_by_dma(p, r) && lib.n_enqueued == 1);
    check_traffic(p, r, 40, LARGE);

    port_set_dma(p, true);
    settle();
    ovs_assert(goes_by_dma(p, r));
    finish(p, vm);
}
FOR_LAYOUTS(off)

/* Between the end of a device and its new start in one message, its rings are
 * not the library's for the taking. */
static void
test_off_in_message(void)
{
    struct vm *vm;
    struct port *p = set_up(&vm, 0, 2);

    port_set_dma(p, false);
    lib.after_destroy = world;
    vm_stop_ring(&vm->rings[1]);
    ovs_assert(lib.n_destroyed == 1 && lib.n_new == 2);
    check_traffic(p, &vm->rings[0], 5, LARGE);
    ovs_assert(!lib.n_enqueued);
    finish(p, vm);
}

/* Guests that come and go. */

static void
reconnect(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up(&vm, layout, 2);
    struct vhost_async_totals last = port_totals(p);

    for (int i = 0; i < 5; i++) {
        struct vhost_async_totals now;

        for (int j = 0; j < 2; j++) {
            check_traffic(p, &vm->rings[j], 40, LARGE);
            send_in_flight(p, &vm->rings[j]);
        }
        vm_leave(vm);
        for (int j = 0; j < 2; j++) {
            ring_get(&vm->rings[j], 3);
            ovs_assert(!port_send(p, &vm->rings[j], 0, 1, SMALL));
        }
        now = port_totals(p);
        ovs_assert(now.dma_packets == last.dma_packets + 84);
        ovs_assert(!now.lost_drops);
        last = now;
        settle();
        ovs_assert(!n_maps);
        vm_boot(vm, p->path);
    }
    finish(p, vm);
}
FOR_LAYOUTS(reconnect)

/* A socket takes a second connection: the port is its guest's. */
static void
second_connection(uint64_t layout)
{
    struct vm *first, *second;
    struct port *p = set_up(&first, layout, 1);
    struct ring *r = &first->rings[0], *s;
    uint16_t base;

    check_traffic(p, r, 10, LARGE);
    second = vm_create(layout, 1);
    s = &second->rings[0];
    send_in_flight(p, r);
    vm_boot(second, p->path);
    ovs_assert(second->vid != first->vid && p->vid == second->vid);
    ring_get(r, 3);
    check_traffic(p, s, 10, LARGE);

    /* Nothing that the first one says changes that. */
    send_in_flight(p, s);
    ovs_assert(vm_mem_table(first, 1));
    ovs_assert(ring_addr(r, 8, 0, 0));
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 0));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
    base = vm_stop_ring(r);
    ovs_assert(base == ring_base(r));
    ovs_assert(port_in_flight(p, s) == 3);
    settle();
    ring_get(s, 3);
    vm_leave(first);
    check_traffic(p, s, 10, LARGE);
    ring_get(r, 0);

    vm_boot(first, p->path);
    check_traffic(p, r, 10, LARGE);
    ovs_assert(!port_totals(p).lost_drops);
    vm_destroy(second);
    check_traffic(p, r, 10, LARGE);
    finish(p, first);
}
FOR_LAYOUTS(second_connection)

/* The library gives the number of a guest whose port goes to another one
 * before we know. */
static void
test_number_used_again(void)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    struct vm *old, *new;
    struct port *p = set_up(&old, 0, 1), *q = port_add();
    int vid = old->vid;

    settle();
    new = vm_create(0, 1);
    send_in_flight(p, &old->rings[0]);
    lib.failure = LIB_REFUSES;
    ovs_assert(!ring_state(&old->rings[0], VHOST_ASYNC_SET_VRING_NUM, 64));
    lib_disconnect(vid, true);
    old->vid = -1;
    vm_boot(new, q->path);
    ovs_assert(new->vid == vid);
    send_in_flight(q, &new->rings[0]);
    ring_get(&old->rings[0], 3);
    vm_destroy(old);
    ovs_assert(!p->async.port.n_guests);
    port_remove(p);
    ovs_assert(port_in_flight(q, &new->rings[0]) == 3);
    settle();
    check_traffic(q, &new->rings[0], 10, LARGE);
    finish(q, new);
}

/* Ports that go. */

static void
test_remove(void)
{
    struct vm *vm;
    struct port *p = set_up(&vm, 0, 2);

    for (int i = 0; i < 2; i++) {
        send_in_flight(p, &vm->rings[i]);
    }
    vm->vid = -1;
    port_remove(p);
    for (int i = 0; i < 2; i++) {
        ring_get(&vm->rings[i], 3);
    }
    vm_destroy(vm);
    settle();
    ovs_assert(!n_maps && ovs_list_is_empty(&old_vqs));
    check_no_leak();
}

/* What an engine has that cannot be stopped stays until it is done. */
static void
test_remove_stuck(void)
{
    struct vm *vm;
    struct port *p = set_up(&vm, 0, 1), *q;
    struct ring *r = &vm->rings[0];
    uint64_t start;

    fake.devs[0].stop_fails = UINT_MAX;
    others.engines = false;
    send_in_flight(p, r);
    start = fake.tsc;
    vm->vid = -1;
    port_remove(p);
    ovs_assert(fake.tsc - start < FAKE_HZ * 3);
    settle();
    ovs_assert(n_maps == 1 && ovs_list_size(&old_vqs) == 1);
    ring_get(r, 0);
    ring_lose(r, 3);

    /* Another port by the same name does not mind. */
    q = port_add();
    settle();
    vm_boot(vm, q->path);
    ovs_assert(port_send(q, r, 0, 5, LARGE) == 5);
    ring_get(r, 5);
    others.engines = true;
    settle();
    ovs_assert(n_maps == 1 && ovs_list_is_empty(&old_vqs));
    ring_get(r, 0);
    finish(q, vm);
}

/* One that is turned off with copies that may be at work for ever. */
static void
test_off_stuck(void)
{
    struct vm *vm;
    struct port *p = set_up(&vm, 0, 1);
    struct ring *r = &vm->rings[0];

    fake.devs[0].stop_fails = UINT_MAX;
    others.engines = false;
    send_in_flight(p, r);
    vm_leave(vm);
    ovs_assert(port_totals(p).in_flight == 3);
    port_set_dma(p, false);
    settle();
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    /* Each is counted once, as long as it is in flight and when it is not. */
    ovs_assert(port_totals(p).in_flight == 0);
    ovs_assert(netdev_dpdk_async_lost(&p->async) == 3);
    ring_lose(r, 3);
    vm_boot(vm, p->path);
    check_traffic(p, r, 5, LARGE);
    ovs_assert(lib.n_enqueued == 5);
    others.engines = true;
    settle();
    ovs_assert(netdev_dpdk_async_lost(&p->async) == 3);
    ovs_assert(ovs_list_is_empty(&old_vqs));
    finish(p, vm);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(off_split),
    DMA_TEST_CASE(off_packed),
    DMA_TEST_CASE(off_in_message),
    DMA_TEST_CASE(reconnect_split),
    DMA_TEST_CASE(reconnect_packed),
    DMA_TEST_CASE(second_connection_split),
    DMA_TEST_CASE(second_connection_packed),
    DMA_TEST_CASE(number_used_again),
    DMA_TEST_CASE(remove),
    DMA_TEST_CASE(remove_stuck),
    DMA_TEST_CASE(off_stuck),
};

static void
test_vhost_guest_port_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-port", test_vhost_guest_port_main);
