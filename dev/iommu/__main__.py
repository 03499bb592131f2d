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

"""A DMA engine that is a PCI device behind an IOMMU: QEMU's edu.

A machine under QEMU has both, and this one's root file system.  In it runs
Open vSwitch with guests, to which packets get by the engine, which masters
the bus, through addresses that the IOMMU translates.  Its driver is tried
before, without the machine.  One line tells how each scenario ended, the last
line how many.
"""

import os
import re
import sys
import time

from dev import lab as lablib
from dev.common.children import capture, python
from dev.guests import image
from dev.guests.qemu import accelerator
from dev.iommu import machine, plugin
from dev.iommu.scenarios import SCENARIOS
from dev.lab import LabError, suite


def driver():
    """The driver of edu, with a device that is a thread, and can hang."""
    return capture(["timeout", "60", plugin.TEST, "--no-huge", "--no-pci",
                    "--no-shconf", "--no-telemetry", "--iova-mode=va", "-m",
                    "64"])


DRIVER = "driver"
NAMES = {DRIVER: driver}
NAMES.update(("%s-%s" % (name, mode), function)
             for mode, functions in SCENARIOS.items()
             for name, function in functions.items())
QUICK = (DRIVER, "sizes-va", "leave-va", "stray-va")
RESULT = re.compile(r"(passed|FAILED): ([\w-]+): ")


def run_driver():
    """Returns whether the driver passed; prints one line."""
    begin = time.monotonic()
    status, text = driver()
    lablib.say("%s: %s: %s (%.1f s)" % (
        "FAILED" if status else "passed", DRIVER,
        "exit status %d: %s" % (status, " ".join(text.splitlines()[-1:]))
        if status else "pieces, a full ring, stop, a device that hangs",
        time.monotonic() - begin))
    return not status


def run_machine(args, names):
    """Returns how many of these scenarios passed."""
    results = {}

    def on_line(line):
        lablib.say(line)
        m = RESULT.match(line)
        if m:
            results[m[2]] = m[1]

    command = python("dev.iommu.inside", "--build",
                     os.path.abspath(args.build))
    if args.logs:
        os.makedirs(args.logs, exist_ok=True)
        command += ["--logs", machine.LOGS]
    lab = lablib.Lab(keep_logs=args.logs)
    with lab:
        status = machine.Machine(
            lab, command + names,
            args.logs and os.path.abspath(args.logs)).run(on_line)
    passed = [name for name in names if results.get(name) == "passed"]
    if status != (len(passed) < len(names)):
        raise LabError("the machine's status is %d" % status)
    return len(passed)


def main():
    args = suite.parse_args(__doc__, NAMES, QUICK)
    if args.list:
        return suite.show(args.names, NAMES)
    return suite.guarded("iommu", lambda: run_all(args))


def run_all(args):
    lablib.Switch.check_build(args.build)
    lablib.need_programs(("qemu-system-x86_64", "qemu-system-x86"))
    plugin.build()
    names = [name for name in args.names if name != DRIVER]
    passed = skipped = 0
    if DRIVER in args.names:
        passed += run_driver()
    try:
        if names:
            lablib.say("a machine under %s" % accelerator()[0])
            passed += run_machine(args, names)
    except image.Unavailable as e:
        lablib.say("skipped: iommu: %s" % e)
        skipped, names = 1, []
    failed = len(names) + (DRIVER in args.names) - passed
    lablib.say("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
