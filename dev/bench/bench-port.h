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

/* The vhost ports of the switch, each with its guest. */

#ifndef BENCH_PORT_H
#define BENCH_PORT_H 1

#include "bench-guest.h"
#include "bench-vhost.h"
#include "netdev.h"

struct port {
    struct netdev *netdev;
    struct guest guest;
};

extern struct port *bench_ports;

static inline unsigned int
n_txqs(void)
{
    return settings.n_ports * settings.n_pairs;
}

void ports_open(void);

#endif /* bench-port.h */
