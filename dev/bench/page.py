# One page of a run, out/bench/report.html: goals, heat maps of the ratios to
# stock, plots, and all tables.  Nothing in it comes from elsewhere, and no
# script runs.

import html
import os

from dev.bench import output
from dev.bench.goals import MET, MISSED
from dev.common.files import out, read, write

STYLE = """
body { font-family: sans-serif; margin: 2em; max-width: 75em }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .6em; text-align: right; border: 1px solid #ccc }
td:first-child, th:first-child { text-align: left }
.met { background: #bfb } .missed { background: #fbb }
.unknown { background: #eee }
"""


def colour(ratio):
    """Green where it costs less than stock, red where it costs more."""
    if ratio <= 1:
        part = round(255 - 155 * (1 - ratio))
        return "rgb(%d,255,%d)" % (part, part)
    part = round(255 - min(ratio - 1, .5) * 400)
    return "rgb(255,%d,%d)" % (max(part, 60), max(part, 60))


def element(name, text, **attributes):
    return "<%s%s>%s</%s>" % (
        name, "".join(" %s=\"%s\"" % (k.rstrip("_"), html.escape(v))
                      for k, v in attributes.items()), text, name)


def table(rows):
    lines = ["".join(element("th", html.escape(c)) for c in rows[0])]
    lines += ["".join(element("td", html.escape(c)) for c in row)
              for row in rows[1:]]
    return element("table", "\n".join(element("tr", r) for r in lines))


def goals_table(goals):
    classes = {MET: "met", MISSED: "missed"}
    rows = [element("tr", "".join(element("th", c) for c in (
        "goal", "ratio", "interval", "goal", "", "")))]
    for g in goals:
        rows.append(element("tr", "".join(
            element("td", html.escape(c)) for c in (
                g["name"], "%.3f" % g["ratio"],
                "%.3f to %.3f" % (g["low"], g["high"]), "%.2f" % g["goal"],
                g["verdict"], g["note"])),
            class_=classes.get(g["verdict"], "unknown")))
    return element("table", "\n".join(rows))


def heat_map(results, cold):
    """Rows of sizes and mixes, columns of bursts."""
    mine = [r for r in results if r["cold"] == cold]
    bursts = sorted({r["burst"] for r in mine})
    rows = [element("tr", "".join(element("th", c) for c in [
        "bytes"] + ["bursts of %d" % b for b in bursts]))]
    for kind in dict.fromkeys((r["mix"], r["size"]) for r in mine):
        cells = [element("td", html.escape(kind[0]
                                           or output.size_name(kind[1])))]
        for burst in bursts:
            found = [r for r in mine if (r["mix"], r["size"]) == kind
                     and r["burst"] == burst]
            cells.append(element(
                "td", "%.2f" % found[0]["ratio"],
                style="background: " + colour(found[0]["ratio"]),
                title="%.0f cycles, %.0f %% by DMA"
                % (found[0]["cycles"], 100 * found[0]["dma"]))
                if found else element("td", ""))
        rows.append(element("tr", "".join(cells)))
    return element("table", "\n".join(rows))


def write_page(report):
    m = report["machine"]
    parts = [element("h1", "Copies to vhost ports: the series against stock"),
             element("p", html.escape(
                 "%s, %d cores%s; DPDK %s; %s; %s.  Stock differs from itself "
                 "by %.1f %% at most." % (
                     m["cpu"], m["cores"],
                     ", a virtual machine" if m["virtual"] else "", m["dpdk"],
                     m["compiler"], m["date"], 100 * report["noise"]))),
             element("h2", "Goals"), goals_table(report["goals"])]
    for variant in dict.fromkeys(r["variant"] for r in report["results"]):
        if variant == "stock":
            continue
        for cold in (0, 1):
            parts += [element("h2", html.escape(
                "%s, %s: ratio to stock" % (variant, "source in memory"
                                            if cold else "source in cache"))),
                      heat_map([r for r in report["results"]
                                if r["variant"] == variant], cold)]
    for guest in dict.fromkeys(r["guest"] for r in report["guests"]):
        for cold in (0, 1):
            mine = [r for r in report["guests"] if r["guest"] == guest
                    and r["variant"] != "stock"]
            parts += [element("h2", html.escape(
                "%s, guest with %s, %s: ratio to stock"
                % (mine[0]["variant"], guest, "source in memory" if cold
                   else "source in cache"))), heat_map(mine, cold)]
    for name in output.PLOTS.values():
        svg = read(out("bench", name))
        parts.append(element("figure", svg[svg.find("<svg"):]))
    for title, make in output.TITLES:
        if make:
            parts += [element("h2", html.escape(title)), table(make(report))]
    write(out("bench", "report.html"), "<!DOCTYPE html>\n" + element(
        "html", element("head", element("meta", "", charset="utf-8")
                        + element("title", "vhost async")
                        + element("style", STYLE))
        + element("body", "\n".join(parts)), lang="en") + "\n")
    print("page: %s" % os.path.relpath(out("bench", "report.html")))
