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

"""The scenarios, what each needs, and what became of one."""

import argparse
import time

from dev import lab as lablib
from dev.dma_devices import kernel_queue, plugin as devices
from dev.dma_model import ctl, plugin
from dev.faults import (attacks, drivers, engines, hostile, leaving, long_use,
                        memory, ports, source, waits)
from dev.faults.frontend import FrontEndError
from dev.faults.packets import Failure
from dev.lab import LabError, suite


class Scenario:
    """A function, and keywords of the World that it needs.

    With 'quick', it is in the selection of --quick, with so many rounds (0:
    its own number).  'ends' tells what is of no more use afterwards: the
    switch, or an engine, which is quarantined.  'soak' is how many rounds are
    enough where scenarios follow each other, None if it is not for there.
    'seconds' is how long it may go on, if it asks.  'drivers' are those for
    which it is in the selection of --driver; one that only has such has no
    place among the others."""

    def __init__(self, function, quick=None, ends="", soak=2, touched=(0,),
                 seconds=60, drivers=(), only_drivers=False, **world):
        self.function, self.quick, self.ends = function, quick, ends
        self.soak, self.touched = soak, touched
        self.drivers, self.only_drivers = drivers, only_drivers
        self.seconds, self.world = seconds, world


KERNEL = kernel_queue.DRIVER
BOTH = ("ioat", "idxd")
DRIVERS = BOTH + (KERNEL,)

# Two queue pairs, each with a thread of its own that sends to it.
MULTI = dict(sinks=2, pairs=2, pmds=2, devs=2)

# Packets are received by DMA, too.
RX = dict(config={"vhost-async-rx": "true"})

SCENARIOS = {
    "set-mem-table": Scenario(
        memory.set_mem_table, 5, model="latency_us=5000", sinks=2,
        drivers=DRIVERS),
    "set-mem-table-packed": Scenario(
        memory.set_mem_table, 3, model="latency_us=5000", sinks=2,
        packed=True),
    "set-mem-table-multi": Scenario(
        memory.set_mem_table, 3, model="latency_us=5000", **MULTI),
    "get-vring-base": Scenario(
        memory.get_vring_base, 5, model="latency_us=5000", sinks=2,
        drivers=BOTH),
    "get-vring-base-packed": Scenario(
        memory.get_vring_base, 3, model="latency_us=5000", sinks=2,
        packed=True),
    "get-vring-base-multi": Scenario(
        memory.get_vring_base, model="latency_us=5000", **MULTI),
    "hang": Scenario(
        engines.engine_hangs, 0, "engine", model="latency_us=100", sinks=2,
        drivers=("ioat",)),
    "hang-packed": Scenario(
        engines.engine_hangs, None, "engine", model="latency_us=100",
        sinks=2, packed=True),
    "hang-timeout": Scenario(
        engines.hang_with_timeout, 0, "engine", model="latency_us=100",
        sinks=2),
    "hang-set-mem-table": Scenario(
        engines.hang_in_set_mem_table, 0, "engine", model="latency_us=2000",
        sinks=2,
        drivers=("ioat",)),
    "hang-set-mem-table-packed": Scenario(
        engines.hang_in_set_mem_table, None, "engine",
        model="latency_us=2000", sinks=2, packed=True),
    "hang-get-vring-base": Scenario(
        engines.hang_in_get_vring_base, 0, "engine",
        model="latency_us=2000", sinks=2),
    "hang-get-vring-base-packed": Scenario(
        engines.hang_in_get_vring_base, None, "engine",
        model="latency_us=2000", sinks=2, packed=True),
    "hang-one-of-two": Scenario(
        engines.one_of_two_hangs, 0, "engine", model="latency_us=100",
        **MULTI),
    "nobody-waits": Scenario(
        waits.nobody_waits, 0, "engine", model="latency_us=100", sinks=3),
    "stop-blocks": Scenario(
        waits.stop_blocks, 0, "engine", model="latency_us=100", sinks=3),
    "hang-sigterm": Scenario(
        engines.hang_and_sigterm, 0, "switch", model="latency_us=2000"),
    "hang-exit": Scenario(
        engines.hang_and_exit, None, "switch", model="latency_us=2000"),
    "hang-short": Scenario(
        engines.hang_for_a_time, model="latency_us=100", sinks=2,
        drivers=BOTH),
    "errors-stop": Scenario(
        engines.errors, 3, model="latency_us=100",
        drivers=DRIVERS),
    "refuse-once": Scenario(
        engines.refuse_once, 10, soak=10, model="latency_us=100", sinks=2),
    "refuse-all": Scenario(
        engines.refuse_all, None, model="latency_us=100"),
    "refuse-in-packet": Scenario(
        engines.refuse_in_packet, 3, model="latency_us=100"),
    "refuse-set-mem-table": Scenario(
        engines.refuse_and_swap, 5, model="latency_us=5000"),
    "ring-full": Scenario(
        engines.ring_full, model="latency_us=100", sinks=2),
    "rx-set-mem-table": Scenario(
        source.set_mem_table, 5, model="latency_us=5000", sinks=2, **RX),
    "rx-get-vring-base": Scenario(
        source.get_vring_base, 5, model="latency_us=5000", sinks=2, **RX),
    "rx-resume": Scenario(
        source.resume, 5, model="latency_us=5000", sinks=2, **RX),
    "rx-off-on": Scenario(
        source.option_off_on, 1, model="latency_us=2000", sinks=2, **RX),
    "rx-hang": Scenario(
        engines.engine_hangs, 0, "engine", model="latency_us=100", sinks=2,
        **RX),
    "rx-hang-short": Scenario(
        engines.hang_for_a_time, model="latency_us=100", sinks=2, **RX),
    "rx-errors-stop": Scenario(
        engines.errors, 2, model="latency_us=100", **RX),
    "rx-refuse-once": Scenario(
        engines.refuse_once, 5, model="latency_us=100", sinks=2, **RX),
    "rx-refuse-in-packet": Scenario(
        engines.refuse_in_packet, model="latency_us=100", **RX),
    "rx-delete-source": Scenario(
        ports.delete_source, 2, model="latency_us=20000", sinks=2, **RX),
    "rx-mtu": Scenario(
        ports.change_mtu, model="latency_us=20000", sinks=2, **RX),
    "rx-pmd-cpu-mask": Scenario(
        ports.change_pmd_mask, model="latency_us=20000", sinks=2, **RX),
    "rx-hostile": Scenario(
        attacks.hostile_guest, 300, soak=None, model="latency_us=1000",
        sinks=3, server=("dst0", "dst1"), seconds=600, **RX),
    "delete-port": Scenario(
        ports.delete_port, 2, model="latency_us=20000", sinks=2),
    "delete-bridge": Scenario(
        ports.delete_bridge, 2, model="latency_us=20000", sinks=2),
    "delete-source": Scenario(
        ports.delete_source, 2, model="latency_us=20000", sinks=2),
    "mtu": Scenario(
        ports.change_mtu, model="latency_us=20000", sinks=2),
    "pmd-cpu-mask": Scenario(
        ports.change_pmd_mask, model="latency_us=20000", sinks=2),
    "rebalance": Scenario(
        ports.rebalance, model="latency_us=20000", sinks=2, pmds=2),
    "off-on": Scenario(
        ports.option_off_on, 1, model="latency_us=20000", sinks=2,
        drivers=BOTH),
    "port-off-on": Scenario(
        ports.port_option_off_on, model="latency_us=20000", sinks=2),
    "sigterm": Scenario(
        ports.sigterm, 0, "switch", model="latency_us=20000",
        drivers=DRIVERS),
    "exit": Scenario(
        ports.exit_cleanup, None, "switch", model="latency_us=20000"),
    "vswitchd-killed": Scenario(
        ports.vswitchd_killed, 1, model="latency_us=2000", sinks=2),
    "guest-killed": Scenario(
        leaving.guest_killed, 12, soak=10, model="latency_us=5000", sinks=2),
    "guest-killed-packed": Scenario(
        leaving.guest_killed, model="latency_us=5000", sinks=2, packed=True),
    "guest-pauses": Scenario(
        leaving.guest_pauses, 1, model="latency_us=1000", sinks=2),
    "guest-pauses-packed": Scenario(
        leaving.guest_pauses, model="latency_us=1000", sinks=2, packed=True),
    "guest-reshaped": Scenario(
        leaving.guest_reshaped, 7, soak=5, model="latency_us=5000", sinks=2),
    "guest-reshaped-multi": Scenario(
        leaving.guest_reshaped, model="latency_us=5000", **MULTI),
    "large-guest": Scenario(
        leaving.large_guest, 2, soak=4, model="latency_us=100", sinks=2),
    "long-use": Scenario(
        long_use.long_use, soak=None, model="latency_us=2000", sinks=3,
        devs=2, server=("dst2",)),
    "hostile": Scenario(
        attacks.hostile_guest, 600, soak=200, model="latency_us=1000",
        sinks=3, server=("dst0", "dst1"), seconds=600),
    "hostile-sigbus": Scenario(
        attacks.hostile_sigbus, None, "switch", None, model="latency_us=100"),
    "hang-late": Scenario(
        drivers.hang_until_late, 0, "engine", None, sinks=2,
        model="latency_us=100", drivers=("idxd", KERNEL), only_drivers=True),
    "stop-again": Scenario(
        drivers.slow_stop, 0, "engine", None, sinks=2,
        model="latency_us=100", drivers=("ioat",), only_drivers=True),
    "stop-late": Scenario(
        drivers.stop_late, 0, "engine", None, sinks=2,
        model="latency_us=100", drivers=("ioat",), only_drivers=True),
    "beyond-recovery": Scenario(
        drivers.beyond_recovery, 0, "engine", None, sinks=2,
        model="latency_us=100", drivers=("ioat",), only_drivers=True),
}


def selection(driver=None, quick=False):
    """Names of scenarios: all, those for a driver of DPDK, or those of the
    selection that 'make check' has time for."""
    def is_in(s):
        if driver:
            return driver in s.drivers and (
                not quick or s.quick is not None or not s.only_drivers)
        return not s.only_drivers and (not quick or s.quick is not None)

    return [name for name, s in SCENARIOS.items() if is_in(s)]


class Result:
    """What became of a scenario; it goes on where it says 'with'."""

    def __init__(self, name, lab, args):
        self.name, self.lab, self.args = name, lab, args
        self.begin = time.monotonic()
        self.passed, self.why, self.excerpts = True, [], []
        self.world = None

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _traceback):
        if not isinstance(error, (Failure, LabError, FrontEndError, OSError,
                                  ctl.PageError, type(None))):
            return False
        w = self.world
        if error:
            self.passed = False
            self.why.append("%s: %s" % (type(error).__name__, error))
            if w and w.traffic and w.traffic.error:
                self.why.append(w.traffic.error)
            self.excerpts = self.lab.excerpts()
            if w and not self.args.brief:
                self.excerpts += w.switch.state(w.names)
        return True

    def show(self):
        """One line, and what there is to see."""
        for line in self.excerpts:
            lablib.say("  " + line)
        figures = self.world.figures if self.world else []
        lablib.say("%s: %s: %s (%.1f s)"
                   % ("passed" if self.passed else "FAILED", self.name,
                      "; ".join(self.why + figures),
                      time.monotonic() - self.begin))


def add_arguments(parser):
    parser.add_argument("--build", default="out/defer")
    parser.add_argument("--engine", default="defer")
    parser.add_argument("--model", default=plugin.LIBRARY,
                        help="librte_dma_model.so")
    parser.set_defaults(driver=None)
    parser.add_argument("--only", default="", metavar="ACTION[,...]",
                        help="for the scenario hostile: no other actions")
    parser.add_argument("--include", default="", metavar="AVOIDED[,...]",
                        help="for the scenario hostile: " + ", ".join(
                            hostile.AVOIDED))
    parser.add_argument("--logs", metavar="DIR", help="keep all logs there")
    parser.add_argument("--brief", action="store_true",
                        help="do not show the state at a failure")
    parser.add_argument("--stock", action="store_true",
                        help=argparse.SUPPRESS)


def guarded(name, function, args):
    """Runs 'function', which needs what 'args' name.  Returns its status."""
    def checked():
        lablib.Switch.check_build(args.build)
        if args.driver:
            lablib.need_driver("dma_" + args.driver.split("-")[0])
            lablib.need_file(devices.LIBRARY, devices.REMEDY)
        else:
            lablib.need_file(args.model, plugin.REMEDY)
        return function()

    return suite.guarded(name, checked)
