"""WebSocket echo servers: picows, websockets and aiohttp, plain or over TLS (``certificate``)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from sfloop.bench.programs.tcp import server_context
from sfloop.bench.serve import say


def _context(parameters: Mapping[str, Any]) -> ssl.SSLContext | None:
    return server_context(parameters) if "certificate" in parameters else None


async def _serve(server: asyncio.Server | Any) -> None:
    say({"port": server.sockets[0].getsockname()[1]})
    await asyncio.get_running_loop().create_future()


async def picows(parameters: Mapping[str, Any]) -> None:
    """picows.ws_create_server."""
    import picows as library  # type: ignore[import-not-found, unused-ignore]

    class Echo(library.WSListener):  # type: ignore[misc, unused-ignore]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            transport.send(library.WSMsgType.BINARY, frame.get_payload_as_bytes())

    server = await library.ws_create_server(lambda request: Echo(), parameters["host"], 0, ssl=_context(parameters))
    await _serve(server)


async def websockets(parameters: Mapping[str, Any]) -> None:
    """websockets.serve, without compression."""
    from websockets.asyncio.server import serve  # type: ignore[import-not-found, unused-ignore]

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    server = await serve(echo, parameters["host"], 0, ssl=_context(parameters), compression=None)
    await _serve(server)


async def aiohttp(parameters: Mapping[str, Any]) -> None:
    """aiohttp.web, without compression."""
    from aiohttp import web  # type: ignore[import-not-found, unused-ignore]

    async def echo(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(compress=False)
        await answer.prepare(request)
        async for message in answer:
            await answer.send_bytes(message.data)
        return answer

    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, parameters["host"], 0, ssl_context=_context(parameters)).start()
    say({"port": runner.addresses[0][1]})
    await asyncio.get_running_loop().create_future()
