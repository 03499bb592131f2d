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

"""Numbered packets, what a sink makes of them, and a thread that sends."""

import collections
import contextlib
import random
import struct
import threading
import time
import traceback


class Failure(Exception):
    """What was to hold does not."""


MAGIC = 0x56415359
ETHERTYPE = 0x88b5
HEAD = struct.Struct(">6s6sHIIQ")
POOL = random.Random(1).randbytes(1 << 16)
LENGTHS = (64, 90, 300, 1024, 1400, 1514, 3000, 9000)


def packet_length(seq):
    return LENGTHS[(seq * 2654435761 >> 7) % len(LENGTHS)]


def make_packet(seq, flow):
    length = packet_length(seq)
    head = HEAD.pack(b"\x02\0\0\0\0%c" % (flow + 1), b"\x02\0\0\0\1\1",
                     ETHERTYPE + flow, MAGIC, length, seq)
    at = seq * 61 % (len(POOL) - length)
    return head + POOL[at:at + length - len(head)]


def flow_of(packet):
    """The number of the flow that a packet is of, if it is one of ours."""
    if packet and len(packet) >= HEAD.size:
        return HEAD.unpack_from(packet)[2] - ETHERTYPE
    return None


class Flow:
    """What one sink got of what was sent to it."""

    def __init__(self, number, sink=0, pair=0):
        self.number, self.sink, self.pair = number, sink, pair
        self.sent = self.received = 0
        self.wrong = self.reordered = 0
        self.last = collections.defaultdict(lambda: -1)
        self.mark()

    def mark(self):
        """since() counts from here on."""
        self.marked = collections.Counter(self.counts())
        self.example = None
        self.forget()

    def forget(self):
        """Pauses until now do not count."""
        self.last_time, self.longest_gap = time.monotonic(), 0

    def counts(self):
        return {name: getattr(self, name) for name in
                ("sent", "received", "wrong", "reordered")}

    def since(self):
        return {name: n - self.marked[name]
                for name, n in self.counts().items()}

    def next(self):
        return make_packet(self.sent, self.number)

    def check(self, packet, queue=0):
        """Takes a packet that came by 'queue' of the sink; what came by
        another may have been sent before or after it."""
        self.received += 1
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self.last_time)
        self.last_time = now
        seq = -1
        if packet and len(packet) >= HEAD.size:
            seq = HEAD.unpack_from(packet)[5]
        if not 0 <= seq < self.sent or packet != make_packet(seq,
                                                            self.number):
            self.wrong += 1
            if not self.example:
                self.example = self.describe(packet, seq)
        elif seq <= self.last[queue]:
            self.reordered += 1
            if not self.example:
                self.example = "packet %d after %d" % (seq, self.last[queue])
        else:
            self.last[queue] = seq

    def describe(self, packet, seq):
        if packet is None:
            return "packet whose buffers do not add up"
        if 0 <= seq < self.sent:
            right = make_packet(seq, self.number)
            at = next((i for i, (a, b) in enumerate(zip(packet, right))
                       if a != b), min(len(packet), len(right)))
            return ("packet %d of %d bytes came as %d, wrong from byte %d on"
                    % (seq, len(right), len(packet), at))
        return "packet of %d bytes, none of ours: %s" % (len(packet),
                                                        packet[:40].hex())


class Traffic(threading.Thread):
    """Has the source send to all sinks and checks what they get.  No more is
    under way than 'window' per flow, until that is taken for lost.  From each
    queue of the source there is a flow to each sink; flow 'i' is the one from
    the first queue to sink 'i'."""

    PATIENCE = 0.05

    def __init__(self, source, sinks, window=96):
        super().__init__(daemon=True)
        self.source, self.sinks = source, sinks
        n = len(sinks)
        self.flows = [Flow(i, i % n, i // n)
                      for i in range(n * source.pairs)]
        self.window = window // source.pairs
        self.base = [0] * len(self.flows)   # Sent, less what is under way.
        self.seen = [(0, 0)] * len(self.flows)
        self.sending = True
        self.ending = False
        self.error = None
        self.unattended = set()
        self.reconnects = collections.Counter()     # By guest.
        self.lock = threading.RLock()

    def run(self):
        try:
            while not self.ending:
                with self.lock:
                    busy = self.receive()
                    if self.sending:
                        busy |= self.send()
                    self.tend()
                if not busy:
                    time.sleep(0.0003)
        except Exception:
            self.error = traceback.format_exc()

    def receive(self):
        busy = False
        for i, sink in enumerate(self.sinks):
            if sink in self.unattended:
                continue
            for pair in range(sink.pairs):
                for packet in sink.receive_packets(pair):
                    self.flow_to(i, packet).check(packet, pair)
                    busy = True
        return busy

    def flow_to(self, i, packet):
        """The flow to sink 'i' that a packet is of, any for others."""
        number = flow_of(packet)
        for flow in self.flows[i::len(self.sinks)]:
            if flow.number == number:
                return flow
        return self.flows[i]

    def send(self):
        now = time.monotonic()
        n = 0
        for i, flow in enumerate(self.flows):
            if self.seen[i][0] != flow.received:
                self.seen[i] = (flow.received, now)
            elif now - self.seen[i][1] > self.PATIENCE:
                self.base[i] = flow.sent - flow.received
                self.seen[i] = (flow.received, now)
            under_way = flow.sent - flow.received - self.base[i]
            if under_way < 0:
                self.base[i] += under_way
            for _ in range(min(16, self.window - under_way)):
                if not self.source.send_packets([flow.next()], flow.pair):
                    break
                flow.sent += 1
                n += 1
        return n > 0

    def tend(self):
        for guest in [self.source] + self.sinks:
            if guest.sock and guest not in self.unattended \
                    and not guest.is_connected():
                self.reconnects[guest] += 1
                guest.resume()

    @contextlib.contextmanager
    def paused(self):
        """Nothing is looked at meanwhile."""
        with self.lock:
            yield

    def delivered(self):
        return sum(flow.received for flow in self.flows)

    def forget(self):
        """Pauses of the traffic until now do not count."""
        with self.lock:
            for flow in self.flows:
                flow.forget()

    def check(self):
        if self.error:
            raise Failure("the traffic broke off: " + self.error)

    def wait_delivered(self, n, timeout=10, flow=None):
        """Waits for 'n' more packets, of one flow or of each.  Returns how
        long that took."""
        flows = self.flows if flow is None else [self.flows[flow]]
        begin = time.monotonic()
        want = [f.received + n for f in flows]
        while any(f.received < w for f, w in zip(flows, want)):
            self.check()
            if time.monotonic() - begin > timeout:
                raise Failure("not %d more packets per sink within %d s (%s)"
                              % (n, timeout, ", ".join(
                                  str(f.received - w + n)
                                  for f, w in zip(flows, want))))
            time.sleep(0.002)
        return time.monotonic() - begin
