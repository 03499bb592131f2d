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

"""Guests that die, memory that moves, engines that stop: what happens then.

Each scenario starts an Open vSwitch of its own, with engines of dma_model
(copy=late) and guests that are vhost-user front ends of ours (faults/), does
something bad under traffic and accounts for every packet.  One line tells how
each ended, the last line how many.
"""

import argparse
import contextlib
import json
import mmap
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "faults"),
                os.path.join(HERE, "dma-model")]
import ctl                                                      # noqa: E402
import frontend                                                 # noqa: E402
import hostile                                                  # noqa: E402
import lab as lablib                                            # noqa: E402
from frontend import RX, FrontEnd, FrontEndError                # noqa: E402
from lab import LabError                                        # noqa: E402

MODEL = os.path.join(HERE, "../out/model/librte_dma_model.so")
SWITCH_MB = 1280
APPCTL_LIMIT = 1.0


class Failure(Exception):
    """What was to hold does not."""


class Skip(Exception):
    """The scenario does not apply."""


# Packets.

MAGIC = 0x56415359
HEAD = struct.Struct(">6s6sHIIQ")
POOL = random.Random(1).randbytes(1 << 16)
LENGTHS = (64, 90, 300, 1024, 1400, 1514, 3000, 9000)


def packet_length(seq):
    return LENGTHS[(seq * 2654435761 >> 7) % len(LENGTHS)]


def make_packet(seq, flow):
    length = packet_length(seq)
    head = HEAD.pack(b"\x02\0\0\0\0%c" % (flow + 1), b"\x02\0\0\0\1\1",
                     0x88b5 + flow, MAGIC, length, seq)
    at = seq * 61 % (len(POOL) - length)
    return head + POOL[at:at + length - len(head)]


class Flow:
    """What one sink got of what was sent to it."""

    def __init__(self, number):
        self.number = number
        self.sent = self.received = 0
        self.wrong = self.reordered = 0
        self.last = -1
        self.last_time = 0
        self.longest_gap = 0
        self.example = None

    def next(self):
        packet = make_packet(self.sent, self.number)
        return packet

    def check(self, packet):
        self.received += 1
        now = time.monotonic()
        if self.last_time:
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
        elif seq <= self.last:
            self.reordered += 1
            if not self.example:
                self.example = "packet %d after %d" % (seq, self.last)
        else:
            self.last = seq

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
    under way than 'window' per sink, until that is taken for lost."""

    PATIENCE = 0.05

    def __init__(self, source, sinks, window=96):
        super().__init__(daemon=True)
        self.source, self.sinks = source, sinks
        self.flows = [Flow(i) for i in range(len(sinks))]
        self.window = window
        self.base = [0] * len(sinks)        # Sent, less what is under way.
        self.seen = [(0, 0)] * len(sinks)
        self.sending = True
        self.ending = False
        self.error = None
        self.unattended = set()
        self.reconnects = 0
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
        for i, (sink, flow) in enumerate(zip(self.sinks, self.flows)):
            if sink in self.unattended:
                continue
            for packet in sink.receive_packets():
                flow.check(packet)
                busy = True
        return busy

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
                if not self.source.send_packets([flow.next()]):
                    return n > 0
                flow.sent += 1
                n += 1
        return n > 0

    def tend(self):
        for guest in [self.source] + self.sinks:
            if guest.sock and guest not in self.unattended \
                    and not guest.is_connected():
                self.reconnects += 1
                guest.resume()

    @contextlib.contextmanager
    def paused(self):
        """Nothing is looked at meanwhile."""
        with self.lock:
            yield

    def delivered(self):
        return sum(flow.received for flow in self.flows)

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


class Watch(threading.Thread):
    """Asks vswitchd something ten times a second."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world
        self.worst = 0
        self.worst_at = 0
        self.asked = 0
        self.stop = False
        self.suspended = False

    def ask(self):
        path = "%s/ovs-vswitchd.%d.ctl" % (
            self.world.lab.run_dir, self.world.switch.vswitchd.pid)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(path)
            s.sendall(json.dumps({"method": "version", "params": [],
                                  "id": self.asked}).encode())
            s.recv(4096)

    def run(self):
        while not self.stop:
            begin = time.monotonic()
            if not self.suspended:
                try:
                    self.ask()
                except (OSError, AttributeError):
                    time.sleep(0.1)
                    continue
                took = time.monotonic() - begin
                self.asked += 1
                if took > self.worst and not self.suspended:
                    self.worst, self.worst_at = took, begin
            time.sleep(0.1)


class World:
    """A switch with a source of packets, sinks and engines."""

    def __init__(self, lab, args, model="", devs=1, sinks=1, pmds=1,
                 server=(), config=None, threshold=None):
        self.lab, self.args = lab, args
        self.figures = []
        self.stale = 0          # Packets that may be wrong.
        self.model_counts = "errors=count" in model
        self.traffic = self.watch = None
        self.guests = []
        self.pages_of = [lab.path("dma%d" % i) for i in range(devs)]
        lab.need_memory(SWITCH_MB)
        extra = "--no-pci -d " + os.path.realpath(args.model)
        for i, path in enumerate(self.pages_of):
            extra += " --vdev=dma_model%d,copy=late,control=%s%s" % (
                i, path, "," + model if model else "")
        # With a mempool per port, the size of which is known, something is
        # left for the queues of guests.
        settings = {"dpdk-extra": extra, "vhost-async-support": "true",
                    "per-port-memory": "true"}
        if threshold is not None:
            settings["vhost-async-threshold"] = str(threshold)
        if pmds == 2:
            settings["pmd-cpu-mask"] = "0x3"
        settings.update(config or {})
        self.config = settings
        if args.stock:
            settings["dpdk-extra"] = "--no-pci"
            del settings["vhost-async-support"]
        self.switch = lab.start_switch(args.build, dma=False,
                                       other_config=settings,
                                       memory=SWITCH_MB)
        self.pages = [] if args.stock else [ctl.ControlPage(path, 5)
                                            for path in self.pages_of]
        self.switch.add_bridge()
        self.names = ["src"] + ["dst%d" % i for i in range(sinks)]
        self.paths = {name: lab.path(name + ".sock") for name in self.names}
        self.flow_rules()
        self.server = server
        for name in server:
            self.paths[name] = lab.path(name)
        self.source = self.guest("src")
        self.sinks = [self.guest("dst%d" % i) for i in range(sinks)]
        for name in self.names:
            self.add_port(name)
        for guest in self.guests:
            self.start_guest(guest)
        for name in self.names:
            lablib.Switch.wait_for(
                lambda: self.switch.link_up(name), 10,
                self.switch.vswitchd, name + " did not come up")
        self.watch = Watch(self)
        self.watch.start()

    @property
    def page(self):
        return self.pages[0]

    def guest(self, name, **kwargs):
        guest = FrontEnd(self.paths[name], size=1024,
                         listens=name not in self.server, **kwargs)
        self.guests.append(guest)
        return guest

    @staticmethod
    def start_guest(guest):
        guest.connect()
        guest.fill()
        guest.start()

    def add_port(self, name):
        ofport = self.names.index(name) + 1
        if name in self.server:
            self.switch.add_port(name, "dpdkvhostuser", ofport,
                                 mtu_request=9000)
        else:
            self.switch.add_vhost(name, self.paths[name], ofport)

    def flow_rules(self):
        self.switch.ofctl("del-flows", "br0")
        for i in range(len(self.names) - 1):
            self.switch.ofctl(
                "add-flow", "br0", "in_port=1,dl_type=0x%x,actions=output:%d"
                % (0x88b5 + i, i + 2))

    def has_bridge(self):
        with contextlib.suppress(LabError):
            self.switch.ofctl("show", "br0")
            return True
        return False

    def start_traffic(self, n=1000, **kwargs):
        self.traffic = Traffic(self.source, self.sinks, **kwargs)
        self.traffic.start()
        self.traffic.wait_delivered(n, 20)
        return self.traffic

    def note(self, text):
        self.figures.append(text)

    def close(self):
        if self.watch:
            self.watch.stop = True
        if self.traffic:
            self.traffic.ending = True
            self.traffic.join(2)
        for guest in self.guests:
            with contextlib.suppress(Exception):
                guest.close()

    # What is.

    def counters(self, port):
        """The counters of a port as they are, not as the database has
        them."""
        text = self.switch.ofctl("-O", "OpenFlow14", "dump-ports", "br0",
                                 port)
        found = {key: int(value) for key, value
                 in re.findall(r"(\w+)=(\d+)", text[text.find("CUSTOM"):])}
        # Open vSwitch counts what goes by a port in server mode nowhere.
        if port not in self.server:
            rx = re.search(r"rx pkts=(\d+).*?drop=(\d+)", text, re.S)
            tx = re.search(r"tx pkts=(\d+).*?drop=(\d+)", text, re.S)
            found.update(rx_packets=int(rx[1]), tx_packets=int(tx[1]),
                         tx_dropped=int(tx[2]))
        return found

    @staticmethod
    def lost(c):
        return (c.get("tx_async_lost_drops", 0)
                + c.get("tx_async_ring_lost_drops", 0))

    def coverage(self):
        text = self.switch.appctl("coverage/show")
        return {m[1]: int(m[2]) for m in re.finditer(
            r"^(\w+) .* total: (\d+)$", text, re.M)}

    def mempools(self):
        """Of all mempools of ports: mbufs that are out."""
        text = self.switch.appctl("netdev-dpdk/get-mempool-info")
        out = {}
        for part in text.split("mempool <")[1:]:
            name = part.split(">")[0]
            size = re.search(r"^\s*size=(\d+)", part, re.M)
            common = re.search(r"common_pool_count=(\d+)", part)
            cache = re.search(r"total_cache_count=(\d+)", part)
            if name.startswith("ovs") and size and common:
                out[name] = int(size[1]) - int(common[1]) - (
                    int(cache[1]) if cache else 0)
        return out

    def in_flight(self):
        return sum(page.in_flight for page in self.pages)

    def wait_in_flight(self, n=1, timeout=5):
        """Something is in flight now."""
        deadline = time.monotonic() + timeout
        while self.in_flight() < n:
            if time.monotonic() > deadline:
                raise Failure("nothing is in flight")
        return self.in_flight()

    def failed(self):
        return "failed" in self.switch.appctl("dpif-netdev/dma-show")

    def quiesce(self, timeout=10):
        """Ends the traffic, and waits until all packets have come to rest.
        Leaves the counters in self.at_end."""
        t = self.traffic
        t.sending = False
        deadline = time.monotonic() + timeout
        rest = None
        while True:
            t.check()
            now = [self.counters(name) for name in self.names]
            moving = [c.get("tx_async_in_flight", 0)
                      + c.get("tx_async_waiting", 0) for c in now]
            if (self.source.unsent() == 0 and not any(moving)
                    and rest == (now, t.delivered())):
                break
            rest = (now, t.delivered())
            if time.monotonic() > deadline:
                raise Failure("no rest within %d s: %d not taken from the "
                              "source, in flight %s"
                              % (timeout, self.source.unsent(), moving))
            time.sleep(0.2)
        self.at_end = dict(zip(self.names, now))

    def account(self, delivered=True, exact=None):
        """Ends the traffic and accounts for each packet.  Without
        'delivered', guests went with what they had not read.

        The counters of a vhost port start from 0 with each connection (stock
        Open vSwitch), so that they tell all only if there was one: 'exact'.
        Our own go on."""
        self.quiesce()
        bad = []
        total = dict(sent=0, received=0, dropped=0, lost=0)
        exact = not self.traffic.reconnects if exact is None else exact
        for i, (flow, sink) in enumerate(zip(self.traffic.flows,
                                             self.sinks)):
            name = "dst%d" % i
            c = self.at_end[name]
            lost = self.lost(c)
            total["sent"] += flow.sent
            total["received"] += flow.received
            total["lost"] += lost
            if exact:
                arrived = c["tx_packets"]
                dropped = c["tx_dropped"] - lost
                total["dropped"] += dropped
                if arrived + dropped + lost != flow.sent:
                    bad.append("%s: %d sent; its counters: %d sent, %d "
                               "dropped, %d lost" % (name, flow.sent, arrived,
                                                     dropped, lost))
                if delivered and flow.received != arrived:
                    bad.append("%s: %d arrived, %d by its counters"
                               % (name, flow.received, arrived))
            elif flow.received + lost > flow.sent:
                bad.append("%s: %d sent, %d arrived, %d lost"
                           % (name, flow.sent, flow.received, lost))
            if flow.wrong > self.stale:
                bad.append("%s: %d wrong, first %s"
                           % (name, flow.wrong, flow.example))
            if flow.reordered:
                bad.append("%s: %d out of order, first %s"
                           % (name, flow.reordered, flow.example))
        text = ("%(sent)d packets sent, %(received)d arrived, %(lost)d lost "
                "in flight, " % total)
        if exact:
            text += "%(dropped)d dropped" % total
        else:
            text += "%d dropped in %d connections" % (
                total["sent"] - total["received"] - total["lost"],
                self.traffic.reconnects + 1)
        self.note(text)
        self.check_rest(bad)
        if bad:
            raise Failure("; ".join(bad))

    def check_rest(self, bad):
        """What has nothing to do with single packets."""
        if self.in_flight():
            bad.append("%d copies are in flight" % self.in_flight())
        deadline = time.monotonic() + 5
        while True:
            out = {k: v for k, v in self.mempools().items() if v}
            if not out or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if out:
            bad.append("mbufs missing: %s" % out)
        if self.watch.worst > APPCTL_LIMIT:
            bad.append("ovs-appctl took %.2f s" % self.watch.worst)
        self.note("appctl at most %d ms" % (self.watch.worst * 1000))
        self.switch.vswitchd.check_alive()
        for line in self.log_lines(r"\|EMER\||assertion|backtrace"):
            bad.append("log: " + line)

    def log_lines(self, pattern):
        return [line for line
                in lablib.read(self.switch.log, "").splitlines()
                if re.search(pattern, line)]


class Accesses:
    """Whether the engine writes where it should: to the receive buffers of
    the memory that a guest has now.  New memory is often mapped over the
    addresses of the old, but as it is larger its receive buffers, which come
    first, are not where the old ones were."""

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
        self.since = self.sink.swap_memory()
        if frontend.mappings(pid, name):
            raise Failure("vswitchd still maps the old memory")
        now = frontend.mappings(pid, self.sink.memory.name)
        self.now = [(begin, begin + self.sink.tx_at) for begin, _ in now]
        self.same += now[0][0] == before[0][0]

    def check(self):
        for a in self.w.page.log(self.since):
            self.n += 1
            self.outside += not any(
                begin <= a.dst and a.dst + a.length <= end
                for begin, end in self.now)

    def text(self):
        return ("%d accesses after the answers, %d of them not to the new "
                "memory%s" % (self.n, self.outside, self.same and
                              "; mapped at the same place %d times"
                              % self.same or ""))


# Scenarios.  Each takes a World; what it needs of one is in SCENARIOS.

def set_mem_table(w):
    """SET_MEM_TABLE with copies in flight: the old memory is not touched
    after the answer."""
    t = w.start_traffic()
    sink = w.sinks[0]
    accesses = Accesses(w, sink)
    caught = late = 0
    for round_ in range(w.args.rounds or 10):
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
    w.account()


def get_vring_base(w):
    """GET_VRING_BASE with copies in flight: every descriptor comes back."""
    t = w.start_traffic()
    sink = w.sinks[0]
    caught, missing = 0, []
    for round_ in range(w.args.rounds or 10):
        t.wait_delivered(200, 20)
        caught += w.wait_in_flight()
        base = sink.get_vring_base(RX)
        used = sink.queues[RX].used_index()
        missing.append((base - used) & 0xffff)
        sink.setup_vring(RX, base)
        sink.enable(RX)
    t.wait_delivered(200, 20)
    w.note("%d copies in flight at the messages, last_avail_idx less used "
           "index: %s" % (caught, sorted(set(missing))))
    if any(missing):
        raise Failure("%s descriptors did not come back" % missing)
    w.account()
    have = sink.queues[RX].outstanding()
    if have != sink.size:
        raise Failure("%d of %d descriptors are with the switch"
                      % (have, sink.size))


def wait_failed(w, timeout=4):
    begin = time.monotonic()
    while not w.log_lines("is quarantined"):
        if time.monotonic() - begin > timeout:
            raise Failure("no channel was quarantined within %d s" % timeout)
        time.sleep(0.01)
    return time.monotonic() - begin


def expect_resumed(w, after=""):
    took = w.traffic.wait_delivered(300, 10)
    w.note("traffic to every port%s after %.2f s"
           % (after, took))


def engine_hangs(w):
    """The engine stops completing for ever, under traffic."""
    t = w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.note("quarantined after %.2f s" % wait_failed(w))
    expect_resumed(w)
    w.account()
    gap = max(flow.longest_gap for flow in t.flows)
    w.note("longest pause %.2f s" % gap)
    if gap > 3:
        raise Failure("the traffic paused for %.2f s" % gap)


def engine_hangs_in_drain(w, act):
    t = w.start_traffic()
    w.wait_in_flight()
    with t.paused():
        w.page.vchan().hang()
        w.page.vchan().wait_seen(2)
        begin = time.monotonic()
        t.unattended.add(w.sinks[0])
    with contextlib.suppress(FrontEndError):
        act(w.sinks[0])
    w.note("answered after %.2f s" % (time.monotonic() - begin))
    with t.paused():
        t.unattended.clear()
    w.note("quarantined %.2f s later" % wait_failed(w))
    expect_resumed(w)
    w.account()


def hang_in_set_mem_table(w):
    """The engine hangs while SET_MEM_TABLE waits for it."""
    engine_hangs_in_drain(w, lambda sink: sink.swap_memory())


def hang_in_get_vring_base(w):
    """The engine hangs while GET_VRING_BASE waits for it."""
    def act(sink):
        base = sink.get_vring_base(RX)
        sink.setup_vring(RX, base)
        sink.enable(RX)
    engine_hangs_in_drain(w, act)


def end_process(w, end, limit, what):
    vswitchd = w.switch.vswitchd
    w.watch.stop = True
    begin = time.monotonic()
    end()
    if not vswitchd._wait(limit + 5):
        raise Failure("%s: vswitchd did not end within %d s"
                      % (what, limit + 5))
    took = time.monotonic() - begin
    w.traffic.ending = True
    w.note("%s: ended after %.2f s, status %s"
           % (what, took, vswitchd.popen.returncode))
    if took > limit:
        raise Failure("%s took %.2f s" % (what, took))
    if vswitchd.popen.returncode not in (0, -signal.SIGTERM):
        raise Failure("%s: status %s" % (what, vswitchd.popen.returncode))


def hang_and_sigterm(w):
    """SIGTERM while the engine hangs."""
    w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.page.vchan().wait_seen(2)
    end_process(w, lambda: w.switch.vswitchd.signal(signal.SIGTERM), 5,
                "SIGTERM")


def hang_and_exit(w):
    """ovs-appctl exit --cleanup while the engine hangs."""
    w.start_traffic()
    w.wait_in_flight()
    w.page.vchan().hang()
    w.page.vchan().wait_seen(2)
    end_process(w, lambda: w.switch.appctl("exit", "--cleanup"), 5,
                "ovs-appctl exit --cleanup")


def sigterm(w):
    """SIGTERM with copies in flight."""
    w.start_traffic()
    w.wait_in_flight()
    end_process(w, lambda: w.switch.vswitchd.signal(signal.SIGTERM), 5,
                "SIGTERM")


def exit_cleanup(w):
    """ovs-appctl exit --cleanup with copies in flight."""
    w.start_traffic()
    w.wait_in_flight()
    end_process(w, lambda: w.switch.appctl("exit", "--cleanup"), 5,
                "ovs-appctl exit --cleanup")


def one_of_two_hangs(w):
    """Of two engines one hangs; two PMD threads."""
    w.start_traffic()
    busy = [page for page in w.pages if page.vchan().submitted]
    if not busy:
        raise Failure("no engine is used")
    busy[0].vchan().hang()
    w.note("%d of 2 engines used, quarantined after %.2f s"
           % (len(busy), wait_failed(w)))
    expect_resumed(w)
    good = [page for page in w.pages if page is not busy[0]]
    n = good[0].vchan().submitted
    w.traffic.wait_delivered(300, 10)
    w.note("the other engine got %d copies then"
           % (good[0].vchan().submitted - n))
    w.account()


def hang_for_a_time(w):
    """The engine pauses for less than the timeout: nothing is lost."""
    t = w.start_traffic()
    for _ in range(3):
        w.page.vchan().hang(0.5)
        t.wait_delivered(500, 10)
    if w.log_lines("is quarantined"):
        raise Failure("the channel was quarantined")
    w.account()


def errors(w):
    """The engine reports errors for copies; what becomes of the packets is
    what this tells."""
    t = w.start_traffic()
    v = w.page.vchan()
    for _ in range(3):
        v.error(at=5, count=1)
        t.wait_delivered(300, 10)
    w.note("%d copies failed" % v.errors)
    flow = t.flows[0]
    # With errors=count there is nothing in the vhost library that tells a
    # copy that failed from another: the guest gets what was in its buffer.
    w.stale = v.errors if w.model_counts else 0
    try:
        w.account()
    finally:
        w.note("%d packets with wrong bytes reached the guest, %d channels "
               "quarantined, DMA errors shown: %s"
               % (flow.wrong, len(w.log_lines("is quarantined")),
                  re.findall(r"errors?:? *(\d+)",
                             w.switch.appctl("dpif-netdev/dma-show"))))


def refused(w, at=1, count=1, times=20, threshold_note=""):
    t = w.start_traffic()
    v = w.page.vchan()
    rng = random.Random(w.args.seed)
    for _ in range(times):
        v.refuse(at=rng.randint(1, 7) if at is None else at, count=count)
        t.wait_delivered(100, 10)
    v.clear()
    t.wait_delivered(100, 10)
    w.note("%d copies refused" % v.refused)
    w.account()


def refuse_once(w):
    """rte_dma_copy() fails once, often in the middle of a packet."""
    refused(w, at=None)


def refuse_all(w):
    """rte_dma_copy() fails from now on: the CPU copies."""
    t = w.start_traffic()
    w.page.vchan().refuse()
    w.page.vchan().wait_seen(2)
    t.wait_delivered(300, 10)
    sent, received = t.flows[0].sent, t.flows[0].received
    t.wait_delivered(1000, 10)
    received = t.flows[0].received - received
    sent = t.flows[0].sent - sent
    w.note("%d refused, quarantined %d, %d of %d packets arrived then"
           % (w.page.vchan().refused, len(w.log_lines("is quarantined")),
              received, sent))
    if received < 0.8 * sent:
        raise Failure("%d of %d packets arrived" % (received, sent))
    w.account()


def refuse_in_packet(w):
    """rte_dma_copy() fails from the middle of a packet on."""
    t = w.start_traffic()
    w.page.vchan().refuse(at=4)
    w.note("quarantined after %.2f s" % wait_failed(w, 10))
    expect_resumed(w)
    t.wait_delivered(1000, 10)
    w.account()


def refuse_and_swap(w):
    """rte_dma_copy() fails in the middle of a packet, then memory moves."""
    t = w.start_traffic()
    sink, v = w.sinks[0], w.page.vchan()
    accesses = Accesses(w, sink)
    rng = random.Random(w.args.seed)
    for _ in range(w.args.rounds or 20):
        if w.log_lines("is quarantined"):
            break
        v.refuse(at=rng.randint(2, 9), count=0)
        time.sleep(0.02)
        try:
            accesses.swap()
        except FrontEndError as e:
            # The engine refuses, cannot be relied on, and is put away: the
            # message is refused, and the guest connects anew.
            w.note("the message was refused (%s)" % e)
            if not w.log_lines("is quarantined"):
                raise
            t.wait_delivered(300, 10)
            break
        v.clear()
        t.wait_delivered(100, 10)
        accesses.check()
        if accesses.outside:
            break
    w.note("%d refused, quarantined %d, %s"
           % (v.refused, len(w.log_lines("is quarantined")),
              accesses.text()))
    if accesses.outside:
        raise Failure("%d accesses to memory that was unmapped"
                      % accesses.outside)
    w.account()


def ring_full(w):
    """The engine's ring has no room, for a second."""
    t = w.start_traffic()
    for _ in range(3):
        w.page.vchan().full()
        time.sleep(0.3)
        w.page.vchan().clear()
        t.wait_delivered(300, 10)
    if w.log_lines("is quarantined"):
        w.note("quarantined")
    w.account()


def delete_and_add(w, port, **account):
    """A port is deleted and added again, copies in flight."""
    t = w.start_traffic()
    for _ in range(w.args.rounds or 5):
        w.wait_in_flight()
        w.switch.vsctl("del-port", port)
        w.add_port(port)
        t.wait_delivered(200, 15)
    w.note("%d reconnects" % t.reconnects)
    w.account(exact=False, **account)


def delete_port(w):
    """The sink's port is deleted and added again, copies in flight."""
    delete_and_add(w, "dst0", delivered=False)


def delete_bridge(w):
    """The bridge is deleted and made again, copies in flight."""
    t = w.start_traffic()
    for _ in range(w.args.rounds or 3):
        w.wait_in_flight()
        w.switch.vsctl("del-br", "br0")
        w.switch.add_bridge()
        w.flow_rules()
        for name in w.names:
            w.add_port(name)
        t.wait_delivered(200, 15)
    w.note("%d reconnects" % t.reconnects)
    w.account(delivered=False, exact=False)


def delete_source(w):
    """The port is deleted whose mbufs are in flight."""
    delete_and_add(w, "src")


def change_mtu(w):
    """The MTU of sink and source changes: other mempools, and reloads."""
    t = w.start_traffic()
    for mtu in (1500, 9000, 3000, 9100, 9000):
        w.wait_in_flight()
        for name in ("src", "dst0"):
            w.switch.vsctl("set", "Interface", name, "mtu_request=%d" % mtu)
        t.wait_delivered(100, 15)
    w.account(exact=False)


def change_pmd_mask(w):
    """pmd-cpu-mask changes: threads come and go."""
    t = w.start_traffic()
    idle = []
    for mask in ("0x1", "0x2", "0x3", "0x1", "0x3", "0x2"):
        try:
            w.wait_in_flight()
        except Failure:
            # Of two threads the one without the port may have the channel.
            idle.append(mask)
        w.switch.set("pmd-cpu-mask", mask)
        t.wait_delivered(300, 15)
    w.wait_in_flight()
    w.note("%d changes without copies in flight" % len(idle))
    w.account()


def rebalance(w):
    """Rx queues move between two PMD threads, of which one or both have a
    channel."""
    t = w.start_traffic()
    for core in (0, 1, 0, 1):
        with contextlib.suppress(Failure):
            w.wait_in_flight(1, 0.5)
        w.switch.vsctl("set", "Interface", "src",
                       'other_config:pmd-rxq-affinity="0:%d"' % core)
        w.switch.appctl("dpif-netdev/pmd-rxq-rebalance")
        t.wait_delivered(300, 15)
    w.account()


def option_off_on(w):
    """vhost-async-support goes off and on."""
    t = w.start_traffic()
    for value in ("false", "true") * (w.args.rounds or 3):
        if value == "false":
            w.wait_in_flight()
        w.switch.set("vhost-async-support", value)
        t.wait_delivered(300, 15)
        time.sleep(0.3)
    w.note("%d reconnects" % t.reconnects)
    n = w.page.vchan().submitted
    t.wait_delivered(300, 15)
    if w.page.vchan().submitted == n:
        raise Failure("no copies by DMA at the end")
    w.account()


def port_option_off_on(w):
    """options:vhost-async of the sink goes off and on."""
    t = w.start_traffic()
    for value in ("false", "true") * (w.args.rounds or 3):
        w.switch.vsctl("set", "Interface", "dst0",
                       "options:vhost-async=" + value)
        t.wait_delivered(300, 15)
        time.sleep(0.3)
    w.note("%d reconnects" % t.reconnects)
    w.account()


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


def vswitchd_killed(w):
    """kill -9 of vswitchd: the guests stay and reconnect."""
    t = w.start_traffic()
    outages = []
    for _ in range(w.args.rounds or 3):
        w.wait_in_flight()
        w.watch.suspended = True
        begin = time.monotonic()
        w.switch.vswitchd.kill()
        received = t.flows[0].received
        w.switch.start()
        lablib.Switch.wait_for(w.has_bridge, 10, w.switch.vswitchd,
                               "there is no bridge")
        w.flow_rules()
        t.wait_delivered(1, 30)
        outages.append(time.monotonic() - begin)
        w.pages = [ctl.ControlPage(path, 5) for path in w.pages_of]
        t.wait_delivered(300, 10)
        w.watch.suspended = False
        if t.flows[0].received <= received:
            raise Failure("no packets")
    w.note("outage %s s" % ", ".join("%.2f" % o for o in outages))
    flow = t.flows[0]
    # What a guest had in its ring is copied to once more.
    w.account(exact=False, delivered=False)
    w.note("longest pause %.2f s" % flow.longest_gap)


class Bystander:
    """Whether a guest is left alone: what it did not offer stays as it is."""

    def __init__(self, guest):
        self.guest = guest
        self.kept = []
        rng = random.Random(7)
        used_end = 4 + 8 * guest.size + 2
        last = 0
        for queue in guest.queues:
            # Descriptors are for it to write, from now on nobody does.
            self.keep(guest.rings.map, queue.desc_at,
                      queue.desc_at + 16 * guest.size)
            self.fill(rng, guest.rings.map, queue.desc_at + 16 * guest.size,
                      queue.avail_at)
            self.fill(rng, guest.rings.map,
                      queue.avail_at + 4 + 2 * guest.size + 2, queue.used_at)
            last = queue.desc_at + frontend.RING_STEP
            self.fill(rng, guest.rings.map, queue.used_at + used_end, last)
        self.fill(rng, guest.rings.map, last, guest.rings.size)
        # It sends nothing.
        self.fill(rng, guest.memory.map, guest.tx_at, guest.memory.size)

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


class Attack(threading.Thread):
    """Sequences of one seed on one port, in a process of its own."""

    def __init__(self, w, path, first, last, step):
        super().__init__(daemon=True)
        command = [sys.executable, hostile.__file__, path,
                   "--seed", str(w.args.seed), "--first", str(first),
                   "--last", str(last), "--step", str(step)]
        for option in ("only", "include"):
            command += ["--" + option, getattr(w.args, option)]
        self.now = first
        self.n = self.steps = 0
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, preexec_fn=lablib.die_with_parent())
        self.other = []
        self.start()

    def run(self):
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["begin"]:
                self.now = int(words[1])
            elif words[:1] == ["done"]:
                self.n += 1
                self.steps += int(words[2])
            else:
                self.other.append(line.rstrip())

    def running(self):
        return self.process.poll() is None

    def stop(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        self.join()


def attack(w, attacks, seconds, look):
    """Lets them go on, and looks that all is well.  Returns how long."""
    begin = shown = time.monotonic()
    while any(a.running() for a in attacks):
        now = time.monotonic()
        if now - begin > seconds:
            break
        if now - shown > 20:
            shown = now
            lablib.say("  %d sequences" % sum(a.n for a in attacks))
        if not w.switch.vswitchd.alive():
            raise Failure("vswitchd ended")
        w.traffic.check()
        look()
        time.sleep(0.2)
    for a in attacks:
        if a.process.poll():
            a.join(1)
            raise Failure("sequence %d: %s" % (a.now, " ".join(a.other[-1:])))
    return time.monotonic() - begin


def hostile_guest(w):
    """Random sequences of what a guest may not do, with a fixed seed, on all
    ports but one; the guest there does not notice."""
    t = w.start_traffic()
    victims = [int(name[3:]) for name in w.server]
    other = len(w.sinks) - 1
    sink = w.sinks[other]
    with t.paused():
        for i in victims:
            t.unattended.add(w.sinks[i])
            w.sinks[i].disconnect()
        bystander = Bystander(sink)
    targets = Targets(w, [sink, w.source])
    n = w.args.rounds or 10000
    before = t.flows[other].received
    attacks = []

    def look():
        bystander.check()
        if not w.args.stock:
            targets.check()

    try:
        attacks = [Attack(w, w.paths["dst%d" % i], k, n, len(victims))
                   for k, i in enumerate(victims)]
        took = attack(w, attacks, w.args.seconds, look)
        look()
    except (LabError, OSError, Failure) as e:
        w.switch.vswitchd._wait(2)
        raise Failure("%s; vswitchd's status: %s; sequences %s of seed %d"
                      % (e, w.switch.vswitchd.popen.returncode,
                         ", ".join(str(a.now) for a in attacks),
                         w.args.seed))
    finally:
        for a in attacks:
            a.stop()
    done = sum(a.n for a in attacks)
    w.note("%d sequences, %d steps in %d s; the other guest got %d packets "
           "meanwhile, %d bytes that it did not offer are as they were"
           % (done, sum(a.steps for a in attacks), took,
              t.flows[other].received - before, bystander.size()))
    w.note("%d writes of the engine looked at, %d of them to the other guest"
           % (targets.n, targets.to_others))
    if done < w.args.rounds:
        raise Failure("no more than %d sequences within %d s"
                      % (done, w.args.seconds))
    with t.paused():
        for i in victims:
            w.sinks[i].restart()
            t.flows[i].last = -1
        t.unattended.clear()
    t.wait_delivered(300, 10)
    flow = t.flows[other]
    w.account(delivered=False, exact=False)
    c = w.at_end["dst%d" % other]
    if flow.received != c["tx_packets"] - w.lost(c):
        raise Failure("the other guest got %d of %d packets"
                      % (flow.received, c["tx_packets"]))
    bystander.check()


def hostile_messages(w):
    """Messages that a port on DMA must refuse, as they end stock Open vSwitch
    or have it write to memory of others."""
    t = w.start_traffic()
    with t.paused():
        t.unattended.add(w.sinks[0])
        w.sinks[0].disconnect()
        bystander = Bystander(w.sinks[1])
    chosen = (hostile.names(w.args.only)
              or [m.__name__ for m in hostile.MESSAGES])
    for name in chosen:
        accepted = False
        with contextlib.suppress(OSError):
            accepted = hostile.message(w.paths["dst0"], name)
        if w.switch.vswitchd._wait(0.5):
            raise Failure("%s: vswitchd ended, status %s"
                          % (name, w.switch.vswitchd.popen.returncode))
        if accepted and not w.args.stock:
            raise Failure("%s was not refused" % name)
        t.wait_delivered(50, 10, flow=1)
        bystander.check()
        w.note(name)
    with t.paused():
        w.sinks[0].restart()
        t.flows[0].last = -1
        t.unattended.clear()
    t.wait_delivered(300, 10)
    w.account(delivered=False, exact=False)


def hostile_sigbus(w):
    """A guest cuts its memory short: with any vhost-user back end that maps
    it, stock Open vSwitch as well, access to it is a SIGBUS."""
    w.start_traffic()
    sink = w.sinks[0]
    w.watch.stop = True
    os.ftruncate(sink.memory.fd, 0)
    w.traffic.unattended.add(sink)
    w.switch.vswitchd._wait(3)
    status = w.switch.vswitchd.popen.returncode
    w.note("vswitchd %s" % ("lives" if status is None
                            else "ended: %s" % status))


# Name: (function, keywords of World).
SCENARIOS = {
    "set-mem-table": (set_mem_table, dict(model="latency_us=5000")),
    "get-vring-base": (get_vring_base, dict(model="latency_us=5000")),
    "hang": (engine_hangs, dict(model="latency_us=100", sinks=2)),
    "hang-set-mem-table": (hang_in_set_mem_table,
                           dict(model="latency_us=2000", sinks=2)),
    "hang-get-vring-base": (hang_in_get_vring_base,
                            dict(model="latency_us=2000", sinks=2)),
    "hang-one-of-two": (one_of_two_hangs,
                        dict(model="latency_us=100", devs=2, sinks=2,
                             pmds=2)),
    "hang-sigterm": (hang_and_sigterm, dict(model="latency_us=2000")),
    "hang-exit": (hang_and_exit, dict(model="latency_us=2000")),
    "hang-short": (hang_for_a_time, dict(model="latency_us=100")),
    "errors-stop": (errors, dict(model="latency_us=100")),
    "errors-count": (errors, dict(model="latency_us=100,errors=count")),
    "refuse-once": (refuse_once, dict(model="latency_us=100")),
    "refuse-all": (refuse_all, dict(model="latency_us=100")),
    "refuse-in-packet": (refuse_in_packet, dict(model="latency_us=100")),
    "refuse-set-mem-table": (refuse_and_swap, dict(model="latency_us=5000")),
    "ring-full": (ring_full, dict(model="latency_us=100")),
    "delete-port": (delete_port, dict(model="latency_us=20000")),
    "delete-bridge": (delete_bridge, dict(model="latency_us=20000")),
    "delete-source": (delete_source, dict(model="latency_us=20000")),
    "mtu": (change_mtu, dict(model="latency_us=20000")),
    "pmd-cpu-mask": (change_pmd_mask, dict(model="latency_us=20000")),
    "rebalance": (rebalance, dict(model="latency_us=20000", pmds=2)),
    "off-on": (option_off_on, dict(model="latency_us=20000")),
    "port-off-on": (port_option_off_on, dict(model="latency_us=20000")),
    "sigterm": (sigterm, dict(model="latency_us=20000")),
    "exit": (exit_cleanup, dict(model="latency_us=20000")),
    "guest-killed": (guest_killed, dict(model="latency_us=5000")),
    "hostile": (hostile_guest, dict(model="latency_us=1000", sinks=3,
                                    server=("dst0", "dst1"))),
    "hostile-messages": (hostile_messages,
                         dict(model="latency_us=1000", sinks=2,
                              server=("dst0",))),
    "hostile-sigbus": (hostile_sigbus, dict(model="latency_us=100")),
    "vswitchd-killed": (vswitchd_killed, dict(model="latency_us=2000")),
}


def run_scenario(name, args):
    """Returns "passed", "FAILED" or "skipped"; prints one line."""
    function, needs = SCENARIOS[name]
    w = None
    lab = lablib.Lab(n_pmds=1, keep_logs=args.logs and os.path.join(
        args.logs, name))
    result, why = "passed", ""
    begin = time.monotonic()
    excerpts = []
    with lab:
        try:
            w = World(lab, args, **needs)
            function(w)
            w.switch.vswitchd and w.switch.vswitchd.alive()
        except Skip as e:
            result, why = "skipped", str(e)
        except (Failure, LabError, FrontEndError, OSError,
                ctl.PageError) as e:
            result, why = "FAILED", "%s: %s" % (type(e).__name__, e)
            if w and w.traffic and w.traffic.error:
                why += "; " + w.traffic.error
            excerpts = lab.excerpts()
            if not args.brief:
                with contextlib.suppress(Exception):
                    excerpts += w.switch.appctl(
                        "dpif-netdev/dma-show").splitlines()
                    for n in w.names:
                        excerpts.append("%s: %s" % (n, {
                            k: v for k, v in w.counters(n).items()
                            if v and "_q0_" not in k}))
        finally:
            if w:
                w.close()
            else:
                excerpts += lab.excerpts()
    for line in excerpts:
        lablib.say("  " + line)
    figures = w.figures if w else []
    lablib.say("%s: %s: %s (%.1f s)"
               % (result, name, "; ".join(([why] if why else []) + figures),
                  time.monotonic() - begin))
    return result


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Scenarios: " + " ".join(SCENARIOS))
    parser.add_argument("names", nargs="*", metavar="SCENARIO",
                        help="only these, or those that begin so with a *")
    parser.add_argument("--build", default="out/defer")
    parser.add_argument("--engine", default="defer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0,
                        help="how often a scenario repeats what it does")
    parser.add_argument("--only", default="", metavar="ACTION[,...]",
                        help="for the scenario hostile: no other actions")
    parser.add_argument("--include", default="", metavar="AVOIDED[,...]",
                        help="for the scenario hostile: " + ", ".join(
                            hostile.AVOIDED))
    parser.add_argument("--seconds", type=int, default=60,
                        help="for the scenario hostile, at most")
    parser.add_argument("--model", default=MODEL, help="librte_dma_model.so")
    parser.add_argument("--logs", metavar="DIR", help="keep all logs there")
    parser.add_argument("--brief", action="store_true",
                        help="do not show the state at a failure")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--stock", action="store_true",
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    chosen = []
    for name in args.names or SCENARIOS:
        found = [s for s in SCENARIOS if s == name
                 or name.endswith("*") and s.startswith(name[:-1])]
        if not found:
            parser.error("there is no scenario %s; --list names them" % name)
        chosen += found
    args.names = chosen
    return args


def main():
    args = parse_args()
    if args.list:
        for name, (function, _) in SCENARIOS.items():
            print("%-22s %s" % (name, " ".join(function.__doc__.split())))
        return 0
    results = []
    try:
        lablib.Switch.check_build(args.build)
        lablib.need_file(args.model, "run dev/model.py")
        lablib.say("engine %s, seed %d" % (args.engine, args.seed))
        for name in args.names:
            results.append(run_scenario(name, args))
    except LabError as e:
        lablib.say("faults: " + str(e))
        return 1
    except lablib.Interrupted as e:
        lablib.say("faults: interrupted by " + e.name)
        return 128 + e.signum
    lablib.say("%d passed, %d failed, %d skipped" % tuple(
        results.count(r) for r in ("passed", "FAILED", "skipped")))
    return 1 if "FAILED" in results else 0


if __name__ == "__main__":
    sys.exit(main())
