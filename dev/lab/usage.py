"""What a process has of the machine: threads, files, memory."""

import glob
import os
import re

from dev.lab.basics import read


def without_figures(text):
    return re.sub(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{16}\b|\d+", "N", text)


def files(pid):
    """How many files of each kind are open."""
    kinds = {}
    for path in glob.glob("/proc/%d/fd/*" % pid):
        try:
            kind = without_figures(os.readlink(path).rsplit("/", 1)[-1])
        except OSError:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def threads(pid):
    return sorted(without_figures(read(path).strip()) for path in
                  glob.glob("/proc/%d/task/*/comm" % pid))


def memory_kb(pid):
    text = read("/proc/%d/status" % pid)
    return {key: int(re.search(r"^%s:\s*(\d+)" % key, text, re.M)[1])
            for key in ("VmData", "VmRSS", "VmLck", "HugetlbPages")}
