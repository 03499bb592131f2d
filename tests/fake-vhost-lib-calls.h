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

#ifndef FAKE_VHOST_LIB_CALLS_H
#define FAKE_VHOST_LIB_CALLS_H 1

/* The functions of rte_vhost.h, by what fake-vhost-lib.h has.  Of its data
 * plane there is as much as it takes to have it send to a ring, or receive
 * from it, before that is taken over: one mbuf, one buffer for a packet. */

#include "fake-vhost-lib.h"

/* Of the test: whether the calling thread has the tx lock of the netdev. */
static bool lib_may_enqueue(int vid);

/* The control plane. */

static int
lib_get_ifname(int vid, char *name, size_t size)
{
    ovs_strlcpy(name, lib_dev(vid)->path, size);
    return 0;
}

static int
lib_extern_callback_register(int vid,
                             const struct rte_vhost_user_extern_ops *ops,
                             void *ctx)
{
    ovs_assert(!ctx);
    lib_dev(vid)->ops = ops;
    return 0;
}

static int
lib_get_negotiated_features(int vid, uint64_t *features)
{
    const struct lib_dev *dev = lib_dev_to_read(vid);

    if (!dev) {
        return -1;
    }
    *features = dev->features;
    return 0;
}

static uint16_t
lib_get_vring_num(int vid)
{
    const struct lib_dev *dev = lib_dev_to_read(vid);

    return dev ? dev->n_vrings : 0;
}

static int
lib_get_vhost_vring(int vid, uint16_t index, struct rte_vhost_vring *vring)
{
    const struct lib_dev *dev = lib_dev_to_read(vid);

    if (!dev || index >= dev->n_vrings) {
        return -1;
    }
    *vring = dev->vqs[index].vring;
    return 0;
}

static int
lib_get_base(int vid, uint16_t index, uint16_t *avail, uint16_t *used)
{
    const struct lib_dev *dev = lib_dev_to_read(vid);

    if (!dev || index >= dev->n_vrings) {
        return -1;
    }
    *avail = dev->vqs[index].avail_idx;
    *used = dev->vqs[index].used_idx;
    return 0;
}

static int
lib_set_base(int vid, uint16_t index, uint16_t avail, uint16_t used)
{
    struct lib_dev *dev = lib_dev_to_read(vid);

    if (!dev || index >= dev->n_vrings) {
        return -1;
    }
    dev->vqs[index].avail_idx = avail;
    dev->vqs[index].used_idx = used;
    return 0;
}

static int
lib_get_mem_table(int vid, struct rte_vhost_memory **table)
{
    const struct lib_dev *dev = lib_dev_to_read(vid);

    ovs_assert(dev && dev->has_mem);
    *table = xzalloc(sizeof **table
                     + dev->n_mems * sizeof *(*table)->regions);
    (*table)->nregions = dev->n_mems;
    for (unsigned int i = 0; i < dev->n_mems; i++) {
        const struct lib_mem *m = &dev->mems[i];

        (*table)->regions[i] = (struct rte_vhost_mem_region) {
            .guest_phys_addr = m->region.gpa,
            .guest_user_addr = m->region.user,
            .host_user_addr = m->va + m->region.ofs,
            .size = m->region.size,
            .mmap_addr = (void *) (uintptr_t) m->va,
            .mmap_size = m->region.ofs + m->region.size,
            .fd = m->fd,
        };
    }
    return 0;
}

static void
lib_log_write(int vid, uint64_t gpa, uint64_t size)
{
    if (lib_dev(vid)->features & LIB_F_LOG_ALL) {
        struct lib_region *r = &lib.logged[lib.n_logged++ % 1024];

        r->gpa = gpa;
        r->size = size;
    }
}

/* The data plane. */

/* Where the guest has a ring. */
struct lib_split {
    struct vring_desc *descs;
    struct vring_avail *avail;
    struct vring_used *used;
};

static struct lib_split
lib_split_of(struct lib_dev *dev, const struct lib_vq *vq)
{
    uint64_t len = 0;

    return (struct lib_split) {
        .descs = ALIGNED_CAST(struct vring_desc *,
                              lib_find(dev, LIB_BY_USER, vq->desc, &len,
                                       NULL)),
        .avail = ALIGNED_CAST(struct vring_avail *,
                              lib_find(dev, LIB_BY_USER, vq->avail, &len,
                                       NULL)),
        .used = ALIGNED_CAST(struct vring_used *,
                             lib_find(dev, LIB_BY_USER, vq->used, &len,
                                      NULL)),
    };
}

/* Takes the next buffer that the guest offers.  Returns its descriptor, or
 * NULL. */
static struct vring_desc *
lib_split_take(const struct lib_split *ring, struct lib_vq *vq, uint16_t *head)
{
    if (ring->avail->idx == vq->avail_idx) {
        return NULL;
    }
    *head = ring->avail->ring[vq->avail_idx++ % vq->vring.size];
    return ring->descs + *head;
}

static void
lib_split_use(const struct lib_split *ring, struct lib_vq *vq, uint16_t head,
              uint32_t len)
{
    ring->used->ring[vq->used_idx++ % vq->vring.size]
        = (struct vring_used_elem) { .id = head, .len = len };
    ring->used->idx = vq->used_idx;
}

/* The same for a packed ring. */
static struct vring_packed_desc *
lib_packed_next(struct lib_dev *dev, const struct lib_vq *vq)
{
    uint64_t len = 0;
    struct vring_packed_desc *d = ALIGNED_CAST(
        struct vring_packed_desc *,
        lib_find(dev, LIB_BY_USER, vq->desc, &len, NULL));
    bool wrap = vq->avail_idx & 0x8000;

    d += vq->avail_idx & 0x7fff;
    return (!(d->flags & 1 << VRING_PACKED_DESC_F_AVAIL) == wrap
            || !(d->flags & 1 << VRING_PACKED_DESC_F_USED) != wrap
            ? NULL : d);
}

static void
lib_packed_use(struct lib_vq *vq, struct vring_packed_desc *d, uint32_t len,
               uint16_t flags)
{
    bool wrap = vq->avail_idx & 0x8000;

    d->len = len;
    d->flags = (flags | (wrap ? 1 << VRING_PACKED_DESC_F_AVAIL
                                | 1 << VRING_PACKED_DESC_F_USED : 0));
    if ((++vq->avail_idx & 0x7fff) == vq->vring.size) {
        vq->avail_idx = wrap ? 0 : 0x8000;
    }
    vq->used_idx = vq->avail_idx;
}

/* Copies 'pkt' behind a header at 'gpa'.  Returns how many bytes that are. */
static uint32_t
lib_place(struct lib_dev *dev, uint64_t gpa, const struct rte_mbuf *pkt)
{
    uint64_t len = 0;
    uint8_t *dst = lib_find(dev, LIB_BY_GPA, gpa, &len, NULL);

    memset(dst, 0, 12);
    dst[10] = 1;
    memcpy(dst + 12, rte_pktmbuf_mtod(pkt, uint8_t *), pkt->pkt_len);
    return 12 + pkt->pkt_len;
}

static bool
lib_enqueue_split(struct lib_dev *dev, struct lib_vq *vq,
                  struct rte_mbuf *pkt)
{
    struct lib_split ring = lib_split_of(dev, vq);
    const struct vring_desc *d;
    uint16_t head;

    d = lib_split_take(&ring, vq, &head);
    if (d) {
        lib_split_use(&ring, vq, head, lib_place(dev, d->addr, pkt));
    }
    return d != NULL;
}

static bool
lib_enqueue_packed(struct lib_dev *dev, struct lib_vq *vq,
                   struct rte_mbuf *pkt)
{
    struct vring_packed_desc *d = lib_packed_next(dev, vq);

    if (d) {
        lib_packed_use(vq, d, lib_place(dev, d->addr, pkt),
                       VRING_DESC_F_WRITE);
    }
    return d != NULL;
}

static uint16_t
lib_enqueue_burst(int vid, uint16_t index, struct rte_mbuf **pkts,
                  uint16_t cnt)
{
    struct lib_dev *dev = lib_dev_to_lock(vid);
    struct lib_vq *vq = &dev->vqs[index];
    uint16_t n = 0;

    ovs_assert(lib_may_enqueue(vid));
    if (!vq->enabled) {
        return 0;
    }
    if (lib.while_enqueuing) {
        void (*during)(void) = lib.while_enqueuing;

        lib.while_enqueuing = NULL;
        during();
    }
    while (n < cnt && (dev->features & LIB_F_PACKED
                       ? lib_enqueue_packed(dev, vq, pkts[n])
                       : lib_enqueue_split(dev, vq, pkts[n]))) {
        n++;
    }
    lib.n_enqueued += n;
    if (n && vq->vring.callfd >= 0) {
        eventfd_write(vq->vring.callfd, 1);
    }
    return n;
}

/* Copies the packet behind the header at 'gpa', of 'len' bytes in all. */
static struct rte_mbuf *
lib_receive(struct lib_dev *dev, struct rte_mempool *mp, uint64_t gpa,
            uint32_t len)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(mp);
    uint64_t n = 0;

    ovs_assert(m && len > 12 && len - 12 <= rte_pktmbuf_tailroom(m));
    m->pkt_len = m->data_len = len - 12;
    memcpy(rte_pktmbuf_mtod(m, uint8_t *),
           lib_find(dev, LIB_BY_GPA, gpa, &n, NULL) + 12, len - 12);
    return m;
}

static struct rte_mbuf *
lib_dequeue_split(struct lib_dev *dev, struct lib_vq *vq,
                  struct rte_mempool *mp)
{
    struct lib_split ring = lib_split_of(dev, vq);
    const struct vring_desc *d;
    struct rte_mbuf *m = NULL;
    uint16_t head;

    d = lib_split_take(&ring, vq, &head);
    if (d) {
        m = lib_receive(dev, mp, d->addr, d->len);
        lib_split_use(&ring, vq, head, 0);
    }
    return m;
}

static struct rte_mbuf *
lib_dequeue_packed(struct lib_dev *dev, struct lib_vq *vq,
                   struct rte_mempool *mp)
{
    struct vring_packed_desc *d = lib_packed_next(dev, vq);
    struct rte_mbuf *m = NULL;

    if (d) {
        m = lib_receive(dev, mp, d->addr, d->len);
        lib_packed_use(vq, d, 0, 0);
    }
    return m;
}

static uint16_t
lib_dequeue_burst(int vid, uint16_t index, struct rte_mempool *mp,
                  struct rte_mbuf **pkts, uint16_t cnt)
{
    struct lib_dev *dev = lib_dev_to_lock(vid);
    struct lib_vq *vq = &dev->vqs[index];
    uint16_t n = 0;

    while (vq->enabled && n < cnt) {
        pkts[n] = (dev->features & LIB_F_PACKED
                   ? lib_dequeue_packed(dev, vq, mp)
                   : lib_dequeue_split(dev, vq, mp));
        if (!pkts[n]) {
            break;
        }
        n++;
    }
    lib.n_dequeued += n;
    return n;
}

static inline int
lib_never(void)
{
    ovs_abort(0, "a function that locks was called");
}

/* Nobody has a reason to call these, and less so where locks are held. */
#define rte_vhost_vring_call(...) lib_never()
#define rte_vhost_vring_call_nonblock(...) lib_never()
#define rte_vhost_enable_guest_notification(...) lib_never()
#define rte_vhost_avail_entries(...) lib_never()
#define rte_vhost_rx_queue_count(VID, VRING) ((void) (VID), lib_never())
#define rte_vhost_vring_stats_get(...) lib_never()
#define rte_vhost_notify_guest(...) lib_never()

#define rte_vhost_dequeue_burst lib_dequeue_burst
#define rte_vhost_enqueue_burst lib_enqueue_burst
#define rte_vhost_extern_callback_register lib_extern_callback_register
#define rte_vhost_get_ifname lib_get_ifname
#define rte_vhost_get_mem_table lib_get_mem_table
#define rte_vhost_get_negotiated_features lib_get_negotiated_features
#define rte_vhost_get_vhost_vring lib_get_vhost_vring
#define rte_vhost_get_vring_base lib_get_base
#define rte_vhost_get_vring_num lib_get_vring_num
#define rte_vhost_set_vring_base lib_set_base

#endif /* fake-vhost-lib-calls.h */
