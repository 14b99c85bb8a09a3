"""Written data arrives although the program ends: loop.close(), asyncio.run(), the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire
from harness.link import FAR, INTERFACE, Link
from test_tcp_over_shm import far_server

import sfloop

PROGRAM = Path(__file__).with_name("ending_program.py")
MEGABYTE = 1_000_000
Far = Callable[[Any], Any]


@contextlib.contextmanager
def ending(how: str, address: tuple[str, int], size: int, count: int, **environment: str) -> Iterator[None]:
    command = [sys.executable, str(PROGRAM), how, address[0], str(address[1]), str(size), str(count)]
    child = subprocess.Popen(command, env={**os.environ, "SFLOOP_FALLBACK": "error", **environment})
    try:
        yield
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()


class Arrivals:
    """A stream server's handler that records each connection's bytes, or its error."""

    def __init__(self, late: float = 0, pause: float = 0) -> None:
        self.late, self.pause = late, pause
        self.counts: list[Any] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        try:
            await asyncio.sleep(self.late)
            while data := await reader.read(1 << 16):
                count += len(data)
                await asyncio.sleep(self.pause)
            self.counts.append(count)
        except OSError as exc:
            self.counts.append((count, exc))
        writer.close()

    def wait(self, n: int = 1) -> list[Any]:
        deadline = time.monotonic() + 15
        while len(self.counts) < n and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.counts


async def leave(address: tuple[str, int], size: int, count: int = 1, close: bool = True) -> list[Any]:
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(count):
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        transport.write(bytes(size))
        if close:
            transport.close()
        transports.append(transport)
    return transports


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize(
    ("size", "late", "pause"),
    [(1000, 0, 0), (MEGABYTE, 0, 0), (6 * MEGABYTE, 0, 0), (200_000, 0.3, 0), (600_000, 0.3, 0.005)],
)
def test_loop_close_delivers(near: sfloop.Loop, far: Far, size: int, late: float, pause: float) -> None:
    arrivals = Arrivals(late, pause)
    near.options.__dict__["linger"] = 3.0
    near.run_until_complete(leave(far_server(far, arrivals), size))
    near.close()
    assert arrivals.wait() == [size]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize("close", [True, False])
def test_several_connections(near: sfloop.Loop, far: Far, close: bool) -> None:
    """Data of connections that the program has not closed arrives too."""
    arrivals = Arrivals()
    near.options.__dict__["linger"] = 3.0
    left = near.run_until_complete(leave(far_server(far, arrivals), 400_000, 5, close))
    near.close()
    assert arrivals.wait(5) == [400_000] * 5
    assert all(transport.is_closing() == close for transport in left)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_reader_later_than_the_loop(near: sfloop.Loop, far: Far) -> None:
    """The reader finds all data and EOF, although the peer's loop is gone."""
    arrivals = Arrivals(late=0.5)
    near.run_until_complete(leave(far_server(far, arrivals), 50_000))
    near.close()
    assert not arrivals.counts
    assert arrivals.wait() == [50_000]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_what_is_not_delivered_in_time_is_seen_to_be_missing(near: sfloop.Loop, far: Far) -> None:
    arrivals = Arrivals(late=0.5)
    address = far_server(far, arrivals)
    near.run_until_complete(leave(address, MEGABYTE))
    began = time.monotonic()
    near.close()
    assert time.monotonic() - began < 0.5  # linger is 0.1
    ((_, error),) = arrivals.wait()
    assert isinstance(error, ConnectionResetError)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_ctrl_c_ends_the_wait(near: sfloop.Loop, far: Far) -> None:
    near.options.__dict__["linger"] = 20.0
    near.run_until_complete(leave(far_server(far, Arrivals(late=1)), 2 * MEGABYTE))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            near.close()
    finally:
        signal.signal(signal.SIGINT, before)
        timer.join()
    assert time.monotonic() - began < 0.8 and near.is_closed()


@pytest.mark.parametrize("how", ["close", "run", "exit", "unclosed", "thread"])
def test_the_process_ends(name: str, how: str) -> None:
    arrivals = Arrivals()
    with wire.running_in_thread(wire.open_side(name, wire.FAR)) as far:
        address = far_server(far, arrivals)
        environment = {"SFLOOP_DRIVER": "shm", "SFLOOP_INTERFACE": f"{name}@{wire.NEAR}"}
        with ending(how, address, MEGABYTE, 2, **environment):
            assert arrivals.wait(2) == [MEGABYTE] * 2


@pytest.mark.parametrize("late", [0, 0.4])
@pytest.mark.parametrize("how", ["close", "exit"])
@pytest.mark.parametrize("driver", ["af_xdp", "packet"])
def test_the_process_ends_on_veth(link: Link, driver: str, how: str, late: float) -> None:
    """The peer is the kernel; a late reader's window stays closed for a while."""
    with link.far.socket(socket.SOCK_STREAM) as listener, contextlib.ExitStack() as stack:
        listener.bind((FAR, 0))
        listener.listen()
        with link.near.entered():
            environment = {"SFLOOP_STACK": "tcpip", "SFLOOP_DRIVER": driver, "SFLOOP_INTERFACE": INTERFACE}
            stack.enter_context(ending(how, listener.getsockname(), MEGABYTE, 1, **environment))
        listener.settimeout(10)
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(10)
            time.sleep(late)
            got = 0
            while data := conn.recv(1 << 16):
                got += len(data)
            assert got == MEGABYTE
