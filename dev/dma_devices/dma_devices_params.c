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

/* The parameters of a device: dma_devices.c says what they mean.  Called in
 * probe. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_common.h>
#include <rte_lcore.h>

#include "dma_devices.h"
#include "idxd_model.h"

/* A number from 'min' to 'max', at 'offset' of struct params. */
struct number {
    const char *key;
    long int min, max, initial;
    size_t offset;
    bool power_of_two;
};

#define NUMBER(KEY, MEMBER, MIN, MAX, INITIAL, POWER) \
    { KEY, MIN, MAX, INITIAL, offsetof(struct params, MEMBER), POWER }

static const struct number numbers[] = {
    NUMBER("lcore", lcore, 0, RTE_MAX_LCORE - 1, RTE_MAX_LCORE, false),
    NUMBER("numa", numa_id, -1, RTE_MAX_NUMA_NODES - 1, -1, false),
    NUMBER("log", log_size, 0, 1 << 20, 4096, true),
    NUMBER("version", version, 0, 255, 0x34, false),
    NUMBER("report_suspend", report_suspend, 0, 1, 0, false),
    NUMBER("queues", n_queues, 1, MAX_QUEUES, 1, false),
    NUMBER("engines", n_engines, 1, MAX_QUEUES, 1, false),
    NUMBER("wq_size", wq_size, MAX_QUEUES, MAX_WQ_SIZE, 128, false),
    NUMBER("max_batch", lg2_batch, 2, 32768, 1024, true),
    NUMBER("max_queues", max_queues, 1, MAX_QUEUES, 0, false),
};

static int *
number_at(struct params *params, const struct number *n)
{
    return (int *) (void *) ((char *) params + n->offset);
}

static int
wrong(const char *name, const struct rte_kvargs_pair *pair, const char *right)
{
    MODEL_LOG(ERR, name, "%s=%s: wrong value; give %s", pair->key,
              pair->value ? pair->value : "", right);
    return -EINVAL;
}

static int
parse_number(const char *name, const struct rte_kvargs_pair *pair,
             const struct number *n, struct params *params)
{
    char right[64];
    char *end = NULL;
    long int value;

    errno = 0;
    value = pair->value ? strtol(pair->value, &end, 0) : 0;
    if (!end || end == pair->value || *end || errno || value < n->min
        || value > n->max
        || (n->power_of_two && value && !rte_is_power_of_2(value))) {
        snprintf(right, sizeof right, "a %s from %ld to %ld",
                 n->power_of_two ? "power of two" : "number", n->min, n->max);
        return wrong(name, pair, right);
    }
    *number_at(params, n) = value;
    return 0;
}

static int
parse_pair(const char *name, const struct rte_kvargs_pair *pair,
           struct params *params)
{
    for (size_t i = 0; i < RTE_DIM(numbers); i++) {
        if (!strcmp(pair->key, numbers[i].key)) {
            return parse_number(name, pair, &numbers[i], params);
        }
    }
    if (!strcmp(pair->key, "latency_us")) {
        char *end = NULL;
        double us = pair->value ? strtod(pair->value, &end) : -1;

        if (!end || end == pair->value || *end || !(us >= 0 && us <= 1e7)) {
            return wrong(name, pair, "microseconds from 0 to 10000000");
        }
        params->latency_ns = us * 1000 + .5;
        return 0;
    }
    if (!strcmp(pair->key, "control") || !strcmp(pair->key, "kernel")) {
        if (!pair->value || pair->value[0] != '/') {
            return wrong(name, pair, "an absolute path");
        }
        *(pair->key[0] == 'c' ? &params->control : &params->kernel)
            = pair->value;
        return 0;
    }
    MODEL_LOG(ERR, name, "%s=%s: there is no such parameter; there are lcore, "
              "numa, latency_us, control, log, version, "
              "report_suspend (ioat), queues, engines, "
              "wq_size, max_batch, max_queues and kernel (idxd)", pair->key,
              pair->value ? pair->value : "");
    return -EINVAL;
}

/* Sets '*params' to what 'kvargs' say, which must stay as long. */
int
devices_parse_params(const char *name, const struct rte_kvargs *kvargs,
                     struct params *params)
{
    int error = 0;

    for (size_t i = 0; i < RTE_DIM(numbers); i++) {
        *number_at(params, &numbers[i]) = numbers[i].initial;
    }
    for (unsigned int i = 0; !error && i < kvargs->count; i++) {
        error = parse_pair(name, &kvargs->pairs[i], params);
    }
    /* What was given as a number of descriptors. */
    params->lg2_batch = rte_log2_u32(params->lg2_batch);
    return error;
}
