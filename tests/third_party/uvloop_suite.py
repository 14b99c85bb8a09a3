"""uvloop's own test suite for the fork server: every test of its UV classes, none of its AIO classes."""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import os
import sys
import types
import unittest
from collections.abc import Iterator
from pathlib import Path

from conformance import loops
from conformance.forkserver.expectations import Expectations
from conformance.forkserver.outcome import Outcome, Status
from conformance.forkserver.suite import Suite, SuiteError

from .sdist import pinned
from .uvloop_exceptions import EXCEPTIONS, LEFT_OUT

HERE = Path(__file__).parent
SDIST_VARIABLE = "UVLOOP_SDIST"

#: Module that uvloop's tests use → its package. Without it the tests would skip themselves.
NEEDED = {"aiohttp": "aiohttp", "psutil": "psutil", "OpenSSL": "pyOpenSSL"}


def server(loop: str, *, jobs: int) -> tuple[list[str], dict[str, str]]:
    """The interpreter's arguments for this suite's fork server, and its environment variables.

    The variables make the shim ``uvloop``. The tests' own subprocesses inherit them. Raises SuiteError if the source
    distribution is not available.
    """
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    if loop != "uvloop":
        paths.insert(0, str(HERE / "shim"))
    variables = {
        "SFLOOP_TEST_LOOP": loop,
        SDIST_VARIABLE: str(pinned("uvloop").unpacked()),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    return [str(HERE), "uvloop", "--serve", f"--loop={loop}", f"--jobs={jobs}"], variables


class UvloopSuite(Suite):
    """The tests that uvloop's suite runs on uvloop, on the loop of this name. The loop ``uvloop`` needs no shim."""

    time_limit = 60.0
    id_prefix = "uvloop_tests."
    _expectations = Expectations(EXCEPTIONS)

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._creations: loops.Creations | None = None

    def load(self) -> list[str]:
        _check_needed()
        # A process of forkserver, CPython's default from 3.14 on, could not import the package that is made here.
        multiprocessing.set_start_method("fork", force=True)
        self._creations = loops.substitute(loops.target(self._loop))
        directory = Path(os.environ[SDIST_VARIABLE]) / "tests"
        package = types.ModuleType(self.id_prefix.rstrip("."))
        package.__path__ = [str(directory)]
        sys.modules[package.__name__] = package
        names = sorted(path.stem for path in directory.glob("test_*.py") if path.stem not in LEFT_OUT)
        for stale in set(LEFT_OUT) - {path.stem for path in directory.glob("test_*.py")}:
            raise SuiteError(f"tests/third_party/uvloop_exceptions.py leaves out {stale}, which does not exist")
        return [test for name in names for test in self._tests_of(importlib.import_module(self.id_prefix + name))]

    def _tests_of(self, module: types.ModuleType) -> Iterator[str]:
        aio_test_case = importlib.import_module("uvloop._testbase").AIOTestCase
        for name, cls in vars(module).items():
            if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and cls.__module__ == module.__name__:
                if not issubclass(cls, aio_test_case):
                    for method in unittest.defaultTestLoader.getTestCaseNames(cls):
                        yield f"{module.__name__.removeprefix(self.id_prefix)}.{name}.{method}"

    def time_limit_of(self, test_id: str) -> float:
        """A shorter limit for a test that is expected to fail, because a long wait for it has no use."""
        expected = self._expectations.find(test_id)
        if expected is None:
            return self.time_limit
        return 8.0 if expected.status is Status.HANG else 20.0

    def started(self, test_id: str) -> None:
        assert self._creations is not None
        self._creations.reset()

    def finished(self, outcome: Outcome) -> Outcome:
        assert self._creations is not None
        if outcome.status is Status.PASS and not self._creations.under_test:
            return dataclasses.replace(outcome, status=Status.NO_LOOP, detail="the test made no event loop")
        return outcome


def _check_needed() -> None:
    for module in NEEDED:
        try:
            importlib.import_module(module)
        except ImportError as error:
            packages = " ".join(NEEDED.values())
            raise SuiteError(f"uvloop's tests need {module} ({error}): pip install {packages}") from error
