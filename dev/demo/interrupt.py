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

"""Interrupts the demo at each of its steps and looks for what is left.

Processes, namespaces, mounts, hugepages, files and sockets are compared before
and after.  After SIGKILL, names may be left, and the next run removes them.
"""

import argparse
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time

from dev import lab
from dev.common.children import python
from dev.common.command import program
from dev.common.files import ROOT

# A part of a step's title, how long after it, which signal, whether a
# terminal would have sent it to the whole process group.
CASES = (
    ("reserving hugepages", 0, signal.SIGINT, True),
    ("starting Open vSwitch", 0, signal.SIGINT, True),
    ("starting Open vSwitch", .2, signal.SIGTERM, False),
    ("starting Open vSwitch", .4, signal.SIGKILL, False),
    ("connecting namespaces", .1, signal.SIGINT, True),
    ("connecting namespaces", .5, signal.SIGHUP, False),
    ("TCP from A to B", 1.5, signal.SIGINT, True),
    ("TCP from A to B", 1.5, signal.SIGKILL, False),
    ("draining", .1, signal.SIGTERM, False),
    ("making", .1, signal.SIGINT, True),
    ("sending them", .3, signal.SIGINT, True),
    ("sending them", .3, signal.SIGKILL, False),
    ("comparing", 0, signal.SIGINT, True),
    ("stopping Open vSwitch", 0, signal.SIGINT, True),
)


def snapshot():
    """What the machine looks like, as a set of lines."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/environ"):
        # Every process of a Lab has its run directory in its environment.
        if "=%s/%s" % (lab.RUN_PARENT, lab.RUN_PREFIX) in lab.read(path, ""):
            pid = path.split("/")[2]
            found.add("process %s: %s" % (pid, lab.read(
                "/proc/%s/cmdline" % pid, "").replace("\0", " ")[:80]))
    found.update("namespace " + line for line
                 in lab.run("ip", "netns", "list").splitlines())
    found.update("link " + line.split(":")[1].strip() for line
                 in lab.run("ip", "-o", "link").splitlines())
    found.update("mount " + line.split()[1] for line
                 in lab.read("/proc/mounts").splitlines())
    for pattern in (lab.RUN_PARENT + "/" + lab.RUN_PREFIX + "*",
                    tempfile.gettempdir() + "/" + lab.RUN_PREFIX + "*",
                    "/var/run/dpdk/*"):
        found.update("file " + path for path in glob.glob(pattern))
    for path in glob.glob("/sys/devices/system/node/node*/hugepages/*/"
                          "nr_hugepages"):
        found.add("hugepages %s: %s" % (path, lab.read(path)))
    if lab.LOCK_NAME[1:] in lab.read("/proc/net/unix"):
        found.add("lock " + lab.LOCK_NAME[1:])
    return found


def run_case(args, case):
    """Returns (complaint, seconds that the cleanup took)."""
    step, delay, signum, group = case
    command = python("dev.demo", "--packets", str(args.packets),
                     *args.demo_args)
    before = snapshot()
    p = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True,
                         start_new_session=True,
                         preexec_fn=lab.die_with_parent())
    output = []
    for line in p.stdout:
        output.append(line)
        if line.startswith("[") and step in line:
            break
    else:
        p.wait()
        return ("the demo never came to this step:\n" + "".join(output),
                0)
    time.sleep(delay)
    sent = time.monotonic()
    if group:
        os.killpg(p.pid, signum)
    else:
        os.kill(p.pid, signum)
    rest = p.stdout.read()
    p.wait(60)
    took = time.monotonic() - sent
    output += rest
    if signum == signal.SIGKILL:
        # Its children die a moment later; names are for the next run.
        time.sleep(1)
        left = {line for line in snapshot() - before
                if line.startswith(("process", "lock"))}
        lab.sweep()
    else:
        left = set()
        if p.returncode != 128 + signum:
            left.add("exit status %d instead of %d"
                     % (p.returncode, 128 + signum))
        last = "".join(output).splitlines()[-1:]
        if not last or "demo: FAIL interrupted" not in last[0]:
            left.add("the last line is: %s" % "".join(last))
        if "Traceback" in rest:
            left.add("a traceback:\n" + rest)
    after = snapshot()
    left |= {"left: " + line for line in after - before}
    left |= {"gone: " + line for line in before - after}
    return "\n".join(sorted(left)), took


def main():
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__.splitlines()[0],
        epilog="Other arguments go to the demo.")
    parser.add_argument("--packets", type=int, default=100000)
    args, args.demo_args = parser.parse_known_args()
    if os.geteuid():
        sys.exit("interrupt: this must run as root: use sudo")
    failed = 0
    for case in CASES:
        step, delay, signum, group = case
        complaint, took = run_case(args, case)
        lab.say("%-7s %.1f s into '%s': %s"
                % (signal.Signals(signum).name, delay, step,
                   complaint or "ok (%.1f s)" % took))
        failed += bool(complaint)
    lab.say("interrupt: %d passed, %d failed, 0 skipped"
            % (len(CASES) - failed, failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
