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

# Scenarios: guests that talk to each other and to the host, in all the ways in
# which a port and a guest can be set up.

import re

from dev.guests.stage import (Failure, deliver, guest_and_host, ping, talk,
                              two_guests)

# What a guest that has none of these offers neither sends nor takes.
NO_OFFLOADS = (",csum=off,gso=off,guest_csum=off,guest_tso4=off,"
               "guest_tso6=off,guest_ecn=off,guest_ufo=off,host_tso4=off,"
               "host_tso6=off,host_ecn=off,host_ufo=off")
MAX_CONNECTIONS = 15
TSO = {"userspace-tso-enable": "true"}

VIRTIO_F_RING_PACKED = 34


def guest_host(w):
    """A guest and the host: pings and a file of 20 MB, both ways."""
    talk(w, *guest_and_host(w))


def guest_guest(w):
    """Two guests: pings and a file of 20 MB, both ways."""
    talk(w, *two_guests(w))


def packed_ring(w):
    """Two guests with packed rings: pings and a file of 20 MB, both ways."""
    a, b = two_guests(w)
    features = a.sh("cat /sys/bus/virtio/devices/virtio0/features")
    if features[VIRTIO_F_RING_PACKED] != "1":
        raise Failure("the guest has no packed ring: its features are "
                      + features)
    talk(w, a, b)


def txqs_on_dma(w, port):
    """Those that were copied to by DMA, by what dma-show says."""
    shown = w.switch.appctl("dpif-netdev/dma-show")
    section = re.search(r"^port %s: .*\n((?:  .*\n?)*)" % port, shown,
                        re.M)[1]
    return re.findall(r"txq (\d+): DMA\n *by DMA: (?!0 )", section)


def multiqueue(w):
    """Guests with two queue pairs, both of which are copied to by DMA."""
    a, b = two_guests(w)
    for port in ("g1", "g2"):
        w.switch.vsctl("set", "Interface", port,
                       "other_config:tx-steering=hash")
    ping(a, b)
    # A connection's port, which is random, decides about its txq.
    for _ in range(MAX_CONNECTIONS):
        deliver(w, a, b, 2)
        deliver(w, b, a, 2)
        used = [txqs_on_dma(w, port) for port in ("g1", "g2")]
        if all(len(txqs) == 2 for txqs in used):
            break
    else:
        raise Failure("after %d connections, of each guest's two txqs these "
                      "were copied to by DMA: %s" % (MAX_CONNECTIONS, used))
    w.check_idle()


SCENARIOS = {
    "guest-host": (guest_host, {}),
    "guest-host-jumbo": (guest_host, {"mtu": 9000}),
    "guest-guest": (guest_guest, {"device": NO_OFFLOADS}),
    "guest-guest-jumbo": (guest_guest, {"mtu": 9000}),
    # What goes from one to the other is never segmented.
    "tso": (guest_guest, {"config": TSO, "frames": (4000, 65550)}),
    "tso-no-offloads": (guest_guest, {"config": TSO, "device": NO_OFFLOADS}),
    "multiqueue": (multiqueue, {"queues": 2}),
    "packed-ring": (packed_ring, {"device": ",packed=on"}),
    "guest-guest-rx": (guest_guest, {"device": NO_OFFLOADS, "rx": True}),
    "tso-rx": (guest_guest, {"config": TSO, "frames": (4000, 65550),
                             "rx": True}),
    "packed-ring-rx": (packed_ring, {"device": ",packed=on", "mtu": 9000,
                                     "rx": True}),
}
