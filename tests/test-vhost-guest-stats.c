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

/* Test of what a port counts and shows: netdev-dpdk-async-stats.c, with all
 * that is below it but the vhost library and the engines. */

#undef NDEBUG
#include <config.h>

#define DP(NAME) test_vhost_guest_stats_##NAME
#include "vhost-guest-fixture.h"
#include "openvswitch/json.h"

static uint64_t
vring_stat(struct port *p, const char *name)
{
    struct rte_vhost_stat_name names[2] = { { .name = "tx_q0_other" } };
    struct rte_vhost_stat stats[2] = { { .id = 0, .value = 5 },
                                       { .id = 1, .value = 1000 } };

    snprintf(names[1].name, sizeof names[1].name, "tx_q0_%s", name);
    netdev_dpdk_async_add_vring_stats(&p->async, 0, names, stats, 2);
    ovs_assert(stats[0].value == 5);
    netdev_dpdk_async_add_vring_stats(&p->async, 5, names, stats, 2);
    return stats[1].value - 1000;
}

static uint64_t
custom_stat(struct port *p, const char *name)
{
    struct netdev_custom_stats stats = { .size = 0 };
    uint64_t value = UINT64_MAX;

    netdev_dpdk_async_get_custom_stats(&p->async, &stats);
    for (uint16_t i = 0; i < stats.size; i++) {
        if (!strcmp(stats.counters[i].name, name)) {
            value = stats.counters[i].value;
        }
    }
    free(stats.counters);
    return value;
}

/* What dma-show tells of the ports as JSON begins with 'format', whose keys
 * are sorted. */
static void OVS_PRINTF_FORMAT(1, 2)
check_json(const char *format, ...)
{
    struct json *json = netdev_dpdk_async_to_json();
    char *text = json_to_string(json, JSSF_SORT);
    char *expected;
    va_list args;

    va_start(args, format);
    expected = xvasprintf(format, args);
    va_end(args);
    if (strncmp(text, expected, strlen(expected))) {
        ovs_fatal(0, "%s, not %s", text, expected);
    }
    free(expected);
    free(text);
    json_destroy(json);
}

static void
test_statistics(void)
{
    static const struct {
        const char *name;
        uint32_t len;
    } bins[] = {
        { "undersize_packets", 60 }, { "size_64_packets", 64 },
        { "size_65_127_packets", 127 }, { "size_128_255_packets", 128 },
        { "size_256_511_packets", 511 }, { "size_512_1023_packets", 512 },
        { "size_1024_1518_packets", 1518 }, { "size_1519_max_packets", 1519 },
    };
    struct vm *vm;
    struct port *p = set_up(&vm, 0, 1);
    struct ring *r = &vm->rings[0];
    uint64_t bytes = 0, n_lost;
    struct ds ds = DS_EMPTY_INITIALIZER;

    for (size_t i = 0; i < ARRAY_SIZE(bins); i++) {
        ovs_assert(!vring_stat(p, bins[i].name));
        check_traffic(p, r, 1, bins[i].len);
        ovs_assert(vring_stat(p, bins[i].name) == 1);
        bytes += bins[i].len;
        ovs_assert(vring_stat(p, "good_packets") == i + 1);
        ovs_assert(vring_stat(p, "good_bytes") == bytes);
        ovs_assert(vring_stat(p, "guest_notifications"));
    }
    ovs_assert(!vring_stat(p, "no_such_counter"));
    ovs_assert(custom_stat(p, "tx_async_dma_packets") == 2);
    ovs_assert(custom_stat(p, "tx_async_dma_bytes") == 1518 + 1519);
    ovs_assert(custom_stat(p, "tx_async_cpu_packets") == 6);
    ovs_assert(custom_stat(p, "tx_async_in_flight") == 0);

    /* Drops. */
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 0));
    ovs_assert(!port_send(p, r, 0, 3, SMALL));
    ovs_assert(custom_stat(p, "tx_async_down_drops") == 3);
    ovs_assert(ring_state(r, VHOST_ASYNC_SET_VRING_ENABLE, 1));
    ovs_assert(port_send(p, r, 0, 64, SMALL) == 64);
    ovs_assert(!port_send(p, r, 0, 4, SMALL));
    ovs_assert(custom_stat(p, "tx_async_full_drops") == 4);
    ovs_assert(p->n_dropped == 7);
    settle();
    ring_get(r, 64);
    ring_offer(r, 64);

    netdev_dpdk_async_format(&ds);
    ovs_assert(strstr(ds_cstr(&ds), "port port0: DMA\n"));
    ovs_assert(strstr(ds_cstr(&ds), "txq 0: DMA\n"));
    ovs_assert(strstr(ds_cstr(&ds), "by DMA: 2 packets"));
    check_json("[{\"copies\":\"DMA\",\"guest\":true,\"name\":\"port0\","
               "\"rxqs\":[],"
               "\"txqs\":[{\"busy-drops\":0,\"copies\":\"DMA\","
               "\"cpu-bytes\":%"PRIu64",\"cpu-packets\":70,"
               "\"dma-bytes\":3037,\"dma-packets\":2,\"down-drops\":3,"
               "\"full-drops\":4,\"in-flight\":0,\"lost-drops\":0,",
               custom_stat(p, "tx_async_cpu_bytes"));

    /* dma-stats-clear is for dma-show only. */
    netdev_dpdk_async_stats_clear();
    ds_clear(&ds);
    netdev_dpdk_async_format(&ds);
    ovs_assert(strstr(ds_cstr(&ds), "by DMA: 0 packets"));
    ovs_assert(custom_stat(p, "tx_async_dma_packets") == 2);
    ovs_assert(vring_stat(p, "size_1519_max_packets") == 1);

    /* Nor do those of the port go with its txqs. */
    n_lost = netdev_dpdk_async_lost(&p->async);
    port_set_dma(p, false);
    vm_leave(vm);
    settle();
    ovs_assert(!vhost_async_port_vqs(&p->async.port));
    ovs_assert(custom_stat(p, "tx_async_dma_packets") == 2);
    ovs_assert(custom_stat(p, "tx_async_full_drops") == 4);
    ovs_assert(netdev_dpdk_async_lost(&p->async) == n_lost);
    ds_clear(&ds);
    netdev_dpdk_async_format(&ds);
    ovs_assert(strstr(ds_cstr(&ds), "port port0: CPU: options:vhost-async"));
    check_json("[{\"copies\":\"CPU\",\"guest\":false,\"name\":\"port0\","
               "\"reason\":\"options:vhost-async is false\","
               "\"rxqs\":[],\"txqs\":[]}]");
    ds_destroy(&ds);
    finish(p, vm);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(statistics),
};

static void
test_vhost_guest_stats_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-vhost-guest-stats", test_vhost_guest_stats_main);
