"""The outcome as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from .columns import AF_XDP, SHM, UVLOOP_VETH
from .summary import TICK, WIRE, Latency, LoopSummary

SUBJECT = "sfloop"
BESIDE = {
    SUBJECT: ("asyncio", "uvloop"),
    SHM.name: ("uvloop", SUBJECT),
    AF_XDP.name: (UVLOOP_VETH.name,),
}
"""Column → the columns that it is compared with: loops on the same network. Shared memory, which the kernel's sockets
do not have, is compared with the loopback, because two programs on one machine would otherwise use that."""


def microseconds(nanoseconds: float) -> str:
    """A time in µs as text, with one decimal below 100 µs."""
    value = nanoseconds / 1000
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def sentences(summaries: Sequence[LoopSummary]) -> list[str]:
    """For each latency, one sentence on each of sfloop's columns that compares it with others.

    Without sfloop the sentence compares the last column with the rest.
    """
    by_name = {summary.loop: summary for summary in summaries}
    pairs = [
        (by_name[name], [by_name[other] for other in others if other in by_name])
        for name, others in BESIDE.items()
        if name in by_name
    ]
    if not pairs and summaries:
        pairs = [(summaries[-1], list(summaries[:-1]))]
    return [text for name in (WIRE, TICK) for one, others in pairs if (text := _sentence(name, one, others))]


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
    """Compare two latencies. If the rounds overlap, no difference is claimed."""
    theirs = f"{loop}'s {microseconds(other.median)} µs"
    if max(own.medians) < min(other.medians):
        return f"{other.median / own.median:.1f} times faster than {theirs}"
    if min(own.medians) > max(other.medians):
        return f"{own.median / other.median:.1f} times slower than {theirs}"
    return f"not clearly apart from {theirs} (the rounds overlap)"
