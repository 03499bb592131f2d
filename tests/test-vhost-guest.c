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

/* Tests of what becomes of rings while the vhost library handles messages of
 * their guest, whether it does or fails, and when these change its memory:
 * vhost-async-guest.c, with all that is below it but the vhost library and the
 * engines.  What messages do to single rings is in test-vhost-guest-rings.c,
 * rings that are taken over are in test-vhost-guest-take-over.c, ports that
 * come and go in test-vhost-guest-port.c. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_##NAME
#include "vhost-guest-fixture.h"

static unsigned int n_hooks;

/* The gate. */

static unsigned int n_for_later;

static void
hook_closed(void)
{
    struct ring *r = &the_vm->rings[0];
    uint32_t len;

    n_hooks++;
    /* The lock is not waited for: nobody would give it up. */
    n_for_later = port_send_to_closed(the_port, r, 0, 4, SMALL)
                  + port_send_to_closed(the_port, r, -1, 1, LARGE);
    /* Nor by who has something done. */
    engine_run(0);
    pmd_run(0);
    ovs_assert(!ring_is_used(r, &len));
}

static void
gate_closed(uint64_t layout)
{
    struct ring *r = set_up_one(layout);

    for (size_t i = 0; i < ARRAY_SIZE(closing); i++) {
        /* Another base ends what is in flight. */
        bool base = closing[i] == VHOST_ASYNC_SET_VRING_BASE;

        n_hooks = 0;
        lib.during = hook_closed;
        others.pmds = false;
        if (!base) {
            send_in_flight(the_port, r);
        }
        ovs_assert(send_idle_message(r, closing[i]));
        ovs_assert(n_hooks == 1);
        ring_get(r, (base ? 0 : 3) + n_for_later);
        others.pmds = true;
        check_ring(r, 2, SMALL);
    }
    ovs_assert(!lib.n_mismatches);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(gate_closed)

static void
hook_open(void)
{
    struct ring *r = &the_vm->rings[0];

    n_hooks++;
    ovs_assert(port_send(the_port, r, 0, 2, SMALL) == 2);
    ring_get(r, 2);
    ring_offer(r, 2);
}

/* Messages that change nothing of a ring cost no packet. */
static void
test_gate_open(void)
{
    struct ring *r = set_up_one(0);
    uint64_t busy = port_totals(the_port).busy_drops;

    for (int i = 0; i < 100; i++) {
        lib.during = hook_open;
        ovs_assert(send_idle_message(r, harmless[i % ARRAY_SIZE(harmless)]));
        hook_open();
    }
    ovs_assert(n_hooks == 200);
    ovs_assert(port_totals(the_port).busy_drops == busy);
    finish(the_port, the_vm);
}

/* Indices. */

static void
hook_scramble(void)
{
    struct lib_vq *vq = &lib.devs[the_vm->vid].vqs[0];

    vq->avail_idx = vq->used_idx = 0x8003;
}

/* Those of the library are written before it uses them, and never read back,
 * whatever comes of them in the message. */
static void
indices(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    uint16_t base;

    for (size_t i = 0; i < ARRAY_SIZE(closing); i++) {
        struct lib_vq *vq = &lib.devs[the_vm->vid].vqs[0];

        if (closing[i] == VHOST_ASYNC_SET_VRING_BASE) {
            continue;
        }
        check_ring(r, 3, SMALL);
        send_in_flight(the_port, r);
        ovs_assert(send_idle_message(r, closing[i]));
        if (closing[i] == VHOST_ASYNC_SET_VRING_ADDR
            || closing[i] == VHOST_ASYNC_SET_VRING_KICK) {
            ovs_assert(vq->avail_idx == ring_base(r));
            ovs_assert(vq->used_idx == ring_base(r));
        }
        ovs_assert(!lib.n_mismatches);
        lib.during = hook_scramble;
        ovs_assert(send_idle_message(r, closing[i]));
        check_ring(r, 5, LARGE);
        lib.n_mismatches = 0;
    }
    send_in_flight(the_port, r);
    base = vm_stop_ring(r);
    ring_get(r, 3);
    ovs_assert(base == ring_base(r));
    finish(the_port, the_vm);
}
FOR_LAYOUTS(indices)

/* Messages that fail. */

static void
test_failed(void)
{
    struct ring *r = set_up_one(0);
    uint64_t seq = seq_read(dpdk_dma_dev_seq());

    /* The next one ends it. */
    send_in_flight(the_port, r);
    lib.failure = LIB_REFUSES;
    ovs_assert(!send_idle_message(r, VHOST_ASYNC_SET_VRING_NUM));
    port_send_to_closed(the_port, r, 0, 1, SMALL);
    ovs_assert(helper_is_woken(seq));
    ovs_assert(send_idle_message(r, LIB_SET_OWNER));
    check_ring(r, 3, LARGE);

    /* Nor does one that fails itself do harm. */
    lib.failure = LIB_REFUSES;
    ovs_assert(!send_idle_message(r, VHOST_ASYNC_SET_VRING_ADDR));
    lib.failure = LIB_REFUSES;
    ovs_assert(!send_idle_message(r, VHOST_ASYNC_SET_VRING_KICK));
    ovs_assert(send_idle_message(r, VHOST_ASYNC_SET_VRING_CALL));
    check_ring(r, 3, LARGE);

    /* If none comes, the helper ends it. */
    lib.failure = LIB_REFUSES;
    ovs_assert(!send_idle_message(r, VHOST_ASYNC_SET_FEATURES));
    fake_ms(MESSAGE_MS - 1);
    ovs_assert(helper_run());
    port_send_to_closed(the_port, r, 0, 1, SMALL);
    fake_ms(1);
    ovs_assert(!helper_run());
    check_ring(r, 3, LARGE);

    /* One that does not close the gate does not keep the helper out, either,
     * who takes rings over. */
    lib.failure = LIB_REFUSES;
    ovs_assert(!send_idle_message(r, VHOST_ASYNC_SET_VRING_CALL));
    fake_ms(MESSAGE_MS);
    helper_run();
    ovs_assert(control_try(&guests[the_vm->vid]));
    control_give(&guests[the_vm->vid], CONTROL_FREE);

    /* The connection may end in the middle of one. */
    send_in_flight(the_port, r);
    lib.failure = LIB_REFUSES;
    ovs_assert(!send_idle_message(r, VHOST_ASYNC_SET_FEATURES));
    vm_leave(the_vm);
    finish(the_port, the_vm);
}

/* GET_VRING_BASE that fails, and a stop that came of it. */
static void
test_failed_stop(void)
{
    struct ring *r = set_up_one(0);
    struct lib_msg msg = { .request = VHOST_ASYNC_GET_VRING_BASE };

    check_ring(r, 7, LARGE);
    send_in_flight(the_port, r);
    lib.failure = LIB_REFUSES;
    ovs_assert(!lib_message(the_vm->vid, &msg, NULL));
    ovs_assert(send_idle_message(r, LIB_SET_OWNER));
    check_ring(r, 7, LARGE);
    finish(the_port, the_vm);
}

static void
hook_slow(void)
{
    fake_ms(2 * MESSAGE_MS);
    helper_run();
    /* The gate is open, but who knows what is behind it. */
    ovs_assert(!port_send(the_port, &the_vm->rings[0], 0, 1, SMALL));
}

/* One that takes so long that it is taken for one that failed. */
static void
test_slow(void)
{
    struct ring *r = set_up_one(0);

    send_in_flight(the_port, r);
    lib.during = hook_slow;
    ovs_assert(vm_mem_table(the_vm, 1));
    settle();
    ovs_assert(n_maps == 1);
    check_ring(r, 3, LARGE);
    ovs_assert(!lib.n_mismatches);
    finish(the_port, the_vm);
}

/* A device that gets ready by a message that fails. */
static void
test_ready_by_failure(void)
{
    struct ring *r;

    start_engines();
    set_support(true);
    the_port = port_add();
    settle();
    the_vm = vm_create(0, 1);
    r = &the_vm->rings[0];
    vm_boot(the_vm, the_port->path);
    vm_stop_ring(r);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_BASE, 0));
    ovs_assert(ring_addr(r, 0, 0, 0));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd));
    ovs_assert(the_port->vid < 0);
    lib.devs[the_vm->vid].vqs[0].vring.kickfd = dup(r->kickfd);
    lib.failure = LIB_REFUSES;
    ovs_assert(!ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd));
    ovs_assert(the_port->vid == the_vm->vid);
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd));
    check_ring(r, 3, LARGE);
    finish(the_port, the_vm);
}

/* Memory. */

static void
failed_table(uint64_t layout)
{
    struct ring *r = set_up_one(layout);
    struct lib_msg msg = { .request = VHOST_ASYNC_ADD_MEM_REG };

    check_ring(r, 3, LARGE);
    send_in_flight(the_port, r);
    lib.failure = LIB_CANNOT_MAP;
    ovs_assert(!vm_mem_table(the_vm, 1));

    /* Nothing is sent to the ring, whatever comes, until a table does, since
     * the library has none.  What was in flight, the guest gets. */
    n_for_later = port_send_to_closed(the_port, r, 0, 1, SMALL);
    fake_ms(2 * MESSAGE_MS);
    settle();
    ring_get(r, 3);
    ring_lose(r, n_for_later);
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(!lib_message(the_vm->vid, &msg, &the_vm->memfd));
    msg.request = VHOST_ASYNC_REM_MEM_REG;
    ovs_assert(!lib_message(the_vm->vid, &msg, NULL));
    ovs_assert(!ring_addr(r, 0, 0, 0));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd));
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1));
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    settle();
    ring_get(r, 0);

    ovs_assert(vm_mem_table(the_vm, 2));
    ovs_assert(ring_addr(r, 0, 0, 0));
    ovs_assert(ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd));
    ring_offer(r, 3);
    check_ring(r, r->size, LARGE);
    ovs_assert(n_maps == 1);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(failed_table)

/* Copies in flight are waited for, as long as an engine may take. */
static void
test_drained_table(void)
{
    struct ring *r = set_up_one(0);
    uint64_t start = fake.tsc;

    send_in_flight(the_port, r);
    ovs_assert(vm_mem_table(the_vm, 1));
    ring_get(r, 3);
    ovs_assert(!lib.n_mismatches);
    ovs_assert(fake.tsc - start < FAKE_HZ / 100);
    helper_run();
    ovs_assert(n_maps == 1);

    others.pmds = false;
    send_in_flight(the_port, r);
    ovs_assert(vm_mem_table(the_vm, 2));
    ovs_assert(fake.tsc - start < FAKE_HZ * 2);
    ovs_assert(n_maps == 2);
    finish(the_port, the_vm);
}

/* If that does not help, the old mapping stays as long as engines write to
 * it. */
static void
changed_table(uint64_t layout)
{
    struct ring *r = set_up_one(layout);

    check_ring(r, 3, LARGE);
    ovs_assert(n_maps == 1);
    others.engines = others.pmds = false;
    send_in_flight(the_port, r);
    for (int i = 1; i <= 3; i++) {
        ovs_assert(vm_mem_table(the_vm, i));
        ovs_assert(!lib.n_mismatches);
        ovs_assert(port_send(the_port, r, 1, 2, LARGE) == 2);
        helper_run();
        ovs_assert(n_maps == 1 + i);
    }
    /* The first one was thread 0's. */
    engine_run(0);
    helper_run();
    ovs_assert(n_maps == 4);
    pmd_run(0);
    helper_run();
    ovs_assert(n_maps == 3);
    ring_get(r, 3);
    others.engines = others.pmds = true;
    settle();
    ovs_assert(n_maps == 1);
    ring_get(r, 6);

    /* The same one again. */
    others.engines = others.pmds = false;
    send_in_flight(the_port, r);
    ovs_assert(vm_mem_table(the_vm, 3));
    helper_run();
    ovs_assert(n_maps == 1);
    finish(the_port, the_vm);
}
FOR_LAYOUTS(changed_table)

/* Memory that an engine never got cannot be written to by it, however long it
 * hangs: but for the first table, none stays. */
static void
test_changed_table_beside_stuck(void)
{
    struct ring *r, *stuck;

    the_port = set_up(&the_vm, 0, 2);
    r = &the_vm->rings[0];
    stuck = &the_vm->rings[1];
    fake.devs[0].stop_fails = UINT_MAX;
    send_in_flight(the_port, stuck);
    others.engines = false;
    vm_stop_ring(stuck);
    ovs_assert(port_state(the_port, stuck) == VHOST_ASYNC_VQ_STUCK);
    ovs_assert(n_maps == 1);
    for (int i = 1; i <= 5; i++) {
        ovs_assert(vm_mem_table(the_vm, i));
        ovs_assert(port_send(the_port, r, 1, 2, LARGE) == 2);
        engine_run(1);
        settle();
        ring_get(r, 2);
        ovs_assert(n_maps == 2);
    }
    ring_lose(stuck, 3);
    finish(the_port, the_vm);
}

/* Messages of 26.07. */
static void
test_memory_slots(void)
{
    struct ring *r = set_up_one(0);
    struct lib_msg msg = { .request = VHOST_ASYNC_ADD_MEM_REG };

    lib.mem_slots = true;
    others.pmds = false;
    ovs_assert(vm_u64(the_vm, VHOST_ASYNC_SET_PROTOCOL_FEATURES,
                         LIB_PROTOCOL_F_MEM_SLOTS));
    send_in_flight(the_port, r);
    msg.payload.memreg.region = (struct lib_region) {
        .gpa = 1 << 30, .size = 4096, .user = 1 << 30
    };
    lib.during = hook_closed;
    ovs_assert(lib_message(the_vm->vid, &msg, &the_vm->memfd));
    helper_run();
    ovs_assert(n_maps == 2);
    ring_get(r, 3 + n_for_later);
    others.pmds = true;
    check_ring(r, 3, LARGE);

    msg.request = VHOST_ASYNC_REM_MEM_REG;
    lib.during = hook_closed;
    ovs_assert(lib_message(the_vm->vid, &msg, NULL));
    helper_run();
    ovs_assert(n_maps == 1);
    check_ring(r, 3, LARGE);
    ovs_assert(!lib_message(the_vm->vid, &msg, NULL));
    ring_lose(r, port_send_to_closed(the_port, r, 0, 1, SMALL));
    finish(the_port, the_vm);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(gate_closed_split),
    DMA_TEST_CASE(gate_closed_packed),
    DMA_TEST_CASE(gate_open),
    DMA_TEST_CASE(indices_split),
    DMA_TEST_CASE(indices_packed),
    DMA_TEST_CASE(failed),
    DMA_TEST_CASE(failed_stop),
    DMA_TEST_CASE(slow),
    DMA_TEST_CASE(ready_by_failure),
    DMA_TEST_CASE(failed_table_split),
    DMA_TEST_CASE(failed_table_packed),
    DMA_TEST_CASE(drained_table),
    DMA_TEST_CASE(changed_table_split),
    DMA_TEST_CASE(changed_table_packed),
    DMA_TEST_CASE(changed_table_beside_stuck),
    DMA_TEST_CASE(memory_slots),
};

static void
test_vhost_guest_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest", test_vhost_guest_main);
