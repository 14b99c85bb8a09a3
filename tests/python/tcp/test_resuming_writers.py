"""A protocol may write, close or lose its connection in resume_writing(), which is called in the middle of a flush."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
from harness.connections import facing_socket, read_all_available, reset_on_close, small_buffers
from harness.loops import turns
from harness.observed import Run
from harness.recording import DatagramRecorder, Recorder, ResumedRecorder


async def resumed_with(protocol: ResumedRecorder, peer: socket.socket, then: Callable[[], object]) -> int:
    """Fill the connection and drain it; return the number of bytes that the peer read before `then` ran."""
    small_buffers(protocol.transport.get_extra_info("socket"))
    protocol.transport.set_write_buffer_limits(high=1000, low=0)
    protocol.then = then
    protocol.transport.write(b"a" * 500_000)
    received = 0
    while protocol.then is not None:
        with contextlib.suppress(OSError):
            received += len(read_all_available(peer))
        await asyncio.sleep(0)
    return received


@pytest.mark.sfloop_only("asyncio says connection_lost(None) before it tells of the error")
def test_an_error_met_there_is_told(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(ResumedRecorder, receive_buffer=4096) as (protocol, peer):

            def write_into_the_reset() -> None:
                reset_on_close(peer)
                peer.close()
                for _ in range(3):
                    protocol.transport.write(b"x")

            await resumed_with(protocol, peer, write_into_the_reset)
            assert isinstance(await protocol.lost, ConnectionError)
            await turns()
            assert protocol.calls.count("connection_lost") == 1

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
@pytest.mark.sfloop_only("asyncio calls connection_lost() twice: an AttributeError is reported")
def test_closing_there_loses_the_connection_once(run: Run, way: str) -> None:
    async def main() -> None:
        async with facing_socket(ResumedRecorder, receive_buffer=4096) as (protocol, peer):
            await resumed_with(protocol, peer, lambda: getattr(protocol.transport, way)())
            assert not protocol.lost.done(), "connection_lost() is a callback of its own"
            assert await protocol.lost is None
            await turns()
            assert protocol.calls.count("connection_lost") == 1

    run(main())


def test_what_is_written_there_before_close_is_sent(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(ResumedRecorder, receive_buffer=4096) as (protocol, peer):

            def write_and_close() -> None:
                protocol.transport.write(b"b" * 300_000)
                protocol.transport.close()

            received = await resumed_with(protocol, peer, write_and_close)
            while received < 800_000:
                received += len(read_all_available(peer))
                await asyncio.sleep(0)
            assert await protocol.lost is None

    run(main())


@pytest.mark.sfloop_only("asyncio's transport has no loop any more, which abort() asks for")
@pytest.mark.parametrize("way", ["abort", "close"])
def test_a_transport_that_has_flushed_and_closed_can_be_ended_again(run: Run, way: str) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            transport: Any = protocol.transport
            small_buffers(transport.get_extra_info("socket"))
            transport.write(b"a" * 500_000)
            transport.close()
            received = 0
            while not protocol.lost.done():
                received += len(read_all_available(peer))
                await asyncio.sleep(0)
            assert await protocol.lost is None
            getattr(transport, way)()
            transport.write(b"dropped")
            transport.writelines([b"dropped"])
            transport.write_eof()
            transport.pause_reading()
            transport.resume_reading()
            transport.set_write_buffer_limits(high=0)
            assert transport.is_closing() and not transport.is_reading()
            await turns()
            assert protocol.calls.count("connection_lost") == 1
            while received < 500_000:
                received += len(read_all_available(peer))

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
@pytest.mark.sfloop_only("asyncio calls connection_lost() twice: an AttributeError is reported")
def test_a_datagram_endpoint_that_closes_there(run: Run, way: str) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.setblocking(False)

    class Closing(DatagramRecorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            getattr(self.transport, way)()
            assert not self.lost.done()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Closing, sock=near)
        transport.set_write_buffer_limits(high=1000, low=0)  # type: ignore[attr-defined]
        while "pause_writing" not in protocol.calls:
            transport.sendto(bytes(1000))
        while not protocol.lost.done():
            with contextlib.suppress(BlockingIOError):
                far.recv(2000)
            await asyncio.sleep(0)
        assert await protocol.lost is None
        await turns()
        assert protocol.calls.count("connection_lost") == 1

    run(main())
    far.close()
