"""The comparison of a suite's outcomes on asyncio and on sfloop."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from conformance.forkserver.outcome import Outcome, Status

from .suite import Suite

Outcomes = Mapping[str, Outcome]

#: If a larger share of a suite fails on asyncio, the suite does not work here, and says nothing about sfloop.
MOST_ON_ASYNCIO = 0.05


@dataclasses.dataclass
class Side:
    """A suite on one loop. ``cpu`` are the seconds of CPU time of all its processes."""

    passed: int
    failed: int
    skipped: int
    seconds: float
    cpu: float

    @classmethod
    def of(cls, outcomes: Outcomes, seconds: float, cpu: float) -> Side:
        statuses = [outcome.status for outcome in outcomes.values()]
        return cls(
            passed=statuses.count(Status.PASS),
            failed=sum(status.is_failure for status in statuses),
            skipped=statuses.count(Status.SKIP),
            seconds=round(seconds, 1),
            cpu=round(cpu, 1),
        )


@dataclasses.dataclass
class Verdict:
    """The differences. ``only_on_sfloop`` has ids with the last line of the failure, ``white_box`` ids with the listed
    reason, ``stale`` expressions of ``white_box`` that no failed test matches, ``broken`` a reason why the suite says
    nothing."""

    only_on_sfloop: dict[str, str] = dataclasses.field(default_factory=dict)
    white_box: dict[str, str] = dataclasses.field(default_factory=dict)
    on_both: list[str] = dataclasses.field(default_factory=list)
    only_on_asyncio: list[str] = dataclasses.field(default_factory=list)
    stale: list[str] = dataclasses.field(default_factory=list)
    broken: str = ""

    @property
    def good(self) -> bool:
        return not (self.only_on_sfloop or self.stale or self.broken)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def on_one_side(first: Outcomes, second: Outcomes) -> list[str]:
    """The tests that failed in the first outcomes, and did not fail in the second."""
    return [
        test_id
        for test_id, outcome in first.items()
        if outcome.status.is_failure and not (test_id in second and second[test_id].status.is_failure)
    ]


def judge(suite: Suite, asyncio: Outcomes, sfloop: Outcomes, *, whole: bool) -> Verdict:
    """Compare the outcomes. `whole`: all tests of the suite were run."""
    verdict = Verdict(broken=_broken(suite, asyncio))
    failed = [test_id for test_id in sfloop if _fell(test_id, asyncio, sfloop)]
    for test_id in failed:
        reason = next((why for expression, why in suite.white_box.items() if re.search(expression, test_id)), None)
        if test_id in asyncio and asyncio[test_id].status.is_failure:
            verdict.on_both.append(test_id)
        elif reason is not None:
            verdict.white_box[test_id] = reason
        else:
            verdict.only_on_sfloop[test_id] = _last_line(sfloop[test_id])
    for test_id in asyncio.keys() - sfloop.keys():
        if asyncio[test_id].status is Status.PASS:
            verdict.only_on_sfloop[test_id] = "not run on sfloop"
    verdict.only_on_asyncio = on_one_side(asyncio, sfloop)
    if whole:
        verdict.stale = [text for text in suite.white_box if not _matches(text, failed)]
    return verdict


def _fell(test_id: str, asyncio: Outcomes, sfloop: Outcomes) -> bool:
    """Whether a test failed on sfloop, or skipped itself there although it passes on asyncio."""
    if sfloop[test_id].status is Status.SKIP:
        return test_id in asyncio and asyncio[test_id].status is Status.PASS
    return sfloop[test_id].status.is_failure


def _matches(expression: str, test_ids: Iterable[str]) -> bool:
    return any(re.search(expression, test_id) for test_id in test_ids)


def _broken(suite: Suite, asyncio: Outcomes) -> str:
    failed = [outcome for outcome in asyncio.values() if outcome.status.is_failure]
    if not any(outcome.status is Status.PASS for outcome in asyncio.values()):
        return f"no test of {suite.name} passed on asyncio"
    if len(failed) > MOST_ON_ASYNCIO * len(asyncio):
        return f"{len(failed)} of {len(asyncio)} tests fail on asyncio, the first with: {_last_line(failed[0])}"
    return ""


def _last_line(outcome: Outcome) -> str:
    """The line of the detail that says most: pytest's last line of an error, or the last line."""
    lines = [line for line in outcome.detail.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E  ")]
    return f"{outcome.status.value}: {(errors or lines or [''])[-1].strip()[:200]}"
