"""Ethernet frames as a test wants them, right or wrong."""

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
    """`macs`: destination and source. The UDP checksum is the right one if none is given."""
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
