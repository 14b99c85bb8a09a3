"""TLS connections for tests: both ends of a connection, and a stream that is upgraded."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from harness.connections import finished
from harness.loops import until
from harness.recording import Recorder


@contextlib.asynccontextmanager
async def tls_pair(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    server_protocol: type[Recorder] = Recorder,
    client_protocol: type[Recorder] = Recorder,
    **client_options: Any,
) -> AsyncIterator[tuple[Recorder, Recorder]]:
    loop: Any = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(server_protocol())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context)
    try:
        _, client = await loop.create_connection(
            client_protocol, *server.sockets[0].getsockname(), ssl=client_context, **client_options
        )
        await until(lambda: made and made[0].made.done())
        try:
            yield made[0], client
        finally:
            await finished(client, made[0])
            await asyncio.sleep(0.01)
    finally:
        server.close()
        await server.wait_closed()


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
