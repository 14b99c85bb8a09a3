"""BufferedProtocol: received bytes go straight into the protocol's buffer."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from harness.connections import facing_socket
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import BufferedRecorder, Recorder


@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_buffers_of_any_size(run: Run, size: int) -> None:
    data = random.Random(size).randbytes(min(2000 * size, 500_000))

    async def main() -> None:
        async with facing_socket(lambda: BufferedRecorder(size)) as (protocol, peer):
            peer.setblocking(True)
            await asyncio.to_thread(peer.sendall, data)
            await until(lambda: len(protocol.data) >= len(data))
            assert protocol.data == data
            assert set(protocol.hints) == {-1}

    run(main())


def test_a_memoryview_into_part_of_a_buffer(run: Run) -> None:
    class Part(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return memoryview(self.buffer)[10:20]

        def buffer_updated(self, nbytes: int) -> None:
            assert 0 < nbytes <= 10
            self.data_received(bytes(self.buffer[10 : 10 + nbytes]))

    async def main() -> None:
        async with facing_socket(Part) as (protocol, peer):
            peer.sendall(bytes(range(100)))
            await until(lambda: len(protocol.data) == 100)
            assert protocol.data == bytes(range(100))
            assert not any(protocol.buffer[:10]) and not any(protocol.buffer[20:])

    run(main())


def test_the_buffer_is_not_held_after_the_read(run: Run) -> None:
    """A bytearray with an exported buffer cannot be resized, so the transport must have released it."""

    class Growing(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.buffer += bytes(10)

    async def main() -> None:
        async with facing_socket(Growing) as (protocol, peer):
            for _ in range(3):
                peer.sendall(b"x" * 100)
                size = len(protocol.data) + 100
                await until(lambda size=size: len(protocol.data) == size)
            protocol.buffer.clear()
            protocol.buffer += bytes(100)
            peer.sendall(b"y")
            await until(lambda: len(protocol.data) == 301)

    run(main())


def test_switching_protocols_midway(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (plain, peer):
            peer.sendall(b"plain")
            await until(lambda: plain.data == b"plain")
            transport = plain.transport
            assert transport.get_protocol() is plain
            buffered = BufferedRecorder()
            transport.set_protocol(buffered)
            assert transport.get_protocol() is buffered
            buffered.connection_made(transport)
            peer.sendall(b"buffered")
            await until(lambda: buffered.data == b"buffered")
            transport.set_protocol(plain)
            peer.sendall(b" again")
            await until(lambda: plain.data == b"plain again")
            assert buffered.data == b"buffered"

    run(main())


def test_switching_from_within_data_received(run: Run) -> None:
    seen: dict[str, bytes] = {}

    class Second(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            seen["second"] = seen.get("second", b"") + bytes(self.buffer[:nbytes])

        def connection_lost(self, exc: BaseException | None) -> None:
            seen["lost"] = b"second"

    class First(Recorder):
        def data_received(self, data: bytes) -> None:
            seen["first"] = data
            self.transport.set_protocol(Second())

    async def main() -> None:
        async with facing_socket(First) as (first, peer):
            peer.sendall(b"1")
            await until(lambda: "first" in seen)
            peer.sendall(b"2")
            await until(lambda: "second" in seen)
            first.transport.abort()
            await until(lambda: "lost" in seen)
            first.lost.set_result(None)

    run(main())
    assert seen == {"first": b"1", "second": b"2", "lost": b"second"}


class RaisingGetBuffer(BufferedRecorder):
    def get_buffer(self, sizehint: int) -> bytearray:
        raise ZeroDivisionError("get_buffer")


class EmptyBuffer(BufferedRecorder):
    def get_buffer(self, sizehint: int) -> bytearray:
        return bytearray()


class NoBuffer(BufferedRecorder):
    def get_buffer(self, sizehint: int) -> bytearray:
        return None  # type: ignore[return-value]


class RaisingUpdate(BufferedRecorder):
    def buffer_updated(self, nbytes: int) -> None:
        raise ZeroDivisionError("buffer_updated")


@pytest.mark.parametrize(
    ("factory", "message", "exception"),
    [
        (RaisingGetBuffer, "Fatal error: protocol.get_buffer() call failed.", ZeroDivisionError),
        (EmptyBuffer, "Fatal error: protocol.get_buffer() call failed.", RuntimeError),
        (NoBuffer, "Fatal error: protocol.get_buffer() call failed.", TypeError),
        (RaisingUpdate, "Fatal error: protocol.buffer_updated() call failed.", ZeroDivisionError),
    ],
)
def test_failing_callbacks(
    run: Run, contexts: Contexts, factory: Any, message: str, exception: type[Exception]
) -> None:
    async def main() -> None:
        async with facing_socket(factory) as (protocol, peer):
            transport = protocol.transport
            peer.sendall(b"x")
            assert isinstance(await protocol.lost, exception)
            assert protocol.calls == ["connection_made", "connection_lost"]
            context = contexts.take(message)
            assert set(context) == {"message", "exception", "transport", "protocol"}
            assert context["transport"] is transport
            assert context["protocol"] is protocol
            assert isinstance(context["exception"], exception)

    run(main())


def test_a_read_only_buffer_is_a_fatal_error(run: Run, contexts: Contexts) -> None:
    class ReadOnly(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return bytes(100)

    async def main() -> None:
        async with facing_socket(ReadOnly) as (protocol, peer):
            peer.sendall(b"x")
            assert isinstance(await protocol.lost, (TypeError, BufferError))
            contexts.take("Fatal")

    run(main())


def test_eof(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(BufferedRecorder) as (protocol, peer):
            peer.sendall(b"last")
            peer.close()
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(main())


def test_pausing_within_buffer_updated(run: Run) -> None:
    class Pausing(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async def main() -> None:
        async with facing_socket(lambda: Pausing(10)) as (protocol, peer):
            peer.sendall(b"x" * 25)
            for size in (10, 20, 25):
                await until(lambda size=size: len(protocol.data) == size)
                await asyncio.sleep(0.005)
                assert len(protocol.data) == size
                protocol.transport.resume_reading()

    run(main())
