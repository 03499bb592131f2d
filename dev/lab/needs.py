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

"""What a command needs of the machine, said before anything is touched."""

import glob
import os
import shutil

from dev.common.command import Stop
from dev.lab.basics import LabError
from dev.release import debian

PMD_GLOB = "/usr/lib/*/dpdk/pmds-*/librte_%s.so*"


# For callers to choose from.

def need_release():
    try:
        debian.here()
    except Stop as e:
        raise LabError(e)


def need_programs(*programs):
    """Each is (program, Debian package)."""
    for program, package in programs:
        if not shutil.which(program,
                            path=os.environ.get("PATH", "") + ":/usr/sbin"):
            raise LabError("%s is not installed: run 'apt-get install %s'"
                           % (program, package))


def need_file(path, remedy):
    if not os.path.exists(path):
        raise LabError("%s is missing: %s" % (path, remedy))


def need_driver(driver):
    if not glob.glob(PMD_GLOB % driver):
        raise LabError("the DPDK driver %s is not installed: run "
                       "'apt-get install librte-%s%s'"
                       % (driver, driver.replace("_", "-"),
                          debian.here().drivers))
