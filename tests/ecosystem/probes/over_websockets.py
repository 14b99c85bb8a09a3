"""websockets: its asyncio client and server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    async with websockets_serve(_echo, host, port, compression=None):
        yield


async def talk(host: str, port: int) -> None:
    async with connect(f"ws://{host}:{port}/", proxy=None, compression=None) as connection:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            await connection.send(payload)
            assert await connection.recv() == payload
