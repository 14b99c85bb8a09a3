"""Debug mode: argument checks, wrong-thread checks, the slow-callback log."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness.loops import drain
from harness.observed import LogLines


@pytest.fixture
def debug_loop(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    loop.set_debug(True)
    return loop


SCHEDULERS: dict[str, Callable[[asyncio.AbstractEventLoop, Any], object]] = {
    "call_soon": lambda loop, f: loop.call_soon(f),
    "call_soon_threadsafe": lambda loop, f: loop.call_soon_threadsafe(f),
    "call_later": lambda loop, f: loop.call_later(1, f),
    "call_at": lambda loop, f: loop.call_at(1, f),
}
# The method that the error names: asyncio's call_later leaves the check to call_at.
NAMED = {**{method: method for method in SCHEDULERS}, "call_later": "call_(later|at)"}


async def coroutine() -> None:
    pass


@pytest.mark.parametrize("method", SCHEDULERS)
def test_coroutines_are_refused(debug_loop: asyncio.AbstractEventLoop, method: str) -> None:
    made = coroutine()
    try:
        with pytest.raises(TypeError, match=f"coroutines cannot be used with {NAMED[method]}"):
            SCHEDULERS[method](debug_loop, made)
    finally:
        made.close()
    with pytest.raises(TypeError, match=f"coroutines cannot be used with {NAMED[method]}"):
        SCHEDULERS[method](debug_loop, coroutine)


@pytest.mark.parametrize("method", SCHEDULERS)
@pytest.mark.parametrize("what", [None, 5, "text"])
def test_what_cannot_be_called_is_refused(debug_loop: asyncio.AbstractEventLoop, method: str, what: object) -> None:
    with pytest.raises(TypeError, match=f"a callable object was expected by {NAMED[method]}"):
        SCHEDULERS[method](debug_loop, what)


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_calls_from_another_thread_are_refused(debug_loop: asyncio.AbstractEventLoop, method: str) -> None:
    errors: list[str] = []

    def from_thread() -> None:
        try:
            SCHEDULERS[method](debug_loop, print)
        except RuntimeError as exc:
            errors.append(str(exc))

    async def main() -> None:
        thread = threading.Thread(target=from_thread)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)

    debug_loop.run_until_complete(main())
    assert len(errors) == 1 and "Non-thread-safe operation" in errors[0]


def test_a_loop_that_does_not_run_takes_calls_from_any_thread(debug_loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: debug_loop.call_soon(seen.append, "ran"))
    thread.start()
    thread.join()
    drain(debug_loop)
    assert seen == ["ran"]


def test_slow_callbacks_are_logged(debug_loop: asyncio.AbstractEventLoop, asyncio_log: LogLines) -> None:
    debug_loop.slow_callback_duration = 0.01

    def slow() -> None:
        time.sleep(0.02)

    debug_loop.call_soon(slow)
    debug_loop.call_later(0.001, slow)
    debug_loop.call_later(0.03, debug_loop.stop)
    debug_loop.run_forever()
    for _ in range(2):
        entry = asyncio_log.take("Executing <")
        assert "slow" in entry and "took 0.0" in entry and entry.startswith("WARNING")


def test_slow_tasks_are_logged(debug_loop: asyncio.AbstractEventLoop, asyncio_log: LogLines) -> None:
    debug_loop.slow_callback_duration = 0.01

    async def slow_task() -> None:
        time.sleep(0.02)

    debug_loop.run_until_complete(slow_task())
    entry = asyncio_log.take("Executing <Task")
    assert "slow_task" in entry and "took 0.0" in entry


def test_fast_callbacks_are_not_logged(debug_loop: asyncio.AbstractEventLoop, asyncio_log: LogLines) -> None:
    for _ in range(100):
        debug_loop.call_soon(int)
    drain(debug_loop)
    assert not [line for line in asyncio_log.lines if "Executing" in line]


def test_without_debug_nothing_is_timed(loop: asyncio.AbstractEventLoop, asyncio_log: LogLines) -> None:
    loop.set_debug(False)
    loop.slow_callback_duration = 0.001
    loop.call_soon(time.sleep, 0.01)
    drain(loop)
    assert not [line for line in asyncio_log.lines if "Executing" in line]


def test_debug_can_be_switched_while_running(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[bool]:
        states = [loop.get_debug()]
        loop.set_debug(True)
        states.append(loop.get_debug())
        with pytest.raises(TypeError):
            loop.call_soon(coroutine)
        loop.set_debug(False)
        states.append(loop.get_debug())
        return states

    assert loop.run_until_complete(main())[1:] == [True, False]


def test_handles_know_where_they_were_made(debug_loop: asyncio.AbstractEventLoop) -> None:
    handle = debug_loop.call_soon(print)
    timer = debug_loop.call_later(100, print)
    for made in (handle, timer):
        assert "test_debug.py" in repr(made)
        made.cancel()
