# Builds the packages into out/deb.  python3 -m dev.deb
#   ENGINE
#   again ENGINE   builds them a second time elsewhere: they must be the same

import sys

from dev.common.command import Stop, main, program
from dev.deb import package


def run_command():
    args = sys.argv[1:]
    if len(args) == 1:
        package.make_packages(args[0])
    elif len(args) == 2 and args[0] == "again":
        package.compare_with_another_build(args[1])
    else:
        raise Stop("usage: %s ENGINE | again ENGINE" % program())


if __name__ == "__main__":
    main(run_command)
