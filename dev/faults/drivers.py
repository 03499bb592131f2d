# Copyright (c) 2026 The vhost async for Open vSwitch authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at:
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Scenarios that only a driver of DPDK has, on a device in memory."""

import time

from dev.faults.engines import expect_resumed, wait_failed
from dev.faults.packets import Failure
from dev.faults.ports import expect_nothing_lost


def wait_logged(w, pattern, timeout=5):
    deadline = time.monotonic() + timeout
    while not w.log_lines(pattern):
        if time.monotonic() > deadline:
            raise Failure("the log does not say \"%s\"" % pattern)
        time.sleep(0.01)


def hang_until_late(w):
    """The engine hangs and its driver cannot stop it: what it has stands
    still, all else goes on, until it does its copies after all."""
    t = w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.page.fail("stop")
    w.note("quarantined after %.2f s" % wait_failed(w))
    wait_logged(w, "failed and cannot be stopped")
    time.sleep(0.2)
    before = [flow.received for flow in t.flows]
    time.sleep(0.5)
    still = sum(n == flow.received for n, flow in zip(before, t.flows))
    w.note("%d of %d flows stand still" % (still, len(before)))
    if not still:
        raise Failure("no queue stands still")
    text = w.switch.appctl("dpif-netdev/dma-show")
    if "cannot be stopped" not in text:
        raise Failure("dma-show does not tell:\n%s" % text)
    if w.in_flight() == 0:
        raise Failure("nothing is in flight any more")
    w.page.clear()
    # Whichever comes first.
    wait_logged(w, "completed its last copies|is stopped")
    expect_resumed(w)
    expect_nothing_lost(w, limit=None)


def stop_late(w):
    """The engine hangs and is not stopped as long as its driver is asked to,
    but later, without its copies: the CPU does them again."""
    w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.page.fail("stop")
    wait_logged(w, "failed and cannot be stopped")
    w.page.clear()
    time.sleep(0.1)
    if w.page.started:
        raise Failure("the engine does not stop")
    expect_resumed(w)
    expect_nothing_lost(w, limit=None)


def slow_stop(w):
    """The engine hangs, and is stopped when the driver tries again: it has
    given up before, after so many looks."""
    w.start_traffic()
    w.wait_in_flight()
    v = w.page.vchan()
    before = w.page.calls("stop")
    # Three times as often as the driver looks before it gives up, and some.
    w.page.fail("stop", count=700)
    v.hang()
    wait_failed(w)
    wait_logged(w, "is stopped")
    tries = w.page.calls("stop") - before
    w.note("stopped at try number %d" % tries)
    if tries != 4:
        raise Failure("it took %d tries to stop it, not 4" % tries)
    expect_resumed(w)
    expect_nothing_lost(w, limit=None)


def beyond_recovery(w):
    """A copy fails and the driver cannot have the engine go on: no copy that
    the engine has not done is taken for done."""
    t = w.start_traffic()
    w.wait_in_flight()
    v = w.page.vchan()
    failed, moved = v.errors, v.bytes_moved
    w.page.fail("start")
    v.error(at=5, count=1)
    t.wait_delivered(1000, 10)
    if v.errors == failed:
        raise Failure("no copy failed")
    moved = v.bytes_moved
    t.wait_delivered(1000, 10)
    if v.bytes_moved != moved:
        raise Failure("the engine goes on")
    w.note("quarantined %d" % len(w.log_lines("is quarantined")))
    expect_nothing_lost(w, limit=None)
