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

"""The commands of a section of the documentation, for a test to run.

dma-doc.py commands FILE SECTION
    Writes each command to a file 'NUMBER.sh', and what the documentation has
    it print to 'NUMBER.txt'.
dma-doc.py compare EXPECTED ACTUAL
    Whether the two differ in figures only.
"""

import difflib
import re
import sys


def section(text, title):
    """The lines below a title, as far as the next one of its kind."""
    lines = text.splitlines()
    begin = lines.index(title)
    kind = lines[begin + 1][0]
    for end in range(begin + 2, len(lines) - 1):
        if re.fullmatch(re.escape(kind) + "{3,}", lines[end + 1]):
            return lines[begin + 2:end]
    return lines[begin + 2:]


def commands(lines):
    """Pairs of a command and the lines that it prints."""
    found = []
    for line in lines:
        if not line.startswith("    "):
            continue
        line = line[4:]
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif found and found[-1][0][-1].endswith("\\"):
            found[-1][0].append(line)
        elif found:
            found[-1][1].append(line)
    return found


def write_commands(path, title):
    with open(path) as f:
        found = commands(section(f.read(), title))
    if not found:
        sys.exit("%s: no command in section '%s'" % (path, title))
    for i, (command, printed) in enumerate(found):
        for suffix, lines in ("sh", command), ("txt", printed):
            with open("%02d.%s" % (i, suffix), "w") as f:
                f.writelines(line + "\n" for line in lines)


def without_figures(path):
    """The lines of a file, with N for each number, and without what the
    completion engine 'ring' says more than 'defer'."""
    with open(path) as f:
        text = re.sub(r"\b\d+(\.\d+)?\b", "N", f.read())
    text = text.replace("completion engine: ring", "completion engine: defer")
    text = text.replace(", N of them for the ring; waiting in it: N packets",
                        "")
    return text.splitlines(True)


def main():
    what, first, second = sys.argv[1:]
    if what == "commands":
        write_commands(first, second)
        return 0
    diff = list(difflib.unified_diff(without_figures(first),
                                     without_figures(second), first, second))
    sys.stdout.writelines(diff)
    return bool(diff)


if __name__ == "__main__":
    sys.exit(main())
