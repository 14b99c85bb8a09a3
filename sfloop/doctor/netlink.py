"""Netlink requests that only read, and the attributes of the answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from sfloop.doctor.finding import UnseenError

_REQUEST: Final = 1  # NLM_F_REQUEST
_DUMP: Final = 0x300  # NLM_F_DUMP
_ERROR: Final = 2  # NLMSG_ERROR
_DONE: Final = 3  # NLMSG_DONE
_HEADER: Final = 16  # struct nlmsghdr
_SECONDS: Final = 0.5


def index_of(interface: str) -> int:
    """The kernel's index of an interface.

    :raises UnseenError: the interface does not exist.
    """
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise UnseenError(f"there is no interface {interface}") from None


def ask(protocol: int, kind: int, payload: bytes) -> bytes:
    """Make a request and return the payload of its single answer.

    :raises OSError: the kernel refuses, or does not answer in time.
    """
    with _asked(protocol, kind, _REQUEST, payload) as netlink:
        for answer in _messages(netlink.recv(65536)):
            return answer
    raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))


def dump(protocol: int, kind: int, payload: bytes) -> Iterator[bytes]:
    """Make a dump request and yield the payloads of all answers.

    :raises OSError: the kernel refuses, or does not answer in time.
    """
    with _asked(protocol, kind, _REQUEST | _DUMP, payload) as netlink:
        while True:
            answer = netlink.recv(1 << 17)
            yield from _messages(answer)
            if _ends(answer):
                return


def _asked(protocol: int, kind: int, flags: int, payload: bytes) -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    try:
        netlink.settimeout(_SECONDS)
        netlink.send(struct.pack("=IHHII", _HEADER + len(payload), kind, flags, 1, 0) + payload)
    except BaseException:
        netlink.close()
        raise
    return netlink


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER:
        length, kind = struct.unpack_from("=IH", data)
        if not _HEADER <= length <= len(data):
            return
        yield kind, data[_HEADER:length]
        data = data[length + 3 & ~3 :]


def _messages(data: bytes) -> Iterator[bytes]:
    for kind, payload in _split(data):
        if kind in (_ERROR, _DONE):
            # If a dump fails midway, its last message has the error.
            number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
            if number > 0:
                raise OSError(number, os.strerror(number))
            return
        yield payload


def _ends(data: bytes) -> bool:
    return not data or any(kind in (_ERROR, _DONE) for kind, _ in _split(data))


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3 :]
