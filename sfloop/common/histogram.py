"""Latency histograms in nanoseconds, of the package hdrhistogram.

Three significant digits from 1 ns to 137 s: every percentile is exact to one part in a thousand. They are merged
without loss, and travel as the buckets that the bench's C programs write, or as the text that every HdrHistogram
library reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

_BITS = 37
HIGHEST_NS = (1 << _BITS) - 1
SIGNIFICANT_DIGITS = 3

_SUB_BITS = 11
_HALF = 1 << (_SUB_BITS - 1)
#: Slots of `struct sfb_histogram` (c/histogram.h).
SLOTS = (_BITS - _SUB_BITS + 2) * _HALF

Buckets = list[tuple[int, int]]


def slot_value(slot: int) -> int:
    """The lowest value, in ns, that falls into a slot of `struct sfb_histogram`."""
    if slot < 2 * _HALF:
        return slot
    bucket = slot // _HALF - 1
    return (slot - bucket * _HALF) << bucket


class Histogram:
    """Counts of latencies in ns."""

    def __init__(self) -> None:
        from hdrh.histogram import HdrHistogram  # an extra; the commands report it if it is missing

        self._counts: Any = HdrHistogram(1, HIGHEST_NS, SIGNIFICANT_DIGITS)

    @classmethod
    def from_buckets(cls, buckets: Iterable[Sequence[int]]) -> Histogram:
        """From the ``[[value, count], ...]`` that the C programs write."""
        histogram = cls()
        for value, count in buckets:
            histogram.record(value, count)
        return histogram

    @classmethod
    def from_values(cls, values: Iterable[int]) -> Histogram:
        """From single latencies in ns."""
        histogram = cls()
        for value in values:
            histogram.record(value)
        return histogram

    @classmethod
    def from_memory(cls, image: bytes) -> Histogram:
        """From the memory image of a `struct sfb_histogram`."""
        _, *counts = struct.unpack_from(f"={SLOTS + 1}Q", image)
        return cls.from_buckets((slot_value(slot), count) for slot, count in enumerate(counts) if count)

    @classmethod
    def from_text(cls, text: str) -> Histogram:
        """From HdrHistogram's own base64 format. Raises ValueError when the text is not in it."""
        from hdrh.histogram import HdrHistogram

        histogram = cls()
        try:
            histogram._counts.add(HdrHistogram.decode(text))
        except Exception as error:  # the library raises errors of binascii, zlib and struct, and its own
            raise ValueError(f"not an HdrHistogram in base64: {text[:40]!r} ({error})") from error
        return histogram

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """Return a histogram with the values of all."""
        total = cls()
        for histogram in histograms:
            total.merge(histogram)
        return total

    def to_text(self) -> str:
        """The histogram in HdrHistogram's own base64 format."""
        return str(self._counts.encode().decode("ascii"))

    def record(self, value: int, count: int = 1) -> None:
        """Adds a latency in ns, `count` times. Latencies above 137 s count as 137 s."""
        self._counts.record_value(min(max(value, 0), HIGHEST_NS), count)

    def merge(self, other: Histogram) -> None:
        """Adds the other's counts."""
        if other.count:
            self._counts.add(other._counts)

    def percentile(self, percent: float) -> float:
        """The latency in ns that `percent` per cent of all do not exceed. Raises ValueError when nothing is counted."""
        if not self.count:
            raise ValueError("the histogram is empty: it has no percentiles")
        return float(self._counts.get_value_at_percentile(percent))

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return the percentiles for several percents, in one pass over the counts."""
        if not self.count:
            raise ValueError("the histogram is empty: it has no percentiles")
        found = self._counts.get_percentile_to_value_dict(list(percents))
        return [float(found[percent]) for percent in percents]

    @property
    def count(self) -> int:
        """How many latencies were recorded."""
        return int(self._counts.get_total_count())

    @property
    def maximum(self) -> float:
        """The highest latency, in ns."""
        return float(self._counts.get_max_value())

    def buckets(self) -> Buckets:
        """The buckets in use, as ``(lowest value in ns, count)``."""
        # The package's own iterator takes a fifth of a second.
        return [(slot_value(slot), int(count)) for slot, count in enumerate(self._counts.counts) if count]

    def summary(self) -> dict[str, float]:
        """p50, p90, p99, p99.9 and the maximum, in ns."""
        values = dict(zip(PERCENTILES, self.percentiles(list(PERCENTILES.values())), strict=True))
        values["max"] = self.maximum
        return values


PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
