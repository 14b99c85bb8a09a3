"""The synthetic order flow and its schedule: consistent, complete, seeded."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import pytest

from sfloop.demo import itch
from sfloop.demo.book import ReferenceBooks
from sfloop.demo.orderflow import MANY_ORDERS, STOCKS, OrderFlow
from sfloop.demo.schedule import BURST_PACKETS, losses, schedule
from sfloop.demo.session_plan import prepare
from sfloop.demo.trigger import TRIGGER_SHARES


def day(seed: int, count: int = 4000) -> list[itch.ItchMessage]:
    flow = OrderFlow(seed)
    return [*flow.opening(), *itertools.islice(flow.trading(), count), *flow.closing()]


@pytest.mark.parametrize("seed", range(4))
def test_flow_never_contradicts_its_books(seed: int) -> None:
    books = ReferenceBooks()
    for message in day(seed):
        books.apply(message)  # raises on any contradiction
        locate = message.stock_locate
        bid, ask = books.best(locate, "B"), books.best(locate, "S")
        assert bid is None or ask is None or bid[0] < ask[0], f"crossed by {message}"
    assert set(books.digests()) == set(STOCKS)
    assert len(books.orders) <= 2 * len(STOCKS) * (MANY_ORDERS + 1)


def test_flow_has_all_kinds_of_messages_it_promises() -> None:
    counts = Counter(message.TYPE.decode() for message in day(1))
    assert set(counts) == set("SRHYLVKJhAFECXDUPQBIN")
    assert min(counts[kind] for kind in "AFECXDUP") > 50


def test_flow_is_bracketed_by_system_events() -> None:
    messages = day(1)
    events = [message.event_code for message in messages if isinstance(message, itch.SystemEvent)]
    assert events == ["O", "S", "Q", "M", "E", "C"]
    assert isinstance(messages[0], itch.SystemEvent)
    assert isinstance(messages[-1], itch.SystemEvent)


def test_same_seed_same_flow() -> None:
    assert day(7, 500) == day(7, 500)
    assert day(7, 500) != day(8, 500)
    first, second = (prepare("S", 4, 0.5, 0.1, 0.05) for _ in range(2))
    assert [(p.due, bytes(p.data), p.lost) for p in first.packets] == [
        (p.due, bytes(p.data), p.lost) for p in second.packets
    ]


def test_schedule_has_bursts_and_quiet_spells() -> None:
    slots = schedule(3, 4.0)
    gaps = [b.due - a.due for a, b in itertools.pairwise(slots)]
    assert all(gap >= 0 for gap in gaps)
    assert slots[-1].due < 4_000_000_000
    assert max(gaps) > 30_000_000  # a quiet spell
    runs = [len(list(run)) for due, run in itertools.groupby(slots, key=lambda slot: slot.due)]
    assert BURST_PACKETS[0] <= max(runs) <= BURST_PACKETS[1]
    assert 1_000 < len(slots) / 4 < 4_000


def test_losses() -> None:
    assert losses(1, 1000, 0.0) == set()
    assert losses(1, 1000, 1.0) == set(range(1000))
    some = losses(1, 10_000, 0.01)
    assert 50 < len(some) < 500
    assert any(index + 1 in some for index in some)  # gaps of several packets
    assert some != losses(2, 10_000, 0.01)


def test_expected_orders_follow_the_rule() -> None:
    plan = prepare("S", 4, 1.0, 0.1, 0.0)
    books = ReferenceBooks()
    expected = {order.sequence: order for order in plan.orders()}
    assert len(expected) > 10
    sequence = 0
    for packet in plan.packets:
        for offset, length in packet.messages:
            sequence += 1
            message = itch.decode(bytes(packet.data[offset : offset + length]))
            books.apply(message)
            order = expected.pop(sequence, None)
            assert (order is not None) == (isinstance(message, itch.Trade) and message.shares >= TRIGGER_SHARES)
            if order is not None:
                bid, ask = books.best(message.stock_locate, "B"), books.best(message.stock_locate, "S")
                assert bid is not None
                assert ask is not None
                assert (order.side, order.price) == (("B", ask[0]) if bid[1] >= ask[1] else ("S", bid[0]))
    assert not expected


def test_books_reject_what_contradicts_them() -> None:
    books = ReferenceBooks()
    add = itch.AddOrder(1, 0, 0, 5, "B", 100, "ZVZZT", 10_000)
    books.apply(add)
    with pytest.raises(ValueError, match="order 5 is already in the book"):
        books.apply(add)
    with pytest.raises(ValueError, match="order 6 is not in any book"):
        books.apply(itch.OrderDelete(1, 0, 0, 6))
    with pytest.raises(ValueError, match="order 5 has 100 shares, but 101 are removed"):
        books.apply(itch.OrderExecuted(1, 0, 0, 5, 101, 1))
    assert books.levels() == {1: {("B", 10_000): (100, 1)}}
    books.apply(itch.OrderReplace(1, 0, 0, 5, 7, 30, 10_100))
    books.apply(dataclasses.replace(add, order_reference=8, price=10_100))
    assert books.levels() == {1: {("B", 10_100): (130, 2)}}
    assert books.best(1, "B") == (10_100, 130)
    assert books.best(1, "S") is None
    books.apply(itch.OrderCancel(1, 0, 0, 7, 30))
    books.apply(itch.OrderDelete(1, 0, 0, 8))
    assert books.levels() == {1: {}}
    assert books.digests() == {}
