#!/usr/bin/python3
#
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

"""Makes packets for system-dpdk-dma*.at, and compares what became of them.

    make FILE N SIZE...         makes N packets, of these sizes in turn
    make-tcp FILE N SIZE...     the same, of TCP over IPv4
    cmp RECEIVED SENT...        have all packets of all files arrived, those of
                                each file in order?
    order RECEIVED SENT...      the same, but some packets may be missing;
                                prints how many arrived
    hex FILE                    prints the first packet
    send FILE INTERFACE RATE    sends the packets, so many a second
"""

import random
import socket
import struct
import sys
import time

FILE_HEADER = struct.Struct("=IHHiIII")
PACKET_HEADER = struct.Struct("=IIII")
MAGIC = 0xa1b2c3d4

# From one MAC address to another, and an EtherType for experiments, which
# leaves the switch nothing to look into.
ETHERNET = bytes.fromhex("020000000002" "020000000001" "88b5")


def write(name, packets):
    with open(name, "wb") as f:
        f.write(FILE_HEADER.pack(MAGIC, 2, 4, 0, 0, 65535, 1))
        for i, data in enumerate(packets):
            f.write(PACKET_HEADER.pack(0, i, len(data), len(data)) + data)


def make(name, n, *sizes):
    rng = random.Random(name)
    packets = []
    for i in range(int(n)):
        head = ETHERNET + struct.pack(">I", i)
        packets.append(head + rng.randbytes(int(sizes[i % len(sizes)])
                                            - len(head)))
    write(name, packets)


def checksum(data):
    total = sum(struct.unpack(">%dH" % ((len(data) + 1) // 2),
                              data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack(">H", ~total & 0xffff)


def make_tcp(name, n, *sizes):
    rng = random.Random(name)
    packets = []
    sequence = 0
    for i in range(int(n)):
        payload = rng.randbytes(int(sizes[i % len(sizes)]) - 54)
        addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(payload), i, 0x4000,
                         64, 6, 0) + addresses
        ip = ip[:10] + checksum(ip) + ip[12:]
        tcp = struct.pack(">HHIIBBHHH", 1000, 2000, sequence, 0, 0x50, 0x10,
                          65535, 0, 0) + payload
        pseudo = addresses + struct.pack(">HH", 6, len(tcp))
        tcp = tcp[:16] + checksum(pseudo + tcp) + tcp[18:]
        packets.append(ETHERNET[:12] + b"\x08\0" + ip + tcp)
        sequence += len(payload)
    write(name, packets)


def read(name):
    packets = []
    with open(name, "rb") as f:
        magic = FILE_HEADER.unpack(f.read(FILE_HEADER.size))[0]
        if magic not in (MAGIC, 0xa1b23c4d):
            sys.exit("%s: not a pcap file of this machine" % name)
        while True:
            header = f.read(PACKET_HEADER.size)
            if not header:
                return packets
            size = PACKET_HEADER.unpack(header)[2]
            packets.append(f.read(size))


def order(received_name, *sent_names):
    """Packets of one file arrive in order, those of several files in turns
    that nobody knows.  Returns the numbers of packets, received and sent."""
    sent = {name: read(name) for name in sent_names}
    where = {}
    for name in sent:
        for i, packet in enumerate(sent[name]):
            where.setdefault(packet, []).append((name, i))
    last = dict.fromkeys(sent, -1)
    received = read(received_name)
    for i, packet in enumerate(received):
        what = "packet %d, of %d bytes, " % (i, len(packet))
        if packet not in where:
            sys.exit(what + "was never sent")
        for name, number in where[packet]:
            if number > last[name]:
                last[name] = number
                break
        else:
            sys.exit(what + "is number %d of %s, and came after number %d"
                     % (number, name, last[name]))
    return len(received), sum(map(len, sent.values()))


def compare(received_name, *sent_names):
    n_received, n_sent = order(received_name, *sent_names)
    if n_received != n_sent:
        sys.exit("%d of %d packets arrived" % (n_received, n_sent))


def show_hex(name):
    print(read(name)[0].hex())


def show_order(*names):
    print(order(*names)[0])


def send(name, interface, rate):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((interface, 0))
    start = time.monotonic()
    for i, packet in enumerate(read(name)):
        # After a delay it catches up.
        time.sleep(max(0, start + i / float(rate) - time.monotonic()))
        s.send(packet)


COMMANDS = {"make": make, "make-tcp": make_tcp, "cmp": compare,
            "order": show_order, "hex": show_hex, "send": send}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
