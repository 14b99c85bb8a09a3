"""A synthetic order flow: ITCH messages of an invented trading day. The same seed gives the same flow.

The flow is consistent: every execution, cancel, delete and replace names an order in the book and removes no more
shares than it has, and bids stay below asks. The stocks are Nasdaq's own test symbols.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from . import itch

STOCKS = ("ZAZZT", "ZBZZT", "ZCZZT", "ZJZZT", "ZVZZT", "ZWZZT", "ZXZZT")
MPIDS = ("AAAA", "BBBB", "CCCC", "DDDD")
TICK = 100
"""One cent, in ITCH's units of 1/10,000 dollar."""
OPENING_ORDERS = 20
"""Orders on each side of each book when the market opens."""
FEW_ORDERS, MANY_ORDERS = 12, 80
"""With fewer orders a side of a book only gains orders, with more it only loses orders."""


@dataclass
class _Order:
    reference: int
    side: str
    shares: int
    price: int


@dataclass
class _Market:
    """One stock: its live orders, and the price around which they are placed."""

    locate: int
    stock: str
    middle: int
    sides: dict[str, list[_Order]] = field(default_factory=lambda: {"B": [], "S": []})

    def best(self, side: str) -> _Order:
        orders = self.sides[side]
        return max(orders, key=lambda o: o.price) if side == "B" else min(orders, key=lambda o: o.price)


class OrderFlow:
    """Makes the messages of a day: first ``opening``, then any number from ``trading``, then ``closing``.

    Timestamps are zero, because the simulator writes them when it sends.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"order flow {seed}")
        self._markets = [
            _Market(locate, stock, self._rng.randrange(1_000, 20_000) * TICK) for locate, stock in enumerate(STOCKS, 1)
        ]
        self._reference = 0
        self._match = 0
        self._kinds: list[tuple[int, Callable[[_Market], itch.ItchMessage]]] = [
            (40, self._add),
            (16, self._execute),
            (3, self._execute_with_price),
            (8, self._cancel),
            (20, self._delete),
            (9, self._replace),
            (3, self._trade),
            (1, self._indicate),
        ]

    def opening(self) -> Iterator[itch.ItchMessage]:
        """From the start of messages to the start of market hours, with the opening cross."""
        yield itch.SystemEvent(0, 0, 0, "O")
        for market in self._markets:
            yield from self._describe(market)
        yield itch.MwcbDeclineLevel(0, 0, 0, 415_013_000_000, 388_216_000_000, 357_024_000_000)
        yield itch.SystemEvent(0, 0, 0, "S")
        for market in self._markets:
            for side in ("B", "S") * OPENING_ORDERS:
                yield self._add(market, side)
        for market in self._markets:
            yield self._imbalance(market, "O")
        yield itch.SystemEvent(0, 0, 0, "Q")
        for market in self._markets:
            yield itch.CrossTrade(
                market.locate,
                0,
                0,
                self._rng.randint(1, 500) * 100,
                market.stock,
                market.middle,
                self._next_match(),
                "O",
            )

    def trading(self) -> Iterator[itch.ItchMessage]:
        """An endless series of messages of market hours."""
        weights = [weight for weight, _ in self._kinds]
        kinds = [make for _, make in self._kinds]
        while True:
            market = self._rng.choice(self._markets)
            bids, asks = len(market.sides["B"]), len(market.sides["S"])
            if min(bids, asks) < FEW_ORDERS:
                yield self._add(market, "B" if bids < asks else "S")
            elif max(bids, asks) > MANY_ORDERS:
                yield self._delete(market, "B" if bids > asks else "S")
            else:
                yield self._rng.choices(kinds, weights)[0](market)

    def closing(self) -> Iterator[itch.ItchMessage]:
        """From the end of market hours to the end of messages."""
        yield itch.SystemEvent(0, 0, 0, "M")
        for market in self._markets:
            yield itch.CrossTrade(
                market.locate,
                0,
                0,
                self._rng.randint(1, 900) * 100,
                market.stock,
                market.middle,
                self._next_match(),
                "C",
            )
        yield itch.SystemEvent(0, 0, 0, "E")
        yield itch.SystemEvent(0, 0, 0, "C")

    def _describe(self, market: _Market) -> Iterator[itch.ItchMessage]:
        locate, stock = market.locate, market.stock
        yield itch.StockDirectory(locate, 0, 0, stock, "Q", "N", 100, "N", "C", "Z", "T", "N", "N", "1", "N", 0, "N")
        yield itch.StockTradingAction(locate, 0, 0, stock, "T", "", "")
        yield itch.RegSho(locate, 0, 0, stock, "0")
        yield itch.OperationalHalt(locate, 0, 0, stock, "Q", "T")
        for mpid in MPIDS:
            yield itch.MarketParticipantPosition(locate, 0, 0, mpid, stock, "Y", "N", "A")

    def _next_reference(self) -> int:
        self._reference += self._rng.randint(1, 8)
        return self._reference

    def _next_match(self) -> int:
        self._match += self._rng.randint(1, 4)
        return self._match

    def _shares(self) -> int:
        return self._rng.choice((1, 2, 3, 5, 10)) * 100 if self._rng.random() < 0.8 else self._rng.randint(1, 999)

    def _price(self, market: _Market, side: str) -> int:
        """A price near the middle that does not cross the other side."""
        ticks = 1 + int(self._rng.expovariate(1 / 4))
        if side == "B":
            limit = market.best("S").price - TICK if market.sides["S"] else market.middle
            return max(TICK, min(limit, market.middle - ticks * TICK))
        limit = market.best("B").price + TICK if market.sides["B"] else market.middle
        return max(limit, market.middle + ticks * TICK)

    def _side(self) -> str:
        return self._rng.choice("BS")

    def _any(self, market: _Market, side: str) -> _Order:
        return self._rng.choice(market.sides[side])

    def _take(self, market: _Market, order: _Order, shares: int) -> None:
        order.shares -= shares
        if order.shares == 0:
            market.sides[order.side].remove(order)

    def _add(self, market: _Market, side: str | None = None) -> itch.ItchMessage:
        if self._rng.random() < 0.2:
            market.middle = max(200 * TICK, market.middle + self._rng.choice((-TICK, TICK)))
        side = side or self._side()
        order = _Order(self._next_reference(), side, self._shares(), self._price(market, side))
        market.sides[side].append(order)
        head = (market.locate, 0, 0, order.reference, side, order.shares, market.stock, order.price)
        if self._rng.random() < 0.12:
            return itch.AddOrderMpid(*head, self._rng.choice(MPIDS))
        return itch.AddOrder(*head)

    def _executed_shares(self, order: _Order) -> int:
        return order.shares if self._rng.random() < 0.5 else self._rng.randint(1, order.shares)

    def _execute(self, market: _Market) -> itch.ItchMessage:
        order = market.best(self._side())
        shares = self._executed_shares(order)
        self._take(market, order, shares)
        return itch.OrderExecuted(market.locate, 0, 0, order.reference, shares, self._next_match())

    def _execute_with_price(self, market: _Market) -> itch.ItchMessage:
        order = market.best(self._side())
        shares = self._executed_shares(order)
        self._take(market, order, shares)
        price = order.price + (TICK // 2 if order.side == "S" else -TICK // 2)
        return itch.OrderExecutedWithPrice(
            market.locate, 0, 0, order.reference, shares, self._next_match(), self._rng.choice("YYYN"), price
        )

    def _cancel(self, market: _Market) -> itch.ItchMessage:
        order = self._any(market, self._side())
        if order.shares == 1:
            return self._delete_order(market, order)
        shares = self._rng.randint(1, order.shares - 1)
        self._take(market, order, shares)
        return itch.OrderCancel(market.locate, 0, 0, order.reference, shares)

    def _delete(self, market: _Market, side: str | None = None) -> itch.ItchMessage:
        return self._delete_order(market, self._any(market, side or self._side()))

    def _delete_order(self, market: _Market, order: _Order) -> itch.ItchMessage:
        market.sides[order.side].remove(order)
        return itch.OrderDelete(market.locate, 0, 0, order.reference)

    def _replace(self, market: _Market) -> itch.ItchMessage:
        side = self._side()
        old = self._any(market, side)
        market.sides[side].remove(old)
        new = _Order(self._next_reference(), side, self._shares(), self._price(market, side))
        market.sides[side].append(new)
        return itch.OrderReplace(market.locate, 0, 0, old.reference, new.reference, new.shares, new.price)

    def _trade(self, market: _Market) -> itch.ItchMessage:
        # The specification has had order reference 0 and side B in this message since 2014.
        return itch.Trade(market.locate, 0, 0, 0, "B", self._shares(), market.stock, market.middle, self._next_match())

    def _imbalance(self, market: _Market, cross: str) -> itch.ItchMessage:
        price = market.middle
        return itch.NetOrderImbalance(
            market.locate, 0, 0, self._shares(), self._shares(), self._side(), market.stock,
            price - TICK, price + TICK, price, cross, "L",
        )  # fmt: skip

    def _indicate(self, market: _Market) -> itch.ItchMessage:
        """One of the rarer messages that do not change the books."""
        locate, stock, price = market.locate, market.stock, market.middle
        kind = self._rng.randrange(6)
        if kind == 0:
            return self._imbalance(market, "C")
        if kind == 1:
            return itch.RetailPriceImprovement(locate, 0, 0, stock, self._rng.choice("BSAN"))
        if kind == 2 and self._match:
            return itch.BrokenTrade(locate, 0, 0, self._rng.randint(1, self._match))
        if kind == 3:
            return itch.LuldAuctionCollar(locate, 0, 0, stock, price, price * 21 // 20, price * 19 // 20, 0)
        if kind == 4:
            return itch.IpoQuotingPeriod(locate, 0, 0, stock, 34_200, "A", price)
        return itch.MarketParticipantPosition(locate, 0, 0, self._rng.choice(MPIDS), stock, "Y", "N", "A")
