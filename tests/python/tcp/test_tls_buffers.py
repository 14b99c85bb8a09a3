"""TLS and buffers: bytes that a stream held before start_tls(), and the buffers of a BufferedProtocol."""

from __future__ import annotations

import array
import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable
from typing import Any

import pytest
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Recorder, keeping
from harness.tls import tls_pair, upgrade

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


class GluedClient(Recorder):
    """A client whose first TLS record leaves in one piece with the bytes before TLS."""

    def __init__(self, context: ssl.SSLContext, before: bytes, request: bytes) -> None:
        super().__init__()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.before, self.request = before, request

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.transport.write(self.before + self.outgoing.read())

    def data_received(self, data: bytes) -> None:
        self.incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            if self.request:
                self.tls.write(self.request)
                self.request = b""
            super().data_received(self.tls.read(1000))
        self.transport.write(self.outgoing.read())


@pytest.mark.sfloop_only("asyncio leaves the bytes in the StreamReader, and the handshake waits for them")
@pytest.mark.parametrize("padding", [0, 200_000], ids=["one segment", "beyond the reader's limit"])
def test_start_tls_with_bytes_in_the_reader(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, padding: int
) -> None:
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readexactly(padding))
        served.append(await reader.readline())
        await until(lambda: bool(reader._buffer))  # type: ignore[attr-defined]
        await upgrade(writer, server_context, server_side=True)
        served.append(await reader.readline())
        writer.write(b"answer")
        await writer.drain()
        writer.close()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        before = b"x" * padding + b"PROXY TCP4\r\n"
        _, client = await loop.create_connection(
            lambda: GluedClient(client_context, before, b"request\n"), *server.sockets[0].getsockname()
        )
        await until(lambda: client.data == b"answer")
        client.transport.abort()
        await client.lost
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    run(main())
    assert served == [b"x" * padding, b"PROXY TCP4\r\n", b"request\n"]


@pytest.mark.sfloop_only(
    "asyncio leaves the bytes in the StreamReader, where the program takes them for encrypted ones"
)
def test_plaintext_before_the_handshake_is_no_part_of_what_is_encrypted(
    run: Run, contexts: Contexts, client_context: ssl.SSLContext
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"OK\ninjected\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.readline() == b"OK\n"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await upgrade(writer, client_context, server_hostname="localhost")
        writer.transport.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    run(main())
    contexts.clear()  # asyncio reports a failed handshake


def test_start_tls_after_the_end_of_the_peer(run: Run, contexts: Contexts, client_context: ssl.SSLContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await until(reader.at_eof)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await asyncio.wait_for(upgrade(writer, client_context, server_hostname="localhost"), 5)
        writer.transport.abort()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    run(main())
    contexts.clear()


class OwnBuffer(Recorder, asyncio.BufferedProtocol):
    """Returns the buffer that it was made with."""

    buffer: Any

    def get_buffer(self, sizehint: int) -> Any:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += bytes(memoryview(self.buffer).cast("B")[:nbytes])


BUFFERS: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(65536),
    "small bytearray": lambda: bytearray(700),
    "memoryview": lambda: memoryview(bytearray(65536)),
}
WIDE_BUFFERS: dict[str, Callable[[], Any]] = {"array of numbers": lambda: array.array("Q", bytes(8000))}


def receive_into(run: Run, server: ssl.SSLContext, client: ssl.SSLContext, buffer: Any) -> None:
    data = bytes(range(256)) * 1000

    class Receiver(OwnBuffer):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = buffer

    async def main() -> None:
        async with tls_pair(server, client, Recorder, Receiver) as (sender, receiver):
            sender.transport.write(data)
            await until(lambda: len(receiver.data) == len(data))
            assert receiver.data == data

    run(main())


@pytest.mark.sfloop_only("asyncio delivers NUL bytes for a bytearray")
@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS.keys())
def test_any_buffer_over_tls(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, make: Callable[[], Any]
) -> None:
    receive_into(run, server_context, client_context, make())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 counts the items of a buffer, not its bytes")
@pytest.mark.sfloop_only("asyncio counts the items of a buffer, not its bytes")
@pytest.mark.parametrize("make", WIDE_BUFFERS.values(), ids=WIDE_BUFFERS.keys())
def test_a_buffer_of_wide_items_over_tls(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, make: Callable[[], Any]
) -> None:
    receive_into(run, server_context, client_context, make())


class Spoilt(OwnBuffer):
    """Does `what` to its transport in its callback `where`, once."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__()
        self.what, self.where = what, where
        self.buffer = bytearray(1000)
        self.following: Recorder | None = None
        self.armed = False

    def spoil(self) -> None:
        if not self.armed:
            return
        what, self.what = self.what, ""
        if what == "set_protocol":
            self.following = Recorder()
            self.following.transport = self.transport
            self.following.calls.append("connection_made")
            self.transport.set_protocol(self.following)
        elif what == "pause_reading":
            self.transport.pause_reading()
            self.loop.call_later(0.01, self.transport.resume_reading)
        elif what:
            getattr(self.transport, what)()

    def get_buffer(self, sizehint: int) -> Any:
        if self.where == "get_buffer":
            self.spoil()
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        if self.where == "buffer_updated":
            self.spoil()


@pytest.mark.sfloop_only("asyncio goes on with the buffer of a protocol that it has no more, and NUL bytes")
@pytest.mark.parametrize(
    ("what", "where"),
    [
        *((what, where) for what in ("pause_reading", "close", "abort") for where in ("get_buffer", "buffer_updated")),
        ("set_protocol", "buffer_updated"),
    ],
)
def test_what_a_buffered_protocol_may_do_in_its_callbacks(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, what: str, where: str
) -> None:
    data = bytes(range(250)) * 1000

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        made, factory = keeping(Recorder)
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context)
        _, client = await loop.create_connection(
            lambda: Spoilt(what, where),
            *server.sockets[0].getsockname(),
            ssl=client_context,
            server_hostname="localhost",
        )
        await until(lambda: bool(made) and made[0].made.done())
        client.armed = True
        made[0].transport.write(data)
        if what in ("close", "abort"):
            await client.lost
            assert data.startswith(client.data)
        else:
            await until(lambda: len(client.data) + len(client.following.data if client.following else b"") == len(data))
            assert client.data + (client.following.data if client.following else b"") == data
            client.transport.abort()
            await (client.following or client).lost
        made[0].transport.abort()
        await made[0].lost
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
