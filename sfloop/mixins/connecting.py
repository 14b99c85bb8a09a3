"""How a connection is opened: by the stack that reaches the address, else by the kernel."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from sfloop.mixins.sockets import SocketCalls
from sfloop.native.cores import stackstream
from sfloop.native.cores.address import check_name, check_path
from sfloop.native.cores.stackstream import StackStream
from sfloop.transports.stacksocket import StackSocket

P = TypeVar("P", bound=asyncio.BaseProtocol)

# Set within create_connection(), where what connects is the loop's to choose: a list for the stream of a stack's. The
# program's own sock_connect() is about its own socket.
_for_transport: ContextVar[list[StackStream] | None] = ContextVar("_for_transport", default=None)


_FULL = (
    ": the stack has as many connections as it can have, with those that were closed and are not over yet; TCPDirect "
    "has 64 (further ones go by the kernel with fallback='kernel'), tcpip max_connections (Options(tcp={...}))"
)


class Connections(SocketCalls):
    """asyncio's ``create_connection`` with its happy eyeballs, over all of the loop's stacks."""

    __slots__ = ()

    async def _connect_sock(self, exceptions: list[Any], addr_info: Any, local_addr_infos: Any = None) -> Any:
        connecting = super()._connect_sock(exceptions, addr_info, local_addr_infos)
        del exceptions  # the error will be in it, and this frame in the error's traceback: a cycle
        if addr_info[0] != socket.AF_INET or not stackstream.can_connect(self):
            return await connecting
        opened: list[StackStream] = []
        token = _for_transport.set(opened)
        try:
            # asyncio's code makes and binds a socket and calls sock_connect() with it.
            sock = await connecting
        finally:
            _for_transport.reset(token)
        if not opened:
            return sock
        sock.close()  # the stack holds the port by a duplicate
        return StackSocket(opened[0])

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket. As ``asyncio.loop.sock_connect``: always by the kernel."""
        opened = _for_transport.get()
        if opened is not None:
            stream = await self._connect_by_stack(sock, address)
            if stream is not None:
                opened.append(stream)
                return
        check_path(address)
        await super().sock_connect(sock, address)

    async def create_datagram_endpoint(
        self, protocol_factory: Callable[[], P], *addresses: Any, sock: socket.socket | None = None, **given: Any
    ) -> tuple[asyncio.DatagramTransport, P]:
        """Create a datagram endpoint. As ``asyncio.loop.create_datagram_endpoint``, with ``sock`` of any type but
        SOCK_STREAM (new in Python 3.11.9 and 3.12.3) on every version."""
        if sock is None or sock.type in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            return await super().create_datagram_endpoint(protocol_factory, *addresses, sock=sock, **given)
        if any(addresses) or any(given.values()):
            raise ValueError(f"no further argument can be used when sock is specified: {addresses}, {given}")
        sock.setblocking(False)
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_datagram_transport(sock, protocol, None, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """Look up a host and a service. As ``asyncio.loop.getaddrinfo``.

        :raises ValueError: one of them has a NUL.
        """
        check_name("host", host)
        check_name("port", port)
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    async def _connect_by_stack(self, sock: socket.socket, address: tuple[str, int]) -> StackStream | None:
        host, port = address
        try:
            packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
        except (OSError, struct.error):
            return None  # the kernel's call has the right words for it
        waiter = self.create_future()
        stream = None
        try:
            stream = stackstream.connect(self, sock.fileno(), packed, waiter)
            if stream is None or await waiter:
                return stream
        except OSError as exc:
            if stream is not None:
                stream.close()
            more = _FULL if exc.errno == errno.ENOBUFS else ""
            raise OSError(exc.errno, f"Connect call failed {address}{more}") from None  # as asyncio's
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        stream.close()
        return None
