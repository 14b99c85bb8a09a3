"""A test suite that uses anyio's pytest plugin, as a user of sfloop would write it: on asyncio and on sfloop."""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.streams.tls import TLSListener, TLSStream
from conformance.loops import target

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "sfloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": target(request.param).loop_class, "debug": True}


class Echo:
    """Sends received data back on one connection. ``ended`` is set when the peer has closed it."""

    def __init__(self) -> None:
        self.ended = anyio.Event()

    async def __call__(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)
        self.ended.set()


async def test_the_loop_is_the_one_named(anyio_backend: tuple[str, dict[str, Callable[[], Any]]]) -> None:
    assert type(asyncio.get_running_loop()) is anyio_backend[1]["loop_factory"]


async def test_tcp() -> None:
    payload = bytes(range(256)) * 4096
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        echo = Echo()
        group.start_soon(listener.serve, echo)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as stream, anyio.create_task_group() as sending:
            assert isinstance(stream, SocketStream)
            sending.start_soon(stream.send, payload)
            received = b""
            while len(received) < len(payload):
                received += await stream.receive()
        await echo.ended.wait()
        group.cancel_scope.cancel()
    assert received == payload


async def test_tls() -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    tcp_listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = tcp_listener.extra(anyio.abc.SocketAttribute.local_port)
    listener = TLSListener(tcp_listener, server_context)
    async with listener, anyio.create_task_group() as group:
        echo = Echo()
        group.start_soon(listener.serve, echo)
        tcp = await anyio.connect_tcp("127.0.0.1", port)
        tls = await TLSStream.wrap(tcp, hostname="localhost", ssl_context=client_context)
        async with tls:
            await tls.send(b"over TLS")
            assert await tls.receive() == b"over TLS"
        await echo.ended.wait()
        group.cancel_scope.cancel()


async def test_udp() -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as receiver:
        port = receiver.extra(anyio.abc.SocketAttribute.local_port)
        async with await anyio.create_connected_udp_socket("127.0.0.1", port) as sender:
            for number in range(10):
                await sender.send(b"%d" % number)
            assert [(await receiver.receive())[0] for _ in range(10)] == [b"%d" % number for number in range(10)]


async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as group:
        echo = Echo()
        group.start_soon(listener.serve, echo)
        async with await anyio.connect_unix(path) as stream:
            await stream.send(b"local")
            assert await stream.receive() == b"local"
        await echo.ended.wait()
        group.cancel_scope.cancel()


async def test_threads_both_ways() -> None:
    def in_thread() -> tuple[int, int]:
        return threading.get_ident(), anyio.from_thread.run_sync(threading.get_ident)

    worker, loop = await anyio.to_thread.run_sync(in_thread)
    assert worker != loop == threading.get_ident()


async def test_process() -> None:
    program = "import sys; sys.stdout.write(sys.stdin.read().upper())"
    process = await anyio.run_process([sys.executable, "-c", program], input=b"from a pipe")
    assert process.stdout == b"FROM A PIPE"


async def test_signals() -> None:
    with anyio.open_signal_receiver(signal.SIGUSR1) as signals, anyio.fail_after(5):
        signal.raise_signal(signal.SIGUSR1)
        async for number in signals:
            assert number == signal.SIGUSR1
            break


async def test_deadline_is_kept() -> None:
    start = anyio.current_time()
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - start >= 0.01


@pytest.mark.parametrize("loop", ["asyncio", "sfloop"])
def test_a_run_with_a_thread_leaves_no_loop(loop: str) -> None:
    """anyio's test_asyncio_run_does_not_leak_event_loop, which does not wait for the thread, although it refers to the
    loop."""

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        await anyio.to_thread.run_sync(threading.get_ident)
        return weakref.ref(asyncio.get_running_loop())

    threads = threading.active_count()
    left = anyio.run(main, backend_options={"loop_factory": target(loop).loop_class})
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    gc.collect()
    assert left() is None
