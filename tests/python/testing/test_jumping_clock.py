"""sfloop.testing.Clock: time-outs take no time, on sfloop's loops and on asyncio's own."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from harness.observed import Run

import sfloop
from sfloop import testing
from sfloop.testing import Clock

AN_HOUR = 3600.0
#: Seconds of real time that a jump of any length must not take.
AT_ONCE = 3.0


@pytest.fixture
def clock(loop: asyncio.AbstractEventLoop) -> Iterator[Clock]:
    made, began = Clock(100.0), time.monotonic()
    with made.on(loop):
        yield made
    assert time.monotonic() - began < 10


@pytest.fixture
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


@pytest.mark.usefixtures("at_once")
def test_sleeps_end_in_the_order_of_their_times(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    ended: list[tuple[float, float]] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append((seconds, loop.time() - 100))

    async def main() -> None:
        await asyncio.gather(*map(sleep, (AN_HOUR, 0.5, 1e6, 0.25)))

    loop.run_until_complete(main())
    assert ended == [(0.25, 0.25), (0.5, 0.5), (AN_HOUR, AN_HOUR), (1e6, 1e6)]
    assert clock.time() == loop.time() == 100 + 1e6


@pytest.mark.usefixtures("at_once")
def test_time_outs(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), AN_HOUR)
        assert loop.time() == 100 + AN_HOUR
        assert await asyncio.wait_for(asyncio.sleep(5, "in time"), 10) == "in time"
        # The timer of the time-out was cancelled, and nothing jumps to it.
        assert loop.time() == 105 + AN_HOUR
        await asyncio.sleep(1)
        assert loop.time() == 106 + AN_HOUR

    loop.run_until_complete(main())


@pytest.mark.usefixtures("at_once")
def test_timers_of_one_time_run_in_one_turn(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    ran: list[Any] = []
    for i in range(3):
        loop.call_later(60, ran.append, i)
    loop.call_at(160, ran.append, "at")
    loop.call_at(99, ran.append, "before")
    loop.call_later(60, lambda: loop.call_soon(ran.append, "soon"))
    loop.call_later(60.1, loop.stop)
    loop.run_forever()
    assert ran[0] == "before" and ran[-1] == "soon"
    between = ran[1:-1]
    if isinstance(loop, sfloop.Loop):
        assert between == [0, 1, 2, "at"]
    else:  # asyncio keeps no order of timers of one time
        assert sorted(between, key=str) == [0, 1, 2, "at"]


def test_time_stands_still_while_the_program_runs(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    async def main() -> None:
        time.sleep(0.01)
        await asyncio.sleep(0)
        assert loop.time() == 100

    loop.run_until_complete(main())


@pytest.mark.usefixtures("at_once")
def test_a_server_and_its_client_in_one_loop(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    """Data under way between the two arrives before any jump."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        await asyncio.sleep(AN_HOUR)
        writer.write(b"late")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        data = bytes(1 << 21)
        writer.write(data)
        writer.write_eof()
        assert await asyncio.wait_for(reader.readexactly(len(data)), 1) == data
        assert loop.time() == 100
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(), 10)
        assert loop.time() == 110
        assert await reader.read() == b"late"
        assert loop.time() == 100 + AN_HOUR
        writer.close()
        await writer.wait_closed()
        server.close()

    loop.run_until_complete(main())


@pytest.mark.usefixtures("at_once")
def test_datagrams_and_socket_pairs_of_one_loop(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append(data)
            if len(got) < 4:
                self.transport.sendto(data + b"!", addr)

    got: list[bytes] = []

    async def main() -> None:
        one, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        two, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        one.sendto(b"x", two.get_extra_info("sockname"))
        await asyncio.sleep(AN_HOUR)
        assert got == [b"x", b"x!", b"x!!", b"x!!!"]
        one.close()
        two.close()
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_recv(right, 10), AN_HOUR)
            await loop.sock_sendall(left, b"there")
            assert await asyncio.wait_for(loop.sock_recv(right, 10), 1e-9) == b"there"

    loop.run_until_complete(main())


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


# ---- by hand ----


def test_advance(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    clock.jumps = False
    ran: list[Any] = []

    async def main() -> None:
        loop.call_later(5, ran.append, 5)
        loop.call_later(7, ran.append, 7)
        clock.advance(5)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ran == [5]
        assert loop.time() == 105
        clock.advance(0.5)
        await asyncio.sleep(0)
        assert ran == [5]
        threading.Timer(0.02, clock.advance, [10]).start()
        await asyncio.sleep(3)
        assert ran == [5, 7]

    loop.run_until_complete(main())
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-1)


def test_attached_to_a_running_loop(run: Run) -> None:
    async def main() -> None:
        loop, ran = asyncio.get_running_loop(), []
        loop.call_later(5, ran.append, "before")  # by the loop's own time
        clock = Clock()
        with clock.on(loop):
            assert loop.time() == clock.time()
            assert abs(clock.time() - time.monotonic()) < 5
            await asyncio.sleep(7)
            assert ran == ["before"]
        assert abs(loop.time() - time.monotonic()) < 5
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began >= 0.01

    run(main())


def test_refusals(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    with pytest.raises(RuntimeError, match="already has a clock"):
        Clock().attach(loop)
    with pytest.raises(TypeError, match="takes no clock"):
        Clock().attach(object())  # type: ignore[arg-type]
    for wrong in ({"start": math.nan}, {"patience": -1}, {"patience": math.nan}):
        with pytest.raises(ValueError, match="must be (finite )?seconds"):
            Clock(**wrong)


@pytest.mark.usefixtures("at_once")
def test_run() -> None:
    async def main() -> float:
        try:
            await asyncio.sleep(AN_HOUR)
            await asyncio.to_thread(time.sleep, 0.001)
            return asyncio.get_running_loop().time()
        finally:
            asyncio.create_task(cleaned_up())  # noqa: RUF006

    async def cleaned_up() -> None:
        try:
            await asyncio.sleep(AN_HOUR)
        finally:
            await asyncio.sleep(AN_HOUR)
            ended.append(True)

    ended: list[bool] = []
    with testing.no_leaks():
        assert testing.run(main(), clock=Clock(0), spin="never") >= AN_HOUR
    assert ended == [True]

    async def nested() -> None:
        with pytest.raises(RuntimeError, match="running event loop"):
            testing.run(main())

    testing.run(nested())


def test_many_timers(loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
    """A jump takes some microseconds."""

    async def main() -> None:
        for _ in range(5000):
            await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert loop.time() == 5100
