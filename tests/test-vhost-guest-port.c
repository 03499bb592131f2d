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

/* Tests of ports that change sides, whose guests come and go, and that go
 * themselves: vhost-async-port.c, vhost-async-helper.c, netdev-dpdk-async.c
 * and vhost-async-guest.c, with all that is below them but the vhost library
 * and the engines.  What messages do is in test-vhost-guest.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_port_##NAME
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
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
    return p;
}

static void
check_traffic(struct port *p, struct ring *r, unsigned int n, uint32_t len)
{
    ovs_assert(port_send(p, r, 0, n, len) == n);
    settle();
    ring_get_all(r);
    ovs_assert(r->n_got == r->n_taken);
    ring_offer(r, r->size - (r->n_offered - r->n_used));
}

/* Whether a large packet goes by DMA. */
static bool
goes_by_dma(struct port *p, struct ring *r)
{
    uint64_t n = port_totals(p).dma_packets;

    check_traffic(p, r, 1, LARGE);
    return port_totals(p).dma_packets == n + 1;
}

static bool
needs_lock(const struct port *p)
{
    return netdev_dpdk_async_needs_lock(&p->async);
}

/* Taking over. */

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
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_LIBRARY && needs_lock(p));
    check_traffic(p, r, 7, LARGE);
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_RUNNING);
    ovs_assert(port_state(p, other) == VHOST_ASYNC_TXQ_LIBRARY);
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
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_RUNNING && !needs_lock(p));
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
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
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
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_RUNNING);
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
    ovs_assert(port_state(p, late) == VHOST_ASYNC_TXQ_LIBRARY);
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
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_LIBRARY);
    check_traffic(p, r, 5, LARGE);
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_RUNNING);
    ovs_assert(!lib.n_enqueued);
    vm_leave(vm);
    set_support(false);
    helper_run();
    ovs_assert(!vhost_async_port_txqs(&p->async.port));

    vm_boot(vm, p->path);
    set_support(true);
    ovs_assert(!helper_change_sides());
    vm_leave(vm);
    ovs_assert(!helper_take_over() && !needs_lock(p));
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_STOPPED);
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

    ovs_assert(!vhost_async_port_add_txqs(&p->async.port, -1, 0));
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
    vm_leave(vm);
    ovs_assert(!vhost_async_port_add_txqs(&p->async.port, 0, 1));
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
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
               == VHOST_ASYNC_TXQ_LIBRARY);
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
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_TXQ_RUNNING);
    check_traffic(the_port, r, 60, LARGE);
    ovs_assert(lib.n_enqueued == 10);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(take_over_enqueuing)

/* While memory is mapped for engines, which takes as long as it takes, guests
 * send messages and ports come and go; for nothing if the memory changed. */

static void
live_on(void)
    OVS_NO_THREAD_SAFETY_ANALYSIS   /* Clang does not follow ovs_assert(). */
{
    struct ring *r = &the_vm->rings[0];

    ovs_assert(!ovs_mutex_trylock(&vhost_async_ports_mutex));
    ovs_mutex_unlock(&vhost_async_ports_mutex);
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
    ovs_assert(!vhost_async_port_txqs(&the_port->async.port));
    ovs_assert(!n_maps);
    while_mapping = live_on;
    ovs_assert(!helper_change_sides());
    ovs_assert(!while_mapping);
    others.helper = true;
    settle();
    ovs_assert(goes_by_dma(the_port, r));
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
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
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
    ovs_assert(port_state(p, r) == VHOST_ASYNC_TXQ_RUNNING);

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
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
    ovs_assert(ovs_list_is_empty(&old_txqs));
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
    ovs_assert(!n_maps && ovs_list_is_empty(&old_txqs));
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
    ovs_assert(n_maps == 1 && ovs_list_size(&old_txqs) == 1);
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
    ovs_assert(n_maps == 1 && ovs_list_is_empty(&old_txqs));
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
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
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
    ovs_assert(ovs_list_is_empty(&old_txqs));
    finish(p, vm);
}

/* Statistics. */

static uint64_t
vring_stat(struct port *p, const char *name)
{
    struct rte_vhost_stat_name names[2] = { { .name = "tx_q0_other" } };
    struct rte_vhost_stat stats[2] = { { .id = 0, .value = 5 },
                                       { .id = 1, .value = 1000 } };

    snprintf(names[1].name, sizeof names[1].name, "tx_q0_%s", name);
    netdev_dpdk_async_add_vring_stats(&p->async, 0, names, stats, 2);
    ovs_assert(stats[0].value == 5);
    netdev_dpdk_async_add_vring_stats(&p->async, 5, names, stats, 2);
    return stats[1].value - 1000;
}

static uint64_t
custom_stat(struct port *p, const char *name)
{
    struct netdev_custom_stats stats = { .size = 0 };
    uint64_t value = UINT64_MAX;

    netdev_dpdk_async_get_custom_stats(&p->async, &stats);
    for (uint16_t i = 0; i < stats.size; i++) {
        if (!strcmp(stats.counters[i].name, name)) {
            value = stats.counters[i].value;
        }
    }
    free(stats.counters);
    return value;
}

static void
test_statistics(void)
{
    static const struct {
        const char *name;
        uint32_t len;
    } bins[] = {
        { "undersize_packets", 60 }, { "size_64_packets", 64 },
        { "size_65_127_packets", 127 }, { "size_128_255_packets", 128 },
        { "size_256_511_packets", 511 }, { "size_512_1023_packets", 512 },
        { "size_1024_1518_packets", 1518 }, { "size_1519_max_packets", 1519 },
    };
    struct vm *vm;
    struct port *p = set_up(&vm, 0, 1);
    struct ring *r = &vm->rings[0];
    uint64_t bytes = 0, n_lost;
    struct ds ds = DS_EMPTY_INITIALIZER;

    for (size_t i = 0; i < ARRAY_SIZE(bins); i++) {
        ovs_assert(!vring_stat(p, bins[i].name));
        check_traffic(p, r, 1, bins[i].len);
        ovs_assert(vring_stat(p, bins[i].name) == 1);
        bytes += bins[i].len;
        ovs_assert(vring_stat(p, "good_packets") == i + 1);
        ovs_assert(vring_stat(p, "good_bytes") == bytes);
        ovs_assert(vring_stat(p, "guest_notifications"));
    }
    ovs_assert(!vring_stat(p, "no_such_counter"));
    ovs_assert(custom_stat(p, "tx_async_dma_packets") == 2);
    ovs_assert(custom_stat(p, "tx_async_dma_bytes") == 1518 + 1519);
    ovs_assert(custom_stat(p, "tx_async_cpu_packets") == 6);
    ovs_assert(custom_stat(p, "tx_async_in_flight") == 0);

    /* Drops. */
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 0));
    ovs_assert(!port_send(p, r, 0, 3, SMALL));
    ovs_assert(custom_stat(p, "tx_async_down_drops") == 3);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1));
    ovs_assert(port_send(p, r, 0, 64, SMALL) == 64);
    ovs_assert(!port_send(p, r, 0, 4, SMALL));
    ovs_assert(custom_stat(p, "tx_async_full_drops") == 4);
    ovs_assert(p->n_dropped == 7);
    settle();
    ring_get(r, 64);
    ring_offer(r, 64);

    netdev_dpdk_async_format(&ds);
    ovs_assert(strstr(ds_cstr(&ds), "port port0: DMA\n"));
    ovs_assert(strstr(ds_cstr(&ds), "txq 0: DMA\n"));
    ovs_assert(strstr(ds_cstr(&ds), "by DMA: 2 packets"));

    /* dma-stats-clear is for dma-show only. */
    netdev_dpdk_async_stats_clear();
    ds_clear(&ds);
    netdev_dpdk_async_format(&ds);
    ovs_assert(strstr(ds_cstr(&ds), "by DMA: 0 packets"));
    ovs_assert(custom_stat(p, "tx_async_dma_packets") == 2);
    ovs_assert(vring_stat(p, "size_1519_max_packets") == 1);

    /* Nor do those of the port go with its txqs. */
    n_lost = netdev_dpdk_async_lost(&p->async);
    port_set_dma(p, false);
    vm_leave(vm);
    settle();
    ovs_assert(!vhost_async_port_txqs(&p->async.port));
    ovs_assert(custom_stat(p, "tx_async_dma_packets") == 2);
    ovs_assert(custom_stat(p, "tx_async_full_drops") == 4);
    ovs_assert(netdev_dpdk_async_lost(&p->async) == n_lost);
    ds_clear(&ds);
    netdev_dpdk_async_format(&ds);
    ovs_assert(strstr(ds_cstr(&ds), "port port0: CPU: options:vhost-async"));
    ds_destroy(&ds);
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
    DMA_TEST_CASE(enable_unmapped),
    DMA_TEST_CASE(unfit),
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
    DMA_TEST_CASE(statistics),
};

static void
test_vhost_guest_port_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-port", test_vhost_guest_port_main);
