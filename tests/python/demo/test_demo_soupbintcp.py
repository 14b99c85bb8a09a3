"""SoupBinTCP framing and OUCH messages as the simulator writes and reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfloop.demo import ouch, soupbintcp

LOGIN = b"\x00\x2fLdemo  secret    SESSION001                   1"
STREAM = (
    LOGIN
    + b"\x00\x01R"
    + b"\x00\x04Uabc"
    + b"\x00\x01O"
)  # fmt: skip
PACKETS = [(b"L", LOGIN[3:]), (b"R", b""), (b"U", b"abc"), (b"O", b"")]

ENTER_ORDER = b"OT0000000000042B\x00\x00\x00\x64ZVZZT   \x00\x01\x86\xa0\x00\x00\x00\x00DEMOYPN\x00\x00\x00\x00N "
ACCEPTED = (
    b"A"
    b"\x00\x00\x1f\x1a\xd6\x35\xbd\x15"
    b"T0000000000042"
    b"B"
    b"\x00\x00\x00\x64"
    b"ZVZZT   "
    b"\x00\x01\x86\xa0"
    b"\x00\x00\x00\x00"
    b"DEMO"
    b"Y"
    b"\x00\x00\x00\x00\x00\x00\x00\x05"
    b"P"
    b"N"
    b"\x00\x00\x00\x00"
    b"N"
    b"L"
    b" "
)
EXECUTED = (
    b"E\x00\x00\x1f\x1a\xd6\x35\xbd\x15T0000000000042\x00\x00\x00\x64\x00\x01\x86\xa0R\x00\x00\x00\x00\x00\x00\x00\x05"
)
TIME = 34_200_123_456_789


def test_login_layout() -> None:
    login = soupbintcp.Login("demo", "secret", "SESSION001", 1)
    assert login.encode() == LOGIN
    assert soupbintcp.Login.decode(LOGIN[3:]) == login
    assert soupbintcp.Login.decode(b"demo  secret    " + b" " * 10 + b"%20d" % 7).session == ""
    assert soupbintcp.encode_login_accepted("S1", 7) == b"\x00\x1fA        S1                   7"
    assert soupbintcp.encode_login_rejected(soupbintcp.NOT_AUTHORIZED) == b"\x00\x02JA"


@pytest.mark.parametrize("payload", [b"", LOGIN[3:-1], LOGIN[3:] + b" ", LOGIN[3:-1] + b"x", b"\xff" * 46])
def test_malformed_login(payload: bytes) -> None:
    with pytest.raises(ValueError, match="SoupBinTCP Login Request"):
        soupbintcp.Login.decode(payload)


def test_login_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"6 \+ 10 \+ 10 \+ 20 characters"):
        soupbintcp.Login("toolong", "x", "", 0).encode()


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_stream_in_pieces_of_any_size(size: int) -> None:
    deframer = soupbintcp.Deframer()
    packets = []
    for start in range(0, len(STREAM), size):
        packets += list(deframer.feed(STREAM[start : start + size]))
    assert packets == PACKETS


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_stream_cut_at_every_byte(cut: int) -> None:
    deframer = soupbintcp.Deframer()
    assert [*deframer.feed(STREAM[:cut]), *deframer.feed(STREAM[cut:])] == PACKETS


def test_packet_without_a_type() -> None:
    with pytest.raises(ValueError, match="length 0"):
        list(soupbintcp.Deframer().feed(b"\x00\x00"))


@given(st.lists(st.tuples(st.sampled_from([b"S", b"U", b"+"]), st.binary(max_size=300))), st.integers(1, 50))
def test_deframing_undoes_framing(packets: list[tuple[bytes, bytes]], size: int) -> None:
    stream = b"".join(soupbintcp.encode(kind, payload) for kind, payload in packets)
    deframer = soupbintcp.Deframer()
    seen = [packet for at in range(0, len(stream), size) for packet in deframer.feed(stream[at : at + size])]
    assert seen == packets


def test_largest_payload() -> None:
    packet = soupbintcp.encode(b"U", bytes(65_534))
    assert packet[:3] == b"\xff\xffU"
    assert list(soupbintcp.Deframer().feed(packet)) == [(b"U", bytes(65_534))]
    with pytest.raises(ValueError, match="at most 65534 bytes, not 65535"):
        soupbintcp.encode(b"U", bytes(65_535))


def test_ouch_layouts() -> None:
    order = ouch.EnterOrder(
        "T0000000000042", "B", 100, "ZVZZT", 100_000, ouch.IMMEDIATE_OR_CANCEL, "DEMO", "Y", "P", "N", 0, "N", ""
    )
    accepted = ouch.Accepted(
        TIME, "T0000000000042", "B", 100, "ZVZZT", 100_000, 0, "DEMO", "Y", 5, "P", "N", 0, "N", "L", ""
    )
    executed = ouch.Executed(TIME, "T0000000000042", 100, 100_000, "R", 5)
    rejected = ouch.Rejected(TIME, "T0000000000042", "S")
    for message, wire, size in (
        (order, ENTER_ORDER, 49),
        (accepted, ACCEPTED, 66),
        (executed, EXECUTED, 40),
        (rejected, b"J" + EXECUTED[1:23] + b"S", 24),
    ):
        assert len(wire) == size == type(message).SIZE
        assert message.encode() == wire
        assert type(message).decode(wire) == message
        with pytest.raises(ValueError, match=f"has {size} bytes, not {size - 1}"):
            type(message).decode(wire[:-1])
