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

/* What the two files of the model of a DSA device share; idxd_model.c says
 * what it is. */

#ifndef IDXD_MODEL_H
#define IDXD_MODEL_H 1

#include "dma_devices.h"

/* Registers. */
enum {
    VERSION = 0x00,             /* 32 bits. */
    GENCAP = 0x10,              /* 64 */
    WQCAP = 0x20,               /* 64 */
    GRPCAP = 0x30,              /* 64 */
    ENGCAP = 0x38,              /* 64 */
    OPCAP = 0x40,               /* 256 */
    OFFSETS = 0x60,             /* 128 */
    GENCFG = 0x80,              /* 32 */
    GENCTRL = 0x88,             /* 32 */
    GENSTS = 0x90,              /* 32 */
    CMD = 0xa0,                 /* 32 */
    CMDSTS = 0xa8,              /* 32 */
    SWERR = 0xc0,               /* 256 */
    GRPCFG = 0x400,             /* 64 bytes for each group. */
    WQCFG = 0x800,              /* 32 bytes for each queue. */
    REGS_SIZE = 4096,
};

#define GRPCFG_SIZE 64
#define GRPCFG_ENGINES 32
#define WQCFG_SIZE 32

/* 32-bit parts of WQCFG. */
#define WQ_SIZE 0
#define WQ_MODE 8
#define WQ_LIMITS 12
#define WQ_STATE 24

#define WQ_DEDICATED 1
#define WQ_STATE_ENABLED (1u << 30)

#define LG2_MAX_TRANSFER 31

#define MAX_WQ_SIZE 1024

/* Each queue has four portals of a page. */
#define PORTALS_SIZE 16384

enum {
    FLAG_FENCE = 1 << 0,
    FLAG_COMPLETION_VALID = 1 << 2,
    FLAG_REQUEST_COMPLETION = 1 << 3,
};

enum {
    OP_NOOP,
    OP_BATCH,
    OP_DRAIN,
    OP_MEMMOVE,
    OP_MEMFILL,
};

/* Status of a completion record. */
enum {
    COMP_SUCCESS = 0x01,
    COMP_PAGE_FAULT = 0x03,
    COMP_BATCH_FAIL = 0x05,
    COMP_BATCH_PAGE_FAULT = 0x06,   /* The list cannot be read. */
    COMP_BAD_OPCODE = 0x10,
    COMP_BAD_SIZE = 0x13,
    COMP_BAD_COUNT = 0x14,
    COMP_LIST_ALIGN = 0x18,
    COMP_WRITES = 0x80,         /* With COMP_PAGE_FAULT: it was a write. */
};

struct idxd_desc {
    uint32_t pasid;
    uint32_t op_flags;          /* Operation in the highest byte. */
    uint64_t completion;
    uint64_t src;               /* Of descriptors, in a batch. */
    uint64_t dst;
    uint32_t size;              /* Number of descriptors, in a batch. */
    uint16_t interrupt;
    uint16_t unused[13];
};

struct idxd_record {
    uint8_t status;
    uint8_t result;
    uint16_t unused;
    uint32_t done;              /* Bytes, or descriptors. */
    uint64_t fault;
    uint32_t invalid_flags;
    uint32_t unused2[3];
};

_Static_assert(sizeof(struct idxd_desc) == 64, "as hardware has it");
_Static_assert(sizeof(struct idxd_record) == 32, "as hardware has it");

struct wq {
    bool enabled;
    bool draining;              /* Accepts nothing more. */
    uint64_t head, tail;        /* Run freely. */
    struct idxd_desc ring[MAX_WQ_SIZE];

    /* What the engine is at: 'desc', which is one of 'batch' if that is not
     * OP_NOOP. */
    struct idxd_desc desc;
    struct idxd_desc batch;
    uint32_t n_done;            /* Of the batch. */
    uint8_t batch_status;
    bool in_batch;
};

struct idxd {
    bool enabled;
    uint32_t command;           /* That is carried out, or 0, and the queues */
    uint32_t mask;              /* it is about. */
    uint32_t status;            /* CMDSTS. */
    uint64_t error;             /* The first 64 bits of SWERR. */
    bool unmapped;              /* The portal of a kernel's queue is. */
    uint8_t config[REGS_SIZE];  /* Registers as they are. */
    struct wq wqs[MAX_QUEUES];
};

static inline struct idxd *
idxd_state(const struct device *d)
{
    return d->state;
}

static inline uint32_t
idxd_get32(const struct idxd *c, size_t offset)
{
    return *(const uint32_t *) (const void *) &c->config[offset];
}

static inline uint32_t
idxd_wq_get32(const struct idxd *c, unsigned int wq, size_t offset)
{
    return idxd_get32(c, WQCFG + wq * WQCFG_SIZE + offset);
}

/* In idxd_commands.c. */
void idxd_command(struct device *, uint32_t);
void idxd_command_look(struct device *, bool asked);
void idxd_kernel_enable(struct device *);
void idxd_kernel_disable(struct device *);

/* In idxd_model.c. */
void idxd_wq_abort(struct device *, unsigned int wq);
void idxd_wq_show(struct device *, unsigned int wq);

#endif /* idxd_model.h */
