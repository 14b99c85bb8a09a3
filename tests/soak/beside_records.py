"""Logs that outlive a killed process, and datagrams with numbers."""

from __future__ import annotations

import mmap
import struct
import time
from array import array
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import NamedTuple

FEED, SECOND, OURS, PLAIN, BROADCAST, ROUTED, MACVLAN, SHARED = range(1, 9)
STREAMS = {
    FEED: "feed",
    SECOND: "second group",
    OURS: "sfloop's port",
    PLAIN: "plain port",
    BROADCAST: "broadcast",
    ROUTED: "container",
    MACVLAN: "macvlan",
    SHARED: "shared port",
}
READY, JOINED, LEAVING, FORKED = range(1000, 1004)  # marks; the number of a mark is its argument
MAGIC = b"sfloop beside"
DATAGRAM = struct.Struct("!13sBI40x")
ENTRY = struct.Struct("=IIQ")  # stream or mark, number, time (ns)
CAPACITY = 256 << 20  # bytes of a sparse file


class Entry(NamedTuple):
    stream: int
    number: int
    time: int


class Log:
    """Entries in the shared memory of a file, because a killed process must leave a record of what it received."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "w+b")
        self.file.truncate(CAPACITY)
        self.memory = mmap.mmap(self.file.fileno(), CAPACITY)
        self.at = 0

    def add(self, stream: int, number: int, at: int | None = None) -> None:
        ENTRY.pack_into(self.memory, self.at, stream, number, time.monotonic_ns() if at is None else at)
        self.at += ENTRY.size

    def datagram(self, data: bytes) -> None:
        magic, stream, number = DATAGRAM.unpack(data)
        assert magic == MAGIC
        self.add(stream, number)


def read(path: Path) -> list[Entry]:
    entries: list[Entry] = []
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            for entry in ENTRY.iter_unpack(piece):
                if not entry[0]:
                    return entries
                entries.append(Entry(*entry))
    return entries


class Sent:
    """The time at which each number was sent: all streams have the same numbers."""

    def __init__(self, path: Path) -> None:
        self.times = array("Q", [entry.time for entry in read(path)])

    def first_after(self, at: float) -> int:
        return bisect_left(self.times, int(at))


class Fault(NamedTuple):
    """A range of numbers that is missing, or was received twice."""

    receiver: str
    stream: int
    kind: str
    first: int
    length: int


def ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Return runs of neighbouring numbers as (first, count)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found


def compare(receiver: str, stream: int, got: list[int], first: int, end: int) -> list[Fault]:
    """Return the faults of a receiver that must get each number from `first` to before `end` once."""
    counts = Counter(got)
    missing = [number for number in range(first, end) if number not in counts]
    twice = sorted(number for number, count in counts.items() if count > 1)
    faults = [Fault(receiver, stream, "missing", *found) for found in ranges(missing)]
    return faults + [Fault(receiver, stream, "twice", *found) for found in ranges(twice)]
