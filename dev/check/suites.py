# The suites, and what became of the tests of one.

import json
import os
import re
import shutil
import sys
import time

from dev.check import fuzz, scenario_suites, spin, style, tsan
from dev.check.autotest import Testsuite, excerpt
from dev.common.children import JOBS, child_env, python, run
from dev.common.command import Progress, Stop
from dev.common.files import ROOT, out, read, tail, write
from dev.dma_devices import plugin as devices
from dev.dma_model import plugin
from dev.ovs import tree

# What the hooks touch, seen from OVS's own tests.
OVS_TESTS = ("alb.at", "bridge.at", "dpctl.at", "dpif-netdev.at",
             "drop-stats.at", "mcast-snooping.at", "netdev-type.at", "odp.at",
             "ofproto-dpif.at", "ovs-vswitchd.at", "packet-type-aware.at",
             "pmd.at", "tunnel-push-pop.at", "tunnel-push-pop-ipv6.at")

# These tests wait more than they compute.
OVS_JOBS = 4 * JOBS

HUGEPAGES_MB = 2048
DRIVER_PACKETS = "20000"


class Suite:
    """The results of one suite, for one engine, of a build of it."""

    def __init__(self, name, engine, build=None):
        self.name = "%s (%s)" % (name, build or engine)
        self.where = os.path.join("check", build or engine)
        self.build = out(build or engine)
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.start = time.monotonic()
        os.makedirs(out(self.where), exist_ok=True)
        self.log = self.path(name + ".results")
        write(self.log, "")

    def path(self, name):
        """The path of a log."""
        return out(self.where, name)

    def add(self, name, good, details=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED %s: %s" % (self.name, name))
            for line in details.strip().splitlines()[-40:]:
                print("    " + line)
            sys.stdout.flush()
        self._note("passed" if good else "FAILED", name, details)

    def skip(self, name, why):
        self.skipped += 1
        print("skipped %s: %s: %s" % (self.name, name, why), flush=True)
        self._note("skipped", name, why)

    def add_test(self, test, why=""):
        if test.skipped:
            self.skip(str(test), test.result)
        else:
            self.add(str(test), not test.failed,
                     "%s\n%s" % (why or test.why(), excerpt(test)))

    def _note(self, what, name, details):
        with open(self.log, "a") as f:
            f.write("%s %s\n" % (what, name))
            if what != "passed":
                f.write("".join("    %s\n" % line
                                for line in details.strip().splitlines()))

    def __str__(self):
        return "%d passed, %d failed, %d skipped" % (
            self.passed, self.failed, self.skipped)


def build_suite(suite, engine):
    # Two tests: the series applies, and it compiles with no warning (-Werror)
    # and links.  Without a build there is nothing to run the others on.
    for name, action in (("the series applies", tree.make_src),
                         ("gcc -Werror builds ENGINE=%s" % engine,
                          lambda: tree.make_build(engine))):
        try:
            action()
        except Stop as e:
            suite.add(name, False, str(e))
            break
        suite.add(name, True)


def our_tests(suite, testsuite, keywords="vhost-async"):
    tests = testsuite.list("-k", keywords)
    if not tests:
        suite.add("tests with the keywords " + keywords, False,
                  "%s has none" % testsuite.script)
    return tests


def unit_suite(suite, _engine):
    testsuite = Testsuite(out("src"), suite.build)
    tests = our_tests(suite, testsuite)
    testsuite.run(tests, suite.path("unit.log"), "unit tests", JOBS)
    for test in tests.values():
        suite.add_test(test)


def is_plain(name):
    """Whether a file of ours does without DPDK."""
    return "rte_" not in read(os.path.join(ROOT, name))


def is_included(name, tests):
    include = '#include "%s"' % os.path.basename(name)
    return any(include in read(os.path.join(ROOT, test)) for test in tests)


def build_sanitized(engine, where, log):
    """Makes where/ovstest, with the sanitizers in our own code: our files
    come before the library that has them too, so these are used."""
    build, src = out(engine), out("src")
    own = tree.own_files()
    tests = [f for f in own if re.fullmatch(r"tests/test-.*\.c", f)]
    sources = tests + ["tests/ovstest.c"]
    sources += [f for f in own if re.fullmatch(r"lib/.*\.c", f)
                and is_plain(f) and not is_included(f, tests)]
    # What gcc finds of overflows by the sizes of objects it finds only if it
    # optimizes, which takes four times as long; the address sanitizer does.
    sanitize = ["-g", "-O0", "-fno-omit-frame-pointer",
                "-fsanitize=address,undefined",
                "-fno-sanitize-recover=undefined"]
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    progress = Progress("build with sanitizers", len(sources))
    tree.link_ovstest(build, where, [os.path.join(src, f) for f in sources],
                      sanitize, log, step=progress.step)
    progress.done()


def sanitize_suite(suite, engine):
    where = suite.path("sanitize")
    build_sanitized(engine, where, suite.path("sanitize-build.log"))
    testsuite = Testsuite(out("src"), out(engine))
    tests = our_tests(suite, testsuite)
    path = read(os.path.join(out(engine), "Makefile"))
    path = re.search(r"^AUTOTEST_PATH = (.*)$", path, re.M)[1]
    # OVS's own tests leave leaks undetected, ours have no leak to hide.
    testsuite.run(tests, suite.path("sanitize.log"),
                  "unit tests under sanitizers", JOBS,
                  ["AUTOTEST_PATH=%s:%s" % (where, path)],
                  env=child_env(ASAN_OPTIONS="detect_leaks=1"))
    for test in tests.values():
        suite.add_test(test)


def lab_command():
    return python("dev.lab", "hugepages", "--mb", str(HUGEPAGES_MB),
                  "--mount", "--")


def quick_suite(suite, engine):
    """The selection of the system tests that 'make check' has time for."""
    system_suite(suite, engine, "vhost-async,quick")


def system_suite(suite, _engine, keywords="vhost-async,dma"):
    testsuite = Testsuite(out("src"), suite.build, "system-dpdk-testsuite",
                          "check-dpdk")
    tests = our_tests(suite, testsuite, keywords)
    testsuite.run(tests, suite.path("system.log"), "system tests", 1,
                  wrapper=lab_command())
    for test in tests.values():
        suite.add_test(test)


def unused_suite(suite, engine):
    """What those see who never turn it on."""
    tree.make_build("no")
    scenario_suites.run_scenarios(suite, "dev.check.unused", [
        "--model", plugin.build(), "--without", out("no")])


def cases(suite, module):
    """Runs a module that prints a line for each case."""
    log = suite.path(module.split(".")[1] + ".log")
    status = run(python(module), log, cwd=ROOT)
    results = re.findall(r"^(passed|FAILED|skipped): ([^:]+)(?:: (.*))?$",
                         read(log), re.M)
    for result, name, details in results:
        if result == "skipped":
            suite.skip(name, details)
        else:
            suite.add(name, result == "passed", details)
    if not results or bool(status) != any(r[0] == "FAILED" for r in results):
        suite.add(module, False, tail(log, 30))


def model_suite(suite, _engine):
    """The DMA engines that tests and benchmarks load into DPDK: a driver of
    ours, and devices for DPDK's own."""
    cases(suite, "dev.dma_model.test")
    cases(suite, "dev.dma_devices.test")


def packets_suite(suite, engine):
    statistics = {}
    for use in ("off", "on"):
        log = suite.path("packets-%s.log" % use)
        path = suite.path("packets-%s.json" % use)
        status = run(python("dev.demo", "--build", suite.build, "--engine",
                            engine, "--only", "pcap", "--async", use,
                            "--statistics", path), log, cwd=ROOT)
        suite.add("packet by packet with async " + use, not status,
                  tail(log, 30))
        if not status:
            statistics[use] = json.loads(read(path))
    if len(statistics) == 2:
        bad = compare_statistics(statistics["off"], statistics["on"])
        suite.add("the same statistics with async on and off", not bad,
                  "\n".join(bad))


def bench_suite(suite, engine):
    """The benchmark measures what it is to, whatever the figures."""
    log = suite.path("bench.log")
    status = run(python("dev.bench", "once", "--engine", engine), log,
                 cwd=ROOT)
    suite.add("the benchmark, once", not status, tail(log, 20))


def drivers_suite(suite, engine):
    """DPDK's own drivers for hardware, on devices in memory: packets through
    them, by both kinds of addresses, and scenarios."""
    devices.build()
    for driver in devices.DEVICES:
        for iova in "va", "pa":
            log = suite.path("packets-%s-%s.log" % (driver, iova))
            status = run(python(
                "dev.demo", "--build", suite.build, "--engine", engine,
                "--only", "pcap", "--packets", DRIVER_PACKETS, "--driver",
                driver, "--iova", iova), log, cwd=ROOT)
            suite.add("packet by packet with %s, IOVA mode %s"
                      % (driver, iova), not status, tail(log, 30))
    scenario_suites.drivers_suite(suite, engine)


def compare_statistics(off, on):
    """The same packets are counted alike by whoever copies them: under the
    same names, but for the counters that tell who did.  A ring that changes
    hands or starts is notified once, unasked."""
    unasked = "_guest_notifications"
    bad = []
    for port in sorted(off):
        mine = {key: value for key, value in on[port].items()
                if "_async_" not in key}
        bad += ["%s: %s is %s with async off, %s with async on"
                % (port, key, off[port].get(key), mine.get(key))
                for key in sorted(set(off[port]) | set(mine))
                if off[port].get(key) != mine.get(key)
                and not (key.endswith(unasked) and key in off[port]
                         and off[port][key] <= mine.get(key, -1) <= 2)]
        if not off[port].get("tx_q0_good_packets"):
            bad.append("%s: tx_q0_good_packets does not count" % port)
    return bad


def ovs_suite(suite, engine):
    testsuite = Testsuite(out("src"), out(engine))
    tests = {n: t for n, t in testsuite.list().items() if t.file in OVS_TESTS}
    log = suite.path("ovs.log")
    testsuite.run(tests, log, "OVS's own tests", OVS_JOBS)

    # Some of them are sensitive to load; what passes alone passes.
    again = {n: t for n, t in tests.items() if t.failed}
    if again:
        for test in again.values():
            print("once more, alone: %s" % test)
        testsuite.run(again, suite.path("ovs-again.log"),
                      "failed tests, one at a time")
    stock = {}
    failed = {n: t for n, t in again.items() if t.failed}
    if failed:
        stock = run_on_stock(suite, failed)
    for test in tests.values():
        if test.number in failed and stock.get(test.key) == "fails":
            suite.skip(str(test), "%s, and so it does on the stock build"
                       % test.why())
        else:
            suite.add_test(test, "fails here, %s on the stock build"
                           % stock.get(test.key, "is not") if test.failed
                           else "")


def run_on_stock(suite, failed):
    """Runs the same tests on a build of OVS as it is.  Returns, by key,
    whether each passes."""
    print("building stock OVS, to see whether they pass there")
    tree.make_stock()
    testsuite = Testsuite(out("stock-src"), out("stock"))
    keys = {t.key for t in failed.values()}
    tests = {n: t for n, t in testsuite.list().items() if t.key in keys}
    if tests:
        testsuite.run(tests, suite.path("ovs-stock.log"),
                      "the failed tests on stock OVS")
    return {t.key: "fails" if t.failed else "passes" for t in tests.values()}


SUITES = {
    "build": build_suite,
    "style": style.style,
    "unit": unit_suite,
    "sanitize": sanitize_suite,
    "tsan": tsan.tsan_suite,
    "fuzz": fuzz.fuzz_suite,
    "quick": quick_suite,
    "system": system_suite,
    "packets": packets_suite,
    "faults-quick": scenario_suites.faults_quick_suite,
    "faults": scenario_suites.faults_suite,
    "guests-quick": scenario_suites.guests_quick_suite,
    "guests": scenario_suites.guests_suite,
    "iommu-quick": scenario_suites.iommu_quick_suite,
    "iommu": scenario_suites.iommu_suite,
    "spin": spin.spin_suite,
    "model": model_suite,
    "drivers": drivers_suite,
    "bench": bench_suite,
    "unused": unused_suite,
    "ovs": ovs_suite,
}
NEEDS_ROOT = ("quick", "system", "packets", "faults-quick", "faults",
              "guests-quick", "guests", "iommu-quick", "iommu", "unused",
              "drivers", "bench")
ON_DEMAND = ("system", "faults", "guests", "iommu")
# What is the same for all engines is done with the first.
ONCE = ("style", "fuzz", "iommu-quick", "spin", "model", "ovs")


def chosen_suites(wanted):
    wrong = [name for name in wanted if name not in SUITES]
    if wrong:
        raise Stop("there is no suite %s; there are %s."
                   % (wrong[0], ", ".join(SUITES)))
    names = [name for name in SUITES
             if name in (wanted or set(SUITES) - set(ON_DEMAND))]
    if "build" not in names:
        names.insert(0, "build")
    if os.geteuid() and set(names) & set(NEEDS_ROOT):
        raise Stop("the suites %s need root (hugepages, network namespaces); "
                   "run this as root, or others with make check-unit and the "
                   "like." % " and ".join(NEEDS_ROOT))
    return names


def run_suite(name, engine, build=None):
    suite = Suite(name, engine, build)
    try:
        SUITES[name](suite, engine)
    except Stop as e:
        suite.add("the suite itself", False, str(e))
    print("== %s: %s (%d s)" % (suite.name, suite,
                                time.monotonic() - suite.start), flush=True)
    return suite
