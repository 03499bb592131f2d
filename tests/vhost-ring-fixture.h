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

#ifndef VHOST_RING_FIXTURE_H
#define VHOST_RING_FIXTURE_H 1

/* Rings of txqs and rxqs, as vhost-async-rings.c starts and stops them on
 * behalf of a guest's messages; and packets that are known by a stamp, for
 * tests in which threads do that at the same time.
 *
 * One thread at a time is in control of a ring, as for the real one.
 *
 * To be included behind vhost-data-path.h. */

#include "vhost-async-vq-kinds.h"

/* Starts the ring of 'vq', which 'g' has, at 'base'.  The holder of the
 * lock. */
static OVS_UNUSED void
vq_ring_start(struct vhost_async_vq *vq, const struct guest_ring *g,
              uint16_t base)
{
    ovs_assert(!vhost_async_vq_start(vq, &g->setup));
    vhost_vring_set_base(&vq->vring, base, base);
    vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_RUNNING);
}

/* Stops the ring, after 'us' microseconds even if copies are in flight.
 * Returns the index that the guest is told. */
static OVS_UNUSED uint16_t
vq_ring_stop(struct vhost_async_vq *vq, unsigned int us)
{
    uint16_t base;

    vhost_async_vq_close(vq);
    vhost_async_vq_drain(vq, rte_get_tsc_cycles()
                             + rte_get_tsc_hz() / 1000000 * us);
    base = vhost_vring_get_base(&vq->vring);
    vhost_async_vq_stop(vq);
    vhost_async_vq_end_done(vq);
    vhost_async_vq_open(vq);
    vhost_async_vq_unlock(vq);
    return base;
}

/* Starts the ring at 'base', once nothing is in flight any more. */
static OVS_UNUSED void
vq_ring_restart(struct vhost_async_vq *vq, const struct guest_ring *g,
                uint16_t base)
{
    for (;;) {
        bool stopped;

        vhost_async_vq_lock(vq);
        if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK) {
            vhost_async_vq_end_done(vq);
        }
        stopped = vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STOPPED;
        if (stopped) {
            vq_ring_start(vq, g, base);
        }
        vhost_async_vq_unlock(vq);
        if (stopped) {
            break;
        }
        usleep(random_range(100));
    }
}

/* What comes of a message of guest 'g', whichever that is. */
static OVS_UNUSED void
vq_ring_message(struct vhost_async_vq *vq, struct guest_ring *g)
{
    switch (random_range(3)) {
    case 0:
        vq_ring_restart(vq, g, vq_ring_stop(vq, random_range(200)));
        break;
    case 1:
        /* Memory is somewhere else, copies are in flight. */
        vhost_async_vq_close(vq);
        usleep(random_range(100));
        vhost_vring_unmap(&vq->vring);
        guest_ring_move(g);
        ovs_assert(!vhost_async_vq_start(vq, &g->setup));
        vhost_async_vq_open(vq);
        vhost_async_vq_unlock(vq);
        break;
    default:
        for (int i = 0; i < 2; i++) {
            vhost_async_vq_lock(vq);
            vhost_async_vq_set_state(vq, (i ? VHOST_ASYNC_VQ_RUNNING
                                          : VHOST_ASYNC_VQ_DISABLED));
            vhost_async_vq_unlock(vq);
        }
        break;
    }
}

/* What is at the beginning of a packet that is known by it, behind its
 * addresses.  All that follows is 'seq', its lowest byte. */
struct stamp {
    uint32_t sender, port;
    uint32_t seq, len;
};
#define STAMP_OFS 16

/* Bytes of a packet in tests that run threads. */
#define MAX_LEN 1518

static OVS_UNUSED void
stamp_put(uint8_t *data, const struct stamp *stamp)
{
    memset(data, stamp->seq, stamp->len);
    memset(data, 0, STAMP_OFS);
    memcpy(data + STAMP_OFS, stamp, sizeof *stamp);
}

/* Returns the stamp of a packet, all of which must be as it was made. */
static OVS_UNUSED struct stamp
stamp_get(const uint8_t *data, uint32_t len)
{
    const uint8_t *rest = data + STAMP_OFS + sizeof(struct stamp);
    struct stamp stamp;

    memcpy(&stamp, data + STAMP_OFS, sizeof stamp);
    ovs_assert(len == stamp.len);
    ovs_assert(*rest == (uint8_t) stamp.seq);
    ovs_assert(!memcmp(rest, rest + 1, data + len - rest - 1));
    return stamp;
}

/* Returns a length, by chance; of 'large_percent' so many that DMA pays. */
static OVS_UNUSED uint32_t
stamp_len(unsigned int large_percent)
{
    return (random_range(100) < large_percent
            ? 1024 + random_range(MAX_LEN - 1024)
            : 64 + random_range(100));
}

#endif /* vhost-ring-fixture.h */
