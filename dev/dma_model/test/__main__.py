# Tests of the driver dma_model by itself, through DPDK's own interface and
# without hugepages or root.  One line a case, last one that sums them.
# Arguments are names of cases, or parts of them.

import contextlib
import errno
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

from dev.common.children import capture, child_env, python, run
from dev.common.command import Stop, main
from dev.common.files import ROOT, out, read, tail
from dev.dma_model import ctl, plugin

HERE = os.path.join(ROOT, "dev/dma_model/test")
PROGRAM = out("model", "test-dma-model")
DPDK_TEST = "/usr/bin/dpdk-test"
CALL_TIMEOUT = 60

# Bits of 'dev_capa': memory to memory, virtual addresses, copies.
CAPABILITIES = 1 << 0 | 1 << 4 | 1 << 32

IDLE, ACTIVE = 0, 1
ALL_VCHANS = 0xffff

# What a busy machine may add to a time that is measured; each measurement is
# the best of several.
SLACK_US = 100
TRIES = 20

CASES = []


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def case(func):
    CASES.append(func)
    return func


def check(condition, what, *args):
    if not condition:
        raise Failed(what % args)


def same(got, wanted, what):
    check(got == wanted, "%s: got %s, expected %s", what, got, wanted)


def eal_args(*extra):
    # Logical core 0, wherever this may run.
    cpu = min(os.sched_getaffinity(0))
    return ["--lcores", "0@%d" % cpu, "--no-huge", "--no-shconf", "--no-pci",
            "--no-telemetry", "-m", "64", "-d", plugin.LIBRARY] + list(extra)


class Program:
    """A process of test-dma-model."""

    def __init__(self, log, *extra):
        self.log = log
        with open(log, "w") as f:
            self.child = subprocess.Popen(
                [PROGRAM] + eal_args(*extra), env=child_env(),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=f,
                text=True, bufsize=1)
        self.start = self._answer()

    def _answer(self):
        ready = select.select([self.child.stdout], [], [], CALL_TIMEOUT)[0]
        line = self.child.stdout.readline() if ready else ""
        if not line:
            if ready:
                status = self.child.wait()
            else:
                self.child.kill()
                status = "no answer"
            raise Failed("the test program ended (%s): %s"
                         % (status, tail(self.log, 3).strip()))
        return [int(word) for word in line.split()]

    def __call__(self, *words):
        self.child.stdin.write(" ".join(str(w) for w in words) + "\n")
        return self._answer()

    def alive(self):
        return self.child.poll() is None

    def close(self):
        self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(10)
        if self.alive():
            self.child.kill()
            self.child.wait()


class Bench:
    """What the cases run on: a process that outlives them, unless one ends
    it, and a directory for control pages."""

    def __init__(self, where):
        self.where = where
        self._program = None

    @property
    def program(self):
        if not self._program or not self._program.alive():
            self._program = Program(out("model", "test.log"))
        return self._program

    def log_size(self):
        return os.path.getsize(self.program.log)

    def logged(self, since):
        with open(self.program.log) as f:
            f.seek(since)
            return f.read()

    def path(self, name="page"):
        return os.path.join(self.where, name)

    def close(self):
        if self._program:
            self._program.close()


class Device:
    """A device that is set up and started, with a control page."""

    def __init__(self, bench, params="", vchans=1, n_desc=64, start=True):
        self.p = bench.program
        self.name = "dma_model0"
        self.vchans = vchans
        path = bench.path()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        words = ["control=" + path]
        if vchans > 1:
            words.append("vchans=%d" % vchans)
        if params:
            words.append(params)
        self.args = ",".join(words)
        error, self.id = self.p("probe", self.name, self.args)
        same(error, 0, "probe " + self.args)
        self.page = ctl.ControlPage(path)
        self.vchan = self.page.vchan()
        same(self.p("clean"), [0], "clean")
        if start:
            same(self("configure", vchans), [0], "configure")
            for vchan in range(vchans):
                same(self("setup", vchan, n_desc), [0], "setup")
            same(self("start"), [0], "start")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.p.alive():
            self.page.clear()
            self("stop")
            self.p("remove", self.name)

    def __call__(self, what, *words):
        return self.p(what, self.id, *words)

    def copy(self, n=1, length=1000, vchan=0):
        """Hands over 'n' copies; returns how many it took."""
        taken = self("enqueue", vchan, length, n)[0]
        self("submit", vchan)
        return taken

    def reap(self, n, timeout=2, vchan=0):
        """Polls until 'n' copies are completed or that time has passed, and
        returns how many are."""
        deadline = time.monotonic() + timeout
        got = 0
        while got < n and time.monotonic() < deadline:
            got += self("poll", vchan, n - got)[0]
        return got

    def moved(self, first, n, want_moved, what):
        """Checks that of these copies all bytes are moved, or none."""
        same(self.p("moved", first, n), [n, 0] if want_moved else [0, n],
             what)


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


# Copies.

@case
def copies_late(bench):
    """Bytes are moved when completion is reported, and not before."""
    with Device(bench, "latency_us=200000") as d:
        same(d.copy(3), 3, "copies")
        same(d("poll", 0, 10), [0, 0xffff, 0], "a poll at once")
        d.moved(0, 3, False, "at once")
        time.sleep(.25)
        d.moved(0, 3, False, "when they are done and nobody polled")
        same(d("poll", 0, 2), [2, 1, 0], "a poll for two")
        d.moved(0, 2, True, "the first two")
        d.moved(2, 1, False, "the third")
        same(d("poll", 0, 10), [1, 2, 0], "a poll for the rest")
        d.moved(2, 1, True, "the third, at last")
        same(d("poll", 0, 10), [0, 2, 0], "a poll with nothing left")


@case
def copies_none(bench):
    """With copy=none nothing is moved, and the log says so."""
    size = bench.log_size()
    with Device(bench, "copy=none,latency_us=0") as d:
        check("payloads are not copied" in bench.logged(size),
              "nothing is said: %s", bench.logged(size))
        same(d.copy(5), 5, "copies")
        same(d.reap(5), 5, "completions")
        d.moved(0, 5, False, "with copy=none")
        same((d.page.moves, d.vchan.bytes, d.vchan.bytes_moved,
              d.vchan.last_ns, d.page.log()), (0, 5000, 0, 0, []), "the page")


@case
def needs_doorbell(bench):
    """Without a doorbell nothing is done, however long one waits."""
    with Device(bench, "latency_us=0") as d:
        d("enqueue", 0, 100, 2)
        time.sleep(.01)
        same(d("poll", 0, 10), [0, 0xffff, 0], "a poll")
        same((d.vchan.submitted, d("capacity", 0)), (0, [62]), "used")
        d("submit", 0)
        same(d.reap(2), 2, "completions after the doorbell")


@case
def ring_full(bench):
    """A full ring refuses copies until some are reaped."""
    with Device(bench, "latency_us=1000", n_desc=32) as d:
        same(d("enqueue", 0, 10, 40), [32, -errno.ENOSPC], "enqueue")
        same((d("capacity", 0), d.vchan.refused), ([0], 1), "a full ring")
        d("submit", 0)
        same(d.reap(5), 5, "completions")
        same(d("capacity", 0), [5], "capacity afterwards")
        same(d("enqueue", 0, 10, 40), [5, -errno.ENOSPC], "enqueue more")


@case
def order_and_data(bench):
    """200,000 copies come back in order and with the right bytes."""
    with Device(bench, "latency_us=1") as d:
        same(d("threads", 1, 200000)[1], 0, "wrong copies")
        same(d.vchan.in_flight <= 64, True, "few are left in flight")


@case
def several_vchans(bench):
    """Four threads use a vchan each at once."""
    with Device(bench, "latency_us=1", vchans=4) as d:
        same(d("threads", 4, 20000)[1], 0, "wrong copies")
        for i in range(4):
            check(d.page.vchan(i).completed >= 20000, "vchan %d is short", i)
        total = sum(v.submitted for v in d.page.vchans)
        same(d("stats", ALL_VCHANS)[1], total, "copies on all vchans")


# Time.

def best_time(d, length, n, vchan=0):
    """Microseconds until the first and the last of 'n' copies."""
    times = [d("time", vchan, length, n) for _ in range(TRIES)]
    return tuple(min(t[i] for t in times) / 1e3 for i in (0, 1))


def takes(us, wanted, what):
    # The engine may be a little early: the TSC's frequency is an estimate.
    check(wanted * .99 - 1 <= us <= wanted * 1.05 + SLACK_US,
          "%s: took %.1f us, expected %.1f", what, us, wanted)


@case
def latency(bench):
    """Latency is waited for once, by any number of copies."""
    for us in (0, 7.5, 300, 2000):
        with Device(bench, "latency_us=%g,gbps=inf" % us) as d:
            first, last = best_time(d, 1000, 1)
            takes(first, us, "one copy at %g us" % us)
            first, last = best_time(d, 1000, 32)
            takes(last, us, "32 copies at %g us" % us)
    with Device(bench, "latency_us=100000,gbps=inf") as d:
        start = time.monotonic()
        for _ in range(20):
            d.copy(1)
        same(d.reap(20, 5), 20, "completions of 20 doorbells")
        took = time.monotonic() - start
        check(.099 < took < 1, "20 doorbells took %.3f s, not .1", took)


@case
def bandwidth(bench):
    """Copies take turns: each has the bandwidth for itself."""
    for gbps, length in ((1, 50000), (10, 50000), (.5, 1500)):
        us = length * 8 / gbps / 1000
        with Device(bench, "latency_us=100,gbps=%g" % gbps) as d:
            first, last = best_time(d, length, 8)
            takes(first, 100 + us, "the first of 8 at %g Gb/s" % gbps)
            takes(last, 100 + 8 * us, "8 at %g Gb/s" % gbps)


@case
def shared_bandwidth(bench):
    """Vchans share the engine."""
    with Device(bench, "latency_us=0,gbps=1", vchans=2) as d:
        times = []
        for _ in range(TRIES):
            d("enqueue", 0, 50000, 4)
            d("submit", 0)
            times.append(d("time", 1, 1000, 1)[0] / 1e3)
            same(d.reap(4), 4, "completions")
        # 1600 us of the other vchan, less what passes between two commands,
        # which can be much, and 8 of its own.
        good = [t for t in times if 1000 < t < 1608 + SLACK_US]
        check(len(good) >= 3, "took %s us", times)


# Statistics and state.

@case
def statistics(bench):
    """Copies are counted, for the device and for all vchans."""
    with Device(bench, "latency_us=0", vchans=2) as d:
        d.copy(3)
        d.copy(2, vchan=1)
        same(d.reap(2), 2, "completions")
        same(d("stats", 0), [0, 3, 2, 0], "vchan 0")
        same(d("stats", ALL_VCHANS), [0, 5, 2, 0], "all vchans")
        same(d("reset-stats", 0), [0], "reset")
        same(d.reap(1), 1, "completions")
        same(d("stats", 0), [0, 0, 1, 0], "vchan 0 since")
        same((d.vchan.submitted, d.vchan.completed), (3, 3), "the page")
        size = bench.log_size()
        same(d("dump"), [0], "dump")
        check("vchan 1: ring of 64 descriptors, 2 used" in bench.logged(size),
              "dump says: %s", bench.logged(size))


@case
def vchan_status(bench):
    """A vchan is active while something is in flight that is not done."""
    with Device(bench, "latency_us=200000") as d:
        same(d("vstatus", 0), [0, IDLE], "at first")
        d.copy(1)
        same(d("vstatus", 0), [0, ACTIVE], "with a copy in flight")
        d.moved(0, 1, False, "the copy")
        time.sleep(.25)
        same(d("vstatus", 0), [0, IDLE], "when it is done")
        d.moved(0, 1, True, "the copy when it is done")
        d.copy(2)
        time.sleep(.25)
        same(d.reap(3), 3, "completions")
        d.moved(0, 3, True, "all copies")
        same(len(d.page.log()), 3, "accesses")
        d.vchan.hang()
        d.copy(1)
        time.sleep(.25)
        same(d("vstatus", 0), [0, ACTIVE], "when it hangs")


@case
def restart(bench):
    """After stop and start the ring is empty and counts from zero."""
    with Device(bench, "latency_us=1000000") as d:
        d.copy(5)
        same(d("stop"), [0], "stop")
        same((d.page.started, d.vchan.aborted, d.page.in_flight),
             (False, 5, 0), "when stopped")
        same(d("capacity", 0), [0], "capacity when stopped")
        same(d("enqueue", 0, 10, 1), [0, -errno.EIO], "a copy when stopped")
        same(d("poll", 0, 10)[0], 0, "completions when stopped")
        same(d("start"), [0], "start")
        same(d("capacity", 0), [64], "capacity")
        same(d("stats", 0), [0, 0, 0, 0], "statistics")
        same(d("enqueue", 0, 10, 1), [1, 0], "the first index")
        same((d.page.calls("start"), d.page.calls("stop")), (2, 1), "calls")
        d.moved(0, 5, False, "those of before")


# Faults.

@case
def hang(bench):
    """An engine that hangs does nothing, and all when it recovers."""
    with Device(bench, "latency_us=100", n_desc=32) as d:
        d.copy(3)
        d.vchan.hang()
        check(not d.vchan.wait_seen(.01), "seen although nobody called")
        same(d("poll", 0, 10), [0, 0xffff, 0], "a poll")
        check(d.vchan.wait_seen(), "it is not seen")
        same(d.vchan.in_force, ["hang"], "in force")
        same(d.copy(40), 29, "copies until the ring is full")
        time.sleep(.05)
        same(d("poll", 0, 50), [0, 0xffff, 0], "a poll, later")
        same(d("status", 0, 50), [0, 0xffff], "a poll for status")
        d.moved(0, 32, False, "while it hangs")
        same((d.vchan.in_flight, d.page.log()), (32, []), "the page")
        d.vchan.recover()
        same(d.reap(32), 32, "completions when it has recovered")
        d.moved(0, 32, True, "when it has recovered")
        same((d.vchan.in_force, d.vchan.seen), ([], True), "in force")


@case
def hang_and_recover(bench):
    """After a hang all that is in flight takes its time anew."""
    with Device(bench, "latency_us=200000") as d:
        d.copy(2)
        d.vchan.hang()
        d("poll", 0, 10)
        d.copy(2)
        time.sleep(.25)
        d.vchan.recover()
        same(d("poll", 0, 10), [0, 0xffff, 0], "a poll at once")
        start = time.monotonic()
        same(d.reap(4), 4, "completions")
        took = time.monotonic() - start
        check(.15 < took < 1.5, "took %.3f s, not .2", took)


@case
def hang_for_a_time(bench):
    """A hang ends by itself; then the engine works as long as ever."""
    with Device(bench, "latency_us=50000") as d:
        d.copy(2)
        d.vchan.hang(.2)
        start = time.monotonic()
        d("poll", 0, 10)
        same(d.reap(2), 2, "completions")
        took = time.monotonic() - start
        check(.245 < took < 1.5, "took %.3f s, not .25", took)
        d.moved(0, 2, True, "afterwards")
        same(d.vchan.in_force, [], "in force")


@case
def hang_and_stop(bench):
    """What a hung engine was asked for it never does once stopped."""
    with Device(bench, "latency_us=10") as d:
        d.copy(2)
        same(d.reap(2), 2, "completions")
        d.vchan.hang()
        d.copy(20)
        same(d("poll", 0, 10)[0], 0, "completions while it hangs")
        same(d("stop"), [0], "stop")
        d.vchan.clear()
        same(d("poll", 0, 50)[0], 0, "completions when stopped")
        same(d("start"), [0], "start")
        time.sleep(.01)
        same(d("poll", 0, 50)[0], 0, "completions when started again")
        d.moved(2, 20, False, "what was in flight")
        same(len(d.page.log()), 2, "accesses")
        same(d.page.log(d.page.stop_ns), [], "accesses since stop")
        same((d.vchan.aborted, d.vchan.in_flight), (20, 0), "the page")
        d.copy(1)
        same(d.reap(1), 1, "completions of a new copy")


@case
def stop_in_use(bench):
    """No byte is moved after stop, under a thread that polls."""
    with Device(bench, "latency_us=0") as d:
        error, n = d("stop-in-use", 500)
        same(error, 0, "stop and start")
        check(n > 500, "only %d copies were made", n)


@case
def error_nth(bench):
    """An error stands in the way until its status was asked for."""
    with Device(bench, "latency_us=0") as d:
        d.copy(2)
        d.vchan.error(3, status="page-fault")
        d.copy(4)
        same(d.reap(4), 4, "completions before the error")
        for _ in range(3):
            same(d("poll", 0, 10), [0, 3, 1], "a poll at the error")
        d.moved(4, 1, False, "the copy that failed")
        same(d("stats", 0), [0, 6, 4, 1], "statistics")
        same(d("status", 0, 10), [2, 5, ctl.STATUS["page-fault"], 0],
             "the status")
        d.moved(5, 1, True, "the copy after it")
        same(d("stats", 0), [0, 6, 6, 1], "statistics")
        d.copy(3)
        same(d.reap(3), 3, "completions afterwards")
        same((d.vchan.errors, d.vchan.in_force), (1, []), "the page")


@case
def error_run(bench):
    """Several errors in a row, and all from one on."""
    with Device(bench, "latency_us=0") as d:
        d.vchan.error(2, count=2)
        d.copy(5)
        time.sleep(.001)
        same(d("poll", 0, 10), [1, 0, 1], "a poll")
        bus = ctl.STATUS["bus-write"]
        same(d("status", 0, 10), [4, 4, bus, bus, 0, 0], "the status")
        d.vchan.error(2, count=0, status="unknown")
        d.copy(4)
        time.sleep(.001)
        same(d("status", 0, 10), [4, 8, 0, 256, 256, 256], "the status")
        same(d.vchan.in_force, ["error"], "in force")
        d.vchan.clear()
        d.copy(2)
        same(d.reap(2), 2, "completions afterwards")
        same((d.vchan.errors, d.vchan.in_flight), (5, 0), "the page")


@case
def error_counted(bench):
    """With errors=count copies that failed complete as others."""
    with Device(bench, "latency_us=0,errors=count") as d:
        d.vchan.error(2, count=2)
        d.copy(5)
        time.sleep(.001)
        same(d("poll", 0, 10), [5, 4, 1], "a poll")
        same(d.p("moved", 0, 5), [3, 2], "moved, and not")
        same(d("stats", 0), [0, 5, 5, 2], "statistics")
        d.copy(2)
        time.sleep(.001)
        same(d("poll", 0, 10), [2, 6, 0], "the next poll")


@case
def refuse(bench):
    """rte_dma_copy() fails, from the Nth on, with any errno."""
    with Device(bench, "latency_us=0") as d:
        d.vchan.refuse(errno.ENODEV, at=3, count=2)
        same(d("enqueue", 0, 10, 5), [2, -errno.ENODEV], "the third")
        same(d("enqueue", 0, 10, 5), [0, -errno.ENODEV], "the fourth")
        same(d("enqueue", 0, 10, 5), [5, 6], "afterwards")
        d("submit", 0)
        same(d.reap(7), 7, "completions")
        d.vchan.refuse()
        same(d("enqueue", 0, 10, 5), [0, -errno.EIO], "for ever")
        same(d("enqueue", 0, 10, 5), [0, -errno.EIO], "for ever, again")
        d.vchan.clear()
        same(d("enqueue", 0, 10, 1)[0], 1, "when cleared")
        same(d.vchan.refused, 4, "counted")


@case
def full(bench):
    """A ring that says it is full, while it is empty."""
    with Device(bench, "latency_us=0") as d:
        d.copy(2)
        d.vchan.full()
        same(d("capacity", 0), [0], "capacity, at once")
        same(d("enqueue", 0, 10, 1), [0, -errno.ENOSPC], "a copy")
        same(d.reap(2), 2, "completions")
        d.vchan.clear()
        same(d("capacity", 0), [64], "capacity when cleared")


@case
def failing_calls(bench):
    """Each call that controls the device fails when told, so many times."""
    with Device(bench, start=False) as d:
        for op, words in (("info", ()), ("configure", (1,)),
                          ("setup", (0, 64)), ("start", ()), ("stop", ()),
                          ("stats", (0,))):
            if op == "info":
                d("configure", 1)
            d.page.fail(op, errno.ENOMEM, 2)
            same(d.page.failing(), [op], "failing")
            for _ in range(2):
                same(d(op, *words)[0], -errno.ENOMEM, op)
            same(d(op, *words)[0], 0, op + " afterwards")
            d.page.fail(op)
            for _ in range(3):
                if op == "start":
                    d("stop")
                elif op == "stop":
                    d("start")
                same(d(op, *words)[0], -errno.EIO, op)
            d.page.clear()
            same(d(op, *words)[0], 0, op + " when cleared")
        d("stop")
        d.page.fail("close", count=1)
        same(d("close"), [-errno.EIO], "close")


@case
def stop_that_fails(bench):
    """An engine that cannot be stopped works on."""
    with Device(bench, "latency_us=1000") as d:
        d.copy(3)
        d.page.fail("stop")
        same(d("stop"), [-errno.EIO], "stop")
        same((d.page.started, d.page.in_flight), (True, 3), "the page")
        same(d.reap(3), 3, "completions")


@case
def faults_from_the_start(bench):
    """The parameter fail has the same faults, one or several."""
    for op in ("configure", "setup", "start"):
        with Device(bench, "fail=" + op, start=False) as d:
            results = [d("configure", 1), d("setup", 0, 64), d("start")]
            i = ("configure", "setup", "start").index(op)
            same(results[i], [-errno.EIO], op)
            check(all(r == [0] for r in results[:i]), "%s: %s", op, results)
    with Device(bench, "latency_us=0,fail=hang+stop") as d:
        d.copy(1)
        same(d.reap(1, .05), 0, "completions")
        same(d("stop"), [-errno.EIO], "stop")
    with Device(bench, "latency_us=0,fail=full") as d:
        same(d("capacity", 0), [0], "capacity")
    with Device(bench, "latency_us=0,fail=copy") as d:
        same(d("enqueue", 0, 10, 1), [0, -errno.EIO], "a copy")
    with Device(bench, "latency_us=0,fail=error") as d:
        d.copy(2)
        same(d("status", 0, 10), [2, 1, 256, 256], "the status")
    with Device(bench, "fail=info", start=False) as d:
        same(d("info"), [-errno.EIO], "info")
    with Device(bench, "fail=stats", start=False) as d:
        d("configure", 1)
        same(d("stats", 0)[0], -errno.EIO, "stats")


@case
def faults_without_page(bench):
    """Faults by parameter need no control page."""
    p = bench.program
    error, dev = p("probe", "dma_model9", "latency_us=0,fail=hang")
    same(error, 0, "probe")
    try:
        same([p("configure", dev, 1), p("setup", dev, 0, 64),
              p("start", dev)], [[0]] * 3, "bringing it up")
        same(p("enqueue", dev, 0, 100, 5)[0], 5, "copies")
        p("submit", dev, 0)
        same(p("poll", dev, 0, 10)[0], 0, "completions")
        same(p("stop", dev), [0], "stop")
    finally:
        same(p("remove", "dma_model9"), [0], "remove")


@case
def one_vchan_only(bench):
    """A fault of one vchan leaves the other alone."""
    with Device(bench, "latency_us=0", vchans=2) as d:
        d.page.vchan(1).hang()
        d.copy(3)
        d.copy(3, vchan=1)
        same(d.reap(3), 3, "completions of vchan 0")
        same(d.reap(3, .02, vchan=1), 0, "completions of vchan 1")
        same((d.vchan.in_force, d.page.vchan(1).in_force), ([], ["hang"]),
             "in force")
        d.page.clear()
        same(d.reap(3, vchan=1), 3, "completions of vchan 1 when cleared")


@case
def half_written(bench):
    """What is being written is not taken for what is meant."""
    with Device(bench, "latency_us=0") as d:
        with d.vchan._change() as c:
            c.faults = ctl.HANG
            d.copy(1)
            same(d.reap(1), 1, "completions while it is written")
            check(not d.vchan.seen, "it is seen while it is written")
        d.copy(1)
        same(d.reap(1, .02), 0, "completions when it is written")


# The control page.

@case
def access_log(bench):
    """The log has address, length and time of each access."""
    with Device(bench, "latency_us=0,log=16") as d:
        before = time.monotonic_ns()
        d.copy(3, 100)
        same(d.reap(3), 3, "completions")
        log = d.page.log()
        same([(a.seq, a.length) for a in log], [(1, 100), (2, 100), (3, 100)],
             "the log")
        same([b.dst - a.dst for a, b in zip(log, log[1:])], [65536] * 2,
             "from one target to the next")
        check(before < log[0].ns <= log[1].ns <= log[2].ns
              <= time.monotonic_ns(), "times are %s", [a.ns for a in log])
        check(log[0].tsc < log[1].tsc < log[2].tsc, "out of order")
        same(d.vchan.last_ns, log[2].ns, "the last access")
        same(d.page.log(log[0].ns), log[1:], "accesses since the first")
        d.copy(30, 100)
        same(d.reap(30), 30, "completions")
        same([a.seq for a in d.page.log()], list(range(18, 34)),
             "the log when it is full")
        same((d.vchan.n_log, d.vchan.bytes_moved), (33, 3300), "the page")


@case
def page_files(bench):
    """What cannot be a control page is refused, and nothing of it changed."""
    p = bench.program

    def refused(path, word, extra=""):
        size = bench.log_size()
        error = p("probe", "dma_model1", "control=%s%s" % (path, extra))[0]
        check(error < 0, "%s was accepted", path)
        text = bench.logged(size)
        check(path in text and word in text, "%s: the log is: %s", path, text)

    other = bench.path("other")
    for text in ("something else", "x" * 5000):
        with open(other, "w") as f:
            f.write(text)
        refused(other, "no control page")
        same(read(other), text, "the file")
    os.unlink(other)
    os.mkdir(other)
    refused(other, "cannot open")
    os.rmdir(other)
    os.symlink("/nowhere", other)
    refused(other, "cannot open")
    os.unlink(other)
    os.mkfifo(other)
    refused(other, "")
    os.unlink(other)

    with Device(bench, "log=16") as d:
        refused(d.page.path, "another device", ",log=16")
        page = d.page
        d.vchan.hang()
        d.copy(1)
    refused(page.path, "another number", ",log=32")
    # Of the same size it is the same file, made anew: who has it mapped sees
    # the new device.
    error, dev = p("probe", "dma_model1", "control=%s,log=16" % page.path)
    same(error, 0, "probe")
    same((page.vchan().submitted, page.vchan().in_force, page.vchan().seen),
         (0, [], True), "the page")
    p("remove", "dma_model1")


@case
def command(bench):
    """The command ctl.py does what the module does."""
    tool = python(ctl.__name__)
    with Device(bench, "latency_us=0", vchans=2) as d:
        def call(*args, expect=0):
            status, text = capture(tool + list(args[:-1]) + [d.page.path]
                                   + args[-1].split(), cwd=ROOT)
            same(status, expect, "%s: %s" % (args[-1], text.strip()))
            return text

        d.copy(2)
        same(d.reap(2), 2, "completions")
        check("submitted 2, completed 2" in call("show"), "show: %s",
              call("show"))
        same(len(call("log").splitlines()), 2, "lines of the log")
        same(call("log --seconds 1e-6"), "", "the log of a microsecond")
        call("--vchan=1", "hang --seconds 100")
        d("poll", 0, 1)
        d("poll", 1, 1)
        same((d.page.vchan(0).in_force, d.page.vchan(1).in_force),
             ([], ["hang"]), "in force")
        call("recover")
        call("refuse --errno ENOSPC --at 2 --count 1")
        same(d("enqueue", 0, 10, 5), [1, -errno.ENOSPC], "copies")
        call("error --status page-fault")
        d.copy(1)
        call("full")
        same(d("capacity", 1), [0], "capacity")
        call("fail stop --count 1")
        same(d("stop"), [-errno.EIO], "stop")
        check("calls that fail: none" in call("show"), "count is not used up")
        call("clear")
        same(d("capacity", 1), [64], "capacity")
        text = call("--wait=.01", "hang", expect=1)
        check("nobody has used" in text, "without a user: %s", text)
        for args in (("--vchan=2", "hang"), ("--vchan=-1", "hang")):
            check("has 2" in call(*args, expect=1), "%s", args)
    status, text = capture(tool + [bench.path("none"), "show"], cwd=ROOT)
    check(status == 1 and "no control page" in text, "no page: %s", text)


# Others' tests, and what it costs.

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


def program_command(cc, target):
    return plugin.compile_command(
        cc, [os.path.join(HERE, "test-dma-model.c")], target,
        ["-lrte_dmadev", "-lrte_eal", "-lrte_bus_vdev", "-lpthread"])


def build():
    plugin.build()
    log = out("model", "build-test.log")
    if run(program_command("gcc", PROGRAM), log):
        raise Stop("cannot compile the test program, see %s:\n%s"
                   % (log, tail(log)))


def run_case(func, bench):
    text = func.__doc__.rstrip(".")
    try:
        found = func(bench)
        if found:
            text %= found
        print("passed: %s: %s" % (func.__name__, text), flush=True)
        return "passed"
    except Skipped as e:
        print("skipped: %s: %s" % (func.__name__, e), flush=True)
        return "skipped"
    except (Failed, ctl.PageError) as e:
        print("FAILED: %s: %s" % (func.__name__, e), flush=True)
        return "failed"


def run_command():
    wanted = sys.argv[1:]
    cases = [f for f in CASES
             if not wanted or any(w in f.__name__ for w in wanted)]
    if not cases:
        raise Stop("no case has %s in its name; there are %s."
                   % (" or ".join(wanted),
                      ", ".join(f.__name__ for f in CASES)))
    build()
    # Pages are best in memory.
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    where = tempfile.mkdtemp(prefix="dma-model-", dir=shm)
    bench = Bench(where)
    try:
        results = [run_case(f, bench) for f in cases]
    finally:
        bench.close()
        shutil.rmtree(where, ignore_errors=True)
    print(", ".join("%d %s" % (results.count(r), r)
                    for r in ("passed", "failed", "skipped")))
    return 1 if "failed" in results else 0


if __name__ == "__main__":
    main(run_command)
