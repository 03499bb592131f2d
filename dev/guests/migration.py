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

# Scenarios: a guest moves to another QEMU, by QEMU's own commands and nothing
# else, while there is traffic to it.

import contextlib
import mmap
import re
import time

from dev.dma_model import ctl
from dev.guests.qemu import KVM, accelerator
from dev.guests.stage import (FILE_MB, Failure, address, check_file, deliver,
                              ping, two_guests, wait_for_traffic)
from dev.lab import read

# Hundreds of packets until the streams are in full swing.
SETTLED = 4

# Passes over memory while the guest runs, if QEMU is up to it: there are no
# more if nothing was written in the short time that the last one took.  And
# how long it may not run afterwards.
PASSES = 2
DOWNTIME_MS = 500

# What is compared at once, and what is told of.
CHUNK, PAGE = 1 << 20, 4096
PAGES_SHOWN = 8

# Several times other_config:vhost-async-timeout.
QUARANTINE_S = 5


def is_shown(w, source):
    return "being migrated" in w.switch_of(source.short).appctl(
        "dpif-netdev/dma-show")


def begin(w, source, uri):
    """A migration that takes long."""
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
    source.qmp("migrate", uri=uri)
    w.wait(lambda: is_shown(w, source), 10,
           "dma-show does not tell that the guest is being migrated")


def expect_end(w, source, status):
    w.wait(lambda: source.qmp("query-migrate")["status"] == status, 10,
           "QEMU does not end the migration as " + status)
    w.wait(lambda: not is_shown(w, source), 10,
           "the txq does not get back to DMA")


def migration_cancelled(w):
    """A migration of the guest of a port on DMA begins and is cancelled, as
    often as one likes: the port copies by CPU meanwhile, and is on DMA
    afterwards."""
    a, b = two_guests(w)
    ping(a, b)
    for _ in range(2):
        begin(w, b, "exec:cat > /dev/null")
        ping(a, b)
        b.qmp("migrate_cancel")
        expect_end(w, b, "cancelled")
        ping(a, b)
    deliver(w, a, b, 5)
    deliver(w, b, a, 5)
    w.check_idle()


def forgets_writes(source):
    """Returns whether QEMU loses some of what a guest writes soon after its
    dirty pages were asked for while it ran, on ports without DMA, too: under
    TCG up to QEMU 8.2.  See "physmem: Fix migration dirty bitmap coherency
    with TCG memory access" in QEMU 9.0."""
    version = source.qmp("query-version")["qemu"]["major"]
    return version < 9 and accelerator() != KVM


def precopy(w, source, uri, wanted):
    """Has QEMU migrate a guest, in so many passes over its memory and a last
    one while it is stopped.  Where QEMU forgets writes there is one pass: with
    no downtime allowed QEMU asks for dirty pages only when all were sent and
    the guest is stopped."""
    one_pass = forgets_writes(source)
    limit = 0 if one_pass or wanted > 1 else DOWNTIME_MS
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 100 << 20,
                                            "downtime-limit": limit})
    source.qmp("migrate", uri=uri)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        info = source.qmp("query-migrate")
        if info["status"] == "completed":
            # The first is before the first pass, the last before the one
            # while the guest is stopped.
            passes = info["ram"]["dirty-sync-count"] - 1
            w.note("precopy: %d passes, %d ms, of which the guest did not run "
                   "for %d, %d MB", passes, info["total-time"],
                   info["downtime"], info["ram"]["transferred"] >> 20)
            if passes != 1 if one_pass else passes < wanted:
                raise Failure("QEMU migrated the guest in %d passes, not %d"
                              % (passes, 1 if one_pass else wanted))
            return
        if not one_pass and limit < DOWNTIME_MS and (
                info.get("ram", {}).get("dirty-sync-count", 0) > wanted):
            limit = DOWNTIME_MS
            source.qmp("migrate-set-parameters", **{"downtime-limit": limit})
        if info["status"] in ("failed", "cancelled"):
            raise Failure("the migration %s: %s"
                          % (info["status"], info.get("error-desc", "?")))
        time.sleep(0.05)
    raise Failure("the migration did not end within 90 s")


def differences(a, b, page):
    """Where a page of two guests differs, and what is there: who wrote it can
    be seen by that."""
    at = [i for i in range(page, page + PAGE) if a[i] != b[i]]
    first = slice(at[0], at[0] + 16)
    return ("0x%x: %d bytes from 0x%x to 0x%x, %s here, %s there"
            % (page, len(at), at[0] - page, at[-1] - page, a[first].hex(),
               b[first].hex()))


def check_same_memory(w, source, target):
    """Neither runs: what the one has is what the other has got.  What the
    switch wrote moves along only if it told so, after it wrote, in time."""
    # The source has sent all when it says so, the target has yet to load it.
    w.wait(lambda: target.qmp("query-status")["status"] == "paused", 10,
           "the guest that was migrated is not loaded")
    begin = time.monotonic()
    differ = []
    with contextlib.ExitStack() as stack:
        a, b = (stack.enter_context(mmap.mmap(
            stack.enter_context(open(guest.memory_path(), "rb")).fileno(), 0,
            prot=mmap.PROT_READ)) for guest in (source, target))
        for at in range(0, len(a), CHUNK):
            if a[at:at + CHUNK] != b[at:at + CHUNK]:
                differ += [page for page in range(at, at + CHUNK, PAGE)
                           if a[page:page + PAGE] != b[page:page + PAGE]]
        w.note("memory compared in %.1f s", time.monotonic() - begin)
        if differ:
            raise Failure("%d pages of memory did not move along: %s" % (
                len(differ), ", ".join(differences(a, b, page)
                                       for page in differ[:PAGES_SHOWN])))


# Serves a file, slowly until it is told to go on.
SLOW = r"""#!/bin/busybox sh
echo Content-Type: application/octet-stream
echo
i=0
while [ ! -e /tmp/go ]; do
    dd if=/tmp/file bs=20k skip=$i count=1 2> /dev/null
    i=$((i + 1))
    sleep 0.1
done
dd if=/tmp/file bs=20k skip=$i 2> /dev/null
"""


def start_streams(w, peer, guest):
    """From 'peer' to 'guest': a file over TCP, datagrams that stay in its
    receive buffers, and pings.

    Debian's kernel clears a page before it uses it, for a receive buffer,
    too, which dirties it.  Only the log of the switch tells of what is written
    to a page that was cleared before the migration began, and moved before the
    switch writes to it.  Hence the long queue, and so few packets that what is
    in it at the beginning lasts for the time of the migration."""
    peer.sh("mkdir /tmp/cgi-bin; echo -e '%s' > /tmp/cgi-bin/slow; "
            "chmod +x /tmp/cgi-bin/slow" % SLOW.replace("\n", "\\n"))
    guest.start_receiver("hold")
    guest.background("wget -q -O - http://%s/cgi-bin/slow | "
                     "sha256sum > /tmp/sum" % address(peer))
    peer.background("datagrams send %s 1000000 20000 8800 > /tmp/sent 2>&1"
                    % address(guest))
    # The answers are long enough for DMA.
    peer.background("ping -i 0.1 -w 300 -s %d %s > /tmp/ping"
                    % (8000 if w.rx else 56, address(guest)))


def check_streams(w, peer, guest, checksum):
    peer.sh("touch /tmp/go")
    guest.wait_for_end("wget")
    guest.wait_for_end("sha256sum")
    check_file(guest, peer, guest.sh("cat /tmp/sum").split()[0], checksum)
    peer.sh("killall -INT datagrams")
    peer.wait_for_end("datagrams")
    sent = int(peer.sh("cat /tmp/sent").split()[0])
    held, looks = guest.stop_holding()
    w.note("%d of %d datagrams lost, the others looked at %d times in "
           "receive buffers", sent - held, sent, looks)
    if held < sent * 3 / 4 or looks < 10:
        raise Failure("too few datagrams, or looks at them")
    peer.sh("killall -INT ping")
    peer.wait_for_end("ping")
    text = peer.sh("tail -n 2 /tmp/ping")
    m = re.search(r"(\d+) packets transmitted, (\d+) packets received", text)
    if not m:
        raise Failure("pings during the migration: " + text)
    w.note("%d of %s pings lost", int(m[1]) - int(m[2]), m[1])


def add_target(w, source, name, switch=None):
    """Another QEMU, on a port of its own.  Returns the address to migrate to,
    too."""
    uri = "unix:" + w.lab.path("migration-" + name)
    return w.add_guest(name, switch, number=source.number, incoming=uri), uri


def migration_failed(w):
    """The destination of a migration dies: the guest stays, on DMA, and moves
    to another one."""
    peer, source = w.add_guest("peer"), w.add_guest("src")
    w.boot(peer, source)
    target, uri = add_target(w, source, "gone")
    begin(w, source, uri)
    target.kill()
    w.guests.remove(target)
    expect_end(w, source, "failed")
    ping(peer, source)
    deliver(w, peer, source, 5)
    move(w, peer, source)


def migration(w):
    """A guest moves, by precopy, in the middle of a transfer to it.  The
    transfer goes on, all memory that the switch wrote moves along,
    and the guest ends on DMA."""
    peer, source = w.add_guest("peer"), w.add_guest("src")
    w.boot(peer, source)
    move(w, peer, source)


def migration_to_other_switch(w):
    """The same to a port of another switch: the peer's switch learns of it
    from what the guest sends through the other one."""
    peer, source = w.add_guest("peer"), w.add_guest("src")
    w.boot(peer, source)
    move(w, peer, source, switch=w.add_switch("other"))


def hang(w):
    """Has the engine that is in use hang with copies in flight."""
    page = max((ctl.ControlPage(path, 5) for path in w.pages),
               key=lambda page: page.vchan().submitted)
    w.expected = "is quarantined"
    page.vchan().hang()
    if not page.vchan().wait_seen(5):
        raise Failure("nobody uses the engine that is to hang")
    w.wait(lambda: page.in_flight, 5, "nothing is in flight")
    if is_quarantined(w):
        raise Failure("the engine is quarantined before the migration begins")


def is_quarantined(w):
    return "is quarantined" in read(w.switch.log)


def expect_quarantine(w):
    w.wait(lambda: is_quarantined(w), QUARANTINE_S,
           "the engine that hangs is not quarantined")


def migration_while_engine_hangs(w):
    """The engine hangs when a migration begins: QEMU's messages are answered,
    the guest moves with all that the engine had, and the other port is on DMA
    by the other engine."""
    peer, source = w.add_guest("peer"), w.add_guest("src")
    w.boot(peer, source)
    move(w, peer, source, before=hang, after=expect_quarantine, passes=1)


def move(w, peer, source, switch=None, before=lambda w: None,
         after=lambda w: None, passes=PASSES):
    """Migrates 'source' under traffic, in so many passes; more than one takes
    traffic that goes on."""
    checksum = peer.make_file(FILE_MB)
    target, uri = add_target(w, source, "dst", switch)

    start_streams(w, peer, source)
    for _ in range(SETTLED):
        wait_for_traffic(w, source.short)
    before(w)
    precopy(w, source, uri, passes)
    after(w)
    check_same_memory(w, source, target)
    target.qmp("cont")
    source.kill()
    # The shell of the guest goes on counting.
    target.commands = source.commands
    target.sh("pidof wget")
    w.wait_on_dma(target)
    check_streams(w, peer, target, checksum)
    deliver(w, peer, target, 5)
    deliver(w, target, peer, 5)
    w.check_idle()


LONG_QUEUE = ",rx_queue_size=1024"

SCENARIOS = {
    "migration-cancelled": (migration_cancelled, {}),
    "migration-failed": (migration_failed, {"mtu": 9000,
                                            "device": LONG_QUEUE}),
    "migration": (migration, {"mtu": 9000, "device": LONG_QUEUE}),
    "migration-other-switch": (migration_to_other_switch,
                               {"mtu": 9000, "device": LONG_QUEUE}),
    "migration-hang": (migration_while_engine_hangs,
                       {"mtu": 9000, "device": LONG_QUEUE, "model": True}),
    "migration-packed": (migration, {"mtu": 9000,
                                     "device": LONG_QUEUE + ",packed=on"}),
    "migration-rx": (migration, {"mtu": 9000, "device": LONG_QUEUE,
                                 "rx": True}),
    # Its ports need more buffers.
    "migration-multiqueue": (migration, {"mtu": 9000, "queues": 2,
                                         "memory": 1280,
                                         "device": LONG_QUEUE}),
}
