"""VLAN tags outside the frame, as a VLAN device over a veth pair sends them, or as a NIC passes them on."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from harness.link import INTERFACE, Side

SO_MARK = 36
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _LINK_CREATE = 5, 28
_SCHED_CLS, _TCX_EGRESS = 3, 47

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    block = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = int(_libc.syscall(_SYS_BPF[platform.machine()], command, block, 128))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, target | source << 4, offset, value)


def _load(mark: int, tci: int) -> int:
    code = b"".join(
        (
            _instruction(0x61, 2, 1, 8),  # r2 = skb->mark
            _instruction(0x55, 2, 0, 3, mark),  # if r2 != mark goto out
            _instruction(0xB7, 2, 0, 0, socket.htons(0x8100)),  # r2 = the tag's type
            _instruction(0xB7, 3, 0, 0, tci),  # r3 = the tag
            _instruction(0x85, 0, 0, 0, 18),  # bpf_skb_vlan_push(r1, r2, r3)
            _instruction(0xB7, 0, 0, 0, -1),  # out: r0 = TCX_NEXT
            _instruction(0x95),
        )
    )
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    addresses = (ctypes.addressof(text), ctypes.addressof(licence))
    return _bpf(_PROG_LOAD, struct.pack("<IIQQ", _SCHED_CLS, len(code) // 8, *addresses))


@contextmanager
def tagged_aside(side: Side, mark: int, tci: int, interface: str = INTERFACE) -> Iterator[None]:
    """In this block, frames of sockets with this SO_MARK leave with a tag that is kept outside the frame."""
    program = _load(mark, tci)
    try:
        with side.entered():
            index = socket.if_nametoindex(interface)
            link = _bpf(_LINK_CREATE, struct.pack("<IIII", program, index, _TCX_EGRESS, 0))
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)
