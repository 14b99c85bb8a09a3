"""The ways into TLS, for tests that take each of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from harness.connections import finished
from harness.loops import until
from harness.recording import Echo, Recorder, keeping

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

TIMEOUTS = {"ssl_handshake_timeout": 5.0}

if sys.version_info >= (3, 11):
    TIMEOUTS["ssl_shutdown_timeout"] = 5.0


async def by_create(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """create_server() and create_connection()."""
    listening = listens(await loop.create_server(factory, "127.0.0.1", 0, ssl=server, **TIMEOUTS))
    address = listening.sockets[0].getsockname()
    _, near = await loop.create_connection(Recorder, *address, ssl=client, server_hostname="localhost", **TIMEOUTS)
    return near


async def by_unix(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """create_unix_server() and create_unix_connection()."""
    path = str(folder / "socket")
    listens(await loop.create_unix_server(factory, path, ssl=server, **TIMEOUTS))
    _, near = await loop.create_unix_connection(Recorder, path, ssl=client, server_hostname="localhost", **TIMEOUTS)
    return near


async def by_accepted(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """connect_accepted_socket(), and create_connection() with a socket that is connected."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    (_, _), (_, made) = await asyncio.gather(
        loop.connect_accepted_socket(factory, far, ssl=server, **TIMEOUTS),
        loop.create_connection(Recorder, sock=near, ssl=client, server_hostname="localhost", **TIMEOUTS),
    )
    return made


async def by_start_tls(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """start_tls() of both sides, after plain bytes."""
    accepted, plain = keeping(factory)
    listening = listens(await loop.create_server(plain, "127.0.0.1", 0))
    _, near = await loop.create_connection(Recorder, *listening.sockets[0].getsockname())
    await until(lambda: bool(accepted) and accepted[0].made.done())
    near.transport, accepted[0].transport = await asyncio.gather(
        loop.start_tls(near.transport, near, client, server_hostname="localhost", **TIMEOUTS),
        loop.start_tls(accepted[0].transport, accepted[0], server, server_side=True, **TIMEOUTS),
    )
    return near


WAYS = [by_create, by_unix, by_accepted, by_start_tls]


@contextlib.asynccontextmanager
async def connected(way: Any, contexts: Any, folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """Yield (server's protocol, client's protocol)."""
    made, factory = keeping(Echo)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.01)

        def listens(server: Any) -> Any:
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return server

        near = await way(asyncio.get_running_loop(), *contexts, factory, folder, listens)
        await until(lambda: bool(made) and made[0].made.done())
        try:
            yield made[0], near
        finally:
            await finished(near, made[0])
