"""The outcome in plain sentences, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence

from .summary import TICK, WIRE, Latency, LoopSummary

SUBJECT = "sfloop"


def microseconds(nanoseconds: float) -> str:
    """A time for people, in µs, with a decimal below 100 µs."""
    value = nanoseconds / 1000
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def sentences(summaries: Sequence[LoopSummary]) -> list[str]:
    """One sentence for each latency, comparing sfloop (the last loop, where sfloop is not among them) with the rest."""
    if len(summaries) < 2:
        return []
    subject = next((summary for summary in summaries if summary.loop == SUBJECT), summaries[-1])
    others = [summary for summary in summaries if summary is not subject]
    return [sentence for name in (WIRE, TICK) if (sentence := _sentence(name, subject, others))]


def _sentence(name: str, subject: LoopSummary, others: Sequence[LoopSummary]) -> str | None:
    own = subject.latencies[name]
    compared = [(other.loop, other.latencies[name]) for other in reversed(others) if other.latencies[name].count]
    if not own.count or not compared:
        return None
    clauses = [_clause(own, latency, loop) for loop, latency in compared]
    caution = " (One round cannot tell a difference from noise.)" if len(own.medians) < 2 else ""
    figure = f"{subject.loop} takes {microseconds(own.median)} µs"
    return f"{name.capitalize()}, median: {figure}, {' and '.join(clauses)}.{caution}"


def _clause(own: Latency, other: Latency, loop: str) -> str:
    """How the one stands to the other; a difference that the rounds do not agree on is not called one."""
    theirs = f"{loop}'s {microseconds(other.median)} µs"
    if max(own.medians) < min(other.medians):
        return f"{other.median / own.median:.1f} times faster than {theirs}"
    if min(own.medians) > max(other.medians):
        return f"{own.median / other.median:.1f} times slower than {theirs}"
    return f"not clearly apart from {theirs} (the rounds overlap)"
