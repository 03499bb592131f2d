"""Child processes, whose environment and output are ours."""

import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess

JOBS = len(os.sched_getaffinity(0))
PYTHON = "/usr/bin/python3"


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


def capture_each(cmds, cwd=None):
    """Yields what capture() returns for each of 'cmds', in their order, and
    runs as many at a time as there are cores.  Who stops looking has those
    that did not start yet not run."""
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        try:
            yield from pool.map(lambda cmd: capture(cmd, cwd=cwd), cmds)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def python(module, *args):
    """The command that runs a module of ours; the directory to run it in is
    ROOT."""
    return [PYTHON, "-m", module, *args]
