"""Exceptions in callbacks: the exception handler, and the exceptions that leave the loop."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest
from harness.loops import close, drain, new_loop, turns
from harness.observed import Contexts, LogLines


def fail(text: str = "on purpose") -> None:
    raise ZeroDivisionError(text)


def test_the_handler_gets_the_context(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    handle = loop.call_soon(fail)
    drain(loop)
    context = contexts.take("Exception in callback fail()")
    assert set(context) == {"message", "exception", "handle"}
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle


def test_in_debug_mode_the_context_has_the_source_traceback(
    loop: asyncio.AbstractEventLoop, contexts: Contexts
) -> None:
    loop.set_debug(True)
    loop.call_soon(fail)
    drain(loop)
    context = contexts.take("Exception in callback fail(")
    assert set(context) == {"message", "exception", "handle", "source_traceback"}


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_soon_threadsafe"])
def test_the_callbacks_after_a_failing_one_run(
    loop: asyncio.AbstractEventLoop, contexts: Contexts, method: str
) -> None:
    seen: list[int] = []
    for i in range(10):
        if method == "call_later":
            loop.call_later(0, fail)
            loop.call_later(0, seen.append, i)
        else:
            getattr(loop, method)(fail)
            getattr(loop, method)(seen.append, i)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == list(range(10))
    for _ in range(10):
        contexts.take("Exception in callback fail")


def test_without_a_handler_it_is_logged(loop_kind: str, asyncio_log: LogLines) -> None:
    loop = new_loop(loop_kind)
    loop.call_soon(fail, "in the log")
    drain(loop)
    entry = asyncio_log.take("Exception in callback fail(")
    assert "ZeroDivisionError: in the log" in entry and "Traceback" in entry
    close(loop)


def test_a_handler_that_fails_is_logged(loop_kind: str, asyncio_log: LogLines) -> None:
    loop = new_loop(loop_kind)

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raise RuntimeError("the handler fails too")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    seen: list[str] = []
    loop.call_soon(seen.append, "ran")
    drain(loop)
    assert "the handler fails too" in asyncio_log.take("Unhandled error in exception handler")
    assert seen == ["ran"]
    close(loop)


def test_the_handler_can_be_taken_back(loop_kind: str, asyncio_log: LogLines) -> None:
    loop = new_loop(loop_kind)
    assert loop.get_exception_handler() is None

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.call_soon(fail)
    drain(loop)
    asyncio_log.take("Exception in callback")
    loop.set_exception_handler(None)
    with pytest.raises(TypeError, match="A callable object or None is expected"):
        loop.set_exception_handler("not callable")  # type: ignore[arg-type]
    close(loop)


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_soon_threadsafe", "add_reader", "task"])
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_exit_requests_pass_through_and_nothing_is_lost(
    loop: asyncio.AbstractEventLoop, method: str, exception: type[BaseException]
) -> None:
    """The loop can run again after KeyboardInterrupt or SystemExit left it in the middle of an iteration."""
    import socket

    seen: list[int] = []
    a, b = socket.socketpair()

    def leave() -> None:
        loop.remove_reader(b)
        raise exception("out")

    async def leave_in_task() -> None:
        raise exception("out")

    for i in range(5):
        loop.call_soon(seen.append, i)
        loop.call_later(0, seen.append, i)
    task: asyncio.Task[None] | None = None
    if method == "add_reader":
        a.send(b"x")
        loop.add_reader(b, leave)
    elif method == "task":
        task = loop.create_task(leave_in_task())
    else:
        getattr(loop, method)(*(0, leave) if method == "call_later" else (leave,))
    for i in range(5, 10):
        loop.call_soon(seen.append, i)
        loop.call_later(0, seen.append, i)
    with pytest.raises(exception, match="out"):
        loop.run_forever()
    assert not loop.is_running()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert sorted(seen) == sorted([*range(10), *range(10)])
    if task is not None:
        with pytest.raises(exception):
            task.result()
    a.close()
    b.close()


def test_other_base_exceptions_go_to_the_handler(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    class Own(BaseException):
        pass

    def leave() -> None:
        raise Own()

    seen: list[str] = []
    loop.call_soon(leave)
    loop.call_soon(seen.append, "ran")
    drain(loop)
    assert seen == ["ran"]
    assert isinstance(contexts.take("Exception in callback")["exception"], Own)


def test_cancelled_error_in_a_callback_goes_to_the_handler(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    def leave() -> None:
        raise asyncio.CancelledError()

    loop.call_soon(leave)
    drain(loop)
    assert isinstance(contexts.take("Exception in callback")["exception"], asyncio.CancelledError)


def test_an_exception_that_nobody_retrieved(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    async def failing() -> None:
        fail()

    loop.create_task(failing())
    loop.run_until_complete(turns())
    gc.collect()
    context = contexts.take("Task exception was never retrieved")
    assert isinstance(context["exception"], ZeroDivisionError)


def test_call_exception_handler_by_hand(loop: asyncio.AbstractEventLoop, contexts: Contexts) -> None:
    loop.call_exception_handler({"message": "by hand", "extra": 1})
    assert contexts.take("by hand") == {"message": "by hand", "extra": 1}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the handler runs in the handle's context from Python 3.12")
def test_the_handler_runs_in_the_context_of_the_callback(loop_kind: str) -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []
    loop = new_loop(loop_kind)
    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, "the callback's")
    loop.call_soon(fail, context=context)
    drain(loop)
    close(loop)
    assert seen == ["the callback's"]
