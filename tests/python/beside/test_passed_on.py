"""A socket that another process holds too, inherited or passed on. The kernel gives both processes their share."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from beside import DRIVERS, Program, arrived, feed_socket, sender, until
from harness.link import FAR, INTERFACE, NEAR, Link
from harness.programs import environment
from prefork import forked_workers
from test_shared_ports import Tag, ask

PORT = 7870

# This plain program accepts, and answers with its name.
ACCEPTS = """
import select, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    select.select([listener], [], [])
    try:
        made, _ = listener.accept()
    except BlockingIOError:
        continue
    made.setblocking(True)
    made.recv(16)
    made.sendall(b"theirs")
    made.close()
"""

# The same program, with a socket received over a UNIX socket.
RECEIVES = (
    """
import socket, sys
us = socket.socket(fileno=int(sys.argv[1]))
_, fds, _, _ = socket.recv_fds(us, 1, 1)
sys.argv[1] = str(fds[0])
"""
    + ACCEPTS
)


def listening(link: Link) -> socket.socket:
    made = link.near.socket(socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((NEAR, PORT))
    made.listen(200)
    made.setblocking(False)
    return made


@contextmanager
def plain(code: str, passed: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", code, str(passed.fileno())], pass_fds=[passed.fileno()])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def asks(link: Link, count: int = 40) -> Counter[str]:
    return await asyncio.to_thread(ask, link, count, PORT)


async def both_are_asked(link: Link) -> None:
    """Each connection is served, and soon some by the other process, which takes a moment to start."""
    found: Counter[str] = Counter()
    for _ in range(50):
        if found["theirs"]:
            return
        await asyncio.sleep(0.05)
        found = await asks(link, 20)
        assert found["ours"] + found["theirs"] == 20, found
    raise AssertionError("the other process gets no connection")


async def comes(holds: Callable[[], bool], limit: float = 5.0) -> bool:
    end = asyncio.get_running_loop().time() + limit
    while not holds():
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(0.02)
    return True


async def check_left(program: Program, protocol: str, process: str) -> None:
    """The kernel has the frames, and describe() gives the reason."""
    if not program.loop.describe()["driver"]:
        await asyncio.sleep(0.2)
        return
    assert await comes(lambda: bool(program.flow(protocol, NEAR, PORT)["by"] == "kernel"))
    flow = program.flow(protocol, NEAR, PORT)
    assert flow["why"] == "another process holds the same socket"
    assert process in flow["process"]


async def check_taken(program: Program, protocol: str) -> None:
    if program.loop.describe()["driver"]:
        assert await comes(lambda: bool(program.flow(protocol, NEAR, PORT)["by"] == "driver"))


@pytest.mark.parametrize("first", [False, True], ids=["later", "before"])
def test_a_program_that_was_given_the_socket(program: Program, first: bool) -> None:
    """The program accepts too, and alone while the loop is busy. The loop takes the port back after the program's
    end."""
    link = program.link

    async def serve(sock: socket.socket) -> asyncio.Server:
        made: asyncio.Server = await program.loop.create_server(lambda: Tag(b"ours"), sock=sock)
        return made

    async def main() -> None:
        sock = listening(link)
        server = None if first else await serve(sock)
        with plain(ACCEPTS, sock) as process:
            server = server or await serve(sock)
            await check_left(program, "tcp", f"({process.pid})")
            await both_are_asked(link)
            assert ask(link, 20, PORT) == {"theirs": 20}  # this loop waits
        await check_taken(program, "tcp")
        assert await asks(link) == {"ours": 40}
        server.close()
        await server.wait_closed()

    program.run(main())


def test_a_program_that_gets_the_socket_by_a_message(program: Program) -> None:
    """SCM_RIGHTS passes it to a process that started long before."""
    link = program.link
    ours, theirs = socket.socketpair()

    async def main() -> None:
        sock = listening(link)
        with plain(RECEIVES, theirs) as process:
            await asyncio.sleep(0.3)
            server = await program.loop.create_server(lambda: Tag(b"ours"), sock=sock)
            assert await asks(link, 10) == {"ours": 10}
            socket.send_fds(ours, [b"x"], [sock.fileno()])
            await check_left(program, "tcp", f"({process.pid})")
            await both_are_asked(link)
            assert ask(link, 20, PORT) == {"theirs": 20}
            server.close()
            await server.wait_closed()

    with ours, theirs:
        program.run(main())


@pytest.mark.parametrize("driver", ["kernel", *DRIVERS])
def test_a_worker_on_asyncio(link: Link, driver: str) -> None:
    """The asyncio worker goes on serving while sfloop's worker is stopped."""
    past = {"driver": driver, "interface": INTERFACE, "fallback": "error"}
    options = {"stack": "kernel"} if driver == "kernel" else past
    with forked_workers(link, PORT, {"theirs": None, "ours": options}) as workers:

        def both() -> bool:
            found = ask(link, 20, PORT)
            assert found["ours"] + found["theirs"] == 20, found
            return found["theirs"] > 0

        assert until(both)
        os.kill(workers["ours"], signal.SIGSTOP)
        assert ask(link, 20, PORT)["theirs"] >= 18


def test_a_udp_socket(program: Program) -> None:
    """The other process reads the datagrams that the loop does not."""
    link = program.link
    code = "import socket, sys, time; made = socket.socket(fileno=int(sys.argv[1])); time.sleep(60)"

    class Box(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append(data)

    got: list[bytes] = []

    async def main() -> None:
        sock = feed_socket(link.near, NEAR, PORT)
        transport, _ = await program.loop.create_datagram_endpoint(Box, sock=sock)
        with plain(code, sock) as process, sender(link.far) as far:
            await check_left(program, "udp", f"({process.pid})")
            for i in range(20):
                far.sendto(b"%d" % i, (NEAR, PORT))
            assert len(await arrived(got, 20)) == 20
        await check_taken(program, "udp")
        transport.close()

    program.run(main())


def test_forked_helpers_cost_nothing(past: Program) -> None:
    """The children of a ProcessPoolExecutor inherit the socket, and do not receive from it."""

    async def main() -> None:
        sock = listening(past.link)
        server = await past.loop.create_server(lambda: Tag(b"ours"), sock=sock)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            await asyncio.gather(*(past.loop.run_in_executor(pool, os.getpid) for _ in range(4)))
            await asyncio.sleep(1.5)
            assert past.flow("tcp", NEAR, PORT)["by"] == "driver"
        server.close()
        await server.wait_closed()

    past.run(main())


def test_a_master_that_serves_as_well(link: Link) -> None:
    """The parent has the socket in its own epoll set, so it is not only a keeper."""
    code = """
import asyncio, os, socket, sys
import sfloop
sock = socket.socket(fileno=int(sys.argv[1]))

async def main():
    async def serve(reader, writer):
        await reader.read(1)
        writer.write(b"ours")
        writer.close()
    await asyncio.start_server(serve, sock=sock)
    os.write(1, bytes([10]))
    await asyncio.Event().wait()

sfloop.run(main(), driver="packet", interface=sys.argv[2], fallback="error", spin="never")
"""
    sock = listening(link)
    with link.near.entered():
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(sock.fileno()), INTERFACE],
            pass_fds=[sock.fileno()],
            stdout=subprocess.PIPE,
            env=environment(),
        )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"theirs")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, sock=sock):
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
            await both_are_asked(link)

    try:
        asyncio.run(main())
    finally:
        process.kill()
        process.communicate()


def test_flows_that_differ_in_their_peer(program: Program) -> None:
    """Both flows are listed, and the connected socket's flow names its peer."""
    link = program.link
    connected = feed_socket(link.near, NEAR, PORT)
    connected.connect((FAR, PORT))

    async def main() -> None:
        made = [
            await program.loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
            for sock in (connected, feed_socket(link.near, "0.0.0.0", PORT))
        ]
        with feed_socket(link.near, NEAR, PORT):
            await asyncio.sleep(0.3)
            flows = [flow for flow in program.loop.describe()["flows"] if flow["address"] == NEAR]
        if program.loop.describe()["driver"]:
            assert [(flow["by"], flow.get("remote")) for flow in flows] == [("kernel", None), ("driver", (FAR, PORT))]
        for transport, _ in made:
            transport.close()

    program.run(main())
