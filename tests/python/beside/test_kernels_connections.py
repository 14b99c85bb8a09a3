"""Connections that the kernel began at a server's port stay the kernel's when the driver takes the port (again)."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from beside import Program, opened, running
from hand_tcp import ACK, FIRST, RST, SYN, HandPeer, exchange
from harness.link import INTERFACE, NEAR, Link, Side
from harness.tunnels import TUNNEL, put_tunnel

PORT, PEER_PORT = 7840, 45000
# This program only binds, so the driver leaves the port to the kernel for about a second.
BINDER = f"""
import socket, time
while True:
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(("0.0.0.0", {PORT}))
    time.sleep(1.3)
"""
ALWAYS = 2  # tcp_syncookies


def bind_there(side: Side) -> None:
    with side.socket(socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((NEAR, PORT))


def is_ours(program: Program) -> bool:
    return bool(program.flow("tcp", NEAR, PORT)["by"] == "driver")


async def becomes(holds: Callable[[], bool], limit: float = 4.0) -> None:
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionResetError):
        while data := await reader.read(100):
            writer.write(data)
    writer.close()


async def leave_to_kernel(program: Program) -> None:
    await becomes(lambda: is_ours(program))
    bind_there(program.link.near)
    await becomes(lambda: not is_ours(program))


@contextmanager
def peer_at(link: Link, port: int = PEER_PORT) -> Iterator[HandPeer]:
    """Yield a peer, and reset its connection at the end."""
    peer = HandPeer(link, port)
    peer.to = (NEAR, PORT)
    try:
        yield peer
        peer.send(RST | ACK)
    finally:
        peer.raw.close()


def begin(peer: HandPeer) -> None:
    """Begin a connection; the peer's ACK is yet to come."""
    peer.send(SYN)
    answer = peer.receive()
    assert answer
    assert answer.flags == SYN | ACK
    peer.seq, peer.ack = FIRST + 1, answer.seq + 1


def set_cookies(side: Side, value: int) -> None:
    command = ["ip", "netns", "exec", side.namespace, "sh", "-c", f"echo {value} >/proc/sys/net/ipv4/tcp_syncookies"]
    subprocess.run(command, check=True)


@asynccontextmanager
async def serving() -> AsyncIterator[None]:
    made = await asyncio.start_server(echo, NEAR, PORT, reuse_port=True, backlog=200)
    yield
    made.close()
    await made.wait_closed()


@pytest.mark.parametrize("cookies", [0, ALWAYS], ids=["half open", "cookie"])
def test_a_half_open_connection(past: Program, cookies: int) -> None:
    """Its last ACK arrives after the driver has taken the port again. With a SYN cookie the kernel keeps no state of
    it."""
    set_cookies(past.link.near, cookies)

    async def main() -> None:
        async with serving():
            await leave_to_kernel(past)
            with peer_at(past.link) as peer:
                begin(peer)
                await becomes(lambda: is_ours(past))
                for data in (b"one", b"two", b"three"):
                    await asyncio.to_thread(exchange, peer, data)
                await asyncio.sleep(2.2)
                await asyncio.to_thread(exchange, peer, b"four")

    past.run(main())
    assert past.counters()["tcp_resets_sent"] == 0
    assert past.counters()["tcp_accepted"] == 0


def test_an_established_connection(past: Program) -> None:
    """New connections arrive by the driver beside it, and after its end those from its peer's port too."""

    async def main() -> None:
        async with serving():
            await leave_to_kernel(past)
            with peer_at(past.link) as peer:
                await asyncio.to_thread(peer.connect, (NEAR, PORT))
                await asyncio.to_thread(exchange, peer, b"one")
                await becomes(lambda: is_ours(past))
                await asyncio.to_thread(exchange, peer, b"two")
                assert past.counters()["tcp_accepted"] == 0
                with peer_at(past.link, PEER_PORT + 1) as other:
                    await asyncio.to_thread(other.connect, (NEAR, PORT))
                    await asyncio.to_thread(exchange, other, b"ours")
                    assert past.counters()["tcp_accepted"] == 1
            await asyncio.sleep(0.5)  # the kernel's connection has ended
            with peer_at(past.link) as again:
                await asyncio.to_thread(again.connect, (NEAR, PORT))
                await asyncio.to_thread(exchange, again, b"ours, too")
                assert past.counters()["tcp_accepted"] == 2

    past.run(main())
    assert past.counters()["tcp_resets_sent"] == 0


def test_a_segment_for_nobody_is_reset(past: Program) -> None:
    """The kernel resets it right after the port was the kernel's; later the stack does."""

    async def main() -> None:
        async with serving():
            await leave_to_kernel(past)
            await becomes(lambda: is_ours(past))
            with peer_at(past.link) as peer:
                peer.ack = 77
                for _ in range(2):
                    peer.send(ACK, b"?")
                    assert await asyncio.to_thread(peer.receive) == (77, 0, RST, b"")
                    await asyncio.sleep(2.2)

    past.run(main())
    assert past.counters()["tcp_resets_sent"] == 1


def test_a_syn_that_has_waited(past: Program) -> None:
    """The loop does not run until the peer retransmits its SYN, and another program binds the port meanwhile."""

    async def main() -> None:
        async with serving():
            await becomes(lambda: is_ours(past))
            with peer_at(past.link) as peer:
                peer.send(SYN)
                time.sleep(0.2)
                bind_there(past.link.near)
                begin(peer)
                await asyncio.sleep(0.2)
                for data in (b"one", b"two"):
                    await asyncio.to_thread(exchange, peer, data)

    past.run(main())
    assert past.counters()["tcp_resets_sent"] == 0


def ask(link: Link, until: float) -> Counter[str]:
    """Open one connection after the other, with several messages each; count the answers."""
    found: Counter[str] = Counter()
    while time.monotonic() < until:
        try:
            with link.far.socket(socket.SOCK_STREAM) as made:
                made.connect((NEAR, PORT))
                for number in range(3):
                    made.sendall(b"%d" % number)
                    assert made.recv(100) == b"%d" % number
            found["good"] += 1
        except OSError as error:
            found[type(error).__name__] += 1
    return found


@pytest.mark.parametrize(("driver", "interface"), [("af_xdp", INTERFACE), ("af_xdp", TUNNEL), ("packet", INTERFACE)])
def test_none_is_reset_while_others_bind(link: Link, driver: str, interface: str) -> None:
    if interface != INTERFACE:
        put_tunnel(link)
    with opened(link, driver, interface=interface) as program:

        async def main() -> None:
            async with serving():
                end = time.monotonic() + 5
                counts = await asyncio.gather(*(asyncio.to_thread(ask, link, end) for _ in range(3)))
                assert set(sum(counts, Counter())) == {"good"}, counts

        with running(link.near, BINDER):
            program.run(main())
        assert program.counters()["port_changes"] >= 3
        assert program.counters()["tcp_accepted"] > 0
