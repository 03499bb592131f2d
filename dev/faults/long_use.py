"""A scenario: a long use in a short time.  Ports, bridges, queues and all
settings change at random under traffic, and what the switch has of the machine
at the end is what it had at the beginning."""

import re

from dev.faults.packets import Failure
from dev.lab.usage import files, memory_kb, threads

# What is the first of its kind takes something that stays: arenas of malloc(),
# tables that grow.  So it is measured from here on.
WARM_UP = 100
MEMORY_KB = {"VmRSS": 8192, "VmLck": 0, "HugetlbPages": 0,
             # Stacks of threads that ended are kept by the C library.
             "VmData": 49152}
HEAP_KB = 1024
# A thread has a pipe from when it waited for something first.
SPARE_FILES = {"pipe:[N]": 6}

PMD_MASKS = ("0x2", "0x1", "0x3")
MAPS = (None, "1@dma_model0", "0@dma_model1,1@dma_model0", "7@dma_model1",
        "1@nonesuch")
THRESHOLDS = (None, "auto", "0", "64", "1500", "4294967295", "wrong")
TIMEOUTS = (None, "1000", "500", "10000", "wrong")
SHAPES = (dict(size=1024, pairs=1), dict(size=256, pairs=2),
          dict(size=512, pairs=1, packed=True),
          dict(size=1024, pairs=2, packed=True))


class LongUse:
    def __init__(self, w):
        self.w, self.switch, self.rng = w, w.switch, w.rng
        self.name, self.bridge = "dst0", "br0"

    # What changes.

    def setting(self, key, values):
        self.switch.set(key, self.rng.choice(values))

    def pmd_mask(self):
        self.setting("pmd-cpu-mask", PMD_MASKS)

    def dma_map(self):
        self.setting("vhost-async-dma-map", MAPS)

    def threshold(self):
        self.setting("vhost-async-threshold", THRESHOLDS)

    def timeout(self):
        self.setting("vhost-async-timeout", TIMEOUTS)

    def support(self):
        self.setting("vhost-async-support", ("true", "false", "True"))

    def receive(self):
        self.setting("vhost-async-rx", ("true", "false"))

    def port_option(self):
        self.switch.vsctl("set", "Interface", self.name,
                          "options:vhost-async=%s"
                          % self.rng.choice(("true", "false")))

    def mtu(self):
        self.switch.vsctl("set", "Interface", self.name, "mtu_request=%d"
                          % self.rng.choice((9000, 9100, 9200)))

    def queues(self):
        sink = self.w.sinks[0]
        with self.w.unattended(sink):
            sink.restart(**self.rng.choice(SHAPES))

    def port(self):
        """It is deleted and added, maybe under another name."""
        self.switch.vsctl("del-port", self.name)
        self.name = self.rng.choice(("dst0", "other", "third"))
        self.bridge = "br0"
        self.switch.add_vhost(self.name, self.w.paths["dst0"], 2)

    def move(self):
        """It is on another bridge for a while, where no traffic comes to."""
        self.switch.vsctl("del-port", self.name)
        self.switch.add_bridge("br1")
        self.switch.add_port(self.name, "dpdkvhostuserclient", 2, "br1",
                             vhost_server_path=self.w.paths["dst0"])
        self.switch.vsctl("del-br", "br1")
        self.switch.add_vhost(self.name, self.w.paths["dst0"], 2)

    def server_port(self):
        self.switch.vsctl("del-port", "dst2")
        self.w.add_port("dst2")

    ACTIONS = (pmd_mask, dma_map, threshold, timeout, support, receive,
               port_option, mtu, queues, port, move, server_port)

    def restore(self):
        """As it was in the beginning."""
        for key in ("vhost-async-dma-map", "vhost-async-timeout",
                    "vhost-async-rx"):
            self.switch.set(key, None)
        self.switch.set("vhost-async-threshold", "1024")
        self.switch.set("pmd-cpu-mask", PMD_MASKS[0])
        self.switch.set("vhost-async-support", "true")
        self.switch.vsctl("del-port", self.name)
        self.name = "dst0"
        self.w.add_port("dst0")
        with self.w.unattended(self.w.sinks[0]):
            self.w.sinks[0].restart(**SHAPES[0])
        self.w.traffic.wait_delivered(200, 20)

    # What the switch has.

    def heap(self):
        """Bytes of DPDK's memory that are in use, but for mempools: those that
        are empty go when the next one comes."""
        text = self.switch.appctl("dpdk/get-malloc-stats")
        used = sum(int(n) for n in re.findall(r"Alloc_size:(\d+)", text))
        text = self.switch.appctl("netdev-dpdk/get-mempool-info")
        for part in text.split("mempool <")[1:]:
            size, total = (re.search(r"^\s*%s=(\d+)" % key, part, re.M)
                           for key in ("size", "total_obj_size"))
            if size and total:
                used -= int(size[1]) * int(total[1])
        return used

    def usage(self):
        self.restore()
        pid = self.switch.vswitchd.pid
        return dict(threads=threads(pid), files=files(pid),
                    memory=memory_kb(pid), heap=self.heap())


def compare(before, after):
    bad = []
    # A thread has its parent's name at first.
    if len(after["threads"]) != len(before["threads"]):
        bad.append("threads %s, not %s"
                   % (after["threads"], before["threads"]))
    for kind, n in after["files"].items():
        had = before["files"].get(kind, 0)
        if n > had + SPARE_FILES.get(kind, 0):
            bad.append("%d files '%s', not %d" % (n, kind, had))
    for key, kb in after["memory"].items():
        if kb > before["memory"][key] + MEMORY_KB[key]:
            bad.append("%s %d kB, not %d" % (key, kb, before["memory"][key]))
    if after["heap"] > before["heap"] + HEAP_KB * 1024:
        bad.append("%d bytes of DPDK's memory, not %d"
                   % (after["heap"], before["heap"]))
    return bad


def long_use(w):
    """Everything changes at random under traffic, again and again: what the
    switch has of the machine stays the same."""
    t = w.start_traffic()
    use = LongUse(w)
    before = None
    n = w.rounds(100)
    for i in range(WARM_UP + n):
        if i == WARM_UP:
            before = use.usage()
        w.rng.choice(use.ACTIONS)(use)
        t.wait_delivered(50, 20)
    after = use.usage()
    w.note("%d changes, resident %+d kB, DPDK's %+d kB"
           % (n, after["memory"]["VmRSS"] - before["memory"]["VmRSS"],
              (after["heap"] - before["heap"]) // 1024))
    bad = compare(before, after)
    if bad:
        raise Failure("; ".join(bad))
    w.account(delivered=False, exact=False, limit=None, touched=(0, 1, 2))
