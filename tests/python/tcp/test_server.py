"""Servers: start, serve_forever, close and their waits."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest
from harness.connections import at_eof
from harness.loops import turns, until
from harness.observed import Run
from harness.recording import Echo, Recorder

# Server.wait_closed() of Python before 3.12 returned at once when close() had been called.
WAITS = sys.version_info >= (3, 12)  # before, wait_closed() of a closed server returns at once, and sfloop's does too


class Service:
    """A protocol factory that keeps its protocols."""

    def __init__(self, protocol: type[Recorder] = Recorder) -> None:
        self.protocol = protocol
        self.made: list[Recorder] = []

    def __call__(self) -> Recorder:
        self.made.append(self.protocol())
        return self.made[-1]


async def served(server: Any, service: Service) -> tuple[Recorder, Recorder]:
    """Open one more connection; return (server side, client side)."""
    loop = asyncio.get_running_loop()
    count = len(service.made)
    _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
    await until(lambda: len(service.made) > count and service.made[count].made.done())
    return service.made[count], client


def test_type_and_attributes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.base_events.Server)
        assert server.get_loop() is loop
        assert server.is_serving()
        assert "sockets=" in repr(server)
        (sock,) = server.sockets
        assert sock.getsockname()[0] == "127.0.0.1" and sock.getsockname()[1] > 0
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        await server.wait_closed()

    run(main())


def test_async_with_closes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)

    run(main())


def test_start_serving_later(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        service = Service()
        server = await loop.create_server(service, "127.0.0.1", 0, start_serving=False)
        address = server.sockets[0].getsockname()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        theirs, ours = await served(server, service)
        ours.transport.close()
        await theirs.lost
        server.close()
        await server.wait_closed()
        with pytest.raises((RuntimeError, TypeError)):  # asyncio: a TypeError from inside
            await server.start_serving()

    run(main())


def test_serve_forever_ends_by_cancellation(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        service = Service()
        server = await loop.create_server(service, "127.0.0.1", 0, start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await turns()
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        theirs, ours = await served(server, service)
        ours.transport.close()
        await theirs.lost
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(main())


def test_serve_forever_ends_by_close(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        task = asyncio.ensure_future(server.serve_forever())
        await turns()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)

    run(main())


def test_close_keeps_the_connections(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        service = Service(Echo)
        server = await loop.create_server(service, "127.0.0.1", 0)
        theirs, ours = await served(server, service)
        server.close()
        server.close()
        ours.transport.write(b"still there")
        await until(lambda: ours.data == b"still there")
        ours.transport.close()
        await theirs.lost
        await server.wait_closed()

    run(main())


def test_wait_closed_waits_for_the_connections(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        service = Service()
        server = await loop.create_server(service, "127.0.0.1", 0)
        theirs, ours = await served(server, service)
        server.close()
        waiter = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.01)
        assert waiter.done() is not WAITS
        ours.transport.close()
        await asyncio.wait_for(waiter, 5)
        await theirs.lost

    run(main())


@pytest.mark.sfloop_only("new in Python 3.13", when=sys.version_info < (3, 13))
def test_close_clients_flushes(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        service = Service()
        server: Any = await loop.create_server(service, "127.0.0.1", 0)
        pairs = [await served(server, service) for _ in range(3)]
        for theirs, _ in pairs:
            theirs.transport.write(b"x" * 3_000_000)
        server.close()
        server.close_clients()
        assert all(theirs.transport.is_closing() for theirs, _ in pairs)
        for theirs, ours in pairs:
            assert await ours.lost is None
            assert len(ours.data) == 3_000_000
            assert await theirs.lost is None
        await server.wait_closed()

    run(main())


@pytest.mark.sfloop_only("new in Python 3.13", when=sys.version_info < (3, 13))
def test_abort_clients_does_not_flush(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        service = Service()
        server: Any = await loop.create_server(service, "127.0.0.1", 0)
        theirs, ours = await served(server, service)
        ours.transport.pause_reading()
        theirs.transport.write(b"x" * 20_000_000)
        server.close()
        server.abort_clients()
        assert await theirs.lost is None
        await server.wait_closed()
        ours.transport.abort()
        await ours.lost

    run(main())


@pytest.mark.sfloop_only("new in Python 3.13", when=sys.version_info < (3, 13))
def test_close_clients_without_clients(run: Run) -> None:
    async def main() -> None:
        server: Any = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0)
        server.close_clients()
        server.abort_clients()
        assert server.is_serving()
        server.close()
        server.close_clients()
        await server.wait_closed()
        server.abort_clients()

    run(main())


def test_connections_in_the_listen_queue_are_dropped_by_close(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        client.setblocking(False)
        server.close()
        await server.wait_closed()
        with pytest.raises((ConnectionResetError, BlockingIOError)):
            await asyncio.sleep(0.02)
            client.recv(1)
        client.close()

    run(main())


@pytest.mark.sfloop_only("asyncio fails an assertion and leaves the socket to the garbage collector")
def test_close_from_within_the_factory(run: Run) -> None:
    """The connection just accepted is served or dropped, and no object is left over."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        def factory() -> Recorder:
            server.close()
            made.append(Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await until(lambda: client.lost.done() or bool(made and made[0].made.done()))
        if not client.lost.done():
            made[0].transport.write(b"x")
            await until(lambda: client.data == b"x")
            client.transport.close()
            await made[0].lost
        await server.wait_closed()

    run(main())


def test_close_from_within_connection_made(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Recorder] = []

        class Closing(Echo):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                server.close()
                made.append(self)

        server = await loop.create_server(Closing, "127.0.0.1", 0)
        _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        client.transport.write(b"x")
        await until(lambda: client.data == b"x")
        client.transport.close()
        await made[0].lost
        await server.wait_closed()

    run(main())


def test_the_port_can_be_used_again_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        port = 0
        for _ in range(5):
            service = Service()
            server = await loop.create_server(service, "127.0.0.1", port)
            port = server.sockets[0].getsockname()[1]
            theirs, ours = await served(server, service)
            theirs.transport.close()  # the server's side keeps TIME_WAIT
            await asyncio.gather(theirs.lost, ours.lost)
            server.close()
            await server.wait_closed()

    run(main())


def test_a_server_that_is_never_closed_goes_with_its_loop(loop: asyncio.AbstractEventLoop) -> None:
    import gc
    import warnings

    async def main() -> None:
        await loop.create_server(Recorder, "127.0.0.1", 0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.run_until_complete(main())
        loop.close()
        gc.collect()


def test_reading_eof_of_a_served_connection(run: Run) -> None:
    async def main() -> None:
        service = Service()
        server = await asyncio.get_running_loop().create_server(service, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        client.setblocking(False)
        await until(lambda: service.made and service.made[0].made.done())
        client.shutdown(socket.SHUT_WR)
        await service.made[0].lost
        await until(lambda: at_eof(client))
        client.close()
        server.close()
        await server.wait_closed()

    run(main())
