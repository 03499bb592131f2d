# Cases: what is alike, or differs, between the drivers.

import errno

from dev.dma_devices.test.fixture import (OK, Device, case, check, each_driver,
                                          same)

MEM_TO_MEM, SVA, HANDLES_ERRORS, COPY = 1 << 0, 1 << 4, 1 << 6, 1 << 32


@each_driver
def capabilities(bench, driver):
    """They copy, and take IOVAs, not virtual addresses; the NUMA node is that
    of the device."""
    with Device(bench, driver, "numa=1", start=False) as d:
        error, capa, vchans, most, least, numa = d("info")
        same((error, vchans, most, numa), (0, 1, 4096, 1), "info")
        same(least, {"ioat": 32, "idxd": 64}[driver], "fewest descriptors")
        same(capa & (MEM_TO_MEM | COPY), MEM_TO_MEM | COPY, "capabilities")
        same(capa & SVA, 0, "the capability of virtual addresses")


@each_driver
def ring_sizes(bench, driver):
    """A ring is rounded up to a power of two, and one descriptor is kept."""
    for asked, got in ((64, 64), (100, 128), (4096, 4096)):
        with Device(bench, driver, "max_batch=32768" if driver == "idxd"
                    else "", n_desc=asked) as d:
            same(d.capacity(), got - 1, "capacity of a ring of %d" % asked)
            d.hang()
            same(d.enqueue(got + 1, 10), got - 1, "copies taken")
            same(d("enqueue", 0, 10, 1)[1], -errno.ENOSPC, "one more")
            same(d.capacity(), 0, "capacity")


@each_driver
def many_copies(bench, driver):
    """20,000 copies come back in order and with the right bytes."""
    with Device(bench, driver) as d:
        n, wrong = d("threads", 1, 20000)
        same((n >= 20000, wrong), (True, 0), "enough copies, wrong ones")
        check(d.vchan.wait_idle(), "in flight: %d", d.vchan.in_flight)


@each_driver
def counts_at_doorbell(bench, driver):
    """A copy counts as submitted at the doorbell."""
    with Device(bench, driver) as d:
        d.enqueue(3)
        same((d.submitted(), d.vchan.submitted), (0, 0), "before")
        d.ring()
        same((d.submitted(), d.vchan.submitted), (3, 3), "after")
        same(d.reap(3), 3, "completions")


@each_driver
def error_stands_in_the_way(bench, driver):
    """After a copy that failed nothing is reported until its status is asked
    for, while the engine goes on; then all is."""
    with Device(bench, driver) as d:
        d.fail(at=3)
        d.copy(6)
        d.wait_done(3)
        same(d.reap(2), 2, "completions before it")
        for _ in range(3):
            same(d.poll(), (0, True), "completions then")
        # The driver has had ioat's engine go on; idxd's did by itself.
        d.wait_done(6)
        same(d.poll(), (0, True), "completions when all is done")
        same(d.moved(0, 6), [5, 1], "copies moved, not moved")
        status = d.status()
        same([s == OK for s in status], [False, True, True, True],
             "good ones")
        d.copy(2)
        same(d.reap(2), 2, "completions afterwards")


@each_driver
def many_errors(bench, driver):
    """Of copies of which every third fails, each is told of as it is, when
    all that is left is asked for at once, up to the first of several in one
    answer."""
    with Device(bench, driver) as d:
        total = 0
        for round_ in range(30):
            bad = [i % 3 == round_ % 3 for i in range(7)]
            first = d.p("copies")[0]
            for is_bad in bad:
                d.enqueue_bad(dst=is_bad)
            d.ring()
            left = len(bad)
            told = []
            while left:
                n, error = d.poll(left)
                told += [OK] * n
                left -= n
                if error and left:
                    status = d.status(left)
                    told += status
                    left -= len(status)
            check(len(told) == len(bad), "%d of %d are told of", len(told),
                  len(bad))
            # What is told to be good up to the first bad one is good.
            at = next(i for i, s in enumerate(told) if s != OK)
            same(bad.index(True), at, "the first bad one")
            total += sum(bad)
            d.wait_done(d.vchan.submitted - d.vchan.aborted)
            same(d.moved(first, len(bad)),
                 [len(bad) - sum(bad), sum(bad)], "moved")
        same(d.vchan.errors, total, "errors of the engine")


@each_driver
def bad_addresses(bench, driver):
    """A copy from or to where there is no memory fails, and no other one."""
    wanted = {
        # IOAT tells which address it was.
        "ioat": {(1, 0): 3, (0, 1): 4},
        # DSA says of a write that it was one, in a bit that the driver does
        # not mask: an unknown error.
        "idxd": {(1, 0): 14, (0, 1): 0x100},
    }[driver]
    for (src, dst), status in wanted.items():
        with Device(bench, driver) as d:
            d.enqueue(1)
            d.enqueue_bad(src, dst)
            d.enqueue(1)
            d.ring()
            d.wait_done(2)
            same(d.reap(1), 1, "completions before it")
            same(d.poll(), (0, True), "completions then")
            d.wait_done(3)
            same(d.status(), [status, OK], "status")


@each_driver
def restart(bench, driver):
    """After stop, setup and start all begins anew."""
    with Device(bench, driver) as d:
        for _ in range(3):
            d.copy(5)
            same(d.reap(5), 5, "completions")
            same(d("stop"), [0], "stop")
            same(d.page.started, False, "engine started")
            d.set_up()
            same(d("enqueue", 0, 10, 1), [1, 0], "copies, index of the last")
            d.ring()
            same(d.reap(1), 1, "completions")


@each_driver
def stop_needs_more_tries(bench, driver):
    """rte_dma_stop() looks so often whether the device stopped, then fails;
    the next one succeeds."""
    looks = {"ioat": 200, "idxd": 1000}[driver]
    with Device(bench, driver) as d:
        d.page.fail("stop", count=looks - 2)
        same(d("stop"), [0], "stop that has time")
        same(d("start"), [0], "start")
        d.page.fail("stop", count=looks + 1)
        check(d("stop")[0] < 0, "stop that has no time succeeds")
        same(d.page.started, True, "engine started")
        same(d("stop"), [0], "the next stop")
        same(d.page.started, False, "engine started")
        same(d("start"), [0], "start")
        d.copy(3)
        same(d.reap(3), 3, "completions")


@case
def status_proves_nothing(bench):
    """rte_dma_vchan_status() calls an idle queue of idxd active, and a
    suspended channel of ioat what the engine reported last."""
    with Device(bench, "idxd") as d:
        same(d.vchan_status(), "active", "a new queue of idxd")
        d.copy(1)
        d.wait_done(1)
        same(d.vchan_status(), "idle", "one that has done all")
        d.enqueue(1)
        same(d.vchan_status(), "idle", "with a copy and no doorbell")
    for report, wanted in ((0, "active"), (1, "halted")):
        with Device(bench, "ioat", "report_suspend=%d" % report) as d:
            same(d.vchan_status(), "idle", "a new channel of ioat")
            d.hang()
            d.copy(2)
            same(d.vchan_status(), "active", "with copies")
            same(d("stop"), [0], "stop")
            same(d.vchan_status(), wanted, "stopped with copies")
