"""ITCH 5.0: layouts against bytes written by hand, identity, and malformed input."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itch_samples import SAMPLES, SIZES

from sfloop.demo import itch
from sfloop.demo.layout import Alpha, FixedLayout

IDS = [message.TYPE.decode() for _, message in SAMPLES]


def messages_of(cls: type[FixedLayout]) -> st.SearchStrategy[FixedLayout]:
    """Messages of a class with any values that their wire types can hold."""
    fields: list[st.SearchStrategy[Any]] = []
    for _, kind in cls._fields:
        if isinstance(kind, Alpha):
            # Trailing spaces are padding, so a value cannot end in one.
            characters = st.characters(min_codepoint=32, max_codepoint=126)
            fields.append(st.text(characters, max_size=kind.size).map(lambda text: text.rstrip(" ")))
        else:
            fields.append(st.integers(0, (1 << 8 * kind.size) - 1))
    return st.tuples(*fields).map(lambda values: cls(*values))


def test_samples_cover_every_type_of_the_specification() -> None:
    assert {message.TYPE.decode() for _, message in SAMPLES} == set(SIZES)
    assert {letter.decode(): cls.SIZE for letter, cls in itch.MESSAGE_TYPES.items()} == SIZES


@pytest.mark.parametrize(("wire", "message"), SAMPLES, ids=IDS)
def test_layout(wire: bytes, message: itch.ItchMessage) -> None:
    assert len(wire) == SIZES[wire[:1].decode()]
    assert message.encode() == wire
    assert itch.decode(wire) == message


@given(st.one_of([messages_of(cls) for cls in itch.MESSAGE_TYPES.values()]))
def test_decode_undoes_encode(message: itch.ItchMessage) -> None:
    assert itch.decode(message.encode()) == message


@pytest.mark.parametrize(("wire", "message"), SAMPLES, ids=IDS)
def test_every_wrong_length_is_rejected(wire: bytes, message: itch.ItchMessage) -> None:
    for length in range(1, len(wire)):
        with pytest.raises(ValueError, match=rf"{type(message).__name__} has {len(wire)} bytes, not {length}"):
            itch.decode(wire[:length])
    with pytest.raises(ValueError, match=f"not {len(wire) + 1}"):
        itch.decode(wire + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_decode_to_themselves_or_raise_value_error(data: bytes) -> None:
    try:
        message = itch.decode(data)
    except ValueError:
        return
    assert message.encode() == data


def test_errors_name_message_and_field() -> None:
    with pytest.raises(ValueError, match=r"ITCH 5\.0 has no message of type b'Z'"):
        itch.decode(b"Z" * 12)
    with pytest.raises(ValueError, match=r"no message of type b''"):
        itch.decode(b"")
    with pytest.raises(ValueError, match=r"OrderCancel\.cancelled_shares: -1 does not fit"):
        itch.OrderCancel(1, 0, 0, 1, -1).encode()
    with pytest.raises(ValueError, match=r"SystemEvent\.timestamp: 281474976710656 does not fit"):
        itch.SystemEvent(1, 0, 1 << 48, "O").encode()
    with pytest.raises(ValueError, match=r"RegSho\.stock: 'NINELETTR' is longer than the 8 bytes"):
        itch.RegSho(1, 0, 0, "NINELETTR", "0").encode()
    with pytest.raises(ValueError, match=r"RegSho\.stock: 'Ä' is not ASCII"):
        itch.RegSho(1, 0, 0, "Ä", "0").encode()
    wire, _ = next((wire, message) for wire, message in SAMPLES if isinstance(message, itch.RegSho))
    with pytest.raises(ValueError, match=r"RegSho\.action: b'\\xff' is not ASCII"):
        itch.decode(wire[:-1] + b"\xff")
    with pytest.raises(ValueError, match="RegSho begins with b'Y', not b'N'"):
        itch.RegSho.decode(b"N" + wire[1:])


def test_timestamp_offset_is_where_the_timestamp_is() -> None:
    for wire, message in SAMPLES:
        at = itch.TIMESTAMP_OFFSET
        assert int.from_bytes(wire[at : at + 6], "big") == message.timestamp


def test_every_field_has_a_wire_type() -> None:
    for cls in itch.MESSAGE_TYPES.values():
        assert [field.name for field in dataclasses.fields(cls)] == [name for name, _ in cls._fields]
