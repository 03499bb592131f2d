# Checks the model of the engine "ring", tests/vhost-async-ring.pml, with
# spin(1): as it is, in several sizes, it must be right, and with any one step
# left out it must be wrong, or else it would prove nothing.

import os
import re
import shutil

from common import ROOT, Progress, out, read, run, tail

MODEL = os.path.join(ROOT, "tests/vhost-async-ring.pml")

# PMD threads, other threads, bursts that each sends.  More of them take
# minutes and gigabytes, and were right, too: 3, 0, 1.
SIZES = ((2, 0, 2), (1, 1, 2), (2, 1, 1))

STEPS = ("NO_RECHECK", "NO_RECHECK_BARE", "NO_RECHECK_GONE", "NO_ATTEMPT",
         "LATE_REMOVE", "RING_DECIDES")


def count_errors(size, macros, log):
    """Explores all states.  Returns the number of errors, None if that could
    not be done."""
    where = out("check/spin")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    names = ("N_PMDS", "N_OTHERS", "N_SENDS")
    defines = ["-D%s=%d" % pair for pair in zip(names, size)]
    defines += ["-D" + macro for macro in macros]
    for command in (["spin"] + defines + ["-a", MODEL],
                    ["gcc", "-O2", "-DSAFETY", "-DCOLLAPSE", "-o", "pan",
                     "pan.c"],
                    ["./pan", "-m1000000", "-w24"]):
        if run(command, log, cwd=where, append=True):
            return None
    # "errors: 0" is worth nothing if the search was cut short.
    text = read(log)
    m = re.search(r"errors: (\d+)", text)
    if not m or "max search depth too small" in text:
        return None
    errors = int(m[1])
    return None if not errors and "Search not completed" in text else errors


def spin_suite(suite, _engine):
    cases = [("%d PMD thread(s), %d other(s), %d bursts each" % size, size,
              (), False) for size in SIZES]
    cases += [("%s is found out" % step, SIZES[0], (step,), True)
              for step in STEPS]
    progress = Progress("model of the ring", len(cases))
    for name, size, macros, wrong in cases:
        log = out("check/spin-%s.log" % re.sub(r"\W+", "-", name))
        if os.path.exists(log):
            os.unlink(log)
        errors = count_errors(size, macros, log)
        suite.add(name, errors is not None and bool(errors) == wrong,
                  tail(log, 30))
        progress.step(name)
    progress.done()
