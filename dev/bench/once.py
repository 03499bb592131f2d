# Whether the benchmark measures what it is to, with this release of Open
# vSwitch and DPDK, in half a minute: each way of measuring once, of one build
# and the software engine, so that neither stock nor the model is needed.
# 'make check' does this; figures say nothing.

import re

from dev.bench import whole_switch
from dev.bench.harness import RECEIVE, TSO_SIZE, off, on_both_ways
from dev.common.command import Progress, Stop
from dev.common.files import read

# By DMA, whatever that costs.
SIZES = (1518, 9000)
POINTS = [{"size": size, "burst": 32, "cold": cold, "threshold": 0}
          for size in SIZES for cold in (0, 1)]
TSO_POINTS = [{"size": TSO_SIZE, "burst": 32, "cold": 0, "threshold": 0}]

# Name, points, whether with userspace TSO, arguments and command.
WAYS = (("send", POINTS, False, (), "run"),
        ("send-tso", TSO_POINTS, True, (), "run"),
        ("receive", POINTS, False, RECEIVE, "receive"),
        ("receive-checksums", POINTS[:2], True, RECEIVE, "receive"))

# What DPDK says of the machine, as that it has no larger hugepages.
HARMLESS = re.compile(r"\|dpdk\|WARN\|EAL: ")


def check_log(path):
    for line in read(path).splitlines():
        if re.search(r"\|(WARN|ERR|EMER)\|", line) and not HARMLESS.search(
                line):
            raise Stop("%s has: %s" % (path, line))


def check_rows(name, rows, variants):
    """How many go by DMA depends on how much of its core the engine gets."""
    engine = {v.name: v.engine for v in variants}
    for row in rows:
        by_dma = bool(engine[row["variant"]])
        if row["cycles"] <= 0 or bool(row["dma"]) != by_dma:
            raise Stop("%s, %s, %d bytes: %.1f cycles, %.2f of the packets by "
                       "DMA" % (name, row["variant"], row["size"],
                                row["cycles"], row["dma"]))


def measure(the_lab, loop, engine):
    variants = [off(engine), on_both_ways(engine, "real")]
    progress = Progress("the benchmark, once", len(WAYS) + 1)
    for name, points, tso, args, command in WAYS:
        check_rows(name, loop.measure(name, variants, points, 1, 1, rounds=3,
                                      tso=tso, args=args, command=command),
                   variants)
        for variant in variants:
            check_log(loop.log(variant, tso))
        progress.step(name)
    # Fails by itself if packets do not circulate, or are lost.
    whole_switch.measure(the_lab, variants[:1], loop.driver, 1, 1, progress)
    progress.done()
