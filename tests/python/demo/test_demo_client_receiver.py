"""The client's MoldUDP64 receiver: gaps, lost requests, duplicates, reordering, malformed packets."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_data.moldudp64 import MAX_TRIES, RETRY_SECONDS, FeedError, Receiver

from sfloop.demo import moldudp64

SESSION = b"TEST      "


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The methods of a loop that the receiver uses, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.when <= self.now + 1e-9]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class Following:
    """A receiver and its records."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.delivered: list[tuple[int, bytes]] = []
        self.requests: list[tuple[int, int]] = []
        self.ends = 0
        self.errors: list[FeedError] = []
        loop: Any = self.clock
        self.receiver = Receiver(loop, self._message, self._request, self._end, self.errors.append)

    def _message(self, sequence: int, packet: bytes, offset: int, length: int) -> None:
        self.delivered.append((sequence, packet[offset : offset + length]))

    def _request(self, packet: bytes) -> None:
        session, first, count = moldudp64.decode_request(packet)
        assert session == SESSION
        self.requests.append((first, count))

    def _end(self) -> None:
        self.ends += 1

    def feed(self, first: int, count: int = 1, recovered: bool = False) -> int:
        return self.receiver.packet(data(first, count), recovered)


def text(number: int) -> bytes:
    return b"message %d" % number


def data(first: int, count: int = 1) -> bytes:
    return moldudp64.encode(SESSION, first, [text(number) for number in range(first, first + count)])


def in_order(end: int) -> list[tuple[int, bytes]]:
    return [(number, text(number)) for number in range(1, end)]


def test_without_loss() -> None:
    following = Following()
    assert following.feed(1, 3) == 3
    assert following.feed(4) == 1
    following.receiver.packet(moldudp64.encode_heartbeat(SESSION, 5))
    assert following.delivered == in_order(5)
    assert (following.requests, following.receiver.gaps, following.receiver.duplicates) == ([], 0, 0)
    assert following.clock.timers == []


def test_gap_is_asked_for_at_once_and_closed() -> None:
    following = Following()
    following.feed(1)
    assert following.feed(4, 2) == 2  # new, although it has to wait
    assert following.delivered == in_order(2)
    assert following.requests == [(2, 2)]
    assert following.feed(2, 2, recovered=True) == 2
    assert following.delivered == in_order(6)
    assert (following.receiver.gaps, following.receiver.recovered) == (1, 2)
    following.clock.advance(RETRY_SECONDS)
    assert following.requests == [(2, 2)]
    assert following.clock.timers == []


def test_loss_of_the_first_message() -> None:
    following = Following()
    following.feed(3)
    assert following.requests == [(1, 2)]
    following.feed(1, 2, recovered=True)
    assert following.delivered == in_order(4)


def test_loss_before_a_quiet_spell_shows_by_the_heartbeat() -> None:
    following = Following()
    following.feed(1)
    following.receiver.packet(moldudp64.encode_heartbeat(SESSION, 3))
    assert following.requests == [(2, 1)]


def test_lost_request_is_repeated_until_answered() -> None:
    following = Following()
    following.feed(1)
    following.feed(3)
    for times in range(1, 5):
        assert following.requests == [(2, 1)] * times
        following.clock.advance(RETRY_SECONDS)
    following.feed(2, recovered=True)
    assert following.delivered == in_order(4)
    following.clock.advance(RETRY_SECONDS)
    assert len(following.requests) == 5
    assert following.clock.timers == []
    assert following.receiver.requests == 5


def test_gap_that_never_closes() -> None:
    following = Following()
    following.feed(1)
    following.feed(4)
    for _ in range(MAX_TRIES + 1):
        following.clock.advance(RETRY_SECONDS)
    assert [str(error) for error in following.errors] == [
        f"unrecovered gap: messages 2 to 3 did not come though they were asked for {MAX_TRIES} times"
    ]
    assert len(following.requests) == MAX_TRIES
    assert following.clock.timers == []


def test_progress_resets_the_count_of_tries() -> None:
    following = Following()
    following.feed(1)
    following.feed(10)
    for number in range(2, 10):
        for _ in range(MAX_TRIES - 2):
            following.clock.advance(RETRY_SECONDS)
        following.feed(number, recovered=True)
    assert following.errors == []
    assert following.delivered == in_order(11)


def test_second_gap_while_the_first_is_open() -> None:
    following = Following()
    following.feed(1)
    following.feed(3)
    following.feed(6)
    assert following.requests == [(2, 1), (4, 2)]
    assert following.receiver.gaps == 2
    following.clock.advance(RETRY_SECONDS)
    assert following.requests[2:] == [(2, 1), (4, 2)]
    following.feed(4, 2, recovered=True)
    assert following.delivered == in_order(2)
    following.feed(2, recovered=True)
    assert following.delivered == in_order(7)


def test_answer_cut_to_a_packet_is_continued_at_once() -> None:
    following = Following()
    following.feed(1)
    following.feed(100)
    following.feed(2, 40, recovered=True)
    assert following.requests == [(2, 98), (42, 58)]
    following.feed(42, 58, recovered=True)
    assert following.delivered == in_order(101)
    assert len(following.requests) == 2


def test_duplicates_and_overlaps_are_delivered_once() -> None:
    following = Following()
    following.feed(1, 3)
    assert following.feed(1, 3) == 0
    assert following.feed(2, 4) == 2
    following.feed(8)
    assert following.feed(8) == 0
    following.feed(6, 3, recovered=True)
    assert following.delivered == in_order(9)
    assert following.receiver.duplicates == 3 + 2 + 1 + 1
    assert following.receiver.recovered == 2


def test_packets_out_of_order() -> None:
    following = Following()
    following.feed(3)
    following.feed(2)
    following.feed(1)
    assert following.delivered == in_order(4)
    assert following.receiver.recovered == 0


def test_end_of_session_waits_for_what_is_missing() -> None:
    following = Following()
    following.feed(1)
    following.receiver.packet(moldudp64.encode_end_of_session(SESSION, 4))
    assert (following.ends, following.requests) == (0, [(2, 2)])
    following.feed(2, 2, recovered=True)
    assert following.ends == 1


def test_largest_request() -> None:
    following = Following()
    following.feed(1)
    following.receiver.packet(moldudp64.encode_heartbeat(SESSION, 100_000))
    assert following.requests == [(2, 0xFFFE)]


def test_close_stops_the_timer() -> None:
    following = Following()
    following.feed(2)
    following.receiver.close()
    following.clock.advance(RETRY_SECONDS)
    assert following.requests == [(1, 1)]


def test_packet_of_another_session() -> None:
    following = Following()
    following.feed(1)
    with pytest.raises(FeedError, match="packet of session b'OTHER     ' in session b'TEST      '"):
        following.receiver.packet(moldudp64.encode(b"OTHER     ", 2, [b"x"]))


def test_malformed_packets() -> None:
    whole = data(1, 2)
    for length in range(len(whole)):
        with pytest.raises(FeedError, match=r"at least 20 bytes|ends inside message"):
            Following().receiver.packet(whole[:length])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=60),
    loss=st.floats(0, 0.5),
    request_loss=st.floats(0, 0.6),
)
def test_everything_arrives_once_and_in_order(seed: int, sizes: list[int], loss: float, request_loss: float) -> None:
    """Packets are lost, doubled and swapped; requests are lost, and answered in part and late."""
    rng = random.Random(seed)
    following = Following()
    packets, first = [], 1
    for size in sizes:
        packets.append((first, size))
        first += size
    wire = [packet for packet in packets if rng.random() >= loss for _ in range(rng.choice((1, 1, 1, 2)))]
    for index in range(len(wire) - 1):
        if rng.random() < 0.1:
            wire[index], wire[index + 1] = wire[index + 1], wire[index]
    answered = 0

    def answer() -> None:
        nonlocal answered
        while answered < len(following.requests):
            start, count = following.requests[answered]
            answered += 1
            if rng.random() >= request_loss:
                following.feed(start, rng.randint(1, min(count, 7)), recovered=True)

    for start, size in wire:
        following.feed(start, size)
        if rng.random() < 0.5:
            answer()
        if rng.random() < 0.2:
            following.clock.advance(RETRY_SECONDS)
    for _ in range(40 * len(sizes)):
        following.receiver.packet(moldudp64.encode_end_of_session(SESSION, first))
        answer()
        if following.ends:
            break
        following.clock.advance(RETRY_SECONDS)
    assert following.errors == []
    assert following.ends == 1
    assert following.delivered == in_order(first)
    assert following.receiver.expected == first
