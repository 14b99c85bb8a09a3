"""sfloop.testing's two network namespaces joined by a veth pair. Tests usually open a driver on the near end."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
    "attach_container",
    "drain",
    "forward",
    "host_behind",
    "ip",
    "made_link",
    "namespace_of",
    "unavailable",
]

#: The address of host_behind().
BEHIND = "198.18.9.2"
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


@contextmanager
def namespace_of(side: Side) -> Iterator[Side]:
    """Make the namespace of one more side. It is deleted after the block."""
    ip("netns", "add", side.namespace)
    try:
        yield side
    finally:
        subprocess.run(["ip", "netns", "del", side.namespace], capture_output=True, check=False)


def forward(side: Side) -> None:
    """Let the side route packets of others."""
    with side.entered(), open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")


@contextmanager
def host_behind(router: Side, interface: str) -> Iterator[Side]:
    """Make a host that reaches the others through `router`, by a veth pair whose end there is `interface`."""
    host = Side(router.namespace.replace("far", "behind"), BEHIND)
    with namespace_of(host):
        router.ip("link", "add", interface, "type", "veth", "peer", "name", INTERFACE, "netns", host.namespace)
        host.ip("address", "add", f"{BEHIND}/24", "dev", INTERFACE)
        host.set_link("up")
        host.ip("route", "add", "default", "via", "198.18.9.1")
        router.ip("address", "add", "198.18.9.1/24", "dev", interface)
        router.ip("link", "set", interface, "up")
        yield host


def attach_container(link: Link, side: Side) -> None:
    """Connect a side by a veth pair whose other end is on the near side, which routes for it: as containers are."""
    link.near.ip("link", "add", "c0", "type", "veth", "peer", "name", "box0", "netns", side.namespace)
    link.near.ip("address", "add", "172.31.9.1/24", "dev", "c0")
    link.near.ip("link", "set", "c0", "up")
    side.ip("address", "add", f"{side.address}/24", "dev", "box0")
    side.ip("link", "set", "box0", "up")
    side.ip("route", "add", "default", "via", "172.31.9.1")
    link.far.ip("route", "add", "172.31.9.0/24", "via", NEAR)
    forward(link.near)
