from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import leaks

from sfloop.testing.leaks import snapshot


@pytest.fixture(autouse=True, scope="module")
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """All examples together leave nothing behind on sfloop."""
    before, failed = snapshot(), request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        return  # the failure's traceback keeps everything alive
    assert leaks.check(before) == []
