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

"""Linux guests under QEMU on vhost ports that copy by DMA.

Each scenario starts an Open vSwitch of its own, with a software DMA engine,
and guests, has them talk, and compares what arrived with what was sent.  One
line tells how each ended, the last line how many.
"""

import os
import sys
import time

from dev import lab as lablib
from dev.common.command import Stop
from dev.dma_model import plugin
from dev.guests import exchange, image, life, memory, migration, moves
from dev.guests.qemu import accelerator
from dev.guests.stage import World
from dev.lab import LabError, suite

SCENARIOS = {**exchange.SCENARIOS, **life.SCENARIOS, **memory.SCENARIOS,
             **migration.SCENARIOS, **moves.SCENARIOS}
QUICK = ("guest-host", "firmware", "memory-hotplug", "migration-cancelled",
         "migration-hang", "live-update")


def reason(lab, error):
    """A process that is gone is a better one than what follows from it."""
    try:
        lab.check_daemons()
    except LabError as e:
        return [str(e), str(error)]
    if isinstance(error, (LabError, OSError)):
        return [str(error)]
    return ["%s: %s" % (type(error).__name__, error)]


def run_scenario(name, args):
    """Returns whether it passed; prints one line."""
    function, needs = SCENARIOS[name]
    w = None
    lab = lablib.Lab(keep_logs=args.logs and os.path.join(args.logs, name))
    why, excerpts = [], []
    begin = time.monotonic()
    with lab:
        try:
            w = World(lab, args, **needs)
            function(w)
            w.finish()
        except Exception as e:
            why = reason(lab, e)
            excerpts = lab.excerpts()
        finally:
            if w:
                w.close()
    for line in excerpts:
        lablib.say("  " + line)
    lablib.say("%s: %s: %s (%.1f s)"
               % ("FAILED" if why else "passed", name,
                  "; ".join(why + (w.figures if w else [])),
                  time.monotonic() - begin))
    return not why


def main():
    args = suite.parse_args(__doc__, SCENARIOS, QUICK)
    if args.list:
        return suite.show(args.names, {
            name: function for name, (function, _) in SCENARIOS.items()})
    return suite.guarded("guests", lambda: run_all(args))


def no_model(names):
    """Returns those of 'names' whose engine is the model, and why it cannot be
    had, if so: an archive that has no sources of DPDK is no reason not to run
    the others.  That is a failure of the suite 'model'."""
    names = [name for name in names if "model" in SCENARIOS[name][1]]
    try:
        if names:
            plugin.build()
    except Stop as e:
        why = str(e).splitlines()[0].removesuffix("; its end is:")
        return dict.fromkeys(names, why)
    return {}


def run_all(args):
    lablib.Switch.check_build(args.build)
    lablib.need_driver("dma_skeleton")
    lablib.need_programs(("qemu-system-x86_64", "qemu-system-x86"),
                         *[("dnsmasq", "dnsmasq-base")
                           for name in args.names if name == "firmware"])
    skipped = no_model(args.names)
    results = []
    try:
        image.make()
    except image.Unavailable as e:
        skipped = {"guests": e}
    else:
        lablib.say("guests under %s" % accelerator()[0])
        results = [run_scenario(name, args) for name in args.names
                   if name not in skipped]
    for name, why in skipped.items():
        lablib.say("skipped: %s: %s" % (name, why))
    lablib.say("%d passed, %d failed, %d skipped"
               % (results.count(True), results.count(False), len(skipped)))
    return 1 if False in results else 0


if __name__ == "__main__":
    sys.exit(main())
