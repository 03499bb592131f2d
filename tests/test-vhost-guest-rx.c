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

/* Tests of what a guest sends while it sends messages, and while its port
 * changes sides: vhost-async-rings.c, -guest.c, -port.c and
 * netdev-dpdk-async.c, with all that is below them but the vhost library and
 * the engines. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_rx_##NAME
#include "vhost-guest-fixture.h"

#define TX_RING(VM) (&(VM)->rings[GUEST_MAX_RX_RINGS])

/* A guest that sends to a port which is to receive by DMA, if 'rx'. */
static struct port *
set_up_rx(struct vm **vm, uint64_t layout, bool rx)
{
    struct port *p;

    start_engines();
    set_support(true);
    p = port_add();
    port_set_rx(p, rx);
    settle();
    *vm = vm_create(layout, 1);
    (*vm)->sends = true;
    vm_boot(*vm, p->path);
    return p;
}

static enum vhost_async_vq_state
rx_state(struct port *p)
{
    return vhost_async_vq_state(&vhost_async_port_rxq(&p->async.port, 0)->vq);
}

static struct vhost_async_rx_totals
rx_totals(struct port *p)
{
    struct vhost_async_rx_totals t;

    vhost_async_port_get_rx_totals(&p->async.port, &t);
    return t;
}

/* All of the 'n' packets that are on the ring come. */
static void
receive(struct port *p, struct ring *r, unsigned int n)
{
    for (int i = 0; i < 3; i++) {
        port_poll(p, r, 0);
        settle();
    }
    ovs_assert(r->n_got == r->n_taken && ring_reclaim(r) == n);
}

/* The guest sends 'n' packets of 'len' bytes, and all of them come. */
static void
check_receive(struct port *p, struct ring *r, unsigned int n, uint32_t len)
{
    ring_send(r, n, len);
    receive(p, r, n);
}

/* The first poll of PMD thread 0, which finds 'n' packets, takes the ring
 * over. */
static void
check_taken_over_with(struct port *p, struct ring *r, unsigned int n)
{
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_LIBRARY);
    ovs_assert(port_poll(p, r, 0) == n);
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_RUNNING);
}

static void
check_taken_over(struct port *p, struct ring *r)
{
    check_taken_over_with(p, r, 0);
}

/* By who polls it, however much there is.  The library's index goes on, and so
 * does the order. */
static void
take_over(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, layout, false);
    struct ring *r = TX_RING(vm);

    ovs_assert(!vhost_async_port_rxq(&p->async.port, 0));
    check_receive(p, r, 50, SMALL);
    check_receive(p, r, 33, LARGE);
    ovs_assert(lib.n_dequeued == 83);
    port_set_rx(p, true);
    settle();
    ring_send(r, 40, SMALL);
    check_taken_over_with(p, r, 32);
    ovs_assert(lib.n_dequeued == 115);
    ovs_assert(port_poll(p, r, 0) == 8);
    ovs_assert(ring_reclaim(r) == 40);
    check_receive(p, r, 60, LARGE);
    check_receive(p, r, 60, SMALL);
    ovs_assert(lib.n_dequeued == 115);
    ovs_assert(rx_totals(p).dma_packets == 60);
    ovs_assert(rx_totals(p).cpu_packets == 68);

    /* Off, the ring stays ours, copied from by CPU, for this guest. */
    port_set_rx(p, false);
    settle();
    check_receive(p, r, 60, LARGE);
    ovs_assert(rx_totals(p).cpu_packets == 128);
    vm_leave(vm);
    settle();
    ovs_assert(!vhost_async_port_rxq(&p->async.port, 0));
    ovs_assert(vhost_async_port_txq(&p->async.port, 0));
    ovs_assert(rx_totals(p).cpu_packets == 128);
    vm_boot(vm, p->path);
    check_receive(p, r, 10, LARGE);
    ovs_assert(lib.n_dequeued >= 116 && lib.n_dequeued <= 125);
    finish(p, vm);
}
FOR_LAYOUTS(take_over)

/* Not while somebody is in control of the guest. */
static void
test_take_over_later(void)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, 0, true);
    struct ring *r = TX_RING(vm);
    struct guest *g = guest_by_vid(vm->vid);

    ovs_assert(control_try(g));
    ovs_assert(!port_poll(p, r, 0));
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_LIBRARY);
    ring_send(r, 2, LARGE);
    ovs_assert(port_poll(p, r, 0) == 2 && lib.n_dequeued == 2);
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_LIBRARY);
    control_give(g, CONTROL_FREE);
    ovs_assert(ring_reclaim(r) == 2);
    check_taken_over(p, r);
    check_receive(p, r, 2, LARGE);
    finish(p, vm);
}

static struct port *polled_port;
static struct ring *polled_ring;
static unsigned int n_polled;

static void
poll_meanwhile(void)
{
    n_polled += port_poll(polled_port, polled_ring, 0);
}

/* While a message is handled that takes memory away nothing is fetched, and
 * what was in flight comes afterwards, once. */
static void
mem_table(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, layout, true);
    struct ring *r = TX_RING(vm);

    check_taken_over(p, r);
    for (unsigned int extra = 1; extra < 8; extra++) {
        bool hangs = extra % 2;

        ring_send(r, 3, LARGE);
        ovs_assert(!port_poll(p, r, 0));
        ring_send(r, 2, LARGE);
        others.engines = !hangs;
        polled_port = p;
        polled_ring = r;
        n_polled = 0;
        others.hook = poll_meanwhile;
        ovs_assert(vm_mem_table(vm, extra));
        others.hook = NULL;
        ovs_assert(!n_polled);
        others.engines = true;
        receive(p, r, 5);
    }
    finish(p, vm);
}
FOR_LAYOUTS(mem_table)

/* A ring that stops waits for copies, and for nothing else: the guest is told
 * the index of what did not come up, and sends that again. */
static void
stop(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, layout, true);
    struct ring *r = TX_RING(vm);
    uint16_t base;

    check_taken_over(p, r);
    check_receive(p, r, 5, LARGE);
    ring_send(r, 7, LARGE);
    ovs_assert(!port_poll(p, r, 0));
    base = vm_stop_ring(r);
    ovs_assert(!ring_reclaim(r) && base == ring_base(r));
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_STOPPED && !dp_rx_n());
    r->start = r->vm->packed ? 0 : r->start + r->n_used;
    r->n_taken -= 7;
    vm_start_ring(r);
    ring_send(r, 7, LARGE);
    receive(p, r, 7);
    check_receive(p, r, 60, LARGE);
    finish(p, vm);
}
FOR_LAYOUTS(stop)

/* It does not wait for ever.  What did not come is sent again. */
static void
stop_stuck(uint64_t layout)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, layout, true);
    struct ring *r = TX_RING(vm);
    uint64_t start;
    uint16_t base;

    check_taken_over(p, r);
    fake.devs[0].stop_fails = UINT_MAX;
    ring_send(r, 7, LARGE);
    ovs_assert(!port_poll(p, r, 0));
    others.engines = false;
    start = fake.tsc;
    base = vm_stop_ring(r);
    ovs_assert(fake.tsc - start < FAKE_HZ * 3);
    ovs_assert(!ring_reclaim(r) && base == ring_base(r));
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_STUCK);
    ovs_assert(dp_rx_n() == 7);
    vm_start_ring(r);
    r->n_taken -= 7;
    ring_send(r, 7, LARGE);
    /* Nothing is taken before the engine is through. */
    for (int i = 0; i < 3; i++) {
        ovs_assert(!port_poll(p, r, 1));
        settle();
    }
    others.engines = true;
    settle();
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_RUNNING && !dp_rx_n());
    receive(p, r, 7);
    finish(p, vm);
}
FOR_LAYOUTS(stop_stuck)

/* What an engine finishes late, for a guest that is gone, is freed then. */
static void
test_leave_stuck(void)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, 0, true);
    struct ring *r = TX_RING(vm);

    check_taken_over(p, r);
    fake.devs[0].stop_fails = UINT_MAX;
    ring_send(r, 7, LARGE);
    ovs_assert(!port_poll(p, r, 0));
    others.engines = false;
    vm_leave(vm);
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_STUCK && dp_rx_n() == 7);
    settle();
    ovs_assert(rx_totals(p).in_flight == 7);
    others.engines = true;
    settle();
    ovs_assert(rx_state(p) == VHOST_ASYNC_VQ_STOPPED && !dp_rx_n());
    ovs_assert(!rx_totals(p).in_flight);
    r->n_got = r->n_taken;
    vm_boot(vm, p->path);
    check_receive(p, r, 5, LARGE);
    finish(p, vm);
}

/* Nothing is taken from a ring that the guest disabled. */
static void
test_disabled(void)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, 0, true);
    struct ring *r = TX_RING(vm);

    check_taken_over(p, r);
    ring_send(r, 3, LARGE);
    ovs_assert(!port_poll(p, r, 0));
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 0));
    ring_send(r, 2, SMALL);
    settle();
    ovs_assert(port_poll(p, r, 0) == 3 && !port_poll(p, r, 0));
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1));
    ovs_assert(port_poll(p, r, 0) == 2);
    ring_reclaim(r);
    finish(p, vm);
}

/* What a guest sent that went is not the next one's. */
static void
test_leave(void)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, 0, true);
    struct ring *r = TX_RING(vm);

    check_taken_over(p, r);
    ring_send(r, 9, LARGE);
    ovs_assert(!port_poll(p, r, 0));
    vm_leave(vm);
    ovs_assert(!rx_totals(p).dma_packets && !dp_rx_n());
    r->n_got = r->n_taken;
    vm_boot(vm, p->path);
    check_receive(p, r, 5, LARGE);
    finish(p, vm);
}

/* A guest that arrived by migration is announced: by the library as long as
 * the ring is its, else by us. */
static void
test_announce(void)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, 0, true);
    struct ring *r = TX_RING(vm);
    struct rte_mbuf *pkts[32];

    check_taken_over(p, r);
    ovs_assert(vm_u64(vm, VHOST_ASYNC_SEND_RARP, UINT64_C(0x665544332211)));
    ovs_assert(netdev_dpdk_async_dequeue(&p->async, p->vid, r->index, NULL,
                                         pkts, ARRAY_SIZE(pkts)) == 1);
    ovs_assert(!memcmp(rte_pktmbuf_mtod_offset(pkts[0], void *, 6),
                       "\x11\x22\x33\x44\x55\x66", 6));
    dp_rx_free(pkts[0]);
    ovs_assert(!port_poll(p, r, 0));
    finish(p, vm);
}

/* The fill level is told without a call that locks. */
static void
test_fill_level(void)
{
    struct vm *vm;
    struct port *p = set_up_rx(&vm, 0, true);
    struct ring *r = TX_RING(vm);

    check_taken_over(p, r);
    ring_send(r, 40, SMALL);
    ovs_assert(port_poll(p, r, -1) == 32);
    ovs_assert(netdev_dpdk_async_rx_count(&p->async, p->vid, r->index) == 8);
    ovs_assert(port_poll(p, r, -1) == 8);
    ovs_assert(netdev_dpdk_async_rx_count(&p->async, p->vid, r->index) == 0);
    ring_reclaim(r);
    finish(p, vm);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(take_over_split),
    DMA_TEST_CASE(take_over_packed),
    DMA_TEST_CASE(take_over_later),
    DMA_TEST_CASE(mem_table_split),
    DMA_TEST_CASE(mem_table_packed),
    DMA_TEST_CASE(stop_split),
    DMA_TEST_CASE(stop_packed),
    DMA_TEST_CASE(stop_stuck_split),
    DMA_TEST_CASE(stop_stuck_packed),
    DMA_TEST_CASE(leave_stuck),
    DMA_TEST_CASE(disabled),
    DMA_TEST_CASE(leave),
    DMA_TEST_CASE(announce),
    DMA_TEST_CASE(fill_level),
};

static void
test_vhost_guest_rx_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-rx", test_vhost_guest_rx_main);
