"""Ethernet frames for tests, correct or wrong."""

from __future__ import annotations

import socket
import struct


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def udp_frame(
    macs: tuple[bytes, bytes],
    source: tuple[str, int],
    destination: tuple[str, int],
    payload: bytes,
    *,
    tag: int | None = None,
    options: bytes = b"",
    fragment: int = 0,
    udp_checksum: int | None = None,
    version: int = 4,
    header_length: int | None = None,
) -> bytes:
    """`macs`: destination and source. Without a checksum, the UDP checksum is correct."""
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    length = 8 + len(payload)
    ports = struct.pack("!HHH", source[1], destination[1], length)
    if udp_checksum is None:
        udp_checksum = checksum(addresses + struct.pack("!HH", 17, length) + ports + b"\0\0" + payload)
    words = 5 + len(options) // 4 if header_length is None else header_length
    start = struct.pack("!BBHHHBB", version << 4 | words, 0, 20 + len(options) + length, 1, fragment, 64, 17)
    header = start + struct.pack("!H", checksum(start + b"\0\0" + addresses + options)) + addresses + options
    vlan = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    return b"".join(
        (*macs, vlan, b"\x08\x00", header, ports, struct.pack("!H", udp_checksum), payload),
    )


def udp_datagram(
    addresses: tuple[str, str],
    ports: tuple[int, int],
    payload: bytes,
    *,
    length: int | None = None,
    udp_checksum: int | None = None,
) -> bytes:
    """A UDP header and its payload. `addresses` and `ports`: source and destination. Without a checksum, it is correct
    for the bytes that the length covers."""
    said = 8 + len(payload) if length is None else length
    start = struct.pack("!HHH", *ports, said)
    if udp_checksum is None:
        pseudo = b"".join(map(socket.inet_aton, addresses)) + struct.pack("!HH", 17, said)
        udp_checksum = checksum(pseudo + (start + b"\0\0" + payload)[: max(said, 8)]) or 0xFFFF
    return start + struct.pack("!H", udp_checksum) + payload


def tcp_segment(
    addresses: tuple[str, str],
    ports: tuple[int, int],
    flags: int,
    *,
    sequence: int = 1000,
    acknowledged: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    words: int | None = None,
    reserved: int = 0,
    urgent: int = 0,
    damage: int = 0,
) -> bytes:
    """A TCP segment. `words`: its header length, if it is wrong. `damage` is added to the checksum."""
    words = 5 + len(options) // 4 if words is None else words
    fields = (*ports, sequence, acknowledged, words << 4 | reserved, flags, 65_535)
    start, end = struct.pack("!HHIIBBH", *fields), struct.pack("!H", urgent) + options + payload
    pseudo = b"".join(map(socket.inet_aton, addresses)) + struct.pack("!HH", 6, 18 + len(end))
    summed = (checksum(pseudo + start + b"\0\0" + end) + damage) % 65_536
    return start + struct.pack("!H", summed) + end


def ipv4_packet(
    addresses: tuple[str, str],
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    ttl: int = 64,
    tos: int = 0,
    fragment: int = 0,
    version: int = 4,
    words: int | None = None,
    total: int | None = None,
    damage: int = 0,
) -> bytes:
    """An IPv4 packet. `words`: its header length, and `total`: its length, if they are wrong."""
    words = 5 + len(options) // 4 if words is None else words
    total = 20 + len(options) + len(payload) if total is None else total
    start = struct.pack("!BBHHHBB", version << 4 | words, tos, total, 1, fragment, ttl, protocol)
    rest = b"".join(map(socket.inet_aton, addresses)) + options
    summed_length = max(words * 4, 20)
    summed = (checksum((start + b"\0\0" + rest + payload)[:summed_length]) + damage) % 65_536
    return start + struct.pack("!H", summed) + rest + payload


def ethernet(
    macs: tuple[bytes, bytes], packet: bytes, *, tags: tuple[tuple[int, int], ...] = (), kind: int = 0x800
) -> bytes:
    """A frame, padded to Ethernet's minimum length. `tags`: types and tag control information, outermost first."""
    vlan = b"".join(struct.pack("!HH", *tag) for tag in tags)
    return (b"".join(macs) + vlan + struct.pack("!H", kind) + packet).ljust(60, b"\xa5")


def group_mac(group: str) -> bytes:
    """The MAC address of an IPv4 group (RFC 1112, 6.4)."""
    address = socket.inet_aton(group)
    return bytes([1, 0, 0x5E, address[1] & 0x7F, *address[2:]])
