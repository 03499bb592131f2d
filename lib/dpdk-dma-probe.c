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

/* Implementation of dpdk-dma-probe.h. */

#include <config.h>

#include "vhost-async-dpdk-compat.h"

#include "dpdk-dma-probe.h"

#include <errno.h>

#include <rte_common.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_dmadev.h>
#include <rte_eal.h>
#include <rte_lcore.h>

#include "dpdk-dma-map.h"
#include "openvswitch/vlog.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(dpdk_dma_probe);

/* Descriptors asked for per vchan.  A vhost txq has at most a few hundred
 * buffers in use, and an engine that is this far behind is no help. */
#define DMA_RING_SIZE 4096

/* Returns how many characters of 'name' are the address of a PCI device, with
 * or without the queue behind it, as the drivers name their dmadevs
 * ("0000:00:04.0" by ioat, "0000:6a:01.0-q0" by idxd), or 0. */
static int
pci_address_len(const char *name)
{
    unsigned int domain, bus, device, function, queue;
    int len, queue_len;

    if (!ovs_scan(name, "%x:%x:%x.%x%n", &domain, &bus, &device, &function,
                  &len)) {
        return 0;
    }
    if (name[len]
        && (!ovs_scan(&name[len], "-q%u%n", &queue, &queue_len)
            || name[len + queue_len])) {
        return 0;
    }
    return len;
}

/* Probes the PCI device of the dmadev 'name' unless that is there. */
static void
probe_one(const char *name)
{
    int len = pci_address_len(name);
    char *address;
    int err;

    if (!len || rte_dma_get_dev_id_by_name(name) >= 0) {
        return;
    }
    address = xmemdup0(name, len);
    err = -rte_dev_probe(address);
    if (!err) {
        VLOG_INFO("PCI device %s is probed.", address);
    } else if (err != EEXIST) {
        VLOG_WARN("PCI device %s cannot be probed: %s; is it bound to a "
                  "driver that DPDK can use, such as vfio-pci?", address,
                  ovs_strerror(err));
    }
    free(address);
}

/* Probes PCI devices that 'pins' names and that were not probed yet.  'pins'
 * is as dpdk_dma_map_set_pins() takes it, which warns of what is wrong with
 * it.  Main thread. */
void
dpdk_dma_probe(const char *pins)
{
    char *copy = xstrdup(pins ? pins : "");
    char *save = NULL;

    for (char *entry = strtok_r(copy, ", \t\n", &save); entry;
         entry = strtok_r(NULL, ", \t\n", &save)) {
        const char *at = strchr(entry, '@');

        if (at) {
            probe_one(at + 1);
        }
    }
    free(copy);
}

/* Returns the core that the thread of the software engine 'name' gets when it
 * is started now: "lcore=" among its arguments names an lcore (dma_skeleton,
 * 22.11), and EAL says which cores that has.  Returns -1 if it has no thread,
 * or one that is not bound to one core; warns if EAL has no core for it.  Main
 * thread. */
int
dpdk_dma_probe_lcore(const char *name)
{
    for (const struct rte_devargs *devargs = rte_devargs_next("vdev", NULL);
         devargs; devargs = rte_devargs_next("vdev", devargs)) {
        unsigned int lcore;
        const char *arg;
        rte_cpuset_t cores;

        if (strcmp(devargs->name, name)) {
            continue;
        }
        arg = devargs->args ? strstr(devargs->args, "lcore=") : NULL;
        if (!arg || !ovs_scan(arg, "lcore=%u", &lcore)
            || lcore >= RTE_MAX_LCORE) {
            return -1;
        }
        cores = rte_lcore_cpuset(lcore);
        for (int core = 0; CPU_COUNT(&cores) == 1 && core < CPU_SETSIZE;
             core++) {
            if (CPU_ISSET(core, &cores)) {
                return core;
            }
        }
        if (!CPU_COUNT(&cores)) {
            VLOG_WARN("DMA device %s: DPDK has no core for \"lcore=%u\" in "
                      "other_config:dpdk-extra, and its thread runs on any "
                      "core; name one that neither a PMD thread nor a guest "
                      "that polls is using.", name, lcore);
        }
        return -1;
    }
    return -1;
}

/* Says why the device cannot copy for vhost, or returns NULL if it can.
 *
 * The device is given IOVAs.  An engine that works on virtual addresses, which
 * RTE_DMA_CAPA_SVA tells, must not get physical ones: it would write to memory
 * that is not meant. */
static const char *
probe_unfit(const struct rte_dma_info *info)
{
    const uint64_t needed = RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_OPS_COPY;

    if ((info->dev_capa & needed) != needed) {
        return "it does not copy from memory to memory";
    }
    if (!info->max_vchans) {
        return "it has no vchan";
    }
    if ((info->dev_capa & RTE_DMA_CAPA_SVA)
        && rte_eal_iova_mode() == RTE_IOVA_PA) {
        return "it takes virtual addresses and EAL uses physical ones; "
               "add --iova-mode=va to other_config:dpdk-extra";
    }
    return NULL;
}

/* Takes the vchans of dmadev 'dev_id' into 'map', as far as there is room, if
 * it can copy for vhost, and says so.  Returns their number; if it is not 0,
 * stores the name of the device, which stays, in '*name'.  The thread that
 * changes 'map'. */
uint16_t
dpdk_dma_probe_add_channels(int16_t dev_id, struct dpdk_dma_map *map,
                            const char **name)
{
    struct rte_dma_info info;
    const char *unfit;
    uint16_t vchan;
    int err;

    err = rte_dma_info_get(dev_id, &info);
    if (err) {
        VLOG_WARN("DMA device %"PRId16" is not used: cannot get its "
                  "properties (%s).", dev_id, ovs_strerror(-err));
        return 0;
    }
    unfit = probe_unfit(&info);
    if (unfit) {
        VLOG_WARN("DMA device %s is not used: %s.", info.dev_name, unfit);
        return 0;
    }
    for (vchan = 0; vchan < info.max_vchans; vchan++) {
        const struct dpdk_dma_chan *chan;

        chan = dpdk_dma_map_add(map, info.dev_name, dev_id, vchan,
                                info.numa_node);
        if (!chan) {
            VLOG_WARN("DMA device %s: vchans from %"PRIu16" on are not used, "
                      "there are %d channels already.", info.dev_name, vchan,
                      DPDK_DMA_MAX_CHANS);
            break;
        }
        *name = chan->dev_name;
    }
    VLOG_INFO("DMA device %s: %"PRIu16" channel(s) on NUMA node %d.",
              info.dev_name, vchan, info.numa_node);
    return vchan;
}

/* Whether the dmadev 'name', such as "wq0.1", is a work queue of the kernel's
 * idxd driver.  DPDK only has its submission portal and cannot stop it:
 * rte_dma_stop() answers 0, since the driver has no such operation, and copies
 * go on (drivers/dma/idxd/idxd_bus.c, 'idxd_bus_ops', 22.11).  Any thread. */
bool
dpdk_dma_probe_is_kernel_queue(const char *name)
{
    unsigned int device, queue;
    int n;

    return ovs_scan(name, "wq%u.%u%n", &device, &queue, &n) && !name[n];
}

/* Sets dmadev 'id' up with 'n_vchans' vchans and starts it.  Returns 0 and
 * sets '*ring_size' to the number of descriptors of each vchan, or returns an
 * errno. */
int
dpdk_dma_probe_start(int16_t id, uint16_t n_vchans, uint16_t *ring_size)
{
    const struct rte_dma_conf conf = { .nb_vchans = n_vchans };
    struct rte_dma_vchan_conf vchan_conf = {
        .direction = RTE_DMA_DIR_MEM_TO_MEM,
    };
    struct rte_dma_info info;
    int err;

    err = rte_dma_info_get(id, &info);
    if (!err) {
        err = rte_dma_configure(id, &conf);
    }
    if (!err) {
        /* A power of two, as some drivers want. */
        *ring_size = rte_align32prevpow2(MIN(DMA_RING_SIZE, info.max_desc));
        *ring_size = vchan_conf.nb_desc = MAX(*ring_size, info.min_desc);
    }
    for (uint16_t vchan = 0; !err && vchan < n_vchans; vchan++) {
        err = rte_dma_vchan_setup(id, vchan, &vchan_conf);
    }
    if (!err) {
        err = rte_dma_start(id);
    }
    return -err;
}
