"""Clocks that replace loop.time(), usually set by a test."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest import mock

import pytest
from harness.loops import close, new_loop, turns
from harness.observed import Run


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.asked = 0

    def __call__(self, *_: Any) -> float:
        self.asked += 1
        return self.now


@pytest.mark.parametrize("way", ["setattr", "patch", "monkeypatch"])
def test_timers_go_by_the_loops_clock(run: Run, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock, ran = Clock(), []
        if way == "setattr":
            loop.time = clock  # type: ignore[method-assign]
        elif way == "patch":
            patch = mock.patch.object(loop, "time", clock)
            patch.start()
        else:
            monkeypatch.setattr(loop, "time", clock)
        assert loop.time() == 1000
        handle = loop.call_later(5, ran.append, "later")
        assert handle.when() == 1005
        loop.call_at(1003, ran.append, "at")
        loop.call_later(0.001, ran.append, "soon")
        await turns()
        assert ran == []
        clock.now = 1000.001
        await turns()
        assert ran == ["soon"]
        clock.now = 1004
        await turns()
        assert ran == ["soon", "at"]
        clock.now = 1005
        await turns()
        assert ran == ["soon", "at", "later"]
        if way == "setattr":
            del loop.time
        elif way == "patch":
            patch.stop()
        else:
            monkeypatch.undo()
        began = time.monotonic()
        assert abs(loop.time() - began) < 1
        await asyncio.sleep(0.01)
        assert time.monotonic() - began >= 0.01
        asked = clock.asked
        loop.call_later(0.001, ran.append, "real")
        await asyncio.sleep(0.002)
        assert ran[-1] == "real" and clock.asked == asked

    run(main())


def test_sleeping_by_another_clock(run: Run) -> None:
    """The wait for a timer lasts as long as that clock says."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def shifted() -> float:  # by less than the limit of the test's own timer
            return time.monotonic() + 3

        with mock.patch.object(loop, "time", shifted):
            began = time.monotonic()
            await asyncio.sleep(0.03)
            assert 0.03 <= time.monotonic() - began < 5

            async def never() -> None:
                await asyncio.sleep(3600)

            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(never(), 0.01)
        await asyncio.sleep(0.001)

    run(main())


def test_a_clock_by_a_subclass(loop_kind: str) -> None:
    kind: Any = type(new_closed(loop_kind))
    offset = 10_000.0

    class Shifted(kind):  # type: ignore[misc]
        def time(self) -> float:
            return float(super().time()) + offset

    loop = Shifted()
    try:
        began, real = loop.time(), time.monotonic()
        assert began - real >= 9_999
        seen: list[float] = []
        loop.call_later(0.01, lambda: seen.append(loop.time()))
        loop.run_until_complete(asyncio.wait_for(asyncio.sleep(0.02), 1))
        assert 0.01 <= seen[0] - began < 0.02 + 1
        assert 0.02 <= time.monotonic() - real < 5
    finally:
        close(loop)


def test_a_clock_by_the_class(loop_kind: str) -> None:
    """A clock of the class is seen when the loop is run."""
    loop = new_loop(loop_kind)
    clock, ran = Clock(), []
    with mock.patch.object(type(loop), "time", clock):
        loop.call_at(1001, ran.append, 1)
        loop.run_until_complete(asyncio.sleep(0))
        assert ran == []
        clock.now = 1001
        loop.run_until_complete(asyncio.sleep(0))
        assert ran == [1]
    loop.run_until_complete(asyncio.sleep(0.001))
    close(loop)


def test_a_clock_that_raises(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with mock.patch.object(loop, "time", side_effect=ZeroDivisionError):
            with pytest.raises(ZeroDivisionError):
                loop.call_later(1, print)

    run(main())


def new_closed(loop_kind: str) -> asyncio.AbstractEventLoop:
    loop = new_loop(loop_kind)
    loop.close()
    return loop
