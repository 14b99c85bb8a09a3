"""TCP segments that arrive as IP fragments: the kernel reassembles them for the tcpip stack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hand_tcp import ACK, RST, HandPeer
from harness.link import INTERFACE, Link, Side, host_behind
from two_ways import Host, TwoWays, set_ipv4

SIZE = 2000
WHOLE = SIZE + 20


@pytest.fixture(params=["af_xdp-adaptive", "af_xdp-never", "packet-adaptive", "packet-never"])
def host(ways: TwoWays, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(ways, *request.param.split("-"))
    yield made
    made.loop.close()


@pytest.fixture
def behind(ways: TwoWays) -> Iterator[Side]:
    """A host behind a router that fragments packets above 1000 bytes, because the sender permits it."""
    with host_behind(ways.far, "veth2") as host:
        ways.far.ip("route", "change", "198.18.7.0/24", "dev", INTERFACE, "src", ways.far.address, "mtu", "1000")
        ways.near.ip("route", "add", "198.18.9.0/24", "via", ways.far.address)
        set_ipv4(ways.far, "ip_forward", "1")
        set_ipv4(host, "ip_no_pmtu_disc", "1")
        yield host


def fragments_made(side: Side) -> int:
    with side.entered(), open("/proc/thread-self/net/snmp") as file:
        names, values = (line.split() for line in file if line.startswith("Ip:"))
    return int(values[names.index("FragCreates")])


@pytest.mark.parametrize("role", ["client", "server"])
def test_segments_that_a_router_has_cut(ways: TwoWays, host: Host, behind: Side, role: str) -> None:
    router, ways.far = ways.far, behind
    host.run(role, {})
    assert fragments_made(router) > 100
    assert host.counters()["tcp_rx_other_way"] > 0


def serve(host: Host, act: Callable[[HandPeer], bytes]) -> bytes:
    """Return `act`'s result with a peer of an echo of ours."""

    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):  # the peer ends it with a reset
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()
        ended.set()

    async def main() -> bytes:
        server = await asyncio.start_server(echo, host.ways.near.address, 0)
        to = server.sockets[0].getsockname()
        got = await host.loop.run_in_executor(None, lambda: run_peer(to))
        await ended.wait()
        server.close()
        await server.wait_closed()
        return got

    def run_peer(to: tuple[str, int]) -> bytes:
        peer = HandPeer(Link(host.ways.near, host.ways.far), 5555)
        with peer.raw:
            peer.connect(to)
            got = act(peer)
            peer.send(RST | ACK)
        return got

    with host.ways.near.entered():
        return host.loop.run_until_complete(asyncio.wait_for(main(), 20))


def send_until_read(peer: HandPeer, payload: bytes, cuts: tuple[tuple[int, int], ...]) -> bytes:
    """Retransmit as a peer does whose first attempt is not answered."""
    for _ in range(2):
        peer.send(ACK, payload, cuts)
        answer = peer.receive(0.3)
        if answer and answer.ack == peer.seq + len(payload):
            break
    else:
        raise AssertionError("not acknowledged")
    peer.seq += len(payload)
    got = answer.payload
    peer.ack += len(got)
    return got + peer.read(len(payload) - len(got))


def test_fragments_out_of_order_and_lost_ones(host: Host) -> None:
    first, second, third = (bytes([letter]) * SIZE for letter in b"abc")

    def act(peer: HandPeer) -> bytes:
        got = send_until_read(peer, first, ((1600, WHOLE), (800, 1600), (0, 800)))
        peer.send(ACK, second, ((0, 800), (1600, WHOLE)))
        assert peer.receive(0.2) is None
        peer.send(ACK, second, ((0, 800), (800, WHOLE)))
        peer.seq += SIZE
        got += peer.read(SIZE)
        peer.send(ACK, third, ((0, 1200), (1200, WHOLE)))
        peer.seq += SIZE
        return got + peer.read(SIZE)

    assert serve(host, act) == first + second + third
    counters = host.counters()
    assert counters["tcp_resets_kept"] >= 1
    assert counters["tcp_rx_other_way"] == 3
    assert counters["tcp_resets_sent"] == 0


def test_a_reset_that_was_right_is_sent(host: Host) -> None:
    """The connection is not ours, though its port is: the RST tells the peer that there is no such connection."""

    def act(peer: HandPeer) -> bytes:
        seq, ack = peer.seq, peer.ack
        peer.port, peer.ack, peer.seq = 6666, 4242, 777
        peer.send(ACK, b"x" * 100, ((0, 80), (80, 120)))
        segment = peer.receive()
        peer.port, peer.ack, peer.seq = 5555, ack, seq
        assert segment
        return b"%d %d" % (segment.flags, segment.seq)

    assert serve(host, act) == b"4 4242"
    assert host.counters()["tcp_resets_let_go"] == 1
