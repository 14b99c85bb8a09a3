"""TLS with the openssl program at the other end."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.connections import free_port
from harness.loops import until
from harness.observed import Run
from harness.peerprograms import accepts, program
from harness.recording import Echo, Recorder, keeping
from harness.tls import key_updates
from harness.zf import KERNEL_HOST

OPENSSL = shutil.which("openssl") or ""

pytestmark = [
    pytest.mark.skipif(not OPENSSL, reason="needs the openssl program"),
    pytest.mark.timeout(60),
]
if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark.append(pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning"))

VERSIONS = ["-tls1_2", "-tls1_3"]

#: Older versions of OpenSSL renegotiate with a client that asks for it.
REFUSES = ssl.OPENSSL_VERSION_INFO >= (3,)


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client(run: Run, server_context: ssl.SSLContext, version: str) -> None:
    """The client's records, its answer to close_notify, and its key update or renegotiation."""

    async def main() -> None:
        made, factory = keeping(Echo)
        server = await asyncio.get_running_loop().create_server(factory, KERNEL_HOST, 0, ssl=server_context)
        port = server.sockets[0].getsockname()[1]
        try:
            async with program(OPENSSL, "s_client", "-connect", f"{KERNEL_HOST}:{port}", version) as peer:
                peer.write(b"first line\n")
                await until(lambda: bool(made) and b"first line" in made[0].data)
                await peer.shows(b"first line\n")
                peer.write(b"K\n" if version == "-tls1_3" else b"R\n")
                await peer.shows(b"KEYUPDATE" if version == "-tls1_3" else b"RENEGOTIATING")
                if REFUSES and version == "-tls1_2":
                    # The program ends the connection when it is refused. After an earlier close_notify it would wait.
                    await peer.shows(b"no renegotiation")
                else:
                    peer.write(b"second line\n")
                    await peer.shows(b"second line\n")
                made[0].transport.close()
                await asyncio.wait_for(made[0].lost, 5)
        finally:
            server.close()
            await server.wait_closed()

    run(main())


@pytest.fixture
def pem(authority: trustme.CA, tmp_path: Path) -> str:
    """A file with the server's certificate and key."""
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    return str(tmp_path / "server.pem")


@pytest.mark.parametrize("version", VERSIONS)
def test_s_server(run: Run, client_context: ssl.SSLContext, pem: str, version: str) -> None:
    """The server sends records of its own size, and reverses each line it reads."""
    port = free_port()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with program(OPENSSL, "s_server", "-accept", str(port), "-cert", pem, "-rev", version):
            await accepts(port)
            for _ in range(3):
                _, near = await loop.create_connection(
                    Recorder, KERNEL_HOST, port, ssl=client_context, server_hostname="localhost"
                )
                for line in b"abc", b"x" * 8000 + b"y":
                    near.data.clear()
                    near.transport.write(line + b"\n")
                    await until(lambda: near.data == line[::-1] + b"\n")  # noqa: B023
                near.transport.close()
                assert await near.lost is None

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_s_server_asks_for_more(run: Run, authority: trustme.CA, pem: str, version: str) -> None:
    """The server's key update or renegotiation, between data of both sides, and its end."""
    port = free_port()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    updates = key_updates(context)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with program(OPENSSL, "s_server", "-accept", str(port), "-cert", pem, "-naccept", "1", version) as peer:
            await peer.shows(b"ACCEPT")
            _, near = await loop.create_connection(
                Recorder, KERNEL_HOST, port, ssl=context, server_hostname="localhost"
            )
            peer.write(b"first\n")
            await until(lambda: near.data == b"first\n")
            if version == "-tls1_3":
                peer.write(b"K\n")  # asks for an update of the client's key, too, which comes before its next data
                await until(lambda: updates == ["read"])
            else:
                peer.write(b"r\n")
                await peer.shows(b"Read BLOCK")
            near.transport.write(b"from the client\n")
            await peer.shows(b"from the client\n")
            assert updates == (["read", "write"] if version == "-tls1_3" else [])
            peer.write(b"second\n")
            await until(lambda: near.data == b"first\nsecond\n")
            peer.write(b"Q\n")
            assert await asyncio.wait_for(near.lost, 5) is None

    run(main())
