"""call_soon_threadsafe: from threads and signal handlers, while sleeping, spinning and closing."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness import programs
from harness.loops import new_loop
from harness.observed import Run

InThread = Callable[[Callable[[], Any]], threading.Thread]


def test_nothing_is_lost_from_many_threads(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    threads, each = 8, 2000
    seen: list[tuple[int, int]] = []

    def note(thread: int, i: int) -> None:
        seen.append((thread, i))
        if len(seen) == threads * each:
            loop.stop()

    def produce(thread: int) -> None:
        for i in range(each):
            loop.call_soon_threadsafe(note, thread, i)

    for thread in range(threads):
        in_thread(lambda thread=thread: produce(thread))  # type: ignore[misc]
    loop.run_forever()
    for thread in range(threads):
        assert [i for t, i in seen if t == thread] == list(range(each)), "each thread's order is kept"


@pytest.mark.parametrize("idle", [0.0, 0.001, 0.05, 0.3])
def test_it_wakes_an_idle_loop(loop: asyncio.AbstractEventLoop, in_thread: InThread, idle: float) -> None:
    start = time.monotonic()

    def wake() -> None:
        time.sleep(idle)
        loop.call_soon_threadsafe(loop.stop)

    in_thread(wake)
    loop.run_forever()
    assert idle <= time.monotonic() - start < idle + 5


def test_it_wakes_a_loop_that_waits_for_a_far_timer(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    timer = loop.call_later(3600, loop.stop)

    def wake() -> None:
        time.sleep(0.05)
        loop.call_soon_threadsafe(loop.stop)

    in_thread(wake)
    start = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - start < 5
    timer.cancel()


def test_from_the_loop_thread_itself(run: Run) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        for i in range(10):
            loop.call_soon_threadsafe(seen.append, i)
        assert seen == []
        await asyncio.sleep(0)
        return seen

    assert run(main()) == list(range(10))


def test_ping_pong_between_a_thread_and_the_loop(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    answered = threading.Event()

    def play() -> None:
        for _ in range(500):
            answered.clear()
            loop.call_soon_threadsafe(answered.set)
            assert answered.wait(5), "a wake-up was missed"
        loop.call_soon_threadsafe(loop.stop)

    in_thread(play)
    loop.run_forever()


def test_cancelling_from_the_thread(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    seen: list[str] = []

    def schedule() -> None:
        loop.call_soon_threadsafe(seen.append, "cancelled").cancel()
        loop.call_soon_threadsafe(loop.stop)

    in_thread(schedule)
    loop.run_forever()
    assert "cancelled" not in seen or seen == ["cancelled"]  # the loop may have been faster than the cancel


def test_run_coroutine_threadsafe(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    results: list[int] = []

    async def double(x: int) -> int:
        await asyncio.sleep(0.001)
        return 2 * x

    def submit() -> None:
        futures = [asyncio.run_coroutine_threadsafe(double(i), loop) for i in range(50)]
        results.extend(future.result(10) for future in futures)
        loop.call_soon_threadsafe(loop.stop)

    in_thread(submit)
    loop.run_forever()
    assert results == [2 * i for i in range(50)]


def test_on_a_closed_loop(loop_kind: str) -> None:
    loop = new_loop(loop_kind)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon_threadsafe(print)


CLOSING = """
sys.setswitchinterval(1e-6)     # a thread is interrupted at every step of a call
debug = sys.argv[2] == "debug"
other = []

def hammer(loop):
    while True:
        try:
            loop.call_soon_threadsafe(int)
        except RuntimeError as exc:
            if "closed" not in str(exc):
                other.append(exc)
            return
        except BaseException as exc:
            other.append(exc)
            return

end = time.monotonic() + 2
while time.monotonic() < end:
    loop = new_loop(kind)
    loop.set_debug(debug)
    threads = [threading.Thread(target=hammer, args=(loop,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    loop.close()
    for thread in threads:
        thread.join()
assert other == [], other
print("closed")
"""


@pytest.mark.parametrize("mode", ["debug", "not debug"])
def test_threads_that_go_on_while_the_loop_closes(loop_kind: str, mode: str) -> None:
    """Each call schedules or raises RuntimeError and nothing crashes, at every moment. In debug mode, and before Python
    3.12 whenever the collector starts, threads are switched in the middle of the call."""
    assert programs.run(loop_kind, CLOSING, mode) == "closed\n"


@pytest.mark.sfloop_only("asyncio misses a signal that comes just before it sleeps, unless add_signal_handler was used")
def test_from_a_python_signal_handler(loop: asyncio.AbstractEventLoop, in_thread: InThread) -> None:
    """A handler of the signal module runs in the loop's thread, between any two of its instructions."""
    seen: list[int] = []
    total = 200

    def handler(signum: int, frame: Any) -> None:
        loop.call_soon_threadsafe(note, signum)

    def note(signum: int) -> None:
        seen.append(signum)
        if len(seen) == total:
            loop.stop()

    def raise_signals() -> None:
        for i in range(total):
            before = len(seen)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            deadline = time.monotonic() + 5
            while len(seen) == before and time.monotonic() < deadline:
                time.sleep(0.0001)
            if not i % 10:
                time.sleep(0.003)

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        in_thread(raise_signals)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [signal.SIGUSR1] * total


def test_the_loop_runs_in_another_thread(loop_kind: str, in_thread: InThread) -> None:
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    seen: list[int] = []

    def body() -> None:
        loop = new_loop(loop_kind)
        loops.append(loop)
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.close()

    thread = in_thread(body)
    assert ready.wait(5)
    for i in range(1000):
        loops[0].call_soon_threadsafe(seen.append, i)
    loops[0].call_soon_threadsafe(loops[0].stop)
    thread.join(10)
    assert seen == list(range(1000))
    loops.clear()


def test_stop_from_another_thread_needs_call_soon_threadsafe_only(
    loop: asyncio.AbstractEventLoop, in_thread: InThread
) -> None:
    for _ in range(100):
        thread = in_thread(lambda: loop.call_soon_threadsafe(loop.stop))
        loop.run_forever()
        thread.join(10)
