# From the distribution's packages to ours and back, on a host that boot.py
# booted: python3 -m dev.deb.journey ENGINE
# A line per step.  The host has no network: what it installs was downloaded
# before.  There is no laboratory of dev/lab here: the switch is the host's.

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
from dev.deb.source import SWITCH, newer
from dev.release import debian

SWITCH_MB = 512
GUEST_MB = 256

OURS = "/srv/packages"
LIST = "/etc/apt/sources.list.d/vhost-async.list"
ENTRY = "deb [trusted=yes] file:%s ./\n" % OURS
UNIT = "/usr/lib/systemd/system/ovsdb-server.service"
DPDK_VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
DEFAULT = "/etc/default/openvswitch-switch"
DROP_IN = "/etc/systemd/system/ovsdb-server.service.d/user.conf"
PORTS = ("v0", "v1")
BACK = r"""apt-get install -y -q --allow-downgrades \
    $(dpkg-query -W -f '${db:Status-Status} ${Version} ${Package}\n' |
        awk -v r=%s '/^installed .*vhostasync/ { print $3 "/" r }')"""
USER = "openvswitch"

# What dpkg, apt and the journal note of all packages, and our own.
NOT_THEIRS = re.compile(
    r"/(proc|sys|dev|run|tmp|srv)(/|$)|/boot\.log$|.*/__pycache__(/|$)"
    r"|/var/(lib/(dpkg|apt|systemd)|cache|tmp|log/(apt|journal))(/|$)"
    r"|/var/log/(dpkg|alternatives)\.log$|/etc/ld\.so\.cache$")


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


def version(package):
    return sh("dpkg-query", "-W", "-f", "${Version}", package)


def expect_version(wanted):
    if version(SWITCH) != wanted:
        raise Failure("%s is %s, and not %s" % (SWITCH, version(SWITCH),
                                                wanted))
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
             "--no-pci", "--in-memory", "--single-file-segments", "-m",
             str(GUEST_MB)]
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
    """'ours' and 'theirs' are versions; 'left_by_theirs' is what the
    distribution's packages leave when they are purged."""

    def __init__(self, engine):
        self.engine = engine
        self.theirs = re.search(r"Candidate: (\S+)", sh(
            "apt-cache", "policy", SWITCH))[1]
        self.ours = sh("dpkg-deb", "-f", *glob.glob(
            "%s/%s_*.deb" % (OURS, SWITCH)), "Version").strip()
        self.before = files()
        self.left_by_theirs = set()
        self.guest = None
        self.configured = ""
        self.flows = []

    def what_theirs_leaves(self):
        """the distribution's packages installed and purged"""
        apt_get("install", SWITCH)
        apt_get("purge", "--autoremove", *installed())
        self.left_by_theirs = files() - self.before

    def stock(self):
        """the distribution's packages, a bridge, a guest, traffic"""
        apt_get("install", SWITCH)
        sh("update-alternatives", "--set", "ovs-vswitchd", DPDK_VSWITCHD)
        vsctl("--no-wait", "set", "Open_vSwitch", ".",
              'other_config:dpdk-extra="--no-pci '
              '--vdev=dma_skeleton0,lcore=0"',
              "other_config:dpdk-lcore-mask=0x1",
              "other_config:pmd-cpu-mask=0x2",
              "other_config:dpdk-socket-mem=%d" % SWITCH_MB,
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
        """Flows go when a package restarts the daemon, the distribution's as
        ours, until a controller, or a file, sets them."""
        found = configuration()
        if found != self.configured:
            raise Failure("what was configured as\n%s\nis now\n%s"
                          % (self.configured, found))
        if flows():
            raise Failure("flows stayed, which the documentation does not "
                          "know: " + " ".join(flows()))
        write("/srv/flows", "\n".join(self.flows) + "\n")
        sh("ovs-ofctl", "add-flows", "br0", "/srv/flows")
        if flows() != self.flows:
            raise Failure("the flows are not\n%s\nbut\n%s" % (
                "\n".join(self.flows), "\n".join(flows())))

    def upgrade(self):
        """upgraded with the daemon running: all is there, and it is off"""
        write(LIST, ENTRY)
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
              "other_config:vhost-async-threshold=1024",
              "other_config:vhost-async-timeout=2000",
              'other_config:vhost-async-dma-map="1@dma_skeleton0"')
        vsctl("set", "Interface", "v1", "options:vhost-async=true")
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
        # Where the unit makes /run/openvswitch anew, for root.
        os.makedirs(os.path.dirname(DROP_IN))
        if "RuntimeDirectory=" in read(UNIT):
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
        log = "/var/log/openvswitch/ovs-vswitchd.log"
        before = len(read(log))
        sh("sh", "-c", BACK % debian.here().name)
        expect_version(self.theirs)
        self.expect_same()
        expect_traffic(self.guest)
        status, _ = capture(["ovs-appctl", "dpif-netdev/dma-show"])
        if not status:
            raise Failure("dpif-netdev/dma-show is still a command")
        warned = re.findall(r"^.*\|(?:WARN|ERR)\|.*async.*$",
                            read(log)[before:], re.M)
        if warned:
            raise Failure("it warns of our keys: " + "; ".join(warned))

    def purge(self):
        """upgraded once more, and purged: no more is left than by theirs"""
        write(LIST, ENTRY)
        apt_get("install", SWITCH)
        expect_version(self.ours)
        self.expect_same()
        expect_traffic(self.guest)
        self.guest.end()
        self.expect_purged()

    def expect_purged(self):
        apt_get("purge", "--autoremove", *installed())
        left = sorted(path for path in files() - self.before
                      - self.left_by_theirs if path != LIST)
        if left:
            raise Failure("left over: " + " ".join(left))

    def without_theirs(self):
        """installed where there was none, and purged"""
        apt_get("install", SWITCH)
        if version(SWITCH) != self.ours:
            raise Failure("%s was installed" % version(SWITCH))
        wait_for("ovs-vswitchd does not run", running)
        self.expect_purged()

    def sorts(self):
        """the version sorts above the distribution's and below its next"""
        with_update = re.sub(r"(\d+)$", lambda m: str(int(m[1]) + 1),
                             self.theirs)
        source = re.sub(r"\+b\d+$", "", self.theirs)
        for later in (with_update, source + "+b9", source + ".1",
                      re.sub(r"\+deb.*", "", source) + "+deb99u1"):
            if not newer(later, self.ours):
                raise Failure("%s is not below %s" % (self.ours, later))
        if not newer(self.ours, self.theirs):
            raise Failure("%s is not above %s" % (self.ours, self.theirs))

    def steps(self):
        return (self.sorts, self.what_theirs_leaves, self.stock,
                self.reinstall, self.upgrade, self.turn_on, self.other_user,
                self.downgrade, self.purge, self.without_theirs)


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
