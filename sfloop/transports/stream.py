"""Stream transports: TCP, AF_UNIX, and the connection under TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
from asyncio import constants
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sfloop.native.cores import stackstream, stream
from sfloop.native.cores.stream import StreamCore
from sfloop.transports import tlsasyncio
from sfloop.transports.base import SocketTransport
from sfloop.transports.stacksocket import StackSocket

if TYPE_CHECKING:
    from contextvars import Context

    from sfloop.loop import Loop
    from sfloop.transports.server import Server


class StreamTransport(SocketTransport, asyncio.Transport):
    """An ``asyncio.Transport`` (asyncio documentation, "Transports and Protocols")."""

    __slots__ = ()

    _core: StreamCore
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket | StackSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        peer: bytes | None = None,
        context: Context | None = None,
    ) -> None:
        self._sock = None
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(sock, StackSocket):
            core = StreamCore(loop, self, sock.stream, True, context)
            sock.taken_by(core)
            self._sendfile_compatible = constants._SendfileMode.FALLBACK
        else:
            core = StreamCore(loop, self, sock.fileno(), True, context)
        super().__init__(loop, sock, core, protocol, waiter, extra, server, peer)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        super().set_protocol(protocol)
        tlsasyncio.adopt(protocol)

    write = stream.write

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send the pieces in order, in as few system calls as possible."""
        self._core.writelines(list_of_data)

    def write_eof(self) -> None:
        """Close the sending direction once the buffer is sent. Receiving goes on."""
        self._core.write_eof()

    def can_write_eof(self) -> bool:
        """Always True."""
        return True

    def return_to_kernel(self) -> socket.socket:
        """Give the connection to a socket of the kernel, and close the transport without a segment.

        The socket is connected and non-blocking, and any program can use it: a forked child, a program that replaces
        this one. Received data that the protocol has not got goes along, and so does data that the peer has not
        acknowledged. The protocol's ``connection_lost(None)`` is called.

        :raises RuntimeError: data waits in the write buffer. Wait until ``get_write_buffer_size()`` is 0.
        :raises OSError: the transport is closing, or the connection cannot return: the peer has ended its direction,
            or CAP_NET_ADMIN is missing. Then it goes on as before.
        """
        core, sock = self._core, self._sock
        if sock is None or core.closing:
            raise OSError(errno.EBADF, "the transport is closing or closed")
        if core.queued:
            raise RuntimeError(f"{core.queued} bytes wait in the write buffer: wait until get_write_buffer_size() is 0")
        if isinstance(sock, StackSocket):
            returned = socket.socket(fileno=stackstream.export_stream(core))
        else:
            returned = sock.dup()
            returned.setblocking(False)
        self.abort()
        return returned

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            super()._call_connection_lost(exc)
        finally:  # even if the protocol's connection_lost() has raised
            self._core.fail_empty_waiter()

    # asyncio's sendfile calls these two.

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        return self._core.make_empty_waiter()

    def _reset_empty_waiter(self) -> None:
        self._core.reset_empty_waiter()
