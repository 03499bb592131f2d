# Prints the name of the release of Debian that this machine has.

import sys

from dev.common.command import Stop, main, program
from dev.release import debian


def run_command():
    if len(sys.argv) > 1:
        raise Stop("usage: %s, without arguments" % program())
    print(debian.here().name)


if __name__ == "__main__":
    main(run_command)
