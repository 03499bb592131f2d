# Builds the plugin and prints where it is.

import sys

from dev.common.command import Stop, main, program
from dev.dma_devices import plugin


def run_command():
    if len(sys.argv) > 1:
        raise Stop("usage: %s, without arguments" % program())
    print(plugin.build())


if __name__ == "__main__":
    main(run_command)
