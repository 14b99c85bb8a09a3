"""A program's own connections, which the loop imports."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trustme


async def connected(loop: Any, address: Any) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    return sock


def kept(loop: Any) -> dict[str, int]:
    found: dict[str, int] = loop.describe()["imports"]["kept"]
    return found


@asynccontextmanager
async def imported(
    loop: Any, sock: socket.socket, may_be_over: bool = False, **given: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """:param may_be_over: both ends may have sent their FIN, so that the kernel has only data left to read."""
    reader, writer = await asyncio.open_connection(sock=sock, **given)
    assert writer.get_extra_info("stack") == "tcpip" or may_be_over, kept(loop)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server called localhost, and of its clients."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    return server_context, client_context


def echo_over_tls(conn: socket.socket, context: ssl.SSLContext) -> None:
    """For kernel_server()."""
    with context.wrap_socket(conn, server_side=True) as secured:
        while data := secured.recv(1 << 16):
            secured.sendall(data)
