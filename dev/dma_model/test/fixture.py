# What the cases share: the test program, a device of it, and how to compare.

import contextlib
import os
import re
import select
import shutil
import subprocess
import tempfile
import time

from dev.common.children import child_env, run
from dev.common.command import Stop
from dev.common.files import ROOT, out, tail
from dev.dma_model import ctl, plugin

HERE = os.path.join(ROOT, "dev/dma_model/test")
PROGRAM = out("model", "test-dma-model")
CALL_TIMEOUT = 60
ANSWER = re.compile(r"-?\d+( -?\d+)*")


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def case(func):
    """Marks a function as a case; its docstring says what is right."""
    func.is_case = True
    return func


def cases_of(module):
    """In the order in which they are written there."""
    return [func for func in vars(module).values()
            if getattr(func, "is_case", False)]


def check(condition, what, *args):
    if not condition:
        raise Failed(what % args)


def same(got, wanted, what):
    check(got == wanted, "%s: got %s, expected %s", what, got, wanted)


def eal_args(*extra):
    # Logical core 0, wherever this may run.
    cpu = min(os.sched_getaffinity(0))
    return ["--lcores", "0@%d" % cpu, "--no-huge", "--no-shconf", "--no-pci",
            "--no-telemetry", "-m", "64", "-d", plugin.LIBRARY] + list(extra)


class Program:
    """A process of test-dma-model."""

    def __init__(self, log, *extra, **env):
        self.log = log
        with open(log, "w") as f:
            self.child = subprocess.Popen(
                [PROGRAM] + eal_args(*extra), env=child_env(**env),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=f,
                bufsize=0)
        self.pending = b""
        self.start = self._answer()

    def _line(self):
        while b"\n" not in self.pending:
            pipe = self.child.stdout
            ready = select.select([pipe], [], [], CALL_TIMEOUT)[0]
            data = os.read(pipe.fileno(), 65536) if ready else b""
            if not data:
                if ready:
                    status = self.child.wait()
                else:
                    self.child.kill()
                    status = "no answer"
                raise Failed("the test program ended (%s): %s"
                             % (status, tail(self.log, 3).strip()))
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def _answer(self):
        """The next line of numbers: drivers of DPDK print others (ioat)."""
        line = self._line()
        while not ANSWER.fullmatch(line):
            line = self._line()
        return [int(word) for word in line.split()]

    def __call__(self, *words):
        line = " ".join(str(w) for w in words) + "\n"
        try:
            self.child.stdin.write(line.encode())
        except BrokenPipeError:
            # It says why below.
            pass
        return self._answer()

    def alive(self):
        return self.child.poll() is None

    def close(self):
        self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(10)
        if self.alive():
            self.child.kill()
            self.child.wait()


class Bench:
    """What the cases run on: a process that outlives them, unless one ends
    it, and a directory for control pages."""

    def __init__(self, where, log="test.log", args=()):
        self.where, self.args = where, args
        self.log = out("model", log)
        self._program = None

    @property
    def program(self):
        if not self._program or not self._program.alive():
            self._program = Program(self.log, *self.args)
        return self._program

    def log_size(self):
        return os.path.getsize(self.program.log)

    def logged(self, since):
        with open(self.program.log) as f:
            f.seek(since)
            return f.read()

    def path(self, name="page"):
        return os.path.join(self.where, name)

    def close(self):
        if self._program:
            self._program.close()


class Device:
    """A device that is set up and started, with a control page."""

    def __init__(self, bench, params="", vchans=1, n_desc=64, start=True):
        self.p = bench.program
        self.name = "dma_model0"
        self.vchans = vchans
        path = bench.path()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        words = ["control=" + path]
        if vchans > 1:
            words.append("vchans=%d" % vchans)
        if params:
            words.append(params)
        self.args = ",".join(words)
        error, self.id = self.p("probe", self.name, self.args)
        same(error, 0, "probe " + self.args)
        self.page = ctl.ControlPage(path)
        self.vchan = self.page.vchan()
        same(self.p("clean"), [0], "clean")
        if start:
            same(self("configure", vchans), [0], "configure")
            for vchan in range(vchans):
                same(self("setup", vchan, n_desc), [0], "setup")
            same(self("start"), [0], "start")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.p.alive():
            self.page.clear()
            self("stop")
            self.p("remove", self.name)

    def __call__(self, what, *words):
        return self.p(what, self.id, *words)

    def copy(self, n=1, length=1000, vchan=0):
        """Hands over 'n' copies; returns how many it took."""
        taken = self("enqueue", vchan, length, n)[0]
        self("submit", vchan)
        return taken

    def reap(self, n, timeout=2, vchan=0):
        """Polls until 'n' copies are completed or that time has passed, and
        returns how many are."""
        deadline = time.monotonic() + timeout
        got = 0
        while got < n and time.monotonic() < deadline:
            got += self("poll", vchan, n - got)[0]
        return got

    def moved(self, first, n, want_moved, what):
        """Checks that of these copies all bytes are moved, or none."""
        same(self.p("moved", first, n), [n, 0] if want_moved else [0, n],
             what)


def program_command(cc, target):
    return plugin.compile_command(
        cc, [os.path.join(HERE, "test-dma-model.c")], target,
        ["-lrte_dmadev", "-lrte_eal", "-lrte_bus_vdev", "-lpthread"])


# Running them.

def build_program():
    log = out("model", "build-test.log")
    if run(program_command("gcc", PROGRAM), log):
        raise Stop("cannot compile the test program, see %s:\n%s"
                   % (log, tail(log)))


def run_case(func, bench):
    text = " ".join(func.__doc__.split()).rstrip(".")
    try:
        found = func(bench)
        if found:
            text %= found
        print("passed: %s: %s" % (func.__name__, text), flush=True)
        return "passed"
    except Skipped as e:
        print("skipped: %s: %s" % (func.__name__, e), flush=True)
        return "skipped"
    except (Failed, ctl.PageError) as e:
        print("FAILED: %s: %s" % (func.__name__, e), flush=True)
        return "failed"


def run_cases(modules, build, wanted, log="test.log", args=()):
    """Runs the cases of 'modules' whose names have one of 'wanted' in them,
    after 'build', and prints one line each and one that sums them.  Returns
    the status of the command."""
    all_cases = [func for module in modules for func in cases_of(module)]
    cases = [f for f in all_cases
             if not wanted or any(w in f.__name__ for w in wanted)]
    if not cases:
        raise Stop("no case has %s in its name; there are %s."
                   % (" or ".join(wanted),
                      ", ".join(f.__name__ for f in all_cases)))
    build()
    build_program()
    # Pages are best in memory.
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    where = tempfile.mkdtemp(prefix="dma-model-", dir=shm)
    bench = Bench(where, log, args)
    try:
        results = [run_case(f, bench) for f in cases]
    finally:
        bench.close()
        shutil.rmtree(where, ignore_errors=True)
    print(", ".join("%d %s" % (results.count(r), r)
                    for r in ("passed", "failed", "skipped")))
    return 1 if "failed" in results else 0
