"""An interface's XDP: the driver's features (generic netlink family ``netdev``, Linux 6.3 and later), and whether a
program is attached (rtnetlink). The requests change nothing and need no privileges."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Final

from sfloop.doctor.finding import UnseenError
from sfloop.doctor.netlink import ask, attribute, attributes

_NETLINK_GENERIC: Final = 16
_GENL_ID_CTRL: Final = 16
_RTM_GETLINK: Final = 18
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_KIND: Final = 1
_IFLA_XDP: Final = 43
_IFLA_XDP_ATTACHED: Final = 2

#: <linux/netdev.h>: enum netdev_xdp_act.
_FEATURES: Final = ("basic", "redirect", "ndo-xmit", "zero-copy", "hw-offload", "rx-sg", "ndo-xmit-sg")
#: <linux/netdev.h>: NETDEV_XDP_RX_METADATA_VLAN_TAG.
_METADATA_VLAN: Final = 4
#: <linux/if_link.h>: XDP_ATTACHED_*.
_ATTACHED: Final = {0: None, 1: "native", 2: "generic", 3: "offloaded", 4: "several"}


@dataclass(frozen=True)
class Xdp:
    """The XDP features and state of an interface."""

    #: A subset of ``basic`` (native mode), ``redirect``, ``zero-copy`` …; None: the kernel does not report them.
    features: frozenset[str] | None
    #: The mode of the attached program; None: no program is attached.
    attached: str | None
    #: Whether native mode gives a program the VLAN tag that is kept outside the frame.
    tells_tags: bool = False
    #: The kernel's name for this kind of device: ``veth``, ``bridge``; empty: a NIC.
    kind: str = ""


def xdp_of(interface: str) -> Xdp:
    """:raises UnseenError: the interface does not exist, or netlink does not work."""
    try:
        index = socket.if_nametoindex(interface)
        (features, tells_tags), (attached, kind) = _features(index), _link(index)
        return Xdp(features, attached, tells_tags, kind)
    except OSError as error:
        raise UnseenError(f"the kernel did not report {interface}'s XDP features ({error.strerror})") from None


def _features(index: int) -> tuple[frozenset[str] | None, bool]:
    # CTRL_CMD_GETFAMILY by CTRL_ATTR_FAMILY_NAME gives CTRL_ATTR_FAMILY_ID; NETDEV_CMD_DEV_GET by NETDEV_A_DEV_IFINDEX
    # gives NETDEV_A_DEV_XDP_FEATURES and, since Linux 6.8, NETDEV_A_DEV_XDP_RX_METADATA_FEATURES.
    try:
        family = ask(_NETLINK_GENERIC, _GENL_ID_CTRL, struct.pack("=BBxx", 3, 1) + attribute(2, b"netdev\0"))
        number = struct.unpack("=H", dict(attributes(family[4:]))[1])[0]
        answer = ask(_NETLINK_GENERIC, number, struct.pack("=BBxx", 1, 1) + attribute(1, struct.pack("=I", index)))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return None, False
        raise
    told = dict(attributes(answer[4:]))
    bits = struct.unpack("=Q", told[3])[0]
    metadata = struct.unpack("=Q", told[5])[0] if 5 in told else 0
    return frozenset(name for bit, name in enumerate(_FEATURES) if bits >> bit & 1), bool(metadata & _METADATA_VLAN)


def _link(index: int) -> tuple[str | None, str]:
    """(mode of the attached program, kind of device)."""
    link = ask(socket.NETLINK_ROUTE, _RTM_GETLINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0))
    told = dict(attributes(link[16:]))
    xdp = dict(attributes(told.get(_IFLA_XDP, b"")))
    kind = dict(attributes(told.get(_IFLA_LINKINFO, b""))).get(_IFLA_INFO_KIND, b"")
    return _ATTACHED.get(xdp.get(_IFLA_XDP_ATTACHED, b"\0")[0], "unknown"), kind.rstrip(b"\0").decode()
