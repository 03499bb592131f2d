# Sending and reaping in a closed loop: runs bench-vhost.c, one process per
# variant, and gives the processes their turns.  Many short ones, so that a
# machine that gets slower does so for all.  A ratio is the median of the
# ratios of turns that were next to one another.

import contextlib
import glob
import json
import os
import signal
import statistics
import subprocess

from dev import lab
from dev.common.children import child_env, run
from dev.common.command import Stop
from dev.common.files import ROOT, out, tail, write
from dev.dma_devices import plugin as devices
from dev.ovs import tree

HERE = os.path.join(ROOT, "dev/bench")
SOURCES, INCLUDED = (sorted(glob.glob(os.path.join(HERE, "*." + suffix)))
                     for suffix in "ch")

SIZES = (64, 128, 256, 512, 1024, 1518, 4096, 9000)
# The longest that Linux sends on a link with an MTU of 1500: 45 segments.
TSO_SIZE = 45 * 1448 + 66
BURSTS = (1, 2, 4, 8, 32)
# Sizes as they occur: bench-measure.c.
MIXES = ("imix", "ack", "rare")

# Cycles for which a packet is classified, off the clock.
WORK = 150

MODEL_LATENCY_US = 1
MODEL = "copy=none,gbps=inf,log=0,latency_us=%d"
# For txqs that are to be in flight all together.
SLOW_LATENCY_US = 20000
# Of engines that are modelled, and copy nothing: the parameters.
MODELS = {"ideal": MODEL % MODEL_LATENCY_US,
          "slow": MODEL % SLOW_LATENCY_US,
          # A ring as that of AE4DMA.
          "small": MODEL % MODEL_LATENCY_US + ",max_desc=32"}

# Where its functions happen to lie can make a program a few percent faster or
# slower, and where they lie differs from build to build.  So there are several
# programs of each build, whose functions are so many bytes further on.
LAYOUTS = 4
LAYOUT_SHIFT = 16

# A point is measured by so many generations of processes at least, and until
# the interval of the median is as narrow as that.
MIN_GENERATIONS = 3
SETTLED = .02

# Per process: packets, and what Open vSwitch allocates for a port.
MEMORY_MB = 384
GUEST_MB = 24
NO_HUGE_MB = 640


class Variant:
    def __init__(self, name, build, engine=None, label=None, rx=False):
        self.name = name
        self.build = build
        # Of DMA: None, "real" (software), one of MODELS, or a driver of DPDK
        # that has a device in memory.
        self.engine = engine
        self.rx = rx            # Whether packets are received by DMA, too.
        self.label = label or name


STOCK = Variant("stock", "stock", label="stock, copy by CPU")
# What two processes that do the same differ by.
STOCK_TWICE = Variant("stock-twice", "stock", label="stock once more")


def off(build):
    return Variant("off", build, label="series, async off")


def on(build, engine):
    return Variant("%s-%s" % (build, engine), build, engine,
                   "%s, %s engine" % (build, "software" if engine == "real"
                                      else engine))


def on_both_ways(build, engine):
    variant = on(build, engine)
    return Variant(variant.name + "-rx", build, engine,
                   variant.label + ", both ways", rx=True)


def program(build, layout):
    return out(build, "bench-vhost-%d" % layout)


def build_harness(build):
    """Makes out/BUILD/bench-vhost-0 and so on, which differ in nothing but the
    addresses of their functions."""
    where = out(build)
    inputs = SOURCES + INCLUDED + [os.path.join(where, name) for name in (
        "lib/.libs/libopenvswitch.a", "config.h")]
    missing = [path for path in inputs if not os.path.exists(path)]
    if missing:
        raise Stop("%s is missing: run without --no-build"
                   % os.path.relpath(missing[0], ROOT))
    programs = [program(build, i) for i in range(LAYOUTS)]
    if all(os.path.exists(p) for p in programs) and (
            max(map(os.path.getmtime, inputs))
            < min(map(os.path.getmtime, programs))):
        return
    log = os.path.join(where, "bench.log")
    write(log, "")
    cflags = tree.make_values(where, "DEFS", "DEFAULT_INCLUDES",
                              "AM_CPPFLAGS", "AM_CFLAGS", "CFLAGS")
    objects = [os.path.basename(source) + ".o" for source in SOURCES]
    commands = [["gcc"] + cflags + ["-DALLOW_EXPERIMENTAL_API", "-c", source,
                                    "-o", name]
                for source, name in zip(SOURCES, objects)]
    libs = tree.make_values(where, "LIBS")
    for i, path in enumerate(programs):
        shift = os.path.join(where, "bench-shift-%d" % i)
        write(shift + ".s", "\t.text\n\t.space %d\n"
              "\t.section .note.GNU-stack,\"\",@progbits\n"
              % (LAYOUT_SHIFT * i))
        commands += [["gcc", "-c", shift + ".s", "-o", shift + ".o"],
                     ["./libtool", "--quiet", "--tag=CC", "--mode=link", "gcc",
                      "-g", "-o", path, shift + ".o"] + objects
                     + ["lib/libopenvswitch.la"] + libs]
    for cmd in commands:
        if run(cmd, log, cwd=where, append=True):
            raise Stop("cannot build the benchmark for out/%s, see %s:\n%s"
                       % (build, log, tail(log)))


def eal_engine(engine, driver, cores):
    """Arguments of EAL for an engine."""
    if engine in MODELS:
        return " -d %s --vdev=dma_model0,%s" % (driver, MODELS[engine])
    if engine == "real":
        return " --vdev=dma_skeleton0,lcore=%d" % cores.dma
    if engine in devices.DEVICES:
        return " " + devices.eal_arguments(engine, lcore=cores.dma)
    return ""


class Runner:
    """A process of bench-vhost.  It is stopped unless it is its turn: threads
    of software engines never rest."""

    def __init__(self, loop, variant, args=(), tso=False, layout=0):
        self.variant = variant
        self.log = loop.log(variant, tso)
        with open(self.log, "w") as f:
            self.process = subprocess.Popen(
                self._command(loop, variant, tso, layout) + list(args),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=f,
                text=True, env=loop.env, preexec_fn=lab.die_with_parent(),
                # A Ctrl-C is for us to act on.
                start_new_session=True)
        try:
            hello = self._read()
        except BaseException:
            self.close()
            raise
        if bool(variant.engine) != hello["channel"]:
            self.close()
            raise Stop("%s has %s DMA channel, see %s"
                       % (variant.name, "a" if hello["channel"] else "no",
                          self.log))
        self.stop()

    @staticmethod
    def _command(loop, variant, tso, layout):
        cores = loop.cores
        # Its socket answers no second process while the first is stopped.
        extra = ("--no-pci --no-telemetry"
                 + eal_engine(variant.engine, loop.driver, cores))
        if not loop.huge:
            extra += (" --no-huge --legacy-mem --no-shconf --iova-mode=va"
                      " -m %d" % NO_HUGE_MB)
        config = {"dpdk-extra": extra,
                  "dpdk-lcore-mask": cores.mask(cores.main)}
        if loop.huge:
            memory = ",".join(str(MEMORY_MB if node == cores.node else 0)
                              for node in range(cores.node + 1))
            config.update({"dpdk-socket-mem": memory,
                           "dpdk-socket-limit": memory})
        if variant.build != "stock":
            config["vhost-async-support"] = ("true" if variant.engine
                                             else "false")
            config["vhost-async-rx"] = "true" if variant.rx else "false"
        cmd = [program(variant.build, layout),
               "--core=%d" % cores.pmds[0], "--dir=" + loop.dir]
        cmd += ["--config=%s=%s" % item for item in config.items()]
        if variant.engine in MODELS:
            cmd.append("--no-copy")
        if not loop.huge:
            cmd.append("--no-huge")
        if tso:
            cmd.append("--tso")
        return cmd

    def _read(self):
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):
            # Drivers print, too: ioat its status when it starts.
            line = self.process.stdout.readline()
        if not line:
            raise Stop("%s ended with status %d, %s ends:\n%s"
                       % (self.variant.name, self.process.wait(), self.log,
                          tail(self.log)))
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
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class Loop:
    """What the processes have in common, and all that was measured."""

    def __init__(self, directory, driver, huge):
        self.cores = lab.Cores()
        self.dir = directory
        self.env = child_env(OVS_RUNDIR=directory, OVS_LOGDIR=directory,
                             OVS_DBDIR=directory, OVS_SYSCONFDIR=directory,
                             RUNTIME_DIRECTORY=directory)
        self.driver = driver
        self.huge = huge
        self.results = []

    @staticmethod
    def log(variant, tso):
        """The log of the last process."""
        return out("bench", "%s%s.log" % (variant.name,
                                          "-tso" if tso else ""))

    @contextlib.contextmanager
    def runners(self, variants, args=(), tso=False, layout=0):
        with contextlib.ExitStack() as stack:
            made = []
            for variant in variants:
                runner = Runner(self, variant, args, tso, layout)
                stack.callback(runner.close)
                made.append(runner)
            yield made

    def measure(self, part, variants, points, turns, generations, rounds=20,
                tso=False, progress=None, args=(), command="run"):
        """Has all 'variants' measure all 'points' in 'turns' turns, and
        compares them to the first.  As with its functions, where its memory
        happens to lie can make a process faster or slower, so each variant
        gets several processes, one after the other.  A point whose medians
        are known well enough is not measured any more.  With 'args' for the
        processes, the results are not among 'self.results'."""
        samples = {}
        settled = set()
        for generation in range(generations):
            share = range(turns * generation // generations,
                          turns * (generation + 1) // generations)
            if not share:
                continue
            with self.runners(variants, args, tso,
                              generation % LAYOUTS) as runners:
                for turn in share:
                    self._turn(command, turn, runners,
                               [(i, p) for i, p in enumerate(points)
                                if i not in settled], rounds, samples)
                    if progress:
                        progress.step()
            if generation >= MIN_GENERATIONS - 1:
                settled.update(i for i in range(len(points))
                               if is_settled(i, variants, samples))
        found = []
        for i, point in enumerate(points):
            stock = [a["median"] for a in samples[i, variants[0].name]]
            for variant in variants:
                found.append(summary(part, variant, point,
                                     samples[i, variant.name], stock))
        if not args:
            self.results += found
        return found

    @staticmethod
    def _turn(command, turn, runners, points, rounds, samples):
        for i, point in points:
            # Nobody always comes after the same other.
            k = turn % len(runners)
            for runner in runners[k:] + runners[:k]:
                answer = runner.ask(command, rounds=rounds, work=WORK,
                                    **point)
                key = (i, runner.variant.name)
                samples.setdefault(key, []).append(answer)


def median_interval(values):
    """In which the median lies in 95 of 100 cases, if the values know nothing
    of each other: between which of them follows from their number."""
    values = sorted(values)
    n = len(values)
    k = max(int(n / 2 - .98 * n ** .5), 0)
    return values[k], values[n - 1 - k]


def is_settled(i, variants, samples):
    """Whether the ratios of point 'i' are known to a hundredth, or so."""
    stock = [a["median"] for a in samples[i, variants[0].name]]
    for variant in variants[1:]:
        low, high = median_interval([
            a["median"] / s
            for a, s in zip(samples[i, variant.name], stock)])
        if high - low > SETTLED:
            return False
    return True


def spread(values):
    """The quartiles and the median of 'values'."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    return statistics.quantiles(values, n=4, method="inclusive")


def summary(part, variant, point, answers, stock):
    q1, median, q3 = spread([a["median"] for a in answers])
    ratios = [a["median"] / s for a, s in zip(answers, stock)]
    r1, ratio, r3 = spread(ratios)
    low, high = median_interval(ratios)
    result = {"part": part, "variant": variant.name, "cycles": median,
              "q1": q1, "q3": q3, "ratio": ratio, "ratio_q1": r1,
              "ratio_q3": r3, "ratio_low": low, "ratio_high": high,
              "turns": len(answers)}
    for name in ("dma", "polls", "empty", "idle"):
        result[name] = statistics.median(a[name] for a in answers)
    # With the cycles in which there was nothing to do.
    result["ratio_all"] = statistics.median(
        (a["median"] + a["idle"]) / s for a, s in zip(answers, stock))
    result.update({"cold": 0, "threshold": -1, "mix": None}, **point)
    return result


def points(sizes, bursts=BURSTS):
    return [{"size": size, "burst": burst, "cold": cold}
            for size in sizes for burst in bursts for cold in (0, 1)]


def mix_points(bursts=BURSTS):
    return [{"mix": mix, "size": 64, "burst": burst, "cold": 0}
            for mix in MIXES for burst in bursts]


def pick(results, variant, **point):
    point = dict({"mix": None}, **point) if "burst" in point else point

    for r in results:
        if (r["variant"] == variant
                and all(r.get(k) == v for k, v in point.items())):
            return r
    raise KeyError((variant, point))


# What a packet meets.

# Guests other than with split virtqueues and buffers of 2 KiB.
GUESTS = {"packed": ("--packed",),
          "4 KiB": ("--buffer=4084",),
          "4 KiB, packed": ("--buffer=4084", "--packed"),
          "9 KiB": ("--buffer=9216",),
          "9 KiB, packed": ("--buffer=9216", "--packed")}


def guests(loop, variants, turns, generations, progress):
    """All sizes, bursts and mixes, to each of those."""
    return [dict(r, guest=name) for name, args in GUESTS.items()
            for r in loop.measure("guests", variants, points(SIZES)
                                  + mix_points(), turns, generations,
                                  rounds=10, progress=progress, args=args)]


# The other way.

RECEIVE = ("--receive",)
RECEIVE_SIZES = (64, 512, 1518, 9000)
RECEIVE_BURSTS = (1, 4, 32)


def receive(loop, variants, turns, generations, progress):
    """What guests send, in packets of a buffer each."""
    return loop.measure("receive", variants,
                        points(RECEIVE_SIZES, RECEIVE_BURSTS), turns,
                        generations, rounds=10, progress=progress,
                        args=RECEIVE, command="receive")


def receive_checksums(loop, variants, turns, generations, progress):
    """The same of TCP whose checksum the guest leaves to others, as Linux
    does."""
    return [dict(r, guest="checksums left to others") for r in loop.measure(
        "receive-checksums", variants,
        points(RECEIVE_SIZES[:-1], RECEIVE_BURSTS), turns, generations,
        rounds=10, tso=True, progress=progress, args=RECEIVE,
        command="receive")]


def receive_latency(loop, variants, turns, progress):
    """As latency(): from when the guest sends until the PMD thread has it."""
    rows = []
    with loop.runners(variants, RECEIVE) as runners:
        for size in LATENCY_SIZES:
            rows += latency_rows(runners, size, "receive", 0, turns, 2000)
            progress.step()
    return rows


# Bytes of the guest's buffers: of DPDK's drivers, of Linux when most packets
# are big, and so that a packet of 9000 bytes fits in.
BUFFERS = (2048, 4084, 9216)


def buffers(loop, variants, turns, progress):
    """What the size of the guest's buffers, and with it the number of copies
    per packet, does to packets of 9000 bytes."""
    rows = []
    for n in BUFFERS:
        for cold in (0, 1):
            answers = {v.name: [] for v in variants}
            for layout in range(2):
                with loop.runners(variants, ("--buffer=%d" % n,),
                                  layout=layout) as runners:
                    for _ in range(turns):
                        for runner in runners:
                            answers[runner.variant.name].append(runner.ask(
                                "run", size=9000, burst=32, cold=cold,
                                work=WORK, rounds=20))
            for v in variants:
                r = summary("buffers", v, {"size": 9000, "cold": cold},
                            answers[v.name], [
                                a["median"]
                                for a in answers[variants[0].name]])
                rows.append({"buffer": n, "copies": -(-9000 // n),
                             "variant": v.name, "cold": cold,
                             "cycles": r["cycles"], "ratio": r["ratio"]})
            progress.step()
    return rows


def cost_of_free(loop):
    """Cycles to free a packet of 64 KiB, source in cache and not."""
    with loop.runners([STOCK], (), True) as (runner,):
        return [statistics.median(
            runner.ask("free", size=TSO_SIZE, burst=32, cold=cold)["median"]
            for _ in range(5)) for cold in (0, 1)]


# The threshold.

CROSSOVER_SIZES = (64, 128, 192, 256, 384, 512, 640, 768, 896, 1024, 1280,
                   1518, 1792, 2048, 3072, 4096)


def crossover(loop, variant, turns, progress):
    """For each burst and source: the size from which DMA is cheaper than the
    CPU, by the same process on the same port."""
    found = []
    with loop.runners([variant]) as (runner,):
        for cold in (0, 1):
            for burst in BURSTS:
                cpu, dma = [], []
                for size in CROSSOVER_SIZES:
                    both = ([], [])
                    for _ in range(turns):
                        for costs, threshold in zip(both, (1 << 30, 0)):
                            costs.append(runner.ask(
                                "run", size=size, burst=burst, cold=cold,
                                threshold=threshold, rounds=10)["median"])
                    cpu.append(statistics.median(both[0]))
                    dma.append(statistics.median(both[1]))
                found.append({"variant": variant.name, "cold": cold,
                              "burst": burst, "sizes": CROSSOVER_SIZES,
                              "cpu": cpu, "dma": dma,
                              "from": crossing(CROSSOVER_SIZES, cpu, dma)})
                progress.step()
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


# Latency.

# Sizes, and how the packets come: one at a time, or at half of the rate at
# which stock OVS would be busy without rest with bursts of 32.
LATENCY_SIZES = (1518, 9000)
LOADS = ("one", "half")
# One at a time, to a guest and from it.
ONE_COMMAND = {"one": "latency", "receive": "receive-latency"}


def latency(loop, variants, sizes, turns, loads=LOADS, n=2000,
            progress=None):
    """Microseconds from a packet's arrival at the PMD thread until the guest
    can see it: p50, p99 and max, medians of 'turns'.  'added' is what p99 is
    above that of the first variant, less the latency of the engine, which is
    exact with the ideal one."""
    rows = []
    with loop.runners(variants) as runners:
        for size in sizes:
            cost = statistics.median(
                runners[0].ask("run", size=size, burst=32)["median"]
                for _ in range(3))
            gap = round(2 * (WORK + cost))
            for how in loads:
                rows += latency_rows(runners, size, how, gap, turns, n)
                if progress:
                    progress.step()
    return rows


def latency_rows(runners, size, how, gap, turns, n):
    answers = {runner.variant.name: [] for runner in runners}
    for turn in range(turns):
        k = turn % len(runners)
        for runner in runners[k:] + runners[:k]:
            if how in ONE_COMMAND:
                answer = runner.ask(ONE_COMMAND[how], size=size, n=n,
                                    work=WORK, threshold=0)
            else:
                answer = runner.ask("load", size=size, n=n, gap=gap,
                                    work=WORK, threshold=0)
            answers[runner.variant.name].append(answer)
    rows = []
    for runner in runners:
        name = runner.variant.name
        row = {"variant": name, "size": size, "load": how, "gap": gap}
        for key in ("p50", "p99", "max"):
            row[key] = statistics.median(a[key] for a in answers[name])
        engine_us = (MODEL_LATENCY_US if runner.variant.engine == "ideal"
                     else 0)
        added = [a["p99"] - s["p99"] - engine_us for a, s in zip(
            answers[name], answers[runners[0].variant.name])]
        row["added"] = statistics.median(added)
        row["low"], row["high"] = median_interval(added)
        rows.append(row)
    return rows


# Memory.

def memory(loop, engines, progress):
    """What is allocated for a txq, by differences between processes: by the
    series for all txqs of a port as soon as async is on, by the vhost library
    and the series for a txq that is registered.  The software is all that
    counts here, so the engine is the ideal one."""
    def used(variant, n):
        args = ("--ring=256", "--ports=1", "--pairs=%d" % n)
        with loop.runners([variant], args) as (runner,):
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
        progress.step()
    return found


# Scale.

SCALE = (1, 8, 64, 512)


def scale_args(n):
    pairs = min(n, 64)
    return ("--ring=64", "--ports=%d" % (n // pairs), "--pairs=%d" % pairs)


def scale(loop, variant, counts, turns, progress=None):
    """What a PMD thread pays that has copies in flight to 'counts' txqs, in
    turn; and that had, when one is active or none."""
    with contextlib.ExitStack() as stack:
        runners = []
        for n in counts:
            runners.append(stack.enter_context(
                loop.runners([variant], scale_args(n)))[0])
            if progress:
                progress.step()
        idle, active, busy = ({n: [] for n in counts} for _ in range(3))
        for _ in range(turns):
            for n, runner in zip(counts, runners):
                idle[n].append(runner.ask("idle", size=1518)["median"])
                active[n].append(runner.ask("run", size=1518, burst=32,
                                            rounds=100)["median"])
                busy[n].append(runner.ask("run", size=1518, burst=1,
                                          rounds=20, spread=n)["median"])
        rows = []
        for n in counts:
            ratios = [a / b for a, b in zip(active[n], active[counts[0]])]
            low, high = median_interval(ratios)
            rows.append({"variant": variant.name, "txqs": n,
                         "idle": statistics.median(idle[n]),
                         "active": statistics.median(active[n]),
                         "active_ratio": statistics.median(ratios),
                         "low": low, "high": high,
                         "all_busy": statistics.median(busy[n])})
        return rows


# Every txq of many is sent to, in turn, by bursts of few.
PORTS_TXQS = 512
PORTS_BURSTS = (1, 4)


def ports(loop, variants, turns, generations, progress=None):
    answers = {(v.name, b): [] for v in variants for b in PORTS_BURSTS}
    for generation in range(generations):
        with loop.runners(variants, scale_args(PORTS_TXQS),
                          layout=generation % LAYOUTS) as runners:
            for turn in range(turns // generations):
                k = (generation + turn) % len(runners)
                for burst in PORTS_BURSTS:
                    for runner in runners[k:] + runners[:k]:
                        answers[runner.variant.name, burst].append(runner.ask(
                            "run", size=1518, burst=burst, rounds=10,
                            work=WORK, spread=PORTS_TXQS))
                if progress:
                    progress.step()
    return [dict(summary("ports", v, {"size": 1518, "burst": b},
                         answers[v.name, b],
                         [a["median"] for a in answers[variants[0].name, b]]),
                 txqs=PORTS_TXQS)
            for b in PORTS_BURSTS for v in variants]


def scale_in_flight(loop, variant, counts, turns, progress):
    """Cycles of an iteration while a slow engine has a packet of each txq."""
    found = {}
    for n in counts:
        with loop.runners([variant], scale_args(n)) as (runner,):
            found[n] = statistics.median(
                runner.ask("in-flight", size=1518, threshold=0)["median"]
                for _ in range(turns))
        progress.step()
    return found
