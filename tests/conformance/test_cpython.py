"""CPython's own event-loop tests on the loop under test, one pytest test for each.

``SFLOOP_TEST_LOOP=asyncio`` or ``uvloop`` runs them on another loop, ``SFLOOP_TEST_QUICK=1`` only those of the loop
itself. ``python tests/conformance --help`` does the same without pytest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance import server_command
from conformance.commandline import DEFAULT_JOBS
from conformance.exceptions import EXCEPTIONS
from conformance.forkserver.client import Background, ForkServer
from conformance.forkserver.pytest_suite import PytestSuite, loop_under_test, quick

SUITE = PytestSuite(
    "CPython's tests",
    lambda: ForkServer(server_command(loop_under_test(), quick=quick(), jobs=DEFAULT_JOBS)),
    EXCEPTIONS,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    SUITE.parametrize(metafunc)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Background]:
    with SUITE.running(request) as background:
        yield background


def test_cpython(test_id: str, outcomes: Background) -> None:
    SUITE.check(outcomes, test_id)


def test_every_exception_names_a_test() -> None:
    SUITE.check_exceptions()
