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
import errno
import glob
import json
import os
import re
import shutil
import signal
import socket
import struct
import tempfile

from dev.common.files import ROOT
from dev.lab.basics import (SIGNALS, Interrupted, LabError, read, run, say,
                            signals_held, start_time, write)
from dev.lab.machine import HUGE_KB, Cores, Hugepages
from dev.lab.process import Process
from dev.lab.reports import Steps, log_excerpt
from dev.lab.switch import Switch
from dev.lab.testpmd import Testpmd

RUN_PARENT = "/run"
RUN_PREFIX = "vasync-"
LOCK_NAME = "\0vhost-async-lab"


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
        # For switches that are started from then on.
        self.extra_env = {}
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
        self.env = self.rundir_env(self.run_dir)

    def rundir_env(self, path):
        return dict(os.environ, OVS_RUNDIR=path, OVS_LOGDIR=path,
                    OVS_DBDIR=path, OVS_SYSCONFDIR=path,
                    # Where EAL makes its run-time files.
                    RUNTIME_DIRECTORY=path, PYTHONDONTWRITEBYTECODE="1",
                    **self.extra_env)

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
        """A cable: 'switch_if' in the namespace of the first switch, 'ns_if'
        in 'ns'.

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

    def start_switch(self, build, dma=True, other_config=None, memory=512,
                     name="sw"):
        """Starts Open vSwitch with DPDK and, with 'dma', a dmadev: those
        arguments of EAL, or the software one.  The first is 'self.switch';
        others have names of their own, and share its cores."""
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
        switch = Switch(self, build, name)
        if name == "sw":
            self.switch = switch
        switch.start(config)
        return switch

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
