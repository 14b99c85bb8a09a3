"""Connections that the program connects by itself and gives to the loop: the stack takes them over from the kernel, at
every moment of a conversation. The peer is the kernel of the other end of a veth pair."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import random
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from harness.connections import exchange
from harness.link import NEAR
from harness.loops import until
from imported import connected, echo_over_tls, imported, kept, tls_contexts
from program import Program, echo, kernel_server

SO_ATTACH_FILTER, SO_ZEROCOPY = 26, 60  # asm-generic/socket.h


@asynccontextmanager
async def imported_for_a_while(loop: Any, sock: socket.socket) -> AsyncIterator[tuple[Any, Any]]:
    """For a block that returns the connection to the kernel."""
    reader, writer = await asyncio.open_connection(sock=sock)
    assert writer.get_extra_info("stack") == "tcpip", kept(loop)
    yield reader, writer
    await writer.wait_closed()


def test_right_after_connect(program: Program) -> None:
    async def main(address: Any) -> None:
        sock = await connected(program.loop, address)
        own = sock.getsockname()
        reader, writer = await asyncio.open_connection(sock=sock)
        assert writer.get_extra_info("stack") == "tcpip", kept(program.loop)
        assert writer.get_extra_info("sockname") == own
        assert writer.get_extra_info("peername") == address
        assert sock.fileno() == -1
        await exchange(reader, writer, (1, 64, 1448, 40_000, 300_000))
        assert program.loop.describe()["imports"] == {"imported": 1, "kept": {}}

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


def test_unread_data(program: Program) -> None:
    """What arrived before the loop had the socket comes first."""
    size = 50_000
    data = random.Random(1).randbytes(size)

    def serve(conn: socket.socket) -> None:
        conn.sendall(data)
        echo(conn)

    async def main(address: Any) -> None:
        sock = await connected(program.loop, address)
        await asyncio.sleep(0.05)
        async with imported(program.loop, sock) as (reader, writer):
            assert await reader.readexactly(size) == data
            writer.write(b"more")
            assert await reader.readexactly(4) == b"more"

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_data_that_the_peer_has_not_read(program: Program) -> None:
    """The peer's window is closed; the kernel has sent a part, and a part waits."""
    data = random.Random(2).randbytes(3_000_000)
    go, result = threading.Event(), []

    def serve(conn: socket.socket) -> None:
        go.wait(10)
        found = hashlib.sha256()
        while block := conn.recv(1 << 16):
            found.update(block)
        result.append(found.digest())

    async def main(address: Any) -> None:
        sock = await connected(program.loop, address)
        sent = 0
        try:
            while True:
                sent += sock.send(data[sent:])
                await asyncio.sleep(0.01)
        except BlockingIOError:
            pass
        assert 0 < sent < len(data)
        async with imported(program.loop, sock) as (_, writer):
            writer.write(data[sent:])
            go.set()
            writer.write_eof()
            await until(lambda: result)
        assert result == [hashlib.sha256(data).digest()]

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_the_peer_has_ended(program: Program) -> None:
    """CLOSE-WAIT: the answer still goes out."""
    result = []

    def serve(conn: socket.socket) -> None:
        conn.sendall(b"the end")
        conn.shutdown(socket.SHUT_WR)
        result.append(conn.recv(100))

    async def main(address: Any) -> None:
        sock = await connected(program.loop, address)
        await asyncio.sleep(0.05)
        async with imported(program.loop, sock) as (reader, writer):
            assert await reader.read() == b"the end"
            writer.write(b"yes")
        await until(lambda: result)
        assert result == [b"yes"]

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_our_direction_has_ended(program: Program) -> None:
    """FIN-WAIT-2."""

    def serve(conn: socket.socket) -> None:
        assert conn.recv(100) == b""
        time.sleep(0.1)
        conn.sendall(b"late")

    async def main(address: Any) -> None:
        sock = await connected(program.loop, address)
        sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.05)
        async with imported(program.loop, sock) as (reader, _):
            assert await reader.read() == b"late"

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_tls(program: Program) -> None:
    server_context, client_context = tls_contexts()

    def serve(conn: socket.socket) -> None:
        echo_over_tls(conn, server_context)

    async def main(address: Any) -> None:
        sock = await connected(program.loop, address)
        async with imported(program.loop, sock, ssl=client_context, server_hostname="localhost") as (reader, writer):
            for size in (1, 1000, 100_000):
                writer.write(bytes(size))
                assert await reader.readexactly(size) == bytes(size)
                with pytest.raises(OSError, match="its keys are in this process"):
                    writer.transport.return_to_kernel()

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_accepted_by_the_program(program: Program) -> None:
    async def main() -> None:
        loop = program.loop
        with program.link.near.socket(socket.SOCK_STREAM) as listener:
            listener.bind((NEAR, 0))
            listener.listen()
            listener.setblocking(False)
            with program.link.far.socket(socket.SOCK_STREAM) as peer:
                peer.setblocking(False)
                connecting = asyncio.ensure_future(asyncio.to_thread(block_and_connect, peer, listener.getsockname()))
                conn, _ = await loop.sock_accept(listener)
                await connecting
                transport, protocol = await loop.connect_accepted_socket(Echo, conn)
                assert transport.get_extra_info("stack") == "tcpip", kept(loop)
                peer.setblocking(False)
                await loop.sock_sendall(peer, b"hello")
                assert await loop.sock_recv(peer, 100) == b"hello"
                transport.close()
                assert await loop.sock_recv(peer, 100) == b""
                await protocol.lost

    program.run(main())


def block_and_connect(sock: socket.socket, address: Any) -> None:
    sock.setblocking(True)
    sock.connect(address)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


def test_back_to_the_kernel(program: Program) -> None:
    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        transport, protocol = await loop.create_connection(Echo, sock=sock)
        assert transport.get_extra_info("stack") == "tcpip", kept(loop)
        name = transport.get_extra_info("sockname")
        transport.pause_reading()
        transport.write(b"one")
        await until(lambda: loop.stats()["connections"][0]["unread"] == 3)
        back = transport.return_to_kernel()
        with back:
            assert await protocol.lost is None
            assert back.getsockname() == name and back.getpeername() == address
            assert await loop.sock_recv(back, 100) == b"one"
            await loop.sock_sendall(back, b"two")
            assert await loop.sock_recv(back, 100) == b"two"
            assert not loop.stats()["connections"]


def test_there_and_back_and_there(program: Program) -> None:
    """A duplicate of an imported socket's descriptor holds a dead socket."""

    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        for turn in range(5):
            duplicate = sock.dup()
            duplicate.setblocking(False)
            async with imported_for_a_while(loop, sock) as (reader, writer):
                writer.write(b"%d" % turn)
                assert await reader.readexactly(1) == b"%d" % turn
                with duplicate, pytest.raises(OSError):
                    duplicate.send(b"not sent")
                sock = writer.transport.return_to_kernel()
        await loop.sock_sendall(sock, b"x")
        assert await loop.sock_recv(sock, 10) == b"x"
        sock.close()

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


@pytest.mark.parametrize("unusual", ["watched", "zerocopy", "filter"])
def test_unusual_sockets_stay_with_the_kernel(program: Program, unusual: str) -> None:
    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        if unusual == "zerocopy":
            sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        elif unusual == "filter":
            accept_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xFFFFFFFF))  # BPF_RET
            program_of_one = struct.pack("HL", 1, ctypes.addressof(accept_all))
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program_of_one)
        else:
            loop.add_writer(sock, lambda: None)
        with pytest.raises(OSError, match="stays with the kernel"):  # fallback="error"
            await asyncio.open_connection(sock=sock)
        assert sum(kept(loop).values()) == 1
        sock.close()

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


def test_another_interface(program: Program) -> None:
    """A connection that the stack could not carry anyway stays with the kernel, whatever `fallback` says."""

    async def main() -> None:
        left, right = socket.socketpair()
        right.setblocking(False)
        _, writer = await asyncio.open_connection(sock=left)
        assert writer.get_extra_info("stack") == "kernel"
        writer.close()
        right.close()
        listener = socket.create_server(("127.0.0.1", 0))
        sock = await connected(program.loop, listener.getsockname())
        _, writer = await asyncio.open_connection(sock=sock)
        assert writer.get_extra_info("stack") == "kernel"
        assert program.loop.stats()["imports"]["kept"] == {
            "its route does not lead through the interface of the stack": 1
        }
        writer.close()
        listener.close()

    program.run(main())
