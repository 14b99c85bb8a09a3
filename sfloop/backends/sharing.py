"""The addresses and ports that a loop's stack receives at, and why the kernel keeps some of them
(``loop.describe()``)."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

_PROTOCOLS = {socket.IPPROTO_UDP: "udp", socket.IPPROTO_TCP: "tcp"}
_REASONS = {
    "other socket": "a socket outside this loop receives there, too",
    "other loop": "another loop serves this TCP port or the same socket, too",
    "other process": "another process holds the same socket",
    "kernel connections": "the kernel has TCP connections at this address and port",
    "other stations": "other stations receive here, such as macvlan devices, or the kernel routes multicast",
    "driver": "the driver refused the filter",
}


class Filter(NamedTuple):
    """One filter as the native core lists it. Addresses and ports are in network byte order."""

    protocol: int
    address: int
    port: int
    remote: tuple[int, int]  # (0, 0): any peer
    why: str | None  # None: the driver receives the frames
    inode: int  # the other socket's inode; 0: none
    pid: int  # the other process; 0: none


def flows(filters: Iterable[tuple[int, int, int, tuple[int, int], str | None, int, int]]) -> list[dict[str, Any]]:
    """Convert the core's list to one dictionary for each address, port and peer. Keys: ``protocol``, ``address``,
    ``port`` and ``by`` (``"driver"`` or ``"kernel"``); ``remote`` of a connected socket; ``why`` if it is the kernel;
    ``process`` if the other receiver is known."""
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
    """ "name (pid)", or "(pid)" if the process has ended."""
    with suppress(OSError), open(f"/proc/{pid}/comm") as file:
        return f"{file.read().strip()} ({pid})"
    return f"({pid})"


def _processes(inodes: set[int]) -> dict[int, str]:
    """The processes that hold these sockets: inode → "name (pid)". Lists only processes that this one may inspect."""
    found: dict[int, str] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc")) if wanted else ():
        with suppress(OSError):  # another user's process, or it has ended
            holds = {_target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")} & wanted.keys()
            found |= {wanted[target]: _name(int(pid)) for target in holds}
    return found


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
