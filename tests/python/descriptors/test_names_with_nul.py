"""Hosts, services and paths with a NUL. CPython's loop cuts them at the NUL and uses the part before it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from harness.observed import Contexts, Run

pytestmark = pytest.mark.sfloop_only("asyncio reaches what stands before the NUL, or leaves it to getaddrinfo()")


@pytest.mark.parametrize("host", ["127.0.0.1\0.example.com", b"127.0.0.1\0.example.com", "localhost\0", "::1%lo\0x"])
def test_a_host(run: Run, host: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="null"):
            await loop.getaddrinfo(host, 80)
        with pytest.raises(ValueError, match="null"):
            await loop.create_connection(asyncio.Protocol, host, 80)
        if isinstance(host, str):  # bytes are a sequence of hosts there
            with pytest.raises(ValueError, match="null"):
                await loop.create_server(asyncio.Protocol, host, 0)
        with pytest.raises(ValueError, match="null"):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(host, 0))
        with pytest.raises(ValueError, match="null"):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(host, 80))
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError, match="null"):
                await loop.sock_connect(sock, (host, 80))

    run(main())


def test_a_service(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for port in ("80\0x", b"80\0x"):
            with pytest.raises(ValueError, match="null"):
                await loop.getaddrinfo("127.0.0.1", port)
        assert await loop.getaddrinfo("127.0.0.1", "80", type=socket.SOCK_STREAM)

    run(main())


def test_a_path(run: Run, contexts: Contexts, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    wrong = path + "\0b"

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_unix_server(asyncio.Protocol, path)
        with pytest.raises(ValueError, match="null"):
            await loop.create_unix_connection(asyncio.Protocol, wrong)
        with pytest.raises(ValueError, match="null"):
            await loop.create_unix_server(asyncio.Protocol, wrong)
        server.close()
        await server.wait_closed()
        Path(path).unlink(missing_ok=True)  # Python 3.13 does it
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.setblocking(False)
            for name in (wrong, wrong.encode(), bytearray(wrong.encode())):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    sock.setblocking(False)
                    with pytest.raises(ValueError, match="null"):
                        await loop.sock_connect(sock, name)
                    if sys.version_info >= (3, 11):
                        with pytest.raises(ValueError, match="null"):
                            await loop.sock_sendto(sock, b"x", name)
            with pytest.raises(ValueError, match="null"):
                await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=wrong, family=socket.AF_UNIX)
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, family=socket.AF_UNIX)
            transport.sendto(b"x", wrong)
            assert isinstance(contexts.take("Fatal write error")["exception"], ValueError)
            with pytest.raises(BlockingIOError):
                receiver.recv(10)
            await asyncio.sleep(0)

    run(main())


def test_the_abstract_namespace(run: Run) -> None:
    name = b"\0sfloop-test\0with NULs\0%d" % os.getpid()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_unix_server(asyncio.Protocol, name)
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, name)
        assert transport.get_extra_info("peername") == name
        transport.abort()
        server.close()
        await asyncio.sleep(0.01)

    run(main())
