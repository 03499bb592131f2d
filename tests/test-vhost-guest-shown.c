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

/* Tests that what a port shows is true: each reason is brought about, and what
 * becomes of packets then is compared with it: netdev-dpdk-async-stats.c, with
 * all that is below it but the vhost library and the engines. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_shown_##NAME
#include "vhost-guest-fixture.h"

/* What becomes of packets. */
enum way {
    BY_DMA,
    BY_CPU,                     /* Ours. */
    BY_LIBRARY,
    NOT_AT_ALL,
};

/* Returns the line of dma-show that begins with 'begin', without that, to be
 * freed; NULL if there is none. */
static char *
shown_line(const char *begin)
{
    struct ds ds = DS_EMPTY_INITIALIZER;
    char *line, *save = NULL, *found = NULL;

    netdev_dpdk_async_format(&ds);
    for (line = strtok_r(ds_cstr(&ds), "\n", &save); line && !found;
         line = strtok_r(NULL, "\n", &save)) {
        if (!strncmp(line, begin, strlen(begin))) {
            found = xstrdup(line + strlen(begin));
        }
    }
    ds_destroy(&ds);
    return found;
}

static void
check_line(const char *begin, const char *expected)
{
    char *line = shown_line(begin);

    if (!nullable_string_is_equal(line, expected)) {
        ovs_fatal(0, "%s \"%s\" is shown instead of \"%s\"", begin,
                  line ? line : "", expected ? expected : "");
    }
    free(line);
}

/* The status of the interface, by which the database has it. */
static void
check_status(struct port *p, const char *expected)
{
    struct smap args = SMAP_INITIALIZER(&args);

    netdev_dpdk_async_get_status(&p->async, &args);
    ovs_assert(nullable_string_is_equal(smap_get(&args, "vhost_async"),
                                        expected));
    smap_destroy(&args);
}

/* A large packet to 'r' goes the way 'way'. */
static void
check_way(struct port *p, struct ring *r, enum way way)
{
    struct vhost_async_totals before = port_totals(p), after;
    unsigned int n_library = lib.n_enqueued;

    ovs_assert(port_send(p, r, 0, 1, LARGE) == (way != NOT_AT_ALL));
    after = port_totals(p);
    ovs_assert(after.dma_packets - before.dma_packets == (way == BY_DMA));
    ovs_assert(after.cpu_packets - before.cpu_packets == (way == BY_CPU));
    ovs_assert(lib.n_enqueued - n_library == (way == BY_LIBRARY));
    settle();
    if (way != NOT_AT_ALL) {
        ring_get(r, 1);
        ring_offer(r, 1);
    }
}

/* 'port' and 'txq' are shown, NULL if nothing is, and packets go 'way'. */
static void
check_shown(struct port *p, struct ring *r, const char *port, const char *txq,
            enum way way)
{
    check_line("port port0: ", port);
    check_line("  txq 0: ", txq);
    check_way(p, r, way);
}

/* Cases. */

/* What the guest does. */
static void
test_guest(void)
{
    struct ring *r = set_up_one(0);

    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    check_status(the_port, "DMA");
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 0));
    check_shown(the_port, r, "DMA", "none: disabled by the guest", NOT_AT_ALL);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1));
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    vm_stop_ring(r);
    check_line("  txq 0: ", "none: no guest has set it up");
    vm_start_ring(r);
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    vm_leave(the_vm);
    settle();
    check_line("port port0: ", "DMA, no guest");
    check_line("  txq 0: ", "none: no guest has set it up");
    ovs_assert(!port_send(the_port, r, 0, 1, LARGE));
    vm_boot(the_vm, the_port->path);
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    finish(the_port, the_vm);
}

static void
hook_message(void)
{
    check_line("  txq 0: ", "a message of the guest is handled");
    others.hook = NULL;
}

static void
test_message(void)
{
    struct ring *r = set_up_one(0);

    /* While the library has it. */
    lib.during = hook_message;
    others.hook = hook_message;
    ovs_assert(vm_mem_table(the_vm, 1));
    ovs_assert(!others.hook);
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    finish(the_port, the_vm);
}

/* What the operator does: a connected guest's rings stay ours. */
static void
test_settings(void)
{
    struct ring *r = set_up_one(0);
    const char *why = "CPU: other_config:vhost-async-support is false";

    set_support(false);
    settle();
    check_shown(the_port, r, why, "CPU", BY_CPU);
    check_status(the_port, why);
    set_support(true);
    settle();
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    why = "CPU: options:vhost-async is false";
    port_set_dma(the_port, false);
    settle();
    check_shown(the_port, r, why, "CPU", BY_CPU);
    check_status(the_port, why);
    port_set_dma(the_port, true);
    settle();
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    finish(the_port, the_vm);
}

static void
test_migration(void)
{
    struct ring *r = set_up_one(0);

    for (int i = 0; i < 2; i++) {
        the_vm->features |= LIB_F_LOG_ALL;
        ovs_assert(vm_u64(the_vm, VHOST_ASYNC_SET_LOG_BASE, 0));
        ovs_assert(vm_u64(the_vm, VHOST_ASYNC_SET_FEATURES,
                          the_vm->features));
        check_shown(the_port, r, "DMA", "CPU: its guest is being migrated",
                    BY_CPU);
        the_vm->features &= ~LIB_F_LOG_ALL;
        ovs_assert(vm_u64(the_vm, VHOST_ASYNC_SET_FEATURES,
                          the_vm->features));
        check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    }
    finish(the_port, the_vm);
}

/* A guest that broke its ring. */
static void
test_broken(void)
{
    struct ring *r = set_up_one(0);
    char *line;

    ring_avail(r)->idx += r->size + 1;
    ovs_assert(!port_send(the_port, r, 0, 1, LARGE));
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    ovs_assert(atomic_count_get(&n_vhost_async_broken) == 1);
    line = shown_line("  txq 0: ");
    ovs_assert(line && strcmp(line, "DMA") && strcmp(line, "CPU"));
    free(line);
}

/* No channel: of any thread, or at all. */
static void
test_channels(void)
{
    struct ring *r = set_up_one(0);

    for (int i = 0; i < N_PMDS; i++) {
        vhost_async_thread_set_chan(&pmds[i], NULL);
        dpdk_dma_map_release(dpdk_dma_dev_map(), &pmds[i]);
    }
    check_shown(the_port, r, "CPU: no PMD thread has a DMA channel", "CPU",
                BY_CPU);
    check_status(the_port, "CPU: no PMD thread has a DMA channel");
    vhost_async_thread_set_chan(&pmds[0],
                                dpdk_dma_map_claim(dpdk_dma_dev_map(),
                                                   &pmds[0], 0, 0));
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    finish(the_port, the_vm);
}

static void
test_no_channel(void)
{
    struct port *p;
    struct vm *vm;

    for (int i = 0; i < N_PMDS; i++) {
        vhost_async_thread_init(&pmds[i]);
        ovs_mutex_init(&fake.devs[i].mutex);
    }
    set_support(true);
    p = port_add();
    vm = vm_create(0, 1);
    vm_boot(vm, p->path);
    settle();
    check_shown(p, &vm->rings[0], "CPU: there is no DMA channel", NULL,
                BY_LIBRARY);
    check_status(p, "CPU: there is no DMA channel");
    finish(p, vm);
}

/* Ports that stay with the library. */
static void
test_unfit(void)
{
    static const struct {
        const char *path;
        uint64_t flags;
        const char *why;
    } kinds[] = {
        { "port0", RTE_VHOST_USER_IOMMU_SUPPORT,
          "CPU: other_config:vhost-iommu-support is true" },
        { "port0", RTE_VHOST_USER_POSTCOPY_SUPPORT,
          "CPU: other_config:vhost-postcopy-support is true" },
        { "/dev/vduse/x", 0, "CPU: it is a VDUSE device" },
    };
    struct port *p;
    struct vm *vm;

    start_engines();
    set_support(true);
    p = port_add();
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        netdev_dpdk_async_register(&p->async, kinds[i].path, kinds[i].flags);
        settle();
        check_line("port port0: ", kinds[i].why);
        check_status(p, kinds[i].why);
    }
    netdev_dpdk_async_register(&p->async, "port0",
                               RTE_VHOST_USER_IOMMU_SUPPORT);
    vm = vm_create(0, 1);
    vm_boot(vm, p->path);
    settle();
    check_shown(p, &vm->rings[0], kinds[0].why, NULL, BY_LIBRARY);
    finish(p, vm);
}

/* A guest that connected before: until its rings are taken over, and as long
 * as its memory cannot be mapped, the library copies. */
static void
test_taken_over(void)
{
    struct port *p;
    struct ring *r;
    struct vm *vm;
    char *line;

    start_engines();
    p = port_add();
    vm = vm_create(0, 1);
    r = &vm->rings[0];
    vm_boot(vm, p->path);
    check_line("  txq 0: ", NULL);
    check_way(p, r, BY_LIBRARY);

    maps_fail = true;
    set_support(true);
    settle();
    line = shown_line("port port0: ");
    ovs_assert(line && !strncmp(line, "CPU: a region", 13));
    check_status(p, line);
    free(line);
    check_way(p, r, BY_LIBRARY);

    maps_fail = false;
    others.helper = false;
    helper_change_sides();
    check_line("  txq 0: ",
               "CPU: about to be taken over from the vhost library");
    check_way(p, r, BY_DMA);
    others.helper = true;
    settle();
    check_shown(p, r, "DMA", "DMA", BY_DMA);
    finish(p, vm);
}

/* A ring that stands still behind copies of an engine that failed: while that
 * is stopped, if it cannot be, and as long as it may yet complete them. */
static void
test_stuck(void)
{
    struct ring *r = set_up_one(0);

    fake.devs[0].stop_fails = UINT_MAX;
    atomic_store(&fake.devs[0].stop_blocks, true);
    check_ring(r, 5, LARGE);
    others.engines = false;
    send_in_flight(the_port, r);
    dpdk_dma_dev_quarantine(pmds[0].sender.chan, "for a test");
    settle();
    stop_failed();
    check_line("  txq 0: ", "none: stands still behind a copy of a DMA device "
               "that failed and is being stopped");

    /* The helper is not the one to wait for it, as the stop itself runs all
     * when it waits. */
    atomic_store(&fake.devs[0].stop_blocks, false);
    others.helper = false;
    stop_failed();
    others.helper = true;
    check_line("  txq 0: ", "none: stands still behind a copy of a DMA device "
               "that failed and cannot be stopped, until the device reports "
               "it; restart ovs-vswitchd");
    settle();
    ring_get(r, 0);

    others.engines = true;
    settle();
    check_line("  txq 0: ", "DMA");
    ring_get(r, 3);
    ring_offer(r, 3);
    ovs_assert(port_send(the_port, r, 1, 1, LARGE) == 1);
    settle();
    ring_get(r, 1);
    finish(the_port, the_vm);
}

/* A ring that stopped, and started again, while a slow engine has copies to
 * it. */
static void
test_stopped_in_flight(void)
{
    struct ring *r = set_up_one(0);

    check_ring(r, 5, LARGE);
    others.engines = false;
    send_in_flight(the_port, r);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, 32));
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_NUM, r->size));
    check_line("  txq 0: ",
               "none: waits for copies that were in flight when it stopped");
    ovs_assert(!port_send(the_port, r, 0, 1, SMALL));
    others.engines = true;
    settle();
    ring_lose(r, 3);
    check_shown(the_port, r, "DMA", "DMA", BY_DMA);
    finish(the_port, the_vm);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(guest),
    DMA_TEST_CASE(message),
    DMA_TEST_CASE(settings),
    DMA_TEST_CASE(migration),
    DMA_TEST_CASE(broken),
    DMA_TEST_CASE(channels),
    DMA_TEST_CASE(no_channel),
    DMA_TEST_CASE(unfit),
    DMA_TEST_CASE(taken_over),
    DMA_TEST_CASE(stuck),
    DMA_TEST_CASE(stopped_in_flight),
};

static void
test_vhost_guest_shown_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-shown", test_vhost_guest_shown_main);
