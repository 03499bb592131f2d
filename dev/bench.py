#!/usr/bin/python3
# Measures what copying to vhost ports costs a PMD thread, series against
# stock.
#   bench.py            everything, in out/bench: a table, CSV, JSON, plots
#   bench.py quick      the ratios that are goals, one line each
#
# dev/bench/bench-vhost.c does the measuring, in one process per variant.  Here
# they are built, and given their turns: many short ones, so that a machine
# that gets slower does so for all.  A ratio is the median of the ratios of
# turns that were next to one another.

import argparse
import contextlib
import csv
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import lab
import model
import tree
from common import (ROOT, Progress, Stop, capture, child_env, main, out, read,
                    run, tail, write)

SOURCE = os.path.join(ROOT, "dev/bench/bench-vhost.c")

SIZES = (64, 128, 256, 512, 1024, 1518, 4096, 9000)
# The longest that Linux sends on a link with an MTU of 1500: 45 segments.
TSO_SIZE = 45 * 1448 + 66
BURSTS = (1, 4, 32)

MODEL_LATENCY_US = 1
MODEL = ("copy=none,latency_us=%d,gbps=inf,log=0" % MODEL_LATENCY_US)

# Per process: packets, and what Open vSwitch allocates for a port.
MEMORY_MB = 384
GUEST_MB = 24
NO_HUGE_MB = 640

# Processes per variant and measurement.
GENERATIONS = 6

GOALS = (("off", 1.01), ("small", 1.03), ("mtu", .70), ("jumbo", .25),
         ("jumbo-real", .35), ("tso", .10), ("latency", 2.), ("idle", 1.01))


class Variant:
    def __init__(self, name, build, engine=None, label=None):
        self.name = name
        self.build = build
        self.engine = engine    # Of DMA: None, "ideal" or "real".
        self.label = label or name


STOCK = Variant("stock", "stock", label="stock, copy by CPU")


def off(build):
    return Variant("off", build, label="series, async off")


def on(build, engine):
    return Variant("%s-%s" % (build, engine), build, engine,
                   "%s, %s engine" % (build, "ideal" if engine == "ideal"
                                      else "software"))


# Building.

def build_harness(build):
    """Makes out/BUILD/bench-vhost."""
    where = out(build)
    program = os.path.join(where, "bench-vhost")
    library = os.path.join(where, "lib/.libs/libopenvswitch.a")
    inputs = [SOURCE, library, os.path.join(where, "config.h")]
    if (os.path.exists(program)
            and all(os.path.getmtime(path) < os.path.getmtime(program)
                    for path in inputs)):
        return
    log = os.path.join(where, "bench.log")
    write(log, "")
    cflags = tree.make_values(where, "DEFS", "DEFAULT_INCLUDES",
                              "AM_CPPFLAGS", "AM_CFLAGS", "CFLAGS")
    for cmd in (["gcc"] + cflags + ["-DALLOW_EXPERIMENTAL_API", "-c", SOURCE,
                                    "-o", "bench-vhost.o"],
                ["./libtool", "--quiet", "--tag=CC", "--mode=link", "gcc",
                 "-g", "-o", "bench-vhost", "bench-vhost.o",
                 "lib/libopenvswitch.la"]
                + tree.make_values(where, "LIBS")):
        if run(cmd, log, cwd=where, append=True):
            raise Stop("cannot build the benchmark for out/%s, see %s:\n%s"
                       % (build, log, tail(log)))


def build_all(builds):
    for build in builds:
        if build == "stock":
            tree.make_stock()
        else:
            tree.make_build(build)
        build_harness(build)
    return model.build()


# Running.

class Runner:
    """A process of bench-vhost.  It is stopped unless it is its turn: threads
    of software engines never rest."""

    def __init__(self, bench, variant, args=(), tso=False):
        self.variant = variant
        self.log = out("bench", "%s%s.log" % (variant.name,
                                              "-tso" if tso else ""))
        cores = bench.cores
        # Its socket answers no second process while the first is stopped.
        extra = "--no-pci --no-telemetry"
        if not bench.huge:
            extra += (" --no-huge --legacy-mem --no-shconf --iova-mode=va"
                      " -m %d" % NO_HUGE_MB)
        if variant.engine == "ideal":
            extra += " -d %s --vdev=dma_model0,%s" % (bench.driver, MODEL)
        elif variant.engine == "real":
            extra += " --vdev=dma_skeleton0,lcore=%d" % cores.dma
        memory = ",".join(str(MEMORY_MB if node == cores.node else 0)
                          for node in range(cores.node + 1))
        config = {"dpdk-extra": extra,
                  "dpdk-lcore-mask": cores.mask(cores.main)}
        if bench.huge:
            config.update({"dpdk-socket-mem": memory,
                           "dpdk-socket-limit": memory})
        if variant.build != "stock":
            config["vhost-async-support"] = ("true" if variant.engine
                                             else "false")
        cmd = [os.path.join(out(variant.build), "bench-vhost"),
               "--core=%d" % cores.pmds[0], "--dir=" + bench.dir]
        cmd += ["--config=%s=%s" % item for item in config.items()]
        if variant.engine == "ideal":
            cmd.append("--no-copy")
        if not bench.huge:
            cmd.append("--no-huge")
        if tso:
            cmd.append("--tso")
        with open(self.log, "w") as f:
            self.process = subprocess.Popen(
                cmd + list(args), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=f, text=True, env=bench.env,
                preexec_fn=lab.die_with_parent())
        self.hello = self._read()
        if bool(variant.engine) != self.hello["channel"]:
            raise Stop("%s has %s DMA channel, see %s"
                       % (variant.name, "a" if self.hello["channel"]
                          else "no", self.log))
        self.stop()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise Stop("%s failed, %s ends:\n%s"
                       % (self.variant.name, self.log, tail(self.log)))
        return json.loads(line)

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, command, **params):
        self.process.send_signal(signal.SIGCONT)
        line = " ".join([command] + ["%s=%s" % item
                                     for item in params.items()])
        with contextlib.suppress(BrokenPipeError):
            print(line, "", file=self.process.stdin, flush=True)
        answer = self._read()
        self.stop()
        return answer

    def close(self):
        self.process.kill()
        self.process.wait()


class Bench:
    def __init__(self, directory, driver, huge):
        self.cores = lab.Cores()
        self.dir = directory
        self.env = child_env(OVS_RUNDIR=directory, OVS_LOGDIR=directory,
                             OVS_DBDIR=directory, OVS_SYSCONFDIR=directory,
                             RUNTIME_DIRECTORY=directory)
        self.driver = driver
        self.huge = huge
        self.results = []
        self.facts = {}

    @contextlib.contextmanager
    def runners(self, variants, args=(), tso=False):
        with contextlib.ExitStack() as stack:
            made = []
            for variant in variants:
                runner = Runner(self, variant, args, tso)
                stack.callback(runner.close)
                made.append(runner)
            yield made

    def measure(self, part, variants, points, turns, rounds=20, tso=False,
                progress=None):
        """Has all 'variants' measure all 'points' in 'turns' turns, and
        compares them to the first.  Where its memory happens to lie can make
        a process some percent faster or slower, so each variant gets a few
        processes, one after the other."""
        samples = {}
        for generation in range(GENERATIONS):
            share = range(turns * generation // GENERATIONS,
                          turns * (generation + 1) // GENERATIONS)
            with self.runners(variants, (), tso) as runners:
                for turn in share:
                    self._turn(turn, runners, points, rounds, samples)
                    if progress:
                        progress.step()
        found = []
        for i, point in enumerate(points):
            stock = [a["median"] for a in samples[i, variants[0].name]]
            for variant in variants:
                found.append(self._summary(part, variant, point,
                                           samples[i, variant.name], stock))
        self.results += found
        return found

    @staticmethod
    def _turn(turn, runners, points, rounds, samples):
        for i, point in enumerate(points):
            # Nobody always comes after the same other.
            k = turn % len(runners)
            for runner in runners[k:] + runners[:k]:
                answer = runner.ask("run", rounds=rounds, **point)
                key = (i, runner.variant.name)
                samples.setdefault(key, []).append(answer)

    @staticmethod
    def _summary(part, variant, point, answers, stock):
        cycles = [a["median"] for a in answers]
        ratios = sorted(c / s for c, s in zip(cycles, stock))
        q = statistics.quantiles(cycles, n=4) if len(cycles) > 1 else (
            cycles * 3)
        result = {"part": part, "variant": variant.name,
                  "cycles": statistics.median(cycles), "q1": q[0],
                  "q3": q[2], "ratio": statistics.median(ratios),
                  "ratio_q1": ratios[len(ratios) // 4],
                  "ratio_q3": ratios[len(ratios) * 3 // 4],
                  "turns": len(cycles)}
        for name in ("dma", "polls", "empty"):
            result[name] = statistics.median(a[name] for a in answers)
        result.update({"cold": 0, "threshold": -1}, **point)
        return result


def pick(results, variant, **point):
    for r in results:
        if (r["variant"] == variant
                and all(r.get(k) == v for k, v in point.items())):
            return r
    raise KeyError((variant, point))


# The goals.

def latency_us(runners, turns=5):
    """The added p99 of each but the first, less the latency of the engine,
    which is exact with the ideal one."""
    p99 = {}
    for _ in range(turns):
        for runner in runners:
            answer = runner.ask("latency", size=1518, n=2000)
            p99.setdefault(runner.variant.name, []).append(answer["p99"])
    stock = statistics.median(p99[runners[0].variant.name])
    return {name: statistics.median(values) - stock - MODEL_LATENCY_US
            for name, values in p99.items()}


SCALE_ARGS = ("--ring=64",)


def scale_args(n):
    pairs = min(n, 64)
    return SCALE_ARGS + ("--ports=%d" % (n // pairs), "--pairs=%d" % pairs)


def scale(bench, variant, counts, turns=15):
    """What a PMD thread pays that has 'counts' txqs of which one is active, or
    none."""
    with contextlib.ExitStack() as stack:
        runners = [stack.enter_context(bench.runners([variant],
                                                     scale_args(n)))[0]
                   for n in counts]
        active = {n: [] for n in counts}
        busy = {n: [] for n in counts}
        idle = {n: [] for n in counts}
        for _ in range(turns):
            for n, runner in zip(counts, runners):
                idle[n].append(runner.ask("idle", size=1518)["median"])
                active[n].append(runner.ask("run", size=1518, burst=32,
                                            rounds=100)["median"])
                busy[n].append(runner.ask("run", size=1518, burst=1,
                                          rounds=20, spread=n)["median"])
        return [{"variant": variant.name, "txqs": n,
                 "idle": statistics.median(idle[n]),
                 "active": statistics.median(active[n]),
                 "active_ratio": statistics.median(
                     a / b for a, b in zip(active[n], active[counts[0]])),
                 "all_busy": statistics.median(busy[n])}
                for n in counts]


def goal_line(name, ratio, note):
    name, _, engine = name.partition("/")
    goal = dict(GOALS)[name]
    print("bench: %s%s ratio=%.3f goal=%.2f  %s%s"
          % (name, "/" + engine if engine else "", ratio, goal, note,
             "" if ratio <= goal else "  MISSED"), flush=True)
    return {"name": name, "engine": engine, "ratio": ratio, "goal": goal,
            "met": ratio <= goal, "note": note}


def quick_points(sizes):
    return [{"size": size, "burst": 32, "cold": cold}
            for size in sizes for cold in (0, 1)]


def goals(bench, engines, turns):
    """Measures the goals and prints a line for each."""
    lines = []
    first = engines[0]

    def line(name, engine, ratio, note):
        if engine != first:
            name += "/" + engine
        lines.append(goal_line(name, ratio, note))

    ideal = [STOCK] + [on(e, "ideal") for e in engines]
    part = bench.measure("goals", ideal, quick_points((64, 512, 1518, 9000)),
                         turns)
    part_off = bench.measure(
        "goals-off", [STOCK, off(first)],
        [{"size": size, "burst": burst} for size in (64, 1518, 9000)
         for burst in (1, 32)], 3 * turns)
    with bench.runners(ideal) as runners:
        added = latency_us(runners)

    worst = max((r for r in part_off if r["variant"] == "off"),
                key=lambda r: r["ratio"])
    line("off", first, worst["ratio"], "worst: %d B, bursts of %d; quartiles "
         "%.3f to %.3f" % (worst["size"], worst["burst"], worst["ratio_q1"],
                           worst["ratio_q3"]))
    for e in engines:
        for name, size in (("small", 64), ("mtu", 1518), ("jumbo", 9000)):
            # What counts is the harder case: copying what is in the cache
            # costs a CPU least.
            r = pick(part, "%s-ideal" % e, size=size, cold=0)
            c = pick(part, "%s-ideal" % e, size=size, cold=1)
            line(name, e, r["ratio"], "%.0f of %.0f cycles; source not in "
                 "cache %.3f" % (r["cycles"], r["cycles"] / r["ratio"],
                                 c["ratio"]))
    part = bench.measure("goals", [STOCK] + [on(e, "real") for e in engines],
                         quick_points((9000,)), turns)
    for e in engines:
        r = pick(part, "%s-real" % e, size=9000, cold=0)
        c = pick(part, "%s-real" % e, size=9000, cold=1)
        line("jumbo-real", e, r["ratio"], "%.0f of %.0f cycles; source not in "
             "cache %.3f" % (r["cycles"], r["cycles"] / r["ratio"],
                             c["ratio"]))
    part = bench.measure("goals", ideal, quick_points((TSO_SIZE,)),
                         max(turns // 3, 3), rounds=8, tso=True)
    for e in engines:
        r = pick(part, "%s-ideal" % e, size=TSO_SIZE, cold=0)
        c = pick(part, "%s-ideal" % e, size=TSO_SIZE, cold=1)
        line("tso", e, r["ratio"], "%.0f of %.0f cycles; source not in cache "
             "%.3f" % (r["cycles"], r["cycles"] / r["ratio"], c["ratio"]))
    for e in engines:
        line("latency", e, added["%s-ideal" % e],
             "us added to p99, less the engine's %d us" % MODEL_LATENCY_US)
    for e in engines:
        s = scale(bench, on(e, "ideal"), (1, 512))
        bench.facts.setdefault("scale", []).extend(s)
        line("idle", e, s[1]["active_ratio"],
             "send and reap with 512 txqs registered against 1; an iteration "
             "with nothing to do: %.1f against %.1f cycles"
             % (s[1]["idle"], s[0]["idle"]))
    return lines


# Everything.

def points(sizes):
    return [{"size": size, "burst": burst, "cold": cold}
            for size in sizes for burst in BURSTS for cold in (0, 1)]


def crossover(bench, variant, turns):
    """For each burst and source: the size from which DMA is cheaper than the
    CPU, by the same build on the same port."""
    sizes = (64, 128, 192, 256, 384, 512, 640, 768, 896, 1024, 1280, 1518,
             1792, 2048)
    found = []
    with bench.runners([variant]) as (runner,):
        for cold in (0, 1):
            for burst in BURSTS:
                cpu, dma = [], []
                for size in sizes:
                    both = ([], [])
                    for _ in range(turns):
                        for costs, threshold in zip(both, (1 << 30, 0)):
                            costs.append(runner.ask(
                                "run", size=size, burst=burst, cold=cold,
                                threshold=threshold, rounds=20)["median"])
                    cpu.append(statistics.median(both[0]))
                    dma.append(statistics.median(both[1]))
                found.append({"variant": variant.name, "cold": cold,
                              "burst": burst, "sizes": sizes, "cpu": cpu,
                              "dma": dma,
                              "from": crossing(sizes, cpu, dma)})
    return found


def crossing(sizes, cpu, dma):
    """The size above which DMA is cheaper at all sizes measured, or None."""
    result = None
    for i in range(len(sizes) - 1, -1, -1):
        gain = cpu[i] - dma[i]
        if gain <= 0:
            if i + 1 < len(sizes):
                other = cpu[i + 1] - dma[i + 1]
                part = -gain / (other - gain)
                result = sizes[i] + part * (sizes[i + 1] - sizes[i])
            return result and round(result)
        result = sizes[i]
    return result


def memory(bench, engines):
    """What is allocated for a txq, by differences between processes: by the
    series for all txqs of a port as soon as async is on, by the vhost library
    and the series for a txq that is registered.  The software is all that
    counts here, so the engine is the ideal one."""
    def used(variant, n):
        args = ("--ring=256", "--ports=1", "--pairs=%d" % n)
        with bench.runners([variant], args) as (runner,):
            # The txqs are set up when each was used.
            runner.ask("run", size=64, burst=1, rounds=1, spread=n)
            return runner.ask("memory")

    found = []
    for engine in engines:
        without = used(off(engine), 64), used(off(engine), 1)
        with_ = used(on(engine, "ideal"), 64), used(on(engine, "ideal"), 1)
        row = {"engine": engine, "pmd": with_[0]["thread"]}
        for what in ("heap", "dpdk"):
            row["txq_" + what] = round(((with_[0][what] - with_[1][what])
                                        - (without[0][what]
                                           - without[1][what])) / 63)
        found.append(row)
    return found


# What comes out.

def machine():
    model_name = re.search(r"^model name\s*:\s*(.*)$",
                           read("/proc/cpuinfo"), re.M)
    _, dpdk = capture(["pkg-config", "--modversion", "libdpdk"])
    return {"cpu": model_name[1] if model_name else platform.processor(),
            "cores": os.cpu_count(), "kernel": platform.release(),
            "dpdk": dpdk.strip(), "date": time.strftime("%Y-%m-%d"),
            "load": os.getloadavg()[0]}


COLUMNS = ("part", "variant", "size", "burst", "cold", "threshold", "cycles",
           "q1", "q3", "ratio", "ratio_q1", "ratio_q3", "dma", "polls",
           "empty", "turns")


def save(bench, lines):
    os.makedirs(out("bench"), exist_ok=True)
    with open(out("bench", "bench.csv"), "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for r in bench.results:
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v
                             for k, v in r.items()})
    write(out("bench", "bench.json"),
          json.dumps(dict(bench.facts, machine=machine(), goals=lines,
                          results=bench.results), indent=1) + "\n")


def print_table(results, variants):
    names = [v.name for v in variants]
    print("\nCycles per packet to send and to reap; in brackets, the ratio to "
          "stock.")
    print("%-6s %-5s %-5s" % ("bytes", "burst", "cache")
          + "".join("%18s" % n for n in names))
    keys = []
    for r in results:
        key = r["size"], r["burst"], r["cold"]
        if key not in keys:
            keys.append(key)
    for size, burst, cold in keys:
        row = "%-6d %-5d %-5s" % (size, burst, "cold" if cold else "warm")
        for name in names:
            try:
                r = pick(results, name, size=size, burst=burst, cold=cold)
                row += "%18s" % ("%.0f (%.2f)" % (r["cycles"], r["ratio"]))
            except KeyError:
                row += "%18s" % "-"
        print(row)
    sys.stdout.flush()


GNUPLOT = """\
set terminal svg size 800,520 font "sans,13" background "white"
set output "%(svg)s"
set title "%(title)s"
set xlabel "frame size in bytes"
set ylabel "cycles per packet, send and reap"
set logscale xy
set xrange [50:80000]
set xtics (64, 128, 256, 512, "" 1024, 1518, 4096, 9000, "64 KiB" %(tso)d)
set grid
set key left top
%(marks)s
plot %(lines)s
"""


def plot(name, title, results, variants, cross, **point):
    """Draws one line per variant."""
    data, lines = "", []
    for variant in variants:
        rows = [r for r in results if r["variant"] == variant.name
                and all(r[k] == v for k, v in point.items())]
        if not rows:
            continue
        data += "$%s << EOD\n" % variant.name.replace("-", "_")
        data += "".join("%d %.1f\n" % (r["size"], r["cycles"])
                        for r in sorted(rows, key=lambda r: r["size"]))
        data += "EOD\n"
        lines.append('$%s using 1:2 with linespoints lw 2 title "%s"'
                     % (variant.name.replace("-", "_"), variant.label))
    marks = ""
    if cross:
        marks = ('set arrow from %d, graph 0 to %d, graph 1 nohead dt 2\n'
                 'set label " DMA is cheaper from %d" at %d, graph 0.04'
                 % (cross, cross, cross, cross))
    script = data + GNUPLOT % {"svg": name + ".svg", "title": title,
                               "tso": TSO_SIZE, "marks": marks,
                               "lines": ", \\\n     ".join(lines)}
    path = out("bench", name + ".gnuplot")
    write(path, script)
    status, text = capture(["gnuplot", path], cwd=out("bench"))
    if status:
        raise Stop("gnuplot failed:\n" + text)


def plots(bench, groups):
    if not shutil.which("gnuplot"):
        print("bench: no plots: run 'apt-get install gnuplot-nox' for them")
        return
    crosses = bench.facts.get("crossover", [])
    for engine, (results, variants) in groups.items():
        for cold in (0, 1):
            cross = [c["from"] for c in crosses if c["cold"] == cold
                     and c["burst"] == 32
                     and c["variant"].endswith("-" + engine)]
            title = "%s engine, bursts of 32, source %s cache" % (
                "Ideal (1 us, no limit of bandwidth)" if engine == "ideal"
                else "Software", "not in" if cold else "in")
            plot("cycles-%s-%s" % (engine, "cold" if cold else "warm"),
                 title, results, variants, cross[0] if cross else None,
                 burst=32, cold=cold)


def everything(bench, engines, turns):
    groups = {}
    for engine in ("ideal", "real"):
        variants = [STOCK] + [on(e, engine) for e in engines]
        if engine == "ideal":
            variants.insert(1, off(engines[0]))
        progress = Progress("send and reap, %s engine" % engine, 2 * turns)
        found = bench.measure(engine, variants, points(SIZES), turns,
                              progress=progress)
        found += bench.measure(engine, variants, points((TSO_SIZE,)), turns,
                               rounds=5, tso=True, progress=progress)
        progress.done()
        print_table(found, variants)
        groups[engine] = found, variants

    progress = Progress("crossover, memory, scale")
    bench.facts["crossover"] = [c for e in engines if e != "rx"
                                for c in crossover(bench, on(e, "ideal"), 5)]
    bench.facts["crossover"] += crossover(bench, on(engines[0], "real"), 3)
    progress.step()
    bench.facts["memory"] = memory(bench, engines)
    progress.step()
    bench.facts["scale"] = [
        s for variant in [STOCK] + [on(e, "ideal") for e in engines
                                    if e != "rx"]
        for s in scale(bench, variant, (1, 8, 64, 512), 7)]
    progress.done()
    for c in bench.facts["crossover"]:
        print("crossover %s, bursts of %d, %s: DMA is cheaper from %s bytes"
              % (c["variant"], c["burst"], "cold" if c["cold"] else "warm",
                 c["from"] or "beyond %d" % c["sizes"][-1]))
    for m in bench.facts["memory"]:
        print("memory %s: %d + %d bytes per txq (heap + hugepages), %d per "
              "PMD thread" % (m["engine"], m["txq_heap"], m["txq_dpdk"],
                              m["pmd"]))
    for s in bench.facts["scale"]:
        print("scale %(variant)s, %(txqs)d txqs: %(idle).1f cycles an "
              "iteration if all are idle, %(active).0f a packet if one is "
              "active, %(all_busy).0f if all are in turn" % s)
    return groups


def run_command():
    parser = argparse.ArgumentParser(description="Measures the series "
                                     "against stock Open vSwitch.")
    parser.add_argument("what", nargs="?", choices=("all", "quick"),
                        default="all")
    parser.add_argument("--engine", action="append",
                        help="a completion engine, more than once for more")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--no-build", action="store_true",
                        help="with what was built before")
    parser.add_argument("--no-huge", action="store_true",
                        help="without hugepages, and slower for it")
    args = parser.parse_args()
    quick = args.what == "quick"
    engines = args.engine or (["defer", "ring"] if quick
                              else ["defer", "ring", "rx"])
    builds = ["stock"] + engines
    if args.no_build:
        for build in builds:
            build_harness(build)
        driver = model.LIBRARY
    else:
        driver = build_all(builds)
    os.makedirs(out("bench"), exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            if args.no_huge:
                directory = stack.enter_context(tempfile.TemporaryDirectory())
            else:
                the_lab = stack.enter_context(lab.Lab())
                the_lab.need_memory((len(engines) + 2)
                                    * (MEMORY_MB + GUEST_MB))
                directory = the_lab.run_dir
            bench = Bench(directory, driver, not args.no_huge)
            if not quick:
                groups = everything(bench, engines, args.turns)
                save(bench, [])
                plots(bench, groups)
            save(bench, goals(bench, engines, args.turns))
    except lab.LabError as e:
        raise Stop(str(e))
    except lab.Interrupted as e:
        raise KeyboardInterrupt(e.signum)
    return 0


if __name__ == "__main__":
    main(run_command)
