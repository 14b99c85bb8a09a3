"""An independent decoder, the itchfeed package, reads the simulator's messages with the same values."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import pytest
from itch.messages import MarketMessage
from itch.parser import MessageParser
from itch_samples import SAMPLES

from sfloop.demo import binaryfile, itch
from sfloop.demo.orderflow import OrderFlow
from sfloop.demo.session_plan import prepare

NAMES = {
    "order_reference": "order_reference_number",
    "new_order_reference": "new_order_reference_number",
    "side": "buy_sell_indicator",
    "financial_status": "financial_status_indicator",
    "issue_subtype": "issue_sub_type",
    "short_sale_threshold": "short_sale_threshold_indicator",
    "luld_reference_price_tier": "luld_ref",
    "participant_state": "market_participant_state",
    "level_1": "level1_price",
    "level_2": "level2_price",
    "level_3": "level3_price",
    "release_time": "ipo_release_time",
    "release_qualifier": "ipo_release_qualifier",
    "open_eligibility": "open_eligibility_status",
    "minimum_price": "minimum_allowable_price",
    "maximum_price": "maximum_allowable_price",
    "lower_collar": "lower_price_range_collar",
    "upper_collar": "upper_price_range_collar",
    "interest": "interest_flag",
    "price_variation": "variation_indicator",
    "RegSho.action": "reg_sho_action",
    "OperationalHalt.action": "operational_halt_action",
    "IpoQuotingPeriod.price": "ipo_price",
    "LuldAuctionCollar.reference_price": "auction_collar_reference_price",
    "LuldAuctionCollar.upper_price": "upper_auction_collar_price",
    "LuldAuctionCollar.lower_price": "lower_auction_collar_price",
    "LuldAuctionCollar.extension": "auction_collar_extention",
    "NetOrderImbalance.reference_price": "current_reference_price",
}
"""The package's names of fields, where they are not the simulator's: by field, or by class and field."""


def compare(ours: itch.ItchMessage, theirs: MarketMessage) -> None:
    """Fail unless every field has the same value in both."""
    assert theirs.message_type == ours.TYPE
    for field in ours.__dataclass_fields__:
        if field == "TYPE":
            continue
        cls = type(ours).__name__
        value = getattr(theirs, NAMES.get(f"{cls}.{field}", NAMES.get(field, field)))
        if isinstance(value, bytes):
            value = value.decode("ascii").rstrip()
        assert value == getattr(ours, field), f"{cls}.{field}"


def framed(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


@pytest.mark.parametrize(("wire", "message"), SAMPLES, ids=[m.TYPE.decode() for _, m in SAMPLES])
def test_every_type(wire: bytes, message: itch.ItchMessage) -> None:
    (theirs,) = MessageParser().parse_stream(framed([wire]))
    compare(message, theirs)
    assert theirs.to_bytes() == wire


def test_a_whole_order_flow() -> None:
    flow = OrderFlow(seed=5)
    messages = [*flow.opening(), *itertools.islice(flow.trading(), 3000), *flow.closing()]
    parsed = list(MessageParser().parse_file(io.BytesIO(framed([message.encode() for message in messages]))))
    assert len(parsed) == len(messages)
    for ours, theirs in zip(messages, parsed, strict=True):
        compare(ours, theirs)


def test_the_packets_of_a_session(tmp_path: Path) -> None:
    plan = prepare("TEST", seed=3, seconds=0.5, warm_up=0.1, loss=0.0)
    stamp = (34_200_000_000_123).to_bytes(6, "big")
    messages = []
    for packet in plan.packets:
        for offset, length in packet.messages:
            packet.data[offset + itch.TIMESTAMP_OFFSET : offset + itch.TIMESTAMP_OFFSET + 6] = stamp
            messages.append(bytes(packet.data[offset : offset + length]))
    binaryfile.write(tmp_path / "dump", messages)
    with (tmp_path / "dump").open("rb") as file:
        parsed = list(MessageParser().parse_file(file))
    assert len(parsed) == plan.next_sequence - 1
    for message, theirs in zip(messages, parsed, strict=True):
        compare(itch.decode(message), theirs)
        assert theirs.timestamp == 34_200_000_000_123
