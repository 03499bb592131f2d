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

/* A dmadev of DPDK for 'edu', a PCI device of QEMU with a DMA engine: the one
 * device that every QEMU has which masters the bus, behind the machine's IOMMU
 * if there is one.  For tests only.  dev.iommu builds it; EAL loads it with
 * -d, and binds it to devices with vfio-pci as their kernel driver.
 *
 * The device (docs/specs/edu in QEMU's source) has a buffer of 4096 bytes.  A
 * transfer is between that and memory and takes 100 ms, so that a copy is made
 * in pieces of EDU_PIECE bytes, each of which is read, then written.  Which of
 * the two is under way, if any, is 'phase'.  There is no queue in the device
 * and no thread here: who looks for completed copies has the engine begin with
 * the next transfer.
 *
 * The device does not tell that a transfer was refused by the IOMMU, and all
 * copies are reported as successful.
 *
 * Threads.  EAL calls probe and remove, and whoever controls the device calls
 * info to close, one at a time.  rte_dma_copy(), submit(), completed() and
 * vchan_status() are for one thread at a time, and not during a stop.
 * Statistics are for any thread. */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include <bus_pci_driver.h>
#include <rte_cycles.h>
#include <rte_dmadev_pmd.h>
#include <rte_eal.h>
#include <rte_io.h>
#include <rte_log.h>

#define EDU_VENDOR_ID 0x1234
#define EDU_DEVICE_ID 0x11e8

/* Registers. */
#define EDU_IDENTIFICATION 0x00
#define EDU_DMA_SRC 0x80
#define EDU_DMA_DST 0x88
#define EDU_DMA_COUNT 0x90
#define EDU_DMA_COMMAND 0x98

#define EDU_IDENTITY 0xed
#define EDU_START UINT64_C(1)           /* Reads as 1 until it is done. */
#define EDU_TO_MEMORY UINT64_C(2)

/* The device's buffer, as an address of its own.  QEMU 7.2 exits if a transfer
 * is not within it, or reaches its end. */
#define EDU_BUFFER UINT64_C(0x40000)
#define EDU_PIECE 4032

#define EDU_RING_SIZE 64        /* A power of two. */

/* How often the device is asked, in microseconds: to read a register takes a
 * lock that QEMU needs to get on. */
#define EDU_LOOK_US 1000

/* How long a transfer is waited for. */
#define EDU_PATIENCE_MS 1000

/* Open vSwitch tries an engine with copies that have to be there within 100
 * ms, when two transfers take 200: one alone, and as many together as there is
 * room for.  So there is room for one at first, and the first copies are
 * waited for. */
#define EDU_N_TRIED 2

enum edu_phase {
    EDU_IDLE,                   /* There is no transfer. */
    EDU_READING,                /* From memory to the device. */
    EDU_WRITING,                /* From the device to memory. */
};

struct edu_copy {
    rte_iova_t src, dst;
    uint32_t len;
};

struct edu {
    uint8_t *bar;
    uint64_t look_tsc;          /* When to look at the device again. */
    unsigned int n_tried;       /* Completed copies, up to EDU_N_TRIED. */

    enum edu_phase phase;
    uint32_t at, piece;         /* Bytes of copy 'done': those copied, and
                                 * those of the transfer. */

    /* Positions in 'ring', not cut to its size: [reported, done) are copied,
     * [done, bell) wait for the engine, or are at it, and [bell, tail) for a
     * doorbell. */
    uint16_t reported, done, bell, tail;
    struct edu_copy ring[EDU_RING_SIZE];

    /* Since start or reset; atomic, since any thread asks for them. */
    uint64_t n_submitted, n_completed;
};

RTE_LOG_REGISTER(edu_logtype, pmd.dma.edu, NOTICE);

#define EDU_LOG(LEVEL, NAME, FORMAT, ...)                               \
    rte_log(RTE_LOG_##LEVEL, edu_logtype, "edu: %s: " FORMAT "\n",      \
            NAME, ##__VA_ARGS__)

static struct edu *
edu_cast(const struct rte_dma_dev *dev)
{
    return dev->data->dev_private;
}

/* The engine. */

/* Has the device begin with a transfer from 'src' to 'dst'. */
static void
edu_begin(struct edu *e, enum edu_phase phase, uint64_t src, uint64_t dst)
{
    rte_write64(src, e->bar + EDU_DMA_SRC);
    rte_write64(dst, e->bar + EDU_DMA_DST);
    rte_write64(e->piece, e->bar + EDU_DMA_COUNT);
    rte_write64(EDU_START | (phase == EDU_WRITING ? EDU_TO_MEMORY : 0),
                e->bar + EDU_DMA_COMMAND);
    e->phase = phase;
}

/* Whether the transfer that was begun goes on, as far as we looked. */
static bool
edu_is_busy(struct edu *e)
{
    uint64_t now = rte_get_tsc_cycles();

    if (now < e->look_tsc) {
        return true;
    }
    if (!(rte_read64(e->bar + EDU_DMA_COMMAND) & EDU_START)) {
        return false;
    }
    e->look_tsc = now + rte_get_tsc_hz() / 1000000 * EDU_LOOK_US;
    return true;
}

/* Goes on with what the engine has to do, as far as it can without a wait. */
static void
edu_advance(struct edu *e)
{
    const struct edu_copy *copy = &e->ring[e->done % EDU_RING_SIZE];

    switch (e->phase) {
    case EDU_READING:
        if (!edu_is_busy(e)) {
            edu_begin(e, EDU_WRITING, EDU_BUFFER, copy->dst + e->at);
        }
        return;

    case EDU_WRITING:
        if (edu_is_busy(e)) {
            return;
        }
        e->phase = EDU_IDLE;
        e->at += e->piece;
        if (e->at == copy->len) {
            e->at = 0;
            e->done++;
        }
        break;

    case EDU_IDLE:
        break;
    }

    if (e->done != e->bell) {
        copy = &e->ring[e->done % EDU_RING_SIZE];
        e->piece = RTE_MIN(copy->len - e->at, (uint32_t) EDU_PIECE);
        edu_begin(e, EDU_READING, copy->src + e->at, EDU_BUFFER);
    }
}

/* Waits until the transfer that was begun, if any, is done.  Returns false if
 * that does not come to pass. */
static bool
edu_wait(struct edu *e)
{
    for (int ms = 0; e->phase != EDU_IDLE && edu_is_busy(e); ms++) {
        if (ms >= EDU_PATIENCE_MS) {
            return false;
        }
        rte_delay_us_sleep(EDU_LOOK_US);
    }
    return true;
}

/* The ring. */

static uint16_t
edu_burst_capacity(const void *dev_private, uint16_t vchan __rte_unused)
{
    const struct edu *e = dev_private;
    uint16_t used = e->tail - e->reported;

    return e->n_tried < EDU_N_TRIED ? !used : EDU_RING_SIZE - used;
}

static int
edu_submit(void *dev_private, uint16_t vchan __rte_unused)
{
    struct edu *e = dev_private;

    __atomic_fetch_add(&e->n_submitted, (uint16_t) (e->tail - e->bell),
                       __ATOMIC_RELAXED);
    e->bell = e->tail;
    edu_advance(e);
    return 0;
}

/* Returns the number that the copy gets, or a negative errno. */
static int
edu_copy(void *dev_private, uint16_t vchan, rte_iova_t src, rte_iova_t dst,
         uint32_t len, uint64_t flags)
{
    struct edu *e = dev_private;
    uint16_t pos = e->tail;

    if ((uint16_t) (pos - e->reported) >= EDU_RING_SIZE) {
        return -ENOSPC;
    }
    if (!len) {
        return -EINVAL;
    }
    e->ring[pos % EDU_RING_SIZE] = (struct edu_copy) { src, dst, len };
    e->tail++;
    if (flags & RTE_DMA_OP_FLAG_SUBMIT) {
        edu_submit(dev_private, vchan);
    }
    return pos;
}

static uint16_t
edu_completed_status(void *dev_private, uint16_t vchan __rte_unused,
                     const uint16_t n, uint16_t *last_idx,
                     enum rte_dma_status_code *statuses)
{
    struct edu *e = dev_private;
    uint16_t ready;

    edu_advance(e);
    while (e->n_tried < EDU_N_TRIED && e->reported == e->done
           && e->done != e->bell && edu_wait(e)) {
        edu_advance(e);
    }
    ready = RTE_MIN(n, (uint16_t) (e->done - e->reported));
    for (uint16_t i = 0; statuses && i < ready; i++) {
        statuses[i] = RTE_DMA_STATUS_SUCCESSFUL;
    }
    e->reported += ready;
    e->n_tried = RTE_MIN(e->n_tried + ready, (unsigned int) EDU_N_TRIED);
    __atomic_fetch_add(&e->n_completed, ready, __ATOMIC_RELAXED);
    if (last_idx) {
        *last_idx = e->reported - 1;
    }
    return ready;
}

static uint16_t
edu_completed(void *dev_private, uint16_t vchan, const uint16_t n,
              uint16_t *last_idx, bool *has_error)
{
    if (has_error) {
        *has_error = false;
    }
    return edu_completed_status(dev_private, vchan, n, last_idx, NULL);
}

/* What controls the device. */

static int
edu_info_get(const struct rte_dma_dev *dev __rte_unused,
             struct rte_dma_info *info, uint32_t info_sz __rte_unused)
{
    info->dev_capa = RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_OPS_COPY;
    info->max_vchans = 1;
    info->min_desc = info->max_desc = EDU_RING_SIZE;
    return 0;
}

static int
edu_configure(struct rte_dma_dev *dev __rte_unused,
              const struct rte_dma_conf *conf __rte_unused,
              uint32_t conf_sz __rte_unused)
{
    return 0;
}

static int
edu_vchan_setup(struct rte_dma_dev *dev __rte_unused,
                uint16_t vchan __rte_unused,
                const struct rte_dma_vchan_conf *conf __rte_unused,
                uint32_t conf_sz __rte_unused)
{
    return 0;
}

static int
edu_stats_get(const struct rte_dma_dev *dev, uint16_t vchan __rte_unused,
              struct rte_dma_stats *stats, uint32_t stats_sz __rte_unused)
{
    struct edu *e = edu_cast(dev);

    stats->completed = __atomic_load_n(&e->n_completed, __ATOMIC_RELAXED);
    stats->submitted = __atomic_load_n(&e->n_submitted, __ATOMIC_RELAXED);
    return 0;
}

static int
edu_stats_reset(struct rte_dma_dev *dev, uint16_t vchan __rte_unused)
{
    struct edu *e = edu_cast(dev);

    __atomic_store_n(&e->n_completed, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&e->n_submitted, 0, __ATOMIC_RELAXED);
    return 0;
}

static int
edu_start(struct rte_dma_dev *dev)
{
    struct edu *e = edu_cast(dev);

    e->n_tried = 0;
    e->at = 0;
    e->reported = e->done = e->bell = e->tail = 0;
    return edu_stats_reset(dev, 0);
}

/* Waits for the transfer that is under way.  What follows it is never
 * begun. */
static int
edu_stop(struct rte_dma_dev *dev)
{
    struct edu *e = edu_cast(dev);

    if (!edu_wait(e)) {
        EDU_LOG(ERR, dev->data->dev_name, "a transfer did not end within %d "
                "ms", EDU_PATIENCE_MS);
        return -EBUSY;
    }
    e->phase = EDU_IDLE;
    e->bell = e->tail = e->done;
    return 0;
}

static int
edu_close(struct rte_dma_dev *dev __rte_unused)
{
    return 0;
}

static int
edu_vchan_status(const struct rte_dma_dev *dev, uint16_t vchan __rte_unused,
                 enum rte_dma_vchan_status *status)
{
    const struct edu *e = edu_cast(dev);

    *status = (e->done == e->bell ? RTE_DMA_VCHAN_IDLE
               : RTE_DMA_VCHAN_ACTIVE);
    return 0;
}

static int
edu_dump(const struct rte_dma_dev *dev, FILE *f)
{
    static const char *phases[] = {
        [EDU_IDLE] = "idle",
        [EDU_READING] = "reading",
        [EDU_WRITING] = "writing",
    };
    const struct edu *e = edu_cast(dev);

    fprintf(f, "  engine: %s, %"PRIu32" bytes of a copy are done\n"
            "  copies: %u to report, %u for the engine, %u without a "
            "doorbell\n", phases[e->phase], e->at,
            (uint16_t) (e->done - e->reported), (uint16_t) (e->bell - e->done),
            (uint16_t) (e->tail - e->bell));
    return 0;
}

static const struct rte_dma_dev_ops edu_ops = {
    .dev_info_get = edu_info_get,
    .dev_configure = edu_configure,
    .dev_start = edu_start,
    .dev_stop = edu_stop,
    .dev_close = edu_close,
    .vchan_setup = edu_vchan_setup,
    .vchan_status = edu_vchan_status,
    .stats_get = edu_stats_get,
    .stats_reset = edu_stats_reset,
    .dev_dump = edu_dump,
};

/* The driver. */

static int
edu_probe(struct rte_pci_driver *driver __rte_unused,
          struct rte_pci_device *pci)
{
    uint8_t *bar = pci->mem_resource[0].addr;
    struct rte_dma_dev *dev;
    struct edu *e;

    if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
        EDU_LOG(ERR, pci->name, "works in a primary process only");
        return -EINVAL;
    }
    if (!bar
        || (rte_read32(bar + EDU_IDENTIFICATION) & 0xff) != EDU_IDENTITY) {
        EDU_LOG(ERR, pci->name, "its registers cannot be read; bind it to "
                "vfio-pci");
        return -ENODEV;
    }
    dev = rte_dma_pmd_allocate(pci->name, pci->device.numa_node, sizeof *e);
    if (!dev) {
        EDU_LOG(ERR, pci->name, "cannot allocate a dmadev");
        return -ENOMEM;
    }

    e = dev->data->dev_private;
    e->bar = bar;
    dev->data->numa_node = pci->device.numa_node;
    dev->device = &pci->device;
    dev->dev_ops = &edu_ops;
    dev->fp_obj->dev_private = e;
    dev->fp_obj->copy = edu_copy;
    dev->fp_obj->submit = edu_submit;
    dev->fp_obj->completed = edu_completed;
    dev->fp_obj->completed_status = edu_completed_status;
    dev->fp_obj->burst_capacity = edu_burst_capacity;
    dev->state = RTE_DMA_DEV_READY;
    EDU_LOG(NOTICE, pci->name, "QEMU's edu, for tests: a copy of %d bytes "
            "takes 200 ms", EDU_PIECE);
    return 0;
}

static int
edu_remove(struct rte_pci_device *pci)
{
    return rte_dma_pmd_release(pci->name);
}

static const struct rte_pci_id edu_ids[] = {
    { RTE_PCI_DEVICE(EDU_VENDOR_ID, EDU_DEVICE_ID) },
    { .vendor_id = 0 },
};

static struct rte_pci_driver edu_driver = {
    .id_table = edu_ids,
    /* EAL maps the registers and makes the device bus master. */
    .drv_flags = RTE_PCI_DRV_NEED_MAPPING,
    .probe = edu_probe,
    .remove = edu_remove,
};

RTE_PMD_REGISTER_PCI(dma_edu, edu_driver);
RTE_PMD_REGISTER_PCI_TABLE(dma_edu, edu_ids);
RTE_PMD_REGISTER_KMOD_DEP(dma_edu, "vfio-pci");
