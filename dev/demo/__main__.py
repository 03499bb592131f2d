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

"""Real traffic through Open vSwitch to guests whose vhost ports copy by DMA.

First TCP between two network namespaces, through the switch and a guest that
forwards; then a file of mixed packets to a guest that records, compared packet
by packet.  The last line says PASS or FAIL.
"""

import argparse
import contextlib
import json
import os
import re
import select
import signal
import sys
import time

from dev import lab as lablib
from dev.common.children import python
from dev.common.command import program
from dev.demo import traffic
from dev.dma_devices import plugin as devices
from dev.dma_model import plugin
from dev.lab import LabError

TRAFFIC = python(traffic.__name__)
FILE_SIZE = 150 << 20
MTU = 9000
TCP_PORT = 5001
ADDR_A, ADDR_B = "192.0.2.1", "192.0.2.2"

# MB: the switch's 9000-byte buffers; each guest's rings and buffers.
SWITCH_MB = 512
GUEST_MB = 128

QUEUE_SIZE = 1024

TOPOLOGY = {
    "tcp": """\
   namespace A               Open vSwitch                  guest 1
  {a:>12} --- veth --- nic1 <-----> v1 === vhost === virtio-user0
                                                            | forwards
  {b:>12} --- veth --- nic2 <-----> v2 === vhost === virtio-user1
   namespace B
""",
    "pcap": """\
   namespace C               Open vSwitch                  guest 2
     sent.pcap --- veth --- nic3 ------> v3 === vhost === virtio-user0
                                                            | records
                                                      received.pcap
"""}

DMA, CPU = "tx_async_dma_packets", "tx_async_cpu_packets"
IN_FLIGHT = "tx_async_in_flight"


def jsons(process, timeout):
    """Yields what a helper prints, one JSON object a line, until it ends."""
    deadline = time.monotonic() + timeout
    pipe = process.popen.stdout
    pending = b""
    while True:
        if select.select([pipe], [], [], 0.1)[0]:
            data = os.read(pipe.fileno(), 65536)
            if not data:
                return
            pending += data
            *lines, pending = pending.split(b"\n")
            for line in lines:
                yield json.loads(line)
        process.lab.check_daemons()
        if time.monotonic() > deadline:
            raise LabError("%s did not end within %d s"
                           % (process.name, timeout))


class Demo:
    def __init__(self, lab, args):
        self.lab = lab
        self.args = args
        self.steps = lab.steps
        self.switch = None
        self.data = None
        self.nics = []
        self.vhost_ports = []
        self.stats = {}
        self.result = None

    # The switch and what hangs on it.

    def reserve(self):
        huge = self.lab.need_memory(SWITCH_MB
                                    + len(self.args.only) * GUEST_MB + 16)
        self.data = self.lab.data_dir(2 * (FILE_SIZE >> 20)
                                      + self.args.packets // 250)
        return huge.added

    def start(self):
        args, lab, cores = self.args, self.lab, self.lab.cores
        with self.steps.step("reserving hugepages"):
            added = self.reserve()
            self.steps.note("added %d pages of 2 MB, to be given back at the "
                            "end" % added if added else "enough are free")
        with self.steps.step("starting Open vSwitch"):
            self.switch = lab.start_switch(
                args.build, dma=args.dma, memory=SWITCH_MB,
                other_config=None if args.stock else {
                    "vhost-async-support": str(args.use_dma).lower(),
                    "vhost-async-rx": str(args.use_dma).lower(),
                    # A software engine may cost more than it saves.
                    "vhost-async-threshold": "1024"})
            self.switch.add_bridge()
            self.steps.note(
                "%s\ncores: PMD %d, dmadev's copy thread %d, guest %d, "
                "everything else %d"
                % (self.switch.vsctl("get", "Open_vSwitch", ".",
                                     "dpdk_version").strip().strip('"'),
                   cores.pmds[0], cores.dma, cores.guest, cores.main))

    def topology(self):
        for part in self.args.only:
            lablib.say(TOPOLOGY[part].format(a=ADDR_A, b=ADDR_B))

    def nic(self, number, ns, ns_if, addresses=()):
        switch_if = "sw%d" % number
        self.lab.veth(switch_if, ns, ns_if, addresses, MTU)
        name = "nic%d" % number
        self.switch.add_nic(name, switch_if, number, MTU)
        self.nics.append(name)
        return name

    def vhost(self, number):
        """Adds a vhost port and returns the guest's side of it."""
        name = "v%d" % number
        path = self.lab.path(name + ".sock")
        self.switch.add_vhost(name, path, 10 + number, MTU)
        self.vhost_ports.append(name)
        return ",".join(["path=" + path, "server=1",
                         "queue_size=%d" % QUEUE_SIZE]
                        + [o for o in [self.args.virtio] if o])

    def connect(self, guest, ports):
        guest.wait_ready()
        guest.cmd("set fwd io retry" if len(ports) > 1 else "set fwd io")
        guest.cmd("start")
        for port in ports:
            self.switch.wait_for(
                lambda port=port: self.switch.link_up(port), 20, guest,
                "the link of %s did not come up" % port)

    GUEST_ARGS = ("--nb-cores=1", "--rxd=%d" % QUEUE_SIZE,
                  "--txd=%d" % QUEUE_SIZE, "--total-num-mbufs=16384")

    def flows(self, *pairs):
        for a, b in pairs:
            self.switch.ofctl("add-flow", self.switch.BRIDGE,
                              "in_port=%s,actions=output:%s" % (a, b))

    # Counters.

    def dma_show(self, when):
        if not self.args.stock:
            self.steps.note("$ ovs-appctl dpif-netdev/dma-show    # %s"
                            % when)
            text = self.switch.appctl("dpif-netdev/dma-show")
            self.steps.note(text)
            m = re.search(r"engine: (\w+)", text)
            if m and m.group(1) != self.args.engine:
                raise LabError("%s has the completion engine %s, not %s: "
                               "build it again with 'make build ENGINE=%s'"
                               % (self.args.build, m.group(1),
                                  self.args.engine, self.args.engine))

    def drain(self, ports):
        """Waits until the ports' counters are up to date, checks them and
        remembers them: a vhost port that has lost its guest has none."""
        stats = self.switch.settled_statistics(
            ports, meanwhile=lambda: self.steps.progress(
                "waiting for the counters of the ports"))
        self.stats.update(stats)
        return stats

    def check_counters(self, stats):
        """Every packet that the port took went by DMA or by CPU, or was
        dropped for a named reason; and none is under way."""
        if self.args.stock:
            return
        for port, s in stats.items():
            missing = [key for key in (DMA, CPU, IN_FLIGHT) if key not in s]
            if missing:
                if self.args.use_dma:
                    raise LabError("port %s has no counter %s"
                                   % (port, ", ".join(missing)))
                continue
            if s[IN_FLIGHT]:
                raise LabError("%d copies are still in flight on port %s"
                               % (s[IN_FLIGHT], port))
            for unit in ("packets", "bytes") if self.args.use_dma else ():
                dma = s["tx_async_dma_" + unit]
                cpu = s["tx_async_cpu_" + unit]
                total = s.get("tx_" + unit, 0)
                if dma + cpu != total:
                    raise LabError(
                        "the counters of port %s do not add up: %d %s by "
                        "DMA and %d by CPU, but %d sent"
                        % (port, dma, unit, cpu, total))

    # TCP.

    def tcp(self):
        lab, steps = self.lab, self.steps
        with steps.step("connecting namespaces A and B through guest 1"):
            ns_a, ns_b = lab.netns("a"), lab.netns("b")
            nic1 = self.nic(1, ns_a, "eth0", [ADDR_A + "/24"])
            nic2 = self.nic(2, ns_b, "eth0", [ADDR_B + "/24"])
            vdevs = ["net_virtio_user%d,%s" % (i, self.vhost(i + 1))
                     for i in (0, 1)]
            self.flows((nic1, "v1"), ("v1", nic1), (nic2, "v2"),
                       ("v2", nic2))
            guest = lab.guest("guest1", vdevs, self.GUEST_ARGS + (
                "--max-pkt-len=9100", "--enable-scatter",
                "--tx-offloads=0x8000"), memory=GUEST_MB)
            self.connect(guest, ("v1", "v2"))
        with steps.step("TCP from A to B, with ping beside it"):
            source = os.path.join(self.data, "file")
            size, digest = traffic.repeat_file(
                self.switch.program("ovs-vswitchd"), source, FILE_SIZE)
            self.transfer(ns_a, ns_b, source, size, digest)
        with steps.step("draining"):
            guest.cmd("stop")
            stats = self.drain(("v1", "v2"))
            self.check_counters(stats)
            for port, s in stats.items():
                steps.note("%s: %d packets sent to the guest, %d dropped"
                           % (port, s.get("tx_packets", 0),
                              s.get("tx_dropped", 0)))
            self.show_losses()
            guest.stop()

    def transfer(self, ns_a, ns_b, source, size, digest):
        lab, steps = self.lab, self.steps
        target = os.path.join(self.data, "copy")
        receiver = lab.process(
            "the TCP receiver",
            TRAFFIC + ["tcp-receive", ADDR_B, TCP_PORT, target],
            netns=ns_b, capture=True, env=lab.python_env(),
            log=lab.log_path("tcp-receiver"))
        reports = jsons(receiver, 120)
        if not next(reports, {}).get("listening"):
            receiver._wait(2)
            receiver.check_alive()
        ping = lab.process(
            "ping", ["ping", "-i", "0.2", "-s", "1400", ADDR_B],
            netns=ns_a, capture=True, stop_signal=signal.SIGINT,
            log=lab.log_path("ping"))
        time.sleep(1)
        sender = lab.process(
            "the TCP sender",
            TRAFFIC + ["tcp-send", ADDR_B, TCP_PORT, source],
            netns=ns_a, env=lab.python_env(),
            log=lab.log_path("tcp-sender"))
        shown = False
        last = {}
        for last in reports:
            done = last["bytes"]
            if not last.get("final"):
                steps.progress("%d of %d MB" % (done >> 20, size >> 20))
            if not shown and done > size // 3:
                shown = True
                self.dma_show("while TCP runs")
        receiver.stop()
        sender._wait(5)
        if sender.popen.returncode:
            sender.check_alive()
        sender.stop()
        time.sleep(1)
        output = self.end_ping(ping)
        if not last.get("final"):
            raise LabError("the TCP transfer broke off after %d of %d bytes"
                           % (last.get("bytes", 0), size))
        if last["bytes"] != size or last["sha256"] != digest:
            raise LabError(
                "the file arrived damaged: sent %d bytes, SHA-256 %s; got "
                "%d bytes, SHA-256 %s"
                % (size, digest, last["bytes"], last["sha256"]))
        steps.note("%d bytes in %.2f s (%.0f Mbit/s), SHA-256 equal: %s"
                   % (size, last["seconds"],
                      size * 8e-6 / max(last["seconds"], 1e-6), digest))
        m = re.search(r"(\d+) packets transmitted, (\d+) received.*?"
                      r"([\d.]+)% packet loss", output)
        rtt = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", output)
        if not m or not rtt:
            raise LabError("ping from A to B got no answer")
        steps.note("ping: %s sent, %s answered, %s%% lost; round trip "
                   "min/avg/max %s/%s/%s ms" % (m.groups() + rtt.groups()))

    @staticmethod
    def end_ping(ping):
        """Ends ping between an answer and the next question: what is under
        way would count as lost."""
        pipe = ping.popen.stdout
        output = b""
        asked = False
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            if not select.select([pipe], [], [], 0.1)[0]:
                continue
            data = os.read(pipe.fileno(), 65536)
            output += data
            if not data:
                break
            # What came first has waited in the pipe.
            if not asked and time.monotonic() > deadline - 2.5:
                ping.signal(signal.SIGINT)
                asked = True
        ping.stop()
        return output.decode()

    # Packet by packet.

    def pcap(self):
        lab, steps, args = self.lab, self.steps, self.args
        sent = os.path.join(self.data, "sent.pcap")
        received = os.path.join(self.data, "received.pcap")
        with steps.step("making %d packets, seed %d"
                        % (args.packets, args.seed)):
            n, total = traffic.write_pcap(
                sent, traffic.make_packets(args.packets, args.seed))
            steps.note("%d to %d bytes, %d MB in all; IPv4 and IPv6, TCP "
                       "and UDP, with and without VLAN tag"
                       % (traffic.MIN_LEN, traffic.MAX_LEN, total >> 20))
        with steps.step("connecting namespace C to guest 2"):
            ns_c = lab.netns("c")
            nic = self.nic(3, ns_c, "eth0")
            vdev = "net_virtio_user0," + self.vhost(3)
            self.flows((nic, "v3"))
            guest = lab.guest(
                "guest2", [vdev, "net_pcap0,tx_pcap=" + received],
                self.GUEST_ARGS, memory=GUEST_MB)
            self.connect(guest, ("v3",))
        with steps.step("sending them"):
            self.send(ns_c, sent, received)
        with steps.step("draining"):
            stats = self.drain(("v3",))
            guest.cmd("stop")
            guest.stop()
        with steps.step("comparing packet by packet"):
            self.result = traffic.compare(sent, received)
            for example in self.result["examples"]:
                steps.note(example)
            r = self.result
            bad = ["%d %s" % (r[key], key) for key in
                   ("lost", "corrupted", "duplicated", "reordered")
                   if r[key]]
            if bad:
                raise LabError("%s of %d packets (%d dropped by port v3)"
                               % (", ".join(bad), r["sent"],
                                  stats["v3"].get("tx_dropped", 0)))
            self.check_counters(stats)
            if stats["v3"].get("tx_packets") != n:
                raise LabError("port v3 counts %d packets, %d were sent"
                               % (stats["v3"].get("tx_packets"), n))

    def send(self, ns, sent, received):
        lab, steps, n = self.lab, self.steps, self.args.packets
        sender = lab.process(
            "the sender", TRAFFIC + ["send", sent, "eth0", received],
            netns=ns, capture=True, env=lab.python_env(),
            log=lab.log_path("sender"))
        shown = False
        last = {}
        for last in jsons(sender, 60 + n // 500):
            steps.progress("%d of %d packets" % (last["sent"], n))
            if not shown and last["sent"] > n // 3:
                shown = True
                self.dma_show("while packets run")
        sender._wait(5)
        if not last.get("final"):
            sender.check_alive()
            raise LabError("the sender stopped early")
        sender.stop()
        steps.note("%d packets in %.1f s (%d per s)"
                   % (n, last["seconds"], n / last["seconds"]))
        if last["stalls"]:
            steps.note("packets stopped arriving %d times"
                       % last["stalls"])

    # All of it.

    def run(self):
        try:
            return self.run_steps()
        except LabError:
            self.lab.check_daemons()
            if self.switch and self.switch.vswitchd:
                # The reason is on its way; this may explain it.
                with contextlib.suppress(LabError):
                    self.show_losses()
                    self.dma_show("at the failure")
            raise

    def show_losses(self):
        for nic in self.nics:
            missed = self.switch.statistics(nic).get("rx_missed_errors")
            if missed:
                self.steps.note("%s: %d packets missed by the capture that "
                                "stands in for a NIC, before the switch"
                                % (nic, missed))
        for port in self.vhost_ports:
            bad = ["%s=%d" % (key, value) for key, value
                   in self.switch.statistics(port).items()
                   if value and re.search("drop|err|fail", key)]
            if bad:
                self.steps.note("%s: %s" % (port, ", ".join(bad)))

    def run_steps(self):
        self.topology()
        self.start()
        if "tcp" in self.args.only:
            self.tcp()
        if "pcap" in self.args.only:
            self.pcap()
        self.dma_show("after the traffic")
        dma = sum(s.get(DMA, 0) for s in self.stats.values())
        cpu = sum(s.get(CPU, 0) for s in self.stats.values())
        if self.args.use_dma and not dma:
            raise LabError("no copy went through DMA")
        if not self.args.use_dma and dma:
            raise LabError("%d copies went through DMA although async is off"
                           % dma)
        if self.args.statistics:
            with open(self.args.statistics, "w") as f:
                json.dump(self.stats, f)
        with self.steps.step("stopping Open vSwitch"):
            self.switch.stop()
        return dma, cpu


def preflight(args):
    """What can be known before anything is touched."""
    if os.geteuid():
        raise LabError("this must run as root: use sudo")
    lablib.need_release()
    if not args.preflight:
        lablib.Switch.check_build(args.build)
    lablib.need_programs(
        ("dpdk-testpmd", "dpdk-dev"), ("ip", "iproute2"),
        ("ethtool", "ethtool"), ("ping", "iputils-ping"),
        ("sysctl", "procps"))
    if args.driver:
        lablib.need_driver("dma_" + args.driver)
    elif args.dma and not args.model:
        lablib.need_driver("dma_skeleton")
    if not args.preflight:
        for what, wanted in ((devices, args.driver), (plugin, args.model)):
            if wanted:
                lablib.need_file(what.LIBRARY, what.REMEDY)
    lablib.need_file("/dev/net/tun", "run 'modprobe tun'")
    lablib.need_driver("net_virtio")
    lablib.need_driver("net_pcap")


def model_arguments(device):
    """The arguments of EAL for 'device', a dma_model with its parameters."""
    if not re.match(r"dma_model\d+(,|$)", device):
        raise LabError("--model %s: name the device dma_model0, and its "
                       "parameters after that, as in "
                       "dma_model0,latency_us=5" % device)
    if re.search(r",copy=none(,|$)", device):
        raise LabError("--model %s: copy=none copies nothing, so that "
                       "everything would arrive wrong; it is for benchmarks. "
                       "Leave it out." % device)
    return "-d %s --vdev=%s" % (os.path.realpath(plugin.LIBRARY), device)


def parse_args():
    parser = argparse.ArgumentParser(
        prog=program(), description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="out/defer",
                        help="build directory of Open vSwitch")
    parser.add_argument("--engine", default="defer",
                        help="completion engine that the build has")
    parser.add_argument("--only", choices=("tcp", "pcap"),
                        help="only this part")
    parser.add_argument("--async", choices=("on", "off"), default="on",
                        dest="use_dma", help="vhost-async-support")
    parser.add_argument("--packets", type=int, default=100000,
                        help="how many packets are compared")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--virtio", metavar="OPTIONS", default="",
                        help="more options for the guests' virtio-user "
                        "devices, such as packed_vq=1,in_order=0")
    parser.add_argument("--model", metavar="DEVICE", default="",
                        help="a model of a hardware engine instead of the "
                        "software dmadev: dma_model0,latency_us=5,gbps=30 "
                        "for instance")
    parser.add_argument("--driver", choices=sorted(devices.DEVICES),
                        help="that driver of DPDK, on a device in memory")
    parser.add_argument("--iova", choices=("va", "pa"), default="va",
                        help="with --driver: the IOVA mode of DPDK; pa is "
                        "that of a device without an IOMMU")
    parser.add_argument("--preflight", action="store_true",
                        help="only see whether this machine will do; no "
                        "build is needed")
    parser.add_argument("--logs", metavar="DIR",
                        help="copy all logs there at the end")
    parser.add_argument("--statistics", metavar="FILE",
                        help="write those of the ports there, as JSON")
    # For comparison with an Open vSwitch without the series.
    parser.add_argument("--stock", action="store_true",
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.packets < 1:
        parser.error("--packets %d: at least 1 is needed" % args.packets)
    args.only = (args.only,) if args.only else ("tcp", "pcap")
    args.use_dma = args.use_dma == "on" and not args.stock
    args.dma = not args.stock
    if args.driver and (args.model or args.stock):
        parser.error("--driver %s: without --model and --stock"
                     % args.driver)
    return args


def main():
    args = parse_args()
    lab = None
    try:
        if args.model:
            args.dma = model_arguments(args.model)
        preflight(args)
        lab = lablib.Lab(keep_logs=args.logs)
        with lab:
            if args.driver:
                args.dma = devices.eal_arguments(
                    args.driver, iova=args.iova, lcore=lab.cores.dma)
            demo = Demo(lab, args)
            if args.preflight:
                demo.reserve()
                return 0
            dma, cpu = demo.run()
    except (LabError, traffic.TrafficError, OSError,
            lablib.Interrupted) as e:
        return lablib.report_failure("demo", lab, e)
    r = demo.result or dict.fromkeys(
        ("sent", "received", "lost", "corrupted", "reordered"), 0)
    print("demo: PASS engine=%s%s sent=%d received=%d lost=%d corrupted=%d "
          "reordered=%d dma_copies=%d cpu_copies=%d"
          % (args.engine if args.use_dma else "none",
             " driver=" + args.driver if args.driver else "", r["sent"],
             r["received"], r["lost"], r["corrupted"], r["reordered"], dma,
             cpu), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
