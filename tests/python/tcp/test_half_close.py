"""write_eof, eof_received, and the calls that each end may still make."""

from __future__ import annotations

import asyncio
import socket

from harness.connections import at_eof, facing_socket, read_all_available, small_buffers, tcp_pair
from harness.loops import until
from harness.observed import Run
from harness.recording import Recorder


def test_write_eof_sends_fin_after_the_data(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            assert protocol.transport.can_write_eof() is True
            protocol.transport.write(b"x" * 1_000_000)
            protocol.transport.write_eof()
            received = 0
            while True:
                try:
                    data = peer.recv(100_000)
                except BlockingIOError:
                    await asyncio.sleep(0)
                    continue
                if not data:
                    break
                received += len(data)
            assert received == 1_000_000
            assert not protocol.transport.is_closing()

    run(main())


def test_reading_goes_on_after_write_eof(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            protocol.transport.write_eof()
            protocol.transport.write_eof()
            await until(lambda: at_eof(peer))
            peer.sendall(b"still talking")
            await until(lambda: protocol.data == b"still talking")
            peer.close()
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(main())


def test_eof_received_that_returns_nothing_closes(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    run(main())


def test_eof_received_that_returns_true_keeps_the_write_side(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(lambda: Recorder(keep_open=True)) as (protocol, peer):
            peer.sendall(b"question")
            peer.shutdown(socket.SHUT_WR)
            await protocol.eof
            await asyncio.sleep(0.01)
            assert not protocol.transport.is_closing()
            assert protocol.calls == ["connection_made", "data_received", "eof_received"]
            protocol.transport.write(b"answer" * 100_000)
            data = b""
            while len(data) < 600_000:
                data += read_all_available(peer)
                await asyncio.sleep(0)
            protocol.transport.close()
            assert await protocol.lost is None

    run(main())


def test_eof_received_once_only(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(lambda: Recorder(keep_open=True)) as (protocol, peer):
            peer.shutdown(socket.SHUT_WR)
            await protocol.eof
            await asyncio.sleep(0.02)
            assert protocol.calls.count("eof_received") == 1

    run(main())


def test_both_ends_send_eof_and_keep_open(run: Run) -> None:
    async def main() -> None:
        async with tcp_pair(lambda: Recorder(keep_open=True), lambda: Recorder(keep_open=True)) as (server, client):
            server.transport.write(b"from the server")
            server.transport.write_eof()
            client.transport.write(b"from the client")
            client.transport.write_eof()
            await asyncio.gather(server.eof, client.eof)
            assert server.data == b"from the client" and client.data == b"from the server"
            for protocol in (server, client):
                assert not protocol.lost.done()
                protocol.transport.close()
                assert await protocol.lost is None

    run(main())


def test_eof_with_unsent_data_flushes_before_closing(run: Run) -> None:
    """eof_received() returned None, so the transport is closed, and close() flushes."""

    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"x" * 1_000_000)
            peer.shutdown(socket.SHUT_WR)
            await protocol.eof
            received = b""
            while len(received) < 1_000_000:
                received += read_all_available(peer)
                await asyncio.sleep(0)
            assert await protocol.lost is None

    run(main())


def test_write_eof_after_close_is_harmless(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.close()
            protocol.transport.write_eof()
            assert await protocol.lost is None
            protocol.transport.write_eof()

    run(main())


def test_data_and_eof_that_come_together(run: Run) -> None:
    async def main() -> None:
        for _ in range(20):
            async with facing_socket(Recorder) as (protocol, peer):
                peer.sendall(b"x" * 100)
                peer.close()
                assert await protocol.lost is None
                assert len(protocol.data) == 100
                assert protocol.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]

    run(main())
