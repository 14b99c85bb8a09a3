"""Capabilities of this thread: drop some for a while, like a program that has dropped its privileges."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522  # linux/capability.h
PR_CAPBSET_DROP = 24  # linux/prctl.h
NET_ADMIN, NET_RAW, IPC_LOCK, SYS_ADMIN, SYS_RESOURCE, PERFMON, BPF = 12, 13, 14, 21, 24, 38, 39

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _call(function: str, sets: ctypes.Array[_Sets]) -> None:
    if getattr(_libc, function)(ctypes.byref(_Header(_VERSION_3, 0)), sets) != 0:
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")


@contextmanager
def none_effective() -> Iterator[None]:
    """In this block no capability is effective in this thread. The permitted ones come back at the end."""
    sets = (_Sets * 2)()
    _call("capget", sets)
    before = [half.effective for half in sets]
    for half in sets:
        half.effective = 0
    _call("capset", sets)
    try:
        yield
    finally:
        for half, effective in zip(sets, before, strict=True):
            half.effective = effective
        _call("capset", sets)


def withhold(*capabilities: int) -> None:
    """Keep these from the programs that this process executes, though it is root. For a child, before it executes."""
    for capability in capabilities:
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            os._exit(1)
