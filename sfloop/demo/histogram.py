"""Latency histograms: nanoseconds with three significant digits, from 1 ns to 100 s.

They are HdrHistograms (https://hdrhistogram.org), so rounds can be merged without loss, and JSON has them as text that
every HdrHistogram library reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

LOWEST, HIGHEST, DIGITS = 1, 100 * 1_000_000_000, 3


class Histogram(Protocol):
    """The part of ``hdrh.histogram.HdrHistogram``, which has no type annotations, that the demo uses."""

    total_count: int

    def record_value(self, value: int, count: int = 1) -> bool: ...
    def add(self, other_hist: Histogram) -> None: ...
    def get_value_at_percentile(self, percentile: float) -> int: ...
    def get_percentile_to_value_dict(self, percentile_list: list[float]) -> dict[float, int]: ...
    def get_max_value(self) -> int: ...
    def encode(self) -> bytes: ...


def empty() -> Histogram:
    """An empty histogram."""
    from hdrh.histogram import HdrHistogram

    return cast(Histogram, HdrHistogram(LOWEST, HIGHEST, DIGITS))


def of(values: Iterable[int]) -> Histogram:
    """A histogram of ``values`` in ns. Values outside the range count at its ends."""
    histogram = empty()
    for value in values:
        histogram.record_value(min(max(value, LOWEST), HIGHEST))
    return histogram


def to_text(histogram: Histogram) -> str:
    """The histogram in HdrHistogram's own base64 format."""
    return histogram.encode().decode("ascii")


def from_text(text: str) -> Histogram:
    """Decode a histogram. Raises ValueError if ``text`` is not in HdrHistogram's base64 format."""
    from hdrh.histogram import HdrHistogram

    try:
        return cast(Histogram, HdrHistogram.decode(text))
    except Exception as error:  # the library raises various errors: binascii, zlib, struct and its own
        raise ValueError(f"not an HdrHistogram in base64: {text[:40]!r} ({error})") from error


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """Merge histograms into one."""
    total = empty()
    for histogram in histograms:
        if histogram.total_count:
            total.add(histogram)
    return total
