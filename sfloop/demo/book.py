"""The reference order books: the simulator's true books, order by order.

The client keeps price levels and changes them with each message. This class keeps orders only, and sums up the levels
at the end. The two share no code, so that a mistake in one of them shows as a difference.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

from . import itch


@dataclass
class Order:
    """A displayed order in the book. ``price`` has four implied decimals."""

    stock_locate: int
    side: str
    price: int
    shares: int


class ReferenceBooks:
    """The order books of every stock, kept by applying ITCH messages one after another."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self._by_stock: defaultdict[int, dict[int, Order]] = defaultdict(dict)
        self.stocks: dict[int, str] = {}
        """Stock locate → stock name, of every stock in a directory or add message."""

    def apply(self, message: itch.ItchMessage) -> None:
        """Apply ``message`` to the books. Messages that do not concern orders change nothing.

        Raises ValueError, which names the message, if it contradicts the books: its order is unknown or already there,
        or the order has fewer shares than the message removes.
        """
        if isinstance(message, (itch.AddOrder, itch.AddOrderMpid)):
            self.stocks[message.stock_locate] = message.stock
            order = Order(message.stock_locate, message.side, message.price, message.shares)
            self._add(message, message.order_reference, order)
        elif isinstance(message, (itch.OrderExecuted, itch.OrderExecutedWithPrice)):
            self._reduce(message, message.order_reference, message.executed_shares)
        elif isinstance(message, itch.OrderCancel):
            self._reduce(message, message.order_reference, message.cancelled_shares)
        elif isinstance(message, itch.OrderDelete):
            self._remove(message.order_reference, self._find(message, message.order_reference))
        elif isinstance(message, itch.OrderReplace):
            old = self._find(message, message.order_reference)
            self._remove(message.order_reference, old)
            self._add(
                message, message.new_order_reference, Order(old.stock_locate, old.side, message.price, message.shares)
            )
        elif isinstance(message, itch.StockDirectory):
            self.stocks[message.stock_locate] = message.stock

    def _find(self, message: itch.ItchMessage, reference: int) -> Order:
        try:
            return self.orders[reference]
        except KeyError:
            raise ValueError(f"order {reference} is not in any book: {message}") from None

    def _add(self, message: itch.ItchMessage, reference: int, order: Order) -> None:
        if reference in self.orders:
            raise ValueError(f"order {reference} is already in the book: {message}")
        self.orders[reference] = order
        self._by_stock[order.stock_locate][reference] = order

    def _remove(self, reference: int, order: Order) -> None:
        del self.orders[reference]
        del self._by_stock[order.stock_locate][reference]

    def _reduce(self, message: itch.ItchMessage, reference: int, shares: int) -> None:
        order = self._find(message, reference)
        if shares > order.shares:
            raise ValueError(f"order {reference} has {order.shares} shares, but {shares} are removed: {message}")
        order.shares -= shares
        if order.shares == 0:
            self._remove(reference, order)

    def best(self, stock_locate: int, side: str) -> tuple[int, int] | None:
        """(price, shares) of a stock's best bid (side B) or offer (S); None if that side is empty."""
        orders = [order for order in self._by_stock[stock_locate].values() if order.side == side]
        if not orders:
            return None
        price = max(order.price for order in orders) if side == "B" else min(order.price for order in orders)
        return price, sum(order.shares for order in orders if order.price == price)

    def levels(self) -> dict[int, dict[tuple[str, int], tuple[int, int]]]:
        """Stock locate → {(side, price): (shares, orders)}. Stocks without orders are included, with an empty
        mapping."""
        books: dict[int, dict[tuple[str, int], tuple[int, int]]] = {locate: {} for locate in self.stocks}
        totals: defaultdict[tuple[int, str, int], list[int]] = defaultdict(lambda: [0, 0])
        for order in self.orders.values():
            total = totals[order.stock_locate, order.side, order.price]
            total[0] += order.shares
            total[1] += 1
        for (locate, side, price), (shares, orders) in totals.items():
            books[locate][side, price] = (shares, orders)
        return books

    def digests(self) -> dict[str, str]:
        """Stock name → SHA-256, in hexadecimal, of the stock's price levels.

        The hashed text has one line ``side price shares orders`` for each level: bids from the highest price down, then
        asks from the lowest up. Stocks without orders are left out.
        """
        digests = {}
        for locate, levels in self.levels().items():
            if levels:
                ranked = sorted(levels.items(), key=lambda level: (level[0][0], _rank(*level[0])))
                lines = [f"{side} {price} {shares} {orders}\n" for (side, price), (shares, orders) in ranked]
                digests[self.stocks[locate]] = hashlib.sha256("".join(lines).encode()).hexdigest()
        return dict(sorted(digests.items()))


def _rank(side: str, price: int) -> int:
    return -price if side == "B" else price
