#!/usr/bin/python3
#
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

hostile.py SOCKET --sequence N --seed S does again what sequence N of a run
did, to a port of type dpdkvhostuser; without --sequence, it does one after
another.

AVOIDED has what ends or stops any Open vSwitch with this release of DPDK,
whether a port is on DMA or not, and nobody but the library could prevent.
The sequences leave that out unless --include names it.
"""

import argparse
import contextlib
import os
import random
import struct
import sys
import time

import frontend
from frontend import (BUFFERS_AT, D_INDIRECT, D_NEXT, D_WRITE, F_MRG_RXBUF,
                      RX, TX, VIRTUAL, Disconnected, FrontEnd, FrontEndError)

# What is left out, and why.
AVOIDED = {
    # The library notes what it used of a ring in an array with one element per
    # descriptor, once per burst.  A burst of 32 packets, each of which takes
    # up to all descriptors, writes behind its end, if the guest says that
    # more are available than the ring has.
    "overrun": "more descriptors offered than the ring has",
    # The thread of the library that reads the messages of all guests waits
    # for the rest of this one.
    "stall": "half a message, and then nothing",
    # Open vSwitch wants memory for the packets of all queues that a guest
    # mentions, and does without the port if there is not enough.
    "queues": "more queues than there is memory for",
    # The library accesses what it mapped.
    "sigbus": "memory cut short while it is in use",
}

# Messages that begin with the number of a ring; of the latter it is a byte.
WITH_FD = (frontend.SET_VRING_KICK, frontend.SET_VRING_CALL,
           frontend.SET_VRING_ERR)
ABOUT_RINGS = WITH_FD + (
    frontend.SET_VRING_NUM, frontend.SET_VRING_ADDR, frontend.SET_VRING_BASE,
    frontend.GET_VRING_BASE, frontend.SET_VRING_ENABLE)

# The fewest descriptors that a burst cannot overrun if each packet takes one.
BURST = 32

F_PACKED = 1 << 34
F_EVENT_IDX = 1 << 29
F_INDIRECT = 1 << 28
F_MQ = 1 << 22

ODD = (0, 1, 2, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
       0x80000000, 0xffffffff, 1 << 32, 1 << 47, 1 << 63, (1 << 64) - 1)


def odd(rng, bits=64):
    value = rng.choice(ODD) if rng.random() < 0.7 else rng.getrandbits(64)
    return value & ((1 << bits) - 1)


def address(rng, guest):
    where = rng.random()
    if where < 0.3:
        return odd(rng)
    if where < 0.6:                     # At an end of the memory.
        return (BUFFERS_AT + rng.choice((0, guest.memory.size))
                + rng.randint(-64, 64)) & ((1 << 64) - 1)
    if where < 0.8:                     # The rings themselves.
        return rng.randrange(0, guest.rings.size)
    return BUFFERS_AT + rng.randrange(0, guest.memory.size)


# Rings.

def bad_descriptors(rng, guest):
    """Loops, chains without end, addresses and lengths that are wrong."""
    queue = guest.queues[rng.choice((RX, TX))]
    for _ in range(rng.choice((1, 16, queue.size))):
        flags = rng.choice((0, D_NEXT, D_WRITE, D_NEXT | D_WRITE, D_INDIRECT,
                            D_INDIRECT | D_NEXT, rng.getrandbits(16)))
        queue.describe(rng.randrange(queue.size), address(rng, guest),
                       rng.choice((0, 1, 11, 12, 2048, 1 << 20,
                                   odd(rng, 32))),
                       flags, rng.choice((rng.randrange(queue.size),
                                          queue.size, odd(rng, 16))))


def bad_heads(rng, guest):
    queue = guest.queues[rng.choice((RX, TX))]
    for _ in range(rng.choice((1, 8, queue.size))):
        queue.avail[2 + rng.randrange(queue.size)] = odd(rng, 16)


def index_jumps(rng, guest):
    queue = guest.queues[rng.choice((RX, TX))]
    if guest.overruns:
        queue.avail[1] = rng.choice((
            odd(rng, 16), (queue.avail[1] + queue.size) & 0xffff,
            (queue.avail[1] - 1) & 0xffff, (queue.avail[1] + 1) & 0xffff))
    else:
        room = queue.size - ((queue.avail[1] - queue.used_index()) & 0xffff)
        if room > 0:
            queue.avail[1] = (queue.avail[1] + rng.randint(1, room)) & 0xffff


def ring_garbage(rng, guest):
    queue = guest.queues[rng.choice((RX, TX))]
    at = rng.choice((queue.desc_at, queue.avail_at, queue.used_at))
    if not guest.overruns and at != queue.desc_at:
        at += 4                             # Behind the index.
    n = rng.choice((16, 256, 4096))
    guest.rings.map[at:at + n] = rng.randbytes(n)


def more_buffers(rng, guest):
    """What a good guest does."""
    queue = guest.queues[RX]
    while queue.n_used():
        i = queue.pop()[0] % queue.size
        queue.add(i)
    queue.publish()


# Messages.

def tell(guest, request, payload=b"", fds=(), **kwargs):
    # What is refused ends the connection unless an answer is wanted.
    if request not in frontend.ANSWERED and guest.rng.random() < 0.4:
        kwargs["flags"] = frontend.NEED_REPLY
    guest.send(request, payload, fds, **kwargs)
    if request in frontend.ANSWERED or kwargs.get("flags"):
        guest.receive()


def bad_table(rng, guest):
    regions = []
    fds = []
    n = rng.choice((0, 1, 2, 8))
    for _ in range(n):
        # No more than the file has: what lies beyond is a crash of any back
        # end, see the scenario hostile-sigbus.
        region = rng.choice((guest.rings, guest.memory))
        offset = rng.choice((0, 4096, 4095, odd(rng)))
        size = rng.choice((0, 4096, 1 << 20, region.size))
        if offset + size > region.size:
            if rng.random() < 0.5:
                size, offset = region.size, 0
            else:
                offset = (1 << 64) - size if rng.random() < 0.5 else 0
                size = min(size, region.size)
                if offset:
                    size = 0
        user = rng.choice((VIRTUAL + region.gpa, odd(rng)))
        if not guest.overruns and offset:
            user = odd(rng)             # No ring is there.
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
    payload, fds = guest.table()
    tell(guest, frontend.SET_MEM_TABLE, payload, fds)


def bad_vring(rng, guest):
    request = rng.choice((frontend.SET_VRING_NUM, frontend.SET_VRING_BASE,
                          frontend.SET_VRING_ENABLE,
                          frontend.GET_VRING_BASE))
    i = rng.choice((RX, RX, RX, TX, 2, 255, 256, odd(rng, 32)))
    num = rng.choice((0, 1, 3, 256, 1024, 32768, 65536, odd(rng, 32)))
    if request == frontend.SET_VRING_NUM:
        if num > 32768:
            num = rng.choice((num & 0x7fff, num))
        if not guest.includes("overrun") and 0 < num < BURST:
            num += BURST
    if request == frontend.SET_VRING_BASE and not guest.overruns and i < 2:
        num = guest.queues[i].used_index()
    tell(guest, request, struct.pack("=II", i, num))


def bad_addresses(rng, guest):
    i = rng.choice((RX, TX, RX, TX, 2, odd(rng, 32)))
    queue = guest.queues[i if i < 2 else 0]
    right = [VIRTUAL + queue.desc_at, VIRTUAL + queue.used_at,
             VIRTUAL + queue.avail_at, 0]
    for _ in range(rng.randint(0, 3)):
        which = rng.randrange(4)
        right[which] = rng.choice((
            odd(rng), VIRTUAL + guest.rings.size - rng.randint(0, 64),
            VIRTUAL + queue.desc_at + rng.randint(0, 64)))
        if not guest.overruns and 0 < which < 3:
            right[which] = odd(rng)     # No index is there.
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
    queue = guest.queues[i]
    steps = [
        (frontend.SET_VRING_NUM, struct.pack("=II", i, queue.size), ()),
        (frontend.SET_VRING_BASE,
         struct.pack("=II", i, queue.used_index()), ()),
        (frontend.SET_VRING_ADDR, struct.pack(
            "=IIQQQQ", i, 0, VIRTUAL + queue.desc_at,
            VIRTUAL + queue.used_at, VIRTUAL + queue.avail_at, 0), ()),
        (frontend.SET_VRING_CALL, struct.pack("=Q", i), [queue.call]),
        (frontend.SET_VRING_KICK, struct.pack("=Q", i), [queue.kick]),
        (frontend.SET_VRING_ENABLE, struct.pack("=II", i, 1), ()),
        (frontend.SET_VRING_ENABLE, struct.pack("=II", i, 0), ()),
        (frontend.GET_VRING_BASE, struct.pack("=II", i, 0), ())]
    for request, payload, fds in rng.sample(steps, rng.randint(1, 8)):
        tell(guest, request, payload, fds)


def features(rng, guest):
    mine = guest.features
    # Whether buffers are merged decides what the guest may do.
    tell(guest, frontend.SET_FEATURES, struct.pack("=Q", rng.choice((
        mine, mine ^ F_PACKED, mine ^ F_EVENT_IDX,
        mine & F_MRG_RXBUF | odd(rng) & ~F_MRG_RXBUF))))


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
    guest.raw(frontend.HEADER.pack(
        request, rng.choice((1, 1, 1, 9, 5, odd(rng, 32))), size) + payload,
        fds)


def truncated(rng, guest):
    data = frontend.HEADER.pack(rng.randint(1, 18), 1, 40) + rng.randbytes(40)
    guest.raw(data[:rng.randrange(1, len(data))])
    raise Disconnected("by itself")


def wait(rng, guest):
    time.sleep(rng.random() * 0.01)


def twice(rng, guest):
    """Another connection to the same socket."""
    other = FrontEnd(guest.path, listens=False, size=64)
    try:
        other.connect()
        other.sock.settimeout(5)
        with contextlib.suppress(FrontEndError):
            other.fill()
            other.start()
            time.sleep(rng.choice((0, 0.002)))
    finally:
        other.close()


def stall(guest):
    guest.raw(frontend.HEADER.pack(frontend.SET_VRING_NUM, 1, 8))
    time.sleep(3)


ACTIONS = ((bad_descriptors, 5), (bad_heads, 3), (index_jumps, 3),
           (ring_garbage, 3), (more_buffers, 3), (bad_table, 3),
           (same_table, 4), (bad_vring, 4), (bad_addresses, 3), (bad_fd, 3),
           (again, 4), (features, 1), (owner, 1), (garbage, 2),
           (truncated, 1), (twice, 1), (wait, 8))


# Single messages that end Open vSwitch, or have it write to memory that is not
# the guest's, unless somebody keeps them from the library.  Each takes a guest
# that has started, and returns whether the message was accepted.

def answered(guest, request, payload=b"", fds=()):
    """So that what is refused does not end the connection."""
    guest.send(request, payload, fds, frontend.NEED_REPLY)
    return struct.unpack("=Q", guest.receive()[1])[0] == 0


def start_again(guest, i, num=None, used_at=None):
    """What starts a stopped ring, with its size only if 'num'."""
    queue = guest.queues[i]
    if num:
        answered(guest, frontend.SET_VRING_NUM, struct.pack("=II", i, num))
    answered(guest, frontend.SET_VRING_ADDR, struct.pack(
        "=IIQQQQ", i, 0, VIRTUAL + queue.desc_at,
        VIRTUAL + (used_at or queue.used_at), VIRTUAL + queue.avail_at, 0))
    answered(guest, frontend.SET_VRING_CALL, struct.pack("=Q", i),
             [queue.call])
    return answered(guest, frontend.SET_VRING_KICK, struct.pack("=Q", i),
                    [queue.kick])


def no_size(guest):
    """GET_VRING_BASE frees what SET_VRING_NUM allocates: a null pointer."""
    guest.get_vring_base(TX)
    accepted = start_again(guest, TX)
    queue = guest.queues[TX]
    queue.describe(0, BUFFERS_AT + guest.tx_at, 100)
    for _ in range(8):
        queue.add(0)
    queue.publish()
    return accepted


def resize_at_the_end(guest, size):
    """Gives the ring another size when its used ring, which is written to, is
    the last of the memory."""
    guest.get_vring_base(RX)
    start_again(guest, RX, guest.size,
                guest.rings.size - (4 + 8 * guest.size + 4))
    time.sleep(0.1)
    accepted = answered(guest, frontend.SET_VRING_NUM,
                        struct.pack("=II", RX, size))
    guest.queues[RX].avail[1] += 5000
    return accepted


def bad_size(guest):
    """The library refuses a size that is no power of two, and keeps it."""
    accepted = resize_at_the_end(guest, 32767)
    time.sleep(0.5)
    return accepted


def size_in_use(guest):
    """It does not look whether a ring that it has mapped is as large."""
    return resize_at_the_end(guest, 32768)


def bad_region(guest):
    """Memory that cannot be mapped: the old one is unmapped, and the rings
    still point to it."""
    region = struct.pack("=QQQQ", 0, 4096, VIRTUAL, 0)
    return answered(guest, frontend.SET_MEM_TABLE,
                    struct.pack("=II", 1, 0) + region,
                    [guest.queues[RX].kick])


def inflight(guest):
    """The number of queues is not compared with the memory for them."""
    return answered(guest, frontend.SET_INFLIGHT_FD,
                    struct.pack("=QQHH4x", 4096, 0, 256, 1024),
                    [guest.rings.fd])


MESSAGES = (no_size, bad_size, size_in_use, bad_region, inflight)


# What nobody can refuse.

def overrun(guest):
    """More descriptors than the ring has, and small."""
    queue = guest.queues[RX]
    for i in range(queue.size):
        queue.describe(i, BUFFERS_AT + i * guest.BUFFER, 64, D_WRITE)
    for _ in range(20):
        queue.avail[1] = (queue.used_index() + 30000) & 0xffff
        time.sleep(0.05)
    return True


REMAINING = (overrun, stall)


def message(path, name):
    """Does one of MESSAGES or REMAINING.  Returns whether it was accepted, if
    that is known."""
    guest = FrontEnd(path, listens=False, size=256)
    accepted = None
    try:
        guest.connect()
        guest.sock.settimeout(5)
        guest.fill()
        guest.start()
        time.sleep(0.1)
        with contextlib.suppress(FrontEndError):
            accepted = {m.__name__: m for m in MESSAGES + REMAINING}[name](
                guest)
        # What packets do then.
        time.sleep(0.3)
    finally:
        guest.close()
    return accepted


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
        if rng.random() < 0.4:
            features &= ~F_MRG_RXBUF
        for feature in (F_PACKED, F_EVENT_IDX, F_INDIRECT, F_MQ):
            if rng.random() < 0.2:
                features |= feature
        super().__init__(path, listens=False, size=rng.choice((64, 256, 1024)),
                         features=features)

    def raw(self, data, fds=()):
        if not self.includes("queues"):
            data = fewer_queues(data)
        super().raw(data, fds)

    def includes(self, what):
        return what in self.include

    @property
    def overruns(self):
        """Whether it may offer more than there is."""
        return self.includes("overrun") or not self.features & F_MRG_RXBUF


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
        guest.sock.settimeout(5)
        with contextlib.suppress(FrontEndError):
            # Many start well, for it to get interesting.
            start = rng.random()
            if start < 0.8:
                guest.fill()
                guest.start()
            elif start < 0.9:
                guest.negotiate()
                guest.set_mem_table()
            for _ in range(rng.randint(1, 20)):
                action = rng.choices([a for a, _ in actions],
                                     [w for _, w in actions])[0]
                if log:
                    log(action.__name__)
                action(rng, guest)
                done += 1
            if "sigbus" in include:
                os.ftruncate(guest.memory.fd, 0)
                time.sleep(0.5)
            time.sleep(rng.choice((0, 0.002, 0.02)))
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
        description=__doc__.splitlines()[0],
        epilog="Avoided: " + "; ".join("%s: %s" % a for a in AVOIDED.items()))
    parser.add_argument("socket")
    parser.add_argument("--message", choices=[
        m.__name__ for m in MESSAGES + REMAINING])
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
    if args.message:
        message(args.socket, args.message)
    elif args.sequence is None:
        sequences(args)
    else:
        sequence(args.socket, args.seed, args.sequence, print, args.only,
                 args.include)


if __name__ == "__main__":
    sys.exit(main())
