"""Imports and returns in corners: inside of callbacks, with a bound port, of unusual sockets, before TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Any

import pytest
from harness.loops import until
from imported import connected, echo_over_tls, imported, kept, tls_contexts
from program import Program, echo, kernel_server

FIN_WAIT2 = 5  # include/net/tcp_states.h of Linux
TCP_MD5SIG = 14  # linux/tcp.h
SO_PEEK_OFF = 42  # asm-generic/socket.h


class ReturnsWhenItReceives(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.got = b""
        self.back = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.back.set_result(self.transport.return_to_kernel())


class ReturnsWhenItsBufferIsFilled(ReturnsWhenItReceives, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(5)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


@pytest.mark.parametrize("made", [ReturnsWhenItReceives, ReturnsWhenItsBufferIsFilled])
def test_return_while_data_is_received(program: Program, made: Any) -> None:
    """The protocol has got each byte, or the kernel's socket has it."""

    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        await loop.sock_sendall(sock, b"first second")
        await asyncio.sleep(0.05)
        _, protocol = await loop.create_connection(made, sock=sock)
        with await protocol.back as back:
            await loop.sock_sendall(back, b" third")
            while len(protocol.got) < 18:
                protocol.got += await loop.sock_recv(back, 100)
            assert protocol.got == b"first second third"

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


class ReturnsWhenItMayWrite(asyncio.Protocol):
    def __init__(self) -> None:
        self.back = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def resume_writing(self) -> None:
        if self.transport.get_write_buffer_size() == 0:
            self.back.set_result(self.transport.return_to_kernel())


def test_return_while_the_buffer_is_emptied(program: Program) -> None:
    size, go, received = 8_000_000, threading.Event(), []

    def serve(conn: socket.socket) -> None:
        go.wait(10)
        received.append(0)
        while data := conn.recv(1 << 16):
            received[0] += len(data)

    async def main(address: Any) -> None:
        loop = program.loop
        transport, protocol = await loop.create_connection(ReturnsWhenItMayWrite, sock=await connected(loop, address))
        transport.set_write_buffer_limits(high=0)
        transport.write(bytes(size))
        assert transport.get_write_buffer_size()
        with pytest.raises(RuntimeError, match="write buffer"):
            transport.return_to_kernel()
        go.set()
        (await protocol.back).close()
        while received[0] < size:
            await asyncio.sleep(0.01)

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))
    assert received == [size]


def test_the_port_stays_reserved(program: Program) -> None:
    """The program has bound the socket, without SO_REUSEADDR."""

    async def main(address: Any) -> None:
        loop = program.loop
        sock = program.link.near.socket(socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.bind((program.link.near.address, 0))
        port = sock.getsockname()[1]
        sock.close()
        sock = program.link.near.socket(socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.bind((program.link.near.address, port))
        await loop.sock_connect(sock, address)
        async with imported(loop, sock) as (reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            with program.link.near.socket(socket.SOCK_STREAM) as other, pytest.raises(OSError):
                other.bind((program.link.near.address, port))
        assert not program.counters()["tcp_ports_unreserved"]

    with kernel_server(program.link.far, echo) as address:
        program.run(main(address))


def make_unusual(sock: socket.socket, unusual: str) -> None:
    if unusual == "shut down for reading":
        sock.shutdown(socket.SHUT_RD)
    elif unusual == "a peek offset":
        sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0)
    else:
        peer = struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(sock.getpeername()[0]))
        key = peer + struct.pack("=BBHI80s", 0, 0, 3, 0, b"key")
        sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, key)


@pytest.mark.parametrize("unusual", ["shut down for reading", "a peek offset", "TCP-MD5"])
def test_more_unusual_sockets_stay_with_the_kernel(program: Program, unusual: str) -> None:
    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        make_unusual(sock, unusual)
        with pytest.raises(OSError, match=f"stays with the kernel: .*{unusual}"):  # fallback="error"
            await asyncio.open_connection(sock=sock)
        assert list(kept(loop).values()) == [1]
        sock.close()

    def serve(conn: socket.socket) -> None:
        conn.settimeout(1)  # with keys of TCP-MD5 nothing arrives any more
        with contextlib.suppress(OSError):
            conn.recv(1)  # a FIN of ours would change the state

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_start_tls_later(program: Program) -> None:
    server_context, client_context = tls_contexts()

    def serve(conn: socket.socket) -> None:
        conn.sendall(conn.recv(100))
        echo_over_tls(conn, server_context)

    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        async with imported(loop, sock) as (reader, writer):
            writer.write(b"plain")
            assert await reader.readexactly(5) == b"plain"
            raw = writer.transport
            transport = await loop.start_tls(raw, raw.get_protocol(), client_context, server_hostname="localhost")
            transport.write(b"secret")
            assert await reader.readexactly(6) == b"secret"
            transport.close()

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_urgent_data_that_was_read_before_other_data(program: Program) -> None:
    """The kernel then counts unread bytes up to the place of the urgent one. An import would lose the rest."""

    def serve(conn: socket.socket) -> None:
        conn.sendall(b"before")
        conn.send(b"!", socket.MSG_OOB)
        conn.sendall(b"after")
        with contextlib.suppress(ConnectionResetError):  # the program closes with unread data
            conn.recv(1)

    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        await asyncio.sleep(0.05)
        assert sock.recv(1, socket.MSG_OOB) == b"!"
        with pytest.raises(OSError, match="urgent data"):  # fallback="error"
            await asyncio.open_connection(sock=sock)
        sock.close()

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))


def test_return_after_our_direction_has_ended(program: Program) -> None:
    """FIN-WAIT-2 goes back as FIN-WAIT-2: the peer acknowledges the repeated FIN."""

    def serve(conn: socket.socket) -> None:
        assert conn.recv(100) == b"question"
        assert conn.recv(100) == b""
        done.wait(10)
        conn.sendall(b"late")

    done = threading.Event()

    async def main(address: Any) -> None:
        loop = program.loop
        sock = await connected(loop, address)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
        transport.write(b"question")
        transport.write_eof()
        await until(lambda: loop.stats()["connections"][0]["state"] == "FIN-WAIT-2")
        with transport.return_to_kernel() as back:
            await until(lambda: back.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == FIN_WAIT2)
            done.set()
            assert await loop.sock_recv(back, 100) == b"late"
            assert await loop.sock_recv(back, 100) == b""

    with kernel_server(program.link.far, serve) as address:
        program.run(main(address))
