"""The other side of the HTTP probes: a client and a server that use asyncio's streams, and an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from ecosystem.probing import COUNT, SIZE


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return await reader.readexactly(int(lengths[0].split(b":")[1]))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            body = await _body(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    except asyncio.IncompleteReadError:
        writer.close()


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    """A server that sends the bodies of requests back."""
    async with await asyncio.start_server(_echo, host, port):
        yield


async def talk(host: str, port: int) -> None:
    """Requests on one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    for number in range(COUNT):
        payload = bytes([number % 256]) * SIZE
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % SIZE + payload)
        assert await _body(reader) == payload
    writer.close()
    await writer.wait_closed()


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """An ASGI application that sends the bodies of requests back."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
