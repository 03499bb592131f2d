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
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bus_vdev_driver.h>
#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_dmadev_pmd.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_kvargs.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_pause.h>

RTE_LOG_REGISTER(dma_model_logtype, pmd.dma.model, NOTICE);
#define MODEL_LOG(LEVEL, NAME, FMT, ...)                        \
    rte_log(RTE_LOG_##LEVEL, dma_model_logtype,                 \
            "dma_model: %s: " FMT "\n", NAME, ##__VA_ARGS__)

#define MIN_DESC 32
#define MAX_DESC 32768
#define MAX_VCHANS 64
#define MAX_LOG (1 << 20)

/* How long rte_dma_stop() waits for a thread that is moving bytes. */
#define STOP_WAIT_MS 1000

/* Time per byte is in TSC ticks with so many binary places: with the slowest
 * bandwidth allowed a copy of any length fits in 64 bits, with the fastest it
 * is off by less than a percent. */
#define TICK_BITS 22

/* The control page.
 *
 * A file that the device shares with a test.  The device makes it anew in
 * probe; a test writes 'ops' and 'struct page_ctl' at any time and reads the
 * rest.  ctl.py has the same layout.  All numbers are as the machine has
 * them.
 *
 * Layout: one struct page, then for each vchan one struct page_vchan and
 * 'log_size' times struct page_access. */
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

static const char *const op_names[N_OPS] = {
    "info", "configure", "setup", "start", "stop", "close", "stats",
};

struct page_op {
    uint32_t error;             /* Errno that the call fails with, or 0. */
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

_Static_assert(sizeof(struct page) == 192, "as in ctl.py");
_Static_assert(sizeof(struct page_ctl) == 64, "as in ctl.py");
_Static_assert(sizeof(struct page_vchan) == 192, "as in ctl.py");
_Static_assert(sizeof(struct page_access) == 48, "as in ctl.py");

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

    struct page_access *log;
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
    struct page *page;
    size_t page_size;
    int fd;                     /* Of the control page, or -1. */
    struct rte_kvargs *kvargs;

    /* End of the last copy of all vchans, the engine's. */
    uint64_t busy_until __rte_cache_aligned;

    struct vchan vchans[];
};

static uint64_t
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

static inline struct desc *
vchan_desc(const struct vchan *v, uint16_t idx)
{
    return &v->ring[idx & (v->n_desc - 1)];
}

/* The engine's time. */

/* Makes the engine busy for so many ticks from 'now' on, or from when it is
 * free.  Returns when that is.  A doorbell is one piece of work: what several
 * vchans ask for is served in the order of their doorbells. */
static uint64_t
engine_reserve(struct dma_model *m, uint64_t now, uint64_t ticks)
{
    uint64_t busy = __atomic_load_n(&m->busy_until, __ATOMIC_RELAXED);
    uint64_t start;

    if (m->params.n_vchans == 1) {
        start = RTE_MAX(busy, now);
        m->busy_until = start + ticks;
        return start;
    }
    do {
        start = RTE_MAX(busy, now);
    } while (!__atomic_compare_exchange_n(&m->busy_until, &busy,
                                          start + ticks, false,
                                          __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return start;
}

/* Sets when the copies from 'head' up to 'tail', of 'bytes' in all, are
 * done. */
static void
vchan_schedule(struct dma_model *m, struct vchan *v, uint16_t head,
               uint16_t tail, uint64_t bytes, uint64_t now)
{
    uint64_t work = 0;
    uint64_t start;

    start = engine_reserve(m, now, (bytes * m->byte_ticks) >> TICK_BITS);
    for (uint16_t idx = head; idx != tail; idx++) {
        struct desc *desc = vchan_desc(v, idx);

        work += desc->length * m->byte_ticks;
        desc->done = start + (work >> TICK_BITS) + m->latency;
    }
}

/* Has an engine that hung begin at 'now' with all that is in flight. */
static void
vchan_resume(struct dma_model *m, struct vchan *v, uint64_t now)
{
    uint64_t bytes = 0;

    if (m->params.n_vchans == 1) {
        /* Whatever it was busy with is what is in flight. */
        m->busy_until = 0;
    }
    for (uint16_t idx = v->head; idx != v->bell; idx++) {
        bytes += vchan_desc(v, idx)->length;
    }
    vchan_schedule(m, v, v->head, v->bell, bytes, now);
}

/* Faults. */

/* All that the hot path pays for faults. */
static inline bool
vchan_disturbed(const struct vchan *v)
{
    return unlikely(__atomic_load_n(&v->ctl->generation, __ATOMIC_RELAXED)
                    != v->calm
                    || !__atomic_load_n(&v->running, __ATOMIC_RELAXED));
}

static void
vchan_set_faults(struct vchan *v, uint32_t faults)
{
    v->faults = faults;
    v->calm = faults ? UINT64_MAX : v->seen;
    __atomic_store_n(&v->state->in_force, faults, __ATOMIC_RELAXED);
}

/* Takes over what a test has asked for since the last time. */
static void
vchan_read_ctl(struct dma_model *m, struct vchan *v, uint64_t now)
{
    uint64_t generation = __atomic_load_n(&v->ctl->generation,
                                          __ATOMIC_ACQUIRE);
    bool was_hung = v->faults & FAULT_HANG;
    struct page_ctl asked;

    if (generation == v->seen || generation & 1) {
        return;
    }
    asked = *v->ctl;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&v->ctl->generation, __ATOMIC_RELAXED)
        != generation) {
        /* It is being written again: the next call sees it. */
        return;
    }

    v->asked = asked;
    v->seen = generation;
    v->n_accepted = v->n_asked = 0;
    v->hang_end = UINT64_MAX;
    if (asked.hang_us && asked.hang_us < UINT64_MAX / rte_get_tsc_hz()) {
        v->hang_end = now + asked.hang_us * rte_get_tsc_hz() / US_PER_S;
    }
    vchan_set_faults(v, asked.faults & FAULT_ALL);
    if (was_hung && !(asked.faults & FAULT_HANG)) {
        vchan_resume(m, v, now);
    }
    __atomic_store_n(&v->state->seen, generation, __ATOMIC_RELEASE);
}

/* Called by the thread that uses the vchan, when vchan_disturbed().  Returns
 * the faults in force. */
static uint32_t
vchan_attend(struct dma_model *m, struct vchan *v)
{
    uint64_t now = rte_rdtsc();

    vchan_read_ctl(m, v, now);
    if (v->faults & FAULT_HANG && now >= v->hang_end) {
        vchan_set_faults(v, v->faults & ~FAULT_HANG);
        vchan_resume(m, v, v->hang_end);
    }
    return v->faults;
}

/* Whether the 'i'th copy is in 'range'; clears 'fault' after the last that
 * is. */
static bool
vchan_hits(struct vchan *v, const struct page_range *range, uint64_t i,
           enum fault fault)
{
    uint64_t at = RTE_MAX(range->at, UINT64_C(1));

    if (range->n && i - at >= range->n - 1 && i >= at) {
        vchan_set_faults(v, v->faults & ~fault);
    }
    return i >= at;
}

/* Returns the errno to fail with, if 'op' is to fail, else 0. */
static int
model_op(struct dma_model *m, enum op op)
{
    struct page_op *p = &m->page->ops[op];
    uint32_t error = __atomic_load_n(&p->error, __ATOMIC_ACQUIRE);
    uint32_t times = __atomic_load_n(&p->count, __ATOMIC_RELAXED);

    if (op != OP_STATS) {
        /* Any thread asks for those, at any rate. */
        count(&p->n_calls, 1);
    }
    if (error && times) {
        __atomic_store_n(&p->count, times - 1, __ATOMIC_RELAXED);
        if (times == 1) {
            __atomic_store_n(&p->error, 0, __ATOMIC_RELEASE);
        }
    }
    return error;
}

/* The hot path. */

static void
vchan_ring_bell(struct dma_model *m, struct vchan *v)
{
    uint16_t n = v->tail - v->bell;

    if (n) {
        /* When it hangs, vchan_resume() does that. */
        if (!(v->faults & FAULT_HANG)) {
            vchan_schedule(m, v, v->bell, v->tail, v->queued_bytes,
                           rte_rdtsc());
        }
        count(&v->state->submitted, n);
        count(&v->state->bytes, v->queued_bytes);
        v->queued_bytes = 0;
        v->bell = v->tail;
    }
}

static int
dma_model_copy(void *m_, uint16_t vchan, rte_iova_t src, rte_iova_t dst,
               uint32_t length, uint64_t flags)
{
    struct dma_model *m = m_;
    struct vchan *v = &m->vchans[vchan];
    uint32_t status = RTE_DMA_STATUS_SUCCESSFUL;
    uint16_t idx = v->tail;
    struct desc *desc;

    if (vchan_disturbed(v)) {
        uint32_t faults = vchan_attend(m, v);

        if (!__atomic_load_n(&v->running, __ATOMIC_RELAXED)) {
            return -EIO;
        }
        if (faults & FAULT_REFUSE
            && vchan_hits(v, &v->asked.refuse, ++v->n_asked, FAULT_REFUSE)) {
            count(&v->state->refused, 1);
            return v->asked.refuse_errno ? -(int) v->asked.refuse_errno : -EIO;
        }
        if (faults & FAULT_FULL) {
            count(&v->state->refused, 1);
            return -ENOSPC;
        }
        if (faults & FAULT_ERROR && (uint16_t) (idx - v->head) < v->n_desc
            && vchan_hits(v, &v->asked.error, ++v->n_accepted, FAULT_ERROR)) {
            status = (v->asked.error_status ? v->asked.error_status
                      : RTE_DMA_STATUS_ERROR_UNKNOWN);
            v->n_bad++;
        }
    }
    if (unlikely((uint16_t) (idx - v->head) >= v->n_desc)) {
        count(&v->state->refused, 1);
        return -ENOSPC;
    }

    desc = vchan_desc(v, idx);
    desc->src = src;
    desc->dst = dst;
    desc->length = length;
    desc->status = status;
    v->queued_bytes += length;
    __atomic_store_n(&v->tail, (uint16_t) (idx + 1), __ATOMIC_RELAXED);
    if (flags & RTE_DMA_OP_FLAG_SUBMIT) {
        vchan_ring_bell(m, v);
    }
    return idx;
}

static int
dma_model_submit(void *m_, uint16_t vchan)
{
    struct dma_model *m = m_;
    struct vchan *v = &m->vchans[vchan];

    if (vchan_disturbed(v)) {
        vchan_attend(m, v);
        if (!__atomic_load_n(&v->running, __ATOMIC_RELAXED)) {
            return -EIO;
        }
    }
    vchan_ring_bell(m, v);
    return 0;
}

/* Any thread. */
static uint16_t
dma_model_burst_capacity(const void *m_, uint16_t vchan)
{
    const struct dma_model *m = m_;
    const struct vchan *v = &m->vchans[vchan];
    uint16_t used;

    /* From the page itself: while nothing is in flight, nobody may call
     * what would note that there is room again. */
    if (vchan_disturbed(v)
        && (!__atomic_load_n(&v->running, __ATOMIC_RELAXED)
            || (__atomic_load_n(&v->ctl->faults, __ATOMIC_RELAXED)
                & FAULT_FULL))) {
        return 0;
    }
    used = (__atomic_load_n(&v->tail, __ATOMIC_RELAXED)
            - __atomic_load_n(&v->head, __ATOMIC_RELAXED));
    return v->n_desc - used;
}

/* Returns how many copies, 'max' at most, are done. */
static inline uint16_t
vchan_n_done(const struct vchan *v, uint16_t max)
{
    uint16_t n = v->bell - v->head;
    uint64_t now;
    uint16_t i;

    n = RTE_MIN(n, max);
    if (!n) {
        return 0;
    }
    /* In order: if the last is, all are. */
    now = rte_rdtsc();
    if (vchan_desc(v, v->head + n - 1)->done <= now) {
        return n;
    }
    for (i = 0; i < n - 1 && vchan_desc(v, v->head + i)->done <= now; i++) {
        continue;
    }
    return i;
}

static void
vchan_move_one(const struct dma_model *m, struct vchan *v,
               const struct desc *desc)
{
    void *dst = (void *) (uintptr_t) desc->dst;
    const void *src = (const void *) (uintptr_t) desc->src;
    struct page_access *access = NULL;

    /* Before, so that an access that crashes is in the log. */
    if (v->log) {
        uint64_t seq = v->state->n_log + 1;

        access = &v->log[(seq - 1) & (m->params.log_size - 1)];
        __atomic_store_n(&access->seq, 0, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        access->tsc = rte_rdtsc();
        access->ns = 0;
        access->dst = desc->dst;
        access->src = desc->src;
        access->length = desc->length;
        __atomic_store_n(&access->seq, seq, __ATOMIC_RELEASE);
        __atomic_store_n(&v->state->n_log, seq, __ATOMIC_RELEASE);
    }
    memcpy(dst, src, desc->length);
    count(&v->state->bytes_moved, desc->length);
    if (m->fd >= 0) {
        uint64_t ns = monotonic_ns();

        __atomic_store_n(&v->state->last_ns, ns, __ATOMIC_RELAXED);
        if (access) {
            __atomic_store_n(&access->ns, ns, __ATOMIC_RELEASE);
        }
    }
}

/* Moves the bytes of the next 'n' copies, as far as that was not done before,
 * unless the engine was stopped: then returns false. */
static bool
vchan_move(const struct dma_model *m, struct vchan *v, uint16_t n)
{
    bool running;

    /* Either this sees that the engine is stopped, or dma_model_stop() sees
     * that bytes are being moved and waits. */
    __atomic_store_n(&v->moving, true, __ATOMIC_SEQ_CST);
    running = __atomic_load_n(&v->running, __ATOMIC_SEQ_CST);
    while (running && (uint16_t) (v->moved - v->head) < n) {
        const struct desc *desc = vchan_desc(v, v->moved++);

        if (desc->status == RTE_DMA_STATUS_SUCCESSFUL) {
            vchan_move_one(m, v, desc);
        }
    }
    __atomic_store_n(&v->moving, false, __ATOMIC_RELEASE);
    return running;
}

/* Completes the next 'n' copies, of which 'n_bad' failed.  Returns how many
 * it were: none if the engine was stopped. */
static inline uint16_t
vchan_complete(const struct dma_model *m, struct vchan *v, uint16_t n,
               uint16_t n_bad, uint16_t *last_idx)
{
    if (n && (!m->params.late || vchan_move(m, v, n))) {
        count(&v->state->completed, n);
        if (unlikely(n_bad)) {
            count(&v->state->errors, n_bad - v->bad_counted);
            v->bad_counted = false;
            v->n_bad -= n_bad;
        }
        __atomic_store_n(&v->head, (uint16_t) (v->head + n),
                         __ATOMIC_RELAXED);
    } else {
        n = 0;
    }
    *last_idx = v->head - 1;
    return n;
}

/* Returns how many of the copies of the vchan the engine has done, as far as
 * it is in a state to say so. */
static inline uint16_t
vchan_poll(struct dma_model *m, struct vchan *v, uint16_t max)
{
    count(&v->state->polls, 1);
    if (vchan_disturbed(v)
        && (vchan_attend(m, v) & FAULT_HANG
            || !__atomic_load_n(&v->running, __ATOMIC_RELAXED))) {
        return 0;
    }
    return vchan_n_done(v, max);
}

static uint16_t
dma_model_completed(void *m_, uint16_t vchan, const uint16_t nb_cpls,
                    uint16_t *last_idx, bool *has_error)
{
    struct dma_model *m = m_;
    struct vchan *v = &m->vchans[vchan];
    uint16_t n = vchan_poll(m, v, nb_cpls);
    uint16_t n_bad = 0;

    if (unlikely(n && v->n_bad)) {
        uint16_t i;

        for (i = 0; i < n; i++) {
            if (vchan_desc(v, v->head + i)->status) {
                n_bad++;
                if (!m->params.count_errors) {
                    break;
                }
            }
        }
        *has_error = n_bad > 0;
        if (n_bad && !m->params.count_errors) {
            /* The failure is counted when it is found: not every user asks
             * for the status. */
            if (!v->bad_counted) {
                count(&v->state->errors, 1);
                v->bad_counted = true;
            }
            n = i;
            n_bad = 0;
        }
    }
    return vchan_complete(m, v, n, n_bad, last_idx);
}

static uint16_t
dma_model_completed_status(void *m_, uint16_t vchan, const uint16_t nb_cpls,
                           uint16_t *last_idx,
                           enum rte_dma_status_code *status)
{
    struct dma_model *m = m_;
    struct vchan *v = &m->vchans[vchan];
    uint16_t n = vchan_poll(m, v, nb_cpls);
    uint16_t n_bad = 0;

    for (uint16_t i = 0; i < n; i++) {
        status[i] = vchan_desc(v, v->head + i)->status;
        n_bad += status[i] != RTE_DMA_STATUS_SUCCESSFUL;
    }
    return vchan_complete(m, v, n, n_bad, last_idx);
}

/* Control. */

static struct dma_model *
model_cast(const struct rte_dma_dev *dev)
{
    return dev->data->dev_private;
}

static int
dma_model_info_get(const struct rte_dma_dev *dev, struct rte_dma_info *info,
                   uint32_t info_sz __rte_unused)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_INFO);

    if (error) {
        return -error;
    }
    info->dev_capa = (RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_SVA
                      | RTE_DMA_CAPA_OPS_COPY);
    info->max_vchans = m->params.n_vchans;
    info->max_desc = m->params.max_desc;
    info->min_desc = MIN_DESC;
    return 0;
}

static int
dma_model_configure(struct rte_dma_dev *dev,
                    const struct rte_dma_conf *conf __rte_unused,
                    uint32_t conf_sz __rte_unused)
{
    return -model_op(model_cast(dev), OP_CONFIGURE);
}

static int
dma_model_vchan_setup(struct rte_dma_dev *dev, uint16_t vchan,
                      const struct rte_dma_vchan_conf *conf,
                      uint32_t conf_sz __rte_unused)
{
    struct dma_model *m = model_cast(dev);
    struct vchan *v = &m->vchans[vchan];
    int error = model_op(m, OP_SETUP);

    if (error) {
        return -error;
    }
    if (!rte_is_power_of_2(conf->nb_desc)) {
        MODEL_LOG(ERR, dev->data->dev_name, "a ring of %u descriptors was "
                  "asked for; it must be a power of two", conf->nb_desc);
        return -EINVAL;
    }
    if (v->n_desc != conf->nb_desc) {
        rte_free(v->ring);
        v->n_desc = 0;
        v->ring = rte_zmalloc_socket("dma_model ring",
                                     conf->nb_desc * sizeof *v->ring,
                                     RTE_CACHE_LINE_SIZE, SOCKET_ID_ANY);
        if (!v->ring) {
            MODEL_LOG(ERR, dev->data->dev_name, "no memory for a ring of %u "
                      "descriptors", conf->nb_desc);
            return -ENOMEM;
        }
        v->n_desc = conf->nb_desc;
    }
    v->state->n_desc = v->n_desc;
    return 0;
}

static int
dma_model_start(struct rte_dma_dev *dev)
{
    struct dma_model *m = model_cast(dev);
    unsigned int n_vchans = dev->data->dev_conf.nb_vchans;
    int error = model_op(m, OP_START);

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < n_vchans; i++) {
        if (!m->vchans[i].ring) {
            MODEL_LOG(ERR, dev->data->dev_name, "vchan %u was not set up", i);
            return -EINVAL;
        }
    }

    m->busy_until = 0;
    for (unsigned int i = 0; i < n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        v->head = v->moved = v->bell = v->tail = 0;
        v->n_bad = 0;
        v->queued_bytes = 0;
        v->bad_counted = false;
        v->base = *v->state;
        __atomic_store_n(&v->running, true, __ATOMIC_RELEASE);
    }
    m->page->start_ns = monotonic_ns();
    __atomic_store_n(&m->page->started, 1, __ATOMIC_RELEASE);
    return 0;
}

/* What is in flight is forgotten: its bytes are never moved. */
static int
dma_model_stop(struct rte_dma_dev *dev)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_STOP);
    uint64_t deadline;

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        __atomic_store_n(&m->vchans[i].running, false, __ATOMIC_SEQ_CST);
    }
    deadline = rte_rdtsc() + rte_get_tsc_hz() / 1000 * STOP_WAIT_MS;
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        while (__atomic_load_n(&v->moving, __ATOMIC_SEQ_CST)) {
            if (rte_rdtsc() > deadline) {
                MODEL_LOG(ERR, dev->data->dev_name, "vchan %u did not stop: a "
                          "thread has been moving bytes for %d ms", i,
                          STOP_WAIT_MS);
                return -EBUSY;
            }
            rte_pause();
        }
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        count(&v->state->aborted, (uint16_t) (v->bell - v->head));
    }
    m->page->stop_ns = monotonic_ns();
    __atomic_store_n(&m->page->started, 0, __ATOMIC_RELEASE);
    return 0;
}

static void
model_unmap(struct dma_model *m)
{
    if (m->page) {
        munmap(m->page, m->page_size);
    }
    /* And with it the lock. */
    if (m->fd >= 0) {
        close(m->fd);
    }
}

static int
dma_model_close(struct rte_dma_dev *dev)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_CLOSE);

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        rte_free(m->vchans[i].ring);
    }
    model_unmap(m);
    rte_kvargs_free(m->kvargs);
    return 0;
}

static int
dma_model_vchan_status(const struct rte_dma_dev *dev, uint16_t vchan,
                       enum rte_dma_vchan_status *status)
{
    struct dma_model *m = model_cast(dev);
    struct vchan *v = &m->vchans[vchan];
    uint16_t n = v->bell - v->head;
    bool active = false;

    if (n && __atomic_load_n(&v->running, __ATOMIC_RELAXED)) {
        active = (vchan_disturbed(v) && vchan_attend(m, v) & FAULT_HANG)
                 || vchan_n_done(v, n) < n;
        if (!active && m->params.late) {
            /* Who is told that all is done may look at it. */
            vchan_move(m, v, n);
        }
    }
    *status = active ? RTE_DMA_VCHAN_ACTIVE : RTE_DMA_VCHAN_IDLE;
    return 0;
}

static uint64_t
since(const uint64_t *counter, uint64_t base)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED) - base;
}

static int
dma_model_stats_get(const struct rte_dma_dev *dev, uint16_t vchan,
                    struct rte_dma_stats *stats,
                    uint32_t stats_sz __rte_unused)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_STATS);

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        if (vchan == i || vchan == RTE_DMA_ALL_VCHAN) {
            const struct vchan *v = &m->vchans[i];
            const struct page_state *base = &v->base;

            /* In this order no more are seen as completed than as submitted.
             */
            stats->errors += since(&v->state->errors, base->errors);
            stats->completed += since(&v->state->completed, base->completed);
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            stats->submitted += since(&v->state->submitted, base->submitted);
        }
    }
    return 0;
}

static int
dma_model_stats_reset(struct rte_dma_dev *dev, uint16_t vchan)
{
    struct dma_model *m = model_cast(dev);

    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        if (vchan == i || vchan == RTE_DMA_ALL_VCHAN) {
            m->vchans[i].base = *m->vchans[i].state;
        }
    }
    return 0;
}

static int
dma_model_dump(const struct rte_dma_dev *dev, FILE *f)
{
    const struct dma_model *m = model_cast(dev);
    const struct params *p = &m->params;

    fprintf(f, "  latency: %.3f us\n  bandwidth: %g Gb/s\n  bytes are %s\n"
            "  failed copies: %s\n  control page: %s\n",
            p->latency_ns / 1e3, p->gbps,
            p->late ? "moved at completion" : "not moved",
            p->count_errors ? "counted as completed" : "reported on request",
            p->control ? p->control : "none");
    for (unsigned int i = 0; i < p->n_vchans; i++) {
        const struct vchan *v = &m->vchans[i];
        const struct page_state *s = v->state;

        fprintf(f, "  vchan %u: ring of %u descriptors, %u used, %u in "
                "flight\n", i, v->n_desc, (uint16_t) (v->tail - v->head),
                (uint16_t) (v->bell - v->head));
        fprintf(f, "    submitted: %"PRIu64" copies, %"PRIu64" bytes\n",
                s->submitted, s->bytes);
        fprintf(f, "    completed: %"PRIu64", of which %"PRIu64" failed; "
                "refused: %"PRIu64"; aborted: %"PRIu64"\n", s->completed,
                s->errors, s->refused, s->aborted);
        fprintf(f, "    faults:%s%s%s%s%s\n", v->faults ? "" : " none",
                v->faults & FAULT_HANG ? " hang" : "",
                v->faults & FAULT_ERROR ? " error" : "",
                v->faults & FAULT_REFUSE ? " refuse" : "",
                v->faults & FAULT_FULL ? " full" : "");
    }
    return 0;
}

static const struct rte_dma_dev_ops dma_model_ops = {
    .dev_info_get = dma_model_info_get,
    .dev_configure = dma_model_configure,
    .dev_start = dma_model_start,
    .dev_stop = dma_model_stop,
    .dev_close = dma_model_close,
    .vchan_setup = dma_model_vchan_setup,
    .vchan_status = dma_model_vchan_status,
    .stats_get = dma_model_stats_get,
    .stats_reset = dma_model_stats_reset,
    .dev_dump = dma_model_dump,
};

/* Parameters.
 *
 * Each of these sets what 'value' says in 'params', or returns what the value
 * should have been. */

static const char *
parse_latency(const char *value, struct params *params)
{
    char *end;
    double us = strtod(value, &end);

    if (end == value || *end || !(us >= 0 && us <= 1e7)) {
        return "microseconds from 0 to 10000000";
    }
    params->latency_ns = us * 1000 + .5;
    return NULL;
}

static const char *
parse_gbps(const char *value, struct params *params)
{
    char *end;
    double gbps = strtod(value, &end);

    if (!strcmp(value, "inf")) {
        params->gbps = HUGE_VAL;
    } else if (end == value || *end || !(gbps >= .1 && gbps <= 1e5)) {
        return "gigabits a second from .1 to 100000, or inf";
    } else {
        params->gbps = gbps;
    }
    return NULL;
}

static const char *
parse_copy(const char *value, struct params *params)
{
    params->late = !strcmp(value, "late");
    return params->late || !strcmp(value, "none") ? NULL : "late or none";
}

static const char *
parse_errors(const char *value, struct params *params)
{
    params->count_errors = !strcmp(value, "count");
    return (params->count_errors || !strcmp(value, "stop")
            ? NULL : "stop or count");
}

static bool
parse_int(const char *value, long int min, long int max, long int *n)
{
    char *end;

    errno = 0;
    *n = strtol(value, &end, 10);
    return end != value && !*end && !errno && *n >= min && *n <= max;
}

static const char *
parse_vchans(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, 1, MAX_VCHANS, &n)) {
        return "a number from 1 to " RTE_STR(MAX_VCHANS);
    }
    params->n_vchans = n;
    return NULL;
}

static const char *
parse_numa(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, -1, RTE_MAX_NUMA_NODES - 1, &n)) {
        return "a number from -1, which is unknown, and below "
               RTE_STR(RTE_MAX_NUMA_NODES);
    }
    params->numa_id = n;
    return NULL;
}

static const char *
parse_max_desc(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, MIN_DESC, MAX_DESC, &n) || !rte_is_power_of_2(n)) {
        return "a power of two from " RTE_STR(MIN_DESC) " to "
               RTE_STR(MAX_DESC);
    }
    params->max_desc = n;
    return NULL;
}

static const char *
parse_log(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, 0, MAX_LOG, &n)
        || (n && !rte_is_power_of_2(n))) {
        return "0, or a power of two up to 1048576";
    }
    params->log_size = n;
    return NULL;
}

static const char *
parse_control(const char *value, struct params *params)
{
    if (value[0] != '/') {
        return "an absolute path";
    }
    params->control = value;
    return NULL;
}

static const struct {
    const char *name;
    enum fault fault;
} fault_names[] = {
    { "hang", FAULT_HANG },
    { "error", FAULT_ERROR },
    { "copy", FAULT_REFUSE },
    { "full", FAULT_FULL },
};

static const char *
parse_fail(const char *value, struct params *params)
{
    size_t n;

    for (const char *s = value; *s; s += n + (s[n] == '+')) {
        bool known = false;

        n = strcspn(s, "+");
        for (size_t i = 0; i < N_OPS; i++) {
            if (strlen(op_names[i]) == n && !strncmp(op_names[i], s, n)) {
                params->fail_ops |= 1u << i;
                known = true;
            }
        }
        for (size_t i = 0; i < RTE_DIM(fault_names); i++) {
            const char *name = fault_names[i].name;

            if (strlen(name) == n && !strncmp(name, s, n)) {
                params->faults |= fault_names[i].fault;
                known = true;
            }
        }
        if (!known) {
            value = "";
            break;
        }
    }
    return (*value ? NULL
            : "of info, configure, setup, start, stop, close, stats, copy, "
              "error, full and hang, with + between them");
}

static const struct {
    const char *key;
    const char *(*parse)(const char *value, struct params *);
} keys[] = {
    { "latency_us", parse_latency },
    { "gbps", parse_gbps },
    { "copy", parse_copy },
    { "vchans", parse_vchans },
    { "numa", parse_numa },
    { "max_desc", parse_max_desc },
    { "errors", parse_errors },
    { "fail", parse_fail },
    { "control", parse_control },
    { "log", parse_log },
};

/* Parses one parameter.  'seen' has the bits of those that were before. */
static int
parse_pair(const char *name, const struct rte_kvargs_pair *pair,
           unsigned int *seen, struct params *params)
{
    for (size_t i = 0; i < RTE_DIM(keys); i++) {
        const char *expected;

        if (strcmp(pair->key, keys[i].key)) {
            continue;
        }
        if (*seen & 1u << i) {
            MODEL_LOG(ERR, name, "%s=%s: %s is given twice; leave one out",
                      pair->key, pair->value ? pair->value : "", pair->key);
            return -EINVAL;
        }
        *seen |= 1u << i;
        expected = keys[i].parse(pair->value ? pair->value : "", params);
        if (expected) {
            MODEL_LOG(ERR, name, "%s=%s: wrong value; give %s", pair->key,
                      pair->value ? pair->value : "", expected);
            return -EINVAL;
        }
        return 0;
    }
    MODEL_LOG(ERR, name, "%s=%s: there is no such parameter; there are "
              "latency_us, gbps, copy, vchans, numa, max_desc, errors, fail, "
              "control and log", pair->key, pair->value ? pair->value : "");
    return -EINVAL;
}

static int
parse_params(const char *name, const struct rte_kvargs *kvargs,
             struct params *params)
{
    unsigned int seen = 0;
    int error = 0;

    for (unsigned int i = 0; !error && i < kvargs->count; i++) {
        error = parse_pair(name, &kvargs->pairs[i], &seen, params);
    }
    return error;
}

/* Opens the control page, makes it 'size' bytes large and sets 'm->fd'. */
static int
control_open(const char *name, struct dma_model *m, size_t size)
{
    const char *path = m->params.control;
    uint64_t magic = 0;
    bool old;
    struct stat st;
    int error;

    m->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                 0600);
    if (m->fd < 0 || fstat(m->fd, &st)) {
        error = errno;
        MODEL_LOG(ERR, name, "control=%s: cannot open it (%s); give a path in "
                  "a directory that can be written, of a file that is new or "
                  "a control page", path, rte_strerror(error));
        return -error;
    }
    if (flock(m->fd, LOCK_EX | LOCK_NB)) {
        MODEL_LOG(ERR, name, "control=%s: another device is using it; give "
                  "each its own", path);
        return -EBUSY;
    }
    /* A page that a test has mapped stays what it is: the same file, and not
     * shorter.  One with no more than the magic number was never made. */
    old = st.st_size > (off_t) sizeof magic;
    if (!S_ISREG(st.st_mode)
        || (st.st_size && (pread(m->fd, &magic, sizeof magic, 0)
                           != sizeof magic || magic != PAGE_MAGIC))) {
        MODEL_LOG(ERR, name, "control=%s: it is there and no control page; "
                  "remove it or give another path", path);
        return -EEXIST;
    }
    if (old && (size_t) st.st_size != size) {
        MODEL_LOG(ERR, name, "control=%s: it is the page of a device with "
                  "another number of vchans or log entries; remove it or give "
                  "another path", path);
        return -EEXIST;
    }
    /* Not ftruncate(): where the file system is full, writing to the page
     * would end the process. */
    magic = PAGE_MAGIC;
    error = (pwrite(m->fd, &magic, sizeof magic, 0) != sizeof magic ? ENOSPC
             : posix_fallocate(m->fd, 0, size));
    if (error) {
        MODEL_LOG(ERR, name, "control=%s: cannot make it %zu bytes large "
                  "(%s); free some space or give another path", path, size,
                  rte_strerror(error));
        if (!old) {
            unlink(path);
        }
    }
    return -error;
}

static void
page_init(struct dma_model *m, size_t vchan_size)
{
    const struct params *p = &m->params;
    struct page *page = m->page;

    __atomic_store_n(&page->version, 0, __ATOMIC_RELEASE);
    /* The magic number stays: whoever is killed here leaves a page. */
    memset((char *) page + sizeof page->magic, 0,
           m->page_size - sizeof page->magic);
    page->n_vchans = p->n_vchans;
    page->log_size = p->log_size;
    page->pid = getpid();
    page->moves = p->late;
    page->tsc_hz = rte_get_tsc_hz();
    for (size_t i = 0; i < N_OPS; i++) {
        page->ops[i].error = p->fail_ops & 1u << i ? EIO : 0;
    }
    for (size_t i = 0; i < p->n_vchans; i++) {
        struct page_vchan *pv = (void *) ((char *) (page + 1)
                                          + i * vchan_size);
        struct vchan *v = &m->vchans[i];

        pv->ctl.faults = p->faults;
        pv->ctl.generation = p->faults ? 2 : 0;
        v->ctl = &pv->ctl;
        v->state = &pv->state;
        v->log = p->log_size ? (struct page_access *) (pv + 1) : NULL;
    }
    __atomic_store_n(&page->version, PAGE_VERSION, __ATOMIC_RELEASE);
}

/* Maps the control page, or memory of our own if there is to be none. */
static int
model_map(const char *name, struct dma_model *m)
{
    size_t vchan_size;
    void *p;

    if (!m->params.control || !m->params.late) {
        m->params.log_size = 0;
    }
    vchan_size = (sizeof(struct page_vchan)
                  + m->params.log_size * sizeof(struct page_access));
    vchan_size = RTE_ALIGN_CEIL(vchan_size, (size_t) RTE_CACHE_LINE_SIZE);
    m->page_size = sizeof(struct page) + m->params.n_vchans * vchan_size;

    if (m->params.control) {
        int error = control_open(name, m, m->page_size);

        if (error) {
            return error;
        }
    }
    p = mmap(NULL, m->page_size, PROT_READ | PROT_WRITE,
             m->fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, m->fd, 0);
    if (p == MAP_FAILED) {
        MODEL_LOG(ERR, name, "cannot map %zu bytes: %s", m->page_size,
                  rte_strerror(errno));
        return -ENOMEM;
    }
    m->page = p;
    page_init(m, vchan_size);
    return 0;
}

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
    m->fd = -1;
    m->latency = params->latency_ns * (rte_get_tsc_hz() / 1e9);
    m->byte_ticks = (isinf(params->gbps) ? 0
                     : rte_get_tsc_hz() * 8. / (params->gbps * 1e9)
                       * (1 << TICK_BITS));
    error = model_map(name, m);
    if (error) {
        model_unmap(m);
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
    error = parse_params(name, kvargs, &params);
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
