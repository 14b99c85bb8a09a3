"""A program's own connections, which the loop imports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


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
