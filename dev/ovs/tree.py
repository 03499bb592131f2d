# Makes the source trees in out/ and builds them.  python3 -m dev.ovs.tree
#   src             out/src: OVS with our files and hooks
#   build ENGINE    out/ENGINE: out/src, built for that engine
#   stock           out/stock: OVS as Debian has it, built alike

import contextlib
import filecmp
import json
import os
import re
import shlex
import shutil
import stat
import sys

from dev.common.children import JOBS, capture, capture_each, run
from dev.common.command import (ENGINES, Progress, Stop, check_engine, main,
                                program)
from dev.common.files import (OUT, ROOT, digest, lock, out, read, tail,
                              write)
from dev.release import debian

# The directories of the repository that mirror those of OVS.
MIRRORED = ("Documentation", "include", "lib", "m4", "ofproto", "tests",
            "utilities", "vswitchd")

# Generated, yet in the tarball.  What is stale there would look fresh next
# to the files of ours that it is to be made from.
STALE = re.compile(r"package\.m4|tests/[\w-]*testsuite|autom4te\.cache/.*"
                   r"|.*~")

# What boot.sh makes, and of what; another run of configure costs a build from
# scratch, so it is not to happen for a mere list of files.
CONFIGURE_INPUT = re.compile(r"configure\.ac|.*\.m4")
AUTOMAKE_INPUT = re.compile(r"Makefile\.am|.*\.mk")
CONFIGURE_OUTPUT = ("aclocal.m4", "configure", "config.h.in", "Makefile.in")
AUTOMAKE_OUTPUT = ("Makefile.in",)

# For every build, stock included, so that what differs is the series.  The
# documentation is checked elsewhere; flake8 would run over OVS's own files.
CONFIGURE = ["--with-dpdk=shared", "--enable-Werror", "CC=gcc",
             "CFLAGS=-O2 -g", "PYTHON3=/usr/bin/python3", "SPHINXBUILD=none",
             "ovs_cv_flake8=no"]


def series():
    """The names of our patches, in order."""
    lines = (line.split("#")[0].strip()
             for line in read(os.path.join(ROOT, "patches/series"))
             .splitlines())
    return [line for line in lines if line]


def patch_path(name):
    path = os.path.join(ROOT, "patches", name)
    if not os.path.isfile(path):
        raise Stop("patches/series names %s, which patches/ does not have: "
                   "add it or take the line out." % name)
    return path


def own_files():
    """The new files that we bring, by their path in OVS."""
    found = []
    for top in MIRRORED:
        for where, dirs, names in os.walk(os.path.join(ROOT, top)):
            dirs[:] = [d for d in dirs if d != "__pycache__"]
            for name in names:
                if not (name.startswith(".")
                        or name.endswith(("~", ".orig", ".rej", ".pyc"))):
                    found.append(os.path.relpath(os.path.join(where, name),
                                                 ROOT))
    return sorted(found)


def unpack(dest):
    """Unpacks OVS, as it is in the package, as 'dest'."""
    source = ovs_source()
    shutil.rmtree(dest, ignore_errors=True)
    os.makedirs(dest)
    if os.path.isdir(source):
        command = ["cp", "-R", "--preserve=mode,timestamps,links",
                   source + "/.", dest]
    else:
        command = ["tar", "-xzf", source, "-C", dest, "--no-same-owner",
                   "--strip-components=1"]
    status, text = capture(command)
    if status:
        raise Stop("cannot unpack %s: %s" % (source, text.strip()))


def ovs_source():
    """Where the package has the source: a tarball or a directory."""
    source = debian.here().source
    if not os.path.exists(source):
        raise Stop("%s is missing: run 'make deps' (it installs the package "
                   "openvswitch-source)." % source)
    return source


def ovs_source_files():
    source = ovs_source()
    if os.path.isdir(source):
        return [os.path.join(source, name) for name in tree_files(source)]
    return [source]


def add_news(tree):
    """Our entry goes on top of NEWS: into the section of what is not released
    yet, or into a new one with the heading that OVS uses between two
    releases."""
    entry = read(os.path.join(ROOT, "NEWS")).strip("\n")
    if not entry:
        return
    path = os.path.join(tree, "NEWS")
    heading, rule, rest = read(path).split("\n", 2)
    if re.match(r"Post-|.* xx xxx xxxx$", heading):
        text = "%s\n%s\n%s\n%s" % (heading, rule, entry, rest)
    else:
        ours = "Post-" + heading.split(" ")[0]
        text = "%s\n%s\n%s\n\n\n%s\n%s\n%s" % (
            ours, "-" * len(ours), entry, heading, rule, rest)
    write(path, text)


def add_acinclude(tree):
    ours = read(os.path.join(ROOT, "acinclude.m4"))
    if ours:
        with open(os.path.join(tree, "acinclude.m4"), "a") as f:
            f.write("\n" + ours)


def add_own_file(tree, name):
    dest = os.path.join(tree, name)
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    shutil.copy(os.path.join(ROOT, name), dest)


def apply_patch(tree, name):
    # --fuzz=0: a hook that lands near where it was meant is a wrong hook.
    status, text = capture(["patch", "-p1", "--fuzz=0", "--forward",
                            "--no-backup-if-mismatch", "--reject-file=-",
                            "-i", patch_path(name)], cwd=tree)
    if status:
        raise Stop("patches/%s does not apply:\n%s" % (name, text.strip()))


def assemble(tree):
    """OVS with all that is ours, not yet booted."""
    unpack(tree)
    for name in tree_files(tree):
        if STALE.fullmatch(name):
            os.unlink(os.path.join(tree, name))
    for name in own_files():
        if os.path.exists(os.path.join(tree, name)):
            raise Stop("%s is a file of OVS: change it with a patch in "
                       "patches/." % name)
    add_acinclude(tree)
    add_news(tree)
    for name in series():
        apply_patch(tree, name)
    for name in own_files():
        add_own_file(tree, name)


def boot(tree, log):
    if run(["./boot.sh"], log, cwd=tree):
        raise Stop("boot.sh failed, %s ends:\n%s" % (log, tail(log)))
    shutil.rmtree(os.path.join(tree, "autom4te.cache"), ignore_errors=True)


def is_autotools_input(name):
    name = os.path.basename(name)
    return CONFIGURE_INPUT.fullmatch(name) or AUTOMAKE_INPUT.fullmatch(name)


def tree_files(tree):
    return sorted(os.path.relpath(os.path.join(where, name), tree)
                  for where, _, names in os.walk(tree) for name in names)


def same(a, b):
    return (os.path.exists(b) and filecmp.cmp(a, b, shallow=False)
            and stat.S_IMODE(os.stat(a).st_mode)
            == stat.S_IMODE(os.stat(b).st_mode))


def sync(fresh, tree, old):
    """Makes 'tree' equal to 'fresh'.  Files that stay the same keep their
    times, so that make rebuilds what depends on a change and no more.  'old'
    are the files that an earlier run put there."""
    names = tree_files(fresh)
    changed = []
    for name in names:
        a, b = os.path.join(fresh, name), os.path.join(tree, name)
        if not same(a, b):
            os.makedirs(os.path.dirname(b), exist_ok=True)
            os.replace(a, b)
            os.utime(b)
            changed.append(name)
    for name in set(old) - set(names):
        path = os.path.join(tree, name)
        if os.path.exists(path):
            os.unlink(path)
            changed.append(name)
    # These are up to date even where they came out as they were.
    for pattern, outputs in ((CONFIGURE_INPUT, CONFIGURE_OUTPUT),
                             (AUTOMAKE_INPUT, AUTOMAKE_OUTPUT)):
        if any(pattern.fullmatch(os.path.basename(name)) for name in changed):
            for name in outputs:
                os.utime(os.path.join(tree, name))
    return changed


def make_src():
    """Makes out/src, or brings it up to date."""
    tree, stamp = out("src"), out(".src.json")
    inputs = ovs_source_files() + [
        os.path.join(ROOT, "acinclude.m4"), os.path.join(ROOT, "NEWS"),
        os.path.join(ROOT, "patches/series")]
    inputs += [os.path.join(ROOT, "patches", name) for name in series()]
    inputs += [os.path.join(ROOT, name) for name in own_files()
               if is_autotools_input(name)]
    key = digest(inputs, read(os.path.abspath(__file__)), *own_files())

    with lock("src"):
        made = json.loads(read(stamp, "{}"))
        if made.get("key") == key and os.path.isdir(tree):
            changed = []
            for name in own_files():
                ours, dest = os.path.join(ROOT, name), os.path.join(tree, name)
                if not same(ours, dest):
                    add_own_file(tree, name)
                    changed.append(name)
            print("out/src: " + ("updated " + ", ".join(changed) if changed
                                 else "up to date"), flush=True)
            return

        progress = Progress("out/src: OVS with %d patches and %d new files"
                            % (len(series()), len(own_files())))
        fresh = out(".src.fresh")
        assemble(fresh)
        boot(fresh, out("boot.log"))
        files = tree_files(fresh)
        if not made or not os.path.isdir(tree):
            shutil.rmtree(tree, ignore_errors=True)
            os.rename(fresh, tree)
            progress.done()
        else:
            # Without a key an interrupted run is done again, with all names
            # known that it may have left.
            old = set(made["files"])
            write(stamp, json.dumps({"files": sorted(old | set(files))}))
            changed = sync(fresh, tree, old)
            shutil.rmtree(fresh)
            progress.done("%d files changed" % len(changed))
        write(stamp, json.dumps({"key": key, "files": files}))


def make_stock_src():
    tree = out("stock-src")
    with lock("stock-src"):
        if not os.path.isdir(tree):
            fresh = out(".stock-src.fresh")
            unpack(fresh)
            boot(fresh, out("boot-stock.log"))
            os.rename(fresh, tree)


def keep_times(old, new):
    """Headers that configure wrote anew, but as they were, are not newer than
    the objects that depend on them; nor is config.status, or else make would
    write them once more."""
    for name in tree_files(new):
        a, b = os.path.join(old, name), os.path.join(new, name)
        if (name in ("config.status", "stamp-h1")
                or name.endswith(".h") and os.path.exists(a) and same(a, b)):
            shutil.copystat(a, b)


ASYNC_DEFINES = re.compile(r".*\b(?:VHOST_ASYNC|HAVE_RTE_)\w*.*\n")


def share_without_async(old, new):
    """In 'new', configured as 'old' but without async: keeps the objects that
    do not look at headers of ours, and removes the others.  No other file asks
    what config.h says of async."""
    keep_times(old, new)
    a, b = (os.path.join(where, "config.h") for where in (old, new))
    if ASYNC_DEFINES.sub("", read(a)) != ASYNC_DEFINES.sub("", read(b)):
        return
    shutil.copystat(a, b)
    ours = {os.path.basename(name) for name in own_files()
            if name.endswith((".h", ".h.in"))}
    ours |= {name[:-len(".in")] for name in ours if name.endswith(".in")}
    for name in tree_files(new):
        if "/.deps/" not in name:
            continue
        target, _, needs = read(os.path.join(new, name)).partition(":")
        if ours & {os.path.basename(n) for n in needs.split()}:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(new, target))


def configure(src, build, args, like=None, keep=keep_times):
    """Configures out-of-tree in 'build', unless that is done already.  A build
    'like' it is the start, if there is one; 'keep' then has the files that
    did not change keep their times."""
    name = os.path.relpath(build, ROOT)
    stamp = os.path.join(build, ".configured")
    wanted = "\n".join([os.path.realpath(src)] + args)
    if read(stamp) == wanted:
        return
    shutil.rmtree(build, ignore_errors=True)
    if like and read(os.path.join(like, ".configured")):
        # Objects that do not depend on what configure now says otherwise
        # stay as they are.
        shutil.copytree(like, build, symlinks=True,
                        ignore=shutil.ignore_patterns("*.dir", ".configured"))
    os.makedirs(build, exist_ok=True)
    progress = Progress(name + ": configure")
    log = os.path.join(build, "configure.log")

    def on_line(line):
        if line.startswith("checking"):
            progress.step(line.split("...")[0])

    status = run([os.path.join(os.path.relpath(src, build), "configure")]
                 + args, log, on_line, cwd=build)
    if status:
        progress.done("failed")
        errors = [line for line in read(log).splitlines()
                  if line.startswith("configure: error:")]
        raise Stop("configure failed in %s, see %s:\n%s"
                   % (name, log, "\n".join(errors) or tail(log)))
    if like:
        keep(like, build)
    write(stamp, wanted)
    progress.done()


def make_values(build, *names):
    """The words that variables of the build's Makefile hold, all together."""
    # Marked, since make may first bring the Makefile up to date, and say so.
    rule = "print-values:\n\t@echo '@values@ %s'\n" % " ".join(
        "$(%s)" % name for name in names)
    _, text = capture(["make", "-s", "-f", "Makefile", "-f", "-",
                       "print-values"], cwd=build, text=rule)
    m = re.search(r"^@values@ (.*)$", text, re.M)
    if not m:
        raise Stop("make cannot read the Makefile in %s:\n%s"
                   % (build, text[-2000:]))
    return shlex.split(m[1])


def link_ovstest(build, where, sources, flags, log, include=(),
                 step=lambda source: None):
    """Makes where/ovstest of 'sources', compiled with 'flags' more than the
    build's own, and of the build's library.  The directories in 'include' come
    before all others.  'step' is told of each source that is compiled."""
    cflags = make_values(build, "DEFS", "DEFAULT_INCLUDES", "AM_CPPFLAGS",
                         "AM_CFLAGS")
    first = [word for name in include for word in ("-I", name)]
    objects = [os.path.join(where, os.path.basename(source) + ".o")
               for source in sources]
    commands = [["gcc", "-Werror"] + first + cflags + flags
                + ["-c", source, "-o", obj]
                for source, obj in zip(sources, objects)]
    with contextlib.closing(capture_each(commands, build)) as results:
        for source, command, result in zip(sources, commands, results):
            status, text = result
            with open(log, "a") as f:
                f.write("$ %s\n%s" % (" ".join(command), text))
            if status:
                raise Stop("cannot compile %s with %s:\n%s"
                           % (source, " ".join(flags), text[-2000:]))
            step(os.path.basename(source))
    if run(["./libtool", "--quiet", "--tag=CC", "--mode=link", "gcc"] + flags
           + ["-o", os.path.join(where, "ovstest")] + objects
           + ["lib/libopenvswitch.la"] + make_values(build, "LIBS"), log,
           cwd=build, append=True):
        raise Stop("cannot link ovstest with %s:\n%s"
                   % (" ".join(flags), tail(log)))


STEP = re.compile(r"  (CC|CXX|CCLD|CXXLD|GEN|LD)  ")


def make(build, targets=("all",), what="build", extra=()):
    """Runs make in 'build'; shows a counter, keeps the rest in a log."""
    name = os.path.relpath(build, ROOT)
    log = os.path.join(build, what + ".log")
    cmd = ["make", "V=0"] + list(extra) + list(targets)
    status, text = capture(cmd + ["-n"], cwd=build)
    total = len(re.findall(r"echo \"  (?:CC|CXX|CCLD|CXXLD|GEN)  ", text))
    progress = Progress("%s: %s" % (name, what), total)

    def on_line(line):
        if STEP.match(line):
            progress.step(line.split()[-1])

    if run(cmd + ["-j%d" % JOBS], log, on_line, cwd=build):
        progress.done("failed")
        raise Stop("make failed in %s; the full log is %s, the errors and "
                   "its end are:\n%s" % (name, log, first_errors(log)))
    progress.done("%d steps" % progress.n if progress.n else "up to date")


def first_errors(log):
    lines = read(log).splitlines()
    errors = [line for line in lines
              if re.search(r"\berror:|undefined reference|\*\*\* ", line)]
    return "\n".join(errors[:15] + ["..."] + lines[-10:])


# For 'make': programs are built, test programs are not.
NO_TESTS = ("noinst_PROGRAMS=",)


def make_build(engine, extra=()):
    check_engine(engine)
    make_src()
    with lock(engine):
        others = [out(e) for e in ENGINES
                  if e != engine and os.path.exists(out(e))]
        configure(out("src"), out(engine),
                  CONFIGURE + ["--with-vhost-async=" + engine],
                  like=others[0] if others else None)
        make(out(engine), extra=extra)


def make_stock(extra=()):
    make_stock_src()
    with lock("stock"):
        configure(out("stock-src"), out("stock"), CONFIGURE)
        make(out("stock"), extra=extra)


def run_command():
    args = sys.argv[1:]
    os.makedirs(OUT, exist_ok=True)
    if args == ["src"]:
        make_src()
    elif len(args) == 2 and args[0] == "build":
        make_build(args[1])
    elif args == ["stock"]:
        make_stock()
    else:
        raise Stop("usage: %s src | build ENGINE | stock" % program())


if __name__ == "__main__":
    main(run_command)
