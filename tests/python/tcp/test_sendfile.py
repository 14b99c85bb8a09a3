"""loop.sendfile: the native path, the fallback, offsets and counts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import pytest
from harness.connections import at_eof, facing_socket, read_all_available, small_buffers, tcp_pair
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
            if (
                sent or loop_kind != "asyncio"
            ):  # asyncio sets the position of a file that has nothing to send from 3.14.9 on
                assert file.tell() == offset + sent
            await until(lambda: len(server.data) >= len(expected))
            assert server.data == expected

    run(main())
    assert bool(calls) == (loop_kind != "tcpip"), "the native path is for what has a descriptor"


@pytest.mark.parametrize("offset", [0, 1000, len(DATA)])
def test_the_position_of_a_file_that_was_read_before(run: Run, loop_kind: str, file: IO[bytes], offset: int) -> None:
    async def main() -> None:
        assert file.read(7) == DATA[:7]  # the file object has more of it in its buffer
        async with tcp_pair(Recorder, Recorder) as (_, client):
            sent = await asyncio.get_running_loop().sendfile(client.transport, file, offset, 500)
            assert sent == min(500, len(DATA) - offset)
            if loop_kind != "asyncio":  # asyncio moves the descriptor, and the file object does not know of it
                assert file.tell() == offset + sent
                assert file.read(9) == DATA[offset + sent :][:9]

    run(main())


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
    """A file without a descriptor, which excludes the native path."""


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


@contextlib.asynccontextmanager
async def sending(file: IO[bytes]) -> AsyncIterator[tuple[Recorder, socket.socket, asyncio.Future[int]]]:
    """A connection on which sendfile() waits for its peer to read."""
    loop = asyncio.get_running_loop()
    async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
        small_buffers(protocol.transport.get_extra_info("socket"))
        task = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
        await asyncio.sleep(0.01)
        yield protocol, peer, task


def test_writing_during_sendfile_is_refused(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        async with sending(file) as (protocol, peer, task):
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
        async with sending(file) as (protocol, peer, task):
            peer.close()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(task, 5)
            await protocol.lost

    run(main())


def test_cancellation(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        async with sending(file) as (protocol, peer, task):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await goes_on(protocol, peer)

    run(main())


async def goes_on(protocol: Recorder, peer: Any) -> None:
    """Check that the connection reads and writes as before."""
    assert protocol.transport.is_reading()
    peer.sendall(b"read")
    await until(lambda: protocol.data == b"read")
    received = bytearray()
    protocol.transport.write(b"written")
    while not received.endswith(b"written"):
        try:
            received += peer.recv(1 << 20)
        except BlockingIOError:
            await asyncio.sleep(0)


@pytest.mark.sfloop_only("asyncio leaves the transport paused, and refuses to write to it for ever")
def test_cancellation_while_what_was_written_before_is_sent(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"w" * 1_000_000)
            assert protocol.transport.get_write_buffer_size()
            task = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
            await asyncio.sleep(0.01)
            assert not protocol.transport.is_reading()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await goes_on(protocol, peer)
            assert file.tell() == 0, "nothing of it was sent"

    run(main())


@pytest.mark.sfloop_only("asyncio waits for the closed socket for ever")
@pytest.mark.parametrize("way", ["close", "abort"])
def test_the_transport_is_ended_meanwhile(run: Run, file: IO[bytes], way: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, _):
            small_buffers(protocol.transport.get_extra_info("socket"))
            task = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
            await asyncio.sleep(0.01)
            getattr(protocol.transport, way)()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(task, 5)
            assert await protocol.lost is None
            assert 0 < file.tell() < len(DATA)

    run(main())


@pytest.mark.sfloop_only("asyncio shuts down in the midst of the file")
def test_write_eof_meanwhile_comes_after_the_file(run: Run, file: IO[bytes]) -> None:
    async def main() -> None:
        async with sending(file) as (protocol, peer, task):
            protocol.transport.write_eof()
            received = 0
            while not at_eof(peer):
                received += len(read_all_available(peer))
                await asyncio.sleep(0)
            assert await task == received == len(DATA)

    run(main())


@pytest.mark.sfloop_only("asyncio reads on from where the file stands")
@pytest.mark.parametrize("kind", ["a file", "no descriptor"])
def test_offset_0_of_a_file_that_stands_elsewhere(run: Run, file: IO[bytes], kind: str) -> None:
    source: IO[bytes] = file if kind == "a file" else NoDescriptor(DATA)
    source.seek(1_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(Recorder, Recorder) as (server, client):
            assert await loop.sendfile(client.transport, source, 0, 2_000_000) == 2_000_000
            assert source.tell() == 2_000_000
            await until(lambda: len(server.data) >= 2_000_000)
            assert server.data == DATA[:2_000_000]

    run(main())


@pytest.mark.sfloop_only("asyncio reads on from where the file stands")
def test_sock_sendfile_from_offset_0(run: Run) -> None:
    source = NoDescriptor(DATA)
    source.seek(1_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with facing_socket(Recorder) as (protocol, peer):
            assert await loop.sock_sendfile(peer, source) == len(DATA)
            await until(lambda: len(protocol.data) >= len(DATA))
            assert protocol.data == DATA and source.tell() == len(DATA)

    run(main())


@pytest.mark.sfloop_only("asyncio takes a file without a size for an empty one, and seeks in a pipe")
def test_a_pipe_is_read_from_where_it_stands(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        os.write(w, b"through the pipe")
        os.close(w)
        async with tcp_pair(Recorder, Recorder) as (server, client):
            with open(r, "rb", 0) as source:
                assert await loop.sendfile(client.transport, source) == 16
            await until(lambda: server.data == b"through the pipe")

    run(main())


class SlowReader(Recorder):
    """Does not read before it is told to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()


@pytest.mark.sfloop_only("asyncio's protocol hears resume_writing() without pause_writing(), or the reverse")
@pytest.mark.parametrize("paused_before", [False, True])
def test_the_protocol_knows_whether_it_may_write_after_the_fall_back(run: Run, paused_before: bool) -> None:
    """The calls are balanced, and match the transport's state when its protocol is set again."""
    size = 4 * 16384  # asyncio's pieces: the last one fills the buffer

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(SlowReader, Recorder) as (server, client):
            for side in (server, client):
                small_buffers(side.transport.get_extra_info("socket"))
            client.transport.set_write_buffer_limits(high=1000)
            while paused_before and not client.calls.count("pause_writing"):
                client.transport.write(bytes(20_000))
            loop.call_later(0.05, server.transport.resume_reading)
            assert await loop.sendfile(client.transport, NoDescriptor(DATA), 0, size) == size
            paused: bool = client.transport._protocol_paused  # type: ignore[attr-defined]
            assert client.writable.is_set() == (not paused)
            await until(lambda: client.writable.is_set() and not client.transport.get_write_buffer_size())
            flow = [name for name in client.calls if name.endswith("writing")]
            assert flow == ["pause_writing", "resume_writing"] * (len(flow) // 2)

    run(main())


def test_the_fall_back_is_cancelled(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(SlowReader, Recorder) as (server, client):
            source = NoDescriptor(DATA * 10)
            task = asyncio.ensure_future(loop.sendfile(client.transport, source))
            await until(lambda: client.transport.get_write_buffer_size() > 65536)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            told = source.tell()
            assert 0 < told < len(DATA) * 10
            client.transport.write(b"end")
            server.transport.resume_reading()
            await until(lambda: server.data.endswith(b"end"))
            assert len(server.data) == told + 3
            server.transport.write(b"back")
            await until(lambda: client.data == b"back")

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
