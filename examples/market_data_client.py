"""A market-data client: follows a Nasdaq-like feed, keeps order books and sends orders.

It joins a MoldUDP64 multicast feed of TotalView-ITCH 5.0 messages, requests lost messages again, and keeps the price
levels of every stock. After a large trade it sends an OUCH order on a SoupBinTCP connection, from the callback that
received the message, so no queue, task or turn of the loop is in between. It is plain asyncio and runs on any of its
event loops. The exchange for it is ``python -m sfloop.demo.exchange``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import ipaddress
import json
import platform
import socket
import sys
import time
from pathlib import Path
from typing import Any

from market_data.latency import WireLatency
from market_data.moldudp64 import FeedError, Receiver, RequestProtocol
from market_data.order_book import Book, Market
from market_data.order_entry import OrderEntryError, OrderSession

TRIGGER_SHARES = 300
ORDER_SHARES = 100

RECEIVE_BUFFER = 4 * 1024 * 1024
"""The socket buffer to request, in bytes, so that bursts fit. The kernel grants at most net.core.rmem_max."""
SILENCE_SECONDS = 5.0
"""A feed without even a heartbeat for this long counts as dead."""
FINISH_SECONDS = 3.0
"""How long to wait for the last executions, and for the server to close the connection."""


class Client(asyncio.DatagramProtocol):
    """The feed's protocol, and the actions on its messages."""

    def __init__(self, warm_up: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._warm_up = warm_up
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self.requests = RequestProtocol(self._recovered)
        self.market = Market(self._trade)
        self.receiver = Receiver(self._loop, self.market.message, self.requests.send, self._end, self.fail)
        self.latency = WireLatency()
        self.orders: OrderSession
        self._first_received = 0
        self._last_received = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        received = time.time_ns()
        try:
            new = self.receiver.packet(data)
        except (FeedError, ValueError, KeyError) as error:
            self.fail(error)
            return
        self._last_received = received
        if new and self.receiver.expected > self._warm_up:
            self.latency.record(data, received)
        if not self._first_received:
            self._first_received = received

    def _recovered(self, data: bytes) -> None:
        try:
            self.receiver.packet(data, recovered=True)
        except (FeedError, ValueError, KeyError) as error:
            self.fail(error)

    def _trade(self, sequence: int, book: Book, shares: int) -> None:
        """The strategy: after a large trade, join the heavier side of the book before it moves."""
        if shares < TRIGGER_SHARES or book.best_bid is None or book.best_ask is None:
            return
        token = b"T%013d" % sequence
        stock = book.stock.ljust(8).encode()
        if book.bids[book.best_bid][0] >= book.asks[book.best_ask][0]:
            self.orders.send_order(token, b"B", ORDER_SHARES, stock, book.best_ask)
        else:
            self.orders.send_order(token, b"S", ORDER_SHARES, stock, book.best_bid)

    def fail(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)

    def _end(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def watch(self) -> None:
        """Fail if the feed is silent."""
        if self.finished.done():
            return
        if time.time_ns() - self._last_received > SILENCE_SECONDS * 1e9:
            self.fail(FeedError(f"nothing came from the feed for {SILENCE_SECONDS:g} s"))
        self._loop.call_later(1.0, self.watch)

    def start_watching(self) -> None:
        self._last_received = time.time_ns()
        self.watch()

    def feed_seconds(self) -> float:
        """Seconds from the first packet to the last."""
        return (self._last_received - self._first_received) / 1e9


def feed_socket(address: tuple[str, int], interface: str) -> socket.socket:
    """A UDP socket for datagrams to ``address``. Joins the group on ``interface`` if it is a multicast address."""
    host, port = address
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    if ipaddress.ip_address(host).is_multicast:
        membership = socket.inet_aton(host) + socket.inet_aton(interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


async def wait_for_executions(orders: OrderSession) -> None:
    """Wait until every order is executed or rejected, or time is up."""
    deadline = time.monotonic() + FINISH_SECONDS
    while orders.executed + orders.rejected < orders.sent and time.monotonic() < deadline:
        await asyncio.sleep(0.005)


def collect_no_more() -> None:
    """Switch the garbage collector off, because a collection costs more than everything else a message causes.

    Objects that are there by now stay; later ones are freed by their reference counts."""
    gc.collect()
    gc.freeze()
    gc.disable()


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Follow the feed to its end and return the results. Raises FeedError or OrderEntryError if it fails."""
    loop = asyncio.get_running_loop()
    client = Client(arguments.warm_up)
    # Send requests from the feed's interface, because the request server is on the feed's network.
    await loop.create_datagram_endpoint(
        lambda: client.requests, local_addr=(arguments.interface, 0), remote_addr=arguments.requests
    )
    feed, _ = await loop.create_datagram_endpoint(lambda: client, sock=feed_socket(arguments.feed, arguments.interface))
    _, client.orders = await loop.create_connection(
        lambda: OrderSession(arguments.username, arguments.password, arguments.session, client.fail), *arguments.orders
    )
    orders = client.orders
    try:
        collect_no_more()
        await orders.logged_in
        client.start_watching()
        cpu, wall = time.process_time(), time.monotonic()
        await client.finished
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        await wait_for_executions(orders)
        orders.log_out()
        await asyncio.wait_for(orders.closed, FINISH_SECONDS)
    finally:
        client.receiver.close()
        client.requests.close()
        feed.close()
        orders.close()
    latency, negative = client.latency.histogram()
    receiver = client.receiver
    return {
        "loop": f"{type(loop).__module__}.{type(loop).__qualname__}",
        "python": platform.python_version(),
        "messages": receiver.expected - 1,
        "messages_by_type": dict(sorted(client.market.counts().items())),
        "seconds": client.feed_seconds(),
        "cpu": cpu / wall,
        "wire_to_callback": latency,
        "negative_latencies": negative,
        "gaps": receiver.gaps,
        "recovered": receiver.recovered,
        "requests": receiver.requests,
        "duplicates": receiver.duplicates,
        "orders_sent": orders.sent,
        "orders_accepted": orders.accepted,
        "orders_executed": orders.executed,
        "orders_rejected": orders.rejected,
        "digests": client.market.digests(),
    }


def address(text: str) -> tuple[str, int]:
    """HOST:PORT from the command line."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 239.255.42.99:30000")
    return host, int(port)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--feed", type=address, required=True, help="HOST:PORT of the MoldUDP64 feed")
    parser.add_argument("--interface", default="127.0.0.1", help="address of the interface for the feed")
    parser.add_argument("--requests", type=address, required=True, help="HOST:PORT of the MoldUDP64 request server")
    parser.add_argument("--orders", type=address, required=True, help="HOST:PORT of the SoupBinTCP order server")
    parser.add_argument("--username", default="demo")
    parser.add_argument("--password", default="demo")
    parser.add_argument("--session", default="", help="the order session (default: any)")
    parser.add_argument("--warm-up", type=int, default=0, help="messages whose latency does not count")
    parser.add_argument("--result", type=Path, help="file for the results, as JSON (default: standard output)")
    arguments = parser.parse_args()
    try:
        result = json.dumps(asyncio.run(run(arguments)), indent=2)
    except (FeedError, OrderEntryError, ValueError, KeyError, OSError, asyncio.TimeoutError) as error:
        print(f"market_data_client: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if arguments.result:
        arguments.result.write_text(result)
    else:
        print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
