# What the cases share: a device in memory, and the dmadev of DPDK's driver.

import contextlib
import os
import time

from dev.dma_devices import plugin
from dev.dma_model import ctl
from dev.dma_model.test.fixture import case, check, same

__all__ = ("DRIVERS", "Device", "Dmadev", "OK", "case", "check", "same")

DRIVERS = tuple(sorted(plugin.DEVICES))
OK = 0


class Dmadev:
    """A dmadev, and the control page of its device.  Calling it is a command
    of test-dma-model.c."""

    def __init__(self, program, name, path, queue=0):
        self.p = program
        self.id = self.p("find", name)[0]
        check(self.id >= 0, "there is no dmadev %s", name)
        self.page = ctl.ControlPage(path)
        self.vchan = self.page.vchan(queue)
        self.p("clean")

    def set_up(self, n_desc=64):
        same([self("configure", 1), self("setup", 0, n_desc), self("start")],
             [[0]] * 3, "bringing it up")

    def __call__(self, what, *words):
        return self.p(what, self.id, *words)

    def enqueue(self, n=1, length=1000):
        """Returns how many were taken."""
        return self("enqueue", 0, length, n)[0]

    def enqueue_bad(self, src=0, dst=0, length=1000):
        taken = self("enqueue-bad", 0, length, int(src), int(dst))[0] >= 0
        check(taken, "the copy is refused")

    def ring(self):
        """The doorbell."""
        same(self("submit", 0), [0], "the doorbell")

    def copy(self, n=1, length=1000):
        taken = self.enqueue(n, length)
        self.ring()
        return taken

    def poll(self, n=4096):
        """How many are completed, and whether there is an error."""
        done, _, error = self("poll", 0, n)
        return done, bool(error)

    def status(self, n=4096):
        """The status of each."""
        return self("status", 0, n)[2:]

    def reap(self, n, timeout=2):
        deadline = time.monotonic() + timeout
        got = 0
        while got < n and time.monotonic() < deadline:
            got += self.poll(n - got)[0]
        return got

    def wait_done(self, n, timeout=2):
        """Waits until the engine, whatever its driver says, has carried out
        'n' copies, good or bad, in all."""
        deadline = time.monotonic() + timeout
        while self.vchan.completed < n:
            check(time.monotonic() < deadline, "the engine did %d of %d",
                  self.vchan.completed, n)
        # They are counted a moment before they are reported.
        time.sleep(.01)

    def hang(self):
        self.vchan.hang()
        check(self.vchan.wait_seen(2), "the engine does not look")

    def fail(self, at, count=1, status="bus-write"):
        self.vchan.error(at, count, status)
        check(self.vchan.wait_seen(2), "the engine does not look")

    def moved(self, first, n):
        """How many of these copies have all bytes moved, and how many none."""
        return self.p("moved", first, n)

    def capacity(self):
        return self("capacity", 0)[0]

    def vchan_status(self):
        error, status = self("vstatus", 0)
        same(error, 0, "rte_dma_vchan_status()")
        return ("idle", "active", "halted")[status]

    def submitted(self):
        return self("stats", 0)[1]


class Device(Dmadev):
    """One that is set up and started, on a device that is there as long."""

    def __init__(self, bench, driver, params="", n_desc=64, queue=0,
                 start=True):
        self.name = plugin.DEVICES[driver] + "0"
        path = bench.path()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        args = ",".join(["control=" + path] + [p for p in [params] if p])
        same(bench.program("probe", self.name, args)[0], 0, "probe " + args)
        super().__init__(bench.program, plugin.dmadev(driver, 0, queue), path,
                         queue)
        if start:
            self.set_up(n_desc)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.p.alive():
            self.page.clear()
            for _ in range(100):
                if self("stop") == [0]:
                    break
                time.sleep(.001)
            self.p("remove", self.name)


def each_driver(func):
    """A case for each driver, which 'func' gets as its second argument."""
    def run(bench):
        for driver in DRIVERS:
            func(bench, driver)
    run.__name__, run.__doc__ = func.__name__, func.__doc__
    return case(run)
