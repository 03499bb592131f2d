# The control page of a dma_model device: what goes on in the engine, and how
# to make it misbehave.  A command ('python3 -m dev.dma_model.ctl --help') and
# a module:
#
#     page = ctl.ControlPage("/run/dma0")
#     page.vchan().hang()
#     page.vchan().wait_seen(1)
#     ...
#     page.clear()
#
# 'struct page' in dma_model_page.h says what the fields mean.

import argparse
import collections
import contextlib
import ctypes
import errno
import fcntl
import mmap
import sys
import time

from dev.common.command import program

MAGIC = 0x4c45444f4d414d44
VERSION = 1
BLOCKS = 0xffffffff

OPS = ("info", "configure", "setup", "start", "stop", "close", "stats")

HANG, ERROR, REFUSE, FULL = 1, 2, 4, 8
FAULTS = (("hang", HANG), ("error", ERROR), ("refuse", REFUSE),
          ("full", FULL))

# Of enum rte_dma_status_code.
STATUS = {"user-abort": 1, "not-attempted": 2, "invalid-src": 3,
          "invalid-dst": 4, "invalid-addr": 5, "invalid-length": 6,
          "invalid-opcode": 7, "bus-read": 8, "bus-write": 9, "bus": 10,
          "data-poison": 11, "descriptor-read": 12, "dev-link": 13,
          "page-fault": 14, "unknown": 0x100}

Access = collections.namedtuple("Access", "seq tsc ns dst src length")


class PageError(Exception):
    """Its text is all that the user needs to see."""


class _Op(ctypes.Structure):
    _fields_ = [("error", ctypes.c_uint32), ("count", ctypes.c_uint32),
                ("n_calls", ctypes.c_uint64)]


class _Page(ctypes.Structure):
    _fields_ = [("magic", ctypes.c_uint64), ("version", ctypes.c_uint32),
                ("n_vchans", ctypes.c_uint32), ("log_size", ctypes.c_uint32),
                ("started", ctypes.c_uint32), ("pid", ctypes.c_int32),
                ("moves", ctypes.c_uint32), ("tsc_hz", ctypes.c_uint64),
                ("start_ns", ctypes.c_uint64), ("stop_ns", ctypes.c_uint64),
                ("unused", ctypes.c_uint64), ("ops", _Op * 8)]


class _Range(ctypes.Structure):
    _fields_ = [("at", ctypes.c_uint64), ("n", ctypes.c_uint64)]


class _Ctl(ctypes.Structure):
    _fields_ = [("generation", ctypes.c_uint64), ("faults", ctypes.c_uint32),
                ("refuse_errno", ctypes.c_uint32),
                ("hang_us", ctypes.c_uint64), ("error", _Range),
                ("refuse", _Range), ("error_status", ctypes.c_uint32),
                ("unused", ctypes.c_uint32)]


COUNTERS = ("submitted", "completed", "bytes", "polls", "errors", "refused",
            "aborted", "bytes_moved", "n_log", "last_ns")


class _State(ctypes.Structure):
    _fields_ = ([("seen", ctypes.c_uint64), ("in_force", ctypes.c_uint32),
                 ("n_desc", ctypes.c_uint32)]
                + [(name, ctypes.c_uint64) for name in COUNTERS]
                + [("unused", ctypes.c_uint64 * 4)])


class _Access(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in Access._fields]


def _fault_names(faults):
    return [name for name, bit in FAULTS if faults & bit]


class Vchan:
    """A vchan of the page; ControlPage.vchan() makes it."""

    def __init__(self, page, base):
        self._page = page
        self._ctl = _Ctl.from_buffer(page._map, base)
        base += ctypes.sizeof(_Ctl)
        self._state = _State.from_buffer(page._map, base)
        base += ctypes.sizeof(_State)
        self._log = (_Access * page.log_size).from_buffer(page._map, base)

    # Faults.  Each adds to what is in force; to add one starts all counting
    # anew.

    @contextlib.contextmanager
    def _change(self):
        ctl = self._ctl
        with self._page._locked():
            generation = ctl.generation
            ctl.generation = generation | 1
            try:
                yield ctl
            finally:
                ctl.generation = (generation | 1) + 1

    def hang(self, seconds=0):
        """Nothing completes and no byte is moved, for so long or, with 0,
        until recover()."""
        with self._change() as ctl:
            # 0 means for ever.
            ctl.hang_us = max(int(seconds * 1e6), 1) if seconds else 0
            ctl.faults |= HANG

    def recover(self):
        """Ends a hang: what was caught in it completes now."""
        with self._change() as ctl:
            ctl.faults &= ~HANG

    def error(self, at=1, count=1, status="bus-write"):
        """The 'at'th copy from now on and those after, 'count' in all or,
        with 0, all, fail with that status: their bytes are not moved."""
        with self._change() as ctl:
            ctl.error.at, ctl.error.n = at, count
            ctl.error_status = STATUS.get(status, status)
            ctl.faults |= ERROR

    def refuse(self, error=errno.EIO, at=1, count=0):
        """rte_dma_copy() returns -error, likewise."""
        with self._change() as ctl:
            ctl.refuse.at, ctl.refuse.n = at, count
            ctl.refuse_errno = error
            ctl.faults |= REFUSE

    def full(self):
        """There is no room in the ring."""
        with self._change() as ctl:
            ctl.faults |= FULL

    def clear(self):
        with self._change() as ctl:
            ctl.faults = 0

    @property
    def seen(self):
        """Whether what was asked for last is in force, and no call from
        before is still at work."""
        return self._state.seen == self._ctl.generation

    def wait_seen(self, timeout=5):
        """Waits for that.  False if nobody has used the vchan until then."""
        return _wait(lambda: self.seen, timeout)

    # What is.

    @property
    def in_force(self):
        return _fault_names(self._state.in_force)

    @property
    def in_flight(self):
        """Copies that a started engine may still carry out."""
        # In this order it is never too small.
        done = self._state.completed + self._state.aborted
        return self._state.submitted - done

    def wait_idle(self, timeout=5):
        return _wait(lambda: not self.in_flight, timeout)

    def counters(self):
        """A dict of COUNTERS."""
        return {name: getattr(self._state, name) for name in COUNTERS}

    def __getattr__(self, name):
        if name in COUNTERS:
            return getattr(self._state, name)
        raise AttributeError(name)

    def log(self, since_ns=0):
        """The accesses that ended after 'since_ns' of CLOCK_MONOTONIC (which
        is time.monotonic_ns()) or have not ended, oldest first, as far as the
        log goes back."""
        found = []
        for entry in self._log:
            seq = entry.seq
            access = Access(*(getattr(entry, f) for f in Access._fields))
            if (seq and seq == entry.seq == access.seq
                    and not 0 < access.ns <= since_ns):
                found.append(access)
        return sorted(found)


class ControlPage:
    """The control page at 'path', which is waited for so many seconds."""

    def __init__(self, path, wait=0):
        self.path = path
        if not _wait(self._open, wait):
            raise PageError("%s is no control page: start a device with "
                            "--vdev=dma_model0,control=%s first, as the same "
                            "user" % (path, path))
        step = (ctypes.sizeof(_Ctl) + ctypes.sizeof(_State)
                + self.log_size * ctypes.sizeof(_Access))
        step = -(-step // 64) * 64
        self.vchans = [Vchan(self, ctypes.sizeof(_Page) + i * step)
                       for i in range(self._page.n_vchans)]

    def _open(self):
        with contextlib.suppress(OSError, ValueError):
            f = open(self.path, "r+b", buffering=0)
            page = _Page.from_buffer_copy(f.read(ctypes.sizeof(_Page)))
            if page.magic == MAGIC and page.version == VERSION:
                self._file = f
                self._map = mmap.mmap(f.fileno(), 0)
                self._page = _Page.from_buffer(self._map)
                return True
        return False

    @contextlib.contextmanager
    def _locked(self):
        """Two tools must not change one page at once."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def vchan(self, i=0):
        return self.vchans[i]

    def fail(self, op, error=errno.EIO, count=0):
        """The call 'op' of the device, one of OPS, fails with that errno:
        'count' times or, with 0, until clear()."""
        entry = self._page.ops[OPS.index(op)]
        with self._locked():
            # The device looks at 'error' first.
            entry.error = 0
            entry.count = count
            entry.error = error

    def block(self, op):
        """The call 'op' of the device does not return until clear()."""
        with self._locked():
            self._page.ops[OPS.index(op)].error = BLOCKS

    def clear(self):
        """No faults any more."""
        with self._locked():
            for op in self._page.ops:
                op.error = 0
        for vchan in self.vchans:
            vchan.clear()

    def calls(self, op):
        """How often 'op' was called, successful or not."""
        return self._page.ops[OPS.index(op)].n_calls

    def failing(self):
        return [op for i, op in enumerate(OPS) if self._page.ops[i].error]

    @property
    def started(self):
        return bool(self._page.started)

    @property
    def in_flight(self):
        """What a started engine may still carry out, on all vchans."""
        if not self.started:
            return 0
        return sum(v.in_flight for v in self.vchans)

    def log(self, since_ns=0):
        """Vchan.log() of all, by time."""
        return sorted((a for v in self.vchans for a in v.log(since_ns)),
                      key=lambda a: a.tsc)

    def __getattr__(self, name):
        if name in ("log_size", "pid", "moves", "tsc_hz", "start_ns",
                    "stop_ns"):
            return getattr(self._page, name)
        raise AttributeError(name)


def _wait(condition, timeout):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(.001)
    return True


# The command.

def show(page):
    print("process %d, engine %s, %s" % (
        page.pid, "started" if page.started else "stopped",
        "bytes are moved" if page.moves else "nothing is moved"))
    print("calls: " + ", ".join("%s %d" % (op, page.calls(op))
                                for op in OPS if op != "stats"))
    print("calls that fail: " + (", ".join(page.failing()) or "none"))
    for i, vchan in enumerate(page.vchans):
        state = vchan.counters()
        print("vchan %d: %d in flight" % (i, vchan.in_flight))
        print("  " + ", ".join("%s %d" % (name, state[name])
                               for name in COUNTERS if name != "last_ns"))
        if state["last_ns"]:
            print("  last access to memory: %.6f s ago"
                  % ((time.monotonic_ns() - state["last_ns"]) / 1e9))
        print("  faults in force: %s%s"
              % (", ".join(vchan.in_force) or "none", "" if vchan.seen
                 else "; what was asked for last is not seen yet"))


def show_log(page, seconds):
    since = time.monotonic_ns() - int(seconds * 1e9) if seconds else 0
    for a in page.log(since):
        print("%d.%09d dst 0x%x src 0x%x length %d%s"
              % (a.ns // 10**9, a.ns % 10**9, a.dst, a.src, a.length,
                 "" if a.ns else " (at work)"))


def number(text):
    return int(text, 0)


def errno_number(text):
    try:
        return getattr(errno, text) if text[:1] == "E" else int(text)
    except (AttributeError, ValueError):
        raise argparse.ArgumentTypeError("%s is no errno; give a name as "
                                         "ENOSPC or a number" % text)


def parse_args():
    parser = argparse.ArgumentParser(
        prog=program(), description="Shows what a dma_model engine does, and "
        "makes it misbehave.")
    parser.add_argument("--vchan", type=number, metavar="N",
                        help="of this vchan only, not of all")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS",
                        help="wait for the page, and for a fault to be in "
                        "force")
    parser.add_argument("path", metavar="PATH",
                        help="what the device has as control=PATH")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    what.add_parser("show", help="counters and faults")
    p = what.add_parser("log", help="the last accesses to memory")
    p.add_argument("--seconds", type=float, default=0,
                   help="only those of the last so many seconds")
    p = what.add_parser("hang", help="complete nothing")
    p.add_argument("--seconds", type=float, default=0,
                   help="for so long; until 'recover' unless given")
    what.add_parser("recover", help="end a hang")
    p = what.add_parser("error", help="let copies fail")
    p.add_argument("--at", type=number, default=1,
                   help="from this copy on, counted from now")
    p.add_argument("--count", type=number, default=1, help="so many, 0 is all")
    p.add_argument("--status", choices=STATUS, default="bus-write")
    p = what.add_parser("refuse", help="let rte_dma_copy() fail")
    p.add_argument("--errno", type=errno_number, default=errno.EIO)
    p.add_argument("--at", type=number, default=1)
    p.add_argument("--count", type=number, default=0)
    what.add_parser("full", help="have no room in the ring")
    p = what.add_parser("fail", help="let a call that controls the device "
                        "fail")
    p.add_argument("op", choices=OPS)
    p.add_argument("--errno", type=errno_number, default=errno.EIO)
    p.add_argument("--count", type=number, default=0,
                   help="so many times; until 'clear' unless given")
    what.add_parser("clear", help="no faults any more")
    return parser.parse_args()


def command(args):
    page = ControlPage(args.path, args.wait)
    if args.vchan is not None and not 0 <= args.vchan < len(page.vchans):
        raise PageError("--vchan=%d: the device has %d, counted from 0"
                        % (args.vchan, len(page.vchans)))
    vchans = page.vchans if args.vchan is None else [page.vchan(args.vchan)]
    actions = {
        "hang": lambda v: v.hang(args.seconds),
        "recover": lambda v: v.recover(),
        "error": lambda v: v.error(args.at, args.count, args.status),
        "refuse": lambda v: v.refuse(args.errno, args.at, args.count),
        "full": lambda v: v.full(),
        "clear": lambda v: v.clear(),
    }
    if args.what == "show":
        show(page)
    elif args.what == "log":
        show_log(page, args.seconds)
    elif args.what == "fail":
        page.fail(args.op, args.errno, args.count)
    elif args.what == "clear" and args.vchan is None:
        page.clear()
    else:
        for vchan in vchans:
            actions[args.what](vchan)
    if args.what in actions and args.wait:
        for vchan in vchans:
            if not vchan.wait_seen(args.wait):
                raise PageError("not in force after %g s: nobody has used the "
                                "engine" % args.wait)


if __name__ == "__main__":
    try:
        command(parse_args())
    except PageError as e:
        sys.exit("ctl: %s" % e)
