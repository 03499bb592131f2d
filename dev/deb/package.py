# Builds packages of Open vSwitch of the release's own source package and the
# series: the same names and files, with those that the series adds to the
# documentation and to the source.

import email.utils
import glob
import os
import re
import shutil
import subprocess

from dev.common.children import JOBS, capture, child_env, run
from dev.common.command import Progress, Stop, check_engine
from dev.common.files import ROOT, lock, out, read, tail, write
from dev.deb.source import Source
from dev.ovs import series, tree
from dev.release import debian

# Counts up with each set of packages of one version of the distribution's that
# was given to somebody.
REVISION = 1

CONFIGURE_DPDK = "--with-dpdk=shared"


def folder(release, engine):
    """Where the packages come to."""
    return out("deb", release.name + ("" if engine == "defer"
                                      else "-" + engine))


def our_version(theirs, engine):
    """Sorts above the distribution's version, and below all that can come
    after it in Debian: +b2 (built again), +deb13u1 (a security update), -1.1,
    -2.  A letter behind the + would be above some of them."""
    return "%s+0vhostasync%d%s" % (theirs, REVISION, "" if engine == "defer"
                                   else "." + engine)


# What is put into the source.

def add_patches(source):
    """The series comes behind the distribution's patches, as quilt patches."""
    series.make_series()
    listed = os.path.join(source.tree, "debian/patches/series")
    os.makedirs(os.path.dirname(listed), exist_ok=True)
    lines = read(listed).splitlines()
    for mail in sorted(glob.glob(out("series", "*.patch"))):
        name = "vhost-async-" + os.path.basename(mail)
        shutil.copy(mail, os.path.join(source.tree, "debian/patches", name))
        lines.append(name)
    write(listed, "\n".join(lines) + "\n")


def choose_engine(source, engine):
    """configure builds defer unless it is told otherwise."""
    if engine == "defer":
        return
    rules = os.path.join(source.tree, "debian/rules")
    text = read(rules)
    if text.count(CONFIGURE_DPDK) != 1:
        raise Stop("debian/rules of %s %s does not have %s in one place: put "
                   "--with-vhost-async=%s there by hand, and tell how in %s."
                   % (source.package, source.version, CONFIGURE_DPDK, engine,
                      os.path.relpath(__file__, ROOT)))
    mode = os.stat(rules).st_mode
    write(rules, text.replace(CONFIGURE_DPDK, "%s --with-vhost-async=%s"
                              % (CONFIGURE_DPDK, engine)))
    os.chmod(rules, mode)


def maintainer():
    """Who builds packages for others says who that is, as for any package."""
    env = os.environ
    if "DEBEMAIL" in env:
        return "%s <%s>" % (env.get("DEBFULLNAME", env["DEBEMAIL"]),
                            env["DEBEMAIL"])
    return re.search(r"^From: (.*)$", read(tree.patch_path(
        tree.series()[0])), re.M)[1]


def add_changelog(source, version, engine):
    """Its date, which all that is built has for its time, is a second after
    the distribution's: the same source makes the same packages.  Returns that
    time."""
    path = os.path.join(source.tree, "debian/changelog")
    text = read(path)
    theirs = re.search(r"^ -- .*>  (.*)$", text, re.M)[1]
    when = int(email.utils.parsedate_to_datetime(theirs).timestamp()) + 1
    write(path, """%s (%s) %s; urgency=medium

  * Packets to guests on vhost-user ports can be copied by DMA engines
    (vhost async, completion engine "%s"): off unless
    other_config:vhost-async-support is true, see
    Documentation/topics/dpdk/vhost-async.rst.

 -- %s  %s

%s""" % (source.package, version, debian.here().name, engine, maintainer(),
         email.utils.formatdate(when), text))
    return when


# Building.

def need_build_dependencies(source):
    unmet = capture(["dpkg-checkbuilddeps"], cwd=source.tree)
    if not unmet[0]:
        return
    command = ["apt-get", "build-dep", "-y", "-q", "--no-install-recommends",
               source.tree + "/"]
    if os.geteuid():
        raise Stop("packages are missing to build it, and only root can "
                   "install them; as root run:\n  apt-get build-dep %s/"
                   % source.tree)
    progress = Progress("packages that it is built with")
    log = out("deb-build", "build-dep.log")
    env = child_env(DEBIAN_FRONTEND="noninteractive")

    def succeeds(command):
        return not run(command, log, lambda line: progress.step(line),
                       env=env, append=True)

    # As in deps.sh: the lists may be missing or old.
    if not (succeeds(command) or succeeds(["apt-get", "update", "-q"])
            and succeeds(command)):
        progress.done("failed")
        raise Stop("apt-get cannot install what %s is built with, see %s; its "
                   "end is:\n%s" % (source.package, log, tail(log, 12)))
    progress.done()


# What 'tar' notes of a file besides its content: a time at most, nothing of
# who builds and of his umask, and nothing of this run (a header of its own
# format has times of access, and its PID).
SAME_TARBALL = ("--sort=name --clamp-mtime --mtime=@%d "
                "--owner=root:0 --group=root:0 --mode=u=rwX,go=rX "
                "--pax-option=exthdr.name=%%d/PaxHeaders/%%f,"
                "delete=atime,delete=ctime")


def build_packages(source, when, log):
    """Runs the distribution's own rules, without OVS's testsuite, which 'make
    check-ovs' has the parts of that the series touches.  'when' is the time
    that tarballs in packages note at most: their files are made anew."""
    progress = Progress("out/deb-build: dpkg-buildpackage")

    def on_line(line):
        m = re.search(r"(?:\s-o |^\s+[A-Z]+\s+)(\S+)|^\s+(dh_\w+)", line)
        progress.step((m[1] or m[2]) if m else "")

    env = child_env(DEB_BUILD_OPTIONS="nocheck parallel=%d" % JOBS,
                    TAR_OPTIONS=SAME_TARBALL % when)
    status = run(["dpkg-buildpackage", "-b", "-us", "-uc"], log, on_line,
                 cwd=source.tree, env=env)
    if status:
        progress.done("failed")
        raise Stop("dpkg-buildpackage failed, see %s; errors and its end "
                   "are:\n%s" % (log, tree.first_errors(log)))
    progress.done()


def index(where):
    """Makes a folder of packages one that apt takes packages from."""
    with open(os.path.join(where, "Packages"), "w") as f:
        if subprocess.run(["dpkg-scanpackages", "--multiversion", "."],
                          cwd=where, stdout=f, stderr=subprocess.DEVNULL,
                          env=child_env()).returncode:
            raise Stop("dpkg-scanpackages cannot make an index of the "
                       "packages in %s." % where)


def build(engine, work):
    """Builds the packages in the folder 'work', which is anew.  Returns their
    version."""
    check_engine(engine)
    if engine == "no":
        raise Stop("ENGINE=no: packages without a completion engine are the "
                   "distribution's own; use ENGINE=defer or ENGINE=ring.")
    log = work + ".log"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    write(log, "")
    progress = Progress("out/deb-build: the release's source package")
    source = Source(work, log, lambda line: progress.step(
        line.split(" [")[0]))
    progress.done("%s %s" % (source.package, source.version))
    version = our_version(source.binary_version, engine)
    add_patches(source)
    choose_engine(source, engine)
    when = add_changelog(source, version, engine)
    need_build_dependencies(source)
    build_packages(source, when, work + ".build.log")
    return version


def built(where, *suffixes):
    return sorted(path for suffix in suffixes
                  for path in glob.glob(os.path.join(where, "*" + suffix)))


def make_packages(engine):
    work, dest = out("deb-build", engine), folder(debian.here(), engine)
    with lock("deb"):
        version = build(engine, work)
        shutil.rmtree(dest + ".new", ignore_errors=True)
        os.makedirs(dest + ".new")
        for path in built(work, ".deb", ".changes", ".buildinfo"):
            shutil.move(path, dest + ".new")
        index(dest + ".new")
        shutil.rmtree(dest, ignore_errors=True)
        os.rename(dest + ".new", dest)
        shutil.rmtree(work)
    print("%s: %d packages, version %s" % (
        os.path.relpath(dest, ROOT), len(built(dest, ".deb")), version))


def compare_with_another_build(engine):
    """The same source makes the same packages, wherever it is built."""
    work, dest = out("deb-build", "again", engine), folder(debian.here(),
                                                           engine)
    with lock("deb"):
        build(engine, work)
        first, second = ({os.path.basename(path)
                          for path in built(where, ".deb")}
                         for where in (dest, work))
        other = sorted(first ^ second) + sorted(
            name for name in first & second if not tree.same(
                os.path.join(dest, name), os.path.join(work, name)))
        if other:
            raise Stop("built again, in %s, these are not the same as in "
                       "%s: %s" % (os.path.relpath(work, ROOT),
                                   os.path.relpath(dest, ROOT),
                                   ", ".join(other)))
        shutil.rmtree(work)
    print("built again: all %d packages are the same" % len(first))
