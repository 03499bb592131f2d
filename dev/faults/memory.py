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

"""Scenarios: guest memory and virtqueues change while copies are in flight."""

import time

from dev.faults import frontend
from dev.faults.frontend import RX
from dev.faults.packets import Failure

# What DPDK calls its memory, where mbufs are (memalloc of EAL, 22.11).
MBUFS = r"seg_[-\w]+"
# What the thread that unmaps memory may take to come to it.
UNMAP_SECONDS = 0.5


class Accesses:
    """Whether the engine writes where it should: to the receive buffers of
    the memory that a guest has now, to other guests and to mbufs.  New memory
    is often mapped over the addresses of the old, but as it is larger its
    receive buffers, which come first, are not where the old ones were."""

    def __init__(self, w, sink):
        self.w, self.sink = w, sink
        self.n = self.outside = 0
        self.same = 0

    def swap(self):
        """Has the guest move; to be followed by check()."""
        pid = self.w.switch.vswitchd.pid
        name = self.sink.memory.name
        before = frontend.mappings(pid, name)
        if not before:
            raise Failure("vswitchd does not map the guest's memory")
        names = [MBUFS] + [guest.memory.name for guest in self.w.guests
                           if guest is not self.sink]
        self.others = [place for name in names
                       for place in frontend.mappings(pid, name)]
        starved = self.w.watch.starved()
        self.since = self.sink.swap_memory()
        # A thread of its own unmaps it.
        if not frontend.wait_unmapped(pid, name, UNMAP_SECONDS):
            self.wait_unmapped(pid, name, self.w.watch.starved() - starved)
        now = frontend.mappings(pid, self.sink.memory.name)
        self.now = [(begin, begin + self.sink.tx_at) for begin, _ in now]
        self.same += now[0][0] == before[0][0]

    def wait_unmapped(self, pid, name, starved):
        """The switch waits 100 ms for what is in flight.  Where that took
        longer since threads did not get a core, it keeps the memory until
        all has arrived."""
        if starved < 0.05:
            raise Failure("vswitchd still maps the old memory")
        if not frontend.wait_unmapped(pid, name, 5):
            raise Failure("vswitchd goes on mapping the old memory")
        self.since = time.monotonic_ns()

    def check(self):
        for page in self.w.pages:
            for a in page.log(self.since):
                if self.within(a, self.others):
                    continue
                self.n += 1
                self.outside += not self.within(a, self.now)

    @staticmethod
    def within(a, places):
        return any(begin <= a.dst and a.dst + a.length <= end
                   for begin, end in places)

    def text(self):
        return ("%d accesses after the answers, %d of them not to the new "
                "memory%s" % (self.n, self.outside, self.same and
                              "; mapped at the same place %d times"
                              % self.same or ""))


def set_mem_table(w):
    """SET_MEM_TABLE with copies in flight: the old memory is not touched
    after the answer."""
    t = w.start_traffic()
    sink = w.sinks[0]
    accesses = Accesses(w, sink)
    caught = late = 0
    for _ in range(w.rounds(10)):
        t.wait_delivered(200, 20)
        caught += w.wait_in_flight()
        accesses.swap()
        old = bytes(sink.old.map)
        t.wait_delivered(200, 20)
        accesses.check()
        late += bytes(sink.old.map) != old
    w.note("%d copies in flight at the messages, %s"
           % (caught, accesses.text()))
    if accesses.outside or late or not accesses.n:
        raise Failure("the old memory was written to after the answer (%d "
                      "accesses, changed %d times)"
                      % (accesses.outside, late))
    # For a queue that is not enabled, as during the message, Open vSwitch has
    # no name of drops.
    w.account(named=False)


def get_vring_base(w):
    """GET_VRING_BASE with copies in flight: every descriptor comes back."""
    t = w.start_traffic()
    sink = w.sinks[0]
    queues = sink.queues[RX::2]
    caught, missing = 0, []
    for round_ in range(w.rounds(10)):
        t.wait_delivered(200, 20)
        caught += w.wait_in_flight()
        queue = queues[round_ % len(queues)]
        base = sink.get_vring_base(queue.index)
        missing.append(queue.missing(base))
        sink.setup_vring(queue.index, base)
        sink.enable(queue.index)
    t.wait_delivered(200, 20)
    w.note("%d copies in flight at the messages, last_avail_idx less used "
           "index: %s" % (caught, sorted(set(missing))))
    if any(missing):
        raise Failure("%s descriptors did not come back" % missing)
    w.account(named=False)
    for queue in queues:
        if queue.outstanding() != queue.size:
            raise Failure("%d of %d descriptors are with the switch"
                          % (queue.outstanding(), queue.size))
