# Measures what copying to vhost ports costs a PMD thread, series against
# stock.
#   python3 -m dev.bench            everything, into out/bench: a table, CSV,
#                                   JSON, plots
#   python3 -m dev.bench quick      the ratios that are goals, one line each
#   python3 -m dev.bench report     table and plots of the last run once more;
#                                   with --doc into dev/bench/figures, too
#
# Send and reap: harness.py; the whole switch: whole_switch.py; what comes out:
# output.py.

import argparse
import contextlib
import os
import tempfile
import time

from dev import lab
from dev.bench import harness, output, whole_switch
from dev.bench.harness import (SCALE, SIZES, STOCK, TSO_SIZE, off, on, pick,
                               points)
from dev.common.command import (ENGINES, Progress, Stop, check_engine, main,
                                program)
from dev.common.files import out, write
from dev.dma_model import plugin
from dev.ovs import tree

GOALS = (("off", 1.01), ("small", 1.03), ("mtu", .70), ("jumbo", .25),
         ("jumbo-real", .35), ("tso", .10), ("latency", 2.), ("idle", 1.01))

# The names of goals with their engine and size; bursts of 32.
RATIOS = (("small", "ideal", 64), ("mtu", "ideal", 1518),
          ("jumbo", "ideal", 9000), ("jumbo-real", "real", 9000))

# How often each part is done: turns, and processes per variant that share
# them.
FULL = {"ideal": (12, 6), "real": (9, 3), "tso": (6, 3), "off": (40, 20),
        "buffers": 5, "crossover": 3, "latency": 5, "scale": 5, "in-flight": 3,
        "switch": 3, "switch-windows": 4}
QUICK = {"ideal": (36, 12), "real": (16, 4), "tso": (8, 4), "off": (48, 24),
         "latency": 5, "scale": 9}


def build_all(builds):
    for build in builds:
        if build == "stock":
            tree.make_stock(tree.NO_TESTS)
        else:
            tree.make_build(build, tree.NO_TESTS)
        harness.build_harness(build)
    return plugin.build()


# Goals.

def goal(name, ratio, note):
    limit = dict(GOALS)[name]
    return {"name": name, "ratio": ratio, "goal": limit,
            "met": round(ratio, 3) <= limit, "note": note}


def goal_line(g):
    print("bench: %(name)s ratio=%(ratio).3f goal=%(goal).2f" % g, flush=True)


def ratio_goal(name, results, variant, size):
    """The worse of the two ratios, source in cache and not; a small packet is
    nothing but headers, which are in the cache once it was classified."""
    warm, cold = (pick(results, variant, size=size, burst=32, cold=c)
                  for c in (0, 1))
    r = warm if name == "small" else max(warm, cold, key=lambda r: r["ratio"])
    note = "%.0f of %.0f cycles; warm %.2f, cold %.2f" % (
        r["cycles"], r["cycles"] / r["ratio"], warm["ratio"], cold["ratio"])
    if r["idle"] >= 1:
        note += "; with %.0f idle cycles %.2f" % (r["idle"], r["ratio_all"])
    return goal(name, r["ratio"], note)


def tso_goal(results, variant, free):
    g = ratio_goal("tso", results, variant, TSO_SIZE)
    g["note"] += ("; to free the buffer: %.0f cycles warm, %.0f cold"
                  % tuple(free))
    return g


def off_goal(loop, engine, turns, progress):
    """The size that is worst.  What is looked for is less than what the place
    in memory does to a process, hence a new pair of processes every other
    turn."""
    found = loop.measure("off", [STOCK, off(engine)],
                         [p for p in points(SIZES, (32,)) if not p["cold"]],
                         *turns, progress=progress)
    mine = [r for r in found if r["variant"] == "off"]
    worst = max(mine, key=lambda r: r["ratio"])
    return goal("off", worst["ratio"], "worst: %d B, %.0f of %.0f cycles; "
                "mean of all sizes %.3f"
                % (worst["size"], worst["cycles"],
                   worst["cycles"] / worst["ratio"],
                   sum(r["ratio"] for r in mine) / len(mine)))


def latency_goal(rows, variant):
    row = pick(rows, variant, size=1518, load="one")
    return goal("latency", row["added"], "us added to p99, less the engine's "
                "%d us" % harness.MODEL_LATENCY_US)


def idle_goal(rows, variant):
    """What 511 more registered txqs cost an iteration that has something to
    do, in which one txq is active."""
    row = pick(rows, variant, txqs=512)
    return goal("idle", row["active_ratio"], "one of 512 txqs active against "
                "one of 1; all idle: %.1f against %.1f cycles"
                % (row["idle"], pick(rows, variant, txqs=1)["idle"]))


def quick(loop, engine):
    """Measures the goals of one completion engine and prints a line for
    each."""
    goals = []
    ideal = [STOCK, on(engine, "ideal")]
    progress = Progress("measuring", sum(QUICK[k][0] for k in (
        "ideal", "real", "tso", "off")) + 4)
    goals.append(off_goal(loop, engine, QUICK["off"], progress))
    loop.measure("ideal", ideal, points((64, 1518, 9000), (32,)),
                 *QUICK["ideal"], progress=progress)
    loop.measure("ideal", ideal, points((TSO_SIZE,), (32,)), *QUICK["tso"],
                 rounds=5, tso=True, progress=progress)
    loop.measure("real", [STOCK, on(engine, "real")], points((9000,), (32,)),
                 *QUICK["real"], progress=progress)
    rows = harness.latency(loop, ideal, (1518,), QUICK["latency"],
                              ("one",), progress=progress)
    scale = harness.scale(loop, ideal[1], (1, 512), QUICK["scale"],
                             progress)
    report = {"results": loop.results, "latency": rows, "scale": scale,
              "free": harness.cost_of_free(loop)}
    progress.done()
    return dict(report, goals=goals + other_goals(report, engine))


def other_goals(report, engine):
    """All but the first."""
    ideal = engine + "-ideal"
    goals = [ratio_goal(name, [r for r in report["results"]
                               if r["part"] == kind],
                        "%s-%s" % (engine, kind), size)
             for name, kind, size in RATIOS]
    goals.append(tso_goal(report["results"], ideal, report["free"]))
    goals.append(latency_goal(report["latency"], ideal))
    goals.append(idle_goal(report["scale"], ideal))
    return goals


# Everything.

def loop_parts(loop, engines):
    for kind in ("ideal", "real"):
        variants = [STOCK] + [on(e, kind) for e in engines]
        if kind == "ideal":
            variants.insert(1, off(engines[0]))
        progress = Progress("1. send and reap, %s" % (
            output.ENGINE_NAMES[kind]), FULL[kind][0] + FULL["tso"][0])
        loop.measure(kind, variants, points(SIZES), *FULL[kind], rounds=10,
                     progress=progress)
        loop.measure(kind, variants, points((TSO_SIZE,)), *FULL["tso"],
                     rounds=5, tso=True, progress=progress)
        progress.done()


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
    variants = [STOCK, off(engines[0])] + [on(e, "ideal") for e in engines]
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
    goals = [off_goal(loop, first, FULL["off"], progress)]
    progress.done()
    loop_parts(loop, engines)
    report = {"results": loop.results,
              "buffers": buffers_part(loop, first),
              "free": harness.cost_of_free(loop),
              "crossover": crossover_part(loop, first),
              "switch": switch_part(the_lab, engines, loop.driver),
              "latency": latency_part(loop, engines),
              "memory": memory_part(loop, engines),
              "scale": scale_part(loop, engines)}
    return dict(report, goals=goals + other_goals(report, first))


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
        if args.what == "quick":
            if the_lab:
                check_memory(loop, the_lab, 3)
            report = quick(loop, engines[0])
        else:
            check_memory(loop, the_lab, len(engines) + 2)
            report = everything(the_lab, loop, engines)
        return dict(report, machine=output.machine())


def run_command():
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Measures the series against stock Open vSwitch.")
    parser.add_argument("what", nargs="?", default="all",
                        choices=("all", "quick", "report"))
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
        if args.doc:
            output.document(report)
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
    if args.no_build:
        for build in builds:
            harness.build_harness(build)
        driver = plugin.LIBRARY
    else:
        driver = build_all(builds)

    os.makedirs(out("bench"), exist_ok=True)
    began = time.monotonic()
    try:
        report = measure(args, engines, driver)
    except lab.LabError as e:
        raise Stop(str(e))
    except lab.Interrupted as e:
        raise KeyboardInterrupt(e.signum)
    if args.what == "all":
        output.save(report)
        output.show_all(report)
        output.plots(report)
        print("\nresults: %s; measured in %d s"
              % (os.path.relpath(out("bench")), time.monotonic() - began))
    else:
        output.show("Goals of %s" % args.engine,
                          output.goal_table(report))
        write(out("bench", "quick.json"),
              output.json.dumps(report, indent=1) + "\n")
    for g in report["goals"]:
        goal_line(g)
    return 0


if __name__ == "__main__":
    main(run_command)
