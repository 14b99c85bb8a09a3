"""BinaryFILE dumps: plain, compressed, cut short; and a session made from one."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest

from sfloop.demo import binaryfile, itch
from sfloop.demo.orderflow import OrderFlow
from sfloop.demo.session_plan import prepare


def flow(count: int) -> list[bytes]:
    source = OrderFlow(seed=2)
    messages = [*source.opening(), *itertools.islice(source.trading(), count), *source.closing()]
    return [message.encode() for message in messages]


def test_layout(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(b"\x00\x03abc\x00\x01d\x00\x00ignored: the session has ended")
    assert list(binaryfile.read(path)) == [b"abc", b"d"]
    path.write_bytes(b"\x00\x03abc")
    assert list(binaryfile.read(path)) == [b"abc"]
    path.write_bytes(b"")
    assert list(binaryfile.read(path)) == []


@pytest.mark.parametrize("name", ["01302020.NASDAQ_ITCH50", "01302020.NASDAQ_ITCH50.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    messages = flow(200)
    binaryfile.write(tmp_path / name, messages)
    assert list(binaryfile.read(tmp_path / name)) == messages
    compressed = (tmp_path / name).read_bytes().startswith(binaryfile.GZIP_MAGIC)
    assert compressed == name.endswith(".gz")


def test_compressed_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(gzip.compress(b"\x00\x03abc\x00\x00"))
    assert list(binaryfile.read(path)) == [b"abc"]


@pytest.mark.parametrize("content", [b"\x00", b"\x00\x03", b"\x00\x03ab", b"\x00\x03abc\x00", b"\x00\x03abc\x00\x02d"])
def test_file_that_ends_early(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content)
    offset = 5 if content.startswith(b"\x00\x03abc") else 0
    with pytest.raises(ValueError, match=rf"dump: the file ends inside the message at offset {offset}$"):
        list(binaryfile.read(path))


def test_compressed_file_that_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "dump.gz"
    path.write_bytes(gzip.compress(b"".join(b"\x00\x03abc" for _ in range(1000)))[:-12])
    with pytest.raises(ValueError, match="the file ends inside the message at offset"):
        list(binaryfile.read(path))


@pytest.mark.parametrize("name", ["dump", "dump.gz"])
def test_session_from_a_recording(tmp_path: Path, name: str) -> None:
    messages = flow(600)
    binaryfile.write(tmp_path / name, messages)
    plan = prepare("REPLAY", seed=1, seconds=0.2, warm_up=0.05, loss=0.0, recording=tmp_path / name)
    sent = [bytes(p.data[offset : offset + length]) for p in plan.packets for offset, length in p.messages]
    assert sent == messages[: len(sent)]
    first_order = next(index for index, message in enumerate(messages) if message[:1] in b"AF")
    assert len(sent) > first_order + 100
    assert plan.warm_up >= first_order
    assert max(len(p.data) for p in plan.packets) <= 1472
    assert plan.packets[0].sequence == 1
    assert all(a.next_sequence == b.sequence and a.due <= b.due for a, b in itertools.pairwise(plan.packets))


def test_recording_that_is_none(tmp_path: Path) -> None:
    binaryfile.write(tmp_path / "dump", [itch.SystemEvent(0, 0, 0, "O").encode()])
    with pytest.raises(ValueError, match="none of its 1 messages adds an order"):
        prepare("REPLAY", seed=1, seconds=0.2, warm_up=0, loss=0.0, recording=tmp_path / "dump")
    with pytest.raises(FileNotFoundError):
        prepare("REPLAY", seed=1, seconds=0.2, warm_up=0, loss=0.0, recording=tmp_path / "absent")
