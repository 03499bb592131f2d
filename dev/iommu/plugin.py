# Builds what DPDK needs for QEMU's edu: the driver, a test of it, and a
# program that has it copy to memory that is not mapped.

import os

from dev.common.children import run
from dev.common.command import Stop
from dev.common.files import ROOT, out, tail
from dev.dma_model import plugin

HERE = os.path.join(ROOT, "dev/iommu")
DRIVER = [os.path.join(HERE, "edu.c")]
LIBRARY = out("iommu", "librte_dma_edu.so")
STRAY = out("iommu", "stray")
TEST = out("iommu", "test-edu")

LIBS = ["-lrte_bus_pci", "-lrte_pci"]


def driver_command(cc, target):
    return plugin.plugin_command(cc, DRIVER, target, LIBS)


def program_commands(cc):
    """How to compile each of the programs, by its path.  The test contains
    the driver."""
    return {
        STRAY: plugin.compile_command(
            cc, [os.path.join(HERE, "stray.c")], STRAY,
            ["-lrte_dmadev", "-lrte_eal"]),
        TEST: plugin.compile_command(
            cc, [os.path.join(HERE, "test-edu.c")], TEST,
            plugin.driver_args() + LIBS + ["-lpthread"]),
    }


def build(cc="gcc"):
    """Makes all of it, or brings it up to date."""
    plugin.build_plugin(LIBRARY, "dma_edu", DRIVER, [],
                        driver_command(cc, LIBRARY + ".new"))
    for path, command in program_commands(cc).items():
        log = path + ".log"
        if run(command, log):
            raise Stop("cannot compile %s, see %s:\n%s"
                       % (path, log, tail(log)))
