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

"""A guest that means harm: what it does follows from the seed alone.

python3 -m dev.faults.hostile SOCKET --sequence N --seed S does again what
sequence N of a run did, to a port of type dpdkvhostuser; without --sequence,
it does one after another.

Receive rings are read by code of our own, so that all that a guest can do to
them is done.  Messages and transmit rings are the vhost library's: AVOIDED
has what ends or stops any Open vSwitch with this release of DPDK, whether a
port is on DMA or not.  The sequences leave that out unless --include names
it.
"""

import argparse
import contextlib
import os
import random
import struct
import sys
import time

from dev.common.command import program
from dev.faults import frontend
from dev.faults.believed import F_EVENT_IDX, F_MQ, F_PACKED, PAYLOADS, Library
from dev.faults.frontend import (BUFFERS_AT, D_INDIRECT, D_NEXT, D_WRITE,
                                 F_MRG_RXBUF, F_VERSION_1, RX, TX, VIRTUAL,
                                 Disconnected, FrontEnd, FrontEndError)
from dev.faults.virtqueue import DESC, P_AVAIL, P_USED

# What is left out, and why.
AVOIDED = {
    # Those that end it, or have it access what is not the guest's: see
    # believed.py.
    "messages": "messages that the library believes",
    # The thread of the library that reads the messages of all guests waits
    # for the rest of this one.
    "stall": "half a message, and then nothing",
    # Open vSwitch wants memory for the packets of all queues that a guest
    # mentions, and does without the port if there is not enough.
    "queues": "more queues than there is memory for",
    # When another guest takes the place of one on the same socket, Open
    # vSwitch does not wait for threads that receive from the first, and the
    # library frees that, or stops its rings, when it is told to.
    "replaced": "two guests on a socket, the first of which goes at once",
    # The library accesses what it mapped.
    "sigbus": "memory cut short while it is in use",
}

# Messages that begin with the number of a ring; of the latter it is a byte.
WITH_FD = (frontend.SET_VRING_KICK, frontend.SET_VRING_CALL,
           frontend.SET_VRING_ERR)
ABOUT_RINGS = WITH_FD + (
    frontend.SET_VRING_NUM, frontend.SET_VRING_ADDR, frontend.SET_VRING_BASE,
    frontend.GET_VRING_BASE, frontend.SET_VRING_ENABLE)

F_INDIRECT = 1 << 28
F_LOG_ALL = 1 << 26

LOG_SIZE = 1 << 16              # Enough for all of the memory.

ODD = (0, 1, 2, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
       0x80000000, 0xffffffff, 1 << 32, 1 << 47, 1 << 63, (1 << 64) - 1)


def odd(rng, bits=64):
    value = rng.choice(ODD) if rng.random() < 0.7 else rng.getrandbits(64)
    return value & ((1 << bits) - 1)


def address(rng, guest):
    where = rng.random()
    if where < 0.2:
        return odd(rng)
    if where < 0.5:                     # At an end of the memory.
        return (BUFFERS_AT + rng.choice([0, guest.memory.size]
                                        + guest.seams())
                + rng.randint(-64, 64)) & ((1 << 64) - 1)
    if where < 0.6:                     # The rings themselves.
        return rng.randrange(0, guest.rings.size)
    return BUFFERS_AT + rng.randrange(0, guest.memory.size)


def length(rng):
    return rng.choice((0, 1, 11, 12, 2048, 2048, 9100, 1 << 20, odd(rng, 32)))


# Rings.

def any_queue(rng, guest):
    return guest.queues[rng.choice((RX, RX, RX, TX))]


def bad_descriptor(rng, guest, queue, i):
    flags = rng.choice((0, D_NEXT, D_WRITE, D_WRITE, D_NEXT | D_WRITE,
                        D_NEXT | D_WRITE, D_INDIRECT, D_INDIRECT | D_NEXT,
                        rng.getrandbits(16)))
    if guest.packed:
        flags |= rng.choice((P_AVAIL, P_USED))
    queue.put(i, address(rng, guest), length(rng), flags,
              rng.choice((rng.randrange(queue.size), rng.randrange(queue.size),
                          queue.size, odd(rng, 16))))


def bad_descriptors(rng, guest):
    """Loops, chains without end, addresses and lengths that are wrong."""
    queue = any_queue(rng, guest)
    for _ in range(rng.choice((1, 16, queue.size))):
        bad_descriptor(rng, guest, queue, rng.randrange(queue.size))


def changes(rng, guest):
    """Descriptors change while packets come, and more are offered."""
    queue = any_queue(rng, guest)
    for _ in range(rng.choice((3, 10, 30))):
        i = rng.randrange(queue.size)
        buffer = BUFFERS_AT + guest.buffer_at(0, i)
        n = rng.choice((1, 1, 2, queue.size))
        for _ in range(10):
            queue.put(i, buffer, 2048, D_WRITE | guest.mark(rng), i)
            bad_descriptor(rng, guest, queue, i)
            queue.put(i, buffer, 2048, D_WRITE | guest.mark(rng), i)
        queue.offer(n, i)


def chains(rng, guest):
    """Long ones, of good descriptors, that come to an end or do not."""
    queue = guest.queues[RX]
    size = rng.choice((1, 8, 40, 2048))
    n = rng.choice((2, 16, 255, queue.size))
    for i in range(min(n, queue.size)):
        last = i == n - 1 and rng.random() < 0.7
        queue.put(i, BUFFERS_AT + guest.buffer_at(0, i), size,
                  D_WRITE | guest.mark(rng) | (0 if last else D_NEXT),
                  (i + 1) % queue.size)
    queue.offer(rng.choice((1, queue.size)), 0)


def tables(rng, guest):
    """Indirect ones, that end anywhere, and are somewhere else or not all
    there."""
    queue = any_queue(rng, guest)
    n = rng.choice((1, 2, 16, queue.size, queue.size + 1, 300))
    at = rng.choice([0, guest.memory.size - 16 * n]
                    + [s - 8 * n for s in guest.seams()]
                    + [rng.randrange(guest.memory.size)])
    good = rng.random() < 0.5
    for i in range(n):
        flags = D_WRITE | (D_NEXT if i < n - 1 else 0)
        if not good and rng.random() < 0.1:
            flags ^= rng.choice((D_NEXT, D_WRITE, D_INDIRECT, 0xffff))
        where = BUFFERS_AT + guest.buffer_at(0, i)
        link = [i + 1, flags]
        if not good and rng.random() < 0.1:
            where, link[0] = address(rng, guest), odd(rng, 16)
        if not guest.packed:
            link.reverse()
        # Of a split one the flags come first.
        guest.write(at + 16 * i, DESC.pack(where, rng.choice((1, 64, 2048)),
                                           *link))
    for i in range(rng.choice((1, queue.size))):
        queue.put(i, BUFFERS_AT + at,
                  max(16 * n + rng.choice((0, 0, 0, 0, 1, -8, -16, 16)), 0),
                  D_INDIRECT | guest.mark(rng)
                  | rng.choice((0, 0, 0, D_WRITE, D_NEXT)), i)
    queue.offer(rng.choice((1, queue.size)), 0)


def bad_heads(rng, guest):
    queue = any_queue(rng, guest)
    for _ in range(rng.choice((1, 8, queue.size))):
        if guest.packed:
            bad_descriptor(rng, guest, queue, rng.randrange(queue.size))
        else:
            queue.avail[2 + rng.randrange(queue.size)] = odd(rng, 16)


def index_jumps(rng, guest):
    queue = any_queue(rng, guest)
    queue.offer(rng.choice((1, 2, queue.size - 1, queue.size, queue.size + 1,
                            odd(rng, 16) if not guest.packed else 1)),
                rng.randrange(2 * queue.size))


def events(rng, guest):
    """What the guest wants to be told."""
    queue = any_queue(rng, guest)
    at = queue.avail_at
    if not guest.packed and rng.random() < 0.7:
        at += 4 + 2 * queue.size
    value = rng.choice((rng.getrandbits(32), odd(rng, 32), 0x00020000
                        | rng.getrandbits(16)))
    data = struct.pack("=I", value)[:guest.rings.size - at]
    guest.rings.map[at:at + len(data)] = data


def ring_garbage(rng, guest):
    queue = any_queue(rng, guest)
    at = rng.choice((queue.desc_at, queue.avail_at, queue.used_at))
    n = min(rng.choice((16, 256, 4096)), guest.rings.size - at)
    guest.rings.map[at:at + n] = rng.randbytes(n)


def more_buffers(rng, guest):
    """What a good guest does."""
    queue = guest.queues[RX]
    for _ in range(2 * queue.size):
        if not queue.n_used():
            break
        i = queue.pop()[0] % queue.size
        if guest.packed and i not in queue.buffers:
            break
        queue.add(i)
    queue.publish()


def fresh_ring(rng, guest):
    """A receive ring starts anew, with good buffers, somewhere, for others to
    spoil."""
    size = rng.choice((1, 2, 64, 256, 1024))
    if guest.packed and rng.random() < 0.5:
        size = rng.choice((3, 7, 100, 1023))
    kind = type(guest.queues[RX])
    places = [None]
    areas = kind.areas(size, bool(guest.features & F_EVENT_IDX))
    for i, (n, align) in enumerate(areas):
        # That one is the last of the memory.
        at = [0, frontend.RINGS_SIZE // 2, frontend.RINGS_SIZE // 4 * 3]
        at[i] = (guest.rings.size - n) // align * align
        places.append(at)
    tell(guest, frontend.GET_VRING_BASE, struct.pack("=II", RX, 0))
    guest.queues[RX].close()
    queue = guest.queues[RX] = kind(guest.rings, RX, size, rng.choice(places))
    base = good_buffers(rng, guest, queue)
    for request, payload, fds in setting_up(guest, RX, base):
        tell(guest, request, payload, fds)


def good_buffers(rng, guest, queue):
    """Fills a queue, from any index on.  Returns where it begins."""
    queue.begin_at(rng.choice((0, 0, 1, queue.size - 1, 65535, odd(rng, 16))))
    base = queue.base()
    for i in range(queue.size):
        queue.describe(i, BUFFERS_AT + guest.buffer_at(0, i), guest.BUFFER,
                       D_WRITE)
        queue.add(i)
    queue.publish()
    return base


def another_base(rng, guest):
    """A receive ring goes on with good buffers, and from elsewhere."""
    queue = guest.queues[RX]
    queue.clear()
    base = good_buffers(rng, guest, queue)
    tell(guest, frontend.SET_VRING_BASE, struct.pack("=II", RX, base))


# Messages.

def tell(guest, request, payload=b"", fds=()):
    # What is refused ends the connection unless an answer is wanted, which
    # need not be waited for.
    answered = request in frontend.ANSWERED + (frontend.SET_LOG_BASE,)
    wanted = not answered and guest.rng.random() < 0.9
    if guest.send(request, payload, fds,
                  flags=frontend.NEED_REPLY if wanted else 0):
        guest.unanswered += answered or wanted
    if answered or guest.rng.random() < 0.3:
        guest.wait_for_answers()


def setting_up(guest, i, base=None):
    queue = guest.queues[i]
    return [
        (frontend.SET_VRING_NUM, struct.pack("=II", i, queue.size), ()),
        (frontend.SET_VRING_BASE, struct.pack(
            "=II", i, queue.base() if base is None else base), ()),
        (frontend.SET_VRING_ADDR, struct.pack(
            "=IIQQQQ", i, 0, VIRTUAL + queue.desc_at,
            VIRTUAL + queue.used_at, VIRTUAL + queue.avail_at, 0), ()),
        (frontend.SET_VRING_CALL, struct.pack("=Q", i), [queue.call]),
        (frontend.SET_VRING_KICK, struct.pack("=Q", i), [queue.kick]),
        (frontend.SET_VRING_ENABLE, struct.pack("=II", i, 1), ())]


def bad_table(rng, guest):
    regions = []
    fds = []
    n = rng.choice((0, 1, 2, 8))
    for _ in range(n):
        region = rng.choice((guest.rings, guest.memory))
        offset = rng.choice((0, 4096, 4095, odd(rng)))
        size = rng.choice((0, 4096, 1 << 20, region.size))
        if offset + size > region.size and rng.random() < 0.8:
            size, offset = region.size, 0
        user = rng.choice((VIRTUAL + region.gpa, odd(rng)))
        regions.append(struct.pack(
            "=QQQQ", rng.choice((region.gpa, odd(rng))), size, user,
            offset & ((1 << 64) - 1)))
        fds.append(region.fd)
    count = rng.choice((n, n, n, n + 1, 9, odd(rng, 32)))
    if rng.random() < 0.2:
        fds = fds[:-1]
    payload = struct.pack("=II", count, 0) + b"".join(regions)
    tell(guest, frontend.SET_MEM_TABLE, payload, fds[:8])


def same_table(rng, guest):
    """New memory, right in every respect."""
    grow = rng.choice((0, 1 << 21))
    if guest.old:
        guest.old.close()
    guest.old = guest.memory
    guest.memory = guest.new_memory(guest.old.size + grow)
    guest.pieces = rng.randint(1, 3)
    payload, fds = guest.table()
    tell(guest, frontend.SET_MEM_TABLE, payload, fds)


def no_memory(rng, guest):
    """Memory that cannot be mapped, after which there is none.  As long as the
    transmit rings are off, the library survives that."""
    for i in sorted(guest.of_library.rings):
        if i < 256:
            tell(guest, frontend.SET_VRING_ENABLE, struct.pack("=II", i, 0))
    region = struct.pack("=QQQQ", 0, 4096, VIRTUAL, 0)
    tell(guest, frontend.SET_MEM_TABLE, struct.pack("=II", 1, 0) + region,
         [guest.queues[RX].kick])
    for _ in range(rng.randrange(4)):
        rng.choice((bad_vring, bad_addresses, changes, features, again,
                    wait))(rng, guest)
    payload, fds = guest.table()
    tell(guest, frontend.SET_MEM_TABLE, payload, fds)


def bad_vring(rng, guest):
    request = rng.choice((frontend.SET_VRING_NUM, frontend.SET_VRING_BASE,
                          frontend.SET_VRING_ENABLE,
                          frontend.GET_VRING_BASE))
    i = rng.choice((RX, RX, RX, TX, 2, 255, 256, odd(rng, 32)))
    num = rng.choice((0, 1, 3, 256, 1024, 32768, 65536, odd(rng, 32)))
    tell(guest, request, struct.pack("=II", i, num))


def bad_addresses(rng, guest):
    i = rng.choice((RX, TX, RX, TX, 2, odd(rng, 32)))
    queue = guest.queues[i if i < 2 else 0]
    right = [VIRTUAL + queue.desc_at, VIRTUAL + queue.used_at,
             VIRTUAL + queue.avail_at, 0]
    for _ in range(rng.randint(0, 3)):
        # Where the device area is the library sets flags, if it finds the
        # first of its bytes.
        right[rng.randrange(4)] = rng.choice((
            odd(rng), VIRTUAL + guest.rings.size - rng.randint(4, 64),
            VIRTUAL + guest.rings.size,
            VIRTUAL + queue.desc_at + rng.randint(0, 64)))
    tell(guest, frontend.SET_VRING_ADDR,
         struct.pack("=IIQQQQ", i, rng.choice((0, 1, odd(rng, 32))), *right))


def bad_fd(rng, guest):
    request = rng.choice((frontend.SET_VRING_KICK, frontend.SET_VRING_CALL,
                          frontend.SET_VRING_ERR, frontend.SET_LOG_FD))
    n = rng.choice((0, 1, 1, 2, 8, 16))
    fds = [rng.choice((guest.queues[RX].kick, guest.rings.fd))
           for _ in range(n)]
    tell(guest, request, struct.pack("=Q", rng.choice((
        0, 1, 2, 0x100, 0x101, odd(rng)))), fds)


def again(rng, guest):
    """Setting up once more, in any order."""
    i = rng.choice((RX, TX))
    steps = setting_up(guest, i) + [
        (frontend.SET_VRING_ENABLE, struct.pack("=II", i, 0), ()),
        (frontend.GET_VRING_BASE, struct.pack("=II", i, 0), ())]
    for request, payload, fds in rng.sample(steps, rng.randint(1, 8)):
        tell(guest, request, payload, fds)


def features(rng, guest):
    mine = guest.of_library.features
    tell(guest, frontend.SET_FEATURES, struct.pack("=Q", rng.choice((
        mine, mine ^ F_PACKED, mine ^ F_EVENT_IDX, mine ^ F_MRG_RXBUF,
        mine ^ F_VERSION_1, odd(rng)))))


def logging(rng, guest):
    """Pages that are written to are noted, in a log that is large enough or
    not."""
    if rng.random() < 0.8:
        tell(guest, frontend.SET_LOG_BASE, struct.pack(
            "=QQ", rng.choice((LOG_SIZE, LOG_SIZE, 4096, 1, 0, odd(rng))),
            rng.choice((0, 0, 0, odd(rng)))), [guest.log])
    tell(guest, frontend.SET_FEATURES, struct.pack(
        "=Q", guest.of_library.features ^ F_LOG_ALL))


def owner(rng, guest):
    tell(guest, rng.choice((frontend.SET_OWNER, frontend.RESET_OWNER)))


def garbage(rng, guest):
    """A message of any number, with anything in it."""
    request = rng.choice((rng.randint(0, 45), odd(rng, 32)))
    payload = rng.randbytes(rng.choice((0, 1, 4, 8, 12, 40, 256, 300)))
    if request == frontend.SET_MEM_TABLE:
        return
    size = rng.choice((len(payload),) * 4 + (0, odd(rng, 32)))
    fds = [guest.queues[RX].kick] * rng.choice((0, 0, 1, 8, 9, 64))
    if size != len(payload):
        guest.settle()
    guest.raw(frontend.HEADER.pack(
        request, rng.choice((1, 1, 1, 9, 5, odd(rng, 32))), size) + payload,
        fds)
    if size != len(payload):
        # What comes next would be read from somewhere in its middle.
        raise Disconnected("by itself")


def truncated(rng, guest):
    data = frontend.HEADER.pack(rng.randint(1, 18), 1, 40) + rng.randbytes(40)
    guest.settle()
    guest.unchecked(data[:rng.randrange(1, len(data))])
    raise Disconnected("by itself")


def wait(rng, guest):
    time.sleep(rng.random() * 0.005)


def twice(rng, guest):
    """Another connection to the same socket."""
    guest.settle()
    other = FrontEnd(guest.path, listens=False, size=64)
    try:
        other.connect()
        other.sock.settimeout(5)
        with contextlib.suppress(FrontEndError):
            other.fill()
            other.start()
            time.sleep(rng.choice((0, 0.002)))
            if not guest.includes("replaced"):
                other.get_vring_base(RX)
    finally:
        other.close()


def stall(guest):
    guest.unchecked(frontend.HEADER.pack(frontend.SET_VRING_NUM, 1, 8))
    time.sleep(3)


ACTIONS = ((bad_descriptors, 5), (changes, 4), (chains, 3), (tables, 3),
           (bad_heads, 3), (index_jumps, 3), (events, 2), (ring_garbage, 3),
           (more_buffers, 3), (fresh_ring, 4), (another_base, 12),
           (bad_table, 3), (same_table, 4), (no_memory, 1), (bad_vring, 4),
           (bad_addresses, 3), (bad_fd, 3), (again, 4), (features, 2),
           (logging, 2), (owner, 1), (garbage, 2), (truncated, 1), (twice, 1),
           (wait, 8))


def fewer_queues(data):
    """The message, about one of the first rings if it is about any that there
    can be."""
    request, = struct.unpack_from("=I", data.ljust(4, b"\0"))
    if request in ABOUT_RINGS and len(data) >= frontend.HEADER.size + 4:
        at = frontend.HEADER.size
        i, = struct.unpack_from("=I", data, at)
        if i < 256 or request in WITH_FD:
            data = data[:at] + bytes([data[at] % 4]) + data[at + 1:]
    return data


class Hostile(FrontEnd):
    """A guest of which the seed decides what it negotiates."""

    def __init__(self, path, rng, include):
        self.rng, self.include = rng, include
        features = frontend.FEATURES
        for feature in (F_MRG_RXBUF, F_VERSION_1):
            if rng.random() < 0.3:
                features &= ~feature
        packed = rng.random() < 0.4
        for feature in (F_EVENT_IDX, F_INDIRECT, F_MQ):
            if rng.random() < 0.3:
                features |= feature
        # The rings are not always what they are said to be.
        if packed or rng.random() < 0.05:
            features |= F_PACKED
        self.pieces = rng.randint(1, 3)
        self.log = os.memfd_create("log")
        os.ftruncate(self.log, LOG_SIZE)
        super().__init__(path, listens=False, size=rng.choice((64, 256, 1024)),
                         features=features, packed=packed)

    def connect(self, timeout=20):
        super().connect(timeout)
        self.sock.settimeout(5)
        self.of_library = Library(0)
        self.unanswered = 0
        self.of_library.offered, = struct.unpack(
            "=Q", self.call(frontend.GET_FEATURES))

    def call(self, request, payload=b"", fds=(), ok=True):
        """What is right need not be answered."""
        if request in frontend.ANSWERED:
            return super().call(request, payload, fds, ok)
        return self.send(request, payload, fds)

    def wait_for_answers(self):
        while self.unanswered:
            self.receive()
            self.unanswered -= 1

    def raw(self, data, fds=()):
        if not self.includes("queues"):
            data = fewer_queues(data)
        if not self.includes("messages"):
            request, flags, size = frontend.HEADER.unpack_from(data)
            payload = data[frontend.HEADER.size:]
            if size < PAYLOADS.get(request, 0):
                size = PAYLOADS[request]
                payload = payload.ljust(size, b"\0")
            # What does not come as a whole is refused.
            if size <= len(payload) and not self.of_library.survives(
                    request, payload, fds):
                return False
            data = frontend.HEADER.pack(request, flags, size) + payload
        return super().raw(data, fds)

    def settle(self):
        """All that was sent was dealt with."""
        if not self.includes("replaced"):
            self.wait_for_answers()
            self.call(frontend.GET_FEATURES)

    def unchecked(self, data):
        super().raw(data)

    def includes(self, what):
        return what in self.include

    def close(self):
        super().close()
        os.close(self.log)

    # Memory.

    def seams(self):
        """Where, in the memory for buffers, one region follows another."""
        step = self.memory.size // 4096 // self.pieces * 4096
        return [i * step for i in range(1, self.pieces)]

    def table(self, regions=None):
        begins = [0] + self.seams()
        entries = [self.rings.entry()]
        for begin, end in zip(begins, begins[1:] + [self.memory.size]):
            gpa = self.memory.gpa + begin
            entries.append(struct.pack("=QQQQ", gpa, end - begin,
                                       VIRTUAL + gpa, begin))
        return (struct.pack("=II", len(entries), 0) + b"".join(entries),
                [self.rings.fd] + [self.memory.fd] * len(begins))

    def write(self, at, data):
        """To the memory for buffers, as far as it is there."""
        if at >= 0:
            data = data[:max(self.memory.size - at, 0)]
            self.memory.map[at:at + len(data)] = data

    def mark(self, rng):
        """Makes a descriptor available, mostly."""
        return rng.choice((P_AVAIL, P_AVAIL, P_USED)) if self.packed else 0


def sequence(path, seed, number, log=None, only=(), include=()):
    """Does sequence 'number' of those with 'seed'.  Returns how many steps
    the back end took part in.  'only' has names of actions, 'include' of
    AVOIDED."""
    rng = random.Random("%s %s" % (seed, number))
    guest = Hostile(path, rng, include)
    actions = [(a, w) for a, w in ACTIONS
               if not only or a is wait or a.__name__ in only]
    if "stall" in include:
        actions.append((lambda rng, guest: stall(guest), 1))
    done = 0
    try:
        guest.connect()
        with contextlib.suppress(FrontEndError):
            # Many start well, for it to get interesting.
            start = rng.random()
            if start < 0.8:
                guest.fill()
                guest.start()
                guest.call(frontend.GET_FEATURES)
            elif start < 0.9:
                guest.negotiate()
                guest.set_mem_table()
            for _ in range(rng.randint(1, 24)):
                action = rng.choices([a for a, _ in actions],
                                     [w for _, w in actions])[0]
                if log:
                    log(action.__name__)
                action(rng, guest)
                done += 1
            if "sigbus" in include:
                os.ftruncate(guest.memory.fd, 0)
                time.sleep(0.5)
            time.sleep(rng.choice((0, 0.002, 0.01)))
            guest.settle()
    finally:
        guest.close()
    return done


def sequences(args):
    """Does one after another, and tells of each on a line of its own."""
    for number in range(args.first, args.last, args.step):
        print("begin %d" % number, flush=True)
        steps = sequence(args.socket, args.seed, number,
                         only=args.only, include=args.include)
        print("done %d %d" % (number, steps), flush=True)


def names(text):
    return list(filter(None, text.split(",")))


def main():
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__.splitlines()[0],
        epilog="Avoided: " + "; ".join("%s: %s" % a for a in AVOIDED.items()))
    parser.add_argument("socket")
    parser.add_argument("--sequence", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=names, default=[],
                        metavar="ACTION[,...]")
    parser.add_argument("--include", type=names, default=[],
                        metavar="AVOIDED[,...]")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=1000)
    parser.add_argument("--step", type=int, default=1)
    args = parser.parse_args()
    if args.sequence is None:
        sequences(args)
    else:
        sequence(args.socket, args.seed, args.sequence, print, args.only,
                 args.include)


if __name__ == "__main__":
    sys.exit(main())
