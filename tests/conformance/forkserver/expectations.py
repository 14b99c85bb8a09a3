"""Tests that may fail, each with its reason, and the strict verdict on them."""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
import sys
from collections.abc import Iterable, Sequence

from .outcome import Outcome, Status


@dataclasses.dataclass(frozen=True)
class Expected:
    """A test that is expected to fail.

    ``pattern`` is a glob for test ids. It applies to Python versions from ``since`` to just below ``before``. An
    exception is strict: the test must fail (with ``status``, or in any way if it is None), or the run fails.
    """

    pattern: str
    reason: str
    since: tuple[int, ...] = (3, 10)
    before: tuple[int, ...] = (4,)
    status: Status | None = None

    def applies_to(self, version: tuple[int, ...]) -> bool:
        return self.since <= version < self.before

    def applies(self, test_id: str, version: tuple[int, ...]) -> bool:
        return self.applies_to(version) and fnmatch.fnmatchcase(test_id, self.pattern)


class Kind(enum.Enum):
    """The meaning of an outcome for the run."""

    OK = "passed"
    EXPECTED = "expected failures"
    SKIPPED = "skipped by the suite itself"
    NO_LOOP = "made no event loop"
    ASYNCIO_FAILS = "failed by asyncio's own loop on this machine too"
    FAILED = "failed"
    UNEXPECTED_PASS = "passed although listed as an exception"


@dataclasses.dataclass(frozen=True)
class Verdict:
    kind: Kind
    outcome: Outcome
    expected: Expected | None = None

    @property
    def is_bad(self) -> bool:
        return self.kind in (Kind.FAILED, Kind.UNEXPECTED_PASS)


class Expectations:
    """The exceptions that apply to one interpreter version."""

    def __init__(self, exceptions: Iterable[Expected], version: tuple[int, ...] = sys.version_info[:3]) -> None:
        self._version = version
        self._exceptions = list(exceptions)

    def find(self, test_id: str) -> Expected | None:
        """The exception for this test, if there is one."""
        return next((e for e in self._exceptions if e.applies(test_id, self._version)), None)

    def judge(self, outcome: Outcome) -> Verdict:
        """Compare an outcome with the exceptions."""
        if outcome.status is Status.SKIP:
            return Verdict(Kind.SKIPPED, outcome)
        expected = self.find(outcome.test_id)
        if outcome.status is Status.NO_LOOP:
            return Verdict(Kind.NO_LOOP, outcome)
        if outcome.status is Status.ASYNCIO_FAILS:
            return Verdict(Kind.ASYNCIO_FAILS, outcome)
        if not outcome.status.is_failure:
            kind = Kind.UNEXPECTED_PASS if expected else Kind.OK
            return Verdict(kind, outcome, expected)
        if expected and expected.status in (None, outcome.status):
            return Verdict(Kind.EXPECTED, outcome, expected)
        return Verdict(Kind.FAILED, outcome, expected)

    def unused(self, test_ids: Sequence[str]) -> list[Expected]:
        """Exceptions for this version that match no test, because of a renamed test or a typing error."""
        applying = (e for e in self._exceptions if e.applies_to(self._version))
        return [e for e in applying if not any(e.applies(test_id, self._version) for test_id in test_ids)]
