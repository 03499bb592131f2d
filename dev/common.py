# What the build and check scripts share: places, child processes, progress.

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "out")
ENGINES = ("defer", "ring", "no")
JOBS = len(os.sched_getaffinity(0))


class Stop(Exception):
    """A foreseeable failure; its text is all that the user needs to see."""


def out(*names):
    return os.path.join(OUT, *names)


# The build must not depend on who runs it: neither on flags in the
# environment, nor on the jobserver and the variables of the make, or the hook
# of git, that runs this.
IGNORED_ENV = re.compile("CC|CXX|C(PP|XX)?FLAGS|LDFLAGS|LIBS|MAKEFLAGS|MFLAGS"
                         "|MAKELEVEL|MAKEOVERRIDES|TESTSUITEFLAGS|CONFIG_SITE"
                         "|PYTHONPATH|ENGINE|GIT_.*")


def child_env(**extra):
    env = {k: v for k, v in os.environ.items() if not IGNORED_ENV.fullmatch(k)}
    # Nor on a python3 ahead of Debian's.
    env["PATH"] = ("/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:"
                   + env.get("PATH", ""))
    env["LC_ALL"] = "C.UTF-8"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env.update(extra)
    return env


class Progress:
    """One line that counts: redrawn on a terminal, repeated now and then in
    a log."""

    def __init__(self, what, total=0):
        self.what = what
        self.total = total
        self.n = 0
        self.tty = sys.stdout.isatty()
        self.start = self.shown = time.monotonic()
        self.width = 0
        print("%s ..." % what, end="" if self.tty else "\n", flush=True)

    def _text(self, tail):
        of = "/%d" % max(self.total, self.n) if self.total else ""
        return "%s %d%s %s" % (self.what, self.n, of, tail)

    def _draw(self, text, end=""):
        columns = shutil.get_terminal_size().columns - 1
        text = text[:columns]
        print("\r" + text.ljust(self.width), end=end, flush=True)
        self.width = len(text)

    def step(self, tail="", n=1):
        self.n += n
        now = time.monotonic()
        if self.tty and now - self.shown > .1:
            self._draw(self._text(tail))
            self.shown = now
        elif not self.tty and now - self.shown > 20:
            print("  " + self._text(tail), flush=True)
            self.shown = now

    def done(self, result="done"):
        took = time.monotonic() - self.start
        text = "%s: %s (%d s)" % (self.what, result, took)
        if self.tty:
            self._draw(text, "\n")
        else:
            print(text, flush=True)


def tail(path, lines=25):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError:
        return ""


def stop_child(child):
    """Ends 'child' and what it started (it leads a process group)."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def run(cmd, log, on_line=None, cwd=None, env=None, append=False):
    """Runs 'cmd' with all its output in the file 'log', each line also given
    to 'on_line'.  Returns the exit status."""
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "a" if append else "w") as f:
        print("$ " + " ".join(cmd), file=f, flush=True)
        # A process group of its own, so that an interrupt ends all of it.
        child = subprocess.Popen(cmd, cwd=cwd, env=env or child_env(),
                                 stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True,
                                 errors="replace", start_new_session=True)
        try:
            for line in child.stdout:
                f.write(line)
                if on_line:
                    on_line(line.rstrip("\n"))
            return child.wait()
        finally:
            stop_child(child)


def capture(cmd, cwd=None, env=None, text=None):
    """Runs 'cmd'; returns its status and its output, both streams."""
    p = subprocess.run(cmd, cwd=cwd, env=env or child_env(), input=text,
                       stdin=None if text is not None else subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace")
    return p.returncode, p.stdout


@contextlib.contextmanager
def lock(name):
    """Two runs of these scripts must not build in one directory at once."""
    os.makedirs(OUT, exist_ok=True)
    with open(out(".lock-" + name), "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("waiting for another run that is using out/%s" % name,
                  flush=True)
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def write(path, text):
    """Writes a file at once or not at all."""
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.replace(path + ".tmp", path)


def read(path, default=""):
    try:
        with open(path) as f:
            return f.read()
    except FileNotFoundError:
        return default


def check_engine(engine):
    if engine not in ENGINES:
        raise Stop("ENGINE=%s: there is no such completion engine; use "
                   "ENGINE=%s." % (engine, ", ".join(ENGINES[:-1])
                                   + " or " + ENGINES[-1]))
    return engine


def main(func):
    """Runs 'func' and turns what it raises into one clear sentence."""
    def on_signal(number, _frame):
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGHUP, on_signal)
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    try:
        sys.exit(func())
    except Stop as e:
        print("%s: %s" % (name, e), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\n%s: interrupted; run it again to go on" % name,
              file=sys.stderr)
        sys.exit(130)
