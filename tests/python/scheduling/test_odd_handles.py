"""A program changes a handle, replaces asyncio.Handle._run, or schedules a handle of its own class."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest


class Iterable:
    def __iter__(self) -> Any:
        return iter((7, 8))


class Arguments(tuple):  # type: ignore[type-arg]
    __slots__ = ()


SCHEDULE: dict[str, Callable[..., asyncio.Handle]] = {
    "call_soon": lambda loop, callback: loop.call_soon(callback, 9),
    "call_later": lambda loop, callback: loop.call_later(0.0, callback, 9),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback, 9),
}


def outcome(loop: asyncio.AbstractEventLoop, how: str, change: Callable[[Any], None]) -> tuple[list[Any], list[Any]]:
    """What a callback of a changed handle got, and the exceptions that were reported."""
    called: list[Any] = []
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    change(SCHEDULE[how](loop, lambda *args: called.append(args)))
    loop.run_until_complete(asyncio.sleep(0.002))
    return called, reported


@pytest.mark.parametrize("how", SCHEDULE)
@pytest.mark.parametrize(
    ("args", "passed"),
    [([1, 2], (1, 2)), (iter([1, 2]), (1, 2)), ("ab", ("a", "b")), (Iterable(), (7, 8)), (Arguments((1, 2)), (1, 2)),
     ({"a": 1}, ("a",)), ([], ()), ((), ()), ((1,), (1,))],
)  # fmt: skip
def test_arguments_are_any_iterable(loop: asyncio.AbstractEventLoop, how: str, args: Any, passed: Any) -> None:
    if isinstance(args, type(iter([]))):
        args = iter([1, 2])  # the parameter is used by each test
    assert outcome(loop, how, lambda handle: setattr(handle, "_args", args)) == ([passed], [])


@pytest.mark.parametrize("how", SCHEDULE)
@pytest.mark.parametrize(("attribute", "error"), [("_args", TypeError), ("_context", AttributeError)])
def test_none_is_reported(loop: asyncio.AbstractEventLoop, how: str, attribute: str, error: type[Exception]) -> None:
    called, reported = outcome(loop, how, lambda handle: setattr(handle, attribute, None))
    assert called == [] and [type(exc) for exc in reported] == [error]


def test_a_missing_callback_is_raised(loop: asyncio.AbstractEventLoop) -> None:
    def take(handle: Any) -> None:
        del handle._callback

    with pytest.raises(AttributeError, match="_callback"):
        outcome(loop, "call_soon", take)


@pytest.mark.parametrize("how", SCHEDULE)
@pytest.mark.parametrize(("value", "runs"), [(1, False), ("yes", False), (0, True), (None, True)])
def test_cancelled_is_any_truth(loop: asyncio.AbstractEventLoop, how: str, value: object, runs: bool) -> None:
    called, _ = outcome(loop, how, lambda handle: setattr(handle, "_cancelled", value))
    assert called == [(9,)] * runs


@pytest.mark.parametrize("how", SCHEDULE)
def test_a_replacement_of_run_is_called(
    loop: asyncio.AbstractEventLoop, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []
    run = asyncio.Handle._run  # type: ignore[attr-defined]

    def measure(handle: Any) -> None:
        measured.append(handle._args)
        run(handle)

    monkeypatch.setattr(asyncio.Handle, "_run", measure)
    assert outcome(loop, how, lambda handle: None) == ([(9,)], [])
    assert (9,) in measured
    monkeypatch.undo()
    count = len(measured)
    assert outcome(loop, how, lambda handle: None) == ([(9,)], []) and len(measured) == count


def test_a_handle_of_the_programs_class_runs_by_its_own_method(loop: Any) -> None:
    ran: list[str] = []

    class Mine(asyncio.Handle):
        def _run(self) -> None:
            ran.append("before")
            super()._run()  # type: ignore[misc]

    loop._add_callback(Mine(ran.append, ("called",), loop))
    cancelled = Mine(ran.append, ("cancelled",), loop)
    loop._add_callback(cancelled)
    cancelled.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    assert ran == ["before", "called"]


def test_a_decimal_is_no_delay(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.call_later(Decimal("0.001"), print)  # type: ignore[arg-type]
    assert sys.exc_info() == (None, None, None)
