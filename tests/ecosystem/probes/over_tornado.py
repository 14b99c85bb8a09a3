"""Tornado: its TCP client and server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.tcpserver import TCPServer

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


class _Echo(TCPServer):
    async def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        try:
            while True:
                await stream.write(await stream.read_bytes(65536, partial=True))
        except StreamClosedError:
            pass


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    server = _Echo()
    server.listen(port, host)
    yield
    server.stop()


async def talk(host: str, port: int) -> None:
    stream = await TCPClient().connect(host, port)
    for number in range(COUNT):
        payload = bytes([number % 256]) * SIZE
        await stream.write(payload)
        assert await stream.read_bytes(SIZE) == payload
    stream.close()
