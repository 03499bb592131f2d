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

#ifndef DMA_TEST_H
#define DMA_TEST_H 1

/* What the test programs of vhost async share: each is a table of cases.
 *
 *     ovstest PROGRAM [--ms=N] [--seed=N] [CASE...]
 *
 * runs the cases that are named, all by default; those in which threads run in
 * parallel for N milliseconds each.  The seed of those that choose at random
 * is printed, so that a failure can be repeated. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "openvswitch/vlog.h"
#include "ovs-atomic.h"
#include "random.h"
#include "timeval.h"
#include "util.h"

/* Longest time that a case may take, in seconds.  One that waits for what
 * never comes is killed. */
#define DMA_TEST_TIMEOUT 60

/* For how long one in which threads run in parallel does, in milliseconds. */
static long long int dma_test_ms = 300;

struct dma_test_case {
    const char *name;
    void (*run)(void);
};

/* The case in the function test_NAME(). */
#define DMA_TEST_CASE(NAME) { #NAME, test_##NAME }

/* The function test_NAME(), of a program whose cases are plans that its
 * run_plan() carries out. */
#define DMA_TEST_PLAN(NAME, ...)                                \
    static void                                                 \
    test_##NAME(void)                                           \
    {                                                           \
        run_plan(&(const struct plan) { __VA_ARGS__ });         \
    }

static inline const struct dma_test_case *
dma_test_find(const struct dma_test_case *cases, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(cases[i].name, name)) {
            return &cases[i];
        }
    }
    ovs_fatal(0, "there is no case \"%s\"", name);
}

static inline void
dma_test_timed_out(int signal_number OVS_UNUSED)
{
    static const char text[] = "the case takes too long\n";

    /* The function of OVS that ignores a result has another name from 4.0
     * on. */
    ssize_t n OVS_UNUSED = write(STDERR_FILENO, text, sizeof text - 1);

    _exit(EXIT_FAILURE);
}

/* Runs 'c' in a process of its own, so that all start alike, whatever the code
 * that they test keeps, and one that fails leaves the others alone.  Returns
 * true if it passed. */
static inline bool
dma_test_run_case(const struct dma_test_case *c, uint32_t seed)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (!pid) {
        /* lib/fatal-signal.c takes the signal otherwise, and waits for a main
         * loop. */
        signal(SIGALRM, dma_test_timed_out);
        alarm(DMA_TEST_TIMEOUT);
        random_set_seed(seed);
        c->run();
        exit(EXIT_SUCCESS);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        ovs_fatal(errno, "cannot run a process");
    }
    printf("%s: %s\n", c->name, status ? "FAILED" : "passed");
    return !status;
}

static inline void
dma_test_main(const struct dma_test_case *cases, size_t n, int argc,
              char *argv[])
{
    uint32_t seed = time_wall_msec();
    bool passed = true;
    int first = 1;

    set_program_name(argv[0]);
    vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_OFF);
    vlog_set_levels(NULL, VLF_CONSOLE, VLL_EMER);

    if (first < argc && !strncmp(argv[first], "--ms=", 5)) {
        dma_test_ms = strtoul(argv[first++] + 5, NULL, 10);
    }
    if (first < argc && !strncmp(argv[first], "--seed=", 7)) {
        seed = strtoul(argv[first++] + 7, NULL, 0);
    }
    /* 0 is no seed for lib/random.c. */
    seed = MAX(seed, 1);
    printf("seed %"PRIu32"\n", seed);

    if (first == argc) {
        for (size_t i = 0; i < n; i++) {
            passed &= dma_test_run_case(&cases[i], seed);
        }
    }
    for (int i = first; i < argc; i++) {
        passed &= dma_test_run_case(dma_test_find(cases, n, argv[i]), seed);
    }
    if (!passed) {
        exit(EXIT_FAILURE);
    }
}

/* What all threads of a case do by and by, if it has several. */
enum dma_test_phase {
    DMA_TEST_SEND,
    DMA_TEST_SETTLE,            /* As before, but without new packets. */
    DMA_TEST_END,
};

static OVS_UNUSED atomic_int dma_test_phase;

static inline enum dma_test_phase
dma_test_phase_get(void)
{
    int value;

    atomic_read_explicit(&dma_test_phase, &value, memory_order_acquire);
    return value;
}

static inline void
dma_test_phase_set(enum dma_test_phase value)
{
    atomic_store_explicit(&dma_test_phase, value, memory_order_release);
}

#endif /* dma-test.h */
