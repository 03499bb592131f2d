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
 * Names that the library has, too, begin with those of the test program: it
 * defines DP() before it includes this. */

#include "dma-test.h"
#include "fake-dmadev.h"

/* Others run while one waits. */
static void world_delay(unsigned int us);
static int world_yield(void);
#undef rte_delay_us_sleep
#define rte_delay_us_sleep world_delay

/* Memory is that of vhost-guest-mem.c. */
#define FAKE_GUEST_RING_H 1
struct vhost_guest_mem;
static void *guest_ring_from_library(const struct vhost_guest_mem *,
                                     const void *va, uint64_t size,
                                     uint64_t *gpa);
#define sched_yield world_yield
#include "vhost-data-path.h"
#undef vhost_guest_mem_from_library

#include "fake-vhost-lib.h"

void
rte_vhost_log_write(int vid, uint64_t gpa, uint64_t len)
{
    lib_log_write(vid, gpa, len);
}

#define netdev_dpdk_async_add_vring_stats DP(netdev_dpdk_async_add_vring_stats)
#define netdev_dpdk_async_configure DP(netdev_dpdk_async_configure)
#define netdev_dpdk_async_destroy_connection \
    DP(netdev_dpdk_async_destroy_connection)
#define netdev_dpdk_async_destroy_device DP(netdev_dpdk_async_destroy_device)
#define netdev_dpdk_async_format DP(netdev_dpdk_async_format)
#define netdev_dpdk_async_free DP(netdev_dpdk_async_free)
#define netdev_dpdk_async_get_custom_stats \
    DP(netdev_dpdk_async_get_custom_stats)
#define netdev_dpdk_async_get_status DP(netdev_dpdk_async_get_status)
#define netdev_dpdk_async_init DP(netdev_dpdk_async_init)
#define netdev_dpdk_async_is_enabled DP(netdev_dpdk_async_is_enabled)
#define netdev_dpdk_async_lost DP(netdev_dpdk_async_lost)
#define netdev_dpdk_async_new_connection DP(netdev_dpdk_async_new_connection)
#define netdev_dpdk_async_new_device DP(netdev_dpdk_async_new_device)
#define netdev_dpdk_async_print_version DP(netdev_dpdk_async_print_version)
#define netdev_dpdk_async_register DP(netdev_dpdk_async_register)
#define netdev_dpdk_async_send DP(netdev_dpdk_async_send)
#define netdev_dpdk_async_set_config DP(netdev_dpdk_async_set_config)
#define netdev_dpdk_async_stats_clear DP(netdev_dpdk_async_stats_clear)
#define netdev_dpdk_async_threshold DP(netdev_dpdk_async_threshold)
#define vhost_async_guest_connect DP(vhost_async_guest_connect)
#define vhost_async_guest_destroy_device DP(vhost_async_guest_destroy_device)
#define vhost_async_guest_disconnect DP(vhost_async_guest_disconnect)
#define vhost_async_guest_enable DP(vhost_async_guest_enable)
#define vhost_async_guest_forget_port DP(vhost_async_guest_forget_port)
#define vhost_async_guest_look_after DP(vhost_async_guest_look_after)
#define vhost_async_guest_new_device DP(vhost_async_guest_new_device)
#define vhost_async_guest_take_over DP(vhost_async_guest_take_over)
#define vhost_async_helper_start DP(vhost_async_helper_start)
#define vhost_async_helper_wake DP(vhost_async_helper_wake)
#define vhost_async_old_mem_add DP(vhost_async_old_mem_add)
#define vhost_async_old_mem_free DP(vhost_async_old_mem_free)
#define vhost_async_old_mem_mark DP(vhost_async_old_mem_mark)
#define vhost_async_port_add_guest DP(vhost_async_port_add_guest)
#define vhost_async_port_add_txqs DP(vhost_async_port_add_txqs)
#define vhost_async_port_clear DP(vhost_async_port_clear)
#define vhost_async_port_create_txq DP(vhost_async_port_create_txq)
#define vhost_async_port_destroy DP(vhost_async_port_destroy)
#define vhost_async_port_end_handover DP(vhost_async_port_end_handover)
#define vhost_async_port_free_txqs DP(vhost_async_port_free_txqs)
#define vhost_async_port_get_totals DP(vhost_async_port_get_totals)
#define vhost_async_port_has_path DP(vhost_async_port_has_path)
#define vhost_async_port_init DP(vhost_async_port_init)
#define vhost_async_port_remove_guest DP(vhost_async_port_remove_guest)
#define vhost_async_port_remove_txqs DP(vhost_async_port_remove_txqs)
#define vhost_async_port_set_dma DP(vhost_async_port_set_dma)
#define vhost_async_port_set_no_dma DP(vhost_async_port_set_no_dma)
#define vhost_async_port_set_owner DP(vhost_async_port_set_owner)
#define vhost_async_port_set_path DP(vhost_async_port_set_path)
#define vhost_async_port_unset_owner DP(vhost_async_port_unset_owner)
#define vhost_async_ports DP(vhost_async_ports)
#define vhost_async_ports_mutex DP(vhost_async_ports_mutex)
#define vhost_async_rings_are_ours DP(vhost_async_rings_are_ours)
#define vhost_async_rings_close_gate DP(vhost_async_rings_close_gate)
#define vhost_async_rings_drain DP(vhost_async_rings_drain)
#define vhost_async_rings_features DP(vhost_async_rings_features)
#define vhost_async_rings_have_copies DP(vhost_async_rings_have_copies)
#define vhost_async_rings_move_base DP(vhost_async_rings_move_base)
#define vhost_async_rings_move_call DP(vhost_async_rings_move_call)
#define vhost_async_rings_stop DP(vhost_async_rings_stop)
#define vhost_async_rings_tell_library DP(vhost_async_rings_tell_library)
#define vhost_async_rings_update DP(vhost_async_rings_update)
#define vhost_async_rings_update_one DP(vhost_async_rings_update_one)
#define vhost_async_txq_get_totals DP(vhost_async_txq_get_totals)
#define vhost_guest_mem_create DP(vhost_guest_mem_create)
#define vhost_guest_mem_destroy DP(vhost_guest_mem_destroy)
#define vhost_guest_mem_equals DP(vhost_guest_mem_equals)
#define vhost_guest_mem_from_library DP(vhost_guest_mem_from_table)
#define vhost_guest_mem_map_for_dma DP(vhost_guest_mem_map_for_dma)

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "netdev-provider.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/poll-loop.h"
#include "ovstest.h"
#include "smap.h"
#include "timeval.h"

/* Mappings of guests' memory. */
static int n_maps;

static void *
counted_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t ofs)
{
    n_maps++;
    return mmap(addr, size, prot, flags, fd, ofs);
}

static int
counted_munmap(void *addr, size_t size)
{
    n_maps--;
    return munmap(addr, size);
}

void *vhost_guest_mem_from_library(const struct vhost_guest_mem *,
                                   const void *va, uint64_t size,
                                   uint64_t *gpa);

#include <rte_vfio.h>

#define rte_vfio_is_enabled(NAME) 0
#define mmap counted_mmap
#define munmap counted_munmap
#define this_module vhost_guest_mem_module
#include "vhost-guest-mem.c"
#undef this_module
#undef mmap
#undef munmap

static void *
guest_ring_from_library(const struct vhost_guest_mem *mem, const void *va,
                        uint64_t size, uint64_t *gpa)
{
    return vhost_guest_mem_from_library(mem, va, size, gpa);
}

#define time_msec() ((long long int) (fake.tsc / (FAKE_HZ / 1000)))
#define ovs_thread_create(NAME, START, AUX) ((void) (START))
#define old_mutex old_mem_mutex
#include "vhost-async-old-mem.c"
#undef old_mutex
#include "vhost-async-port.c"
#define this_module vhost_async_rings_module
#define rl rings_rl
#include "vhost-async-rings.c"
#undef this_module
#undef rl
#define this_module vhost_async_guest_module
#include "vhost-async-guest.c"
#undef this_module
#define this_module vhost_async_helper_module
#include "vhost-async-helper.c"
#undef this_module
#define this_module netdev_dpdk_async_module
#include "netdev-dpdk-async.c"
#undef this_module
#undef sched_yield

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
#define N_PKTS 2048
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
        vhost_async_thread_init(&pmds[i],
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

/* Guests.  A ring has buffers of one descriptor each, offered in turn. */

#define GUEST_MAX_RINGS 2
#define GUEST_RING_SIZE 64
#define GUEST_RING_BUF 2048
#define GUEST_RING_AVAIL 4096         /* Offsets; descriptors come first. */
#define GUEST_RING_USED 8192
#define GUEST_RING_BUFS 12288
#define GUEST_RING_BYTES (GUEST_RING_BUFS + GUEST_RING_SIZE * GUEST_RING_BUF)
#define GUEST_BYTES (GUEST_MAX_RINGS * GUEST_RING_BYTES)
#define GUEST_GPA (UINT64_C(1) << 32)
#define GUEST_USER (UINT64_C(0x55) << 40)
#define GUEST_FEATURES (UINT64_C(1) << VIRTIO_F_VERSION_1 | LIB_F_PROTOCOL)

struct ring {
    struct vm *vm;
    unsigned int qid;
    uint8_t *mem;
    int callfd, kickfd;
    uint32_t size;
    uint32_t n_offered, n_used; /* Buffers, since it started. */
    uint32_t start;             /* Index that it started with. */
    uint32_t seqs[N_PKTS];      /* [got, taken) are to come. */
    uint32_t n_taken, n_got;
};

struct vm {
    int vid;
    uint64_t features;
    bool packed;
    unsigned int n_rings;
    int memfd;
    uint8_t *mem;
    unsigned int extra;         /* Of its last table. */
    struct ring rings[GUEST_MAX_RINGS];
};

static uint8_t *
vm_new_mem(struct vm *g)
{
    g->memfd = syscall(SYS_memfd_create, "guest", 0);
    ovs_assert(g->memfd >= 0 && !ftruncate(g->memfd, GUEST_BYTES + 65536));
    g->mem = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  g->memfd, 0);
    ovs_assert(g->mem != MAP_FAILED);
    for (unsigned int i = 0; i < GUEST_MAX_RINGS; i++) {
        g->rings[i].mem = g->mem + i * GUEST_RING_BYTES;
    }
    return g->mem;
}

static struct vm *
vm_create(uint64_t features, unsigned int n_rings)
{
    struct vm *g = xzalloc(sizeof *g);

    g->vid = -1;
    g->features = GUEST_FEATURES | features;
    g->packed = features & LIB_F_PACKED;
    g->n_rings = n_rings;
    for (unsigned int i = 0; i < GUEST_MAX_RINGS; i++) {
        g->rings[i].vm = g;
        g->rings[i].qid = i;
        g->rings[i].size = GUEST_RING_SIZE;
        g->rings[i].callfd = eventfd(0, EFD_NONBLOCK);
        g->rings[i].kickfd = eventfd(0, EFD_NONBLOCK);
    }
    vm_new_mem(g);
    return g;
}

static struct vring_packed_desc *
ring_packed_desc(const struct ring *r, uint32_t pos)
{
    return ALIGNED_CAST(struct vring_packed_desc *, r->mem) + pos % r->size;
}

static bool
ring_wrap(const struct ring *r, uint32_t pos)
{
    return !(pos / r->size % 2);
}

static uint64_t
ring_gpa(const struct ring *r)
{
    return GUEST_GPA + (r->mem - r->vm->mem);
}

static void
ring_offer_one(struct ring *r)
{
    uint32_t pos = r->start + r->n_offered++;
    uint32_t id = pos % r->size;
    uint64_t gpa = ring_gpa(r) + GUEST_RING_BUFS + id * GUEST_RING_BUF;

    if (r->vm->packed) {
        *ring_packed_desc(r, pos) = (struct vring_packed_desc) {
            .addr = gpa, .len = GUEST_RING_BUF, .id = id,
            .flags = VRING_DESC_F_WRITE | (ring_wrap(r, pos)
                                           ? 1 << VRING_PACKED_DESC_F_AVAIL
                                           : 1 << VRING_PACKED_DESC_F_USED)
        };
    } else {
        struct vring_avail *avail = ALIGNED_CAST(struct vring_avail *,
                                                 r->mem + GUEST_RING_AVAIL);

        ALIGNED_CAST(struct vring_desc *, r->mem)[id] = (struct vring_desc) {
            .addr = gpa, .len = GUEST_RING_BUF, .flags = VRING_DESC_F_WRITE
        };
        avail->ring[id] = id;
        avail->idx = pos + 1;
    }
}

/* Offers 'n' buffers more. */
static void
ring_offer(struct ring *r, uint32_t n)
{
    ovs_assert(r->n_offered - r->n_used + n <= r->size);
    while (n--) {
        ring_offer_one(r);
    }
}

static bool
ring_is_used(const struct ring *r, uint32_t *len)
{
    uint32_t pos = r->start + r->n_used;
    uint32_t id = pos % r->size;

    if (r->n_used == r->n_offered) {
        return false;
    } else if (r->vm->packed) {
        const struct vring_packed_desc *d = ring_packed_desc(r, pos);
        uint16_t both = (1 << VRING_PACKED_DESC_F_AVAIL
                         | 1 << VRING_PACKED_DESC_F_USED);

        *len = d->len;
        return (d->flags & both) == (ring_wrap(r, pos) ? both : 0);
    } else {
        const struct vring_used *used = ALIGNED_CAST(struct vring_used *,
                                                     r->mem + GUEST_RING_USED);

        *len = used->ring[id].len;
        ovs_assert(used->idx == (uint16_t) pos || used->ring[id].id == id);
        return used->idx != (uint16_t) pos;
    }
}

static void
ring_get_one(struct ring *r)
{
    const uint8_t *data = (r->mem + GUEST_RING_BUFS
                           + (r->start + r->n_used) % r->size * GUEST_RING_BUF + 12);
    uint32_t len, seq;

    ovs_assert(ring_is_used(r, &len));
    ovs_assert(r->n_got != r->n_taken);
    memcpy(&seq, data + 4, sizeof seq);
    ovs_assert(seq == r->seqs[r->n_got++ % N_PKTS]);
    for (uint32_t i = 8; i < len - 12; i++) {
        ovs_assert(data[i] == (uint8_t) (seq + i));
    }
    r->n_used++;
}

/* The guest gets 'n' packets, and no more. */
static void
ring_get(struct ring *r, unsigned int n)
{
    uint32_t len;

    for (; n; n--) {
        ring_get_one(r);
    }
    ovs_assert(!ring_is_used(r, &len));
}

/* The guest gets what there is. */
static OVS_UNUSED void
ring_get_all(struct ring *r)
{
    uint32_t len;

    while (ring_is_used(r, &len)) {
        ring_get_one(r);
    }
}

/* 'n' packets that are to come next will not, for that is what the test is
 * about. */
static void
ring_lose(struct ring *r, unsigned int n)
{
    ovs_assert(r->n_taken - r->n_got >= n);
    r->n_got += n;
}

/* How often the guest was notified since this was asked last. */
static unsigned int
ring_notified(struct ring *r)
{
    eventfd_t n;

    return eventfd_read(r->callfd, &n) ? 0 : n;
}

/* Where the ring is, as messages tell it. */
static uint16_t
ring_base(const struct ring *r)
{
    uint32_t pos = r->start + r->n_used;

    return (r->vm->packed ? pos % r->size | ring_wrap(r, pos) << 15
                             : (uint16_t) pos);
}

/* Messages. */

static bool
vm_u64(struct vm *g, uint32_t request, uint64_t value)
{
    struct lib_msg msg = { .request = request };

    msg.payload.u64 = value;
    return lib_message(g->vid, &msg, NULL);
}

static bool
ring_state(struct ring *r, uint32_t request, uint32_t num)
{
    struct lib_msg msg = { .request = request };

    msg.payload.state.index = 2 * r->qid;
    msg.payload.state.num = num;
    return lib_message(r->vm->vid, &msg, NULL);
}

static bool
ring_fd(struct ring *r, uint32_t request, int fd)
{
    struct lib_msg msg = { .request = request };

    msg.payload.u64 = 2 * r->qid | (fd < 0 ? 1 << 8 : 0);
    return lib_message(r->vm->vid, &msg, fd < 0 ? NULL : &fd);
}

/* SET_VRING_ADDR, with what is added to the three addresses. */
static bool
ring_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used)
{
    struct lib_msg msg = { .request = VHOST_ASYNC_SET_VRING_ADDR };
    uint64_t user = GUEST_USER + (r->mem - r->vm->mem);

    msg.payload.addr.index = 2 * r->qid;
    msg.payload.addr.desc = user + desc;
    msg.payload.addr.avail = user + GUEST_RING_AVAIL + avail;
    msg.payload.addr.used = user + GUEST_RING_USED + used;
    return lib_message(r->vm->vid, &msg, NULL);
}

/* SET_MEM_TABLE, of the same memory and up to 15 pages behind it: another
 * number of these makes another table. */
static bool
vm_mem_table(struct vm *g, unsigned int extra)
{
    struct lib_msg msg = { .request = VHOST_ASYNC_SET_MEM_TABLE };

    ovs_assert(extra < 16);
    g->extra = extra;
    msg.payload.memory.n = 1;
    msg.payload.memory.regions[0] = (struct lib_region) {
        .gpa = GUEST_GPA, .size = GUEST_BYTES + extra * 4096,
        .user = GUEST_USER
    };
    return lib_message(g->vid, &msg, &g->memfd);
}

static void
vm_start_ring(struct ring *r)
{
    bool ok;

    if (r->vm->packed) {
        r->start = 0;
    }
    r->n_offered = r->n_used = 0;
    memset(r->mem, 0, GUEST_RING_BUFS);
    ALIGNED_CAST(struct vring_avail *, r->mem + GUEST_RING_AVAIL)->idx = r->start;
    ALIGNED_CAST(struct vring_used *, r->mem + GUEST_RING_USED)->idx = r->start;
    ok = ring_state(r, VHOST_ASYNC_SET_VRING_NUM, r->size)
         && ring_state(r, VHOST_ASYNC_SET_VRING_BASE, ring_base(r))
         && ring_addr(r, 0, 0, 0)
         && ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd)
         && ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd)
         && ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1);
    ovs_assert(ok);
    ring_offer(r, r->size);
}

/* The guest connects and starts its rings. */
static void
vm_boot(struct vm *g, const char *path)
{
    g->vid = lib_connect(path);
    ovs_assert(vm_u64(g, VHOST_ASYNC_SET_FEATURES, g->features));
    ovs_assert(vm_mem_table(g, 0));
    for (unsigned int i = 0; i < g->n_rings; i++) {
        vm_start_ring(&g->rings[i]);
    }
    for (unsigned int i = 0; i < g->n_rings; i++) {
        ring_notified(&g->rings[i]);
    }
}

/* GET_VRING_BASE.  Returns the index. */
static uint16_t
vm_stop_ring(struct ring *r)
{
    struct lib_msg msg = { .request = VHOST_ASYNC_GET_VRING_BASE };

    msg.payload.state.index = 2 * r->qid;
    ovs_assert(lib_message(r->vm->vid, &msg, NULL));
    return msg.payload.state.num;
}

static void
vm_leave(struct vm *g)
{
    lib_disconnect(g->vid, false);
    g->vid = -1;
}

static void
vm_destroy(struct vm *g)
{
    if (g->vid >= 0) {
        vm_leave(g);
    }
    munmap(g->mem, GUEST_BYTES);
    close(g->memfd);
    for (unsigned int i = 0; i < GUEST_MAX_RINGS; i++) {
        close(g->rings[i].callfd);
        close(g->rings[i].kickfd);
    }
    free(g);
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
    struct port *p = ports;

    while (p->path) {
        p++;
    }
    memset(p, 0, sizeof *p);
    p->path = names[p - ports];
    p->netdev.name = CONST_CAST(char *, p->path);
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
                                      left);
        ovs_assert(k <= left);
        pkts += k;
        left -= k;
        if (!k) {
            break;
        }
    }
    p->tx_locked = false;
    *vhost_async_self_get() = NULL;
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

static enum vhost_async_txq_state
port_state(const struct port *p, const struct ring *r)
{
    return vhost_async_txq_state(port_txq(p, r));
}

static uint32_t
port_in_flight(const struct port *p, const struct ring *r)
{
    return vhost_async_txq_in_flight(port_txq(p, r));
}

/* other_config:vhost-async-support. */
static void
set_support(bool on)
{
    struct smap config = SMAP_INITIALIZER(&config);

    smap_add(&config, "vhost-async-support", on ? "true" : "false");
    netdev_dpdk_async_configure(&config);
    smap_destroy(&config);
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
    ovs_assert(!n_maps);
    ovs_assert(ovs_list_is_empty(&old_txqs));
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
    ovs_assert(port_state(p, &(*g)->rings[0]) == VHOST_ASYNC_TXQ_RUNNING);
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

#endif /* vhost-guest-fixture.h */
