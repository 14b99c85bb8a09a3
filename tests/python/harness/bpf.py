"""BPF programs of the tests' own, attached to an interface without sfloop's loader."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from harness.link import Side

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _LINK_CREATE = 5, 28

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    block = ctypes.create_string_buffer(attributes, 128)
    result = int(_libc.syscall(_SYS_BPF[platform.machine()], command, block, len(block)))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """Encode one instruction, a struct bpf_insn."""
    return struct.pack("<BBhi", code, target | source << 4, offset, value)


def load(kind: int, code: bytes) -> int:
    """Load a program of a kind (enum bpf_prog_type); return its descriptor."""
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    addresses = (ctypes.addressof(text), ctypes.addressof(licence))
    return _bpf(_PROG_LOAD, struct.pack("<IIQQ", kind, len(code) // 8, *addresses))


@contextmanager
def attached(side: Side, interface: str, program: int, hook: int, flags: int = 0) -> Iterator[None]:
    """Attach a loaded program to a hook (enum bpf_attach_type) of an interface, and close the program's descriptor. The
    program is detached after the block."""
    try:
        with side.entered():
            index = socket.if_nametoindex(interface)
            link = _bpf(_LINK_CREATE, struct.pack("<IIII", program, index, hook, flags))
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)
