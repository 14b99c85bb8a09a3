"""The handle of call_soon_threadsafe() from Python 3.14 on: another thread's cancel() waits for a running callback."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from asyncio import events
from collections.abc import Callable
from typing import Any

import pytest
from harness.loops import new_loop
from harness.observed import Contexts

InThread = Callable[[Callable[[], Any]], threading.Thread]

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="cancel() waits from Python 3.14 on")
LONG = 0.1  # seconds; a callback that takes so long cannot be over when a waiting thread is not


class Callback:
    """Records that it runs, and takes a while. `during` is called meanwhile."""

    def __init__(self, during: Callable[[], object] = lambda: None) -> None:
        self.started, self.ended = threading.Event(), threading.Event()
        self.during = during

    def __call__(self) -> None:
        self.started.set()
        time.sleep(LONG)
        self.during()
        self.ended.set()


@pytest.fixture(params=[False, True], ids=["", "debug"])
def any_loop(loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """The loop, in debug mode and not. In debug mode the handles are asyncio's."""
    loop.set_debug(request.param)
    loop.slow_callback_duration = 10  # type: ignore[attr-defined]
    return loop


def test_type(any_loop: asyncio.AbstractEventLoop) -> None:
    handle = any_loop.call_soon_threadsafe(print, 1)
    assert isinstance(handle, vars(events)["_ThreadSafeHandle"])
    assert repr(handle).startswith("<_ThreadSafeHandle print(")
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()
    assert repr(handle).startswith("<_ThreadSafeHandle cancelled")


def test_debug_mode_says_where_it_was_created(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon_threadsafe(print, 1)
    assert f"created at {__file__}:" in repr(handle)
    handle.cancel()


@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_another_thread_waits(any_loop: asyncio.AbstractEventLoop, in_thread: InThread, method: str) -> None:
    callback = Callback()
    handle = any_loop.call_soon_threadsafe(callback)
    seen: list[Any] = []

    def look() -> None:
        assert callback.started.wait(10)
        seen.append((getattr(handle, method)(), callback.ended.is_set()))
        any_loop.call_soon_threadsafe(any_loop.stop)

    in_thread(look)
    any_loop.run_forever()
    assert seen == [({"cancel": None, "cancelled": False}[method], True)]
    assert handle.cancelled() is (method == "cancel")


def test_many_threads_wait(any_loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    callback = Callback()
    handle = any_loop.call_soon_threadsafe(callback)
    seen: list[bool] = []

    def look() -> None:
        assert callback.started.wait(10)
        handle.cancel()
        seen.append(callback.ended.is_set())
        if len(seen) == 8:
            any_loop.call_soon_threadsafe(any_loop.stop)

    for _ in range(8):
        in_thread(look)
    any_loop.run_forever()
    assert seen == [True] * 8


def test_a_callback_cancels_its_own_handle(any_loop: asyncio.AbstractEventLoop) -> None:
    seen: list[bool] = []

    def callback() -> None:
        handle.cancel()
        seen.append(handle.cancelled())
        any_loop.stop()

    handle = any_loop.call_soon_threadsafe(callback)
    any_loop.run_forever()
    assert seen == [True]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_a_failing_callback_lets_the_others_go(
    any_loop: asyncio.AbstractEventLoop, in_thread: InThread, contexts: Contexts, error: type[BaseException]
) -> None:
    def fail() -> None:
        raise error

    callback = Callback(fail)
    handle = any_loop.call_soon_threadsafe(callback)
    reported: list[int] = []

    def look() -> None:
        assert callback.started.wait(10)
        handle.cancel()
        reported.append(len(contexts))
        any_loop.call_soon_threadsafe(any_loop.stop)

    in_thread(look)
    try:
        any_loop.run_forever()
    except KeyboardInterrupt:
        assert error is KeyboardInterrupt
        any_loop.run_forever()
        assert reported == [0]
    else:
        assert reported == [1], "the handler is told before the others go on"
        contexts.take("Exception in callback")


def test_a_cancelled_handle_does_not_run(any_loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    seen: list[int] = []
    handles = [any_loop.call_soon_threadsafe(seen.append, i) for i in range(3)]
    in_thread(handles[1].cancel).join(10)
    any_loop.call_soon(any_loop.stop)
    any_loop.run_forever()
    assert seen == [0, 2]
    assert [handle.cancelled() for handle in handles] == [False, True, False]


@pytest.mark.parametrize("debug", [False, True], ids=["on", "off"])
def test_debug_mode_is_switched_while_it_waits(
    loop: asyncio.AbstractEventLoop, in_thread: InThread, debug: bool
) -> None:
    loop.slow_callback_duration = 10  # type: ignore[attr-defined]
    loop.set_debug(debug)
    callback = Callback()
    handle = loop.call_soon_threadsafe(callback)
    loop.set_debug(not debug)
    seen: list[bool] = []

    def look() -> None:
        assert callback.started.wait(10)
        handle.cancel()
        seen.append(callback.ended.is_set())
        loop.call_soon_threadsafe(loop.stop)

    in_thread(look)
    loop.run_forever()
    assert seen == [True]


def test_run_by_hand(loop: Any) -> None:
    seen: list[int] = []
    handle = loop.call_soon_threadsafe(seen.append, 1)
    handle._run()
    handle.cancel()
    handle._run()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_ctrl_c_ends_the_wait(loop_kind: str) -> None:
    """cancel() in the main thread can be interrupted while it waits for a callback of a loop in another thread."""
    from harness import programs

    body = """
    loop = new_loop(kind)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started, go_on = threading.Event(), threading.Event()
    def callback():
        started.set()
        go_on.wait()
    handle = loop.call_soon_threadsafe(callback)
    started.wait()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        handle.cancel()
    except KeyboardInterrupt:
        print("interrupted")
    go_on.set()
    handle.cancel()
    print(handle.cancelled())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    """
    assert programs.run(loop_kind, body) == "interrupted\nTrue\n"


def test_storm_of_cancels(loop_kind: str, in_thread: InThread) -> None:
    """A callback does not run any more once its cancel() has returned, at every moment."""
    loop = new_loop(loop_kind)
    switched = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[str] = []
    ended = time.monotonic() + 1

    def storm() -> None:
        while time.monotonic() < ended:
            state = ["cancelled too late", "waiting"]

            def callback(state: list[str] = state) -> None:
                if state[-1] == "over":
                    wrong.append(state[0])
                state.append("running")
                state.append("ran")

            handle = loop.call_soon_threadsafe(callback)
            handle.cancel()
            if state[-1] == "running":
                wrong.append("cancel() returned while the callback ran")
            state.append("over")

    try:
        threads = [in_thread(storm) for _ in range(3)]
        in_thread(lambda: [thread.join(10) for thread in threads] and loop.call_soon_threadsafe(loop.stop))
        loop.run_forever()
    finally:
        sys.setswitchinterval(switched)
        loop.close()
    assert wrong == []
