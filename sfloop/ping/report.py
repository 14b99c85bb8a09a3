"""Percentiles and a histogram of round trips, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from sfloop.ping.rounds import Outcome

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
_BAR: Final = 50  # characters
_ROWS: Final = 20


def statistics(times: Sequence[int]) -> dict[str, float]:
    """``min``, ``p50``, ``p90``, ``p99``, ``p999``, ``max``, ``mean`` and ``stddev`` in ns; empty without times."""
    if not times:
        return {}
    ordered = sorted(times)
    mean = sum(ordered) / len(ordered)
    spread = math.sqrt(sum((value - mean) ** 2 for value in ordered) / len(ordered))
    return {
        "min": ordered[0],
        # Nearest rank, so the percentile is a measured value.
        **{name: ordered[max(math.ceil(len(ordered) * at / 100) - 1, 0)] for name, at in PERCENTILES.items()},
        "max": ordered[-1],
        "mean": round(mean, 1),
        "stddev": round(spread, 1),
    }


def histogram(times: Sequence[int]) -> list[tuple[int, int, int]]:
    """List (from, to, count) in ns; `to` is exclusive. Rows from the minimum to the 90th percentile have the same
    width: 1, 2 or 5 times a power of ten. Above that, each row is twice as wide as the one before."""
    if not times:
        return []
    stats = statistics(times)
    low, high = int(stats["min"]), int(stats["p90"])
    step = _step((high - low) / _ROWS)
    edges = [low // step * step]
    while edges[-1] <= high:
        edges.append(edges[-1] + step)
    while edges[-1] <= stats["max"]:
        edges.append(edges[-1] + 2 * (edges[-1] - edges[-2]))
    counts = [0] * (len(edges) - 1)
    row = 0
    for value in sorted(times):
        while value >= edges[row + 1]:
            row += 1
        counts[row] += 1
    return list(zip(edges, edges[1:], counts, strict=False))


def _step(least: float) -> int:
    scale = 1
    while True:
        for factor in (1, 2, 5):
            if factor * scale >= least:
                return factor * scale
        scale *= 10


def as_json(about: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The JSON document: the parameters, then ``sent``, ``received``, ``lost``, ``late``, ``error``, ``rtt_ns`` (by
    statistic), ``histogram`` ([from_ns, to_ns, count])."""
    return {
        "format": 1,
        **about,
        "sent": outcome.sent,
        "received": len(outcome.times),
        "lost": outcome.lost,
        "late": outcome.late,
        "error": outcome.error,
        "rtt_ns": statistics(outcome.times),
        "histogram": [list(row) for row in histogram(outcome.times)],
    }


def lines(about: dict[str, Any], outcome: Outcome) -> list[str]:
    """The report as lines of text."""
    carried = f"{about['carried_by']} stack"
    path = about["stack"] + (f" over {about['driver']}" if about["driver"] else "")
    shown = [f"{about['target']} by {about['protocol']}, {about['size']} bytes, {path}, carried by the {carried}"]
    received = len(outcome.times)
    share = f" ({100 * outcome.lost / outcome.sent:.3g} %)" if outcome.lost else ""
    late = f", {outcome.late} late" if outcome.late else ""
    shown.append(f"{outcome.sent:,} sent, {received:,} received, {outcome.lost:,} lost{share}{late}")
    if outcome.error is not None:
        shown.append(f"ended early: {outcome.error}")
    if not received:
        return shown
    figures = (f"{name} {ns / 1e3:.3f}" for name, ns in statistics(outcome.times).items())
    shown.append(f"round trips, µs: {'  '.join(figures)}")
    rows = histogram(outcome.times)
    most = max(count for *_, count in rows)
    for low, high, count in rows:
        if not count:
            continue
        bar = "█" * math.ceil(_BAR * count / most)
        shown.append(f"{low / 1e3:>11.3f} – {high / 1e3:<11.3f} {count:>8,} {bar}".rstrip())
    return shown
