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

"""Runs scenarios in the machine that machine.py starts.  Prints a line for
each, and what there is to see after one that failed."""

import argparse
import os
import sys
import time

from dev import lab as lablib
from dev.common.command import program
from dev.faults.frontend import FrontEndError
from dev.faults.packets import Failure
from dev.iommu import stage
from dev.iommu.scenarios import SCENARIOS
from dev.lab import LabError

EXPECTED = (Failure, LabError, FrontEndError, OSError)


def show(name, begin, figures, error=None):
    why = ["%s: %s" % (type(error).__name__, error)] if error else []
    lablib.say("%s: %s: %s (%.1f s)"
               % ("FAILED" if error else "passed", name,
                  "; ".join(why + figures), time.monotonic() - begin))


def run_scenario(name, function, w):
    """Returns whether it passed; prints one line."""
    begin = time.monotonic()
    w.begin()
    try:
        function(w)
        w.check_no_fault()
    except EXPECTED as e:
        for line in (w.lab.excerpts() + w.switch.state(w.names)
                     + w.refused()):
            lablib.say("  " + line)
        show(name, begin, w.figures, e)
        return False
    show(name, begin, w.figures)
    return True


def run_switch(mode, names, args, engines, results):
    """Runs scenarios, in their order, with one switch, up to the first one
    that fails: what that leaves behind would be in the way of others.  Stores
    in 'results', by name, whether each passed."""
    begin = time.monotonic()
    lab = lablib.Lab(keep_logs=args.logs and os.path.join(
        args.logs, "%s-%s" % (names[0], mode)))
    with lab:
        w = None
        try:
            w = stage.Stage(lab, args, engines, mode)
            lablib.say("a switch that uses %s by %s, with guests, in %.1f s"
                       % (w.engine, mode, time.monotonic() - begin))
            for name in names:
                results[name] = run_scenario("%s-%s" % (name, mode),
                                             SCENARIOS[mode][name], w)
                if not results[name]:
                    return
            w.switch.stop()
        except EXPECTED as e:
            for line in lab.excerpts():
                lablib.say("  " + line)
            # It did not start, or did not end after the last one.
            for name in names[-1:] if w else names:
                results[name] = False
                show("%s-%s" % (name, mode), begin, [], e)
        finally:
            if w:
                w.close()


def run_mode(mode, names, args, engines):
    """Returns whether all of them passed."""
    results = {}
    while len(results) < len(names):
        run_switch(mode, [name for name in names if name not in results],
                   args, engines, results)
    return all(results.values())


def main():
    parser = argparse.ArgumentParser(prog=program(),
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--logs", metavar="DIR")
    parser.add_argument("names", nargs="+", metavar="SCENARIO-MODE")
    args = parser.parse_args()
    try:
        engines = stage.bind_engines()
    except EXPECTED as e:
        lablib.say("iommu: %s" % e)
        return 1
    good = True
    for mode in SCENARIOS:
        names = [name.rpartition("-")[0] for name in args.names
                 if name.rpartition("-")[2] == mode]
        good &= run_mode(mode, names, args, engines)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
