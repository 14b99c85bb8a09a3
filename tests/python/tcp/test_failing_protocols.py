"""Protocol callbacks that raise at every stage: the report, and the state of the connection afterwards."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from harness.connections import facing_socket, tcp_pair
from harness.exits import LeavingStream, leaving
from harness.loops import turns, until
from harness.observed import Contexts, Run
from harness.recording import Recorder, keeping


class FailingMade(Recorder):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        raise ZeroDivisionError("connection_made")


class FailingData(Recorder):
    def data_received(self, data: bytes) -> None:
        raise ZeroDivisionError("data_received")


class FailingEof(Recorder):
    def eof_received(self) -> bool | None:
        raise ZeroDivisionError("eof_received")


class FailingLost(Recorder):
    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        raise ZeroDivisionError("connection_lost")


def test_connection_made(run: Run, contexts: Contexts) -> None:
    """connection_made() is a callback of the loop: its exception is reported, and the connection goes on."""

    async def main() -> None:
        async with tcp_pair(Recorder, FailingMade) as (server, client):
            context = contexts.take("Exception in callback")
            assert set(context) == {"message", "exception", "handle"}
            assert isinstance(context["exception"], ZeroDivisionError)
            server.transport.write(b"works")
            await until(lambda: client.data == b"works")

    run(main())


@pytest.mark.parametrize(
    ("factory", "provoke", "message"),
    [
        (FailingData, lambda peer: peer.sendall(b"x"), "Fatal error: protocol.data_received() call failed."),
        (FailingEof, lambda peer: peer.shutdown(1), "Fatal error: protocol.eof_received() call failed."),
    ],
)
def test_fatal_errors(
    run: Run, contexts: Contexts, factory: type[Recorder], provoke: Callable[[Any], None], message: str
) -> None:
    async def main() -> None:
        async with facing_socket(factory) as (protocol, peer):
            transport = protocol.transport
            provoke(peer)
            assert isinstance(await protocol.lost, ZeroDivisionError)
            context = contexts.take(message)
            assert set(context) == {"message", "exception", "transport", "protocol"}
            assert context["transport"] is transport
            assert context["protocol"] is protocol
            assert transport.is_closing()
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(main())


@pytest.mark.parametrize("way", ["close", "abort"])
def test_connection_lost(run: Run, contexts: Contexts, way: str) -> None:
    async def main() -> None:
        async with facing_socket(FailingLost) as (protocol, _):
            sock = protocol.transport.get_extra_info("socket")
            getattr(protocol.transport, way)()
            await protocol.lost
            await turns()
            context = contexts.take("Exception in callback")
            assert set(context) == {"message", "exception", "handle"}
            assert isinstance(context["exception"], ZeroDivisionError)
            assert sock.fileno() == -1, "the socket is closed all the same"

    run(main())


def test_an_oserror_of_the_protocol_is_not_reported_but_closes(run: Run, contexts: Contexts) -> None:
    """asyncio takes every OSError for a network error and ends the connection without a report."""

    class FailingWithOSError(Recorder):
        def data_received(self, data: bytes) -> None:
            raise OSError("of the protocol")

    async def main() -> None:
        async with facing_socket(FailingWithOSError) as (protocol, peer):
            peer.sendall(b"x")
            exc = await protocol.lost
            assert isinstance(exc, OSError) and str(exc) == "of the protocol"

    run(main())


class Leaving(LeavingStream):
    """Also leaves in eof_received, and keeps the connection open after it."""

    def eof_received(self) -> bool | None:
        super().eof_received()
        self.leave("eof_received")
        return True


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("callback", ["data_received", "eof_received", "connection_made", "connection_lost"])
def test_exit_requests_leave_the_loop(
    loop: asyncio.AbstractEventLoop, run: Run, contexts: Contexts, callback: str, exception: type[BaseException]
) -> None:
    """The exceptions leave run_forever, and the loop can go on with the connection afterwards."""
    a, b = socket.socketpair()
    b.setblocking(False)
    made, factory = keeping(leaving(Leaving, callback, exception))
    connect = loop.create_task(loop.create_connection(factory, sock=b))

    async def one_after_the_other() -> None:
        try:
            await until(lambda: made and "connection_made" in made[0].calls)
            a.sendall(b"data")
            await until(lambda: "data_received" in made[0].calls)
            a.shutdown(socket.SHUT_WR)
            await until(lambda: "eof_received" in made[0].calls)
            made[0].transport.close()
            await until(lambda: "connection_lost" in made[0].calls)
        finally:
            loop.stop()

    peer = loop.create_task(one_after_the_other())
    with pytest.raises(exception, match=callback):
        loop.run_forever()
    loop.run_forever()
    assert peer.done() and peer.exception() is None
    a.close()
    calls = made[0].calls
    if callback == "eof_received" and calls.count("eof_received") == 2:
        calls.remove("eof_received")  # asyncio asks again, for there was no answer
    assert calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert made[0].data == b"data"
    connect.result()


@pytest.mark.sfloop_only("asyncio leaves the accepted socket to the garbage collector")
def test_a_server_factory_that_raises_drops_that_connection_only(
    loop: asyncio.AbstractEventLoop, run: Run, contexts: Contexts
) -> None:
    attempts = 0
    served: list[Recorder] = []

    def factory() -> Recorder:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ZeroDivisionError("factory")
        served.append(Recorder())
        return served[-1]

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as first:
            first.setblocking(False)
            assert await loop.sock_recv(first, 1) == b"", "dropped"
        context = contexts.take("Error on transport creation for incoming connection")
        assert isinstance(context["exception"], ZeroDivisionError)
        _, client = await loop.create_connection(Recorder, *address)
        client.transport.write(b"x")
        await until(lambda: served and served[0].data == b"x")
        client.transport.close()
        await served[0].lost
        server.close()
        await server.wait_closed()

    run(main())


def test_a_server_protocol_whose_connection_made_raises(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with tcp_pair(FailingMade, Recorder) as (server, client):
            await until(lambda: bool(contexts))
            contexts.take("Exception in callback")
            client.transport.write(b"still there")
            await until(lambda: server.data == b"still there")

    run(main())


def test_a_client_factory_that_raises(run: Run) -> None:
    def factory() -> Recorder:
        raise ZeroDivisionError("factory")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        with pytest.raises(ZeroDivisionError):
            await loop.create_connection(factory, *server.sockets[0].getsockname())
        server.close()
        await asyncio.sleep(0.01)

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio leaves the socket to the garbage collector
        run(main())
        import gc

        gc.collect()
