"""The tests of CPython's that the loop under test may fail, each with its reason. Strict: a test that passes is an
error.

The only acceptable reason is that a test looks inside asyncio's selector loop instead of at a loop's behaviour.
"""

from __future__ import annotations

from .forkserver.expectations import Expected

EXCEPTIONS = (
    Expected("test_base_events.BaseEventLoopTests.test_call_soon", "looks for the handle in asyncio's loop._ready"),
    Expected(
        "test_base_events.BaseEventLoopTests.test_call_later", "looks for the handle in asyncio's loop._scheduled"
    ),
    Expected(
        "test_server.TestServer2.test_wait_closed_*",
        "calls Server._attach() as 3.12 has it; the Server here has what 3.13 brought, and its _attach(transport)",
        since=(3, 12),
        before=(3, 13),
    ),
)
