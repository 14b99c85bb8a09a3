"""The loop's methods are bound methods with asyncio's signatures, as inspect, weakref and unittest.mock expect them."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import types
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from sfloop.native.cores.core import LoopCore
from sfloop.native.cores.descriptors import WatchingCore

NATIVE = (
    "call_soon",
    "call_later",
    "call_at",
    "create_task",
    "create_future",
    "get_debug",
    "call_soon_threadsafe",
    "time",
    "is_closed",
)
PASSED_ON = ("create_server", "create_unix_server", "create_datagram_endpoint", "start_tls")


@pytest.mark.parametrize("name", NATIVE)
def test_a_bound_method(loop: asyncio.AbstractEventLoop, name: str) -> None:
    method, function = getattr(loop, name), getattr(type(loop), name)
    assert inspect.ismethod(method) and type(method) is types.MethodType
    assert method.__self__ is loop and method.__func__ is function
    assert method == getattr(loop, name) == types.MethodType(function, loop)
    assert hash(method) == hash(getattr(loop, name))
    assert weakref.WeakMethod(method)() == method
    assert inspect.isroutine(function) and method.__name__ == function.__name__ == name
    assert method.__qualname__.endswith(f".{name}") and isinstance(method.__module__, str)
    assert not inspect.iscoroutinefunction(method) and name in repr(function) and name in repr(method)
    assert copy.deepcopy(function) is function and pickle.loads(pickle.dumps(function)) is function
    assert functools.wraps(method)(lambda: None).__name__ == name
    assert getattr(function, "__wrapped__", None) is None


@pytest.mark.parametrize("name", [*NATIVE, *PASSED_ON])
@pytest.mark.parametrize("of", [type, lambda loop: loop])
def test_signatures(loop: asyncio.AbstractEventLoop, name: str, of: Callable[[Any], Any]) -> None:
    mine = inspect.signature(getattr(of(loop), name))
    asyncios = inspect.signature(getattr(asyncio.SelectorEventLoop, name))
    ours = {"keep_alive", "self"}
    shown = [(p.name, p.kind, p.default) for p in mine.parameters.values() if p.name not in ours]
    assert shown == [(p.name, p.kind, p.default) for p in asyncios.parameters.values() if p.name not in ours]


def test_a_method_takes_attributes(loop: asyncio.AbstractEventLoop) -> None:
    function: Any = type(loop).call_soon
    function.seen = 1
    try:
        assert loop.call_soon.seen == 1  # type: ignore[attr-defined]
    finally:
        del function.seen
    with pytest.raises(AttributeError, match="seen"):
        function.seen  # noqa: B018


def test_mocks_with_the_loops_specification(loop: asyncio.AbstractEventLoop) -> None:
    mocked = mock.create_autospec(loop)
    mocked.call_soon(print, 1, context=None)
    with pytest.raises(TypeError):
        mocked.call_later(1)
    with pytest.raises(TypeError):
        mocked.create_future(1)
    mocked.call_soon.assert_called_once_with(print, 1, context=None)
    mock.create_autospec(type(loop)).call_soon(loop, print)
    with mock.patch.object(loop, "call_soon", autospec=True) as patched:
        loop.call_soon(print, 2)
    patched.assert_called_once_with(print, 2)


def test_unbound_calls(loop: asyncio.AbstractEventLoop) -> None:
    called: list[object] = []
    unbound: Any = type(loop)
    unbound.call_soon(loop, called.append, 1)
    functools.partial(unbound.call_soon, loop)(called.append, 2)
    unbound.call_soon.__get__(loop)(called.append, 3)
    unbound.call_soon(loop, callback=lambda: called.append(4), context=None)
    loop.run_until_complete(asyncio.sleep(0))
    assert called == [1, 2, 3, 4]
    with pytest.raises(TypeError):
        unbound.create_future(loop, 1)


@pytest.mark.sfloop_only("native methods")
@pytest.mark.parametrize("owner", [LoopCore, WatchingCore])
def test_native_methods_refuse_another_self(owner: type) -> None:
    methods = [each for each in vars(owner).values() if type(each).__name__ == "Method"]
    unchecked = [name for name, each in vars(owner).items() if "cython" in type(each).__name__]
    assert methods and [name for name in unchecked if not name.startswith("_begin_")] == []
    for method in methods:
        for wrong in ((), (1,), (None, 1), (object(), 1, print)):
            with pytest.raises(TypeError, match="needs an instance of"):
                method(*wrong)


@pytest.mark.parametrize("make", [lambda loop: loop.call_soon(print), lambda loop: loop.call_later(1, print)])
def test_the_signature_of_cancel(
    loop: asyncio.AbstractEventLoop, make: Callable[[asyncio.AbstractEventLoop], asyncio.Handle]
) -> None:
    handle = make(loop)
    assert not inspect.signature(handle.cancel).parameters
    handle.cancel()
