"""A trivial XDP program, attached to an interface without sfloop: it passes everything."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from harness.link import Side

_libc = ctypes.CDLL(None, use_errno=True)
BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, LINK_CREATE = 5, 28
PROG_TYPE_XDP, ATTACH_XDP, XDP_FLAGS_DRV_MODE, XDP_PASS = 6, 37, 4, 2
RETURN_PASS = struct.pack("=BBhiBBhi", 0xB7, 0, 0, XDP_PASS, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, 128)
    found: int = _libc.syscall(BPF[platform.machine()], command, buffer, len(buffer))
    if found < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return found


@contextmanager
def attached(side: Side, interface: str) -> Iterator[None]:
    code, license_text = ctypes.create_string_buffer(RETURN_PASS), ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(code), ctypes.addressof(license_text)
    program = _bpf(PROG_LOAD, struct.pack("=IIQQ", PROG_TYPE_XDP, len(RETURN_PASS) // 8, *addresses))
    try:
        with side.entered():
            index = socket.if_nametoindex(interface)
            link = _bpf(LINK_CREATE, struct.pack("=IIII", program, index, ATTACH_XDP, XDP_FLAGS_DRV_MODE))
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)
