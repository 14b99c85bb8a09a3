"""The client's side of order entry: OUCH 4.2 messages over SoupBinTCP 3.00.

The decoders are apart from those of the exchange's side on purpose: an example needs nothing of any loop, and two
independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from struct import Struct
from typing import Any

HEARTBEAT_SECONDS = 1.0
"""The client shows that it is alive when it has sent nothing for this long."""
SILENCE_SECONDS = 15.0
"""A server from which nothing, not even a heartbeat, came for this long counts as lost."""

# SoupBinTCP packet: length (2 bytes, of what follows), type, payload.
FRAME = Struct(">Hc")
# OUCH 4.2 Enter Order: token, side, shares, stock, price, time in force, firm, display, capacity, intermarket sweep,
# minimum quantity, cross type, customer type.
ENTER_ORDER = Struct(">Hcc14scI8sII4scccIcc")
ENTER_ORDER_LENGTH = ENTER_ORDER.size - 2
IMMEDIATE_OR_CANCEL = 0


class OrderEntryError(Exception):
    """The order session cannot go on: login rejected, connection lost, or a malformed packet received."""


class OrderSession(asyncio.Protocol):
    """A SoupBinTCP session. Await ``logged_in`` before the first order; ``closed`` is done when the session is over.

    ``on_error(error)`` is called when the connection is lost before ``log_out``.
    """

    def __init__(self, username: str, password: str, session: str, on_error: Callable[[Exception], None]) -> None:
        self._login = f"{username:<6}{password:<10}{session:>10}{1:>20}".encode("ascii")
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._has_sent = False
        self._last_received = 0.0
        self._logging_out = False
        self.logged_in: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.sent = 0
        self.accepted = 0
        self.executed = 0
        self.rejected = 0

    def send_order(self, token: bytes, side: bytes, shares: int, stock: bytes, price: int) -> None:
        """Send an immediate-or-cancel limit order at once. ``stock`` and ``token`` are padded with spaces."""
        self._transport.write(
            ENTER_ORDER.pack(
                ENTER_ORDER_LENGTH, b"U", b"O", token, side, shares, stock, price,
                IMMEDIATE_OR_CANCEL, b"DEMO", b"Y", b"P", b"N", 0, b"N", b" ",
            )
        )  # fmt: skip
        self._has_sent = True
        self.sent += 1

    def log_out(self) -> None:
        """End the session; the server closes the connection."""
        self._logging_out = True
        self._send(b"O")

    def close(self) -> None:
        self._logging_out = True
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # Set TCP_NODELAY here although asyncio's transports set it, because each order must leave at once on any loop.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last_received = self._loop.time()
        self._send(b"L", self._login)
        self._timer = self._loop.call_later(HEARTBEAT_SECONDS, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        buffer = self._buffer + data if self._buffer else data
        offset, size = 0, len(buffer)
        try:
            while offset + 3 <= size:
                length, kind = FRAME.unpack_from(buffer, offset)
                end = offset + 2 + length
                if length == 0:
                    raise OrderEntryError("the server sent a SoupBinTCP packet of length 0")
                if end > size:
                    break
                self._packet(kind, buffer[offset + 3 : end])
                offset = end
        except OrderEntryError as error:
            self._fail(error)
        self._buffer = buffer[offset:]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._logging_out:
            self._fail(OrderEntryError(f"the server closed the order connection ({exc or 'end of file'})"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _packet(self, kind: bytes, payload: bytes) -> None:
        if kind == b"S":
            self._order_event(payload[:1])
        elif kind == b"A":
            if not self.logged_in.done():
                self.logged_in.set_result(None)
        elif kind == b"J":
            reasons = {b"A": "invalid user name or password", b"S": "no such session"}
            raise OrderEntryError(f"login rejected: {reasons.get(payload, repr(payload))}")
        elif kind == b"Z":
            self.close()
        elif kind not in (b"H", b"+"):
            raise OrderEntryError(f"the server sent a SoupBinTCP packet of type {kind!r}")

    def _order_event(self, kind: bytes) -> None:
        if kind == b"A":
            self.accepted += 1
        elif kind == b"E":
            self.executed += 1
        elif kind == b"J":
            self.rejected += 1

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._transport.write(FRAME.pack(1 + len(payload), kind) + payload)
        self._has_sent = True

    def _keep_alive(self) -> None:
        if self._loop.time() - self._last_received > SILENCE_SECONDS:
            self._fail(OrderEntryError(f"nothing came from the order server for {SILENCE_SECONDS:g} s"))
            return
        if not self._has_sent:
            self._send(b"R")
        self._has_sent = False
        self._timer = self._loop.call_later(HEARTBEAT_SECONDS, self._keep_alive)

    def _fail(self, error: OrderEntryError) -> None:
        if not self.logged_in.done():
            self.logged_in.set_exception(error)
        else:
            self._on_error(error)
