"""A connection of which both the stack and the kernel have a record, because its SYNs came by two links.

Each test spells out its segments from the first SYN on, although some steps recur, because their order is the test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from beside import DRIVERS, Program, opened
from hand_tcp import ACK, FIN, FIRST, RST, SYN, HandPeer, Segment, exchange
from two_ways import SECOND, TwoWays

PORT, PEER_PORT = 7841, 45100
LATER = 500_000  # the first sequence number of a later connection


@pytest.fixture(params=DRIVERS)
def program(ways: TwoWays, request: pytest.FixtureRequest) -> Iterator[Program]:
    with opened(ways.link, request.param) as made:
        yield made


class TwoWayPeer(HandPeer):
    """A peer whose frames come by the first link or by the second one."""

    def __init__(self, ways: TwoWays) -> None:
        super().__init__(ways.link, PEER_PORT)
        self.to = (ways.near.address, PORT)
        self.first = (self.raw, self.macs)
        second = ways.far.socket(socket.SOCK_RAW, 0, socket.AF_PACKET)
        second.bind((SECOND, 0))
        self.second = (second, ways.near.mac(SECOND) + ways.far.mac(SECOND))

    def by_second(self, flags: int) -> None:
        """Send a frame that the kernel gets."""
        self.raw, self.macs = self.second
        self.send(flags)
        self.raw, self.macs = self.first

    def begin(self, seq: int, second: bool) -> None:
        """Send a SYN and receive its answer."""
        self.seq, self.ack = seq, 0
        if second:
            self.by_second(SYN)
        else:
            self.send(SYN)
        while answer := self.receive():
            if answer.flags == SYN | ACK and answer.ack == seq + 1:
                break
        assert answer
        self.seq, self.ack = seq + 1, answer.seq + 1


@contextmanager
def peer_of(ways: TwoWays) -> Iterator[TwoWayPeer]:
    peer = TwoWayPeer(ways)
    try:
        yield peer
        peer.send(RST | ACK)
    finally:
        for raw, _ in (peer.first, peer.second):
            raw.close()


@asynccontextmanager
async def serving(stacks: list[str]) -> AsyncIterator[None]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stacks.append(writer.get_extra_info("stack"))
        with suppress(ConnectionResetError):
            while data := await reader.read(100):
                if data == b"end":
                    break
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "0.0.0.0", PORT)
    try:
        yield
    finally:
        server.close()


async def talk(peer: HandPeer) -> None:
    for data in (b"one", b"two"):
        await asyncio.to_thread(exchange, peer, data)


async def next_with(peer: HandPeer, flag: int) -> Segment:
    """Return the next segment to the peer that has the flag."""
    while segment := await asyncio.to_thread(peer.receive):
        if segment.flags & flag:
            return segment
    raise AssertionError("no such segment")


async def ended(peer: HandPeer) -> None:
    """End the connection, the server first and then the peer."""
    peer.send(ACK, b"end")
    peer.seq += len(b"end")
    peer.ack = (await next_with(peer, FIN)).seq + 1
    peer.send(FIN | ACK)


@pytest.mark.parametrize("seq", [FIRST, LATER], ids=["the same SYN again", "a later SYN"])
def test_a_half_open_record_stands_in_nobodys_way(ways: TwoWays, program: Program, seq: int) -> None:
    """The stack has answered the first SYN; the peer takes the kernel's answer to the second one."""
    stacks: list[str] = []

    async def main() -> None:
        async with serving(stacks):
            with peer_of(ways) as peer:
                await asyncio.to_thread(peer.begin, FIRST, False)
                await asyncio.to_thread(peer.begin, seq, True)
                peer.send(ACK)
                await talk(peer)

    program.run(main())
    assert stacks == ["kernel"]
    assert program.counters()["tcp_resets_sent"] == 0


def test_a_record_in_time_wait_stands_in_nobodys_way(ways: TwoWays, program: Program) -> None:
    """The server has closed a connection first; the peer's next one begins by the other link."""
    stacks: list[str] = []

    async def main() -> None:
        async with serving(stacks):
            with peer_of(ways) as peer:
                await asyncio.to_thread(peer.begin, FIRST, False)
                peer.send(ACK)
                await ended(peer)
                await asyncio.sleep(0.1)
                assert stacks == ["tcpip"]
                await asyncio.to_thread(peer.begin, LATER, True)
                peer.send(ACK)
                await talk(peer)

    program.run(main())
    assert stacks == ["tcpip", "kernel"]
    assert program.counters()["tcp_resets_sent"] == 0


def test_a_connection_that_the_peer_has_forgotten_stands_in_nobodys_way(ways: TwoWays, program: Program) -> None:
    stacks: list[str] = []

    async def main() -> None:
        async with serving(stacks):
            with peer_of(ways) as peer:
                for seq, second in ((FIRST, False), (LATER, True)):
                    await asyncio.to_thread(peer.begin, seq, second)
                    peer.send(ACK)
                    await talk(peer)
                assert not program.loop.stats()["connections"]

    program.run(main())
    assert stacks == ["tcpip", "kernel"]
    assert program.counters()["tcp_resets_sent"] == 0


def test_one_of_the_kernels_in_time_wait_speaks_for_no_later_one(ways: TwoWays, program: Program) -> None:
    """The kernel would acknowledge its own sequence numbers, and the peer would retransmit again and again."""
    stacks: list[str] = []

    async def main() -> None:
        async with serving(stacks):
            with peer_of(ways) as peer:
                await asyncio.to_thread(peer.begin, FIRST, True)
                peer.send(ACK)
                await talk(peer)
                await ended(peer)
                answer = await asyncio.to_thread(peer.receive)
                assert answer and not answer.flags & RST
                await asyncio.sleep(0.4)  # the connection has ended, as the stack finds out
                peer.send(FIN | ACK)  # as if the kernel's ACK of it had been lost
                answer = await asyncio.to_thread(peer.receive)
                assert answer and not answer.flags & RST and answer.ack == peer.seq + 1

                await asyncio.to_thread(peer.begin, LATER, False)
                peer.send(ACK)
                await talk(peer)
                peer.send(ACK, b"end")
                peer.seq += len(b"end")
                for _ in range(2):  # data after close() is answered with a reset; the first one seems lost
                    peer.send(ACK, b"more")
                    await next_with(peer, RST)

    program.run(main())
    assert stacks == ["kernel", "tcpip"]


def test_a_connection_that_the_peer_remembers_stays(ways: TwoWays, program: Program) -> None:
    """An attacker who knows neither side's sequence numbers sends a SYN by the other link, and a segment by the first
    one."""
    stacks: list[str] = []

    async def main() -> None:
        async with serving(stacks):
            with peer_of(ways) as peer:
                await asyncio.to_thread(peer.begin, FIRST, False)
                peer.send(ACK)
                await talk(peer)
                known = peer.seq, peer.ack
                peer.seq = LATER
                peer.by_second(SYN)
                await asyncio.sleep(0.1)
                for number in range(5):
                    peer.seq, peer.ack = LATER + 1, number * 1_000_000_000
                    peer.send(ACK)
                    await asyncio.sleep(0.05)
                peer.seq, peer.ack = known
                await talk(peer)
                assert stacks == ["tcpip"]

    program.run(main())
    assert program.counters()["tcp_rx_kernels"] > 0


def test_other_connections_stay_with_the_stack(ways: TwoWays, program: Program) -> None:
    """Meanwhile the kernel has a connection at the server's port whose segments come by the driver's link."""
    stacks: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(stacks):
            for _ in range(24):  # the stack then answers a segment without a connection
                await asyncio.sleep(0.1)
            with peer_of(ways) as peer:
                await asyncio.to_thread(peer.begin, FIRST, True)
                peer.by_second(ACK)
                await talk(peer)
                assert program.flow("tcp", ways.near.address, PORT)["by"] == "driver"
                with ways.far.socket(socket.SOCK_STREAM) as client:
                    client.setblocking(False)
                    await loop.sock_connect(client, (ways.near.address, PORT))
                    await loop.sock_sendall(client, b"ours")
                    assert await loop.sock_recv(client, 100) == b"ours"
                await talk(peer)

    program.run(main())
    assert program.counters()["tcp_rx_no_socket"] == 1
    assert stacks == ["kernel", "tcpip"]
    assert program.counters()["tcp_resets_sent"] == 0
