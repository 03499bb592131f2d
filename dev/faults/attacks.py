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

"""Scenarios: guests do what they may not."""

import os
import subprocess
import threading
import time

from dev import lab as lablib
from dev.common.children import python
from dev.common.files import ROOT
from dev.faults import hostile
from dev.faults.bystander import Bystander, Targets
from dev.faults.packets import Failure
from dev.lab import LabError


class Attack(threading.Thread):
    """Sequences of one seed on one port, in a process of its own."""

    def __init__(self, w, path, first, last, step):
        super().__init__(daemon=True)
        command = python(hostile.__name__, path,
                         "--seed", str(w.seed), "--first", str(first),
                         "--last", str(last), "--step", str(step))
        for option in ("only", "include"):
            command += ["--" + option, getattr(w.args, option)]
        self.now = first
        self.n = self.steps = 0
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            preexec_fn=lablib.die_with_parent())
        self.other = []
        self.start()

    def run(self):
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["begin"]:
                self.now = int(words[1])
            elif words[:1] == ["done"]:
                self.n += 1
                self.steps += int(words[2])
            else:
                self.other.append(line.rstrip())

    def running(self):
        return self.process.poll() is None

    def stop(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        self.join()


def attack(w, attacks, seconds, look):
    """Lets them go on, and looks that all is well.  Returns how long."""
    begin = shown = time.monotonic()
    while any(a.running() for a in attacks):
        now = time.monotonic()
        if now - begin > seconds:
            break
        if now - shown > 20:
            shown = now
            lablib.say("  %d sequences" % sum(a.n for a in attacks))
        if not w.switch.vswitchd.alive():
            raise Failure("vswitchd ended")
        w.traffic.check()
        look()
        time.sleep(0.2)
    for a in attacks:
        if a.process.poll():
            a.join(1)
            raise Failure("sequence %d: %s" % (a.now, " ".join(a.other[-1:])))
    return time.monotonic() - begin


def broken(w):
    """Rings that are not used any more, because what the guest wrote there
    made no sense."""
    return w.coverage().get("vhost_async_broken", 0)


def copied(w):
    """Packets that went to the ports in server mode."""
    counters = [w.switch.counters(name) for name in w.server]
    return sum(c.get("tx_async_dma_packets", 0)
               + c.get("tx_async_cpu_packets", 0) for c in counters)


def hostile_guest(w):
    """Random sequences of what a guest may not do, with a fixed seed, on all
    ports in server mode; guests on others do not notice."""
    t = w.start_traffic()
    victims = [int(name[3:]) for name in w.server]
    others = [sink for i, sink in enumerate(w.sinks) if i not in victims]
    sinks = [w.sinks[i] for i in victims]
    n = w.rounds(10000)
    with w.unattended(*sinks):
        for sink in sinks:
            sink.disconnect()
        with t.paused():
            bystanders = [Bystander(sink) for sink in others]
        targets = Targets(w, others + [w.source])
        before = t.delivered(), copied(w)
        # Many packets go to guests that do not tell of any.
        t.PATIENCE = 0.01
        take_turns(w, n, victims, bystanders, targets)
        del t.PATIENCE
        w.note("%d packets were copied to them, others got %d meanwhile; %d "
               "bytes that these did not offer are as they were"
               % (copied(w) - before[1], t.delivered() - before[0],
                  sum(b.size() for b in bystanders)))
        w.note("%d writes of the engine looked at, %d of them to others"
               % (targets.n, targets.to_others))
        for sink in sinks:
            sink.restart()
    t.wait_delivered(300, 10)
    w.account(delivered=False, exact=False, touched=victims)
    for bystander in bystanders:
        bystander.check()


def take_turns(w, n, victims, bystanders, targets):
    """'n' sequences, in as many processes as there are 'victims'."""
    before = broken(w)

    def look():
        for bystander in bystanders:
            bystander.check()
        if not w.args.stock:
            targets.check()

    attacks = []
    try:
        attacks = [Attack(w, w.paths["dst%d" % i], k, n, len(victims))
                   for k, i in enumerate(victims)]
        took = attack(w, attacks, w.seconds, look)
        look()
    except (LabError, OSError, Failure) as e:
        w.switch.vswitchd._wait(2)
        raise Failure("%s; vswitchd's status: %s; sequences %s of seed %d"
                      % (e, w.switch.vswitchd.popen.returncode,
                         ", ".join(str(a.now) for a in attacks), w.seed))
    finally:
        for a in attacks:
            a.stop()
    done = sum(a.n for a in attacks)
    n_broken = broken(w) - before
    w.note("%d sequences, %d steps in %d s; %d rings broken"
           % (done, sum(a.steps for a in attacks), took, n_broken))
    if done >= 300 and not n_broken and not w.args.stock:
        raise Failure("no ring was broken")
    # In a soak it is as many as there is time for.
    if done < n and w.seconds > 60:
        raise Failure("no more than %d of %d sequences within %d s"
                      % (done, n, w.seconds))


def hostile_sigbus(w):
    """A guest cuts its memory short: with any vhost-user back end that maps
    it, stock Open vSwitch as well, access to it is a SIGBUS."""
    w.start_traffic()
    sink = w.sinks[0]
    w.watch.stop = True
    # Nor may we look at it any more.
    w.traffic.unattended.update(w.guests)
    with w.traffic.paused():
        os.ftruncate(sink.memory.fd, 0)
    w.switch.vswitchd._wait(3)
    status = w.switch.vswitchd.popen.returncode
    w.note("vswitchd %s" % ("lives" if status is None
                            else "ended: %s" % status))
