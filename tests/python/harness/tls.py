"""TLS connections for tests: both ends of a connection, and a stream that is upgraded."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from harness.connections import tcp_pair
from harness.recording import Recorder


@contextlib.asynccontextmanager
async def tls_pair(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    server_protocol: type[Recorder] = Recorder,
    client_protocol: type[Recorder] = Recorder,
    **client_options: Any,
) -> AsyncIterator[tuple[Recorder, Recorder]]:
    client_options["ssl"] = client_context
    try:
        async with tcp_pair(server_protocol, client_protocol, {"ssl": server_context}, client_options) as pair:
            yield pair
    finally:
        await asyncio.sleep(0.01)


async def upgrade(writer: Any, context: ssl.SSLContext, **options: Any) -> None:
    """Like StreamWriter.start_tls(), which is new in Python 3.11."""
    loop = asyncio.get_running_loop()
    protocol = writer.transport.get_protocol()
    transport = await loop.start_tls(writer.transport, protocol, context, **options)
    writer._transport = transport
    if hasattr(protocol, "_replace_writer"):
        protocol._replace_writer(writer)
    protocol._over_ssl = True


def key_updates(context: Any) -> list[str]:
    """A list in which each KeyUpdate message of this context's connections is noted, as ``read`` or ``write``."""
    noted: list[str] = []

    def seen(connection: Any, direction: str, version: Any, content: Any, kind: Any, data: Any) -> None:
        if getattr(kind, "name", "") == "KEY_UPDATE":
            noted.append(direction)

    context._msg_callback = seen
    return noted


class Resuming(ssl.SSLContext):
    """A context that gives a session to its next connection."""

    kept: ssl.SSLSession | None = None

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, session=self.kept, **options)


async def agree_on_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's plain lines before TLS."""
    assert await reader.readline() == b"STARTTLS\n"
    writer.write(b"OK\n")
    await writer.drain()


async def ask_for_tls(address: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, and exchange the client's plain lines before TLS."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"OK\n"
    return reader, writer
