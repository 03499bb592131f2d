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

#ifndef FAKE_GUEST_VM_H
#define FAKE_GUEST_VM_H 1

/* Guests that talk to the vhost library of fake-vhost-lib.h: memory in a file,
 * messages, and a driver with receive rings and, if it sends, a transmit ring,
 * split or packed.
 *
 * A ring has buffers of one descriptor each, offered in turn.  Packets are
 * numbered: a guest gets those that were taken for it, in order, and what it
 * sends comes up in order.
 *
 * To be included behind vhost-guest-sources.h. */

#define N_PKTS 2048

/* Receive rings, and the transmit ring behind them. */
#define GUEST_MAX_RX_RINGS 2
#define GUEST_MAX_RINGS (GUEST_MAX_RX_RINGS + 1)
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
    unsigned int qid, index;
    bool tx;                    /* A transmit ring. */
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
    unsigned int n_rings;       /* Receive rings. */
    bool sends;                 /* It has a transmit ring. */
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
        g->rings[i].tx = i == GUEST_MAX_RX_RINGS;
        g->rings[i].qid = g->rings[i].tx ? 0 : i;
        g->rings[i].index = g->rings[i].qid * 2 + g->rings[i].tx;
        g->rings[i].size = GUEST_RING_SIZE;
        g->rings[i].callfd = eventfd(0, EFD_NONBLOCK);
        g->rings[i].kickfd = eventfd(0, EFD_NONBLOCK);
    }
    vm_new_mem(g);
    return g;
}

static struct vring_avail *
ring_avail(const struct ring *r)
{
    return ALIGNED_CAST(struct vring_avail *, r->mem + GUEST_RING_AVAIL);
}

static struct vring_used *
ring_used(const struct ring *r)
{
    return ALIGNED_CAST(struct vring_used *, r->mem + GUEST_RING_USED);
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
        struct vring_avail *avail = ring_avail(r);

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
        const struct vring_used *used = ring_used(r);

        *len = used->ring[id].len;
        ovs_assert(used->idx == (uint16_t) pos || used->ring[id].id == id);
        return used->idx != (uint16_t) pos;
    }
}

static void
ring_get_one(struct ring *r)
{
    uint32_t id = (r->start + r->n_used) % r->size;
    const uint8_t *data = (r->mem + GUEST_RING_BUFS + id * GUEST_RING_BUF
                           + 12);
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
static OVS_UNUSED void
ring_lose(struct ring *r, unsigned int n)
{
    ovs_assert(r->n_taken - r->n_got >= n);
    r->n_got += n;
}

/* Sends 'n' packets of 'len' bytes. */
static OVS_UNUSED void
ring_send(struct ring *r, unsigned int n, uint32_t len)
{
    ovs_assert(r->tx && r->n_offered - r->n_used + n <= r->size);
    while (n--) {
        uint32_t pos = r->start + r->n_offered++, seq = r->n_taken++;
        uint32_t id = pos % r->size;
        uint32_t ofs = GUEST_RING_BUFS + id * GUEST_RING_BUF;
        uint64_t gpa = ring_gpa(r) + ofs;
        uint8_t *data = r->mem + ofs + 12;

        memset(r->mem + ofs, 0, 12);
        for (uint32_t i = 0; i < len; i++) {
            data[i] = seq + i;
        }
        data[0] = 0;
        memcpy(data + 4, &seq, sizeof seq);
        if (r->vm->packed) {
            *ring_packed_desc(r, pos) = (struct vring_packed_desc) {
                .addr = gpa, .len = 12 + len, .id = id,
                .flags = 1 << (ring_wrap(r, pos) ? VRING_PACKED_DESC_F_AVAIL
                                                 : VRING_PACKED_DESC_F_USED)
            };
        } else {
            ALIGNED_CAST(struct vring_desc *, r->mem)[id]
                = (struct vring_desc) { .addr = gpa, .len = 12 + len };
            ring_avail(r)->ring[id] = id;
            ring_avail(r)->idx = pos + 1;
        }
    }
}

/* Returns how many of them were taken since this was asked last. */
static OVS_UNUSED unsigned int
ring_reclaim(struct ring *r)
{
    unsigned int n = 0;
    uint32_t len;

    while (ring_is_used(r, &len)) {
        ovs_assert(!len);
        r->n_used++;
        n++;
    }
    return n;
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

    msg.payload.state.index = r->index;
    msg.payload.state.num = num;
    return lib_message(r->vm->vid, &msg, NULL);
}

static bool
ring_fd(struct ring *r, uint32_t request, int fd)
{
    struct lib_msg msg = { .request = request };

    msg.payload.u64 = r->index | (fd < 0 ? 1 << 8 : 0);
    return lib_message(r->vm->vid, &msg, fd < 0 ? NULL : &fd);
}

/* SET_VRING_ADDR, with what is added to the three addresses. */
static bool
ring_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used)
{
    struct lib_msg msg = { .request = VHOST_ASYNC_SET_VRING_ADDR };
    uint64_t user = GUEST_USER + (r->mem - r->vm->mem);

    msg.payload.addr.index = r->index;
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
    ring_avail(r)->idx = ring_used(r)->idx = r->start;
    ok = ring_state(r, VHOST_ASYNC_SET_VRING_NUM, r->size)
         && ring_state(r, VHOST_ASYNC_SET_VRING_BASE, ring_base(r))
         && ring_addr(r, 0, 0, 0)
         && ring_fd(r, VHOST_ASYNC_SET_VRING_KICK, r->kickfd)
         && ring_fd(r, VHOST_ASYNC_SET_VRING_CALL, r->callfd)
         && ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1);
    ovs_assert(ok);
    if (!r->tx) {
        ring_offer(r, r->size);
    }
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
    if (g->sends) {
        vm_start_ring(&g->rings[GUEST_MAX_RX_RINGS]);
    }
    for (unsigned int i = 0; i < g->n_rings; i++) {
        ring_notified(&g->rings[i]);
    }
}

/* GET_VRING_BASE.  Returns the index. */
static OVS_UNUSED uint16_t
vm_stop_ring(struct ring *r)
{
    struct lib_msg msg = { .request = VHOST_ASYNC_GET_VRING_BASE };

    msg.payload.state.index = r->index;
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

#endif /* fake-guest-vm.h */
