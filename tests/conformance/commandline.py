"""The command line of all suites: run all tests or some, and report."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence

from .forkserver.client import Server
from .forkserver.expectations import Expectations, Expected, Verdict
from .forkserver.report import failure_lines, summary_lines
from .forkserver.suite import SuiteError
from .loops import LOOPS

#: Two processes keep two cores busy. More would only make timing tests fail.
DEFAULT_JOBS = min(2, os.cpu_count() or 1)


def build_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--loop", choices=list(LOOPS), default="sfloop", help="the loop under test (default: sfloop)")
    parser.add_argument("--quick", action="store_true", help="only the tests of the loop itself")
    parser.add_argument("-k", metavar="TEXT", action="append", default=[], help="only tests whose id contains TEXT")
    parser.add_argument("-j", "--jobs", type=int, default=DEFAULT_JOBS, help="tests at a time (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the tests' ids and end")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser


def run(options: argparse.Namespace, title: str, start: Callable[[], Server], exceptions: Sequence[Expected]) -> int:
    """List or run the tests. Returns the exit status: 0 if every test did what was expected, 1 if not, 2 if the suite
    cannot run."""
    try:
        server = start()
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        tests = [test for test in server.tests if not options.k or any(text in test for text in options.k)]
        if options.list:
            print("\n".join(tests))
            return 0
        if not tests:
            print(f"no test's id contains {' or '.join(options.k)}; --list prints them all", file=sys.stderr)
            return 2
        return _run(options, title, server, tests, Expectations(exceptions if options.loop == "sfloop" else ()))
    finally:
        server.close()


def _run(options: argparse.Namespace, title: str, server: Server, tests: list[str], expectations: Expectations) -> int:
    verdicts: list[Verdict] = []
    start = time.monotonic()
    for outcome in server.run(tests):
        verdict = expectations.judge(outcome)
        verdicts.append(verdict)
        if verdict.is_bad:
            print("\n".join(failure_lines(verdict)), flush=True)
        elif sys.stdout.isatty():
            print(f"\r{len(verdicts)}/{len(tests)} ", end="", flush=True)
    python = f"Python {platform.python_version()}"
    print("\n".join(summary_lines(f"{title} on {options.loop}, {python}", verdicts)))
    slowest = sorted(verdicts, key=lambda v: -v.outcome.seconds)[:5]
    print("slowest: " + ", ".join(f"{v.outcome.test_id} {v.outcome.seconds:.1f} s" for v in slowest))
    print(f"in {time.monotonic() - start:.0f} s")
    return int(any(v.is_bad for v in verdicts))
