# What becomes of a host that installs the packages: python3 -m dev.deb.check
#   RELEASE ENGINE
# A chroot of the release is made anew and booted, and journey.py goes from the
# distribution's packages to ours and back in it.  Then the files of both, and
# what lintian says of them, are compared.

import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import time

from dev import lab as lablib
from dev.common.children import capture, child_env, python, run
from dev.common.command import Progress, Stop, check_engine, main, program
from dev.common.files import OUT, ROOT, lock, out, read, tail, write
from dev.deb import boot
from dev.deb.journey import GUEST_MB, OURS, SWITCH_MB
from dev.deb.package import folder
from dev.deb.source import SWITCH
from dev.lab import basics
from dev.release import chroot, debian

TIMEOUT = 1200
THEIRS = "/srv/theirs"

# What the archive adds where it has built a package anew from the same source.
OF_REBUILD = re.compile(r"/changelog\.Debian\.\w+\.gz$")

# What the series adds to files of the distribution's packages.
ADDED = re.compile(r"/usr/share/doc/openvswitch-(common|doc|switch)/.*"
                   r"(vhost-async|/_images/)|/usr/src/openvswitch/.*")


def host_packages(release):
    """Of a host with systemd, and for a guest: DPDK's testpmd and drivers."""
    return ["systemd-sysv", "mount", "passwd", "iproute2", "procps", "kmod",
            "python3", "ca-certificates", "dpdk-dev", "lintian",
            "librte-net-virtio" + release.drivers,
            "librte-dma-skeleton" + release.drivers]


class Host:
    """A chroot of the release that is booted as a host."""

    def __init__(self, release, packages):
        self.release = release
        self.packages = packages
        self.root = out("chroot", release.name + "-deb")
        self.log = out("check", "deb-%s.log" % release.name)
        os.makedirs(os.path.dirname(self.log), exist_ok=True)
        write(self.log, "")

    def make(self):
        chroot.remove(self.root)
        chroot.bootstrap(self.root, self.release, host_packages(self.release))
        for name in chroot.NETWORK:
            if os.path.isfile(name):
                chroot.make_file(self.root + name)
                shutil.copyfile(name, self.root + name)
        shutil.copytree(self.packages, self.root + OURS)

    def run(self, what, *command, cwd="/"):
        """Runs a command in the chroot, with the machine's network."""
        progress = Progress("%s: %s" % (os.path.relpath(self.root, ROOT),
                                        what))
        if run(["chroot", self.root, "env", "-C", cwd] + list(command),
               self.log, lambda line: progress.step(line),
               env=child_env(DEBIAN_FRONTEND="noninteractive"), append=True):
            progress.done("failed")
            raise Stop("%s failed, see %s; its end is:\n%s"
                       % (" ".join(command), self.log, tail(self.log, 12)))
        progress.done()

    def download(self):
        """The distribution's packages, since the host has no network, and all
        that are to be looked at."""
        self.run("lists of packages", "apt-get", "-q", "update")
        self.run("packages of the distribution", "apt-get", "-q", "-y",
                 "--no-install-recommends", "--download-only", "install",
                 SWITCH)
        os.makedirs(self.root + THEIRS)
        names = sorted({name.split("_")[0]
                        for name in os.listdir(self.packages)
                        if name.endswith(".deb") and "-dbgsym_" not in name})
        self.run("their files", "apt-get", "-q", "download", *names,
                 cwd=THEIRS)

    @contextlib.contextmanager
    def control_group(self):
        """Where all processes of the host are, so that none of them is left at
        the end, however that comes."""
        path = os.path.join(cgroup_mount(), "check-deb-%d" % os.getpid())
        try:
            os.mkdir(path)
        except OSError as e:
            raise Stop("check-deb cannot make a control group %s: %s"
                       % (path, e.strerror))
        try:
            yield path
        finally:
            with lablib.signals_held():
                remove_control_group(path)

    def boot(self, *args):
        """Boots it for a module of ours, whose lines are shown.  Returns its
        status."""
        log = self.root + boot.LOG
        write(log, "")
        with open(self.log, "a") as f, self.control_group() as group:
            child = subprocess.Popen(
                ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group]
                + boot.NAMESPACES + python("dev.deb.boot", self.root, *args),
                cwd=ROOT, env=child_env(), stdin=subprocess.DEVNULL, stdout=f,
                stderr=f, start_new_session=True,
                preexec_fn=lablib.die_with_parent())
            return self._follow(child, log)

    @staticmethod
    def _follow(child, log):
        deadline = time.monotonic() + TIMEOUT
        with open(log, errors="replace") as f:
            text = ""
            while True:
                ended = child.poll() is not None
                text += f.read()
                *lines, text = text.split("\n")
                for line in lines:
                    print(line, flush=True)
                if ended:
                    return child.returncode
                if time.monotonic() > deadline:
                    raise Stop("the host did not come to its end within %d s."
                               % TIMEOUT)
                time.sleep(0.2)

    def compare_files(self):
        """Returns the files of packages that are in only one of both, but for
        those that the series adds."""
        other = set()
        for path in glob.glob(self.root + OURS + "/*.deb"):
            package = os.path.basename(path).split("_")[0]
            theirs = glob.glob("%s/%s_*.deb" % (self.root + THEIRS, package))
            if theirs:
                other |= {"%s: %s" % (package, name)
                          for name in files_of(path) ^ files_of(theirs[0])
                          if not ADDED.match(name)}
        return sorted(other)

    def lintian(self, where):
        """What lintian says of packages, without versions and places."""
        status, text = capture(
            ["chroot", self.root, "sh", "-c", "lintian --no-tag-display-limit "
             "--display-info --fail-on none %s/*.deb" % where])
        with open(self.log, "a") as f:
            f.write("$ lintian %s\n%s" % (where, text))
        if status:
            raise Stop("lintian failed:\n" + text[-2000:])
        return {re.sub(r"\s*\[.*", "", line) for line in text.splitlines()
                if re.match(r"[EWI]: ", line)
                and "-dbgsym: " not in line}


def cgroup_mount():
    m = re.search(r"^\S+ (\S+) cgroup2 ", read("/proc/mounts"), re.M)
    if not m:
        raise Stop("check-deb boots a host, which needs cgroup2 mounted: run "
                   "'mount -t cgroup2 cgroup2 /sys/fs/cgroup'.")
    return m[1]


def remove_control_group(path):
    """Kills what is in there, and waits for its end."""
    with contextlib.suppress(FileNotFoundError):
        # Linux 5.14 and later; what has ended is in none.
        basics.write(path + "/cgroup.kill", "1")
    deadline = time.monotonic() + 10
    while "populated 1" in read(path + "/cgroup.events"):
        if time.monotonic() > deadline:
            raise Stop("processes of the host do not end: see %s/cgroup.procs."
                       % path)
        time.sleep(0.05)
    for where, _, _ in os.walk(path, topdown=False):
        os.rmdir(where)


def files_of(deb):
    """The paths in a package."""
    status, text = capture(["dpkg-deb", "-c", deb])
    if status:
        raise Stop("cannot read %s: %s" % (deb, text.strip()))
    paths = {line.split(None, 5)[5].split(" -> ")[0].removeprefix(".")
             for line in text.splitlines()}
    return {path for path in paths if not OF_REBUILD.search(path)}


def report(what, found):
    """Returns whether nothing was found."""
    if found:
        print("FAILED: %s:\n  %s" % (what, "\n  ".join(found)))
    else:
        print("passed: " + what)
    return not found


def check(release, engine):
    packages = folder(release, engine)
    if not os.path.isdir(packages):
        raise Stop("there are no packages in %s: run 'make RELEASE=%s "
                   "ENGINE=%s deb'." % (os.path.relpath(packages, ROOT),
                                        release.name, engine))
    host = Host(release, packages)
    host.make()
    host.download()
    with lablib.Lab() as lab:
        lab.need_memory(SWITCH_MB + GUEST_MB)
        good = not host.boot("dev.deb.journey", engine)
    good &= report("the packages have the files of the distribution's",
                   host.compare_files())
    theirs = host.lintian(THEIRS)
    if not theirs:
        raise Stop("lintian finds nothing in the distribution's packages, see "
                   "%s." % host.log)
    good &= report("lintian says nothing that it does not say of the "
                   "distribution's", sorted(host.lintian(OURS) - theirs))
    if not good:
        raise Stop("see %s, and %s, where the host still is."
                   % (host.log, os.path.relpath(host.root, ROOT)))
    chroot.remove(host.root)


def preflight():
    if os.geteuid():
        raise Stop("check-deb boots a chroot, which needs root: use sudo.")
    cgroup_mount()


def run_command():
    args = sys.argv[1:]
    if args == ["--preflight"]:
        return preflight()
    if len(args) != 2:
        raise Stop("usage: %s RELEASE ENGINE | --preflight" % program())
    preflight()
    os.makedirs(OUT, exist_ok=True)
    try:
        with lock("check-deb"):
            check(debian.named(args[0]), check_engine(args[1]))
    except lablib.LabError as e:
        raise Stop(str(e))
    except lablib.Interrupted:
        raise KeyboardInterrupt


if __name__ == "__main__":
    main(run_command)
