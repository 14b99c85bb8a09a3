"""The trading rule of the demo, in the simulator: which messages make the client send which order.

The client in ``examples/`` has its own code for the rule: on a Trade message of at least ``TRIGGER_SHARES`` shares,
join the heavier side of that stock's book at once. If the best bid has at least as many shares as the best offer, buy
at the offer, else sell at the bid; 100 shares, immediate or cancel. No order if a side is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import itch
from .book import ReferenceBooks

TRIGGER_SHARES = 300
ORDER_SHARES = 100


@dataclass(frozen=True)
class ExpectedOrder:
    """The order that the client must send because of message ``sequence``."""

    sequence: int
    side: str
    stock: str
    price: int

    @property
    def token(self) -> str:
        """The order's OUCH token, which contains the number of its trigger message."""
        return f"T{self.sequence:013d}"


def expected_order(sequence: int, message: itch.ItchMessage, books: ReferenceBooks) -> ExpectedOrder | None:
    """The order that ``message`` must cause, given the books after it; None if it causes none."""
    if not isinstance(message, itch.Trade) or message.shares < TRIGGER_SHARES:
        return None
    bid, ask = books.best(message.stock_locate, "B"), books.best(message.stock_locate, "S")
    if bid is None or ask is None:
        return None
    if bid[1] >= ask[1]:
        return ExpectedOrder(sequence, "B", message.stock, ask[0])
    return ExpectedOrder(sequence, "S", message.stock, bid[0])
