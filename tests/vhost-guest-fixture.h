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

#ifndef VHOST_GUEST_FIXTURE_H
#define VHOST_GUEST_FIXTURE_H 1

/* Guests that send messages, the ports that they connect to, and PMD threads
 * with channels, for tests of what becomes of rings meanwhile.  All but the
 * vhost library and the engines is the real code.
 *
 * There is one thread.  Whenever one would wait, the others run: world().
 *
 * Packets are numbered.  A guest must get those that were taken, in order, or
 * the test must say how many not; each mbuf must be freed once.
 *
 * To be included behind '#define DP(NAME)', see vhost-guest-sources.h. */

#include "dma-test.h"
#include "vhost-guest-sources.h"
#include "fake-guest-vm.h"

/* A case for split and packed rings. */
#define FOR_LAYOUTS(NAME)                                       \
    static void                                                 \
    test_##NAME##_split(void)                                   \
    {                                                           \
        NAME(0);                                                \
    }                                                           \
                                                                \
    static void                                                 \
    test_##NAME##_packed(void)                                  \
    {                                                           \
        NAME(LIB_F_PACKED);                                     \
    }

#define SMALL 100               /* By CPU. */
#define LARGE 1500              /* By DMA. */
#define N_PMDS 2
#define MAX_BURST 64

/* Engines, PMD threads and the helper's. */

static struct vhost_async_thread pmds[N_PMDS];

/* What others do while one waits. */
static struct {
    bool engines, pmds, helper; /* They work. */
    void (*hook)(void);         /* Something else. */
    bool running;
} others = { .engines = true, .pmds = true, .helper = true };

static void
pmd_run(unsigned int i)
{
    if (vhost_async_thread_is_busy(&pmds[i])) {
        vhost_async_thread_reap(&pmds[i]);
    }
}

static bool
engine_run(unsigned int i)
{
    return fake_work(i, 0, UINT_MAX) > 0;
}

static void
world(void)
{
    if (others.running) {
        return;
    }
    others.running = true;
    if (others.hook) {
        others.hook();
    }
    for (unsigned int i = 0; i < N_PMDS; i++) {
        if (others.engines) {
            engine_run(i);
        }
        if (others.pmds) {
            pmd_run(i);
        }
    }
    if (others.helper) {
        helper_run();
    }
    others.running = false;
}

static void
world_delay(unsigned int us)
{
    fake_delay_us(us);
    world();
}

static int
world_yield(void)
{
    world();
    return 0;
}

/* All threads run until there is nothing left to do. */
static OVS_UNUSED void
settle(void)
{
    for (int i = 0; i < 3; i++) {
        world();
    }
}

/* Two devices with one channel each, of as many PMD threads. */
static void
start_engines(void)
{
    static const char *const names[N_PMDS] = { "dma0", "dma1" };
    struct dpdk_dma_map *map;

    for (unsigned int i = 0; i < N_PMDS; i++) {
        fake_dev_add(i, names[i], FAKE_SKELETON, 1, 1024);
    }
    map = dpdk_dma_dev_map();
    dpdk_dma_dev_start_all();
    dpdk_dma_map_open(map);
    for (unsigned int i = 0; i < N_PMDS; i++) {
        vhost_async_thread_init(&pmds[i]);
        vhost_async_thread_set_chan(&pmds[i],
                                    dpdk_dma_map_claim(map, &pmds[i], i, 0));
        ovs_assert(pmds[i].sender.chan == dpdk_dma_map_get(map, i));
    }
}

/* Whether the helper's thread would run. */
static OVS_UNUSED bool
helper_is_woken(uint64_t since)
{
    return seq_read(dpdk_dma_dev_seq()) != since;
}

/* Packets. */

static struct dp_pkt pool[N_PKTS];

static struct rte_mbuf *
make_pkt(uint32_t seq, uint32_t len)
{
    static size_t next;
    struct dp_pkt *pkt;

    for (int i = 0; ; i++) {
        pkt = &pool[next++ % N_PKTS];
        ovs_assert(i < N_PKTS);
        if (dp_pkt_take(pkt)) {
            break;
        }
    }
    free(pkt->data);
    dp_pkt_init(pkt, len);
    atomic_store_relaxed(&pkt->used, true);
    for (uint32_t i = 0; i < len; i++) {
        pkt->data[i] = seq + i;
    }
    pkt->data[0] = 0;           /* Unicast. */
    memcpy(pkt->data + 4, &seq, sizeof seq);
    return dp_pkt_make(pkt, len, 1);
}

static void
check_no_leak(void)
{
    for (size_t i = 0; i < N_PKTS; i++) {
        bool used;

        atomic_read_relaxed(&pool[i].used, &used);
        ovs_assert(!used);
    }
}

/* Ports, as those of netdev-dpdk.c. */

#define MAX_PORTS 2

struct port {
    struct netdev netdev;
    struct netdev_dpdk_async async;
    const char *path;
    atomic_uint8_t tx_retries;
    int vid;
    bool tx_locked;             /* By who sends. */
    uint32_t next_seq;
    uint64_t n_dropped;
};

static struct port ports[MAX_PORTS];

static struct port *
port_by_path(const char *path)
{
    for (int i = 0; i < MAX_PORTS; i++) {
        if (ports[i].path && !strcmp(ports[i].path, path)) {
            return &ports[i];
        }
    }
    return NULL;
}

static struct port *
port_add(void)
{
    static const char *const names[MAX_PORTS] = { "port0", "port1" };
    static const struct netdev_class class = { .type = "dpdkvhostuser" };
    struct port *p = ports;

    while (p->path) {
        p++;
    }
    memset(p, 0, sizeof *p);
    p->path = names[p - ports];
    p->netdev.name = CONST_CAST(char *, p->path);
    p->netdev.netdev_class = &class;
    p->vid = -1;
    atomic_init(&p->tx_retries, 8);
    netdev_dpdk_async_init(&p->async, &p->netdev, &p->tx_retries);
    netdev_dpdk_async_register(&p->async, p->path, 0);
    return p;
}

/* The port goes; a guest that is connected sees its connection closed. */
static void
port_remove(struct port *p)
{
    for (int vid = 0; vid < LIB_MAX_DEVS; vid++) {
        if (lib.devs[vid].path == p->path) {
            lib_disconnect(vid, true);
        }
    }
    netdev_dpdk_async_free(&p->async);
    p->path = NULL;
}

static void
lib_new_connection(int vid)
{
    netdev_dpdk_async_new_connection(vid);
}

static void
lib_destroy_connection(int vid)
{
    netdev_dpdk_async_destroy_connection(vid);
}

static void
lib_new_device(int vid)
{
    netdev_dpdk_async_new_device(vid);
    port_by_path(lib.devs[vid].path)->vid = vid;
}

static void
lib_destroy_device(int vid)
{
    struct port *p = port_by_path(lib.devs[vid].path);

    netdev_dpdk_async_destroy_device(vid);
    if (p->vid == vid) {
        p->vid = -1;
    }
}

static bool
lib_may_enqueue(int vid)
{
    return port_by_path(lib.devs[vid].path)->tx_locked;
}

/* PMD thread 'pmd', or one that is none if negative, sends 'n' packets of
 * 'len' bytes to 'r'.  Returns how many were taken. */
static unsigned int
port_send(struct port *p, struct ring *r, int pmd, unsigned int n,
          uint32_t len)
{
    unsigned int left = n, tried = 0;
    struct rte_mbuf *all[MAX_BURST], **pkts = all;

    for (unsigned int i = 0; i < n; i++) {
        all[i] = make_pkt(p->next_seq + i, len);
    }
    *vhost_async_self_get() = pmd < 0 ? NULL : &pmds[pmd];
    p->tx_locked = netdev_dpdk_async_needs_lock(&p->async);
    while (p->vid >= 0 && left && tried++ <= 8) {
        unsigned int k;

        k = netdev_dpdk_async_enqueue(&p->async, p->vid, 2 * r->qid, pkts,
                                      left, tried - 1);
        ovs_assert(k <= left);
        pkts += k;
        left -= k;
        if (!k) {
            break;
        }
    }
    p->tx_locked = false;
    *vhost_async_self_get() = NULL;
    if (pmd >= 0 && pmds[pmd].sender.chan) {
        /* The end of the iteration. */
        dpdk_dma_chan_doorbell(pmds[pmd].sender.chan);
    }
    for (unsigned int i = 0; i < n - left; i++) {
        r->seqs[r->n_taken++ % N_PKTS] = p->next_seq + i;
    }
    for (unsigned int i = 0; i < left; i++) {
        ovs_assert(pkts[i]);
    }
    p->next_seq += n;
    p->n_dropped += left;
    rte_pktmbuf_free_bulk(all, n);
    return n - left;
}

/* PMD thread 'pmd' polls the rxq of 'r' once.  Returns how many packets came,
 * which are those that are next. */
static OVS_UNUSED unsigned int
port_poll(struct port *p, struct ring *r, int pmd)
{
    struct rte_mbuf *pkts[32];
    unsigned int n = 0;

    if (p->vid >= 0) {
        *vhost_async_self_get() = pmd < 0 ? NULL : &pmds[pmd];
        n = netdev_dpdk_async_dequeue(&p->async, p->vid, r->index, NULL, pkts,
                                      ARRAY_SIZE(pkts));
        *vhost_async_self_get() = NULL;
    }
    if (pmd >= 0 && pmds[pmd].sender.chan) {
        dpdk_dma_chan_doorbell(pmds[pmd].sender.chan);
    }
    for (unsigned int i = 0; i < n; i++) {
        const uint8_t *data = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
        uint32_t seq;

        memcpy(&seq, data + 4, sizeof seq);
        ovs_assert(r->n_got != r->n_taken && seq == r->n_got++);
        for (uint32_t j = 8; j < pkts[i]->pkt_len; j++) {
            ovs_assert(data[j] == (uint8_t) (seq + j));
        }
        dp_rx_free(pkts[i]);
    }
    return n;
}

static struct vhost_async_totals
port_totals(struct port *p)
{
    struct vhost_async_totals t;

    vhost_async_port_get_totals(&p->async.port, &t);
    return t;
}

/* Sends to a ring whose gate is closed, for which nobody waits.  Returns how
 * many packets the completion engine took none the less, for later. */
static OVS_UNUSED unsigned int
port_send_to_closed(struct port *p, struct ring *r, int pmd, unsigned int n,
                    uint32_t len)
{
    uint64_t busy = port_totals(p).busy_drops;
    unsigned int taken = port_send(p, r, pmd, n, len);

#ifdef VHOST_ASYNC_RING
    ovs_assert(taken == n && port_totals(p).busy_drops == busy);
#else
    ovs_assert(!taken && port_totals(p).busy_drops == busy + n);
#endif
    return taken;
}

static struct vhost_async_txq *
port_txq(const struct port *p, const struct ring *r)
{
    return vhost_async_port_txq(&p->async.port, r->qid);
}

static enum vhost_async_vq_state
port_state(const struct port *p, const struct ring *r)
{
    return vhost_async_vq_state(&port_txq(p, r)->vq);
}

static uint32_t
port_in_flight(const struct port *p, const struct ring *r)
{
    return vhost_async_vq_in_flight(&port_txq(p, r)->vq);
}

/* other_config:vhost-async-support. */
static void
set_support(bool on)
{
    struct smap args = SMAP_INITIALIZER(&args);

    smap_add(&args, "vhost-async-support", on ? "true" : "false");
    smap_add(&args, "vhost-async-threshold", "1024");
    netdev_dpdk_async_configure(&args);
    smap_destroy(&args);
}

/* options:vhost-async. */
static OVS_UNUSED void
port_set_dma(struct port *p, bool on)
{
    struct smap args = SMAP_INITIALIZER(&args);

    smap_add(&args, "vhost-async", on ? "true" : "false");
    netdev_dpdk_async_set_config(&p->async, &args);
    smap_destroy(&args);
}

/* options:vhost-async-rx. */
static OVS_UNUSED void
port_set_rx(struct port *p, bool on)
{
    struct smap args = SMAP_INITIALIZER(&args);

    smap_add(&args, "vhost-async-rx", on ? "true" : "false");
    netdev_dpdk_async_set_config(&p->async, &args);
    smap_destroy(&args);
}

/* The end: nothing is left of ports and guests. */
static OVS_UNUSED void
finish(struct port *p, struct vm *g)
{
    others.engines = others.pmds = others.helper = true;
    settle();
    for (unsigned int i = 0; g && i < g->n_rings; i++) {
        struct ring *r = &g->rings[i];

        ring_get(r, r->n_taken - r->n_got);
    }
    if (g) {
        vm_destroy(g);
    }
    port_remove(p);
    settle();
    ovs_assert(!n_maps && !dp_rx_n());
    ovs_assert(ovs_list_is_empty(&old_vqs));
    check_no_leak();
}

/* A port that is on DMA, with a guest. */
static struct port *
set_up(struct vm **g, uint64_t features, unsigned int n_rings)
{
    struct port *p;

    start_engines();
    set_support(true);
    p = port_add();
    settle();
    *g = vm_create(features, n_rings);
    vm_boot(*g, p->path);
    ovs_assert(port_state(p, &(*g)->rings[0]) == VHOST_ASYNC_VQ_RUNNING);
    return p;
}

/* Two packets by DMA are in flight, and one by CPU behind them. */
static OVS_UNUSED void
send_in_flight(struct port *p, struct ring *r)
{
    ovs_assert(port_send(p, r, 0, 2, LARGE) == 2);
    ovs_assert(port_send(p, r, 0, 1, SMALL) == 1);
    ovs_assert(port_in_flight(p, r) == 3);
}

/* A port with one guest, and messages that change nothing. */

static struct port *the_port;
static struct vm *the_vm;

static OVS_UNUSED struct ring *
set_up_one(uint64_t features)
{
    the_port = set_up(&the_vm, features, 1);
    return &the_vm->rings[0];
}

/* Sends 'n' packets and has the guest get them, and those before. */
static OVS_UNUSED void
check_ring(struct ring *r, unsigned int n, uint32_t len)
{
    ovs_assert(port_state(the_port, r) == VHOST_ASYNC_VQ_RUNNING);
    ovs_assert(port_send(the_port, r, 0, n, len) == n);
    settle();
    ring_get_all(r);
    ring_offer(r, r->size - (r->n_offered - r->n_used));
}

/* The guest gets all of 'n' packets of 'len' bytes. */
static OVS_UNUSED void
check_traffic(struct port *p, struct ring *r, unsigned int n, uint32_t len)
{
    ovs_assert(port_send(p, r, 0, n, len) == n);
    settle();
    ring_get_all(r);
    ovs_assert(r->n_got == r->n_taken);
    ring_offer(r, r->size - (r->n_offered - r->n_used));
}

/* Whether a large packet goes by DMA. */
static OVS_UNUSED bool
goes_by_dma(struct port *p, struct ring *r)
{
    uint64_t n = port_totals(p).dma_packets;

    check_traffic(p, r, 1, LARGE);
    return port_totals(p).dma_packets == n + 1;
}

/* A message that changes nothing, as far as that can be. */
static OVS_UNUSED bool
send_idle_message(struct ring *r, uint32_t request)
{
    switch (request) {
    case VHOST_ASYNC_SET_FEATURES:
        return vm_u64(r->vm, request, r->vm->features);
    case VHOST_ASYNC_SET_MEM_TABLE:
        return vm_mem_table(r->vm, r->vm->extra);
    case VHOST_ASYNC_SET_LOG_BASE:
    case LIB_SET_OWNER:
    case LIB_SEND_RARP:
    case VHOST_ASYNC_SET_PROTOCOL_FEATURES:
        return vm_u64(r->vm, request, 0);
    case VHOST_ASYNC_SET_VRING_NUM:
        return ring_state(r, request, r->size);
    case VHOST_ASYNC_SET_VRING_ADDR:
        return ring_addr(r, 0, 0, 0);
    case VHOST_ASYNC_SET_VRING_BASE:
        return ring_state(r, request, ring_base(r));
    case VHOST_ASYNC_SET_VRING_KICK:
        return ring_fd(r, request, r->kickfd);
    case VHOST_ASYNC_SET_VRING_CALL:
    case LIB_SET_VRING_ERR:
        return ring_fd(r, request, r->callfd);
    default:
        OVS_NOT_REACHED();
    }
}

/* Messages that close the gate, and others. */
static OVS_UNUSED const uint32_t closing[] = {
    VHOST_ASYNC_SET_FEATURES, VHOST_ASYNC_SET_MEM_TABLE,
    VHOST_ASYNC_SET_LOG_BASE, VHOST_ASYNC_SET_VRING_NUM,
    VHOST_ASYNC_SET_VRING_ADDR, VHOST_ASYNC_SET_VRING_KICK,
    VHOST_ASYNC_SET_VRING_BASE,
};
static OVS_UNUSED const uint32_t harmless[] = {
    VHOST_ASYNC_SET_VRING_CALL, VHOST_ASYNC_SET_PROTOCOL_FEATURES,
    LIB_SET_OWNER, LIB_SET_VRING_ERR, LIB_SEND_RARP,
};

#endif /* vhost-guest-fixture.h */
