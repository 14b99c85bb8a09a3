"""Two hosts joined by two links, and a connection with bulk data both ways while routes move between the links."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.link import INTERFACE, Link, Side, made_link

import sfloop

SECOND = "veth1"
CHUNKS, CHUNK = 8, 256 << 10
PATIENCE = 20  # seconds for a connection
Move = Callable[[], None]


def set_ipv4(side: Side, setting: str, value: str) -> None:
    with side.entered():
        Path(f"/proc/sys/net/ipv4/{setting}").write_text(value)


class TwoWays:
    """`near` has the driver, on the first link."""

    def __init__(self, link: Link) -> None:
        self.link, self.near, self.far = link, link.near, link.far
        self.near.ip("link", "add", SECOND, "type", "veth", "peer", "name", SECOND, "netns", self.far.namespace)
        for side, address in ((self.near, "198.18.8.1"), (self.far, "198.18.8.2")):
            side.ip("address", "add", f"{address}/24", "dev", SECOND)
            side.ip("link", "set", SECOND, "up")
            for name in ("all", INTERFACE, SECOND):  # as for any host with asymmetric routes
                set_ipv4(side, f"conf/{name}/rp_filter", "0")

    def move_near(self) -> None:
        """Send the near side's packets by the second link."""
        self.near.ip("route", "add", self.far.address, "via", "198.18.8.2", "dev", SECOND, "src", self.near.address)

    def move_near_back(self) -> None:
        self.near.ip("route", "del", self.far.address, "dev", SECOND)

    def move_far(self) -> None:
        """Send the far side's packets by the second link."""
        self.far.ip("route", "add", self.near.address, "via", "198.18.8.1", "dev", SECOND, "src", self.far.address)

    def move_far_back(self) -> None:
        self.far.ip("route", "del", self.near.address, "dev", SECOND)


@contextmanager
def two_ways() -> Iterator[TwoWays]:
    with made_link() as link:
        yield TwoWays(link)


class Peer:
    """
    The far side of one connection: the kernel's socket, in a thread. It sends a chunk of `data` for each that it has
    received, and one more.
    """

    def __init__(self, sock: socket.socket, data: bytes, connect_to: tuple[str, int] | None) -> None:
        self.sock, self.data, self.connect_to = sock, data, connect_to
        self.received, self.error = b"", ""
        self.progress = threading.Semaphore()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            self.sock.settimeout(PATIENCE)
            if self.connect_to:
                self.sock.connect(self.connect_to)
                conn = self.sock
            else:
                conn, _ = self.sock.accept()
            with conn:
                self.exchange(conn)
        except OSError as error:
            self.error = repr(error)
        finally:
            self.sock.close()

    def exchange(self, conn: socket.socket) -> None:
        conn.settimeout(PATIENCE)
        sending = threading.Thread(target=self.send, args=(conn,))
        sending.start()
        found, count = hashlib.sha256(), 0
        try:
            while piece := conn.recv(1 << 16):
                found.update(piece)
                for _ in range((count + len(piece)) // CHUNK - count // CHUNK):
                    self.progress.release()
                count += len(piece)
            self.received = found.digest()
        finally:
            sending.join()

    def send(self, conn: socket.socket) -> None:
        try:
            for i in range(CHUNKS):
                assert self.progress.acquire(timeout=PATIENCE)
                conn.sendall(self.data[i * CHUNK : (i + 1) * CHUNK])
            conn.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = repr(error)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, moves: dict[int, Move]
) -> bytes:
    """
    Send `data` in chunks, one for each received one, and make moves with some of them under way. Return the hash of the
    received data.
    """
    loop = asyncio.get_running_loop()
    found = hashlib.sha256()
    progress = asyncio.Semaphore(1)

    async def read() -> None:
        count = 0
        while piece := await reader.read(1 << 16):
            found.update(piece)
            for _ in range((count + len(piece)) // CHUNK - count // CHUNK):
                progress.release()
            count += len(piece)

    reading = loop.create_task(read())
    for i in range(CHUNKS):
        await progress.acquire()
        writer.write(data[i * CHUNK : (i + 1) * CHUNK])
        if i in moves:
            await loop.run_in_executor(None, moves[i])
    writer.write_eof()
    await reading
    writer.close()
    await writer.wait_closed()
    return found.digest()


class Host:
    """sfloop on the near side."""

    def __init__(self, ways: TwoWays, driver: str, spin: str) -> None:
        self.ways = ways
        options = sfloop.Options(driver=driver, interface=INTERFACE, spin=spin, fallback="error")  # type: ignore[arg-type]
        with ways.near.entered():
            self.loop = sfloop.Loop(options)

    def counters(self) -> dict[str, Any]:
        found: dict[str, Any] = self.loop.stats()["stacks"]["tcpip"]
        return found

    def run(self, role: str, moves: dict[int, Move], seed: int = 1) -> None:
        """Run one connection, as client or as server, and check that all data arrives unchanged."""
        ours, theirs = (random.Random(seed + i).randbytes(CHUNKS * CHUNK) for i in range(2))
        with self.ways.near.entered():
            main = self.connect if role == "client" else self.serve
            got, peer = self.loop.run_until_complete(asyncio.wait_for(main(ours, theirs, moves), PATIENCE))
            # The stack runs while its loop does.
            self.loop.run_until_complete(self.loop.run_in_executor(None, peer.thread.join))
        assert not peer.error, peer.error
        assert got == hashlib.sha256(theirs).digest()
        assert peer.received == hashlib.sha256(ours).digest()

    async def connect(self, ours: bytes, theirs: bytes, moves: dict[int, Move]) -> tuple[bytes, Peer]:
        listener = self.ways.far.socket(socket.SOCK_STREAM)
        listener.bind((self.ways.far.address, 0))
        listener.listen()
        address = listener.getsockname()
        peer = Peer(listener, theirs, None)
        reader, writer = await asyncio.open_connection(*address)
        assert writer.get_extra_info("stack") == "tcpip"
        return await exchange(reader, writer, ours, moves), peer

    async def serve(self, ours: bytes, theirs: bytes, moves: dict[int, Move]) -> tuple[bytes, Peer]:
        done: asyncio.Future[bytes] = self.loop.create_future()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert writer.get_extra_info("stack") == "tcpip"
            done.set_result(await exchange(reader, writer, ours, moves))

        server = await asyncio.start_server(handle, self.ways.near.address, 0)
        client = self.ways.far.socket(socket.SOCK_STREAM)
        peer = Peer(client, theirs, server.sockets[0].getsockname())
        got = await done
        server.close()
        return got, peer
