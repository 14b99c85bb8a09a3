"""The printed result of a run: every failure, every exception and skip with its reason, and totals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from .expectations import Kind, Verdict

REASON_WIDTH = 150


def summary_lines(title: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The summary: exceptions and skips grouped by reason, then one line of totals."""
    yield from _grouped("expected failures", _by_reason(verdicts, Kind.EXPECTED))
    yield from _grouped("skipped by the suite itself", _by_reason(verdicts, Kind.SKIPPED))
    yield from _grouped("failed by asyncio's own loop on this machine too", _by_reason(verdicts, Kind.ASYNCIO_FAILS))
    bad = [v for v in verdicts if v.is_bad]
    if bad:
        yield f"failed: {len(bad)}"
        yield from (f"    {v.outcome.test_id}: {v.kind.value} ({v.outcome.status.value})" for v in bad)
    yield totals_line(title, verdicts)


def totals_line(title: str, verdicts: Sequence[Verdict]) -> str:
    """One line: the number of tests, and how they ended."""
    kinds = Counter(v.kind for v in verdicts)
    ways = Counter(v.outcome.status.value for v in verdicts if v.kind is Kind.FAILED)
    parts = [f"{kinds[kind]} {kind.value}" for kind in Kind if kinds[kind] or kind in (Kind.OK, Kind.FAILED)]
    how = f" ({', '.join(f'{count} {way}' for way, count in sorted(ways.items()))})" if ways else ""
    return f"{title}: {len(verdicts)} tests: {', '.join(parts)}{how}"


def failure_lines(verdict: Verdict) -> Iterator[str]:
    """A failed test in full."""
    outcome = verdict.outcome
    yield f"===== {outcome.test_id}: {outcome.status.value} after {outcome.seconds:.1f} s"
    if verdict.kind is Kind.UNEXPECTED_PASS and verdict.expected:
        yield f"passed, but the exceptions list it ({verdict.expected.reason}): take it off the list"
    else:
        yield outcome.detail.rstrip()


def _by_reason(verdicts: Iterable[Verdict], kind: Kind) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.kind is kind:
            reason = verdict.expected.reason if verdict.expected else verdict.outcome.detail
            groups[" ".join(reason.split())].append(verdict.outcome.test_id)
    return groups


def _grouped(heading: str, groups: dict[str, list[str]]) -> Iterator[str]:
    if groups:
        yield f"{heading}: {sum(map(len, groups.values()))}"
    for reason, test_ids in sorted(groups.items(), key=lambda item: -len(item[1])):
        yield f"    {reason[:REASON_WIDTH]}"
        yield from (f"        {test_id}" for test_id in test_ids)
