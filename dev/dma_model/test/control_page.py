# Cases: the control page, and the command that writes it.

import errno
import os
import time

from dev.common.children import capture, python
from dev.common.files import ROOT, read
from dev.dma_model import ctl
from dev.dma_model.test.fixture import Device, case, check, same


@case
def access_log(bench):
    """The log has address, length and time of each access."""
    with Device(bench, "latency_us=0,log=16") as d:
        before = time.monotonic_ns()
        d.copy(3, 100)
        same(d.reap(3), 3, "completions")
        log = d.page.log()
        same([(a.seq, a.length) for a in log], [(1, 100), (2, 100), (3, 100)],
             "the log")
        same([b.dst - a.dst for a, b in zip(log, log[1:])], [65536] * 2,
             "from one target to the next")
        check(before < log[0].ns <= log[1].ns <= log[2].ns
              <= time.monotonic_ns(), "times are %s", [a.ns for a in log])
        check(log[0].tsc < log[1].tsc < log[2].tsc, "out of order")
        same(d.vchan.last_ns, log[2].ns, "the last access")
        same(d.page.log(log[0].ns), log[1:], "accesses since the first")
        d.copy(30, 100)
        same(d.reap(30), 30, "completions")
        same([a.seq for a in d.page.log()], list(range(18, 34)),
             "the log when it is full")
        same((d.vchan.n_log, d.vchan.bytes_moved), (33, 3300), "the page")


@case
def page_files(bench):
    """What cannot be a control page is refused, and nothing of it changed."""
    p = bench.program

    def refused(path, word, extra=""):
        size = bench.log_size()
        error = p("probe", "dma_model1", "control=%s%s" % (path, extra))[0]
        check(error < 0, "%s was accepted", path)
        text = bench.logged(size)
        check(path in text and word in text, "%s: the log is: %s", path, text)

    other = bench.path("other")
    for text in ("something else", "x" * 5000):
        with open(other, "w") as f:
            f.write(text)
        refused(other, "no control page")
        same(read(other), text, "the file")
    os.unlink(other)
    os.mkdir(other)
    refused(other, "cannot open")
    os.rmdir(other)
    os.symlink("/nowhere", other)
    refused(other, "cannot open")
    os.unlink(other)
    os.mkfifo(other)
    refused(other, "")
    os.unlink(other)

    with Device(bench, "log=16") as d:
        refused(d.page.path, "another device", ",log=16")
        page = d.page
        d.vchan.hang()
        d.copy(1)
    refused(page.path, "another number", ",log=32")
    # Of the same size it is the same file, made anew: who has it mapped sees
    # the new device.
    error, dev = p("probe", "dma_model1", "control=%s,log=16" % page.path)
    same(error, 0, "probe")
    same((page.vchan().submitted, page.vchan().in_force, page.vchan().seen),
         (0, [], True), "the page")
    p("remove", "dma_model1")


@case
def command(bench):
    """The command ctl.py does what the module does."""
    tool = python(ctl.__name__)
    with Device(bench, "latency_us=0", vchans=2) as d:
        def call(*args, expect=0):
            status, text = capture(tool + list(args[:-1]) + [d.page.path]
                                   + args[-1].split(), cwd=ROOT)
            same(status, expect, "%s: %s" % (args[-1], text.strip()))
            return text

        d.copy(2)
        same(d.reap(2), 2, "completions")
        check("submitted 2, completed 2" in call("show"), "show: %s",
              call("show"))
        same(len(call("log").splitlines()), 2, "lines of the log")
        same(call("log --seconds 1e-6"), "", "the log of a microsecond")
        call("--vchan=1", "hang --seconds 100")
        d("poll", 0, 1)
        d("poll", 1, 1)
        same((d.page.vchan(0).in_force, d.page.vchan(1).in_force),
             ([], ["hang"]), "in force")
        call("recover")
        call("refuse --errno ENOSPC --at 2 --count 1")
        same(d("enqueue", 0, 10, 5), [1, -errno.ENOSPC], "copies")
        call("error --status page-fault")
        d.copy(1)
        call("full")
        same(d("capacity", 1), [0], "capacity")
        call("fail stop --count 1")
        same(d("stop"), [-errno.EIO], "stop")
        check("calls that fail: none" in call("show"), "count is not used up")
        call("clear")
        same(d("capacity", 1), [64], "capacity")
        text = call("--wait=.01", "hang", expect=1)
        check("nobody has used" in text, "without a user: %s", text)
        for args in (("--vchan=2", "hang"), ("--vchan=-1", "hang")):
            check("has 2" in call(*args, expect=1), "%s", args)
    status, text = capture(tool + [bench.path("none"), "show"], cwd=ROOT)
    check(status == 1 and "no control page" in text, "no page: %s", text)
