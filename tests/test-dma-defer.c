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

/* Tests of the deferred-work queue, lib/dma-defer-queue.h. */

#undef NDEBUG
#include <config.h>

#include "dma-defer-queue.h"
#include "dma-test.h"
#include "ovstest.h"
#include "random.h"
#include "util.h"

#define N_JOBS 40

/* A node with work to do. */
struct job {
    struct dma_defer_node node;
    unsigned int left;          /* Visits after which it is done. */
    struct job *push[2];        /* What a visit pushes. */
};

/* A queue, the jobs that can be in it, and which were visited in what
 * order. */
struct bench {
    struct dma_defer_queue q;
    struct job jobs[N_JOBS];
    struct job *visits[N_JOBS * 4];
    size_t n_visits;
};

static void
bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    dma_defer_init(&b->q);
    for (size_t i = 0; i < N_JOBS; i++) {
        dma_defer_node_init(&b->jobs[i].node);
        b->jobs[i].left = UINT_MAX;
    }
}

static bool
visit(struct dma_defer_node *node, void *bench_)
{
    struct job *job = CONTAINER_OF(node, struct job, node);
    struct bench *b = bench_;

    /* Work that is done must not be in the queue. */
    ovs_assert(job->left);
    ovs_assert(b->n_visits < ARRAY_SIZE(b->visits));
    b->visits[b->n_visits++] = job;
    for (size_t i = 0; i < ARRAY_SIZE(job->push); i++) {
        if (job->push[i]) {
            dma_defer_push(&b->q, &job->push[i]->node);
        }
    }
    if (job->left != UINT_MAX) {
        job->left--;
    }
    return !job->left;
}

static void
push(struct bench *b, size_t i)
{
    ovs_assert(dma_defer_push(&b->q, &b->jobs[i].node));
}

/* Runs the queue once and checks that exactly the 'n' jobs with the numbers in
 * 'expected' are visited, in that order. */
static void
check_run(struct bench *b, const int *expected, size_t n)
{
    b->n_visits = 0;
    dma_defer_run(&b->q, visit, b);
    ovs_assert(b->n_visits == n);
    for (size_t i = 0; i < n; i++) {
        ovs_assert(b->visits[i] == &b->jobs[expected[i]]);
    }
}

#define CHECK_RUN(BENCH, ...)                               \
    check_run(BENCH, (const int[]) { __VA_ARGS__ },         \
              ARRAY_SIZE(((const int[]) { __VA_ARGS__ })))

static void
check_empty(struct bench *b)
{
    ovs_assert(dma_defer_is_empty(&b->q));
    for (size_t i = 0; i < N_JOBS; i++) {
        ovs_assert(!dma_defer_is_queued(&b->jobs[i].node));
    }
    check_run(b, NULL, 0);
}

static void
test_empty_queue(void)
{
    struct bench b;

    bench_init(&b);
    check_empty(&b);
    dma_defer_clear(&b.q);
    check_empty(&b);
}

static void
test_queued_once(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 3);
    ovs_assert(dma_defer_is_queued(&b.jobs[3].node));
    ovs_assert(!dma_defer_is_empty(&b.q));
    for (int i = 0; i < 1000; i++) {
        ovs_assert(!dma_defer_push(&b.q, &b.jobs[3].node));
    }
    CHECK_RUN(&b, 3);

    b.jobs[3].left = 1;
    CHECK_RUN(&b, 3);
    check_empty(&b);
}

static void
test_first_in_first_out(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 2);
    push(&b, 0);
    push(&b, 1);
    CHECK_RUN(&b, 2, 0, 1);

    /* Pushing again takes no one's place. */
    ovs_assert(!dma_defer_push(&b.q, &b.jobs[2].node));
    CHECK_RUN(&b, 2, 0, 1);
}

static void
test_done_leaves_the_others_in_place(void)
{
    struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < 5; i++) {
        push(&b, i);
    }
    b.jobs[0].left = b.jobs[2].left = b.jobs[4].left = 1;
    CHECK_RUN(&b, 0, 1, 2, 3, 4);
    CHECK_RUN(&b, 1, 3);

    /* What was done can be queued again, at the end. */
    b.jobs[0].left = 1;
    push(&b, 0);
    CHECK_RUN(&b, 1, 3, 0);
    CHECK_RUN(&b, 1, 3);
}

static void
test_never_done_delays_no_other(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 0);
    for (size_t i = 1; i < N_JOBS; i++) {
        push(&b, i);
        b.jobs[i].left = i;
    }
    for (size_t run = 0; run < N_JOBS; run++) {
        /* All that have work left, each once: job i in i runs. */
        b.n_visits = 0;
        dma_defer_run(&b.q, visit, &b);
        ovs_assert(b.n_visits == N_JOBS - run);
        for (size_t i = 0; i < b.n_visits; i++) {
            ovs_assert(b.visits[i] == &b.jobs[i ? i + run : 0]);
        }
    }
    CHECK_RUN(&b, 0);
}

static void
test_push_in_a_run_is_for_the_next(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 0);
    push(&b, 1);
    b.jobs[0].push[0] = &b.jobs[5];
    b.jobs[1].push[0] = &b.jobs[6];
    b.jobs[1].push[1] = &b.jobs[5];
    b.jobs[1].left = 1;
    CHECK_RUN(&b, 0, 1);
    CHECK_RUN(&b, 0, 5, 6);
}

static void
test_push_by_the_last_that_is_done(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 0);
    b.jobs[0].left = 1;
    b.jobs[0].push[0] = &b.jobs[1];
    CHECK_RUN(&b, 0);
    CHECK_RUN(&b, 1);
}

static void
test_push_of_the_visited(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 0);
    push(&b, 1);
    b.jobs[0].push[0] = &b.jobs[0];
    b.jobs[1].push[0] = &b.jobs[1];
    CHECK_RUN(&b, 0, 1);
    CHECK_RUN(&b, 0, 1);
}

static void
test_push_of_one_still_to_be_visited(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 0);
    push(&b, 1);
    b.jobs[0].push[0] = &b.jobs[1];
    CHECK_RUN(&b, 0, 1);
    CHECK_RUN(&b, 0, 1);
}

static void
test_push_of_one_that_was_just_done(void)
{
    struct bench b;

    bench_init(&b);
    push(&b, 0);
    push(&b, 1);
    b.jobs[0].left = 1;
    b.jobs[1].push[0] = &b.jobs[0];
    b.n_visits = 0;
    dma_defer_run(&b.q, visit, &b);
    ovs_assert(b.n_visits == 2);

    b.jobs[0].left = UINT_MAX;
    CHECK_RUN(&b, 1, 0);
}

static void
test_remove(void)
{
    struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < 4; i++) {
        push(&b, i);
    }
    dma_defer_remove(&b.q, &b.jobs[0].node);
    dma_defer_remove(&b.q, &b.jobs[2].node);
    ovs_assert(!dma_defer_is_queued(&b.jobs[2].node));
    CHECK_RUN(&b, 1, 3);
    push(&b, 2);
    dma_defer_remove(&b.q, &b.jobs[3].node);
    CHECK_RUN(&b, 1, 2);
    dma_defer_remove(&b.q, &b.jobs[1].node);
    dma_defer_remove(&b.q, &b.jobs[2].node);
    check_empty(&b);
}

static void
test_clear(void)
{
    struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < N_JOBS; i++) {
        push(&b, i);
    }
    b.n_visits = 0;
    dma_defer_clear(&b.q);
    ovs_assert(!b.n_visits);
    check_empty(&b);
    push(&b, 7);
    CHECK_RUN(&b, 7);
}

/* A drain is runs until the queue is empty. */
static void
test_drain(void)
{
    unsigned int work = 0, visits = 0, longest = 0, runs = 0;
    struct bench b;

    bench_init(&b);
    for (size_t i = 0; i < N_JOBS; i++) {
        b.jobs[i].left = 1 + random_range(20);
        work += b.jobs[i].left;
        longest = MAX(longest, b.jobs[i].left);
        push(&b, i);
    }
    while (!dma_defer_is_empty(&b.q)) {
        b.n_visits = 0;
        dma_defer_run(&b.q, visit, &b);
        visits += b.n_visits;
        runs++;
    }
    ovs_assert(visits == work);
    ovs_assert(runs == longest);
    check_empty(&b);
}

/* Against a model: the jobs in the queue, in an array, in order. */

struct model {
    int jobs[N_JOBS];
    size_t n;
};

static int
model_find(const struct model *m, int job)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->jobs[i] == job) {
            return i;
        }
    }
    return -1;
}

static bool
model_push(struct model *m, int job)
{
    if (model_find(m, job) >= 0) {
        return false;
    }
    m->jobs[m->n++] = job;
    return true;
}

static void
model_remove(struct model *m, int job)
{
    size_t at = model_find(m, job);

    m->n--;
    memmove(&m->jobs[at], &m->jobs[at + 1], (m->n - at) * sizeof m->jobs[0]);
}

/* Gives jobs random work and has some push others. */
static void
choose_work(struct bench *b)
{
    for (size_t i = 0; i < N_JOBS; i++) {
        struct job *job = &b->jobs[i];

        job->left = random_range(3) ? UINT_MAX : 1;
        for (size_t j = 0; j < ARRAY_SIZE(job->push); j++) {
            struct job *other = &b->jobs[random_range(N_JOBS)];

            job->push[j] = other == job || random_range(4) ? NULL : other;
        }
    }
}

static void
model_run(struct bench *b, struct model *m)
{
    struct model before = *m;

    choose_work(b);
    for (size_t i = 0; i < before.n; i++) {
        struct job *job = &b->jobs[before.jobs[i]];

        for (size_t j = 0; j < ARRAY_SIZE(job->push); j++) {
            if (job->push[j]) {
                model_push(m, job->push[j] - b->jobs);
            }
        }
        if (job->left == 1) {
            model_remove(m, before.jobs[i]);
        }
    }
    check_run(b, before.jobs, before.n);
}

static void
model_step(struct bench *b, struct model *m)
{
    int job = random_range(N_JOBS);

    switch (random_range(20)) {
    case 0:
        if (!random_range(20)) {
            dma_defer_clear(&b->q);
            m->n = 0;
        }
        break;
    case 1: case 2: case 3:
        model_run(b, m);
        break;
    case 4: case 5: case 6:
        if (model_find(m, job) >= 0) {
            dma_defer_remove(&b->q, &b->jobs[job].node);
            model_remove(m, job);
        }
        break;
    default:
        ovs_assert(dma_defer_push(&b->q, &b->jobs[job].node)
                   == model_push(m, job));
        break;
    }
}

static void
test_random_against_model(void)
{
    struct model m = { .n = 0 };
    struct bench b;

    bench_init(&b);
    for (int step = 0; step < 100000; step++) {
        model_step(&b, &m);
        ovs_assert(b.q.n == m.n);
        ovs_assert(dma_defer_is_empty(&b.q) == !m.n);
        for (int i = 0; i < N_JOBS; i++) {
            ovs_assert(dma_defer_is_queued(&b.jobs[i].node)
                       == (model_find(&m, i) >= 0));
        }
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(empty_queue),
    DMA_TEST_CASE(queued_once),
    DMA_TEST_CASE(first_in_first_out),
    DMA_TEST_CASE(done_leaves_the_others_in_place),
    DMA_TEST_CASE(never_done_delays_no_other),
    DMA_TEST_CASE(push_in_a_run_is_for_the_next),
    DMA_TEST_CASE(push_by_the_last_that_is_done),
    DMA_TEST_CASE(push_of_the_visited),
    DMA_TEST_CASE(push_of_one_still_to_be_visited),
    DMA_TEST_CASE(push_of_one_that_was_just_done),
    DMA_TEST_CASE(remove),
    DMA_TEST_CASE(clear),
    DMA_TEST_CASE(drain),
    DMA_TEST_CASE(random_against_model),
};

static void
test_dma_defer_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-defer", test_dma_defer_main);
