"""Traffic control on an interface's ingress path: filters of tc (rtnetlink), and programs of tcx (bpf(2))."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from typing import Final

from sfloop.doctor.finding import UnseenError
from sfloop.doctor.netlink import dump, index_of

_RTM_GETTFILTER: Final = 46
_INGRESS: Final = 0xFFFFFFF2  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
_BPF_PROG_QUERY: Final = 16
_BPF_TCX_INGRESS: Final = 46
_BPF_CALL: Final = {"x86_64": 321, "aarch64": 280}

_libc = ctypes.CDLL(None, use_errno=True)


def ingress(interface: str) -> tuple[int, int]:
    """Count the (filters of tc, programs of tcx) on an interface's ingress path.

    :raises UnseenError: this process may not list them, or the interface does not exist.
    """
    index = index_of(interface)
    try:
        return _filters(index), _programs(index)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise UnseenError("this process may not list the programs of tcx: run as root") from None
        raise UnseenError(f"the kernel did not return {interface}'s tc filters ({error.strerror})") from None


def _filters(index: int) -> int:
    asked = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, _INGRESS, 0)
    try:
        # A filter has several messages (its head, its hash tables, its rules) with the same priority and protocol.
        messages = dump(socket.NETLINK_ROUTE, _RTM_GETTFILTER, asked)
        return len({struct.unpack_from("=I", message, 16)[0] for message in messages if len(message) >= 20})
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP):
            return 0  # the interface has no ingress qdisc, or the kernel does not support one
        raise


def _programs(index: int) -> int:
    number = _BPF_CALL.get(platform.machine())
    if number is None:
        return 0
    # union bpf_attr, query: target_ifindex, attach_type, query_flags, attach_flags, prog_ids, count.
    attributes = ctypes.create_string_buffer(struct.pack("=IIIIQI", index, _BPF_TCX_INGRESS, 0, 0, 0, 0), 64)
    if _libc.syscall(number, _BPF_PROG_QUERY, attributes, len(attributes)) < 0:
        error = ctypes.get_errno()
        if error in (errno.EINVAL, errno.ENOSYS, errno.ENOENT):
            return 0  # Linux before 6.6 has no tcx
        raise OSError(error, os.strerror(error))
    return int(struct.unpack_from("=I", attributes.raw, 24)[0])
