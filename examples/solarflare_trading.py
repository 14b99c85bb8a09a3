"""Market data and order entry on one loop, on a Solarflare NIC by TCPDirect. The same code runs on any asyncio loop.

    sfloop run --stack tcpdirect --interface enp1s0f0 --cpu 3 examples/solarflare_trading.py \
        --group 239.192.1.1:26400 --interface enp1s0f0 --gateway 10.1.1.7:9000

The program sends an order for each datagram of the feed that carries the wanted text, and prints the orders' round
trips, from the datagram to the gateway's answer, when it ends. With ``--exchange`` it is the exchange: it sends a
datagram each millisecond and acknowledges orders.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import time

import sfloop


class Gateway(asyncio.Protocol):
    """The order connection: one line for each order, one line for each answer."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.round_trips: list[int] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def order(self, text: bytes, since: int) -> None:
        """Send an order; `since` (ns) is the time at which its datagram arrived."""
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
    """The market data: each datagram with the wanted text sends an order."""

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
    """Open both connections and keep them until the program is stopped."""
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
    """The gateway's side: acknowledges each order."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"OK\n" * data.count(b"\n"))


async def exchange(arguments: argparse.Namespace, stop: asyncio.Event) -> None:
    """Feed and acknowledge until the program is stopped."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Exchange, *arguments.gateway)
    local = (arguments.address, 0) if arguments.address else None  # the source's interface sends the group's datagrams
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
    """Read the command line, and run one side until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--group", type=_address, default=("239.192.1.1", 26400), help="the feed's multicast group, address:port"
    )
    parser.add_argument(
        "--gateway", type=_address, default=("127.0.0.1", 9000), help="the server for orders, address:port"
    )
    parser.add_argument("--interface", help="the interface that receives the feed")
    parser.add_argument(
        "--wanted", default="TICK", help="send an order for a datagram with this text (default: %(default)s)"
    )
    parser.add_argument("--address", help="with --exchange: the feed's source address, which selects the interface")
    parser.add_argument("--exchange", action="store_true", help="be the exchange: send the feed, acknowledge orders")
    parser.add_argument("--seconds", type=float, help="stop after this time (default: at SIGINT or SIGTERM)")
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
