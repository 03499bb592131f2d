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

import collections
import contextlib
import os
import random
import re
import time

from dev import lab as lablib
from dev.dma_devices import kernel_queue, plugin as devices
from dev.dma_model import ctl
from dev.faults.frontend import FrontEnd
from dev.faults.packets import ETHERTYPE, Failure, Traffic
from dev.faults.watch import Watch

# By pairs of queues of each port: mempools of MTU 9000, and twice that of the
# guest that comes with up to eight pairs.
SWITCH_MB = {1: 1280, 2: 2048}
APPCTL_LIMIT = 1.0
TWO_CORES = "0x3"

# What names a reason for a drop, but for what was lost in flight.
DROPS = ("ovs_tx_failure_drops", "ovs_tx_mtu_exceeded_drops",
         "ovs_tx_qos_drops", "ovs_tx_invalid_hwol_drops")


class World:
    """A switch with a source of packets, sinks and engines.

    Several scenarios can follow each other in one.  Each is between begin()
    and account(), which leaves the traffic at rest, and says by 'touched'
    which sinks it meddles with: the others are not to notice."""

    def __init__(self, lab, args, model="", devs=1, sinks=1, pmds=1, pairs=1,
                 packed=False, server=(), config=None):
        self.lab, self.args = lab, args
        self.rng = random.Random(args.seed)
        self.pmds, self.pairs, self.packed = pmds, pairs, packed
        self.traffic = self.watch = None
        self.guests = []
        self.pages_of = [lab.path("dma%d" % i) for i in range(devs)]
        lab.need_memory(SWITCH_MB[pairs])
        self.start_switch(model, pmds, config or {})
        self.switch.add_bridge()
        self.names = ["src"] + ["dst%d" % i for i in range(sinks)]
        self.paths = {name: lab.path(name + ".sock") for name in self.names}
        self.flow_rules()
        self.server = server
        for name in server:
            self.paths[name] = lab.path(name)
        self.source = self.guest("src", pairs=pairs)
        self.sinks = [self.guest("dst%d" % i, pairs=pairs, packed=packed)
                      for i in range(sinks)]
        for name in self.names:
            self.add_port(name)
        for guest in self.guests:
            self.start_guest(guest)
        for name in self.names:
            lablib.Switch.wait_for(
                lambda: self.switch.link_up(name), 10,
                self.switch.vswitchd, name + " did not come up")
        self.spread_source()
        self.watch = Watch(self)
        self.watch.start()
        self.begin()

    def start_switch(self, model, pmds, config):
        extra = "--no-pci " + self.engines(model)
        # With a mempool per port, the size of which is known, something is
        # left for the queues of guests.
        settings = {"dpdk-extra": extra, "vhost-async-support": "true",
                    "vhost-async-threshold": "1024",
                    "per-port-memory": "true"}
        if pmds == 2:
            settings["pmd-cpu-mask"] = TWO_CORES
        settings.update(config)
        if self.args.stock:
            settings["dpdk-extra"] = "--no-pci"
            del settings["vhost-async-support"]
            del settings["vhost-async-threshold"]
        self.switch = self.lab.start_switch(self.args.build, dma=False,
                                            other_config=settings,
                                            memory=SWITCH_MB[self.pairs])
        self.open_pages()

    def engines(self, model):
        """Arguments of EAL for the engines, with these parameters."""
        driver = self.args.driver
        if driver:
            params = dict(item.split("=") for item in model.split(",") if item)
            params["lcore"] = self.lab.cores.main
            if driver == kernel_queue.DRIVER:
                driver = kernel_queue.make(self.lab.path("dsa"),
                                           len(self.pages_of))
                self.lab.extra_env.update(driver)
                arguments = kernel_queue.eal_arguments
            else:
                arguments = devices.eal_arguments
            return " ".join(arguments(driver, i, control=path, **params)
                            for i, path in enumerate(self.pages_of))
        return " ".join(["-d " + os.path.realpath(self.args.model)] + [
            "--vdev=dma_model%d,copy=late,control=%s%s" % (
                i, path, "," + model if model else "")
            for i, path in enumerate(self.pages_of)])

    def open_pages(self):
        self.pages = [] if self.args.stock else [
            ctl.ControlPage(path, 5) for path in self.pages_of]
        # What scenarios meddle with.
        self.page = self.pages[0] if self.pages else None

    def begin(self, touched=(0,), rounds=0, seconds=60, seed=None):
        """A scenario begins, which meddles with the sinks 'touched', repeats
        what it does 'rounds' times (0: as it likes) and may take 'seconds' for
        it, if it asks."""
        self.touched, self.asked_rounds = touched, rounds
        self.seconds = seconds
        self.seed = self.args.seed if seed is None else seed
        self.rng = random.Random(self.seed)
        self.figures = []
        # Whether packets may go without our knowledge.
        self.stock_copies = False
        self.log_from = len(lablib.read(self.switch.log, ""))
        self.watch.begin()
        self.before = {name: self.switch.counters(name) for name in self.names}
        if self.traffic:
            for flow in self.traffic.flows:
                flow.mark()
            self.reconnects = self.traffic.reconnects.copy()
        else:
            self.reconnects = collections.Counter()

    def rounds(self, n):
        """How often a scenario is to do what it does 'n' times by itself."""
        return self.asked_rounds or n

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
        n = len(self.names) - 1
        for i in range(n * self.pairs):
            self.switch.ofctl(
                "add-flow", "br0", "in_port=1,dl_type=0x%x,actions=output:%d"
                % (ETHERTYPE + i, i % n + 2))

    def spread_source(self):
        """Each queue of the source is polled by another thread."""
        if self.pairs > 1:
            self.switch.vsctl(
                "set", "Interface", "src",
                'other_config:pmd-rxq-affinity="%s"'
                % ",".join("%d:%d" % (i, i % 2) for i in range(self.pairs)))

    def start_traffic(self, n=1000):
        t = self.traffic
        if not t:
            t = self.traffic = Traffic(self.source, self.sinks)
            t.start()
        t.sending = True
        before = [page.vchan().submitted for page in self.pages]
        t.wait_delivered(n, 20)
        t.forget()
        # One that is used: one PMD thread may have got both busy rxqs.
        n_copies = [page.vchan().submitted - submitted
                    for page, submitted in zip(self.pages, before)]
        if self.pages:
            self.page = self.pages[n_copies.index(max(n_copies))]
        return t

    @contextlib.contextmanager
    def unattended(self, *sinks):
        """Nobody reads what comes for them meanwhile, nor sees to their
        connections."""
        self.traffic.unattended.update(sinks)
        with self.traffic.paused():
            pass                # Nobody is at it any more.
        try:
            yield
        finally:
            with self.traffic.paused():
                self.traffic.unattended.difference_update(sinks)

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

    @staticmethod
    def lost_in_flight(c):
        return c.get("tx_async_lost_drops", 0)

    @staticmethod
    def lost_out_of_ring(c):
        """Those that were in the completion engine's ring, but for those that
        found the virtqueue full then.  At most: senders whose packets do not
        get into it count theirs as busy or down, too."""
        return min(c.get("tx_async_ring_drops", 0),
                   c.get("tx_async_busy_drops", 0)
                   + c.get("tx_async_down_drops", 0))

    @classmethod
    def lost(cls, c):
        return cls.lost_in_flight(c) + c.get("tx_async_ring_drops", 0)

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
        while self.in_flight() < n and not self.args.stock:
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
            now = [self.switch.counters(name) for name in self.names]
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

    def account(self, delivered=True, exact=None, named=True, touched=None,
                limit=1.0):
        """Ends the traffic and accounts for each packet.  Without
        'delivered', guests went with what they had not read.

        The counters of a vhost port start from 0 with each connection (stock
        Open vSwitch), so that they tell all only if there was one: 'exact',
        which by itself is True if that is so.  Our own go on.  Each drop has
        a counter that names the reason, if all were 'named'.

        The flows to the other sinks had no pause of more than 'limit'
        seconds; those are not told from the touched ones if that is None."""
        self.quiesce()
        if self.args.stock:
            self.stock_copies = True
        touched = self.touched if touched is None else touched
        bad = []
        total = collections.Counter(sent=0, received=0, lost=0, dropped=0,
                                    unknown=0)
        for i, sink in enumerate(self.sinks):
            mine = limit is None or i in touched
            self.account_sink(
                i, bad, total, delivered or not mine, named or not mine,
                exact if mine and exact is not None
                else self.traffic.reconnects[sink] == self.reconnects[sink])
        self.note("%(sent)d packets sent, %(received)d arrived, %(lost)d lost "
                  "in flight, %(dropped)d dropped" % total)
        if total["unknown"]:
            self.note("%d went with connections" % total["unknown"])
        self.check_flows(bad)
        if limit is not None:
            self.check_others(bad, touched, limit)
        self.check_rest(bad)
        if bad:
            raise Failure("; ".join(bad))

    def account_sink(self, i, bad, total, delivered, named, exact):
        name = self.names[i + 1]
        sent, received = (sum(flow.since()[what] for flow in self.flows_to(i))
                          for what in ("sent", "received"))
        c = {key: n - self.before[name].get(key, 0)
             for key, n in self.at_end[name].items()}
        # A port that was deleted has none of what was before.
        lost = max(self.lost(c), 0)
        total.update(sent=sent, received=received, lost=lost)
        if not exact or "tx_packets" not in c:
            total["unknown"] += sent - received - lost
            if received + lost > sent:
                bad.append("%s: %d sent, %d arrived, %d lost"
                           % (name, sent, received, lost))
            copied = (c.get("tx_async_dma_packets", 0)
                      + c.get("tx_async_cpu_packets", 0)
                      - c.get("tx_async_lost_drops", 0))
            if delivered and (copied > received or copied < received
                              and not self.stock_copies):
                bad.append("%s: %d copied, %d arrived"
                           % (name, copied, received))
            return
        arrived = c["tx_packets"]
        dropped = c["tx_dropped"] - lost
        by_name = sum(c.get(key, 0) for key in DROPS)
        total["dropped"] += dropped
        if arrived + dropped + lost != sent:
            bad.append("%s: %d sent; its counters: %d sent, %d dropped, %d "
                       "lost" % (name, sent, arrived, dropped, lost))
        if delivered and received != arrived:
            bad.append("%s: %d arrived, %d by its counters"
                       % (name, received, arrived))
        if by_name > dropped or named and by_name < dropped:
            bad.append("%s: %d dropped, %d of them for a named reason"
                       % (name, dropped, by_name))

    def flows_to(self, i):
        return [flow for flow in self.traffic.flows if flow.sink == i]

    def check_flows(self, bad):
        """No byte is wrong, and no packet comes before another."""
        for flow in self.traffic.flows:
            n = flow.since()
            if n["wrong"]:
                bad.append("flow %d: %d wrong, first %s"
                           % (flow.number, n["wrong"], flow.example))
            if n["reordered"]:
                bad.append("flow %d: %d out of order, first %s"
                           % (flow.number, n["reordered"], flow.example))

    def check_others(self, bad, touched, limit):
        """Who had nothing to do with it did not notice."""
        flows = [flow for flow in self.traffic.flows
                 if flow.sink not in touched]
        if not flows:
            return
        gap = max(flow.longest_gap for flow in flows)
        self.note("longest pause of the others %.2f s" % gap)
        if gap - self.watch.within(gap) > limit:
            bad.append("the traffic to others paused for %.2f s" % gap)

    def check_rest(self, bad):
        """What has nothing to do with single packets."""
        if self.in_flight():
            bad.append("%d copies are in flight" % self.in_flight())
        # The vhost library takes mbufs for a moment when it looks at a packed
        # ring for packets from the guest: each is to be seen full once.
        deadline = time.monotonic() + 5
        out = self.mempools()
        while True:
            now = self.mempools()
            out = {k: now[k] for k, v in out.items() if v and now.get(k)}
            if not out or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if out:
            bad.append("mbufs missing: %s" % out)
        if self.watch.worst > APPCTL_LIMIT:
            bad.append("ovs-appctl took %.2f s" % self.watch.worst)
        self.note("appctl at most %d ms" % (self.watch.worst * 1000))
        self.switch.vswitchd.check_alive()
        for line in self.log_lines(r"\|EMER\||assertion|backtrace"
                                   r"|\\x[0-9a-f]{2}"):
            bad.append("log: " + line)

    def log_lines(self, pattern):
        """Lines of the log of vswitchd, since begin()."""
        text = lablib.read(self.switch.log, "")[self.log_from:]
        return [line for line in text.splitlines()
                if re.search(pattern, line)]
