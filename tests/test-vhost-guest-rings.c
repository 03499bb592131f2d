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

/* Tests of what messages do to single rings: where they are, when they stop,
 * whether they are enabled, notified and logged; and of guests that send
 * whatever they like.  vhost-async-rings.c, with all that is above and below
 * it but the vhost library and the engines. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_rings_##NAME
#include "vhost-guest-fixture.h"

/* Addresses. */

/* Rings that are nowhere, in part, or not aligned; sizes that are none. */
static void
addresses(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint64_t end = GUEST_BYTES - 64;
    static const uint64_t bad[][3] = {
        { 1 << 30, 0, 0 }, { 0, 1 << 30, 0 }, { 0, 0, 1 << 30 },
        { 4, 0, 0 }, { 0, 1, 0 }, { 0, 0, 2 + 1 },
    };
    static const uint32_t sizes[] = { 0, 65535, 32769, 0x10000 };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        check_ring(r, 3, LARGE);
        ovs_assert(ring_addr(r, bad[i][0], bad[i][1], bad[i][2]));
        ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
        ovs_assert(ring_addr(r, 0, 0, 0));
        check_ring(r, 3, LARGE);
    }

    /* Too short before the end of the memory. */
    ovs_assert(ring_addr(r, end, 0, 0));
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(ring_addr(r, 0, end + 62 - GUEST_RING_AVAIL, 0));
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(ring_addr(r, 0, 0, end + 62 - GUEST_RING_USED));
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(ring_addr(r, 0, 0, 0));
    check_ring(r, 3, LARGE);

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, sizes[i]));
        ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
        ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, r->size));
        check_ring(r, 3, LARGE);
    }
    finish(the_port, the_vm);
}
FOR_LAYOUTS(addresses)

/* A ring across two regions that follow each other is in none of them. */
static void
test_crossing(void)
{
    struct ring *r = set_up_one(0);
    struct lib_msg msg = { .request = VHOST_ASYNC_SET_MEM_TABLE };
    int fds[2] = { the_vm->memfd, the_vm->memfd };

    msg.payload.memory.n = 2;
    msg.payload.memory.regions[0] = (struct lib_region) {
        .gpa = GUEST_GPA, .size = 512, .user = GUEST_USER
    };
    msg.payload.memory.regions[1] = (struct lib_region) {
        .gpa = GUEST_GPA + 512, .size = GUEST_BYTES - 512,
        .user = GUEST_USER + 512, .ofs = 512
    };
    ovs_assert(lib_message(the_vm->vid, &msg, fds));
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(vm_mem_table(the_vm, 0));
    ovs_assert(ring_addr(r, 0, 0, 0));
    check_ring(r, 3, LARGE);
    finish(the_port, the_vm);
}

/* Another size with copies in flight: these are lost, and the ring goes on
 * where the guest was told. */
static void
test_size_in_flight(void)
{
    struct ring *r = set_up_one(0);

    check_ring(r, 5, LARGE);
    send_in_flight(the_port, r);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, 32));
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_STUCK);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, r->size));
    ovs_assert(helper_run());
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    settle();
    ring_lose(r, 3);
    ovs_assert(port_totals(the_port).lost_drops == 3);
    check_ring(r, r->size, SMALL);
    finish(the_port, the_vm);
}

/* Another base on a running ring is that of a new start. */
static void
base_while_running(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint16_t base;

    check_ring(r, 5, LARGE);
    /* As if the guest had seen 10 buffers more used. */
    r->n_used += 10;
    base = ring_base(r);
    if (!layout) {
        ring_used(r)->idx = base;
    }
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_BASE, base));
    check_ring(r, 5, LARGE);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(base_while_running)

/* Stopping. */

static void
stop(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint16_t base;

    check_ring(r, 40, LARGE);
    check_ring(r, 40, SMALL);
    send_in_flight(the_port, r);
    base = vm_stop_ring(r);
    ring_get_all(r);
    ovs_assert(r->n_got == r->n_taken);
    ovs_assert(base == ring_base(r));
    ovs_assert(the_port->vid < 0 && lib.n_destroyed == 1);
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_STOPPED);

    vm_start_ring(r);
    ovs_assert(the_port->vid >= 0 && lib.n_new == 2);
    check_ring(r, 40, LARGE);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(stop)

/* An engine that hangs is found out and stopped, and the CPU does its copies
 * again, before the guest is answered. */
static void
stop_hung(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint64_t start = fake.tsc;
    uint16_t base;

    check_ring(r, 5, LARGE);
    others.engines = false;
    send_in_flight(the_port, r);
    base = vm_stop_ring(r);
    ovs_assert(fake.tsc - start < FAKE_HZ * 2);
    ovs_assert(dpdk_dma_chan_failed(pmds[0].claimed));
    ring_get(r, 3);
    ovs_assert(base == ring_base(r));
    ovs_assert(!port_totals(the_port).lost_drops);

    vm_start_ring(r);
    check_ring(r, 5, LARGE);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(stop_hung)

static bool
txq_gave_up(struct vhost_async_txq *txq)
{
    bool gave_up;

    atomic_read(&txq->vq.owner.gave_up, &gave_up);
    return gave_up;
}

/* If it cannot be stopped, the ring stands still until it is known that its
 * copies are done, which the CPU does not do any more. */
static void
stop_stuck(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint64_t start = fake.tsc;
    uint16_t base;

    fake.devs[0].stop_fails = UINT_MAX;
    check_ring(r, 5, LARGE);
    others.engines = false;
    send_in_flight(the_port, r);
    base = vm_stop_ring(r);
    ovs_assert(fake.tsc - start < FAKE_HZ * 3);
    ring_get(r, 0);
    ovs_assert(base == ring_base(r));
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_STUCK);
    ovs_assert(port_in_flight(the_port, r) == 3);
    ovs_assert(txq_gave_up(port_txq(the_port, r)));
    ring_lose(r, 3);

    /* Started again, and with other memory, it still does. */
    munmap(the_vm->mem, GUEST_BYTES);
    close(the_vm->memfd);
    vm_new_mem(the_vm);
    ovs_assert(vm_mem_table(the_vm, 1));
    vm_start_ring(r);
    settle();
    ovs_assert(!port_send(the_port, r, 1, 1, SMALL));
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_STUCK);
    ovs_assert(n_maps == 2);
    ovs_assert(helper_run());

    /* The engine was but late. */
    others.engines = true;
    settle();
    ovs_assert(n_maps == 1);
    ovs_assert(port_totals(the_port).lost_drops == 3);
    ovs_assert(!txq_gave_up(port_txq(the_port, r)));
    check_ring(r, r->size, LARGE);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(stop_stuck)

/* A ring that stops alone: the other one goes on where it was. */
static void
stop_one(uint64_t layout)
{
    struct ring *r, *other;
    uint16_t base;

    the_port = set_up(&the_vm, layout, 2);
    r = &the_vm->rings[0];
    other = &the_vm->rings[1];
    check_ring(r, 5, LARGE);
    check_ring(other, 7, LARGE);
    send_in_flight(the_port, r);
    send_in_flight(the_port, other);
    base = vm_stop_ring(other);
    ovs_assert(lib.n_destroyed == 1 && lib.n_new == 2);
    ring_get(other, 3);
    ovs_assert(base == ring_base(other));
    ring_get(r, 3);
    check_ring(r, 5, LARGE);
    ovs_assert(!port_send(the_port, other, 0, 1, SMALL));
    ovs_assert(port_state(the_port, other) == VHOST_ASYNC_VQ_STOPPED);
    vm_start_ring(other);
    check_ring(r, 5, LARGE);
    check_ring(other, 5, LARGE);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(stop_one)

static void
test_reset_owner(void)
{
    struct ring *r = set_up_one(0);

    send_in_flight(the_port, r);
    ovs_assert(vm_u64(the_vm, VHOST_ASYNC_RESET_OWNER, 0));
    ring_get(r, 3);
    ovs_assert(the_port->vid < 0);
    settle();
    ovs_assert(vm_u64(the_vm, VHOST_ASYNC_SET_FEATURES,
                         the_vm->features));
    ovs_assert(vm_mem_table(the_vm, 0));
    vm_start_ring(r);
    check_ring(r, 5, LARGE);
    finish(the_port, the_vm);
}

/* Enabled, or not. */

static void
disabled(uint64_t layout)
{
    struct ring *r = set_up_one(layout);

    check_ring(r, 5, LARGE);
    send_in_flight(the_port, r);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 0));
    settle();
    ring_get(r, 3);
    for (size_t i = 0; i < ARRAY_SIZE(closing) + ARRAY_SIZE(harmless); i++) {
        ovs_assert(send_idle_message(
            r, (i < ARRAY_SIZE(closing)
                ? closing[i] : harmless[i - ARRAY_SIZE(closing)])));
        ovs_assert(vm_mem_table(the_vm, i + 1));
        ovs_assert(ring_addr(r, 0, 0, 0));
        helper_run();
        ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
        ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_DISABLED);
    }
    settle();
    ring_get(r, 0);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1));
    check_ring(r, 5, LARGE);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(disabled)

/* Without protocol features a ring is enabled when it starts. */
static void
test_enabled_without_features(void)
{
    struct ring *r;

    start_engines();
    set_support(true);
    the_port = port_add();
    settle();
    the_vm = vm_create(0, 1);
    the_vm->features &= ~LIB_F_PROTOCOL;
    r = &the_vm->rings[0];
    the_vm->vid = lib_connect(the_port->path);
    ovs_assert(vm_u64(the_vm, VHOST_ASYNC_SET_FEATURES,
                         the_vm->features));
    ovs_assert(vm_mem_table(the_vm, 0));
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, r->size));
    ovs_assert(ring_addr(r, 0, 0, 0));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
    ring_offer(r, r->size);
    check_ring(r, 5, LARGE);
    finish(the_port, the_vm);
}

/* Notifications. */

static int
count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void
test_call(void)
{
    struct ring *r = set_up_one(0);
    int old = r->callfd;
    int n_fds;

    check_ring(r, 1, SMALL);
    ovs_assert(ring_notified(r));
    /* What is published later is told by the new one, and something may have
     * been told by the old one that nobody listened to any more. */
    send_in_flight(the_port, r);
    r->callfd = eventfd(0, EFD_NONBLOCK);
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
    ovs_assert(ring_notified(r) == 1);
    settle();
    ring_get(r, 3);
    ovs_assert(ring_notified(r));
    ovs_assert(read(old, &(uint64_t) { 0 }, 8) < 0);
    close(old);

    n_fds = count_fds();
    for (int i = 0; i < 100; i++) {
        ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
        ovs_assert(ring_notified(r) == 1);
        check_ring(r, 1, SMALL);
        ring_notified(r);
    }
    ovs_assert(count_fds() == n_fds);

    /* A guest that polls. */
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, -1));
    check_ring(r, 3, LARGE);
    ovs_assert(!ring_notified(r));
    ovs_assert(count_fds() == n_fds - 2);

    /* A ring that starts again is told once, and those that move nothing are
     * not. */
    vm_stop_ring(r);
    ovs_assert(count_fds() == n_fds - 3);
    vm_start_ring(r);
    ovs_assert(count_fds() == n_fds);
    ovs_assert(ring_notified(r) == 1);
    vm_stop_ring(r);
    ovs_assert(count_fds() == n_fds - 3);
    vm_start_ring(r);
    ovs_assert(ring_notified(r) == 1);
    ovs_assert(send_idle_message(r, VHOST_ASYNC_SET_VRING_ADDR));
    ovs_assert(!ring_notified(r));
    finish(the_port, the_vm);
}

/* Live migration. */

static bool
is_logged(uint64_t gpa, uint64_t size)
{
    for (size_t i = 0; i < lib.n_logged; i++) {
        if (gpa >= lib.logged[i].gpa
            && gpa + size <= lib.logged[i].gpa + lib.logged[i].size) {
            return true;
        }
    }
    return false;
}

/* Whether all of a large packet was logged that the guest is to get next but
 * 'ahead'. */
static bool
pkt_is_logged(const struct ring *r, uint32_t ahead)
{
    uint64_t gpa = ring_gpa(r) + GUEST_RING_BUFS
                   + (r->start + r->n_used + ahead) % r->size * GUEST_RING_BUF;

    return is_logged(gpa, 12) && is_logged(gpa + 12, LARGE);
}

static void
set_log(struct ring *r, bool on)
{
    struct vm *g = r->vm;

    g->features &= ~LIB_F_LOG_ALL;
    g->features |= on ? LIB_F_LOG_ALL : 0;
    ovs_assert(vm_u64(g, VHOST_ASYNC_SET_LOG_BASE, 0));
    ovs_assert(vm_u64(g, VHOST_ASYNC_SET_FEATURES, g->features));
}

static void
log_in_flight(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint64_t by_dma;

    check_ring(r, 5, LARGE);
    ovs_assert(!lib.n_logged);

    /* An engine that works is waited for. */
    send_in_flight(the_port, r);
    set_log(r, true);
    ring_get(r, 3);
    ovs_assert(!pkt_is_logged(r, 0));
    set_log(r, false);

    /* If it takes its time, all is logged when a packet is published. */
    others.engines = others.pmds = false;
    send_in_flight(the_port, r);
    set_log(r, true);
    ring_get(r, 0);
    ovs_assert(port_send(the_port, r, 0, 1, LARGE) == 1);
    ovs_assert(pkt_is_logged(r, 3));
    ovs_assert(!pkt_is_logged(r, 0));
    for (int i = 0; i < 2; i++) {
        lib.n_logged = 0;
        ovs_assert(fake_work(0, 0, 1) == 1);
        pmd_run(0);
        ovs_assert(pkt_is_logged(r, 0));
        ring_get(r, i ? 3 : 1);
    }

    /* From now on the CPU copies, and what it writes is logged. */
    by_dma = port_totals(the_port).dma_packets;
    lib.n_logged = 0;
    ovs_assert(port_send(the_port, r, 0, 1, LARGE) == 1);
    ovs_assert(pkt_is_logged(r, 0));
    ovs_assert(!pkt_is_logged(r, 1));
    ring_get(r, 1);
    ovs_assert(port_totals(the_port).dma_packets == by_dma);

    others.engines = others.pmds = true;
    set_log(r, false);
    check_ring(r, 1, LARGE);
    ovs_assert(port_totals(the_port).dma_packets == by_dma + 1);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(log_in_flight)

/* A guest that sends whatever it likes. */

static void
send_any_message(struct ring *r)
{
    static const uint32_t requests[] = {
        2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16, 18, 37, 38, 3, 14, 19, 99
    };
    struct vm *g = r->vm;
    uint32_t request = requests[random_range(ARRAY_SIZE(requests))];
    struct lib_msg msg = { .request = request };
    int fd = g->memfd;

    if (random_range(8) == 0) {
        lib.failure = 1 + random_range(2);
    }
    if (request == VHOST_ASYNC_SET_MEM_TABLE) {
        vm_mem_table(g, random_range(4));
    } else if (request == VHOST_ASYNC_SET_VRING_ADDR && random_range(2)) {
        ring_addr(r, random_range(3) * 8, 0, 0);
    } else if (request == VHOST_ASYNC_ADD_MEM_REG && lib.mem_slots) {
        /* No more than there is room for. */
    } else if (request == VHOST_ASYNC_SET_FEATURES) {
        vm_u64(g, request, g->features | (random_range(2)
                                             ? LIB_F_LOG_ALL : 0));
    } else {
        msg.payload.state.index = random_range(LIB_MAX_VRINGS);
        msg.payload.state.num = random_range(2) ? random_range(70)
                                                : random_uint32();
        if (vhost_async_message_vring(&msg, &(uint32_t) { 0 })
            && (request == VHOST_ASYNC_SET_VRING_KICK
                || request == VHOST_ASYNC_SET_VRING_CALL)) {
            fd = r->callfd;
        }
        lib_message(g->vid, &msg, &fd);
    }
    lib.failure = LIB_SUCCEEDS;
}

static void
hostile(uint64_t layout)
{
    struct ring *r;

    the_port = set_up(&the_vm, layout, 2);
    for (int i = 0; i < 20000; i++) {
        r = &the_vm->rings[random_range(2)];
        others.engines = random_range(2);
        fake_ms(random_range(400) == 0 ? MESSAGE_MS : 0);
        switch (random_range(6)) {
        case 0:
            port_send(the_port, r, random_range(N_PMDS + 1) - 1,
                      1 + random_range(4), random_range(2) ? SMALL : LARGE);
            break;
        case 1:
            world();
            break;
        default:
            send_any_message(r);
            break;
        }
        /* Some time it has what it needs. */
        if (random_range(100) == 0) {
            vm_leave(the_vm);
            settle();
            the_vm->features &= ~LIB_F_LOG_ALL;
            vm_boot(the_vm, the_port->path);
        }
    }
    others.engines = true;
    vm_leave(the_vm);
    settle();
    vm_boot(the_vm, the_port->path);
    for (int i = 0; i < 2; i++) {
        r = &the_vm->rings[i];
        ring_lose(r, r->n_taken - r->n_got);
        check_ring(r, 5, LARGE);
    }
    finish(the_port, the_vm);
}
FOR_LAYOUTS(hostile)

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(addresses_split),
    DMA_TEST_CASE(addresses_packed),
    DMA_TEST_CASE(crossing),
    DMA_TEST_CASE(size_in_flight),
    DMA_TEST_CASE(base_while_running_split),
    DMA_TEST_CASE(base_while_running_packed),
    DMA_TEST_CASE(stop_split),
    DMA_TEST_CASE(stop_packed),
    DMA_TEST_CASE(stop_hung_split),
    DMA_TEST_CASE(stop_hung_packed),
    DMA_TEST_CASE(stop_stuck_split),
    DMA_TEST_CASE(stop_stuck_packed),
    DMA_TEST_CASE(stop_one_split),
    DMA_TEST_CASE(stop_one_packed),
    DMA_TEST_CASE(reset_owner),
    DMA_TEST_CASE(disabled_split),
    DMA_TEST_CASE(disabled_packed),
    DMA_TEST_CASE(enabled_without_features),
    DMA_TEST_CASE(call),
    DMA_TEST_CASE(log_in_flight_split),
    DMA_TEST_CASE(log_in_flight_packed),
    DMA_TEST_CASE(hostile_split),
    DMA_TEST_CASE(hostile_packed),
};

static void
test_vhost_guest_rings_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-rings", test_vhost_guest_rings_main);
