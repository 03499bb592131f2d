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

/* Has a DMA engine copy to and from memory that is not mapped for it, between
 * copies that are right.
 *
 * Its arguments are those of EAL, with one dmadev that works on virtual
 * addresses.  A line tells what became of each copy: its name, 1 if the driver
 * reported it as successful, 1 if the bytes are where they were to go, and the
 * address that is not mapped, 0 if there is none.  The exit status is 0 if
 * that could be found out. */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <rte_cycles.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_malloc.h>

#define LEN 1024
#define LONG_LEN 6000           /* More than edu copies at once. */
#define PATIENCE_MS 5000

/* Returns false if the engine cannot be used, or does not complete the copy.
 * Sets '*good' to what the driver says of it. */
static bool
copy(int16_t id, const void *src, void *dst, uint32_t len, bool *good)
{
    enum rte_dma_status_code status = RTE_DMA_STATUS_ERROR_UNKNOWN;

    if (rte_dma_copy(id, 0, (uintptr_t) src, (uintptr_t) dst, len,
                     RTE_DMA_OP_FLAG_SUBMIT) < 0) {
        return false;
    }
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        if (rte_dma_completed_status(id, 0, 1, NULL, &status)) {
            *good = status == RTE_DMA_STATUS_SUCCESSFUL;
            return true;
        }
        rte_delay_us_sleep(1000);
    }
    return false;
}

static bool
try_copy(int16_t id, const char *name, uint8_t *src, uint8_t *dst,
         uint32_t len, const uint8_t *unmapped, int seed)
{
    bool good;

    for (uint32_t i = 0; i < len; i++) {
        src[i] = seed + i % 251;
        dst[i] = ~src[i];
    }
    if (!copy(id, src, dst, len, &good)) {
        fprintf(stderr, "%s: the engine does not complete it\n", name);
        return false;
    }
    printf("%s %d %d 0x%"PRIxPTR"\n", name, good, !memcmp(src, dst, len),
           (uintptr_t) unmapped);
    return true;
}

static bool
start(int16_t id)
{
    const struct rte_dma_conf conf = { .nb_vchans = 1 };
    struct rte_dma_vchan_conf vchan_conf = {
        .direction = RTE_DMA_DIR_MEM_TO_MEM,
    };
    struct rte_dma_info info;

    if (rte_dma_info_get(id, &info) || rte_dma_configure(id, &conf)) {
        return false;
    }
    vchan_conf.nb_desc = info.min_desc;
    return !rte_dma_vchan_setup(id, 0, &vchan_conf) && !rte_dma_start(id);
}

int
main(int argc, char *argv[])
{
    uint8_t *mapped, *unmapped;
    int16_t id;
    bool ok;

    if (rte_eal_init(argc, argv) < 0) {
        return 1;
    }
    id = rte_dma_next_dev(0);
    mapped = rte_zmalloc("stray", 2 * LONG_LEN, 0);
    unmapped = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (id < 0 || !mapped || unmapped == MAP_FAILED || !start(id)) {
        fprintf(stderr, "there is no engine, or no memory\n");
        return 1;
    }
    ok = (try_copy(id, "before", mapped, mapped + LONG_LEN, LONG_LEN, NULL, 1)
          && try_copy(id, "to", mapped, unmapped, LEN, unmapped, 2)
          && try_copy(id, "between", mapped, mapped + LEN, LEN, NULL, 3)
          && try_copy(id, "from", unmapped, mapped, LEN, unmapped, 4)
          && try_copy(id, "after", mapped, mapped + LEN, LEN, NULL, 5));
    rte_dma_stop(id);
    rte_eal_cleanup();
    return !ok;
}
