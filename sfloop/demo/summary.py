"""The result of all rounds of a loop: merged latencies, and the spread of the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sfloop.common.histogram import Histogram

from .rounds import RoundResult

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
WIRE, TICK = "wire-to-callback", "tick-to-trade"


@dataclass(frozen=True)
class Latency:
    """A latency over all rounds of a loop. All times are in ns."""

    histogram: Histogram
    """All rounds merged."""
    medians: tuple[int, ...]
    """The p50 of each round that has values."""

    @property
    def count(self) -> int:
        """Number of values."""
        return self.histogram.count

    @property
    def columns(self) -> tuple[int, ...]:
        """p50, p90, p99, p99.9 and the maximum; empty without values."""
        if not self.count:
            return ()
        return (*map(int, self.histogram.percentiles(PERCENTILES)), int(self.histogram.maximum))

    @property
    def median(self) -> float:
        """The median of the rounds' p50."""
        return statistics.median(self.medians)

    def to_json(self) -> dict[str, Any]:
        """The figures in ns, and the histogram."""
        names = [f"p{percentile:g}" for percentile in PERCENTILES] + ["max"]
        return {
            "count": self.count,
            **dict(zip(names, self.columns, strict=False)),  # empty without values
            "p50_by_round": list(self.medians),
            "histogram": self.histogram.to_text(),
        }


@dataclass(frozen=True)
class LoopSummary:
    """All rounds of one loop."""

    loop: str
    rounds: tuple[RoundResult, ...]
    latencies: dict[str, Latency]
    """:data:`WIRE` and :data:`TICK` → latency."""

    def total(self, side: str, name: str) -> int:
        """The sum over the rounds of a count of the ``exchange`` or the ``client``."""
        return sum(int(getattr(result, side)[name]) for result in self.rounds)

    @property
    def messages_per_second(self) -> float:
        """Messages of the feed per second."""
        return self.total("client", "messages") / sum(float(result.client["seconds"]) for result in self.rounds)

    @property
    def cpu(self) -> float:
        """The share of a CPU that the client used, 0 to 1."""
        return statistics.mean(float(result.client["cpu"]) for result in self.rounds)

    def to_json(self) -> dict[str, Any]:
        """All figures, also those of each round."""
        return {
            "loop": self.loop,
            "messages_per_second": self.messages_per_second,
            "cpu": self.cpu,
            **{name.replace("-", "_"): latency.to_json() for name, latency in self.latencies.items()},
            "rounds": [{"round": r.number, "exchange": r.exchange, "client": r.client} for r in self.rounds],
        }


def summarize(loop: str, results: Sequence[RoundResult]) -> LoopSummary:
    """Merge the rounds of ``loop`` among ``results``."""
    rounds = tuple(result for result in results if result.loop == loop)
    texts = {
        WIRE: [result.client["wire_to_callback"] for result in rounds],
        TICK: [result.exchange["tick_to_trade"] for result in rounds],
    }
    return LoopSummary(loop, rounds, {name: latency(values) for name, values in texts.items()})


def latency(texts: Sequence[str]) -> Latency:
    """Merge the histograms of all rounds."""
    histograms = [Histogram.from_text(text) for text in texts]
    medians = tuple(int(h.percentile(50.0)) for h in histograms if h.count)
    return Latency(Histogram.merged(histograms), medians)
