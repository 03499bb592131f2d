# Measures what copying to vhost ports costs a PMD thread, series against
# stock.
#   python3 -m dev.bench            everything, into out/bench: a table, CSV,
#                                   JSON, plots
#   python3 -m dev.bench quick      the ratios that are goals, one line each
#   python3 -m dev.bench drivers    what DPDK's drivers for hardware cost
#   python3 -m dev.bench once       whether it works, for 'make check'
#   python3 -m dev.bench report     table and plots of the last run once more;
#                                   with --doc into dev/bench/figures, too
#   python3 -m dev.bench compare A B    two runs, files or folders
#
# Send and reap: harness.py; the whole switch: whole_switch.py; goals:
# goals.py; what comes out: output.py and page.py.

import argparse
import contextlib
import os
import tempfile
import time

from dev import lab
from dev.bench import (compare, drivers, goals, harness, once, output, page,
                       whole_switch)
from dev.bench.harness import (SCALE, SIZES, STOCK, STOCK_TWICE, TSO_SIZE,
                               mix_points, off, on, on_both_ways, points)
from dev.common.command import (ENGINES, Progress, Stop, check_engine, main,
                                program)
from dev.common.files import out, write
from dev.dma_devices import plugin as devices
from dev.dma_model import plugin
from dev.ovs import tree

# How often each part is done: turns, and processes per variant that share
# them.
FULL = {"ideal": (12, 6), "real": (12, 6), "tso": (8, 4), "off": (24, 12),
        "ports": (12, 6), "guests": (12, 6), "receive": (12, 6),
        "receive-latency": 7, "buffers": 5, "crossover": 2,
        "latency": 7, "scale": 7, "in-flight": 3, "switch": 3,
        "switch-windows": 4}
QUICK = {"ideal": (24, 12), "real": (24, 12), "tso": (12, 6),
         "off": (48, 24), "ports": (12, 6), "latency": 9, "scale": 9}
QUICK_SIZES = (64, 512, 1518, 9000)
QUICK_BURSTS = (1, 4, 32)


def build_all(builds):
    for build in builds:
        if build == "stock":
            tree.make_stock(tree.NO_TESTS)
        else:
            tree.make_build(build, tree.NO_TESTS)
        harness.build_harness(build)
    return plugin.build()


# The goals.

def off_part(loop, engine, turns, progress):
    """What is looked for is less than what the place in memory does to a
    process, hence a new pair of processes every other turn.  A second process
    of stock tells how much that is."""
    return loop.measure("off", [STOCK, STOCK_TWICE, off(engine)],
                        [p for p in points(SIZES, (32,)) if not p["cold"]],
                        *turns, progress=progress)


def quick(loop, engine):
    """Measures the goals of one completion engine."""
    ideal = [STOCK, on(engine, "ideal")]
    progress = Progress("measuring", sum(QUICK[k][0] for k in (
        "ideal", "real", "tso", "off", "ports")) + 4)
    report = {"off": off_part(loop, engine, QUICK["off"], progress)}
    cells = points(QUICK_SIZES, QUICK_BURSTS)
    loop.measure("ideal", ideal, cells + mix_points((1, 32)),
                 *QUICK["ideal"], rounds=10, progress=progress)
    loop.measure("ideal", ideal, points((TSO_SIZE,), (32,)), *QUICK["tso"],
                 rounds=5, tso=True, progress=progress)
    loop.measure("real", [STOCK, on(engine, "real")], cells, *QUICK["real"],
                 rounds=10, progress=progress)
    report["ports"] = harness.ports(loop, ideal, *QUICK["ports"],
                                    progress=progress)
    report["latency"] = harness.latency(loop, ideal, (1518,),
                                        QUICK["latency"], ("one",),
                                        progress=progress)
    report["scale"] = harness.scale(loop, ideal[1], (1, 512), QUICK["scale"],
                                    progress)
    report["results"] = loop.results
    progress.done()
    return report


# Everything.

def loop_parts(loop, engines):
    for kind in ("ideal", "real"):
        variants = [STOCK] + [on(e, kind) for e in engines]
        if kind == "ideal":
            variants.insert(1, off(engines[0]))
        progress = Progress("1. send and reap, %s" % (
            output.ENGINE_NAMES[kind]), FULL[kind][0] + FULL["tso"][0])
        loop.measure(kind, variants, points(SIZES) + mix_points(),
                     *FULL[kind], rounds=10, progress=progress)
        loop.measure(kind, variants, points((TSO_SIZE,)), *FULL["tso"],
                     rounds=5, tso=True, progress=progress)
        progress.done()


def ports_part(loop, engines):
    progress = Progress("1. send and reap, %d txqs" % harness.PORTS_TXQS,
                        FULL["ports"][0])
    rows = harness.ports(loop, [STOCK] + [on(e, "ideal") for e in engines],
                         *FULL["ports"], progress=progress)
    progress.done()
    return rows


def guests_part(loop, engine):
    progress = Progress("1. send and reap, other guests",
                        len(harness.GUESTS) * FULL["guests"][0])
    rows = harness.guests(loop, [STOCK, on(engine, "ideal")], *FULL["guests"],
                          progress=progress)
    progress.done()
    return rows


def receive_part(loop, engine):
    variants = [STOCK, off(engine)] + [on_both_ways(engine, kind)
                                       for kind in ("ideal", "real")]
    progress = Progress("1. receive and reap", 2 * FULL["receive"][0])
    report = {name: measure_part(loop, variants, *FULL["receive"], progress)
              for name, measure_part in (
                  ("receive", harness.receive),
                  ("receive-checksums", harness.receive_checksums))}
    progress.done()
    return report


def receive_latency_part(loop, engine):
    progress = Progress("3. latency, from guests", len(harness.LATENCY_SIZES))
    rows = harness.receive_latency(
        loop, [STOCK] + [on_both_ways(engine, kind)
                         for kind in ("ideal", "real")],
        FULL["receive-latency"], progress)
    progress.done()
    return rows


def buffers_part(loop, engine):
    progress = Progress("1. send and reap, buffers of the guest",
                        2 * len(harness.BUFFERS))
    rows = harness.buffers(loop, [STOCK, on(engine, "ideal")],
                              FULL["buffers"], progress)
    progress.done()
    return rows


def crossover_part(loop, engine):
    progress = Progress("1. send and reap, crossover", 12)
    rows = [row for kind in ("ideal", "real")
            for row in harness.crossover(loop, on(engine, kind),
                                            FULL["crossover"], progress)]
    progress.done()
    return rows


def switch_part(the_lab, engines, driver):
    variants = [STOCK, off(engines[0])] + [
        make(e, "ideal") for e in engines for make in (on, on_both_ways)]
    # The software engine needs a core that the guest does not poll on.
    if not the_lab.cores.guest_shares:
        variants += [on(e, "real") for e in engines]
    progress = Progress("2. whole switch", FULL["switch"] * len(variants))
    rows = whole_switch.measure(the_lab, variants, driver, FULL["switch"],
                                FULL["switch-windows"], progress)
    progress.done()
    return rows


def latency_part(loop, engines):
    progress = Progress("3. latency", 2 * len(harness.LOADS))
    rows = harness.latency(
        loop, [STOCK] + [on(e, "ideal") for e in engines]
        + [on(engines[0], "real")], harness.LATENCY_SIZES,
        FULL["latency"], progress=progress)
    progress.done()
    return rows


def memory_part(loop, engines):
    progress = Progress("4. memory", len(engines))
    rows = harness.memory(loop, engines, progress)
    progress.done()
    return rows


def scale_part(loop, engines):
    progress = Progress("5. scale", (2 * len(engines) + 1) * len(SCALE))
    rows = harness.scale(loop, STOCK, SCALE, FULL["scale"], progress)
    for engine in engines:
        mine = harness.scale(loop, on(engine, "ideal"), SCALE,
                                FULL["scale"], progress)
        in_flight = harness.scale_in_flight(
            loop, on(engine, "slow"), SCALE, FULL["in-flight"], progress)
        rows += [dict(row, in_flight=in_flight[row["txqs"]]) for row in mine]
    progress.done()
    return rows


def everything(the_lab, loop, engines):
    first = engines[0]
    progress = Progress("0. async off, all sizes", FULL["off"][0])
    report = {"off": off_part(loop, first, FULL["off"], progress)}
    progress.done()
    loop_parts(loop, engines)
    report.update({
        "results": loop.results,
        "ports": ports_part(loop, engines),
        "guests": guests_part(loop, first),
        **receive_part(loop, first),
        "buffers": buffers_part(loop, first),
        "free": harness.cost_of_free(loop),
        "crossover": crossover_part(loop, first),
        "switch": switch_part(the_lab, engines, loop.driver),
        "latency": (latency_part(loop, engines)
                    + receive_latency_part(loop, first)),
        "memory": memory_part(loop, engines),
        "scale": scale_part(loop, engines)})
    return report


# The command.

def check_memory(loop, the_lab, n):
    megabytes = n * (harness.MEMORY_MB + harness.GUEST_MB)
    the_lab.need_memory(max(megabytes, whole_switch.SWITCH_MB
                            + whole_switch.GUEST_MB))


def measure(args, engines, driver):
    with contextlib.ExitStack() as stack:
        the_lab = None
        if args.no_huge:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
        else:
            the_lab = stack.enter_context(lab.Lab(
                keep_logs=out("bench", "switch")))
            directory = the_lab.run_dir
        loop = harness.Loop(directory, driver, not args.no_huge)
        if args.what == "drivers":
            check_memory(loop, the_lab, drivers.N_VARIANTS)
            return drivers.measure(loop, engines[0])
        if args.what == "once":
            check_memory(loop, the_lab, 2)
            return once.measure(the_lab, loop, engines[0])
        if args.what == "quick":
            if the_lab:
                check_memory(loop, the_lab, 3)
            report = quick(loop, engines[0])
        else:
            check_memory(loop, the_lab, len(engines) + 4)
            report = everything(the_lab, loop, engines)
        return dict(report, machine=output.machine(), engine=args.engine,
                    goals=goals.all_goals(report, args.engine),
                    noise=goals.noise(report["off"]))


def tell(report):
    """The lines that end a run."""
    for g in report["goals"]:
        print(goals.line(g), flush=True)
    if report["noise"] > goals.NOISE:
        print("bench: stock differs from itself by %.1f %% on this machine: "
              "what is less than that, it cannot tell" % (
                  100 * report["noise"]))


def run_command():
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Measures the series against stock Open vSwitch.")
    parser.add_argument("what", nargs="?", default="all",
                        choices=("all", "quick", "drivers", "once", "report",
                                 "compare"))
    parser.add_argument("runs", nargs="*", metavar="RUN",
                        help="compare: bench.json or quick.json, or a folder")
    parser.add_argument("--engine", default="defer",
                        help="the completion engine that goals are for")
    parser.add_argument("--no-build", action="store_true",
                        help="with what was built before")
    parser.add_argument("--no-huge", action="store_true",
                        help="quick: without hugepages, and slower for it")
    parser.add_argument("--doc", action="store_true",
                        help="report: into dev/bench/figures, too")
    args = parser.parse_args()
    if args.what == "report":
        report = output.load()
        output.show_all(report)
        output.plots(report)
        page.write_page(report)
        if args.doc:
            output.document(report)
        return 0
    if args.what == "compare":
        if len(args.runs) != 2:
            raise Stop("compare: name two runs, files or folders: "
                       "make bench-compare A=... B=...")
        compare.show(*args.runs)
        return 0
    if check_engine(args.engine) == "no":
        raise Stop("ENGINE=no: this build copies nothing by DMA; use %s"
                   % ", ".join(e for e in ENGINES if e != "no"))
    if args.no_huge and args.what != "quick":
        raise Stop("--no-huge: only 'quick' can do without hugepages")
    engines = [args.engine]
    if args.what == "all":
        engines += [e for e in ("defer", "ring") if e != args.engine]
    if os.geteuid():
        raise Stop("this must run as root: use sudo")
    builds = ["stock"] + engines
    if args.what == "once":
        harness.build_harness(args.engine)
        driver = None
    elif args.no_build:
        for build in builds:
            harness.build_harness(build)
        driver = plugin.LIBRARY
    else:
        driver = build_all(builds)
        if args.what == "drivers":
            devices.build()

    os.makedirs(out("bench"), exist_ok=True)
    began = time.monotonic()
    try:
        report = measure(args, engines, driver)
    except lab.LabError as e:
        raise Stop(str(e))
    except lab.Interrupted as e:
        raise KeyboardInterrupt(e.signum)
    if args.what == "once":
        return 0
    if args.what == "drivers":
        drivers.tell(report)
        return 0
    if args.what == "all":
        output.save(report)
        output.show_all(report)
        output.plots(report)
        page.write_page(report)
        print("\nresults: %s; measured in %d s"
              % (os.path.relpath(out("bench")), time.monotonic() - began))
    else:
        output.show("Goals of %s" % args.engine,
                          output.goal_table(report))
        write(out("bench", "quick.json"),
              output.json.dumps(report, indent=1) + "\n")
    tell(report)
    return 0


if __name__ == "__main__":
    main(run_command)
