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

/* Test of the map of DMA channels, lib/dpdk-dma-map.c, against a model: what
 * it grants to random claims is what the rules say, restated here as simply as
 * they can be. */

#undef NDEBUG
#include <config.h>

#include "dma-map-fixture.h"
#include "dma-test.h"
#include "openvswitch/dynamic-string.h"
#include "ovstest.h"
#include "random.h"

#define MODEL_CORES 6
#define MODEL_THREADS (2 * MODEL_CORES)
#define MODEL_CORE(THREAD) ((THREAD) / 2)
#define MODEL_NOBODY UINT32_MAX
#define MODEL_CHANS 8

struct model {
    struct dpdk_dma_map *map;
    uint32_t owner[MODEL_CHANS];        /* Thread, or MODEL_NOBODY. */
    bool failed[MODEL_CHANS];
    int pin[MODEL_CORES];       /* Device, -1 if none. */
    bool open;
};

static const struct dev model_devs[] = {
    { "dma0", 2, 0 }, { "dma1", 1, 1 }, { "dma2", 3, -1 }, { "dma3", 2, 1 },
};

static int
model_distance(int a, int b)
{
    return a == b ? 0 : a < 0 || b < 0 ? 1 : 2;
}

static bool
model_may_claim(const struct model *m, uint32_t core,
                const struct dpdk_dma_chan *chan)
{
    if (m->owner[chan->index] != MODEL_NOBODY || m->failed[chan->index]) {
        return false;
    }
    if (m->pin[core] >= 0) {
        return m->pin[core] == chan->dev_id;
    }
    for (int i = 0; i < MODEL_CORES; i++) {
        if (m->pin[i] == chan->dev_id) {
            return false;
        }
    }
    return true;
}

static void
model_claim(struct model *m, uint32_t thread, int numa_id)
{
    uint32_t core = MODEL_CORE(thread);
    const struct dpdk_dma_chan *got = claim_for(m->map, thread, core, numa_id);
    const struct dpdk_dma_chan *chan;
    int held = -1, best = 3;

    for (size_t i = 0; (chan = dpdk_dma_map_get(m->map, i)); i++) {
        if (m->owner[i] == thread) {
            held = i;
        }
        if (model_may_claim(m, core, chan)) {
            best = MIN(best, model_distance(chan->numa_id, numa_id));
        }
    }

    if (!m->open) {
        ovs_assert(!got);
    } else if (held >= 0) {
        ovs_assert(m->failed[held] ? !got
                   : got == dpdk_dma_map_get(m->map, held));
    } else if (best == 3) {
        ovs_assert(!got);
    } else {
        ovs_assert(got && model_may_claim(m, core, got));
        ovs_assert(model_distance(got->numa_id, numa_id) == best);
        m->owner[got->index] = thread;
    }
}

static void
model_release(struct model *m, uint32_t thread)
{
    release(m->map, thread);
    for (size_t i = 0; i < MODEL_CHANS; i++) {
        if (m->owner[i] == thread) {
            m->owner[i] = MODEL_NOBODY;
        }
    }
}

static void
model_fail(struct model *m, int16_t dev_id)
{
    dpdk_dma_map_fail_dev(m->map, dev_id);
    for (size_t i = 0; i < MODEL_CHANS; i++) {
        m->failed[i] |= dpdk_dma_map_get(m->map, i)->dev_id == dev_id;
    }
}

/* Pins some cores at random, each device within the number of its vchans. */
static void
model_pin(struct model *m)
{
    unsigned int left[ARRAY_SIZE(model_devs)];
    struct ds pins = DS_EMPTY_INITIALIZER;
    struct ds warnings = DS_EMPTY_INITIALIZER;

    for (size_t i = 0; i < ARRAY_SIZE(model_devs); i++) {
        left[i] = model_devs[i].n_vchans;
    }
    for (int core = 0; core < MODEL_CORES; core++) {
        int dev = random_range(3 * ARRAY_SIZE(model_devs));

        m->pin[core] = -1;
        if (dev < ARRAY_SIZE(model_devs) && left[dev]) {
            left[dev]--;
            m->pin[core] = dev;
            ds_put_format(&pins, "%d@%s,", core, model_devs[dev].name);
        }
    }
    ds_chomp(&pins, ',');
    dpdk_dma_map_set_pins(m->map, ds_cstr(&pins), &warnings);
    ovs_assert(!warnings.length);
    ds_destroy(&pins);
    ds_destroy(&warnings);
}

static void
model_check(const struct model *m)
{
    for (size_t i = 0; i < MODEL_CHANS; i++) {
        bool owned = m->owner[i] != MODEL_NOBODY;

        check_state(m->map, i,
                    m->failed[i] ? DPDK_DMA_CHAN_FAILED
                    : owned ? DPDK_DMA_CHAN_CLAIMED : DPDK_DMA_CHAN_FREE,
                    owned ? MODEL_CORE(m->owner[i]) : DPDK_DMA_NO_CORE);
        ovs_assert(dpdk_dma_chan_in_use(dpdk_dma_map_get(m->map, i))
                   == owned);
    }
}

static void
model_step(struct model *m)
{
    uint32_t thread = random_range(MODEL_THREADS);
    int dice = random_range(1000);

    if (dice < 2) {
        model_fail(m, random_range(ARRAY_SIZE(model_devs)));
    } else if (dice < 30) {
        model_pin(m);
    } else if (dice < 60) {
        m->open = !m->open;
        if (m->open) {
            dpdk_dma_map_open(m->map);
        } else {
            dpdk_dma_map_close(m->map);
        }
    } else if (dice < 450) {
        model_release(m, thread);
    } else {
        model_claim(m, thread, random_range(4) - 1);
    }
}

static void
test_random_against_model(void)
{
    for (int round = 0; round < 30; round++) {
        struct model m = {
            .map = make_map(model_devs, ARRAY_SIZE(model_devs)),
            .open = true,
        };

        ovs_assert(dpdk_dma_map_count(m.map) == MODEL_CHANS);
        for (size_t i = 0; i < MODEL_CHANS; i++) {
            m.owner[i] = MODEL_NOBODY;
        }
        for (size_t i = 0; i < MODEL_CORES; i++) {
            m.pin[i] = -1;
        }
        for (int step = 0; step < 1000; step++) {
            model_step(&m);
            model_check(&m);
        }
        dpdk_dma_map_destroy(m.map);
    }
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(random_against_model),
};

static void
test_dma_map_random_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-map-random", test_dma_map_random_main);
