"""redis-py's client, with a real server."""

from __future__ import annotations

from redis.asyncio import Redis

from ecosystem.probing import COUNT, SIZE
from ecosystem.services.redis import redis
from ecosystem.services.server import serving

ROLES = ("client",)

serve = serving(redis)


async def talk(host: str, port: int) -> None:
    async with Redis(host=host, port=port) as client:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            await client.set("key", payload)
            assert await client.get("key") == payload
