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

"""Scenarios: engines stop, report errors, refuse copies."""

import re
import signal
import time

from dev.faults.frontend import RX
from dev.faults.memory import Accesses
from dev.faults.packets import Failure
from dev.faults.ports import end_process, expect_nothing_lost

# Of an engine that hangs all threads are to be quit of in that time.
LONGEST_PAUSE = 3.0


def wait_failed(w, timeout=4):
    begin = time.monotonic()
    while not w.log_lines("is quarantined"):
        if time.monotonic() - begin > timeout:
            raise Failure("no channel was quarantined within %d s" % timeout)
        time.sleep(0.01)
    return time.monotonic() - begin


def expect_resumed(w, after=""):
    took = w.traffic.wait_delivered(300, 10)
    w.note("traffic to every port%s after %.2f s"
           % (after, took))


def engine_hangs(w):
    """The engine stops completing for ever, under traffic: the CPU does its
    copies again."""
    t = w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.note("quarantined after %.2f s" % wait_failed(w))
    expect_resumed(w)
    expect_nothing_lost(w, limit=None)
    gap = max(flow.longest_gap for flow in t.flows)
    w.note("longest pause %.2f s" % gap)
    if gap > LONGEST_PAUSE:
        raise Failure("the traffic paused for %.2f s" % gap)


def hang_with_timeout(w):
    """other_config:vhost-async-timeout is less than it is by default, and the
    engine stops completing."""
    w.start_traffic()
    w.switch.set("vhost-async-timeout", "200")
    w.wait_in_flight()
    w.page.vchan().hang()
    took = wait_failed(w)
    w.note("quarantined after %.2f s" % took)
    if not 0.1 < took < 0.9:
        raise Failure("not after 0.2 s")
    expect_resumed(w)
    expect_nothing_lost(w, limit=LONGEST_PAUSE)


def engine_hangs_in_drain(w, act, stops=False):
    t = w.start_traffic()
    sink = w.sinks[0]
    w.wait_in_flight()
    with t.paused():
        w.page.vchan().hang()
        w.page.vchan().wait_seen(2)
        t.unattended.add(sink)
    begin = time.monotonic()
    with w.unattended(sink):
        act(sink)
        w.note("answered after %.2f s" % (time.monotonic() - begin))
    w.note("quarantined %.2f s later" % wait_failed(w))
    expect_resumed(w)
    expect_nothing_lost(w, stopped=sink if stops else None,
                        limit=LONGEST_PAUSE, named=False)


def hang_in_set_mem_table(w):
    """The engine hangs while SET_MEM_TABLE waits for it."""
    engine_hangs_in_drain(w, lambda sink: sink.swap_memory())


def hang_in_get_vring_base(w):
    """The engine hangs while GET_VRING_BASE waits for it."""
    def act(sink):
        base = sink.get_vring_base(RX)
        missing = sink.queues[RX].missing(base)
        sink.setup_vring(RX, base)
        sink.enable(RX)
        if missing:
            raise Failure("%d descriptors did not come back" % missing)
    engine_hangs_in_drain(w, act, stops=True)


def hang_and_sigterm(w):
    """SIGTERM while the engine hangs."""
    w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.page.vchan().wait_seen(2)
    end_process(w, lambda: w.switch.vswitchd.signal(signal.SIGTERM), 5,
                "SIGTERM")


def hang_and_exit(w):
    """ovs-appctl exit --cleanup while the engine hangs."""
    w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.page.vchan().wait_seen(2)
    end_process(w, lambda: w.switch.appctl("exit", "--cleanup"), 5,
                "ovs-appctl exit --cleanup")


def one_of_two_hangs(w):
    """Of two engines one hangs; two PMD threads."""
    t = w.start_traffic()
    busy = [page for page in w.pages if page.vchan().submitted]
    if not busy:
        raise Failure("no engine is used")
    busy[0].vchan().hang()
    w.note("%d of 2 engines used, quarantined after %.2f s"
           % (len(busy), wait_failed(w)))
    expect_resumed(w)
    good = [page for page in w.pages if page is not busy[0]]
    n = good[0].vchan().submitted
    t.wait_delivered(300, 10)
    w.note("the other engine got %d copies then"
           % (good[0].vchan().submitted - n))
    expect_nothing_lost(w, limit=None)


def hang_for_a_time(w):
    """The engine pauses for less than the timeout: nothing is lost."""
    t = w.start_traffic()
    for _ in range(3):
        w.page.vchan().hang(0.5)
        t.wait_delivered(500, 10)
    w.page.vchan().clear()
    if w.log_lines("is quarantined"):
        raise Failure("the channel was quarantined")
    w.account(limit=None)


def errors(w):
    """The engine reports errors for copies: the CPU does these again."""
    t = w.start_traffic()
    v = w.page.vchan()
    failed = v.errors
    for _ in range(w.rounds(3)):
        v.error(at=5, count=1)
        t.wait_delivered(300, 10)
    failed = v.errors - failed
    v.clear()
    shown = re.findall(r"errors: (\d+)", w.switch.appctl(
        "dpif-netdev/dma-show"))
    w.note("%d copies failed, %s are shown" % (failed, shown))
    if not failed or sum(map(int, shown)) < failed:
        raise Failure("%d copies failed, %s are shown" % (failed, shown))
    if w.log_lines("is quarantined"):
        raise Failure("the channel was quarantined")
    expect_nothing_lost(w, limit=None)


def refuse_once(w):
    """rte_dma_copy() fails once, often in the middle of a packet."""
    t = w.start_traffic()
    v = w.page.vchan()
    refused = v.refused
    for _ in range(w.rounds(20)):
        v.refuse(at=w.rng.randint(1, 7), count=1)
        t.wait_delivered(100, 10)
    v.clear()
    t.wait_delivered(100, 10)
    w.note("%d copies refused" % (v.refused - refused))
    expect_nothing_lost(w, limit=None)


def refuse_all(w):
    """rte_dma_copy() fails from now on: the CPU copies."""
    t = w.start_traffic()
    w.page.vchan().refuse()
    w.page.vchan().wait_seen(2)
    t.wait_delivered(300, 10)
    sent, received = t.flows[0].sent, t.flows[0].received
    t.wait_delivered(1000, 10)
    received = t.flows[0].received - received
    sent = t.flows[0].sent - sent
    w.note("%d refused, quarantined %d, %d of %d packets arrived then"
           % (w.page.vchan().refused, len(w.log_lines("is quarantined")),
              received, sent))
    if received < 0.8 * sent:
        raise Failure("%d of %d packets arrived" % (received, sent))
    w.page.vchan().clear()
    expect_nothing_lost(w, limit=None)


def refuse_in_packet(w):
    """rte_dma_copy() fails from the middle of a packet on: the CPU copies the
    rest, and the packet waits for what the engine took."""
    t = w.start_traffic()
    v = w.page.vchan()
    refused = v.refused
    for _ in range(w.rounds(10)):
        v.refuse(at=w.rng.randint(2, 7))
        t.wait_delivered(300, 10)
        v.clear()
        t.wait_delivered(100, 10)
    w.note("%d refused" % (v.refused - refused))
    if v.refused == refused:
        raise Failure("nothing was refused")
    if w.log_lines("is quarantined"):
        raise Failure("the channel was quarantined")
    expect_nothing_lost(w, limit=None)


def refuse_and_swap(w):
    """rte_dma_copy() fails in the middle of a packet, then memory moves."""
    t = w.start_traffic()
    sink, v = w.sinks[0], w.page.vchan()
    accesses = Accesses(w, sink)
    for _ in range(w.rounds(20)):
        v.refuse(at=w.rng.randint(2, 9), count=0)
        time.sleep(0.02)
        accesses.swap()
        v.clear()
        t.wait_delivered(100, 10)
        accesses.check()
        if accesses.outside:
            break
    w.note("%d refused, %s" % (v.refused, accesses.text()))
    if accesses.outside:
        raise Failure("%d accesses to memory that was unmapped"
                      % accesses.outside)
    expect_nothing_lost(w, limit=None, named=False)


def ring_full(w):
    """The engine's ring has no room, for a second."""
    t = w.start_traffic()
    for _ in range(w.rounds(3)):
        w.page.vchan().full()
        time.sleep(0.3)
        w.page.vchan().clear()
        t.wait_delivered(300, 10)
    if w.log_lines("is quarantined"):
        raise Failure("the channel was quarantined")
    expect_nothing_lost(w, limit=None)
