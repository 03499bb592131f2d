# The suite "fuzz", and 'make fuzz': tests/fuzz-vhost-vring.c, what guests
# write to their rings, with libFuzzer.  The suite takes a minute, from the
# seeds in that file and what 'make fuzz' found earlier; that goes on for as
# long as one likes and keeps what it finds in out/fuzz/corpus.

import argparse
import os
import re
import shutil
import time

from dev.common.children import JOBS, capture, run
from dev.common.command import Stop, check_engine, main, program
from dev.common.files import ROOT, lock, out, read, tail, write
from dev.ovs import tree

TARGET = "tests/fuzz-vhost-vring.c"
SANITIZE = "address,undefined"
FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer",
         "-fno-sanitize-recover=undefined"]

SECONDS = 60
# Longer inputs, and those that take seconds, say nothing more.
LIMITS = ["-max_len=1024", "-timeout=10", "-print_final_stats=1"]

CORPUS = out("fuzz", "corpus")


def has_libfuzzer(where):
    """Whether clang can link with it."""
    source = os.path.join(where, "empty.c")
    write(source, "#include <stddef.h>\n#include <stdint.h>\n"
          "int LLVMFuzzerTestOneInput(const uint8_t *, size_t);\n"
          "int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)\n"
          "{ return (void) p, (void) n, 0; }\n")
    status, _ = capture(["clang", "-fsanitize=fuzzer,address", "-o",
                         os.path.join(where, "empty"), source])
    return not status


def build(build_dir, where, name, flags, log):
    """Makes where/NAME of the target."""
    values = tree.make_values(build_dir, "DEFS", "DEFAULT_INCLUDES",
                              "AM_CPPFLAGS", "AM_CFLAGS")
    # Those that are meant for gcc.
    values = [v for v in values if not v.startswith("-W")]
    program = os.path.join(where, name)
    source = os.path.join(out("src"), TARGET)
    for cmd in (["clang"] + values + flags
                + ["-c", source, "-o", program + ".o"],
                ["./libtool", "--quiet", "--tag=CC", "--mode=link", "clang"]
                + flags + ["-o", program, program + ".o",
                           "lib/libopenvswitch.la"]
                + tree.make_values(build_dir, "LIBS")):
        if run(cmd, log, cwd=build_dir, append=True):
            raise Stop("cannot build %s:\n%s" % (TARGET, tail(log)))
    return program


def prepare(build_dir, where):
    """Makes a directory with the seeds.  Returns a program that runs inputs,
    and one that looks for them, or None."""
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(os.path.join(where, "seeds"))
    log = os.path.join(where, "build.log")
    replay = build(build_dir, where, "replay",
                   FLAGS + ["-DFUZZ_REPLAY", "-fsanitize=" + SANITIZE], log)
    status, text = capture([replay, "--seeds", os.path.join(where, "seeds")])
    if status:
        raise Stop("%s cannot write its seeds:\n%s" % (TARGET, text))
    fuzz = None
    if has_libfuzzer(where):
        fuzz = build(build_dir, where, "fuzz",
                     FLAGS + ["-fsanitize=fuzzer," + SANITIZE], log)
    return replay, fuzz


def report(log, replay):
    """The first report of a sanitizer or a failed assertion, and how to see
    it again."""
    text = read(log)
    m = re.search(r"^.*(runtime error|ERROR: |assertion).*$", text, re.M)
    begin = m.start() if m else max(len(text) - 2000, 0)
    found = re.search(r"Test unit written to (\S+)", text)
    return text[begin:begin + 2500] + (
        "\n%s %s does it again" % (replay, found[1]) if found else "")


def look(fuzz, log, seconds, corpora, more=()):
    return run([fuzz, "-max_total_time=%d" % seconds,
                "-artifact_prefix=%s/" % os.path.dirname(log)]
               + LIMITS + list(more) + corpora, log)


def fuzz_suite(suite, engine):
    where = out("check", "fuzz")
    with lock("check-fuzz"):
        replay, fuzz = prepare(out(engine), where)
        status, text = capture([replay])
        suite.add("the seeds of " + TARGET, not status, text)
        name = "%d s of inputs that follow from them" % SECONDS
        if not fuzz:
            suite.skip(name, "clang has no libFuzzer (libclang-rt-dev)")
            return
        corpora = [os.path.join(where, "corpus"),
                   os.path.join(where, "seeds")]
        os.makedirs(corpora[0])
        if os.path.isdir(CORPUS):
            corpora.append(CORPUS)
        print("%s for %d s ..." % (TARGET, SECONDS), flush=True)
        log = os.path.join(where, "fuzz.log")
        status = look(fuzz, log, SECONDS, corpora)
        suite.add(name, not status, report(log, replay))
        done = re.findall(r"number_of_executed_units: (\d+)", read(log))
        print("%s inputs" % (done or ["?"])[-1], flush=True)


def parse_args():
    parser = argparse.ArgumentParser(prog=program(),
                                     description="Runs " + TARGET + ".")
    parser.add_argument("--engine", default="defer")
    parser.add_argument("--minutes", type=float, default=10)
    return parser.parse_args()


def fuzz_command():
    args = parse_args()
    build_dir = out(check_engine(args.engine))
    where = out("fuzz", "build")
    with lock("fuzz"):
        replay, fuzz = prepare(build_dir, where)
        if not fuzz:
            raise Stop("clang has no libFuzzer; install libclang-rt-dev.")
        os.makedirs(CORPUS, exist_ok=True)
        log = out("fuzz", "fuzz.log")
        print("%s for %g minutes; %d inputs so far, in %s"
              % (TARGET, args.minutes, len(os.listdir(CORPUS)),
                 os.path.relpath(CORPUS, ROOT)), flush=True)

        shown = 0

        def show(line):
            nonlocal shown
            now = time.monotonic()
            if re.match(r"#\d+: cov: ", line) and now - shown > 20:
                shown = now
                print("  " + line, flush=True)

        status = run([fuzz, "-max_total_time=%d" % (args.minutes * 60),
                      "-fork=%d" % JOBS, "-artifact_prefix=%s/" % out("fuzz")]
                     + LIMITS + [CORPUS, os.path.join(where, "seeds")], log,
                     show)
        print("%d inputs now" % len(os.listdir(CORPUS)))
        if status:
            raise Stop("something was found, see %s:\n%s"
                       % (log, report(log, replay)))
    return 0


if __name__ == "__main__":
    main(fuzz_command)
