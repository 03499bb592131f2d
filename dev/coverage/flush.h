/* Included first in lib/fatal-signal.c of the build of 'make coverage'.
 *
 * The handler of signals that end a daemon raises the signal again, which
 * skips what exit() does: write down the counters of coverage. */

#include <config.h>
#include <gcov.h>
#include <signal.h>

#define raise(SIGNAL) (__gcov_dump(), raise(SIGNAL))
