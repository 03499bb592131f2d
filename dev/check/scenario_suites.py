# The suites that are made of scenarios: those of dev.faults, dev.guests and
# dev.iommu, which print one line for each.

import re

from dev.common.children import python, run
from dev.common.files import ROOT, tail
from dev.dma_model import plugin
from dev.faults.scenarios import DRIVERS

LINE = re.compile(r"(passed|FAILED|skipped): ([\w-]+): (.*)")
LAST_LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


def faults_quick_suite(suite, engine):
    faults_suite(suite, engine, ["--quick"])


def faults_suite(suite, engine, args=()):
    """Guests that die, memory that moves, engines that stop."""
    run_scenarios(suite, "dev.faults", ["--engine", engine, "--model",
                                        plugin.build(), *args])


def drivers_suite(suite, engine):
    """Those that matter to DPDK's own drivers, on devices in memory."""
    for driver in DRIVERS:
        run_scenarios(suite, "dev.faults", ["--engine", engine, "--driver",
                                            driver, "--quick"], driver + "-")


def guests_quick_suite(suite, engine):
    guests_suite(suite, engine, ["--quick"])


def guests_suite(suite, _engine, args=()):
    """Linux guests under QEMU."""
    run_scenarios(suite, "dev.guests", ["--logs", suite.path("guests"), *args])


def iommu_quick_suite(suite, engine):
    iommu_suite(suite, engine, ["--quick"])


def iommu_suite(suite, _engine, args=()):
    """A PCI device that copies through an IOMMU."""
    run_scenarios(suite, "dev.iommu", ["--logs", suite.path("iommu"), *args])


def run_scenarios(suite, name, args, prefix=""):
    """Runs scenarios; 'prefix' tells those of one run from those of others."""
    log = suite.path(prefix + name.removeprefix("dev.") + ".log")
    done = []

    def on_line(line):
        m = LINE.match(line)
        if m:
            done.append(m[1])
            print("  " + line, flush=True)
            if m[1] == "skipped":
                suite.skip(prefix + m[2], m[3])
            else:
                suite.add(prefix + m[2], m[1] == "passed", m[3])

    run(python(name, "--build", suite.build, *args), log, on_line, cwd=ROOT)
    m = LAST_LINE.fullmatch(tail(log, 1).strip())
    if not m or [int(n) for n in m.groups()] != [
            done.count(what) for what in ("passed", "FAILED", "skipped")]:
        suite.add("%s%s to the end" % (prefix, name), False, tail(log, 30))
