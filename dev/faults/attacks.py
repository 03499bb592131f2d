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

"""Scenarios: guests do what they may not."""

import os
import time

import hostile
from lab import LabError
from packets import Failure


def hostile_guest(w):
    """Random sequences of what a guest may not do, with a fixed seed; other
    guests do not notice."""
    t = w.start_traffic()
    name = w.server[0]
    i = w.names.index(name) - 1
    sink, other = w.sinks[i], t.flows[0 if i else 1]
    n = w.rounds(600)
    before = other.received
    with w.unattended(sink):
        sink.disconnect()
        number, steps = attack(w, w.paths[name], n)
        w.note("%d sequences, %d steps; the other guest got %d packets "
               "meanwhile" % (number, steps, other.received - before))
        sink.restart()
    t.wait_delivered(300, 10)
    w.account(delivered=False, exact=False, touched=(i,))


def attack(w, path, n):
    """Returns how many sequences of how many steps there was time for."""
    steps = number = 0
    begin = time.monotonic()
    try:
        for number in range(n):
            if time.monotonic() - begin > w.seconds:
                return number, steps
            steps += hostile.sequence(
                path, w.seed, number,
                only=list(filter(None, w.args.only.split(","))))
            if not w.switch.vswitchd.alive():
                raise Failure("vswitchd ended")
            w.traffic.check()
    except (LabError, OSError, Failure) as e:
        w.switch.vswitchd._wait(2)
        raise Failure("sequence %d of seed %d: %s; vswitchd's status: %s"
                      % (number, w.seed, e,
                         w.switch.vswitchd.popen.returncode))
    return n, steps


def hostile_sigbus(w):
    """A guest cuts its memory short: with any vhost-user back end that maps
    it, stock Open vSwitch as well, access to it is a SIGBUS."""
    w.start_traffic()
    sink = w.sinks[0]
    w.watch.stop = True
    # Nor may we look at it any more.
    w.traffic.unattended.update(w.guests)
    with w.traffic.paused():
        os.ftruncate(sink.memory.fd, 0)
    w.switch.vswitchd._wait(3)
    status = w.switch.vswitchd.popen.returncode
    w.note("vswitchd %s" % ("lives" if status is None
                            else "ended: %s" % status))
