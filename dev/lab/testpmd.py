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

"""A guest: dpdk-testpmd over virtio-user."""

import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import struct
import time
import tty

from dev.lab.basics import LabError
from dev.lab.process import Process

PROMPT = "testpmd> "


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
