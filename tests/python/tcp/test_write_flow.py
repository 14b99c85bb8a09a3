"""Write buffer limits, pause_writing and resume_writing."""

from __future__ import annotations

import asyncio

import pytest
from harness.connections import facing_socket, read_all_available, small_buffers
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Recorder


async def fill(protocol: Recorder) -> int:
    """Write until the kernel takes no more; return the size of the transport's buffer."""
    for _ in range(10):  # the kernel moves bytes on to the peer for a moment after a write
        while not protocol.transport.get_write_buffer_size():
            protocol.transport.write(bytes(50_000))
        await asyncio.sleep(0.01)
        if protocol.transport.get_write_buffer_size():
            break
    size = protocol.transport.get_write_buffer_size()
    assert size > 0
    return size


def test_default_limits(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            assert protocol.transport.get_write_buffer_limits() == (16384, 65536)
            assert protocol.transport.get_write_buffer_size() == 0

    run(main())


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"high": 1000}, (250, 1000)),
        ({"high": 1000, "low": 10}, (10, 1000)),
        ({"low": 100}, (100, 400)),
        ({"high": 0}, (0, 0)),
        ({"high": 7, "low": 7}, (7, 7)),
        ({}, (16384, 65536)),
    ],
)
def test_setting_limits(run: Run, given: dict[str, int], limits: tuple[int, int]) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.set_write_buffer_limits(**given)
            assert protocol.transport.get_write_buffer_limits() == limits

    run(main())


def test_a_limit_beyond_all_memory(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.set_write_buffer_limits(high=1 << 70)
            assert protocol.transport.get_write_buffer_limits()[1] >= (1 << 64) - 1
            await fill(protocol)
            assert protocol.writable.is_set()

    run(main())


@pytest.mark.parametrize("given", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": 10, "low": -1}])
def test_wrong_limits_are_refused(run: Run, given: dict[str, int]) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            with pytest.raises(ValueError, match="must be >= low"):
                protocol.transport.set_write_buffer_limits(**given)
            assert protocol.transport.get_write_buffer_limits() == (16384, 65536)

    run(main())


def test_pause_above_the_high_mark_and_resume_at_the_low_one(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.set_write_buffer_limits(high=1 << 30)
            held = await fill(protocol)
            high, low = held + 1000, held // 2
            protocol.transport.set_write_buffer_limits(high=high, low=low)
            protocol.transport.write(bytes(high - held))  # exactly at the high mark
            assert protocol.transport.get_write_buffer_size() == high
            assert "pause_writing" not in protocol.calls
            protocol.transport.write(b"x")
            assert protocol.calls[-1] == "pause_writing", "pause_writing is called within write()"
            protocol.transport.write(bytes(10_000))
            assert protocol.calls.count("pause_writing") == 1
            while protocol.calls[-1] != "resume_writing":
                if protocol.transport.get_write_buffer_size() > low:
                    assert protocol.calls[-1] == "pause_writing"
                read_all_available(peer)
                await asyncio.sleep(0)
            assert protocol.transport.get_write_buffer_size() <= low
            while protocol.transport.get_write_buffer_size():
                read_all_available(peer)
                await asyncio.sleep(0)
            assert protocol.calls.count("resume_writing") == 1

    run(main())


def test_with_a_high_mark_of_zero_any_held_byte_pauses(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.set_write_buffer_limits(high=0)
            protocol.transport.write(b"x")  # goes out at once
            assert protocol.transport.get_write_buffer_size() == 0
            assert protocol.calls == ["connection_made"]
            await fill(protocol)
            assert protocol.calls == ["connection_made", "pause_writing"]
            while protocol.transport.get_write_buffer_size():
                read_all_available(peer)
                await asyncio.sleep(0)
            assert protocol.calls == ["connection_made", "pause_writing", "resume_writing"]

    run(main())


def test_lowering_the_limit_below_what_is_held_pauses(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, _):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.set_write_buffer_limits(high=1 << 30)
            await fill(protocol)
            protocol.transport.set_write_buffer_limits(high=10)
            assert protocol.calls == ["connection_made", "pause_writing"]

    run(main())


def test_writing_more_from_resume_writing(run: Run) -> None:
    class Refilling(Recorder):
        left = 20

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(bytes([self.left]) * 100_000)

    async def main() -> None:
        async with facing_socket(Refilling, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(bytes([20]) * 3_000_000)
            received = b""
            while len(received) < 5_000_000:
                received += read_all_available(peer)
                await asyncio.sleep(0)
            assert received == bytes([20]) * 3_000_000 + b"".join(bytes([i]) * 100_000 for i in range(19, -1, -1))

    run(main())


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
def test_failing_flow_control_callbacks_are_reported_and_harmless(run: Run, contexts: Contexts, callback: str) -> None:
    class Failing(Recorder):
        pass

    def fail(self: Recorder) -> None:
        raise ZeroDivisionError(callback)

    setattr(Failing, callback, fail)

    async def main() -> None:
        async with facing_socket(Failing, receive_buffer=4096) as (protocol, peer):
            transport = protocol.transport
            small_buffers(transport.get_extra_info("socket"))
            transport.write(bytes(3_000_000))
            received = 0
            while received < 3_000_000:
                received += len(read_all_available(peer))
                await asyncio.sleep(0)
            await until(lambda: len(contexts) == 1)
            context = contexts.take(f"protocol.{callback}() failed")
            assert set(context) == {"message", "exception", "transport", "protocol"}
            assert context["transport"] is transport and context["protocol"] is protocol
            assert isinstance(context["exception"], ZeroDivisionError)
            transport.write(b"goes on")
            await until(lambda: read_all_available(peer) == b"goes on")

    run(main())


def test_drain_of_streams_waits(run: Run) -> None:
    async def main() -> None:
        received = 0
        release = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            await release.wait()
            while data := await reader.read(100_000):
                received += len(data)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(10_000_000))
        drain = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0.02)
        assert not drain.done()
        release.set()
        await drain
        writer.close()
        await writer.wait_closed()
        await until(lambda: received == 10_000_000)
        server.close()
        await server.wait_closed()

    run(main())


def test_size_counts_what_is_held(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            held = await fill(protocol)
            for data in (b"x" * 10, bytearray(20), memoryview(bytes(30))):
                protocol.transport.write(data)
                held += len(data)
                assert protocol.transport.get_write_buffer_size() == held
            protocol.transport.writelines([b"x" * 5, bytearray(6)])
            assert 0 < protocol.transport.get_write_buffer_size() <= held + 11  # it may have tried to send again
            protocol.transport.abort()
            assert protocol.transport.get_write_buffer_size() == 0

    run(main())
