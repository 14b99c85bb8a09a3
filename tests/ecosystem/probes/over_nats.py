"""nats-py's client, with a real server."""

from __future__ import annotations

import nats as client

from ecosystem.probing import COUNT, SIZE
from ecosystem.services.nats import nats
from ecosystem.services.server import serving

ROLES = ("client",)

serve = serving(nats)


async def talk(host: str, port: int) -> None:
    connection = await client.connect(f"nats://{host}:{port}")
    subscription = await connection.subscribe("messages")
    for number in range(COUNT):
        payload = bytes([number % 256]) * SIZE
        await connection.publish("messages", payload)
        assert (await subscription.next_msg(timeout=5)).data == payload
    await connection.close()
