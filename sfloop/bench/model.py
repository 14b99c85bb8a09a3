"""The types of a case, a metric and a result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sfloop.bench.noise import Disturbance
from sfloop.common.histogram import Histogram

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
    #: Whether the figure depends on the machine's speed. Counts of calls or bytes do not.
    timed: bool = True
    #: Whether it decides which of two builds is slower. The rarest latencies do not, because one event changes them.
    judged: bool = True


@dataclass(frozen=True)
class Place:
    """The place of a case's traffic: the command prefixes of server and load, and the server's address."""

    host: str = "127.0.0.1"
    server_prefix: tuple[str, ...] = ()
    load_prefix: tuple[str, ...] = ()
    #: The prefix of a relay between the two, if there is one.
    relay_prefix: tuple[str, ...] = ()


@contextmanager
def loopback() -> Iterator[Place]:
    """The loopback interface."""
    yield Place()


@dataclass
class Sample:
    """The figures of one contender in one round."""

    values: dict[str, float]
    disturbance: Disturbance
    histogram: Histogram | None = None


def always_available() -> str | None:
    """A case that every machine can run."""
    return None


@dataclass(frozen=True)
class Case:
    """One measurement, made on every contender in rounds. Its first metric is used to judge noise."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Rig, Contender], Sample]
    #: The C reference servers that can be measured beside the loops.
    references: tuple[str, ...] = ()
    #: The only contenders that can be measured; None: every loop, and the references.
    only: tuple[str, ...] | None = None
    #: The case measures transports of streams, so loops with an add-on that replaces these take part.
    streams: bool = False
    #: The most rounds, for a case that takes long or whose figure does not vary.
    most_rounds: int = 99
    #: Seconds that a contender takes in a round: `fixed_seconds` + `scaled_seconds` × --seconds.
    fixed_seconds: float = 0.2
    scaled_seconds: float = 1.0
    #: Why the case cannot run on this machine, in one line that says what to do; None: it can.
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
    """The samples of all contenders in all rounds of a case."""

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    #: Why the case was not run, or None.
    skipped: str | None = None

    def values(self, contender: str, key: str) -> list[float]:
        """One metric of one contender, by round; empty if it was not measured."""
        return [sample.values[key] for sample in self.samples.get(contender, []) if key in sample.values]

    def spread(self, contender: str, key: str) -> Spread | None:
        """Median and extremes of one metric of one contender; None if it was not measured."""
        values = self.values(contender, key)
        return Spread(statistics.median(values), min(values), max(values)) if values else None

    def histogram(self, contender: str) -> Histogram | None:
        """The latencies of all rounds; None if the case has none."""
        merged: Histogram | None = None
        for sample in self.samples.get(contender, []):
            if sample.histogram is not None:
                merged = merged or Histogram()
                merged.merge(sample.histogram)
        return merged
