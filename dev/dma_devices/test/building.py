# Cases: the plugin is built, its parameters, and others' tests on it.

import os
import re
import shutil

from dev.common.children import capture, child_env, run
from dev.common.files import out, read, tail
from dev.dma_devices import plugin
from dev.dma_devices.test.fixture import case, check, same
from dev.dma_model.test.fixture import Skipped, eal_args

DPDK_TEST = "/usr/bin/dpdk-test"


@case
def compiles(bench):
    """gcc and clang compile the plugin without a warning."""
    for cc in ("gcc", "clang"):
        if not shutil.which(cc):
            raise Skipped("%s is not installed" % cc)
        status, text = capture(plugin.driver_command(
            cc, bench.path("compiled")))
        check(not status, "%s: %s", cc, text)


@case
def wrong_parameters(bench):
    """Each wrong one is refused with its name and its value."""
    for name, params in (("ioat_model0", "lcore=-1"),
                         ("ioat_model0", "latency_us=x"),
                         ("ioat_model0", "control=here"),
                         ("ioat_model0", "colour=red"),
                         ("idxd_model0", "queues=9"),
                         ("idxd_model0", "max_batch=1000"),
                         ("idxd_model0", "wq_size=0"),
                         ("ioat_model32", "log=0")):
        since = bench.log_size() if bench.program else 0
        check(bench.program("probe", name, params)[0] < 0, "%s,%s: accepted",
              name, params)
        said = bench.logged(since)
        wanted = params if name.endswith("0") else "0 to 31"
        check(wanted in said, "%s,%s: it says: %s", name, params, said)


@case
def comes_and_goes(bench):
    """Devices are probed and removed, side by side and again."""
    p = bench.program
    for _ in range(3):
        names = ["ioat_model0", "idxd_model1", "ioat_model31", "idxd_model31"]
        for name in names:
            same(p("probe", name, "")[0], 0, "probe " + name)
        for driver, number in (("ioat", 0), ("idxd", 1), ("ioat", 31),
                               ("idxd", 31)):
            check(p("find", plugin.dmadev(driver, number))[0] >= 0,
                  "no dmadev of %s %d", driver, number)
        for name in names:
            same(p("remove", name), [0], "remove " + name)
            same(p("remove", name)[0] < 0, True, "remove again")


@case
def dpdk_autotest(bench):
    """dmadev_autotest of DPDK passes on both drivers, errors included."""
    if not os.access(DPDK_TEST, os.X_OK):
        raise Skipped("dpdk-test is not installed")
    for device, name in (("ioat_model0", "fffe:00:00.0"),
                         ("idxd_model0,queues=2,engines=2",
                          "fffe:6a:00.0-q1")):
        log = out("model", "test-dpdk.log")
        # It looks for the software dmadev first, which fails when another
        # process has its core for 2 ms.
        for _ in range(5):
            status = run(["timeout", "120", DPDK_TEST] + eal_args(
                "-d", plugin.LIBRARY, "--vdev=" + device), log,
                env=child_env(DPDK_TEST="dmadev_autotest"))
            text = read(log)
            if "Test dmadev instance" in text:
                break
        check(not status and "Test OK" in text
              and "[%s]" % name in text
              # With a blank up to 23.11.
              and re.search("Running error[ _]handling Tests", text),
              "with %s, %s ends:\n%s", device, log, tail(log, 8)[-400:])
