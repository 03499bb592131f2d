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

#ifndef DMA_CHAN_FIXTURE_H
#define DMA_CHAN_FIXTURE_H 1

/* Threads that send on DMA channels, for tests of these.
 *
 * Engines and clock are those of fake-dmadev.h.  Each copy has bytes of its
 * own; when a packet is handed out, all of it must be where it was to go.
 *
 * To be included behind dma-chan-sources.h. */

#include "random.h"

#define MAX_PIECES 8
#define N_SLOTS 32768           /* Copies whose bytes are remembered. */
#define PIECE_SIZE 24

/* What a thread sends on one channel.  Packets are numbered in the order in
 * which they were sent and must come back in. */
struct flow {
    struct dpdk_dma_chan *chan;
    struct dpdk_dma_owner owner;
    uint8_t src[N_SLOTS][PIECE_SIZE];
    uint8_t dst[N_SLOTS][PIECE_SIZE];
    uint64_t end[N_SLOTS];      /* Copy behind the last one, by packet. */
    uint64_t n_copies, n_checked;
    uint32_t n_sent, n_back;
};

static struct flow flows[8];

/* Adds a piece to 'f', returns false if it was refused. */
static bool
add_piece(struct flow *f)
{
    unsigned int i = f->n_copies % N_SLOTS;

    random_bytes(f->src[i], PIECE_SIZE);
    memset(f->dst[i], 0, PIECE_SIZE);
    if (!dpdk_dma_chan_add(f->chan, (uintptr_t) f->dst[i],
                           (uintptr_t) f->src[i], f->dst[i], f->src[i],
                           PIECE_SIZE)) {
        return false;
    }
    f->n_copies++;
    return true;
}

static void
end_packet(struct flow *f)
{
    f->end[f->n_sent % N_SLOTS] = f->n_copies;
    dpdk_dma_chan_end_packet(f->chan, &f->owner, f->n_sent++);
}

/* Sends packets of 'n_pieces', without a doorbell. */
static void
send_packets(struct flow *f, unsigned int n, unsigned int n_pieces)
{
    while (n--) {
        for (unsigned int i = 0; i < n_pieces; i++) {
            ovs_assert(add_piece(f));
        }
        end_packet(f);
    }
}

/* Checks that the packets in 'done' are the next ones of the flows that they
 * belong to, that they arrived, and that all of their copies are counted. */
static void
check_done(const struct dpdk_dma_done *done, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        struct flow *f = CONTAINER_OF(done[i].owner, struct flow, owner);

        ovs_assert(done[i].seq == f->n_back);
        ovs_assert(f->n_back < f->n_sent);
        for (; f->n_checked < f->end[f->n_back % N_SLOTS]; f->n_checked++) {
            ovs_assert(!memcmp(f->src[f->n_checked % N_SLOTS],
                               f->dst[f->n_checked % N_SLOTS], PIECE_SIZE));
        }
        f->n_back++;
        ovs_assert(dpdk_dma_chan_completed(f->chan) >= f->n_checked);
    }
}

/* Reaps 'f' once, returns how many packets came back. */
static unsigned int
reap(struct flow *f, unsigned int max)
{
    struct dpdk_dma_done done[256];
    unsigned int n = dpdk_dma_chan_reap(f->chan, done, MIN(max, 256));

    ovs_assert(n <= max);
    check_done(done, n);
    return n;
}

static OVS_UNUSED unsigned int
redo(struct flow *f, unsigned int max)
{
    struct dpdk_dma_done done[256];
    unsigned int n = dpdk_dma_chan_redo(f->chan, done, MIN(max, 256));

    ovs_assert(n <= max);
    check_done(done, n);
    return n;
}

static OVS_UNUSED void
check_in_flight(const struct flow *f, uint64_t n)
{
    ovs_assert(dpdk_dma_chan_in_flight(f->chan) == n);
}

/* Starts all devices and claims channel i for flow i. */
static void
start(void)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();
    struct dpdk_dma_chan *chan;

    dpdk_dma_dev_start_all();
    dpdk_dma_map_open(map);
    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        if (!dpdk_dma_chan_failed(chan)) {
            ovs_assert(dpdk_dma_map_claim(map, &flows[i], i, 0) == chan);
            flows[i].chan = chan;
        }
    }
}

/* One device with one channel, claimed. */
static OVS_UNUSED struct flow *
start_one(enum fake_driver driver, uint16_t max_desc)
{
    fake_dev_add(0, "dma0", driver, 1, max_desc);
    start();
    return &flows[0];
}

#endif /* dma-chan-fixture.h */
