"""nats-py's client, with a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats as client

from ecosystem.probing import COUNT, SIZE
from ecosystem.services.nats import nats

ROLES = ("client",)


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    with nats(host, port):
        yield


async def talk(host: str, port: int) -> None:
    connection = await client.connect(f"nats://{host}:{port}")
    subscription = await connection.subscribe("messages")
    for number in range(COUNT):
        payload = bytes([number % 256]) * SIZE
        await connection.publish("messages", payload)
        assert (await subscription.next_msg(timeout=5)).data == payload
    await connection.close()
