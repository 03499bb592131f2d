# Runs the checks: all of them, or the suites that are named, for one or more
# completion engines.  Prints what failed and why, one line a suite, and last
# one line that sums them.

import argparse
import os

from dev.check.suites import ONCE, SUITES, chosen_suites, run_suite
from dev.common.command import check_engine, main, program
from dev.common.files import out, write


def run_engine(names, engine):
    """Runs suites for one engine, as far as they can be."""
    suites = []
    for name in names:
        suites.append(run_suite(name, engine))
        if name == "build" and suites[-1].failed:
            print("== without a build the other suites have nothing to run")
            break
    return suites


def run_command():
    parser = argparse.ArgumentParser(prog=program(),
                                     description="Runs the checks.")
    parser.add_argument("--engine", action="append", metavar="ENGINE",
                        help="one or more completion engines")
    parser.add_argument("suites", nargs="*", metavar="SUITE",
                        help="one of " + ", ".join(SUITES))
    args = parser.parse_args()
    engines = args.engine or ["defer"]
    for engine in engines:
        check_engine(engine)
    names = chosen_suites(args.suites)

    summary = out("check", "summary")
    os.makedirs(os.path.dirname(summary), exist_ok=True)
    write(summary, "")
    suites = []
    for engine in engines:
        suites += run_engine([name for name in names if name not in ONCE
                              or engine == engines[0]], engine)
    total = "%d passed, %d failed, %d skipped" % tuple(
        sum(getattr(suite, what) for suite in suites)
        for what in ("passed", "failed", "skipped"))
    write(summary, total + "\n")
    print(total, flush=True)
    return 1 if any(suite.failed for suite in suites) else 0


if __name__ == "__main__":
    main(run_command)
