"""Every way into TLS, on every stack, and the attributes that programs read of such a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.connections import finished
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Echo, Recorder
from harness.tls import tls_pair, upgrade

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
TIMEOUTS = {"ssl_handshake_timeout": 5.0}
if sys.version_info >= (3, 11):
    TIMEOUTS["ssl_shutdown_timeout"] = 5.0


@pytest.fixture
def contexts_of(authority: trustme.CA) -> Any:
    """Return a function that makes (server's, client's) context of a version."""

    def make(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
        authority.configure_trust(client)
        for context in server, client:
            context.minimum_version = context.maximum_version = version
        return server, client

    return make


async def by_create(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """create_server() and create_connection()."""
    listening = listens(await loop.create_server(factory, "127.0.0.1", 0, ssl=server, **TIMEOUTS))
    address = listening.sockets[0].getsockname()
    _, near = await loop.create_connection(Recorder, *address, ssl=client, server_hostname="localhost", **TIMEOUTS)
    return near


async def by_unix(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """create_unix_server() and create_unix_connection()."""
    path = str(folder / "socket")
    listens(await loop.create_unix_server(factory, path, ssl=server, **TIMEOUTS))
    _, near = await loop.create_unix_connection(Recorder, path, ssl=client, server_hostname="localhost", **TIMEOUTS)
    return near


async def by_accepted(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """connect_accepted_socket(), and create_connection() with a socket that is connected."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    (_, _), (_, made) = await asyncio.gather(
        loop.connect_accepted_socket(factory, far, ssl=server, **TIMEOUTS),
        loop.create_connection(Recorder, sock=near, ssl=client, server_hostname="localhost", **TIMEOUTS),
    )
    return made


async def by_start_tls(loop: Any, server: Any, client: Any, factory: Any, folder: Path, listens: Any) -> Any:
    """start_tls() of both sides, after plain bytes."""
    accepted: list[Any] = []

    def plain() -> Any:
        accepted.append(factory())
        return accepted[-1]

    listening = listens(await loop.create_server(plain, "127.0.0.1", 0))
    _, near = await loop.create_connection(Recorder, *listening.sockets[0].getsockname())
    await until(lambda: bool(accepted) and accepted[0].made.done())
    near.transport, accepted[0].transport = await asyncio.gather(
        loop.start_tls(near.transport, near, client, server_hostname="localhost", **TIMEOUTS),
        loop.start_tls(accepted[0].transport, accepted[0], server, server_side=True, **TIMEOUTS),
    )
    return near


WAYS = [by_create, by_unix, by_accepted, by_start_tls]


@contextlib.asynccontextmanager
async def connected(way: Any, contexts: Any, folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """Yield (server's protocol, client's protocol)."""
    made: list[Any] = []

    def factory() -> Any:
        made.append(Echo())
        return made[-1]

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0.01)

        def listens(server: Any) -> Any:
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return server

        near = await way(asyncio.get_running_loop(), *contexts, factory, folder, listens)
        await until(lambda: bool(made) and made[0].made.done())
        try:
            yield made[0], near
        finally:
            await finished(near, made[0])


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
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"OK\n")
        await writer.drain()
        await writer.start_tls(server_context, ssl_handshake_timeout=5.0)  # type: ignore[attr-defined]
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"OK\n"
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


def test_client_certificates(
    run: Run, contexts: Contexts, authority: trustme.CA, contexts_of: Any, tmp_path: Path
) -> None:
    async def main(version: ssl.TLSVersion) -> None:
        server, client = contexts_of(version)
        server.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(server)
        authority.issue_cert("somebody@example.org").configure_cert(client)
        async with connected(by_create, (server, client), tmp_path) as (far, near):
            near.transport.write(b"x")
            await until(lambda: near.data == b"x")
            names = far.transport.get_extra_info("peercert")["subjectAltName"]
            assert ("email", "somebody@example.org") in names
        _, nobody = contexts_of(version)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(by_create, (server, nobody), tmp_path) as (far, near):
                raise AssertionError("the server took no certificate for one")

    run(main(ssl.TLSVersion.TLSv1_2))
    contexts.clear()


@pytest.mark.sfloop_only("asyncio sends no alert")
def test_a_certificate_that_is_missing(run: Run, contexts: Contexts, authority: trustme.CA, contexts_of: Any) -> None:
    """TLS 1.3: the client's handshake is done before the server has refused it."""
    server, client = contexts_of(ssl.TLSVersion.TLSv1_3)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        listening = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server)
        address = listening.sockets[0].getsockname()
        _, near = await loop.create_connection(Recorder, *address, ssl=client, server_hostname="localhost")
        exc = await near.lost
        assert isinstance(exc, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(exc)
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()


def test_server_names_and_protocols(run: Run, contexts_of: Any, tmp_path: Path) -> None:
    """An SNI callback that changes the context, and ALPN."""
    server, client = contexts_of(ssl.TLSVersion.TLSv1_3)
    other, _ = contexts_of(ssl.TLSVersion.TLSv1_3)
    asked: list[Any] = []

    def choose(tls: Any, name: str | None, context: ssl.SSLContext) -> None:
        asked.append((type(tls), name, context))
        tls.context = other

    server.sni_callback = choose
    other.set_alpn_protocols(["h2", "http/1.1"])
    server.set_alpn_protocols(["h2", "http/1.1"])
    client.set_alpn_protocols(["http/1.1"])

    async def main() -> None:
        async with connected(by_create, (server, client), tmp_path) as (far, near):
            near.transport.write(b"x" * 50_000)
            await until(lambda: len(near.data) == 50_000)
            for end in far, near:
                assert end.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            assert far.transport.get_extra_info("ssl_object").context is other

    run(main())
    assert asked == [(ssl.SSLObject, "localhost", server)]
    server.sni_callback = None


def test_an_sni_callback_that_refuses(run: Run, contexts: Contexts, contexts_of: Any, tmp_path: Path) -> None:
    server, client = contexts_of(ssl.TLSVersion.TLSv1_3)
    server.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    async def main() -> None:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(by_create, (server, client), tmp_path):
                raise AssertionError("connected")
        await asyncio.sleep(0.02)

    run(main())
    contexts.clear()
    server.sni_callback = None


class Resuming(ssl.SSLContext):
    """A context that gives a session to its next connection."""

    kept: ssl.SSLSession | None = None

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, session=self.kept, **options)


@pytest.mark.parametrize("version", VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
def test_sessions_are_resumed(
    run: Run, contexts_of: Any, authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server, _ = contexts_of(version)
    client = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    client.minimum_version = client.maximum_version = version

    async def main() -> None:
        for resumed in False, True:
            async with connected(by_create, (server, client), tmp_path) as (_, near):
                near.transport.write(b"x")  # the tickets of TLS 1.3 have arrived before this byte
                await until(lambda: near.data == b"x")
                tls = near.transport.get_extra_info("ssl_object")
                assert tls.session_reused is resumed
                client.kept = tls.session

    run(main())
    client.kept = None


def test_post_handshake_authentication(run: Run, contexts_of: Any, authority: trustme.CA, tmp_path: Path) -> None:
    server, client = contexts_of(ssl.TLSVersion.TLSv1_3)
    authority.configure_trust(server)
    authority.issue_cert("somebody@example.org").configure_cert(client)
    client.post_handshake_auth = server.post_handshake_auth = True
    server.verify_mode = ssl.CERT_REQUIRED

    async def main() -> None:
        async with connected(by_create, (server, client), tmp_path) as (far, near):
            near.transport.write(b"x")
            await until(lambda: near.data == b"x")
            tls = far.transport.get_extra_info("ssl_object")
            assert not tls.getpeercert()
            tls.verify_client_post_handshake()
            far.transport.write(b"y")  # sends the request along
            await until(lambda: near.data == b"xy")
            near.transport.write(b"z")
            await until(lambda: near.data == b"xyz")
            assert ("email", "somebody@example.org") in tls.getpeercert()["subjectAltName"]

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="PSK callbacks are new in Python 3.13")
def test_shared_keys(run: Run, tmp_path: Path) -> None:
    made: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server, client = made
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    for context in made:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("PSK")
    server.set_psk_server_callback(lambda name: b"secret" if name == "client" else b"", "hint")
    client.set_psk_client_callback(lambda hint: ("client", b"secret"))

    async def main() -> None:
        async with connected(by_create, made, tmp_path) as (_, near):
            near.transport.write(b"x" * 20_000)
            await until(lambda: len(near.data) == 20_000)
            assert "PSK" in near.transport.get_extra_info("cipher")[0]

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
