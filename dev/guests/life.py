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

from dev.guests.stage import address, guest_and_host, ping, talk


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
    "reboot": (under_traffic(reboot), {}),
    "guest-killed": (under_traffic(killed), {}),
}
