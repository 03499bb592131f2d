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

"""The traffic of the demo: makes packets, sends them, compares them, and
moves a file over TCP.

Every packet carries, after its headers, a mark, its sequence number and a
random payload.  The seed decides everything about them.
"""

import argparse
import bisect
import collections
import hashlib
import json
import mmap
import os
import random
import socket
import struct
import sys
import time

from dev.common.command import program

MARK = b"vhostDMA"
TAG_LEN = len(MARK) + 4
MIN_LEN, MAX_LEN = 60, 9000

PCAP_MAGIC = 0xa1b2c3d4
PCAP_MAGIC_NS = 0xa1b23c4d
PCAP_HEADER = struct.Struct("<IHHiIII")
PCAP_RECORD = struct.Struct("<IIII")

# What the guest gets for a packet: a virtqueue entry per buffer.
GUEST_BUFFER = 2048

ETH = struct.Struct("!6s6s")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
IPV6 = struct.Struct("!IHBB16s16s")
UDP = struct.Struct("!HHHH")
TCP = struct.Struct("!HHIIBBHHH")

TCP_PROTO, UDP_PROTO = 6, 17


class TrafficError(Exception):
    pass


def sum16(data):
    """The sum of the 16-bit words of 'data' in ones' complement arithmetic.

    That is 'data', taken as one big number, modulo 0xffff: by far the
    fastest way to get at it in Python."""
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xffff


def checksum(total):
    return 0xffff - total % 0xffff


class Kind:
    """One of the kinds of packets: a set of protocols.

    Open vSwitch may let packets of different datapath flows overtake each
    other within one batch, because it handles a batch flow by flow.  For a
    rule that matches on the port alone it makes one such flow for each
    'flow' below: there the order must hold."""

    def __init__(self, ipv6, proto, vlan):
        self.ipv6 = ipv6
        self.proto = proto
        self.vlan = vlan
        self.flow = vlan, ipv6
        self.name = "%s/%s%s" % ("IPv6" if ipv6 else "IPv4",
                                 "TCP" if proto == TCP_PROTO else "UDP",
                                 " VLAN %d" % vlan if vlan else "")
        eth = ETH.pack(b"\x02\x00\x00\x00\x0b\x01",
                       b"\x02\x00\x00\x00\x0a\x01")
        if vlan:
            eth += struct.pack("!HH", 0x8100, vlan)
        self.l2 = eth + struct.pack("!H", 0x86dd if ipv6 else 0x0800)
        # 198.18.0.0/15 and 2001:2::/48 are set aside for benchmarks.
        if ipv6:
            net = bytes.fromhex("200100020000") + bytes(8)
            self.src, self.dst = net + b"\0\x01", net + b"\0\x02"
        else:
            self.src, self.dst = b"\xc6\x12\0\x01", b"\xc6\x12\0\x02"
        self.l3_len = 40 if ipv6 else 20
        self.l4_len = 20 if proto == TCP_PROTO else 8
        self.payload_at = len(self.l2) + self.l3_len + self.l4_len
        self.min_len = max(MIN_LEN, self.payload_at + TAG_LEN)
        self.addr_sum = sum16(self.src + self.dst)

    def build(self, seq, sport, payload):
        l4_len = self.l4_len + len(payload)
        if self.ipv6:
            l3 = IPV6.pack(0x60000000, l4_len, self.proto, 64,
                           self.src, self.dst)
        else:
            args = [0x45, 0, 20 + l4_len, seq & 0xffff, 0x4000, 64,
                    self.proto, 0, self.src, self.dst]
            args[7] = checksum(sum16(IPV4.pack(*args)))
            l3 = IPV4.pack(*args)
        total = (self.addr_sum + self.proto + l4_len + sum16(payload))
        if self.proto == UDP_PROTO:
            l4 = UDP.pack(sport, 9, l4_len, 0)
            # In UDP, 0 would mean «no checksum».
            csum = checksum(total + sum16(l4)) or 0xffff
            l4 = UDP.pack(sport, 9, l4_len, csum)
        else:
            args = [sport, 9, seq, 0, 0x50, 0x10, 0xffff, 0, 0]
            args[7] = checksum(total + sum16(TCP.pack(*args)))
            l4 = TCP.pack(*args)
        return self.l2 + l3 + l4 + payload


KINDS = [Kind(ipv6, proto, vlan) for vlan in (0, 100, 200)
         for ipv6 in (False, True) for proto in (UDP_PROTO, TCP_PROTO)]
KIND_OF_L2 = {}
for _kind in KINDS:
    KIND_OF_L2.setdefault(_kind.l2[12:], {})[_kind.proto] = _kind


def make_packets(n, seed):
    """Yields 'n' packets.  Small, medium and large ones are equally likely
    to come, each size within a class too, and the limits come often."""
    rng = random.Random(seed)
    classes = ((MIN_LEN, 200), (200, 1518), (1518, MAX_LEN))
    for seq in range(n):
        kind = KINDS[rng.randrange(len(KINDS))]
        r = rng.random()
        if r < .02:
            length = MIN_LEN
        elif r < .03:
            length = MAX_LEN
        else:
            length = rng.randint(*classes[0 if r < .4 else
                                          1 if r < .8 else 2])
        length = max(length, kind.min_len)
        payload = (MARK + struct.pack("!I", seq)
                   + rng.randbytes(length - kind.payload_at - TAG_LEN))
        yield kind.build(seq, 1024 + rng.randrange(64), payload)


def identify(packet):
    """Returns (kind, sequence number) of a packet, or None when it cannot be
    told.  Looks at as little as it needs: comparing is up to the caller."""
    l2_len = 18 if packet[12:14] == b"\x81\0" else 14
    kinds = KIND_OF_L2.get(packet[12:l2_len])
    if not kinds:
        return None
    proto_at = l2_len + (6 if packet[l2_len - 2:l2_len] == b"\x86\xdd"
                         else 9)
    if proto_at >= len(packet):
        return None
    kind = kinds.get(packet[proto_at])
    if not kind:
        return None
    at = kind.payload_at
    if packet[at:at + len(MARK)] != MARK:
        return None
    tag = packet[at + len(MARK):at + TAG_LEN]
    if len(tag) != 4:
        return None
    return kind, struct.unpack("!I", tag)[0]


class PcapFile:
    """Read access to the packets of a pcap file."""

    def __init__(self, path):
        self.file = open(path, "rb")
        header = self.file.read(PCAP_HEADER.size)
        if len(header) < PCAP_HEADER.size:
            raise TrafficError("%s: too short for a pcap file" % path)
        magic = PCAP_HEADER.unpack(header)[0]
        if magic not in (PCAP_MAGIC, PCAP_MAGIC_NS):
            raise TrafficError("%s: not a pcap file of this machine (magic "
                               "%#x)" % (path, magic))
        self.map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        self.spans = []
        at = PCAP_HEADER.size
        size = len(self.map)
        while at + PCAP_RECORD.size <= size:
            length = PCAP_RECORD.unpack_from(self.map, at)[2]
            at += PCAP_RECORD.size
            if at + length > size:
                break
            self.spans.append((at, at + length))
            at += length
        self.truncated = at != size

    def __len__(self):
        return len(self.spans)

    def __getitem__(self, index):
        begin, end = self.spans[index]
        return self.map[begin:end]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.map.close()
        self.file.close()


def write_pcap(path, packets):
    """Returns (packets, bytes) written."""
    n = total = 0
    with open(path, "wb", buffering=1 << 20) as f:
        f.write(PCAP_HEADER.pack(PCAP_MAGIC, 2, 4, 0, 0, 65535, 1))
        for packet in packets:
            f.write(PCAP_RECORD.pack(0, n, len(packet), len(packet)))
            f.write(packet)
            n += 1
            total += len(packet)
    return n, total


def compare(sent_path, received_path):
    """Compares packet by packet.  'reordered' counts packets that came after
    a later one of their flow."""
    result = dict(sent=0, received=0, lost=0, corrupted=0, duplicated=0,
                  reordered=0, examples=[])

    def example(text):
        if len(result["examples"]) < 5:
            result["examples"].append(text)

    with PcapFile(sent_path) as sent, PcapFile(received_path) as got:
        result["sent"], result["received"] = len(sent), len(got)
        seen = bytearray(len(sent))
        newest = {}
        for i in range(len(got)):
            packet = got[i]
            found = identify(packet)
            if not found or found[1] >= len(sent):
                result["corrupted"] += 1
                example("received packet %d is none of ours: %s..."
                        % (i, packet[:64].hex()))
                continue
            kind, seq = found
            original = sent[seq]
            if packet != original:
                result["corrupted"] += 1
                at = next((at for at, (a, b) in enumerate(
                    zip(packet, original)) if a != b),
                    min(len(packet), len(original)))
                example("packet %d (%s) of %d bytes came as %d bytes that "
                        "differ from byte %d on" % (
                            seq, kind.name, len(original), len(packet), at))
            if seen[seq]:
                result["duplicated"] += 1
                example("packet %d (%s) came again" % (seq, kind.name))
                continue
            seen[seq] = 1
            last = newest.get(kind.flow, -1)
            if seq < last:
                result["reordered"] += 1
                example("packet %d (%s) came after packet %d"
                        % (seq, kind.name, last))
            else:
                newest[kind.flow] = seq
        result["lost"] = len(sent) - sum(seen)
        if result["lost"]:
            first = seen.index(0)
            example("packet %d of %d bytes is the first that never came"
                    % (first, len(sent[first])))
        if got.truncated:
            example("the last record of the received file is incomplete")
    return result


def send(args):
    """Sends a pcap file into an interface, with no more under way than fits
    anywhere on the way.

    What has arrived shows in the size of the file that the guest writes: it
    holds the same packets.  When it stops growing, packets were lost, and
    what was under way is written off.

    Two things bound what may be under way.  One is the number of buffers in
    the guest.  The other is time: libpcap, through which the switch takes
    the packets in, has 8 blocks of 256 kB, and the kernel moves on to the
    next block when a millisecond or so has passed, however little is in it.
    While the switch does not get to run, a trickle would fill them all.
    Packets of 3 different milliseconds take 6 blocks at most, and another
    one because of their size."""
    with PcapFile(args.pcap) as pcap, socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((args.interface, 0))
        spans = pcap.spans
        # Of the packets 0..i-1: bytes in the file, buffers in the guest.
        file_at = [PCAP_HEADER.size]
        buffers = [0]
        for begin, end in spans:
            length = end - begin
            file_at.append(file_at[-1] + PCAP_RECORD.size + length)
            buffers.append(buffers[-1] - -(length + 12) // GUEST_BUFFER)
        n = len(spans)
        next_ = acked = 0
        written_off = 0
        stalls = 0
        last_size = -1
        moved = shown = begun = time.monotonic()
        data = memoryview(pcap.map)
        # For each millisecond with packets under way: the one after the
        # last.
        ticks = collections.deque()
        try:
            while acked < n:
                size = os.stat(args.watch).st_size
                now = time.monotonic()
                if size != last_size:
                    last_size, moved = size, now
                    # The file is empty at first, without a header; and
                    # what was written off may come after all.
                    acked = bisect.bisect_right(file_at,
                                                size + written_off) - 1
                    acked = max(0, min(next_, acked))
                elif now - moved > args.patience:
                    stalls += 1
                    written_off = file_at[next_] - size
                    acked, moved = next_, now
                    if stalls > 3:
                        break
                if now - shown > 0.2:
                    shown = now
                    print(json.dumps({"sent": next_}), flush=True)
                while ticks and ticks[0][1] <= acked:
                    ticks.popleft()
                idle = True
                while next_ < n and (buffers[next_ + 1] - buffers[acked]
                                     <= args.window):
                    tick = time.monotonic_ns() // 1000000
                    if len(ticks) > 1 and ticks[-1][0] != tick:
                        break
                    a, b = spans[next_]
                    sock.send(data[a:b])
                    next_ += 1
                    idle = False
                    # Sending may have taken until another millisecond.
                    tick = time.monotonic_ns() // 1000000
                    if ticks and ticks[-1][0] == tick:
                        ticks[-1][1] = next_
                    else:
                        ticks.append([tick, next_])
                if idle:
                    time.sleep(0.0002)
        finally:
            data.release()
    print(json.dumps({"sent": next_, "seconds": time.monotonic() - begun,
                      "stalls": stalls, "final": True}), flush=True)


def tcp_receive(args):
    """Takes one connection, hashes what comes, reports."""
    with socket.create_server((args.address, args.port)) as server:
        print(json.dumps({"listening": True}), flush=True)
        server.settimeout(args.timeout)
        conn, _ = server.accept()
        with conn, open(args.file, "wb") as f:
            conn.settimeout(args.timeout)
            digest = hashlib.sha256()
            total = 0
            begin = shown = time.monotonic()
            while True:
                data = conn.recv(1 << 18)
                if not data:
                    break
                digest.update(data)
                f.write(data)
                total += len(data)
                now = time.monotonic()
                if now - shown > 0.2:
                    shown = now
                    print(json.dumps({"bytes": total}), flush=True)
            print(json.dumps({"bytes": total, "sha256": digest.hexdigest(),
                              "seconds": time.monotonic() - begin,
                              "final": True}), flush=True)


def tcp_send(args):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # What is under way stays below what the virtqueues hold: the transfer
    # shows the path, not how TCP recovers from full queues.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, args.sndbuf)
    sock.settimeout(args.timeout)
    with sock, open(args.file, "rb") as f:
        sock.connect((args.address, args.port))
        sock.sendfile(f)
        sock.shutdown(socket.SHUT_WR)
        # The peer closes when it has read everything.
        sock.recv(1)


def repeat_file(source, target, at_least):
    """Writes 'source' to 'target' so often that it has 'at_least' bytes.
    Returns (bytes, sha256)."""
    with open(source, "rb") as f:
        data = f.read()
    if not data:
        raise TrafficError("%s is empty" % source)
    digest = hashlib.sha256()
    times = -(-at_least // len(data))
    with open(target, "wb") as f:
        for _ in range(times):
            f.write(data)
            digest.update(data)
    return times * len(data), digest.hexdigest()


def selftest(args):
    """Checks the generator against scapy, and the comparison against each
    kind of damage that it is there to find."""
    import tempfile
    from scapy.all import Ether, IP, IPv6, TCP as STCP, UDP as SUDP

    failures = []

    def check(what, condition):
        print("%s: %s" % (what, "ok" if condition else "FAILED"))
        if not condition:
            failures.append(what)

    packets = list(make_packets(args.packets, args.seed))
    check("same seed, same packets",
          packets == list(make_packets(args.packets, args.seed)))
    check("sizes within %d..%d, both limits reached" % (MIN_LEN, MAX_LEN),
          min(map(len, packets)) == MIN_LEN
          and max(map(len, packets)) == MAX_LEN)
    found = {}
    for seq, packet in enumerate(packets):
        kind, got = identify(packet)
        if got != seq:
            check("packet %d identified" % seq, False)
        found.setdefault(kind.name, packet)
        found[kind.name + " odd" * (len(packet) & 1)] = packet
    check("all kinds occur", {k.name for k in KINDS} <= set(found))
    for name, packet in sorted(found.items()):
        p = Ether(packet)
        for layer in (IP, STCP, SUDP):
            if layer in p:
                del p[layer].chksum
        for layer, fields in ((IP, ("len",)), (IPv6, ("plen",)),
                              (SUDP, ("len",))):
            if layer in p:
                for field in fields:
                    delattr(p[layer], field)
        check("scapy builds the same packet (%s)" % name,
              bytes(p) == packet)

    def result_of(changed):
        with tempfile.TemporaryDirectory() as tmp:
            a, b = tmp + "/a", tmp + "/b"
            write_pcap(a, packets)
            write_pcap(b, changed)
            r = compare(a, b)
            del r["examples"]
            return r

    n = len(packets)
    good = dict(sent=n, received=n, lost=0, corrupted=0, duplicated=0,
                reordered=0)
    check("equal files", result_of(packets) == good)
    check("a lost packet",
          result_of(packets[:5] + packets[6:])
          == dict(good, received=n - 1, lost=1))
    flipped = bytearray(packets[7])
    flipped[-1] ^= 1
    check("a flipped bit in a payload",
          result_of(packets[:7] + [bytes(flipped)] + packets[8:])
          == dict(good, corrupted=1))
    check("a packet cut short",
          result_of(packets[:7] + [packets[7][:-1]] + packets[8:])
          == dict(good, corrupted=1))
    check("a packet of zeros",
          result_of(packets[:7] + [bytes(len(packets[7]))] + packets[8:])
          == dict(good, corrupted=1, lost=1))
    check("a duplicate", result_of(packets[:8] + packets[7:])
          == dict(good, received=n + 1, duplicated=1))
    flows = [identify(packet)[0].flow for packet in packets]
    for at in range(n - 1):
        swapped = list(packets)
        swapped[at:at + 2] = swapped[at + 1], swapped[at]
        same = flows[at] == flows[at + 1]
        if same or not at:
            check("two neighbours of %s swapped"
                  % ("a flow" if same else "different flows"),
                  result_of(swapped) == dict(good, reordered=int(same)))
        if same:
            break
    check("an empty file", result_of([])
          == dict(good, received=0, lost=n))
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Makes, sends and compares the packets of the demo.")
    commands = parser.add_subparsers(dest="command", required=True)

    p = commands.add_parser("generate", help="write a pcap file")
    p.add_argument("pcap")
    p.add_argument("--packets", type=int, default=100000)
    p.add_argument("--seed", type=int, default=1)
    p.set_defaults(function=lambda a: print("%d packets, %d bytes" %
                   write_pcap(a.pcap, make_packets(a.packets, a.seed))))

    p = commands.add_parser("compare", help="compare two pcap files")
    p.add_argument("sent")
    p.add_argument("received")

    def run_compare(a):
        r = compare(a.sent, a.received)
        print(json.dumps(r, indent=1))
        return any(r[key] for key in ("lost", "corrupted", "duplicated",
                                      "reordered"))
    p.set_defaults(function=run_compare)

    p = commands.add_parser("send", help="send a pcap file")
    p.add_argument("pcap")
    p.add_argument("interface")
    p.add_argument("watch", help="the file that the receiver writes")
    p.add_argument("--window", type=int, default=256,
                   help="receive buffers under way at most")
    p.add_argument("--patience", type=float, default=3)
    p.set_defaults(function=send)

    p = commands.add_parser("tcp-receive", help="receive a file over TCP")
    p.add_argument("address")
    p.add_argument("port", type=int)
    p.add_argument("file")
    p.add_argument("--timeout", type=float, default=30)
    p.set_defaults(function=tcp_receive)

    p = commands.add_parser("tcp-send", help="send a file over TCP")
    p.add_argument("address")
    p.add_argument("port", type=int)
    p.add_argument("file")
    p.add_argument("--sndbuf", type=int, default=1 << 18)
    p.add_argument("--timeout", type=float, default=30)
    p.set_defaults(function=tcp_send)

    p = commands.add_parser("selftest", help="check this program itself")
    p.add_argument("--packets", type=int, default=2000)
    p.add_argument("--seed", type=int, default=1)
    p.set_defaults(function=selftest)

    args = parser.parse_args()
    try:
        sys.exit(args.function(args))
    except (TrafficError, OSError) as e:
        sys.exit("traffic: %s: %s" % (args.command, e))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
