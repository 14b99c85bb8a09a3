"""pause_reading and resume_reading."""

from __future__ import annotations

import asyncio
import random
import sys

import pytest
from harness.connections import facing_socket, tcp_pair
from harness.loops import until
from harness.observed import Run
from harness.recording import Recorder


def test_nothing_is_delivered_while_paused_and_nothing_is_lost(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            assert protocol.transport.is_reading()
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            peer.sendall(b"while paused")
            await asyncio.sleep(0.02)
            assert protocol.calls == ["connection_made"]
            protocol.transport.resume_reading()
            assert protocol.transport.is_reading()
            await until(lambda: protocol.data == b"while paused")

    run(main())


def test_pausing_and_resuming_twice_is_harmless(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.resume_reading()
            for _ in range(2):
                protocol.transport.pause_reading()
                protocol.transport.pause_reading()
                assert not protocol.transport.is_reading()
                protocol.transport.resume_reading()
                protocol.transport.resume_reading()
                assert protocol.transport.is_reading()
            peer.sendall(b"x")
            await until(lambda: protocol.data == b"x")

    run(main())


def test_pausing_within_data_received(run: Run) -> None:
    class Pausing(Recorder):
        paused = False

        def data_received(self, data: bytes) -> None:
            assert not self.paused, "delivered while paused"
            super().data_received(data)
            self.transport.pause_reading()
            self.paused = True

        def resume(self) -> None:
            self.paused = False
            self.transport.resume_reading()

    data = random.Random(2).randbytes(3_000_000)

    async def main() -> None:
        async with tcp_pair(Pausing, Recorder) as (server, client):
            client.transport.write(data)
            while len(server.data) < len(data):
                await until(lambda: server.paused)
                await asyncio.sleep(0)
                server.resume()
            assert server.data == data

    run(main())


def test_pausing_and_resuming_at_random(run: Run) -> None:
    generator = random.Random(4)
    data = generator.randbytes(2_000_000)

    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            client.transport.write(data)
            while len(server.data) < len(data):
                if generator.random() < 0.5:
                    server.transport.pause_reading()
                else:
                    server.transport.resume_reading()
                await asyncio.sleep(generator.choice([0, 0, 0.0001]))
                if generator.random() < 0.1:
                    server.transport.resume_reading()
            assert server.data == data

    run(main())


@pytest.mark.sfloop_only("asyncio of Python 3.10 starts reading all the same", when=sys.version_info < (3, 11))
def test_pausing_in_connection_made(run: Run) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    async def main() -> None:
        async with tcp_pair(Paused, Recorder) as (server, client):
            client.transport.write(b"waiting")
            await asyncio.sleep(0.02)
            assert server.calls == ["connection_made"]
            server.transport.resume_reading()
            await until(lambda: server.data == b"waiting")

    run(main())


def test_eof_waits_while_paused(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            peer.sendall(b"last words")
            peer.close()
            await asyncio.sleep(0.02)
            assert protocol.calls == ["connection_made"]
            protocol.transport.resume_reading()
            assert await protocol.lost is None
            assert protocol.data == b"last words"

    run(main())


def test_writing_goes_on_while_reading_is_paused(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            client.transport.pause_reading()
            client.transport.write(b"x" * 3_000_000)
            await until(lambda: len(server.data) == 3_000_000)

    run(main())


def test_closing_while_paused(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            peer.sendall(b"never read")
            protocol.transport.close()
            assert await protocol.lost is None
            assert protocol.data == b""
            assert not protocol.transport.is_reading()

    run(main())


def test_pause_and_resume_after_close_are_harmless(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.close()
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            await protocol.lost
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            assert not protocol.transport.is_reading()

    run(main())


def test_the_peer_is_held_back_while_paused(run: Run) -> None:
    """Backpressure: an unread connection fills its buffers, not memory."""

    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()
            sent = 0
            while True:
                try:
                    sent += peer.send(bytes(100_000))
                except BlockingIOError:
                    await asyncio.sleep(0.02)
                    try:
                        sent += peer.send(bytes(100_000))
                    except BlockingIOError:
                        break
                assert sent < 100_000_000
            assert not protocol.data
            protocol.transport.resume_reading()
            await until(lambda: len(protocol.data) == sent)

    run(main())
