# Files by which DPDK's idxd driver finds work queues of the kernel's driver,
# for devices in memory: what accel-config would set up.

import os

from dev.common.files import write
from dev.dma_devices import plugin

NAME = "wq0.%d"
# What takes the place of a driver's name where one is chosen.
DRIVER = "idxd-kernel"


def make(where, n=1, size=128, max_batch=1024):
    """Makes 'n' queues below the directory 'where'.  Returns the environment
    that has DPDK look there."""
    env = {"DSA_DEV_PATH": os.path.join(where, "dev"),
           "DSA_SYSFS_PATH": os.path.join(where, "sys")}
    os.makedirs(env["DSA_DEV_PATH"])
    os.makedirs(os.path.join(env["DSA_SYSFS_PATH"], "dsa0"))
    write(os.path.join(env["DSA_SYSFS_PATH"], "dsa0/numa_node"), "0\n")
    for i in range(n):
        name = NAME % i
        # What is written behind its end, which is anywhere, gets to the
        # device.
        write(os.path.join(env["DSA_DEV_PATH"], name), "")
        queue = os.path.join(env["DSA_SYSFS_PATH"], name)
        os.mkdir(queue)
        for key, value in (("type", "user"), ("name", "dpdk_%d" % i),
                           ("size", size), ("max_batch_size", max_batch)):
            write(os.path.join(queue, key), "%s\n" % value)
    return env


def eal_arguments(env, number=0, **params):
    """Arguments of EAL for the device behind a queue that make() made."""
    path = os.path.realpath(os.path.join(env["DSA_DEV_PATH"], NAME % number))
    return plugin.eal_arguments("idxd", number, kernel=path, **params)
