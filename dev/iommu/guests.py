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

"""Guests whose memory is mapped for vfio, as DPDK's mode of addresses and the
scenario want them."""

import os

from dev.faults.frontend import (BUFFERS_AT, D_NEXT, D_WRITE, RX, FrontEnd,
                                 Region)
from dev.faults.virtqueue import DEVICE_AT, DRIVER_AT, RING_STEP, Queue

HUGE = 2 << 20
# Of each queue: more than there is in flight, and quickly filled.
SIZE = 64


class HugeRegion(Region):
    """On hugetlbfs: the only memory that engines get to by physical
    addresses."""

    def __init__(self, gpa, size, name):
        super().__init__(gpa, -(-size // HUGE) * HUGE, name,
                         os.MFD_CLOEXEC | os.MFD_HUGETLB)


class Guest(FrontEnd):
    """One whose receive buffers are of one piece."""

    def __init__(self, path, region, **kwargs):
        self.region = region
        super().__init__(path, size=SIZE, **kwargs)

    def memory_kb(self):
        return sum(r.size for r in (self.rings, self.memory,
                                    *self.more)) >> 10

    def names(self):
        return [r.name for r in (self.rings, self.memory)]


class Pieces(Guest):
    """One whose receive buffers are of two pieces, which lie apart: of two
    adjacent ones the first HEAD bytes, and what is behind them of the second
    one."""

    HEAD = 700

    def fill(self):
        queue = self.queues[RX]
        for i in range(0, queue.size, 2):
            at = self.buffer_at(0, i)
            queue.describe(i, BUFFERS_AT + at, self.HEAD, D_WRITE | D_NEXT,
                           i + 1)
            queue.describe(i + 1, BUFFERS_AT + self.second(at),
                           self.BUFFER - self.HEAD, D_WRITE)
            self.memory.map[at:at + 64] = bytes(64)
            queue.add(i)
        queue.publish()

    def second(self, at):
        return at + self.BUFFER + self.HEAD

    def take(self, at, length):
        data = super().take(at, min(length, self.HEAD))
        at = self.second(at)
        return data + self.memory.map[at:at + length - len(data)]


class Twin(Guest):
    """Another port of the guest 'other', with the same memory: its rings and
    its buffers lie behind those of the other one, which has room for them."""

    def __init__(self, path, other):
        self.other = other
        super().__init__(path, other.region)

    def shape(self, size, pairs=1, packed=False, memory=None):
        other = self.other
        self.rings.close()
        self.size, self.pairs, self.packed = size, pairs, packed
        self.rings, self.memory = other.rings, other.memory
        self.tx_at = other.need + size * self.BUFFER
        self.need = self.tx_at + size * self.TX_BUFFER
        self.queues = []
        for i in range(2):
            at = (len(other.queues) + i) * RING_STEP
            self.queues.append(Queue(self.rings, i, size, (
                at, at + DRIVER_AT, at + DEVICE_AT)))
        self.free_tx = [None]

    def buffer_at(self, pair, i):
        return self.other.need + super().buffer_at(pair, i)

    def close(self):
        # The memory is the other one's.
        self.disconnect()
        self.listener.close()
        os.unlink(self.path)
        for queue in self.queues:
            queue.close()
        self.queues = []
