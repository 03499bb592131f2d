# What drivers of DPDK for hardware take of a PMD thread, beside the software
# engine: their devices are in memory and copy as that one does, by a thread on
# another core; and what a ring of few descriptors does, beside the ideal
# engine.  python3 -m dev.bench drivers; writes out/bench/drivers.json.

import json

from dev.bench import harness, output
from dev.bench.harness import STOCK, on, on_both_ways, points
from dev.common.command import Progress
from dev.common.files import out, write
from dev.dma_devices import plugin as devices

SIZES = (64, 1518, 9000)
BURSTS = (1, 32)
# Turns, and processes per variant that share them.
TURNS = (12, 6)

ENGINES = ("ideal", "small", "real") + tuple(devices.DEVICES)
# Processes that are there together.
N_VARIANTS = 1 + len(ENGINES)


def measure(loop, engine):
    """Returns a report of two parts, by the way that packets go."""
    cells = points(SIZES, BURSTS)
    progress = Progress("measuring drivers", 2 * TURNS[0])
    report = {
        "to guests": loop.measure(
            "drivers", [STOCK] + [on(engine, e) for e in ENGINES], cells,
            *TURNS, rounds=10, progress=progress),
        "from guests": loop.measure(
            "drivers", [STOCK] + [on_both_ways(engine, e) for e in ENGINES],
            cells, *TURNS, rounds=10, progress=progress,
            args=harness.RECEIVE, command="receive")}
    progress.done()
    return report


def tell(report):
    for way, results in report.items():
        output.show("Packets %s, engines side by side: cycles per packet "
                    "(ratio to stock)" % way,
                    output.cells_table(results))
    write(out("bench", "drivers.json"),
          json.dumps(dict(report, machine=output.machine()), indent=1) + "\n")
