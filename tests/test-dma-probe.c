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

/* Tests of lib/dpdk-dma-probe.c: which PCI devices are probed for which
 * other_config:vhost-async-dma-map. */

#undef NDEBUG
#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include <errno.h>

#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_dmadev.h>
#include <rte_lcore.h>

#include "dma-test.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "ovstest.h"
#include "sset.h"
#include "util.h"

/* EAL.  Probing a PCI device makes two queues, as that of Intel DSA does. */

static struct sset dmadevs = SSET_INITIALIZER(&dmadevs);
static struct ds probed = DS_EMPTY_INITIALIZER;     /* In order. */
static int probe_error;

static int
fake_dev_probe(const char *devargs)
{
    ds_put_format(&probed, "%s;", devargs);
    if (probe_error) {
        return -probe_error;
    }
    for (int i = 0; i < 2; i++) {
        sset_add_and_free(&dmadevs, xasprintf("%s-q%d", devargs, i));
    }
    return 0;
}

/* What is given by "--vdev", in a list whose nodes nobody looks into. */
static struct rte_devargs fake_vdevs[3];

static struct rte_devargs *
fake_devargs_next(const char *bus, const struct rte_devargs *last)
{
    const struct rte_devargs *next = last ? last + 1 : fake_vdevs;

    ovs_assert(!strcmp(bus, "vdev"));
    return (next < &fake_vdevs[ARRAY_SIZE(fake_vdevs)] && next->name[0]
            ? CONST_CAST(struct rte_devargs *, next) : NULL);
}

/* The machine has cores 0 to 3. */
static rte_cpuset_t
fake_lcore_cpuset(unsigned int lcore)
{
    rte_cpuset_t cores;

    CPU_ZERO(&cores);
    if (lcore < 4) {
        CPU_SET(lcore, &cores);
    }
    return cores;
}

static int
fake_get_dev_id_by_name(const char *name)
{
    return sset_contains(&dmadevs, name) ? 0 : -EINVAL;
}

#undef VLOG_DEFINE_THIS_MODULE
#define VLOG_DEFINE_THIS_MODULE(MODULE)                         \
    static struct vlog_module this_module = {                   \
        OVS_LIST_INITIALIZER(&this_module.list), #MODULE,       \
        { VLL_OFF, VLL_OFF, VLL_OFF }, VLL_OFF, true            \
    }
#define rte_dev_probe fake_dev_probe
#define rte_devargs_next fake_devargs_next
#define rte_lcore_cpuset fake_lcore_cpuset
#define rte_dma_get_dev_id_by_name fake_get_dev_id_by_name
/* The library has it, too. */
#define dpdk_dma_probe dp_dma_probe
#define dpdk_dma_probe_is_kernel_queue dp_dma_probe_is_kernel_queue
#define dpdk_dma_probe_start dp_dma_probe_start
#define dpdk_dma_probe_lcore dp_dma_probe_lcore
#define dpdk_dma_probe_add_channels dp_dma_probe_add_channels
#include "dpdk-dma-probe.c"

/* Cases. */

static void
check_probed(const char *pins, const char *expected)
{
    ds_clear(&probed);
    dpdk_dma_probe(pins);
    ovs_assert(!strcmp(ds_cstr(&probed), expected));
}

static void
test_pci_devices(void)
{
    check_probed("1@0000:00:04.0, 2@0000:6a:01.0-q1",
                 "0000:00:04.0;0000:6a:01.0;");
    check_probed("x@10000:ff:1f.7-q12", "10000:ff:1f.7;");
}

static void
test_other_names(void)
{
    check_probed(NULL, "");
    check_probed("", "");
    check_probed("0000:00:04.0,1@,@", "");
    check_probed("1@dma_skeleton0,2@wq0.1,3@net", "");
    check_probed("1@0000:6a:01.0-q,2@0000:6a:01.0-q0x,3@0000:6a:01.0x", "");
    check_probed("1@0000:6a:01,2@0000:6a:01.", "");
}

static void
test_devices_that_are_there(void)
{
    sset_add(&dmadevs, "0000:00:04.0");
    check_probed("1@0000:00:04.0", "");
    /* The first one brings the second. */
    check_probed("1@0000:6a:01.0-q0,2@0000:6a:01.0-q1", "0000:6a:01.0;");
    check_probed("1@0000:6a:01.0-q0,2@0000:6a:01.0-q1", "");
}

/* Others are probed all the same, and the next change tries again. */
static void
test_errors(void)
{
    int errors[] = { ENODEV, EEXIST, EPERM };

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        probe_error = errors[i];
        check_probed("1@0000:00:04.0,2@0000:00:04.1",
                     "0000:00:04.0;0000:00:04.1;");
    }
    probe_error = 0;
    check_probed("1@0000:00:04.0", "0000:00:04.0;");
}

static void
check_lcore(const char *args, int expected)
{
    ovs_strlcpy(fake_vdevs[0].name, "net_null0", sizeof fake_vdevs[0].name);
    fake_vdevs[0].args = "lcore=3";
    ovs_strlcpy(fake_vdevs[1].name, "dma_skeleton0",
                sizeof fake_vdevs[1].name);
    fake_vdevs[1].args = args;
    ovs_assert(dpdk_dma_probe_lcore("dma_skeleton0") == expected);
    ovs_assert(dpdk_dma_probe_lcore("dma_skeleton") == -1);
}

/* The core of a software engine's thread, if it has one of its own. */
static void
test_lcore(void)
{
    ovs_assert(dpdk_dma_probe_lcore("dma_skeleton0") == -1);
    check_lcore("lcore=2", 2);
    check_lcore("x=1,lcore=0", 0);
    check_lcore("lcore=4", -1);
    check_lcore("lcore=99999", -1);
    check_lcore("lcore=", -1);
    check_lcore("", -1);
    check_lcore(NULL, -1);
}

static const struct dma_test_case cases[] = {
    DMA_TEST_CASE(pci_devices),
    DMA_TEST_CASE(other_names),
    DMA_TEST_CASE(devices_that_are_there),
    DMA_TEST_CASE(errors),
    DMA_TEST_CASE(lcore),
};

static void
test_dma_probe_main(int argc, char *argv[])
{
    dma_test_main(cases, ARRAY_SIZE(cases), argc, argv);
}

OVSTEST_REGISTER("test-dma-probe", test_dma_probe_main);
