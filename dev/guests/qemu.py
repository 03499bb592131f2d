# A Linux guest under QEMU: its process, commands in it, and its monitor.

import contextlib
import fcntl
import functools
import json
import os
import re
import select
import socket
import time

from dev.guests import image
from dev.lab import LabError, Process, Switch, read

MB = 384

# The accelerator, and what a network device needs there: under TCG, QEMU 7.2
# itself crashes when a vhost-user device has MSI-X.
KVM = ("kvm", "")
TCG = ("tcg", ",vectors=0")

KVM_CREATE_VM = 0xae01          # <linux/kvm.h>


@functools.lru_cache
def accelerator():
    """KVM where it works: a device without the processor's support for it,
    as there is on some virtual machines, takes a guest and never gets on."""
    flags = re.search(r"^flags\s*:(.*)$", read("/proc/cpuinfo", ""), re.M)
    if not {"vmx", "svm"} & set(flags[1].split() if flags else ()):
        return TCG
    try:
        with open("/dev/kvm", "rb", buffering=0) as f:
            os.close(fcntl.ioctl(f, KVM_CREATE_VM, 0))
    except OSError:
        return TCG
    return KVM


class Channel:
    """A UNIX socket that QEMU listens on, read by lines."""

    def __init__(self, path, timeout=10):
        self.pending = b""
        deadline = time.monotonic() + timeout
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(path)
                return
            except OSError as e:
                # It is there before QEMU listens.
                self.sock.close()
                if time.monotonic() > deadline:
                    raise LabError("cannot connect to QEMU at %s: %s"
                                   % (path, e))
                time.sleep(0.02)

    def send(self, text):
        try:
            self.sock.sendall(text.encode() + b"\n")
        except OSError as e:
            raise LabError("QEMU closed a connection: %s" % e)

    def ready(self):
        """Whether there is something to read."""
        return self.pending or select.select([self.sock], [], [], 0)[0]

    def line(self, deadline):
        """Returns the next line, or None when it does not come in time."""
        while b"\n" not in self.pending:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.sock], [], [], left)[0]:
                return None
            data = self.sock.recv(65536)
            if not data:
                raise LabError("QEMU closed a connection")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode("utf-8", "replace").rstrip("\r")

    def close(self):
        self.sock.close()


def cpus(cores):
    """Where guests run: not in the way of a PMD thread."""
    rest = os.sched_getaffinity(0) - set(cores.pmds)
    return rest - {cores.dma} or rest


class Guest(Process):
    """A guest with a network device at a vhost-user socket, 'path', that QEMU
    listens on, and with a balloon that has these properties, if any.
    'incoming' waits for a migration, and for the command to run, and 'network'
    has the firmware look there for what to boot."""

    def __init__(self, lab, name, path, number=1, queues=1, device="",
                 balloon=None, incoming=None, network=False):
        self.short = name
        self.number = number
        self.commands = 0
        self.shell = self.monitor = None
        self.path = path
        self.console = lab.log_path("console-" + name)
        self.sockets = {what: lab.path("%s.%s" % (name, what))
                        for what in ("shell", "qmp")}
        kind, needs = accelerator()
        args = ["qemu-system-x86_64", "-accel", kind, "-nodefaults",
                "-no-user-config", "-display", "none", "-m",
                "%dM,slots=2,maxmem=2G" % MB, "-smp", queues, "-machine",
                "pc,memory-backend=mem", "-object",
                "memory-backend-memfd,id=mem,share=on,size=%dM" % MB,
                "-chardev", "file,id=console,append=on,path=" + self.console,
                "-serial", "chardev:console",
                "-serial", "unix:%s,server=on,wait=off"
                % self.sockets["shell"],
                "-qmp", "unix:%s,server=on,wait=off" % self.sockets["qmp"],
                "-chardev", "socket,id=c,path=%s,server=on,wait=off" % path,
                "-netdev", "vhost-user,id=n,chardev=c,queues=%d" % queues,
                "-device", "virtio-net-pci,netdev=n,mac=%s,mrg_rxbuf=on"
                "%s%s%s%s" % (self.mac(), "" if network else ",romfile=",
                              needs, ",mq=on" if queues > 1 else "", device)]
        if network:
            args += ["-boot", "n"]
        else:
            kernel, initramfs = image.make()
            args += ["-kernel", kernel, "-initrd", initramfs, "-append",
                     image.KERNEL_ARGS]
        if balloon is not None:
            args += ["-device", "virtio-balloon-pci" + balloon]
        if incoming:
            args += ["-incoming", incoming, "-S"]
        for old in [path, *self.sockets.values()]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old)
        super().__init__(lab, "QEMU " + name, args,
                         log=lab.log_path("qemu-" + name), daemon=True)
        os.sched_setaffinity(self.pid, cpus(lab.cores))

    def mac(self):
        return "52:54:00:00:00:%02x" % self.number

    def memory_path(self):
        """A file that is the guest's memory."""
        fds = "/proc/%d/fd" % self.pid
        for fd in os.listdir(fds):
            path = os.path.join(fds, fd)
            # QEMU may close one meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(path).startswith("/memfd:memory-backend"):
                    return path
        raise LabError("%s has no memfd" % self.name)

    def check_alive(self):
        try:
            super().check_alive()
        except LabError as e:
            last = read(self.log, "").splitlines()[-1:]
            raise LabError(": ".join([str(e)] + last))

    # The monitor.

    def wait_listening(self):
        """QEMU goes no further before its sockets for vhost-user are
        connected."""
        Switch.wait_for(lambda: os.path.exists(self.path), 10, self,
                        "%s does not listen" % self.name)

    def connect(self):
        """To be called once they are."""
        self.shell = Channel(self.sockets["shell"])
        self.monitor = Channel(self.sockets["qmp"])
        if not self.monitor.line(time.monotonic() + 10):
            raise LabError("%s has no monitor within 10 s" % self.name)
        self.qmp("qmp_capabilities")

    def qmp(self, command, timeout=30, **arguments):
        """Has QEMU execute a command.  Returns what it answers."""
        self.monitor.send(json.dumps({"execute": command,
                                      "arguments": arguments}))
        deadline = time.monotonic() + timeout
        while True:
            line = self.monitor.line(deadline)
            if line is None:
                self.check_alive()
                raise LabError("%s did not answer to '%s' within %d s"
                               % (self.name, command, timeout))
            answer = json.loads(line)
            if "error" in answer:
                raise QemuError("%s: '%s' failed: %s" % (
                    self.name, command, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]

    # The shell.

    def boot(self, timeout=90):
        """Waits until the guest takes commands."""
        deadline = time.monotonic() + timeout
        while True:
            line = self.shell.line(deadline)
            self.check_alive()
            if line is None:
                raise LabError("%s did not boot within %d s"
                               % (self.name, timeout))
            if line == "ready":
                return
            if line.startswith("insmod:"):
                raise LabError("%s: %s" % (self.name, line))

    def start(self, command):
        """Has the guest execute a command of its shell.  Commands wait for
        each other."""
        self.commands += 1
        self.shell.send("%d %s" % (self.commands, command))
        return self.commands, command

    def finish(self, started, check=True, timeout=60):
        """Waits for what start() began.  Returns what it printed."""
        number, command = started
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            line = self.shell.line(deadline)
            self.check_alive()
            if line is None:
                raise LabError("%s: '%s' did not end within %d s: %s"
                               % (self.short, command, timeout,
                                  " ".join(lines[-3:])))
            m = re.fullmatch(r"(.*)=%d (\d+)" % number, line)
            if line == "ready":
                raise LabError("%s rebooted in the middle of '%s'"
                               % (self.short, command))
            if not m:
                lines.append(line)
                continue
            lines += [m[1]] if m[1] else []
            if check and m[2] != "0":
                raise LabError("%s: '%s' failed: %s"
                               % (self.short, command, " ".join(lines[-3:])))
            return "\n".join(lines)

    def sh(self, command, check=True, timeout=60):
        return self.finish(self.start(command), check, timeout)

    def background(self, command):
        """Has a command executed in the background.  See image.py."""
        self.sh("(%s &)" % command)

    def close(self):
        super().close()
        for channel in (self.shell, self.monitor):
            if channel:
                channel.close()


class QemuError(LabError):
    """QEMU refuses a command."""
