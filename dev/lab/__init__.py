"""A private Open vSwitch, its guests and namespaces, on cores and hugepages of
this machine, all of which it gives back."""

from dev.lab.basics import (Interrupted, LabError, die_with_parent, read, run,
                            say, signals_held)
from dev.lab.laboratory import LOCK_NAME, RUN_PARENT, RUN_PREFIX, Lab, sweep
from dev.lab.machine import Cores
from dev.lab.needs import (need_driver, need_file, need_programs,
                           need_release)
from dev.lab.process import Process
from dev.lab.reports import Steps, report_failure
from dev.lab.switch import Switch

__all__ = (
    "LOCK_NAME", "RUN_PARENT", "RUN_PREFIX", "Cores", "Interrupted", "Lab",
    "LabError", "Process", "Steps", "Switch", "die_with_parent", "need_driver",
    "need_file", "need_programs", "need_release", "read", "report_failure",
    "run", "say", "signals_held", "sweep")
