"""call_later and call_at: order, precision, cancellation."""

from __future__ import annotations

import asyncio
import random
import time
import tracemalloc

import pytest
from harness.observed import Run


def test_timers_run_in_the_order_of_their_times(loop: asyncio.AbstractEventLoop) -> None:
    generator = random.Random(7)
    now = loop.time()
    times = [now + 0.01 + generator.random() * 0.05 for _ in range(2000)]
    seen: list[float] = []
    for when in times:
        loop.call_at(when, seen.append, when)
    loop.call_at(max(times) + 0.001, loop.stop)
    loop.run_forever()
    assert seen == sorted(times)


@pytest.mark.sfloop_only("the heap of asyncio does not keep the order of equal times")
def test_timers_of_equal_time_run_in_the_order_of_scheduling(loop: asyncio.AbstractEventLoop) -> None:
    when = loop.time() + 0.01
    seen: list[int] = []
    for i in range(1000):
        loop.call_at(when, seen.append, i)
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert seen == list(range(1000))


def test_a_timer_is_never_early(loop: asyncio.AbstractEventLoop) -> None:
    generator = random.Random(11)
    # Asyncio runs a timer that is due within the clock's resolution.
    resolution = time.get_clock_info("monotonic").resolution
    early: list[float] = []
    waiting = 3000

    def check(when: float) -> None:
        nonlocal waiting
        for now in (time.monotonic(), loop.time()):
            if now < when - resolution:
                early.append(when - now)
        waiting -= 1
        if not waiting:
            loop.stop()

    for _ in range(waiting):
        loop.call_at(when := loop.time() + generator.random() * 0.3, check, when)
    loop.run_forever()
    assert early == []


@pytest.mark.parametrize("delay", [0.00001, 0.0002, 0.0005, 0.0009, 0.0015, 0.01])
def test_sleep_is_never_short(run: Run, delay: float) -> None:
    async def main() -> None:
        for _ in range(20):
            start = time.monotonic()
            await asyncio.sleep(delay)
            assert time.monotonic() - start >= delay - 1e-9

    run(main())


@pytest.mark.sfloop_only("asyncio rounds up to milliseconds")
def test_sub_millisecond_sleeps_are_not_rounded_to_milliseconds(run: Run) -> None:
    async def main() -> float:
        best = 1.0
        for _ in range(200):
            start = time.monotonic()
            await asyncio.sleep(0.0003)
            best = min(best, time.monotonic() - start)
        return best

    assert 0.0003 <= run(main()) < 0.0006


@pytest.mark.parametrize("delay", [0, -1, -0.0, 1e-12, -1e9])
def test_delays_of_nothing_and_less_run_at_once(loop: asyncio.AbstractEventLoop, delay: float) -> None:
    seen: list[str] = []
    loop.call_later(delay, seen.append, "ran")
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == ["ran"]


def test_call_at_in_the_past_runs_at_once(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.call_at(0, seen.append, "zero")
    loop.call_at(loop.time() - 100, seen.append, "past")
    loop.call_at(-(10**12), seen.append, "negative")
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert seen == ["negative", "zero", "past"]


@pytest.mark.parametrize("delay", [1e6, 1e9, 1e12])
def test_very_long_delays_wait(loop: asyncio.AbstractEventLoop, delay: float) -> None:
    seen: list[str] = []
    handle = loop.call_later(delay, seen.append, "ran")
    assert handle.when() == pytest.approx(loop.time() + delay, rel=1e-6)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == []
    handle.cancel()


@pytest.mark.sfloop_only("asyncio has no say here: OverflowError from inside select")
@pytest.mark.parametrize("delay", [1e300, float("inf")])
def test_delays_beyond_the_clock_wait_for_ever(loop: asyncio.AbstractEventLoop, delay: float) -> None:
    seen: list[str] = []
    handle = loop.call_later(delay, seen.append, "ran")
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == []
    handle.cancel()


@pytest.mark.sfloop_only("asyncio takes NaN, which breaks the order of its heap")
def test_not_a_number_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(ValueError):
        loop.call_later(float("nan"), print)
    with pytest.raises(ValueError):
        loop.call_at(float("nan"), print)


def test_cancelled_timers_do_not_run(loop: asyncio.AbstractEventLoop) -> None:
    generator = random.Random(3)
    seen: list[int] = []
    handles = [loop.call_later(0.005 + generator.random() * 0.02, seen.append, i) for i in range(1000)]
    cancelled = set(generator.sample(range(1000), 700))
    for i in cancelled:
        handles[i].cancel()
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert set(seen) == set(range(1000)) - cancelled
    assert len(seen) == 300


def test_cancel_a_timer_from_an_earlier_timer_that_is_due_in_the_same_turn(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    now = loop.time()
    later: asyncio.TimerHandle
    loop.call_at(now + 0.001, lambda: later.cancel())
    later = loop.call_at(now + 0.002, seen.append, "cancelled")
    loop.call_at(now + 0.003, loop.stop)
    time.sleep(0.01)
    loop.run_forever()
    assert seen == []


def test_cancel_from_within_its_own_callback(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def callback(text: str) -> None:
        handle.cancel()
        seen.append(text)

    handle = loop.call_later(0.001, callback, "ran")
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == ["ran"]
    assert handle.cancelled()


def test_cancel_after_the_call_is_harmless(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    handle = loop.call_later(0, seen.append, "ran")
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    for _ in range(3):
        handle.cancel()
    others = [loop.call_later(0.001, seen.append, "later") for _ in range(3)]
    handle.cancel()
    del others
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == ["ran", "later", "later", "later"]


def test_cancelled_timers_do_not_pile_up(loop: asyncio.AbstractEventLoop) -> None:
    """A read timeout is set and cancelled for every message: memory must not grow with the count."""

    def churn(n: int) -> None:
        for _ in range(n):
            loop.call_later(3600, print).cancel()
            if not _ % 1000:
                loop.call_soon(loop.stop)
                loop.run_forever()

    churn(2000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        churn(50_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000


def test_live_timers_survive_the_cancellation_of_many(loop: asyncio.AbstractEventLoop) -> None:
    generator = random.Random(5)
    seen: list[float] = []
    base = loop.time() + 0.02
    keep = sorted(base + generator.random() * 0.02 for _ in range(500))
    for when in generator.sample(keep, len(keep)):
        loop.call_at(when, seen.append, when)
        for _ in range(20):
            loop.call_at(when + generator.uniform(-0.01, 0.01), seen.append, -1).cancel()
    loop.call_at(keep[-1], loop.stop)
    loop.run_forever()
    assert seen == keep


def test_a_timer_set_by_a_timer(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []

    def tick(n: int) -> None:
        seen.append(n)
        if n == 50:
            loop.stop()
        else:
            loop.call_later(0.0001, tick, n + 1)

    loop.call_later(0, tick, 0)
    loop.run_forever()
    assert seen == list(range(51))


def test_a_zero_delay_timer_that_sets_itself_again_does_not_starve_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    count = 0
    stopping = False

    def again() -> None:
        nonlocal count
        count += 1
        if not stopping:
            loop.call_later(0, again)

    loop.call_later(0, again)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert count > 1
    stopping = True
    loop.call_later(0.001, loop.stop)
    loop.run_forever()


def test_time_is_the_monotonic_clock(loop: asyncio.AbstractEventLoop) -> None:
    def check() -> None:
        for _ in range(1000):
            before = time.monotonic()
            now = loop.time()
            after = time.monotonic()
            assert before - 1e-6 <= now <= after + 1e-6

    check()
    loop.call_soon(check)
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_time_moves_within_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    def check() -> None:
        start = loop.time()
        time.sleep(0.005)
        assert loop.time() - start >= 0.0049
        loop.stop()

    loop.call_soon(check)
    loop.run_forever()


def test_wait_for_times_out(run: Run) -> None:
    async def main() -> float:
        start = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.02)
        return time.monotonic() - start

    assert 0.02 <= run(main()) < 2
