"""MoldUDP64 packets as the simulator writes and reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfloop.demo import moldudp64

SESSION = b"000012345A"
TWO = SESSION + b"\x00\x00\x00\x00\x00\x00\x01\x05\x00\x02\x00\x03abc\x00\x00"


def test_layout() -> None:
    assert moldudp64.encode(SESSION, 261, [b"abc", b""]) == TWO
    assert moldudp64.decode(TWO) == moldudp64.Downstream(SESSION, 261, 2, (b"abc", b""))
    assert moldudp64.encode_heartbeat(SESSION, 261) == TWO[:18] + b"\x00\x00"
    assert moldudp64.encode_end_of_session(SESSION, 261) == TWO[:18] + b"\xff\xff"
    assert moldudp64.encode_request(SESSION, 261, 300) == TWO[:18] + b"\x01\x2c"
    assert moldudp64.decode_request(TWO[:18] + b"\x01\x2c") == (SESSION, 261, 300)


def test_heartbeat_and_end_of_session_have_no_messages() -> None:
    assert moldudp64.decode(TWO[:18] + b"\x00\x00").messages == ()
    assert moldudp64.decode(TWO[:18] + b"\xff\xff") == moldudp64.Downstream(SESSION, 261, 0xFFFF, ())


@given(st.binary(min_size=10, max_size=10), st.integers(0, 2**64 - 1), st.lists(st.binary(max_size=80), min_size=1))
def test_decode_undoes_encode(session: bytes, sequence: int, messages: list[bytes]) -> None:
    packet = moldudp64.decode(moldudp64.encode(session, sequence, messages))
    assert packet == moldudp64.Downstream(session, sequence, len(messages), tuple(messages))


def test_every_truncation_is_rejected() -> None:
    for length in range(len(TWO)):
        with pytest.raises(ValueError, match="MoldUDP64 packet"):
            moldudp64.decode(TWO[:length])
    with pytest.raises(ValueError, match="1 bytes follow its last message"):
        moldudp64.decode(TWO + b"x")
    for size in (0, 19, 21):
        with pytest.raises(ValueError, match=f"request packet has 20 bytes, not {size}"):
            moldudp64.decode_request(bytes(size))


@given(st.binary(max_size=60))
def test_any_bytes_decode_to_themselves_or_raise_value_error(data: bytes) -> None:
    try:
        packet = moldudp64.decode(data)
    except ValueError:
        return
    if packet.messages:
        assert moldudp64.encode(packet.session, packet.sequence, packet.messages) == data
    else:
        assert data[18:] in (b"\x00\x00", b"\xff\xff")


def test_what_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="holds 1 to 65534 messages, not 0"):
        moldudp64.encode(SESSION, 1, [])
    assert moldudp64.session_name("AB") == b"AB        "
    for name in ("", "ELEVENCHARS", "Ä"):
        with pytest.raises(ValueError, match="1 to 10 ASCII characters"):
            moldudp64.session_name(name)
