"""A TCP peer made by the test, at an address without a kernel: segments arrive whole, in fragments, or not at all."""

from __future__ import annotations

import socket
import struct
import time
from typing import NamedTuple

from harness.frames import checksum
from harness.link import INTERFACE, Link

GHOST = "198.18.7.77"
FIN, SYN, RST, ACK = 1, 2, 4, 16
FIRST = 1000


class Segment(NamedTuple):
    seq: int
    ack: int
    flags: int
    payload: bytes


class HandPeer:
    def __init__(self, link: Link, port: int) -> None:
        self.us, self.port = link.near.address, port
        self.macs = link.near.mac() + link.far.mac()
        self.raw = link.far.raw()
        self.to = ("", 0)
        self.seq, self.ack = FIRST, 0
        self.ident = 1
        self.options = b""  # of a SYN
        link.near.ip("neigh", "replace", GHOST, "lladdr", link.far.mac().hex(":"), "dev", INTERFACE)

    def packet(self, flags: int, payload: bytes = b"") -> bytes:
        """Return the TCP segment of a packet to (us, the port)."""
        addresses = socket.inet_aton(GHOST) + socket.inet_aton(self.us)
        options = self.options if flags & SYN else b""
        offset = 0x50 + len(options) * 4
        header = struct.pack("!HHIIBBHHH", self.port, self.to[1], self.seq, self.ack, offset, flags, 0xFFFF, 0, 0)
        header += options
        total = checksum(addresses + struct.pack("!HH", 6, len(header) + len(payload)) + header + payload)
        return header[:16] + struct.pack("!H", total) + header[18:] + payload

    def send(self, flags: int, payload: bytes = b"", cuts: tuple[tuple[int, int], ...] = ()) -> None:
        """Send a segment whole, or as the fragments of these (from, to) bytes, in this order."""
        packet = self.packet(flags, payload)
        self.ident += 1
        for start, end in cuts or ((0, len(packet)),):
            piece = packet[start:end]
            offset = start // 8 | (0x2000 if end < len(packet) else 0)
            begin = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(piece), self.ident, offset, 64, 6)
            addresses = socket.inet_aton(GHOST) + socket.inet_aton(self.us)
            header = begin + struct.pack("!H", checksum(begin + b"\0\0" + addresses)) + addresses
            self.raw.send(self.macs + b"\x08\x00" + header + piece)

    def receive(self, patience: float = 2) -> Segment | None:
        """Return the next segment to us."""
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            self.raw.settimeout(left)
            try:
                frame = self.raw.recv(65536)
            except TimeoutError:
                break
            if frame[12:14] != b"\x08\x00" or frame[23] != 6 or frame[30:34] != socket.inet_aton(GHOST):
                continue
            length = struct.unpack("!H", frame[16:18])[0]
            tcp = frame[34 : 14 + length]
            seq, ack, offset, flags = struct.unpack("!IIBB", tcp[4:14])
            return Segment(seq, ack, flags, tcp[(offset >> 4) * 4 :])
        return None

    def connect(self, to: tuple[str, int]) -> None:
        self.to = to
        self.send(SYN)
        answer = self.receive()
        assert answer
        assert answer.flags == SYN | ACK
        self.seq, self.ack = FIRST + 1, answer.seq + 1
        self.send(ACK)

    def read(self, size: int) -> bytes:
        """Return `size` received bytes and acknowledge them."""
        got = b""
        while len(got) < size:
            segment = self.receive()
            assert segment, f"{len(got)} bytes of {size}"
            if segment.payload and segment.seq == self.ack:
                got += segment.payload
                self.ack += len(segment.payload)
                self.send(ACK)
        return got


def exchange(peer: HandPeer, data: bytes) -> None:
    """Send the data and retransmit it, as any TCP does, until its echo comes."""
    for _ in range(8):
        peer.send(ACK, data)
        while segment := peer.receive(0.4):
            assert not segment.flags & RST, "reset"
            if segment.payload == data and segment.seq == peer.ack:
                peer.seq += len(data)
                peer.ack += len(data)
                peer.send(ACK)
                return
    raise AssertionError("no echo")
