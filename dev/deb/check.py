# What becomes of a host that installs the packages: python3 -m dev.deb.check
#   RELEASE ENGINE
# A chroot of the release is made anew and booted, and journey.py goes from the
# distribution's packages to ours and back in it.  Then lintian looks at both.

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time

from dev.common.children import capture, child_env, python, run, stop_child
from dev.common.command import Progress, Stop, check_engine, main, program
from dev.common.files import OUT, ROOT, lock, out, read, tail, write
from dev.deb import boot
from dev.deb.package import folder
from dev.lab.basics import LabError
from dev.lab.machine import Hugepages
from dev.release import chroot, debian

# The switch has 512 MB, the guest 256.
HUGEPAGES = 512
TIMEOUT = 1200

SWITCH = "openvswitch-switch-dpdk"


def host_packages(release):
    """Of a host with systemd, and for a guest: DPDK's testpmd and drivers."""
    return ["systemd-sysv", "mount", "iproute2", "procps", "kmod", "python3",
            "ca-certificates", "dpdk-dev", "lintian",
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
        shutil.copy(os.path.realpath("/etc/resolv.conf"),
                    self.root + "/etc/resolv.conf")
        # The way that the documentation has it.
        shutil.copytree(self.packages, self.root + "/srv/packages")

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
        os.makedirs(self.root + "/srv/theirs")
        names = sorted({name.split("_")[0]
                        for name in os.listdir(self.packages)
                        if name.endswith(".deb") and "-dbgsym_" not in name})
        self.run("their files", "apt-get", "-q", "download", *names,
                 cwd="/srv/theirs")

    @contextlib.contextmanager
    def control_group(self):
        """Where the processes of the host are, which leaves nothing."""
        m = re.search(r"^\S+ (\S+) cgroup2 ", read("/proc/mounts"), re.M)
        if not m:
            raise Stop("check-deb boots a host, which needs cgroup2 mounted: "
                       "run 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'.")
        path = os.path.join(m[1], "check-deb-%d" % os.getpid())
        os.mkdir(path)
        try:
            yield path
        finally:
            for where, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(where)

    def boot(self, *args):
        """Boots it for a module of ours, whose lines are shown.  Returns its
        status."""
        log = self.root + boot.LOG
        write(log, "")
        with self.control_group() as group, open(self.log, "a") as f:
            child = subprocess.Popen(
                ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group]
                + boot.NAMESPACES + python("dev.deb.boot", self.root, *args),
                cwd=ROOT, env=child_env(), stdin=subprocess.DEVNULL, stdout=f,
                stderr=f, start_new_session=True)
            try:
                return self._follow(child, log)
            finally:
                stop_child(child)

    def _follow(self, child, log):
        deadline = time.monotonic() + TIMEOUT
        shown = 0
        while True:
            ended = child.poll() is not None
            lines = read(log).splitlines()
            for line in lines[shown:]:
                print(line, flush=True)
            shown = len(lines)
            if ended:
                return child.returncode
            if time.monotonic() > deadline:
                raise Stop("the host did not come to its end within %d s."
                           % TIMEOUT)
            time.sleep(0.2)

    def lintian(self, where):
        """What lintian says of packages, without versions and places."""
        status, text = capture(
            ["chroot", self.root, "sh", "-c",
             "lintian --no-tag-display-limit --fail-on none %s/*.deb" % where])
        with open(self.log, "a") as f:
            f.write("$ lintian %s\n%s" % (where, text))
        if status:
            raise Stop("lintian failed:\n" + text[-2000:])
        return {re.sub(r"\s*\[.*", "", line) for line in text.splitlines()
                if re.match(r"[EWI]: ", line)
                and "-dbgsym: " not in line}


def check(release, engine):
    packages = folder(release, engine)
    if not os.path.isdir(packages):
        raise Stop("there are no packages in %s: run 'make RELEASE=%s "
                   "ENGINE=%s deb'." % (os.path.relpath(packages, ROOT),
                                        release.name, engine))
    host = Host(release, packages)
    host.make()
    host.download()
    pages = Hugepages()
    try:
        pages.reserve(HUGEPAGES)
        status = host.boot("dev.deb.journey", engine)
    except LabError as e:
        raise Stop(str(e))
    finally:
        pages.release()
    new = sorted(host.lintian("/srv/packages") - host.lintian("/srv/theirs"))
    if new:
        print("FAILED: lintian says more of them than of the "
              "distribution's:\n  " + "\n  ".join(new))
    else:
        print("passed: lintian says nothing that it does not say of the "
              "distribution's")
    if status or new:
        raise Stop("see %s, and %s, where the host still is."
                   % (host.log, os.path.relpath(host.root, ROOT)))
    chroot.remove(host.root)


def run_command():
    if len(sys.argv) != 3:
        raise Stop("usage: %s RELEASE ENGINE" % program())
    if os.geteuid():
        raise Stop("check-deb boots a chroot, which needs root: use sudo.")
    os.makedirs(OUT, exist_ok=True)
    with lock("check-deb"):
        check(debian.named(sys.argv[1]), check_engine(sys.argv[2]))


if __name__ == "__main__":
    main(run_command)
