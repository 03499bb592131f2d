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

"""A switch whose DMA engine is a PCI device behind an IOMMU, guests on it, and
what the kernel says of both."""

import contextlib
import glob
import os
import re
import time

from dev import lab as lablib
from dev.faults import frontend
from dev.faults.frontend import Region
from dev.faults.packets import ETHERTYPE, Failure, Flow
from dev.iommu import plugin, vfio
from dev.iommu.guests import Guest, HugeRegion, Pieces
from dev.lab import LabError, run
from dev.lab.usage import memory_kb

DEVICES = "/sys/bus/pci/devices"
EDU_ID = "0x1234 0x11e8"
# For one mempool of MTU 9000, which is the least that Open vSwitch tries.
SWITCH_MB = 256
# Memory of a guest, in bytes.
ROOM = 4 << 20

# The engine takes 200 ms for a piece of a packet; there are up to ten.
SECONDS_A_PACKET = 2.5
# An emulated processor is that slow.
PATIENCE = 30

# In the kernel's log; Linux 7 names a device with its domain.
FAULT = re.compile(r"DMAR: .*\[DMA (Read|Write)[^]]*\] Request device "
                   r"\[(?:0000:)?(\S+)\] fault addr (0x[0-9a-f]+)")


def sysfs(device, name):
    return lablib.read(os.path.join(DEVICES, device, name))


def bind_engines():
    """Has vfio-pci drive all devices of type edu.  Returns their names."""
    found = []
    for path in sorted(glob.glob(DEVICES + "/*")):
        device = os.path.basename(path)
        if "%s %s" % (sysfs(device, "vendor"),
                      sysfs(device, "device")) != EDU_ID:
            continue
        with open(path + "/driver_override", "w") as f:
            f.write("vfio-pci")
        with open("/sys/bus/pci/drivers_probe", "w") as f:
            f.write(device)
        driver = os.path.basename(os.path.realpath(path + "/driver"))
        if driver != "vfio-pci":
            raise LabError("%s is not bound to vfio-pci" % device)
        # What the IOMMU does not tell from this one.
        group = os.listdir(path + "/iommu_group/devices")
        if group != [device]:
            raise LabError("%s shares its IOMMU group with others: %s"
                           % (device, " ".join(group)))
        found.append(device)
    return found


def faults():
    """What the IOMMU refused since the machine started: read or write, the
    device, and the address of each."""
    return [(m[1], m[2], int(m[3], 16)) for m in FAULT.finditer(
        run("dmesg"))]


class Stage:
    """A switch with a source of packets and guests that they are for, one
    flow for each.  'mode' is that of DPDK's addresses, va or pa."""

    def __init__(self, lab, args, engines, mode):
        self.lab, self.args, self.mode = lab, args, mode
        self.engine, self.other_engine = engines
        self.region = HugeRegion if mode == "pa" else Region
        self.switch = lab.start_switch(args.build, dma=False, other_config={
            "dpdk-extra": "-a %s -d %s --iova-mode=%s" % (
                self.engine, os.path.realpath(plugin.LIBRARY), mode),
            "vhost-async-support": "true", "vhost-async-threshold": "0",
            # The most that there can be: the host may be busy.
            "vhost-async-timeout": "10000",
            # The host has better things to do than to emulate idle polling.
            "pmd-maxsleep": "1000"}, memory=SWITCH_MB)
        self.switch.add_bridge()
        self.guests, self.flows, self.names = [], [], []
        self.figures = []
        self.n_faults = 0
        # Of DPDK's own memory.
        self.own_mappings = self.mappings()
        self.source = self.add("src", Guest, self.region)
        # One that has room for the queues of a second port, and one whose
        # buffers are in pieces.
        self.plain = self.add("dst0", Guest, self.region, memory=ROOM)
        self.pieces = self.add("dst1", Pieces, self.region)

    def begin(self):
        """A scenario begins."""
        self.figures = []
        self.new_faults()

    def note(self, text):
        self.figures.append(text)

    def add(self, name, kind, *args, **kwargs):
        """Adds a port with a guest.  Returns the guest."""
        path = self.lab.path(name + ".sock")
        guest = kind(path, *args, **kwargs)
        ofport = len(self.names) + 1
        if self.names:
            self.flows.append(Flow(len(self.flows)))
        self.names.append(name)
        self.flow_rules()
        self.guests.append(guest)
        self.switch.add_vhost(name, path, ofport)
        guest.connect(PATIENCE)
        guest.fill()
        guest.start()
        self.wait_up(guest)
        return guest

    def wait_up(self, guest):
        name = self.name_of(guest)
        self.wait_for(lambda: self.switch.link_up(name),
                      name + " did not come up")

    def wait_down(self, guest):
        name = self.name_of(guest)
        self.wait_for(lambda: not self.switch.link_up(name),
                      name + " did not go down")

    def name_of(self, guest):
        return self.names[self.guests.index(guest)]

    def flow_rules(self):
        for flow in self.flows:
            self.switch.ofctl(
                "add-flow", "br0", "in_port=1,dl_type=0x%x,actions=output:%d"
                % (ETHERTYPE + flow.number, flow.number + 2))

    def restart_switch(self, *guests, extra=None):
        """Another vswitchd, with 'extra' for dpdk-extra if that is given, has
        the same ports and guests, which connect in this order."""
        self.switch.stop()
        if extra:
            self.switch.set("dpdk-extra", extra, wait=False)
        self.switch.start()
        self.wait_for(self.switch.has_bridge, "there is no bridge")
        self.flow_rules()
        for guest in guests:
            guest.restart()
            self.wait_up(guest)

    def remove(self, guest):
        """Removes the port of a guest, which was the last one to be added,
        and the guest."""
        name = self.names.pop()
        self.switch.vsctl("del-port", name)
        self.guests.remove(guest)
        self.flows.pop()
        guest.close()

    def set_rx(self, guest, value):
        """Whether packets of this guest are received by DMA."""
        self.switch.vsctl("set", "Interface", self.name_of(guest),
                          "options:vhost-async-rx=" + value)

    def flow_to(self, guest):
        return self.flows[self.guests.index(guest) - 1]

    def wait_for(self, condition, complaint, timeout=PATIENCE):
        lablib.Switch.wait_for(condition, timeout, self.switch.vswitchd,
                               complaint)

    def wait_value(self, what, get, wanted):
        """Waits until get() returns what is wanted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = get()
            if found == wanted:
                return
            self.switch.vswitchd.check_alive()
            if time.monotonic() > deadline:
                raise Failure("%s: %s and not %s within %d s"
                              % (what, found, wanted, PATIENCE))
            time.sleep(0.1)

    # Packets.

    def send(self, guest, n):
        """Sends 'n' packets to a guest, without a wait."""
        flow = self.flow_to(guest)
        for _ in range(n):
            if not self.source.send_packets([flow.next()]):
                raise Failure("the source has no room for packets")
            flow.sent += 1

    def receive(self, guest):
        flow = self.flow_to(guest)
        for packet in guest.receive_packets():
            flow.check(packet)
        return flow.received

    def arrive(self, *guests):
        """Waits until all packets that were sent to these guests are there,
        and compares them byte by byte."""
        flows = [self.flow_to(guest) for guest in guests]
        missing = sum(flow.sent - flow.received for flow in flows)
        begin = time.monotonic()
        self.wait_for(lambda: all([self.receive(guest) >= flow.sent
                                   for guest, flow in zip(guests, flows)]),
                      "%d packets did not arrive" % missing,
                      PATIENCE + missing * SECONDS_A_PACKET)
        for guest in guests:
            self.check_flow(guest)
        return time.monotonic() - begin

    def check_flow(self, guest):
        """No byte of what a guest got is wrong, and no packet came before
        another."""
        flow = self.flow_to(guest)
        n = flow.since()
        if n["wrong"] or n["reordered"]:
            raise Failure("%s: %d packets wrong, %d out of order, first %s"
                          % (self.name_of(guest), n["wrong"], n["reordered"],
                             flow.example))

    def counters(self, guest):
        return self.switch.counters(self.name_of(guest))

    def in_flight(self, guest):
        return self.counters(guest)["tx_async_in_flight"]

    def send_and_catch(self, guest, n):
        """Sends 'n' packets to a guest.  Returns how many are in flight
        now."""
        self.send(guest, n)
        flow = self.flow_to(guest)
        self.wait_for(lambda: self.in_flight(guest), "nothing is in flight")
        n = flow.sent - self.receive(guest)
        if not n:
            raise Failure("nothing is in flight any more")
        return n

    def deliver(self, guest, n, how="dma"):
        """Sends 'n' packets to a guest and sees that they arrive, all of them
        by DMA, or by CPU.  Returns how many seconds that took."""
        before = self.counters(guest)
        self.send(guest, n)
        took = self.arrive(guest)
        now = self.counters(guest)
        by = {key: now["tx_async_%s_packets" % key]
              - before["tx_async_%s_packets" % key] for key in ("dma", "cpu")}
        if by[how] != n or sum(by.values()) != n:
            raise Failure("of %d packets %d went by DMA, %d by CPU"
                          % (n, by["dma"], by["cpu"]))
        return took

    # What there is to see.

    def status(self, guest):
        """Of the port of a guest."""
        m = re.search("^port %s: (.*)$" % self.name_of(guest), self.show(),
                      re.M)
        return m and m[1]

    def wait_status(self, guest, status):
        self.wait_value("the status of " + self.name_of(guest),
                        lambda: self.status(guest), status)

    def show(self):
        return self.switch.appctl("dpif-netdev/dma-show")

    def locked_kb(self):
        """What the kernel has pinned of the memory of vswitchd: all that is
        mapped for vfio."""
        return memory_kb(self.switch.vswitchd.pid)["VmLck"]

    def wait_locked(self, kb):
        self.wait_value("KB that are mapped for vfio", self.locked_kb, kb)

    def mappings(self):
        """How many mappings of vfio vswitchd has."""
        return vfio.limit() - vfio.free_mappings(self.switch.vswitchd.pid)

    def is_mapped(self, names):
        """Whether vswitchd maps any of these regions."""
        return any(frontend.mappings(self.switch.vswitchd.pid, name)
                   for name in names)

    def wait_unmapped(self, names):
        """Waits until vswitchd maps none of these regions."""
        self.wait_for(lambda: not self.is_mapped(names),
                      "memory that is gone stays mapped")

    def new_faults(self):
        """What the IOMMU refused since this was asked for last."""
        found = faults()
        new = found[self.n_faults:]
        self.n_faults = len(found)
        return new

    def refused(self):
        """The same in words, a line for each."""
        return ["the IOMMU refused a %s of %s at 0x%x"
                % (what.lower(), device, address)
                for what, device, address in self.new_faults()]

    def check_no_fault(self):
        found = self.refused()
        if found:
            raise Failure("%d times %s" % (len(found), found[0]))

    def close(self):
        for guest in self.guests:
            with contextlib.suppress(Exception):
                guest.close()
