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

"""A vhost-user front end: what is a virtual machine to Open vSwitch.

It has guest memory in memfds and virtqueues, sends and receives packets, and
sends any vhost-user message at any time, right or wrong.  Nothing here waits
for the switch but for the answer to a message.

Guest memory is two regions.  The rings are in the first, which stays; buffers
are in the second, which swap_memory() exchanges for new memory while the
queues are in use.
"""

import mmap
import os
import re
import select
import socket
import struct
import threading
import time

from dev.faults.virtqueue import PackedQueue, Queue

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE,
 SET_LOG_BASE, SET_LOG_FD, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE,
 GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR,
 GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM,
 SET_VRING_ENABLE) = range(1, 19)
IOTLB_MSG, SET_INFLIGHT_FD = 22, 32

# Those which the back end answers by themselves.
ANSWERED = (GET_FEATURES, GET_VRING_BASE, GET_PROTOCOL_FEATURES,
            GET_QUEUE_NUM)

VERSION, REPLY, NEED_REPLY = 1, 4, 8
HEADER = struct.Struct("=III")

F_MRG_RXBUF = 1 << 15
F_PROTOCOL_FEATURES = 1 << 30
F_VERSION_1 = 1 << 32
F_RING_PACKED = 1 << 34
FEATURES = F_MRG_RXBUF | F_PROTOCOL_FEATURES | F_VERSION_1

P_MQ = 1 << 0
P_REPLY_ACK = 1 << 3

RX, TX = 0, 1
VNET_HEADER = 12

D_NEXT, D_WRITE, D_INDIRECT = 1, 2, 4

# Guest-physical addresses; the "virtual" ones that the protocol wants, too,
# are made up.
VIRTUAL = 0x500000000000
RINGS_AT, RINGS_SIZE = 0, 1 << 20
BUFFERS_AT = 1 << 30
MORE_AT = 1 << 36


class FrontEndError(Exception):
    """The back end did not do what the protocol asks of it."""


class Disconnected(FrontEndError):
    pass


class Region:
    """A piece of guest memory, of pages as 'flags' of memfd_create() say."""

    def __init__(self, gpa, size, name, flags=os.MFD_CLOEXEC):
        self.gpa, self.size, self.name = gpa, size, name
        self.fd = os.memfd_create(name, flags)
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)

    def entry(self):
        return struct.pack("=QQQQ", self.gpa, self.size, VIRTUAL + self.gpa,
                           0)

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
            try:
                self.map.close()
            except BufferError:
                pass            # A view of it still exists.


class FrontEnd:
    """A guest at the socket 'path'.  With 'listens', the back end connects,
    as to a dpdkvhostuserclient port.

    It has 'pairs' of queues of 'size' entries each: queue 2 * i + RX is to
    receive, 2 * i + TX to send."""

    BUFFER = 2048
    TX_BUFFER = 10240
    region = Region
    serial = 0

    def __init__(self, path, listens=True, size=256, features=FEATURES,
                 memory=None, pairs=1, packed=False):
        self.path, self.listens, self.features = path, listens, features
        self.sock = None
        self.generation = 0
        self.swapping = False
        FrontEnd.serial += 1
        self.tag = "guest%d-%d" % (os.getpid(), FrontEnd.serial)
        self.rings = self.region(RINGS_AT, RINGS_SIZE, self.tag + "-rings")
        self.memory = self.old = None
        self.more = ()          # Other regions, which nothing is in.
        self.queues = []
        self.shape(size, pairs, packed, memory)
        self.lock = threading.RLock()
        self.listener = None
        if listens:
            self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)

    def shape(self, size, pairs=1, packed=False, memory=None):
        """Makes queues and memory, in place of those that there are."""
        for queue in self.queues:
            queue.close()
        for region in (self.memory, self.old):
            if region:
                region.close()
        self.size, self.pairs, self.packed = size, pairs, packed
        # First the receive buffers of all queues, then the others.
        self.tx_at = pairs * size * self.BUFFER
        self.need = self.tx_at + pairs * size * self.TX_BUFFER
        self.memory = self.new_memory(max(memory or 0, self.need))
        self.old = None
        kind = PackedQueue if packed else Queue
        self.queues = [kind(self.rings, i, size) for i in range(2 * pairs)]
        self.free_tx = [None] * pairs

    def new_memory(self, size):
        self.generation += 1
        size = -(-size // (1 << 21)) << 21
        return self.region(BUFFERS_AT, size, "%s-buffers%d"
                           % (self.tag, self.generation))

    # The connection.

    def connect(self, timeout=20):
        if self.listens:
            self.listener.settimeout(timeout)
            try:
                self.sock, _ = self.listener.accept()
            except socket.timeout:
                raise FrontEndError("no back end connected within %d s"
                                    % timeout)
        else:
            self.sock = self.dial(timeout)
        self.sock.settimeout(20)

    def dial(self, timeout):
        """To a back end that may be about to come."""
        deadline = time.monotonic() + timeout
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(self.path)
                return sock
            except OSError:
                sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def disconnect(self):
        if self.sock:
            self.sock.close()
            self.sock = None

    def close(self):
        self.disconnect()
        if self.listener:
            self.listener.close()
            os.unlink(self.path)
            self.listener = None
        for queue in self.queues:
            queue.close()
        self.queues = []
        for region in (self.rings, self.memory, self.old, *self.more):
            if region:
                region.close()

    def raw(self, data, fds=()):
        """Returns whether it was sent."""
        try:
            if fds:
                socket.send_fds(self.sock, [data], list(fds))
            else:
                self.sock.sendall(data)
        except OSError as e:
            raise Disconnected("sending: %s" % e)
        return True

    def send(self, request, payload=b"", fds=(), flags=0):
        """Returns whether it was sent."""
        return self.raw(HEADER.pack(request, VERSION | flags, len(payload))
                        + payload, fds)

    def _receive(self, n):
        data = b""
        while len(data) < n:
            try:
                more = self.sock.recv(n - len(data))
            except socket.timeout:
                raise FrontEndError("no answer within 20 s")
            except OSError as e:
                raise Disconnected("receiving: %s" % e)
            if not more:
                raise Disconnected("the back end closed the connection")
            data += more
        return data

    def receive(self):
        request, flags, size = HEADER.unpack(self._receive(HEADER.size))
        return request, self._receive(size)

    def call(self, request, payload=b"", fds=(), ok=True):
        """Sends a message and waits until it is dealt with.  Returns the
        payload of the answer, or whether it was accepted."""
        self.send(request, payload, fds,
                  0 if request in ANSWERED else NEED_REPLY)
        got, answer = self.receive()
        if got != request:
            raise FrontEndError("message %d was answered by %d"
                                % (request, got))
        if request in ANSWERED:
            return answer
        accepted = struct.unpack("=Q", answer)[0] == 0
        if ok and not accepted:
            raise FrontEndError("message %d was refused" % request)
        return accepted

    # Messages.

    def negotiate(self):
        # Only from here on can a reply be asked for.
        have, = struct.unpack("=Q", self.call(GET_FEATURES))
        features = self.features | (F_RING_PACKED if self.packed else 0)
        features &= have
        if self.packed and not have & F_RING_PACKED:
            raise FrontEndError("the back end has no packed virtqueues")
        self.send(SET_FEATURES, struct.pack("=Q", F_PROTOCOL_FEATURES))
        have, = struct.unpack("=Q", self.call(GET_PROTOCOL_FEATURES))
        self.send(SET_PROTOCOL_FEATURES,
                  struct.pack("=Q", have & (P_MQ | P_REPLY_ACK)))
        self.send(SET_OWNER)
        self.call(SET_FEATURES, struct.pack("=Q", features))

    def table(self, regions=None):
        regions = regions or (self.rings, self.memory, *self.more)
        return (struct.pack("=II", len(regions), 0)
                + b"".join(r.entry() for r in regions),
                [r.fd for r in regions])

    def set_mem_table(self, **kwargs):
        payload, fds = self.table()
        return self.call(SET_MEM_TABLE, payload, fds, **kwargs)

    def vring_state(self, request, queue, num, **kwargs):
        return self.call(request, struct.pack("=II", queue, num), **kwargs)

    def setup_vring(self, i, base=None):
        """Has the back end go on at 'base', or where the last one ended."""
        queue = self.queues[i]
        self.vring_state(SET_VRING_NUM, i, queue.size)
        self.vring_state(SET_VRING_BASE, i,
                         queue.base() if base is None else base)
        self.call(SET_VRING_ADDR, struct.pack(
            "=IIQQQQ", i, 0, VIRTUAL + queue.desc_at, VIRTUAL + queue.used_at,
            VIRTUAL + queue.avail_at, 0))
        self.set_call(i)
        self.call(SET_VRING_KICK, struct.pack("=Q", i), [queue.kick])

    def set_call(self, i):
        self.call(SET_VRING_CALL, struct.pack("=Q", i), [self.queues[i].call])

    def enable(self, i, on=True, **kwargs):
        return self.vring_state(SET_VRING_ENABLE, i, int(on), **kwargs)

    def get_vring_base(self, i):
        answer = self.call(GET_VRING_BASE, struct.pack("=II", i, 0))
        return struct.unpack("=II", answer)[1] & 0xffff

    def start(self):
        """All that a guest does until packets can come and go.  Leaves in
        'started_in' how many seconds that took."""
        begin = time.monotonic()
        self.negotiate()
        # By the first queue pair that is ready the back end takes the guest
        # for ready, with as many queues as it has heard of until then.
        for i in range(len(self.queues)):
            self.set_call(i)
        self.set_mem_table()
        for i in range(len(self.queues)):
            self.setup_vring(i)
        for i in range(len(self.queues)):
            self.enable(i)
        self.started_in = time.monotonic() - begin

    def restart(self, **shape):
        """A new connection of a guest that starts from nothing, of another
        shape() if that is given."""
        self.disconnect()
        # A back end connects when it has let go of what it had of us.
        self.connect()
        with self.lock:
            if shape:
                self.shape(**shape)
            for queue in self.queues:
                queue.clear()
            self.free_tx = [None] * self.pairs
        self.fill()
        self.start()

    def resume(self, timeout=20):
        """A new connection of a guest that does not notice: what the back
        end had and did not use is there for it again.  A back end that dies
        meanwhile is tried again."""
        for attempt in range(3):
            self.disconnect()
            self.connect(timeout)
            try:
                return self.start()
            except Disconnected:
                if attempt == 2:
                    raise

    def is_connected(self):
        if not self.sock:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP)
        return not poll.poll(0)

    # Buffers.

    def fill(self):
        """Gives the back end all receive buffers."""
        for pair in range(self.pairs):
            queue = self.queues[2 * pair + RX]
            for i in range(queue.size):
                at = self.buffer_at(pair, i)
                queue.describe(i, BUFFERS_AT + at, self.BUFFER, D_WRITE)
                self.memory.map[at:at + 64] = bytes(64)
                queue.add(i)
            queue.publish()

    def buffer_at(self, pair, i):
        return (pair * self.size + i % self.size) * self.BUFFER

    def swap_memory(self, grow=1 << 21, **kwargs):
        """Gives the back end other memory for the buffers, as when memory is
        added to a guest.  Returns the time at which it answered, of
        CLOCK_MONOTONIC in nanoseconds.  Packets that it wrote to the old
        memory until then are found there."""
        with self.lock:
            if self.old:
                self.old.close()
            self.old = self.memory
            # The vhost library of DPDK takes a table in which no address or
            # size differs for the one that it has.
            self.memory = self.new_memory(self.old.size + grow)
            tx = slice(self.tx_at, self.need)
            self.memory.map[tx] = self.old.map[tx]
            self.swapping = True
        try:
            self.set_mem_table(**kwargs)
        finally:
            self.swapping = False
        return time.monotonic_ns()

    def take(self, at, length):
        """The contents of the receive buffer at 'at', which is in the old
        memory if the new one has nothing."""
        data = self.memory.map[at:at + length]
        if self.old and not any(data[:64]):
            data = self.old.map[at:at + length]
        return data

    def receive_packets(self, pair=0, limit=256):
        """Returns the packets that came, and gives their buffers back."""
        with self.lock:
            return self.receive_from(pair, limit)

    def receive_from(self, pair, limit):
        packets = []
        queue = self.queues[2 * pair + RX]
        while len(packets) < limit and queue.n_used():
            i, length = queue.peek()
            at = self.buffer_at(pair, i)
            parts, places = [self.take(at, length)], [(i, at)]
            more = -1
            if len(parts[0]) >= VNET_HEADER:
                more = struct.unpack_from("=H", parts[0], 10)[0] - 1
            if more > self.size:
                more = -1
            if not queue.WHOLE and queue.n_used(more + 1) <= more:
                break
            queue.pop()
            while more > 0 and queue.n_used():
                i, length = queue.pop()
                at = self.buffer_at(pair, i)
                places.append((i, at))
                parts.append(self.take(at, length))
                more -= 1
            packets.append(None if more else b"".join(parts)[VNET_HEADER:])
            for i, at in places:
                self.memory.map[at:at + 64] = bytes(64)
                queue.add(i % self.size)
        if packets:
            queue.publish()
        return packets

    def send_packets(self, packets, pair=0):
        """Returns how many the ring had room for."""
        queue = self.queues[2 * pair + TX]
        with self.lock:
            free = self.free_tx[pair]
            if free is None:
                free = self.free_tx[pair] = list(range(queue.size))
            while queue.n_used():
                free.append(queue.pop()[0] % queue.size)
            n = 0
            for packet in packets:
                if not free:
                    break
                i = free.pop()
                at = (self.tx_at
                      + (pair * self.size + i) * self.TX_BUFFER)
                data = bytes(VNET_HEADER) + packet
                self.memory.map[at:at + len(data)] = data
                if self.swapping:
                    self.old.map[at:at + len(data)] = data
                queue.describe(i, BUFFERS_AT + at, len(data))
                queue.add(i)
                n += 1
            if n:
                queue.publish()
        return n

    def unsent(self):
        """Packets that the back end has not taken yet.  Not for packed
        queues."""
        return sum((queue.next_avail - queue.used_index()) & 0xffff
                   for queue in self.queues[TX::2])


def mappings(pid, name):
    """Where a process has mapped memfds whose names match 'name': a list of
    (begin, end)."""
    found = []
    memfd = re.compile(r" /memfd:%s " % name)
    with open("/proc/%d/maps" % pid) as f:
        for line in f:
            if memfd.search(line):
                begin, end = line.split()[0].split("-")
                found.append((int(begin, 16), int(end, 16)))
    return found


def wait_unmapped(pid, name, seconds):
    """Waits for as long until a process maps none of these.  Returns whether
    it does not."""
    deadline = time.monotonic() + seconds
    while mappings(pid, name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
