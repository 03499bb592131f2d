"""What is behind 'make': each package here has one purpose.

A package imports from those above it in this list only, and is run from the
root of the repository, as in 'python3 -m dev.check --help':

    common      what commands share: files, child processes, progress
    release     the releases of Debian; a chroot of another one
    lab         a private Open vSwitch, its guests and namespaces
    ovs         the sources of Open vSwitch with ours, builds, the series
    dma_model   a dmadev for tests that models an engine, and its faults
    demo        real traffic to a guest
    faults      guests that die, memory that moves, engines that stop
    guests      Linux guests under QEMU
    bench       what copies cost
    check       all tests, suite by suite
    coverage    what no test reaches
"""
