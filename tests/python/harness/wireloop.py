"""sfloop's loop with both ends of a wire, so that what a test does with 127.0.0.1 goes by the tcpip stack."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from typing import Any

import sfloop
from sfloop.native.engine.stackstream import StackStream

HERE, THERE = "127.0.0.1", "127.0.0.2"
_numbers = itertools.count()


def _packed(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), sys.byteorder)


class WireLoop(sfloop.Loop):
    """Its servers at 127.0.0.1 are served by one tcpip stack, and its connections to them made by another, at
    127.0.0.2, over a wire in shared memory. Sockets that are none of the loop's go by the kernel, which listens too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(sfloop.Options(driver="shm", interface="both@127.0.0.2", fallback="error", **options))

    def _open_stack(self, *chosen: Any) -> None:
        name = f"w{os.getpid()}-{next(_numbers)}"
        for address in (THERE, HERE):
            self._open_tcpip("shm", name, _packed(address), [], dict(self._options.tcp or ()))

    async def _connect_by_stack(self, sock: socket.socket, address: tuple[str, int]) -> StackStream | None:
        # A test's own listening socket is at the other side of no wire.
        mine = [listener._sock.getsockname() for listener in self._listeners.values()]
        if address[0] == HERE and any(name[1] == address[1] and name[0] in (HERE, "0.0.0.0") for name in mine):
            return await super()._connect_by_stack(sock, address)
        return None
