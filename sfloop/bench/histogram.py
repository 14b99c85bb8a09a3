"""Latency histograms of the C programs, merged and read with HdrHistogram.

Three significant digits from 1 ns to 68 s, so every percentile is exact to one part in a thousand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped, unused-ignore]

HIGHEST_NS = (1 << 36) - 1
SIGNIFICANT_DIGITS = 3

_SUB_BITS = 11
_HALF = 1 << (_SUB_BITS - 1)
#: Number of slots in `struct sfb_histogram` (c/histogram.h).
SLOTS = (36 - _SUB_BITS + 2) * _HALF

Buckets = list[tuple[int, int]]


def slot_value(slot: int) -> int:
    """The lowest value of a slot of `struct sfb_histogram`, in ns."""
    if slot < 2 * _HALF:
        return slot
    bucket = slot // _HALF - 1
    return (slot - bucket * _HALF) << bucket


class Histogram:
    """Counts of latencies in ns."""

    def __init__(self) -> None:
        self._counts = HdrHistogram(1, HIGHEST_NS, SIGNIFICANT_DIGITS)

    @classmethod
    def from_buckets(cls, buckets: Iterable[Sequence[int]]) -> Histogram:
        """Convert the ``[[value, count], ...]`` of the C programs."""
        histogram = cls()
        for value, count in buckets:
            histogram.record(value, count)
        return histogram

    @classmethod
    def from_values(cls, values: Iterable[int]) -> Histogram:
        """Count single latencies in ns."""
        histogram = cls()
        for value in values:
            histogram.record(value)
        return histogram

    @classmethod
    def from_memory(cls, image: bytes) -> Histogram:
        """Convert the memory image of a `struct sfb_histogram`."""
        _, *counts = struct.unpack_from(f"={SLOTS + 1}Q", image)
        return cls.from_buckets((slot_value(slot), count) for slot, count in enumerate(counts) if count)

    def record(self, value: int, count: int = 1) -> None:
        """Add a latency in ns, `count` times. Values above 68 s count as 68 s."""
        self._counts.record_value(min(max(value, 0), HIGHEST_NS), count)

    def merge(self, other: Histogram) -> None:
        """Add the counts of the other histogram."""
        self._counts.add(other._counts)

    def percentile(self, percent: float) -> float:
        """The latency in ns that `percent` per cent of all do not exceed. Raises ValueError if the histogram is
        empty."""
        if not self.count:
            raise ValueError("the histogram is empty: it has no percentiles")
        return float(self._counts.get_value_at_percentile(percent))

    @property
    def count(self) -> int:
        """The number of recorded latencies."""
        return int(self._counts.get_total_count())

    @property
    def maximum(self) -> float:
        """The highest latency, in ns."""
        return float(self._counts.get_max_value())

    def buckets(self) -> Buckets:
        """The non-empty buckets as ``(lowest value in ns, count)``."""
        # Not by the package's own iterator, which takes a fifth of a second.
        return [(slot_value(slot), int(count)) for slot, count in enumerate(self._counts.counts) if count]

    def summary(self) -> dict[str, float]:
        """p50, p90, p99, p99.9 and the maximum, in ns."""
        if not self.count:
            raise ValueError("the histogram is empty: it has no percentiles")
        found = self._counts.get_percentile_to_value_dict(list(PERCENTILES.values()))
        values = {name: float(found[percent]) for name, percent in PERCENTILES.items()}
        values["max"] = self.maximum
        return values


PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
