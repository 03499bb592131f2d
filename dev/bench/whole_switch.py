# The whole switch in a lossless loop: a guest with two ports (testpmd on
# virtio-user) and ovs-vswitchd pass a fixed number of packets round and round,
#
#     guest port 0 -> v0, switch, v1 -> guest port 1 -> guest port 0 ...
#     guest port 1 -> v1, switch, v0 -> guest port 0 -> guest port 1 ...
#
# so that nothing can overflow; that nothing got lost is checked.  One PMD
# thread has a core of its own, and counts its cycles as Open vSwitch does.
# Variants take turns, a few seconds each, in a new switch each time.
#
# A guest sends as many bytes as it gets; the CPU copies those unless a variant
# has DMA both ways.  A ratio is for all that the PMD thread does.
#
# An ideal engine moves nothing.  For the switch to see the same headers again,
# the CPU first copies for a while, until all buffers of the guest have them,
# and a packet fits into one buffer.

import contextlib
import os
import re
import statistics
import time

from dev.bench import harness
from dev.lab import LabError

SIZES = (64, 1518, 9000)
# Packets in each of the two loops.  The guest offers 1024 buffers.
BURSTS = {64: 4, 1518: 4, 9000: 2}
BURST = 32

# Open vSwitch takes as many buffers of 9000 bytes as fit in a power of two;
# the vhost library needs some of the rest.
SWITCH_MB = 1024
GUEST_MB = 192
QUEUE_SIZE = 1024
GUEST_ARGS = ("--nb-cores=1", "--rxd=%d" % QUEUE_SIZE,
              "--txd=%d" % QUEUE_SIZE, "--total-num-mbufs=8192",
              "--mbuf-size=9728")

SETTLE = .4                     # Seconds.
WINDOW = .2
BY_CPU = 4294967295             # A threshold.

PORTS = ("v0", "v1")


class Loop:
    """One variant's switch and guest."""

    def __init__(self, lab, variant, driver):
        self.lab = lab
        self.variant = variant
        config = {"dpdk-extra": "--no-pci" + harness.eal_engine(
            variant.engine, driver, lab.cores)}
        if variant.build != "stock":
            config["vhost-async-support"] = str(bool(variant.engine)).lower()
        if variant.rx:
            config["vhost-async-rx"] = "true"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lab.path("conf.db"))
        self.switch = lab.start_switch(harness.out(variant.build),
                                       dma=False, memory=SWITCH_MB,
                                       other_config=config)
        self.switch.add_bridge()
        vdevs = []
        for i, port in enumerate(PORTS):
            path = lab.path(port + ".sock")
            self.switch.add_vhost(port, path, i + 1)
            vdevs.append("virtio_user%d,path=%s,server=1,queue_size=%d"
                         % (i, path, QUEUE_SIZE))
        # What is no IP packet would be no packet of ours.
        for a, b in (PORTS, PORTS[::-1]):
            self.switch.ofctl("add-flow", self.switch.BRIDGE,
                              "in_port=%s,ip,actions=output:%s" % (a, b))
        self.guest = lab.guest(variant.name, vdevs, GUEST_ARGS,
                               memory=GUEST_MB)
        self.guest.wait_ready()
        self.switch.wait_for(self._is_connected, 30, self.guest,
                             "the links of %s did not come up"
                             % " and ".join(PORTS), pause=.2)

    def _is_connected(self):
        # A guest that lost its connection takes another one when it looks at
        # the link.
        self.guest.cmd("show port info all")
        return all(map(self.switch.link_up, PORTS))

    def close(self):
        self.guest.stop()
        self.switch.stop()
        self.switch.ovsdb.stop()

    def _drain(self):
        """The guest takes all packets off the loops."""
        self.guest.cmd("set fwd rxonly")
        self.guest.cmd("start")
        time.sleep(.1)
        self.guest.cmd("stop")

    def _set_threshold(self, value):
        if self.variant.engine:
            self.switch.set("vhost-async-threshold", value)

    def _stats(self):
        """Packets, busy cycles, and their share, of the PMD thread."""
        text = self.switch.appctl("dpif-netdev/pmd-perf-show", "-pmd",
                                  str(self.lab.cores.pmds[0]))
        found = [re.search(pattern, text) for pattern in (
            r"Rx packets: +(\d+)", r"Used TSC cycles: +(\d+)",
            r"busy iterations: +\d+ +\( *([\d.]+) % of used cycles\)")]
        if not all(found):
            raise LabError("cannot read pmd-perf-show:\n" + text)
        packets, cycles, busy = [float(m[1]) for m in found]
        return packets, cycles * busy / 100, busy / 100

    def _check_lossless(self):
        """After the guest stopped: each port sent what the other got, the
        guest dropped nothing."""
        for a, b in (PORTS, PORTS[::-1]):
            self.switch.wait_for(
                lambda a=a, b=b: self._counter(a, "rx") == self._counter(
                    b, "tx"), 2, self.guest,
                "%s: what %s sent is not what %s received: packets were lost"
                % (self.variant.name, b, a))
        text = self.guest.cmd("show fwd stats all")
        dropped = [int(n) for n in re.findall(r"TX-dropped: *(\d+)", text)]
        if not dropped or any(dropped):
            raise LabError("%s: the guest dropped packets" % self.variant.name)

    def _counter(self, port, way):
        text = self.switch.ofctl("dump-ports", self.switch.BRIDGE, port)
        return int(re.search(way + r" +pkts=(\d+)", text)[1])

    def _window(self, size):
        self.switch.appctl("dpif-netdev/pmd-stats-clear")
        began = time.monotonic()
        time.sleep(WINDOW)
        packets, cycles, busy = self._stats()
        took = time.monotonic() - began
        if not packets:
            raise LabError("%s: packets of %d bytes do not circulate"
                           % (self.variant.name, size))
        return {"cycles": cycles / packets, "mpps": packets / took / 1e6,
                "busy": busy}

    def measure(self, size, windows):
        """Returns busy cycles per packet, millions of packets per second and
        the busy share of the PMD thread, of some windows of time."""
        self._drain()
        self.guest.cmd("clear fwd stats all")
        self._set_threshold(BY_CPU)
        self.guest.cmd("set txpkts %d" % size)
        self.guest.cmd("set fwd io retry")
        self.guest.cmd("start tx_first %d" % BURSTS[size])
        time.sleep(SETTLE)
        self._set_threshold(None)
        time.sleep(SETTLE / 2)
        found = [self._window(size) for _ in range(windows)]
        self.guest.cmd("stop")
        self._check_lossless()
        return found


def measure(lab, variants, driver, generations, windows, progress):
    """Rows of medians, compared to the first variant."""
    samples = {}
    for generation in range(generations):
        k = generation % len(variants)
        for variant in variants[k:] + variants[:k]:
            loop = Loop(lab, variant, driver)
            for size in SIZES:
                samples.setdefault((variant.name, size), []).extend(
                    loop.measure(size, windows))
            loop.close()
            progress.step(variant.name)
    rows = []
    for size in SIZES:
        stock = samples[variants[0].name, size]
        for variant in variants:
            mine = samples[variant.name, size]
            ratios = [a["cycles"] / s["cycles"] for a, s in zip(mine, stock)]
            rates = [a["mpps"] / s["mpps"] for a, s in zip(mine, stock)]
            q1, cycles, q3 = harness.spread([s["cycles"] for s in mine])
            rows.append({
                "variant": variant.name, "size": size,
                "circulating": 2 * BURST * BURSTS[size],
                "cycles": cycles, "q1": q1, "q3": q3,
                "ratio": statistics.median(ratios),
                **dict(zip(("ratio_low", "ratio_high"),
                           harness.median_interval(ratios))),
                "mpps": statistics.median(s["mpps"] for s in mine),
                "mpps_ratio": statistics.median(rates),
                **dict(zip(("mpps_low", "mpps_high"),
                           harness.median_interval(rates))),
                "busy": statistics.median(s["busy"] for s in mine),
                "turns": len(mine)})
    return rows
