# Tests of the driver dma_model by itself, through DPDK's own interface and
# without hugepages or root.  One line a case, last one that sums them.
# Arguments are names of cases, or parts of them.

import sys

from dev.common.command import main
from dev.dma_model import plugin
from dev.dma_model.test import (building, control_page, copying, failing,
                                overall)
from dev.dma_model.test.fixture import run_cases

MODULES = (building, copying, failing, control_page, overall)


if __name__ == "__main__":
    main(lambda: run_cases(MODULES, plugin.build, sys.argv[1:]))
