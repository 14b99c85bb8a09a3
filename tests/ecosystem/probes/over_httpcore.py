"""httpcore: its connection pool, over anyio."""

from __future__ import annotations

import httpcore

from ecosystem.probes import http_side
from ecosystem.probing import COUNT, SIZE

ROLES = ("client",)
serve = http_side.serve


async def talk(host: str, port: int) -> None:
    async with httpcore.AsyncConnectionPool() as pool:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            response = await pool.request("POST", f"http://{host}:{port}/", content=payload)
            assert response.content == payload
