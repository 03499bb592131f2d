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

# Scenarios: what happens in the life of a guest, while there is traffic to it.

import os
import re
import shutil
import time

from dev.common.files import write
from dev.guests import image
from dev.guests.stage import (Failure, address, guest_and_host, ping, talk,
                              wait_for_traffic)
from dev.lab import read

UNBINDS = 20

# Changes of the number of a guest's queue pairs, and flows of datagrams: by
# their hashes all go to one queue once in 2**11 times.
CHANGES = 10
FLOWS = 12

# What DPDK says.
CONNECTED = r"g1\.sock\) new device, handle is"

BOOT_SCRIPT = """\
#!ipxe
kernel http://%(host)s/vmlinuz initrd=initramfs %(args)s
initrd http://%(host)s/initramfs
boot
"""


def start_flood(w, guest):
    """Has the host send to the guest, whether that listens or not."""
    return w.host.process("ping", "ping", "-q", "-f", "-l", "64", "-s",
                          "1400", address(guest))


def wait_for_dma(w, guest):
    w.wait_on_dma(guest)
    before = w.dma_packets(guest.short)
    w.wait(lambda: w.dma_packets(guest.short) > before + 1000, 20,
           "little of the traffic to %s goes by DMA" % guest.short)


def under_traffic(disturb):
    """A scenario in which that happens while the host sends.  It returns
    the guest if that is another one then."""
    def scenario(w):
        guest, host = guest_and_host(w)
        ping(host, guest)
        flood = start_flood(w, guest)
        wait_for_dma(w, guest)
        guest = disturb(w, guest) or guest
        wait_for_dma(w, guest)
        flood.check_alive()
        flood.kill()
        talk(w, guest, host, 5)

    scenario.__doc__ = disturb.__doc__
    return scenario


def reload_driver(w, guest):
    """The guest's driver is unloaded and loaded again, three times."""
    for _ in range(3):
        guest.sh("rmmod virtio_net")
        guest.sh("insmod /modules/virtio_net.ko")
        guest.configure()
        wait_for_dma(w, guest)


def unbind(w, guest):
    """The guest's driver is unbound and bound again, 20 times."""
    for _ in range(UNBINDS):
        guest.sh("cd /sys/bus/virtio/drivers/virtio_net && "
                 "echo virtio0 > unbind && echo virtio0 > bind")
        guest.configure()
        wait_for_dma(w, guest)


def settled(value):
    """Returns it once it does not change any more: QEMU has told the guest of
    a change before it has told the switch."""
    last = None
    while value() != last:
        last = value()
        time.sleep(0.2)
    return last


def channels(w):
    """The guest uses one of its two queue pairs, then both, ten times: nothing
    goes to the one that it does not use, and all that is not dropped
    arrives."""
    guest, host = guest_and_host(w)

    def sent_to(queue):
        return w.counters(guest.short)["tx_q%d_good_packets" % queue]

    def received():
        return int(guest.sh("cat /sys/class/net/eth0/statistics/rx_packets"))

    w.switch.vsctl("set", "Interface", guest.short,
                   "other_config:tx-steering=hash")
    ping(host, guest)
    before = w.switch.sent_now(guest.short) - received()
    senders = [host.process("datagrams %d" % i, image.program("datagrams"),
                            "send", address(guest), 1 << 30, 8000, 1400)
               for i in range(FLOWS)]
    for _ in range(CHANGES):
        guest.sh("channels eth0 1")
        second = settled(lambda: sent_to(1))
        for _ in range(3):
            wait_for_traffic(w, guest.short)
        if sent_to(1) != second:
            raise Failure("%d packets went to a queue that the guest does not "
                          "use" % (sent_to(1) - second))
        guest.sh("channels eth0 2")
        w.wait(lambda: sent_to(1) > second + 100, 20,
               "nothing goes to the second queue")
    for sender in senders:
        sender.check_alive()
        sender.kill()
    w.check_idle()
    w.note("%d packets to queue 0, %d to queue 1, %d dropped", sent_to(0),
           sent_to(1), w.counters(guest.short)["tx_dropped"])
    w.wait(lambda: w.switch.sent_now(guest.short) - received() == before, 5,
           "not all arrived that was sent")
    talk(w, guest, host, 5)


def firmware(w):
    """iPXE loads a kernel over the port, that starts, and its driver takes the
    rings over on the same connection."""
    host = w.add_host()
    kernel, initramfs = image.make()
    shutil.copyfile(kernel, os.path.join(host.dir, "vmlinuz"))
    shutil.copyfile(initramfs, os.path.join(host.dir, "initramfs"))
    script = os.path.join(host.dir, "boot.ipxe")
    write(script, BOOT_SCRIPT % {"host": address(host),
                                 "args": image.KERNEL_ARGS})
    # What not all may read is not served.
    os.chmod(script, 0o644)
    guest = w.add_guest("g1", network=True)
    host.process("dnsmasq", "dnsmasq", "--no-daemon", "--conf-file=/dev/null",
                 "--port=0", "--interface=eth0", "--bind-interfaces",
                 "--dhcp-range=%s,%s" % (address(guest), address(guest)),
                 "--dhcp-leasefile=" + w.lab.path("leases"),
                 "--dhcp-boot=boot.ipxe", "--enable-tftp",
                 "--tftp-root=" + host.dir, "--user=root",
                 daemon=True, log=w.lab.log_path("dnsmasq"))
    w.boot(guest)
    copied = w.counters("g1")["tx_async_dma_bytes"]
    size = os.path.getsize(kernel) + os.path.getsize(initramfs)
    w.note("%d of %d KB that the firmware loaded went by DMA", copied >> 10,
           size >> 10)
    if copied < size / 2:
        raise Failure("the firmware's packets did not go by DMA")
    connections = len(re.findall(CONNECTED, read(w.switch.log)))
    if connections != 1:
        raise Failure("the guest connected %d times" % connections)
    talk(w, guest, host, 5)


def reboot(w, guest):
    """The guest reboots."""
    # With the link up, a kernel whose shutdown breaks virtqueues (Debian's
    # 6.1.192) now and then polls a broken one for ever.
    guest.start("ip link set eth0 down; reboot -f")
    w.boot(guest)


def killed(w, guest):
    """QEMU is killed, and another one comes, three times."""
    for _ in range(3):
        guest.kill()
        w.wait(lambda: w.port_line(guest.short) != "DMA", 5,
               "the port still believes in the guest that was killed")
        guest = w.replace_guest(guest)
        w.boot(guest)
        wait_for_dma(w, guest)
    return guest


SCENARIOS = {
    "driver-reload": (under_traffic(reload_driver), {}),
    "driver-unbind": (under_traffic(unbind), {}),
    "channels": (channels, {"queues": 2, "memory": 1280}),
    "firmware": (firmware, {}),
    "reboot": (under_traffic(reboot), {}),
    "guest-killed": (under_traffic(killed), {}),
    "driver-unbind-rx": (under_traffic(unbind), {"rx": True}),
    "reboot-rx": (under_traffic(reboot), {"rx": True}),
    "guest-killed-rx": (under_traffic(killed), {"rx": True}),
}
