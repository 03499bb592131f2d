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

/* Rings in the packed layout: Virtual I/O Device 1.2, section 2.8.
 *
 * Called through vhost-vring.h, by the same threads. */

#include <config.h>

#include "vhost-vring.h"

#include "util.h"
#include "vhost-vring-layout.h"

#define AVAIL_FLAG (1 << VRING_PACKED_DESC_F_AVAIL)
#define USED_FLAG (1 << VRING_PACKED_DESC_F_USED)
#define WRAP_FLAG (1 << VRING_PACKED_EVENT_F_WRAP_CTR)

static void
packed_areas(uint32_t size, bool event_idx OVS_UNUSED, uint64_t bytes[3],
             uint64_t align[3])
{
    bytes[0] = size * sizeof(struct vring_packed_desc);
    bytes[1] = bytes[2] = sizeof(struct vring_packed_desc_event);
    align[0] = 16;
    align[1] = align[2] = 4;
}

static struct vring_packed_desc *
desc_at(const struct vhost_vring *vr, uint32_t pos)
{
    return ALIGNED_CAST(struct vring_packed_desc *, vr->desc) + pos;
}

/* Reads the descriptor at 'pos' once, 'flags' of which the caller read
 * before. */
static inline ALWAYS_INLINE struct vring_packed_desc
read_desc(const struct vhost_vring *vr, uint32_t pos, uint16_t flags)
{
    const struct vring_packed_desc *p = desc_at(vr, pos);
    union {
        uint64_t words[2];
        struct vring_packed_desc desc;
    } copy;

    copy.words[0] = vhost_vring_load64(p);
    copy.words[1] = vhost_vring_load64(&p->len);
    copy.desc.flags = flags;
    return copy.desc;
}

/* Reads the flags of the first descriptor of a buffer.  Returns true if the
 * buffer is available. */
static inline ALWAYS_INLINE bool
read_flags(const struct vhost_vring *vr, uint32_t pos, bool wrap,
           uint16_t *flags)
{
    /* Acquire: the rest of the descriptor, and others that belong to it, are
     * read after the flags that say that they are there. */
    *flags = vhost_vring_load16(&desc_at(vr, pos)->flags,
                                memory_order_acquire);
    return (*flags & (AVAIL_FLAG | USED_FLAG)) == (wrap ? AVAIL_FLAG
                                                   : USED_FLAG);
}

/* Moves '*pos' on by 'n' descriptors, no more than the ring has. */
static inline ALWAYS_INLINE void
advance(const struct vhost_vring *vr, uint32_t *pos, bool *wrap, uint32_t n)
{
    *pos += n;
    if (*pos >= vr->size) {
        *pos -= vr->size;
        *wrap = !*wrap;
    }
}

/* Number of descriptors that are out. */
static inline ALWAYS_INLINE uint32_t
n_descs_out(const struct vhost_vring *vr)
{
    return (vr->avail_idx - vr->used_idx
            + (vr->avail_wrap == vr->used_wrap ? 0 : vr->size));
}

static __rte_noinline enum vhost_vring_result
add_table(struct vhost_vring *vr, struct vhost_vring_fill *fill,
          const struct vring_packed_desc *desc)
{
    struct vhost_vring_table table;
    enum vhost_vring_result r;

    r = vhost_vring_open_table(vr, desc->addr, desc->len, &table);

    /* All of the table is one buffer, without VRING_DESC_F_NEXT (2.8.7). */
    for (uint32_t i = 0; r == VHOST_VRING_TAKEN && fill->left && i < table.n;
         i++) {
        struct vring_packed_desc d;

        vhost_vring_read_table(vr, &table, i, &d);
        if (d.flags & VRING_DESC_F_INDIRECT) {
            return vhost_vring_break(vr, VHOST_VRING_NESTED);
        }
        r = vhost_vring_fill_add(vr, fill, d.addr, d.len, d.flags);
    }
    return r;
}

/* Finds place in a buffer that has more than one descriptor, of which '*d' is
 * the first, at 'pos', and which has 'room' at most.  Sets '*d' to the last,
 * which has the id, and '*n_descs'.  The flags of those behind the first
 * became visible with it, so there is nothing to order.  All must be looked
 * at, where the packet ends whichever. */
static __rte_noinline enum vhost_vring_result
add_descs(struct vhost_vring *vr, struct vhost_vring_fill *fill, uint32_t pos,
          uint32_t room, struct vring_packed_desc *d, uint32_t *n_descs)
{
    bool wrap = false;

    *n_descs = 1;
    if (d->flags & VRING_DESC_F_INDIRECT) {
        return (d->flags & VRING_DESC_F_NEXT
                ? vhost_vring_break(vr, VHOST_VRING_BAD_TABLE)
                : add_table(vr, fill, d));
    }
    for (;;) {
        enum vhost_vring_result r;
        uint16_t flags;

        r = vhost_vring_fill_add(vr, fill, d->addr, d->len, d->flags);
        if (r != VHOST_VRING_TAKEN || !(d->flags & VRING_DESC_F_NEXT)) {
            return r;
        }
        if (*n_descs >= room) {
            return vhost_vring_break(vr, VHOST_VRING_LOOP);
        }
        *n_descs += 1;
        advance(vr, &pos, &wrap, 1);
        flags = vhost_vring_load16(&desc_at(vr, pos)->flags,
                                   memory_order_relaxed);
        if (flags & VRING_DESC_F_INDIRECT) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_TABLE);
        }
        *d = read_desc(vr, pos, flags);
    }
}

/* All that vhost_vring_fill_simple() does not do. */
static __rte_noinline enum vhost_vring_result
take_any(struct vhost_vring *vr, uint32_t len, struct vhost_vring_buf *buf)
{
    struct vhost_vring_fill fill = { .segs = buf->segs, .left = len };
    uint32_t room = vr->size - n_descs_out(vr);
    uint32_t pos = vr->avail_idx;
    bool wrap = vr->avail_wrap;
    uint32_t n_all_descs = 0;
    uint32_t n = 0;

    do {
        uint32_t before = fill.left;
        struct vring_packed_desc d;
        enum vhost_vring_result r;
        uint32_t n_descs = 1;
        uint16_t flags;

        if (OVS_UNLIKELY(!room)) {
            /* Whatever there is, is out.  No guest can offer more than a ring
             * full. */
            return (n_all_descs == vr->size
                    ? VHOST_VRING_TOO_BIG : VHOST_VRING_EMPTY);
        }
        if (!read_flags(vr, pos, wrap, &flags)) {
            return VHOST_VRING_EMPTY;
        }

        d = read_desc(vr, pos, flags);
        r = (OVS_LIKELY(!(flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
             ? vhost_vring_fill_add(vr, &fill, d.addr, d.len, flags)
             : add_descs(vr, &fill, pos, room, &d, &n_descs));
        if (OVS_UNLIKELY(r != VHOST_VRING_TAKEN)) {
            return r;
        }
        if (OVS_UNLIKELY(d.id >= vr->size)) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_ID);
        }
        vhost_vring_add_chain(vr, n++, before - fill.left, d.id, n_descs);
        advance(vr, &pos, &wrap, n_descs);
        n_all_descs += n_descs;
        room -= n_descs;
    } while (fill.left && vr->mergeable);

    if (OVS_UNLIKELY(fill.left)) {
        return VHOST_VRING_TOO_BIG;
    }
    vr->avail_idx = pos;
    vr->avail_wrap = wrap;
    vhost_vring_taken(vr, &fill, n, buf);
    return VHOST_VRING_TAKEN;
}

static enum vhost_vring_result
packed_take(struct vhost_vring *vr, uint32_t len, struct vhost_vring_buf *buf)
{
    uint16_t flags;

    if (OVS_UNLIKELY(!read_flags(vr, vr->avail_idx, vr->avail_wrap, &flags))) {
        return VHOST_VRING_EMPTY;
    }
    if (OVS_LIKELY(vr->avail_idx != vr->used_idx
                   || vr->avail_wrap == vr->used_wrap)) {
        struct vring_packed_desc d = read_desc(vr, vr->avail_idx, flags);

        vhost_vring_prefetch(vr, vr->avail_idx);
        if (OVS_LIKELY(vhost_vring_fill_simple(vr, buf, len, d.addr, d.len,
                                               flags, d.id))) {
            uint32_t pos = vr->avail_idx;

            advance(vr, &pos, &vr->avail_wrap, 1);
            vr->avail_idx = pos;
            return VHOST_VRING_TAKEN;
        }
    }
    /* From the beginning, and with nothing of what was read. */
    return take_any(vr, len, buf);
}

/* The guest tells of each buffer where that is. */
static uint32_t
packed_n_offered(const struct vhost_vring *vr OVS_UNUSED)
{
    return 0;
}

static unsigned int
packed_take_plain_pkts(struct vhost_vring *vr, struct vhost_vring_seg segs[],
                       unsigned int n, bool *more)
{
    uint32_t room = vr->size - n_descs_out(vr);
    uint32_t pos = vr->avail_idx;
    bool wrap = vr->avail_wrap;
    unsigned int i;

    n = MIN(n, room);
    for (i = 0; i < n; i++) {
        struct vring_packed_desc d;
        uint16_t flags;

        if (!read_flags(vr, pos, wrap, &flags)) {
            break;
        }
        d = read_desc(vr, pos, flags);
        vhost_vring_prefetch(vr, pos);
        if (OVS_UNLIKELY(!vhost_vring_plain_pkt(vr, i, d.addr, d.len, flags,
                                                d.id, &segs[i]))) {
            *more = true;
            break;
        }
        advance(vr, &pos, &wrap, 1);
    }
    vr->avail_idx = pos;
    vr->avail_wrap = wrap;
    vr->n_taken += i;
    return i;
}

static enum vhost_vring_result
packed_take_pkt(struct vhost_vring *vr, struct vhost_vring_pkt *pkt)
{
    struct vhost_vring_fill fill = vhost_vring_begin_pkt(pkt);
    uint32_t room = vr->size - n_descs_out(vr);
    uint32_t pos = vr->avail_idx;
    enum vhost_vring_result r;
    struct vring_packed_desc d;
    uint32_t n_descs = 1;
    uint16_t flags;

    if (!read_flags(vr, pos, vr->avail_wrap, &flags) || OVS_UNLIKELY(!room)) {
        return VHOST_VRING_EMPTY;
    }
    d = read_desc(vr, pos, flags);
    vhost_vring_prefetch(vr, pos);
    r = (OVS_LIKELY(!(flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
         ? vhost_vring_fill_add(vr, &fill, d.addr, d.len, flags)
         : add_descs(vr, &fill, pos, room, &d, &n_descs));
    if (OVS_UNLIKELY(r == VHOST_VRING_TAKEN && d.id >= vr->size)) {
        return vhost_vring_break(vr, VHOST_VRING_BAD_ID);
    }
    r = vhost_vring_end_pkt(vr, &fill, r, d.id, n_descs, pkt);
    if (OVS_LIKELY(r == VHOST_VRING_TAKEN)) {
        advance(vr, &pos, &vr->avail_wrap, n_descs);
        vr->avail_idx = pos;
    }
    return r;
}

/* Flags of a descriptor with a used buffer, which has something written to it
 * unless the guest gave a packet in it. */
static inline ALWAYS_INLINE uint16_t
used_flags(const struct vhost_vring *vr, bool wrap)
{
    return ((vr->from_guest ? 0 : VRING_DESC_F_WRITE)
            | (wrap ? AVAIL_FLAG | USED_FLAG : 0));
}

/* Logs 'n' descriptors of the ring from 'first' on, around its end. */
static void
log_descs(const struct vhost_vring *vr, uint32_t first, uint32_t n)
{
    uint32_t size = sizeof(struct vring_packed_desc);
    uint32_t before_end;

    first = first >= vr->size ? first - vr->size : first;
    before_end = MIN(n, vr->size - first);
    vhost_vring_log_written(vr, vr->desc_gpa + first * size,
                            before_end * size);
    if (n > before_end) {
        vhost_vring_log_written(vr, vr->desc_gpa, (n - before_end) * size);
    }
}

static void
packed_publish(struct vhost_vring *vr, unsigned int n_chains)
{
    struct vring_packed_desc *first = desc_at(vr, vr->used_idx);
    uint16_t first_flags = used_flags(vr, vr->used_wrap);
    uint16_t first_pos = vr->used_idx;
    uint32_t pos = vr->used_idx;
    bool wrap = vr->used_wrap;
    uint32_t n_descs = 0;

    ovs_assert(n_chains <= vhost_vring_n_out(vr));
    if (!n_chains) {
        return;
    }
    for (uint32_t i = 0; i < n_chains; i++) {
        const struct vhost_vring_chain *chain
            = &vr->chains[(vr->n_published + i) & vr->chains_mask];
        struct vring_packed_desc *d = desc_at(vr, pos);

        d->id = chain->id;
        d->len = chain->len;
        if (i) {
            /* Not seen by the guest before it saw the first one. */
            d->flags = used_flags(vr, wrap);
        }
        n_descs += chain->n_descs;
        advance(vr, &pos, &wrap, chain->n_descs);
    }
    if (OVS_UNLIKELY(vr->log_vid >= 0) && n_descs > 1) {
        log_descs(vr, first_pos + 1, n_descs - 1);
    }

    vr->n_published += n_chains;
    vr->n_unsignalled += n_descs;
    vr->used_idx = pos;
    vr->used_wrap = wrap;
    /* Release: a guest that sees these flags sees all of the above, and what
     * was written to its buffers. */
    vhost_vring_store16_release(&first->flags, first_flags);
    if (OVS_UNLIKELY(vr->log_vid >= 0)) {
        log_descs(vr, first_pos, 1);
    }
}

/* What is used is written where it was available: the guest sees none of it
 * before the flags of the first. */
static unsigned int
packed_take_direct(struct vhost_vring *vr, const uint32_t lens[],
                   uint8_t *vas[], unsigned int n)
{
    uint32_t pos = vr->avail_idx;
    bool wrap = vr->avail_wrap;
    unsigned int i;

    for (i = 0; i < n; i++) {
        struct vring_packed_desc *p = desc_at(vr, pos);
        struct vring_packed_desc d;
        uint16_t flags;

        if (!read_flags(vr, pos, wrap, &flags)) {
            break;
        }
        d = read_desc(vr, pos, flags);
        vhost_vring_prefetch(vr, pos);
        vas[i] = vhost_vring_simple_place(vr, lens[i], d.addr, d.len, flags,
                                          d.id);
        if (OVS_UNLIKELY(!vas[i])) {
            break;
        }
        p->id = d.id;
        p->len = lens[i];
        if (i) {
            p->flags = used_flags(vr, wrap);
        }
        advance(vr, &pos, &wrap, 1);
    }
    vr->avail_idx = pos;
    vr->avail_wrap = wrap;
    return i;
}

static void
packed_publish_direct(struct vhost_vring *vr, unsigned int n OVS_UNUSED)
{
    struct vring_packed_desc *first = desc_at(vr, vr->used_idx);
    uint16_t first_flags = used_flags(vr, vr->used_wrap);

    vr->used_idx = vr->avail_idx;
    vr->used_wrap = vr->avail_wrap;
    /* Release: as in packed_publish(). */
    vhost_vring_store16_release(&first->flags, first_flags);
}

static bool
packed_must_notify(struct vhost_vring *vr)
{
    const struct vring_packed_desc_event *event
        = ALIGNED_CAST(const struct vring_packed_desc_event *, vr->avail);
    uint16_t flags, off_wrap;
    uint32_t distance;
    bool notify;
    uint32_t n;

    if (vhost_vring_notify_settled(vr, &n, &notify)) {
        return notify;
    }
    /* Acquire: the guest sets the offset, then the flags. */
    flags = vhost_vring_load16(&event->flags, memory_order_acquire);
    if (!vr->event_idx || flags != VRING_PACKED_EVENT_FLAG_DESC) {
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    }
    off_wrap = vhost_vring_load16(&event->off_wrap, memory_order_relaxed);

    /* From the descriptor that the guest waits for to where we are now: is it
     * among the last 'n'?  One that is still ahead is not: its distance is 0,
     * negative, which is a large number, or a ring and more. */
    distance = vr->used_idx - (off_wrap & (WRAP_FLAG - 1));
    if (!(off_wrap & WRAP_FLAG) == vr->used_wrap) {
        distance += vr->size;
    }
    return n >= vr->size || distance - 1 < n;
}

/* Positions are within the ring and no more than a ring apart: what else the
 * guest has us start at breaks the ring. */
static void
packed_set_base(struct vhost_vring *vr, uint16_t avail, uint16_t used)
{
    vr->avail_idx = avail & (WRAP_FLAG - 1);
    vr->avail_wrap = avail & WRAP_FLAG;
    vr->used_idx = used & (WRAP_FLAG - 1);
    vr->used_wrap = used & WRAP_FLAG;
    vr->avail_seen = 0;
    if (vr->avail_idx >= vr->size || vr->used_idx >= vr->size
        || n_descs_out(vr) > vr->size) {
        vr->avail_idx = vr->used_idx = 0;
        vr->avail_wrap = vr->used_wrap = true;
        vhost_vring_break(vr, "starts outside of its ring");
    }
}

static uint16_t
packed_get_base(const struct vhost_vring *vr)
{
    return vr->used_idx | (vr->used_wrap ? WRAP_FLAG : 0);
}

const struct vhost_vring_layout vhost_vring_packed = {
    .areas = packed_areas,
    .take = packed_take,
    .n_offered = packed_n_offered,
    .take_plain_pkts = packed_take_plain_pkts,
    .take_pkt = packed_take_pkt,
    .publish = packed_publish,
    .take_direct = packed_take_direct,
    .publish_direct = packed_publish_direct,
    .must_notify = packed_must_notify,
    .set_base = packed_set_base,
    .get_base = packed_get_base,
};
