# Cases: others' tests of the driver, and what it costs.

import os

from dev.common.children import child_env, run
from dev.common.files import out, read, tail
from dev.dma_model.test.fixture import Device, Skipped, case, check, eal_args

DPDK_TEST = "/usr/bin/dpdk-test"


@case
def dpdk_autotest(bench):
    """dmadev_autotest of DPDK passes on it."""
    if not os.access(DPDK_TEST, os.X_OK):
        raise Skipped("dpdk-test is not installed")
    for params in ("latency_us=2", "latency_us=0,gbps=inf",
                   "latency_us=20,vchans=3,max_desc=512"):
        log = out("model", "test-dpdk.log")
        # It looks for the software dmadev, too.
        status = run(["timeout", "120", DPDK_TEST]
                     + eal_args("--vdev=dma_model0," + params), log,
                     env=child_env(DPDK_TEST="dmadev_autotest"))
        text = read(log)
        check(not status and "Test OK" in text
              and "dmadev instance 0 [dma_model0]" in text,
              "with %s, %s ends:\n%s", params, log, tail(log, 8))


@case
def cheap(bench):
    """A copy costs the CPU little: %s TSC ticks each, bursts of 32 and 1."""
    with Device(bench, "latency_us=1,gbps=inf,copy=none", n_desc=1024) as d:
        costs = [d("cycles", 0, 1500, burst)[0] / 100 for burst in (32, 1)]
        check(costs[0] < 200, "%g ticks", costs[0])
        return "%.1f and %.1f" % tuple(costs)
