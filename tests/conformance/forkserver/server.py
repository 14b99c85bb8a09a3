"""The command that a client starts: list a suite's tests, then run those named on standard input.

Standard output carries one JSON document a line: first ``{"tests": [...]}`` or ``{"unusable": "why"}``, then one
outcome for each test.
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
    """Load the suite, say which tests it has, and run the ids given as lines on standard input."""
    answers = _claim_stdout()
    try:
        tests = suite.load()
    except SuiteError as error:
        print(json.dumps({"unusable": str(error)}), file=answers, flush=True)
        return 2
    print(json.dumps({"tests": tests}), file=answers, flush=True)
    # Each test's process collects garbage before and after its test: that need not look at, and thereby copy, all that
    # the suite imported.
    gc.collect()
    gc.freeze()
    wanted = [line.strip() for line in sys.stdin if line.strip()]

    def report(outcome: Outcome) -> None:
        print(outcome.to_json(), file=answers, flush=True)

    Pool(suite, jobs, report).run(wanted)
    return 0


def _claim_stdout() -> TextIO:
    """Keep standard output for answers; whatever test modules print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    sys.stdin = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(null, 0)
    os.close(null)
    return answers
