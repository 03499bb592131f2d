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

/* Fuzzing of the receive rings, lib/vhost-vring*.c: an input is what a guest
 * writes to its memory, and what is done with its ring meanwhile.
 *
 * Built with libFuzzer, by clang:
 *
 *     -fsanitize=fuzzer,address,undefined tests/fuzz-vhost-vring.c
 *
 * and without, by any compiler, with -DFUZZ_REPLAY, when it
 *
 *     fuzz-vhost-vring                runs the seeds below
 *     fuzz-vhost-vring FILE...        runs inputs, such as made a run fail
 *     fuzz-vhost-vring --seeds DIR    writes the seeds, for libFuzzer
 *
 * Both need the flags of OVS and DPDK, and libopenvswitch. */

#undef NDEBUG
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define rte_vhost_log_write fake_log_write
#define vhost_guest_mem_from_library fake_from_library
#include "vhost-vring.c"
#include "vhost-vring-packed.c"
#define read_desc split_read_desc
#define add_table split_add_table
#define add_descs split_add_descs
#define take_any split_take_any
#include "vhost-vring-split.c"

#define PAGE 4096
#define LIBRARY_VA (UINT64_C(0x70) << 40)

/* The second region follows the first, for the guest. */
static const struct {
    uint64_t gpa;
    uint32_t size;
} regions[] = {
    { 0x10000, 4 * PAGE }, { 0x14000, 2 * PAGE }, { 0x18000, PAGE }
};

#define N_REGIONS ARRAY_SIZE(regions)
#define MEM_SIZE (7 * PAGE)
#define DESC_GPA UINT64_C(0x10000)
#define AVAIL_GPA UINT64_C(0x11000)
#define USED_GPA UINT64_C(0x12000)

struct input {
    const uint8_t *data;
    size_t size, pos;
};

/* The guest's memory, with guard pages around each region; a copy of it as
 * those who know of each write would have it; a second place to move to. */
static uint8_t *places[2][N_REGIONS];
static uint8_t *copies[N_REGIONS];
static struct vhost_guest_mem mem;
static bool publishing;
static struct vhost_vring vr;

static uint8_t
get8(struct input *in)
{
    return in->pos < in->size ? in->data[in->pos++] : 0;
}

static uint16_t
get16(struct input *in)
{
    uint16_t x = get8(in);

    return x | get8(in) << 8;
}

/* Returns the region that has all of [gpa, gpa + len), -1 if none has. */
static int
find_region(uint64_t gpa, uint64_t len)
{
    for (size_t i = 0; i < N_REGIONS; i++) {
        uint64_t ofs = gpa - regions[i].gpa;

        if (ofs < regions[i].size && len <= regions[i].size - ofs) {
            return i;
        }
    }
    return -1;
}

void
fake_log_write(int vid, uint64_t gpa, uint64_t len)
{
    int i = find_region(gpa, len);

    ovs_assert(vid == 1 && len && i >= 0);
    if (publishing) {
        uint64_t start = vr.packed ? vr.desc_gpa : vr.used_gpa;
        uint64_t size = vr.packed ? vr.size * 16 : 4 + vr.size * 8;

        ovs_assert(gpa >= start && gpa + len <= start + size);
    }
    memcpy(copies[i] + (gpa - regions[i].gpa),
           mem.regions[i].va + (gpa - regions[i].gpa), len);
}

void *
fake_from_library(const struct vhost_guest_mem *m, const void *va,
                  uint64_t size, uint64_t *gpa)
{
    int i;

    *gpa = (uintptr_t) va - LIBRARY_VA;
    i = find_region(*gpa, size);
    return i < 0 ? NULL : m->regions[i].va + (*gpa - regions[i].gpa);
}

/* Writes what 'in' has to the memory, as the guest does: some bytes of the
 * address space are in no region. */
static void
poke(uint64_t gpa, const void *data, size_t len)
{
    for (size_t j = 0; j < len; j++, gpa++) {
        int i = find_region(gpa, 1);

        if (i >= 0) {
            mem.regions[i].va[gpa - regions[i].gpa]
                = ((const uint8_t *) data)[j];
            copies[i][gpa - regions[i].gpa] = ((const uint8_t *) data)[j];
        }
    }
}

static void
check_memory(void)
{
    for (size_t i = 0; i < N_REGIONS; i++) {
        ovs_assert(!memcmp(copies[i], mem.regions[i].va, regions[i].size));
    }
}

/* Memory is at place 'where' from now on, and nothing at the other. */
static void
move(int where)
{
    for (size_t i = 0; i < N_REGIONS; i++) {
        uint8_t *to = places[where][i];
        uint8_t *from = places[!where][i];

        ovs_assert(!mprotect(to, regions[i].size, PROT_READ | PROT_WRITE));
        if (mem.regions[i].va && mem.regions[i].va != to) {
            memcpy(to, from, regions[i].size);
        }
        ovs_assert(!mprotect(from, regions[i].size, PROT_NONE));
        mem.regions[i].va = to;
    }
}

static void
create_memory(void)
{
    for (int where = 0; where < 2; where++) {
        size_t all = MEM_SIZE + (N_REGIONS + 1) * PAGE;
        uint8_t *p = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);

        ovs_assert(p != MAP_FAILED);
        for (size_t i = 0; i < N_REGIONS; i++) {
            p += PAGE;
            places[where][i] = p;
            p += regions[i].size;
        }
    }
    mem.n_regions = N_REGIONS;
    for (size_t i = 0; i < N_REGIONS; i++) {
        mem.regions[i].gpa = regions[i].gpa;
        mem.regions[i].size = regions[i].size;
        mem.regions[i].vhost_va = LIBRARY_VA + regions[i].gpa;
        copies[i] = xmalloc(regions[i].size);
    }
}

static const void *
vhost_va(uint64_t gpa)
{
    return (const void *) (uintptr_t) (LIBRARY_VA + gpa);
}

/* How the ring is to be mapped: mostly at its usual place. */
static struct vhost_vring_setup
get_setup(struct input *in)
{
    static const uint32_t sizes[] = { 1, 2, 4, 8, 16, 64, 256, 5, 100 };
    struct vhost_vring_setup setup = { .mem = &mem, .log_vid = 1 };
    uint8_t flags = get8(in);
    uint8_t size = get8(in);
    uint64_t ofs[3] = { 0, 0, 0 };

    setup.features = ((flags & 1 ? UINT64_C(1) << VIRTIO_F_RING_PACKED : 0)
                      | (flags & 2 ? UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF : 0)
                      | (flags & 4 ? UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX
                         : 0));
    setup.from_guest = flags & 16;
    setup.size = (size < 250 ? sizes[size % ARRAY_SIZE(sizes)]
                  : get16(in) | (size & 1) << 16);
    if (flags & 8) {
        for (int i = 0; i < 3; i++) {
            ofs[i] = get16(in);
        }
    }
    setup.desc = vhost_va(DESC_GPA + ofs[0]);
    setup.avail = vhost_va(AVAIL_GPA + ofs[1]);
    setup.used = vhost_va(USED_GPA + ofs[2]);
    return setup;
}

static void
check_ring(void)
{
    ovs_assert(vhost_vring_n_out(&vr) <= vr.size);
    if (vr.packed) {
        ovs_assert(vr.avail_idx < vr.size && vr.used_idx < vr.size);
        ovs_assert(n_descs_out(&vr) <= vr.size);
        ovs_assert(vhost_vring_n_out(&vr) <= n_descs_out(&vr));
    }
}

static void
take(struct input *in)
{
    static struct vhost_vring_buf buf;
    uint32_t len = 1 + get16(in), n_out = vhost_vring_n_out(&vr);
    uint16_t base = vhost_vring_get_base(&vr);
    uint32_t in_segs = 0, in_chains = 0;
    enum vhost_vring_result r;

    r = vhost_vring_take(&vr, len, &buf);
    ovs_assert(vhost_vring_get_base(&vr) == base);
    ovs_assert((r == VHOST_VRING_BROKEN) == (vr.broken != NULL));
    check_memory();
    if (r != VHOST_VRING_TAKEN) {
        ovs_assert(vhost_vring_n_out(&vr) == n_out);
        return;
    }
    ovs_assert(vhost_vring_n_out(&vr) == n_out + buf.n_chains);
    ovs_assert(buf.n_chains && buf.n_chains <= buf.n_segs);
    ovs_assert(buf.n_chains == 1 || vr.mergeable);
    for (unsigned int i = 0; i < buf.n_chains; i++) {
        const struct vhost_vring_chain *chain
            = &vr.chains[(vr.n_taken - 1 - i) & vr.chains_mask];

        ovs_assert(chain->id < vr.size && chain->len && chain->n_descs);
        in_chains += chain->len;
    }
    ovs_assert(in_chains == len);

    ovs_assert(buf.n_segs <= VHOST_VRING_MAX_SEGS);
    for (unsigned int i = 0; i < buf.n_segs; i++) {
        const struct vhost_vring_seg *seg = &buf.segs[i];
        const struct vhost_guest_region *region = &mem.regions[seg->region];

        ovs_assert(seg->region < N_REGIONS && seg->len);
        ovs_assert(seg->va >= region->va
                   && seg->va + seg->len <= region->va + region->size);
        in_segs += seg->len;
        memset(seg->va, len, seg->len);
        vhost_vring_log(&vr, seg->va, seg->region, seg->len);
    }
    ovs_assert(in_segs == len);
}

/* Checks the pieces of packets, which are only read, and returns the number of
 * bytes in them. */
static uint64_t
check_segs(const struct vhost_vring_seg *segs, unsigned int n)
{
    uint64_t bytes = 0;

    for (unsigned int i = 0; i < n; i++) {
        const struct vhost_vring_seg *seg = &segs[i];
        const struct vhost_guest_region *region = &mem.regions[seg->region];

        ovs_assert(seg->region < N_REGIONS && seg->len);
        ovs_assert(seg->va >= region->va
                   && seg->va + seg->len <= region->va + region->size);
        bytes += seg->len;
    }
    return bytes;
}

/* What stops short at a packet is for take_pkt(), which takes it or says
 * why. */
static void
take_plain_pkts(struct input *in)
{
    static struct vhost_vring_seg segs[VHOST_VRING_MAX_SEGS];
    struct vhost_vring_mark mark = vhost_vring_mark(&vr);
    uint32_t n_out = vhost_vring_n_out(&vr);
    uint16_t base = vhost_vring_get_base(&vr);
    bool more;
    unsigned int asked = 1 + get8(in) % 64, n;

    n = vhost_vring_take_plain_pkts(&vr, segs, asked, &more);
    ovs_assert(vhost_vring_get_base(&vr) == base);
    ovs_assert(vhost_vring_n_out(&vr) == n_out + n
               && vhost_vring_n_out(&vr) <= vr.size);
    ovs_assert(!n || !vr.broken);
    check_memory();
    check_segs(segs, n);
    for (unsigned int i = 1; i <= n; i++) {
        ovs_assert(vr.chains[(vr.n_taken - i) & vr.chains_mask].id < vr.size);
    }
    if (n < asked && !vr.broken) {
        struct vhost_vring_pkt pkt = { .segs = segs };

        ovs_assert((vhost_vring_take_pkt(&vr, &pkt) == VHOST_VRING_EMPTY)
                   == !more);
    }
    if (get8(in) & 1 && !vr.broken) {
        vhost_vring_put_back(&vr, &mark);
        ovs_assert(vhost_vring_n_out(&vr) == n_out);
    }
}

static void
take_pkt(struct input *in)
{
    static struct vhost_vring_seg segs[VHOST_VRING_MAX_SEGS];
    struct vhost_vring_pkt pkt = { .segs = segs };
    struct vhost_vring_mark mark = vhost_vring_mark(&vr);
    uint32_t n_out = vhost_vring_n_out(&vr);
    uint16_t base = vhost_vring_get_base(&vr);
    enum vhost_vring_result r;

    r = vhost_vring_take_pkt(&vr, &pkt);
    ovs_assert(vhost_vring_get_base(&vr) == base);
    ovs_assert((r == VHOST_VRING_BROKEN) == (vr.broken != NULL));
    check_memory();
    if (r != VHOST_VRING_TAKEN) {
        ovs_assert(r == VHOST_VRING_EMPTY || r == VHOST_VRING_BROKEN);
        ovs_assert(vhost_vring_n_out(&vr) == n_out);
        return;
    }
    ovs_assert(vhost_vring_n_out(&vr) == n_out + 1);
    ovs_assert(pkt.n_segs <= VHOST_VRING_MAX_SEGS);
    ovs_assert(check_segs(segs, pkt.n_segs) == pkt.len);
    if (get8(in) & 1) {
        vhost_vring_put_back(&vr, &mark);
        ovs_assert(vhost_vring_n_out(&vr) == n_out);
    }
}

static uint64_t
gpa_of(const uint8_t *va)
{
    for (size_t i = 0; i < N_REGIONS; i++) {
        const struct vhost_guest_region *r = &mem.regions[i];

        if (va >= r->va && va < r->va + r->size) {
            return regions[i].gpa + (va - r->va);
        }
    }
    OVS_NOT_REACHED();
}

/* This writes no log: what it may write to is taken for written to. */
static void
direct(struct input *in)
{
    uint16_t base = vhost_vring_get_base(&vr);
    uint32_t lens[8];
    uint8_t *vas[8];
    unsigned int n;

    for (n = 0; n < ARRAY_SIZE(lens); n++) {
        lens[n] = 1 + get8(in);
    }
    n = vhost_vring_take_direct(&vr, lens, vas, get8(in) % (n + 1));
    ovs_assert(vhost_vring_get_base(&vr) == base);
    ovs_assert(!n || !vr.broken);
    for (unsigned int i = 0; i < n; i++) {
        memset(vas[i], n, lens[i]);
        fake_log_write(1, gpa_of(vas[i]), lens[i]);
    }
    if (n) {
        vhost_vring_publish_direct(&vr, n);
        ovs_assert(vhost_vring_get_base(&vr) != base || n == vr.size);
    }
    if (vr.packed) {
        fake_log_write(1, vr.desc_gpa, vr.size * 16);
    } else {
        fake_log_write(1, vr.used_gpa, 4 + vr.size * 8);
    }
    check_memory();
}

static void
publish(unsigned int n)
{
    uint32_t n_out = vhost_vring_n_out(&vr);

    n = MIN(n, n_out);
    publishing = true;
    vhost_vring_publish(&vr, n);
    publishing = false;
    ovs_assert(vhost_vring_n_out(&vr) == n_out - n);
    check_memory();
}

/* The guest writes a descriptor, that may make sense. */
static void
put_desc(struct input *in)
{
    union {
        struct vring_desc split;
        struct vring_packed_desc packed;
    } d;
    uint8_t flags = get8(in);
    uint64_t addr = 0xf800 + get16(in);
    uint32_t len = get8(in) * (flags & 8 ? 16 : 1);
    uint16_t next = get8(in);
    uint64_t where = (flags & 16 ? UINT64_C(0xf800) + get16(in)
                      : DESC_GPA + get8(in) * 16);

    len = flags & 32 ? UINT32_MAX - len : len;
    if (vr.packed) {
        bool wrap = !(flags & 64) == vr.avail_wrap;

        d.packed = (struct vring_packed_desc) {
            addr, len, next, (flags & 7) | (wrap ? AVAIL_FLAG : USED_FLAG)
        };
    } else {
        d.split = (struct vring_desc) { addr, len, flags & 7, next };
    }
    poke(where, &d, sizeof d);
}

/* The guest makes a buffer of a split ring available, that may be none. */
static void
put_avail(struct input *in)
{
    uint16_t head = get8(in), idx;

    idx = vr.avail_seen + (get8(in) & 15);
    if (vr.size) {
        poke(AVAIL_GPA + 4 + ((idx - 1) & (vr.size - 1)) * 2, &head,
             sizeof head);
    }
    poke(AVAIL_GPA + 2, &idx, sizeof idx);
}

static void
map(struct input *in, const struct vhost_vring_setup *setup)
{
    uint32_t n_out = vhost_vring_n_out(&vr);
    uint16_t base = vhost_vring_get_base(&vr);
    bool same = setup->size == vr.size
                && !(setup->features & UINT64_C(1) << VIRTIO_F_RING_PACKED)
                   == !vr.packed;
    const char *error;

    vhost_vring_unmap(&vr);
    move(get8(in) & 1);
    error = vhost_vring_map(&vr, setup);
    ovs_assert(!error == vhost_vring_is_mapped(&vr));
    ovs_assert(vhost_vring_n_out(&vr) == n_out);
    ovs_assert(!same || vhost_vring_get_base(&vr) == base);
    ovs_assert(same || !n_out || error);
}

static void
step(struct input *in, struct vhost_vring_setup *setup)
{
    static uint8_t bytes[256];
    uint8_t op = get8(in);
    uint16_t avail, n;

    switch (op % 12) {
    case 0: case 1:
        if (!vhost_vring_is_mapped(&vr)) {
            break;
        }
        if (vr.from_guest && op & 32) {
            take_plain_pkts(in);
        } else if (vr.from_guest) {
            take_pkt(in);
        } else if (op & 32 && !vhost_vring_n_out(&vr)) {
            direct(in);
        } else {
            take(in);
        }
        break;
    case 2:
        if (vhost_vring_is_mapped(&vr)) {
            publish(get8(in));
        }
        break;
    case 3: case 4: case 5:
        put_desc(in);
        break;
    case 6: case 7:
        put_avail(in);
        break;
    case 8:
        avail = get16(in);
        for (n = 0; n <= op / 12; n++) {
            bytes[n] = get8(in);
        }
        poke(0xf800 + avail, bytes, n);
        break;
    case 9:
        if (vhost_vring_is_mapped(&vr)) {
            vhost_vring_must_notify(&vr);
        }
        break;
    case 10:
        if (op & 16) {
            struct vhost_vring_setup other = get_setup(in);

            map(in, &other);
        } else {
            map(in, setup);
        }
        break;
    case 11:
        vhost_vring_forget(&vr);
        if (vr.size) {
            avail = get16(in);
            vhost_vring_set_base(&vr, avail, op & 16 ? get16(in) : avail);
        }
        break;
    }
    check_ring();
    check_memory();
}

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size, 0 };
    struct vhost_vring_setup setup;
    uint8_t fill;

    if (!mem.n_regions) {
        create_memory();
    }
    move(0);
    /* All of the memory is what the input has, or zeros. */
    fill = get8(&in);
    for (size_t i = 0; i < N_REGIONS; i++) {
        memset(mem.regions[i].va, 0, regions[i].size);
        for (size_t j = 0; fill & 1 && j < regions[i].size; j++) {
            mem.regions[i].va[j] = data[j % size];
        }
        memcpy(copies[i], mem.regions[i].va, regions[i].size);
    }

    vhost_vring_init(&vr);
    setup = get_setup(&in);
    map(&in, &setup);
    check_ring();
    while (in.pos < in.size) {
        step(&in, &setup);
    }
    vhost_vring_destroy(&vr);
    return 0;
}

#ifdef FUZZ_REPLAY
/* Seeds.  FILL, then the setup: flags, size (index of sizes[]), place. */
#define START(FLAGS, SIZE) 0, FLAGS, SIZE, 0
#define LO_HI(X) (X) & 255, (X) >> 8
/* Addresses are from 0xf800 on. */
#define AT(GPA) LO_HI((GPA) - 0xf800)
#define TAKE(LEN) 0, LO_HI((LEN) - 1)
#define PUBLISH(N) 2, N
#define DESC(FLAGS, GPA, LEN, NEXT, I) 3, FLAGS, AT(GPA), LEN, NEXT, I
#define ENTRY(FLAGS, GPA, LEN, NEXT, WHERE) \
    3, (FLAGS) | 16, AT(GPA), LEN, NEXT, AT(WHERE)
#define OFFER(HEAD) 6, HEAD, 1
#define NOTIFY 9
#define MAP(PLACE) 10, PLACE
#define BASE(INDEX) 11, LO_HI(INDEX)
#define POKE4(GPA, ...) 8 + 12 * 3, AT(GPA), __VA_ARGS__
#define SEED(...) { (const uint8_t[]) { __VA_ARGS__ }, \
                    sizeof((const uint8_t[]) { __VA_ARGS__ }) }

static const struct {
    const uint8_t *data;
    size_t size;
} seeds[] = {
    /* One buffer. */
    SEED(START(2, 4), DESC(2, 0x15000, 100, 0, 0), OFFER(0), TAKE(60),
         PUBLISH(1), NOTIFY, NOTIFY),
    SEED(START(3, 4), BASE(0x8000), DESC(2, 0x15000, 100, 0, 0), TAKE(60),
         PUBLISH(1), NOTIFY, NOTIFY),
    /* A chain, between regions, and the ring moves meanwhile. */
    SEED(START(4, 3), DESC(3, 0x13ff0, 100, 1, 0), DESC(2, 0x18000, 8, 0, 1),
         OFFER(0), TAKE(108), MAP(1), PUBLISH(1), NOTIFY),
    SEED(START(5, 3), BASE(0x8007), DESC(2, 0x18000, 8, 5, 0),
         DESC(3, 0x13ff0, 100, 5, 7), TAKE(60), MAP(1), PUBLISH(1), NOTIFY),
    /* Several buffers. */
    SEED(START(6, 5), BASE(65535), DESC(2, 0x15000, 100, 0, 9),
         DESC(2, 0x15800, 100, 0, 8), OFFER(9), TAKE(10), OFFER(8), OFFER(9),
         TAKE(150), PUBLISH(3), NOTIFY),
    SEED(START(7, 7), BASE(4), DESC(2 | 64, 0x15000, 100, 1, 4),
         DESC(2, 0x15000, 100, 1, 0), DESC(2, 0x15800, 100, 2, 1), TAKE(150),
         PUBLISH(3), NOTIFY),
    /* A table, between regions. */
    SEED(START(2, 4), DESC(4, 0x13ff8, 32, 0, 0),
         ENTRY(3, 0x15000, 100, 1, 0x13ff8), ENTRY(2, 0x15800, 9, 0, 0x14008),
         OFFER(0), TAKE(109), PUBLISH(1)),
    SEED(START(3, 4), BASE(0x8000), ENTRY(2, 0x15000, 100, 1, 0x13ff8),
         ENTRY(2, 0x15800, 9, 0, 0x14008), DESC(4, 0x13ff8, 32, 0, 0),
         TAKE(109), PUBLISH(1)),
    /* Notification by event index. */
    SEED(START(6, 4), NOTIFY, DESC(2, 0x15000, 100, 0, 0), OFFER(0), TAKE(60),
         PUBLISH(1), NOTIFY, OFFER(0), TAKE(60), PUBLISH(1), NOTIFY),
    SEED(START(7, 3), BASE(0x8007), NOTIFY, POKE4(0x11000, 7, 0x80, 2, 0),
         DESC(2, 0x15000, 100, 1, 7), DESC(2, 0x15800, 100, 2, 0),
         DESC(2 | 64, 0x15000, 100, 1, 0), DESC(2 | 64, 0x15800, 100, 2, 1),
         TAKE(250), PUBLISH(3), NOTIFY, POKE4(0x11000, 4, 0, 2, 0), NOTIFY),
    /* The input is what is in the ring. */
    SEED(1, 2, 4, 0, TAKE(1), TAKE(1), NOTIFY),
    SEED(1, 3, 4, 0, TAKE(1), TAKE(1), NOTIFY),
};

static void
write_seeds(const char *dir)
{
    for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
        char *name = xasprintf("%s/seed-%"PRIuSIZE, dir, i);
        FILE *file = fopen(name, "wb");

        ovs_assert(file);
        ovs_assert(fwrite(seeds[i].data, seeds[i].size, 1, file) == 1);
        ovs_assert(!fclose(file));
        free(name);
    }
}

int
main(int argc, char *argv[])
{
    if (argc == 3 && !strcmp(argv[1], "--seeds")) {
        write_seeds(argv[2]);
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        static uint8_t data[1 << 20];
        FILE *file = fopen(argv[i], "rb");
        size_t n;

        ovs_assert(file);
        n = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, n);
    }
    for (size_t i = 0; argc == 1 && i < ARRAY_SIZE(seeds); i++) {
        LLVMFuzzerTestOneInput(seeds[i].data, seeds[i].size);
    }
    return 0;
}
#endif
