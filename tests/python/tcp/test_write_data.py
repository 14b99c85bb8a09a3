"""The arguments that write and writelines take, and the states in which they take none."""

from __future__ import annotations

import array
import asyncio
import sys
from typing import Any

import pytest
from harness.connections import facing_socket, read_all_available, small_buffers
from harness.loops import until
from harness.observed import LogLines, Run
from harness.recording import Recorder


async def received(peer: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += read_all_available(peer)
        await asyncio.sleep(0)
    return data


@pytest.mark.parametrize(
    "data", [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), memoryview(bytearray(b"xxpartxx"))[2:6]]
)
def test_bytes_like_objects(run: Run, data: Any) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.write(data)
            assert await received(peer, len(data)) == bytes(data)

    run(main())


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"], object()])
def test_other_objects_are_refused(run: Run, data: Any) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            with pytest.raises(TypeError, match="data argument must be a bytes-like object, not"):
                protocol.transport.write(data)
            assert not protocol.transport.is_closing()

    run(main())


def test_nothing_is_nothing(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.write(b"")
            protocol.transport.write(bytearray())
            protocol.transport.writelines([])
            protocol.transport.write(b"end")
            assert await received(peer, 3) == b"end"

    run(main())


def test_writelines(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            protocol.transport.writelines([b"%d," % i for i in range(3000)])  # more than IOV_MAX
            expected = b"abc" + b"".join(b"%d," % i for i in range(3000))
            assert await received(peer, len(expected)) == expected

    run(main())


@pytest.mark.sfloop_only("these asyncio take lists only", when=sys.version_info >= (3, 12))
def test_writelines_of_an_iterator(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.writelines(iter([b"a", b"b"]))
            protocol.transport.writelines(x for x in (b"c",))
            protocol.transport.writelines((b"d", b"", b"e"))
            assert await received(peer, 5) == b"abcde"

    run(main())


def test_writelines_of_other_objects_is_refused(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            with pytest.raises(TypeError):
                protocol.transport.writelines([b"x", "text"])  # type: ignore[list-item]

    run(main())


def test_writelines_larger_than_the_kernel_takes(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            pieces = [bytes([i % 251]) * (i * 7 % 5000) for i in range(1500)]
            protocol.transport.writelines(pieces)
            protocol.transport.write(b"end")
            expected = b"".join(pieces) + b"end"
            assert await received(peer, len(expected)) == expected

    run(main())


@pytest.mark.sfloop_only("these asyncio keep a view of unsent data", when=sys.version_info >= (3, 12))
@pytest.mark.parametrize("lines", [False, True], ids=["write", "writelines"])
def test_changing_a_bytearray_after_the_write(run: Run, lines: bool) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            data = bytearray(b"a" * 1_000_000)
            for _ in range(3):
                if lines:
                    protocol.transport.writelines([data, memoryview(data)[:10]])
                else:
                    protocol.transport.write(data)
                    protocol.transport.write(memoryview(data)[:10])
            data[:] = b"z" * len(data)
            data += b"resized"  # BufferError when the transport holds a view
            assert await received(peer, 3_000_030) == b"a" * 3_000_030

    run(main())


@pytest.mark.sfloop_only("asyncio counts items instead of bytes here")
def test_memoryviews_of_wider_items(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            numbers = array.array("I", range(300_000))
            protocol.transport.write(memoryview(numbers))
            assert await received(peer, 1_200_000) == numbers.tobytes()

    run(main())


@pytest.mark.sfloop_only("asyncio ends the connection with a BufferError and a report")
def test_views_that_are_not_contiguous(run: Run) -> None:
    """Such a view is refused, or its bytes are sent in the right order."""

    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            try:
                protocol.transport.write(memoryview(b"abcdef")[::2])
            except (BufferError, ValueError, TypeError):
                return
            try:
                data = await asyncio.wait_for(received(peer, 3), 0.5)
            except asyncio.TimeoutError:
                assert protocol.transport.is_closing(), "neither sent nor refused"
            else:
                assert data == b"ace"

    run(main())


def test_write_after_close_is_ignored_and_warned_of_after_five(run: Run, asyncio_log: LogLines) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            transport = protocol.transport
            transport.close()
            assert transport.is_closing()
            for _ in range(4):  # with the close itself, five
                transport.write(b"ignored")
            assert not [line for line in asyncio_log.lines if "socket.send()" in line]
            for _ in range(2):
                transport.write(b"ignored")
                assert asyncio_log.take("socket.send() raised exception.").startswith("WARNING")
            await protocol.lost
            transport.write(b"ignored")
            asyncio_log.take("socket.send() raised exception.")
            assert read_all_available(peer) == b""

    run(main())


def test_write_after_abort_is_ignored(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.abort()
            protocol.transport.write(b"ignored")
            await protocol.lost
            protocol.transport.write(b"ignored")
            assert protocol.transport.get_write_buffer_size() == 0

    run(main())


def test_write_after_write_eof_is_refused(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.write_eof()
            with pytest.raises(RuntimeError, match="Cannot call write\\(\\) after write_eof\\(\\)"):
                protocol.transport.write(b"x")
            with pytest.raises(RuntimeError, match="Cannot call write(lines)?\\(\\) after write_eof\\(\\)"):
                protocol.transport.writelines([b"x"])

    run(main())


def test_a_write_while_closing_with_unsent_data(run: Run) -> None:
    """close() flushes; data written during the flush is appended, as asyncio does."""

    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"a" * 1_000_000)
            protocol.transport.close()
            protocol.transport.write(b"after")
            data = b""
            while not protocol.lost.done():
                data += read_all_available(peer)
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            data += read_all_available(peer)
            assert data[:1_000_000] == b"a" * 1_000_000
            assert data[1_000_000:] == b"after"

    run(main())


def test_write_from_within_data_received_goes_out_at_once(run: Run) -> None:
    """Writes that wait for the end of an iteration would cause a delay here."""
    sizes: list[int] = []

    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"answer")
            sizes.append(self.transport.get_write_buffer_size())

    async def main() -> None:
        async with facing_socket(Answering) as (protocol, peer):
            for _ in range(10):
                peer.sendall(b"question")
                assert await received(peer, 6) == b"answer"

    run(main())
    assert set(sizes) == {0}


def test_close_right_after_write(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.write(b"farewell")
            protocol.transport.close()
            await protocol.lost
            await until(lambda: read_all_available(peer) == b"farewell")

    run(main())
