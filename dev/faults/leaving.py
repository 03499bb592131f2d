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

"""Scenarios: guests die, pause, come back as others."""

import collections
import contextlib
import math
import mmap
import os
import signal
import time

from dev import lab as lablib
from dev.faults.frontend import MORE_AT, FrontEnd, Region
from dev.faults.packets import Failure, Flow, flow_of
from dev.faults.world import World


# Of the memory that a guest which is to be killed shares with us.
GOT, WRONG, REORDERED = range(3)


def sink_process(path, shape, numbers, shared):
    """A guest of its own process, until it is killed."""
    counters = memoryview(shared).cast("Q")
    guest = FrontEnd(path, **shape)
    flows = {number: Flow(number) for number in numbers}
    for flow in flows.values():
        flow.sent = 1 << 62
    other = Flow(0)
    World.start_guest(guest)
    while True:
        for pair in range(guest.pairs):
            for packet in guest.receive_packets(pair):
                flows.get(flow_of(packet), other).check(packet, pair)
        for i, name in enumerate(("received", "wrong", "reordered")):
            counters[i] = sum(getattr(flow, name) for flow
                              in [other, *flows.values()])
        time.sleep(0.0002)


def fork_sink(w, sink, shared):
    die_with_us = lablib.die_with_parent()
    numbers = [flow.number for flow in w.flows_to(w.sinks.index(sink))]
    pid = os.fork()
    if not pid:
        try:
            die_with_us()
            sink_process(sink.path,
                         dict(size=sink.size, pairs=sink.pairs,
                              packed=sink.packed), numbers, shared)
        finally:
            os._exit(1)
    w.lab.on_exit("kill a guest", lambda: kill_quietly(pid))
    return pid


def kill_quietly(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_one(w, sink, total):
    """A guest is killed some time after its first packet, or before."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(sink.path)
    shared = mmap.mmap(-1, 4096)
    view = memoryview(shared).cast("Q")
    deadline = time.monotonic() + 10
    # Some die before they are set up.
    hasty = w.rng.random() < 0.2
    wait = w.rng.random()
    pid = fork_sink(w, sink, shared)
    while not hasty and not view[GOT]:
        w.switch.vswitchd.check_alive()
        if time.monotonic() > deadline:
            raise Failure("a guest got nothing within 10 s")
        time.sleep(0.001)
    time.sleep(wait * (1.2 if hasty else 0.1))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    total.update(got=view[GOT], wrong=view[WRONG],
                 reordered=view[REORDERED], early=not view[GOT])


def guest_killed(w):
    """A guest is killed by SIGKILL again and again, at random moments."""
    sink = w.sinks[0]
    w.start_traffic()
    total = collections.Counter()
    n = w.rounds(200)
    with w.unattended(sink):
        sink.disconnect()
        sink.listener.close()
        for _ in range(n):
            kill_one(w, sink, total)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(sink.path)
        sink.listen()
        sink.restart()
    w.note("%d guests killed, %d before their first packet; they got %d "
           "packets" % (n, total["early"], total["got"]))
    if total["wrong"] or total["reordered"]:
        raise Failure("%d packets wrong, %d out of order"
                      % (total["wrong"], total["reordered"]))
    w.traffic.wait_delivered(300, 10)
    w.account(delivered=False, exact=False)


def guest_pauses(w):
    """A guest reads nothing for seconds: its queue fills, and what does not
    fit is dropped by name."""
    t = w.start_traffic()
    sink = w.sinks[0]
    before = w.switch.counters("dst0")
    for _ in range(w.rounds(2)):
        with w.unattended(sink):
            c = w.switch.counters("dst0")
            for _ in range(10):
                n = t.flows[1].received
                last = c
                time.sleep(1)
                c = w.switch.counters("dst0")
                if c["tx_packets"] == last["tx_packets"]:
                    break
            else:
                raise Failure("packets go to a queue that is to be full")
            if c["tx_dropped"] == last["tx_dropped"]:
                raise Failure("nothing is dropped")
            if t.flows[1].received - n < 100:
                raise Failure("the other guest got %d packets in a second"
                              % (t.flows[1].received - n))
            moving = c["tx_async_in_flight"] + c["tx_async_waiting"]
        t.wait_delivered(300, 10)
        w.note("%d dropped when nobody read, %d on their way"
               % (c["tx_dropped"] - before["tx_dropped"], moving))
        before = w.switch.counters("dst0")
    w.account(exact=True)


LARGE_MB = 16 << 10
# What a guest may take longer for its messages.  Others are at work on the
# same cores, so that one slow connection says nothing: the quickest of many
# counts, and more are made while it is above this.
CONNECT_LIMIT = 0.02
CONNECT_TRIES = 16


def large_guest(w):
    """A guest of 16 GB of pages of 4 KB, none of which is there yet, connects
    as quickly as a small one, none is allocated, and nobody waits."""
    t = w.start_traffic()
    sink = w.sinks[0]
    large = Region(MORE_AT, LARGE_MB << 20, sink.tag + "-large")
    small = much = math.inf
    for round_ in range(CONNECT_TRIES):
        if round_ >= w.rounds(8) and much <= small + CONNECT_LIMIT:
            break
        for sink.more in (), (large,):
            with w.unattended(sink):
                sink.restart()
            if sink.more:
                much = min(much, sink.started_in)
            else:
                small = min(small, sink.started_in)
            t.wait_delivered(200, 10)
    allocated = os.fstat(large.fd).st_blocks * 512
    w.note("connected in %.1f ms, with %d MB more in %.1f ms, of which %d KB "
           "are allocated" % (small * 1000, LARGE_MB, much * 1000,
                              allocated >> 10))
    sink.more = ()
    with w.unattended(sink):
        sink.restart()
    large.close()
    t.wait_delivered(200, 10)
    if much > small + CONNECT_LIMIT:
        raise Failure("a large guest takes longer")
    if allocated:
        raise Failure("memory is allocated that the guest does not use")
    w.account(delivered=False, exact=False)


SHAPES = (dict(size=1024, pairs=4), dict(size=256, pairs=2),
          dict(size=512, pairs=1, packed=True),
          dict(size=1024, pairs=4, packed=True),
          dict(size=1024, pairs=1, memory=128 << 20),
          dict(size=64, pairs=8), dict(size=256, pairs=3, packed=True))


def guest_reshaped(w):
    """A guest reconnects with another number of queues, ring size, ring
    layout, memory size, copies in flight."""
    t = w.start_traffic()
    sink = w.sinks[0]
    shape = dict(size=sink.size, pairs=sink.pairs, packed=sink.packed)
    used = []
    for round_ in range(w.rounds(2 * len(SHAPES))):
        if round_ < len(SHAPES):
            new = SHAPES[round_]
        else:
            new = dict(size=1 << w.rng.randint(6, 10),
                       pairs=w.rng.randint(1, 8),
                       packed=w.rng.random() < 0.5)
        w.wait_in_flight()
        with w.unattended(sink):
            sink.restart(**new)
        t.wait_delivered(200, 10)
        used.append("%d*%d%s" % (sink.pairs, sink.size,
                                 "p" if sink.packed else ""))
    w.wait_in_flight()
    with w.unattended(sink):
        sink.restart(**shape)
    t.wait_delivered(200, 10)
    w.note("queues " + " ".join(used))
    w.account(delivered=False, exact=False)
