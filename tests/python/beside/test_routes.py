"""Routes that are not symmetric, and routes that move while a connection is up, on the tcpip stack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from harness.link import unavailable
from two_ways import Host, TwoWays, two_ways

AWAY, BACK = 2, 5  # after which chunks


@pytest.fixture
def ways() -> Iterator[TwoWays]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with two_ways() as made:
        yield made


@pytest.fixture(params=["af_xdp-adaptive", "packet-never"])
def host(ways: TwoWays, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(ways, *request.param.split("-"))
    yield made
    made.loop.close()


def test_the_way_back_is_another_one_from_the_first_syn_on(ways: TwoWays, host: Host) -> None:
    ways.move_near()
    host.run("server", {})
    counters = host.counters()
    assert counters["tcp_tx_other_way"] > 0


def test_the_peers_answer_to_a_syn_comes_another_way(ways: TwoWays, host: Host) -> None:
    """The first answer is lost; the SYN that is sent again a second later brings another."""
    ways.move_far()
    host.run("client", {})
    counters = host.counters()
    assert counters["tcp_resets_kept"] > 0
    assert counters["tcp_rx_other_way"] > 0


@pytest.mark.parametrize("role", ["client", "server"])
def test_our_route_moves_away_and_back(ways: TwoWays, host: Host, role: str) -> None:
    host.run(role, {AWAY: ways.move_near, BACK: ways.move_near_back})
    assert host.counters()["tcp_tx_other_way"] > 0


@pytest.mark.parametrize("role", ["client", "server"])
def test_the_peers_route_moves_away_and_back(ways: TwoWays, host: Host, role: str) -> None:
    host.run(role, {AWAY: ways.move_far, BACK: ways.move_far_back})
    counters = host.counters()
    assert counters["tcp_rx_other_way"] > 0
    assert counters["tcp_resets_kept"] > 0
    assert counters["tcp_tx_other_way"] == 0


@pytest.mark.parametrize("role", ["client", "server"])
def test_both_routes_move_for_good(ways: TwoWays, host: Host, role: str) -> None:
    def move() -> None:
        ways.move_near()
        ways.move_far()

    host.run(role, {AWAY: move})
    counters = host.counters()
    assert counters["tcp_rx_other_way"] > 0
    assert counters["tcp_tx_other_way"] > 0


def test_datagrams_go_whichever_way_there_is(ways: TwoWays, host: Host) -> None:
    """To and from a peer whose routes move."""
    got: list[bytes] = []

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: object) -> None:
            got.append(data)

    async def main() -> None:
        transport, _ = await host.loop.create_datagram_endpoint(Protocol, (ways.near.address, 0))
        to = transport.get_extra_info("sockname")
        for i, move in enumerate((None, ways.move_near, ways.move_far, ways.move_near_back, ways.move_far_back)):
            if move:
                await host.loop.run_in_executor(None, move)
            await asyncio.sleep(0.05)
            transport.sendto(b"%d" % i, peer.getsockname())
            assert await host.loop.run_in_executor(None, peer.recv, 100) == b"%d" % i
            peer.sendto(b"%d" % i, to)
            while len(got) <= i:
                await asyncio.sleep(0.01)
        transport.close()

    with ways.far.udp() as peer, ways.near.entered():
        host.loop.run_until_complete(asyncio.wait_for(main(), 10))
    assert got == [b"%d" % i for i in range(5)]
