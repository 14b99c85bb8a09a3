"""Exceptions from every callback of a datagram protocol: no datagram is lost or doubled."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from harness.connections import address_of, udp
from harness.loops import until
from harness.observed import Contexts
from harness.recording import DatagramRecorder

EXITS = [KeyboardInterrupt, SystemExit]
HEADERS = pytest.mark.sfloop_only(
    "these asyncio never take a datagram's header off the buffer's size again", when=sys.version_info >= (3, 12)
)


def run_again(
    loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None], exception: type[BaseException], times: int = 1
) -> None:
    """Run the loop until main has ended. The exception leaves it that many times before."""
    task = loop.create_task(asyncio.wait_for(main, 20))
    for _ in range(times):
        with pytest.raises(exception):
            loop.run_until_complete(task)
            pytest.fail("the exception did not leave the loop")
    loop.run_until_complete(task)


def leaving_at(numbers: set[int], exception: type[BaseException]) -> Callable[[], DatagramRecorder]:
    """Raises at the datagrams with these numbers, each time they arrive."""

    class Leaving(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data[0] in numbers:
                raise exception(data)

    return Leaving


@pytest.mark.parametrize("exception", EXITS)
@pytest.mark.parametrize("numbers", [{9}, {63}, {9, 63}, {0, 1, 62, 63}, set(range(64))], ids=str)
def test_in_datagram_received(
    loop: asyncio.AbstractEventLoop, numbers: set[int], exception: type[BaseException]
) -> None:
    """The exception comes at any place in a batch, also in the last of the datagrams kept for later."""

    async def main() -> None:
        async with udp(leaving_at(numbers, exception)) as server, udp(DatagramRecorder) as client:
            for i in range(64):
                client.transport.sendto(bytes([i]), address_of(server))
            await until(lambda: len(server.received) == 64)
            client.transport.sendto(b"\xff", address_of(server))
            await until(lambda: len(server.received) == 65)
            assert [data[0] for data, _ in server.received] == [*range(64), 255]

    run_again(loop, main(), exception, len(numbers))


@pytest.mark.parametrize("exception", EXITS)
def test_in_the_exception_handler(loop: asyncio.AbstractEventLoop, exception: type[BaseException]) -> None:
    def leave(_: Any, context: dict[str, Any]) -> None:
        raise exception

    async def main() -> None:
        async with udp(leaving_at({9, 20}, ZeroDivisionError)) as server, udp(DatagramRecorder) as client:
            loop.set_exception_handler(leave)
            for i in range(64):
                client.transport.sendto(bytes([i]), address_of(server))
            await until(lambda: len(server.received) == 64)
            assert [data[0] for data, _ in server.received] == [*range(64)]

    run_again(loop, main(), exception, 2)


@pytest.mark.parametrize("exception", EXITS)
@pytest.mark.parametrize("callback", ["connection_made", "connection_lost"])
def test_at_the_ends(loop: asyncio.AbstractEventLoop, callback: str, exception: type[BaseException]) -> None:
    class Leaving(DatagramRecorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            if callback == "connection_made":
                raise exception

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            if callback == "connection_lost":
                raise exception

    async def main() -> None:
        async with udp(Leaving) as server, udp(DatagramRecorder) as client:
            client.transport.sendto(b"x", address_of(server))
            await until(lambda: len(server.received) == 1)
            sock = server.transport.get_extra_info("socket")
            server.transport.close()
            await server.lost
            await until(lambda: sock.fileno() == -1)

    run_again(loop, main(), exception)


class Full:
    """A protocol whose datagrams to an unread AF_UNIX socket wait in its transport."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.reader.bind(self.path)
        self.reader.setblocking(False)
        self.received: list[bytes] = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def fill(self, transport: Any) -> None:
        self.expected = []
        while transport.get_write_buffer_size() < 100:
            self.expected.append(b"%d" % len(self.expected))
            transport.sendto(self.expected[-1], self.path)

    async def drain(self) -> None:
        def some() -> bool:
            try:
                self.received.append(self.reader.recv(100))
            except BlockingIOError:
                pass
            return len(self.received) >= len(self.expected)

        await until(some)
        assert self.received == self.expected


@pytest.fixture
def full(tmp_path: Path) -> Any:
    made = Full(tmp_path / "reader")
    yield made
    made.reader.close()


class Failing(DatagramRecorder):
    """error_received() raises at each call."""

    exception: type[BaseException] = ZeroDivisionError

    def error_received(self, exc: Exception) -> None:
        super().error_received(exc)
        raise self.exception


@HEADERS
@pytest.mark.parametrize("exception", [ZeroDivisionError, OSError, asyncio.CancelledError])
@pytest.mark.parametrize("place", ["between", "last", "closing"])
def test_error_received_raises_for_a_datagram_that_waited(
    loop: asyncio.AbstractEventLoop, contexts: Contexts, full: Full, place: str, exception: type[BaseException]
) -> None:
    """The datagram is dropped, the error is reported once, and later datagrams are sent."""

    async def main() -> None:
        async with udp(type("Protocol", (Failing,), {"exception": exception}), sock=full.sock) as client:
            full.fill(client.transport)
            client.transport.sendto(b"bad", "/nonexistent/x")
            if place == "between":
                full.expected.append(b"after it")
                client.transport.sendto(b"after it", full.path)
            if place == "closing":
                client.transport.close()
            await full.drain()
            await until(lambda: bool(contexts))
            await asyncio.sleep(0.002)
            assert isinstance(contexts.take("Exception in callback")["exception"], exception)
            assert len(client.errors) == 1
            if place == "closing":
                assert await client.lost is None
            else:
                assert client.transport.get_write_buffer_size() == 0  # type: ignore[attr-defined]
                full.expected.append(b"goes on")
                client.transport.sendto(b"goes on", full.path)
                await full.drain()

    loop.run_until_complete(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("exception", EXITS)
def test_error_received_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, full: Full, exception: type[BaseException]
) -> None:
    async def main() -> None:
        async with udp(type("Protocol", (Failing,), {"exception": exception}), sock=full.sock) as client:
            full.fill(client.transport)
            client.transport.sendto(b"bad", "/nonexistent/x")
            full.expected.append(b"after it")
            client.transport.sendto(b"after it", full.path)
            client.transport.close()
            await full.drain()
            assert await client.lost is None
            assert len(client.errors) == 1

    run_again(loop, main(), exception)


@HEADERS
@pytest.mark.parametrize("exception", EXITS)
def test_resume_writing_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, full: Full, exception: type[BaseException]
) -> None:
    class Leaving(DatagramRecorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            raise exception

    async def main() -> None:
        async with udp(Leaving, sock=full.sock) as client:
            client.transport.set_write_buffer_limits(high=50, low=0)  # type: ignore[attr-defined]
            full.fill(client.transport)
            client.transport.close()
            await full.drain()
            assert await client.lost is None
            assert client.calls.count("resume_writing") == 1

    run_again(loop, main(), exception)
