from __future__ import annotations

from collections.abc import Iterator

import pytest
from beside import DRIVERS, Program
from harness.link import Link, unavailable
from two_ways import TwoWays, two_ways


@pytest.fixture(params=("kernel", *DRIVERS))
def program(link: Link, request: pytest.FixtureRequest) -> Iterator[Program]:
    """A program on the kernel's stack, which is the control, and one past it."""
    made = Program(link, request.param)
    yield made
    made.close()


@pytest.fixture(params=DRIVERS)
def past(link: Link, request: pytest.FixtureRequest) -> Iterator[Program]:
    """A program past the kernel alone."""
    made = Program(link, request.param)
    yield made
    made.close()


@pytest.fixture
def ways() -> Iterator[TwoWays]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    with two_ways() as made:
        yield made
