"""A fork server suite as pytest tests: one pytest test for each test id, with the outcomes of one run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from .client import Background, Server
from .expectations import Expectations, Expected, Kind, Verdict
from .report import failure_lines, summary_lines
from .suite import SuiteError

LOOP_VARIABLE = "SFLOOP_TEST_LOOP"
QUICK_VARIABLE = "SFLOOP_TEST_QUICK"
SUMMARY_PLUGIN = "fork-server-summary"


def loop_under_test() -> str:
    """``SFLOOP_TEST_LOOP``: asyncio, uvloop, or sfloop (the default)."""
    return os.environ.get(LOOP_VARIABLE, "sfloop")


def quick() -> bool:
    """``SFLOOP_TEST_QUICK``: only tests of the loop itself, for the secondary Python versions."""
    return os.environ.get(QUICK_VARIABLE, "") not in ("", "0")


class PytestSuite:
    """One suite, its command and its exceptions, for the pytest module with its test function.

    ``start`` starts the server. It is called when pytest collects the module.
    """

    def __init__(
        self,
        title: str,
        start: Callable[[], Server],
        exceptions: Sequence[Expected],
    ) -> None:
        self._title = f"{title} on {loop_under_test()}, Python {platform.python_version()}"
        self._start = start
        self._expectations = Expectations(exceptions if loop_under_test() == "sfloop" else ())
        self._server: Server | None = None
        self._verdicts: list[Verdict] = []

    def test_ids(self) -> list[str]:
        """Start the server and return its tests. Fails the collection if the suite cannot run."""
        if self._server is None:
            try:
                self._server = self._start()
            except SuiteError as error:
                raise pytest.UsageError(f"{self._title}: {error}") from None
        return self._server.tests

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Make one pytest test of each test id."""
        if "test_id" in metafunc.fixturenames:
            # The server has its own limit for each test. pytest-timeout would include the wait for other tests.
            marks = [pytest.mark.timeout(0)] if metafunc.config.pluginmanager.has_plugin("timeout") else []
            tests = [pytest.param(test_id, id=test_id, marks=marks) for test_id in self.test_ids()]
            metafunc.parametrize("test_id", tests)

    @contextmanager
    def running(self, request: pytest.FixtureRequest) -> Iterator[Background]:
        """In this block, run the tests that pytest has selected, in the background."""
        assert self._server is not None
        _summary_of(request.config).add(self._title, self._verdicts)
        selected = [
            str(item.callspec.params["test_id"])
            for item in request.session.items
            if isinstance(item, pytest.Function) and item.module is request.module and _takes_test_id(item)
        ]
        background = Background(self._server, selected)
        try:
            yield background
        finally:
            background.close()

    def check(self, background: Background, test_id: str) -> None:
        """Convert the outcome of one test to pytest's."""
        verdict = self._expectations.judge(background.wait_for(test_id))
        self._verdicts.append(verdict)
        if verdict.is_bad:
            pytest.fail("\n".join(failure_lines(verdict)), pytrace=False)
        elif verdict.kind is Kind.EXPECTED and verdict.expected:
            pytest.xfail(verdict.expected.reason)
        elif verdict.kind in (Kind.SKIPPED, Kind.NO_LOOP, Kind.ASYNCIO_FAILS):
            pytest.skip(" ".join(verdict.outcome.detail.split()))

    def check_exceptions(self) -> None:
        """Check that every exception names an existing test."""
        if quick():
            pytest.skip("the quick subset does not have every test that the exceptions name")
        unused = [e.pattern for e in self._expectations.unused(self.test_ids())]
        assert not unused, f"exceptions that match no test of this suite: {unused}"


def _takes_test_id(item: pytest.Function) -> bool:
    return hasattr(item, "callspec") and "test_id" in item.callspec.params


def _summary_of(config: pytest.Config) -> _Summary:
    summary = config.pluginmanager.get_plugin(SUMMARY_PLUGIN)
    if not isinstance(summary, _Summary):
        summary = _Summary()
        config.pluginmanager.register(summary, SUMMARY_PLUGIN)
    return summary


class _Summary:
    """Prints the totals of each suite at the end of the pytest run."""

    def __init__(self) -> None:
        self._suites: list[tuple[str, list[Verdict]]] = []

    def add(self, title: str, verdicts: list[Verdict]) -> None:
        self._suites.append((title, verdicts))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for title, verdicts in self._suites:
            terminalreporter.section(title)
            for line in summary_lines(title, verdicts):
                terminalreporter.write_line(line)
