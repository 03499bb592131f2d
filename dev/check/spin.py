# Checks the model of a txq's lock and of the completion engines,
# tests/vhost-async-lock.pml, with spin(1): as it is, in several sizes, it must
# be right, and with any one step left out it must be wrong, or else it would
# prove nothing.

import os
import re
import shutil

from dev.common.children import run
from dev.common.command import Progress
from dev.common.files import ROOT, out, read, tail

MODEL = os.path.join(ROOT, "tests/vhost-async-lock.pml")

# PMD threads, other threads, bursts that each sends, messages of the guest.
# More of them take minutes and gigabytes, and were right, too: 2, 1, 1, 1 and
# 2, 0, 2, 1 of the engine "ring".
SIZES = {
    "ring": ((2, 0, 1, 1), (2, 0, 2, 0), (1, 1, 2, 1), (2, 1, 1, 0)),
    "defer": ((2, 1, 1, 1), (2, 0, 2, 1)),
}
MACROS = {"ring": (), "defer": ("DEFER",)}

# Where each step is missed.
WRONG_SIZE = (1, 1, 2, 1)
STEPS = {
    "ring": ("IGNORES_PENDING", "NO_WORD_REAPED", "NO_WORD_SENT", "LATE_DONE",
             "LATE_PUT", "OPEN_FORGETS", "NO_WAITING", "RING_DECIDES",
             "NO_KEEPER", "NO_LOOK", "LATE_UNKEEP"),
    "defer": ("IGNORES_PENDING", "NO_WORD_REAPED", "LATE_DONE"),
}


def count_errors(size, macros, log):
    """Explores all states.  Returns the number of errors, None if that could
    not be done."""
    where = out("check/spin")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    names = ("N_PMDS", "N_OTHERS", "N_SENDS", "N_MESSAGES")
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
    cases = []
    for engine, macros in MACROS.items():
        cases += [("%s: %d PMD thread(s), %d other(s), %d burst(s) each, %d "
                   "message(s)" % ((engine,) + size), size, macros, False)
                  for size in SIZES[engine]]
        cases += [("%s: %s is found out" % (engine, step), WRONG_SIZE,
                   macros + (step,), True) for step in STEPS[engine]]
    progress = Progress("model of the lock", len(cases))
    for name, size, macros, wrong in cases:
        log = out("check/spin-%s.log" % re.sub(r"\W+", "-", name))
        if os.path.exists(log):
            os.unlink(log)
        errors = count_errors(size, macros, log)
        suite.add(name, errors is not None and bool(errors) == wrong,
                  tail(log, 30))
        progress.step(name)
    progress.done()
