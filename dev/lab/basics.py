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

"""Errors, signals, short commands."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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


def read(path, default=None):
    try:
        # A log of what is not text is not to end who tells of it.
        with open(path, errors="backslashreplace") as f:
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


def say(text="", end="\n"):
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        # Nobody reads any more.  That is no reason to stop half-way.
        sys.stdout = open(os.devnull, "w")


def run(*args, check=True, timeout=30, prefix=(), **kwargs):
    """Runs a short command, by that of 'prefix' if there is one, and returns
    its standard output.

    It gets a session of its own: a second Ctrl-C must not kill the commands
    that clean up after the first."""
    args = [str(arg) for arg in (*prefix, *args)]
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
