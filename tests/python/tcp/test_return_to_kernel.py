"""return_to_kernel() of a connection of the kernel's, and of one that the kernel cannot have."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from harness.connections import tcp_pair
from harness.loops import until
from harness.observed import Run
from harness.recording import Recorder


def test_a_connection_of_the_kernels(run: Run, loop_kind: str) -> None:
    if loop_kind != "sfloop":
        return  # asyncio has no such method, and the next test is about the others

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tcp_pair(Recorder, Recorder) as (server, client):
            transport: Any = client.transport
            transport.pause_reading()
            server.transport.write(b"unread")
            with transport.return_to_kernel() as sock:
                assert await client.lost is None
                assert await loop.sock_recv(sock, 100) == b"unread"
                await loop.sock_sendall(sock, b"answer")
                await until(lambda: server.data == b"answer")
                assert not server.lost.done()
            await server.lost

    run(main())


def test_a_closed_transport(run: Run, loop_kind: str) -> None:
    if loop_kind == "asyncio":
        return

    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (_, client):
            transport: Any = client.transport
            transport.close()
            with pytest.raises(OSError, match="closing or closed"):
                transport.return_to_kernel()

    run(main())


def test_a_connection_that_the_kernel_cannot_have(run: Run, loop_kind: str) -> None:
    """Its addresses are those of a wire, or its stack does not tell its state. It goes on as before."""
    if loop_kind in ("asyncio", "sfloop"):
        return

    async def main() -> None:
        async with tcp_pair(Recorder, Recorder) as (server, client):
            transport: Any = client.transport
            if transport.get_extra_info("stack") == "kernel":
                return
            with pytest.raises(OSError, match="cannot return to the kernel"):
                transport.return_to_kernel()
            transport.write(b"still here")
            await until(lambda: server.data == b"still here")

    run(main())


def test_a_connection_of_the_kernels_stays_off_a_wire(run: Run, loop_kind: str) -> None:
    """The wire of the test has the address 127.0.0.1, and so has the kernel."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, listener.getsockname())
            peer, _ = listener.accept()
            with peer:
                _, protocol = await loop.create_connection(Recorder, sock=sock)
                peer.sendall(b"from the kernel")
                await until(lambda: protocol.data == b"from the kernel")
                protocol.transport.close()
                await protocol.lost

    run(main())
