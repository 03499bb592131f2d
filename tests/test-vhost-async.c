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

/* Tests of copies to vhost ports by DMA: the account of a txq, the way of each
 * burst, the completion engine, claims and reloads of PMD threads, and the
 * engines' starts and failures.
 *
 * All of it runs as it is, but on a vhost library, guests, engines and a clock
 * that only do what a test says; see fake-vhost.h.  Which thread is at work is
 * for the test to say, too: there is but one, so that each case happens
 * exactly as it is written here. */

#undef NDEBUG
#include <config.h>

/* As for the sources that are tested. */
#ifndef ALLOW_EXPERIMENTAL_API
#define ALLOW_EXPERIMENTAL_API
#endif

#include <fcntl.h>

#include "coverage.h"
#include "dma-test.h"
#include "dpif-netdev-perf.h"
#include "ovs-numa.h"
#include "ovstest.h"
#include "openvswitch/poll-loop.h"
#include "random.h"
#include "smap.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"

#include "fake-vhost.h"

/* The sources that are tested, with one log module each. */
#define this_module netdev_dpdk_async_module
#include "netdev-dpdk-async.c"
#undef this_module
#define this_module netdev_dpdk_async_migrate_module
#include "netdev-dpdk-async-migrate.c"
#undef this_module
#define this_module vhost_async_txq_module
#include "vhost-async-txq.c"
#undef this_module
#define this_module dpdk_dma_dev_module
#include "dpdk-dma-dev.c"
#undef this_module
#define this_module dpif_netdev_dma_module
#include "dpif-netdev-dma.c"
#undef this_module
#define this_module vhost_async_engine_module
#include VHOST_ASYNC_ENGINE_SOURCE
#undef this_module
#include "vhost-async-copy.c"
#include "vhost-async-message.c"
#include "vhost-async-work.c"

#define N_TXQS (FAKE_MAX_VRINGS / 2)
#define N_PORTS 2
#define N_PMDS 3
#define MAX_BURST 32

/* Frame sizes below and above the threshold. */
#define THRESHOLD 1000
#define SMALL 64
#define BIG 1500

static struct pmd {
    unsigned int core;
    struct vhost_async_thread *self;    /* While another one runs. */
    struct pmd_perf_stats perf;
} pmds[N_PMDS];
static size_t n_pmds;

/* The running one, NULL for a thread that is no PMD. */
static struct pmd *running;

/* Ports. */

/* Threads whose packets stay in order: with a tx lock that is all of them. */
#define N_SENDERS (VHOST_ASYNC_TX_LOCK ? 1 : N_PMDS + 1)

/* What a sender sent to a txq. */
struct sent {
    struct fake_pkt **pkts;     /* Taken by the port, in order. */
    size_t n, allocated;
    size_t n_seen;              /* Of these, known to have arrived or not. */
};

/* A vhost port, as netdev-dpdk.c makes one. */
struct port {
    struct netdev netdev;
    struct netdev_dpdk_async async;
    ovsrcu_index vid;
    atomic_uint8_t tx_retries;
    char *path;
    bool server;                /* The guest connects to it. */
    int other_vid;              /* Another guest that connected. */

    struct sent sent[N_TXQS][N_PMDS + 1];
    size_t n_got[N_TXQS];       /* Packets at the guest, looked at. */
    /* Packets: taken while on DMA or not, not taken, at the guests. */
    uint64_t n_taken, n_stock, n_dropped, n_arrived;
    uint64_t n_skipped;         /* Taken, and others after them arrived. */
    unsigned int n_reconfigure; /* Times that it was asked for. */
};

static struct port ports_[N_PORTS];

static struct port *
port_find(const char *path)
{
    for (size_t i = 0; i < N_PORTS; i++) {
        if (ports_[i].path && !strcmp(ports_[i].path, path)) {
            return &ports_[i];
        }
    }
    return NULL;
}

static void
fake_request_reconfigure(struct netdev *netdev)
{
    CONTAINER_OF(netdev, struct port, netdev)->n_reconfigure++;
}

static bool
fake_get_carrier(const struct netdev *netdev)
{
    return ovsrcu_index_get(&CONTAINER_OF(netdev, struct port,
                                          netdev)->vid) >= 0;
}

/* The port of a guest is the one that has its vid. */
static int
fake_get_ifname(int vid, char *path, size_t size)
{
    for (size_t i = 0; i < N_PORTS; i++) {
        if (ports_[i].path && (ovsrcu_index_get(&ports_[i].vid) == vid
                               || ports_[i].other_vid == vid)) {
            ovs_strlcpy(path, ports_[i].path, size);
            return 0;
        }
    }
    return -1;
}

static struct vhost_async_txq *
port_txq(const struct port *port, int qid)
{
    return async_txq(&port->async, qid);
}

static unsigned int
port_in_flight(const struct port *port, int qid)
{
    return vhost_async_txq_in_flight(port_txq(port, qid));
}

static size_t
port_memory(const struct port *port, int qid)
{
    const struct vhost_async_txq *txq = port_txq(port, qid);

    ovs_assert(txq);
    return vhost_async_txq_memory(txq);
}

static struct fake_vring *
port_vring(const struct port *port, int qid)
{
    return fake_vring(ovsrcu_index_get(&port->vid), 2 * qid);
}

static uint64_t
port_lost(const struct port *port)
{
    return netdev_dpdk_async_lost(&port->async);
}

/* Checks that the guest got packets in the order in which they were taken,
 * each once, and that none of them is the sender's any more. */
static void
port_check_order(struct port *port)
{
    for (int qid = 0; qid < N_TXQS; qid++) {
        struct fake_vring *v = port_vring(port, qid);

        for (; port->n_got[qid] < v->n_got; port->n_got[qid]++) {
            struct fake_pkt *got = v->got[port->n_got[qid]];
            struct sent *sent = &port->sent[qid][got->sender];

            ovs_assert(sent->n_seen < sent->n);

            /* A ring may have had to give packets up. */
            while (sent->pkts[sent->n_seen] != got) {
                ovs_assert(sent->pkts[sent->n_seen]->freed);
                ovs_assert(++sent->n_seen < sent->n);
                port->n_skipped++;
            }
            sent->n_seen++;
            port->n_arrived++;
            ovs_assert(got->freed);
        }
    }
}

/* Checks that each packet that the port took was counted once, and is
 * somewhere. */
static void
port_check_sums(struct port *port)
{
    struct netdev_dpdk_async_totals t = async_totals(&port->async);

    port_check_order(port);
    ovs_assert(t.dma_packets + t.cpu_packets + t.waiting + t.ring_lost_drops
               == port->n_taken);
    ovs_assert(port->n_skipped <= t.ring_lost_drops);
    ovs_assert(t.busy_drops + t.stuck_drops + t.ring_full_drops
               <= port->n_dropped);
    ovs_assert(port->n_arrived + t.in_flight + t.lost_drops + t.waiting
               + t.ring_lost_drops == port->n_taken + port->n_stock);
}

static void
sent_add(struct sent *sent, struct fake_pkt *pkt)
{
    if (sent->n == sent->allocated) {
        sent->pkts = x2nrealloc(sent->pkts, &sent->allocated,
                                sizeof *sent->pkts);
    }
    sent->pkts[sent->n++] = pkt;
}

/* Takes 'n' packets, from number 'at' on, out again. */
static void
sent_remove(struct sent *sent, size_t at, size_t n)
{
    if (n) {
        memmove(&sent->pkts[at], &sent->pkts[at + n],
                (sent->n - at - n) * sizeof *sent->pkts);
        sent->n -= n;
    }
}

/* What the running thread sent to a txq. */
static struct sent *
port_sent(struct port *port, int qid)
{
    size_t sender = running ? running - pmds : N_PMDS;

    return &port->sent[qid][N_SENDERS > 1 ? sender : 0];
}

/* Sends packets of 'sizes' as netdev_dpdk_vhost_send() does, with as many
 * retries.  Returns how many were taken. */
static unsigned int
port_send__(struct port *port, int qid, const uint32_t *sizes,
            unsigned int cnt, int max_retries)
{
    struct rte_mbuf *mbufs[MAX_BURST], *all[MAX_BURST];
    int vid = ovsrcu_index_get(&port->vid);
    struct sent *sent = port_sent(port, qid);
    size_t first = sent->n;
    struct rte_mbuf **left = mbufs;
    unsigned int n_left = cnt;
    unsigned int n_taken;
    int retries = 0;

    /* Noted before, since others may send meanwhile, which comes later. */
    ovs_assert(cnt <= MAX_BURST);
    for (unsigned int i = 0; i < cnt; i++) {
        mbufs[i] = all[i] = &fake_pkt_create(sizes[i])->mbuf;
        fake_pkt_cast(all[i])->sender = sent - port->sent[qid];
        sent_add(sent, fake_pkt_cast(all[i]));
    }
    do {
        uint16_t n = netdev_dpdk_async_enqueue(&port->async, vid, 2 * qid,
                                               left, n_left);

        if (!n) {
            break;
        }
        left += n;
        n_left -= n;
    } while (n_left && retries++ < max_retries);

    n_taken = cnt - n_left;
    sent_remove(sent, first + n_taken, n_left);
    for (unsigned int i = 0; i < cnt; i++) {
        /* Only what was taken can be somebody else's. */
        ovs_assert(mbufs[i] ? mbufs[i] == all[i] : i < n_taken);
        fake_pktmbuf_free(mbufs[i]);
    }
    if (port->async.txqs && port_txq(port, qid)) {
        port->n_taken += n_taken;
    } else {
        port->n_stock += n_taken;
    }
    port->n_dropped += n_left;
    return n_taken;
}

static unsigned int
port_send_n(struct port *port, int qid, uint32_t size, unsigned int cnt)
{
    unsigned int n_taken = 0;

    while (cnt) {
        unsigned int n = MIN(cnt, MAX_BURST);
        uint32_t sizes[MAX_BURST];

        for (unsigned int i = 0; i < n; i++) {
            sizes[i] = size;
        }
        n_taken += port_send__(port, qid, sizes, n, 0);
        cnt -= n;
    }
    return n_taken;
}

#define PORT_SEND(PORT, QID, ...)                                           \
    port_send__(PORT, QID, (const uint32_t[]) { __VA_ARGS__ },              \
                ARRAY_SIZE(((const uint32_t[]) { __VA_ARGS__ })), 0)

static void
port_register(struct port *port)
{
    netdev_dpdk_async_driver_flags(&port->async, !port->server, port->path);
}

static void
port_create(struct port *port, const char *name)
{
    memset(port, 0, sizeof *port);
    port->netdev.name = xstrdup(name);
    port->path = xasprintf("socket.%s", name);
    port->other_vid = -1;
    ovsrcu_index_init(&port->vid, -1);
    atomic_init(&port->tx_retries, 8);
    netdev_dpdk_async_init(&port->async, &port->netdev, &port->vid,
                           &port->tx_retries);
    port_register(port);
}

/* The device 'vid' is ready, as new_device() in netdev-dpdk.c has it. */
static void
guest_start(struct port *port, int vid)
{
    bool was_quiescent = fake.quiescent;

    fake.quiescent = true;
    ovsrcu_index_set(&port->vid, vid);
    netdev_dpdk_async_new_device(&port->async, vid);
    fake.quiescent = was_quiescent;
}

/* How many of them a guest has set up when it connects. */
static int n_ready_txqs = N_TXQS;

/* A guest connects to 'port' as 'vid', with txqs of 'size' descriptors. */
static void
guest_connect(struct port *port, int vid, uint16_t size)
{
    struct fake_guest *guest = &fake.guests[vid];

    ovs_assert(!guest->live);
    for (int i = 0; i < FAKE_MAX_VRINGS; i++) {
        free(guest->vrings[i].got);
    }
    memset(guest, 0, sizeof *guest);
    guest->live = guest->negotiated = true;
    guest->n_vrings = FAKE_MAX_VRINGS;
    for (int qid = 0; qid < N_TXQS; qid++) {
        if (qid < n_ready_txqs) {
            fake_vring_set_up(vid, 2 * qid, size);
        }
        for (size_t i = 0; i < N_SENDERS; i++) {
            port->sent[qid][i].n = port->sent[qid][i].n_seen = 0;
        }
        port->n_got[qid] = 0;
    }

    ovsrcu_index_set(&port->vid, vid);
    netdev_dpdk_async_new_connection(vid);
    guest_start(port, vid);
}

/* PMD threads. */

static void
run_as(struct pmd *pmd)
{
    if (running) {
        running->self = *vhost_async_self_get();
    }
    *vhost_async_self_get() = pmd ? pmd->self : NULL;
    running = pmd;
}

static void
run_as_main(void)
{
    run_as(NULL);
}

static struct dpdk_dma_chan *
pmd_chan(struct pmd *pmd)
{
    run_as(pmd);
    return (*vhost_async_self_get())->chan;
}

static bool
pmd_is_busy(struct pmd *pmd)
{
    run_as(pmd);
    return vhost_async_engine_is_busy(*vhost_async_self_get());
}

static void
pmd_start(struct pmd *pmd, unsigned int core)
{
    pmd->core = core;
    run_as(pmd);
    dpif_netdev_dma_attach("netdev@dp", core, 0, 1);
}

static void
pmd_reload(struct pmd *pmd)
{
    run_as(pmd);
    dpif_netdev_dma_drain(1);
    ovs_assert(!dpif_netdev_dma_is_busy());
    dpif_netdev_dma_attach("netdev@dp", pmd->core, 0, 1);
}

static void
pmd_stop(struct pmd *pmd)
{
    run_as(pmd);
    dpif_netdev_dma_detach();
    ovs_assert(!*vhost_async_self_get());
}

/* Polls the rxqs of 'port', as netdev_dpdk_vhost_rxq_recv() does. */
static void
port_rx(struct port *port)
{
    int vid = ovsrcu_index_get(&port->vid);
    rte_spinlock_t tx_lock = RTE_SPINLOCK_INITIALIZER;

    for (int qid = 0; port->path && vid >= 0 && qid < N_TXQS; qid++) {
        netdev_dpdk_async_rx(&port->async, vid, qid, &tx_lock);
    }
}

/* One iteration without packets.  Returns how many came back. */
static unsigned int
pmd_iterate(struct pmd *pmd)
{
    unsigned int n;

    run_as(pmd);
    for (size_t i = 0; i < N_PORTS; i++) {
        port_rx(&ports_[i]);
    }
    n = dpif_netdev_dma_reap(&pmd->perf);
    fake.quiescent = true;
    fake_grace_period();
    fake.quiescent = false;
    return n;
}

static void
iterate_all(void)
{
    for (size_t i = 0; i < n_pmds; i++) {
        pmd_iterate(&pmds[i]);
    }
}

/* Lets 'ms' pass, with an iteration of 'pmd' every 100 us. */
static void
iterate_for(struct pmd *pmd, unsigned int ms)
{
    for (unsigned int i = 0; i < 10 * ms; i++) {
        fake_pass_time(100000);
        pmd_iterate(pmd);
    }
}

static void
reload_all(void)
{
    for (size_t i = 0; i < n_pmds; i++) {
        pmd_reload(&pmds[i]);
    }
    run_as_main();
}

/* Whether the main thread has the library call back, and not its own thread,
 * which is always quiescent. */
static bool called_by_main;

/* The device of 'port' goes, as destroy_device() in netdev-dpdk.c has it. */
static void
guest_stop(struct port *port)
{
    int vid = ovsrcu_index_get(&port->vid);
    bool was_quiescent = fake.quiescent;
    struct pmd *was_running = running;

    run_as(NULL);
    fake.quiescent = !called_by_main;
    ovsrcu_index_set(&port->vid, -1);
    netdev_dpdk_async_destroy_begin(&port->async);
    netdev_dpdk_async_destroy_device(&port->async, vid);
    ovs_assert(fake.quiescent == !called_by_main);

    /* Its rings are looked at, and memory can go. */
    ovsrcu_index_set(&port->vid, vid);
    port_check_sums(port);
    for (int qid = 0; qid < N_TXQS; qid++) {
        ovs_assert(!port_txq(port, qid) || !port_in_flight(port, qid));
        ovs_assert(!port_vring(port, qid)->async
                   || fake_in_flight(vid, 2 * qid));
        fake_check_vring_unused(port_vring(port, qid));
    }
    ovsrcu_index_set(&port->vid, -1);
    fake.quiescent = was_quiescent;
    run_as(was_running);
}

/* The guest of 'port' disconnects. */
static void
guest_leave(struct port *port)
{
    int vid = ovsrcu_index_get(&port->vid);

    guest_stop(port);
    fake_guest_gone(vid);
    netdev_dpdk_async_disconnected(&port->async, vid);
}

static int
fake_driver_unregister(const char *path)
{
    struct port *port = port_find(path);

    /* The library waits for its own thread if that is at it, which waits for
     * the main thread to be quiescent. */
    called_by_main = !port->async.destroying;
    ovs_assert(fake.quiescent == !called_by_main);
    if (ovsrcu_index_get(&port->vid) >= 0) {
        guest_leave(port);
    }
    called_by_main = false;
    return 0;
}

/* The main thread's part of a reconfiguration, as in
 * netdev_dpdk_vhost_client_reconfigure(). */
static bool
port_reconfigure(struct port *port)
{
    bool reconnect;

    /* No thread uses the port meanwhile. */
    reload_all();
    port->n_reconfigure = 0;
    reconnect = netdev_dpdk_async_reconnect(&port->async);
    if (reconnect) {
        port_register(port);
    }
    return reconnect;
}

static void
port_destroy(struct port *port)
{
    run_as_main();
    reload_all();
    if (!netdev_dpdk_async_uninit(&port->async, port->path)) {
        fake_driver_unregister(port->path);
    }
    netdev_dpdk_async_free(&port->async);
    for (int qid = 0; qid < N_TXQS; qid++) {
        for (size_t i = 0; i < N_SENDERS; i++) {
            free(port->sent[qid][i].pkts);
        }
    }
    free(CONST_CAST(char *, port->netdev.name));
    free(port->path);
    port->path = NULL;
}

/* The database changes.  Cases set 'timeout' where they want one. */
static const char *timeout;

static void
set_config__(const char *support, const char *threshold, const char *pins)
{
    struct smap other_config = SMAP_INITIALIZER(&other_config);

    run_as_main();
    if (support) {
        smap_add(&other_config, "vhost-async-support", support);
    }
    if (threshold) {
        smap_add(&other_config, "vhost-async-threshold", threshold);
    }
    if (pins) {
        smap_add(&other_config, "vhost-async-dma-map", pins);
    }
    if (timeout) {
        smap_add(&other_config, "vhost-async-timeout", timeout);
    }
    netdev_dpdk_async_configure(&other_config);
    if (dpif_netdev_dma_set_config(&other_config)) {
        reload_all();
        if (dpif_netdev_dma_config_done()) {
            reload_all();
        }
    }
    smap_destroy(&other_config);
}

static void
set_config(bool support, const char *threshold, const char *pins)
{
    set_config__(support ? "true" : "false", threshold, pins);
}

static void
set_threshold(const char *threshold)
{
    set_config(true, threshold, NULL);
}

/* The options of an interface change; NULL for none. */
static void
set_override(struct port *port, const char *value)
{
    struct smap args = SMAP_INITIALIZER(&args);

    if (value) {
        smap_add(&args, "vhost-async", value);
    }
    netdev_dpdk_async_set_config(&port->async, &args);
    smap_destroy(&args);
}

/* The set of a case. */

static void
add_dev(int16_t id, const char *name)
{
    fake.devs[id] = (struct fake_dev) {
        .name = name,
        .numa_id = 0,
        .capa = RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_OPS_COPY,
        .max_vchans = 1,
        .min_desc = 32,
        .max_desc = FAKE_MAX_RING,
        .max_batch = FAKE_MAX_RING,
    };
}

/* 'n' PMD threads, devices as added before, two ports with a guest each, whose
 * txqs hold 256 packets, and the threshold between SMALL and BIG. */
static void
begin(size_t n)
{
    fake.iova_mode = RTE_IOVA_VA;
    set_config(true, OVS_STRINGIZE(THRESHOLD), NULL);
    for (size_t i = 0; i < N_PORTS; i++) {
        port_create(&ports_[i], i ? "vhost1" : "vhost0");
        guest_connect(&ports_[i], i, 256);
    }
    n_pmds = n;
    for (size_t i = 0; i < n; i++) {
        pmd_start(&pmds[i], i + 1);
    }
    run_as_main();
}

/* As begin(), with a device for each thread: dma0 for the first, and so on. */
static void
begin_with_devs(size_t n)
{
    static const char *names[] = { "dma0", "dma1", "dma2" };

    for (size_t i = 0; i < n; i++) {
        add_dev(i, names[i]);
    }
    begin(n);
}

/* Has engines work until nothing is in flight any more. */
static void
settle(void)
{
    /* What waits for a guest waits for as long as that makes no room. */
    for (int vid = 0; vid < FAKE_MAX_GUESTS; vid++) {
        fake_make_room(vid);
    }
    for (int i = 0; i < 1000; i++) {
        fake_pass_time(1000);
        for (size_t j = 0; j < FAKE_MAX_DEVS; j++) {
            for (size_t k = 0; k < fake.devs[j].max_vchans; k++) {
                fake_finish(j, k, 16);
            }
        }
        iterate_all();
    }
    for (size_t i = 0; i < n_pmds; i++) {
        ovs_assert(!pmd_is_busy(&pmds[i]));
    }
    for (size_t i = 0; i < N_PORTS; i++) {
        if (ports_[i].path && ovsrcu_index_get(&ports_[i].vid) >= 0) {
            port_check_sums(&ports_[i]);
        }
    }
    run_as_main();
}

/* Ends a case: takes all away, and checks that each packet was freed once. */
static void
end(void)
{
    for (size_t i = 0; i < N_PORTS; i++) {
        if (ports_[i].path) {
            port_destroy(&ports_[i]);
        }
    }
    for (size_t i = 0; i < n_pmds; i++) {
        pmd_stop(&pmds[i]);
    }
    run_as_main();
    ovs_assert(fake.n_freed == fake.n_pkts);
    ovs_assert(!fake.n_allocated);
}

/* Settles, checks that nothing is in flight and ends. */
static void
settle_and_end(void)
{
    settle();
    for (size_t i = 0; i < N_PORTS; i++) {
        for (int qid = 0; qid < N_TXQS; qid++) {
            ovs_assert(!port_txq(&ports_[i], qid)
                       || !port_in_flight(&ports_[i], qid));
        }
    }
    end();
}

static struct port *const port0 = &ports_[0];
static struct port *const port1 = &ports_[1];
static struct pmd *const pmd0 = &pmds[0];
static struct pmd *const pmd1 = &pmds[1];

/* Checks how many packets 'port' sent by CPU and by DMA. */
static void
check_paths(const struct port *port, uint64_t cpu, uint64_t dma)
{
    struct netdev_dpdk_async_totals t = async_totals(&port->async);

    ovs_assert(t.cpu_packets == cpu);
    ovs_assert(t.dma_packets == dma);
}

/* The way of a burst. */

static void
test_small_goes_by_cpu(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, SMALL, SMALL, SMALL) == 3);
    check_paths(port0, 3, 0);
    ovs_assert(port_vring(port0, 0)->n_got == 3);
    ovs_assert(!pmd_is_busy(pmd0));
    settle_and_end();
}

static void
test_big_goes_by_dma(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG, BIG) == 2);
    check_paths(port0, 0, 2);
    ovs_assert(port_in_flight(port0, 0) == 2);
    ovs_assert(pmd_is_busy(pmd0) && dpif_netdev_dma_is_busy());

    /* Nothing arrives before the engine is done. */
    ovs_assert(!pmd_iterate(pmd0));
    ovs_assert(!port_vring(port0, 0)->n_got && !fake.n_freed);
    fake_finish(0, 0, 1);
    ovs_assert(pmd_iterate(pmd0) == 1);
    ovs_assert(port_vring(port0, 0)->n_got == 1 && fake.n_freed == 1);
    ovs_assert(pmd_is_busy(pmd0));
    fake_finish(0, 0, 1);
    ovs_assert(pmd_iterate(pmd0) == 1);
    ovs_assert(!pmd_is_busy(pmd0));
    settle_and_end();
}

static void
test_threshold_is_the_least_for_dma(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, THRESHOLD - 1);
    check_paths(port0, 1, 0);
    PORT_SEND(port0, 0, THRESHOLD);
    check_paths(port0, 1, 1);
    PORT_SEND(port0, 1, THRESHOLD + 1);
    check_paths(port0, 1, 2);
    settle_and_end();
}

static void
test_threshold_0_is_all_by_dma(void)
{
    begin_with_devs(1);
    set_threshold("0");
    run_as(pmd0);
    PORT_SEND(port0, 0, 14, 60, BIG);
    check_paths(port0, 0, 3);
    settle_and_end();
}

static void
test_threshold_huge_is_all_by_cpu(void)
{
    begin_with_devs(1);
    set_threshold("4294967295");
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG, 65535, BIG);
    check_paths(port0, 3, 0);
    settle_and_end();
}

static void
test_bad_threshold_is_the_default(void)
{
    static const char *bad[] = { "", "-1", "x", "1k", " 5", "4294967296",
                                 "99999999999999999999", "0x10", "1.5" };

    begin_with_devs(1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        set_threshold("7");
        ovs_assert(netdev_dpdk_async_threshold() == 7);
        set_threshold(bad[i]);
        ovs_assert(netdev_dpdk_async_threshold() == DEFAULT_THRESHOLD);
    }
    set_threshold("7");
    set_threshold(NULL);
    ovs_assert(netdev_dpdk_async_threshold() == DEFAULT_THRESHOLD);
    settle_and_end();
}

static void
test_only_leading_small_go_by_cpu(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, SMALL, SMALL, BIG, SMALL, BIG) == 5);
    check_paths(port0, 2, 3);
    ovs_assert(port_vring(port0, 0)->n_got == 2);
    settle_and_end();
}

static void
test_small_behind_copies_goes_by_dma(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    PORT_SEND(port0, 0, SMALL, SMALL);
    check_paths(port0, 0, 3);
    /* Another txq has an order of its own. */
    PORT_SEND(port0, 1, SMALL);
    check_paths(port0, 1, 3);

    /* Once all came back, by CPU again. */
    fake_finish(0, 0, 2);
    pmd_iterate(pmd0);
    PORT_SEND(port0, 0, SMALL);
    check_paths(port0, 1, 4);
    fake_finish(0, 0, 2);
    pmd_iterate(pmd0);
    PORT_SEND(port0, 0, SMALL);
    check_paths(port0, 2, 4);
    settle_and_end();
}

static void
test_small_that_does_not_fit_stops_the_burst(void)
{
    begin_with_devs(1);
    fake.guests[0].lazy = true;
    port_vring(port0, 0)->room = 2;
    run_as(pmd0);
    port_vring(port0, 0)->more_room = 2;
    ovs_assert(PORT_SEND(port0, 0, SMALL, SMALL, SMALL, BIG) == 2);
    check_paths(port0, 2, 0);
    settle_and_end();
}

/* What is left of a burst when all is over a limit, for instance. */
static void
test_burst_of_nothing(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(port_send__(port0, 0, NULL, 0, 0) == 0);
    check_paths(port0, 0, 0);
    ovs_assert(!pmd_is_busy(pmd0));
    settle_and_end();
}

static void
test_port_off_dma_is_as_stock(void)
{
    begin_with_devs(1);
    set_override(port0, "false");
    ovs_assert(port0->n_reconfigure && !port1->n_reconfigure);
    ovs_assert(port_reconfigure(port0));
    guest_connect(port0, 0, 256);
    netdev_dpdk_async_vring_changed(&port0->async, 0, 0, true);
    ovs_assert(!port0->async.txqs && !port_vring(port0, 0)->async);

    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, SMALL, BIG) == 2);
    ovs_assert(port_vring(port0, 0)->n_got == 2);
    ovs_assert(!pmd_is_busy(pmd0));
    settle_and_end();
}

static void
test_ring_that_is_not_set_up(void)
{
    begin_with_devs(1);
    guest_leave(port0);
    guest_connect(port0, 0, 256);
    /* What it knows is said to it again. */
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_VRING_NUM, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_FEATURES, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(port_vring(port0, 0)->async && port_vring(port0, 1)->async);
    /* The guest turned txq 1 off and set it up again. */
    fake_resize(0, 2);
    ovs_assert(port_vring(port0, 0)->async && !port_vring(port0, 1)->async);
    fake_resize(0, 2);
    ovs_assert(port_vring(port0, 0)->async && !port_vring(port0, 1)->async);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 1, BIG) == 1);
    check_paths(port0, 1, 0);
    netdev_dpdk_async_vring_changed(&port0->async, 0, 1, true);
    ovs_assert(port_vring(port0, 1)->async);
    ovs_assert(PORT_SEND(port0, 1, BIG) == 1);
    check_paths(port0, 1, 1);
    settle_and_end();
}

/* Threads without a channel. */

static void
test_no_channel_and_idle_txq(void)
{
    uint64_t start;

    begin_with_devs(1);
    start = fake.tsc;
    ovs_assert(PORT_SEND(port0, 0, SMALL, BIG) == 2);
    check_paths(port0, 2, 0);
    ovs_assert(fake.tsc - start < 1000);
    settle_and_end();
}

static void
test_no_channel_waits_for_copies(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG, BIG, BIG);
    fake.rate = 1;

    run_as_main();
    ovs_assert(PORT_SEND(port0, 0, BIG, SMALL) == 2);
    check_paths(port0, 2, 3);
    ovs_assert(port_vring(port0, 0)->n_got == 5);

    /* The owner finds its work done by another, and needs not ask. */
    ovs_assert(pmd_is_busy(pmd0));
    fake.n_polls = 0;
    pmd_iterate(pmd0);
    ovs_assert(!fake.n_polls && !pmd_is_busy(pmd0));
    settle_and_end();
}

static void
test_no_channel_drops_after_a_bounded_wait(void)
{
    const uint64_t bound = VHOST_ASYNC_WAIT_US * FAKE_HZ / 1000000;
    uint64_t start;

    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);

    run_as_main();
    start = fake.tsc;
    ovs_assert(PORT_SEND(port0, 0, BIG, SMALL, SMALL) == 0);
    ovs_assert(fake.tsc - start >= bound);
    ovs_assert(fake.tsc - start < bound + bound / 10);
    ovs_assert(vhost_async_counter(&port_txq(port0, 0)->stats.busy_drops)
               == 3);
    check_paths(port0, 0, 1);
    settle_and_end();
}

static void
test_more_threads_than_channels(void)
{
    add_dev(0, "dma0");
    begin(2);
    ovs_assert(pmd_chan(pmd0) && !pmd_chan(pmd1));
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.rate = 1;
    run_as(pmd1);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    check_paths(port0, 1, 1);
    settle_and_end();
}

static void
test_no_device_at_all(void)
{
    begin(1);
    ovs_assert(!port0->async.txqs && !pmd_chan(pmd0));
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    settle_and_end();
}

/* Full rings. */

static void
test_full_virtqueue(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 300) == 256);
    ovs_assert(port_in_flight(port0, 0) == 256);
    port_check_sums(port0);
    fake_finish(0, 0, 10);
    pmd_iterate(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 32) == 10);
    settle_and_end();
}

static void
test_full_ring_of_the_channel(void)
{
    add_dev(0, "dma0");
    fake.devs[0].max_desc = 64;
    begin(1);
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 100) == 64);
    ovs_assert(vhost_async_counter(&(*vhost_async_self_get())->stats.full)
               == 2);
    /* Neither does another txq have room. */
    ovs_assert(port_send_n(port0, 1, BIG, 1) == 0);
    settle_and_end();
}

static void
test_full_ring_makes_room_for_the_rest(void)
{
    add_dev(0, "dma0");
    fake.devs[0].max_desc = 64;
    begin(1);
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 60) == 60);
    fake_finish(0, 0, 28);
    ovs_assert(port_send_n(port0, 0, BIG, 32) == 32);
    port_check_sums(port0);
    ovs_assert(port_in_flight(port0, 0) == 64);
    settle_and_end();
}

static void
test_retries_as_often_as_told(void)
{
    uint32_t sizes[MAX_BURST];

    add_dev(0, "dma0");
    fake.devs[0].max_desc = 32;
    begin(1);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        sizes[i] = BIG;
    }
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 20) == 20);
    ovs_assert(port_send__(port0, 0, sizes, 32, 8) == 12);
    port_check_sums(port0);
    settle_and_end();
}

/* What was rejected must not be taken for what is in flight. */
static void
test_rejected_are_not_in_flight(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 256 + 200) == 256);
    fake.devs[0].hung = true;
    /* Frees what it takes for in flight, each a second time if it is not. */
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 256);
    end();
}

/* Senders that meet at a txq.  With a tx lock they cannot: one waits, so that
 * there is nothing to test. */

/* The following send while another thread is in the middle of a copy. */

static void
meanwhile_pmd1(void)
{
    struct pmd *was = running;

    run_as(pmd1);
    ovs_assert(port_send_n(port0, 0, BIG, 32) == 32);
    run_as(was);
}

static void
meanwhile_pmd1_sends_9_bursts(void)
{
    struct pmd *was = running;

    run_as(pmd1);
    ovs_assert(port_send_n(port0, 0, BIG, 9 * 32) == 256);
    run_as(was);
}

static void
meanwhile_main(void)
{
    struct pmd *was = running;

    run_as_main();
    ovs_assert(port_send_n(port0, 0, SMALL, 5) == 5);
    run_as(was);
}

/* Two times in a row, so that the second round of a drainer has company. */
static void
meanwhile_pmd1_and_main(void)
{
    meanwhile_pmd1();
    fake.meanwhile = meanwhile_main;
}

static uint64_t
port_waiting(const struct port *port)
{
    return async_totals(&port->async).waiting;
}

static uint64_t
port_lost_in_ring(const struct port *port)
{
    return async_totals(&port->async).ring_lost_drops;
}

/* 'meanwhile' sends while 'pmd' copies.  Nobody sends after that. */
static void
check_meeting(struct pmd *pmd, uint32_t size, void (*meanwhile)(void))
{
    if (VHOST_ASYNC_TX_LOCK) {
        return;
    }
    begin_with_devs(2);
    run_as(pmd);
    fake.meanwhile = meanwhile;
    ovs_assert(port_send_n(port0, 0, size, 10) == 10);
    ovs_assert(!fake.meanwhile);
    port_check_sums(port0);
    settle_and_end();
}

static void
test_pmd_meets_pmd(void)
{
    check_meeting(pmd0, BIG, meanwhile_pmd1);
}

static void
test_pmd_meets_pmd_by_cpu(void)
{
    check_meeting(pmd0, SMALL, meanwhile_pmd1);
}

static void
test_pmd_meets_main(void)
{
    check_meeting(pmd0, BIG, meanwhile_main);
}

static void
test_pmd_meets_main_by_cpu(void)
{
    check_meeting(pmd0, SMALL, meanwhile_main);
}

static void
test_pmd_meets_two(void)
{
    check_meeting(pmd0, BIG, meanwhile_pmd1_and_main);
}

static void
test_main_meets_pmd(void)
{
    check_meeting(NULL, SMALL, meanwhile_pmd1);
}

static void
test_main_meets_two(void)
{
    check_meeting(NULL, SMALL, meanwhile_pmd1_and_main);
}

/* The burst that the drainer finds after its own is on its way at once. */
static void
test_drainer_sends_for_others(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        run_as(pmd0);
        fake.meanwhile = meanwhile_pmd1;
        port_send_n(port0, 0, BIG, 10);
        ovs_assert(!port_waiting(port0));
        ovs_assert(port_in_flight(port0, 0) == 42);
        ovs_assert(pmd_is_busy(pmd0) && !pmd_is_busy(pmd1));
        settle_and_end();
    }
}

static void
test_full_txq_ring(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        run_as(pmd0);
        fake.meanwhile = meanwhile_pmd1_sends_9_bursts;
        port_send_n(port0, 0, BIG, 10);
        ovs_assert(async_totals(&port0->async).ring_full_drops == 32);
        port_check_sums(port0);
        settle_and_end();
    }
}

/* Fills the virtqueue, and leaves 'n' packets in the ring. */
static void
fill_ring(unsigned int n)
{
    fake.guests[0].lazy = true;
    port_vring(port0, 0)->room = 10 + 32 - n;
    run_as(pmd0);
    fake.meanwhile = meanwhile_pmd1;
    ovs_assert(port_send_n(port0, 0, BIG, 10) == 10);
    ovs_assert(port_waiting(port0) == n);
}

static void
test_packets_wait_for_the_guest(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        fill_ring(20);
        ovs_assert(pmd_is_busy(pmd0));
        fake_finish(0, 0, 100);
        pmd_iterate(pmd0);
        pmd_iterate(pmd0);
        ovs_assert(port_waiting(port0) == 20 && pmd_is_busy(pmd0));
        /* Nothing can be done before the guest makes room, so sleeping is
         * allowed. */
        ovs_assert(!dpif_netdev_dma_is_busy());

        port_vring(port0, 0)->room = 12;
        pmd_iterate(pmd0);
        ovs_assert(port_waiting(port0) == 8 && dpif_netdev_dma_is_busy());
        port_vring(port0, 0)->room = 256;
        pmd_iterate(pmd0);
        ovs_assert(!port_waiting(port0) && !port_lost_in_ring(port0));
        settle_and_end();
    }
}

/* Nobody overtakes what waits: the next sender's packets queue up. */
static void
test_nobody_overtakes_what_waits(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        fill_ring(20);
        run_as(pmd1);
        ovs_assert(port_send_n(port0, 0, BIG, 7) == 7);
        ovs_assert(port_waiting(port0) == 27);
        port_vring(port0, 0)->room = 256;
        ovs_assert(port_send_n(port0, 0, BIG, 3) == 3);
        ovs_assert(!port_waiting(port0));
        settle_and_end();
    }
}

static void
test_reload_gives_up_what_cannot_be_sent(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        fill_ring(20);
        fake.rate = 1;
        pmd_reload(pmd0);
        ovs_assert(!pmd_is_busy(pmd0));
        ovs_assert(!port_waiting(port0));
        ovs_assert(port_lost_in_ring(port0) == 20 && port_lost(port0) == 20);
        port_check_sums(port0);
        settle_and_end();
    }
}

static void
test_guest_leaves_with_packets_in_the_ring(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        fill_ring(20);
        guest_leave(port0);
        ovs_assert(!port_waiting(port0) && port_lost_in_ring(port0) == 20);
        guest_connect(port0, 2, 256);
        port_send_n(port0, 0, BIG, 32);
        settle_and_end();
    }
}

/* A thread that cannot come back waits for a bounded time only. */
static void
test_no_pmd_gives_up_what_cannot_be_sent(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        fake.guests[0].lazy = true;
        port_vring(port0, 0)->room = 5;
        run_as_main();
        fake.meanwhile = meanwhile_pmd1;
        ovs_assert(port_send_n(port0, 0, SMALL, 5) == 5);
        ovs_assert(!port_waiting(port0) && port_lost_in_ring(port0) == 32);
        settle_and_end();
    }
}

/* The library knows a queue before the guest has told its size. */
static void
test_ring_of_a_queue_that_comes_later(void)
{
    begin_with_devs(1);
    guest_leave(port0);
    n_ready_txqs = 1;
    guest_connect(port0, 0, 256);
    ovs_assert(!vhost_async_engine_txq_memory(port_txq(port0, 1)));
    fake_vring_set_up(0, 2, 1024);
    netdev_dpdk_async_vring_changed(&port0->async, 0, 1, true);
    if (VHOST_ASYNC_KEEPS) {
        ovs_assert(vhost_async_engine_txq_memory(port_txq(port0, 1))
                   >= 1024 * sizeof(void *));
    }
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 1, BIG, 100) == 100);
    settle_and_end();
}

static void
check_no_memory_for_a_ring(int numa_id)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        add_dev(0, "dma0");
        fake.numa_id = numa_id;
        fake.no_memory = true;
        begin(1);
        run_as(pmd0);
        ovs_assert(port_send_n(port0, 0, BIG, 10) == 10);
        check_paths(port0, 10, 0);
        fake.no_memory = false;
        guest_leave(port0);
        guest_connect(port0, 2, 256);
        ovs_assert(port_send_n(port0, 0, BIG, 10) == 10);
        check_paths(port0, 10, 10);
        settle_and_end();
    }
}

static void
test_no_memory_for_a_ring(void)
{
    check_no_memory_for_a_ring(0);
}

static void
test_no_memory_for_a_ring_of_a_guest_anywhere(void)
{
    check_no_memory_for_a_ring(SOCKET_ID_ANY);
}

/* As many packets as descriptors, within bounds. */
static void
test_memory_of_rings(void)
{
    static const struct {
        uint16_t vring_size;
        size_t slots;
    } expected[] = { { 2, 128 }, { 256, 512 }, { 32768, 8192 } };

    begin_with_devs(1);
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        struct vhost_async_txq *txq = vhost_async_txq_create(0, &port0->async);
        size_t memory;

        ovs_assert(vhost_async_engine_txq_start(txq, expected[i].vring_size,
                                                0));
        memory = vhost_async_engine_txq_memory(txq);
        ovs_assert(memory == (VHOST_ASYNC_KEEPS
                              ? rte_ring_get_memsize(expected[i].slots) : 0));
        vhost_async_txq_destroy(txq);
    }
    settle_and_end();
}

/* What waits behind copies that will not complete is given up. */
static void
test_packets_behind_a_failed_engine(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        fill_ring(20);
        fake.devs[0].hung = true;
        iterate_for(pmd0, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
        ovs_assert(vhost_async_txq_is_stuck(port_txq(port0, 0)));
        ovs_assert(!port_waiting(port0) && port_lost_in_ring(port0) == 20);
        ovs_assert(!pmd_is_busy(pmd0));
        guest_leave(port0);
        ovs_assert(port_lost(port0) == 20 + 22);
        end();
    }
}

/* By CPU, so that nothing else keeps the thread awake. */
static void
test_sleep_when_packets_wait(void)
{
    if (!VHOST_ASYNC_TX_LOCK) {
        begin_with_devs(2);
        set_threshold("100000");
        fill_ring(20);
        port_vring(port0, 0)->room = 12;
        pmd_iterate(pmd0);
        ovs_assert(port_waiting(port0) == 8 && !port_in_flight(port0, 0));
        ovs_assert(dpif_netdev_dma_is_busy());
        pmd_iterate(pmd0);
        ovs_assert(!dpif_netdev_dma_is_busy() && pmd_is_busy(pmd0));
        settle_and_end();
    }
}

/* Several channels. */

static void
test_poll_hands_back_the_packets_of_others(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG, BIG);
    run_as(pmd1);
    PORT_SEND(port0, 0, BIG);
    fake_finish(0, 0, 2);
    fake_finish(1, 0, 1);

    /* The first one's poll makes known that its own are done, and takes them;
     * the other one's is not known to be. */
    ovs_assert(pmd_iterate(pmd0) == 2);
    ovs_assert(!pmd_is_busy(pmd0) && pmd_is_busy(pmd1));
    ovs_assert(pmd_iterate(pmd1) == 1);
    ovs_assert(!pmd_is_busy(pmd1));
    settle_and_end();
}

static void
test_head_on_another_channel(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    run_as(pmd1);
    PORT_SEND(port0, 0, BIG, BIG);
    fake_finish(1, 0, 2);

    /* Done, but not their turn. */
    ovs_assert(!pmd_iterate(pmd1));
    ovs_assert(pmd_is_busy(pmd1));
    ovs_assert(!port_vring(port0, 0)->n_got);

    fake_finish(0, 0, 1);
    ovs_assert(pmd_iterate(pmd0) == 3);
    ovs_assert(pmd_is_busy(pmd1));
    pmd_iterate(pmd1);
    ovs_assert(!pmd_is_busy(pmd1));
    settle_and_end();
}

static void
test_slow_txq_delays_no_other(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.devs[0].hung = true;

    run_as(pmd1);
    PORT_SEND(port0, 0, BIG);
    for (int qid = 1; qid < N_TXQS; qid++) {
        PORT_SEND(port0, qid, BIG);
        PORT_SEND(port1, qid, BIG);
    }
    fake_finish(1, 0, 100);
    ovs_assert(pmd_iterate(pmd1) == 2 * (N_TXQS - 1));
    /* One poll for the pair that waits, none for the others. */
    fake.n_polls = 0;
    ovs_assert(!pmd_iterate(pmd1));
    ovs_assert(fake.n_polls == 1);
    fake.devs[0].hung = false;
    settle_and_end();
}

static void
test_pair_is_polled_once_however_many_bursts(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    for (int i = 0; i < 50; i++) {
        PORT_SEND(port0, 0, BIG, BIG);
        PORT_SEND(port0, 1, BIG);
    }
    fake.n_polls = 0;
    pmd_iterate(pmd0);
    ovs_assert(fake.n_polls == 2);
    settle_and_end();
}

/* The library looks at so many copies in a poll, and a big packet takes
 * several. */
static void
test_poll_goes_on_for_big_packets(void)
{
    begin_with_devs(1);
    fake.max_reap = 25;
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 32);
    ovs_assert(!pmd_iterate(pmd0));
    fake_finish(0, 0, 32);
    fake.n_polls = 0;
    ovs_assert(pmd_iterate(pmd0) == 32);
    ovs_assert(fake.n_polls == 2);

    /* What is new can wait. */
    port_send_n(port0, 0, BIG, 32);
    fake_finish(0, 0, 32);
    fake.n_polls = 0;
    ovs_assert(pmd_iterate(pmd0) == 25);
    ovs_assert(fake.n_polls == 1);
    ovs_assert(pmd_iterate(pmd0) == 7);

    /* An engine that brings back few is not asked twice. */
    port_send_n(port0, 0, BIG, 32);
    pmd_iterate(pmd0);
    fake_finish(0, 0, 3);
    fake.n_polls = 0;
    ovs_assert(pmd_iterate(pmd0) == 3);
    ovs_assert(fake.n_polls == 1);
    settle_and_end();
}

static void
test_vchans_of_a_device(void)
{
    add_dev(0, "dma0");
    fake.devs[0].max_vchans = 2;
    begin(3);
    ovs_assert(pmd_chan(pmd0) && pmd_chan(pmd1) && !pmd_chan(&pmds[2]));
    ovs_assert(pmd_chan(pmd0)->vchan != pmd_chan(pmd1)->vchan);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    run_as(pmd1);
    PORT_SEND(port0, 0, BIG);
    fake_finish(0, 1, 1);
    ovs_assert(!pmd_iterate(pmd0) && !pmd_iterate(pmd1));
    settle_and_end();
}

static void
test_busy_ring_is_polled_again(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake_finish(0, 0, 1);
    port_vring(port0, 0)->busy = 1;
    ovs_assert(!pmd_iterate(pmd0));
    ovs_assert(pmd_is_busy(pmd0));
    ovs_assert(pmd_iterate(pmd0) == 1);
    settle_and_end();
}

static void
test_counters_wrap(void)
{
    struct vhost_async_txq *txq;

    begin_with_devs(2);
    txq = port_txq(port0, 0);
    atomic_store_relaxed(&txq->submitted, UINT32_MAX - 20);
    atomic_store_relaxed(&txq->completed, UINT32_MAX - 20);
    for (int i = 0; i < 40; i++) {
        run_as(i % 2 ? pmd1 : pmd0);
        PORT_SEND(port0, 0, BIG, SMALL);
        fake_finish(i % 2, 0, 2);
        ovs_assert(port_in_flight(port0, 0));
        if (i % 3) {
            iterate_all();
            ovs_assert(!pmd_is_busy(pmd0) || !pmd_is_busy(pmd1));
        }
    }
    settle();

    /* A thread that waits for copies across the wrap. */
    txq = port_txq(port0, 1);
    atomic_store_relaxed(&txq->submitted, UINT32_MAX - 2);
    atomic_store_relaxed(&txq->completed, UINT32_MAX - 2);
    run_as(pmd0);
    PORT_SEND(port0, 1, BIG, BIG, BIG, BIG, BIG);
    fake.rate = 1;
    run_as_main();
    ovs_assert(PORT_SEND(port0, 1, BIG) == 1);
    settle_and_end();
}

/* Guests that come and go. */

static void
test_guest_leaves_with_copies_in_flight(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 100);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 100);
    port_send_n(port0, 1, BIG, 5);
    port_send_n(port1, 0, BIG, 5);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(!port_lost(port0));
    ovs_assert(!fake.devs[0].hung && !dpdk_dma_chan_failed(pmd_chan(pmd0)));

    /* What the threads still have queued is dropped without a call of the
     * library, which would stumble over it. */
    ovs_assert(pmd_is_busy(pmd0) && pmd_is_busy(pmd1));
    fake.rate = 0;
    pmd_iterate(pmd0);
    ovs_assert(!pmd_is_busy(pmd0));
    settle_and_end();
}

/* The vid is unset first; the copies come back later. */
static void
test_unset_vid_is_not_touched(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovsrcu_index_set(&port0->vid, -1);
    fake.n_polls = 0;
    pmd_iterate(pmd0);
    ovs_assert(!fake.n_polls && !pmd_is_busy(pmd0));
    ovsrcu_index_set(&port0->vid, 0);
    fake_finish(0, 0, 1);
    guest_leave(port0);
    ovs_assert(!port_lost(port0));
    settle_and_end();
}

static void
test_old_work_does_not_reach_the_next_guest(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.rate = 1;
    guest_leave(port0);
    fake.rate = 0;
    guest_connect(port0, 2, 256);
    ovs_assert(port_vring(port0, 0)->async);

    fake.n_polls = 0;
    ovs_assert(pmd_is_busy(pmd0));
    pmd_iterate(pmd0);
    ovs_assert(!fake.n_polls && !pmd_is_busy(pmd0));

    run_as(pmd1);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    check_paths(port0, 0, 2);
    settle_and_end();
}

static void
test_next_guest_has_a_larger_ring(void)
{
    begin_with_devs(1);
    guest_leave(port0);
    guest_connect(port0, 0, 1024);
    run_as(pmd0);
    ovs_assert(port_send_n(port0, 0, BIG, 1000) == 1000);
    fake.devs[0].hung = true;
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 1000);
    end();
}

/* GET_VRING_BASE, then the same device is started again. */
static void
test_guest_stops_and_starts(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 100);
    fake.rate = 1;
    port_vring(port0, 0)->busy = 5;
    port_vring(port0, 1)->busy = 5;
    guest_stop(port0);
    fake.rate = 0;
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_MEM_TABLE, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    guest_start(port0, 0);
    for (int qid = 0; qid < N_TXQS; qid++) {
        ovs_assert(PORT_SEND(port0, qid, BIG) == 1);
        ovs_assert(port_in_flight(port0, qid) == 1);
    }
    settle_and_end();
}

/* A guest connects again before the port was reconfigured. */
static void
test_guest_returns_after_a_failure(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    guest_leave(port0);
    ovs_assert(port0->n_reconfigure);
    guest_connect(port0, 0, 256);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    run_as(pmd1);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    check_paths(port0, 1, 11);
    fake_finish(1, 0, 1);
    iterate_all();
    ovs_assert(!port_in_flight(port0, 0));
    end();
}

static void
test_memory_goes_only_when_nothing_is_in_flight(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 200);
    run_as(pmd1);
    port_send_n(port0, 1, BIG, 200);
    port_send_n(port1, 0, BIG, 200);
    fake.rate = 1;
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_MEM_TABLE, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(!fake_in_flight(0, 0) && !fake_in_flight(0, 2));
    ovs_assert(!port_in_flight(port0, 0) && !port_in_flight(port0, 1));
    fake_check_vring_unused(port_vring(port0, 0));
    fake.rate = 0;
    /* Still on DMA. */
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(port_in_flight(port0, 0) == 1);
    settle_and_end();
}

static void
test_message_without_locks_is_let_through(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    /* GET_VRING_BASE, which calls destroy_device() instead. */
    ovs_assert(fake_message(0, 11, false) == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(port_in_flight(port0, 0) == 1);
    settle_and_end();
}

static void
test_guest_offers_more_than_its_ring(void)
{
    struct fake_vring *v;

    begin_with_devs(1);
    v = port_vring(port0, 0);
    v->room = 10000;
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 3 * v->size);
    ovs_assert(port_in_flight(port0, 0) == v->size);
    fake_finish(0, 0, 10);
    iterate_all();
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 100);
    ovs_assert(port_in_flight(port0, 0) == v->size);
    settle_and_end();
}

static void
test_bad_message_is_refused(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(fake_message(0, VHOST_ASYNC_IOTLB_MSG, false)
               == RTE_VHOST_MSG_RESULT_ERR);
    /* Nobody told how large the ring is. */
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_VRING_KICK, true)
               == RTE_VHOST_MSG_RESULT_ERR);
    /* And nobody waited for the engine. */
    ovs_assert(port_in_flight(port0, 0) == 1);
    settle_and_end();
}

/* Another guest connects to the socket of 'port0'. */
static void
second_guest(int vid)
{
    fake.guests[vid].live = true;
    fake.guests[vid].n_vrings = FAKE_MAX_VRINGS;
    ovsrcu_index_set(&port0->vid, vid);
    netdev_dpdk_async_new_connection(vid);
    ovsrcu_index_set(&port0->vid, 0);
}

static void
test_one_guest_at_a_time(void)
{
    begin_with_devs(1);
    ovs_assert(fake_message(0, 1, false) == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    second_guest(3);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(fake_message(3, 1, false) == RTE_VHOST_MSG_RESULT_ERR);
    netdev_dpdk_async_new_device(&port0->async, 3);
    netdev_dpdk_async_vring_changed(&port0->async, 3, 0, true);
    ovs_assert(!fake.guests[3].vrings[0].async);

    /* It leaves, and changes nothing for the first. */
    netdev_dpdk_async_disconnected(&port0->async, 3);
    ovs_assert(fake_message(0, 1, false) == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(port_in_flight(port0, 0) == 1);

    /* Without a device, the first has to share the port: whoever is ready
     * first has it. */
    second_guest(3);
    ovsrcu_index_set(&port0->vid, -1);
    ovs_assert(fake_message(3, 1, false) == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(fake_message(0, 1, false) == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovsrcu_index_set(&port0->vid, 0);
    ovs_assert(fake_message(3, 1, false) == RTE_VHOST_MSG_RESULT_ERR);
    netdev_dpdk_async_disconnected(&port0->async, 3);
    ovs_assert(port0->async.connection == 0);

    /* The next one came before the first left, and may go on then. */
    second_guest(3);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(fake_message(3, 1, false) == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    netdev_dpdk_async_disconnected(&port0->async, 3);
    fake.guests[3].live = false;
    guest_connect(port0, 0, 256);
    settle_and_end();
}

static void
test_option_off_and_on_again(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 20);
    fake.rate = 1;
    set_config(false, NULL, NULL);
    ovs_assert(port0->n_reconfigure && port1->n_reconfigure);
    ovs_assert(!pmd_chan(pmd0) && !pmd_chan(pmd1));
    ovs_assert(!fake.devs[0].started && !fake.devs[1].started);
    for (size_t i = 0; i < N_PORTS; i++) {
        ovs_assert(port_reconfigure(&ports_[i]));
        ovs_assert(!ports_[i].async.txqs);
        ovs_assert(netdev_dpdk_async_needs_lock(&ports_[i].async));
        guest_connect(&ports_[i], i, 256);
    }
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);

    fake.rate = 0;
    set_config(true, NULL, NULL);
    ovs_assert(pmd_chan(pmd0) && pmd_chan(pmd1));
    for (size_t i = 0; i < N_PORTS; i++) {
        ovs_assert(ports_[i].n_reconfigure);
        ovs_assert(port_reconfigure(&ports_[i]));
        guest_connect(&ports_[i], i, 256);
    }
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(port_in_flight(port0, 0) == 1);
    ovs_assert(netdev_dpdk_async_needs_lock(&port0->async)
               == VHOST_ASYNC_TX_LOCK);
    settle_and_end();
}

static void
test_option_off_while_a_guest_leaves(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    /* Its thread has unset the device, and will drain it. */
    ovsrcu_index_set(&port0->vid, -1);
    set_config(false, NULL, NULL);
    ovs_assert(!pmd_chan(pmd0));
    ovs_assert(fake.devs[0].started && !fake.devs[1].started);
    ovsrcu_index_set(&port0->vid, 0);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(!port_lost(port0));

    /* The device that was left running is not started twice. */
    fake.rate = 0;
    set_config(true, NULL, NULL);
    ovs_assert(pmd_chan(pmd0));
    guest_connect(port0, 0, 256);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(port_in_flight(port0, 0) == 1);
    settle_and_end();
}

/* Migration of a guest. */

/* A command and what came of it. */
struct command {
    bool answered, ok;
    char *text;
};

static void
fake_command_reply(struct unixctl_conn *conn, const char *text, bool ok)
{
    struct command *c = (struct command *) conn;

    ovs_assert(!c->answered);
    *c = (struct command) { .answered = true, .ok = ok,
                            .text = nullable_xstrdup(text) };
}

static void
ask(struct command *c, const char *port, const char *what)
{
    const char *argv[] = { "netdev-dpdk/vhost-async-migrate", port, what };

    free(c->text);
    *c = (struct command) { .answered = false };
    run_as_main();
    migrate_command((struct unixctl_conn *) c, ARRAY_SIZE(argv), argv, NULL);
}

static bool
is_answered(const struct command *c)
{
    run_as_main();
    netdev_dpdk_async_migrate_run(NULL);
    return c->answered;
}

/* Checks the answer, which must be there. */
static void
check_answer(const struct command *c, bool ok, const char *text)
{
    ovs_assert(is_answered(c));
    ovs_assert(c->ok == ok);
    ovs_assert(strstr(c->text, text));
    ovs_assert(!strchr(c->text, '\n'));
}

/* The guest of 'port' enables 'n' txqs. */
static void
guest_enable(struct port *port, int n)
{
    int vid = ovsrcu_index_get(&port->vid);

    for (int qid = 0; qid < n; qid++) {
        netdev_dpdk_async_vring_changed(&port->async, vid, qid, true);
    }
}

static bool
port_status_is(const struct port *port, const char *expected)
{
    struct smap status = SMAP_INITIALIZER(&status);
    struct ds show = DS_EMPTY_INITIALIZER;
    char *line = xasprintf("port %s: %s\n", port->netdev.name, expected);
    bool is;

    netdev_dpdk_async_get_status(&port->async, &status);
    netdev_dpdk_async_format(&show);
    is = !strcmp(smap_get(&status, "vhost_async"), expected)
         && strstr(ds_cstr(&show), line);
    free(line);
    ds_destroy(&show);
    smap_destroy(&status);
    return is;
}

#define MIGRATING "CPU: being migrated (netdev-dpdk/vhost-async-migrate)"

/* Has 'port' be prepared. */
static void
prepare(struct port *port, struct command *c, int vid)
{
    ask(c, port->netdev.name, "prepare");
    ovs_assert(port_reconfigure(port));
    guest_connect(port, vid, 256);
    check_answer(c, true, ": prepared");
}

/* The guest has connected, and is about to set up its device. */
static void
test_migration_waits_for_the_device(void)
{
    struct command c = { .text = NULL };

    begin_with_devs(1);
    /* Nothing to wait for. */
    netdev_dpdk_async_migrate_wait(NULL);
    ask(&c, "vhost0", "prepare");
    ovs_assert(port_reconfigure(port0));
    fake.guests[2] = (struct fake_guest) { .live = true, .negotiated = true,
                                           .n_vrings = FAKE_MAX_VRINGS };
    port0->other_vid = 2;
    netdev_dpdk_async_new_connection(2);
    ovs_assert(!is_answered(&c));
    /* The main thread does not sleep for ever meanwhile. */
    netdev_dpdk_async_migrate_wait(NULL);
    poll_block();
    fake.guests[2].live = false;
    guest_connect(port0, 2, 256);
    check_answer(&c, true, "vhost0: prepared");
    free(c.text);
    settle_and_end();
}

static void
test_migration(void)
{
    struct command c = { .text = NULL };

    begin_with_devs(1);
    guest_enable(port0, 2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 20);
    port_send_n(port1, 0, BIG, 20);
    ask(&c, "vhost0", "prepare");
    ovs_assert(!is_answered(&c));
    ovs_assert(port0->n_reconfigure && !port1->n_reconfigure);

    /* What is in flight arrives. */
    fake.rate = 1;
    ovs_assert(port_reconfigure(port0));
    ovs_assert(port0->n_arrived == 20 && !port_lost(port0));
    ovs_assert(!port0->async.txqs && port1->async.txqs);
    ovs_assert(port_status_is(port0, MIGRATING));
    ovs_assert(port_status_is(port1, "DMA"));

    /* Ready is the port when the guest is as it was. */
    ovs_assert(!is_answered(&c));
    guest_connect(port0, 2, 256);
    ovs_assert(!is_answered(&c));
    guest_enable(port0, 1);
    ovs_assert(!is_answered(&c));
    guest_enable(port0, 2);
    check_answer(&c, true, "vhost0: prepared");
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(port_vring(port0, 0)->n_got == 1);

    /* What else is configured makes no difference. */
    set_config(false, NULL, NULL);
    set_config(true, NULL, NULL);
    ovs_assert(!port0->n_reconfigure && !port_reconfigure(port0));
    ovs_assert(port_status_is(port0, MIGRATING));

    ask(&c, "vhost0", "resume");
    ovs_assert(!is_answered(&c) && port0->n_reconfigure);
    ovs_assert(port_reconfigure(port0));
    ovs_assert(!is_answered(&c));
    guest_connect(port0, 0, 256);
    ovs_assert(!is_answered(&c));
    guest_enable(port0, 2);
    check_answer(&c, true, "vhost0: resumed, DMA");
    ovs_assert(port_status_is(port0, "DMA"));
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(port_in_flight(port0, 0) == 1);
    free(c.text);
    settle_and_end();
}

static void
test_migration_of_two(void)
{
    struct command c[] = { { .text = NULL }, { .text = NULL } };

    begin_with_devs(1);
    ask(&c[0], "vhost0", "prepare");
    ask(&c[1], "vhost1", "prepare");
    ovs_assert(port_reconfigure(port0) && port_reconfigure(port1));
    guest_connect(port1, 2, 256);
    check_answer(&c[1], true, "vhost1: prepared");
    ovs_assert(!is_answered(&c[0]));
    guest_connect(port0, 3, 256);
    /* Its driver is not at work yet. */
    ovsrcu_index_set(&port0->vid, -1);
    ovs_assert(!is_answered(&c[0]));
    ovsrcu_index_set(&port0->vid, 3);
    check_answer(&c[0], true, "vhost0: prepared");
    ask(&c[1], "vhost1", "resume");
    ovs_assert(port_reconfigure(port1) && !port_reconfigure(port0));
    ovs_assert(port_status_is(port0, MIGRATING));
    free(c[0].text);
    free(c[1].text);
    settle_and_end();
}

static void
test_migration_of_a_port_on_cpu(void)
{
    struct smap options = SMAP_CONST1(&options, "vhost-async", "false");
    struct command c = { .text = NULL };

    begin_with_devs(1);
    netdev_dpdk_async_set_config(&port0->async, &options);
    ovs_assert(port_reconfigure(port0));
    guest_connect(port0, 2, 256);
    ask(&c, "vhost0", "prepare");
    check_answer(&c, true, "vhost0: prepared");
    ovs_assert(port_status_is(port0, MIGRATING));
    ovs_assert(!port_reconfigure(port0));

    /* There is nothing to wait for, either. */
    ask(&c, "vhost0", "resume");
    check_answer(&c, true,
                 "vhost0: resumed, CPU: options:vhost-async is false");
    ovs_assert(!port_reconfigure(port0));
    free(c.text);
    settle_and_end();
}

static void
test_migration_and_the_guest_is_gone(void)
{
    struct command c = { .text = NULL };

    begin_with_devs(1);
    prepare(port0, &c, 2);
    guest_leave(port0);
    ask(&c, "vhost0", "resume");
    check_answer(&c, true,
                 "vhost0: resumed, CPU: DMA from the guest's next connection");
    ovs_assert(port_reconfigure(port0));
    guest_connect(port0, 0, 256);
    ovs_assert(port_status_is(port0, "DMA"));
    ovs_assert(port_txq(port0, 0));
    free(c.text);
    settle_and_end();
}

/* A guest whose driver is not loaded has QEMU refuse, too. */
static void
test_migration_without_a_driver(void)
{
    struct command c = { .text = NULL };

    begin_with_devs(1);
    ovsrcu_index_set(&port0->vid, -1);
    ask(&c, "vhost0", "prepare");
    ovs_assert(port_reconfigure(port0));
    ovs_assert(!is_answered(&c));

    /* A connection that waits to be accepted is none. */
    guest_connect(port0, 2, 256);
    ovsrcu_index_set(&port0->vid, -1);
    fake.guests[2].negotiated = false;
    ovs_assert(!is_answered(&c));
    fake.guests[2].negotiated = true;
    check_answer(&c, true, "vhost0: prepared");
    free(c.text);
    settle_and_end();
}

static void
test_migration_takes_too_long(void)
{
    struct command c = { .text = NULL };

    begin_with_devs(1);
    guest_enable(port0, 2);
    ask(&c, "vhost0", "prepare");
    ovs_assert(port_reconfigure(port0));
    fake_pass_time(9900 * UINT64_C(1000000));
    ovs_assert(!is_answered(&c));
    fake_pass_time(101 * UINT64_C(1000000));
    check_answer(&c, false, "vhost0: its guest has not connected again");

    /* The port stays as it is; who tries again waits again. */
    ovs_assert(port_status_is(port0, MIGRATING));
    ask(&c, "vhost0", "prepare");
    fake_pass_time(9900 * UINT64_C(1000000));
    ovs_assert(!is_answered(&c));
    guest_connect(port0, 0, 256);
    check_answer(&c, true, "vhost0: prepared");

    /* The same for the way back. */
    ask(&c, "vhost0", "resume");
    ovs_assert(port_reconfigure(port0));
    fake_pass_time(10001 * UINT64_C(1000000));
    check_answer(&c, false, "vhost0: its guest has not connected again");
    guest_connect(port0, 0, 256);
    ovs_assert(port_status_is(port0, "DMA"));
    ask(&c, "vhost0", "resume");
    check_answer(&c, false, "vhost0: it is not prepared");
    free(c.text);
    settle_and_end();
}

static void
test_migration_and_the_port_is_removed(void)
{
    struct command c[] = { { .text = NULL }, { .text = NULL } };

    begin_with_devs(1);
    ask(&c[0], "vhost0", "prepare");
    ask(&c[1], "vhost1", "prepare");
    port_destroy(port0);
    check_answer(&c[0], false, "vhost0: the port was removed");
    ovs_assert(!is_answered(&c[1]));
    ovs_assert(port_reconfigure(port1));
    guest_connect(port1, 2, 256);
    check_answer(&c[1], true, "vhost1: prepared");

    /* What was prepared went with it. */
    port_create(port0, "vhost0");
    guest_connect(port0, 0, 256);
    ovs_assert(port_status_is(port0, "DMA"));
    free(c[0].text);
    free(c[1].text);
    settle_and_end();
}

static void
test_migration_is_refused(void)
{
    struct command c = { .text = NULL }, other = { .text = NULL };

    begin_with_devs(1);
    ask(&c, "vhost2", "prepare");
    check_answer(&c, false, "vhost2: there is no such vhost port");
    ask(&c, "vhost0", "abort");
    check_answer(&c, false, "vhost0: \"abort\" is neither");
    ask(&c, "vhost0", "resume");
    check_answer(&c, false, "vhost0: it is not prepared");

    ask(&c, "vhost0", "prepare");
    ask(&other, "vhost0", "prepare");
    check_answer(&other, false, "vhost0: it is being prepared or resumed");
    ask(&other, "vhost0", "resume");
    check_answer(&other, false, "vhost0: it is being prepared or resumed");
    ovs_assert(port_reconfigure(port0));
    guest_connect(port0, 2, 256);
    check_answer(&c, true, "vhost0: prepared");

    guest_leave(port1);
    ask(&c, "vhost1", "prepare");
    check_answer(&c, false, "vhost1: there is no guest");
    ovs_assert(!port1->n_reconfigure && !port1->async.migrating);
    free(c.text);
    free(other.text);
    settle_and_end();
}

/* A port in server mode waits for its guest. */
static void
test_migration_in_server_mode(void)
{
    struct command c = { .text = NULL };

    begin_with_devs(1);
    port0->async.client = false;
    ask(&c, "vhost0", "prepare");
    check_answer(&c, false, "vhost0: a port in server mode");
    ovs_assert(!port0->n_reconfigure && port_status_is(port0, "DMA"));

    /* One that is on CPU can be kept there. */
    set_config(false, NULL, NULL);
    guest_leave(port0);
    ovs_assert(port_reconfigure(port0));
    guest_connect(port0, 2, 256);
    port0->async.client = false;
    ask(&c, "vhost0", "prepare");
    check_answer(&c, true, "vhost0: prepared");
    set_config(true, NULL, NULL);
    ovs_assert(!port_reconfigure(port0));
    ask(&c, "vhost0", "resume");
    check_answer(&c, true,
                 "vhost0: resumed, CPU: DMA from the guest's next connection");
    free(c.text);
    settle_and_end();
}

/* Reloads. */

static void
test_reload_leaves_nothing_queued(void)
{
    struct dpdk_dma_chan *chan;

    begin_with_devs(1);
    chan = pmd_chan(pmd0);
    port_send_n(port0, 0, BIG, 200);
    port_send_n(port1, 3, BIG, 200);
    fake.rate = 1;
    pmd_reload(pmd0);
    ovs_assert(!port_in_flight(port0, 0) && !port_in_flight(port1, 3));
    ovs_assert(pmd_chan(pmd0) == chan);
    settle_and_end();
}

static void
test_channel_moves_with_the_map(void)
{
    begin_with_devs(2);
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "dma0"));
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 20);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 20);
    fake.rate = 1;
    set_config(true, OVS_STRINGIZE(THRESHOLD), "1@dma1,2@dma0");
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "dma1"));
    ovs_assert(!strcmp(pmd_chan(pmd1)->dev_name, "dma0"));
    ovs_assert(!port_in_flight(port0, 0));
    settle_and_end();
}

static void
test_thread_that_ends_gives_its_channel_back(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 20);
    fake.rate = 1;
    pmd_stop(pmd0);
    ovs_assert(!port_in_flight(port0, 0));
    pmd_start(pmd1, 7);
    ovs_assert(pmd_chan(pmd1));
    pmd_stop(pmd1);
    n_pmds = 0;
    end();
}

/* The copies of a thread that reloads are behind those of another, which are
 * done and which that one has no time to reap. */
static void
test_reload_behind_a_late_thread(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 1);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 200);
    fake_finish(0, 0, 1);
    fake_finish(1, 0, 200);
    pmd_reload(pmd1);
    ovs_assert(!port_in_flight(port0, 0));
    settle_and_end();
}

/* The copies of a thread that reloads are behind those of another, whose
 * engine takes its time.  They must not be forgotten. */
static void
test_reload_behind_a_slow_engine(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 1);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 200);
    fake_finish(1, 0, 200);
    pmd_reload(pmd1);
    ovs_assert(port_in_flight(port0, 0) == 201);

    fake_finish(0, 0, 1);
    for (int i = 0; i < 10; i++) {
        iterate_all();
    }
    ovs_assert(!port_in_flight(port0, 0));
    settle_and_end();
}

/* Engines that fail. */

/* Engines that refuse copies, maybe in the middle of a packet: what they had
 * of it by then they carry out.  That nothing is in the way of that is checked
 * by fake_check_left(). */

static void
leave_a_copy(size_t n_devs)
{
    begin_with_devs(n_devs);
    run_as(pmd0);
    fake.devs[0].refuses = 2;
    fake.devs[0].leaves = 1;
    PORT_SEND(port0, 0, BIG);
    ovs_assert(!port_in_flight(port0, 0));
    ovs_assert(vhost_async_txq_has_left(port_txq(port0, 0)));
}

static void
test_memory_goes_only_when_nothing_is_left(void)
{
    leave_a_copy(1);
    fake.rate = 1;
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_MEM_TABLE, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(!vhost_async_txq_has_left(port_txq(port0, 0)));
    settle_and_end();
}

static void
test_guest_leaves_when_something_is_left(void)
{
    leave_a_copy(1);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(fake.devs[0].started);
    end();
}

static void
test_no_copy_by_cpu_when_something_is_left(void)
{
    leave_a_copy(1);
    run_as_main();
    PORT_SEND(port0, 0, SMALL);
    check_paths(port0, 0, 0);
    run_as(pmd0);
    PORT_SEND(port0, 0, SMALL);
    check_paths(port0, 0, async_totals(&port0->async).dma_packets);
    settle_and_end();
}

static void
test_what_is_left_for_ever(void)
{
    leave_a_copy(1);
    fake.devs[0].hung = true;
    fake.devs[0].refuses = UINT_MAX;
    for (int i = 0; i < 120; i++) {
        PORT_SEND(port0, 0, BIG);
        iterate_for(pmd0, DPDK_DMA_DEV_TIMEOUT_MS / 100);
    }
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd0)));
    ovs_assert(!fake.devs[0].started);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(async_totals(&port0->async).cpu_packets);
    settle_and_end();
}

static void
test_refused_goes_by_cpu(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    fake.devs[0].refuses = UINT_MAX;
    /* More often than there is no word about it. */
    for (int i = 1; i <= MAX_REFUSED + 1; i++) {
        ovs_assert(PORT_SEND(port0, 0, BIG, BIG) == 2);
        check_paths(port0, 2 * i, 0);
    }
    ovs_assert((*vhost_async_self_get())->n_refused == MAX_REFUSED + 1);
    fake.devs[0].refuses = 0;
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    check_paths(port0, 2 * (MAX_REFUSED + 1), 1);
    ovs_assert(!(*vhost_async_self_get())->n_refused);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd0)));
    settle_and_end();
}

static void
test_hung_engine_is_quarantined(void)
{
    uint64_t start;

    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;

    /* Not at once, and within a bound. */
    iterate_for(pmd0, DPDK_DMA_DEV_TIMEOUT_MS / 2);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd0)));
    iterate_for(pmd0, 2 * DPDK_DMA_DEV_TIMEOUT_MS);
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd0)));
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    ovs_assert(!fake.devs[0].started && fake.devs[1].started);
    ovs_assert(!pmd_is_busy(pmd0));

    /* Its owner copies by CPU, to other txqs. */
    ovs_assert(PORT_SEND(port0, 1, BIG) == 1);
    check_paths(port0, 1, 10);

    /* The txq with the copies is of no use until the guest is back. */
    ovs_assert(vhost_async_txq_is_stuck(port_txq(port0, 0)));
    ovs_assert(PORT_SEND(port0, 0, BIG, BIG) == 0);
    ovs_assert(vhost_async_counter(&port_txq(port0, 0)->stats.stuck_drops)
               == 2);
    ovs_assert(port0->n_reconfigure && !port1->n_reconfigure);
    /* What failed is not waited for again. */
    start = fake.tsc;
    ovs_assert(port_reconfigure(port0));
    ovs_assert(fake.tsc - start < FAKE_HZ / 10);
    ovs_assert(port_lost(port0) == 10);
    guest_connect(port0, 0, 256);

    /* Afterwards the thread takes another channel if there is one. */
    ovs_assert(!pmd_chan(pmd0));
    run_as(pmd1);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(port_in_flight(port0, 0) == 1);
    fake_finish(1, 0, 1);
    pmd_iterate(pmd1);
    end();
}

/* That there are copies in flight is known from the statistics of the device
 * or from the room in its ring, whichever it has. */
static void
check_hung_engine(void)
{
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    iterate_for(pmd0, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd0)));
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 10);
    end();
}

/* The timeout is 'value', of 'ms' milliseconds: not earlier and not much later
 * than that the engine is given up. */
static void
check_timeout(const char *value, unsigned int ms)
{
    uint64_t begin_tsc, took;

    begin_with_devs(1);
    run_as(pmd0);
    begin_tsc = fake.tsc;
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    timeout = value;
    set_threshold(OVS_STRINGIZE(THRESHOLD));
    ovs_assert(dpdk_dma_dev_timeout_ms() == ms);

    while (!dpdk_dma_chan_failed(pmd_chan(pmd0))) {
        iterate_for(pmd0, 1);
    }
    took = (fake.tsc - begin_tsc) / (FAKE_HZ / 1000);
    ovs_assert(took >= ms && took <= ms + 5);
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 10);
    end();
}

static void
test_timeout_short(void)
{
    check_timeout("10", 10);
}

static void
test_timeout_long(void)
{
    check_timeout("10000", 10000);
}

static void
test_timeout_of_no_use(void)
{
    check_timeout("10001", DPDK_DMA_DEV_TIMEOUT_MS);
}

/* A message of the guest waits for as long as an engine may take. */
static void
test_timeout_of_drain(void)
{
    uint64_t start;

    begin_with_devs(1);
    timeout = "100";
    set_threshold(OVS_STRINGIZE(THRESHOLD));
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    start = fake.tsc;
    guest_leave(port0);
    ovs_assert(fake.tsc - start > FAKE_HZ / 10);
    ovs_assert(fake.tsc - start < FAKE_HZ / 5);
    ovs_assert(port_lost(port0) == 10);
    end();
}

static void
test_hung_engine_without_statistics(void)
{
    begin_with_devs(1);
    fake.devs[0].counts_nothing = true;
    check_hung_engine();
}

static void
test_hung_engine_that_shows_no_more_than_a_batch(void)
{
    add_dev(0, "dma0");
    fake.devs[0].max_batch = 64;
    begin(1);
    check_hung_engine();
}

static void
test_guest_leaves_a_hung_engine(void)
{
    uint64_t start;

    begin_with_devs(1);
    run_as(pmd0);
    for (int qid = 0; qid < N_TXQS; qid++) {
        port_send_n(port0, qid, BIG, 30);
    }
    fake.devs[0].hung = true;
    start = fake.tsc;
    guest_leave(port0);
    /* For all txqs together not much longer than for one; what is freed is
     * freed after the engine stopped. */
    ovs_assert(fake.tsc - start < 2 * FAKE_HZ);
    ovs_assert(port_lost(port0) == 30 * N_TXQS);
    ovs_assert(!fake.devs[0].started);
    pmd_iterate(pmd0);
    ovs_assert(!pmd_is_busy(pmd0));
    end();
}

/* Its driver does not tell how much it was handed. */
static void
test_guest_leaves_a_hung_engine_without_statistics(void)
{
    uint64_t start;

    begin_with_devs(1);
    fake.devs[0].counts_nothing = true;
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 30);
    fake.devs[0].hung = true;
    start = fake.tsc;
    guest_leave(port0);
    ovs_assert(fake.tsc - start < 2 * FAKE_HZ);
    ovs_assert(port_lost(port0) == 30 && !fake.devs[0].started);
    end();
}

static void
test_guest_leaves_slow_engines(void)
{
    uint64_t start;

    begin_with_devs(3);
    for (int i = 0; i < 3; i++) {
        run_as(&pmds[i]);
        port_send_n(port0, i, BIG, 30);
        fake.devs[i].us_per_copy = 100000;
    }
    start = fake.tsc;
    guest_leave(port0);
    ovs_assert(fake.tsc - start < 2 * FAKE_HZ);
    end();
}

/* The time that txqs have together runs out while a thread that drains them
 * does not run. */
static void
test_guest_leaves_when_its_thread_is_preempted(void)
{
    uint64_t start;

    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 60);
    run_as(pmd1);
    port_send_n(port0, 1, BIG, 10);
    fake.devs[0].us_per_copy = 10000;
    fake.devs[1].hung = true;
    fake.preempted_us = 300000;
    start = fake.tsc;
    guest_leave(port0);
    ovs_assert(fake.tsc - start < 4 * FAKE_HZ);
    ovs_assert(port_lost(port0) == 10);
    fake.preempted_us = 0;
    iterate_all();
    end();
}

/* A thread that never passes a grace period does not keep memory from
 * going, nor the engine from being stopped first. */
static void
test_guest_leaves_while_a_thread_is_stuck(void)
{
    uint64_t start;

    begin_with_devs(1);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 30);
    fake.devs[0].hung = true;
    fake.others_busy = true;
    start = fake.tsc;
    guest_leave(port0);
    ovs_assert(fake.tsc - start < 3 * FAKE_HZ);
    ovs_assert(!fake.devs[0].started && port_lost(port0) == 30);
    fake.others_busy = false;
    end();
}

static void
test_message_is_refused_if_the_engine_hangs(void)
{
    uint64_t start;

    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 30);
    run_as(pmd1);
    port_send_n(port1, 0, BIG, 30);
    fake.devs[0].hung = true;
    start = fake.tsc;
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_MEM_TABLE, true)
               == RTE_VHOST_MSG_RESULT_ERR);
    ovs_assert(fake.tsc - start < 2 * FAKE_HZ);
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd0)));
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 30);
    iterate_all();
    settle();
    end();
}

static void
test_hung_engine_takes_no_other_along(void)
{
    begin_with_devs(2);
    fake.devs[0].counts_late = fake.devs[1].counts_late = true;
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    run_as(pmd1);
    port_send_n(port1, 0, BIG, 10);
    port_send_n(port0, 1, BIG, 10);

    /* The other engine is busy and fine, though its owner is elsewhere. */
    iterate_for(pmd0, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd0)));
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 10);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    ovs_assert(pmd_iterate(pmd1));
    settle_and_end();
}

static void
test_sparse_traffic_is_no_failure(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    /* Behind it, so that this pair stays queued.  The first thread does not
     * come back to its own for long. */
    run_as(pmd1);
    PORT_SEND(port0, 0, BIG);
    fake_finish(1, 0, 1);
    iterate_for(pmd1, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
    for (int i = 0; i < 10; i++) {
        iterate_for(pmd1, 900);
        PORT_SEND(port1, 0, BIG);
        ovs_assert(!pmd_iterate(pmd1));
        fake_finish(1, 0, 1);
        ovs_assert(pmd_iterate(pmd1) == 1);
    }
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    settle_and_end();
}

/* Nothing comes back for long, since all is behind a copy of another engine,
 * though this one always has some in the works and finishes them. */
static void
test_work_behind_a_hung_head_is_no_failure(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    for (int i = 0; i < 200; i++) {
        fake_finish(1, 0, 1);
        run_as(pmd1);
        PORT_SEND(port0, 0, BIG);
        iterate_for(pmd1, DPDK_DMA_DEV_TIMEOUT_MS / 50);
    }
    ovs_assert(port_in_flight(port0, 0) == 201);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    settle_and_end();
}

static void
test_late_thread_is_no_failure(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    /* The thread is kept from iterating.  Another one reaps for it. */
    fake_pass_time(5 * FAKE_HZ);
    fake.rate = 1;
    run_as_main();
    PORT_SEND(port0, 0, BIG);
    fake.rate = 0;

    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(!pmd_iterate(pmd0));
    fake_finish(0, 0, 1);
    ovs_assert(pmd_iterate(pmd0) == 1);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd0)));
    settle_and_end();
}

static void
test_reload_with_a_failed_channel(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    /* Another thread noticed. */
    run_as(pmd1);
    dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0), "test");
    pmd_reload(pmd0);
    ovs_assert(vhost_async_txq_is_stuck(port_txq(port0, 0)));
    ovs_assert(port0->n_reconfigure);
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 10);
    end();
}

static void
test_failure_that_another_thread_noticed(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    port_send_n(port0, 1, BIG, 10);
    /* Those of txq 1 came back by way of another. */
    port_vring(port0, 0)->busy = UINT_MAX;
    fake.rate = 1;
    run_as_main();
    PORT_SEND(port0, 1, BIG);
    fake.rate = 0;
    port_vring(port0, 0)->busy = 0;
    ovs_assert(port_in_flight(port0, 0) == 10);

    run_as(pmd1);
    dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0), "test");
    pmd_iterate(pmd1);
    ovs_assert(!fake.devs[0].started);
    pmd_iterate(pmd0);
    ovs_assert(!pmd_is_busy(pmd0));
    ovs_assert(vhost_async_txq_is_stuck(port_txq(port0, 0)));
    ovs_assert(!vhost_async_txq_is_stuck(port_txq(port0, 1)));
    guest_leave(port0);
    end();
}

/* An engine that is busy for other guests all the time must survive the end of
 * this one. */
static void
test_busy_engine_beside_a_failed_one(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    run_as(pmd1);
    PORT_SEND(port0, 0, BIG);
    fake_finish(1, 0, 1);
    port_send_n(port1, 0, BIG, 200);
    fake.devs[0].hung = true;
    fake.devs[1].us_per_copy = 50;
    dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0), "test");
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 2);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    iterate_for(pmd1, 300);
    ovs_assert(!port_in_flight(port1, 0));
    iterate_all();
    settle_and_end();
}

/* What another engine has in the works for this guest must be over, too. */
static void
test_working_engine_beside_a_failed_one(void)
{
    begin_with_devs(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 200);
    fake.devs[0].hung = true;
    fake.devs[1].counts_late = true;
    fake.devs[1].us_per_copy = 10;
    dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0), "test");
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 201);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    iterate_all();
    settle_and_end();
}

/* The library must know of all of it, or it would write to completion flags of
 * a virtqueue that is gone. */
static void
test_much_to_reap_beside_a_failed_one(void)
{
    begin_with_devs(2);
    guest_leave(port0);
    guest_connect(port0, 0, 1024);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 900);
    fake_finish(1, 0, 900);
    fake.devs[0].hung = true;
    dpdk_dma_dev_quarantine(dpdk_dma_map_get(dpdk_dma_dev_map(), 0), "test");
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 901);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    iterate_all();
    settle_and_end();
}

/* What waits for an engine that failed is not waited for. */
static void
test_message_behind_a_failed_engine(void)
{
    uint64_t start;

    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.devs[0].hung = true;
    dpdk_dma_dev_quarantine(pmd_chan(pmd0), "test");
    start = fake.tsc;
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_MEM_TABLE, true)
               == RTE_VHOST_MSG_RESULT_ERR);
    ovs_assert(fake.tsc - start < FAKE_HZ / 100);
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 1);
    end();
}

/* The library says so with what could be a number of packets. */
static void
test_message_when_a_queue_cannot_be_cleared(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.rate = 1;
    fake.n_no_clear = 3;
    ovs_assert(fake_message(0, VHOST_ASYNC_SET_MEM_TABLE, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    ovs_assert(!fake.n_no_clear);
    ovs_assert(!port_in_flight(port0, 0) && fake.n_freed == 10);
    settle_and_end();
}

/* An engine that was told to stop, and is not stopped yet, has something of a
 * packet that was not taken. */
static void
test_something_is_left_on_a_failed_engine(void)
{
    uint64_t start;

    leave_a_copy(2);
    fake.devs[0].hung = true;
    fake.others_busy = true;
    dpdk_dma_dev_quarantine(pmd_chan(pmd0), "test");
    ovs_assert(vhost_async_txq_has_left(port_txq(port0, 0)));
    start = fake.tsc;
    guest_leave(port0);
    /* It is waited for to stop, not to complete something. */
    ovs_assert(fake.tsc - start < DMA_STOP_WAIT_MS * (FAKE_HZ / 1000) * 3 / 2);
    ovs_assert(!fake.devs[0].started && !port_lost(port0));
    fake.others_busy = false;
    end();
}

/* It works, but not fast enough for a guest that waits. */
static void
test_engine_is_too_slow(void)
{
    uint64_t start;

    begin_with_devs(2);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 250);
    run_as(pmd1);
    port_send_n(port1, 0, BIG, 100);
    fake.devs[0].us_per_copy = fake.devs[1].us_per_copy = 10000;
    start = fake.tsc;
    guest_leave(port0);
    ovs_assert(fake.tsc - start < 3 * FAKE_HZ);
    ovs_assert(port_lost(port0) > 0 && port_lost(port0) < 100);
    ovs_assert(!fake.devs[0].started);
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(pmd1)));
    iterate_all();
    settle_and_end();
}

/* It must be stopped if that takes too long. */
static void
test_slow_engine_beside_a_hung_one(void)
{
    begin_with_devs(3);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    run_as(pmd1);
    port_send_n(port0, 0, BIG, 200);
    run_as(&pmds[2]);
    port_send_n(port1, 0, BIG, 200);
    fake.devs[0].hung = true;
    fake.devs[1].us_per_copy = fake.devs[2].us_per_copy = 100000;
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 201);
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd0)));
    ovs_assert(dpdk_dma_chan_failed(pmd_chan(pmd1)));
    ovs_assert(!dpdk_dma_chan_failed(pmd_chan(&pmds[2])));
    iterate_all();
    settle_and_end();
}

static void
test_engine_hangs_in_a_reload(void)
{
    uint64_t start;

    add_dev(0, "dma0");
    add_dev(1, "dma1");
    begin(1);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    start = fake.tsc;
    pmd_reload(pmd0);
    ovs_assert(fake.tsc - start < 3 * FAKE_HZ);
    ovs_assert(vhost_async_txq_is_stuck(port_txq(port0, 0)));
    /* There is another one, and it needs no other reload for it. */
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "dma1"));
    guest_leave(port0);
    ovs_assert(port_lost(port0) == 10);
    end();
}

/* Devices. */

static void
test_discovery(void)
{
    static const char *expected[] = { "plain", "sva", "two", "two" };
    const struct dpdk_dma_map *map;

    add_dev(0, "plain");
    add_dev(1, "cannot-copy");
    fake.devs[1].capa = RTE_DMA_CAPA_MEM_TO_MEM;
    /* A gap, then. */
    add_dev(3, "sva");
    fake.devs[3].capa |= RTE_DMA_CAPA_SVA;
    add_dev(4, "two");
    fake.devs[4].max_vchans = 2;
    fake.devs[4].numa_id = -1;
    add_dev(5, "no-vchan");
    fake.devs[5].max_vchans = 0;
    begin(3);

    map = dpdk_dma_dev_map();
    ovs_assert(dpdk_dma_map_count(map) == ARRAY_SIZE(expected));
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        const struct dpdk_dma_chan *chan = dpdk_dma_map_get(map, i);

        ovs_assert(!strcmp(chan->dev_name, expected[i]));
        ovs_assert(dpdk_dma_chan_usable(chan));
        ovs_assert(chan->ring_size == FAKE_MAX_RING);
    }
    ovs_assert(!fake.devs[1].started && !fake.devs[5].started);
    settle_and_end();
}

static void
test_virtual_addresses_only(void)
{
    add_dev(0, "plain");
    add_dev(1, "sva");
    fake.devs[1].capa |= RTE_DMA_CAPA_SVA;
    fake.iova_mode = RTE_IOVA_PA;
    ovs_assert(dpdk_dma_map_count(dpdk_dma_dev_map()) == 1);
    begin(2);
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "plain"));
    ovs_assert(!pmd_chan(pmd1));
    settle_and_end();
}

/* A device that fails in some call is not used, now or later. */
static void
check_device_that_fails(unsigned int fails, bool late)
{
    add_dev(0, "dma0");
    add_dev(1, "dma1");
    if (late) {
        dpdk_dma_dev_map();
    }
    fake.devs[0].fails = fails;
    begin(2);
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "dma1"));
    ovs_assert(!pmd_chan(pmd1));
    ovs_assert(dpdk_dma_dev_n_channels() == 1);
    ovs_assert(!fake.devs[0].started);

    fake.devs[0].fails = 0;
    set_config(false, NULL, NULL);
    ovs_assert(!fake.devs[1].started);
    set_config(true, NULL, NULL);
    ovs_assert(!fake.devs[0].started && fake.devs[1].started);
    ovs_assert(pmd_chan(pmd0) && !pmd_chan(pmd1));
    settle_and_end();
}

static void
test_device_without_properties(void)
{
    check_device_that_fails(FAKE_INFO, false);
    ovs_assert(dpdk_dma_map_count(dpdk_dma_dev_map()) == 1);
}

static void
test_device_without_properties_later(void)
{
    check_device_that_fails(FAKE_INFO, true);
}

static void
test_device_that_cannot_be_configured(void)
{
    check_device_that_fails(FAKE_CONFIGURE, true);
}

static void
test_device_that_sets_up_no_vchan(void)
{
    check_device_that_fails(FAKE_VCHAN_SETUP, true);
}

static void
test_device_that_does_not_start(void)
{
    check_device_that_fails(FAKE_START, true);
}

static void
test_device_that_vhost_does_not_take(void)
{
    check_device_that_fails(FAKE_TRACK, true);
}

/* It goes on as if nobody had tried. */
static void
test_device_that_does_not_stop(void)
{
    begin_with_devs(1);
    fake.devs[0].fails = FAKE_STOP;
    set_config(false, NULL, NULL);
    ovs_assert(fake.devs[0].started && !pmd_chan(pmd0));
    set_config(true, NULL, NULL);
    ovs_assert(pmd_chan(pmd0));
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG, BIG);
    ovs_assert(port_in_flight(port0, 0) == 2);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(!port_lost(port0));

    fake.devs[0].fails = 0;
    set_config(false, NULL, NULL);
    ovs_assert(!fake.devs[0].started);
    settle_and_end();
}

static void
test_failed_device_is_not_started_again(void)
{
    struct dpdk_dma_chan *chan;

    begin_with_devs(1);
    chan = pmd_chan(pmd0);
    dpdk_dma_dev_quarantine(chan, "test");
    ovs_assert(fake.n_postponed == 1);
    dpdk_dma_dev_quarantine(chan, "test, once more");
    ovs_assert(fake.n_postponed == 1);
    pmd_iterate(pmd0);
    ovs_assert(!fake.devs[0].started);

    set_config(false, NULL, NULL);
    set_config(true, NULL, NULL);
    ovs_assert(!fake.devs[0].started && !pmd_chan(pmd0));
    ovs_assert(port_status_is(port0, "CPU: there is no DMA channel"));
    settle_and_end();
}

static void
test_more_vchans_than_channels(void)
{
    BUILD_ASSERT_DECL(DPDK_DMA_MAX_CHANS > FAKE_MAX_VCHANS
                      && DPDK_DMA_MAX_CHANS < 2 * FAKE_MAX_VCHANS);

    add_dev(0, "dma0");
    add_dev(1, "dma1");
    add_dev(2, "dma2");
    for (int i = 0; i < 3; i++) {
        fake.devs[i].max_vchans = FAKE_MAX_VCHANS;
    }
    begin(1);
    ovs_assert(dpdk_dma_dev_n_channels() == DPDK_DMA_MAX_CHANS);
    ovs_assert(fake.devs[0].nb_vchans == FAKE_MAX_VCHANS);
    ovs_assert(fake.devs[1].nb_vchans
               == DPDK_DMA_MAX_CHANS - FAKE_MAX_VCHANS);
    ovs_assert(!fake.devs[2].started);

    set_config(true, OVS_STRINGIZE(THRESHOLD), "1@dma1");
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(fake.devs[1].vchans[0].head == 1);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(!port_lost(port0));
    settle_and_end();
}

/* Threads. */

static void
test_thread_without_a_numa_node(void)
{
    add_dev(0, "dma0");
    begin(0);
    run_as(pmd0);
    dpif_netdev_dma_attach("netdev@dp", 1, OVS_NUMA_UNSPEC, 1);
    n_pmds = 1;
    ovs_assert((*vhost_async_self_get())->numa_id == -1);
    ovs_assert(pmd_chan(pmd0));
    settle_and_end();
}

static void
test_thread_that_polls_no_rxq(void)
{
    add_dev(0, "dma0");
    begin(2);
    ovs_assert(pmd_chan(pmd0) && !pmd_chan(pmd1));
    run_as(pmd0);
    dpif_netdev_dma_drain(0);
    dpif_netdev_dma_attach("netdev@dp", 1, 0, 0);
    ovs_assert(!pmd_chan(pmd0));
    pmd_reload(pmd1);
    ovs_assert(pmd_chan(pmd1));
    settle_and_end();
}

/* A reload meets a guest that is just leaving. */
static void
test_reload_while_a_guest_leaves(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovsrcu_index_set(&port0->vid, -1);
    fake.n_polls = 0;
    pmd_reload(pmd0);
    ovs_assert(!fake.n_polls);
    ovsrcu_index_set(&port0->vid, 0);
    ovs_assert(port_in_flight(port0, 0) == 1);
    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(!port_lost(port0));
    settle_and_end();
}

/* Cycles of reaping are charged to those who send by DMA. */
static void
test_cycles_are_charged_once(void)
{
    begin_with_devs(1);
    ovs_assert(!dpif_netdev_dma_take_cycles());
    run_as(pmd0);
    PORT_SEND(port0, 0, SMALL);
    ovs_assert(!dpif_netdev_dma_take_cycles());
    PORT_SEND(port0, 0, BIG);
    ovs_assert(!dpif_netdev_dma_take_cycles());
    fake_finish(0, 0, 1);
    pmd_iterate(pmd0);
    PORT_SEND(port0, 0, BIG);
    ovs_assert(dpif_netdev_dma_take_cycles());
    ovs_assert(!dpif_netdev_dma_take_cycles());

    /* Those who send next did not cause it. */
    fake_finish(0, 0, 1);
    pmd_iterate(pmd0);
    ovs_assert(!dpif_netdev_dma_take_cycles());
    settle_and_end();
}

/* Neither the main thread nor PMD threads have anything to do. */
static void
test_without_dpdk(void)
{
    struct smap other_config = SMAP_INITIALIZER(&other_config);
    const char *argv[] = { "dpif-netdev/dma-show" };
    struct command c = { .text = NULL };

    fake.no_dpdk = true;
    smap_add(&other_config, "vhost-async-support", "true");
    ovs_assert(!dpif_netdev_dma_set_config(&other_config));
    ovs_assert(!netdev_dpdk_async_is_enabled());
    smap_destroy(&other_config);

    dpif_netdev_dma_attach("netdev@dp", 1, 0, 1);
    ovs_assert(!*vhost_async_self_get());
    ovs_assert(!dpif_netdev_dma_is_busy());
    ovs_assert(!dpif_netdev_dma_reap(&pmd0->perf));
    dpif_netdev_dma_drain(1);
    dpif_netdev_dma_detach();

    dma_show((struct unixctl_conn *) &c, 1, argv, NULL);
    ovs_assert(c.answered && !c.ok);
    ovs_assert(strstr(c.text, "other_config:dpdk-init=true"));
    free(c.text);
}

/* What is configured. */

static void
test_bad_support_is_off(void)
{
    static const char *bad[] = { NULL, "", "yes", "1", "TRUE", "true " };

    begin_with_devs(1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        set_config(true, NULL, NULL);
        ovs_assert(netdev_dpdk_async_is_enabled() && pmd_chan(pmd0));
        set_config__(bad[i], NULL, NULL);
        ovs_assert(!netdev_dpdk_async_is_enabled() && !pmd_chan(pmd0));
    }
    settle_and_end();
}

static void
test_bad_pins_are_ignored(void)
{
    begin_with_devs(2);
    set_config(true, NULL, "1@nodma,x@dma0,2@dma0");
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "dma1"));
    ovs_assert(!strcmp(pmd_chan(pmd1)->dev_name, "dma0"));
    /* Ports have nothing to do with it. */
    ovs_assert(!port0->n_reconfigure && !port_reconfigure(port0));
    settle_and_end();
}

/* Threads reload when claims may be against what is configured, no sooner. */
static void
test_pins_when_off(void)
{
    struct smap other_config = SMAP_INITIALIZER(&other_config);

    begin_with_devs(2);
    set_config(false, NULL, NULL);
    smap_add(&other_config, "vhost-async-support", "false");
    smap_add(&other_config, "vhost-async-dma-map", "2@dma0");
    ovs_assert(!dpif_netdev_dma_set_config(&other_config));
    smap_destroy(&other_config);
    set_config(true, NULL, "2@dma0");
    ovs_assert(!strcmp(pmd_chan(pmd0)->dev_name, "dma1"));
    settle_and_end();
}

static void
test_bad_timeout_is_the_default(void)
{
    static const char *bad[] = { "", "x", "-1", "9", "10001", "1 s",
                                 "4294967296" };

    begin_with_devs(1);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        timeout = "10";
        set_config(true, NULL, NULL);
        ovs_assert(dpdk_dma_dev_timeout_ms() == 10);
        timeout = bad[i];
        set_config(true, NULL, NULL);
        ovs_assert(dpdk_dma_dev_timeout_ms() == DPDK_DMA_DEV_TIMEOUT_MS);
    }
    timeout = "10000";
    set_config(true, NULL, NULL);
    ovs_assert(dpdk_dma_dev_timeout_ms() == 10000);
    timeout = NULL;
    set_config(true, NULL, NULL);
    ovs_assert(dpdk_dma_dev_timeout_ms() == DPDK_DMA_DEV_TIMEOUT_MS);
    settle_and_end();
}

static void
test_override_of_a_port(void)
{
    begin_with_devs(1);
    set_override(port0, "true");
    set_override(port0, "maybe");
    set_override(port0, "maybe");
    set_override(port0, NULL);
    ovs_assert(!port0->n_reconfigure);
    ovs_assert(port_status_is(port0, "DMA"));

    set_override(port0, "false");
    ovs_assert(port0->n_reconfigure && port_reconfigure(port0));
    ovs_assert(port_status_is(port0, "CPU: options:vhost-async is false"));
    set_override(port0, "FALSE");
    ovs_assert(port0->n_reconfigure);
    ovs_assert(port_status_is(port0,
                              "CPU: DMA from the guest's next connection on"));
    settle_and_end();
}

/* Protection of guests comes before speed. */
static void
check_protection(bool iommu, bool postcopy, const char *status)
{
    netdev_dpdk_async_set_protection(iommu, postcopy);
    begin_with_devs(1);
    ovs_assert(!netdev_dpdk_async_driver_flags(&port0->async, true, "x"));
    ovs_assert(!port0->async.txqs && port_status_is(port0, status));
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(port_vring(port0, 0)->n_got == 1);

    /* Ports in server mode never have any of these. */
    ovs_assert(netdev_dpdk_async_driver_flags(&port1->async, false,
                                              port1->path)
               == RTE_VHOST_USER_ASYNC_COPY);
    ovs_assert(port_status_is(port1, "DMA"));
    settle_and_end();
}

static void
test_no_dma_with_iommu(void)
{
    check_protection(true, false,
                     "CPU: other_config:vhost-iommu-support is true");
}

static void
test_no_dma_with_postcopy(void)
{
    check_protection(false, true,
                     "CPU: other_config:vhost-postcopy-support is true");
}

/* Ports. */

/* A server cannot call its guest back, so that it waits until that leaves. */
static void
test_server_waits_for_its_guest(void)
{
    begin_with_devs(1);
    port0->server = true;
    port_register(port0);
    set_config(false, NULL, NULL);
    ovs_assert(port0->n_reconfigure && !port_reconfigure(port0));
    ovs_assert(port0->async.txqs);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);

    guest_stop(port0);
    ovs_assert(!port0->n_reconfigure);
    guest_start(port0, 0);
    guest_leave(port0);
    ovs_assert(port0->n_reconfigure && port_reconfigure(port0));
    ovs_assert(!port0->async.txqs);

    /* Without a guest there is no reason to wait. */
    set_config(true, NULL, NULL);
    ovs_assert(port0->n_reconfigure && port_reconfigure(port0));
    ovs_assert(port0->async.txqs);
    guest_connect(port0, 0, 256);
    guest_leave(port0);
    ovs_assert(!port0->n_reconfigure);
    settle_and_end();
}

static void
test_server_of_a_stuck_txq_does_not_wait(void)
{
    begin_with_devs(1);
    port0->server = true;
    port_register(port0);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.devs[0].hung = true;
    iterate_for(pmd0, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
    ovs_assert(port0->n_reconfigure && port_reconfigure(port0));
    ovs_assert(port_lost(port0) == 1);
    end();
}

/* The thread of the library may be waiting for the one that reconfigures. */
static void
test_reconfiguration_while_a_guest_leaves(void)
{
    begin_with_devs(1);
    ovs_assert(netdev_dpdk_async_destroy_begin(&port0->async));
    set_config(false, NULL, NULL);
    ovs_assert(!port_reconfigure(port0));
    guest_stop(port0);
    ovs_assert(port0->n_reconfigure && port_reconfigure(port0));
    ovs_assert(!port0->async.txqs);
    settle_and_end();
}

static void
test_port_goes_while_its_guest_leaves(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.rate = 1;
    ovs_assert(netdev_dpdk_async_destroy_begin(&port0->async));
    port_destroy(port0);
    settle_and_end();
}

/* The main thread waits for an engine to be stopped, for which others wait for
 * the main thread. */
static void
test_main_takes_a_port_from_a_hung_engine(void)
{
    uint64_t start;

    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, BIG);
    fake.devs[0].hung = true;
    start = fake.tsc;
    run_as_main();
    fake_driver_unregister(port0->path);
    ovs_assert(!fake.devs[0].started && port_lost(port0) == 1);
    ovs_assert(fake.tsc - start < (DPDK_DMA_DEV_TIMEOUT_MS
                                   + DMA_STOP_WAIT_MS / 2) * (FAKE_HZ / 1000));
    end();
}

/* One connects beside the guest of the port, and is nobody before that one
 * left. */
static void
test_second_guest_of_a_port(void)
{
    struct netdev_dpdk_async_guest guest;

    begin_with_devs(1);
    port0->server = true;
    port_register(port0);
    fake.guests[2] = (struct fake_guest) { .live = true,
                                           .n_vrings = FAKE_MAX_VRINGS };
    fake_vring_set_up(2, 0, 256);
    port0->other_vid = 2;
    netdev_dpdk_async_new_connection(2);
    ovs_assert(fake_message(2, VHOST_ASYNC_SET_OWNER, true)
               == RTE_VHOST_MSG_RESULT_ERR);
    netdev_dpdk_async_new_device(&port0->async, 2);
    netdev_dpdk_async_vring_changed(&port0->async, 2, 0, true);
    ovs_assert(!fake.guests[2].vrings[0].async && port_vring(port0, 0)->async);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    ovs_assert(port_in_flight(port0, 0) == 1);

    /* A link is enough to tell that there is somebody. */
    run_as_main();
    fake.guests[0].negotiated = false;
    netdev_dpdk_async_get_guest(&port0->async, &guest);
    ovs_assert(guest.connected && guest.link);

    /* Nor is the next one somebody while the device of this one goes. */
    ovsrcu_index_set(&port0->vid, -1);
    netdev_dpdk_async_destroy_begin(&port0->async);
    ovs_assert(fake_message(2, VHOST_ASYNC_SET_OWNER, true)
               == RTE_VHOST_MSG_RESULT_ERR);
    ovsrcu_index_set(&port0->vid, 0);

    fake.rate = 1;
    guest_leave(port0);
    ovs_assert(fake_message(2, VHOST_ASYNC_SET_OWNER, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    netdev_dpdk_async_get_guest(&port0->async, &guest);
    ovs_assert(!guest.connected && !guest.link);
    netdev_dpdk_async_disconnected(&port0->async, 2);
    /* Nobody's any more. */
    ovs_assert(fake_message(2, VHOST_ASYNC_SET_VRING_NUM, true)
               == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
    settle_and_end();
}

static void
test_port_that_is_never_registered(void)
{
    struct netdev_dpdk_async async;

    begin_with_devs(1);
    memset(&async, 0, sizeof async);
    netdev_dpdk_async_init(&async, &port0->netdev, &port0->vid,
                           &port0->tx_retries);
    ovs_assert(!netdev_dpdk_async_reconnect(&async));
    /* A connection to somebody else. */
    ovs_assert(!netdev_dpdk_async_new_connection(3));
    ovs_assert(async.connection < 0);
    ovs_assert(!netdev_dpdk_async_uninit(&async, NULL));
    netdev_dpdk_async_free(&async);
    settle_and_end();
}

/* After that, its path can be taken away. */
static void
test_port_that_could_not_be_registered(void)
{
    struct netdev_dpdk_async async;

    begin_with_devs(1);
    memset(&async, 0, sizeof async);
    netdev_dpdk_async_init(&async, &port0->netdev, &port0->vid,
                           &port0->tx_retries);
    ovs_assert(netdev_dpdk_async_driver_flags(&async, true, "nowhere")
               == RTE_VHOST_USER_ASYNC_COPY);
    ovs_assert(!netdev_dpdk_async_uninit(&async, NULL));
    netdev_dpdk_async_free(&async);
    settle_and_end();
}

/* Without a look at the messages of a guest, copies could outlive memory. */
static void
test_messages_that_cannot_be_watched(void)
{
    fake.no_callbacks = true;
    begin_with_devs(1);
    run_as(pmd0);
    ovs_assert(PORT_SEND(port0, 0, SMALL, BIG) == 2);
    ovs_assert(port_vring(port0, 0)->n_got == 2 && !pmd_is_busy(pmd0));
    netdev_dpdk_async_vring_changed(&port0->async, 0, 0, true);
    ovs_assert(!port_vring(port0, 0)->async);
    settle_and_end();
}

static void
test_queues_that_are_not_there(void)
{
    n_ready_txqs = 1;
    begin_with_devs(1);
    /* Mentioned by the guest, no more. */
    port_vring(port0, 1)->size = 256;
    netdev_dpdk_async_vring_changed(&port0->async, 0, 1, true);
    ovs_assert(!port_vring(port0, 1)->async);
    fake_vring_set_up(0, 2, 256);
    netdev_dpdk_async_vring_changed(&port0->async, 0, 1, true);
    ovs_assert(port_vring(port0, 1)->async);

    /* Of another device, of none, and out of range. */
    fake_vring_set_up(0, 4, 256);
    netdev_dpdk_async_vring_changed(&port0->async, 1, 2, true);
    netdev_dpdk_async_vring_changed(&port0->async, -1, 2, true);
    netdev_dpdk_async_vring_changed(&port0->async, ARRAY_SIZE(devices), 2,
                                    true);
    ovs_assert(!port_txq(port0, 2) || !port_vring(port0, 2)->async);
    netdev_dpdk_async_vring_changed(&port0->async, 0, N_TXQS, true);
    ovs_assert(!vhost_async_txq_is_registered(port_txq(port0, N_TXQS)));
    /* Which takes no memory for packets in flight. */
    ovs_assert(port_memory(port0, 0) - port_memory(port0, N_TXQS)
               >= 256 * sizeof(struct rte_mbuf *));
    netdev_dpdk_async_vring_changed(&port0->async, 0, -1, true);
    netdev_dpdk_async_vring_changed(&port0->async, 0, MAX_TXQS, true);
    netdev_dpdk_async_vring_changed(&port0->async, 0, 2, false);
    ovs_assert(!port_txq(port0, 2) || !port_vring(port0, 2)->async);
    settle_and_end();
}

/* Another thread keeps the virtqueue busy. */
static void
test_queue_that_cannot_be_unregistered(void)
{
    uint64_t start;

    begin_with_devs(1);
    port_vring(port0, 0)->busy = UINT_MAX;
    start = fake.tsc;
    vhost_async_txq_unregister(port_txq(port0, 0), 0);
    ovs_assert(fake.tsc - start < FAKE_HZ / 100);
    ovs_assert(!vhost_async_txq_is_registered(port_txq(port0, 0)));
    /* The library does that when the guest is gone. */
    port_vring(port0, 0)->async = false;

    /* What is not mapped is not waited for. */
    for (unsigned int part = 1; part <= 4; part *= 2) {
        netdev_dpdk_async_vring_changed(&port0->async, 0, 0, true);
        ovs_assert(port_vring(port0, 0)->async);
        port_vring(port0, 0)->lacks = part;
        start = fake.tsc;
        vhost_async_txq_unregister(port_txq(port0, 0), 0);
        ovs_assert(fake.tsc - start < 1000);
        ovs_assert(!vhost_async_txq_is_registered(port_txq(port0, 0)));
        port_vring(port0, 0)->lacks = 0;
        port_vring(port0, 0)->async = false;
    }
    settle_and_end();
}

static void
meanwhile_queue_is_set_up_anew(void)
{
    fake_resize(0, 0);
    ovs_assert(!port_vring(port0, 0)->async);
    /* Its packets are counted as in flight until the sender is back. */
    netdev_dpdk_async_vring_changed(&port0->async, 0, 0, true);
    ovs_assert(!port_vring(port0, 0)->async);
}

static void
test_queue_is_set_up_anew_under_a_sender(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    port_vring(port0, 0)->room = 0;
    fake.meanwhile = meanwhile_queue_is_set_up_anew;
    ovs_assert(!PORT_SEND(port0, 0, BIG, BIG));
    ovs_assert(!fake.meanwhile && !port_in_flight(port0, 0));
    fake_make_room(0);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    check_paths(port0, 1, 0);
    netdev_dpdk_async_vring_changed(&port0->async, 0, 0, true);
    ovs_assert(PORT_SEND(port0, 0, BIG) == 1);
    check_paths(port0, 1, 1);
    settle_and_end();
}

/* What is refused is closed, once; which that is, tests/test-vhost-message.c
 * knows. */
static void
test_refused_message_with_files(void)
{
    uint32_t msg[FDS_AT / 4 + MAX_FDS + 1] = { VHOST_ASYNC_SET_INFLIGHT_FD, 1,
                                               40 };
    int fds[2];

    begin_with_devs(1);
    ovs_assert(!pipe(fds));
    memcpy((char *) msg + FDS_AT, fds, sizeof fds);
    msg[FDS_AT / 4 + MAX_FDS] = 2;
    ovs_assert(fake.guests[0].ops->pre_msg_handle(0, msg)
               == RTE_VHOST_MSG_RESULT_ERR);
    ovs_assert(fcntl(fds[0], F_GETFD) == -1 && fcntl(fds[1], F_GETFD) == -1);
    memcpy(fds, (char *) msg + FDS_AT, sizeof fds);
    ovs_assert(fds[0] == -1 && fds[1] == -1);
    settle_and_end();
}

/* What an operator sees. */

/* Has 'function' answer to a command of 'argc' words, with 'ok' or not.
 * Returns the text, to be freed. */
static char *
command(unixctl_cb_func *function, int argc, const char *argv[], bool ok)
{
    struct command c = { .text = NULL };

    run_as_main();
    function((struct unixctl_conn *) &c, argc, argv, NULL);
    ovs_assert(c.answered && c.ok == ok);
    return c.text;
}

#define COMMAND(FUNCTION, OK, ...)                                          \
    command(FUNCTION, ARRAY_SIZE(((const char *[]) { __VA_ARGS__ })),       \
            (const char *[]) { __VA_ARGS__ }, OK)

static void
check_text(char *text, const char *expected)
{
    if (!strstr(text, expected)) {
        ovs_fatal(0, "got:\n%sexpected:\n%s", text, expected);
    }
}

#define SHOW(OK, EXPECTED, ...) {                                           \
        char *text__ = COMMAND(dma_show, OK, "dma-show", ##__VA_ARGS__);    \
        check_text(text__, EXPECTED);                                       \
        free(text__);                                                       \
    }

static void
test_dma_show(void)
{
    char *text, *memory;

    add_dev(0, "dma0");
    fake.devs[0].errors = 3;
    begin(2);
    run_as(pmd0);
    PORT_SEND(port0, 0, SMALL, BIG, BIG);
    text = COMMAND(dma_show, true, "dma-show");
    check_text(text, "vhost-async-support: true, completion engine: "
               VHOST_ASYNC_ENGINE "\n"
               "threshold: 1000 bytes\n"
               "timeout: 1000 ms\n"
               "DMA channels: 1 claimed, 0 free, 0 failed\n"
               "pmd thread numa_id 0 core_id 1:\n"
               "  channel: dma0, vchan 0, NUMA node 0, ring of 1024 "
               "descriptors\n"
               "  in flight: 2 copies, errors: 3\n"
               "  copies by DMA: 2 packets, 3000 bytes\n"
               "  copies by CPU: 1 packets, 64 bytes\n"
               "  bursts: 1, of which 0 did not fit at once\n"
               "  polls: 0 (0.00 per burst), of which 0 found nothing\n"
               "  completion latency: 0.0 us on average, 0.0 us at most\n"
               "pmd thread numa_id 0 core_id 2:\n"
               "  channel: none\n"
               "  copies by DMA: 0 packets, 0 bytes\n");
    check_text(text, "port vhost0: DMA\n"
               "  txq 0: DMA\n"
               "    by DMA: 2 packets, 3000 bytes; in flight: 2 packets\n"
               "    by CPU: 1 packets, 64 bytes\n"
               "    memory: ");
    memory = (VHOST_ASYNC_KEEPS
              ? xasprintf("    memory: %"PRIuSIZE" bytes, %"PRIuSIZE" of them "
                          "for the ring; waiting in it: 0 packets\n",
                          port_memory(port0, 0),
                          vhost_async_engine_txq_memory(port_txq(port0, 0)))
              : xasprintf("    memory: %"PRIuSIZE" bytes\n",
                          port_memory(port0, 0)));
    check_text(text, memory);
    ovs_assert(!strstr(text, "dropped"));
    free(memory);
    free(text);

    /* Seen in time, then cleared. */
    fake.tsc += 5000 * 1000;
    fake_finish(0, 0, 2);
    pmd_iterate(pmd0);
    SHOW(true, "  polls: 1 (1.00 per burst), of which 0 found nothing\n"
         "  completion latency: 5000.");
    text = COMMAND(dma_stats_clear, true, "dma-stats-clear", "netdev@dp");
    ovs_assert(!text);
    SHOW(true, "  copies by DMA: 0 packets, 0 bytes\n"
         "  copies by CPU: 0 packets, 0 bytes\n"
         "  bursts: 0, of which 0 did not fit at once\n"
         "  polls: 0 (0.00 per burst), of which 0 found nothing\n"
         "  completion latency: 0.0 us on average, 0.0 us at most\n");
    SHOW(true, "  txq 0: DMA\n"
         "    by DMA: 0 packets, 0 bytes; in flight: 0 packets\n"
         "    by CPU: 0 packets, 0 bytes\n");
    check_paths(port0, 1, 2);
    settle_and_end();
}

static void
test_dma_show_of_some(void)
{
    char *text;

    begin_with_devs(2);
    text = COMMAND(dma_show, true, "dma-show", "-pmd", "2", "netdev@dp");
    check_text(text, "DMA channels: 2 claimed, 0 free, 0 failed\n"
                     "pmd thread numa_id 0 core_id 2:\n");
    ovs_assert(!strstr(text, "core_id 1:") && !strstr(text, "port "));
    free(text);

    /* Not every driver counts. */
    fake.devs[1].errors = 7;
    SHOW(true, "  in flight: 0 copies, errors: 7\n", "-pmd", "2");
    fake.devs[1].counts_nothing = true;
    SHOW(true, "  in flight: 0 copies, errors: 0\n", "-pmd", "2");
    text = COMMAND(dma_show, true, "dma-show", "netdev@dp");
    ovs_assert(strstr(text, "core_id 1:") && strstr(text, "core_id 2:"));
    ovs_assert(strstr(text, "port vhost0:"));
    free(text);

    SHOW(false, "no PMD thread on core 3; ", "-pmd", "3");
    SHOW(false, "no PMD thread of a datapath \"x\"; ", "x");
    SHOW(false, "no PMD thread on core 1 of a datapath \"x\"; ", "x", "-pmd",
         "1");
    SHOW(false, "-pmd: \"\" is not the number of a core", "-pmd");
    SHOW(false, "-pmd: \"x\" is not the number of a core", "-pmd", "x");
    SHOW(false, "-pmd: \"-1\" is not the number of a core", "-pmd", "-1");
    SHOW(false, "-pmd: \"4294967295\" is not the number of a core", "-pmd",
         "4294967295");
    SHOW(false, "-pmd: \"4294967296\" is not the number of a core", "-pmd",
         "4294967296");
    SHOW(false, "\"y\": a datapath was named already, \"x\"", "x", "y");

    text = COMMAND(dma_stats_clear, false, "dma-stats-clear", "x");
    check_text(text, "no PMD thread of a datapath \"x\"");
    free(text);
    ovs_assert(!COMMAND(dma_stats_clear, true, "dma-stats-clear"));
    settle_and_end();

    /* Without a PMD thread, too. */
    n_pmds = 0;
    SHOW(true, "DMA channels: 0 claimed, 2 free, 0 failed\n");
    ovs_assert(!COMMAND(dma_stats_clear, true, "dma-stats-clear"));
}

static void
test_dma_show_when_off(void)
{
    char *text;

    begin_with_devs(1);
    set_config(false, NULL, NULL);
    ovs_assert(port_reconfigure(port0));
    text = COMMAND(dma_show, true, "dma-show");
    check_text(text, "vhost-async-support: false, ");
    check_text(text, "port vhost0: CPU: other_config:vhost-async-support is "
                     "false\n");
    ovs_assert(!strstr(text, "DMA channels:"));
    free(text);

    set_config(true, NULL, NULL);
    ovs_assert(port_reconfigure(port0));
    SHOW(true, "port vhost0: DMA, no guest\n");
    settle_and_end();
}

static void
test_dma_show_of_a_failure(void)
{
    char *text;

    add_dev(0, "dma0");
    begin(1);
    run_as(pmd0);
    port_send_n(port0, 0, BIG, 10);
    fake.devs[0].hung = true;
    iterate_for(pmd0, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
    ovs_assert(PORT_SEND(port0, 0, BIG, BIG) == 0);
    text = COMMAND(dma_show, true, "dma-show");
    check_text(text, "DMA channels: 0 claimed, 0 free, 1 failed\n");
    check_text(text, "ring of 1024 descriptors (failed)\n"
                     "  in flight: 0 copies, errors: 0\n");
    check_text(text, "port vhost0: CPU: there is no DMA channel\n"
                     "  txq 0: none: its DMA channel failed, waiting for the "
                     "guest to reconnect\n");
    check_text(text, "    dropped: 0 busy, 2 stuck, 0 lost, 0 ring full, 0 "
                     "lost in the ring\n");
    free(text);
    guest_leave(port0);
    text = COMMAND(dma_show, true, "dma-show");
    check_text(text, "    dropped: 0 busy, 2 stuck, 10 lost, 0 ring full, 0 "
                     "lost in the ring\n");
    check_text(text, "  txq 1: CPU: no guest has set it up\n");
    free(text);
    end();
}

/* Each for itself, by its name, and to be cleared. */
static void
test_dma_show_of_drops(void)
{
    static const char *names[] = { "busy", "stuck", "lost", "ring full",
                                   "lost in the ring" };
    struct vhost_async_txq_stats *stats;
    atomic_uint64_t *counters[5];

    begin_with_devs(1);
    stats = &port_txq(port0, 0)->stats;
    counters[0] = &stats->busy_drops;
    counters[1] = &stats->stuck_drops;
    counters[2] = &stats->lost_drops;
    counters[3] = &stats->ring_full_drops;
    counters[4] = &stats->ring_lost_drops;
    for (int i = 0; i < 5; i++) {
        struct ds line = DS_EMPTY_INITIALIZER;
        char *text;

        vhost_async_count_shared(counters[i], 7);
        for (int j = 0; j < 5; j++) {
            ds_put_format(&line, "%s %d %s", j ? "," : "    dropped:",
                          j == i ? 7 : 0, names[j]);
        }
        ds_put_char(&line, '\n');
        SHOW(true, ds_cstr(&line));
        ds_destroy(&line);

        ovs_assert(!COMMAND(dma_stats_clear, true, "dma-stats-clear"));
        text = COMMAND(dma_show, true, "dma-show");
        ovs_assert(!strstr(text, "dropped"));
        free(text);
        atomic_store_relaxed(counters[i], 0);
        ovs_assert(!COMMAND(dma_stats_clear, true, "dma-stats-clear"));
    }
    settle_and_end();
}

static uint64_t
custom_stat(const struct port *port, const char *name)
{
    struct netdev_custom_stats custom = { .counters = NULL };
    uint64_t value = UINT64_MAX;

    /* Behind those that are there. */
    custom.size = 1;
    custom.counters = xzalloc(sizeof *custom.counters);
    netdev_dpdk_async_get_custom_stats(&port->async, &custom);
    ovs_assert(!custom.counters[0].name[0]);
    for (size_t i = 1; i < custom.size; i++) {
        if (!strcmp(custom.counters[i].name, name)) {
            ovs_assert(value == UINT64_MAX);
            value = custom.counters[i].value;
        }
    }
    free(custom.counters);
    return value;
}

static void
test_statistics_of_a_port(void)
{
    begin_with_devs(1);
    run_as(pmd0);
    PORT_SEND(port0, 0, SMALL, BIG, BIG);
    PORT_SEND(port0, 1, SMALL, BIG, BIG, BIG);
    fake_finish(0, 0, 2);
    pmd_iterate(pmd0);
    run_as_main();
    ovs_assert(PORT_SEND(port0, 1, BIG, BIG, BIG, BIG) == 0);
    ovs_assert(custom_stat(port0, "tx_async_cpu_packets") == 2);
    ovs_assert(custom_stat(port0, "tx_async_cpu_bytes") == 2 * SMALL);
    ovs_assert(custom_stat(port0, "tx_async_dma_packets") == 5);
    ovs_assert(custom_stat(port0, "tx_async_dma_bytes") == 5 * BIG);
    ovs_assert(custom_stat(port0, "tx_async_in_flight") == 3);
    ovs_assert(custom_stat(port0, "tx_async_busy_drops") == 4);
    ovs_assert(custom_stat(port0, "tx_async_waiting") == 0);

    /* Lost and dropped, and not forgotten when the port is registered anew. */
    fake.devs[0].hung = true;
    iterate_for(pmd0, 3 * DPDK_DMA_DEV_TIMEOUT_MS);
    PORT_SEND(port0, 1, BIG);
    ovs_assert(port_reconfigure(port0));
    ovs_assert(custom_stat(port0, "tx_async_stuck_drops") == 1);
    ovs_assert(custom_stat(port0, "tx_async_lost_drops") == 3);
    ovs_assert(custom_stat(port0, "tx_async_in_flight") == 0);
    ovs_assert(custom_stat(port0, "tx_async_dma_packets") == 5);
    ovs_assert(custom_stat(port0, "tx_async_ring_full_drops") == 0);
    ovs_assert(custom_stat(port0, "tx_async_ring_lost_drops") == 0);
    ovs_assert(custom_stat(port1, "tx_async_stuck_drops") == 0);
    end();
}

static void
test_small_and_odd_rings(void)
{
    add_dev(0, "dma0");
    fake.devs[0].max_desc = 100;
    add_dev(1, "dma1");
    fake.devs[1].min_desc = fake.devs[1].max_desc = 100;
    begin(2);
    ovs_assert(pmd_chan(pmd0)->ring_size == 64);
    ovs_assert(pmd_chan(pmd1)->ring_size == 100);
    settle_and_end();
}

/* At random: whatever threads, engines and guests do, packets stay in order
 * and each is accounted for. */

static void random_meanwhile(void);

static struct pmd *
random_sender(void)
{
    return random_range(5) ? &pmds[random_range(n_pmds)] : NULL;
}

/* The running thread sends.  Unless 'nested', another one may do so, too. */
static void
random_send(bool nested)
{
    struct port *port = &ports_[random_range(N_PORTS)];
    unsigned int cnt = 1 + random_range(MAX_BURST);
    uint32_t sizes[MAX_BURST];
    unsigned int big = random_range(4);

    for (unsigned int i = 0; i < cnt; i++) {
        sizes[i] = random_range(3) < big ? BIG : SMALL;
    }
    if (!VHOST_ASYNC_TX_LOCK && !nested && !random_range(3)) {
        fake.meanwhile = random_meanwhile;
    }
    /* With company, what is sent again does not come next. */
    port_send__(port, random_range(N_TXQS), sizes, cnt,
                fake.meanwhile ? 0 : random_range(3));
    fake.meanwhile = NULL;
}

static void
random_meanwhile(void)
{
    struct pmd *was = running, *other;

    do {
        other = random_sender();
    } while (other == was);
    run_as(other);
    random_send(true);
    run_as(was);
}

static void
random_reconnect(void)
{
    struct port *port = &ports_[random_range(N_PORTS)];
    int vid = ovsrcu_index_get(&port->vid) ^ 2;

    guest_leave(port);
    ovs_assert(port_lost(port) == port_lost_in_ring(port));
    guest_connect(port, vid, 64 << random_range(4));
}

static void
random_guest(void)
{
    struct port *port = &ports_[random_range(N_PORTS)];
    struct fake_vring *v = port_vring(port, random_range(N_TXQS));
    int vid = ovsrcu_index_get(&port->vid);

    switch (random_range(40)) {
    case 0:
        ovs_assert(fake_message(vid, VHOST_ASYNC_SET_MEM_TABLE, true)
                   == RTE_VHOST_MSG_RESULT_NOT_HANDLED);
        break;
    case 1:
        fake_resize(vid, 2 * random_range(N_TXQS));
        break;
    case 2: case 3:
        netdev_dpdk_async_vring_changed(&port->async, vid,
                                        random_range(N_TXQS), true);
        break;
    case 4:
        random_reconnect();
        break;
    case 5: case 6:
        fake.guests[vid].lazy = !fake.guests[vid].lazy;
        break;
    case 7: case 8: case 9:
        v->busy = random_range(10);
        break;
    default:
        v->room = v->size - (v->head - v->tail);
        break;
    }
}

static void
random_config(void)
{
    static const char *pins[] = { NULL, "1@dma1", "2@dma0,1@dma1", "3@dma0" };
    static const char *thresholds[] = { "0", "1000", "100000" };

    switch (random_range(4)) {
    case 0:
        set_config(true, thresholds[random_range(3)], pins[random_range(4)]);
        break;
    case 1:
        pmd_reload(&pmds[random_range(n_pmds)]);
        break;
    default:
        fake.rate = 1 + random_range(8);
        break;
    }
}

static void
test_random(void)
{
    begin_with_devs(2);
    pmd_start(&pmds[n_pmds++], 3);
    fake.rate = 1;
    for (int step = 0; step < 5000; step++) {
        switch (random_range(100)) {
        case 0:
            random_config();
            break;
        case 1: case 2: case 3: case 4:
            random_guest();
            break;
        default:
            fake_finish(random_range(2), 0, random_range(40));
            if (random_range(2)) {
                run_as(random_sender());
                random_send(false);
            } else {
                pmd_iterate(&pmds[random_range(n_pmds)]);
            }
            break;
        }
        for (size_t i = 0; i < N_PORTS; i++) {
            port_check_sums(&ports_[i]);
        }
    }
    ovs_assert(!dpdk_dma_chan_failed(dpdk_dma_map_get(dpdk_dma_dev_map(), 0)));
    ovs_assert(!dpdk_dma_chan_failed(dpdk_dma_map_get(dpdk_dma_dev_map(), 1)));
    settle_and_end();
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(small_goes_by_cpu),
    DMA_TEST_CASE(big_goes_by_dma),
    DMA_TEST_CASE(threshold_is_the_least_for_dma),
    DMA_TEST_CASE(threshold_0_is_all_by_dma),
    DMA_TEST_CASE(threshold_huge_is_all_by_cpu),
    DMA_TEST_CASE(bad_threshold_is_the_default),
    DMA_TEST_CASE(only_leading_small_go_by_cpu),
    DMA_TEST_CASE(small_behind_copies_goes_by_dma),
    DMA_TEST_CASE(small_that_does_not_fit_stops_the_burst),
    DMA_TEST_CASE(burst_of_nothing),
    DMA_TEST_CASE(port_off_dma_is_as_stock),
    DMA_TEST_CASE(ring_that_is_not_set_up),
    DMA_TEST_CASE(no_channel_and_idle_txq),
    DMA_TEST_CASE(no_channel_waits_for_copies),
    DMA_TEST_CASE(no_channel_drops_after_a_bounded_wait),
    DMA_TEST_CASE(more_threads_than_channels),
    DMA_TEST_CASE(no_device_at_all),
    DMA_TEST_CASE(full_virtqueue),
    DMA_TEST_CASE(full_ring_of_the_channel),
    DMA_TEST_CASE(full_ring_makes_room_for_the_rest),
    DMA_TEST_CASE(retries_as_often_as_told),
    DMA_TEST_CASE(rejected_are_not_in_flight),
    DMA_TEST_CASE(memory_goes_only_when_nothing_is_left),
    DMA_TEST_CASE(guest_leaves_when_something_is_left),
    DMA_TEST_CASE(no_copy_by_cpu_when_something_is_left),
    DMA_TEST_CASE(what_is_left_for_ever),
    DMA_TEST_CASE(refused_goes_by_cpu),
    DMA_TEST_CASE(pmd_meets_pmd),
    DMA_TEST_CASE(pmd_meets_pmd_by_cpu),
    DMA_TEST_CASE(pmd_meets_main),
    DMA_TEST_CASE(pmd_meets_main_by_cpu),
    DMA_TEST_CASE(pmd_meets_two),
    DMA_TEST_CASE(main_meets_pmd),
    DMA_TEST_CASE(main_meets_two),
    DMA_TEST_CASE(drainer_sends_for_others),
    DMA_TEST_CASE(full_txq_ring),
    DMA_TEST_CASE(packets_wait_for_the_guest),
    DMA_TEST_CASE(nobody_overtakes_what_waits),
    DMA_TEST_CASE(reload_gives_up_what_cannot_be_sent),
    DMA_TEST_CASE(guest_leaves_with_packets_in_the_ring),
    DMA_TEST_CASE(no_pmd_gives_up_what_cannot_be_sent),
    DMA_TEST_CASE(ring_of_a_queue_that_comes_later),
    DMA_TEST_CASE(no_memory_for_a_ring),
    DMA_TEST_CASE(no_memory_for_a_ring_of_a_guest_anywhere),
    DMA_TEST_CASE(memory_of_rings),
    DMA_TEST_CASE(packets_behind_a_failed_engine),
    DMA_TEST_CASE(sleep_when_packets_wait),
    DMA_TEST_CASE(poll_hands_back_the_packets_of_others),
    DMA_TEST_CASE(head_on_another_channel),
    DMA_TEST_CASE(slow_txq_delays_no_other),
    DMA_TEST_CASE(pair_is_polled_once_however_many_bursts),
    DMA_TEST_CASE(poll_goes_on_for_big_packets),
    DMA_TEST_CASE(vchans_of_a_device),
    DMA_TEST_CASE(busy_ring_is_polled_again),
    DMA_TEST_CASE(counters_wrap),
    DMA_TEST_CASE(guest_leaves_with_copies_in_flight),
    DMA_TEST_CASE(unset_vid_is_not_touched),
    DMA_TEST_CASE(old_work_does_not_reach_the_next_guest),
    DMA_TEST_CASE(next_guest_has_a_larger_ring),
    DMA_TEST_CASE(guest_stops_and_starts),
    DMA_TEST_CASE(guest_returns_after_a_failure),
    DMA_TEST_CASE(memory_goes_only_when_nothing_is_in_flight),
    DMA_TEST_CASE(message_without_locks_is_let_through),
    DMA_TEST_CASE(guest_offers_more_than_its_ring),
    DMA_TEST_CASE(bad_message_is_refused),
    DMA_TEST_CASE(one_guest_at_a_time),
    DMA_TEST_CASE(option_off_and_on_again),
    DMA_TEST_CASE(option_off_while_a_guest_leaves),
    DMA_TEST_CASE(migration),
    DMA_TEST_CASE(migration_of_two),
    DMA_TEST_CASE(migration_of_a_port_on_cpu),
    DMA_TEST_CASE(migration_and_the_guest_is_gone),
    DMA_TEST_CASE(migration_without_a_driver),
    DMA_TEST_CASE(migration_takes_too_long),
    DMA_TEST_CASE(migration_and_the_port_is_removed),
    DMA_TEST_CASE(migration_is_refused),
    DMA_TEST_CASE(migration_in_server_mode),
    DMA_TEST_CASE(reload_leaves_nothing_queued),
    DMA_TEST_CASE(channel_moves_with_the_map),
    DMA_TEST_CASE(thread_that_ends_gives_its_channel_back),
    DMA_TEST_CASE(reload_behind_a_late_thread),
    DMA_TEST_CASE(reload_behind_a_slow_engine),
    DMA_TEST_CASE(hung_engine_is_quarantined),
    DMA_TEST_CASE(timeout_short),
    DMA_TEST_CASE(timeout_long),
    DMA_TEST_CASE(timeout_of_no_use),
    DMA_TEST_CASE(timeout_of_drain),
    DMA_TEST_CASE(hung_engine_without_statistics),
    DMA_TEST_CASE(hung_engine_that_shows_no_more_than_a_batch),
    DMA_TEST_CASE(guest_leaves_a_hung_engine),
    DMA_TEST_CASE(guest_leaves_a_hung_engine_without_statistics),
    DMA_TEST_CASE(guest_leaves_slow_engines),
    DMA_TEST_CASE(guest_leaves_when_its_thread_is_preempted),
    DMA_TEST_CASE(guest_leaves_while_a_thread_is_stuck),
    DMA_TEST_CASE(message_is_refused_if_the_engine_hangs),
    DMA_TEST_CASE(hung_engine_takes_no_other_along),
    DMA_TEST_CASE(sparse_traffic_is_no_failure),
    DMA_TEST_CASE(work_behind_a_hung_head_is_no_failure),
    DMA_TEST_CASE(late_thread_is_no_failure),
    DMA_TEST_CASE(reload_with_a_failed_channel),
    DMA_TEST_CASE(failure_that_another_thread_noticed),
    DMA_TEST_CASE(busy_engine_beside_a_failed_one),
    DMA_TEST_CASE(working_engine_beside_a_failed_one),
    DMA_TEST_CASE(much_to_reap_beside_a_failed_one),
    DMA_TEST_CASE(message_behind_a_failed_engine),
    DMA_TEST_CASE(message_when_a_queue_cannot_be_cleared),
    DMA_TEST_CASE(something_is_left_on_a_failed_engine),
    DMA_TEST_CASE(engine_is_too_slow),
    DMA_TEST_CASE(slow_engine_beside_a_hung_one),
    DMA_TEST_CASE(engine_hangs_in_a_reload),
    DMA_TEST_CASE(discovery),
    DMA_TEST_CASE(virtual_addresses_only),
    DMA_TEST_CASE(device_that_does_not_start),
    DMA_TEST_CASE(small_and_odd_rings),
    DMA_TEST_CASE(device_without_properties),
    DMA_TEST_CASE(device_without_properties_later),
    DMA_TEST_CASE(device_that_cannot_be_configured),
    DMA_TEST_CASE(device_that_sets_up_no_vchan),
    DMA_TEST_CASE(device_that_vhost_does_not_take),
    DMA_TEST_CASE(device_that_does_not_stop),
    DMA_TEST_CASE(failed_device_is_not_started_again),
    DMA_TEST_CASE(more_vchans_than_channels),
    DMA_TEST_CASE(thread_without_a_numa_node),
    DMA_TEST_CASE(thread_that_polls_no_rxq),
    DMA_TEST_CASE(reload_while_a_guest_leaves),
    DMA_TEST_CASE(cycles_are_charged_once),
    DMA_TEST_CASE(without_dpdk),
    DMA_TEST_CASE(bad_support_is_off),
    DMA_TEST_CASE(bad_pins_are_ignored),
    DMA_TEST_CASE(pins_when_off),
    DMA_TEST_CASE(bad_timeout_is_the_default),
    DMA_TEST_CASE(override_of_a_port),
    DMA_TEST_CASE(no_dma_with_iommu),
    DMA_TEST_CASE(no_dma_with_postcopy),
    DMA_TEST_CASE(server_waits_for_its_guest),
    DMA_TEST_CASE(server_of_a_stuck_txq_does_not_wait),
    DMA_TEST_CASE(reconfiguration_while_a_guest_leaves),
    DMA_TEST_CASE(port_goes_while_its_guest_leaves),
    DMA_TEST_CASE(main_takes_a_port_from_a_hung_engine),
    DMA_TEST_CASE(port_that_is_never_registered),
    DMA_TEST_CASE(port_that_could_not_be_registered),
    DMA_TEST_CASE(messages_that_cannot_be_watched),
    DMA_TEST_CASE(queues_that_are_not_there),
    DMA_TEST_CASE(queue_that_cannot_be_unregistered),
    DMA_TEST_CASE(queue_is_set_up_anew_under_a_sender),
    DMA_TEST_CASE(refused_message_with_files),
    DMA_TEST_CASE(second_guest_of_a_port),
    DMA_TEST_CASE(migration_waits_for_the_device),
    DMA_TEST_CASE(dma_show),
    DMA_TEST_CASE(dma_show_of_some),
    DMA_TEST_CASE(dma_show_when_off),
    DMA_TEST_CASE(dma_show_of_drops),
    DMA_TEST_CASE(dma_show_of_a_failure),
    DMA_TEST_CASE(statistics_of_a_port),
    DMA_TEST_CASE(random),
};

static void
test_vhost_async_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-async", test_vhost_async_main);
