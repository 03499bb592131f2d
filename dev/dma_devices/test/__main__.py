# Tests of what DPDK's own drivers ioat and idxd do, through DPDK's interface
# and without hugepages or root: what vhost async relies on, and what it has to
# cope with.  One line a case, last one that sums them.  Arguments are names of
# cases, or parts of them.

import os
import sys

from dev.common.command import main
from dev.dma_devices import plugin
from dev.dma_devices.test import both, building, idxd, ioat, kernel
from dev.dma_model import plugin as model
from dev.dma_model.test.fixture import run_cases

MODULES = (building, both, ioat, idxd, kernel)


def build():
    model.build()
    plugin.build()


if __name__ == "__main__":
    main(lambda: run_cases(
        MODULES, build, sys.argv[1:], "test-devices.log",
        ["-d", os.path.realpath(plugin.LIBRARY)]))
