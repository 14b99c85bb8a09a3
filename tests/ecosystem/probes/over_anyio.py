"""anyio: its TCP streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


async def _echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, _echo)
        yield
        group.cancel_scope.cancel()


async def talk(host: str, port: int) -> None:
    async with await anyio.connect_tcp(host, port) as stream:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            await stream.send(payload)
            received = b""
            while len(received) < SIZE:
                received += await stream.receive()
            assert received == payload
