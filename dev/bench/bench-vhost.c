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

/* Measures what sending to a vhost port costs a PMD thread.
 *
 * One process is the switch and the guest.  It opens vhost ports of the
 * libopenvswitch that it is linked with, and plays the guest at the other ends
 * of their sockets.  One thread plays PMD: it sends bursts, reaps as the main
 * loop of dpif-netdev.c does, and counts the cycles of both.  The guest's
 * share of the work, making room in its virtqueues, is done between rounds,
 * off the clock, so that no virtqueue is ever full and nothing is dropped.
 *
 * A round: packets are made; then, in each iteration, the thread is busy with
 * something else for the time that receiving and classifying a burst takes
 * (off the clock), sends the burst and reaps (on the clock); when all is sent
 * it goes on without bursts until everything came back (on the clock, too).
 * Then the guest looks at what arrived.
 *
 * Cycles are counted as dpif-netdev.c does: an iteration that sends or reaps
 * is busy.  One that neither had something to send nor found something to reap
 * is idle, as one is that finds its rxqs empty; its cycles are told, too, as
 * "idle".
 *
 * dev.bench runs this, one process per variant.  A process reads commands,
 * a line each, and answers each with a line of JSON.  See main_loop(). */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <x86intrin.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include "dp-packet.h"
#include "dpdk.h"
#include "netdev-provider.h"
#include "netdev.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "packets.h"
#include "smap.h"
#include "userspace-tso.h"
#include "util.h"

#ifdef VHOST_ASYNC
#include "dpif-netdev-dma.h"
#include "dpif-netdev-perf.h"
#include "netdev-dpdk-async.h"
#include "vhost-async-engine.h"
#include "vhost-async-txq.h"
#endif

#define MAX_PORTS 512
#define MAX_PAIRS 128
#define MAX_BURST NETDEV_MAX_BURST
#define MAX_ROUND 1024

/* Mbufs that wait their turn when packets are to be out of the cache, at
 * most, and bytes of packets among which they are. */
#define COLD_MAX 8192
#define COLD_BYTES (48u << 20)

/* Bytes of packets per round that are to stay in the L2 cache. */
#define WARM_BYTES (512u << 10)

/* A poll that takes this long is a failure, in seconds. */
#define PATIENCE 10

/* What differs between builds: stock OVS has nothing to reap. */

static unsigned int bench_core;

#ifdef VHOST_ASYNC
static struct pmd_perf_stats perf;
static uint64_t sleep_time;

static void
async_configure(const struct smap *other_config)
{
    dpif_netdev_dma_set_config(other_config);
    while (dpif_netdev_dma_wants_reload()) {
        /* There are no PMD threads yet. */
    }
}

static void
async_attach(void)
{
    pmd_perf_stats_init(&perf);
    dpif_netdev_dma_attach("bench", bench_core, 0, 1);
}

static bool
async_has_channel(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();

    return self && self->sender.chan;
}

/* The hooks in the main loop of a PMD thread. */
static inline void
async_after_send(void)
{
    dpif_netdev_dma_take_cycles();
}

static inline unsigned int
async_reap(void)
{
    return dpif_netdev_dma_run(&perf, &sleep_time);
}

/* Whether something came back since this was asked last. */
static inline bool
async_came_back(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();
    static uint64_t last;
    uint64_t now = self ? vhost_async_counter(&self->stats.reaped) : 0;
    bool changed = now != last;

    last = now;
    return changed;
}

static bool
async_is_busy(void)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();

    return self && vhost_async_thread_is_busy(self);
}

struct async_counters {
    uint64_t dma_packets, cpu_packets, polls, empty_polls, bursts;
};

static void
async_get_counters(struct async_counters *c)
{
    const struct vhost_async_thread *self = *vhost_async_self_get();

    memset(c, 0, sizeof *c);
    if (self) {
        c->dma_packets = vhost_async_counter(&self->sender.dma_packets);
        c->cpu_packets = vhost_async_counter(&self->sender.cpu_packets);
        c->polls = vhost_async_counter(&self->stats.polls);
        c->empty_polls = vhost_async_counter(&self->stats.empty_polls);
        c->bursts = vhost_async_counter(&self->sender.bursts);
    }
}
#define BUILD VHOST_ASYNC_ENGINE
#else /* !VHOST_ASYNC */
#define async_configure(OTHER_CONFIG) ((void) (OTHER_CONFIG))
#define async_attach() ((void) 0)
#define async_has_channel() false
#define async_after_send() ((void) 0)
#define async_came_back() false
#define async_is_busy() false
struct async_counters {
    uint64_t dma_packets, cpu_packets, polls, empty_polls, bursts;
};
#define async_get_counters(C) memset(C, 0, sizeof *(C))
#define BUILD "none"

static inline unsigned int
async_reap(void)
{
    return 0;
}
#endif /* !VHOST_ASYNC */

static void OVS_NO_RETURN OVS_PRINTF_FORMAT(1, 2)
fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "bench-vhost: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(1);
}

/* Waits for what came before, and what follows waits for it. */
static inline uint64_t
clock_read(void)
{
    uint64_t tsc;

    _mm_lfence();
    tsc = __rdtsc();
    _mm_lfence();
    return tsc;
}

/* The cost of reading the clock, which is in each interval. */
static uint64_t clock_cost;

static void
clock_calibrate(void)
{
    clock_cost = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t start = clock_read();

        clock_cost = MIN(clock_cost, clock_read() - start);
    }
}

static uint64_t
deadline(void)
{
    return rte_get_tsc_cycles() + PATIENCE * rte_get_tsc_hz();
}

/* The guest: a virtio-net driver with mergeable receive buffers, which polls
 * as DPDK's does.  It shares its memory with the switch through a file, and
 * its physical addresses are offsets in there. */

#define HDR_LEN sizeof(struct virtio_net_hdr_mrg_rxbuf)

/* So that no page is at the address 0. */
#define GUEST_BASE (UINT64_C(1) << 30)

/* Headroom before the packet, in which the virtio header is. */
#define GUEST_HEADROOM 128

struct guest_rxq {
    struct vring vring;
    uint8_t *bufs;
    uint32_t stride;            /* Bytes from one buffer to the next. */
    uint32_t offset;            /* Of what the switch may write to in it. */
    uint32_t buf_len;           /* Number of these bytes. */
    uint16_t used;              /* Index of the next used buffer. */
};

struct guest {
    int fd;                     /* The connection. */
    int mem_fd;
    uint8_t *mem;
    size_t size;
    size_t n_used;              /* Bytes of 'mem'. */
    struct guest_rxq rxqs[MAX_PAIRS];
};

static void *
guest_alloc(struct guest *g, size_t size, size_t align)
{
    void *p;

    g->n_used = ROUND_UP(g->n_used, align);
    p = g->mem + g->n_used;
    g->n_used += size;
    if (g->n_used > g->size) {
        fail("the guest has too little memory");
    }
    return p;
}

static uint64_t
guest_address(const struct guest *g, const void *p)
{
    return GUEST_BASE + ((const uint8_t *) p - g->mem);
}

static void
guest_init_memory(struct guest *g, size_t size, bool huge)
{
    g->size = ROUND_UP(size, 2u << 20);
    g->mem_fd = memfd_create("guest", huge ? MFD_HUGETLB : 0);
    if (g->mem_fd < 0 || ftruncate(g->mem_fd, g->size)) {
        fail("memory for a guest: %s", ovs_strerror(errno));
    }
    g->mem = mmap(NULL, g->size, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_POPULATE, g->mem_fd, 0);
    if (g->mem == MAP_FAILED) {
        fail("memory for a guest: %s", ovs_strerror(errno));
    }
}

static void
guest_init_vring(struct guest *g, struct vring *vring, unsigned int n)
{
    vring_init(vring, n, guest_alloc(g, vring_size(n, 4096), 4096), 4096);
    vring->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
}

/* Offers buffer 'id' at place 'idx' of the available ring. */
static void
guest_offer(struct guest_rxq *q, uint16_t idx, uint16_t id)
{
    q->vring.avail->ring[idx & (q->vring.num - 1)] = id;
}

static void
guest_publish(struct guest_rxq *q, uint16_t idx)
{
    atomic_thread_fence(memory_order_release);
    *(volatile uint16_t *) &q->vring.avail->idx = idx;
}

static void
guest_init_rxq(struct guest *g, struct guest_rxq *q, unsigned int n,
               unsigned int buf_len, unsigned int stride)
{
    guest_init_vring(g, &q->vring, n);
    q->stride = stride;
    q->offset = stride > buf_len ? GUEST_HEADROOM - HDR_LEN : 0;
    q->buf_len = buf_len;
    q->bufs = guest_alloc(g, (size_t) n * q->stride, 4096);
    for (int i = 0; i < n; i++) {
        q->vring.desc[i].addr
            = guest_address(g, q->bufs + i * q->stride + q->offset);
        q->vring.desc[i].len = q->buf_len;
        q->vring.desc[i].flags = VRING_DESC_F_WRITE;
        guest_offer(q, i, i);
    }
    guest_publish(q, n);
}

static uint16_t
guest_n_used(const struct guest_rxq *q)
{
    return *(volatile uint16_t *) &q->vring.used->idx - q->used;
}

/* The byte at 'ofs' of packet 'seq', behind the headers. */
static inline uint8_t
pattern(uint32_t seq, uint32_t ofs)
{
    return seq * 131 + ofs * 7 + (ofs >> 8) * 13;
}

#define HEADERS_LEN (ETH_HEADER_LEN + IP_HEADER_LEN + TCP_HEADER_LEN)

/* Takes one packet out of the used ring and offers its buffers anew.  Checks
 * that it is 'size' long and, if 'seq', that it is packet '*seq'.  Returns
 * false if there is none. */
static bool
guest_receive(struct guest_rxq *q, uint32_t size, const uint32_t *seq)
{
    uint16_t mask = q->vring.num - 1, n = 1;
    uint32_t ofs = 0;

    if (!guest_n_used(q)) {
        return false;
    }
    atomic_thread_fence(memory_order_acquire);
    for (uint16_t i = 0; i < n; i++) {
        const struct vring_used_elem *e
            = &q->vring.used->ring[q->used & mask];
        const uint8_t *p = q->bufs + e->id * q->stride + q->offset;
        uint32_t len = e->len;

        if (!guest_n_used(q) || e->len > q->buf_len) {
            fail("the used ring is wrong");
        }
        if (!i) {
            n = ALIGNED_CAST(const struct virtio_net_hdr_mrg_rxbuf *,
                             p)->num_buffers;
            p += HDR_LEN;
            len -= HDR_LEN;
        }
        for (uint32_t j = 0; seq && j < len; j++) {
            if (ofs + j >= HEADERS_LEN && p[j] != pattern(*seq, ofs + j)) {
                fail("packet %u of %u bytes is wrong at byte %u", *seq, size,
                     ofs + j);
            }
        }
        ofs += len;
        guest_offer(q, q->used, e->id);
        q->used++;
    }
    if (ofs != size) {
        fail("a packet of %u bytes arrived with %u", size, ofs);
    }
    guest_publish(q, q->used + q->vring.num);
    return true;
}

/* The guest's side of the vhost-user protocol. */

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
};

#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define PROTOCOL_F_MQ (UINT64_C(1) << 0)
#define PROTOCOL_F_REPLY_ACK (UINT64_C(1) << 3)
#define MSG_VERSION 1
#define MSG_NEED_REPLY (1 << 3)

struct msg {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct {
            uint32_t index, num;
        } state;
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } addr;
        struct {
            uint32_t n, padding;
            uint64_t gpa, size, va, offset;
        } mem;
    };
} __attribute__((packed));

#define MSG_HDR_SIZE offsetof(struct msg, u64)

/* Sends '*msg', with the file 'fd' if it is not negative, and waits for the
 * reply.  Returns what it says. */
static uint64_t
guest_say(struct guest *g, struct msg *msg, int fd, bool is_question)
{
    char control[CMSG_SPACE(sizeof fd)] = { 0 };
    struct iovec iov = { msg, MSG_HDR_SIZE + msg->size };
    struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };

    msg->flags = MSG_VERSION | (is_question ? 0 : MSG_NEED_REPLY);
    if (fd >= 0) {
        struct cmsghdr *cmsg;

        hdr.msg_control = control;
        hdr.msg_controllen = sizeof control;
        cmsg = CMSG_FIRSTHDR(&hdr);
        cmsg->cmsg_len = CMSG_LEN(sizeof fd);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    }
    if (sendmsg(g->fd, &hdr, 0) != iov.iov_len
        || recv(g->fd, msg, MSG_HDR_SIZE + 8, MSG_WAITALL)
           != MSG_HDR_SIZE + 8) {
        fail("vhost-user message %u: %s", msg->request, ovs_strerror(errno));
    }
    if (!is_question && msg->u64) {
        fail("vhost-user message %u was refused", msg->request);
    }
    return msg->u64;
}

static uint64_t
guest_ask(struct guest *g, uint32_t request)
{
    struct msg msg = { .request = request };

    return guest_say(g, &msg, -1, true);
}

static void
guest_set(struct guest *g, uint32_t request, uint64_t value)
{
    struct msg msg = { .request = request, .size = 8, .u64 = value };

    guest_say(g, &msg, -1, false);
}

static void
guest_set_state(struct guest *g, uint32_t request, uint32_t index,
                uint32_t num)
{
    struct msg msg = { .request = request, .size = 8,
                       .state = { .index = index, .num = num } };

    guest_say(g, &msg, -1, false);
}

static void
guest_set_event(struct guest *g, uint32_t request, uint32_t index)
{
    struct msg msg = { .request = request, .size = 8, .u64 = index };
    int fd = eventfd(0, EFD_NONBLOCK);

    guest_say(g, &msg, fd, false);
    close(fd);
}

static void
guest_set_vring(struct guest *g, uint32_t index, const struct vring *vring)
{
    uint64_t va = (uintptr_t) g->mem;
    struct msg msg = {
        .request = SET_VRING_ADDR,
        .size = sizeof msg.addr,
        .addr = {
            .index = index,
            .desc = va + ((uint8_t *) vring->desc - g->mem),
            .used = va + ((uint8_t *) vring->used - g->mem),
            .avail = va + ((uint8_t *) vring->avail - g->mem),
        },
    };

    guest_set_state(g, SET_VRING_NUM, index, vring->num);
    guest_set_state(g, SET_VRING_BASE, index, 0);
    guest_say(g, &msg, -1, false);
    guest_set_event(g, SET_VRING_CALL, index);
    guest_set_event(g, SET_VRING_KICK, index);
}

/* Offers all that the guest wants of what the switch offers, and sets up
 * 'n_pairs' pairs of virtqueues. */
static void
guest_connect(struct guest *g, unsigned int n_pairs, bool tso)
{
    uint64_t wanted = (F_VERSION_1 | F_PROTOCOL_FEATURES
                       | 1u << VIRTIO_NET_F_MRG_RXBUF | 1u << VIRTIO_NET_F_MQ);
    struct msg mem = {
        .request = SET_MEM_TABLE,
        .size = sizeof mem.mem,
        .mem = {
            .n = 1, .gpa = GUEST_BASE, .size = g->size,
            .va = (uintptr_t) g->mem,
        },
    };
    uint64_t features, protocol;

    if (tso) {
        wanted |= (1u << VIRTIO_NET_F_GUEST_CSUM
                   | 1u << VIRTIO_NET_F_GUEST_TSO4);
    }
    features = guest_ask(g, GET_FEATURES) & wanted;
    if (!(features & 1u << VIRTIO_NET_F_MRG_RXBUF)
        || (tso && !(features & 1u << VIRTIO_NET_F_GUEST_TSO4))) {
        fail("the switch does not offer what is to be measured, but %"PRIx64,
             features);
    }
    protocol = PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK;
    if ((guest_ask(g, GET_PROTOCOL_FEATURES) & protocol) != protocol) {
        fail("the switch does not reply to messages");
    }
    /* Until REPLY_ACK is set there are no replies to wait for. */
    struct msg msg = { .request = SET_PROTOCOL_FEATURES, .flags = MSG_VERSION,
                       .size = 8, .u64 = protocol };
    if (send(g->fd, &msg, MSG_HDR_SIZE + 8, 0) != MSG_HDR_SIZE + 8) {
        fail("cannot send to the switch");
    }
    guest_ask(g, GET_PROTOCOL_FEATURES);
    msg = (struct msg) { .request = SET_OWNER };
    guest_say(g, &msg, -1, false);
    guest_set(g, SET_FEATURES, features);
    guest_say(g, &mem, g->mem_fd, false);
    for (int i = 0; i < n_pairs; i++) {
        struct vring tx;

        guest_init_vring(g, &tx, 16);
        guest_set_vring(g, 2 * i, &g->rxqs[i].vring);
        guest_set_vring(g, 2 * i + 1, &tx);
    }
    for (int i = 0; i < 2 * n_pairs; i++) {
        guest_set_state(g, SET_VRING_ENABLE, i, 1);
    }
}

/* The switch. */

struct port {
    struct netdev *netdev;
    struct guest guest;
};

static struct port *ports;
static unsigned int n_ports = 1;
static unsigned int n_pairs = 1;
static unsigned int ring_size = 1024;
static unsigned int guest_buf_len;
static bool use_tso, use_huge = true;
static const char *dir = "/tmp";

static void
port_reconfigure(struct port *p)
{
    while (netdev_is_reconf_required(p->netdev)) {
        int err = netdev_reconfigure(p->netdev);

        if (err && err != EOPNOTSUPP) {
            fail("cannot configure a port: %s", ovs_strerror(err));
        }
    }
}

static void
port_open(struct port *p, unsigned int number, unsigned int mtu)
{
    char *name = xasprintf("bench%d-%u", (int) getpid(), number);
    char *path = xasprintf("%s/%s.sock", dir, name);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct smap args = SMAP_INITIALIZER(&args);
    struct netdev_saved_flags *sf;
    int fd, err;

    ovs_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(path);
    if (bind(fd, (struct sockaddr *) &addr, sizeof addr) || listen(fd, 1)) {
        fail("%s: %s", path, ovs_strerror(errno));
    }

    smap_add(&args, "vhost-server-path", path);
    err = netdev_open(name, "dpdkvhostuserclient", &p->netdev);
    if (!err) {
        netdev_set_mtu(p->netdev, mtu);
        err = netdev_set_config(p->netdev, &args, NULL);
    }
    if (err) {
        fail("cannot open a port: %s", ovs_strerror(err));
    }
    port_reconfigure(p);

    p->guest.fd = accept(fd, NULL, NULL);
    close(fd);
    unlink(path);
    guest_connect(&p->guest, n_pairs, use_tso);

    for (int i = 0; !netdev_get_carrier(p->netdev)
                    || netdev_n_txq(p->netdev) < n_pairs; i++) {
        if (i == 3000) {
            fail("a port does not come up");
        }
        port_reconfigure(p);
        usleep(1000);
    }
    netdev_turn_flags_on(p->netdev, NETDEV_UP, &sf);
    port_reconfigure(p);
    smap_destroy(&args);
    free(path);
    free(name);
}

static void
ports_open(void)
{
    /* A guest with DPDK has buffers of 2 KiB; Linux, which is the one to
     * receive packets of 64 KiB, makes them of a page. */
    unsigned int buf_len = use_tso ? 4096 : 2048 + HDR_LEN;
    unsigned int stride = use_tso ? 4096 : 2048 + 2 * GUEST_HEADROOM;
    size_t size;

    if (guest_buf_len) {
        buf_len = guest_buf_len + HDR_LEN;
        stride = ROUND_UP(guest_buf_len + 2 * GUEST_HEADROOM, 64);
    }
    size = n_pairs * ((size_t) ring_size * (stride + 32) + (32 << 10));

    ports = xcalloc(n_ports, sizeof *ports);
    for (int i = 0; i < n_ports; i++) {
        struct guest *g = &ports[i].guest;

        guest_init_memory(g, size, use_huge);
        for (int j = 0; j < n_pairs; j++) {
            guest_init_rxq(g, &g->rxqs[j], ring_size, buf_len, stride);
        }
        port_open(&ports[i], i, 9000);
    }
}

/* Packets. */

struct pool {
    struct rte_mempool *mp;
    unsigned int room;
};

static struct pool pools[3];

/* Packets that wait to get cold, first in, first out. */
static struct rte_mbuf *cold[COLD_MAX];
static unsigned int cold_size, cold_n, cold_head;
static uint32_t cold_len;

static void
init_mbuf(struct rte_mempool *mp OVS_UNUSED, void *arg OVS_UNUSED, void *mbuf,
          unsigned int i OVS_UNUSED)
{
    dp_packet_init_dpdk((struct dp_packet *) mbuf);
}

static void
pool_create(struct pool *pool, const char *name, unsigned int n,
            unsigned int room)
{
    pool->room = room;
    /* As dpdk_mp_create() does. */
    pool->mp = rte_pktmbuf_pool_create(
        name, n, RTE_MEMPOOL_CACHE_MAX_SIZE,
        sizeof(struct dp_packet) - sizeof(struct rte_mbuf),
        room ? room + RTE_PKTMBUF_HEADROOM : 0, 0);
    if (!pool->mp) {
        fail("no memory for packets: %s", rte_strerror(rte_errno));
    }
    rte_mempool_obj_iter(pool->mp, init_mbuf, NULL);
}

static void
free_extbuf(void *addr OVS_UNUSED, void *buf)
{
    rte_free(buf);
}

/* A packet that does not fit into mbufs has its bytes elsewhere, as the vhost
 * library does it for OVS when a guest sends 64 KiB. */
static void
attach_extbuf(struct rte_mbuf *mbuf, uint32_t size)
{
    uint32_t total = size + RTE_PKTMBUF_HEADROOM
                     + sizeof(struct rte_mbuf_ext_shared_info)
                     + sizeof(uintptr_t);
    uint16_t len = MIN(total, UINT16_MAX);
    struct rte_mbuf_ext_shared_info *shinfo;
    void *buf;

    if (total > UINT16_MAX) {
        fail("a packet of %u bytes is too long", size);
    }
    buf = rte_malloc(NULL, len, RTE_CACHE_LINE_SIZE);
    if (!buf) {
        fail("no memory for packets");
    }
    shinfo = rte_pktmbuf_ext_shinfo_init_helper(buf, &len, free_extbuf, buf);
    rte_pktmbuf_attach_extbuf(mbuf, buf, rte_malloc_virt2iova(buf), len,
                              shinfo);
    rte_pktmbuf_reset_headroom(mbuf);
}

static struct rte_mbuf *
alloc_mbuf(uint32_t size)
{
    struct pool *pool = &pools[0];
    struct rte_mbuf *mbuf;

    while (pool->room && size > pool->room) {
        pool++;
    }
    mbuf = rte_pktmbuf_alloc(pool->mp);
    if (!mbuf) {
        fail("no packets left");
    }
    if (!pool->room) {
        attach_extbuf(mbuf, size);
    }
    return mbuf;
}

/* What receiving and classifying a packet leaves: the first bytes were looked
 * at, and metadata were written. */
static void
fill_headers(struct rte_mbuf *mbuf, uint32_t size)
{
    struct dp_packet *packet = CONTAINER_OF(mbuf, struct dp_packet, mbuf);
    uint8_t *p = rte_pktmbuf_mtod(mbuf, uint8_t *);

    mbuf->data_len = mbuf->pkt_len = size;
    mbuf->ol_flags &= RTE_MBUF_F_EXTERNAL;
    memset(p, 0, HEADERS_LEN);
    dp_packet_reset_offsets(packet);
    dp_packet_set_l3(packet, p + ETH_HEADER_LEN);
    dp_packet_set_l4(packet, p + ETH_HEADER_LEN + IP_HEADER_LEN);
    ((struct eth_header *) dp_packet_eth(packet))->eth_type
        = htons(ETH_TYPE_IP);
    ((struct ip_header *) dp_packet_l3(packet))->ip_ihl_ver = 0x45;
    if (use_tso) {
        struct tcp_header *tcp = dp_packet_l4(packet);

        tcp->tcp_ctl = TCP_CTL(0, TCP_HEADER_LEN / 4);
        mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4
                          | RTE_MBUF_F_TX_TCP_CKSUM;
    }
}

static void
cold_flush(void)
{
    while (cold_n) {
        rte_pktmbuf_free(cold[cold_head++ % cold_size]);
        cold_n--;
    }
}

/* Returns a packet of 'size' bytes, whose bytes but for the headers are in no
 * cache of the core if 'is_cold'. */
static struct rte_mbuf *
make_packet(uint32_t size, bool is_cold)
{
    struct rte_mbuf *mbuf = alloc_mbuf(size);

    if (is_cold) {
        if (cold_len != size) {
            cold_flush();
            cold_len = size;
            cold_head = 0;
            cold_size = MIN(MAX(COLD_BYTES / size, 512),
                            size > 2048 ? COLD_MAX / 2 : COLD_MAX);
        }
        while (cold_n < cold_size) {
            cold[(cold_head + cold_n++) % cold_size] = mbuf;
            mbuf = alloc_mbuf(size);
        }
        struct rte_mbuf *next = cold[cold_head % cold_size];

        cold[cold_head++ % cold_size] = mbuf;
        mbuf = next;
    }
    fill_headers(mbuf, size);
    return mbuf;
}

/* Measuring. */

struct params {
    unsigned int size, burst, rounds, work, spread, n, gap;
    bool is_cold;
    int threshold;              /* Bytes, -1 for the default. */
};

/* The txqs that a measurement uses, in turn. */
static struct guest_rxq *
nth_txq(unsigned int i, struct port **port, int *qid)
{
    *port = &ports[i / n_pairs];
    *qid = i % n_pairs;
    return (*port)->guest.rxqs + *qid;
}

static struct dp_packet_batch batch;

static inline void
batch_init(struct rte_mbuf **mbufs, unsigned int n)
{
    dp_packet_batch_init(&batch);
    for (int i = 0; i < n; i++) {
        batch.packets[i] = CONTAINER_OF(mbufs[i], struct dp_packet, mbuf);
    }
    batch.count = n;
}

static inline void
send_batch(struct port *port, int qid)
{
    netdev_send(port->netdev, qid, &batch, false);
    async_after_send();
}

static inline void
be_busy(uint64_t since, unsigned int cycles)
{
    while (__rdtsc() - since < cycles) {
        _mm_pause();
    }
}

static void
drain_uncounted(void)
{
    uint64_t end = deadline();

    while (async_is_busy()) {
        async_reap();
        if (rte_get_tsc_cycles() > end) {
            fail("copies do not complete");
        }
    }
}

/* Sends packets and looks whether they arrive, byte by byte if 'contents'. */
static void
check_arrival(const struct params *p, bool contents)
{
    struct rte_mbuf *mbufs[MAX_BURST];

    for (uint32_t k = 0; k < MAX(p->spread, 3); k++) {
        struct guest_rxq *q;
        struct port *port;
        int qid;

        q = nth_txq(k % p->spread, &port, &qid);
        for (uint32_t i = 0; i < p->burst; i++) {
            uint8_t *data;

            mbufs[i] = make_packet(p->size, p->is_cold);
            data = rte_pktmbuf_mtod(mbufs[i], uint8_t *);
            for (uint32_t j = HEADERS_LEN; j < p->size; j++) {
                data[j] = pattern(k + i, j);
            }
        }
        batch_init(mbufs, p->burst);
        send_batch(port, qid);
        drain_uncounted();
        for (uint32_t i = 0; i < p->burst; i++) {
            uint32_t seq = k + i;

            if (!guest_receive(q, p->size, contents ? &seq : NULL)) {
                fail("packet %u of %u of %u bytes did not arrive", i,
                     p->burst, p->size);
            }
        }
    }
}

/* Waits until each txq is one of its own: those that OVS does not know yet to
 * be enabled, it maps to others. */
static void
await_txqs(void)
{
    uint64_t end = deadline();

    for (unsigned int i = 0; i < n_ports * n_pairs; i++) {
        struct guest_rxq *q;
        struct port *port;
        bool found;
        int qid;

        q = nth_txq(i, &port, &qid);
        do {
            struct rte_mbuf *mbuf = make_packet(64, false);

            batch_init(&mbuf, 1);
            send_batch(port, qid);
            drain_uncounted();
            found = guest_receive(q, 64, NULL);
            for (int j = 0; j < n_pairs && !found; j++) {
                guest_receive(&port->guest.rxqs[j], 64, NULL);
            }
            ovsrcu_quiesce();
            if (rte_get_tsc_cycles() > end) {
                fail("txq %d of a port does not come up", qid);
            }
        } while (!found);
    }
}

/* Number of packets to send in a round, such that there is room for all in
 * the virtqueues. */
static unsigned int
packets_per_round(const struct params *p)
{
    const struct guest_rxq *q = &ports[0].guest.rxqs[0];
    unsigned int buffers = DIV_ROUND_UP(p->size + HDR_LEN, q->buf_len);
    unsigned int n = MIN(ring_size / buffers * p->spread, MAX_ROUND);

    n = MIN(n, 256 * p->spread);
    if (!p->is_cold) {
        n = MIN(n, MAX(WARM_BYTES / p->size, p->burst));
    }
    n -= n % p->burst;
    if (!n) {
        fail("the virtqueues are too short for %u packets of %u bytes",
             p->burst, p->size);
    }
    return n;
}

/* Returns the busy cycles of a round, and in '*idle' the idle ones. */
static uint64_t
run_round(const struct params *p, unsigned int total, uint64_t *idle)
{
    static struct rte_mbuf *mbufs[MAX_ROUND];
    unsigned int work = p->work * p->burst;
    uint64_t cycles = 0, start, stop = 0, end;
    struct guest_rxq *q;
    struct port *port;
    int qid;

    for (int i = 0; i < total; i++) {
        mbufs[i] = make_packet(p->size, p->is_cold);
    }
    *idle = 0;
    end = deadline();
    for (unsigned int i = 0, k = 0; i < total; i += p->burst, k++) {
        stop = __rdtsc();
        nth_txq(k % p->spread, &port, &qid);
        batch_init(&mbufs[i], p->burst);
        be_busy(stop, work);

        start = clock_read();
        send_batch(port, qid);
        async_reap();
        stop = clock_read();
        cycles += stop - start - clock_cost;
    }
    async_came_back();
    for (unsigned int k = 0; async_is_busy(); k++) {
        nth_txq(k % p->spread, &port, &qid);
        be_busy(stop, work);

        start = clock_read();
        async_reap();
        stop = clock_read();
        *(async_came_back() ? &cycles : idle) += stop - start - clock_cost;
        if (stop > end) {
            fail("copies do not complete");
        }
    }

    for (unsigned int i = 0, k = 0; i < total; k++) {
        q = nth_txq(k % p->spread, &port, &qid);
        for (int j = 0; j < p->burst; j++, i++) {
            if (!guest_receive(q, p->size, NULL)) {
                fail("packet %u of %u of %u bytes did not arrive", i, total,
                     p->size);
            }
        }
    }
    ovsrcu_quiesce();
    return cycles;
}

static int
compare_doubles(const void *a_, const void *b_)
{
    const double *a = a_, *b = b_;

    return *a < *b ? -1 : *a > *b;
}

static double
quantile(const double *sorted, unsigned int n, double q)
{
    return sorted[MIN((unsigned int) (n * q), n - 1)];
}

static void
apply_threshold(int threshold OVS_UNUSED)
{
#ifdef VHOST_ASYNC
    static int current = -1;

    if (threshold != current && async_has_channel()) {
        struct smap config = SMAP_INITIALIZER(&config);

        smap_add(&config, "vhost-async-support", "true");
        if (threshold >= 0) {
            smap_add_format(&config, "vhost-async-threshold", "%d",
                            threshold);
        }
        netdev_dpdk_async_configure(&config);
        smap_destroy(&config);
        current = threshold;
    }
#endif
}

/* The engine moves no bytes. */
static bool copies_nothing;

static void
run(const struct params *p)
{
    double *samples = xmalloc(p->rounds * sizeof *samples);
    unsigned int total = packets_per_round(p);
    struct async_counters before, after;
    double packets = (double) p->rounds * total;
    double all_idle = 0;
    uint64_t idle;

    apply_threshold(p->threshold);
    check_arrival(p, !copies_nothing);
    for (int i = 0; i < MIN(p->rounds, 3); i++) {
        run_round(p, total, &idle);
    }
    async_get_counters(&before);
    for (int i = 0; i < p->rounds; i++) {
        samples[i] = run_round(p, total, &idle) / (double) total;
        all_idle += idle;
    }
    async_get_counters(&after);
    qsort(samples, p->rounds, sizeof *samples, compare_doubles);
    printf("{\"median\": %.2f, \"q1\": %.2f, \"q3\": %.2f, \"min\": %.2f, "
           "\"rounds\": %u, \"packets\": %u, \"dma\": %.4f, \"polls\": %.4f, "
           "\"empty\": %.4f, \"bursts\": %.4f, \"idle\": %.2f}\n",
           quantile(samples, p->rounds, .5), quantile(samples, p->rounds, .25),
           quantile(samples, p->rounds, .75), samples[0], p->rounds, total,
           (after.dma_packets - before.dma_packets) / packets,
           (after.polls - before.polls) / packets * p->burst,
           (after.empty_polls - before.empty_polls) / packets * p->burst,
           (after.bursts - before.bursts) / packets * p->burst,
           all_idle / packets);
    free(samples);
}

static void
print_latencies(double *samples, unsigned int n)
{
    qsort(samples, n, sizeof *samples, compare_doubles);
    printf("{\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f, \"n\": %u}\n",
           quantile(samples, n, .5), quantile(samples, n, .99),
           samples[n - 1], n);
}

/* The time from when the PMD thread sends to when the guest can see the
 * packet, one packet at a time, in microseconds. */
static void
latency(const struct params *p)
{
    double *samples = xmalloc(p->n * sizeof *samples);
    double hz = rte_get_tsc_hz() / 1e6;
    struct guest_rxq *q;
    struct port *port;
    int qid;

    apply_threshold(p->threshold);
    check_arrival(p, !copies_nothing);
    q = nth_txq(0, &port, &qid);
    for (int i = 0; i < p->n; i++) {
        struct rte_mbuf *mbuf = make_packet(p->size, p->is_cold);
        uint64_t start, stop, end = deadline();

        batch_init(&mbuf, 1);
        start = clock_read();
        send_batch(port, qid);
        async_reap();
        while (!guest_n_used(q)) {
            be_busy(__rdtsc(), p->work);
            async_reap();
            if (__rdtsc() > end) {
                fail("a packet does not arrive");
            }
        }
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / hz;
        drain_uncounted();
        while (guest_receive(q, p->size, NULL)) {
            continue;
        }
        ovsrcu_quiesce();
    }
    print_latencies(samples, p->n);
    free(samples);
}

/* The part of load() for 'total' packets, for which there is room in the
 * virtqueue. */
static void
load_round(const struct params *p, unsigned int total, double *samples)
{
    static struct rte_mbuf *mbufs[MAX_ROUND];
    unsigned int sent = 0, seen = 0;
    uint64_t first, end;
    struct guest_rxq *q;
    struct port *port;
    int buffers, qid;

    q = nth_txq(0, &port, &qid);
    buffers = DIV_ROUND_UP(p->size + HDR_LEN, q->buf_len);
    for (int i = 0; i < total; i++) {
        mbufs[i] = make_packet(p->size, p->is_cold);
    }
    end = deadline();
    first = __rdtsc() + p->gap;
    while (seen < total) {
        uint64_t now = __rdtsc();
        uint64_t arrived = now < first ? 0 : (now - first) / p->gap + 1;
        unsigned int n = MIN(MIN(arrived, total) - sent, MAX_BURST);

        if (n) {
            batch_init(&mbufs[sent], n);
            be_busy(now, p->work * n);
            send_batch(port, qid);
            sent += n;
        }
        async_reap();
        n = guest_n_used(q) / buffers;
        for (now = __rdtsc(); seen < n; seen++) {
            samples[seen] = now - (first + seen * p->gap);
        }
        if (now > end) {
            fail("packet %u of %u does not arrive", seen, total);
        }
    }
    drain_uncounted();
    while (guest_receive(q, p->size, NULL)) {
        continue;
    }
    ovsrcu_quiesce();
}

/* The time from when a packet comes to the PMD thread to when the guest can
 * see it, in microseconds, while one comes every 'gap' cycles.  Each iteration
 * takes those which are there, MAX_BURST at most, and classifies them in
 * 'work' cycles each. */
static void
load(const struct params *p)
{
    struct params one = *p;
    double hz = rte_get_tsc_hz() / 1e6;
    unsigned int total, n;
    double *samples;

    one.burst = one.spread = 1;
    apply_threshold(p->threshold);
    check_arrival(&one, !copies_nothing);
    total = packets_per_round(&one);
    n = ROUND_UP(p->n, total);
    samples = xmalloc(n * sizeof *samples);
    for (int i = 0; i < n; i += total) {
        load_round(&one, total, &samples[i]);
    }
    for (int i = 0; i < n; i++) {
        samples[i] /= hz;
    }
    print_latencies(samples, n);
    free(samples);
}

/* What an iteration costs with nothing in flight, after every txq was used. */
static void
idle(const struct params *p)
{
    struct params all = *p;
    double samples[101];

    apply_threshold(p->threshold);
    all.spread = n_ports * n_pairs;
    check_arrival(&all, false);
    for (int i = 0; i < ARRAY_SIZE(samples); i++) {
        uint64_t start, stop;

        start = clock_read();
        for (int j = 0; j < 1000; j++) {
            async_reap();
            atomic_signal_fence(memory_order_seq_cst);
        }
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / 1000.;
    }
    qsort(samples, ARRAY_SIZE(samples), sizeof *samples, compare_doubles);
    printf("{\"median\": %.3f, \"q1\": %.3f, \"q3\": %.3f}\n",
           quantile(samples, ARRAY_SIZE(samples), .5),
           quantile(samples, ARRAY_SIZE(samples), .25),
           quantile(samples, ARRAY_SIZE(samples), .75));
}

/* What an iteration costs while every txq has a packet in flight and nothing
 * comes back, for an engine that is slow enough. */
static void
in_flight(const struct params *p)
{
    unsigned int n_txqs = n_ports * n_pairs, n = 0;
    double samples[101];
    struct port *port;
    int qid;

    apply_threshold(p->threshold);
    for (int i = 0; i < n_txqs; i++) {
        struct rte_mbuf *mbuf = make_packet(p->size, p->is_cold);

        nth_txq(i, &port, &qid);
        batch_init(&mbuf, 1);
        send_batch(port, qid);
    }
    async_came_back();
    while (n < ARRAY_SIZE(samples)) {
        uint64_t start, stop;

        start = clock_read();
        async_reap();
        stop = clock_read();
        if (async_came_back()) {
            break;
        }
        samples[n++] = stop - start - clock_cost;
    }
    if (!n) {
        fail("the engine is too fast to see %u txqs in flight", n_txqs);
    }
    drain_uncounted();
    for (int i = 0; i < n_txqs; i++) {
        if (!guest_receive(nth_txq(i, &port, &qid), p->size, NULL)) {
            fail("a packet of txq %d did not arrive", i);
        }
    }
    qsort(samples, n, sizeof *samples, compare_doubles);
    printf("{\"median\": %.3f, \"q1\": %.3f, \"q3\": %.3f}\n",
           quantile(samples, n, .5), quantile(samples, n, .25),
           quantile(samples, n, .75));
}

/* What it costs to free a packet, which is part of sending it, whoever
 * copies. */
static void
cost_of_free(const struct params *p)
{
    double samples[101];

    for (int i = 0; i < ARRAY_SIZE(samples); i++) {
        struct rte_mbuf *mbufs[MAX_BURST];
        uint64_t start, stop;

        for (int j = 0; j < p->burst; j++) {
            mbufs[j] = make_packet(p->size, p->is_cold);
        }
        start = clock_read();
        rte_pktmbuf_free_bulk(mbufs, p->burst);
        stop = clock_read();
        samples[i] = (stop - start - clock_cost) / (double) p->burst;
    }
    qsort(samples, ARRAY_SIZE(samples), sizeof *samples, compare_doubles);
    printf("{\"median\": %.1f, \"q1\": %.1f, \"q3\": %.1f}\n",
           quantile(samples, ARRAY_SIZE(samples), .5),
           quantile(samples, ARRAY_SIZE(samples), .25),
           quantile(samples, ARRAY_SIZE(samples), .75));
}

/* All that the process has allocated, for differences between processes. */
static void
memory(void)
{
    struct mallinfo2 heap = mallinfo2();
    size_t dpdk = 0;

    for (int i = 0; i < RTE_MAX_HEAPS; i++) {
        struct rte_malloc_socket_stats stats;

        if (!rte_malloc_get_socket_stats(i, &stats)) {
            dpdk += stats.heap_allocsz_bytes;
        }
    }
    printf("{\"heap\": %zu, \"dpdk\": %zu, \"txqs\": %u",
           heap.uordblks + heap.hblkhd, dpdk, n_ports * n_pairs);
#ifdef VHOST_ASYNC
    printf(", \"thread\": %zu", sizeof(struct vhost_async_thread));
#endif
    printf("}\n");
}

static unsigned int
parse_param(const char *line, const char *name, unsigned int def)
{
    char *pattern_ = xasprintf(" %s=", name);
    const char *p = strstr(line, pattern_);
    unsigned int value = p ? strtol(p + strlen(pattern_), NULL, 10) : def;

    free(pattern_);
    return value;
}

/* Commands: "run", "latency", "load", "idle", "in-flight", "free", "memory";
 * with parameters, as in "run size=64 burst=32". */
static void
main_loop(void)
{
    char line[512];

    printf("{\"build\": \"%s\", \"channel\": %s, \"txqs\": %u, "
           "\"hz\": %"PRIu64", \"clock\": %"PRIu64"}\n", BUILD,
           async_has_channel() ? "true" : "false", n_ports * n_pairs,
           rte_get_tsc_hz(), clock_cost);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        struct params p = {
            .size = parse_param(line, "size", 64),
            .burst = parse_param(line, "burst", 32),
            .rounds = parse_param(line, "rounds", 100),
            .work = parse_param(line, "work", 150),
            .spread = parse_param(line, "spread", 1),
            .n = parse_param(line, "n", 1000),
            .gap = parse_param(line, "gap", 1000),
            .is_cold = parse_param(line, "cold", 0),
            .threshold = parse_param(line, "threshold", -1),
        };

        if (p.burst < 1 || p.burst > MAX_BURST || p.size < HEADERS_LEN
            || p.spread < 1 || p.spread > n_ports * n_pairs || !p.rounds
            || !p.n || !p.gap) {
            fail("bad parameters: %s", line);
        }
        if (!strncmp(line, "run ", 4)) {
            run(&p);
        } else if (!strncmp(line, "latency ", 8)) {
            latency(&p);
        } else if (!strncmp(line, "load ", 5)) {
            load(&p);
        } else if (!strncmp(line, "in-flight ", 10)) {
            in_flight(&p);
        } else if (!strncmp(line, "idle", 4)) {
            idle(&p);
        } else if (!strncmp(line, "free ", 5)) {
            cost_of_free(&p);
        } else if (!strncmp(line, "memory", 6)) {
            memory();
        } else {
            fail("bad command: %s", line);
        }
        fflush(stdout);
        ovsrcu_quiesce();
    }
}

static void *
pmd_main(void *aux OVS_UNUSED)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(bench_core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    if (!dpdk_attach_thread(bench_core)) {
        fail("cannot be a thread of DPDK");
    }
    clock_calibrate();
    async_attach();
    await_txqs();
    main_loop();
    fflush(NULL);
    /* Nothing of what the threads of the vhost library would say to an
     * orderly end is of interest. */
    _exit(0);
}

static void
usage(void)
{
    printf("usage: bench-vhost [OPTION]... < COMMANDS\n"
           "  --core=N          core of the thread that plays PMD\n"
           "  --config=KEY=VAL  an other_config of Open vSwitch\n"
           "  --ports=N --pairs=N --ring=N   vhost ports, virtqueue pairs of\n"
           "                    each, descriptors of a virtqueue\n"
           "  --buffer=N        bytes of the guest's buffers\n"
           "  --tso             userspace TSO, packets of 64 KiB\n"
           "  --no-huge         no hugepages\n"
           "  --no-copy         the engine moves no bytes\n"
           "  --dir=DIR         for sockets\n");
    exit(0);
}

int
main(int argc, char *argv[])
{
    enum { OPT_CORE = 1, OPT_CONFIG, OPT_PORTS, OPT_PAIRS, OPT_RING,
           OPT_BUFFER, OPT_TSO, OPT_NO_HUGE, OPT_NO_COPY, OPT_DIR,
           OPT_VERBOSE };
    static const struct option options[] = {
        { "core", required_argument, NULL, OPT_CORE },
        { "config", required_argument, NULL, OPT_CONFIG },
        { "ports", required_argument, NULL, OPT_PORTS },
        { "pairs", required_argument, NULL, OPT_PAIRS },
        { "ring", required_argument, NULL, OPT_RING },
        { "buffer", required_argument, NULL, OPT_BUFFER },
        { "tso", no_argument, NULL, OPT_TSO },
        { "no-huge", no_argument, NULL, OPT_NO_HUGE },
        { "no-copy", no_argument, NULL, OPT_NO_COPY },
        { "dir", required_argument, NULL, OPT_DIR },
        { "verbose", no_argument, NULL, OPT_VERBOSE },
        { NULL, 0, NULL, 0 },
    };
    struct smap config = SMAP_INITIALIZER(&config);
    bool verbose = false;
    pthread_t pmd;
    int c;

    set_program_name("bench-vhost");
    signal(SIGPIPE, SIG_IGN);
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        char *value;

        switch (c) {
        case OPT_CORE:
            bench_core = atoi(optarg);
            break;
        case OPT_CONFIG:
            value = strchr(optarg, '=');
            if (!value) {
                fail("--config wants KEY=VALUE");
            }
            *value++ = '\0';
            smap_replace(&config, optarg, value);
            break;
        case OPT_PORTS:
            n_ports = MIN(MAX(atoi(optarg), 1), MAX_PORTS);
            break;
        case OPT_PAIRS:
            n_pairs = MIN(MAX(atoi(optarg), 1), MAX_PAIRS);
            break;
        case OPT_RING:
            ring_size = atoi(optarg);
            break;
        case OPT_BUFFER:
            guest_buf_len = atoi(optarg);
            break;
        case OPT_TSO:
            use_tso = true;
            smap_replace(&config, "userspace-tso-enable", "true");
            break;
        case OPT_NO_HUGE:
            use_huge = false;
            break;
        case OPT_NO_COPY:
            copies_nothing = true;
            break;
        case OPT_DIR:
            dir = optarg;
            break;
        case OPT_VERBOSE:
            verbose = true;
            break;
        default:
            usage();
        }
    }

    vlog_set_levels(NULL, VLF_SYSLOG, VLL_OFF);
    vlog_set_levels(NULL, VLF_CONSOLE, verbose ? VLL_INFO : VLL_WARN);
    smap_replace(&config, "dpdk-init", "true");
    dpdk_init(&config);
    userspace_tso_init(&config);
    async_configure(&config);

    pool_create(&pools[0], "bench-small", COLD_MAX + 4 * 1024, 2048);
    pool_create(&pools[1], "bench-large", COLD_MAX / 2 + 2 * 1024, 9216);
    pool_create(&pools[2], "bench-extbuf", COLD_MAX, 0);
    ports_open();
    ovsrcu_quiesce();

    if (pthread_create(&pmd, NULL, pmd_main, NULL)) {
        fail("cannot create a thread");
    }
    ovsrcu_quiesce_start();
    pthread_join(pmd, NULL);
    return 0;
}
