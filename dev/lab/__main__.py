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

"""Helpers from a laboratory for other commands.

'python3 -m dev.lab hugepages' wraps a command that needs hugepages.
"""

import argparse
import subprocess
import sys

from dev.common.command import program
from dev.lab import (Interrupted, Lab, LabError, Steps, die_with_parent, say,
                     signals_held, sweep)


def wrap_hugepages(args):
    with Lab() as lab:
        lab.need_memory(args.mb)
        if args.mount:
            lab.mount_hugetlbfs()
        # In our own session: it may want the terminal.
        with signals_held():
            p = subprocess.Popen(args.command,
                                 preexec_fn=die_with_parent())
            lab.on_exit("stop the command", lambda: (
                p.poll() is None and (p.terminate(), p.wait(10))))
        return p.wait()


def main():
    parser = argparse.ArgumentParser(prog=program(),
                                     description="Laboratory helpers.")
    commands = parser.add_subparsers(dest="what", required=True)
    p = commands.add_parser("hugepages", help="run a command with so many MB "
                            "of free hugepages; give them back afterwards")
    p.add_argument("--mb", type=int, default=1024)
    p.add_argument("--mount", action="store_true",
                   help="have a hugetlbfs mounted, too")
    p.add_argument("command", nargs="+")
    p.set_defaults(function=wrap_hugepages)
    p = commands.add_parser("sweep", help="clean up after killed runs")
    p.set_defaults(function=lambda args: sweep(Steps()))
    args = parser.parse_args()
    try:
        sys.exit(args.function(args))
    except LabError as e:
        sys.exit("lab: " + str(e))
    except Interrupted as e:
        say("lab: interrupted by " + e.name)
        sys.exit(128 + e.signum)


if __name__ == "__main__":
    main()
