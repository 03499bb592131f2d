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

/* What the files of the driver share; dma_model.c says what it is. */

#ifndef DMA_MODEL_H
#define DMA_MODEL_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_common.h>
#include <rte_dmadev_pmd.h>
#include <rte_kvargs.h>

#include "dma_model_page.h"

#define MIN_DESC 32
#define MAX_DESC 32768
#define MAX_VCHANS 64
#define MAX_LOG (1 << 20)

/* Time per byte is in TSC ticks with so many binary places: with the slowest
 * bandwidth allowed a copy of any length fits in 64 bits, with the fastest it
 * is off by less than a percent. */
#define TICK_BITS 22

struct desc {
    uint64_t src;
    uint64_t dst;
    uint64_t done;              /* TSC. */
    uint32_t length;
    uint32_t status;            /* Of enum rte_dma_status_code. */
};

struct vchan {
    /* What every call looks at.  'head', 'moved', 'bell' and 'tail' run
     * freely; they are the ring_idx of the next copy to complete, to move the
     * bytes of, to tell the engine of, and to add. */
    struct desc *ring;
    const struct page_ctl *ctl;
    struct page_state *state;
    uint64_t calm;              /* ctl->generation while all is normal, else
                                 * a value that it never has. */
    uint16_t head;
    uint16_t bell;
    uint16_t tail;
    uint16_t n_bad;             /* Copies in the ring that are to fail. */
    uint32_t n_desc;
    bool running;
    bool moving;                /* A thread may be moving bytes. */
    bool bad_counted;           /* That the copy at 'head' failed is. */
    uint64_t queued_bytes;      /* Between 'bell' and 'tail'. */
    uint32_t faults;            /* In force, of enum fault. */

    uint16_t moved;             /* With copy=late only. */
    uint64_t seen;              /* Generation that 'asked' has. */
    uint64_t hang_end;          /* TSC, UINT64_MAX if it has none. */
    struct page_ctl asked;
    uint64_t n_accepted;        /* Copies, since the faults were set. */
    uint64_t n_asked;

    struct page_vchan *shared;  /* What 'ctl' and 'state' are in. */
    struct page_state base;     /* Where rte_dma_stats_get() counts from. */
} __rte_cache_aligned;

struct params {
    uint64_t latency_ns;
    double gbps;                /* HUGE_VAL: no limit. */
    bool late;
    bool count_errors;
    unsigned int n_vchans;
    int numa_id;
    unsigned int max_desc;
    unsigned int log_size;
    unsigned int fail_ops;      /* Bits of enum op. */
    unsigned int faults;        /* Of enum fault. */
    const char *control;        /* Points into the kvargs; or NULL. */
};

struct dma_model {
    uint64_t latency;           /* Ticks. */
    uint64_t byte_ticks;        /* TICK_BITS binary places. */
    struct params params;
    struct page_map map;
    struct page *page;          /* map.page. */
    struct rte_kvargs *kvargs;

    /* End of the last copy of all vchans, the engine's. */
    uint64_t busy_until __rte_cache_aligned;

    struct vchan vchans[];
};

static inline struct dma_model *
model_cast(const struct rte_dma_dev *dev)
{
    return dev->data->dev_private;
}

/* In dma_model_params.c. */
int dma_model_parse_params(const char *name, const struct rte_kvargs *,
                           struct params *);

/* In dma_model_vchan.c: what DPDK calls for a vchan. */
int dma_model_copy(void *m, uint16_t vchan, rte_iova_t src, rte_iova_t dst,
                   uint32_t length, uint64_t flags);
int dma_model_submit(void *m, uint16_t vchan);
uint16_t dma_model_burst_capacity(const void *m, uint16_t vchan);
uint16_t dma_model_completed(void *m, uint16_t vchan, const uint16_t nb_cpls,
                             uint16_t *last_idx, bool *has_error);
uint16_t dma_model_completed_status(void *m, uint16_t vchan,
                                    const uint16_t nb_cpls,
                                    uint16_t *last_idx,
                                    enum rte_dma_status_code *status);
int dma_model_vchan_status(const struct rte_dma_dev *, uint16_t vchan,
                           enum rte_dma_vchan_status *);

/* In dma_model_control.c. */
extern const struct rte_dma_dev_ops dma_model_ops;

#endif /* dma_model.h */
