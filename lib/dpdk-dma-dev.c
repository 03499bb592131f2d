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

/* Implementation of dpdk-dma-dev.h.
 *
 * Called by the main thread (configuration), by PMD threads that find an
 * engine failed, by the helper thread that has those stopped, and by whoever
 * shows what became of them.  'dma_dev_mutex' protects the states of the
 * devices.  Nobody holds it across a call of the dmadev library that can take
 * its time: the stop of the skeleton joins a thread.  Instead, a state says
 * who is at work on a device: the main thread while it is STOPPED, a thread of
 * its own while it is STOPPING or DYING.  Facts about DPDK were read from the
 * source of release 22.11.11. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "dpdk-dma-dev.h"

#include <errno.h>

#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_dmadev.h>

#include "bitmap.h"
#include "dpdk-dma-cost.h"
#include "dpdk-dma-map.h"
#include "dpdk-dma-probe.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(dpdk_dma_dev);

/* Attempts to stop a device that failed, 1 ms apart: ioat_dev_stop() gives up
 * after 200 looks, idxd_pci_dev_stop() after 1000. */
#define DMA_STOP_TRIES 100

/* How long the main thread waits for drivers that do not answer, in
 * milliseconds. */
#define DMA_WAIT_MS 100

/* How long it waits for engines that do not copy what is to try them, all of
 * them together: those of software may not get to run for a while. */
#define DMA_TRY_MS 1000

/* How often the helper thread looks whether threads let go of a device that
 * failed, and whether one that cannot be stopped completed something. */
#define DMA_FAILED_LOOK_MS 1
#define DMA_STUCK_LOOK_MS 100

/* How often a device is stopped again that could not be: ioat forgets all but
 * one copy when it is asked to, and stops when that is done. */
#define DMA_STOP_AGAIN_MS 1000

struct dma_dev {
    /* Constant from discovery. */
    int16_t id;
    const char *name;
    uint16_t n_vchans;

    enum dpdk_dma_dev_state state;      /* See dma_dev_become(). */
    long long int stop_again;   /* When to, if it is UNSTOPPABLE. */
};

static struct ovs_mutex dma_dev_mutex = OVS_MUTEX_INITIALIZER;
static struct dma_dev dma_devs[RTE_DMADEV_DEFAULT_MAX]
    OVS_GUARDED_BY(dma_dev_mutex);

/* Grows only, in discovery.  Who reads it without the mutex sees the devices
 * below it. */
static atomic_size_t n_dma_devs;

/* Nothing is ordered by it. */
static atomic_uint32_t timeout_ms = DPDK_DMA_DEV_TIMEOUT_MS;

static void dma_dev_discover(struct dpdk_dma_map *);

static size_t
dma_dev_count(void)
{
    size_t n;

    atomic_read_explicit(&n_dma_devs, &n, memory_order_acquire);
    return n;
}

/* Returns the map of all channels, discovered in the first call and by each
 * dpdk_dma_dev_start_all().  Any thread. */
struct dpdk_dma_map *
dpdk_dma_dev_map(void)
{
    static struct ovsthread_once once = OVSTHREAD_ONCE_INITIALIZER;
    static struct dpdk_dma_map *map;

    if (ovsthread_once_start(&once)) {
        map = dpdk_dma_map_create();
        dma_dev_discover(map);
        ovsthread_once_done(&once);
    }
    return map;
}

/* Returns what changes when a device fails.  Any thread. */
struct seq *
dpdk_dma_dev_seq(void)
{
    static struct ovsthread_once once = OVSTHREAD_ONCE_INITIALIZER;
    static struct seq *seq;

    if (ovsthread_once_start(&once)) {
        seq = seq_create();
        ovsthread_once_done(&once);
    }
    return seq;
}

/* Takes devices into 'map' that EAL, or dpdk-dma-probe.h, probed since.  None
 * goes away.  Ids can have gaps, hence rte_dma_next_dev(). */
static void
dma_dev_discover(struct dpdk_dma_map *map)
{
    static unsigned long seen[BITMAP_N_LONGS(RTE_DMADEV_DEFAULT_MAX)];
    size_t n;

    ovs_mutex_lock(&dma_dev_mutex);
    n = dma_dev_count();
    for (int16_t id = rte_dma_next_dev(0);
         id != -1 && id < RTE_DMADEV_DEFAULT_MAX;
         id = rte_dma_next_dev(id + 1)) {
        struct dma_dev *dev = &dma_devs[n];

        if (bitmap_is_set(seen, id)) {
            continue;
        }
        bitmap_set1(seen, id);
        dev->id = id;
        dev->n_vchans = dpdk_dma_probe_add_channels(id, map, &dev->name);
        if (dev->n_vchans) {
            atomic_store_explicit(&n_dma_devs, ++n, memory_order_release);
        }
    }
    ovs_mutex_unlock(&dma_dev_mutex);
}

/* Returns the first channel of 'dev' from '*index' on, NULL behind the last
 * one, and sets '*index' to what follows it. */
static struct dpdk_dma_chan *
dma_dev_next_chan(const struct dma_dev *dev, size_t *index)
{
    struct dpdk_dma_chan *chan;

    do {
        chan = dpdk_dma_map_get(dpdk_dma_dev_map(), (*index)++);
    } while (chan && chan->dev_id != dev->id);
    return chan;
}

/* Whether a thread claimed a channel of 'dev' and may be using it. */
static bool
dma_dev_is_in_use(const struct dma_dev *dev)
{
    const struct dpdk_dma_chan *chan;
    size_t i = 0;

    while ((chan = dma_dev_next_chan(dev, &i))) {
        if (dpdk_dma_chan_in_use(chan)) {
            return true;
        }
    }
    return false;
}

/* Returns the number of copies in flight on 'dev', exact if it is not in
 * use. */
static uint64_t
dma_dev_in_flight(const struct dma_dev *dev)
{
    const struct dpdk_dma_chan *chan;
    uint64_t n = 0;
    size_t i = 0;

    while ((chan = dma_dev_next_chan(dev, &i))) {
        n += dpdk_dma_chan_in_flight(chan);
    }
    return n;
}

static bool
dma_dev_is_marked(const struct dma_dev *dev)
{
    size_t i = 0;

    return dpdk_dma_chan_failed(dma_dev_next_chan(dev, &i));
}

/* Moves 'dev' to 'state', which must be one that may follow. */
static void
dma_dev_become(struct dma_dev *dev, enum dpdk_dma_dev_state state)
    OVS_REQUIRES(dma_dev_mutex)
{
#define TO(STATE) (1u << DPDK_DMA_DEV_##STATE)
    static const unsigned int next[] = {
        /* DEAD: it cannot be started. */
        [DPDK_DMA_DEV_STOPPED] = TO(RUNNING) | TO(DEAD),
        [DPDK_DMA_DEV_RUNNING] = TO(STOPPING) | TO(FAILED),
        /* RUNNING: it cannot be stopped, and is used on. */
        [DPDK_DMA_DEV_STOPPING] = TO(STOPPED) | TO(RUNNING) | TO(DEAD)
                                  | TO(FAILED),
        [DPDK_DMA_DEV_FAILED] = TO(DYING),
        [DPDK_DMA_DEV_DYING] = TO(DEAD) | TO(UNSTOPPABLE),
        /* Until ovs-vswitchd is restarted. */
        [DPDK_DMA_DEV_DEAD] = 0,
        /* DEAD: it completed all that it had.  DYING: it is tried again. */
        [DPDK_DMA_DEV_UNSTOPPABLE] = TO(DEAD) | TO(DYING),
    };
#undef TO

    ovs_assert(next[dev->state] & (1u << state));
    dev->state = state;
}

/* Moves 'dev' to 'to' and returns true if it is in 'from'. */
static bool
dma_dev_take(struct dma_dev *dev, enum dpdk_dma_dev_state from,
             enum dpdk_dma_dev_state to)
    OVS_REQUIRES(dma_dev_mutex)
{
    if (dev->state != from) {
        return false;
    }
    dma_dev_become(dev, to);
    return true;
}

static bool
dma_dev_is(const struct dma_dev *dev, enum dpdk_dma_dev_state state)
{
    bool is;

    ovs_mutex_lock(&dma_dev_mutex);
    is = dev->state == state;
    ovs_mutex_unlock(&dma_dev_mutex);
    return is;
}

/* Waits until 'dev' is not STOPPING any more, for DMA_WAIT_MS at most.
 * Returns whether it is not. */
static bool
dma_dev_wait_stopped(struct dma_dev *dev)
{
    for (int i = 0; dma_dev_is(dev, DPDK_DMA_DEV_STOPPING); i++) {
        if (i >= DMA_WAIT_MS * 10) {
            return false;
        }
        xnanosleep_no_quiesce(100 * 1000);
    }
    return true;
}

static struct dma_dev *
dma_dev_get(size_t index)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    return &dma_devs[index];
}

/* Has the channels of 'dev', which was just started, know what copies by it
 * cost.  An engine that does not do these copies is not used. */
static void
dma_dev_measure(const struct dma_dev *dev, uint16_t ring_size,
                uint64_t deadline_tsc)
{
    struct dpdk_dma_chan *chan;
    size_t i = 0;
    int err = 0;

    while (!err && (chan = dma_dev_next_chan(dev, &i))) {
        err = dpdk_dma_cost_measure(dev->id, chan->vchan, ring_size,
                                    deadline_tsc, &chan->cost);
    }
    if (err) {
        VLOG_WARN("DMA device %s is not used: a copy to try it failed (%s); "
                  "restart ovs-vswitchd to try it again.", dev->name,
                  ovs_strerror(err));
        dpdk_dma_map_fail_dev(dpdk_dma_dev_map(), dev->id);
    }
}

/* Starts 'dev' if it is stopped and did not fail: then it is the main
 * thread's, and nobody else changes its state. */
static void
dma_dev_start(struct dma_dev *dev, uint64_t deadline_tsc)
{
    struct dpdk_dma_chan *chan;
    uint16_t ring_size;
    size_t i = 0;
    int err;

    if (!dma_dev_wait_stopped(dev)) {
        dpdk_dma_dev_quarantine(dma_dev_next_chan(dev, &i),
                                "its driver has not stopped it yet");
    }
    if (!dma_dev_is(dev, DPDK_DMA_DEV_STOPPED)) {
        return;
    }

    err = dpdk_dma_probe_start(dev->id, dev->n_vchans, &ring_size);
    if (err) {
        VLOG_WARN("DMA device %s is not used: it cannot be started (%s).",
                  dev->name, ovs_strerror(err));
        dpdk_dma_map_fail_dev(dpdk_dma_dev_map(), dev->id);
    } else {
        dma_dev_measure(dev, ring_size, deadline_tsc);
        i = 0;
        while ((chan = dma_dev_next_chan(dev, &i))) {
            chan->core = dpdk_dma_probe_lcore(dev->name);
            dpdk_dma_chan_start(chan, ring_size);
        }
    }

    ovs_mutex_lock(&dma_dev_mutex);
    dma_dev_become(dev, err ? DPDK_DMA_DEV_DEAD : DPDK_DMA_DEV_RUNNING);
    if (!err && dma_dev_is_marked(dev)) {
        dma_dev_become(dev, DPDK_DMA_DEV_FAILED);
        dpdk_dma_dev_wake();
    }
    ovs_mutex_unlock(&dma_dev_mutex);
}

static void
dma_dev_note_stop(const struct dma_dev *dev)
{
    struct dpdk_dma_chan *chan;
    size_t i = 0;

    while ((chan = dma_dev_next_chan(dev, &i))) {
        dpdk_dma_chan_stop(chan);
    }
}

/* Starts all devices that are not, new ones included, and returns the number
 * of channels that can be claimed from now on. */
unsigned int
dpdk_dma_dev_start_all(void)
{
    uint64_t deadline_tsc = rte_get_tsc_cycles() + (rte_get_tsc_hz() / 1000
                                                    * DMA_TRY_MS);

    dma_dev_discover(dpdk_dma_dev_map());
    for (size_t i = 0; i < dma_dev_count(); i++) {
        uint64_t begin = rte_get_tsc_cycles();

        dma_dev_start(dma_dev_get(i), deadline_tsc);
        if (dma_dev_is(dma_dev_get(i), DPDK_DMA_DEV_RUNNING)) {
            deadline_tsc += rte_get_tsc_cycles() - begin;
        }
    }
    return dpdk_dma_dev_n_channels();
}

/* Sets the time after which engines are quarantined, and which drains may
 * take, in milliseconds.  Takes effect at once, waits under way excepted. */
void
dpdk_dma_dev_set_timeout_ms(uint32_t ms)
{
    atomic_store_relaxed(&timeout_ms, ms);
}

/* Any thread. */
uint32_t
dpdk_dma_dev_timeout_ms(void)
{
    uint32_t ms;

    atomic_read_relaxed(&timeout_ms, &ms);
    return ms;
}

/* Returns the state of the device of 'chan'.  Any thread. */
enum dpdk_dma_dev_state
dpdk_dma_dev_state(const struct dpdk_dma_chan *chan)
{
    enum dpdk_dma_dev_state state = DPDK_DMA_DEV_STOPPED;

    ovs_mutex_lock(&dma_dev_mutex);
    for (size_t i = 0; i < dma_dev_count(); i++) {
        if (dma_devs[i].id == chan->dev_id) {
            state = dma_devs[i].state;
        }
    }
    ovs_mutex_unlock(&dma_dev_mutex);
    return state;
}

/* Returns the state of the device of 'chan' in words, and what ends it.  Any
 * thread. */
const char *
dpdk_dma_dev_why(const struct dpdk_dma_chan *chan)
{
    switch (dpdk_dma_dev_state(chan)) {
    case DPDK_DMA_DEV_STOPPED:
        return "stopped";
    case DPDK_DMA_DEV_RUNNING:
        return "running";
    case DPDK_DMA_DEV_STOPPING:
        return "being stopped";
    case DPDK_DMA_DEV_FAILED:
        return "failed, still in use by its threads";
    case DPDK_DMA_DEV_DYING:
        return "failed, being stopped";
    case DPDK_DMA_DEV_DEAD:
        return "failed and stopped: restart ovs-vswitchd to use it again";
    case DPDK_DMA_DEV_UNSTOPPABLE:
        return "failed and cannot be stopped: restart ovs-vswitchd";
    default:
        OVS_NOT_REACHED();
    }
}

/* Marks the device of 'chan' as failed, for the reason 'why', and has it
 * stopped as soon as no thread can be using it.  It is not used again before a
 * restart.  Any thread may call this, also while it holds locks of the vhost
 * library.  Does not wait. */
void
dpdk_dma_dev_quarantine(struct dpdk_dma_chan *chan, const char *why)
{
    bool changed;

    ovs_mutex_lock(&dma_dev_mutex);
    changed = dpdk_dma_map_fail_dev(dpdk_dma_dev_map(), chan->dev_id);
    for (size_t i = 0; changed && i < dma_dev_count(); i++) {
        if (dma_devs[i].id == chan->dev_id) {
            /* In other states somebody is at it, who will see it. */
            dma_dev_take(&dma_devs[i], DPDK_DMA_DEV_RUNNING,
                         DPDK_DMA_DEV_FAILED);
        }
    }
    ovs_mutex_unlock(&dma_dev_mutex);

    if (changed) {
        VLOG_ERR("DMA device %s is quarantined: %s.  Packets are copied by "
                 "CPU from now on; restart ovs-vswitchd to use the device "
                 "again.", chan->dev_name, why);
        dpdk_dma_dev_wake();
    }
}

/* Has rte_dma_stop() called, 'n_tries' times unless it succeeds before.
 * Returns 0 or an errno. */
static int
dma_dev_call_stop(const struct dma_dev *dev, int n_tries)
{
    int err;

    /* This can take long, and no grace period shall wait for it. */
    ovsrcu_quiesce_start();
    for (int i = 0;; i++) {
        err = -rte_dma_stop(dev->id);
        if (!err || i >= n_tries - 1) {
            break;
        }
        rte_delay_us_sleep(1000);
    }
    ovsrcu_quiesce_end();
    return err;
}

/* Stops 'dev', which has nothing to do and is STOPPING.  One that cannot be
 * stopped stays as it is: if it has not failed before, it is used on, and
 * found out if that does not go well. */
static void
dma_dev_stop_idle(struct dma_dev *dev)
{
    int err = dma_dev_call_stop(dev, 1);

    if (err) {
        VLOG_ERR("DMA device %s cannot be stopped: %s.", dev->name,
                 ovs_strerror(err));
    } else {
        dma_dev_note_stop(dev);
    }

    ovs_mutex_lock(&dma_dev_mutex);
    if (dma_dev_is_marked(dev)) {
        dma_dev_become(dev, err ? DPDK_DMA_DEV_FAILED : DPDK_DMA_DEV_DEAD);
        dpdk_dma_dev_wake();
    } else {
        dma_dev_become(dev, err ? DPDK_DMA_DEV_RUNNING : DPDK_DMA_DEV_STOPPED);
    }
    ovs_mutex_unlock(&dma_dev_mutex);
}

/* Stops 'dev', which failed, is DYING and not in use. */
static void
dma_dev_kill(struct dma_dev *dev)
{
    bool has_stop = !dpdk_dma_probe_is_kernel_queue(dev->name);
    uint64_t in_flight = dma_dev_in_flight(dev);
    bool again = dev->stop_again;
    bool unstoppable;
    int err;

    if (!again) {
        /* Said before: a stop that hangs says nothing. */
        VLOG_INFO("DMA device %s is being stopped, with %"PRIu64" copies in "
                  "flight.", dev->name, in_flight);
    }
    err = (has_stop ? dma_dev_call_stop(dev, again ? 1 : DMA_STOP_TRIES)
           : EOPNOTSUPP);
    unstoppable = err && in_flight;
    if (!err) {
        VLOG_INFO("DMA device %s is stopped.", dev->name);
        dma_dev_note_stop(dev);
    } else if (unstoppable && !again) {
        VLOG_ERR("DMA device %s failed and cannot be stopped: %s.  It may "
                 "still use the memory of guests.  The queues that its last "
                 "%"PRIu64" copies are for stand still until it completes "
                 "them, or stops, or ovs-vswitchd is restarted.",
                 dev->name, ovs_strerror(err), in_flight);
    }

    ovs_mutex_lock(&dma_dev_mutex);
    dev->stop_again = (has_stop ? time_msec() + DMA_STOP_AGAIN_MS
                       : LLONG_MAX);
    /* An engine that has nothing in flight has nothing to write, either, but
     * for what it was tried with, the target of which is kept. */
    dma_dev_become(dev, unstoppable ? DPDK_DMA_DEV_UNSTOPPABLE
                        : DPDK_DMA_DEV_DEAD);
    ovs_mutex_unlock(&dma_dev_mutex);
    dpdk_dma_dev_wake();
}

static void *
dma_dev_stop_main(void *dev_)
{
    struct dma_dev *dev = dev_;

    if (dma_dev_is(dev, DPDK_DMA_DEV_STOPPING)) {
        dma_dev_stop_idle(dev);
    } else {
        dma_dev_kill(dev);
    }
    return NULL;
}

/* Has 'dev', which is STOPPING or DYING, stopped by a thread that does nothing
 * else: a driver that does not return holds nobody up. */
static void
dma_dev_stop_in_thread(struct dma_dev *dev)
{
    pthread_detach(ovs_thread_create("dma_stop", dma_dev_stop_main, dev));
}

/* Stops all devices.  A device that still has copies in flight, because a
 * guest is just leaving and its queues are being drained, or a channel of
 * which is claimed, is left running: that costs nothing but power, and the
 * next dpdk_dma_dev_start_all() finds it started.  Does not wait for long. */
void
dpdk_dma_dev_stop_all(void)
{
    for (size_t i = 0; i < dma_dev_count(); i++) {
        struct dma_dev *dev = dma_dev_get(i);
        bool taken;

        ovs_mutex_lock(&dma_dev_mutex);
        taken = !dma_dev_is_in_use(dev) && !dma_dev_in_flight(dev)
                && dma_dev_take(dev, DPDK_DMA_DEV_RUNNING,
                                DPDK_DMA_DEV_STOPPING);
        ovs_mutex_unlock(&dma_dev_mutex);
        if (taken) {
            dma_dev_stop_in_thread(dev);
            if (!dma_dev_wait_stopped(dev)) {
                VLOG_WARN("DMA device %s: its driver does not stop it, and is "
                          "not waited for.", dev->name);
            }
        }
    }
}

/* Has devices stopped that failed and that no thread is using any more, those
 * that could not be stopped tried again, and sees whether these completed all
 * they had.  For the helper thread, which does not wait for drivers:
 * dpdk_dma_dev_seq() changes when one has stopped its device, or given up. */
void
dpdk_dma_dev_stop_failed(void)
{
    for (size_t i = 0; i < dma_dev_count(); i++) {
        struct dma_dev *dev = dma_dev_get(i);
        bool dying, done;

        ovs_mutex_lock(&dma_dev_mutex);
        dying = !dma_dev_is_in_use(dev)
                && dma_dev_take(dev, DPDK_DMA_DEV_FAILED, DPDK_DMA_DEV_DYING);
        done = !dma_dev_in_flight(dev)
               && dma_dev_take(dev, DPDK_DMA_DEV_UNSTOPPABLE,
                               DPDK_DMA_DEV_DEAD);
        dying |= !done && time_msec() >= dev->stop_again
                 && dma_dev_take(dev, DPDK_DMA_DEV_UNSTOPPABLE,
                                 DPDK_DMA_DEV_DYING);
        ovs_mutex_unlock(&dma_dev_mutex);
        if (dying) {
            dma_dev_stop_in_thread(dev);
        } else if (done) {
            VLOG_INFO("DMA device %s completed its last copies.", dev->name);
        }
    }
}

/* Returns the first channel at 'index' or behind it that has copies in flight
 * and whose device is in 'state', or NULL. */
static struct dpdk_dma_chan *
dma_dev_find(enum dpdk_dma_dev_state state, size_t index)
{
    struct dpdk_dma_chan *chan;

    while ((chan = dpdk_dma_map_get(dpdk_dma_dev_map(), index++))) {
        if (dpdk_dma_chan_in_flight(chan)
            && dpdk_dma_dev_state(chan) == state) {
            return chan;
        }
    }
    return NULL;
}

/* Returns a channel whose copies in flight are to be done again by CPU, which
 * is safe now, or NULL.  For the helper thread, whose the channel is. */
struct dpdk_dma_chan *
dpdk_dma_dev_next_dead(void)
{
    return dma_dev_find(DPDK_DMA_DEV_DEAD, 0);
}

/* Returns the first channel behind 'prev', NULL for the first one of all,
 * that has copies in flight and whose device cannot be stopped, or NULL.  It
 * is the helper thread's, who may reap it: an engine that was only late
 * completes its copies after all, and that is as good as stopping it. */
struct dpdk_dma_chan *
dpdk_dma_dev_next_stuck(const struct dpdk_dma_chan *prev)
{
    return dma_dev_find(DPDK_DMA_DEV_UNSTOPPABLE, prev ? prev->index + 1 : 0);
}

/* Returns after how many milliseconds the helper thread has to look again, -1
 * if not before dpdk_dma_dev_seq() changes. */
int
dpdk_dma_dev_wait_ms(void)
{
    int ms = -1;

    ovs_mutex_lock(&dma_dev_mutex);
    for (size_t i = 0; i < dma_dev_count(); i++) {
        const struct dma_dev *dev = &dma_devs[i];
        int dev_ms = -1;

        if (dev->state == DPDK_DMA_DEV_FAILED) {
            dev_ms = dma_dev_is_in_use(dev) ? DMA_FAILED_LOOK_MS : 0;
        } else if (dev->state == DPDK_DMA_DEV_DEAD) {
            dev_ms = dma_dev_in_flight(dev) ? 0 : -1;
        } else if (dev->state == DPDK_DMA_DEV_UNSTOPPABLE) {
            dev_ms = dma_dev_in_flight(dev) ? DMA_STUCK_LOOK_MS : 0;
        }
        if (dev_ms >= 0 && (ms < 0 || dev_ms < ms)) {
            ms = dev_ms;
        }
    }
    ovs_mutex_unlock(&dma_dev_mutex);
    return ms;
}
