"""Opening connections: through the stack that reaches the address, else through the kernel."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from sfloop.mixins.importing import Imports
from sfloop.mixins.sockets import SocketCalls
from sfloop.native.cores import stackstream
from sfloop.native.cores.address import check_name, check_path
from sfloop.native.cores.stackstream import StackStream
from sfloop.transports.base import connected
from sfloop.transports.stacksocket import StackSocket

P = TypeVar("P", bound=asyncio.BaseProtocol)

# Set within create_connection(), where the loop may choose the stack: a list that receives the stack's stream. Outside
# it is None, because a program's own sock_connect() must connect that very socket.
_for_transport: ContextVar[list[StackStream] | None] = ContextVar("_for_transport", default=None)


_FULL = (
    ": the stack's limit of connections is reached, including closed ones that have not ended yet. TCPDirect has 64 "
    "(fallback='kernel' lets the kernel make more); raise tcpip's by Options(tcp={'max_connections': …})"
)


class Connections(SocketCalls):
    """asyncio's ``create_connection`` with happy eyeballs, over all stacks of the loop."""

    __slots__ = ()

    _imports: Imports

    async def _connect_sock(self, exceptions: list[Any], addr_info: Any, local_addr_infos: Any = None) -> Any:
        connecting = super()._connect_sock(exceptions, addr_info, local_addr_infos)
        del exceptions  # breaks a cycle: the list will hold the error, whose traceback holds this frame
        if addr_info[0] != socket.AF_INET or not stackstream.can_connect(self):
            return await connecting
        opened: list[StackStream] = []
        token = _for_transport.set(opened)
        try:
            # asyncio's code makes and binds a socket, and passes it to sock_connect().
            sock = await connecting
        finally:
            _for_transport.reset(token)
        if not opened:
            self._imports.leave(sock)
            return sock
        sock.close()  # the stack keeps a duplicate, which reserves the port
        return StackSocket(opened[0])

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket through the kernel, like ``asyncio.loop.sock_connect``."""
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
        """Create a datagram endpoint, like ``asyncio.loop.create_datagram_endpoint``. On every version of Python,
        ``sock`` may have any type but SOCK_STREAM (new in 3.11.9 and 3.12.3)."""
        if sock is None or sock.type in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            return await super().create_datagram_endpoint(protocol_factory, *addresses, sock=sock, **given)
        if any(addresses) or any(given.values()):
            raise ValueError(f"no further argument can be used when sock is specified: {addresses}, {given}")
        sock.setblocking(False)
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_datagram_transport(sock, protocol, None, waiter)
        await connected(transport, waiter)
        return transport, protocol

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        """Resolve a host and a service, like ``asyncio.loop.getaddrinfo``.

        :raises ValueError: the host or the service contains a NUL character.
        """
        check_name("host", host)
        check_name("port", port)
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    async def _connect_by_stack(self, sock: socket.socket, address: tuple[str, int]) -> StackStream | None:
        host, port = address
        try:
            packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
        except (OSError, struct.error):
            return None  # the kernel's call will raise the right error
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
            raise OSError(exc.errno, f"Connect call failed {address}{more}") from None  # the same text as asyncio's
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        stream.close()
        return None
