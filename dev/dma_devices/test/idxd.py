# Cases: what only idxd does, bound to the device through PCI.

import errno
import time

from dev.dma_devices import plugin
from dev.dma_devices.test.fixture import OK, Device, case, check, same


@case
def batch_limit(bench):
    """idxd: the largest batch is seen by who asks for the capacity, and by
    nobody else: a longer one is taken, and none of it is copied."""
    with Device(bench, "idxd", "max_batch=16") as d:
        same(d.capacity(), 16, "capacity")
        d.enqueue(10)
        same(d.capacity(), 6, "capacity")
        d.ring()
        same(d.capacity(), 16, "capacity after the doorbell")
        same(d.reap(10), 10, "completions")
        first = d.p("copies")[0]
        same(d.copy(20), 20, "copies taken beyond the limit")
        time.sleep(.05)
        same(d.moved(first, 20), [0, 20], "moved, not moved")
        check(OK not in d.status(), "some are told to be well")


@case
def batch_that_fails(bench):
    """idxd: copies of a batch that fails as a whole are told to be well by
    rte_dma_completed(), beside an error."""
    with Device(bench, "idxd", "max_batch=16") as d:
        same(d.copy(20), 20, "copies taken beyond the limit")
        time.sleep(.05)
        same(d.poll(), (20, True), "completions, with an error")
        same(d.moved(0, 20), [0, 20], "moved, not moved")


@case
def by_batch(bench):
    """idxd: copies complete with their batch, all at once."""
    with Device(bench, "idxd", n_desc=128) as d:
        for _ in range(20):
            d.copy(60, 65000)
            n = 0
            while not n:
                n = d.poll()[0]
            same(n, 60, "completions at first")


@case
def queue_full(bench):
    """idxd: there are as many doorbells as the work queue has entries, even
    where the ring has room."""
    with Device(bench, "idxd", "wq_size=16", n_desc=256) as d:
        d.hang()
        for _ in range(16):
            same(d.copy(1), 1, "copies taken")
        same(d.capacity(), 0, "capacity")
        same(d("enqueue", 0, 10, 1), [0, -errno.ENOSPC], "one more")
        d.vchan.recover()
        same(d.reap(16), 16, "completions")


@case
def stop_drains(bench):
    """idxd: a stop waits for all that is in flight: of an engine that hangs
    it fails, however often, and does no more once that goes on."""
    with Device(bench, "idxd") as d:
        d.hang()
        d.copy(3)
        d.copy(1)
        for _ in range(5):
            check(d("stop")[0] < 0, "stop of an engine that hangs succeeds")
        same((d.page.started, d.page.in_flight), (True, 4), "the engine")
        d.vchan.recover()
        d.wait_done(4)
        same(d("stop"), [0], "stop")
        same((d.page.started, d.page.in_flight), (False, 0), "the engine")
        same(d.moved(0, 4), [4, 0], "moved, not moved")
        same(d.reap(4), 4, "completions of a stopped queue")


@case
def failed_stop_goes_on(bench):
    """idxd: a queue that was not stopped in time stops later, and drops what
    it is handed then."""
    with Device(bench, "idxd") as d:
        d.hang()
        d.copy(1)
        check(d("stop")[0] < 0, "stop of an engine that hangs succeeds")
        d.copy(2)
        d.vchan.recover()
        same(d.reap(3, .2), 1, "completions")
        same(d.vchan.submitted, 1, "what got to the engine")
        same(d("stop"), [0], "stop")


@case
def error_after_restart(bench):
    """idxd: where a ring was set up anew after more batches than the queue
    has entries, a failure in the first batch is told of as success."""
    with Device(bench, "idxd", "wq_size=16") as d:
        for _ in range(17 + 5):
            d.copy(1)
            same(d.reap(1), 1, "completions")
        same(d("stop"), [0], "stop")
        d.set_up()
        first = d.p("copies")[0]
        d.fail(at=2)
        d.copy(5)
        d.wait_done(22 + 5)
        same(d.moved(first, 5), [4, 1], "moved, not moved")
        same(d.poll(5), (5, False), "completions, with an error")


@case
def several_queues(bench):
    """idxd: each queue is a dmadev; max_queues makes fewer."""
    p = bench.program
    for params, n in (("queues=4,engines=2", 4),
                      ("queues=4,engines=4,max_queues=2", 2)):
        same(p("probe", "idxd_model0", params)[0], 0, "probe " + params)
        there = [p("find", plugin.dmadev("idxd", 0, q))[0] >= 0
                 for q in range(4)]
        same(p("remove", "idxd_model0"), [0], "remove")
        same(there, [q < n for q in range(4)], params)
