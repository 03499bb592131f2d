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

"""What the vhost library believes a guest, and does not survive.

The library handles the messages of all guests, and receives from their
transmit rings, with or without DMA.  Single messages end it, or have it
access what is not the guest's memory; nobody but itself can see to that.
What is said here of it was read from DPDK 22.11.11, lib/vhost/vhost_user.c.

Receive rings are our own, so what is wrong with those is not left out.
"""

import os
import struct

from dev.faults import frontend

F_EVENT_IDX = 1 << 29
F_PACKED = frontend.F_RING_PACKED
F_MQ = 1 << 22
LAYOUT = F_PACKED | F_EVENT_IDX

# A transmit ring: a burst of 32 packets overruns what the library has for a
# smaller one.  Packed ones never start behind MIN_SIZE.
MIN_SIZE, MAX_SIZE = 64, 1024

# Files that come with others make a message fail.
WITH_FILES = (frontend.SET_MEM_TABLE, frontend.SET_LOG_BASE,
              frontend.SET_LOG_FD, frontend.SET_VRING_KICK,
              frontend.SET_VRING_CALL, frontend.SET_VRING_ERR, 21,
              frontend.SET_INFLIGHT_FD)

# Handled though the features that they belong to were not offered.  Among
# others, the library unmaps rings in use (IOTLB_MSG), waits for ever for an
# answer (SET_MEM_TABLE after POSTCOPY_LISTEN), takes as much memory as the
# guest likes (GET_INFLIGHT_FD) and writes behind what it mapped
# (SET_INFLIGHT_FD).
NOT_OFFERED = (frontend.IOTLB_MSG, 28, 29, 30, 31, frontend.SET_INFLIGHT_FD)

# What it reads of a message, at least; of a shorter one it reads what was
# there before.
PAYLOADS = {request: 8 for request in (
    frontend.SET_FEATURES, frontend.SET_PROTOCOL_FEATURES,
    frontend.SET_MEM_TABLE, frontend.SET_VRING_NUM, frontend.SET_VRING_BASE,
    frontend.GET_VRING_BASE, frontend.SET_VRING_KICK,
    frontend.SET_VRING_CALL, frontend.SET_VRING_ERR,
    frontend.SET_VRING_ENABLE, 19, 20, 39)}
PAYLOADS[frontend.SET_VRING_ADDR] = 40


class Transmit:
    """A transmit ring, as the library has it."""

    def __init__(self):
        self.sized = False          # It has what SET_VRING_NUM allocates.
        self.size = 0
        self.mapped = False         # Possibly.
        self.based = True           # Where it begins is on the ring.
        self.off = True             # The library does not look at it.

    def forget(self):
        """GET_VRING_BASE frees what SET_VRING_NUM allocates."""
        self.sized = self.mapped = False


class Library:
    """The library's view of one connection, from the messages of it."""

    def __init__(self, offered):
        self.offered, self.features = offered, 0
        self.rings = {}
        self.no_memory = False

    def ring(self, i):
        return self.rings.setdefault(i, Transmit()) if i % 2 else None

    def survives(self, request, payload, fds):
        """Whether the library survives this message, which has a payload of
        the size that it reads.  If so, takes it for sent."""
        if request in NOT_OFFERED:
            return False
        if fds and request not in WITH_FILES:
            return True             # Fails, and changes nothing.
        return {
            frontend.SET_FEATURES: self.set_features,
            frontend.RESET_OWNER: self.reset_owner,
            frontend.SET_MEM_TABLE: self.set_mem_table,
            frontend.SET_LOG_BASE: self.set_log_base,
            frontend.SET_VRING_NUM: self.set_num,
            frontend.SET_VRING_ADDR: self.set_addr,
            frontend.SET_VRING_BASE: self.set_base,
            frontend.GET_VRING_BASE: self.get_base,
            frontend.SET_VRING_KICK: self.set_kick,
            frontend.SET_VRING_CALL: self.set_call,
            frontend.SET_VRING_ENABLE: self.set_enable,
        }.get(request, lambda payload, fds: True)(payload, fds)

    def set_features(self, payload, _fds):
        new, = struct.unpack_from("=Q", payload)
        if new & ~self.offered:
            return True             # Refused.
        changed = new ^ self.features
        if changed & LAYOUT and any(r.sized or r.mapped
                                    for r in self.rings.values()):
            return False            # It maps nothing anew.
        self.features = new
        for i, ring in self.rings.items():
            if changed & F_PACKED:
                ring.based = False
            if not new & F_MQ and i > 1:
                ring.sized = False
        return True

    def reset_owner(self, _payload, _fds):
        self.features = 0
        self.rings.clear()
        return True

    def set_mem_table(self, payload, fds):
        n, = struct.unpack_from("=I", payload)
        if n > 8 or n != len(fds):
            return True             # Refused.
        if len(payload) < 8 + 32 * n:
            return False
        for i in range(n):
            _, size, _, offset = struct.unpack_from("=QQQQ", payload,
                                                    8 + 32 * i)
            if not size or offset >= (1 << 64) - size:
                break
            file_size = os.fstat(fds[i]).st_size
            if size + offset > file_size and file_size:
                return False        # A SIGBUS.
            if not file_size:
                break
        else:
            self.no_memory = False
            return True
        # It cannot be mapped, but the old one is unmapped, and the rings still
        # point there.
        if any(not ring.off for ring in self.rings.values()):
            return False
        self.no_memory = True
        return True

    def set_log_base(self, payload, fds):
        if len(payload) != 16 or len(fds) != 1:
            return True             # Refused.
        size, offset = struct.unpack("=QQ", payload)
        # It adds the offset twice.
        return not offset and size <= os.fstat(fds[0]).st_size

    def set_num(self, payload, _fds):
        i, num = struct.unpack_from("=II", payload)
        ring = self.ring(i)
        if ring is None:
            return True
        # What is wrong is refused, and kept.  Whether what is mapped is as
        # large is not looked at again.
        if (not MIN_SIZE <= num <= MAX_SIZE or num & (num - 1)
                or ring.mapped and num != ring.size):
            return False
        if num != ring.size and self.features & F_PACKED and ring.size:
            ring.based = False
        ring.sized, ring.size = True, num
        return True

    def set_base(self, payload, _fds):
        i, num = struct.unpack_from("=II", payload)
        ring = self.ring(i)
        if ring is None:
            return True
        # Any number is taken for that of a descriptor.
        if self.features & F_PACKED and num & 0x7fff >= MIN_SIZE:
            return False
        ring.based = True
        return True

    def get_base(self, payload, _fds):
        ring = self.ring(struct.unpack_from("=I", payload)[0])
        if ring:
            ring.forget()
        return True

    def start(self, i):
        ring = self.ring(i)
        if ring is None:
            return True
        if not ring.sized or not ring.based:
            return False
        ring.mapped = True
        return True

    def set_addr(self, payload, _fds):
        return self.start(struct.unpack_from("=I", payload)[0])

    def set_kick(self, payload, _fds):
        i = payload[0]
        # When a ring becomes ready its flags are written.
        if self.no_memory or not self.start(i):
            return False
        if i % 2 and not self.features & frontend.F_PROTOCOL_FEATURES:
            self.ring(i).off = False
        return True

    def set_call(self, _payload, _fds):
        return not self.no_memory

    def set_enable(self, payload, _fds):
        i, on = struct.unpack_from("=II", payload)
        if on and self.no_memory:
            return False
        ring = self.ring(i)
        if ring:
            ring.off = not on
        return True
