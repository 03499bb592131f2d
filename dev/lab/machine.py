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

"""What is taken of the machine: cores and hugepages."""

import contextlib
import glob
import os
import re

from dev.lab.basics import LabError, cpu_list, read, write

HUGE_KB = 2048


class Cores:
    """Which core does what, all on one NUMA node.

    A PMD thread owns its core.  With two cores the guest and the copy thread
    of the software dmadev have to share the other one with everything else:
    then the guest, which polls without rest, runs in the idle scheduling
    class.  Otherwise the copy thread, which sleeps a little whenever it finds
    nothing, would wait a whole time slice of the guest for each burst.  (Not
    the other way round, a higher priority for the copy thread: it also spins
    for a while before it sleeps, and then nobody else gets on.)"""

    def __init__(self, n_pmds=1):
        allowed = os.sched_getaffinity(0)
        nodes = {}
        for path in glob.glob("/sys/devices/system/node/node[0-9]*"):
            node = int(re.search(r"\d+$", path).group())
            cpus = [cpu for cpu in cpu_list(read(path + "/cpulist", ""))
                    if cpu in allowed]
            nodes[node] = cpus
        if not any(nodes.values()):
            nodes = {0: sorted(allowed)}
        self.node = max(sorted(nodes), key=lambda n: len(nodes[n]))
        self.n_nodes = len(nodes)
        cpus = nodes[self.node]
        if len(cpus) < n_pmds + 1:
            raise LabError("%d CPU cores needed on one NUMA node, %d usable "
                           "here: give the machine more cores"
                           % (n_pmds + 1, len(cpus)))
        self.pmds = cpus[-n_pmds:]
        rest = cpus[:-n_pmds]
        self.main = rest[0]
        self.guest = rest[1 % len(rest)]
        self.dma = rest[2 % len(rest)]
        self.guest_shares = self.guest in (self.main, self.dma)

    @staticmethod
    def mask(*cpus):
        return "0x%x" % sum(1 << cpu for cpu in cpus)


class Hugepages:
    """2 MB pages: reserved when too few are free, given back at the end.

    What is given back is the number that was added, so that two users of the
    same machine do not undo each other."""

    def __init__(self, node=0):
        name = "hugepages/hugepages-%dkB" % HUGE_KB
        self.dir = "/sys/devices/system/node/node%d/%s" % (node, name)
        if not os.path.isdir(self.dir):
            self.dir = "/sys/kernel/mm/" + name
        if not os.path.isdir(self.dir):
            raise LabError("this kernel offers no %d kB hugepages: use one "
                           "with CONFIG_HUGETLBFS" % HUGE_KB)
        self.added = 0

    def _get(self, what):
        return int(read("%s/%s_hugepages" % (self.dir, what)))

    def free(self):
        return self._get("free")

    @staticmethod
    def adjust(directory, by):
        path = directory + "/nr_hugepages"
        old = int(read(path))
        write(path, str(max(0, old + by)))
        return int(read(path)) - old

    def reserve(self, pages):
        for attempt in range(2):
            missing = pages - self.free()
            if missing <= 0:
                return
            if attempt:
                # Free memory may merely be in pieces.
                with contextlib.suppress(OSError):
                    write("/proc/sys/vm/compact_memory", "1")
            self.added += self.adjust(self.dir, missing)
        have = self.free()
        if have < pages:
            self.release()
            raise LabError("%d hugepages of 2 MB needed, %d to be had: free "
                           "%d MB of memory, or reserve the pages at boot "
                           "with hugepages=%d"
                           % (pages, have, (pages - have) * HUGE_KB // 1024,
                              pages))

    def release(self):
        if self.added:
            self.adjust(self.dir, -self.added)
            self.added = 0
