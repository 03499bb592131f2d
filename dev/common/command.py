"""What the commands have in common: engines, progress, how they end."""

import shutil
import signal
import sys
import time

ENGINES = ("defer", "ring", "no")


class Stop(Exception):
    """A foreseeable failure; its text is all that the user needs to see."""


def check_engine(engine):
    if engine not in ENGINES:
        raise Stop("ENGINE=%s: there is no such completion engine; use "
                   "ENGINE=%s." % (engine, ", ".join(ENGINES[:-1])
                                   + " or " + ENGINES[-1]))
    return engine


def module():
    """The module that runs: 'dev.check' for 'python3 -m dev.check'."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else sys.argv[0]


def program():
    """How to call it, for its usage."""
    return "python3 -m " + module()


class Progress:
    """One line that counts: redrawn on a terminal, repeated now and then in
    a log."""

    def __init__(self, what, total=0):
        self.what = what
        self.total = total
        self.n = 0
        self.tty = sys.stdout.isatty()
        self.start = self.shown = time.monotonic()
        self.width = 0
        print("%s ..." % what, end="" if self.tty else "\n", flush=True)

    def _text(self, tail):
        of = "/%d" % max(self.total, self.n) if self.total else ""
        return "%s %d%s %s" % (self.what, self.n, of, tail)

    def _draw(self, text, end=""):
        columns = shutil.get_terminal_size().columns - 1
        text = text[:columns]
        print("\r" + text.ljust(self.width), end=end, flush=True)
        self.width = len(text)

    def step(self, tail="", n=1):
        self.n += n
        now = time.monotonic()
        if self.tty and now - self.shown > .1:
            self._draw(self._text(tail))
            self.shown = now
        elif not self.tty and now - self.shown > 20:
            print("  " + self._text(tail), flush=True)
            self.shown = now

    def done(self, result="done"):
        took = time.monotonic() - self.start
        text = "%s: %s (%d s)" % (self.what, result, took)
        if self.tty:
            self._draw(text, "\n")
        else:
            print(text, flush=True)


def main(func):
    """Runs 'func' and turns what it raises into one clear sentence."""
    def on_signal(number, _frame):
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGHUP, on_signal)
    name = module().rpartition(".")[2]
    try:
        sys.exit(func())
    except Stop as e:
        print("%s: %s" % (name, e), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\n%s: interrupted; run it again to go on" % name,
              file=sys.stderr)
        sys.exit(130)
