"""TLS with Go's crypto/tls and with rustls at the other end: programs that ``make tls-peers`` compiles.

Both do the same. As a client they check the answers, and that close_notify is answered by one. Go's client sends its
close_notify before it reads the last answer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
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

HERE = Path(__file__).parent
CRATES = "/usr/share/cargo/registry"  # of Debian's packages
VERSIONS = ["1.2", "1.3"]

pytestmark = [pytest.mark.timeout(300)]  # compiling included
if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark.append(pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning"))


def go(folder: Path) -> str:
    if not shutil.which("go"):
        pytest.skip("needs Go (golang-go)")
    environment = {"GOCACHE": str(folder / "cache"), **os.environ, "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", folder / "peer", HERE / "go" / "peer.go"], env=environment, check=True)
    return str(folder / "peer")


def rustls(folder: Path) -> str:
    if not shutil.which("cargo") or not list(Path(CRATES).glob("rustls-pemfile-*")):
        pytest.skip("needs Rust and rustls (cargo, librust-rustls-dev, librust-rustls-pemfile-dev)")
    crate = shutil.copytree(HERE / "rustls", folder / "crate")
    source = [f"source.crates-io.replace-with={'debian'!r}", f"source.debian.directory={CRATES!r}"]
    settings = [word for each in source for word in ("--config", each)]
    subprocess.run(["cargo", "build", "--offline", "--quiet", "--target-dir", folder, *settings], cwd=crate, check=True)
    return str(folder / "debug" / "peer")


@pytest.fixture(scope="session", params=[go, rustls], ids=["go", "rustls"])
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program."""
    compiled: str = request.param(tmp_path_factory.mktemp("peer"))
    return compiled


def seen(tls: ssl.SSLObject) -> tuple[str | None, str | None, bool]:
    return tls.version(), tls.selected_alpn_protocol(), bool(tls.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
def test_client(run: Run, files: Files, peer: str, version: str) -> None:
    """Records of one byte, of the greatest size, and between; then a second connection with the first one's session."""
    made: list[Recorder] = []
    states = []

    class Watched(Echo):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            states.append(seen(transport.get_extra_info("ssl_object")))

    def factory() -> Recorder:
        made.append(Watched())
        return made[-1]

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(factory, KERNEL_HOST, 0, ssl=files.server_context())
        address = f"{KERNEL_HOST}:{server.sockets[0].getsockname()[1]}"
        try:
            async with program(peer, "client", str(files.folder), version, address) as running:
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
    assert states == [(f"TLSv{version}", "echo", False), (f"TLSv{version}", "echo", True)]


@pytest.mark.parametrize("version", VERSIONS)
def test_server(run: Run, files: Files, peer: str, version: str) -> None:
    """The same with our client."""
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.client)
    context.set_alpn_protocols(["echo"])

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with program(peer, "server", str(files.folder), version) as running:
            await running.shows(b"listening ")
            await running.shows(b"\n")
            port = int(running.shown.split()[1])
            for resumed in False, True:
                _, near = await loop.create_connection(
                    Recorder, KERNEL_HOST, port, ssl=context, server_hostname="localhost"
                )
                tls = near.transport.get_extra_info("ssl_object")
                assert seen(tls) == (f"TLSv{version}", "echo", resumed)
                for size, piece in (1000, 1), (1_000_000, 16384), (1_000_000, 100_000):
                    near.data.clear()
                    data = bytes(range(250)) * (size // 250)
                    for at in range(0, size, piece):
                        near.transport.write(data[at : at + piece])
                    await until(lambda: near.data == data)  # noqa: B023
                context.kept = tls.session
                near.transport.close()
                assert await asyncio.wait_for(near.lost, 5) is None
                await running.shows(b"ended")

    try:
        run(main())
    finally:
        context.kept = None
