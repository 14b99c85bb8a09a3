"""A spinning loop lets the threads of its process run, and sees their wake-ups in every mode."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import loops

import sfloop

pytestmark = pytest.mark.sfloop_only("asyncio does not spin")

InThread = Callable[[Callable[[], Any]], threading.Thread]


@pytest.fixture(params=["never", "always", "adaptive", 1, 20, 5000], ids=str)
def spinning(request: pytest.FixtureRequest, loop_kind: str) -> Iterator[sfloop.Loop]:
    """A loop of each spin mode."""
    loop = sfloop.new_event_loop(spin=request.param)
    yield loop
    loops.close(loop)


def count_for(seconds: float) -> int:
    """Count in pure Python; return the count."""
    n, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        n += 1
    return n


def test_a_thread_makes_progress_while_the_loop_is_idle(spinning: sfloop.Loop, in_thread: InThread) -> None:
    alone = count_for(0.1)
    beside: list[int] = []

    def work() -> None:
        beside.append(count_for(0.3))
        spinning.call_soon_threadsafe(spinning.stop)

    in_thread(work)
    spinning.run_forever()
    # A loop that spins with the GIL would leave the thread nothing. The low limit leaves room for a noisy machine.
    assert beside[0] > 3 * alone / 20


def test_threads_make_progress_while_the_loop_is_busy(spinning: sfloop.Loop, in_thread: InThread) -> None:
    """A loop that is never idle releases the GIL too."""
    counted: list[int] = []
    stopping = threading.Event()

    def work() -> None:
        counted.append(count_for(0.1))
        stopping.set()

    def again() -> None:
        if stopping.is_set():
            spinning.stop()
        else:
            spinning.call_soon(again)

    in_thread(work)
    spinning.call_soon(again)
    spinning.run_forever()
    assert counted[0] > 0


def test_the_executor(spinning: sfloop.Loop) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(
            *(spinning.run_in_executor(None, lambda i=i: sum(range(10_000)) + i) for i in range(20))
        )

    assert spinning.run_until_complete(main()) == [sum(range(10_000)) + i for i in range(20)]


@pytest.mark.parametrize("pause", [0.0, 0.00002, 0.02])
def test_each_wake_up_arrives(spinning: sfloop.Loop, in_thread: InThread, pause: float) -> None:
    """One wake-up at a time, with the loop idle, arming or asleep in between, and no timer that would hide a missed
    one."""
    rounds = 10 if pause > 0.01 else 30
    answered, missed = threading.Event(), []

    def post() -> None:
        for i in range(rounds):
            answered.clear()
            spinning.call_soon_threadsafe(answered.set)
            if not answered.wait(10):
                missed.append(i)
                spinning.call_soon_threadsafe(int)
            time.sleep(pause)
        spinning.call_soon_threadsafe(spinning.stop)

    in_thread(post)
    spinning.run_forever()
    assert missed == []
    stats = spinning.stats()
    assert stats["wakeups"] + stats["wakeups_without_syscall"] <= rounds + 1
    assert stats["wakeups"] <= stats["sleeps"] + rounds  # a write is for a loop that sleeps or is about to


def test_many_threads_at_once(spinning: sfloop.Loop, in_thread: InThread) -> None:
    threads, each = 6, 300
    seen: dict[int, list[int]] = {n: [] for n in range(threads)}
    finished: list[int] = []

    def note(thread: int, i: int) -> None:
        seen[thread].append(i)
        if i == each - 1:
            finished.append(thread)
            if len(finished) == threads:
                spinning.stop()

    def post(thread: int) -> None:
        for i in range(each):
            spinning.call_soon_threadsafe(note, thread, i)
            if not i % 50:
                time.sleep(0.002)

    for thread in range(threads):
        in_thread(lambda thread=thread: post(thread))  # type: ignore[misc]
    spinning.run_forever()
    assert seen == {n: list(range(each)) for n in range(threads)}


def test_a_wake_up_before_the_loop_runs_is_kept(spinning: sfloop.Loop) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: spinning.call_soon_threadsafe(seen.append, 1))
    thread.start()
    thread.join()
    spinning.call_soon(spinning.stop)
    spinning.run_forever()
    assert seen == [1]


def test_a_signal_is_handled_while_the_loop_is_idle(spinning: sfloop.Loop, in_thread: InThread) -> None:
    """The loop itself has to look for signals, because the main thread runs no bytecode meanwhile."""
    main = threading.main_thread().ident
    assert main is not None
    rounds, handled, missed = 10, threading.Event(), []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())

    def raise_signals() -> None:
        for i in range(rounds):
            handled.clear()
            time.sleep(0.004)
            signal.pthread_kill(main, signal.SIGUSR1)
            if not handled.wait(10):
                missed.append(i)
        spinning.call_soon_threadsafe(spinning.stop)

    try:
        in_thread(raise_signals)
        spinning.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert missed == []


def test_an_idle_loop_in_a_thread_does_not_hold_up_the_main_thread(spinning: sfloop.Loop, in_thread: InThread) -> None:
    alone = count_for(0.1)
    in_thread(spinning.run_forever)
    try:
        assert count_for(0.2) > 2 * alone / 20
    finally:
        spinning.call_soon_threadsafe(spinning.stop)
        while spinning.is_running():
            time.sleep(0.001)
