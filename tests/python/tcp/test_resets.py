"""Peers that reset the connection at every stage.

Each test spells out its steps from the connection on, although some recur, because the moment of the reset is the test.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from harness.connections import facing_socket, reset_on_close, small_buffers
from harness.loops import until
from harness.observed import Run
from harness.recording import BufferedRecorder, Recorder, keeping


def test_before_accept(run: Run) -> None:
    """The connection in the listen queue is dead; the server goes on."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        served, factory = keeping(Recorder)
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        server = await loop.create_server(factory, sock=listener, start_serving=False)
        for _ in range(5):
            with socket.create_connection(address) as early:
                reset_on_close(early)
        await server.start_serving()
        _, client = await loop.create_connection(Recorder, *address)
        client.transport.write(b"x")
        await until(lambda: served and served[-1].data == b"x")
        client.transport.close()
        await until(lambda: all(p.lost.done() for p in served))
        for protocol in served[:-1]:
            assert isinstance(protocol.lost.result(), ConnectionResetError)
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_while_reading(run: Run, factory: type[Recorder]) -> None:
    async def main() -> None:
        async with facing_socket(factory) as (protocol, peer):
            peer.sendall(b"data")
            await until(lambda: protocol.data == b"data")
            reset_on_close(peer)
            peer.close()
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert protocol.calls == ["connection_made", "data_received", "connection_lost"]

    run(main())


def test_while_idle_and_paused(run: Run) -> None:
    """A paused transport learns of the reset at its next read or at once: both are right, hanging is not."""

    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            reset_on_close(peer)
            peer.close()
            await asyncio.sleep(0.02)
            if not protocol.lost.done():
                protocol.transport.resume_reading()
            assert isinstance(await protocol.lost, ConnectionResetError)

    run(main())


async def stays_idle(loop: Any) -> None:
    """Check that the stacks report hardly any events."""

    def events() -> int:
        return sum(stack["events"] for stack in loop.stats()["stacks"].values())

    before = events()
    await asyncio.sleep(0.1)
    assert events() - before < 1000


@pytest.mark.sfloop_only("busy waiting is what this is about")
def test_a_reset_while_paused_does_not_keep_the_loop_busy(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            reset_on_close(peer)
            peer.close()
            await asyncio.sleep(0.01)
            await stays_idle(loop)
            protocol.transport.abort()

    run(main())


def test_while_writing(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"x" * 5_000_000)
            await asyncio.sleep(0.01)
            reset_on_close(peer)
            peer.close()
            exc = await protocol.lost
            assert isinstance(exc, (ConnectionResetError, BrokenPipeError))
            assert protocol.transport.get_write_buffer_size() == 0
            assert protocol.calls[-1] == "connection_lost" and protocol.calls.count("connection_lost") == 1

    run(main())


def test_while_writing_with_reading_paused(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.pause_reading()
            protocol.transport.write(b"x" * 5_000_000)
            await asyncio.sleep(0.01)
            reset_on_close(peer)
            peer.close()
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))

    run(main())


def test_a_write_to_a_connection_already_reset(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            reset_on_close(peer)
            peer.close()
            await asyncio.sleep(0.01)
            for _ in range(3):
                protocol.transport.write(b"x")
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
            assert protocol.calls.count("connection_lost") == 1

    run(main())


def test_a_write_within_the_turn_that_finds_the_reset(run: Run) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for _ in range(3):
                self.transport.write(b"answer")

    async def main() -> None:
        for _ in range(20):
            async with facing_socket(Answering) as (protocol, peer):
                peer.sendall(b"question")
                reset_on_close(peer)
                peer.close()
                assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
                assert protocol.calls.count("connection_lost") == 1

    run(main())


def test_while_closing_with_unsent_data(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"x" * 5_000_000)
            protocol.transport.close()
            await asyncio.sleep(0.01)
            reset_on_close(peer)
            peer.close()
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))

    run(main())


def test_after_half_close(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(lambda: Recorder(keep_open=True)) as (protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            await protocol.eof
            reset_on_close(peer)
            peer.close()
            await asyncio.sleep(0.01)
            protocol.transport.write(b"x")
            protocol.transport.write(b"x")
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    run(main())


@pytest.mark.sfloop_only("busy waiting is what this is about")
def test_a_half_closed_connection_does_not_keep_the_loop_busy(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """Level-triggered readiness would report EOF in every iteration."""

    async def main() -> None:
        async with facing_socket(lambda: Recorder(keep_open=True)) as (protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            await protocol.eof
            protocol.transport.write_eof()
            await asyncio.sleep(0.01)
            await stays_idle(loop)
            protocol.transport.abort()

    run(main())


def test_resets_by_our_own_abort_reach_the_peer(run: Run) -> None:
    """abort() with SO_LINGER 0, as in programs that must free the port at once."""

    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            reset_on_close(protocol.transport.get_extra_info("socket"))
            protocol.transport.abort()
            assert await protocol.lost is None
            with pytest.raises(ConnectionResetError):
                while peer.recv(1) != b"unreachable":
                    pass

    run(main())
