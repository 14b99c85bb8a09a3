"""ib_async's client, with a server of the API that runs on asyncio's streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ib_async import IB

from ecosystem.probing import COUNT, SIZE
from ecosystem.support.gateway import gateway

ROLES = ("client",)


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    async with gateway(host, port):
        yield


async def talk(host: str, port: int) -> None:
    ib = IB()
    await ib.connectAsync(host, port)
    for number in range(COUNT):
        name = chr(ord("a") + number % 26) * SIZE
        assert (await ib.reqNewsArticleAsync("any", name)).articleText == name
    ib.disconnect()
