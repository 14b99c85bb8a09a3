"""The identities of the ends of a TLS connection: certificates, server names, resumed sessions, shared keys."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.loops import until
from harness.observed import Contexts, Run
from harness.recording import Recorder
from harness.tls import Resuming
from tls_ways import VERSIONS, by_create, connected

if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")


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
