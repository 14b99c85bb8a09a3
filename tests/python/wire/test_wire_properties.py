"""The wire formats in C against the model in plain Python, for datagrams, frames and bytes drawn by Hypothesis."""

from __future__ import annotations

import os
import shlex
import shutil

import pytest
import wire_options
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_library import Wire
from wire_model import Datagram, Refused, ones_complement_sum, parse

settings.register_profile("wire", deadline=None)
WIRE = settings.get_profile("wire")

macs = st.binary(min_size=6, max_size=6)
ports = st.integers(0, 0xFFFF)
bytes_ = st.integers(0, 0xFF)
#: Half of them are runs of ff and 00, because carries and the two zeros of ones' complement occur there.
payloads = st.binary(max_size=600) | st.lists(
    st.sampled_from([b"\0", b"\xff", b"\xff\xff", b"\x80"]), max_size=200
).map(b"".join)
sources = st.binary(min_size=4, max_size=4).filter(
    lambda address: address[0] != 127 and not 224 <= address[0] < 240 and address not in (bytes(4), b"\xff" * 4)
)
datagrams = st.builds(
    Datagram,
    dst_mac=macs,
    src_mac=macs,
    tags=st.lists(st.tuples(st.sampled_from([0x8100, 0x88A8]), ports), max_size=2).map(tuple),
    tos=bytes_,
    ttl=bytes_,
    src_addr=sources,
    dst_addr=st.binary(min_size=4, max_size=4),
    src_port=ports,
    dst_port=ports,
    payload=payloads,
)
sums = st.sampled_from(["full", "partial", "none"])
#: One option with a fitting length, of the kinds that have rules and of others.
option = st.tuples(st.sampled_from([0, 1, 7, 68, 130, 131, 134, 137, 148, 200]), st.binary(max_size=14)).map(
    lambda kind_and_rest: bytes([kind_and_rest[0], len(kind_and_rest[1]) + 2]) + kind_and_rest[1]
)
options = st.one_of(
    st.integers(0, 10).flatmap(lambda words: st.binary(min_size=words * 4, max_size=words * 4)),
    st.lists(option, max_size=3).map(b"".join).map(lambda several: several[:40] + bytes(-len(several[:40]) % 4)),
)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    if shutil.which(shlex.split(os.environ.get("CC", "cc"))[0]) is None:
        pytest.skip("there is no C compiler; CC names one")
    return Wire(tmp_path_factory.mktemp("wire"))


def agreed(wire: Wire, frame: bytes, *, good: bool, partial: bool) -> Datagram | str:
    """Return the result of both for a frame."""
    try:
        expected: Datagram | str = parse(frame, good=good, partial=partial)
    except Refused as refused:
        expected = str(refused)
    assert wire.parse(frame, good=good, partial=partial) == expected
    if partial:  # the two flags differ in the order of the checks only
        assert wire.parse(frame, good=good, unsure=True) == expected
    return expected


@settings(WIRE)
@given(payloads)
def test_sums_agree(wire: Wire, data: bytes) -> None:
    assert wire.sum(data) == ones_complement_sum(data)


@settings(WIRE)
@given(st.lists(payloads, max_size=5))
def test_the_sum_of_pieces_is_the_sum_of_the_whole(wire: Wire, pieces: list[bytes]) -> None:
    assert wire.sum_of_pieces(pieces) == ones_complement_sum(b"".join(pieces))


@settings(WIRE)
@given(
    datagrams, ports, st.booleans(), sums, st.lists(st.integers(0, 600), max_size=3), st.none() | st.integers(0, 600)
)
def test_emitted_frames_agree(
    wire: Wire, datagram: Datagram, id: int, dont_fragment: bool, sum: str, cuts: list[int], frame_cut: int | None
) -> None:
    emitted = wire.emit(datagram, id, dont_fragment=dont_fragment, sum=sum, cuts=cuts, frame_cut=frame_cut)
    assert emitted == datagram.frame(id, dont_fragment=dont_fragment, sum=sum)


@settings(WIRE)
@given(datagrams, ports, st.booleans(), sums)
def test_what_is_emitted_is_parsed_as_it_was(
    wire: Wire, datagram: Datagram, id: int, dont_fragment: bool, sum: str
) -> None:
    frame = wire.emit(datagram, id, dont_fragment=dont_fragment, sum=sum, cuts=[])
    assert agreed(wire, frame, good=False, partial=True) == datagram
    if sum != "partial":
        assert agreed(wire, frame, good=False, partial=False) == datagram


@settings(WIRE)
@given(datagrams, ports, st.booleans(), options, st.binary(max_size=46))
def test_options_and_padding_are_skipped(
    wire: Wire, datagram: Datagram, id: int, dont_fragment: bool, options: bytes, padding: bytes
) -> None:
    frame = datagram.frame(id, dont_fragment=dont_fragment, options=options, padding=padding)
    expected = datagram if wire_options.are_right(options) else "ip_options"
    assert agreed(wire, frame, good=False, partial=False) == expected


@settings(WIRE)
@given(datagrams, sums, options, st.data(), st.booleans(), st.booleans())
def test_damaged_frames_are_refused_for_the_same_reason(
    wire: Wire, datagram: Datagram, sum: str, options: bytes, data: st.DataObject, good: bool, partial: bool
) -> None:
    frame = bytearray(datagram.frame(1, dont_fragment=False, sum=sum, options=options))
    for at in data.draw(st.lists(st.integers(0, min(len(frame), 60) - 1), max_size=3)):
        frame[at] = data.draw(bytes_)
    agreed(wire, bytes(frame[: data.draw(st.integers(0, len(frame)))]), good=good, partial=partial)
    agreed(wire, bytes(frame), good=good, partial=partial)


@settings(WIRE)
@given(st.binary(max_size=100), st.booleans(), st.booleans())
@example(b"", False, False)
def test_any_bytes_are_refused_for_the_same_reason(wire: Wire, frame: bytes, good: bool, partial: bool) -> None:
    agreed(wire, frame, good=good, partial=partial)
