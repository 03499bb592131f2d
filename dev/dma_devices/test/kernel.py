# Cases: idxd with work queues of the kernel's driver.

import contextlib
import shutil
import time

from dev.common.files import out
from dev.dma_devices import kernel_queue
from dev.dma_devices.test.fixture import Dmadev, case, check, same
from dev.dma_model.test.fixture import Program

SVA = 1 << 4


@contextlib.contextmanager
def queue(bench, **limits):
    """A work queue that is set up and started, in a process of its own: DPDK
    looks for them once, when it starts."""
    where, page = bench.path("dsa"), bench.path("kernel-page")
    env = kernel_queue.make(where, **limits)
    program = Program(
        out("model", "test-kernel.log"), *kernel_queue.eal_arguments(
            env, control=page, wq_size=limits.get("size", 128),
            max_batch=limits.get("max_batch", 1024)).split(), **env)
    try:
        d = Dmadev(program, kernel_queue.NAME % 0, page)
        d.set_up()
        yield d
    finally:
        program.close()
        shutil.rmtree(where)


@case
def kernel_queue_copies(bench):
    """idxd: a work queue of the kernel's driver takes virtual addresses, and
    batches as large as that has set up."""
    with queue(bench, max_batch=32) as d:
        same(d("info")[1] & SVA, SVA, "the capability of virtual addresses")
        same(d.capacity(), 32, "capacity")
        n, wrong = d("threads", 1, 10000)
        same((n >= 10000, wrong), (True, 0), "enough copies, wrong ones")


@case
def kernel_queue_has_no_stop(bench):
    """idxd: the stop of a work queue of the kernel's driver succeeds and does
    nothing: copies go on."""
    with queue(bench) as d:
        d.hang()
        d.copy(3)
        same(d("stop"), [0], "stop")
        same((d.page.started, d.page.in_flight), (True, 3), "the engine")
        same(d.moved(0, 3), [0, 3], "moved, not moved")
        d.vchan.recover()
        d.wait_done(3)
        same(d.moved(0, 3), [3, 0], "moved, not moved, after the stop")


@case
def kernel_queue_closed(bench):
    """idxd: rte_dma_close() unmaps the portal of a work queue of the kernel's
    driver, which then lets copies in flight end and disables the queue."""
    with queue(bench) as d:
        d.hang()
        d.copy(3)
        same([d("stop"), d("close")], [[0], [0]], "stop and close")
        time.sleep(.05)
        same((d.page.started, d.page.in_flight), (True, 3),
             "the engine, which hangs")
        d.vchan.recover()
        deadline = time.monotonic() + 2
        while d.page.started:
            check(time.monotonic() < deadline, "the queue is not disabled")
            time.sleep(.01)
        same(d.moved(0, 3), [3, 0], "moved, not moved")
