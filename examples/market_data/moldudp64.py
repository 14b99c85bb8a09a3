"""The receiving side of MoldUDP64 1.00: each message once and in order; lost messages are requested again.

A packet is a session (10 bytes), the sequence number of its first message (8), a message count (2) and the messages,
each after its length (2). Count 0 is a heartbeat, 0xFFFF the end of the session; both carry the next sequence number. A
request for lost messages has the same header, with the count of messages wanted.

The decoders are apart from those of the exchange's side on purpose: an example needs nothing of any loop, and two
independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

HEADER = Struct(">10sQH")
LENGTH = Struct(">H")
END_OF_SESSION = 0xFFFF

RETRY_SECONDS = 0.02
"""Time to wait for the answer to a request before the request is repeated."""
MAX_TRIES = 50
"""Requests without progress after which a gap counts as unrecoverable."""


class FeedError(Exception):
    """The feed cannot be followed further: a malformed packet, another session, or a gap that does not close."""


class Receiver:
    """Merges packets of the multicast feed and of the request server into one sequence without gaps.

    ``on_message(sequence, packet, offset, length)`` is called for each message in turn, ``request(packet)`` sends a
    request packet, ``on_end()`` is called once, after the session has ended and every message of it has arrived, and
    ``on_error(error)`` when a gap could not be closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[int, bytes, int, int], None],
        request: Callable[[bytes], None],
        on_end: Callable[[], None],
        on_error: Callable[[FeedError], None],
    ) -> None:
        self._loop = loop
        self._on_message, self._request, self._on_end, self._on_error = on_message, request, on_end, on_error
        self.session: bytes | None = None
        self.expected = 1
        """The number of the message that is to be delivered next."""
        self.announced = 1
        """One more than the highest number known to exist."""
        self.ended = False
        self.gaps = 0
        self.recovered = 0
        self.requests = 0
        self.duplicates = 0
        self._held: dict[int, tuple[bytes, int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tries = 0
        self._complete = False
        self._expected_at_last_try = 0

    def packet(self, packet: bytes, recovered: bool = False) -> int:
        """Take a packet and return how many of its messages were new.

        :param recovered: the request server sent the packet.
        :raises FeedError: the packet is malformed, or of another session.
        """
        size = len(packet)
        if size < HEADER.size:
            raise FeedError(f"a MoldUDP64 packet has at least {HEADER.size} bytes, not {size}")
        session, sequence, count = HEADER.unpack_from(packet)
        if session != self.session:
            if self.session is not None:
                raise FeedError(f"packet of session {session!r} in session {self.session!r}")
            self.session = session
        if count == END_OF_SESSION:
            self.ended, count = True, 0
        if sequence > self.announced:
            self._gap(self.announced, sequence)
        new = 0
        offset = HEADER.size
        for number in range(sequence, sequence + count):
            start = offset + 2
            length = packet[offset] << 8 | packet[offset + 1] if start <= size else size
            offset = start + length
            if offset > size:
                raise FeedError(f"packet {sequence} ends inside message {number}")
            if number == self.expected:
                self.expected += 1
                if not self._held or self._held.pop(number, None) is None:
                    new += 1
                self._on_message(number, packet, start, length)
            elif number > self.expected and number not in self._held:
                self._held[number] = (packet, start, length)
                new += 1
        if sequence + count > self.announced:
            self.announced = sequence + count
        self.duplicates += count - new
        if recovered:
            self.recovered += new
        if self._held:
            self._deliver_held()
        if recovered and count:
            self._ask_for_rest(sequence + count)
        if self.ended and self.expected == self.announced and not self._complete:
            self._complete = True
            self._on_end()
        return new

    def close(self) -> None:
        """Stop requesting missing messages."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def missing(self) -> Iterator[tuple[int, int]]:
        """Yield (first, count) of each run of messages that exist and have not arrived."""
        first = None
        for number in range(self.expected, self.announced):
            if number in self._held:
                if first is not None:
                    yield first, number - first
                    first = None
            elif first is None:
                first = number
        if first is not None:
            yield first, self.announced - first

    def _deliver_held(self) -> None:
        while self.expected in self._held:
            number = self.expected
            self.expected += 1
            self._on_message(number, *self._held.pop(number))

    def _gap(self, first: int, end: int) -> None:
        """Request messages ``first`` to ``end`` - 1, which a later packet has overtaken."""
        self.gaps += 1
        self.announced = end
        self._ask(first, end - first)
        if self._timer is None:
            self._tries, self._expected_at_last_try = 1, self.expected
            self._timer = self._loop.call_later(RETRY_SECONDS, self._retry)

    def _ask(self, first: int, count: int) -> None:
        assert self.session is not None
        self.requests += 1
        self._request(HEADER.pack(self.session, first, min(count, END_OF_SESSION - 1)))

    def _ask_for_rest(self, first: int) -> None:
        """Request message ``first`` again if it is still missing, because an answer that ended before it was cut to fit
        a packet."""
        for start, count in self.missing():
            if start == first:
                self._ask(start, count)
                return

    def _retry(self) -> None:
        self._timer = None
        if self.expected == self.announced:
            return
        if self.expected != self._expected_at_last_try:
            self._tries, self._expected_at_last_try = 0, self.expected
        if self._tries >= MAX_TRIES:
            first, count = next(self.missing())
            self._on_error(
                FeedError(
                    f"unrecovered gap: messages {first} to {first + count - 1} did not come "
                    f"though they were asked for {self._tries} times"
                )
            )
            return
        self._tries += 1
        for first, count in self.missing():
            self._ask(first, count)
        self._timer = self._loop.call_later(RETRY_SECONDS, self._retry)


class RequestProtocol(asyncio.DatagramProtocol):
    """The UDP socket to the request server; ``on_packet(data)`` is called with each answer."""

    def __init__(self, on_packet: Callable[[bytes], None]) -> None:
        self._on_packet = on_packet
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, packet: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(packet)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._on_packet(data)

    def error_received(self, exc: Exception) -> None:
        """Do nothing, because the receiver's timer repeats a lost request."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
