"""uvicorn: its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from ecosystem.probes import http_side

ROLES = ("server",)
talk = http_side.talk


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    config = uvicorn.Config(http_side.application, host=host, port=port, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield
    server.should_exit = True
    await task
