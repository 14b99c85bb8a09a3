"""The trading rule of the demo, as the simulator foresees it: which messages must make the client send which order.

The rule (the client in ``examples/`` has its own code for it): on a Trade message of at least ``TRIGGER_SHARES``
shares, join the heavier side of that stock's book at once. When the best bid has at least as many shares as the best
offer, buy at the offer; otherwise sell at the bid; 100 shares, immediate or cancel. No order when a side is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import itch
from .book import ReferenceBooks

TRIGGER_SHARES = 300
ORDER_SHARES = 100


@dataclass(frozen=True)
class ExpectedOrder:
    """The order that the client must send on the message with number ``sequence``."""

    sequence: int
    side: str
    stock: str
    price: int

    @property
    def token(self) -> str:
        """The order's OUCH token, which says what the order answers."""
        return f"T{self.sequence:013d}"


def expected_order(sequence: int, message: itch.ItchMessage, books: ReferenceBooks) -> ExpectedOrder | None:
    """The order that ``message`` must cause, given the books as they stand after it; None if it must cause none."""
    if not isinstance(message, itch.Trade) or message.shares < TRIGGER_SHARES:
        return None
    bid, ask = books.best(message.stock_locate, "B"), books.best(message.stock_locate, "S")
    if bid is None or ask is None:
        return None
    if bid[1] >= ask[1]:
        return ExpectedOrder(sequence, "B", message.stock, ask[0])
    return ExpectedOrder(sequence, "S", message.stock, bid[0])
