"""The loop's native methods take the arguments that asyncio's take, and leave other objects to asyncio's code."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from asyncio import events
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from harness.loops import new_loop

import sfloop

METHODS = ("call_soon", "call_later", "call_at", "create_task", "create_future", "get_debug")


async def nothing() -> None:
    pass


@pytest.mark.parametrize("name", METHODS)
def test_signatures_are_those_of_asyncio(loop: asyncio.AbstractEventLoop, name: str) -> None:
    mine = inspect.signature(getattr(loop, name))
    asyncios = inspect.signature(getattr(asyncio.SelectorEventLoop, name)).parameters
    named = [p for p in asyncios if p not in ("self", "name", "context", "kwargs")]
    assert [p for p in mine.parameters if p not in ("context", "kwargs", "name")] == named


@pytest.mark.sfloop_only("the messages are ours")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda loop: loop.call_soon(), "call_soon"),
        (lambda loop: loop.call_soon(print, other=1), "other"),
        (lambda loop: loop.call_soon(print, context=None, other=1), "other"),
        (lambda loop: loop.call_later(1), "call_later"),
        (lambda loop: loop.call_later(None, print), "delay"),
        (lambda loop: loop.call_later("1", print), "str"),
        (lambda loop: loop.call_at(1), "call_at"),
        (lambda loop: loop.call_at(None, print), "when"),
        (lambda loop: loop.create_task(), "create_task"),
        (lambda loop: loop.create_task(1), "coroutine"),
        (lambda loop: loop.create_future(1), "create_future"),
        (lambda loop: loop.get_debug(1), "get_debug"),
    ],
)
def test_wrong_arguments(loop: asyncio.AbstractEventLoop, call: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call(loop)


def test_arguments_by_name(loop: asyncio.AbstractEventLoop) -> None:
    called: list[Any] = []
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    context = contextvars.copy_context()
    context.run(variable.set, 7)
    contextual = "".join(["con", "text"])  # another object than the literal
    loop.call_soon(callback=lambda: called.append("soon"))  # type: ignore[call-arg]
    loop.call_soon(lambda *args: called.append((args, variable.get())), 1, 2, context=context)
    loop.call_soon(lambda: called.append(variable.get()), **{contextual: context})  # type: ignore[arg-type]
    loop.call_soon(lambda: called.append(variable.get()), context=None)
    loop.call_later(0.001, lambda *args: called.append((args, variable.get())), 3, context=context)
    loop.call_at(when=loop.time() + 0.002, callback=lambda: called.append("at"))  # type: ignore[call-arg]
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert called == ["soon", ((1, 2), 7), 7, 0, ((3,), 7), "at"]


def test_a_timer_refuses_nan(loop: asyncio.AbstractEventLoop, loop_kind: str) -> None:
    if loop_kind != "asyncio":
        with pytest.raises(ValueError, match="NaN"):
            loop.call_later(float("nan"), print)
        with pytest.raises(ValueError, match="NaN"):
            loop.call_at(float("nan"), print)


@pytest.mark.parametrize("debug", [False, True])
def test_what_a_task_is_given(loop: asyncio.AbstractEventLoop, debug: bool) -> None:
    loop.set_debug(debug)
    assert loop.get_debug() is debug
    task = loop.create_task(nothing(), name="named")
    assert task.get_name() == "named" and type(task) is asyncio.Task
    loop.run_until_complete(task)
    loop.run_until_complete(loop.create_task(coro=nothing()))  # type: ignore[call-arg]


def test_tasks_and_futures_belong_to_the_loop_that_makes_them(loop: asyncio.AbstractEventLoop, loop_kind: str) -> None:
    other = new_loop(loop_kind)

    async def make(owner: asyncio.AbstractEventLoop) -> None:
        running = asyncio.get_running_loop()
        for pretended in (running, other, None):  # the one that asyncio takes for the running loop
            events._set_running_loop(pretended)
            try:
                made = [owner.create_task(nothing()), owner.create_task(nothing(), name="named"), owner.create_future()]
            finally:
                events._set_running_loop(running)
            assert [each.get_loop() for each in made] == [owner] * 3
            made[2].cancel()
            if owner is running:
                await asyncio.gather(*made[:2])

    try:
        loop.run_until_complete(make(loop))
        loop.run_until_complete(make(other))
        other.run_until_complete(asyncio.sleep(0))
    finally:
        other.close()


def test_a_running_loop_takes_what_a_task_is_given(loop: asyncio.AbstractEventLoop) -> None:
    async def make() -> None:
        task = loop.create_task(nothing(), name="named")
        assert task.get_name() == "named" and type(task) is asyncio.Task
        await task
        with pytest.raises(TypeError, match="coroutine"):
            loop.create_task(1)  # type: ignore[arg-type]
        coroutine = nothing()
        with pytest.raises(TypeError):
            loop.create_task(coroutine, loop=loop)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            loop.create_task(coroutine, other=1)  # type: ignore[call-arg]
        coroutine.close()

    loop.run_until_complete(make())


def test_a_task_factory_hears_of_every_task(loop: asyncio.AbstractEventLoop) -> None:
    made: list[dict[str, Any]] = []

    def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
        made.append(kwargs)
        return asyncio.Task(coro, loop=loop)

    loop.set_task_factory(factory)
    loop.run_until_complete(loop.create_task(nothing()))
    loop.set_task_factory(None)
    loop.run_until_complete(loop.create_task(nothing()))
    assert len(made) == 1


def test_a_class_that_a_program_puts_in_the_place_of_task(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(asyncio.Task):  # type: ignore[type-arg]
        pass

    monkeypatch.setattr(asyncio.tasks, "Task", Mine)
    task = loop.create_task(nothing())
    assert type(task) is Mine
    loop.run_until_complete(task)


@pytest.mark.sfloop_only("a subclass of sfloop's loop")
def test_a_subclass_hears_what_asyncio_schedules() -> None:
    heard: list[str] = []

    class Listening(sfloop.Loop):
        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            heard.append("soon")
            return super().call_soon(callback, *args, context=context)

        def create_task(self, coro: Any, **kwargs: Any) -> Any:
            heard.append("task")
            return super().create_task(coro, **kwargs)

    loop = Listening()
    try:
        loop.run_until_complete(nothing())
    finally:
        loop.close()
    assert heard[0] == "task" and "soon" in heard


@pytest.mark.parametrize("name", ["call_soon", "call_later", "call_at", "create_task"])
def test_a_closed_loop_refuses(loop: asyncio.AbstractEventLoop, name: str) -> None:
    coroutine = nothing()
    loop.close()
    arguments = {"call_soon": [print], "create_task": [coroutine]}.get(name, [1.0, print])
    with pytest.raises(RuntimeError, match="closed"):
        getattr(loop, name)(*arguments)
    coroutine.close()


def test_call_later_goes_by_a_call_at_of_the_programs(loop: asyncio.AbstractEventLoop) -> None:
    with mock.patch.object(loop, "call_at", wraps=loop.call_at) as patched:
        loop.call_later(0.5, nothing_at_all, 1).cancel()
        loop.call_later(1, nothing_at_all).cancel()
    assert [call.args[1:] for call in patched.call_args_list] == [(nothing_at_all, 1), (nothing_at_all,)]
    loop.call_later(0.5, nothing_at_all).cancel()
    assert patched.call_count == 2


def nothing_at_all(*args: object) -> None:
    pass


def test_call_later_goes_by_a_call_at_of_a_subclass() -> None:
    asked: list[float] = []

    class Loop(sfloop.Loop):
        def call_at(self, when: float, *args: Any, **keywords: Any) -> asyncio.TimerHandle:
            asked.append(when)
            return super().call_at(when, *args, **keywords)

    loop = Loop()
    loop.call_later(0.5, nothing_at_all)
    loop.call_later(1, nothing_at_all)
    loop.close()
    assert len(asked) == 2
