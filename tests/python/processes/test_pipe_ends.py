"""Pipe transports: the context of their callbacks, and all events at and after their end."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from harness.loops import turns, until
from harness.observed import Contexts, Run
from harness.recording import RunsThen

where: ContextVar[str] = ContextVar("where", default="nowhere")


class Pipe(asyncio.Protocol):
    """Records each callback with the value of `where` in its context."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.data = bytearray()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def note(self, name: str) -> None:
        self.calls.append((name, where.get()))

    def count(self, name: str) -> int:
        return [called for called, _ in self.calls].count(name)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("connection_made")

    def data_received(self, data: bytes) -> None:
        self.note("data_received")
        self.data += data

    def eof_received(self) -> None:
        self.note("eof_received")

    def pause_writing(self) -> None:
        self.note("pause_writing")

    def resume_writing(self) -> None:
        self.note("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("connection_lost")
        self.lost.set_result(exc)


async def reader(factory: Callable[[], Pipe] = Pipe) -> tuple[Pipe, int]:
    """Return a protocol at the read end, and the descriptor of the write end."""
    r, w = os.pipe()
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(factory, open(r, "rb", 0))
    return protocol, w


async def writer(factory: Callable[[], Pipe] = Pipe) -> tuple[Pipe, int]:
    """Return a protocol at the write end, and the descriptor of the read end."""
    r, w = os.pipe()
    os.set_blocking(r, False)
    _, protocol = await asyncio.get_running_loop().connect_write_pipe(factory, open(w, "wb", 0))
    return protocol, r


def elsewhere(call: Callable[..., Any], *args: Any) -> None:
    def run() -> None:
        where.set("elsewhere")
        call(*args)

    copy_context().run(run)


def drain(r: int) -> int:
    with contextlib.suppress(BlockingIOError):
        return len(os.read(r, 1 << 20))
    return 0


@pytest.mark.sfloop_only("asyncio takes the context of whoever resumed or wrote last")
def test_the_context_of_a_reader(run: Run) -> None:
    async def main() -> None:
        where.set("at creation")
        protocol, w = await reader()
        elsewhere(protocol.transport.pause_reading)
        elsewhere(protocol.transport.resume_reading)
        os.write(w, b"data")
        await until(lambda: protocol.data)
        os.close(w)
        await protocol.lost
        names = ["connection_made", "data_received", "eof_received", "connection_lost"]
        assert protocol.calls == [(name, "at creation") for name in names]
        protocol, w = await reader()
        elsewhere(protocol.transport.close)
        await protocol.lost
        assert protocol.calls[-1] == ("connection_lost", "at creation")
        os.close(w)

    run(main())


@pytest.mark.sfloop_only("asyncio takes the context of whoever resumed or wrote last")
def test_the_context_of_a_writer(run: Run) -> None:
    async def main() -> None:
        where.set("at creation")
        protocol, r = await writer()
        elsewhere(protocol.transport.write, bytes(300_000))
        assert protocol.calls[-1] == ("pause_writing", "elsewhere"), "called by write()"
        while protocol.transport.get_write_buffer_size():
            drain(r)
            await asyncio.sleep(0)
        elsewhere(protocol.transport.close)
        await protocol.lost
        assert protocol.calls[-2:] == [("resume_writing", "at creation"), ("connection_lost", "at creation")]
        os.close(r)

    run(main())


@pytest.mark.sfloop_only("asyncio raises AttributeError, or calls connection_lost() twice", when=True)
@pytest.mark.parametrize("ways", [["abort"], ["abort", "abort"], ["close", "abort"], ["write_eof", "abort", "close"]])
@pytest.mark.parametrize("held", [0, 300_000])
def test_a_writer_is_quiet_after_its_end(run: Run, ways: list[str], held: int) -> None:
    async def main() -> None:
        protocol, r = await writer()
        transport = protocol.transport
        transport.write(bytes(held))
        for way in ways:
            getattr(transport, way)()
        assert await protocol.lost is None
        for way in ways:
            getattr(transport, way)()
        for _ in range(10):
            transport.write(b"dropped")
        transport.writelines([b"dropped"])
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_size() == 0 and transport.is_closing() and "closed" in repr(transport)
        await turns()
        assert protocol.count("connection_lost") == 1
        os.close(r)

    run(main())


def test_a_reader_is_quiet_after_its_end(run: Run) -> None:
    async def main() -> None:
        for end in ("close", "eof"):
            protocol, w = await reader()
            transport = protocol.transport
            if end == "close":
                transport.close()
            os.close(w)
            assert await protocol.lost is None
            transport.close()
            transport.pause_reading()
            transport.resume_reading()
            assert transport.is_closing() and "closed" in repr(transport)
            await turns()
            assert protocol.count("connection_lost") == 1

    run(main())


@pytest.mark.sfloop_only("asyncio watches the descriptor when the transport is closed or paused already")
def test_closing_and_pausing_in_connection_made(run: Run) -> None:
    class Closing(Pipe):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.close()

    class Pausing(Pipe):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        before = set(loop._selector.get_map())
        protocol, w = await reader(Closing)
        assert await protocol.lost is None
        os.close(w)
        protocol, r = await writer(Closing)
        assert await protocol.lost is None
        os.close(r)
        protocol, w = await reader(Pausing)
        os.write(w, b"later")
        await asyncio.sleep(0.01)
        assert not protocol.data and not protocol.transport.is_reading()
        protocol.transport.resume_reading()
        await until(lambda: protocol.data == b"later")
        os.close(w)
        await protocol.lost
        assert set(loop._selector.get_map()) == before

    run(main())


class Resumed(RunsThen, Pipe):
    pass


async def resumed_with(protocol: Resumed, r: int, then: Callable[[], object]) -> int:
    protocol.then = then
    protocol.transport.set_write_buffer_limits(high=1000, low=0)
    protocol.transport.write(bytes(300_000))
    received = 0
    while protocol.then is not None:
        received += drain(r)
        await asyncio.sleep(0)
    return received


@pytest.mark.sfloop_only("asyncio calls connection_lost() twice, or drops what was written before close()")
def test_what_a_protocol_does_in_resume_writing(run: Run) -> None:
    async def main() -> None:
        for way in ("close", "abort"):
            protocol, r = await writer(Resumed)
            transport = protocol.transport
            assert isinstance(protocol, Resumed)
            await resumed_with(protocol, r, getattr(transport, way))
            assert await protocol.lost is None
            await turns()
            assert protocol.count("connection_lost") == 1
            os.close(r)

        protocol, r = await writer(Resumed)
        transport = protocol.transport
        assert isinstance(protocol, Resumed)

        def write_and_close() -> None:
            transport.write(bytes(200_000))
            transport.close()

        received = await resumed_with(protocol, r, write_and_close)
        while not protocol.lost.done():
            received += drain(r)
            await asyncio.sleep(0)
        assert received + drain(r) == 500_000
        os.close(r)

        protocol, r = await writer(Resumed)
        transport = protocol.transport
        assert isinstance(protocol, Resumed)

        def meet_an_error() -> None:
            os.close(r)
            transport.write(b"x")

        await resumed_with(protocol, r, meet_an_error)
        assert isinstance(await protocol.lost, BrokenPipeError)
        await turns()
        assert protocol.count("connection_lost") == 1

    run(main())


@pytest.mark.sfloop_only("asyncio resumes when the buffer is empty")
def test_writing_is_resumed_at_the_low_mark(run: Run) -> None:
    async def main() -> None:
        protocol, r = await writer()
        protocol.transport.set_write_buffer_limits(high=1_000_000, low=500_000)
        protocol.transport.write(bytes(2_000_000))
        while not protocol.count("resume_writing"):
            assert drain(r) or True
            await asyncio.sleep(0)
        assert 400_000 < protocol.transport.get_write_buffer_size() <= 500_000
        protocol.transport.abort()
        await protocol.lost
        os.close(r)

    run(main())


@pytest.mark.sfloop_only("asyncio counts a view's elements as bytes")
def test_views_of_other_than_bytes(run: Run) -> None:
    numbers = array.array("I", range(100_000))

    async def main() -> None:
        protocol, r = await writer()
        protocol.transport.write(memoryview(numbers))
        protocol.transport.write(memoryview(b"0123456789")[::2])
        protocol.transport.write(memoryview(numbers)[:0])
        protocol.transport.write_eof()
        received = b""
        while not protocol.lost.done():
            with contextlib.suppress(BlockingIOError):
                received += os.read(r, 1 << 20)
            await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(r, 1 << 20):
                received += data
        assert received == numbers.tobytes() + b"02468"
        with pytest.raises(TypeError):
            protocol.transport.write("text")
        os.close(r)

    run(main())


def test_a_protocol_that_raises_goes_on_reading(run: Run, contexts: Contexts) -> None:
    class Raising(Pipe):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise ZeroDivisionError

    async def main() -> None:
        protocol, w = await reader(Raising)
        for i in (1, 2):
            os.write(w, b"x")
            await until(lambda i=i: len(protocol.data) == i)  # type: ignore[misc]
            await turns()
            assert isinstance(contexts.pop()["exception"], ZeroDivisionError)
        os.close(w)
        assert await protocol.lost is None

    run(main())


def test_a_transport_that_outlives_its_loop() -> None:
    """A subprocess's transport outlives its loop when a program ends without waiting for it."""
    import sfloop

    loop = sfloop.new_event_loop()
    near, far = socket.socketpair()
    transport, _ = loop.run_until_complete(loop.connect_read_pipe(asyncio.Protocol, near))
    loop.close()
    transport.close()
    assert near.fileno() == -1
    far.close()
