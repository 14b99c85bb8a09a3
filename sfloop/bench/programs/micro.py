"""Microbenchmarks of the loop alone. Each measures itself and prints its result. Latencies are in ns."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from sfloop.bench.serve import say
from sfloop.common.histogram import Histogram


def _involuntary_switches() -> int:
    """Involuntary context switches of this thread (man 5 proc)."""
    with open("/proc/thread-self/status") as status:
        for line in status:
            if line.startswith("nonvoluntary_ctxt_switches"):
                return int(line.split()[1])
    return 0


async def _rate(burst: Callable[[], Coroutine[Any, Any, int]], parameters: Mapping[str, Any]) -> None:
    """Repeat a burst during the warm-up and the measurement, and print its rate per second."""
    end_of_warmup = time.perf_counter() + parameters["warmup"]
    while time.perf_counter() < end_of_warmup:
        await burst()
    count, switches = 0, _involuntary_switches()
    now = begin = time.perf_counter()
    while now - begin < parameters["seconds"]:
        count += await burst()
        now = time.perf_counter()
    say({"count": count, "seconds": now - begin, "involuntary_switches": _involuntary_switches() - switches})


async def call_soon_chain(parameters: Mapping[str, Any]) -> None:
    """Each callback schedules the next: one turn of the loop for every callback."""
    loop = asyncio.get_running_loop()
    length = 2000

    async def burst() -> int:
        done: asyncio.Future[None] = loop.create_future()
        left = length

        def step() -> None:
            nonlocal left
            left -= 1
            if left:
                loop.call_soon(step)
            else:
                done.set_result(None)

        loop.call_soon(step)
        await done
        return length

    await _rate(burst, parameters)


async def call_soon_batch(parameters: Mapping[str, Any]) -> None:
    """Schedule a thousand callbacks, then run them in one turn."""
    loop = asyncio.get_running_loop()
    length = 1000

    def nothing() -> None:
        pass

    async def burst() -> int:
        done: asyncio.Future[None] = loop.create_future()
        for _ in range(length - 1):
            loop.call_soon(nothing)
        loop.call_soon(done.set_result, None)
        await done
        return length

    await _rate(burst, parameters)


async def task_await(parameters: Mapping[str, Any]) -> None:
    """Create and await tasks, one after the other."""
    loop = asyncio.get_running_loop()
    length = 500

    async def nothing() -> None:
        pass

    async def burst() -> int:
        for _ in range(length):
            await loop.create_task(nothing())
        return length

    await _rate(burst, parameters)


async def loops_made(parameters: Mapping[str, Any]) -> None:
    """CPU time of making `count` loops. Each runs an empty coroutine and is closed, as by asyncio.run().

    This runs in the main thread, between two steps of the program's own loop.
    """
    outer, task = asyncio.get_running_loop(), asyncio.current_task()
    factory = type(outer)
    current: Any = asyncio.tasks  # typeshed does not declare _leave_task()
    count = parameters["count"]

    async def nothing() -> None:
        pass

    def one() -> None:
        loop = factory()
        try:
            loop.run_until_complete(nothing())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    current._leave_task(outer, task)
    asyncio._set_running_loop(None)
    try:
        one()  # the first call loads modules, so do not count it
        switches, wall, begin = _involuntary_switches(), time.perf_counter(), time.process_time()
        for _ in range(count):
            one()
        took = time.process_time() - begin
    finally:
        asyncio._set_running_loop(outer)
        current._enter_task(outer, task)
    say(
        {
            "cpu_seconds": took,
            "seconds": time.perf_counter() - wall,
            "involuntary_switches": _involuntary_switches() - switches,
        }
    )


async def timers(parameters: Mapping[str, Any]) -> None:
    """Set `count` timers of 1 to 20 ms, cancel every other one, run the rest. Measures the CPU time of these three.

    After the cancellation the loop stands still until all timers are due, so that neither sleeping nor spinning counts.
    """
    loop = asyncio.get_running_loop()
    count = parameters["count"]
    seeded = random.Random(count)
    delays = [seeded.uniform(0.001, 0.020) for _ in range(count)]
    done: asyncio.Future[None] = loop.create_future()
    left = count - len(range(0, count, 2))

    def expire() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set_result(None)

    switches, wall = _involuntary_switches(), time.perf_counter()
    begin = time.process_time()
    handles = [loop.call_later(delay, expire) for delay in delays]
    for handle in handles[::2]:
        handle.cancel()
    set_and_cancelled = time.process_time() - begin
    time.sleep(0.025)  # not asyncio.sleep(), because the loop must stand still
    begin = time.process_time()
    await done
    run = time.process_time() - begin
    say(
        {
            "cpu_seconds": set_and_cancelled + run,
            "seconds": time.perf_counter() - wall,
            "involuntary_switches": _involuntary_switches() - switches,
        }
    )


async def sleep(parameters: Mapping[str, Any]) -> None:
    """asyncio.sleep(delay): lateness, and how often it returns early. Both by the clock read before the call."""
    delay = parameters["delay"]
    delay_ns = round(delay * 1e9)
    late, early, earliest = Histogram(), 0, 0
    begin = time.perf_counter()
    end_of_warmup, end = begin + parameters["warmup"], begin + parameters["warmup"] + parameters["seconds"]
    switches = _involuntary_switches()
    while (now := time.perf_counter()) < end:
        before = time.perf_counter_ns()
        await asyncio.sleep(delay)
        lateness = time.perf_counter_ns() - before - delay_ns
        if now >= end_of_warmup:
            late.record(max(lateness, 0))
            early += lateness < 0
            earliest = min(earliest, lateness)
    say(
        {
            "histogram": late.buckets(),
            "early": early,
            "earliest": -earliest,
            "seconds": parameters["seconds"],
            "involuntary_switches": _involuntary_switches() - switches,
        }
    )


async def threadsafe(parameters: Mapping[str, Any]) -> None:
    """Another thread, on the other CPU, calls call_soon_threadsafe at irregular times: ns from the call to the
    callback."""
    loop = asyncio.get_running_loop()
    latency = Histogram()
    finished: asyncio.Future[None] = loop.create_future()
    end_of_warmup = time.perf_counter() + parameters["warmup"]
    end = end_of_warmup + parameters["seconds"]

    def callback(called: int) -> None:
        latency.record(time.perf_counter_ns() - called)

    def ignored(called: int) -> None:
        pass

    def caller() -> None:
        os.sched_setaffinity(0, {parameters["thread_cpu"]})
        pauses = random.Random(1)
        while (now := time.perf_counter()) < end:
            time.sleep(pauses.uniform(0.0001, 0.0005))
            loop.call_soon_threadsafe(callback if now >= end_of_warmup else ignored, time.perf_counter_ns())
        loop.call_soon_threadsafe(finished.set_result, None)

    switches = _involuntary_switches()
    thread = threading.Thread(target=caller)
    thread.start()
    await finished
    thread.join()
    say(
        {
            "histogram": latency.buckets(),
            "seconds": parameters["seconds"],
            "involuntary_switches": _involuntary_switches() - switches,
        }
    )
