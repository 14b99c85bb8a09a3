"""The client's order session and the simulator's order entry: byte by byte, right and wrong."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from market_data.order_entry import OrderEntryError, OrderSession

from sfloop.demo import ouch, soupbintcp
from sfloop.demo.order_entry import OrderEntry
from sfloop.demo.trigger import ExpectedOrder

LOGIN = soupbintcp.Login("demo", "demo", "S1", 1).encode()
EXPECTED = ExpectedOrder(42, "B", "ZVZZT", 100_000)


class Wire:
    """A transport that keeps the data written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self._socket = socket.socket()

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True
        self._socket.close()

    def get_extra_info(self, name: str) -> Any:
        return self._socket if name == "socket" else None


def order(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "token": EXPECTED.token, "side": "B", "shares": 100, "stock": "ZVZZT", "price": 100_000, "time_in_force": 0,
        "firm": "DEMO", "display": "Y", "capacity": "P", "intermarket_sweep": "N", "minimum_quantity": 0,
        "cross_type": "N", "customer_type": "",
    }  # fmt: skip
    return soupbintcp.encode(soupbintcp.UNSEQUENCED_DATA, ouch.EnterOrder(**{**fields, **changes}).encode())


def with_session(steps: Any) -> None:
    """Run ``steps(session, wire, errors)`` in a loop, with a client's session on a fake wire."""

    async def run() -> None:
        errors: list[Exception] = []
        session = OrderSession("demo", "demo", "S1", errors.append)
        wire = Wire()
        session.connection_made(wire)
        try:
            steps(session, wire, errors)
        finally:
            session.connection_lost(None)
            wire.close()
        await session.closed
        if session.logged_in.done():
            session.logged_in.exception()

    asyncio.run(run())


ACCEPTED = ouch.Accepted(1, "T", "B", 1, "Z", 1, 0, "D", "Y", 1, "P", "N", 0, "N", "L", "")
SERVER_STREAM = (
    soupbintcp.encode_login_accepted("S1", 1)
    + soupbintcp.encode(soupbintcp.SERVER_HEARTBEAT)
    + soupbintcp.encode(soupbintcp.SEQUENCED_DATA, ACCEPTED.encode())
    + soupbintcp.encode(soupbintcp.SEQUENCED_DATA, ouch.Executed(1, "T", 1, 1, "R", 1).encode())
    + soupbintcp.encode(soupbintcp.SEQUENCED_DATA, ouch.Rejected(1, "T", "O").encode())
    + soupbintcp.encode(soupbintcp.END_OF_SESSION)
)  # fmt: skip


@pytest.mark.parametrize("cut", range(len(SERVER_STREAM) + 1))
def test_client_reads_the_stream_cut_at_every_byte(cut: int) -> None:
    def steps(session: OrderSession, wire: Wire, errors: list[Exception]) -> None:
        session.data_received(SERVER_STREAM[:cut])
        session.data_received(SERVER_STREAM[cut:])
        assert session.logged_in.done()
        assert (session.accepted, session.executed, session.rejected) == (1, 1, 1)
        assert wire.closed
        assert errors == []

    with_session(steps)


def test_client_logs_in_and_sends_orders_as_the_specification_has_them() -> None:
    def steps(session: OrderSession, wire: Wire, errors: list[Exception]) -> None:
        assert wire.written == LOGIN
        wire.written = b""
        session.send_order(b"T0000000000042", b"B", 100, b"ZVZZT   ", 100_000)
        assert wire.written == order()
        assert session.sent == 1
        wire.written = b""
        session.log_out()
        assert wire.written == b"\x00\x01O"

    with_session(steps)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\x00\x02JA", "login rejected: invalid user name or password"),
        (b"\x00\x02JS", "login rejected: no such session"),
        (b"\x00\x00\x00\x00", "length 0"),
        (b"\x00\x01Q", "packet of type b'Q'"),
    ],
)
def test_client_fails_on_what_the_server_must_not_send(stream: bytes, message: str) -> None:
    def before_login(session: OrderSession, wire: Wire, errors: list[Exception]) -> None:
        session.data_received(stream)
        error = session.logged_in.exception()
        assert isinstance(error, OrderEntryError)
        assert message in str(error)

    def after_login(session: OrderSession, wire: Wire, errors: list[Exception]) -> None:
        session.data_received(soupbintcp.encode_login_accepted("S1", 1))
        session.data_received(stream)
        assert [message in str(error) for error in errors] == [True]

    with_session(before_login)
    with_session(after_login)


def test_client_reports_a_connection_that_goes_away() -> None:
    def steps(session: OrderSession, wire: Wire, errors: list[Exception]) -> None:
        session.data_received(soupbintcp.encode_login_accepted("S1", 1))
        session.connection_lost(ConnectionResetError("reset"))
        assert [str(error) for error in errors] == ["the server closed the order connection (reset)"]
        session.log_out()  # so that the connection's loss at the test's end is no error

    with_session(steps)


@pytest.fixture
def entry() -> Iterator[OrderEntry]:
    entry = OrderEntry("S1", "demo", "demo")
    yield entry
    entry.close()


@pytest.fixture
def peer(entry: OrderEntry) -> Iterator[socket.socket]:
    with socket.create_connection(entry.address) as sock:
        sock.settimeout(5)
        yield sock


def poll(entry: OrderEntry, done: Any) -> None:
    """Poll until ``done()``, 5 s at most."""
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        entry.poll()


def receive(peer: socket.socket, count: int) -> list[tuple[bytes, bytes]]:
    deframer, packets = soupbintcp.Deframer(), list[tuple[bytes, bytes]]()
    while len(packets) < count:
        packets += deframer.feed(peer.recv(4096))
    return packets


def log_in(entry: OrderEntry, peer: socket.socket) -> None:
    peer.sendall(LOGIN)
    poll(entry, lambda: entry.logged_in)
    assert receive(peer, 1) == [(b"A", b"        S1                   1")]


def test_right_order_is_timed_accepted_and_executed(entry: OrderEntry, peer: socket.socket) -> None:
    log_in(entry, peer)
    entry.expect(EXPECTED, time.monotonic_ns())
    for byte in order():
        peer.sendall(bytes([byte]))
        entry.poll()
    poll(entry, lambda: entry.orders)
    (_, accepted), (_, executed) = receive(peer, 2)
    assert ouch.Accepted.decode(accepted).token == EXPECTED.token
    assert ouch.Executed.decode(executed).executed_shares == 100
    assert (len(entry.tick_to_trade), entry.untimed, entry.awaited, entry.problems) == (1, 0, 0, [])
    assert 0 < entry.tick_to_trade[0] < 5e9


def test_order_behind_a_gap_is_not_timed(entry: OrderEntry, peer: socket.socket) -> None:
    log_in(entry, peer)
    entry.expect(EXPECTED, None)
    peer.sendall(order())
    poll(entry, lambda: entry.orders)
    assert (len(entry.tick_to_trade), entry.untimed, entry.problems) == (0, 1, [])


@pytest.mark.parametrize(
    "changes", [{"side": "S"}, {"shares": 200}, {"stock": "ZAZZT"}, {"price": 100_100}, {"time_in_force": 10}]
)
def test_wrong_order_is_rejected_and_reported(entry: OrderEntry, peer: socket.socket, changes: dict[str, Any]) -> None:
    log_in(entry, peer)
    entry.expect(EXPECTED, time.monotonic_ns())
    peer.sendall(order(**changes))
    poll(entry, lambda: entry.orders)
    ((_, rejected),) = receive(peer, 1)
    assert ouch.Rejected.decode(rejected).reason == "O"
    assert "order T0000000000042 must have" in entry.problems[0]
    assert len(entry.tick_to_trade) == 0


def test_order_that_nothing_asked_for_and_order_sent_twice(entry: OrderEntry, peer: socket.socket) -> None:
    log_in(entry, peer)
    peer.sendall(order(token="T1"))
    entry.expect(EXPECTED, 0)
    peer.sendall(order() + order())
    poll(entry, lambda: entry.orders == 3)
    assert [problem.split(" answers")[0] for problem in entry.problems] == ["order T1", "order T0000000000042"]


def test_login_is_checked(entry: OrderEntry, peer: socket.socket) -> None:
    peer.sendall(soupbintcp.Login("demo", "wrong", "", 1).encode())
    poll(entry, lambda: entry.problems)
    assert receive(peer, 1) == [(b"J", b"A")]
    peer.sendall(soupbintcp.Login("demo", "demo", "S2", 1).encode())
    poll(entry, lambda: len(entry.problems) == 2)
    assert receive(peer, 1) == [(b"J", b"S")]
    assert not entry.logged_in


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (order(), "the first SoupBinTCP packet is a Login Request, not b'U'"),
        (LOGIN + b"\x00\x01A", "a client does not send SoupBinTCP packets of type b'A'"),
        (LOGIN + b"\x00\x00", "length 0"),
        (LOGIN + b"\x00\x03Uxx", "EnterOrder has 49 bytes, not 2"),
        (b"\x00\x05Lxxxx", "Login Request has 46 bytes"),
    ],
)
def test_nonsense_is_reported(entry: OrderEntry, peer: socket.socket, stream: bytes, problem: str) -> None:
    peer.sendall(stream)
    poll(entry, lambda: entry.problems)
    assert problem in entry.problems[0]


def test_logout_and_disconnection(entry: OrderEntry, peer: socket.socket) -> None:
    log_in(entry, peer)
    peer.sendall(soupbintcp.encode(soupbintcp.LOGOUT_REQUEST))
    poll(entry, lambda: entry.logged_out)
    assert not entry.disconnected
    peer.shutdown(socket.SHUT_WR)
    poll(entry, lambda: entry.disconnected)


def test_peer_that_resets(entry: OrderEntry, peer: socket.socket) -> None:
    log_in(entry, peer)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    poll(entry, lambda: entry.disconnected)
    entry.end_session()  # must not raise
