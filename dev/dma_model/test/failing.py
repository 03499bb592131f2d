# Cases: an engine and its calls fail as they are told to.

import errno
import threading
import time

from dev.dma_model import ctl
from dev.dma_model.test.fixture import Device, case, check, same


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
def stop_that_blocks(bench):
    """The driver does not return, until it is let go; then it succeeds."""
    with Device(bench, "latency_us=1000") as d:
        d.page.block("stop")
        timer = threading.Timer(0.3, d.page.clear)
        timer.start()
        begin = time.monotonic()
        same(d("stop"), [0], "stop")
        took = time.monotonic() - begin
        check(took >= 0.25, "it took %.2f s", took)
        same(d.page.started, False, "the page")
        timer.join()


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
