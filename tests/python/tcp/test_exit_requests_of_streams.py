"""KeyboardInterrupt and SystemExit from every callback of a stream protocol: the next run goes on.

No data is lost or delivered twice, and a closing connection reaches its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from harness.connections import finished, tcp_pair
from harness.exits import LeavingStream, leaving, run_again
from harness.loops import until
from harness.observed import Contexts
from harness.recording import BufferedRecorder, Recorder

AMOUNT = 3_000_000
EXITS = [KeyboardInterrupt, SystemExit]


class Leaving(LeavingStream):
    """Also leaves in eof_received and in the callbacks of flow control."""

    def eof_received(self) -> bool | None:
        if self.leaves_in != "eof_received":
            return super().eof_received()
        self.leave("eof_received")
        return None

    def pause_writing(self) -> None:
        super().pause_writing()
        self.leave("pause_writing")

    def resume_writing(self) -> None:
        super().resume_writing()
        self.leave("resume_writing")


class LeavingBuffered(Leaving, BufferedRecorder):
    def get_buffer(self, sizehint: int) -> bytearray:
        self.leave("get_buffer")
        return super().get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.leave("buffer_updated")


@pytest.mark.parametrize("exception", EXITS)
@pytest.mark.parametrize(
    ("base", "callback"),
    [
        (Leaving, "connection_made"),
        (Leaving, "data_received"),
        (Leaving, "eof_received"),
        (Leaving, "connection_lost"),
        (LeavingBuffered, "get_buffer"),
        (LeavingBuffered, "buffer_updated"),
    ],
)
def test_while_receiving(
    loop: asyncio.AbstractEventLoop, base: type[Leaving], callback: str, exception: type[BaseException]
) -> None:
    async def main() -> None:
        async with tcp_pair(leaving(base, callback, exception), Recorder) as (server, client):
            client.transport.write(bytes(AMOUNT))
            client.transport.write(b"end")
            client.transport.write_eof()
            await server.lost
            assert len(server.data) == AMOUNT + 3 and server.data.endswith(b"end")
            for name in ("connection_made", "eof_received", "connection_lost"):
                assert server.calls.count(name) == 1
            await client.lost

    run_again(loop, main(), exception)


@contextlib.asynccontextmanager
async def writing(protocol: Callable[[], Leaving]) -> AsyncIterator[tuple[Leaving, Recorder]]:
    """Yield (a server's side with more to write than there is room for, a client that does not read yet)."""
    async with tcp_pair(protocol, Recorder) as (server, client):
        client.transport.pause_reading()
        server.transport.set_write_buffer_limits(high=10_000)
        yield server, client
        await finished(server, client)


@pytest.mark.parametrize("exception", EXITS)
def test_in_pause_writing(loop: asyncio.AbstractEventLoop, exception: type[BaseException]) -> None:
    async def main() -> None:
        async with writing(leaving(Leaving, "pause_writing", exception)) as (server, client):
            # A callback writes, because the exception would end this task.
            asyncio.get_running_loop().call_soon(server.transport.write, bytes(10 * AMOUNT))
            await until(lambda: "pause_writing" in server.calls)
            client.transport.resume_reading()
            await until(lambda: len(client.data) == 10 * AMOUNT)
            assert server.calls == ["connection_made", "pause_writing", "resume_writing"]

    run_again(loop, main(), exception)


@pytest.mark.sfloop_only("asyncio goes on waiting for room to write, and reports an AssertionError for each time")
@pytest.mark.parametrize("exception", EXITS)
@pytest.mark.parametrize("end", ["close", "write_eof", "write"])
def test_in_resume_writing(loop: asyncio.AbstractEventLoop, end: str, exception: type[BaseException]) -> None:
    """resume_writing() is called after all data is written, and the connection is closed or shut down next."""

    async def main() -> None:
        async with writing(leaving(Leaving, "resume_writing", exception)) as (server, client):
            server.transport.set_write_buffer_limits(high=10_000, low=0)
            server.transport.write(bytes(10 * AMOUNT))
            assert "pause_writing" in server.calls
            if end != "write":
                getattr(server.transport, end)()
            client.transport.resume_reading()
            await until(lambda: len(client.data) == 10 * AMOUNT)
            await until(lambda: "resume_writing" in server.calls)
            if end == "write":
                server.transport.write(b"more")
                await until(lambda: client.data.endswith(b"more"))
            else:
                await client.eof
                await server.lost

    run_again(loop, main(), exception)


@pytest.mark.sfloop_only("asyncio leaves the connection open")
@pytest.mark.parametrize("exception", EXITS)
def test_in_the_exception_handler(loop: asyncio.AbstractEventLoop, exception: type[BaseException]) -> None:
    """data_received() fails, and the handler of that error leaves the loop: the connection is closed all the same."""

    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    def leave(_: Any, context: dict[str, Any]) -> None:
        raise exception

    async def main() -> None:
        async with tcp_pair(Failing, Recorder) as (server, client):
            loop.set_exception_handler(leave)
            client.transport.write(b"x")
            assert isinstance(await server.lost, ZeroDivisionError)

    run_again(loop, main(), exception)


@pytest.mark.sfloop_only("asyncio leaves the accepted socket to the garbage collector")
@pytest.mark.parametrize("exception", EXITS)
def test_in_a_servers_factory(loop: asyncio.AbstractEventLoop, exception: type[BaseException]) -> None:
    """The connection whose factory raises is dropped, and later ones in the queue are accepted."""
    served: list[Recorder] = []
    left: list[bool] = []

    def factory() -> Recorder:
        if not left:
            left.append(True)
            raise exception
        served.append(Recorder())
        return served[-1]

    async def main() -> None:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [(await loop.create_connection(Recorder, *address))[1] for _ in range(3)]
        await until(lambda: len(served) == 2)
        await clients[0].lost
        for client in clients[1:]:
            client.transport.write(b"x")
        await until(lambda: all(protocol.data == b"x" for protocol in served))
        await finished(*clients[1:], *served)
        server.close()
        await server.wait_closed()

    run_again(loop, main(), exception)


@pytest.mark.parametrize("exception", [asyncio.CancelledError, GeneratorExit])
def test_other_base_exceptions_end_the_connection(
    loop: asyncio.AbstractEventLoop, contexts: Contexts, exception: type[BaseException]
) -> None:
    """The exception is treated as any error of data_received()."""

    async def main() -> None:
        async with tcp_pair(leaving(Leaving, "data_received", exception), Recorder) as (server, client):
            client.transport.write(b"x")
            assert isinstance(await server.lost, exception)
            assert contexts.take("Fatal error: protocol.data_received()")["protocol"] is server

    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_a_reader_that_leaves_is_called_again(loop: asyncio.AbstractEventLoop) -> None:
    """The descriptor is still readable and writable: both callbacks are due in the next run."""
    a, b = socket.socketpair()
    seen: list[str] = []

    def leave() -> None:
        seen.append("reader")
        if len(seen) == 1:
            raise KeyboardInterrupt
        b.recv(1)
        loop.remove_reader(b)

    def writable() -> None:
        seen.append("writer")
        loop.remove_writer(b)

    a.send(b"x")
    loop.add_reader(b, leave)
    loop.add_writer(b, writable)

    async def main() -> None:
        await until(lambda: seen.count("reader") == 2 and "writer" in seen)

    run_again(loop, main(), KeyboardInterrupt)
    a.close()
    b.close()
