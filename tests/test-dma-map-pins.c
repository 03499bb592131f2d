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

/* Tests of the explicit map of DMA channels, lib/dpdk-dma-map.c:
 * other_config:vhost-async-dma-map. */

#undef NDEBUG
#include <config.h>

#include "dma-map-fixture.h"
#include "dma-test.h"
#include "openvswitch/dynamic-string.h"
#include "ovstest.h"

static void
test_pin_before_numa(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "node0", 1, 0 }, { "node1", 1, 1 });

    check_pins(map, "3@node1", "");
    check_claim(map, 3, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pinned_device_is_not_for_others(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 1 });

    check_pins(map, "3@dma0", "");
    /* Neither the vchan that the core will claim nor the other one. */
    check_claim(map, 1, 0, 2);
    check_claim(map, 2, 0, -1);
    check_claim(map, 3, 0, 0);
    check_claim(map, 2, 0, -1);
    check_free(map, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pinned_core_takes_nothing_else(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 9, 0, 0);
    check_pins(map, "3@dma0", "");
    check_claim(map, 3, 0, -1);
    check_free(map, 1);
    release(map, 9);
    check_claim(map, 3, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_by_vchan(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0,2@dma0,3@dma1", "");
    check_claim(map, 2, 0, 0);
    check_claim(map, 1, 0, 1);
    check_claim(map, 3, 0, 2);
    check_claim(map, 4, 0, -1);
    dpdk_dma_map_destroy(map);
}

/* A pin is for whichever threads are on the core. */
static void
test_pins_and_threads_of_one_core(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 2, 0 });

    check_pins(map, "3@dma0", "");
    check_claim_for(map, 100, 3, 0, 0);
    check_claim_for(map, 101, 3, 0, -1);
    release(map, 100);
    check_claim_for(map, 101, 3, 0, 0);
    release(map, 101);

    check_pins(map, "3@dma1", "");
    check_claim_for(map, 100, 3, 0, 1);
    check_claim_for(map, 101, 3, 0, 2);
    check_claim_for(map, 102, 3, 0, -1);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_separators(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "a@b", 1, 0 });
#define EMPTY "entry \"\" is not of the form CORE@DEV; it is ignored\n"

    check_pins(map, " 1@dma0 ,\t2@a@b\n", "");
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    check_pins(map, " , 1@dma0 ,\t2@a@b,\n", EMPTY EMPTY);
    check_pins(map, ",, ,", EMPTY EMPTY EMPTY EMPTY);
#undef EMPTY
    dpdk_dma_map_destroy(map);
}

static void
test_pins_replace_pins(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0,2@dma1", "");
    check_claim(map, 3, 0, -1);
    check_pins(map, "3@dma1", "");
    check_claim(map, 3, 0, 1);
    check_claim(map, 1, 0, 0);
    release(map, 1);
    release(map, 3);
    check_pins(map, NULL, "");
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_unchanged(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });
    struct ds ds = DS_EMPTY_INITIALIZER;

    ovs_assert(!dpdk_dma_map_set_pins(map, NULL, &ds));
    ovs_assert(!dpdk_dma_map_set_pins(map, "", &ds));
    ovs_assert(dpdk_dma_map_set_pins(map, "1@dma0,junk", &ds));
    ovs_assert(ds.length);
    ds_clear(&ds);

    /* One warning about an unchanged value is enough. */
    ovs_assert(!dpdk_dma_map_set_pins(map, "1@dma0,junk", &ds));
    ovs_assert(!ds.length);
    check_claim(map, 2, 0, -1);
    ovs_assert(dpdk_dma_map_set_pins(map, "", &ds));
    check_claim(map, 2, 0, 0);
    ds_destroy(&ds);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_leave_claims_alone(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_claim(map, 1, 0, 0);
    check_pins(map, "2@dma0", "");
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, -1);

    /* What is done then: all let go, all claim anew. */
    dpdk_dma_map_close(map);
    check_claim(map, 1, 0, -1);
    check_claim(map, 2, 0, -1);
    release(map, 1);
    release(map, 2);
    dpdk_dma_map_open(map);
    check_claim(map, 1, 0, 1);
    check_claim(map, 2, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_of_bad_form(void)
{
#define BAD_FORM(ENTRY) \
    "entry \"" ENTRY "\" is not of the form CORE@DEV; it is ignored\n"
#define BAD_CORE(ENTRY) \
    "entry \"" ENTRY "\" does not start with a core number; it is ignored\n"
    static const struct {
        const char *pins;
        const char *warning;
    } bad[] = {
        { "1", BAD_FORM("1") },
        { "dma0", BAD_FORM("dma0") },
        { "@dma0", BAD_FORM("@dma0") },
        { "1@", BAD_FORM("1@") },
        { "@", BAD_FORM("@") },
        { ",", BAD_FORM("") BAD_FORM("") },
        { " ", BAD_FORM("") },
        { "x,", BAD_FORM("x") BAD_FORM("") },
        { "1 @dma0", BAD_FORM("1") BAD_FORM("@dma0") },
        { "x@dma0", BAD_CORE("x@dma0") },
        { "1x@dma0", BAD_CORE("1x@dma0") },
        { "0x1@dma0", BAD_CORE("0x1@dma0") },
        { "-1@dma0", BAD_CORE("-1@dma0") },
        { "+1@dma0", BAD_CORE("+1@dma0") },
        { "1.0@dma0", BAD_CORE("1.0@dma0") },
        { "4294967295@dma0", BAD_CORE("4294967295@dma0") },
        { "4294967297@dma0", BAD_CORE("4294967297@dma0") },
        { "99999999999999999999@dma0", BAD_CORE("99999999999999999999@dma0") },
    };
#undef BAD_FORM
#undef BAD_CORE
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        check_pins(map, bad[i].pins, bad[i].warning);
        /* It pins nothing. */
        check_claim(map, 1, 0, 0);
        release(map, 1);
        check_claim(map, 2, 0, 0);
        release(map, 2);
    }
    dpdk_dma_map_destroy(map);
}

static void
test_pins_unknown_device(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 });

    check_pins(map, "1@dma1",
               "entry \"1@dma1\" names no DMA device that can be used; the "
               "core claims any free channel\n");
    check_claim(map, 1, 0, 0);
    check_pins(map, "1@dma",
               "entry \"1@dma\" names no DMA device that can be used; the "
               "core claims any free channel\n");
    check_pins(map, "1@dma00",
               "entry \"1@dma00\" names no DMA device that can be used; the "
               "core claims any free channel\n");
    dpdk_dma_map_destroy(map);
}

/* A pin that nobody claims by is told, since it withholds a channel. */
static void
test_pins_idle(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });
    struct ds ds = DS_EMPTY_INITIALIZER;

    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!ds.length && !dpdk_dma_map_has_claims(map));

    check_pins(map, "7@dma0", "");
    check_claim(map, 1, 0, 1);
    ovs_assert(dpdk_dma_map_has_claims(map));
    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!strncmp(ds_cstr(&ds), "  dma0: pinned to core 7, ", 26));
    ovs_assert(strchr(ds_cstr(&ds), '\n') == ds_cstr(&ds) + ds.length - 1);

    ds_clear(&ds);
    check_claim(map, 7, 0, 0);
    release(map, 1);
    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!ds.length && dpdk_dma_map_has_claims(map));

    /* What failed is said elsewhere. */
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    ovs_assert(!dpdk_dma_map_has_claims(map));
    release(map, 7);
    dpdk_dma_map_format_idle_pins(map, &ds);
    ovs_assert(!ds.length);
    ds_destroy(&ds);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_core_twice(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma1,01@dma0",
               "entry \"01@dma0\" names core 1 a second time; the first one "
               "is used\n");
    check_claim(map, 1, 0, 1);
    /* The second one pins nothing. */
    check_claim(map, 2, 0, 0);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_too_many(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 2, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0,2@dma0,3@dma0",
               "entry \"3@dma0\" asks for more channels than the device has "
               "(2); the core claims any free channel\n");
    check_claim(map, 3, 0, 2);
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pins_good_among_bad(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "bad,1@dma9,2@dma1,1@dma0,x@dma0",
               "entry \"bad\" is not of the form CORE@DEV; it is ignored\n"
               "entry \"1@dma9\" names no DMA device that can be used; the "
               "core claims any free channel\n"
               "entry \"x@dma0\" does not start with a core number; it is "
               "ignored\n");
    check_claim(map, 3, 0, -1);
    check_claim(map, 1, 0, 0);
    check_claim(map, 2, 0, 1);
    dpdk_dma_map_destroy(map);
}

static void
test_pinned_device_failed(void)
{
    struct dpdk_dma_map *map = MAKE_MAP({ "dma0", 1, 0 }, { "dma1", 1, 0 });

    check_pins(map, "1@dma0", "");
    ovs_assert(dpdk_dma_map_fail_dev(map, 0));
    check_claim(map, 1, 0, -1);
    check_free(map, 1);
    dpdk_dma_map_destroy(map);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(pin_before_numa),
    DMA_TEST_CASE(pinned_device_is_not_for_others),
    DMA_TEST_CASE(pinned_core_takes_nothing_else),
    DMA_TEST_CASE(pins_by_vchan),
    DMA_TEST_CASE(pins_and_threads_of_one_core),
    DMA_TEST_CASE(pins_separators),
    DMA_TEST_CASE(pins_replace_pins),
    DMA_TEST_CASE(pins_unchanged),
    DMA_TEST_CASE(pins_leave_claims_alone),
    DMA_TEST_CASE(pins_of_bad_form),
    DMA_TEST_CASE(pins_unknown_device),
    DMA_TEST_CASE(pins_idle),
    DMA_TEST_CASE(pins_core_twice),
    DMA_TEST_CASE(pins_too_many),
    DMA_TEST_CASE(pins_good_among_bad),
    DMA_TEST_CASE(pinned_device_failed),
};

static void
test_dma_map_pins_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-map-pins", test_dma_map_pins_main);
