# The checks that read and compile our changes without running them.

import contextlib
import glob
import os
import re

from dev.common.children import JOBS, capture, capture_each, run
from dev.common.command import Stop
from dev.common.files import ROOT, lock, out, read, tail, write
from dev.ovs import series, tree

MAX_HOOK_LINES = 250

# What an operator has to read.
TOPIC = "Documentation/topics/dpdk/vhost-async.rst"
MAX_TOPIC_LINES = 600

# As in the Makefile.am of OVS.
FLAKE8_IGNORE = ("E121,E123,E125,E126,E127,E128,E129,E131,E203,E722,W503,"
                 "W504,F811,D,H,I")

# Some lines take checkpatch.py hours, because of how its patterns backtrack.
CHECKPATCH = ["timeout", "-v", "60", "/usr/bin/python3",
              os.path.join(out("src"), "utilities/checkpatch.py")]


def record(suite, tests, cwd=ROOT, passed=lambda status, _text: not status):
    """Each of the tests, (name, command), passes when the command
    succeeds, or as 'passed' tells."""
    with contextlib.closing(capture_each([cmd for _, cmd in tests],
                                         cwd)) as results:
        for (name, _), (status, text) in zip(tests, results):
            suite.add(name, passed(status, text), text)


def file_passed(status, text):
    """From Open vSwitch 3.2 on, checkpatch.py takes the name of a file for
    the subject of a mail, and warns of it."""
    of_subject = len(re.findall(r"^WARNING: The subject ", text, re.M))
    return not status or "Warnings: %d, Errors: 0" % of_subject in text


def unfolded(path):
    """A copy of a mail with each header on one line: checkpatch.py compares
    the author with the sign-off as they stand."""
    header, body = read(path).split("\n\n", 1)
    copy = out("check/mails", os.path.basename(path))
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    write(copy, re.sub(r"\n[ \t]+", " ", header) + "\n\n" + body)
    return copy


def checkpatch(suite):
    # By the path in OVS, because some rules depend on it.
    files = [(name, name) for name in tree.own_files()]
    files += [(name, os.path.join(ROOT, name)) for name in
              sorted(glob.glob("dev/**/*.[ch]", root_dir=ROOT,
                               recursive=True))]
    files += [(name, name) for name in ("acinclude.m4", "NEWS")
              if os.path.exists(os.path.join(ROOT, name))]
    record(suite, [("checkpatch " + name, CHECKPATCH + ["-f", path])
                   for name, path in files], passed=file_passed)
    record(suite, [("checkpatch patches/" + name,
                    CHECKPATCH + [unfolded(tree.patch_path(name))])
                   for name in tree.series()])


def hooks(suite):
    lines = {}
    for name in tree.series():
        diff = read(tree.patch_path(name)).split("\ndiff --git", 1)[-1]
        lines[name] = len(re.findall(r"^[+-](?!\+\+ |-- )", diff, re.M))
    total = sum(lines.values())
    suite.add("%d changed lines in all hooks, %d are too many"
              % (total, MAX_HOOK_LINES), total < MAX_HOOK_LINES,
              ", ".join("%s: %d" % x for x in lines.items()))
    unlisted = set(glob.glob("**/*.patch", recursive=True,
                             root_dir=os.path.join(ROOT, "patches")))
    unlisted -= set(tree.series())
    suite.add("patches/series names every patch", not unlisted,
              "not named: " + ", ".join(sorted(unlisted)))


def old_texts(patch):
    """What each hunk of a patch stands for: (file, text)."""
    for diff in re.split(r"^diff --git ", patch, flags=re.M)[1:]:
        name = re.search(r"^--- a/(.*)$", diff, re.M)[1]
        for hunk in re.split(r"^@@ .*\n", diff, flags=re.M)[1:]:
            yield name, "".join(line[1:] + "\n" for line in hunk.split("\n")
                                if line.startswith((" ", "-")))


def places(suite):
    """Whoever applies a hook to a release finds one place for it, however the
    lines around it moved."""
    source = out("check", "ovs")
    tree.unpack(source)
    bad = ["%s: %s has %d times:\n%s" % (patch, name, n, text)
           for patch in tree.series()
           for name, text in old_texts(read(tree.patch_path(patch)))
           for n in [read(os.path.join(source, name)).count(text)] if n != 1]
    suite.add("each hook has one place", not bad, "\n".join(bad))


def mails(suite):
    """The series as a maintainer gets it: it applies, and passes the checks
    that need patch and new files together (a document is in the index)."""
    try:
        series.make_series()
    except Stop as e:
        suite.add("git am applies the series", False, str(e))
        return
    suite.add("git am applies the series", True)
    record(suite, [("checkpatch out/series/" + os.path.basename(mail),
                    CHECKPATCH + [unfolded(mail)])
                   for mail in sorted(glob.glob(out("series", "*.patch")))],
           out("src"))


def scripts(suite):
    record(suite, [
        ("flake8 " + name,
         ["/usr/bin/flake8", "--ignore=" + FLAKE8_IGNORE, name])
        for name in sorted(glob.glob("dev/**/*.py", root_dir=ROOT,
                                     recursive=True)
                           + glob.glob("tests/*.py", root_dir=ROOT))])
    record(suite, [("sh -n " + name, ["sh", "-n", name]) for name in
                   sorted(glob.glob("dev/**/*.sh", root_dir=ROOT,
                                    recursive=True))]
           + [("bash -n .ci/run", ["bash", "-n", ".ci/run"])])


def documentation(suite):
    n = len(read(os.path.join(ROOT, TOPIC)).splitlines())
    suite.add("%s has %d lines, %d are too many" % (TOPIC, n, MAX_TOPIC_LINES),
              n < MAX_TOPIC_LINES)
    record(suite, [("documentation builds with no warning", [
        "/usr/bin/sphinx-build", "-W", "-n", "-q", "--keep-going", "-b",
        "html", "-d", out("check/doctrees"),
        os.path.join(out("src"), "Documentation"), out("check/html")])])


def touched_sources():
    """The C files that are ours or that a hook changes."""
    files = set(name for name in tree.own_files() if name.endswith(".c"))
    for name in tree.series():
        files |= set(re.findall(r"^\+\+\+ b/(\S+\.c)$",
                                read(tree.patch_path(name)), re.M))
    return sorted(files)


def objects_of(build, sources):
    """The object files that this build makes of 'sources', by source."""
    _, text = capture(["make", "-n", "-W", "config.h", "all"], cwd=build)
    objects = {}
    for source in sources:
        stem = re.escape(os.path.splitext(os.path.basename(source))[0])
        where = re.escape(os.path.dirname(source))
        m = re.search(r"\s-o (%s/(?:\w+-)?%s\.l?o)\b" % (where, stem), text)
        if m:
            objects[source] = m[1]
    return objects


def compile_touched(suite, name, args, expect_async, link=None, **start):
    """Compiles what the series touches in a configuration of its own.  With
    'link', which are variables for make, also the rest of the switch.  -Werror
    has it that an object was compiled without a warning.  'start' is for
    tree.configure()."""
    build = out(name)
    log = os.path.join(build, "build.log")
    label = {"no": "--with-vhost-async=no",
             "nodpdk": "without DPDK"}.get(name, name + " -Werror")
    try:
        with lock(name):
            tree.configure(out("src"), build, args, **start)
            generated = tree.make_values(build, "BUILT_SOURCES")
            if run(["make", "V=0", "-j%d" % JOBS] + generated, log,
                   cwd=build):
                raise Stop("make failed, see %s:\n%s" % (log, tail(log)))
            objects = objects_of(build, touched_sources())
            run(["make", "-k", "V=0", "-j%d" % JOBS]
                + sorted(objects.values()), log, cwd=build, append=True)
    except Stop as e:
        suite.add(label + ": configure", False, str(e))
        return
    text = read(log)
    for source, obj in sorted(objects.items()):
        about = [line for line in text.splitlines()
                 if os.path.basename(source) in line]
        suite.add("%s: %s" % (label, source),
                  os.path.exists(os.path.join(build, obj))
                  and ": %s] Error" % obj not in text,
                  "\n".join(about[-20:]) or tail(log))
    defined = re.findall(r"^#define \w*VHOST_ASYNC\w*",
                         read(os.path.join(build, "config.h")), re.M)
    suite.add("%s: async is %sconfigured"
              % (label, "" if expect_async else "not "),
              bool(defined) == expect_async, "config.h: %s" % defined)
    if link is not None and all(os.path.exists(os.path.join(build, obj))
                                for obj in objects.values()):
        try:
            with lock(name):
                tree.make(build, ["vswitchd/ovs-vswitchd"], extra=link)
            suite.add(label + ": ovs-vswitchd links", True)
        except Stop as e:
            suite.add(label + ": ovs-vswitchd links", False, str(e))


# What the compiler and the packages are asked, the next configure knows.
CACHE = "config.cache"


def clang(engine):
    """It warns, and analyses what threads do, before it optimizes."""
    return ([a for a in tree.CONFIGURE
             if not a.startswith(("CC=", "CFLAGS="))]
            + ["CC=clang", "CFLAGS=-O0", "--cache-file=" + CACHE,
               "--with-vhost-async=" + engine])


def configurations(suite, engine):
    compile_touched(suite, "clang-defer", clang("defer"), True)
    compile_touched(suite, "clang-ring", clang("ring"), True,
                    like=out("clang-defer"))
    refusals(suite)
    # The objects that our headers have no part in are those of the build.
    compile_touched(suite, "no", tree.CONFIGURE + ["--with-vhost-async=no"],
                    False, [],
                    like=out(engine) if engine != "no" else None,
                    keep=tree.share_without_async)
    # What the series does not touch is only to be linked with.
    compile_touched(suite, "nodpdk", [a for a in tree.CONFIGURE
                                      if not a.startswith("--with-dpdk")],
                    False, ["CFLAGS=-O0"])


def refusals(suite):
    """What configure cannot do it refuses in words that help."""
    build = out("check/refusals")
    os.makedirs(build, exist_ok=True)
    write(os.path.join(build, CACHE),
          read(os.path.join(out("clang-defer"), CACHE)))
    for name, args, words in (
            ("--with-vhost-async=foo is refused by name", clang("foo"),
             ("foo", "defer")),
            ("what DPDK lacks is named",
             clang("defer") + ["ac_cv_header_rte_dmadev_h=no",
                               "ac_cv_func_rte_vhost_set_vring_base=no"],
             ("rte_dmadev.h", "rte_vhost_set_vring_base"))):
        status, text = capture([os.path.join(out("src"), "configure")]
                               + args, cwd=build)
        error = "".join(line for line in text.splitlines()
                        if line.startswith("configure: error:"))
        suite.add(name, status and all(word in error for word in words),
                  error or text[-2000:])


def style(suite, engine):
    tree.make_src()
    for part in (checkpatch, hooks, places, scripts, mails, documentation):
        part(suite)
    configurations(suite, engine)
