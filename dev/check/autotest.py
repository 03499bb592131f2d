# Runs parts of OVS's testsuites (GNU Autotest) and reads their results.

import os
import re
import shutil

from dev.common.children import capture, run
from dev.common.command import Progress, Stop
from dev.common.files import ROOT, tail

RESULT = re.compile(r"\s*(\d+): (.*?)\s+(ok|skipped \(.*\)|FAILED \(.*\)"
                    r"|expected failure \(.*\)|UNEXPECTED PASS)\s*$")
LISTED = re.compile(r"\s*(\d+): (\S+\.at):(\d+)\s+(\S.*)$")


class Test:
    """One test group of a testsuite.  'key' names it across builds, where
    numbers and lines differ."""

    def __init__(self, number, file, name):
        self.number = number
        self.file = file
        self.name = name
        self.key = (file, name)
        self.result = None
        self.log = None

    @property
    def failed(self):
        return (self.result is None or self.result.startswith("FAILED")
                or self.result == "UNEXPECTED PASS")

    @property
    def skipped(self):
        return bool(self.result) and self.result.startswith("skipped")

    def why(self):
        return self.result or "gave no result"

    def __str__(self):
        return "%d: %s" % (self.number, self.name)


class Testsuite:
    """A testsuite of one build: 'script' is its name in tests/, 'target' the
    make target that runs it."""

    def __init__(self, src, build, script="testsuite", target="check"):
        self.src = src
        self.build = build
        self.script = script
        self.target = target

    def list(self, *select):
        """The tests that the options in 'select' choose, all if none."""
        script = os.path.join(self.src, "tests", self.script)
        status, text = capture(["sh", script, "-C", "tests", "-l"]
                               + list(select), cwd=self.build)
        tests, seen = {}, {}
        for line in text.splitlines():
            m = LISTED.match(line)
            if m:
                test = Test(int(m[1]), m[2], m[4].strip())
                # Two tests of a file may share a name; the nth is the nth.
                nth = seen[test.key] = seen.get(test.key, 0) + 1
                if nth > 1:
                    test.key += (nth,)
                tests[test.number] = test
        if status and not tests:
            raise Stop("cannot list the tests of %s:\n%s" % (script, text))
        return tests

    def run(self, tests, log, what, jobs=1, make_vars=(), wrapper=(),
            env=None):
        """Runs 'tests' (of list()) and sets their results.  Keeps the output
        in the file 'log', and the logs of failed tests beside it.  'wrapper'
        is put before the command."""
        if not tests:
            # To make, no number means every test.
            return
        for test in tests.values():
            test.result = None
        progress = Progress(what, len(tests))

        def on_line(line):
            m = RESULT.match(line)
            if m and int(m[1]) in tests:
                tests[int(m[1])].result = m[3]
                progress.step(m[2])

        flags = " ".join(["-j%d" % jobs] * (jobs > 1)
                         + [str(number) for number in sorted(tests)])
        run(list(wrapper)
            + ["make", "--no-print-directory", "-C", self.build, "V=0",
               self.target, "TESTSUITEFLAGS=" + flags]
            + list(make_vars), log, on_line, cwd=ROOT, env=env)
        for test in tests.values():
            if test.failed:
                self._keep_log(test, log)
        bad = sum(test.failed for test in tests.values())
        progress.done("%d failed" % bad if bad else "done")

    def _keep_log(self, test, log):
        at = "%s.dir/%0*d" % (self.script, self._digits(), test.number)
        source = os.path.join(self.build, "tests", at,
                              self.script + ".log")
        test.log = "%s.%d" % (log, test.number)
        if os.path.exists(source):
            shutil.copy(source, test.log)
        else:
            shutil.copy(log, test.log)

    def _digits(self):
        # Autotest pads the directory names to one width.
        where = os.path.join(self.build, "tests", self.script + ".dir")
        try:
            return max(len(d) for d in os.listdir(where) if d.isdigit())
        except (OSError, ValueError):
            return 1


def excerpt(test):
    return tail(test.log, 30) if test.log else ""
