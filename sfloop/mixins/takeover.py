"""Sockets and pipes for which no transport could be made: the loop closes them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from sfloop.backends import sharing
from sfloop.common.signatures import signed_like_asyncio
from sfloop.mixins.descriptors import overrides_calls
from sfloop.mixins.sendfile import SendingFiles
from sfloop.transports.datagram import DatagramTransport
from sfloop.transports.stacksocket import StackSocket

if TYPE_CHECKING:
    from sfloop.loop import Loop


class TakingOver(SendingFiles):
    """Closes a socket if its protocol factory raises. asyncio's documentation gives the ownership of ``sock=`` to the
    transport. If the factory raises, there is no transport, and asyncio (3.10 to 3.13) leaves the socket to the garbage
    collector.

    A socket that another transport uses stays open, and so does a socket whose argument check fails.
    """

    __slots__ = ()

    def _is_used(self, sock: socket.socket | StackSocket) -> bool:
        fd = sock.fileno()
        # Fileno() may be anything, because a test's socket may be a mock.
        return isinstance(fd, int) and fd >= 0 and self._transports.get(fd) is not None

    def _close_unless_taken(self, sock: socket.socket | StackSocket) -> None:
        if not (sock.taken if isinstance(sock, StackSocket) else self._is_used(sock)):
            sock.close()

    async def _create_connection_transport(
        self, sock: socket.socket | StackSocket, protocol_factory: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if self._is_used(sock):
            protocol_factory()
            # Raises here, because asyncio from Python 3.14.9 on would close the other transport's socket.
            self._ensure_fd_no_transport(sock)
        try:
            sock = self._imports.take(cast("Loop", self), sock)
            return await super()._create_connection_transport(sock, protocol_factory, *args, **kwargs)
        except BaseException:
            self._close_unless_taken(sock)
            raise

    async def _accept_connection2(
        self, protocol_factory: Any, conn: socket.socket | StackSocket, *args: Any, **kwargs: Any
    ) -> None:
        try:
            await super()._accept_connection2(protocol_factory, conn, *args, **kwargs)
        finally:
            self._close_unless_taken(conn)

    def _sock_accept(self, fut: asyncio.Future[Any], sock: socket.socket) -> None:
        # asyncio would accept even if the call was cancelled in this turn, and drop the connection.
        if not fut.done():
            super()._sock_accept(fut, sock)

    @signed_like_asyncio()
    async def create_datagram_endpoint(  # the arguments differ between versions of Python
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *args: Any, **kwargs: Any
    ) -> Any:
        """Create a datagram endpoint, like ``asyncio.loop.create_datagram_endpoint``."""
        later = _Later(protocol_factory)
        transport, _ = await super().create_datagram_endpoint(later, *args, **kwargs)
        return transport, later.protocol

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport:
        try:
            if isinstance(protocol, _Later):
                protocol = protocol.make()
            self._ensure_fd_no_transport(sock)
            if overrides_calls(sock):
                own: Any = super()  # typeshed does not declare the method
                transport: asyncio.DatagramTransport = own._make_datagram_transport(
                    sock, protocol, address, waiter, extra
                )
                return transport
            if self._accepts_no_fallback():
                sharing.check_fallback(sock)
            return DatagramTransport(cast("Loop", self), sock, protocol, address, waiter, extra)
        except BaseException:
            self._close_unless_taken(sock)
            raise

    def _accepts_no_fallback(self) -> bool:
        loop = cast("Loop", self)
        if loop._options.fallback != "error" or loop._stack_choice.name not in ("tcpip", "tcpdirect"):
            return False
        return loop._stack_choice.name == "tcpdirect" or any(name != "shm" for name, *_ in loop._driver_caps())

    async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        """Register the read end of a pipe, like ``asyncio.loop.connect_read_pipe``."""
        return await super().connect_read_pipe(_closing(pipe, protocol_factory), pipe)

    async def connect_write_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        """Register the write end of a pipe, like ``asyncio.loop.connect_write_pipe``."""
        return await super().connect_write_pipe(_closing(pipe, protocol_factory), pipe)


class _Later:
    """A protocol factory that delays the call of the real one until the socket is known. Until then it returns
    itself."""

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._factory = factory
        self.protocol: asyncio.BaseProtocol | None = None

    def __repr__(self) -> str:
        return repr(self.protocol)

    def __call__(self) -> Any:
        return self

    def make(self) -> asyncio.BaseProtocol:
        self.protocol = self._factory()
        return self.protocol


def _closing(pipe: Any, protocol_factory: Callable[[], Any]) -> Callable[[], Any]:
    def make() -> Any:
        try:
            return protocol_factory()
        except BaseException:
            pipe.close()
            raise

    return make
