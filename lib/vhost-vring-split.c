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

/* Rings in the split layout: Virtual I/O Device 1.2, section 2.7.
 *
 * Called through vhost-vring.h, by the same threads. */

#include <config.h>

#include "vhost-vring.h"

#include "util.h"
#include "vhost-vring-layout.h"

static void
split_areas(uint32_t size, bool event_idx, uint64_t bytes[3],
            uint64_t align[3])
{
    uint32_t event = event_idx ? sizeof(uint16_t) : 0;

    bytes[0] = size * sizeof(struct vring_desc);
    bytes[1] = sizeof(struct vring_avail) + size * sizeof(uint16_t) + event;
    bytes[2] = (sizeof(struct vring_used)
                + size * sizeof(struct vring_used_elem) + event);
    align[0] = VRING_DESC_ALIGN_SIZE;
    align[1] = VRING_AVAIL_ALIGN_SIZE;
    align[2] = VRING_USED_ALIGN_SIZE;
}

static struct vring_avail *
avail_of(const struct vhost_vring *vr)
{
    return ALIGNED_CAST(struct vring_avail *, vr->avail);
}

/* Reads descriptor 'i', which the ring has, once. */
static inline ALWAYS_INLINE struct vring_desc
read_desc(const struct vhost_vring *vr, uint16_t i)
{
    const uint8_t *p = vr->desc + i * sizeof(struct vring_desc);
    union {
        uint64_t words[2];
        struct vring_desc desc;
    } copy;

    copy.words[0] = vhost_vring_load64(p);
    copy.words[1] = vhost_vring_load64(p + 8);
    return copy.desc;
}

/* Finds out how many buffers the guest offers, from 'avail_idx' on, which is
 * as many as its ring has at most. */
static inline ALWAYS_INLINE enum vhost_vring_result
look_for_more(struct vhost_vring *vr)
{
    /* Acquire: entries and descriptors are read after the index that says that
     * they are there. */
    uint16_t seen = vhost_vring_load16(&avail_of(vr)->idx,
                                       memory_order_acquire);
    uint16_t n = seen - vr->avail_idx;

    /* What is out is not for the guest to offer again. */
    if (OVS_UNLIKELY(n + vhost_vring_n_out(vr) > vr->size)) {
        return vhost_vring_break(vr, VHOST_VRING_OVERFULL);
    }
    /* What was seen may be part of a packet already. */
    if (OVS_UNLIKELY(n < (uint16_t) (vr->avail_seen - vr->avail_idx))) {
        return vhost_vring_break(vr, VHOST_VRING_TAKEN_BACK);
    }
    vr->avail_seen = seen;
    return VHOST_VRING_TAKEN;
}

/* Reads the first descriptor of the buffer 'n' behind the next, once. */
static inline ALWAYS_INLINE uint16_t
read_head(const struct vhost_vring *vr, uint32_t n)
{
    uint16_t i = (vr->avail_idx + n) & (vr->size - 1);

    return vhost_vring_load16(&avail_of(vr)->ring[i], memory_order_relaxed);
}

static __rte_noinline enum vhost_vring_result
add_table(struct vhost_vring *vr, struct vhost_vring_fill *fill,
          const struct vring_desc *desc)
{
    struct vhost_vring_table table;
    enum vhost_vring_result r;
    uint32_t i = 0;

    /* An indirect descriptor ends its chain (2.7.5.3.1). */
    if (desc->flags & VRING_DESC_F_NEXT) {
        return vhost_vring_break(vr, VHOST_VRING_BAD_TABLE);
    }
    r = vhost_vring_open_table(vr, desc->addr, desc->len, &table);
    if (r != VHOST_VRING_TAKEN) {
        return r;
    }
    for (uint32_t n = 1; ; n++) {
        struct vring_desc d;

        vhost_vring_read_table(vr, &table, i, &d);
        if (d.flags & VRING_DESC_F_INDIRECT) {
            return vhost_vring_break(vr, VHOST_VRING_NESTED);
        }
        r = vhost_vring_fill_add(vr, fill, d.addr, d.len, d.flags);
        if (r != VHOST_VRING_TAKEN || !fill->left
            || !(d.flags & VRING_DESC_F_NEXT)) {
            return r;
        }
        if (n >= table.n) {
            return vhost_vring_break(vr, VHOST_VRING_LOOP);
        }
        if (d.next >= table.n) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_ID);
        }
        i = d.next;
    }
}

/* Finds place in a buffer that has more than one descriptor, of which 'd' is
 * the first.  Those behind the end of the packet are not looked at. */
static __rte_noinline enum vhost_vring_result
add_descs(struct vhost_vring *vr, struct vhost_vring_fill *fill,
          struct vring_desc d)
{
    for (uint32_t n = 1; ; n++) {
        enum vhost_vring_result r;

        if (d.flags & VRING_DESC_F_INDIRECT) {
            return add_table(vr, fill, &d);
        }
        r = vhost_vring_fill_add(vr, fill, d.addr, d.len, d.flags);
        if (r != VHOST_VRING_TAKEN || !fill->left
            || !(d.flags & VRING_DESC_F_NEXT)) {
            return r;
        }
        if (n >= vr->size) {
            return vhost_vring_break(vr, VHOST_VRING_LOOP);
        }
        if (d.next >= vr->size) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_ID);
        }
        d = read_desc(vr, d.next);
    }
}

/* All that vhost_vring_fill_simple() does not do. */
static __rte_noinline enum vhost_vring_result
take_any(struct vhost_vring *vr, uint32_t len, struct vhost_vring_buf *buf)
{
    struct vhost_vring_fill fill = { .segs = buf->segs, .left = len };
    uint32_t n = 0;

    do {
        uint32_t before = fill.left;
        enum vhost_vring_result r;
        struct vring_desc d;
        uint16_t head;

        if (n == (uint16_t) (vr->avail_seen - vr->avail_idx)) {
            r = look_for_more(vr);
            if (r != VHOST_VRING_TAKEN) {
                return r;
            }
            if (n == (uint16_t) (vr->avail_seen - vr->avail_idx)) {
                /* No guest can offer more than a ring full. */
                return (n == vr->size
                        ? VHOST_VRING_TOO_BIG : VHOST_VRING_EMPTY);
            }
        }
        head = read_head(vr, n);
        if (OVS_UNLIKELY(head >= vr->size)) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_ID);
        }

        d = read_desc(vr, head);
        r = (OVS_LIKELY(!(d.flags & (VRING_DESC_F_NEXT
                                     | VRING_DESC_F_INDIRECT)))
             ? vhost_vring_fill_add(vr, &fill, d.addr, d.len, d.flags)
             : add_descs(vr, &fill, d));
        if (OVS_UNLIKELY(r != VHOST_VRING_TAKEN)) {
            return r;
        }
        vhost_vring_add_chain(vr, n++, before - fill.left, head, 1);
    } while (fill.left && vr->mergeable);

    if (OVS_UNLIKELY(fill.left)) {
        return VHOST_VRING_TOO_BIG;
    }
    vr->avail_idx += n;
    vhost_vring_taken(vr, &fill, n, buf);
    return VHOST_VRING_TAKEN;
}

/* Returns how many buffers are there to be taken, 'n' at most, none if that
 * breaks the ring. */
static inline ALWAYS_INLINE unsigned int
see_burst(struct vhost_vring *vr, unsigned int n)
{
    if ((uint16_t) (vr->avail_seen - vr->avail_idx) < n
        && OVS_UNLIKELY(look_for_more(vr) != VHOST_VRING_TAKEN)) {
        return 0;
    }
    return MIN(n, (uint16_t) (vr->avail_seen - vr->avail_idx));
}

/* Has buffers be there to be taken, if the guest offers some. */
static inline ALWAYS_INLINE enum vhost_vring_result
see_next(struct vhost_vring *vr)
{
    if (vr->avail_seen == vr->avail_idx) {
        enum vhost_vring_result r = look_for_more(vr);

        if (OVS_UNLIKELY(r != VHOST_VRING_TAKEN)) {
            return r;
        }
        if (vr->avail_seen == vr->avail_idx) {
            return VHOST_VRING_EMPTY;
        }
    }
    return VHOST_VRING_TAKEN;
}

static enum vhost_vring_result
split_take(struct vhost_vring *vr, uint32_t len, struct vhost_vring_buf *buf)
{
    enum vhost_vring_result r = see_next(vr);
    uint16_t head;

    if (r != VHOST_VRING_TAKEN) {
        return r;
    }
    head = read_head(vr, 0);
    if (OVS_LIKELY(head < vr->size)) {
        struct vring_desc d = read_desc(vr, head);

        vhost_vring_prefetch(vr, head);
        if (OVS_LIKELY(vhost_vring_fill_simple(vr, buf, len, d.addr, d.len,
                                               d.flags, head))) {
            vr->avail_idx++;
            return VHOST_VRING_TAKEN;
        }
    }
    /* From the beginning, and with nothing of what was read. */
    return take_any(vr, len, buf);
}

static uint32_t
split_n_offered(const struct vhost_vring *vr)
{
    uint16_t n = (vhost_vring_load16(&avail_of(vr)->idx, memory_order_relaxed)
                  - vr->avail_idx);

    return MIN(n, vr->size);
}

static unsigned int
split_take_plain_pkts(struct vhost_vring *vr, struct vhost_vring_seg segs[],
                      unsigned int n, bool *more)
{
    unsigned int i;

    n = see_burst(vr, n);
    for (i = 0; i < n; i++) {
        uint16_t head = read_head(vr, i);
        struct vring_desc d;

        if (OVS_UNLIKELY(head >= vr->size)) {
            break;
        }
        d = read_desc(vr, head);
        vhost_vring_prefetch(vr, head);
        if (OVS_UNLIKELY(!vhost_vring_plain_pkt(vr, i, d.addr, d.len, d.flags,
                                                head, &segs[i]))) {
            break;
        }
    }
    vr->avail_idx += i;
    vr->n_taken += i;
    *more = i < n;
    return i;
}

static enum vhost_vring_result
split_take_pkt(struct vhost_vring *vr, struct vhost_vring_pkt *pkt)
{
    struct vhost_vring_fill fill = vhost_vring_begin_pkt(pkt);
    enum vhost_vring_result r = see_next(vr);
    struct vring_desc d;
    uint16_t head;

    if (r != VHOST_VRING_TAKEN) {
        return r;
    }
    head = read_head(vr, 0);
    if (OVS_UNLIKELY(head >= vr->size)) {
        return vhost_vring_break(vr, VHOST_VRING_BAD_ID);
    }
    d = read_desc(vr, head);
    vhost_vring_prefetch(vr, head);
    r = (OVS_LIKELY(!(d.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
         ? vhost_vring_fill_add(vr, &fill, d.addr, d.len, d.flags)
         : add_descs(vr, &fill, d));
    r = vhost_vring_end_pkt(vr, &fill, r, head, 1, pkt);
    vr->avail_idx += r == VHOST_VRING_TAKEN;
    return r;
}

static void
split_publish(struct vhost_vring *vr, unsigned int n_chains)
{
    struct vring_used *used = ALIGNED_CAST(struct vring_used *, vr->used);
    uint16_t mask = vr->size - 1;
    uint16_t first = vr->used_idx & mask;
    uint32_t before_end;

    ovs_assert(n_chains <= vhost_vring_n_out(vr));
    if (!n_chains) {
        return;
    }
    for (uint32_t i = 0; i < n_chains; i++) {
        const struct vhost_vring_chain *chain
            = &vr->chains[(vr->n_published + i) & vr->chains_mask];
        struct vring_used_elem *e = &used->ring[(first + i) & mask];

        e->id = chain->id;
        e->len = chain->len;
    }
    before_end = MIN(n_chains, vr->size - (uint32_t) first);
    vhost_vring_log_written(vr, (vr->used_gpa + sizeof *used
                                 + first * sizeof used->ring[0]),
                            before_end * sizeof used->ring[0]);
    if (n_chains > before_end) {
        vhost_vring_log_written(vr, vr->used_gpa + sizeof *used,
                                (n_chains - before_end)
                                * sizeof used->ring[0]);
    }

    vr->n_published += n_chains;
    vr->n_unsignalled += n_chains;
    vr->used_idx += n_chains;
    /* Release: a guest that sees the index sees the elements, and what was
     * written to its buffers. */
    vhost_vring_store16_release(&used->idx, vr->used_idx);
    vhost_vring_log_written(vr, (vr->used_gpa
                                 + offsetof(struct vring_used, idx)),
                            sizeof used->idx);
}

static unsigned int
split_take_direct(struct vhost_vring *vr, const uint32_t lens[],
                  uint8_t *vas[], unsigned int n)
{
    struct vring_used *used = ALIGNED_CAST(struct vring_used *, vr->used);
    uint16_t mask = vr->size - 1;
    unsigned int i;

    n = see_burst(vr, n);
    for (i = 0; i < n; i++) {
        uint16_t head = read_head(vr, i);
        struct vring_used_elem *e = &used->ring[(vr->used_idx + i) & mask];
        struct vring_desc d;

        if (OVS_UNLIKELY(head >= vr->size)) {
            break;
        }
        d = read_desc(vr, head);
        vhost_vring_prefetch(vr, head);
        vas[i] = vhost_vring_simple_place(vr, lens[i], d.addr, d.len, d.flags,
                                          head);
        if (OVS_UNLIKELY(!vas[i])) {
            break;
        }
        e->id = head;
        e->len = lens[i];
    }
    vr->avail_idx += i;
    return i;
}

static void
split_publish_direct(struct vhost_vring *vr, unsigned int n)
{
    struct vring_used *used = ALIGNED_CAST(struct vring_used *, vr->used);

    vr->used_idx += n;
    /* Release: as in split_publish(). */
    vhost_vring_store16_release(&used->idx, vr->used_idx);
}

static bool
split_must_notify(struct vhost_vring *vr)
{
    const struct vring_avail *avail = avail_of(vr);
    uint16_t event;
    bool notify;
    uint32_t n;

    if (vhost_vring_notify_settled(vr, &n, &notify)) {
        return notify;
    }
    if (!vr->event_idx) {
        return !(vhost_vring_load16(&avail->flags, memory_order_relaxed)
                 & VRING_AVAIL_F_NO_INTERRUPT);
    }
    /* 'used_event' is behind the ring.  It names the index of a buffer: is
     * that among the last 'n' (2.7.7.2)? */
    event = vhost_vring_load16(&avail->ring[vr->size], memory_order_relaxed);
    return (uint16_t) (vr->used_idx - event - 1) < n;
}

/* All indices will do: what the ring has is seen when they are used. */
static void
split_set_base(struct vhost_vring *vr, uint16_t avail, uint16_t used)
{
    vr->avail_idx = vr->avail_seen = avail;
    vr->used_idx = used;
    vr->avail_wrap = vr->used_wrap = false;
}

static uint16_t
split_get_base(const struct vhost_vring *vr)
{
    return vr->used_idx;
}

const struct vhost_vring_layout vhost_vring_split = {
    .areas = split_areas,
    .take = split_take,
    .n_offered = split_n_offered,
    .take_plain_pkts = split_take_plain_pkts,
    .take_pkt = split_take_pkt,
    .publish = split_publish,
    .take_direct = split_take_direct,
    .publish_direct = split_publish_direct,
    .must_notify = split_must_notify,
    .set_base = split_set_base,
    .get_base = split_get_base,
};
