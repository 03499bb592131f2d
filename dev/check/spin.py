# Checks the models of a txq's lock and the completion engines,
# tests/vhost-async-lock.pml, and of an rxq's lock, -rxq-lock.pml, with
# spin(1): as they are, in several sizes, they must be right, and with any one
# step done otherwise they must be wrong, or else they would prove nothing.

import os
import re
import shutil

from dev.common.children import run
from dev.common.command import Progress
from dev.common.files import ROOT, out, read, tail

MODEL = os.path.join(ROOT, "tests/vhost-async-lock.pml")
RXQ_MODEL = os.path.join(ROOT, "tests/vhost-async-rxq-lock.pml")

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


# Pollers, polls of each, messages of the guest.
RXQ_SIZES = ((2, 2, 2), (3, 2, 2))
RXQ_STEPS = ("CLOSES_ONCE", "TAKES_LOCKED", "STORES_BLINDLY")


def count_errors(model, options, log):
    """Explores all states of 'model'.  Returns the number of errors, None if
    that could not be done."""
    where = out("check/spin")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    for command in (["spin"] + options + ["-a", model],
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


def defines(names, size, macros=()):
    return (["-D%s=%d" % pair for pair in zip(names, size)]
            + ["-D" + macro for macro in macros])


def txq_cases():
    """Of each the name, the model, what is defined, and whether it is
    wrong."""
    names = ("N_PMDS", "N_OTHERS", "N_SENDS", "N_MESSAGES")
    for engine, macros in MACROS.items():
        for size in SIZES[engine]:
            yield ("%s: %d PMD thread(s), %d other(s), %d burst(s) each, %d "
                   "message(s)" % ((engine,) + size), MODEL,
                   defines(names, size, macros), False)
        for step in STEPS[engine]:
            yield ("%s: %s is found out" % (engine, step), MODEL,
                   defines(names, WRONG_SIZE, macros + (step,)), True)


def rxq_cases():
    names = ("N_POLLERS", "N_POLLS", "N_MESSAGES")
    for size in RXQ_SIZES:
        yield ("rxq: %d pollers, %d polls each, %d messages" % size, RXQ_MODEL,
               defines(names, size), False)
    for step in RXQ_STEPS:
        yield ("rxq: %s is found out" % step, RXQ_MODEL,
               defines(names, RXQ_SIZES[0], (step,)), True)


def spin_suite(suite, _engine):
    cases = [*txq_cases(), *rxq_cases()]
    progress = Progress("models of locks", len(cases))
    for name, model, what, wrong in cases:
        log = out("check/spin-%s.log" % re.sub(r"\W+", "-", name))
        if os.path.exists(log):
            os.unlink(log)
        errors = count_errors(model, what, log)
        suite.add(name, errors is not None and bool(errors) == wrong,
                  tail(log, 30))
        progress.step(name)
    progress.done()
