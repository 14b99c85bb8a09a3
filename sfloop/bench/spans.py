"""A sender's counts in the span in which a receiver counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """A sender's counts at a time, in ns of the system's monotonic clock."""

    ns: float
    sent: float
    #: Number of attempts that failed because the receiver's window was full.
    waited: float


def at(history: Sequence[Sequence[float]], ns: float) -> Point:
    """A sender's counts at a time, interpolated linearly between the points of its history.

    Before the first point and after the last one, the counts are those of that point.
    """
    before = Point(*history[0])
    for each in history:
        after = Point(*each)
        if after.ns >= ns:
            break
        before = after
    else:
        return before
    if after.ns <= ns or after.ns == before.ns or before.ns >= ns:
        return after
    share = (ns - before.ns) / (after.ns - before.ns)
    sent, waited = (a + (b - a) * share for a, b in ((before.sent, after.sent), (before.waited, after.waited)))
    return Point(ns, sent, waited)


def between(history: Sequence[Sequence[float]], begin: float, end: float) -> Point:
    """A sender's counts between two times. ``ns`` is the time between them."""
    first, last = at(history, begin), at(history, end)
    return Point(end - begin, last.sent - first.sent, last.waited - first.waited)
