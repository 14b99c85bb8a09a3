"""sfloop.testing.Clock: threads, child processes and peers elsewhere come before any jump."""

from __future__ import annotations

import asyncio
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clock_times import AN_HOUR, AT_ONCE

from sfloop.testing import Clock

# ---- events from outside come first ----


def thread_that_calls(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> threading.Thread:
    def target() -> None:
        time.sleep(0.05)
        loop.call_soon_threadsafe(event.set)

    thread = threading.Thread(target=target)
    thread.start()
    return thread


def in_an_executor(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Any:
    future = loop.run_in_executor(None, time.sleep, 0.05)
    future.add_done_callback(lambda _: event.set())
    return future


def in_a_pool_of_the_programs_own(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Any:
    pool = ThreadPoolExecutor(1)
    pool.submit(pow, 2, 2).result()  # its worker waits
    future = pool.submit(time.sleep, 0.05)
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(event.set))
    return pool


@pytest.mark.parametrize("work", [thread_that_calls, in_an_executor, in_a_pool_of_the_programs_own])
def test_threads_are_waited_for(loop: asyncio.AbstractEventLoop, clock: Clock, work: Callable[..., Any]) -> None:
    async def main() -> Any:
        event = asyncio.Event()
        kept = work(loop, event)
        await asyncio.wait_for(event.wait(), 10)
        assert 0 <= loop.time() - 100 < 5  # time before the loop waits does not count
        return kept

    kept = loop.run_until_complete(main())
    began = time.monotonic()
    loop.run_until_complete(asyncio.sleep(AN_HOUR))
    assert time.monotonic() - began < AT_ONCE
    if isinstance(kept, ThreadPoolExecutor):
        kept.shutdown()


def test_a_time_out_of_a_thread_takes_its_time(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    async def main() -> None:
        release = threading.Event()
        began = time.monotonic()
        call = loop.run_in_executor(None, release.wait, 10)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(call), 0.05)
        assert 0.04 < time.monotonic() - began < 8
        release.set()
        assert await call

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_child_processes_are_waited_for(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import time; time.sleep(0.05); print('done')", stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        assert out == b"done\n"
        assert loop.time() > 100
        assert child.returncode == 0

    loop.run_until_complete(main())


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, int]]:
    """Yield the address of a server in another process, which answers each line after 20 ms."""
    program = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    peer, _ = server.accept()
    while data := peer.recv(100):
        time.sleep(0.02)
        peer.sendall(data)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield "127.0.0.1", int(server.stdout.readline())
        server.kill()


@pytest.mark.parametrize("patience", [5, math.inf])
def test_peers_elsewhere_have_patience(
    loop: asyncio.AbstractEventLoop, clock: Clock, elsewhere: tuple[str, int], patience: float
) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(*elsewhere)
        clock.patience = patience
        for _ in range(3):
            writer.write(b"x")
            assert await asyncio.wait_for(reader.readexactly(1), 10) == b"x"
        clock.patience = 0.01
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), AN_HOUR)
        assert 0.01 <= time.monotonic() - began < AT_ONCE
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


def test_without_patience(loop: asyncio.AbstractEventLoop, clock: Clock, elsewhere: tuple[str, int]) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(*elsewhere)
        clock.patience = 0
        writer.write(b"x")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), AN_HOUR)
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


def test_real_time(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    async def main() -> None:
        began = time.monotonic()
        with clock.real_time():
            await asyncio.sleep(0.05)
        assert time.monotonic() - began > 0.04
        await asyncio.sleep(AN_HOUR)

    loop.run_until_complete(main())


def test_a_signal_ends_the_wait(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    async def main() -> None:
        event = asyncio.Event()
        loop.add_signal_handler(signal.SIGALRM, event.set)
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        with clock.real_time():
            await asyncio.wait_for(event.wait(), 10)
        loop.remove_signal_handler(signal.SIGALRM)

    loop.run_until_complete(main())
