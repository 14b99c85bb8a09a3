"""A model of the wire formats in plain Python, from the RFCs, for comparison with the C code.

It shares nothing with the C code: numbers are in host byte order, sums add one 16-bit word at a time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import wire_options

ETH_IPV4 = 0x0800
TAG_TYPES = (0x8100, 0x88A8)
UDP = 17


class Refused(Exception):
    """The reason for refusing a packet, by its name in the C code."""


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071: 16-bit words, an odd last byte padded with a zero, carries added at the low end."""
    total = sum(struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    """Return the value of a checksum field."""
    return ~ones_complement_sum(data) & 0xFFFF


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram and its headers."""

    dst_mac: bytes
    src_mac: bytes
    tags: tuple[tuple[int, int], ...]
    tos: int
    ttl: int
    src_addr: bytes
    dst_addr: bytes
    src_port: int
    dst_port: int
    payload: bytes

    def frame(
        self, id: int, *, dont_fragment: bool, sum: str = "full", options: bytes = b"", padding: bytes = b""
    ) -> bytes:
        """Return the frame (802.3, 802.1Q, RFC 791, RFC 768) with its UDP checksum full, partial or absent ("none")."""
        length = 8 + len(self.payload)
        ports = struct.pack("!HHH", self.src_port, self.dst_port, length)
        pseudo = self.src_addr + self.dst_addr + struct.pack("!BBH", 0, UDP, length)
        field = {
            "full": checksum(pseudo + ports + b"\0\0" + self.payload) or 0xFFFF,
            "partial": ones_complement_sum(pseudo),
            "none": 0,
        }[sum]
        udp = ports + struct.pack("!H", field) + self.payload
        return self._eth() + self._ip(len(udp), id, dont_fragment, options) + udp + padding

    def _eth(self) -> bytes:
        tags = b"".join(struct.pack("!HH", *tag) for tag in self.tags)
        return self.dst_mac + self.src_mac + tags + struct.pack("!H", ETH_IPV4)

    def _ip(self, payload: int, id: int, dont_fragment: bool, options: bytes) -> bytes:
        words = 5 + len(options) // 4
        first = struct.pack(
            "!BBHHHBB", 0x40 | words, self.tos, words * 4 + payload, id, 0x4000 * dont_fragment, self.ttl, UDP
        )
        rest = self.src_addr + self.dst_addr + options
        return first + struct.pack("!H", checksum(first + b"\0\0" + rest)) + rest


def parse(frame: bytes, *, good: bool, partial: bool) -> Datagram:
    """Return the datagram of a frame.

    :raises Refused: the frame holds no acceptable UDP datagram.
    """
    tags, at = _parse_tags(frame)
    packet = frame[at:]
    header, payload = _parse_ip(packet, good=good)
    _, tos, _, _, fragment, ttl, protocol, _, src, dst = struct.unpack("!BBHHHBBH4s4s", header[:20])
    if fragment & 0x3FFF:
        raise Refused("ip_fragment")
    if not _source_is_possible(src, dst):
        raise Refused("ip_source")
    if protocol != UDP:
        raise Refused("ip_protocol")
    src_port, dst_port, data = _parse_udp(payload, src + dst, good=good, partial=partial)
    return Datagram(frame[:6], frame[6:12], tags, tos, ttl, src, dst, src_port, dst_port, data)


def _source_is_possible(src: bytes, dst: bytes) -> bool:
    if src == bytes(4):
        return dst == b"\xff" * 4 or dst[:3] == b"\xe0\0\0"
    if src[0] == 127:
        return dst == b"\xff" * 4
    return not 224 <= src[0] < 240 and src != b"\xff" * 4


def _parse_tags(frame: bytes) -> tuple[tuple[tuple[int, int], ...], int]:
    if len(frame) < 14:
        raise Refused("eth_short")
    tags: list[tuple[int, int]] = []
    at = 14
    kind = int.from_bytes(frame[12:14], "big")
    while kind in TAG_TYPES:
        if len(tags) == 2:
            raise Refused("eth_tags")
        if len(frame) < at + 4:
            raise Refused("eth_short")
        tci, following = struct.unpack("!HH", frame[at : at + 4])
        tags.append((kind, tci))
        kind, at = following, at + 4
    if kind != ETH_IPV4:
        raise Refused("eth_type")
    return tuple(tags), at


def _parse_ip(packet: bytes, *, good: bool) -> tuple[bytes, bytes]:
    if len(packet) < 20:
        raise Refused("ip_short")
    if packet[0] >> 4 != 4:
        raise Refused("ip_version")
    header, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
    if not 20 <= header <= total:
        raise Refused("ip_header")
    if header > len(packet):
        raise Refused("ip_short")
    if total > len(packet):
        raise Refused("ip_length")
    if not good and ones_complement_sum(packet[:header]) != 0xFFFF:
        raise Refused("ip_checksum")
    if not wire_options.are_right(packet[20:header]):
        raise Refused("ip_options")
    return packet[:header], packet[header:total]


def _parse_udp(payload: bytes, addresses: bytes, *, good: bool, partial: bool) -> tuple[int, int, bytes]:
    if len(payload) < 8:
        raise Refused("udp_short")
    src_port, dst_port, length, field = struct.unpack("!HHHH", payload[:8])
    if not 8 <= length <= len(payload):
        raise Refused("udp_length")
    pseudo = addresses + struct.pack("!BBH", 0, UDP, length)
    right = field == 0 or good or ones_complement_sum(pseudo + payload[:length]) == 0xFFFF
    if not right and not (partial and field == ones_complement_sum(pseudo)):
        raise Refused("udp_checksum")
    return src_port, dst_port, payload[8:length]
