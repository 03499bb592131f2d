# The suite "tsan": tests in which threads run in parallel, at the completion
# engine and at what guests send, under ThreadSanitizer; and that these tests
# find what they are for.
#
# For the latter copies of the sources are broken on purpose, in one place
# each, and some test must fail.  ThreadSanitizer must report what is not
# ordered, even if all went well; and a packet that nobody sees to must be
# missed.

import concurrent.futures
import os
import re
import shutil

from dev.common.children import JOBS, child_env, run
from dev.common.command import Progress, Stop
from dev.common.files import ROOT, out, read, write
from dev.ovs import tree

# Atomic operations of DPDK's headers in C rather than assembly, so that
# ThreadSanitizer sees them.  It does not see fences, of which gcc warns; what
# is to be ordered by one is atomic, and so reported by nobody.
TSAN = ["-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-tsan",
        "-DRTE_USE_C11_MEM_MODEL", "-DRTE_FORCE_INTRINSICS"]

# For how long each case runs.
TSAN_MS = 1500
BROKEN_MS = 4000

# Seconds after which a case is ended.  What is broken can damage what
# ThreadSanitizer itself goes by, and that waits for its own lock then.  No
# other signal than KILL ends that, nor goes to the process that the case forks
# if its parent ends first.
CASE_S = 60

# What is broken can end a test in another way than the one looked for, such as
# by an assertion before there is a race, so it gets some chances.
BROKEN_TRIES = 3

CASE = re.compile(r"DMA_TEST_CASE\((\w+)\)")

RING = "lib/vhost-async-ring.c"
THREAD = "lib/vhost-async-thread.c"
VQ = "lib/vhost-async-vq.c"
VQ_HEADER = "lib/vhost-async-vq.h"
RXQ = "lib/vhost-async-rxq.c"
RXQ_HEADER = "lib/vhost-async-rxq.h"

# Programs of ovstest.
ENGINE_TEST = "test-vhost-engine"
RXQ_TEST = "test-vhost-rxq-threads"
TESTS = (ENGINE_TEST, RXQ_TEST)


class Broken:
    """A variant in which 'pattern' of 'source' is 'text' instead, and what
    the output of 'case' of the program 'test' must tell."""

    def __init__(self, name, source, pattern, text, case, finding, tsan=True,
                 test=ENGINE_TEST):
        self.name = name
        self.test = test
        self.source = source
        self.pattern = pattern
        self.text = text
        self.case = case
        self.finding = finding
        self.tsan = tsan


RACE = "WARNING: ThreadSanitizer: data race"
REPORT = "WARNING: ThreadSanitizer: "      # Of a race, or that it was freed.
NOBODY = "nobody sees to the others"
LATE = "came late"
BUSY = "assertion !vhost_async_thread_is_busy"

BROKEN = [
    Broken("locks are given up without a release", VQ,
           r"(&vq->lock, old, new,\s+memory_order_)acq_rel", r"\1acquire",
           "one_txq", RACE),
    Broken("locks are taken without an acquire", VQ,
           r"(&vq->lock, old, new,\s+memory_order_)acq_rel", r"\1release",
           "several_txqs", RACE),
    Broken("a holder does not look for work that was left", VQ,
           r"if \(OVS_UNLIKELY\(word & VHOST_ASYNC_PENDING\)\) \{"
           r"(.*?word & ~)VHOST_ASYNC_LOCKED\)",
           r"if (!vq) {\1(VHOST_ASYNC_LOCKED | VHOST_ASYNC_PENDING))",
           "lone_packets", NOBODY, tsan=False),
    Broken("who reaps leaves no word", VQ,
           r"if \(lock_cas\(vq, &word, word \| VHOST_ASYNC_PENDING\)\)",
           "if (vq)", "lone_packets", NOBODY, tsan=False),
    Broken("an rxq's lock is given up without a release", RXQ_HEADER,
           r"(&rxq->vq.lock, 0, memory_order_)release", r"\1relaxed",
           "compete", RACE, test=RXQ_TEST),
    Broken("who reaps does not release what was copied", VQ_HEADER,
           r"(&pkt->done, true, memory_order_)release", r"\1relaxed",
           "turns", RACE, test=RXQ_TEST),
    Broken("who polls does not acquire what was copied", RXQ,
           r"(&done, memory_order_)acquire", r"\1relaxed",
           "turns", RACE, test=RXQ_TEST),
    Broken("a ring that stops frees what an engine writes to", RXQ,
           r"(vhost_async_pkt \*pkt = .{,60}\s+)if \(!pkt_is_done\(pkt\)\)",
           r"\1if (!pkt)", "messages", REPORT, test=RXQ_TEST),
    Broken("who closes a ring does not wait for who polls it", VQ,
           r"(vhost_async_vq_close\(.*?for \(int i = 1; ; i\+\+\) \{\s+if \()"
           r"!\(word & VHOST_ASYNC_LOCKED\)", r"\1vq",
           "messages", RACE, test=RXQ_TEST),
]

BROKEN_RING = BROKEN + [
    Broken("a sender does not look whether packets wait", RING,
           r"ring_waiting\(txq\)\s+\|\| !vhost_async_vq_trylock",
           "!vhost_async_vq_trylock", "one_txq", LATE, tsan=False),
    Broken("a sender does not look after what it put into the ring", RING,
           r"(memset\(pkts, 0, cnt \* sizeof \*pkts\);\s+"
           r"if \()vhost_async_vq_trylock_or_leave",
           r"\1vhost_async_vq_trylock", "lone_packets", NOBODY, tsan=False),
    Broken("the keeper does not come back", RING,
           r"dma_defer_push\(&self->kept, &txq->engine.node\);",
           "(void) self;", "lone_packets", NOBODY, tsan=False),
    Broken("the keeper does not look when it is back", RING,
           r"(txq->engine.is_kept = false;\s+)"
           r"ring_see_to\(self, txq, &n_pkts\);", r"\1(void) n_pkts;",
           "lone_packets", NOBODY, tsan=False),
    Broken("a thread that goes keeps something", THREAD,
           r"while \(!(vhost_async_engine_leave\(&self->sender\))\s+\|\| "
           r"(.*?thread_reap_channel\(self, )NULL\)",
           r"\1; while (\2&self->sender)", "reloads", BUSY, tsan=False),
]


def source_of(test):
    return "tests/%s.c" % test


def build(engine, where, tests, tsan, broken=None):
    """Makes where/ovstest of 'tests' and our own sources compiled anew.
    Those which the tests include are searched for in 'where' first."""
    build_dir, src = out(engine), out("src")
    flags = ["-g", "-O1"] + (TSAN if tsan else [])
    log = os.path.join(where, "build.log")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    if broken:
        text, n = re.subn(broken.pattern, broken.text,
                          read(os.path.join(src, broken.source)),
                          flags=re.DOTALL)
        if n != 1:
            raise Stop("dev/check/tsan.py: \"%s\": its pattern is %d times in "
                       "%s; adapt it to the source."
                       % (broken.name, n, broken.source))
        write(os.path.join(where, os.path.basename(broken.source)), text)

    sources = [os.path.join(src, name)
               for name in [source_of(test) for test in tests]
               + ["lib/dpdk-dma-map.c", "tests/ovstest.c"]]
    tree.link_ovstest(build_dir, where, sources, flags, log, include=[where])


def cases_of(test):
    cases = CASE.findall(read(os.path.join(out("src"), source_of(test))))
    if not cases:
        raise Stop("%s has no cases" % source_of(test))
    return [(test, case) for case in cases]


def run_case(where, test, case, ms):
    """Returns whether 'case' of 'test' passed, and its output."""
    log = os.path.join(where, "%s-%s.log" % (test, case))
    env = child_env(TSAN_OPTIONS="suppressions=%s history_size=4"
                    % os.path.join(ROOT, "dev/check/tsan.supp"))
    # The ThreadSanitizer of gcc 12 cannot do with more random addresses than
    # Debian 12 has, which other kernels do.
    status = run(["timeout", "-s", "KILL", str(CASE_S), "setarch", "-R",
                  os.path.join(where, "ovstest"), test, "--ms=%d" % ms, case],
                 log, env=env)
    return not status, read(log)


def tsan_suite(suite, engine):
    where = out("check/tsan-" + engine)
    build(engine, where, TESTS, True)
    cases = [case for test in TESTS for case in cases_of(test)]
    progress = Progress("engine %s under ThreadSanitizer" % engine,
                        len(cases))
    for test, case in cases:
        passed, text = run_case(where, test, case, TSAN_MS)
        suite.add("%s %s under ThreadSanitizer" % (test, case),
                  passed and RACE not in text, excerpt(text))
        progress.step(case)
    progress.done()

    variants = BROKEN_RING if engine == "ring" else BROKEN
    places = [out("check/tsan-%s-broken%d" % (engine, i + 1))
              for i in range(len(variants))]
    progress = Progress("engine %s, broken on purpose, build" % engine,
                        len(variants))
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        try:
            for _ in pool.map(lambda variant, where:
                              build(engine, where, [variant.test],
                                    variant.tsan, variant),
                              variants, places):
                progress.step()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress.done()
    progress = Progress("engine %s, broken on purpose" % engine,
                        len(variants))
    for broken, where in zip(variants, places):
        for _ in range(BROKEN_TRIES):
            passed, text = run_case(where, broken.test, broken.case,
                                    BROKEN_MS)
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
