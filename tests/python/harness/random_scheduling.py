"""Random schedules: callbacks that schedule, cancel, raise and stop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from harness.agreement import QUIET_TURNS, Operation, Trace

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def operations(nested: st.SearchStrategy[list[Operation]]) -> st.SearchStrategy[Operation]:
    """The possible actions of a callback. `nested`: actions of the callbacks that it schedules."""
    return st.one_of(
        st.tuples(st.just("soon"), nested),
        st.tuples(st.just("threadsafe"), nested),
        st.tuples(st.just("later"), st.sampled_from([0, -1, 0.0, -0.5]), nested),
        st.tuples(st.just("at"), st.integers(1, 40), nested),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("raise")),
        st.tuples(st.just("context"), st.integers(1, 5)),
        st.tuples(st.just("task"), st.integers(0, 4), nested),
        st.tuples(st.just("future"), nested),
        st.tuples(st.just("resolve"), st.integers(0, 10)),
        st.tuples(st.just("cancel task"), st.integers(0, 10)),
        st.tuples(st.just("is cancelled"), st.integers(0, 30)),
        st.tuples(st.just("stop")),
    )


NOTHING: st.SearchStrategy[list[Operation]] = st.just([])
SCHEDULES = st.recursive(
    st.lists(operations(NOTHING), max_size=4), lambda nested: st.lists(operations(nested), max_size=6), max_leaves=25
)


class Scheduling:
    """Runs scheduling operations on a loop. Each callback has a number, in the order of scheduling."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.trace: Trace = []
        self.handles: list[asyncio.Handle] = []
        self.futures: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.numbers = 0
        # Timers are set for past times, so all run in the next turn in the order of their times. No two times are
        # equal, because asyncio's heap does not order equal times.
        self.past = loop.time() - 1000
        loop.set_exception_handler(lambda _, context: self.note("handler", repr(context["exception"])))

    def note(self, *what: Any) -> None:
        self.trace.append((*what, variable.get()))

    def callback(self, inner: list[Operation]) -> Callable[..., None]:
        self.numbers += 1
        number = self.numbers

        def call(*_: Any) -> None:
            self.note("called", number)
            self.perform(inner)

        return call

    def perform(self, program: list[Operation]) -> None:
        for operation in program:
            getattr(self, "do_" + operation[0].replace(" ", "_"))(*operation[1:])

    def do_soon(self, inner: list[Operation]) -> None:
        self.handles.append(self.loop.call_soon(self.callback(inner)))

    def do_threadsafe(self, inner: list[Operation]) -> None:
        self.handles.append(self.loop.call_soon_threadsafe(self.callback(inner)))

    def do_later(self, delay: float, inner: list[Operation]) -> None:
        self.handles.append(self.loop.call_later(delay, self.callback(inner)))

    def do_at(self, n: int, inner: list[Operation]) -> None:
        call = self.callback(inner)
        self.handles.append(self.loop.call_at(self.past + n + self.numbers * 1e-4, call))

    def do_cancel(self, n: int) -> None:
        if self.handles:
            handle = self.handles[n % len(self.handles)]
            handle.cancel()
            self.note("cancelled", handle.cancelled())

    def do_is_cancelled(self, n: int) -> None:
        if self.handles:
            self.note("cancelled?", self.handles[n % len(self.handles)].cancelled())

    def do_raise(self) -> None:
        self.note("raises")
        raise ZeroDivisionError

    def do_context(self, value: int) -> None:
        variable.set(value)

    def do_task(self, sleeps: int, inner: list[Operation]) -> None:
        call = self.callback(inner)

        async def body() -> None:
            try:
                for i in range(sleeps):
                    self.note("step", i)
                    await asyncio.sleep(0)
                call()
            except asyncio.CancelledError:
                self.note("task cancelled")
                raise

        task = self.loop.create_task(body())
        task.add_done_callback(self.note_done)
        self.tasks.append(task)

    def note_done(self, task: asyncio.Task[None]) -> None:
        self.note("done", "cancelled" if task.cancelled() else repr(task.exception()))

    def do_cancel_task(self, n: int) -> None:
        if self.tasks:
            self.note("task.cancel()", self.tasks[n % len(self.tasks)].cancel())

    def do_future(self, inner: list[Operation]) -> None:
        future = self.loop.create_future()
        future.add_done_callback(self.callback(inner))
        self.futures.append(future)

    def do_resolve(self, n: int) -> None:
        if self.futures:
            future = self.futures[n % len(self.futures)]
            if not future.done():
                future.set_result(None)

    def do_stop(self) -> None:
        self.loop.stop()

    def run(self, program: list[Operation]) -> Trace:
        """Run the program in a callback, and run the loop until nothing is left, even if it is stopped several
        times."""
        context = contextvars.copy_context()
        self.loop.call_soon(self.callback(program), context=context)
        quiet = 0
        while quiet < QUIET_TURNS:
            before = len(self.trace)
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            quiet = quiet + 1 if len(self.trace) == before else 0
        # If the program calls stop(), the run ends in the same turn on both loops, so compare the turns, too.
        return self.trace
