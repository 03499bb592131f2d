# The suite "tsan": tests/test-vhost-engine.c, and with it the completion
# engine, under ThreadSanitizer; and that these tests find what they are for.
#
# For the latter copies of the sources are broken on purpose, in one place
# each, and some test must fail.  ThreadSanitizer must report what is not
# ordered, even if all went well; and a packet that nobody sees to must be
# missed.

import os
import re
import shutil

import tree
from common import ROOT, Progress, Stop, child_env, out, read, run, write

# Atomic operations of DPDK's headers in C rather than assembly, so that
# ThreadSanitizer sees them.  It does not see fences, of which gcc warns; what
# is to be ordered by one is atomic, and so reported by nobody.
TSAN = ["-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-tsan",
        "-DRTE_USE_C11_MEM_MODEL", "-DRTE_FORCE_INTRINSICS"]

# For how long each case runs.
TSAN_MS = 3000
BROKEN_MS = 4000

# What is broken can end a test in another way than the one looked for, such as
# by an assertion before there is a race, so it gets some chances.
BROKEN_TRIES = 3

CASE = re.compile(r"DMA_TEST_CASE\((\w+)\)")

RING = "lib/vhost-async-ring.c"
TEST = "tests/test-vhost-engine.c"
FAKE = "tests/fake-vhost-mt.h"


class Broken:
    """A variant in which 'pattern' of 'source' is 'text' instead, and what
    the output of 'case' must tell."""

    def __init__(self, name, source, pattern, text, case, finding, tsan=True):
        self.name = name
        self.source = source
        self.pattern = pattern
        self.text = text
        self.case = case
        self.finding = finding
        self.tsan = tsan


RACE = "WARNING: ThreadSanitizer: data race"
NOBODY = "nobody sees to the others"

# Engines whose senders take the tx lock, which is the test's own.
BROKEN_LOCKED = [
    Broken("locks are given up without a release", FAKE,
           r"(atomic_store_explicit\(&lock->taken, false, memory_order_)"
           r"release", r"\1relaxed", "one_txq", RACE),
]

BROKEN_RING = [
    Broken("the role is taken without atomicity", RING,
           r"return !draining\s+&& atomic_compare_exchange_strong_explicit\("
           r"[^;]*;",
           "if (!draining) {\n"
           "        atomic_store_explicit(&e->draining, true,\n"
           "                              memory_order_seq_cst);\n"
           "    }\n"
           "    return !draining;", "one_txq", RACE),
    Broken("the role is given up without a release", RING,
           r"(atomic_store_explicit\(&e->draining, false, memory_order_)"
           r"seq_cst", r"\1relaxed", "one_txq", RACE),
    Broken("the role is taken without an acquire", RING,
           r"(&e->draining, &draining,\s+true,\s+memory_order_)seq_cst",
           r"\1relaxed", "one_txq", RACE),
    Broken("a sender does not look after its own burst", RING,
           r"(n = vhost_async_copy_or_count\(self, txq, vid, pkts, cnt\);\s+"
           r"ring_give\(e\);\s+if \()OVS_UNLIKELY\(ring_waiting\(e\)\)",
           r"\1false", "lone_packets", NOBODY, tsan=False),
    Broken("a drainer does not look after it gave up the role", RING,
           r"if \(!ring_waiting\(e\) \|\| ring_keeper\(e\)\)", "if (true)",
           "lone_packets", NOBODY, tsan=False),
    Broken("the keeper does not come back", RING,
           r"dma_defer_push\(&self->kept, &e->node\);", "", "lone_packets",
           NOBODY, tsan=False),
    Broken("the keeper does not look after it ceased to be it", RING,
           r"if \(OVS_UNLIKELY\(ring_waiting\(e\) && !ring_keeper\(e\)\)\)",
           "if (false)", "lone_packets", NOBODY, tsan=False),
]


def build(engine, where, tsan, broken=None):
    """Makes where/ovstest with our own sources compiled anew.  Those which
    the test includes are searched for in 'where' first."""
    build_dir, src = out(engine), out("src")
    flags = ["-g", "-O1"] + (TSAN if tsan else [])
    log = os.path.join(where, "build.log")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    for name in (TEST, FAKE, RING):
        text = read(os.path.join(src, name))
        if broken and name == broken.source:
            text, n = re.subn(broken.pattern, broken.text, text,
                              flags=re.DOTALL)
            if n != 1:
                raise Stop("dev/check_tsan.py: \"%s\": its pattern is %d "
                           "times in %s; adapt it to the source."
                           % (broken.name, n, name))
        if name == RING:
            # Others get a chance right before the role is given up.
            text = text.replace(" ring_give(e);",
                                " fake_disturb(4); ring_give(e);")
        write(os.path.join(where, os.path.basename(name)), text)

    sources = [os.path.join(where, os.path.basename(TEST)),
               os.path.join(src, "lib/dpdk-dma-map.c"),
               os.path.join(src, "tests/ovstest.c")]
    tree.link_ovstest(build_dir, where, sources, flags, log,
                      include=[where, os.path.join(src, "tests")])


def run_case(where, case, ms):
    """Returns whether 'case' passed, and its output."""
    log = os.path.join(where, case + ".log")
    env = child_env(TSAN_OPTIONS="suppressions=%s history_size=4"
                    % os.path.join(ROOT, "dev/tsan.supp"))
    # The ThreadSanitizer of gcc 12 cannot do with more random addresses than
    # Debian 12 has, which other kernels do.
    status = run(["setarch", "-R", os.path.join(where, "ovstest"),
                  "test-vhost-engine", "check", "--ms=%d" % ms, case], log,
                 env=env)
    return not status, read(log)


def tsan_suite(suite, engine):
    where = out("check/tsan-" + engine)
    build(engine, where, True)
    cases = CASE.findall(read(os.path.join(where, os.path.basename(TEST))))
    cases = [case for case in cases if case != "NAME"]
    if not cases:
        raise Stop("%s has no cases" % TEST)
    progress = Progress("engine %s under ThreadSanitizer" % engine,
                        len(cases))
    for case in cases:
        passed, text = run_case(where, case, TSAN_MS)
        suite.add("%s under ThreadSanitizer" % case,
                  passed and RACE not in text, excerpt(text))
        progress.step(case)
    progress.done()

    variants = BROKEN_RING if engine == "ring" else BROKEN_LOCKED
    progress = Progress("engine %s, broken on purpose" % engine,
                        len(variants))
    for i, broken in enumerate(variants):
        where = out("check/tsan-%s-broken%d" % (engine, i + 1))
        build(engine, where, broken.tsan, broken)
        for _ in range(BROKEN_TRIES):
            passed, text = run_case(where, broken.case, BROKEN_MS)
            if not passed and broken.finding in text:
                break
        suite.add("found if %s" % broken.name,
                  not passed and broken.finding in text,
                  "The case %s was to report \"%s\".  %s"
                  % (broken.case, broken.finding, excerpt(text)))
        progress.step(broken.name)
    progress.done()


def excerpt(text):
    """The first report of ThreadSanitizer, or else the end."""
    at = text.find(RACE)
    return text[at:at + 3000] if at >= 0 else text[-1500:]
