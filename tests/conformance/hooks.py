"""How CPython's test classes get the loop under test, if they do not ask asyncio for a new loop."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from .loops import Target

#: asyncio's own class, as the test modules bound it when they were imported.
SELECTOR_LOOP = asyncio.SelectorEventLoop


def use_loop(class_name: str, cls: type[unittest.TestCase], chosen: Target) -> None:
    """Replace the class's code that makes a loop, so that it makes the loop under test."""
    methods: dict[str, Any] = {}
    if hasattr(cls, "create_event_loop"):  # the mixins' own hook; concrete classes name a selector
        methods["create_event_loop"] = lambda self: chosen.loop_class()
        if class_name.startswith("test_events.") and not chosen.uses_child_watchers:
            mixin: Any = next(base for base in cls.__mro__ if base.__name__ == "EventLoopTestsMixin")
            methods.update(setUp=mixin.setUp, tearDown=mixin.tearDown)
    elif class_name == "test_base_events.BaseEventLoopTests":
        methods["setUp"] = _base_event_loop_set_up(cls, chosen)
    elif class_name.startswith("test_runners.") and hasattr(cls, "new_loop"):
        methods["new_loop"] = lambda self: _loop_for_runners(chosen)
    if cls.__dict__.get("loop_factory") is SELECTOR_LOOP:  # from Python 3.14 on
        methods["loop_factory"] = chosen.loop_class
    for name, method in methods.items():
        setattr(cls, name, method)


def _base_event_loop_set_up(cls: type[unittest.TestCase], chosen: Target) -> Any:
    """The class puts a mock selector into asyncio.BaseEventLoop. Give it a complete loop instead."""

    def set_up(self: Any) -> None:
        super(cls, self).setUp()
        self.loop = chosen.loop_class()
        self.set_event_loop(self.loop)

    return set_up


def _loop_for_runners(chosen: Target) -> Any:
    """A loop that records whether shutdown_asyncgens ran. The original is a test double that does only this."""
    loop: Any = chosen.loop_class()
    shutdown_asyncgens = loop.shutdown_asyncgens
    loop.shutdown_ag_run = False

    async def remember() -> None:
        loop.shutdown_ag_run = True
        await shutdown_asyncgens()

    loop.shutdown_asyncgens = remember
    return loop
