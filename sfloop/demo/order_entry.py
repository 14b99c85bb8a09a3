"""The simulator's order entry port: OUCH orders in SoupBinTCP packets, checked and measured."""

from __future__ import annotations

import socket
import time
from array import array
from typing import TYPE_CHECKING

from . import itch, ouch, soupbintcp
from .feed import LOOPBACK
from .trigger import ORDER_SHARES, ExpectedOrder

if TYPE_CHECKING:
    from .wire import WireListener, WireStream

HEARTBEAT_NS = int(soupbintcp.HEARTBEAT_SECONDS * 1e9)


class OrderEntry:
    """One client's order session, on a non-blocking socket that is polled.

    Every order is compared with the expected order. Correct orders are accepted and executed in full against hidden
    liquidity, so that the published books do not depend on the client. Others are rejected.
    """

    def __init__(
        self, session: str, username: str, password: str, listener: socket.socket | WireListener | None = None
    ) -> None:
        """:param listener: the listening socket for the client; None: a socket on the loopback."""
        self._session, self._username, self._password = session, username, password
        self._listener: socket.socket | WireListener = listener or socket.create_server((LOOPBACK, 0))
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._socket: socket.socket | WireStream | None = None
        self._deframer = soupbintcp.Deframer()
        self._output = bytearray()
        self._last_sent = 0
        self._next_reference = 1
        self._awaited: dict[str, tuple[ExpectedOrder, int | None]] = {}
        self.logged_in = False
        self.logged_out = False
        self.disconnected = False
        self.tick_to_trade = array("q")
        """ns from the sending of a trigger message to the arrival of the client's order."""
        self.orders = 0
        self.untimed = 0
        """Orders that answer a retransmitted message."""
        self.problems: list[str] = []

    def expect(self, order: ExpectedOrder, sent: int | None) -> None:
        """Expect ``order``, because its trigger was sent at ``sent`` (monotonic ns).

        ``sent`` is None if the message or one before it was lost, because the order's time has no meaning then.
        """
        self._awaited[order.token] = (order, sent)

    @property
    def awaited(self) -> int:
        """Number of orders that have not arrived yet."""
        return len(self._awaited)

    def poll(self) -> None:
        """Process data that has arrived, without waiting."""
        if self._socket is None:
            self._accept()
            return
        try:
            data = self._socket.recv(65536)
            now = time.monotonic_ns()
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.disconnected = True
            return
        try:
            for kind, payload in self._deframer.feed(data):
                self._take(kind, payload, now)
        except ValueError as error:
            self.problems.append(str(error))
        self._flush()

    def keep_alive(self) -> None:
        """Send a heartbeat if nothing was sent for a second, and data for which the socket had no room before."""
        if self.logged_in and time.monotonic_ns() - self._last_sent > HEARTBEAT_NS:
            self._output += soupbintcp.encode(soupbintcp.SERVER_HEARTBEAT)
        self._flush()

    def end_session(self) -> None:
        """Tell the client that the order session is over."""
        self._output += soupbintcp.encode(soupbintcp.END_OF_SESSION)
        self._flush()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            self._socket, _ = self._listener.accept()
        except BlockingIOError:
            return
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _take(self, kind: bytes, payload: bytes, now: int) -> None:
        if not self.logged_in:
            self._log_in(kind, payload)
        elif kind == soupbintcp.UNSEQUENCED_DATA:
            self._order(ouch.EnterOrder.decode(payload), now)
        elif kind == soupbintcp.LOGOUT_REQUEST:
            self.logged_out = True
        elif kind not in (soupbintcp.CLIENT_HEARTBEAT, soupbintcp.DEBUG):
            raise ValueError(f"a client does not send SoupBinTCP packets of type {kind!r}")

    def _log_in(self, kind: bytes, payload: bytes) -> None:
        if kind != soupbintcp.LOGIN_REQUEST:
            raise ValueError(f"the first SoupBinTCP packet is a Login Request, not {kind!r}")
        login = soupbintcp.Login.decode(payload)
        if (login.username, login.password) != (self._username, self._password):
            self._output += soupbintcp.encode_login_rejected(soupbintcp.NOT_AUTHORIZED)
        elif login.session not in ("", self._session):
            self._output += soupbintcp.encode_login_rejected(soupbintcp.SESSION_NOT_AVAILABLE)
        else:
            self._output += soupbintcp.encode_login_accepted(self._session, 1)
            self.logged_in = True
            return
        self.problems.append(f"login of {login.username!r} for session {login.session!r} was rejected")

    def _order(self, order: ouch.EnterOrder, now: int) -> None:
        self.orders += 1
        expected, sent = self._awaited.pop(order.token, (None, None))
        wrong = _what_is_wrong(order, expected)
        stamp = time.time_ns() % itch.NS_PER_DAY
        if wrong:
            self.problems.append(wrong)
            self._reply(ouch.Rejected(stamp, order.token, "O"))
            return
        if sent is None:
            self.untimed += 1
        else:
            self.tick_to_trade.append(now - sent)
        reference = self._next_reference
        self._next_reference += 1
        self._reply(
            ouch.Accepted(
                stamp, order.token, order.side, order.shares, order.stock, order.price, order.time_in_force, order.firm,
                order.display, reference, order.capacity, order.intermarket_sweep, order.minimum_quantity,
                order.cross_type, "L", " ",
            )
        )  # fmt: skip
        self._reply(ouch.Executed(stamp, order.token, order.shares, order.price, "R", reference))

    def _reply(self, message: ouch.Accepted | ouch.Executed | ouch.Rejected) -> None:
        self._output += soupbintcp.encode(soupbintcp.SEQUENCED_DATA, message.encode())

    def _flush(self) -> None:
        if not self._output or self._socket is None:
            return
        try:
            sent = self._socket.send(self._output)
        except BlockingIOError:
            return
        except ConnectionError:
            self.disconnected = True
            return
        self._last_sent = time.monotonic_ns()
        del self._output[:sent]


def _what_is_wrong(order: ouch.EnterOrder, expected: ExpectedOrder | None) -> str | None:
    if expected is None:
        return f"order {order.token} answers no message, or a message that was already answered"
    got = (order.side, order.shares, order.stock, order.price, order.time_in_force)
    want = (expected.side, ORDER_SHARES, expected.stock, expected.price, ouch.IMMEDIATE_OR_CANCEL)
    if got != want:
        return f"order {order.token} must have (side, shares, stock, price, time in force) {want}, but has {got}"
    return None
