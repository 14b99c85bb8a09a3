"""Hand-made case results."""

from __future__ import annotations

from collections.abc import Sequence

from sfloop.bench.bars import Bar
from sfloop.bench.cases import find
from sfloop.bench.model import CaseResult, Sample
from sfloop.bench.noise import Disturbance

QUIET = Disturbance(interruptions=3.0, stolen_ticks=0, ticks=100)


def result(case: str, **rounds: Sequence[dict[str, float]]) -> CaseResult:
    """Return the result of a case: the values of each round by contender. An underscore in a name stands for a
    hyphen."""
    made = CaseResult(find([case])[0])
    for name, values in rounds.items():
        made.samples[name.replace("_", "-")] = [Sample(dict(each), QUIET) for each in values]
    return made


def bar(case: str, metric: str, against: str) -> Bar:
    """Return the project's own bar with this description."""
    from sfloop.bench.bars import BARS

    (found,) = [b for b in BARS if (b.case, b.metric, b.against) == (case, metric, against)]
    return found
