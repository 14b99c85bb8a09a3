"""aiofastnet: its functions, with transports of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiofastnet

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.arrived = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.arrived.set()


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    async with await aiofastnet.create_server(asyncio.get_running_loop(), _Echo, host, port):
        yield


async def talk(host: str, port: int) -> None:
    transport, protocol = await aiofastnet.create_connection(asyncio.get_running_loop(), _Client, host, port)
    for number in range(COUNT):
        payload = bytes([number % 256]) * SIZE
        transport.write(payload)
        while len(protocol.received) < SIZE:
            protocol.arrived.clear()
            await protocol.arrived.wait()
        assert protocol.received == payload
        protocol.received = b""
    transport.close()
