"""The lifetime of unused TLS connections, and their memory."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import ssl
import sys
import weakref
from typing import Any

import pytest
from harness import loops
from harness.dropped import unclosed
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Recorder, keeping
from harness.tlspeer import facing_peer

import sfloop
from sfloop.native.cores import tls_session

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


async def collected(reference: weakref.ref[Any]) -> None:
    """Wait until the object is collected."""
    for _ in range(500):
        gc.collect()
        if reference() is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{reference()!r} lives on")


async def _use(address: Any, context: ssl.SSLContext) -> weakref.ref[Any]:
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="localhost")
    writer.write(b"x\n")
    assert await reader.readline() == b"x\n"
    return weakref.ref(writer.transport)


@pytest.mark.sfloop_only(
    "asyncio keeps them for ever before Python 3.11.5", when=not hasattr(asyncio.StreamWriter, "__del__")
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_streams_that_the_program_drops(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """Unused connections are collected, and the server learns of the end."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        ended.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
        await collected(await _use(server.sockets[0].getsockname(), client_context))
        await asyncio.wait_for(ended.wait(), 5)
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()


async def _pause_and_drop(own: Recorder) -> weakref.ref[Any]:
    own.transport.pause_reading()
    transport, own.transport = own.transport, None  # type: ignore[assignment]
    return weakref.ref(transport)


@pytest.mark.sfloop_only("asyncio pauses nothing below, where the selector keeps it")
def test_a_paused_transport_that_the_program_drops(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """The transport is collected with a ResourceWarning, and its socket is closed, as over TCP."""

    async def main() -> None:
        async with facing_peer(server_context, client_context) as (peer, own):
            await asyncio.sleep(0.02)
            with unclosed() as texts:
                await collected(await _pause_and_drop(own))
            assert texts
            await until(lambda: "eof_received" in peer.calls or peer.lost.done())
            own.made = own.lost  # no transport is left to abort

    run(main())


def _resident() -> int:
    """Return the resident memory without freed memory of earlier tests that malloc keeps."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.sfloop_only("asyncio's has only an address")
def test_what_a_transport_says_of_itself(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with facing_peer(server_context, client_context) as (_, own):
            assert repr(own.transport).startswith("<SSLTransport over <StreamTransport ")
            own.transport.close()
            assert repr(own.transport).startswith("<SSLTransport closing over <StreamTransport ")
            own.transport.abort()
            await own.lost
            assert repr(own.transport) == "<SSLTransport closed>"

    run(main())


class Counts(asyncio.Protocol):
    """Keeps only the number of bytes."""

    received = 0
    transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None


@pytest.mark.skipif(tls_session.refused() is not None, reason="CPython's MemoryBIO keeps its memory")
def test_memory_of_idle_connections(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """Measured a second after their last large message, on the kernel's stack, because others have memory for each
    connection."""
    count = 300

    async def main() -> None:
        made, factory = keeping(Counts)

        async def connect(number: int) -> None:
            for _ in range(number):
                _, near = await loop.create_connection(
                    factory, *address, ssl=client_context, server_hostname="localhost"
                )
                near.transport.write(bytes(20_000))
            await until(lambda: sum(each.received for each in made) == len(made) // 2 * 20_000)
            await asyncio.sleep(1.3)
            gc.collect()

        listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context)
        address = listening.sockets[0].getsockname()
        await connect(50)
        before = _resident()
        await connect(count)
        taken = (_resident() - before) / (2 * count)
        assert taken < (48 if ssl.OPENSSL_VERSION_INFO < (3, 5) else 56) * 1024  # newer ones have larger objects
        for each in made:
            each.transport.abort()
        await until(lambda: all(each.transport is None for each in made))
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.02)

    loop = sfloop.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(main(), 20))
    loops.close(loop)
