"""loop.sendfile() over TLS: the data sent, its offset, and the file's position afterwards."""

from __future__ import annotations

import asyncio
import io
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from harness.loops import until
from harness.observed import Run
from harness.recording import Recorder
from harness.tls import tls_pair

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

DATA = bytes(number * 7 % 251 for number in range(300_000))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[IO[bytes]]:
    (tmp_path / "data").write_bytes(DATA)
    with (tmp_path / "data").open("rb") as opened:
        yield opened


@pytest.mark.sfloop_only("in older releases asyncio leaves the position of a file that has sent nothing")
@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, None, len(DATA)),
        (0, 1, 1),
        (1, 100_000, 100_000),
        (299_999, None, 1),
        (299_990, 100, 10),
        (len(DATA), None, 0),
        (len(DATA) + 5, 10, 0),
        (16_384, 16_384, 16_384),
    ],
)
def test_offset_and_count(
    run: Run,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    file: IO[bytes],
    offset: int,
    count: int | None,
    expected: int,
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            file.read(77)  # a buffered file has read ahead by now
            client.transport.write(b"before")
            sent = await asyncio.get_running_loop().sendfile(client.transport, file, offset, count)
            client.transport.write(b"after")
            assert sent == expected
            assert file.tell() == offset + expected
            assert file.read(3) == DATA[offset + expected :][:3]
            whole = b"before" + DATA[offset : offset + expected] + b"after"
            await until(lambda: len(server.data) == len(whole))
            assert server.data == whole

    run(main())


def test_from_the_server_and_from_an_object_in_memory(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            source = io.BytesIO(DATA)
            assert await asyncio.get_running_loop().sendfile(server.transport, source, 10, 20_000) == 20_000
            assert source.tell() == 20_010
            await until(lambda: len(client.data) == 20_000)
            assert client.data == DATA[10:20_010]

    run(main())


def test_without_the_fallback_it_is_refused(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, file: IO[bytes]
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await asyncio.get_running_loop().sendfile(client.transport, file, fallback=False)
            client.transport.write(b"goes on")
            await until(lambda: server.data == b"goes on")

    run(main())


@pytest.mark.sfloop_only("asyncio's fallback waits for ever, or leaves the transport paused")
@pytest.mark.parametrize("ending", ["cancel", "abort", "peer"])
def test_ending_in_the_middle(
    run: Run,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    tmp_path: Path,
    ending: str,
) -> None:
    (tmp_path / "large").write_bytes(bytes(30_000_000))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tls_pair(server_context, client_context) as (server, client):
            server.transport.pause_reading()
            with (tmp_path / "large").open("rb") as source:
                task: asyncio.Task[Any] = asyncio.ensure_future(loop.sendfile(client.transport, source))
                await asyncio.sleep(0.1)
                # The peer reads nothing, and the bytes that wait in this process are bounded.
                assert client.transport.get_write_buffer_size() < 5_000_000
                assert not task.done()
                if ending == "cancel":
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    server.transport.resume_reading()
                    client.transport.write(b"goes on")
                    await until(lambda: server.data.endswith(b"goes on"))
                    assert source.tell() == len(server.data) - len(b"goes on")
                    return
                (client if ending == "abort" else server).transport.abort()
                with pytest.raises(ConnectionError):
                    await task

    run(main())


def test_reading_goes_on_meanwhile_and_afterwards(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, file: IO[bytes]
) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context, Recorder) as (server, client):
            server.transport.write(b"during")
            await asyncio.get_running_loop().sendfile(client.transport, file)
            server.transport.write(b" and after")
            await until(lambda: client.data == b"during and after")
            await until(lambda: server.data == DATA)

    run(main())
