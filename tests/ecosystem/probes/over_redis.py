"""redis-py's client, with a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from ecosystem.probing import COUNT, SIZE
from ecosystem.services.redis import redis

ROLES = ("client",)


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    with redis(host, port):
        yield


async def talk(host: str, port: int) -> None:
    async with Redis(host=host, port=port) as client:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            await client.set("key", payload)
            assert await client.get("key") == payload
