"""Market data and order entry on one loop, on a Solarflare NIC by TCPDirect; the same code on any asyncio loop.

    sfloop run --stack tcpdirect --interface enp1s0f0 --cpu 3 examples/solarflare_trading.py \
        --group 239.192.1.1:26400 --interface enp1s0f0 --gateway 10.1.1.7:9000

Each datagram of the feed that carries the wanted text sends an order. The order's round trip, from the datagram to the
gateway's answer, is printed when the program ends. With ``--exchange`` it plays the other side: it feeds a datagram a
millisecond and acknowledges orders.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import time

import sfloop


class Gateway(asyncio.Protocol):
    """The order connection: one line an order, one line an answer."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.round_trips: list[int] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def order(self, text: bytes, since: int) -> None:
        """Send an order; `since` (ns) is when its reason was seen."""
        if self.transport is not None and not self.transport.is_closing():
            self.sent.append(since)
            self.transport.write(text + b"\n")

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        for _ in range(data.count(b"\n")):
            self.round_trips.append(now - self.sent[len(self.round_trips)])

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


class Feed(asyncio.DatagramProtocol):
    """The market data: what has the wanted text in it is traded on."""

    def __init__(self, gateway: Gateway, wanted: bytes) -> None:
        self.gateway = gateway
        self.wanted = wanted
        self.seen = 0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        now = time.perf_counter_ns()
        self.seen += 1
        if self.wanted in data:
            self.gateway.order(b"BUY " + data, now)


async def trade(arguments: argparse.Namespace, stop: asyncio.Event) -> None:
    """Both connections, until the program is stopped."""
    loop = asyncio.get_running_loop()
    (host, port), (group, feed_port) = arguments.gateway, arguments.group
    _, gateway = await loop.create_connection(Gateway, host, port)
    sock = sfloop.multicast.open_socket(group, feed_port, interface=arguments.interface)
    transport, feed = await loop.create_datagram_endpoint(lambda: Feed(gateway, arguments.wanted.encode()), sock=sock)
    await stop.wait()
    transport.close()
    if gateway.transport is not None:
        gateway.transport.close()
    times = sorted(gateway.round_trips)
    print(f"{feed.seen} datagrams, {len(times)} orders answered", end="")
    print(f", median round trip {statistics.median(times) / 1000:.1f} µs" if times else "")
    if isinstance(loop, sfloop.Loop):
        print(f"on {loop.describe()['stack']}: {loop.describe()['library'] or 'no vendor library'}")


class Exchange(asyncio.Protocol):
    """The gateway's side: each order is acknowledged."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"OK\n" * data.count(b"\n"))


async def exchange(arguments: argparse.Namespace, stop: asyncio.Event) -> None:
    """The other side, until the program is stopped."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Exchange, *arguments.gateway)
    local = (arguments.address, 0) if arguments.address else None  # a group is reached by the interface of the source
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local, arguments.group)
    while not stop.is_set():
        transport.sendto(b"TICK 100.25 x 300")
        await asyncio.sleep(0.001)
    transport.close()
    server.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main() -> None:
    """Reads the command line, and runs one side until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", type=_address, default=("239.192.1.1", 26400), help="of the feed, address:port")
    parser.add_argument("--gateway", type=_address, default=("127.0.0.1", 9000), help="for orders, address:port")
    parser.add_argument("--interface", help="on which the feed is received")
    parser.add_argument("--wanted", default="TICK", help="what a datagram has to contain to be traded on")
    parser.add_argument("--address", help="with --exchange: the feed's source, which says by which interface it goes")
    parser.add_argument("--exchange", action="store_true", help="be the other side")
    parser.add_argument("--seconds", type=float, help="stop by itself")
    arguments = parser.parse_args()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if arguments.seconds is not None:
        loop.call_later(arguments.seconds, stop.set)
    await (exchange if arguments.exchange else trade)(arguments, stop)


if __name__ == "__main__":
    asyncio.run(main())
