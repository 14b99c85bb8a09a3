"""The messages of OUCH 4.2 that an immediate-or-cancel order needs, encoded and decoded.

Source: Nasdaq's "O*U*C*H Version 4.2" specification: section 2 (inbound messages: the client to the exchange) and
section 3 (outbound). Integers are big-endian and unsigned, prices have four implied decimals, timestamps are eight
bytes and count nanoseconds since midnight, text is left-justified and padded with spaces.

The decoders of examples/market_data/order_entry.py are apart from these on purpose: an example needs nothing of sfloop,
and two independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .layout import U32, U64, Alpha4, Alpha8, Alpha14, Char, FixedLayout, Price4

IMMEDIATE_OR_CANCEL = 0
"""``time_in_force`` in seconds. Zero: no part of the order may rest in the book."""


@dataclass(frozen=True)
class EnterOrder(FixedLayout):
    """Inbound Enter Order. ``token`` is the client's name for the order, and unique on this day."""

    TYPE: ClassVar[bytes] = b"O"
    token: Alpha14
    side: Char
    shares: U32
    stock: Alpha8
    price: Price4
    time_in_force: U32
    firm: Alpha4
    display: Char
    capacity: Char
    intermarket_sweep: Char
    minimum_quantity: U32
    cross_type: Char
    customer_type: Char


@dataclass(frozen=True)
class Accepted(FixedLayout):
    """Outbound Accepted. ``order_state``: L live, D dead (cancelled at once)."""

    TYPE: ClassVar[bytes] = b"A"
    timestamp: U64
    token: Alpha14
    side: Char
    shares: U32
    stock: Alpha8
    price: Price4
    time_in_force: U32
    firm: Alpha4
    display: Char
    order_reference: U64
    capacity: Char
    intermarket_sweep: Char
    minimum_quantity: U32
    cross_type: Char
    order_state: Char
    bbo_weight: Char


@dataclass(frozen=True)
class Executed(FixedLayout):
    """Outbound Executed. ``liquidity``: A added, R removed."""

    TYPE: ClassVar[bytes] = b"E"
    timestamp: U64
    token: Alpha14
    executed_shares: U32
    execution_price: Price4
    liquidity: Char
    match_number: U64


@dataclass(frozen=True)
class Rejected(FixedLayout):
    """Outbound Rejected. ``reason``: S invalid stock, Z invalid shares, X invalid price, O other, and more."""

    TYPE: ClassVar[bytes] = b"J"
    timestamp: U64
    token: Alpha14
    reason: Char
