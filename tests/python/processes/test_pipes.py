"""connect_read_pipe and connect_write_pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import socket
import tempfile
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import RecordsWriting


class Pipe(RecordsWriting, asyncio.Protocol):
    def __init__(self) -> None:
        self.calls = []
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("connection_made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.calls.append("eof_received")


def test_reading(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        transport, protocol = await loop.connect_read_pipe(Pipe, open(r, "rb", 0))
        os.write(w, b"hello")
        await until(lambda: protocol.data == b"hello")
        transport.pause_reading()
        os.write(w, b" world")
        await asyncio.sleep(0.01)
        assert protocol.data == b"hello"
        transport.resume_reading()
        await until(lambda: protocol.data == b"hello world")
        os.close(w)
        assert await protocol.lost is None
        assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    run(main())


def test_writing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        os.set_blocking(r, False)
        transport, protocol = await loop.connect_write_pipe(Pipe, open(w, "wb", 0))
        transport.write(b"x" * 1_000_000)
        assert "pause_writing" in protocol.calls
        received = 0
        while received < 1_000_000:
            with contextlib.suppress(BlockingIOError):
                received += len(os.read(r, 1 << 20))
            await asyncio.sleep(0)
        assert "resume_writing" in protocol.calls
        transport.write(b"last")
        transport.write_eof()
        assert await protocol.lost is None
        assert os.read(r, 100) == b"last"
        assert os.read(r, 100) == b""
        os.close(r)

    run(main())


def test_the_reader_goes_away(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        transport, protocol = await loop.connect_write_pipe(Pipe, open(w, "wb", 0))
        os.close(r)
        exc = await protocol.lost
        assert exc is None or isinstance(exc, BrokenPipeError)
        assert transport.is_closing()

    run(main())


def test_both_ends_in_one_loop(run: Run) -> None:
    data = os.urandom(3_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        _, reader = await loop.connect_read_pipe(Pipe, open(r, "rb", 0))
        transport, writer = await loop.connect_write_pipe(Pipe, open(w, "wb", 0))
        transport.write(data)
        transport.close()
        assert await writer.lost is None
        assert await reader.lost is None
        assert reader.data == data

    run(main())


def test_terminals(run: Run) -> None:
    import tty

    async def main() -> None:
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        tty.setraw(slave)
        _, reader = await loop.connect_read_pipe(Pipe, open(master, "rb", 0))
        transport, _ = await loop.connect_write_pipe(Pipe, open(slave, "wb", 0))
        transport.write(b"through the terminal")
        await until(lambda: reader.data == b"through the terminal")
        transport.close()
        reader.transport.close()
        await reader.lost

    run(main())


def test_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        _, reader = await loop.connect_read_pipe(Pipe, a)
        transport, _ = await loop.connect_write_pipe(Pipe, b)
        transport.write(b"x")
        await until(lambda: reader.data == b"x")
        transport.close()
        assert await reader.lost is None

    run(main())


def test_streams_over_pipes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(r, "rb", 0))
        os.write(w, b"one\ntwo\n")
        assert await reader.readline() == b"one\n"
        os.close(w)
        assert await reader.read() == b"two\n"
        transport.close()
        await asyncio.sleep(0)

    run(main())


def test_regular_files_are_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            with tempfile.TemporaryFile() as file, pytest.raises(ValueError, match="Pipe transport is"):
                await connect(Pipe, file)

    run(main())


def test_failing_data_received(run: Run, contexts: Contexts) -> None:
    class Failing(Pipe):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        transport, protocol = await loop.connect_read_pipe(Failing, open(r, "rb", 0))
        os.write(w, b"x")
        await until(lambda: bool(contexts))
        assert isinstance(contexts.take("Exception in callback")["exception"], ZeroDivisionError)
        transport.close()
        await protocol.lost
        os.close(w)

    run(main())
