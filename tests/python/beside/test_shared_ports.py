"""Servers that share a port with other programs, with other loops, and with their own forked workers."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from beside import DRIVERS, Program, in_thread, opened, until
from harness.link import INTERFACE, NEAR, Link
from prefork import forked_workers

PORT = 7800


class Tag(asyncio.Protocol):
    """Answers with its server's name."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.name)
        self.transport.close()


def ask(link: Link, count: int, port: int = PORT) -> Counter[str]:
    """Return the number of connections that each server answered, by clients on the far side."""
    found: Counter[str] = Counter()

    def work() -> None:
        for _ in range(count // 2):
            try:
                with link.far.socket(socket.SOCK_STREAM) as made:
                    made.connect((NEAR, port))
                    made.sendall(b"?")
                    who = made.recv(16).decode() or "end"
            except OSError as error:
                who = type(error).__name__
            found[who] += 1

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@contextmanager
def plain_server(link: Link, name: bytes, reuse_port: bool = True) -> Iterator[None]:
    """Run a server on the near side's kernel sockets, as another program would."""
    listener = link.near.socket(socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
    listener.bind((NEAR, PORT))
    listener.listen(128)
    listener.settimeout(0.1)

    def serve(done: threading.Event) -> None:
        while not done.is_set():
            try:
                made, _ = listener.accept()
            except TimeoutError:
                continue
            with made:
                made.settimeout(2)
                made.recv(16)
                made.sendall(name)

    with listener, in_thread(serve):
        yield


async def server(program: Program, name: bytes) -> asyncio.Server:
    return await program.loop.create_server(lambda: Tag(name), NEAR, PORT, reuse_port=True, backlog=200)


def test_a_plain_program_shares_the_port(program: Program) -> None:
    """Both get some of the connections, none is reset, and after one has ended the other gets all."""
    link = program.link

    async def main() -> None:
        made = await server(program, b"ours")
        assert await asyncio.to_thread(ask, link, 40) == {"ours": 40}
        with plain_server(link, b"theirs"):
            found = await asyncio.to_thread(ask, link, 200)
            assert found["ours"] + found["theirs"] == 200, found
            assert min(found["ours"], found["theirs"]) > 20, found
        assert await asyncio.to_thread(ask, link, 40) == {"ours": 40}
        made.close()
        await made.wait_closed()

    program.run(main())


def test_a_connection_goes_on_when_another_program_comes(past: Program) -> None:
    """The connection came past the kernel, and stays there."""
    link = past.link

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        made = await asyncio.start_server(serve, NEAR, PORT, reuse_port=True)
        client = link.far.socket(socket.SOCK_STREAM)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (NEAR, PORT))
        with plain_server(link, b"theirs"):
            for i in range(50):
                await loop.sock_sendall(client, b"%d" % i)
                assert await asyncio.wait_for(loop.sock_recv(client, 100), 3) == b"%d" % i
                await asyncio.sleep(0.005)
        client.close()
        made.close()
        await made.wait_closed()

    past.run(main())


@pytest.mark.parametrize("driver", DRIVERS)
def test_two_loops_share_the_port(link: Link, driver: str) -> None:
    """On af_xdp the second loop is on the kernel's stack, and names the owner of the interface's XDP program."""
    with opened(link, driver) as first, opened(link, driver, fallback="kernel") as second:

        async def main() -> asyncio.Server:
            return await server(second, b"second")

        other = second.run(main())
        thread = threading.Thread(target=second.loop.run_forever)
        thread.start()

        async def both() -> None:
            made = await server(first, b"first")
            await asyncio.sleep(0.1)
            found = await asyncio.to_thread(ask, link, 200)
            assert found["first"] + found["second"] == 200, found
            assert min(found["first"], found["second"]) > 20, found
            made.close()
            await made.wait_closed()

        try:
            first.run(both())
        finally:
            second.loop.call_soon_threadsafe(other.close)
            second.loop.call_soon_threadsafe(second.loop.call_later, 0.05, second.loop.stop)
            thread.join()
        if driver == "af_xdp":
            reason = second.loop.describe()["reasons"]["tcpip"]
            assert f"process {os.getpid()}" in reason


@pytest.mark.parametrize("driver", DRIVERS)
def test_forked_workers_share_a_listening_socket(link: Link, driver: str) -> None:
    """Each connection is served by one worker, and a second after their start both get some."""
    options = {"driver": driver, "interface": INTERFACE, "fallback": "kernel"}
    with forked_workers(link, PORT, {"first": options, "second": options}):
        found = ask(link, 100)
        assert found["first"] + found["second"] == 100, found

        def spread() -> bool:
            found = ask(link, 40)
            assert found["first"] + found["second"] == 40, found
            return min(found["first"], found["second"]) > 0

        assert until(spread, 8)


def test_an_inherited_listening_socket_goes_on_listening(past: Program) -> None:
    """Its server closes while a connection lasts; the program that passed the socket on still listens."""
    link = past.link
    master = link.near.socket(socket.SOCK_STREAM)
    master.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    master.bind((NEAR, PORT))
    master.listen(16)

    async def main() -> None:
        worker = master.dup()
        worker.setblocking(False)
        came = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.set()
            writer.write(await reader.read(1))
            writer.close()

        made = await asyncio.start_server(serve, sock=worker)
        loop = asyncio.get_running_loop()
        client = link.far.socket(socket.SOCK_STREAM)
        client.setblocking(False)
        await loop.sock_connect(client, (NEAR, PORT))
        await came.wait()
        made.close()
        assert master.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        second = link.far.socket(socket.SOCK_STREAM)
        second.setblocking(False)
        await asyncio.wait_for(loop.sock_connect(second, (NEAR, PORT)), 2)
        await loop.sock_sendall(client, b"x")
        assert await asyncio.wait_for(loop.sock_recv(client, 1), 2) == b"x"
        client.close()
        second.close()
        await made.wait_closed()

    past.run(main())
    accepted, _ = master.accept()
    accepted.close()
    master.close()


def test_the_port_stays_reserved_while_connections_last(past: Program) -> None:
    """After the listener has closed, no program that does not share may bind to the port."""
    link = past.link

    async def main() -> None:
        held: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            await reader.read()
            writer.close()

        made = await asyncio.start_server(serve, NEAR, PORT)
        loop = asyncio.get_running_loop()
        client = link.far.socket(socket.SOCK_STREAM)
        client.setblocking(False)
        await loop.sock_connect(client, (NEAR, PORT))
        while not held:
            await asyncio.sleep(0.01)
        made.close()
        await asyncio.sleep(0.1)
        with link.near.socket(socket.SOCK_STREAM) as other, pytest.raises(OSError, match="in use"):
            other.bind((NEAR, PORT))
        client.close()
        await asyncio.wait_for(made.wait_closed(), 3)

    past.run(main())


def test_an_old_server_drains_beside_a_new_one(link: Link) -> None:
    """A graceful restart: the old server's connections go on. Only packet permits two loops on an interface."""
    with opened(link, "packet") as old, opened(link, "packet") as new:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        async def start() -> asyncio.Server:
            return await asyncio.start_server(serve, NEAR, PORT)

        server_of_old = old.run(start())
        thread = threading.Thread(target=old.loop.run_forever)
        thread.start()
        client = link.far.socket(socket.SOCK_STREAM)
        client.connect((NEAR, PORT))
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        old.loop.call_soon_threadsafe(server_of_old.close)
        time.sleep(0.2)

        async def beside() -> None:
            made = await start()
            for i in range(20):
                await asyncio.sleep(0.1)
                client.sendall(b"%d" % i)
                assert await asyncio.to_thread(client.recv, 100) == b"%d" % i
            made.close()
            await made.wait_closed()

        try:
            new.run(beside())
        finally:
            client.close()
            old.loop.call_soon_threadsafe(old.loop.call_later, 0.1, old.loop.stop)
            thread.join()
