"""Wake-ups against arming and disarming: stressors alone and together on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from typing import Any

import stressors
from watchdog import Failure, Watchdog

import sfloop

# Alone first, because a loop that is awake for another reason hides a missed wake-up.
ALONE = [(name,) for name in stressors.ALL]
TOGETHER = [
    ("threads", "threads"),
    ("threads", "timers"),
    ("threads", "sockets"),
    ("timers", "sockets"),
    ("signals", "sockets"),
    tuple(stressors.ALL),
]


def combinations(generator: random.Random, quick: bool) -> list[tuple[str, ...]]:
    """Return the sets of stressors to run, in the order of one round."""
    if quick:
        return [*ALONE, tuple(stressors.ALL)]
    return [*ALONE, *generator.sample(TOGETHER, len(TOGETHER))]


def check_counters(spin: str | float, stats: dict[str, Any], answered: int, alone: bool) -> None:
    """Check that the loop spun and slept as its mode says, because a run that never slept would have tested nothing."""
    if spin == "always":
        if stats["sleeps"]:
            raise Failure(f"spin='always' slept {stats['sleeps']} times")
    elif spin == "never":
        if stats["wakeups_without_syscall"]:
            raise Failure(f"spin='never' saw {stats['wakeups_without_syscall']} wake-ups while spinning")
        if alone and answered and not stats["sleeps"]:
            raise Failure(f"spin='never' never slept in {stats['turns']} turns")
    elif spin != "adaptive" and alone and answered > 100 and not stats["sleeps"]:
        raise Failure(f"spin={spin} never slept in {stats['turns']} turns")
    if stats["empty_turns"] > stats["turns"]:
        raise Failure(f"more empty turns than turns: {stats}")


def give_up(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop be closed after a failure without further error messages."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(RuntimeError):  # a stop() that was still on its way
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=5))


def run(spin: str | float, names: tuple[str, ...], seconds: float, seed: str) -> tuple[int, dict[str, Any]]:
    """Run the named stressors for `seconds`; return the number of answered wake-ups, and loop.stats() at the end.

    :raises Failure: a callback was late, doubled or early.
    """
    loop = sfloop.new_event_loop(spin=spin)
    label = f"spin={spin} {'+'.join(names)}"
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)

    try:
        with Watchdog(label, on_failure=stop) as watchdog:
            running = [stressors.ALL[name](loop, watchdog, spin, f"{seed} {i}") for i, name in enumerate(names)]
            for stressor in running:
                stressor.start()

            def end() -> None:
                watchdog.failed.wait(seconds)
                for stressor in running:
                    stressor.ending.set()
                for stressor in running:
                    stressor.end()
                stop()

            ender = threading.Thread(target=end, name="ender")
            ender.start()
            began = time.monotonic()
            loop.run_forever()
            if not watchdog.failed.is_set() and time.monotonic() - began < seconds * 0.5:
                watchdog.fail("run_forever() returned before stop() was called")
            ender.join()
            if watchdog.failed.is_set():
                give_up(loop)
                raise Failure("; ".join(dict.fromkeys(watchdog.failures)) + f"; stats: {loop.stats()}")
            stats = loop.stats()
            for stressor in running:
                stressor.clean_up()
            loop.run_until_complete(asyncio.sleep(0.001))
    finally:
        loop.close()
    if contexts:
        raise Failure(f"the exception handler was called: {contexts}")
    answered = sum(stressor.count for stressor in running)
    for stressor in running:
        if not stressor.count:
            raise Failure(f"{stressor.name} was not called back once in {seconds} s")
    check_counters(spin, stats, answered, alone=len(names) == 1)
    return answered, stats
