"""AF_UNIX stream servers and clients: paths, abstract names, stale paths."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Run
from harness.recording import Echo, Recorder


async def check(path: Any) -> None:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(Recorder, path)
    client.transport.write(b"x" * 500_000)
    await until(lambda: len(client.data) == 500_000)
    client.transport.close()
    await client.lost


async def closed(server: Any) -> None:
    await asyncio.sleep(0.002)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("kind", [str, Path, os.fsencode], ids=["str", "Path", "bytes"])
def test_a_path(run: Run, tmp_path: Path, kind: Any) -> None:
    path = kind(str(tmp_path / "socket"))

    async def main() -> None:
        server = await asyncio.get_running_loop().create_unix_server(Echo, path)
        await check(path)
        await closed(server)

    run(main())


@pytest.mark.parametrize("kind", [str, str.encode], ids=["str", "bytes"])
def test_an_abstract_name(run: Run, kind: Any) -> None:
    name = kind(f"\0sfloop-test-{os.getpid()}")

    async def main() -> None:
        server = await asyncio.get_running_loop().create_unix_server(Echo, name)
        await check(name)
        await closed(server)

    run(main())


def test_extra_information(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    made: list[Recorder] = []

    class Served(Echo):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Served, path)
        _, client = await loop.create_unix_connection(Recorder, path)
        await until(lambda: bool(made))
        assert client.transport.get_extra_info("peername") == path
        assert client.transport.get_extra_info("sockname") == ""
        assert made[0].transport.get_extra_info("sockname") == path
        assert made[0].transport.get_extra_info("peername") == ""
        assert made[0].transport.get_extra_info("socket").family == socket.AF_UNIX
        client.transport.close()
        await made[0].lost
        await closed(server)

    run(main())


def test_sockets_of_the_programs_own(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        server = await loop.create_unix_server(Echo, sock=listener)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        _, client = await loop.create_unix_connection(Recorder, sock=sock)
        client.transport.write(b"x")
        await until(lambda: client.data == b"x")
        client.transport.close()
        await client.lost
        await closed(server)

    run(main())


def test_a_stale_path_is_replaced(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_unix_server(Echo, path)
        await check(path)
        await closed(server)

    run(main())


def test_a_file_in_the_way(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")

    async def main() -> None:
        with pytest.raises(OSError, match="in use"):
            await asyncio.get_running_loop().create_unix_server(Echo, str(path))

    run(main())
    assert path.read_text() == "precious"


REMOVES = sys.version_info >= (3, 13)  # up to 3.12 asyncio, and sfloop with it, leaves the path to the program


@pytest.mark.parametrize("cleanup", [None, True, False] if REMOVES else [None])
def test_the_path_is_removed_on_close(run: Run, tmp_path: Path, cleanup: bool | None) -> None:
    path = tmp_path / "socket"
    options = {} if cleanup is None else {"cleanup_socket": cleanup}

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, str(path), **options)
        assert path.exists()
        await closed(server)
        assert path.exists() is (cleanup is False or not REMOVES)

    run(main())


def test_the_path_of_another_server_is_not_removed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_unix_server(Echo, str(path))
        second = await loop.create_unix_server(Echo, str(path))
        await closed(first)
        assert path.exists()
        await check(str(path))
        await closed(second)
        assert path.exists() is not REMOVES

    run(main())


def test_nobody_there(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, str(tmp_path / "nothing"))
        path = str(tmp_path / "dead")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)

    run(main())


def test_contradictory_arguments(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as sock, socket.socket() as tcp:
            for method in (loop.create_unix_server, loop.create_unix_connection):
                with pytest.raises(ValueError, match="path and sock can not be specified at the same time"):
                    await method(Echo, path, sock=sock)
                with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
                    await method(Echo, sock=tcp)
            with pytest.raises(ValueError, match="path was not specified, and no sock specified"):
                await loop.create_unix_server(Echo)
            with pytest.raises(ValueError, match="no path and sock were specified"):
                await loop.create_unix_connection(Recorder)
        with pytest.raises(OSError):
            await loop.create_unix_server(Echo, str(tmp_path / ("x" * 200)))

    run(main())


def test_streams(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.read() == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        await closed(server)

    run(main())


def test_many_connections(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        server = await asyncio.get_running_loop().create_unix_server(Echo, path, backlog=200)
        await asyncio.gather(*(check(path) for _ in range(20)))
        await closed(server)

    run(main())
