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

#ifndef VHOST_VRING_LAYOUT_H
#define VHOST_VRING_LAYOUT_H 1

/* What the layouts of rings share: access to memory that the guest writes to,
 * and the search for a packet's place in it.  Included by vhost-vring*.c only;
 * inline, since each packet comes along here.  Threads and protection are as
 * in vhost-vring.h.
 *
 * Numbers in rings have the byte order of the host, as in the vhost library
 * (22.11 to 26.07): guests of another one are not supported there either. */

#include <linux/virtio_ring.h>
#include <string.h>

#include <rte_atomic.h>
#include <rte_vhost.h>

#include "ovs-atomic.h"
#include "vhost-guest-mem.h"
#include "vhost-vring.h"

/* Reasons for which a ring breaks, said of the guest. */
#define VHOST_VRING_BAD_ADDRESS "gave a buffer outside of its memory"
#define VHOST_VRING_BAD_TABLE "gave an indirect table that is not one"
#define VHOST_VRING_BAD_ID "named a descriptor that its ring does not have"
#define VHOST_VRING_EMPTY_DESC "gave a descriptor of no bytes"
#define VHOST_VRING_WRITE_ONLY "gave a packet that is not for reading"
#define VHOST_VRING_SHREDDED "gave a packet in more than 256 pieces"
#define VHOST_VRING_LOOP "gave a chain that is longer than its ring or table"
#define VHOST_VRING_NESTED "gave an indirect table within another"
#define VHOST_VRING_OVERFULL "offers more buffers than its ring has"
#define VHOST_VRING_READ_ONLY "gave a buffer that is not for writing to"
#define VHOST_VRING_TAKEN_BACK "took back a buffer that it offered"

/* Where a packet is or goes, while that is being found out. */
struct vhost_vring_fill {
    struct vhost_vring_seg *segs;
    uint32_t n_segs;
    uint32_t n_empty;           /* Descriptors of no bytes. */
    uint32_t left;              /* Bytes that have no place yet; of a transmit
                                 * ring, that a packet may still have. */
};

/* An indirect table.  All of it is in the guest's memory. */
struct vhost_vring_table {
    const uint8_t *va;          /* NULL if it is not within one region. */
    uint64_t gpa;
    uint32_t n;                 /* Descriptors, not 0. */
};

enum vhost_vring_result vhost_vring_open_table(struct vhost_vring *,
                                               uint64_t gpa, uint32_t len,
                                               struct vhost_vring_table *);
void vhost_vring_copy_from_table(struct vhost_vring *,
                                 const struct vhost_vring_table *, uint32_t i,
                                 void *desc);

/* Atomics have two purposes here: the compiler reads what the guest can change
 * exactly once, and order where a caller asks for it. */

static inline uint16_t
vhost_vring_load16(const void *p, memory_order order)
{
    uint16_t x;

    atomic_read_explicit((ATOMIC(uint16_t) *) CONST_CAST(void *, p), &x,
                         order);
    return x;
}

static inline uint64_t
vhost_vring_load64(const void *p)
{
    uint64_t x;

    atomic_read_relaxed((ATOMIC(uint64_t) *) CONST_CAST(void *, p), &x);
    return x;
}

static inline void
vhost_vring_store16_release(void *p, uint16_t x)
{
    atomic_store_explicit((ATOMIC(uint16_t) *) p, x, memory_order_release);
}

/* Fetches the descriptor some places behind the one at 'i', which is what the
 * next packets mostly get.  Where the guest has just written them, eight takes
 * 40 % off the cost of a burst of 32 (AMD EPYC, 64 bytes each), four and
 * sixteen less; where they are in the cache already, it costs nothing. */
static inline void
vhost_vring_prefetch(const struct vhost_vring *vr, uint32_t i)
{
    OVS_PREFETCH(vr->desc + (i + 8) * 16);
}

static inline enum vhost_vring_result
vhost_vring_break(struct vhost_vring *vr, const char *why)
{
    vr->broken = why;
    return VHOST_VRING_BROKEN;
}

/* Finds place for what is left of a packet in a buffer of 'len' bytes at 'gpa'
 * with 'flags' (VRING_DESC_F_*, which mean the same in all layouts), or finds
 * that much of one that the guest gives.
 *
 * A descriptor of no bytes breaks a receive ring, as in QEMU (7.2,
 * virtqueue_map_desc() of hw/virtio/virtio.c), and is nothing in a packet of
 * the guest, as in the vhost library (map_one_desc(), 22.11 to 26.07): drivers
 * send what has empty pieces.  Either way no guest can have us look at more
 * than VHOST_VRING_MAX_SEGS of them. */
static inline enum vhost_vring_result
vhost_vring_fill_add(struct vhost_vring *vr, struct vhost_vring_fill *fill,
                     uint64_t gpa, uint32_t len, uint16_t flags)
{
    if (OVS_UNLIKELY(!(flags & VRING_DESC_F_WRITE) != vr->from_guest)) {
        return vhost_vring_break(vr, (vr->from_guest ? VHOST_VRING_WRITE_ONLY
                                      : VHOST_VRING_READ_ONLY));
    }
    if (OVS_UNLIKELY(!len)) {
        if (!vr->from_guest) {
            return vhost_vring_break(vr, VHOST_VRING_EMPTY_DESC);
        }
        return (++fill->n_empty > VHOST_VRING_MAX_SEGS
                ? VHOST_VRING_TOO_BIG : VHOST_VRING_TAKEN);
    }

    len = MIN(len, fill->left);
    while (len) {
        struct vhost_vring_seg *seg;
        uint32_t part = len;
        uint8_t *va;

        if (OVS_UNLIKELY(fill->n_segs >= VHOST_VRING_MAX_SEGS)) {
            return VHOST_VRING_TOO_BIG;
        }
        va = vhost_guest_mem_lookup(vr->mem, gpa, &part, &vr->hint);
        if (OVS_UNLIKELY(!va)) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_ADDRESS);
        }
        seg = &fill->segs[fill->n_segs++];
        seg->va = va;
        seg->len = part;
        seg->region = vr->hint;

        fill->left -= part;
        gpa += part;
        len -= part;
    }
    return VHOST_VRING_TAKEN;
}

/* Copies descriptor 'i' of 'table' to the 16 bytes at 'desc'.  The guest may
 * have put the table at any address, so that this is no matter of atomics; the
 * fence keeps the compiler from reading the guest's memory again where the
 * copy is used. */
static inline void
vhost_vring_read_table(struct vhost_vring *vr,
                       const struct vhost_vring_table *table, uint32_t i,
                       void *desc)
{
    if (OVS_LIKELY(table->va)) {
        memcpy(desc, table->va + i * (size_t) 16, 16);
    } else {
        vhost_vring_copy_from_table(vr, table, i, desc);
    }
    atomic_signal_fence(memory_order_acq_rel);
}

/* Notes that buffer 'id' of the guest, with 'n_descs' descriptors, is the one
 * after the 'n' that a packet has already and gets 'len' bytes of it. */
static inline void
vhost_vring_add_chain(struct vhost_vring *vr, uint32_t n, uint32_t len,
                      uint16_t id, uint16_t n_descs)
{
    struct vhost_vring_chain *chain;

    chain = &vr->chains[(vr->n_taken + n) & vr->chains_mask];
    chain->len = len;
    chain->id = id;
    chain->n_descs = n_descs;
}

/* Finds the 'len' bytes at 'gpa' that are the first of buffer 'id' with one
 * descriptor, of 'desc_len' bytes with 'flags', of which those that matter are
 * to be 'expected'.  Returns NULL if that is not as simple as it mostly is, or
 * wrong. */
static inline uint8_t *
vhost_vring_simple_buf(struct vhost_vring *vr, uint32_t len, uint64_t gpa,
                       uint32_t desc_len, uint16_t flags, uint16_t expected,
                       uint16_t id)
{
    const uint16_t all = (VRING_DESC_F_WRITE | VRING_DESC_F_NEXT
                          | VRING_DESC_F_INDIRECT);
    uint32_t part = len;
    uint8_t *va;

    if (OVS_UNLIKELY((flags & all) != expected || desc_len < len
                     || id >= vr->size)) {
        return NULL;
    }
    va = vhost_guest_mem_lookup(vr->mem, gpa, &part, &vr->hint);
    return OVS_LIKELY(va && part >= len) ? va : NULL;
}

/* Finds place for a packet of 'len' bytes in such a buffer, or returns
 * NULL. */
static inline uint8_t *
vhost_vring_simple_place(struct vhost_vring *vr, uint32_t len, uint64_t gpa,
                         uint32_t desc_len, uint16_t flags, uint16_t id)
{
    return vhost_vring_simple_buf(vr, len, gpa, desc_len, flags,
                                  VRING_DESC_F_WRITE, id);
}

/* The same, and notes it.  Returns false instead of NULL. */
static inline bool
vhost_vring_fill_simple(struct vhost_vring *vr, struct vhost_vring_buf *buf,
                        uint32_t len, uint64_t gpa, uint32_t desc_len,
                        uint16_t flags, uint16_t id)
{
    uint8_t *va = vhost_vring_simple_place(vr, len, gpa, desc_len, flags, id);

    if (OVS_UNLIKELY(!va)) {
        return false;
    }
    buf->n_chains = 1;
    buf->n_segs = 1;
    buf->segs[0].va = va;
    buf->segs[0].len = len;
    buf->segs[0].region = vr->hint;
    vhost_vring_add_chain(vr, 0, len, id, 1);
    vr->n_taken++;
    return true;
}

/* Takes the 'n_chains' that were noted, into '*buf'. */
static inline void
vhost_vring_taken(struct vhost_vring *vr, const struct vhost_vring_fill *fill,
                  uint32_t n_chains, struct vhost_vring_buf *buf)
{
    buf->n_chains = n_chains;
    buf->n_segs = fill->n_segs;
    vr->n_taken += n_chains;
}

/* Takes the packet, the one after the 'n' that were noted, that buffer 'id'
 * with one descriptor has, of 'len' bytes at 'gpa' with 'flags', into '*seg',
 * and notes it.  Returns false if that is not as simple as it mostly is, or
 * wrong. */
static inline bool
vhost_vring_plain_pkt(struct vhost_vring *vr, uint32_t n, uint64_t gpa,
                      uint32_t len, uint16_t flags, uint16_t id,
                      struct vhost_vring_seg *seg)
{
    uint8_t *va;

    if (OVS_UNLIKELY(!len)) {
        return false;
    }
    va = vhost_vring_simple_buf(vr, len, gpa, len, flags, 0, id);
    if (OVS_UNLIKELY(!va)) {
        return false;
    }
    seg->va = va;
    seg->len = len;
    seg->region = vr->hint;
    /* Nothing is written to it. */
    vhost_vring_add_chain(vr, n, 0, id, 1);
    return true;
}

/* Begins to find out where a packet is that the guest gives. */
static inline struct vhost_vring_fill
vhost_vring_begin_pkt(const struct vhost_vring_pkt *pkt)
{
    return (struct vhost_vring_fill) { .segs = pkt->segs, .left = UINT32_MAX };
}

/* Takes the packet that was found, with 'result', in buffer 'id' of 'n_descs'
 * descriptors, into '*pkt'. */
static inline enum vhost_vring_result
vhost_vring_end_pkt(struct vhost_vring *vr,
                    const struct vhost_vring_fill *fill,
                    enum vhost_vring_result result, uint16_t id,
                    uint16_t n_descs, struct vhost_vring_pkt *pkt)
{
    if (OVS_UNLIKELY(result != VHOST_VRING_TAKEN)) {
        /* No guest that means it does that, and there is no way to skip a
         * buffer whose end is not known. */
        return (result == VHOST_VRING_TOO_BIG
                ? vhost_vring_break(vr, VHOST_VRING_SHREDDED) : result);
    }
    pkt->n_segs = fill->n_segs;
    pkt->len = UINT32_MAX - fill->left;
    /* Nothing is written to it. */
    vhost_vring_add_chain(vr, 0, 0, id, n_descs);
    vr->n_taken++;
    return VHOST_VRING_TAKEN;
}

/* Logs a piece of the ring, after it was written: a page that is sent in
 * between is sent again.  By guest address: rte_vhost_log_used_vring() (22.11
 * to 26.07) goes by that of SET_VRING_ADDR, which QEMU sets to the event area
 * of a packed ring. */
static inline void
vhost_vring_log_written(const struct vhost_vring *vr, uint64_t gpa,
                        uint32_t len)
{
    if (OVS_UNLIKELY(vr->log_vid >= 0)) {
        rte_vhost_log_write(vr->log_vid, gpa, len);
    }
}

/* The part of must_notify() that does not need to look at the guest's memory.
 * Returns true if it settles the matter, with the answer in '*notify'.
 * Otherwise stores in '*n' how much was published since the last look.
 *
 * What the guest writes before it goes to sleep must be read after it can see
 * what was published: it looks at the ring again after it wrote, so that one
 * of the two sides sees the other.  Only a full fence orders our stores before
 * our loads. */
static inline bool
vhost_vring_notify_settled(struct vhost_vring *vr, uint32_t *n, bool *notify)
{
    *n = vr->n_unsignalled;
    vr->n_unsignalled = 0;
    if (OVS_UNLIKELY(!vr->looked)) {
        vr->looked = true;
        *notify = true;
        return true;
    }
    if (!*n) {
        *notify = false;
        return true;
    }
    /* DPDK's: on x86 half of the cost of the compiler's. */
    rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
    return false;
}

#endif /* vhost-vring-layout.h */
