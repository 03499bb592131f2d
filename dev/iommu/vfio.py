# What vfio says of the memory that a process has mapped for devices.

import ctypes
import fcntl
import os
import struct

from dev.lab import LabError, read

LIMIT = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
CONTAINER = "/dev/vfio/vfio"

# <linux/vfio.h>, <asm/unistd.h>
GET_INFO = 0x3b70
INFO = struct.Struct("=IIQII")
HEADER = struct.Struct("=HHI")
CAPABILITY_DMA_AVAIL = 3
PIDFD_GETFD = 438

libc = ctypes.CDLL(None, use_errno=True)


def container(pid):
    """Returns a file descriptor for what vfio knows of a process."""
    fds = "/proc/%d/fd" % pid
    device = os.stat(CONTAINER).st_rdev
    for fd in os.listdir(fds):
        # By its path it is not known, in a namespace of mounts of its own.
        if os.stat(os.path.join(fds, fd)).st_rdev == device:
            pidfd = os.pidfd_open(pid)
            try:
                ours = libc.syscall(PIDFD_GETFD, pidfd, int(fd), 0)
            finally:
                os.close(pidfd)
            if ours < 0:
                raise LabError("cannot look into process %d: %s"
                               % (pid, os.strerror(ctypes.get_errno())))
            return ours
    raise LabError("process %d does not use vfio" % pid)


def free_mappings(pid):
    """How many more mappings the kernel allows a process."""
    fd = container(pid)
    try:
        info = bytearray(4096)
        INFO.pack_into(info, 0, len(info), 0, 0, 0, 0)
        fcntl.ioctl(fd, GET_INFO, info)
    finally:
        os.close(fd)
    at = INFO.unpack_from(info)[3]
    while at:
        kind, _, following = HEADER.unpack_from(info, at)
        if kind == CAPABILITY_DMA_AVAIL:
            return struct.unpack_from("=I", info, at + HEADER.size)[0]
        at = following
    raise LabError("vfio does not tell how many mappings it allows")


def limit():
    return int(read(LIMIT))


def set_limit(n):
    """How many mappings processes are allowed that begin to use vfio from now
    on."""
    with open(LIMIT, "w") as f:
        f.write(str(n))
