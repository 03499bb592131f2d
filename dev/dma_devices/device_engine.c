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

/* The engine of a device: a thread that carries out what the model picks, and
 * what the control page has to say about that.
 *
 * Each function says who calls it; what is not said to take the lock of the
 * device is called with it. */

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_dmadev.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "dma_devices.h"

/* How often an engine that has nothing to do looks at its control page. */
#define LOOK_NS UINT64_C(1000000)

/* Has the engine look for work.  Also in handlers of signals. */
void
engine_wake(struct device *d)
{
    __atomic_add_fetch(&d->wakeups, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &d->wakeups, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Waits for a call of engine_wake() since 'wakeups' was read, and no longer
 * than 'ns'.  Without the lock. */
static void
engine_wait(struct device *d, uint32_t wakeups, uint64_t ns)
{
    const struct timespec timeout = {
        .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000,
    };

    syscall(SYS_futex, &d->wakeups, FUTEX_WAIT_PRIVATE, wakeups, &timeout,
            NULL, 0);
}

/* The next 'n_copies' of 'q' in order will not be carried out. */
void
engine_forget(struct queue *q, uint64_t n_copies)
{
    count(&q->shared->state.aborted, n_copies);
}

/* Whether the engine may touch memory from now on. */
void
engine_started(struct device *d, bool started)
{
    struct page *page = d->map.page;

    if (started) {
        page->start_ns = monotonic_ns();
    } else {
        page->stop_ns = monotonic_ns();
    }
    __atomic_store_n(&page->started, started, __ATOMIC_RELEASE);
}

/* Whether the device is not to do 'op' now; 'looks' if it is the driver that
 * looks whether it did, which counts. */
bool
engine_refuses(struct device *d, enum op op, bool looks)
{
    struct page_op *p = &d->map.page->ops[op];
    uint32_t error = __atomic_load_n(&p->error, __ATOMIC_ACQUIRE);
    uint32_t times = __atomic_load_n(&p->count, __ATOMIC_RELAXED);

    if (error && times && looks) {
        __atomic_store_n(&p->count, times - 1, __ATOMIC_RELAXED);
        if (times == 1) {
            __atomic_store_n(&p->error, 0, __ATOMIC_RELEASE);
        }
    }
    return error != 0;
}

void
engine_count_op(struct device *d, enum op op)
{
    count(&d->map.page->ops[op].n_calls, 1);
}

/* Looks at what the control page asks of 'q'. */
static void
queue_look(struct queue *q)
{
    const struct page_ctl *ctl = &q->shared->ctl;
    struct page_state *state = &q->shared->state;
    uint64_t generation = __atomic_load_n(&ctl->generation, __ATOMIC_ACQUIRE);

    if (generation != q->seen && !(generation & 1)) {
        struct page_ctl asked = *ctl;

        /* What was read is what was meant if nobody has begun to write. */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&ctl->generation, __ATOMIC_RELAXED)
            != generation) {
            return;
        }
        q->asked = asked;
        q->seen = generation;
        q->n_jobs = 0;
        q->hang_end_ns = (asked.hang_us
                          ? monotonic_ns() + asked.hang_us * 1000
                          : UINT64_MAX);
    }
    if (q->asked.faults & FAULT_HANG && monotonic_ns() >= q->hang_end_ns) {
        q->asked.faults &= ~FAULT_HANG;
    }
    __atomic_store_n(&state->in_force, q->asked.faults, __ATOMIC_RELAXED);
    /* Release: what is done from now on is done as asked. */
    __atomic_store_n(&state->seen, q->seen, __ATOMIC_RELEASE);
}

/* Whether the engine may take something out of 'q' now; lowers '*wait_ns' to
 * when it may. */
static bool
queue_is_due(const struct device *d, struct queue *q, uint64_t *wait_ns)
{
    uint64_t now;

    if (q->asked.faults & FAULT_HANG || q->n_in == q->n_out) {
        return false;
    }
    if (!d->params.latency_ns) {
        return true;
    }
    now = monotonic_ns();
    if (q->n_out >= q->limit) {
        q->limit = q->n_in;
        q->due_ns = now + d->params.latency_ns;
    }
    if (now < q->due_ns) {
        *wait_ns = RTE_MIN(*wait_ns, q->due_ns - now);
        return false;
    }
    return true;
}

/* Picks the next descriptor, of the queues in turn. */
static bool
engine_pick(struct device *d, struct job *job, uint64_t *wait_ns)
{
    for (unsigned int i = 0; i < d->n_queues; i++) {
        queue_look(&d->queues[i]);
    }
    for (unsigned int i = 1; i <= d->n_queues; i++) {
        unsigned int n = (d->last_queue + i) % d->n_queues;
        struct queue *q = &d->queues[n];

        if (queue_is_due(d, q, wait_ns)) {
            memset(job, 0, sizeof *job);
            job->queue = q;
            if (d->model->pick(d, q, job)) {
                const struct page_range *r = &q->asked.error;
                uint64_t seq = ++q->n_jobs;

                if (q->asked.faults & FAULT_ERROR && seq >= r->at
                    && (!r->n || seq - r->at < r->n)) {
                    job->error = JOB_FORCED;
                    job->code = q->asked.error_status;
                }
                d->last_queue = n;
                d->busy = q;
                return true;
            }
        }
    }
    return false;
}

/* Carries out as much of 'job' as the process has in one piece.  Returns
 * whether there was no error. */
static bool
carry_out_part(const struct device *d, struct job *job)
{
    size_t left = job->length - job->done;
    char *dst = iova_to_va(d, job->dst + job->done, &left);
    size_t done = 0;
    char byte;

    if (job->kind == JOB_FILL) {
        unsigned int shift = job->done % 8 * 8;
        uint64_t pattern = job->src >> shift | job->src << (64 - shift) % 64;

        done = dst ? memory_fill(dst, pattern, left) : 0;
    } else {
        const char *src = iova_to_va(d, job->src + job->done, &left);

        done = src && dst ? memory_copy(dst, src, left) : 0;
        if (done < left && (!src || !memory_copy(&byte, src + done, 1))) {
            job->error = JOB_BAD_SRC;
            job->fault = job->src + job->done + done;
        }
    }
    job->done += done;
    if (done < left && !job->error) {
        job->error = JOB_BAD_DST;
        job->fault = job->dst + job->done;
    }
    return !job->error;
}

/* Carries 'job' out.  Without the lock: this is what takes time. */
static void
engine_carry_out(const struct device *d, struct job *job)
{
    struct page_vchan *v = job->queue->shared;
    struct page_access *access;

    if (job->error || job->kind == JOB_NOTHING) {
        return;
    }
    access = page_access_begin(&d->map, v, job->dst, job->src, job->length);
    while (job->done < job->length && carry_out_part(d, job)) {
        continue;
    }
    page_access_end(&d->map, v, access);
    count(&v->state.bytes_moved, job->done);
}

static void *
engine_main(void *d_)
{
    struct device *d = d_;
    bool ending = false;

    while (!ending) {
        uint32_t wakeups = __atomic_load_n(&d->wakeups, __ATOMIC_ACQUIRE);
        uint64_t wait_ns = LOOK_NS;
        struct job job;
        bool found;

        device_lock(d);
        if (d->model->look) {
            d->model->look(d);
        }
        found = engine_pick(d, &job, &wait_ns);
        ending = d->ending;
        device_unlock(d);

        if (found) {
            engine_carry_out(d, &job);
            device_lock(d);
            d->busy = NULL;
            d->model->report(d, &job);
            device_unlock(d);
        } else if (!ending) {
            engine_wait(d, wakeups, wait_ns);
        }
    }
    return NULL;
}

/* Starts the engine of 'd', of which nobody else knows yet.  Takes the lock.
 * Returns 0 or a negative errno. */
int
engine_start(struct device *d)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int error;

    pthread_attr_init(&attr);
    if (d->params.lcore < RTE_MAX_LCORE) {
        rte_cpuset_t cores = rte_lcore_cpuset(d->params.lcore);

        if (CPU_COUNT(&cores)) {
            pthread_attr_setaffinity_np(&attr, sizeof cores, &cores);
        } else {
            MODEL_LOG(WARNING, d->name, "EAL has no core for lcore=%u; its "
                      "engine runs on any", d->params.lcore);
        }
    }

    /* What the process gets is not for an engine, but for what it raises. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&d->thread, &attr, engine_main, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (error) {
        MODEL_LOG(ERR, d->name, "cannot start its engine: %s",
                  rte_strerror(error));
        return -error;
    }
    pthread_setname_np(d->thread, d->name);
    d->has_thread = true;
    return 0;
}

/* Ends the thread, after the descriptor that it is at.  Takes the lock. */
void
engine_stop(struct device *d)
{
    if (d->has_thread) {
        device_lock(d);
        d->ending = true;
        device_unlock(d);
        engine_wake(d);
        pthread_join(d->thread, NULL);
        d->has_thread = false;
    }
}
