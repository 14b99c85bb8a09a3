"""What a loop's stack receives at, and why the kernel keeps some of it: for ``loop.describe()``."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

_PROTOCOLS = {socket.IPPROTO_UDP: "udp", socket.IPPROTO_TCP: "tcp"}
_REASONS = {
    "other socket": "a socket that is not this loop's receives there as well",
    "other loop": "another loop serves this TCP port as well, or the same socket",
    "kernel connections": "the kernel has TCP connections at this address and port",
    "other stations": "other stations, such as macvlan devices, receive by the interface, or groups are routed",
    "driver": "the driver refuses the filter",
}


def flows(filters: Iterable[tuple[int, int, int, str | None, int]]) -> list[dict[str, Any]]:
    """One entry for each address and port: ``protocol``, ``address``, ``port``, ``by`` ("driver" or "kernel"), and for
    the kernel ``why``, and ``process`` where the other socket's is known."""
    listed = sorted(filters)
    holders = _processes({inode for *_, inode in listed if inode})
    return [_flow(*entry, holders) for entry in listed]


def _flow(protocol: int, addr: int, port: int, why: str | None, inode: int, holders: dict[int, str]) -> dict[str, Any]:
    flow: dict[str, Any] = {
        "protocol": _PROTOCOLS.get(protocol, str(protocol)),
        "address": socket.inet_ntoa(addr.to_bytes(4, sys.byteorder)),
        "port": socket.ntohs(port),
        "by": "driver" if why is None else "kernel",
    }
    if why is not None:
        flow["why"] = _REASONS.get(why, why)
    if inode in holders:
        flow["process"] = holders[inode]
    return flow


def _processes(inodes: set[int]) -> dict[int, str]:
    """The processes that hold these sockets, as far as this one may look: inode → "name (pid)"."""
    found: dict[int, str] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")) if wanted else ():
        with suppress(OSError):  # another user's, or gone
            holds = {_target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")} & wanted.keys()
            if not holds:
                continue
            with open(f"/proc/{pid}/comm") as file:
                name = file.read().strip()
            found |= {wanted[target]: f"{name} ({pid})" for target in holds}
    return found


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
