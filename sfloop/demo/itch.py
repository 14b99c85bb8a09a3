"""The messages of NASDAQ TotalView-ITCH 5.0, encoded and decoded.

Source: Nasdaq's "NASDAQ TotalView-ITCH 5.0" specification, chapter "Message Formats", in its order. All integers are
big-endian and unsigned; prices are integers with four implied decimals (eight in the MWCB levels); a timestamp has six
bytes and counts nanoseconds since midnight; text is left-justified and padded with spaces.

The decoders of examples/market_data/order_book.py are apart from these on purpose: an example needs nothing of sfloop,
and two independent readings of the specification check each other in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .layout import U16, U32, U48, U64, Alpha2, Alpha4, Alpha8, Char, FixedLayout, Price4, Price8

TIMESTAMP_OFFSET = 5
"""The offset of the six timestamp bytes in every message."""

NS_PER_DAY = 86_400 * 1_000_000_000


@dataclass(frozen=True)
class ItchMessage(FixedLayout):
    """The fields with which every message begins, after its type letter."""

    stock_locate: U16
    tracking_number: U16
    timestamp: U48


@dataclass(frozen=True)
class SystemEvent(ItchMessage):
    """System Event. ``event_code``: O start of messages, S of system hours, Q of market hours; M, E, C their ends."""

    TYPE: ClassVar[bytes] = b"S"
    event_code: Char


@dataclass(frozen=True)
class StockDirectory(ItchMessage):
    """Stock Directory."""

    TYPE: ClassVar[bytes] = b"R"
    stock: Alpha8
    market_category: Char
    financial_status: Char
    round_lot_size: U32
    round_lots_only: Char
    issue_classification: Char
    issue_subtype: Alpha2
    authenticity: Char
    short_sale_threshold: Char
    ipo_flag: Char
    luld_reference_price_tier: Char
    etp_flag: Char
    etp_leverage_factor: U32
    inverse_indicator: Char


@dataclass(frozen=True)
class StockTradingAction(ItchMessage):
    """Stock Trading Action. ``trading_state``: H halted, P paused, Q quotation only, T trading."""

    TYPE: ClassVar[bytes] = b"H"
    stock: Alpha8
    trading_state: Char
    reserved: Char
    reason: Alpha4


@dataclass(frozen=True)
class RegSho(ItchMessage):
    """Reg SHO Short Sale Price Test Restricted Indicator."""

    TYPE: ClassVar[bytes] = b"Y"
    stock: Alpha8
    action: Char


@dataclass(frozen=True)
class MarketParticipantPosition(ItchMessage):
    """Market Participant Position."""

    TYPE: ClassVar[bytes] = b"L"
    mpid: Alpha4
    stock: Alpha8
    primary_market_maker: Char
    market_maker_mode: Char
    participant_state: Char


@dataclass(frozen=True)
class MwcbDeclineLevel(ItchMessage):
    """Market-Wide Circuit Breaker decline levels."""

    TYPE: ClassVar[bytes] = b"V"
    level_1: Price8
    level_2: Price8
    level_3: Price8


@dataclass(frozen=True)
class MwcbStatus(ItchMessage):
    """Market-Wide Circuit Breaker status: the level (1, 2, 3) that was breached."""

    TYPE: ClassVar[bytes] = b"W"
    breached_level: Char


@dataclass(frozen=True)
class IpoQuotingPeriod(ItchMessage):
    """IPO Quoting Period Update. ``release_time`` is in seconds since midnight."""

    TYPE: ClassVar[bytes] = b"K"
    stock: Alpha8
    release_time: U32
    release_qualifier: Char
    price: Price4


@dataclass(frozen=True)
class LuldAuctionCollar(ItchMessage):
    """Limit Up – Limit Down Auction Collar."""

    TYPE: ClassVar[bytes] = b"J"
    stock: Alpha8
    reference_price: Price4
    upper_price: Price4
    lower_price: Price4
    extension: U32


@dataclass(frozen=True)
class OperationalHalt(ItchMessage):
    """Operational Halt. ``market_code``: Q Nasdaq, B BX, X PSX; ``action``: H halted, T trading."""

    TYPE: ClassVar[bytes] = b"h"
    stock: Alpha8
    market_code: Char
    action: Char


@dataclass(frozen=True)
class AddOrder(ItchMessage):
    """Add Order, no MPID attribution. ``side``: B or S."""

    TYPE: ClassVar[bytes] = b"A"
    order_reference: U64
    side: Char
    shares: U32
    stock: Alpha8
    price: Price4


@dataclass(frozen=True)
class AddOrderMpid(ItchMessage):
    """Add Order with MPID attribution. ``side``: B or S."""

    TYPE: ClassVar[bytes] = b"F"
    order_reference: U64
    side: Char
    shares: U32
    stock: Alpha8
    price: Price4
    attribution: Alpha4


@dataclass(frozen=True)
class OrderExecuted(ItchMessage):
    """Order Executed, at the order's own price."""

    TYPE: ClassVar[bytes] = b"E"
    order_reference: U64
    executed_shares: U32
    match_number: U64


@dataclass(frozen=True)
class OrderExecutedWithPrice(ItchMessage):
    """Order Executed With Price, at a price other than the order's own. ``printable``: Y or N."""

    TYPE: ClassVar[bytes] = b"C"
    order_reference: U64
    executed_shares: U32
    match_number: U64
    printable: Char
    execution_price: Price4


@dataclass(frozen=True)
class OrderCancel(ItchMessage):
    """Order Cancel: ``cancelled_shares`` are taken off the order."""

    TYPE: ClassVar[bytes] = b"X"
    order_reference: U64
    cancelled_shares: U32


@dataclass(frozen=True)
class OrderDelete(ItchMessage):
    """Order Delete: the whole order leaves the book."""

    TYPE: ClassVar[bytes] = b"D"
    order_reference: U64


@dataclass(frozen=True)
class OrderReplace(ItchMessage):
    """Order Replace: the old order leaves, one of the same stock and side enters."""

    TYPE: ClassVar[bytes] = b"U"
    order_reference: U64
    new_order_reference: U64
    shares: U32
    price: Price4


@dataclass(frozen=True)
class Trade(ItchMessage):
    """Trade (non-cross): an execution against a hidden order. The displayed book does not change."""

    TYPE: ClassVar[bytes] = b"P"
    order_reference: U64
    side: Char
    shares: U32
    stock: Alpha8
    price: Price4
    match_number: U64


@dataclass(frozen=True)
class CrossTrade(ItchMessage):
    """Cross Trade. ``cross_type``: O opening, C closing, H IPO or halted."""

    TYPE: ClassVar[bytes] = b"Q"
    shares: U64
    stock: Alpha8
    cross_price: Price4
    match_number: U64
    cross_type: Char


@dataclass(frozen=True)
class BrokenTrade(ItchMessage):
    """Broken Trade."""

    TYPE: ClassVar[bytes] = b"B"
    match_number: U64


@dataclass(frozen=True)
class NetOrderImbalance(ItchMessage):
    """Net Order Imbalance Indicator (NOII)."""

    TYPE: ClassVar[bytes] = b"I"
    paired_shares: U64
    imbalance_shares: U64
    imbalance_direction: Char
    stock: Alpha8
    far_price: Price4
    near_price: Price4
    reference_price: Price4
    cross_type: Char
    price_variation: Char


@dataclass(frozen=True)
class RetailPriceImprovement(ItchMessage):
    """Retail Price Improvement Indicator. ``interest``: B buy, S sell, A both, N none."""

    TYPE: ClassVar[bytes] = b"N"
    stock: Alpha8
    interest: Char


@dataclass(frozen=True)
class DirectListing(ItchMessage):
    """Direct Listing with Capital Raise price discovery."""

    TYPE: ClassVar[bytes] = b"O"
    stock: Alpha8
    open_eligibility: Char
    minimum_price: Price4
    maximum_price: Price4
    near_execution_price: Price4
    near_execution_time: U64
    lower_collar: Price4
    upper_collar: Price4


MESSAGE_TYPES: dict[bytes, type[ItchMessage]] = {cls.TYPE: cls for cls in ItchMessage.__subclasses__()}
"""Type letter → message class."""


def decode(data: bytes) -> ItchMessage:
    """Decode an ITCH message.

    Raises ValueError for an unknown type letter, a wrong length or text that is not ASCII.
    """
    try:
        cls = MESSAGE_TYPES[data[:1]]
    except KeyError:
        raise ValueError(f"ITCH 5.0 has no message of type {data[:1]!r} (message of {len(data)} bytes)") from None
    return cls.decode(data)
