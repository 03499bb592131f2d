# Copyright (c) 2026 The vhost async for Open vSwitch authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at:
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""A machine under QEMU with an IOMMU and two devices of type edu behind it.

Its root file system is that of this machine, read-only, so that all that is
built here is found there under the same path; what is written to is in memory.
It runs one command, shows what that prints as it comes, and is gone.
"""

import os
import select
import shlex

from dev.common.files import ROOT, lock
from dev.guests import image
from dev.guests.qemu import accelerator
from dev.lab import LabError, Process, read

# The kernels for clouds have no 9p.
KERNEL_PACKAGE = "linux-image-amd64"
MODULES = ("9p", "9pnet_virtio", "virtio_pci", "vfio_pci", "vfio_iommu_type1",
           "veth", "tun")

MEMORY_MB = 2048
HUGEPAGES = 256                 # Of 2 MB.
CPUS = 2

# Seconds after which a machine that prints nothing is given up.
SILENCE = 300

# The IOMMU has to be there before what is behind it.  Each edu has an IOMMU
# group of its own, being a function of the root bus.
EDU = "edu,dma_mask=0xffffffffffff"
DEVICES = ("-device", "intel-iommu,intremap=on,aw-bits=48", "-device", EDU,
           "-device", EDU)

KERNEL_ARGS = ("console=ttyS0 loglevel=4 panic=-1 mitigations=off "
               "intel_iommu=on hugepages=%d" % HUGEPAGES)

# What the command prints goes to the second serial port.
INIT = image.INIT_BEGIN + """\
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose \
root /root
for where in run tmp var/tmp; do
    mount -t tmpfs tmpfs /root/$where
done
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
if {logs}; then
    mkdir /root/run/logs
    mount -t 9p -o trans=virtio,version=9p2000.L logs /root/run/logs
fi
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec > /dev/ttyS1 2>&1
chroot /root /bin/sh -c {command}
echo "{end}$?"
poweroff -f
"""

END = "the command ended with "
LOGS = "/run/logs"


def share(tag, path, more=""):
    """A folder of this machine."""
    return ("-fsdev", "local,id=%s,path=%s,security_model=none,"
            "multidevs=remap%s" % (tag, path, more),
            "-device", "virtio-9p-pci,fsdev=%s,mount_tag=%s" % (tag, tag))


def boot_files(command, logs):
    """Returns the paths of kernel and initramfs."""
    initramfs = os.path.join(image.WHERE, "initramfs-iommu")
    environment = "cd %s && PYTHONDONTWRITEBYTECODE=1 PATH=%s exec " % (
        shlex.quote(ROOT), "/usr/sbin:/usr/bin:/sbin:/bin")
    init = INIT.format(command=shlex.quote(environment + shlex.join(command)),
                       logs="true" if logs else "false", end=END)
    with lock("guest"):
        os.makedirs(image.WHERE, exist_ok=True)
        kernel = image.kernel_folder(KERNEL_PACKAGE)
        image.make_initramfs(initramfs, kernel, init, MODULES)
    return image.vmlinuz(kernel), initramfs


class Machine(Process):
    """Runs 'command', a list, in the machine.  'logs' is a folder here that is
    LOGS there."""

    def __init__(self, lab, command, logs=None):
        kernel, initramfs = boot_files(command, logs)
        kind, _ = accelerator()
        self.console = lab.log_path("console")
        args = ["qemu-system-x86_64", "-accel", kind, "-cpu", "max",
                "-machine", "q35,kernel-irqchip=split", "-nodefaults",
                "-no-user-config", "-no-reboot", "-display", "none", "-m",
                "%dM" % MEMORY_MB, "-smp", CPUS, *DEVICES,
                *share("root", "/", ",readonly=on"),
                *(share("logs", logs) if logs else ()),
                "-chardev", "file,id=console,path=" + self.console,
                "-serial", "chardev:console",
                "-chardev", "stdio,id=out,signal=off", "-serial",
                "chardev:out", "-kernel", kernel, "-initrd", initramfs,
                "-append", KERNEL_ARGS]
        super().__init__(lab, "QEMU", args, log=lab.log_path("qemu"),
                         capture=True, daemon=True)

    def lines(self):
        """What the command prints, and the line that ends it."""
        pending = b""
        while select.select([self.popen.stdout], [], [], SILENCE)[0]:
            data = os.read(self.popen.stdout.fileno(), 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace").rstrip("\r")
        raise LabError("the machine has printed nothing for %d s" % SILENCE)

    def run(self, on_line):
        """Gives each line that the command prints to 'on_line'.  Returns its
        exit status."""
        for line in self.lines():
            before, found, status = line.partition(END)
            if before:
                on_line(before)
            if found:
                return int(status)
        self._wait(5)
        # QEMU says first why it exits, the kernel last.
        raise LabError("the machine ended before the command: %s" % (
            read(self.log, "").splitlines()[:1]
            or read(self.console, "").splitlines()[-1:] or ["QEMU is silent"]
            )[0])
