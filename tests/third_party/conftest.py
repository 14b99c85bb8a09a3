"""pytest-asyncio's hook for selecting loops, used as its documentation says, for test_pytest_asyncio.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from conformance.loops import target


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {name: target(name).loop_class for name in ("asyncio", "sfloop")}
