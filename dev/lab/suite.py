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

"""The command line of a suite whose scenarios run by their names, and what
ends it."""

import argparse

from dev.common.command import Stop, program
from dev.lab.basics import Interrupted, LabError, say


def parse_args(doc, known, quick):
    """'doc' is the module's, 'known' are all names, 'quick' a selection."""
    parser = argparse.ArgumentParser(
        prog=program(), description=doc.splitlines()[0],
        epilog="Scenarios: " + " ".join(known))
    parser.add_argument("names", nargs="*", metavar="SCENARIO",
                        help="only these")
    parser.add_argument("--build", default="out/defer")
    parser.add_argument("--logs", metavar="DIR", help="keep all logs there")
    parser.add_argument("--quick", action="store_true", help="a selection")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    for name in args.names:
        if name not in known:
            parser.error("there is no scenario %s; --list names them" % name)
    args.names = args.names or list(quick if args.quick else known)
    return args


def show(names, functions):
    """Lists the scenarios of these names; 'functions' are what they are."""
    width = max(map(len, names))
    for name in names:
        print("%-*s  %s" % (width, name,
                            " ".join(functions[name].__doc__.split())))
    return 0


def guarded(name, function):
    """Returns the status of 'function', which runs scenarios of suite 'name'
    and may be interrupted."""
    try:
        return function()
    except (LabError, Stop) as e:
        say("%s: %s" % (name, e))
        return 1
    except Interrupted as e:
        say("%s: interrupted by %s" % (name, e.name))
        return 128 + e.signum
    except KeyboardInterrupt:
        say("%s: interrupted; run it again to go on" % name)
        return 130
