"""TLS with Go's crypto/tls at the other end: peer.go, which ``make tls-peers`` compiles."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.connections import finished
from harness.loops import until
from harness.observed import Run
from harness.peerprograms import program
from harness.recording import Echo, Recorder
from harness.tls import Resuming
from harness.tlsfiles import Files
from harness.zf import KERNEL_HOST

GO = shutil.which("go") or ""

pytestmark = [
    pytest.mark.skipif(not GO, reason="needs Go (golang-go); the other targets of the Makefile leave this folder out"),
    pytest.mark.timeout(120),
]
if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark.append(pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning"))

VERSIONS = {"1.2": "303", "1.3": "304"}


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program."""
    compiled = str(tmp_path_factory.mktemp("go") / "peer")
    source = Path(__file__).with_name("peer.go")
    environment = {"GOCACHE": compiled + "-cache", **os.environ, "GO111MODULE": "off"}
    subprocess.run([GO, "build", "-o", compiled, str(source)], env=environment, check=True)
    return compiled


@pytest.mark.parametrize("version", VERSIONS)
def test_client(run: Run, files: Files, peer: str, version: str) -> None:
    """Records of one byte, of the greatest size, and between; then a second connection with the session of the first.

    The program checks the answers, and that close_notify is answered by one.
    """
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Echo())
        return made[-1]

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(factory, KERNEL_HOST, 0, ssl=files.server_context())
        address = f"{KERNEL_HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            async with program(peer, "client", str(files.folder), version, address) as running:
                for resumed in b"false", b"true":
                    await running.shows(b"version=%s alpn=echo resumed=%s names=[localhost]" % (of(version), resumed))
                await running.shows(b"done")
            for each in made:
                assert await asyncio.wait_for(each.lost, 5) is None
                assert ("email", "trader@example.org") in each.transport.get_extra_info("peercert")["subjectAltName"]
        finally:
            await finished(*made)
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_server(run: Run, files: Files, peer: str, version: str) -> None:
    """The same with our client."""
    context = Resuming(files.client_context().protocol)
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.client)
    context.set_alpn_protocols(["echo"])

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with program(peer, "server", str(files.folder), version) as running:
            await running.shows(b"listening ")
            await running.shows(b"\n")
            port = int(running.shown.split()[1])
            for resumed in b"false", b"true":
                _, near = await loop.create_connection(
                    Recorder, KERNEL_HOST, port, ssl=context, server_hostname="localhost"
                )
                shown = b"version=%s alpn=echo resumed=%s names=[trader@example.org] sni=localhost"
                await running.shows(shown % (of(version), resumed))
                for size, piece in (1000, 1), (1_000_000, 16384), (1_000_000, 100_000):
                    near.data.clear()
                    data = bytes(range(250)) * (size // 250)
                    for at in range(0, size, piece):
                        near.transport.write(data[at : at + piece])
                    await until(lambda: near.data == data)  # noqa: B023
                context.kept = near.transport.get_extra_info("ssl_object").session
                near.transport.close()
                assert await asyncio.wait_for(near.lost, 5) is None
                await running.shows(b"ended: EOF")  # close_notify, and no error

    try:
        run(main())
    finally:
        context.kept = None


def of(version: str) -> bytes:
    return VERSIONS[version].encode()
