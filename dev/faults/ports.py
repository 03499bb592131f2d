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

"""Scenarios: the operator changes ports and threads, or ends the switch."""

import contextlib
import os
import signal
import time

from dev import lab as lablib
from dev.faults.packets import Failure
from dev.faults.world import TWO_CORES


def end_process(w, end, limit, what):
    vswitchd = w.switch.vswitchd
    w.watch.stop = True
    begin = time.monotonic()
    end()
    if not vswitchd._wait(limit + 5):
        raise Failure("%s: vswitchd did not end within %d s"
                      % (what, limit + 5))
    took = time.monotonic() - begin
    w.traffic.ending = True
    w.note("%s: ended after %.2f s, status %s"
           % (what, took, vswitchd.popen.returncode))
    if took > limit:
        raise Failure("%s took %.2f s" % (what, took))
    if vswitchd.popen.returncode not in (0, -signal.SIGTERM):
        raise Failure("%s: status %s" % (what, vswitchd.popen.returncode))
    bad = []
    w.check_flows(bad)
    if bad:
        raise Failure("; ".join(bad))


def expect_nothing_lost(w, stopped=None, **account):
    """Each packet arrives that the guest has buffers for, and no guest
    connects again.  What waited in the completion engine's ring for the sink
    'stopped' may be dropped: that one stopped its own."""
    w.account(**account)
    for name, sink in zip(w.names[1:], w.sinks):
        c = {key: n - w.before[name].get(key, 0)
             for key, n in w.at_end[name].items()}
        lost = w.lost_in_flight(c)
        if sink is not stopped:
            lost += w.lost_out_of_ring(c)
        if lost:
            raise Failure("%s: %d packets lost" % (name, lost))
        if w.traffic.reconnects[sink] != w.reconnects[sink]:
            raise Failure("the guest of %s had to connect again" % name)


def delete_and_add(w, port, **account):
    t = w.start_traffic()
    for _ in range(w.rounds(5)):
        w.wait_in_flight()
        w.switch.vsctl("del-port", port)
        w.add_port(port)
        t.wait_delivered(200, 15)
    w.account(exact=False, **account)


def delete_port(w):
    """The sink's port is deleted and added again, copies in flight."""
    delete_and_add(w, "dst0", delivered=False)


def delete_bridge(w):
    """The bridge is deleted and made again, copies in flight."""
    t = w.start_traffic()
    for _ in range(w.rounds(3)):
        w.wait_in_flight()
        w.switch.vsctl("del-br", "br0")
        w.switch.add_bridge()
        w.flow_rules()
        for name in w.names:
            w.add_port(name)
        w.spread_source()
        t.wait_delivered(200, 15)
    w.account(delivered=False, exact=False, limit=None)


def delete_source(w):
    """The port is deleted whose mbufs are in flight."""
    delete_and_add(w, "src", limit=None)


def change_mtu(w):
    """The MTU of sink and source changes: other mempools, and reloads."""
    t = w.start_traffic()
    for mtu in (1500, 9000, 3000, 9100, 9000):
        w.wait_in_flight()
        w.switch.vsctl("set", "Interface", "dst0", "mtu_request=%d" % mtu)
        # A packet of a guest that is larger than its port's MTU gets lost in
        # the vhost library, which Open vSwitch asks for linear buffers.
        w.switch.vsctl("set", "Interface", "src",
                       "mtu_request=%d" % max(mtu, 9050))
        t.wait_delivered(100, 15)
    w.account(exact=False)


def unpin_source(w):
    w.switch.vsctl("remove", "Interface", "src", "other_config",
                   "pmd-rxq-affinity")


def change_pmd_mask(w):
    """pmd-cpu-mask changes: threads come and go."""
    # A thread that a queue is pinned to gets no other one, and so a queue
    # whose thread goes would be polled by nobody.
    unpin_source(w)
    t = w.start_traffic()
    idle = []
    for mask in ("0x1", "0x2", "0x3", "0x1", "0x3", "0x2"):
        try:
            w.wait_in_flight()
        except Failure:
            # Of two threads the one without the port may have the channel.
            idle.append(mask)
        w.switch.set("pmd-cpu-mask", mask)
        t.wait_delivered(300, 15)
    w.wait_in_flight()
    if w.pmds == 2:
        w.switch.set("pmd-cpu-mask", TWO_CORES)
    w.spread_source()
    w.note("%d changes without copies in flight" % len(idle))
    # Ports with several queues are reconfigured, which clears counters.
    w.account(exact=False if w.pairs > 1 else None, limit=None)


def rebalance(w):
    """Rx queues move between two PMD threads, of which one or both have a
    channel."""
    t = w.start_traffic()
    for round_ in range(w.rounds(4)):
        with contextlib.suppress(Failure):
            w.wait_in_flight(1, 0.5)
        w.switch.vsctl("set", "Interface", "src",
                       'other_config:pmd-rxq-affinity="0:%d"' % (round_ % 2))
        w.switch.appctl("dpif-netdev/pmd-rxq-rebalance")
        t.wait_delivered(300, 15)
    unpin_source(w)
    w.spread_source()
    w.account(limit=None)


def submitted(w):
    return sum(page.vchan().submitted for page in w.pages)


def option_off_on(w):
    """vhost-async-support goes off and on."""
    t = w.start_traffic()
    for value in ("false", "true") * w.rounds(3):
        if value == "false":
            w.wait_in_flight()
        w.switch.set("vhost-async-support", value)
        t.wait_delivered(300, 15)
        time.sleep(0.3)
    n = submitted(w)
    t.wait_delivered(300, 15)
    if submitted(w) == n:
        raise Failure("no copies by DMA at the end")
    expect_nothing_lost(w, limit=None)


def port_option_off_on(w):
    """options:vhost-async of the sink goes off and on."""
    t = w.start_traffic()
    for value in ("false", "true") * w.rounds(3):
        w.switch.vsctl("set", "Interface", "dst0",
                       "options:vhost-async=" + value)
        t.wait_delivered(300, 15)
        time.sleep(0.3)
    expect_nothing_lost(w)


def sigterm(w):
    """SIGTERM with copies in flight."""
    w.start_traffic()
    w.wait_in_flight()
    end_process(w, lambda: w.switch.vswitchd.signal(signal.SIGTERM), 5,
                "SIGTERM")


def exit_cleanup(w):
    """ovs-appctl exit --cleanup with copies in flight."""
    w.start_traffic()
    w.wait_in_flight()
    end_process(w, lambda: w.switch.appctl("exit", "--cleanup"), 5,
                "ovs-appctl exit --cleanup")


def vswitchd_killed(w):
    """kill -9 of vswitchd: the guests stay and reconnect."""
    t = w.start_traffic()
    outages = []
    for _ in range(w.rounds(3)):
        w.wait_in_flight()
        w.watch.suspend(True)
        begin = time.monotonic()
        w.switch.vswitchd.kill()
        for name in w.server:
            # Whose socket is left lying about cannot make it again.
            os.unlink(w.paths[name])
        w.switch.start()
        lablib.Switch.wait_for(w.switch.has_bridge, 10, w.switch.vswitchd,
                               "there is no bridge")
        w.flow_rules()
        t.wait_delivered(1, 30)
        outages.append(time.monotonic() - begin)
        w.open_pages()
        t.wait_delivered(300, 10)
        w.watch.suspend(False)
    w.note("outage %s s" % ", ".join("%.2f" % o for o in outages))
    # What a guest had in its ring is copied to once more.
    w.account(exact=False, delivered=False, limit=None)
    w.note("longest pause %.2f s"
           % max(flow.longest_gap for flow in t.flows))
