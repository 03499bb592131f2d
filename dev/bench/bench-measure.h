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

/* The measurements; each prints a line of JSON. */

#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H 1

#include <stdbool.h>
#include <stdint.h>
#include <x86intrin.h>

/* Sizes of packets as they follow each other. */
struct mix {
    const char *name;
    unsigned int n;
    uint16_t sizes[100];
};

/* Returns the mix of that name, NULL if there is none. */
const struct mix *mix_find(const char *name);

struct params {
    const struct mix *mix;      /* NULL if all have the same size. */
    unsigned int size, burst, rounds, work, spread, n, gap;
    bool is_cold;
    int threshold;              /* Bytes, -1 for the default. */
};

/* Packets of a round, at most, and how many bytes of them are to stay in the
 * L2 cache. */
#define MAX_ROUND 1024
#define WARM_BYTES (512u << 10)

/* Returns the busy cycles of a round, and in '*idle' the idle ones. */
typedef uint64_t round_func(const struct params *, unsigned int total,
                            uint64_t *idle);

/* The cost of reading the clock, which is in each interval. */
extern uint64_t clock_cost;

/* Waits for what came before, and what follows waits for it. */
static inline uint64_t
clock_read(void)
{
    uint64_t tsc;

    _mm_lfence();
    tsc = __rdtsc();
    _mm_lfence();
    return tsc;
}

static inline void
be_busy(uint64_t since, unsigned int cycles)
{
    while (__rdtsc() - since < cycles) {
        _mm_pause();
    }
}

void clock_calibrate(void);
void await_txqs(void);
void measure_rounds(const struct params *, unsigned int total, round_func *);
void print_latencies(double *samples, unsigned int n);

void measure_run(const struct params *);
void measure_latency(const struct params *);
void measure_load(const struct params *);
void measure_idle(const struct params *);
void measure_in_flight(const struct params *);
void measure_free(const struct params *);
void measure_memory(void);

#endif /* bench-measure.h */
