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

/* The vchans of the model: the engine's time, the faults that a test asks for
 * and what is called for each burst. */

#include <errno.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_cycles.h>

#include "dma_model.h"

static __rte_always_inline struct desc *
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
static __rte_always_inline bool
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

int
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

int
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
uint16_t
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
static __rte_always_inline uint16_t
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
    struct page_access *access;

    /* Before, so that an access that crashes is in the log. */
    access = page_access_begin(&m->map, v->shared, desc->dst, desc->src,
                               desc->length);
    memcpy(dst, src, desc->length);
    count(&v->state->bytes_moved, desc->length);
    page_access_end(&m->map, v->shared, access);
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
static __rte_always_inline uint16_t
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
static __rte_always_inline uint16_t
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

uint16_t
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

uint16_t
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

int
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
