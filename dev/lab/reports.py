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

"""What a run tells people: its steps, and why it failed."""

import contextlib
import re
import sys
import time

from dev.lab.basics import Interrupted, read, say

# Log lines that look bad and are part of every run.
HARMLESS = re.compile(
    r"No legacy callbacks|No free 1048576 kB hugepages|"
    r"\|timeval\||Rx checksum offload is not supported|"
    r"does not support MTU configuration|failed to connect: No such file|"
    r"-FAILED: 0|netdev_max_backlog|enabling promiscuous mode")


def log_excerpt(path, lines=12):
    """The last lines of a log that say that something is wrong."""
    bad = [line for line in read(path, "").splitlines()
           if re.search(r"\|(WARN|ERR|EMER)\||error|fail|cannot|panic",
                        line, re.I)
           and not HARMLESS.search(line)]
    return bad[-lines:]


class Steps:
    """Numbered, timed progress lines."""

    def __init__(self):
        self.t0 = time.monotonic()
        self.current = None
        self.last_shown = 0
        self.open_line = False
        self.tty = sys.stdout.isatty()

    def _end_line(self):
        if self.open_line:
            say()
            self.open_line = False

    def note(self, text):
        self._end_line()
        for line in text.splitlines():
            say(" " * 11 + line)

    def progress(self, text):
        """A line that replaces itself on a terminal, and that comes only
        now and then in a log."""
        now = time.monotonic()
        if now - self.last_shown < (0.2 if self.tty else 5):
            return
        self.last_shown = now
        if self.tty:
            say("\r" + " " * 11 + "%-66s" % text, end="")
            self.open_line = True
        else:
            self.note(text)

    @contextlib.contextmanager
    def step(self, text):
        begin = time.monotonic()
        self.current = text
        self.last_shown = begin
        say("[%5.1f s]  %s" % (begin - self.t0, text))
        yield self
        self.note("done in %.1f s" % (time.monotonic() - begin))
        self.current = None


def report_failure(name, lab, error):
    """Says which step failed, why, and what the logs add; ends with one line
    that holds the reason.  Returns the exit status."""
    if isinstance(error, Interrupted):
        say("%s: FAIL interrupted by %s" % (name, error.name))
        return 128 + error.signum
    for line in lab.failure_lines if lab else []:
        say(line)
    where = lab.steps.current if lab else None
    say("%s: FAIL %s%s" % (name, where + ": " if where else "", error))
    return 1
