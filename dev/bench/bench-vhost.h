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

/* What the files of the benchmark share; bench-vhost.c says what it is. */

#ifndef BENCH_VHOST_H
#define BENCH_VHOST_H 1

#include <stdbool.h>
#include <stdint.h>

#include <rte_cycles.h>

#include "dp-packet.h"
#include "packets.h"

#define MAX_PORTS 512
#define MAX_PAIRS 128
#define MAX_BURST NETDEV_MAX_BURST

#define HEADERS_LEN (ETH_HEADER_LEN + IP_HEADER_LEN + TCP_HEADER_LEN)

/* A poll that takes this long is a failure, in seconds. */
#define PATIENCE 10

/* From the command line. */
struct settings {
    unsigned int core;          /* Of the thread that plays PMD. */
    unsigned int n_ports;
    unsigned int n_pairs;       /* Of virtqueues, of each port. */
    unsigned int ring_size;     /* Descriptors of a virtqueue. */
    unsigned int buf_len;       /* Of the guest, 0 for the default. */
    bool packed;                /* Virtqueues are. */
    bool receive;               /* The guest sends: it has buffers for that. */
    bool tso;
    bool huge;
    bool no_copy;               /* The engine moves no bytes. */
    const char *dir;            /* For sockets. */
};

extern struct settings settings;

void fail(const char *format, ...) OVS_NO_RETURN OVS_PRINTF_FORMAT(1, 2);

static inline uint64_t
deadline(void)
{
    return rte_get_tsc_cycles() + PATIENCE * rte_get_tsc_hz();
}

#endif /* bench-vhost.h */
