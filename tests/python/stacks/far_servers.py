"""Stream servers at the far side of a wire, for tests of TCP over shared memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import wire

Far = Callable[[Any], Any]


def far_server(far: Far, serve: Any = wire.serve_echo, host: Any = wire.FAR, **options: Any) -> tuple[str, int]:
    """Return the address of a stream server on the far side."""

    async def start() -> Any:
        server = await asyncio.start_server(serve, host, 0, **options)
        wire.open_servers.append(server)
        return server.sockets[0].getsockname()[1]

    return wire.FAR, far(start())


def bypassed(writer: Any) -> bool:
    return bool(writer.get_extra_info("stack") != "kernel")
