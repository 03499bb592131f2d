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

/* The cost of reading the clock, which is in each interval. */
extern uint64_t clock_cost;

void clock_calibrate(void);
void await_txqs(void);

void measure_run(const struct params *);
void measure_latency(const struct params *);
void measure_load(const struct params *);
void measure_idle(const struct params *);
void measure_in_flight(const struct params *);
void measure_free(const struct params *);
void measure_memory(void);

#endif /* bench-measure.h */
