"""An interface's XDP: what its driver can do (the kernel's generic netlink family ``netdev``, Linux 6.3 and later), and
whether a program is attached (rtnetlink). Asking changes nothing and needs no privileges."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sfloop.doctor.finding import UnseenError

_NETLINK_GENERIC: Final = 16
_REQUEST: Final = 1  # NLM_F_REQUEST
_ERROR: Final = 2  # NLMSG_ERROR
_GENL_ID_CTRL: Final = 16
_RTM_GETLINK: Final = 18
_IFLA_XDP: Final = 43
_IFLA_XDP_ATTACHED: Final = 2

#: <linux/netdev.h>: enum netdev_xdp_act.
_FEATURES: Final = ("basic", "redirect", "ndo-xmit", "zero-copy", "hw-offload", "rx-sg", "ndo-xmit-sg")
#: <linux/if_link.h>: XDP_ATTACHED_*.
_ATTACHED: Final = {0: None, 1: "native", 2: "generic", 3: "offloaded", 4: "several"}


@dataclass(frozen=True)
class Xdp:
    """What an interface's driver does with XDP."""

    #: Of ``basic`` (native mode), ``redirect``, ``zero-copy`` …; None: the kernel does not tell.
    features: frozenset[str] | None
    #: The mode in which a program is attached now; None: there is none.
    attached: str | None


def xdp_of(interface: str) -> Xdp:
    """:raises UnseenError: there is no such interface, or netlink is not to be had."""
    try:
        index = socket.if_nametoindex(interface)
        return Xdp(_features(index), _attached(index))
    except OSError as error:
        raise UnseenError(f"the kernel does not answer on {interface}'s XDP ({error.strerror})") from None


def _features(index: int) -> frozenset[str] | None:
    # CTRL_CMD_GETFAMILY by CTRL_ATTR_FAMILY_NAME gives CTRL_ATTR_FAMILY_ID; NETDEV_CMD_DEV_GET by NETDEV_A_DEV_IFINDEX
    # gives NETDEV_A_DEV_XDP_FEATURES.
    try:
        family = _ask(_NETLINK_GENERIC, _GENL_ID_CTRL, struct.pack("=BBxx", 3, 1) + _attribute(2, b"netdev\0"))
        number = struct.unpack("=H", dict(_attributes(family[4:]))[1])[0]
        answer = _ask(_NETLINK_GENERIC, number, struct.pack("=BBxx", 1, 1) + _attribute(1, struct.pack("=I", index)))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return None
        raise
    bits = struct.unpack("=Q", dict(_attributes(answer[4:]))[3])[0]
    return frozenset(name for bit, name in enumerate(_FEATURES) if bits >> bit & 1)


def _attached(index: int) -> str | None:
    link = _ask(socket.NETLINK_ROUTE, _RTM_GETLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0))
    xdp = dict(_attributes(link[16:])).get(_IFLA_XDP, b"")
    return _ATTACHED.get(dict(_attributes(xdp)).get(_IFLA_XDP_ATTACHED, b"\0")[0], "unknown")


def _ask(protocol: int, kind: int, payload: bytes) -> bytes:
    """The payload of the one answer to a request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.settimeout(0.5)
        netlink.send(struct.pack("=IHHII", 16 + len(payload), kind, _REQUEST, 1, 0) + payload)
        answer = netlink.recv(65536)
    length, answered = struct.unpack_from("=IH", answer)
    if answered == _ERROR:
        number = -struct.unpack_from("=i", answer, 16)[0]
        raise OSError(number, os.strerror(number))
    return answer[16:length]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3 :]
