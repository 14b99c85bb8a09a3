"""The addresses and ports that a loop's stack receives at, and why the kernel keeps some of them
(``loop.describe()``)."""

from __future__ import annotations

import errno
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


_IPV6 = "the kernel carries IPv6"
_IPV6_ONLY = "the kernel carries IPv6, and the socket is for IPv6 only (IPV6_V6ONLY)"
_REFUSED = "the stack does not serve this socket of both families"


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


def ipv6(served: Iterable[tuple[int, str | None]]) -> list[dict[str, Any]]:
    """List what the kernel receives at the loop's IPv6 sockets, in the form of flows().

    :param served: the descriptor of each listener and transport, and the name of the stack that carries it.
    """
    listed = []
    for fd, stack in served:
        with suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            protocol = _PROTOCOLS.get(sock.proto)
            if sock.family != socket.AF_INET6 or protocol is None or not _receives(sock):
                continue
            address, port = sock.getsockname()[:2]
            if stack == "kernel" or address == "::":
                why = _IPV6 if stack != "kernel" else reason(sock)
                listed.append({"protocol": protocol, "address": address, "port": port, "by": "kernel", "why": why})
    return sorted(listed, key=lambda flow: (flow["protocol"], flow["address"], flow["port"]))


def reason(sock: socket.socket) -> str:
    """Why the kernel carries an IPv6 socket."""
    address = sock.getsockname()[0]
    if address != "::" and not address.startswith("::ffff:"):
        return _IPV6
    return _IPV6_ONLY if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) else _REFUSED


def check_fallback(sock: socket.socket) -> None:
    """Check a UDP socket of a loop with fallback="error".

    :raises OSError: it would receive at the stack's interface, and only by the kernel.
    """
    if sock.family != socket.AF_INET6 or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return
    if sock.getsockname()[0] == "::" and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16):
        raise OSError(
            errno.EOPNOTSUPP, f"{_IPV6_ONLY}, but fallback is 'error'. Clear IPV6_V6ONLY, or set fallback to 'kernel'"
        )


def _receives(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_DGRAM or bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


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
