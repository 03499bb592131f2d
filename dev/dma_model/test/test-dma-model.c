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

/* Calls the dmadev API as told, for the tests here and those of dma_devices,
 * which decide what is right.
 *
 * Each line of the input is a command and its arguments; the answer is one
 * line of numbers.  commands[] has them.  Arguments are for EAL. */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_eal.h>

#define MAX_ARGS 8
#define MAX_POLL 4096

/* Copy number i is from slot i % N_SLOTS to the same slot. */
#define N_SLOTS 64
#define SLOT_SIZE 65536

static uint8_t *src_slots;
static uint8_t *dst_slots;
static uint64_t n_copies;

/* What EAL takes away. */
static cpu_set_t all_cpus;

static uint8_t *
slot(uint8_t *slots, uint64_t i)
{
    return slots + i % N_SLOTS * SLOT_SIZE;
}

static uint8_t *
map_slots(void)
{
    void *p = mmap(NULL, N_SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static int
copy(int dev, int vchan, uint32_t length, uint64_t flags)
{
    uint64_t i = n_copies++;

    memset(slot(src_slots, i), i + 1, length);
    memset(slot(dst_slots, i), 0, length);
    return rte_dma_copy(dev, vchan, (uintptr_t) slot(src_slots, i),
                        (uintptr_t) slot(dst_slots, i), length, flags);
}

/* probe NAME PARAMS: the result, the id of the device. */
static void
cmd_probe(char **args)
{
    int error = rte_vdev_init(args[0], args[1] ? args[1] : "");

    printf("%d %d\n", error, rte_dma_get_dev_id_by_name(args[0]));
}

/* remove NAME */
static void
cmd_remove(char **args)
{
    printf("%d\n", rte_vdev_uninit(args[0]));
}

/* find NAME: the id of the dmadev, or a negative errno. */
static void
cmd_find(char **args)
{
    printf("%d\n", rte_dma_get_dev_id_by_name(args[0]));
}

/* info DEV: the result, capabilities, most vchans, most and fewest
 * descriptors, NUMA node. */
static void
cmd_info(char **args)
{
    struct rte_dma_info info;
    int error = rte_dma_info_get(atoi(args[0]), &info);

    if (error) {
        printf("%d\n", error);
    } else {
        printf("0 %"PRIu64" %u %u %u %d\n", info.dev_capa, info.max_vchans,
               info.max_desc, info.min_desc, info.numa_node);
    }
}

/* configure DEV VCHANS */
static void
cmd_configure(char **args)
{
    const struct rte_dma_conf conf = { .nb_vchans = atoi(args[1]) };

    printf("%d\n", rte_dma_configure(atoi(args[0]), &conf));
}

/* setup DEV VCHAN DESCRIPTORS */
static void
cmd_setup(char **args)
{
    const struct rte_dma_vchan_conf conf = {
        .direction = RTE_DMA_DIR_MEM_TO_MEM,
        .nb_desc = atoi(args[2]),
    };

    printf("%d\n", rte_dma_vchan_setup(atoi(args[0]), atoi(args[1]), &conf));
}

/* start DEV */
static void
cmd_start(char **args)
{
    printf("%d\n", rte_dma_start(atoi(args[0])));
}

/* stop DEV */
static void
cmd_stop(char **args)
{
    printf("%d\n", rte_dma_stop(atoi(args[0])));
}

/* close DEV */
static void
cmd_close(char **args)
{
    printf("%d\n", rte_dma_close(atoi(args[0])));
}

/* enqueue DEV VCHAN LENGTH COUNT: how many were taken, the last result. */
static void
cmd_enqueue(char **args)
{
    int dev = atoi(args[0]), vchan = atoi(args[1]);
    int result = 0;
    int n = 0;

    while (n < atoi(args[3])) {
        result = copy(dev, vchan, atoi(args[2]), 0);
        if (result < 0) {
            n_copies--;
            break;
        }
        n++;
    }
    printf("%d %d\n", n, result);
}

/* enqueue-bad DEV VCHAN LENGTH SRC DST: a copy from or to where there is no
 * memory, where SRC or DST is not 0; the result. */
static void
cmd_enqueue_bad(char **args)
{
    int dev = atoi(args[0]), vchan = atoi(args[1]);
    uint64_t i = n_copies++;
    uint8_t *src = slot(src_slots, i), *dst = slot(dst_slots, i);

    memset(src, i + 1, atoi(args[2]));
    memset(dst, 0, atoi(args[2]));
    printf("%d\n", rte_dma_copy(dev, vchan,
                                atoi(args[3]) ? 4096 : (uintptr_t) src,
                                atoi(args[4]) ? 4096 : (uintptr_t) dst,
                                atoi(args[2]), 0));
}

/* submit DEV VCHAN */
static void
cmd_submit(char **args)
{
    printf("%d\n", rte_dma_submit(atoi(args[0]), atoi(args[1])));
}

/* poll DEV VCHAN MAX: how many, last index, whether there is an error. */
static void
cmd_poll(char **args)
{
    uint16_t last = 0;
    bool error = false;
    uint16_t n;

    n = rte_dma_completed(atoi(args[0]), atoi(args[1]), atoi(args[2]), &last,
                          &error);
    printf("%u %u %d\n", n, last, error);
}

/* status DEV VCHAN MAX: how many, last index, and the status of each. */
static void
cmd_status(char **args)
{
    enum rte_dma_status_code status[MAX_POLL];
    uint16_t last = 0;
    uint16_t n;

    /* What a driver does not set is none of them. */
    memset(status, 0xff, sizeof status);

    n = rte_dma_completed_status(atoi(args[0]), atoi(args[1]), atoi(args[2]),
                                 &last, status);
    printf("%u %u", n, last);
    for (unsigned int i = 0; i < n; i++) {
        printf(" %d", (int) status[i]);
    }
    printf("\n");
}

/* capacity DEV VCHAN */
static void
cmd_capacity(char **args)
{
    printf("%u\n", rte_dma_burst_capacity(atoi(args[0]), atoi(args[1])));
}

/* vstatus DEV VCHAN */
static void
cmd_vstatus(char **args)
{
    enum rte_dma_vchan_status status = 0;
    int error = rte_dma_vchan_status(atoi(args[0]), atoi(args[1]), &status);

    printf("%d %d\n", error, (int) status);
}

/* stats DEV VCHAN: the result, submitted, completed, errors. */
static void
cmd_stats(char **args)
{
    struct rte_dma_stats stats = { .submitted = 0 };
    int error = rte_dma_stats_get(atoi(args[0]), atoi(args[1]), &stats);

    printf("%d %"PRIu64" %"PRIu64" %"PRIu64"\n", error, stats.submitted,
           stats.completed, stats.errors);
}

/* reset-stats DEV VCHAN */
static void
cmd_reset_stats(char **args)
{
    printf("%d\n", rte_dma_stats_reset(atoi(args[0]), atoi(args[1])));
}

/* dump DEV: the result.  What it writes goes to stderr. */
static void
cmd_dump(char **args)
{
    printf("%d\n", rte_dma_dump(atoi(args[0]), stderr));
}

/* moved FROM COUNT: how many of the copies have all bytes moved, and how many
 * none. */
static void
cmd_moved(char **args)
{
    uint64_t from = strtoull(args[0], NULL, 10);
    unsigned int all = 0, none = 0;

    for (uint64_t i = from; i < from + atoi(args[1]); i++) {
        const uint8_t *src = slot(src_slots, i), *dst = slot(dst_slots, i);

        /* The first and the last byte that were cleared tell. */
        all += !memcmp(src, dst, SLOT_SIZE);
        none += dst[0] == 0;
    }
    printf("%u %u\n", all, none);
}

/* copies: how many there were so far, which is the number of the next. */
static void
cmd_copies(char **args __rte_unused)
{
    printf("%"PRIu64"\n", n_copies);
}

/* clean: all slots, both sides, as if there had been no copy. */
static void
cmd_clean(char **args __rte_unused)
{
    memset(src_slots, 0, N_SLOTS * SLOT_SIZE);
    memset(dst_slots, 0, N_SLOTS * SLOT_SIZE);
    n_copies = 0;
    printf("0\n");
}

/* time DEV VCHAN LENGTH COUNT: nanoseconds from the doorbell until the first
 * and until the last completion. */
static void
cmd_time(char **args)
{
    int dev = atoi(args[0]), vchan = atoi(args[1]);
    unsigned int total = atoi(args[3]), n = 0;
    double ns = 1e9 / rte_get_tsc_hz();
    uint64_t start, first = 0, now;

    for (unsigned int i = 0; i < total; i++) {
        copy(dev, vchan, atoi(args[2]), 0);
    }
    start = rte_rdtsc();
    rte_dma_submit(dev, vchan);
    do {
        n += rte_dma_completed(dev, vchan, MAX_POLL, NULL, NULL);
        now = rte_rdtsc();
        if (n && !first) {
            first = now;
        }
    } while (n < total && now - start < rte_get_tsc_hz());
    printf("%.0f %.0f\n", (first - start) * ns, (now - start) * ns);
}

/* cycles DEV VCHAN LENGTH BURST: TSC ticks for each copy, in hundredths, of
 * capacity, copies, doorbell and poll: the least of many tries. */
static void
cmd_cycles(char **args)
{
    int dev = atoi(args[0]), vchan = atoi(args[1]);
    uint32_t length = atoi(args[2]);
    unsigned int burst = atoi(args[3]);
    uint64_t best = UINT64_MAX;

    for (int try = 0; try < 2000; try++) {
        unsigned int n = 0;
        uint64_t start, ticks;

        start = rte_rdtsc();
        if (rte_dma_burst_capacity(dev, vchan) < burst) {
            break;
        }
        for (unsigned int i = 0; i < burst; i++) {
            rte_dma_copy(dev, vchan, (uintptr_t) slot(src_slots, i),
                         (uintptr_t) slot(dst_slots, i), length, 0);
        }
        rte_dma_submit(dev, vchan);
        ticks = rte_rdtsc() - start;
        rte_delay_us_block(5);
        start = rte_rdtsc();
        n = rte_dma_completed(dev, vchan, burst, NULL, NULL);
        ticks += rte_rdtsc() - start;
        while (n < burst) {
            n += rte_dma_completed(dev, vchan, burst, NULL, NULL);
        }
        best = RTE_MIN(best, ticks);
    }
    printf("%"PRIu64"\n", best * 100 / burst);
}

/* Threads that use a vchan each. */

struct user {
    pthread_t thread;
    int dev;
    int vchan;
    uint64_t goal;              /* Copies to complete; 0: until 'quit'. */
    bool quit;
    uint64_t n;                 /* Completed. */
    uint64_t n_wrong;           /* Wrong bytes or order. */
};

/* Copies from 'src' to 'dst', some bytes each, as fast as it can, and checks
 * at each completion that all is as it should be. */
static void *
user_main(void *user_)
{
    enum { SIZE = 200, N = 64 };
    struct user *user = user_;
    uint8_t *src = src_slots + user->vchan * 2 * SLOT_SIZE;
    uint8_t *dst = dst_slots + user->vchan * 2 * SLOT_SIZE;
    uint64_t head = 0, tail = 0;

    while (!__atomic_load_n(&user->quit, __ATOMIC_RELAXED)
           && (!user->goal || user->n < user->goal)) {
        uint16_t last = 0;
        uint16_t n;

        /* What a stop has aborted does not come back. */
        while ((!user->goal || tail - head < N)
               && rte_dma_burst_capacity(user->dev, user->vchan)) {
            uint64_t value = tail + 1;
            size_t offset = tail % N * SIZE;
            int idx;

            memcpy(src + offset, &value, sizeof value);
            idx = rte_dma_copy(user->dev, user->vchan,
                               (uintptr_t) (src + offset),
                               (uintptr_t) (dst + offset), SIZE,
                               RTE_DMA_OP_FLAG_SUBMIT);
            if (idx < 0) {
                break;
            }
            user->n_wrong += user->goal && idx != (uint16_t) tail;
            tail++;
        }
        n = rte_dma_completed(user->dev, user->vchan, 16, &last, NULL);
        for (int i = 0; i < n && user->goal; i++, head++) {
            uint64_t value;

            memcpy(&value, dst + head % N * SIZE, sizeof value);
            user->n_wrong += value != head + 1;
        }
        user->n_wrong += user->goal && last != (uint16_t) (head - 1);
        __atomic_store_n(&user->n, user->n + n, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void
user_start(struct user *user)
{
    errno = pthread_create(&user->thread, NULL, user_main, user);
    if (errno) {
        perror("test-dma-model: pthread_create");
        exit(1);
    }
    pthread_setaffinity_np(user->thread, sizeof all_cpus, &all_cpus);
}

/* threads DEV VCHANS COUNT: so many threads make so many copies each; how many
 * there were, and how many were wrong. */
static void
cmd_threads(char **args)
{
    struct user users[N_SLOTS / 2];
    int n_users = atoi(args[1]);
    uint64_t n = 0, n_wrong = 0;

    memset(users, 0, sizeof users);
    for (int i = 0; i < n_users; i++) {
        users[i].dev = atoi(args[0]);
        users[i].vchan = i;
        users[i].goal = atoi(args[2]);
        user_start(&users[i]);
    }
    for (int i = 0; i < n_users; i++) {
        pthread_join(users[i].thread, NULL);
        n += users[i].n;
        n_wrong += users[i].n_wrong;
    }
    printf("%"PRIu64" %"PRIu64"\n", n, n_wrong);
}

/* stop-in-use DEV ROUNDS: stops and starts the device under a thread that is
 * using it.  What it copies to cannot be written while it is stopped, so a
 * byte that is moved then ends the process.  How many copies there were. */
static void
cmd_stop_in_use(char **args)
{
    struct user user = { .dev = atoi(args[0]) };
    int error = 0;

    user_start(&user);
    for (int i = 0; i < atoi(args[1]) && !error; i++) {
        uint64_t n = user.n;

        for (int ms = 0; ms < 1000
             && __atomic_load_n(&user.n, __ATOMIC_RELAXED) == n; ms++) {
            rte_delay_us_sleep(1000);
        }
        rte_delay_us_sleep(i % 97);
        error = rte_dma_stop(user.dev);
        mprotect(dst_slots, 2 * SLOT_SIZE, PROT_NONE);
        rte_delay_us_sleep(100);
        mprotect(dst_slots, 2 * SLOT_SIZE, PROT_READ | PROT_WRITE);
        if (!error) {
            error = rte_dma_start(user.dev);
        }
    }
    __atomic_store_n(&user.quit, true, __ATOMIC_RELAXED);
    pthread_join(user.thread, NULL);
    printf("%d %"PRIu64"\n", error, user.n);
}

static const struct {
    const char *name;
    int n_args;
    void (*func)(char **args);
} commands[] = {
    { "probe", 1, cmd_probe },
    { "remove", 1, cmd_remove },
    { "find", 1, cmd_find },
    { "info", 1, cmd_info },
    { "configure", 2, cmd_configure },
    { "setup", 3, cmd_setup },
    { "start", 1, cmd_start },
    { "stop", 1, cmd_stop },
    { "close", 1, cmd_close },
    { "enqueue", 4, cmd_enqueue },
    { "enqueue-bad", 5, cmd_enqueue_bad },
    { "submit", 2, cmd_submit },
    { "poll", 3, cmd_poll },
    { "status", 3, cmd_status },
    { "capacity", 2, cmd_capacity },
    { "vstatus", 2, cmd_vstatus },
    { "stats", 2, cmd_stats },
    { "reset-stats", 2, cmd_reset_stats },
    { "dump", 1, cmd_dump },
    { "moved", 2, cmd_moved },
    { "copies", 0, cmd_copies },
    { "clean", 0, cmd_clean },
    { "time", 4, cmd_time },
    { "cycles", 4, cmd_cycles },
    { "threads", 3, cmd_threads },
    { "stop-in-use", 2, cmd_stop_in_use },
};

static void
run_command(char *line)
{
    char *args[MAX_ARGS + 1] = { NULL };
    char *save = NULL;
    int n = 0;

    for (char *s = strtok_r(line, " \n", &save); s && n < MAX_ARGS;
         s = strtok_r(NULL, " \n", &save)) {
        args[n++] = s;
    }
    for (size_t i = 0; n && i < RTE_DIM(commands); i++) {
        if (!strcmp(args[0], commands[i].name) && n > commands[i].n_args) {
            commands[i].func(args + 1);
            fflush(stdout);
            return;
        }
    }
    fprintf(stderr, "test-dma-model: no such command: %s\n", line);
    exit(1);
}

int
main(int argc, char *argv[])
{
    char line[1024];

    sched_getaffinity(0, sizeof all_cpus, &all_cpus);
    if (rte_eal_init(argc, argv) < 0) {
        fprintf(stderr, "test-dma-model: EAL does not start\n");
        return 1;
    }
    src_slots = map_slots();
    dst_slots = map_slots();
    printf("0\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        run_command(line);
    }
    return 0;
}
