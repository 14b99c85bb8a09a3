"""Connections are imported at random moments of a conversation, on the kernel and past it. The peer is the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import socket
import struct
import threading
import time
from typing import Any

from imported import connected, imported
from program import Program, kernel_server

#: Connections of the storm: few here; 10,000 for the proof.
STORM = int(os.environ.get("SFLOOP_TEST_IMPORTS", "40"))


def serve_storm(conn: socket.socket) -> None:
    """Read `up` bytes while sending `down` random ones, then send the digest of the former."""
    got = hashlib.sha256()
    (up, down, seed) = struct.unpack("!III", conn.recv(12, socket.MSG_WAITALL))
    data = random.Random(seed).randbytes(down)
    sender = threading.Thread(target=conn.sendall, args=(data,))
    sender.start()
    while up:
        block = conn.recv(1 << 16)
        got.update(block)
        up -= len(block)
    sender.join()
    conn.sendall(got.digest())


async def converse(sock: socket.socket, rng: random.Random, data: bytes, down: int) -> tuple[int, bytes]:
    """A conversation by the program's own calls. Returns the number of bytes sent, and the bytes received."""
    sent, got = 0, b""
    for _ in range(rng.choice((0, 1, 3, 10, 30, 100))):
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(data[sent : sent + rng.randrange(1, 20_000)])
        with contextlib.suppress(BlockingIOError):
            got += sock.recv(rng.randrange(1, 20_000)) if len(got) < down else b""
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    return sent, got


async def end(loop: Any, sock: socket.socket, data: bytes, sent: int, got: bytes, down: int) -> bytes:
    """Send the rest and a FIN by the kernel. Returns the bytes received."""
    while sent < len(data):
        try:
            sent += sock.send(data[sent:])
        except BlockingIOError:
            got += await loop.sock_recv(sock, 1 << 16) if len(got) < down else b""
            await asyncio.sleep(0)
    sock.shutdown(socket.SHUT_WR)
    return got


async def one_of_the_storm(loop: Any, address: Any, rng: random.Random) -> None:
    up, down, seed = rng.randrange(1, 300_000), rng.randrange(1, 300_000), rng.randrange(1 << 32)
    data = rng.randbytes(up)
    sock = await connected(loop, address)
    sock.send(struct.pack("!III", up, down, seed))
    sent, got = await converse(sock, rng, data, down)
    ended = rng.random() < 0.3
    if ended:
        got, sent = await end(loop, sock, data, sent, got, down), up
    async with imported(loop, sock, ended) as (reader, writer):
        writer.write(data[sent:])
        got += await reader.readexactly(down + 32 - len(got))
    assert hashlib.sha256(got[:down]).digest() == hashlib.sha256(random.Random(seed).randbytes(down)).digest()
    assert got[down:] == hashlib.sha256(data).digest()


def test_a_storm(program: Program) -> None:
    """Both directions at full rate, on the kernel first, and taken over at a random moment."""

    async def main(address: Any) -> None:
        seed = int(os.environ.get("SFLOOP_TEST_SEED", time.time_ns() % (1 << 32)))
        print("seed", seed)
        rng = random.Random(seed)
        for _ in range(STORM // 8):
            seeds = [rng.randrange(1 << 32) for _ in range(8)]
            await asyncio.gather(*(one_of_the_storm(program.loop, address, random.Random(each)) for each in seeds))

    with kernel_server(program.link.far, serve_storm) as address:
        program.run(main(address))
    imports = program.loop.describe()["imports"]
    assert imports["imported"] > STORM // 2
    assert set(imports["kept"]) <= {"it is not connected"}  # any more
