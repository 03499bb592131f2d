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
from dev.release import apt, debian

HERE = os.path.join(ROOT, "dev/dma_model")
SOURCES, INCLUDED = (sorted(glob.glob(os.path.join(HERE, "*." + suffix)))
                     for suffix in "ch")
LIBRARY = out("model", "librte_dma_model.so")
# For who misses it.
REMEDY = "run '/usr/bin/python3 -m dev.dma_model'"

LIBDPDK_DEV = "libdpdk-dev"
HEADERS = ("lib/dmadev/rte_dmadev_pmd.h", "lib/eal/include/bus_driver.h",
           "lib/eal/include/dev_driver.h",
           "drivers/bus/vdev/bus_vdev_driver.h",
           "drivers/bus/pci/bus_pci_driver.h")

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
DRIVER_LIBS = ["-lrte_dmadev", "-lrte_eal", "-lrte_kvargs", "-lrte_bus_vdev"]


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

    if not apt.PrivateApt(os.path.join(work, "apt"), LIBDPDK_DEV).download(
            package, version, work, log, on_line):
        progress.done("failed")
        raise Stop("cannot fetch the source of %s %s, see %s; its end is:\n"
                   "%sIf the archive has moved on to another version, upgrade "
                   "libdpdk-dev and run this again.  If it has no sources, "
                   "put these files of DPDK %s into %s: %s."
                   % (package, version, log, tail(log, 8),
                      version.split("-")[0], include, ", ".join(HEADERS)))
    tree = os.path.join(work, "tree")
    if not apt.unpack(work, tree, log, on_line):
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
    shutil.rmtree(include, ignore_errors=True)
    os.rename(fresh, include)
    shutil.rmtree(work)
    progress.done()


def headers():
    """The directory of the driver headers; fetches them when needed."""
    package, version = apt.source_of(LIBDPDK_DEV)
    include = out("dpdk-src", "%s-%s" % (package, version), "include")
    with lock("dpdk-src"):
        if not all(os.path.exists(os.path.join(include, os.path.basename(h)))
                   for h in HEADERS):
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


def plugin_command(cc, sources, target, args=()):
    """How to compile a driver."""
    return compile_command(cc, sources, target, [
        "-isystem" + headers(), "-DALLOW_INTERNAL_API", "-fPIC",
        "-fvisibility=hidden", "-shared", "-Wl,-z,defs"] + driver_libs()
        + list(args))


def driver_command(cc, target):
    return plugin_command(cc, SOURCES, target)


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


def build_plugin(library, files, command, what):
    """Makes a driver of 'files' by 'command', whose target is the library
    with .new behind, or brings it up to date.  Returns its path."""
    check_place(library)
    stamp = library + ".key"
    key = digest(files, " ".join(command),
                 capture([command[0], "--version"])[1])
    with lock("model"):
        if os.path.exists(library) and read(stamp) == key:
            print("out/model: %s is up to date" % what, flush=True)
            return library
        progress = Progress("out/model: %s" % what)
        log = out("model", "build.log")
        if run(command, log):
            progress.done("failed")
            raise Stop("cannot compile %s, see %s:\n%s"
                       % (what, log, tail(log)))
        os.chmod(library + ".new", 0o755)
        os.replace(library + ".new", library)
        write(stamp, key)
        progress.done()
    return library


def build(cc="gcc"):
    return build_plugin(LIBRARY, SOURCES + INCLUDED,
                        driver_command(cc, LIBRARY + ".new"),
                        "the driver dma_model")
