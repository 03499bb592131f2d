#!/usr/bin/python3
#
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
(copy=late) and guests that are vhost-user front ends of ours (faults/), does
something bad under traffic and accounts for every packet.  One line tells how
each ended, the last line how many.
"""

import argparse
import contextlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "faults"),
                os.path.join(HERE, "dma-model")]
import attacks                                                  # noqa: E402
import ctl                                                      # noqa: E402
import engines                                                  # noqa: E402
import guests                                                   # noqa: E402
import lab as lablib                                            # noqa: E402
import memory                                                   # noqa: E402
import ports                                                    # noqa: E402
from frontend import FrontEndError                              # noqa: E402
from lab import LabError                                        # noqa: E402
from packets import Failure                                     # noqa: E402
from world import World                                         # noqa: E402

MODEL = os.path.join(HERE, "../out/model/librte_dma_model.so")


# Name: (function, keywords of World).
SCENARIOS = {
    "set-mem-table": (memory.set_mem_table, dict(model="latency_us=5000")),
    "get-vring-base": (memory.get_vring_base, dict(model="latency_us=5000")),
    "hang": (engines.engine_hangs, dict(model="latency_us=100", sinks=2)),
    "hang-set-mem-table": (engines.hang_in_set_mem_table,
                           dict(model="latency_us=2000", sinks=2)),
    "hang-get-vring-base": (engines.hang_in_get_vring_base,
                            dict(model="latency_us=2000", sinks=2)),
    "hang-one-of-two": (engines.one_of_two_hangs,
                        dict(model="latency_us=100", devs=2, sinks=2,
                             pmds=2)),
    "hang-sigterm": (engines.hang_and_sigterm, dict(model="latency_us=2000")),
    "hang-exit": (engines.hang_and_exit, dict(model="latency_us=2000")),
    "hang-short": (engines.hang_for_a_time, dict(model="latency_us=100")),
    "errors-stop": (engines.errors, dict(model="latency_us=100")),
    "errors-count": (engines.errors,
                     dict(model="latency_us=100,errors=count")),
    "refuse-once": (engines.refuse_once, dict(model="latency_us=100")),
    "refuse-all": (engines.refuse_all, dict(model="latency_us=100")),
    "refuse-in-packet": (engines.refuse_in_packet,
                         dict(model="latency_us=100")),
    "refuse-set-mem-table": (engines.refuse_and_swap,
                             dict(model="latency_us=5000")),
    "ring-full": (engines.ring_full, dict(model="latency_us=100")),
    "delete-port": (ports.delete_port, dict(model="latency_us=20000")),
    "delete-bridge": (ports.delete_bridge, dict(model="latency_us=20000")),
    "delete-source": (ports.delete_source, dict(model="latency_us=20000")),
    "mtu": (ports.change_mtu, dict(model="latency_us=20000")),
    "pmd-cpu-mask": (ports.change_pmd_mask, dict(model="latency_us=20000")),
    "rebalance": (ports.rebalance, dict(model="latency_us=20000", pmds=2)),
    "off-on": (ports.option_off_on, dict(model="latency_us=20000")),
    "port-off-on": (ports.port_option_off_on, dict(model="latency_us=20000")),
    "sigterm": (ports.sigterm, dict(model="latency_us=20000")),
    "exit": (ports.exit_cleanup, dict(model="latency_us=20000")),
    "guest-killed": (guests.guest_killed, dict(model="latency_us=5000")),
    "hostile": (attacks.hostile_guest, dict(model="latency_us=1000", sinks=2,
                                            server=("dst0",))),
    "hostile-sigbus": (attacks.hostile_sigbus, dict(model="latency_us=100")),
    "vswitchd-killed": (ports.vswitchd_killed, dict(model="latency_us=2000")),
}


def run_scenario(name, args):
    """Returns "passed", "FAILED" or "skipped"; prints one line."""
    function, needs = SCENARIOS[name]
    w = None
    lab = lablib.Lab(n_pmds=1, keep_logs=args.logs and os.path.join(
        args.logs, name))
    result, why = "passed", ""
    begin = time.monotonic()
    excerpts = []
    with lab:
        try:
            w = World(lab, args, **needs)
            function(w)
            w.switch.vswitchd and w.switch.vswitchd.alive()
        except (Failure, LabError, FrontEndError, OSError,
                ctl.PageError) as e:
            result, why = "FAILED", "%s: %s" % (type(e).__name__, e)
            if w and w.traffic and w.traffic.error:
                why += "; " + w.traffic.error
            excerpts = lab.excerpts()
            if not args.brief:
                with contextlib.suppress(Exception):
                    excerpts += w.switch.appctl(
                        "dpif-netdev/dma-show").splitlines()
                    for n in w.names:
                        excerpts.append("%s: %s" % (n, {
                            k: v for k, v in w.counters(n).items()
                            if v and "_q0_" not in k}))
        finally:
            if w:
                w.close()
            else:
                excerpts += lab.excerpts()
    for line in excerpts:
        lablib.say("  " + line)
    figures = w.figures if w else []
    lablib.say("%s: %s: %s (%.1f s)"
               % (result, name, "; ".join(([why] if why else []) + figures),
                  time.monotonic() - begin))
    return result


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Scenarios: " + " ".join(SCENARIOS))
    parser.add_argument("names", nargs="*", metavar="SCENARIO",
                        help="only these, or those that begin so with a *")
    parser.add_argument("--build", default="out/defer")
    parser.add_argument("--engine", default="defer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0,
                        help="how often a scenario repeats what it does")
    parser.add_argument("--only", default="", metavar="ACTION[,...]",
                        help="for the scenario hostile: no other actions")
    parser.add_argument("--seconds", type=int, default=60,
                        help="for the scenario hostile, at most")
    parser.add_argument("--model", default=MODEL, help="librte_dma_model.so")
    parser.add_argument("--logs", metavar="DIR", help="keep all logs there")
    parser.add_argument("--brief", action="store_true",
                        help="do not show the state at a failure")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--stock", action="store_true",
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    chosen = []
    for name in args.names or SCENARIOS:
        found = [s for s in SCENARIOS if s == name
                 or name.endswith("*") and s.startswith(name[:-1])]
        if not found:
            parser.error("there is no scenario %s; --list names them" % name)
        chosen += found
    args.names = chosen
    return args


def main():
    args = parse_args()
    if args.list:
        for name, (function, _) in SCENARIOS.items():
            print("%-22s %s" % (name, " ".join(function.__doc__.split())))
        return 0
    results = []
    try:
        lablib.Switch.check_build(args.build)
        lablib.need_file(args.model, "run dev/model.py")
        lablib.say("engine %s, seed %d" % (args.engine, args.seed))
        for name in args.names:
            results.append(run_scenario(name, args))
    except LabError as e:
        lablib.say("faults: " + str(e))
        return 1
    except lablib.Interrupted as e:
        lablib.say("faults: interrupted by " + e.name)
        return 128 + e.signum
    lablib.say("%d passed, %d failed, %d skipped" % tuple(
        results.count(r) for r in ("passed", "FAILED", "skipped")))
    return 1 if "FAILED" in results else 0


if __name__ == "__main__":
    sys.exit(main())
