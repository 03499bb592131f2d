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

"""Scenarios: guests die."""

import contextlib
import mmap
import os
import random
import signal
import socket
import time

import lab as lablib
from frontend import FrontEnd
from packets import Failure, Flow
from world import World


def sink_process(path, result, window):
    """A guest of its own process, until it is killed."""
    counters = memoryview(result).cast("Q")
    guest = FrontEnd(path, size=1024)
    flow = Flow(0)
    flow.sent = 1 << 62
    counters[3] = 1
    World.start_guest(guest)
    while True:
        for packet in guest.receive_packets():
            flow.check(packet)
        counters[0] = flow.received
        counters[1] = flow.wrong
        counters[2] = flow.reordered
        time.sleep(0.0002)


def guest_killed(w):
    """A guest is killed by SIGKILL again and again, at random moments."""
    rng = random.Random(w.args.seed)
    sink = w.sinks[0]
    t = w.start_traffic()
    t.unattended.add(sink)
    sink.disconnect()
    sink.listener.close()
    total = wrong = reordered = early = 0
    n = w.args.rounds or 60
    for round_ in range(n):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(sink.path)
        result = mmap.mmap(-1, 4096)
        die_with_us = lablib.die_with_parent()
        pid = os.fork()
        if not pid:
            try:
                die_with_us()
                sink_process(sink.path, result, 96)
            except BaseException:
                os._exit(1)
        w.lab.on_exit("kill a guest", lambda pid=pid: kill_quietly(pid))
        view = memoryview(result).cast("Q")
        deadline = time.monotonic() + 10
        # Some die before they are set up.
        hasty = rng.random() < 0.2
        while not hasty and not view[0]:
            w.switch.vswitchd.check_alive()
            if time.monotonic() > deadline:
                raise Failure("guest %d got nothing within 10 s" % round_)
            time.sleep(0.001)
        time.sleep(rng.random() * (1.2 if hasty else 0.1))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        total += view[0]
        wrong += view[1]
        reordered += view[2]
        early += not view[0]
    w.note("%d guests killed, %d before their first packet; they got %d "
           "packets" % (n, early, total))
    if wrong or reordered:
        raise Failure("%d packets wrong, %d out of order"
                      % (wrong, reordered))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(sink.path)
    with t.paused():
        sink.listener = socket.socket(socket.AF_UNIX)
        sink.listener.bind(sink.path)
        sink.listener.listen(1)
    sink.restart()
    with t.paused():
        t.flows[0].last = -1
        t.unattended.clear()
    t.wait_delivered(300, 10)
    w.account(delivered=False, exact=False)


def kill_quietly(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
