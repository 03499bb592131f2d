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

#ifndef VHOST_VRING_H
#define VHOST_VRING_H 1

/* A ring of a guest: buffers of the guest in, the same buffers out.
 *
 * Of a receive ring, buffers are taken for one packet after the other and
 * filled by whomever; of a transmit ring each has a packet.  They are
 * published to the guest in the order in which they were taken.
 * This file knows virtio's rings and guest memory, nothing of packets and of
 * engines.  vhost-vring.c has what all rings have in common,
 * vhost-vring-split.c and vhost-vring-packed.c the layouts (Virtual I/O Device
 * 1.2, sections 2.7 and 2.8).
 *
 * The guest can write to all of a ring at any time.  Each descriptor is read
 * once, checked, and used from the copy.  What does not make sense breaks the
 * ring: nothing is taken from it any more until it is started again, and
 * 'broken' says why.
 *
 * Thread-safety
 * =============
 *
 * None: a ring belongs to the thread that holds the lock of its virtqueue
 * (vhost-async-vq.h). */

#include <stdbool.h>
#include <stdint.h>

#include "openvswitch/compiler.h"
#include "util.h"

struct vhost_guest_mem;
struct vhost_vring;

/* Pieces of guest memory that a packet may take, as in the vhost library
 * (BUF_VECTOR_MAX, 22.11). */
#define VHOST_VRING_MAX_SEGS 256

/* Descriptors (2.7.2). */
#define VHOST_VRING_MAX_SIZE 32768

/* A piece of the guest's memory that is to be written to, or read. */
struct vhost_vring_seg {
    uint8_t *va;                /* Ours, in 'mem' of the ring. */
    uint32_t len;               /* Bytes, not 0. */
    uint32_t region;            /* Of 'mem'. */
};

/* What was taken for one packet. */
struct vhost_vring_buf {
    uint16_t n_chains;          /* Buffers of the guest. */
    uint16_t n_segs;
    /* As many bytes as were asked for, in all. */
    struct vhost_vring_seg segs[VHOST_VRING_MAX_SEGS];
};

/* A packet of the guest, with its header. */
struct vhost_vring_pkt {
    struct vhost_vring_seg *segs;       /* Of who takes it. */
    uint32_t n_segs;
    uint32_t len;               /* Bytes in all of them. */
};

/* Up to where buffers were taken. */
struct vhost_vring_mark {
    uint32_t n_taken;
    uint16_t avail_idx;
    bool avail_wrap;
};

/* A buffer of the guest that was taken and not published yet. */
struct vhost_vring_chain {
    uint32_t len;               /* Bytes written to it. */
    uint16_t id;                /* As the guest calls it. */
    uint16_t n_descs;           /* Of a packed ring that it takes. */
};

/* What came of an attempt to take buffers. */
enum vhost_vring_result {
    VHOST_VRING_TAKEN,
    VHOST_VRING_EMPTY,          /* The guest has to provide more. */
    VHOST_VRING_TOO_BIG,        /* No buffer, or number of them, is for it. */
    VHOST_VRING_BROKEN,         /* The guest wrote nonsense. */
};

/* What a ring is started with. */
struct vhost_vring_setup {
    const struct vhost_guest_mem *mem;
    /* The areas at the library's addresses: struct rte_vhost_vring. */
    const void *desc, *avail, *used;
    uint32_t size;              /* Descriptors. */
    uint64_t features;          /* That were negotiated. */
    bool from_guest;            /* It is a transmit ring. */
    int log_vid;                /* Device whose log of dirty pages is to be
                                 * written, -1 for none. */
};

/* A layout of rings. */
struct vhost_vring_layout {
    /* Sizes of the three areas (descriptor, driver and device area), in bytes,
     * and their alignment. */
    void (*areas)(uint32_t size, bool event_idx, uint64_t bytes[3],
                  uint64_t align[3]);
    /* As the public functions of the same names. */
    enum vhost_vring_result (*take)(struct vhost_vring *, uint32_t len,
                                    struct vhost_vring_buf *);
    uint32_t (*n_offered)(const struct vhost_vring *);
    unsigned int (*take_plain_pkts)(struct vhost_vring *,
                                    struct vhost_vring_seg[], unsigned int n,
                                    bool *more);
    enum vhost_vring_result (*take_pkt)(struct vhost_vring *,
                                        struct vhost_vring_pkt *);
    void (*publish)(struct vhost_vring *, unsigned int n_chains);
    unsigned int (*take_direct)(struct vhost_vring *, const uint32_t lens[],
                                uint8_t *vas[], unsigned int n);
    void (*publish_direct)(struct vhost_vring *, unsigned int n);
    bool (*must_notify)(struct vhost_vring *);
    void (*set_base)(struct vhost_vring *, uint16_t avail, uint16_t used);
    uint16_t (*get_base)(const struct vhost_vring *);
};

extern const struct vhost_vring_layout vhost_vring_split;
extern const struct vhost_vring_layout vhost_vring_packed;

struct vhost_vring {
    /* While the ring is mapped. */
    const struct vhost_vring_layout *layout;    /* NULL if it is not. */
    const struct vhost_guest_mem *mem;
    uint8_t *desc, *avail, *used;       /* Ours. */
    uint64_t desc_gpa, used_gpa;
    int log_vid;

    uint16_t size;              /* Descriptors; kept when unmapped. */
    uint8_t hdr_len;            /* Of virtio_net_hdr, bytes. */
    bool packed;                /* Layout of the indices; kept likewise. */
    bool from_guest;            /* Its buffers are read, else written. */
    bool mergeable;
    bool has_offloads;          /* Headers of the guest may ask for some. */
    bool event_idx;

    /* Taken, in order; [published, taken) of 'chains' are out.  Wrap. */
    uint32_t n_taken, n_published;
    uint32_t chains_mask;
    struct vhost_vring_chain *chains;   /* 'size', rounded up. */

    /* Of the layout.  Of a packed ring, position and wrap counter. */
    uint16_t avail_idx, used_idx;
    bool avail_wrap, used_wrap;
    uint16_t avail_seen;        /* Split: as the guest had it last. */
    bool looked;                /* Whether to notify, since the start. */
    uint32_t n_unsignalled;     /* Published since the last look: buffers, of
                                 * a packed ring descriptors. */
    uint32_t hint;              /* Of vhost_guest_mem_lookup(). */

    const char *broken;         /* Why nothing is taken, or NULL. */
};

void vhost_vring_init(struct vhost_vring *);
void vhost_vring_destroy(struct vhost_vring *);

const char *vhost_vring_map(struct vhost_vring *,
                            const struct vhost_vring_setup *);
void vhost_vring_unmap(struct vhost_vring *);
void vhost_vring_set_base(struct vhost_vring *, uint16_t avail,
                          uint16_t used);
uint16_t vhost_vring_get_base(const struct vhost_vring *);
void vhost_vring_forget(struct vhost_vring *);
void vhost_vring_log(const struct vhost_vring *, const uint8_t *va,
                     uint32_t region, uint32_t len);

static inline bool
vhost_vring_is_mapped(const struct vhost_vring *vr)
{
    return vr->layout != NULL;
}

/* Number of the guest's buffers that are taken and not published. */
static inline uint32_t
vhost_vring_n_out(const struct vhost_vring *vr)
{
    return vr->n_taken - vr->n_published;
}

/* Takes buffers for 'len' bytes, not 0, into '*buf'.  Without mergeable
 * buffers that is one, else as many as it needs.  Takes all or nothing: '*buf'
 * means something only after VHOST_VRING_TAKEN.  The ring is mapped. */
static inline enum vhost_vring_result
vhost_vring_take(struct vhost_vring *vr, uint32_t len,
                 struct vhost_vring_buf *buf)
{
    return (OVS_UNLIKELY(vr->broken)
            ? VHOST_VRING_BROKEN : vr->layout->take(vr, len, buf));
}

/* Returns the number of buffers that the guest offers, beyond those that were
 * taken, 0 if that is not known.  The ring is mapped. */
static inline uint32_t
vhost_vring_n_offered(const struct vhost_vring *vr)
{
    return vr->layout->n_offered(vr);
}

/* Takes packets of a transmit ring, 'n' at most, as far as each is in one
 * descriptor and one region: where each is goes into 'segs'.  Returns their
 * number, and sets '*more' to whether it is no more because what follows is
 * for vhost_vring_take_pkt().  The ring is mapped. */
static inline unsigned int
vhost_vring_take_plain_pkts(struct vhost_vring *vr,
                            struct vhost_vring_seg segs[], unsigned int n,
                            bool *more)
{
    *more = false;
    return (OVS_UNLIKELY(vr->broken)
            ? 0 : vr->layout->take_plain_pkts(vr, segs, n, more));
}

/* Takes the next packet of a transmit ring into '*pkt', whose 'segs' has room
 * for VHOST_VRING_MAX_SEGS.  The ring is mapped. */
static inline enum vhost_vring_result
vhost_vring_take_pkt(struct vhost_vring *vr, struct vhost_vring_pkt *pkt)
{
    return (OVS_UNLIKELY(vr->broken)
            ? VHOST_VRING_BROKEN : vr->layout->take_pkt(vr, pkt));
}

/* Returns where the ring is, for vhost_vring_put_back(). */
static inline struct vhost_vring_mark
vhost_vring_mark(const struct vhost_vring *vr)
{
    return (struct vhost_vring_mark) {
        .n_taken = vr->n_taken,
        .avail_idx = vr->avail_idx,
        .avail_wrap = vr->avail_wrap,
    };
}

/* Has what was taken since 'mark', of which nothing was published, be there to
 * be taken again. */
static inline void
vhost_vring_put_back(struct vhost_vring *vr,
                     const struct vhost_vring_mark *mark)
{
    vr->n_taken = mark->n_taken;
    vr->avail_idx = mark->avail_idx;
    vr->avail_wrap = mark->avail_wrap;
}

/* Gives the oldest 'n_chains' of the buffers that are out back to the guest,
 * with what was written to them.  The caller sees to it that all of that, by
 * whichever CPU or engine, happened before.  The ring is mapped; it may be
 * broken. */
static inline void
vhost_vring_publish(struct vhost_vring *vr, unsigned int n_chains)
{
    vr->layout->publish(vr, n_chains);
}

/* Takes one buffer for each of 'n' packets, of 'lens' bytes, not 0, as far as
 * each has one descriptor that is large enough, and stores in 'vas' where it
 * is.  Returns how many, from the first on; why it is no more, if there are,
 * vhost_vring_take() tells.
 *
 * All of them are to be written to and given to vhost_vring_publish_direct(),
 * before anything else is done to the ring.  This is for rings of which
 * nothing is out, and of guests whose dirty pages are not logged.  It is
 * vhost_vring_take() and vhost_vring_publish() in less time: a packet of 64
 * bytes costs two thirds. */
static inline unsigned int
vhost_vring_take_direct(struct vhost_vring *vr, const uint32_t lens[],
                        uint8_t *vas[], unsigned int n)
{
    return (OVS_UNLIKELY(vr->broken)
            ? 0 : vr->layout->take_direct(vr, lens, vas, n));
}

/* Gives the 'n' buffers, not 0, that vhost_vring_take_direct() took back to
 * the guest. */
static inline void
vhost_vring_publish_direct(struct vhost_vring *vr, unsigned int n)
{
    vr->n_taken += n;
    vr->n_published += n;
    vr->n_unsignalled += n;
    vr->layout->publish_direct(vr, n);
}

/* Whether the guest wants to be notified of what was published since this was
 * asked last.  True the first time after a start: who served the ring before
 * may have owed the guest a notification.  The ring is mapped. */
static inline bool
vhost_vring_must_notify(struct vhost_vring *vr)
{
    return vr->layout->must_notify(vr);
}

#endif /* vhost-vring.h */
