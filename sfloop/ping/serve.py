"""The other side: what comes by UDP or TCP goes back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any


class _UdpEcho(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class _TcpEcho(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve(host: str, port: int, ready: Callable[[str, int], object]) -> None:
    """Echo on a UDP and a TCP port of the same number until SIGINT or SIGTERM.

    :param ready: called with the address and the port (the system's choice when 0 was asked for).
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(_TcpEcho, host, port)
    try:
        bound = server.sockets[0].getsockname()
        transport, _ = await loop.create_datagram_endpoint(_UdpEcho, local_addr=(host, bound[1]))
        ready(bound[0], bound[1])
        await ended.wait()
        transport.close()
    finally:
        server.close()
