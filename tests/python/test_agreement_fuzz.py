"""Random programs, run on asyncio's own loop and on sfloop: what they see must be the same.

Only what asyncio itself determines is compared. That leaves out which of several descriptors that are ready is served
first, and in which turn a transport's data arrives: a test of sockets therefore does several things in one callback,
and then lets the loop turn until nothing happens any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import leaks, loops
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

Trace = list[Any]
Operation = tuple[Any, ...]

COMMON = settings(
    max_examples=150,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
QUIET_TURNS = 12  # turns without anything new after which nothing is to come
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


@pytest.fixture(autouse=True, scope="module")
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """All examples together leave nothing behind on sfloop."""
    before, failed = leaks.snapshot("sfloop"), request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        return  # the failure's traceback keeps everything alive
    assert leaks.check("sfloop", before) == []


def both(program: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
    """Runs the program on a new loop of each kind; what it returns must be equal."""
    outcomes = []
    for kind in loops.KINDS:
        loop = loops.new_loop(kind)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outcomes.append(program(loop))
        finally:
            loops.close(loop)
    assert outcomes[1] == outcomes[0]


# ---- scheduling ----


def operations(nested: st.SearchStrategy[list[Operation]]) -> st.SearchStrategy[Operation]:
    """What a callback may do. `nested` is what callbacks that it schedules do."""
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
    """Runs scheduling operations on a loop, each callback with a number, in the order in which they were scheduled."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.trace: Trace = []
        self.handles: list[asyncio.Handle] = []
        self.futures: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.numbers = 0
        # Timers are set for times that are past, all in the order of their times in the next turn; no two are equal, as
        # asyncio's heap does not say which of two equal ones is first.
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
        """Performs the program in a callback, and runs the loop until nothing is left, however often it is stopped."""
        context = contextvars.copy_context()
        self.loop.call_soon(self.callback(program), context=context)
        quiet = 0
        while quiet < QUIET_TURNS:
            before = len(self.trace)
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            quiet = quiet + 1 if len(self.trace) == before else 0
        # A stop() that the program calls ends the run in the same turn on both loops, so the turns can be compared too.
        return self.trace


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
    """Up to 2 ms ahead, a tenth of a millisecond apart: they run in the order of their times, at whichever turn."""

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
    """Which of two equal ones is first asyncio leaves open; that each is called once, and all in order, it does not."""

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


# ---- transports ----

PAIRS = 3
END = st.integers(0, 2 * PAIRS - 1)
# CVE-2024-12254: writelines() of these versions never calls pause_writing().
WRITELINES_PAUSES = not ((3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2))
SIZES = [1, 10, 1000, 70_000, 300_000]
DEEDS = st.one_of(
    st.tuples(st.just("write"), END, st.sampled_from([0, *SIZES])),
    # Nothing empty: from Python 3.12 on asyncio keeps an empty piece in its buffer for good.
    st.tuples(st.just("writelines"), END, st.lists(st.sampled_from(SIZES), min_size=1, max_size=3))
    if WRITELINES_PAUSES
    else st.nothing(),
    st.tuples(st.just("write_eof"), END),
    st.tuples(st.just("close"), END),
    st.tuples(st.just("abort"), END),
    st.tuples(st.just("pause_reading"), END),
    st.tuples(st.just("resume_reading"), END),
    st.tuples(
        st.just("limits"), END, st.sampled_from([(None, None), (0, None), (1000, 10), (None, 5), (1, 2), (-1, None)])
    ),
    st.tuples(st.just("state"), END),
    st.tuples(st.just("keep_open"), END, st.booleans()),
    st.tuples(st.just("set_protocol"), END),
)
BATCHES = st.lists(st.lists(DEEDS, min_size=1, max_size=5), min_size=1, max_size=6)


class End(asyncio.Protocol):
    """One end of a socketpair: writes down what happens to it. Data that comes in pieces is one piece."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.trace: Trace = []
        self.keep_open = self.lost = False
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.trace.append("connection_made")

    def data_received(self, data: bytes) -> None:
        if self.trace and isinstance(self.trace[-1], bytearray):
            self.trace[-1] += data
        else:
            self.trace.append(bytearray(data))

    def eof_received(self) -> bool:
        self.trace.append("eof_received")
        return self.keep_open

    def pause_writing(self) -> None:
        self.trace.append("pause_writing")

    def resume_writing(self) -> None:
        self.trace.append("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.trace.append(f"connection_lost {exc!r}")


class NextEnd(End):
    """What set_protocol() puts in its place; it writes to the same trace."""

    def __init__(self, before: End) -> None:
        super().__init__()
        vars(self).update(vars(before))
        self.trace.append("set_protocol")


class Pairs:
    """Socketpairs with a transport at each end, and the deeds done to them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ends: list[End] = []
        self.traces: list[Trace] = []

    async def open(self) -> None:
        for _ in range(PAIRS):
            for sock in socket.socketpair():
                sock.setblocking(False)
                _, end = await self.loop.create_connection(End, sock=sock)
                self.ends.append(end)
                self.traces.append(end.trace)

    def do(self, deed: str, n: int, *args: Any) -> None:
        """Writes the deed's result or exception into the trace of its end."""
        end = self.ends[n]
        if end.lost and deed in ("abort", "write", "writelines"):
            return  # after a close() that had to drain the buffer, asyncio fails here in its own internals
        try:
            result = getattr(self, "do_" + deed)(n, end, *args)
        except Exception as exc:
            # Before Python 3.12 writelines() is a write(), and says so.
            result = f"{type(exc).__name__}: {exc}".replace("writelines()", "write()")
        if result is not None:
            end.trace.append(f"{deed} {result}")

    def piece(self, end: End, size: int) -> bytes:
        end.sent += 1
        return bytes([end.sent % 256]) * size

    def do_write(self, n: int, end: End, size: int) -> None:
        end.transport.write(self.piece(end, size))

    def do_writelines(self, n: int, end: End, sizes: list[int]) -> None:
        end.transport.writelines([self.piece(end, size) for size in sizes])

    def do_write_eof(self, n: int, end: End) -> None:
        end.transport.write_eof()

    def do_close(self, n: int, end: End) -> None:
        end.transport.close()

    def do_abort(self, n: int, end: End) -> None:
        end.transport.abort()

    def do_pause_reading(self, n: int, end: End) -> None:
        end.transport.pause_reading()

    def do_resume_reading(self, n: int, end: End) -> None:
        end.transport.resume_reading()

    def do_limits(self, n: int, end: End, limits: tuple[int | None, int | None]) -> Any:
        end.transport.set_write_buffer_limits(*limits)
        return end.transport.get_write_buffer_limits()

    def do_state(self, n: int, end: End) -> Any:
        transport = end.transport
        return transport.is_closing(), transport.is_reading(), transport.get_write_buffer_size()

    def do_keep_open(self, n: int, end: End, keep_open: bool) -> None:
        end.keep_open = keep_open

    def do_set_protocol(self, n: int, end: End) -> None:
        if end.transport.get_protocol() is end:
            self.ends[n] = NextEnd(end)
            end.transport.set_protocol(self.ends[n])

    def size(self) -> int:
        return sum(len(entry) if isinstance(entry, bytearray) else 1 for trace in self.traces for entry in trace)

    async def settle(self) -> None:
        quiet = 0
        while quiet < QUIET_TURNS:
            before = self.size()
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.size() == before else 0

    async def run(self, batches: list[list[Operation]]) -> list[Trace]:
        """Does each batch within one callback, lets the dust settle, and at last closes everything."""
        await self.open()
        for batch in batches:
            for deed in batch:
                self.do(*deed)
            await self.settle()
        for n in range(len(self.ends)):
            self.do("abort", n)
        await self.settle()
        return self.traces


@COMMON
@given(BATCHES)
@example([[("write", 0, 300_000), ("close", 0)], [("state", 0), ("state", 1)]])
@example([[("pause_reading", 1), ("write", 0, 300_000)], [("resume_reading", 1)], [("write_eof", 0), ("write", 0, 1)]])
@example([[("keep_open", 1, True), ("write", 0, 10), ("write_eof", 0)], [("write", 1, 70_000), ("close", 1)]])
@example([[("write", 0, 300_000), ("abort", 1)], [("write", 0, 1), ("state", 0)]])
def test_transports(batches: list[list[Operation]]) -> None:
    def program(loop: asyncio.AbstractEventLoop) -> Any:
        contexts: Trace = []
        loop.set_exception_handler(lambda _, context: contexts.append((context["message"], repr(context["exception"]))))
        traces = loop.run_until_complete(Pairs(loop).run(batches))
        return traces, contexts

    both(program)


# ---- watched descriptors ----

WATCHING = st.one_of(
    st.tuples(st.just("add_reader"), END),
    st.tuples(st.just("add_writer"), END),
    st.tuples(st.just("remove_reader"), END),
    st.tuples(st.just("remove_writer"), END),
    st.tuples(st.just("send"), END, st.integers(1, 100)),
    st.tuples(st.just("shutdown"), END),
    st.tuples(st.just("replace"), END),
)


class Watching:
    """Socketpairs whose ends are watched with add_reader and add_writer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.sockets = [sock for _ in range(PAIRS) for sock in socket.socketpair()]
        for sock in self.sockets:
            sock.setblocking(False)
        self.traces: list[Trace] = [[] for _ in self.sockets]
        self.generation = 0

    def readable(self, n: int, generation: int) -> None:
        data = self.sockets[n].recv(1000)
        self.traces[n].append(("readable", generation, data))
        if not data:
            self.loop.remove_reader(self.sockets[n])

    def writable(self, n: int, generation: int) -> None:
        self.traces[n].append(("writable", generation))
        self.loop.remove_writer(self.sockets[n])

    def do(self, deed: str, n: int, *args: Any) -> None:
        sock = self.sockets[n]
        self.generation += 1
        if deed == "add_reader":
            self.loop.add_reader(sock, self.readable, n, self.generation)
        elif deed == "add_writer":
            self.loop.add_writer(sock, self.writable, n, self.generation)
        elif deed == "remove_reader":
            self.traces[n].append(self.loop.remove_reader(sock))
        elif deed == "remove_writer":
            self.traces[n].append(self.loop.remove_writer(sock))
        elif deed == "send":
            with contextlib.suppress(BrokenPipeError):
                sock.send(bytes(args[0]))
        elif deed == "shutdown":
            sock.shutdown(socket.SHUT_WR)
        else:  # both ends are closed, and their numbers used again by a new pair
            first = n - n % 2
            for i in (first, first + 1):
                self.loop.remove_reader(self.sockets[i])
                self.loop.remove_writer(self.sockets[i])
                self.sockets[i].close()
            self.sockets[first : first + 2] = socket.socketpair()
            for i in (first, first + 1):
                self.sockets[i].setblocking(False)

    async def run(self, batches: list[list[Operation]]) -> list[Trace]:
        for batch in batches:
            for deed in batch:
                self.do(*deed)
            for _ in range(QUIET_TURNS):
                await asyncio.sleep(0)
        for sock in self.sockets:
            self.loop.remove_reader(sock)
            self.loop.remove_writer(sock)
            sock.close()
        return self.traces


@COMMON
@given(st.lists(st.lists(WATCHING, min_size=1, max_size=5), min_size=1, max_size=6))
@example([[("add_reader", 0), ("send", 1, 5), ("add_reader", 0)], [("shutdown", 1)], [("remove_reader", 0)]])
@example([[("add_reader", 0), ("replace", 0), ("add_reader", 1), ("send", 0, 3)], [("add_writer", 0)]])
def test_watched_descriptors(batches: list[list[Operation]]) -> None:
    both(lambda loop: loop.run_until_complete(Watching(loop).run(batches)))


@COMMON
@given(SCHEDULES)
def test_one_watched_descriptor_among_callbacks(program: list[Operation]) -> None:
    """With one descriptor, readable once, asyncio determines when its reader runs: after what was ready when it polled,
    and before what is scheduled from there on and the timers that are due."""

    def with_reader(loop: asyncio.AbstractEventLoop) -> Trace:
        ours, theirs = socket.socketpair()
        scheduling = Scheduling(loop)

        def readable() -> None:
            ours.recv(1)
            scheduling.note("readable")

        theirs.send(b"x")
        loop.add_reader(ours, readable)
        try:
            return scheduling.run(program)
        finally:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()

    both(with_reader)
