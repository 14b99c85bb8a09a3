"""``loop.sock_*``: sending and receiving on the program's own sockets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from sfloop.mixins.nesting import NestedRuns
from sfloop.native.cores.address import check_path

if TYPE_CHECKING:
    import socket


class SocketCalls(NestedRuns):
    """Native code serves plain sockets. asyncio's own code serves all others, and raises the errors."""

    __slots__ = ()

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to n bytes, like ``asyncio.loop.sock_recv``."""
        call = self._begin_recv(sock, n)
        if type(call) is bytes:
            return call
        if call is None:
            return await super().sock_recv(sock, n)
        try:
            return await call.future  # type: ignore[union-attr, no-any-return]
        except BaseException:
            call.end()  # type: ignore[union-attr]
            raise

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a writable buffer, like ``asyncio.loop.sock_recv_into``. Returns the number of bytes."""
        call = self._begin_recv_into(sock, buf)
        if type(call) is int:
            return call
        if call is None:
            return await super().sock_recv_into(sock, buf)
        try:
            return await call.future  # type: ignore[union-attr, no-any-return]
        except BaseException:
            call.end()  # type: ignore[union-attr]
            raise

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of data, like ``asyncio.loop.sock_sendall``."""
        sent = self._begin_sendall(sock, data)
        if sent is True:
            return None
        if sent is None:
            return await super().sock_sendall(sock, data)
        return await super().sock_sendall(sock, memoryview(data).cast("B")[sent:])

    if sys.version_info >= (3, 11):

        async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
            """Receive up to bufsize bytes and the sender's address, like ``asyncio.loop.sock_recvfrom``."""
            call = self._begin_recvfrom(sock, bufsize)
            if type(call) is tuple:
                return call
            if call is None:
                return await super().sock_recvfrom(sock, bufsize)
            try:
                return await call.future  # type: ignore[union-attr, no-any-return]
            except BaseException:
                call.end()  # type: ignore[union-attr]
                raise

        async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
            """Send a datagram to address, like ``asyncio.loop.sock_sendto``."""
            check_path(address)
            return await super().sock_sendto(sock, data, address)
