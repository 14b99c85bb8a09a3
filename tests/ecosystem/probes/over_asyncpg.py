"""asyncpg's client, with a real server."""

from __future__ import annotations

import asyncpg

from ecosystem.probing import COUNT, SIZE
from ecosystem.services.postgresql import USER, postgresql
from ecosystem.services.server import serving

ROLES = ("client",)

serve = serving(postgresql)


async def talk(host: str, port: int) -> None:
    connection = await asyncpg.connect(host=host, port=port, user=USER, database="postgres", ssl=False)
    try:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            assert await connection.fetchval("SELECT $1::bytea", payload) == payload
    finally:
        await connection.close()
