# Makes a minimal Linux guest of packages of Debian: a kernel for clouds and
# busybox.  Both are downloaded to out/guest and unpacked there, nothing is
# installed.  Programs of ours are compiled for it.

import functools
import glob
import lzma
import os
import re
import tempfile

from dev.common.children import capture, run
from dev.common.command import Stop
from dev.common.files import lock, out, read, tail

WHERE = out("guest")
KERNEL_PACKAGE = "linux-image-cloud-amd64"
PROGRAMS_PACKAGE = "busybox-static"

KERNEL_ARGS = "console=ttyS0 loglevel=5 memhp_default_state=online"

# With these come those that they depend on.
MODULES = ("virtio_pci", "virtio_net", "virtio_balloon")

# What the first process does first, with what make_initramfs() puts there.
INIT_BEGIN = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root /tmp /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do
    insmod /modules/$module.ko
done
"""

# Commands come in through the second serial port, each with a number that
# the answer ends with, next to the exit status.  The shell that reads them
# forgets the beginning of a line when a child of its own ends meanwhile, so
# what goes on in the background is a child of another one, the first process.
INIT = INIT_BEGIN + """\
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec > /dev/ttyS1 2>&1
(
    echo ready
    while read -r number command; do
        eval "$command" < /dev/null
        echo "=$number $?"
    done
) < /dev/ttyS1 &
while :; do
    sleep 1
done
"""


class Unavailable(Stop):
    """There is no network, or no mirror that has the package."""


def fetch(package, where):
    return not run(["apt-get", "download", "-q", package], out("guest.log"),
                   cwd=where, append=True)


def download(package):
    """Returns the path of the package's file, which may be of an earlier
    time."""
    path = os.path.join(WHERE, package + ".deb")
    if os.path.exists(path):
        return path
    with tempfile.TemporaryDirectory(dir=WHERE) as where:
        # Lists that are old name packages that are gone.
        if not fetch(package, where) and (
                run(["apt-get", "update", "-q"], out("guest.log"),
                    append=True) or not fetch(package, where)):
            raise Unavailable(
                "cannot download the Debian package %s: see %s, or put it "
                "where it is looked for, %s" % (package, out("guest.log"),
                                                path))
        os.replace(glob.glob(os.path.join(where, "*.deb"))[0], path)
    return path


def unpack(deb, where):
    if run(["dpkg-deb", "-x", deb, where], out("guest.log"), append=True):
        raise Stop("cannot unpack %s: remove %s and run this again; %s ends:"
                   "\n%s" % (deb, WHERE, out("guest.log"),
                             tail(out("guest.log"), 5)))


def parts(package):
    """The packages of a kernel that 'package' depends on."""
    status, text = capture(["dpkg-deb", "-f", download(package), "Depends"])
    if status:
        raise Stop("%s is damaged: remove %s and run this again"
                   % (package, WHERE))
    return re.findall(r"linux-(?:image|base|binary|modules)-[^\s,]+", text)


def kernel_packages(package):
    """The packages that 'package', which is empty, stands for: that of the
    kernel, or what it consists of in sid, from 7.2 on."""
    found = [part for kernel in parts(package)
             for part in parts(kernel) or [kernel]]
    return list(dict.fromkeys(found))


def program(name):
    return os.path.join(WHERE, name)


def compile_program(name):
    """Returns the path of one that needs no library."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          name + ".c")
    if run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o",
            program(name), source], out("guest.log"), append=True):
        raise Stop("cannot compile %s; %s ends:\n%s"
                   % (source, out("guest.log"), tail(out("guest.log"), 5)))
    return program(name)


class Archive:
    """An initramfs, in the format that the kernel calls newc."""

    def __init__(self, path):
        self.f = open(path, "wb")
        self.number = 0

    def add(self, name, mode, data=b""):
        self.number += 1
        name = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                  len(name), 0)
        self._write(b"070701" + b"".join(b"%08X" % f for f in fields) + name)
        self._write(data)

    def _write(self, data):
        self.f.write(data + bytes(-len(data) % 4))

    def close(self):
        self.add("TRAILER!!!", 0)
        self.f.close()


def file(path):
    with open(path, "rb") as f:
        return f.read()


def module_files(kernel):
    """The paths of all modules, by name."""
    return {os.path.basename(path).split(".ko")[0].replace("-", "_"): path
            for path in glob.glob(os.path.join(kernel, "**/*.ko*"),
                                  recursive=True)}


def is_built_in(kernel, name):
    lists = glob.glob(os.path.join(kernel, "**/modules.builtin"),
                      recursive=True)
    return any(re.search(r"/%s\.ko$" % name.replace("_", "[_-]"), read(path),
                         re.M) for path in lists)


def with_dependencies(kernel, names):
    """These modules and those that they need, in an order in which they can
    be loaded: what they contain, by name."""
    files = module_files(kernel)
    found = {}

    def add(name):
        name = name.replace("-", "_")
        if name in found or is_built_in(kernel, name):
            return
        if name not in files:
            raise Stop("the kernel of %s has no module %s"
                       % (os.path.basename(kernel), name))
        data = file(files[name])
        if files[name].endswith(".xz"):
            # As from Debian 13 on.
            data = lzma.decompress(data)
        needs = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in filter(None, (needs[1] if needs else b"").split(b",")):
            add(other.decode())
        found[name] = data

    for name in names:
        add(name)
    return found


def unpacked(name, find):
    """The folder WHERE/name with what is in packages, whose names 'find'
    finds out when they are needed."""
    where = os.path.join(WHERE, name)
    if not os.path.exists(where):
        for package in find():
            unpack(download(package), where + ".tmp")
        os.rename(where + ".tmp", where)
    return where


def kernel_folder(package):
    """The kernel that 'package' stands for, with its modules."""
    return unpacked(package, lambda: kernel_packages(package))


def vmlinuz(kernel):
    # In /boot, or among the modules if those are a package of their own.
    return glob.glob(os.path.join(kernel, "**/vmlinuz*"), recursive=True)[0]


def make_initramfs(path, kernel, init, modules, programs=()):
    """Has 'init', the text of a script, run first, which finds these modules
    as /modules/*.ko, and their names in the order in which to load them in
    /modules/order, busybox, and programs of ours."""
    archive = Archive(path + ".tmp")
    for name in ("bin", "modules"):
        archive.add(name, 0o040755)
    # In /usr from Debian 13 on.
    busybox = glob.glob(os.path.join(
        unpacked("programs", lambda: [PROGRAMS_PACKAGE]), "**/bin/busybox"),
        recursive=True)
    archive.add("bin/busybox", 0o100755, file(busybox[0]))
    for name in programs:
        archive.add("bin/" + name, 0o100755, file(compile_program(name)))
    archive.add("init", 0o100755, init.encode())
    modules = with_dependencies(kernel, modules)
    archive.add("modules/order", 0o100644, "\n".join(modules).encode())
    for name, data in modules.items():
        archive.add("modules/%s.ko" % name, 0o100644, data)
    archive.close()
    os.replace(path + ".tmp", path)


@functools.lru_cache
def make():
    """Returns the paths of the kernel and of the initramfs."""
    initramfs = os.path.join(WHERE, "initramfs")
    with lock("guest"):
        os.makedirs(WHERE, exist_ok=True)
        kernel = kernel_folder(KERNEL_PACKAGE)
        make_initramfs(initramfs, kernel, INIT, MODULES,
                       ("datagrams", "channels"))
    return vmlinuz(kernel), initramfs
