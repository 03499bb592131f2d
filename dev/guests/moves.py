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

# Scenarios: a port changes between DMA and CPU, its guest moves to another
# QEMU, and the switch is replaced, all of it under traffic.

import calendar
import contextlib
import os
import re
import signal
import statistics
import time

from dev.guests.stage import (FILE_MB, SWITCH_MB, Datagrams, Failure, address,
                              check_file, deliver, guest_and_host, ping,
                              set_option, talk, two_guests, wait_for_traffic)
from dev.lab import read

# Commands of one kind whose pauses are measured.
ROUNDS = 5

TESTPMD_MB = 128

# Of a port that changes sides: the guest notices nothing, but on a loaded
# machine no process runs all the time.
LONGEST_PAUSE_MS = 200

# As published for a live update over virtio-vhost-user; the same source has
# 1085 ms for a vhost-user client.
LIVE_UPDATE_GOAL_MS = 480


def migration_cancelled(w):
    """A migration of the guest of a port on DMA begins and is cancelled, as
    often as one likes: the port copies by CPU meanwhile, and is on DMA
    afterwards."""
    a, b = two_guests(w)
    ping(a, b)
    for _ in range(2):
        b.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
        b.qmp("migrate", uri="exec:cat > /dev/null")
        w.wait(lambda: "being migrated" in w.switch.appctl(
            "dpif-netdev/dma-show"), 10,
            "dma-show does not tell that the guest is being migrated")
        ping(a, b)
        b.qmp("migrate_cancel")
        w.wait(lambda: b.qmp("query-migrate")["status"] == "cancelled", 10,
               "QEMU does not cancel the migration")
        w.wait(lambda: "being migrated" not in w.switch.appctl(
            "dpif-netdev/dma-show"), 10, "the txq does not get back to DMA")
        ping(a, b)
    deliver(w, a, b, 5)
    deliver(w, b, a, 5)
    w.check_idle()


def precopy(w, source, uri):
    """Has QEMU migrate a guest, in one pass over its memory and a last one
    while it is stopped.

    With more passes QEMU 7.2 damages a guest under TCG now and then, on ports
    without DMA, too: it loses what the guest itself writes.  See "physmem: Fix
    migration dirty bitmap coherency with TCG memory access" in QEMU 9.0."""
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 100 << 20,
                                            "downtime-limit": 500})
    source.qmp("migrate", uri=uri)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        info = source.qmp("query-migrate")
        if info["status"] == "completed":
            w.note("precopy: %d ms, of which the guest did not run for %d, "
                   "%d MB", info["total-time"], info["downtime"],
                   info["ram"]["transferred"] >> 20)
            return
        if info["status"] in ("failed", "cancelled"):
            raise Failure("the migration %s: %s"
                          % (info["status"], info.get("error-desc", "?")))
        time.sleep(0.05)
    raise Failure("the migration did not end within 90 s")


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


def start_streams(peer, guest):
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
    peer.background("ping -i 0.1 -w 300 %s > /tmp/ping" % address(guest))


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


def migration(w):
    """A guest moves, by precopy, in the middle of a transfer to it.  The
    transfer goes on, all memory that the switch wrote moves along,
    and the guest ends on DMA."""
    peer, source = w.add_guest("peer"), w.add_guest("src")
    w.boot(peer, source)
    checksum = peer.make_file(FILE_MB)
    uri = "unix:" + w.lab.path("migration")
    target = w.add_guest("dst", number=source.number, incoming=uri)

    start_streams(peer, source)
    precopy(w, source, uri)
    source.kill()
    w.wait(lambda: target.qmp("query-status")["status"] == "running", 10,
           "the guest that was migrated does not run")
    # The shell of the guest goes on counting.
    target.commands = source.commands
    target.sh("pidof wget")
    w.wait_on_dma(target)
    check_streams(w, peer, target, checksum)
    deliver(w, peer, target, 5)
    deliver(w, target, peer, 5)
    w.check_idle()


def measure_pauses(w, port, measure):
    """Takes a port off DMA and back.  'measure' calls what it is given and
    returns for how many milliseconds traffic paused."""
    pauses = {value: [] for value in ("false", "true", "unchanged")}
    for value in tuple(pauses) * ROUNDS:
        pauses[value].append(measure(
            (lambda: time.sleep(0.5)) if value == "unchanged"
            else lambda: set_option(w, port, value)))
    for value, times in pauses.items():
        w.note("options:vhost-async %s: traffic paused for %.1f ms (median of "
               "%d, at most %.1f)", value, statistics.median(times), ROUNDS,
               max(times))
    longest = max(LONGEST_PAUSE_MS, 3 * max(pauses["unchanged"]))
    if max(max(times) for times in pauses.values()) > longest:
        raise Failure("traffic paused for %s ms" % pauses)


def switch_sides_in_transfer(w, guest, host):
    """A file gets to the guest while its port changes sides."""
    checksum = host.make_file(3 * FILE_MB)
    started = guest.start_fetch(host)
    changes = 0
    while not guest.shell.ready():
        set_option(w, "g1", ("false", "true")[changes % 2])
        changes += 1
        time.sleep(0.1)
    check_file(guest, host, guest.finish_fetch(started), checksum)
    if changes % 2:
        set_option(w, "g1", "true")
    w.note("file arrived intact over %d changes", changes)
    if changes < 4:
        raise Failure("the file arrived before the port changed sides often")


def pause(w, host, to, port, action):
    """Returns for how many milliseconds nobody at an address, behind a port,
    answers to the host while 'action' is executed."""
    log = w.lab.log_path("pings")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(log)
    pings = host.process("ping", "ping", "-n", "-D", "-i", "0.001", "-s",
                         "1400", to, log=log)
    wait_for_traffic(w, port)
    action()
    wait_for_traffic(w, port)
    time.sleep(0.3)
    pings.check_alive()
    pings.stop_signal = signal.SIGINT
    pings.stop()
    times = [float(t) for t in re.findall(r"^\[([\d.]+)\] \d+ bytes from",
                                          read(log), re.M)]
    if len(times) < 200:
        raise Failure("%s answered to %d pings" % (to, len(times)))
    return 1000 * max(b - a for a, b in zip(times, times[1:]))


def switching(w):
    """A port is taken off DMA and put back, under traffic to its guest."""
    guest, host = guest_and_host(w)
    ping(host, guest)
    measure_pauses(w, "g1", lambda action: pause(w, host, address(guest),
                                                 "g1", action))
    switch_sides_in_transfer(w, guest, host)
    talk(w, guest, host, 5)


def switching_virtio_user(w):
    """The same with a guest that is dpdk-testpmd over virtio-user."""
    host, path, to = w.add_host(), w.lab.path("v1.sock"), "192.0.2.50"
    w.lab.need_memory(TESTPMD_MB + 16)
    w.switch.add_vhost("v1", path, 1, mtu=w.mtu)
    guest = w.lab.guest("v1", ["net_virtio_user0,path=%s,server=1,"
                               "queue_size=1024" % path],
                        ["--forward-mode=icmpecho", "--rxd=1024",
                         "--total-num-mbufs=8192"],
                        memory=TESTPMD_MB)
    guest.wait_ready()
    guest.cmd("start")
    w.wait(lambda: w.port_line("v1") == "DMA", 10, "v1 is not on DMA")
    measure_pauses(w, "v1", lambda action: pause(w, host, to, "v1", action))
    w.check_idle()


def log_times(path, begin):
    """When, in milliseconds after 'begin', each line of a log of OVS was
    written."""
    for line in read(path).splitlines():
        m = re.match(r"([\d-]+T[\d:]+)\.(\d{3})Z\|\d+\|(.*)", line)
        if m:
            at = (calendar.timegm(time.strptime(m[1], "%Y-%m-%dT%H:%M:%S"))
                  + int(m[2]) / 1000)
            yield (at - begin) * 1000, m[3]


STAGES = {
    "started": r"opened log file",
    "DPDK ready": r"DPDK Enabled - initialized",
    "port added": r"bridge br0: added interface g1",
    "guest connected": r"vHost Device .* has been added",
}


def restart(w, guest):
    """Stops the switch under traffic to the guest, and starts it again.
    Returns for how many milliseconds the guest got nothing, and when what
    was done."""
    with Datagrams(w, guest) as stream:
        begin, wall = time.monotonic(), time.time()
        w.switch.stop()
        stages = {"stopped": (time.monotonic() - begin) * 1000}
        w.switch.start()
        w.wait_on_dma(guest)
    for at, text in log_times(w.switch.log, wall):
        for name, pattern in STAGES.items():
            if at > 0 and re.search(pattern, text):
                stages.setdefault(name, at)
    missing = set(STAGES) - set(stages)
    if missing:
        raise Failure("the log of the switch does not tell when it is: "
                      + ", ".join(missing))
    return stream.pause, stages


def live_update(w):
    """The switch is stopped and started again under traffic to a guest, as
    an upgrade of the package does, with its memory allocated at the start
    and on demand."""
    guest, host = guest_and_host(w)
    ping(host, guest)
    for how, socket_mem in (("%d MB at the start" % SWITCH_MB, SWITCH_MB),
                            ("on demand", None)):
        w.switch.set("dpdk-socket-mem", socket_mem, wait=False)
        pauses, stages = zip(*[restart(w, guest) for _ in range(ROUNDS)])
        w.note("memory allocated %s: no traffic for %.0f ms (median of %d, at "
               "most %.0f, goal %d): %s", how, statistics.median(pauses),
               ROUNDS, max(pauses), LIVE_UPDATE_GOAL_MS, ", ".join(
                   "%s at %.0f" % (name, statistics.median(
                       s[name] for s in stages)) for name in stages[0]))
    talk(w, guest, host, 5)


SCENARIOS = {
    "migration-cancelled": (migration_cancelled, {}),
    "migration": (migration, {"mtu": 9000,
                              "device": ",rx_queue_size=1024"}),
    "switching": (switching, {}),
    "switching-virtio-user": (switching_virtio_user, {}),
    "live-update": (live_update, {"fail_mode": "standalone"}),
}
