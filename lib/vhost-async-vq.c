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

/* Implementation of vhost-async-vq.h.
 *
 * Starting and stopping is for the thread which handles the messages of the
 * guest (vhost-async-rings.c), as the holder of the lock. */

#include <config.h>

#include "vhost-async-vq.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_pause.h>

#include "coverage.h"
#include "openvswitch/vlog.h"

VLOG_DEFINE_THIS_MODULE(vhost_async_vq);

COVERAGE_DEFINE(vhost_async_broken);
COVERAGE_DEFINE(vhost_async_contended);
COVERAGE_DEFINE(vhost_async_notify);

/* Attempts at a lock before the core is given to others: its holder is done
 * within a burst, unless it is not running. */
#define VQ_SPINS 1000

/* The lock.  Acquire and release order what one holder did before what the
 * next one does, and what was left for it, see the header. */

static bool
lock_cas(struct vhost_async_vq *vq, uint32_t *old, uint32_t new)
{
    return atomic_compare_exchange_weak_explicit(&vq->lock, old, new,
                                                 memory_order_acq_rel,
                                                 memory_order_relaxed);
}

/* Takes the lock, or leaves work for its holder: returns false if that is what
 * happened.  Any thread; what is left must be visible before. */
bool
vhost_async_vq_trylock_or_leave(struct vhost_async_vq *vq)
{
    uint32_t word;

    atomic_read_relaxed(&vq->lock, &word);
    for (;;) {
        if (OVS_UNLIKELY(word & (VHOST_ASYNC_LOCKED | VHOST_ASYNC_CLOSED))) {
            /* Also if it is pending already: the holder that clears that must
             * see what was left before this. */
            if (lock_cas(vq, &word, word | VHOST_ASYNC_PENDING)) {
                return false;
            }
        } else if (lock_cas(vq, &word, VHOST_ASYNC_LOCKED)) {
            return true;
        }
    }
}

/* Takes the lock, waiting for its holder, but not for one that handles a
 * message: returns false then.  Any thread that sends. */
bool
vhost_async_vq_lock_unless_closed(struct vhost_async_vq *vq)
{
    uint32_t word = 0;

    if (OVS_LIKELY(lock_cas(vq, &word, VHOST_ASYNC_LOCKED))) {
        return true;
    }
    COVERAGE_INC(vhost_async_contended);
    for (int i = 1; ; i++) {
        if (word & VHOST_ASYNC_CLOSED) {
            return false;
        } else if (!(word & VHOST_ASYNC_LOCKED)) {
            if (lock_cas(vq, &word, VHOST_ASYNC_LOCKED)) {
                return true;
            }
        } else {
            rte_pause();
            if (i % VQ_SPINS == 0) {
                sched_yield();
            }
            atomic_read_relaxed(&vq->lock, &word);
        }
    }
}

/* Takes the lock for something short, which senders wait for.  By one thread
 * at a time, see vhost_async_vq_close(). */
void
vhost_async_vq_lock(struct vhost_async_vq *vq)
{
    bool locked = vhost_async_vq_lock_unless_closed(vq);

    ovs_assert(locked);
}

/* Gives up the lock, unless work was left: then the caller still has it, sees
 * to the work, and calls this again.  Returns true if it was given up. */
bool
vhost_async_vq_try_unlock(struct vhost_async_vq *vq)
{
    uint32_t word = VHOST_ASYNC_LOCKED;

    for (;;) {
        if (OVS_UNLIKELY(word & VHOST_ASYNC_PENDING)) {
            if (lock_cas(vq, &word, word & ~VHOST_ASYNC_PENDING)) {
                return false;
            }
        } else if (OVS_LIKELY(lock_cas(vq, &word,
                                       word & ~VHOST_ASYNC_LOCKED))) {
            return true;
        }
    }
}

/* Takes the lock and has senders not wait for it until vhost_async_vq_open().
 * A holder has it for a burst, so this waits no longer than the vhost library
 * does for its own locks.  One thread at a time does this: the one that is in
 * control of the guest (vhost-async-guest.h). */
void
vhost_async_vq_close(struct vhost_async_vq *vq)
{
    uint32_t word;

    atomic_read_relaxed(&vq->lock, &word);
    for (int i = 1; ; i++) {
        if (!(word & VHOST_ASYNC_LOCKED)) {
            if (lock_cas(vq, &word, (word | VHOST_ASYNC_LOCKED
                                      | VHOST_ASYNC_CLOSED))) {
                break;
            }
        } else if (!(word & VHOST_ASYNC_CLOSED)) {
            /* Each time anew: see vhost_async_rxq_unlock(). */
            lock_cas(vq, &word, word | VHOST_ASYNC_CLOSED);
        } else {
            rte_pause();
            if (i % VQ_SPINS == 0) {
                sched_yield();
            }
            atomic_read_relaxed(&vq->lock, &word);
        }
    }
}

/* Has senders wait for the lock again, which the caller still holds. */
void
vhost_async_vq_open(struct vhost_async_vq *vq)
{
    uint32_t orig;

    atomic_and_explicit(&vq->lock, ~VHOST_ASYNC_CLOSED, &orig,
                        memory_order_acq_rel);
}

/* Life. */

/* Prepares 'vq', all zeros, of number 'qid' and the port called 'port'.  Its
 * ring is the library's or stopped, as 'state' says. */
void
vhost_async_vq_init(struct vhost_async_vq *vq, const char *port, uint16_t qid,
                    bool rx, enum vhost_async_vq_state state)
{
    ovs_assert(state == VHOST_ASYNC_VQ_LIBRARY
               || state == VHOST_ASYNC_VQ_STOPPED);
    vq->port = xstrdup(port);
    vq->qid = qid;
    vq->rx = rx;
    atomic_init(&vq->dma, true);
    atomic_init(&vq->lock, 0);
    atomic_init(&vq->state, state);
    atomic_init(&vq->taken, 0);
    atomic_init(&vq->published, 0);
    vq->callfd = -1;
    dpdk_dma_owner_init(&vq->owner);
    vhost_vring_init(&vq->vring);
}

/* Frees what 'vq' holds, of which no thread may know and with which nothing
 * may be in flight. */
void
vhost_async_vq_uninit(struct vhost_async_vq *vq)
{
    ovs_assert(!vhost_async_vq_in_flight(vq));
    vhost_async_vq_set_callfd(vq, -1);
    vhost_vring_destroy(&vq->vring);
    free_cacheline(vq->pkts);
    free(vq->port);
}

/* Changes the state of the ring.  The holder of the lock. */
void
vhost_async_vq_set_state(struct vhost_async_vq *vq,
                          enum vhost_async_vq_state state)
{
    /* By old state, the new ones as bits. */
    static const uint32_t allowed[] = {
        [VHOST_ASYNC_VQ_LIBRARY] = 1 << VHOST_ASYNC_VQ_STOPPED,
        [VHOST_ASYNC_VQ_STOPPED] = 1 << VHOST_ASYNC_VQ_DISABLED,
        [VHOST_ASYNC_VQ_DISABLED] = (1 << VHOST_ASYNC_VQ_STOPPED
                                      | 1 << VHOST_ASYNC_VQ_RUNNING
                                      | 1 << VHOST_ASYNC_VQ_STUCK),
        [VHOST_ASYNC_VQ_RUNNING] = (1 << VHOST_ASYNC_VQ_STOPPED
                                     | 1 << VHOST_ASYNC_VQ_DISABLED
                                     | 1 << VHOST_ASYNC_VQ_STUCK),
        [VHOST_ASYNC_VQ_STUCK] = 1 << VHOST_ASYNC_VQ_STOPPED,
    };
    enum vhost_async_vq_state old = vhost_async_vq_state(vq);

    if (state != old) {
        ovs_assert(allowed[old] & (1 << state));
        atomic_store_explicit(&vq->state, state, memory_order_release);
    }
}

/* Has the ring mapped as 'setup' says, for packets that are in flight, or
 * disabled if it was stopped.  Returns NULL, or why that is impossible, in
 * which case it stays as it was but unmapped.
 *
 * The holder of the lock, on behalf of a message of the guest. */
const char *
vhost_async_vq_start(struct vhost_async_vq *vq,
                      const struct vhost_vring_setup *setup)
{
    const char *error = vhost_vring_map(&vq->vring, setup);
    uint32_t n_pkts;

    if (error) {
        return error;
    }
    n_pkts = vq->vring.chains_mask + 1;
    if (!vq->pkts || vq->pkts_mask + 1 != n_pkts) {
        /* No thread looks at packets when none is in flight. */
        ovs_assert(!vhost_async_vq_in_flight(vq));
        free_cacheline(vq->pkts);
        vq->pkts = xzalloc_cacheline(n_pkts * sizeof *vq->pkts);
        vq->pkts_mask = n_pkts - 1;
    }
    atomic_store_relaxed(&vq->memory, n_pkts * (sizeof *vq->pkts
                                                + sizeof *vq->vring.chains));
    if (vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STOPPED) {
        vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_DISABLED);
    }
    return NULL;
}

/* Stops the ring.  What is in flight to it is given up: it will be freed once
 * its copies are done, and nothing is published any more.  The CPU does not do
 * them again: the memory that they are to is the guest's from now on.
 *
 * The holder of the lock, once it was drained, if that came to an end. */
void
vhost_async_vq_stop(struct vhost_async_vq *vq)
{
    if (vhost_async_vq_in_flight(vq)) {
        dpdk_dma_owner_give_up(&vq->owner);
    }
    vhost_vring_unmap(&vq->vring);
    vhost_vring_forget(&vq->vring);
    vhost_async_vq_set_state(vq, (vhost_async_vq_in_flight(vq)
                                    ? VHOST_ASYNC_VQ_STUCK
                                    : VHOST_ASYNC_VQ_STOPPED));
    vq->log_all = false;
    vq->told_broken = false;
}

/* Tells the log why the guest is left alone from now on.  The holder of the
 * lock, once. */
void
vhost_async_vq_tell_broken(struct vhost_async_vq *vq)
{
    static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 5);

    vq->told_broken = true;
    COVERAGE_INC(vhost_async_broken);
    VLOG_WARN_RL(&rl, "%s: %s %"PRIu16": the guest %s; this ring is not used "
                 "until the guest sets it up anew.", vq->port,
                 vhost_async_vq_kind(vq), vq->qid, vq->vring.broken);
}

/* Makes 'fd', which then belongs to 'vq', what notifies the guest; -1 if it
 * polls.  The holder of the lock. */
void
vhost_async_vq_set_callfd(struct vhost_async_vq *vq, int fd)
{
    if (vq->callfd >= 0) {
        close(vq->callfd);
    }
    vq->callfd = fd;
}

/* Notifies the guest.  The holder of the lock. */
void
vhost_async_vq_notify(struct vhost_async_vq *vq)
{
    if (vq->callfd >= 0) {
        COVERAGE_INC(vhost_async_notify);
        /* That a counter is full is as good: the guest was told. */
        if (!eventfd_write(vq->callfd, 1)) {
            vhost_async_count(&vq->notifications, 1);
        }
    }
}

/* Nothing is in flight any more: a ring that was stuck may start again.  The
 * holder of the lock. */
void
vhost_async_vq_end_stuck(struct vhost_async_vq *vq)
{
    if (OVS_UNLIKELY(vhost_async_vq_state(vq) == VHOST_ASYNC_VQ_STUCK)) {
        dpdk_dma_owner_take_up(&vq->owner);
        vhost_async_vq_set_state(vq, VHOST_ASYNC_VQ_STOPPED);
    }
}

/* Lets others run, for the 'attempt'th time, counted from 0, that what an
 * engine has was not done yet: it answers within microseconds, or takes its
 * time.  Those who wait hold no lock that others wait for. */
void
vhost_async_vq_pause(int attempt)
{
    if (attempt < VQ_SPINS) {
        sched_yield();
    } else {
        rte_delay_us_sleep(100);
    }
}

/* Returns the index of the channel that the oldest packet in flight waits for,
 * -1 if nothing is in flight.  The holder of the lock. */
int
vhost_async_vq_waits_for(const struct vhost_async_vq *vq)
{
    uint32_t seq = vhost_async_vq_get(&vq->published);

    return (vhost_async_vq_in_flight(vq)
            ? vq->pkts[seq & vq->pkts_mask].chan : -1);
}
