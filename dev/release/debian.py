# The releases of Debian that the series is for (the table releases), and which
# of them this machine has.

import collections
import functools
import os
import re

from dev.common.command import Stop
from dev.common.files import ROOT, read

TABLE = os.path.join(ROOT, "dev/release/releases")

Release = collections.namedtuple("Release", "name version ovs dpdk drivers "
                                 "source")


@functools.lru_cache
def all_releases():
    rows = (line.split("#")[0].split() for line in read(TABLE).splitlines())
    return [Release(*row) for row in rows if row]


def names():
    *most, last = (r.name for r in all_releases())
    return "%s or %s" % (", ".join(most), last)


def titles():
    """As people call them."""
    *most, last = ("%s (%s)" % (r.version, r.name) if r.version != "-"
                   else r.name for r in all_releases())
    return "Debian %s or %s" % (", ".join(most), last)


def named(name):
    for release in all_releases():
        if release.name == name:
            return release
    raise Stop("RELEASE=%s: the series is not for this release; use "
               "RELEASE=%s." % (name, names()))


def os_release():
    return {key: value.strip("\"'") for key, value in
            re.findall(r"^(\w+)=(.*)$", read("/etc/os-release"), re.M)}


@functools.lru_cache
def here():
    """The release that this machine, or chroot, has."""
    found = os_release()
    version = found.get("VERSION_ID", "-")
    for release in all_releases():
        if found.get("ID") == "debian" and version == release.version:
            return release
    raise Stop("this is %s: use %s, whose packages of Open vSwitch and DPDK "
               "the series is made for; a container or a virtual machine will "
               "do." % (found.get("PRETTY_NAME", "an unknown system"),
                        titles()))
