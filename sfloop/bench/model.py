"""What a case, a metric and a result are."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sfloop.bench.histogram import Histogram
from sfloop.bench.noise import Disturbance

if TYPE_CHECKING:
    from sfloop.bench.loops import Contender
    from sfloop.bench.rig import Rig

Unit = Literal["ns", "per_s", "bytes", "count", "ratio", "ms"]


@dataclass(frozen=True)
class Metric:
    """One figure of a case."""

    key: str
    title: str
    unit: Unit
    better: Literal["lower", "higher"]
    #: Whether it depends on how fast the machine is just then. A count of calls or of bytes does not.
    timed: bool = True
    #: Whether two builds are judged by it. The rarest latencies are not: one event decides them.
    judged: bool = True


@dataclass(frozen=True)
class Place:
    """Where a case's traffic runs: the prefixes that put server and load there, and the server's address."""

    host: str = "127.0.0.1"
    server_prefix: tuple[str, ...] = ()
    load_prefix: tuple[str, ...] = ()
    #: Of a relay between the two, where there is one.
    relay_prefix: tuple[str, ...] = ()


@contextmanager
def loopback() -> Iterator[Place]:
    """The loopback interface."""
    yield Place()


@dataclass
class Sample:
    """What one contender did in one round."""

    values: dict[str, float]
    disturbance: Disturbance
    histogram: Histogram | None = None


def always_available() -> str | None:
    """No reason to leave a case out."""
    return None


@dataclass(frozen=True)
class Case:
    """One thing that is measured, on every contender, in rounds. The first metric is what noise is judged by."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Rig, Contender], Sample]
    #: The C reference servers that can be measured beside the loops.
    references: tuple[str, ...] = ()
    #: The only contenders that can be measured; None: every loop, and the references.
    only: tuple[str, ...] | None = None
    #: Transports of streams are measured, so that loops with an add-on that replaces these take part.
    streams: bool = False
    #: Rounds are cut to so many, for a case that takes long or whose figure does not vary.
    most_rounds: int = 99
    #: Seconds that one contender takes in one round: so many, and so many times --seconds.
    fixed_seconds: float = 0.2
    scaled_seconds: float = 1.0
    #: Why the case cannot run on this machine, in one line that says what to do; None when it can.
    unavailable: Callable[[], str | None] = always_available
    place: Callable[[], AbstractContextManager[Place]] = loopback


@dataclass(frozen=True)
class Spread:
    """The median over the rounds, and the extremes."""

    median: float
    low: float
    high: float


@dataclass
class CaseResult:
    """What all contenders did in all rounds of a case."""

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    #: Why the case was not run, if it was not.
    skipped: str | None = None

    def values(self, contender: str, key: str) -> list[float]:
        """One metric of one contender, by round. Empty when it was not measured."""
        return [sample.values[key] for sample in self.samples.get(contender, []) if key in sample.values]

    def spread(self, contender: str, key: str) -> Spread | None:
        """Median and extremes of one metric of one contender; None when it was not measured."""
        values = self.values(contender, key)
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def histogram(self, contender: str) -> Histogram | None:
        """The latencies of all rounds together; None when the case has none."""
        merged: Histogram | None = None
        for sample in self.samples.get(contender, []):
            if sample.histogram is not None:
                merged = merged or Histogram()
                merged.merge(sample.histogram)
        return merged
