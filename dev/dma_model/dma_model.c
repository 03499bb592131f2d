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

/* A dmadev of DPDK that models a hardware copy engine, for tests and
 * benchmarks only.  dev.dma_model builds it; EAL loads it with -d:
 *
 *     -d .../librte_dma_model.so
 *     --vdev=dma_model0,latency_us=5,gbps=30,control=/run/dma0
 *
 * The model.  A device is one engine, which its vchans share, and works on one
 * copy after the other:
 *
 *     end  = max(end of the copy before, time of the doorbell)
 *            + length / bandwidth
 *     done = end + latency
 *
 * The copies of a vchan are done in order.  Time is the TSC, and the engine
 * has no thread: what is done is found out, and with copy=late moved, by who
 * polls.  It follows that this engine writes only while it is polled, where
 * hardware writes at any time.  To show that nothing may be written any more,
 * show that nothing is in flight in a started engine, which the control page
 * tells, rather than only that nothing was.
 *
 * Parameters, all optional:
 *
 *     latency_us=T   0 to 10000000, decimals allowed, 5 by default.
 *     gbps=B         Gigabits a second, .1 to 100000 or "inf", 100 by default.
 *     copy=late      Bytes are moved when a copy is reported as done, which is
 *                    the last moment at which hardware may: who uses the
 *                    target or frees the source before shows it as wrong
 *                    bytes.  The default.
 *     copy=none      Nothing is moved: the engine costs no memory bandwidth.
 *     vchans=N       1 to 64, by default 1.
 *     numa=N         NUMA node that the device says it is on, whether the
 *                    machine has it or not; -1, the default, is unknown.
 *     max_desc=N     Largest ring, a power of two from 32 to 32768, by default
 *                    4096.
 *     errors=stop    rte_dma_completed() stops before a copy that failed until
 *                    rte_dma_completed_status() was called, as the dmadev API
 *                    has it and the drivers ioat, idxd and hisilicon do.  The
 *                    default.
 *     errors=count   rte_dma_completed() counts copies that failed as others.
 *                    The driver dpaa does.
 *     fail=F[+F...]  Faults from the start, see enum op and enum fault:
 *                    info, configure, setup, start, stop, close, stats (that
 *                    call fails with EIO), copy (rte_dma_copy() does), error
 *                    (all copies fail), full (there is no room), hang.
 *     control=PATH   Makes PATH a control page, see struct page.  It had
 *                    better be in a tmpfs: the kernel writes other files back
 *                    now and then, during which the engine waits.
 *     log=N          Accesses to memory that the control page tells of for
 *                    each vchan: 0, or a power of two up to 1048576, by
 *                    default 4096.
 *
 * Threads.  EAL calls probe and remove, and whoever controls the device calls
 * info to close, one at a time.  rte_dma_copy(), submit(), completed() and
 * vchan_status() are for one thread at a time for each vchan (for all but the
 * last the vhost library has a lock); different vchans may be used at once.
 * rte_dma_burst_capacity() and statistics only read, in any thread.
 * rte_dma_stop() may be called while a vchan is in use: once it returns, no
 * byte is moved. */

#include <errno.h>
#include <math.h>

#include <bus_vdev_driver.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_lcore.h>

#include "dma_model.h"

RTE_LOG_REGISTER(dma_model_logtype, pmd.dma.model, NOTICE);

static void
say_what_it_is(const char *name, const struct params *p)
{
    MODEL_LOG(NOTICE, name, "a model of an engine, for tests and benchmarks: "
              "latency %.3f us, %g Gb/s, %u vchan(s), NUMA node %d",
              p->latency_ns / 1e3, p->gbps, p->n_vchans, p->numa_id);
    if (!p->late) {
        MODEL_LOG(WARNING, name, "copy=none: payloads are not copied, what "
                  "arrives is garbage");
    }
    if (p->fail_ops || p->faults) {
        MODEL_LOG(WARNING, name, "fail: some calls or copies fail on purpose");
    }
}

static int
model_open_page(const char *name, struct dma_model *m)
{
    const struct params *p = &m->params;
    int error = page_open(name, p->control, p->n_vchans,
                          p->late ? p->log_size : 0, &m->map);

    if (error) {
        return error;
    }
    m->page = m->map.page;
    m->page->moves = p->late;
    for (size_t i = 0; i < N_OPS; i++) {
        m->page->ops[i].error = p->fail_ops & 1u << i ? EIO : 0;
    }
    for (size_t i = 0; i < p->n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        v->shared = page_vchan(&m->map, i);
        v->shared->ctl.faults = p->faults;
        v->shared->ctl.generation = p->faults ? 2 : 0;
        v->ctl = &v->shared->ctl;
        v->state = &v->shared->state;
    }
    page_publish(&m->map);
    return 0;
}

/* Takes over 'kvargs', which 'params' was made of, unless it fails. */
static int
model_create(struct rte_vdev_device *vdev, const char *name,
             const struct params *params, struct rte_kvargs *kvargs)
{
    struct rte_dma_dev *dev;
    struct dma_model *m;
    int error;

    /* Memory comes from where there is some; what the device says of itself
     * need not be true. */
    dev = rte_dma_pmd_allocate(name, rte_socket_id(),
                               sizeof *m
                               + params->n_vchans * sizeof *m->vchans);
    if (!dev) {
        MODEL_LOG(ERR, name, "cannot allocate a dmadev");
        return -ENOMEM;
    }
    vdev->device.numa_node = dev->data->numa_node = params->numa_id;

    m = dev->data->dev_private;
    m->params = *params;
    m->kvargs = kvargs;
    m->latency = params->latency_ns * (rte_get_tsc_hz() / 1e9);
    m->byte_ticks = (isinf(params->gbps) ? 0
                     : rte_get_tsc_hz() * 8. / (params->gbps * 1e9)
                       * (1 << TICK_BITS));
    error = model_open_page(name, m);
    if (error) {
        rte_dma_pmd_release(name);
        return error;
    }

    dev->device = &vdev->device;
    dev->dev_ops = &dma_model_ops;
    dev->fp_obj->dev_private = m;
    dev->fp_obj->copy = dma_model_copy;
    dev->fp_obj->submit = dma_model_submit;
    dev->fp_obj->completed = dma_model_completed;
    dev->fp_obj->completed_status = dma_model_completed_status;
    dev->fp_obj->burst_capacity = dma_model_burst_capacity;
    dev->state = RTE_DMA_DEV_READY;
    say_what_it_is(name, params);
    return 0;
}

static int
dma_model_probe(struct rte_vdev_device *vdev)
{
    const char *name = rte_vdev_device_name(vdev);
    const char *args = rte_vdev_device_args(vdev);
    struct params params = {
        .latency_ns = 5000,
        .gbps = 100,
        .late = true,
        .n_vchans = 1,
        .numa_id = -1,
        .max_desc = 4096,
        .log_size = 4096,
    };
    struct rte_kvargs *kvargs;
    int error;

    if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
        MODEL_LOG(ERR, name, "works in a primary process only");
        return -EINVAL;
    }
    kvargs = rte_kvargs_parse(args ? args : "", NULL);
    if (!kvargs) {
        MODEL_LOG(ERR, name, "'%s' cannot be parsed; give KEY=VALUE,...",
                  args);
        return -EINVAL;
    }
    error = dma_model_parse_params(name, kvargs, &params);
    if (!error) {
        error = model_create(vdev, name, &params, kvargs);
    }
    if (error) {
        rte_kvargs_free(kvargs);
    }
    return error;
}

static int
dma_model_remove(struct rte_vdev_device *vdev)
{
    return rte_dma_pmd_release(rte_vdev_device_name(vdev));
}

static struct rte_vdev_driver dma_model_driver = {
    .probe = dma_model_probe,
    .remove = dma_model_remove,
    /* It works on virtual addresses; with physical ones it would write
     * anywhere. */
    .drv_flags = RTE_VDEV_DRV_NEED_IOVA_AS_VA,
};

RTE_PMD_REGISTER_VDEV(dma_model, dma_model_driver);
RTE_PMD_REGISTER_PARAM_STRING(dma_model,
                              "latency_us=<us> gbps=<Gb/s>|inf "
                              "copy=late|none vchans=<n> numa=<node> "
                              "max_desc=<n> errors=stop|count "
                              "fail=<what>[+<what>...] control=<path> "
                              "log=<n>");
