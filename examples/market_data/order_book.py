"""Order books by price level, built from NASDAQ TotalView-ITCH 5.0 messages.

Only messages that change a book, name a stock or report a trade are decoded; the others are counted. Messages are
decoded in place in the packet, without a copy.

The decoders are apart from those of the exchange's side on purpose: an example needs nothing of any loop, and two
independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import Struct

# Stock locate (2 bytes), tracking number (2) and timestamp (6) follow the type letter: TotalView-ITCH 5.0, "Message
# Formats". Unused fields are skipped ("x").
STOCK_DIRECTORY = Struct(">xH8x8s")
ADD_ORDER = Struct(">xH8xQcI8sI")
ORDER_EXECUTED = Struct(">11xQI")
ORDER_DELETE = Struct(">11xQ")
ORDER_REPLACE = Struct(">11xQQII")
TRADE = Struct(">xH16xxI8xI")

SIZES = {
    b"S": 12, b"R": 39, b"H": 25, b"Y": 20, b"L": 26, b"V": 35, b"W": 12, b"K": 28, b"J": 35, b"h": 21, b"A": 36,
    b"F": 40, b"E": 31, b"C": 36, b"X": 23, b"D": 19, b"U": 35, b"P": 44, b"Q": 40, b"B": 19, b"I": 50, b"N": 20,
    b"O": 48,
}  # fmt: skip
"""Bytes of each message type, its letter included."""


class Book:
    """One stock's price levels: ``bids`` and ``asks`` hold [shares, orders] by price (four implied decimals)."""

    __slots__ = ("asks", "best_ask", "best_bid", "bids", "stock")

    def __init__(self) -> None:
        self.stock = ""
        self.bids: dict[int, list[int]] = {}
        self.asks: dict[int, list[int]] = {}
        self.best_bid: int | None = None
        self.best_ask: int | None = None

    def add(self, order: Order) -> None:
        price = order.price
        levels = self.bids if order.is_bid else self.asks
        level = levels.get(price)
        if level is not None:
            level[0] += order.shares
            level[1] += 1
            return
        levels[price] = [order.shares, 1]
        if order.is_bid:
            if self.best_bid is None or price > self.best_bid:
                self.best_bid = price
        elif self.best_ask is None or price < self.best_ask:
            self.best_ask = price

    def reduce(self, order: Order, shares: int) -> None:
        """Take ``shares`` off an order. An order without shares leaves its level, a level without orders leaves the
        book."""
        price = order.price
        levels = self.bids if order.is_bid else self.asks
        level = levels[price]
        level[0] -= shares
        order.shares -= shares
        if order.shares:
            return
        level[1] -= 1
        if level[1]:
            return
        del levels[price]
        if order.is_bid:
            if price == self.best_bid:
                self.best_bid = max(levels, default=None)
        elif price == self.best_ask:
            self.best_ask = min(levels, default=None)

    def digest(self) -> str:
        """Return the SHA-256 of one line ``side price shares orders`` for each level, best bid to worst, then best ask
        to worst."""
        bids, asks = sorted(self.bids.items(), reverse=True), sorted(self.asks.items())
        lines = [f"B {price} {shares} {orders}\n" for price, (shares, orders) in bids]
        lines += [f"S {price} {shares} {orders}\n" for price, (shares, orders) in asks]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class Order:
    """A displayed order."""

    __slots__ = ("book", "is_bid", "price", "shares")

    def __init__(self, book: Book, is_bid: bool, price: int, shares: int) -> None:
        self.book, self.is_bid, self.price, self.shares = book, is_bid, price, shares


class Market:
    """The books of every stock. ``on_trade(sequence, book, shares)`` is called for each Trade (non-cross) message."""

    def __init__(self, on_trade: Callable[[int, Book, int], None]) -> None:
        self.books: dict[int, Book] = {}
        self.orders: dict[int, Order] = {}
        self._on_trade = on_trade
        self._counts = [0] * 256
        self._sizes: list[int] = [0] * 256
        for letter, size in SIZES.items():
            self._sizes[letter[0]] = size
        self._handlers: list[Callable[[int, bytes, int], None] | None] = [None] * 256
        for letter, handler in {
            b"R": self._stock_directory,
            b"A": self._add_order,
            b"F": self._add_order,
            b"E": self._order_reduced,
            b"C": self._order_reduced,
            b"X": self._order_reduced,
            b"D": self._order_delete,
            b"U": self._order_replace,
            b"P": self._trade,
        }.items():
            self._handlers[letter[0]] = handler

    def message(self, sequence: int, packet: bytes, offset: int, length: int) -> None:
        """Take message ``sequence``, which lies in ``packet`` at ``offset``.

        :raises ValueError: ITCH 5.0 does not have this message.
        :raises KeyError: the message names an order that is in no book.
        """
        kind = packet[offset] if length else 0
        if length != self._sizes[kind] or not length:
            raise ValueError(f"message {sequence}: ITCH 5.0 has no message {bytes([kind])!r} of {length} bytes")
        self._counts[kind] += 1
        handler = self._handlers[kind]
        if handler is not None:
            handler(sequence, packet, offset)

    def counts(self) -> dict[str, int]:
        """Return the number of messages of each type."""
        return {chr(kind): count for kind, count in enumerate(self._counts) if count}

    def digests(self) -> dict[str, str]:
        """Return the digest of each book that has orders, by stock."""
        books = sorted(self.books.values(), key=lambda book: book.stock)
        return {book.stock: book.digest() for book in books if book.bids or book.asks}

    def _book(self, locate: int, stock: bytes) -> Book:
        book = self.books.get(locate)
        if book is None:
            book = self.books[locate] = Book()
            book.stock = stock.decode("ascii").rstrip()
        return book

    def _stock_directory(self, sequence: int, packet: bytes, offset: int) -> None:
        locate, stock = STOCK_DIRECTORY.unpack_from(packet, offset)
        self._book(locate, stock)

    def _add_order(self, sequence: int, packet: bytes, offset: int) -> None:
        locate, reference, side, shares, stock, price = ADD_ORDER.unpack_from(packet, offset)
        book = self.books.get(locate) or self._book(locate, stock)
        order = self.orders[reference] = Order(book, side == b"B", price, shares)
        book.add(order)

    def _order_reduced(self, sequence: int, packet: bytes, offset: int) -> None:
        reference, shares = ORDER_EXECUTED.unpack_from(packet, offset)
        order = self.orders[reference]
        order.book.reduce(order, shares)
        if not order.shares:
            del self.orders[reference]

    def _order_delete(self, sequence: int, packet: bytes, offset: int) -> None:
        (reference,) = ORDER_DELETE.unpack_from(packet, offset)
        order = self.orders.pop(reference)
        order.book.reduce(order, order.shares)

    def _order_replace(self, sequence: int, packet: bytes, offset: int) -> None:
        old_reference, reference, shares, price = ORDER_REPLACE.unpack_from(packet, offset)
        old = self.orders.pop(old_reference)
        old.book.reduce(old, old.shares)
        order = self.orders[reference] = Order(old.book, old.is_bid, price, shares)
        order.book.add(order)

    def _trade(self, sequence: int, packet: bytes, offset: int) -> None:
        locate, shares, _price = TRADE.unpack_from(packet, offset)
        book = self.books.get(locate)
        if book is not None:
            self._on_trade(sequence, book, shares)
