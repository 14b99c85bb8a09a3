"""Random schedules see the same on asyncio's own loop and on sfloop."""

from __future__ import annotations

import asyncio

from harness.agreement import COMMON, Operation, Trace, both
from harness.random_scheduling import SCHEDULES, Scheduling
from hypothesis import example, given, settings
from hypothesis import strategies as st


@COMMON
@given(SCHEDULES)
@example([("later", 0, []), ("soon", [("soon", [])]), ("at", 3, []), ("at", 1, []), ("task", 2, [])])
@example([("soon", [("raise",), ("soon", [])]), ("stop",), ("soon", [("stop",), ("later", 0, [])])])
@example([("task", 3, []), ("task", 0, [("cancel task", 0)]), ("at", 1, [("cancel", 0)]), ("later", 0, [])])
def test_scheduling(program: list[Operation]) -> None:
    both(lambda loop: Scheduling(loop).run(program))


@settings(COMMON, max_examples=25)
@given(st.lists(st.integers(-20, 20), max_size=30, unique=True), st.lists(st.integers(0, 29), max_size=10))
def test_timers_a_little_ahead(delays: list[int], cancelled: list[int]) -> None:
    """Timers up to 2 ms ahead, a tenth of a millisecond apart, run in the order of their times, in any iteration."""

    def program(loop: asyncio.AbstractEventLoop) -> Trace:
        trace: Trace = []
        start = loop.time() + 0.0005

        def call(n: int) -> None:
            due = start + n * 1e-4
            trace.append((n, loop.time() >= due - 1e-9))

        handles = [loop.call_at(start + n * 1e-4, call, n) for n in delays]
        for n in cancelled:
            if n < len(handles):
                handles[n].cancel()
        loop.call_at(start + 0.003, loop.stop)
        loop.run_forever()
        return trace

    both(program)


@settings(COMMON, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_timers_of_equal_times(timers: list[tuple[int, bool]]) -> None:
    """asyncio leaves the order of equal timers open; each is called once, and all in the order of their times."""

    def program(loop: asyncio.AbstractEventLoop) -> Trace:
        groups: list[list[int]] = []
        last: list[int] = []
        past = loop.time() - 100

        def call(group: int, n: int) -> None:
            if last != [group]:
                last[:] = [group]
                groups.append([])
            groups[-1].append(n)

        for n, (group, cancel) in enumerate(timers):
            handle = loop.call_at(past + group, call, group, n)
            if cancel:
                handle.cancel()
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
        return [sorted(group) for group in groups]

    both(program)
