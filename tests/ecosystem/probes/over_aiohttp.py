"""aiohttp: a WebSocket of its client and its server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from ecosystem.probing import COUNT, SIZE

ROLES = ("client", "server")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    application = web.Application()
    application.add_routes([web.get("/", _echo)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    yield
    await runner.cleanup()


async def talk(host: str, port: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{host}:{port}/") as socket:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            await socket.send_bytes(payload)
            assert await socket.receive_bytes() == payload
