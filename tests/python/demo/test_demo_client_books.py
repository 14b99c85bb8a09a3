"""The client's order books against the reference books, message by message."""

from __future__ import annotations

import itertools

import pytest
from itch_samples import SIZES
from market_data.latency import NS_PER_DAY, WireLatency
from market_data.order_book import SIZES as CLIENT_SIZES
from market_data.order_book import Book, Market

from sfloop.common.histogram import Histogram
from sfloop.demo import itch, moldudp64
from sfloop.demo.book import ReferenceBooks
from sfloop.demo.orderflow import OrderFlow


def take(market: Market, sequence: int, message: itch.ItchMessage) -> None:
    """Hand a message over in place, in the middle of other bytes."""
    wire = message.encode()
    market.message(sequence, b"\xee" * 7 + wire + b"\xee" * 7, 7, len(wire))


@pytest.mark.parametrize("seed", range(3))
def test_same_books_as_the_reference(seed: int) -> None:
    trades: list[tuple[int, str, int]] = []
    market = Market(lambda sequence, book, shares: trades.append((sequence, book.stock, shares)))
    books = ReferenceBooks()
    flow = OrderFlow(seed)
    messages = [*flow.opening(), *itertools.islice(flow.trading(), 3000), *flow.closing()]
    for sequence, message in enumerate(messages, 1):
        take(market, sequence, message)
        books.apply(message)
        book = market.books.get(message.stock_locate)
        if book is not None:
            bid, ask = books.best(message.stock_locate, "B"), books.best(message.stock_locate, "S")
            assert (book.best_bid, book.best_ask) == (bid and bid[0], ask and ask[0])
            assert bid is None or book.bids[bid[0]][0] == bid[1]
            assert ask is None or book.asks[ask[0]][0] == ask[1]
        if sequence % 500 == 0:
            assert market.digests() == books.digests()
    assert market.digests() == books.digests() != {}
    assert set(market.orders) == set(books.orders)
    assert trades == [(n, m.stock, m.shares) for n, m in enumerate(messages, 1) if isinstance(m, itch.Trade)]
    assert sum(market.counts().values()) == len(messages)


def test_one_share_off_changes_the_digest() -> None:
    def book(shares: int) -> dict[str, str]:
        market = Market(lambda *_: None)
        take(market, 1, itch.AddOrder(1, 0, 0, 5, "B", shares, "ZVZZT", 10_000))
        return market.digests()

    assert book(100) == book(100)
    assert book(100) != book(101)


def test_client_knows_every_message_of_the_specification() -> None:
    assert {letter.decode(): size for letter, size in CLIENT_SIZES.items()} == SIZES


def test_unknown_and_truncated_messages() -> None:
    market = Market(lambda *_: None)
    wire = itch.OrderDelete(1, 0, 0, 6).encode()
    for length in range(len(wire)):
        with pytest.raises(ValueError, match=rf"message 9: ITCH 5.0 has no message .* of {length} bytes"):
            market.message(9, wire[:length], 0, length)
    with pytest.raises(ValueError, match="no message b'Z' of 19 bytes"):
        market.message(9, b"Z" + wire[1:], 0, len(wire))
    with pytest.raises(KeyError):
        take(market, 9, itch.OrderDelete(1, 0, 0, 6))
    assert market.digests() == {}


def test_trade_in_a_stock_without_a_book_is_no_trigger() -> None:
    seen: list[tuple[int, Book, int]] = []
    market = Market(lambda *args: seen.append(args))
    take(market, 1, itch.Trade(4, 0, 0, 0, "B", 500, "ZVZZT", 10_000, 1))
    assert seen == []


def test_wire_latency() -> None:
    at = 1_790_000_000 * 1_000_000_000
    first, second = itch.SystemEvent(0, 0, at % NS_PER_DAY, "O"), itch.RegSho(1, 0, at % NS_PER_DAY - 5_000, "X", "0")
    latency = WireLatency()
    latency.record(moldudp64.encode(b"S".ljust(10), 1, [first.encode(), second.encode()]), at + 20_000)
    text, negative = latency.histogram()
    values = Histogram.from_text(text)
    assert (values.count, negative) == (2, 0)
    assert values.percentile(50) == pytest.approx(20_000, rel=1e-3)
    assert values.maximum == pytest.approx(25_000, rel=1e-3)


def test_wire_latency_over_midnight_and_with_a_clock_set_back() -> None:
    midnight = 20_000 * NS_PER_DAY
    latency = WireLatency()
    before = itch.SystemEvent(0, 0, NS_PER_DAY - 3_000, "O").encode()
    latency.record(moldudp64.encode(b"S".ljust(10), 1, [before]), midnight + 4_000)
    text, negative = latency.histogram()
    assert Histogram.from_text(text).maximum == pytest.approx(7_000, rel=1e-3)
    assert negative == 0
    latency.record(moldudp64.encode(b"S".ljust(10), 2, [itch.SystemEvent(0, 0, 9_000, "S").encode()]), midnight + 1_000)
    _, negative = latency.histogram()
    assert negative == 1
