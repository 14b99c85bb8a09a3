"""Datagram transports: UDP and AF_UNIX."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from sfloop.native.cores import datagram
from sfloop.native.cores.datagram import DatagramCore
from sfloop.transports.base import SocketTransport

if TYPE_CHECKING:
    from sfloop.loop import Loop


class DatagramTransport(SocketTransport, asyncio.DatagramTransport, asyncio.Transport):
    """An ``asyncio.DatagramTransport`` that receives up to 64 datagrams with one system call. It is an
    ``asyncio.Transport``, too, because asyncio's own is.

    In addition to asyncio's methods it has ``pause_reading()``, ``resume_reading()`` and ``is_reading()``. It sends
    empty datagrams.
    """

    __slots__ = ()

    _core: DatagramCore

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._sock = None
        core = DatagramCore(loop, self, sock.fileno(), False)
        super().__init__(loop, sock, core, protocol, waiter, extra, None)
        core.set_peer(sock.fileno(), sock.family, bool(self.get_extra_info("peername")), address)

    sendto = datagram.sendto
