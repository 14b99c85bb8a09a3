"""Asymmetric routes, and routes that move while a connection is up, on the tcpip stack."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from two_ways import Host, TwoWays

AWAY, BACK = 2, 5  # after which chunks


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
    """The first answer is lost; the SYN retransmitted a second later brings another."""
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


def test_a_connection_that_the_kernel_has_accepted_moves_to_the_interface(ways: TwoWays, host: Host) -> None:
    """Its SYN came by the other link, and a reset of ours would end it. Later connections are the stack's again."""
    stacks: list[str] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stacks.append(writer.get_extra_info("stack"))
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, ways.near.address, 0)
        ways.move_far()
        with closing(ways.far.socket(socket.SOCK_STREAM)) as client:
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            for i in range(6):
                await loop.sock_sendall(client, b"%d" % i)
                assert await loop.sock_recv(client, 100) == b"%d" % i
                if i == 2:
                    await loop.run_in_executor(None, ways.move_far_back)
            client.shutdown(socket.SHUT_WR)
            assert not await loop.sock_recv(client, 100)
        while stacks[-1] != "tcpip":
            await asyncio.sleep(0.2)
            with closing(ways.far.socket(socket.SOCK_STREAM)) as client:
                client.setblocking(False)
                await loop.sock_connect(client, server.sockets[0].getsockname())
                await loop.sock_sendall(client, b"again")
                assert await loop.sock_recv(client, 100) == b"again"
        server.close()

    with ways.near.entered():
        host.loop.run_until_complete(asyncio.wait_for(main(), 15))
    assert stacks[0] == "kernel"
    assert host.counters()["tcp_resets_sent"] == 0


def test_datagrams_go_whichever_way_there_is(ways: TwoWays, host: Host) -> None:
    """Datagrams go to and come from a peer whose routes move."""
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
