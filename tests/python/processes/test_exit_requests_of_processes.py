"""KeyboardInterrupt and SystemExit out of the callbacks of pipes and of processes: the next run goes on."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from harness.exits import run_again
from harness.loops import until

EXITS = [KeyboardInterrupt, SystemExit]


class Leaving:
    """Records each callback, and raises in the first one of this name."""

    def __init__(self, callback: str, exception: type[BaseException]) -> None:
        self.leaves_in, self.exception = callback, exception
        self.calls: list[str] = []
        self.data = b""

    def note(self, name: str) -> None:
        self.calls.append(name)
        if name == self.leaves_in:
            self.leaves_in = ""
            raise self.exception(name)


class Pipe(Leaving, asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.note("connection_made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.note("data_received")

    def eof_received(self) -> None:
        self.note("eof_received")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("connection_lost")


class Process(Leaving, asyncio.SubprocessProtocol):
    def connection_made(self, transport: Any) -> None:
        self.note("connection_made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.data += data
        self.note("pipe_data_received")

    def pipe_connection_lost(self, fd: int, exc: BaseException | None) -> None:
        self.note("pipe_connection_lost")

    def process_exited(self) -> None:
        self.note("process_exited")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("connection_lost")


@pytest.mark.parametrize("exception", EXITS)
@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_pipes(loop: asyncio.AbstractEventLoop, callback: str, exception: type[BaseException]) -> None:
    async def main() -> None:
        r, w = os.pipe()
        _, protocol = await loop.connect_read_pipe(lambda: Pipe(callback, exception), os.fdopen(r, "rb"))
        for piece in (b"one", b"two"):
            os.write(w, piece)
            await until(lambda piece=piece: protocol.data.endswith(piece))
        os.close(w)
        await until(lambda: "connection_lost" in protocol.calls)
        assert protocol.data == b"onetwo"
        assert protocol.calls.count("connection_lost") == 1

    run_again(loop, main(), exception)


@pytest.mark.parametrize("exception", EXITS)
@pytest.mark.parametrize(
    "callback", ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited", "connection_lost"]
)
def test_processes(loop: asyncio.AbstractEventLoop, callback: str, exception: type[BaseException]) -> None:
    async def main() -> None:
        transport, protocol = await loop.subprocess_shell(lambda: Process(callback, exception), "cat; echo end; exit 3")
        stdin: Any = transport.get_pipe_transport(0)
        stdin.write(b"begin\n")
        stdin.write_eof()
        await until(lambda: "connection_lost" in protocol.calls)
        assert protocol.data == b"begin\nend\n"
        assert transport.get_returncode() == 3
        for name, times in (("process_exited", 1), ("pipe_connection_lost", 3), ("connection_lost", 1)):
            assert protocol.calls.count(name) == times
        transport.close()

    run_again(loop, main(), exception)
