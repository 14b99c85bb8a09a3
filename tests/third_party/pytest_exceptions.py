"""Tests of anyio's and pytest-asyncio's suites that the loop under test may fail, each with its reason. Strict."""

from __future__ import annotations

from conformance.forkserver.expectations import Expected

ANYIO: tuple[Expected, ...] = ()

PYTEST_ASYNCIO: tuple[Expected, ...] = ()

AIOFASTNET: tuple[Expected, ...] = ()

PICOWS: tuple[Expected, ...] = ()
