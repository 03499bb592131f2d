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

"""A private laboratory: one Open vSwitch, its guests, its namespaces.

Everything that a Lab takes from the machine goes on an undo list before it is
taken, and the undo list runs on success, failure and signals alike.  What
SIGKILL leaves behind (it can only be names: processes die with their parent)
is written down in the run directory, and the next Lab puts it right first.
"""

import atexit
import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tty

from dev.common.command import Stop
from dev.common.files import ROOT
from dev.release import debian

RUN_PARENT = "/run"
RUN_PREFIX = "vasync-"
LOCK_NAME = "\0vhost-async-lab"
HUGE_KB = 2048
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PMD_GLOB = "/usr/lib/*/dpdk/pmds-*/librte_%s.so*"

PROMPT = "testpmd> "
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """A failure that the reader can act upon: shown without a traceback."""


class Interrupted(BaseException):
    """A signal asked us to stop.  Not an Exception: no handler for ordinary
    failures may swallow it."""

    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum
        self.name = signal.Signals(signum).name


# Small helpers.

def read(path, default=None):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        if default is None:
            raise
        return default


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def start_time(pid):
    """When 'pid' started, in ticks: tells a process from a later one that
    got the same pid.  None when there is no such process."""
    try:
        stat = read("/proc/%d/stat" % pid)
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def cpu_list(text):
    cpus = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


# Log lines that look bad and are part of every run.
HARMLESS = re.compile(
    r"No legacy callbacks|No free 1048576 kB hugepages|"
    r"\|timeval\||Rx checksum offload is not supported|"
    r"does not support MTU configuration|failed to connect: No such file|"
    r"-FAILED: 0|netdev_max_backlog|enabling promiscuous mode")


def log_excerpt(path, lines=12):
    """The last lines of a log that say that something is wrong."""
    bad = [line for line in read(path, "").splitlines()
           if re.search(r"\|(WARN|ERR|EMER)\||error|fail|cannot|panic",
                        line, re.I)
           and not HARMLESS.search(line)]
    return bad[-lines:]


def say(text="", end="\n"):
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        # Nobody reads any more.  That is no reason to stop half-way.
        sys.stdout = open(os.devnull, "w")


def run(*args, check=True, timeout=30, **kwargs):
    """Runs a short command and returns its standard output.

    It gets a session of its own: a second Ctrl-C must not kill the commands
    that clean up after the first."""
    args = [str(arg) for arg in args]
    try:
        p = subprocess.run(args, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                           text=True, errors="replace", timeout=timeout,
                           start_new_session=True,
                           preexec_fn=die_with_parent(), **kwargs)
    except FileNotFoundError:
        raise LabError("%s: no such program" % args[0])
    except subprocess.TimeoutExpired:
        raise LabError("'%s' did not end within %d s"
                       % (" ".join(args), timeout))
    if check and p.returncode:
        what = (p.stderr.strip() or p.stdout.strip()
                or "exit status %d" % p.returncode)
        raise LabError("'%s' failed: %s" % (" ".join(args), what))
    return p.stdout


def die_with_parent(idle=False):
    """Returns a function for a child to run before it becomes the program.

    Signals that we hold back while taking something must not stay blocked in
    the child.  'idle' puts it in the scheduling class that gets only time
    that nobody else wants."""
    parent = os.getpid()

    def prepare():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    return prepare


@contextlib.contextmanager
def signals_held():
    """Taking a thing and noting that it is ours must not be torn apart."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


class Steps:
    """Numbered, timed progress lines."""

    def __init__(self):
        self.t0 = time.monotonic()
        self.current = None
        self.last_shown = 0
        self.open_line = False
        self.tty = sys.stdout.isatty()

    def _end_line(self):
        if self.open_line:
            say()
            self.open_line = False

    def note(self, text):
        self._end_line()
        for line in text.splitlines():
            say(" " * 11 + line)

    def progress(self, text):
        """A line that replaces itself on a terminal, and that comes only
        now and then in a log."""
        now = time.monotonic()
        if now - self.last_shown < (0.2 if self.tty else 5):
            return
        self.last_shown = now
        if self.tty:
            say("\r" + " " * 11 + "%-66s" % text, end="")
            self.open_line = True
        else:
            self.note(text)

    @contextlib.contextmanager
    def step(self, text):
        begin = time.monotonic()
        self.current = text
        self.last_shown = begin
        say("[%5.1f s]  %s" % (begin - self.t0, text))
        yield self
        self.note("done in %.1f s" % (time.monotonic() - begin))
        self.current = None


class Cores:
    """Which core does what, all on one NUMA node.

    A PMD thread owns its core.  With two cores the guest and the copy thread
    of the software dmadev have to share the other one with everything else:
    then the guest, which polls without rest, runs in the idle scheduling
    class.  Otherwise the copy thread, which sleeps a little whenever it finds
    nothing, would wait a whole time slice of the guest for each burst.  (Not
    the other way round, a higher priority for the copy thread: it also spins
    for a while before it sleeps, and then nobody else gets on.)"""

    def __init__(self, n_pmds=1):
        allowed = os.sched_getaffinity(0)
        nodes = {}
        for path in glob.glob("/sys/devices/system/node/node[0-9]*"):
            node = int(re.search(r"\d+$", path).group())
            cpus = [cpu for cpu in cpu_list(read(path + "/cpulist", ""))
                    if cpu in allowed]
            nodes[node] = cpus
        if not any(nodes.values()):
            nodes = {0: sorted(allowed)}
        self.node = max(sorted(nodes), key=lambda n: len(nodes[n]))
        self.n_nodes = len(nodes)
        cpus = nodes[self.node]
        if len(cpus) < n_pmds + 1:
            raise LabError("%d CPU cores needed on one NUMA node, %d usable "
                           "here: give the machine more cores"
                           % (n_pmds + 1, len(cpus)))
        self.pmds = cpus[-n_pmds:]
        rest = cpus[:-n_pmds]
        self.main = rest[0]
        self.guest = rest[1 % len(rest)]
        self.dma = rest[2 % len(rest)]
        self.guest_shares = self.guest in (self.main, self.dma)

    @staticmethod
    def mask(*cpus):
        return "0x%x" % sum(1 << cpu for cpu in cpus)


class Hugepages:
    """2 MB pages: reserved when too few are free, given back at the end.

    What is given back is the number that was added, so that two users of the
    same machine do not undo each other."""

    def __init__(self, node=0):
        name = "hugepages/hugepages-%dkB" % HUGE_KB
        self.dir = "/sys/devices/system/node/node%d/%s" % (node, name)
        if not os.path.isdir(self.dir):
            self.dir = "/sys/kernel/mm/" + name
        if not os.path.isdir(self.dir):
            raise LabError("this kernel offers no %d kB hugepages: use one "
                           "with CONFIG_HUGETLBFS" % HUGE_KB)
        self.added = 0

    def _get(self, what):
        return int(read("%s/%s_hugepages" % (self.dir, what)))

    def free(self):
        return self._get("free")

    @staticmethod
    def adjust(directory, by):
        path = directory + "/nr_hugepages"
        old = int(read(path))
        write(path, str(max(0, old + by)))
        return int(read(path)) - old

    def reserve(self, pages):
        for attempt in range(2):
            missing = pages - self.free()
            if missing <= 0:
                return
            if attempt:
                # Free memory may merely be in pieces.
                with contextlib.suppress(OSError):
                    write("/proc/sys/vm/compact_memory", "1")
            self.added += self.adjust(self.dir, missing)
        have = self.free()
        if have < pages:
            self.release()
            raise LabError("%d hugepages of 2 MB needed, %d to be had: free "
                           "%d MB of memory, or reserve the pages at boot "
                           "with hugepages=%d"
                           % (pages, have, (pages - have) * HUGE_KB // 1024,
                              pages))

    def release(self):
        if self.added:
            self.adjust(self.dir, -self.added)
            self.added = 0


class Process:
    """A child in a session of its own (a Ctrl-C at the terminal is for us to
    act on, not for it) that dies with us."""

    def __init__(self, lab, name, args, log=None, netns=None, env=None,
                 idle=False, capture=False, stdio=None, stop_signal=None,
                 daemon=False):
        self.lab = lab
        self.name = name
        self.log = log
        self.stop_signal = stop_signal or signal.SIGTERM
        args = [str(arg) for arg in args]
        if netns:
            args = ["ip", "netns", "exec", netns] + args
        out = stdio
        if capture:
            out = subprocess.PIPE
        with contextlib.ExitStack() as stack:
            err = subprocess.DEVNULL
            if log:
                err = stack.enter_context(open(log, "ab"))
            with signals_held():
                try:
                    self.popen = subprocess.Popen(
                        args, stdin=stdio or subprocess.DEVNULL,
                        stdout=out or err, stderr=err,
                        env=env or lab.env, cwd=lab.run_dir,
                        start_new_session=True,
                        preexec_fn=die_with_parent(idle))
                except FileNotFoundError:
                    raise LabError("%s: no such program" % args[0])
                self.forget = lab.on_exit("kill " + name, self.kill)
        if daemon:
            lab.daemons.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def signal(self, signum):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signum)

    def _wait(self, seconds):
        """Whether it ends in time.  Returns at once when it does: to wait in
        Popen is to look every 50 ms."""
        if not self.alive():
            return True
        fd = os.pidfd_open(self.pid)
        try:
            select.select([fd], [], [], seconds)
        finally:
            os.close(fd)
        return not self.alive()

    def ask_to_stop(self):
        self.signal(self.stop_signal)

    def stop(self, grace=5):
        if self.alive():
            with contextlib.suppress(LabError, OSError):
                self.ask_to_stop()
            if not self._wait(grace):
                self.signal(signal.SIGTERM)
                self._wait(2)
        self.kill()

    def kill(self):
        """Dies at once, as in a crash."""
        self.signal(signal.SIGKILL)
        self.popen.wait()
        self.close()

    def close(self):
        """Lets go of what belongs to a process that is gone."""
        if self.popen.stdout:
            self.popen.stdout.close()
        if self in self.lab.daemons:
            self.lab.daemons.remove(self)
        self.forget()

    def check_alive(self):
        if not self.alive():
            status = self.popen.returncode
            how = ("exit status %d" % status if status >= 0
                   else signal.Signals(-status).name)
            last = []
            if self.log and self not in self.lab.daemons:
                last = read(self.log, "").splitlines()[-1:]
            raise LabError("%s ended unexpectedly (%s)%s"
                           % (self.name, how, ": ".join([""] + last)))


class Testpmd(Process):
    """A guest: dpdk-testpmd over virtio-user, driven through its prompt.

    The prompt is a pseudo terminal, because testpmd buffers its output when
    it writes to a pipe.  Memory comes from memfds in one file per hugepage
    size: vhost-user passes at most eight descriptors, and no hugetlbfs need
    be mounted."""

    def __init__(self, lab, name, vdevs, args=(), memory=128, netns=None):
        self.vdevs = list(vdevs)
        self.output = ""
        cores = lab.cores
        eal = ["--lcores", "0@%d,1@%d" % (cores.main, cores.guest),
               "--no-pci", "--in-memory", "--single-file-segments",
               "--file-prefix", "%s-%s" % (lab.tag, name)]
        if cores.n_nodes > 1:
            eal += ["--socket-mem",
                    ",".join(str(memory if node == cores.node else 0)
                             for node in range(cores.node + 1))]
        else:
            eal += ["-m", str(memory)]
        for vdev in self.vdevs:
            eal += ["--vdev", vdev]
        log = lab.log_path("testpmd-" + name)
        self.master, slave = pty.openpty()
        # A pseudo terminal echoes and translates line ends: neither helps a
        # program that reads.  The default of 80 columns would make testpmd
        # break the lines that it echoes.
        tty.setraw(slave)
        fcntl.ioctl(slave, 0x5414,                      # TIOCSWINSZ
                    struct.pack("HHHH", 24, 1000, 0, 0))
        try:
            super().__init__(
                lab, "testpmd " + name,
                ["dpdk-testpmd"] + eal + ["--", "-i"] + list(args),
                log=log, netns=netns, stdio=slave, daemon=True,
                idle=cores.guest_shares)
        except BaseException:
            os.close(self.master)
            raise
        finally:
            os.close(slave)

    def _pump(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            data = b""
        if not data:
            # Hung up: the process is on its way out.
            self._wait(2)
            self.check_alive()
            return False
        self.output += data.decode("utf-8", "replace")
        if self.log:
            with open(self.log, "ab") as f:
                f.write(data)
        return True

    def wait_ready(self, timeout=30, meanwhile=lambda: None):
        output = self._expect(timeout, "did not come up", meanwhile)
        if "Done" not in output.splitlines()[-1:]:
            raise LabError("%s did not come up with all its ports"
                           % self.name)

    def _expect(self, timeout, complaint, meanwhile=lambda: None):
        deadline = time.monotonic() + timeout
        while PROMPT not in self.output:
            if not self._pump(0.1):
                meanwhile()
                self.check_alive()
            if time.monotonic() > deadline:
                raise LabError("%s %s within %d s"
                               % (self.name, complaint, timeout))
        before, _, self.output = self.output.rpartition(PROMPT)
        return before

    def cmd(self, text, timeout=10):
        self.output = ""
        os.write(self.master, (text + "\n").encode())
        return self._expect(timeout, "did not answer '%s'" % text)

    def stats(self):
        """Per port: the counters that 'show port stats all' prints."""
        ports = {}
        port = None
        for line in self.cmd("show port stats all").splitlines():
            m = re.search(r"NIC statistics for port (\d+)", line)
            if m:
                port = ports.setdefault(int(m.group(1)), {})
            elif port is not None:
                for key, value in re.findall(r"([RT]X-\w+): *(\d+)", line):
                    port[key] = int(value)
        return ports

    def ask_to_stop(self):
        with contextlib.suppress(LabError):
            self.cmd("stop", 3)
        os.write(self.master, b"quit\n")
        deadline = time.monotonic() + 5
        while self.alive() and time.monotonic() < deadline:
            with contextlib.suppress(LabError, OSError):
                self._pump(0.05)

    def close(self):
        super().close()
        if self.master is not None:
            os.close(self.master)
            self.master = None


class Switch:
    """ovsdb-server and ovs-vswitchd of one build, in their own namespace."""

    BRIDGE = "br0"
    PROGRAMS = ("vswitchd/ovs-vswitchd", "ovsdb/ovsdb-server",
                "ovsdb/ovsdb-tool", "utilities/ovs-vsctl",
                "utilities/ovs-appctl", "utilities/ovs-ofctl")

    def __init__(self, lab, build):
        self.lab = lab
        self.build = os.path.abspath(build)
        self.netns = lab.netns("sw")
        self.vswitchd = None
        self.ovsdb = None
        self.log = lab.log_path("ovs-vswitchd")

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
        lab = self.lab
        db = lab.path("conf.db")
        run(self.program("ovsdb-tool"), "create", db,
            self.schema(self.build), env=lab.env)
        sock = lab.path("db.sock")
        self.ovsdb = Process(
            lab, "ovsdb-server",
            [self.program("ovsdb-server"), db, "--remote=punix:" + sock,
             "--pidfile", "--log-file", "-vconsole:off"],
            netns=self.netns, daemon=True)
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
            self.lab, "ovs-vswitchd",
            [self.program("ovs-vswitchd"),
             "unix:" + self.lab.path("db.sock"),
             "--pidfile", "--log-file", "--no-chdir", "-vconsole:off",
             *args],
            netns=self.netns, daemon=True)
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
                   "--db=unix:" + self.lab.path("db.sock"),
                   "--timeout=%d" % timeout, *args, env=self.lab.env,
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
                   "ovs-vswitchd", *args, env=self.lab.env,
                   timeout=timeout + 5, **kwargs)

    def ofctl(self, *args, **kwargs):
        return run(self.program("ovs-ofctl"), *args, env=self.lab.env,
                   **kwargs)

    def add_bridge(self, bridge=BRIDGE):
        self.vsctl("add-br", bridge, "--", "set", "Bridge", bridge,
                   "datapath_type=netdev", "fail_mode=secure")

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


class Lab:
    """See the top of the file.  Use as a context manager; one at a time on
    a machine, because PMD threads and guests need whole cores."""

    def __init__(self, n_pmds=1, steps=None, keep_logs=None):
        self.n_pmds = n_pmds
        self.steps = steps or Steps()
        self.keep_logs = keep_logs
        self.undo = []
        self._leaving = False
        self._old = {}
        self.run_dir = None
        self.switch = None
        self.failure_lines = []
        self.daemons = []
        self._names = {}

    # Entering and leaving.

    def __enter__(self):
        # Whoever started us with a signal ignored (nohup) meant it.
        self._old = {s: signal.signal(s, self._on_signal) for s in SIGNALS
                     if signal.getsignal(s) != signal.SIG_IGN}
        # Should a signal come between two lines that leave the context.
        atexit.register(self._cleanup)
        try:
            self._setup()
        except BaseException:
            self._cleanup()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        if kind and not issubclass(kind, Interrupted):
            self.failure_lines = self.excerpts()
        self._cleanup()

    def _on_signal(self, signum, frame):
        # While we clean up, a signal would only do harm.
        if not self._leaving:
            raise Interrupted(signum)

    def _setup(self):
        if os.geteuid():
            raise LabError("this must run as root: use sudo")
        self._lock()
        sweep(self.steps)
        self.cores = Cores(self.n_pmds)
        self.tag = RUN_PREFIX + str(os.getpid())
        with signals_held():
            self.run_dir = os.path.join(RUN_PARENT, self.tag)
            os.mkdir(self.run_dir, 0o700)
            self.state = {"pid": os.getpid(),
                          "start": start_time(os.getpid()),
                          "netns": [], "mounts": [], "dirs": [],
                          "hugepages": []}
            self._save()
            self.on_exit("remove " + self.run_dir, lambda: (
                shutil.rmtree(self.run_dir, ignore_errors=True)))
        if self.keep_logs:
            self.on_exit("keep the logs", self._keep)
        self.env = dict(os.environ, OVS_RUNDIR=self.run_dir,
                        OVS_LOGDIR=self.run_dir, OVS_DBDIR=self.run_dir,
                        OVS_SYSCONFDIR=self.run_dir,
                        # Where EAL makes its run-time files.
                        RUNTIME_DIRECTORY=self.run_dir,
                        PYTHONDONTWRITEBYTECODE="1")

    def _lock(self):
        """An abstract socket: it leaves nothing behind, and the kernel tells
        who holds it."""
        self._lock_sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.on_exit("unlock", self._lock_sock.close)
        try:
            self._lock_sock.bind(LOCK_NAME)
            self._lock_sock.listen(1)
            return
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
        holder = "another process"
        with contextlib.suppress(OSError), \
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(1)
            s.connect(LOCK_NAME)
            creds = s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            holder = "process %d" % struct.unpack("iii", creds)[0]
        raise LabError("%s runs the demo or a test already, and two would "
                       "fight for the cores: wait for it, or stop it"
                       % holder)

    def _save(self):
        tmp = os.path.join(self.run_dir, ".state")
        write(tmp, json.dumps(self.state))
        os.rename(tmp, os.path.join(self.run_dir, "state.json"))

    def on_exit(self, name, function):
        """Has 'function' called at the end, last in first out.  Returns a
        function that forgets it again."""
        entry = (name, function)
        self.undo.append(entry)

        def forget():
            if entry in self.undo:
                self.undo.remove(entry)
        return forget

    def _cleanup(self):
        self._leaving = True
        while self.undo:
            name, function = self.undo[-1]
            try:
                function()
            except Exception as e:
                say("cannot %s: %s" % (name, e))
            if self.undo and self.undo[-1] == (name, function):
                self.undo.pop()
        for s, handler in self._old.items():
            signal.signal(s, handler)
        self._old = {}
        atexit.unregister(self._cleanup)

    def _keep(self):
        os.makedirs(self.keep_logs, exist_ok=True)
        for path in glob.glob(self.path("*.log")):
            shutil.copy(path, self.keep_logs)

    # What a Lab hands out.

    def path(self, name):
        return os.path.join(self.run_dir, name)

    def log_path(self, name):
        return self.path(name + ".log")

    def data_dir(self, megabytes):
        """For big files: the run directory lies in memory."""
        where = tempfile.gettempdir()
        free = shutil.disk_usage(where).free >> 20
        if free < megabytes:
            raise LabError("%d MB needed in %s, %d MB free: make room there, "
                           "or name another place in TMPDIR"
                           % (megabytes, where, free))
        with signals_held():
            path = tempfile.mkdtemp(prefix=RUN_PREFIX)
            self.state["dirs"].append(path)
            self._save()
            self.on_exit("remove " + path, lambda: (
                shutil.rmtree(path, ignore_errors=True)))
        return path

    def need_memory(self, megabytes):
        """Makes sure of so many megabytes in hugepages."""
        pages = -(-megabytes * 1024 // HUGE_KB)
        huge = Hugepages(self.cores.node)
        with signals_held():
            self.on_exit("give back hugepages", huge.release)
            huge.reserve(pages)
            if huge.added:
                self.state["hugepages"].append([huge.dir, huge.added])
                self._save()
        return huge

    def mount_hugetlbfs(self):
        """Some programs insist on a mount.  Returns where it is."""
        for line in read("/proc/mounts").splitlines():
            fields = line.split()
            if fields[2] == "hugetlbfs":
                return fields[1]
        path = self.path("huge")
        with signals_held():
            os.mkdir(path)
            self.state["mounts"].append(path)
            self._save()
            run("mount", "-t", "hugetlbfs", "-o",
                "pagesize=%dK" % HUGE_KB, "none", path)
            self.on_exit("unmount " + path, lambda: run("umount", path))
        return path

    def netns(self, name):
        full = "%s-%s" % (self.tag, name)
        if name not in self._names:
            with signals_held():
                self.state["netns"].append(full)
                self._save()
                run("ip", "netns", "add", full)
                self.on_exit("delete namespace " + full,
                             lambda: run("ip", "netns", "del", full))
            self._names[name] = full
            run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def veth(self, switch_if, ns, ns_if, addresses=(), mtu=9000):
        """A cable: 'switch_if' in the switch's namespace, 'ns_if' in 'ns'.

        Both ends send what a wire would carry: no packets that wait for a
        checksum or for segmentation, and none of the kernel's own."""
        sw = self.netns("sw")
        run("ip", "-n", sw, "link", "add", switch_if, "mtu", mtu, "type",
            "veth", "peer", "name", ns_if, "netns", ns, "mtu", mtu)
        for where, interface, quiet in ((sw, switch_if, True),
                                        (ns, ns_if, not addresses)):
            run("ip", "netns", "exec", where, "ethtool", "-K", interface,
                "tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso",
                "off", "gro", "off")
            if quiet or not any(":" in a for a in addresses):
                # Without /proc/sys/net/ipv6 there is nothing to silence.
                run("ip", "netns", "exec", where, "sysctl", "-qw",
                    "net.ipv6.conf.%s.disable_ipv6=1" % interface,
                    check=False)
            if quiet:
                run("ip", "-n", where, "link", "set", interface, "arp",
                    "off")
        for address in addresses:
            run("ip", "-n", ns, "addr", "add", address, "dev", ns_if)
        run("ip", "-n", ns, "link", "set", ns_if, "up")
        run("ip", "-n", sw, "link", "set", switch_if, "up")

    def start_switch(self, build, dma=True, other_config=None, memory=512):
        """Starts Open vSwitch with DPDK and, with 'dma', a dmadev: those
        arguments of EAL, or the software one."""
        cores = self.cores
        extra = "--no-pci"
        if dma:
            extra += " " + (dma if isinstance(dma, str) else
                            "--vdev=dma_skeleton0,lcore=%d" % cores.dma)
        mem = ",".join(str(memory if node == cores.node else 0)
                       for node in range(cores.node + 1))
        config = {"dpdk-init": "true",
                  "dpdk-extra": extra,
                  # Names the core of EAL's first thread: by default it has
                  # all of ours, and with it the dmadev's copy thread.
                  "dpdk-lcore-mask": cores.mask(cores.main),
                  "dpdk-socket-mem": mem,
                  # Without a limit, OVS first tries for 2.6 GB of buffers
                  # of 9000 bytes.
                  "dpdk-socket-limit": mem,
                  "pmd-cpu-mask": cores.mask(*cores.pmds)}
        config.update(other_config or {})
        self.switch = Switch(self, build)
        self.switch.start(config)
        return self.switch

    def guest(self, name, vdevs, args=(), **kwargs):
        return Testpmd(self, name, vdevs, args, **kwargs)

    def process(self, name, args, **kwargs):
        return Process(self, name, args, **kwargs)

    def python_env(self):
        """For a process that is a module of ours."""
        return dict(self.env, PYTHONPATH=ROOT)

    def check_daemons(self):
        """Raises when a switch or a guest is no longer there: what else goes
        wrong then is only a consequence."""
        for daemon in self.daemons:
            daemon.check_alive()

    def excerpts(self):
        """What the logs have to say about a failure."""
        lines = []
        if not self.run_dir or not os.path.isdir(self.run_dir):
            return lines
        for path in sorted(glob.glob(self.path("*.log"))):
            excerpt = log_excerpt(path)
            if excerpt:
                lines.append("--- %s" % os.path.basename(path))
                lines += excerpt
        return lines


def sweep(steps=None):
    """Puts right what a run that was killed outright has left behind."""
    for path in glob.glob(os.path.join(RUN_PARENT, RUN_PREFIX + "*")):
        m = re.fullmatch(re.escape(RUN_PREFIX) + r"(\d+)",
                         os.path.basename(path))
        if not m or not os.path.isdir(path) or os.path.islink(path):
            continue
        try:
            state = json.loads(read(os.path.join(path, "state.json"), "{}"))
        except ValueError:
            state = {}
        started = start_time(int(m.group(1)))
        if started is not None and started == state.get("start", started):
            continue
        if steps:
            steps.note("cleaning up after process %s, which was killed"
                       % m.group(1))
        for netns in state.get("netns", []):
            with contextlib.suppress(LabError):
                for pid in run("ip", "netns", "pids", netns).split():
                    os.kill(int(pid), signal.SIGKILL)
                run("ip", "netns", "del", netns)
        for mount in state.get("mounts", []):
            with contextlib.suppress(LabError):
                run("umount", mount)
        for directory, added in state.get("hugepages", []):
            with contextlib.suppress(OSError):
                Hugepages.adjust(directory, -added)
        for directory in state.get("dirs", []) + [path]:
            shutil.rmtree(directory, ignore_errors=True)


# Preflight checks, for callers to choose from.

def need_release():
    try:
        debian.here()
    except Stop as e:
        raise LabError(e)


def need_programs(*programs):
    """Each is (program, Debian package)."""
    for program, package in programs:
        if not shutil.which(program,
                            path=os.environ.get("PATH", "") + ":/usr/sbin"):
            raise LabError("%s is not installed: run 'apt-get install %s'"
                           % (program, package))


def need_file(path, remedy):
    if not os.path.exists(path):
        raise LabError("%s is missing: %s" % (path, remedy))


def need_driver(driver):
    if not glob.glob(PMD_GLOB % driver):
        raise LabError("the DPDK driver %s is not installed: run "
                       "'apt-get install librte-%s%s'"
                       % (driver, driver.replace("_", "-"),
                          debian.here().drivers))


def report_failure(name, lab, error):
    """Says which step failed, why, and what the logs add; ends with one line
    that holds the reason.  Returns the exit status."""
    if isinstance(error, Interrupted):
        say("%s: FAIL interrupted by %s" % (name, error.name))
        return 128 + error.signum
    for line in lab.failure_lines if lab else []:
        say(line)
    where = lab.steps.current if lab else None
    say("%s: FAIL %s%s" % (name, where + ": " if where else "", error))
    return 1
