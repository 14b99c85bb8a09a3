"""A due timer and a thread's wake-up at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness.loops import close, new_loop

pytestmark = pytest.mark.sfloop_only("asyncio does not spin")

MODES: list[Any] = ["never", "always", "adaptive", 50, 5000]
InThread = Callable[[Callable[[], Any]], threading.Thread]


@pytest.mark.parametrize("mode", MODES)
def test_a_timer_and_a_wake_up_race(loop_kind: str, in_thread: InThread, mode: Any) -> None:
    loop = new_loop(loop_kind, spin=mode)
    seen: list[str] = []

    def wake() -> None:
        for _ in range(300):
            time.sleep(0.0003)
            loop.call_soon_threadsafe(seen.append, "thread")

    def tick(left: int) -> None:
        seen.append("timer")
        if left:
            loop.call_later(0.0003, tick, left - 1)
        else:
            loop.stop()

    thread = in_thread(wake)
    loop.call_soon(tick, 300)
    loop.run_forever()
    thread.join()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen.count("timer") == 301 and seen.count("thread") == 300
    close(loop)
