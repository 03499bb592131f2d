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

/* The guest: a virtio-net driver with mergeable receive buffers, which polls
 * as DPDK's does.  It shares its memory with the switch through a file, and
 * its physical addresses are offsets in there. */

#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H 1

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench-vhost.h"

#define HDR_LEN sizeof(struct virtio_net_hdr_mrg_rxbuf)

/* Headroom before the packet, in which the virtio header is. */
#define GUEST_HEADROOM 128

/* Packets that a guest has on their way to the switch, at most. */
#define GUEST_MAX_SENT 256

/* A virtqueue to receive or to send, split or packed.  Of a packed one the
 * descriptors are at 'vring.desc', and what either side says of notifications,
 * at 'vring.avail' and 'vring.used'. */
struct guest_vq {
    struct vring vring;
    bool packed;
    uint8_t *bufs;
    uint32_t stride;            /* Bytes from one buffer to the next. */
    uint32_t offset;            /* Of what the switch may write to in it. */
    uint32_t buf_len;           /* Number of these bytes. */
    uint16_t used;              /* Index of the next used buffer; of a
                                 * virtqueue to send, of the next to offer. */
    bool wrap;                  /* Packed: its flags when it is. */
};

struct guest {
    int fd;                     /* The connection. */
    int mem_fd;
    uint8_t *mem;
    size_t size;
    size_t n_used;              /* Bytes of 'mem'. */
    struct guest_vq rxqs[MAX_PAIRS];
    struct guest_vq txq;        /* Of the first pair. */
};

void guest_init_memory(struct guest *, size_t size, bool huge);
void guest_init_rxq(struct guest *, struct guest_vq *, unsigned int n,
                    unsigned int buf_len, unsigned int stride);
void guest_init_txq(struct guest *, unsigned int n, unsigned int stride);
void guest_connect(struct guest *, unsigned int n_pairs, bool tso);
bool guest_receive(struct guest_vq *, uint32_t size, const uint32_t *seq);
uint16_t guest_n_used(const struct guest_vq *);
uint8_t *guest_packet(const struct guest *, unsigned int i);
void guest_send(struct guest *, unsigned int i, unsigned int n, uint32_t size);
bool guest_has_all_back(const struct guest *);

/* The byte at 'ofs' of packet 'seq', behind the headers. */
static inline uint8_t
pattern(uint32_t seq, uint32_t ofs)
{
    return seq * 131 + ofs * 7 + (ofs >> 8) * 13;
}

#endif /* bench-guest.h */
