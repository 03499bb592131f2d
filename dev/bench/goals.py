# What the series is to reach, as ratios to stock in the same run, and whether
# it did: "met" or "missed" if the interval in which the median lies is on one
# side of the goal, "cannot tell" otherwise.

from dev.bench.harness import TSO_SIZE, pick

MET, MISSED, UNKNOWN = "met", "missed", "cannot tell on this machine"

# Name, and the most that it may be; 'switch-rate' is the least.
GOALS = {"off": 1.01, "off-worst": 1.03, "never": 1.03, "never-real": 1.10,
         "ports-1": 1.00, "ports-4": 1.00, "mtu": .32, "mtu-cold": .15,
         "burst-4": .50, "burst-1": .90, "jumbo": .18, "jumbo-cold": .10,
         "jumbo-real": .45, "jumbo-real-cold": .25, "tso": .25,
         "tso-cold": .45, "imix": .80, "switch": .75, "switch-rate": 1.3,
         "through-64": 1.03, "through": .55, "through-jumbo": .20,
         "latency": 2., "idle": 1.01,
         "receive-off": 1.01, "receive": .75, "receive-jumbo": .30,
         "receive-never": 1.03, "receive-never-real": 1.10,
         "receive-latency": 2.}

# Goals that are one cell each: engine, size, burst, cold.
CELLS = {"mtu": ("ideal", 1518, 32, 0), "mtu-cold": ("ideal", 1518, 32, 1),
         "burst-4": ("ideal", 1518, 4, 0), "burst-1": ("ideal", 1518, 1, 0),
         "jumbo": ("ideal", 9000, 32, 0), "jumbo-cold": ("ideal", 9000, 32, 1),
         "jumbo-real": ("real", 9000, 32, 0),
         "jumbo-real-cold": ("real", 9000, 32, 1),
         "tso": ("ideal", TSO_SIZE, 32, 0),
         "tso-cold": ("ideal", TSO_SIZE, 32, 1)}

# Goals of receiving, bursts of 32, warm, by size.
RECEIVE = {1518: "receive", 9000: "receive-jumbo"}

# Goals of guest to guest, both copies by DMA, by size.
THROUGH = {64: "through-64", 1518: "through", 9000: "through-jumbo"}

# Stock against stock: more than that, and small differences tell nothing.
NOISE = .03


def goal(name, ratio, interval, note):
    limit = GOALS[name]
    low, high = interval
    if name == "switch-rate":
        verdict = (MET if low >= limit else MISSED if high < limit
                   else UNKNOWN)
    else:
        verdict = (MET if round(high, 3) <= limit
                   else MISSED if round(low, 3) > limit else UNKNOWN)
    return {"name": name, "ratio": ratio, "low": low, "high": high,
            "goal": limit, "verdict": verdict, "met": verdict == MET,
            "note": note}


def line(g):
    return ("bench: %(name)s ratio=%(ratio).3f [%(low).3f %(high).3f] "
            "goal=%(goal).2f: %(verdict)s" % g)


def cell_name(r):
    guest = ", guest with " + r["guest"] if r.get("guest") else ""
    if r.get("mix"):
        return "%s, bursts of %d%s" % (r["mix"], r["burst"], guest)
    return "%d B, bursts of %d, %s%s" % (
        r["size"], r["burst"], "cold" if r["cold"] else "warm", guest)


def interval(r):
    return r["ratio_low"], r["ratio_high"]


def cell_goal(name, r):
    return goal(name, r["ratio"], interval(r), "%.0f of %.0f cycles; %.2f of "
                "the packets by DMA" % (r["cycles"], r["cycles"] / r["ratio"],
                                        r["dma"]))


def worst_goal(name, results):
    worst = max(results, key=lambda r: r["ratio"])
    return goal(name, worst["ratio"], interval(worst),
                "worst of %d: %s, %.0f of %.0f cycles"
                % (len(results), cell_name(worst), worst["cycles"],
                   worst["cycles"] / worst["ratio"]))


def mean_goal(name, results, what):
    n = len(results)
    mean = [sum(r[key] for r in results) / n
            for key in ("ratio", "ratio_low", "ratio_high")]
    return goal(name, mean[0], mean[1:], "mean of %d %s" % (n, what))


def off_goals(results):
    mine = [r for r in results if r["variant"] == "off"]
    return [mean_goal("off", mine, "sizes"), worst_goal("off-worst", mine)]


def receive_goals(report, engine):
    """Those of packets from guests."""
    found = [mean_goal("receive-off", [r for r in report["receive"]
                                       if r["variant"] == "off"], "cells")]
    for kind, name in (("ideal", "receive-never"),
                       ("real", "receive-never-real")):
        found.append(worst_goal(name, [
            r for r in report["receive"] + report["receive-checksums"]
            if r["variant"] == "%s-%s-rx" % (engine, kind)]))
    for size, name in RECEIVE.items():
        found.append(cell_goal(name, pick(
            report["receive"], engine + "-ideal-rx", size=size, burst=32,
            cold=0)))
    row = pick(report["latency"], engine + "-ideal-rx", size=1518,
               load="receive")
    found.append(goal("receive-latency", row["added"],
                      (row["low"], row["high"]),
                      "us added to p99 by DMA, less that of the engine"))
    return found


def noise(results):
    """The most by which stock differs from itself."""
    return max(abs(r["ratio"] - 1) for r in results
               if r["variant"] == "stock-twice")


def all_goals(report, engine):
    """Those that 'report' has the figures for."""
    found = off_goals(report["off"])
    for kind, name in (("ideal", "never"), ("real", "never-real")):
        found.append(worst_goal(name, [
            r for r in report["results"] + report.get("guests", [])
            if r["variant"] == "%s-%s" % (engine, kind)]))
    for r in report["ports"]:
        if r["variant"] != "stock":
            found.append(goal("ports-%d" % r["burst"], r["ratio"], interval(r),
                              "%d txqs in turn, %.0f of %.0f cycles"
                              % (r["txqs"], r["cycles"],
                                 r["cycles"] / r["ratio"])))
    for name, (kind, size, burst, cold) in CELLS.items():
        found.append(cell_goal(name, pick(
            report["results"], "%s-%s" % (engine, kind), size=size,
            burst=burst, cold=cold)))
    found.append(cell_goal("imix", pick(
        report["results"], engine + "-ideal", mix="imix", burst=32)))
    for r in report.get("switch", ()):
        if r["variant"] == engine + "-ideal" and r["size"] == 1518:
            found.append(goal("switch", r["ratio"], interval(r),
                              "%.0f cycles per packet" % r["cycles"]))
            found.append(goal("switch-rate", r["mpps_ratio"],
                              (r["mpps_low"], r["mpps_high"]),
                              "%.3f Mpps" % r["mpps"]))
    for r in report.get("switch", ()):
        if r["variant"] == engine + "-ideal-rx":
            found.append(goal(THROUGH[r["size"]], r["ratio"], interval(r),
                              "guest to guest, %.0f cycles per packet"
                              % r["cycles"]))
    row = pick(report["latency"], engine + "-ideal", size=1518, load="one")
    found.append(goal("latency", row["added"], (row["low"], row["high"]),
                      "us added to p99 by DMA, less that of the engine"))
    if "receive" in report:
        found += receive_goals(report, engine)
    row = pick(report["scale"], engine + "-ideal", txqs=512)
    found.append(goal("idle", row["active_ratio"], (row["low"], row["high"]),
                      "one of 512 txqs active against one of 1; all idle: "
                      "%.1f cycles" % row["idle"]))
    return found
