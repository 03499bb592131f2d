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

"""An Open vSwitch of its own: database and daemon of one build."""

import contextlib
import os
import re
import signal
import time

from dev.lab.basics import LabError, read, run
from dev.lab.process import Process


class Switch:
    """ovsdb-server and ovs-vswitchd of one build, in a namespace of this
    name."""

    BRIDGE = "br0"
    PROGRAMS = ("vswitchd/ovs-vswitchd", "ovsdb/ovsdb-server",
                "ovsdb/ovsdb-tool", "utilities/ovs-vsctl",
                "utilities/ovs-appctl", "utilities/ovs-ofctl")

    def __init__(self, lab, build, name="sw"):
        self.lab = lab
        self.name = name
        self.build = os.path.abspath(build)
        self.netns = lab.netns(name)
        self.vswitchd = None
        self.ovsdb = None
        self.dir = lab.run_dir
        if name != "sw":
            self.dir = lab.path(name)
            os.mkdir(self.dir)
        self.env = lab.rundir_env(self.dir)
        self.log = self.log_path("ovs-vswitchd")

    def path(self, name):
        return os.path.join(self.dir, name)

    def daemon_name(self, daemon):
        return daemon if self.name == "sw" else "%s-%s" % (daemon, self.name)

    def log_path(self, daemon):
        return self.lab.log_path(self.daemon_name(daemon))

    @classmethod
    def check_build(cls, build):
        for program in cls.PROGRAMS:
            if not os.access(os.path.join(build, program), os.X_OK):
                raise LabError("%s is missing in %s: build it first with "
                               "'make build'" % (program, build))
        cls.schema(build)

    @staticmethod
    def schema(build):
        makefile = read(os.path.join(build, "Makefile"), "")
        m = re.search(r"^abs_srcdir = (.*)$", makefile, re.M)
        path = os.path.join(m.group(1) if m else build,
                            "vswitchd/vswitch.ovsschema")
        if not os.path.exists(path):
            raise LabError("%s is missing: unpack and build the sources "
                           "again with 'make build'" % path)
        return path

    def program(self, name):
        for program in self.PROGRAMS:
            if os.path.basename(program) == name:
                return os.path.join(self.build, program)
        raise KeyError(name)

    def start_ovsdb(self):
        db = self.path("conf.db")
        run(self.program("ovsdb-tool"), "create", db,
            self.schema(self.build), env=self.env)
        sock = self.path("db.sock")
        self.ovsdb = Process(
            self.lab, self.daemon_name("ovsdb-server"),
            [self.program("ovsdb-server"), db, "--remote=punix:" + sock,
             "--pidfile", "--log-file=" + self.log_path("ovsdb-server"),
             "-vconsole:off"],
            netns=self.netns, daemon=True, env=self.env)
        self.wait_for(lambda: os.path.exists(sock), 10, self.ovsdb,
                      "ovsdb-server did not open its socket")
        self.vsctl("--no-wait", "init")

    def start(self, other_config=None, args=(), timeout=60):
        """Starts vswitchd (and the database when it is not there yet)."""
        if not self.ovsdb:
            self.start_ovsdb()
        for key, value in (other_config or {}).items():
            self.set(key, value, wait=False)
        self.vswitchd = Process(
            self.lab, self.daemon_name("ovs-vswitchd"),
            [self.program("ovs-vswitchd"),
             "unix:" + self.path("db.sock"),
             "--pidfile", "--log-file=" + self.log, "--no-chdir",
             "-vconsole:off", *args],
            netns=self.netns, daemon=True, env=self.env)
        self.wait_for(self.dpdk_initialized, timeout, self.vswitchd,
                      "ovs-vswitchd did not initialize DPDK")

    def dpdk_initialized(self):
        return self.vsctl("get", "Open_vSwitch", ".",
                          "dpdk_initialized").strip() == "true"

    def stop(self, timeout=10):
        """Has vswitchd exit.  A crash on the way out is a failure, too."""
        vswitchd, self.vswitchd = self.vswitchd, None
        if not vswitchd:
            return
        vswitchd.check_alive()
        self.appctl("exit", timeout=5)
        if not vswitchd._wait(timeout):
            vswitchd.kill()
            raise LabError("ovs-vswitchd did not exit within %d s" % timeout)
        status = vswitchd.popen.returncode
        vswitchd.kill()
        if status:
            raise LabError("ovs-vswitchd ended with %s" % (
                "exit status %d" % status if status > 0
                else signal.Signals(-status).name))

    @staticmethod
    def wait_for(condition, timeout, process, complaint, pause=0.05):
        deadline = time.monotonic() + timeout
        while not condition():
            if process:
                process.check_alive()
            if time.monotonic() > deadline:
                raise LabError("%s within %d s" % (complaint, timeout))
            time.sleep(pause)

    def vsctl(self, *args, timeout=30, **kwargs):
        if self.vswitchd:
            self.vswitchd.check_alive()
        return run(self.program("ovs-vsctl"),
                   "--db=unix:" + self.path("db.sock"),
                   "--timeout=%d" % timeout, *args, env=self.env,
                   timeout=timeout + 5, **kwargs)

    def set(self, key, value, wait=True):
        """Sets, or with None removes, a key of other_config."""
        wait = [] if wait else ["--no-wait"]
        if value is None:
            self.vsctl(*wait, "remove", "Open_vSwitch", ".", "other_config",
                       key)
        else:
            self.vsctl(*wait, "set", "Open_vSwitch", ".",
                       'other_config:%s="%s"' % (key, value))

    def appctl(self, *args, timeout=20, **kwargs):
        if self.vswitchd:
            self.vswitchd.check_alive()
        return run(self.program("ovs-appctl"), "-T", timeout, "-t",
                   "ovs-vswitchd", *args, env=self.env,
                   timeout=timeout + 5, **kwargs)

    def ofctl(self, *args, **kwargs):
        return run(self.program("ovs-ofctl"), *args, env=self.env,
                   **kwargs)

    def add_bridge(self, bridge=BRIDGE):
        self.vsctl("add-br", bridge, "--", "set", "Bridge", bridge,
                   "datapath_type=netdev", "fail_mode=secure")

    def has_bridge(self, bridge=BRIDGE):
        """Whether it is there again, after a restart."""
        with contextlib.suppress(LabError):
            self.ofctl("show", bridge)
            return True
        return False

    def add_port(self, name, kind, ofport, bridge=BRIDGE, **settings):
        """Settings whose names hold no ':' are options."""
        args = ["add-port", bridge, name, "--", "set", "Interface", name,
                "type=" + kind, "ofport_request=%d" % ofport]
        for key, value in settings.items():
            if key != "mtu_request":
                key = "options:" + key.replace("_", "-")
            args.append("%s=%s" % (key, value))
        self.vsctl(*args)
        error = self.get(name, "error")
        if error not in ("[]", '""'):
            raise LabError("port %s: %s" % (name, error))

    def add_vhost(self, name, path, ofport, mtu=9000):
        self.add_port(name, "dpdkvhostuserclient", ofport, mtu_request=mtu,
                      vhost_server_path=path)

    def add_nic(self, name, ifname, ofport, mtu=9000):
        """A port that a PMD thread polls, on an end of a veth pair.

        A system port would be handled by the main thread, which owns no DMA
        channel.  Of the DPDK drivers that take a kernel interface only
        net_pcap takes frames of 9000 bytes."""
        self.add_port(name, "dpdk", ofport, mtu_request=mtu,
                      dpdk_devargs='"net_pcap_%s,iface=%s"' % (name, ifname))

    def get(self, interface, column):
        return self.vsctl("get", "Interface", interface, column).strip()

    def statistics(self, interface):
        """The statistics column, as a dictionary of integers."""
        text = self.get(interface, "statistics")
        return {key: int(value) for key, value
                in re.findall(r'"?([^\s{",=]+)"?=(-?\d+)', text)}

    def sent_now(self, interface, bridge=BRIDGE):
        """How many packets went out of a port, without the delay of the
        database."""
        text = self.ofctl("dump-ports", bridge, interface)
        m = re.search(r"tx pkts=(\d+)", text)
        return int(m.group(1)) if m else 0

    def counters(self, interface, bridge=BRIDGE):
        """The counters of a port as they are, not as the database has
        them."""
        text = self.ofctl("-O", "OpenFlow14", "dump-ports", bridge, interface)
        found = {key: int(value) for key, value
                 in re.findall(r"(\w+)=(\d+)", text[text.find("CUSTOM"):])}
        # Of dpdkvhostuser ports Open vSwitch 3.1 knows none of these.
        m = re.search(r"rx pkts=(\d+),.*tx pkts=(\d+),[^\n]*drop=(\d+)", text,
                      re.S)
        if m:
            found.update(rx_packets=int(m[1]), tx_packets=int(m[2]),
                         tx_dropped=int(m[3]))
        return found

    def state(self, interfaces):
        """What there is to see of DMA after a failure, in lines."""
        lines = []
        with contextlib.suppress(Exception):
            lines += self.appctl("dpif-netdev/dma-show").splitlines()
            for interface in interfaces:
                lines.append("%s: %s" % (interface, {
                    k: v for k, v in self.counters(interface).items()
                    if v and "_q0_" not in k}))
        return lines

    def settled_statistics(self, interfaces, timeout=15,
                           meanwhile=lambda: None):
        """The statistics of several interfaces, once the database, which
        follows every five seconds, has caught up and nothing is in
        flight.  When that does not come to pass: as they are."""
        deadline = time.monotonic() + timeout
        want = {i: self.sent_now(i) for i in interfaces}
        while True:
            stats = {i: self.statistics(i) for i in interfaces}
            if (all(s.get("tx_packets") == want[i]
                    and not s.get("tx_async_in_flight")
                    for i, s in stats.items())
                    or time.monotonic() > deadline):
                return stats
            meanwhile()
            time.sleep(0.2)

    def link_up(self, interface):
        return self.get(interface, "link_state") == "up"
