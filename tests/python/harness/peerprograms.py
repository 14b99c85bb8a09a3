"""Programs that are the peers of a test, such as ``openssl s_client``: their input, and the text they print."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

from .zf import KERNEL_HOST


class PeerProgram:
    """A running program. `shown` is its output so far, stdout and stderr together."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.shown = b""
        self._seen = 0

    def write(self, data: bytes) -> None:
        """Write to the program's stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def end_input(self) -> None:
        """Close the program's stdin."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def shows(self, text: bytes) -> None:
        """Wait until the program has printed this text, after the text of the call before."""
        assert self.process.stdout is not None
        while (found := self.shown.find(text, self._seen)) < 0:
            try:
                more = await asyncio.wait_for(self.process.stdout.read(65536), 10)
            except asyncio.TimeoutError:
                more = b""
            assert more, f"the program has not printed {text!r}: {self.shown.decode(errors='replace')}"
            self.shown += more
        self._seen = found + len(text)


@contextlib.asynccontextmanager
async def program(*command: str) -> AsyncIterator[PeerProgram]:
    """A program for the time of the block. It does not inherit a sanitizer's library, which would slow it down."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        yield PeerProgram(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def accepts(port: int) -> None:
    """Wait until a program accepts connections at this port."""
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((KERNEL_HOST, port)).close()
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"nothing listens at port {port}")
