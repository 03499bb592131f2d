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

"""Guests that die, memory that moves, engines that stop: what happens then.

Each scenario starts an Open vSwitch of its own, with engines of dma_model
(copy=late) and guests that are vhost-user front ends of ours, does something
bad under traffic and accounts for every packet.  One line tells how each
ended, the last line how many.
"""

import argparse
import os
import sys

from dev import lab as lablib
from dev.common.command import program
from dev.faults.scenarios import (DRIVERS, SCENARIOS, Result, add_arguments,
                                  guarded, selection)
from dev.faults.world import World
from dev.lab import suite


def run_scenario(name, args):
    """Returns whether it passed; prints one line."""
    scenario = SCENARIOS[name]
    rounds = args.rounds or args.quick and scenario.quick or 0
    lab = lablib.Lab(n_pmds=1, keep_logs=args.logs and os.path.join(
        args.logs, name))
    result = Result(name, lab, args)
    with lab:
        with result:
            result.world = World(lab, args, **scenario.world)
            result.world.begin(scenario.touched, rounds, scenario.seconds)
            scenario.function(result.world)
        if result.world:
            result.world.close()
    result.show()
    return result.passed


def parse_args():
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__.splitlines()[0],
        epilog="Scenarios: " + " ".join(SCENARIOS))
    add_arguments(parser)
    parser.add_argument("names", nargs="*", metavar="SCENARIO",
                        help="only these, or those that begin so with a *")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0,
                        help="how often a scenario repeats what it does")
    parser.add_argument("--quick", action="store_true",
                        help="a selection, in fewer rounds")
    parser.add_argument("--driver", choices=DRIVERS,
                        help="have engines be devices in memory for that "
                        "driver of DPDK; without names, the scenarios for it")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    chosen = []
    for name in args.names or selection(args.driver, args.quick):
        found = [s for s in SCENARIOS if s == name
                 or name.endswith("*") and s.startswith(name[:-1])]
        if not found:
            parser.error("there is no scenario %s; --list names them" % name)
        chosen += found
    args.names = chosen
    for name in chosen:
        if args.driver not in SCENARIOS[name].drivers and (
                args.driver or SCENARIOS[name].only_drivers):
            parser.error("%s: it is for %s" % (name, " and ".join(
                "--driver " + d for d in SCENARIOS[name].drivers)
                or "engines of dma_model only"))
    return args


def main():
    args = parse_args()
    if args.list:
        return suite.show(args.names, {
            name: scenario.function for name, scenario in SCENARIOS.items()})
    return guarded("faults", lambda: run_all(args), args)


def run_all(args):
    lablib.say("engine %s%s, seed %d" % (
        args.engine, ", driver " + args.driver if args.driver else "",
        args.seed))
    results = [run_scenario(name, args) for name in args.names]
    failed = results.count(False)
    lablib.say("%d passed, %d failed, 0 skipped"
               % (len(results) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
