"""run_forever, run_until_complete, stop, close: states and errors."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from harness.loops import close, drain, new_loop


def test_stop_before_run_forever_runs_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(seen.append, "first turn")
    loop.call_soon(lambda: loop.call_soon(seen.append, "second turn"))
    loop.stop()
    loop.run_forever()
    assert seen == ["first turn"]
    loop.stop()
    loop.run_forever()
    assert seen == ["first turn", "second turn"]


def test_stop_lets_the_turn_end(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "same turn")
    loop.call_soon(lambda: loop.call_soon(seen.append, "next turn"))
    loop.run_forever()
    assert seen == ["same turn"]


def test_stop_with_nothing_to_do_returns(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(1000, print).cancel()
    for _ in range(100):
        loop.stop()
        loop.run_forever()


def test_stop_does_not_wait_for_timers(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    timer = loop.call_later(1000, seen.append, "late")
    loop.stop()
    loop.run_forever()
    assert seen == []
    timer.cancel()


def test_run_until_complete_returns_the_result_and_raises_the_exception(loop: asyncio.AbstractEventLoop) -> None:
    async def result() -> str:
        return "result"

    async def failure() -> None:
        raise ZeroDivisionError("on purpose")

    assert loop.run_until_complete(result()) == "result"
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        loop.run_until_complete(failure())
    future = loop.create_future()
    future.set_result(5)
    assert loop.run_until_complete(future) == 5


def test_run_until_complete_that_is_stopped(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(asyncio.sleep(1000))
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(task)
    assert not task.done()


def test_running_flags(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []

    def note() -> None:
        seen.extend([loop.is_running(), asyncio.get_running_loop() is loop, asyncio.get_event_loop() is loop])

    assert not loop.is_running() and not loop.is_closed()
    loop.call_soon(note)
    drain(loop)
    assert seen == [True, True, True]
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


# asyncio of Python 3.13.0 clears the outer run's state when an inner run is refused.
nested_run = pytest.mark.sfloop_only("a refused run stops the running one", when=sys.version_info[:2] == (3, 13))


@nested_run
def test_a_running_loop_cannot_be_run_again(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_forever()
        sleeper = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_until_complete(sleeper)
        sleeper.close()

    loop.run_until_complete(main())


@nested_run
def test_another_loop_cannot_run_inside(loop_kind: str, loop: asyncio.AbstractEventLoop) -> None:
    other = new_loop(loop_kind)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="Cannot run the event loop while another loop is running"):
            other.run_forever()

    loop.run_until_complete(main())
    assert not other.is_running()
    close(other)


@nested_run
def test_a_loop_that_runs_in_another_thread_cannot_be_run_here(loop: asyncio.AbstractEventLoop) -> None:
    running = threading.Event()
    loop.call_soon(running.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert running.wait(5)
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        loop.run_forever()
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    assert not thread.is_alive()


def test_a_running_loop_cannot_be_closed(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    loop.run_until_complete(main())
    assert not loop.is_closed()


def test_close_can_be_called_twice(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    assert loop.is_closed()
    loop.close()
    assert "closed=True" in repr(loop)


def test_closing_drops_what_is_pending(loop_kind: str) -> None:
    import weakref

    class Payload:
        pass

    payload = Payload()
    gone = weakref.ref(payload)
    loop = new_loop(loop_kind)
    loop.call_soon(print, payload)
    loop.call_later(100, print, payload)
    loop.call_soon_threadsafe(print, payload)
    del payload
    loop.close()
    assert gone() is None


def test_a_closed_loop_refuses_everything(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    loop.close()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_later(0, print),
        lambda: loop.call_at(0, print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.run_forever(),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.add_signal_handler(10, print),
        lambda: loop.add_reader(0, print),
        lambda: loop.add_writer(0, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    sleeper = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(sleeper)
    sleeper.close()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()
    assert loop.remove_reader(0) is False
    assert loop.remove_writer(0) is False
    loop.stop()
    assert isinstance(loop.time(), float)
    assert loop.get_debug() in (True, False)


def test_many_loops_one_after_another(loop_kind: str) -> None:
    for i in range(200):
        loop = new_loop(loop_kind)
        assert loop.run_until_complete(asyncio.sleep(0, i)) == i
        loop.close()


def test_asyncio_run_with_this_loop(loop_kind: str) -> None:
    async def main() -> tuple[str, bool]:
        return type(asyncio.get_running_loop()).__name__, asyncio.get_running_loop().is_running()

    if loop_kind == "asyncio":
        assert asyncio.run(main())[1]
    else:
        import sfloop

        assert sfloop.run(main()) == ("Loop", True)


def test_repr(loop: asyncio.AbstractEventLoop) -> None:
    assert "running=False closed=False debug=" in repr(loop)
