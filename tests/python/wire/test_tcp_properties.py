"""TCP's wire format in C against the model in plain Python, for segments and bytes drawn by Hypothesis."""

from __future__ import annotations

import os
import shlex
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tcp_library import Tcp
from tcp_model import Segment, parse_segment
from wire_model import Refused

settings.register_profile("wire", deadline=None)
WIRE = settings.get_profile("wire")

addresses = st.binary(min_size=4, max_size=4)
numbers16 = st.integers(0, 0xFFFF)
numbers32 = st.integers(0, 0xFFFFFFFF)
payloads = st.binary(max_size=300) | st.lists(st.sampled_from([b"\0", b"\xff"]), max_size=200).map(b"".join)
segments = st.builds(
    Segment,
    src_addr=addresses,
    dst_addr=addresses,
    src_port=numbers16,
    dst_port=numbers16,
    seq=numbers32,
    ack=numbers32,
    flags=st.integers(0, 0xFF),
    window=numbers16,
    mss=st.none() | numbers16,
    sack_permitted=st.booleans(),
    timestamps=st.none() | st.tuples(numbers32, numbers32),
    window_scale=st.none() | st.integers(0, 0xFF),
    sack=st.lists(st.tuples(numbers32, numbers32), max_size=4).map(tuple),
    payload=payloads,
)
#: Whole options of any kind, and bytes that are no option.
options = (
    st.lists(
        st.binary(min_size=0, max_size=34).flatmap(
            lambda value: st.sampled_from([2, 3, 4, 5, 8, 30]).map(lambda kind: bytes([kind, 2 + len(value)]) + value)
        )
        | st.sampled_from([b"\1", b"\1\1", b"\0", b"\4\2", b"\x03\x03\x07", b"\2\4\5\xb4", b"\2\0", b"\x08"])
        | st.binary(max_size=4),
        max_size=8,
    )
    .map(b"".join)
    .map(lambda data: data[: min(len(data), 40) // 4 * 4])
)


@pytest.fixture(scope="module")
def tcp(tmp_path_factory: pytest.TempPathFactory) -> Tcp:
    if shutil.which(shlex.split(os.environ.get("CC", "cc"))[0]) is None:
        pytest.skip("there is no C compiler; CC names one")
    return Tcp(tmp_path_factory.mktemp("tcp"))


def agreed(tcp: Tcp, data: bytes, s: Segment, *, good: bool = False, partial: bool = False) -> Segment | str:
    """Return the result of both for an IP packet's payload, for any memory after it."""
    try:
        expected: Segment | str = parse_segment(data, s.src_addr, s.dst_addr, good=good, partial=partial)
    except Refused as refused:
        expected = str(refused)
    for behind in (b"\0" * 48, b"\xff" * 48, b"\2\4\5\xb4" * 12):
        got = tcp.parse(data, s.src_addr, s.dst_addr, good=good, partial=partial, behind=behind)
        assert got == expected
    if partial:  # the two flags differ in the order of the checks only
        assert tcp.parse(data, s.src_addr, s.dst_addr, good=good, unsure=True) == expected
    return expected


@settings(WIRE)
@given(segments, st.lists(st.integers(0, 300), max_size=3))
def test_what_is_emitted_agrees_and_is_parsed_as_it_was(tcp: Tcp, segment: Segment, cuts: list[int]) -> None:
    data = tcp.emit(segment, cuts)
    assert data == segment.bytes()
    parsed = agreed(tcp, data, segment)
    assert isinstance(parsed, Segment)
    assert parsed.sack == segment.sack[: len(parsed.sack)]
    assert parsed == Segment(**{**vars(segment), "sack": parsed.sack})


@settings(WIRE)
@given(segments, options)
def test_options_of_any_shape_are_understood_alike(tcp: Tcp, segment: Segment, other: bytes) -> None:
    parsed = agreed(tcp, segment.bytes(other), segment)
    assert isinstance(parsed, Segment)
    assert parsed.payload == segment.payload


@settings(WIRE)
@given(segments, st.data(), st.booleans(), st.booleans())
def test_damaged_segments_are_refused_for_the_same_reason(
    tcp: Tcp, segment: Segment, data: st.DataObject, good: bool, partial: bool
) -> None:
    damaged = bytearray(segment.bytes())
    for at in data.draw(st.lists(st.integers(0, min(len(damaged), 60) - 1), max_size=3)):
        damaged[at] = data.draw(st.integers(0, 0xFF))
    cut = data.draw(st.integers(0, len(damaged)))
    agreed(tcp, bytes(damaged[:cut]), segment, good=good, partial=partial)
    agreed(tcp, bytes(damaged), segment, good=good, partial=partial)


@settings(WIRE)
@given(segments, st.binary(max_size=100), st.booleans(), st.booleans())
def test_any_bytes_are_refused_for_the_same_reason(
    tcp: Tcp, segment: Segment, data: bytes, good: bool, partial: bool
) -> None:
    agreed(tcp, data, segment, good=good, partial=partial)
