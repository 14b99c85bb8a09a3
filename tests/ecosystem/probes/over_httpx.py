"""httpx: its client, over httpcore and anyio."""

from __future__ import annotations

import httpx

from ecosystem.probes import http_side
from ecosystem.probing import COUNT, SIZE

ROLES = ("client",)
serve = http_side.serve


async def talk(host: str, port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for number in range(COUNT):
            payload = bytes([number % 256]) * SIZE
            response = await client.post(f"http://{host}:{port}/", content=payload)
            assert response.content == payload
