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
 * 'dma_dev_mutex' serializes starting and stopping: the main thread does the
 * former, the latter may also happen in the thread that runs RCU callbacks
 * and in the vhost library's thread.  Facts about DPDK were read from the
 * source of release 22.11.11. */

#include <config.h>

#include "dpdk-dma-dev.h"

#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_vhost_async.h>

#include "dpdk-dma-map.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(dpdk_dma_dev);

/* Descriptors asked for per vchan.  A vhost txq has at most a few hundred
 * buffers in use, and an engine that is this far behind is no help. */
#define DMA_RING_SIZE 4096

/* Bound on the wait for a grace period before failed devices are stopped. */
#define DMA_STOP_WAIT_MS 1000

struct dma_dev {
    int16_t id;
    const char *name;
    uint16_t n_vchans;
    bool started;               /* rte_dma_start() succeeded. */
    bool failed;                /* Not to be started again. */
};

/* Held for reading by threads that poll channels which are not theirs, for
 * writing while a device is stopped: the vhost library's thread is quiescent,
 * so that no grace period waits for it. */
static struct ovs_rwlock dma_poll_rwlock = OVS_RWLOCK_INITIALIZER;

static struct ovs_mutex dma_dev_mutex OVS_ACQ_BEFORE(dma_poll_rwlock)
    = OVS_MUTEX_INITIALIZER;
static struct dma_dev dma_devs[RTE_DMADEV_DEFAULT_MAX]
    OVS_GUARDED_BY(dma_dev_mutex);
static size_t n_dma_devs OVS_GUARDED_BY(dma_dev_mutex);

/* Nothing is ordered by it. */
static atomic_uint32_t timeout_ms = ATOMIC_VAR_INIT(DPDK_DMA_DEV_TIMEOUT_MS);

static void dma_dev_discover(struct dpdk_dma_map *);

/* Returns the map of all channels, discovering them in the first call.  Any
 * thread may call this once the main thread has; it never changes then. */
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

/* Says why the device cannot copy for vhost, or returns NULL if it can.
 *
 * The vhost library hands IOVAs to the device (async_fill_seg(), 22.11).  An
 * engine that works on virtual addresses, which RTE_DMA_CAPA_SVA tells, must
 * not get physical ones: it would write to memory that is not meant. */
static const char *
dma_dev_unfit(const struct rte_dma_info *info)
{
    const uint64_t needed = RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_OPS_COPY;

    if ((info->dev_capa & needed) != needed) {
        return "it does not copy from memory to memory";
    }
    if (!info->max_vchans) {
        return "it has no vchan";
    }
    if ((info->dev_capa & RTE_DMA_CAPA_SVA)
        && rte_eal_iova_mode() == RTE_IOVA_PA) {
        return "it takes virtual addresses and EAL uses physical ones; "
               "add --iova-mode=va to other_config:dpdk-extra";
    }
    return NULL;
}

/* Devices exist since rte_eal_init(): OVS has no way to add one later.  Ids
 * can have gaps, hence rte_dma_next_dev(). */
static void
dma_dev_discover(struct dpdk_dma_map *map)
{
    ovs_mutex_lock(&dma_dev_mutex);
    for (int16_t id = rte_dma_next_dev(0); id != -1;
         id = rte_dma_next_dev(id + 1)) {
        struct dma_dev *dev = &dma_devs[n_dma_devs];
        struct rte_dma_info info;
        const char *unfit;
        int err;

        err = rte_dma_info_get(id, &info);
        if (err) {
            VLOG_WARN("DMA device %"PRId16" is not used: cannot get its "
                      "properties (%s).", id, ovs_strerror(-err));
            continue;
        }
        unfit = dma_dev_unfit(&info);
        if (unfit) {
            VLOG_WARN("DMA device %s is not used: %s.", info.dev_name, unfit);
            continue;
        }

        dev->id = id;
        for (uint16_t vchan = 0; vchan < info.max_vchans; vchan++) {
            const struct dpdk_dma_chan *chan;

            chan = dpdk_dma_map_add(map, info.dev_name, id, vchan,
                                    info.numa_node);
            if (!chan) {
                VLOG_WARN("DMA device %s: vchans from %"PRIu16" on are not "
                          "used, there are %d channels already.",
                          info.dev_name, vchan, DPDK_DMA_MAX_CHANS);
                break;
            }
            dev->name = chan->dev_name;
            dev->n_vchans++;
        }
        if (dev->n_vchans) {
            n_dma_devs++;
        }
        VLOG_INFO("DMA device %s: %"PRIu16" channel(s) on NUMA node %d.",
                  info.dev_name, dev->n_vchans, info.numa_node);
    }
    ovs_mutex_unlock(&dma_dev_mutex);
}

/* A power of two, as some drivers want, within the limits of the device. */
static uint16_t
dma_dev_ring_size(const struct rte_dma_info *info)
{
    uint16_t size = DMA_RING_SIZE;

    while (size > info->max_desc) {
        size /= 2;
    }
    return MAX(size, info->min_desc);
}

static int
dma_dev_setup(const struct dma_dev *dev, const struct rte_dma_info *info)
    OVS_REQUIRES(dma_dev_mutex)
{
    const struct rte_dma_conf conf = { .nb_vchans = dev->n_vchans };
    const struct rte_dma_vchan_conf vchan_conf = {
        .direction = RTE_DMA_DIR_MEM_TO_MEM,
        .nb_desc = dma_dev_ring_size(info),
    };
    int err;

    err = rte_dma_configure(dev->id, &conf);
    for (uint16_t vchan = 0; !err && vchan < dev->n_vchans; vchan++) {
        err = rte_dma_vchan_setup(dev->id, vchan, &vchan_conf);
    }
    if (!err) {
        err = rte_dma_start(dev->id);
    }
    return -err;
}

/* Tells the vhost library of the vchans of 'dev' and notes what their rings
 * hold, now that they are empty. */
static int
dma_dev_attach(const struct dma_dev *dev, const struct rte_dma_info *info,
               struct dpdk_dma_map *map)
    OVS_REQUIRES(dma_dev_mutex)
{
    struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        if (chan->dev_id != dev->id) {
            continue;
        }
        if (rte_vhost_async_dma_configure(dev->id, chan->vchan)) {
            return EINVAL;
        }
        chan->ring_size = dma_dev_ring_size(info);
        chan->idle_capacity = rte_dma_burst_capacity(dev->id, chan->vchan);
        /* Release: whoever sees the channel running sees its sizes. */
        atomic_store_explicit(&chan->running, true, memory_order_release);
    }
    return 0;
}

/* The vhost library keeps what it allocated for the vchans: it may still be
 * looking at it for a guest that is just leaving, and does not allocate it a
 * second time (rte_vhost_async_dma_configure(), 22.11). */
static void
dma_dev_detach(const struct dma_dev *dev, struct dpdk_dma_map *map)
    OVS_REQUIRES(dma_dev_mutex)
{
    struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(map, i)); i++) {
        if (chan->dev_id == dev->id) {
            atomic_store_relaxed(&chan->running, false);
        }
    }
}

/* A device that cannot be stopped stays as it is: if it has not failed before,
 * it is used on, and found out if that does not go well. */
static void
dma_dev_stop(struct dma_dev *dev, struct dpdk_dma_map *map)
    OVS_REQUIRES(dma_dev_mutex)
{
    int err;

    ovs_rwlock_wrlock(&dma_poll_rwlock);
    err = rte_dma_stop(dev->id);
    if (!err) {
        dma_dev_detach(dev, map);
        dev->started = false;
    }
    ovs_rwlock_unlock(&dma_poll_rwlock);
    if (err) {
        VLOG_ERR("DMA device %s cannot be stopped: %s.", dev->name,
                 ovs_strerror(-err));
    }
}

static void
dma_dev_start(struct dma_dev *dev, struct dpdk_dma_map *map)
    OVS_REQUIRES(dma_dev_mutex)
{
    struct rte_dma_info info;
    int err;

    if (dev->started || dev->failed) {
        return;
    }

    err = -rte_dma_info_get(dev->id, &info);
    if (!err) {
        err = dma_dev_setup(dev, &info);
    }
    if (!err) {
        dev->started = true;
        err = dma_dev_attach(dev, &info, map);
    }
    if (err) {
        VLOG_WARN("DMA device %s is not used: it cannot be started (%s).",
                  dev->name, ovs_strerror(err));
        dpdk_dma_map_fail_dev(map, dev->id);
        dev->failed = true;
        if (dev->started) {
            dma_dev_stop(dev, map);
        }
    }
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

/* Keeps all devices from being stopped until dpdk_dma_dev_poll_end().  To be
 * called by a thread before it polls channels that it does not own, and looked
 * at afterwards which are usable.  Any thread; waits while a device is being
 * stopped. */
void
dpdk_dma_dev_poll_begin(void)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    ovs_rwlock_rdlock(&dma_poll_rwlock);
}

void
dpdk_dma_dev_poll_end(void)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    ovs_rwlock_unlock(&dma_poll_rwlock);
}

/* Returns the number of channels that have not failed.  Any thread. */
unsigned int
dpdk_dma_dev_n_channels(void)
{
    const struct dpdk_dma_chan *chan;
    unsigned int n = 0;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        n += !dpdk_dma_chan_failed(chan);
    }
    return n;
}

/* Starts all devices that are not, and returns the number of channels that
 * can be claimed from now on. */
unsigned int
dpdk_dma_dev_start_all(void)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();

    ovs_mutex_lock(&dma_dev_mutex);
    for (size_t i = 0; i < n_dma_devs; i++) {
        dma_dev_start(&dma_devs[i], map);
    }
    ovs_mutex_unlock(&dma_dev_mutex);
    return dpdk_dma_dev_n_channels();
}

static bool
dma_dev_is_idle(const struct dma_dev *dev)
    OVS_REQUIRES(dma_dev_mutex)
{
    const struct dpdk_dma_chan *chan;

    for (size_t i = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), i)); i++) {
        if (chan->dev_id == dev->id && dpdk_dma_chan_in_flight(chan)) {
            return false;
        }
    }
    return true;
}

/* Stops all devices.  No thread may hold a channel.  A device that still has
 * copies in flight, because a guest is just leaving and its queues are being
 * drained, is left running: that costs nothing but power, and the next
 * dpdk_dma_dev_start_all() finds it started. */
void
dpdk_dma_dev_stop_all(void)
{
    ovs_mutex_lock(&dma_dev_mutex);
    for (size_t i = 0; i < n_dma_devs; i++) {
        struct dma_dev *dev = &dma_devs[i];

        if (!dev->started || !dma_dev_is_idle(dev)) {
            continue;
        }
        dma_dev_stop(dev, dpdk_dma_dev_map());
    }
    ovs_mutex_unlock(&dma_dev_mutex);
}

/* Stops the devices that were marked as failed.  A grace period must have
 * passed since: then no thread is using their channels any more.  The vhost
 * library keeps its bookkeeping of them, which is never looked at again. */
static void
dma_dev_stop_failed(struct dpdk_dma_chan *cause OVS_UNUSED)
{
    struct dpdk_dma_map *map = dpdk_dma_dev_map();
    const struct dpdk_dma_chan *chan;

    ovs_mutex_lock(&dma_dev_mutex);
    for (size_t i = 0; i < n_dma_devs; i++) {
        struct dma_dev *dev = &dma_devs[i];

        for (size_t j = 0; (chan = dpdk_dma_map_get(map, j)); j++) {
            if (chan->dev_id == dev->id && dpdk_dma_chan_failed(chan)) {
                dev->failed = true;
            }
        }
        if (dev->failed && dev->started) {
            dma_dev_stop(dev, map);
        }
    }
    ovs_mutex_unlock(&dma_dev_mutex);
}

/* Marks the device of 'chan' as failed, for the reason 'why', and has it
 * stopped as soon as no thread can be using it.  Any thread may call this,
 * also while it holds locks of the vhost library.  Does not wait. */
void
dpdk_dma_dev_quarantine(struct dpdk_dma_chan *chan, const char *why)
{
    if (dpdk_dma_map_fail_dev(dpdk_dma_dev_map(), chan->dev_id)) {
        VLOG_ERR("DMA device %s is quarantined: %s.  Packets are copied by "
                 "CPU from now on; restart ovs-vswitchd to use the device "
                 "again.", chan->dev_name, why);
        /* ovsrcu_postpone() ends the quiescent state in which the vhost
         * library's thread is for good. */
        bool was_quiescent = ovsrcu_is_quiescent();

        ovsrcu_postpone(dma_dev_stop_failed, chan);
        if (was_quiescent) {
            ovsrcu_quiesce_start();
        }
    }
}

/* Whether no device that failed is still started.  Any thread. */
bool
dpdk_dma_dev_failed_stopped(void)
{
    const struct dpdk_dma_chan *chan;
    bool stopped = true;

    ovs_mutex_lock(&dma_dev_mutex);
    for (size_t i = 0; i < n_dma_devs; i++) {
        for (size_t j = 0; (chan = dpdk_dma_map_get(dpdk_dma_dev_map(), j));
             j++) {
            stopped &= !(chan->dev_id == dma_devs[i].id && dma_devs[i].started
                         && dpdk_dma_chan_failed(chan));
        }
    }
    ovs_mutex_unlock(&dma_dev_mutex);
    return stopped;
}

/* Waits until the devices that dpdk_dma_dev_quarantine() was called for have
 * stopped, after which they write nowhere.
 *
 * The thread is quiescent meanwhile, for the grace period to end.  A thread
 * that waits for a lock of the caller's can prevent that: memory that an
 * engine can still write is about to go then, so after DMA_STOP_WAIT_MS the
 * devices are stopped all the same, under a thread that may be using one. */
void
dpdk_dma_dev_quarantine_wait(void)
{
    bool was_quiescent = ovsrcu_is_quiescent();

    if (!was_quiescent) {
        ovsrcu_quiesce_start();
    }
    for (int ms = 0; ms < DMA_STOP_WAIT_MS && !dpdk_dma_dev_failed_stopped();
         ms++) {
        rte_delay_us_sleep(1000);
    }
    if (!was_quiescent) {
        ovsrcu_quiesce_end();
    }
    dma_dev_stop_failed(NULL);
}

/* Returns the number of copies that were handed to 'chan' and that nobody has
 * reaped yet.  Any thread may call this, since both functions of DPDK only
 * read (22.11); the result is exact for the owner, a hint for others.
 *
 * Two sources, because neither tells all with all drivers.  The statistics of
 * idxd and ioat count a copy as completed when it is reaped, those of the
 * skeleton when it is done.  The room in the ring tells what was not reaped,
 * but idxd reports no more than the size of a batch, busy or idle. */
uint16_t
dpdk_dma_chan_in_flight(const struct dpdk_dma_chan *chan)
{
    struct rte_dma_stats stats;
    uint16_t capacity;
    uint64_t n = 0;

    if (!dpdk_dma_chan_usable(chan)) {
        return 0;
    }
    if (!rte_dma_stats_get(chan->dev_id, chan->vchan, &stats)
        && stats.submitted > stats.completed) {
        n = stats.submitted - stats.completed;
    }
    capacity = rte_dma_burst_capacity(chan->dev_id, chan->vchan);
    if (capacity < chan->idle_capacity) {
        n = MAX(n, chan->idle_capacity - capacity);
    }
    return MIN(n, UINT16_MAX);
}

/* Returns the number of copies that 'chan' completed, or was handed, 0 if the
 * driver does not count them.  Some drivers count a copy as completed when it
 * is reaped: to tell whether an engine makes progress, poll it meanwhile.  Any
 * thread. */
uint64_t
dpdk_dma_chan_completed(const struct dpdk_dma_chan *chan)
{
    struct rte_dma_stats stats;

    return (rte_dma_stats_get(chan->dev_id, chan->vchan, &stats)
            ? 0 : stats.completed);
}

uint64_t
dpdk_dma_chan_submitted(const struct dpdk_dma_chan *chan)
{
    struct rte_dma_stats stats;

    return (rte_dma_stats_get(chan->dev_id, chan->vchan, &stats)
            ? 0 : stats.submitted);
}

/* Returns how many of the copies that 'chan' was handed were reaped, or a
 * little less, 0 if the driver does not count.  What is reaped, the vhost
 * library has forgotten about.  Any thread.
 *
 * The order of the two looks matters: what is submitted in between makes the
 * result too small, never too large. */
uint64_t
dpdk_dma_chan_reaped(const struct dpdk_dma_chan *chan)
{
    uint64_t submitted = dpdk_dma_chan_submitted(chan);
    uint64_t in_flight = dpdk_dma_chan_in_flight(chan);

    return submitted > in_flight ? submitted - in_flight : 0;
}

/* Returns the number of copies that the device reported as failed, 0 if the
 * driver does not count them. */
uint64_t
dpdk_dma_chan_errors(const struct dpdk_dma_chan *chan)
{
    struct rte_dma_stats stats;

    if (rte_dma_stats_get(chan->dev_id, chan->vchan, &stats)) {
        return 0;
    }
    return stats.errors;
}
