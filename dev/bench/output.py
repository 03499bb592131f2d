# What comes out of a benchmark: CSV, JSON, a table and plots in out/bench, and
# the page of figures.

import csv
import json
import os
import platform
import re
import shutil
import statistics
import sys
import textwrap
import time

from dev.bench.goals import cell_name
from dev.bench.harness import BURSTS, TSO_SIZE, pick
from dev.common.children import capture
from dev.common.command import Stop
from dev.common.files import ROOT, out, read, write

JSON = out("bench", "bench.json")
DOC = "dev/bench/figures/README.rst"
# Plots by what is on them, and their names there.
PLOTS = {(engine, cold): "%s-%s.svg"
         % (engine, "cold" if cold else "warm")
         for engine in ("ideal", "real") for cold in (0, 1)}

COLUMNS = ("part", "variant", "mix", "size", "burst", "cold", "threshold",
           "cycles", "q1", "q3", "ratio", "ratio_q1", "ratio_q3", "ratio_low",
           "ratio_high", "idle", "ratio_all",
           "dma", "polls", "empty", "turns")

ENGINE_NAMES = {"ideal": "ideal engine", "real": "software engine"}


def machine():
    cpuinfo = read("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.M)
    mhz = re.search(r"^cpu MHz\s*:\s*(\d+)", cpuinfo, re.M)
    return {"cpu": name[1] if name else platform.machine(),
            "mhz": int(mhz[1]) if mhz else 0,
            "cores": len(os.sched_getaffinity(0)),
            "virtual": "hypervisor" in cpuinfo,
            "kernel": platform.release(),
            "dpdk": capture(["pkg-config", "--modversion",
                             "libdpdk"])[1].strip(),
            "compiler": capture(["gcc", "--version"])[1].splitlines()[0],
            "date": time.strftime("%Y-%m-%d"),
            "load": os.getloadavg()[0]}


# Files.

def save(report):
    os.makedirs(out("bench"), exist_ok=True)
    with open(out("bench", "bench.csv"), "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for r in report["results"]:
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v
                             for k, v in r.items()})
    for part in ("ports", "receive", "receive-checksums", "buffers",
                 "crossover", "switch", "latency", "memory", "scale"):
        rows = report.get(part)
        if rows:
            with open(out("bench", part + ".csv"), "w", newline="") as f:
                writer = csv.DictWriter(f, list(rows[-1]))
                writer.writeheader()
                writer.writerows(rows)
    write(JSON, json.dumps(report, indent=1) + "\n")


def load():
    text = read(JSON)
    if not text:
        raise Stop("there is no %s: run 'make bench' first"
                   % os.path.relpath(JSON, ROOT))
    return json.loads(text)


# Tables.  One is a list of rows of strings, the first is the heading.

def size_name(size):
    return "64 KiB" if size == TSO_SIZE else str(size)


def receive_table(report):
    return cells_table(report["receive"])


def receive_checksums_table(report):
    return cells_table(report["receive-checksums"])


def loop_table(report, engine):
    return cells_table([r for r in report["results"] if r["part"] == engine])


def cells_table(results):
    names = list(dict.fromkeys(r["variant"] for r in results))
    rows = [["bytes", "burst", "cache"] + names]
    for r in results:
        if r["variant"] != "stock":
            continue
        point = {k: r[k] for k in ("size", "burst", "cold", "mix")}
        row = [r["mix"] or size_name(r["size"]), str(r["burst"]),
               "cold" if r["cold"] else "warm"]
        for name in names:
            mine = pick(results, name, **point)
            row.append("%.0f" % mine["cycles"] if name == "stock" else
                       "%.0f (%.2f)" % (mine["cycles"], mine["ratio"]))
        rows.append(row)
    return rows


def switch_table(report):
    rows = [["bytes", "variant", "cycles", "ratio", "Mpps", "ratio", "busy"]]
    for r in report["switch"]:
        rows.append(["%(size)d" % r, r["variant"],
                     "%(cycles).0f" % r, "%(ratio).2f" % r, "%(mpps).3f" % r,
                     "%(mpps_ratio).2f" % r, "%.0f %%" % (100 * r["busy"])])
    return rows


LOAD_NAMES = {"one": "one at a time", "half": "half load",
              "receive": "from a guest, one at a time"}


def latency_table(report):
    rows = [["bytes", "packets", "variant", "p50", "p99", "max", "added"]]
    for r in report["latency"]:
        rows.append(["%(size)d" % r, LOAD_NAMES[r["load"]],
                     r["variant"], "%(p50).2f" % r, "%(p99).2f" % r,
                     "%(max).1f" % r,
                     "-" if r["variant"] == "stock" else "%(added).2f" % r])
    return rows


def guests_table(report):
    """Of the guests that are not as most: ratios over all sizes, bursts and
    mixes."""
    rows = [["guest", "cells", "mean", "worst", "where"]]
    for guest in dict.fromkeys(r["guest"] for r in report["guests"]):
        mine = [r for r in report["guests"]
                if r["guest"] == guest and r["variant"] != "stock"]
        worst = max(mine, key=lambda r: r["ratio"])
        rows.append([guest, str(len(mine)), "%.2f" % statistics.mean(
            r["ratio"] for r in mine), "%.2f" % worst["ratio"],
            cell_name(dict(worst, guest=None))])
    return rows


def memory_table(report):
    rows = [["engine", "txq, heap", "txq, hugepages", "PMD thread"]]
    for r in report["memory"]:
        rows.append([r["engine"], str(r["txq_heap"]), str(r["txq_dpdk"]),
                     str(r["pmd"])])
    return rows


def scale_table(report):
    rows = [["variant", "txqs", "all idle", "one active", "ratio",
             "all in turn", "all in flight"]]
    for r in report["scale"]:
        rows.append([r["variant"], str(r["txqs"]), "%(idle).1f" % r,
                     "%(active).0f" % r, "%(active_ratio).3f" % r,
                     "%(all_busy).0f" % r,
                     "%.0f" % r["in_flight"] if "in_flight" in r else "-"])
    return rows


def ports_table(report):
    return [["txqs", "burst", "variant", "cycles", "ratio"]] + [
        [str(r["txqs"]), str(r["burst"]), r["variant"], "%.0f" % r["cycles"],
         "%.2f" % r["ratio"]] for r in report["ports"]]


def buffers_table(report):
    rows = [["buffer", "copies", "cache", "stock", "cycles", "ratio"]]
    found = report["buffers"]
    for r in found:
        if r["variant"] != "stock":
            stock = pick(found, "stock", buffer=r["buffer"], cold=r["cold"])
            rows.append([str(r["buffer"]), str(r["copies"]),
                         "cold" if r["cold"] else "warm",
                         "%.0f" % stock["cycles"], "%.0f" % r["cycles"],
                         "%.2f" % r["ratio"]])
    return rows


def crossover_table(report):
    rows = [["variant", "cache"] + ["bursts of %d" % b for b in BURSTS]]
    found = report["crossover"]
    for key in dict.fromkeys((c["variant"], c["cold"]) for c in found):
        row = [key[0], "cold" if key[1] else "warm"]
        for burst in BURSTS:
            c = [c for c in found if (c["variant"], c["cold"]) == key
                 and c["burst"] == burst][0]
            row.append(str(c["from"] or "> %d" % c["sizes"][-1]))
        rows.append(row)
    return rows


def goal_table(report):
    rows = [["name", "ratio", "interval", "goal", "verdict", "more"]]
    for g in report["goals"]:
        rows.append([g["name"], "%.3f" % g["ratio"],
                     "%.3f to %.3f" % (g["low"], g["high"]),
                     "%.2f" % g["goal"], g["verdict"], g["note"]])
    return rows


def show(title, rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print("\n" + title)
    for row in rows:
        print("  " + "  ".join(c.ljust(w)
                               for c, w in zip(row, widths)).rstrip())


TITLES = (
    ("Send and reap, %s: cycles per packet (ratio to stock)", None),
    ("Receive and reap: cycles per packet (ratio to stock)", receive_table),
    ("The same, TCP whose checksum the guest leaves to others",
     receive_checksums_table),
    ("Many txqs in turn, 1518 bytes, ideal engine: cycles per packet",
     ports_table),
    ("Guests with packed virtqueues and other buffers than of 2 KiB, ideal "
     "engine: ratios to stock", guests_table),
    ("Packets of 9000 bytes, ideal engine, by size of the guest's buffers: "
     "cycles per packet", buffers_table),
    ("Whole switch, lossless loop: busy cycles of the PMD thread per packet, "
     "and throughput", switch_table),
    ("Latency, microseconds; added: to p99 of stock, less that of the ideal "
     "engine",
     latency_table),
    ("Memory, bytes", memory_table),
    ("Scale, cycles: of an iteration if all txqs are idle; per packet if one "
     "is active,\nif all are in turn; of an iteration while all have a packet "
     "in flight", scale_table),
    ("Crossover: DMA is cheaper from so many bytes", crossover_table),
    ("Goals", goal_table),
)


def show_all(report):
    for title, table in TITLES:
        if table:
            show(title, table(report))
            continue
        for engine, name in ENGINE_NAMES.items():
            show(title % name, loop_table(report, engine))
    sys.stdout.flush()


# Plots.

GNUPLOT = """\
set terminal svg size 760,480 font "sans,13" background "white"
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


def plot_label(name):
    if name in ("stock", "off"):
        return {"stock": "stock, copy by CPU", "off": "async off"}[name]
    return name.partition("-")[0]


def plot(report, engine, cold, crossing, name):
    """One line per variant."""
    results = [r for r in report["results"] if r["part"] == engine
               and r["burst"] == 32 and r["cold"] == cold and not r["mix"]]
    data, lines = "", []
    for variant in dict.fromkeys(r["variant"] for r in results):
        rows = sorted((r["size"], r["cycles"]) for r in results
                      if r["variant"] == variant)
        label = variant.replace("-", "_")
        data += "$%s << EOD\n" % label
        data += "".join("%d %.1f\n" % row for row in rows) + "EOD\n"
        lines.append('$%s using 1:2 with linespoints lw 2 title "%s"'
                     % (label, plot_label(variant)))
    marks = ""
    if crossing:
        marks = ('set arrow from %d, graph 0 to %d, graph 1 nohead dt 2\n'
                 'set label " DMA is cheaper from %d" at %d, graph 0.04'
                 % ((crossing,) * 4))
    title = "%s engine, bursts of 32, source %s cache" % (
        "Ideal (1 us, unlimited bandwidth)" if engine == "ideal"
        else "Software", "not in" if cold else "in")
    path = out("bench", os.path.splitext(name)[0] + ".gnuplot")
    write(path, data + GNUPLOT % {
        "svg": name, "title": title, "tso": TSO_SIZE, "marks": marks,
        "lines": ", \\\n     ".join(lines)})
    status, text = capture(["gnuplot", path], cwd=out("bench"))
    if status:
        raise Stop("gnuplot failed:\n" + text)


def plots(report):
    if not shutil.which("gnuplot"):
        raise Stop("gnuplot is not installed: run 'make deps'; then "
                   "'/usr/bin/python3 -m dev.bench report' draws the plots of "
                   "this run.")
    for (engine, cold), name in PLOTS.items():
        found = [c["from"] for c in report["crossover"]
                 if c["cold"] == cold and c["burst"] == 32
                 and c["variant"] == "defer-" + engine]
        plot(report, engine, cold, found[0] if found else None, name)


# The page of figures: what is between two comments in it is generated.

BEGIN = ".. Generated from here on, by dev.bench report.\n"
END = ".. Generated up to here.\n"


def rst_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rule = " ".join("=" * w for w in widths)

    def line(row):
        return " ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip()

    return "\n".join([rule, line(rows[0]), rule]
                     + [line(row) for row in rows[1:]] + [rule]) + "\n"


def rst_loop_table(report, engine):
    """Ratios only, for bursts of 32."""
    return rst_ratios(loop_table(report, engine))


def rst_ratios(rows):
    keep = [i for i, name in enumerate(rows[0]) if i != 1]
    return [[re.sub(r".*\((.*)\)", r"\1", row[i]) for i in keep]
            for row in rows if row[1] in ("burst", "32")]


def rst_goal_table(report):
    return [row[:-1] for row in goal_table(report)]


def fill(text, indent=""):
    return textwrap.fill(text, 79, subsequent_indent=indent,
                         break_on_hyphens=False) + "\n"


def rst(report):
    m = report["machine"]
    lines = [fill("The machine: %s, %d cores%s, Linux %s, DPDK %s, %s; %s." % (
        m["cpu"], m["cores"], ", a virtual machine" if m["virtual"] else "",
        m["kernel"].split("-")[0], m["dpdk"], m["compiler"], m["date"]))]

    def add(text, rows):
        lines.extend([fill(text), rst_table(rows)])

    add("Goals, as ratios to stock, ``latency`` in microseconds:",
        rst_goal_table(report))
    lines += [fill("- ``%s``: %s." % (g["name"], g["note"]), "  ")
              for g in report["goals"]]
    for engine, name in ENGINE_NAMES.items():
        add("Send and reap with the %s, bursts of 32.  Cycles per packet of "
            "stock, ratios of the others:" % name,
            rst_loop_table(report, engine))
    add("Receive and reap, bursts of 32.  Cycles per packet of stock, ratios "
        "of the others:", rst_ratios(receive_table(report)))
    add("%d txqs, to which bursts go in turn, with the ideal engine:"
        % report["ports"][0]["txqs"], ports_table(report))
    for (engine, cold), name in PLOTS.items():
        lines.append(".. figure:: %s\n   :alt: Cycles per packet against "
                     "frame size, %s, %s cache\n"
                     % (name, ENGINE_NAMES[engine],
                        "cold" if cold else "warm"))
    add("Guests with packed virtqueues, and with other buffers than of 2 KiB, "
        "with the ideal engine: ratios to stock over all sizes, bursts and "
        "mixes:", guests_table(report))
    add("Packets of 9000 bytes with the ideal engine, by size of the guest's "
        "buffers.  Cycles per packet of stock, and with DMA:",
        buffers_table(report))
    add("From how many bytes on DMA is cheaper, by bursts:",
        crossover_table(report))
    add("The whole switch, packets that circulate between it and a guest "
        "without loss.  Busy cycles of the PMD thread per packet, and "
        "throughput:", switch_table(report))
    add("Latency in microseconds.  \"Added\" is p99 less that of stock and "
        "less that of the engine, if it is the ideal one:",
        latency_table(report))
    add("Memory in bytes, per txq whose virtqueue has 256 entries, and per "
        "PMD thread:", memory_table(report))
    add("One PMD thread with many txqs, in cycles: of an iteration when all "
        "are idle; per packet when one is active, and when all are in turn, "
        "one packet each; of an iteration in which all have a packet in "
        "flight:", scale_table(report))
    return "\n".join(lines)


def tidy_svg(text):
    """As the sources of Open vSwitch have it: no tabs, short lines.  To XML a
    line break is as good as a space."""
    lines = []
    for line in text.splitlines():
        lines += textwrap.wrap(line.strip(), 79, break_long_words=False,
                               break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def document(report):
    """Puts tables and plots of 'report' on the page of figures."""
    path = os.path.join(ROOT, DOC)
    text = read(path)
    head, begin, rest = text.partition(BEGIN)
    _, end, foot = rest.partition(END)
    if not end:
        raise Stop("%s lacks the comments between which it is generated" % DOC)
    write(path, head + begin + "\n" + rst(report) + "\n" + end + foot)
    for name in PLOTS.values():
        write(os.path.join(os.path.dirname(path), name),
              tidy_svg(read(out("bench", name))))
