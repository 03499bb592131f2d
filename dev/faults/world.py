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

"""A switch with engines, a source and sinks, and what becomes of packets."""

import contextlib
import json
import os
import re
import socket
import threading
import time

import ctl
import lab as lablib
from frontend import FrontEnd
from lab import LabError
from packets import Failure, Traffic

SWITCH_MB = 1280
APPCTL_LIMIT = 1.0


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
        rx = re.search(r"rx pkts=(\d+).*?drop=(\d+)", text, re.S)
        tx = re.search(r"tx pkts=(\d+).*?drop=(\d+)", text, re.S)
        found = {key: int(value) for key, value
                 in re.findall(r"(\w+)=(\d+)", text[text.find("CUSTOM"):])}
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
