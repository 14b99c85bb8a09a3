"""A spinning loop receives from the socket that had the last two events before it asks the kernel for events."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sfloop

pytestmark = pytest.mark.sfloop_only("asyncio asks for events")

MESSAGES = 2000


@pytest.fixture
def loop() -> Iterator[sfloop.Loop]:
    made = sfloop.Loop(sfloop.Options(spin="always"))
    yield made
    made.close()


class Echo(asyncio.Protocol, asyncio.DatagramProtocol):
    """Echoes messages; `act` is called with each message before."""

    transport: Any

    def __init__(self, act: Callable[[Echo, bytes], None] = lambda protocol, data: None) -> None:
        self.act = act
        self.got: list[bytes] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        self.act(self, data)
        self.transport.write(data)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(data)
        self.act(self, data)
        self.transport.sendto(data, addr)

    def eof_received(self) -> None:
        self.eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@contextlib.contextmanager
def connected(kind: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            far = socket.create_connection(server.getsockname())
            near, _ = server.accept()
        with far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far.settimeout(10)
            yield near, far
        return
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.connect(near.getsockname())
        far.settimeout(10)
        yield near, far


async def endpoint(kind: str, sock: socket.socket, factory: Callable[[], Echo] = Echo) -> Echo:
    loop = asyncio.get_running_loop()
    if kind == "tcp":
        _, protocol = await loop.create_connection(factory, sock=sock)
    else:
        _, protocol = await loop.create_datagram_endpoint(factory, sock=sock)
    return protocol


def without_events(loop: sfloop.Loop) -> int:
    """Return the number of messages that arrived without an event of their own."""
    counts = loop.stats()["stacks"]["kernel"]
    return int(counts["rx_messages"] - counts["events"])


def ping(far: socket.socket, first: int, end: int) -> None:
    for number in range(first, end):
        far.send(b"%d" % number)
        assert far.recv(100) == b"%d" % number


KINDS = ("tcp", "udp")


@pytest.mark.parametrize("kind", KINDS)
def test_messages_come_once_and_in_order(loop: sfloop.Loop, kind: str) -> None:
    async def main() -> None:
        with connected(kind) as (near, far):
            protocol = await endpoint(kind, near)
            await loop.run_in_executor(None, ping, far, 0, MESSAGES)
            assert protocol.got == [b"%d" % i for i in range(MESSAGES)]
            protocol.transport.abort()
            await protocol.lost

    loop.run_until_complete(main())
    assert without_events(loop) > MESSAGES // 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_pause_in_the_callback_holds_back_the_next_message(loop: sfloop.Loop, kind: str) -> None:
    def pause(protocol: Echo, data: bytes) -> None:
        if data == b"100":
            protocol.transport.pause_reading()

    async def main() -> None:
        with connected(kind) as (near, far):
            protocol = await endpoint(kind, near, lambda: Echo(pause))
            await loop.run_in_executor(None, ping, far, 0, 101)
            far.send(b"101")
            await asyncio.sleep(0.05)
            assert protocol.got[-1] == b"100"
            protocol.transport.resume_reading()
            assert await loop.run_in_executor(None, far.recv, 100) == b"101"
            await loop.run_in_executor(None, ping, far, 102, 200)
            protocol.transport.abort()
            await protocol.lost

    loop.run_until_complete(main())


def test_the_end_and_a_reset_are_told(loop: sfloop.Loop) -> None:
    async def main() -> None:
        with connected("tcp") as (near, far):
            protocol = await endpoint("tcp", near)
            await loop.run_in_executor(None, ping, far, 0, 100)
            far.close()
            assert await protocol.lost is None and protocol.eof
        with connected("tcp") as (near, far):
            protocol = await endpoint("tcp", near)
            await loop.run_in_executor(None, ping, far, 0, 100)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
            assert isinstance(await protocol.lost, ConnectionResetError) and not protocol.eof

    loop.run_until_complete(main())


def test_an_icmp_error_is_told(loop: sfloop.Loop) -> None:
    errors: list[Exception] = []

    class Connected(Echo):
        def error_received(self, exc: Exception) -> None:
            errors.append(exc)

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data)

    async def main() -> None:
        with connected("udp") as (near, far):
            near.connect(far.getsockname())
            protocol = await endpoint("udp", near, Connected)
            await loop.run_in_executor(None, ping, far, 0, 100)
            far.close()
            protocol.transport.sendto(b"nobody is there")
            while not errors:
                await asyncio.sleep(0.001)
            protocol.transport.abort()
            await protocol.lost

    loop.run_until_complete(main())
    assert [type(error) for error in errors] == [ConnectionRefusedError]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_loses_no_message(loop: sfloop.Loop, kind: str) -> None:
    """Ctrl-C comes at any moment: each message is delivered once, although the callback may be cut short."""

    def work() -> None:
        source = random.Random(11)
        for number in range(400):
            far.send(b"%d\n" % number)
            if number % 10 == 5:
                moment = time.perf_counter() + source.random() * 100e-6
                while time.perf_counter() < moment:
                    pass
                os.kill(os.getpid(), signal.SIGINT)
            try:
                far.recv(100)
            except TimeoutError:  # the interrupt came before the answer was written
                unanswered.append(number)
        done.set()

    done = threading.Event()
    unanswered: list[int] = []
    with connected(kind) as (near, far):
        far.settimeout(0.1)
        protocol = loop.run_until_complete(endpoint(kind, near))
        thread = threading.Thread(target=work)
        interrupts = 0
        while not done.is_set():
            with contextlib.suppress(KeyboardInterrupt):  # which may come before the loop runs, or after
                if not thread.ident:
                    thread.start()
                loop.run_until_complete(asyncio.sleep(0.1))
                continue
            interrupts += 1
        thread.join()
        protocol.transport.abort()
        loop.run_until_complete(protocol.lost)
    # An interrupt within data_received() cuts it short: before the message is noted, or before it is answered.
    numbers = [int(line) for line in b"".join(protocol.got).splitlines()]
    assert numbers == sorted(set(numbers)) and len(numbers) >= 400 - interrupts
    assert 20 < interrupts <= 40
    assert not any({number + 1, number + 2} <= set(unanswered) for number in unanswered), "it has become deaf"


@pytest.mark.parametrize("kind", KINDS)
def test_others_are_served_beside_it(loop: sfloop.Loop, kind: str) -> None:
    """Timers, other sockets and other threads' callbacks run in time while one socket always has a message."""

    async def main() -> None:
        with connected(kind) as (near, far), connected("tcp") as (other_near, other_far):
            protocol, other = await endpoint(kind, near), await endpoint("tcp", other_near)
            stop = threading.Event()

            def always() -> None:
                number = 0
                while not stop.is_set():
                    ping(far, number, number + 1)
                    number += 1

            busy = loop.run_in_executor(None, always)
            ticks = 0
            for _ in range(20):
                await asyncio.wait_for(asyncio.sleep(0.005), 1)
                ticks += 1
                assert await asyncio.wait_for(loop.run_in_executor(None, int, "7"), 1) == 7
            await asyncio.wait_for(loop.run_in_executor(None, ping, other_far, 0, 50), 5)
            stop.set()
            await busy
            assert ticks == 20 and len(other.got) == 50
            for each in (protocol, other):
                each.transport.abort()
                await each.lost

    loop.run_until_complete(main())
    assert without_events(loop) > 50


def test_a_callback_that_raises_is_reported_once(loop: sfloop.Loop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    def fail(protocol: Echo, data: bytes) -> None:
        if data == b"100":
            raise ZeroDivisionError

    async def main() -> None:
        with connected("udp") as (near, far):
            protocol = await endpoint("udp", near, lambda: Echo(fail))
            await loop.run_in_executor(None, ping, far, 0, 100)
            far.send(b"100")
            await loop.run_in_executor(None, ping, far, 101, 200)
            assert len(protocol.got) == 200
            protocol.transport.abort()
            await protocol.lost

    loop.run_until_complete(main())
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]
