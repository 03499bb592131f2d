# Builds out/model/librte_dma_devices.so, the devices that DPDK's own drivers
# ioat and idxd find in memory.  EAL loads it with '-d
# out/model/librte_dma_devices.so --vdev=ioat_model0,...'; dma_devices.c has
# the parameters.

import glob
import os

from dev.common.files import ROOT, out
from dev.dma_model import plugin

HERE = os.path.join(ROOT, "dev/dma_devices")
MODEL_HERE = os.path.join(ROOT, "dev/dma_model")
# The control page is that of dma_model.
SOURCES = sorted(glob.glob(os.path.join(HERE, "*.c"))) + [
    os.path.join(MODEL_HERE, "dma_model_page.c")]
INCLUDED = sorted(glob.glob(os.path.join(HERE, "*.h"))) + [
    os.path.join(MODEL_HERE, "dma_model_page.h")]
LIBRARY = out("model", "librte_dma_devices.so")
# For who misses it.
REMEDY = "run '/usr/bin/python3 -m dev.dma_devices'"

# By driver of DPDK, the device for it.  idxd has work queues of the kernel's
# driver, too, see kernel_queue.py.
DEVICES = {"ioat": "ioat_model", "idxd": "idxd_model"}


def driver_command(cc, target):
    return plugin.plugin_command(
        cc, SOURCES, target, ["-I" + MODEL_HERE] + plugin.LIBS + ["-lrte_pci"])


def build(cc="gcc"):
    return plugin.build_plugin(LIBRARY, "dma_devices", SOURCES, INCLUDED,
                               driver_command(cc, LIBRARY + ".new"))


def eal_arguments(driver, number=0, iova="va", **params):
    """Arguments of EAL for a device of that driver, in that IOVA mode."""
    return "--iova-mode=%s -d %s --vdev=%s%d%s" % (
        iova, os.path.realpath(LIBRARY), DEVICES[driver], number,
        "".join(",%s=%s" % item for item in params.items()))


def dmadev(driver, number=0, queue=0):
    """The name that the driver gives its dmadev."""
    return "fffe:%s:%02x.0%s" % (
        {"ioat": "00", "idxd": "6a"}[driver], number,
        "-q%d" % queue if driver == "idxd" else "")
