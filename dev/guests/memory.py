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

# Scenarios: the memory of a guest becomes more and less.

import os
import time

from dev.guests import image
from dev.guests.life import under_traffic
from dev.guests.qemu import MB
from dev.guests.stage import Failure, address, set_option

ADDED_MB = 256

# Datagrams that are received into it.
N_HELD = 4000

# What the guest uses once and has no more use for; what a balloon takes then;
# what of the former comes back to the host by that.
USED_MB = 200
BALLOON_MB = 192
BACK_MB = 64


def hotplug(w, guest):
    """The guest gets more memory, and receives into that."""
    def free_pages():
        """Of the memory above 4 GB, which a guest prefers."""
        zone = guest.sh("cat /proc/zoneinfo").split("zone   Normal")[1:]
        return int(zone[0].split("pages free")[1].split()[0]) if zone else 0

    if free_pages():
        raise Failure("the guest has memory above 4 GB before it gets some")
    guest.qmp("object-add", **{
        "qom-type": "memory-backend-memfd", "id": "mem1", "share": True,
        "size": ADDED_MB << 20})
    guest.qmp("device_add", driver="pc-dimm", id="dimm1", memdev="mem1")
    w.wait(lambda: free_pages() > ADDED_MB << 7, 20,
           "the guest does not find the %d MB that it got" % ADDED_MB)

    # What is received and not read stays in the driver's buffers.
    before = free_pages()
    guest.start_receiver("hold")
    w.host.execute(image.program("datagrams"), "send", address(guest),
                   N_HELD, 500, 1400)
    used = before - free_pages()
    held, _ = guest.stop_holding()
    w.note("%d of %d datagrams in buffers of %d KB of the new memory", held,
           N_HELD, used * 4)
    if held < N_HELD / 2 or used < held * 1400 / 4096:
        raise Failure("too few were received into the new memory")


def resident_mb(guest):
    """How much of the guest's memory the host has pages for, whoever has
    them mapped."""
    return os.stat(guest.memory_path()).st_blocks * 512 >> 20


def use_memory(guest):
    """Returns what is resident then."""
    guest.sh("mkdir -p /tmp/used && mount -t tmpfs -o size=%dM used /tmp/used"
             % (USED_MB + 1))
    guest.sh("dd if=/dev/zero of=/tmp/used/file bs=1M count=%d 2> /dev/null"
             % USED_MB, timeout=120)
    used = resident_mb(guest)
    guest.sh("umount /tmp/used")
    return used


def expect_given_back(w, guest, most, how):
    """The host has that memory back, and keeps it: under traffic, and when
    the port leaves DMA and comes to it anew."""
    w.wait(lambda: resident_mb(guest) <= most, 30,
           "%s does not give memory back" % how)
    less = resident_mb(guest)
    for value in ("false", "true"):
        set_option(w, guest.short, value)
        time.sleep(1)
    if resident_mb(guest) > most:
        raise Failure("what %s gave back is taken again: %d MB, %d MB before"
                      % (how, resident_mb(guest), less))
    return less


def balloon(w, guest):
    """A balloon takes memory from the guest and gives it back."""
    used = use_memory(guest)
    guest.qmp("balloon", value=MB - BALLOON_MB << 20)
    less = expect_given_back(w, guest, used - BACK_MB, "a balloon")
    guest.qmp("balloon", value=MB << 20)
    w.wait(lambda: guest.qmp("query-balloon")["actual"] == MB << 20, 20,
           "the guest does not take its memory from the balloon")
    w.note("%d MB, by a balloon %d MB, then %d MB", used, less,
           use_memory(guest))


def free_page_reporting(w, guest):
    """The guest reports pages that it does not use, and the host takes
    them."""
    used = use_memory(guest)
    less = expect_given_back(w, guest, used - BACK_MB,
                             "free page reporting")
    w.note("%d MB, reported free %d MB, then %d MB", used, less,
           use_memory(guest))


SCENARIOS = {
    "memory-hotplug": (under_traffic(hotplug), {}),
    "balloon": (under_traffic(balloon), {"balloon": ""}),
    "free-page-reporting": (under_traffic(free_page_reporting),
                            {"balloon": ",free-page-reporting=on"}),
}
