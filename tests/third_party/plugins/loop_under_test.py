"""A pytest plugin for other projects' suites: every loop that asyncio makes is the loop under test.

``SFLOOP_TEST_LOOP`` names the loop. A test that still gets asyncio's own loop fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from conformance import loops

_creations = loops.substitute(loops.target(os.environ["SFLOOP_TEST_LOOP"]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    foreign = list(_creations.foreign)
    _creations.reset()
    if foreign:
        pytest.fail(f"asyncio's own loop was made ({', '.join(foreign)}) beside the one under test", pytrace=False)
    return result
