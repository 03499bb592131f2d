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

"""A child that dies with us."""

import contextlib
import os
import select
import signal
import subprocess

from dev.lab.basics import LabError, die_with_parent, read, signals_held


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
