"""A clock that jumps, and a limit of real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from clock_times import AT_ONCE

from sfloop.testing import Clock


@pytest.fixture
def clock(loop: asyncio.AbstractEventLoop) -> Iterator[Clock]:
    made, began = Clock(100.0), time.monotonic()
    with made.on(loop):
        yield made
    assert time.monotonic() - began < 10


@pytest.fixture
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE
