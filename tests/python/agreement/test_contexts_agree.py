"""Every callback of a transport sees the same context variables on asyncio's own loop and on sfloop, in each version of
Python: from 3.15 all callbacks of a transport run in one context, before that a scheduled callback runs in a copy."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme
from harness.agreement import Trace, both
from harness.loops import until
from harness.recording import keeping

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")
LARGE = 3_000_000  # more than the buffers of both ends take
Program = Callable[[Trace], Awaitable[None]]


class End(asyncio.Protocol):
    """Writes down each callback with the value of the variable that it sees, and then sets the variable."""

    transport: asyncio.Transport

    def __init__(self, name: str, trace: dict[str, Trace], answer: int = 0) -> None:
        self.name, self.trace, self.answer = name, trace, answer
        self.received = 0
        self.lost = asyncio.get_running_loop().create_future()
        self.got_all = asyncio.get_running_loop().create_future()
        self.step("made by the factory")

    def step(self, what: str) -> None:
        steps = self.trace.setdefault(self.name, [])
        if (what, seen.get()) not in steps:  # the number of data_received calls depends on the sizes of the pieces
            steps.append((what, seen.get()))
        seen.set(f"{self.name}: {what}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.step("connection_made")

    def data_received(self, data: bytes) -> None:
        self.step("data_received")
        self.received += len(data)
        if self.answer:
            self.transport.write(bytes(self.answer))
            self.answer = 0
        elif self.received == LARGE:
            self.got_all.set_result(None)

    def pause_writing(self) -> None:
        self.step("pause_writing")

    def resume_writing(self) -> None:
        self.step("resume_writing")

    def eof_received(self) -> None:
        self.step("eof_received")

    def connection_lost(self, exc: Exception | None) -> None:
        self.step("connection_lost")
        self.lost.set_result(None)


async def one_connection(
    trace: dict[str, Trace],
    serve: Callable[..., Awaitable[asyncio.Server]],
    connect: Callable[..., Awaitable[tuple[Any, End]]],
    abort: bool = False,
) -> None:
    served, factory = keeping(lambda: End("server", trace, LARGE))
    seen.set("before the server")
    server = await serve(factory, start_serving=False)
    seen.set("before it serves")
    await server.start_serving()
    seen.set("before the client")
    transport, client = await connect(server, lambda: End("client", trace))
    client.step("connected")
    seen.set("before the request")
    transport.write(b"the request")
    await client.got_all
    seen.set("before the end")
    if abort:
        transport.abort()
    else:
        transport.close()
    await client.lost
    await served[0].lost
    server.close()
    await server.wait_closed()


def compare(program: Callable[[asyncio.AbstractEventLoop, dict[str, Trace]], Awaitable[None]]) -> None:
    def traced(loop: asyncio.AbstractEventLoop) -> dict[str, Trace]:
        trace: dict[str, Trace] = {}
        # In its own context, as the loop's, because the second loop must not see its variables.
        contextvars.copy_context().run(loop.run_until_complete, asyncio.wait_for(program(loop, trace), 20))
        return trace

    both(traced)


@pytest.mark.parametrize("abort", [False, True], ids=["close", "abort"])
def test_tcp(abort: bool) -> None:
    async def program(loop: asyncio.AbstractEventLoop, trace: dict[str, Trace]) -> None:
        await one_connection(
            trace,
            lambda factory, **kw: loop.create_server(factory, "127.0.0.1", 0, **kw),
            lambda server, factory: loop.create_connection(factory, *server.sockets[0].getsockname()),
            abort,
        )

    compare(program)


def test_unix() -> None:
    async def program(loop: asyncio.AbstractEventLoop, trace: dict[str, Trace]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            await one_connection(
                trace,
                lambda factory, **kw: loop.create_unix_server(factory, f"{folder}/socket", **kw),
                lambda server, factory: loop.create_unix_connection(factory, f"{folder}/socket"),
            )

    compare(program)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio of 3.10 leaves TLS transports to __del__, which warns")
def test_tls() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)

    async def program(loop: asyncio.AbstractEventLoop, trace: dict[str, Trace]) -> None:
        await one_connection(
            trace,
            lambda factory, **kw: loop.create_server(factory, "127.0.0.1", 0, ssl=server_side, **kw),
            lambda server, factory: loop.create_connection(
                factory, *server.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
            ),
        )

    compare(program)


def test_accepted_sockets() -> None:
    async def program(loop: asyncio.AbstractEventLoop, trace: dict[str, Trace]) -> None:
        near, far = socket.socketpair()
        seen.set("before the client")
        transport, client = await loop.connect_accepted_socket(lambda: End("client", trace), near)
        seen.set("before the data")
        far.setblocking(False)
        await loop.sock_sendall(far, bytes(10))
        await until(lambda: client.received == 10)
        transport.pause_reading()
        seen.set("before it is resumed")
        transport.resume_reading()
        await loop.sock_sendall(far, bytes(10))
        await until(lambda: client.received == 20)
        seen.set("before the end")
        far.close()
        await client.lost

    compare(program)


def test_datagrams() -> None:
    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self, trace: dict[str, Trace]) -> None:
            self.end = End("datagrams", trace)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.end.step("connection_made")

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.end.step(f"datagram_received {data.decode()}")
            if data == b"2":
                self.end.got_all.set_result(None)

        def connection_lost(self, exc: Exception | None) -> None:
            self.end.connection_lost(exc)

    async def program(loop: asyncio.AbstractEventLoop, trace: dict[str, Trace]) -> None:
        seen.set("before the endpoint")
        transport, protocol = await loop.create_datagram_endpoint(lambda: Datagrams(trace), ("127.0.0.1", 0))
        for data in (b"1", b"2"):
            seen.set(f"before datagram {data.decode()}")
            transport.sendto(data, transport.get_extra_info("sockname"))
        await protocol.end.got_all
        seen.set("before the end")
        transport.close()
        await protocol.end.lost

    compare(program)


def test_watched_descriptors() -> None:
    async def program(loop: Any, trace: dict[str, Trace]) -> None:
        near, far = socket.socketpair()
        done = loop.create_future()

        def readable() -> None:
            trace.setdefault("reader", []).append(seen.get())
            seen.set("set by the reader")
            near.recv(1)
            if len(trace["reader"]) == 2:
                done.set_result(None)

        with near, far:
            near.setblocking(False)
            seen.set("before add_reader")
            loop.add_reader(near, readable)
            seen.set("before the data")
            for _ in range(2):
                far.send(b"x")
                await asyncio.sleep(0.01)
            await done
            loop.remove_reader(near)
        trace["program"] = [seen.get()]

    compare(program)
