#!/bin/sh
# The compiler of 'make coverage': gcc, which counts what is executed in our
# own files, in those that include our headers, and in no others.

here=$(cd "$(dirname "$0")" && pwd)
flags=
for arg; do
    case $arg in
    */fatal-signal.c)
        # A daemon that is told to terminate keeps its counters.
        flags="$flags -include $here/flush.h" ;;
    */lib/netdev-dpdk.c | */lib/dpif-netdev.c)
        flags="$flags --coverage -fprofile-update=atomic -O1" ;;
    */lib/*.c | */tests/*.c)
        # Not optimized, so that there are the branches that one reads.
        [ -e "$here/../../${arg##*/src/}" ] &&
            flags="$flags --coverage -fprofile-update=atomic -O0" ;;
    esac
done

# Last, so that they win over those of the build; when it links, there is the
# library.
# shellcheck disable=SC2086
exec gcc "$@" $flags -lgcov
