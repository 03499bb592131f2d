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

/* Measures what sending to a vhost port costs a PMD thread.
 *
 * One process is the switch and the guest.  It opens vhost ports of the
 * libopenvswitch that it is linked with, and plays the guest at the other ends
 * of their sockets.  One thread plays PMD: it sends bursts, reaps as the main
 * loop of dpif-netdev.c does, and counts the cycles of both.  The guest's
 * share of the work, making room in its virtqueues, is done between rounds,
 * off the clock, so that no virtqueue is ever full and nothing is dropped.
 *
 * A round: packets are made; then, in each iteration, the thread is busy with
 * something else for the time that receiving and classifying a burst takes
 * (off the clock), sends the burst and reaps (on the clock); when all is sent
 * it goes on without bursts until everything came back (on the clock, too).
 * Then the guest looks at what arrived.
 *
 * The other way, too: the guest sends a burst (off the clock), and the thread
 * receives and reaps (on the clock).
 *
 * Cycles are counted as dpif-netdev.c does: an iteration that sends or reaps
 * is busy.  One that neither had something to send nor found something to reap
 * is idle, as one is that finds its rxqs empty; its cycles are told, too, as
 * "idle".
 *
 * dev.bench runs this, one process per variant.  A process reads commands,
 * a line each, and answers each with a line of JSON.  See main_loop(). */

#include <config.h>

#include "bench-vhost.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench-async.h"
#include "bench-measure.h"
#include "bench-packet.h"
#include "bench-port.h"
#include "bench-receive.h"
#include "dpdk.h"
#include "openvswitch/vlog.h"
#include "ovs-numa.h"
#include "ovs-rcu.h"
#include "smap.h"
#include "userspace-tso.h"
#include "util.h"

struct settings settings = {
    .n_ports = 1,
    .n_pairs = 1,
    .ring_size = 1024,
    .huge = true,
    .dir = "/tmp",
};

void
fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "bench-vhost: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(1);
}

static const struct mix *
parse_mix(const char *line)
{
    const char *p = strstr(line, " mix=");
    const struct mix *mix;
    char *name;

    if (!p) {
        return NULL;
    }
    p += strlen(" mix=");
    name = xmemdup0(p, strcspn(p, " \n"));
    mix = mix_find(name);
    if (!mix) {
        fail("there is no mix \"%s\"", name);
    }
    free(name);
    return mix;
}

static unsigned int
parse_param(const char *line, const char *name, unsigned int def)
{
    char *pattern_ = xasprintf(" %s=", name);
    const char *p = strstr(line, pattern_);
    unsigned int value = p ? strtol(p + strlen(pattern_), NULL, 10) : def;

    free(pattern_);
    return value;
}

/* Commands: "run", "latency", "load", "idle", "in-flight", "free", "memory",
 * "receive", "receive-latency"; with parameters, as in "run size=64
 * burst=32". */
static void
main_loop(void)
{
    char line[512];

    printf("{\"build\": \"%s\", \"channel\": %s, \"txqs\": %u, "
           "\"hz\": %"PRIu64", \"clock\": %"PRIu64"}\n", async_build(),
           async_has_channel() ? "true" : "false", n_txqs(), rte_get_tsc_hz(),
           clock_cost);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        struct params p = {
            .mix = parse_mix(line),
            .size = parse_param(line, "size", 64),
            .burst = parse_param(line, "burst", 32),
            .rounds = parse_param(line, "rounds", 100),
            .work = parse_param(line, "work", 150),
            .spread = parse_param(line, "spread", 1),
            .n = parse_param(line, "n", 1000),
            .gap = parse_param(line, "gap", 1000),
            .is_cold = parse_param(line, "cold", 0),
            .threshold = parse_param(line, "threshold", -1),
        };

        if (p.burst < 1 || p.burst > MAX_BURST || p.size < HEADERS_LEN
            || p.spread < 1 || p.spread > n_txqs() || !p.rounds
            || !p.n || !p.gap) {
            fail("bad parameters: %s", line);
        }
        if (!strncmp(line, "run ", 4)) {
            measure_run(&p);
        } else if (!strncmp(line, "latency ", 8)) {
            measure_latency(&p);
        } else if (!strncmp(line, "load ", 5)) {
            measure_load(&p);
        } else if (!strncmp(line, "in-flight ", 10)) {
            measure_in_flight(&p);
        } else if (!strncmp(line, "idle", 4)) {
            measure_idle(&p);
        } else if (!strncmp(line, "receive ", 8)) {
            measure_receive(&p);
        } else if (!strncmp(line, "receive-latency ", 16)) {
            measure_receive_latency(&p);
        } else if (!strncmp(line, "free ", 5)) {
            measure_free(&p);
        } else if (!strncmp(line, "memory", 6)) {
            measure_memory();
        } else {
            fail("bad command: %s", line);
        }
        fflush(stdout);
        ovsrcu_quiesce();
    }
}

static void *
pmd_main(void *aux OVS_UNUSED)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(settings.core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    if (!dpdk_attach_thread(settings.core)) {
        fail("cannot be a thread of DPDK");
    }
    clock_calibrate();
    async_attach(settings.core);
    await_txqs();
    main_loop();
    fflush(NULL);
    /* Nothing of what the threads of the vhost library would say to an
     * orderly end is of interest. */
    _exit(0);
}

static void
usage(void)
{
    printf("usage: bench-vhost [OPTION]... < COMMANDS\n"
           "  --core=N          core of the thread that plays PMD\n"
           "  --config=KEY=VAL  an other_config of Open vSwitch\n"
           "  --ports=N --pairs=N --ring=N   vhost ports, virtqueue pairs of\n"
           "                    each, descriptors of a virtqueue\n"
           "  --buffer=N        bytes of the guest's buffers\n"
           "  --packed          its virtqueues are packed\n"
           "  --receive         it sends, too\n"
           "  --tso             userspace TSO, packets of 64 KiB; the guest\n"
           "                    leaves checksums to others\n"
           "  --no-huge         no hugepages\n"
           "  --no-copy         the engine moves no bytes\n"
           "  --dir=DIR         for sockets\n");
    exit(0);
}

int
main(int argc, char *argv[])
{
    enum { OPT_CORE = 1, OPT_CONFIG, OPT_PORTS, OPT_PAIRS, OPT_RING,
           OPT_BUFFER, OPT_PACKED, OPT_TSO, OPT_NO_HUGE, OPT_NO_COPY, OPT_DIR,
           OPT_RECEIVE, OPT_VERBOSE };
    static const struct option options[] = {
        { "core", required_argument, NULL, OPT_CORE },
        { "config", required_argument, NULL, OPT_CONFIG },
        { "ports", required_argument, NULL, OPT_PORTS },
        { "pairs", required_argument, NULL, OPT_PAIRS },
        { "ring", required_argument, NULL, OPT_RING },
        { "buffer", required_argument, NULL, OPT_BUFFER },
        { "packed", no_argument, NULL, OPT_PACKED },
        { "receive", no_argument, NULL, OPT_RECEIVE },
        { "tso", no_argument, NULL, OPT_TSO },
        { "no-huge", no_argument, NULL, OPT_NO_HUGE },
        { "no-copy", no_argument, NULL, OPT_NO_COPY },
        { "dir", required_argument, NULL, OPT_DIR },
        { "verbose", no_argument, NULL, OPT_VERBOSE },
        { NULL, 0, NULL, 0 },
    };
    struct smap config = SMAP_INITIALIZER(&config);
    bool verbose = false;
    pthread_t pmd;
    int c;

    set_program_name("bench-vhost");
    signal(SIGPIPE, SIG_IGN);
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        char *value;

        switch (c) {
        case OPT_CORE:
            settings.core = atoi(optarg);
            break;
        case OPT_CONFIG:
            value = strchr(optarg, '=');
            if (!value) {
                fail("--config wants KEY=VALUE");
            }
            *value++ = '\0';
            smap_replace(&config, optarg, value);
            break;
        case OPT_PORTS:
            settings.n_ports = MIN(MAX(atoi(optarg), 1), MAX_PORTS);
            break;
        case OPT_PAIRS:
            settings.n_pairs = MIN(MAX(atoi(optarg), 1), MAX_PAIRS);
            break;
        case OPT_RING:
            settings.ring_size = atoi(optarg);
            break;
        case OPT_BUFFER:
            settings.buf_len = atoi(optarg);
            break;
        case OPT_PACKED:
            settings.packed = true;
            break;
        case OPT_RECEIVE:
            settings.receive = true;
            break;
        case OPT_TSO:
            settings.tso = true;
            smap_replace(&config, "userspace-tso-enable", "true");
            break;
        case OPT_NO_HUGE:
            settings.huge = false;
            break;
        case OPT_NO_COPY:
            settings.no_copy = true;
            break;
        case OPT_DIR:
            settings.dir = optarg;
            break;
        case OPT_VERBOSE:
            verbose = true;
            break;
        default:
            usage();
        }
    }

    vlog_set_levels(NULL, VLF_SYSLOG, VLL_OFF);
    vlog_set_levels(NULL, VLF_CONSOLE, verbose ? VLL_INFO : VLL_WARN);
    smap_replace(&config, "dpdk-init", "true");
    /* As the switch does: dpdk_init() goes by the cores that it finds. */
    ovs_numa_init();
    dpdk_init(&config);
    userspace_tso_init(&config);
    async_configure(&config);

    packets_init();
    ports_open();
    ovsrcu_quiesce();

    if (pthread_create(&pmd, NULL, pmd_main, NULL)) {
        fail("cannot create a thread");
    }
    ovsrcu_quiesce_start();
    pthread_join(pmd, NULL);
    return 0;
}
