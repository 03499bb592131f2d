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

/* Tests of which messages of a guest are refused, lib/vhost-async-message.c,
 * with messages as the vhost library hands them over, and a library that
 * knows one device. */

#undef NDEBUG
#include <config.h>

/* As for the source that is tested. */
#ifndef ALLOW_EXPERIMENTAL_API
#define ALLOW_EXPERIMENTAL_API
#endif

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_version.h>
#include <rte_vhost.h>

#include "dma-test.h"
#include "ovstest.h"
#include "util.h"

#define N_RINGS 4
#define PACKED (UINT64_C(1) << 34)

/* What the library knows. */
static struct {
    uint64_t features;
    struct {
        uint32_t size;
        uint16_t base;
        bool mapped;
        unsigned int part;      /* No more than that: 0, 1 or 2. */
    } rings[N_RINGS];
    bool has_no_base;           /* Of any ring. */
    int year, month;            /* Of its release. */
} lib;

static int
fake_features(int vid OVS_UNUSED, uint64_t *features)
{
    *features = lib.features;
    return 0;
}

static int
fake_vring(int vid OVS_UNUSED, uint16_t index, struct rte_vhost_vring *vring)
{
    static struct vring_desc desc;
    static struct vring_avail avail;
    static struct vring_used used;
    unsigned int part;

    if (index >= N_RINGS) {
        return -1;
    }
    part = lib.rings[index].mapped ? lib.rings[index].part : UINT_MAX;
    *vring = (struct rte_vhost_vring) {
        .size = lib.rings[index].size,
        .desc = part == 0 ? &desc : NULL,
        .avail = part == 1 ? &avail : NULL,
        .used = part == 2 ? &used : NULL,
    };
    return 0;
}

static int
fake_vring_base(int vid OVS_UNUSED, uint16_t index, uint16_t *avail,
                uint16_t *used)
{
    *avail = *used = lib.rings[index].base;
    return lib.has_no_base ? -1 : 0;
}

static unsigned int
fake_version_year(void)
{
    return lib.year;
}

static unsigned int
fake_version_month(void)
{
    return lib.month;
}

#define rte_vhost_get_negotiated_features fake_features
#define rte_vhost_get_vhost_vring fake_vring
#define rte_vhost_get_vring_base fake_vring_base
#define rte_vhost_get_vring_num(VID) N_RINGS
#define rte_version_month fake_version_month
#define rte_version_year fake_version_year

/* The tests of ports have the real ones. */
#define vhost_async_message_accepted message_accepted
#define vhost_async_message_check message_check
#define vhost_async_message_close_fds message_close_fds
#define vhost_async_message_request message_request
#define vhost_async_message_resets message_resets
#include "vhost-async-message.c"

/* Of a message that the guest sends. */
static struct {
    uint32_t msg[FDS_AT / 4];
    int fds[MAX_FDS];
    int n_fds;
} context;

static struct vhost_async_rings rings;

static void
init(void)
{
    memset(&lib, 0, sizeof lib);
    lib.year = 22;
    lib.month = 11;
    memset(&rings, 0, sizeof rings);
    context.n_fds = 0;
}

/* Begins a message whose payload has 'size' bytes. */
static uint32_t *
begin(uint32_t request, uint32_t size)
{
    memset(context.msg, 0, sizeof context.msg);
    context.msg[0] = request;
    context.msg[1] = 1;
    context.msg[2] = size;
    return &context.msg[3];
}

/* Whether the message gets to the library, which refuses it. */
static bool
passes_in_vain(void)
{
    return !vhost_async_message_check(0, &context, &rings);
}

static bool
passes(void)
{
    bool ok = passes_in_vain();

    if (ok) {
        vhost_async_message_accepted(&context, &rings);
    }
    return ok;
}

/* Sends a message about a ring. */
static bool
ring_message(uint32_t request, uint32_t index, uint32_t num)
{
    uint32_t *payload
        = begin(request, request == VHOST_ASYNC_SET_VRING_ADDR ? 40 : 8);

    payload[0] = index;
    payload[1] = num;
    return passes();
}

static bool
set_features(uint64_t features)
{
    memcpy(begin(VHOST_ASYNC_SET_FEATURES, 8), &features, sizeof features);
    return passes();
}

static bool
set_num(uint32_t index, uint32_t num)
{
    bool ok = ring_message(VHOST_ASYNC_SET_VRING_NUM, index, num);

    if (ok && index < N_RINGS) {
        lib.rings[index].size = num;
    }
    return ok;
}

/* Tables of one region. */
static bool
set_table(int fd, uint64_t size, uint64_t offset)
{
    uint64_t region[4] = { 0, size, 0x1000, offset };
    uint32_t *payload = begin(VHOST_ASYNC_SET_MEM_TABLE, 8 + sizeof region);

    payload[0] = 1;
    memcpy(&payload[2], region, sizeof region);
    context.n_fds = 1;
    context.fds[0] = fd;
    return passes();
}

static void
test_good_guest(void)
{
    int fd = memfd_create("guest", 0);

    init();
    ovs_assert(!ftruncate(fd, 1 << 20));
    begin(1, 0);
    ovs_assert(passes());
    ovs_assert(set_features(1));
    ovs_assert(set_table(fd, 1 << 20, 0));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2; i++) {
            ovs_assert(set_num(i, round ? 512 : 256));
            ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_BASE, i, 40000));
            ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_ADDR, i, 0));
            ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, i, 0));
            ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_CALL, i, 0));
            ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_ENABLE, i, 1));
            lib.rings[i].mapped = true;
        }
        /* Memory is added while it runs, and the same said once more. */
        ovs_assert(set_table(fd, 1 << 19, 1 << 19));
        ovs_assert(set_features(lib.features));
        ovs_assert(set_num(0, lib.rings[0].size));

        for (int i = 0; i < 2; i++) {
            ovs_assert(ring_message(VHOST_ASYNC_GET_VRING_BASE, i, 0));
            lib.rings[i].mapped = false;
        }
        ovs_assert(set_features(PACKED));
        ovs_assert(set_features(0));
    }
    close(fd);
}

static void
test_sizes(void)
{
    init();
    ovs_assert(!set_num(0, 0));
    ovs_assert(!set_num(0, 3));
    ovs_assert(!set_num(0, 65536));
    ovs_assert(!set_num(0, UINT32_MAX));
    ovs_assert(set_num(0, 32768));
    ovs_assert(!set_num(VHOST_ASYNC_MAX_VRINGS, 256));
    ovs_assert(!set_num(UINT32_MAX, 256));
    ovs_assert(set_num(VHOST_ASYNC_MAX_VRINGS - 1, 256));

    lib.features = PACKED;
    ovs_assert(set_num(1, 3));
    ovs_assert(!set_num(2, 0));
}

static void
test_size_of_a_ring_in_use(void)
{
    init();
    ovs_assert(set_num(0, 256));
    ovs_assert(!set_num(0, 512));
    ovs_assert(set_num(0, 256));
    ovs_assert(set_num(1, 512));
    ovs_assert(ring_message(VHOST_ASYNC_GET_VRING_BASE, 0, 0));
    ovs_assert(set_num(0, 512));
    begin(VHOST_ASYNC_RESET_OWNER, 0);
    ovs_assert(passes());
    ovs_assert(set_num(1, 256));
}

static void
test_ring_without_size(void)
{
    init();
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_ADDR, 0, 0));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    ovs_assert(set_num(1, 256));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    ovs_assert(set_num(0, 256));
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_ADDR, 0, 0));
    /* Bit 8 says that there is no file descriptor. */
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 0x100, 0));

    /* What the size brought along goes when the ring is stopped. */
    ovs_assert(ring_message(VHOST_ASYNC_GET_VRING_BASE, 0, 0));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_ADDR, 0, 0));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 1, 0));

    /* The library refused the size by itself. */
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_NUM, 2, 256));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_ADDR, 2, 0));

    /* And a refused size brings nothing along. */
    ovs_assert(!set_num(0, 3));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
}

static void
test_layout_changes(void)
{
    init();
    ovs_assert(set_num(0, 256));
    ovs_assert(set_features(PACKED));
    lib.features = PACKED;
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    ovs_assert(set_num(0, 300));
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    lib.rings[0].mapped = true;
    for (int part = 0; part < 3; part++) {
        lib.rings[0].part = part;
        ovs_assert(!set_features(0));
    }
    ovs_assert(!set_features(PACKED | 1));
    ovs_assert(set_features(PACKED));
}

static void
test_packed_base(void)
{
    init();
    lib.features = PACKED;

    /* In whichever order they come: the one that there is may be of a split
     * ring that was there before. */
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_BASE, 0, 0x8000 | 299));
    lib.rings[0].base = 0x8000 | 299;
    ovs_assert(set_num(0, 299));
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_ADDR, 0, 0));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_BASE, 0, 299));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_BASE, 0, 0x8000 | 299));
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_BASE, 0, 0x8000 | 298));
    lib.rings[0].base = 0x8000 | 298;
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    ovs_assert(ring_message(VHOST_ASYNC_GET_VRING_BASE, 0, 0));
    ovs_assert(set_num(0, 100));
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    /* The library knows of none. */
    lib.has_no_base = true;
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
    lib.has_no_base = false;

    /* Of a split ring it is any number. */
    lib.features = 0;
    ovs_assert(set_num(1, 256));
    lib.rings[1].base = 5000;
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 1, 0));
}

/* The library refuses messages as well, for instance for file descriptors that
 * came with them. */
static void
test_what_the_library_refuses(void)
{
    init();
    lib.features = F_MQ;
    ovs_assert(set_num(0, 256));

    begin(VHOST_ASYNC_GET_VRING_BASE, 8)[0] = 0;
    ovs_assert(passes_in_vain());
    ovs_assert(!set_num(0, 32768));
    begin(VHOST_ASYNC_RESET_OWNER, 0);
    ovs_assert(passes_in_vain());
    ovs_assert(!set_num(0, 32768));
    begin(VHOST_ASYNC_SET_FEATURES, 8)[1] = PACKED >> 32;
    ovs_assert(passes_in_vain());
    ovs_assert(!set_num(0, 32768));

    ovs_assert(ring_message(VHOST_ASYNC_GET_VRING_BASE, 0, 0));
    begin(VHOST_ASYNC_SET_VRING_NUM, 8)[1] = 256;
    ovs_assert(passes_in_vain());
    ovs_assert(!ring_message(VHOST_ASYNC_SET_VRING_KICK, 0, 0));
}

static void
test_rings_without_multiqueue(void)
{
    init();
    lib.features = F_MQ;
    for (int i = 0; i < 4; i++) {
        ovs_assert(set_num(i, 256));
    }
    ovs_assert(set_features(F_MQ));
    ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_KICK, 3, 0));
    ovs_assert(set_features(1));
    for (int i = 0; i < 4; i++) {
        ovs_assert(ring_message(VHOST_ASYNC_SET_VRING_ADDR, i, 0) == (i < 2));
    }
}

/* QEMU says features and sizes again for each pair of queues, while others are
 * in use. */
static void
test_resets(void)
{
    init();
    lib.features = F_MQ;
    ovs_assert(set_num(0, 256));
    ovs_assert(set_features(F_MQ));
    ovs_assert(!vhost_async_message_resets(0, &context, 0));
    ovs_assert(set_features(F_MQ | PACKED));
    ovs_assert(vhost_async_message_resets(0, &context, 0));

    ovs_assert(set_num(0, 256));
    ovs_assert(!vhost_async_message_resets(0, &context, 0));
    begin(VHOST_ASYNC_SET_VRING_NUM, 8)[1] = 512;
    ovs_assert(vhost_async_message_resets(0, &context, 0));
    ovs_assert(!vhost_async_message_resets(0, &context, 2));
    begin(VHOST_ASYNC_SET_MEM_TABLE, 8);
    ovs_assert(!vhost_async_message_resets(0, &context, 0));
}

static void
test_short_messages(void)
{
    init();
    ovs_assert(set_num(0, 256));
    begin(VHOST_ASYNC_SET_VRING_ADDR, 39);
    ovs_assert(!passes());
    begin(VHOST_ASYNC_SET_VRING_ENABLE, 7);
    ovs_assert(!passes());
    begin(VHOST_ASYNC_SET_FEATURES, 0);
    ovs_assert(!passes());
    begin(VHOST_ASYNC_SET_MEM_TABLE, 8)[0] = 1;
    ovs_assert(!passes());
}

static unsigned int
count_mappings(void)
{
    static const char name[] = "/proc/self/maps";
    FILE *file = fopen(name, "r");
    unsigned int n = 0;
    int c;

    ovs_assert(file);
    while ((c = getc(file)) != EOF) {
        n += c == '\n';
    }
    fclose(file);
    return n;
}

/* However often a guest tries, nothing stays behind. */
static void
test_refused_regions_are_not_mapped(void)
{
    int fd = memfd_create("guest", 0);
    unsigned int n;
    char *name;
    int ro_fd;

    init();
    ovs_assert(!ftruncate(fd, 1 << 20));
    name = xasprintf("%s/%d", "/proc/self/fd", fd);
    ro_fd = open(name, O_RDONLY);
    ovs_assert(ro_fd >= 0);
    n = count_mappings();
    for (int i = 0; i < 100; i++) {
        ovs_assert(!set_table(ro_fd, 4096, 0));
        ovs_assert(set_table(fd, 4096, 0));
    }
    /* Memory of the test's own may come and go. */
    ovs_assert(count_mappings() < n + 10);
    free(name);
    close(ro_fd);
    close(fd);
}

static void
test_tables(void)
{
    int fd = memfd_create("guest", 0);
    int event = eventfd(0, 0);
    int pipes[2];

    init();
    ovs_assert(!ftruncate(fd, 1 << 20));
    ovs_assert(!pipe(pipes));
    ovs_assert(set_table(fd, 1 << 20, 0));
    ovs_assert(!set_table(fd, 0, 0));
    ovs_assert(!set_table(fd, UINT64_MAX, 1));
    ovs_assert(!set_table(fd, 4096, UINT64_MAX - 4096));
    ovs_assert(!set_table(fd, 1 << 20, 1));
    ovs_assert(!set_table(fd, (1 << 20) + 1, 0));
    ovs_assert(!set_table(event, 4096, 0));
    ovs_assert(!set_table(pipes[0], 4096, 0));
    ovs_assert(!set_table(1000000, 4096, 0));

    begin(VHOST_ASYNC_SET_MEM_TABLE, 8)[0] = 0;
    ovs_assert(passes());
    begin(VHOST_ASYNC_SET_MEM_TABLE, 8)[0] = 9;
    ovs_assert(!passes());
    begin(VHOST_ASYNC_SET_MEM_TABLE, 8)[0] = UINT32_MAX;
    ovs_assert(!passes());

    /* Of another release, nothing is known but the protocol. */
    lib.year = 23;
    ovs_assert(set_table(event, 4096, 0));
    lib.year = 22;
    lib.month = 3;
    ovs_assert(set_table(event, 4096, 0));
    ovs_assert(!set_table(fd, 0, 0));
    close(fd);
    close(event);
    close(pipes[0]);
    close(pipes[1]);
}

static void
test_features_not_offered(void)
{
    static const uint32_t requests[] = { 22, 28, 29, 30, 31, 32 };

    init();
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        begin(requests[i], 20);
        ovs_assert(!passes());
    }
    /* The library knows what to do with others. */
    begin(21, 8);
    ovs_assert(passes());
    begin(12345, 0);
    ovs_assert(passes());
}

static void
test_fds_of_refused_messages_are_closed(void)
{
    int fd = eventfd(0, 0);
    int other = eventfd(0, 0);

    init();
    set_table(fd, 4096, 0);
    context.n_fds = 2;
    context.fds[1] = -1;
    context.fds[2] = other;
    vhost_async_message_close_fds(&context);
    ovs_assert(fcntl(fd, F_GETFD) == -1 && context.fds[0] == -1);
    ovs_assert(fcntl(other, F_GETFD) != -1);

    /* Whatever stands there is none if it is not known to be one. */
    lib.month = 3;
    context.fds[0] = other;
    vhost_async_message_close_fds(&context);
    lib.month = 11;
    context.n_fds = 1 << 30;
    vhost_async_message_close_fds(&context);
    context.n_fds = -1;
    vhost_async_message_close_fds(&context);
    ovs_assert(fcntl(other, F_GETFD) != -1);
    close(other);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(good_guest),
    DMA_TEST_CASE(sizes),
    DMA_TEST_CASE(size_of_a_ring_in_use),
    DMA_TEST_CASE(ring_without_size),
    DMA_TEST_CASE(layout_changes),
    DMA_TEST_CASE(packed_base),
    DMA_TEST_CASE(what_the_library_refuses),
    DMA_TEST_CASE(rings_without_multiqueue),
    DMA_TEST_CASE(resets),
    DMA_TEST_CASE(short_messages),
    DMA_TEST_CASE(tables),
    DMA_TEST_CASE(refused_regions_are_not_mapped),
    DMA_TEST_CASE(features_not_offered),
    DMA_TEST_CASE(fds_of_refused_messages_are_closed),
};

static void
test_vhost_message_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-message", test_vhost_message_main);
