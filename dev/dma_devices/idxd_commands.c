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

/* Commands of the model of a DSA device: devices and queues are enabled,
 * disabled, drained, aborted and reset.
 *
 * A command is written to CMD and goes on until CMDSTS says that it is not
 * active any more.  What waits for descriptors goes on as long as these do:
 * to disable a queue is to drain it, and takes for ever if the engine hangs,
 * where to abort it takes no longer than one descriptor.  A command that is
 * written while another one is active is ignored.
 *
 * All functions are called with the lock of the device. */

#include <rte_common.h>

#include "idxd_model.h"

#define CMD_SHIFT 20
#define CMD_MASK 0x1f
#define OPERAND_MASK 0xffff

enum command {
    ENABLE_DEVICE = 1,
    DISABLE_DEVICE,
    DRAIN_ALL,
    ABORT_ALL,
    RESET_DEVICE,
    ENABLE_WQ,
    DISABLE_WQ,
    DRAIN_WQ,
    ABORT_WQ,
    RESET_WQ,
};

#define STATUS_ACTIVE (1u << 31)

/* Errors, in the lowest byte of CMDSTS. */
enum {
    ERR_COMMAND = 0x01,
    ERR_WQ_INDEX = 0x02,
    ERR_DEVICE_ENABLED = 0x10,
    ERR_WQ_SIZES = 0x14,
    ERR_GROUPS = 0x15,
    ERR_DEVICE_NOT_ENABLED = 0x20,
    ERR_WQ_ENABLED = 0x21,
    ERR_WQ_SIZE = 0x22,
    ERR_WQ_PRIORITY = 0x23,
    ERR_WQ_MODE = 0x24,
    ERR_MAX_BATCH = 0x27,
    ERR_MAX_TRANSFER = 0x28,
    ERR_DISABLE_NOT_ENABLED = 0x31,
    ERR_WQ_DEVICE_NOT_ENABLED = 0x32,
};

/* Returns an error of enabling 'd' as it is configured, or 0. */
static uint32_t
device_error(const struct device *d)
{
    const struct idxd *c = idxd_state(d);
    unsigned int total = 0;

    if (c->enabled) {
        return ERR_DEVICE_ENABLED;
    }
    for (unsigned int i = 0; i < d->n_queues; i++) {
        uint32_t size = idxd_wq_get32(c, i, WQ_SIZE);
        bool served = false;

        total += size;
        for (unsigned int g = 0; g < d->params.n_engines; g++) {
            size_t group = GRPCFG + g * GRPCFG_SIZE;

            served |= (idxd_get32(c, group) & 1u << i
                       && idxd_get32(c, group + GRPCFG_ENGINES));
        }
        if (size && !served) {
            return ERR_GROUPS;
        }
    }
    return total > d->params.wq_size ? ERR_WQ_SIZES : 0;
}

/* Likewise of enabling queue number 'wq'. */
static uint32_t
wq_error(const struct device *d, unsigned int wq)
{
    const struct idxd *c = idxd_state(d);
    uint32_t mode, limits;

    if (wq >= d->n_queues) {
        return ERR_WQ_INDEX;
    } else if (!c->enabled) {
        return ERR_DEVICE_NOT_ENABLED;
    } else if (c->wqs[wq].enabled) {
        return ERR_WQ_ENABLED;
    } else if (!idxd_wq_get32(c, wq, WQ_SIZE)) {
        return ERR_WQ_SIZE;
    }
    mode = idxd_wq_get32(c, wq, WQ_MODE);
    limits = idxd_wq_get32(c, wq, WQ_LIMITS);
    if (!(mode >> 4 & 0xf)) {
        return ERR_WQ_PRIORITY;
    } else if (!(mode & WQ_DEDICATED)) {
        return ERR_WQ_MODE;
    } else if ((limits >> 5 & 0xf) > d->params.lg2_batch) {
        return ERR_MAX_BATCH;
    }
    return (limits & 0x1f) > LG2_MAX_TRANSFER ? ERR_MAX_TRANSFER : 0;
}

static void
wq_enable(struct device *d, unsigned int wq)
{
    struct wq *w = &idxd_state(d)->wqs[wq];

    w->enabled = true;
    w->draining = false;
    w->head = w->tail = 0;
    idxd_wq_show(d, wq);
    engine_started(d, true);
}

static bool
any_wq_enabled(const struct device *d)
{
    for (unsigned int i = 0; i < d->n_queues; i++) {
        if (idxd_state(d)->wqs[i].enabled) {
            return true;
        }
    }
    return false;
}

static void
wq_disable(struct device *d, unsigned int wq)
{
    idxd_state(d)->wqs[wq].enabled = false;
    idxd_wq_show(d, wq);
    if (!any_wq_enabled(d)) {
        engine_started(d, false);
    }
}

static bool
wq_is_empty(const struct device *d, unsigned int wq)
{
    const struct wq *w = &idxd_state(d)->wqs[wq];

    return w->head == w->tail && !w->in_batch && d->busy != &d->queues[wq];
}

/* Whether the command under way is over. */
static bool
is_over(const struct device *d)
{
    const struct idxd *c = idxd_state(d);

    for (unsigned int i = 0; i < d->n_queues; i++) {
        if (c->mask & 1u << i && !wq_is_empty(d, i)) {
            return false;
        }
    }
    return true;
}

/* What the command under way does at its end. */
static void
finish(struct device *d)
{
    struct idxd *c = idxd_state(d);

    for (unsigned int i = 0; i < d->n_queues; i++) {
        if (c->mask & 1u << i) {
            c->wqs[i].draining = false;
            if (c->command != DRAIN_ALL && c->command != DRAIN_WQ
                && c->command != ABORT_ALL && c->command != ABORT_WQ) {
                wq_disable(d, i);
            }
        }
    }
    if (c->command == DISABLE_DEVICE || c->command == RESET_DEVICE) {
        c->enabled = false;
    }
    c->command = 0;
    c->status = 0;
}

/* Ends the command under way if it is over; 'asked' if the driver looks. */
void
idxd_command_look(struct device *d, bool asked)
{
    struct idxd *c = idxd_state(d);
    bool disables = (c->command == DISABLE_WQ || c->command == RESET_WQ
                     || c->command == DISABLE_DEVICE
                     || c->command == RESET_DEVICE);

    if (c->command && !(disables && engine_refuses(d, OP_STOP, asked))
        && is_over(d)) {
        finish(d);
    }
}

/* Begins a command about the queues in 'mask', that are enabled. */
static void
begin(struct device *d, enum command command, uint32_t mask)
{
    struct idxd *c = idxd_state(d);

    c->command = command;
    c->mask = 0;
    for (unsigned int i = 0; i < d->n_queues; i++) {
        if (mask & 1u << i && c->wqs[i].enabled) {
            c->mask |= 1u << i;
            c->wqs[i].draining = command != DRAIN_ALL && command != DRAIN_WQ;
            if (command == ABORT_ALL || command == ABORT_WQ
                || command == RESET_WQ || command == RESET_DEVICE) {
                idxd_wq_abort(d, i);
            }
        }
    }
    c->status = STATUS_ACTIVE;
}

/* Carries out, or begins, what was written to CMD. */
void
idxd_command(struct device *d, uint32_t value)
{
    struct idxd *c = idxd_state(d);
    enum command command = value >> CMD_SHIFT & CMD_MASK;
    uint32_t operand = value & OPERAND_MASK;

    if (c->command) {
        return;
    }
    c->status = 0;
    switch (command) {
    case ENABLE_DEVICE:
        c->status = device_error(d);
        c->enabled |= !c->status;
        break;
    case ENABLE_WQ:
        engine_count_op(d, OP_START);
        c->status = (engine_refuses(d, OP_START, true) ? ERR_WQ_MODE
                     : wq_error(d, operand));
        if (!c->status) {
            wq_enable(d, operand);
        }
        break;
    case DISABLE_WQ:
    case DRAIN_WQ:
    case ABORT_WQ:
    case RESET_WQ:
        if (command == DISABLE_WQ) {
            engine_count_op(d, OP_STOP);
        }
        if (!c->enabled) {
            c->status = ERR_WQ_DEVICE_NOT_ENABLED;
        } else {
            begin(d, command, operand);
        }
        break;
    case DISABLE_DEVICE:
    case DRAIN_ALL:
    case ABORT_ALL:
        if (!c->enabled) {
            c->status = ERR_DISABLE_NOT_ENABLED;
            break;
        }
        /* Fall through. */
    case RESET_DEVICE:
        begin(d, command, UINT32_MAX);
        break;
    default:
        c->status = ERR_COMMAND;
        break;
    }
}

/* What Linux does when a queue is enabled and opened: device and queue are
 * enabled (idxd_drv_enable_wq(), idxd_cdev_open()). */
void
idxd_kernel_enable(struct device *d)
{
    idxd_state(d)->enabled = true;
    wq_enable(d, 0);
}

/* What Linux does when the last reference to the file goes, which is that of
 * the mapping, since DPDK closes the file when it has mapped it: the queue is
 * disabled, which waits for what is in flight (idxd_cdev_release() and
 * idxd_file_dev_release(), by way of idxd_wq_disable_pasid()).  munmap(), or
 * the end of the process, does not return before; here it does. */
void
idxd_kernel_disable(struct device *d)
{
    begin(d, DISABLE_WQ, 1);
}
