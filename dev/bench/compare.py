# Two runs side by side: goals, and each cell that both measured.

import json
import os

from dev.bench import output
from dev.bench.goals import cell_name
from dev.common.command import Stop
from dev.common.files import read


def load(path):
    names = [path] if os.path.isfile(path) else [
        os.path.join(path, name) for name in ("bench.json", "quick.json")]
    for name in names:
        text = read(name)
        if text:
            return json.loads(text)
    raise Stop("%s: neither a run of 'make bench' nor a folder with one, "
               "bench.json or quick.json" % path)


def key(r):
    return tuple(r.get(k) for k in ("part", "variant", "mix", "size", "burst",
                                    "cold"))


def verdict(a, b):
    """Of the ratios to stock of two runs, by their intervals."""
    if b["ratio_high"] < a["ratio_low"]:
        return "better"
    return "worse" if b["ratio_low"] > a["ratio_high"] else ""


def show(path_a, path_b):
    a, b = load(path_a), load(path_b)
    for name, run in ((path_a, a), (path_b, b)):
        print("%s: %s, DPDK %s, %s" % (name, run["machine"]["cpu"],
                                       run["machine"]["dpdk"],
                                       run["machine"]["date"]))
    mine = {g["name"]: g for g in a["goals"]}
    output.show("Goals", [["name", "A", "B", "goal", "A", "B"]] + [
        [g["name"], "%.3f" % mine[g["name"]]["ratio"], "%.3f" % g["ratio"],
         "%.2f" % g["goal"], mine[g["name"]]["verdict"], g["verdict"]]
        for g in b["goals"] if g["name"] in mine])
    mine = {key(r): r for r in a["results"]}
    rows = [["variant", "packets", "A", "B", ""]]
    for r in b["results"]:
        other = mine.get(key(r))
        if other and r["variant"] != "stock":
            rows.append([r["variant"], cell_name(r), "%.3f" % other["ratio"],
                         "%.3f" % r["ratio"], verdict(other, r)])
    output.show("Ratios to stock", rows)
