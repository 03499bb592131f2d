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

"""Scenarios: what an engine behind an IOMMU gets at, and what it does not."""

import os
import re

from dev.faults.frontend import MORE_AT, Region
from dev.faults.packets import LENGTHS, Failure, packet_length
from dev.iommu import plugin, stage, vfio
from dev.iommu.guests import Guest, Twin
from dev.lab import run

N_FEW = 6
RX_HEAD = 128                   # VHOST_ASYNC_RX_HEAD, always by CPU.
STRAY_SECONDS = 60

# A list of allowed PCI devices without any, and an engine that is none.
NO_ENGINE = ("-a 0000:ff:1f.7 -d %s --iova-mode=va --vdev=dma_skeleton0"
             % os.path.realpath(plugin.LIBRARY))

# The status of ports.
REFUSED = ("CPU: the IOMMU does not take the guest's memory: see the log of "
           "EAL")
SMALL_PAGES = ("CPU: physical addresses are in use, and guest memory is not "
               "on hugetlbfs")


def next_sizes(w, guest):
    """The lengths of the next packets to a guest, as many as it takes to have
    all of them."""
    first, lengths = w.flow_to(guest).sent, []
    while set(lengths) != set(LENGTHS):
        lengths.append(packet_length(first + len(lengths)))
    return lengths


def sizes(w):
    """Packets of all sizes reach guests by DMA, to buffers of one piece and of
    two."""
    for guest in (w.plain, w.pieces):
        w.wait_status(guest, "DMA")
        n = len(next_sizes(w, guest))
        took = w.deliver(guest, n)
        w.note("%d packets of %d to %d bytes in %.1f s"
               % (n, min(LENGTHS), max(LENGTHS), took))
    show = w.show()
    if not re.search(r"^  channel: %s, vchan 0" % re.escape(w.engine), show,
                     re.M):
        raise Failure("dma-show does not name %s: %s" % (w.engine, show))


def packed(w):
    """A guest whose virtqueues are packed gets packets of all sizes, and
    leaves."""
    locked = w.locked_kb()
    guest = w.add("dst2", Guest, w.region, packed=True)
    w.wait_status(guest, "DMA")
    w.wait_locked(locked + guest.memory_kb())
    n = len(next_sizes(w, guest))
    took = w.deliver(guest, n)
    w.send_and_catch(guest, N_FEW)
    w.arrive(guest)
    w.remove(guest)
    w.wait_locked(locked)
    w.note("%d packets in %.1f s" % (n, took))


def receive(w):
    """Packets of all sizes come from a guest by DMA, but for their heads, and
    go to another one by DMA."""
    def n_received():
        return w.counters(w.source)["rx_async_dma_packets"]

    lengths = next_sizes(w, w.plain)
    n_long = sum(length > RX_HEAD for length in lengths)
    w.set_rx(w.source, "true")
    try:
        before = n_received()
        took = w.deliver(w.plain, len(lengths))
        received = n_received() - before
        w.send(w.plain, N_FEW)
        w.wait_for(lambda: w.counters(w.source)["rx_async_in_flight"],
                   "nothing that is received is in flight")
        w.arrive(w.plain)
    finally:
        w.set_rx(w.source, "false")
    if received != n_long:
        raise Failure("%d packets were received by DMA, and not %d"
                      % (received, n_long))
    before = n_received()
    w.deliver(w.plain, N_FEW)
    if n_received() != before:
        raise Failure("packets were received by DMA with it turned off")
    w.note("%d of %d packets by DMA both ways in %.1f s"
           % (received, len(lengths), took))


def leave(w):
    """A guest leaves with copies in flight: these arrive, then its memory is
    unmapped and not written to any more, while another guest gets its
    packets."""
    guest = w.plain
    locked = w.locked_kb()
    n = w.send_and_catch(guest, N_FEW)
    guest.disconnect()
    w.wait_unmapped(guest.names())
    w.wait_locked(locked - guest.memory_kb())
    lost = w.flow_to(guest).sent - w.receive(guest)
    if lost:
        raise Failure("%d of %d packets in flight did not arrive" % (lost, n))
    w.check_flow(guest)
    left = [bytes(r.map) for r in (guest.rings, guest.memory)]
    w.deliver(w.pieces, N_FEW)
    if left != [bytes(r.map) for r in (guest.rings, guest.memory)]:
        raise Failure("memory of the guest that left was written to")
    w.note("%d KB unmapped, with %d packets in flight that arrived"
           % (guest.memory_kb(), n))
    guest.restart()
    w.wait_locked(locked)
    w.deliver(guest, 1)


def two_ports(w):
    """Two ports of one guest have the same memory; the one that mapped it
    leaves first, and comes back."""
    guest = w.plain
    locked = w.locked_kb()
    twin = w.add("dst2", Twin, guest)
    # By physical addresses it is the same place, mapped once.
    once = w.mode == "pa"
    both = locked + (0 if once else guest.memory_kb())
    w.wait_locked(both)
    w.send(guest, N_FEW)
    w.send(twin, N_FEW)
    w.arrive(guest, twin)
    w.send_and_catch(twin, N_FEW)
    guest.disconnect()
    w.wait_down(guest)
    w.wait_locked(locked)
    w.arrive(twin)
    w.deliver(twin, N_FEW)
    guest.restart()
    w.wait_locked(both)
    w.deliver(guest, 1)
    w.remove(twin)
    w.wait_locked(locked)
    w.deliver(guest, 1)
    w.note("%d KB mapped %s" % (guest.memory_kb(),
                                "once" if once else "twice"))


def hotplug(w):
    """Memory is added to a guest, taken from it, and exchanged, with copies in
    flight."""
    guest = w.plain
    locked = w.locked_kb()
    more = w.region(MORE_AT, stage.ROOM, guest.tag + "-more")
    w.send_and_catch(guest, N_FEW)
    guest.more = (more,)
    guest.set_mem_table()
    w.arrive(guest)
    w.wait_locked(locked + (more.size >> 10))
    w.send_and_catch(guest, N_FEW)
    guest.more = ()
    guest.set_mem_table()
    w.arrive(guest)
    w.wait_unmapped([more.name])
    w.wait_locked(locked)
    more.close()
    # What the receive buffers are in.
    w.send_and_catch(guest, N_FEW)
    guest.swap_memory()
    w.arrive(guest)
    w.wait_locked(locked + ((guest.memory.size - guest.old.size) >> 10))
    w.wait_unmapped([guest.old.name])
    left = bytes(guest.old.map)
    w.deliver(guest, N_FEW)
    if left != bytes(guest.old.map):
        raise Failure("memory that is gone was written to")
    w.note("%d KB added and taken away, %d KB exchanged"
           % (stage.ROOM >> 10, guest.old.size >> 10))


def stray(w):
    """Another engine copies to and from memory that is not mapped: the IOMMU
    refuses, the engine does not tell, and nobody else is hurt."""
    # (The switch hands an engine no such address: each is that of a place in a
    # region which it mapped itself, see vhost-guest-mem.h.)
    w.send(w.plain, N_FEW)
    text = run(plugin.STRAY, "--in-memory", "--no-telemetry", "-m", 64,
               "--file-prefix", "stray", "--iova-mode=va", "-a",
               w.other_engine, "-d", os.path.realpath(plugin.LIBRARY),
               timeout=STRAY_SECONDS, env=w.lab.env)
    # By name: whether the engine said that all was well, whether the bytes
    # arrived, and the address.
    found = {m[1]: (m[2] + m[3], int(m[4], 16)) for m in re.finditer(
        r"^(\w+) (\d) (\d) 0x([0-9a-f]+)$", text, re.M)}
    wrong = [name for name, how in (("before", "11"), ("to", "10"),
                                    ("between", "11"), ("from", "10"),
                                    ("after", "11"))
             if name not in found or found[name][0] != how]
    if wrong:
        raise Failure("copies %s went otherwise: %s" % (wrong, found))
    short = w.other_engine.split(":", 1)[1]
    expected = {("Write", short, found["to"][1]),
                ("Read", short, found["from"][1])}
    refused = set(w.new_faults())
    if refused != expected:
        raise Failure("the IOMMU refused %s and not %s"
                      % (sorted(refused), sorted(expected)))
    w.arrive(w.plain)
    w.note("refused: %s" % ", ".join("%s at 0x%x" % (what.lower(), address)
                                     for what, _, address in sorted(refused)))


def few_mappings(w):
    """The kernel allows too few mappings for all guests: one stays on CPU and
    says why, until another one has left."""
    plain, pieces = w.plain, w.pieces
    limit = vfio.limit()
    # Two for each guest, and one of the two that the last one needs.
    vfio.set_limit(w.own_mappings + 5)
    try:
        w.restart_switch(w.source, plain, pieces)
        w.wait_status(plain, "DMA")
        w.wait_status(pieces, REFUSED)
        left = vfio.free_mappings(w.switch.vswitchd.pid)
        if left != 1:
            raise Failure("%d mappings are left, not 1" % left)
        w.deliver(pieces, N_FEW, "cpu")
        w.deliver(plain, N_FEW)
        plain.disconnect()
        w.wait_unmapped(plain.names())
        pieces.restart()
        w.wait_up(pieces)
        w.wait_status(pieces, "DMA")
        w.deliver(pieces, N_FEW)
    finally:
        vfio.set_limit(limit)
    w.note("a port with one mapping to be had is " + REFUSED)


def small_pages(w):
    """A guest whose memory is not on hugetlbfs stays on CPU and says why."""
    locked = w.locked_kb()
    guest = w.add("dst2", Guest, Region)
    w.wait_status(guest, SMALL_PAGES)
    w.deliver(guest, len(next_sizes(w, guest)), "cpu")
    w.wait_locked(locked)
    w.deliver(w.plain, 1)
    w.remove(guest)
    w.note("it is " + SMALL_PAGES)


def late(w):
    """An engine behind the IOMMU comes when guests are on another one, which
    needs no mapping: the memory of these is mapped before it copies."""
    w.restart_switch(w.source, w.plain, w.pieces, extra=NO_ENGINE)
    w.deliver(w.plain, N_FEW)
    w.wait_locked(0)
    core = re.search(r"^pmd thread numa_id \d+ core_id (\d+):", w.show(), re.M)
    w.switch.set("vhost-async-dma-map", "%s@%s" % (core[1], w.engine))
    w.wait_for(lambda: "channel: " + w.engine in w.show(),
               "the PMD thread does not claim " + w.engine)
    for guest in w.plain, w.pieces:
        w.deliver(guest, N_FEW)
    w.check_no_fault()
    w.note("%d KB are mapped" % w.locked_kb())


# By DPDK's mode of addresses: each has a switch, and the last two in "va"
# leave it otherwise.
SCENARIOS = {
    "va": {"sizes": sizes, "packed": packed, "receive": receive,
           "leave": leave, "two-ports": two_ports, "hotplug": hotplug,
           "stray": stray, "few-mappings": few_mappings, "late": late},
    "pa": {"sizes": sizes, "packed": packed, "receive": receive,
           "leave": leave, "two-ports": two_ports, "hotplug": hotplug,
           "small-pages": small_pages},
}
