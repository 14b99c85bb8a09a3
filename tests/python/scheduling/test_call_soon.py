"""call_soon: order, arguments, contexts, cancellation."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import weakref
from typing import Any

import pytest
from harness.loops import drain
from harness.observed import Run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_callbacks_run_in_the_order_of_scheduling(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    for i in range(5000):
        loop.call_soon(seen.append, i)
    drain(loop)
    assert seen == list(range(5000))


def test_a_callback_scheduled_by_a_callback_runs_in_the_next_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    drain(loop)
    assert seen == ["first", "second", "third"]


def test_a_chain_of_callbacks_does_not_starve_timers_and_io(loop: asyncio.AbstractEventLoop) -> None:
    import socket

    a, b = socket.socketpair()
    seen: set[str] = set()

    def again() -> None:
        if len(seen) < 2:
            loop.call_soon(again)
        else:
            loop.stop()

    a.send(b"x")

    def read() -> None:
        b.recv(1)
        seen.add("io")

    loop.add_reader(b, read)
    loop.call_later(0.01, seen.add, "timer")
    loop.call_soon(again)
    loop.run_forever()
    loop.remove_reader(b)
    a.close()
    b.close()
    assert seen == {"io", "timer"}


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 50])
def test_any_number_of_arguments(loop: asyncio.AbstractEventLoop, n: int) -> None:
    seen: list[tuple[int, ...]] = []
    loop.call_soon(lambda *args: seen.append(args), *range(n))
    loop.call_later(0, lambda *args: seen.append(args), *range(n))
    loop.call_soon_threadsafe(lambda *args: seen.append(args), *range(n))
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == [tuple(range(n))] * 3


class Callable:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, value: Any) -> None:
        self.calls.append(value)

    def method(self, value: Any) -> None:
        self.calls.append(value)


def test_every_kind_of_callable(loop: asyncio.AbstractEventLoop) -> None:
    target = Callable()
    loop.call_soon(target, 1)
    loop.call_soon(target.method, 2)
    loop.call_soon(functools.partial(target.method, 3))
    loop.call_soon(target.calls.append, 4)
    drain(loop)
    assert target.calls == [1, 2, 3, 4]


def test_arguments_and_callback_are_freed_after_the_call(loop: asyncio.AbstractEventLoop) -> None:
    class Payload:
        pass

    payload = Payload()
    gone = weakref.ref(payload)
    handle = loop.call_soon(lambda _: None, payload)
    del payload
    assert gone() is not None
    del handle
    drain(loop)
    assert gone() is None


def test_cancelling_frees_arguments_at_once(loop: asyncio.AbstractEventLoop) -> None:
    class Payload:
        pass

    for schedule in (loop.call_soon, functools.partial(loop.call_later, 1000), loop.call_soon_threadsafe):
        payload = Payload()
        gone = weakref.ref(payload)
        handle: asyncio.Handle = schedule(lambda _: None, payload)
        del payload
        handle.cancel()
        gc.collect()
        assert gone() is None


def test_the_context_is_copied_when_scheduled(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def note() -> None:
        seen.append(variable.get())
        variable.set("changed by a callback")

    def schedule() -> None:
        variable.set("scheduled")
        loop.call_soon(note)
        loop.call_later(0, note)
        loop.call_soon_threadsafe(note)
        variable.set("changed later")

    contextvars.copy_context().run(schedule)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == ["scheduled"] * 3
    assert variable.get() == "unset"


def test_the_context_given_is_entered_and_shared(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    context = contextvars.copy_context()
    context.run(variable.set, "mine")

    def note() -> None:
        seen.append(variable.get())
        variable.set(f"{len(seen)}")

    loop.call_soon(note, context=context)
    loop.call_soon_threadsafe(note, context=context)
    loop.call_later(0.001, note, context=context)
    loop.call_at(loop.time() + 0.002, note, context=context)
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == ["mine", "1", "2", "3"]
    assert context[variable] == "4"


def test_a_task_keeps_its_context_over_awaits(run: Run) -> None:
    async def main() -> list[str]:
        async def set_and_sleep(value: str) -> str:
            variable.set(value)
            await asyncio.sleep(0.001)
            return variable.get()

        return list(await asyncio.gather(*(set_and_sleep(str(i)) for i in range(20))))

    assert run(main()) == [str(i) for i in range(20)]
    assert variable.get() == "unset"


def test_cancel_before_the_call(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    handle = loop.call_soon(seen.append, "cancelled")
    loop.call_soon(seen.append, "other")
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    drain(loop)
    assert seen == ["other"]


def test_cancel_by_an_earlier_callback_of_the_same_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    handle: asyncio.Handle
    loop.call_soon(lambda: handle.cancel())
    handle = loop.call_soon(seen.append, "cancelled")
    loop.call_soon(seen.append, "other")
    drain(loop)
    assert seen == ["other"]


def test_cancel_from_within_its_own_callback(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def callback(text: str) -> None:
        handle.cancel()
        gc.collect()
        seen.append(text)

    handle = loop.call_soon(callback, "ran")
    drain(loop)
    assert seen == ["ran"]
    assert handle.cancelled()


def test_cancel_after_the_call_is_harmless(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    handle = loop.call_soon(seen.append, "ran")
    drain(loop)
    handle.cancel()
    drain(loop)
    assert seen == ["ran"]


def test_a_handle_need_not_be_kept(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    for i in range(100):
        loop.call_soon(seen.append, i)
        loop.call_later(0, seen.append, i)
    gc.collect()
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert len(seen) == 200


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_callbacks_scheduled_while_stopped_run_later(loop: asyncio.AbstractEventLoop, method: str) -> None:
    seen: list[str] = []
    getattr(loop, method)(seen.append, "kept")
    assert seen == []
    drain(loop)
    assert seen == ["kept"]


def test_two_loops_do_not_share_callbacks(loop_kind: str, loop: asyncio.AbstractEventLoop) -> None:
    from harness.loops import close, new_loop

    other = new_loop(loop_kind)
    seen: list[str] = []
    loop.call_soon(seen.append, "one")
    other.call_soon(seen.append, "two")
    drain(other)
    assert seen == ["two"]
    drain(loop)
    assert seen == ["two", "one"]
    close(other)
