# From the distribution's packages to ours and back, on a host that boot.py
# booted: python3 -m dev.deb.journey ENGINE
# A line per step.  The commands are those of the documentation.

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import time

from dev.common.children import capture, child_env
from dev.common.command import main
from dev.common.files import ROOT, read, tail, write
from dev.deb.package import our_version
from dev.release import debian

OURS = "/srv/packages"
LIST = "/etc/apt/sources.list.d/vhost-async.list"
SWITCH = "openvswitch-switch-dpdk"
DPDK_VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
DEFAULT = "/etc/default/openvswitch-switch"
DROP_IN = "/etc/systemd/system/ovsdb-server.service.d/user.conf"
PORTS = ("v0", "v1")
BACK = r"""apt-get install -y -q --allow-downgrades \
    $(dpkg-query -W -f '${Version} ${Package}\n' |
        awk -v r=%s '$1 ~ /vhostasync/ { print $2 "/" r }')"""
USER = "openvswitch"

# What dpkg, apt and the journal note of all packages, and our own.
NOT_THEIRS = re.compile(r"/(proc|sys|dev|run|tmp|srv)(/|$)|/boot\.log$"
                        r"|/var/(lib/(dpkg|apt|systemd)|cache|log"
                        r"|tmp)(/|$)|/etc/ld\.so\.cache$|.*/__pycache__(/|$)")


class Failure(Exception):
    """What did not come out as it must."""


def sh(*command):
    """Runs a command that must succeed; returns its output."""
    status, text = capture(list(command),
                           env=child_env(DEBIAN_FRONTEND="noninteractive"))
    if status:
        raise Failure("'%s' failed: %s" % (" ".join(command),
                                           text.strip()[-2000:]))
    return text


def apt_get(*args):
    return sh("apt-get", "-y", "-q", "--no-install-recommends", *args)


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure("%s, for %d s" % (what, seconds))
        time.sleep(0.2)


# The switch.

def vsctl(*args):
    return sh("ovs-vsctl", "--timeout=30", *args).strip()


def statistics(port):
    return {key: int(value) for key, value in re.findall(
        r"(\w+)=(\d+)", vsctl("get", "Interface", port, "statistics"))}


def passing(port):
    """How many packets went to the guest, as OpenFlow counts: now."""
    m = re.search(r"tx pkts=(\d+)", sh("ovs-ofctl", "dump-ports", "br0", port))
    return int(m[1]) if m else 0


def configuration():
    """All that somebody configured, but for flows."""
    return "\n".join([
        vsctl("--columns=name,datapath_type,fail_mode", "list", "Bridge"),
        vsctl("--columns=name,type,options,ofport_request", "list",
              "Interface"),
        vsctl("get", "Open_vSwitch", ".", "other_config")])


def flows():
    return sorted(sh("ovs-ofctl", "--no-stats", "dump-flows",
                     "br0").splitlines())


def running():
    """The program that is the running switch."""
    pid = read("/run/openvswitch/ovs-vswitchd.pid").strip()
    return os.path.realpath("/proc/%s/exe" % pid) if pid else ""


def expect_version(version):
    found = sh("dpkg-query", "-W", "-f", "${Version}", SWITCH)
    if found != version:
        raise Failure("%s is %s, and not %s" % (SWITCH, found, version))
    if running() != DPDK_VSWITCHD:
        raise Failure("what runs is '%s', and not %s" % (running(),
                                                         DPDK_VSWITCHD))


# The guest.

class Guest:
    """testpmd, which is there all the time, and waits for the switch."""

    def __init__(self):
        self.log = open("/srv/guest.log", "w")
        self.child = subprocess.Popen(
            ["nice", "-n", "19", "dpdk-testpmd", "--lcores", "0@0,1@0",
             "--no-pci", "--in-memory", "--single-file-segments", "-m", "256"]
            + [word for i, port in enumerate(PORTS) for word in (
                "--vdev", "net_virtio_user%d,path=/srv/%s.sock,server=1"
                % (i, port))]
            + ["--", "-i", "--total-num-mbufs=4096", "--txpkts=1400"],
            stdin=subprocess.PIPE, stdout=self.log, stderr=self.log,
            text=True)

    def say(self, text):
        print(text, file=self.child.stdin, flush=True)

    def send(self):
        """Sends a burst, which then goes in a circle through the switch."""
        self.say("stop")
        self.say("start tx_first 4")

    def end(self):
        with contextlib.suppress(OSError, ValueError):
            self.say("stop")
            self.say("quit")
            self.child.stdin.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def expect_traffic(guest):
    """Packets go to the guest and come back from it."""
    for port in PORTS:
        wait_for("the guest is not back at port %s" % port,
                 lambda port=port: vsctl("get", "Interface", port,
                                         "link_state") == "up")
    # A burst that is sent while the guest is not quite back is lost.
    for _ in range(6):
        guest.send()
        before = {port: passing(port) for port in PORTS}
        for _ in range(10):
            time.sleep(0.5)
            if all(passing(port) > before[port] + 1000 for port in PORTS):
                return
    raise Failure("no packets go to the guest; its end is:\n"
                  + tail("/srv/guest.log", 8))


# The steps.

def files():
    """All that is on the host, but for what no package is asked for."""
    found = set()
    for where, folders, names in os.walk("/"):
        paths = {os.path.join(where, name) for name in names + folders}
        found |= {path for path in paths if path != ROOT
                  and not NOT_THEIRS.match(path)}
        folders[:] = [name for name in folders
                      if os.path.join(where, name) in found]
    return found


def installed():
    """The packages of Open vSwitch."""
    return re.findall(r"^installed (\S*openvswitch\S*)$", sh(
        "dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"), re.M)


class Journey:
    """'ours' and 'theirs' are versions; 'rest' is what the distribution's
    packages leave when they are purged."""

    def __init__(self, engine):
        self.engine = engine
        self.theirs = re.search(r"Candidate: (\S+)", sh(
            "apt-cache", "policy", SWITCH))[1]
        self.ours = our_version(self.theirs, engine)
        self.before = files()
        self.rest = set()
        self.guest = None
        self.configured = ""
        self.flows = []
        self.flows_stay = None

    def what_theirs_leaves(self):
        """the distribution's packages installed and purged"""
        apt_get("install", SWITCH)
        apt_get("purge", "--autoremove", *installed())
        self.rest = files() - self.before

    def stock(self):
        """the distribution's packages, a bridge, a guest, traffic"""
        apt_get("install", SWITCH)
        sh("update-alternatives", "--set", "ovs-vswitchd", DPDK_VSWITCHD)
        vsctl("--no-wait", "set", "Open_vSwitch", ".",
              'other_config:dpdk-extra="--no-pci '
              '--vdev=dma_skeleton0,lcore=0"',
              "other_config:dpdk-lcore-mask=0x1",
              "other_config:pmd-cpu-mask=0x2",
              "other_config:dpdk-socket-mem=512",
              "other_config:dpdk-init=true")
        sh("systemctl", "restart", "openvswitch-switch")
        expect_version(self.theirs)
        vsctl("add-br", "br0", "--", "set", "Bridge", "br0",
              "datapath_type=netdev", "fail_mode=secure")
        for port in PORTS:
            vsctl("add-port", "br0", port, "--", "set", "Interface", port,
                  "type=dpdkvhostuserclient",
                  "options:vhost-server-path=/srv/%s.sock" % port)
        for a, b in (PORTS, PORTS[::-1]):
            sh("ovs-ofctl", "add-flow", "br0",
               "in_port=%s,actions=output:%s" % (a, b))
        self.guest = Guest()
        expect_traffic(self.guest)
        self.configured = configuration()
        self.flows = flows()

    def reinstall(self):
        """the distribution's packages once more: what a restart keeps"""
        apt_get("install", "--reinstall", *installed())
        expect_version(self.theirs)
        self.expect_same()

    def expect_same(self):
        """Of flows, the same as when the distribution's packages restart the
        daemon; then a controller, or a file, sets those that are gone."""
        found = configuration()
        if found != self.configured:
            raise Failure("what was configured as\n%s\nis now\n%s"
                          % (self.configured, found))
        stay = flows() == self.flows
        if self.flows_stay not in (None, stay):
            raise Failure("flows %s when the distribution's packages are "
                          "installed once more, and now it is the other way"
                          % ("stay" if self.flows_stay else "go"))
        self.flows_stay = stay
        write("/srv/flows", "\n".join(self.flows) + "\n")
        sh("ovs-ofctl", "add-flows", "br0", "/srv/flows")
        if flows() != self.flows:
            raise Failure("the flows are not\n%s\nbut\n%s" % (
                "\n".join(self.flows), "\n".join(flows())))

    def upgrade(self):
        """upgraded with the daemon running: all is there, and it is off"""
        write(LIST, "deb [trusted=yes] file:%s ./\n" % OURS)
        sh("apt-get", "update", "-q", "-o", "Dir::Etc::sourcelist=" + LIST,
           "-o", "Dir::Etc::sourceparts=-", "-o",
           "APT::Get::List-Cleanup=false")
        apt_get("install", SWITCH)
        expect_version(self.ours)
        self.expect_same()
        expect_traffic(self.guest)
        shown = sh("ovs-appctl", "dpif-netdev/dma-show")
        if not shown.startswith("vhost-async-support: false, completion "
                                "engine: " + self.engine):
            raise Failure("dma-show says:\n" + shown)
        keys = [key for key in statistics("v0") if "async" in key]
        if keys or "vhost_async" in vsctl("get", "Interface", "v0", "status"):
            raise Failure("it is off, and v0 has %s" % (keys or "a status"))

    def turn_on(self):
        """turned on: traffic by DMA"""
        vsctl("set", "Open_vSwitch", ".",
              "other_config:vhost-async-support=true",
              "other_config:vhost-async-threshold=1024")
        self.expect_dma()
        self.configured = configuration()

    def expect_dma(self):
        for port in PORTS:
            wait_for("port %s is not on DMA" % port,
                     lambda port=port: "vhost_async=DMA" in vsctl(
                         "get", "Interface", port, "status"))
        before = self.by_dma()
        expect_traffic(self.guest)
        if self.by_dma() < before + 1000:
            raise Failure("dma-show says:\n" + sh(
                "ovs-appctl", "dpif-netdev/dma-show"))

    @staticmethod
    def by_dma():
        return sum(int(n) for n in re.findall(
            r"^  copies by DMA: (\d+) packets", sh(
                "ovs-appctl", "dpif-netdev/dma-show"), re.M))

    def other_user(self):
        """by a user of its own: traffic by DMA"""
        sh("useradd", "--system", USER)
        for path in ("/etc/openvswitch", "/var/lib/openvswitch",
                     "/var/log/openvswitch", "/run/openvswitch"):
            sh("chown", "-R", "-h", USER + ":", path)
        # The unit makes it anew, for root.
        os.makedirs(os.path.dirname(DROP_IN))
        write(DROP_IN, "[Service]\nRuntimeDirectory=\n"
              "ExecStartPre=/usr/bin/install -d -o %s -g %s "
              "/run/openvswitch\n" % (USER, USER))
        sh("systemctl", "daemon-reload")
        sh("chgrp", USER, "/dev/hugepages")
        sh("chmod", "g+rwx", "/dev/hugepages")
        for port in PORTS:
            os.chmod("/srv/%s.sock" % port, 0o666)
        default = read(DEFAULT)
        write(DEFAULT, default + 'OVS_CTL_OPTS="--ovs-user=%s:%s"\n'
              % (USER, USER))
        sh("systemctl", "restart", "openvswitch-switch")
        self.expect_same()
        found = sh("ps", "-o", "user=", "-C", "ovs-vswitchd").split()
        if found != [USER]:
            raise Failure("ovs-vswitchd runs by %s" % found)
        self.expect_dma()
        write(DEFAULT, default)
        shutil.rmtree(os.path.dirname(DROP_IN))
        sh("systemctl", "daemon-reload")
        sh("systemctl", "restart", "openvswitch-switch")
        self.expect_same()

    def downgrade(self):
        """back to the distribution's: unknown keys do no harm"""
        os.unlink(LIST)
        sh("sh", "-c", BACK % debian.here().name)
        expect_version(self.theirs)
        self.expect_same()
        expect_traffic(self.guest)
        status, _ = capture(["ovs-appctl", "dpif-netdev/dma-show"])
        if not status:
            raise Failure("dpif-netdev/dma-show is still a command")

    def purge(self):
        """upgraded once more, and purged: nothing is left"""
        write(LIST, "deb [trusted=yes] file:%s ./\n" % OURS)
        apt_get("install", SWITCH)
        expect_version(self.ours)
        self.expect_same()
        expect_traffic(self.guest)
        self.guest.end()
        apt_get("purge", "--autoremove", *installed())
        os.unlink(LIST)
        left = sorted(files() - self.before - self.rest)
        if left:
            raise Failure("left over: " + " ".join(left))

    def sorts(self):
        """the version sorts above the distribution's and below its next"""
        for later in ("+b9", "+deb13u1", "+deb12u9", ".1"):
            if capture(["dpkg", "--compare-versions", self.ours, "lt",
                        re.sub(r"\+b\d+$", "", self.theirs) + later])[0]:
                raise Failure("%s is not below %s%s" % (self.ours,
                                                        self.theirs, later))
        if capture(["dpkg", "--compare-versions", self.ours, "gt",
                    self.theirs])[0]:
            raise Failure("%s is not above %s" % (self.ours, self.theirs))

    def steps(self):
        return (self.sorts, self.what_theirs_leaves, self.stock,
                self.reinstall, self.upgrade, self.turn_on, self.other_user,
                self.downgrade, self.purge)


def excerpts():
    """What to look at when a step failed."""
    _, units = capture(["systemctl", "--no-pager", "status",
                        "ovsdb-server.service", "ovs-vswitchd.service"])
    return "\n".join([units] + [tail(log, 20) for log in glob.glob(
        "/var/log/openvswitch/*.log")])


def run_command():
    journey = Journey(sys.argv[1])
    try:
        for step in journey.steps():
            begin = time.monotonic()
            try:
                step()
            except Failure as e:
                print("FAILED: %s: %s\n%s" % (step.__doc__, e, excerpts()))
                return 1
            print("passed: %s (%d s)" % (step.__doc__,
                                         time.monotonic() - begin),
                  flush=True)
    finally:
        if journey.guest:
            journey.guest.end()
    return 0


if __name__ == "__main__":
    main(run_command)
