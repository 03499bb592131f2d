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

"""Whether guests that are not attacked are left alone."""

import random
import time

from dev.faults.packets import Failure
from dev.faults.virtqueue import RING_STEP


class Bystander:
    """Whether a guest is left alone: what it did not offer stays as it is."""

    def __init__(self, guest):
        self.guest = guest
        self.kept = []
        rng = random.Random(7)
        rings = guest.rings.map
        last = 0
        for queue in guest.queues:
            if not guest.packed:
                self.keep_split(rng, rings, queue)
            last = queue.desc_at + RING_STEP
        self.fill(rng, rings, last, guest.rings.size)
        # It sends nothing.
        self.fill(rng, guest.memory.map, guest.tx_at, guest.memory.size)

    def keep_split(self, rng, rings, queue):
        """What is between the parts of a split virtqueue; and descriptors are
        for the guest to write, which does not do so any more."""
        n = queue.size
        self.keep(rings, queue.desc_at, queue.desc_at + 16 * n)
        self.fill(rng, rings, queue.desc_at + 16 * n, queue.avail_at)
        self.fill(rng, rings, queue.avail_at + 4 + 2 * n + 2, queue.used_at)
        self.fill(rng, rings, queue.used_at + 4 + 8 * n + 2,
                  queue.desc_at + RING_STEP)

    def fill(self, rng, where, begin, end):
        where[begin:end] = rng.randbytes(end - begin)
        self.keep(where, begin, end)

    def keep(self, where, begin, end):
        self.kept.append((where, begin, where[begin:end]))

    def check(self):
        for where, begin, data in self.kept:
            now = where[begin:begin + len(data)]
            if now != data:
                at = next(i for i, (x, y) in enumerate(zip(now, data))
                          if x != y)
                raise Failure("the memory of another guest was written to, "
                              "at %#x of %s" % (begin + at, "the rings" if
                                                where is self.guest.rings.map
                                                else "the buffers"))

    def size(self):
        return sum(len(data) for _, _, data in self.kept)


class Targets:
    """Where the engine writes: to memory of a hostile guest, or to the receive
    buffers of others.  Memory of hostile guests comes and goes, so what
    counts is that no write is to what is mapped for anything else."""

    def __init__(self, w, others):
        self.w, self.others = w, others
        self.since = time.monotonic_ns()
        self.n = self.to_others = 0

    def maps(self):
        """The ranges that vswitchd has, and the name of each."""
        found = []
        with open("/proc/%d/maps" % self.w.switch.vswitchd.pid) as f:
            for line in f:
                fields = line.split()
                begin, end = fields[0].split("-")
                found.append((int(begin, 16), int(end, 16),
                              " ".join(fields[5:])))
        return found

    def check(self):
        since, self.since = self.since, time.monotonic_ns()
        before = self.maps()
        log = self.w.page.log(since)
        after = self.maps()
        for access in log:
            self.n += 1
            places = [self.place(access, maps) for maps in (before, after)]
            if places[0] == places[1] and places[0] is not None:
                raise Failure("the engine wrote %d bytes to %s"
                              % (access.length, places[0]))

    def place(self, access, maps):
        """What is there that may not be written to, or None."""
        end = access.dst + access.length
        for begin, stop, name in maps:
            if end <= begin or access.dst >= stop:
                continue
            if "/memfd:" not in name:
                return name or "memory of the switch"
            for guest in self.others:
                if "/memfd:%s " % guest.memory.name in name + " ":
                    self.to_others += 1
                    if end > begin + guest.tx_at:
                        return "memory that %s did not offer" % guest.path
                elif "/memfd:%s-" % guest.tag in name:
                    return "the rings of " + guest.path
        return None
