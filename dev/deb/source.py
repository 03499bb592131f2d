# The source package of Open vSwitch that the release has.

import glob
import os
import re
import shutil

from dev.common.children import capture
from dev.common.command import Stop
from dev.common.files import tail, write
from dev.ovs import tree as ovs
from dev.release import apt

# A package whose source and version tell those of all others.
BINARY = "openvswitch-source"
SWITCH = "openvswitch-switch-dpdk"


class Source:
    """What is had from the archive.  'tree' is the source, unpacked; 'version'
    that of the source, 'binary_version' that of the packages, which the
    archive may have built of it more than once."""

    def __init__(self, work, log, on_line):
        self.package, self.version = apt.source_of(BINARY)
        self.tree = os.path.join(work, "openvswitch")
        self.apt = apt.PrivateApt(os.path.join(work, "apt"), BINARY,
                                  "deb deb-src")
        if self.apt.download(self.package, self.version, work, log, on_line):
            done = apt.unpack(work, self.tree, log, on_line)
        else:
            done = self._tree_of_package(work, log, on_line)
        if not done:
            raise Stop("cannot have the source package of %s %s, see %s; its "
                       "end is:\n%sIf the archive has moved on to another "
                       "version, upgrade %s and run this again."
                       % (self.package, self.version, log, tail(log, 8),
                          BINARY))
        self.binary_version = self._binary_version()

    def _tree_of_package(self, work, log, on_line):
        """An archive may lack the tarball: the same source, with the patches
        of the distribution applied, is in a package, too."""
        print("%s %s: the archive has no upstream tarball, the tree of the "
              "package %s is taken for it"
              % (self.package, self.version, BINARY), flush=True)
        if not self.apt.download(self.package, self.version, work, log,
                                 on_line, ["--diff-only"]):
            return False
        packaging = glob.glob(os.path.join(work, "*.debian.tar.*"))
        if not packaging:
            return False
        ovs.unpack(self.tree)
        shutil.rmtree(os.path.join(self.tree, "debian"))
        status, _ = capture(["tar", "-xf", packaging[0], "-C", self.tree,
                             "--no-same-owner"])
        write(os.path.join(self.tree, "debian/patches/series"), "")
        return not status

    def _binary_version(self):
        """What is not built again (+b1) is of the source's version."""
        found = None
        rebuilt = re.compile(re.escape(self.version) + r"(\+b\d+)?")
        for line in self.apt.cache("madison", SWITCH).splitlines():
            version = line.split("|")[1].strip() if "|" in line else ""
            if rebuilt.fullmatch(version) and (not found
                                               or newer(version, found)):
                found = version
        if not found:
            raise Stop("the archive has no %s of %s %s: upgrade %s and run "
                       "this again." % (SWITCH, self.package, self.version,
                                        BINARY))
        return found


def newer(a, b):
    """Whether version 'a' is later than 'b'."""
    return not capture(["dpkg", "--compare-versions", a, "gt", b])[0]
