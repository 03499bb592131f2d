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

/* An Intel DSA device as DPDK's idxd driver has it when it is bound to it
 * through PCI, by what that driver and Linux's idxd say of it
 * (drivers/dma/idxd of each, include/uapi/linux/idxd.h).
 *
 * A descriptor of 64 bytes is written to a portal and waits in the work queue
 * of that.  It has the engine copy or fill, or carry out a batch: an array of
 * descriptors in memory.  Each can have a completion record written: if it
 * failed, and if that is asked for.  What follows in a batch after one that
 * failed is carried out, unless there is a fence: the batch ends before that,
 * and says how many it was.
 *
 * A descriptor for a queue that is full or not enabled is dropped, and SWERR
 * tells.  Queues take turns at one engine, whatever their groups.  All queues
 * are dedicated.  A page that is not there is not waited for.
 *
 * All functions are called with the lock of the device. */

#include <string.h>
#include <sys/mman.h>

#include <rte_common.h>
#include <rte_dmadev.h>

#include "idxd_model.h"

/* Of SWERR. */
#define SWERR_VALID (1u << 0)
#define SWERR_OVERFLOW (1u << 1)
#define SWERR_WQ_VALID (1u << 3)
#define SWERR_CODE_SHIFT 8
#define SWERR_WQ_SHIFT 16
enum {
    SWERR_NOT_ENABLED = 0x51,
    SWERR_FULL = 0x52,
    SWERR_COMPLETION = 0x1a,
};

static void
put(struct idxd *c, size_t offset, uint64_t value, size_t size)
{
    memcpy(&c->config[offset], &value, size);
}

/* Has the registers show what is. */
static void
idxd_show(struct device *d)
{
    struct idxd *c = idxd_state(d);

    put(c, GENSTS, c->enabled, 4);
    put(c, CMDSTS, c->status, 4);
    put(c, SWERR, c->error, 8);
    memcpy(d->regs, c->config, sizeof c->config);
}

void
idxd_wq_show(struct device *d, unsigned int wq)
{
    struct idxd *c = idxd_state(d);

    put(c, WQCFG + wq * WQCFG_SIZE + WQ_STATE,
        c->wqs[wq].enabled ? WQ_STATE_ENABLED : 0, 4);
}

static size_t
idxd_portals_size(const struct params *p)
{
    return p->n_queues * PORTALS_SIZE;
}

static void
idxd_power_on(struct device *d)
{
    const struct params *p = &d->params;
    struct idxd *c = idxd_state(d);

    put(c, VERSION, 0x100, 4);
    put(c, GENCAP, (uint64_t) LG2_MAX_TRANSFER << 16
                   | (uint64_t) p->lg2_batch << 21 | UINT64_C(1) << 31, 8);
    /* Dedicated queues are supported. */
    put(c, WQCAP, p->wq_size | (uint64_t) p->n_queues << 16
                  | UINT64_C(1) << 49, 8);
    put(c, GRPCAP, p->n_engines, 8);
    put(c, ENGCAP, p->n_engines, 8);
    put(c, OPCAP, 1 << OP_NOOP | 1 << OP_BATCH | 1 << OP_DRAIN
                  | 1 << OP_MEMMOVE | 1 << OP_MEMFILL, 8);
    put(c, OFFSETS, GRPCFG >> 8 | (WQCFG >> 8) << 16, 8);
    if (p->kernel) {
        put(c, WQCFG + WQ_SIZE, p->wq_size, 4);
        put(c, WQCFG + WQ_LIMITS, LG2_MAX_TRANSFER | p->lg2_batch << 5, 4);
        idxd_kernel_enable(d);
    }
    idxd_show(d);
}

static void
idxd_look(struct device *d)
{
    struct idxd *c = idxd_state(d);
    unsigned char in_core;

    if (d->params.kernel && !c->unmapped
        && mincore(d->portals, d->portals_size, &in_core)) {
        c->unmapped = true;
        idxd_kernel_disable(d);
    }
    idxd_command_look(d, false);
}

static void
idxd_access(struct device *d, size_t offset)
{
    if (offset == CMDSTS) {
        idxd_command_look(d, true);
    }
    idxd_show(d);
}

static void
idxd_written(struct device *d, size_t offset)
{
    struct idxd *c = idxd_state(d);
    size_t part = offset & ~(size_t) 3;
    bool writable = (offset >= GRPCFG
                     && (offset < WQCFG
                         || (offset - WQCFG) % WQCFG_SIZE < WQ_STATE));

    if (offset == CMD) {
        idxd_command(d, *(uint32_t *) (void *) &d->regs[CMD]);
    } else if (offset == SWERR) {
        c->error &= ~(uint64_t) (d->regs[SWERR]
                                 & (SWERR_VALID | SWERR_OVERFLOW));
    } else if (writable && !c->enabled) {
        /* At most 8 bytes were. */
        memcpy(&c->config[part], &d->regs[part],
               RTE_MIN((size_t) 8, REGS_SIZE - part));
    }
    idxd_show(d);
}

static void
software_error(struct idxd *c, unsigned int wq, unsigned int code)
{
    if (c->error & SWERR_VALID) {
        c->error |= SWERR_OVERFLOW;
    } else {
        c->error = (SWERR_VALID | SWERR_WQ_VALID
                    | (uint64_t) code << SWERR_CODE_SHIFT
                    | (uint64_t) wq << SWERR_WQ_SHIFT);
    }
}

static unsigned int
desc_op(const struct idxd_desc *desc)
{
    return desc->op_flags >> 24;
}

/* How many copies 'desc' stands for. */
static uint32_t
desc_copies(const struct idxd_desc *desc)
{
    return desc_op(desc) == OP_BATCH ? desc->size : 1;
}

static void
idxd_portal(struct device *d, size_t offset, const void *desc)
{
    struct idxd *c = idxd_state(d);
    unsigned int wq = offset / PORTALS_SIZE;
    struct wq *w = &c->wqs[wq];
    struct queue *q = &d->queues[wq];

    if (!w->enabled || w->draining) {
        software_error(c, wq, SWERR_NOT_ENABLED);
        return;
    }
    if (w->tail - w->head >= idxd_wq_get32(c, wq, WQ_SIZE)) {
        software_error(c, wq, SWERR_FULL);
        return;
    }
    memcpy(&w->ring[w->tail++ % MAX_WQ_SIZE], desc, sizeof *w->ring);
    q->n_in++;
    count(&q->shared->state.submitted,
          desc_copies(&w->ring[(w->tail - 1) % MAX_WQ_SIZE]));
    engine_wake(d);
}

/* Gives up what waits in the queue, and what is left of the batch that the
 * engine is at. */
void
idxd_wq_abort(struct device *d, unsigned int wq)
{
    struct wq *w = &idxd_state(d)->wqs[wq];
    struct queue *q = &d->queues[wq];

    for (; w->head != w->tail; w->head++) {
        engine_forget(q, desc_copies(&w->ring[w->head % MAX_WQ_SIZE]));
    }
    if (w->in_batch) {
        /* If the engine is at one of them, that one is reported. */
        engine_forget(q, w->batch.size - w->n_done - (d->busy == q));
        w->in_batch = false;
    }
    q->n_out = q->n_in;
}

static void
write_record(struct device *d, unsigned int wq, const struct idxd_desc *desc,
             const struct idxd_record *record)
{
    uint64_t dst = desc->completion;
    bool asked = desc->op_flags & FLAG_REQUEST_COMPLETION;

    if (!(desc->op_flags & FLAG_COMPLETION_VALID)
        || (!asked && record->status == COMP_SUCCESS)) {
        return;
    }
    /* The status, which the driver looks at, comes last. */
    if (!iova_write(d, dst + 1, &record->result, sizeof *record - 1)
        || !iova_write(d, dst, &record->status, 1)) {
        software_error(idxd_state(d), wq, SWERR_COMPLETION);
    }
}

/* Ends the batch that the engine is at. */
static void
batch_end(struct device *d, unsigned int wq)
{
    struct wq *w = &idxd_state(d)->wqs[wq];
    struct idxd_record record = {
        .status = w->batch_status,
        .done = w->n_done,
    };

    w->in_batch = false;
    d->queues[wq].n_out++;
    /* What a fence kept from being carried out. */
    engine_forget(&d->queues[wq], w->batch.size - w->n_done);
    write_record(d, wq, &w->batch, &record);
}

/* Begins the batch that 'w->desc' is.  Returns 0, or the status that it fails
 * with. */
static uint32_t
batch_begin(struct device *d, unsigned int wq)
{
    struct idxd *c = idxd_state(d);
    struct wq *w = &c->wqs[wq];
    uint32_t max = 1u << (idxd_wq_get32(c, wq, WQ_LIMITS) >> 5 & 0xf);

    if (w->desc.size < 2 || w->desc.size > max) {
        return COMP_BAD_COUNT;
    }
    if (w->desc.src % sizeof w->desc) {
        return COMP_LIST_ALIGN;
    }
    w->batch = w->desc;
    w->n_done = 0;
    w->batch_status = COMP_SUCCESS;
    w->in_batch = true;
    return 0;
}

/* Has '*job' be what 'desc' says, or refuses it. */
static void
desc_to_job(const struct idxd_desc *desc, struct job *job)
{
    switch (desc_op(desc)) {
    case OP_NOOP:
    case OP_DRAIN:
        return;
    case OP_MEMMOVE:
    case OP_MEMFILL:
        if (!desc->size || desc->size > 1u << LG2_MAX_TRANSFER) {
            job->error = JOB_REFUSED;
            job->code = COMP_BAD_SIZE;
            return;
        }
        job->kind = desc_op(desc) == OP_MEMMOVE ? JOB_COPY : JOB_FILL;
        job->src = desc->src;
        job->dst = desc->dst;
        job->length = desc->size;
        return;
    default:
        job->error = JOB_REFUSED;
        job->code = COMP_BAD_OPCODE;
        return;
    }
}

/* Picks the next descriptor of the batch.  Returns false if that is over. */
static bool
pick_in_batch(struct device *d, unsigned int wq, struct job *job)
{
    struct wq *w = &idxd_state(d)->wqs[wq];
    uint64_t address = w->batch.src + w->n_done * sizeof w->desc;

    if (!iova_read(d, &w->desc, address, sizeof w->desc)) {
        w->batch_status = COMP_BATCH_PAGE_FAULT;
        batch_end(d, wq);
        return false;
    }
    if (w->desc.op_flags & FLAG_FENCE && w->batch_status != COMP_SUCCESS) {
        batch_end(d, wq);
        return false;
    }
    desc_to_job(&w->desc, job);
    return true;
}

static bool
idxd_pick(struct device *d, struct queue *q, struct job *job)
{
    unsigned int wq = q->index;
    struct wq *w = &idxd_state(d)->wqs[wq];
    uint32_t error;

    if (!w->in_batch) {
        if (w->head == w->tail) {
            return false;
        }
        w->desc = w->ring[w->head++ % MAX_WQ_SIZE];
        if (desc_op(&w->desc) != OP_BATCH) {
            q->n_out++;
            desc_to_job(&w->desc, job);
            return true;
        }
        error = batch_begin(d, wq);
        if (error) {
            const struct idxd_record record = { .status = error };

            q->n_out++;
            count(&q->shared->state.errors, 1);
            engine_forget(q, w->desc.size);
            write_record(d, wq, &w->desc, &record);
            return false;
        }
    }
    return pick_in_batch(d, wq, job);
}

static uint8_t
forced_status(uint32_t status)
{
    switch (status) {
    case RTE_DMA_STATUS_INVALID_OPCODE:
        return COMP_BAD_OPCODE;
    case RTE_DMA_STATUS_INVALID_LENGTH:
        return COMP_BAD_SIZE;
    case RTE_DMA_STATUS_INVALID_SRC_ADDR:
    case RTE_DMA_STATUS_PAGE_FAULT:
        return COMP_PAGE_FAULT;
    default:
        return COMP_PAGE_FAULT | COMP_WRITES;
    }
}

static uint8_t
job_status(const struct job *job)
{
    switch (job->error) {
    case JOB_BAD_SRC:
        return COMP_PAGE_FAULT;
    case JOB_BAD_DST:
        return COMP_PAGE_FAULT | COMP_WRITES;
    case JOB_FORCED:
        return forced_status(job->code);
    case JOB_REFUSED:
        return job->code;
    case JOB_DONE:
    default:
        return COMP_SUCCESS;
    }
}

static void
idxd_report(struct device *d, const struct job *job)
{
    unsigned int wq = job->queue->index;
    struct page_state *state = &job->queue->shared->state;
    struct wq *w = &idxd_state(d)->wqs[wq];
    const struct idxd_record record = {
        .status = job_status(job),
        .done = job->done,
        .fault = job->fault,
    };

    count(&state->completed, 1);
    if (job->error) {
        count(&state->errors, 1);
    }
    write_record(d, wq, &w->desc, &record);
    if (w->in_batch) {
        w->n_done++;
        if (job->error) {
            w->batch_status = COMP_BATCH_FAIL;
        }
        if (w->n_done == w->batch.size) {
            batch_end(d, wq);
        }
    }
    idxd_command_look(d, false);
    idxd_show(d);
}

const struct model idxd_model = {
    .name = "idxd_model",
    .vendor_id = 0x8086,
    .device_id = 0x0b25,        /* Sapphire Rapids. */
    .bus = 0x6a,
    .package = "librte-dma-idxd",
    .regs_size = REGS_SIZE,
    .state_size = sizeof(struct idxd),
    .power_on = idxd_power_on,
    .portals_size = idxd_portals_size,
    .access = idxd_access,
    .written = idxd_written,
    .portal = idxd_portal,
    .pick = idxd_pick,
    .report = idxd_report,
    .look = idxd_look,
};
