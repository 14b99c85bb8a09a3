"""Comparison of this build with another: the ratio of each figure, its interval, and a verdict.

The ratio is taken within each round, in which both builds ran next to each other. The median of the ratios counts. Its
interval is that of order statistics (David and Nagaraja, Order Statistics, section 7.1): the j-th lowest and the j-th
highest ratio enclose the median with a probability that the binomial distribution gives, for any distribution of the
ratios.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sfloop.bench.loops import AGAINST, OWN
from sfloop.bench.model import CaseResult, Metric

#: The level that an interval reaches with six rounds or more.
LEVEL = 0.95
#: A larger ratio counts as a difference.
TOLERANCE = 1.03

Verdict = Literal["slower", "faster", "same", "undecided", "not compared"]


@dataclass(frozen=True)
class Interval:
    """An interval that contains the median with the probability `level`."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """One figure of this build, divided by the other build's."""

    case: str
    metric: str
    verdict: Verdict
    #: Whether the exit status depends on it.
    judged: bool
    #: Rounds in which both builds have the figure.
    rounds: int = 0
    ratio: float | None = None
    interval: Interval | None = None
    #: Why it was not compared.
    reason: str = ""
    #: The machine was too noisy in this case to judge the figure.
    noisy: bool = False


def _coverage(count: int, rank: int) -> float:
    """The probability that the median lies between the rank-th lowest and the rank-th highest of `count` values."""
    return 1.0 - 2.0 * sum(math.comb(count, below) for below in range(rank)) / 2.0**count


def interval(values: Sequence[float]) -> Interval:
    """The narrowest interval of two order statistics whose level is at least LEVEL; else from the lowest to the highest
    value."""
    ordered = sorted(values)
    rank = 1
    while 2 * (rank + 1) <= len(ordered) and _coverage(len(ordered), rank + 1) >= LEVEL:
        rank += 1
    return Interval(ordered[rank - 1], ordered[-rank], max(0.0, _coverage(len(ordered), rank)))


def ratios(result: CaseResult, key: str) -> list[float]:
    """This build's figure divided by the other's, for each round that has both. Two zeros have the ratio 1.

    A round is left out if one figure is not positive and the figures are not both 0.
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
    # Turn the interval so that a higher ratio is worse.
    low, high = (around.low, around.high) if metric.better == "lower" else (1 / around.high, 1 / around.low)
    if low > TOLERANCE:
        return "slower"
    if high < 1 / TOLERANCE:
        return "faster"
    return "same" if low >= 1 / TOLERANCE and high <= TOLERANCE else "undecided"


def compare(result: CaseResult, metric: Metric, noisy: bool = False) -> Comparison:
    """Compare one figure of this build with the other build's."""
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
    """Compare all figures of a case. Empty if it was not run, or if the other build is not a contender in it."""
    if result.skipped is not None or not {OWN, AGAINST} <= result.samples.keys() | result.failures.keys():
        return []
    return [compare(result, metric, noisy) for metric in result.case.metrics]


def compare_all(results: Mapping[str, CaseResult], noisy: Mapping[str, bool]) -> list[Comparison]:
    """Compare all figures of all cases."""
    return [each for name, result in results.items() for each in compare_case(result, noisy.get(name, False))]


def slower(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The judged figures in which this build is slower."""
    return [each for each in comparisons if each.judged and each.verdict == "slower"]
