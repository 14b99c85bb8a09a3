"""The loops for the suites, and how asyncio is made to use one of them everywhere."""

from __future__ import annotations

import asyncio
import asyncio.selector_events
import asyncio.unix_events
import contextlib
import dataclasses
import functools
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

from .forkserver.suite import SuiteError

#: name → (module, what to do if it is missing)
LOOPS = {
    "asyncio": ("asyncio", ""),
    "uvloop": ("uvloop", "pip install uvloop"),
    "sfloop": ("sfloop", "install this checkout: pip install ."),
}


#: asyncio's default policy; None if Python has no event loop policies, from 3.16 on.
DEFAULT_POLICY: Any = vars(asyncio.unix_events).get("_UnixDefaultEventLoopPolicy")


@dataclasses.dataclass(frozen=True)
class Target:
    """The loop under test."""

    name: str
    loop_class: type[asyncio.AbstractEventLoop]
    policy_class: Any  # None: this Python has no policies
    uses_child_watchers: bool = True


def target(name: str) -> Target:
    """The loop of this name. Raises SuiteError if its package cannot be imported."""
    if name not in LOOPS:
        raise SuiteError(f"loop {name!r} is not known; choose one of {', '.join(LOOPS)}")
    module_name, remedy = LOOPS[name]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SuiteError(f"loop {name!r} cannot be imported ({error}); {remedy}") from error
    if name == "asyncio":
        return Target(name, asyncio.SelectorEventLoop, DEFAULT_POLICY)
    if name == "uvloop":
        module.Loop._default_executor = None  # the tests' base class reads it, but uvloop hides its own
    policy = None if DEFAULT_POLICY is None else module.EventLoopPolicy
    return Target(name, module.Loop, policy, uses_child_watchers=name != "uvloop")


class Creations:
    """Counts the loops made in this process: loops under test and, separately, asyncio's own."""

    def __init__(self, loop_class: type[asyncio.AbstractEventLoop]) -> None:
        self.under_test = 0
        self.foreign: list[str] = []
        self._loop_class = loop_class
        self._wrap(loop_class, self._count)
        base = asyncio.selector_events.BaseSelectorEventLoop
        if loop_class is not base:
            self._wrap(base, self._look_for_foreign)

    def reset(self) -> None:
        self.under_test = 0
        self.foreign.clear()

    def _count(self, loop: object) -> None:
        self.under_test += 1

    def _look_for_foreign(self, loop: object) -> None:
        # Ignore test doubles that a test module derives from asyncio's classes.
        if not isinstance(loop, self._loop_class) and type(loop).__module__.startswith("asyncio."):
            self.foreign.append(type(loop).__qualname__)

    @staticmethod
    def _wrap(cls: Any, note: Any) -> None:
        original = cls.__init__

        @functools.wraps(original)
        def __init__(self: object, *args: Any, **kwargs: Any) -> None:
            note(self)
            original(self, *args, **kwargs)

        cls.__init__ = __init__


def substitute(chosen: Target) -> Creations:
    """Make every way in which asyncio's tests get a loop return the loop under test, and count the loops.

    The default policy is patched as well as replaced, because many tests reset the policy to the default one.
    """
    creations = Creations(chosen.loop_class)
    if chosen.name != "asyncio":
        for module in (asyncio, asyncio.unix_events):
            for name in ("SelectorEventLoop", "EventLoop"):
                if hasattr(module, name):
                    setattr(module, name, chosen.loop_class)
    if DEFAULT_POLICY is not None:
        if chosen.name != "asyncio":
            DEFAULT_POLICY._loop_factory = staticmethod(chosen.loop_class)
        with _deprecated_policies():
            asyncio.set_event_loop_policy(chosen.policy_class())
    else:
        for module in (asyncio, asyncio.events):
            module.new_event_loop = chosen.loop_class  # type: ignore[attr-defined]
    with _deprecated_policies():
        _check(chosen)
    return creations


@contextlib.contextmanager
def _deprecated_policies() -> Iterator[None]:
    """Ignore deprecation warnings of event loop policies (from Python 3.14 on), because the suites turn warnings into
    errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*(p|P)olicy")
        yield


def _check(chosen: Target) -> None:
    """Check that every way of getting a loop returns the loop under test, because the results would mean nothing
    otherwise."""
    ways: dict[str, Any] = {
        "asyncio.new_event_loop": asyncio.new_event_loop,
        "asyncio.SelectorEventLoop": asyncio.SelectorEventLoop,
    }
    if DEFAULT_POLICY is not None:
        ways["asyncio.DefaultEventLoopPolicy().new_event_loop"] = asyncio.DefaultEventLoopPolicy().new_event_loop
    if hasattr(asyncio, "EventLoop"):
        ways["asyncio.EventLoop"] = asyncio.EventLoop
    for way, make in ways.items():
        loop = make()
        loop.close()
        if type(loop) is not chosen.loop_class:
            raise SuiteError(f"{way}() made a {type(loop)!r}, not {chosen.loop_class!r}: nothing would be tested")
