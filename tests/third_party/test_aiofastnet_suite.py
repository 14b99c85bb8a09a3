"""aiofastnet's own tests over TLS on the loop under test, one pytest test for each of its tests.

``SFLOOP_TEST_LOOP=asyncio`` runs them on another loop; ``python tests/third_party aiofastnet --help`` does the same
without pytest.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.forkserver.client import Background

from third_party import suites

SUITE = suites.pytest_suite("aiofastnet")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    SUITE.parametrize(metafunc)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Background]:
    with SUITE.running(request) as background:
        yield background


def test_aiofastnet(test_id: str, outcomes: Background) -> None:
    SUITE.check(outcomes, test_id)


def test_every_exception_names_a_test() -> None:
    SUITE.check_exceptions()
