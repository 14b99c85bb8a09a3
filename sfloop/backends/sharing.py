"""What a loop's stack receives at, and why the kernel keeps some of it: for ``loop.describe()``."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

_PROTOCOLS = {socket.IPPROTO_UDP: "udp", socket.IPPROTO_TCP: "tcp"}
_REASONS = {
    "other socket": "a socket that is not this loop's receives there as well",
    "other loop": "another loop serves this TCP port as well, or the same socket",
    "other process": "another process holds the same socket",
    "kernel connections": "the kernel has TCP connections at this address and port",
    "other stations": "other stations, such as macvlan devices, receive by the interface, or groups are routed",
    "driver": "the driver refuses the filter",
}


class Filter(NamedTuple):
    """As the core lists them: addresses and ports in network byte order."""

    protocol: int
    address: int
    port: int
    remote: tuple[int, int]  # (0, 0): from everywhere
    why: str | None  # None: the driver brings the frames
    inode: int  # the other socket's; 0: none
    pid: int  # the other process; 0: none


def flows(filters: Iterable[tuple[int, int, int, tuple[int, int], str | None, int, int]]) -> list[dict[str, Any]]:
    """One entry for each address, port and peer: ``protocol``, ``address``, ``port``, ``by`` ("driver" or "kernel"),
    for a connected socket ``remote``, for the kernel ``why``, and ``process`` where the other one is known."""
    listed = sorted((Filter(*entry) for entry in filters), key=lambda entry: entry[:4])
    holders = _processes({entry.inode for entry in listed if entry.inode})
    return [_flow(entry, holders) for entry in listed]


def _flow(entry: Filter, holders: dict[int, str]) -> dict[str, Any]:
    flow: dict[str, Any] = {
        "protocol": _PROTOCOLS.get(entry.protocol, str(entry.protocol)),
        "address": _address(entry.address),
        "port": socket.ntohs(entry.port),
        "by": "driver" if entry.why is None else "kernel",
    }
    if entry.remote != (0, 0):
        flow["remote"] = (_address(entry.remote[0]), socket.ntohs(entry.remote[1]))
    if entry.why is not None:
        flow["why"] = _REASONS.get(entry.why, entry.why)
    process = _name(entry.pid) if entry.pid else holders.get(entry.inode)
    if process:
        flow["process"] = process
    return flow


def _address(address: int) -> str:
    return socket.inet_ntoa(address.to_bytes(4, sys.byteorder))


def _name(pid: int) -> str:
    """ "name (pid)"; of a process that is gone meanwhile only the number."""
    with suppress(OSError), open(f"/proc/{pid}/comm") as file:
        return f"{file.read().strip()} ({pid})"
    return f"({pid})"


def _processes(inodes: set[int]) -> dict[int, str]:
    """The processes that hold these sockets, as far as this one may look: inode → "name (pid)"."""
    found: dict[int, str] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")) if wanted else ():
        with suppress(OSError):  # another user's, or gone
            holds = {_target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")} & wanted.keys()
            found |= {wanted[target]: _name(int(pid)) for target in holds}
    return found


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
