"""Sockets that received a datagram before a program of sfloop started still receive it, and the program receives its
own."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from beside import Inbox, Program, arrived, feed_socket, sender
from harness.link import FAR, NEAR, drain

GROUP, OTHER_GROUP = "239.1.1.1", "239.1.1.2"
PORT, COUNT = 5000, 20
BROADCAST = "198.18.7.255"


async def _endpoint(program: Program, sock: socket.socket) -> tuple[Any, list[bytes]]:
    transport, inbox = await program.loop.create_datagram_endpoint(Inbox, sock=sock)
    return transport, inbox.got


def _send(program: Program, to: str, tag: str, port: int = PORT) -> list[bytes]:
    texts = [f"{tag} {i}".encode() for i in range(COUNT)]
    with sender(program.link.far) as made:
        for text in texts:
            made.sendto(text, (to, port))
    return texts


@pytest.mark.parametrize("ours", [GROUP, ""])
@pytest.mark.parametrize("theirs", [GROUP, ""])
def test_members_of_one_group(program: Program, ours: str, theirs: str) -> None:
    """Another socket has joined the group too: it may be bound to either address, and join first or last."""
    near = program.link.near
    before = feed_socket(near, theirs, PORT, GROUP)

    async def main() -> None:
        transport, got = await _endpoint(program, feed_socket(near, ours, PORT, GROUP))
        after = feed_socket(near, theirs, PORT, GROUP)
        texts = _send(program, GROUP, "all")
        assert await arrived(got, COUNT) == texts
        assert drain(before) == texts
        assert drain(after) == texts
        got.clear()
        before.close()
        after.close()
        texts = _send(program, GROUP, "alone")
        assert await arrived(got, COUNT) == texts
        transport.close()
        await asyncio.sleep(0)

    program.run(main())


def test_a_socket_that_comes_later(program: Program) -> None:
    """The socket is bound and joined while the loop does not look, and receives every later datagram."""
    near = program.link.near

    async def main() -> None:
        transport, got = await _endpoint(program, feed_socket(near, GROUP, PORT, GROUP))
        texts = _send(program, GROUP, "first")
        assert await arrived(got, COUNT) == texts
        later = feed_socket(near, GROUP, PORT, GROUP)
        got.clear()
        texts = _send(program, GROUP, "both")
        assert await arrived(got, COUNT) == texts
        assert drain(later) == texts
        later.close()
        transport.close()
        await asyncio.sleep(0)

    program.run(main())


def test_a_group_of_others_alone(program: Program) -> None:
    """Another program's group arrives at the port of a socket of ours, which is bound to any and has joined another
    group."""
    near = program.link.near
    plain = feed_socket(near, GROUP, PORT, GROUP)

    async def main() -> None:
        ours = feed_socket(near, "", PORT, OTHER_GROUP)
        ours.setsockopt(socket.IPPROTO_IP, 49, 0)  # IP_MULTICAST_ALL: only groups that this socket joined
        transport, got = await _endpoint(program, ours)
        theirs, mine = _send(program, GROUP, "theirs"), _send(program, OTHER_GROUP, "mine")
        assert await arrived(got, COUNT) == mine
        assert drain(plain) == theirs
        transport.close()
        await asyncio.sleep(0)

    program.run(main())
    plain.close()


@pytest.mark.parametrize("to", [BROADCAST, "255.255.255.255"])
def test_a_broadcast_has_several_listeners(program: Program, to: str) -> None:
    near, far = program.link.near, program.link.far
    far.ip("route", "add", "255.255.255.255/32", "dev", "veth0")
    plain = feed_socket(near, "", PORT)

    async def main() -> None:
        transport, got = await _endpoint(program, feed_socket(near, "", PORT))
        texts = _send(program, to, "all")
        assert await arrived(got, COUNT) == texts
        assert drain(plain) == texts
        transport.close()
        await asyncio.sleep(0)

    program.run(main())
    plain.close()


def test_the_socket_that_fits_best(program: Program) -> None:
    """The kernel prefers a socket bound to the address, or connected to the sender, to one bound to any."""
    near, far = program.link.near, program.link.far
    bound, connected = feed_socket(near, NEAR, PORT), feed_socket(near, NEAR, PORT + 1)
    with far.udp(PORT + 2) as peer:
        connected.connect((FAR, PORT + 2))

        async def main() -> None:
            made = [await _endpoint(program, feed_socket(near, "", port)) for port in (PORT, PORT + 1)]
            texts = _send(program, NEAR, "bound")
            for i in range(COUNT):
                peer.sendto(b"connected %d" % i, (NEAR, PORT + 1))
            others = _send(program, NEAR, "of others", PORT + 1)
            assert await arrived(made[1][1], COUNT) == others
            assert made[0][1] == []
            assert drain(bound) == texts
            assert drain(connected) == [b"connected %d" % i for i in range(COUNT)]
            for transport, _ in made:
                transport.close()
            await asyncio.sleep(0)

        program.run(main())
    bound.close()
    connected.close()


def test_a_port_that_two_programs_share(program: Program) -> None:
    """SO_REUSEPORT: each datagram reaches one of the two, and both get some."""
    near, far = program.link.near, program.link.far

    def shared() -> socket.socket:
        made = near.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((NEAR, PORT))
        made.setblocking(False)
        return made

    plain = shared()

    async def main() -> None:
        transport, got = await _endpoint(program, shared())
        texts = [b"%d" % i for i in range(64)]
        for text in texts:
            with far.socket() as one:
                one.sendto(text, (NEAR, PORT))
        await arrived(got, 64, 0.3)
        theirs = drain(plain)
        assert sorted(got + theirs) == sorted(texts)
        assert len(got) > 5
        assert len(theirs) > 5
        transport.close()
        await asyncio.sleep(0)

    program.run(main())
    plain.close()


def test_what_is_left_to_the_kernel_is_told(past: Program) -> None:
    near = past.link.near
    plain = feed_socket(near, GROUP, PORT, GROUP)

    async def main() -> None:
        transport, _ = await _endpoint(past, feed_socket(near, "", PORT, GROUP, OTHER_GROUP))
        shared, own = past.flow("udp", GROUP, PORT), past.flow("udp", OTHER_GROUP, PORT)
        assert shared["by"] == "kernel"
        assert "outside this loop" in shared["why"]
        assert "python" in shared["process"] or "pytest" in shared["process"]
        assert own == {"protocol": "udp", "address": OTHER_GROUP, "port": PORT, "by": "driver"}
        assert past.counters()["flows_left_to_kernel"] == 1
        plain.close()
        for _ in range(300):
            await asyncio.sleep(0.01)
            if past.flow("udp", GROUP, PORT)["by"] == "driver":
                break
        assert past.flow("udp", GROUP, PORT)["by"] == "driver"
        assert past.counters()["flows_left_to_kernel"] == 0
        transport.close()
        await asyncio.sleep(0)

    past.run(main())


def test_alone_everything_comes_by_the_driver(past: Program) -> None:
    near = past.link.near

    async def main() -> None:
        transport, got = await _endpoint(past, feed_socket(near, "", PORT, GROUP))
        for to in (GROUP, NEAR, BROADCAST):
            got.clear()
            before = past.counters()["driver"]["rx_frames"]
            texts = _send(past, to, "alone")
            assert await arrived(got, COUNT) == texts
            assert past.counters()["driver"]["rx_frames"] - before == COUNT
        transport.close()
        await asyncio.sleep(0)

    past.run(main())
