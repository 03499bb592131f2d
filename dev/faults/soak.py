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

"""Scenarios of dev.faults, at random and one after another in one switch.

All that is done follows from the seed.  What comes next is printed before it
is done, so that a failure can be done again: by the same seed, or, if it needs
nothing of what was before, by 'dev.faults SCENARIO --seed'.  The last thing
that happens to a switch is a scenario that ends it, or an engine; then comes a
new one.
"""

import argparse
import os
import random
import sys
import time

from dev import lab as lablib
from dev.common.command import program
from dev.faults.scenarios import (RX, SCENARIOS, Result, add_arguments,
                                  guarded)
from dev.faults.world import World

# Scenarios before the last one.
STEPS = (5, 15)


def make_world(rng):
    """Keywords of a World.  The guest that attacks has a port of its own."""
    several = rng.random() < 0.4
    return dict(model="latency_us=%d" % rng.choice((100, 2000, 20000)),
                sinks=3, server=("dst2",), packed=rng.random() < 0.4,
                **(RX if rng.random() < 0.5 else {}),
                **(dict(pairs=2, pmds=2, devs=2) if several else
                   dict(pairs=1, pmds=1, devs=1)))


def choices(world):
    """Scenarios that this world is enough for, each once: those of the table
    which differ in the world only are the same here."""
    found = {}
    for name, scenario in SCENARIOS.items():
        needs = scenario.world
        if (scenario.soak is not None
                and (needs.keys() & RX.keys()) <= world.keys()
                and all(needs.get(key, 1) <= world[key]
                        for key in ("sinks", "pmds", "devs"))):
            found.setdefault(scenario.function, name)
    return list(found.values())


def live(number, rng, args, deadline):
    """One switch, as long as it lives.  Returns whether all went well."""
    kind = make_world(rng)
    names = choices(kind)
    ends = [name for name in names if SCENARIOS[name].ends]
    steps = [rng.choice([name for name in names if name not in ends])
             for _ in range(rng.randint(*STEPS))] + [rng.choice(ends)]
    seeds = [rng.randrange(1 << 30) for _ in steps]
    lablib.say("switch %d: %s" % (number, " ".join(
        "%s=%s" % item for item in kind.items())))
    lab = lablib.Lab(n_pmds=1, keep_logs=args.logs and os.path.join(
        args.logs, "switch%d" % number))
    passed = True
    w = None
    with lab:
        for i, name in enumerate(steps):
            if time.monotonic() > deadline:
                break
            scenario, seed = SCENARIOS[name], seeds[i]
            lablib.say("step %d.%d: %s --seed %d"
                       % (number, i + 1, name, seed))
            result = Result(name, lab, args)
            with result:
                w = result.world = w or World(lab, args, **kind)
                w.begin(scenario.touched, scenario.soak, 10, seed)
                scenario.function(w)
            result.show()
            passed = result.passed
            if not passed:
                break
        if w:
            w.close()
    return passed


def soak(args):
    lablib.say("engine %s, seed %d, %d minutes"
               % (args.engine, args.seed, args.minutes))
    rng = random.Random(args.seed)
    begin = time.monotonic()
    number = 0
    while time.monotonic() < begin + 60 * args.minutes:
        number += 1
        if not live(number, rng, args, begin + 60 * args.minutes):
            lablib.say("soak: FAIL at switch %d, seed %d"
                       % (number, args.seed))
            return 1
    lablib.say("soak: PASS %d switches, %d minutes, seed %d"
               % (number, (time.monotonic() - begin) / 60, args.seed))
    return 0


def main():
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(1 << 30))
    args = parser.parse_args()
    return guarded("soak", lambda: soak(args), args)


if __name__ == "__main__":
    sys.exit(main())
