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

/* The control page: a file that a device, of dma_model or of dma_devices,
 * shares with a test.  The device makes it anew in probe; a test writes 'ops'
 * and 'struct page_ctl' at any time and reads the rest.  ctl.py has the same
 * layout.  All numbers are as the machine has them.
 *
 * Layout: one struct page, then for each vchan one struct page_vchan and
 * 'log_size' times struct page_access. */

#ifndef DMA_MODEL_PAGE_H
#define DMA_MODEL_PAGE_H 1

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <rte_log.h>

#define PAGE_MAGIC UINT64_C(0x4c45444f4d414d44)    /* "DMAMODEL". */
#define PAGE_VERSION 1

enum op {
    OP_INFO,
    OP_CONFIGURE,
    OP_SETUP,
    OP_START,
    OP_STOP,
    OP_CLOSE,
    OP_STATS,
    N_OPS
};

#define OP_BLOCKS UINT32_MAX

struct page_op {
    uint32_t error;             /* Errno that the call fails with, or 0; with
                                 * OP_BLOCKS it does not return until this is
                                 * something else. */
    uint32_t count;             /* How often; 0: until 'error' is 0. */
    uint64_t n_calls;           /* Of stats none are counted. */
};

struct page {
    uint64_t magic;
    uint32_t version;           /* 0 while the page is being made. */
    uint32_t n_vchans;
    uint32_t log_size;
    uint32_t started;           /* The engine may touch memory. */
    int32_t pid;
    uint32_t moves;             /* 1 with copy=late. */
    uint64_t tsc_hz;
    uint64_t start_ns;          /* CLOCK_MONOTONIC of the last success. */
    uint64_t stop_ns;
    uint64_t unused;
    struct page_op ops[8];
};

enum fault {
    FAULT_HANG = 1 << 0,        /* Nothing completes, nothing is moved. */
    FAULT_ERROR = 1 << 1,       /* Copies fail. */
    FAULT_REFUSE = 1 << 2,      /* rte_dma_copy() fails. */
    FAULT_FULL = 1 << 3,        /* No room in the ring. */
    FAULT_ALL = (1 << 4) - 1
};

/* Which of the copies since the fault was set: 'n' from the 'at'th on, which
 * counts from 1; all from there on if 'n' is 0. */
struct page_range {
    uint64_t at;
    uint64_t n;
};

/* What a test asks for.  A test makes 'generation' odd, writes what it wants,
 * and makes it even again, with another value.  To set anything starts all
 * counting anew. */
struct page_ctl {
    uint64_t generation;
    uint32_t faults;            /* Of enum fault. */
    uint32_t refuse_errno;
    uint64_t hang_us;           /* 0: until it is cleared. */
    struct page_range error;
    struct page_range refuse;
    uint32_t error_status;      /* Of enum rte_dma_status_code. */
    uint32_t unused;
};

/* What the device tells.  Written by the thread that uses the vchan. */
struct page_state {
    /* Follows 'generation': what was asked for is in force, and no call from
     * before is still at work.  FAULT_FULL is in force at once. */
    uint64_t seen;
    uint32_t in_force;          /* Of enum fault. */
    uint32_t n_desc;
    uint64_t submitted;         /* Copies.  What is in flight is 'submitted' */
    uint64_t completed;         /* less 'completed' less 'aborted'. */
    uint64_t bytes;             /* Submitted. */
    uint64_t polls;
    uint64_t errors;            /* Copies that failed. */
    uint64_t refused;           /* rte_dma_copy() failed. */
    uint64_t aborted;           /* In flight when the engine was stopped. */
    uint64_t bytes_moved;
    uint64_t n_log;             /* Accesses so far; the log has the last. */
    uint64_t last_ns;           /* CLOCK_MONOTONIC after the last of them. */
    uint64_t unused[4];
};

struct page_vchan {
    struct page_ctl ctl;
    struct page_state state;
};

/* Access number 'seq', which counts from 1, is in log[(seq - 1) % log_size].
 * 'seq' is 0 while the entry is written, 'ns' is 0 until the bytes are
 * moved. */
struct page_access {
    uint64_t seq;
    uint64_t tsc;               /* Before. */
    uint64_t ns;                /* CLOCK_MONOTONIC, after. */
    uint64_t dst;
    uint64_t src;
    uint64_t length;
};

/* A page of a device, mapped. */
struct page_map {
    struct page *page;
    size_t size;
    unsigned int log_size;      /* Entries for each vchan. */
    int fd;                     /* Of the file, or -1. */
};

/* Of the driver that this is part of. */
extern int dma_model_logtype;
#define MODEL_LOG(LEVEL, NAME, FMT, ...)                        \
    rte_log(RTE_LOG_##LEVEL, dma_model_logtype,                 \
            "dma_model: %s: " FMT "\n", NAME, ##__VA_ARGS__)

int page_open(const char *name, const char *path, unsigned int n_vchans,
              unsigned int log_size, struct page_map *);
void page_publish(struct page_map *);
void page_close(struct page_map *);
struct page_vchan *page_vchan(const struct page_map *, unsigned int vchan);
struct page_access *page_access_begin(const struct page_map *,
                                      struct page_vchan *, uint64_t dst,
                                      uint64_t src, uint64_t length);
void page_access_end(const struct page_map *, struct page_vchan *,
                     struct page_access *);

static inline uint64_t
monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* Counters have one writer, and readers in other threads and processes. */
static inline void
count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

_Static_assert(sizeof(struct page) == 192, "as in ctl.py");
_Static_assert(sizeof(struct page_ctl) == 64, "as in ctl.py");
_Static_assert(sizeof(struct page_vchan) == 192, "as in ctl.py");
_Static_assert(sizeof(struct page_access) == 48, "as in ctl.py");

#endif /* dma_model_page.h */
