"""close and abort: the flushed data, and connection_lost exactly once."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from harness.connections import at_eof, facing_socket, read_all_available, small_buffers, tcp_pair
from harness.loops import turns, until
from harness.observed import Run
from harness.recording import Recorder, keeping


def test_connection_lost_comes_after_close_returns(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, _):
            protocol.transport.close()
            assert protocol.transport.is_closing()
            assert not protocol.lost.done()
            await turns(2)
            assert protocol.lost.result() is None

    run(main())


def test_close_and_abort_in_any_order_lose_the_connection_once(run: Run) -> None:
    async def main() -> None:
        for calls in (["close"] * 3, ["abort"] * 3, ["close", "abort"], ["abort", "close"]):
            async with facing_socket(Recorder) as (protocol, _):
                for name in calls:
                    getattr(protocol.transport, name)()
                assert await protocol.lost is None
                await turns()
                for name in calls:
                    getattr(protocol.transport, name)()
                await turns()
                assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_close_flushes_what_is_unsent(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"a" * 2_000_000)
            protocol.transport.close()
            await asyncio.sleep(0.02)
            assert not protocol.lost.done(), "there is data to be sent"
            received = 0
            while received < 2_000_000:
                received += len(read_all_available(peer))
                await asyncio.sleep(0)
            assert await protocol.lost is None
            await until(lambda: at_eof(peer))

    run(main())


def test_abort_drops_what_is_unsent(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, peer):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"a" * 5_000_000)
            protocol.transport.abort()
            assert await protocol.lost is None
            total = 0
            while True:
                try:
                    data = peer.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
                    continue
                if not data:
                    break
                total += len(data)
            assert total < 5_000_000

    run(main())


def test_abort_while_close_is_flushing(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder, receive_buffer=4096) as (protocol, _):
            small_buffers(protocol.transport.get_extra_info("socket"))
            protocol.transport.write(b"a" * 5_000_000)
            protocol.transport.close()
            await asyncio.sleep(0.01)
            assert not protocol.lost.done()
            protocol.transport.abort()
            assert await protocol.lost is None

    run(main())


def test_nothing_is_delivered_after_close(run: Run) -> None:
    async def main() -> None:
        async with facing_socket(Recorder) as (protocol, peer):
            peer.sendall(b"unread")
            protocol.transport.close()
            await protocol.lost
            await turns()
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
def test_closing_within_data_received(run: Run, way: str) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, way)()

    async def main() -> None:
        async with facing_socket(Closing) as (protocol, peer):
            peer.sendall(b"one")
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "data_received", "connection_lost"]
            assert protocol.data == b"one"

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
def test_closing_within_connection_made(run: Run, way: str) -> None:
    class Closing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            getattr(self.transport, way)()

    async def main() -> None:
        async with tcp_pair(Closing, Closing) as (server, client):
            assert await server.lost is None
            assert await client.lost is None
            for protocol in (server, client):
                assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


def test_closing_within_eof_received(run: Run) -> None:
    class Closing(Recorder):
        def eof_received(self) -> bool | None:
            super().eof_received()
            self.transport.close()
            return True

    async def main() -> None:
        async with facing_socket(Closing) as (protocol, peer):
            peer.close()
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "eof_received", "connection_lost"]

    run(main())


def test_the_socket_is_closed_after_connection_lost(run: Run) -> None:
    states: list[int] = []

    class Looking(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            states.append(self.transport.get_extra_info("socket").fileno())
            super().connection_lost(exc)

    async def main() -> None:
        async with facing_socket(Looking) as (protocol, peer):
            sock = protocol.transport.get_extra_info("socket")
            protocol.transport.close()
            await protocol.lost
            assert states[0] >= 0, "open while connection_lost runs"
            assert sock.fileno() == -1
            await until(lambda: at_eof(peer))

    run(main())


def test_an_unclosed_transport_warns(loop: asyncio.AbstractEventLoop) -> None:
    import socket

    a, b = socket.socketpair()
    b.setblocking(False)

    class Silent(asyncio.Protocol):
        pass

    transport, protocol = loop.run_until_complete(loop.create_connection(Silent, sock=b))
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport, protocol, b
        gc.collect()
    a.close()
    texts = [str(entry.message) for entry in caught if entry.category is ResourceWarning]
    assert any("unclosed transport" in text for text in texts), texts


def test_closing_many_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        served, factory = keeping(Recorder)
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [(await loop.create_connection(Recorder, *address))[1] for _ in range(200)]
        await until(lambda: len(served) == 200 and all(p.made.done() for p in served))
        for i, protocol in enumerate(clients):
            if i % 2:
                protocol.transport.close()
            else:
                served[i].transport.abort()
        assert await asyncio.gather(*(p.lost for p in [*clients, *served])) == [None] * 400
        server.close()
        await server.wait_closed()

    run(main())
