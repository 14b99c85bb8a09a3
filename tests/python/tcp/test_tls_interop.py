"""TLS with the openssl program at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from harness.connections import free_port
from harness.loops import until
from harness.observed import Run
from harness.recording import Echo, Recorder
from harness.zf import KERNEL_HOST

OPENSSL = shutil.which("openssl") or ""

pytestmark = [
    pytest.mark.skipif(not OPENSSL, reason="needs the openssl program"),
    pytest.mark.timeout(60),
]
if sys.version_info < (3, 11):  # its sslproto leaves every transport to __del__, also those that are closed
    pytestmark.append(pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning"))

VERSIONS = ["-tls1_2", "-tls1_3"]


async def start(*args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        OPENSSL,
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def stop(program: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        program.kill()
    await program.communicate()


async def reads(program: asyncio.subprocess.Process, text: bytes) -> None:
    """Wait until the program has printed this text."""
    assert program.stdout is not None
    shown = b""
    while text not in shown:
        more = await asyncio.wait_for(program.stdout.read(65536), 10)
        assert more, shown
        shown += more


@pytest.mark.parametrize("version", VERSIONS)
def test_s_client(run: Run, server_context: ssl.SSLContext, version: str) -> None:
    """The client's records, its answer to close_notify, and its renegotiation, which is refused, or key update."""

    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Echo())
            return made[-1]

        server = await asyncio.get_running_loop().create_server(factory, KERNEL_HOST, 0, ssl=server_context)
        port = server.sockets[0].getsockname()[1]
        program = await start("s_client", "-connect", f"{KERNEL_HOST}:{port}", version)
        assert program.stdin is not None
        try:
            program.stdin.write(b"first line\n")
            await until(lambda: bool(made) and b"first line" in made[0].data)
            await reads(program, b"first line\n")
            program.stdin.write(b"K\n" if version == "-tls1_3" else b"R\n")
            # The program ends the connection when it is refused, and an earlier close_notify would leave it waiting.
            await reads(program, b"KEYUPDATE" if version == "-tls1_3" else b"no renegotiation")
            if version == "-tls1_3":
                program.stdin.write(b"second line\n")
                await reads(program, b"second line\n")
            made[0].transport.close()
            await asyncio.wait_for(made[0].lost, 5)
        finally:
            await stop(program)
            server.close()
            await server.wait_closed()

    run(main())


@pytest.mark.parametrize("version", VERSIONS)
def test_s_server(
    run: Run, authority: trustme.CA, client_context: ssl.SSLContext, tmp_path: Path, version: str
) -> None:
    """The server sends records of its own size, and reverses each line it reads."""
    pem = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    port = free_port()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        program = await start("s_server", "-accept", str(port), "-cert", str(pem), "-rev", version)
        try:
            for _ in range(500):
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection((KERNEL_HOST, port)).close()
                    break
                await asyncio.sleep(0.01)
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
        finally:
            await stop(program)

    run(main())
