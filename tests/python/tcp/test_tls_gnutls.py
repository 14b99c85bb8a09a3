"""TLS with GnuTLS at the other end: its programs gnutls-cli and gnutls-serv."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from harness.connections import finished, free_port
from harness.loops import until
from harness.observed import Run
from harness.peerprograms import PeerProgram, accepts, program
from harness.recording import Echo, Recorder
from harness.tls import key_updates
from harness.tlsfiles import Files
from harness.zf import KERNEL_HOST

pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("gnutls-cli") and shutil.which("gnutls-serv")), reason="needs GnuTLS's programs (gnutls-bin)"
    ),
    pytest.mark.timeout(60),
]
if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark.append(pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning"))

VERSIONS = ["1.2", "1.3"]
PSK = {"identity": "trader", "key": "00112233445566778899aabbccddeeff"}


def of_client(files: Files) -> list[str]:
    """gnutls-cli's options for its certificate and for the server's."""
    trust = ["--x509cafile", files.ca, "--verify-hostname", "localhost", "--sni-hostname", "localhost"]
    return [*trust, "--x509certfile", files.client, "--x509keyfile", files.client, "--alpn", "echo"]


def of_server(files: Files) -> list[str]:
    """gnutls-serv's options for its certificate and for the client's."""
    own = ["--x509certfile", files.server, "--x509keyfile", files.server]
    return [*own, "--x509cafile", files.ca, "--verify-client-cert", "--alpn", "echo"]


def only(version: str, more: str = "") -> list[str]:
    return ["--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}{more}"]


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[tuple[str, list[Recorder]]]:
    """(port, protocols of the connections) of an echo server on the loop under test."""
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Echo())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(factory, KERNEL_HOST, 0, ssl=context)
    try:
        yield str(server.sockets[0].getsockname()[1]), made
    finally:
        await finished(*made)
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def client(port: str, *options: str) -> AsyncIterator[PeerProgram]:
    async with program("gnutls-cli", "--port", port, *options, KERNEL_HOST) as running:
        yield running


@contextlib.asynccontextmanager
async def server(*options: str) -> AsyncIterator[tuple[PeerProgram, int]]:
    port = free_port()
    async with program("gnutls-serv", "--echo", "--crlf", "--port", str(port), *options) as running:
        await accepts(port)
        yield running, port


async def answers(near: Recorder, data: bytes) -> None:
    """Send this and wait until it has come back."""
    near.data.clear()
    near.transport.write(data)
    await until(lambda: near.data == data)


async def closed(near: Recorder) -> None:
    near.transport.close()
    assert await asyncio.wait_for(near.lost, 5) is None
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_client(run: Run, files: Files, version: str) -> None:
    """A client with a certificate, small records, and key updates of one side and of both."""

    context = files.server_context()
    updates = key_updates(context)

    async def main() -> None:
        async with serving(context) as (port, made):
            options = [*of_client(files), *only(version), "--recordsize", "512", "--inline-commands"]
            async with client(port, *options) as peer:
                await peer.shows(b"Handshake was completed")
                peer.write(b"first line\n")
                await peer.shows(b"\nfirst line\n")
                for command in [b"rekey1", b"rekey", b"rekey1"] if version == "1.3" else []:
                    before = updates.count("read")
                    peer.write(b"^" + command + b"^\n")
                    await until(lambda: updates.count("read") > before)  # noqa: B023
                    peer.write(command + b"x" * 300 + b"end\n")
                    await peer.shows(b"xend\n")
                assert updates == (["read", "read", "write", "read"] if version == "1.3" else [])
                info = made[0].transport.get_extra_info
                assert info("ssl_object").version() == f"TLSv{version}"
                assert info("ssl_object").selected_alpn_protocol() == "echo"
                assert ("email", "trader@example.org") in info("peercert")["subjectAltName"]
                await closed(made[0])
                await peer.shows(b"Peer has closed the GnuTLS connection")

    run(main())


def test_client_authenticates_later(run: Run, files: Files) -> None:
    """Our server asks for the certificate after the handshake."""

    async def main() -> None:
        context = files.server_context()
        context.verify_mode = ssl.CERT_OPTIONAL
        context.post_handshake_auth = True
        async with serving(context) as (port, made):
            async with client(port, *of_client(files), *only("1.3"), "--post-handshake-auth") as peer:
                await peer.shows(b"Handshake was completed")
                peer.write(b"before\n")
                await peer.shows(b"\nbefore\n")
                tls = made[0].transport.get_extra_info("ssl_object")
                assert not tls.getpeercert()
                tls.verify_client_post_handshake()
                made[0].transport.write(b"asked\n")  # sends the request along
                await peer.shows(b"asked\n")
                peer.write(b"after\n")
                await peer.shows(b"after\n")
                assert ("email", "trader@example.org") in tls.getpeercert()["subjectAltName"]

    run(main())


@pytest.mark.sfloop_only("Python 3.10's asyncio calls no eof_received() here", when=sys.version_info < (3, 11))
@pytest.mark.parametrize("version", VERSIONS)
def test_client_ends_the_session(run: Run, files: Files, version: str) -> None:
    async def main() -> None:
        async with serving(files.server_context()) as (port, made):
            async with client(port, *of_client(files), *only(version)) as peer:
                await peer.shows(b"Handshake was completed")
                peer.write(b"all of it\n")
                await peer.shows(b"\nall of it\n")
                peer.end_input()
                assert await asyncio.wait_for(made[0].lost, 5) is None
                assert made[0].calls[-2:] == ["eof_received", "connection_lost"]
                assert await asyncio.wait_for(peer.process.wait(), 5) == 0

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_client_resumes_its_session(run: Run, files: Files, version: str) -> None:
    async def main() -> None:
        async with serving(files.server_context()) as (port, made):
            options = [*of_client(files), *only(version), "--resume", "--waitresumption"]
            async with client(port, *options) as peer:
                await peer.shows(b"This is a resumed session")
                peer.write(b"the second connection\n")
                await peer.shows(b"\nthe second connection\n")
                assert [each.transport.get_extra_info("ssl_object").session_reused for each in made] == [False, True]

    run(main())


def test_client_starts_tls(run: Run, files: Files) -> None:
    """The program begins at a signal, after plain bytes of both sides."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with serving(None) as (port, made):
            async with client(port, *of_client(files), "--starttls") as peer:
                await until(lambda: bool(made) and made[0].made.done())
                peer.write(b"plain line\n")
                await peer.shows(b"plain line\n")
                upgrade = asyncio.ensure_future(
                    loop.start_tls(made[0].transport, made[0], files.server_context(), server_side=True)
                )
                await asyncio.sleep(0)
                peer.process.send_signal(signal.SIGALRM)
                made[0].transport = await asyncio.wait_for(upgrade, 10)
                peer.write(b"secret line\n")
                await peer.shows(b"\nsecret line\n")
                await closed(made[0])

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_server(run: Run, files: Files, version: str) -> None:
    """A server that wants a certificate, with records of one byte, of the greatest size, and between."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with server(*of_server(files), *only(version), "--require-client-cert") as (_, port):
            _, near = await loop.create_connection(
                Recorder, KERNEL_HOST, port, ssl=files.client_context(), server_hostname="localhost"
            )
            tls = near.transport.get_extra_info("ssl_object")
            assert (tls.version(), tls.selected_alpn_protocol()) == (f"TLSv{version}", "echo")
            for byte in b"byte by byte\n":
                near.transport.write(bytes([byte]))
            await until(lambda: near.data == b"byte by byte\n")
            for size in 1, 16383, 16384, 16385, 40_000:
                await answers(near, b"y" * (size - 1) + b"\n")
            await closed(near)

    run(main())


def test_server_asks_for_a_certificate_later(run: Run, files: Files) -> None:
    """Authentication after the handshake, between records."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        context = files.client_context()
        context.post_handshake_auth = True
        async with server(*of_server(files), *only("1.3"), "--disable-client-cert") as (_, port):
            _, near = await loop.create_connection(
                Recorder, KERNEL_HOST, port, ssl=context, server_hostname="localhost"
            )
            await answers(near, b"before\n")
            near.data.clear()
            near.transport.write(b"**REAUTH**\n")
            await until(lambda: near.data == b"Successfully executed command\n")
            await answers(near, b"after\n")
            await closed(near)

    run(main())


@pytest.mark.skipif(not hasattr(ssl.SSLContext, "set_psk_client_callback"), reason="new in Python 3.13")
@pytest.mark.parametrize("version", VERSIONS)
def test_shared_keys(run: Run, files: Files, tmp_path: Path, version: str) -> None:
    """Pre-shared keys in place of certificates, with our client and with our server."""
    identity, key = PSK["identity"], bytes.fromhex(PSK["key"])
    (tmp_path / "keys").write_text(f"{identity}:{PSK['key']}\n")
    minimum = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    near_context, far_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for context in near_context, far_context:
        context.minimum_version = context.maximum_version = minimum
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version == "1.2":
            context.set_ciphers("PSK")
    near_context.set_psk_client_callback(lambda hint: (identity, key))  # type: ignore[attr-defined]
    far_context.set_psk_server_callback(lambda name: key if name == identity else b"")  # type: ignore[attr-defined]
    # Debian 12's gnutls-cli crashes after a handshake with ECDHE-PSK of TLS 1.2.
    priority = only(version, ":-KX-ALL:+PSK" if version == "1.2" else ":-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK")

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with serving(far_context) as (port, made):
            options = [*priority, "--pskusername", identity, "--pskkey", PSK["key"]]
            async with client(port, *options) as peer:
                await peer.shows(b"Handshake was completed")
                peer.write(b"by a shared key\n")
                await peer.shows(b"\nby a shared key\n")
                await closed(made[0])
        async with server(*priority, "--pskpasswd", str(tmp_path / "keys")) as (_, number):
            _, near = await loop.create_connection(
                Recorder, KERNEL_HOST, number, ssl=near_context, server_hostname="localhost"
            )
            await answers(near, b"by a shared key\n")
            await closed(near)

    run(main())
