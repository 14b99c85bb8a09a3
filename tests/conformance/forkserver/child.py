"""The test's own process: runs one ``unittest`` test and stores its outcome in a file.

This module judges sfloop, so it imports nothing of it. Its ``_open_descriptors`` copies sfloop/testing/leaks.py's.
"""

from __future__ import annotations

import ctypes
import dataclasses
import faulthandler
import gc
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import types
import unittest
from pathlib import Path
from typing import NoReturn

from .outcome import Outcome, Status
from .suite import Suite

OUTCOME_FILE = "outcome.json"
OUTPUT_FILE = "output.txt"
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

_ExcInfo = tuple[type[BaseException], BaseException, types.TracebackType | None]


class _Recorder(unittest.TestResult):
    """Stores the worst event of one test, including sub-tests and class set-up."""

    def __init__(self) -> None:
        super().__init__()
        self.skip_reason: str | None = None
        self.succeeded = False

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.skip_reason = reason

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.succeeded = True

    def addExpectedFailure(self, test: unittest.TestCase, err: object) -> None:
        super().addExpectedFailure(test, err)  # type: ignore[arg-type]
        self.succeeded = True

    def outcome(self, test_id: str) -> Outcome:
        if self.errors:
            return Outcome(test_id, Status.ERROR, self.errors[0][1])
        if self.failures:
            return Outcome(test_id, Status.FAIL, self.failures[0][1])
        if self.unexpectedSuccesses:
            return Outcome(test_id, Status.FAIL, "passed, although the suite marks it as an expected failure")
        if self.succeeded:
            return Outcome(test_id, Status.PASS)
        if self.skip_reason is not None:
            return Outcome(test_id, Status.SKIP, self.skip_reason)
        return Outcome(test_id, Status.ERROR, "unittest ran nothing")


def run_child(suite: Suite, test_id: str, directory: Path) -> NoReturn:
    """Run one test in this freshly forked process, write its outcome into ``directory`` and exit."""
    code = 1
    try:
        _isolate(suite.time_limit_of(test_id), directory)
        outcome = _run(suite, test_id)
        part = directory / (OUTCOME_FILE + ".part")
        part.write_text(outcome.to_json())
        part.rename(directory / OUTCOME_FILE)
        code = 0
    except BaseException:  # the output file must report every exception to the parent
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        # Skip the interpreter's teardown, because threads of a failed test must not keep the process alive.
        os._exit(code)


def _isolate(time_limit: float, directory: Path) -> None:
    os.setpgid(0, 0)  # the parent kills the group, including processes that the test started
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(directory / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    # Line buffered, so that the output of a killed test can be read.
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
    # Some signals are ignored if the run was started with nohup or in a script's background.
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work = directory / "work"
    work.mkdir()
    os.chdir(work)  # test.support.TESTFN is a relative name, which all forked processes share
    tempfile.tempdir = str(work)
    random.seed()
    faulthandler.enable()
    faulthandler.dump_traceback_later(max(time_limit - 1.0, 0.5))


def _run(suite: Suite, test_id: str) -> Outcome:
    # This imports nothing new, because the parent has the modules. A suite includes class and module set-up.
    test = unittest.defaultTestLoader.loadTestsFromName(suite.id_prefix + test_id)
    result = _Recorder()
    gc.collect()
    before = _open_descriptors()
    suite.started(test_id)
    start = time.monotonic()
    unittest.TestSuite([test]).run(result)
    seconds = time.monotonic() - start
    outcome = suite.finished(dataclasses.replace(result.outcome(test_id), seconds=seconds))
    del test
    gc.collect()
    left_open = tuple(target for fd, target in _open_descriptors().items() if before.get(fd) != target)
    if left_open and outcome.status in (Status.PASS, Status.NO_LOOP):
        detail = f"passed, but left descriptors open: {', '.join(left_open)}"
        return dataclasses.replace(outcome, status=Status.FAIL, detail=detail)
    return outcome


def _open_descriptors() -> dict[int, str]:
    descriptors: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor that listed the directory
    return descriptors
