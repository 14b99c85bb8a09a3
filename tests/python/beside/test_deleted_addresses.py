"""An address of the host is deleted for a while: its TCP connections send nothing meanwhile, as the kernel's."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from beside import DRIVERS, Program, opened
from hand_tcp import ACK, FIRST, GHOST, RST, SYN, HandPeer
from harness.link import INTERFACE, Link

MOVING = "198.18.7.91"
PORT = 7845


@pytest.fixture(params=("kernel", *DRIVERS))
def program(link: Link, request: pytest.FixtureRequest) -> Iterator[Program]:
    link.near.ip("address", "add", f"{MOVING}/32", "dev", INTERFACE)
    with opened(link, request.param) as made:
        yield made
    link.near.ip("address", "del", f"{MOVING}/32", "dev", INTERFACE)


async def change(link: Link, verb: str) -> None:
    await asyncio.to_thread(link.near.ip, "address", verb, f"{MOVING}/32", "dev", INTERFACE)
    await asyncio.sleep(0.05)


def packets_from(raw: socket.socket, address: str, seconds: float) -> list[bytes]:
    """Return the IPv4 packets from an address that arrive within some time."""
    found = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            frame = raw.recv(2048)
        except TimeoutError:
            break
        if frame[12:14] == b"\x08\x00" and frame[26:30] == socket.inet_aton(address):
            found.append(frame[14:])
    return found


def test_data_waits_for_the_address(link: Link, program: Program) -> None:
    async def main() -> list[bytes]:
        arrived: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        server = await asyncio.start_server(lambda _, writer: arrived.put_nowait(writer), "0.0.0.0", PORT)
        with closing(server), link.far.socket(socket.SOCK_STREAM) as peer:
            peer.settimeout(10)
            await asyncio.to_thread(peer.connect, (MOVING, PORT))
            writer = await arrived.get()
            writer.write(b"before ")
            assert await asyncio.to_thread(peer.recv, 100) == b"before "
            await change(link, "del")
            with link.far.raw() as raw:
                writer.write(b"while it is missing")
                left = await asyncio.to_thread(packets_from, raw, MOVING, 1.0)
            await change(link, "add")
            assert await asyncio.to_thread(peer.recv, 100) == b"while it is missing"
            writer.transport.abort()
            return left

    assert program.run(main()) == []


def test_a_handshake_waits_for_the_address(link: Link, program: Program) -> None:
    """The peer has not got the first SYN-ACK, and repeats its SYN when the address is back."""

    async def main() -> list[bytes]:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", PORT)
        peer = HandPeer(link, 45120)
        peer.us, peer.to = MOVING, (MOVING, PORT)
        with closing(server), peer.raw:
            peer.send(SYN)
            answer = await asyncio.to_thread(peer.receive)
            assert answer
            await change(link, "del")
            left = await asyncio.to_thread(packets_from, peer.raw, MOVING, 1.3)
            await change(link, "add")
            link.near.ip("neigh", "replace", GHOST, "lladdr", link.far.mac().hex(":"), "dev", INTERFACE)
            peer.send(SYN)
            again = await asyncio.to_thread(peer.receive, 4)
            assert again
            assert (again.flags, again.ack) == (SYN | ACK, FIRST + 1)
            return left

    assert program.run(main()) == []


@pytest.mark.parametrize("program", DRIVERS, indirect=True)
def test_a_route_is_missing_while_a_connection_begins(link: Link, program: Program) -> None:
    """The data of a connection that begins meanwhile leaves when the route is back, in segments that the link carries.
    The kernel's connect() would fail."""
    data = bytes(range(256)) * 20

    async def main() -> None:
        peer = HandPeer(link, 7846)
        peer.us, peer.to = MOVING, (MOVING, 45130)
        peer.options = b"\2\4\5\xb4" + b"\1\1\x08\x0a" + bytes(8)  # an MSS of 1460, and timestamps
        with peer.raw:
            beginning = asyncio.ensure_future(asyncio.open_connection(GHOST, 7846, local_addr=(MOVING, 45130)))
            syn = await asyncio.to_thread(peer.receive)
            assert syn
            await asyncio.to_thread(link.near.ip, "route", "del", "198.18.7.0/24", "dev", INTERFACE)
            await asyncio.sleep(0.05)
            peer.ack = syn.seq + 1
            peer.send(SYN | ACK)
            peer.seq += 1
            _, writer = await beginning
            writer.write(data)
            await asyncio.sleep(0.05)
            near = link.near.address
            await asyncio.to_thread(link.near.ip, "route", "add", "198.18.7.0/24", "dev", INTERFACE, "src", near)
            assert await asyncio.to_thread(peer.read, len(data)) == data
            peer.send(RST | ACK)
            writer.transport.abort()

    program.run(main())
