"""sfloop.testing.Clock: timeouts take no time, on sfloop's loops and on asyncio's own."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from typing import Any

import pytest
from clock_times import AN_HOUR
from harness.observed import Run

import sfloop
from sfloop import testing
from sfloop.testing import Clock


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
        # The timer of the timeout was cancelled, and nothing jumps to it.
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
