"""sock_recv and sock_recvfrom allocate for the data that has arrived, not for the size asked for."""

from __future__ import annotations

import asyncio
import socket
import sys
import tracemalloc
from typing import Any

import pytest
from harness.observed import Run

SIZES = (1, 1000, 16_383, 16_384, 65_535, 65_536, 65_537, 200_000, 1_114_112, 1_114_113, 1 << 30, 1 << 60)
RECVFROM = sys.version_info >= (3, 11)


def pair(kind: int = socket.SOCK_STREAM, room: int = 0) -> tuple[socket.socket, socket.socket]:
    a, b = socket.socketpair(type=kind)
    for sock in (a, b):
        sock.setblocking(False)
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    return a, b


@pytest.mark.sfloop_only("asyncio allocates what is asked for")
@pytest.mark.parametrize("size", SIZES)
def test_a_stream_arrives_whole_whatever_is_asked_for(run: Run, size: int) -> None:
    total = min(3_000_000, size * 100)
    sent = bytes(i * 7 & 0xFF for i in range(1000)) * 3000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair()
        sending = asyncio.ensure_future(loop.sock_sendall(a, sent[:total]))
        received = bytearray()
        while len(received) < total:
            data = await loop.sock_recv(b, size)
            assert 0 < len(data) <= size
            received += data
        await sending
        assert received == sent[:total]
        a.close()
        b.close()

    run(main())


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("length", [10, 65_536, 65_537, 150_000])
@pytest.mark.parametrize("size", [5, 65_536, 65_537, 149_999, 150_000, 1_114_112, 1_114_113, 1 << 21])
def test_a_datagram_is_cut_at_what_is_asked_for(run: Run, size: int, length: int, waits: bool) -> None:
    sent = bytes(i * 11 & 0xFF for i in range(length))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair(socket.SOCK_DGRAM, 1 << 20)
        calls: list[Any] = [loop.sock_recv] + ([loop.sock_recvfrom] if RECVFROM else [])
        for call in calls:
            if not waits:
                a.send(sent)
            receiving = asyncio.ensure_future(call(b, size))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if waits:
                a.send(sent)
            got = await receiving
            assert (got if isinstance(got, bytes) else got[0]) == sent[:size]
        a.close()
        b.close()

    run(main())


@pytest.mark.sfloop_only("asyncio allocates what is asked for")
@pytest.mark.parametrize("waits", [False, True])
def test_nothing_is_allocated_for_what_does_not_come(run: Run, waits: bool) -> None:
    async def receive(call: Any, sock: socket.socket, sender: socket.socket, size: int) -> None:
        receiving = asyncio.ensure_future(call(sock, size))
        if waits:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        sender.send(bytes(1024))
        got = await receiving
        assert got == bytes(1024) or got[0] == bytes(1024)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(type=socket.SOCK_DGRAM) as client:
            udp.bind(("127.0.0.1", 0))
            udp.setblocking(False)
            client.connect(udp.getsockname())
            for made, n in ((pair(), 1 << 26), (pair(socket.SOCK_DGRAM), 1 << 20), ((client, udp), 1 << 26)):
                sender, sock = made
                tracemalloc.start()
                try:
                    for call in [loop.sock_recv] + ([loop.sock_recvfrom] if RECVFROM else []):
                        for _ in range(3):
                            await receive(call, sock, sender, n)
                    assert tracemalloc.get_traced_memory()[1] < 100_000
                finally:
                    tracemalloc.stop()
                sender.close()
                sock.close()

    run(main())


@pytest.mark.skipif(not RECVFROM, reason="sock_recvfrom is new in Python 3.11")
def test_recvfrom_of_nothing_and_of_what_is_wrong(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        a, b = pair(socket.SOCK_DGRAM)
        a.send(b"cut to nothing")
        a.send(b"next")
        assert await loop.sock_recvfrom(b, 0) == (b"", None)
        assert await loop.sock_recvfrom(b, 100) == (b"next", None)
        with pytest.raises(ValueError, match="negative"):
            await loop.sock_recvfrom(b, -1)
        with pytest.raises(TypeError):
            await loop.sock_recvfrom(b, "1")
        a.close()
        b.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await loop.sock_recvfrom(b, 10)

    run(main())


@pytest.mark.skipif(not RECVFROM, reason="sock_recvfrom is new in Python 3.11")
def test_a_cancelled_recvfrom_takes_no_data(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        a, b = pair(socket.SOCK_DGRAM)
        for _ in range(3):
            reading = asyncio.ensure_future(loop.sock_recvfrom(b, 100))
            await asyncio.sleep(0)
            a.send(b"kept")
            reading.cancel()  # the data has arrived, but no iteration has run
            with pytest.raises(asyncio.CancelledError):
                await reading
            await asyncio.sleep(0.002)
            assert b.recv(100) == b"kept"
        a.close()
        b.close()

    run(main())
