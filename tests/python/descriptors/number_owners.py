"""The two sides of test_number_reuse.py: what waits for an old file, and who has its number next."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from harness.loops import until
from harness.recording import Recorder, keeping

Loop = Any

HELLO = b"for the new owner"


def non_blocking(*socks: socket.socket) -> None:
    for sock in socks:
        sock.setblocking(False)


def moved(sock: socket.socket, number: int) -> socket.socket:
    """Return the same socket under the free descriptor `number`."""
    at = sock.detach()
    if at != number:
        os.dup2(at, number, inheritable=False)
        os.close(at)
    again = socket.socket(fileno=number)
    again.setblocking(False)
    return again


def new_pair(number: int, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    a, b = socket.socketpair(type=kind)
    if b.fileno() == number:
        a, b = b, a
    b.setblocking(False)
    return moved(a, number), b


Old = tuple[socket.socket, "asyncio.Future[Any] | None", list[socket.socket]]


def waiting(loop: Loop, sock: socket.socket, call: Awaitable[Any], *others: socket.socket) -> Old:
    return sock, asyncio.ensure_future(call), list(others)


def old_recv(loop: Loop) -> Old:
    a, b = socket.socketpair()
    non_blocking(a)
    return waiting(loop, a, loop.sock_recv(a, 1000), b)


def old_recv_large(loop: Loop) -> Old:
    a, b = socket.socketpair()
    non_blocking(a)
    return waiting(loop, a, loop.sock_recv(a, 1 << 20), b)


def old_recv_into(loop: Loop) -> Old:
    a, b = socket.socketpair()
    non_blocking(a)
    return waiting(loop, a, loop.sock_recv_into(a, bytearray(1000)), b)


def old_recvfrom(loop: Loop) -> Old:
    a, b = socket.socketpair(type=socket.SOCK_DGRAM)
    non_blocking(a)
    return waiting(loop, a, loop.sock_recvfrom(a, 1000), b)


def old_recvfrom_into(loop: Loop) -> Old:
    a, b = socket.socketpair(type=socket.SOCK_DGRAM)
    non_blocking(a)
    return waiting(loop, a, loop.sock_recvfrom_into(a, bytearray(1000)), b)


def old_sendall(loop: Loop) -> Old:
    a, b = socket.socketpair()
    non_blocking(a)
    return waiting(loop, a, loop.sock_sendall(a, bytes(4_000_000)), b)


def old_sendto(loop: Loop) -> Old:
    a, b = socket.socketpair(type=socket.SOCK_DGRAM)
    non_blocking(a)
    with contextlib.suppress(BlockingIOError):
        while True:
            a.send(bytes(1000))
    c = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    c.bind(b"\0sfloop-test-%d-%d" % (os.getpid(), a.fileno()))
    a.close()
    d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    non_blocking(d)
    with contextlib.suppress(BlockingIOError):
        while True:
            d.sendto(bytes(1000), c.getsockname())
    return waiting(loop, d, loop.sock_sendto(d, b"late", c.getsockname()), b, c)


def old_accept(loop: Loop) -> Old:
    listener = socket.create_server(("127.0.0.1", 0))
    non_blocking(listener)
    return waiting(loop, listener, loop.sock_accept(listener))


def old_connect(loop: Loop) -> Old:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fill = [socket.socket() for _ in range(3)]
    non_blocking(*fill)
    for sock in fill:
        sock.connect_ex(listener.getsockname())
    a = socket.socket()
    non_blocking(a)
    return waiting(loop, a, loop.sock_connect(a, listener.getsockname()), listener, *fill)


def stale(*_: Any) -> None:
    raise AssertionError("a callback for the old file was run")


def old_reader(loop: Loop) -> Old:
    a, b = socket.socketpair()
    loop.add_reader(a, stale)
    return a, None, [b]


def old_reader_by_number(loop: Loop) -> Old:
    a, b = socket.socketpair()
    loop.add_reader(a.fileno(), stale)
    return a, None, [b]


def old_writer(loop: Loop) -> Old:
    a, b = socket.socketpair()
    non_blocking(a)
    with contextlib.suppress(BlockingIOError):
        while True:
            a.send(bytes(100_000))
    loop.add_writer(a, stale)
    return a, None, [b]


OLD = [
    old_recv,
    old_recv_large,
    old_recv_into,
    old_sendall,
    old_accept,
    old_connect,
    old_reader,
    old_reader_by_number,
    old_writer,
]

New = Callable[[Loop, int], Awaitable[None]]


async def new_recv(loop: Loop, number: int) -> None:
    a, b = new_pair(number)
    reading = asyncio.ensure_future(loop.sock_recv(a, 100))
    await asyncio.sleep(0.002)
    b.send(HELLO)
    assert await asyncio.wait_for(reading, 5) == HELLO
    b.send(HELLO)  # no call waits for it
    await asyncio.sleep(0.002)
    assert await asyncio.wait_for(loop.sock_recv(a, 100), 5) == HELLO
    a.close()
    b.close()


async def new_recv_of_what_is_there(loop: Loop, number: int) -> None:
    a, b = new_pair(number)
    b.send(HELLO)
    assert await asyncio.wait_for(loop.sock_recv(a, 100), 5) == HELLO
    a.close()
    b.close()


async def new_sendall_then_recv(loop: Loop, number: int) -> None:
    a, b = new_pair(number)
    sending = asyncio.ensure_future(loop.sock_sendall(a, bytes(3_000_000)))
    b.send(HELLO)
    received = 0
    while received < 3_000_000:
        await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            received += len(b.recv(1 << 20))
    await asyncio.wait_for(sending, 5)
    assert await asyncio.wait_for(loop.sock_recv(a, 100), 5) == HELLO
    a.close()
    b.close()


async def new_writer(loop: Loop, number: int) -> None:
    a, b = new_pair(number)
    writable = asyncio.Event()
    loop.add_writer(a, writable.set)
    b.send(HELLO)
    await asyncio.wait_for(writable.wait(), 5)
    await asyncio.sleep(0.002)
    loop.remove_writer(a)
    assert a.recv(100) == HELLO
    a.close()
    b.close()


async def new_transport(loop: Loop, number: int) -> None:
    a, b = new_pair(number)
    transport, protocol = await loop.create_connection(Recorder, sock=a)
    b.send(HELLO)
    await until(lambda: len(protocol.data) >= len(HELLO))
    assert bytes(protocol.data) == HELLO
    transport.write(b"answer")
    assert b.recv(100) == b"answer"
    transport.close()
    await protocol.lost
    b.close()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append(data)


async def new_datagram_transport(loop: Loop, number: int) -> None:
    a = moved(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), number)
    a.bind(("127.0.0.1", 0))
    address = a.getsockname()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=a)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
        b.sendto(HELLO, address)
    await until(lambda: bool(protocol.received))
    assert protocol.received == [HELLO]
    transport.close()
    await asyncio.sleep(0)


async def new_server(loop: Loop, number: int) -> None:
    listener = moved(socket.create_server(("127.0.0.1", 0)), number)
    made, factory = keeping(Recorder)
    server = await loop.create_server(factory, sock=listener)
    with socket.create_connection(server.sockets[0].getsockname()) as b:
        b.send(HELLO)
        await until(lambda: any(protocol.data for protocol in made))
        assert [bytes(protocol.data) for protocol in made] == [HELLO]
    await made[0].lost
    server.close()
    await server.wait_closed()


async def new_pipe(loop: Loop, number: int) -> None:
    r, w = os.pipe()
    if r != number:
        spare = os.dup(w) if w == number else None
        if spare is not None:
            os.close(w)
            w = spare
        os.dup2(r, number)
        os.close(r)
    transport, protocol = await loop.connect_read_pipe(PipeReader, os.fdopen(number, "rb", 0))
    os.write(w, HELLO)
    await until(lambda: len(protocol.data) >= len(HELLO))
    assert bytes(protocol.data) == HELLO
    transport.close()
    os.close(w)
    await asyncio.sleep(0)


class PipeReader(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = bytearray()

    def data_received(self, data: bytes) -> None:
        self.data += data


async def new_eventfd(loop: Loop, number: int) -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)
    counts: list[int] = []
    loop.add_reader(number, lambda: counts.append(os.eventfd_read(number)))
    os.eventfd_write(number, 7)
    await until(lambda: bool(counts))
    assert counts == [7]
    assert loop.remove_reader(number)
    os.close(number)


async def new_and_not_the_loops(loop: Loop, number: int) -> None:
    """Open a file that the loop never hears of."""
    a, b = new_pair(number)
    b.send(HELLO)
    await asyncio.sleep(0.005)
    assert a.recv(100) == HELLO
    a.close()
    b.close()


NEW: list[New] = [
    new_recv,
    new_recv_of_what_is_there,
    new_sendall_then_recv,
    new_writer,
    new_transport,
    new_datagram_transport,
    new_server,
    new_pipe,
    new_eventfd,
    new_and_not_the_loops,
]
