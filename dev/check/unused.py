"""What a switch shows and takes on which vhost async was never turned on,
compared with one that was built without it: statistics, status, log, version,
threads, files and memory, with a guest and traffic.

Run as python3 -m dev.check.unused, by the suite of that name."""

import argparse
import os
import re
import sys

from dev import lab as lablib
from dev.common.children import capture
from dev.common.command import program
from dev.faults.scenarios import add_arguments, guarded
from dev.faults.world import World
from dev.lab.usage import files, memory_kb, threads, without_figures

# What one run has more than another one, in kB: the arenas of malloc(), and
# pages of the program that happen to be in memory.
MEMORY_KB = 4096


def log_lines(switch):
    """What the lines of the log are about, without time, thread and figures.
    Some come once in a while, as often as there was time for it."""
    found = set()
    for line in lablib.read(switch.log, "").splitlines():
        fields = line.split("|", 2)
        if len(fields) == 3 and not re.match(
                r"(timeval|poll_loop|memory|coverage)\b", fields[2]):
            found.add(without_figures(re.sub(r"\(\w[^()|]*\)", "",
                                             fields[2])))
    return found


def seen(args, build):
    """What is seen of the switch of 'build', by its name."""
    args.build, args.stock = build, True
    with lablib.Lab(n_pmds=1) as lab:
        world = World(lab, args, sinks=1)
        try:
            world.start_traffic(2000)
            world.quiesce()
            switch, pid = world.switch, world.switch.vswitchd.pid
            return {
                "statistics": {name: sorted(switch.counters(name))
                               for name in world.names},
                "status": {name: without_figures(switch.vsctl(
                    "get", "Interface", name, "status"))
                    for name in world.names},
                "log": log_lines(switch),
                "threads": threads(pid),
                "files": files(pid),
                "memory": memory_kb(pid),
                "version": capture([os.path.join(
                    build, "vswitchd/ovs-vswitchd"), "--version"]),
            }
        finally:
            world.close()


def same(what, ours, others):
    if what == "memory":
        return all(ours[key] <= others[key] + MEMORY_KB for key in ours)
    if what == "log":
        return ours <= others
    if what == "files":
        # A thread has a pipe from when it waited for something first.
        spare = {"pipe:[N]": 4}
        return all(n <= others.get(kind, 0) + spare.get(kind, 0)
                   for kind, n in ours.items())
    return ours == others


def compare(args):
    ours, others = seen(args, args.build), seen(args, args.without)
    failed = 0
    for what, value in ours.items():
        good = same(what, value, others[what])
        failed += not good
        if what == "log":
            difference = "only with vhost async: %s" % (value - others[what])
        else:
            difference = "%s, not %s" % (value, others[what])
        lablib.say("%s: %s: %s" % ("passed" if good else "FAILED", what,
                                   "as without vhost async" if good
                                   else difference))
    lablib.say("%d passed, %d failed, 0 skipped"
               % (len(ours) - failed, failed))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(prog=program())
    add_arguments(parser)
    parser.add_argument("--without", default="out/no",
                        help="a build without vhost async")
    args = parser.parse_args()
    args.seed = 1
    return guarded("unused", lambda: compare(args), args)


if __name__ == "__main__":
    sys.exit(main())
