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

/* Tests the driver of edu.c with a device that is a thread of ours, and that
 * can hang, which QEMU's cannot.
 *
 * Its arguments are those of EAL.  Each case starts the device and stops it.
 * The first thing that is wrong is printed, and makes the exit status 1. */

#include "edu.c"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_SIZE (1 << 20)
#define BUF_LEN 10000
#define PATIENCE_US 5000000

/* The device's side of a register. */
#define REG(OFS) ((volatile uint64_t *) (void *) (bar + (OFS)))

static uint8_t bar[BAR_SIZE] __rte_aligned(sizeof(uint64_t));
static uint8_t buf_src[BUF_LEN], buf_dst[BUF_LEN];
static bool hangs, ends;
static unsigned int n_transfers;
static int16_t id;

#define CHECK(CONDITION)                                                \
    do {                                                                \
        if (!(CONDITION)) {                                             \
            printf("%s, line %d: %s\n", __func__, __LINE__, #CONDITION); \
            exit(1);                                                    \
        }                                                               \
    } while (0)

static bool
is_set(bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* Does one transfer, as docs/specs/edu of QEMU has it. */
static void
transfer(void)
{
    uint64_t src = *REG(EDU_DMA_SRC), dst = *REG(EDU_DMA_DST);
    uint64_t count = *REG(EDU_DMA_COUNT), command = *REG(EDU_DMA_COMMAND);
    uint64_t ours = command & EDU_TO_MEMORY ? src : dst;
    uint8_t *buffer = bar + EDU_BUFFER;
    uint8_t *memory = (uint8_t *) (uintptr_t) (command & EDU_TO_MEMORY
                                               ? dst : src);

    CHECK(count);
    /* As QEMU 7.2. */
    CHECK(ours >= EDU_BUFFER && ours + count < EDU_BUFFER + 4096);
    buffer += ours - EDU_BUFFER;
    if (command & EDU_TO_MEMORY) {
        memcpy(memory, buffer, count);
    } else {
        memcpy(buffer, memory, count);
    }
}

static void *
device_main(void *arg __rte_unused)
{
    while (!is_set(&ends)) {
        if ((*REG(EDU_DMA_COMMAND) & EDU_START) && !is_set(&hangs)) {
            usleep(2000);
            transfer();
            __atomic_fetch_add(&n_transfers, 1, __ATOMIC_RELAXED);
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            *REG(EDU_DMA_COMMAND) &= ~EDU_START;
        }
        usleep(100);
    }
    return NULL;
}

static uint64_t
iova(const uint8_t *p)
{
    return (uintptr_t) p;
}

static void
start(void)
{
    const struct rte_dma_conf conf = { .nb_vchans = 1 };
    const struct rte_dma_vchan_conf vchan_conf = {
        .direction = RTE_DMA_DIR_MEM_TO_MEM,
        .nb_desc = EDU_RING_SIZE,
    };

    CHECK(!rte_dma_configure(id, &conf));
    CHECK(!rte_dma_vchan_setup(id, 0, &vchan_conf));
    CHECK(!rte_dma_start(id));
    for (int i = 0; i < BUF_LEN; i++) {
        buf_src[i] = i * 7 + i / 256;
    }
    memset(buf_dst, 0, BUF_LEN);
}

/* Waits for 'n' copies, which must be all that there are. */
static void
reap(unsigned int n, uint16_t last)
{
    unsigned int done = 0;

    for (int us = 0; done < n; us += 100) {
        uint16_t idx = 0;
        bool error = true;
        uint16_t more = rte_dma_completed(id, 0, 3, &idx, &error);

        CHECK(!error && more <= 3 && us < PATIENCE_US);
        done += more;
        CHECK(!more || idx == (uint16_t) (last - n + done));
        usleep(100);
    }
    CHECK(done == n && !rte_dma_completed(id, 0, 3, NULL, NULL));
}

/* Does the copies that are waited for. */
static void
be_tried(void)
{
    for (int i = 0; i < EDU_N_TRIED; i++) {
        uint16_t idx;

        CHECK(rte_dma_burst_capacity(id, 0) == 1);
        CHECK(rte_dma_copy(id, 0, iova(buf_src), iova(buf_dst), 1,
                           RTE_DMA_OP_FLAG_SUBMIT) == i);
        CHECK(rte_dma_completed(id, 0, 1, &idx, NULL) == 1 && idx == i);
    }
    CHECK(rte_dma_burst_capacity(id, 0) == EDU_RING_SIZE);
}

static void
test_pieces(void)
{
    unsigned int before;

    start();
    be_tried();
    before = n_transfers;
    CHECK(rte_dma_copy(id, 0, iova(buf_src), iova(buf_dst), 0, 0) == -EINVAL);
    CHECK(rte_dma_copy(id, 0, iova(buf_src), iova(buf_dst), BUF_LEN, 0) == 2);
    usleep(20000);
    CHECK(!rte_dma_completed(id, 0, 1, NULL, NULL) && n_transfers == before);
    rte_dma_submit(id, 0);
    reap(1, 2);
    CHECK(!memcmp(buf_src, buf_dst, BUF_LEN));
    CHECK(n_transfers - before == 2 * ((BUF_LEN - 1) / EDU_PIECE + 1));
    CHECK(!rte_dma_stop(id));
}

static void
test_ring(void)
{
    struct rte_dma_stats stats;

    start();
    be_tried();
    for (int i = 0; i < EDU_RING_SIZE; i++) {
        CHECK(rte_dma_copy(id, 0, iova(buf_src + i), iova(buf_dst + i), 1, 0)
              == i + EDU_N_TRIED);
    }
    CHECK(!rte_dma_burst_capacity(id, 0));
    CHECK(rte_dma_copy(id, 0, iova(buf_src), iova(buf_dst), 1, 0) == -ENOSPC);
    rte_dma_submit(id, 0);
    reap(EDU_RING_SIZE, EDU_RING_SIZE + EDU_N_TRIED - 1);
    CHECK(!memcmp(buf_src, buf_dst, EDU_RING_SIZE));
    CHECK(!rte_dma_stats_get(id, 0, &stats));
    CHECK(stats.submitted == EDU_RING_SIZE + EDU_N_TRIED
          && stats.completed == stats.submitted);
    CHECK(!rte_dma_stop(id));
}

/* What is stopped while it reads never writes, and starts anew. */
static void
test_stop(void)
{
    start();
    be_tried();
    memset(buf_dst, 0, BUF_LEN);
    CHECK(rte_dma_copy(id, 0, iova(buf_src), iova(buf_dst), 100,
                       RTE_DMA_OP_FLAG_SUBMIT) == EDU_N_TRIED);
    CHECK(!rte_dma_stop(id));
    CHECK(!(*REG(EDU_DMA_COMMAND) & EDU_START));
    CHECK(!rte_dma_completed(id, 0, 1, NULL, NULL));
    usleep(20000);
    for (int i = 0; i < BUF_LEN; i++) {
        CHECK(!buf_dst[i]);
    }
    test_pieces();
}

static void
test_hang(void)
{
    enum rte_dma_vchan_status status;

    start();
    be_tried();
    __atomic_store_n(&hangs, true, __ATOMIC_RELEASE);
    CHECK(rte_dma_copy(id, 0, iova(buf_src), iova(buf_dst), 100,
                       RTE_DMA_OP_FLAG_SUBMIT) == EDU_N_TRIED);
    CHECK(!rte_dma_vchan_status(id, 0, &status)
          && status == RTE_DMA_VCHAN_ACTIVE);
    CHECK(rte_dma_stop(id) == -EBUSY);
    __atomic_store_n(&hangs, false, __ATOMIC_RELEASE);
    CHECK(!rte_dma_stop(id));
    test_pieces();
}

int
main(int argc, char *argv[])
{
    static struct rte_pci_device pci = { .name = "0000:00:01.0" };
    pthread_t device;

    if (rte_eal_init(argc, argv) < 0) {
        return 1;
    }
    pci.mem_resource[0].addr = bar;
    CHECK(edu_probe(&edu_driver, &pci) == -ENODEV);
    *REG(EDU_IDENTIFICATION) = 0x010000ed;
    CHECK(!edu_probe(&edu_driver, &pci));
    id = rte_dma_get_dev_id_by_name(pci.name);
    CHECK(id >= 0);
    pthread_create(&device, NULL, device_main, NULL);

    test_pieces();
    test_ring();
    test_stop();
    test_hang();

    __atomic_store_n(&ends, true, __ATOMIC_RELEASE);
    pthread_join(device, NULL);
    CHECK(!edu_remove(&pci));
    rte_eal_cleanup();
    return 0;
}
