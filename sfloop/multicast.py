"""UDP multicast: join and leave groups, and open sockets that receive one group only.

Works with the datagram transports of any asyncio loop, and with plain sockets::

    sock = sfloop.multicast.open_socket("239.192.1.1", 26400, interface="enp1s0f0")
    transport, protocol = await loop.create_datagram_endpoint(Feed, sock=sock)

Name an interface, or give one of its own addresses; without an interface, the kernel's routing table selects one. With
``source=`` the socket receives only datagrams from that address (source-specific multicast, RFC 4607; the socket
options are those of RFC 3678). See ip(7) and ipv6(7).
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

__all__ = ["join", "leave", "open_socket"]

# From <linux/in.h>, <linux/in6.h> and <asm-generic/socket.h>, because Python's socket module lacks them.
IP_ADD_SOURCE_MEMBERSHIP: Final = 39
IP_DROP_SOURCE_MEMBERSHIP: Final = 40
MCAST_JOIN_SOURCE_GROUP: Final = 46
MCAST_LEAVE_SOURCE_GROUP: Final = 47
IP_MULTICAST_ALL: Final = 49
IPV6_MULTICAST_ALL: Final = 29
SO_RCVBUFFORCE: Final = 33

#: struct ip_mreqn: group, local address, interface index.
_IP_MREQN: Final = struct.Struct("=4s4si")
#: struct ip_mreq_source, its members in Linux's order: group, local address, source.
_IP_MREQ_SOURCE: Final = struct.Struct("=4s4s4s")
#: struct ipv6_mreq: group, interface index.
_IPV6_MREQ: Final = struct.Struct("=16sI")
#: struct sockaddr_in and sockaddr_in6, each padded to the 128 bytes of a struct sockaddr_storage. The ports and the
#: flow label are 0; the family is in host byte order.
_SOCKADDR_IN: Final = struct.Struct("=HH4s120x")
_SOCKADDR_IN6: Final = struct.Struct("=HHI16sI100x")
#: struct group_source_req: interface index, padding to the alignment of a pointer, group, source.
_GROUP_SOURCE_REQ: Final = struct.Struct("@I0P128s128s")

_IPAddress = IPv4Address | IPv6Address


class _HasExtraInfo(Protocol):
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class _Socket(Protocol):
    """The methods that this module needs of a socket. asyncio's ``TransportSocket`` has them, too."""

    @property
    def family(self) -> int: ...
    def fileno(self) -> int: ...
    def setsockopt(self, level: int, option: int, value: bytes | int, /) -> None: ...


def join(
    endpoint: _HasExtraInfo | _Socket, group: str, *, interface: str | None = None, source: str | None = None
) -> None:
    """Join a multicast group on a UDP transport or socket.

    :param endpoint: a datagram transport of any asyncio loop, or a socket.
    :param group: the group's address, IPv4 (224.0.0.0/4) or IPv6 (ff00::/8), of the socket's family.
    :param interface: the interface to receive the group on: its name, or one of its own addresses.
    :param source: receive only datagrams that this address sends to the group.
    :raises ValueError: the group is not a multicast address, or an address is malformed or of another family.
    :raises TypeError: the endpoint is neither a transport nor a socket, or an address is not a string.
    :raises OSError: the interface or address does not exist, the socket has already joined the group (``EADDRINUSE``),
        the kernel's limit of groups is reached (``ENOBUFS``), or the endpoint is closed.
    """
    _change_membership(endpoint, group, interface, source, joining=True)


def leave(
    endpoint: _HasExtraInfo | _Socket, group: str, *, interface: str | None = None, source: str | None = None
) -> None:
    """Leave a group that was joined with the same arguments. To close the socket leaves all its groups.

    :raises ValueError: the group is not a multicast address, or an address is malformed or of another family.
    :raises OSError: the socket has not joined that group there (``EADDRNOTAVAIL``), or the endpoint is closed.
    """
    _change_membership(endpoint, group, interface, source, joining=False)


def open_socket(
    group: str,
    port: int,
    *,
    interface: str | None = None,
    source: str | None = None,
    reuse: bool = True,
    rcvbuf: int | None = None,
) -> socket.socket:
    """Open a non-blocking UDP socket that has joined a group, for ``create_datagram_endpoint(sock=...)``.

    The socket is bound to the group's address, so it receives no datagrams for this host or for other groups on the
    same port. A socket bound to the wildcard address would receive every group that any socket on the machine has
    joined.

    :param port: the UDP port, 0 to 65535; 0: any free port.
    :param interface: the interface to receive the group on: its name, or one of its own addresses.
    :param source: receive only datagrams that this address sends to the group.
    :param reuse: share the group and port with other sockets that also set ``SO_REUSEADDR``. Each socket receives every
        datagram.
    :param rcvbuf: the receive buffer in bytes (``SO_RCVBUF``). The kernel doubles it for its own accounting. It is
        limited to ``net.core.rmem_max``, except with ``CAP_NET_ADMIN`` (``SO_RCVBUFFORCE``).
    :return: the socket; the caller or the transport closes it.
    :raises ValueError: the group is not a multicast address, the port is out of range, or an address is malformed.
    :raises OSError: the interface or address does not exist, or the port is taken (``EADDRINUSE``).
    """
    address = _group(group)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port={port!r}: must be a UDP port, 0 to 65535")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf is not None:
            _set_receive_buffer(sock, rcvbuf)
        # By default Linux gives a socket the datagrams of every group that any socket on the machine has joined. bind()
        # limits them to this group; this option limits them to the socket's own membership, with its interface and
        # source.
        if address.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
        _bind(sock, address, port, interface)
        join(sock, group, interface=interface, source=source)
    except BaseException:
        sock.close()
        raise
    return sock


def _change_membership(
    endpoint: _HasExtraInfo | _Socket, group: str, interface: str | None, source: str | None, *, joining: bool
) -> None:
    sock = _socket_of(endpoint)
    address = _group(group)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    if sock.family != family:
        raise ValueError(
            f"group={group!r} is an IPv{address.version} address, but the socket is of family "
            f"{socket.AddressFamily(sock.family).name}; open it with family {family.name}"
        )
    level = socket.IPPROTO_IP if address.version == 4 else socket.IPPROTO_IPV6
    option, request = _membership(address, interface, None if source is None else _source(source, address), joining)
    try:
        sock.setsockopt(level, option, request)
    except OSError as error:
        _explain_membership(error, group, interface, source, joining)


def _membership(
    group: _IPAddress, interface: str | None, source: _IPAddress | None, joining: bool
) -> tuple[int, bytes]:
    """The socket option that joins or leaves the group, and its value."""
    local = _local_ipv4(interface) if group.version == 4 else None
    if source is not None and local is not None:
        option = IP_ADD_SOURCE_MEMBERSHIP if joining else IP_DROP_SOURCE_MEMBERSHIP
        return option, _IP_MREQ_SOURCE.pack(group.packed, local.packed, source.packed)
    index = 0 if local is not None else _interface_index(interface, group)
    if source is not None:
        option = MCAST_JOIN_SOURCE_GROUP if joining else MCAST_LEAVE_SOURCE_GROUP
        return option, _GROUP_SOURCE_REQ.pack(index, _sockaddr_storage(group), _sockaddr_storage(source))
    if group.version == 4:
        option = socket.IP_ADD_MEMBERSHIP if joining else socket.IP_DROP_MEMBERSHIP
        # The kernel uses the index if it is not 0, else the address if it is not 0, else the routing table.
        return option, _IP_MREQN.pack(group.packed, bytes(4) if local is None else local.packed, index)
    option = socket.IPV6_JOIN_GROUP if joining else socket.IPV6_LEAVE_GROUP
    return option, _IPV6_MREQ.pack(group.packed, index)


def _sockaddr_storage(address: _IPAddress) -> bytes:
    if address.version == 4:
        return _SOCKADDR_IN.pack(socket.AF_INET, 0, address.packed)
    return _SOCKADDR_IN6.pack(socket.AF_INET6, 0, 0, address.packed, 0)


def _bind(sock: socket.socket, group: _IPAddress, port: int, interface: str | None) -> None:
    if group.version == 4:
        where: tuple[Any, ...] = (str(group), port)
    else:
        # Groups of interface scope and link scope (ff01::/16, ff02::/16) need an interface.
        index = _interface_index(interface, group)
        if index == 0 and group.packed[1] & 0x0F in (1, 2):
            raise ValueError(f"group={str(group)!r} has link scope: give its interface, too, such as interface='eth0'")
        where = (str(group).partition("%")[0], port, 0, index)
    try:
        sock.bind(where)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise OSError(error.errno, f"cannot bind to group {group}, port {port}: {error.strerror}") from None
        raise OSError(
            errno.EADDRINUSE,
            f"group {group}, port {port} is taken by another socket; to receive it on several sockets, open each "
            f"of them with reuse=True (SO_REUSEADDR)",
        ) from None


def _explain_membership(
    error: OSError, group: str, interface: str | None, source: str | None, joining: bool
) -> NoReturn:
    where = f"{group}{'' if source is None else f' from {source}'}{'' if interface is None else f' on {interface}'}"
    if joining:
        hint = {
            errno.EADDRINUSE: "this socket has already joined it",
            errno.EADDRNOTAVAIL: "this socket has already joined it from that source",
            errno.ENODEV: "no interface has that address, or no route leads to the group; give an interface, such as "
            "interface='eth0', or add a route (ip route add 224.0.0.0/4 dev …)",
            errno.ENOBUFS: "the limit of groups or sources for a socket is reached; raise "
            "net.ipv4.igmp_max_memberships, net.ipv4.igmp_max_msf or net.ipv6.mld_max_msf",
        }
    else:
        hint = {
            errno.EADDRNOTAVAIL: "this socket has not joined it; give the interface and source it was joined with",
            errno.EINVAL: "this socket has not joined it; give the interface and source it was joined with",
            errno.ENODEV: "no interface has that address",
        }
    detail = hint.get(error.errno or 0, error.strerror)
    verb = "join" if joining else "leave"
    raise OSError(error.errno, f"cannot {verb} multicast group {where}: {detail}") from None


def _socket_of(endpoint: _HasExtraInfo | _Socket) -> _Socket:
    if hasattr(endpoint, "get_extra_info"):
        sock = endpoint.get_extra_info("socket")
        if sock is None:
            raise OSError(errno.EBADF, f"{endpoint!r} has no socket: it is closed, or it is not a network transport")
    else:
        sock = endpoint
    if not hasattr(sock, "setsockopt"):
        raise TypeError(f"a datagram transport or a socket is needed, not {type(endpoint).__name__} {endpoint!r}")
    try:
        # Not fileno(), which a bypass transport's socket does not have.
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    except OSError as error:
        raise OSError(error.errno, "the socket is closed") from None
    result: _Socket = sock
    return result


def _group(group: str) -> _IPAddress:
    address = _address("group", group)
    if not address.is_multicast:
        raise ValueError(
            f"group={group!r}: not a multicast address; those are 224.0.0.0 to 239.255.255.255 and, for IPv6, ff00::/8"
        )
    return address


def _source(source: str, group: _IPAddress) -> _IPAddress:
    address = _address("source", source)
    if address.version != group.version:
        raise ValueError(f"source={source!r}: must be an IPv{group.version} address, as the group {group} is")
    if address.is_multicast or address.is_unspecified:
        raise ValueError(f"source={source!r}: must be the address of one sender")
    return address


def _address(label: str, text: str) -> _IPAddress:
    if not isinstance(text, str):
        raise TypeError(f"{label}={text!r}: must be an IP address as a string, not {type(text).__name__}")
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{label}={text!r}: not an IP address (host names are not resolved here)") from None


def _literal(interface: str) -> _IPAddress | None:
    if not isinstance(interface, str) or not interface:
        raise TypeError(
            f"interface={interface!r}: must be an interface's name or one of its own addresses, as a string"
        )
    try:
        return ip_address(interface)
    except ValueError:
        return None


def _local_ipv4(interface: str | None) -> IPv4Address | None:
    """The address, if an IPv4 address was given in place of the interface's name."""
    address = None if interface is None else _literal(interface)
    if isinstance(address, IPv6Address):
        raise ValueError(f"interface={interface!r}: for an IPv4 group it must be a name or an IPv4 address")
    return address


def _interface_index(interface: str | None, group: _IPAddress) -> int:
    """The interface's index; 0 lets the kernel choose. An IPv6 group may contain its interface: ``ff02::1%eth0``."""
    if interface is None:
        interface = getattr(group, "scope_id", None)
    if interface is None:
        return 0
    address = _literal(interface)
    if address is not None:
        return _index_with(interface, address)
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        present = ", ".join(repr(name) for _, name in socket.if_nameindex())
        raise OSError(errno.ENODEV, f"interface={interface!r}: no such interface; this machine has {present}") from None


def _index_with(interface: str, address: _IPAddress) -> int:
    """The index of the interface that has an IPv6 address, because the kernel takes only an index. Each line of
    if_inet6 has the address, the interface's index, prefix length, scope and flags, all in hexadecimal, and the
    interface's name."""
    if address.version == 4:
        raise ValueError(f"interface={interface!r}: for an IPv6 group it must be a name or an IPv6 address")
    own = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    for fields in own:
        if bytes.fromhex(fields[0]) == address.packed:
            return int(fields[1], 16)
    listed = ", ".join(f"{IPv6Address(bytes.fromhex(fields[0]))} ({fields[-1]})" for fields in own) or "none"
    raise OSError(
        errno.EADDRNOTAVAIL,
        f"interface={interface!r}: no interface has that address; this machine's IPv6 addresses are {listed}",
    )


def _set_receive_buffer(sock: socket.socket, size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        raise ValueError(f"rcvbuf={size!r}: must be a number of bytes above 0, or None for the system's default")
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
