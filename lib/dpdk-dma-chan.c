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

/* Implementation of dpdk-dma-chan.h: what is asked of an engine per packet,
 * and what becomes of copies that it does not carry out.
 *
 * Called by the thread that owns the channel, a PMD thread, or by the one that
 * stops devices once that gave it up.  Nothing is protected: a channel is
 * never shared.  Facts about DPDK were read from the source of release
 * 22.11.11. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "dpdk-dma-chan.h"

#include <sched.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_dmadev.h>

#include "coverage.h"
#include "openvswitch/vlog.h"

VLOG_DEFINE_THIS_MODULE(dpdk_dma_chan);

COVERAGE_DEFINE(dpdk_dma_chan_overreport);

/* Copies that a driver is asked about at once.  A software engine hands them
 * back one by one: who asks it for more runs after it from copy to copy, each
 * of which is in the other core's cache. */
#define CHAN_POLL_MAX 32

/* Makes 'chan' ready for claims, with room for the 'ring_size' descriptors
 * that its vchan was set up with.  Its device must have been started, and
 * nothing may be in flight.  For the thread that starts devices; the memory
 * stays when the device is stopped, since it is wanted again soon. */
void
dpdk_dma_chan_start(struct dpdk_dma_chan *chan, uint16_t ring_size)
{
    ovs_assert(!dpdk_dma_chan_in_flight(chan));
    if (!chan->copies || chan->ring_size != ring_size) {
        size_t n = 1;

        while (n < ring_size) {
            n *= 2;
        }
        dpdk_dma_chan_uninit(chan);
        chan->copies = xzalloc_cacheline(n * sizeof *chan->copies);
        chan->statuses = xmalloc_cacheline(
            n * sizeof(enum rte_dma_status_code));
        chan->copies_mask = n - 1;
        chan->ring_size = ring_size;
    }
    chan->halted = false;
    atomic_store_relaxed(&chan->running, true);
}

/* Marks 'chan' as not running.  For the thread that stopped its device. */
void
dpdk_dma_chan_stop(struct dpdk_dma_chan *chan)
{
    atomic_store_relaxed(&chan->running, false);
}

/* Frees what 'chan' points to.  No thread may use it. */
void
dpdk_dma_chan_uninit(struct dpdk_dma_chan *chan)
{
    free_cacheline(chan->copies);
    free_cacheline(chan->statuses);
    chan->copies = NULL;
    chan->statuses = NULL;
}

/* The owner reads its own counters: nothing is ordered by that. */
static uint64_t
chan_submitted(const struct dpdk_dma_chan *chan)
{
    return dpdk_dma_chan_submitted(chan);
}

static uint64_t
chan_completed(const struct dpdk_dma_chan *chan)
{
    uint64_t n;

    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_chan *, chan)->completed,
                        &n);
    return n;
}

/* Returns the number of copies that 'chan' takes now, 0 if it failed; it is
 * the owner's to take them off from this.  To be asked before what may be too
 * much: idxd refuses no copy beyond its largest batch, but shows no more room
 * than that (idxd_burst_capacity()).  It has room again after the doorbell. */
unsigned int
dpdk_dma_chan_room(const struct dpdk_dma_chan *chan)
{
    unsigned int in_flight = chan_submitted(chan) - chan_completed(chan);

    /* Many drivers keep one descriptor of the ring free (ioat, idxd, skeleton:
     * all that were read); then nobody misses it. */
    if (OVS_UNLIKELY(!dpdk_dma_chan_usable(chan)
                     || in_flight + 1 >= chan->ring_size)) {
        return 0;
    }
    return MIN(chan->ring_size - 1 - in_flight,
               rte_dma_burst_capacity(chan->dev_id, chan->vchan));
}

/* Hands 'chan' a copy of 'len' bytes, not 0, from 'src' to 'dst', which the
 * engine knows as 'src_iova' and 'dst_iova'.  All of it must stay mapped while
 * the copy is in flight, for the CPU, too.  The engine need not start before
 * dpdk_dma_chan_doorbell().
 *
 * Returns false if the engine refused.  Then this copy is not in flight; those
 * added before, of the same packet or not, are: end that packet with the last
 * of them and copy the rest by CPU.
 *
 * Do not reap between the copies of a packet and its end. */
bool
dpdk_dma_chan_add(struct dpdk_dma_chan *chan, rte_iova_t dst_iova,
                  rte_iova_t src_iova, void *dst, const void *src,
                  uint32_t len)
{
    uint64_t submitted = chan_submitted(chan);
    struct dpdk_dma_copy *copy = &chan->copies[submitted & chan->copies_mask];

    /* ioat gives the descriptor of a copy that failed free before it reports
     * it (ioat_completed()). */
    if (OVS_UNLIKELY(submitted - chan_completed(chan) > chan->copies_mask)) {
        return false;
    }

    copy->dst = dst;
    copy->src = src;
    copy->owner = NULL;
    copy->len = len;
    if (OVS_UNLIKELY(rte_dma_copy(chan->dev_id, chan->vchan, src_iova,
                                  dst_iova, len, 0) < 0)) {
        return false;
    }
    atomic_store_relaxed(&chan->submitted, submitted + 1);
    chan->doorbell = true;
    return true;
}

/* Makes the last copy added to 'chan' the last one of packet 'seq' of 'owner',
 * which must not be NULL.  There must have been one since the last packet
 * ended. */
void
dpdk_dma_chan_end_packet(struct dpdk_dma_chan *chan,
                         struct dpdk_dma_owner *owner, uint32_t seq)
{
    uint64_t last = chan_submitted(chan) - 1;
    struct dpdk_dma_copy *copy = &chan->copies[last & chan->copies_mask];

    copy->owner = owner;
    copy->seq = seq;
}

/* Has the engine start with what was added, if anything was. */
void
dpdk_dma_chan_doorbell(struct dpdk_dma_chan *chan)
{
    /* One that fails is tried again the next time; if there is none, the
     * copies will be overdue. */
    if (chan->doorbell && !rte_dma_submit(chan->dev_id, chan->vchan)) {
        chan->doorbell = false;
    }
}

/* Copies by CPU what copy number 'pos' was to, unless its packet was given
 * up. */
static void
chan_copy_by_cpu(const struct dpdk_dma_chan *chan, uint64_t pos)
{
    const struct dpdk_dma_copy *copy = &chan->copies[pos & chan->copies_mask];
    struct dpdk_dma_owner *owner;
    uint32_t orig;
    bool gave_up;

    /* The last copy of the packet has it. */
    while (!(owner = chan->copies[pos & chan->copies_mask].owner)) {
        pos++;
    }
    /* Sequentially consistent, as in dpdk_dma_owner_give_up(): either that one
     * sees this writer and waits for it, or this sees that it gave up. */
    atomic_add(&owner->n_writers, 1, &orig);
    atomic_read(&owner->gave_up, &gave_up);
    if (OVS_LIKELY(!gave_up)) {
        memcpy(copy->dst, copy->src, copy->len);
    }
    atomic_sub(&owner->n_writers, 1, &orig);
}

/* Prepares 'owner', which has no packets. */
void
dpdk_dma_owner_init(struct dpdk_dma_owner *owner)
{
    atomic_init(&owner->n_writers, 0);
    atomic_init(&owner->gave_up, false);
}

/* Gives all packets of 'owner' in flight up: when this returns the CPU copies
 * nothing more to their targets, whatever becomes of their engines.  Waits for
 * threads that are at it, for one copy each.  Any thread. */
void
dpdk_dma_owner_give_up(struct dpdk_dma_owner *owner)
{
    uint32_t n;

    atomic_store(&owner->gave_up, true);
    for (atomic_read(&owner->n_writers, &n); n;
         atomic_read(&owner->n_writers, &n)) {
        sched_yield();
    }
}

/* 'owner', which has nothing in flight, is to have packets again. */
void
dpdk_dma_owner_take_up(struct dpdk_dma_owner *owner)
{
    atomic_store(&owner->gave_up, false);
}

/* Returns 'n', but no more than the 'max' that the driver was asked for: it
 * must not make copies done that were never submitted. */
static inline ALWAYS_INLINE uint16_t
chan_limit(const struct dpdk_dma_chan *chan, uint16_t n, uint16_t max)
{
    if (OVS_UNLIKELY(n > max)) {
        static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(1, 1);

        COVERAGE_INC(dpdk_dma_chan_overreport);
        VLOG_WARN_RL(&rl, "DMA device %s reported %"PRIu16" copies of "
                     "%"PRIu16": this is a fault of its driver.",
                     chan->dev_name, n, max);
        n = max;
    }
    return n;
}

/* Takes the report of an engine that has failed a copy; 'left' are with it.
 * Until this is asked for, drivers report nothing more (idxd, ioat).  Returns
 * how many were reported; what of them failed, the CPU copied.
 *
 * 'left' must be all that the engine has, and what follows the first copy that
 * failed is copied whatever the report says of it.  ioat_completed_status()
 * loses a copy when asked for less, tells of a second failure one copy too
 * early, and says that all is well with copies that it never began if the
 * engine cannot recover (22.11 to 26.07). */
static uint16_t
chan_reap_errors(struct dpdk_dma_chan *chan, uint16_t left)
{
    enum rte_dma_status_code *statuses = chan->statuses;
    enum rte_dma_vchan_status state;
    uint64_t errors = dpdk_dma_chan_errors(chan);
    bool redo = false;
    uint16_t n;

    /* ioat does not set each one that it reports. */
    for (uint16_t i = 0; i < left; i++) {
        statuses[i] = RTE_DMA_STATUS_ERROR_UNKNOWN;
    }
    n = chan_limit(chan, rte_dma_completed_status(chan->dev_id, chan->vchan,
                                                  left, NULL, statuses), left);
    /* From then on ioat_completed() says that all is well with what is never
     * begun (22.11 to 26.07). */
    chan->halted = !rte_dma_vchan_status(chan->dev_id, chan->vchan, &state)
                   && state == RTE_DMA_VCHAN_HALTED_ERROR;
    for (uint16_t i = 0; i < n; i++) {
        if (statuses[i] != RTE_DMA_STATUS_SUCCESSFUL) {
            errors++;
            redo = true;
        }
        if (redo) {
            chan_copy_by_cpu(chan, chan->reported + i);
        }
    }
    atomic_store_relaxed(&chan->errors, errors);
    return n;
}

/* Asks the driver which copies are done.  The counter that it returns beside
 * their number is its own, 16 bits wide, and not what it says after an error
 * (idxd: batch_completed()): not used. */
static void
chan_poll(struct dpdk_dma_chan *chan)
{
    uint16_t left = chan_submitted(chan) - chan->reported;
    uint16_t n, max;

    do {
        bool has_error = false;

        max = MIN(left, CHAN_POLL_MAX);
        if (!max || OVS_UNLIKELY(chan->halted)) {
            break;
        }
        n = chan_limit(chan, rte_dma_completed(chan->dev_id, chan->vchan, max,
                                               NULL, &has_error), max);
        if (OVS_UNLIKELY(has_error) && n < left) {
            /* All of them, as said at chan_reap_errors(). */
            chan->reported += n;
            left -= n;
            n = chan_reap_errors(chan, left);
        }
        chan->reported += n;
        left -= n;
        if (n) {
            chan->silent = false;
        }
    } while (n == max);
}

/* Stores in 'done' the packets that end with copies before 'end', at most
 * 'max', and returns their number.  What was not reported, the CPU copies. */
static unsigned int
chan_hand_out(struct dpdk_dma_chan *chan, uint64_t end,
              struct dpdk_dma_done *done, unsigned int max)
{
    uint64_t begin = chan_completed(chan);
    uint64_t pos = begin;
    unsigned int n = 0;

    for (; pos != end && n < max; pos++) {
        const struct dpdk_dma_copy *copy
            = &chan->copies[pos & chan->copies_mask];

        if (OVS_UNLIKELY(pos == chan->reported)) {
            chan_copy_by_cpu(chan, chan->reported++);
        }
        if (copy->owner) {
            done[n].owner = copy->owner;
            done[n++].seq = copy->seq;
        }
    }
    if (pos != begin) {
        /* Release: what the CPU copied itself is there for whoever sees the
         * copy counted. */
        atomic_store_explicit(&chan->completed, pos, memory_order_release);
    }
    return n;
}

/* Stores in 'done' the packets all of whose copies are done, in the order in
 * which they were added, at most 'max', and returns their number.  What the
 * engine failed to copy, the CPU copied.  If that is 'max', there may be
 * more. */
unsigned int
dpdk_dma_chan_reap(struct dpdk_dma_chan *chan, struct dpdk_dma_done *done,
                   unsigned int max)
{
    chan_poll(chan);
    return chan_hand_out(chan, chan->reported, done, max);
}

/* Returns what is wrong with the engine of 'chan', a constant, or NULL: it
 * halted, or has copies and completed none of them for 'timeout_ms'
 * milliseconds.  To be called after a reap that found nothing.
 *
 * The time that passes between two calls is no proof against the engine: this
 * thread may not have run, and the engine neither.  So it must be found silent
 * three times, the second one half of the timeout after the first one, or
 * more, and the third one half of it after the second one. */
const char *
dpdk_dma_chan_fault(struct dpdk_dma_chan *chan, uint32_t timeout_ms)
{
    uint64_t now;

    if (chan_submitted(chan) == chan->reported) {
        return NULL;
    } else if (chan->halted) {
        return "it did not go on after a copy that failed";
    }

    now = rte_get_tsc_cycles();
    if (!chan->silent) {
        chan->silent = true;
        chan->suspect = false;
        chan->progress_tsc = now;
    } else if (now - chan->progress_tsc
               >= rte_get_tsc_hz() / 1000 * timeout_ms / 2) {
        if (chan->suspect) {
            return "it did not complete a copy in time";
        }
        chan->suspect = true;
        chan->progress_tsc = now;
    }
    return NULL;
}

/* Gives 'chan' up for good, because it failed.  The owner must not touch it
 * any more, except for dpdk_dma_map_release(): it is the thread's that stops
 * devices.  Copies in flight stay in flight. */
void
dpdk_dma_chan_abandon(struct dpdk_dma_chan *chan)
{
    ovs_assert(dpdk_dma_chan_failed(chan));
    /* Release, paired with the acquire in dpdk_dma_chan_in_use(). */
    atomic_store_explicit(&chan->in_use, false, memory_order_release);
}

/* Copies by CPU what is in flight on 'chan', in order, and stores in 'done'
 * the packets that are complete by that, at most 'max'.  Returns their number;
 * if that is 'max', there may be more.
 *
 * For the thread that stopped the device, once it is certain that this writes
 * nothing any more. */
unsigned int
dpdk_dma_chan_redo(struct dpdk_dma_chan *chan, struct dpdk_dma_done *done,
                   unsigned int max)
{
    return chan_hand_out(chan, chan_submitted(chan), done, max);
}
