# Which lines and branches of our own files no test reaches.
#
#   python3 -m dev.coverage [--engine ENGINE]... [--add] [SUITE...]
#
# Builds each engine once more, in out/coverage-ENGINE, with counters in our
# own files (cc.sh), runs suites of dev.check on that and adds up what gcov(1)
# tells, of all engines and all copies of a function: tests include sources of
# lib/.  What is not reached is to be explained in the file excuses, which also
# says how.

import argparse
import collections
import glob
import json
import os
import re

from dev.check.suites import chosen_suites, run_suite
from dev.common.children import capture
from dev.common.command import Stop, check_engine, main, program
from dev.common.files import ROOT, digest, lock, out, read, write
from dev.ovs import tree

HERE = os.path.join(ROOT, "dev/coverage")
CC = os.path.join(HERE, "cc.sh")
EXCUSES = os.path.join(HERE, "excuses")

# Of dev.check; those that reach most first.
SUITES = ("unit", "quick", "packets", "faults-quick")

# Those for users; what is only in another one is not looked at.
ENGINES = ("defer", "ring")

# Files that include our headers.  cc.sh has them optimized, for packets do not
# wait, and so their branches are not what one reads: those in a function of a
# header only count where no file of ours uses it.
HOOKED = ("lib/netdev-dpdk", "lib/dpif-netdev")
HOOKED_NOTES = tuple("/%s.gcno" % name for name in HOOKED)

# The branches that these have inside are not ours: whether a message is
# logged, an assertion holds, or of which kind a ring of DPDK is.
NOT_OURS = re.compile(r"VLOG_\w+\(|ovs_assert\(|rte_ring_\w+\(")

NOT_EXECUTED = "not executed"

FUNCTION = re.compile(r"^(\w+)\(")


class Line:
    """What is known of a line that can be executed."""

    def __init__(self, text, function):
        self.text = text
        self.function = function
        self.compiled = False
        self.count = 0
        # How often each way on was taken.  Compiled in different settings, a
        # line can have different ones, hence by their number.
        self.variants = {}

    def add(self, count, ways):
        self.count += count
        if ways and not NOT_OURS.match(self.text):
            sums = self.variants.setdefault(len(ways), [0] * len(ways))
            for i, n in enumerate(ways):
                sums[i] += n

    @property
    def ways(self):
        """Of the variants that were executed, if any was, the one with the
        fewest that nobody took."""
        executed = [ways for ways in self.variants.values()
                    if any(ways) or not self.count]
        return min(executed, default=[],
                   key=lambda ways: (ways.count(0), -len(ways)))

    def problem(self):
        """What is not reached, or None."""
        if not self.count:
            return NOT_EXECUTED
        missing = self.ways.count(0)
        return missing and "%d of %d branches not taken" % (missing,
                                                            len(self.ways))


def sources():
    """Our files that are measured."""
    return [name for name in tree.own_files()
            if re.fullmatch(r"lib/.*\.[ch]", name)]


def functions(text):
    """By line, from 1 on, the function that it belongs to."""
    names, name = [None], None
    for line in text.splitlines():
        m = FUNCTION.match(line)
        if m:
            name = m[1]
        names.append(name)
    return names


# The build.

def build_of(engine):
    return "coverage-" + engine


def drop_uncounted(build):
    """Removes the objects that cc.sh is to compile otherwise than gcc did, or
    an earlier cc.sh."""
    stamp = os.path.join(build, ".counted")
    wanted = digest([CC, os.path.join(HERE, "flush.h")])
    if read(stamp) == wanted:
        return
    names = [name for name in tree.own_files() if name.endswith(".c")]
    names += [name + ".c" for name in HOOKED + ("lib/fatal-signal",)]
    for name in names:
        where, base = os.path.split(os.path.splitext(name)[0])
        for suffix in ("o", "lo"):
            for prefix in ("", "*-"):
                for path in glob.glob(os.path.join(
                        build, where, "%s%s.%s" % (prefix, base, suffix))):
                    os.unlink(path)
    write(stamp, wanted)


def make_build(engine):
    name = build_of(engine)
    if os.path.exists(out(name)):
        tree.make_src()
    else:
        # To start from.
        tree.make_build(engine)
    with lock(name):
        args = [arg for arg in tree.CONFIGURE if not arg.startswith("CC=")]
        tree.configure(out("src"), out(name), args + [
            "CC=" + CC, "--with-vhost-async=" + engine], like=out(engine))
        drop_uncounted(out(name))
        tree.make(out(name))


def counters(build):
    return glob.glob(os.path.join(build, "**/*.gcda"), recursive=True)


# What gcov tells.

def is_ours(notes):
    return not notes.endswith(HOOKED_NOTES)


def read_object(lines, notes):
    """Adds what is known of the object to which the file 'notes' belongs."""
    _, text = capture(["gcov", "--json-format", "--stdout",
                       "--branch-probabilities", notes])
    data = [line for line in text.splitlines() if line.startswith("{")]
    if not data:
        raise Stop("gcov cannot read %s:\n%s" % (notes, text[-2000:]))
    for file in json.loads(data[0])["files"]:
        name = "/".join(file["file"].split("/")[-2:])
        for entry in file["lines"] if name in lines else ():
            line = lines[name].get(entry["line_number"])
            if line is None:
                raise Stop("%s has no line %d, which %s was made from: run "
                           "this again" % (name, entry["line_number"], notes))
            line.add(entry["count"],
                     [branch["count"] for branch in entry["branches"]]
                     if is_ours(notes) or not line.compiled else [])
            line.compiled = True


def read_lines(builds):
    """All executable lines by file and number."""
    lines = {}
    for name in sources():
        text = read(os.path.join(ROOT, name))
        lines[name] = {
            number: Line(content.strip(), function)
            for number, (content, function)
            in enumerate(zip(text.splitlines(), functions(text)[1:]), 1)}
    for build in builds:
        for notes in sorted(glob.glob(os.path.join(build, "**/*.gcno"),
                                      recursive=True),
                            key=is_ours, reverse=True):
            read_object(lines, notes)
    return {name: {number: line for number, line in of.items()
                   if line.compiled}
            for name, of in lines.items()}


# Excuses.

class Excuse:
    """Why lines of a function are not reached; 'where' it is written."""

    def __init__(self, where, file, function):
        self.where = where
        self.key = (file, function)
        self.texts = []
        self.by_chance = set()          # Of those.
        self.reason = ""
        self.used = set()

    def covers(self, name, line):
        found = [text for text in self.texts
                 if self.key == (name, line.function)
                 and text in (line.text, "*")]
        self.used.update(found)
        return bool(found)

    def stale(self):
        return [t for t in self.texts
                if t not in self.used and t not in self.by_chance]


def read_excuses():
    excuses = []
    for number, text in enumerate(read(EXCUSES).splitlines(), 1):
        where = "%s:%d" % (os.path.relpath(EXCUSES, ROOT), number)
        m = re.fullmatch(r"(\S+) (\w+)", text)
        if not text.strip() or text.startswith("#"):
            continue
        elif m:
            excuses.append(Excuse(where, m[1], m[2]))
        elif (excuses and text.startswith(("| ", "|? "))
              and not excuses[-1].reason):
            line = text.split(" ", 1)[1].strip()
            excuses[-1].texts.append(line)
            if text.startswith("|?"):
                excuses[-1].by_chance.add(line)
        elif excuses and text.startswith("  "):
            excuses[-1].reason += " " * bool(excuses[-1].reason) + text.strip()
        else:
            raise Stop("%s: '%s' is neither 'FILE FUNCTION', nor '| LINE' "
                       "after that, nor an indented reason after those"
                       % (where, text))
    for excuse in excuses:
        if not excuse.texts or not excuse.reason:
            raise Stop("%s: no %s given for %s in %s" % (
                excuse.where, "reason is" if excuse.texts else "lines are",
                excuse.key[1], excuse.key[0]))
    return excuses


# The report.

class Gap:
    """Lines of a function, one after the other, that have one problem."""

    def __init__(self, name, problem):
        self.name = name
        self.problem = problem
        self.lines = []             # (number, Line).

    def __str__(self):
        first, line = self.lines[0]
        last = self.lines[-1][0]
        return "  %s:%d%s: %s: %s [%s]" % (
            self.name, first, "-%d" % last if last != first else "",
            line.function, line.text, self.problem)

    def split(self, excuses):
        """Yields (excuse or None, Gap)."""
        part, last = None, None
        for number, line in self.lines:
            found = [e for e in excuses if e.covers(self.name, line)]
            excuse = found[0] if found else None
            if part is None or excuse != last:
                if part:
                    yield last, part
                part, last = Gap(self.name, self.problem), excuse
            part.lines.append((number, line))
        yield last, part


def gaps(lines):
    for name, of in lines.items():
        gap = None
        for number, line in sorted(of.items()):
            problem = line.problem()
            if (gap and (problem != NOT_EXECUTED or gap.problem != problem
                         or gap.lines[0][1].function != line.function)):
                yield gap
                gap = None
            if problem:
                gap = gap or Gap(name, problem)
                gap.lines.append((number, line))
        if gap:
            yield gap


def percent(part, of):
    return "%4d of %4d  %5.1f %%" % (part, of, 100 * part / of if of else 100)


def row(name, lines):
    ways = [n for line in lines for n in line.ways]
    print("%-28s%s   %s" % (
        name, percent(sum(bool(line.count) for line in lines), len(lines)),
        percent(sum(bool(n) for n in ways), len(ways))))


def report(lines, excuses):
    """Prints it.  Returns whether all is reached or excused."""
    print("%-28s%21s   %21s" % ("", "lines executed", "branches taken"))
    everything = []
    for name, of in lines.items():
        if of:
            row(name, of.values())
            everything += of.values()
        else:
            print("%-28s no code of these engines" % name)
    row("all", everything)

    open_, excused = [], collections.defaultdict(list)
    for gap in gaps(lines):
        for excuse, part in gap.split(excuses):
            (excused[excuse] if excuse else open_).append(part)
    if excused:
        print("\nNot reached, and why:")
        for excuse, found in excused.items():
            print("\n".join([str(gap) for gap in found]
                            + ["    " + excuse.reason]))
    if open_:
        print("\nNot reached: write a test, or the reason into %s:"
              % os.path.relpath(EXCUSES, ROOT))
        print("\n".join(str(gap) for gap in open_))
    stale = [(e, t) for e in excuses if lines.get(e.key[0], True)
             for t in e.stale()]
    if stale:
        print("\nReached by now, or gone: take the excuses away:")
        for excuse, text in stale:
            print("  %s: %s %s: %s" % ((excuse.where,) + excuse.key + (text,)))
    print("\ncoverage: %d lines without test or excuse, %d stale excuses"
          % (sum(len(gap.lines) for gap in open_), len(stale)))
    return not open_ and not stale


def run_suites(names, engine):
    """Returns whether all passed."""
    suites = [run_suite(name, engine, build_of(engine))
              for name in names]
    return not any(suite.failed for suite in suites)


def run_command():
    parser = argparse.ArgumentParser(
        prog=program(), description="Shows what no test reaches.")
    parser.add_argument("--engine", action="append", metavar="ENGINE")
    parser.add_argument("--add", action="store_true",
                        help="add to what earlier runs reached")
    parser.add_argument("suites", nargs="*", metavar="SUITE",
                        help="instead of " + " ".join(SUITES))
    args = parser.parse_args()
    engines = args.engine or ENGINES
    for engine in engines:
        check_engine(engine)
    names = args.suites or ([] if args.add else SUITES)
    if names:
        chosen_suites(names)

    passed = True
    excuses = read_excuses()
    for engine in engines:
        make_build(engine)
        if not args.add:
            for path in counters(out(build_of(engine))):
                os.unlink(path)
        passed &= run_suites(names, engine)
    lines = read_lines([out(build_of(engine)) for engine in engines])
    fine = report(lines, excuses)
    if args.suites or set(engines) != set(ENGINES):
        print("that is no failure, since not all was run")
        fine = True
    return 0 if passed and fine else 1


if __name__ == "__main__":
    main(run_command)
