# The suites "faults" and "faults-quick": the scenarios of dev/faults.py, all
# of them or the selection that 'make check' has time for.

import os
import re

import model
from common import ROOT, run, tail

LINE = re.compile(r"(passed|FAILED): ([\w-]+): (.*)")


def quick_suite(suite, engine):
    faults_suite(suite, engine, ["--quick"])


def faults_suite(suite, engine, args=()):
    driver = model.build()
    log = suite.path("faults.log")
    done = []

    def on_line(line):
        m = LINE.match(line)
        if m:
            done.append(m[2])
            print("  " + line, flush=True)
            suite.add(m[2], m[1] == "passed", m[3])

    status = run(["/usr/bin/python3", os.path.join(ROOT, "dev/faults.py"),
                  "--engine", engine, "--build", suite.build,
                  "--model", driver, *args], log, on_line)
    if not done or bool(status) != bool(suite.failed):
        suite.add("dev/faults.py", False, tail(log, 30))
