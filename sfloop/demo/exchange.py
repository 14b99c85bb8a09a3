"""The exchange simulator, a separate process: ``python -m sfloop.demo.exchange``.

It publishes market data, answers retransmission requests and takes orders, on plain non-blocking sockets in one
spinning loop. So it sends on time and measures arrivals at once, whichever loop the client uses. With ``--wire`` the
traffic goes over a shared-memory wire instead.

It prints one line of JSON when it is ready, with its addresses, and begins when a client has logged in. It writes the
expected results of the client, and the times of its orders, to the file ``--result``.
"""

from __future__ import annotations

import argparse
import gc
import json
import secrets
import socket
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from sfloop.common.histogram import Histogram

from .feed import GROUP, LOOPBACK, Feed, multicast_socket
from .order_entry import OrderEntry
from .retransmission import RequestServer, request_socket
from .schedule import NS_PER_SECOND
from .session_plan import Packet, SessionPlan, prepare
from .wire import Wire

USERNAME, PASSWORD = "demo", "demo"

LOGIN_SECONDS = 30.0
"""The longest wait for a client."""
PAUSE_SECONDS = 0.1
"""The pause between the login and the first packet, so that the client's start does not count."""
HEARTBEAT_NS = NS_PER_SECOND // 10
"""The feed sends a heartbeat after so much time without a packet (the specification suggests a second)."""
GOODBYE_SECONDS = 10.0
"""How long the end of session is announced, and requests are answered, until the client logs out."""
SLEEP_SECONDS = 50e-6
"""The loop sleeps this long instead of spinning if it shares its CPU with the client."""


class Exchange:
    """A session from login to logout.

    Its sockets are the kernel's, on ``address``, or those of a ``wire``.
    """

    def __init__(
        self,
        plan: SessionPlan,
        seed: int,
        request_loss: float,
        share_cpu: bool,
        address: str = LOOPBACK,
        wire: Wire | None = None,
    ) -> None:
        self.plan = plan
        name = plan.session.decode("ascii").strip()
        if wire is not None:
            self.feed = Feed(plan.session, wire.socket(GROUP))
            self.requests = RequestServer(plan.session, seed, request_loss, wire.socket())
        else:
            self.feed = Feed(plan.session, None if address == LOOPBACK else multicast_socket(GROUP, address))
            self.requests = RequestServer(plan.session, seed, request_loss, request_socket(address))
        listener = socket.create_server((address, 0)) if wire is None else wire.listener()
        self.entry = OrderEntry(name, USERNAME, PASSWORD, listener)
        self._wire = wire
        self.lateness = array("q")
        self.problems: list[str] = []
        self.seconds = 0.0
        self._share_cpu = share_cpu
        self._turns = 0
        self._last_sent = 0

    def ready(self) -> dict[str, Any]:
        """The facts that a client needs."""
        return {
            "session": self.plan.session.decode("ascii").strip(),
            "feed": self.feed.address,
            "requests": self.requests.address,
            "orders": self.entry.address,
            "unicast_because": self.feed.unicast_because,
            "username": USERNAME,
            "password": PASSWORD,
            "messages": self.plan.next_sequence - 1,
            "warm_up": self.plan.warm_up,
            "seconds": self.plan.packets[-1].due / NS_PER_SECOND,
        }

    def run(self) -> None:
        """Run the whole session. Faults are added to ``problems``."""
        deadline = time.monotonic() + LOGIN_SECONDS
        while not self.entry.logged_in:
            if time.monotonic() > deadline or self.entry.disconnected or self.entry.problems:
                self.problems.append(f"no client logged in within {LOGIN_SECONDS:g} s")
                return
            self.entry.poll()
            time.sleep(0.001)
        start = time.monotonic_ns() + int(PAUSE_SECONDS * NS_PER_SECOND)
        self._last_sent = time.monotonic_ns()
        for packet in self.plan.packets:
            self._spin_until(start + packet.due)
            if self.entry.disconnected:
                self.problems.append(
                    f"the client closed its order connection before message {packet.sequence} of "
                    f"{self.plan.next_sequence - 1}"
                )
                return
            self._publish(packet, start)
        self.seconds = (time.monotonic_ns() - start) / NS_PER_SECOND
        self._say_goodbye()

    def _publish(self, packet: Packet, start: int) -> None:
        # A loss that the client has not recovered yet delays later messages. The time of an order would include the
        # retransmission, so it is not measured.
        timed = False
        if packet.orders and not packet.lost and packet.sequence > self.plan.warm_up:
            timed = self.feed.lost_messages <= self.requests.answered
        sent = self.feed.publish(packet)
        for order in packet.orders:
            self.entry.expect(order, sent if timed else None)
        self.entry.poll()
        self.lateness.append(sent - start - packet.due)
        self.requests.add(packet)
        self._last_sent = sent

    def _spin_until(self, due: int) -> None:
        """Serve both sockets until ``due``, and send heartbeats."""
        while True:
            now = time.monotonic_ns()
            if now >= due:
                return
            self.entry.poll()
            self._turns += 1
            if self._turns % 8 == 0:
                self.requests.poll()
                if now - self._last_sent > HEARTBEAT_NS:
                    self.feed.heartbeat()
                    self.entry.keep_alive()
                    self._last_sent = now
            if self._share_cpu and due - now > 2 * SLEEP_SECONDS * NS_PER_SECOND:
                time.sleep(SLEEP_SECONDS)

    def _say_goodbye(self) -> None:
        deadline = time.monotonic_ns() + int(GOODBYE_SECONDS * NS_PER_SECOND)
        while not self.entry.logged_out:
            now = time.monotonic_ns()
            if now > deadline or self.entry.disconnected:
                instead = "closed its connection" if self.entry.disconnected else f"stayed for {GOODBYE_SECONDS:g} s"
                self.problems.append(f"the client did not log out at the end of the session, but {instead}")
                return
            self.feed.end_of_session()
            self._spin_until(now + NS_PER_SECOND // 50)
        self.entry.end_session()

    def result(self) -> dict[str, Any]:
        """The result, for JSON."""
        feed, requests, entry = self.feed, self.requests, self.entry
        return {
            "session": self.plan.session.decode("ascii").strip(),
            "unicast_because": feed.unicast_because,
            "frames": None if self._wire is None else self._wire.frames(),
            "seconds": self.seconds,
            "messages": self.plan.next_sequence - 1,
            "messages_by_type": dict(sorted(self.plan.counts.items())),
            "packets_sent": feed.sent_packets,
            "packets_lost": feed.lost_packets,
            "messages_lost": len(feed.lost_messages),
            "messages_lost_unplanned": len(requests.asked_for - feed.lost_messages),
            "requests": requests.requests,
            "requests_ignored": requests.ignored,
            "digests": self.plan.books.digests(),
            "orders_expected": sum(1 for _ in self.plan.orders()),
            "orders_received": entry.orders,
            "orders_untimed": entry.untimed,
            "orders_missing": entry.awaited,
            "tick_to_trade": Histogram.from_values(entry.tick_to_trade).to_text(),
            "lateness": Histogram.from_values(self.lateness).to_text(),
            "problems": [*self.problems, *entry.problems, *requests.refused],
        }

    def close(self) -> None:
        self.feed.close()
        self.requests.close()
        self.entry.close()
        if self._wire is not None:
            self._wire.close()


def probability(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability, a number from 0 to 1")
    return value


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    description = (__doc__ or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m sfloop.demo.exchange", description=description)
    parser.add_argument("--result", type=Path, required=True, help="write the result to this file as JSON")
    parser.add_argument("--session", default="", help="session name, 1 to 10 characters (default: a random one)")
    parser.add_argument("--seed", type=int, default=1, help="of order flow, schedule and losses (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long to publish (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=0.5, help="uncounted seconds at the beginning (%(default)s)")
    parser.add_argument("--loss", type=probability, default=0.005, help="probability of losing a packet (%(default)s)")
    parser.add_argument(
        "--request-loss", type=probability, default=0.1, help="probability of ignoring a request (%(default)s)"
    )
    parser.add_argument("--itch", type=Path, help="send the messages of this BinaryFILE (plain or .gz) instead")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--address", default=LOOPBACK, help="this machine's address to use (default: %(default)s)")
    where.add_argument("--wire", metavar="NAME", help="use this shared-memory wire")
    parser.add_argument("--share-cpu", action="store_true", help="do not spin: the client has the same CPU")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the simulator. Returns 0 if the session succeeded, else 1. The result file has the details."""
    arguments = _arguments(argv)
    session = arguments.session or f"SF{secrets.token_hex(4).upper()}"
    try:
        plan = prepare(session, arguments.seed, arguments.seconds, arguments.warm_up, arguments.loss, arguments.itch)
        wire = Wire(arguments.wire) if arguments.wire else None
    except (OSError, ValueError) as error:
        print(f"exchange: {error}", file=sys.stderr)
        return 1
    exchange = Exchange(
        plan, arguments.seed, arguments.request_loss, arguments.share_cpu, address=arguments.address, wire=wire
    )
    try:
        print(json.dumps(exchange.ready()), flush=True)
        gc.collect()
        gc.freeze()
        gc.disable()
        exchange.run()
        result = exchange.result()
    finally:
        exchange.close()
    arguments.result.write_text(json.dumps(result))
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
