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

# What the scenarios have in common: a switch with a software DMA engine,
# guests on it, a host next to it, and how these talk to each other.

import hashlib
import os
import re
import signal
import time

from dev import lab as lablib
from dev.dma_model import plugin
from dev.guests import image
from dev.guests.qemu import Guest
from dev.lab import run

SWITCH_MB = 640
FILE_MB = 20
HTTP_PORT = 80

SERVER = """\
import http.server
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
http.server.HTTPServer(("", %d), Handler).serve_forever()
""" % HTTP_PORT

CLIENT = """\
import hashlib, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as f:
    print(hashlib.sha256(f.read()).hexdigest())
"""

# In the log of the switch, by a file of ours, or the worst by any.
OUR_WARNING = re.compile(
    r"^.*\|(?:EMER\||(?:dpdk_dma_dev|dpdk_dma_map|netdev_dpdk_async\w*|"
    r"vhost_async\w*|dpif_netdev_dma)(?:\([^)]*\))?\|(?:WARN|ERR)\|).*$",
    re.M)
# On the console of a guest.
GUEST_ERROR = re.compile(r"^.*(?:Oops|BUG:|WARNING: CPU|is not a head|"
                         r"out of range|Kernel panic|Call Trace).*$", re.M)


class Failure(Exception):
    """What a scenario found to be wrong."""


class Host:
    """A network namespace with a cable to the switch.  It talks like a
    guest."""

    short = "host"
    number = 100

    def __init__(self, lab, switch, mtu):
        self.lab, self.switch, self.mtu = lab, switch, mtu
        self.netns = lab.netns("host")
        lab.veth("sw-host", self.netns, "eth0", [address(self) + "/24"], mtu)
        switch.add_nic("host", "sw-host", self.number, mtu)
        self.dir = lab.path("www")
        os.mkdir(self.dir)
        self.server = lab.process(
            "HTTP server", ["sh", "-c", 'cd "$0" && exec "$@"', self.dir,
                            "/usr/bin/python3", "-c", SERVER],
            netns=self.netns, daemon=True, log=lab.log_path("http"))

    def execute(self, *args, timeout=60, **kwargs):
        return run("ip", "netns", "exec", self.netns, *args, timeout=timeout,
                   **kwargs)

    def process(self, name, *args, **kwargs):
        return self.lab.process(name, args, netns=self.netns, **kwargs)

    def ping(self, other, count, size):
        return self.execute("ping", "-c", count, "-i", "0.2", "-W", 5, "-s",
                            size, address(other), check=False)

    def make_file(self, megabytes):
        data = os.urandom(megabytes << 20)
        with open(os.path.join(self.dir, "file"), "wb") as f:
            f.write(data)
        return hashlib.sha256(data).hexdigest()

    def fetch(self, other):
        return self.execute("/usr/bin/python3", "-c", CLIENT,
                            "http://%s/file" % address(other)).strip()


class TalkingGuest(Guest):
    """A guest that can do what a Host can."""

    mtu = 1500

    def configure(self):
        self.sh("ip addr add %s/24 dev eth0" % address(self))
        self.sh("ip link set eth0 up mtu %d" % self.mtu)

    def ping(self, other, count, size):
        return self.sh("ping -c %d -i 0.2 -W 5 -s %d %s"
                       % (count, size, address(other)), check=False)

    def make_file(self, megabytes):
        self.sh("head -c %d /dev/urandom > /tmp/file" % (megabytes << 20))
        return self.sh("sha256sum < /tmp/file").split()[0]

    def wait_for_end(self, program):
        self.sh("while pidof %s > /dev/null; do sleep 0.1; done" % program,
                timeout=120)

    def start_receiver(self, mode):
        """Receives datagrams from now on.  See datagrams.c."""
        self.sh("rm -f /tmp/stop")
        self.background("datagrams %s /tmp/stop > /tmp/received 2>&1" % mode)

    def stop_receiver(self):
        """Returns what it told."""
        self.sh("touch /tmp/stop")
        self.wait_for_end("datagrams")
        return self.sh("cat /tmp/received")

    def stop_holding(self):
        """Returns how many datagrams it held, and how often it looked at
        them."""
        text = self.stop_receiver()
        m = re.fullmatch(r"(\d+) datagrams, looked at (\d+) times, 0 bad",
                         text)
        if not m:
            raise Failure("datagrams that %s held: %s" % (self.short, text))
        return int(m[1]), int(m[2])

    def start_fetch(self, other):
        return self.start("wget -q -O /tmp/got http://%s/file && "
                          "sha256sum < /tmp/got" % address(other))

    def finish_fetch(self, started):
        return self.finish(started, timeout=120).split()[0]

    def fetch(self, other):
        return self.finish_fetch(self.start_fetch(other))


def address(who):
    return "192.0.2.%d" % who.number


class World:
    """A switch, its guests, and what was found out about them."""

    def __init__(self, lab, args, config=None, mtu=1500, frames=None,
                 fail_mode="secure", memory=SWITCH_MB, model=False, rx=False,
                 **guest):
        """With 'model', there are two engines that can be had to hang; with
        'rx', what guests send is copied by DMA, too."""
        self.lab, self.mtu, self.memory = lab, mtu, memory
        self.build = args.build
        # The size of a frame with a full segment: at least, at most.
        self.frames = frames or (mtu * 4 // 5, mtu + 14)
        self.guest_settings = guest
        self.figures = []
        self.guests = []
        self.host = None
        # A regular expression: warnings in the log that are no failure.
        self.expected = None
        self.settings = {"vhost-async-support": "true",
                         "vhost-async-threshold": "1024",
                         "per-port-memory": "true"}
        self.rx = rx
        if rx:
            self.settings["vhost-async-rx"] = "true"
        self.settings.update(config or {})
        self.switches = []
        # By the names of ports, those of others than the first.
        self.other_switch = {}
        self.pages = [lab.path("dma%d" % i) for i in range(2 * model)]
        self.switch = self.start_switch("sw", fail_mode, self.engines())

    def engines(self):
        """The arguments of EAL for engines of the model, or True."""
        if not self.pages:
            return True
        return "-d %s %s" % (
            os.path.realpath(plugin.LIBRARY),
            " ".join("--vdev=dma_model%d,copy=late,latency_us=20,control=%s"
                     % (i, path) for i, path in enumerate(self.pages)))

    def start_switch(self, name, fail_mode="secure", dma=True):
        self.lab.need_memory(self.memory)
        switch = self.lab.start_switch(self.build, dma=dma, name=name,
                                       other_config=self.settings,
                                       memory=self.memory)
        self.switches.append(switch)
        switch.add_bridge()
        switch.vsctl("set-fail-mode", "br0", fail_mode)
        if fail_mode == "secure":
            switch.ofctl("add-flow", "br0", "actions=normal")
        return switch

    def add_switch(self, name):
        """A second one, with a cable to the first."""
        switch = self.start_switch(name)
        ends = "to-" + name, "from-" + name
        self.lab.veth(ends[0], switch.netns, ends[1], mtu=self.mtu)
        self.switch.add_nic("trunk", ends[0], 200, self.mtu)
        switch.add_nic("trunk", ends[1], 200, self.mtu)
        return switch

    def switch_of(self, port):
        return self.other_switch.get(port, self.switch)

    def note(self, text, *args):
        self.figures.append(text % args)

    def add_host(self):
        self.host = Host(self.lab, self.switch, self.mtu)
        return self.host

    def add_guest(self, name, switch=None, **kwargs):
        """Starts a guest on a port of the same name.  See boot()."""
        guest = self._start_guest(name, **kwargs)
        if switch:
            self.other_switch[name] = switch
        self.switch_of(name).add_vhost(name, guest.path, len(self.guests),
                                       mtu=self.mtu)
        guest.connect()
        return guest

    def _start_guest(self, name, **kwargs):
        settings = dict(self.guest_settings, **kwargs)
        settings.setdefault("number", len(self.guests) + 1)
        guest = TalkingGuest(self.lab, name, self.lab.path(name + ".sock"),
                             **settings)
        guest.mtu = self.mtu
        self.guests.append(guest)
        guest.wait_listening()
        return guest

    def replace_guest(self, old):
        """Another QEMU on the port of one that is gone."""
        self.guests.remove(old)
        guest = self._start_guest(old.short, number=old.number)
        guest.connect()
        return guest

    def boot(self, *guests):
        for guest in guests:
            guest.boot()
            guest.configure()
            guest.sh("httpd -h /tmp")
        for guest in guests:
            self.wait_on_dma(guest)

    def wait(self, condition, seconds, complaint):
        lablib.Switch.wait_for(condition, seconds, self.switch.vswitchd,
                               complaint)

    def wait_on_dma(self, guest, seconds=10):
        self.wait(lambda: self.port_line(guest.short) == "DMA", seconds,
                  "the port %s is not on DMA" % guest.short)

    def port_line(self, name):
        """What dma-show says of a port, or None, also when there is no
        switch."""
        m = re.search(r"^port %s: (.*)$" % name,
                      self.switch_of(name).appctl("dpif-netdev/dma-show",
                                                  check=False),
                      re.M)
        return m[1] if m else None

    def dma_packets(self, name):
        return self.counters(name)["tx_async_dma_packets"]

    def counters(self, port):
        return self.switch_of(port).counters(port)

    def check_idle(self):
        """All traffic has stopped: nothing may be in flight."""
        def idle():
            shown = [re.findall(r"in flight: (\d+)",
                                switch.appctl("dpif-netdev/dma-show"))
                     for switch in self.switches]
            return all(n and set(n) == {"0"} for n in shown)

        self.wait(idle, 5, "copies stay in flight")

    def finish(self):
        """What a scenario does not look at, with all else in order."""
        errors = []
        for switch in self.switches:
            errors += re.findall(r"errors: [1-9]\d*",
                                 switch.appctl("dpif-netdev/dma-show"))
        for guest in self.guests:
            if guest.alive():
                counters = self.counters(guest.short)
                errors += ["%s=%d for %s" % (key, value, guest.short)
                           for key, value in counters.items() if value
                           and re.match("(tx|rx)_async_.*(lost|ring_drops|"
                                        "bad_drops)", key)]
        for switch in self.switches:
            switch.stop()
            errors += [line for line
                       in OUR_WARNING.findall(lablib.read(switch.log))
                       if not self.expected
                       or not re.search(self.expected, line)]
        for guest in self.guests:
            errors += GUEST_ERROR.findall(lablib.read(guest.console))
        if errors:
            raise Failure("at the end: " + "; ".join(errors[:5]))

    def close(self):
        for guest in self.guests:
            guest.kill()


def ping(a, b, count=5, size=None):
    """All must be answered, once."""
    text = a.ping(b, count, size or a.mtu - 100)
    if (not re.search(r" %d (packets )?received" % count, text)
            or re.search("dup", text, re.I)):
        raise Failure("ping from %s to %s: %s"
                      % (a.short, b.short, " ".join(text.splitlines()[-2:])))


def check_file(to, of, got, checksum):
    if got != checksum:
        raise Failure("the file that %s got from %s has the checksum %s "
                      "instead of %s" % (to.short, of.short, got, checksum))


def check_copied(w, who, way, before, megabytes):
    """Most of a file went to or came from a guest by DMA."""
    after = w.counters(who.short)
    copied, copied_bytes = (
        after[key] - before[key] for key in
        (way + "_async_dma_packets", way + "_async_dma_bytes"))
    # Short frames, such as a few at the end of a window, go by CPU.
    if w.port_line(who.short) != "DMA" or copied_bytes < (megabytes << 20) / 2:
        raise Failure("%d bytes %s %s were copied by DMA, of a file of %d "
                      "MB; the port is on %s"
                      % (copied_bytes, "to" if way == "tx" else "from",
                         who.short, megabytes, w.port_line(who.short)))
    size = copied_bytes // copied
    w.note("%d packets of %d bytes by DMA%s", copied, size,
           "" if way == "tx" else " from " + who.short)
    if not w.frames[0] <= size <= w.frames[1]:
        raise Failure("packets of %d bytes on average went %s %s, but %d to "
                      "%d were expected"
                      % (size, "to" if way == "tx" else "from", who.short,
                         *w.frames))


def deliver(w, to, of, megabytes=FILE_MB):
    """A file goes over TCP, and by DMA if it goes to a guest, or comes from
    one and receiving is by DMA."""
    checksum = of.make_file(megabytes)
    copies = [(who, way, w.counters(who.short))
              for who, way, by_dma in ((to, "tx", True), (of, "rx", w.rx))
              if by_dma and who is not w.host]
    begin = time.monotonic()
    check_file(to, of, to.fetch(of), checksum)
    w.note("%d MB to %s: %.1f s", megabytes, to.short,
           time.monotonic() - begin)
    for who, way, before in copies:
        check_copied(w, who, way, before, megabytes)


def talk(w, a, b, megabytes=FILE_MB):
    """Pings and a file, both ways."""
    ping(a, b)
    ping(b, a)
    deliver(w, a, b, megabytes)
    deliver(w, b, a, megabytes)
    w.check_idle()


def two_guests(w):
    a, b = w.add_guest("g1"), w.add_guest("g2")
    w.boot(a, b)
    return a, b


def guest_and_host(w):
    host, guest = w.add_host(), w.add_guest("g1")
    w.boot(guest)
    return guest, host


def wait_for_traffic(w, port):
    """Packets get to the guest again."""
    switch = w.switch_of(port)
    before = switch.sent_now(port)
    w.wait(lambda: switch.sent_now(port) > before + 100, 20,
           "traffic to %s does not go on" % port)


def set_option(w, port, value):
    w.switch_of(port).vsctl("set", "Interface", port,
                            "options:vhost-async=" + value)
    w.wait(lambda: (w.port_line(port) == "DMA") == (value == "true"), 10,
           "the port does not follow options:vhost-async=" + value)


class Datagrams:
    """A stream of datagrams from the host to a guest, one every millisecond,
    for as long as the context lasts and until they arrive again.  Then 'pause'
    tells for how many milliseconds none came."""

    INTERVAL_US = 1000

    def __init__(self, w, guest):
        self.w, self.guest = w, guest

    def __enter__(self):
        self.guest.start_receiver("gaps")
        self.sender = self.w.host.process(
            "datagrams", image.program("datagrams"), "send",
            address(self.guest), 1 << 30, self.INTERVAL_US, 1400,
            capture=True)
        wait_for_traffic(self.w, self.guest.short)
        return self

    def __exit__(self, kind, value, traceback):
        if kind:
            return
        wait_for_traffic(self.w, self.guest.short)
        self.sender.check_alive()
        self.sender.signal(signal.SIGINT)
        sent = int(self.sender.popen.stdout.read().split()[0])
        self.sender.kill()
        time.sleep(0.3)
        text = self.guest.stop_receiver()
        m = re.fullmatch(r"(\d+) datagrams from (\d+) on, 0 bad, longest gap "
                         r"(\d+) us", text)
        if not m or int(m[1]) < 100:
            raise Failure("datagrams from the host to %s: %s"
                          % (self.guest.short, text))
        # Some may have waited in a queue of the host, and come late.
        lost = sent - int(m[2]) - int(m[1])
        self.pause = max(lost * self.INTERVAL_US, int(m[3])) / 1000
