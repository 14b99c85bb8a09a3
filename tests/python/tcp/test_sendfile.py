"""loop.sendfile: the native path, the fallback, offsets and counts."""

from __future__ import annotations

import asyncio
import io
import os
import random
from pathlib import Path
from typing import IO, Any

import pytest
from harness.connections import facing_socket, small_buffers, tcp_pair
from harness.loops import until
from harness.observed import Run
from harness.recording import Recorder

DATA = random.Random(9).randbytes(3_000_000)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (1000, None), (0, 1000), (5, 2_000_000), (len(DATA) - 10, 100), (len(DATA), None), (10**9, None)],
)
def test_offsets_and_counts(
    run: Run, loop_kind: str, file: IO[bytes], monkeypatch: pytest.MonkeyPatch, offset: int, count: int | None
) -> None:
    calls: list[int] = []
    native = os.sendfile

    def sendfile(*args: Any) -> int:
        calls.append(1)
        return native(*args)

    monkeypatch.setattr(os, "sendfile", sendfile)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        expected = DATA[offset:] if count is None else DATA[offset : offset + count]
        async with tcp_pair(Recorder, Recorder) as (server, client):
            sent = await loop.sendfile(client.transport, file, offset, count)
            assert sent == len(expected)
            assert not sent or file.tell() == offset + sent
            await until(lambda: len(server.data) >= len(expected))
            assert server.data == expected

    run(main())
    assert bool(calls) == (loop_kind != "tcpip"), "the native path is for what has a descriptor"


def test_between_writes(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(Recorder, Recorder) as (server, client):
            client.transport.write(b"before" * 200_000)
            await loop.sendfile(client.transport, file)
            client.transport.write(b"after")
            expected = b"before" * 200_000 + DATA + b"after"
            await until(lambda: len(server.data) >= len(expected))
            assert server.data == expected

    run(main())


def test_reading_goes_on_meanwhile_and_pausing_is_kept(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(Recorder, Recorder) as (server, client):
            server.transport.write(b"meanwhile")
            client.transport.pause_reading()
            await loop.sendfile(client.transport, file)
            assert not client.transport.is_reading()
            client.transport.resume_reading()
            await until(lambda: client.data == b"meanwhile" and len(server.data) == len(DATA))

    run(main())


class NoDescriptor(io.BytesIO):
    """A file without a descriptor: the native path cannot be taken."""


def test_fallback(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(Recorder, Recorder) as (server, client):
            assert await loop.sendfile(client.transport, NoDescriptor(DATA), 10, 2_500_000) == 2_500_000
            client.transport.write(b"after")
            await until(lambda: len(server.data) >= 2_500_005)
            assert server.data == DATA[10:2_500_010] + b"after"
            with pytest.raises(RuntimeError):
                await loop.sendfile(client.transport, NoDescriptor(DATA), fallback=False)

    run(main())


def test_writing_during_sendfile_is_refused(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            task = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
            await asyncio.sleep(0.01)
            assert not task.done()
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                protocol.transport.write(b"x")
            received = b""
            while not task.done() or len(received) < len(DATA):
                try:
                    received += peer.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert await task == len(DATA)
            assert received == DATA

    run(main())


def test_the_peer_goes_away(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            task = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
            await asyncio.sleep(0.01)
            peer.close()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(task, 5)
            await protocol.lost

    run(main())


def test_cancellation(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, _):
            small_buffers(protocol.transport.get_extra_info("socket"))
            task = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_on_a_closing_transport(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await asyncio.get_running_loop().sendfile(protocol.transport, file)

    run(main())


def test_wrong_arguments(run: Run, file: IO[bytes], tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder) as (protocol, _):
            with pytest.raises(TypeError, match="count must be a positive integer"):
                await loop.sock_sendfile(_, file, 0, "1")  # type: ignore[arg-type]
            for count in (0, -1):
                with pytest.raises(ValueError, match="count must be a positive integer"):
                    await loop.sock_sendfile(_, file, 0, count)
            with pytest.raises(ValueError, match="offset must be a non-negative integer"):
                await loop.sock_sendfile(_, file, -1)
            with (tmp_path / "data").open() as text, pytest.raises(ValueError, match="file should be opened in binary"):
                await loop.sock_sendfile(_, text)  # type: ignore[arg-type]
            assert not protocol.transport.is_closing()

    run(main())


def test_sock_sendfile(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder) as (protocol, peer):
            assert await loop.sock_sendfile(peer, file, 7, 2_000_000) == 2_000_000
            assert file.tell() == 2_000_007
            await until(lambda: len(protocol.data) >= 2_000_000)
            assert protocol.data == DATA[7:2_000_007]
            assert await loop.sock_sendfile(peer, NoDescriptor(DATA)) == len(DATA)
            await until(lambda: len(protocol.data) == 2_000_000 + len(DATA))

    run(main())
