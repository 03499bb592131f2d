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

"""The guest that sends, from which packets come by DMA, too."""

from dev.faults import frontend
from dev.faults.frontend import TX
from dev.faults.packets import Failure
from dev.faults.ports import expect_nothing_lost

PORT = "src"


def received(w):
    """Packets that came by DMA."""
    return w.switch.counters(PORT).get("rx_async_dma_packets", 0)


def expect_received_by_dma(w, before):
    n = received(w) - before
    w.note("%d packets received by DMA" % n)
    if n <= 0:
        raise Failure("nothing was received by DMA")


def set_mem_table(w):
    """SET_MEM_TABLE of the source with copies in flight: the old memory does
    not stay for long, and each packet comes once."""
    t = w.start_traffic()
    before = received(w)
    pid = w.switch.vswitchd.pid
    for _ in range(w.rounds(10)):
        t.wait_delivered(200, 20)
        w.wait_in_flight()
        name = w.source.memory.name
        w.source.swap_memory()
        if not frontend.wait_unmapped(pid, name, 5):
            raise Failure("vswitchd goes on mapping the old memory")
    t.wait_delivered(200, 20)
    expect_received_by_dma(w, before)
    expect_nothing_lost(w, limit=None)


def get_vring_base(w):
    """GET_VRING_BASE of the source with copies in flight: what did not come up
    is told to be there still, and comes up later, once.  All virtqueues stop,
    as those of virtual machines do: of a queue that goes on while another
    stops, DPDK does not say that it is enabled when the guest is ready again,
    so that no switch receives from it."""
    t = w.start_traffic()
    before = received(w)
    queues = w.source.queues
    left = []
    for _ in range(w.rounds(10)):
        t.wait_delivered(200, 20)
        w.wait_in_flight()
        bases = [w.source.get_vring_base(queue.index) for queue in queues]
        left += [queue.missing(base)
                 for queue, base in zip(queues[TX::2], bases[TX::2])]
        for queue, base in zip(queues, bases):
            w.source.setup_vring(queue.index, base)
        for queue in queues:
            w.source.enable(queue.index)
    t.wait_delivered(200, 20)
    w.note("last_avail_idx less used index: %s" % sorted(set(left)))
    if any(left):
        raise Failure("%s descriptors did not come back" % left)
    expect_received_by_dma(w, before)
    expect_nothing_lost(w, limit=None)


def resume(w):
    """The source connects anew, as a guest of a host that restarts its switch
    does, with copies in flight: it did not get their buffers back, and each
    packet comes once."""
    t = w.start_traffic()
    before = received(w)
    for _ in range(w.rounds(10)):
        t.wait_delivered(200, 20)
        w.wait_in_flight()
        with t.paused():
            w.source.resume()
        w.reconnects[w.source] = t.reconnects[w.source]
    t.wait_delivered(200, 20)
    expect_received_by_dma(w, before)
    expect_nothing_lost(w, limit=None)


def option_off_on(w):
    """vhost-async-rx goes off and on: rings are taken over in traffic, and no
    packet notices."""
    t = w.start_traffic()
    for value in ("false", "true") * w.rounds(3):
        w.wait_in_flight()
        w.switch.set("vhost-async-rx", value)
        t.wait_delivered(300, 15)
    before = received(w)
    t.wait_delivered(300, 15)
    expect_received_by_dma(w, before)
    expect_nothing_lost(w)
