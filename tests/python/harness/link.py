"""sfloop.testing's two network namespaces joined by a veth pair. Tests usually open a driver on the near end."""

from __future__ import annotations

import functools
import os
import shutil
import socket
from contextlib import suppress

from sfloop.testing.link import FAR, INTERFACE, NEAR, Link, Side
from sfloop.testing.link import veth_link as made_link
from sfloop.testing.netns import ip

__all__ = [
    "ETHTOOL_STSO",
    "ETHTOOL_STXCSUM",
    "FAR",
    "INTERFACE",
    "NEAR",
    "Link",
    "Side",
    "drain",
    "ip",
    "made_link",
    "unavailable",
]

ETHTOOL_STXCSUM = 0x17
ETHTOOL_STSO = 0x1F


@functools.cache
def unavailable() -> str | None:
    """Why these tests cannot run here, in one line; None: they can."""
    if shutil.which("ip") is None:
        return "the command ip is missing (iproute2)"
    if os.geteuid() != 0:
        return "network namespaces and XDP programs need root"
    return None


def drain(made: socket.socket) -> list[bytes]:
    """Read all data that has arrived, without waiting."""
    made.setblocking(False)
    taken = []
    with suppress(BlockingIOError):
        while True:
            taken.append(made.recv(65536))
    made.settimeout(2)
    return taken
