# Cases: the driver is built, and parameters are as asked for.

import contextlib
import errno
import os
import re
import shutil

from dev.common.children import capture
from dev.common.command import Stop
from dev.common.files import out, read, tail
from dev.dma_model import ctl, plugin
from dev.dma_model.test.fixture import (Device, Failed, Program, Skipped, case,
                                        check, program_command, same)

# Bits of 'dev_capa': memory to memory, virtual addresses, copies.
CAPABILITIES = 1 << 0 | 1 << 4 | 1 << 32


# Building.

@case
def compiles(bench):
    """gcc and clang compile driver and test without a warning."""
    for cc in ("gcc", "clang"):
        if not shutil.which(cc):
            raise Skipped("%s is not installed" % cc)
        target = bench.path("compiled")
        for command in (plugin.driver_command(cc, target),
                        program_command(cc, target)):
            status, text = capture(command)
            check(not status, "%s: %s", cc, text)


@case
def world_writable(bench):
    """A place from which EAL loads nothing is named."""
    where = bench.path("open")
    os.makedirs(where + "/a/b")
    os.chmod(where, 0o777)
    try:
        plugin.check_place(where + "/a/b/lib.so")
    except Stop as e:
        check(where in str(e), "the message is: %s", e)
    else:
        raise Failed("%s was accepted", where)
    plugin.check_place(plugin.LIBRARY)


@case
def one_layout(bench):
    """ctl.py has the layout that the driver asserts."""
    text = read(os.path.join(plugin.HERE, "dma_model_page.h"))
    for struct, size in (("page", ctl._Page), ("page_ctl", ctl._Ctl),
                         ("page_access", ctl._Access)):
        m = re.search(r"sizeof\(struct %s\) == (\d+)" % struct, text)
        same(int(m[1]), ctl.ctypes.sizeof(size), "size of struct " + struct)


# Parameters.

@case
def properties(bench):
    """Capabilities, limits, vchans and NUMA node are as asked for."""
    with Device(bench, start=False) as d:
        same(d("info"), [0, CAPABILITIES, 1, 4096, 32, -1], "info")
    with Device(bench, "numa=3,max_desc=64", vchans=5, start=False) as d:
        same(d("info"), [0, CAPABILITIES, 5, 64, 32, 3], "info")
        same(d("configure", 6), [-errno.EINVAL], "6 of 5 vchans")


WRONG = (
    # Parameter, and what the message names besides.
    ("latency_us=x", "microseconds"), ("latency_us=-1", "microseconds"),
    ("latency_us=1e9", "microseconds"), ("latency_us=", "microseconds"),
    ("latency_us=nan", "microseconds"), ("latency_us=5us", "microseconds"),
    ("gbps=0", "gigabits"), ("gbps=-1", "gigabits"), ("gbps=fast", "inf"),
    ("gbps=1000000", "gigabits"), ("gbps=infinity", "gigabits"),
    ("copy=early", "late or none"), ("copy=", "late or none"),
    ("vchans=0", "from 1 to 64"), ("vchans=65", "from 1 to 64"),
    ("vchans=2x", "from 1 to 64"), ("numa=-2", "-1"), ("numa=32", "32"),
    ("numa=a", "-1"), ("max_desc=100", "power of two"),
    ("max_desc=16", "32"), ("max_desc=65536", "32768"),
    ("errors=ignore", "stop or count"), ("fail=nothing", "hang"),
    ("fail=start+", None), ("fail=+start", "hang"),
    ("fail=start+bogus", "hang"), ("fail=", "hang"),
    ("control=relative", "absolute"), ("control=", "absolute"),
    ("control=/nowhere/at/all", "directory"), ("log=3", "power of two"),
    ("log=2097152", "1048576"), ("lcore=1", "latency_us"),
    ("copy", "late or none"), ("vchans=2,vchans=3", "twice"),
)


@case
def wrong_parameters(bench):
    """Each wrong one is refused with its name, its value and a remedy."""
    for param, remedy in WRONG:
        size = bench.log_size()
        error = bench.program("probe", "dma_model0", param)[0]
        if remedy is None:
            same(error, 0, param)
            bench.program("remove", "dma_model0")
            continue
        lines = bench.logged(size).splitlines()
        check(error < 0, "%s was accepted", param)
        ours = [line for line in lines if "dma_model: dma_model0: " in line]
        check(len(ours) == 1, "%s: %d messages: %s", param, len(ours), lines)
        last = param.split(",")[-1]
        check(last in ours[0] and remedy in ours[0], "%s: the message is: %s",
              param, ours[0])
    # Nothing is left of those.
    with Device(bench, "latency_us=0"):
        pass


@case
def wrong_parameter_of_eal(bench):
    """EAL's own --vdev gets the same message."""
    log = out("model", "test-eal.log")
    with contextlib.suppress(Failed):
        Program(log, "--vdev=dma_model0,latency_us=soon").close()
    check("latency_us=soon: wrong value; give microseconds" in read(log),
          "the log is:\n%s", tail(log))


@case
def ring_sizes(bench):
    """A ring is a power of two within the limits, and has to be set up."""
    with Device(bench, start=False) as d:
        same(d("configure", 1), [0], "configure")
        same(d("start"), [-errno.EINVAL], "start before setup")
        for n in (16, 31, 33, 100, 8192):
            same(d("setup", 0, n), [-errno.EINVAL], "a ring of %d" % n)
        for n in (32, 4096, 64):
            same(d("setup", 0, n), [0], "a ring of %d" % n)
            same(d("start"), [0], "start")
            same(d("capacity", 0), [n], "capacity of a ring of %d" % n)
            same(d("stop"), [0], "stop")
