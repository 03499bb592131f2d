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

"""How soon vswitchd answers, and how long threads waited for a core.

A process of its own asks and measures: the threads of the process that is the
guests wait for each other, at each call of the system, for as long as others
have something to interpret.  It is told on its standard input whom to ask, and
writes a line of JSON per answer.
"""

import collections
import contextlib
import glob
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time

from dev import lab as lablib
from dev.common.files import ROOT

# Seconds between two questions.
INTERVAL = 0.1


class Starvation:
    """For how long threads of some processes were to run and no core was free:
    on a busy machine a pause says nothing of vswitchd.  Of several threads
    that waited at once the one that waited for longest counts: the others may
    have waited for it."""

    def __init__(self):
        self.pids = None
        self.last = {}
        self.total = 0

    def sample(self, pids):
        """Returns the seconds until now."""
        now = {}
        for pid in pids:
            for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
                # A thread may end meanwhile.
                fields = lablib.read(path, "").split()
                if len(fields) > 1:
                    now[path] = int(fields[1]) / 1e9
        if pids == self.pids:
            self.total += max((wait - self.last.get(path, wait)
                               for path, wait in now.items()), default=0)
        self.pids, self.last = pids, now
        return self.total


def ask(path):
    """Has the process behind the socket 'path' answer.  There may be none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(path)
        s.sendall(json.dumps({"method": "version", "params": [],
                              "id": 0}).encode())
        s.recv(4096)


def main():
    """The process: its arguments are the pid of the guests and the folder of
    the sockets, its input pids of vswitchd, each instead of the last one."""
    guests, folder = int(sys.argv[1]), sys.argv[2]
    starvation = Starvation()
    vswitchd = None
    while True:
        if select.select([sys.stdin], [], [], INTERVAL)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            vswitchd = int(line)
        if vswitchd is None:
            continue
        pids = (vswitchd, guests, os.getpid())
        before = starvation.sample(pids)
        begin = time.monotonic()
        ask("%s/ovs-vswitchd.%d.ctl" % (folder, vswitchd))
        end = time.monotonic()
        after = starvation.sample(pids)
        answer = {"begin": begin, "end": end, "total": after,
                  "starved": after - before}
        # Not print(), which tries again at the end.
        os.write(1, (json.dumps(answer) + "\n").encode())


class Watch(threading.Thread):
    """Has vswitchd asked ten times a second, and keeps what came of it."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world
        self.starvation = Starvation()
        self.samples = collections.deque(maxlen=3000)
        self.worst = 0
        self.since = 0
        self.suspended = self.stop = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dev.faults.watch", str(os.getpid()),
             world.lab.run_dir], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def begin(self):
        """Forgets what was before."""
        self.samples.clear()
        self.worst = 0
        self.since = time.monotonic()

    def suspend(self, suspended):
        """Nobody need answer, or has to again."""
        self.suspended = suspended
        self.since = time.monotonic()

    def starved(self):
        """The seconds for which threads waited for a core until now."""
        return self.starvation.sample((self.world.switch.vswitchd.pid,
                                       os.getpid()))

    def within(self, seconds):
        """The most that threads waited for a core in any such period."""
        worst = 0
        window = collections.deque()
        for at, total in list(self.samples):
            window.append((at, total))
            while len(window) > 1 and window[1][0] < at - seconds:
                window.popleft()
            worst = max(worst, total - window[0][1])
        return min(worst, seconds)

    def run(self):
        pid = None
        with self.process as process:
            while not self.stop:
                vswitchd = self.world.switch.vswitchd
                if vswitchd and vswitchd.pid != pid:
                    pid = vswitchd.pid
                    print(pid, file=process.stdin, flush=True)
                answer = json.loads(process.stdout.readline())
                self.samples.append((answer["end"], answer["total"]))
                if not self.suspended and answer["begin"] >= self.since:
                    self.worst = max(self.worst, answer["end"]
                                     - answer["begin"] - answer["starved"])


if __name__ == "__main__":
    # Nobody may be there for the last answer.
    with contextlib.suppress(BrokenPipeError):
        main()
