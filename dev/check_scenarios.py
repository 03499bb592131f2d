# The suites that are made of scenarios: those of dev/faults.py and of
# dev/guests.py, which print one line for each.

import os
import re

import model
from common import ROOT, run, tail

LINE = re.compile(r"(passed|FAILED|skipped): ([\w-]+): (.*)")
LAST_LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


def faults_quick_suite(suite, engine):
    faults_suite(suite, engine, ["--quick"])


def faults_suite(suite, engine, args=()):
    """Guests that die, memory that moves, engines that stop."""
    run_scenarios(suite, "faults", ["--engine", engine, "--model",
                                    model.build(), *args])


def guests_quick_suite(suite, engine):
    guests_suite(suite, engine, ["--quick"])


def guests_suite(suite, _engine, args=()):
    """Linux guests under QEMU."""
    run_scenarios(suite, "guests", ["--logs", suite.path("guests"), *args])


def run_scenarios(suite, name, args):
    log = suite.path(name + ".log")
    done = []

    def on_line(line):
        m = LINE.match(line)
        if m:
            done.append(m[1])
            print("  " + line, flush=True)
            if m[1] == "skipped":
                suite.skip(m[2], m[3])
            else:
                suite.add(m[2], m[1] == "passed", m[3])

    run(["/usr/bin/python3", os.path.join(ROOT, "dev", name + ".py"),
         "--build", suite.build, *args], log, on_line)
    m = LAST_LINE.fullmatch(tail(log, 1).strip())
    if not m or [int(n) for n in m.groups()] != [
            done.count(what) for what in ("passed", "FAILED", "skipped")]:
        suite.add("dev/%s.py to the end" % name, False, tail(log, 30))
