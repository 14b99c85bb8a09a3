"""Connected pairs: a server's and a client's protocol on loopback, or a protocol and a plain socket as its peer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from .loops import until
from .recording import DatagramRecorder, Recorder, keeping
from .zf import KERNEL_HOST

S = TypeVar("S", bound=Recorder)
C = TypeVar("C", bound=Recorder)
D = TypeVar("D", bound=DatagramRecorder)


async def finished(*protocols: Recorder) -> None:
    """Abort the open transports and wait for each connection_lost()."""
    for protocol in protocols:
        if protocol.made.done() and not protocol.lost.done():
            protocol.transport.abort()
            await asyncio.wait_for(asyncio.shield(protocol.lost), 5)


@contextlib.asynccontextmanager
async def tcp_pair(
    server_protocol: Callable[[], S],
    client_protocol: Callable[[], C],
    server_options: dict[str, Any] | None = None,
    client_options: dict[str, Any] | None = None,
) -> AsyncIterator[tuple[S, C]]:
    """(server's protocol, client's protocol) of a TCP connection on 127.0.0.1. Both are closed at the end of the
    block."""
    loop = asyncio.get_running_loop()
    made, factory = keeping(server_protocol)
    server = await loop.create_server(factory, "127.0.0.1", 0, **server_options or {})
    address = server.sockets[0].getsockname()
    try:
        _, client = await loop.create_connection(client_protocol, *address, **client_options or {})
        await until(lambda: made and made[0].made.done())
        try:
            yield made[0], client
        finally:
            await finished(client, made[0])
    finally:
        server.close()
        await server.wait_closed()


async def answer_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line in upper case, and close after the last one."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sizes: Iterable[int]) -> None:
    """Send random data of each size to an echo server, and close in order."""
    for size in sizes:
        data = random.Random(size).randbytes(size)
        writer.write(data)
        assert await reader.readexactly(size) == data
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def short_exchange(address: tuple[str, int], text: bytes) -> None:
    """A connection to an echo server for one message."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(text)
    assert await reader.read(100) == text
    writer.close()
    await writer.wait_closed()


def small_buffers(sock: Any, size: int = 4096) -> None:
    """Use small buffers, so that the connection fills up soon."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def reset_on_close(sock: Any) -> None:
    """Let close() of this socket send RST instead of FIN (SO_LINGER with zero seconds)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.asynccontextmanager
async def facing_socket(
    protocol: Callable[[], C], *, receive_buffer: int | None = None
) -> AsyncIterator[tuple[C, socket.socket]]:
    """A client protocol on the loop and its TCP peer, a plain non-blocking socket that nothing reads."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        if receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind((KERNEL_HOST, 0))
        listener.listen()
        _, client = await loop.create_connection(protocol, *listener.getsockname())
        peer, _ = listener.accept()
    peer.setblocking(False)
    try:
        yield client, peer
    finally:
        peer.close()
        await finished(client)


def read_all_available(sock: socket.socket) -> bytes:
    """Read all data that a non-blocking socket has now."""
    data = b""
    while True:
        try:
            chunk = sock.recv(1 << 20)
        except BlockingIOError:
            return data
        if not chunk:
            return data
        data += chunk


def at_eof(sock: socket.socket) -> bool:
    """Whether the peer has sent FIN and all data before it has been read."""
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that is free on all addresses. It is below the kernel's ephemeral ports, which tests that run at the same
    time use."""
    given_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(given_out // 2, given_out), 100):
        with socket.socket(socket.AF_INET6, kind) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            with contextlib.suppress(OSError):
                sock.bind(("::", port))
                return port
    raise AssertionError(f"none of 100 ports below {given_out} is free")


@contextlib.asynccontextmanager
async def udp(protocol: Callable[[], D], **options: Any) -> AsyncIterator[D]:
    """A datagram endpoint, closed at the end of the block. Without options it is bound to a free port of 127.0.0.1."""
    if not options:
        options = {"local_addr": ("127.0.0.1", 0)}
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(protocol, **options)
    try:
        yield made
    finally:
        if not made.lost.done():
            transport.abort()
            await asyncio.wait_for(asyncio.shield(made.lost), 5)


def address_of(protocol: DatagramRecorder) -> Any:
    """The local address of an endpoint."""
    return protocol.transport.get_extra_info("sockname")
