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

"""The virtqueues of a guest, in its memory: split and packed ones.

Both look alike to whoever uses them: describe() says what a buffer is, add()
and publish() give it to the back end, peek() and pop() tell what came back.
put() and offer() are for guests that do as they like.
"""

import os
import struct

DESC = struct.Struct("=QIHH")
USED = struct.Struct("=II")

RING_STEP = 1 << 16
DRIVER_AT, DEVICE_AT = 0x8000, 0xc000

# Flags of packed descriptors.
P_AVAIL, P_USED = 1 << 7, 1 << 15


class _Queue:
    """One virtqueue in a region; its layout is the same for all sizes, unless
    it has 'places' of its own for its three areas."""

    def __init__(self, region, index, size, places=None):
        self.index, self.size, self.map = index, size, region.map
        at = index * RING_STEP
        # Of a packed queue the others are those that suppress events.
        self.desc_at, self.avail_at, self.used_at = places or (
            at, at + DRIVER_AT, at + DEVICE_AT)
        self.places = places
        self.view = memoryview(self.map)
        self.kick, self.call = os.eventfd(0), os.eventfd(0)

    @classmethod
    def areas(cls, size, event_idx):
        """The bytes of each area, and what its place is a multiple of."""
        raise NotImplementedError

    def clear(self):
        """As a guest that sets the queue up anew."""
        if self.places:
            for at, (n, _) in zip(self.places, self.areas(self.size, False)):
                self.map[at:at + n] = bytes(n)
        else:
            n = self.desc_at
            self.map[n:n + RING_STEP] = bytes(RING_STEP)
        self.next_avail = 0             # Not cut to what the ring has.
        self.next_used = 0

    def outstanding(self):
        """Descriptors that the back end has, by what we know."""
        return self.next_avail - self.next_used

    def close(self):
        self.view.release()
        os.close(self.kick)
        os.close(self.call)


class Queue(_Queue):
    """A split virtqueue."""

    # Packets come as a whole.
    WHOLE = True

    def __init__(self, region, index, size, places=None):
        super().__init__(region, index, size, places)
        n = self.avail_at
        self.avail = self.view[n:n + 6 + 2 * size].cast("H")
        self.used = self.view[self.used_at:self.used_at + 4].cast("H")
        self.clear()

    @classmethod
    def areas(cls, size, event_idx):
        more = 2 if event_idx else 0
        return ((16 * size, 16), (4 + 2 * size + more, 2),
                (4 + 8 * size + more, 4))

    def clear(self):
        super().clear()
        self.avail[0] = 1               # No interrupts wanted.

    def begin_at(self, n):
        """Has an empty queue begin with index 'n'."""
        self.next_avail = self.next_used = n
        self.avail[1] = self.used[1] = n

    def put(self, i, addr, length, flags, link):
        """Writes a descriptor, which is followed by 'link'."""
        self.describe(i, addr, length, flags, link)

    def offer(self, n, head):
        """Makes 'n' buffers available, the first of which is 'head'."""
        self.avail[2 + self.avail[1] % self.size] = head
        self.avail[1] = self.avail[1] + n & 0xffff

    def describe(self, i, addr, length, flags=0, next_=0):
        DESC.pack_into(self.map, self.desc_at + 16 * i, addr, length, flags,
                       next_)

    def add(self, head):
        self.avail[2 + self.next_avail % self.size] = head
        self.next_avail += 1

    def publish(self):
        self.avail[1] = self.next_avail & 0xffff

    def used_index(self):
        return self.used[1]

    def base(self):
        """Where a back end goes on that is new to this queue."""
        return self.used_index()

    def missing(self, base):
        """How many descriptors a back end that stopped at 'base' has taken
        and not given back."""
        return (base - self.used_index()) & 0xffff

    def n_used(self, _enough=1):
        """How many entries of the used ring were not looked at."""
        return (self.used[1] - self.next_used) & 0xffff

    def peek(self):
        """The number and the length of the buffer that came back first."""
        at = self.used_at + 4 + 8 * (self.next_used % self.size)
        return USED.unpack_from(self.map, at)

    def pop(self):
        found = self.peek()
        self.next_used += 1
        return found

    def close(self):
        self.avail.release()
        self.used.release()
        super().close()


class PackedQueue(_Queue):
    """A packed virtqueue, for buffers of one descriptor each, which a back
    end uses in order.

    The one of DPDK tells what it took of a transmit queue only when it took
    most of the queue, so that used_index() is of use for receive queues
    only."""

    WHOLE = False

    def __init__(self, region, index, size, places=None):
        super().__init__(region, index, size, places)
        n = self.desc_at
        self.half = self.view[n:n + 16 * size].cast("H")
        self.buffers = {}
        self.pending = []
        self.clear()

    @classmethod
    def areas(cls, size, event_idx):
        return (16 * size, 16), (4, 4), (4, 4)

    def begin_at(self, n):
        """Has an empty queue begin with descriptor 'n', counted on into the
        second round."""
        self.next_avail = self.next_used = n % (2 * self.size)

    def put(self, i, addr, length, flags, link):
        """Writes a descriptor, which is called 'link'."""
        DESC.pack_into(self.map, self.desc_at + 16 * i, addr, length, link,
                       flags)

    def offer(self, n, first):
        """Makes 'n' descriptors available, from number 'first' on."""
        for i in range(first, first + n):
            at = 8 * (i % self.size) + 7
            self.half[at] = (self.half[at] & ~(P_AVAIL | P_USED)
                             | (P_AVAIL if self.wrap(i) else P_USED))

    def clear(self):
        super().clear()
        struct.pack_into("=HH", self.map, self.avail_at, 0, 1)
        self.pending.clear()

    def describe(self, i, addr, length, flags=0, _next=0):
        self.buffers[i] = addr, length, flags

    def wrap(self, n):
        """The wrap counter of what is number 'n' on the ring."""
        return not n // self.size & 1

    def add(self, i):
        n = self.next_avail
        addr, length, flags = self.buffers[i]
        # The flags, which give it away, are left for publish().
        struct.pack_into("=QIH", self.map,
                         self.desc_at + 16 * (n % self.size), addr, length,
                         i)
        flags |= P_AVAIL if self.wrap(n) else P_USED
        self.pending.append((n % self.size, flags))
        self.next_avail += 1

    def publish(self):
        # The first last, so that they become visible at once.
        for i, flags in reversed(self.pending):
            self.half[8 * i + 7] = flags
        self.pending.clear()

    def is_used(self, n):
        flags = self.half[8 * (n % self.size) + 7]
        return (bool(flags & P_AVAIL) == bool(flags & P_USED)
                == self.wrap(n))

    def n_used(self, enough=1):
        """How many buffers came back, as far as 'enough'."""
        n = 0
        while (n < enough and n < self.outstanding()
               and self.is_used(self.next_used + n)):
            n += 1
        return n

    def base(self):
        n = self.next_used + self.n_used(self.size)
        return n % self.size | self.wrap(n) << 15

    def missing(self, base):
        def place(b):
            return b & 0x7fff if b >> 15 else (b & 0x7fff) + self.size
        return (place(base) - place(self.base())) % (2 * self.size)

    def peek(self):
        _, length, i, _ = DESC.unpack_from(
            self.map, self.desc_at + 16 * (self.next_used % self.size))
        return i, length

    def pop(self):
        found = self.peek()
        self.next_used += 1
        return found

    def close(self):
        self.half.release()
        super().close()
