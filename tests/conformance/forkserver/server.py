"""The command that a client starts: lists a suite's tests, then runs those named on standard input.

Standard output has one JSON document per line: first ``{"tests": [...]}`` or ``{"unusable": "why"}``, then one outcome
for each test.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import TextIO

from .outcome import Outcome
from .pool import Pool
from .suite import Suite, SuiteError


def serve(suite: Suite, *, jobs: int) -> int:
    """Load the suite, list its tests, and run the ids from standard input, one per line."""
    answers = _claim_stdout()
    try:
        tests = suite.load()
    except SuiteError as error:
        print(json.dumps({"unusable": str(error)}), file=answers, flush=True)
        return 2
    print(json.dumps({"tests": tests}), file=answers, flush=True)
    # Each test's process collects garbage before and after its test. Freeze the suite's objects, so that it need not
    # scan and thereby copy them.
    gc.collect()
    gc.freeze()
    wanted = [line.strip() for line in sys.stdin if line.strip()]

    def report(outcome: Outcome) -> None:
        print(outcome.to_json(), file=answers, flush=True)

    Pool(suite, jobs, report).run(wanted)
    return 0


def _claim_stdout() -> TextIO:
    """Reserve standard output for answers. Output of test modules goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    sys.stdin = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(null, 0)
    os.close(null)
    return answers
