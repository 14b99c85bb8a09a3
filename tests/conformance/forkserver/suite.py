"""The interface between the fork server and its suites."""

from __future__ import annotations

import abc

from .outcome import Outcome


class SuiteError(Exception):
    """The suite cannot run here. The message says what is missing and what to do."""


class Suite(abc.ABC):
    """A set of ``unittest`` tests that share the modules imported in the fork server."""

    #: Seconds that a test may take before it is killed and reported as a hang.
    time_limit: float = 60.0

    def time_limit_of(self, test_id: str) -> float:
        """The limit of one test. A suite may override it."""
        return self.time_limit

    @abc.abstractmethod
    def load(self) -> list[str]:
        """Import the test modules, make them use the loop under test, and return the tests' ids.

        An id is the argument of ``unittest.TestLoader.loadTestsFromName`` without ``id_prefix``. Called once, in the
        fork server, before any test. Raises SuiteError if the suite is not installed or the loop cannot be made.
        """

    #: The prefix that makes an id an importable name, such as ``test.test_asyncio.``.
    id_prefix: str = ""

    def started(self, test_id: str) -> None:
        """Called in the test's own process, before the test."""

    def finished(self, outcome: Outcome) -> Outcome:
        """Called in the test's own process, after the test. May change the outcome."""
        return outcome
