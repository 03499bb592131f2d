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

/* Rings of guests: what does not depend on their layout.
 *
 * Called by whoever holds the lock of the ring's virtqueue: senders, pollers
 * and those who publish, and the thread that reads the guests' messages. */

#include <config.h>

#include "vhost-vring.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include <rte_vhost.h>

#include "util.h"
#include "vhost-guest-mem.h"
#include "vhost-vring-layout.h"

static const struct vhost_vring_layout *
layout_of(bool packed)
{
    return packed ? &vhost_vring_packed : &vhost_vring_split;
}

/* A ring without indices, that is not mapped. */
void
vhost_vring_init(struct vhost_vring *vr)
{
    memset(vr, 0, sizeof *vr);
    vr->log_vid = -1;
}

/* Frees what 'vr' holds, not 'vr' itself, whatever is out. */
void
vhost_vring_destroy(struct vhost_vring *vr)
{
    free(vr->chains);
    vhost_vring_init(vr);
}

/* Finds the 'bytes' at the library's address 'va'.  Returns NULL if that is
 * not in one region. */
static uint8_t *
find_area(const struct vhost_guest_mem *mem, const void *va, uint64_t bytes,
          uint64_t *gpa)
{
    /* The library's addresses of areas that it did not find are NULL. */
    return va ? vhost_guest_mem_from_library(mem, va, bytes, gpa) : NULL;
}

/* Finds the areas of the ring, of which the library checked little:
 * rte_vhost_get_vhost_vring() (22.11 to 26.07) returns rings that failed to
 * translate and any size that SET_VRING_NUM had. */
static const char *
find_areas(const struct vhost_vring_layout *layout,
           const struct vhost_vring_setup *setup, bool event_idx,
           uint8_t *areas[3], uint64_t gpas[3])
{
    static const char *const not_found[3] = {
        "its descriptors are not within one region",
        "its driver area is not within one region",
        "its device area is not within one region",
    };
    static const char *const not_aligned[3] = {
        "its descriptors are not aligned",
        "its driver area is not aligned",
        "its device area is not aligned",
    };
    const void *vas[3] = { setup->desc, setup->avail, setup->used };
    uint64_t bytes[3], align[3];

    if (!setup->size || setup->size > VHOST_VRING_MAX_SIZE) {
        return "its size is not between 1 and 32768";
    }
    if (layout == &vhost_vring_split && !IS_POW2(setup->size)) {
        return "its size is not a power of two";
    }

    layout->areas(setup->size, event_idx, bytes, align);
    for (int i = 0; i < 3; i++) {
        areas[i] = find_area(setup->mem, vas[i], bytes[i], &gpas[i]);
        if (!areas[i]) {
            return not_found[i];
        }
        /* Where we have it, since that is what we read and write. */
        if ((uintptr_t) areas[i] % align[i]) {
            return not_aligned[i];
        }
    }
    return NULL;
}

/* Learns where the ring of 'setup' is.  Indices and what is out are kept if it
 * was mapped before with the same size and layout.  With another one it starts
 * anew, at the same indices as far as there are such, for which nothing may be
 * out.
 *
 * 'setup->mem' must last until vhost_vring_unmap().
 *
 * Returns NULL, or why it cannot be used, a constant string, said of the ring:
 * then it is not mapped, and all else is as it was.
 *
 * The features are those of the Virtio specification, 5.1.6.1: the header has
 * 12 bytes with any of the three that follow, 10 otherwise, as in the library
 * (22.11 to 26.07). */
const char *
vhost_vring_map(struct vhost_vring *vr, const struct vhost_vring_setup *setup)
{
    const uint64_t offloads = (UINT64_C(1) << VIRTIO_NET_F_CSUM
                               | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4
                               | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6
                               | UINT64_C(1) << VIRTIO_NET_F_HOST_ECN
                               | UINT64_C(1) << VIRTIO_NET_F_HOST_UFO);
    const uint64_t long_hdr = (UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF
                               | UINT64_C(1) << VIRTIO_F_VERSION_1
                               | UINT64_C(1) << VIRTIO_F_RING_PACKED);
    bool packed = setup->features & UINT64_C(1) << VIRTIO_F_RING_PACKED;
    bool event_idx = setup->features & UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
    const struct vhost_vring_layout *layout = layout_of(packed);
    uint8_t *areas[3];
    uint64_t gpas[3];
    const char *error;

    vhost_vring_unmap(vr);

    error = find_areas(layout, setup, event_idx, areas, gpas);
    if (error) {
        return error;
    }
    if (setup->size != vr->size || packed != vr->packed) {
        uint16_t base;

        if (vhost_vring_n_out(vr)) {
            return "its size or layout changed while buffers were out";
        }
        /* An index of one layout means nothing in the other. */
        base = (packed == vr->packed ? vhost_vring_get_base(vr)
                : packed ? 1 << VRING_PACKED_EVENT_F_WRAP_CTR : 0);
        if (setup->size != vr->size) {
            uint32_t n = ROUND_UP_POW2(setup->size);

            free(vr->chains);
            vr->chains = xmalloc(n * sizeof *vr->chains);
            vr->chains_mask = n - 1;
            vr->size = setup->size;
        }
        vr->packed = packed;
        vhost_vring_set_base(vr, base, base);
    }

    vr->layout = layout;
    vr->mem = setup->mem;
    vr->desc = areas[0];
    vr->avail = areas[1];
    vr->used = areas[2];
    vr->desc_gpa = gpas[0];
    vr->used_gpa = gpas[2];
    vr->log_vid = setup->log_vid;
    vr->hdr_len = (setup->features & long_hdr
                   ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
                   : sizeof(struct virtio_net_hdr));
    vr->mergeable = setup->features & UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF;
    vr->has_offloads = setup->features & offloads;
    vr->event_idx = event_idx;
    vr->from_guest = setup->from_guest;
    vr->hint = 0;
    return NULL;
}

/* Forgets where the ring is.  What is out stays out. */
void
vhost_vring_unmap(struct vhost_vring *vr)
{
    vr->layout = NULL;
    vr->mem = NULL;
    vr->desc = vr->avail = vr->used = NULL;
    vr->desc_gpa = vr->used_gpa = 0;
    vr->log_vid = -1;
}

/* Starts the ring, that must have been mapped once and of which nothing may be
 * out, at 'avail' and 'used'.  Both are as in rte_vhost_get_vring_base()
 * (22.11 to 26.07): the index, of a packed ring with the wrap counter in bit
 * 15.  Those that the ring cannot have break it: the guest chose them
 * (VHOST_USER_SET_VRING_BASE), and nobody checked. */
void
vhost_vring_set_base(struct vhost_vring *vr, uint16_t avail, uint16_t used)
{
    ovs_assert(vr->size && !vhost_vring_n_out(vr));

    vr->n_taken = vr->n_published = 0;
    vr->n_unsignalled = 0;
    vr->looked = false;
    vr->broken = NULL;
    layout_of(vr->packed)->set_base(vr, avail, used);
}

/* Returns the index up to which the ring is published, as
 * vhost_vring_set_base() takes it.  It stands for both indices: what is out
 * counts as not taken.  Mapped or not. */
uint16_t
vhost_vring_get_base(const struct vhost_vring *vr)
{
    return layout_of(vr->packed)->get_base(vr);
}

/* Gives up what is out, for somebody else to take it again or nobody.  The
 * caller does not use the ring until vhost_vring_set_base(). */
void
vhost_vring_forget(struct vhost_vring *vr)
{
    vr->n_taken = vr->n_published;
}

/* Logs that 'len' bytes at 'va', which lie in region number 'region' of the
 * guest, were written, if its dirty pages are logged.  To be called after the
 * write, by whichever CPU or engine, and before vhost_vring_publish().
 * rte_vhost_log_write() looks at the log without a lock (22.11 to 26.07). */
void
vhost_vring_log(const struct vhost_vring *vr, const uint8_t *va,
                uint32_t region, uint32_t len)
{
    if (OVS_UNLIKELY(vr->log_vid >= 0)) {
        rte_vhost_log_write(vr->log_vid,
                            vhost_guest_mem_gpa(vr->mem, region, va), len);
    }
}

/* Finds the indirect table of 'len' bytes at 'gpa'. */
enum vhost_vring_result
vhost_vring_open_table(struct vhost_vring *vr, uint64_t gpa, uint32_t len,
                       struct vhost_vring_table *table)
{
    uint32_t part = len;
    uint64_t ofs;

    if (!len || len % 16) {
        return vhost_vring_break(vr, VHOST_VRING_BAD_TABLE);
    }
    table->n = len / 16;
    table->gpa = gpa;
    table->va = vhost_guest_mem_lookup(vr->mem, gpa, &part, &vr->hint);
    if (table->va && part == len) {
        return VHOST_VRING_TAKEN;
    }

    /* Each step ends at the end of a region, so there are few. */
    table->va = NULL;
    for (ofs = 0; ofs < len; ofs += part) {
        part = len - ofs;
        if (!vhost_guest_mem_lookup(vr->mem, gpa + ofs, &part, &vr->hint)) {
            return vhost_vring_break(vr, VHOST_VRING_BAD_TABLE);
        }
    }
    return VHOST_VRING_TAKEN;
}

/* Copies descriptor 'i' of a table that is not within one region to the 16
 * bytes at 'desc': it may lie across regions itself. */
void
vhost_vring_copy_from_table(struct vhost_vring *vr,
                            const struct vhost_vring_table *table, uint32_t i,
                            void *desc)
{
    uint64_t gpa = table->gpa + i * UINT64_C(16);
    uint32_t ofs, part;

    for (ofs = 0; ofs < 16; ofs += part) {
        const uint8_t *va;

        part = 16 - ofs;
        /* vhost_vring_open_table() saw that it is all there. */
        va = vhost_guest_mem_lookup(vr->mem, gpa + ofs, &part, &vr->hint);
        memcpy((uint8_t *) desc + ofs, va, part);
    }
}
