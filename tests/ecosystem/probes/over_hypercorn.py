"""hypercorn: its server, which listens on a socket of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from ecosystem.probes import http_side

ROLES = ("server",)
talk = http_side.talk


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    config, started, stopped = Config(), asyncio.Event(), asyncio.Event()
    config.bind = [f"{host}:{port}"]
    config.keep_alive_max_requests = 10_000

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await http_side.application(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        asyncio.get_running_loop().call_later(0.2, started.set)  # it listens after this
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    shutdown = stopped.wait
    task = asyncio.create_task(hypercorn_serve(application, config, shutdown_trigger=shutdown))  # type: ignore[arg-type]
    await started.wait()
    yield
    stopped.set()
    await task
