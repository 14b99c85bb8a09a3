"""HTTP servers with a short answer: an aiohttp handler, and an ASGI application on uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from sfloop.bench.serve import say

BODY = b"Hello, world!"

Message = MutableMapping[str, Any]


async def aiohttp(parameters: Mapping[str, Any]) -> None:
    """aiohttp.web."""
    from aiohttp import web  # type: ignore[import-not-found, unused-ignore]

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, parameters["host"], 0).start()
    say({"port": runner.addresses[0][1]})
    await asyncio.get_running_loop().create_future()


async def uvicorn(parameters: Mapping[str, Any]) -> None:
    """uvicorn, with httptools if it is installed."""
    from uvicorn import Config, Server  # type: ignore[import-not-found, unused-ignore]

    async def application(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    config = Config(
        application, parameters["host"], 0, loop="none", lifespan="off", access_log=False, log_level="warning"
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.wait([serving], timeout=0.001)
    say({"port": server.servers[0].sockets[0].getsockname()[1]})
    await serving
