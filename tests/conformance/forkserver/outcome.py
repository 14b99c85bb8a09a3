"""The outcome of one test."""

from __future__ import annotations

import dataclasses
import enum
import json


class Status(str, enum.Enum):
    """How a test ended."""

    PASS = "pass"
    FAIL = "fail"  # an assertion failed, or descriptors were left open
    ERROR = "error"  # any other exception, or the harness rejected the run
    HANG = "hang"  # killed at the time limit
    CRASH = "crash"  # the process died before it could report
    SKIP = "skip"  # the test skipped itself
    ASYNCIO_FAILS = "asyncio-fails"  # failed, and asyncio's own loop fails it on this machine, too
    NO_LOOP = "no-loop"  # the test made no event loop, so it says nothing about the loop under test

    @property
    def is_failure(self) -> bool:
        return self in FAILURES


FAILURES = frozenset({Status.FAIL, Status.ERROR, Status.HANG, Status.CRASH})


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of one test.

    ``detail`` is the traceback, skip reason or captured output. ``seconds`` is wall-clock time.
    """

    test_id: str
    status: Status
    detail: str = ""
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Outcome:
        fields = json.loads(line)
        fields["status"] = Status(fields["status"])
        return cls(**fields)
