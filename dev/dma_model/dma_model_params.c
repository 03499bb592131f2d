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

/* The parameters of a device.
 *
 * For each there is a function that sets what 'value' says in 'params', or
 * returns what the value should have been. */

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dma_model.h"

static const char *const op_names[N_OPS] = {
    "info", "configure", "setup", "start", "stop", "close", "stats",
};

static const char *
parse_latency(const char *value, struct params *params)
{
    char *end;
    double us = strtod(value, &end);

    if (end == value || *end || !(us >= 0 && us <= 1e7)) {
        return "microseconds from 0 to 10000000";
    }
    params->latency_ns = us * 1000 + .5;
    return NULL;
}

static const char *
parse_gbps(const char *value, struct params *params)
{
    char *end;
    double gbps = strtod(value, &end);

    if (!strcmp(value, "inf")) {
        params->gbps = HUGE_VAL;
    } else if (end == value || *end || !(gbps >= .1 && gbps <= 1e5)) {
        return "gigabits a second from .1 to 100000, or inf";
    } else {
        params->gbps = gbps;
    }
    return NULL;
}

static const char *
parse_copy(const char *value, struct params *params)
{
    params->late = !strcmp(value, "late");
    return params->late || !strcmp(value, "none") ? NULL : "late or none";
}

static const char *
parse_errors(const char *value, struct params *params)
{
    params->count_errors = !strcmp(value, "count");
    return (params->count_errors || !strcmp(value, "stop")
            ? NULL : "stop or count");
}

static bool
parse_int(const char *value, long int min, long int max, long int *n)
{
    char *end;

    errno = 0;
    *n = strtol(value, &end, 10);
    return end != value && !*end && !errno && *n >= min && *n <= max;
}

static const char *
parse_vchans(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, 1, MAX_VCHANS, &n)) {
        return "a number from 1 to " RTE_STR(MAX_VCHANS);
    }
    params->n_vchans = n;
    return NULL;
}

static const char *
parse_numa(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, -1, RTE_MAX_NUMA_NODES - 1, &n)) {
        return "a number from -1, which is unknown, and below "
               RTE_STR(RTE_MAX_NUMA_NODES);
    }
    params->numa_id = n;
    return NULL;
}

static const char *
parse_max_desc(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, MIN_DESC, MAX_DESC, &n) || !rte_is_power_of_2(n)) {
        return "a power of two from " RTE_STR(MIN_DESC) " to "
               RTE_STR(MAX_DESC);
    }
    params->max_desc = n;
    return NULL;
}

static const char *
parse_log(const char *value, struct params *params)
{
    long int n;

    if (!parse_int(value, 0, MAX_LOG, &n)
        || (n && !rte_is_power_of_2(n))) {
        return "0, or a power of two up to 1048576";
    }
    params->log_size = n;
    return NULL;
}

static const char *
parse_control(const char *value, struct params *params)
{
    if (value[0] != '/') {
        return "an absolute path";
    }
    params->control = value;
    return NULL;
}

static const struct {
    const char *name;
    enum fault fault;
} fault_names[] = {
    { "hang", FAULT_HANG },
    { "error", FAULT_ERROR },
    { "copy", FAULT_REFUSE },
    { "full", FAULT_FULL },
};

static const char *
parse_fail(const char *value, struct params *params)
{
    size_t n;

    for (const char *s = value; *s; s += n + (s[n] == '+')) {
        bool known = false;

        n = strcspn(s, "+");
        for (size_t i = 0; i < N_OPS; i++) {
            if (strlen(op_names[i]) == n && !strncmp(op_names[i], s, n)) {
                params->fail_ops |= 1u << i;
                known = true;
            }
        }
        for (size_t i = 0; i < RTE_DIM(fault_names); i++) {
            const char *name = fault_names[i].name;

            if (strlen(name) == n && !strncmp(name, s, n)) {
                params->faults |= fault_names[i].fault;
                known = true;
            }
        }
        if (!known) {
            value = "";
            break;
        }
    }
    return (*value ? NULL
            : "of info, configure, setup, start, stop, close, stats, copy, "
              "error, full and hang, with + between them");
}

static const struct {
    const char *key;
    const char *(*parse)(const char *value, struct params *);
} keys[] = {
    { "latency_us", parse_latency },
    { "gbps", parse_gbps },
    { "copy", parse_copy },
    { "vchans", parse_vchans },
    { "numa", parse_numa },
    { "max_desc", parse_max_desc },
    { "errors", parse_errors },
    { "fail", parse_fail },
    { "control", parse_control },
    { "log", parse_log },
};

/* Parses one parameter.  'seen' has the bits of those that were before. */
static int
parse_pair(const char *name, const struct rte_kvargs_pair *pair,
           unsigned int *seen, struct params *params)
{
    for (size_t i = 0; i < RTE_DIM(keys); i++) {
        const char *expected;

        if (strcmp(pair->key, keys[i].key)) {
            continue;
        }
        if (*seen & 1u << i) {
            MODEL_LOG(ERR, name, "%s=%s: %s is given twice; leave one out",
                      pair->key, pair->value ? pair->value : "", pair->key);
            return -EINVAL;
        }
        *seen |= 1u << i;
        expected = keys[i].parse(pair->value ? pair->value : "", params);
        if (expected) {
            MODEL_LOG(ERR, name, "%s=%s: wrong value; give %s", pair->key,
                      pair->value ? pair->value : "", expected);
            return -EINVAL;
        }
        return 0;
    }
    MODEL_LOG(ERR, name, "%s=%s: there is no such parameter; there are "
              "latency_us, gbps, copy, vchans, numa, max_desc, errors, fail, "
              "control and log", pair->key, pair->value ? pair->value : "");
    return -EINVAL;
}

int
dma_model_parse_params(const char *name, const struct rte_kvargs *kvargs,
                       struct params *params)
{
    unsigned int seen = 0;
    int error = 0;

    for (unsigned int i = 0; !error && i < kvargs->count; i++) {
        error = parse_pair(name, &kvargs->pairs[i], &seen, params);
    }
    return error;
}
