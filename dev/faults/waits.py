"""Scenarios: an engine hangs, its driver does not return, a guest's message is
half sent; whoever has nothing to do with them does not wait."""

import contextlib
import os

from dev.faults.frontend import GET_FEATURES, HEADER, VERSION
from dev.faults.packets import Failure
from dev.faults.ports import expect_nothing_lost

# What an answer may take longer than before, in seconds.
LIMIT = 0.1
# PMD threads that reload wait for their own copies, as long as their engine
# may take before it is quarantined.
RELOAD_LIMIT = 1.2


# Prints the seconds that a command takes.  It goes before the threads that
# poll, which may be on all cores.
TIMED = ("env", "LC_ALL=C", "chrt", "--fifo", "1", "bash", "-c",
         'TIMEFORMAT=%R; { time "$@" > /dev/null; } 2>&1', "bash")


def commands(w):
    """What is asked for, by name, and the limit of each."""
    def timed(command, *args):
        return lambda: float(command(*args, prefix=TIMED).split()[-1])

    appctl, vsctl = w.switch.appctl, w.switch.vsctl
    return {
        "dma-show": (timed(appctl, "dpif-netdev/dma-show"), LIMIT),
        "pmd-perf-show": (timed(appctl, "dpif-netdev/pmd-perf-show"), LIMIT),
        "statistics": (timed(w.switch.ofctl, "-O", "OpenFlow14", "dump-ports",
                             "br0", "dst2"), LIMIT),
        "database": (timed(vsctl, "get", "Interface", "dst2", "statistics"),
                     LIMIT),
        "dma-stats-clear": (timed(appctl, "dpif-netdev/dma-stats-clear"),
                            LIMIT),
        "add-port": (timed(
            vsctl, "add-port", "br0", "other", "--", "set", "Interface",
            "other", "type=dpdkvhostuserclient", "options:vhost-server-path="
            + w.lab.path("other.sock")), RELOAD_LIMIT),
        "del-port": (timed(vsctl, "del-port", "other"), RELOAD_LIMIT),
        "vhost-async=false": (timed(
            vsctl, "set", "Interface", "dst2", "options:vhost-async=false"),
            RELOAD_LIMIT),
        "vhost-async=true": (timed(
            vsctl, "remove", "Interface", "dst2", "options", "vhost-async"),
            RELOAD_LIMIT),
    }


@contextlib.contextmanager
def before_pmd_threads(*pids):
    """Has the main threads of these processes go before the threads that
    poll.  Threads that they start do not.  Not for commands that reload PMD
    threads, for which the main thread spins: nor is it more than a large
    weight, since an earlier command may have it reload at any time, and a
    real-time thread that spins on the core of a PMD thread waits for itself,
    until the kernel makes it pause, 0.95 s later."""
    def weigh(policy, nice):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(pid, policy, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, pid, nice)

    try:
        weigh(os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, -20)
        yield
    finally:
        weigh(os.SCHED_OTHER, 0)


def ask(w):
    """How many seconds each command takes."""
    took = {}
    for name, (command, limit) in commands(w).items():
        pids = (() if limit == RELOAD_LIMIT
                else (w.switch.ovsdb.pid, w.switch.vswitchd.pid))
        with before_pmd_threads(*pids):
            took[name] = command()
    return took


def ask_before(w):
    """What it takes without a fault: the least, since that sets limits."""
    first, second = ask(w), ask(w)
    return {name: min(first[name], second[name]) for name in first}


def expect_answers(w, before, when):
    """Who waits for what is there does so each time; the main thread may be
    at the end of something else once."""
    limits = {name: before[name] + limit
              for name, (_, limit) in commands(w).items()}
    took = ask(w)
    for _ in range(2):
        if any(took[name] > limits[name] for name in limits):
            once_more = ask(w)
            took = {name: min(took[name], once_more[name]) for name in took}
    worst = max(took, key=lambda name: took[name] - before[name])
    w.note("%s: %s took %.2f s longer" % (when, worst,
                                          took[worst] - before[worst]))
    slow = ["%s took %.2f s, before %.2f s" % (name, took[name], before[name])
            for name in limits if took[name] > limits[name]]
    if slow:
        raise Failure("%s: %s" % (when, ", ".join(slow)))


def half_a_message(sink):
    """The vhost library's thread waits for the rest, which is returned: it
    takes a payload that comes in two for one that is too short."""
    payload = b"\0" * 8
    sink.sock.sendall(HEADER.pack(GET_FEATURES, VERSION, len(payload)))
    return payload


def nobody_waits(w):
    """An engine hangs, its stop does not return, a guest sends half a message:
    one by one and together."""
    w.start_traffic()
    before = ask_before(w)
    rest = half_a_message(w.sinks[1])
    expect_answers(w, before, "half a message")
    w.page.block("stop")
    w.page.vchan().hang()
    expect_answers(w, before, "with an engine that hangs")
    expect_answers(w, before, "with a stop that blocks")
    w.sinks[1].sock.sendall(rest)
    w.sinks[1].receive()
    w.page.clear()
    w.traffic.wait_delivered(300, 10)
    expect_nothing_lost(w, limit=None)


def stop_blocks(w):
    """DMA is turned off, and the driver of an idle engine does not return."""
    t = w.start_traffic()
    before = ask_before(w)
    w.page.block("stop")
    w.switch.set("vhost-async-support", "false")
    t.wait_delivered(300, 10)
    expect_answers(w, before, "with a stop that blocks")
    w.switch.set("vhost-async-support", "true")
    t.wait_delivered(300, 10)
    expect_answers(w, before, "on again")
    w.page.clear()
    t.wait_delivered(300, 10)
    expect_nothing_lost(w, limit=None)
