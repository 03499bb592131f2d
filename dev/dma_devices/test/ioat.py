# Cases: what only ioat does.

import time

from dev.dma_devices.test.fixture import OK, Device, case, check, same

# What test-dma-model.c has where a driver stores no status.
NOT_SET = -1


@case
def stop_forgets(bench):
    """ioat: what is in flight at a stop is forgotten, but for the copy that
    the engine is at, even by an engine that hangs."""
    with Device(bench, "ioat") as d:
        d.hang()
        d.copy(5)
        same(d("stop"), [0], "stop")
        same((d.page.started, d.vchan.aborted), (False, 5), "the engine")
        d.vchan.recover()
        d.vchan.wait_seen(2)
        same(d.moved(0, 5), [0, 5], "moved, not moved")
        d.set_up()
        d.copy(2)
        same(d.reap(2), 2, "completions after a start")
        same(d.moved(0, 5), [0, 5], "moved, not moved")


@case
def second_stop_resets(bench):
    """ioat: a stop of a channel that is stopped resets it, and a start
    recovers it from that."""
    with Device(bench, "ioat") as d:
        same(d("stop"), [0], "stop")
        d.page.fail("stop", count=201)
        same(d("start"), [0], "start")
        check(d("stop")[0] < 0, "stop that has no time succeeds")
        same(d("stop"), [0], "the second one")
        same(d("start"), [0], "start")
        d.copy(3)
        same(d.reap(3), 3, "completions")


@case
def gives_room_early(bench):
    """ioat: the descriptor of a copy that failed is free before it is told
    of, so that the ring takes one more copy than it has room for."""
    with Device(bench, "ioat") as d:
        d.fail(at=1)
        same(d.copy(64), 63, "copies taken")
        d.wait_done(1)
        same(d.poll(), (0, True), "completions")
        same(d.capacity(), 1, "capacity")
        same(d.enqueue(2), 1, "copies taken")


@case
def loses_a_copy(bench):
    """ioat: rte_dma_completed_status() that is asked for less than there is
    never tells of one copy."""
    with Device(bench, "ioat") as d:
        d.fail(at=3)
        d.copy(6)
        d.wait_done(3)
        same(d.reap(2), 2, "completions before it")
        same(d.poll(), (0, True), "completions then")
        d.wait_done(6)
        told = d.status(2)
        same(len(told), 2, "statuses of two")
        rest = d.status()
        same(2 + len(told) + len(rest), 5, "copies told of, of 6")


@case
def second_error_early(bench):
    """ioat: of two copies that failed, the second is told of one copy too
    early, when the first is asked about, and one status is not set."""
    with Device(bench, "ioat") as d:
        for is_bad in (0, 1, 0, 0, 1, 0):
            d.enqueue_bad(dst=is_bad)
        d.ring()
        d.wait_done(2)
        same(d.reap(1), 1, "completions before it")
        same(d.poll(), (0, True), "completions then")
        d.wait_done(5)
        told = d.status()
        # Of copies 1 to 4, 1 and 4 failed.
        same([told[0] != OK, told[1] == OK, told[2] != OK],
             [True, True, True], "statuses %s" % told)
        same((len(told), told[3:]), (4, [NOT_SET]), "the last one")
        d.wait_done(6)
        same(d.moved(0, 6), [4, 2], "moved, not moved")


@case
def beyond_recovery(bench):
    """ioat: of an engine that does not go on after an error,
    rte_dma_completed_status() says that copies are well which it never
    began."""
    with Device(bench, "ioat") as d:
        d.page.fail("start")
        d.fail(at=3)
        d.copy(6)
        d.wait_done(3)
        same(d.reap(2), 2, "completions before it")
        same(d.poll(), (0, True), "completions then")
        same([s == OK for s in d.status(4)], [False, True, True, True],
             "what is told to be well")
        same(d.moved(0, 6), [2, 4], "moved, not moved")


@case
def dead_and_well(bench):
    """ioat: once the engine does not go on after an error, copies that nobody
    does are told to be well; only rte_dma_vchan_status() tells."""
    with Device(bench, "ioat") as d:
        d.page.fail("start")
        d.fail(at=1)
        d.copy(1)
        d.wait_done(1)
        same(d.poll(1), (0, True), "completions")
        d.status(1)
        first = d.p("copies")[0]
        d.copy(4)
        time.sleep(.05)
        same(d.poll(4), (4, False), "completions, without an error")
        same(d.vchan_status(), "halted", "the channel")
        same(d.moved(first, 4), [0, 4], "moved, not moved")


@case
def old_device(bench):
    """ioat: a device before 3.4 does not say that it handles errors."""
    for version, handles in (("0x33", 0), ("0x34", 1)):
        with Device(bench, "ioat", "version=" + version) as d:
            same(d("info")[1] >> 6 & 1, handles, "version " + version)
