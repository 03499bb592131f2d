# Builds out/model/librte_dma_model.so, the dmadev that models a copy engine,
# for the installed DPDK.  EAL loads it with '-d out/model/librte_dma_model.so
# --vdev=dma_model0,...'; dma_model.c has the parameters.
#
# Drivers need headers that libdpdk-dev does not have.  They come from Debian's
# source package of the same version and are kept in out/dpdk-src, so that only
# the first build fetches anything.

import glob
import os
import re
import shutil
import stat

from dev.common.children import capture, run
from dev.common.command import Progress, Stop
from dev.common.files import ROOT, digest, lock, out, read, tail, write
from dev.release import debian

HERE = os.path.join(ROOT, "dev/dma_model")
SOURCES, INCLUDED = (sorted(glob.glob(os.path.join(HERE, "*." + suffix)))
                     for suffix in "ch")
LIBRARY = out("model", "librte_dma_model.so")
# For who misses it.
REMEDY = "run '/usr/bin/python3 -m dev.dma_model'"

HEADERS = ("lib/dmadev/rte_dmadev_pmd.h", "lib/eal/include/bus_driver.h",
           "lib/eal/include/dev_driver.h",
           "drivers/bus/vdev/bus_vdev_driver.h")

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
DRIVER_LIBS = ["-lrte_dmadev", "-lrte_eal", "-lrte_kvargs", "-lrte_bus_vdev"]


def source_package():
    """The name and version of the source of the installed libdpdk-dev."""
    status, text = capture(["dpkg-query", "-W", "-f",
                            "${db:Status-Status} ${source:Package} "
                            "${source:Version}", "libdpdk-dev"])
    words = text.split()
    if status or len(words) != 3 or words[0] != "installed":
        raise Stop("the package libdpdk-dev is not installed: run "
                   "'make deps'.")
    return words[1:]


def apt_config(what):
    status, text = capture(["apt-config", "shell", "V", what])
    m = re.search(r"^V='(.*)'$", text, re.M)
    return m[1] if not status and m else ""


def repositories():
    """The URIs that the installed libdpdk-dev can come from, as far as apt's
    lists tell."""
    _, version = capture(["dpkg-query", "-W", "-f", "${Version}",
                          "libdpdk-dev"])
    _, text = capture(["apt-cache", "madison", "libdpdk-dev"])
    rows = [line.split("|") for line in text.splitlines()
            if line.count("|") == 2]
    return {row[2].split()[0].rstrip("/") for row in rows
            if row[1].strip() == version and row[2].strip()}


def source_entries(uris):
    """What the machine's own configuration of apt becomes with deb-src in
    place of deb: the texts of a sources.list and of a .sources file.  With
    'uris', only of those repositories."""
    paths = [apt_config("Dir::Etc::sourcelist/f")]
    parts = apt_config("Dir::Etc::sourceparts/d")
    if os.path.isdir(parts):
        paths += [os.path.join(parts, name)
                  for name in sorted(os.listdir(parts))]

    def wanted(text):
        return not uris or any(uri in text for uri in uris)

    lines, stanzas = [], []
    for path in paths:
        if path.endswith(".list"):
            for line in read(path).splitlines():
                m = re.match(r"\s*deb(?:-src)?\s+(.*)", line)
                if m and wanted(line) and "deb-src " + m[1] not in lines:
                    lines.append("deb-src " + m[1])
        elif path.endswith(".sources"):
            for stanza in re.split(r"\n\s*\n", read(path)):
                if (re.search(r"^Types:", stanza, re.M | re.I)
                        and wanted(stanza)):
                    stanzas.append(re.sub(r"(?im)^Types:.*$",
                                          "Types: deb-src", stanza.strip()))
    return "\n".join(lines), "\n\n".join(stanzas)


def private_apt(where):
    """Makes a directory for apt that has source packages, and leaves the
    machine's as it is.  Returns how to call apt-get there."""
    entries = source_entries(repositories())
    if not any(entries):
        entries = source_entries(())
    if not any(entries):
        raise Stop("apt on this machine has no package repository to take "
                   "DPDK's source from: add one to /etc/apt/sources.list.d.")
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        os.makedirs(os.path.join(where, name))
    write(os.path.join(where, "sources.list"), entries[0] + "\n")
    write(os.path.join(where, "parts/our.sources"), entries[1] + "\n")
    config = os.path.join(where, "apt.conf")
    write(config, "\n".join('%s "%s";' % option for option in (
        ("Dir::State::Lists", os.path.join(where, "lists")),
        ("Dir::State::status", apt_config("Dir::State::status/f")),
        ("Dir::Cache", os.path.join(where, "cache")),
        ("Dir::Etc::sourcelist", os.path.join(where, "sources.list")),
        ("Dir::Etc::sourceparts", os.path.join(where, "parts")),
        # apt's own user cannot write here.
        ("APT::Sandbox::User", "root"),
        ("Acquire::Languages", "none"),
        ("Acquire::Retries", "2"))) + "\n")
    return ["apt-get", "-q", "-y", "-c", config]


def fetch(package, version, include):
    """Has the driver headers of that source package in 'include'."""
    log = out("dpdk-src", "fetch.log")
    work = out("dpdk-src", "work")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    progress = Progress("out/dpdk-src: driver headers of %s %s"
                        % (package, version))

    def on_line(line):
        progress.step(line.split(" [")[0])

    apt_get = private_apt(os.path.join(work, "apt"))
    # A repository without sources, or out of reach, is no reason to give up:
    # what counts is whether the package is there.
    run(apt_get + ["update"], log, on_line)
    if run(apt_get + ["source", "--only-source", "--download-only",
                      "%s=%s" % (package, version)], log, on_line, cwd=work,
           append=True):
        progress.done("failed")
        raise Stop("cannot fetch the source of %s %s, see %s; its end is:\n"
                   "%sIf the archive has moved on to another version, upgrade "
                   "libdpdk-dev and run this again.  If it has no sources, "
                   "put these files of DPDK %s into %s: %s."
                   % (package, version, log, tail(log, 8),
                      version.split("-")[0], include, ", ".join(HEADERS)))
    dsc = [name for name in os.listdir(work) if name.endswith(".dsc")]
    tree = os.path.join(work, "tree")
    # apt has verified what it fetched.
    if run(["dpkg-source", "--no-check", "-x"] + dsc + [tree], log, on_line,
           cwd=work, append=True):
        progress.done("failed")
        raise Stop("cannot unpack the source of %s %s, see %s; its end is:\n%s"
                   % (package, version, log, tail(log, 8)))
    fresh = os.path.join(work, "include")
    os.makedirs(fresh)
    for header in HEADERS:
        path = os.path.join(tree, header)
        if not os.path.exists(path):
            progress.done("failed")
            raise Stop("%s %s has no %s: this driver is for the DPDK of "
                       "%s." % (package, version, header,
                                debian.titles()))
        shutil.copy(path, fresh)
    os.makedirs(os.path.dirname(include), exist_ok=True)
    os.rename(fresh, include)
    shutil.rmtree(work)
    progress.done()


def headers():
    """The directory of the driver headers; fetches them when needed."""
    package, version = source_package()
    include = out("dpdk-src", "%s-%s" % (package, version), "include")
    with lock("dpdk-src"):
        if not os.path.isdir(include):
            fetch(package, version, include)
    return include


def compile_command(cc, sources, target, args=()):
    """How to compile a program or library that uses DPDK."""
    status, text = capture(["pkg-config", "--cflags", "libdpdk"])
    if status:
        raise Stop("pkg-config does not know libdpdk: run 'make deps'.\n"
                   + text.strip())
    # DPDK's headers are not held to our warnings.
    cflags = [re.sub("^-I", "-isystem", flag) for flag in text.split()]
    return ([cc, "-O2", "-g"] + WARNINGS + cflags
            + ["-D_GNU_SOURCE", "-DALLOW_EXPERIMENTAL_API"]
            + sources + ["-o", target] + list(args))


def driver_libs():
    """Logging is a library of its own from DPDK 23.11 on."""
    _, text = capture(["pkg-config", "--libs-only-l", "libdpdk"])
    return DRIVER_LIBS + [flag for flag in text.split()
                          if flag == "-lrte_log"]


def driver_command(cc, target):
    return compile_command(cc, SOURCES, target, [
        "-isystem" + headers(), "-DALLOW_INTERNAL_API", "-fPIC",
        "-fvisibility=hidden", "-shared", "-Wl,-z,defs"] + driver_libs())


def check_place(path):
    """EAL loads no plugin from where others may have put it."""
    path = os.path.realpath(path)
    while True:
        if os.path.exists(path) and os.stat(path).st_mode & stat.S_IWOTH:
            raise Stop("EAL loads no driver from below %s, to which everyone "
                       "can write: move the repository elsewhere, such as to "
                       "your home directory, and run this again." % path)
        if path == "/":
            return
        path = os.path.dirname(path)


def build(cc="gcc"):
    """Makes the driver, or brings it up to date.  Returns its path."""
    check_place(LIBRARY)
    stamp = LIBRARY + ".key"
    command = driver_command(cc, LIBRARY + ".new")
    key = digest(SOURCES + INCLUDED, " ".join(command),
                 capture([cc, "--version"])[1])
    with lock("model"):
        if os.path.exists(LIBRARY) and read(stamp) == key:
            print("out/model: up to date", flush=True)
            return LIBRARY
        progress = Progress("out/model: the driver dma_model")
        log = out("model", "build.log")
        if run(command, log):
            progress.done("failed")
            raise Stop("cannot compile the driver, see %s:\n%s"
                       % (log, tail(log)))
        os.chmod(LIBRARY + ".new", 0o755)
        os.replace(LIBRARY + ".new", LIBRARY)
        write(stamp, key)
        progress.done()
    return LIBRARY
