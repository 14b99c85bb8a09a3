"""loop.sock_recv on descriptors that are closed, reused, duplicated, shared or dropped between two calls.

sfloop leaves a descriptor in the kernel's set after a wait, so each of these could meet a stale entry.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from harness.observed import Run
from harness.recording import Recorder

Pair = tuple[socket.socket, socket.socket]


def new_pair() -> Pair:
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    return a, b


async def receive_after_waiting(sock: socket.socket, peer: socket.socket, data: bytes = b"data") -> None:
    loop = asyncio.get_running_loop()
    reading = asyncio.ensure_future(loop.sock_recv(sock, 100))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    peer.send(data)
    assert await asyncio.wait_for(reading, 5) == data


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0.001)


def test_a_new_socket_of_the_same_number(run: Run) -> None:
    async def main() -> None:
        numbers = set()
        for i in range(20):
            a, b = new_pair()
            numbers.add(b.fileno())
            await receive_after_waiting(b, a, str(i).encode())
            a.close()
            b.close()
        assert len(numbers) < 20

    run(main())


def test_the_old_socket_lives_on_closed(run: Run) -> None:
    async def main() -> None:
        kept = []
        for _ in range(5):
            a, b = new_pair()
            await receive_after_waiting(b, a)
            a.close()
            b.close()
            kept.append((a, b))
        assert all(sock.fileno() == -1 for pair in kept for sock in pair)

    run(main())


def test_a_transport_on_the_socket_next(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        await receive_after_waiting(b, a)
        transport, protocol = await loop.create_connection(Recorder, sock=b)
        a.send(b"to the transport")
        await settle()
        assert bytes(protocol.data) == b"to the transport"
        transport.write(b"answer")
        assert a.recv(100) == b"answer"
        transport.close()
        await protocol.lost
        a.close()

    run(main())


def test_a_transport_of_the_same_number_next(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        number = b.fileno()
        await receive_after_waiting(b, a)
        a.close()
        other, late = new_pair()
        b.close()
        reused = late.dup()
        late.close()
        assert reused.fileno() == number
        reused.setblocking(False)
        transport, protocol = await loop.create_connection(Recorder, sock=reused)
        del b, a  # the first socket's record is dropped while the transport uses its number
        gc.collect()
        other.send(b"still there")
        await settle()
        assert bytes(protocol.data) == b"still there"
        transport.close()
        await protocol.lost
        other.close()

    run(main())


def test_a_duplicate_keeps_the_file_open(run: Run) -> None:
    """epoll goes on reporting the file behind a closed descriptor while a duplicate of it is open."""

    async def main() -> None:
        a, b = new_pair()
        await receive_after_waiting(b, a)
        duplicate = b.dup()
        b.close()
        a.send(b"for the duplicate")
        await settle()
        c, d = new_pair()
        await receive_after_waiting(d, c)
        assert await asyncio.get_running_loop().sock_recv(duplicate, 100) == b"for the duplicate"
        await receive_after_waiting(duplicate, a, b"more")
        for sock in (a, c, d, duplicate):
            sock.close()

    run(main())


def test_data_that_nobody_waits_for_does_not_keep_the_loop_busy(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        a, b = new_pair()
        await receive_after_waiting(b, a)
        a.send(b"later")
        await settle()
        if hasattr(loop, "stats"):
            events = loop.stats()["stacks"]["kernel"]["events"]
            await settle()
            assert loop.stats()["stacks"]["kernel"]["events"] == events
        assert await loop.sock_recv(b, 2) == b"la"
        assert await loop.sock_recv(b, 100) == b"ter"
        await receive_after_waiting(b, a, b"again")
        a.close()
        b.close()

    run(main())


def test_the_peer_hangs_up_when_nobody_waits(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        await receive_after_waiting(b, a)
        a.close()
        await settle()
        assert await loop.sock_recv(b, 100) == b""
        assert await loop.sock_recv(b, 100) == b""
        b.close()

    run(main())


def test_a_reader_of_the_same_socket_next(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        await receive_after_waiting(b, a)
        assert loop.remove_reader(b) is False
        await receive_after_waiting(b, a)
        readable = asyncio.Event()
        loop.add_reader(b, readable.set)
        a.send(b"x")
        await asyncio.wait_for(readable.wait(), 5)
        assert loop.remove_reader(b) is True
        assert b.recv(10) == b"x"
        await receive_after_waiting(b, a)
        a.close()
        b.close()

    run(main())


def test_a_reader_takes_the_place_of_a_call(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        reading = asyncio.ensure_future(loop.sock_recv(b, 100))
        await settle()
        calls = []

        def reader() -> None:
            calls.append(b.recv(100))

        loop.add_reader(b, reader)
        a.send(b"for the reader")
        await settle()
        assert calls == [b"for the reader"]
        assert not reading.done()
        reading.cancel()
        await asyncio.wait([reading])
        a.send(b"again")
        await settle()
        if type(loop).__module__.startswith("sfloop"):  # asyncio's cancellation removes the new reader
            assert calls == [b"for the reader", b"again"]
        loop.remove_reader(b)
        a.close()
        b.close()

    run(main())


@pytest.mark.parametrize("calls", ["sock_recv", "sock_recv_into"])
def test_a_cancelled_call_takes_no_data(run: Run, calls: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        begin: Callable[[], Any] = {
            "sock_recv": lambda: loop.sock_recv(b, 100),
            "sock_recv_into": lambda: loop.sock_recv_into(b, bytearray(100)),
        }[calls]
        for _ in range(3):
            reading = asyncio.ensure_future(begin())
            await asyncio.sleep(0)
            a.send(b"kept")
            reading.cancel()  # the data has arrived, but no iteration has run
            with pytest.raises(asyncio.CancelledError):
                await reading
            await settle()
            assert b.recv(100) == b"kept"
        a.close()
        b.close()

    run(main())


@pytest.mark.sfloop_only("asyncio receives, and loses what it received")
def test_a_closed_coroutine_waits_no_more(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        call: Any = loop.sock_recv(b, 100)
        call.send(None)
        call.close()
        await settle()
        a.send(b"kept")
        await settle()
        assert b.recv(100) == b"kept"
        await receive_after_waiting(b, a)
        a.close()
        b.close()

    run(main())


def test_a_socket_that_is_dropped_is_closed(run: Run) -> None:
    async def main() -> None:
        a, b = new_pair()
        await receive_after_waiting(b, a)
        number = b.fileno()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del b
            gc.collect()
        with pytest.raises(OSError):
            os.fstat(number)
        assert a.recv(10) == b""
        a.close()

    run(main())


def test_datagrams_one_call_each(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair(type=socket.SOCK_DGRAM)
        a.setblocking(False)
        b.setblocking(False)
        for size in (1, 0, 100, 3):
            a.send(bytes(size))
        assert [len(await loop.sock_recv(b, 50)) for _ in range(4)] == [1, 0, 50, 3]
        await loop.sock_sendall(a, b"")
        assert await loop.sock_recv(b, 50) == b""
        a.close()
        b.close()

    run(main())


def test_sizes_of_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()
        assert await loop.sock_recv(b, 0) == b""
        assert await loop.sock_recv_into(b, bytearray()) == 0
        with pytest.raises(ValueError, match="negative"):
            await loop.sock_recv(b, -1)
        with pytest.raises(TypeError):
            await loop.sock_recv(b, "1")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await loop.sock_recv_into(b, b"read-only")  # type: ignore[arg-type]
        with pytest.raises((TypeError, BufferError, ValueError)):
            await loop.sock_recv_into(b, memoryview(b"read-only"))
        with pytest.raises(TypeError):
            await loop.sock_sendall(a, "text")  # type: ignore[arg-type]
        a.close()
        b.close()

    run(main())


def test_sendall_of_wide_items(run: Run) -> None:
    """The data is counted in bytes, for items of any size."""
    import array

    data = array.array("Q", range(200_000))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = new_pair()

        async def receive() -> bytes:
            received = bytearray()
            while len(received) < 1_600_000:
                received += await loop.sock_recv(b, 300_000)
            return bytes(received)

        reading = asyncio.ensure_future(receive())
        await loop.sock_sendall(a, memoryview(data).cast("B"))
        assert await reading == data.tobytes()
        a.close()
        b.close()

    run(main())


def test_a_subclass_with_methods_of_its_own(run: Run) -> None:
    class Shouting(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            return super().recv(size, flags).upper()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, plain = new_pair()
        b = Shouting(fileno=plain.detach())
        b.setblocking(False)
        reading = asyncio.ensure_future(loop.sock_recv(b, 100))
        await asyncio.sleep(0)
        a.send(b"text")
        assert await reading == b"TEXT"
        a.close()
        b.close()

    run(main())
