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

#ifndef FAKE_DMADEV_H
#define FAKE_DMADEV_H 1

/* Stands in for the dmadev library, its engines and, unless FAKE_REAL_TIME is
 * defined, the clock.  A test
 * includes this file, then the sources that it tests, whose calls of DPDK end
 * up here: a copy is carried out, fails, and is reported when the test says
 * so.  IOVAs are addresses.
 *
 * The drivers differ where it matters, and so do the engines here: in what
 * they do about a copy that fails, faults of theirs included, in when they
 * count it, in how they stop.  After DPDK 22.11: drivers/dma/skeleton, idxd,
 * ioat. */

#include "vhost-async-dpdk-compat.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_eal.h>

#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "util.h"

#define FAKE_MAX_DEVS 6
#define FAKE_MAX_VCHANS 80
#define FAKE_MAX_RING 4096
#define FAKE_HZ UINT64_C(1000000000)

enum fake_driver {
    FAKE_SKELETON,              /* No copy fails. */
    FAKE_IDXD,                  /* Goes on after an error, reports nothing. */
    FAKE_IOAT,                  /* Halts at an error, until it is reported. */
};

/* Calls that a device does not carry out. */
enum fake_call {
    FAKE_INFO = 1 << 0,
    FAKE_CONFIGURE = 1 << 1,
    FAKE_VCHAN_SETUP = 1 << 2,
    FAKE_START = 1 << 3,
};

struct fake_copy {
    void *dst;
    const void *src;
    uint32_t len;
    bool fails;
};

/* Copies by their number: [read, done) are done and not reported,
 * [done, rung) in the works, [rung, head) waiting for the doorbell. */
struct fake_vchan {
    struct fake_copy *ring;     /* FAKE_MAX_RING. */
    uint64_t head, rung, done, read;
    bool halted;                /* ioat: the next one failed. */
    bool failure;               /* ioat: one failed and was not asked for. */
    bool beyond_help;           /* ioat: it did not recover. */
};

struct fake_dev {
    const char *name;           /* NULL for a gap in the ids. */
    enum fake_driver driver;
    int numa_id;
    uint64_t capa;
    uint16_t max_vchans, min_desc, max_desc;

    unsigned int fails;         /* FAKE_*. */
    uint16_t max_batch;         /* As idxd; 0 for none. */
    unsigned int refuse_at;     /* The so manieth next copy, if not 0. */
    unsigned int submit_fails;  /* Doorbells that do nothing. */
    unsigned int overreport;    /* Copies that the next report adds. */
    bool recovery_fails;        /* ioat. */
    unsigned int stop_fails;    /* Attempts. */
    bool no_stop;               /* Answers 0 and goes on. */
    atomic_bool stop_blocks;

    bool started;
    uint16_t nb_vchans, nb_desc;
    unsigned int n_submits;
    atomic_count n_stops;
    bool stop_was_quiescent;
    struct ovs_mutex mutex;     /* For the engine in another thread. */
    struct fake_vchan vchans[FAKE_MAX_VCHANS];
};

static struct {
    struct fake_dev devs[FAKE_MAX_DEVS];
    enum rte_iova_mode iova_mode;
    uint64_t tsc;
    uint64_t tsc_step;          /* By which it goes on when it is read. */
    unsigned int slept_us;
    void (*meanwhile)(void);    /* Called once, before statuses are told. */
} fake = { .iova_mode = RTE_IOVA_VA };

/* For the test. */

/* Makes device 'id', with rings of up to 'max_desc'. */
static struct fake_dev *
fake_dev_add(int16_t id, const char *name, enum fake_driver driver,
             uint16_t max_vchans, uint16_t max_desc)
{
    struct fake_dev *dev = &fake.devs[id];

    dev->name = name;
    dev->driver = driver;
    dev->capa = RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_OPS_COPY;
    dev->max_vchans = max_vchans;
    dev->max_desc = max_desc;
    ovs_mutex_init(&dev->mutex);
    return dev;
}

static struct fake_copy *
fake_copy(struct fake_vchan *vc, uint64_t pos)
{
    return &vc->ring[pos % FAKE_MAX_RING];
}

/* Carries out up to 'n' copies.  Returns how many. */
static OVS_UNUSED unsigned int
fake_work(int16_t id, uint16_t vchan, unsigned int n)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];
    unsigned int n_done = 0;

    ovs_mutex_lock(&dev->mutex);
    while (dev->started && !vc->halted && vc->done < vc->rung && n_done < n) {
        const struct fake_copy *copy = fake_copy(vc, vc->done);

        if (!copy->fails) {
            memcpy(copy->dst, copy->src, copy->len);
        } else if (dev->driver == FAKE_IOAT) {
            vc->halted = true;
            break;
        }
        vc->done++;
        n_done++;
    }
    ovs_mutex_unlock(&dev->mutex);
    return n_done;
}

/* Has the copy fail that was added last but 'n'. */
static OVS_UNUSED void
fake_fail(int16_t id, uint16_t vchan, unsigned int n)
{
    struct fake_vchan *vc = &fake.devs[id].vchans[vchan];

    ovs_mutex_lock(&fake.devs[id].mutex);
    fake_copy(vc, vc->head - 1 - n)->fails = true;
    ovs_mutex_unlock(&fake.devs[id].mutex);
}

#ifndef FAKE_REAL_TIME
static OVS_UNUSED void
fake_ms(unsigned int ms)
{
    fake.tsc += FAKE_HZ / 1000 * ms;
}
#endif

/* The data path. */

static uint16_t
fake_dma_burst_capacity(int16_t id, uint16_t vchan)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];
    unsigned int room;

    ovs_mutex_lock(&dev->mutex);
    room = dev->nb_desc - 1 - (vc->head - vc->read);
    if (dev->max_batch) {
        room = MIN(room, dev->max_batch - (vc->head - vc->rung));
    }
    ovs_mutex_unlock(&dev->mutex);
    return room;
}

static int
fake_dma_copy(int16_t id, uint16_t vchan, rte_iova_t src, rte_iova_t dst,
              uint32_t len, uint64_t flags)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];
    int retval = -ENOSPC;

    ovs_assert(dev->started && !flags && len);
    ovs_mutex_lock(&dev->mutex);
    if ((!dev->refuse_at || --dev->refuse_at)
        && vc->head - vc->read < dev->nb_desc - 1) {
        struct fake_copy *copy = fake_copy(vc, vc->head);

        copy->dst = (void *) (uintptr_t) dst;
        copy->src = (const void *) (uintptr_t) src;
        copy->len = len;
        copy->fails = false;
        retval = vc->head++ & UINT16_MAX;
    }
    ovs_mutex_unlock(&dev->mutex);
    return retval;
}

static int
fake_dma_submit(int16_t id, uint16_t vchan)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];

    ovs_assert(dev->started);
    dev->n_submits++;
    if (dev->submit_fails) {
        dev->submit_fails--;
        return -EBUSY;
    }
    ovs_mutex_lock(&dev->mutex);
    vc->rung = vc->head;
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

/* What ioat does when it tells of a copy that failed. */
static void
fake_recover(struct fake_vchan *vc)
{
    vc->halted = false;
    vc->done = vc->read;
}

static uint16_t
fake_dma_completed(int16_t id, uint16_t vchan, const uint16_t max,
                   uint16_t *last_idx, bool *has_error)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];
    uint16_t n = 0;

    ovs_assert(max && !last_idx && (dev->started || dev->no_stop));
    ovs_mutex_lock(&dev->mutex);
    *has_error = false;
    if (vc->failure) {
        *has_error = true;
    } else if (vc->beyond_help) {
        /* All is well. */
        n = MIN(max, vc->head - vc->read);
        vc->read += n;
    } else {
        while (n < max && vc->read < vc->done
               && !fake_copy(vc, vc->read)->fails) {
            vc->read++;
            n++;
        }
        if (n < max && vc->read < vc->done) {
            *has_error = true;
        } else if (n < max && vc->halted) {
            *has_error = vc->failure = true;
            vc->read++;
            if (dev->recovery_fails) {
                vc->beyond_help = true;
                n = 0;
            } else {
                fake_recover(vc);
            }
        }
    }
    n += dev->overreport;
    dev->overreport = 0;
    ovs_mutex_unlock(&dev->mutex);
    return n;
}

static int
fake_dma_vchan_status(int16_t id, uint16_t vchan,
                      enum rte_dma_vchan_status *status)
{
    struct fake_dev *dev = &fake.devs[id];
    const struct fake_vchan *vc = &dev->vchans[vchan];

    ovs_mutex_lock(&dev->mutex);
    /* idxd has no such thing. */
    *status = (dev->driver == FAKE_IOAT && vc->beyond_help
               ? RTE_DMA_VCHAN_HALTED_ERROR
               : vc->done == vc->rung ? RTE_DMA_VCHAN_IDLE
               : RTE_DMA_VCHAN_ACTIVE);
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

/* That of ioat is told as its driver does. */
static uint16_t
fake_dma_completed_status(int16_t id, uint16_t vchan, const uint16_t max,
                          uint16_t *last_idx,
                          enum rte_dma_status_code *status)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];
    uint16_t n;

    ovs_assert(max && !last_idx && (dev->started || dev->no_stop));
    if (fake.meanwhile) {
        void (*meanwhile)(void) = fake.meanwhile;

        fake.meanwhile = NULL;
        meanwhile();
    }
    ovs_mutex_lock(&dev->mutex);
    n = MIN(vc->done - vc->read, max);
    if (dev->driver == FAKE_IOAT) {
        if (vc->beyond_help) {
            /* It counts backwards, and around the ring. */
            n = max;
        }
        for (int i = 0; i < MIN(n + 1, max); i++) {
            status[i] = RTE_DMA_STATUS_SUCCESSFUL;
        }
        vc->read = MIN(vc->read + n, vc->head);
        if (n < max && vc->halted) {
            status[n++] = RTE_DMA_STATUS_BUS_ERROR;
            vc->read++;
            fake_recover(vc);
        }
        if (vc->failure) {
            status[0] = RTE_DMA_STATUS_BUS_ERROR;
            n = MIN(n + 1, max);
            vc->failure = false;
        }
    } else {
        for (int i = 0; i < n; i++) {
            status[i] = (fake_copy(vc, vc->read++)->fails
                         ? RTE_DMA_STATUS_PAGE_FAULT
                         : RTE_DMA_STATUS_SUCCESSFUL);
        }
    }
    ovs_mutex_unlock(&dev->mutex);
    return n;
}

/* Control. */

static int16_t
fake_dma_next_dev(int16_t id)
{
    for (; id < FAKE_MAX_DEVS; id++) {
        if (fake.devs[id].name) {
            return id;
        }
    }
    return -1;
}

static int
fake_dma_info_get(int16_t id, struct rte_dma_info *info)
{
    const struct fake_dev *dev = &fake.devs[id];

    memset(info, 0, sizeof *info);
    info->dev_name = dev->name;
    info->dev_capa = dev->capa;
    info->max_vchans = dev->max_vchans;
    info->min_desc = dev->min_desc;
    info->max_desc = dev->max_desc;
    info->numa_node = dev->numa_id;
    return dev->fails & FAKE_INFO ? -ENODEV : 0;
}

static int
fake_dma_configure(int16_t id, const struct rte_dma_conf *conf)
{
    struct fake_dev *dev = &fake.devs[id];

    ovs_assert(!dev->started && conf->nb_vchans <= dev->max_vchans);
    dev->nb_vchans = conf->nb_vchans;
    return dev->fails & FAKE_CONFIGURE ? -ENOMEM : 0;
}

static int
fake_dma_vchan_setup(int16_t id, uint16_t vchan,
                     const struct rte_dma_vchan_conf *conf)
{
    struct fake_dev *dev = &fake.devs[id];
    struct fake_vchan *vc = &dev->vchans[vchan];

    ovs_assert(!dev->started && vchan < dev->nb_vchans
               && conf->direction == RTE_DMA_DIR_MEM_TO_MEM
               && conf->nb_desc >= dev->min_desc
               && conf->nb_desc <= dev->max_desc);
    if (dev->fails & FAKE_VCHAN_SETUP) {
        return -EINVAL;
    }
    dev->nb_desc = conf->nb_desc;
    if (!vc->ring) {
        vc->ring = xcalloc(FAKE_MAX_RING, sizeof *vc->ring);
    }
    vc->head = vc->rung = vc->done = vc->read = 0;
    return 0;
}

static int
fake_dma_start(int16_t id)
{
    struct fake_dev *dev = &fake.devs[id];

    if (dev->fails & FAKE_START) {
        return -EIO;
    }
    dev->started = true;
    return 0;
}

static int
fake_dma_stop(int16_t id)
{
    struct fake_dev *dev = &fake.devs[id];
    bool blocks;

    dev->stop_was_quiescent = ovsrcu_is_quiescent();
    atomic_count_inc(&dev->n_stops);
    do {
        atomic_read(&dev->stop_blocks, &blocks);
        usleep(blocks ? 100 : 0);
    } while (blocks);
    if (dev->stop_fails) {
        dev->stop_fails--;
        return -1;
    }
    ovs_mutex_lock(&dev->mutex);
    dev->started &= dev->no_stop;
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

#ifdef FAKE_REAL_TIME
/* Cycles of the TSC per second, which EAL would know. */
static uint64_t
fake_hz(void)
{
    static struct ovsthread_once once = OVSTHREAD_ONCE_INITIALIZER;
    static uint64_t hz;

    if (ovsthread_once_start(&once)) {
        uint64_t start = rte_rdtsc();
        struct timespec from, to;

        clock_gettime(CLOCK_MONOTONIC, &from);
        usleep(20000);
        hz = rte_rdtsc() - start;
        clock_gettime(CLOCK_MONOTONIC, &to);
        hz = hz * 1e9 / ((to.tv_sec - from.tv_sec) * 1e9
                         + (to.tv_nsec - from.tv_nsec));
        ovsthread_once_done(&once);
    }
    return hz;
}
#else
static void
fake_delay_us(unsigned int us)
{
    fake.slept_us += us;
    fake.tsc += us * (FAKE_HZ / 1000000);
}
#endif

/* Names that the sources use. */
#ifdef FAKE_REAL_TIME
#define rte_delay_us_sleep usleep
#define rte_get_tsc_cycles() rte_rdtsc()
#define rte_get_tsc_hz() fake_hz()
#else
#define rte_delay_us_sleep fake_delay_us
#define rte_get_tsc_cycles() (fake.tsc += fake.tsc_step)
#define rte_get_tsc_hz() FAKE_HZ
#endif
#define rte_dma_burst_capacity fake_dma_burst_capacity
#define rte_dma_completed fake_dma_completed
#define rte_dma_completed_status fake_dma_completed_status
#define rte_dma_configure fake_dma_configure
#define rte_dma_copy fake_dma_copy
#define rte_dma_info_get fake_dma_info_get
#define rte_dma_next_dev fake_dma_next_dev
#define rte_dma_start fake_dma_start
#define rte_dma_stop fake_dma_stop
#define rte_dma_submit fake_dma_submit
#define rte_dma_vchan_setup fake_dma_vchan_setup
#define rte_dma_vchan_status(ID, VCHAN, STATUS) \
    fake_dma_vchan_status(ID, VCHAN, STATUS)
#define rte_eal_iova_mode() fake.iova_mode

#endif /* fake-dmadev.h */
