"""This build against another: the ratio of each figure, its interval, and whether it is slower.

The ratio is taken within each round, in which both builds ran next to each other. The median of the ratios counts. Its
interval is the one of order statistics (David and Nagaraja, Order Statistics, section 7.1): the j-th lowest and the
j-th highest ratio enclose the median with a probability that the binomial distribution gives, for any distribution of
the ratios.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sfloop.bench.loops import AGAINST, OWN
from sfloop.bench.model import CaseResult, Metric

#: The level that an interval reaches if there are rounds enough: six or more.
LEVEL = 0.95
#: A ratio beyond this counts as a difference.
TOLERANCE = 1.03

Verdict = Literal["slower", "faster", "same", "undecided", "not compared"]


@dataclass(frozen=True)
class Interval:
    """Where the median lies, with the probability `level`."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """One figure of this build, divided by the other build's."""

    case: str
    metric: str
    verdict: Verdict
    #: Whether the exit status may depend on it.
    judged: bool
    #: Rounds in which both builds have the figure.
    rounds: int = 0
    ratio: float | None = None
    interval: Interval | None = None
    #: Why it was not compared.
    reason: str = ""
    #: The figure comes from a case in which the machine was too noisy to judge.
    noisy: bool = False


def _coverage(count: int, rank: int) -> float:
    """The probability that the median lies between the rank-th lowest and the rank-th highest of `count` values."""
    return 1.0 - 2.0 * sum(math.comb(count, below) for below in range(rank)) / 2.0**count


def interval(values: Sequence[float]) -> Interval:
    """The narrowest interval of two order statistics whose level is at least LEVEL; else the lowest and the highest."""
    ordered = sorted(values)
    rank = 1
    while 2 * (rank + 1) <= len(ordered) and _coverage(len(ordered), rank + 1) >= LEVEL:
        rank += 1
    return Interval(ordered[rank - 1], ordered[-rank], max(0.0, _coverage(len(ordered), rank)))


def ratios(result: CaseResult, key: str) -> list[float]:
    """This build's figure over the other's, for each round that has both. Two zeros are equal.

    A figure that is not positive beside one that is not zero has no ratio; such a round is left out.
    """
    found = []
    for own, other in zip(result.samples.get(OWN, ()), result.samples.get(AGAINST, ()), strict=False):
        if key not in own.values or key not in other.values:
            continue
        mine, its = own.values[key], other.values[key]
        if mine == its == 0:
            found.append(1.0)
        elif mine > 0 and its > 0:
            found.append(mine / its)
    return found


def _verdict(metric: Metric, around: Interval) -> Verdict:
    # In the direction in which more is worse.
    low, high = (around.low, around.high) if metric.better == "lower" else (1 / around.high, 1 / around.low)
    if low > TOLERANCE:
        return "slower"
    if high < 1 / TOLERANCE:
        return "faster"
    return "same" if low >= 1 / TOLERANCE and high <= TOLERANCE else "undecided"


def compare(result: CaseResult, metric: Metric, noisy: bool = False) -> Comparison:
    """Holds one figure of this build against the other build's."""
    case, judged = result.case.name, metric.judged
    for name in (OWN, AGAINST):
        if name in result.failures:
            return Comparison(
                case, metric.key, "not compared", judged, reason=f"{name} failed: {result.failures[name]}"
            )
    values = ratios(result, metric.key)
    if not values:
        has = any(metric.key in sample.values for sample in result.samples.get(OWN, ()))
        reason = "one of the two is 0 or negative" if has else "no figure"
        return Comparison(case, metric.key, "not compared", judged, reason=reason)
    ratio = statistics.median(values)
    if len(values) < 2:
        return Comparison(case, metric.key, "not compared", judged, len(values), ratio, reason="one round: no interval")
    around = interval(values)
    verdict = _verdict(metric, around)
    return Comparison(case, metric.key, verdict, judged, len(values), ratio, around, noisy=noisy and metric.timed)


def compare_case(result: CaseResult, noisy: bool = False) -> list[Comparison]:
    """All figures of a case; none when it was not run, or cannot have the other build as a contender."""
    if result.skipped is not None or not {OWN, AGAINST} <= result.samples.keys() | result.failures.keys():
        return []
    return [compare(result, metric, noisy) for metric in result.case.metrics]


def compare_all(results: Mapping[str, CaseResult], noisy: Mapping[str, bool]) -> list[Comparison]:
    """All figures of all cases."""
    return [each for name, result in results.items() for each in compare_case(result, noisy.get(name, False))]


def slower(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The judged figures in which this build is slower."""
    return [each for each in comparisons if each.judged and each.verdict == "slower"]
