"""TLS over sfloop's transports: CPython's sslproto on top of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.connections import reset_on_close
from harness.loops import until
from harness.observed import Contexts, LogLines, Run
from harness.recording import BufferedRecorder, Echo, Recorder
from harness.tls import agree_on_tls, ask_for_tls, tls_pair, upgrade
from harness.zf import KERNEL_HOST

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


def test_echo_and_extra_information(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context, Echo) as (_, client):
            client.transport.write(b"secret")
            await until(lambda: client.data == b"secret")
            assert isinstance(client.transport, asyncio.Transport)
            assert client.transport.get_extra_info("sslcontext") is client_context
            assert client.transport._ssl_protocol._sslcontext is client_context
            assert client.transport.get_extra_info("ssl_object").version().startswith("TLS")
            assert client.transport.get_extra_info("cipher")
            assert client.transport.get_extra_info("peercert")["subjectAltName"]
            assert client.transport.get_extra_info("peername")[0] == "127.0.0.1"

    run(main())


@pytest.mark.parametrize("protocol", [Recorder, BufferedRecorder])
def test_megabytes_both_ways(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, protocol: type[Recorder]
) -> None:
    data = bytes(range(256)) * 12_000

    async def main() -> None:
        async with tls_pair(server_context, client_context, protocol, protocol) as (server, client):
            client.transport.write(data)
            server.transport.write(data[::-1])
            await until(lambda: len(server.data) == len(client.data) == len(data))
            assert server.data == data and client.data == data[::-1]

    run(main())


def test_orderly_close(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            client.transport.write(b"last")
            client.transport.close()
            assert await server.lost is None
            assert await client.lost is None
            assert server.data == b"last"
            # close_notify calls eof_received in some versions of Python only.
            assert [c for c in server.calls if c != "eof_received"] == [
                "connection_made",
                "data_received",
                "connection_lost",
            ]
            assert [c for c in client.calls if c != "eof_received"] == ["connection_made", "connection_lost"]

    run(main())


def test_the_peer_resets(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            reset_on_close(server.transport.get_extra_info("socket"))
            server.transport.abort()
            assert isinstance(await client.lost, ConnectionResetError)

    run(main())


def test_start_tls(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await agree_on_tls(reader, writer)
        await upgrade(writer, server_context, server_side=True)
        served.append(await reader.readline())
        writer.write(b"secret answer\n")
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await ask_for_tls(server.sockets[0].getsockname())
        await upgrade(writer, client_context, server_hostname="localhost")
        writer.write(b"secret question\n")
        assert await reader.readline() == b"secret answer\n"
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    run(main())
    assert served == [b"secret question\n"]


def test_an_untrusted_certificate(run: Run, server_context: ssl.SSLContext, asyncio_log: LogLines) -> None:
    async def main() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            async with tls_pair(server_context, ssl.create_default_context()):
                raise AssertionError("connected")
        await asyncio.sleep(0.02)

    run(main())


def test_a_wrong_host_name(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            async with tls_pair(server_context, client_context, server_hostname="other.example"):
                raise AssertionError("connected")
        await asyncio.sleep(0.02)

    run(main())


def test_a_peer_that_does_not_speak_tls(run: Run, client_context: ssl.SSLContext) -> None:
    class Rude(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"220 this is not TLS\r\n" * 10)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Rude, "127.0.0.1", 0)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=client_context, server_hostname="localhost"
            )
        await asyncio.sleep(0.02)
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.parametrize("bad", [b"this is not TLS at all\r\n", b""])
def test_a_server_survives_clients_that_do_not_speak_tls(
    run: Run, contexts: Contexts, server_context: ssl.SSLContext, client_context: ssl.SSLContext, bad: bytes
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
        address = server.sockets[0].getsockname()
        rude = socket.create_connection(address)
        rude.sendall(bad)
        rude.close()
        _, client = await loop.create_connection(Recorder, *address, ssl=client_context)
        client.transport.write(b"x")
        await until(lambda: client.data == b"x")
        client.transport.close()
        await client.lost
        await asyncio.sleep(0.02)
        server.close()
        await server.wait_closed()

    run(main())
    contexts.clear()  # some versions of Python report a failed handshake


def test_handshake_timeout(run: Run, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((KERNEL_HOST, 0)) as silent:
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
                await loop.create_connection(
                    Recorder,
                    *silent.getsockname(),
                    ssl=client_context,
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ssl_shutdown_timeout is new in Python 3.11")
def test_shutdown_timeout(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    """The peer does not answer close_notify: the connection ends after the given time."""

    async def main() -> None:
        async with tls_pair(server_context, client_context, ssl_shutdown_timeout=0.05) as (server, client):
            client.transport.write(b"x")
            await until(lambda: server.data == b"x")
            server.transport.pause_reading()
            await asyncio.sleep(0.01)
            start = asyncio.get_running_loop().time()
            client.transport.close()
            exc = await client.lost
            assert exc is None or isinstance(exc, (TimeoutError, asyncio.TimeoutError))
            assert asyncio.get_running_loop().time() - start < 5

    run(main())


def test_fifty_connections(run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
        address = server.sockets[0].getsockname()

        async def one(i: int) -> None:
            _, client = await loop.create_connection(Recorder, *address, ssl=client_context)
            client.transport.write(bytes([i]) * 10_000)
            await until(lambda: len(client.data) == 10_000)
            assert client.data == bytes([i]) * 10_000
            client.transport.close()
            await client.lost

        await asyncio.gather(*(one(i) for i in range(50)))
        await asyncio.sleep(0.02)
        server.close()
        await server.wait_closed()

    run(main())


def test_sendfile_over_tls(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, tmp_path: Any
) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 500_000)

    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            with path.open("rb") as file:
                assert await asyncio.get_running_loop().sendfile(client.transport, file) == 500_000
            await until(lambda: len(server.data) == 500_000)

    run(main())


@pytest.mark.sfloop_only("asyncio reads on from where the file stands")
def test_sendfile_from_offset_0(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(bytes(range(250)) * 1000)

    async def main() -> None:
        async with tls_pair(server_context, client_context) as (server, client):
            with (tmp_path / "data").open("rb") as source:
                source.seek(100_000)
                assert await asyncio.get_running_loop().sendfile(client.transport, source) == 250_000
                assert source.tell() == 250_000
            await until(lambda: len(server.data) == 250_000)
            assert server.data == bytes(range(250)) * 1000

    run(main())


@pytest.mark.sfloop_only("asyncio raises AttributeError after the second close(), and in Python 3.10 after the first")
@pytest.mark.parametrize("ways", [["close"], ["abort"], ["close", "close"], ["close", "abort"], ["abort", "close"]])
@pytest.mark.parametrize("upgraded", [False, True])
def test_a_transport_is_quiet_after_its_end(
    run: Run, server_context: ssl.SSLContext, client_context: ssl.SSLContext, ways: list[str], upgraded: bool
) -> None:
    def use(transport: Any) -> None:
        for _ in range(10):
            transport.write(b"dropped")
        transport.writelines([b"dropped"])
        transport.pause_reading()
        transport.resume_reading()
        transport.set_write_buffer_limits(high=0)
        assert len(transport.get_write_buffer_limits()) == 2
        assert transport.get_write_buffer_size() >= 0
        assert transport.is_closing() and not transport.is_reading()
        transport.get_extra_info("peername")
        transport.set_protocol(transport.get_protocol() or Recorder())

    async def end(transport: Any, protocol: Recorder) -> None:
        for way in ways:
            getattr(transport, way)()
        use(transport)
        await protocol.lost
        use(transport)
        for way in [*ways, "close", "abort"]:
            getattr(transport, way)()
        use(transport)
        await asyncio.sleep(0.01)
        assert protocol.calls.count("connection_lost") == 1

    async def upgrade() -> None:
        loop: Any = asyncio.get_running_loop()
        near, far = socket.socketpair()
        _, server = await loop.create_connection(Recorder, sock=far)
        _, client = await loop.create_connection(Recorder, sock=near)
        up = [
            loop.start_tls(server.transport, server, server_context, server_side=True),
            loop.start_tls(client.transport, client, client_context, server_hostname="localhost"),
        ]
        other, transport = await asyncio.gather(*up)
        await end(transport, client)
        other.abort()
        await server.lost

    async def main() -> None:
        if upgraded:
            await upgrade()
            return
        async with tls_pair(server_context, client_context) as (_, client):
            await end(client.transport, client)

    run(main())
