"""Stands in for uvloop in uvloop's own test suite: the same names, bound to the loop under test.

``SFLOOP_TEST_LOOP`` names the loop, and ``UVLOOP_SDIST`` the unpacked source distribution, whose ``_testbase`` is
imported from there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from conformance.loops import target

_chosen = target(os.environ["SFLOOP_TEST_LOOP"])
__path__.append(os.path.join(os.environ["UVLOOP_SDIST"], "uvloop"))

Loop = _chosen.loop_class
EventLoopPolicy = _chosen.policy_class


def new_event_loop() -> asyncio.AbstractEventLoop:
    return Loop()


def install() -> None:
    asyncio.set_event_loop_policy(EventLoopPolicy())


def run(main: Coroutine[Any, Any, Any], *, debug: bool | None = None) -> Any:
    """Call run() of the loop under test. For asyncio's own loop, the policy set above makes the loop."""
    if _chosen.name == "asyncio":
        return asyncio.run(main, debug=debug)
    module: Any = __import__(_chosen.name)
    return module.run(main, debug=debug)
