# Tests of the driver dma_model by itself, through DPDK's own interface and
# without hugepages or root.  One line a case, last one that sums them.
# Arguments are names of cases, or parts of them.

import os
import shutil
import sys
import tempfile

from dev.common.children import run
from dev.common.command import Stop, main
from dev.common.files import out, tail
from dev.dma_model import ctl, plugin
from dev.dma_model.test import (building, control_page, copying, failing,
                                overall)
from dev.dma_model.test.fixture import (PROGRAM, Bench, Failed, Skipped,
                                        cases_of, program_command)

CASES = [func
         for module in (building, copying, failing, control_page, overall)
         for func in cases_of(module)]


def build():
    plugin.build()
    log = out("model", "build-test.log")
    if run(program_command("gcc", PROGRAM), log):
        raise Stop("cannot compile the test program, see %s:\n%s"
                   % (log, tail(log)))


def run_case(func, bench):
    text = func.__doc__.rstrip(".")
    try:
        found = func(bench)
        if found:
            text %= found
        print("passed: %s: %s" % (func.__name__, text), flush=True)
        return "passed"
    except Skipped as e:
        print("skipped: %s: %s" % (func.__name__, e), flush=True)
        return "skipped"
    except (Failed, ctl.PageError) as e:
        print("FAILED: %s: %s" % (func.__name__, e), flush=True)
        return "failed"


def run_command():
    wanted = sys.argv[1:]
    cases = [f for f in CASES
             if not wanted or any(w in f.__name__ for w in wanted)]
    if not cases:
        raise Stop("no case has %s in its name; there are %s."
                   % (" or ".join(wanted),
                      ", ".join(f.__name__ for f in CASES)))
    build()
    # Pages are best in memory.
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    where = tempfile.mkdtemp(prefix="dma-model-", dir=shm)
    bench = Bench(where)
    try:
        results = [run_case(f, bench) for f in cases]
    finally:
        bench.close()
        shutil.rmtree(where, ignore_errors=True)
    print(", ".join("%d %s" % (results.count(r), r)
                    for r in ("passed", "failed", "skipped")))
    return 1 if "failed" in results else 0


if __name__ == "__main__":
    main(run_command)
