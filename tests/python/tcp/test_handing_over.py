"""Sockets and pipes of calls that fail: their owner, and that they are closed."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import socket
import ssl
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.loops import turns, until
from harness.observed import Contexts, Run
from harness.recording import Recorder
from harness.zf import KERNEL_HOST

LEFT = "asyncio leaves it to the garbage collector"


def failing() -> Recorder:
    raise ZeroDivisionError("factory")


class NoProtocol:
    """Has no connection_made(), so no transport can be made for it."""


@contextmanager
def all_closed() -> Iterator[None]:
    """Each descriptor opened here is closed here, and not by the collector."""
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        assert set(os.listdir("/proc/self/fd")) <= before
        gc.collect()


@pytest.mark.sfloop_only(LEFT)
@pytest.mark.parametrize("factory", [failing, NoProtocol])
@pytest.mark.parametrize(
    "call",
    [
        lambda loop, factory, sock: loop.create_connection(factory, sock=sock),
        lambda loop, factory, sock: loop.create_unix_connection(factory, sock=sock),
        lambda loop, factory, sock: loop.connect_accepted_socket(factory, sock),
    ],
    ids=["create_connection", "create_unix_connection", "connect_accepted_socket"],
)
def test_a_stream_socket_that_was_given(run: Run, factory: Any, call: Any) -> None:
    near, far = socket.socketpair()

    async def main() -> None:
        with pytest.raises((ZeroDivisionError, AttributeError)):
            await call(asyncio.get_running_loop(), factory, near)
        assert near.fileno() == -1
        assert far.recv(1) == b""

    run(main())
    far.close()


@pytest.mark.sfloop_only(LEFT)
@pytest.mark.parametrize("factory", [failing, NoProtocol])
def test_a_datagram_socket_that_was_given(run: Run, factory: Any) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    async def main() -> None:
        with pytest.raises((ZeroDivisionError, AttributeError)):
            await asyncio.get_running_loop().create_datagram_endpoint(factory, sock=sock)
        assert sock.fileno() == -1

    run(main())


@pytest.mark.sfloop_only(LEFT)
@pytest.mark.parametrize("tls", [False, True])
def test_a_socket_that_the_loop_has_made(run: Run, loop_kind: str, tmp_path: Path, tls: bool) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd")) if loop_kind == "sfloop" else 0  # stacks keep their ports for a while

    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if tls else None
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        unix = await loop.create_unix_server(Recorder, str(tmp_path / "socket"))
        address = server.sockets[0].getsockname()
        name = "localhost" if tls else None
        before = opened()
        for call in (
            lambda: loop.create_connection(failing, *address, ssl=context, server_hostname=name),
            lambda: loop.create_unix_connection(failing, str(tmp_path / "socket"), ssl=context, server_hostname=name),
            lambda: loop.create_datagram_endpoint(failing, local_addr=("127.0.0.1", 0)),
            lambda: loop.create_datagram_endpoint(failing, remote_addr=("127.0.0.1", 9)),
        ):
            with pytest.raises(ZeroDivisionError):
                await call()
            await until(lambda: opened() <= before)
        for listening in (server, unix):
            listening.close()
            await listening.wait_closed()

    run(main())


@pytest.mark.sfloop_only("asyncio does not look for a transport", when=sys.version_info < (3, 12))
def test_a_socket_that_another_transport_uses_is_left_to_it(run: Run) -> None:
    near, far = socket.socketpair()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, first = await loop.create_connection(Recorder, sock=near)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.create_connection(Recorder, sock=near)
        with pytest.raises(ZeroDivisionError):
            await loop.create_connection(failing, sock=near)
        far.sendall(b"still there")
        await until(lambda: first.data == b"still there")
        first.transport.close()
        await first.lost

    run(main())
    far.close()


def test_an_argument_that_is_refused_is_the_callers(run: Run) -> None:
    near, far = socket.socketpair()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(ValueError):
            await loop.create_connection(Recorder, "127.0.0.1", 1, sock=near)
        with pytest.raises(ValueError):
            await loop.create_connection(Recorder, sock=datagrams)
        with pytest.raises(ValueError):
            await loop.connect_accepted_socket(Recorder, datagrams)
        with pytest.raises(ValueError):
            await loop.create_datagram_endpoint(Recorder, local_addr=("127.0.0.1", 0), sock=datagrams)
        assert near.fileno() >= 0 and datagrams.fileno() >= 0

    run(main())
    for sock in (near, far, datagrams):
        sock.close()


@pytest.mark.sfloop_only(LEFT)
@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_pipe(run: Run, direction: str) -> None:
    r, w = os.pipe()
    ours, other = (r, w) if direction == "read" else (w, r)
    pipe = open(ours, "rb" if direction == "read" else "wb", 0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await getattr(loop, f"connect_{direction}_pipe")(failing, pipe)
        assert pipe.closed

    run(main())
    os.close(other)


def test_a_file_that_is_no_pipe_is_the_callers(run: Run, tmp_path: Path) -> None:
    """Programs try whether their standard input is a pipe."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (tmp_path / "file").open("w+b") as file:
            for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
                with pytest.raises(ValueError, match="[Pp]ipe transport is"):
                    await connect(Recorder, file)  # type: ignore[operator]
            assert isinstance(file, io.BufferedRandom) and not file.closed

    run(main())


@pytest.mark.sfloop_only("asyncio tells of it in debug mode only, and leaves the socket to the garbage collector")
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("unix", [False, True])
def test_an_accepted_connection_without_a_protocol(
    run: Run, contexts: Contexts, tmp_path: Path, tls: bool, unix: bool
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trustme.CA().issue_cert("localhost").configure_cert(context)
        path = str(tmp_path / "socket")
        if unix:
            server: Any = await loop.create_unix_server(failing, path, ssl=context)
        else:
            server = await loop.create_server(failing, "127.0.0.1", 0, ssl=context)
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as client:
            client.setblocking(False)
            await loop.sock_connect(client, path if unix else server.sockets[0].getsockname())
            assert await loop.sock_recv(client, 1) == b""
        context_of_error = contexts.take("Error on transport creation for incoming connection")
        assert isinstance(context_of_error["exception"], ZeroDivisionError)
        server.close()
        await server.wait_closed()

    with all_closed():
        run(main())


@pytest.mark.sfloop_only("asyncio leaves the sockets to the garbage collector")
def test_a_server_that_cannot_listen(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            address = other.getsockname()
            bound = socket.socket()
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            other.listen()
            with pytest.raises(OSError) as failed:
                await loop.create_server(Recorder, sock=bound)
            assert failed.value.errno == errno.EADDRINUSE
            assert bound.fileno() == -1

    with all_closed():
        run(main())


@pytest.mark.sfloop_only("asyncio leaves a server behind that nobody has")
def test_create_server_cancelled(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        task = asyncio.ensure_future(loop.create_server(Recorder, sock=sock))
        await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sock.fileno() == -1

    run(main())


@pytest.mark.sfloop_only("asyncio accepts the connection and drops it")
def test_sock_accept_cancelled_in_the_turn_of_a_connection(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as listening, socket.socket() as client:
            listening.bind((KERNEL_HOST, 0))
            listening.listen()
            listening.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listening))
            await turns()

            def connect() -> None:
                client.connect(listening.getsockname())
                loop.call_soon(accepting.cancel)  # the loop polls before it runs this

            loop.call_soon(connect)
            with pytest.raises(asyncio.CancelledError):
                await accepting
            await turns()
            conn, _ = await asyncio.wait_for(loop.sock_accept(listening), 5)
            conn.close()

    run(main())
