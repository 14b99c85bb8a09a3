"""The contract between the fork server and the suites that it runs."""

from __future__ import annotations

import abc

from .outcome import Outcome


class SuiteError(Exception):
    """The suite cannot run here; the message says what is missing and what to do."""


class Suite(abc.ABC):
    """A set of ``unittest`` tests that share the modules imported in the fork server."""

    #: Seconds that a test may take before it is killed and reported as a hang.
    time_limit: float = 60.0

    def time_limit_of(self, test_id: str) -> float:
        """The limit of one test, for a suite that knows better."""
        return self.time_limit

    @abc.abstractmethod
    def load(self) -> list[str]:
        """Import the test modules, point them at the loop under test and return the tests' ids.

        An id is what ``unittest.TestLoader.loadTestsFromName`` takes, without ``id_prefix``. Called once, in the
        fork server, before any test. Raises SuiteError when the suite is not installed or the loop cannot be made.
        """

    #: What to put before an id to get an importable name, such as ``test.test_asyncio.``.
    id_prefix: str = ""

    def started(self, test_id: str) -> None:
        """Called in the test's own process, before the test."""

    def finished(self, outcome: Outcome) -> Outcome:
        """Called in the test's own process, after the test; may turn the outcome into another one."""
        return outcome
