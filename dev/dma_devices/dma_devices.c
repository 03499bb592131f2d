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

/* DMA devices in memory, for DPDK's own drivers: ioat (Intel CBDMA) and idxd
 * (Intel DSA) find registers, portals and an engine behind them that behave
 * as the hardware, as far as the sources of the drivers say how that is.  For
 * tests.  dev.dma_devices builds it; EAL loads it with -d, and the drivers
 * themselves as usual:
 *
 *     -d .../librte_dma_devices.so
 *     --vdev=ioat_model0,lcore=0,control=/run/dma0 --vdev=idxd_model1
 *
 * The digits of the name give the PCI address, by which the drivers name
 * their dmadevs: ioat_model3 is fffe:00:03.0, and the first queue of
 * idxd_model3 is fffe:6a:03.0-q0.
 *
 * ioat_model.c and idxd_model.c are the devices, device_bus.c is how a driver
 * gets at them, device_engine.c is what carries out copies.
 *
 * Parameters, all optional:
 *
 *     lcore=N        The engine's thread runs on what EAL has for this lcore;
 *                    without it, on any core.
 *     numa=N         NUMA node that the device says it is on, whether the
 *                    machine has it or not; -1, the default, is unknown.
 *     latency_us=T   A copy begins no sooner after its doorbell than this, and
 *                    no later than twice this if the engine is not busy.  0
 *                    to 10000000, decimals allowed, 0 by default.
 *     control=PATH   Makes PATH a control page, as that of dma_model, see
 *                    dma_model_page.h; each queue is a vchan of it.  'stop' of
 *                    its operations is that the device does not suspend,
 *                    disable or reset, 'start' that it does not arm or enable,
 *                    as often as the driver looks; what only a driver can do,
 *                    as to refuse a copy, it has no influence on.
 *     log=N          As for dma_model.
 *
 *     version=V      Of ioat: CBVER, 0x34 by default.
 *     report_suspend=0|1
 *                    Whether a channel of ioat that is suspended reports that
 *                    in memory, which is not known; 0 by default.
 *     queues=N       Of idxd: work queues, 1 to 8, by default 1,
 *     engines=N      and engines, likewise.
 *     wq_size=N      Entries of all queues together, up to 1024, by default
 *                    128.
 *     max_batch=N    Most descriptors in a batch, a power of two from 2 to
 *                    32768, by default 1024.
 *     max_queues=N   Handed to the driver.
 *     kernel=PATH    It is not a PCI device but a work queue of the kernel's
 *                    idxd driver, the file PATH, which DPDK has mapped: an
 *                    empty one in the directory that DSA_DEV_PATH names, such
 *                    as wq0.0, of which DSA_SYSFS_PATH has what is in
 *                    /sys/bus/dsa/devices.  'queues' is 1 then.
 *
 * Addresses are what EAL has: those of a device without an IOMMU in mode PA,
 * see device_iova.c, and those of one behind an IOMMU, which EAL has made the
 * same as those of the process, in mode VA.
 *
 * EAL calls probe and remove, one at a time. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bus_driver.h>
#include <bus_vdev_driver.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#include "dma_devices.h"

#define PCI_DOMAIN 0xfffe
#define PCI_MAX_DEVICE 31

RTE_LOG_REGISTER(dma_model_logtype, pmd.dma.model.devices, NOTICE);

/* How the PCI bus begins, which has no function to look for drivers
 * (drivers/bus/pci/private.h of DPDK 22.11). */
struct pci_bus {
    struct rte_bus bus;
    RTE_TAILQ_HEAD(, rte_pci_device) device_list;
    RTE_TAILQ_HEAD(, rte_pci_driver) driver_list;
};

static struct rte_pci_driver *
find_driver(const struct rte_bus *bus, const struct model *model)
{
    const struct pci_bus *pci = (const struct pci_bus *) bus;
    struct rte_pci_driver *driver;

    RTE_TAILQ_FOREACH (driver, &pci->driver_list, next) {
        for (const struct rte_pci_id *id = driver->id_table; id->vendor_id;
             id++) {
            if (id->vendor_id == model->vendor_id
                && id->device_id == model->device_id) {
                return driver;
            }
        }
    }
    return NULL;
}

/* Has 'd' look to drivers as any other PCI device. */
static void
pci_init(struct device *d, struct rte_bus *bus, int number)
{
    struct rte_pci_device *pci = &d->pci;

    pci->addr = (struct rte_pci_addr) {
        .domain = PCI_DOMAIN, .bus = d->model->bus, .devid = number,
    };
    rte_pci_device_name(&pci->addr, pci->name, sizeof pci->name);
    pci->id.vendor_id = d->model->vendor_id;
    pci->id.device_id = d->model->device_id;
    pci->device.name = pci->name;
    pci->device.bus = bus;
    pci->device.numa_node = d->params.numa_id;
    pci->mem_resource[0].addr = d->bar;
    pci->mem_resource[0].len = d->model->regs_size;
    pci->mem_resource[2].addr = d->portals;
    pci->mem_resource[2].len = d->portals_size;
    if (d->params.max_queues) {
        snprintf(d->max_queues, sizeof d->max_queues, "max_queues=%u",
                 d->params.max_queues);
        d->devargs.args = d->max_queues;
        pci->device.devargs = &d->devargs;
    }
}

static int
open_page(struct device *d)
{
    const struct params *p = &d->params;
    int error = page_open(d->name, p->control, d->n_queues, p->log_size,
                          &d->map);

    if (error) {
        return error;
    }
    d->map.page->moves = 1;
    for (unsigned int i = 0; i < d->n_queues; i++) {
        d->queues[i].index = i;
        d->queues[i].shared = page_vchan(&d->map, i);
    }
    page_publish(&d->map);
    return 0;
}

static void
device_destroy(struct device *d)
{
    engine_stop(d);
    bus_detach(d);
    page_close(&d->map);
    rte_kvargs_free(d->kvargs);
    rte_free(d->state);
    rte_free(d);
}

/* Makes a device and hands it to its driver.  Takes over 'd', which has its
 * parameters. */
static int
device_create(struct device *d, int number)
{
    struct rte_bus *bus = rte_bus_find_by_name("pci");
    bool is_pci = !d->params.kernel;
    int error;

    d->driver = bus ? find_driver(bus, d->model) : NULL;
    if (is_pci && !d->driver) {
        MODEL_LOG(ERR, d->name, "DPDK has no driver for it loaded; install "
                  "%s, or name the driver by -d, too", d->model->package);
        device_destroy(d);
        return -ENODEV;
    }
    d->n_queues = (is_pci && d->model->portals_size ? d->params.n_queues : 1);
    d->state = rte_zmalloc(NULL, d->model->state_size, 0);
    if (d->model->portals_size) {
        d->portals_size = d->model->portals_size(&d->params);
    }
    error = d->state ? open_page(d) : -ENOMEM;
    if (!error) {
        error = bus_attach(d);
    }
    if (!error) {
        d->model->power_on(d);
        error = engine_start(d);
    }
    if (!error && is_pci) {
        pci_init(d, bus, number);
        d->pci.driver = d->driver;
        error = d->driver->probe(d->driver, &d->pci);
        if (error) {
            MODEL_LOG(ERR, d->name, "the driver %s does not take it (%d)",
                      d->driver->driver.name, error);
            error = error > 0 ? -error : error;
        }
    }
    if (error) {
        device_destroy(d);
    }
    return error;
}

static int
devices_probe(struct rte_vdev_device *vdev, const struct model *model)
{
    const char *name = rte_vdev_device_name(vdev);
    const char *args = rte_vdev_device_args(vdev);
    int number = atoi(name + strlen(model->name));
    struct rte_kvargs *kvargs;
    struct device *d;
    int error;

    if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
        MODEL_LOG(ERR, name, "works in a primary process only");
        return -EINVAL;
    }
    if (number < 0 || number > PCI_MAX_DEVICE) {
        MODEL_LOG(ERR, name, "it must end in a number from 0 to %d",
                  PCI_MAX_DEVICE);
        return -EINVAL;
    }
    kvargs = rte_kvargs_parse(args ? args : "", NULL);
    if (!kvargs) {
        MODEL_LOG(ERR, name, "'%s' cannot be parsed; give KEY=VALUE,...",
                  args);
        return -EINVAL;
    }
    d = rte_zmalloc(NULL, sizeof *d, 0);
    if (!d) {
        rte_kvargs_free(kvargs);
        return -ENOMEM;
    }
    d->model = model;
    d->map.fd = -1;
    d->kvargs = kvargs;
    snprintf(d->name, sizeof d->name, "%s", name);
    error = devices_parse_params(name, kvargs, &d->params);
    if (error) {
        device_destroy(d);
        return error;
    }
    error = device_create(d, number);
    if (!error) {
        vdev->device.numa_node = d->params.numa_id;
    }
    return error;
}

static int
ioat_model_probe(struct rte_vdev_device *vdev)
{
    return devices_probe(vdev, &ioat_model);
}

static int
idxd_model_probe(struct rte_vdev_device *vdev)
{
    return devices_probe(vdev, &idxd_model);
}

static int
devices_remove(struct rte_vdev_device *vdev)
{
    struct device *d = bus_find(rte_vdev_device_name(vdev));
    int error = 0;

    if (!d) {
        return -ENODEV;
    }
    if (!d->params.kernel) {
        error = d->driver->remove(&d->pci);
    }
    /* A driver that has not let go of it goes on using it. */
    if (!error) {
        device_destroy(d);
    }
    return error;
}

static struct rte_vdev_driver ioat_model_driver = {
    .probe = ioat_model_probe,
    .remove = devices_remove,
};

static struct rte_vdev_driver idxd_model_driver = {
    .probe = idxd_model_probe,
    .remove = devices_remove,
};

RTE_PMD_REGISTER_VDEV(ioat_model, ioat_model_driver);
RTE_PMD_REGISTER_PARAM_STRING(ioat_model,
                              "lcore=<n> numa=<node> latency_us=<us> "
                              "control=<path> log=<n> version=<v> "
                              "report_suspend=0|1");
RTE_PMD_REGISTER_VDEV(idxd_model, idxd_model_driver);
RTE_PMD_REGISTER_PARAM_STRING(idxd_model,
                              "lcore=<n> numa=<node> latency_us=<us> "
                              "control=<path> log=<n> queues=<n> "
                              "engines=<n> wq_size=<n> max_batch=<n> "
                              "max_queues=<n> kernel=<path>");
