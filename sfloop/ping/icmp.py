"""ICMP echo messages (RFC 792; RFC 4443 section 4), and the kernel's sockets for them."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

_REQUEST: Final = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY: Final = {socket.AF_INET: 0, socket.AF_INET6: 129}


@dataclass
class EchoSocket:
    """A connected socket for echo requests. It is the kernel's ping socket if this user may open one
    (``net.ipv4.ping_group_range``), else a raw socket, which needs CAP_NET_RAW."""

    sock: socket.socket
    family: socket.AddressFamily
    raw: bool
    identifier: int

    @classmethod
    def open(cls, family: socket.AddressFamily, address: tuple[object, ...]) -> EchoSocket:
        """:raises PermissionError: this user may open neither kind."""
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            except PermissionError:
                continue
            try:
                sock.connect(address)
            except BaseException:
                sock.close()
                raise
            return cls(sock, family, kind == socket.SOCK_RAW, os.getpid() & 0xFFFF)
        raise PermissionError(
            "ICMP needs root, CAP_NET_RAW, or this user's group in net.ipv4.ping_group_range "
            "(sysctl -w net.ipv4.ping_group_range='0 2147483647'); --protocol udp needs neither"
        )

    def send(self, payload: bytes) -> None:
        self.sock.send(request(self.family, self.identifier, payload))

    def receive(self) -> bytes | None:
        """The payload of an echo reply to us, or None if another message arrived."""
        try:
            data = self.sock.recv(65_536)
        except OSError:  # nothing to read, or an ICMP error, which the timeout counts
            return None
        if self.raw and self.family == socket.AF_INET:
            data = data[(data[0] & 15) * 4 :]
        return reply(self.family, self.identifier if self.raw else None, data)


def request(family: int, identifier: int, payload: bytes) -> bytes:
    """An echo request. Its sequence number is the low 16 bits of the payload's number."""
    sequence = int.from_bytes(payload[6:8], "big")
    message = struct.pack(">BBHHH", _REQUEST[socket.AddressFamily(family)], 0, 0, identifier, sequence) + payload
    # The kernel fills in the checksum of ICMPv6, which covers the addresses.
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:] if family == socket.AF_INET else message


def reply(family: int, identifier: int | None, message: bytes) -> bytes | None:
    """The payload of an echo reply; None if it is another message or has another identifier. identifier None: any."""
    if len(message) < 8 or message[0] != _REPLY[socket.AddressFamily(family)] or message[1] != 0:
        return None
    if identifier is not None and struct.unpack_from(">H", message, 4)[0] != identifier:
        return None
    return message[8:]


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
