# Boots a chroot as a host of its own, which runs one module of ours and ends
# with its status.  python3 -m dev.deb.boot CHROOT MODULE [ARGUMENT...]
#
# systemd is process 1 there, in namespaces of its own: packages start, restart
# and stop their services as they do on a host.  It has no network, and of
# /dev what a container has; hugepages are the machine's.

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


def boot(root, command):
    """In namespaces of our own: becomes the systemd of the chroot."""
    mount("--bind", root, root)
    mount("-t", "proc", "proc", root + "/proc")
    mount("-t", "sysfs", "sysfs", root + "/sys")
    mount("-t", "cgroup2", "cgroup2", root + "/sys/fs/cgroup")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root + "/run")
    make_devices(root)
    os.makedirs(root + ROOT, exist_ok=True)
    mount("--bind", "-o", "ro", ROOT, root + ROOT)
    where = root + "/run/systemd/system"
    os.makedirs(where + "/multi-user.target.wants")
    write(where + "/run.service", UNIT % (ROOT, shlex.join(command), LOG, LOG))
    os.symlink("../run.service",
               where + "/multi-user.target.wants/run.service")
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
