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

/* A channel of an Intel CBDMA engine ("IOAT"), as DPDK's ioat driver has it,
 * by what that driver and Linux's ioatdma say of it (drivers/dma/ioat of
 * each).  There is one channel per PCI function, from CBDMA 3.3 on, with its
 * registers from 0x80 on.
 *
 * The driver gives the address of a ring of descriptors, each of which has
 * that of the next (CHAINADDR), and where to report to (CHANCMP).  Then it
 * writes how many descriptors there are, counted from that address on, to
 * DMACOUNT, as often as there are more.  The engine carries them out in order
 * and reports the last one done, with the state of the channel in the low
 * bits.
 *
 *     reset            suspend
 *   any ------> HALTED   ACTIVE, IDLE, ARMED ------> SUSPENDED
 *                 |                                     |
 *                 | CHAINADDR, no error left in CHANERR | CHAINADDR
 *                 +----------------> ARMED <------------+
 *                     DMACOUNT         |
 *                   ACTIVE <-----------+     all done: IDLE
 *
 * A descriptor that fails halts the channel: CHANERR says why, and the report
 * has the last one that did not fail.  Errors are cleared by writing them to
 * CHANERR.  A suspension or reset waits for the descriptor that the engine is
 * at.
 *
 * Not known, and chosen: what came before CHAINADDR is written is forgotten;
 * the report is not written when the channel is suspended, unless
 * 'report_suspend' has it so.
 *
 * All functions are called with the lock of the device. */

#include <string.h>

#include <rte_common.h>
#include <rte_dmadev.h>

#include "dma_devices.h"

#define DESC_MASK (~UINT64_C(0x3f))

/* Registers. */
enum {
    CHANCNT = 0x00,             /* 8 bits. */
    XFERCAP = 0x01,             /* 8 */
    CBVER = 0x08,               /* 8 */
    DMACAPABILITY = 0x10,       /* 32 */
    CHANCTRL = 0x80,            /* 16 */
    CHANCMD = 0x84,             /* 8 */
    DMACOUNT = 0x86,            /* 16 */
    CHANSTS = 0x88,             /* 64 */
    CHAINADDR = 0x90,           /* 64 */
    CHANCMP = 0x98,             /* 64 */
    CHANERR = 0xa8,             /* 32 */
};

#define CAP_FILL (1u << 6)

#define CTRL_ERR_COMPLETION 0x04

#define CMD_RESET 0x20
#define CMD_SUSPEND 0x04

/* Of CHANSTS. */
enum chan_state {
    STATE_ACTIVE,
    STATE_IDLE,
    STATE_SUSPENDED,
    STATE_HALTED,
    STATE_ARMED,
};

/* Of CHANERR. */
#define ERR_SRC (1u << 0)
#define ERR_DST (1u << 1)
#define ERR_NEXT (1u << 2)
#define ERR_READ (1u << 8)
#define ERR_WRITE (1u << 9)
#define ERR_CONTROL (1u << 10)
#define ERR_LENGTH (1u << 11)
#define ERR_COMPLETION (1u << 12)

struct ioat_desc {
    uint32_t size;
    uint32_t control;
    uint64_t src;
    uint64_t dst;
    uint64_t next;
    uint64_t unused[4];
};

#define DESC_REPORT (1u << 3)
#define DESC_NULL (1u << 5)
#define DESC_OP(CONTROL) ((CONTROL) >> 24)
#define OP_COPY 0
#define OP_FILL 1

struct ioat {
    enum chan_state state;
    uint16_t told;              /* By DMACOUNT. */
    uint64_t chain;             /* Address of the next descriptor. */
    uint64_t last;              /* That of the last one done, or 0. */
    uint64_t addr;              /* That of the one the engine is at, */
    struct ioat_desc desc;      /* and what it says. */
    uint32_t errors;            /* CHANERR. */
    bool suspending;
    bool resetting;
};

static struct queue *
chan_queue(struct device *d)
{
    return &d->queues[0];
}

static uint64_t
get(const struct device *d, size_t offset)
{
    uint64_t value;

    memcpy(&value, &d->regs[offset], sizeof value);
    return value;
}

static void
put(struct device *d, size_t offset, uint64_t value, size_t size)
{
    memcpy(&d->regs[offset], &value, size);
}

static uint64_t
chan_status(const struct ioat *c)
{
    return (c->last & DESC_MASK) | c->state;
}

static void
chan_report(struct device *d)
{
    struct ioat *c = d->state;

    if (!iova_store64(d, get(d, CHANCMP), chan_status(c))) {
        c->errors |= ERR_COMPLETION;
        c->state = STATE_HALTED;
    }
}

/* Has the registers show what is. */
static void
chan_show(struct device *d)
{
    const struct ioat *c = d->state;

    put(d, CHANSTS, chan_status(c), 8);
    put(d, CHANERR, c->errors, 4);
    put(d, CHANCMD, (c->resetting ? CMD_RESET : 0)
                    | (c->suspending ? CMD_SUSPEND : 0), 1);
}

/* The engine will not carry out what it has. */
static void
chan_forget(struct device *d)
{
    struct queue *q = chan_queue(d);

    engine_forget(q, q->n_in - q->n_out);
    q->n_out = q->n_in;
}

static void
chan_halt(struct device *d, uint32_t error)
{
    struct ioat *c = d->state;

    c->errors |= error;
    c->state = STATE_HALTED;
    chan_forget(d);
    engine_started(d, false);
    if (get(d, CHANCTRL) & CTRL_ERR_COMPLETION) {
        chan_report(d);
    }
}

/* Does what was commanded, if it can be done now; 'looks' if the driver looks
 * whether it was. */
static void
chan_obey(struct device *d, bool looks)
{
    struct ioat *c = d->state;

    if ((!c->suspending && !c->resetting)
        || engine_refuses(d, OP_STOP, looks) || d->busy) {
        return;
    }
    if (c->resetting) {
        c->state = STATE_HALTED;
        c->last = 0;
    } else if (c->state != STATE_HALTED) {
        c->state = STATE_SUSPENDED;
    }
    if (c->suspending && d->params.report_suspend) {
        chan_report(d);
    }
    c->resetting = c->suspending = false;
    chan_forget(d);
    engine_started(d, false);
}

static void
chan_start(struct device *d, uint64_t address)
{
    struct ioat *c = d->state;

    /* A driver that does not wait is not told of it.  0 is no chain. */
    if (c->state == STATE_ACTIVE || c->errors || c->resetting
        || c->suspending || !address || engine_refuses(d, OP_START, true)) {
        return;
    }
    chan_forget(d);
    c->state = STATE_ARMED;
    c->chain = address;
    c->last = 0;
    c->told = 0;
    engine_started(d, true);
}

static void
chan_doorbell(struct device *d, uint16_t told)
{
    struct ioat *c = d->state;
    uint16_t n = told - c->told;

    if (!n || (c->state != STATE_ARMED && c->state != STATE_IDLE
               && c->state != STATE_ACTIVE)) {
        return;
    }
    c->told = told;
    c->state = STATE_ACTIVE;
    chan_queue(d)->n_in += n;
    count(&chan_queue(d)->shared->state.submitted, n);
    engine_wake(d);
}

static void
ioat_power_on(struct device *d)
{
    struct ioat *c = d->state;

    c->state = STATE_HALTED;
    put(d, CHANCNT, 1, 1);
    put(d, XFERCAP, 20, 1);
    put(d, CBVER, d->params.version, 1);
    put(d, DMACAPABILITY, CAP_FILL, 4);
    chan_show(d);
}

static void
ioat_access(struct device *d, size_t offset)
{
    if (offset == CHANSTS || offset == CHANCMD) {
        chan_obey(d, true);
    }
    chan_show(d);
}

static void
ioat_written(struct device *d, size_t offset)
{
    struct ioat *c = d->state;
    uint8_t command;

    switch (offset) {
    case CHANCMD:
        command = get(d, CHANCMD);
        if (command & (CMD_RESET | CMD_SUSPEND)) {
            engine_count_op(d, OP_STOP);
            c->resetting |= command & CMD_RESET;
            c->suspending |= command & CMD_SUSPEND;
            chan_obey(d, false);
        }
        break;
    case DMACOUNT:
        chan_doorbell(d, get(d, DMACOUNT));
        break;
    case CHAINADDR:
        engine_count_op(d, OP_START);
        chan_start(d, get(d, CHAINADDR));
        break;
    case CHANERR:
        c->errors &= ~get(d, CHANERR);
        break;
    default:
        /* CHANCMP and CHANCTRL are looked at when they are needed; the rest
         * is not written by anyone. */
        break;
    }
    chan_show(d);
}

static void
ioat_look(struct device *d)
{
    /* It obeys whether somebody looks or not. */
    chan_obey(d, false);
}

static bool
ioat_pick(struct device *d, struct queue *q, struct job *job)
{
    struct ioat *c = d->state;

    if (c->state != STATE_ACTIVE || c->suspending || c->resetting) {
        return false;
    }
    q->n_out++;
    c->addr = c->chain;
    job->error = JOB_REFUSED;
    if (c->addr & ~DESC_MASK) {
        job->code = ERR_NEXT;
    } else if (!iova_read(d, &c->desc, c->addr, sizeof c->desc)) {
        job->code = ERR_READ;
    } else if (!c->desc.size) {
        job->code = ERR_LENGTH;
    } else if (c->desc.control & DESC_NULL) {
        job->error = JOB_DONE;
    } else if (DESC_OP(c->desc.control) > OP_FILL) {
        job->code = ERR_CONTROL;
    } else {
        job->error = JOB_DONE;
        job->kind = (DESC_OP(c->desc.control) == OP_COPY
                     ? JOB_COPY : JOB_FILL);
        job->src = c->desc.src;
        job->dst = c->desc.dst;
        job->length = c->desc.size;
    }
    return true;
}

static uint32_t
forced_error(uint32_t status)
{
    switch (status) {
    case RTE_DMA_STATUS_INVALID_SRC_ADDR:
        return ERR_SRC;
    case RTE_DMA_STATUS_INVALID_DST_ADDR:
        return ERR_DST;
    case RTE_DMA_STATUS_INVALID_LENGTH:
        return ERR_LENGTH;
    case RTE_DMA_STATUS_DESCRIPTOR_READ_ERROR:
        return ERR_READ;
    default:
        return ERR_WRITE;
    }
}

static uint32_t
job_errors(const struct job *job)
{
    switch (job->error) {
    case JOB_BAD_SRC:
        return ERR_SRC;
    case JOB_BAD_DST:
        return ERR_DST;
    case JOB_FORCED:
        return forced_error(job->code);
    case JOB_REFUSED:
        return job->code;
    case JOB_DONE:
    default:
        return 0;
    }
}

static void
ioat_report(struct device *d, const struct job *job)
{
    struct page_state *state = &job->queue->shared->state;
    struct ioat *c = d->state;

    count(&state->completed, 1);
    if (job->error) {
        count(&state->errors, 1);
        chan_halt(d, job_errors(job));
    } else {
        c->last = c->addr;
        c->chain = c->desc.next;
        if (job->queue->n_in == job->queue->n_out) {
            c->state = STATE_IDLE;
        }
        if (c->desc.control & DESC_REPORT) {
            chan_report(d);
        }
    }
    chan_obey(d, false);
    chan_show(d);
}

const struct model ioat_model = {
    .name = "ioat_model",
    .vendor_id = 0x8086,
    .device_id = 0x0b00,        /* Ice Lake. */
    .bus = 0x00,
    .package = "librte-dma-ioat",
    .regs_size = 4096,
    .state_size = sizeof(struct ioat),
    .power_on = ioat_power_on,
    .access = ioat_access,
    .written = ioat_written,
    .pick = ioat_pick,
    .report = ioat_report,
    .look = ioat_look,
};
