# Boots a chroot as a host of its own, which runs one module of ours and ends
# with its status.  python3 -m dev.deb.boot CHROOT MODULE [ARGUMENT...]
#
# systemd is process 1 there, in namespaces of its own: packages start, restart
# and stop their services as they do on a host.  It has no network, of /dev
# what a container has, and it cannot get at what is the whole machine's: /sys,
# the settings of the kernel, its modules, its clock.  Hugepages it shares.

import ctypes
import os
import shlex
import stat
import sys

from dev.common.children import PYTHON, capture
from dev.common.command import Stop, main, program
from dev.common.files import ROOT, write
from dev.release.chroot import mount

# What follows runs as 'unshare' with these.
NAMESPACES = ["unshare", "--mount", "--propagation", "private", "--pid",
              "--fork", "--kill-child", "--net", "--uts", "--ipc", "--cgroup",
              "--"]

LOG = "/boot.log"

# Of characters: name, major, minor.
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8),
           ("urandom", 1, 9), ("tty", 5, 0), ("net/tun", 10, 200))

# What would see to the machine's devices and settings.
MASKED = ("systemd-udevd.service", "systemd-udevd-control.socket",
          "systemd-udevd-kernel.socket", "systemd-udev-trigger.service",
          "systemd-modules-load.service", "systemd-sysctl.service")

PR_CAPBSET_DROP = 24
# CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME.
DROPPED = (16, 17, 22, 25)

UNIT = """[Unit]
Description=What is to be run
After=multi-user.target

[Service]
Type=oneshot
WorkingDirectory=%s
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart=%s
ExecStopPost=/bin/sh -c 'systemctl exit "$EXIT_STATUS" || systemctl exit 1'
StandardOutput=append:%s
StandardError=append:%s
TimeoutSec=infinity
"""


def make_devices(root):
    dev = root + "/dev"
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", dev)
    for name in ("net", "pts", "shm", "hugepages", "mqueue"):
        os.mkdir(os.path.join(dev, name))
    for name, major, minor in DEVICES:
        path = os.path.join(dev, name)
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(path, 0o666)
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666", "devpts",
          dev + "/pts")
    os.symlink("pts/ptmx", dev + "/ptmx")
    os.symlink("/proc/self/fd", dev + "/fd")
    mount("-t", "tmpfs", "tmpfs", dev + "/shm")


def protect_machine(root):
    """Has nothing in the chroot change what is not its own."""
    for name in ("sys", "sysrq-trigger"):
        path = os.path.join(root, "proc", name)
        if os.path.exists(path):
            mount("--bind", path, path)
            mount("-o", "remount,bind,ro", path)
    for name in MASKED:
        os.symlink("/dev/null", root + "/run/systemd/system/" + name)
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in DROPPED:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise Stop("cannot do without capability %d: %s"
                       % (capability, os.strerror(ctypes.get_errno())))


def boot(root, command):
    """In namespaces of our own: becomes the systemd of the chroot."""
    mount("--bind", root, root)
    mount("-t", "proc", "proc", root + "/proc")
    mount("-t", "sysfs", "-o", "ro", "sysfs", root + "/sys")
    mount("-t", "cgroup2", "cgroup2", root + "/sys/fs/cgroup")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root + "/run")
    make_devices(root)
    os.makedirs(root + ROOT, exist_ok=True)
    mount("--bind", "-o", "ro", ROOT, root + ROOT)
    where = root + "/run/systemd/system"
    os.makedirs(where + "/multi-user.target.wants")
    write(where + "/module.service", UNIT % (ROOT, shlex.join(command), LOG,
                                             LOG))
    os.symlink("../module.service",
               where + "/multi-user.target.wants/module.service")
    protect_machine(root)
    status, text = capture(["ip", "link", "set", "lo", "up"])
    if status:
        raise Stop("ip link set lo up: " + text.strip())
    os.chroot(root)
    os.chdir("/")
    systemd = "/usr/lib/systemd/systemd"
    if not os.path.exists(systemd):
        systemd = "/lib/systemd/systemd"
    os.execve(systemd, [systemd, "--unit=multi-user.target"],
              {"container": "vhost-async", "PATH": os.environ["PATH"]})


def run_command():
    if len(sys.argv) < 3:
        raise Stop("usage: %s CHROOT MODULE [ARGUMENT...]" % program())
    boot(os.path.realpath(sys.argv[1]),
         [PYTHON, "-m"] + sys.argv[2:])


if __name__ == "__main__":
    main(run_command)
