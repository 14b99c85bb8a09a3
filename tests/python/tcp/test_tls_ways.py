"""Every way into TLS, on every stack, and the calls that programs make on such a connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.connections import answer_lines
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Echo, Recorder
from harness.tls import agree_on_tls, ask_for_tls, tls_pair, upgrade
from tls_ways import TIMEOUTS, VERSIONS, WAYS, connected

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
def test_every_way_in(run: Run, contexts_of: Any, tmp_path: Path, way: Any, version: ssl.TLSVersion) -> None:
    made = contexts_of(version)

    async def main() -> None:
        async with connected(way, made, tmp_path) as (server, client):
            for size in (1, 1000, 100_000):
                client.transport.write(bytes([size & 255]) * size)
                await until(lambda: len(client.data) == size)  # noqa: B023
                client.data.clear()
            client.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            await until(lambda: client.data == b"abc")
            for end, context in (client, made[1]), (server, made[0]):
                programs_ask(end.transport, context, end is client, version)
            client.transport.close()
            assert await client.lost is None
            assert await server.lost is None

    run(main())


def programs_ask(transport: Any, context: ssl.SSLContext, is_client: bool, version: ssl.TLSVersion) -> None:
    """Check the attributes that aiohttp, asyncpg, websockets and others read."""
    assert isinstance(transport, asyncio.Transport)
    assert isinstance(transport, asyncio.sslproto._SSLProtocolTransport)
    assert "SSL" in type(transport).__name__
    tls = transport.get_extra_info("ssl_object")
    assert isinstance(tls, ssl.SSLObject) and tls.context is context
    assert tls.version() == version.name.replace("_", ".") and tls.pending() == 0
    assert tls.get_channel_binding("tls-unique") is not None or version is ssl.TLSVersion.TLSv1_3
    assert transport.get_extra_info("sslcontext") is context
    assert transport.get_extra_info("cipher") == tls.cipher()
    assert transport.get_extra_info("compression") is None
    assert bool(transport.get_extra_info("peercert")) == is_client
    assert transport.get_extra_info("socket") is not None
    assert transport.get_extra_info("nothing", 5) == 5
    assert transport.is_reading() and not transport.is_closing() and not transport.can_write_eof()
    assert transport.get_write_buffer_size() == 0 and len(transport.get_write_buffer_limits()) == 2
    with pytest.raises(NotImplementedError):
        transport.write_eof()
    assert transport.get_protocol() is not None
    assert transport._start_tls_compatible if sys.version_info >= (3, 11) else True


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls() is new in Python 3.11")
def test_stream_writers(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree_on_tls(reader, writer)
        await writer.start_tls(server_context, ssl_handshake_timeout=5.0)  # type: ignore[attr-defined]
        await answer_lines(reader, writer)

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await ask_for_tls(server.sockets[0].getsockname())
        await writer.start_tls(client_context, server_hostname="localhost")  # type: ignore[attr-defined]
        for _ in range(3):
            writer.write(b"line\n")
            assert await reader.readline() == b"LINE\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.02)

    run(main())


@pytest.mark.sfloop_only("asyncio's upgrade in Python 3.10 cannot be upgraded", when=sys.version_info < (3, 11))
def test_tls_within_tls(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """TLS within TLS, as through an HTTPS proxy."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with tls_pair(server_context, client_context, Echo) as (server, client):
            server.transport, client.transport = await asyncio.gather(
                loop.start_tls(server.transport, server, server_context, server_side=True),
                loop.start_tls(client.transport, client, client_context, server_hostname="localhost"),
            )
            data = bytes(range(256)) * 2000
            client.transport.write(data)
            await until(lambda: len(client.data) == len(data))
            assert client.data == data
            client.transport.close()
            assert await client.lost is None

    run(main())


def test_ssl_true_is_the_default_context(run: Run, contexts: Contexts, server_context: ssl.SSLContext) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        listening = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context)
        address = listening.sockets[0].getsockname()
        for name in "localhost", "":
            with pytest.raises(ssl.SSLCertVerificationError):
                await loop.create_connection(Recorder, *address, ssl=True, server_hostname=name)
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()


def test_wrong_arguments(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        near, far = socket.socketpair()
        _, client = await loop.create_connection(Recorder, sock=near)
        with pytest.raises(TypeError):
            await loop.start_tls(client.transport, client, None)
        with pytest.raises(TypeError):
            await loop.start_tls(object(), client, client_context)
        for timeout in TIMEOUTS:
            for value in 0, -1:
                with pytest.raises(ValueError, match="positive number"):
                    await loop.start_tls(client.transport, client, client_context, **{timeout: value})
        client.transport.abort()
        await client.lost
        far.close()

    run(main())


def test_upgrade_of_a_stream_by_hand(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """start_tls() with a StreamReaderProtocol, as before Python 3.11: no data after the greeting is lost."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await upgrade(writer, server_context, server_side=True)
        writer.write(b"first\n" + b"x" * 100_000)
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await upgrade(writer, client_context, server_hostname="localhost")
        assert await reader.readline() == b"first\n"
        assert len(await reader.read(-1)) == 100_000
        writer.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
